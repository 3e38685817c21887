/* compare.c - two texts that should be one: where they part, and whether rounding can be why. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng_purpose.h"
#include "decode/session.h"

enum { LOOK = 64, TIE_FACTOR = 10 };

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

/* --- How much rounding moves a row ---------------------------------------------------------------- */

/* Rows LOOK tokens before the difference, read in several ways that are the same but for the order of sums.
 */
typedef struct rows {
    size_t from;   /* row r is the one behind token from + r */
    int32_t n;     /* rows */
    float *plain;  /* [n][n_vocab] logits, read as one batch */
    double *p, *q; /* [n_vocab] laws */
    double noise;  /* largest difference so far: of logits where greedy, else of cumulative probabilities */
} rows;

static lathe_status compare_row(lathe_session *s, rows *r, int32_t row, const float *other,
                                lathe_error *err) {
    const int32_t n_vocab = lathe_model_n_vocab(s->model);
    const float *plain = r->plain + (size_t) row * (size_t) n_vocab;
    double most = 0.0, sum = 0.0;
    if (lathe_sampler_is_greedy(s->sampler)) {
        for (int32_t i = 0; i < n_vocab; i++) {
            const double x = fabs((double) plain[i] - (double) other[i]);
            most = isfinite(x) && x > most ? x : most;
        }
    } else {
        const size_t length = r->from + (size_t) row + 1;
        lathe_status status = lathe_sampler_law(s->sampler, plain, s->ids, length, r->p, err);
        if (!status)
            status = lathe_sampler_law(s->sampler, other, s->ids, length, r->q, err);
        if (status)
            return status;
        for (int32_t i = 0; i < n_vocab; i++) {
            sum += r->p[i] - r->q[i];
            most = fmax(most, fabs(sum));
        }
    }
    r->noise = fmax(r->noise, most);
    return LATHE_OK;
}

/* The text before the rows: read anew, since a ring has forgotten what lies far behind its end. */
static lathe_status read_before(lathe_session *s, const rows *r, lathe_error *err) {
    const lathe_batch batch = {.tokens = s->ids, .n_tokens = (int32_t) r->from};
    lathe_context_clear(s->context, 0);
    return r->from > 0 ? lathe_context_decode(s->context, &batch, err) : LATHE_OK;
}

static lathe_status read_plain(lathe_session *s, rows *r, lathe_error *err) {
    uint8_t want[LOOK];
    const size_t n_vocab = (size_t) lathe_model_n_vocab(s->model);
    memset(want, 1, sizeof want);
    const lathe_batch batch = {.tokens = s->ids + r->from, .want = want, .n_tokens = r->n};
    lathe_status status = read_before(s, r, err);
    if (!status)
        status = lathe_context_decode(s->context, &batch, err);
    for (int32_t i = 0; !status && i < r->n; i++)
        memcpy(r->plain + (size_t) i * n_vocab, lathe_context_logits(s->context, i),
               n_vocab * sizeof *r->plain);
    return status;
}

/* In pieces of a few tokens, each token with `beside` wrong ones beside it, as a drafted tree has them: the
 * rows that are kept lie elsewhere in the cache then, and sums over them run in another order. 0: token by
 * token. */
static lathe_status read_trees(lathe_session *s, rows *r, int32_t beside, lathe_error *err) {
    enum { PIECE = 8 };
    const int32_t n_vocab = lathe_model_n_vocab(s->model), piece = beside > 0 ? PIECE : 1;
    int32_t tokens[PIECE * 4], parent[PIECE * 4], path[PIECE];
    uint8_t want[PIECE * 4];
    memset(want, 1, sizeof want);
    lathe_status status = read_before(s, r, err);
    for (int32_t at = 0; !status && at < r->n; at += piece) {
        const int32_t n_path = r->n - at < piece ? r->n - at : piece;
        const int32_t *ids = s->ids + r->from + at;
        int32_t n = 0;
        for (int32_t i = 0; i < n_path; i++) {
            const int32_t before = i > 0 ? path[i - 1] : -1;
            for (int32_t k = 0; i > 0 && k < beside; k++, n++) {
                tokens[n] = (ids[i] + 1 + k) % n_vocab;
                parent[n] = before;
            }
            tokens[n] = ids[i];
            parent[n] = before;
            path[i] = n++;
        }
        const lathe_batch batch = {
            .tokens = tokens, .parent = beside > 0 ? parent : NULL, .want = want, .n_tokens = n};
        status = lathe_context_decode(s->context, &batch, err);
        for (int32_t i = 0; !status && i < n_path; i++)
            status = compare_row(s, r, at + i, lathe_context_logits(s->context, path[i]), err);
        if (!status && beside > 0)
            status = lathe_context_keep_path(s->context, path, n_path, err);
    }
    return status;
}

static lathe_status measure_noise(lathe_session *s, rows *r, lathe_error *err) {
    lathe_status status = read_plain(s, r, err);
    for (int32_t beside = 0; !status && beside <= 3; beside++) {
        /* A tree goes through in one piece or not at all. */
        if (beside > 0 && lathe_context_n_batch(s->context) < 4 * 8)
            break;
        status = read_trees(s, r, beside, err);
    }
    return status;
}

lathe_status lathe_session_difference(lathe_session *plain, const int32_t *ids, size_t n_ids,
                                      lathe_difference *difference, lathe_error *err) {
    const int32_t n_vocab = lathe_model_n_vocab(plain->model);
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
    const size_t look = at < LOOK ? at : LOOK;
    rows r = {.from = at - look, .n = (int32_t) look};
    r.plain = malloc(look * (size_t) n_vocab * sizeof *r.plain);
    r.p = malloc(2 * (size_t) n_vocab * sizeof *r.p);
    r.q = r.p ? r.p + n_vocab : NULL;
    lathe_status status =
        r.plain && r.p ? LATHE_OK : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a comparison");
    if (!status)
        status = measure_noise(plain, &r, err);
    const float *last = r.plain + (look - 1) * (size_t) n_vocab;
    if (!status)
        status = lathe_sampler_law(plain->sampler, last, plain->ids, at, r.p, err);
    if (!status) {
        difference->noise = r.noise;
        difference->margin = margin_of(plain, r.p, last, n_vocab, difference);
        difference->is_tie = difference->margin <= TIE_FACTOR * difference->noise;
    }
    free(r.plain);
    free(r.p);
    return status;
}
