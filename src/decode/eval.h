/* eval.h - how well a model predicts a sequence of tokens. */
#ifndef LATHE_DECODE_EVAL_H
#define LATHE_DECODE_EVAL_H

#include "lathe/model.h"

typedef struct lathe_eval_params {
    int32_t stride;       /* tokens by which the window moves, 1 to the context; 0: half of it */
    bool llama_cpp;       /* chunks of one context, the second half of each scored, BOS in front of each */
    int32_t n_chunks_max; /* of them; 0: all */
    lathe_progress progress;
    /* Called after each window with the mean so far; may be NULL. */
    void (*on_window)(void *user, int32_t window, int64_t n_scored, double nll_sum);
    void *user;
} lathe_eval_params;

typedef struct lathe_eval_result {
    int64_t n_scored; /* tokens with a probability */
    double nll_sum;   /* natural logarithms, summed in double */
    double nll_sum2;  /* of the squares, for the standard error */
} lathe_eval_result;

/* Negative log-likelihood of ids [n]: every token but the first is scored once, given at least (context -
 * stride) tokens before it where there are so many. The context's sequence 0 is overwritten. Errors: ARG for
 * fewer than two tokens (llama_cpp: fewer than one chunk) and for ids out of range; NUMERIC for logits that
 * are not finite. */
LATHE_NODISCARD lathe_status lathe_eval(lathe_context *context, const int32_t *ids, size_t n,
                                        const lathe_eval_params *params, lathe_eval_result *result,
                                        lathe_error *err);

/* log sum exp of logits [n], in double. */
double lathe_log_sum_exp(const float *logits, int32_t n);

#endif
