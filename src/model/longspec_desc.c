/* longspec_desc.c - LongSpec's draft as numbers, keys and tensors. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/longspec.h"
#include "model/model_impl.h"

enum { WINDOW_MIN = 4 };

uint64_t lathe_longspec_hash(const lathe_model *target) {
    return lathe_longspec_hash_of(target->gguf, target->desc.n_layer);
}

uint64_t lathe_longspec_hash_of(const lathe_gguf *target, int32_t n_layer) {
    char name[LATHE_GGUF_NAME_MAX];
    const lathe_gguf_tensor *t = NULL;
    static const char *const kinds[] = {"attn_k", "attn_qkv"};
    for (size_t i = 0; t == NULL && i < LATHE_LEN(kinds); i++) {
        const int n = snprintf(name, sizeof name, "blk.%d.%s.weight", n_layer - 1, kinds[i]);
        if (n > 0 && (size_t) n < sizeof name)
            t = lathe_gguf_tensor_find(target, name);
    }
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; t != NULL && i < t->n_bytes; i++)
        h = (h ^ t->data[i]) * 1099511628211u;
    return h;
}

static lathe_status check_target(const lathe_model *target, lathe_error *err) {
    const lathe_desc *d = &target->desc;
    if (target->vocab_only)
        return lathe_fail(err, LATHE_ERR_ARG, "the target was loaded without its tensors");
    if (d->n_rot == 0 || d->n_embd_head_k != d->n_embd_head_v)
        return lathe_fail(err, LATHE_ERR_UNSUPPORTED,
                          "a target of family %s: LongSpec's draft wants rotated positions and heads of one "
                          "width",
                          d->family->name);
    if (target->n_devices > 1)
        return lathe_fail(
            err, LATHE_ERR_UNSUPPORTED,
            "the target's layers are on other devices; LongSpec's draft reads its last layer here");
    return LATHE_OK;
}

lathe_status lathe_longspec_describe(const lathe_model *target, int32_t window, int32_t n_ff,
                                     lathe_longspec_desc *desc, lathe_error *err) {
    const lathe_status status = check_target(target, err);
    if (status != LATHE_OK)
        return status;
    const lathe_desc *d = &target->desc;
    if (window < WINDOW_MIN || window > LATHE_LONGSPEC_WINDOW_MAX || n_ff < 1 || n_ff > LATHE_DESC_FF_MAX)
        return lathe_fail(err, LATHE_ERR_ARG, "window %d, feed-forward %d; %d to %d and 1 to %d are right",
                          window, n_ff, WINDOW_MIN, LATHE_LONGSPEC_WINDOW_MAX, LATHE_DESC_FF_MAX);
    *desc = (lathe_longspec_desc){.window = window,
                                  .n_embd = d->n_embd,
                                  .n_head = d->n_head,
                                  .n_head_kv = d->n_head_kv,
                                  .n_embd_head = d->n_embd_head_k,
                                  .n_ff = n_ff,
                                  .n_vocab = d->n_vocab,
                                  .final_norm = true,
                                  .target_hash = lathe_longspec_hash(target)};
    snprintf(desc->target_arch, sizeof desc->target_arch, "%s", d->family->name);
    return LATHE_OK;
}

static lathe_status too_different(const lathe_longspec_desc *draft, const lathe_longspec_desc *here,
                                  lathe_error *err) {
    return lathe_fail(err, LATHE_ERR_INPUT,
                      "the draft is for another target: %s, width %d, %d heads (%d for keys) of %d, %d "
                      "tokens, hash %016llx; "
                      "this one is %s, %d, %d (%d) of %d, %d tokens, %016llx",
                      draft->target_arch, draft->n_embd, draft->n_head, draft->n_head_kv, draft->n_embd_head,
                      draft->n_vocab, (unsigned long long) draft->target_hash, here->target_arch,
                      here->n_embd, here->n_head, here->n_head_kv, here->n_embd_head, here->n_vocab,
                      (unsigned long long) here->target_hash);
}

lathe_status lathe_longspec_fits(const lathe_longspec_desc *desc, const lathe_model *target,
                                 lathe_error *err) {
    lathe_longspec_desc here;
    const lathe_status status = lathe_longspec_describe(target, desc->window, desc->n_ff, &here, err);
    if (status != LATHE_OK)
        return status;
    if (strcmp(desc->target_arch, here.target_arch) != 0 || desc->n_embd != here.n_embd ||
        desc->n_head != here.n_head || desc->n_head_kv != here.n_head_kv ||
        desc->n_embd_head != here.n_embd_head || desc->n_vocab != here.n_vocab ||
        desc->target_hash != here.target_hash)
        return too_different(desc, &here, err);
    return LATHE_OK;
}

/* --- Keys ---------------------------------------------------------------------------------------- */

void lathe_longspec_put_keys(const lathe_longspec_desc *d, lathe_gguf_writer *w) {
    lathe_gguf_put_text(w, "general.architecture", "longspec");
    lathe_gguf_put_u32(w, "longspec.window", (uint32_t) d->window);
    lathe_gguf_put_u32(w, "longspec.anchors", (uint32_t) d->anchors);
    lathe_gguf_put_u32(w, "longspec.offset_max", (uint32_t) d->offset_max);
    lathe_gguf_put_u32(w, "longspec.embedding_length", (uint32_t) d->n_embd);
    lathe_gguf_put_u32(w, "longspec.attention.head_count", (uint32_t) d->n_head);
    lathe_gguf_put_u32(w, "longspec.attention.head_count_kv", (uint32_t) d->n_head_kv);
    lathe_gguf_put_u32(w, "longspec.attention.key_length", (uint32_t) d->n_embd_head);
    lathe_gguf_put_u32(w, "longspec.feed_forward_length", (uint32_t) d->n_ff);
    lathe_gguf_put_u32(w, "longspec.vocab_size", (uint32_t) d->n_vocab);
    lathe_gguf_put_bool(w, "longspec.final_norm", d->final_norm);
    lathe_gguf_put_text(w, "longspec.target.architecture", d->target_arch);
    char hash[32];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long) d->target_hash);
    lathe_gguf_put_text(w, "longspec.target.hash", hash);
}

static lathe_status read_int(const lathe_gguf *g, const char *key, int32_t min, int32_t max, int32_t *out,
                             lathe_error *err) {
    int64_t value = 0;
    const lathe_status status = lathe_gguf_int(g, key, LATHE_GGUF_REQUIRED, min, max, &value, err);
    if (status == LATHE_OK)
        *out = (int32_t) value;
    return status;
}

static lathe_status check_tensors(const lathe_gguf *g, const lathe_longspec_desc *d, lathe_error *err) {
    lathe_desc_tensor *list = NULL;
    size_t n = 0;
    lathe_status status = lathe_longspec_tensors(d, &list, &n, err);
    for (size_t i = 0; status == LATHE_OK && i < n; i++) {
        const lathe_gguf_tensor *t = lathe_gguf_tensor_find(g, list[i].name);
        const bool small = list[i].n_dims < 2;
        if (t == NULL)
            status = lathe_fail(err, LATHE_ERR_INPUT, "%s: tensor '%s' is missing", lathe_gguf_path(g),
                                list[i].name);
        else if (t->ne[0] != list[i].ne[0] || t->ne[1] != list[i].ne[1] || t->ne[2] != 1 || t->ne[3] != 1)
            status =
                lathe_fail(err, LATHE_ERR_INPUT, "%s: tensor '%s' is [%lld, %lld]; [%lld, %lld] is right",
                           lathe_gguf_path(g), list[i].name, (long long) t->ne[0], (long long) t->ne[1],
                           (long long) list[i].ne[0], (long long) list[i].ne[1]);
        else if ((small && t->type != GGML_TYPE_F32) ||
                 (t->type != GGML_TYPE_F32 &&
                  ggml_get_type_traits((enum ggml_type) t->type)->to_float == NULL))
            status = lathe_fail(err, LATHE_ERR_INPUT, "%s: tensor '%s' of type %s; %s is right",
                                lathe_gguf_path(g), list[i].name, lathe_gguf_tensor_type_name(t->type),
                                small ? "f32" : "a floating or quantised type");
    }
    free(list);
    return status;
}

lathe_status lathe_longspec_read(const lathe_gguf *g, lathe_longspec_desc *desc, lathe_error *err) {
    lathe_longspec_desc d = {0};
    const char *arch = NULL, *target = NULL, *hash = NULL;
    lathe_status status = lathe_gguf_text(g, "general.architecture", LATHE_GGUF_REQUIRED, &arch, err);
    if (status == LATHE_OK && strcmp(arch, "longspec") != 0)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: architecture '%.40s'; a LongSpec draft has 'longspec'",
                          lathe_gguf_path(g), arch);
    const struct {
        const char *key;
        int32_t min, max, *out;
    } keys[] = {
        {"longspec.window", WINDOW_MIN, LATHE_LONGSPEC_WINDOW_MAX, &d.window},
        {"longspec.anchors", 0, 1 << 16, &d.anchors},
        {"longspec.offset_max", 0, LATHE_DESC_CTX_MAX, &d.offset_max},
        {"longspec.embedding_length", 1, LATHE_DESC_EMBD_MAX, &d.n_embd},
        {"longspec.attention.head_count", 1, LATHE_DESC_HEADS_MAX, &d.n_head},
        {"longspec.attention.head_count_kv", 1, LATHE_DESC_HEADS_MAX, &d.n_head_kv},
        {"longspec.attention.key_length", 1, LATHE_DESC_HEAD_WIDTH_MAX, &d.n_embd_head},
        {"longspec.feed_forward_length", 1, LATHE_DESC_FF_MAX, &d.n_ff},
        {"longspec.vocab_size", 1, LATHE_DESC_VOCAB_MAX, &d.n_vocab},
    };
    for (size_t i = 0; status == LATHE_OK && i < LATHE_LEN(keys); i++)
        status = read_int(g, keys[i].key, keys[i].min, keys[i].max, keys[i].out, err);
    if (status == LATHE_OK)
        status = lathe_gguf_bool(g, "longspec.final_norm", LATHE_GGUF_OPTIONAL, &d.final_norm, err);
    if (status == LATHE_OK)
        status = lathe_gguf_text(g, "longspec.target.architecture", LATHE_GGUF_REQUIRED, &target, err);
    if (status == LATHE_OK)
        status = lathe_gguf_text(g, "longspec.target.hash", LATHE_GGUF_REQUIRED, &hash, err);
    if (status != LATHE_OK)
        return status;
    snprintf(d.target_arch, sizeof d.target_arch, "%.63s", target);
    char *end = NULL;
    d.target_hash = strtoull(hash, &end, 16);
    if (end == hash || *end != '\0')
        return lathe_fail(err, LATHE_ERR_INPUT,
                          "%s: key 'longspec.target.hash' is '%.40s'; 16 hex digits are right",
                          lathe_gguf_path(g), hash);
    if (d.n_head % d.n_head_kv != 0)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: %d heads over %d key heads; a multiple is right",
                          lathe_gguf_path(g), d.n_head, d.n_head_kv);
    d.qkv_bias = lathe_gguf_tensor_find(g, "attn_q.bias") != NULL;
    status = check_tensors(g, &d, err);
    if (status == LATHE_OK)
        *desc = d;
    return status;
}

/* --- Tensors ------------------------------------------------------------------------------------- */

typedef struct row {
    const char *name;
    int64_t ne0, ne1; /* ne1 0: a vector */
    lathe_tensor_role role;
    bool here;
} row;

lathe_status lathe_longspec_tensors(const lathe_longspec_desc *d, lathe_desc_tensor **list, size_t *n,
                                    lathe_error *err) {
    const int64_t H = d->n_embd, Q = (int64_t) d->n_head * d->n_embd_head,
                  K = (int64_t) d->n_head_kv * d->n_embd_head, F = d->n_ff;
    const row rows[] = {
        {"attn_norm.weight", H, 0, LATHE_ROLE_NORM, true},
        {"attn_q.weight", H, Q, LATHE_ROLE_MATRIX, true},
        {"attn_q.bias", Q, 0, LATHE_ROLE_BIAS, d->qkv_bias},
        {"attn_k.weight", H, K, LATHE_ROLE_MATRIX, true},
        {"attn_k.bias", K, 0, LATHE_ROLE_BIAS, d->qkv_bias},
        {"attn_v.weight", H, K, LATHE_ROLE_MATRIX, true},
        {"attn_v.bias", K, 0, LATHE_ROLE_BIAS, d->qkv_bias},
        {"attn_output.weight", Q, H, LATHE_ROLE_RESIDUAL, true},
        {"xattn_norm.weight", H, 0, LATHE_ROLE_NORM, true},
        {"xattn_q.weight", H, Q, LATHE_ROLE_MATRIX, true},
        {"xattn_q.bias", Q, 0, LATHE_ROLE_BIAS, d->qkv_bias},
        {"xattn_output.weight", Q, H, LATHE_ROLE_RESIDUAL, true},
        {"ffn_norm.weight", H, 0, LATHE_ROLE_NORM, true},
        {"ffn_gate.weight", H, F, LATHE_ROLE_MATRIX, true},
        {"ffn_up.weight", H, F, LATHE_ROLE_MATRIX, true},
        {"ffn_down.weight", F, H, LATHE_ROLE_RESIDUAL, true},
        {"output_norm.weight", H, 0, LATHE_ROLE_NORM, d->final_norm},
    };
    lathe_desc_tensor *out = calloc(LATHE_LEN(rows), sizeof *out);
    if (out == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the list of tensors");
    size_t count = 0;
    for (size_t i = 0; i < LATHE_LEN(rows); i++) {
        if (!rows[i].here)
            continue;
        lathe_desc_tensor *t = &out[count++];
        *t = (lathe_desc_tensor){.ne = {rows[i].ne0, rows[i].ne1 > 0 ? rows[i].ne1 : 1, 1, 1},
                                 .n_dims = rows[i].ne1 > 0 ? 2 : 1,
                                 .layer = -1,
                                 .role = rows[i].role};
        snprintf(t->name, sizeof t->name, "%s", rows[i].name);
    }
    *list = out;
    *n = count;
    return LATHE_OK;
}

int64_t lathe_longspec_n_params(const lathe_longspec_desc *d) {
    const int64_t H = d->n_embd, Q = (int64_t) d->n_head * d->n_embd_head,
                  K = (int64_t) d->n_head_kv * d->n_embd_head;
    return 4 * H * Q + 2 * H * K + 3 * H * d->n_ff + (3 + d->final_norm) * H +
           (d->qkv_bias ? 2 * Q + 2 * K : 0);
}

lathe_status lathe_longspec_bind(const lathe_longspec_desc *d,
                                 struct ggml_tensor *(*find)(void *, const char *), void *user,
                                 lathe_longspec_weights *weights, lathe_error *err) {
    lathe_longspec_weights w = {0};
    const struct {
        const char *name;
        struct ggml_tensor **at;
        bool here;
    } rows[] = {
        {"attn_norm.weight", &w.attn_norm, true},
        {"attn_q.weight", &w.attn_q, true},
        {"attn_q.bias", &w.attn_q_b, d->qkv_bias},
        {"attn_k.weight", &w.attn_k, true},
        {"attn_k.bias", &w.attn_k_b, d->qkv_bias},
        {"attn_v.weight", &w.attn_v, true},
        {"attn_v.bias", &w.attn_v_b, d->qkv_bias},
        {"attn_output.weight", &w.attn_out, true},
        {"xattn_norm.weight", &w.xattn_norm, true},
        {"xattn_q.weight", &w.xattn_q, true},
        {"xattn_q.bias", &w.xattn_q_b, d->qkv_bias},
        {"xattn_output.weight", &w.xattn_out, true},
        {"ffn_norm.weight", &w.ffn_norm, true},
        {"ffn_gate.weight", &w.ffn_gate, true},
        {"ffn_up.weight", &w.ffn_up, true},
        {"ffn_down.weight", &w.ffn_down, true},
        {"output_norm.weight", &w.output_norm, d->final_norm},
    };
    for (size_t i = 0; i < LATHE_LEN(rows); i++)
        if (rows[i].here && (*rows[i].at = find(user, rows[i].name)) == NULL)
            return lathe_fail(err, LATHE_ERR_INTERNAL, "tensor '%s' is missing", rows[i].name);
    *weights = w;
    return LATHE_OK;
}
