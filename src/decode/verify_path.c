/* verify_path.c - verifiers that first take the target's own token and then look whether it was drafted:
 * greedy, match, coupled. The text is that of plain decoding whatever was proposed. */
#include "decode/verifier.h"

static const double *row_of(const lathe_token_tree *tree, const double *p, int32_t node) {
    return p + (size_t) node * (size_t) tree->n_vocab;
}

/* Follows drafted tokens that equal pick(node) until one does not. */
static void
follow(const lathe_token_tree *tree, const double *p, const lathe_chance *chance, lathe_verdict *verdict,
       int32_t (*pick)(const double *law, int32_t n, const lathe_chance *chance, uint64_t position)) {
    int32_t node = 0;
    for (;;) {
        const uint64_t position = chance->n_committed + (uint64_t) tree->depth[node];
        const int32_t y = pick(row_of(tree, p, node), tree->n_vocab, chance, position);
        const int32_t child = lathe_token_tree_child(tree, node, y);
        if (child < 0) {
            lathe_verdict_end(verdict, y);
            return;
        }
        lathe_verdict_keep(verdict, tree, child);
        node = child;
    }
}

static int32_t pick_argmax(const double *law, int32_t n, const lathe_chance *chance, uint64_t position) {
    (void) chance;
    (void) position;
    return lathe_argmax(law, n);
}

static int32_t pick_sample(const double *law, int32_t n, const lathe_chance *chance, uint64_t position) {
    return lathe_chance_draw(chance, LATHE_RNG_TARGET_SAMPLE, law, n, position, 0);
}

static int32_t pick_gumbel(const double *law, int32_t n, const lathe_chance *chance, uint64_t position) {
    return lathe_gumbel_pick(chance->seed, law, n, position);
}

static void greedy(const lathe_token_tree *tree, const double *p, const lathe_verify_options *options,
                   const lathe_chance *chance, double *work, lathe_verdict *verdict) {
    (void) options;
    (void) work;
    follow(tree, p, chance, verdict, pick_argmax);
}

static void match(const lathe_token_tree *tree, const double *p, const lathe_verify_options *options,
                  const lathe_chance *chance, double *work, lathe_verdict *verdict) {
    (void) options;
    (void) work;
    follow(tree, p, chance, verdict, pick_sample);
}

static void coupled(const lathe_token_tree *tree, const double *p, const lathe_verify_options *options,
                    const lathe_chance *chance, double *work, lathe_verdict *verdict) {
    (void) options;
    (void) work;
    follow(tree, p, chance, verdict, pick_gumbel);
}

const lathe_verifier lathe_verifier_greedy = {
    .name = "greedy",
    .summary = "keep drafts that are the most probable token (temperature 0)",
    .laws = LATHE_LAW_POINT | LATHE_LAW_SAMPLED,
    .trees = true,
    .lossless = true,
    .same_text = true,
    .verify = greedy,
};

const lathe_verifier lathe_verifier_match = {
    .name = "match",
    .summary = "draw the target's token, keep drafts that equal it",
    /* Drawn drafts qualify only because the target's uniform (purpose 0) is independent of theirs (purpose
       1). */
    .laws = LATHE_LAW_POINT | LATHE_LAW_SAMPLED,
    .trees = true,
    .lossless = true,
    .same_text = true,
    .verify = match,
};

const lathe_verifier lathe_verifier_coupled = {
    .name = "coupled",
    .summary = "draft and target choose by the same Gumbel noise; the text never depends on the draft",
    .laws = LATHE_LAW_POINT | LATHE_LAW_SAMPLED,
    .trees = true,
    .lossless = true,
    .same_text = true,
    .verify = coupled,
};
