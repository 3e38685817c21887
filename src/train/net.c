/* net.c - the training graph of a description: attention over rows of whole sequences, cross entropy, and its
 * gradient by the transforms of tensor/. Matrix products go to the BLAS backend where there is one. */
#include "train/net.h"

#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng_purpose.h"
#include "lathe/tensor.h"
#include "model/build.h"
#include "model/convert.h"
#include "model/gguf.h"
#include "model/kernels_fused.h"
#include "tensor/device.h"
#include "train/head.h"

typedef struct ggml_tensor T;

#define PI 3.14159265358979323846

enum { TENSORS_MAX = 1 << 17 };

/* A graph with its own scheduler, so that both keep their allocation. */
typedef struct plan {
    struct ggml_cgraph *graph;
    ggml_backend_sched_t sched;
} plan;

struct lathe_net {
    lathe_desc desc;
    lathe_net_task task; /* logits NULL: none */
    int32_t rows, ctx;
    lathe_desc_tensor *list;
    size_t n;
    T **weights, **grads;
    struct ggml_context *fixed, *nodes; /* weights and inputs; nodes of both graphs */
    ggml_backend_buffer_t buffer;
    ggml_backend_t blas, cpu;       /* blas: for what the fused products do not take; NULL: none */
    lathe_fused *fused;             /* NULL: LATHE_BLAS=off */
    lathe_fused_kernels kernels[2]; /* of the forward and of the backward graph */
    plan forward, backward;
    lathe_weights roles;
    T *tokens, *positions, *mask, *mask_sliding, *targets, *teacher;
    int32_t document_begin, document_end; /* ids + 1; both 0: attention crosses documents */
    T *starts; /* I32 [rows ctx] of documents, for fused attention; NULL: the masks hold them, one a sequence
                */
    T *logits; /* of the forward graph */
    T *loss_rows[2]; /* of the forward and of the backward graph */
    lathe_loss loss; /* read by both graphs */
    int64_t part;    /* tokens whose logits exist at a time; 0: all */
    bool drops;
    lathe_dropout dropout; /* read by the backward graph */
    lathe_net_sums sums;
};

static T *find(void *user, const char *name) {
    const lathe_net *net = user;
    for (size_t i = 0; i < net->n; i++)
        if (strcmp(net->list[i].name, name) == 0)
            return net->weights[i];
    return NULL;
}

/* --- The graph -------------------------------------------------------------------------------------- */

/* The layers' results, as they are built. */
typedef struct layers {
    T **out;
    size_t n;
} layers;

static void keep_layer(void *user, lathe_tap which, int32_t layer, T *t) {
    layers *l = user;
    (void) layer;
    if (which == LATHE_TAP_RESID_POST || which == LATHE_TAP_EMBD)
        l->out[l->n++] = t;
}

/* Of the forward (0) or of the backward graph (1). */
typedef struct side {
    T *logits; /* NULL: they exist in parts only */
    T *rows;   /* statistics of the loss */
    lathe_head head;
    lathe_build build;
    lathe_kernels kernels;
} side;

static int64_t tokens_of(const lathe_net *net) {
    return (int64_t) net->rows * net->ctx;
}
/* Whether logits of the whole batch are never held at once. */
static bool in_parts(const lathe_net *net) {
    return net->part > 0 && tokens_of(net) > net->part;
}

/* The forward pass of the one builder up to the loss's statistics (or, in parts, up to the hidden vectors).
 * Expands into graph. marks: NULL, or gets the layers' results. */
static void build_forward(lathe_net *net, struct ggml_cgraph *graph, layers *marks, side *s) {
    const bool learns = graph == net->backward.graph, fused = net->fused != NULL;
    lathe_fused_kernels *f = &net->kernels[learns];
    *f = (lathe_fused_kernels){.fused = net->fused,
                               .mask = net->mask,
                               .window = net->desc.window,
                               .starts = net->starts,
                               .dropout = learns && net->drops ? &net->dropout : NULL};
    s->kernels = lathe_kernels_fused(f);
    if (net->task.logits != NULL) {
        s->logits = net->task.logits(net->task.user, &(lathe_net_io){.ctx = net->nodes,
                                                                     .graph = graph,
                                                                     .tokens = net->tokens,
                                                                     .positions = net->positions,
                                                                     .mask = net->mask,
                                                                     .rows = net->rows,
                                                                     .n_ctx = net->ctx,
                                                                     .kernels = fused ? &s->kernels : NULL,
                                                                     .find = find,
                                                                     .net = net});
    } else {
        s->build = (lathe_build){.ctx = net->nodes,
                                 .gf = graph,
                                 .desc = &net->desc,
                                 .w = &net->roles,
                                 .gelu = LATHE_GELU_EXACT,
                                 .plain = true,
                                 .tokens = net->tokens,
                                 .pos = net->positions,
                                 .mask = net->mask,
                                 .mask_sliding = net->mask_sliding,
                                 .n_tokens = net->ctx,
                                 .n_seqs = net->rows,
                                 .no_logits = in_parts(net),
                                 .kernels = &s->kernels,
                                 .tap = marks != NULL ? keep_layer : NULL,
                                 .tap_user = marks};
        lathe_build_graph(&s->build);
        s->logits = s->build.logits;
    }
    s->head =
        (lathe_head){.build = &s->build, .targets = net->targets, .part = net->part, .loss = &net->loss};
    if (s->logits != NULL)
        s->rows =
            lathe_loss_rows(net->nodes, s->logits, net->targets, learns ? net->teacher : NULL, &net->loss);
}

static lathe_status allocate(lathe_net *net, plan *p, T *const *outputs, size_t n, lathe_error *err) {
    for (size_t i = 0; i < n; i++)
        ggml_build_forward_expand(p->graph, outputs[i]);
    ggml_backend_t backends[2];
    int n_backends = 0;
    if (net->blas != NULL)
        backends[n_backends++] = net->blas;
    backends[n_backends++] = net->cpu;
    p->sched =
        ggml_backend_sched_new(backends, NULL, n_backends, (size_t) ggml_graph_size(p->graph), false, false);
    if (p->sched == NULL || !ggml_backend_sched_alloc_graph(p->sched, p->graph))
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the training graph of %d nodes",
                          ggml_graph_n_nodes(p->graph));
    return LATHE_OK;
}

static lathe_status open_backends(lathe_net *net, int32_t n_threads, lathe_error *err) {
    net->cpu = lathe_backend_cpu(n_threads);
    if (net->cpu == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the processor's backend");
    const char *off = getenv("LATHE_BLAS");
    if (off != NULL && strcmp(off, "off") == 0)
        return LATHE_OK;
    net->blas = lathe_backend_blas(n_threads);
    return lathe_fused_new(n_threads, net->ctx, &net->fused, err);
}

/* Each position sees those before it from its document's start on (NULL: 0), the last `window` of them where
 * that is not 0. */
static void fill_mask(float *mask, int32_t ctx, int32_t window, const int32_t *starts) {
    for (int32_t q = 0; q < ctx; q++)
        for (int32_t k = 0; k < ctx; k++)
            mask[(size_t) q * (size_t) ctx + (size_t) k] =
                k > q || (window > 0 && k <= q - window) || (starts != NULL && k < starts[q]) ? -INFINITY : 0;
}

static bool is_reset(const lathe_net *net) {
    return net->document_begin > 0 || net->document_end > 0;
}
/* Whether masks are read at all: fused attention has its own rule, but for scores with a soft cap. */
static bool is_masked(const lathe_net *net) {
    return net->fused == NULL || net->desc.attn_softcap > 0 ||
           net->desc.n_embd_head_k != net->desc.n_embd_head_v;
}

static lathe_status build_evaluation(lathe_net *net, lathe_error *err) {
    net->forward.graph = ggml_new_graph_custom(net->nodes, TENSORS_MAX / 4, false);
    side s = {0};
    build_forward(net, net->forward.graph, NULL, &s);
    lathe_status status = LATHE_OK;
    if (s.logits == NULL) {
        status = lathe_head_build(&s.head, false, err);
        s.rows = s.head.rows;
    }
    if (status != LATHE_OK)
        return status;
    net->logits = s.logits;
    net->loss_rows[0] = s.rows;
    ggml_set_output(s.rows);
    return allocate(net, &net->forward, &net->loss_rows[0], 1, err);
}

/* Adds what the output matrix and its bias got from the parts of the logits. */
static void add_head(lathe_net *net, const lathe_head *h) {
    const struct {
        const T *weight;
        T *g;
    } parts[] = {{net->roles.output, h->d_output}, {net->roles.output_b, h->d_bias}};
    for (size_t k = 0; k < LATHE_LEN(parts); k++)
        for (size_t i = 0; i < net->n && parts[k].g != NULL; i++)
            if (net->weights[i] == parts[k].weight) /* tied: the embedding, which has a gradient of its own */
                net->grads[i] = net->grads[i]->op == GGML_OP_FILL
                                    ? parts[k].g
                                    : ggml_add(net->nodes, net->grads[i], parts[k].g);
}

/* A second copy of the forward nodes, since a tensor belongs to one allocation, and what follows from it. */
static lathe_status build_gradients(lathe_net *net, bool recompute, lathe_error *err) {
    net->backward.graph = ggml_new_graph_custom(net->nodes, TENSORS_MAX / 4, false);
    layers marks = {.out = calloc((size_t) net->desc.n_layer + 2, sizeof(T *))};
    if (marks.out == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %d layers", net->desc.n_layer);
    side s = {0};
    build_forward(net, net->backward.graph, recompute ? &marks : NULL, &s);
    T *top = s.logits, *seed = NULL;
    lathe_status status = LATHE_OK;
    if (top != NULL) {
        seed = lathe_loss_gradient(net->nodes, top, s.rows, net->targets, net->teacher, tokens_of(net),
                                   &net->loss);
    } else {
        status = lathe_head_build(&s.head, true, err);
        top = s.build.hidden;
        seed = s.head.d_hidden;
        s.rows = s.head.rows;
    }
    const lathe_diff_opts fused = {.fused = true};
    if (status == LATHE_OK && recompute)
        status = lathe_tensor_vjp_recompute(net->nodes, net->backward.graph, top, seed, marks.out, marks.n,
                                            net->weights, net->n, &fused, net->grads, err);
    else if (status == LATHE_OK)
        status = lathe_tensor_vjp(net->nodes, &top, &seed, 1, net->weights, net->n, &fused, net->grads, err);
    free(marks.out);
    if (status != LATHE_OK)
        return status;
    add_head(net, &s.head);
    net->loss_rows[1] = s.rows;
    ggml_set_output(s.rows);
    return LATHE_OK;
}

static lathe_status build(lathe_net *net, const lathe_net_opts *opts, lathe_error *err) {
    int64_t n = (int64_t) net->rows * net->ctx;
    net->weights = calloc(net->n, sizeof(T *));
    net->grads = calloc(net->n, sizeof(T *));
    net->fixed = ggml_init(
        (struct ggml_init_params){.mem_size = (net->n + 16) * ggml_tensor_overhead(), .no_alloc = true});
    net->nodes = ggml_init(
        (struct ggml_init_params){.mem_size = TENSORS_MAX / 2 * ggml_tensor_overhead() +
                                              2 * ggml_graph_overhead_custom(TENSORS_MAX / 4, false),
                                  .no_alloc = true});
    lathe_status status = open_backends(net, opts->n_threads, err);
    if (status != LATHE_OK)
        return status;
    if (!net->weights || !net->grads || !net->fixed || !net->nodes)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a model of %zu tensors", net->n);
    for (size_t i = 0; i < net->n; i++) {
        net->weights[i] = ggml_new_tensor(net->fixed, GGML_TYPE_F32, net->list[i].n_dims, net->list[i].ne);
        ggml_set_name(net->weights[i], net->list[i].name);
    }
    net->tokens = ggml_new_tensor_1d(net->fixed, GGML_TYPE_I32, n);
    net->positions = ggml_new_tensor_1d(net->fixed, GGML_TYPE_I32, n);
    const int64_t masks = is_reset(net) && is_masked(net) ? net->rows : 1;
    net->mask = ggml_new_tensor_4d(net->fixed, GGML_TYPE_F32, net->ctx, net->ctx, 1, masks);
    if (net->desc.window > 0)
        net->mask_sliding = ggml_new_tensor_4d(net->fixed, GGML_TYPE_F32, net->ctx, net->ctx, 1, masks);
    if (is_reset(net))
        net->starts = ggml_new_tensor_1d(net->fixed, GGML_TYPE_I32, n);
    net->targets = ggml_new_tensor_1d(net->fixed, GGML_TYPE_I32, n);
    if (opts->teacher)
        net->teacher = ggml_new_tensor_2d(net->fixed, GGML_TYPE_F32, net->desc.n_vocab, n);
    if (net->task.inputs != NULL)
        net->task.inputs(net->task.user, net->fixed, net->rows, net->ctx);
    net->buffer = ggml_backend_alloc_ctx_tensors(net->fixed, net->cpu);
    if (net->buffer == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the weights and inputs of %lld tokens",
                          (long long) n);
    for (int64_t i = 0; i < n; i++)
        ((int32_t *) net->positions->data)[i] = (int32_t) (i % net->ctx);
    fill_mask(net->mask->data, net->ctx, 0, NULL);
    if (net->mask_sliding != NULL)
        fill_mask(net->mask_sliding->data, net->ctx, net->desc.window, NULL);
    if (net->task.logits == NULL)
        status = lathe_weights_bind(&net->desc, find, net, &net->roles, err);
    if (status != LATHE_OK)
        return status;
    status = build_evaluation(net, err);
    if (status != LATHE_OK || !opts->gradients)
        return status;
    status = build_gradients(net, opts->recompute, err);
    if (status != LATHE_OK)
        return status;
    T **outputs = malloc((net->n + 1) * sizeof *outputs);
    if (outputs == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %zu gradients", net->n);
    outputs[0] = net->loss_rows[1];
    for (size_t i = 0; i < net->n; i++) {
        outputs[net->n - i] = net->grads[i];
        ggml_set_output(net->grads[i]);
    }
    status = allocate(net, &net->backward, outputs, net->n + 1, err);
    free(outputs);
    return status;
}

lathe_status lathe_net_open(const lathe_desc *desc, const lathe_net_opts *opts, lathe_net **out,
                            lathe_error *err) {
    int32_t rows = opts->rows, ctx = opts->ctx;
    if (rows < 1 || ctx < 2 || rows > 4096 || ctx > 65536 || opts->n_threads < 1)
        return lathe_fail(err, LATHE_ERR_ARG, "%d rows of %d tokens are outside what training takes", rows,
                          ctx);
    lathe_net *net = calloc(1, sizeof *net);
    if (net == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a model");
    net->desc = *desc;
    net->rows = rows;
    net->ctx = ctx;
    net->loss = opts->loss;
    net->drops = opts->dropout > 0;
    net->part = opts->task != NULL || !opts->gradients || opts->teacher ? 0
                : opts->logits_part > 0                                 ? opts->logits_part
                                                                        : lathe_head_part(desc->n_vocab);
    net->document_begin = opts->document_begin;
    net->document_end = opts->document_end;
    net->dropout = (lathe_dropout){.p = opts->dropout, .seed = opts->seed};
    lathe_status status = LATHE_OK;
    if (opts->task == NULL) {
        status = lathe_desc_tensors(desc, &net->list, &net->n, err);
    } else {
        net->task = *opts->task;
        net->n = opts->task->n;
        net->list = malloc(net->n * sizeof *net->list);
        if (net->list != NULL)
            memcpy(net->list, opts->task->list, net->n * sizeof *net->list);
        else
            status = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a list of %zu tensors", net->n);
    }
    if (status == LATHE_OK)
        status = build(net, opts, err);
    if (status != LATHE_OK) {
        lathe_net_free(net);
        return status;
    }
    *out = net;
    return LATHE_OK;
}

lathe_status lathe_net_new(const lathe_desc *desc, int32_t rows, int32_t ctx, int32_t n_threads,
                           bool gradients, lathe_net **out, lathe_error *err) {
    const lathe_net_opts opts = {.rows = rows, .ctx = ctx, .n_threads = n_threads, .gradients = gradients};
    return lathe_net_open(desc, &opts, out, err);
}

void lathe_net_free(lathe_net *net) {
    if (net == NULL)
        return;
    ggml_backend_sched_free(net->forward.sched);
    ggml_backend_sched_free(net->backward.sched);
    ggml_backend_buffer_free(net->buffer);
    ggml_free(net->fixed);
    ggml_free(net->nodes);
    if (net->blas != NULL)
        ggml_backend_free(net->blas);
    if (net->cpu != NULL)
        ggml_backend_free(net->cpu);
    lathe_fused_free(net->fused);
    lathe_weights_unbind(&net->roles);
    free(net->list);
    free(net->weights);
    free(net->grads);
    free(net);
}

/* --- Use ---------------------------------------------------------------------------------------------- */

size_t lathe_net_n_tensors(const lathe_net *net) {
    return net->n;
}
const lathe_desc_tensor *lathe_net_tensor(const lathe_net *net, size_t i) {
    return &net->list[i];
}
float *lathe_net_weights(const lathe_net *net, size_t i) {
    return net->weights[i]->data;
}
const float *lathe_net_gradient(const lathe_net *net, size_t i) {
    return net->grads[i]->data;
}
size_t lathe_net_bytes(const lathe_net *net) {
    size_t n = ggml_backend_buffer_get_size(net->buffer);
    const plan *plans[2] = {&net->forward, &net->backward};
    for (int i = 0; i < 2; i++)
        for (int b = 0; plans[i]->sched != NULL && b < ggml_backend_sched_get_n_backends(plans[i]->sched);
             b++)
            n += ggml_backend_sched_get_buffer_size(plans[i]->sched,
                                                    ggml_backend_sched_get_backend(plans[i]->sched, b));
    return n;
}
float *lathe_net_gradient_mutable(lathe_net *net, size_t i) {
    return net->grads[i]->data;
}
int64_t lathe_net_size(const lathe_net *net, size_t i) {
    return ggml_nelements(net->weights[i]);
}

static uint32_t name_hash(const char *name) { /* FNV-1a */
    uint32_t h = 2166136261u;
    for (; *name != '\0'; name++)
        h = (h ^ (uint8_t) *name) * 16777619u;
    return h;
}

void lathe_net_init(lathe_net *net, uint64_t seed) {
    for (size_t i = 0; i < net->n; i++) {
        const lathe_desc_tensor *d = &net->list[i];
        float *w = net->weights[i]->data;
        int64_t n = ggml_nelements(net->weights[i]);
        double std = d->role == LATHE_ROLE_EMBD ? 0.02 : 1 / sqrt((double) d->ne[0]);
        if (d->role == LATHE_ROLE_RESIDUAL)
            std /= sqrt(2.0 * (net->task.logits != NULL ? 1 : net->desc.n_layer));
        uint32_t hash = name_hash(d->name);
        for (int64_t k = 0; k < n; k += 2) {
            uint32_t word[4];
            lathe_philox(seed, LATHE_RNG_WEIGHTS, hash, (uint32_t) (k / 4), 0, word);
            const uint32_t *two = word + (k % 4);
            double u = (two[0] >> 8) + 0.5, v = (two[1] >> 8) + 0.5;
            double r = sqrt(-2 * log(u * 0x1p-24)), angle = 2 * PI * v * 0x1p-24;
            w[k] = (float) (std * r * cos(angle));
            if (k + 1 < n)
                w[k + 1] = (float) (std * r * sin(angle));
        }
        if (d->role == LATHE_ROLE_NORM)
            for (int64_t k = 0; k < n; k++)
                w[k] = 1;
        if (d->role == LATHE_ROLE_BIAS)
            memset(w, 0, (size_t) n * sizeof *w);
    }
}

lathe_status lathe_net_load(lathe_net *net, const lathe_gguf *g, lathe_error *err) {
    for (size_t i = 0; i < net->n; i++) {
        const char *name = net->list[i].name;
        const lathe_gguf_tensor *t = lathe_gguf_tensor_find(g, name);
        if (t == NULL || t->n_values != ggml_nelements(net->weights[i]))
            return lathe_fail(err, LATHE_ERR_INPUT, "%s: tensor '%s' is missing or has another size",
                              lathe_gguf_path(g), name);
        if (!lathe_convert_from_known(t->type))
            return lathe_fail(err, LATHE_ERR_UNSUPPORTED, "%s: '%s' has type %s, which cannot be read as f32",
                              lathe_gguf_path(g), name, lathe_gguf_tensor_type_name(t->type));
        lathe_convert_from(NULL, t->type, t->data, t->n_values, net->weights[i]->data);
    }
    return LATHE_OK;
}

/* Where the document of each token begins in its sequence; positions count from there, and masks follow. */
static void begin_documents(lathe_net *net) {
    const int32_t *tokens = net->tokens->data;
    int32_t *starts = net->starts->data, *positions = net->positions->data;
    for (int64_t row = 0; row < net->rows; row++) {
        const int64_t first = row * net->ctx;
        for (int32_t t = 0; t < net->ctx; t++) {
            bool begins = t == 0 || tokens[first + t] + 1 == net->document_begin ||
                          tokens[first + t - 1] + 1 == net->document_end;
            starts[first + t] = begins ? t : starts[first + t - 1];
            positions[first + t] = t - starts[first + t];
        }
        if (!is_masked(net))
            continue;
        const int64_t size = (int64_t) net->ctx * net->ctx;
        fill_mask((float *) net->mask->data + row * size, net->ctx, 0, starts + first);
        if (net->mask_sliding != NULL)
            fill_mask((float *) net->mask_sliding->data + row * size, net->ctx, net->desc.window,
                      starts + first);
    }
}

static lathe_status run(lathe_net *net, const plan *p, const T *loss_rows, const int32_t *tokens, double *out,
                        lathe_error *err) {
    int64_t v = net->desc.n_vocab, n = (int64_t) net->rows * net->ctx;
    for (int64_t i = 0; i < n; i++) {
        const int32_t *at = tokens + i + i / net->ctx; /* a row has ctx + 1 tokens */
        if (at[0] < 0 || at[0] >= v || at[1] < 0 || at[1] >= v)
            return lathe_fail(err, LATHE_ERR_ARG, "token %d or %d is outside the vocabulary", at[0], at[1]);
        ((int32_t *) net->tokens->data)[i] = at[0];
        ((int32_t *) net->targets->data)[i] = at[1];
    }
    if (is_reset(net))
        begin_documents(net);
    if (ggml_backend_sched_graph_compute(p->sched, p->graph) != GGML_STATUS_SUCCESS)
        return lathe_fail(err, LATHE_ERR_INTERNAL, "the training graph did not compute");
    net->sums = (lathe_net_sums){0};
    for (int64_t i = 0; i < n; i++) {
        const float *row = (const float *) loss_rows->data + i * LATHE_LOSS_FIELDS;
        net->sums.ce += (double) row[LATHE_LOSS_CE];
        net->sums.kl += (double) row[LATHE_LOSS_KL];
        net->sums.counted += (double) row[LATHE_LOSS_COUNTED];
    }
    *out = net->sums.ce / fmax(1, net->sums.counted);
    return LATHE_OK;
}

lathe_status lathe_net_loss(lathe_net *net, const int32_t *tokens, double *loss, lathe_error *err) {
    return run(net, &net->forward, net->loss_rows[0], tokens, loss, err);
}
lathe_status lathe_net_gradients(lathe_net *net, const int32_t *tokens, double *loss, lathe_error *err) {
    return run(net, &net->backward, net->loss_rows[1], tokens, loss, err);
}
void lathe_net_set_dropout(lathe_net *net, double p, int64_t step, int64_t first_token) {
    net->dropout.p = p;
    net->dropout.step = step;
    net->dropout.first_token = first_token;
}
lathe_net_sums lathe_net_last(const lathe_net *net) {
    return net->sums;
}
const float *lathe_net_logits(const lathe_net *net) {
    return net->logits != NULL ? net->logits->data : NULL;
}
float *lathe_net_teacher(const lathe_net *net) {
    return net->teacher != NULL ? net->teacher->data : NULL;
}

/* --- Kernels ------------------------------------------------------------------------------------------ */

static const char *blas_name(const lathe_net *net) {
    return net->fused != NULL ? lathe_fused_blas_name() : "ggml";
}

lathe_status lathe_net_choose_kernels(lathe_net *net, lathe_error *err) {
    if (net->fused == NULL || net->backward.graph == NULL)
        return LATHE_OK;
    lathe_status status = lathe_fused_choose(net->fused, net->backward.graph, net->cpu, err);
    return status == LATHE_OK ? lathe_fused_choose(net->fused, net->forward.graph, net->cpu, err) : status;
}

lathe_status lathe_net_kernels(const lathe_net *net, char **text, lathe_error *err) {
    lathe_buf b;
    lathe_buf_init(&b, 1 << 16);
    lathe_status status = lathe_buf_printf(&b, err, "blas %s\n", blas_name(net));
    if (status == LATHE_OK && net->fused != NULL)
        status = lathe_fused_write_choices(net->fused, &b, err);
    *text = status == LATHE_OK ? lathe_buf_take(&b, NULL) : NULL;
    lathe_buf_free(&b);
    return status == LATHE_OK && *text == NULL
               ? lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a list of kernels")
               : status;
}

lathe_status lathe_net_set_kernels(lathe_net *net, const char *text, bool *same, lathe_error *err) {
    size_t n = strcspn(text, "\n");
    const char *name = blas_name(net);
    *same = n == strlen(name) + 5 && strncmp(text, "blas ", 5) == 0 && strncmp(text + 5, name, n - 5) == 0;
    text += n + (text[n] == '\n');
    return net->fused != NULL ? lathe_fused_read_choices(net->fused, text, err) : LATHE_OK;
}

/* --- Looking for what is not finite --------------------------------------------------------------------- */

static bool is_bad(const T *t) {
    const float *x = t->data;
    for (int64_t i = 0; t->type == GGML_TYPE_F32 && ggml_is_contiguous(t) && i < ggml_nelements(t); i++)
        if (!isfinite(x[i]))
            return true;
    return false;
}

typedef struct search {
    const lathe_net *net;
    char *text;
    size_t n;
    bool found;
} search;

/* The scheduler asks (ask) whether we want to see a node, then shows it. */
static bool look(T *t, bool ask, void *user) {
    search *s = user;
    if (ask || s->found || !is_bad(t))
        return true;
    const char *weight = "";
    for (int i = 0; i < GGML_MAX_SRC && weight[0] == '\0'; i++)
        for (size_t k = 0; t->src[i] != NULL && k < s->net->n; k++)
            if (t->src[i] == s->net->weights[k])
                weight = s->net->list[k].name;
    bool named = strncmp(t->name, "node_", 5) != 0 && t->name[0] != '\0';
    const char *name = weight[0] != '\0' ? weight : named ? t->name : "an unnamed tensor";
    snprintf(s->text, s->n, "the result of %s with '%s'", ggml_op_desc(t), name);
    s->found = true;
    return true;
}

void lathe_net_first_bad(lathe_net *net, const int32_t *tokens, char *text, size_t n) {
    snprintf(text, n, "none");
    for (size_t i = 0; i < net->n; i++)
        if (is_bad(net->weights[i])) {
            snprintf(text, n, "weight '%s'", net->list[i].name);
            return;
        }
    search s = {net, text, n, false};
    double loss;
    ggml_backend_sched_set_eval_callback(net->forward.sched, look, &s);
    if (lathe_net_loss(net, tokens, &loss, NULL) != LATHE_OK)
        snprintf(text, n, "unknown");
    ggml_backend_sched_set_eval_callback(net->forward.sched, NULL, NULL);
}
