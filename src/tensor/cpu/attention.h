/* attention.h - fused attention (cpu.h) as an op of ggml graphs. */
#ifndef LATHE_TENSOR_CPU_ATTENTION_H
#define LATHE_TENSOR_CPU_ATTENTION_H

#include "tensor/cpu/cpu.h"

struct ggml_context;
struct ggml_tensor;

/* What an op reads when it runs: outlives the graphs. */
typedef struct lathe_attention_op {
    const lathe_cpu *cpu;
    float scale, softcap;
    int64_t n_q_max; /* longer batches are left to ggml, whose tiles are faster there */
} lathe_attention_op;

/* q [dh, T, H] f32, k and v [dh, n_kv, Hk] f16 or f32 (views of cache rows), mask f16 [n_kv, T] -> [dh * H,
 * T]. NULL where shape, types or op->n_q_max do not allow it. user: a lathe_attention_op. */
struct ggml_tensor *lathe_fused_attention(void *user, struct ggml_context *ctx, struct ggml_tensor *q,
                                          struct ggml_tensor *k, struct ggml_tensor *v,
                                          struct ggml_tensor *mask, float scale, float softcap);

#endif
