/* bound.c - how many samples any method needs to tell a Gaussian latent tree from its neighbours.
 *
 * A neighbour exchanges two subtrees across an inner edge (nearest-neighbour interchange), lengths unchanged.
 * From the exact divergences: two hypotheses (Bretagnolle-Huber), the average error is at least exp(-n KL) /
 * 4; many (Fano), n >= ((1 - delta) log M - log 2) / KL. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <lapacke.h>

#include "tree/tree.h"

enum { MOST_OBSERVED = 400 };

lathe_status lathe_tree_covariance(const lathe_tree *tree, int32_t dim, double *s, lathe_error *err) {
    const int32_t p = tree->n_observed;
    const size_t n = (size_t) tree->n_nodes;
    lathe_adjacency adj;
    lathe_status st = lathe_adjacency_new(tree, &adj, err);
    int32_t *order = malloc(n * sizeof *order), *parent = malloc(n * sizeof *parent),
            *edge = malloc(n * sizeof *edge);
    double *far = malloc(n * sizeof *far);
    if (!st && (!order || !parent || !edge || !far))
        st = lathe_fail(err, LATHE_ERR_MEMORY, "bound: no memory");
    for (int32_t i = 0; i < p && !st; i++) {
        const int32_t m = lathe_tree_walk(tree, &adj, i, order, parent, edge);
        for (int32_t j = 0; j < p; j++)
            s[(int64_t) i * p + j] = 0; /* other components */
        for (int32_t k = 0; k < m; k++) {
            const int32_t u = order[k];
            far[u] = k == 0 ? 0 : far[parent[u]] + tree->edges[edge[u]].length;
            if (u < p)
                s[(int64_t) i * p + u] = exp(-far[u] / dim);
        }
    }
    free(order);
    free(parent);
    free(edge);
    free(far);
    lathe_adjacency_free(&adj);
    return st;
}

/* KL(N(0, s0) || N(0, s1)); s1 is destroyed. work: [p * p]. NaN where s1 is not positive definite. */
static double divergence(const double *s0, double log_det0, double *s1, int32_t p, double *work) {
    if (LAPACKE_dpotrf(LAPACK_ROW_MAJOR, 'L', p, s1, p) != 0)
        return NAN;
    double log_det1 = 0, trace = 0;
    for (int32_t i = 0; i < p; i++)
        log_det1 += 2 * log(s1[(int64_t) i * p + i]);
    memcpy(work, s0, (size_t) p * (size_t) p * sizeof *work);
    LAPACKE_dpotrs(LAPACK_ROW_MAJOR, 'L', p, p, s1, p, work, p);
    for (int32_t i = 0; i < p; i++)
        trace += work[(int64_t) i * p + i];
    return 0.5 * (trace - p + log_det1 - log_det0);
}

/* Moves the far end of edge e from `from` to `to`. */
static void move_end(lathe_tree_edge *e, int32_t from, int32_t to) {
    const int32_t other = e->u == from ? e->v : e->u;
    e->u = other < to ? other : to;
    e->v = other < to ? to : other;
}

lathe_status lathe_tree_lower_bound(const lathe_tree *tree, int32_t dim, double delta, lathe_tree_bound *out,
                                    lathe_error *err) {
    const int32_t p = tree->n_observed;
    memset(out, 0, sizeof *out);
    if (dim < 1 || dim > 16 || !(delta > 0 && delta < 0.25))
        return lathe_fail(err, LATHE_ERR_ARG,
                          "bound: dim %d, delta %g: dim from 1 to 16, delta between 0 and 0.25", (int) dim,
                          delta);
    if (p < 2 || p > MOST_OBSERVED)
        return lathe_fail(err, LATHE_ERR_INPUT, "bound: %d observed nodes; 2 to %d", (int) p, MOST_OBSERVED);
    for (int32_t e = 0; e < tree->n_edges; e++)
        if (!(tree->edges[e].length > 0) || isinf(tree->edges[e].length))
            return lathe_fail(err, LATHE_ERR_INPUT, "bound: the edge of '%s' and '%s' has no length above 0",
                              tree->names[tree->edges[e].u], tree->names[tree->edges[e].v]);
    const size_t n2 = (size_t) p * (size_t) p;
    double *s0 = malloc(n2 * sizeof *s0), *s1 = malloc(n2 * sizeof *s1), *work = malloc(n2 * sizeof *work);
    lathe_tree_edge *edges = malloc((size_t) tree->n_edges * sizeof *edges);
    lathe_adjacency adj = {0};
    lathe_status st = lathe_adjacency_new(tree, &adj, err);
    if (!st && (!s0 || !s1 || !work || !edges))
        st = lathe_fail(err, LATHE_ERR_MEMORY, "bound: no memory for %d nodes", (int) p);
    st = st ? st : lathe_tree_covariance(tree, dim, s0, err);
    double log_det0 = 0;
    if (!st) {
        memcpy(s1, s0, n2 * sizeof *s1);
        if (LAPACKE_dpotrf(LAPACK_ROW_MAJOR, 'L', p, s1, p) != 0)
            st =
                lathe_fail(err, LATHE_ERR_NUMERIC, "bound: the covariance is singular: an edge is too short");
        for (int32_t i = 0; i < p && !st; i++)
            log_det0 += 2 * log(s1[(int64_t) i * p + i]);
    }
    out->kl_min = INFINITY;
    for (int32_t e = 0; e < tree->n_edges && !st; e++) {
        const int32_t a = tree->edges[e].u, b = tree->edges[e].v;
        if (a < p || b < p)
            continue;    /* an observed end fixes its place */
        int32_t ea = -1; /* the first other edge of a, against each other edge of b */
        for (int32_t q = adj.start[a]; q < adj.start[a + 1] && ea < 0; q++)
            if (adj.edge[q] != e)
                ea = adj.edge[q];
        for (int32_t q = adj.start[b]; q < adj.start[b + 1] && ea >= 0 && !st; q++) {
            const int32_t eb = adj.edge[q];
            if (eb == e)
                continue;
            lathe_tree other = *tree;
            memcpy(edges, tree->edges, (size_t) tree->n_edges * sizeof *edges);
            other.edges = edges;
            move_end(&edges[ea], a, b);
            move_end(&edges[eb], b, a);
            st = lathe_tree_covariance(&other, dim, s1, err);
            const double kl = st ? NAN : dim * divergence(s0, log_det0, s1, p, work);
            if (st || isnan(kl))
                continue;
            out->n_neighbours++;
            if (kl < out->kl_min) {
                out->kl_min = kl;
                out->edge = e;
            }
            out->kl_max = fmax(out->kl_max, kl);
        }
    }
    if (!st && out->n_neighbours == 0)
        st = lathe_fail(err, LATHE_ERR_INPUT,
                        "bound: no inner edge: the tree has no neighbour to be taken for");
    if (!st) {
        out->n_two_point = log(1 / (4 * delta)) / out->kl_min;
        out->n_fano = fmax(0, ((1 - delta) * log(out->n_neighbours) - log(2)) / out->kl_max);
    }
    free(s0);
    free(s1);
    free(work);
    free(edges);
    lathe_adjacency_free(&adj);
    return st;
}
