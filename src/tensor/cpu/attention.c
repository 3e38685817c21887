/* attention.c - see attention.h. */
#include "tensor/cpu/attention.h"

#include <ggml.h>
#include <math.h>
#include <string.h>

#include "tensor/cpu/attention_set.h"

enum { SRC_Q, SRC_K, SRC_V, SRC_MASK, SRC_ROWS, SRC_SEEN, SRC_SINKS, SRC_N };

/* Where the parts of the result begin, in floats from dst->data; 0: there is none. */
typedef struct layout {
    int64_t lse, mass, parts, end;
} layout;

static bool kv_type(enum ggml_type type, lathe_kv_type *out) {
    switch (type) {
    case GGML_TYPE_F32:
        *out = LATHE_KV_F32;
        return true;
    case GGML_TYPE_F16:
        *out = LATHE_KV_F16;
        return true;
    case GGML_TYPE_BF16:
        *out = LATHE_KV_BF16;
        return true;
    case GGML_TYPE_Q8_0:
        *out = LATHE_KV_Q8_0;
        return true;
    case GGML_TYPE_Q4_0:
        *out = LATHE_KV_Q4_0;
        return true;
    default:
        return false;
    }
}

static lathe_attention_args args_of(struct ggml_tensor *const *src) {
    const struct ggml_tensor *q = src[SRC_Q], *k = src[SRC_K], *v = src[SRC_V], *mask = src[SRC_MASK];
    const struct ggml_tensor *rows = src[SRC_ROWS];
    lathe_attention_args a = {
        .n_q = q->ne[1],
        .n_kv = rows != NULL ? rows->ne[0] : k->ne[1],
        .n_head = q->ne[2],
        .n_head_kv = k->ne[2],
        .dk = k->ne[0],
        .dv = v->ne[0],
        .q = q->data,
        .q_row = (int64_t) (q->nb[1] / sizeof(float)),
        .q_head = (int64_t) (q->nb[2] / sizeof(float)),
        .k = k->data,
        .v = v->data,
        .k_row = k->nb[1],
        .k_head = k->nb[2],
        .v_row = v->nb[1],
        .v_head = v->nb[2],
        .rows = rows != NULL ? rows->data : NULL,
        .rows_head = rows != NULL && rows->ne[1] > 1 ? (int64_t) (rows->nb[1] / sizeof(int32_t)) : 0,
        .seen = src[SRC_SEEN] != NULL ? src[SRC_SEEN]->data : NULL,
        .mask = mask != NULL ? mask->data : NULL,
        .mask_stride = mask != NULL && mask->ne[1] > 1 ? (int64_t) (mask->nb[1] / sizeof(uint16_t)) : 0,
        .sinks = src[SRC_SINKS] != NULL ? src[SRC_SINKS]->data : NULL,
    };
    (void) kv_type(k->type, &a.k_type);
    (void) kv_type(v->type, &a.v_type);
    return a;
}

/* Room that a short step takes at most for its queries: they are read again for every block. */
enum { SHORT_FLOATS = 1 << 16 };

/* Whether all rows of the step are worked on together. */
static bool is_short(const lathe_attention_args *a) {
    return lathe_attention_n_tiles(a) == 1 && lathe_attention_part(a, a->n_head_kv) <= SHORT_FLOATS;
}

static layout layout_of(const lathe_attention_args *a, bool lse, bool mass) {
    layout l = {.end = a->n_q * a->n_head * a->dv};
    if (lse || mass) {
        l.lse = l.end;
        l.end += a->n_q * a->n_head;
    }
    if (mass) {
        l.mass = l.end;
        l.end += a->n_head * a->n_kv;
    } else if (is_short(a)) { /* one part more than there are chunks, and two at least */
        l.parts = l.end;
        l.end += (lathe_attention_n_chunks(a) + 1) * (int64_t) lathe_attention_part(a, a->n_head_kv);
    }
    return l;
}

/* --- Running ------------------------------------------------------------------------------------- */

/* Whole KV heads: their sums of probabilities belong to one thread. */
static void run_heads(const lathe_attention_set *set, const lathe_attention_args *a, int ith, int nth) {
    int64_t group = a->n_head / a->n_head_kv, rows = lathe_attention_tile_rows(a);
    for (int64_t h = ith; h < a->n_head_kv; h += nth) {
        memset(a->mass + h * group * a->n_kv, 0, (size_t) (group * a->n_kv) * sizeof *a->mass);
        for (int64_t t = 0; t < a->n_q; t += rows)
            set->tile(a, h, t);
    }
}

/* Tiles by turns, the last rows (which see most) first. */
static void run_tiles(const lathe_attention_set *set, const lathe_attention_args *a, int ith, int nth) {
    int64_t rows = lathe_attention_tile_rows(a), n = lathe_attention_n_tiles(a);
    for (int64_t i = ith; i < n * a->n_head_kv; i += nth)
        set->tile(a, i / n, (n - 1 - i % n) * rows);
}

/* Pieces of some heads and one chunk in even shares; who finishes the last chunk of some heads merges them.
 */
static void run_chunks(lathe_attention_op *op, const lathe_attention_args *a, float *parts, int ith,
                       int nth) {
    const lathe_attention_set *set = op->cpu->attention;
    int64_t n_chunks = lathe_attention_n_chunks(a), n_splits = (nth + n_chunks - 1) / n_chunks;
    n_splits = n_splits < a->n_head_kv ? n_splits : a->n_head_kv;
    n_splits = n_splits < LATHE_ATTENTION_SPLIT_MAX ? n_splits : LATHE_ATTENTION_SPLIT_MAX;
    int64_t n = n_splits * n_chunks;
    size_t per_head = lathe_attention_part(a, 1);
    for (int64_t i = n * ith / nth; i < n * (ith + 1) / nth; i++) {
        int64_t split = i / n_chunks, h0 = a->n_head_kv * split / n_splits,
                h1 = a->n_head_kv * (split + 1) / n_splits;
        size_t stride = per_head * (size_t) (h1 - h0);
        float *own = parts + per_head * (size_t) (h0 * (n_chunks + 1)); /* its chunks' parts, and one more */
        set->chunk(a, h0, h1, i % n_chunks, own + stride * (size_t) (i % n_chunks));
        if (atomic_fetch_add(&op->done[split], 1) + 1 == n_chunks) {
            set->merge(a, h0, h1, own, stride, own + stride * (size_t) n_chunks);
            atomic_store(&op->done[split], 0);
        }
    }
}

static void attend(lathe_attention_op *op, struct ggml_tensor *dst, bool lse, bool mass, bool in_place,
                   int ith, int nth) {
    lathe_attention_args a = args_of(dst->src);
    a.in_place = in_place;
    layout l = layout_of(&a, lse, mass);
    float *data = dst->data;
    a.scale = op->scale;
    a.softcap = op->softcap;
    a.slopes = op->slopes;
    a.out = data;
    a.lse = l.lse > 0 ? data + l.lse : NULL;
    a.mass = l.mass > 0 ? data + l.mass : NULL;
    if (mass)
        run_heads(op->cpu->attention, &a, ith, nth);
    else if (l.parts > 0 && nth == 1)
        op->cpu->attention->heads(&a, 0, a.n_head_kv, data + l.parts);
    else if (l.parts > 0)
        run_chunks(op, &a, data + l.parts, ith, nth);
    else
        run_tiles(op->cpu->attention, &a, ith, nth);
}

static void attend_plain(struct ggml_tensor *dst, int ith, int nth, void *user) {
    attend(user, dst, false, false, false, ith, nth);
}
static void attend_lse(struct ggml_tensor *dst, int ith, int nth, void *user) {
    attend(user, dst, true, false, false, ith, nth);
}
static void attend_mass(struct ggml_tensor *dst, int ith, int nth, void *user) {
    attend(user, dst, true, true, false, ith, nth);
}
static void attend_in_place(struct ggml_tensor *dst, int ith, int nth, void *user) {
    attend(user, dst, false, false, true, ith, nth);
}

/* --- Building ------------------------------------------------------------------------------------ */

static bool is_cache(const struct ggml_tensor *t) {
    lathe_kv_type type;
    return kv_type(t->type, &type) && t->ne[0] >= 1 && t->ne[0] <= LATHE_ATTENTION_DH_MAX && t->ne[3] == 1 &&
           t->nb[0] == ggml_type_size(t->type) && t->ne[0] % ggml_blck_size(t->type) == 0;
}

static bool fits(const lathe_attention_op *op, const lathe_attention_in *in) {
    const struct ggml_tensor *q = in->q, *k = in->k, *v = in->v, *mask = in->mask, *rows = in->rows;
    if (q->type != GGML_TYPE_F32 || q->nb[0] != sizeof(float) || q->ne[3] != 1 || q->ne[1] > op->n_q_max ||
        !is_cache(k) || !is_cache(v) || q->ne[0] != k->ne[0] || k->ne[1] != v->ne[1] ||
        k->ne[2] != v->ne[2] || k->ne[2] == 0 || q->ne[2] % k->ne[2] != 0 ||
        q->ne[2] / k->ne[2] > LATHE_ATTENTION_GROUP_MAX)
        return false;
    if (rows != NULL &&
        (rows->type != GGML_TYPE_I32 || rows->nb[0] != sizeof(int32_t) ||
         (rows->ne[1] != 1 && rows->ne[1] != k->ne[2]) || rows->ne[2] != 1 || rows->ne[3] != 1))
        return false;
    int64_t n_kv = rows != NULL ? rows->ne[0] : k->ne[1];
    if (mask != NULL &&
        (mask->type != GGML_TYPE_F16 || mask->ne[0] < n_kv || (mask->ne[1] < q->ne[1] && mask->ne[1] != 1) ||
         mask->ne[2] != 1 || mask->ne[3] != 1 || mask->nb[0] != sizeof(uint16_t)))
        return false;
    if (in->seen != NULL && (in->seen->type != GGML_TYPE_I32 || in->seen->ne[0] != 2 ||
                             in->seen->ne[1] < q->ne[1] || !ggml_is_contiguous(in->seen)))
        return false;
    return in->sinks == NULL || (in->sinks->type == GGML_TYPE_F32 && in->sinks->ne[0] == q->ne[2] &&
                                 ggml_is_contiguous(in->sinks));
}

static struct ggml_tensor *part_2d(struct ggml_context *ctx, struct ggml_tensor *t, int64_t ne0, int64_t ne1,
                                   int64_t begin) {
    return ggml_view_2d(ctx, t, ne0, ne1, (size_t) ne0 * sizeof(float), (size_t) begin * sizeof(float));
}

bool lathe_attention_node(lathe_attention_op *op, struct ggml_context *ctx, const lathe_attention_in *in,
                          lathe_attention_out *out) {
    if (!fits(op, in))
        return false;
    struct ggml_tensor *src[SRC_N] = {in->q, in->k, in->v, in->mask, in->rows, in->seen, in->sinks};
    lathe_attention_args a = args_of(src);
    layout l = layout_of(&a, in->want_lse, in->want_mass);
    int64_t width = a.dv * a.n_head;
    ggml_custom_op_t fn = in->want_mass  ? attend_mass
                          : in->want_lse ? attend_lse
                          : in->in_place ? attend_in_place
                                         : attend_plain;
    bool alone = l.end == width * a.n_q;
    struct ggml_tensor *t = ggml_custom_4d(ctx, GGML_TYPE_F32, alone ? width : l.end, alone ? a.n_q : 1, 1, 1,
                                           src, SRC_N, fn, GGML_N_TASKS_MAX, op);
    *out = (lathe_attention_out){.out = alone ? t : part_2d(ctx, t, width, a.n_q, 0)};
    if (in->want_lse)
        out->lse = part_2d(ctx, t, a.n_head, a.n_q, l.lse);
    if (in->want_mass)
        out->mass = part_2d(ctx, t, a.n_kv, a.n_head, l.mass);
    return true;
}

static struct ggml_tensor *fused(lathe_attention_op *op, struct ggml_context *ctx,
                                 const lathe_attention_in *in, float scale, float softcap) {
    lathe_attention_out out;
    if (op->scale < scale || op->scale > scale || op->softcap < softcap || op->softcap > softcap)
        return NULL;
    return lathe_attention_node(op, ctx, in, &out) ? out.out : NULL;
}

struct ggml_tensor *lathe_fused_attention_rows(void *user, struct ggml_context *ctx, struct ggml_tensor *q,
                                               struct ggml_tensor *k, struct ggml_tensor *v,
                                               struct ggml_tensor *mask, struct ggml_tensor *rows,
                                               float scale, float softcap) {
    const lathe_attention_in in = {.q = q, .k = k, .v = v, .mask = mask, .rows = rows, .in_place = true};
    return fused(user, ctx, &in, scale, softcap);
}

struct ggml_tensor *lathe_fused_attention(void *user, struct ggml_context *ctx, struct ggml_tensor *q,
                                          struct ggml_tensor *k, struct ggml_tensor *v,
                                          struct ggml_tensor *mask, float scale, float softcap) {
    const lathe_attention_in in = {.q = q, .k = k, .v = v, .mask = mask};
    return fused(user, ctx, &in, scale, softcap);
}

struct ggml_tensor *lathe_fused_attention_tree(void *user, struct ggml_context *ctx, struct ggml_tensor *q,
                                               struct ggml_tensor *k, struct ggml_tensor *v,
                                               struct ggml_tensor *prefix, struct ggml_tensor *rows,
                                               struct ggml_tensor *ancestors, float scale, float softcap) {
    lathe_attention_op *op = user;
    const lathe_attention_in before = {.q = q, .k = k, .v = v, .mask = prefix, .want_lse = true};
    const lathe_attention_in tree = {
        .q = q, .k = k, .v = v, .mask = ancestors, .rows = rows, .want_lse = true};
    lathe_attention_out a, b;
    if (op->scale < scale || op->scale > scale || op->softcap < softcap || op->softcap > softcap ||
        !fits(op, &before) || !fits(op, &tree) || !lathe_attention_node(op, ctx, &before, &a) ||
        !lathe_attention_node(op, ctx, &tree, &b))
        return NULL;
    return lathe_attention_merge(ctx, &a, &b).out;
}

/* --- Merging ------------------------------------------------------------------------------------- */

static void merge_op(struct ggml_tensor *dst, int ith, int nth, void *user) {
    (void) user;
    const struct ggml_tensor *a = dst->src[0], *la = dst->src[1], *b = dst->src[2], *lb = dst->src[3];
    int64_t n_head = la->ne[0], T = la->ne[1], dv = a->ne[0] / n_head, n = n_head * T;
    float *out = dst->data, *lse = out + n * dv;
    const float *oa = a->data, *ob = b->data, *sa = la->data, *sb = lb->data;
    for (int64_t i = n * ith / nth; i < n * (ith + 1) / nth; i++) {
        float top = sa[i] > sb[i] ? sa[i] : sb[i];
        float wa = sa[i] > -INFINITY ? expf(sa[i] - top) : 0.0f,
              wb = sb[i] > -INFINITY ? expf(sb[i] - top) : 0.0f;
        if (isnan(sa[i]) || isnan(sb[i]))
            wa = wb = NAN;
        float sum = wa + wb, inverse = sum > 0.0f || isnan(sum) ? 1.0f / sum : 0.0f;
        for (int64_t d = 0; d < dv; d++)
            out[i * dv + d] = (wa * oa[i * dv + d] + wb * ob[i * dv + d]) * inverse;
        lse[i] = sum > 0.0f || isnan(sum) ? top + logf(sum) : -INFINITY;
    }
}

lathe_attention_out lathe_attention_merge(struct ggml_context *ctx, const lathe_attention_out *a,
                                          const lathe_attention_out *b) {
    struct ggml_tensor *src[] = {a->out, a->lse, b->out, b->lse};
    int64_t width = a->out->ne[0], T = a->out->ne[1], n_head = a->lse->ne[0];
    struct ggml_tensor *t = ggml_custom_4d(ctx, GGML_TYPE_F32, (width + n_head) * T, 1, 1, 1, src, 4,
                                           merge_op, GGML_N_TASKS_MAX, NULL);
    return (lathe_attention_out){.out = part_2d(ctx, t, width, T, 0),
                                 .lse = part_2d(ctx, t, n_head, T, width * T)};
}
