/* compare.c - two texts that should be one: where they part, and whether rounding can be why. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng_purpose.h"
#include "decode/session.h"

enum { ROWS = 9, TIE_FACTOR = 10 };

/* Distance of the position's uniform from the ends of the token's interval; where greedy, the lead over the
 * other token in logits. */
static double margin_of(const lathe_session *s, const double *law, const float *logits, int32_t n,
                        lathe_difference *d) {
    if (lathe_sampler_is_greedy(s->sampler))
        return fabs((double) logits[d->plain_id] - (double) logits[d->other_id]);
    const double u = lathe_uniform_at(lathe_sampler_seed(s->sampler), LATHE_RNG_TARGET_SAMPLE,
                                      (uint32_t) d->position, (uint32_t) ((uint64_t) d->position >> 32), 0);
    double low = 0.0;
    for (int32_t i = 0; i < n && i < d->plain_id; i++)
        low += law[i];
    return fmin(fabs(u - low), fabs(low + law[d->plain_id] - u));
}

/* Largest difference of logits, or of cumulative probabilities. */
static double noise_of(const float *a, const float *b, const double *p, const double *q, int32_t n,
                       bool greedy) {
    double most = 0.0, sum = 0.0;
    for (int32_t i = 0; i < n; i++) {
        sum += p[i] - q[i];
        const double x = greedy ? fabs((double) a[i] - (double) b[i]) : fabs(sum);
        most = isfinite(x) && x > most ? x : most;
    }
    return most;
}

static lathe_status row_of(lathe_session *s, size_t at, int32_t rows, float *logits, double *law,
                           lathe_error *err) {
    int32_t tokens[ROWS];
    uint8_t want[ROWS];
    const int32_t n_vocab = lathe_model_n_vocab(s->model);
    for (int32_t i = 0; i < rows && i < ROWS; i++) {
        tokens[i] = s->ids[at - 1];
        want[i] = i == 0;
    }
    lathe_status status = lathe_context_rollback(s->context, 0, (int32_t) at - 1, err);
    const lathe_batch batch = {.tokens = tokens, .want = want, .n_tokens = rows};
    if (!status)
        status = lathe_context_decode(s->context, &batch, err);
    if (!status) {
        memcpy(logits, lathe_context_logits(s->context, 0), (size_t) n_vocab * sizeof *logits);
        status = lathe_sampler_law(s->sampler, logits, s->ids, at, law, err);
    }
    return status;
}

lathe_status lathe_session_difference(lathe_session *plain, const int32_t *ids, size_t n_ids,
                                      lathe_difference *difference, lathe_error *err) {
    const int32_t n_vocab = lathe_model_n_vocab(plain->model), n_ctx = lathe_context_n_ctx(plain->context);
    size_t at = 0;
    *difference = (lathe_difference){.struct_size = sizeof *difference, .position = -1};
    while (at < n_ids && at < plain->n_ids && ids[at] == plain->ids[at])
        at++;
    if (at == n_ids && at == plain->n_ids)
        return LATHE_OK;
    difference->position = (int64_t) at;
    difference->plain_id = at < plain->n_ids ? plain->ids[at] : -1;
    difference->other_id = at < n_ids ? ids[at] : -1;
    if (at == 0 || plain->n_dropped > 0 || difference->plain_id < 0 || difference->other_id < 0)
        return LATHE_OK; /* one ended: what it ended with is not among the ids */
    float *logits = malloc(2 * (size_t) n_vocab * sizeof *logits);
    double *law = malloc(2 * (size_t) n_vocab * sizeof *law);
    lathe_status status =
        logits && law ? LATHE_OK : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a comparison");
    if (!status)
        status = row_of(plain, at, 1, logits, law, err);
    for (int32_t rows = 2; !status && rows <= ROWS && (int32_t) at - 1 + rows <= n_ctx; rows++) {
        status = row_of(plain, at, rows, logits + n_vocab, law + n_vocab, err);
        if (!status)
            difference->noise =
                fmax(difference->noise, noise_of(logits, logits + n_vocab, law, law + n_vocab, n_vocab,
                                                 lathe_sampler_is_greedy(plain->sampler)));
    }
    /* The same text read as one prompt: other sums in the cache, so other noise. */
    if (!status && at > 1) {
        const lathe_batch prompt = {.tokens = plain->ids, .n_tokens = (int32_t) at - 1};
        lathe_context_clear(plain->context, 0);
        status = lathe_context_decode(plain->context, &prompt, err);
        if (!status)
            status = row_of(plain, at, 1, logits + n_vocab, law + n_vocab, err);
        if (!status)
            difference->noise =
                fmax(difference->noise, noise_of(logits, logits + n_vocab, law, law + n_vocab, n_vocab,
                                                 lathe_sampler_is_greedy(plain->sampler)));
    }
    if (!status) {
        difference->margin = margin_of(plain, law, logits, n_vocab, difference);
        difference->is_tie = difference->margin <= TIE_FACTOR * difference->noise;
    }
    free(logits);
    free(law);
    return status;
}
