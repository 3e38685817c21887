/* leaves.c - every name at a leaf, for programs that read names of inner Newick nodes as something else. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tree/tree.h"

lathe_status lathe_tree_names_at_leaves(const lathe_tree *tree, lathe_tree *out, lathe_error *err) {
    const size_t n = (size_t) tree->n_nodes;
    int32_t *degree = calloc(n + 1, sizeof *degree), *place = malloc((n + 1) * sizeof *place);
    memset(out, 0, sizeof *out);
    if (degree == NULL || place == NULL) {
        free(degree);
        free(place);
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %d nodes", (int) tree->n_nodes);
    }
    for (int32_t e = 0; e < tree->n_edges; e++) {
        degree[tree->edges[e].u]++;
        degree[tree->edges[e].v]++;
    }
    int32_t n_nodes = tree->n_nodes;
    for (int32_t i = 0; i < tree->n_nodes; i++) /* where the edges of an observed inner node go: a new node */
        place[i] = i < tree->n_observed && degree[i] > 1 ? n_nodes++ : i;
    lathe_status st = lathe_tree_new(n_nodes, tree->n_observed, tree->names, out, err);
    for (int32_t i = 0; i < tree->n_observed && !st; i++)
        if (place[i] != i)
            lathe_tree_add(out, i, place[i], NAN, 0);
    for (int32_t e = 0; e < tree->n_edges && !st; e++) {
        const int32_t u = place[tree->edges[e].u], v = place[tree->edges[e].v];
        lathe_tree_edge *x = &out->edges[out->n_edges++];
        *x = tree->edges[e];
        x->u = u < v ? u : v;
        x->v = u < v ? v : u;
    }
    free(degree);
    free(place);
    return st;
}
