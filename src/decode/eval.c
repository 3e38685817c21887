/* eval.c - see eval.h. A window is decoded in pieces of one batch, so that logits of a long context never lie
 * in memory at once. */
#include "decode/eval.h"

#include <math.h>
#include <stdlib.h>

double lathe_log_sum_exp(const float *logits, int32_t n) {
    float top = -INFINITY;
    for (int32_t i = 0; i < n; i++)
        top = logits[i] > top ? logits[i] : top;
    double sum = 0;
    for (int32_t i = 0; i < n; i++)
        sum += exp((double) logits[i] - (double) top);
    return (double) top + log(sum);
}

/* Decodes tokens [n] from position 0 and scores those with index in [first, n). */
static lathe_status score_window(lathe_context *context, const int32_t *tokens, int32_t n, int32_t first,
                                 uint8_t *want, lathe_eval_result *result, lathe_error *err) {
    const int32_t n_vocab = lathe_model_n_vocab(lathe_context_model(context));
    const int32_t n_batch = lathe_context_n_batch(context);
    lathe_context_clear(context, -1);
    for (int32_t begin = 0; begin < n - 1;
         begin += n_batch) { /* the last token predicts nothing that is asked for */
        const int32_t k = n - 1 - begin < n_batch ? n - 1 - begin : n_batch;
        for (int32_t i = 0; i < k; i++)
            want[i] = begin + i + 1 >= first;
        const lathe_batch batch = {.tokens = tokens + begin, .want = want, .n_tokens = k};
        const lathe_status st = lathe_context_decode(context, &batch, err);
        if (st)
            return st;
        for (int32_t i = 0; i < k; i++) {
            const float *logits = want[i] ? lathe_context_logits(context, i) : NULL;
            if (!logits)
                continue;
            const double nll = lathe_log_sum_exp(logits, n_vocab) - (double) logits[tokens[begin + i + 1]];
            if (!isfinite(nll))
                return lathe_fail(err, LATHE_ERR_NUMERIC,
                                  "the logits after token %d of a window are not finite", begin + i);
            result->n_scored++;
            result->nll_sum += nll;
            result->nll_sum2 += nll * nll;
        }
    }
    return LATHE_OK;
}

/* Windows of one context that overlap by context - stride. */
static lathe_status sliding(lathe_context *context, const int32_t *ids, size_t n, const lathe_eval_params *p,
                            uint8_t *want, lathe_eval_result *result, lathe_error *err) {
    const size_t n_ctx = (size_t) lathe_context_n_ctx(context);
    const size_t stride = p->stride > 0 ? (size_t) p->stride : (n_ctx + 1) / 2;
    size_t scored_to = 1; /* ids before this one have been scored; the first never is */
    int32_t window = 0;
    lathe_status st = LATHE_OK;
    for (size_t begin = 0; scored_to < n && !st; begin += stride) {
        const size_t end = n - begin < n_ctx ? n : begin + n_ctx;
        st = score_window(context, ids + begin, (int32_t) (end - begin), (int32_t) (scored_to - begin), want,
                          result, err);
        scored_to = end;
        if (!st && p->on_window)
            p->on_window(p->user, ++window, result->n_scored, result->nll_sum);
        if (!st)
            st = lathe_progress_step(&p->progress, "eval", (double) end, (double) n, err);
    }
    return st;
}

static lathe_status chunks(lathe_context *context, const int32_t *ids, size_t n, const lathe_eval_params *p,
                           uint8_t *want, lathe_eval_result *result, lathe_error *err) {
    const int32_t n_ctx = lathe_context_n_ctx(context);
    const lathe_vocab *vocab = lathe_model_vocab(lathe_context_model(context));
    int64_t n_chunks = (int64_t) n / n_ctx;
    if (p->n_chunks_max > 0 && n_chunks > p->n_chunks_max)
        n_chunks = p->n_chunks_max;
    if (n_chunks < 1)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "%zu tokens are less than one chunk of %d; use a longer text or a smaller -c", n,
                          n_ctx);
    int32_t *tokens = malloc((size_t) n_ctx * sizeof *tokens);
    if (!tokens)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a chunk of %d tokens", n_ctx);
    lathe_status st = LATHE_OK;
    for (int64_t c = 0; c < n_chunks && !st; c++) {
        for (int32_t i = 0; i < n_ctx; i++)
            tokens[i] = ids[c * n_ctx + i];
        if (vocab && lathe_vocab_adds_bos(vocab))
            tokens[0] = lathe_vocab_bos(vocab);
        st = score_window(context, tokens, n_ctx, n_ctx / 2 + 1, want, result, err);
        if (!st && p->on_window)
            p->on_window(p->user, (int32_t) c + 1, result->n_scored, result->nll_sum);
        if (!st)
            st = lathe_progress_step(&p->progress, "eval", (double) (c + 1), (double) n_chunks, err);
    }
    free(tokens);
    return st;
}

lathe_status lathe_eval(lathe_context *context, const int32_t *ids, size_t n, const lathe_eval_params *params,
                        lathe_eval_result *result, lathe_error *err) {
    const int32_t n_vocab = lathe_model_n_vocab(lathe_context_model(context));
    const int32_t n_ctx = lathe_context_n_ctx(context);
    if (n < 2)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "the text has %zu token%s; at least two are needed, as the first is not scored", n,
                          n == 1 ? "" : "s");
    if (n_ctx < 2)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "a context of %d; at least two tokens are needed, as the first is not scored",
                          n_ctx);
    if (params->stride < 0 || params->stride >= n_ctx)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "stride %d; must be between 1 and %d, one less than the context", params->stride,
                          n_ctx - 1);
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= n_vocab)
            return lathe_fail(err, LATHE_ERR_ARG, "token %zu is %d; the model has ids 0 to %d", i, ids[i],
                              n_vocab - 1);
    uint8_t *want = malloc((size_t) lathe_context_n_batch(context) + 1);
    if (!want)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory");
    lathe_eval_result sums = {0};
    const lathe_status st = params->llama_cpp ? chunks(context, ids, n, params, want, &sums, err)
                                              : sliding(context, ids, n, params, want, &sums, err);
    free(want);
    if (!st)
        *result = sums;
    return st;
}
