/* rules_image.c - convolutions, transposed convolutions, pooling.
 * Convolutions are im2col and a product, as ggml builds them; im2col and im2col_back are a closed pair, and
 * so are a transposed convolution and the convolution that it is the adjoint of. */
#include "tensor/diff.h"

typedef struct ggml_tensor T;

static T *turned(lathe_diff *d, T *x) {
    return ggml_cont(d->ctx, ggml_transpose(d->ctx, x));
}

/* --- im2col ----------------------------------------------------------------------------------------- */

static void im2col_vjp(lathe_diff *d, T *y, T *g) {
    T *x = y->src[1];
    const int32_t *p = y->op_params;
    lathe_diff_add(d, x,
                   ggml_im2col_back(d->ctx, lathe_diff_cont(d, g), y->src[0], x->ne, p[0], p[1], p[2], p[3],
                                    p[4], p[5], p[6] == 1));
}
static T *im2col_jvp(lathe_diff *d, T *y, T *const *t) {
    return t[1] == NULL ? NULL : lathe_diff_again(d, y, y->op, NULL, lathe_diff_cont(d, t[1]));
}

/* Columns [kw kh kd ic, ow, oh, od n] of volumes [w, h, depth, ic n]: ggml has no op for the way back. Seen
 * as images with ic kd channels they are columns of the plane, [w, h, ic kd, od n]; what is left are columns
 * along the depth, of w h ic channels. */
static void im2col_3d_vjp(lathe_diff *d, T *y, T *g) {
    struct ggml_context *ctx = d->ctx;
    T *kernel = y->src[0], *x = y->src[1];
    const int32_t *p = y->op_params;
    const int64_t channels = p[9], n = x->ne[3] / channels, kd = kernel->ne[2], plane = x->ne[0] * x->ne[1];
    const int64_t out_depth = y->ne[3] / n;
    if (!lathe_diff_needs(d, x))
        return;
    T *flat = ggml_new_tensor_4d(ctx, GGML_TYPE_F32, kernel->ne[0], kernel->ne[1], channels * kd, 1);
    T *deep =
        ggml_new_tensor_3d(ctx, GGML_TYPE_F32, kd, plane * channels, 1); /* shapes of kernels, no more */
    flat = ggml_fill(ctx, flat, 0.0f);
    deep = ggml_fill(ctx, deep, 0.0f);
    int64_t images[4] = {x->ne[0], x->ne[1], channels * kd, y->ne[3]};
    T *u =
        ggml_im2col_back(ctx, lathe_diff_cont(d, g), flat, images, p[0], p[1], p[3], p[4], p[6], p[7], true);
    u = ggml_reshape_4d(ctx, u, plane, kd, channels, y->ne[3]);
    u = ggml_cont(ctx, ggml_permute(ctx, u, 1, 0, 2, 3));
    u = ggml_reshape_3d(ctx, u, kd * plane * channels, out_depth, n);
    int64_t lines[4] = {x->ne[2], plane * channels, n, 1};
    T *v = ggml_im2col_back(ctx, u, deep, lines, p[2], 0, p[5], 0, p[8], 0, false);
    v = ggml_reshape_4d(ctx, v, x->ne[2], plane, channels, n);
    lathe_diff_add(d, x, ggml_cont(ctx, ggml_permute(ctx, v, 1, 0, 2, 3)));
}
static void im2col_back_vjp(lathe_diff *d, T *y, T *g) {
    const int32_t *p = y->op_params;
    lathe_diff_add(d, y->src[0],
                   ggml_im2col(d->ctx, y->src[1], lathe_diff_cont(d, g), p[0], p[1], p[2], p[3], p[4], p[5],
                               p[6] == 1, GGML_TYPE_F32));
}
static T *im2col_back_jvp(lathe_diff *d, T *y, T *const *t) {
    return t[0] == NULL ? NULL : lathe_diff_again(d, y, y->op, lathe_diff_cont(d, t[0]), NULL);
}

/* --- Transposed convolution: kernel a [kw, kh, oc, ic], input b [w, h, ic, n] ------------------------- */

/* The columns of g that each input position wrote to: [kw kh oc, positions]. */
static T *columns(lathe_diff *d, T *y, T *g) {
    T *a = y->src[0];
    int s = y->op_params[0];
    bool flat = y->op == GGML_OP_CONV_TRANSPOSE_1D;
    T *col = flat ? ggml_im2col(d->ctx, a, g, s, 0, 0, 0, 1, 0, false, GGML_TYPE_F32)
                  : ggml_im2col(d->ctx, a, g, s, s, 0, 0, 1, 1, true, GGML_TYPE_F32);
    return ggml_reshape_2d(d->ctx, col, col->ne[0], ggml_nrows(col));
}
static void conv_transpose_vjp(lathe_diff *d, T *y, T *g) {
    T *a = y->src[0], *b = y->src[1];
    bool flat = y->op == GGML_OP_CONV_TRANSPOSE_1D;
    int64_t channels = flat ? a->ne[2] : a->ne[3], taps = ggml_nelements(a) / channels;
    int64_t n = flat ? 1 : b->ne[3], place = ggml_nelements(b) / (channels * n);
    if (a->type != GGML_TYPE_F32) {
        lathe_diff_fail(d, y, "the kernel must be f32");
        return;
    }
    T *col = columns(d, y, lathe_diff_cont(d, g));
    if (lathe_diff_needs(d, b)) {
        T *w = ggml_reshape_2d(d->ctx, lathe_diff_cont(d, a), taps, channels);
        T *gb = ggml_reshape_3d(d->ctx, ggml_mul_mat(d->ctx, col, w), place, n, channels);
        lathe_diff_add(d, b, ggml_cont(d->ctx, ggml_permute(d->ctx, gb, 0, 2, 1, 3)));
    }
    if (lathe_diff_needs(d, a)) {
        T *b3 = ggml_reshape_3d(d->ctx, lathe_diff_cont(d, b), place, channels, n);
        T *rows = ggml_cont(d->ctx, ggml_permute(d->ctx, b3, 0, 2, 1, 3));
        lathe_diff_add(
            d, a, ggml_mul_mat(d->ctx, turned(d, col), ggml_reshape_2d(d->ctx, rows, place * n, channels)));
    }
}
static T *conv_transpose_jvp(lathe_diff *d, T *y, T *const *t) {
    T *first = t[0] == NULL ? NULL : lathe_diff_again(d, y, y->op, lathe_diff_cont(d, t[0]), NULL);
    T *second = t[1] == NULL ? NULL : lathe_diff_again(d, y, y->op, NULL, lathe_diff_cont(d, t[1]));
    return lathe_diff_plus(d, first, second);
}

/* --- Pooling ---------------------------------------------------------------------------------------- */

/* One- and two-dimensional pooling in the parameters of the latter. */
typedef struct pooling {
    enum ggml_op_pool op;
    int k0, k1, s0, s1, p0, p1;
} pooling;

static pooling pooling_of(const T *y) {
    const int32_t *p = y->op_params;
    if (y->op == GGML_OP_POOL_1D)
        return (pooling){(enum ggml_op_pool) p[0], p[1], 1, p[2], 1, p[3], 0};
    return (pooling){(enum ggml_op_pool) p[0], p[1], p[2], p[3], p[4], p[5], p[6]};
}
static T *pool(lathe_diff *d, const pooling *q, enum ggml_op_pool op, T *x) {
    return ggml_pool_2d(d->ctx, x, op, q->k0, q->k1, q->s0, q->s1, (float) q->p0, (float) q->p1);
}
static T *spread(lathe_diff *d, const pooling *q, T *g, T *x) {
    return ggml_pool_2d_back(d->ctx, g, x, q->op, q->k0, q->k1, q->s0, q->s1, (float) q->p0, (float) q->p1);
}
/* The derivative of pooling at x applied to t: an average, or for maxima the sum over the window of t where x
 * is the maximum, which is one element where windows do not overlap. */
static T *pooled(lathe_diff *d, T *y, const pooling *q, T *x, T *shape, T *t) {
    t = lathe_diff_cont(d, t);
    if (q->op == GGML_OP_POOL_AVG)
        return pool(d, q, GGML_OP_POOL_AVG, t);
    if (q->s0 < q->k0 || q->s1 < q->k1 || q->p0 != 0 || q->p1 != 0) {
        lathe_diff_fail(
            d, y, "forward derivatives of max pooling need windows that neither overlap nor are padded");
        return NULL;
    }
    T *chosen = ggml_mul(d->ctx, spread(d, q, ggml_fill(d->ctx, shape, 1.0f), x), t);
    return ggml_scale(d->ctx, pool(d, q, GGML_OP_POOL_AVG, chosen), (float) (q->k0 * q->k1));
}
static void pool_vjp(lathe_diff *d, T *y, T *g) {
    pooling q = pooling_of(y);
    lathe_diff_add(d, y->src[0], spread(d, &q, lathe_diff_cont(d, g), lathe_diff_cont(d, y->src[0])));
}
static T *pool_jvp(lathe_diff *d, T *y, T *const *t) {
    pooling q = pooling_of(y);
    return pooled(d, y, &q, lathe_diff_cont(d, y->src[0]), y, t[0]);
}
static void pool_back_vjp(lathe_diff *d, T *y, T *g) {
    pooling q = pooling_of(y);
    lathe_diff_add(d, y->src[0], pooled(d, y, &q, y->src[1], y->src[0], g));
}
static T *pool_back_jvp(lathe_diff *d, T *y, T *const *t) {
    pooling q = pooling_of(y);
    return t[0] == NULL ? NULL : spread(d, &q, lathe_diff_cont(d, t[0]), y->src[1]);
}

const lathe_rule *lathe_rule_image(const T *y) {
    static const lathe_rule im2col = {im2col_vjp, im2col_jvp}, im2col_3d = {im2col_3d_vjp, im2col_jvp},
                            im2col_back = {im2col_back_vjp, im2col_back_jvp},
                            conv_transpose = {conv_transpose_vjp, conv_transpose_jvp},
                            pooled_rule = {pool_vjp, pool_jvp}, pool_back = {pool_back_vjp, pool_back_jvp};
    switch (y->op) {
    case GGML_OP_IM2COL:
        return &im2col;
    case GGML_OP_IM2COL_3D:
        return &im2col_3d;
    case GGML_OP_IM2COL_BACK:
        return &im2col_back;
    case GGML_OP_CONV_TRANSPOSE_1D:
    case GGML_OP_CONV_TRANSPOSE_2D:
        return &conv_transpose;
    case GGML_OP_POOL_1D:
    case GGML_OP_POOL_2D:
        return &pooled_rule;
    case GGML_OP_POOL_2D_BACK:
        return &pool_back;
    default:
        return NULL;
    }
}
