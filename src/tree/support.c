/* support.c - how stable a latent tree is, and how likely: bootstrap support of its splits, Gaussian
 * likelihood. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <lapacke.h>

#include "base/rng_purpose.h"
#include "base/thread.h"
#include "tree/tree.h"

/* --- Splits --------------------------------------------------------------------------------------------- */

static uint64_t node_key(int32_t i) {
    uint32_t w[4];
    lathe_philox(0x5eed, LATHE_RNG_TREE_TIES, 0, (uint32_t) i, 0, w);
    return (uint64_t) w[0] << 32 | w[1];
}

/* A number for each edge that is the same for the same split of the observed nodes (but for a chance of 2^-64
 * a pair of splits), and 0 for splits with fewer than two nodes on a side. */
static lathe_status split_keys(const lathe_tree *tree, uint64_t *keys, lathe_error *err) {
    const size_t n = (size_t) tree->n_nodes;
    lathe_adjacency adj;
    lathe_status st = lathe_adjacency_new(tree, &adj, err);
    int32_t *order = malloc(n * sizeof *order), *parent = malloc(n * sizeof *parent),
            *edge = malloc(n * sizeof *edge);
    int32_t *below = calloc(n, sizeof *below);
    uint64_t *sum = calloc(n, sizeof *sum);
    if (!st && (!order || !parent || !edge || !below || !sum))
        st = lathe_fail(err, LATHE_ERR_MEMORY, "splits: no memory");
    if (!st) {
        const int32_t m = lathe_tree_walk(tree, &adj, 0, order, parent, edge);
        for (int32_t i = 0; i < tree->n_observed; i++) {
            sum[i] = node_key(i);
            below[i] = 1;
        }
        for (int32_t k = m - 1; k > 0; k--) {
            sum[parent[order[k]]] ^= sum[order[k]];
            below[parent[order[k]]] += below[order[k]];
        }
        for (int32_t k = 1; k < m; k++) {
            const uint64_t one = sum[order[k]], other = sum[order[0]] ^ one;
            const int32_t here = below[order[k]], there = tree->n_observed - here;
            keys[edge[order[k]]] = here < 2 || there < 2 ? 0 : one < other ? one : other;
        }
    }
    free(order);
    free(parent);
    free(edge);
    free(below);
    free(sum);
    lathe_adjacency_free(&adj);
    return st;
}

static int by_key(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;
    return (x > y) - (x < y);
}

/* --- Bootstrap -------------------------------------------------------------------------------------------
 */

typedef struct bootstrap {
    const lathe_table *table;
    const lathe_distance_params *distances;
    const lathe_latent_params *latent;
    uint64_t seed;
    int32_t first; /* replicate that this batch begins with */
    const uint64_t *keys;
    int32_t n_keys;
    int32_t **hits; /* [workers][n_keys] */
    lathe_status *status;
    lathe_error *errors;
} bootstrap;

static lathe_status one_replicate(const bootstrap *s, uint32_t b, int32_t *hits, lathe_error *err) {
    lathe_table sample = {0};
    lathe_distances dist = {0};
    lathe_tree tree = {0};
    lathe_status st = lathe_table_resample(s->table, s->seed, b, &sample, err);
    st = st ? st : lathe_distances_from_table(&sample, s->distances, &dist, err);
    lathe_resample_free(&sample);
    lathe_latent_params params = *s->latent;
    params.progress = NULL;
    st = st ? st : lathe_latent_tree(&dist, &params, &tree, NULL, err);
    uint64_t *keys = st ? NULL : malloc((size_t) (tree.n_edges + 1) * sizeof *keys);
    if (!st && keys == NULL)
        st = lathe_fail(err, LATHE_ERR_MEMORY, "splits: no memory");
    st = st ? st : split_keys(&tree, keys, err);
    if (!st) {
        qsort(keys, (size_t) tree.n_edges, sizeof *keys, by_key);
        for (int32_t e = 0; e < s->n_keys; e++)
            if (s->keys[e] != 0)
                hits[e] += bsearch(&s->keys[e], keys, (size_t) tree.n_edges, sizeof *keys, by_key) != NULL;
    }
    free(keys);
    lathe_tree_free(&tree);
    lathe_distances_free(&dist);
    return st;
}

static void do_replicates(void *ctx, int worker, int64_t piece, int64_t begin, int64_t end) {
    const bootstrap *s = ctx;
    (void) piece;
    for (int64_t b = begin; b < end && !s->status[worker]; b++)
        s->status[worker] =
            one_replicate(s, (uint32_t) (s->first + b + 1), s->hits[worker], &s->errors[worker]);
}

lathe_status lathe_latent_bootstrap(const lathe_table *table, const lathe_distance_params *distances,
                                    const lathe_latent_params *latent, int32_t n_replicates, uint64_t seed,
                                    int n_threads, lathe_tree *tree, lathe_error *err) {
    lathe_pool *pool = NULL;
    lathe_status st = n_threads > 1 ? lathe_pool_new(n_threads, &pool, err) : LATHE_OK;
    if (st)
        return st;
    const int n_workers = lathe_pool_size(pool);
    const size_t m = (size_t) tree->n_edges;
    lathe_distance_params one = *distances;
    one.n_threads = 1;
    uint64_t *keys = malloc((m + 1) * sizeof *keys);
    bootstrap s = {
        .table = table, .distances = &one, .latent = latent, .seed = seed, .n_keys = tree->n_edges};
    s.hits = calloc((size_t) n_workers, sizeof *s.hits);
    s.status = calloc((size_t) n_workers, sizeof *s.status);
    s.errors = calloc((size_t) n_workers, sizeof *s.errors);
    bool ok = keys && s.hits && s.status && s.errors;
    for (int k = 0; ok && k < n_workers; k++)
        ok = (s.hits[k] = calloc(m + 1, sizeof **s.hits)) != NULL;
    st = ok ? split_keys(tree, keys, err) : lathe_fail(err, LATHE_ERR_MEMORY, "bootstrap: no memory");
    s.keys = keys;
    enum { BATCH = 16 };
    for (s.first = 0; s.first < n_replicates && !st; s.first += BATCH) {
        const int32_t n = n_replicates - s.first < BATCH ? n_replicates - s.first : BATCH;
        lathe_parallel_for(pool, n, 1, do_replicates, &s);
        for (int k = 0; k < n_workers && !st; k++)
            if (s.status[k])
                st = lathe_fail(err, s.status[k], "bootstrap: %.450s", s.errors[k].text);
        st = st ? st : lathe_progress_step(latent->progress, "bootstrap", s.first + n, n_replicates, err);
    }
    for (int32_t e = 0; e < tree->n_edges && !st; e++) {
        int32_t hits = 0;
        for (int k = 0; k < n_workers; k++)
            hits += s.hits[k][e];
        tree->edges[e].support = keys[e] != 0 ? (double) hits / n_replicates : NAN;
    }
    for (int k = 0; s.hits != NULL && k < n_workers; k++)
        free(s.hits[k]);
    free(s.hits);
    free(s.status);
    free(s.errors);
    free(keys);
    lathe_pool_free(pool);
    return st;
}

/* --- Likelihood ------------------------------------------------------------------------------------------
 */

/* Signs that make the strongest correlations positive: along the maximum spanning tree of |r|. */
lathe_status lathe_tree_signs(const double *r, int32_t p, double *sign, lathe_error *err) {
    double *best = malloc((size_t) p * sizeof *best);
    int32_t *from = malloc((size_t) p * sizeof *from);
    if (best == NULL || from == NULL) {
        free(best);
        free(from);
        return lathe_fail(err, LATHE_ERR_MEMORY, "signs: no memory");
    }
    for (int32_t i = 0; i < p; i++) {
        best[i] = fabs(r[i]);
        from[i] = 0;
        sign[i] = 0;
    }
    sign[0] = 1;
    for (int32_t step = 1; step < p; step++) {
        int32_t c = -1;
        for (int32_t i = 0; i < p; i++)
            if (sign[i] == 0 && (c < 0 || best[i] > best[c]))
                c = i;
        sign[c] = sign[from[c]] * (r[(int64_t) from[c] * p + c] < 0 ? -1 : 1);
        for (int32_t i = 0; i < p; i++)
            if (sign[i] == 0 && fabs(r[(int64_t) c * p + i]) > best[i]) {
                best[i] = fabs(r[(int64_t) c * p + i]);
                from[i] = c;
            }
    }
    free(best);
    free(from);
    return LATHE_OK;
}

lathe_status lathe_latent_likelihood(const lathe_table *table, const lathe_tree *tree, double *log_likelihood,
                                     double *bic, lathe_error *err) {
    const int32_t p = table->n_columns;
    const int64_t n = table->n_rows;
    if (p != tree->n_observed || p > 4000)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "likelihood: %d columns, %d observed nodes; one column a node, at most 4000",
                          (int) p, (int) tree->n_observed);
    const size_t p2 = (size_t) p * (size_t) p;
    double *r = malloc(p2 * sizeof *r), *sigma = malloc(p2 * sizeof *sigma),
           *sign = malloc((size_t) p * sizeof *sign), *x = malloc((size_t) p * (size_t) n * sizeof *x);
    lathe_status st =
        r && sigma && sign && x ? LATHE_OK : lathe_fail(err, LATHE_ERR_MEMORY, "likelihood: no memory");
    double log_scales = 0;
    for (int32_t i = 0; i < p && !st; i++) {
        const lathe_column *c = &table->columns[i];
        double mean = 0, sum = 0;
        if (c->discrete || c->n_missing > 0) {
            st = lathe_fail(err, LATHE_ERR_INPUT, "likelihood: column '%s' is discrete or has gaps", c->name);
            break;
        }
        for (int64_t t = 0; t < n; t++)
            mean += c->values[t] / (double) n;
        for (int64_t t = 0; t < n; t++)
            sum += (c->values[t] - mean) * (c->values[t] - mean);
        if (!(sum > 0))
            st = lathe_fail(err, LATHE_ERR_INPUT, "likelihood: column '%s' is constant", c->name);
        for (int64_t t = 0; t < n && !st; t++)
            x[(int64_t) i * n + t] = (c->values[t] - mean) / sqrt(sum);
        log_scales += 0.5 * log(sum / (double) n);
    }
    for (int32_t i = 0; i < p && !st; i++)
        for (int32_t j = 0; j <= i; j++) {
            double dot = 0;
            for (int64_t t = 0; t < n; t++)
                dot += x[(int64_t) i * n + t] * x[(int64_t) j * n + t];
            r[(int64_t) i * p + j] = r[(int64_t) j * p + i] = dot;
        }
    st = st ? st : lathe_tree_signs(r, p, sign, err);
    st = st ? st : lathe_tree_covariance(tree, 1, sigma, err);
    for (int64_t i = 0; i < p && !st; i++)
        for (int64_t j = 0; j < p; j++)
            sigma[i * p + j] *= sign[i] * sign[j];
    if (!st && LAPACKE_dpotrf(LAPACK_ROW_MAJOR, 'L', p, sigma, p) != 0)
        st = lathe_fail(err, LATHE_ERR_NUMERIC,
                        "likelihood: the tree's covariance is singular: an edge has length 0");
    if (!st) {
        double log_det = 0, trace = 0;
        for (int32_t i = 0; i < p; i++)
            log_det += 2 * log(sigma[(int64_t) i * p + i]);
        LAPACKE_dpotrs(LAPACK_ROW_MAJOR, 'L', p, p, sigma, p, r, p);
        for (int32_t i = 0; i < p; i++)
            trace += r[(int64_t) i * p + i];
        *log_likelihood = -0.5 * (double) n * (trace + log_det + p * log(2 * 3.14159265358979323846)) -
                          (double) n * log_scales;
        *bic = *log_likelihood - 0.5 * (tree->n_edges + 2.0 * p) * log((double) n);
    }
    free(r);
    free(sigma);
    free(sign);
    free(x);
    return st;
}
