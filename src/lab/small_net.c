/* small_net.c - see small_net.h. One thread: a lab runs several nets side by side instead. */
#include "lab/small_net.h"

#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng_purpose.h"
#include "lathe/tensor.h"

typedef struct ggml_tensor T;

enum { LAYERS_MAX = 16, TENSORS_MAX = 3 + 6 * LAYERS_MAX, NODES_MAX = 1 << 15 };

typedef struct plan {
    struct ggml_cgraph *graph;
    ggml_backend_sched_t sched;
    T *loss, *logits, *out[TENSORS_MAX]; /* gradients or products */
} plan;

struct lathe_small_net {
    lathe_small_shape shape;
    lathe_small_tensor list[TENSORS_MAX];
    char names[TENSORS_MAX][24];
    T *weights[TENSORS_MAX], *vectors[TENSORS_MAX];
    size_t n, n_tensors;
    struct ggml_context *fixed, *nodes;
    ggml_backend_buffer_t buffer;
    ggml_backend_t cpu, blas;
    T *tokens, *positions, *mask, *labels, *scored;
    plan forward, gradient, product;
};

/* --- The graph -------------------------------------------------------------------------------------- */

static void declare(lathe_small_net *net, lathe_small_part part, int32_t layer, int64_t rows, int64_t cols) {
    static const char *const names[] = {"embd", "position", "q", "k", "v", "o", "in", "out", "head"};
    const size_t i = net->n_tensors++;
    const int n = snprintf(net->names[i], sizeof net->names[i], "%s.%d", names[part], layer);
    (void) n;
    net->list[i] = (lathe_small_tensor){part, layer, rows, cols, net->n, net->names[i]};
    net->n += (size_t) (rows * cols);
    net->weights[i] = ggml_new_tensor_2d(net->fixed, GGML_TYPE_F32, cols, rows);
    net->vectors[i] = net->shape.products ? ggml_new_tensor_2d(net->fixed, GGML_TYPE_F32, cols, rows) : NULL;
}

static T *weight(const lathe_small_net *net, lathe_small_part part, int32_t layer) {
    for (size_t i = 0; i < net->n_tensors; i++)
        if (net->list[i].part == part && net->list[i].layer == layer)
            return net->weights[i];
    return NULL;
}

/* [d, n] -> [d / heads, ctx, heads, rows] */
static T *heads(const lathe_small_net *net, T *x) {
    const lathe_small_shape *s = &net->shape;
    x = ggml_reshape_4d(net->nodes, x, s->n_embd / s->n_head, s->n_head, s->ctx, s->rows);
    return ggml_permute(net->nodes, x, 0, 2, 1, 3);
}

static T *attention(const lathe_small_net *net, int32_t layer, T *x) {
    const lathe_small_shape *s = &net->shape;
    struct ggml_context *c = net->nodes;
    T *q = heads(net, ggml_mul_mat(c, weight(net, LATHE_SMALL_Q, layer), x));
    T *k = heads(net, ggml_mul_mat(c, weight(net, LATHE_SMALL_K, layer), x));
    T *v = heads(net, ggml_mul_mat(c, weight(net, LATHE_SMALL_V, layer), x));
    T *p =
        ggml_soft_max_ext(c, ggml_mul_mat(c, k, q), net->mask, 1 / sqrtf((float) (s->n_embd / s->n_head)), 0);
    T *z = ggml_mul_mat(c, ggml_cont(c, ggml_transpose(c, v)), p);
    z = ggml_cont(c, ggml_permute(c, z, 0, 2, 1, 3));
    z = ggml_reshape_2d(c, z, s->n_embd, (int64_t) s->ctx * s->rows);
    return ggml_mul_mat(c, weight(net, LATHE_SMALL_O, layer), z);
}

static void build_loss(const lathe_small_net *net, plan *p) {
    const lathe_small_shape *s = &net->shape;
    struct ggml_context *c = net->nodes;
    const float eps = 1e-6f;
    T *x = ggml_add(c, ggml_get_rows(c, weight(net, LATHE_SMALL_EMBD, 0), net->tokens),
                    ggml_get_rows(c, weight(net, LATHE_SMALL_POSITION, 0), net->positions));
    for (int32_t l = 1; l <= s->n_layer; l++) {
        x = ggml_add(c, x, attention(net, l, ggml_rms_norm(c, x, eps)));
        T *h = ggml_silu(c, ggml_mul_mat(c, weight(net, LATHE_SMALL_IN, l), ggml_rms_norm(c, x, eps)));
        x = ggml_add(c, x, ggml_mul_mat(c, weight(net, LATHE_SMALL_OUT, l), h));
    }
    if (s->last_only)
        x = ggml_get_rows(c, x, net->scored);
    p->logits = ggml_mul_mat(c, weight(net, LATHE_SMALL_HEAD, s->n_layer + 1), ggml_rms_norm(c, x, eps));
    p->loss = ggml_cross_entropy_loss(c, p->logits, net->labels);
    ggml_set_output(p->logits);
    ggml_set_output(p->loss);
}

enum derivative { NONE, FIRST, SECOND };

static lathe_status build(lathe_small_net *net, plan *p, enum derivative which, lathe_error *err) {
    p->graph = ggml_new_graph_custom(net->nodes, NODES_MAX / 4, false);
    build_loss(net, p);
    lathe_status st = LATHE_OK;
    if (which == FIRST)
        st = lathe_tensor_grad(net->nodes, p->loss, net->weights, net->n_tensors,
                               &(lathe_diff_opts){.fused = true}, p->out, err);
    else if (which == SECOND)
        st = lathe_tensor_hvp(net->nodes, p->loss, net->weights, net->vectors, net->n_tensors,
                              &(lathe_diff_opts){.fused = true}, NULL, p->out, err);
    if (st)
        return st;
    ggml_build_forward_expand(p->graph, p->loss);
    for (size_t i = net->n_tensors; which != NONE && i-- > 0;) {
        if (!ggml_is_contiguous(p->out[i]))
            p->out[i] = ggml_cont(net->nodes, p->out[i]);
        ggml_set_output(p->out[i]);
        ggml_build_forward_expand(p->graph, p->out[i]);
    }
    ggml_backend_t backends[2] = {net->blas ? net->blas : net->cpu, net->cpu};
    p->sched = ggml_backend_sched_new(backends, NULL, net->blas ? 2 : 1, (size_t) ggml_graph_size(p->graph),
                                      false, false);
    if (!p->sched || !ggml_backend_sched_alloc_graph(p->sched, p->graph))
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a graph of %d nodes",
                          ggml_graph_n_nodes(p->graph));
    return LATHE_OK;
}

static void open_backends(lathe_small_net *net) {
    net->cpu = ggml_backend_cpu_init();
    if (net->cpu)
        ggml_backend_cpu_set_n_threads(net->cpu, 1);
    ggml_backend_dev_t dev = ggml_backend_dev_by_name("BLAS");
    net->blas = dev ? ggml_backend_dev_init(dev, NULL) : NULL;
    if (net->blas) {
        ggml_backend_set_n_threads_t set = NULL;
        void *address = ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(dev),
                                                          "ggml_backend_set_n_threads");
        memcpy(&set, &address, sizeof set); /* POSIX: a function's address fits a data pointer */
        if (set)
            set(net->blas, 1);
    }
}

static lathe_status fill(lathe_small_net *net, lathe_error *err) {
    const lathe_small_shape *s = &net->shape;
    const int64_t n = (int64_t) s->ctx * s->rows, d = s->n_embd, n_scored = s->last_only ? s->rows : n;
    net->fixed = ggml_init((struct ggml_init_params){
        .mem_size = (2 * TENSORS_MAX + 16) * ggml_tensor_overhead(), .no_alloc = true});
    net->nodes = ggml_init((struct ggml_init_params){
        .mem_size = NODES_MAX * ggml_tensor_overhead() + 3 * ggml_graph_overhead_custom(NODES_MAX / 4, false),
        .no_alloc = true});
    open_backends(net);
    if (!net->fixed || !net->nodes || !net->cpu)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a network");
    declare(net, LATHE_SMALL_EMBD, 0, s->n_vocab, d);
    declare(net, LATHE_SMALL_POSITION, 0, s->ctx, d);
    for (int32_t l = 1; l <= s->n_layer; l++) {
        for (int part = LATHE_SMALL_Q; part <= LATHE_SMALL_O; part++)
            declare(net, (lathe_small_part) part, l, d, d);
        declare(net, LATHE_SMALL_IN, l, s->n_ff, d);
        declare(net, LATHE_SMALL_OUT, l, d, s->n_ff);
    }
    declare(net, LATHE_SMALL_HEAD, s->n_layer + 1, s->n_vocab, d);
    net->tokens = ggml_new_tensor_1d(net->fixed, GGML_TYPE_I32, n);
    net->positions = ggml_new_tensor_1d(net->fixed, GGML_TYPE_I32, n);
    net->scored = ggml_new_tensor_1d(net->fixed, GGML_TYPE_I32, n_scored);
    net->mask = ggml_new_tensor_2d(net->fixed, GGML_TYPE_F32, s->ctx, s->ctx);
    net->labels = ggml_new_tensor_2d(net->fixed, GGML_TYPE_F32, s->n_vocab, n_scored);
    net->buffer = ggml_backend_alloc_ctx_tensors(net->fixed, net->cpu);
    if (!net->buffer)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %zu parameters", net->n);
    for (int32_t i = 0; i < n; i++)
        ((int32_t *) net->positions->data)[i] = i % s->ctx;
    for (int32_t i = 0; i < n_scored; i++)
        ((int32_t *) net->scored->data)[i] = s->last_only ? i * s->ctx + s->ctx - 1 : i;
    for (int32_t i = 0; i < s->ctx * s->ctx; i++)
        ((float *) net->mask->data)[i] = i % s->ctx > i / s->ctx ? -INFINITY : 0;
    lathe_status st = build(net, &net->forward, NONE, err);
    if (!st)
        st = build(net, &net->gradient, FIRST, err);
    return !st && s->products ? build(net, &net->product, SECOND, err) : st;
}

lathe_status lathe_small_net_new(const lathe_small_shape *s, lathe_small_net **out, lathe_error *err) {
    if (s->n_layer < 1 || s->n_layer > LAYERS_MAX || s->n_head < 1 || s->n_embd < 1 ||
        s->n_embd % s->n_head || s->n_vocab < 2 || s->n_ff < 1 || s->ctx < 1 || s->rows < 1 ||
        (int64_t) s->ctx * s->rows > 1 << 20)
        return lathe_fail(err, LATHE_ERR_ARG, "a network of these sizes cannot be built");
    lathe_small_net *net = calloc(1, sizeof *net);
    if (!net)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a network");
    net->shape = *s;
    const lathe_status st = fill(net, err);
    if (st) {
        lathe_small_net_free(net);
        return st;
    }
    *out = net;
    return LATHE_OK;
}

void lathe_small_net_free(lathe_small_net *net) {
    if (!net)
        return;
    ggml_backend_sched_free(net->forward.sched);
    ggml_backend_sched_free(net->gradient.sched);
    ggml_backend_sched_free(net->product.sched);
    ggml_backend_buffer_free(net->buffer);
    ggml_free(net->fixed);
    ggml_free(net->nodes);
    if (net->blas)
        ggml_backend_free(net->blas);
    if (net->cpu)
        ggml_backend_free(net->cpu);
    free(net);
}

/* --- Weights ---------------------------------------------------------------------------------------- */

void lathe_small_net_init(lathe_small_net *net, uint64_t seed) {
    for (size_t i = 0; i < net->n_tensors; i++) {
        const lathe_small_tensor *t = &net->list[i];
        lathe_rng rng = lathe_rng_new(seed, LATHE_RNG_WEIGHTS, (uint32_t) i);
        const bool hidden = t->part >= LATHE_SMALL_Q && t->part <= LATHE_SMALL_OUT;
        const bool residual = t->part == LATHE_SMALL_O || t->part == LATHE_SMALL_OUT;
        double std = hidden ? 1 / sqrt((double) t->cols) : 0.02;
        if (residual)
            std /= sqrt(2.0 * net->shape.n_layer);
        float *w = net->weights[i]->data;
        for (int64_t k = 0; k < t->rows * t->cols; k++)
            w[k] = (float) (std * lathe_rng_normal(&rng));
    }
}

size_t lathe_small_net_n(const lathe_small_net *net) {
    return net->n;
}
size_t lathe_small_net_n_tensors(const lathe_small_net *net) {
    return net->n_tensors;
}
const lathe_small_tensor *lathe_small_net_tensor(const lathe_small_net *net, size_t i) {
    return &net->list[i];
}
float *lathe_small_net_weights(lathe_small_net *net, size_t i) {
    return net->weights[i]->data;
}

static size_t bytes_of(const lathe_small_net *net, size_t i) {
    return (size_t) (net->list[i].rows * net->list[i].cols) * sizeof(float);
}
void lathe_small_net_get(const lathe_small_net *net, float *out) {
    for (size_t i = 0; i < net->n_tensors; i++)
        memcpy(out + net->list[i].at, net->weights[i]->data, bytes_of(net, i));
}
void lathe_small_net_set(lathe_small_net *net, const float *values) {
    for (size_t i = 0; i < net->n_tensors; i++)
        memcpy(net->weights[i]->data, values + net->list[i].at, bytes_of(net, i));
}

/* --- Use -------------------------------------------------------------------------------------------- */

lathe_status lathe_small_net_batch(lathe_small_net *net, const int32_t *tokens, const int32_t *targets,
                                   lathe_error *err) {
    const int64_t n = ggml_nelements(net->tokens), n_scored = ggml_nelements(net->scored),
                  v = net->shape.n_vocab;
    for (int64_t i = 0; i < n; i++)
        if (tokens[i] < 0 || tokens[i] >= v || (i < n_scored && (targets[i] < 0 || targets[i] >= v)))
            return lathe_fail(err, LATHE_ERR_ARG,
                              "a token of position %lld is outside the vocabulary of %lld", (long long) i,
                              (long long) v);
    memcpy(net->tokens->data, tokens, (size_t) n * sizeof *tokens);
    memset(net->labels->data, 0, ggml_nbytes(net->labels));
    for (int64_t i = 0; i < n_scored; i++)
        ((float *) net->labels->data)[i * v + targets[i]] = 1;
    return LATHE_OK;
}

static lathe_status compute(const lathe_small_net *net, const plan *p, double *loss, float *out,
                            lathe_error *err) {
    if (ggml_backend_sched_graph_compute(p->sched, p->graph) != GGML_STATUS_SUCCESS)
        return lathe_fail(err, LATHE_ERR_INTERNAL, "the graph did not compute");
    const double value = ((const float *) p->loss->data)[0];
    if (!isfinite(value))
        return lathe_fail(err, LATHE_ERR_NUMERIC, "the loss is not finite");
    if (loss)
        *loss = value;
    for (size_t i = 0; out && i < net->n_tensors; i++)
        memcpy(out + net->list[i].at, p->out[i]->data, bytes_of(net, i));
    return LATHE_OK;
}

lathe_status lathe_small_net_loss(lathe_small_net *net, double *loss, const float **logits,
                                  lathe_error *err) {
    const lathe_status st = compute(net, &net->forward, loss, NULL, err);
    if (!st && logits)
        *logits = net->forward.logits->data;
    return st;
}

lathe_status lathe_small_net_gradient(lathe_small_net *net, double *loss, float *gradient, lathe_error *err) {
    return compute(net, &net->gradient, loss, gradient, err);
}

lathe_status lathe_small_net_product(lathe_small_net *net, const float *v, float *out, lathe_error *err) {
    if (!net->product.graph)
        return lathe_fail(err, LATHE_ERR_ARG, "this network was built without products");
    for (size_t i = 0; i < net->n_tensors; i++)
        memcpy(net->vectors[i]->data, v + net->list[i].at, bytes_of(net, i));
    return compute(net, &net->product, NULL, out, err);
}
