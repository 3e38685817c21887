/* rules_shape.c - ops that move, gather, sum and tile: linear, with 0/1 Jacobians. */
#include <string.h>

#include "tensor/diff.h"

typedef struct ggml_tensor T;

/* --- Sums and tiles -------------------------------------------------------------------------------- */

static void sum_vjp(lathe_diff *d, T *y, T *g) { /* sum, sum_rows, mean */
    T *x = y->src[0];
    T *r = ggml_repeat(d->ctx, lathe_diff_cont(d, g), x);
    lathe_diff_add(d, x, y->op == GGML_OP_MEAN ? ggml_scale(d->ctx, r, 1.0f / (float) x->ne[0]) : r);
}
static T *sum_jvp(lathe_diff *d, T *y, T *const *t) {
    T *x = lathe_diff_cont(d, t[0]);
    return y->op == GGML_OP_SUM    ? ggml_sum(d->ctx, x)
           : y->op == GGML_OP_MEAN ? ggml_mean(d->ctx, x)
                                   : ggml_sum_rows(d->ctx, x);
}

static void repeat_vjp(lathe_diff *d, T *y, T *g) {
    lathe_diff_add(d, y->src[0], lathe_diff_sum_to(d, g, y->src[0]));
}
static T *repeat_jvp(lathe_diff *d, T *y, T *const *t) {
    return ggml_repeat(d->ctx, t[0], y);
}
static void repeat_back_vjp(lathe_diff *d, T *y, T *g) {
    lathe_diff_add(d, y->src[0], ggml_repeat(d->ctx, lathe_diff_cont(d, g), y->src[0]));
}
static T *repeat_back_jvp(lathe_diff *d, T *y, T *const *t) {
    return ggml_repeat_back(d->ctx, lathe_diff_cont(d, t[0]), y);
}

/* --- Copies and layouts ----------------------------------------------------------------------------- */

static bool same_type(lathe_diff *d, T *y, T *x) {
    if (x->type == y->type)
        return true;
    lathe_diff_fail(d, y, "a copy between types has no derivative rule");
    return false;
}

static void copy_vjp(lathe_diff *d, T *y, T *g) { /* cont, dup, cpy, reshape */
    if (same_type(d, y, y->src[0]))
        lathe_diff_add(d, y->src[0], lathe_diff_as(d, g, y->src[0]));
}
static T *copy_jvp(lathe_diff *d, T *y, T *const *t) {
    if (!same_type(d, y, y->src[0]) || t[0] == NULL)
        return NULL;
    T *x = y->op == GGML_OP_RESHAPE ? t[0] : lathe_diff_cont(d, t[0]);
    return lathe_diff_as(d, x, y);
}

static void permute_vjp(lathe_diff *d, T *y, T *g) {
    int back[4];
    for (int i = 0; i < 4; i++) /* axis i of the source went to op_params[i] */
        back[y->op_params[i]] = i;
    lathe_diff_add(d, y->src[0],
                   ggml_cont(d->ctx, ggml_permute(d->ctx, g, back[0], back[1], back[2], back[3])));
}
static T *permute_jvp(lathe_diff *d, T *y, T *const *t) {
    const int32_t *p = y->op_params;
    return ggml_permute(d->ctx, t[0], p[0], p[1], p[2], p[3]);
}
static void transpose_vjp(lathe_diff *d, T *y, T *g) {
    lathe_diff_add(d, y->src[0], ggml_cont(d->ctx, ggml_transpose(d->ctx, g)));
}
static T *transpose_jvp(lathe_diff *d, T *y, T *const *t) {
    (void) y;
    return ggml_transpose(d->ctx, t[0]);
}

/* A view is described in its base's memory: chains of views and reshapes are followed down to a base that is
 * contiguous, whose cotangent receives the block. */
static void view_vjp(lathe_diff *d, T *y, T *g) {
    size_t offset;
    memcpy(&offset, y->op_params, sizeof offset);
    T *base = y->src[0];
    while (!ggml_is_contiguous(base) && base->op == GGML_OP_VIEW) {
        size_t more;
        memcpy(&more, base->op_params, sizeof more);
        offset += more;
        base = base->src[0];
    }
    if (!ggml_is_contiguous(base) || offset > INT32_MAX || y->nb[3] > INT32_MAX) {
        lathe_diff_fail(d, y, "a view of a permuted tensor has no derivative rule: make it contiguous first");
        return;
    }
    if (!lathe_diff_needs(d, base))
        return;
    if (ggml_is_contiguous(y) && ggml_nelements(y) == ggml_nelements(base))
        lathe_diff_add(d, base, g);
    else
        lathe_diff_add(d, base,
                       ggml_acc(d->ctx, lathe_diff_zeros(d, base), lathe_diff_cont(d, g), y->nb[1], y->nb[2],
                                y->nb[3], offset));
}
static T *view_jvp(lathe_diff *d, T *y, T *const *t) {
    size_t offset;
    memcpy(&offset, y->op_params, sizeof offset);
    return ggml_view_4d(d->ctx, t[0], y->ne[0], y->ne[1], y->ne[2], y->ne[3], y->nb[1], y->nb[2], y->nb[3],
                        offset);
}

/* acc(a, b): b is added to a block of a. */
static void acc_vjp(lathe_diff *d, T *y, T *g) {
    T *b = y->src[1];
    const int32_t *p = y->op_params;
    lathe_diff_add(d, y->src[0], g);
    if (lathe_diff_needs(d, b))
        lathe_diff_add(d, b,
                       ggml_cont(d->ctx, ggml_view_4d(d->ctx, lathe_diff_cont(d, g), b->ne[0], b->ne[1],
                                                      b->ne[2], b->ne[3], (size_t) p[0], (size_t) p[1],
                                                      (size_t) p[2], (size_t) p[3])));
}
static T *acc_jvp(lathe_diff *d, T *y, T *const *t) {
    const int32_t *p = y->op_params;
    T *a = t[0] == NULL ? lathe_diff_zeros(d, y->src[0]) : lathe_diff_cont(d, t[0]);
    return t[1] == NULL ? a
                        : ggml_acc(d->ctx, a, lathe_diff_cont(d, t[1]), (size_t) p[0], (size_t) p[1],
                                   (size_t) p[2], (size_t) p[3]);
}

static T *slice(lathe_diff *d, T *g, const T *like, const int64_t at[4]) {
    g = lathe_diff_cont(d, g);
    size_t offset = 0;
    for (int i = 0; i < 4; i++)
        offset += (size_t) at[i] * g->nb[i];
    return ggml_cont(d->ctx, ggml_view_4d(d->ctx, g, like->ne[0], like->ne[1], like->ne[2], like->ne[3],
                                          g->nb[1], g->nb[2], g->nb[3], offset));
}

static void concat_vjp(lathe_diff *d, T *y, T *g) {
    int64_t at[4] = {0};
    for (int i = 0; i < 2; i++) {
        if (lathe_diff_needs(d, y->src[i]))
            lathe_diff_add(d, y->src[i], slice(d, g, y->src[i], at));
        at[y->op_params[0]] += y->src[i]->ne[y->op_params[0]];
    }
}
static T *concat_jvp(lathe_diff *d, T *y, T *const *t) {
    T *a = t[0] != NULL ? t[0] : lathe_diff_zeros(d, y->src[0]),
      *b = t[1] != NULL ? t[1] : lathe_diff_zeros(d, y->src[1]);
    return ggml_concat(d->ctx, a, b, y->op_params[0]);
}

static bool pad_plain(lathe_diff *d, T *y) {
    if (y->op_params[8] == 0)
        return true;
    lathe_diff_fail(d, y, "circular padding has no derivative rule");
    return false;
}
static void pad_vjp(lathe_diff *d, T *y, T *g) {
    const int32_t *p = y->op_params;
    const int64_t at[4] = {p[0], p[2], p[4], p[6]};
    if (pad_plain(d, y))
        lathe_diff_add(d, y->src[0], slice(d, g, y->src[0], at));
}
static T *pad_jvp(lathe_diff *d, T *y, T *const *t) {
    return pad_plain(d, y) ? lathe_diff_again(d, y, y->op, lathe_diff_cont(d, t[0]), NULL) : NULL;
}

/* --- Rows ------------------------------------------------------------------------------------------- */

static T *flat(lathe_diff *d, T *ids) {
    return ggml_is_vector(ids) ? ids : ggml_reshape_1d(d->ctx, lathe_diff_cont(d, ids), ggml_nelements(ids));
}

static void get_rows_vjp(lathe_diff *d, T *y, T *g) {
    T *x = y->src[0];
    if (x->ne[2] != 1 || x->ne[3] != 1) {
        lathe_diff_fail(d, y, "rows are gathered from matrices only");
        return;
    }
    g = lathe_diff_cont(d, g);
    T *rows = ggml_reshape_2d(d->ctx, g, g->ne[0], ggml_nelements(g) / g->ne[0]);
    lathe_diff_add(d, x, ggml_get_rows_back(d->ctx, rows, flat(d, y->src[1]), x));
}
static T *get_rows_jvp(lathe_diff *d, T *y, T *const *t) {
    return ggml_get_rows(d->ctx, t[0], y->src[1]);
}
static void get_rows_back_vjp(lathe_diff *d, T *y, T *g) {
    lathe_diff_add(d, y->src[0], ggml_get_rows(d->ctx, lathe_diff_cont(d, g), y->src[1]));
}
static T *get_rows_back_jvp(lathe_diff *d, T *y, T *const *t) {
    return ggml_get_rows_back(d->ctx, lathe_diff_cont(d, t[0]), y->src[1], y);
}

/* Masking of a square block: above the diagonal nothing passes. */
static void diag_mask_vjp(lathe_diff *d, T *y, T *g) {
    lathe_diff_add(d, y->src[0], ggml_diag_mask_zero(d->ctx, lathe_diff_cont(d, g), y->op_params[0]));
}
static T *diag_mask_jvp(lathe_diff *d, T *y, T *const *t) {
    return ggml_diag_mask_zero(d->ctx, lathe_diff_cont(d, t[0]), y->op_params[0]);
}

const lathe_rule *lathe_rule_shape(const T *y) {
    static const lathe_rule sum = {sum_vjp, sum_jvp}, repeat = {repeat_vjp, repeat_jvp},
                            repeat_back = {repeat_back_vjp, repeat_back_jvp}, copy = {copy_vjp, copy_jvp},
                            permute = {permute_vjp, permute_jvp}, transpose = {transpose_vjp, transpose_jvp},
                            view = {view_vjp, view_jvp}, acc = {acc_vjp, acc_jvp},
                            concat = {concat_vjp, concat_jvp}, pad = {pad_vjp, pad_jvp},
                            get_rows = {get_rows_vjp, get_rows_jvp},
                            get_rows_back = {get_rows_back_vjp, get_rows_back_jvp},
                            diag_mask = {diag_mask_vjp, diag_mask_jvp};
    switch (y->op) {
    case GGML_OP_SUM:
    case GGML_OP_SUM_ROWS:
    case GGML_OP_MEAN:
        return &sum;
    case GGML_OP_REPEAT:
        return &repeat;
    case GGML_OP_REPEAT_BACK:
        return &repeat_back;
    case GGML_OP_CONT:
    case GGML_OP_DUP:
    case GGML_OP_CPY:
    case GGML_OP_RESHAPE:
        return &copy;
    case GGML_OP_PERMUTE:
        return &permute;
    case GGML_OP_TRANSPOSE:
        return &transpose;
    case GGML_OP_VIEW:
        return &view;
    case GGML_OP_ACC:
        return &acc;
    case GGML_OP_CONCAT:
        return &concat;
    case GGML_OP_PAD:
        return &pad;
    case GGML_OP_GET_ROWS:
        return &get_rows;
    case GGML_OP_GET_ROWS_BACK:
        return &get_rows_back;
    case GGML_OP_DIAG_MASK_INF:
    case GGML_OP_DIAG_MASK_ZERO:
        return &diag_mask;
    default:
        return NULL;
    }
}
