/* ops.h - small graph pieces that ggml lacks, or has in a form that differs between versions. */
#ifndef LATHE_TENSOR_OPS_H
#define LATHE_TENSOR_OPS_H

#include <ggml.h>

/* min(max(x, lo), hi) as a new tensor, whatever ggml's version does with its argument (engine.md 1.5). */
struct ggml_tensor *lathe_op_clamp(struct ggml_context *ctx, struct ggml_tensor *x, float lo, float hi);
/* 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) in f32, without ggml's table of 16-bit values. */
struct ggml_tensor *lathe_op_gelu(struct ggml_context *ctx, struct ggml_tensor *x);
/* cap * tanh(x / cap). */
struct ggml_tensor *lathe_op_softcap(struct ggml_context *ctx, struct ggml_tensor *x, float cap);

/* Asks for f32 sums in a product or in fused attention, where the backend has a choice. */
void lathe_op_f32_sums(struct ggml_tensor *t);

#endif
