/* net.c - the training graph of a description: attention over rows of whole sequences, cross entropy, and its
 * gradient by the transforms of tensor/. Matrix products go to the BLAS backend where there is one. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lathe/tensor.h"
#include "model/build.h"
#include "train/head.h"
#include "train/net_internal.h"

typedef struct ggml_tensor T;

enum { TENSORS_MAX = 1 << 17 };

/* As graphs see it. */
static T *find(void *user, const char *name) {
    const lathe_net *net = user;
    for (size_t i = 0; i < net->n; i++)
        if (strcmp(net->list[i].name, name) == 0)
            return lathe_mirror_of(net->mirror, net->weights[i]);
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

/* Whether logits of the whole batch are never held at once. */
static bool in_parts(const lathe_net *net) {
    return net->part > 0 && lathe_net_tokens(net) > net->part;
}

/* The forward pass of the one builder up to the loss's statistics (or, in parts, up to the hidden vectors).
 * Expands into graph. marks: NULL, or gets the layers' results. */
static void build_forward(lathe_net *net, struct ggml_cgraph *graph, layers *marks, side *s) {
    const bool learns = graph == net->backward.graph, fused = net->fused != NULL;
    const lathe_mirror *m = net->mirror;
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
                                 .tokens = lathe_mirror_of(m, net->tokens),
                                 .pos = lathe_mirror_of(m, net->positions),
                                 .mask = lathe_mirror_of(m, net->mask),
                                 .mask_sliding = lathe_mirror_of(m, net->mask_sliding),
                                 .n_tokens = net->ctx,
                                 .n_seqs = net->rows,
                                 .no_logits = in_parts(net),
                                 .kernels = &s->kernels,
                                 .tap = marks != NULL ? keep_layer : NULL,
                                 .tap_user = marks};
        lathe_build_graph(&s->build);
        s->logits = s->build.logits;
    }
    s->head = (lathe_head){.build = &s->build,
                           .targets = lathe_mirror_of(m, net->targets),
                           .part = net->part,
                           .loss = &net->loss};
    if (s->logits != NULL)
        s->rows = lathe_loss_rows(net->nodes, s->logits, lathe_mirror_of(m, net->targets),
                                  learns ? lathe_mirror_of(m, net->teacher) : NULL, &net->loss);
}

static lathe_status allocate(lathe_net *net, lathe_net_plan *p, T *const *outputs, size_t n,
                             lathe_error *err) {
    for (size_t i = 0; i < n; i++)
        ggml_build_forward_expand(p->graph, outputs[i]);
    ggml_backend_t backends[2];
    int n_backends = 0;
    if (net->device != NULL)
        backends[n_backends++] = lathe_device_backend(net->device);
    else if (net->blas != NULL)
        backends[n_backends++] = net->blas;
    backends[n_backends++] = net->cpu;
    p->sched =
        ggml_backend_sched_new(backends, NULL, n_backends, (size_t) ggml_graph_size(p->graph), false, false);
    for (int i = 0; p->sched != NULL && net->device != NULL && i < ggml_graph_n_nodes(p->graph); i++)
        if (ggml_graph_node(p->graph, i)->op ==
            GGML_OP_CUSTOM) /* ours run here, whatever a device says it can do */
            ggml_backend_sched_set_tensor_backend(p->sched, ggml_graph_node(p->graph, i), net->cpu);
    if (p->sched == NULL || !ggml_backend_sched_alloc_graph(p->sched, p->graph))
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the training graph of %d nodes",
                          ggml_graph_n_nodes(p->graph));
    return LATHE_OK;
}

static lathe_status open_device(lathe_net *net, const char *name, lathe_error *err) {
    if (name == NULL)
        return LATHE_OK;
    lathe_status status = strchr(name, ':') != NULL ? lathe_device_open_remote(name, &net->device, err)
                                                    : lathe_device_open(name, &net->device, err);
    if (status == LATHE_OK && net->task.logits != NULL && !lathe_device_is_cpu(net->device))
        status = lathe_fail(err, LATHE_ERR_UNSUPPORTED,
                            "%s: this kind of training runs on the processor only", name);
    if (status == LATHE_OK && lathe_device_is_cpu(net->device) && !lathe_device_is_remote(net->device)) {
        lathe_device_free(net->device);
        net->device = NULL;
    }
    net->loss.apart = net->device != NULL;
    return status;
}

static lathe_status open_backends(lathe_net *net, int32_t n_threads, lathe_error *err) {
    net->cpu = lathe_backend_cpu(n_threads);
    if (net->cpu == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the processor's backend");
    if (net->device != NULL)
        return LATHE_OK;
    const char *off = getenv("LATHE_BLAS");
    if (off != NULL && strcmp(off, "off") == 0)
        return LATHE_OK;
    net->blas = lathe_backend_blas(n_threads);
    return lathe_fused_new(n_threads, net->ctx, &net->fused, err);
}

/* For what is fetched from a device. */
static lathe_status make_room(lathe_net *net, lathe_error *err) {
    if (net->device == NULL)
        return LATHE_OK;
    bool ok = (net->back = calloc(net->n + 1, sizeof *net->back)) != NULL;
    for (size_t i = 0; ok && i <= net->n; i++) {
        int64_t size =
            i < net->n ? ggml_nelements(net->weights[i]) : LATHE_LOSS_FIELDS * lathe_net_tokens(net);
        ok = (net->back[i] = malloc((size_t) size * sizeof(float))) != NULL;
    }
    return ok ? LATHE_OK : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %zu gradients", net->n);
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
    status = allocate(net, &net->forward, &net->loss_rows[0], 1, err);
    return status == LATHE_OK ? make_room(net, err) : status;
}

/* Adds what the output matrix and its bias got from the parts of the logits. */
static void add_head(lathe_net *net, const lathe_head *h) {
    const struct {
        const T *weight;
        T *g;
    } parts[] = {{net->roles.output, h->d_output}, {net->roles.output_b, h->d_bias}};
    for (size_t k = 0; k < LATHE_LEN(parts); k++)
        for (size_t i = 0; i < net->n && parts[k].g != NULL; i++)
            if (lathe_mirror_of(net->mirror, net->weights[i]) ==
                parts[k].weight) /* tied: the embedding, which has a gradient of its own */
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
        seed = lathe_loss_gradient(net->nodes, top, s.rows, lathe_mirror_of(net->mirror, net->targets),
                                   lathe_mirror_of(net->mirror, net->teacher), lathe_net_tokens(net),
                                   &net->loss);
    } else {
        status = lathe_head_build(&s.head, true, err);
        top = s.build.hidden;
        seed = s.head.d_hidden;
        s.rows = s.head.rows;
    }
    const lathe_diff_opts fused = {.fused = true};
    T **weights = calloc(net->n + 1, sizeof *weights);
    if (weights == NULL && status == LATHE_OK)
        status = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %zu tensors", net->n);
    for (size_t i = 0; weights != NULL && i < net->n; i++)
        weights[i] = lathe_mirror_of(net->mirror, net->weights[i]);
    if (status == LATHE_OK && recompute)
        status = lathe_tensor_vjp_recompute(net->nodes, net->backward.graph, top, seed, marks.out, marks.n,
                                            weights, net->n, &fused, net->grads, err);
    else if (status == LATHE_OK)
        status = lathe_tensor_vjp(net->nodes, &top, &seed, 1, weights, net->n, &fused, net->grads, err);
    free(marks.out);
    free(weights);
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
    lathe_status status = open_device(net, opts->device, err);
    if (status == LATHE_OK)
        status = open_backends(net, opts->n_threads, err);
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
    const int64_t masks = lathe_net_is_reset(net) && lathe_net_is_masked(net) ? net->rows : 1;
    net->mask = ggml_new_tensor_4d(net->fixed, GGML_TYPE_F32, net->ctx, net->ctx, 1, masks);
    if (net->desc.window > 0)
        net->mask_sliding = ggml_new_tensor_4d(net->fixed, GGML_TYPE_F32, net->ctx, net->ctx, 1, masks);
    if (lathe_net_is_reset(net))
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
    lathe_net_fill_mask(net->mask->data, net->ctx, 0, NULL);
    if (net->mask_sliding != NULL)
        lathe_net_fill_mask(net->mask_sliding->data, net->ctx, net->desc.window, NULL);
    if (net->device != NULL)
        status = lathe_mirror_new(net->fixed, net->device, &net->mirror, err);
    if (status != LATHE_OK)
        return status;
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
    lathe_mirror_free(net->mirror);
    lathe_device_free(net->device);
    for (size_t i = 0; net->back != NULL && i <= net->n; i++)
        free(net->back[i]);
    free(net->back);
    lathe_fused_free(net->fused);
    lathe_weights_unbind(&net->roles);
    free(net->list);
    free(net->weights);
    free(net->grads);
    free(net);
}
