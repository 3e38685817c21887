/* tree_attention.c - see tree_attention.h. Source: LongSpec's hybrid tree attention (Yang et al. 2025); the
 * merge is decoding.md A3.7. */
#include "lab/tree_attention.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/machine.h"
#include "tensor/cpu/attention.h"
#include "tensor/device.h"

enum { WAYS = 3, NODES_MAX = 512, TIMES_MAX = 64 };

typedef struct work {
    const lathe_tree_attention *t;
    lathe_attention_op op;
    struct ggml_context *ctx;
    struct ggml_tensor *q, *k, *v, *mask, *mask_tree;
    struct ggml_tensor *out[WAYS];
    struct ggml_cgraph *graph[WAYS];
    int32_t parent[NODES_MAX], n_nodes;
} work;

/* Layer by layer; the nodes of a layer hang on those of the one before by turns. */
static bool make_tree(work *w) {
    int32_t first = 0, width = 1;
    w->parent[0] = -1;
    w->n_nodes = 1;
    for (size_t l = 0; l < LATHE_LEN(w->t->layer_width) && w->t->layer_width[l] > 0; l++) {
        const int32_t next = w->t->layer_width[l];
        if (w->n_nodes + next > NODES_MAX)
            return false;
        for (int32_t i = 0; i < next; i++)
            w->parent[w->n_nodes + i] = first + i % width;
        first = w->n_nodes;
        width = next;
        w->n_nodes += next;
    }
    return true;
}

static struct ggml_tensor *normals(struct ggml_context *ctx, lathe_rng *rng, enum ggml_type type, int64_t a,
                                   int64_t b, int64_t c) {
    struct ggml_tensor *t = ggml_new_tensor_3d(ctx, type, a, b, c);
    for (int64_t i = 0; i < ggml_nelements(t); i++) {
        const float x = (float) lathe_rng_normal(rng);
        if (type == GGML_TYPE_F32)
            ((float *) t->data)[i] = x;
        else
            ((ggml_fp16_t *) t->data)[i] = ggml_fp32_to_fp16(x);
    }
    return t;
}

/* f16 [n + T, T]: a node sees the n before all, and its ancestors. */
static struct ggml_tensor *make_mask(const work *w, int64_t n) {
    enum { SEEN = 0, HIDDEN = 0xfc00 };
    const int64_t width = n + w->n_nodes;
    struct ggml_tensor *mask = ggml_new_tensor_2d(w->ctx, GGML_TYPE_F16, width, w->n_nodes);
    for (int32_t i = 0; i < w->n_nodes; i++) {
        uint16_t *row = (uint16_t *) mask->data + i * width;
        for (int64_t e = 0; e < width; e++)
            row[e] = e < n ? SEEN : HIDDEN;
        for (int32_t a = i; a >= 0; a = w->parent[a])
            row[n + a] = SEEN;
    }
    return mask;
}

static struct ggml_tensor *keys(const work *w, struct ggml_tensor *t, int64_t from, int64_t n) {
    return ggml_view_3d(w->ctx, t, t->ne[0], n, t->ne[2], t->nb[1], t->nb[2], (size_t) from * t->nb[1]);
}

static struct ggml_tensor *explicitly(const work *w) {
    struct ggml_context *ctx = w->ctx;
    struct ggml_tensor *s = ggml_mul_mat(ctx, w->k, w->q);
    struct ggml_tensor *p = ggml_soft_max_ext(ctx, s, w->mask, w->op.scale, 0.0f);
    struct ggml_tensor *o = ggml_mul_mat(ctx, ggml_cont(ctx, ggml_transpose(ctx, w->v)), p);
    o = ggml_cont(ctx, ggml_permute(ctx, o, 0, 2, 1, 3));
    return ggml_reshape_2d(ctx, o, o->ne[0] * o->ne[1], o->ne[2]);
}

static bool fused(work *w, struct ggml_tensor **out) {
    const lathe_attention_in in = {.q = w->q, .k = w->k, .v = w->v, .mask = w->mask};
    lathe_attention_out o = {0};
    const bool ok = lathe_attention_node(&w->op, w->ctx, &in, &o);
    *out = o.out;
    return ok;
}

static bool in_parts(work *w, struct ggml_tensor **out) {
    const int64_t n = w->t->n_prefix;
    const lathe_attention_in before = {
        .q = w->q, .k = keys(w, w->k, 0, n), .v = keys(w, w->v, 0, n), .want_lse = true};
    const lathe_attention_in tree = {.q = w->q,
                                     .k = keys(w, w->k, n, w->n_nodes),
                                     .v = keys(w, w->v, n, w->n_nodes),
                                     .mask = w->mask_tree,
                                     .want_lse = true};
    lathe_attention_out a, b;
    if (!lathe_attention_node(&w->op, w->ctx, &before, &a) ||
        !lathe_attention_node(&w->op, w->ctx, &tree, &b))
        return false;
    *out = lathe_attention_merge(w->ctx, &a, &b).out;
    return true;
}

static lathe_status build(work *w, uint64_t seed, lathe_error *err) {
    const lathe_tree_attention *t = w->t;
    const int64_t T = w->n_nodes, all = t->n_prefix + T;
    const size_t cache = (size_t) (all * t->n_head_kv * t->width), scores = (size_t) (all * T * t->n_head);
    const size_t room = 8 * cache + 8 * scores + 8 * (size_t) (all * T) + ((size_t) 64 << 20);
    const int64_t available = lathe_memory_available();
    if (available > 0 && room > (size_t) available)
        return lathe_fail(err, LATHE_ERR_MEMORY, "scores of %lld nodes over %lld keys do not fit in memory",
                          (long long) T, (long long) all);
    lathe_rng rng = lathe_rng_new(seed, 0, 0);
    w->ctx = ggml_init((struct ggml_init_params){.mem_size = room});
    if (!w->ctx)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for attention over %lld keys", (long long) all);
    w->q = normals(w->ctx, &rng, GGML_TYPE_F32, t->width, T, t->n_head);
    w->k = normals(w->ctx, &rng, GGML_TYPE_F16, t->width, all, t->n_head_kv);
    w->v = normals(w->ctx, &rng, GGML_TYPE_F16, t->width, all, t->n_head_kv);
    w->mask = make_mask(w, t->n_prefix);
    w->mask_tree = make_mask(w, 0);
    w->out[0] = explicitly(w);
    if (!fused(w, &w->out[1]) || !in_parts(w, &w->out[2]))
        return lathe_fail(err, LATHE_ERR_UNSUPPORTED, "attention of this shape is left to ggml here");
    for (int i = 0; i < WAYS; i++) {
        w->graph[i] = ggml_new_graph(w->ctx);
        ggml_build_forward_expand(w->graph[i], w->out[i]);
    }
    return LATHE_OK;
}

static int rising(const void *a_, const void *b_) {
    const double a = *(const double *) a_, b = *(const double *) b_;
    return (a > b) - (a < b);
}

static double apart(const work *w) {
    const float *x = w->out[1]->data, *y = w->out[2]->data;
    double most = 0.0;
    for (int64_t i = 0; i < ggml_nelements(w->out[1]); i++)
        most = fmax(most, fabs((double) x[i] - (double) y[i]));
    return most;
}

lathe_status lathe_tree_attention_time(lathe_tree_attention *t, int n, uint64_t seed, lathe_error *err) {
    work *w = calloc(1, sizeof *w);
    double seconds[WAYS][TIMES_MAX];
    if (!w)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for attention");
    w->t = t;
    w->op.cpu = lathe_cpu_best(getenv("LATHE_CPU"));
    w->op.scale = 1.0f / sqrtf((float) t->width);
    w->op.n_q_max = INT32_MAX;
    lathe_status status = LATHE_OK;
    if (!w->op.cpu)
        status = lathe_fail(err, LATHE_ERR_UNSUPPORTED, "our kernels do not run here");
    else if (n < 1 || n > TIMES_MAX || !make_tree(w) || t->n_prefix < 1)
        status = lathe_fail(err, LATHE_ERR_ARG, "%d times over %lld keys; 1 to %d times, at most %d nodes", n,
                            (long long) t->n_prefix, (int) TIMES_MAX, (int) NODES_MAX);
    if (!status)
        status = build(w, seed, err);
    ggml_backend_t cpu = status ? NULL : lathe_backend_cpu(t->n_threads);
    if (!status && !cpu)
        status = lathe_fail(err, LATHE_ERR_UNSUPPORTED, "no processor among ggml's devices");
    for (int i = -1; !status && i < n; i++)
        for (int k = 0; !status && k < WAYS; k++) {
            const double start = lathe_now();
            if (ggml_backend_graph_compute(cpu, w->graph[k]) != GGML_STATUS_SUCCESS)
                status = lathe_fail(err, LATHE_ERR_MEMORY, "the graph did not run");
            if (i >= 0)
                seconds[k][i] = lathe_now() - start;
        }
    if (!status) {
        for (int k = 0; k < WAYS; k++)
            qsort(seconds[k], (size_t) n, sizeof *seconds[k], rising);
        t->explicit_s = seconds[0][n / 2];
        t->fused_s = seconds[1][n / 2];
        t->parts_s = seconds[2][n / 2];
        t->apart = apart(w);
    }
    if (cpu)
        ggml_backend_free(cpu);
    if (w->ctx)
        ggml_free(w->ctx);
    free(w);
    return status;
}
