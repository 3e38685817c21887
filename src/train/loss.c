/* loss.c - see loss.h. */
#include "train/loss.h"

#include <math.h>
#include <string.h>

#include "tensor/cpu/rows.h"

typedef struct ggml_tensor T;

static const float *row_of(const T *x, int64_t i) {
    return (const float *) x->data + i * x->ne[0];
}

static double log_sum(const lathe_rows *rows, const float *x, int64_t v) {
    float m = rows->largest(x, v);
    return (double) m + log(rows->exp_sum(x, v, m));
}

static void rows_op(T *dst, int ith, int nth, void *user) {
    (void) user;
    const T *logits = dst->src[0], *targets = dst->src[1], *teacher = dst->src[2];
    const lathe_rows *rows = lathe_rows_best();
    int64_t v = logits->ne[0], n = dst->ne[1];
    for (int64_t i = n * ith / nth; i < n * (ith + 1) / nth; i++) {
        float *out = (float *) dst->data + i * LATHE_LOSS_FIELDS;
        int32_t target = ((const int32_t *) targets->data)[i];
        const float *x = row_of(logits, i);
        double lse = log_sum(rows, x, v), kl = 0;
        if (teacher != NULL && target >= 0) { /* sum p_t (log p_t - log p) */
            const float *t = row_of(teacher, i);
            double lt = log_sum(rows, t, v);
            for (int64_t k = 0; k < v; k++) {
                float p = expf((float) (t[k] - lt));
                kl += p > 0 ? (double) p * ((double) t[k] - (double) x[k]) : 0;
            }
            kl += lse - lt;
        }
        out[LATHE_LOSS_CE] = target >= 0 ? (float) (lse - (double) x[target]) : 0;
        out[LATHE_LOSS_KL] = (float) kl;
        out[LATHE_LOSS_LSE] = (float) lse;
        out[LATHE_LOSS_COUNTED] = target >= 0;
    }
}

static void gradient_op(T *dst, int ith, int nth, void *user) {
    const lathe_loss *loss = user;
    const lathe_rows *best = lathe_rows_best();
    const T *logits = dst->src[0], *rows = dst->src[1], *targets = dst->src[2], *teacher = dst->src[3];
    int64_t v = dst->ne[0], n = dst->ne[1];
    float soft = teacher != NULL ? (float) loss->soft : 0, hard = 1 - soft;
    int32_t n_all;
    memcpy(&n_all, &dst->op_params[15], sizeof n_all);
    float share = 1.0f / (float) n_all;
    float on = hard * (float) (1 - loss->smoothing), off = hard * (float) loss->smoothing / (float) v;
    for (int64_t i = n * ith / nth; i < n * (ith + 1) / nth; i++) {
        float *x = (float *) dst->data + i * v;
        int32_t target = ((const int32_t *) targets->data)[i];
        float lse = row_of(rows, i)[LATHE_LOSS_LSE];
        if (target < 0) {
            for (int64_t k = 0; k < v; k++)
                x[k] = 0;
            continue;
        }
        float scale = share * (1 + 2 * (float) loss->z * lse);
        best->exp(row_of(logits, i), v, lse, x); /* mostly x itself */
        for (int64_t k = 0; k < v; k++)
            x[k] = scale * x[k] - share * off;
        x[target] -= share * on;
        if (soft > 0) {
            const float *t = row_of(teacher, i);
            float lt = (float) log_sum(best, t, v);
            for (int64_t k = 0; k < v; k++)
                x[k] -= share * soft * expf(t[k] - lt);
        }
    }
}

T *lathe_loss_rows(struct ggml_context *ctx, T *logits, T *targets, T *teacher, lathe_loss *loss) {
    T *args[] = {logits, targets, teacher};
    return ggml_custom_4d(ctx, GGML_TYPE_F32, LATHE_LOSS_FIELDS, logits->ne[1], 1, 1, args,
                          teacher != NULL ? 3 : 2, rows_op, GGML_N_TASKS_MAX, loss);
}

T *lathe_loss_gradient(struct ggml_context *ctx, T *logits, T *rows, T *targets, T *teacher, int64_t n_all,
                       lathe_loss *loss) {
    T *args[] = {logits, rows, targets, teacher};
    const int n = teacher != NULL ? 4 : 3;
    T *g = loss->apart
               ? ggml_custom_4d(ctx, GGML_TYPE_F32, logits->ne[0], logits->ne[1], 1, 1, args, n, gradient_op,
                                GGML_N_TASKS_MAX, loss)
               : ggml_custom_inplace(ctx, logits, args + 1, n - 1, gradient_op, GGML_N_TASKS_MAX, loss);
    g->op_params[15] = (int32_t) n_all; /* behind what ggml keeps there */
    return g;
}
