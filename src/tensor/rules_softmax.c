/* rules_softmax.c - softmax over rows, with mask, ALiBi slopes and attention sinks.
 *
 * p_i = exp(z_i) / (sum_j exp(z_j) + exp(s)), z = a x + slope m, s the sink of the row's head (none: exp(s) =
 * 0). With p_s = 1 - sum p the sink's own share: dp_i = p_i (dz_i - sum_j p_j dz_j - p_s ds). */
#include <math.h>

#include "tensor/diff.h"

typedef struct ggml_tensor T;

/* Slopes [1, 1, heads] by which ALiBi multiplies the mask; NULL: all are 1. */
static T *slopes(lathe_diff *d, const T *y) {
    float bias = lathe_diff_param_f32(y, 1);
    if (!(bias > 0))
        return NULL;
    const int64_t heads = y->ne[2];
    int64_t power = 1;
    while (2 * power <= heads)
        power *= 2;
    const float ln2 = 0.6931471805599453f, step = bias / (float) power;
    T *log2 = ggml_scale(d->ctx, ggml_arange(d->ctx, 1.0f, (float) power + 1, 1.0f), -step);
    if (heads > power) { /* the others take every second slope of twice as many heads */
        T *rest = ggml_arange(d->ctx, 0.0f, (float) (heads - power), 1.0f);
        log2 = ggml_concat(d->ctx, log2, ggml_scale_bias(d->ctx, rest, -step, -step / 2), 0);
    }
    return ggml_reshape_3d(d->ctx, ggml_exp(d->ctx, ggml_scale(d->ctx, log2, ln2)), 1, 1, heads);
}

/* 1 - sum p of each row: [1, rows, heads, n]. */
static T *sink_share(lathe_diff *d, T *y) {
    return ggml_scale_bias(d->ctx, ggml_sum_rows(d->ctx, y), -1.0f, 1.0f);
}

/* p (t - sum p t), the Jacobian with respect to z, which is symmetric. */
static T *product(lathe_diff *d, T *y, T *t) {
    T *pt = ggml_mul(d->ctx, y, lathe_diff_cont(d, t));
    return ggml_sub(d->ctx, pt, ggml_mul(d->ctx, y, ggml_sum_rows(d->ctx, pt)));
}

static void mask_vjp(lathe_diff *d, T *y, T *z) {
    T *mask = y->src[1], *slope = slopes(d, y);
    if (slope != NULL)
        z = ggml_mul(d->ctx, z, slope);
    if (mask->ne[1] > z->ne[1]) /* rows that no query has */
        z = ggml_pad(d->ctx, z, 0, (int) (mask->ne[1] - z->ne[1]), 0, 0);
    lathe_diff_add(d, mask, lathe_diff_sum_to(d, z, mask));
}

static void sinks_vjp(lathe_diff *d, T *y, T *g) {
    T *along = ggml_sum_rows(d->ctx, ggml_mul(d->ctx, y, lathe_diff_cont(d, g)));
    T *each = ggml_mul(d->ctx, along, sink_share(d, y));                    /* [1, rows, heads, n] */
    T *by_head = ggml_cont(d->ctx, ggml_permute(d->ctx, each, 3, 0, 2, 1)); /* [rows, n, heads] */
    by_head = ggml_reshape_2d(d->ctx, by_head, y->ne[1] * y->ne[3], y->ne[2]);
    lathe_diff_add(d, y->src[2], ggml_scale(d->ctx, ggml_sum_rows(d->ctx, by_head), -1.0f));
}

static void softmax_vjp(lathe_diff *d, T *y, T *g) {
    float scale = lathe_diff_param_f32(y, 0);
    bool mask = lathe_diff_needs(d, y->src[1]);
    if (lathe_diff_needs(d, y->src[2]))
        sinks_vjp(d, y, g);
    if (d->opts.fused && !mask && lathe_diff_param_f32(y, 1) == 0.0f) {
        lathe_diff_add(d, y->src[0], ggml_soft_max_ext_back(d->ctx, lathe_diff_cont(d, g), y, scale, 0.0f));
        return;
    }
    T *z = product(d, y, g);
    if (mask)
        mask_vjp(d, y, z);
    lathe_diff_add(d, y->src[0], ggml_scale(d->ctx, z, scale));
}

/* dz of the tangents of x and of the mask. */
static T *tangent_of_scores(lathe_diff *d, T *y, T *x, T *mask) {
    T *z = x == NULL ? NULL : ggml_scale(d->ctx, lathe_diff_cont(d, x), lathe_diff_param_f32(y, 0));
    if (mask == NULL)
        return z;
    T *slope = slopes(d, y);
    if (mask->ne[1] > y->ne[1])
        mask = ggml_cont(d->ctx, ggml_view_4d(d->ctx, mask, mask->ne[0], y->ne[1], mask->ne[2], mask->ne[3],
                                              mask->nb[1], mask->nb[2], mask->nb[3], 0));
    mask = ggml_repeat(d->ctx, lathe_diff_cont(d, mask), y);
    return lathe_diff_plus(d, z, slope == NULL ? mask : ggml_mul(d->ctx, mask, slope));
}

static T *softmax_jvp(lathe_diff *d, T *y, T *const *t) {
    T *z = tangent_of_scores(d, y, t[0], t[1]), *out = z == NULL ? NULL : product(d, y, z);
    if (t[2] == NULL)
        return out;
    T *sink = ggml_reshape_3d(d->ctx, lathe_diff_cont(d, t[2]), 1, 1, y->ne[2]);
    T *less = ggml_mul(d->ctx, y, ggml_mul(d->ctx, sink_share(d, y), sink));
    return lathe_diff_plus(d, out, ggml_scale(d->ctx, less, -1.0f));
}

/* y = ggml's own way back, a p (g - sum p g), of g and p. */
static T *back_jvp(lathe_diff *d, T *y, T *const *t) {
    T *g = y->src[0], *p = y->src[1], *out = NULL;
    if (t[0] != NULL)
        out = product(d, p, t[0]);
    if (t[1] != NULL) { /* p' (g - sum p g) - p sum p' g */
        T *change = lathe_diff_cont(d, t[1]);
        T *centred = ggml_sub(d->ctx, g, ggml_sum_rows(d->ctx, ggml_mul(d->ctx, p, g)));
        T *along = ggml_sum_rows(d->ctx, ggml_mul(d->ctx, change, g));
        out = lathe_diff_plus(
            d, out, ggml_sub(d->ctx, ggml_mul(d->ctx, change, centred), ggml_mul(d->ctx, p, along)));
    }
    return ggml_scale(d->ctx, out, lathe_diff_param_f32(y, 0));
}
static void back_vjp(lathe_diff *d, T *y, T *g) {
    float scale = lathe_diff_param_f32(y, 0);
    T *first = y->src[0], *p = y->src[1];
    g = lathe_diff_cont(d, g);
    if (lathe_diff_needs(d, first))
        lathe_diff_add(d, first, ggml_scale(d->ctx, product(d, p, g), scale));
    if (lathe_diff_needs(d, p)) {
        T *centred = ggml_sub(d->ctx, first, ggml_sum_rows(d->ctx, ggml_mul(d->ctx, p, first)));
        T *along = ggml_sum_rows(d->ctx, ggml_mul(d->ctx, p, g));
        T *both = ggml_sub(d->ctx, ggml_mul(d->ctx, g, centred), ggml_mul(d->ctx, first, along));
        lathe_diff_add(d, p, ggml_scale(d->ctx, both, scale));
    }
}

const lathe_rule *lathe_rule_softmax(const T *y) {
    static const lathe_rule softmax = {softmax_vjp, softmax_jvp}, back = {back_vjp, back_jvp};
    return y->op == GGML_OP_SOFT_MAX ? &softmax : y->op == GGML_OP_SOFT_MAX_BACK ? &back : NULL;
}
