/* round.c - one round, and the loop of rounds. Invariant: the context holds all committed tokens but the
 * last, the pending one. */
#include "decode/round.h"

#include <stdlib.h>
#include <string.h>

/* Laws of all nodes, each behind its own hypothetical history. */
static lathe_status laws_of(lathe_context *context, lathe_sampler *sampler, const lathe_token_tree *tree,
                            const int32_t *ids, int32_t n, int32_t *history, double *p, lathe_error *err) {
    memcpy(history, ids, (size_t) n * sizeof *ids);
    for (int32_t i = 0; i < tree->n_nodes; i++) {
        for (int32_t node = i; node > 0; node = tree->parent[node])
            history[n + tree->depth[node] - 1] = tree->token[node];
        const float *logits = lathe_context_logits(context, i);
        if (!logits)
            return lathe_fail(err, LATHE_ERR_INTERNAL, "row %d of a verify batch has no logits", (int) i);
        const lathe_status status = lathe_sampler_law(sampler, logits, history, (size_t) (n + tree->depth[i]),
                                                      p + (size_t) i * (size_t) tree->n_vocab, err);
        if (status)
            return status;
    }
    return LATHE_OK;
}

struct lathe_round {
    lathe_round_params params;
    lathe_token_tree tree;
    int32_t *history; /* [capacity] */
    size_t capacity;
    double *p, *work;
    uint8_t *want;
    lathe_verdict verdict;
};

void lathe_round_free(lathe_round *round) {
    if (!round)
        return;
    free(round->history);
    free(round->p);
    free(round->want);
    lathe_token_tree_free(&round->tree);
    free(round);
}

lathe_status lathe_round_new(int32_t n_vocab, const lathe_round_params *params, lathe_round **round,
                             lathe_error *err) {
    if (params->length < 0 || params->length > LATHE_DRAFT_DEPTH_MAX)
        return lathe_fail(err, LATHE_ERR_ARG, "drafts of %d tokens; want 0 to %d", (int) params->length,
                          (int) LATHE_DRAFT_DEPTH_MAX);
    const size_t rows = (size_t) params->length + 1;
    lathe_round *r = calloc(1, sizeof *r);
    if (!r)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for rounds");
    r->params = *params;
    lathe_status status = lathe_token_tree_init(&r->tree, params->length + 1, n_vocab, err);
    if (!status) {
        r->p = malloc((rows + 3) * (size_t) n_vocab * sizeof *r->p);
        r->want = malloc(rows);
        if (!r->p || !r->want)
            status =
                lathe_fail(err, LATHE_ERR_MEMORY, "no memory for rounds of %d drafts", (int) params->length);
    }
    if (status) {
        lathe_round_free(r);
        return status;
    }
    r->work = r->p + rows * (size_t) n_vocab;
    memset(r->want, 1, rows);
    *round = r;
    return LATHE_OK;
}

static lathe_status reserve_history(lathe_round *r, size_t n, lathe_error *err) {
    if (n <= r->capacity)
        return LATHE_OK;
    const size_t wanted = n + n / 2 + 256;
    int32_t *grown = n > SIZE_MAX / 8 ? NULL : realloc(r->history, wanted * sizeof *grown);
    if (!grown)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %zu tokens", n);
    r->history = grown;
    r->capacity = wanted;
    return LATHE_OK;
}

lathe_status lathe_round_take(lathe_round *r, lathe_context *context, lathe_sampler *sampler,
                              const int32_t *ids, int32_t n, int32_t most, lathe_round_totals *totals,
                              const lathe_verdict **verdict, lathe_error *err) {
    const lathe_round_params *params = &r->params;
    lathe_token_tree *tree = &r->tree;
    const int32_t n_past = lathe_context_n_past(context, 0);
    int32_t room = params->length, n_rows = lathe_context_n_batch(context);
    n_rows = n_rows < lathe_context_n_ctx(context) - n_past ? n_rows : lathe_context_n_ctx(context) - n_past;
    room = room < most ? room : most;
    room = room < n_rows - 1 ? room : n_rows - 1;
    lathe_status status = reserve_history(r, (size_t) n + (size_t) params->length + 1, err);
    if (status)
        return status;
    lathe_token_tree_start(tree, ids[n - 1]);
    if (room > 0 && !(status = params->proposer->sync(params->proposer_state, ids, n, err))) {
        params->proposer->draft(params->proposer_state, room, tree);
        lathe_token_tree_cut(tree, room, room);
    }
    if (status)
        return status;
    const bool chain = lathe_token_tree_is_chain(tree);
    const lathe_batch batch = {.tokens = tree->token,
                               .parent = chain ? NULL : tree->parent,
                               .want = r->want,
                               .n_tokens = tree->n_nodes};
    const lathe_chance chance = {.seed = lathe_sampler_seed(sampler), .n_committed = (uint64_t) n};
    if ((status = lathe_context_decode(context, &batch, err)) ||
        (status = laws_of(context, sampler, tree, ids, n, r->history, r->p, err)) ||
        (status = lathe_verify_tree(params->verifier, tree, r->p, &params->options, &chance, r->work,
                                    &r->verdict, err)))
        return status;
    totals->rounds++;
    totals->rows += tree->n_nodes;
    totals->proposed += tree->n_nodes - 1;
    totals->accepted += r->verdict.n_accepted;
    *verdict = &r->verdict;
    if (chain)
        return lathe_context_rollback(context, 0, n_past + 1 + r->verdict.n_accepted, err);
    int32_t path[LATHE_DRAFT_DEPTH_MAX + 1] = {0};
    memcpy(path + 1, r->verdict.path, (size_t) r->verdict.n_accepted * sizeof *path);
    return lathe_context_keep_path(context, path, r->verdict.n_accepted + 1, err);
}

lathe_status lathe_round_generate(lathe_context *context, lathe_sampler *sampler,
                                  const lathe_round_params *params, int32_t *ids, int32_t *n_ids,
                                  int32_t n_predict, lathe_round_totals *totals, lathe_error *err) {
    const lathe_model *model = lathe_context_model(context);
    const lathe_vocab *vocab = lathe_model_vocab(model);
    if (*n_ids < 1 || n_predict < 0)
        return lathe_fail(err, LATHE_ERR_ARG, "%d tokens, %d to come; at least one token, 0 or more to come",
                          (int) *n_ids, (int) n_predict);
    lathe_round *round = NULL;
    lathe_status status = lathe_round_new(lathe_model_n_vocab(model), params, &round, err);
    if (status)
        return status;
    const int32_t held = lathe_context_n_past(context, 0), end = *n_ids + n_predict;
    if (held < *n_ids - 1)
        status = lathe_context_decode(
            context, &(lathe_batch){.tokens = ids + held, .n_tokens = *n_ids - 1 - held}, err);
    bool ended = false;
    while (!status && !ended && *n_ids < end && *n_ids < lathe_context_n_ctx(context)) {
        const lathe_verdict *verdict = NULL;
        status =
            lathe_round_take(round, context, sampler, ids, *n_ids, end - *n_ids - 1, totals, &verdict, err);
        for (int32_t k = 0; !status && k < verdict->n_emitted && !ended && *n_ids < end; k++) {
            ids[(*n_ids)++] = verdict->emitted[k];
            ended = vocab && lathe_vocab_is_end(vocab, verdict->emitted[k]);
        }
    }
    lathe_round_free(round);
    return status;
}
