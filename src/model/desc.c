/* desc.c - descriptions from files and from numbers; every range is checked here, once. */
#include "model/desc.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/gguf.h"

int32_t lathe_desc_window(const lathe_desc *desc, int32_t layer) {
    return desc->window > 0 && desc->slides[layer] != 0 ? desc->window : 0;
}

/* --- What files and numbers share ---------------------------------------------------------------- */

/* The values that follow from the others. */
static void desc_derive(lathe_desc *d) {
    const lathe_family *f = d->family;
    d->embd_scale = f->embd_scaled ? sqrtf((float) d->n_embd) : d->embd_scale;
    if (d->attn_scale == 0.0f) {
        bool wide = f->layers_wide_scale > 0 && d->n_layer == f->layers_wide_scale;
        d->attn_scale = 1.0f / sqrtf(wide ? (float) d->n_embd / (float) d->n_head : (float) d->n_embd_head_k);
    }
    bool any = false;
    for (int32_t i = 0; i < d->n_layer; i++)
        any |= lathe_desc_window(d, i) > 0;
    if (f->final_softcap_only_global && any)
        d->final_softcap = 0.0f;
    if (!any) { /* without windows all layers are global: one RoPE for all */
        d->window = 0;
        d->rope_base_sliding = d->rope_base;
        d->rope_freq_scale_sliding = d->rope_freq_scale;
    }
}

/* Relations between numbers that were each in range. */
static lathe_status desc_relations(const lathe_desc *d, const char *where, lathe_error *err) {
    if (d->n_head % d->n_head_kv != 0)
        return lathe_fail(err, LATHE_ERR_INPUT,
                          "%s: head_count_kv is %d, which does not divide head_count %d", where, d->n_head_kv,
                          d->n_head);
    if (d->family->head_count_kv_equal && d->n_head != d->n_head_kv)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: head_count_kv is %d; %s needs head_count (%d)", where,
                          d->n_head_kv, d->family->name, d->n_head);
    if (d->n_embd_head_k != d->n_embd_head_v)
        return lathe_fail(err, LATHE_ERR_UNSUPPORTED,
                          "%s: key_length %d and value_length %d differ; equal ones are supported", where,
                          d->n_embd_head_k, d->n_embd_head_v);
    if (d->n_rot % 2 != 0 || d->n_rot > d->n_embd_head_k)
        return lathe_fail(err, LATHE_ERR_INPUT,
                          "%s: rope.dimension_count is %d; even and at most the head's width %d is right",
                          where, d->n_rot, d->n_embd_head_k);
    if (d->family->position != LATHE_POSITION_LEARNED && d->n_rot == 0)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: rope.dimension_count is 0; %s rotates at least 2", where,
                          d->family->name);
    return LATHE_OK;
}

/* --- From a file --------------------------------------------------------------------------------- */

/* Where keys are read from, with the first error kept so that reads may follow one another. */
typedef struct reader {
    const lathe_gguf *gguf;
    const char *arch;
    lathe_status status;
    lathe_error *err;
    char key[160];
} reader;

static const char *key_of(reader *r, const char *name) {
    snprintf(r->key, sizeof r->key, "%s.%s", r->arch, name);
    return r->key;
}

static bool has_key(reader *r, const char *name) {
    return lathe_gguf_find(r->gguf, key_of(r, name)) != NULL;
}

static void get_int(reader *r, const char *name, lathe_gguf_need need, int64_t min, int64_t max,
                    int32_t *out) {
    int64_t v = *out;
    if (r->status == LATHE_OK)
        r->status = lathe_gguf_int(r->gguf, key_of(r, name), need, min, max, &v, r->err);
    if (r->status == LATHE_OK)
        *out = (int32_t) v;
}

static void get_real(reader *r, const char *name, lathe_gguf_need need, double min, double max, float *out) {
    double v = (double) *out;
    if (r->status == LATHE_OK)
        r->status = lathe_gguf_real(r->gguf, key_of(r, name), need, min, max, &v, r->err);
    if (r->status == LATHE_OK)
        *out = (float) v;
}

/* A number that may be an array of one a layer; unequal layers are not supported. */
static void get_layered(reader *r, const char *name, lathe_gguf_need need, int64_t min, int64_t max,
                        int32_t n_layer, int32_t *out) {
    int64_t v[LATHE_DESC_LAYERS_MAX];
    for (int32_t i = 0; i < n_layer; i++)
        v[i] = *out;
    if (r->status == LATHE_OK)
        r->status = lathe_gguf_ints(r->gguf, key_of(r, name), need, min, max, v, (size_t) n_layer, r->err);
    for (int32_t i = 1; i < n_layer && r->status == LATHE_OK; i++)
        if (v[i] != v[0])
            r->status =
                lathe_fail(r->err, LATHE_ERR_UNSUPPORTED,
                           "%s: key '%s' is %lld in layer 0 and %lld in layer %d; equal layers are supported",
                           lathe_gguf_path(r->gguf), r->key, (long long) v[0], (long long) v[i], i);
    if (r->status == LATHE_OK)
        *out = (int32_t) v[0];
}

static void read_sizes(reader *r, lathe_desc *d) {
    get_int(r, "block_count", LATHE_GGUF_REQUIRED, 1, LATHE_DESC_LAYERS_MAX, &d->n_layer);
    get_int(r, "context_length", LATHE_GGUF_REQUIRED, 1, LATHE_DESC_CTX_MAX, &d->n_ctx_train);
    get_int(r, "embedding_length", LATHE_GGUF_REQUIRED, 1, LATHE_DESC_EMBD_MAX, &d->n_embd);
    get_layered(r, "attention.head_count", LATHE_GGUF_REQUIRED, 1, LATHE_DESC_HEADS_MAX, d->n_layer,
                &d->n_head);
    get_layered(r, "feed_forward_length", LATHE_GGUF_REQUIRED, 1, LATHE_DESC_FF_MAX, d->n_layer, &d->n_ff);
    if (r->status != LATHE_OK)
        return;
    d->n_head_kv = d->n_head;
    get_layered(r, "attention.head_count_kv", LATHE_GGUF_OPTIONAL, 1, LATHE_DESC_HEADS_MAX, d->n_layer,
                &d->n_head_kv);
    if (r->status != LATHE_OK)
        return;
    if (!has_key(r, "attention.key_length") && d->n_embd % d->n_head != 0) {
        r->status =
            lathe_fail(r->err, LATHE_ERR_INPUT,
                       "%s: embedding_length %d is no multiple of head_count %d, and there is no '%s'",
                       lathe_gguf_path(r->gguf), d->n_embd, d->n_head, r->key);
        return;
    }
    d->n_embd_head_k = d->n_embd / d->n_head;
    get_int(r, "attention.key_length", LATHE_GGUF_OPTIONAL, 1, LATHE_DESC_HEAD_WIDTH_MAX, &d->n_embd_head_k);
    d->n_embd_head_v = d->n_embd_head_k;
    get_int(r, "attention.value_length", LATHE_GGUF_OPTIONAL, 1, LATHE_DESC_HEAD_WIDTH_MAX,
            &d->n_embd_head_v);
    if (r->status == LATHE_OK && d->n_embd_head_k > LATHE_DESC_HEAD_WIDTH_MAX)
        r->status = lathe_fail(r->err, LATHE_ERR_INPUT, "%s: heads of width %d; at most %d is right",
                               lathe_gguf_path(r->gguf), d->n_embd_head_k, LATHE_DESC_HEAD_WIDTH_MAX);
    int32_t swa_k = d->n_embd_head_k, swa_v = d->n_embd_head_v;
    get_int(r, "attention.key_length_swa", LATHE_GGUF_OPTIONAL, 1, LATHE_DESC_HEAD_WIDTH_MAX, &swa_k);
    get_int(r, "attention.value_length_swa", LATHE_GGUF_OPTIONAL, 1, LATHE_DESC_HEAD_WIDTH_MAX, &swa_v);
    if (r->status == LATHE_OK && (swa_k != d->n_embd_head_k || swa_v != d->n_embd_head_v))
        r->status =
            lathe_fail(r->err, LATHE_ERR_UNSUPPORTED,
                       "%s: sliding layers have heads of width %d, others %d; equal ones are supported",
                       lathe_gguf_path(r->gguf), swa_k, d->n_embd_head_k);
    const char *eps = d->family->norm == LATHE_NORM_RMS ? "attention.layer_norm_rms_epsilon"
                                                        : "attention.layer_norm_epsilon";
    get_real(r, eps, LATHE_GGUF_REQUIRED, 0.0, 0.1, &d->norm_eps);
    if (r->status == LATHE_OK && !(d->norm_eps > 0.0f))
        r->status = lathe_fail(r->err, LATHE_ERR_INPUT, "%s: key '%s' is 0; a value in (0, 0.1] is right",
                               lathe_gguf_path(r->gguf), r->key);
    int32_t n_expert = 0;
    get_int(r, "expert_count", LATHE_GGUF_OPTIONAL, 0, INT32_MAX, &n_expert);
    if (r->status == LATHE_OK && n_expert > 0)
        r->status =
            lathe_fail(r->err, LATHE_ERR_UNSUPPORTED, "%s: %d experts; models without experts are supported",
                       lathe_gguf_path(r->gguf), n_expert);
}

static void read_rope(reader *r, lathe_desc *d) {
    if (d->family->position == LATHE_POSITION_LEARNED)
        return;
    d->n_rot = d->n_embd_head_k;
    get_int(r, "rope.dimension_count", LATHE_GGUF_OPTIONAL, 2, LATHE_DESC_HEAD_WIDTH_MAX, &d->n_rot);
    d->rope_base = 10000.0f;
    get_real(r, "rope.freq_base", LATHE_GGUF_OPTIONAL, 1e-3, 3e38, &d->rope_base);
    d->rope_base_sliding = d->family->rope_base_sliding > 0.0f ? d->family->rope_base_sliding : d->rope_base;
    get_real(r, "rope.freq_base_swa", LATHE_GGUF_OPTIONAL, 1e-3, 3e38, &d->rope_base_sliding);
    const char *scaling = "none";
    if (r->status == LATHE_OK)
        r->status =
            lathe_gguf_text(r->gguf, key_of(r, "rope.scaling.type"), LATHE_GGUF_OPTIONAL, &scaling, r->err);
    if (r->status != LATHE_OK)
        return;
    float factor = 0.0f;
    get_real(r, "rope.scale_linear", LATHE_GGUF_OPTIONAL, 0.0, 1e6, &factor);
    bool old_linear = factor > 0.0f;
    get_real(r, "rope.scaling.factor", LATHE_GGUF_OPTIONAL, 0.0, 1e6, &factor);
    if (strcmp(scaling, "none") == 0)
        d->rope_scaling = old_linear ? LATHE_ROPE_LINEAR : LATHE_ROPE_PLAIN;
    else if (strcmp(scaling, "linear") == 0)
        d->rope_scaling = LATHE_ROPE_LINEAR;
    else if (strcmp(scaling, "yarn") == 0)
        d->rope_scaling = LATHE_ROPE_YARN;
    else if (strcmp(scaling, "longrope") == 0)
        d->rope_scaling = LATHE_ROPE_LONG;
    else {
        char shown[80];
        r->status = lathe_fail(r->err, LATHE_ERR_UNSUPPORTED,
                               "%s: key '%s' is '%s'; none, linear, yarn and longrope are supported",
                               lathe_gguf_path(r->gguf), key_of(r, "rope.scaling.type"),
                               lathe_gguf_printable(scaling, strlen(scaling), shown, sizeof shown));
        return;
    }
    bool scaled =
        (d->rope_scaling == LATHE_ROPE_LINEAR || d->rope_scaling == LATHE_ROPE_YARN) && factor > 0.0f;
    d->rope_freq_scale = scaled ? 1.0f / factor : 1.0f;
    d->rope_freq_scale_sliding = d->family->rope_scale_global_only ? 1.0f : d->rope_freq_scale;
    d->rope_ext_factor = d->rope_scaling == LATHE_ROPE_YARN ? 1.0f : 0.0f;
    if (d->rope_scaling == LATHE_ROPE_YARN)
        get_real(r, "rope.scaling.yarn_ext_factor", LATHE_GGUF_OPTIONAL, -1e3, 1e3, &d->rope_ext_factor);
    if (d->rope_scaling == LATHE_ROPE_YARN && d->rope_ext_factor < 0.0f)
        d->rope_ext_factor = 1.0f; /* negative: "not set" in older files */
    get_real(r, "rope.scaling.attn_factor", LATHE_GGUF_OPTIONAL, 1e-6, 1e6, &d->rope_attn_factor);
    if (d->rope_scaling == LATHE_ROPE_YARN)
        get_real(r, "rope.scaling.yarn_attn_factor", LATHE_GGUF_OPTIONAL, 1e-6, 1e6, &d->rope_attn_factor);
    get_real(r, "rope.scaling.yarn_beta_fast", LATHE_GGUF_OPTIONAL, 1e-3, 1e6, &d->rope_beta_fast);
    get_real(r, "rope.scaling.yarn_beta_slow", LATHE_GGUF_OPTIONAL, 1e-3, 1e6, &d->rope_beta_slow);
    d->n_ctx_orig = d->n_ctx_train;
    get_int(r, "rope.scaling.original_context_length", LATHE_GGUF_OPTIONAL, 1, LATHE_DESC_CTX_MAX,
            &d->n_ctx_orig);
}

static void read_windows(reader *r, lathe_desc *d) {
    const lathe_family *f = d->family;
    if (f->window_period == 0 || r->status != LATHE_OK)
        return;
    d->window = f->window_default;
    get_int(r, "attention.sliding_window", LATHE_GGUF_OPTIONAL, 0, INT32_MAX, &d->window);
    int32_t period = f->window_period;
    const lathe_gguf_kv *kv = lathe_gguf_find(r->gguf, key_of(r, "attention.sliding_window_pattern"));
    if (kv != NULL && kv->type == LATHE_GGUF_ARRAY) {
        int64_t v[LATHE_DESC_LAYERS_MAX];
        if (r->status == LATHE_OK)
            r->status = lathe_gguf_ints(r->gguf, key_of(r, "attention.sliding_window_pattern"),
                                        LATHE_GGUF_REQUIRED, 0, INT32_MAX, v, (size_t) d->n_layer, r->err);
        for (int32_t i = 0; i < d->n_layer && r->status == LATHE_OK; i++)
            d->slides[i] = v[i] != 0;
        return;
    }
    get_int(r, "attention.sliding_window_pattern", LATHE_GGUF_OPTIONAL, 1, INT32_MAX, &period);
    for (int32_t i = 0; i < d->n_layer; i++)
        d->slides[i] = i % period < period - 1;
}

static void read_scales(reader *r, lathe_desc *d) {
    const lathe_family *f = d->family;
    d->attn_softcap = f->attn_softcap;
    d->final_softcap = f->final_softcap;
    get_real(r, "attn_logit_softcapping", LATHE_GGUF_OPTIONAL, 0.0, 1e6, &d->attn_softcap);
    get_real(r, "final_logit_softcapping", LATHE_GGUF_OPTIONAL, 0.0, 1e6, &d->final_softcap);
    get_real(r, "attention.scale", LATHE_GGUF_OPTIONAL, 0.0, 1e6, &d->attn_scale);
    get_real(r, "attention.clamp_kqv", LATHE_GGUF_OPTIONAL, 0.0, 1e6, &d->clamp_kqv);
    get_real(r, "logit_scale", LATHE_GGUF_OPTIONAL, 1e-6, 1e6, &d->logit_scale);
    get_real(r, "embedding_scale", LATHE_GGUF_OPTIONAL, 1e-6, 1e6, &d->embd_scale);
    get_real(r, "residual_scale", LATHE_GGUF_OPTIONAL, 1e-6, 1e6, &d->residual_scale);
    float alibi = 0.0f;
    get_real(r, "attention.max_alibi_bias", LATHE_GGUF_OPTIONAL, 0.0, 1e6, &alibi);
    if (r->status == LATHE_OK && alibi > 0.0f)
        r->status = lathe_fail(r->err, LATHE_ERR_UNSUPPORTED, "%s: key '%s': ALiBi is not supported",
                               lathe_gguf_path(r->gguf), r->key);
    d->parallel = f->parallel == LATHE_PARALLEL_BY_KEY;
    if (r->status == LATHE_OK && f->parallel == LATHE_PARALLEL_BY_KEY)
        r->status = lathe_gguf_bool(r->gguf, key_of(r, "use_parallel_residual"), LATHE_GGUF_OPTIONAL,
                                    &d->parallel, r->err);
}

static bool file_has(const lathe_gguf *gguf, const char *name) {
    return lathe_gguf_tensor_find(gguf, name) != NULL;
}

static bool may_have(const lathe_gguf *gguf, lathe_presence presence, const char *name) {
    return presence == LATHE_MUST || (presence == LATHE_MAY && file_has(gguf, name));
}

/* Optional tensors: those of layer 0 speak for all layers (lathe_desc_check demands the same of the others).
 */
static void read_presence(const lathe_gguf *gguf, lathe_desc *d) {
    const lathe_family *f = d->family;
    d->has_output = may_have(gguf, f->output, "output.weight");
    d->has_output_bias = d->has_output && may_have(gguf, f->output_bias, "output.bias");
    d->has_qkv_bias = may_have(gguf, f->qkv_bias, f->fused_qkv ? "blk.0.attn_qkv.bias" : "blk.0.attn_q.bias");
    d->has_out_bias = may_have(gguf, f->out_bias, "blk.0.attn_output.bias");
    d->has_ffn_bias = may_have(gguf, f->ffn_bias, "blk.0.ffn_up.bias");
    d->has_qk_norm = may_have(gguf, f->qk_norm, "blk.0.attn_q_norm.weight");
    d->has_ffn_norm = f->parallel != LATHE_PARALLEL_SHARED_NORM || file_has(gguf, "blk.0.ffn_norm.weight");
    d->parallel |= !d->has_ffn_norm;
    d->has_rope_freqs = d->n_rot > 0 && file_has(gguf, "rope_freqs.weight");
    d->has_rope_factors = d->n_rot > 0 && file_has(gguf, "rope_factors_long.weight") &&
                          file_has(gguf, "rope_factors_short.weight");
}

lathe_status lathe_desc_from_gguf(const lathe_gguf *gguf, lathe_desc *desc, lathe_error *err) {
    const char *arch = NULL, *path = lathe_gguf_path(gguf);
    lathe_status status = lathe_gguf_text(gguf, "general.architecture", LATHE_GGUF_REQUIRED, &arch, err);
    if (status != LATHE_OK)
        return status;
    lathe_desc d = {.family = lathe_family_find(arch),
                    .logit_scale = 1.0f,
                    .embd_scale = 1.0f,
                    .residual_scale = 1.0f,
                    .rope_attn_factor = 1.0f,
                    .rope_beta_fast = 32.0f,
                    .rope_beta_slow = 1.0f};
    if (d.family == NULL) {
        char shown[80];
        return lathe_fail(
            err, LATHE_ERR_UNSUPPORTED, "%s: general.architecture '%s' is not supported; %s are", path,
            lathe_gguf_printable(arch, strlen(arch), shown, sizeof shown), lathe_family_names());
    }
    reader r = {.gguf = gguf, .arch = d.family->name, .err = err};
    read_sizes(&r, &d);
    if (r.status != LATHE_OK)
        return r.status;
    read_rope(&r, &d);
    read_windows(&r, &d);
    read_scales(&r, &d);
    if (r.status != LATHE_OK)
        return r.status;
    const lathe_gguf_tensor *embd = lathe_gguf_tensor_find(gguf, "token_embd.weight");
    if (embd == NULL)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: tensor 'token_embd.weight' is missing", path);
    if (embd->ne[1] > LATHE_DESC_VOCAB_MAX)
        return lathe_fail(err, LATHE_ERR_INPUT,
                          "%s: tensor 'token_embd.weight': %lld rows; at most %d is right", path,
                          (long long) embd->ne[1], LATHE_DESC_VOCAB_MAX);
    d.n_vocab = (int32_t) embd->ne[1];
    if (d.family->position == LATHE_POSITION_LEARNED) {
        const lathe_gguf_tensor *table = lathe_gguf_tensor_find(gguf, "position_embd.weight");
        if (table == NULL)
            return lathe_fail(err, LATHE_ERR_INPUT, "%s: tensor 'position_embd.weight' is missing", path);
        if (table->ne[1] > LATHE_DESC_CTX_MAX)
            return lathe_fail(err, LATHE_ERR_INPUT,
                              "%s: tensor 'position_embd.weight': %lld rows; at most %d is right", path,
                              (long long) table->ne[1], LATHE_DESC_CTX_MAX);
        d.n_pos = (int32_t) table->ne[1];
    }
    read_presence(gguf, &d);
    status = desc_relations(&d, path, err);
    if (status != LATHE_OK)
        return status;
    desc_derive(&d);
    *desc = d;
    return LATHE_OK;
}

/* --- From numbers -------------------------------------------------------------------------------- */

lathe_shape lathe_shape_default(const char *family) {
    return (lathe_shape){.family = family, .rope_base = 10000.0f, .norm_eps = 1e-5f, .tied = true};
}

static lathe_status in_range(const char *name, int64_t value, int64_t min, int64_t max, lathe_error *err) {
    if (value >= min && value <= max)
        return LATHE_OK;
    return lathe_fail(err, LATHE_ERR_ARG, "%s is %lld; %lld to %lld is right", name, (long long) value,
                      (long long) min, (long long) max);
}

lathe_status lathe_desc_from_shape(const lathe_shape *s, lathe_desc *desc, lathe_error *err) {
    const lathe_family *f = s->family != NULL ? lathe_family_find(s->family) : NULL;
    if (f == NULL)
        return lathe_fail(err, LATHE_ERR_ARG, "family '%s' is not known; %s are",
                          s->family != NULL ? s->family : "", lathe_family_names());
    const struct {
        const char *name;
        int64_t value, min, max;
    } checks[] = {
        {"layers", s->n_layer, 1, LATHE_DESC_LAYERS_MAX},
        {"width", s->n_embd, 1, LATHE_DESC_EMBD_MAX},
        {"heads", s->n_head, 1, LATHE_DESC_HEADS_MAX},
        {"KV heads", s->n_head_kv, 0, s->n_head},
        {"feed-forward width", s->n_ff, 1, LATHE_DESC_FF_MAX},
        {"vocabulary", s->n_vocab, 1, LATHE_DESC_VOCAB_MAX},
        {"context", s->n_ctx, 1, LATHE_DESC_CTX_MAX},
        {"head width", s->n_embd_head, 0, LATHE_DESC_HEAD_WIDTH_MAX},
        {"window", s->window, 0, INT32_MAX},
    };
    for (size_t i = 0; i < LATHE_LEN(checks); i++) {
        lathe_status status = in_range(checks[i].name, checks[i].value, checks[i].min, checks[i].max, err);
        if (status != LATHE_OK)
            return status;
    }
    if (s->n_embd_head == 0 && s->n_embd % s->n_head != 0)
        return lathe_fail(err, LATHE_ERR_ARG, "width %d is no multiple of %d heads", s->n_embd, s->n_head);
    lathe_desc d = {
        .family = f,
        .n_layer = s->n_layer,
        .n_embd = s->n_embd,
        .n_head = s->n_head,
        .n_head_kv = f->head_count_kv_equal || s->n_head_kv == 0 ? s->n_head : s->n_head_kv,
        .n_embd_head_k = s->n_embd_head > 0 ? s->n_embd_head : s->n_embd / s->n_head,
        .n_ff = s->n_ff,
        .n_vocab = s->n_vocab,
        .n_ctx_train = s->n_ctx,
        .n_ctx_orig = s->n_ctx,
        .norm_eps = s->norm_eps > 0.0f ? s->norm_eps : 1e-5f,
        .embd_scale = 1.0f,
        .logit_scale = 1.0f,
        .residual_scale = 1.0f,
        .attn_softcap = f->attn_softcap,
        .final_softcap = f->final_softcap,
        .rope_attn_factor = 1.0f,
        .rope_beta_fast = 32.0f,
        .rope_beta_slow = 1.0f,
        .has_output = f->output == LATHE_MUST || (f->output == LATHE_MAY && !s->tied),
        .has_qkv_bias = f->qkv_bias == LATHE_MUST,
        .has_out_bias = f->out_bias == LATHE_MUST,
        .has_ffn_bias = f->ffn_bias == LATHE_MUST,
        .has_qk_norm = f->qk_norm == LATHE_MUST,
        .has_ffn_norm = true,
        .parallel = f->parallel == LATHE_PARALLEL_BY_KEY,
    };
    d.n_embd_head_v = d.n_embd_head_k;
    lathe_status status = in_range("head width", d.n_embd_head_k, 1, LATHE_DESC_HEAD_WIDTH_MAX, err);
    if (status != LATHE_OK)
        return status;
    if (f->position == LATHE_POSITION_LEARNED) {
        d.n_pos = s->n_ctx;
    } else {
        bool partial = f->parallel != LATHE_PARALLEL_NEVER; /* gptneox, stablelm: a quarter of each head */
        int32_t n_rot = partial ? d.n_embd_head_k / 4 : d.n_embd_head_k;
        n_rot = n_rot < 2 ? 2 : n_rot - n_rot % 2;
        d.n_rot = s->n_rot > 0 ? s->n_rot : n_rot;
        d.rope_base = s->rope_base > 0.0f ? s->rope_base : 10000.0f;
        d.rope_base_sliding = f->rope_base_sliding > 0.0f ? f->rope_base_sliding : d.rope_base;
        d.rope_freq_scale = d.rope_freq_scale_sliding = 1.0f;
    }
    if (f->window_period > 0 && !s->no_window) {
        d.window = s->window > 0 ? s->window : f->window_default > 0 ? f->window_default : 1024;
        for (int32_t i = 0; i < d.n_layer; i++)
            d.slides[i] = i % f->window_period < f->window_period - 1;
    }
    status = desc_relations(&d, "shape", err);
    if (status != LATHE_OK)
        return err != NULL ? (err->status = LATHE_ERR_ARG) : LATHE_ERR_ARG;
    desc_derive(&d);
    *desc = d;
    return LATHE_OK;
}
