/* context.c - making a context, and decoding a batch: place rows, run the graph, keep what was asked for. */
#include "lathe/model.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/machine.h"
#include "model/model_impl.h"

enum {
    BATCH_MAX = 1 << 16,
    /* A tree's attention goes in two parts from these sizes on: below them it takes as long as one (a layer
     * of 32 heads over 8192 keys and 69 nodes: 0.98 of it, of 12 heads 0.96; docs/long-drafts.md). */
    PARTS_NODES = 8,
    PARTS_KEYS = 1024,
};

/* --- Making one ---------------------------------------------------------------------------------- */

static lathe_status check_params(const lathe_model *m, lathe_context_params *p, lathe_error *err) {
    if (m->vocab_only)
        return lathe_fail(err, LATHE_ERR_ARG, "the model was loaded without its tensors");
    int32_t n_train = m->desc.n_ctx_train;
    const struct {
        const char *name;
        int32_t value, min, max;
    } checks[] = {
        {"context", p->n_ctx, 0, LATHE_DESC_CTX_MAX},
        {"rows of the cache", p->n_rows, 0, LATHE_DESC_CTX_MAX},
        {"batch", p->n_batch, 0, BATCH_MAX},
        {"sequences", p->n_seq_max, 0, LATHE_KV_SEQS_MAX},
        {"threads", p->n_threads, 0, GGML_MAX_N_THREADS},
        {"threads for the prompt", p->n_threads_prompt, 0, GGML_MAX_N_THREADS},
        {"flash", p->flash, -1, 1},
        {"cache type of keys", (int32_t) p->type_k, LATHE_CACHE_F16, LATHE_CACHE_BF16},
        {"cache type of values", (int32_t) p->type_v, LATHE_CACHE_F16, LATHE_CACHE_BF16},
    };
    for (size_t i = 0; i < LATHE_LEN(checks); i++)
        if (checks[i].value < checks[i].min || checks[i].value > checks[i].max)
            return lathe_fail(err, LATHE_ERR_ARG, "%s: %d; %d to %d is right", checks[i].name,
                              checks[i].value, checks[i].min, checks[i].max);
    p->n_ctx = p->n_ctx > 0 ? p->n_ctx : n_train;
    p->n_rows = p->n_rows > 0 ? p->n_rows : p->n_ctx;
    p->n_seq_max = p->n_seq_max > 0 ? p->n_seq_max : 1;
    p->n_batch = p->n_batch > 0 ? p->n_batch : 512;
    p->n_batch = p->n_batch < p->n_ctx ? p->n_batch : p->n_ctx;
    if (m->desc.n_pos > 0 && p->n_ctx > m->desc.n_pos && p->n_seq_max == 1)
        return lathe_fail(err, LATHE_ERR_ARG, "context of %d; this model has %d learned positions", p->n_ctx,
                          m->desc.n_pos);
    return LATHE_OK;
}

static lathe_status open_devices(lathe_context *c, lathe_error *err) {
    const lathe_model *m = c->model;
    lathe_status status = lathe_device_open(NULL, &c->cpu, err);
    if (status != LATHE_OK)
        return status;
    ggml_backend_t backends[LATHE_DEVICES_MAX];
    for (int32_t i = 0; i < m->n_devices; i++) {
        c->devices[i] = i == m->n_devices - 1 ? c->cpu : m->devices[i];
        backends[i] = lathe_device_backend(c->devices[i]);
    }
    if (m->n_devices == 1)
        return LATHE_OK;
    c->sched = ggml_backend_sched_new(backends, NULL, m->n_devices, lathe_build_n_nodes(&m->desc, true),
                                      false, false);
    return c->sched != NULL ? LATHE_OK : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the scheduler");
}

static lathe_status make_arrays(lathe_context *c, lathe_error *err) {
    size_t n = (size_t) c->n_batch + 1;
    int32_t **arrays[] = {&c->tokens,  &c->pos,       &c->seq,         &c->rows,
                          &c->out_ids, &c->tree_rows, &c->tree_parent, &c->tree_seq};
    bool ok = true;
    for (size_t i = 0; i < LATHE_LEN(arrays); i++) {
        *arrays[i] = calloc(n, sizeof(int32_t));
        ok = ok && *arrays[i] != NULL;
    }
    c->rows64 = calloc(n, sizeof *c->rows64);
    return ok && c->rows64 != NULL
               ? LATHE_OK
               : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a batch of %d tokens", c->n_batch);
}

/* Angles of so many rows of a step are kept from layer to layer. */
enum { ROPE_SLOTS = 512 };

static lathe_status make_rotations(lathe_context *c, lathe_error *err) {
    const lathe_model *m = c->model;
    lathe_status status = LATHE_OK;
    for (int i = 0; i < 2 && status == LATHE_OK && m->cpu != NULL && m->desc.n_rot > 0; i++) {
        const lathe_rope rope = lathe_rope_of(&m->desc, i == 1);
        status = lathe_rope_op_init(&c->rope[i], &rope, m->cpu,
                                    c->n_batch < ROPE_SLOTS ? c->n_batch + 1 : ROPE_SLOTS, err);
    }
    return status;
}

static void choose_kernels(lathe_context *c, const lathe_context_params *p) {
    const lathe_desc *d = &c->model->desc;
    c->kernels.linear = lathe_packed_linear;
    c->kernels.linear_group = lathe_packed_linear_group;
    c->kernels.linear_swiglu = lathe_packed_swiglu;
    if (p->flash == 0)
        return;
    c->attn.cpu = c->model->cpu;
    c->attn.scale = d->attn_scale;
    c->attn.softcap = d->attn_softcap;
    c->attn.n_q_max = INT32_MAX;
    c->kernels.attention = lathe_fused_attention;
    c->kernels.attention_rows = lathe_fused_attention_rows;
    c->kernels.attention_tree = lathe_fused_attention_tree;
    c->kernels.user = &c->attn;
}

lathe_status lathe_context_new(const lathe_model *model, const lathe_context_params *params,
                               lathe_context **context, lathe_error *err) {
    lathe_context_params p = lathe_context_params_default();
    if (model == NULL || context == NULL)
        return lathe_fail(err, LATHE_ERR_ARG, "a context needs a model");
    if (params != NULL) {
        if (params->struct_size != sizeof p)
            return lathe_fail(err, LATHE_ERR_ARG,
                              "lathe_context_params is of another version of the library");
        p = *params;
    }
    lathe_status status = check_params(model, &p, err);
    lathe_kv_policy policy;
    if (status == LATHE_OK)
        status = lathe_kv_policy_of(&model->desc, p.policy, &policy, err);
    if (status == LATHE_OK && p.exact && policy.n_groups > 1)
        status = lathe_fail(err, LATHE_ERR_UNSUPPORTED,
                            "--exact keeps every row: cache policy %s does not go with it", policy.name);
    if (status != LATHE_OK)
        return status;
    lathe_context *c = calloc(1, sizeof *c);
    if (c == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a context");
    c->model = model;
    if (model->cpu != NULL)
        choose_kernels(c, &p);
    c->params = p;
    c->params.policy = NULL;
    c->n_ctx = p.n_ctx;
    c->n_batch = p.n_batch;
    c->n_seq_max = p.n_seq_max;
    c->n_threads = p.n_threads;
    c->n_threads_prompt = p.n_threads_prompt > 0 ? p.n_threads_prompt : p.n_threads;
    c->flash = p.flash != 0;
    c->rope_long = p.n_ctx > model->desc.n_ctx_orig;
    c->dummy_row = p.exact && model->float_weights;
    /* Tensors have spare rows: n_kv is rounded up, and the row that --exact adds to lonely ones goes there.
     */
    int32_t n_rows[LATHE_KV_GROUPS_MAX] = {(p.n_rows + 1 + 255) / 256 * 256};
    status = open_devices(c, err);
    if (status == LATHE_OK)
        status = lathe_cells_new(p.n_rows, p.n_seq_max, &c->cells, err);
    c->cells.ordered = p.exact;
    for (int32_t i = 1; i < policy.n_groups && status == LATHE_OK; i++) {
        status = lathe_kv_stream_new(&policy.rules[i], p.n_ctx, p.n_seq_max, p.n_batch, &c->streams[i], err);
        n_rows[i] = c->streams[i].cells.n_rows;
    }
    if (status == LATHE_OK)
        status = lathe_kv_store_new(&model->desc, &policy, n_rows, p.type_k, p.type_v, c->devices,
                                    model->n_devices, model->layer_device, &c->kv, err);
    if (status == LATHE_OK)
        status = make_arrays(c, err);
    if (status == LATHE_OK)
        status = make_rotations(c, err);
    if (status == LATHE_OK)
        status = lathe_context_choose_threads(c, err);
    if (status != LATHE_OK) {
        lathe_context_free(c);
        return status;
    }
    *context = c;
    return LATHE_OK;
}

void lathe_context_free(lathe_context *c) {
    if (c == NULL)
        return;
    for (int i = 0; i <= LATHE_GRAPH_SLOTS; i++)
        lathe_graph_free(&c->graphs[i]);
    if (c->sched != NULL)
        ggml_backend_sched_free(c->sched);
    for (int i = 0; i < 2; i++)
        lathe_rope_op_free(&c->rope[i]);
    lathe_kv_store_free(&c->kv);
    lathe_cells_free(&c->cells);
    for (int32_t i = 1; i < LATHE_KV_GROUPS_MAX; i++)
        lathe_kv_stream_free(&c->streams[i]);
    free(c->entries);
    free(c->stream_mask);
    lathe_device_free(c->cpu);
    int32_t *arrays[] = {c->tokens,    c->pos,         c->seq,      c->rows,     c->out_ids,
                         c->tree_rows, c->tree_parent, c->tree_seq, c->logit_row};
    for (size_t i = 0; i < LATHE_LEN(arrays); i++)
        free(arrays[i]);
    free(c->rows64);
    free(c->mask);
    free(c->taps.values);
    free(c->logits);
    free(c);
}

const lathe_model *lathe_context_model(const lathe_context *c) {
    return c->model;
}
int32_t lathe_context_n_ctx(const lathe_context *c) {
    return c->n_ctx;
}
int32_t lathe_context_n_batch(const lathe_context *c) {
    return c->n_batch;
}
int32_t lathe_context_n_threads(const lathe_context *c) {
    return c->n_threads;
}
int64_t lathe_context_cache_bytes(const lathe_context *c) {
    return c->kv.n_bytes;
}

/* --- Checking a batch ---------------------------------------------------------------------------- */

/* Everything that does not depend on how the batch is cut: ids, sequences, positions, the tree, room. */
static lathe_status check_batch(lathe_context *c, const lathe_batch *b, lathe_error *err) {
    int32_t next[LATHE_KV_SEQS_MAX], n_vocab = c->model->desc.n_vocab;
    if (b == NULL || b->n_tokens < 1 || b->tokens == NULL)
        return lathe_fail(err, LATHE_ERR_ARG, "a batch of no tokens");
    if (c->n_tree > 0)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "the token tree of the last batch waits for lathe_context_keep_path");
    if (b->parent != NULL && b->n_tokens > c->n_batch)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "a token tree of %d nodes; at most the batch size, %d, is right", b->n_tokens,
                          c->n_batch);
    if (b->n_tokens > c->cells.n_rows - c->cells.n_taken)
        return lathe_fail(err, LATHE_ERR_ARG, "the context is full: %d tokens to add, %d fit (context of %d)",
                          b->n_tokens, c->cells.n_rows - c->cells.n_taken, c->n_ctx);
    int32_t n_pos =
        c->model->desc.n_pos > 0 && c->model->desc.n_pos < c->n_ctx ? c->model->desc.n_pos : c->n_ctx;
    for (int32_t s = 0; s < c->n_seq_max; s++)
        next[s] = lathe_cells_next_pos(&c->cells, s);
    for (int32_t i = 0; i < b->n_tokens; i++) {
        int32_t s = b->seq != NULL ? b->seq[i] : 0, parent = b->parent != NULL ? b->parent[i] : -1;
        if (b->tokens[i] < 0 || b->tokens[i] >= n_vocab)
            return lathe_fail(err, LATHE_ERR_ARG, "token %d of the batch is %d; 0 to %d is right", i,
                              b->tokens[i], n_vocab - 1);
        if (s < 0 || s >= c->n_seq_max)
            return lathe_fail(err, LATHE_ERR_ARG, "token %d of the batch: sequence %d; 0 to %d is right", i,
                              s, c->n_seq_max - 1);
        for (int32_t g = 1; g < c->kv.policy.n_groups; g++)
            if (!lathe_kv_stream_reaches(&c->streams[g], s, lathe_cells_next_pos(&c->cells, s)))
                return lathe_fail(
                    err, LATHE_ERR_ARG,
                    "cache policy %s has given away rows that position %d of sequence %d sees: it is to be "
                    "cleared and read again",
                    c->kv.policy.name, lathe_cells_next_pos(&c->cells, s), s);
        if (parent < -1 || parent >= i)
            return lathe_fail(err, LATHE_ERR_ARG, "token %d of the batch: parent %d; -1 to %d is right", i,
                              parent, i - 1);
        if (parent >= 0 && b->seq != NULL && b->seq[parent] != s)
            return lathe_fail(err, LATHE_ERR_ARG, "token %d of the batch: its parent is of sequence %d", i,
                              b->seq[parent]);
        if (b->pos != NULL && (b->pos[i] < 0 || b->pos[i] >= n_pos))
            return lathe_fail(err, LATHE_ERR_ARG, "token %d of the batch: position %d; 0 to %d is right", i,
                              b->pos[i], n_pos - 1);
        if (b->parent == NULL) {
            if (b->pos != NULL && b->pos[i] < next[s])
                return lathe_fail(
                    err, LATHE_ERR_ARG,
                    "token %d of the batch: position %d; %d or later is right after what sequence %d holds",
                    i, b->pos[i], next[s], s);
            next[s] = (b->pos != NULL ? b->pos[i] : next[s]) + 1;
            if (next[s] > n_pos)
                return lathe_fail(err, LATHE_ERR_ARG, "the context is full: position %d of at most %d",
                                  next[s] - 1, n_pos - 1);
        } else if (b->pos != NULL && b->pos[i] <= (parent >= 0 ? b->pos[parent] : next[s] - 1)) {
            return lathe_fail(err, LATHE_ERR_ARG,
                              "token %d of the batch: position %d is not after its parent's", i, b->pos[i]);
        }
    }
    return LATHE_OK;
}

/* --- One piece of a batch ------------------------------------------------------------------------ */

/* Positions that were not given. */
static void number_piece(lathe_context *c, const lathe_batch *b, int32_t first, int32_t n) {
    int32_t next[LATHE_KV_SEQS_MAX];
    for (int32_t s = 0; s < c->n_seq_max; s++)
        next[s] = lathe_cells_next_pos(&c->cells, s);
    for (int32_t i = 0; i < n; i++) {
        int32_t s = b->seq != NULL ? b->seq[first + i] : 0;
        c->tokens[i] = b->tokens[first + i];
        c->seq[i] = s;
        if (b->pos != NULL)
            c->pos[i] = b->pos[first + i];
        else if (b->parent != NULL)
            c->pos[i] = b->parent[i] >= 0 ? c->pos[b->parent[i]] + 1 : next[s];
        else
            c->pos[i] = next[s]++;
    }
}

/* How many keys a graph reads: rounded up, so that it serves many steps. */
static int32_t bucket(int32_t n_used, int32_t n_rows) {
    int32_t step = n_used <= 256 ? 32 : 256, n = (n_used + step - 1) / step * step;
    return n < n_rows ? n : n_rows;
}

static lathe_status set_mask(lathe_context *c, struct ggml_tensor *t, const lathe_graph *g,
                             const int32_t *parent, const int32_t *base, int32_t n, int32_t window,
                             lathe_error *err) {
    size_t n_kv = (size_t) g->key.n_kv, n_all = n_kv * (size_t) g->key.n_tokens;
    uint16_t *out = t->data;
    bool host = t->buffer == NULL || ggml_backend_buffer_is_host(t->buffer);
    if (!host) {
        if (n_all > c->n_mask) {
            uint16_t *more = realloc(c->mask, n_all * sizeof *more);
            if (more == NULL)
                return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a mask of %zu values", n_all);
            c->mask = more;
            c->n_mask = n_all;
        }
        out = c->mask;
    }
    lathe_cells_mask(&c->cells, c->seq, c->pos, c->rows, parent, base, n, g->key.n_kv, window, out);
    if (g->key.n_tokens > n) /* the added row sees what the first one sees */
        memcpy(out + (size_t) n * n_kv, out, n_kv * sizeof *out);
    if (!host)
        ggml_backend_tensor_set(t, out, 0, n_all * sizeof *out);
    return LATHE_OK;
}

static void set_input(struct ggml_tensor *t, const void *values, size_t n_bytes) {
    if (t->buffer != NULL) /* an input that nothing reads has none */
        ggml_backend_tensor_set(t, values, 0, n_bytes);
}

/* Rows, entries and mask of a stream group. */
static lathe_status set_stream(lathe_context *c, int32_t group, const lathe_graph *g, const int32_t *parent,
                               int32_t n, lathe_error *err) {
    const struct lathe_graph_stream *t = &g->streams[group];
    size_t n_entries = (size_t) g->key.n_entries[group], n_all = n_entries * (size_t) n;
    if (t->mask->buffer == NULL)
        return LATHE_OK;
    if (n_all > c->n_entries) {
        uint16_t *more = realloc(c->stream_mask, n_all * sizeof *more);
        if (more != NULL)
            c->stream_mask = more;
        int32_t *rows = realloc(c->entries, n_all * sizeof *rows);
        if (rows != NULL)
            c->entries = rows;
        if (more == NULL || rows == NULL)
            return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a mask of %zu values", n_all);
        c->n_entries = n_all;
    }
    lathe_kv_stream_view(&c->streams[group], c->seq, c->pos, parent, n, (int32_t) n_entries, c->entries,
                         c->stream_mask);
    for (int32_t i = 0; i < n; i++)
        c->rows64[i] = c->streams[group].rows[i];
    ggml_backend_tensor_set(t->rows, c->rows64, 0, (size_t) n * sizeof(int64_t));
    ggml_backend_tensor_set(t->entries, c->entries, 0, n_entries * sizeof(int32_t));
    ggml_backend_tensor_set(t->mask, c->stream_mask, 0, n_all * sizeof(uint16_t));
    return LATHE_OK;
}

/* What all nodes of a tree see of the cache, their rows, and what they see of each other. */
static void set_tree(lathe_context *c, const lathe_graph *g, const int32_t *parent, const int32_t *base,
                     int32_t n) {
    enum { SEEN = 0, HIDDEN = 0xfc00 };
    uint16_t *prefix = g->tree_prefix->data, *ancestors = g->tree_ancestors->data;
    if (g->tree_prefix->buffer == NULL)
        return;
    lathe_cells_mask(&c->cells, c->seq, c->pos, c->rows, parent, base, 1, g->key.n_kv, 0, prefix);
    prefix[c->rows[0]] = HIDDEN; /* the root is a node like the others */
    for (int32_t i = 0; i < n; i++) {
        uint16_t *row = ancestors + (size_t) i * (size_t) n;
        for (int32_t j = 0; j < n; j++)
            row[j] = HIDDEN;
        for (int32_t a = i; a >= 0; a = parent[a])
            row[a] = SEEN;
    }
    set_input(g->tree_rows, c->rows, (size_t) n * sizeof(int32_t));
}

static lathe_status set_inputs(lathe_context *c, const lathe_graph *g, const int32_t *parent,
                               const int32_t *base, int32_t n, lathe_error *err) {
    int32_t T = g->key.n_tokens;
    for (int32_t i = 0; i < n; i++)
        c->rows64[i] = c->rows[i];
    if (T > n) { /* --exact: a second row, written where nothing reads */
        c->tokens[n] = c->tokens[0];
        c->pos[n] = c->pos[0];
        c->rows64[n] = c->kv.n_rows[0] - 1;
    }
    set_input(g->tokens, c->tokens, (size_t) T * sizeof(int32_t));
    set_input(g->pos, c->pos, (size_t) T * sizeof(int32_t));
    set_input(g->rows, c->rows64, (size_t) T * sizeof(int64_t));
    if (g->out_ids != NULL)
        set_input(g->out_ids, c->out_ids, (size_t) g->key.n_out * sizeof(int32_t));
    lathe_status status = LATHE_OK;
    if (g->key.tree != 0)
        set_tree(c, g, parent, base, n);
    if (g->mask->buffer != NULL)
        status = set_mask(c, g->mask, g, parent, base, n, 0, err);
    if (status == LATHE_OK && g->mask_sliding != NULL && g->mask_sliding->buffer != NULL)
        status = set_mask(c, g->mask_sliding, g, parent, base, n, c->model->desc.window, err);
    for (int32_t i = 1; i < c->kv.policy.n_groups && status == LATHE_OK; i++)
        status = set_stream(c, i, g, parent, n, err);
    return status;
}

/* true where a value is infinite or none: the exponent's bits are all set. */
static bool has_bad_value(const float *x, size_t n) {
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, &x[i], sizeof u);
        bad |= (uint32_t) ((u & 0x7f800000u) == 0x7f800000u);
    }
    return bad != 0;
}

/* Whether the attention of a tree over the cache and that among its nodes are computed apart: one sequence,
 * all of whose layers see everything, on the processor; with --exact a token's bits must not depend on it. */
static bool goes_in_parts(const lathe_context *c, const lathe_batch *b, int32_t n) {
    if (b->parent == NULL || n < PARTS_NODES || c->cells.n_used < PARTS_KEYS || c->params.exact ||
        c->model->desc.window > 0 || c->kv.policy.n_groups > 1 || c->taps.generation != 0 ||
        c->sched != NULL || c->attn.cpu == NULL)
        return false;
    for (int32_t i = 1; i < n; i++)
        if (c->seq[i] != c->seq[0])
            return false;
    return true;
}

/* Runs tokens [first, first + n) of the batch; n_out of them want logits. */
static lathe_status run_piece(lathe_context *c, const lathe_batch *b, int32_t first, int32_t n,
                              const int32_t *base, lathe_error *err) {
    const int32_t *parent = b->parent; /* a tree is one piece: indices are the batch's */
    number_piece(c, b, first, n);
    int32_t n_pos = c->model->desc.n_pos > 0 ? c->model->desc.n_pos : INT32_MAX;
    for (int32_t i = 0; i < n; i++)
        if (c->pos[i] >= n_pos || c->pos[i] >= c->n_ctx)
            return lathe_fail(err, LATHE_ERR_ARG, "the context is full: position %d of a context of %d",
                              c->pos[i], c->n_ctx);
    if (!lathe_cells_place(&c->cells, c->seq, c->pos, n, c->rows))
        return lathe_fail(err, LATHE_ERR_ARG, "the context is full: %d tokens to add, %d fit", n,
                          c->cells.n_rows - c->cells.n_taken);
    for (int32_t i = 1; i < c->kv.policy.n_groups; i++)
        if (!lathe_kv_stream_place(&c->streams[i], c->seq, c->pos, n))
            return lathe_fail(err, LATHE_ERR_ARG, "too few cache rows for a batch of %d tokens", n);
    int32_t n_out = 0;
    for (int32_t i = 0; i < n; i++)
        if (c->logit_row[first + i] >= 0)
            c->out_ids[n_out++] = i;
    int32_t n_real = n_out;
    if (c->dummy_row && n_out == 1)
        c->out_ids[n_out++] = c->out_ids[0]; /* the output product has two rows then */
    lathe_graph_key key = {.n_tokens = c->dummy_row && n == 1 ? 2 : n,
                           .n_kv = bucket(c->cells.n_used, c->kv.n_rows[0]),
                           .n_out = n_out,
                           .taps = c->taps.generation};
    key.tree = goes_in_parts(c, b, n);
    for (int32_t i = 1; i < c->kv.policy.n_groups; i++)
        key.n_entries[i] = lathe_kv_stream_n_entries(&c->streams[i], c->seq, c->pos, parent, n);
    lathe_graph *g = NULL;
    lathe_status status = lathe_context_graph(c, &key, &g, err);
    if (status == LATHE_OK)
        status = set_inputs(c, g, parent, base, n, err);
    if (status == LATHE_OK)
        status = lathe_context_compute(c, g, err);
    if (status == LATHE_OK && n_real > 0) {
        size_t n_vocab = (size_t) lathe_model_n_logits(c->model);
        float *out = c->logits + (size_t) c->n_logits * n_vocab;
        ggml_backend_tensor_get(g->logits, out, 0, (size_t) n_real * n_vocab * sizeof(float));
        if (has_bad_value(out, (size_t) n_real * n_vocab)) {
            lathe_kv_store_wipe(&c->kv, 0, c->rows, n);
            for (int32_t i = 1; i < c->kv.policy.n_groups; i++)
                lathe_kv_store_wipe(&c->kv, i, c->streams[i].rows, n);
            status = lathe_fail(err, LATHE_ERR_NUMERIC, "logits that are not finite at positions %d to %d",
                                c->pos[0], c->pos[n - 1]);
        }
        c->n_logits += n_real;
    }
    if (status == LATHE_OK && c->taps.generation != 0)
        status = lathe_context_read_taps(c, g, n, err);
    return status;
}

/* --- The batch ----------------------------------------------------------------------------------- */

/* Rows of the logits to come, and memory for them. */
static lathe_status plan_logits(lathe_context *c, const lathe_batch *b, lathe_error *err) {
    if (b->n_tokens > c->max_last) {
        int32_t *more = realloc(c->logit_row, (size_t) b->n_tokens * sizeof *more);
        if (more == NULL)
            return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a batch of %d tokens", b->n_tokens);
        c->logit_row = more;
        c->max_last = b->n_tokens;
    }
    int32_t n = 0;
    for (int32_t i = 0; i < b->n_tokens; i++) {
        bool want = b->want != NULL ? b->want[i] != 0 : i == b->n_tokens - 1;
        c->logit_row[i] = want ? n++ : -1;
    }
    if ((size_t) n > c->max_logits) {
        size_t n_bytes, row = (size_t) lathe_model_n_logits(c->model) * sizeof(float);
        int64_t available = lathe_memory_available();
        if (!lathe_size_mul((size_t) n, row, &n_bytes) || (available > 0 && n_bytes > (size_t) available))
            return lathe_fail(err, LATHE_ERR_MEMORY, "logits of %d tokens do not fit in memory", n);
        free(c->logits);
        c->max_logits = 0;
        c->logits = malloc(n_bytes);
        if (c->logits == NULL)
            return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the logits of %d tokens", n);
        c->max_logits = (size_t) n;
    }
    return LATHE_OK;
}

lathe_status lathe_context_decode(lathe_context *c, const lathe_batch *b, lathe_error *err) {
    int32_t base[LATHE_KV_SEQS_MAX];
    lathe_status status = check_batch(c, b, err);
    c->n_logits = c->n_last = 0;
    if (status == LATHE_OK)
        status = plan_logits(c, b, err);
    if (status != LATHE_OK)
        return status;
    memcpy(base, c->cells.length, sizeof base);
    for (int32_t first = 0; first < b->n_tokens && status == LATHE_OK; first += c->n_batch) {
        int32_t left = b->n_tokens - first;
        status = run_piece(c, b, first, left < c->n_batch ? left : c->n_batch, base, err);
    }
    if (status != LATHE_OK) {
        for (int32_t s = 0; s < c->n_seq_max; s++)
            lathe_cells_truncate(&c->cells, s, base[s]);
        for (int32_t i = 1; i < c->kv.policy.n_groups; i++)
            for (int32_t s = 0; s < c->n_seq_max; s++)
                (void) lathe_kv_stream_rollback(&c->streams[i], s, lathe_cells_next_pos(&c->cells, s));
        c->n_logits = 0;
        return status;
    }
    c->n_last = b->n_tokens;
    if (b->parent != NULL) {
        c->n_tree = b->n_tokens;
        memcpy(c->tree_base, base, sizeof base);
        memcpy(c->tree_rows, c->rows, (size_t) b->n_tokens * sizeof(int32_t));
        for (int32_t i = 1; i < c->kv.policy.n_groups; i++)
            memcpy(c->streams[i].tree_rows, c->streams[i].rows, (size_t) b->n_tokens * sizeof(int32_t));
        memcpy(c->tree_seq, c->seq, (size_t) b->n_tokens * sizeof(int32_t));
        memcpy(c->tree_parent, b->parent, (size_t) b->n_tokens * sizeof(int32_t));
    }
    return LATHE_OK;
}

const float *lathe_context_logits(const lathe_context *c, int32_t i) {
    size_t n_vocab = (size_t) lathe_model_n_logits(c->model);
    if (i == -1)
        return c->n_logits > 0 ? c->logits + (size_t) (c->n_logits - 1) * n_vocab : NULL;
    if (i < 0 || i >= c->n_last || c->logit_row[i] < 0)
        return NULL;
    return c->logits + (size_t) c->logit_row[i] * n_vocab;
}

static bool ask_cancel(void *user) {
    lathe_context *c = user;
    return c->cancel != NULL && c->cancel(c->cancel_user);
}

void lathe_context_set_cancel(lathe_context *c, bool (*cancel)(void *user), void *user) {
    c->cancel = cancel;
    c->cancel_user = user;
    lathe_device_set_abort(c->cpu, cancel != NULL ? ask_cancel : NULL, c);
}
