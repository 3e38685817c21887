/* weights.c - see weights.h. */
#include "model/weights.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/machine.h"
#include "model/gguf.h"

/* --- By role ------------------------------------------------------------------------------------- */

#define SLOT(name, field)                                                                                    \
    { name, offsetof(lathe_layer_weights, field) }

/* Every tensor that a layer can have; which ones it has, the description's list says. */
static const struct {
    const char *name;
    size_t offset;
} layer_slots[] = {
    SLOT("attn_norm.weight", attn_norm),
    SLOT("attn_norm.bias", attn_norm_b),
    SLOT("attn_qkv.weight", attn_qkv),
    SLOT("attn_qkv.bias", attn_qkv_b),
    SLOT("attn_q.weight", attn_q),
    SLOT("attn_q.bias", attn_q_b),
    SLOT("attn_k.weight", attn_k),
    SLOT("attn_k.bias", attn_k_b),
    SLOT("attn_v.weight", attn_v),
    SLOT("attn_v.bias", attn_v_b),
    SLOT("attn_q_norm.weight", attn_q_norm),
    SLOT("attn_k_norm.weight", attn_k_norm),
    SLOT("attn_output.weight", attn_output),
    SLOT("attn_output.bias", attn_output_b),
    SLOT("post_attention_norm.weight", post_attention_norm),
    SLOT("post_attention_norm.bias", post_attention_norm_b),
    SLOT("ffn_norm.weight", ffn_norm),
    SLOT("ffn_norm.bias", ffn_norm_b),
    SLOT("ffn_gate.weight", ffn_gate),
    SLOT("ffn_gate.bias", ffn_gate_b),
    SLOT("ffn_up.weight", ffn_up),
    SLOT("ffn_up.bias", ffn_up_b),
    SLOT("ffn_down.weight", ffn_down),
    SLOT("ffn_down.bias", ffn_down_b),
    SLOT("post_ffw_norm.weight", post_ffw_norm),
    SLOT("post_ffw_norm.bias", post_ffw_norm_b),
};
#undef SLOT
#define SLOT(name, field)                                                                                    \
    { name, offsetof(lathe_weights, field) }
static const struct {
    const char *name;
    size_t offset;
} model_slots[] = {
    SLOT("token_embd.weight", token_embd),
    SLOT("position_embd.weight", position_embd),
    SLOT("output_norm.weight", output_norm),
    SLOT("output_norm.bias", output_norm_b),
    SLOT("output.weight", output),
    SLOT("output.bias", output_b),
    SLOT("rope_freqs.weight", rope_freqs),
    SLOT("rope_factors_long.weight", rope_factors_long),
    SLOT("rope_factors_short.weight", rope_factors_short),
};
#undef SLOT

static void put(void *base, size_t offset, struct ggml_tensor *t) {
    memcpy((char *) base + offset, &t, sizeof(struct ggml_tensor *));
}

static bool bind_one(lathe_weights *w, const lathe_desc_tensor *d, struct ggml_tensor *t) {
    if (d->layer < 0) {
        for (size_t i = 0; i < LATHE_LEN(model_slots); i++)
            if (strcmp(model_slots[i].name, d->name) == 0) {
                put(w, model_slots[i].offset, t);
                return true;
            }
        return false;
    }
    const char *tail = strchr(d->name + strlen("blk."), '.') + 1;
    for (size_t i = 0; i < LATHE_LEN(layer_slots); i++)
        if (strcmp(layer_slots[i].name, tail) == 0) {
            put(&w->layers[d->layer], layer_slots[i].offset, t);
            return true;
        }
    return false;
}

lathe_status lathe_weights_bind(const lathe_desc *desc,
                                struct ggml_tensor *(*find)(void *user, const char *name), void *user,
                                lathe_weights *weights, lathe_error *err) {
    lathe_desc_tensor *list;
    size_t n;
    lathe_status status = lathe_desc_tensors(desc, &list, &n, err);
    if (status != LATHE_OK)
        return status;
    lathe_weights w = {.layers = calloc((size_t) desc->n_layer, sizeof *w.layers)};
    if (w.layers == NULL)
        status = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %d layers' tables", desc->n_layer);
    for (size_t i = 0; i < n && status == LATHE_OK; i++) {
        struct ggml_tensor *t = find(user, list[i].name);
        if (t == NULL || !bind_one(&w, &list[i], t))
            status =
                lathe_fail(err, LATHE_ERR_INTERNAL, "tensor '%s' has no place in the model", list[i].name);
    }
    free(list);
    if (status != LATHE_OK) {
        free(w.layers);
        return status;
    }
    if (w.output == NULL)
        w.output = w.token_embd;
    *weights = w;
    return LATHE_OK;
}

void lathe_weights_unbind(lathe_weights *weights) {
    free(weights->layers);
    weights->layers = NULL;
}

/* --- From a file to devices ---------------------------------------------------------------------- */

void lathe_split_layers(int32_t n_layer, const double *shares, int32_t n_devices, int32_t *layer_device) {
    double sum = 0.0;
    for (int32_t i = 0; i < n_devices; i++)
        sum += shares[i];
    for (int32_t l = 0; l < n_layer; l++) {
        double at = ((double) l + 0.5) / (double) n_layer, cumulative = 0.0;
        layer_device[l] = n_devices - 1;
        for (int32_t i = 0; i < n_devices; i++) {
            cumulative += shares[i] / sum;
            if (at < cumulative) {
                layer_device[l] = i;
                break;
            }
        }
    }
}

/* One pass over the tensors: where each goes and how many bytes each device needs. */
typedef struct placing {
    const lathe_desc_tensor *list;
    size_t n;
    const lathe_gguf *gguf;
    const lathe_weight_plan *plan;
    lathe_weight_store *store;
} placing;

/* The output matrix and its norm go with the last layer; embeddings and tables stay with the processor. A
 * tied output stays with the embedding. */
static int32_t device_of(const placing *p, const lathe_desc_tensor *d, int32_t n_layer) {
    if (d->layer >= 0)
        return p->plan->layer_device[d->layer];
    if (d->role == LATHE_ROLE_EMBD || d->role == LATHE_ROLE_TABLE)
        return p->plan->n_devices - 1;
    return p->plan->layer_device[n_layer - 1];
}

/* Small tensors are computed with as f32, whatever the file holds. */
static bool is_converted(const placing *p, const lathe_desc_tensor *d, const lathe_gguf_tensor *t) {
    bool is_small = d->role == LATHE_ROLE_NORM || d->role == LATHE_ROLE_BIAS || d->role == LATHE_ROLE_TABLE;
    return t->type != GGML_TYPE_F32 && (p->plan->dequantise || is_small);
}

static lathe_status convert(const lathe_gguf_tensor *t, float *out, lathe_error *err) {
    const struct ggml_type_traits *traits = ggml_get_type_traits((enum ggml_type) t->type);
    if (traits->to_float == NULL)
        return lathe_fail(err, LATHE_ERR_UNSUPPORTED, "tensor '%s': type %s cannot be read as f32", t->name,
                          traits->type_name);
    size_t row = ggml_row_size((enum ggml_type) t->type, t->ne[0]);
    int64_t n_rows = t->n_values / t->ne[0];
    for (int64_t i = 0; i < n_rows; i++)
        traits->to_float(t->data + (size_t) i * row, out + i * t->ne[0], t->ne[0]);
    return LATHE_OK;
}

static size_t align_up(size_t n, size_t to) {
    return (n + to - 1) / to * to;
}

/* Puts all tensors of one device into one buffer of its own (convert where needed), or, for those of the
 * processor that can stay in the file, into the wrapped file. */
static lathe_status fill_device(placing *p, int32_t device, int32_t n_layer, bool wrap, lathe_error *err) {
    lathe_device *dev = p->plan->devices[device];
    ggml_backend_buffer_type_t type = ggml_backend_get_default_buffer_type(lathe_device_backend(dev));
    size_t need = 0, align = ggml_backend_buft_get_alignment(type);
    for (size_t i = 0; i < p->n; i++) {
        struct ggml_tensor *t = ggml_get_tensor(p->store->ctx, p->list[i].name);
        const lathe_gguf_tensor *from = lathe_gguf_tensor_find(p->gguf, p->list[i].name);
        if (device_of(p, &p->list[i], n_layer) == device && (!wrap || is_converted(p, &p->list[i], from)))
            need += align_up(ggml_backend_buft_get_alloc_size(type, t), align);
    }
    int64_t available = lathe_device_memory_free(dev);
    if (available > 0 && need > (size_t) available)
        return lathe_fail(err, LATHE_ERR_MEMORY, "weights need %.1f MiB on %s, %.1f MiB are free",
                          (double) need / 1048576.0, lathe_device_name(dev), (double) available / 1048576.0);
    ggml_backend_buffer_t own = NULL, file = NULL;
    if (need > 0) {
        own = ggml_backend_buft_alloc_buffer(type, need);
        if (own == NULL)
            return lathe_fail(err, LATHE_ERR_MEMORY, "%.1f MiB of weights do not fit on %s",
                              (double) need / 1048576.0, lathe_device_name(dev));
        ggml_backend_buffer_set_usage(own, GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
        p->store->buffers[p->store->n_buffers++] = own;
    }
    if (wrap) {
        /* ggml takes no const; nothing writes into weights. */
        union {
            const uint8_t *read;
            void *any;
        } base = {.read = lathe_gguf_base(p->gguf)};
        file = lathe_device_wrap(base.any, lathe_gguf_size(p->gguf));
        if (file == NULL)
            return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the file's buffer");
        ggml_backend_buffer_set_usage(file, GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
        p->store->buffers[p->store->n_buffers++] = file;
    }
    size_t used = 0;
    for (size_t i = 0; i < p->n; i++) {
        if (device_of(p, &p->list[i], n_layer) != device)
            continue;
        struct ggml_tensor *t = ggml_get_tensor(p->store->ctx, p->list[i].name);
        const lathe_gguf_tensor *from = lathe_gguf_tensor_find(p->gguf, p->list[i].name);
        bool converted = is_converted(p, &p->list[i], from);
        p->store->n_bytes += (int64_t) ggml_nbytes(t);
        if (wrap && !converted) {
            ggml_backend_tensor_alloc(file, t, (char *) ggml_backend_buffer_get_base(file) + from->offset);
            continue;
        }
        ggml_backend_tensor_alloc(own, t, (char *) ggml_backend_buffer_get_base(own) + used);
        used += align_up(ggml_backend_buft_get_alloc_size(type, t), align);
        if (!converted) {
            ggml_backend_tensor_set(t, from->data, 0, from->n_bytes);
        } else if (lathe_device_is_cpu(dev)) {
            lathe_status status = convert(from, (float *) t->data, err);
            if (status != LATHE_OK)
                return status;
        } else {
            float *values = malloc(ggml_nbytes(t));
            lathe_status status = values != NULL
                                      ? convert(from, values, err)
                                      : lathe_fail(err, LATHE_ERR_MEMORY, "no memory to convert weights");
            if (status == LATHE_OK)
                ggml_backend_tensor_set(t, values, 0, ggml_nbytes(t));
            free(values);
            if (status != LATHE_OK)
                return status;
        }
        lathe_status status =
            lathe_progress_step(p->plan->progress, "loading weights", (double) i, (double) p->n, err);
        if (status != LATHE_OK)
            return status;
    }
    return LATHE_OK;
}

static struct ggml_tensor *find_in_ctx(void *user, const char *name) {
    return ggml_get_tensor((struct ggml_context *) user, name);
}

lathe_status lathe_weight_store_load(const lathe_desc *desc, const lathe_gguf *gguf,
                                     const lathe_weight_plan *plan, lathe_weight_store *store,
                                     lathe_error *err) {
    lathe_desc_tensor *list = NULL;
    size_t n = 0;
    lathe_status status = lathe_desc_tensors(desc, &list, &n, err);
    if (status != LATHE_OK)
        return status;
    lathe_weight_store s = {.buffers = calloc((size_t) plan->n_devices * 2, sizeof(ggml_backend_buffer_t))};
    s.ctx =
        ggml_init((struct ggml_init_params){.mem_size = (n + 1) * ggml_tensor_overhead(), .no_alloc = true});
    if (s.ctx == NULL || s.buffers == NULL)
        status = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %zu tensors", n);
    placing p = {.list = list, .n = n, .gguf = gguf, .plan = plan, .store = &s};
    for (size_t i = 0; i < n && status == LATHE_OK; i++) {
        const lathe_gguf_tensor *from = lathe_gguf_tensor_find(gguf, list[i].name);
        enum ggml_type type = is_converted(&p, &list[i], from) ? GGML_TYPE_F32 : (enum ggml_type) from->type;
        ggml_set_name(ggml_new_tensor(s.ctx, type, list[i].n_dims, list[i].ne), list[i].name);
    }
    for (int32_t i = 0; i < plan->n_devices && status == LATHE_OK; i++)
        status =
            fill_device(&p, i, desc->n_layer, i == plan->n_devices - 1 && lathe_gguf_is_aligned(gguf), err);
    if (status == LATHE_OK)
        status = lathe_weights_bind(desc, find_in_ctx, s.ctx, &s.by_role, err);
    free(list);
    if (status != LATHE_OK) {
        lathe_weight_store_free(&s);
        return status;
    }
    *store = s;
    return LATHE_OK;
}

void lathe_weight_store_free(lathe_weight_store *store) {
    lathe_weights_unbind(&store->by_role);
    for (int32_t i = 0; i < store->n_buffers; i++)
        ggml_backend_buffer_free(store->buffers[i]);
    free(store->buffers);
    if (store->ctx != NULL)
        ggml_free(store->ctx);
    *store = (lathe_weight_store){0};
}
