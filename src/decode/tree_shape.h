/* tree_shape.h - the shapes of drafts that --spec-tree names. */
#ifndef LATHE_DECODE_TREE_SHAPE_H
#define LATHE_DECODE_TREE_SHAPE_H

#include "decode/beam.h"
#include "decode/token_tree.h"

typedef enum lathe_shape_kind {
    LATHE_SHAPE_CHAIN,
    LATHE_SHAPE_FIXED,  /* static:FILE, sequoia:N: parents and ranks are known before */
    LATHE_SHAPE_EAGLE2, /* eagle2:N,D,K: the N likeliest nodes of a tree of D layers, K nodes grown a layer */
    LATHE_SHAPE_BEAM,   /* beam:W1,W2,...: the W best paths of each layer, nothing pruned */
} lathe_shape_kind;

typedef struct lathe_tree_shape {
    lathe_shape_kind kind;
    int32_t n_nodes;      /* drafted nodes at most, the root not counted */
    int32_t depth, width; /* eagle2: D, K */
    lathe_beam_shape beam;
    int32_t *parent, *rank; /* fixed: [n_nodes + 1], root first; rank from 0 */
} lathe_tree_shape;

/* NULL and "chain": a chain. "sequoia:N" is the best tree of N nodes, root included, for starting rates of
 * acceptance by rank; "sequoia:N,r1,r2,..." for these rates. "static:FILE" is a JSON list of parents, -1 for
 * the root, which comes first; the children of a node take ranks in their order. */
LATHE_NODISCARD lathe_status lathe_tree_shape_parse(const char *text, lathe_tree_shape *shape,
                                                    lathe_error *err);
void lathe_tree_shape_free(lathe_tree_shape *shape);

#endif
