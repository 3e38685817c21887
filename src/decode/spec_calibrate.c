/* spec_calibrate.c - the calibration by itself, as `lathe spec calibrate` asks for it. */
#include <stdlib.h>
#include <string.h>

#include "decode/proposer.h"
#include "decode/spec_cost.h"

static lathe_status fill_context(lathe_context *context, int32_t depth, lathe_error *err) {
    int32_t *tokens = calloc((size_t) depth + 1, sizeof *tokens);
    uint8_t *want = calloc((size_t) lathe_context_n_batch(context), 1);
    lathe_status status =
        tokens && want ? LATHE_OK : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %d tokens", (int) depth);
    for (int32_t at = 0; !status && at < depth;) {
        const int32_t n =
            depth - at < lathe_context_n_batch(context) ? depth - at : lathe_context_n_batch(context);
        const lathe_batch batch = {.tokens = tokens + at, .want = want, .n_tokens = n};
        status = lathe_context_decode(context, &batch, err);
        at += n;
    }
    free(tokens);
    free(want);
    return status;
}

static lathe_status measure_draft(const lathe_model *model, lathe_context *context, const char *file,
                                  lathe_spec_calibration *out, lathe_error *err) {
    lathe_proposer_params p = lathe_proposer_params_default();
    void *state = NULL;
    double read_s = 0.0;
    p.file = file;
    p.target = model;
    p.context = context;
    p.n_vocab = lathe_model_n_vocab(model);
    const lathe_status status = lathe_proposer_draft.create(&p, &state, err);
    if (status)
        return status;
    lathe_proposer_draft.measure(state, &out->draft_s, &read_s);
    lathe_proposer_draft.destroy(state);
    out->cost.draft = out->plain_s > 0.0 ? out->draft_s / out->plain_s : 0.0;
    return LATHE_OK;
}

lathe_status lathe_spec_calibrate(const lathe_model *model, const lathe_context_params *params, int32_t depth,
                                  int32_t rows_max, const char *draft, const char *cache_dir,
                                  lathe_spec_calibration *out, lathe_error *err) {
    lathe_context *context = NULL;
    lathe_spec_cost cost;
    *out = (lathe_spec_calibration){.struct_size = sizeof *out, .depth = depth};
    if (rows_max < 2 || rows_max > 64)
        return lathe_fail(err, LATHE_ERR_ARG, "steps of up to %d rows; 2 to 64", (int) rows_max);
    lathe_status status = lathe_context_new(model, params, &context, err);
    if (!status && (depth < 0 || depth + rows_max > lathe_context_n_ctx(context)))
        status = lathe_fail(
            err, LATHE_ERR_ARG, "%d tokens and steps of %d rows do not fit a context of %d; use -c %d",
            (int) depth, (int) rows_max, (int) lathe_context_n_ctx(context), (int) (depth + rows_max));
    if (!status)
        status = fill_context(context, depth, err);
    if (!status)
        status = lathe_spec_cost_open(context, params, cache_dir, rows_max, true, NULL, &cost, err);
    if (!status) {
        out->plain_s = cost.measured.plain_s;
        out->spent_s = cost.measured.spent_s;
        out->assumed = cost.measured.assumed;
        out->cost = cost.model;
        lathe_spec_cost_close(&cost);
        if (draft)
            status = measure_draft(model, context, draft, out, err);
    }
    lathe_context_free(context);
    return status;
}
