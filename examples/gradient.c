/* gradient.c - the loss of a logistic regression as a ggml graph, its gradient and a Hessian-vector product.
 * cc gradient.c $(pkg-config --cflags --libs lathe ggml) */
#include <ggml-cpu.h>
#include <ggml.h>
#include <lathe/tensor.h>
#include <stdio.h>
#include <string.h>

int main(void) {
    const float x[6] = {1, 2, 0, 1, 3, -1}, y[3] = {1, 0, 1}, w0[2] = {0.5f, -0.25f}, v0[2] = {1, -2};
    struct ggml_context *ctx = ggml_init((struct ggml_init_params){.mem_size = 1 << 20});
    struct ggml_tensor *xs = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, 2, 3); /* 3 rows of 2 features */
    struct ggml_tensor *ys = ggml_new_tensor_1d(ctx, GGML_TYPE_F32, 3);
    struct ggml_tensor *w = ggml_new_tensor_1d(ctx, GGML_TYPE_F32, 2), *v = ggml_dup_tensor(ctx, w);
    memcpy(xs->data, x, sizeof x);
    memcpy(ys->data, y, sizeof y);
    memcpy(w->data, w0, sizeof w0);
    memcpy(v->data, v0, sizeof v0);

    /* mean of log(1 + exp(z)) - y z */
    struct ggml_tensor *z = ggml_mul_mat(ctx, xs, w);
    struct ggml_tensor *loss = ggml_mean(ctx, ggml_sub(ctx, ggml_softplus(ctx, z), ggml_mul(ctx, ys, z)));

    lathe_error err = {0};
    struct ggml_tensor *g = NULL, *hv = NULL; /* for one parameter, w */
    if (lathe_tensor_hvp(ctx, loss, &w, &v, 1, NULL, &g, &hv, &err)) {
        fprintf(stderr, "gradient: %s\n", err.text);
        return 1;
    }
    struct ggml_cgraph *graph = ggml_new_graph(ctx);
    ggml_build_forward_expand(graph, loss);
    ggml_build_forward_expand(graph, g);
    ggml_build_forward_expand(graph, hv);
    ggml_graph_compute_with_ctx(ctx, graph, 1);
    const float *gd = g->data, *hd = hv->data;
    printf("loss %.6f\ngradient %.6f %.6f\nH v %.6f %.6f\n", *(float *) loss->data, gd[0], gd[1], hd[0],
           hd[1]);
    ggml_free(ctx);
    return 0;
}
