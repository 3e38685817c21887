/* rng_purpose.h - the one table of what random numbers are drawn for (word 0 of Philox's counter).
 * A new use gets a new number here; no room draws outside this table. Words 1 to 3 are in the right column.
 */
#ifndef LATHE_BASE_RNG_PURPOSE_H
#define LATHE_BASE_RNG_PURPOSE_H

enum lathe_rng_purpose {
    /* decode/ */
    LATHE_RNG_TARGET_SAMPLE = 0,   /* position lo, position hi, 0 */
    LATHE_RNG_DRAFT_SAMPLE = 1,    /* position, committed length at the round's start, node */
    LATHE_RNG_ACCEPT_TEST = 2,     /* as 1 */
    LATHE_RNG_RESIDUAL_SAMPLE = 3, /* as 1 */
    LATHE_RNG_TREE_ORDER = 4,      /* as 1 */
    LATHE_RNG_BANDIT = 5,          /* round lo, round hi, arm (2^32 - 1: the controller's own draw) */
    LATHE_RNG_GUMBEL = 6,          /* position lo, position hi, token id */
    LATHE_RNG_XTC = 7,             /* position lo, position hi, 0 */
    /* media/ */
    LATHE_RNG_INITIAL_NOISE = 16, /* frame, step, element block */
    LATHE_RNG_STEP_NOISE = 17,
    LATHE_RNG_CLASS_DROPOUT = 18,
    LATHE_RNG_TIMESTEP = 19,
    LATHE_RNG_MEDIA_DATA = 20,
    /* train/, model/, probe/, lab/ */
    LATHE_RNG_WEIGHTS = 32,       /* FNV-1a-32 of the tensor's name, element / 4, 0 */
    LATHE_RNG_EXAMPLE_ORDER = 33, /* R, round of the Feistel network, epoch */
    LATHE_RNG_WINDOW_OFFSET = 34, /* epoch, 0, 0 */
    LATHE_RNG_DROPOUT = 35,      /* step, token in the global batch, (2 layer + branch) 65536 + channel / 4 */
    LATHE_RNG_LAB_DATA = 36,     /* sequence, position, block */
    LATHE_RNG_PROBE_VECTOR = 37, /* probe, position, block */
    LATHE_RNG_PROBE_PROMPT = 38,
    LATHE_RNG_TASK_BOOTSTRAP = 39,
    LATHE_RNG_DRAFT_SHIFT =
        40, /* step lo, step hi, micro-batch: word 0 the shift, words 1 and 2 the offset */
    /* tree/ */
    LATHE_RNG_TREE_SAMPLE = 48, /* trial or replicate, row, node or block */
    LATHE_RNG_TREE_TIES = 49,   /* trial, smaller index, larger index */
    LATHE_RNG_TREE_BOOTSTRAP = 50,
    LATHE_RNG_TREE_TRIAL = 51,
    LATHE_RNG_TREE_CORRUPTION = 52,
};

#endif
