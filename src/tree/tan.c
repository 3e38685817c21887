/* tan.c - the tree-augmented naive Bayes classifier: the class is a parent of every feature, and the features
 * form the tree of largest information given the class (Friedman, Geiger, Goldszmidt 1997). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/machine.h"
#include "base/rng_purpose.h"
#include "base/thread.h"
#include "tree/learner.h"

static const int64_t MAX_TABLE = (int64_t) 1 << 24;

typedef struct tan_learner {
    const lathe_table *table;
    int32_t class_column, p; /* p: features */
    int32_t *feature;        /* [p] their columns */
    const bool *held_out;    /* [n] rows left out; NULL: none */
    lathe_pair *pairs;       /* [p (p - 1) / 2] */
    uint32_t **counts;       /* a worker's table */
} tan_learner;

static bool uses(const tan_learner *l, int64_t t) {
    return (l->held_out == NULL || !l->held_out[t]) &&
           l->table->columns[l->class_column].codes[t] != LATHE_CODE_MISSING;
}

/* I(a; b | class), from the rows that have all three: by x log x of the counts of (class, a, b), its margins.
 */
static double conditional_information(const tan_learner *l, const lathe_column *a, const lathe_column *b,
                                      uint32_t *counts) {
    const lathe_column *c = &l->table->columns[l->class_column];
    const int32_t ra = a->n_states, rb = b->n_states;
    memset(counts, 0, (size_t) c->n_states * (size_t) ra * (size_t) rb * sizeof *counts);
    int64_t n = 0;
    for (int64_t t = 0; t < l->table->n_rows; t++)
        if (uses(l, t) && a->codes[t] != LATHE_CODE_MISSING && b->codes[t] != LATHE_CODE_MISSING) {
            counts[((int64_t) c->codes[t] * ra + a->codes[t]) * rb + b->codes[t]]++;
            n++;
        }
    double sum = 0;
    for (int32_t k = 0; k < c->n_states; k++) {
        const uint32_t *m = counts + (int64_t) k * ra * rb;
        double joint = 0, rows = 0, columns = 0, total = 0;
        for (int32_t x = 0; x < ra; x++) {
            double margin = 0;
            for (int32_t y = 0; y < rb; y++) {
                joint += lathe_xlogx(m[x * rb + y]);
                margin += m[x * rb + y];
            }
            rows += lathe_xlogx(margin);
            total += margin;
        }
        for (int32_t y = 0; y < rb; y++) {
            double margin = 0;
            for (int32_t x = 0; x < ra; x++)
                margin += m[x * rb + y];
            columns += lathe_xlogx(margin);
        }
        sum += joint - rows - columns + lathe_xlogx(total);
    }
    sum /= n > 0 ? (double) n : 1;
    return sum > 1e-15 ? sum : 0;
}

static void weigh_rows(void *ctx, int worker, int64_t piece, int64_t begin, int64_t end) {
    const tan_learner *l = ctx;
    (void) piece;
    for (int64_t i = begin; i < end; i++) {
        lathe_pair *out = l->pairs + i * (2 * l->p - i - 1) / 2;
        for (int32_t j = (int32_t) i + 1; j < l->p; j++)
            *out++ =
                (lathe_pair){(int32_t) i, j,
                             conditional_information(l, &l->table->columns[l->feature[i]],
                                                     &l->table->columns[l->feature[j]], l->counts[worker])};
    }
}

/* The tree at the front of l->pairs. */
static int64_t grow(tan_learner *l, lathe_pool *pool, const lathe_tie_order *order, int32_t *up) {
    lathe_parallel_for(pool, l->p, 1, weigh_rows, l);
    return lathe_kruskal(l->pairs, (int64_t) l->p * (l->p - 1) / 2, l->p, order, NULL, NULL, 0, up);
}

/* --- Classifier ----------------------------------------------------------------------------------------- */

/* Probabilities with a pseudo-count of `alpha` in all for each row of a table. */
typedef struct classifier {
    double *prior;   /* log, [classes] */
    int32_t *parent; /* [p] feature, -1 at the root */
    double **p;      /* log, [p]: [class][state of the parent][state] */
    double **alone;  /* log, [p]: [class][state], where the parent is missing */
} classifier;

static void classifier_free(classifier *q, int32_t p) {
    for (int32_t i = 0; i < p; i++) {
        if (q->p != NULL)
            free(q->p[i]);
        if (q->alone != NULL)
            free(q->alone[i]);
    }
    free(q->p);
    free(q->alone);
    free(q->prior);
    free(q->parent);
}

static void to_logs(double *m, int64_t n_rows, int32_t k, double alpha) {
    for (int64_t r = 0; r < n_rows; r++) {
        double sum = alpha;
        for (int32_t s = 0; s < k; s++)
            sum += m[r * k + s];
        for (int32_t s = 0; s < k; s++)
            m[r * k + s] = log((m[r * k + s] + alpha / k) / sum);
    }
}

static bool fit(const tan_learner *l, int64_t n_edges, double alpha, classifier *q) {
    const lathe_column *c = &l->table->columns[l->class_column];
    memset(q, 0, sizeof *q);
    q->prior = calloc((size_t) c->n_states, sizeof *q->prior);
    q->parent = malloc((size_t) l->p * sizeof *q->parent);
    q->p = calloc((size_t) l->p, sizeof *q->p);
    q->alone = calloc((size_t) l->p, sizeof *q->alone);
    if (!q->prior || !q->parent || !q->p || !q->alone)
        return false;
    /* orient the tree away from feature 0 (a forest has several roots) */
    for (int32_t i = 0; i < l->p; i++)
        q->parent[i] = -2;
    for (int32_t root = 0; root < l->p; root++) {
        if (q->parent[root] != -2)
            continue;
        q->parent[root] = -1;
        for (bool moved = true; moved;) {
            moved = false;
            for (int64_t e = 0; e < n_edges; e++)
                for (int side = 0; side < 2; side++) {
                    const int32_t u = side ? l->pairs[e].v : l->pairs[e].u,
                                  v = side ? l->pairs[e].u : l->pairs[e].v;
                    if (q->parent[u] != -2 && q->parent[v] == -2) {
                        q->parent[v] = u;
                        moved = true;
                    }
                }
        }
    }
    for (int64_t t = 0; t < l->table->n_rows; t++)
        if (uses(l, t))
            q->prior[c->codes[t]]++;
    to_logs(q->prior, 1, c->n_states, alpha);
    for (int32_t i = 0; i < l->p; i++) {
        const lathe_column *x = &l->table->columns[l->feature[i]];
        const lathe_column *y = q->parent[i] >= 0 ? &l->table->columns[l->feature[q->parent[i]]] : NULL;
        const int64_t rows = (int64_t) c->n_states * (y != NULL ? y->n_states : 1);
        q->p[i] = calloc((size_t) (rows * x->n_states), sizeof **q->p);
        q->alone[i] = calloc((size_t) c->n_states * (size_t) x->n_states, sizeof **q->alone);
        if (!q->p[i] || !q->alone[i])
            return false;
        for (int64_t t = 0; t < l->table->n_rows; t++) {
            if (!uses(l, t) || x->codes[t] == LATHE_CODE_MISSING)
                continue;
            q->alone[i][(int64_t) c->codes[t] * x->n_states + x->codes[t]]++;
            if (y == NULL)
                q->p[i][(int64_t) c->codes[t] * x->n_states + x->codes[t]]++;
            else if (y->codes[t] != LATHE_CODE_MISSING)
                q->p[i][((int64_t) c->codes[t] * y->n_states + y->codes[t]) * x->n_states + x->codes[t]]++;
        }
        to_logs(q->p[i], rows, x->n_states, alpha);
        to_logs(q->alone[i], c->n_states, x->n_states, alpha);
    }
    return true;
}

static int32_t classify(const tan_learner *l, const classifier *q, int64_t t) {
    const lathe_column *c = &l->table->columns[l->class_column];
    int32_t best = 0;
    double most = -INFINITY;
    for (int32_t k = 0; k < c->n_states; k++) {
        double sum = q->prior[k];
        for (int32_t i = 0; i < l->p; i++) {
            const lathe_column *x = &l->table->columns[l->feature[i]];
            const lathe_column *y = q->parent[i] >= 0 ? &l->table->columns[l->feature[q->parent[i]]] : NULL;
            if (x->codes[t] == LATHE_CODE_MISSING)
                continue;
            if (y == NULL || y->codes[t] == LATHE_CODE_MISSING)
                sum += q->alone[i][(int64_t) k * x->n_states + x->codes[t]];
            else
                sum += q->p[i][((int64_t) k * y->n_states + y->codes[t]) * x->n_states + x->codes[t]];
        }
        if (sum > most) {
            most = sum;
            best = k;
        }
    }
    return best;
}

/* --- The whole ------------------------------------------------------------------------------------------ */

static lathe_status check(const lathe_table *table, const lathe_tan_params *params, lathe_error *err) {
    const int32_t c = params->class_column;
    if (c < 0 || c >= table->n_columns)
        return lathe_fail(err, LATHE_ERR_ARG, "the class is column %d of %d", (int) c,
                          (int) table->n_columns);
    if (table->n_columns < 2 || table->n_rows < 1)
        return lathe_fail(err, LATHE_ERR_INPUT, "%d columns and %lld rows: no features to learn from",
                          (int) table->n_columns, (long long) table->n_rows);
    int64_t widest = 1, second = 1;
    for (int32_t i = 0; i < table->n_columns; i++) {
        const lathe_column *x = &table->columns[i];
        if (!x->discrete)
            return lathe_fail(err, LATHE_ERR_INPUT,
                              "column '%s' is continuous: --algo tan wants states; use --bins K", x->name);
        if (i == c)
            continue;
        if (x->n_states > widest) {
            second = widest;
            widest = x->n_states;
        } else if (x->n_states > second) {
            second = x->n_states;
        }
    }
    if (table->columns[c].n_states < 2)
        return lathe_fail(err, LATHE_ERR_INPUT, "the class '%s' has one state: nothing to tell apart",
                          table->columns[c].name);
    if (widest * second * table->columns[c].n_states > MAX_TABLE)
        return lathe_fail(err, LATHE_ERR_INPUT,
                          "%d classes times %lld times %lld states: too many for a table",
                          (int) table->columns[c].n_states, (long long) widest, (long long) second);
    if (params->n_folds == 1 || params->n_folds < 0 || params->n_folds > table->n_rows)
        return lathe_fail(err, LATHE_ERR_ARG, "%d folds of %lld rows: 2 to the number of rows",
                          (int) params->n_folds, (long long) table->n_rows);
    return LATHE_OK;
}

/* I(feature; class), from the rows that have both. */
static double class_information(const tan_learner *l, const lathe_column *x, uint32_t *counts) {
    const lathe_column *c = &l->table->columns[l->class_column];
    memset(counts, 0, (size_t) c->n_states * (size_t) x->n_states * sizeof *counts);
    int64_t n = 0;
    for (int64_t t = 0; t < l->table->n_rows; t++)
        if (uses(l, t) && x->codes[t] != LATHE_CODE_MISSING) {
            counts[(int64_t) c->codes[t] * x->n_states + x->codes[t]]++;
            n++;
        }
    double joint = 0, rows = 0, columns = 0;
    for (int32_t k = 0; k < c->n_states; k++) {
        double margin = 0;
        for (int32_t s = 0; s < x->n_states; s++) {
            joint += lathe_xlogx(counts[k * x->n_states + s]);
            margin += counts[k * x->n_states + s];
        }
        rows += lathe_xlogx(margin);
    }
    for (int32_t s = 0; s < x->n_states; s++) {
        double margin = 0;
        for (int32_t k = 0; k < c->n_states; k++)
            margin += counts[k * x->n_states + s];
        columns += lathe_xlogx(margin);
    }
    return n > 0 ? fmax(0, (joint - rows - columns + lathe_xlogx((double) n)) / (double) n) : 0;
}

static lathe_status cross_validate(tan_learner *l, const lathe_tan_params *params, lathe_pool *pool,
                                   const lathe_tie_order *order, double alpha, int32_t *up, double *accuracy,
                                   lathe_error *err) {
    const int64_t n = l->table->n_rows;
    const lathe_column *c = &l->table->columns[l->class_column];
    int32_t *shuffled = malloc((size_t) n * sizeof *shuffled);
    bool *held_out = malloc((size_t) n * sizeof *held_out);
    lathe_status st = shuffled && held_out ? LATHE_OK : lathe_fail(err, LATHE_ERR_MEMORY, "tan: no memory");
    int64_t n_right = 0, n_all = 0;
    if (!st) {
        lathe_rng rng = lathe_rng_new(params->seed, LATHE_RNG_TREE_TRIAL, 2);
        lathe_rng_permutation(&rng, shuffled, (int32_t) n);
    }
    for (int32_t f = 0; f < params->n_folds && !st; f++) {
        for (int64_t t = 0; t < n; t++)
            held_out[shuffled[t]] = t % params->n_folds == f;
        l->held_out = held_out;
        classifier q;
        const int64_t n_edges = grow(l, pool, order, up);
        if (!fit(l, n_edges, alpha, &q))
            st = lathe_fail(err, LATHE_ERR_MEMORY, "tan: no memory for the probabilities");
        l->held_out = NULL;
        for (int64_t t = 0; t < n && !st; t++)
            if (held_out[t] && c->codes[t] != LATHE_CODE_MISSING) {
                n_all++;
                n_right += classify(l, &q, t) == c->codes[t];
            }
        classifier_free(&q, l->p);
        st = st ? st : lathe_progress_step(params->progress, "folds", f + 1, params->n_folds, err);
    }
    free(shuffled);
    free(held_out);
    *accuracy = n_all > 0 ? (double) n_right / (double) n_all : NAN;
    return st;
}

lathe_status lathe_tan(const lathe_table *table, const lathe_tan_params *params, lathe_tree *tree,
                       lathe_tan_info *info, lathe_error *err) {
    memset(tree, 0, sizeof *tree);
    const double begin = lathe_now(), alpha = params->alpha > 0 ? params->alpha : 1;
    lathe_status st = check(table, params, err);
    if (st)
        return st;
    const lathe_column *c = &table->columns[params->class_column];
    const int32_t p = table->n_columns - 1;
    tan_learner l = {.table = table, .class_column = params->class_column, .p = p};
    const lathe_tie_order order = {params->seed, 0, false};
    lathe_pool *pool = NULL;
    if (params->n_threads > 1 && (st = lathe_pool_new(params->n_threads, &pool, err)))
        return st;
    const int n_workers = lathe_pool_size(pool);
    int64_t widest = 1;
    l.feature = malloc((size_t) p * sizeof *l.feature);
    l.pairs = malloc(((size_t) p * (size_t) (p - 1) / 2 + 1) * sizeof *l.pairs);
    l.counts = calloc((size_t) n_workers, sizeof *l.counts);
    int32_t *up = malloc(2 * (size_t) p * sizeof *up);
    char **names = malloc((size_t) p * sizeof *names);
    bool ok = l.feature && l.pairs && l.counts && up && names;
    for (int32_t i = 0, k = 0; ok && i < table->n_columns; i++)
        if (i != params->class_column) {
            names[k] = table->columns[i].name;
            l.feature[k++] = i;
            widest = table->columns[i].n_states > widest ? table->columns[i].n_states : widest;
        }
    for (int k = 0; ok && k < n_workers; k++) {
        const int64_t cells = widest * widest * c->n_states;
        l.counts[k] = malloc((size_t) (cells < MAX_TABLE ? cells : MAX_TABLE) * sizeof **l.counts);
        ok = l.counts[k] != NULL;
    }
    if (!ok)
        st = lathe_fail(err, LATHE_ERR_MEMORY, "tan: no memory for %d features", (int) p);
    lathe_tan_info got = {.cv_accuracy = NAN, .log_likelihood = NAN};
    if (!st && params->n_folds > 1)
        st = cross_validate(&l, params, pool, &order, alpha, up, &got.cv_accuracy, err);
    int64_t n_edges = 0;
    classifier q = {0};
    if (!st) {
        n_edges = grow(&l, pool, &order, up);
        if (!fit(&l, n_edges, alpha, &q))
            st = lathe_fail(err, LATHE_ERR_MEMORY, "tan: no memory for the probabilities");
    }
    st = st ? st : lathe_tree_new(p, p, names, tree, err);
    if (!st) {
        int64_t n_right = 0, n_all = 0, most = 0;
        bool complete = true;
        double sum = 0;
        for (int32_t s = 0; s < c->n_states; s++) {
            int64_t k = 0;
            for (int64_t t = 0; t < table->n_rows; t++)
                k += c->codes[t] == s;
            most = k > most ? k : most;
            n_all += k;
            sum += lathe_xlogx((double) k);
        }
        for (int64_t t = 0; t < table->n_rows; t++)
            n_right += c->codes[t] != LATHE_CODE_MISSING && classify(&l, &q, t) == c->codes[t];
        double information = -(log((double) n_all) - sum / (double) n_all), parameters = c->n_states - 1;
        for (int64_t e = 0; e < n_edges; e++) {
            lathe_tree_add(tree, l.pairs[e].u, l.pairs[e].v, l.pairs[e].w, NAN);
            information += l.pairs[e].w;
        }
        for (int32_t i = 0; i < p; i++) {
            const lathe_column *x = &table->columns[l.feature[i]];
            complete = complete && x->n_missing == 0;
            information += class_information(&l, x, l.counts[0]);
            information -= x->n_missing == 0 ? lathe_column_entropy(x, table->n_rows) : 0;
            const int32_t above = q.parent[i] >= 0 ? table->columns[l.feature[q.parent[i]]].n_states : 1;
            parameters += (double) c->n_states * above * (x->n_states - 1);
        }
        got.n_rows = n_all;
        got.accuracy = n_all > 0 ? (double) n_right / (double) n_all : NAN;
        got.majority = n_all > 0 ? (double) most / (double) n_all : NAN;
        if (complete && n_all == table->n_rows)
            got.log_likelihood = (double) n_all * information;
        got.bic = got.log_likelihood - 0.5 * parameters * log((double) n_all);
        got.seconds = lathe_now() - begin;
        if (info != NULL)
            *info = got;
    }
    classifier_free(&q, p);
    for (int k = 0; l.counts != NULL && k < n_workers; k++)
        free(l.counts[k]);
    free(l.counts);
    free(l.feature);
    free(l.pairs);
    free(up);
    free(names);
    lathe_pool_free(pool);
    return st;
}
