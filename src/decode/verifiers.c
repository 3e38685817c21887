/* verifiers.c - the table of verifiers, and what all of them share. */
#include "decode/verifier.h"
#include "lathe/decode.h"

#include <math.h>
#include <string.h>

const lathe_verifier *const lathe_verifiers[] = {
    &lathe_verifier_greedy,  &lathe_verifier_match,   &lathe_verifier_token,   &lathe_verifier_block,
    &lathe_verifier_wor,     &lathe_verifier_wr,      &lathe_verifier_coupled, &lathe_verifier_cool,
    &lathe_verifier_typical, &lathe_verifier_lantern,
};
const size_t lathe_n_verifiers = LATHE_LEN(lathe_verifiers);

lathe_verify_options lathe_verify_options_default(void) {
    return (lathe_verify_options){.cool_delta = 1.1,
                                  .cool_nu = 0.7,
                                  .cool_mode = LATHE_COOL_EXCESS,
                                  .typical_epsilon = 0.09,
                                  .typical_delta = 0.3,
                                  .lantern_delta = 0.1,
                                  .lantern_optimal = true};
}

lathe_status lathe_verifier_find(const char *name, const lathe_verifier **verifier, lathe_error *err) {
    for (size_t i = 0; i < lathe_n_verifiers; i++)
        if (strcmp(lathe_verifiers[i]->name, name) == 0) {
            *verifier = lathe_verifiers[i];
            return LATHE_OK;
        }
    return lathe_fail(
        err, LATHE_ERR_ARG,
        "no verifier '%s'; there are greedy, match, token, block, wor, wr, coupled, cool, typical, lantern",
        name);
}

lathe_status lathe_verifier_check(const lathe_verifier *verifier, int32_t laws, bool tree,
                                  const lathe_verify_options *options, double temperature, lathe_error *err) {
    if ((laws & ~verifier->laws) && (laws & LATHE_LAW_POINT))
        return lathe_fail(err, LATHE_ERR_ARG,
                          "'%s' tests drafts that were drawn from a known law, and this proposer chooses by "
                          "a rule: its output "
                          "would leave the target's law; use match",
                          verifier->name);
    if (laws & ~verifier->laws)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "'%s' judges drafts chosen by a rule only; use block, token or wor for drawn ones",
                          verifier->name);
    if (tree && !verifier->trees)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "'%s' judges chains, and this proposer drafts trees; use wor or match",
                          verifier->name);
    if (verifier == &lathe_verifier_greedy && temperature > 0.0)
        return lathe_fail(err, LATHE_ERR_ARG, "'greedy' is for temperature 0, not %g; use match",
                          temperature);
    if (verifier == &lathe_verifier_cool && !(options->cool_delta >= 1.0 && options->cool_delta <= 1e12))
        return lathe_fail(err, LATHE_ERR_ARG, "cool-delta is %g; at least 1, as less would only be slower",
                          options->cool_delta);
    if (verifier == &lathe_verifier_cool && !(options->cool_nu >= 0.0 && options->cool_nu <= 3.0))
        return lathe_fail(err, LATHE_ERR_ARG, "cool-nu is %g; 0 to 3", options->cool_nu);
    if (verifier == &lathe_verifier_lantern && !options->neighbours)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "'lantern' needs the table of nearest tokens of a model with a codebook");
    return LATHE_OK;
}

lathe_status lathe_verify_tree(const lathe_verifier *verifier, const lathe_token_tree *tree, const double *p,
                               const lathe_verify_options *options, const lathe_chance *chance, double *work,
                               lathe_verdict *verdict, lathe_error *err) {
    const int32_t n = tree->n_vocab;
    for (int32_t i = 0; i < tree->n_nodes; i++) {
        const double *row = p + (size_t) i * (size_t) n;
        double sum = 0.0;
        for (int32_t x = 0; x < n; x++) {
            if (!(row[x] >= 0.0))
                return lathe_fail(err, LATHE_ERR_NUMERIC,
                                  "the target's probability of id %d behind drafted node %d is %g", (int) x,
                                  (int) i, row[x]);
            sum += row[x];
        }
        if (!(sum > 0.0) || isinf(sum))
            return lathe_fail(err, LATHE_ERR_NUMERIC, "the target's law behind drafted node %d sums to %g",
                              (int) i, sum);
    }
    verdict->n_accepted = 0;
    verdict->n_emitted = 0;
    verdict->tv_budget = 0.0;
    verifier->verify(tree, p, options, chance, work, verdict);
    return LATHE_OK;
}

bool lathe_residual(const double *p, const double *q, int32_t n, double *out) {
    double sum = 0.0;
    for (int32_t x = 0; x < n; x++)
        if (p[x] > q[x])
            sum += p[x] - q[x];
    if (!(sum > 1e-12))
        return false;
    for (int32_t x = 0; x < n; x++)
        out[x] = p[x] > q[x] ? (p[x] - q[x]) / sum : 0.0;
    return true;
}

int32_t lathe_argmax(const double *p, int32_t n) {
    int32_t best = 0;
    for (int32_t x = 1; x < n; x++)
        if (p[x] > p[best])
            best = x;
    return best;
}

void lathe_verdict_keep(lathe_verdict *verdict, const lathe_token_tree *tree, int32_t node) {
    verdict->path[verdict->n_accepted++] = node;
    verdict->emitted[verdict->n_emitted++] = tree->token[node];
}

void lathe_verdict_end(lathe_verdict *verdict, int32_t token) {
    verdict->emitted[verdict->n_emitted++] = token;
}

const char *lathe_verifier_name(size_t i) {
    return i < lathe_n_verifiers ? lathe_verifiers[i]->name : NULL;
}
