/* rules_upscale.c - resampling of images: nearest and bilinear, with and without antialiasing, aligned
 * corners or not. It is linear and separable, Y = V^T X H with one weight matrix a direction, so that the way
 * back is two products; the weights are made in the graph, by the arithmetic of ggml's op. */
#include "tensor/diff.h"
#include "tensor/ops.h"

typedef struct ggml_tensor T;

typedef struct resampling {
    enum ggml_scale_mode mode;
    bool aligned, smooth;
} resampling;

static resampling resampling_of(const T *y) {
    int32_t flags = y->op_params[0];
    return (resampling){(enum ggml_scale_mode)(flags & 0xFF), (flags & GGML_SCALE_FLAG_ALIGN_CORNERS) != 0,
                        (flags & GGML_SCALE_FLAG_ANTIALIAS) != 0};
}

static bool known(lathe_diff *d, T *y) {
    T *x = y->src[0];
    resampling r = resampling_of(y);
    if ((r.mode == GGML_SCALE_MODE_NEAREST || r.mode == GGML_SCALE_MODE_BILINEAR) && y->ne[2] == x->ne[2] &&
        y->ne[3] == x->ne[3])
        return true;
    lathe_diff_fail(d, y, "only nearest and bilinear resampling of width and height have a derivative rule");
    return false;
}

/* [from, to]: the share of each old pixel j in each new pixel i, a tent around i's place among the old ones.
 */
static T *weights(lathe_diff *d, const resampling *r, int64_t from, int64_t to) {
    struct ggml_context *ctx = d->ctx;
    float factor = (float) to / (float) from, offset = r->aligned ? 0.0f : 0.5f, narrow = 1.0f;
    if (r->aligned && to > 1 && from > 1)
        factor = (float) (to - 1) / (float) (from - 1);
    if (r->mode == GGML_SCALE_MODE_NEAREST)
        offset = 0.0f;
    else if (r->smooth && factor < 1.0f) /* shrinking: the tent is as wide as a new pixel */
        narrow = factor;
    T *at = ggml_arange(ctx, offset, (float) to + offset, 1.0f);
    at = ggml_div(ctx, at, ggml_fill(ctx, at, factor));
    if (r->mode == GGML_SCALE_MODE_NEAREST)
        at = ggml_floor(ctx, at);
    else
        at = ggml_scale_bias(ctx, at, 1.0f, -offset);
    if (r->mode == GGML_SCALE_MODE_BILINEAR && !r->smooth)
        at = lathe_op_clamp(ctx, at, 0.0f, (float) (from - 1));
    at = ggml_repeat_4d(ctx, ggml_reshape_2d(ctx, at, 1, to), from, to, 1, 1);
    T *distance = ggml_abs(ctx, ggml_sub(ctx, at, ggml_arange(ctx, 0.0f, (float) from, 1.0f)));
    T *tent = ggml_relu(ctx, ggml_scale_bias(ctx, distance, -narrow, 1.0f));
    if (r->mode == GGML_SCALE_MODE_BILINEAR && r->smooth)
        tent = ggml_div(ctx, tent, ggml_sum_rows(ctx, tent));
    return tent;
}

static T *turned(lathe_diff *d, T *x) {
    return ggml_cont(d->ctx, ggml_transpose(d->ctx, x));
}

static void upscale_vjp(lathe_diff *d, T *y, T *g) {
    T *x = y->src[0];
    if (!known(d, y))
        return;
    const resampling r = resampling_of(y);
    T *h = turned(d, weights(d, &r, x->ne[0], y->ne[0])), *v = turned(d, weights(d, &r, x->ne[1], y->ne[1]));
    T *half = ggml_mul_mat(d->ctx, h, lathe_diff_cont(d, g)); /* [w, new h, c, n] */
    lathe_diff_add(d, x, turned(d, ggml_mul_mat(d->ctx, v, turned(d, half))));
}
static T *upscale_jvp(lathe_diff *d, T *y, T *const *t) {
    return known(d, y) ? lathe_diff_again(d, y, y->op, lathe_diff_cont(d, t[0]), NULL) : NULL;
}

const lathe_rule *lathe_rule_upscale(const T *y) {
    static const lathe_rule upscale = {upscale_vjp, upscale_jvp};
    return y->op == GGML_OP_UPSCALE ? &upscale : NULL;
}
