/* curvature.c - loss, gradient and Hessian-vector products of a model on one batch, and what a step does to
 * it. */
#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lathe/probe.h"
#include "lathe/tensor.h"
#include "model/build.h"
#include "model/convert.h"
#include "model/gguf.h"
#include "tensor/device.h"

typedef struct ggml_tensor T;

enum { NODES_MAX = 1 << 16 };

typedef struct plan {
    struct ggml_cgraph *graph;
    ggml_backend_sched_t sched;
    T *loss, **out; /* [n_tensors] gradients or products */
} plan;

struct lathe_curve {
    lathe_desc desc;
    lathe_desc_tensor *list;
    size_t n_tensors, n;
    size_t *at; /* [n_tensors] first element */
    T **weights, **vectors;
    float *base; /* [n] the model's weights */
    lathe_weights roles;
    struct ggml_context *fixed, *nodes;
    ggml_backend_buffer_t buffer;
    ggml_backend_t cpu, blas;
    plan gradient, product;
    T *tokens, *positions, *mask, *mask_sliding, *labels;
};

static T *find(void *user, const char *name) {
    const lathe_curve *c = user;
    for (size_t i = 0; i < c->n_tensors; i++)
        if (strcmp(c->list[i].name, name) == 0)
            return c->weights[i];
    return NULL;
}

/* --- Building ------------------------------------------------------------------------------------------ */

static void fill_inputs(lathe_curve *c, const int32_t *tokens, int32_t rows, int32_t ctx) {
    int64_t v = c->desc.n_vocab;
    memset(c->labels->data, 0, ggml_nbytes(c->labels));
    for (int64_t i = 0; i < (int64_t) rows * ctx; i++) {
        const int32_t *at = tokens + i + i / ctx; /* a row has ctx + 1 tokens */
        ((int32_t *) c->tokens->data)[i] = at[0];
        ((int32_t *) c->positions->data)[i] = (int32_t) (i % ctx);
        ((float *) c->labels->data)[i * v + at[1]] = 1;
    }
    for (int64_t i = 0; i < (int64_t) ctx * ctx; i++) {
        int64_t q = i / ctx, k = i % ctx;
        ((float *) c->mask->data)[i] = k > q ? -INFINITY : 0;
        if (c->mask_sliding != NULL)
            ((float *) c->mask_sliding->data)[i] = k > q || k <= q - c->desc.window ? -INFINITY : 0;
    }
}

static lathe_status build(lathe_curve *c, plan *p, int32_t rows, int32_t ctx, bool second, lathe_error *err) {
    p->graph = ggml_new_graph_custom(c->nodes, NODES_MAX / 4, false);
    p->out = calloc(c->n_tensors + 1, sizeof(T *));
    if (p->out == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %zu tensors", c->n_tensors);
    lathe_build b = {.ctx = c->nodes,
                     .gf = p->graph,
                     .desc = &c->desc,
                     .w = &c->roles,
                     .gelu = LATHE_GELU_EXACT,
                     .plain = true,
                     .tokens = c->tokens,
                     .pos = c->positions,
                     .mask = c->mask,
                     .mask_sliding = c->mask_sliding,
                     .n_tokens = ctx,
                     .n_seqs = rows};
    lathe_build_graph(&b);
    p->loss = ggml_cross_entropy_loss(c->nodes, b.logits, c->labels);
    lathe_status status =
        second ? lathe_tensor_hvp(c->nodes, p->loss, c->weights, c->vectors, c->n_tensors, NULL, p->out, err)
               : lathe_tensor_grad(c->nodes, p->loss, c->weights, c->n_tensors,
                                   &(lathe_diff_opts){.fused = true}, p->out, err);
    if (status != LATHE_OK)
        return status;
    ggml_set_output(p->loss);
    ggml_build_forward_expand(p->graph, p->loss);
    for (size_t i = c->n_tensors; i-- > 0;) {
        if (!ggml_is_contiguous(p->out[i]))
            p->out[i] = ggml_cont(c->nodes, p->out[i]);
        ggml_set_output(p->out[i]);
        ggml_build_forward_expand(p->graph, p->out[i]);
    }
    ggml_backend_t backends[2] = {c->blas != NULL ? c->blas : c->cpu, c->cpu};
    p->sched = ggml_backend_sched_new(backends, NULL, c->blas != NULL ? 2 : 1,
                                      (size_t) ggml_graph_size(p->graph), false, false);
    if (p->sched == NULL || !ggml_backend_sched_alloc_graph(p->sched, p->graph))
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a graph of %d nodes",
                          ggml_graph_n_nodes(p->graph));
    return LATHE_OK;
}

static lathe_status open_curve(lathe_curve *c, const lathe_gguf *g, const int32_t *tokens, int32_t rows,
                               int32_t ctx, int32_t n_threads, bool *quantised, lathe_error *err) {
    lathe_status status = lathe_desc_from_gguf(g, &c->desc, err);
    if (status == LATHE_OK)
        status = lathe_desc_check(&c->desc, g, NULL, err);
    if (status == LATHE_OK)
        status = lathe_desc_tensors(&c->desc, &c->list, &c->n_tensors, err);
    if (status != LATHE_OK)
        return status;
    for (int64_t i = 0; i < (int64_t) rows * (ctx + 1); i++)
        if (tokens[i] < 0 || tokens[i] >= c->desc.n_vocab)
            return lathe_fail(err, LATHE_ERR_INPUT, "token %d is outside the model's vocabulary of %d",
                              tokens[i], c->desc.n_vocab);
    int64_t positions = (int64_t) rows * ctx;
    c->weights = calloc(c->n_tensors, sizeof(T *));
    c->vectors = calloc(c->n_tensors, sizeof(T *));
    c->at = calloc(c->n_tensors + 1, sizeof(size_t));
    c->fixed = ggml_init((struct ggml_init_params){
        .mem_size = (2 * c->n_tensors + 16) * ggml_tensor_overhead(), .no_alloc = true});
    c->nodes = ggml_init((struct ggml_init_params){
        .mem_size = NODES_MAX * ggml_tensor_overhead() + 2 * ggml_graph_overhead_custom(NODES_MAX / 4, false),
        .no_alloc = true});
    c->cpu = lathe_backend_cpu(n_threads);
    c->blas = lathe_backend_blas(n_threads);
    if (!c->weights || !c->vectors || !c->at || !c->fixed || !c->nodes || !c->cpu)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a model of %zu tensors", c->n_tensors);
    for (size_t i = 0; i < c->n_tensors; i++) {
        c->weights[i] = ggml_new_tensor(c->fixed, GGML_TYPE_F32, c->list[i].n_dims, c->list[i].ne);
        c->vectors[i] = ggml_new_tensor(c->fixed, GGML_TYPE_F32, c->list[i].n_dims, c->list[i].ne);
        c->at[i + 1] = c->at[i] + (size_t) ggml_nelements(c->weights[i]);
    }
    c->n = c->at[c->n_tensors];
    c->tokens = ggml_new_tensor_1d(c->fixed, GGML_TYPE_I32, positions);
    c->positions = ggml_new_tensor_1d(c->fixed, GGML_TYPE_I32, positions);
    c->mask = ggml_new_tensor_2d(c->fixed, GGML_TYPE_F32, ctx, ctx);
    c->mask_sliding = c->desc.window > 0 ? ggml_new_tensor_2d(c->fixed, GGML_TYPE_F32, ctx, ctx) : NULL;
    c->labels = ggml_new_tensor_2d(c->fixed, GGML_TYPE_F32, c->desc.n_vocab, positions);
    c->buffer = ggml_backend_alloc_ctx_tensors(c->fixed, c->cpu);
    c->base = malloc(c->n * sizeof *c->base);
    if (c->buffer == NULL || c->base == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %zu parameters twice", c->n);
    bool rounded = false;
    for (size_t i = 0; i < c->n_tensors; i++) {
        const lathe_gguf_tensor *t = lathe_gguf_tensor_find(g, c->list[i].name);
        if (!lathe_convert_from_known(t->type))
            return lathe_fail(err, LATHE_ERR_UNSUPPORTED, "%s has type %s, which cannot be dequantised",
                              t->name, lathe_gguf_tensor_type_name(t->type));
        lathe_convert_from(NULL, t->type, t->data, t->n_values, c->base + c->at[i]);
        rounded = rounded || t->type != GGML_TYPE_F32;
    }
    if (quantised != NULL)
        *quantised = rounded;
    fill_inputs(c, tokens, rows, ctx);
    status = lathe_weights_bind(&c->desc, find, c, &c->roles, err);
    if (status == LATHE_OK)
        status = build(c, &c->gradient, rows, ctx, false, err);
    return status == LATHE_OK ? build(c, &c->product, rows, ctx, true, err) : status;
}

lathe_status lathe_curve_new(const char *path, const int32_t *tokens, int32_t rows, int32_t ctx,
                             int32_t n_threads, lathe_curve **curve, bool *quantised, lathe_error *err) {
    if (rows < 1 || ctx < 2 || rows > 4096 || ctx > 8192 || n_threads < 1)
        return lathe_fail(err, LATHE_ERR_ARG, "%d rows of %d tokens are outside what curvature takes", rows,
                          ctx);
    lathe_gguf *g;
    lathe_status status = lathe_gguf_open(path, NULL, &g, err);
    if (status != LATHE_OK)
        return status;
    lathe_curve *c = calloc(1, sizeof *c);
    status = c == NULL ? lathe_fail(err, LATHE_ERR_MEMORY, "no memory")
                       : open_curve(c, g, tokens, rows, ctx, n_threads, quantised, err);
    lathe_gguf_close(g);
    if (status != LATHE_OK) {
        lathe_curve_free(c);
        return status;
    }
    *curve = c;
    return LATHE_OK;
}

void lathe_curve_free(lathe_curve *c) {
    if (c == NULL)
        return;
    ggml_backend_sched_free(c->gradient.sched);
    ggml_backend_sched_free(c->product.sched);
    ggml_backend_buffer_free(c->buffer);
    ggml_free(c->fixed);
    ggml_free(c->nodes);
    if (c->blas != NULL)
        ggml_backend_free(c->blas);
    if (c->cpu != NULL)
        ggml_backend_free(c->cpu);
    lathe_weights_unbind(&c->roles);
    free(c->gradient.out);
    free(c->product.out);
    free(c->list);
    free(c->weights);
    free(c->vectors);
    free(c->at);
    free(c->base);
    free(c);
}

size_t lathe_curve_n(const lathe_curve *c) {
    return c->n;
}
size_t lathe_curve_n_tensors(const lathe_curve *c) {
    return c->n_tensors;
}
const char *lathe_curve_tensor_name(const lathe_curve *c, size_t i) {
    return c->list[i].name;
}
size_t lathe_curve_tensor_at(const lathe_curve *c, size_t i, int64_t *rows, int64_t *cols) {
    int64_t n = ggml_nelements(c->weights[i]);
    *rows = c->list[i].n_dims < 2 ? 1 : n / c->list[i].ne[0];
    *cols = n / *rows;
    return c->at[i];
}
int32_t lathe_curve_layer(const lathe_curve *c, size_t i) {
    const lathe_desc_tensor *t = &c->list[i];
    return t->layer >= 0 ? t->layer + 1 : t->role == LATHE_ROLE_EMBD ? 0 : c->desc.n_layer + 1;
}
int32_t lathe_curve_n_layers(const lathe_curve *c) {
    return c->desc.n_layer + 2;
}

/* --- Products ------------------------------------------------------------------------------------------- */

static void place(const lathe_curve *c, const float *shift) {
    for (size_t i = 0; i < c->n_tensors; i++) {
        float *w = c->weights[i]->data;
        for (size_t k = c->at[i]; k < c->at[i + 1]; k++)
            w[k - c->at[i]] = c->base[k] + (shift != NULL ? shift[k] : 0);
    }
}

static lathe_status compute(const lathe_curve *c, const plan *p, double *loss, float *out, lathe_error *err) {
    if (ggml_backend_sched_graph_compute(p->sched, p->graph) != GGML_STATUS_SUCCESS)
        return lathe_fail(err, LATHE_ERR_INTERNAL, "the graph did not compute");
    double value = ((const float *) p->loss->data)[0];
    if (!isfinite(value))
        return lathe_fail(err, LATHE_ERR_NUMERIC, "the loss is not finite");
    if (loss != NULL)
        *loss = value;
    for (size_t i = 0; out != NULL && i < c->n_tensors; i++)
        memcpy(out + c->at[i], p->out[i]->data, (c->at[i + 1] - c->at[i]) * sizeof *out);
    return LATHE_OK;
}

lathe_status lathe_curve_loss(lathe_curve *c, const float *shift, double *loss, float *gradient,
                              lathe_error *err) {
    place(c, shift);
    return compute(c, &c->gradient, loss, gradient, err);
}

lathe_status lathe_curve_hvp(lathe_curve *c, const float *v, float *out, lathe_error *err) {
    place(c, NULL);
    for (size_t i = 0; i < c->n_tensors; i++)
        memcpy(c->vectors[i]->data, v + c->at[i], (c->at[i + 1] - c->at[i]) * sizeof *v);
    return compute(c, &c->product, NULL, out, err);
}

/* --- One step ------------------------------------------------------------------------------------------- */

static double dot(const float *a, const float *b, size_t n) {
    double s = 0;
    for (size_t i = 0; i < n; i++)
        s += (double) a[i] * b[i];
    return s;
}

/* Row l of the block matrix: <z_k, H z_l> for all layers k. */
static lathe_status block_row(lathe_curve *c, const float *z, int32_t l, float *part, float *h, double *row,
                              lathe_error *err) {
    for (size_t i = 0; i < c->n_tensors; i++)
        for (size_t k = c->at[i]; k < c->at[i + 1]; k++)
            part[k] = lathe_curve_layer(c, i) == l ? z[k] : 0;
    lathe_status status = lathe_curve_hvp(c, part, h, err);
    for (size_t i = 0; status == LATHE_OK && i < c->n_tensors; i++)
        row[lathe_curve_layer(c, i)] += dot(z + c->at[i], h + c->at[i], c->at[i + 1] - c->at[i]);
    return status;
}

lathe_status lathe_probe_curvature(lathe_curve *c, const float *z, bool split, const lathe_progress *progress,
                                   lathe_curvature *out, lathe_error *err) {
    lathe_curvature r = {.n_layers = lathe_curve_n_layers(c), .within = NAN, .cross = NAN, .nds = NAN};
    float *g = malloc(c->n * 3 * sizeof *g);
    size_t n = (size_t) r.n_layers;
    r.block_matrix = split ? calloc(n * n, sizeof(double)) : NULL;
    if (g == NULL || (split && r.block_matrix == NULL)) {
        free(g);
        free(r.block_matrix);
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for vectors of %zu parameters", c->n);
    }
    float *h = g + c->n, *minus = h + c->n;
    for (size_t i = 0; i < c->n; i++)
        minus[i] = -z[i];
    double after;
    lathe_status status = lathe_curve_loss(c, minus, &after, NULL, err);
    if (status == LATHE_OK)
        status = lathe_curve_loss(c, NULL, &r.loss, g, err);
    if (status == LATHE_OK)
        status = lathe_curve_hvp(c, z, h, err);
    if (status == LATHE_OK) {
        double q = dot(z, h, c->n);
        r.decrease = r.loss - after;
        r.gain = dot(g, z, c->n);
        r.penalty = q / 2;
        r.update_norm2 = dot(z, z, c->n);
        if (r.update_norm2 > 0)
            r.nds = q / r.update_norm2;
    }
    for (int32_t l = 0; split && status == LATHE_OK && l < r.n_layers; l++) {
        status = block_row(c, z, l, minus, h, r.block_matrix + (size_t) l * n, err);
        if (status == LATHE_OK)
            status = lathe_progress_step(progress, "layers", l + 1, r.n_layers, err);
    }
    if (split && status == LATHE_OK && r.update_norm2 > 0) {
        r.within = r.cross = 0;
        for (size_t i = 0; i < n * n; i++)
            *(i % (n + 1) == 0 ? &r.within : &r.cross) += r.block_matrix[i] / r.update_norm2;
    }
    free(g);
    if (status != LATHE_OK) {
        free(r.block_matrix);
        return status;
    }
    *out = r;
    return LATHE_OK;
}
