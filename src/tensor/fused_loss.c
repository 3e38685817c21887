/* fused_loss.c - cross entropy by sparse labels, its gradient and its tangents; the tangent of RMS norm's
 * gradient. No one-hot labels and no probabilities are stored: a row's are computed again where they are
 * needed. */
#include <math.h>
#include <string.h>

#include "tensor/cpu/rows.h"
#include "tensor/fused.h"

typedef struct ggml_tensor T;

static const float *row_of(const T *x, int64_t i) {
    return (const float *) x->data + i * x->ne[0];
}

/* out = softmax(x) of v values. Returns the log of the sum of exponentials. */
static double softmax(const lathe_rows *rows, const float *x, int64_t v, float *out) {
    float m = rows->largest(x, v);
    double sum = rows->exp(x, v, m, out);
    rows->scale(out, v, (float) (1 / sum));
    return (double) m + log(sum);
}

/* src: logits [V, N], targets [N] (-1: the row does not count). dst [N]: lse - logit[target]. */
static void ce_op(T *dst, int ith, int nth, void *user) {
    (void) user;
    const T *logits = dst->src[0];
    const int32_t *targets = dst->src[1]->data;
    const lathe_rows *rows = lathe_rows_best();
    int64_t v = logits->ne[0], n = dst->ne[0];
    for (int64_t i = n * ith / nth; i < n * (ith + 1) / nth; i++) {
        const float *x = row_of(logits, i);
        float m = rows->largest(x, v);
        double lse = (double) m + log(rows->exp_sum(x, v, m));
        ((float *) dst->data)[i] = targets[i] >= 0 ? (float) (lse - (double) x[targets[i]]) : 0;
    }
}

/* src: logits, targets, g [N]. dst [V, N]: g (softmax - onehot). */
static void ce_back_op(T *dst, int ith, int nth, void *user) {
    (void) user;
    const int32_t *targets = dst->src[1]->data;
    const float *g = dst->src[2]->data;
    const lathe_rows *rows = lathe_rows_best();
    int64_t v = dst->ne[0], n = dst->ne[1];
    for (int64_t i = n * ith / nth; i < n * (ith + 1) / nth; i++) {
        float *out = (float *) dst->data + i * v;
        if (targets[i] < 0) {
            memset(out, 0, (size_t) v * sizeof *out);
            continue;
        }
        softmax(rows, row_of(dst->src[0], i), v, out);
        rows->scale(out, v, g[i]);
        out[targets[i]] -= g[i];
    }
}

/* src: logits, targets, g, logits' [V, N]. dst [V, N]: g p (logits' - sum p logits'), the tangent of the
 * above for fixed g. */
static void ce_back_tangent_op(T *dst, int ith, int nth, void *user) {
    (void) user;
    const int32_t *targets = dst->src[1]->data;
    const float *g = dst->src[2]->data;
    const lathe_rows *rows = lathe_rows_best();
    int64_t v = dst->ne[0], n = dst->ne[1];
    for (int64_t i = n * ith / nth; i < n * (ith + 1) / nth; i++) {
        float *out = (float *) dst->data + i * v;
        if (targets[i] < 0) {
            memset(out, 0, (size_t) v * sizeof *out);
            continue;
        }
        softmax(rows, row_of(dst->src[0], i), v, out);
        const float *t = row_of(dst->src[3], i);
        float along = rows->dot(out, t, v);
        for (int64_t k = 0; k < v; k++)
            out[k] = g[i] * out[k] * (t[k] - along);
    }
}

T *lathe_fused_ce(struct ggml_context *ctx, T *logits, T *targets) {
    T *args[] = {logits, targets};
    return ggml_custom_4d(ctx, GGML_TYPE_F32, logits->ne[1], 1, 1, 1, args, 2, ce_op, GGML_N_TASKS_MAX, NULL);
}
T *lathe_fused_ce_back(struct ggml_context *ctx, T *y, T *g) {
    T *args[] = {y->src[0], y->src[1], g};
    return ggml_custom_4d(ctx, GGML_TYPE_F32, y->src[0]->ne[0], y->src[0]->ne[1], 1, 1, args, 3, ce_back_op,
                          GGML_N_TASKS_MAX, NULL);
}
T *lathe_fused_ce_back_tangent(struct ggml_context *ctx, T *y, T *logits_tangent) {
    T *args[] = {y->src[0], y->src[1], y->src[2], logits_tangent};
    return ggml_custom_4d(ctx, GGML_TYPE_F32, y->ne[0], y->ne[1], 1, 1, args, 4, ce_back_tangent_op,
                          GGML_N_TASKS_MAX, NULL);
}

/* --- RMS norm ----------------------------------------------------------------------------------------- */

/* src: g, x, g', x' [n, rows]; of z = (g - y m) / s with y = x / s, s^2 = mean x^2 + eps, m = mean y g:
 * with s' = mean y x', y' = (x' - y s') / s, m' = mean(y' g + y g'): z' = (g' - y' m - y m' - z s') / s. */
static void rms_back_tangent_op(T *dst, int ith, int nth, void *user) {
    (void) user;
    const lathe_rows *rows = lathe_rows_best();
    const int64_t n = dst->ne[0], all = ggml_nrows(dst);
    const float share = 1.0f / (float) n;
    float eps;
    memcpy(&eps, &dst->op_params[15], sizeof eps);
    for (int64_t i = all * ith / nth; i < all * (ith + 1) / nth; i++) {
        const float *g = row_of(dst->src[0], i), *x = row_of(dst->src[1], i), *tg = row_of(dst->src[2], i),
                    *tx = row_of(dst->src[3], i);
        float *out = (float *) dst->data + i * n;
        float inv = 1.0f / sqrtf(rows->dot(x, x, n) * share + eps);
        float m = rows->dot(x, g, n) * share * inv, ts = rows->dot(x, tx, n) * share * inv;
        float tm = (rows->dot(tx, g, n) * share - m * ts) * inv + rows->dot(x, tg, n) * share * inv;
        for (int64_t k = 0; k < n; k++) {
            float y = x[k] * inv, z = (g[k] - y * m) * inv, ty = (tx[k] - y * ts) * inv;
            out[k] = (tg[k] - ty * m - y * tm - z * ts) * inv;
        }
    }
}

T *lathe_fused_rms_back_tangent(struct ggml_context *ctx, T *z, T *g_tangent, T *x_tangent, float eps) {
    T *args[] = {z->src[0], z->src[1], g_tangent, x_tangent};
    T *y = ggml_custom_4d(ctx, GGML_TYPE_F32, z->ne[0], z->ne[1], z->ne[2], z->ne[3], args, 4,
                          rms_back_tangent_op, GGML_N_TASKS_MAX, NULL);
    memcpy(&y->op_params[15], &eps, sizeof eps);
    return y;
}

lathe_fused_kind lathe_fused_loss_kind(ggml_custom_op_t fun) {
    return fun == ce_op ? LATHE_FUSED_CE : fun == ce_back_op ? LATHE_FUSED_CE_BACK : LATHE_FUSED_NONE;
}
