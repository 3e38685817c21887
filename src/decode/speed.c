/* speed.c - see speed.h. */
#include "decode/speed.h"

#include <stdlib.h>
#include <string.h>

#include "base/machine.h"
#include "base/rng_purpose.h"

static int ascending(const void *a_, const void *b_) {
    const double a = *(const double *) a_, b = *(const double *) b_;
    return (a > b) - (a < b);
}

/* Feeds tokens [n], rows at a time; logits of each row where there is more than a prompt's worth of interest
 * in them. */
static lathe_status feed(lathe_context *context, const int32_t *tokens, int32_t n, int32_t rows,
                         uint8_t *want, lathe_error *err) {
    lathe_status st = LATHE_OK;
    for (int32_t begin = 0; begin < n && !st; begin += rows) {
        const int32_t k = n - begin < rows ? n - begin : rows;
        const lathe_batch batch = {.tokens = tokens + begin, .want = want, .n_tokens = k};
        st = lathe_context_decode(context, &batch, err);
    }
    return st;
}

lathe_status lathe_speed_measure(lathe_context *context, int32_t depth, int32_t n, int32_t rows,
                                 int32_t repeats, lathe_speed *speed, lathe_error *err) {
    const int32_t n_ctx = lathe_context_n_ctx(context), n_batch = lathe_context_n_batch(context);
    const int32_t n_vocab = lathe_model_n_vocab(lathe_context_model(context));
    if (depth < 0 || n < 1 || depth > n_ctx - n)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "depth %d and %d tokens do not fit a context of %d; use -c %lld", depth, n, n_ctx,
                          (long long) depth + n);
    if (rows < 1 || rows > n_batch || repeats < 1 || repeats > LATHE_SPEED_REPEATS_MAX)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "%d rows and %d repeats; 1 to %d rows and 1 to %d repeats are right", rows, repeats,
                          n_batch, LATHE_SPEED_REPEATS_MAX);
    int32_t *tokens = malloc((size_t) (depth + n) * sizeof *tokens);
    uint8_t *want = malloc((size_t) n_batch);
    lathe_status st =
        tokens && want ? LATHE_OK : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %d tokens", depth + n);
    lathe_rng rng = lathe_rng_new(0, LATHE_RNG_PROBE_PROMPT, 0);
    for (int32_t i = 0; !st && i < depth + n; i++)
        tokens[i] = (int32_t) lathe_rng_below(&rng, (uint64_t) n_vocab);
    if (!st) {
        lathe_context_clear(context, -1);
        memset(want, 0, (size_t) n_batch);
        st = feed(context, tokens, depth, n_batch, NULL, err);
        memset(want, 1, (size_t) n_batch);
    }
    double seconds[LATHE_SPEED_REPEATS_MAX];
    const bool is_prompt = rows == n_batch || rows >= n;
    for (int32_t r = -1; r < repeats && !st; r++) {
        const double t0 = lathe_now();
        st = feed(context, tokens + depth, n, rows, is_prompt ? NULL : want, err);
        if (r >= 0)
            seconds[r] = lathe_now() - t0;
        if (!st)
            st = lathe_context_rollback(context, 0, depth, err);
    }
    free(tokens);
    free(want);
    if (st)
        return st;
    qsort(seconds, (size_t) repeats, sizeof *seconds, ascending);
    *speed = (lathe_speed){.depth = depth,
                           .n = n,
                           .rows = rows,
                           .median_s = seconds[repeats / 2],
                           .low_s = seconds[0],
                           .high_s = seconds[repeats - 1]};
    return LATHE_OK;
}
