/* rule_cases.h - one case for each derivative rule, and random problems of them: checked in f32 on ggml's
 * kernels (test_rules.c) and in double (test_rules_double.c). Included once by each. */
#ifndef LATHE_TESTS_RULE_CASES_H
#define LATHE_TESTS_RULE_CASES_H

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
UNARY(leaky, ggml_leaky_relu(c, x[0], 0.125f, false))
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
static T *make_rope_plain(C *c, T *const *x) {
    return ggml_rope(c, x[0], ids(c, 3, (int32_t[]){1, 3, 7}), 6, 0);
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
    T *labels = ggml_new_tensor_2d(c, GGML_TYPE_F32, 5, 4);
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
    {"rms_norm", {{8, 3, 2, 1}}, make_rms, 0},
    {"norm", {{8, 3, 1, 1}}, make_norm, 0},
    {"group_norm", {{4, 2, 4, 2}}, make_group_norm, 0},
    {"l2_norm", {{6, 3, 1, 1}}, make_l2, 0},
    {"softmax", {{6, 3, 2, 1}}, make_softmax, 0},
    {"softmax masked, ALiBi", {{4, 4, 2, 1}}, make_masked, 0},
    {"softmax, mask shared by heads", {{4, 3, 2, 2}, {4, 3, 1, 2}}, make_softmax_mask, 0},
    {"softmax, ALiBi, 6 heads", {{4, 3, 6, 1}, {4, 3, 1, 1}}, make_softmax_alibi, 0},
    {"softmax, sinks", {{4, 3, 2, 2}, {2, 1, 1, 1}}, make_sinks, 0},
    {"softmax, mask and sinks", {{4, 3, 3, 1}, {4, 5, 1, 1}, {3, 1, 1, 1}}, make_sinks_mask, 0},
    {"diag_mask_inf", {{4, 3, 1, 1}}, make_diag_mask, 0},
    {"cross_entropy", {{5, 4, 1, 1}}, make_ce, 0},
    {"rope neox, partial", {{6, 2, 3, 1}}, make_rope, 0},
    {"rope", {{6, 2, 3, 1}}, make_rope_plain, 0},
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
    {"bilinear values", {{4, 3, 2, 1}}, make_pure_bilinear, 0},
    {"aligned values", {{4, 3, 2, 1}}, make_pure_aligned, 0},
    {"antialiased values", {{8, 3, 2, 1}}, make_pure_smooth, 0},
    {"bilinear, antialiased", {{8, 3, 2, 1}}, make_bilinear_smooth, 0},
};

/* --- Problems ----------------------------------------------------------------------------------------- */

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
#endif
