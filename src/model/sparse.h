/* sparse.h - a small context that holds a choice of the rows of a large one: the sparse mode in which a model
 * drafts for itself (Sparse-to-Dense, Zhang et al. 2025).
 *
 * A span of the text is thinned: of its rows each layer's key heads keep those that the queries behind the
 * span attend to most; all other rows stay. The sparse context is an ordinary one with fewer rows, in which
 * row i of the kept ones holds another position in each head: keys were rotated when they were cached, so
 * nothing is rotated again. */
#ifndef LATHE_MODEL_SPARSE_H
#define LATHE_MODEL_SPARSE_H

#include "lathe/model.h"

enum { LATHE_ROW_QUERIES_MAX = 256 };

/* Scores of the rows of positions [begin, end), and which are kept. */
typedef struct lathe_row_choice {
    int32_t n_layer, n_head_kv;
    int32_t begin, end, n_keep;
    int32_t n_query;   /* queries that were looked at */
    float *score;      /* [n_layer][n_head_kv][end - begin] attention, summed over a group's heads, mean over
                          queries */
    int32_t *pos;      /* [n_layer][n_head_kv][n_keep] ascending */
    double *kept_mass; /* [n_layer] share of the attention that the sparse context still sees: mean over
                          heads, queries */
    int32_t group;     /* heads a key head serves */
} lathe_row_choice;

/* Scores the span [begin, end) of sequence 0, which holds ids [n] but the last, by the last n_query cached
 * tokens behind the span (at most LATHE_ROW_QUERIES_MAX, at least 1; fewer where the text is short). These
 * tokens are run once more for their queries; the cache is left as it was, to the bit. Nothing is kept yet.
 * UNSUPPORTED for models with sliding windows; ARG for an empty span or one that is not in the cache.
 * Cost: n_query times the cached rows, once. */
LATHE_NODISCARD lathe_status lathe_row_choice_make(lathe_context *dense, const int32_t *ids, int32_t n,
                                                   int32_t begin, int32_t end, int32_t n_query,
                                                   lathe_row_choice *choice, lathe_error *err);
/* Keeps the n_keep best rows of each layer and key head (ties: lower position), all where there are fewer. */
LATHE_NODISCARD lathe_status lathe_row_choice_keep(lathe_row_choice *choice, int32_t n_keep,
                                                   lathe_error *err);
/* Keeps the rows of a rule instead, for comparison: the first n_sink and the last of the span, or (n_sink <
 * 0) random ones. */
LATHE_NODISCARD lathe_status lathe_row_choice_keep_rule(lathe_row_choice *choice, int32_t n_keep,
                                                        int32_t n_sink, uint64_t seed, lathe_error *err);
void lathe_row_choice_free(lathe_row_choice *choice);

/* Indices of the k largest of score[n], ascending; ties to the lower index. order[n]: scratch. */
void lathe_top_rows(const float *score, int32_t n, int32_t k, int32_t *order, int32_t *out);

/* An empty context of dense's model, cache types and positions with n_rows rows. */
LATHE_NODISCARD lathe_status lathe_sparse_new(const lathe_context *dense, int32_t n_rows,
                                              lathe_context **sparse, lathe_error *err);
/* Clears sparse and gives it dense's rows outside the span, and the kept ones inside. */
LATHE_NODISCARD lathe_status lathe_sparse_fill(lathe_context *sparse, const lathe_context *dense,
                                               const lathe_row_choice *choice, lathe_error *err);
/* Appends copies of dense's rows of positions [from, to) of sequence 0. ARG where there is no room. */
LATHE_NODISCARD lathe_status lathe_sparse_append(lathe_context *sparse, const lathe_context *dense,
                                                 int32_t from, int32_t to, lathe_error *err);
/* Bytes of one token in all layers. */
int64_t lathe_context_row_bytes(const lathe_context *context);
/* Rows that are still free. */
int32_t lathe_sparse_room(const lathe_context *sparse);

#endif
