/* tree_attention.h - three ways to let a tree of drafted tokens attend to a long cache, by their time. */
#ifndef LATHE_LAB_TREE_ATTENTION_H
#define LATHE_LAB_TREE_ATTENTION_H

#include "lathe/base.h"

typedef struct lathe_tree_attention {
    int64_t n_prefix, n_head, n_head_kv, width; /* cached keys, all seen; of f16 */
    int32_t n_threads;
    int32_t layer_width[8]; /* of the tree, behind its root; 0 ends it */
    /* out: seconds */
    double explicit_s; /* scores, masked soft-max, products as ops of their own, as a program without a kernel
                          for masked trees does it */
    double fused_s;    /* our kernel under one mask for prefix and tree */
    double parts_s;    /* our kernel over the prefix without a mask, over the tree with one, and the merge */
    double apart;      /* largest difference of a value between the last two */
} lathe_tree_attention;

/* One attention of one layer by each of the three ways, one after another, each once before and `n` times
 * counted, of which the median is given. UNSUPPORTED where our kernels do not run. */
LATHE_NODISCARD lathe_status lathe_tree_attention_time(lathe_tree_attention *t, int n, uint64_t seed,
                                                       lathe_error *err);

#endif
