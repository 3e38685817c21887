/* verify_chain.c - verifiers of chains: token (speculative sampling) and block (block verification).
 *
 * Sources: Leviathan et al. 2023 and Chen et al. 2023 for `token`; Sun et al. 2024 for `block`. */
#include "decode/verifier.h"

static const double *law_after(const lathe_token_tree *tree, const double *p, int32_t node) {
    return p + (size_t) node * (size_t) tree->n_vocab;
}

/* The law that the drafted node was drawn from. */
static const double *draft_law(const lathe_token_tree *tree, int32_t node) {
    return tree->laws + (size_t) tree->law[node] * (size_t) tree->n_vocab;
}

/* p / q with the safe reading of q = 0, which only rounding can bring. */
static double ratio_of(double p, double q) {
    if (q > 0.0)
        return p / q;
    return p > 0.0 ? 1e300 : 0.0;
}

static void token(const lathe_token_tree *tree, const double *p, const lathe_verify_options *options,
                  const lathe_chance *chance, double *work, lathe_verdict *verdict) {
    (void) options;
    const int32_t n = tree->n_vocab;
    for (int32_t k = 1; k < tree->n_nodes; k++) {
        const double *P = law_after(tree, p, k - 1), *Q = draft_law(tree, k);
        const uint64_t position = chance->n_committed + (uint64_t) (k - 1);
        const int32_t d = tree->token[k];
        if (lathe_chance_accept(chance, ratio_of(P[d], Q[d]), position, 0)) {
            lathe_verdict_keep(verdict, tree, k);
            continue;
        }
        const double *from = lathe_residual(P, Q, n, work) ? work : P;
        lathe_verdict_end(verdict,
                          lathe_chance_draw(chance, LATHE_RNG_RESIDUAL_SAMPLE, from, n, position, 0));
        return;
    }
    const int32_t last = tree->n_nodes - 1;
    lathe_verdict_end(verdict, lathe_chance_draw(chance, LATHE_RNG_TARGET_SAMPLE, law_after(tree, p, last), n,
                                                 chance->n_committed + (uint64_t) last, 0));
}

/* Every prefix gets a test of its own and the longest that passes is kept, so that a draft which is unlikely
 * at one position can be saved by likely ones behind it. pi is the probability with which a prefix may be
 * kept. */
static void block(const lathe_token_tree *tree, const double *p, const lathe_verify_options *options,
                  const lathe_chance *chance, double *work, lathe_verdict *verdict) {
    (void) options;
    const int32_t n = tree->n_vocab, gamma = tree->n_nodes - 1;
    double pi = 1.0, pi_kept = 1.0;
    int32_t kept = 0;
    for (int32_t i = 1; i <= gamma; i++) {
        const int32_t d = tree->token[i];
        const double step = pi * ratio_of(law_after(tree, p, i - 1)[d], draft_law(tree, i)[d]);
        pi = step < 1.0 ? step : 1.0;
        double h = pi;
        if (i < gamma) {
            const double *P = law_after(tree, p, i), *Q = draft_law(tree, i + 1);
            double s = 0.0;
            for (int32_t x = 0; x < n; x++)
                if (pi * P[x] > Q[x])
                    s += pi * P[x] - Q[x];
            const double below = s + 1.0 - pi;
            h = below > 0.0 ? s / below : 0.0;
        }
        if (lathe_chance_accept(chance, h, chance->n_committed + (uint64_t) (i - 1), 0)) {
            kept = i;
            pi_kept = pi;
        }
    }
    for (int32_t i = 1; i <= kept; i++)
        lathe_verdict_keep(verdict, tree, i);
    const double *P = law_after(tree, p, kept);
    const uint64_t position = chance->n_committed + (uint64_t) kept;
    if (kept == gamma) {
        lathe_verdict_end(verdict, lathe_chance_draw(chance, LATHE_RNG_TARGET_SAMPLE, P, n, position, 0));
        return;
    }
    const double *Q = draft_law(tree, kept + 1);
    double *scaled = work + n;
    for (int32_t x = 0; x < n; x++)
        scaled[x] = pi_kept * P[x];
    const double *from = lathe_residual(scaled, Q, n, work) ? work : P;
    lathe_verdict_end(verdict, lathe_chance_draw(chance, LATHE_RNG_RESIDUAL_SAMPLE, from, n, position, 0));
}

const lathe_verifier lathe_verifier_token = {
    .name = "token",
    .summary = "accept with probability p/q, resample from the residual",
    .laws = LATHE_LAW_SAMPLED,
    .lossless = true,
    .verify = token,
};

const lathe_verifier lathe_verifier_block = {
    .name = "block",
    .summary = "as token, but judges whole prefixes: never fewer tokens",
    .laws = LATHE_LAW_SAMPLED,
    .lossless = true,
    .verify = block,
};
