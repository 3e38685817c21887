/* generate.c - trees of known shapes, data from them, and ways to spoil the data. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng_purpose.h"
#include "tree/tree.h"

enum { MAX_NODES = 1 << 22, MAX_DIM = 16 };

static const char *const shape_names[] = {"chain",         "star", "binary",      "random", "hmm",
                                          "double-binary", "mary", "double-star", NULL};

const char *const *lathe_tree_shape_names(void) {
    return shape_names;
}

/* Parents first: parent[i] < i. Hidden nodes are marked. */
typedef struct plan {
    int32_t *parent;
    bool *hidden;
    int32_t n, capacity;
} plan;

static int32_t grow(plan *s, int32_t parent, bool hidden) {
    if (s->n == s->capacity)
        return 0; /* counted before: cannot be */
    s->parent[s->n] = parent;
    s->hidden[s->n] = hidden;
    return s->n++;
}

/* A complete tree of `arity` below node `root`, its last level observed. */
static void grow_complete(plan *s, int32_t root, int32_t arity, int32_t depth) {
    int32_t from = root, to = root + 1;
    for (int32_t level = 1; level <= depth; level++) {
        const int32_t begin = s->n;
        for (int32_t i = from; i < to; i++)
            for (int32_t k = 0; k < arity; k++)
                grow(s, i, level < depth);
        from = begin;
        to = s->n;
    }
}

static int64_t count_nodes(lathe_tree_shape shape, int64_t size) {
    switch (shape) {
    case LATHE_SHAPE_HMM:
        return 2 * size + 2;
    case LATHE_SHAPE_DOUBLE_BINARY:
        return size > 20 ? INT32_MAX : ((int64_t) 2 << size) - 1 + ((int64_t) 2 << size) - 1;
    case LATHE_SHAPE_MARY: {
        int64_t n = 1, level = 1;
        for (int64_t d = 0; d < size && n < MAX_NODES; d++)
            n += level *= 3;
        return n;
    }
    case LATHE_SHAPE_DOUBLE_STAR:
        return 2 * size + 2;
    default:
        return size;
    }
}

lathe_status lathe_tree_shape_new(lathe_tree_shape shape, int32_t size, uint64_t seed, lathe_tree *tree,
                                  lathe_error *err) {
    static const int32_t least[] = {1, 1, 1, 1, 2, 1, 1, 2};
    memset(tree, 0, sizeof *tree);
    if ((int) shape < 0 || (int) shape >= (int) LATHE_LEN(least))
        return lathe_fail(err, LATHE_ERR_ARG, "no shape %d", (int) shape);
    const int64_t n = size >= least[shape] ? count_nodes(shape, size) : 0;
    if (n < 1 || n > MAX_NODES)
        return lathe_fail(err, LATHE_ERR_ARG, "%s of size %d: %s", shape_names[shape], (int) size,
                          n < 1 ? "too small" : "too large");
    plan s = {.capacity = (int32_t) n};
    s.parent = malloc((size_t) n * sizeof *s.parent);
    s.hidden = malloc((size_t) n * sizeof *s.hidden);
    int32_t *place = malloc((size_t) n * sizeof *place);
    char **names = calloc((size_t) n, sizeof *names);
    lathe_status st = LATHE_OK;
    if (s.parent == NULL || s.hidden == NULL || place == NULL || names == NULL) {
        st = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %lld nodes", (long long) n);
        goto done;
    }
    lathe_rng rng = lathe_rng_new(seed, LATHE_RNG_TREE_TRIAL, 0);
    switch (shape) {
    case LATHE_SHAPE_HMM:
        for (int32_t i = 0; i < size; i++)
            grow(&s, i - 1, true);
        for (int32_t i = 0; i < size; i++)
            grow(&s, i, false);
        grow(&s, 0, false);
        grow(&s, size - 1, false);
        break;
    case LATHE_SHAPE_DOUBLE_BINARY:
        for (int32_t side = 0; side < 2; side++)
            grow_complete(&s, grow(&s, side - 1, true), 2, size);
        break;
    case LATHE_SHAPE_MARY:
        grow(&s, -1, true);
        grow_complete(&s, 0, 3, size);
        break;
    case LATHE_SHAPE_DOUBLE_STAR:
        grow(&s, -1, true);
        grow(&s, 0, true);
        for (int32_t i = 0; i < 2 * size; i++)
            grow(&s, i % 2, false);
        break;
    default:
        for (int32_t i = 0; i < size; i++) {
            int32_t parent = i - 1;
            if (i > 0 && shape == LATHE_SHAPE_STAR)
                parent = 0;
            if (i > 0 && shape == LATHE_SHAPE_BINARY)
                parent = (i - 1) / 2;
            if (i > 0 && shape == LATHE_SHAPE_RANDOM)
                parent = (int32_t) lathe_rng_below(&rng, (uint64_t) i);
            grow(&s, parent, false);
        }
    }
    int32_t n_observed = 0, n_hidden = 0;
    for (int32_t i = 0; i < s.n; i++)
        n_observed += !s.hidden[i];
    for (int32_t i = 0, at = 0; i < s.n; i++)
        place[i] = s.hidden[i] ? n_observed + n_hidden++ : at++;
    for (int32_t i = 0; i < n_observed && !st; i++) {
        char name[24];
        snprintf(name, sizeof name, "x%d", (int) i + 1);
        names[i] = lathe_tree_strdup(name);
        if (names[i] == NULL)
            st = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for names");
    }
    st = st ? st : lathe_tree_new(s.n, n_observed, names, tree, err);
    for (int32_t i = 1; i < s.n && !st; i++)
        lathe_tree_add(tree, place[s.parent[i]], place[i], NAN, NAN);
done:
    free(s.parent);
    free(s.hidden);
    free(place);
    lathe_names_free(names, names ? n : 0);
    return st;
}

/* --- Samples ------------------------------------------------------------------------------------------ */

/* Walk of the whole forest. */
typedef struct walk {
    lathe_adjacency adj;
    int32_t *order, *parent, *edge;
} walk;

static void walk_free(walk *w) {
    lathe_adjacency_free(&w->adj);
    free(w->order);
    free(w->parent);
    free(w->edge);
}

static lathe_status walk_new(const lathe_tree *tree, walk *w, lathe_error *err) {
    memset(w, 0, sizeof *w);
    const size_t n = (size_t) tree->n_nodes;
    lathe_status st = lathe_adjacency_new(tree, &w->adj, err);
    w->order = malloc((n + 1) * sizeof *w->order);
    w->parent = malloc((n + 1) * sizeof *w->parent);
    w->edge = malloc((n + 1) * sizeof *w->edge);
    bool *seen = calloc(n + 1, sizeof *seen);
    if (!st && (w->order == NULL || w->parent == NULL || w->edge == NULL || seen == NULL))
        st = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a walk over %d nodes", (int) tree->n_nodes);
    for (int32_t i = 0, n_order = 0; !st && i < tree->n_nodes; i++)
        if (!seen[i]) {
            const int32_t n_new = lathe_tree_walk(tree, &w->adj, i, w->order + n_order, w->parent, w->edge);
            for (int32_t k = 0; k < n_new; k++)
                seen[w->order[n_order + k]] = true;
            n_order += n_new;
        }
    free(seen);
    if (st)
        walk_free(w);
    return st;
}

static lathe_status new_columns(const lathe_tree *tree, int32_t dim, int64_t n, bool discrete,
                                lathe_table *table, lathe_error *err) {
    memset(table, 0, sizeof *table);
    const int32_t m = tree->n_observed * dim;
    table->columns = calloc((size_t) m + 1, sizeof *table->columns);
    bool ok = table->columns != NULL;
    table->n_columns = ok ? m : 0;
    table->n_rows = n;
    for (int32_t i = 0; ok && i < m; i++) {
        lathe_column *c = &table->columns[i];
        const char *name = tree->names[i / dim];
        const size_t room = strlen(name) + 16;
        c->name = malloc(room);
        c->discrete = discrete;
        if (discrete) {
            c->codes = malloc((size_t) n * sizeof *c->codes);
            c->states = calloc(2, sizeof *c->states);
            for (int32_t s = 0; c->states != NULL && s < 2; s++) {
                c->states[s] = lathe_tree_strdup(s ? "1" : "0");
                c->n_states += c->states[s] != NULL;
            }
        } else {
            c->values = malloc((size_t) n * sizeof *c->values);
        }
        ok = c->name != NULL && (discrete ? c->codes != NULL && c->n_states == 2 : c->values != NULL);
        if (ok && dim > 1)
            snprintf(c->name, room, "%s.%d", name, (int) (i % dim) + 1);
        else if (ok)
            snprintf(c->name, room, "%s", name);
    }
    if (ok)
        return LATHE_OK;
    lathe_table_free(table);
    return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %lld rows of %d columns", (long long) n, (int) m);
}

static lathe_status check_size(const lathe_tree *tree, int32_t dim, int64_t n, lathe_error *err) {
    if (tree->n_observed < 1 || n < 1 || n > INT32_MAX)
        return lathe_fail(err, LATHE_ERR_ARG, "%d nodes, %lld rows: nothing to draw", (int) tree->n_observed,
                          (long long) n);
    if (dim < 1 || dim > MAX_DIM)
        return lathe_fail(err, LATHE_ERR_ARG, "vectors of %d coordinates: 1 to %d", (int) dim, MAX_DIM);
    return LATHE_OK;
}

lathe_status lathe_tree_draw_ising(const lathe_tree *tree, double rho, int64_t n, uint64_t seed,
                                   uint32_t trial, lathe_table *table, lathe_error *err) {
    walk w;
    lathe_status st = check_size(tree, 1, n, err);
    if (!st && !(rho > -1 && rho < 1))
        st = lathe_fail(err, LATHE_ERR_ARG, "rho %g: must lie between -1 and 1", rho);
    st = st ? st : walk_new(tree, &w, err);
    if (st)
        return st;
    const double theta = 0.5 * (1 - rho);
    lathe_rng rng = lathe_rng_new(seed, LATHE_RNG_TREE_SAMPLE, trial);
    uint8_t *x = malloc((size_t) tree->n_nodes);
    st = x ? new_columns(tree, 1, n, true, table, err) : lathe_fail(err, LATHE_ERR_MEMORY, "no memory");
    for (int64_t t = 0; t < n && !st; t++) {
        for (int32_t k = 0; k < tree->n_nodes; k++) {
            const int32_t u = w.order[k], p = w.parent[u];
            const double uniform = lathe_rng_uniform(&rng);
            x[u] = p < 0 ? uniform < 0.5 : x[p] ^ (uniform < theta);
        }
        for (int32_t i = 0; i < tree->n_observed; i++)
            table->columns[i].codes[t] = x[i];
    }
    free(x);
    walk_free(&w);
    return st;
}

/* A uniformly random orthogonal matrix: Gram-Schmidt of normal columns. */
static void draw_orthogonal(lathe_rng *rng, int32_t l, double *o) {
    for (int32_t i = 0; i < l; i++) {
        double *row = o + i * l, norm = 0;
        while (norm < 1e-6) {
            for (int32_t k = 0; k < l; k++)
                row[k] = lathe_rng_normal(rng);
            for (int32_t j = 0; j < i; j++) {
                double dot = 0;
                for (int32_t k = 0; k < l; k++)
                    dot += row[k] * o[j * l + k];
                for (int32_t k = 0; k < l; k++)
                    row[k] -= dot * o[j * l + k];
            }
            norm = 0;
            for (int32_t k = 0; k < l; k++)
                norm += row[k] * row[k];
            norm = sqrt(norm);
        }
        for (int32_t k = 0; k < l; k++)
            row[k] /= norm;
    }
}

lathe_status lathe_tree_draw_gaussian(const lathe_tree *tree, int32_t dim, int64_t n, uint64_t seed,
                                      uint32_t trial, lathe_table *table, lathe_error *err) {
    walk w;
    lathe_status st = check_size(tree, dim, n, err);
    for (int32_t e = 0; e < tree->n_edges && !st; e++)
        if (!(tree->edges[e].length >= 0) || isinf(tree->edges[e].length))
            st = lathe_fail(err, LATHE_ERR_ARG, "the edge of '%s' and '%s' has no length of at least 0",
                            tree->names[tree->edges[e].u], tree->names[tree->edges[e].v]);
    st = st ? st : walk_new(tree, &w, err);
    if (st)
        return st;
    const size_t l = (size_t) dim;
    double *x = malloc((size_t) tree->n_nodes * l * sizeof *x);
    double *turn = malloc((size_t) tree->n_nodes * l * l * sizeof *turn);
    lathe_rng rng = lathe_rng_new(seed, LATHE_RNG_TREE_SAMPLE, trial);
    st = x != NULL && turn != NULL
             ? new_columns(tree, dim, n, false, table, err)
             : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %d nodes", (int) tree->n_nodes);
    for (int32_t k = 0; k < tree->n_nodes && !st; k++)
        draw_orthogonal(&rng, dim, turn + (size_t) k * l * l);
    for (int64_t t = 0; t < n && !st; t++) {
        for (int32_t k = 0; k < tree->n_nodes; k++) {
            const int32_t u = w.order[k], p = w.parent[u];
            const double a = p < 0 ? 0 : exp(-tree->edges[w.edge[u]].length / dim), b = sqrt(1 - a * a);
            const double *o = turn + (size_t) u * l * l;
            for (size_t c = 0; c < l; c++) {
                double y = b * lathe_rng_normal(&rng);
                for (size_t q = 0; p >= 0 && q < l; q++)
                    y += a * o[c * l + q] * x[(size_t) p * l + q];
                x[(size_t) u * l + c] = y;
            }
        }
        for (int32_t i = 0; i < table->n_columns; i++)
            table->columns[i].values[t] = x[i]; /* observed nodes come first */
    }
    free(x);
    free(turn);
    walk_free(&w);
    return st;
}

lathe_status lathe_tree_draw_lengths(lathe_tree *tree, double shortest, double longest, uint64_t seed,
                                     lathe_error *err) {
    if (!(shortest >= 0) || !(longest >= shortest) || isinf(longest))
        return lathe_fail(err, LATHE_ERR_ARG, "edge lengths from %g to %g: no such range", shortest, longest);
    lathe_rng rng = lathe_rng_new(seed, LATHE_RNG_TREE_TRIAL, 1);
    for (int32_t e = 0; e < tree->n_edges; e++)
        tree->edges[e].length = shortest + (longest - shortest) * lathe_rng_uniform(&rng);
    return LATHE_OK;
}

/* --- Corruption --------------------------------------------------------------------------------------- */

lathe_status lathe_table_corrupt(lathe_table *table, int32_t dim, lathe_corruption kind, int64_t k,
                                 double amplitude, uint64_t seed, uint32_t trial, lathe_error *err) {
    const int64_t n = table->n_rows;
    if (k < 0 || k > n)
        return lathe_fail(err, LATHE_ERR_ARG, "%lld corrupted rows of %lld", (long long) k, (long long) n);
    if (dim < 1 || table->n_columns % dim != 0)
        return lathe_fail(err, LATHE_ERR_ARG, "%d columns are no multiple of %d", (int) table->n_columns,
                          (int) dim);
    for (int32_t i = 0; i < table->n_columns; i++)
        if (table->columns[i].discrete)
            return lathe_fail(err, LATHE_ERR_INPUT,
                              "column '%s' is discrete: only real columns are corrupted",
                              table->columns[i].name);
    if (kind == LATHE_CORRUPT_NONE || k == 0)
        return LATHE_OK;
    int32_t *rows = malloc((size_t) n * sizeof *rows);
    double *chain = malloc((size_t) n * (size_t) dim * sizeof *chain);
    if (rows == NULL || chain == NULL) {
        free(rows);
        free(chain);
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %lld rows", (long long) n);
    }
    lathe_rng rng = lathe_rng_new(seed, LATHE_RNG_TREE_CORRUPTION, trial);
    lathe_rng_permutation(&rng, rows, (int32_t) n);
    for (int64_t t = 0; t < n * dim; t++) /* the other Markov chain, by row; it moves on from node to node */
        chain[t] = kind == LATHE_CORRUPT_HMM ? lathe_rng_normal(&rng) : 0;
    for (int64_t t = 0; t < n && kind == LATHE_CORRUPT_ROWS; t++)
        chain[t * dim] = lathe_rng_uniform(&rng) < 0.5 ? -1 : 1;
    for (int32_t node = 0; node < table->n_columns / dim; node++) {
        if (kind != LATHE_CORRUPT_ROWS && node > 0)
            lathe_rng_permutation(&rng, rows, (int32_t) n);
        for (int64_t q = 0; q < k; q++) {
            const int64_t t = rows[q];
            for (int32_t c = 0; c < dim; c++) {
                double x = amplitude;
                switch (kind) {
                case LATHE_CORRUPT_UNIFORM:
                    x *= 4 * lathe_rng_uniform(&rng) - 2;
                    break;
                case LATHE_CORRUPT_CONSTANT:
                    x *= lathe_rng_uniform(&rng) < 0.5 ? -1 : 1;
                    break;
                case LATHE_CORRUPT_HMM:
                    x *= chain[t * dim + c];
                    break;
                default:
                    x *= chain[t * dim];
                }
                table->columns[node * dim + c].values[t] = x;
            }
        }
        for (int64_t t = 0; t < n * dim && kind == LATHE_CORRUPT_HMM; t++)
            chain[t] = 0.95 * chain[t] + sqrt(1 - 0.95 * 0.95) * lathe_rng_normal(&rng);
    }
    free(rows);
    free(chain);
    return LATHE_OK;
}
