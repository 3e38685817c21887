/* longspec_build.c - LongSpec's block as a graph, for training (batch's own keys, ops with derivatives) and
 * for drafting (own cache, kernels). */
#include "model/longspec.h"

typedef struct ggml_tensor T;

static T *heads_of(lathe_build *b, T *w, T *x, T *bias, int64_t heads) {
    return ggml_reshape_3d(b->ctx, lathe_linear(b, w, x, bias), b->desc->n_embd_head_k, heads, x->ne[1]);
}

/* [dh, heads, rows] to [dh, T, heads, S]. */
static T *by_head(lathe_build *b, T *x) {
    if (b->n_seqs > 1)
        x = ggml_reshape_4d(b->ctx, x, x->ne[0], x->ne[1], b->n_tokens, b->n_seqs);
    return ggml_permute(b->ctx, x, 0, 2, 1, 3);
}

/* Attention under one mask for all layers. */
static T *attend(lathe_build *b, int32_t layer, T *q, T *k, T *v, T *mask) {
    b->mask = mask;
    b->mask_sliding = NULL;
    return lathe_attention(b, layer, q, k, v);
}

static T *self_attention(lathe_longspec_build *s, int32_t layer, T *h) {
    lathe_build *b = s->b;
    const lathe_longspec_weights *w = s->w;
    T *x = lathe_build_norm(b, LATHE_NORM_RMS, h, w->attn_norm, NULL);
    T *k = lathe_build_rope(b, layer, heads_of(b, w->attn_k, x, w->attn_k_b, b->desc->n_head_kv));
    T *v = heads_of(b, w->attn_v, x, w->attn_v_b, b->desc->n_head_kv);
    if (b->kv != NULL)
        b->kv->write(b->kv->user, b, 0, k, v);
    if (s->keys_only)
        return NULL;
    T *q = by_head(b, lathe_build_rope(b, layer, heads_of(b, w->attn_q, x, w->attn_q_b, b->desc->n_head)));
    if (b->kv != NULL) {
        b->kv->read(b->kv->user, b, 0, &k, &v);
    } else {
        k = by_head(b, k);
        v = by_head(b, v);
    }
    return lathe_linear(b, w->attn_out, attend(b, layer, q, k, v, s->mask_self), NULL);
}

static T *cross_attention(lathe_longspec_build *s, int32_t layer, T *h) {
    lathe_build *b = s->b;
    T *x = lathe_build_norm(b, LATHE_NORM_RMS, h, s->w->xattn_norm, NULL);
    T *q = by_head(
        b, lathe_build_rope(b, layer, heads_of(b, s->w->xattn_q, x, s->w->xattn_q_b, b->desc->n_head)));
    T *z = attend(b, layer, q, s->k_cross, s->v_cross, s->mask_cross);
    if (s->seen != NULL)
        z = ggml_mul(b->ctx, z, s->seen);
    return lathe_linear(b, s->w->xattn_out, z, NULL);
}

T *lathe_longspec_graph(lathe_longspec_build *s) {
    lathe_build *b = s->b;
    const lathe_desc *d = b->desc;
    struct ggml_context *ctx = b->ctx;
    const int32_t layer = d->n_layer - 1; /* whose rotation the target's keys have */
    T *h = ggml_get_rows(ctx, b->w->token_embd, b->tokens);
    if (d->embd_scale != 1.0f)
        h = ggml_scale(ctx, h, d->embd_scale);
    T *a = self_attention(s, layer, h);
    if (a == NULL)
        return NULL;
    h = ggml_add(ctx, h, a);
    if (s->k_cross != NULL) /* a text of one token has nothing cached */
        h = ggml_add(ctx, h, cross_attention(s, layer, h));
    T *g = lathe_build_norm(b, LATHE_NORM_RMS, h, s->w->ffn_norm, NULL);
    T *gate = lathe_linear(b, s->w->ffn_gate, g, NULL), *up = lathe_linear(b, s->w->ffn_up, g, NULL);
    T *m = b->kernels != NULL && b->kernels->swiglu != NULL
               ? b->kernels->swiglu(b->kernels->user, ctx, gate, up)
               : NULL;
    if (m == NULL)
        m = b->plain ? ggml_mul(ctx, ggml_silu(ctx, gate), up) : ggml_swiglu_split(ctx, gate, up);
    h = ggml_add(ctx, h, lathe_linear(b, s->w->ffn_down, m, NULL));
    if (s->w->output_norm != NULL)
        h = lathe_build_norm(b, LATHE_NORM_RMS, h, s->w->output_norm, NULL);
    T *logits = lathe_linear(b, b->w->output, h, b->w->output_b);
    if (d->logit_scale != 1.0f)
        logits = ggml_scale(ctx, logits, d->logit_scale);
    ggml_set_output(logits);
    ggml_build_forward_expand(b->gf, logits);
    return logits;
}
