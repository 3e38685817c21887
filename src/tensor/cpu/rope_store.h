/* rope_store.h - rotary positions and the cache write of a step in one op of ggml graphs on the processor.
 *
 * Queries are rotated, keys are rotated and go to their rows of the cache in its type, values too: one node
 * where ggml has four. The angles of a position are computed once a step, by the first layer, and serve the
 * others. A row's bits depend neither on the other rows of the step nor on threads.
 *
 * Pair i of n_rot / 2 turns by theta_i = p s f_i base^(-2 i / n_rot), p the position, s the scale, f_i the
 * inverse of a factor; with an extrapolation factor YaRN's blend of scaled and unscaled angles (Peng et al.
 * 2023, equations 17 to 22). */
#ifndef LATHE_TENSOR_CPU_ROPE_STORE_H
#define LATHE_TENSOR_CPU_ROPE_STORE_H

#include "tensor/cpu/cpu.h"

struct ggml_context;
struct ggml_tensor;

/* How a layer rotates; the parameters of ggml_rope_ext. */
typedef struct lathe_rope {
    int32_t n_rot; /* leading columns of a head that turn, even; the others stay */
    int32_t n_ctx_orig;
    bool neox; /* pairs are i and i + n_rot / 2 instead of 2 i and 2 i + 1 */
    float base, freq_scale, ext_factor, attn_factor, beta_fast, beta_slow;
} lathe_rope;

/* What ops read when they run: outlives the graphs, and serves graphs that do not run at the same time. */
typedef struct lathe_rope_op {
    lathe_rope rope;
    const lathe_cpu *cpu;
    float *angles;     /* [n_slots, n_rot] cos and sin, by place in the step */
    int32_t *position; /* [n_slots] of which position they are; -1: of none */
    int64_t n_slots;
} lathe_rope_op;

/* n_slots: rows of a step whose angles are kept. */
LATHE_NODISCARD lathe_status lathe_rope_op_init(lathe_rope_op *op, const lathe_rope *rope,
                                                const lathe_cpu *cpu, int64_t n_slots, lathe_error *err);
/* Of {0} too. */
void lathe_rope_op_free(lathe_rope_op *op);

typedef struct lathe_rope_store_in {
    struct ggml_tensor *q;                 /* f32 [dk, H, T] */
    struct ggml_tensor *k, *v;             /* f32 [dk, Hk, T], [dv, Hk, T] */
    struct ggml_tensor *pos;               /* i32 [T] */
    struct ggml_tensor *rows;              /* i64 [T]: the cache row of each */
    struct ggml_tensor *factors;           /* f32 [n_rot / 2] or NULL */
    struct ggml_tensor *cache_k, *cache_v; /* f32, f16, bf16, q8_0, q4_0 [dk Hk or dv Hk, n] */
} lathe_rope_store_in;

/* The rotated queries [dk, H, T], contiguous; computing them writes the cache, so that whatever reads the
 * cache must come behind this node in the graph. NULL, and nothing is added, where types or shapes do not
 * fit. */
struct ggml_tensor *lathe_rope_store(lathe_rope_op *op, struct ggml_context *ctx,
                                     const lathe_rope_store_in *in);

#endif
