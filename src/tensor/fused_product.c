/* fused_product.c - y = W x and its gradients by one sgemm a slice; SwiGLU. In the BLAS's row-major eyes W is
 * [n][k], x [m][k] and y [m][n]. */
#include <cblas.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/fused_attention.h"

typedef struct ggml_tensor T;

enum { SLICE = 256 };

/* What ggml keeps of a custom op (ggml-impl.h). */
typedef struct custom {
    ggml_custom_op_t fun;
    int n_tasks;
    void *user;
} custom;

static custom custom_of(const T *y) {
    custom c;
    memcpy(&c, y->op_params, sizeof c);
    return c;
}

lathe_status lathe_fused_new(int32_t n_threads, int64_t ctx, lathe_fused **fused, lathe_error *err) {
    lathe_fused *f = calloc(1, sizeof *f);
    if (f != NULL) {
        f->n_threads = n_threads;
        f->slice = SLICE;
        f->per_thread = LATHE_FUSED_BLOCKS * LATHE_FUSED_QUERIES * ((size_t) ctx + 16);
        f->scratch = malloc((size_t) n_threads * f->per_thread * sizeof *f->scratch);
    }
    if (f == NULL || f->scratch == NULL) {
        free(f);
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the scores of %lld tokens", (long long) ctx);
    }
    openblas_set_num_threads(1);
    *fused = f;
    return LATHE_OK;
}

void lathe_fused_free(lathe_fused *f) {
    if (f != NULL)
        free(f->scratch);
    free(f);
}

/* --- Products --------------------------------------------------------------------------------------- */

typedef struct slices {
    int64_t next, step, size, n;
} slices;

static slices slices_of(int64_t n, int64_t size, int ith, int nth) {
    return (slices){ith * size, nth * size, size, n};
}
static bool slice(slices *s, int64_t *from, int *count) {
    *from = s->next;
    *count = (int) (s->n - s->next < s->size ? s->n - s->next : s->size);
    s->next += s->step;
    return *from < s->n;
}

/* One product of a slice: rows [from, from + count) of dst = a b (or + beta dst), where a and b are a node's
 * sources or tangents of them. */
typedef void product_slice(T *dst, const T *a, const T *b, int64_t from, int count, float beta);

static void forward_slice(T *dst, const T *w, const T *x, int64_t from, int count, float beta) {
    int k = (int) w->ne[0], n = (int) w->ne[1];
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, count, n, k, 1, (float *) x->data + from * k, k,
                w->data, k, beta, (float *) dst->data + from * n, n);
}
static void dx_slice(T *dst, const T *w, const T *g, int64_t from, int count, float beta) {
    int k = (int) w->ne[0], n = (int) w->ne[1];
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, count, k, n, 1, (float *) g->data + from * n, n,
                w->data, k, beta, (float *) dst->data + from * k, k);
}
static void dw_slice(T *dst, const T *x, const T *g, int64_t from, int count, float beta) {
    int k = (int) x->ne[0], n = (int) g->ne[0], m = (int) x->ne[1];
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, count, k, m, 1, (float *) g->data + from, n, x->data,
                k, beta, (float *) dst->data + from * k, k);
}

/* dst = a b, and with four sources a' b + a b': the tangent. */
static void by_slices(T *dst, int ith, int nth, const lathe_fused *f, const lathe_fused_choice *c,
                      product_slice *multiply) {
    int count;
    int64_t from;
    slices s = slices_of(dst->ne[1], lathe_fused_slice_of(f, c->part, c->k, c->n, c->m), ith, nth);
    while (slice(&s, &from, &count)) {
        if (dst->src[2] == NULL) {
            multiply(dst, dst->src[0], dst->src[1], from, count, 0);
            continue;
        }
        multiply(dst, dst->src[2], dst->src[1], from, count, 0);
        multiply(dst, dst->src[0], dst->src[3], from, count, 1);
    }
}

/* Shapes by the sources: w and x or g, or x and g. */
static lathe_fused_choice of_weight(lathe_fused_part part, const T *y) {
    return (lathe_fused_choice){part, y->src[0]->ne[0], y->src[0]->ne[1], y->src[1]->ne[1], 0};
}
static lathe_fused_choice of_gradient(const T *y) {
    return (lathe_fused_choice){LATHE_FUSED_DW, y->src[0]->ne[0], y->src[1]->ne[0], y->src[0]->ne[1], 0};
}

static void product_op(T *dst, int ith, int nth, void *user) {
    const lathe_fused_choice c = of_weight(LATHE_FUSED_FORWARD, dst);
    by_slices(dst, ith, nth, user, &c, forward_slice);
}
static void dx_op(T *dst, int ith, int nth, void *user) {
    const lathe_fused_choice c = of_weight(LATHE_FUSED_DX, dst);
    by_slices(dst, ith, nth, user, &c, dx_slice);
}
static void dw_op(T *dst, int ith, int nth, void *user) {
    const lathe_fused_choice c = of_gradient(dst);
    by_slices(dst, ith, nth, user, &c, dw_slice);
}

/* src: the sum itself, x, g. */
static void dw_onto_op(T *dst, int ith, int nth, void *user) {
    const T *x = dst->src[1], *g = dst->src[2];
    int count;
    int64_t from;
    slices s = slices_of(dst->ne[1], lathe_fused_slice_of(user, LATHE_FUSED_DW, x->ne[0], g->ne[0], x->ne[1]),
                         ith, nth);
    while (slice(&s, &from, &count))
        dw_slice(dst, x, g, from, count, 1);
}

bool lathe_fused_product_shape(const T *y, lathe_fused_choice *shape) {
    if (y->op != GGML_OP_CUSTOM)
        return false;
    ggml_custom_op_t fun = custom_of(y).fun;
    if (fun == product_op || fun == dx_op)
        *shape = of_weight(fun == dx_op ? LATHE_FUSED_DX : LATHE_FUSED_FORWARD, y);
    else if (fun == dw_op)
        *shape = of_gradient(y);
    else
        return false;
    return true;
}

static bool is_plain(const T *x) {
    return x->type == GGML_TYPE_F32 && ggml_is_contiguous(x) && x->ne[2] == 1 && x->ne[3] == 1 &&
           x->ne[0] <= INT32_MAX && x->ne[1] <= INT32_MAX;
}

static T *op2(struct ggml_context *ctx, int64_t ne0, int64_t ne1, T *a, T *b, ggml_custom_op_t fun,
              void *user) {
    T *args[] = {a, b};
    return ggml_custom_4d(ctx, GGML_TYPE_F32, ne0, ne1, 1, 1, args, 2, fun, GGML_N_TASKS_MAX, user);
}

T *lathe_fused_product(lathe_fused *f, struct ggml_context *ctx, T *w, T *x) {
    if (!is_plain(w) || !is_plain(x))
        return NULL;
    return op2(ctx, w->ne[1], x->ne[1], w, x, product_op, f);
}

T *lathe_fused_product_dw(struct ggml_context *ctx, T *y, T *g) {
    const T *w = y->src[0];
    return op2(ctx, w->ne[0], w->ne[1], y->src[1], g, dw_op, custom_of(y).user);
}

T *lathe_fused_product_dw_onto(struct ggml_context *ctx, T *sum, T *dw) {
    lathe_fused_choice shape;
    if (!lathe_fused_product_shape(dw, &shape) || shape.part != LATHE_FUSED_DW)
        return NULL;
    T *args[] = {dw->src[0], dw->src[1]};
    return ggml_custom_inplace(ctx, sum, args, 2, dw_onto_op, GGML_N_TASKS_MAX, custom_of(dw).user);
}

T *lathe_fused_product_dx(struct ggml_context *ctx, T *y, T *g) {
    const T *x = y->src[1];
    return op2(ctx, x->ne[0], x->ne[1], y->src[0], g, dx_op, custom_of(y).user);
}

T *lathe_fused_product_tangent(struct ggml_context *ctx, T *y, T *a, T *b) {
    const custom c = custom_of(y);
    T *args[4] = {a != NULL ? a : y->src[0], a == NULL ? b : y->src[1]};
    int n = 2;
    if (a != NULL && b != NULL) {
        args[0] = y->src[0];
        args[2] = a;
        args[3] = b;
        n = 4;
    }
    return ggml_custom_4d(ctx, GGML_TYPE_F32, y->ne[0], y->ne[1], 1, 1, args, n, c.fun, GGML_N_TASKS_MAX,
                          c.user);
}

/* --- SwiGLU ----------------------------------------------------------------------------------------- */

static void swiglu_op(T *dst, int ith, int nth, void *user) {
    (void) user;
    const lathe_rows *rows = lathe_rows_best();
    int64_t n = ggml_nelements(dst), from = n * ith / nth, count = n * (ith + 1) / nth - from;
    rows->swiglu((const float *) dst->src[0]->data + from, (const float *) dst->src[1]->data + from, count,
                 (float *) dst->data + from);
}

static void swiglu_back_op(T *dst, int ith, int nth, void *user) {
    (void) user;
    const lathe_rows *rows = lathe_rows_best();
    int64_t n = ggml_nelements(dst->src[0]), from = n * ith / nth, count = n * (ith + 1) / nth - from;
    float *out = (float *) dst->data + from;
    rows->swiglu_back((const float *) dst->src[0]->data + from, (const float *) dst->src[1]->data + from,
                      (const float *) dst->src[2]->data + from, count, out, out + n);
}

T *lathe_fused_swiglu(lathe_fused *f, struct ggml_context *ctx, T *gate, T *up) {
    if (!is_plain(gate) || !is_plain(up) || !ggml_are_same_shape(gate, up))
        return NULL;
    return op2(ctx, gate->ne[0], gate->ne[1], gate, up, swiglu_op, f);
}

void lathe_fused_swiglu_back(struct ggml_context *ctx, T *y, T *g, T *grads[2]) {
    T *args[] = {y->src[0], y->src[1], g};
    T *both = ggml_custom_4d(ctx, GGML_TYPE_F32, y->ne[0], y->ne[1], 2, 1, args, 3, swiglu_back_op,
                             GGML_N_TASKS_MAX, custom_of(y).user);
    for (size_t i = 0; i < 2; i++)
        grads[i] = ggml_view_2d(ctx, both, y->ne[0], y->ne[1], both->nb[1], i * both->nb[2]);
}

static void swiglu_tangent_op(T *dst, int ith, int nth, void *user) {
    (void) user;
    const lathe_rows *rows = lathe_rows_best();
    int64_t n = ggml_nelements(dst), from = n * ith / nth, count = n * (ith + 1) / nth - from;
    const float *in[4];
    for (int i = 0; i < 4; i++)
        in[i] = (const float *) dst->src[i]->data + from;
    rows->swiglu_tangent(in[0], in[1], in[2], in[3], count, (float *) dst->data + from);
}

static void swiglu_back_tangent_op(T *dst, int ith, int nth, void *user) {
    (void) user;
    const lathe_rows *rows = lathe_rows_best();
    int64_t n = ggml_nelements(dst->src[0]), from = n * ith / nth, count = n * (ith + 1) / nth - from;
    const float *in[6];
    for (int i = 0; i < 6; i++)
        in[i] = (const float *) dst->src[i]->data + from;
    float *out = (float *) dst->data + from;
    rows->swiglu_back_tangent(in, count, out, out + n);
}

T *lathe_fused_swiglu_tangent(struct ggml_context *ctx, T *y, T *const tangents[2]) {
    T *args[] = {y->src[0], y->src[1], tangents[0], tangents[1]};
    return ggml_custom_4d(ctx, GGML_TYPE_F32, y->ne[0], y->ne[1], 1, 1, args, 4, swiglu_tangent_op,
                          GGML_N_TASKS_MAX, NULL);
}
T *lathe_fused_swiglu_back_tangent(struct ggml_context *ctx, T *y, T *const tangents[3]) {
    T *args[] = {y->src[0], y->src[1], y->src[2], tangents[0], tangents[1], tangents[2]};
    return ggml_custom_4d(ctx, GGML_TYPE_F32, y->ne[0], y->ne[1], 2, 1, args, 6, swiglu_back_tangent_op,
                          GGML_N_TASKS_MAX, NULL);
}

/* --- Which op it is --------------------------------------------------------------------------------- */

lathe_fused_kind lathe_fused_kind_of(const T *y) {
    if (y->op != GGML_OP_CUSTOM)
        return LATHE_FUSED_NONE;
    static const struct {
        ggml_custom_op_t fun;
        lathe_fused_kind kind;
    } kinds[] = {{product_op, LATHE_FUSED_PRODUCT},
                 {dx_op, LATHE_FUSED_PRODUCT_BACK},
                 {dw_op, LATHE_FUSED_PRODUCT_BACK},
                 {lathe_fused_causal_op, LATHE_FUSED_CAUSAL},
                 {lathe_fused_causal_back_op, LATHE_FUSED_CAUSAL_BACK},
                 {swiglu_op, LATHE_FUSED_SWIGLU},
                 {swiglu_back_op, LATHE_FUSED_SWIGLU_BACK},
                 {lathe_dropout_op, LATHE_FUSED_DROPOUT}};
    const ggml_custom_op_t fun = custom_of(y).fun;
    for (size_t i = 0; i < LATHE_LEN(kinds); i++)
        if (kinds[i].fun == fun && !(i < 3 && y->src[2] != NULL)) /* a tangent has no rules */
            return kinds[i].kind;
    return lathe_fused_loss_kind(fun);
}
