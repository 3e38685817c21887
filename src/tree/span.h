/* span.h - maximum spanning forests in a strict total order of pairs: merging parts gives the whole. */
#ifndef LATHE_TREE_SPAN_H
#define LATHE_TREE_SPAN_H

#include "lathe/tree.h"

typedef struct lathe_pair {
    int32_t u, v; /* u < v */
    double w;     /* -INFINITY: never used */
} lathe_pair;

typedef struct lathe_tie_order {
    uint64_t seed;
    uint32_t trial;
    bool by_index; /* else larger hash first */
} lathe_tie_order;

/* true where pair (u1, v1) comes before (u2, v2), both of equal weight. */
bool lathe_tie_before(const lathe_tie_order *order, int32_t u1, int32_t v1, int32_t u2, int32_t v2);

/* Sorts pairs[n] best first and keeps those of the maximum spanning forest at the front, in that order;
 * returns how many. Nodes up to p. discrete[p] (NULL: one kind): no discrete child of a continuous node,
 * hence two union-finds. first[n_first] pairs are contracted before (they stay outside the result). up: [2 p]
 * scratch. */
int64_t lathe_kruskal(lathe_pair *pairs, int64_t n, int32_t p, const lathe_tie_order *order,
                      const bool *discrete, const int32_t *first, int32_t n_first, int32_t *up);

/* Chow-Liu on n full vectors of p nodes of two states, by how often they agree: edges[p - 1], best first. */
LATHE_NODISCARD lathe_status lathe_tree_passive(const lathe_tree_oracle *oracle, int32_t p, int64_t n,
                                                const lathe_tie_order *order, lathe_pair *edges,
                                                lathe_error *err);

#endif
