/* longspec_run.c - LongSpec's draft at work: a ring of its own keys, speculative nodes behind it, and graphs
 * over both and the target's last layer.
 *
 * The ring's row of position p is p mod (window + 1). A row counts only while it holds the token that the
 * text has at that position, so that following a text is comparing ids, and rolling back needs nothing. Own
 * keys depend on token and position alone: the last window + 1 tokens are all that has to be read of a text.
 */
#include <stdlib.h>
#include <string.h>

#include "model/longspec.h"
#include "model/longspec_run.h"
#include "model/model_impl.h"

enum { SLOTS = 6, STEP_MAX = 64, NODES_IN_GRAPH = 96, KEYS_AT_ONCE = 64 };

#define HALF_ZERO      ((uint16_t) 0x0000)
#define HALF_MINUS_INF ((uint16_t) 0xFC00)

typedef struct step_graph {
    int32_t n, n_kv; /* the shape; n_kv -1: keys only */
    uint64_t used;   /* 0: never */
    void *memory;
    struct ggml_context *ctx;
    struct ggml_cgraph *gf;
    ggml_gallocr_t alloc;
    struct ggml_tensor *tokens, *pos, *rows, *mask_self, *mask_cross, *logits;
} step_graph;

struct lathe_longspec {
    lathe_longspec_desc desc;
    lathe_context *target;
    struct ggml_context *ctx; /* weights and own cache */
    ggml_backend_buffer_t buffer;
    lathe_longspec_weights w;
    struct ggml_tensor *k, *v; /* [dh * Hk, ring + nodes] */
    int64_t n_cache_bytes;
    int32_t ring, n_rows;
    int32_t *ring_id, *ring_pos; /* [ring]; pos -1: nothing */
    int32_t node_parent[LATHE_LONGSPEC_NODES_MAX], node_depth[LATHE_LONGSPEC_NODES_MAX];
    int32_t n_nodes;
    int32_t pending, n; /* the last token of the text, and its length */
    step_graph graphs[SLOTS];
    uint64_t clock;
    uint16_t *mask; /* scratch; grows only */
    size_t n_mask;
};

int32_t lathe_longspec_window(const lathe_longspec *s) {
    return s->desc.window;
}
int64_t lathe_longspec_head_bytes(const lathe_model *target) {
    return (int64_t) ggml_nbytes(target->weights.by_role.output);
}
int64_t lathe_longspec_cache_bytes(const lathe_longspec *s) {
    return s->n_cache_bytes;
}

/* --- Opening ------------------------------------------------------------------------------------- */

static struct ggml_tensor *find(void *user, const char *name) {
    return ggml_get_tensor((struct ggml_context *) user, name);
}

static lathe_status fill_weights(lathe_longspec *s, const lathe_gguf *g, lathe_error *err) {
    lathe_desc_tensor *list = NULL;
    size_t n = 0;
    lathe_status status = lathe_longspec_tensors(&s->desc, &list, &n, err);
    if (status != LATHE_OK)
        return status;
    s->ctx =
        ggml_init((struct ggml_init_params){.mem_size = (n + 4) * ggml_tensor_overhead(), .no_alloc = true});
    if (s->ctx == NULL) {
        free(list);
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the draft's tensors");
    }
    for (size_t i = 0; i < n; i++) {
        const lathe_gguf_tensor *t = lathe_gguf_tensor_find(g, list[i].name);
        ggml_set_name(ggml_new_tensor(s->ctx, (enum ggml_type) t->type, list[i].n_dims, list[i].ne),
                      list[i].name);
    }
    const int64_t width = (int64_t) s->desc.n_head_kv * s->desc.n_embd_head;
    s->k = ggml_new_tensor_2d(s->ctx, s->target->kv.type_k == GGML_TYPE_F32 ? GGML_TYPE_F32 : GGML_TYPE_F16,
                              width, s->n_rows);
    s->v = ggml_new_tensor_2d(s->ctx, s->k->type, width, s->n_rows);
    s->buffer = ggml_backend_alloc_ctx_tensors(s->ctx, lathe_device_backend(s->target->cpu));
    if (s->buffer == NULL)
        status = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the draft's weights");
    for (size_t i = 0; status == LATHE_OK && i < n; i++) {
        const lathe_gguf_tensor *t = lathe_gguf_tensor_find(g, list[i].name);
        ggml_backend_tensor_set(ggml_get_tensor(s->ctx, list[i].name), t->data, 0, t->n_bytes);
    }
    free(list);
    if (status != LATHE_OK)
        return status;
    ggml_backend_tensor_memset(s->k, 0, 0,
                               ggml_nbytes(s->k)); /* masked rows take part as 0 times their value */
    ggml_backend_tensor_memset(s->v, 0, 0, ggml_nbytes(s->v));
    s->n_cache_bytes = (int64_t) (ggml_nbytes(s->k) + ggml_nbytes(s->v));
    return lathe_longspec_bind(&s->desc, find, s->ctx, &s->w, err);
}

lathe_status lathe_longspec_open(const char *path, lathe_context *target, lathe_longspec **draft,
                                 lathe_error *err) {
    lathe_gguf *g = NULL;
    lathe_longspec *s = calloc(1, sizeof *s);
    if (s == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a draft");
    s->target = target;
    lathe_status status = lathe_gguf_open(path, NULL, &g, err);
    if (status == LATHE_OK)
        status = lathe_longspec_read(g, &s->desc, err);
    if (status == LATHE_OK)
        status = lathe_longspec_fits(&s->desc, target->model, err);
    if (status == LATHE_OK && target->kv.policy.group[target->model->desc.n_layer - 1] != 0)
        status = lathe_fail(
            err, LATHE_ERR_UNSUPPORTED,
            "the last layer keeps some of its rows only (--policy %s); LongSpec's draft reads all of them",
            target->kv.policy.name);
    if (status == LATHE_OK) {
        s->ring = s->desc.window + 1;
        s->n_rows = (s->ring + LATHE_LONGSPEC_NODES_MAX + 31) / 32 * 32;
        s->ring_id = malloc((size_t) s->ring * sizeof *s->ring_id);
        s->ring_pos = malloc((size_t) s->ring * sizeof *s->ring_pos);
        if (s->ring_id == NULL || s->ring_pos == NULL)
            status = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a window of %d tokens", s->desc.window);
    }
    for (int32_t i = 0; status == LATHE_OK && i < s->ring; i++)
        s->ring_pos[i] = -1;
    if (status == LATHE_OK)
        status = fill_weights(s, g, err);
    lathe_gguf_close(g);
    if (status != LATHE_OK) {
        lathe_longspec_free(s);
        return status;
    }
    *draft = s;
    return LATHE_OK;
}

static void free_graph(step_graph *g) {
    if (g->alloc != NULL)
        ggml_gallocr_free(g->alloc);
    if (g->ctx != NULL)
        ggml_free(g->ctx);
    free(g->memory);
    *g = (step_graph){0};
}

void lathe_longspec_free(lathe_longspec *s) {
    if (s == NULL)
        return;
    for (int i = 0; i < SLOTS; i++)
        free_graph(&s->graphs[i]);
    if (s->buffer != NULL)
        ggml_backend_buffer_free(s->buffer);
    if (s->ctx != NULL)
        ggml_free(s->ctx);
    free(s->ring_id);
    free(s->ring_pos);
    free(s->mask);
    free(s);
}

/* --- Graphs -------------------------------------------------------------------------------------- */

typedef struct own_cache {
    lathe_longspec *s;
    step_graph *g;
} own_cache;

static void own_write(void *user, lathe_build *b, int32_t layer, struct ggml_tensor *k,
                      struct ggml_tensor *v) {
    const own_cache *u = user;
    (void) layer;
    struct ggml_tensor *k2 = ggml_reshape_2d(b->ctx, k, k->ne[0] * k->ne[1], k->ne[2]);
    struct ggml_tensor *v2 = ggml_reshape_2d(b->ctx, v, v->ne[0] * v->ne[1], v->ne[2]);
    ggml_build_forward_expand(b->gf, ggml_set_rows(b->ctx, u->s->k, k2, u->g->rows));
    ggml_build_forward_expand(b->gf, ggml_set_rows(b->ctx, u->s->v, v2, u->g->rows));
}

static struct ggml_tensor *view_of(lathe_build *b, struct ggml_tensor *cache, int64_t n) {
    const int64_t dh = b->desc->n_embd_head_k;
    return ggml_view_3d(b->ctx, cache, dh, n, b->desc->n_head_kv, cache->nb[1],
                        ggml_row_size(cache->type, dh), 0);
}

static void own_read(void *user, lathe_build *b, int32_t layer, struct ggml_tensor **k,
                     struct ggml_tensor **v) {
    const own_cache *u = user;
    (void) layer;
    *k = view_of(b, u->s->k, u->s->n_rows);
    *v = view_of(b, u->s->v, u->s->n_rows);
}

static struct ggml_tensor *input(step_graph *g, enum ggml_type type, int64_t ne0, int64_t ne1) {
    struct ggml_tensor *t = ggml_new_tensor_2d(g->ctx, type, ne0, ne1);
    ggml_set_input(t);
    return t;
}

static lathe_status build(lathe_longspec *s, step_graph *g, lathe_error *err) {
    lathe_context *c = s->target;
    const lathe_model *m = c->model;
    const size_t need =
        NODES_IN_GRAPH * ggml_tensor_overhead() + ggml_graph_overhead_custom(NODES_IN_GRAPH, false);
    if (g->memory == NULL)
        g->memory = malloc(need);
    if (g->ctx != NULL)
        ggml_free(g->ctx);
    g->ctx = g->memory == NULL ? NULL
                               : ggml_init((struct ggml_init_params){
                                     .mem_size = need, .mem_buffer = g->memory, .no_alloc = true});
    if (g->ctx == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a draft's graph");
    g->gf = ggml_new_graph_custom(g->ctx, NODES_IN_GRAPH, false);
    g->tokens = input(g, GGML_TYPE_I32, g->n, 1);
    g->pos = input(g, GGML_TYPE_I32, g->n, 1);
    g->rows = input(g, GGML_TYPE_I64, g->n, 1);
    own_cache user = {.s = s, .g = g};
    const lathe_build_kv kv = {.user = &user, .write = own_write, .read = own_read};
    lathe_build b = {.ctx = g->ctx,
                     .gf = g->gf,
                     .desc = &m->desc,
                     .w = &m->weights.by_role,
                     .gelu = m->gelu,
                     .flash = c->flash,
                     .rope_long = c->rope_long,
                     .tokens = g->tokens,
                     .pos = g->pos,
                     .n_tokens = g->n,
                     .n_seqs = 1,
                     .kv = &kv,
                     .kernels = &c->kernels};
    lathe_longspec_build block = {.b = &b, .desc = &s->desc, .w = &s->w, .keys_only = g->n_kv < 0};
    g->mask_self = g->mask_cross = NULL;
    if (!block.keys_only) {
        block.mask_self = g->mask_self = input(g, GGML_TYPE_F16, s->n_rows, g->n);
        if (g->n_kv > 0) {
            const int32_t last = m->desc.n_layer - 1;
            block.mask_cross = g->mask_cross = input(g, GGML_TYPE_F16, g->n_kv, g->n);
            block.k_cross = view_of(&b, c->kv.k[last], g->n_kv);
            block.v_cross = view_of(&b, c->kv.v[last], g->n_kv);
        }
    }
    g->logits = lathe_longspec_graph(&block);
    if (g->alloc == NULL)
        g->alloc = ggml_gallocr_new(ggml_backend_get_default_buffer_type(lathe_device_backend(c->cpu)));
    if (g->alloc == NULL || !ggml_gallocr_alloc_graph(g->alloc, g->gf))
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a draft of %d nodes over %d keys", g->n,
                          g->n_kv);
    return LATHE_OK;
}

static lathe_status graph_of(lathe_longspec *s, int32_t n, int32_t n_kv, step_graph **graph,
                             lathe_error *err) {
    step_graph *g = NULL;
    for (int i = 0; i < SLOTS; i++) { /* the one that fits, else the least recently used */
        step_graph *at = &s->graphs[i];
        if (at->used != 0 && at->n == n && at->n_kv == n_kv) {
            at->used = ++s->clock;
            *graph = at;
            return LATHE_OK;
        }
        if (g == NULL || at->used < g->used)
            g = at;
    }
    g->used = 0;
    g->n = n;
    g->n_kv = n_kv;
    const lathe_status status = build(s, g, err);
    if (status != LATHE_OK)
        return status;
    g->used = ++s->clock;
    *graph = g;
    return LATHE_OK;
}

static lathe_status compute(lathe_longspec *s, step_graph *g, lathe_error *err) {
    lathe_context *c = s->target;
    const lathe_status status = lathe_device_set_threads(c->cpu, c->n_threads, err);
    if (status != LATHE_OK)
        return status;
    (void) lathe_device_set_ref(c->cpu, c->flash && g->n == 1 && g->n_kv >= 512);
    const enum ggml_status got = ggml_backend_graph_compute(lathe_device_backend(c->cpu), g->gf);
    if (got == GGML_STATUS_ABORTED)
        return lathe_fail(err, LATHE_ERR_CANCELLED, "stopped");
    return got == GGML_STATUS_SUCCESS
               ? LATHE_OK
               : lathe_fail(err, LATHE_ERR_INTERNAL, "the draft's graph did not run (ggml status %d)",
                            (int) got);
}

/* --- Following the text -------------------------------------------------------------------------- */

static bool holds(const lathe_longspec *s, const int32_t *ids, int32_t p) {
    return s->ring_pos[p % s->ring] == p && s->ring_id[p % s->ring] == ids[p];
}

static int32_t oldest(const lathe_longspec *s, int32_t n) {
    return n > s->ring ? n - s->ring : 0;
}

int32_t lathe_longspec_behind(const lathe_longspec *s, const int32_t *ids, int32_t n) {
    int32_t missing = 0;
    for (int32_t p = oldest(s, n); p < n - 1; p++)
        missing += !holds(s, ids, p);
    return missing;
}

/* Own keys of the tokens at pos[n]. */
static lathe_status make_keys(lathe_longspec *s, const int32_t *ids, const int32_t *pos, int32_t n,
                              lathe_error *err) {
    step_graph *g = NULL;
    int32_t tokens[KEYS_AT_ONCE], at[KEYS_AT_ONCE];
    int64_t rows[KEYS_AT_ONCE];
    /* A few sizes, so that graphs are used again: what is over repeats the last token. */
    const int32_t size = n <= 1 ? 1 : n <= 4 ? 4 : n <= 16 ? 16 : KEYS_AT_ONCE;
    for (int32_t i = 0; i < size; i++) {
        at[i] = pos[i < n ? i : n - 1];
        tokens[i] = ids[at[i]];
        rows[i] = at[i] % s->ring;
    }
    lathe_status status = graph_of(s, size, -1, &g, err);
    if (status != LATHE_OK)
        return status;
    ggml_backend_tensor_set(g->tokens, tokens, 0, (size_t) size * sizeof *tokens);
    ggml_backend_tensor_set(g->pos, at, 0, (size_t) size * sizeof *at);
    ggml_backend_tensor_set(g->rows, rows, 0, (size_t) size * sizeof *rows);
    for (int32_t i = 0; i < n; i++)
        s->ring_pos[pos[i] % s->ring] = -1; /* until they are there */
    status = compute(s, g, err);
    for (int32_t i = 0; status == LATHE_OK && i < n; i++) {
        s->ring_pos[pos[i] % s->ring] = pos[i];
        s->ring_id[pos[i] % s->ring] = ids[pos[i]];
    }
    return status;
}

lathe_status lathe_longspec_sync(lathe_longspec *s, const int32_t *ids, int32_t n, lathe_error *err) {
    s->n_nodes = 0;
    if (n < 1 || lathe_context_n_past(s->target, 0) != n - 1)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "the target holds %d tokens of a text of %d; all but the last are wanted",
                          lathe_context_n_past(s->target, 0), n);
    s->n = 0;
    int32_t missing[KEYS_AT_ONCE], count = 0;
    lathe_status status = LATHE_OK;
    for (int32_t p = oldest(s, n); p < n - 1 && status == LATHE_OK; p++) { /* the pending one is step 0's */
        if (!holds(s, ids, p))
            missing[count++] = p;
        if (count == KEYS_AT_ONCE) {
            status = make_keys(s, ids, missing, count, err);
            count = 0;
        }
    }
    if (status == LATHE_OK && count > 0)
        status = make_keys(s, ids, missing, count, err);
    if (status != LATHE_OK)
        return status;
    s->n = n;
    s->pending = ids[n - 1];
    return LATHE_OK;
}

/* --- A step -------------------------------------------------------------------------------------- */

/* What each query sees of the ring and of the nodes. Row i is node first + i, or the pending token. */
static void fill_self(const lathe_longspec *s, uint16_t *mask, int32_t first, int32_t n) {
    for (int32_t i = 0; i < n; i++) {
        uint16_t *out = mask + (size_t) i * (size_t) s->n_rows;
        const int32_t depth = first < 0 ? 0 : s->node_depth[first + i], pos = s->n - 1 + depth;
        for (int32_t r = 0; r < s->n_rows; r++)
            out[r] = HALF_MINUS_INF;
        for (int32_t r = 0; r < s->ring; r++)
            if (s->ring_pos[r] >= 0 && s->ring_pos[r] >= pos - s->desc.window && s->ring_pos[r] < s->n)
                out[r] = HALF_ZERO;
        for (int32_t a = first < 0 ? -1 : first + i; a >= 0; a = s->node_parent[a])
            if (s->node_depth[a] >= depth - s->desc.window)
                out[s->ring + a] = HALF_ZERO;
    }
}

static void fill_cross(const lathe_context *c, uint16_t *mask, int32_t n_kv, int32_t n) {
    for (int32_t r = 0; r < n_kv; r++)
        mask[r] = HALF_MINUS_INF;
    for (int32_t i = 0; i < c->cells.length[0]; i++)
        mask[c->cells.rows[i]] = HALF_ZERO;
    for (int32_t i = 1; i < n; i++)
        memcpy(mask + (size_t) i * (size_t) n_kv, mask, (size_t) n_kv * sizeof *mask);
}

static lathe_status set_masks(lathe_longspec *s, const step_graph *g, int32_t first, int32_t n,
                              lathe_error *err) {
    const size_t widest = (size_t) (g->n_kv > s->n_rows ? g->n_kv : s->n_rows) * (size_t) n;
    if (widest > s->n_mask) {
        uint16_t *more = realloc(s->mask, widest * sizeof *more);
        if (more == NULL)
            return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a mask of %zu values", widest);
        s->mask = more;
        s->n_mask = widest;
    }
    fill_self(s, s->mask, first, n);
    ggml_backend_tensor_set(g->mask_self, s->mask, 0, ggml_nbytes(g->mask_self));
    if (g->mask_cross != NULL) {
        fill_cross(s->target, s->mask, g->n_kv, n);
        ggml_backend_tensor_set(g->mask_cross, s->mask, 0, ggml_nbytes(g->mask_cross));
    }
    return LATHE_OK;
}

static int32_t keys_to_read(const lathe_context *c) { /* rounded up, so that a graph serves many steps */
    const int32_t n = c->cells.length[0] > 0 ? c->cells.n_used : 0, step = n <= 256 ? 32 : 256;
    const int32_t up = (n + step - 1) / step * step;
    return up < c->kv.n_rows[0] ? up : c->kv.n_rows[0];
}

lathe_status lathe_longspec_step(lathe_longspec *s, const int32_t *tokens, const int32_t *parent, int32_t n,
                                 const float **logits, int32_t *first, lathe_error *err) {
    const int32_t at = tokens == NULL ? -1 : s->n_nodes;
    int32_t pos[STEP_MAX];
    int64_t rows[STEP_MAX];
    if (s->n < 1)
        return lathe_fail(err, LATHE_ERR_ARG, "a draft's step before it followed a text");
    if (n < 1 || n > STEP_MAX || (at < 0 && n != 1) || (at >= 0 && at + n > LATHE_LONGSPEC_NODES_MAX))
        return lathe_fail(err, LATHE_ERR_ARG, "a step of %d nodes behind %d; 1 to %d, %d in all", n,
                          s->n_nodes, (int) STEP_MAX, (int) LATHE_LONGSPEC_NODES_MAX);
    for (int32_t i = 0; i < n; i++) {
        if (at >= 0 && (parent[i] < -1 || parent[i] >= at))
            return lathe_fail(err, LATHE_ERR_ARG, "node %d: parent %d; -1 to %d is right", at + i, parent[i],
                              at - 1);
        if (at >= 0) {
            s->node_parent[at + i] = parent[i];
            s->node_depth[at + i] = parent[i] < 0 ? 1 : s->node_depth[parent[i]] + 1;
        }
        pos[i] = s->n - 1 + (at < 0 ? 0 : s->node_depth[at + i]);
        rows[i] = at < 0 ? (s->n - 1) % s->ring : s->ring + at + i;
    }
    if (at < 0) {
        tokens = &s->pending;
        s->ring_pos[(s->n - 1) % s->ring] = s->n - 1;
        s->ring_id[(s->n - 1) % s->ring] = s->pending;
    }
    step_graph *g = NULL;
    lathe_status status = graph_of(s, n, keys_to_read(s->target), &g, err);
    if (status == LATHE_OK)
        status = set_masks(s, g, at, n, err);
    if (status == LATHE_OK) {
        ggml_backend_tensor_set(g->tokens, tokens, 0, (size_t) n * sizeof *tokens);
        ggml_backend_tensor_set(g->pos, pos, 0, (size_t) n * sizeof *pos);
        ggml_backend_tensor_set(g->rows, rows, 0, (size_t) n * sizeof *rows);
        status = compute(s, g, err);
    }
    if (status != LATHE_OK) {
        if (at < 0)
            s->ring_pos[(s->n - 1) % s->ring] = -1;
        return status;
    }
    s->n_nodes += at < 0 ? 0 : n;
    *logits = g->logits->data;
    *first = at;
    return LATHE_OK;
}
