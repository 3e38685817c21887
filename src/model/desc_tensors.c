/* desc_tensors.c - what a file of a description holds: its tensors with their shapes, and its metadata keys.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ggml.h"
#include "model/desc.h"
#include "model/gguf.h"

/* --- Tensors ------------------------------------------------------------------------------------- */

/* At most: 9 of no layer, and 22 a layer (9 matrices or norms with biases, QK norms, post norms). */
enum { TENSORS_FIXED_MAX = 9, TENSORS_PER_LAYER_MAX = 24 };

typedef struct list {
    lathe_desc_tensor *at;
    size_t n;
    int32_t layer;
} list;

static void add(list *l, const char *name, const char *suffix, int64_t ne0, int64_t ne1,
                lathe_tensor_role role, bool optional) {
    lathe_desc_tensor *t = &l->at[l->n++];
    *t = (lathe_desc_tensor){.ne = {ne0, ne1 > 0 ? ne1 : 1, 1, 1},
                             .n_dims = ne1 > 0 ? 2 : 1,
                             .layer = l->layer,
                             .role = role,
                             .optional = optional};
    if (l->layer < 0)
        snprintf(t->name, sizeof t->name, "%s.%s", name, suffix);
    else
        snprintf(t->name, sizeof t->name, "blk.%" PRId32 ".%s.%s", l->layer, name, suffix);
}

static void add_norm(list *l, const char *name, int64_t n, bool bias, bool optional) {
    add(l, name, "weight", n, 0, LATHE_ROLE_NORM, optional);
    if (bias)
        add(l, name, "bias", n, 0, LATHE_ROLE_BIAS, optional);
}

static void add_linear(list *l, const char *name, int64_t n_in, int64_t n_out, lathe_tensor_role role,
                       bool bias, lathe_presence presence) {
    add(l, name, "weight", n_in, n_out, role, false);
    if (bias)
        add(l, name, "bias", n_out, 0, LATHE_ROLE_BIAS, presence == LATHE_MAY);
}

static void add_layer(list *l, const lathe_desc *d) {
    const lathe_family *f = d->family;
    int64_t n = d->n_embd, q = (int64_t) d->n_head * d->n_embd_head_k,
            k = (int64_t) d->n_head_kv * d->n_embd_head_k, v = (int64_t) d->n_head_kv * d->n_embd_head_v,
            o = (int64_t) d->n_head * d->n_embd_head_v, ff = d->n_ff;
    add_norm(l, "attn_norm", n, f->norm_bias, false);
    if (f->fused_qkv) {
        add_linear(l, "attn_qkv", n, q + k + v, LATHE_ROLE_MATRIX, d->has_qkv_bias, f->qkv_bias);
    } else {
        add_linear(l, "attn_q", n, q, LATHE_ROLE_MATRIX, d->has_qkv_bias, f->qkv_bias);
        add_linear(l, "attn_k", n, k, LATHE_ROLE_MATRIX, d->has_qkv_bias, f->qkv_bias);
        add_linear(l, "attn_v", n, v, LATHE_ROLE_MATRIX, d->has_qkv_bias, f->qkv_bias);
    }
    if (d->has_qk_norm) {
        bool may = f->qk_norm == LATHE_MAY;
        add(l, "attn_q_norm", "weight", d->n_embd_head_k, f->qk_norm_per_head ? d->n_head : 0,
            LATHE_ROLE_NORM, may);
        add(l, "attn_k_norm", "weight", d->n_embd_head_k, f->qk_norm_per_head ? d->n_head_kv : 0,
            LATHE_ROLE_NORM, may);
    }
    add_linear(l, "attn_output", o, n, LATHE_ROLE_RESIDUAL, d->has_out_bias, f->out_bias);
    if (f->post_norms)
        add_norm(l, "post_attention_norm", n, f->norm_bias, false);
    if (d->has_ffn_norm)
        add_norm(l, "ffn_norm", n, f->norm_bias, f->parallel == LATHE_PARALLEL_SHARED_NORM);
    if (f->gated && !f->fused_gate_up)
        add_linear(l, "ffn_gate", n, ff, LATHE_ROLE_MATRIX, d->has_ffn_bias, f->ffn_bias);
    add_linear(l, "ffn_up", n, f->fused_gate_up ? 2 * ff : ff, LATHE_ROLE_MATRIX, d->has_ffn_bias,
               f->ffn_bias);
    add_linear(l, "ffn_down", ff, n, LATHE_ROLE_RESIDUAL, d->has_ffn_bias, f->ffn_bias);
    if (f->post_norms)
        add_norm(l, "post_ffw_norm", n, f->norm_bias, false);
}

lathe_status lathe_desc_tensors(const lathe_desc *d, lathe_desc_tensor **out, size_t *n, lathe_error *err) {
    size_t max = TENSORS_FIXED_MAX + TENSORS_PER_LAYER_MAX * (size_t) d->n_layer;
    list l = {.at = malloc(max * sizeof *l.at), .layer = -1};
    if (l.at == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a list of %zu tensors", max);
    add(&l, "token_embd", "weight", d->n_embd, d->n_vocab, LATHE_ROLE_EMBD, false);
    if (d->n_pos > 0)
        add(&l, "position_embd", "weight", d->n_embd, d->n_pos, LATHE_ROLE_EMBD, false);
    for (l.layer = 0; l.layer < d->n_layer; l.layer++)
        add_layer(&l, d);
    l.layer = -1;
    if (d->has_rope_freqs)
        add(&l, "rope_freqs", "weight", d->n_rot / 2, 0, LATHE_ROLE_TABLE, true);
    if (d->has_rope_factors) {
        add(&l, "rope_factors_long", "weight", d->n_rot / 2, 0, LATHE_ROLE_TABLE, true);
        add(&l, "rope_factors_short", "weight", d->n_rot / 2, 0, LATHE_ROLE_TABLE, true);
    }
    add_norm(&l, "output_norm", d->n_embd, d->family->norm_bias, false);
    if (d->has_output)
        add(&l, "output", "weight", d->n_embd, d->n_vocab, LATHE_ROLE_OUTPUT, d->family->output == LATHE_MAY);
    if (d->has_output_bias)
        add(&l, "output", "bias", d->n_vocab, 0, LATHE_ROLE_BIAS, d->family->output_bias == LATHE_MAY);
    *out = l.at;
    *n = l.n;
    return LATHE_OK;
}

int64_t lathe_desc_n_params(const lathe_desc *d) {
    lathe_desc_tensor *tensors;
    size_t n;
    int64_t sum = 0;
    if (lathe_desc_tensors(d, &tensors, &n, NULL) != LATHE_OK)
        return 0;
    for (size_t i = 0; i < n; i++)
        if (tensors[i].role != LATHE_ROLE_TABLE)
            sum += tensors[i].ne[0] * tensors[i].ne[1];
    free(tensors);
    return sum;
}

/* --- A file against its description -------------------------------------------------------------- */

static bool is_small(lathe_tensor_role role) {
    return role == LATHE_ROLE_NORM || role == LATHE_ROLE_BIAS || role == LATHE_ROLE_TABLE;
}

/* Norms, biases and tables are few numbers that spoil everything when one is not finite. */
static lathe_status check_finite(const char *path, const lathe_gguf_tensor *t, lathe_error *err) {
    for (int64_t i = 0; i < t->n_values; i++) {
        float x = 0.0f;
        if (t->type == GGML_TYPE_F32) {
            memcpy(&x, t->data + (size_t) i * sizeof x, sizeof x);
        } else {
            uint16_t h;
            memcpy(&h, t->data + (size_t) i * sizeof h, sizeof h);
            x = t->type == GGML_TYPE_F16 ? ggml_fp16_to_fp32(h) : ggml_bf16_to_fp32((ggml_bf16_t){h});
        }
        if (!isfinite(x))
            return lathe_fail(err, LATHE_ERR_INPUT, "%s: tensor '%s': value %lld is not finite", path,
                              t->name, (long long) i);
    }
    return LATHE_OK;
}

static lathe_status check_tensor(const char *path, const lathe_desc_tensor *want, const lathe_gguf_tensor *t,
                                 lathe_error *err) {
    if (t == NULL)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: tensor '%s' is missing", path, want->name);
    for (int i = 0; i < 4; i++)
        if (t->ne[i] != want->ne[i])
            return lathe_fail(err, LATHE_ERR_INPUT,
                              "%s: tensor '%s': shape [%lld,%lld,%lld,%lld], expected [%lld,%lld,%lld,%lld]",
                              path, want->name, (long long) t->ne[0], (long long) t->ne[1],
                              (long long) t->ne[2], (long long) t->ne[3], (long long) want->ne[0],
                              (long long) want->ne[1], (long long) want->ne[2], (long long) want->ne[3]);
    if (t->type >= GGML_TYPE_COUNT)
        return lathe_fail(err, LATHE_ERR_UNSUPPORTED,
                          "%s: tensor '%s': type %s, which ggml %s does not have; a newer one does", path,
                          want->name, lathe_gguf_tensor_type_name(t->type), ggml_version());
    bool is_float = t->type == GGML_TYPE_F32 || t->type == GGML_TYPE_F16 || t->type == GGML_TYPE_BF16;
    if (is_small(want->role)) {
        if (!is_float)
            return lathe_fail(err, LATHE_ERR_INPUT, "%s: tensor '%s': type %s; f32, f16 or bf16 is right",
                              path, want->name, lathe_gguf_tensor_type_name(t->type));
        return check_finite(path, t, err);
    }
    if (!is_float && !ggml_is_quantized((enum ggml_type) t->type))
        return lathe_fail(err, LATHE_ERR_INPUT,
                          "%s: tensor '%s': type %s; a float or a quantised type is right", path, want->name,
                          lathe_gguf_tensor_type_name(t->type));
    return LATHE_OK;
}

lathe_status lathe_desc_check(const lathe_desc *desc, const lathe_gguf *gguf, size_t *n_unknown,
                              lathe_error *err) {
    lathe_desc_tensor *tensors;
    size_t n;
    lathe_status status = lathe_desc_tensors(desc, &tensors, &n, err);
    if (status != LATHE_OK)
        return status;
    for (size_t i = 0; i < n && status == LATHE_OK; i++)
        status = check_tensor(lathe_gguf_path(gguf), &tensors[i],
                              lathe_gguf_tensor_find(gguf, tensors[i].name), err);
    free(tensors);
    if (status == LATHE_OK && n_unknown != NULL)
        *n_unknown = lathe_gguf_n_tensors(gguf) - n;
    return status;
}

/* --- Metadata ------------------------------------------------------------------------------------ */

typedef struct emitter {
    const lathe_desc_visitor *to;
    const char *arch;
    char key[128];
    bool ok;
} emitter;

static const char *key_of(emitter *e, const char *name) {
    snprintf(e->key, sizeof e->key, "%s.%s", e->arch, name);
    return e->key;
}
static void put_u32(emitter *e, const char *name, int32_t value) {
    e->ok = e->ok && e->to->u32(e->to->user, key_of(e, name), (uint32_t) value);
}
static void put_f32(emitter *e, const char *name, float value) {
    e->ok = e->ok && e->to->f32(e->to->user, key_of(e, name), value);
}

static void put_rope(emitter *e, const lathe_desc *d) {
    put_u32(e, "rope.dimension_count", d->n_rot);
    put_f32(e, "rope.freq_base", d->rope_base);
    if (d->window > 0 && d->rope_base_sliding != d->rope_base)
        put_f32(e, "rope.freq_base_swa", d->rope_base_sliding);
    static const char *const names[] = {"none", "linear", "yarn", "longrope"};
    if (d->rope_scaling == LATHE_ROPE_PLAIN)
        return;
    e->ok = e->ok && e->to->text(e->to->user, key_of(e, "rope.scaling.type"), names[d->rope_scaling]);
    put_f32(e, "rope.scaling.factor", 1.0f / d->rope_freq_scale);
    put_u32(e, "rope.scaling.original_context_length", d->n_ctx_orig);
    if (d->rope_attn_factor != 1.0f)
        put_f32(e, "rope.scaling.attn_factor", d->rope_attn_factor);
    if (d->rope_scaling == LATHE_ROPE_YARN) {
        put_f32(e, "rope.scaling.yarn_ext_factor", d->rope_ext_factor);
        put_f32(e, "rope.scaling.yarn_beta_fast", d->rope_beta_fast);
        put_f32(e, "rope.scaling.yarn_beta_slow", d->rope_beta_slow);
    }
}

bool lathe_desc_keys(const lathe_desc *d, const lathe_desc_visitor *visitor) {
    const lathe_family *f = d->family;
    emitter e = {.to = visitor, .arch = f->name, .ok = true};
    e.ok = visitor->text(visitor->user, "general.architecture", f->name);
    put_u32(&e, "vocab_size", d->n_vocab);
    put_u32(&e, "context_length", d->n_ctx_train);
    put_u32(&e, "embedding_length", d->n_embd);
    put_u32(&e, "block_count", d->n_layer);
    put_u32(&e, "feed_forward_length", d->n_ff);
    put_u32(&e, "attention.head_count", d->n_head);
    put_u32(&e, "attention.head_count_kv", d->n_head_kv);
    if (d->n_embd_head_k * d->n_head != d->n_embd) {
        put_u32(&e, "attention.key_length", d->n_embd_head_k);
        put_u32(&e, "attention.value_length", d->n_embd_head_v);
    }
    put_f32(&e,
            f->norm == LATHE_NORM_RMS ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon",
            d->norm_eps);
    if (d->n_rot > 0)
        put_rope(&e, d);
    bool wide = f->layers_wide_scale > 0 && d->n_layer == f->layers_wide_scale;
    if (!wide && fabsf(d->attn_scale * sqrtf((float) d->n_embd_head_k) - 1.0f) > 1e-6f)
        put_f32(&e, "attention.scale", d->attn_scale);
    if (f->window_period > 0) {
        put_u32(&e, "attention.sliding_window", d->window);
        bool regular = true;
        for (int32_t i = 0; i < d->n_layer && d->window > 0; i++)
            regular &= (d->slides[i] != 0) == (i % f->window_period < f->window_period - 1);
        if (!regular)
            e.ok = e.ok && visitor->bools(visitor->user, key_of(&e, "attention.sliding_window_pattern"),
                                          d->slides, (size_t) d->n_layer);
    }
    if (d->attn_softcap != f->attn_softcap || f->attn_softcap > 0.0f)
        put_f32(&e, "attn_logit_softcapping", d->attn_softcap);
    if (d->final_softcap != f->final_softcap || f->final_softcap > 0.0f)
        put_f32(&e, "final_logit_softcapping", d->final_softcap);
    if (f->parallel == LATHE_PARALLEL_BY_KEY)
        e.ok = e.ok && visitor->boolean(visitor->user, key_of(&e, "use_parallel_residual"), d->parallel);
    if (d->clamp_kqv > 0.0f)
        put_f32(&e, "attention.clamp_kqv", d->clamp_kqv);
    if (d->logit_scale != 1.0f)
        put_f32(&e, "logit_scale", d->logit_scale);
    if (!f->embd_scaled && d->embd_scale != 1.0f)
        put_f32(&e, "embedding_scale", d->embd_scale);
    if (d->residual_scale != 1.0f)
        put_f32(&e, "residual_scale", d->residual_scale);
    return e.ok;
}
