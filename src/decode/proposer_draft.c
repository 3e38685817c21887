/* proposer_draft.c - a smaller model drafts: a chain, or a tree (draft_model.h). */
#include "decode/draft_model.h"
#include "decode/spec_cost.h"

static lathe_status create(const lathe_proposer_params *params, void **state, lathe_error *err) {
    lathe_draft *s;
    const lathe_status status = lathe_draft_open(params, &s, err);
    if (!status)
        *state = s;
    return status;
}

static int32_t behind(void *state, int32_t n) {
    const lathe_draft *s = state;
    const int32_t missing = n - s->n_ids;
    return missing > 2 ? missing - 2 : 0; /* one or two are part of every draft */
}

static int64_t bytes(void *state) {
    const lathe_draft *s = state;
    return lathe_context_cache_bytes(s->host->context);
}

static void measure(void *state, double *step_s, double *read_s) {
    lathe_draft *s = state;
    double best = 1e9, read = 1e9;
    for (int i = 0; i < 5; i++) {
        const double one = lathe_spec_step_seconds(s->host->context, 1);
        if (one >= 0.0 && one < best)
            best = one;
        if (one > 0.05)
            break;
    }
    for (int i = 0; i < 2 && best < 0.05; i++) {
        const double many = lathe_spec_step_seconds(s->host->context, 32);
        if (many >= 0.0 && many / 32 < read)
            read = many / 32;
    }
    *step_s = best < 1e9 ? best : 0.0;
    *read_s = read < 1e9 ? read : *step_s;
}

static lathe_status propose(void *state, const lathe_draft_request *request, lathe_token_tree *tree,
                            lathe_error *err) {
    lathe_draft *s = state;
    if (!s->ready || request->n_max < 1)
        return LATHE_OK;
    s->ready = false;
    lathe_draft_step step = lathe_draft_begin(s, request, tree);
    return s->shape.kind == LATHE_SHAPE_CHAIN ? lathe_draft_chain(s, &step, err)
                                              : lathe_draft_tree(s, &step, err);
}

static lathe_status propose_many(const lathe_draft_job *jobs, int32_t n, lathe_error *err) {
    bool chains = true;
    for (int32_t i = 0; i < n; i++)
        chains = chains && ((const lathe_draft *) jobs[i].state)->shape.kind == LATHE_SHAPE_CHAIN;
    if (chains)
        return lathe_draft_many(jobs, n, err);
    lathe_status status = LATHE_OK;
    for (int32_t i = 0; !status && i < n; i++) {
        status = lathe_draft_sync(jobs[i].state, jobs[i].ids, jobs[i].n_ids, err);
        if (!status)
            status = propose(jobs[i].state, jobs[i].request, jobs[i].tree, err);
    }
    return status;
}

const lathe_proposer lathe_proposer_draft = {
    .name = "draft",
    .summary = "a smaller model of the same tokenizer",
    .laws = LATHE_LAW_POINT | LATHE_LAW_SAMPLED,
    .trees = true,
    .length = 8,
    .create = create,
    .sync = lathe_draft_sync,
    .destroy = lathe_draft_close,
    .slow = true,
    .takes_file = true,
    .propose = propose,
    .propose_many = propose_many,
    .behind = behind,
    .bytes = bytes,
    .measure = measure,
};
