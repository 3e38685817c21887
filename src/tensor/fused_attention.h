/* fused_attention.h - what the ops of causal attention share: fused_attention.c has the values and gradients,
 * fused_attention_tangent.c their tangents. */
#ifndef LATHE_TENSOR_FUSED_ATTENTION_H
#define LATHE_TENSOR_FUSED_ATTENTION_H

#include "tensor/cpu/rows.h"
#include "tensor/fused.h"

typedef struct lathe_causal {
    const lathe_rows *rows;
    int64_t dh, n, heads, heads_kv, seqs, window;
    float scale;
    const int32_t *starts; /* [seqs][n] first token that each one sees; NULL: 0 */
} lathe_causal;

/* Of a node whose first sources are q, k and v. */
lathe_causal lathe_causal_of(const struct ggml_tensor *dst);
/* Floats between tokens; where row 0 of a head of a sequence is. */
int lathe_causal_stride(const struct ggml_tensor *x);
float *lathe_causal_head(const struct ggml_tensor *x, int64_t head, int64_t seq);
/* First key that any query of a sequence from t0 on sees. */
int64_t lathe_causal_first(const lathe_causal *c, int64_t seq, int64_t t0);
/* Exponentials of the scores of a sequence's queries [t0, t0 + rows) over keys [lo, t0 + rows) into p
 * [rows][nk], zeros where a key is not seen; sum[rows] of each row. Returns nk. */
int lathe_causal_probabilities(const lathe_causal *c, const float *q, int ldq, const float *k, int ldk,
                               int64_t seq, int64_t t0, int rows, int64_t lo, float *p, float *sum);
/* true for rows of floats without gaps, whatever lies between them. */
bool lathe_causal_is_rows(const struct ggml_tensor *x);
/* y's window and scale. */
void lathe_causal_copy_params(struct ggml_tensor *to, const struct ggml_tensor *y);
void lathe_fused_causal_back_op(struct ggml_tensor *dst, int ith, int nth, void *user);

#endif
