/* training.c - a small network learns exclusive or: own graph, lathe's gradient, Muon for the matrix, AdamW
 * for the rest, a schedule. cc training.c $(pkg-config --cflags --libs lathe ggml) */
#include <ggml-cpu.h>
#include <ggml.h>
#include <lathe/tensor.h>
#include <lathe/train.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HIDDEN = 8, N = 4, PARAMS = 4, STEPS = 200 };

int main(void) {
    const float x[2 * N] = {0, 0, 0, 1, 1, 0, 1, 1}, y[N] = {0, 1, 1, 0};
    const int64_t rows[PARAMS] = {HIDDEN, 1, 1, 1}, cols[PARAMS] = {2, HIDDEN, HIDDEN, 1};
    struct ggml_context *ctx = ggml_init((struct ggml_init_params){.mem_size = 1 << 21});
    struct ggml_tensor *p[PARAMS], *g[PARAMS], *xs = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, 2, N);
    struct ggml_tensor *ys = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, 1, N);
    memcpy(xs->data, x, sizeof x);
    memcpy(ys->data, y, sizeof y);
    lathe_rng rng = lathe_rng_new(1, 32, 0);
    for (int i = 0; i < PARAMS; i++) {
        p[i] = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, cols[i], rows[i]);
        for (int64_t k = 0; k < rows[i] * cols[i]; k++)
            ((float *) p[i]->data)[k] = (float) lathe_rng_normal(&rng) * (i < 2 ? 0.7f : 0.0f);
    }
    /* z = w2 tanh(w1 x + b1) + b2; mean of log(1 + exp(z)) - y z */
    struct ggml_tensor *h = ggml_tanh(ctx, ggml_add(ctx, ggml_mul_mat(ctx, p[0], xs), p[2]));
    struct ggml_tensor *z = ggml_add(ctx, ggml_mul_mat(ctx, p[1], h), p[3]);
    struct ggml_tensor *each = ggml_sub(ctx, ggml_softplus(ctx, z), ggml_mul(ctx, ys, z));
    struct ggml_tensor *loss = ggml_scale(ctx, ggml_sum(ctx, each), 1.0f / N);

    lathe_error err = {0};
    lathe_status st = lathe_tensor_grad(ctx, loss, p, PARAMS, NULL, g, &err);
    struct ggml_cgraph *graph = ggml_new_graph(ctx);
    ggml_build_forward_expand(graph, loss);
    for (int i = 0; i < PARAMS && !st; i++)
        ggml_build_forward_expand(graph, g[i]);
    const lathe_schedule schedule = {LATHE_SCHEDULE_COSINE, 10, STEPS, 0.1, 0};
    lathe_optim optim[PARAMS];
    float *state[PARAMS];
    for (int i = 0; i < PARAMS; i++) {
        optim[i] = lathe_optim_default(i == 0 ? LATHE_OPTIM_MUON : LATHE_OPTIM_ADAMW);
        state[i] = calloc(lathe_optim_state_size(&optim[i], rows[i], cols[i]) + 1, sizeof(float));
    }
    for (int t = 1; t <= STEPS && !st; t++) {
        ggml_graph_compute_with_ctx(ctx, graph, 1);
        if (t == 1 || t % 50 == 0)
            printf("step %3d  loss %.6f\n", t, *(float *) loss->data);
        for (int i = 0; i < PARAMS && !st; i++)
            st = lathe_optim_step(&optim[i], "w", p[i]->data, g[i]->data, state[i], rows[i], cols[i], t,
                                  0.1 * lathe_schedule_at(&schedule, t), &err);
    }
    if (st)
        fprintf(stderr, "training: %s\n", err.text);
    for (int i = 0; i < PARAMS; i++)
        free(state[i]);
    ggml_free(ctx);
    return st ? 1 : 0;
}
