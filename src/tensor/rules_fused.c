/* rules_fused.c - reverse rules of the ops in fused.h. */
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

static T *no_jvp(lathe_diff *d, T *y, T *const *t) {
    (void) t;
    lathe_diff_fail(d, y, "this fused op has no forward-mode rule");
    return NULL;
}

const lathe_rule *lathe_rule_fused(const T *y) {
    static const lathe_rule product = {product_vjp, no_jvp}, causal = {causal_vjp, no_jvp},
                            swiglu = {swiglu_vjp, no_jvp}, dropout = {dropout_vjp, dropout_jvp};
    switch (lathe_fused_kind_of(y)) {
    case LATHE_FUSED_PRODUCT:
        return &product;
    case LATHE_FUSED_CAUSAL:
        return &causal;
    case LATHE_FUSED_SWIGLU:
        return &swiglu;
    case LATHE_FUSED_DROPOUT:
        return &dropout;
    default:
        return NULL;
    }
}
