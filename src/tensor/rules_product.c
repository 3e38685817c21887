/* rules_product.c - matrix products. y = mul_mat(a, b): a [k, m], b [k, n] -> y [m, n].
 * Plain matrices go through out_prod, which the BLAS backend runs as one product with transposition flags;
 * batches (attention) through products of transposed copies (engine.md 3.5). */
#include "tensor/diff.h"

typedef struct ggml_tensor T;

static T *turned(lathe_diff *d, T *x) {
    return ggml_cont(d->ctx, ggml_transpose(d->ctx, x));
}

/* f32 and unit stride, for use as an operand. */
static T *operand(lathe_diff *d, T *x) {
    if (x->type != GGML_TYPE_F32)
        x = ggml_cast(d->ctx, x, GGML_TYPE_F32);
    return lathe_diff_cont(d, x);
}

static bool plain(const T *a) {
    return a->ne[2] == 1 && a->ne[3] == 1;
}

/* [k, n, r ha, h3] with r heads of b for each of a: folded to [k, n r, ha, h3]. */
static T *fold(lathe_diff *d, T *x, const T *a) {
    int64_t r = x->ne[2] / a->ne[2];
    return r == 1 ? x : ggml_reshape_4d(d->ctx, x, x->ne[0], x->ne[1] * r, a->ne[2], x->ne[3]);
}

static void mul_mat_vjp(lathe_diff *d, T *y, T *g) {
    T *a = y->src[0], *b = y->src[1];
    g = lathe_diff_cont(d, g);
    if (plain(a)) { /* all columns of b are one matrix */
        T *b2 = lathe_diff_needs(d, a) ? operand(d, b) : NULL;
        T *g2 = ggml_reshape_2d(d->ctx, g, g->ne[0], ggml_nrows(g));
        if (b2 != NULL)
            lathe_diff_add(d, a,
                           ggml_out_prod(d->ctx, ggml_reshape_2d(d->ctx, b2, b2->ne[0], ggml_nrows(b2)), g2));
        if (lathe_diff_needs(d, b))
            lathe_diff_add(d, b, ggml_out_prod(d->ctx, operand(d, a), ggml_transpose(d->ctx, g2)));
        return;
    }
    if (lathe_diff_needs(d, b))
        lathe_diff_add(d, b, ggml_mul_mat(d->ctx, turned(d, operand(d, a)), g));
    if (lathe_diff_needs(d, a) && a->ne[3] != b->ne[3])
        lathe_diff_add(
            d, a, lathe_diff_sum_groups(d, ggml_mul_mat(d->ctx, turned(d, operand(d, b)), turned(d, g)), a));
    else if (lathe_diff_needs(d, a))
        lathe_diff_add(d, a,
                       ggml_mul_mat(d->ctx, turned(d, fold(d, operand(d, b), a)), turned(d, fold(d, g, a))));
}
static T *mul_mat_jvp(lathe_diff *d, T *y, T *const *t) {
    T *first =
        t[0] == NULL ? NULL : ggml_mul_mat(d->ctx, lathe_diff_cont(d, t[0]), lathe_diff_cont(d, y->src[1]));
    T *second = t[1] == NULL ? NULL : ggml_mul_mat(d->ctx, operand(d, y->src[0]), lathe_diff_cont(d, t[1]));
    return lathe_diff_plus(d, first, second);
}

/* a with its third and fourth dimensions repeated in a row each, as products share it: [.., h2, h3] -> like's
 * [.., r h2, q h3]. */
static T *shared(lathe_diff *d, T *a, const T *like) {
    struct ggml_context *ctx = d->ctx;
    const int64_t ne0 = a->ne[0], ne1 = a->ne[1], one = ne0 * ne1, h2 = a->ne[2], h3 = a->ne[3];
    const int64_t r2 = like->ne[2] / h2, r3 = like->ne[3] / h3;
    if (r2 > 1)
        a = ggml_repeat_4d(ctx, ggml_reshape_3d(ctx, a, one, 1, h2 * h3), one, r2, h2 * h3, 1);
    if (r3 > 1)
        a = ggml_repeat_4d(ctx, ggml_reshape_3d(ctx, a, one * h2 * r2, 1, h3), one * h2 * r2, r3, h3, 1);
    return ggml_reshape_4d(ctx, a, ne0, ne1, like->ne[2], like->ne[3]);
}

/* y = out_prod(a [n, k], b [m, k]) = [n, m], y_ij = sum_k a_ik b_jk; a may be shared by matrices of b in a
 * row. */
static void out_prod_vjp(lathe_diff *d, T *y, T *g) {
    T *a = y->src[0], *b = y->src[1];
    g = lathe_diff_cont(d, g);
    if (!plain(y)) {
        if (lathe_diff_needs(d, a)) {
            T *each = ggml_mul_mat(d->ctx, turned(d, g), lathe_diff_cont(d, b));
            lathe_diff_add(d, a, lathe_diff_sum_groups(d, each, a));
        }
        if (lathe_diff_needs(d, b))
            lathe_diff_add(d, b, ggml_mul_mat(d->ctx, g, shared(d, operand(d, a), b)));
        return;
    }
    if (lathe_diff_needs(d, a))
        lathe_diff_add(d, a, ggml_out_prod(d->ctx, g, ggml_transpose(d->ctx, b)));
    if (lathe_diff_needs(d, b))
        lathe_diff_add(d, b, ggml_mul_mat(d->ctx, g, operand(d, a)));
}
static T *out_prod_jvp(lathe_diff *d, T *y, T *const *t) {
    T *first = t[0] == NULL ? NULL : ggml_out_prod(d->ctx, lathe_diff_cont(d, t[0]), y->src[1]);
    T *second = t[1] == NULL ? NULL : ggml_out_prod(d->ctx, lathe_diff_cont(d, y->src[0]), t[1]);
    return lathe_diff_plus(d, first, second);
}

const lathe_rule *lathe_rule_product(const T *y) {
    static const lathe_rule mul_mat = {mul_mat_vjp, mul_mat_jvp}, out_prod = {out_prod_vjp, out_prod_jvp};
    switch (y->op) {
    case GGML_OP_MUL_MAT:
        return &mul_mat;
    case GGML_OP_OUT_PROD:
        return &out_prod;
    default:
        return NULL;
    }
}
