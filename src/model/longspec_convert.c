/* longspec_convert.c - a published LongSpec draft (safetensors) as a GGUF file for a target. The public names
 * are those of the release; the key and value projections of its cross block are never used and left out. */
#include <stdlib.h>
#include <string.h>

#include "model/longspec.h"
#include "model/longspec_run.h"
#include "model/model_impl.h"
#include "model/safetensors.h"

static const struct {
    const char *ours, *theirs;
} names[] = {
    {"attn_norm.weight", "input_layernorm.weight"},
    {"attn_q.weight", "self_attn.q_proj.weight"},
    {"attn_q.bias", "self_attn.q_proj.bias"},
    {"attn_k.weight", "self_attn.k_proj.weight"},
    {"attn_k.bias", "self_attn.k_proj.bias"},
    {"attn_v.weight", "self_attn.v_proj.weight"},
    {"attn_v.bias", "self_attn.v_proj.bias"},
    {"attn_output.weight", "self_attn.o_proj.weight"},
    {"xattn_norm.weight", "post_self_attention_layernorm.weight"},
    {"xattn_q.weight", "cross_attn.q_proj.weight"},
    {"xattn_q.bias", "cross_attn.q_proj.bias"},
    {"xattn_output.weight", "cross_attn.o_proj.weight"},
    {"ffn_norm.weight", "post_cross_attention_layernorm.weight"},
    {"ffn_gate.weight", "mlp.gate_proj.weight"},
    {"ffn_up.weight", "mlp.up_proj.weight"},
    {"ffn_down.weight", "mlp.down_proj.weight"},
    {"output_norm.weight", "norm.weight"},
};

static const lathe_safetensor *their(const lathe_safetensors *st, const char *ours) {
    for (size_t i = 0; i < LATHE_LEN(names); i++)
        if (strcmp(names[i].ours, ours) == 0)
            return lathe_safetensors_find(st, names[i].theirs);
    return NULL;
}

/* Rows of a rotation in halves become rows in pairs, as files of a family with pairs have them: (i, i + d /
 * 2) to (2 i, 2 i + 1). n_rows of row bytes each, heads of dh rows. */
static void pair_rows(const uint8_t *in, uint8_t *out, int64_t n_rows, int64_t dh, size_t row) {
    for (int64_t r = 0; r < n_rows; r++) {
        const int64_t head = r / dh, i = r % dh, from = i < dh / 2 ? 2 * i : 2 * (i - dh / 2) + 1;
        memcpy(out + (size_t) (head * dh + from) * row, in + (size_t) r * row, row);
    }
}

static bool is_rotated(const char *name) {
    return strncmp(name, "attn_q", 6) == 0 || strncmp(name, "attn_k", 6) == 0 ||
           strncmp(name, "xattn_q", 7) == 0;
}

/* Vectors become f32, matrices keep their type. */
static lathe_status write_tensor(lathe_gguf_writer *w, const lathe_model *target, const lathe_desc_tensor *t,
                                 const lathe_safetensor *from, lathe_error *err) {
    const int64_t n = t->ne[0] * t->ne[1], dh = target->desc.n_embd_head_k;
    const bool vector = t->n_dims == 1, pairs = target->desc.family->position == LATHE_POSITION_ROPE_NORMAL;
    const size_t width = vector ? 4 : from->n_bytes / (size_t) n;
    uint8_t *values = malloc((size_t) n * 4), *turned = malloc((size_t) n * width);
    if (values == NULL || turned == NULL) {
        free(values);
        free(turned);
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for tensor '%s'", t->name);
    }
    if (vector && from->type != GGML_TYPE_F32)
        ggml_get_type_traits((enum ggml_type) from->type)->to_float(from->data, (float *) (void *) values, n);
    else
        memcpy(values, from->data, from->n_bytes);
    const uint8_t *out = values;
    if (pairs && is_rotated(t->name)) {
        pair_rows(values, turned, vector ? t->ne[0] : t->ne[1], dh, vector ? 4 : (size_t) t->ne[0] * width);
        out = turned;
    }
    const lathe_status status = lathe_gguf_writer_data(w, out, (size_t) n * width, err);
    free(values);
    free(turned);
    return status;
}

static lathe_status check(const lathe_safetensors *st, const lathe_desc_tensor *t, const char *path,
                          lathe_error *err) {
    const lathe_safetensor *from = their(st, t->name);
    if (from == NULL)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: no tensor (or several) for '%s' of a LongSpec draft",
                          path, t->name);
    if (from->n_dims != t->n_dims || from->ne[0] != t->ne[0] || from->ne[1] != t->ne[1])
        return lathe_fail(err, LATHE_ERR_INPUT,
                          "%s: tensor '%.60s' is [%lld, %lld]; the target wants [%lld, %lld]", path,
                          from->name, (long long) from->ne[0], (long long) from->ne[1], (long long) t->ne[0],
                          (long long) t->ne[1]);
    return LATHE_OK;
}

lathe_status lathe_longspec_convert(const char *safetensors, const char *target, int32_t window,
                                    const char *path, int64_t *n_params, lathe_error *err) {
    lathe_safetensors *st = NULL;
    lathe_model *model = NULL;
    lathe_gguf_writer *w = NULL;
    lathe_desc_tensor *list = NULL;
    size_t n = 0;
    lathe_longspec_desc d;
    lathe_status status = lathe_safetensors_open(safetensors, &st, err);
    if (status == LATHE_OK)
        status = lathe_model_load(target, NULL, &model, err);
    const lathe_safetensor *gate = status == LATHE_OK ? their(st, "ffn_gate.weight") : NULL;
    if (status == LATHE_OK && gate == NULL)
        status =
            lathe_fail(err, LATHE_ERR_INPUT, "%s: no 'mlp.gate_proj.weight': no LongSpec draft", safetensors);
    if (status == LATHE_OK)
        status = lathe_longspec_describe(model, window, (int32_t) gate->ne[1], &d, err);
    if (status == LATHE_OK) {
        d.qkv_bias = their(st, "attn_q.bias") != NULL;
        d.final_norm = their(st, "output_norm.weight") != NULL;
        status = lathe_longspec_tensors(&d, &list, &n, err);
    }
    for (size_t i = 0; status == LATHE_OK && i < n; i++)
        status = check(st, &list[i], safetensors, err);
    if (status == LATHE_OK)
        status = lathe_gguf_writer_new(&w, err);
    if (status == LATHE_OK)
        lathe_longspec_put_keys(&d, w);
    for (size_t i = 0; status == LATHE_OK && i < n; i++)
        lathe_gguf_put_tensor(w, list[i].name,
                              list[i].n_dims == 1 ? (uint32_t) GGML_TYPE_F32 : their(st, list[i].name)->type,
                              list[i].n_dims, list[i].ne);
    if (status == LATHE_OK)
        status = lathe_gguf_writer_begin(w, path, err);
    for (size_t i = 0; status == LATHE_OK && i < n; i++)
        status = write_tensor(w, model, &list[i], their(st, list[i].name), err);
    if (status == LATHE_OK) {
        status = lathe_gguf_writer_finish(w, err);
        w = NULL;
    }
    if (status == LATHE_OK)
        *n_params = lathe_longspec_n_params(&d);
    lathe_gguf_writer_free(w);
    free(list);
    lathe_model_free(model);
    lathe_safetensors_close(st);
    return status;
}
