/* tree.h - what the files of this room share: adjacency of trees, walks, union-find, names. */
#ifndef LATHE_TREE_TREE_H
#define LATHE_TREE_TREE_H

#include "lathe/tree.h"

/* Neighbours of node u: to[start[u] .. start[u + 1]), by the edge of that number. */
typedef struct lathe_adjacency {
    int32_t *start, *to, *edge;
} lathe_adjacency;
LATHE_NODISCARD lathe_status lathe_adjacency_new(const lathe_tree *tree, lathe_adjacency *a,
                                                 lathe_error *err);
void lathe_adjacency_free(lathe_adjacency *a);
/* Nodes of root's component, parents first; parents and their edges (-1 at the root). Returns how many. */
int32_t lathe_tree_walk(const lathe_tree *tree, const lathe_adjacency *a, int32_t root, int32_t *order,
                        int32_t *parent, int32_t *parent_edge);
/* Appends an edge (room for it is the caller's care). */
void lathe_tree_add(lathe_tree *tree, int32_t u, int32_t v, double weight, double length);
/* Union-find with halved paths. */
int32_t lathe_find(int32_t *up, int32_t i);
/* _h1, _h2, ...: what hidden nodes are called. */
bool lathe_is_hidden_name(const char *name);
char *lathe_tree_strdup(const char *text);
void lathe_names_free(char **names, int64_t n);

/* A model of n variables: names, kinds, states, parents and parameters are to be filled in. */
LATHE_NODISCARD lathe_status lathe_tree_model_new(lathe_tree_model *model, int32_t n, lathe_error *err);
/* Fills its parents and order from a tree over the same nodes, whose kinds it knows. */
LATHE_NODISCARD lathe_status lathe_tree_model_orient(const lathe_tree *tree, lathe_tree_model *model,
                                                     lathe_error *err);
/* sign[p] of 1 and -1 that make the strongest of the correlations r[p * p] positive. */
LATHE_NODISCARD lathe_status lathe_tree_signs(const double *r, int32_t p, double *sign, lathe_error *err);

/* Distances of n taxa, all 0, without names; name stands in messages. */
LATHE_NODISCARD lathe_status lathe_distances_new(int64_t n, const char *name, lathe_distances *dist,
                                                 lathe_error *err);

/* Rows of resample b >= 1 of a table; names are borrowed, states left out. */
LATHE_NODISCARD lathe_status lathe_table_resample(const lathe_table *table, uint64_t seed, uint32_t b,
                                                  lathe_table *out, lathe_error *err);
void lathe_resample_free(lathe_table *table);
/* s[p * p] = exp(-path length / dim) between observed nodes; 0 between components. */
LATHE_NODISCARD lathe_status lathe_tree_covariance(const lathe_tree *tree, int32_t dim, double *s,
                                                   lathe_error *err);

/* The learners on distances d[n * n] (row-major); edges with lengths in a tree of n observed nodes. */
LATHE_NODISCARD lathe_status lathe_nj(const double *d, int32_t n, char *const *names, bool bionj,
                                      lathe_tree *tree, lathe_error *err);
/* What becomes of negative lengths of a tree that lathe_nj has just made. */
void lathe_nj_mend(lathe_tree *tree, lathe_negative negative);
LATHE_NODISCARD lathe_status lathe_snj(const double *d, int32_t n, char *const *names, lathe_tree *tree,
                                       lathe_error *err);

#endif
