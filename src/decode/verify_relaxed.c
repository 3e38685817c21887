/* verify_relaxed.c - two relaxed baselines: typical acceptance (Medusa) and LANTERN. Both are lossy, and both
 * add their one-step total-variation errors (of LANTERN's zeroing: for the drafted token) to the budget. */
#include "decode/verifier.h"

#include <math.h>
#include <string.h>

static void typical(const lathe_token_tree *tree, const double *p, const lathe_verify_options *options,
                    const lathe_chance *chance, double *work, lathe_verdict *verdict) {
    (void) work;
    const int32_t n = tree->n_vocab;
    int32_t node = 0;
    for (;;) {
        const double *P = p + (size_t) node * (size_t) n;
        double entropy = 0.0;
        for (int32_t x = 0; x < n; x++)
            if (P[x] > 0.0)
                entropy -= P[x] * log(P[x]);
        const double soft = options->typical_delta * exp(-entropy);
        const double floor = soft < options->typical_epsilon ? soft : options->typical_epsilon;
        int32_t next = -1;
        for (int32_t c = node + 1; c < tree->n_nodes; c++)
            if (tree->parent[c] == node && P[tree->token[c]] > floor &&
                (next < 0 || P[tree->token[c]] > P[tree->token[next]]))
                next = c;
        if (next < 0) {
            lathe_verdict_end(verdict,
                              lathe_chance_draw(chance, LATHE_RNG_TARGET_SAMPLE, P, n,
                                                chance->n_committed + (uint64_t) tree->depth[node], 0));
            return;
        }
        verdict->tv_budget += 1.0 - P[tree->token[next]]; /* the token is certain where its law gave it P */
        lathe_verdict_keep(verdict, tree, next);
        node = next;
    }
}

/* The probability that x may use: its own and its nearest tokens' while what these lend stays within the
 * limit. */
static double aggregate(const double *P, const lathe_verify_options *options, int32_t x, int32_t *n_used) {
    const double limit =
        options->lantern_delta > 1.0 ? (options->lantern_delta - 1.0) * P[x] : options->lantern_delta;
    double lent = 0.0;
    int32_t k = 0;
    for (; k < options->n_neighbours; k++) {
        const double more = P[options->neighbours[(size_t) x * (size_t) options->n_neighbours + (size_t) k]];
        if (lent + more > limit)
            break;
        lent += more;
    }
    if (n_used)
        *n_used = k;
    return P[x] + lent;
}

static void lantern(const lathe_token_tree *tree, const double *p, const lathe_verify_options *options,
                    const lathe_chance *chance, double *work, lathe_verdict *verdict) {
    const int32_t n = tree->n_vocab;
    double *taken = work, *G = work + n;
    for (int32_t k = 1; k < tree->n_nodes; k++) {
        const double *P = p + (size_t) (k - 1) * (size_t) n;
        const double *Q =
            tree->kind[k] == LATHE_LAW_SAMPLED ? tree->laws + (size_t) tree->law[k] * (size_t) n : NULL;
        const uint64_t position = chance->n_committed + (uint64_t) (k - 1);
        const int32_t d = tree->token[k];
        int32_t n_used = 0;
        const double agg = aggregate(P, options, d, &n_used);
        /* taken(x) = Q(x) f(x), the mass that leaves by acceptance. */
        double rejected = 1.0;
        for (int32_t x = 0; x < n; x++) {
            const double q = Q ? Q[x] : x == d ? 1.0 : 0.0;
            const double most = q > 0.0 ? aggregate(P, options, x, NULL) : 0.0;
            taken[x] = q < most ? q : most;
            rejected -= taken[x];
        }
        bool left = lathe_residual(P, taken, n, G);
        if (!options->lantern_optimal) {
            double sum = 0.0;
            memcpy(G, P, (size_t) n * sizeof *G);
            G[d] = 0.0;
            for (int32_t j = 0; j < n_used; j++)
                G[options->neighbours[(size_t) d * (size_t) options->n_neighbours + (size_t) j]] = 0.0;
            for (int32_t x = 0; x < n; x++)
                sum += G[x];
            left = sum > 1e-12;
            for (int32_t x = 0; x < n && left; x++)
                G[x] /= sum;
        }
        if (!left)
            memcpy(G, P, (size_t) n * sizeof *G);
        double error = 0.0;
        for (int32_t x = 0; x < n; x++)
            error += fabs(taken[x] + (rejected > 0.0 ? rejected : 0.0) * G[x] - P[x]);
        verdict->tv_budget += 0.5 * error;
        const double q = Q ? Q[d] : 1.0;
        if (lathe_chance_accept(chance, q > 0.0 ? agg / q : 1e300, position, 0)) {
            lathe_verdict_keep(verdict, tree, k);
            continue;
        }
        lathe_verdict_end(verdict, lathe_chance_draw(chance, LATHE_RNG_RESIDUAL_SAMPLE, G, n, position, 0));
        return;
    }
    const int32_t last = tree->n_nodes - 1;
    lathe_verdict_end(verdict,
                      lathe_chance_draw(chance, LATHE_RNG_TARGET_SAMPLE, p + (size_t) last * (size_t) n, n,
                                        chance->n_committed + (uint64_t) last, 0));
}

const lathe_verifier lathe_verifier_typical = {
    .name = "typical",
    .summary = "lossy: keep every draft that is typical for the target",
    .laws = LATHE_LAW_POINT | LATHE_LAW_SAMPLED,
    .trees = true,
    .verify = typical,
};

const lathe_verifier lathe_verifier_lantern = {
    .name = "lantern",
    .summary = "lossy: near tokens of a codebook lend their probability to the draft",
    .laws = LATHE_LAW_POINT | LATHE_LAW_SAMPLED,
    .verify = lantern,
};
