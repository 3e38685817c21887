/* Every rule by three independent facts: the adjoint identity <ybar, J v> = <J^T ybar, v>, central
 * differences of the value, and for second derivatives <u, H v> = <v, H u> with central differences of the
 * gradient. */
#include "support/check.h"

#include <ggml.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lathe/tensor.h"
#include "support/graph.h"
#include "tensor/fused.h"

typedef struct ggml_tensor T;
typedef struct ggml_context C;

#define MAX_IN 3

/* One op: input shapes (0: no input) and how the output is made. */
enum {
    POSITIVE = 1,
    /* inputs in [0.5, 1.5] */ KINKS = 2 /* piecewise linear: no second derivative to speak of */
};

typedef struct op_case {
    const char *name;
    int64_t shape[MAX_IN][4];
    T *(*make)(C *ctx, T *const *x);
    unsigned flags;
} op_case;

/* --- Cases ---------------------------------------------------------------------------------------- */

#define UNARY(name, call)                                                                                    \
    static T *make_##name(C *c, T *const *x) {                                                               \
        return call;                                                                                         \
    }
UNARY(add, ggml_add(c, x[0], x[1]))
UNARY(sub, ggml_sub(c, x[0], x[1]))
UNARY(mul, ggml_mul(c, x[0], x[1]))
UNARY(square, ggml_mul(c, x[0], x[0]))
UNARY(div, ggml_div(c, x[0], x[1]))
UNARY(scale, ggml_scale_bias(c, x[0], -1.7f, 0.3f))
UNARY(sqr, ggml_sqr(c, x[0]))
UNARY(sqrt, ggml_sqrt(c, x[0]))
UNARY(log, ggml_log(c, x[0]))
UNARY(sin, ggml_sin(c, x[0]))
UNARY(cos, ggml_cos(c, x[0]))
UNARY(exp, ggml_exp(c, x[0]))
UNARY(tanh, ggml_tanh(c, x[0]))
UNARY(sigmoid, ggml_sigmoid(c, x[0]))
UNARY(silu, ggml_silu(c, x[0]))
UNARY(gelu_erf, ggml_gelu_erf(c, x[0]))
UNARY(elu, ggml_elu(c, x[0]))
UNARY(softplus, ggml_softplus(c, x[0]))
UNARY(relu, ggml_relu(c, x[0]))
UNARY(leaky, ggml_leaky_relu(c, x[0], 0.1f, false))
UNARY(neg, ggml_neg(c, x[0]))
UNARY(clamp, ggml_clamp(c, ggml_scale(c, x[0], 1.0f), -0.7f, 0.8f))
UNARY(softcap, ggml_scale(c, ggml_tanh(c, ggml_scale(c, x[0], 0.5f)), 2.0f))
UNARY(swiglu, ggml_swiglu(c, x[0]))
UNARY(swiglu_split, ggml_swiglu_split(c, x[0], x[1]))
UNARY(geglu_erf, ggml_geglu_erf_split(c, x[0], x[1]))
UNARY(sum, ggml_sum(c, x[0]))
UNARY(sum_rows, ggml_sum_rows(c, x[0]))
UNARY(mean, ggml_mean(c, x[0]))
UNARY(repeat, ggml_repeat_4d(c, x[0], 6, 4, 2, 2))
UNARY(concat, ggml_concat(c, x[0], x[1], 1))
UNARY(permute, ggml_cont(c, ggml_permute(c, x[0], 2, 0, 3, 1)))
UNARY(transpose, ggml_mul(c, ggml_cont(c, ggml_transpose(c, x[0])), x[1]))
UNARY(reshape, ggml_sqr(c, ggml_reshape_3d(c, x[0], 2, 3, 4)))
UNARY(view, ggml_mul(c, ggml_cont(c, ggml_view_2d(c, x[0], 2, 4, x[0]->nb[1], 4)),
                     ggml_cont(c, ggml_view_2d(c, x[0], 2, 4, x[0]->nb[1], 16))))
UNARY(view_of_view, ggml_sqr(c, ggml_cont(c, ggml_view_2d(c, ggml_view_2d(c, x[0], 4, 4, x[0]->nb[1], 4), 2,
                                                          3, x[0]->nb[1], 4 + x[0]->nb[1]))))
UNARY(acc, ggml_acc(c, x[0], x[1], x[0]->nb[1], x[0]->nb[2], x[0]->nb[3], 4))
UNARY(pad, ggml_sqr(c, ggml_pad_ext(c, x[0], 1, 2, 0, 1, 0, 0, 0, 0)))
UNARY(rms, ggml_rms_norm(c, x[0], 1e-5f))
UNARY(norm, ggml_norm(c, x[0], 1e-5f))
UNARY(group_norm, ggml_group_norm(c, x[0], 2, 1e-5f))
UNARY(l2, ggml_l2_norm(c, x[0], 1e-6f))
UNARY(softmax, ggml_soft_max_ext(c, x[0], NULL, 0.5f, 0.0f))
UNARY(mul_mat, ggml_mul_mat(c, x[0], x[1]))
UNARY(out_prod, ggml_out_prod(c, x[0], x[1]))
UNARY(diag_mask, ggml_soft_max(c, ggml_diag_mask_inf(c, x[0], 1)))
UNARY(pool_avg, ggml_sqr(c, ggml_pool_2d(c, x[0], GGML_OP_POOL_AVG, 2, 2, 2, 2, 0, 0)))
UNARY(pool_max, ggml_sqr(c, ggml_pool_2d(c, x[0], GGML_OP_POOL_MAX, 2, 2, 2, 2, 0, 0)))
UNARY(pool_1d, ggml_sqr(c, ggml_pool_1d(c, x[0], GGML_OP_POOL_AVG, 2, 2, 0)))
UNARY(upscale, ggml_sqr(c, ggml_upscale(c, x[0], 2, GGML_SCALE_MODE_NEAREST)))
UNARY(upscale_parts, ggml_sqr(c, ggml_interpolate(c, x[0], 7, 3, 2, 1, GGML_SCALE_MODE_NEAREST)))
UNARY(bilinear, ggml_sqr(c, ggml_interpolate(c, x[0], 7, 5, 2, 2, GGML_SCALE_MODE_BILINEAR)))
UNARY(bilinear_aligned,
      ggml_sqr(c, ggml_interpolate(c, x[0], 7, 5, 2, 1,
                                   GGML_SCALE_MODE_BILINEAR | GGML_SCALE_FLAG_ALIGN_CORNERS)))
UNARY(bilinear_smooth, ggml_sqr(c, ggml_interpolate(c, x[0], 3, 5, 2, 1,
                                                    GGML_SCALE_MODE_BILINEAR | GGML_SCALE_FLAG_ANTIALIAS)))
UNARY(pure_bilinear, ggml_interpolate(c, x[0], 7, 5, 2, 1, GGML_SCALE_MODE_BILINEAR))
UNARY(pure_aligned,
      ggml_interpolate(c, x[0], 7, 5, 2, 1, GGML_SCALE_MODE_BILINEAR | GGML_SCALE_FLAG_ALIGN_CORNERS))
UNARY(pure_smooth,
      ggml_interpolate(c, x[0], 3, 5, 2, 1, GGML_SCALE_MODE_BILINEAR | GGML_SCALE_FLAG_ANTIALIAS))
UNARY(softmax_mask, ggml_soft_max_ext(c, x[0], x[1], 0.5f, 0.0f))
UNARY(softmax_alibi, ggml_soft_max_ext(c, x[0], x[1], 0.5f, 8.0f))
UNARY(conv_t1, ggml_conv_transpose_1d(c, x[0], x[1], 2, 0, 1))
UNARY(conv_t2, ggml_conv_transpose_2d_p0(c, x[0], x[1], 2))
/* As ggml_conv_2d of 0.15 does it; newer ones go through 16 bits, which have no derivatives. */
static T *make_conv2(C *c, T *const *x) {
    T *col = ggml_im2col(c, x[0], x[1], 2, 1, 1, 1, 1, 1, true, GGML_TYPE_F32);
    T *y = ggml_mul_mat(c, ggml_reshape_2d(c, col, col->ne[0], col->ne[1] * col->ne[2] * col->ne[3]),
                        ggml_reshape_2d(c, x[0], x[0]->ne[0] * x[0]->ne[1] * x[0]->ne[2], x[0]->ne[3]));
    y = ggml_reshape_4d(c, y, col->ne[1], col->ne[2], col->ne[3], x[0]->ne[3]);
    return ggml_cont(c, ggml_permute(c, y, 0, 1, 3, 2));
}

static T *make_conv3(C *c, T *const *x) { /* kernel [3, 2, 2, 2 x 3], volumes [5, 4, 4, 2 x 2] */
    T *col = ggml_im2col_3d(c, x[0], x[1], 2, 2, 1, 2, 1, 1, 1, 1, 1, 2, GGML_TYPE_F32);
    return ggml_mul_mat(c, ggml_reshape_2d(c, col, col->ne[0], ggml_nrows(col)),
                        ggml_reshape_2d(c, x[0], 3 * 2 * 2 * 2, 3));
}
static T *make_sinks(C *c, T *const *x) {
    T *y = ggml_soft_max_ext(c, x[0], NULL, 0.5f, 0.0f);
    ggml_soft_max_add_sinks(y, x[1]);
    return y;
}
static T *make_sinks_mask(C *c, T *const *x) { /* the mask has rows to spare */
    T *y = ggml_soft_max_ext(c, x[0], x[1], 0.8f, 4.0f);
    ggml_soft_max_add_sinks(y, x[2]);
    return y;
}

static lathe_fused *fused_ops;

static T *ids(C *c, int n, const int32_t *value) {
    T *t = ggml_new_tensor_1d(c, GGML_TYPE_I32, n);
    memcpy(t->data, value, (size_t) n * 4);
    return t;
}
static T *make_rows(C *c, T *const *x) { /* row 2 twice: contributions add */
    return ggml_sqr(c, ggml_get_rows(c, x[0], ids(c, 4, (int32_t[]){2, 0, 2, 1})));
}
static T *make_rope(C *c, T *const *x) {
    T *r = ggml_rope_ext(c, x[0], ids(c, 3, (int32_t[]){0, 3, 7}), NULL, 4, GGML_ROPE_TYPE_NEOX, 0, 10000.0f,
                         1.0f, 0.0f, 1.0f, 0.0f, 0.0f);
    return ggml_sqr(c, r);
}
static T *make_rope_normal(C *c, T *const *x) {
    T *r = ggml_rope_ext(c, x[0], ids(c, 3, (int32_t[]){0, 3, 7}), NULL, 6, 0, 0, 10000.0f, 0.25f, 1.0f, 1.0f,
                         32.0f, 1.0f);
    return ggml_sqr(c, r);
}
static T *make_conv1(C *c, T *const *x) {
    T *col = ggml_im2col(c, x[0], x[1], 1, 0, 1, 0, 2, 0, false, GGML_TYPE_F32);
    return ggml_mul_mat(c, ggml_reshape_2d(c, col, col->ne[0], col->ne[1]),
                        ggml_reshape_2d(c, x[0], 3 * 2, 4));
}
static T *make_ce(C *c, T *const *x) { /* second row ignored */
    T *labels = ggml_new_tensor_2d(c, GGML_TYPE_F32, 5, 3);
    memset(labels->data, 0, ggml_nbytes(labels));
    ((float *) labels->data)[1] = 1.0f;
    ((float *) labels->data)[14] = 1.0f;
    return ggml_cross_entropy_loss(c, x[0], labels);
}
/* Ops of ours (tensor/fused.h). */
UNARY(own_product, lathe_fused_product(fused_ops, c, x[0], x[1]))
UNARY(own_swiglu, lathe_fused_swiglu(fused_ops, c, x[0], x[1]))
UNARY(own_causal, lathe_fused_causal(fused_ops, c, x[0], x[1], x[2], 0.4f, 0, NULL))
UNARY(own_window, lathe_fused_causal(fused_ops, c, x[0], x[1], x[2], 0.4f, 5, NULL))
UNARY(own_ce, lathe_fused_ce(c, x[0], ids(c, 3, (int32_t[]){1, -1, 4})))
static T *make_own_documents(C *c, T *const *x) { /* in sequences of 9: documents from 0, 4, 5; from 0, 7 */
    const int32_t starts[18] = {0, 0, 0, 0, 4, 5, 5, 5, 5, 0, 0, 0, 0, 0, 0, 0, 7, 7};
    return lathe_fused_causal(fused_ops, c, x[0], x[1], x[2], 0.4f, 0, ids(c, 18, starts));
}
static T *make_own_dropout(C *c, T *const *x) {
    static lathe_dropout d = {.p = 0.4, .seed = 3, .step = 2};
    return ggml_sqr(c, lathe_fused_dropout(&d, c, x[0], 1, 0));
}

static T *make_masked(C *c, T *const *x) {
    T *mask = ggml_new_tensor_2d(c, GGML_TYPE_F32, 4, 4);
    for (int i = 0; i < 16; i++)
        ((float *) mask->data)[i] = i % 4 > i / 4 ? -INFINITY : -0.1f * (float) (i / 4 - i % 4);
    return ggml_soft_max_ext(c, x[0], mask, 0.7f, 8.0f);
}

static const op_case cases[] = {
    {"add", {{5, 3, 2, 1}, {5, 1, 1, 1}}, make_add, 0},
    {"sub", {{5, 3, 2, 1}, {5, 3, 1, 1}}, make_sub, 0},
    {"mul", {{5, 3, 2, 1}, {1, 3, 2, 1}}, make_mul, 0},
    {"square", {{5, 3, 1, 1}}, make_square, 0},
    {"div", {{5, 3, 2, 1}, {1, 3, 1, 1}}, make_div, POSITIVE},
    {"scale", {{5, 3, 1, 1}}, make_scale, 0},
    {"sqr", {{7, 1, 1, 1}}, make_sqr, 0},
    {"sqrt", {{7, 2, 1, 1}}, make_sqrt, POSITIVE},
    {"log", {{7, 2, 1, 1}}, make_log, POSITIVE},
    {"sin", {{7, 2, 1, 1}}, make_sin, 0},
    {"cos", {{7, 2, 1, 1}}, make_cos, 0},
    {"exp", {{7, 2, 1, 1}}, make_exp, 0},
    {"tanh", {{7, 2, 1, 1}}, make_tanh, 0},
    {"sigmoid", {{7, 2, 1, 1}}, make_sigmoid, 0},
    {"silu", {{7, 2, 1, 1}}, make_silu, 0},
    {"gelu_erf", {{7, 2, 1, 1}}, make_gelu_erf, 0},
    {"elu", {{7, 2, 1, 1}}, make_elu, POSITIVE},
    {"softplus", {{7, 2, 1, 1}}, make_softplus, 0},
    {"relu", {{7, 2, 1, 1}}, make_relu, KINKS},
    {"leaky", {{7, 2, 1, 1}}, make_leaky, KINKS},
    {"neg", {{7, 2, 1, 1}}, make_neg, 0},
    {"clamp", {{7, 2, 1, 1}}, make_clamp, KINKS},
    {"softcap", {{7, 2, 1, 1}}, make_softcap, 0},
    {"swiglu", {{8, 3, 1, 1}}, make_swiglu, 0},
    {"swiglu_split", {{4, 3, 1, 1}, {4, 3, 1, 1}}, make_swiglu_split, 0},
    {"geglu_erf", {{4, 3, 1, 1}, {4, 3, 1, 1}}, make_geglu_erf, 0},
    {"sum", {{4, 3, 2, 1}}, make_sum, 0},
    {"sum_rows", {{4, 3, 2, 1}}, make_sum_rows, 0},
    {"mean", {{4, 3, 2, 1}}, make_mean, 0},
    {"repeat", {{3, 2, 1, 2}}, make_repeat, 0},
    {"concat", {{3, 2, 2, 1}, {3, 4, 2, 1}}, make_concat, 0},
    {"permute", {{2, 3, 4, 2}}, make_permute, 0},
    {"transpose", {{3, 4, 1, 1}, {4, 3, 1, 1}}, make_transpose, 0},
    {"reshape", {{4, 6, 1, 1}}, make_reshape, 0},
    {"view", {{6, 4, 1, 1}}, make_view, 0},
    {"view of view", {{6, 4, 1, 1}}, make_view_of_view, 0},
    {"acc", {{5, 3, 1, 1}, {2, 2, 1, 1}}, make_acc, 0},
    {"pad", {{3, 2, 2, 1}}, make_pad, 0},
    {"get_rows", {{3, 4, 1, 1}}, make_rows, 0},
    {"rms_norm", {{6, 3, 2, 1}}, make_rms, 0},
    {"norm", {{6, 3, 1, 1}}, make_norm, 0},
    {"group_norm", {{3, 2, 4, 2}}, make_group_norm, 0},
    {"l2_norm", {{6, 3, 1, 1}}, make_l2, 0},
    {"softmax", {{6, 3, 2, 1}}, make_softmax, 0},
    {"softmax masked, ALiBi", {{4, 4, 2, 1}}, make_masked, 0},
    {"softmax, mask shared by heads", {{4, 3, 2, 2}, {4, 3, 1, 2}}, make_softmax_mask, 0},
    {"softmax, ALiBi, 6 heads", {{4, 3, 6, 1}, {4, 3, 1, 1}}, make_softmax_alibi, 0},
    {"softmax, sinks", {{4, 3, 2, 2}, {2, 1, 1, 1}}, make_sinks, 0},
    {"softmax, mask and sinks", {{4, 3, 3, 1}, {4, 5, 1, 1}, {3, 1, 1, 1}}, make_sinks_mask, 0},
    {"diag_mask_inf", {{4, 3, 1, 1}}, make_diag_mask, 0},
    {"cross_entropy", {{5, 3, 1, 1}}, make_ce, 0},
    {"rope neox, partial", {{6, 2, 3, 1}}, make_rope, 0},
    {"rope yarn", {{6, 2, 3, 1}}, make_rope_normal, 0},
    {"mul_mat", {{6, 3, 1, 1}, {6, 4, 1, 1}}, make_mul_mat, 0},
    {"mul_mat folded", {{6, 3, 1, 1}, {6, 4, 2, 2}}, make_mul_mat, 0},
    {"mul_mat grouped heads", {{6, 3, 2, 2}, {6, 4, 6, 2}}, make_mul_mat, 0},
    {"mul_mat broadcast over the fourth", {{6, 3, 2, 1}, {6, 4, 4, 2}}, make_mul_mat, 0},
    {"out_prod batched", {{4, 5, 2, 2}, {3, 5, 2, 2}}, make_out_prod, 0},
    {"out_prod grouped heads", {{4, 5, 2, 1}, {3, 5, 6, 2}}, make_out_prod, 0},
    {"out_prod", {{4, 5, 1, 1}, {3, 5, 1, 1}}, make_out_prod, 0},
    {"conv_1d", {{3, 2, 4, 1}, {8, 2, 1, 1}}, make_conv1, 0},
    {"conv_2d", {{3, 2, 2, 3}, {7, 5, 2, 2}}, make_conv2, 0},
    {"conv_3d", {{3, 2, 2, 6}, {5, 4, 4, 4}}, make_conv3, 0},
    {"conv_transpose_1d", {{3, 4, 2, 1}, {5, 2, 1, 1}}, make_conv_t1, 0},
    {"conv_transpose_2d", {{3, 3, 2, 3}, {4, 3, 3, 1}}, make_conv_t2, 0},
    {"pool_2d avg", {{6, 4, 2, 1}}, make_pool_avg, 0},
    {"pool_2d max", {{6, 4, 2, 1}}, make_pool_max, KINKS},
    {"pool_1d", {{6, 4, 1, 1}}, make_pool_1d, 0},
    {"own product", {{6, 3, 1, 1}, {6, 4, 1, 1}}, make_own_product, 0},
    {"own SwiGLU", {{4, 3, 1, 1}, {4, 3, 1, 1}}, make_own_swiglu, 0},
    {"own attention, blocks", {{4, 70, 2, 1}, {4, 70, 1, 1}, {4, 70, 1, 1}}, make_own_causal, 0},
    {"own attention, window", {{4, 9, 4, 2}, {4, 9, 2, 2}, {4, 9, 2, 2}}, make_own_window, 0},
    {"own attention, documents", {{4, 9, 4, 2}, {4, 9, 2, 2}, {4, 9, 2, 2}}, make_own_documents, 0},
    {"own cross entropy", {{5, 3, 1, 1}}, make_own_ce, 0},
    {"own dropout", {{8, 3, 1, 1}}, make_own_dropout, 0},
    {"upscale", {{3, 2, 2, 1}}, make_upscale, 0},
    {"upscale by parts", {{3, 5, 2, 1}}, make_upscale_parts, 0},
    {"bilinear", {{4, 3, 2, 2}}, make_bilinear, 0},
    {"bilinear, aligned corners", {{4, 3, 2, 1}}, make_bilinear_aligned, 0},
    {"bilinear, antialiased", {{8, 3, 2, 1}}, make_bilinear_smooth, 0},
};

/* --- Harness -------------------------------------------------------------------------------------- */

static C *context(void) {
    C *c = ggml_init((struct ggml_init_params){.mem_size = 32u << 20});
    assert_non_null(c);
    return c;
}
static void compute(C *c, T *const *out, int n) {
    struct ggml_cgraph *g = ggml_new_graph_custom(c, 8192, false);
    for (int i = 0; i < n; i++)
        ggml_build_forward_expand(g, out[i]);
    run_graph(g, 1);
}
static double dot(const T *a, const T *b) {
    double s = 0;
    for (int64_t i = 0; i < ggml_nelements(a); i++)
        s += (double) ((float *) a->data)[i] * ((float *) b->data)[i];
    return s;
}
static double size(const T *a, const T *b) { /* sum of absolute products: the scale of dot's rounding */
    double s = 1e-12;
    for (int64_t i = 0; i < ggml_nelements(a); i++)
        s += fabs((double) ((float *) a->data)[i] * ((float *) b->data)[i]);
    return s;
}
static T *random_like(C *c, const int64_t *ne, lathe_rng *rng, bool positive) {
    T *t = ggml_new_tensor_4d(c, GGML_TYPE_F32, ne[0], ne[1], ne[2], ne[3]);
    for (int64_t i = 0; i < ggml_nelements(t); i++)
        ((float *) t->data)[i] =
            (float) (positive ? 0.5 + lathe_rng_uniform(rng) : 0.9 * lathe_rng_normal(rng));
    return t;
}

typedef struct problem {
    C *c;
    T *x[MAX_IN], *u[MAX_IN], *v[MAX_IN], *weight, *y, *value;
    int n;
} problem;

/* value = sum(weight * y(x)), with random directions u and v. */
static problem make(const op_case *oc) {
    problem p = {.c = context()};
    lathe_rng rng = lathe_rng_new(7, 37, 0), noise = lathe_rng_new(8, 37, 0);
    for (; p.n < MAX_IN && oc->shape[p.n][0] != 0; p.n++)
        p.x[p.n] = random_like(p.c, oc->shape[p.n], &rng, oc->flags & POSITIVE);
    for (int i = 0; i < p.n; i++) {
        p.u[i] = random_like(p.c, oc->shape[i], &noise, false);
        p.v[i] = random_like(p.c, oc->shape[i], &noise, false);
    }
    p.y = oc->make(p.c, p.x);
    p.weight = random_like(p.c, p.y->ne, &noise, false);
    p.value = ggml_sum(p.c, ggml_mul(p.c, ggml_cont(p.c, p.y), p.weight));
    return p;
}
static void shift(problem *p, double h) {
    for (int i = 0; i < p->n; i++)
        for (int64_t k = 0; k < ggml_nelements(p->x[i]); k++)
            ((float *) p->x[i]->data)[k] += (float) h * ((float *) p->v[i]->data)[k];
}

static void first_order(void **state) {
    (void) state;
    for (size_t k = 0; k < LATHE_LEN(cases); k++) {
        problem p = make(&cases[k]);
        lathe_error err = {0};
        T *grads[MAX_IN], *fused[MAX_IN], *tangent, *out[2 * MAX_IN + 2];
        check_ok(lathe_tensor_vjp(p.c, &p.y, &p.weight, 1, p.x, (size_t) p.n, NULL, grads, &err), err);
        check_ok(lathe_tensor_vjp(p.c, &p.y, &p.weight, 1, p.x, (size_t) p.n,
                                  &(lathe_diff_opts){.fused = true}, fused, &err),
                 err);
        check_ok(lathe_tensor_jvp(p.c, &p.y, 1, p.x, p.v, (size_t) p.n, NULL, &tangent, &err), err);
        tangent = ggml_cont(p.c, tangent);
        int n = 0;
        for (int i = 0; i < p.n; i++) {
            out[n++] = grads[i];
            out[n++] = fused[i];
        }
        out[n++] = tangent;
        out[n++] = p.value;
        compute(p.c, out, n);
        double back = 0, back_fused = 0, forward = dot(tangent, p.weight), scale = size(tangent, p.weight);
        for (int i = 0; i < p.n; i++) {
            assert_true(ggml_are_same_shape(grads[i], p.x[i]));
            back += dot(grads[i], p.v[i]);
            back_fused += dot(fused[i], p.v[i]);
        }
        const double h = 4e-3;
        shift(&p, h);
        compute(p.c, &p.value, 1);
        double up = ((float *) p.value->data)[0];
        shift(&p, -2 * h);
        compute(p.c, &p.value, 1);
        double slope = (up - ((float *) p.value->data)[0]) / (2 * h);
        if (fabs(back - forward) > 2e-5 * scale || fabs(back_fused - forward) > 2e-5 * scale ||
            fabs(slope - forward) > 2e-3 * scale)
            fail_msg("%s: J^T %.9g (fused %.9g), J %.9g, difference %.9g", cases[k].name, back, back_fused,
                     forward, slope);
        ggml_free(p.c);
    }
}

static void second_order(void **state) {
    (void) state;
    for (size_t k = 0; k < LATHE_LEN(cases); k++) {
        problem p = make(&cases[k]);
        lathe_error err = {0};
        T *grads[MAX_IN], *hv[MAX_IN], *hu[MAX_IN], *fused[MAX_IN], *out[4 * MAX_IN];
        T *squared = ggml_sum(p.c, ggml_sqr(p.c, ggml_add(p.c, ggml_cont(p.c, p.y), p.weight)));
        check_ok(lathe_tensor_hvp(p.c, squared, p.x, p.v, (size_t) p.n, NULL, grads, hv, &err), err);
        check_ok(lathe_tensor_hvp(p.c, squared, p.x, p.u, (size_t) p.n, NULL, NULL, hu, &err), err);
        check_ok(lathe_tensor_hvp(p.c, squared, p.x, p.v, (size_t) p.n, &(lathe_diff_opts){.fused = true},
                                  NULL, fused, &err),
                 err);
        for (int i = 0; i < p.n; i++) {
            out[3 * p.n + i] = fused[i] = ggml_cont(p.c, fused[i]);
            out[i] = grads[i] = ggml_cont(p.c, grads[i]);
            out[p.n + i] = hv[i] = ggml_cont(p.c, hv[i]);
            out[2 * p.n + i] = hu[i] = ggml_cont(p.c, hu[i]);
        }
        compute(p.c, out, 4 * p.n);
        double uhv = 0, by_fused = 0, vhu = 0, scale = 0, up = 0, down = 0;
        for (int i = 0; i < p.n; i++) {
            uhv += dot(p.u[i], hv[i]);
            by_fused += dot(p.u[i], fused[i]);
            vhu += dot(p.v[i], hu[i]);
            scale += size(p.u[i], hv[i]) + size(p.v[i], hu[i]);
        }
        const double h = 4e-3;
        shift(&p, h);
        compute(p.c, grads, p.n);
        for (int i = 0; i < p.n; i++)
            up += dot(grads[i], p.u[i]);
        shift(&p, -2 * h);
        compute(p.c, grads, p.n);
        for (int i = 0; i < p.n; i++)
            down += dot(grads[i], p.u[i]);
        double slope = (up - down) / (2 * h);
        if (fabs(uhv - vhu) > 1e-4 * scale || fabs(by_fused - uhv) > 1e-4 * scale ||
            (!(cases[k].flags & KINKS) && fabs(slope - uhv) > 4e-3 * scale))
            fail_msg("%s: <u,Hv> %.9g (fused %.9g), <v,Hu> %.9g, difference %.9g", cases[k].name, uhv,
                     by_fused, vhu, slope);
        ggml_free(p.c);
    }
}

/* Values of PyTorch's autograd: x = (1, 2, -1), g = (.5, -1, 2), eps 1e-5. */
static void known_numbers(void **state) {
    (void) state;
    const struct {
        T *(*make)(C *, T *const *);
        double dx[3], tol;
    } known[] = {
        {make_rms, {.7660284, .1178467, 1.0017342}, 2e-6},
        {make_norm, {.2577137, -.1718169, -.0858968}, 2e-6},
        {make_softmax, {.1055653, -.2358643, .1302990}, 1e-6},
        {make_softcap, {.3932239, -.4199743, 1.5728955}, 1e-6},
        {make_gelu_erf, {.5 * 1.08331547, -1.08523180, 2 * -.08331547}, 2e-6},
        {make_silu, {.5 * .92767051, -1.09078425, 2 * .07232949}, 2e-6},
    };
    for (size_t k = 0; k < LATHE_LEN(known); k++) {
        C *c = context();
        lathe_error err = {0};
        T *x = ggml_new_tensor_1d(c, GGML_TYPE_F32, 3), *g = ggml_new_tensor_1d(c, GGML_TYPE_F32, 3), *dx;
        memcpy(x->data, (float[]){1, 2, -1}, 12);
        memcpy(g->data, (float[]){.5f, -1, 2}, 12);
        T *y = known[k].make(c, &x);
        check_ok(lathe_tensor_vjp(c, &y, &g, 1, &x, 1, NULL, &dx, &err), err);
        compute(c, &dx, 1);
        for (int i = 0; i < 3; i++)
            check_near(((float *) dx->data)[i], known[k].dx[i], known[k].tol);
        ggml_free(c);
    }
}

/* PyTorch's autograd on ops of images and attention (tests/reference/rules.py): the first four elements of
 * each gradient and the sum of absolute values. */
static void pytorch_numbers(void **state) {
    (void) state;
    const struct {
        const char *name;
        T *(*make)(C *, T *const *);
        int64_t shape[MAX_IN][4];
        double dx[MAX_IN][5];
    } known[] = {
        {"conv_3d",
         make_conv3,
         {{3, 2, 2, 6}, {5, 4, 4, 4}},
         {{-0.1342367, 0.0739216, 0.6871607, 0.2602980, 66.4107912}, {0, 0, 0, 0, 76.3982829}}},
        {"bilinear",
         make_pure_bilinear,
         {{4, 3, 2, 1}},
         {{1.6747839, -1.4789830, -1.0690730, 1.9659800, 34.2753217}}},
        {"aligned",
         make_pure_aligned,
         {{4, 3, 2, 1}},
         {{1.6107273, -1.3427000, -1.0034003, 1.7666883, 34.1418770}}},
        {"antialiased",
         make_pure_smooth,
         {{8, 3, 2, 1}},
         {{0.1175276, 0.1637915, 0.1208450, 0.0778985, 3.8620348}}},
        {"sinks",
         make_sinks_mask,
         {{4, 3, 3, 1}, {4, 3, 1, 1}, {3, 1, 1, 1}},
         {{0.1334969, 0.0705339, -0.0769314, -0.0855606, 3.1533896},
          {0.0485723, 0.0921319, 0.0207398, -0.1333557, 1.0630438},
          {-0.0807921, -0.1106152, -0.0282548, 0, 0.2196621}}},
        {"out_prod",
         make_out_prod,
         {{4, 5, 2, 1}, {3, 5, 4, 2}},
         {{-1.5267995, -0.6153520, 0.8618472, 1.5466681, 43.5573963},
          {2.0232686, -0.7271447, -1.0726816, -2.3627532, 157.7883727}}},
    };
    for (size_t k = 0; k < LATHE_LEN(known); k++) {
        C *c = context();
        lathe_error err = {0};
        T *x[MAX_IN], *dx[MAX_IN];
        int n = 0;
        for (; n < MAX_IN && known[k].shape[n][0] != 0; n++) {
            const int64_t *ne = known[k].shape[n];
            x[n] = ggml_new_tensor_4d(c, GGML_TYPE_F32, ne[0], ne[1], ne[2], ne[3]);
            for (int64_t i = 0; i < ggml_nelements(x[n]); i++)
                ((float *) x[n]->data)[i] = (float) sin(1 + (double) i + 10 * n);
        }
        T *y = known[k].make(c, x), *g = ggml_dup_tensor(c, y);
        for (int64_t i = 0; i < ggml_nelements(g); i++)
            ((float *) g->data)[i] = (float) cos((double) i);
        check_ok(lathe_tensor_vjp(c, &y, &g, 1, x, (size_t) n, NULL, dx, &err), err);
        compute(c, dx, n);
        for (int i = 0; i < n; i++) {
            double size = 0;
            const float *got = dx[i]->data;
            for (int64_t j = 0; j < ggml_nelements(dx[i]); j++) {
                size += fabs((double) got[j]);
                if (j < 4)
                    check_near(got[j], known[k].dx[i][j], 2e-5);
            }
            check_near(size, known[k].dx[i][4], 1e-4);
        }
        ggml_free(c);
    }
}

/* learning.md E.g.1: logistic regression, loss, gradient and Hessian-vector product by hand. */
static void logistic_regression(void **state) {
    (void) state;
    C *c = context();
    lathe_error err = {0};
    T *x = ggml_new_tensor_2d(c, GGML_TYPE_F32, 2, 3), *w = ggml_new_tensor_1d(c, GGML_TYPE_F32, 2);
    T *v = ggml_new_tensor_1d(c, GGML_TYPE_F32, 2), *sign = ggml_new_tensor_1d(c, GGML_TYPE_F32, 3), *g, *hv,
      *out[2];
    memcpy(x->data, (float[]){1, 2, 0, 1, 3, -1}, 24);
    memcpy(w->data, (float[]){.5f, -.25f}, 8);
    memcpy(v->data, (float[]){1, -2}, 8);
    memcpy(sign->data, (float[]){-1, 1, -1}, 12); /* y = 1, 0, 1 */
    T *margin = ggml_mul(c, ggml_reshape_1d(c, ggml_mul_mat(c, x, w), 3), sign);
    T *loss = ggml_scale(c, ggml_sum(c, ggml_softplus(c, margin)), 1.0f / 3);
    check_ok(lathe_tensor_hvp(c, loss, &w, &v, 1, NULL, &g, &hv, &err), err);
    out[0] = g = ggml_cont(c, g);
    out[1] = hv;
    compute(c, out, 2);
    check_near(((float *) loss->data)[0], .4764369170, 1e-6);
    check_near(((float *) g->data)[0], -.314714, 1e-6);
    check_near(((float *) g->data)[1], -.138043, 1e-6);
    check_near(((float *) hv->data)[0], .380646, 2e-6);
    check_near(((float *) hv->data)[1], -.874305, 2e-6);
    ggml_free(c);
}

/* A missing rule and an op in place are errors that name the op; a rule that is wrong is caught by the
 * identity. */
static void refusals(void **state) {
    (void) state;
    C *c = context();
    lathe_error err = {0};
    T *x = ggml_new_tensor_2d(c, GGML_TYPE_F32, 4, 4), *g;
    T *loss = ggml_sum(c, ggml_cumsum(c, x));
    assert_int_equal(lathe_tensor_grad(c, loss, &x, 1, NULL, &g, &err), LATHE_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "CUMSUM"));
    loss = ggml_sum(c, ggml_scale_inplace(c, ggml_sqr(c, x), 2.0f));
    assert_int_equal(lathe_tensor_grad(c, loss, &x, 1, NULL, &g, &err), LATHE_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "in place"));
    assert_int_equal(lathe_tensor_grad(c, ggml_sqr(c, x), &x, 1, NULL, &g, &err), LATHE_ERR_ARG);
    ggml_free(c);
}

/* Negative: rope's VJP with the forward rotation, and the norm rule without its second term, break the
 * identity. */
static void wrong_rules_are_seen(void **state) {
    (void) state;
    for (int which = 0; which < 2; which++) {
        C *c = context();
        lathe_error err = {0};
        lathe_rng rng = lathe_rng_new(3, 37, 0);
        T *x = random_like(c, (int64_t[]){6, 2, 3, 1}, &rng, false), *v = random_like(c, x->ne, &rng, false);
        T *g = random_like(c, x->ne, &rng, false), *pos = ids(c, 3, (int32_t[]){1, 3, 7}), *jv, *bad, *out[2];
        T *y = which == 0 ? ggml_rope(c, x, pos, 6, 0) : ggml_rms_norm(c, x, 1e-5f);
        check_ok(lathe_tensor_jvp(c, &y, 1, &x, &v, 1, NULL, &jv, &err), err);
        bad = which == 0 ? ggml_rope(c, g, pos, 6, 0)
                         : ggml_div(c, g,
                                    ggml_sqrt(c, ggml_scale_bias(c, ggml_sum_rows(c, ggml_sqr(c, x)),
                                                                 1.0f / 6, 1e-5f)));
        out[0] = jv;
        out[1] = bad;
        compute(c, out, 2);
        assert_true(fabs(dot(jv, g) - dot(bad, v)) > 1e-3 * size(jv, g));
        ggml_free(c);
    }
}

/* Taylor coefficients of a loss along a line: with gradient and Hessian taken off, what is left of the odd
 * part falls 8 times and of the even part 16 times when the step halves. */
static void taylor(void **state) {
    (void) state;
    C *c = context();
    lathe_error err = {0};
    lathe_rng rng = lathe_rng_new(12, 37, 0);
    T *w = random_like(c, (int64_t[]){5, 6, 1, 1}, &rng, false), *u = random_like(c, w->ne, &rng, false);
    T *x = random_like(c, (int64_t[]){5, 7, 1, 1}, &rng, false),
      *v = random_like(c, (int64_t[]){6, 4, 1, 1}, &rng, false);
    T *labels = ggml_new_tensor_2d(c, GGML_TYPE_F32, 4, 7), *g, *hv;
    memset(labels->data, 0, ggml_nbytes(labels));
    for (int i = 0; i < 7; i++)
        ((float *) labels->data)[4 * i + i % 4] = 1;
    T *loss = ggml_cross_entropy_loss(c, ggml_mul_mat(c, v, ggml_silu(c, ggml_mul_mat(c, w, x))), labels);
    check_ok(lathe_tensor_hvp(c, loss, &w, &u, 1, NULL, &g, &hv, &err), err);
    T *out[3] = {loss, g, hv};
    compute(c, out, 3);
    double l0 = (double) *(float *) loss->data, slope = dot(g, u), bend = dot(hv, u), odd[3], even[3];
    float start[30];
    memcpy(start, w->data, sizeof start);
    for (int k = 0; k < 3; k++) {
        double e = 0.25 / (1 << k), side[2];
        for (int s = 0; s < 2; s++) {
            for (int i = 0; i < 30; i++)
                ((float *) w->data)[i] =
                    (float) (start[i] + (s == 0 ? e : -e) * (double) ((float *) u->data)[i]);
            compute(c, &loss, 1);
            side[s] = (double) *(float *) loss->data;
        }
        odd[k] = (side[0] - side[1]) / 2 - e * slope;
        even[k] = (side[0] + side[1]) / 2 - l0 - e * e / 2 * bend;
    }
    for (int k = 0; k < 2; k++)
        if (!(odd[k] / odd[k + 1] > 6 && odd[k] / odd[k + 1] < 10 && even[k] / even[k + 1] > 10 &&
              even[k] / even[k + 1] < 22))
            fail_msg("step %d: odd %.3g -> %.3g, even %.3g -> %.3g", k, odd[k], odd[k + 1], even[k],
                     even[k + 1]);
    ggml_free(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(taylor),          cmocka_unit_test(first_order),
        cmocka_unit_test(second_order),    cmocka_unit_test(known_numbers),
        cmocka_unit_test(pytorch_numbers), cmocka_unit_test(logistic_regression),
        cmocka_unit_test(refusals),        cmocka_unit_test(wrong_rules_are_seen),
    };
    lathe_error err = {0};
    if (lathe_fused_new(1, 128, &fused_ops, &err) != LATHE_OK)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    lathe_fused_free(fused_ops);
    return failed;
}
