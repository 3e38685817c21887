/* chow_liu.c - the maximum-weight spanning tree of pairwise information, and its bootstrap.
 *
 * Pairs come in tiles of columns (tile.c); each tile's own forest goes to its worker's list, full lists are
 * thinned, and the lists are merged at the end. Whatever the split, the tree is the same. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/machine.h"
#include "base/stats.h"
#include "base/thread.h"
#include "tree/learner.h"
#include "tree/loops.h"

typedef lathe_chow_liu_learner learner;
typedef lathe_chow_liu_worker worker;
typedef lathe_pair_value pair_value;

enum {
    TILE_BITS = 128,
    TILE_BITS_MANY = 256,
    MANY_COLUMNS = 4096,
    TILE_GEMM = 256,
    TILE_GEMM_MANY = 512, /* a product copies its operands first: the larger, the less of it */
    MANY_REAL = 768,
    TILE_PLAIN = 64,
    BATCH = 256
};

/* --- Preparation --------------------------------------------------------------------------------------- */

static lathe_status no_memory(lathe_error *err, const char *what) {
    return lathe_fail(err, LATHE_ERR_MEMORY, "Chow-Liu: no memory for %s", what);
}

static lathe_status pack(learner *l, lathe_error *err) {
    l->n_words = (l->n + 511) / 512 * 8;
    size_t n_total;
    if (!lathe_size_mul((size_t) l->p, (size_t) l->n_words, &n_total) || n_total > SIZE_MAX / 8)
        return no_memory(err, "the packed columns");
    l->bits = aligned_alloc(64, n_total * sizeof *l->bits);
    l->ones = calloc((size_t) l->p, sizeof *l->ones);
    l->margin = malloc((size_t) l->p * sizeof *l->margin);
    l->spread = malloc((size_t) l->p * sizeof *l->spread);
    l->xlogx = malloc((size_t) (l->n + 1) * sizeof *l->xlogx);
    if (l->bits == NULL || l->ones == NULL || l->margin == NULL || l->spread == NULL || l->xlogx == NULL)
        return no_memory(err, "the packed columns");
    l->kernel = lathe_popcount_best();
    for (int64_t k = 0; k <= l->n; k++)
        l->xlogx[k] = lathe_xlogx((double) k);
    for (int32_t i = 0; i < l->p; i++) {
        uint64_t *word = l->bits + i * l->n_words;
        l->kernel->pack(l->table->columns[i].codes, l->n, word, l->n_words);
        l->kernel->tile(word, 1, word, 1, l->n_words, &l->ones[i], 1);
        l->spread[i] = (double) l->ones[i] * (double) (l->n - l->ones[i]);
        l->margin[i] = l->xlogx[l->ones[i]] + l->xlogx[l->n - l->ones[i]];
    }
    return LATHE_OK;
}

/* Centred, of length 1; constant columns become zeros. */
static void standardise_columns(void *ctx, int worker_index, int64_t piece, int64_t begin, int64_t end) {
    learner *l = ctx;
    const double n = (double) l->n;
    (void) worker_index;
    (void) piece;
    for (int64_t i = begin; i < end; i++) {
        const double *x = l->table->columns[i].values;
        double *y = l->unit + i * l->n;
        const double mean = lathe_sum(x, l->n) / n;
        for (int64_t t = 0; t < l->n; t++)
            y[t] = x[t] - mean;
        const double sum = lathe_dot(y, y, l->n), scale = sum > 0 ? 1 / sqrt(sum) : 0;
        for (int64_t t = 0; t < l->n; t++)
            y[t] *= scale;
        l->variance[i] = sum / n;
    }
}

static lathe_status standardise(learner *l, lathe_pool *pool, lathe_error *err) {
    const size_t n_padded = (size_t) l->n_blocks * (size_t) l->tile;
    size_t n_total;
    if (!lathe_size_mul(n_padded, (size_t) l->n, &n_total) || n_total > SIZE_MAX / 8)
        return no_memory(err, "the columns");
    l->unit = malloc(n_total * sizeof *l->unit);
    l->variance = malloc((size_t) l->p * sizeof *l->variance);
    if (l->unit == NULL || l->variance == NULL)
        return no_memory(err, "the columns");
    lathe_parallel_for(pool, l->p, 8, standardise_columns, l);
    memset(l->unit + (int64_t) l->p * l->n, 0, (n_padded - (size_t) l->p) * (size_t) l->n * sizeof *l->unit);
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

lathe_status lathe_chow_liu_workers(learner *l, lathe_error *err) {
    l->workers = calloc((size_t) l->n_workers, sizeof *l->workers);
    if (l->workers == NULL)
        return no_memory(err, "workers");
    const size_t tile2 = (size_t) l->tile * (size_t) l->tile,
                 pair = (size_t) l->max_states * (size_t) l->max_states;
    for (int k = 0; k < l->n_workers; k++) {
        worker *w = &l->workers[k];
        w->capacity = 3 * (int64_t) l->p_all + 1024;
        w->list = malloc((size_t) w->capacity * sizeof *w->list);
        w->up = malloc(2 * (size_t) l->p_all * sizeof *w->up);
        w->w = calloc(tile2, sizeof *w->w);
        w->counts = calloc((tile2 > pair ? tile2 : pair) + 8 * (size_t) l->max_states, sizeof *w->counts);
        w->best = malloc(2 * (size_t) l->tile * sizeof *w->best);
        w->from = malloc(2 * (size_t) l->tile * sizeof *w->from);
        w->wt = malloc(tile2 * sizeof *w->wt);
        w->floor = -INFINITY;
        w->try_at = l->p_all + l->p_all / 4 + 1;
        w->found = malloc(32 * (size_t) l->tile * sizeof *w->found);
        if (!w->list || !w->up || !w->w || !w->counts || !w->best || !w->from || !w->wt || !w->found)
            return no_memory(err, "a worker's lists");
    }
    return LATHE_OK;
}

static lathe_status prepare(learner *l, lathe_pool *pool, lathe_error *err) {
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
    l->source = LATHE_PAIR_PLAIN;
    if (n_two == l->p && !l->any_missing && params->smoothing == 0 && !l->bias && l->n < UINT32_MAX)
        l->source = LATHE_PAIR_BITS;
    else if (n_discrete == 0 && !l->any_missing && !l->bias && l->n < INT32_MAX)
        l->source = LATHE_PAIR_GEMM;
    l->tile = l->source == LATHE_PAIR_BITS   ? l->p > MANY_COLUMNS ? TILE_BITS_MANY : TILE_BITS
              : l->source == LATHE_PAIR_GEMM ? l->p >= MANY_REAL ? TILE_GEMM_MANY : TILE_GEMM
                                             : TILE_PLAIN;
    l->n_blocks = (l->p + l->tile - 1) / l->tile;
    lathe_status st = lathe_chow_liu_affordable(l, err);
    if (st)
        return st;
    if (mixed) {
        l->discrete = malloc((size_t) l->p * sizeof *l->discrete);
        if (l->discrete == NULL)
            return no_memory(err, "kinds");
        for (int32_t i = 0; i < l->p; i++)
            l->discrete[i] = l->table->columns[i].discrete;
    }
    st = check_pairs(l, params->whitelist, params->n_whitelist, "whitelist", err);
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
    st = lathe_chow_liu_workers(l, err);
    if (st)
        return st;
    return l->source == LATHE_PAIR_BITS   ? pack(l, err)
           : l->source == LATHE_PAIR_GEMM ? standardise(l, pool, err)
                                          : LATHE_OK;
}

void lathe_chow_liu_workers_free(learner *l) {
    for (int k = 0; l->workers != NULL && k < l->n_workers; k++) {
        worker *w = &l->workers[k];
        free(w->list);
        free(w->up);
        free(w->w);
        free(w->counts);
        free(w->best);
        free(w->from);
        free(w->wt);
        free(w->found);
    }
    free(l->workers);
}

static void release(learner *l) {
    lathe_chow_liu_workers_free(l);
    free(l->bits);
    free(l->ones);
    free(l->margin);
    free(l->spread);
    free(l->xlogx);
    free(l->unit);
    free(l->variance);
    free(l->banned);
    free(l->discrete);
}

/* --- Learning --------------------------------------------------------------------------------------------
 */

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

/* Where several processes learn, they go on or fail together. */
static lathe_status agreed(const lathe_chow_liu_share *share, lathe_status st, lathe_error *err) {
    return share != NULL ? share->agree(share->user, st, err) : st;
}

/* All tiles, or every n_ranks-th; with a look at the clock now and then. */
static lathe_status do_tiles(learner *l, const lathe_chow_liu_share *share, lathe_pool *pool,
                             const lathe_progress *progress, lathe_error *err) {
    const int64_t n_all = (int64_t) l->n_blocks * (l->n_blocks + 1) / 2;
    const int64_t first = share != NULL ? share->rank : 0, step = share != NULL ? share->n_ranks : 1;
    const int64_t n_tiles = n_all > first ? (n_all - first + step - 1) / step : 0;
    lathe_status st = LATHE_OK;
    l->tile_step = step;
    for (int64_t tile = 0; tile < n_tiles && !st; tile += BATCH) {
        l->first_tile = first + tile * step;
        lathe_parallel_for(pool, n_tiles - tile < BATCH ? n_tiles - tile : BATCH, 1, lathe_chow_liu_tiles, l);
        if (n_tiles > BATCH && progress != NULL)
            st = lathe_progress_step(progress, "pairs", (double) (tile + BATCH), (double) n_tiles, err);
    }
    return st;
}

/* Learns once: pairs in (u, v) order in *out, [p - 1] room. */
static lathe_status learn(const lathe_table *table, const lathe_chow_liu_params *params,
                          const lathe_chow_liu_share *share, uint32_t trial, lathe_pool *pool,
                          lathe_pair *out, int32_t *n_out, double *information, lathe_chow_liu_info *info,
                          lathe_error *err) {
    learner l = {.table = table,
                 .params = params,
                 .order = {params->seed, trial, params->ties_by_index},
                 .p = table->n_columns,
                 .p_all = table->n_columns,
                 .n = table->n_rows,
                 .n_workers = lathe_pool_size(pool),
                 .n_processes = share != NULL ? share->n_ranks : 1};
    lathe_status st = prepare(&l, pool, err);
    st = agreed(share, st, err);
    bool done = false;
    if (!st && share == NULL)
        st = lathe_chow_liu_by_floor(&l, pool, &done, err);
    if (!st && !done)
        st = do_tiles(&l, share, pool, trial == 0 ? params->progress : NULL, err);
    worker *w = &l.workers[0];
    for (int k = 1; k < l.n_workers && !st; k++)
        for (int64_t e = 0; e < l.workers[k].n_list; e++)
            lathe_chow_liu_push(&l, w, l.workers[k].list[e].u, l.workers[k].list[e].v,
                                l.workers[k].list[e].w);
    if (!st)
        lathe_chow_liu_thin(&l, w);
    st = agreed(share, st, err);
    if (!st && share != NULL)
        st = share->merge(share->user, &l, err);
    *n_out = 0;
    if (st || (share != NULL && share->rank > 0)) {
        release(&l);
        return st;
    }
    int32_t n_kept = 0;
    double sum = 0, parameters = 0;
    for (int32_t k = 0; k < params->n_whitelist; k++) { /* first, so that cycles among them show */
        const int32_t u = params->whitelist[2 * k], v = params->whitelist[2 * k + 1];
        pair_value value;
        lathe_pair_weigh_plain(&l, u < v ? u : v, u < v ? v : u, w->counts, &value);
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
        lathe_pair_weigh(&l, out[e].u, out[e].v, w->counts, &value);
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
        info->kernel = l.source == LATHE_PAIR_BITS   ? l.kernel->name
                       : l.source == LATHE_PAIR_GEMM ? "blas"
                                                     : "bytes";
        info->log_likelihood = NAN;
        double h = 0;
        for (int32_t i = 0; i < l.p; i++) {
            const lathe_column *c = &table->columns[i];
            info->n_constant += c->discrete && c->n_states < 2;
            parameters += c->discrete ? c->n_states - 1 : 2;
            if (l.source == LATHE_PAIR_BITS)
                h += (l.xlogx[l.n] - l.margin[i]) / (double) l.n;
            else if (l.source == LATHE_PAIR_GEMM)
                h += lathe_normal_entropy(l.variance[i]);
            else if (!l.any_missing)
                h += lathe_column_entropy(c, l.n);
        }
        if (!l.any_missing)
            info->log_likelihood = (double) l.n * (sum - h);
        info->bic = info->log_likelihood - 0.5 * parameters * log((double) l.n);
    }
    release(&l);
    return LATHE_OK;
}

/* Missing cells: the likelihood is the sum over rows of the seen cells' log marginal, the parameters being
 * those of the rows that an edge's columns share. NaN stays for mixed kinds. */
static lathe_status score_seen_cells(const lathe_table *table, double smoothing, const lathe_tree *tree,
                                     lathe_chow_liu_info *info, lathe_error *err) {
    const int32_t p = table->n_columns;
    double n_parameters = 0, sum = 0;
    int64_t n_seen = 0;
    for (int32_t i = 0; i < p; i++) {
        const lathe_column *c = &table->columns[i];
        if (c->discrete != table->columns[0].discrete || c->n_missing == table->n_rows)
            return LATHE_OK;
        n_parameters += c->discrete ? c->n_states - 1 : 2;
    }
    for (int32_t e = 0; e < tree->n_edges; e++) {
        const lathe_column *a = &table->columns[tree->edges[e].u], *b = &table->columns[tree->edges[e].v];
        n_parameters += a->discrete ? (double) (a->n_states - 1) * (b->n_states - 1) : 1;
    }
    lathe_tree_model model;
    lathe_error unused = {0};
    if (lathe_tree_model_fit(table, tree, smoothing, &model, &unused))
        return LATHE_OK; /* no model, no likelihood: a constant real column, say */
    double *row = malloc((size_t) p * sizeof *row);
    lathe_status st = row ? LATHE_OK : no_memory(err, "a row");
    for (int64_t t = 0; t < table->n_rows && !st; t++) {
        bool any = false;
        for (int32_t i = 0; i < p; i++) {
            const lathe_column *c = &table->columns[i];
            row[i] = c->discrete ? c->codes[t] == LATHE_CODE_MISSING ? NAN : c->codes[t] : c->values[t];
            any = any || !isnan(row[i]);
        }
        double log_p = 0;
        st = any ? lathe_tree_infer(&model, row, &log_p, NULL, err) : LATHE_OK;
        sum += log_p;
        n_seen += any;
    }
    free(row);
    lathe_tree_model_free(&model);
    if (!st) {
        info->log_likelihood = sum;
        info->bic = sum - 0.5 * n_parameters * log((double) n_seen);
    }
    return st;
}

lathe_status lathe_chow_liu(const lathe_table *table, const lathe_chow_liu_params *params, lathe_tree *tree,
                            lathe_chow_liu_info *info, lathe_error *err) {
    return lathe_chow_liu_shared(table, params, NULL, tree, info, err);
}

lathe_status lathe_chow_liu_shared(const lathe_table *table, const lathe_chow_liu_params *params,
                                   const lathe_chow_liu_share *share, lathe_tree *tree,
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
    st = agreed(share, st, err);
    if (!st)
        st = learn(table, params, share, 0, pool, pairs, &n_pairs, information, &got, err);
    for (int32_t b = 1; b <= params->n_bootstrap && !st; b++) {
        lathe_table sample = {0};
        int32_t n_again = 0;
        st = lathe_table_resample(table, params->seed, (uint32_t) b, &sample, err);
        st = agreed(share, st, err);
        if (!st)
            st = learn(&sample, params, share, (uint32_t) b, pool, again, &n_again, NULL, NULL, err);
        lathe_resample_free(&sample);
        for (int32_t e = 0, f = 0; !st && e < n_pairs; e++) { /* both in (u, v) order */
            while (f < n_again && by_pair(&again[f], &pairs[e]) < 0)
                f++;
            hits[e] += f < n_again && by_pair(&again[f], &pairs[e]) == 0;
        }
        if (!st)
            st = lathe_progress_step(params->progress, "bootstrap", b, params->n_bootstrap, err);
        st = agreed(share, st, err);
    }
    for (int32_t i = 0; !st && i < p; i++)
        names[i] = table->columns[i].name;
    const bool mine = share == NULL || share->rank == 0;
    if (!st && mine)
        st = lathe_tree_new(p, p, names, tree, err);
    for (int32_t e = 0; e < n_pairs && !st; e++) {
        lathe_tree_add(tree, pairs[e].u, pairs[e].v, pairs[e].w > 0 ? pairs[e].w : 0, NAN);
        if (params->n_bootstrap > 0)
            tree->edges[e].support = (double) hits[e] / params->n_bootstrap;
    }
    if (!st && mine && isnan(got.log_likelihood))
        st = score_seen_cells(table, params->smoothing, tree, &got, err);
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
