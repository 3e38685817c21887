/* ops.c - see ops.h. */
#include "tensor/ops.h"

#define SQRT_2_OVER_PI 0.79788456080286535588f

struct ggml_tensor *lathe_op_clamp(struct ggml_context *ctx, struct ggml_tensor *x, float lo, float hi) {
    return ggml_clamp(ctx, ggml_dup(ctx, x), lo, hi);
}

struct ggml_tensor *lathe_op_gelu(struct ggml_context *ctx, struct ggml_tensor *x) {
    struct ggml_tensor *cube = ggml_mul(ctx, ggml_sqr(ctx, x), x);
    struct ggml_tensor *inner =
        ggml_scale(ctx, ggml_add(ctx, x, ggml_scale(ctx, cube, 0.044715f)), SQRT_2_OVER_PI);
    return ggml_scale(ctx, ggml_add(ctx, x, ggml_mul(ctx, x, ggml_tanh(ctx, inner))), 0.5f);
}

struct ggml_tensor *lathe_op_softcap(struct ggml_context *ctx, struct ggml_tensor *x, float cap) {
    return ggml_scale(ctx, ggml_tanh(ctx, ggml_scale(ctx, x, 1.0f / cap)), cap);
}

void lathe_op_f32_sums(struct ggml_tensor *t) {
#ifdef LATHE_GGML_PREC_SET_ACC
    (void) ggml_prec_set_acc(t, GGML_PREC_F32);
#else
    if (t->op == GGML_OP_FLASH_ATTN_EXT)
        ggml_flash_attn_ext_set_prec(t, GGML_PREC_F32);
    else
        ggml_mul_mat_set_prec(t, GGML_PREC_F32);
#endif
}
