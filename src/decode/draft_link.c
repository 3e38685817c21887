/* draft_link.c - see draft_link.h. */
#include "decode/draft_link.h"

#include <math.h>

#include "decode/chance.h"
#include "decode/verifier.h"

/* The likeliest id (ties: the lowest) and its probability at temperature 1. */
static double best_of(const float *logits, int32_t n, int32_t *id) {
    int32_t best = 0;
    double sum = 0;
    for (int32_t i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    for (int32_t i = 0; i < n; i++)
        sum += exp((double) logits[i] - logits[best]);
    *id = best;
    return 1 / sum;
}

lathe_status lathe_draft_link(const lathe_draft_request *r, const float *logits, const int32_t *history,
                              int32_t n, int32_t n_committed, int32_t depth, double *law,
                              lathe_token_tree *tree, int32_t parent, int32_t *node, lathe_error *err) {
    const int32_t n_vocab = tree->n_vocab;
    lathe_chance chance = r->chance ? *r->chance : (lathe_chance){0}; /* tests put their own choices there */
    chance.seed = lathe_sampler_seed(r->sampler);
    chance.n_committed = (uint64_t) n_committed;
    const bool greedy = lathe_sampler_is_greedy(r->sampler);
    lathe_status status = LATHE_OK;
    double prob;
    int32_t id;
    *node = -1;
    if (r->law == LATHE_LAW_SAMPLED || !greedy)
        status = lathe_sampler_law(r->sampler, logits, history, (size_t) n, law, err);
    if (status)
        return status;
    if (r->law == LATHE_LAW_SAMPLED) {
        prob = law[lathe_argmax(law, n_vocab)];
        if (r->more && !r->more(r->user, depth, prob))
            return LATHE_OK;
        const int32_t row = lathe_token_tree_add_law(tree, law);
        if (row < 0)
            return LATHE_OK;
        id = lathe_chance_draw(&chance, LATHE_RNG_DRAFT_SAMPLE, law, n_vocab, (uint64_t) n,
                               (uint32_t) tree->n_nodes);
        *node = lathe_token_tree_add_sampled(tree, parent, id, row);
        if (*node >= 0)
            tree->prob[*node] = (float) prob;
        return LATHE_OK;
    }
    if (greedy) {
        prob = best_of(logits, n_vocab, &id);
    } else {
        id = r->gumbel ? lathe_gumbel_pick(chance.seed, law, n_vocab, (uint64_t) n)
                       : lathe_sampler_pick(r->sampler, law, (size_t) n);
        prob = law[id];
    }
    if (!r->more || r->more(r->user, depth, prob))
        *node = lathe_token_tree_add(tree, parent, id, prob);
    return LATHE_OK;
}
