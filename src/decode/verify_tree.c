/* verify_tree.c - verifiers that test the children of a node one after another against what is left of the
 * target's law: wor (without replacement, Sequoia), wr (with replacement, SpecInfer) and cool (COOL-SD,
 * relaxed).
 *
 * `cool` is `wor` with the ratio times omega(depth) >= 1; at omega = 1 it is `wor`, draw for draw. */
#include "decode/verifier.h"

#include <math.h>
#include <string.h>

static const double *draft_law(const lathe_token_tree *tree, int32_t node) {
    return tree->laws + (size_t) tree->law[node] * (size_t) tree->n_vocab;
}

static int32_t next_child(const lathe_token_tree *tree, int32_t node, int32_t after) {
    for (int32_t i = after + 1; i < tree->n_nodes; i++)
        if (tree->parent[i] == node)
            return i;
    return -1;
}

/* P <- Norm([P - min(Q, omega P)]_+), which for omega >= 1 is Norm([P - Q]_+). */
static void reduce(double *P, const double *Q, double omega, int32_t n) {
    double sum = 0.0;
    for (int32_t x = 0; x < n; x++) {
        const double taken = Q[x] < omega * P[x] ? Q[x] : omega * P[x];
        if (P[x] > taken)
            sum += P[x] - taken;
    }
    if (!(sum > 1e-12))
        return; /* a rejection that rounding alone made possible: P stays */
    for (int32_t x = 0; x < n; x++) {
        const double taken = Q[x] < omega * P[x] ? Q[x] : omega * P[x];
        P[x] = P[x] > taken ? (P[x] - taken) / sum : 0.0;
    }
}

/* Takes s out of Q and normalises; where nothing is left, Q is uniform over the ids that were not tried. */
static void remove_drawn(const lathe_token_tree *tree, double *Q, int32_t node, int32_t child) {
    const int32_t n = tree->n_vocab;
    double sum = 0.0;
    Q[tree->token[child]] = 0.0;
    for (int32_t x = 0; x < n; x++)
        sum += Q[x];
    if (sum > 0.0) {
        for (int32_t x = 0; x < n; x++)
            Q[x] /= sum;
        return;
    }
    int32_t left = n;
    for (int32_t x = 0; x < n; x++)
        Q[x] = 1.0;
    for (int32_t c = next_child(tree, node, node); c >= 0 && c <= child; c = next_child(tree, node, c))
        if (Q[tree->token[c]] > 0.0) {
            Q[tree->token[c]] = 0.0;
            left--;
        }
    for (int32_t x = 0; x < n; x++)
        Q[x] /= left > 0 ? left : 1;
}

/* sum over x of [min(Q, omega P) - P]_+: the least one-step error that this relaxation can have. */
static double excess(const double *P, const double *Q, double omega, int32_t n) {
    double b = 0.0;
    for (int32_t x = 0; x < n; x++) {
        const double over = Q[x] - P[x], room = (omega - 1.0) * P[x];
        const double least = over < room ? over : room;
        if (least > 0.0)
            b += least;
    }
    return b;
}

static void without_replacement(const lathe_token_tree *tree, const double *p, const double *omega,
                                int32_t n_omega, const lathe_chance *chance, double *work,
                                lathe_verdict *verdict) {
    const int32_t n = tree->n_vocab;
    double *P = work, *Q = work + n;
    int32_t node = 0;
    for (;;) {
        const uint64_t position = chance->n_committed + (uint64_t) tree->depth[node];
        const int32_t level = tree->depth[node];
        const double w = level < n_omega ? omega[level] : 1.0;
        memcpy(P, p + (size_t) node * (size_t) n, (size_t) n * sizeof *P);
        int32_t accepted = -1, first = next_child(tree, node, node);
        for (int32_t c = first; c >= 0; c = next_child(tree, node, c)) {
            const int32_t s = tree->token[c];
            if (tree->kind[c] == LATHE_LAW_POINT) {
                memset(Q, 0, (size_t) n * sizeof *Q);
                Q[s] = 1.0;
            } else if (c == first) {
                memcpy(Q, draft_law(tree, c), (size_t) n * sizeof *Q);
            }
            if (w > 1.0)
                verdict->tv_budget += excess(P, Q, w, n);
            const double ratio = Q[s] > 0.0 ? w * P[s] / Q[s] : P[s] > 0.0 ? 1e300 : 0.0;
            if (lathe_chance_accept(chance, ratio, position, (uint32_t) c)) {
                accepted = c;
                break;
            }
            reduce(P, Q, w, n);
            if (tree->kind[c] == LATHE_LAW_SAMPLED)
                remove_drawn(tree, Q, node, c);
        }
        if (accepted < 0) {
            const uint32_t purpose = first < 0 ? LATHE_RNG_TARGET_SAMPLE : LATHE_RNG_RESIDUAL_SAMPLE;
            lathe_verdict_end(verdict, lathe_chance_draw(chance, purpose, P, n, position, 0));
            return;
        }
        lathe_verdict_keep(verdict, tree, accepted);
        node = accepted;
    }
}

static void wor(const lathe_token_tree *tree, const double *p, const lathe_verify_options *options,
                const lathe_chance *chance, double *work, lathe_verdict *verdict) {
    (void) options;
    without_replacement(tree, p, NULL, 0, chance, work, verdict);
}

void lathe_cool_schedule(const lathe_verify_options *options, int32_t length, double *omega) {
    double sum = 0.0;
    for (int32_t i = 1; i <= length; i++) {
        double s = exp(-options->cool_nu * i);
        if (options->cool_mode == LATHE_COOL_UNIFORM)
            s = 1.0;
        else if (options->cool_mode == LATHE_COOL_LINEAR)
            s = (double) (length + 1 - i);
        else if (options->cool_mode == LATHE_COOL_REVERSE)
            s = exp(-options->cool_nu * (length + 1 - i));
        omega[i - 1] = s;
        sum += s;
    }
    for (int32_t i = 0; i < length; i++) {
        const double share = omega[i] * length / sum;
        const double w = options->cool_mode == LATHE_COOL_MEAN ? options->cool_delta * share
                                                               : 1.0 + (options->cool_delta - 1.0) * share;
        omega[i] = w > 1.0 ? w : 1.0; /* under 1 the step is exact already and acceptance only falls */
    }
}

static void cool(const lathe_token_tree *tree, const double *p, const lathe_verify_options *options,
                 const lathe_chance *chance, double *work, lathe_verdict *verdict) {
    double omega[LATHE_DRAFT_DEPTH_MAX];
    int32_t length = options->cool_length > 0 ? options->cool_length : lathe_token_tree_depth(tree);
    if (length > LATHE_DRAFT_DEPTH_MAX)
        length = LATHE_DRAFT_DEPTH_MAX;
    lathe_cool_schedule(options, length, omega);
    without_replacement(tree, p, omega, length, chance, work, verdict);
}

static void wr(const lathe_token_tree *tree, const double *p, const lathe_verify_options *options,
               const lathe_chance *chance, double *work, lathe_verdict *verdict) {
    (void) options;
    const int32_t n = tree->n_vocab;
    double *P = work, *Q = work + n;
    int32_t node = 0;
    for (;;) {
        const uint64_t position = chance->n_committed + (uint64_t) tree->depth[node];
        int32_t left[LATHE_TREE_NODES_MAX], n_left = 0, accepted = -1;
        for (int32_t c = next_child(tree, node, node); c >= 0; c = next_child(tree, node, c))
            left[n_left++] = c;
        const bool any = n_left > 0;
        memcpy(P, p + (size_t) node * (size_t) n, (size_t) n * sizeof *P);
        while (n_left > 0 && accepted < 0) {
            int32_t j = 0;
            if (n_left > 1) {
                double even[LATHE_TREE_NODES_MAX];
                for (int32_t i = 0; i < n_left; i++)
                    even[i] = 1.0;
                j = lathe_chance_draw(chance, LATHE_RNG_TREE_ORDER, even, n_left, position,
                                      (uint32_t) left[n_left - 1]);
            }
            const int32_t c = left[j], s = tree->token[c];
            /* Closing the gap from the right keeps the last entry, which is the draw's index, distinct. */
            memmove(left + j, left + j + 1, (size_t) (n_left - j - 1) * sizeof *left);
            n_left--;
            memset(Q, 0, (size_t) n * sizeof *Q);
            if (tree->kind[c] == LATHE_LAW_POINT)
                Q[s] = 1.0;
            else
                memcpy(Q, draft_law(tree, c), (size_t) n * sizeof *Q);
            const double ratio = Q[s] > 0.0 ? P[s] / Q[s] : P[s] > 0.0 ? 1e300 : 0.0;
            if (lathe_chance_accept(chance, ratio, position, (uint32_t) c))
                accepted = c;
            else
                reduce(P, Q, 1.0, n);
        }
        if (accepted < 0) {
            const uint32_t purpose = any ? LATHE_RNG_RESIDUAL_SAMPLE : LATHE_RNG_TARGET_SAMPLE;
            lathe_verdict_end(verdict, lathe_chance_draw(chance, purpose, P, n, position, 0));
            return;
        }
        lathe_verdict_keep(verdict, tree, accepted);
        node = accepted;
    }
}

const lathe_verifier lathe_verifier_wor = {
    .name = "wor",
    .summary = "recursive rejection over children drawn without replacement",
    .laws = LATHE_LAW_POINT | LATHE_LAW_SAMPLED,
    .trees = true,
    .lossless = true,
    .verify = wor,
};

const lathe_verifier lathe_verifier_wr = {
    .name = "wr",
    .summary = "recursive rejection over children drawn with replacement, in random order",
    .laws = LATHE_LAW_POINT | LATHE_LAW_SAMPLED,
    .trees = true,
    .lossless = true,
    .verify = wr,
};

const lathe_verifier lathe_verifier_cool = {
    .name = "cool",
    .summary = "lossy: acceptance ratio raised, most at a round's first positions",
    .laws = LATHE_LAW_POINT | LATHE_LAW_SAMPLED,
    .trees = true,
    .verify = cool,
};
