/* proposer_recycle.c - Token Recycling: after each token, the target's last most probable followers, as a
 * tree.
 *
 * The tree's shape is the best of 80 nodes for starting rates of acceptance by rank; chains take the first
 * ranks only. Source: Luo et al. 2024. */
#include "decode/proposer.h"

#include <stdlib.h>
#include <string.h>

enum { NODES = 81, K_MAX = 16 };

typedef struct recycle {
    int32_t *top; /* [n_vocab][k]; -1: unknown */
    int32_t n_vocab, k;
    int32_t parent[NODES], rank[NODES];
} recycle;

static const double rates[K_MAX] = {.40, .14, .08, .05, .03, .02, .015, .01};

static lathe_status create(const lathe_proposer_params *params, void **state, lathe_error *err) {
    if (params->n_vocab < 1 || params->recycle_k < 1 || params->recycle_k > K_MAX)
        return lathe_fail(err, LATHE_ERR_ARG, "recycle keeps %d followers of %d ids; 1 to %d",
                          (int) params->recycle_k, (int) params->n_vocab, (int) K_MAX);
    recycle *s = calloc(1, sizeof *s);
    if (!s)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for token recycling");
    s->n_vocab = params->n_vocab;
    s->k = params->recycle_k;
    const size_t n = (size_t) s->n_vocab * (size_t) s->k;
    s->top = malloc(n * sizeof *s->top);
    const lathe_status status = s->top ? lathe_sequoia_tree(rates, 8, NODES, 0, s->parent, s->rank, NULL, err)
                                       : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for token recycling");
    if (status) {
        free(s->top);
        free(s);
        return status;
    }
    for (size_t i = 0; i < n; i++)
        s->top[i] = -1;
    *state = s;
    return LATHE_OK;
}

static lathe_status sync_to(void *state, const int32_t *ids, int32_t n, lathe_error *err) {
    (void) state;
    (void) ids;
    (void) n;
    (void) err;
    return LATHE_OK;
}

static void draft(void *state, int32_t n_max, lathe_token_tree *tree) {
    const recycle *s = state;
    int32_t made[NODES];
    made[0] = 0;
    for (int32_t i = 1; i < NODES && tree->n_nodes <= n_max; i++) {
        const int32_t parent = made[s->parent[i]];
        made[i] = -1;
        if (parent < 0 || s->rank[i] >= s->k)
            continue;
        const int32_t token = tree->token[parent];
        if (token < 0 || token >= s->n_vocab)
            continue;
        made[i] = lathe_token_tree_add(
            tree, parent, s->top[(size_t) token * (size_t) s->k + (size_t) s->rank[i]], rates[s->rank[i]]);
    }
}

static void learn(void *state, const int32_t *token, const int32_t *top, int32_t n, int32_t k) {
    recycle *s = state;
    const int32_t m = k < s->k ? k : s->k;
    for (int32_t i = 0; i < n; i++)
        if (token[i] >= 0 && token[i] < s->n_vocab)
            memcpy(s->top + (size_t) token[i] * (size_t) s->k, top + (size_t) i * (size_t) k,
                   (size_t) m * sizeof *top);
}

static void destroy(void *state) {
    recycle *s = state;
    if (!s)
        return;
    free(s->top);
    free(s);
}

const lathe_proposer lathe_proposer_recycle = {
    .name = "recycle",
    .summary = "the target's last most probable followers of each token, as a tree",
    .laws = LATHE_LAW_POINT,
    .trees = true,
    .length = 80,
    .create = create,
    .sync = sync_to,
    .draft = draft,
    .learn = learn,
    .destroy = destroy,
};
