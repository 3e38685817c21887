/* rules_norm.c - norms, cross entropy, RoPE. The Jacobians of norms are symmetric, so that one function
 * serves both modes; RoPE and its inverse are a closed pair. */
#include <string.h>

#include "tensor/diff.h"
#include "tensor/fused.h"

typedef struct ggml_tensor T;

/* Row sums of a * b over n: [1, ...]. */
static T *row_mean(lathe_diff *d, T *a, T *b) {
    T *p = b == NULL ? a : ggml_mul(d->ctx, a, b);
    return ggml_scale(d->ctx, ggml_sum_rows(d->ctx, p), 1.0f / (float) a->ne[0]);
}

/* y = x / sqrt(mean x^2 + eps): J t = (t - y mean(y t)) / s. */
static T *rms(lathe_diff *d, T *x, T *y, T *t, float eps) {
    T *s = ggml_sqrt(d->ctx, ggml_scale_bias(d->ctx, row_mean(d, x, x), 1.0f, eps));
    T *along = ggml_mul(d->ctx, y, row_mean(d, y, t));
    return ggml_div(d->ctx, ggml_sub(d->ctx, t, along), s);
}

/* y = (x - mean x) / sqrt(var + eps): as above for what is left after the mean. */
static T *layer(lathe_diff *d, T *x, T *y, T *t, float eps) {
    T *xc = ggml_sub(d->ctx, x, row_mean(d, x, NULL)), *tc = ggml_sub(d->ctx, t, row_mean(d, t, NULL));
    return rms(d, xc, y, tc, eps);
}

/* Groups of channels become rows: [w, h, c, n] -> [w h c / groups, groups, n]. */
static T *grouped(lathe_diff *d, T *y, T *x) {
    int64_t groups = y->op_params[0], n = x->ne[3], per = ggml_nelements(x) / (groups * n);
    return ggml_reshape_3d(d->ctx, lathe_diff_cont(d, x), per, groups, n);
}

static T *norm_product(lathe_diff *d, T *y, T *t) {
    T *x = lathe_diff_cont(d, y->src[0]);
    t = lathe_diff_cont(d, t);
    switch (y->op) {
    case GGML_OP_RMS_NORM:
        return rms(d, x, y, t, lathe_diff_param_f32(y, 0));
    case GGML_OP_NORM:
        return layer(d, x, y, t, lathe_diff_param_f32(y, 0));
    case GGML_OP_GROUP_NORM:
        if (y->op_params[0] < 1 || y->ne[2] % y->op_params[0] != 0) {
            lathe_diff_fail(d, y, "the channels are not divisible by the groups");
            return NULL;
        }
        return lathe_diff_as(
            d, layer(d, grouped(d, y, x), grouped(d, y, y), grouped(d, y, t), lathe_diff_param_f32(y, 1)), y);
    default: { /* L2: y = x / |x|, J t = (t - y sum(y t)) / |x| */
        T *length = ggml_sqrt(d->ctx, ggml_sum_rows(d->ctx, ggml_sqr(d->ctx, x)));
        T *along = ggml_mul(d->ctx, y, ggml_sum_rows(d->ctx, ggml_mul(d->ctx, y, t)));
        return ggml_div(d->ctx, ggml_sub(d->ctx, t, along), length);
    }
    }
}
static void norm_vjp(lathe_diff *d, T *y, T *g) {
    if (d->opts.fused && y->op == GGML_OP_RMS_NORM)
        lathe_diff_add(d, y->src[0],
                       ggml_rms_norm_back(d->ctx, lathe_diff_cont(d, g), lathe_diff_cont(d, y->src[0]),
                                          lathe_diff_param_f32(y, 0)));
    else
        lathe_diff_add(d, y->src[0], norm_product(d, y, g));
}
static T *norm_jvp(lathe_diff *d, T *y, T *const *t) {
    if (d->opts.fused && y->op == GGML_OP_RMS_NORM)
        return ggml_rms_norm_back(d->ctx, lathe_diff_cont(d, t[0]), lathe_diff_cont(d, y->src[0]),
                                  lathe_diff_param_f32(y, 0));
    return norm_product(d, y, t[0]);
}

/* ggml's one-pass way back, z = (g - y m) / s with y = x / s and m = mean y g. With s' = mean y x':
 * y' = (x' - y s') / s, m' = mean(y' g + y g'), z' = (g' - y' m - y m' - z s') / s. */
static T *rms_back_jvp(lathe_diff *d, T *z, T *const *t) {
    struct ggml_context *ctx = d->ctx;
    T *g = z->src[0], *x = z->src[1], *top = NULL, *m_change = NULL;
    const float eps = lathe_diff_param_f32(z, 0);
    if (d->opts.processor)
        return lathe_fused_rms_back_tangent(
            ctx, z, t[0] == NULL ? lathe_diff_zeros(d, z) : lathe_diff_cont(d, t[0]),
            t[1] == NULL ? lathe_diff_zeros(d, z) : lathe_diff_cont(d, t[1]), eps);
    T *y = ggml_rms_norm(ctx, x, eps);
    T *s = ggml_sqrt(ctx, ggml_scale_bias(ctx, row_mean(d, x, x), 1.0f, eps));
    if (t[0] != NULL) {
        top = lathe_diff_cont(d, t[0]);
        m_change = row_mean(d, y, top);
    }
    if (t[1] != NULL) {
        T *tx = lathe_diff_cont(d, t[1]), *ts = row_mean(d, y, tx);
        T *ty = ggml_div(ctx, ggml_sub(ctx, tx, ggml_mul(ctx, y, ts)), s);
        m_change = lathe_diff_plus(d, m_change, row_mean(d, ty, g));
        T *less = ggml_add(ctx, ggml_mul(ctx, ty, row_mean(d, y, g)), ggml_mul(ctx, z, ts));
        top = top == NULL ? ggml_scale(ctx, less, -1.0f) : ggml_sub(ctx, top, less);
    }
    return ggml_div(ctx, ggml_sub(ctx, top, ggml_mul(ctx, y, m_change)), s);
}
static void rms_back_vjp(lathe_diff *d, T *z, T *g) {
    (void) g;
    lathe_diff_fail(d, z, "there is no reverse-mode rule: take the first gradient without `fused`");
}

/* L = -(1/n) sum labels log softmax(l), n rows. Rows of labels may have any sum (0: an ignored target). */
static T *ce_slope(lathe_diff *d, T *y) {
    T *l = lathe_diff_cont(d, y->src[0]), *labels = y->src[1];
    T *p = ggml_mul(d->ctx, ggml_soft_max(d->ctx, l), ggml_sum_rows(d->ctx, labels));
    return ggml_scale(d->ctx, ggml_sub(d->ctx, p, labels), 1.0f / (float) ggml_nrows(l));
}
static void ce_vjp(lathe_diff *d, T *y, T *g) {
    if (lathe_diff_needs(d, y->src[1]))
        lathe_diff_fail(d, y, "there is no derivative with respect to labels");
    else
        lathe_diff_add(d, y->src[0], ggml_mul(d->ctx, ce_slope(d, y), g));
}
static T *ce_jvp(lathe_diff *d, T *y, T *const *t) {
    if (t[1] != NULL) {
        lathe_diff_fail(d, y, "there is no derivative with respect to labels");
        return NULL;
    }
    return ggml_sum(d->ctx, ggml_mul(d->ctx, ce_slope(d, y), lathe_diff_cont(d, t[0])));
}

/* Rotation by +angle and by -angle. */
static void rope_vjp(lathe_diff *d, T *y, T *g) {
    enum ggml_op back = y->op == GGML_OP_ROPE ? GGML_OP_ROPE_BACK : GGML_OP_ROPE;
    lathe_diff_add(d, y->src[0], lathe_diff_again(d, y, back, lathe_diff_cont(d, g), NULL));
}
static T *rope_jvp(lathe_diff *d, T *y, T *const *t) {
    return lathe_diff_again(d, y, y->op, lathe_diff_cont(d, t[0]), NULL);
}

const lathe_rule *lathe_rule_norm(const T *y) {
    static const lathe_rule norm = {norm_vjp, norm_jvp}, rms_back = {rms_back_vjp, rms_back_jvp},
                            ce = {ce_vjp, ce_jvp}, rope = {rope_vjp, rope_jvp};
    switch (y->op) {
    case GGML_OP_RMS_NORM:
    case GGML_OP_NORM:
    case GGML_OP_GROUP_NORM:
    case GGML_OP_L2_NORM:
        return &norm;
    case GGML_OP_RMS_NORM_BACK:
        return &rms_back;
    case GGML_OP_CROSS_ENTROPY_LOSS:
        return &ce;
    case GGML_OP_ROPE:
    case GGML_OP_ROPE_BACK:
        return &rope;
    default:
        return NULL;
    }
}
