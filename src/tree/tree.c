/* tree.c - trees as edge lists: making, freeing, adjacency. */
#include "tree/tree.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *lathe_tree_strdup(const char *text) {
    const size_t n = strlen(text) + 1;
    char *copy = malloc(n);
    if (copy != NULL)
        memcpy(copy, text, n);
    return copy;
}

void lathe_names_free(char **names, int64_t n) {
    if (names != NULL)
        for (int64_t i = 0; i < n; i++)
            free(names[i]);
    free(names);
}

lathe_status lathe_tree_new(int32_t n_nodes, int32_t n_observed, char *const *names, lathe_tree *tree,
                            lathe_error *err) {
    memset(tree, 0, sizeof *tree);
    tree->names = calloc((size_t) n_nodes + 1, sizeof *tree->names);
    tree->edges = calloc((size_t) n_nodes + 1, sizeof *tree->edges);
    tree->n_nodes = n_nodes;
    tree->n_observed = n_observed;
    bool ok = tree->names != NULL && tree->edges != NULL;
    for (int32_t i = 0; ok && i < n_nodes; i++) {
        char hidden[24];
        snprintf(hidden, sizeof hidden, "_h%d", (int) (i - n_observed + 1));
        tree->names[i] = lathe_tree_strdup(i < n_observed ? names[i] : hidden);
        ok = tree->names[i] != NULL;
    }
    if (ok)
        return LATHE_OK;
    if (tree->names == NULL)
        tree->n_nodes = 0;
    lathe_tree_free(tree);
    return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a tree of %d nodes", (int) n_nodes);
}

void lathe_tree_free(lathe_tree *tree) {
    lathe_names_free(tree->names, tree->n_nodes);
    free(tree->edges);
    memset(tree, 0, sizeof *tree);
}

void lathe_tree_add(lathe_tree *tree, int32_t u, int32_t v, double weight, double length) {
    tree->edges[tree->n_edges++] = (lathe_tree_edge){.u = u < v ? u : v,
                                                     .v = u < v ? v : u,
                                                     .weight = weight,
                                                     .length = length,
                                                     .support = NAN,
                                                     .margin = NAN,
                                                     .confidence = NAN};
}

lathe_status lathe_adjacency_new(const lathe_tree *tree, lathe_adjacency *a, lathe_error *err) {
    const size_t n = (size_t) tree->n_nodes;
    a->start = calloc(n + 2, sizeof *a->start);
    a->to = malloc((2 * (size_t) tree->n_edges + 1) * sizeof *a->to);
    a->edge = malloc((2 * (size_t) tree->n_edges + 1) * sizeof *a->edge);
    if (a->start == NULL || a->to == NULL || a->edge == NULL) {
        lathe_adjacency_free(a);
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a tree of %zu nodes", n);
    }
    for (int32_t e = 0; e < tree->n_edges; e++) {
        a->start[tree->edges[e].u + 2]++;
        a->start[tree->edges[e].v + 2]++;
    }
    for (size_t i = 2; i < n + 2; i++)
        a->start[i] += a->start[i - 1];
    for (int32_t e = 0; e < tree->n_edges; e++) {
        const int32_t u = tree->edges[e].u, v = tree->edges[e].v;
        a->to[a->start[u + 1]] = v;
        a->edge[a->start[u + 1]++] = e;
        a->to[a->start[v + 1]] = u;
        a->edge[a->start[v + 1]++] = e;
    }
    return LATHE_OK;
}

void lathe_adjacency_free(lathe_adjacency *a) {
    free(a->start);
    free(a->to);
    free(a->edge);
    memset(a, 0, sizeof *a);
}

int32_t lathe_tree_walk(const lathe_tree *tree, const lathe_adjacency *a, int32_t root, int32_t *order,
                        int32_t *parent, int32_t *parent_edge) {
    /* breadth first: order is its own queue */
    (void) tree;
    int32_t head = 0, n = 0;
    order[n++] = root;
    parent[root] = -1;
    parent_edge[root] = -1;
    while (head < n) {
        const int32_t u = order[head++];
        for (int32_t k = a->start[u]; k < a->start[u + 1]; k++)
            if (a->to[k] != parent[u]) {
                parent[a->to[k]] = u;
                parent_edge[a->to[k]] = a->edge[k];
                order[n++] = a->to[k];
            }
    }
    return n;
}

int32_t lathe_find(int32_t *up, int32_t i) {
    while (up[i] != i) {
        up[i] = up[up[i]];
        i = up[i];
    }
    return i;
}
