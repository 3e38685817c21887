/* build.c - from tokens to logits, as the description's switches say. */
#include "model/build.h"

#include "tensor/ops.h"

size_t lathe_build_n_nodes(const lathe_desc *desc, bool taps) {
    return 96 + (size_t) desc->n_layer * (taps ? 160 : 112);
}

void lathe_build_tap(lathe_build *b, lathe_tap which, int32_t layer, struct ggml_tensor *t) {
    if (b->tap != NULL)
        b->tap(b->tap_user, which, layer, t);
}

static struct ggml_tensor *embed(lathe_build *b) {
    struct ggml_tensor *x = b->embd;
    if (x == NULL)
        x = ggml_get_rows(b->ctx, b->w->token_embd, b->tokens);
    if (b->desc->embd_scale != 1.0f)
        x = ggml_scale(b->ctx, x, b->desc->embd_scale);
    if (b->w->position_embd != NULL)
        x = ggml_add(b->ctx, x, ggml_get_rows(b->ctx, b->w->position_embd, b->pos));
    lathe_build_tap(b, LATHE_TAP_EMBD, -1, x);
    return x;
}

static struct ggml_tensor *scaled(lathe_build *b, struct ggml_tensor *branch) {
    return b->desc->residual_scale != 1.0f ? ggml_scale(b->ctx, branch, b->desc->residual_scale) : branch;
}

static struct ggml_tensor *branch_of(lathe_build *b, struct ggml_tensor *x, int32_t layer, int32_t which) {
    struct ggml_tensor *y = NULL;
    if (b->kernels != NULL && b->kernels->branch != NULL)
        y = b->kernels->branch(b->kernels->user, b->ctx, x, layer, which);
    return y != NULL ? y : x;
}

/* One layer; NULL when nothing needs its result. */
static struct ggml_tensor *layer_of(lathe_build *b, int32_t layer, struct ggml_tensor *x) {
    const lathe_desc *d = b->desc;
    const lathe_family *f = d->family;
    const lathe_layer_weights *w = &b->w->layers[layer];
    struct ggml_context *ctx = b->ctx;
    lathe_build_tap(b, LATHE_TAP_RESID_PRE, layer, x);
    struct ggml_tensor *n = lathe_build_norm(b, f->norm, x, w->attn_norm, w->attn_norm_b);
    lathe_build_tap(b, LATHE_TAP_ATTN_NORM, layer, n);
    struct ggml_tensor *a = lathe_build_attn_block(b, layer, n);
    if (a == NULL)
        return NULL;
    bool choose = layer == d->n_layer - 1 && b->out_ids != NULL && !b->late_rows;
    if (choose) { /* the last layer's rows that no logits need stop here */
        a = ggml_get_rows(ctx, a, b->out_ids);
        x = ggml_get_rows(ctx, x, b->out_ids);
        if (d->parallel && !d->has_ffn_norm)
            n = ggml_get_rows(ctx, n, b->out_ids);
    }
    if (f->post_norms)
        a = lathe_build_norm(b, f->norm, a, w->post_attention_norm, w->post_attention_norm_b);
    a = branch_of(b, scaled(b, a), layer, 0);
    lathe_build_tap(b, LATHE_TAP_ATTN_OUT, layer, a);
    struct ggml_tensor *mid = ggml_add(ctx, x, a);
    lathe_build_tap(b, LATHE_TAP_RESID_MID, layer, mid);
    struct ggml_tensor *in = n;
    if (d->has_ffn_norm)
        in = lathe_build_norm(b, f->norm, d->parallel ? x : mid, w->ffn_norm, w->ffn_norm_b);
    lathe_build_tap(b, LATHE_TAP_FFN_NORM, layer, in);
    struct ggml_tensor *m = lathe_build_ffn(b, layer, in);
    if (f->post_norms)
        m = lathe_build_norm(b, f->norm, m, w->post_ffw_norm, w->post_ffw_norm_b);
    m = branch_of(b, scaled(b, m), layer, 1);
    lathe_build_tap(b, LATHE_TAP_FFN_OUT, layer, m);
    struct ggml_tensor *y = ggml_add(ctx, mid, m);
    lathe_build_tap(b, LATHE_TAP_RESID_POST, layer, y);
    return y;
}

struct ggml_tensor *lathe_build_head(lathe_build *b, struct ggml_tensor *hidden) {
    const lathe_desc *d = b->desc;
    struct ggml_tensor *x = lathe_linear(b, b->w->output, hidden, b->w->output_b);
    if (d->logit_scale != 1.0f)
        x = ggml_scale(b->ctx, x, d->logit_scale);
    if (d->final_softcap > 0.0f)
        x = lathe_op_softcap(b->ctx, x, d->final_softcap);
    return x;
}

void lathe_build_graph(lathe_build *b) {
    const lathe_desc *d = b->desc;
    struct ggml_context *ctx = b->ctx;
    struct ggml_tensor *x = embed(b);
    for (int32_t i = 0; i < d->n_layer && x != NULL; i++)
        x = layer_of(b, i, x);
    if (x == NULL)
        return;
    if (b->out_ids != NULL && b->late_rows)
        x = ggml_get_rows(ctx, x, b->out_ids);
    x = lathe_build_norm(b, d->family->norm, x, b->w->output_norm, b->w->output_norm_b);
    lathe_build_tap(b, LATHE_TAP_FINAL_NORM, -1, x);
    b->hidden = x;
    if (b->no_logits) {
        ggml_build_forward_expand(b->gf, x);
        return;
    }
    b->logits = lathe_build_head(b, x);
    ggml_set_output(b->logits);
    ggml_build_forward_expand(b->gf, b->logits);
}
