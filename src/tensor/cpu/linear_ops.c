/* linear_ops.c - the custom ops of linear.h. */
#include <ggml.h>
#include <math.h>
#include <string.h>

#include "tensor/cpu/linear.h"

enum { PIECE = 256 };

/* --- Activations --------------------------------------------------------------------------------- */

static void *column(struct ggml_tensor *dst, int64_t t) {
    return (char *) dst->data + (size_t) t * dst->nb[1];
}

static const float *row(const struct ggml_tensor *x, int64_t t) {
    return (const float *) (const void *) ((const char *) x->data + (size_t) t * x->nb[1]);
}

static void quantise_op(struct ggml_tensor *dst, int ith, int nth, void *user) {
    const lathe_packed_weight *e = user;
    const struct ggml_tensor *x = dst->src[0];
    for (int64_t t = ith; t < x->ne[1]; t += nth)
        e->cpu->quantise(x->ne[0], row(x, t), column(dst, t));
}

/* Sums in double over 16 lanes. */
static double sum_of_squares(const float *x, int64_t n, double mean) {
    double lane[16] = {0}, sum = 0.0;
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int l = 0; l < 16; l++)
            lane[l] += ((double) x[i + l] - mean) * ((double) x[i + l] - mean);
    for (; i < n; i++)
        lane[0] += ((double) x[i] - mean) * ((double) x[i] - mean);
    for (int l = 0; l < 16; l++)
        sum += lane[l];
    return sum;
}

static double mean_of(const float *x, int64_t n) {
    double lane[16] = {0}, sum = 0.0;
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int l = 0; l < 16; l++)
            lane[l] += (double) x[i + l];
    for (; i < n; i++)
        lane[0] += (double) x[i];
    for (int l = 0; l < 16; l++)
        sum += lane[l];
    return sum / (double) n;
}

/* src: x [n, T], weight [n], bias [n] or none; the norm's own tensor in src[3] has its kind and epsilon. */
static void quantise_norm_op(struct ggml_tensor *dst, int ith, int nth, void *user) {
    const lathe_packed_weight *e = user;
    const struct ggml_tensor *x = dst->src[0];
    const float *weight = dst->src[1]->data, *bias = dst->src[2] != NULL ? dst->src[2]->data : NULL;
    const int64_t n = x->ne[0];
    /* The parameters of the op that this one stands for were copied behind the custom op's own. */
    float eps, is_rms;
    memcpy(&eps, (const char *) dst->op_params + sizeof dst->op_params - 8, sizeof eps);
    memcpy(&is_rms, (const char *) dst->op_params + sizeof dst->op_params - 4, sizeof is_rms);
    for (int64_t t = ith; t < x->ne[1]; t += nth) {
        const float *in = row(x, t);
        const double mean = is_rms > 0.0f ? 0.0 : mean_of(in, n);
        const float shift = (float) mean;
        const float scale = 1.0f / sqrtf((float) (sum_of_squares(in, n, mean) / (double) n) + eps);
        for (int64_t begin = 0; begin < n; begin += PIECE) {
            float y[PIECE];
            const int64_t m = n - begin < PIECE ? n - begin : PIECE;
            for (int64_t i = 0; i < m; i++)
                y[i] = (in[begin + i] - shift) * scale * weight[begin + i];
            for (int64_t i = 0; i < m && bias != NULL; i++)
                y[i] += bias[begin + i];
            e->cpu->quantise(m, y, (lathe_activation *) column(dst, t) + begin / 32);
        }
    }
}

/* src: gate and up [n, T]. */
static void quantise_swiglu_op(struct ggml_tensor *dst, int ith, int nth, void *user) {
    const lathe_packed_weight *e = user;
    const struct ggml_tensor *gate = dst->src[0], *up = dst->src[1];
    for (int64_t t = ith; t < gate->ne[1]; t += nth)
        for (int64_t begin = 0; begin < gate->ne[0]; begin += PIECE) {
            float y[PIECE];
            const int64_t m = gate->ne[0] - begin < PIECE ? gate->ne[0] - begin : PIECE;
            e->rows->swiglu(row(gate, t) + begin, row(up, t) + begin, m, y);
            e->cpu->quantise(m, y, (lathe_activation *) column(dst, t) + begin / 32);
        }
}

static bool is_row(const struct ggml_tensor *w, int64_t n) {
    return w != NULL && w->type == GGML_TYPE_F32 && ggml_is_contiguous(w) && ggml_nelements(w) == n;
}

static bool is_plain(const struct ggml_tensor *x) {
    return x != NULL && x->type == GGML_TYPE_F32 && ggml_is_contiguous(x) && x->ne[2] == 1 && x->ne[3] == 1;
}

/* The norm that x is, so that both passes become one: (args: its input, weight, bias), or NULL. */
static const struct ggml_tensor *as_norm(const struct ggml_tensor *x, struct ggml_tensor *args[3], int *n) {
    struct ggml_tensor *bias = NULL;
    if (x->op == GGML_OP_ADD && is_row(x->src[1], x->ne[0])) {
        bias = x->src[1];
        x = x->src[0];
    }
    if (x->op != GGML_OP_MUL || !is_row(x->src[1], x->ne[0]))
        return NULL;
    const struct ggml_tensor *norm = x->src[0];
    if ((norm->op != GGML_OP_RMS_NORM && norm->op != GGML_OP_NORM) || !is_plain(norm->src[0]) ||
        norm->src[0]->ne[0] != x->ne[0])
        return NULL;
    args[0] = norm->src[0];
    args[1] = x->src[1];
    args[2] = bias;
    *n = bias != NULL ? 3 : 2;
    return norm;
}

/* The quantised form of x, which products with the same input share: found again through x's own `extra`,
 * which tensors of graphs do not use otherwise. A norm or a gate right before it is computed on the way; its
 * own node is left out of the graph then, if nobody else reads it. */
static struct ggml_tensor *quantised(struct ggml_context *ctx, lathe_packed_weight *e,
                                     struct ggml_tensor *x) {
    if (x->extra != NULL)
        return x->extra;
    struct ggml_tensor *args[3] = {x}, *q;
    const int tasks = x->ne[1] > 1 ? GGML_N_TASKS_MAX : 1;
    const int64_t bytes = (int64_t) lathe_activation_bytes(x->ne[0]);
    int n = 1;
    const struct ggml_tensor *norm = as_norm(x, args, &n);
    if (norm != NULL) {
        q = ggml_custom_4d(ctx, GGML_TYPE_I8, bytes, x->ne[1], 1, 1, args, n, quantise_norm_op, tasks, e);
        const float is_rms = norm->op == GGML_OP_RMS_NORM ? 1.0f : 0.0f;
        memcpy((char *) q->op_params + sizeof q->op_params - 8, norm->op_params, sizeof(float));
        memcpy((char *) q->op_params + sizeof q->op_params - 4, &is_rms, sizeof(float));
    } else if (x->op == GGML_OP_GLU && ggml_get_glu_op(x) == GGML_GLU_OP_SWIGLU && is_plain(x->src[0]) &&
               is_plain(x->src[1])) {
        q = ggml_custom_4d(ctx, GGML_TYPE_I8, bytes, x->ne[1], 1, 1, x->src, 2, quantise_swiglu_op, tasks, e);
    } else {
        q = ggml_custom_4d(ctx, GGML_TYPE_I8, bytes, x->ne[1], 1, 1, args, 1, quantise_op, tasks, e);
    }
    ggml_format_name(q, "%.48s quantised", x->name);
    x->extra = q;
    return q;
}

/* --- Products ------------------------------------------------------------------------------------ */

static void matmul_op(struct ggml_tensor *dst, int ith, int nth, void *user) {
    const lathe_packed_weight *e = user;
    int64_t groups = lathe_packed_groups(&e->packed);
    e->cpu->matmul(&e->packed, dst->src[0]->data, dst->ne[1], dst->data, dst->ne[0], groups * ith / nth,
                   groups * (ith + 1) / nth);
}

static bool is_multiplied(const struct ggml_tensor *w, const struct ggml_tensor *x) {
    return w != NULL && w->extra != NULL && is_plain(x);
}

static struct ggml_tensor *input_of(struct ggml_context *ctx, lathe_packed_weight *e, struct ggml_tensor *x) {
    return lathe_packed_takes_floats(e->packed.type) ? x : quantised(ctx, e, x);
}

struct ggml_tensor *lathe_packed_linear(void *user, struct ggml_context *ctx, struct ggml_tensor *w,
                                        struct ggml_tensor *x) {
    (void) user;
    if (!is_multiplied(w, x))
        return NULL;
    lathe_packed_weight *e = w->extra;
    struct ggml_tensor *in = input_of(ctx, e, x);
    return ggml_custom_4d(ctx, GGML_TYPE_F32, w->ne[1], x->ne[1], 1, 1, &in, 1, matmul_op, GGML_N_TASKS_MAX,
                          e);
}

/* --- Several matrices and one column -------------------------------------------------------------- */

/* src: x, its quantised form (one of them twice where no matrix takes the other), then the matrices. */
enum { FIRST = 2, GROUP_MAX = 4 };

static const lathe_packed_weight *matrix(const struct ggml_tensor *dst, int i) {
    const struct ggml_tensor *w = i < GROUP_MAX ? dst->src[FIRST + i] : NULL;
    return w != NULL ? w->extra : NULL;
}

static void multiply(const struct ggml_tensor *dst, const lathe_packed_weight *e, float *y, int64_t from,
                     int64_t to) {
    const void *x = dst->src[lathe_packed_takes_floats(e->packed.type) ? 0 : 1]->data;
    e->cpu->matmul(&e->packed, x, 1, y, e->packed.n_rows, from, to);
}

/* The results follow each other in dst. Threads share the groups of rows of all matrices. */
static void group_op(struct ggml_tensor *dst, int ith, int nth, void *user) {
    const lathe_packed_weight *e;
    int64_t all = 0, at = 0;
    float *y = dst->data;
    (void) user;
    for (int i = 0; (e = matrix(dst, i)) != NULL; i++)
        all += lathe_packed_groups(&e->packed);
    const int64_t begin = all * ith / nth, end = all * (ith + 1) / nth;
    for (int i = 0; (e = matrix(dst, i)) != NULL; i++) {
        const int64_t groups = lathe_packed_groups(&e->packed);
        const int64_t from = begin > at ? begin - at : 0, to = end - at < groups ? end - at : groups;
        if (from < to)
            multiply(dst, e, y, from, to);
        at += groups;
        y += e->packed.n_rows;
    }
}

/* Gate and up of the same rows, then silu(gate) * up of them, over the gate's place. */
static void swiglu_op(struct ggml_tensor *dst, int ith, int nth, void *user) {
    const lathe_packed_weight *gate = matrix(dst, 0), *up = matrix(dst, 1);
    const int64_t groups = lathe_packed_groups(&gate->packed), n = gate->packed.n_rows;
    const int64_t from = groups * ith / nth, to = groups * (ith + 1) / nth;
    const int64_t first = from * LATHE_PACKED_ROWS,
                  end = to * LATHE_PACKED_ROWS < n ? to * LATHE_PACKED_ROWS : n;
    float *y = dst->data;
    (void) user;
    if (from >= to)
        return;
    multiply(dst, gate, y, from, to);
    multiply(dst, up, y + n, from, to);
    gate->rows->swiglu(y + first, y + n + first, end - first, y + first);
}

static struct ggml_tensor *group_node(struct ggml_context *ctx, struct ggml_tensor *const *w, int n,
                                      struct ggml_tensor *x, ggml_custom_op_t op) {
    struct ggml_tensor *args[FIRST + GROUP_MAX] = {NULL};
    int64_t rows = 0;
    for (int i = 0; i < n; i++) {
        lathe_packed_weight *e = w[i]->extra;
        args[lathe_packed_takes_floats(e->packed.type) ? 0 : 1] = input_of(ctx, e, x);
        args[FIRST + i] = w[i];
        rows += w[i]->ne[1];
    }
    /* The form that nobody takes is not asked for. */
    args[0] = args[0] == NULL ? args[1] : args[0];
    args[1] = args[1] == NULL ? args[0] : args[1];
    return ggml_custom_4d(ctx, GGML_TYPE_F32, rows, 1, 1, 1, args, FIRST + n, op, GGML_N_TASKS_MAX, NULL);
}

bool lathe_packed_linear_group(void *user, struct ggml_context *ctx, struct ggml_tensor *const *w, int n,
                               struct ggml_tensor *x, struct ggml_tensor **y) {
    (void) user;
    if (n < 2 || n > GROUP_MAX || x->ne[1] != 1)
        return false;
    for (int i = 0; i < n; i++)
        if (!is_multiplied(w[i], x))
            return false;
    struct ggml_tensor *all = group_node(ctx, w, n, x, group_op);
    size_t at = 0;
    for (int i = 0; i < n; i++) {
        y[i] = ggml_view_2d(ctx, all, w[i]->ne[1], 1, (size_t) w[i]->ne[1] * sizeof(float), at);
        at += (size_t) w[i]->ne[1] * sizeof(float);
    }
    return true;
}

struct ggml_tensor *lathe_packed_swiglu(void *user, struct ggml_context *ctx, struct ggml_tensor *gate,
                                        struct ggml_tensor *up, struct ggml_tensor *x,
                                        const struct ggml_tensor *next) {
    struct ggml_tensor *const w[] = {gate, up};
    (void) user;
    if (x->ne[1] != 1 || !is_multiplied(gate, x) || !is_multiplied(up, x) || next->extra == NULL ||
        gate->ne[1] != up->ne[1] ||
        lathe_packed_takes_floats(((const lathe_packed_weight *) next->extra)->packed.type))
        return NULL;
    struct ggml_tensor *both = group_node(ctx, w, 2, x, swiglu_op);
    return ggml_view_2d(ctx, both, gate->ne[1], 1, (size_t) gate->ne[1] * sizeof(float), 0);
}
