/* rules_elementwise.c - arithmetic, unary functions, gated units, clamp: Jacobians that are diagonal. */
#include <math.h>

#include "tensor/diff.h"

typedef struct ggml_tensor T;

/* Elementwise operations want a left operand of full shape with unit stride. */
static T *mul(lathe_diff *d, T *a, T *b) {
    return ggml_mul(d->ctx, lathe_diff_cont(d, a), b);
}

/* --- Arithmetic with broadcasting of the second operand -------------------------------------------- */

static void add_vjp(lathe_diff *d, T *y, T *g) {
    lathe_diff_add(d, y->src[0], g);
    if (lathe_diff_needs(d, y->src[1]))
        lathe_diff_add(d, y->src[1], lathe_diff_sum_to(d, g, y->src[1]));
}
static T *add_jvp(lathe_diff *d, T *y, T *const *t) {
    T *b = t[1];
    if (t[0] == NULL)
        return ggml_are_same_shape(b, y) ? lathe_diff_cont(d, b) : ggml_repeat(d->ctx, b, y);
    return b == NULL ? lathe_diff_cont(d, t[0]) : ggml_add(d->ctx, lathe_diff_cont(d, t[0]), b);
}

static void sub_vjp(lathe_diff *d, T *y, T *g) {
    lathe_diff_add(d, y->src[0], g);
    if (lathe_diff_needs(d, y->src[1]))
        lathe_diff_add(d, y->src[1],
                       ggml_scale(d->ctx, lathe_diff_cont(d, lathe_diff_sum_to(d, g, y->src[1])), -1.0f));
}
static T *sub_jvp(lathe_diff *d, T *y, T *const *t) {
    if (t[1] == NULL)
        return lathe_diff_cont(d, t[0]);
    T *minus = ggml_scale(d->ctx, lathe_diff_cont(d, t[1]), -1.0f);
    T *both[GGML_MAX_SRC] = {t[0], minus};
    return add_jvp(d, y, both);
}

static void mul_vjp(lathe_diff *d, T *y, T *g) {
    T *a = y->src[0], *b = y->src[1];
    if (lathe_diff_needs(d, a))
        lathe_diff_add(d, a, mul(d, g, b));
    if (lathe_diff_needs(d, b))
        lathe_diff_add(d, b, lathe_diff_sum_to(d, mul(d, g, a), b));
}
static T *mul_jvp(lathe_diff *d, T *y, T *const *t) {
    T *first = t[0] == NULL ? NULL : mul(d, t[0], y->src[1]);
    T *second = t[1] == NULL ? NULL : mul(d, y->src[0], t[1]);
    return lathe_diff_plus(d, first, second);
}

static void div_vjp(lathe_diff *d, T *y, T *g) {
    T *a = y->src[0], *b = y->src[1];
    T *q = ggml_div(d->ctx, lathe_diff_cont(d, g), b);
    lathe_diff_add(d, a, q);
    if (lathe_diff_needs(d, b))
        lathe_diff_add(d, b,
                       ggml_scale(d->ctx, lathe_diff_cont(d, lathe_diff_sum_to(d, mul(d, q, y), b)), -1.0f));
}
static T *div_jvp(lathe_diff *d, T *y, T *const *t) {
    T *top = t[0] == NULL ? NULL : lathe_diff_cont(d, t[0]);
    if (t[1] != NULL) {
        T *part = ggml_scale(d->ctx, mul(d, y, t[1]), -1.0f);
        top = lathe_diff_plus(d, top, part);
    }
    return ggml_div(d->ctx, top, y->src[1]);
}

static void add1_vjp(lathe_diff *d, T *y, T *g) {
    lathe_diff_add(d, y->src[0], g);
    if (lathe_diff_needs(d, y->src[1]))
        lathe_diff_add(d, y->src[1], ggml_sum(d->ctx, lathe_diff_cont(d, g)));
}

/* --- Functions of one operand: one slope serves both modes ----------------------------------------- */

static T *sech2(lathe_diff *d, T *tanh_x) { /* 1 - tanh^2 */
    return ggml_scale_bias(d->ctx, ggml_sqr(d->ctx, tanh_x), -1.0f, 1.0f);
}

/* s (1 - s) for s = sigmoid. */
static T *logistic_slope(lathe_diff *d, T *s) {
    return ggml_mul(d->ctx, s, ggml_scale_bias(d->ctx, s, -1.0f, 1.0f));
}

/* x sigmoid(c x): slope s + c x s (1 - s). */
static T *swish_slope(lathe_diff *d, T *x, float c) {
    T *s = ggml_sigmoid(d->ctx, c == 1.0f ? x : ggml_scale(d->ctx, x, c));
    return ggml_add(d->ctx, s, ggml_scale(d->ctx, ggml_mul(d->ctx, x, logistic_slope(d, s)), c));
}

static T *gelu_tanh_slope(lathe_diff *d, T *x) {
    const float k = 0.7978845608028654f, c = 0.044715f; /* sqrt(2 / pi) */
    T *x2 = ggml_sqr(d->ctx, x);
    T *u = ggml_scale(d->ctx, ggml_mul(d->ctx, x, ggml_scale_bias(d->ctx, x2, c, 1.0f)), k);
    T *t = ggml_tanh(d->ctx, u);
    T *du = ggml_scale_bias(d->ctx, x2, 3.0f * c * k, k);
    T *right = ggml_mul(d->ctx, ggml_mul(d->ctx, x, sech2(d, t)), du);
    return ggml_scale_bias(d->ctx, ggml_add(d->ctx, t, right), 0.5f, 0.5f);
}

/* Phi(x) + x phi(x). ggml has no erf of its own, but x Phi(x) = gelu_erf(x): with r = sqrt(x^2 + tiny) > 0,
 * Phi(x) = 1/2 + sign(x) (gelu_erf(r) / r - 1/2). */
static T *gelu_erf_slope(lathe_diff *d, T *x) {
    const float inv_sqrt_2pi = 0.3989422804014327f, tiny = 1e-12f;
    T *x2 = ggml_sqr(d->ctx, x);
    T *r = ggml_sqrt(d->ctx, ggml_scale_bias(d->ctx, x2, 1.0f, tiny));
    T *upper = ggml_scale_bias(d->ctx, ggml_div(d->ctx, ggml_gelu_erf(d->ctx, r), r), 1.0f, -0.5f);
    T *cdf = ggml_scale_bias(d->ctx, ggml_mul(d->ctx, upper, ggml_sgn(d->ctx, x)), 1.0f, 0.5f);
    T *pdf = ggml_scale(d->ctx, ggml_exp(d->ctx, ggml_scale(d->ctx, x2, -0.5f)), inv_sqrt_2pi);
    return ggml_add(d->ctx, cdf, ggml_mul(d->ctx, x, pdf));
}

T *lathe_diff_slope(lathe_diff *d, enum ggml_unary_op op, T *x, T *y) {
    struct ggml_context *ctx = d->ctx;
    x = lathe_diff_cont(d, x);
    switch (op) {
    case GGML_UNARY_OP_NEG:
        return ggml_fill(ctx, x, -1.0f);
    case GGML_UNARY_OP_ABS:
        return ggml_sgn(ctx, x);
    case GGML_UNARY_OP_RELU:
        return ggml_step(ctx, x);
    case GGML_UNARY_OP_TANH:
        return sech2(d, y);
    case GGML_UNARY_OP_SIGMOID:
        return logistic_slope(d, y);
    case GGML_UNARY_OP_SOFTPLUS:
        return ggml_sigmoid(ctx, x);
    case GGML_UNARY_OP_EXP:
        return y;
    case GGML_UNARY_OP_EXPM1:
        return ggml_scale_bias(ctx, y, 1.0f, 1.0f);
    case GGML_UNARY_OP_SILU:
        return swish_slope(d, x, 1.0f);
    case GGML_UNARY_OP_GELU_QUICK:
        return swish_slope(d, x, 1.702f);
    case GGML_UNARY_OP_GELU:
        return gelu_tanh_slope(d, x);
    case GGML_UNARY_OP_GELU_ERF:
        return gelu_erf_slope(d, x);
    case GGML_UNARY_OP_ELU: /* 1 right of 0, e^x left of it: exp(min(x, 0)) = exp(-relu(-x)) */
        return ggml_exp(ctx, ggml_scale(ctx, ggml_relu(ctx, ggml_scale(ctx, x, -1.0f)), -1.0f));
    default:
        return NULL;
    }
}

/* Slope of y = f(x) for every op of this family with one operand; NULL where the derivative is zero. */
static T *slope(lathe_diff *d, T *y) {
    struct ggml_context *ctx = d->ctx;
    T *x = y->src[0];
    switch (y->op) {
    case GGML_OP_SQR:
        return ggml_scale(ctx, lathe_diff_cont(d, x), 2.0f);
    case GGML_OP_SQRT:
        return ggml_div(ctx, ggml_fill(ctx, y, 0.5f), y);
    case GGML_OP_LOG:
        return ggml_div(ctx, ggml_fill(ctx, y, 1.0f), x);
    case GGML_OP_SIN:
        return ggml_cos(ctx, x);
    case GGML_OP_COS:
        return ggml_scale(ctx, ggml_sin(ctx, x), -1.0f);
    case GGML_OP_LEAKY_RELU: {
        float a = lathe_diff_param_f32(y, 0);
        return ggml_scale_bias(ctx, ggml_step(ctx, lathe_diff_cont(d, x)), 1.0f - a, a);
    }
    case GGML_OP_CLAMP: { /* works on x before and after the clamp, which overwrites it */
        float low = lathe_diff_param_f32(y, 0), high = lathe_diff_param_f32(y, 1);
        x = lathe_diff_cont(d, x);
        return ggml_mul(ctx, ggml_step(ctx, ggml_scale_bias(ctx, x, 1.0f, -low)),
                        ggml_step(ctx, ggml_scale_bias(ctx, x, -1.0f, high)));
    }
    default:
        return lathe_diff_slope(d, ggml_get_unary_op(y), x, y);
    }
}

static void unary_vjp(lathe_diff *d, T *y, T *g) {
    if (d->opts.fused && y->op == GGML_OP_UNARY && ggml_get_unary_op(y) == GGML_UNARY_OP_SILU) {
        lathe_diff_add(d, y->src[0],
                       ggml_silu_back(d->ctx, lathe_diff_cont(d, g), lathe_diff_cont(d, y->src[0])));
        return;
    }
    lathe_diff_add(d, y->src[0], mul(d, g, slope(d, y)));
}
static T *unary_jvp(lathe_diff *d, T *y, T *const *t) {
    return mul(d, t[0], slope(d, y));
}

/* ggml's one-pass way back of SiLU, z = g silu'(x): z' = g' silu' + g silu'' x', with
 * silu'' = s (1 - s) (2 + x (1 - 2 s)). */
static T *silu_back_jvp(lathe_diff *d, T *z, T *const *t) {
    struct ggml_context *ctx = d->ctx;
    T *g = z->src[0], *x = lathe_diff_cont(d, z->src[1]);
    T *out = t[0] == NULL ? NULL : ggml_silu_back(ctx, lathe_diff_cont(d, t[0]), x);
    if (t[1] == NULL)
        return out;
    T *s = ggml_sigmoid(ctx, x);
    T *bend = ggml_scale_bias(ctx, ggml_mul(ctx, x, ggml_scale_bias(ctx, s, -2.0f, 1.0f)), 1.0f, 2.0f);
    bend = ggml_mul(ctx, bend, logistic_slope(d, s));
    return lathe_diff_plus(d, out, ggml_mul(ctx, mul(d, t[1], bend), g));
}
static void silu_back_vjp(lathe_diff *d, T *z, T *g) {
    (void) g;
    lathe_diff_fail(d, z, "there is no reverse-mode rule: take the first gradient without `fused`");
}

static void scale_vjp(lathe_diff *d, T *y, T *g) {
    lathe_diff_add(d, y->src[0], ggml_scale(d->ctx, lathe_diff_cont(d, g), lathe_diff_param_f32(y, 0)));
}
static T *scale_jvp(lathe_diff *d, T *y, T *const *t) {
    return ggml_scale(d->ctx, lathe_diff_cont(d, t[0]), lathe_diff_param_f32(y, 0));
}

/* sgn, step, round, fill, argmax, argsort: constant almost everywhere. */
static void zero_vjp(lathe_diff *d, T *y, T *g) {
    (void) d, (void) y, (void) g;
}
static T *zero_jvp(lathe_diff *d, T *y, T *const *t) {
    (void) d, (void) y, (void) t;
    return NULL;
}

/* --- Gated units ----------------------------------------------------------------------------------- */

typedef struct gate {
    T *a, *b; /* activated half, linear half; contiguous */
    enum ggml_unary_op op;
    bool split; /* two operands, else the halves of one */
    bool swapped;
} gate;

static bool gate_of(lathe_diff *d, T *y, T *x0, T *x1, gate *out) {
    switch (ggml_get_glu_op(y)) {
    case GGML_GLU_OP_REGLU:
        out->op = GGML_UNARY_OP_RELU;
        break;
    case GGML_GLU_OP_GEGLU:
        out->op = GGML_UNARY_OP_GELU;
        break;
    case GGML_GLU_OP_SWIGLU:
        out->op = GGML_UNARY_OP_SILU;
        break;
    case GGML_GLU_OP_GEGLU_ERF:
        out->op = GGML_UNARY_OP_GELU_ERF;
        break;
    case GGML_GLU_OP_GEGLU_QUICK:
        out->op = GGML_UNARY_OP_GELU_QUICK;
        break;
    default:
        lathe_diff_fail(d, y, "there is no derivative rule for this gated unit");
        return false;
    }
    out->split = y->src[1] != NULL;
    out->swapped = y->op_params[1] != 0;
    if (out->split) {
        out->a = x0 == NULL ? NULL : lathe_diff_cont(d, x0);
        out->b = x1 == NULL ? NULL : lathe_diff_cont(d, x1);
        return true;
    }
    int64_t half = x0->ne[0] / 2;
    T *low =
        ggml_view_4d(d->ctx, x0, half, x0->ne[1], x0->ne[2], x0->ne[3], x0->nb[1], x0->nb[2], x0->nb[3], 0);
    T *high = ggml_view_4d(d->ctx, x0, half, x0->ne[1], x0->ne[2], x0->ne[3], x0->nb[1], x0->nb[2], x0->nb[3],
                           (size_t) half * x0->nb[0]);
    out->a = ggml_cont(d->ctx, out->swapped ? high : low);
    out->b = ggml_cont(d->ctx, out->swapped ? low : high);
    return true;
}

static void glu_vjp(lathe_diff *d, T *y, T *g) {
    gate u;
    if (!gate_of(d, y, y->src[0], y->src[1], &u))
        return;
    T *gb = mul(d, g, u.b), *act = ggml_unary(d->ctx, u.a, u.op);
    T *ga = d->opts.fused && u.op == GGML_UNARY_OP_SILU
                ? ggml_silu_back(d->ctx, gb, u.a)
                : ggml_mul(d->ctx, gb, lathe_diff_slope(d, u.op, u.a, act));
    T *gl = mul(d, g, act);
    if (u.split) {
        lathe_diff_add(d, y->src[0], ga);
        lathe_diff_add(d, y->src[1], gl);
    } else {
        lathe_diff_add(d, y->src[0], ggml_concat(d->ctx, u.swapped ? gl : ga, u.swapped ? ga : gl, 0));
    }
}
static T *glu_jvp(lathe_diff *d, T *y, T *const *t) {
    gate u, v;
    if (!gate_of(d, y, y->src[0], y->src[1], &u) || !gate_of(d, y, t[0], t[1], &v))
        return NULL;
    T *act = ggml_unary(d->ctx, u.a, u.op), *out = NULL;
    if (v.a != NULL)
        out = ggml_mul(d->ctx, ggml_mul(d->ctx, v.a, lathe_diff_slope(d, u.op, u.a, act)), u.b);
    return lathe_diff_plus(d, out, v.b == NULL ? NULL : ggml_mul(d->ctx, act, v.b));
}

const lathe_rule *lathe_rule_elementwise(const T *y) {
    static const lathe_rule add = {add_vjp, add_jvp}, sub = {sub_vjp, sub_jvp}, times = {mul_vjp, mul_jvp},
                            quotient = {div_vjp, div_jvp}, add1 = {add1_vjp, add_jvp},
                            unary = {unary_vjp, unary_jvp}, scaled = {scale_vjp, scale_jvp},
                            zero = {zero_vjp, zero_jvp}, silu_back = {silu_back_vjp, silu_back_jvp},
                            glu = {glu_vjp, glu_jvp};
    switch (y->op) {
    case GGML_OP_ADD:
        return &add;
    case GGML_OP_ADD1:
        return &add1;
    case GGML_OP_SUB:
        return &sub;
    case GGML_OP_MUL:
        return &times;
    case GGML_OP_DIV:
        return &quotient;
    case GGML_OP_SCALE:
        return &scaled;
    case GGML_OP_SQR:
    case GGML_OP_SQRT:
    case GGML_OP_LOG:
    case GGML_OP_SIN:
    case GGML_OP_COS:
    case GGML_OP_LEAKY_RELU:
    case GGML_OP_CLAMP:
        return &unary;
    case GGML_OP_FILL:
    case GGML_OP_ARGMAX:
    case GGML_OP_ARGSORT:
    case GGML_OP_TOP_K:
        return &zero;
    case GGML_OP_SILU_BACK:
        return &silu_back;
    case GGML_OP_GLU:
        return &glu;
    case GGML_OP_UNARY:
        switch (ggml_get_unary_op(y)) {
        case GGML_UNARY_OP_SGN:
        case GGML_UNARY_OP_STEP:
            return &zero;
        case GGML_UNARY_OP_NEG:
        case GGML_UNARY_OP_ABS:
        case GGML_UNARY_OP_RELU:
        case GGML_UNARY_OP_TANH:
        case GGML_UNARY_OP_SIGMOID:
        case GGML_UNARY_OP_SOFTPLUS:
        case GGML_UNARY_OP_EXP:
        case GGML_UNARY_OP_EXPM1:
        case GGML_UNARY_OP_SILU:
        case GGML_UNARY_OP_GELU_QUICK:
        case GGML_UNARY_OP_GELU:
        case GGML_UNARY_OP_GELU_ERF:
        case GGML_UNARY_OP_ELU:
            return &unary;
        default:
            return NULL;
        }
    default:
        return NULL;
    }
}
