/* floor.c - which pairs of packed columns can matter, before any logarithm is taken.
 *
 * phi^2, the squared correlation of two two-state columns, costs a few operations a pair, and
 * information <= log(1 + phi^2). The maximum spanning tree by phi^2 is a spanning tree, so the lightest
 * information of its edges is reached by every edge of the maximum spanning tree by information: pairs of
 * smaller log(1 + phi^2) are left out, and the few others are weighed exactly. phi^2 is kept in 16 bits,
 * rounded down: the floor is a little lower for it, never wrong. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/thread.h"
#include "tree/learner.h"
#include "tree/loops.h"

typedef lathe_chow_liu_learner learner;
typedef lathe_chow_liu_worker worker;

enum { MOST_COLUMNS = 6000 };

typedef struct search {
    learner *l;
    uint16_t *rank; /* [p * stride] of phi^2, both halves; 0 on the diagonal and behind p */
    int64_t stride; /* a multiple of LATHE_WIDE */
    double *scale;  /* [p] 1 / spread, 0 for a constant column */
    uint16_t least; /* rank that a pair needs */
} search;

/* The other half of a tile. */
static void mirror(const search *s, int32_t i0, int32_t ni, int32_t j0, int32_t nj) {
    enum { SIDE = 16 };
    if (i0 != j0) {
        lathe_turn(s->rank + i0 * s->stride + j0, s->stride, ni, nj, s->rank + j0 * s->stride + i0,
                   s->stride);
        return;
    }
    for (int32_t a0 = i0; a0 < i0 + ni; a0 += SIDE) {
        const int32_t end = a0 + SIDE < i0 + ni ? a0 + SIDE : i0 + ni;
        for (int32_t a = a0; a < end; a++) {
            s->rank[a * s->stride + a] = 0;
            for (int32_t b = a + 1; b < end; b++)
                s->rank[b * s->stride + a] = s->rank[a * s->stride + b];
        }
        lathe_turn(s->rank + a0 * s->stride + end, s->stride, end - a0, i0 + ni - end,
                   s->rank + end * s->stride + a0, s->stride);
    }
}

static void fill(void *ctx, int worker_index, int64_t piece, int64_t begin, int64_t end) {
    const search *s = ctx;
    learner *l = s->l;
    worker *w = &l->workers[worker_index];
    const lathe_loop_set *f = lathe_loops();
    (void) piece;
    for (int64_t q = begin; q < end; q++) {
        int32_t i0, ni, j0, nj;
        lathe_chow_liu_place(l, q, &i0, &ni, &j0, &nj);
        lathe_chow_liu_count(l, w, i0, ni, j0, nj);
        for (int32_t a = 0; a < ni; a++) {
            const int32_t b = i0 == j0 ? a : 0;
            f->ranks(w->counts + (int64_t) a * l->tile + b, l->ones + j0 + b, s->scale + j0 + b, nj - b, l->n,
                     l->ones[i0 + a], s->scale[i0 + a], s->rank + (i0 + a) * s->stride + j0 + b);
        }
        mirror(s, i0, ni, j0, nj);
    }
}

/* The tree by phi^2; its lightest information, or 0 (no help) where it has an edge of none. */
static double find_floor(const search *s, uint16_t *best, uint16_t *from) {
    const learner *l = s->l;
    const lathe_loop_set *f = lathe_loops();
    double floor = INFINITY;
    memset(best, 0, (size_t) s->stride * sizeof *best);
    memset(from, 0, (size_t) s->stride * sizeof *from);
    for (int32_t c = 0, n = 1; n < l->p; n++) {
        uint16_t top;
        best[c] = LATHE_JOINED;
        const int32_t next =
            f->step(best, from, s->rank + c * s->stride, (int32_t) s->stride, (uint16_t) c, &top);
        if (top == 0)
            return 0;
        lathe_pair_value value;
        lathe_pair_weigh(l, from[next], next, l->workers[0].counts, &value);
        floor = fmin(floor, value.weight);
        c = next;
    }
    return floor;
}

static void take(void *ctx, int worker_index, int64_t piece, int64_t begin, int64_t end) {
    const search *s = ctx;
    const learner *l = s->l;
    worker *w = &l->workers[worker_index];
    const lathe_loop_set *f = lathe_loops();
    const int32_t m = (int32_t) s->stride;
    (void) piece;
    for (int32_t i = (int32_t) begin; i < end; i++) {
        const uint16_t *row = s->rank + i * s->stride;
        for (int32_t b = f->reach(row, m, s->least, (i + 1) / LATHE_WIDE * LATHE_WIDE); b < m;
             b = f->reach(row, m, s->least, b + LATHE_WIDE))
            for (int32_t j = b > i ? b : i + 1; j < b + LATHE_WIDE && j < l->p; j++)
                if (row[j] >= s->least) {
                    lathe_pair_value value;
                    lathe_pair_weigh(l, i, j, w->counts, &value);
                    lathe_chow_liu_push(l, w, i, j, value.weight);
                }
    }
}

lathe_status lathe_chow_liu_by_floor(learner *l, lathe_pool *pool, bool *done, lathe_error *err) {
    *done = false;
    if (l->source != LATHE_PAIR_BITS || l->p < 3 || l->p > MOST_COLUMNS || l->n >= 1 << 26 ||
        l->params->n_blacklist > 0 || l->params->n_whitelist > 0 || l->params->weight == LATHE_WEIGHT_AGREE ||
        l->params->weight == LATHE_WEIGHT_ABSCORR)
        return LATHE_OK;
    search s = {.l = l, .stride = (l->p + LATHE_WIDE - 1) / LATHE_WIDE * LATHE_WIDE};
    if (s.stride % 512 == 0) /* rows a power of two apart would share few lines of the cache */
        s.stride += LATHE_WIDE;
    s.rank = malloc((size_t) l->p * (size_t) s.stride * sizeof *s.rank);
    s.scale = malloc((size_t) l->p * sizeof *s.scale);
    uint16_t *best = malloc((size_t) s.stride * sizeof *best);
    uint16_t *from = malloc((size_t) s.stride * sizeof *from);
    lathe_status st = LATHE_OK;
    if (s.rank == NULL || s.scale == NULL || best == NULL || from == NULL) {
        st = lathe_fail(err, LATHE_ERR_MEMORY, "Chow-Liu: no memory for %d columns", (int) l->p);
    } else {
        for (int32_t i = 0; i < l->p; i++)
            s.scale[i] = l->spread[i] > 0 ? 1 / l->spread[i] : 0;
        lathe_parallel_for(pool, (int64_t) l->n_blocks * (l->n_blocks + 1) / 2, 1, fill, &s);
        for (int32_t i = 0; i < l->p; i++)
            for (int64_t k = l->p; k < s.stride; k++)
                s.rank[i * s.stride + k] = 0;
        const double floor = find_floor(&s, best, from);
        s.least = lathe_rank((float) (expm1(floor) * (1 - 1e-5))); /* singles are far nearer than that */
        if (s.least > 0) {
            for (int k = 0; k < l->n_workers; k++)
                l->workers[k].floor = floor;
            lathe_parallel_for(pool, l->p, 16, take, &s);
            *done = true;
        }
    }
    free(s.rank);
    free(s.scale);
    free(best);
    free(from);
    return st;
}
