/* synth_like.c - a trained model made wider and deeper without changing its function.
 *
 * The residual stream x becomes (x, 0). RMSNorm divides by the root mean square over the new width D instead
 * of d, so norm weights are scaled by sqrt(d / D) and epsilon by d / D. New heads have V = 0, new
 * feed-forward rows lead into zero columns, new layers add zero. A head of width h' > h turns zeros besides
 * its h values: Q is scaled by sqrt(h' / h), as scores are divided by sqrt(h'), and the base of the rotation
 * becomes base^(h' / h), which keeps the angles of the old pairs. The last layer stays the last, the new ones
 * are put before it, so that what reads the last layer's cache (LongSpec) finds it there. Each new matrix is
 * a gather of the old one by two index maps, -1 standing for zero. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ggml.h>

#include "base/machine.h"
#include "model/convert.h"
#include "model/longspec.h"
#include "model/synth.h"

enum { PIECE_VALUES = 1 << 21, GRAIN_ROWS = 8 };

/* Which old index a new one of a matrix's side takes. */
typedef enum side { SIDE_EMBD, SIDE_FF, SIDE_Q, SIDE_K, SIDE_V, SIDE_O, SIDE_VOCAB, SIDE_COUNT } side;

typedef struct widener {
    const lathe_gguf *g;
    const lathe_synth_params *params;
    lathe_error *err;
    lathe_desc *from, *to;
    int32_t *map[SIDE_COUNT]; /* [n_new] old index or -1 */
    int32_t n_new[SIDE_COUNT], n_old[SIDE_COUNT];
    lathe_gguf_writer *w;
    lathe_pool *pool;
    float *old, *values; /* the whole old tensor; a piece of the new one */
    uint8_t *bytes;
    double done, total;
} widener;

/* --- Maps ---------------------------------------------------------------------------------------- */

/* A pair of a rotation keeps its frequency: pair i of h / 2 becomes pair i of h' / 2. */
static int32_t rotated_dim(const widener *w, int32_t e) {
    const int32_t h = w->from->n_embd_head_k, wide = w->to->n_embd_head_k;
    if (w->from->family->position == LATHE_POSITION_ROPE_NORMAL)
        return e < h ? e : -1;
    if (e < wide / 2)
        return e < h / 2 ? e : -1;
    return e - wide / 2 < h / 2 ? e - wide / 2 + h / 2 : -1;
}

/* Key head g of old serves r = H / Hk heads; where the new group is smaller, it is there several times. */
typedef struct grouping {
    int32_t r_old, r_new, copies;
} grouping;

static grouping grouping_of(const widener *w) {
    grouping x = {.r_old = w->from->n_head / w->from->n_head_kv, .r_new = w->to->n_head / w->to->n_head_kv};
    x.copies = (x.r_old + x.r_new - 1) / x.r_new;
    return x;
}

static int32_t old_kv_head(const widener *w, int32_t k) {
    const int32_t g = k / grouping_of(w).copies;
    return g < w->from->n_head_kv ? g : -1;
}

static int32_t old_head(const widener *w, int32_t j) {
    const grouping x = grouping_of(w);
    const int32_t k = j / x.r_new, g = old_kv_head(w, k);
    const int32_t i = k % x.copies * x.r_new + j % x.r_new; /* within the old group */
    return g >= 0 && i < x.r_old ? g * x.r_old + i : -1;
}

static int32_t old_index(const widener *w, side s, int32_t i) {
    const int32_t wide = w->to->n_embd_head_k, h = w->from->n_embd_head_k;
    int32_t head, dim;
    switch (s) {
    case SIDE_Q:
    case SIDE_O:
        head = old_head(w, i / wide);
        dim = s == SIDE_Q ? rotated_dim(w, i % wide) : i % wide < h ? i % wide : -1;
        break;
    case SIDE_K:
    case SIDE_V:
        head = old_kv_head(w, i / wide);
        dim = s == SIDE_K ? rotated_dim(w, i % wide) : i % wide < h ? i % wide : -1;
        break;
    default:
        return i < w->n_old[s] ? i : -1;
    }
    return head >= 0 && dim >= 0 ? head * h + dim : -1;
}

static lathe_status make_maps(widener *w) {
    const lathe_desc *a = w->from, *b = w->to;
    const int32_t old[SIDE_COUNT] = {a->n_embd,
                                     a->n_ff,
                                     a->n_head * a->n_embd_head_k,
                                     a->n_head_kv * a->n_embd_head_k,
                                     a->n_head_kv * a->n_embd_head_k,
                                     a->n_head * a->n_embd_head_k,
                                     a->n_vocab};
    const int32_t new[SIDE_COUNT] = {b->n_embd,
                                     b->n_ff,
                                     b->n_head * b->n_embd_head_k,
                                     b->n_head_kv * b->n_embd_head_k,
                                     b->n_head_kv * b->n_embd_head_k,
                                     b->n_head * b->n_embd_head_k,
                                     b->n_vocab};
    for (int s = 0; s < SIDE_COUNT; s++) {
        w->n_old[s] = old[s];
        w->n_new[s] = new[s];
        w->map[s] = malloc((size_t) new[s] * sizeof *w->map[s]);
        if (!w->map[s])
            return lathe_fail(w->err, LATHE_ERR_MEMORY, "no memory for index maps of %d values", new[s]);
        for (int32_t i = 0; i < new[s]; i++)
            w->map[s][i] = old_index(w, (side) s, i);
    }
    return LATHE_OK;
}

/* The sides of a tensor by the end of its name; false: a vector or table that is treated by itself. */
static bool sides_of(const char *name, side *columns, side *rows) {
    static const struct {
        const char *name;
        side columns, rows;
    } table[] = {
        {"token_embd.weight", SIDE_EMBD, SIDE_VOCAB}, {"output.weight", SIDE_EMBD, SIDE_VOCAB},
        {"attn_q.weight", SIDE_EMBD, SIDE_Q},         {"attn_k.weight", SIDE_EMBD, SIDE_K},
        {"attn_v.weight", SIDE_EMBD, SIDE_V},         {"attn_output.weight", SIDE_O, SIDE_EMBD},
        {"ffn_gate.weight", SIDE_EMBD, SIDE_FF},      {"ffn_up.weight", SIDE_EMBD, SIDE_FF},
        {"ffn_down.weight", SIDE_FF, SIDE_EMBD},      {"attn_q.bias", SIDE_Q, SIDE_COUNT},
        {"attn_k.bias", SIDE_K, SIDE_COUNT},          {"attn_v.bias", SIDE_V, SIDE_COUNT},
        {"attn_output.bias", SIDE_EMBD, SIDE_COUNT},  {"ffn_gate.bias", SIDE_FF, SIDE_COUNT},
        {"ffn_up.bias", SIDE_FF, SIDE_COUNT},         {"ffn_down.bias", SIDE_EMBD, SIDE_COUNT},
        {"norm.weight", SIDE_EMBD, SIDE_COUNT},       {"output.bias", SIDE_VOCAB, SIDE_COUNT},
    };
    const size_t n = strlen(name);
    for (size_t i = 0; i < LATHE_LEN(table); i++) {
        const size_t m = strlen(table[i].name);
        if (n >= m && strcmp(name + n - m, table[i].name) == 0 &&
            (n == m || name[n - m - 1] == '.' ||
             (name[n - m - 1] == '_' && table[i].columns == SIDE_EMBD && table[i].name[0] == 'n'))) {
            *columns = table[i].columns;
            *rows = table[i].rows;
            return true;
        }
    }
    return false;
}

/* --- Description --------------------------------------------------------------------------------- */

static lathe_status describe(widener *w) {
    lathe_desc *a = w->from, *b = w->to;
    lathe_shape s;
    lathe_status st = lathe_desc_from_gguf(w->g, a, w->err);
    if (!st)
        st = lathe_desc_check(a, w->g, NULL, w->err);
    if (!st)
        st = lathe_synth_shape(a->family->name, w->params->shape, &s, w->err);
    if (st)
        return st;
    const lathe_family *f = a->family;
    if (f->norm != LATHE_NORM_RMS || f->fused_qkv || f->fused_gate_up || f->post_norms || f->embd_scaled ||
        !f->gated || f->position == LATHE_POSITION_LEARNED || a->has_qk_norm || a->has_rope_factors ||
        a->n_rot != a->n_embd_head_k || a->n_embd_head_k != a->n_embd_head_v)
        return lathe_fail(
            w->err, LATHE_ERR_UNSUPPORTED,
            "%s: a model of family %s cannot be widened; those of llama and qwen2 can be, with whole "
            "heads rotated and heads of one width",
            lathe_gguf_path(w->g), f->name);
    *b = *a;
    b->n_layer = s.n_layer;
    b->n_embd = s.n_embd;
    b->n_head = s.n_head;
    b->n_head_kv = s.n_head_kv;
    b->n_embd_head_k = b->n_embd_head_v = b->n_rot = s.n_embd_head;
    b->n_ff = s.n_ff;
    b->has_output = true;
    const double wider = (double) b->n_embd / a->n_embd,
                 taller = (double) b->n_embd_head_k / a->n_embd_head_k;
    const grouping x = grouping_of(w);
    if (b->n_layer < a->n_layer || wider < 1 || taller < 1 || b->n_ff < a->n_ff ||
        b->n_head_kv < a->n_head_kv * x.copies)
        return lathe_fail(
            w->err, LATHE_ERR_ARG,
            "%s has %d layers, width %d, %d heads (%d for keys) of %d, feed-forward %d, which do not fit "
            "shape %s; want a larger one",
            lathe_gguf_path(w->g), a->n_layer, a->n_embd, a->n_head, a->n_head_kv, a->n_embd_head_k, a->n_ff,
            w->params->shape);
    b->norm_eps = (float) (a->norm_eps / wider);
    b->attn_scale = (float) (a->attn_scale / sqrt(taller));
    const double base = pow(a->rope_base, taller), sliding = pow(a->rope_base_sliding, taller);
    if (!(base < 1e38 && sliding < 1e38))
        return lathe_fail(
            w->err, LATHE_ERR_UNSUPPORTED,
            "%s: heads of %d widened to %d need a rotation base of %g; want one under 1e38: a shape with "
            "narrower heads",
            lathe_gguf_path(w->g), a->n_embd_head_k, b->n_embd_head_k, base);
    b->rope_base = (float) base;
    b->rope_base_sliding = (float) sliding;
    for (int32_t il = a->n_layer; il < b->n_layer; il++)
        b->slides[il] = a->slides[il % a->n_layer];
    return LATHE_OK;
}

/* --- Tensors ------------------------------------------------------------------------------------- */

typedef struct gather_work {
    const float *old;
    const int32_t *columns, *rows; /* rows NULL: a vector */
    int64_t n_columns, n_old_columns, first;
    float scale;
    float *out;
} gather_work;

static void gather(void *ctx, int worker, int64_t piece, int64_t begin, int64_t end) {
    const gather_work *g = ctx;
    (void) worker, (void) piece;
    for (int64_t r = begin; r < end; r++) {
        const int64_t old_row = g->rows ? g->rows[g->first + r] : 0;
        float *out = g->out + r * g->n_columns;
        for (int64_t c = 0; c < g->n_columns; c++) {
            const int64_t old_column = g->columns[c];
            const bool zero = !g->old || old_row < 0 || old_column < 0;
            out[c] = zero ? 0 : g->scale * g->old[old_row * g->n_old_columns + old_column];
        }
    }
}

static lathe_status write_rows(widener *w, const lathe_desc_tensor *t, uint32_t type, gather_work *g) {
    const int64_t n_rows = t->ne[1], step = PIECE_VALUES / t->ne[0];
    uint64_t row_bytes = 0;
    if (step < 1 || !lathe_gguf_bytes_of(type, (uint64_t) t->ne[0], &row_bytes))
        return lathe_fail(w->err, LATHE_ERR_INTERNAL, "tensor '%s': rows of %lld do not fit type %s", t->name,
                          (long long) t->ne[0], lathe_gguf_tensor_type_name(type));
    lathe_status st = LATHE_OK;
    for (g->first = 0; !st && g->first < n_rows; g->first += step) {
        const int64_t n = n_rows - g->first < step ? n_rows - g->first : step;
        if (g->columns)
            lathe_parallel_for(w->pool, n, GRAIN_ROWS, gather, g);
        lathe_convert_to(w->pool, type, w->values, n, t->ne[0], w->bytes);
        st = lathe_gguf_writer_data(w->w, w->bytes, (size_t) n * (size_t) row_bytes, w->err);
        w->done += (double) (n * t->ne[0]);
        if (!st)
            st = lathe_progress_step(&w->params->progress, "synth", w->done, w->total, w->err);
    }
    return st;
}

/* The old name of a tensor: layers but the last keep their number. "" for those of new layers. */
static void old_name(const widener *w, const lathe_desc_tensor *t, char *out) {
    const int32_t last = w->from->n_layer - 1, new_last = w->to->n_layer - 1;
    const char *rest = strchr(t->name + 4, '.');
    if (t->layer < 0)
        snprintf(out, LATHE_DESC_NAME_MAX, "%s", t->name);
    else if (t->layer < last)
        snprintf(out, LATHE_DESC_NAME_MAX, "%s", t->name);
    else if (t->layer == new_last && rest != NULL)
        snprintf(out, LATHE_DESC_NAME_MAX, "blk.%d%.40s", last, rest);
    else
        out[0] = '\0';
}

static lathe_status widen_tensor(widener *w, const lathe_desc_tensor *t, uint32_t type) {
    gather_work g = {.n_columns = t->ne[0], .scale = 1, .out = w->values};
    side columns = SIDE_EMBD, rows = SIDE_COUNT;
    /* a tied head becomes a head of its own */
    const bool untied = strcmp(t->name, "output.weight") == 0 && !w->from->has_output;
    char name[LATHE_DESC_NAME_MAX];
    old_name(w, t, name);
    const lathe_gguf_tensor *old = lathe_gguf_tensor_find(w->g, untied ? "token_embd.weight" : name);
    const bool is_norm = t->role == LATHE_ROLE_NORM;
    free(w->old);
    w->old = NULL;
    if (old) {
        w->old = malloc((size_t) old->n_values * sizeof *w->old);
        if (!w->old)
            return lathe_fail(w->err, LATHE_ERR_MEMORY, "no memory for the %lld values of '%s'",
                              (long long) old->n_values, t->name);
        lathe_convert_from(w->pool, old->type, old->data, old->n_values, w->old);
        g.old = w->old;
        g.n_old_columns = old->ne[0];
    }
    /* a draft's cross attention has the sides of a layer's attention */
    if (!sides_of(strncmp(t->name, "xattn", 5) == 0 ? t->name + 1 : t->name, &columns,
                  &rows)) { /* rope_freqs: a factor a pair, 1 for new ones */
        for (int64_t i = 0; i < t->ne[0]; i++)
            w->values[i] = old && i < old->ne[0] ? w->old[i] : 1.0f;
        return write_rows(w, t, type, &g);
    }
    g.columns = w->map[columns];
    g.rows = rows == SIDE_COUNT ? NULL : w->map[rows];
    if (columns == SIDE_Q || rows == SIDE_Q)
        g.scale = (float) sqrt((double) w->to->n_embd_head_k / w->from->n_embd_head_k);
    if (is_norm)
        g.scale = (float) sqrt((double) w->from->n_embd / w->to->n_embd);
    return write_rows(w, t, type, &g);
}

/* --- The file ------------------------------------------------------------------------------------ */

/* The source's keys but those of the description, which are new. */
static void put_metadata(widener *w, uint32_t target) {
    static const char *const replaced[] = {"general.architecture", "general.file_type",
                                           "general.quantization_version", "general.alignment"};
    char prefix[64];
    const size_t n = (size_t) snprintf(prefix, sizeof prefix, "%s.", w->to->family->name);
    const int32_t file_type = lathe_file_type_of(target, false);
    lathe_synth_put_desc(w->to, w->w);
    for (size_t i = 0; i < lathe_gguf_n_kv(w->g); i++) {
        const lathe_gguf_kv *kv = lathe_gguf_kv_at(w->g, i);
        bool skip = strncmp(kv->key, prefix, n) == 0;
        for (size_t j = 0; j < LATHE_LEN(replaced); j++)
            skip = skip || strcmp(kv->key, replaced[j]) == 0;
        if (!skip)
            lathe_gguf_put_kv(w->w, kv);
    }
    if (file_type >= 0)
        lathe_gguf_put_u32(w->w, "general.file_type", (uint32_t) file_type);
    lathe_gguf_put_u32(w->w, "general.quantization_version", 2);
}

static lathe_status write_wide(widener *w, uint32_t target, const char *path, lathe_synth_result *result) {
    const lathe_type_rule rule = {.target = target, .n_layer = w->to->n_layer};
    lathe_desc_tensor *tensors = NULL;
    size_t n = 0;
    put_metadata(w, target);
    lathe_status st = lathe_desc_tensors(w->to, &tensors, &n, w->err);
    if (st)
        return st;
    for (size_t i = 0; i < n; i++) {
        const lathe_desc_tensor *t = &tensors[i];
        lathe_gguf_put_tensor(w->w, t->name,
                              lathe_type_for(&rule, t->name, t->n_dims, t->ne[0], GGML_TYPE_F32), t->n_dims,
                              t->ne);
        w->total += (double) (t->ne[0] * t->ne[1]);
        result->n_params += t->role == LATHE_ROLE_TABLE ? 0 : t->ne[0] * t->ne[1];
    }
    result->bytes = (int64_t) lathe_gguf_writer_size(w->w);
    st = lathe_gguf_writer_begin(w->w, path, w->err);
    for (size_t i = 0; !st && i < n; i++)
        st = widen_tensor(
            w, &tensors[i],
            lathe_type_for(&rule, tensors[i].name, tensors[i].n_dims, tensors[i].ne[0], GGML_TYPE_F32));
    free(tensors);
    if (st)
        return st;
    lathe_gguf_writer *writer = w->w;
    w->w = NULL; /* finish frees it */
    return lathe_gguf_writer_finish(writer, w->err);
}

/* The draft of the old model as one of the new: w->g is the draft's file, its feed-forward part becomes as
 * wide as the model's. */
static lathe_status write_draft(widener *w, uint32_t target, const char *model_path) {
    const lathe_synth_params *p = w->params;
    lathe_longspec_desc from, to;
    lathe_gguf *model = NULL, *draft = NULL;
    const lathe_gguf *old = w->g;
    lathe_desc_tensor *list = NULL;
    size_t n = 0;
    lathe_status st = lathe_gguf_open(p->draft, NULL, &draft, w->err);
    if (!st)
        st = lathe_longspec_read(draft, &from, w->err);
    if (!st && from.target_hash != lathe_longspec_hash_of(old, w->from->n_layer))
        st = lathe_fail(w->err, LATHE_ERR_INPUT, "%s: not a draft of %s", p->draft, p->like);
    if (!st)
        st = lathe_gguf_open(model_path, NULL, &model, w->err);
    if (!st) {
        to = from;
        to.n_embd = w->to->n_embd;
        to.n_head = w->to->n_head;
        to.n_head_kv = w->to->n_head_kv;
        to.n_embd_head = w->to->n_embd_head_k;
        to.n_ff = w->to->n_ff > from.n_ff ? w->to->n_ff : from.n_ff;
        to.target_hash = lathe_longspec_hash_of(model, w->to->n_layer);
        st = lathe_longspec_tensors(&to, &list, &n, w->err);
    }
    int32_t *ff = malloc((size_t) (st ? 1 : to.n_ff) * sizeof *ff), *of_model = w->map[SIDE_FF];
    if (!st && !ff)
        st = lathe_fail(w->err, LATHE_ERR_MEMORY, "no memory for index maps of %d values", to.n_ff);
    for (int32_t i = 0; !st && i < to.n_ff; i++)
        ff[i] = i < from.n_ff ? i : -1;
    w->map[SIDE_FF] = ff;
    if (!st)
        st = lathe_gguf_writer_new(&w->w, w->err);
    if (!st)
        lathe_longspec_put_keys(&to, w->w);
    const lathe_type_rule rule = {.target = target, .n_layer = w->to->n_layer};
    for (size_t i = 0; !st && i < n; i++)
        lathe_gguf_put_tensor(
            w->w, list[i].name,
            lathe_type_for(&rule, list[i].name, list[i].n_dims, list[i].ne[0], GGML_TYPE_F32), list[i].n_dims,
            list[i].ne);
    if (!st)
        st = lathe_gguf_writer_begin(w->w, p->draft_output, w->err);
    w->g = draft;
    for (size_t i = 0; !st && i < n; i++)
        st = widen_tensor(w, &list[i],
                          lathe_type_for(&rule, list[i].name, list[i].n_dims, list[i].ne[0], GGML_TYPE_F32));
    w->g = old;
    if (!st) {
        lathe_gguf_writer *writer = w->w;
        w->w = NULL; /* finish frees it */
        st = lathe_gguf_writer_finish(writer, w->err);
    }
    w->map[SIDE_FF] = of_model;
    free(ff);
    free(list);
    lathe_gguf_close(draft);
    lathe_gguf_close(model);
    return st;
}

lathe_status lathe_synth_widen(const char *path, const lathe_synth_params *params, uint32_t target,
                               lathe_synth_result *result, lathe_error *err) {
    widener w = {.params = params, .err = err};
    lathe_gguf *g = NULL;
    lathe_status st = lathe_gguf_open(params->like, NULL, &g, err);
    if (st)
        return st;
    w.g = g;
    w.from = malloc(sizeof *w.from);
    w.to = malloc(sizeof *w.to);
    w.values = malloc(PIECE_VALUES * sizeof *w.values);
    w.bytes = malloc(PIECE_VALUES * 4);
    if (!w.from || !w.to || !w.values || !w.bytes)
        st = lathe_fail(err, LATHE_ERR_MEMORY, "no memory to make %d values at a time", PIECE_VALUES);
    if (!st)
        st = describe(&w);
    if (!st)
        st = make_maps(&w);
    if (!st)
        st = lathe_pool_new(params->n_threads > 0 ? params->n_threads : lathe_n_cores(), &w.pool, err);
    if (!st)
        st = lathe_gguf_writer_new(&w.w, err);
    if (!st)
        st = write_wide(&w, target, path, result);
    if (!st && params->draft && params->draft_output)
        st = write_draft(&w, target, path);
    lathe_gguf_writer_free(w.w);
    lathe_pool_free(w.pool);
    for (int s = 0; s < SIDE_COUNT; s++)
        free(w.map[s]);
    free(w.old);
    free(w.values);
    free(w.bytes);
    free(w.from);
    free(w.to);
    lathe_gguf_close(g);
    return st;
}
