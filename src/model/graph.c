/* graph.c - graphs of a context: built once for a shape, then used for every batch of it. */
#include <stdlib.h>
#include <string.h>

#include "base/machine.h"
#include "model/model_impl.h"

/* --- The cache as the builder sees it ------------------------------------------------------------ */

typedef struct kv_user {
    lathe_context *c;
    lathe_graph *g;
} kv_user;

static void kv_write(void *user, lathe_build *b, int32_t layer, struct ggml_tensor *k,
                     struct ggml_tensor *v) {
    kv_user *u = user;
    struct ggml_tensor *k2 = ggml_reshape_2d(b->ctx, k, k->ne[0] * k->ne[1], k->ne[2]);
    struct ggml_tensor *v2 = ggml_reshape_2d(b->ctx, v, v->ne[0] * v->ne[1], v->ne[2]);
    int group = u->c->kv.policy.group[layer];
    struct ggml_tensor *rows = group == 0 ? u->g->rows : u->g->streams[group].rows;
    ggml_build_forward_expand(b->gf, ggml_set_rows(b->ctx, u->c->kv.k[layer], k2, rows));
    ggml_build_forward_expand(b->gf, ggml_set_rows(b->ctx, u->c->kv.v[layer], v2, rows));
}

static struct ggml_tensor *kv_rotate_write(void *user, lathe_build *b, int32_t layer, struct ggml_tensor *q,
                                           struct ggml_tensor *k, struct ggml_tensor *v) {
    const kv_user *u = user;
    lathe_rope_op *op = &u->c->rope[lathe_desc_window(b->desc, layer) > 0];
    if (op->cpu == NULL)
        return NULL;
    int group = u->c->kv.policy.group[layer];
    const lathe_rope_store_in in = {.q = q,
                                    .k = k,
                                    .v = v,
                                    .pos = b->pos,
                                    .rows = group == 0 ? u->g->rows : u->g->streams[group].rows,
                                    .factors = lathe_rope_factors(b),
                                    .cache_k = u->c->kv.k[layer],
                                    .cache_v = u->c->kv.v[layer]};
    struct ggml_tensor *turned = lathe_rope_store(op, b->ctx, &in);
    if (turned != NULL)
        ggml_build_forward_expand(b->gf, turned); /* before anything reads the cache */
    return turned;
}

static struct ggml_tensor *kv_view(lathe_build *b, struct ggml_tensor *cache, int32_t width, int32_t n_kv) {
    return ggml_view_3d(b->ctx, cache, width, n_kv, b->desc->n_head_kv, cache->nb[1],
                        ggml_row_size(cache->type, width), 0);
}

static void kv_read(void *user, lathe_build *b, int32_t layer, struct ggml_tensor **k,
                    struct ggml_tensor **v) {
    const kv_user *u = user;
    int group = u->c->kv.policy.group[layer];
    int32_t n_kv = group == 0 ? u->g->key.n_kv : u->c->kv.n_rows[group];
    *k = kv_view(b, u->c->kv.k[layer], b->desc->n_embd_head_k, n_kv);
    *v = kv_view(b, u->c->kv.v[layer], b->desc->n_embd_head_v, n_kv);
}

static void kv_see(void *user, lathe_build *b, int32_t layer, struct ggml_tensor **rows,
                   struct ggml_tensor **mask) {
    const kv_user *u = user;
    int group = u->c->kv.policy.group[layer];
    (void) b;
    if (group == 0)
        return;
    *rows = u->g->streams[group].entries;
    *mask = u->g->streams[group].mask;
}

/* --- Taps ---------------------------------------------------------------------------------------- */

static bool tap_wants(void *user, lathe_tap which, int32_t layer) {
    const kv_user *u = user;
    return lathe_tap_wanted(&u->c->taps, which, layer);
}

/* Keeps a wanted tensor: marked as output, as contiguous f32. */
static void tap_keep(void *user, lathe_tap which, int32_t layer, struct ggml_tensor *t) {
    kv_user *u = user;
    if (!tap_wants(user, which, layer) || u->g->n_taps == u->g->max_taps)
        return;
    if (t->type != GGML_TYPE_F32)
        t = ggml_cast(u->g->ctx, t, GGML_TYPE_F32);
    else if (!ggml_is_contiguous(t) || t->view_src != NULL)
        t = ggml_cont(u->g->ctx, t); /* a view's memory may be written over later */
    ggml_set_output(t);
    ggml_build_forward_expand(u->g->gf, t);
    u->g->taps[u->g->n_taps++] = (lathe_graph_tap){.which = which, .layer = layer, .tensor = t};
}

/* --- Building ------------------------------------------------------------------------------------ */

void lathe_graph_free(lathe_graph *g) {
    if (g->alloc != NULL)
        ggml_gallocr_free(g->alloc);
    if (g->ctx != NULL)
        ggml_free(g->ctx);
    free(g->memory);
    free(g->taps);
    *g = (lathe_graph){0};
}

static lathe_status prepare_memory(lathe_context *c, lathe_graph *g, size_t n_nodes, lathe_error *err) {
    size_t need = n_nodes * ggml_tensor_overhead() + ggml_graph_overhead_custom(n_nodes, false);
    if (g->ctx != NULL)
        ggml_free(g->ctx);
    g->ctx = NULL;
    if (g->n_memory < need) {
        free(g->memory);
        g->n_memory = 0;
        g->memory = malloc(need);
        if (g->memory == NULL)
            return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a graph of %zu nodes", n_nodes);
        g->n_memory = need;
    }
    if (g->key.taps != 0 && g->taps == NULL) {
        g->max_taps = (size_t) LATHE_TAP_COUNT * ((size_t) c->model->desc.n_layer + 1);
        g->taps = calloc(g->max_taps, sizeof *g->taps);
        if (g->taps == NULL)
            return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the list of taps");
    }
    g->n_taps = 0;
    g->ctx = ggml_init(
        (struct ggml_init_params){.mem_size = g->n_memory, .mem_buffer = g->memory, .no_alloc = true});
    if (g->ctx == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a graph's context");
    g->gf = ggml_new_graph_custom(g->ctx, n_nodes, false);
    return LATHE_OK;
}

static struct ggml_tensor *input(lathe_graph *g, enum ggml_type type, int64_t ne0, int64_t ne1,
                                 const char *name) {
    struct ggml_tensor *t = ggml_new_tensor_2d(g->ctx, type, ne0, ne1);
    ggml_set_input(t);
    ggml_set_name(t, name);
    return t;
}

static lathe_status build(lathe_context *c, lathe_graph *g, lathe_error *err) {
    const lathe_model *m = c->model;
    size_t n_nodes = lathe_build_n_nodes(&m->desc, g->key.taps != 0);
    if (c->kv.policy.n_groups > 1) /* inputs of groups, and gathered rows where our kernel does not apply */
        n_nodes += 3 * LATHE_KV_GROUPS_MAX + 8 * (size_t) m->desc.n_layer;
    if (g->key.tree != 0) /* two ops, their views, the merge */
        n_nodes += 3 + 8 * (size_t) m->desc.n_layer;
    lathe_status status = prepare_memory(c, g, n_nodes, err);
    if (status != LATHE_OK)
        return status;
    int32_t T = g->key.n_tokens;
    g->tokens = input(g, GGML_TYPE_I32, T, 1, "tokens");
    g->pos = input(g, GGML_TYPE_I32, T, 1, "positions");
    g->rows = input(g, GGML_TYPE_I64, T, 1, "rows");
    g->mask = input(g, GGML_TYPE_F16, g->key.n_kv, T, "mask");
    g->mask_sliding = m->desc.window > 0 ? input(g, GGML_TYPE_F16, g->key.n_kv, T, "mask_sliding") : NULL;
    g->tree_prefix = g->tree_rows = g->tree_ancestors = NULL;
    if (g->key.tree != 0) {
        g->tree_prefix = input(g, GGML_TYPE_F16, g->key.n_kv, 1, "prefix");
        g->tree_rows = input(g, GGML_TYPE_I32, T, 1, "tree rows");
        g->tree_ancestors = input(g, GGML_TYPE_F16, T, T, "ancestors");
    }
    for (int32_t i = 1; i < c->kv.policy.n_groups; i++)
        g->streams[i] = (struct lathe_graph_stream){
            .rows = input(g, GGML_TYPE_I64, T, 1, "stream rows"),
            .entries = input(g, GGML_TYPE_I32, g->key.n_entries[i], 1, "stream entries"),
            .mask = input(g, GGML_TYPE_F16, g->key.n_entries[i], T, "stream mask"),
        };
    g->out_ids = g->key.n_out > 0 ? input(g, GGML_TYPE_I32, g->key.n_out, 1, "out_ids") : NULL;
    kv_user user = {.c = c, .g = g};
    const lathe_build_kv kv = {
        .user = &user, .write = kv_write, .rotate_write = kv_rotate_write, .read = kv_read, .see = kv_see};
    lathe_build b = {
        .ctx = g->ctx,
        .gf = g->gf,
        .desc = &m->desc,
        .w = &m->weights.by_role,
        .gelu = m->gelu,
        .flash = c->flash,
        .one_kernel = c->params.exact,
        .rope_long = c->rope_long,
        .tokens = g->tokens,
        .pos = g->pos,
        .mask = g->mask,
        .mask_sliding = g->mask_sliding,
        .tree_prefix = g->tree_prefix,
        .tree_rows = g->tree_rows,
        .tree_ancestors = g->tree_ancestors,
        .out_ids = g->out_ids,
        .no_logits = g->key.n_out == 0,
        .late_rows = g->key.taps != 0 || c->dummy_row,
        .n_tokens = T,
        .n_seqs = 1,
        .kv = &kv,
        .kernels = &c->kernels,
    };
    if (g->key.taps != 0) {
        b.tap = tap_keep;
        b.wants = tap_wants;
        b.tap_user = &user;
    }
    lathe_build_graph(&b);
    g->logits = b.logits;
    return LATHE_OK;
}

/* What a large batch would take is asked first: ggml would take gigabytes, and the system would end us. */
static bool enough_memory(lathe_context *c, const lathe_graph *g, lathe_error *err) {
    if (g->key.n_tokens <= LATHE_GRAPH_SMALL)
        return true;
    ggml_gallocr_t trial =
        ggml_gallocr_new(ggml_backend_get_default_buffer_type(lathe_device_backend(c->cpu)));
    size_t need = 0, held = ggml_gallocr_get_buffer_size(g->alloc, 0);
    if (trial == NULL)
        return false;
    ggml_gallocr_reserve_n_size(trial, g->gf, NULL, NULL, &need);
    ggml_gallocr_free(trial);
    int64_t available = lathe_device_memory_free(c->cpu);
    if (available <= 0 || need <= held || need - held <= (size_t) available)
        return true;
    (void) lathe_fail(err, LATHE_ERR_MEMORY,
                      "a batch of %d tokens needs %.1f MiB, %.1f MiB are free; a smaller --batch helps",
                      g->key.n_tokens, (double) need / 1048576.0, (double) available / 1048576.0);
    return false;
}

static lathe_status allocate(lathe_context *c, lathe_graph *g, lathe_error *err) {
    bool ok;
    if (c->sched != NULL) {
        ggml_backend_sched_reset(c->sched);
        ok = ggml_backend_sched_alloc_graph(c->sched, g->gf);
    } else {
        if (g->alloc == NULL)
            g->alloc = ggml_gallocr_new(ggml_backend_get_default_buffer_type(lathe_device_backend(c->cpu)));
        ok = g->alloc != NULL;
        if (ok) {
            ok = enough_memory(c, g, err);
            if (!ok)
                return LATHE_ERR_MEMORY;
            ok = ggml_gallocr_alloc_graph(g->alloc, g->gf);
        }
    }
    if (!ok)
        return lathe_fail(err, LATHE_ERR_MEMORY,
                          "no memory for a batch of %d tokens over %d cached ones; a smaller --batch helps",
                          g->key.n_tokens, g->key.n_kv);
    return LATHE_OK;
}

lathe_status lathe_context_graph(lathe_context *c, const lathe_graph_key *key, lathe_graph **graph,
                                 lathe_error *err) {
    lathe_graph *g = NULL;
    c->clock++;
    if (c->sched != NULL || key->n_tokens > LATHE_GRAPH_SMALL) {
        g = &c->graphs[LATHE_GRAPH_SLOTS];
    } else {
        for (int i = 0; i < LATHE_GRAPH_SLOTS; i++) { /* the one that fits, else the least recently used */
            lathe_graph *at = &c->graphs[i];
            if (at->used != 0 && memcmp(&at->key, key, sizeof *key) == 0) {
                g = at;
                break;
            }
            if (g == NULL || at->used < g->used)
                g = at;
        }
    }
    if (g->used == 0 || memcmp(&g->key, key, sizeof *key) != 0) {
        g->used = 0; /* until it is whole */
        g->key = *key;
        lathe_status status = build(c, g, err);
        if (status == LATHE_OK)
            status = allocate(c, g, err);
        if (status != LATHE_OK)
            return status;
    }
    g->used = c->clock;
    *graph = g;
    return LATHE_OK;
}

lathe_status lathe_context_compute(lathe_context *c, lathe_graph *g, lathe_error *err) {
    bool prompt = g->key.n_tokens >= 32;
    lathe_status status = lathe_device_set_threads(c->cpu, prompt ? c->n_threads_prompt : c->n_threads, err);
    if (status != LATHE_OK)
        return status;
    /* One row over many keys is split over the threads unless the reference kernels are asked for. */
    bool split = g->key.n_tokens == 1 && g->key.n_kv >= 512;
    (void) lathe_device_set_ref(c->cpu, c->flash && (c->params.exact || split));
    double begin = c->watch.on && g->key.n_tokens == 1 ? lathe_now() : 0.0;
    enum ggml_status s = c->sched != NULL ? ggml_backend_sched_graph_compute(c->sched, g->gf)
                                          : ggml_backend_graph_compute(lathe_device_backend(c->cpu), g->gf);
    if (s == GGML_STATUS_ABORTED)
        return lathe_fail(err, LATHE_ERR_CANCELLED, "stopped");
    if (s != GGML_STATUS_SUCCESS)
        return lathe_fail(err, LATHE_ERR_MEMORY, "the graph did not run (ggml status %d)", (int) s);
    if (begin > 0.0)
        lathe_context_watch_threads(c, lathe_now() - begin);
    return LATHE_OK;
}
