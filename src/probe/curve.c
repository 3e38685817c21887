/* curve.c - loss, gradient, Hessian- and Gauss-Newton-vector products of a model on one batch. A batch is
 * taken in chunks of equal size, whose means are averaged. */
#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lathe/probe.h"
#include "lathe/tensor.h"
#include "model/build.h"
#include "model/convert.h"
#include "model/gguf.h"
#include "model/kernels_fused.h"
#include "tensor/device.h"

typedef struct ggml_tensor T;

enum { NODES_MAX = 1 << 16, CHUNK_TOKENS = 1024 };

typedef struct plan {
    struct ggml_context *nodes;
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
    struct ggml_context *fixed;
    ggml_backend_buffer_t buffer;
    ggml_backend_t cpu, blas;
    lathe_fused_kernels kernels; /* .fused NULL: LATHE_BLAS=off, and then the closed set of rules */
    lathe_diff_opts diff;
    plan gradient, product, gauss;
    int32_t rows, ctx, chunk; /* sequences in all, tokens of one, sequences at a time */
    int32_t *batch;           /* [rows][ctx + 1] */
    int32_t threads;
    lathe_curve_by by;
    void (*seen)(void *user, int32_t chunk, T *const *out); /* each chunk of a computation; NULL: nobody */
    void *seen_user;
    T *tokens, *positions, *mask, *mask_sliding, *targets;
};

static T *find(void *user, const char *name) {
    const lathe_curve *c = user;
    for (size_t i = 0; i < c->n_tensors; i++)
        if (strcmp(c->list[i].name, name) == 0)
            return c->weights[i];
    return NULL;
}

/* --- Building ------------------------------------------------------------------------------------------ */

/* Chunk i of the batch. */
static void fill_inputs(lathe_curve *c, int32_t i) {
    const int32_t *tokens = c->batch + (int64_t) i * c->chunk * (c->ctx + 1);
    for (int64_t k = 0; k < (int64_t) c->chunk * c->ctx; k++) {
        const int32_t *at = tokens + k + k / c->ctx; /* a row has ctx + 1 tokens */
        ((int32_t *) c->tokens->data)[k] = at[0];
        ((int32_t *) c->targets->data)[k] = at[1];
    }
}

static void fill_constants(lathe_curve *c) {
    int64_t ctx = c->ctx;
    for (int64_t i = 0; i < (int64_t) c->chunk * ctx; i++)
        ((int32_t *) c->positions->data)[i] = (int32_t) (i % ctx);
    for (int64_t i = 0; i < ctx * ctx; i++) {
        int64_t q = i / ctx, k = i % ctx;
        ((float *) c->mask->data)[i] = k > q ? -INFINITY : 0;
        if (c->mask_sliding != NULL)
            ((float *) c->mask_sliding->data)[i] = k > q || k <= q - c->desc.window ? -INFINITY : 0;
    }
}

typedef enum product_kind { GRADIENT, HESSIAN, GAUSS_NEWTON } product_kind;

/* G v = J^T B J v with B = (diag(p) - p p^T) / N of the softmax (Schraudolph 2002). */
static lathe_status gauss_newton(lathe_curve *c, plan *p, T *logits, lathe_error *err) {
    T *tangent, *probs = ggml_soft_max(p->nodes, logits);
    lathe_status status =
        lathe_tensor_jvp(p->nodes, &logits, 1, c->weights, c->vectors, c->n_tensors, &c->diff, &tangent, err);
    if (status != LATHE_OK)
        return status;
    T *pt = ggml_mul(p->nodes, probs, tangent);
    T *b = ggml_sub(p->nodes, pt, ggml_mul(p->nodes, probs, ggml_sum_rows(p->nodes, pt)));
    b = ggml_scale(p->nodes, b, 1.0f / (float) logits->ne[1]);
    return lathe_tensor_vjp(p->nodes, &logits, &b, 1, c->weights, c->n_tensors, &c->diff, p->out, err);
}

static lathe_status build(lathe_curve *c, plan *p, product_kind kind, lathe_error *err) {
    p->nodes = ggml_init((struct ggml_init_params){
        .mem_size = NODES_MAX * ggml_tensor_overhead() + ggml_graph_overhead_custom(NODES_MAX / 2, false),
        .no_alloc = true});
    p->out = calloc(c->n_tensors + 1, sizeof(T *));
    if (p->out == NULL || p->nodes == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the graph of %zu tensors", c->n_tensors);
    p->graph = ggml_new_graph_custom(p->nodes, NODES_MAX / 2, false);
    const lathe_kernels kernels = lathe_kernels_fused(&c->kernels);
    lathe_build b = {.ctx = p->nodes,
                     .gf = p->graph,
                     .desc = &c->desc,
                     .w = &c->roles,
                     .gelu = LATHE_GELU_EXACT,
                     .plain = true,
                     .tokens = c->tokens,
                     .pos = c->positions,
                     .mask = c->mask,
                     .mask_sliding = c->mask_sliding,
                     .n_tokens = c->ctx,
                     .n_seqs = c->chunk,
                     .kernels = &kernels};
    lathe_build_graph(&b);
    p->loss = ggml_mean(p->nodes, lathe_fused_ce(p->nodes, b.logits, c->targets));
    lathe_status status = kind == GAUSS_NEWTON ? gauss_newton(c, p, b.logits, err)
                          : kind == HESSIAN    ? lathe_tensor_hvp(p->nodes, p->loss, c->weights, c->vectors,
                                                                  c->n_tensors, &c->diff, NULL, p->out, err)
                                            : lathe_tensor_grad(p->nodes, p->loss, c->weights, c->n_tensors,
                                                                &c->diff, p->out, err);
    if (status != LATHE_OK)
        return status;
    ggml_set_output(p->loss);
    ggml_build_forward_expand(p->graph, p->loss);
    for (size_t i = c->n_tensors; i-- > 0;) {
        if (!ggml_is_contiguous(p->out[i]))
            p->out[i] = ggml_cont(p->nodes, p->out[i]);
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

/* The most sequences at a time that divide the batch and have at most so many tokens. */
static int32_t chunk_of(int32_t rows, int32_t ctx) {
    int32_t best = 1;
    for (int32_t k = 1; k <= rows; k++)
        if (rows % k == 0 && (int64_t) k * ctx <= CHUNK_TOKENS)
            best = k;
    return best;
}

static lathe_status open_curve(lathe_curve *c, const int32_t *tokens, lathe_error *err) {
    lathe_status status = lathe_desc_tensors(&c->desc, &c->list, &c->n_tensors, err);
    if (status == LATHE_OK)
        status = lathe_curve_set_batch(c, tokens, err);
    if (status != LATHE_OK)
        return status;
    int32_t ctx = c->ctx;
    int64_t positions = (int64_t) c->chunk * ctx;
    c->weights = calloc(c->n_tensors, sizeof(T *));
    c->vectors = calloc(c->n_tensors, sizeof(T *));
    c->at = calloc(c->n_tensors + 1, sizeof(size_t));
    c->fixed = ggml_init((struct ggml_init_params){
        .mem_size = (2 * c->n_tensors + 16) * ggml_tensor_overhead(), .no_alloc = true});
    c->cpu = lathe_backend_cpu(c->threads);
    c->blas = lathe_backend_blas(c->threads);
    const char *off = getenv("LATHE_BLAS");
    if (off == NULL || strcmp(off, "off") != 0)
        status = lathe_fused_new(c->threads, ctx, &c->kernels.fused, err);
    if (status != LATHE_OK)
        return status;
    if (!c->weights || !c->vectors || !c->at || !c->fixed || !c->cpu)
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
    c->targets = ggml_new_tensor_1d(c->fixed, GGML_TYPE_I32, positions);
    c->buffer = ggml_backend_alloc_ctx_tensors(c->fixed, c->cpu);
    c->base = malloc(c->n * sizeof *c->base);
    if (c->buffer == NULL || c->base == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %zu parameters twice", c->n);
    fill_constants(c);
    c->kernels.mask = c->mask;
    c->diff.fused = c->diff.processor = c->kernels.fused != NULL;
    c->kernels.window = c->desc.window;
    status = lathe_weights_bind(&c->desc, find, c, &c->roles, err);
    return status == LATHE_OK ? build(c, &c->gradient, GRADIENT, err) : status;
}

static lathe_status load(lathe_curve *c, const lathe_gguf *g, bool *quantised, lathe_error *err) {
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
    return LATHE_OK;
}

static lathe_status start(const lathe_desc *desc, int32_t rows, int32_t ctx, int32_t n_threads,
                          lathe_curve **curve, lathe_error *err) {
    if (rows < 1 || ctx < 2 || rows > 65536 || ctx > 8192 || n_threads < 1)
        return lathe_fail(err, LATHE_ERR_ARG, "%d rows of %d tokens are outside what curvature takes", rows,
                          ctx);
    lathe_curve *c = calloc(1, sizeof *c);
    if (c != NULL)
        c->batch = malloc((size_t) rows * ((size_t) ctx + 1) * sizeof *c->batch);
    if (c == NULL || c->batch == NULL) {
        free(c);
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a batch of %d x %d tokens", rows, ctx);
    }
    c->desc = *desc;
    c->rows = rows;
    c->ctx = ctx;
    c->chunk = chunk_of(rows, ctx);
    c->threads = n_threads;
    *curve = c;
    return LATHE_OK;
}

lathe_status lathe_curve_of(const struct lathe_desc *desc, const int32_t *tokens, int32_t rows, int32_t ctx,
                            int32_t n_threads, lathe_curve **curve, lathe_error *err) {
    lathe_curve *c = NULL;
    lathe_status status = start(desc, rows, ctx, n_threads, &c, err);
    if (status != LATHE_OK)
        return status;
    status = open_curve(c, tokens, err);
    if (status != LATHE_OK) {
        lathe_curve_free(c);
        return status;
    }
    *curve = c;
    return LATHE_OK;
}

lathe_status lathe_curve_new(const char *path, const int32_t *tokens, int32_t rows, int32_t ctx,
                             int32_t n_threads, lathe_curve **curve, bool *quantised, lathe_error *err) {
    lathe_gguf *g;
    lathe_desc desc;
    lathe_curve *c = NULL;
    lathe_status status = lathe_gguf_open(path, NULL, &g, err);
    if (status != LATHE_OK)
        return status;
    status = lathe_desc_from_gguf(g, &desc, err);
    if (status == LATHE_OK)
        status = lathe_desc_check(&desc, g, NULL, err);
    if (status == LATHE_OK)
        status = lathe_curve_of(&desc, tokens, rows, ctx, n_threads, &c, err);
    if (status == LATHE_OK)
        status = load(c, g, quantised, err);
    lathe_gguf_close(g);
    if (status != LATHE_OK) {
        lathe_curve_free(c);
        return status;
    }
    *curve = c;
    return LATHE_OK;
}

lathe_status lathe_curve_set_batch(lathe_curve *c, const int32_t *tokens, lathe_error *err) {
    int64_t n = (int64_t) c->rows * (c->ctx + 1);
    for (int64_t i = 0; i < n; i++)
        if (tokens[i] < 0 || tokens[i] >= c->desc.n_vocab)
            return lathe_fail(err, LATHE_ERR_INPUT, "token %d is outside the model's vocabulary of %d",
                              tokens[i], c->desc.n_vocab);
    memcpy(c->batch, tokens, (size_t) n * sizeof *tokens);
    return LATHE_OK;
}

void lathe_curve_set_weights(lathe_curve *c, size_t i, const float *values) {
    memcpy(c->base + c->at[i], values, (c->at[i + 1] - c->at[i]) * sizeof *values);
}

const float *lathe_curve_weights(const lathe_curve *c) {
    return c->base;
}

void lathe_curve_free(lathe_curve *c) {
    if (c == NULL)
        return;
    plan *plans[3] = {&c->gradient, &c->product, &c->gauss};
    for (int i = 0; i < 3; i++) {
        ggml_backend_sched_free(plans[i]->sched);
        ggml_free(plans[i]->nodes);
        free(plans[i]->out);
    }
    ggml_backend_buffer_free(c->buffer);
    ggml_free(c->fixed);
    if (c->blas != NULL)
        ggml_backend_free(c->blas);
    if (c->cpu != NULL)
        ggml_backend_free(c->cpu);
    lathe_fused_free(c->kernels.fused);
    lathe_weights_unbind(&c->roles);
    free(c->list);
    free(c->weights);
    free(c->vectors);
    free(c->at);
    free(c->base);
    free(c->batch);
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
/* --- Blocks --------------------------------------------------------------------------------------------- */

static const char *const kinds[] = {"embeddings", "norms and biases", "q",        "k",       "v",    "qkv",
                                    "o",          "ffn in",           "ffn gate", "ffn out", "head", "other"};
static const char *const kind_marks[] = {NULL,        NULL,        "attn_q.",      "attn_k.",
                                         "attn_v.",   "attn_qkv.", "attn_output.", "ffn_up.",
                                         "ffn_gate.", "ffn_down.", NULL,           NULL};

static int32_t kind_of(const lathe_desc_tensor *t) {
    if (t->role == LATHE_ROLE_EMBD || t->role == LATHE_ROLE_OUTPUT)
        return t->role == LATHE_ROLE_EMBD ? 0 : 10;
    for (int32_t i = 2; i < 10 && t->n_dims >= 2; i++)
        if (strstr(t->name, kind_marks[i]) != NULL)
            return i;
    return t->n_dims < 2 ? 1 : 11;
}

void lathe_curve_group(lathe_curve *c, lathe_curve_by by) {
    c->by = by;
}
int32_t lathe_curve_layer(const lathe_curve *c, size_t i) {
    const lathe_desc_tensor *t = &c->list[i];
    if (c->by == LATHE_CURVE_BY_TENSOR)
        return (int32_t) i;
    if (c->by == LATHE_CURVE_BY_KIND)
        return kind_of(t);
    return t->layer >= 0 ? t->layer + 1 : t->role == LATHE_ROLE_EMBD ? 0 : c->desc.n_layer + 1;
}
int32_t lathe_curve_n_layers(const lathe_curve *c) {
    return c->by == LATHE_CURVE_BY_TENSOR ? (int32_t) c->n_tensors
           : c->by == LATHE_CURVE_BY_KIND ? (int32_t) LATHE_LEN(kinds)
                                          : c->desc.n_layer + 2;
}
const char *lathe_curve_layer_name(const lathe_curve *c, int32_t l, char *text, size_t n) {
    if (c->by == LATHE_CURVE_BY_TENSOR)
        snprintf(text, n, "%s", c->list[l].name);
    else if (c->by == LATHE_CURVE_BY_KIND)
        snprintf(text, n, "%s", kinds[l]);
    else if (l == 0 || l == c->desc.n_layer + 1)
        snprintf(text, n, "%s", l == 0 ? "embeddings" : "head");
    else
        snprintf(text, n, "block %d", l - 1);
    return text;
}
bool lathe_curve_is_hidden(const lathe_curve *c, size_t i) {
    return c->list[i].role == LATHE_ROLE_MATRIX || c->list[i].role == LATHE_ROLE_RESIDUAL;
}

/* --- Products ------------------------------------------------------------------------------------------- */

static void place(const lathe_curve *c, const float *shift) {
    for (size_t i = 0; i < c->n_tensors; i++) {
        float *w = c->weights[i]->data;
        for (size_t k = c->at[i]; k < c->at[i + 1]; k++)
            w[k - c->at[i]] = c->base[k] + (shift != NULL ? shift[k] : 0);
    }
}

/* The mean over all chunks; out gets gradients or products. */
static lathe_status compute(lathe_curve *c, const plan *p, double *loss, float *out, lathe_error *err) {
    int32_t chunks = c->rows / c->chunk;
    double sum = 0;
    for (int32_t k = 0; k < chunks; k++) {
        fill_inputs(c, k);
        if (ggml_backend_sched_graph_compute(p->sched, p->graph) != GGML_STATUS_SUCCESS)
            return lathe_fail(err, LATHE_ERR_INTERNAL, "the graph did not compute");
        double value = ((const float *) p->loss->data)[0];
        if (!isfinite(value))
            return lathe_fail(err, LATHE_ERR_NUMERIC, "the loss is not finite");
        sum += value / chunks;
        float share = 1.0f / (float) chunks;
        for (size_t i = 0; out != NULL && i < c->n_tensors; i++) {
            const float *x = p->out[i]->data;
            for (size_t j = c->at[i]; j < c->at[i + 1]; j++)
                out[j] = (k == 0 ? 0 : out[j]) + share * x[j - c->at[i]];
        }
        if (c->seen != NULL && out != NULL)
            c->seen(c->seen_user, k, p->out);
    }
    if (loss != NULL)
        *loss = sum;
    return LATHE_OK;
}

lathe_status lathe_curve_loss(lathe_curve *c, const float *shift, double *loss, float *gradient,
                              lathe_error *err) {
    place(c, shift);
    return compute(c, &c->gradient, loss, gradient, err);
}

static lathe_status product(lathe_curve *c, plan *p, product_kind kind, const float *v, float *out,
                            lathe_error *err) {
    lathe_status status = p->graph == NULL ? build(c, p, kind, err) : LATHE_OK; /* built when first needed */
    if (status != LATHE_OK)
        return status;
    place(c, NULL);
    for (size_t i = 0; i < c->n_tensors; i++)
        memcpy(c->vectors[i]->data, v + c->at[i], (c->at[i + 1] - c->at[i]) * sizeof *v);
    return compute(c, p, NULL, out, err);
}

lathe_status lathe_curve_hvp(lathe_curve *c, const float *v, float *out, lathe_error *err) {
    return product(c, &c->product, HESSIAN, v, out, err);
}

lathe_status lathe_curve_gnvp(lathe_curve *c, const float *v, float *out, lathe_error *err) {
    return product(c, &c->gauss, GAUSS_NEWTON, v, out, err);
}

/* --- Gradient noise ------------------------------------------------------------------------------------- */

typedef struct noise {
    const lathe_curve *c;
    double squares; /* mean of the chunks' squared gradients */
} noise;

static void see_chunk(void *user, int32_t chunk, T *const *out) {
    noise *n = user;
    (void) chunk;
    double sum = 0;
    for (size_t i = 0; i < n->c->n_tensors; i++) {
        const float *x = out[i]->data;
        for (int64_t k = 0; k < ggml_nelements(out[i]); k++)
            sum += (double) x[k] * x[k];
    }
    n->squares += sum * n->c->chunk / n->c->rows;
}

lathe_status lathe_curve_noise(lathe_curve *c, double *g2, double *s, lathe_error *err) {
    if (c->rows == c->chunk)
        return lathe_fail(
            err, LATHE_ERR_ARG,
            "the gradient's noise needs a batch of several chunks: more sequences, or longer ones");
    float *g = malloc(c->n * sizeof *g);
    if (g == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a gradient of %zu", c->n);
    noise n = {.c = c};
    c->seen = see_chunk;
    c->seen_user = &n;
    double loss, big = 0;
    lathe_status status = lathe_curve_loss(c, NULL, &loss, g, err);
    c->seen = NULL;
    for (size_t i = 0; i < c->n; i++)
        big += (double) g[i] * g[i];
    free(g);
    lathe_noise_scale(n.squares, c->chunk, big, c->rows, g2, s);
    return status;
}

void lathe_noise_scale(double small, double n_small, double big, double n_big, double *g2, double *s) {
    *g2 = (n_big * big - n_small * small) / (n_big - n_small);
    *s = (small - big) / (1 / n_small - 1 / n_big);
}
