/* kernels_fused.c - see kernels_fused.h. */
#include "model/kernels_fused.h"

typedef struct ggml_tensor T;

static T *linear(void *user, struct ggml_context *ctx, T *w, T *x) {
    return lathe_fused_product(((lathe_fused_kernels *) user)->fused, ctx, w, x);
}
static T *attention(void *user, struct ggml_context *ctx, T *q, T *k, T *v, T *mask, float scale,
                    float softcap) {
    const lathe_fused_kernels *f = user;
    if (softcap > 0)
        return NULL;
    return lathe_fused_causal(f->fused, ctx, q, k, v, scale, mask == f->mask ? 0 : f->window, f->starts);
}
static T *swiglu(void *user, struct ggml_context *ctx, T *gate, T *up) {
    return lathe_fused_swiglu(((lathe_fused_kernels *) user)->fused, ctx, gate, up);
}
static T *branch(void *user, struct ggml_context *ctx, T *x, int32_t layer, int32_t which) {
    return lathe_fused_dropout(((lathe_fused_kernels *) user)->dropout, ctx, x, layer, which);
}

lathe_kernels lathe_kernels_fused(lathe_fused_kernels *f) {
    const bool fused = f->fused != NULL;
    return (lathe_kernels){.linear = fused ? linear : NULL,
                           .attention = fused ? attention : NULL,
                           .swiglu = fused ? swiglu : NULL,
                           .branch = f->dropout != NULL ? branch : NULL,
                           .user = f};
}
