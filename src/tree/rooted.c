/* rooted.c - a root on an edge: halfway along the longest path, or between an outgroup and the rest. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tree/tree.h"

/* The tree with a new last node on edge e, at distance x from its end u. */
static lathe_status split_edge(const lathe_tree *tree, int32_t e, int32_t u, double x, lathe_tree *out,
                               lathe_error *err) {
    lathe_status st = lathe_tree_new(tree->n_nodes + 1, tree->n_observed, tree->names, out, err);
    if (st)
        return st;
    memcpy(out->edges, tree->edges, (size_t) tree->n_edges * sizeof *out->edges);
    out->n_edges = tree->n_edges + 1;
    lathe_tree_edge near = tree->edges[e], far = near;
    near.u = u;
    far.u = tree->edges[e].u == u ? tree->edges[e].v : tree->edges[e].u;
    near.v = far.v = tree->n_nodes;
    near.length = x;
    far.length -= x;
    out->edges[e] = near;
    out->edges[tree->n_edges] = far;
    return LATHE_OK;
}

/* Distances from `start` into far[]; the observed node of the largest. */
static int32_t farthest(const lathe_tree *tree, const lathe_adjacency *a, int32_t start, int32_t *order,
                        int32_t *parent, int32_t *edge, double *far) {
    const int32_t n = lathe_tree_walk(tree, a, start, order, parent, edge);
    int32_t best = start;
    far[start] = 0;
    for (int32_t k = 1; k < n; k++) {
        const int32_t v = order[k];
        far[v] = far[parent[v]] + tree->edges[edge[v]].length;
        if (v < tree->n_observed && far[v] > far[best])
            best = v;
    }
    return best;
}

lathe_status lathe_tree_root_on_edge(const lathe_tree *tree, int32_t outgroup, lathe_tree *out,
                                     lathe_error *err) {
    memset(out, 0, sizeof *out);
    if (tree->n_edges < 1 || tree->n_edges != tree->n_nodes - 1)
        return lathe_fail(err, LATHE_ERR_INPUT, "a root on an edge wants one tree with an edge");
    for (int32_t e = 0; e < tree->n_edges; e++)
        if (!(tree->edges[e].length >= 0))
            return lathe_fail(err, LATHE_ERR_INPUT,
                              "a root on an edge wants lengths of 0 and more on all edges; %s-%s has %s",
                              tree->names[tree->edges[e].u], tree->names[tree->edges[e].v],
                              isnan(tree->edges[e].length) ? "none" : "a negative one (--negative zero)");
    const size_t n = (size_t) tree->n_nodes;
    lathe_adjacency a = {0};
    int32_t *nodes = malloc(3 * n * sizeof *nodes);
    double *far = malloc(n * sizeof *far);
    lathe_status st = lathe_adjacency_new(tree, &a, err);
    if (!st && (nodes == NULL || far == NULL))
        st = lathe_fail(err, LATHE_ERR_MEMORY, "no memory to root a tree");
    int32_t *parent = nodes + n, *edge = nodes + 2 * n;
    if (!st && outgroup >= 0) {
        if (a.start[outgroup + 1] - a.start[outgroup] != 1)
            st = lathe_fail(err, LATHE_ERR_INPUT, "outgroup '%s' is no leaf", tree->names[outgroup]);
        else {
            const int32_t e = a.edge[a.start[outgroup]];
            st = split_edge(tree, e, outgroup, 0.5 * tree->edges[e].length, out, err);
        }
    } else if (!st) {
        const int32_t one = farthest(tree, &a, 0, nodes, parent, edge, far);
        int32_t v = farthest(tree, &a, one, nodes, parent, edge, far);
        const double half = 0.5 * far[v];
        v = v == one ? a.to[a.start[one]] : v; /* all lengths are 0: any edge */
        while (parent[v] != one && far[parent[v]] >= half)
            v = parent[v];
        st = split_edge(tree, edge[v], v, far[v] - half, out, err);
    }
    lathe_adjacency_free(&a);
    free(nodes);
    free(far);
    return st;
}
