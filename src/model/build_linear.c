/* build_linear.c - products, norms and the feed-forward block. */
#include "model/build.h"
#include "tensor/ops.h"

struct ggml_tensor *lathe_linear(lathe_build *b, struct ggml_tensor *w, struct ggml_tensor *x,
                                 struct ggml_tensor *bias) {
    struct ggml_tensor *y = NULL;
    if (b->kernels != NULL && b->kernels->linear != NULL)
        y = b->kernels->linear(b->kernels->user, b->ctx, w, x);
    if (y == NULL)
        y = ggml_mul_mat(b->ctx, w, x);
    return bias != NULL ? ggml_add(b->ctx, y, bias) : y;
}

struct ggml_tensor *lathe_build_norm(lathe_build *b, lathe_norm_kind kind, struct ggml_tensor *x,
                                     struct ggml_tensor *weight, struct ggml_tensor *bias) {
    float eps = b->desc->norm_eps;
    struct ggml_tensor *y =
        kind == LATHE_NORM_RMS ? ggml_rms_norm(b->ctx, x, eps) : ggml_norm(b->ctx, x, eps);
    if (weight != NULL)
        y = ggml_mul(b->ctx, y, weight);
    return bias != NULL ? ggml_add(b->ctx, y, bias) : y;
}

static struct ggml_tensor *activate(lathe_build *b, struct ggml_tensor *x) {
    switch (b->desc->family->act) {
    case LATHE_ACT_SILU:
        return ggml_silu(b->ctx, x);
    case LATHE_ACT_RELU:
        return ggml_relu(b->ctx, x);
    case LATHE_ACT_GELU:
        break;
    }
    return b->gelu == LATHE_GELU_TABLE ? ggml_gelu(b->ctx, x) : lathe_op_gelu(b->ctx, x);
}

/* act(gate) * up, in one op where there is one and derivatives are not asked for. */
static struct ggml_tensor *gate(lathe_build *b, struct ggml_tensor *g, struct ggml_tensor *up) {
    if (b->desc->family->act == LATHE_ACT_SILU && b->kernels != NULL && b->kernels->swiglu != NULL) {
        struct ggml_tensor *y = b->kernels->swiglu(b->kernels->user, b->ctx, g, up);
        if (y != NULL)
            return y;
    }
    if (!b->plain && b->desc->family->act == LATHE_ACT_SILU)
        return ggml_swiglu_split(b->ctx, g, up);
    if (!b->plain && b->desc->family->act == LATHE_ACT_GELU && b->gelu == LATHE_GELU_TABLE)
        return ggml_geglu_split(b->ctx, g, up);
    return ggml_mul(b->ctx, activate(b, g), up);
}

/* act(gate x) * (up x), or act(up x) where the family has no gate. */
static struct ggml_tensor *ffn_hidden(lathe_build *b, const lathe_layer_weights *w, struct ggml_tensor *x) {
    const lathe_family *f = b->desc->family;
    if (f->gated && !f->fused_gate_up && f->act == LATHE_ACT_SILU && w->ffn_gate_b == NULL &&
        w->ffn_up_b == NULL && b->kernels != NULL && b->kernels->linear_swiglu != NULL) {
        struct ggml_tensor *h =
            b->kernels->linear_swiglu(b->kernels->user, b->ctx, w->ffn_gate, w->ffn_up, x, w->ffn_down);
        if (h != NULL)
            return h;
    }
    struct ggml_tensor *up = lathe_linear(b, w->ffn_up, x, w->ffn_up_b);
    if (!f->gated)
        return activate(b, up);
    if (!f->fused_gate_up)
        return gate(b, lathe_linear(b, w->ffn_gate, x, w->ffn_gate_b), up);
    int64_t ff = b->desc->n_ff;
    struct ggml_tensor *first = ggml_view_2d(b->ctx, up, ff, up->ne[1], up->nb[1], 0);
    struct ggml_tensor *second =
        ggml_view_2d(b->ctx, up, ff, up->ne[1], up->nb[1], (size_t) ff * sizeof(float));
    return gate(b, ggml_cont(b->ctx, first), ggml_cont(b->ctx, second));
}

struct ggml_tensor *lathe_build_ffn(lathe_build *b, int32_t layer, struct ggml_tensor *x) {
    const lathe_layer_weights *w = &b->w->layers[layer];
    struct ggml_tensor *h = ffn_hidden(b, w, x);
    lathe_build_tap(b, LATHE_TAP_FFN_ACT, layer, h);
    return lathe_linear(b, w->ffn_down, h, w->ffn_down_b);
}
