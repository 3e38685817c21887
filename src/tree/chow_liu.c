/* chow_liu.c - the maximum-weight spanning tree of pairwise information.
 *
 * Pairs come in tiles of columns; each tile's own forest goes to its worker's list, full lists are thinned,
 * and the lists are merged at the end. Whatever the split, the tree is the same: pairs are strictly ordered
 * (weight, then hash, then index), and a pair that loses within a part loses in the whole. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cblas.h>

#include "base/machine.h"
#include "base/rng_purpose.h"
#include "base/stats.h"
#include "base/thread.h"
#include "tree/popcount.h"
#include "tree/span.h"
#include "tree/tree.h"

enum { TILE = 512, TILE_GEMM = 256, TILE_PLAIN = 64, ROWS_GEMM = 4096, MAX_TABLE = 1 << 22 };

typedef enum source_kind { SOURCE_BITS, SOURCE_GEMM, SOURCE_PLAIN } source_kind;

typedef struct learner {
    const lathe_table *table;
    const lathe_chow_liu_params *params;
    lathe_tie_order order;
    source_kind kind;
    int32_t p, tile, n_blocks;
    int64_t n, min_pairs;
    bool bias, any_missing;
    bool *discrete; /* NULL unless kinds are mixed */
    int32_t max_states;
    /* SOURCE_BITS */
    uint64_t *bits;
    int64_t n_words;
    uint32_t *ones;
    double *xlogx; /* [n + 1] */
    const lathe_popcount_kernel *kernel;
    /* SOURCE_GEMM: centred columns of length 1, one after another, padded to whole tiles */
    double *unit;
    /* pairs that may not be used: u * p + v, sorted */
    int64_t *banned;
    /* per worker */
    struct worker *workers;
    int n_workers;
} learner;

typedef struct worker {
    lathe_pair *list; /* [capacity] */
    int64_t n_list, capacity;
    int32_t *up;
    double *w;        /* [tile * tile] */
    uint32_t *counts; /* [tile * tile], or the table of a pair */
    double *best;
    int32_t *from;
    bool *in;
} worker;

/* --- Weights of a pair ------------------------------------------------------------------------------- */

static double xlogx(double x) {
    return x > 0 ? x * log(x) : 0;
}

/* Information of a 2 x 2 table with n rows, from its count of (1, 1) and its margins. Sums are arranged so
 * that exchanging the columns, or the codes of either, gives the same bits. */
static double information_2x2(const double *t, int64_t n, uint32_t c11, uint32_t c1, uint32_t c2) {
    const int64_t c10 = (int64_t) c1 - c11, c01 = (int64_t) c2 - c11, c00 = n - c1 - c01;
    const double joint = (t[c11] + t[c00]) + (t[c10] + t[c01]);
    const double margins = (t[c1] + t[n - c1]) + (t[c2] + t[n - c2]);
    const double i = ((joint - margins) + t[n]) / (double) n;
    return i > 1e-15 ? i : 0;
}

typedef struct pair_value {
    double weight, information; /* what is ordered; plain information */
    double dof;
    int64_t n;
} pair_value;

/* Discrete pair by a table of counts (scratch, [r_i * r_j]). */
static void discrete_pair(const learner *l, int32_t i, int32_t j, uint32_t *counts, pair_value *out) {
    const lathe_column *a = &l->table->columns[i], *b = &l->table->columns[j];
    const int32_t ra = a->n_states, rb = b->n_states;
    memset(counts, 0, (size_t) ra * (size_t) rb * sizeof *counts);
    int64_t n = 0;
    if (!l->any_missing) {
        for (int64_t t = 0; t < l->n; t++)
            counts[a->codes[t] * rb + b->codes[t]]++;
        n = l->n;
    } else {
        for (int64_t t = 0; t < l->n; t++)
            if (a->codes[t] != LATHE_CODE_MISSING && b->codes[t] != LATHE_CODE_MISSING) {
                counts[a->codes[t] * rb + b->codes[t]]++;
                n++;
            }
    }
    out->n = n;
    out->dof = (double) (ra - 1) * (rb - 1);
    const double s = l->params->smoothing;
    const double total = (double) n + s * ra * rb;
    double sum = 0;
    if (total > 0) {
        double rows = 0, joint = 0, columns = 0;
        for (int32_t x = 0; x < ra; x++) {
            double margin = 0;
            for (int32_t y = 0; y < rb; y++) {
                const double c = counts[x * rb + y] + s;
                joint += xlogx(c);
                margin += c;
            }
            rows += xlogx(margin);
        }
        for (int32_t y = 0; y < rb; y++) {
            double margin = 0;
            for (int32_t x = 0; x < ra; x++)
                margin += counts[x * rb + y] + s;
            columns += xlogx(margin);
        }
        sum = (joint - rows - columns + xlogx(total)) / total;
    }
    out->information = sum > 1e-15 ? sum : 0;
    out->weight = out->information;
    if (l->params->weight == LATHE_WEIGHT_AGREE || l->params->weight == LATHE_WEIGHT_ABSCORR) {
        const double agree = ra == 2 && rb == 2 ? (double) counts[0] + counts[3] : (double) counts[0];
        const double share = n > 0 ? agree / (double) n : 0;
        out->weight =
            l->params->weight == LATHE_WEIGHT_AGREE ? (l->any_missing ? share : agree) : fabs(2 * share - 1);
    }
}

static double from_share(double explained) {
    return -0.5 * log(fmax(1 - explained, explained > 1 - 1e-12 ? 1e-12 : 0));
}

static void real_pair(const learner *l, int32_t i, int32_t j, pair_value *out) {
    const double *x = l->table->columns[i].values, *y = l->table->columns[j].values;
    double mx = 0, my = 0, sxx = 0, syy = 0, sxy = 0;
    int64_t n = 0;
    for (int64_t t = 0; t < l->n; t++)
        if (!isnan(x[t]) && !isnan(y[t])) {
            n++;
            mx += x[t];
            my += y[t];
        }
    mx /= n ? (double) n : 1;
    my /= n ? (double) n : 1;
    for (int64_t t = 0; t < l->n; t++)
        if (!isnan(x[t]) && !isnan(y[t])) {
            sxx += (x[t] - mx) * (x[t] - mx);
            syy += (y[t] - my) * (y[t] - my);
            sxy += (x[t] - mx) * (y[t] - my);
        }
    const double r = sxx > 0 && syy > 0 ? fmin(fabs(sxy) / sqrt(sxx * syy), 1 - 1e-12) : 0;
    out->n = n;
    out->dof = 1;
    out->information = out->weight = -0.5 * log1p(-r * r);
}

/* Discrete d with continuous c: the correlation ratio. scratch: [3 n_states] doubles. */
static void mixed_pair(const learner *l, const lathe_column *d, const lathe_column *c, double *scratch,
                       pair_value *out) {
    double *sum = scratch, *number = scratch + d->n_states;
    memset(scratch, 0, 2 * (size_t) d->n_states * sizeof *scratch);
    int64_t n = 0;
    double mean = 0;
    for (int64_t t = 0; t < l->n; t++)
        if (d->codes[t] != LATHE_CODE_MISSING && !isnan(c->values[t])) {
            sum[d->codes[t]] += c->values[t];
            number[d->codes[t]]++;
            mean += c->values[t];
            n++;
        }
    mean /= n ? (double) n : 1;
    double total = 0, within = 0;
    for (int64_t t = 0; t < l->n; t++)
        if (d->codes[t] != LATHE_CODE_MISSING && !isnan(c->values[t])) {
            const double e = c->values[t] - mean, w = c->values[t] - sum[d->codes[t]] / number[d->codes[t]];
            total += e * e;
            within += w * w;
        }
    out->n = n;
    out->dof = d->n_states - 1;
    out->information = total > 0 ? fmax(0, from_share(1 - fmax(within / total, 1e-12))) : 0;
    out->weight = out->information;
}

/* A pair of packed columns: the same bits as in its tile. */
static void packed_pair(const learner *l, int32_t i, int32_t j, uint32_t *count, pair_value *out) {
    l->kernel->tile(l->bits + i * l->n_words, 1, l->bits + j * l->n_words, 1, l->n_words, count, 1);
    out->n = l->n;
    out->dof = (double) (l->table->columns[i].n_states - 1) * (l->table->columns[j].n_states - 1);
    out->information = out->weight = information_2x2(l->xlogx, l->n, count[0], l->ones[i], l->ones[j]);
}

/* scratch: the worker's counts. */
static void plain_pair(const learner *l, int32_t i, int32_t j, uint32_t *counts, pair_value *out) {
    const lathe_column *a = &l->table->columns[i], *b = &l->table->columns[j];
    if (a->discrete && b->discrete)
        discrete_pair(l, i, j, counts, out);
    else if (!a->discrete && !b->discrete)
        real_pair(l, i, j, out);
    else
        mixed_pair(l, a->discrete ? a : b, a->discrete ? b : a, (double *) (void *) counts, out);
    if (l->bias && out->n > 0)
        out->weight -= out->dof / (2 * (double) out->n);
    if (out->n < l->min_pairs)
        out->weight = -INFINITY;
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

/* --- Tiles ------------------------------------------------------------------------------------------- */

static void tile_weights(const learner *l, worker *w, int32_t i0, int32_t ni, int32_t j0, int32_t nj) {
    if (l->kind == SOURCE_BITS) {
        l->kernel->tile(l->bits + i0 * l->n_words, ni, l->bits + j0 * l->n_words, nj, l->n_words, w->counts,
                        l->tile);
        const lathe_weight kind = l->params->weight;
        for (int32_t a = 0; a < ni; a++)
            for (int32_t b = i0 == j0 ? a + 1 : 0; b < nj; b++) {
                const uint32_t c11 = w->counts[a * l->tile + b], c1 = l->ones[i0 + a], c2 = l->ones[j0 + b];
                double x;
                if (kind == LATHE_WEIGHT_AGREE || kind == LATHE_WEIGHT_ABSCORR) {
                    x = (double) (l->n - c1 - c2 + 2 * (int64_t) c11);
                    if (kind == LATHE_WEIGHT_ABSCORR)
                        x = fabs(2 * x / (double) l->n - 1);
                } else {
                    x = information_2x2(l->xlogx, l->n, c11, c1, c2);
                }
                w->w[a * l->tile + b] = x;
            }
    } else if (l->kind == SOURCE_GEMM) {
        const int t = l->tile;
        for (int64_t r = 0; r < l->n; r += ROWS_GEMM) {
            const int k = (int) (l->n - r < ROWS_GEMM ? l->n - r : ROWS_GEMM);
            cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, t, t, k, 1.0,
                        l->unit + (int64_t) i0 * l->n + r, (int) l->n, l->unit + (int64_t) j0 * l->n + r,
                        (int) l->n, r ? 1.0 : 0.0, w->w, t);
        }
        for (int32_t a = 0; a < ni; a++)
            for (int32_t b = i0 == j0 ? a + 1 : 0; b < nj; b++) {
                const double r = fmin(fabs(w->w[a * t + b]), 1 - 1e-12);
                w->w[a * t + b] = -0.5 * log1p(-r * r);
            }
    } else {
        for (int32_t a = 0; a < ni; a++)
            for (int32_t b = i0 == j0 ? a + 1 : 0; b < nj; b++) {
                pair_value value;
                plain_pair(l, i0 + a, j0 + b, w->counts, &value);
                w->w[a * l->tile + b] = value.weight;
            }
    }
    if (l->params->n_blacklist > 0)
        for (int32_t a = 0; a < ni; a++)
            for (int32_t b = i0 == j0 ? a + 1 : 0; b < nj; b++)
                if (is_banned(l, i0 + a, j0 + b))
                    w->w[a * l->tile + b] = -INFINITY;
}

static void thin(const learner *l, worker *w) {
    w->n_list = lathe_kruskal(w->list, w->n_list, l->p, &l->order, l->discrete, l->params->whitelist,
                              l->params->n_whitelist, w->up);
}

static void push(const learner *l, worker *w, int32_t u, int32_t v, double weight) {
    if (weight == -INFINITY)
        return;
    if (w->n_list == w->capacity)
        thin(l, w);
    w->list[w->n_list++] = (lathe_pair){u, v, weight};
}

/* Prim on the pairs of one tile, which join blocks I and J (or lie within I). Node k < ni is i0 + k; then J.
 */
static void tile_forest(const learner *l, worker *w, int32_t i0, int32_t ni, int32_t j0, int32_t nj) {
    const bool square = i0 == j0;
    const int32_t m = square ? ni : ni + nj;
    for (int32_t k = 0; k < m; k++) {
        w->best[k] = -INFINITY;
        w->from[k] = -1;
        w->in[k] = false;
    }
    int32_t c = 0;
    for (int32_t step = 0; step < m; step++) {
        w->in[c] = true;
        const bool c_in_i = square || c < ni;
        const int32_t name_c = c < ni ? i0 + c : j0 + c - ni;
        const int32_t begin = square || !c_in_i ? 0 : ni, end = square || c_in_i ? m : ni;
        for (int32_t k = begin; k < end; k++) {
            if (w->in[k])
                continue;
            int32_t a = c, b = k; /* row and column of the pair in w->w */
            if (square ? k < c : !c_in_i) {
                a = k;
                b = c;
            }
            const double x = w->w[a * l->tile + (square ? b : b - ni)];
            bool better = x > w->best[k];
            if (!better && x == w->best[k] && x > -INFINITY) {
                const int32_t name_k = k < ni ? i0 + k : j0 + k - ni;
                const int32_t f = w->from[k], name_f = f < ni ? i0 + f : j0 + f - ni;
                better = lathe_tie_before(
                    &l->order, name_c < name_k ? name_c : name_k, name_c < name_k ? name_k : name_c,
                    name_f < name_k ? name_f : name_k, name_f < name_k ? name_k : name_f);
            }
            if (better) {
                w->best[k] = x;
                w->from[k] = c;
            }
        }
        int32_t next = -1;
        for (int32_t k = 0; k < m; k++) {
            if (w->in[k])
                continue;
            bool better = next < 0 || w->best[k] > w->best[next];
            if (!better && w->best[k] == w->best[next] && w->best[k] > -INFINITY) {
                int32_t e[4] = {k, w->from[k], next, w->from[next]};
                for (int q = 0; q < 4; q++)
                    e[q] = e[q] < ni ? i0 + e[q] : j0 + e[q] - ni;
                better = lathe_tie_before(&l->order, e[0] < e[1] ? e[0] : e[1], e[0] < e[1] ? e[1] : e[0],
                                          e[2] < e[3] ? e[2] : e[3], e[2] < e[3] ? e[3] : e[2]);
            }
            if (better)
                next = k;
        }
        if (next < 0)
            break;
        if (w->from[next] >= 0) {
            const int32_t f = w->from[next];
            const int32_t x = f < ni ? i0 + f : j0 + f - ni, y = next < ni ? i0 + next : j0 + next - ni;
            push(l, w, x < y ? x : y, x < y ? y : x, w->best[next]);
        }
        c = next;
    }
}

static void do_tiles(void *ctx, int worker_index, int64_t piece, int64_t begin, int64_t end) {
    learner *l = ctx;
    worker *w = &l->workers[worker_index];
    (void) piece;
    for (int64_t q = begin; q < end; q++) {
        /* tile q of the upper triangle, row by row */
        int32_t bi = 0;
        int64_t left = q;
        while (left >= l->n_blocks - bi)
            left -= l->n_blocks - bi++;
        const int32_t bj = bi + (int32_t) left;
        const int32_t i0 = bi * l->tile, j0 = bj * l->tile;
        const int32_t ni = l->p - i0 < l->tile ? l->p - i0 : l->tile,
                      nj = l->p - j0 < l->tile ? l->p - j0 : l->tile;
        tile_weights(l, w, i0, ni, j0, nj);
        if (l->discrete == NULL && l->params->n_whitelist == 0) {
            tile_forest(l, w, i0, ni, j0, nj);
            continue;
        }
        for (int32_t a = 0; a < ni; a++)
            for (int32_t b = i0 == j0 ? a + 1 : 0; b < nj; b++)
                push(l, w, i0 + a, j0 + b, w->w[a * l->tile + b]);
    }
}

/* --- Preparation --------------------------------------------------------------------------------------- */

static lathe_status no_memory(lathe_error *err, const char *what) {
    return lathe_fail(err, LATHE_ERR_MEMORY, "Chow-Liu: no memory for %s", what);
}

static lathe_status pack(learner *l, lathe_error *err) {
    l->n_words = (l->n + 511) / 512 * 8;
    size_t n_total;
    if (!lathe_size_mul((size_t) l->p, (size_t) l->n_words, &n_total) || n_total > SIZE_MAX / 8)
        return no_memory(err, "the packed columns");
    l->bits = calloc(n_total, sizeof *l->bits);
    l->ones = calloc((size_t) l->p, sizeof *l->ones);
    l->xlogx = malloc((size_t) (l->n + 1) * sizeof *l->xlogx);
    if (l->bits == NULL || l->ones == NULL || l->xlogx == NULL)
        return no_memory(err, "the packed columns");
    for (int32_t i = 0; i < l->p; i++) {
        uint64_t *word = l->bits + i * l->n_words;
        const uint16_t *codes = l->table->columns[i].codes;
        for (int64_t t = 0; t < l->n; t += 64) {
            const int64_t end = l->n - t < 64 ? l->n - t : 64;
            uint64_t packed = 0;
            for (int64_t k = 0; k < end; k++)
                packed |= (uint64_t) (codes[t + k] & 1) << k;
            word[t / 64] = packed;
        }
        for (int64_t k = 0; k < l->n_words; k++)
            l->ones[i] += (uint32_t) __builtin_popcountll(word[k]);
    }
    for (int64_t k = 0; k <= l->n; k++)
        l->xlogx[k] = xlogx((double) k);
    l->kernel = lathe_popcount_best();
    return LATHE_OK;
}

static lathe_status standardise(learner *l, lathe_error *err) {
    size_t n_total;
    if (!lathe_size_mul((size_t) l->n_blocks * (size_t) l->tile, (size_t) l->n, &n_total) ||
        n_total > SIZE_MAX / 8)
        return no_memory(err, "the columns");
    l->unit = calloc(n_total, sizeof *l->unit);
    if (l->unit == NULL)
        return no_memory(err, "the columns");
    for (int32_t i = 0; i < l->p; i++) {
        const double *x = l->table->columns[i].values;
        double *y = l->unit + i * l->n, mean = 0, sum = 0;
        for (int64_t t = 0; t < l->n; t++)
            mean += x[t];
        mean /= (double) l->n;
        for (int64_t t = 0; t < l->n; t++)
            sum += (x[t] - mean) * (x[t] - mean);
        for (int64_t t = 0; t < l->n; t++)
            y[t] = sum > 0 ? (x[t] - mean) / sqrt(sum) : 0;
    }
    return LATHE_OK;
}

static int by_key(const void *a, const void *b) {
    const int64_t x = *(const int64_t *) a, y = *(const int64_t *) b;
    return (x > y) - (x < y);
}

static lathe_status check_pairs(const learner *l, const int32_t *pairs, int32_t n, const char *what,
                                lathe_error *err) {
    for (int32_t k = 0; k < 2 * n; k++)
        if (pairs[k] < 0 || pairs[k] >= l->p || pairs[k] == pairs[k ^ 1])
            return lathe_fail(err, LATHE_ERR_ARG, "%s: pair %d names no two columns", what,
                              (int) (k / 2 + 1));
    return LATHE_OK;
}

static lathe_status prepare(learner *l, lathe_error *err) {
    const lathe_chow_liu_params *params = l->params;
    int32_t n_discrete = 0, n_two = 0;
    l->max_states = 1;
    for (int32_t i = 0; i < l->p; i++) {
        const lathe_column *c = &l->table->columns[i];
        n_discrete += c->discrete;
        n_two += c->discrete && c->n_states <= 2;
        l->any_missing = l->any_missing || c->n_missing > 0;
        if (c->discrete && c->n_states > l->max_states)
            l->max_states = c->n_states;
        for (int64_t t = 0; !c->discrete && t < l->n; t++)
            if (isinf(c->values[t]))
                return lathe_fail(err, LATHE_ERR_INPUT, "row %lld, column '%s': infinite", (long long) t + 1,
                                  c->name);
    }
    if (params->weight == LATHE_WEIGHT_MI && n_discrete < l->p)
        return lathe_fail(
            err, LATHE_ERR_INPUT,
            "--weight mi wants discrete columns: %d look continuous; use --weight gauss or --bins K",
            (int) (l->p - n_discrete));
    if (params->weight == LATHE_WEIGHT_GAUSS && n_discrete > 0)
        return lathe_fail(err, LATHE_ERR_INPUT, "--weight gauss wants real columns: %d are discrete",
                          (int) n_discrete);
    if ((params->weight == LATHE_WEIGHT_AGREE || params->weight == LATHE_WEIGHT_ABSCORR) && n_two < l->p)
        return lathe_fail(err, LATHE_ERR_INPUT,
                          "--weight agree and abscorr want columns of two states: %d are not",
                          (int) (l->p - n_two));
    const bool mixed = n_discrete > 0 && n_discrete < l->p;
    if (l->max_states > 2048)
        return lathe_fail(err, LATHE_ERR_INPUT, "a column has %d states; at most 2048 can be paired",
                          (int) l->max_states);
    l->bias = params->bias || mixed || l->any_missing;
    if (l->any_missing) {
        l->min_pairs = params->min_pairs > 0 ? params->min_pairs : 30;
        l->min_pairs = l->min_pairs < l->n / 2 ? l->min_pairs : l->n / 2;
        l->min_pairs = l->min_pairs > 1 ? l->min_pairs : 1;
    }
    l->kind = SOURCE_PLAIN;
    if (n_two == l->p && !l->any_missing && params->smoothing == 0 && !l->bias && l->n < UINT32_MAX)
        l->kind = SOURCE_BITS;
    else if (n_discrete == 0 && !l->any_missing && !l->bias && l->n < INT32_MAX)
        l->kind = SOURCE_GEMM;
    l->tile = l->kind == SOURCE_BITS ? TILE : l->kind == SOURCE_GEMM ? TILE_GEMM : TILE_PLAIN;
    l->n_blocks = (l->p + l->tile - 1) / l->tile;
    if (mixed) {
        l->discrete = malloc((size_t) l->p * sizeof *l->discrete);
        if (l->discrete == NULL)
            return no_memory(err, "kinds");
        for (int32_t i = 0; i < l->p; i++)
            l->discrete[i] = l->table->columns[i].discrete;
    }
    lathe_status st = check_pairs(l, params->whitelist, params->n_whitelist, "whitelist", err);
    if (!st)
        st = check_pairs(l, params->blacklist, params->n_blacklist, "blacklist", err);
    if (st)
        return st;
    l->banned = malloc((size_t) (params->n_blacklist + 1) * sizeof *l->banned);
    if (l->banned == NULL)
        return no_memory(err, "the blacklist");
    for (int32_t k = 0; k < params->n_blacklist; k++) {
        const int32_t u = params->blacklist[2 * k], v = params->blacklist[2 * k + 1];
        l->banned[k] = (int64_t) (u < v ? u : v) * l->p + (u < v ? v : u);
    }
    qsort(l->banned, (size_t) params->n_blacklist, sizeof *l->banned, by_key);
    l->workers = calloc((size_t) l->n_workers, sizeof *l->workers);
    if (l->workers == NULL)
        return no_memory(err, "workers");
    const size_t tile2 = (size_t) l->tile * (size_t) l->tile,
                 pair = (size_t) l->max_states * (size_t) l->max_states;
    for (int k = 0; k < l->n_workers; k++) {
        worker *w = &l->workers[k];
        w->capacity = 5 * (int64_t) l->p + 4096;
        w->list = malloc((size_t) w->capacity * sizeof *w->list);
        w->up = malloc(2 * (size_t) l->p * sizeof *w->up);
        w->w = calloc(tile2, sizeof *w->w);
        w->counts = calloc((tile2 > pair ? tile2 : pair) + 8 * (size_t) l->max_states, sizeof *w->counts);
        w->best = malloc(2 * (size_t) l->tile * sizeof *w->best);
        w->from = malloc(2 * (size_t) l->tile * sizeof *w->from);
        w->in = malloc(2 * (size_t) l->tile * sizeof *w->in);
        if (!w->list || !w->up || !w->w || !w->counts || !w->best || !w->from || !w->in)
            return no_memory(err, "a worker's lists");
    }
    return l->kind == SOURCE_BITS ? pack(l, err) : l->kind == SOURCE_GEMM ? standardise(l, err) : LATHE_OK;
}

static void release(learner *l) {
    for (int k = 0; l->workers != NULL && k < l->n_workers; k++) {
        worker *w = &l->workers[k];
        free(w->list);
        free(w->up);
        free(w->w);
        free(w->counts);
        free(w->best);
        free(w->from);
        free(w->in);
    }
    free(l->workers);
    free(l->bits);
    free(l->ones);
    free(l->xlogx);
    free(l->unit);
    free(l->banned);
    free(l->discrete);
}

/* --- Learning --------------------------------------------------------------------------------------------
 */

static double entropy(const lathe_column *c, int64_t n) {
    if (!c->discrete) {
        double mean = 0, sum = 0;
        for (int64_t t = 0; t < n; t++)
            mean += c->values[t];
        mean /= (double) n;
        for (int64_t t = 0; t < n; t++)
            sum += (c->values[t] - mean) * (c->values[t] - mean);
        return 0.5 *
               log(2 * 3.14159265358979323846 * 2.71828182845904523536 * fmax(sum / (double) n, 1e-300));
    }
    int64_t *counts = calloc((size_t) c->n_states, sizeof *counts);
    if (counts == NULL)
        return NAN;
    for (int64_t t = 0; t < n; t++)
        counts[c->codes[t]]++;
    double sum = 0;
    for (int32_t s = 0; s < c->n_states; s++)
        sum += xlogx((double) counts[s]);
    free(counts);
    return log((double) n) - sum / (double) n;
}

static bool keeps(const learner *l, const pair_value *e) {
    const lathe_chow_liu_params *params = l->params;
    const double n = (double) e->n;
    switch (params->prune) {
    case LATHE_PRUNE_BIC:
        return e->information > e->dof * log(n) / (2 * n);
    case LATHE_PRUNE_GTEST: {
        const double level = params->p_value > 0 ? params->p_value : 0.05 / (0.5 * l->p * (l->p - 1.0));
        return e->dof > 0 && lathe_chi2_tail(2 * n * e->information, e->dof) < level;
    }
    case LATHE_PRUNE_THR:
        return e->information >= pow(n, -(params->beta > 0 ? params->beta : 0.5));
    default:
        return true;
    }
}

static int by_pair(const void *a, const void *b) {
    const lathe_pair *x = a, *y = b;
    return x->u != y->u ? (x->u > y->u) - (x->u < y->u) : (x->v > y->v) - (x->v < y->v);
}

/* Learns once: pairs in (u, v) order in *out, [p - 1] room. */
static lathe_status learn(const lathe_table *table, const lathe_chow_liu_params *params, uint32_t trial,
                          lathe_pool *pool, lathe_pair *out, int32_t *n_out, double *information,
                          lathe_chow_liu_info *info, lathe_error *err) {
    learner l = {.table = table,
                 .params = params,
                 .order = {params->seed, trial, params->ties_by_index},
                 .p = table->n_columns,
                 .n = table->n_rows,
                 .n_workers = lathe_pool_size(pool)};
    lathe_status st = prepare(&l, err);
    if (st) {
        release(&l);
        return st;
    }
    lathe_parallel_for(pool, (int64_t) l.n_blocks * (l.n_blocks + 1) / 2, 1, do_tiles, &l);
    worker *w = &l.workers[0];
    for (int k = 1; k < l.n_workers; k++)
        for (int64_t e = 0; e < l.workers[k].n_list; e++)
            push(&l, w, l.workers[k].list[e].u, l.workers[k].list[e].v, l.workers[k].list[e].w);
    thin(&l, w);
    int32_t n_kept = 0;
    double sum = 0, parameters = 0;
    for (int32_t k = 0; k < params->n_whitelist; k++) { /* first, so that cycles among them show */
        const int32_t u = params->whitelist[2 * k], v = params->whitelist[2 * k + 1];
        pair_value value;
        plain_pair(&l, u < v ? u : v, u < v ? v : u, w->counts, &value);
        out[n_kept++] =
            (lathe_pair){u < v ? u : v, u < v ? v : u, value.weight == -INFINITY ? 0 : value.weight};
    }
    for (int64_t e = 0; e < w->n_list; e++)
        out[n_kept++] = w->list[e];
    qsort(out, (size_t) n_kept, sizeof *out, by_pair);
    int32_t n_left = 0;
    int64_t min_n = l.n;
    for (int32_t e = 0; e < n_kept; e++) {
        pair_value value;
        if (l.kind == SOURCE_BITS)
            packed_pair(&l, out[e].u, out[e].v, w->counts, &value);
        else
            plain_pair(&l, out[e].u, out[e].v, w->counts, &value);
        if (!keeps(&l, &value))
            continue;
        if (value.n < min_n)
            min_n = value.n;
        sum += value.information;
        parameters += value.dof;
        if (information != NULL)
            information[n_left] = value.information;
        out[n_left++] = out[e];
    }
    *n_out = n_left;
    if (info != NULL) {
        memset(info, 0, sizeof *info);
        info->sum_weight = sum;
        info->n_components = l.p - n_left;
        info->min_n = min_n;
        info->kernel = l.kind == SOURCE_BITS ? l.kernel->name : l.kind == SOURCE_GEMM ? "blas" : "bytes";
        info->log_likelihood = NAN;
        double h = 0;
        for (int32_t i = 0; i < l.p; i++) {
            const lathe_column *c = &table->columns[i];
            info->n_constant += c->discrete && c->n_states < 2;
            parameters += c->discrete ? c->n_states - 1 : 2;
            if (l.kind == SOURCE_BITS)
                h += (l.xlogx[l.n] - l.xlogx[l.ones[i]] - l.xlogx[l.n - l.ones[i]]) / (double) l.n;
            else if (!l.any_missing)
                h += entropy(c, l.n);
        }
        if (!l.any_missing)
            info->log_likelihood = (double) l.n * (sum - h);
        info->bic = info->log_likelihood - 0.5 * parameters * log((double) l.n);
    }
    release(&l);
    return LATHE_OK;
}

/* Row t of resample b (A3.1e): floor(word0 * n / 2^32). */
static lathe_status resample(const lathe_table *table, uint64_t seed, uint32_t b, lathe_table *out,
                             lathe_error *err) {
    out->n_rows = table->n_rows;
    out->n_columns = table->n_columns;
    out->columns = calloc((size_t) table->n_columns, sizeof *out->columns);
    int64_t *rows = malloc((size_t) table->n_rows * sizeof *rows);
    bool ok = out->columns != NULL && rows != NULL;
    for (int64_t t = 0; ok && t < table->n_rows; t++) {
        uint32_t w[4];
        lathe_philox(seed, LATHE_RNG_TREE_BOOTSTRAP, b, (uint32_t) t, 0, w);
        rows[t] = (int64_t) (((uint64_t) w[0] * (uint64_t) table->n_rows) >> 32);
    }
    for (int32_t i = 0; ok && i < table->n_columns; i++) {
        const lathe_column *from = &table->columns[i];
        lathe_column *to = &out->columns[i];
        to->discrete = from->discrete;
        to->n_states = from->n_states;
        const size_t size = from->discrete ? sizeof *to->codes : sizeof *to->values;
        void *cells = malloc((size_t) table->n_rows * size);
        ok = cells != NULL;
        to->codes = from->discrete ? cells : NULL;
        to->values = from->discrete ? NULL : cells;
        for (int64_t t = 0; ok && t < table->n_rows; t++)
            if (from->discrete) {
                to->codes[t] = from->codes[rows[t]];
                to->n_missing += to->codes[t] == LATHE_CODE_MISSING;
            } else {
                to->values[t] = from->values[rows[t]];
                to->n_missing += isnan(to->values[t]);
            }
    }
    free(rows);
    return ok ? LATHE_OK : no_memory(err, "a resample");
}

static void free_resample(lathe_table *table) {
    for (int32_t i = 0; table->columns != NULL && i < table->n_columns; i++) {
        free(table->columns[i].codes);
        free(table->columns[i].values);
    }
    free(table->columns);
}

lathe_status lathe_chow_liu(const lathe_table *table, const lathe_chow_liu_params *params, lathe_tree *tree,
                            lathe_chow_liu_info *info, lathe_error *err) {
    static const lathe_chow_liu_params defaults = {0};
    if (params == NULL)
        params = &defaults;
    const double begin = lathe_now();
    const int32_t p = table->n_columns;
    if (p < 1 || table->n_rows < 1)
        return lathe_fail(err, LATHE_ERR_INPUT, "%d columns and %lld rows: nothing to learn", (int) p,
                          (long long) table->n_rows);
    int32_t *up = malloc((size_t) p * sizeof *up);
    if (up == NULL)
        return no_memory(err, "nodes");
    for (int32_t i = 0; i < p; i++)
        up[i] = i;
    for (int32_t k = 0; k < params->n_whitelist; k++) {
        const int32_t u = params->whitelist[2 * k], v = params->whitelist[2 * k + 1];
        if (u < 0 || v < 0 || u >= p || v >= p || lathe_find(up, u) == lathe_find(up, v)) {
            free(up);
            return lathe_fail(err, LATHE_ERR_ARG, "whitelist: pair %d closes a cycle", (int) k + 1);
        }
        up[lathe_find(up, u)] = lathe_find(up, v);
    }
    free(up);
    char **names = malloc((size_t) p * sizeof *names);
    lathe_pair *pairs = malloc(2 * (size_t) p * sizeof *pairs),
               *again = malloc(2 * (size_t) p * sizeof *again);
    double *information = malloc(2 * (size_t) p * sizeof *information);
    int32_t *hits = calloc((size_t) p, sizeof *hits);
    lathe_pool *pool = NULL;
    lathe_status st = LATHE_OK;
    int32_t n_pairs = 0;
    lathe_chow_liu_info got = {0};
    memset(tree, 0, sizeof *tree);
    if (names == NULL || pairs == NULL || again == NULL || information == NULL || hits == NULL)
        st = no_memory(err, "the tree");
    if (!st && params->n_threads > 1)
        st = lathe_pool_new(params->n_threads, &pool, err);
    if (!st)
        st = learn(table, params, 0, pool, pairs, &n_pairs, information, &got, err);
    for (int32_t b = 1; b <= params->n_bootstrap && !st; b++) {
        lathe_table sample = {0};
        int32_t n_again = 0;
        st = resample(table, params->seed, (uint32_t) b, &sample, err);
        if (!st)
            st = learn(&sample, params, (uint32_t) b, pool, again, &n_again, NULL, NULL, err);
        free_resample(&sample);
        for (int32_t e = 0, f = 0; !st && e < n_pairs; e++) { /* both in (u, v) order */
            while (f < n_again && by_pair(&again[f], &pairs[e]) < 0)
                f++;
            hits[e] += f < n_again && by_pair(&again[f], &pairs[e]) == 0;
        }
        if (!st)
            st = lathe_progress_step(params->progress, "bootstrap", b, params->n_bootstrap, err);
    }
    for (int32_t i = 0; !st && i < p; i++)
        names[i] = table->columns[i].name;
    if (!st)
        st = lathe_tree_new(p, p, names, tree, err);
    for (int32_t e = 0; e < n_pairs && !st; e++) {
        lathe_tree_add(tree, pairs[e].u, pairs[e].v, pairs[e].w > 0 ? pairs[e].w : 0, NAN);
        if (params->n_bootstrap > 0)
            tree->edges[e].support = (double) hits[e] / params->n_bootstrap;
    }
    got.seconds = lathe_now() - begin;
    if (!st && info != NULL)
        *info = got;
    lathe_pool_free(pool);
    free(names);
    free(pairs);
    free(again);
    free(information);
    free(hits);
    return st;
}
