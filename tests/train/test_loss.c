/* The fused cross entropy: the specification's numbers, ignored rows, label smoothing, the z-loss and the
 * teacher's part against differences of the objective in double. */
#include "support/check.h"

#include <ggml-backend.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lathe/base.h"
#include "support/graph.h"
#include "train/loss.h"

enum { V_MAX = 8, N_MAX = 4 };

typedef struct result {
    double rows[N_MAX][LATHE_LOSS_FIELDS], gradient[N_MAX * V_MAX];
} result;

static result compute(int v, int n, const float *logits, const int32_t *targets, const float *teacher,
                      lathe_loss loss) {
    result r = {0};
    struct ggml_context *ctx = ggml_init((struct ggml_init_params){.mem_size = 1 << 20});
    assert_non_null(ctx);
    struct ggml_tensor *x = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, v, n),
                       *t = ggml_new_tensor_1d(ctx, GGML_TYPE_I32, n),
                       *s = teacher != NULL ? ggml_new_tensor_2d(ctx, GGML_TYPE_F32, v, n) : NULL;
    memcpy(x->data, logits, ggml_nbytes(x));
    memcpy(t->data, targets, ggml_nbytes(t));
    if (s != NULL)
        memcpy(s->data, teacher, ggml_nbytes(s));
    struct ggml_tensor *rows = lathe_loss_rows(ctx, x, t, s, &loss),
                       *g = lathe_loss_gradient(ctx, x, rows, t, s, x->ne[1], &loss);
    struct ggml_cgraph *graph = ggml_new_graph(ctx);
    ggml_build_forward_expand(graph, g);
    run_graph(graph, 2);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < LATHE_LOSS_FIELDS; k++)
            r.rows[i][k] = (double) ((const float *) rows->data)[i * LATHE_LOSS_FIELDS + k];
    for (int i = 0; i < n * v; i++)
        r.gradient[i] = (double) ((const float *) g->data)[i];
    ggml_free(ctx);
    return r;
}

/* learning.md D.e. */
static void numbers(void **state) {
    (void) state;
    const float logits[6] = {1, 2, -1, 0, 0, 3};
    const int32_t targets[2] = {1, 0};
    const double gradient[6] = {0.1297481302,  -0.1473077437, 0.0175595135,
                                -0.4773607496, 0.0226392504,  0.4547214993};
    result r = compute(3, 2, logits, targets, NULL, (lathe_loss){0});
    check_near((r.rows[0][LATHE_LOSS_CE] + r.rows[1][LATHE_LOSS_CE]) / 2, 1.7219675866, 1e-6);
    check_array(r.gradient, gradient, 6, 1e-6);
    double a = r.rows[0][LATHE_LOSS_LSE], b = r.rows[1][LATHE_LOSS_LSE];
    check_near((a * a + b * b) / 2, 7.5482032504, 1e-5);
}

/* (1 - w) CE + w KL + z lse^2 of one row, in double. */
static double objective(int v, const double *x, int target, const float *teacher, lathe_loss l) {
    double sum = 0, mean = 0, lse, kl = 0, total = 0;
    for (int k = 0; k < v; k++) {
        sum += exp(x[k]);
        mean += x[k] / v;
        total += teacher != NULL ? exp((double) teacher[k]) : 0;
    }
    lse = log(sum);
    for (int k = 0; k < v && teacher != NULL; k++) {
        double p = exp((double) teacher[k]) / total;
        kl += p * (log(p) - x[k] + lse);
    }
    double soft = teacher != NULL ? l.soft : 0;
    return (1 - soft) * (lse - (1 - l.smoothing) * x[target] - l.smoothing * mean) + soft * kl +
           l.z * lse * lse;
}

static void differences(void **state) {
    (void) state;
    enum { V = 7, N = 3 };
    float logits[N * V], teacher[N * V];
    const int32_t targets[N] = {6, -1, 0};
    lathe_rng rng = lathe_rng_new(8, 36, 0);
    for (int i = 0; i < N * V; i++) {
        logits[i] = (float) (4 * lathe_rng_uniform(&rng) - 2);
        teacher[i] = (float) (6 * lathe_rng_uniform(&rng) - 3);
    }
    const lathe_loss losses[] = {
        {0, 0.01, 0, false}, {0, 0, 0.2, true}, {0.5, 0, 0, false}, {0.3, 0.02, 0.1, true}, {1, 0, 0, false}};
    for (size_t c = 0; c < LATHE_LEN(losses); c++) {
        const lathe_loss l = losses[c];
        result r = compute(V, N, logits, targets, l.soft > 0 ? teacher : NULL, l);
        assert_int_equal((int) r.rows[1][LATHE_LOSS_COUNTED], 0);
        for (int i = 0; i < N; i++)
            for (int k = 0; k < V; k++) {
                double x[V], h = 1e-5, expected = 0;
                for (int j = 0; j < V; j++)
                    x[j] = (double) logits[i * V + j];
                if (targets[i] >= 0) {
                    const float *t = l.soft > 0 ? teacher + i * V : NULL;
                    x[k] += h;
                    expected = objective(V, x, targets[i], t, l);
                    x[k] -= 2 * h;
                    expected = (expected - objective(V, x, targets[i], t, l)) / (2 * h) / N;
                }
                check_near(r.gradient[i * V + k], expected, 1e-6);
            }
        /* The divergence itself, and none from a teacher that is the model. */
        if (l.soft > 0) {
            double x[V];
            for (int j = 0; j < V; j++)
                x[j] = (double) logits[j];
            check_near(r.rows[0][LATHE_LOSS_KL],
                       objective(V, x, targets[0], teacher, (lathe_loss){.soft = 1}), 1e-5);
            result same = compute(V, N, logits, targets, logits, (lathe_loss){.soft = 1});
            check_near(same.rows[0][LATHE_LOSS_KL], 0, 1e-6);
            check_near(same.gradient[3], 0, 1e-6);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(numbers), cmocka_unit_test(differences)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
