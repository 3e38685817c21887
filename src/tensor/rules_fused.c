/* rules_fused.c - rules of the ops in fused.h, and forward rules of the nodes of their gradients. */
#include "tensor/diff.h"
#include "tensor/fused.h"

typedef struct ggml_tensor T;

static void product_vjp(lathe_diff *d, T *y, T *g) {
    g = lathe_diff_cont(d, g);
    if (lathe_diff_needs(d, y->src[0]))
        lathe_diff_add(d, y->src[0], lathe_fused_product_dw(d->ctx, y, g));
    if (lathe_diff_needs(d, y->src[1]))
        lathe_diff_add(d, y->src[1], lathe_fused_product_dx(d->ctx, y, g));
}

static void causal_vjp(lathe_diff *d, T *y, T *g) {
    T *grads[3];
    lathe_fused_causal_back(d->ctx, y, lathe_diff_cont(d, g), grads);
    for (int i = 0; i < 3; i++)
        lathe_diff_add(d, y->src[i], grads[i]);
}

static void swiglu_vjp(lathe_diff *d, T *y, T *g) {
    T *grads[2];
    lathe_fused_swiglu_back(d->ctx, y, lathe_diff_cont(d, g), grads);
    for (int i = 0; i < 2; i++)
        lathe_diff_add(d, y->src[i], grads[i]);
}

static void dropout_vjp(lathe_diff *d, T *y, T *g) {
    lathe_diff_add(d, y->src[0], lathe_fused_dropout_again(d->ctx, y, lathe_diff_cont(d, g)));
}
static T *dropout_jvp(lathe_diff *d, T *y, T *const *t) {
    return lathe_fused_dropout_again(d->ctx, y, lathe_diff_cont(d, t[0]));
}

/* Tangents of the first n sources, zeros where there is none. */
static void tangents_of(lathe_diff *d, T *y, T *const *t, int n, T **out) {
    for (int i = 0; i < n; i++)
        out[i] = t[i] != NULL ? t[i] : lathe_diff_zeros(d, y->src[i]);
}

static T *product_jvp(lathe_diff *d, T *y, T *const *t) {
    return lathe_fused_product_tangent(d->ctx, y, t[0] == NULL ? NULL : lathe_diff_cont(d, t[0]),
                                       t[1] == NULL ? NULL : lathe_diff_cont(d, t[1]));
}
static T *causal_jvp(lathe_diff *d, T *y, T *const *t) {
    T *all[3];
    tangents_of(d, y, t, 3, all);
    return lathe_fused_causal_tangent(d->ctx, y, all);
}
static T *causal_back_jvp(lathe_diff *d, T *y, T *const *t) {
    T *all[4];
    tangents_of(d, y, t, 4, all);
    all[3] = lathe_diff_cont(d, all[3]);
    return lathe_fused_causal_back_tangent(d->ctx, y, all);
}
static T *swiglu_jvp(lathe_diff *d, T *y, T *const *t) {
    T *all[2];
    tangents_of(d, y, t, 2, all);
    for (int i = 0; i < 2; i++)
        all[i] = lathe_diff_cont(d, all[i]);
    return lathe_fused_swiglu_tangent(d->ctx, y, all);
}
static T *swiglu_back_jvp(lathe_diff *d, T *y, T *const *t) {
    T *all[3];
    tangents_of(d, y, t, 3, all);
    for (int i = 0; i < 3; i++)
        all[i] = lathe_diff_cont(d, all[i]);
    return lathe_fused_swiglu_back_tangent(d->ctx, y, all);
}

static void ce_vjp(lathe_diff *d, T *y, T *g) {
    lathe_diff_add(d, y->src[0], lathe_fused_ce_back(d->ctx, y, lathe_diff_cont(d, g)));
}
static T *ce_jvp(lathe_diff *d, T *y, T *const *t) { /* sum (p - onehot) t of each row */
    T *slope = lathe_fused_ce_back(d->ctx, y, ggml_fill(d->ctx, y, 1.0f));
    T *sums = ggml_sum_rows(d->ctx, ggml_mul(d->ctx, slope, lathe_diff_cont(d, t[0])));
    return lathe_diff_as(d, sums, y);
}
static T *ce_back_jvp(lathe_diff *d, T *y, T *const *t) {
    T *out = t[0] == NULL ? NULL : lathe_fused_ce_back_tangent(d->ctx, y, lathe_diff_cont(d, t[0]));
    return lathe_diff_plus(d, out,
                           t[2] == NULL ? NULL : lathe_fused_ce_back(d->ctx, y, lathe_diff_cont(d, t[2])));
}

static void no_vjp(lathe_diff *d, T *y, T *g) {
    (void) g;
    lathe_diff_fail(d, y, "the gradient of a fused op has no reverse-mode rule: take the graph without them");
}

const lathe_rule *lathe_rule_fused(const T *y) {
    static const lathe_rule product = {product_vjp, product_jvp}, product_back = {no_vjp, product_jvp},
                            causal = {causal_vjp, causal_jvp}, causal_back = {no_vjp, causal_back_jvp},
                            swiglu = {swiglu_vjp, swiglu_jvp}, swiglu_back = {no_vjp, swiglu_back_jvp},
                            ce = {ce_vjp, ce_jvp}, ce_back = {no_vjp, ce_back_jvp},
                            dropout = {dropout_vjp, dropout_jvp};
    switch (lathe_fused_kind_of(y)) {
    case LATHE_FUSED_PRODUCT:
        return &product;
    case LATHE_FUSED_PRODUCT_BACK:
        return &product_back;
    case LATHE_FUSED_CAUSAL:
        return &causal;
    case LATHE_FUSED_CAUSAL_BACK:
        return &causal_back;
    case LATHE_FUSED_SWIGLU:
        return &swiglu;
    case LATHE_FUSED_SWIGLU_BACK:
        return &swiglu_back;
    case LATHE_FUSED_CE:
        return &ce;
    case LATHE_FUSED_CE_BACK:
        return &ce_back;
    case LATHE_FUSED_DROPOUT:
        return &dropout;
    default:
        return NULL;
    }
}
