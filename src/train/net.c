/* net.c - the training graph of a description: explicit attention over rows of whole sequences, cross
 * entropy, and its gradient by the transforms of tensor/. Matrix products go to the BLAS backend where there
 * is one. */
#include "train/net.h"

#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng_purpose.h"
#include "lathe/tensor.h"

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
    int32_t rows, ctx;
    lathe_desc_tensor *list;
    size_t n;
    T **weights, **grads;
    struct ggml_context *fixed, *nodes; /* weights and inputs; nodes of both graphs */
    ggml_backend_buffer_t buffer;
    ggml_backend_t blas, cpu;
    plan forward, backward;
    T *tokens, *positions, *mask, *labels, *loss;
    int32_t *last; /* [rows * ctx] targets that labels holds; -1: none */
};

static lathe_status supported(const lathe_desc *d, lathe_error *err) {
    const lathe_family *f = d->family;
    const char *what =
        f->norm != LATHE_NORM_RMS || f->norm_bias ? "LayerNorm"
        : f->position == LATHE_POSITION_LEARNED   ? "learned positions"
        : f->fused_qkv                            ? "fused projections"
        : !f->gated || f->fused_gate_up           ? "its feed-forward form"
        : f->act != LATHE_ACT_SILU                ? "its activation"
        : d->has_qkv_bias || d->has_out_bias || d->has_ffn_bias || d->has_output_bias ? "biases"
        : d->has_qk_norm || f->post_norms                                             ? "extra norms"
        : d->parallel || !d->has_ffn_norm                                             ? "parallel branches"
        : d->window || d->attn_softcap > 0 || d->final_softcap > 0                    ? "windows or soft-caps"
        : d->rope_scaling != LATHE_ROPE_PLAIN || d->has_rope_freqs                    ? "scaled RoPE"
        : d->embd_scale != 1 || d->logit_scale != 1 || d->residual_scale != 1 || d->clamp_kqv != 0
            ? "its scales"
            : NULL;
    if (what == NULL)
        return LATHE_OK;
    return lathe_fail(err, LATHE_ERR_UNSUPPORTED, "training does not build family '%s' (%s); llama is built",
                      f->name, what);
}

static T *find(const lathe_net *net, int32_t layer, const char *name) {
    char full[LATHE_DESC_NAME_MAX];
    if (layer >= 0)
        snprintf(full, sizeof full, "blk.%d.%s.weight", layer, name);
    else
        snprintf(full, sizeof full, "%s.weight", name);
    for (size_t i = 0; i < net->n; i++)
        if (strcmp(net->list[i].name, full) == 0)
            return net->weights[i];
    return NULL;
}

/* --- The graph -------------------------------------------------------------------------------------- */

static T *norm(lathe_net *net, T *x, T *gain) {
    return ggml_mul(net->nodes, ggml_rms_norm(net->nodes, x, net->desc.norm_eps), gain);
}

static T *rotate(lathe_net *net, T *x) {
    const lathe_desc *d = &net->desc;
    int mode = d->family->position == LATHE_POSITION_ROPE_NEOX ? GGML_ROPE_TYPE_NEOX : 0;
    return ggml_rope_ext(net->nodes, x, net->positions, NULL, d->n_rot, mode, 0, d->rope_base, 1.0f, 0.0f,
                         1.0f, 0.0f, 0.0f);
}

static T *attention(lathe_net *net, T *x, int32_t layer) {
    struct ggml_context *c = net->nodes;
    const lathe_desc *d = &net->desc;
    int64_t n = (int64_t) net->rows * net->ctx, t = net->ctx, b = net->rows;
    int64_t dk = d->n_embd_head_k, dv = d->n_embd_head_v, h = d->n_head, hk = d->n_head_kv;
    T *q = rotate(net, ggml_reshape_3d(c, ggml_mul_mat(c, find(net, layer, "attn_q"), x), dk, h, n));
    T *k = rotate(net, ggml_reshape_3d(c, ggml_mul_mat(c, find(net, layer, "attn_k"), x), dk, hk, n));
    T *v = ggml_reshape_4d(c, ggml_mul_mat(c, find(net, layer, "attn_v"), x), dv, hk, t, b);
    q = ggml_cont(c, ggml_permute(c, ggml_reshape_4d(c, q, dk, h, t, b), 0, 2, 1, 3));
    k = ggml_cont(c, ggml_permute(c, ggml_reshape_4d(c, k, dk, hk, t, b), 0, 2, 1, 3));
    v = ggml_cont(c, ggml_permute(c, v, 1, 2, 0, 3)); /* [t, dv, hk, b] */
    T *p = ggml_soft_max_ext(c, ggml_mul_mat(c, k, q), net->mask, d->attn_scale, 0.0f);
    T *o = ggml_cont(c, ggml_permute(c, ggml_mul_mat(c, v, p), 0, 2, 1, 3));
    return ggml_mul_mat(c, find(net, layer, "attn_output"), ggml_reshape_2d(c, o, dv * h, n));
}

static T *feed_forward(lathe_net *net, T *x, int32_t layer) {
    struct ggml_context *c = net->nodes;
    T *gate = ggml_mul_mat(c, find(net, layer, "ffn_gate"), x),
      *up = ggml_mul_mat(c, find(net, layer, "ffn_up"), x);
    return ggml_mul_mat(c, find(net, layer, "ffn_down"), ggml_swiglu_split(c, gate, up));
}

static void build_loss(lathe_net *net) {
    struct ggml_context *c = net->nodes;
    T *x = ggml_get_rows(c, find(net, -1, "token_embd"), net->tokens);
    for (int32_t l = 0; l < net->desc.n_layer; l++) {
        x = ggml_add(c, x, attention(net, norm(net, x, find(net, l, "attn_norm")), l));
        x = ggml_add(c, x, feed_forward(net, norm(net, x, find(net, l, "ffn_norm")), l));
    }
    T *head = find(net, -1, "output");
    T *logits = ggml_mul_mat(c, head != NULL ? head : find(net, -1, "token_embd"),
                             norm(net, x, find(net, -1, "output_norm")));
    net->loss = ggml_cross_entropy_loss(c, logits, net->labels);
    ggml_set_output(net->loss);
}

/* Nodes are expanded in the order of their creation, which computes a gradient as soon as it can be. */
static lathe_status allocate(lathe_net *net, plan *p, T *const *outputs, size_t n, lathe_error *err) {
    p->graph = ggml_new_graph_custom(net->nodes, TENSORS_MAX / 4, false);
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

static void open_backends(lathe_net *net, int32_t n_threads) {
    net->cpu = ggml_backend_cpu_init();
    if (net->cpu != NULL)
        ggml_backend_cpu_set_n_threads(net->cpu, n_threads);
    const char *off = getenv("LATHE_BLAS");
    ggml_backend_dev_t dev = off != NULL && strcmp(off, "off") == 0 ? NULL : ggml_backend_dev_by_name("BLAS");
    net->blas = dev == NULL ? NULL : ggml_backend_dev_init(dev, NULL);
    if (net->blas != NULL) {
        ggml_backend_set_n_threads_t set = NULL;
        void *address = ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(dev),
                                                          "ggml_backend_set_n_threads");
        memcpy(&set, &address, sizeof set); /* POSIX: a function's address fits a data pointer */
        if (set != NULL)
            set(net->blas, n_threads);
    }
}

static lathe_status build(lathe_net *net, int32_t n_threads, bool gradients, lathe_error *err) {
    int64_t n = (int64_t) net->rows * net->ctx;
    net->weights = calloc(net->n, sizeof(T *));
    net->grads = calloc(net->n, sizeof(T *));
    net->last = malloc((size_t) n * sizeof *net->last);
    net->fixed = ggml_init(
        (struct ggml_init_params){.mem_size = (net->n + 16) * ggml_tensor_overhead(), .no_alloc = true});
    net->nodes = ggml_init(
        (struct ggml_init_params){.mem_size = TENSORS_MAX / 2 * ggml_tensor_overhead() +
                                              2 * ggml_graph_overhead_custom(TENSORS_MAX / 4, false),
                                  .no_alloc = true});
    open_backends(net, n_threads);
    if (!net->weights || !net->grads || !net->last || !net->fixed || !net->nodes || !net->cpu)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a model of %zu tensors", net->n);
    for (size_t i = 0; i < net->n; i++) {
        net->weights[i] = ggml_new_tensor(net->fixed, GGML_TYPE_F32, net->list[i].n_dims, net->list[i].ne);
        ggml_set_name(net->weights[i], net->list[i].name);
    }
    net->tokens = ggml_new_tensor_1d(net->fixed, GGML_TYPE_I32, n);
    net->positions = ggml_new_tensor_1d(net->fixed, GGML_TYPE_I32, n);
    net->mask = ggml_new_tensor_2d(net->fixed, GGML_TYPE_F32, net->ctx, net->ctx);
    net->labels = ggml_new_tensor_2d(net->fixed, GGML_TYPE_F32, net->desc.n_vocab, n);
    net->buffer = ggml_backend_alloc_ctx_tensors(net->fixed, net->cpu);
    if (net->buffer == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the weights and %lld tokens of labels",
                          (long long) n);
    memset(net->labels->data, 0, ggml_nbytes(net->labels));
    for (int64_t i = 0; i < n; i++) {
        ((int32_t *) net->positions->data)[i] = (int32_t) (i % net->ctx);
        net->last[i] = -1;
    }
    for (int32_t q = 0; q < net->ctx; q++)
        for (int32_t k = 0; k < net->ctx; k++)
            ((float *) net->mask->data)[(size_t) q * (size_t) net->ctx + (size_t) k] = k > q ? -INFINITY : 0;
    build_loss(net);
    lathe_status status = allocate(net, &net->forward, &net->loss, 1, err);
    if (status != LATHE_OK || !gradients)
        return status;
    /* A second copy of the forward nodes, since a tensor belongs to one allocation. */
    T *shown = net->loss;
    build_loss(net);
    status = lathe_tensor_grad(net->nodes, net->loss, net->weights, net->n, &(lathe_diff_opts){.fused = true},
                               net->grads, err);
    if (status != LATHE_OK)
        return status;
    T **outputs = malloc((net->n + 1) * sizeof *outputs);
    if (outputs == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %zu gradients", net->n);
    outputs[0] = net->loss;
    for (size_t i = 0; i < net->n; i++) {
        outputs[net->n - i] = net->grads[i];
        ggml_set_output(net->grads[i]);
    }
    status = allocate(net, &net->backward, outputs, net->n + 1, err);
    free(outputs);
    (void) shown;
    return status;
}

lathe_status lathe_net_new(const lathe_desc *desc, int32_t rows, int32_t ctx, int32_t n_threads,
                           bool gradients, lathe_net **out, lathe_error *err) {
    lathe_status status = supported(desc, err);
    if (status != LATHE_OK)
        return status;
    if (rows < 1 || ctx < 2 || rows > 4096 || ctx > 65536 || n_threads < 1)
        return lathe_fail(err, LATHE_ERR_ARG, "%d rows of %d tokens are outside what training takes", rows,
                          ctx);
    lathe_net *net = calloc(1, sizeof *net);
    if (net == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a model");
    net->desc = *desc;
    net->rows = rows;
    net->ctx = ctx;
    status = lathe_desc_tensors(desc, &net->list, &net->n, err);
    if (status == LATHE_OK)
        status = build(net, n_threads, gradients, err);
    if (status != LATHE_OK) {
        lathe_net_free(net);
        return status;
    }
    *out = net;
    return LATHE_OK;
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
    free(net->list);
    free(net->weights);
    free(net->grads);
    free(net->last);
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
            std /= sqrt(2.0 * net->desc.n_layer);
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

static lathe_status run(lathe_net *net, const plan *p, T *loss, const int32_t *tokens, double *out,
                        lathe_error *err) {
    float *labels = net->labels->data;
    int64_t v = net->desc.n_vocab;
    for (int32_t r = 0; r < net->rows; r++)
        for (int32_t t = 0; t < net->ctx; t++) {
            int64_t i = (int64_t) r * net->ctx + t;
            const int32_t *at = tokens + (int64_t) r * (net->ctx + 1) + t;
            if (at[0] < 0 || at[0] >= v || at[1] < 0 || at[1] >= v)
                return lathe_fail(err, LATHE_ERR_ARG, "token %d or %d is outside the vocabulary", at[0],
                                  at[1]);
            ((int32_t *) net->tokens->data)[i] = at[0];
            if (net->last[i] >= 0)
                labels[i * v + net->last[i]] = 0;
            labels[i * v + at[1]] = 1;
            net->last[i] = at[1];
        }
    if (ggml_backend_sched_graph_compute(p->sched, p->graph) != GGML_STATUS_SUCCESS)
        return lathe_fail(err, LATHE_ERR_INTERNAL, "the training graph did not compute");
    *out = ((const float *) loss->data)[0];
    return LATHE_OK;
}

lathe_status lathe_net_loss(lathe_net *net, const int32_t *tokens, double *loss, lathe_error *err) {
    struct ggml_cgraph *g = net->forward.graph;
    return run(net, &net->forward, ggml_graph_node(g, -1), tokens, loss, err);
}
lathe_status lathe_net_gradients(lathe_net *net, const int32_t *tokens, double *loss, lathe_error *err) {
    return run(net, &net->backward, net->loss, tokens, loss, err);
}
