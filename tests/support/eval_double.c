/* eval_double.c - see eval_double.h: arithmetic, functions, reductions, layout, products. */
#include "support/eval_double.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/check.h"

typedef struct ggml_tensor T;

struct double_graph {
    struct ggml_context *ctx;
    struct ggml_cgraph *graph;
    int n;
    const T **tensors; /* those with memory of their own */
    double **memory;
};

#define EACH(v)                                                                                              \
    for (int64_t i3 = 0; i3 < (v)->ne[3]; i3++)                                                              \
        for (int64_t i2 = 0; i2 < (v)->ne[2]; i2++)                                                          \
            for (int64_t i1 = 0; i1 < (v)->ne[1]; i1++)                                                      \
                for (int64_t i0 = 0; i0 < (v)->ne[0]; i0++)
#define ROWS(v)                                                                                              \
    for (int64_t i3 = 0; i3 < (v)->ne[3]; i3++)                                                              \
        for (int64_t i2 = 0; i2 < (v)->ne[2]; i2++)                                                          \
            for (int64_t i1 = 0; i1 < (v)->ne[1]; i1++)

static float param(const T *t, int i) {
    float x;
    memcpy(&x, &t->op_params[i], sizeof x);
    return x;
}

/* --- Functions of one value --------------------------------------------------------------------------- */

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

static double unary(enum ggml_unary_op op, double x) {
    switch (op) {
    case GGML_UNARY_OP_ABS:
        return fabs(x);
    case GGML_UNARY_OP_SGN:
        return (x > 0) - (x < 0);
    case GGML_UNARY_OP_NEG:
        return -x;
    case GGML_UNARY_OP_STEP:
        return x > 0;
    case GGML_UNARY_OP_TANH:
        return tanh(x);
    case GGML_UNARY_OP_ELU:
        return x > 0 ? x : expm1(x);
    case GGML_UNARY_OP_RELU:
        return x > 0 ? x : 0;
    case GGML_UNARY_OP_SIGMOID:
        return sigmoid(x);
    case GGML_UNARY_OP_SILU:
        return x * sigmoid(x);
    case GGML_UNARY_OP_GELU_ERF:
        return 0.5 * x * (1 + erf(x / sqrt(2.0)));
    case GGML_UNARY_OP_EXP:
        return exp(x);
    case GGML_UNARY_OP_EXPM1:
        return expm1(x);
    case GGML_UNARY_OP_SOFTPLUS:
        return x > 20 ? x : log1p(exp(x));
    case GGML_UNARY_OP_FLOOR:
        return floor(x);
    default:
        return NAN;
    }
}

static bool knows_unary(enum ggml_unary_op op) {
    return !isnan(unary(op, 0.5));
}

static double one_operand(const T *t, double x) {
    switch (t->op) {
    case GGML_OP_SQR:
        return x * x;
    case GGML_OP_SQRT:
        return sqrt(x);
    case GGML_OP_LOG:
        return log(x);
    case GGML_OP_SIN:
        return sin(x);
    case GGML_OP_COS:
        return cos(x);
    case GGML_OP_SCALE:
        return x * (double) param(t, 0) + (double) param(t, 1);
    case GGML_OP_FILL:
        return (double) param(t, 0);
    case GGML_OP_LEAKY_RELU:
        return x > 0 ? x : x * (double) param(t, 0);
    case GGML_OP_CLAMP:
        return fmin(fmax(x, (double) param(t, 0)), (double) param(t, 1));
    default:
        return unary(ggml_get_unary_op(t), x);
    }
}

static double two_operands(enum ggml_op op, double a, double b) {
    return op == GGML_OP_ADD || op == GGML_OP_ADD1 ? a + b
           : op == GGML_OP_SUB                     ? a - b
           : op == GGML_OP_MUL                     ? a * b
                                                   : a / b;
}

/* Activation of a gated unit and its product. */
static void glu(const T *t, const double_view *y, const double_view *s) {
    static const struct {
        enum ggml_glu_op glu;
        enum ggml_unary_op act;
    } kinds[] = {{GGML_GLU_OP_REGLU, GGML_UNARY_OP_RELU},
                 {GGML_GLU_OP_SWIGLU, GGML_UNARY_OP_SILU},
                 {GGML_GLU_OP_GEGLU_ERF, GGML_UNARY_OP_GELU_ERF}};
    size_t k = 0;
    while (k < 3 && kinds[k].glu != ggml_get_glu_op(t))
        k++;
    assert_true(k < 3);
    int64_t half = t->src[1] == NULL ? y->ne[0] : 0, low = t->op_params[1] != 0 ? half : 0, high = half - low;
    const double_view *other = t->src[1] == NULL ? &s[0] : &s[1];
    EACH(y)
    *at(y, i0, i1, i2, i3) =
        unary(kinds[k].act, *at(&s[0], i0 + low, i1, i2, i3)) * *at(other, i0 + high, i1, i2, i3);
}

/* --- Products and layout ------------------------------------------------------------------------------ */

static void mul_mat(const double_view *y, const double_view *a, const double_view *b) {
    int64_t r2 = b->ne[2] / a->ne[2], r3 = b->ne[3] / a->ne[3];
    EACH(y) {
        double sum = 0;
        for (int64_t k = 0; k < a->ne[0]; k++)
            sum += *at(a, k, i0, i2 / r2, i3 / r3) * *at(b, k, i1, i2, i3);
        *at(y, i0, i1, i2, i3) = sum;
    }
}

static void out_prod(const double_view *y, const double_view *a, const double_view *b) {
    int64_t r2 = b->ne[2] / a->ne[2], r3 = b->ne[3] / a->ne[3];
    EACH(y) {
        double sum = 0;
        for (int64_t k = 0; k < a->ne[1]; k++)
            sum += *at(a, i0, k, i2 / r2, i3 / r3) * *at(b, i1, k, i2, i3);
        *at(y, i0, i1, i2, i3) = sum;
    }
}

static void copy(const double_view *y, const double_view *x) { /* the same number of elements, in order */
    double *to = y->x;
    EACH(x)
    *to++ = *at(x, i0, i1, i2, i3);
}

static void concat(const T *t, const double_view *y, const double_view *s) {
    int dim = t->op_params[0];
    EACH(y) {
        int64_t i[4] = {i0, i1, i2, i3};
        const double_view *from = i[dim] < s[0].ne[dim] ? &s[0] : &s[1];
        if (from == &s[1])
            i[dim] -= s[0].ne[dim];
        *at(y, i0, i1, i2, i3) = *at(from, i[0], i[1], i[2], i[3]);
    }
}

/* y = x with b added at a place that is given in bytes. */
static void acc(const T *t, const double_view *y, const double_view *s) {
    copy(y, &s[0]);
    double_view into = s[1];
    into.x = y->x + t->op_params[3] / 4;
    into.step[0] = 1;
    for (int k = 0; k < 3; k++)
        into.step[k + 1] = t->op_params[k] / 4;
    EACH(&s[1])
    *at(&into, i0, i1, i2, i3) += *at(&s[1], i0, i1, i2, i3);
}

static void pad(const T *t, const double_view *y,
                const double_view *x) { /* op_params: left, right of each dim */
    EACH(y) {
        int64_t i[4] = {i0 - t->op_params[0], i1 - t->op_params[2], i2 - t->op_params[4],
                        i3 - t->op_params[6]};
        bool inside = true;
        for (int k = 0; k < 4; k++)
            inside = inside && i[k] >= 0 && i[k] < x->ne[k];
        *at(y, i0, i1, i2, i3) = inside ? *at(x, i[0], i[1], i[2], i[3]) : 0;
    }
}

static void reduce(const T *t, const double_view *y, const double_view *x) {
    EACH(y) * at(y, i0, i1, i2, i3) = 0;
    EACH(x) {
        double *to = t->op == GGML_OP_SUM ? y->x
                     : t->op == GGML_OP_REPEAT_BACK
                         ? at(y, i0 % y->ne[0], i1 % y->ne[1], i2 % y->ne[2], i3 % y->ne[3])
                         : at(y, 0, i1, i2, i3);
        *to += *at(x, i0, i1, i2, i3) / (t->op == GGML_OP_MEAN ? (double) x->ne[0] : 1);
    }
}

static void rows(const T *t, const double_view *y, const double_view *x) {
    const int32_t *ids = t->src[1]->data;
    if (t->op == GGML_OP_GET_ROWS) {
        EACH(y) * at(y, i0, i1, i2, i3) = *at(x, i0, ids[i1], i2, i3);
        return;
    }
    EACH(y) * at(y, i0, i1, i2, i3) = 0;
    EACH(x) * at(y, i0, ids[i1], i2, i3) += *at(x, i0, i1, i2, i3);
}

static void diag_mask(const T *t, const double_view *y, const double_view *x) {
    double out = t->op == GGML_OP_DIAG_MASK_INF ? -INFINITY : 0;
    EACH(y) * at(y, i0, i1, i2, i3) = i0 > i1 + t->op_params[0] ? out : *at(x, i0, i1, i2, i3);
}

/* --- The walk ----------------------------------------------------------------------------------------- */

static bool is_layout(const T *t) {
    return t->op == GGML_OP_NONE || t->op == GGML_OP_VIEW || t->op == GGML_OP_RESHAPE ||
           t->op == GGML_OP_PERMUTE || t->op == GGML_OP_TRANSPOSE;
}

static bool simple(const T *t, const double_view *y, const double_view *s) {
    switch (t->op) {
    case GGML_OP_ADD:
    case GGML_OP_ADD1:
    case GGML_OP_SUB:
    case GGML_OP_MUL:
    case GGML_OP_DIV:
        EACH(y)
        *at(y, i0, i1, i2, i3) =
            two_operands(t->op, *at(&s[0], i0, i1, i2, i3),
                         *at(&s[1], i0 % s[1].ne[0], i1 % s[1].ne[1], i2 % s[1].ne[2], i3 % s[1].ne[3]));
        return true;
    case GGML_OP_UNARY:
        if (!knows_unary(ggml_get_unary_op(t)))
            return false; /* fall through */
    case GGML_OP_SQR:
    case GGML_OP_SQRT:
    case GGML_OP_LOG:
    case GGML_OP_SIN:
    case GGML_OP_COS:
    case GGML_OP_SCALE:
    case GGML_OP_FILL:
    case GGML_OP_LEAKY_RELU:
    case GGML_OP_CLAMP:
        EACH(y) * at(y, i0, i1, i2, i3) = one_operand(t, *at(&s[0], i0, i1, i2, i3));
        return true;
    case GGML_OP_ARANGE:
        for (int64_t i = 0; i < y->ne[0]; i++)
            y->x[i] = (double) param(t, 0) + (double) i * (double) param(t, 2);
        return true;
    case GGML_OP_GLU:
        glu(t, y, s);
        return true;
    case GGML_OP_CONT:
    case GGML_OP_DUP:
    case GGML_OP_CPY:
        copy(y, &s[0]);
        return true;
    case GGML_OP_REPEAT:
        EACH(y)
        *at(y, i0, i1, i2, i3) =
            *at(&s[0], i0 % s[0].ne[0], i1 % s[0].ne[1], i2 % s[0].ne[2], i3 % s[0].ne[3]);
        return true;
    default:
        return false;
    }
}

static bool composed(const T *t, const double_view *y, const double_view *s) {
    switch (t->op) {
    case GGML_OP_MUL_MAT:
        mul_mat(y, &s[0], &s[1]);
        return true;
    case GGML_OP_OUT_PROD:
        out_prod(y, &s[0], &s[1]);
        return true;
    case GGML_OP_CONCAT:
        concat(t, y, s);
        return true;
    case GGML_OP_ACC:
        acc(t, y, s);
        return true;
    case GGML_OP_PAD:
        pad(t, y, &s[0]);
        return true;
    case GGML_OP_SUM:
    case GGML_OP_SUM_ROWS:
    case GGML_OP_MEAN:
    case GGML_OP_REPEAT_BACK:
        reduce(t, y, &s[0]);
        return true;
    case GGML_OP_GET_ROWS:
    case GGML_OP_GET_ROWS_BACK:
        rows(t, y, &s[0]);
        return true;
    case GGML_OP_DIAG_MASK_INF:
    case GGML_OP_DIAG_MASK_ZERO:
        diag_mask(t, y, &s[0]);
        return true;
    default:
        return false;
    }
}

static double *memory_of(const double_graph *g, const T *t) {
    for (int i = 0; i < g->n; i++)
        if (g->tensors[i] == t)
            return g->memory[i];
    return NULL;
}

static double_view view_of(const double_graph *g, const T *t) {
    double_view v = {0};
    const T *root = t->view_src != NULL ? t->view_src : t;
    double *memory = memory_of(g, root);
    v.x = memory == NULL ? NULL : memory + (t->view_src != NULL ? t->view_offs / 4 : 0);
    for (int k = 0; k < 4; k++) {
        v.ne[k] = t->ne[k];
        v.step[k] = (int64_t) (t->nb[k] / 4);
    }
    return v;
}

static void keep(double_graph *g, const T *t) {
    if (t->view_src != NULL || t->type != GGML_TYPE_F32 || memory_of(g, t) != NULL)
        return;
    g->tensors[g->n] = t;
    g->memory[g->n] = calloc(ggml_nbytes(t) / 4 + 1, sizeof(double));
    assert_non_null(g->memory[g->n]);
    for (size_t i = 0; t->op == GGML_OP_NONE && i < ggml_nbytes(t) / 4; i++)
        g->memory[g->n][i] = (double) ((const float *) t->data)[i];
    g->n++;
}

double_graph *double_graph_new(T *const *outputs, int n) {
    enum { NODES = 8192 };
    double_graph *g = calloc(1, sizeof *g);
    assert_non_null(g);
    g->ctx =
        ggml_init((struct ggml_init_params){.mem_size = ggml_graph_overhead_custom(NODES, false) + 1024});
    assert_non_null(g->ctx);
    g->graph = ggml_new_graph_custom(g->ctx, NODES, false);
    for (int i = 0; i < n; i++)
        ggml_build_forward_expand(g->graph, outputs[i]);
    g->tensors = calloc((size_t) NODES * 6, sizeof *g->tensors);
    g->memory = calloc((size_t) NODES * 6, sizeof *g->memory);
    assert_true(g->tensors != NULL && g->memory != NULL);
    for (int i = 0; i < ggml_graph_n_nodes(g->graph); i++) {
        const T *t = ggml_graph_node(g->graph, i);
        for (int s = 0; s < GGML_MAX_SRC; s++)
            if (t->src[s] != NULL)
                keep(g, t->src[s]->view_src != NULL ? t->src[s]->view_src : t->src[s]);
        keep(g, t);
    }
    return g;
}

void double_graph_free(double_graph *g) {
    for (int i = 0; i < g->n; i++)
        free(g->memory[i]);
    free(g->memory);
    free((void *) g->tensors);
    ggml_free(g->ctx);
    free(g);
}

void double_graph_compute(double_graph *g) {
    for (int i = 0; i < ggml_graph_n_nodes(g->graph); i++) {
        const T *t = ggml_graph_node(g->graph, i);
        if (is_layout(t))
            continue;
        double_view y = view_of(g, t), s[4];
        for (int k = 0; k < 4; k++)
            s[k] = t->src[k] != NULL ? view_of(g, t->src[k]) : (double_view){0};
        if (!simple(t, &y, s) && !composed(t, &y, s) && !double_nn(t, &y, s))
            fail_msg("the evaluator has no %s", ggml_op_desc(t));
    }
}

bool double_graph_knows(T *const *outputs, int n) {
    double_graph *g = double_graph_new(outputs, n);
    bool known = true;
    for (int i = 0; i < ggml_graph_n_nodes(g->graph); i++)
        known = known && ggml_graph_node(g->graph, i)->op != GGML_OP_CUSTOM;
    double_graph_free(g);
    return known;
}

double *double_graph_of(double_graph *g, const T *t) {
    return view_of(g, t).x;
}
