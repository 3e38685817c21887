/* build_attn.c - the attention block: projections, rotation, cache, and softmax(q k) v in three ways. */
#include "model/build.h"
#include "tensor/ops.h"

/* A projection y [dh * heads, n] as [dh, heads, n], with its bias. */
static struct ggml_tensor *heads_of(lathe_build *b, struct ggml_tensor *y, struct ggml_tensor *bias,
                                    int64_t width, int64_t heads) {
    if (bias != NULL)
        y = ggml_add(b->ctx, y, bias);
    if (b->desc->clamp_kqv > 0.0f)
        y = lathe_op_clamp(b->ctx, y, -b->desc->clamp_kqv, b->desc->clamp_kqv);
    return ggml_reshape_3d(b->ctx, y, width, heads, y->ne[1]);
}

/* Heads `first` and on of a fused projection. */
static struct ggml_tensor *heads_in(lathe_build *b, struct ggml_tensor *qkv, int64_t width, int64_t heads,
                                    size_t first) {
    size_t row = (size_t) width * sizeof(float);
    return ggml_cont(b->ctx,
                     ggml_view_3d(b->ctx, qkv, width, heads, qkv->ne[1], row, qkv->nb[1], first * row));
}

static bool wants(const lathe_build *b, lathe_tap which, int32_t layer) {
    return b->wants != NULL && b->wants(b->tap_user, which, layer);
}

/* Scores and probabilities as tensors of their own. */
static struct ggml_tensor *attention_explicit(lathe_build *b, int32_t layer, struct ggml_tensor *q,
                                              struct ggml_tensor *k, struct ggml_tensor *v,
                                              struct ggml_tensor *mask) {
    const lathe_desc *d = b->desc;
    struct ggml_context *ctx = b->ctx;
    struct ggml_tensor *s = ggml_mul_mat(ctx, k, q); /* [n_kv, T, H, S] */
    lathe_op_f32_sums(s);
    float scale = d->attn_scale;
    bool look = wants(b, LATHE_TAP_SCORES, layer);
    if (d->attn_softcap > 0.0f || look) {
        s = ggml_scale(ctx, s, scale);
        scale = 1.0f;
        if (d->attn_softcap > 0.0f)
            s = lathe_op_softcap(ctx, s, d->attn_softcap);
    }
    struct ggml_tensor *p;
    if (mask == NULL) {
        s = ggml_diag_mask_inf(ctx, s, 0);
        if (look)
            lathe_build_tap(b, LATHE_TAP_SCORES, layer, s);
        p = scale != 1.0f ? ggml_soft_max(ctx, ggml_scale(ctx, s, scale)) : ggml_soft_max(ctx, s);
    } else if (look) {
        struct ggml_tensor *m = mask->type == GGML_TYPE_F32 ? mask : ggml_cast(ctx, mask, GGML_TYPE_F32);
        s = ggml_add(ctx, s, m);
        lathe_build_tap(b, LATHE_TAP_SCORES, layer, s);
        p = ggml_soft_max(ctx, s);
    } else {
        p = ggml_soft_max_ext(ctx, s, mask, scale, 0.0f);
    }
    lathe_build_tap(b, LATHE_TAP_PROBS, layer, p);
    if (ggml_is_quantized(v->type))
        v = ggml_cast(ctx, v, GGML_TYPE_F32);
    struct ggml_tensor *vt = ggml_cont(ctx, ggml_transpose(ctx, v)); /* [n_kv, dh, Hk, S] */
    struct ggml_tensor *o = ggml_mul_mat(ctx, vt, p);                /* [dh, T, H, S] */
    o = ggml_cont(ctx, ggml_permute(ctx, o, 0, 2, 1, 3));            /* [dh, H, T, S] */
    return ggml_reshape_2d(ctx, o, o->ne[0] * o->ne[1], o->ne[2] * o->ne[3]);
}

/* ggml's fused attention over an f16 cache is slow where a head's width is no multiple of 16: prompts of
 * heads of 8 and 24 take 2.5 and 1.6 times as long as explicit attention, single tokens of heads of 8 1.5
 * times (bench/README.md). */
static bool is_better_explicit(const lathe_build *b, const struct ggml_tensor *q,
                               const struct ggml_tensor *k) {
    enum { PROMPT_ROWS = 32, SCORES_MAX = 16 << 20 }; /* 64 MiB */
    return !b->one_kernel && k->type == GGML_TYPE_F16 && q->ne[0] % 16 != 0 &&
           (q->ne[1] >= PROMPT_ROWS || q->ne[0] < 16) && k->ne[1] * q->ne[1] * q->ne[2] <= SCORES_MAX;
}

/* The listed rows of a view [width, n, heads] of a cache, as f32 [width, n_rows, heads]. */
static struct ggml_tensor *gather(lathe_build *b, struct ggml_tensor *x, struct ggml_tensor *rows) {
    int64_t width = x->ne[0], heads = x->ne[2];
    struct ggml_tensor *whole = ggml_view_2d(b->ctx, x, width * heads, x->ne[1], x->nb[1], 0);
    struct ggml_tensor *y = ggml_get_rows(b->ctx, whole, rows);
    return ggml_permute(b->ctx, ggml_reshape_3d(b->ctx, y, width, heads, rows->ne[0]), 0, 2, 1, 3);
}

struct ggml_tensor *lathe_attention(lathe_build *b, int32_t layer, struct ggml_tensor *q,
                                    struct ggml_tensor *k, struct ggml_tensor *v) {
    const lathe_desc *d = b->desc;
    struct ggml_tensor *mask =
        lathe_desc_window(d, layer) > 0 && b->mask_sliding != NULL ? b->mask_sliding : b->mask;
    struct ggml_tensor *rows = NULL;
    if (b->kv != NULL && b->kv->see != NULL)
        b->kv->see(b->kv->user, b, layer, &rows, &mask);
    bool looked_into = wants(b, LATHE_TAP_SCORES, layer) || wants(b, LATHE_TAP_PROBS, layer);
    if (!looked_into && rows != NULL && b->kernels != NULL && b->kernels->attention_rows != NULL) {
        struct ggml_tensor *o = b->kernels->attention_rows(b->kernels->user, b->ctx, q, k, v, mask, rows,
                                                           d->attn_scale, d->attn_softcap);
        if (o != NULL)
            return o;
    }
    if (!looked_into && rows == NULL && b->tree_prefix != NULL && mask == b->mask && b->kernels != NULL &&
        b->kernels->attention_tree != NULL) {
        struct ggml_tensor *o =
            b->kernels->attention_tree(b->kernels->user, b->ctx, q, k, v, b->tree_prefix, b->tree_rows,
                                       b->tree_ancestors, d->attn_scale, d->attn_softcap);
        if (o != NULL)
            return o;
    }
    if (rows != NULL) {
        k = gather(b, k, rows);
        v = gather(b, v, rows);
    }
    if (!looked_into && mask != NULL && b->kernels != NULL && b->kernels->attention != NULL) {
        struct ggml_tensor *o =
            b->kernels->attention(b->kernels->user, b->ctx, q, k, v, mask, d->attn_scale, d->attn_softcap);
        if (o != NULL)
            return o;
    }
    if (b->flash && !looked_into && !b->plain && mask != NULL && !is_better_explicit(b, q, k)) {
        struct ggml_tensor *o =
            ggml_flash_attn_ext(b->ctx, q, k, v, mask, d->attn_scale, 0.0f, d->attn_softcap);
        lathe_op_f32_sums(o);
        return ggml_reshape_2d(b->ctx, o, o->ne[0] * o->ne[1], o->ne[2] * o->ne[3]);
    }
    return attention_explicit(b, layer, q, k, v, mask);
}

/* Q, K, V [dh, heads, n] of a layer, normed where the family does that, not yet rotated. */
static void project(lathe_build *b, int32_t layer, struct ggml_tensor *x, struct ggml_tensor **q,
                    struct ggml_tensor **k, struct ggml_tensor **v) {
    const lathe_desc *d = b->desc;
    const lathe_family *f = d->family;
    const lathe_layer_weights *w = &b->w->layers[layer];
    int64_t dh = d->n_embd_head_k, H = d->n_head, Hk = d->n_head_kv;
    if (f->fused_qkv) {
        struct ggml_tensor *qkv = lathe_linear(b, w->attn_qkv, x, w->attn_qkv_b);
        if (d->clamp_kqv > 0.0f)
            qkv = lathe_op_clamp(b->ctx, qkv, -d->clamp_kqv, d->clamp_kqv);
        *q = heads_in(b, qkv, dh, H, 0);
        *k = heads_in(b, qkv, dh, Hk, (size_t) H);
        *v = heads_in(b, qkv, dh, Hk, (size_t) (H + Hk));
    } else {
        struct ggml_tensor *const all[] = {w->attn_q, w->attn_k, w->attn_v};
        struct ggml_tensor *y[3];
        if (b->kernels == NULL || b->kernels->linear_group == NULL ||
            !b->kernels->linear_group(b->kernels->user, b->ctx, all, 3, x, y))
            for (int i = 0; i < 3; i++)
                y[i] = lathe_linear(b, all[i], x, NULL);
        *q = heads_of(b, y[0], w->attn_q_b, dh, H);
        *k = heads_of(b, y[1], w->attn_k_b, dh, Hk);
        *v = heads_of(b, y[2], w->attn_v_b, dh, Hk);
    }
    if (d->has_qk_norm) {
        *q = lathe_build_norm(b, f->qk_norm_kind, *q, w->attn_q_norm, NULL);
        *k = lathe_build_norm(b, f->qk_norm_kind, *k, w->attn_k_norm, NULL);
    }
}

/* Rotation and cache write in one node, where nothing looks in between; NULL: step by step. */
static struct ggml_tensor *rotate_write(lathe_build *b, int32_t layer, struct ggml_tensor *q,
                                        struct ggml_tensor *k, struct ggml_tensor *v) {
    if (b->kv == NULL || b->kv->rotate_write == NULL || wants(b, LATHE_TAP_Q_ROT, layer) ||
        wants(b, LATHE_TAP_K_ROT, layer))
        return NULL;
    return b->kv->rotate_write(b->kv->user, b, layer, q, k, v);
}

struct ggml_tensor *lathe_build_attn_block(lathe_build *b, int32_t layer, struct ggml_tensor *x) {
    const lathe_desc *d = b->desc;
    const lathe_layer_weights *w = &b->w->layers[layer];
    struct ggml_context *ctx = b->ctx;
    struct ggml_tensor *q, *k, *v;
    project(b, layer, x, &q, &k, &v);
    lathe_build_tap(b, LATHE_TAP_Q, layer, q);
    lathe_build_tap(b, LATHE_TAP_K, layer, k);
    lathe_build_tap(b, LATHE_TAP_V, layer, v);
    struct ggml_tensor *turned = rotate_write(b, layer, q, k, v);
    if (turned != NULL) {
        q = turned;
    } else {
        q = lathe_build_rope(b, layer, q);
        k = lathe_build_rope(b, layer, k);
        lathe_build_tap(b, LATHE_TAP_Q_ROT, layer, q);
        lathe_build_tap(b, LATHE_TAP_K_ROT, layer, k);
    }
    int64_t T = b->n_tokens, S = b->n_seqs;
    if (S > 1)
        q = ggml_reshape_4d(ctx, q, d->n_embd_head_k, d->n_head, T, S);
    q = ggml_permute(ctx, q, 0, 2, 1, 3); /* [dh, T, H, S] */
    if (b->kv != NULL) {
        if (turned == NULL)
            b->kv->write(b->kv->user, b, layer, k, v);
        if (b->no_logits && layer == d->n_layer - 1 && b->tap == NULL)
            return NULL; /* nothing reads this layer's result */
        b->kv->read(b->kv->user, b, layer, &k, &v);
    } else {
        if (S > 1) {
            k = ggml_reshape_4d(ctx, k, d->n_embd_head_k, d->n_head_kv, T, S);
            v = ggml_reshape_4d(ctx, v, d->n_embd_head_v, d->n_head_kv, T, S);
        }
        k = ggml_permute(ctx, k, 0, 2, 1, 3);
        v = ggml_permute(ctx, v, 0, 2, 1, 3);
    }
    struct ggml_tensor *z = lathe_attention(b, layer, q, k, v);
    lathe_build_tap(b, LATHE_TAP_Z, layer, z);
    return lathe_linear(b, w->attn_output, z, w->attn_output_b);
}
