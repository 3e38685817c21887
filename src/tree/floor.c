/* floor.c - which pairs of packed columns can matter, before any logarithm is taken.
 *
 * phi^2, the squared correlation of two two-state columns, costs a few operations a pair, and
 * information <= log(1 + phi^2) <= phi^2. The maximum spanning tree by phi^2 is a spanning tree, so the
 * lightest information of its edges is reached by every edge of the maximum spanning tree by information:
 * pairs of smaller phi^2 are left out, and the few others are weighed exactly. */
#include <math.h>
#include <stdlib.h>

#include "base/thread.h"
#include "tree/learner.h"
#include "tree/loops.h"

typedef lathe_chow_liu_learner learner;
typedef lathe_chow_liu_worker worker;

enum { MOST_COLUMNS = 6000 };

typedef struct search {
    learner *l;
    float *phi;     /* [p * stride], both halves, minus infinity on the diagonal and behind p */
    int64_t stride; /* a multiple of LATHE_LANES */
    double *scale;  /* [p] 1 / spread, 0 for a constant column */
    double floor;
} search;

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
            f->phi(w->counts + (int64_t) a * l->tile + b, l->ones + j0 + b, s->scale + j0 + b, nj - b,
                   (double) l->n, l->ones[i0 + a], s->scale[i0 + a], s->phi + (i0 + a) * s->stride + j0 + b);
        }
        enum { SIDE = 16 };
        for (int32_t a0 = 0; a0 < ni; a0 += SIDE)
            for (int32_t b = i0 == j0 ? a0 : 0; b < nj; b++) {
                float *to = s->phi + (j0 + b) * s->stride + i0 + a0;
                const float *from = s->phi + (i0 + a0) * s->stride + j0 + b;
                int32_t m = ni - a0 < SIDE ? ni - a0 : SIDE;
                if (i0 == j0 && b - a0 < m)
                    m = b - a0;
                for (int32_t a = 0; a < m; a++)
                    to[a] = from[a * s->stride];
            }
    }
}

/* The tree by phi^2; its lightest information, or 0 (no help) where it has an edge of none. */
static double find_floor(const search *s, float *best, int32_t *from) {
    const learner *l = s->l;
    const lathe_loop_set *f = lathe_loops();
    double floor = INFINITY;
    for (int64_t k = 0; k < s->stride; k++) {
        best[k] = k < l->p ? -INFINITY : NAN;
        from[k] = -1;
    }
    for (int32_t c = 0, n = 1; n < l->p; n++) {
        float top;
        best[c] = NAN;
        f->step(best, from, s->phi + c * s->stride, (int32_t) s->stride, c, &top);
        int32_t next = f->reach(best, (int32_t) s->stride, top, 0);
        while (next < l->p && best[next] != top)
            next++;
        if (next >= l->p || !(top > 0))
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
    const float least = (float) (s->floor * (1 - 1e-5)); /* single precision is far nearer than that */
    (void) piece;
    for (int32_t i = (int32_t) begin; i < end; i++) {
        const float *row = s->phi + i * s->stride;
        const int32_t m = (int32_t) s->stride;
        for (int32_t b = f->reach(row, m, least, (i + 1) / LATHE_LANES * LATHE_LANES); b < m;
             b = f->reach(row, m, least, b + LATHE_LANES))
            for (int32_t j = b > i ? b : i + 1; j < b + LATHE_LANES && j < l->p; j++)
                if (row[j] >= least) {
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
    search s = {.l = l, .stride = (l->p + LATHE_LANES - 1) / LATHE_LANES * LATHE_LANES};
    s.phi = malloc((size_t) l->p * (size_t) s.stride * sizeof *s.phi);
    s.scale = malloc((size_t) l->p * sizeof *s.scale);
    float *best = malloc((size_t) s.stride * sizeof *best);
    int32_t *from = malloc((size_t) s.stride * sizeof *from);
    lathe_status st = LATHE_OK;
    if (s.phi == NULL || s.scale == NULL || best == NULL || from == NULL) {
        st = lathe_fail(err, LATHE_ERR_MEMORY, "Chow-Liu: no memory for %d columns", (int) l->p);
    } else {
        for (int32_t i = 0; i < l->p; i++)
            s.scale[i] = l->spread[i] > 0 ? 1 / l->spread[i] : 0;
        lathe_parallel_for(pool, (int64_t) l->n_blocks * (l->n_blocks + 1) / 2, 1, fill, &s);
        for (int32_t i = 0; i < l->p; i++) {
            s.phi[i * s.stride + i] = -INFINITY;
            for (int64_t k = l->p; k < s.stride; k++)
                s.phi[i * s.stride + k] = -INFINITY;
        }
        s.floor = find_floor(&s, best, from);
        if (s.floor > 0) {
            lathe_parallel_for(pool, l->p, 16, take, &s);
            *done = true;
        }
    }
    free(s.phi);
    free(s.scale);
    free(best);
    free(from);
    return st;
}
