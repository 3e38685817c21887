/* beam.h - the next layer of a draft tree that keeps its best nodes by total log-probability and prunes
 * nothing that it kept (LongSpec). */
#ifndef LATHE_DECODE_BEAM_H
#define LATHE_DECODE_BEAM_H

#include "lathe/base.h"

enum { LATHE_BEAM_LAYERS_MAX = 16, LATHE_BEAM_WIDTH_MAX = 64, LATHE_BEAM_NODES_MAX = 256 };

/* Widths of the layers. */
typedef struct lathe_beam_shape {
    int32_t n_layers; /* 0: a chain */
    int32_t width[LATHE_BEAM_LAYERS_MAX], n_nodes;
} lathe_beam_shape;

/* "chain" or NULL, or "beam:4,16,16": 1 to 16 widths of 1 to 64, at most 256 nodes. */
LATHE_NODISCARD lathe_status lathe_beam_parse(const char *text, lathe_beam_shape *shape, lathe_error *err);

typedef struct lathe_beam_node {
    int32_t parent; /* index among the layer's nodes */
    int32_t token;
    double score; /* log-probability of the path */
    double prob;  /* of the token behind its parent */
} lathe_beam_node;

/* The `width` best pairs of a node and a next token: nodes' scores [n], logits [n][n_vocab]. Ties: lower
 * parent, then lower token. Returns how many (all pairs where there are fewer). width <=
 * LATHE_BEAM_WIDTH_MAX. */
int32_t lathe_beam_layer(const double *score, const float *logits, int32_t n, int32_t n_vocab, int32_t width,
                         lathe_beam_node *out);

#endif
