/* round.c - the loop of rounds. Invariant: the context holds all committed tokens but the last, the pending
 * one. */
#include "decode/round.h"

#include <stdlib.h>
#include <string.h>

/* Laws of all nodes, each behind its own hypothetical history. */
static lathe_status laws_of(lathe_context *context, lathe_sampler *sampler, const lathe_token_tree *tree,
                            int32_t *ids, int32_t n, int32_t *history, double *p, lathe_error *err) {
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

static lathe_status one_round(lathe_context *context, lathe_sampler *sampler,
                              const lathe_round_params *params, lathe_token_tree *tree, int32_t *ids,
                              int32_t n, int32_t most, int32_t *history, double *p, double *work,
                              uint8_t *want, lathe_verdict *verdict, lathe_error *err) {
    lathe_status status = LATHE_OK;
    lathe_token_tree_start(tree, ids[n - 1]);
    if (most > 0 && !(status = params->proposer->sync(params->proposer_state, ids, n, err)))
        params->proposer->draft(params->proposer_state, most, tree);
    if (status)
        return status;
    lathe_token_tree_cut(tree, most, most);
    const bool chain = lathe_token_tree_is_chain(tree);
    memset(want, 1, (size_t) tree->n_nodes);
    const lathe_batch batch = {.tokens = tree->token,
                               .parent = chain ? NULL : tree->parent,
                               .want = want,
                               .n_tokens = tree->n_nodes};
    if ((status = lathe_context_decode(context, &batch, err)) ||
        (status = laws_of(context, sampler, tree, ids, n, history, p, err)))
        return status;
    const lathe_chance chance = {.seed = lathe_sampler_seed(sampler), .n_committed = (uint64_t) n};
    if ((status =
             lathe_verify_tree(params->verifier, tree, p, &params->options, &chance, work, verdict, err)))
        return status;
    if (chain)
        return lathe_context_rollback(context, 0, n + verdict->n_accepted, err);
    int32_t path[LATHE_DRAFT_DEPTH_MAX + 1] = {0};
    memcpy(path + 1, verdict->path, (size_t) verdict->n_accepted * sizeof *path);
    return lathe_context_keep_path(context, path, verdict->n_accepted + 1, err);
}

lathe_status lathe_round_generate(lathe_context *context, lathe_sampler *sampler,
                                  const lathe_round_params *params, int32_t *ids, int32_t *n_ids,
                                  int32_t n_predict, lathe_round_totals *totals, lathe_error *err) {
    const lathe_model *model = lathe_context_model(context);
    const lathe_vocab *vocab = lathe_model_vocab(model);
    const int32_t n_vocab = lathe_model_n_vocab(model), n_ctx = lathe_context_n_ctx(context);
    if (*n_ids < 1 || n_predict < 0 || params->length < 0 || params->length > LATHE_DRAFT_DEPTH_MAX)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "%d tokens, %d to come, drafts of %d; at least one token, drafts of 0 to %d",
                          (int) *n_ids, (int) n_predict, (int) params->length, (int) LATHE_DRAFT_DEPTH_MAX);
    lathe_token_tree tree;
    lathe_status status = lathe_token_tree_init(&tree, params->length + 1, n_vocab, err);
    if (status)
        return status;
    const size_t rows = (size_t) params->length + 1;
    int32_t *history = malloc(((size_t) *n_ids + (size_t) n_predict + rows) * sizeof *history);
    double *p = malloc((rows + 3) * (size_t) n_vocab * sizeof *p);
    uint8_t *want = malloc(rows);
    lathe_verdict *verdict = calloc(1, sizeof *verdict);
    if (!history || !p || !want || !verdict)
        status = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for rounds of %d drafts", (int) params->length);
    const int32_t held = lathe_context_n_past(context, 0), end = *n_ids + n_predict;
    if (!status && held < *n_ids - 1)
        status = lathe_context_decode(
            context, &(lathe_batch){.tokens = ids + held, .n_tokens = *n_ids - 1 - held}, err);
    bool ended = false;
    while (!status && !ended && *n_ids < end && *n_ids < n_ctx) {
        int32_t most = params->length;
        most = most < end - *n_ids - 1 ? most : end - *n_ids - 1;
        most = most < n_ctx - *n_ids - 1 ? most : n_ctx - *n_ids - 1;
        status = one_round(context, sampler, params, &tree, ids, *n_ids, most > 0 ? most : 0, history, p,
                           p + rows * (size_t) n_vocab, want, verdict, err);
        if (status)
            break;
        totals->rounds++;
        totals->rows += tree.n_nodes;
        totals->proposed += tree.n_nodes - 1;
        for (int32_t k = 0; k < verdict->n_emitted && !ended && *n_ids < end; k++) {
            totals->accepted += k < verdict->n_accepted;
            ids[(*n_ids)++] = verdict->emitted[k];
            ended = vocab && lathe_vocab_is_end(vocab, verdict->emitted[k]);
        }
    }
    free(history);
    free(p);
    free(want);
    free(verdict);
    lathe_token_tree_free(&tree);
    return status;
}
