/* tile.c - tiles of column pairs: their weights, and the forest of the pairs within a tile.
 *
 * Pairs are strictly ordered (weight, then hash, then index), so a pair that loses within a tile loses in the
 * whole: only a tile's own maximum spanning forest goes on, and of that only what the list may still use. */
#include <math.h>
#include <string.h>

#include <cblas.h>

#include "tree/learner.h"
#include "tree/loops.h"

typedef lathe_chow_liu_learner learner;
typedef lathe_chow_liu_worker worker;

enum { ROWS_GEMM = 4096, BAND = 32 };

/* --- Weights ------------------------------------------------------------------------------------------ */

void lathe_chow_liu_count(const learner *l, worker *w, int32_t i0, int32_t ni, int32_t j0, int32_t nj) {
    for (int32_t a = 0; a < ni; a += BAND) { /* of a square tile the upper triangle is enough */
        const int32_t b = i0 == j0 ? a : 0;
        l->kernel->tile(l->bits + (i0 + a) * l->n_words, ni - a < BAND ? ni - a : BAND,
                        l->bits + (j0 + b) * l->n_words, nj - b, l->n_words,
                        w->counts + (int64_t) a * l->tile + b, l->tile);
    }
}

static void bit_weights(const learner *l, worker *w, int32_t i0, int32_t ni, int32_t j0, int32_t nj) {
    const int64_t n = l->n;
    const lathe_weight kind = l->params->weight;
    for (int32_t a = 0; a < ni; a++)
        for (int32_t b = i0 == j0 ? a + 1 : 0; b < nj; b++) {
            const uint32_t c11 = w->counts[a * l->tile + b];
            double x;
            if (kind == LATHE_WEIGHT_AGREE || kind == LATHE_WEIGHT_ABSCORR) {
                x = (double) (n - l->ones[i0 + a] - l->ones[j0 + b] + 2 * (int64_t) c11);
                x = kind == LATHE_WEIGHT_AGREE ? x : fabs(2 * x / (double) n - 1);
            } else {
                x = lathe_pair_information_2x2(l, i0 + a, j0 + b, c11);
            }
            w->w[a * l->tile + b] = x;
        }
}

static void product_weights(const learner *l, worker *w, int32_t i0, int32_t ni, int32_t j0, int32_t nj) {
    const int t = l->tile;
    for (int64_t r = 0; r < l->n; r += ROWS_GEMM) {
        const int k = (int) (l->n - r < ROWS_GEMM ? l->n - r : ROWS_GEMM);
        const double *x = l->unit + (int64_t) i0 * l->n + r, *y = l->unit + (int64_t) j0 * l->n + r;
        const double before = r ? 1.0 : 0.0;
        if (i0 == j0) /* the upper triangle */
            cblas_dsyrk(CblasRowMajor, CblasUpper, CblasNoTrans, t, k, 1.0, x, (int) l->n, before, w->w, t);
        else
            cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, t, t, k, 1.0, x, (int) l->n, y, (int) l->n,
                        before, w->w, t);
    }
    for (int32_t a = 0; a < ni; a++)
        for (int32_t b = i0 == j0 ? a + 1 : 0; b < nj; b++) {
            const double r = fmin(fabs(w->w[a * t + b]), 1 - 1e-12);
            w->w[a * t + b] = -0.5 * log1p(-r * r);
        }
}

static bool is_banned(const learner *l, int32_t u, int32_t v) {
    const int64_t key = (int64_t) u * l->p + v;
    int32_t low = 0, high = l->params->n_blacklist;
    while (low < high) {
        const int32_t mid = low + (high - low) / 2;
        if (l->banned[mid] < key)
            low = mid + 1;
        else
            high = mid;
    }
    return low < l->params->n_blacklist && l->banned[low] == key;
}

/* Weights from w->counts, or from the columns. */
static void weigh_tile(const learner *l, worker *w, int32_t i0, int32_t ni, int32_t j0, int32_t nj) {
    if (l->source == LATHE_PAIR_BITS)
        bit_weights(l, w, i0, ni, j0, nj);
    else if (l->source == LATHE_PAIR_GEMM)
        product_weights(l, w, i0, ni, j0, nj);
    else
        for (int32_t a = 0; a < ni; a++)
            for (int32_t b = i0 == j0 ? a + 1 : 0; b < nj; b++) {
                lathe_pair_value value;
                lathe_pair_weigh_plain(l, i0 + a, j0 + b, w->counts, &value);
                w->w[a * l->tile + b] = value.weight;
            }
    if (l->params->n_blacklist > 0)
        for (int32_t a = 0; a < ni; a++)
            for (int32_t b = i0 == j0 ? a + 1 : 0; b < nj; b++)
                if (is_banned(l, i0 + a, j0 + b))
                    w->w[a * l->tile + b] = -INFINITY;
}

/* --- Lists ---------------------------------------------------------------------------------------------- */

void lathe_chow_liu_thin(const learner *l, worker *w) {
    w->n_list = lathe_kruskal(w->list, w->n_list, l->p_all, &l->order, l->discrete, l->params->whitelist,
                              l->params->n_whitelist, w->up);
    if (w->n_list > 0 && w->n_list == l->p_all - 1 - l->params->n_whitelist)
        w->floor = w->list[w->n_list - 1].w;
}

void lathe_chow_liu_push(const learner *l, worker *w, int32_t u, int32_t v, double weight) {
    if (!(weight >= w->floor) || weight == -INFINITY)
        return;
    if (w->n_list == w->capacity || (w->floor == -INFINITY && w->n_list == w->try_at)) {
        lathe_chow_liu_thin(l, w);
        w->try_at += l->p_all / 2 + 1; /* a spanning list, and so a floor, is worth having early */
    }
    w->list[w->n_list++] = (lathe_pair){u, v, weight};
}

/* --- Prim within a tile --------------------------------------------------------------------------------- */

/* true where pair (a, b) comes before pair (c, d) of equal weight; columns in any order. */
static bool before(const learner *l, int32_t a, int32_t b, int32_t c, int32_t d) {
    return lathe_tie_before(&l->order, a < b ? a : b, a < b ? b : a, c < d ? c : d, c < d ? d : c);
}

/* Node k < ni is column i0 + k; then the columns of J. Both halves of w are filled: w->w by rows of I, w->wt
 * by rows of J (the same where I is J). */
static void tile_forest(const learner *l, worker *w, int32_t i0, int32_t ni, int32_t j0, int32_t nj) {
    const bool square = i0 == j0;
    const int32_t m = square ? ni : ni + nj;
    const lathe_loop_set *f = lathe_loops();
    for (int32_t k = 0; k < m; k++) {
        w->best[k] = -INFINITY;
        w->from[k] = -1;
    }
#define COLUMN(k) lathe_chow_liu_id(l, (k) < ni ? i0 + (k) : j0 + (k) -ni)
    for (int32_t c = 0, step = 0; step < m; step++) {
        const bool c_in_i = c < ni;
        const int32_t name_c = COLUMN(c);
        const int32_t begin = square || !c_in_i ? 0 : ni, n_far = square || !c_in_i ? ni : nj;
        const double *row = c_in_i ? w->w + (int64_t) c * l->tile : w->wt + (int64_t) (c - ni) * l->tile;
        w->best[c] = NAN;
        if (f->relax(w->best + begin, w->from + begin, row, n_far, c))
            for (int32_t q = 0; q < n_far; q++) {
                const int32_t k = begin + q, rival = w->from[k];
                if (row[q] == w->best[k] && rival != c && rival >= 0 &&
                    before(l, name_c, COLUMN(k), COLUMN(rival), COLUMN(k)))
                    w->from[k] = c;
            }
        const double top = f->largest(w->best, m);
        if (!(top >= w->floor) || top == -INFINITY) {
            /* nothing that joins this component is needed: go on in the next one */
            int32_t next = 0;
            while (next < m && isnan(w->best[next]))
                next++;
            if (next == m)
                break;
            c = next;
            continue;
        }
        int32_t next = f->find(w->best, m, top, 0);
        for (int32_t k = f->find(w->best, m, top, next + 1); k < m; k = f->find(w->best, m, top, k + 1))
            if (before(l, COLUMN(k), COLUMN(w->from[k]), COLUMN(next), COLUMN(w->from[next])))
                next = k;
        const int32_t x = COLUMN(w->from[next]), y = COLUMN(next);
        lathe_chow_liu_push(l, w, x < y ? x : y, x < y ? y : x, top);
        c = next;
    }
#undef COLUMN
}

/* The other half of the tile, and minus infinity on the diagonal of a square one. false: nothing in it is
 * needed. */
static bool turn_tile(const learner *l, worker *w, int32_t i0, int32_t ni, int32_t j0, int32_t nj) {
    const int32_t t = l->tile;
    if (i0 == j0) {
        for (int32_t a = 0; a < ni; a++) {
            w->w[a * t + a] = -INFINITY;
            for (int32_t b = 0; b < a; b++)
                w->w[a * t + b] = w->w[b * t + a];
        }
        return true;
    }
    enum { SIDE = 8 };
    double top = -INFINITY;
    for (int32_t a0 = 0; a0 < ni; a0 += SIDE)
        for (int32_t b0 = 0; b0 < nj; b0 += SIDE)
            for (int32_t a = a0; a < ni && a < a0 + SIDE; a++)
                for (int32_t b = b0; b < nj && b < b0 + SIDE; b++) {
                    const double x = w->w[a * t + b];
                    w->wt[b * t + a] = x;
                    top = x > top ? x : top;
                }
    return top >= w->floor;
}

/* Of a counted tile, the pairs that the list can still use go to it; false, and nothing done, where there may
 * be many of them or the list has no floor yet. */
static bool take_promising(const learner *l, worker *w, int32_t i0, int32_t ni, int32_t j0, int32_t nj) {
    if (!(w->floor > 0) || l->n >= 1 << 26 || l->params->n_blacklist > 0 ||
        l->params->weight == LATHE_WEIGHT_AGREE || l->params->weight == LATHE_WEIGHT_ABSCORR)
        return false;
    const lathe_loop_set *f = lathe_loops();
    int32_t n_looked = 0, n_found = 0;
    for (int32_t a = 0; a < ni; a++) {
        const uint32_t *counts = w->counts + (int64_t) a * l->tile;
        const double bound = w->floor * (1 - 1e-9) * l->spread[i0 + a];
        int32_t b = i0 == j0 ? a / LATHE_LANES * LATHE_LANES : 0;
        for (; b < nj; b += LATHE_LANES) {
            b = f->promising(counts, l->ones + j0, l->spread + j0, nj, b, (double) l->n, l->ones[i0 + a],
                             bound);
            if (b < nj && ++n_looked > 2 * l->tile)
                return false;
            for (int32_t k = b; k < nj && k < b + LATHE_LANES; k++) {
                if (i0 == j0 && k <= a)
                    continue;
                const double x = lathe_pair_information_2x2(l, i0 + a, j0 + k, counts[k]);
                const int32_t u = lathe_chow_liu_id(l, i0 + a), v = lathe_chow_liu_id(l, j0 + k);
                if (x >= w->floor)
                    w->found[n_found++] = (lathe_pair){u < v ? u : v, u < v ? v : u, x};
            }
        }
    }
    for (int32_t k = 0; k < n_found; k++)
        lathe_chow_liu_push(l, w, w->found[k].u, w->found[k].v, w->found[k].w);
    return true;
}

void lathe_chow_liu_place(const learner *l, int64_t q, int32_t *i0, int32_t *ni, int32_t *j0, int32_t *nj) {
    int32_t bi = 0;
    while (q >= l->n_blocks - bi)
        q -= l->n_blocks - bi++;
    *i0 = bi * l->tile;
    *j0 = (bi + (int32_t) q) * l->tile;
    *ni = l->p - *i0 < l->tile ? l->p - *i0 : l->tile;
    *nj = l->p - *j0 < l->tile ? l->p - *j0 : l->tile;
}

void lathe_chow_liu_tile(const learner *l, worker *w, int32_t i0, int32_t ni, int32_t j0, int32_t nj) {
    if (l->source == LATHE_PAIR_BITS) {
        lathe_chow_liu_count(l, w, i0, ni, j0, nj);
        if (take_promising(l, w, i0, ni, j0, nj))
            return;
    }
    weigh_tile(l, w, i0, ni, j0, nj);
    if (l->discrete == NULL && l->params->n_whitelist == 0) {
        if (turn_tile(l, w, i0, ni, j0, nj))
            tile_forest(l, w, i0, ni, j0, nj);
        return;
    }
    for (int32_t a = 0; a < ni; a++)
        for (int32_t b = i0 == j0 ? a + 1 : 0; b < nj; b++)
            lathe_chow_liu_push(l, w, i0 + a, j0 + b, w->w[a * l->tile + b]);
}

void lathe_chow_liu_tiles(void *ctx, int worker_index, int64_t piece, int64_t begin, int64_t end) {
    const learner *l = ctx;
    (void) piece;
    for (int64_t q = begin; q < end; q++) {
        int32_t i0, ni, j0, nj;
        lathe_chow_liu_place(l, l->first_tile + q * l->tile_step, &i0, &ni, &j0, &nj);
        lathe_chow_liu_tile(l, &l->workers[worker_index], i0, ni, j0, nj);
    }
}
