/* model.c - loading a model: description, devices, weights, vocabulary. */
#include <stdlib.h>
#include <string.h>

#include "lathe/model.h"
#include "model/model_impl.h"
#include "model/trim_head.h"
#include "model/vocab.h"

/* --- Fingerprint --------------------------------------------------------------------------------- */

enum { FINGERPRINT_BYTES = 64 * 1024 };

/* FNV-1a over 8 bytes at a time with a final mix a call: for telling models apart, not for security. */
static uint64_t hash_bytes(uint64_t h, const void *bytes, size_t n) {
    const uint8_t *p = bytes;
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t w;
        memcpy(&w, p, sizeof w);
        h = (h ^ w) * 0x100000001b3u;
        h ^= h >> 32;
    }
    for (; n > 0; n--, p++)
        h = (h ^ *p) * 0x100000001b3u;
    return h ^ h >> 29;
}

static bool hash_u32(void *user, const char *key, uint32_t value) {
    uint64_t *h = user;
    *h = hash_bytes(hash_bytes(*h, key, strlen(key)), &value, sizeof value);
    return true;
}
static bool hash_f32(void *user, const char *key, float value) {
    uint64_t *h = user;
    *h = hash_bytes(hash_bytes(*h, key, strlen(key)), &value, sizeof value);
    return true;
}
static bool hash_bool(void *user, const char *key, bool value) {
    return hash_u32(user, key, value);
}
static bool hash_text(void *user, const char *key, const char *value) {
    uint64_t *h = user;
    *h = hash_bytes(hash_bytes(*h, key, strlen(key)), value, strlen(value));
    return true;
}
static bool hash_bools(void *user, const char *key, const uint8_t *values, size_t n) {
    uint64_t *h = user;
    *h = hash_bytes(hash_bytes(*h, key, strlen(key)), values, n);
    return true;
}

static uint64_t fingerprint(const lathe_desc *desc, const lathe_gguf *gguf) {
    uint64_t h = 0xcbf29ce484222325u;
    const lathe_desc_visitor visitor = {hash_u32, hash_f32, hash_bool, hash_text, hash_bools, &h};
    (void) lathe_desc_keys(desc, &visitor);
    for (size_t i = 0; i < lathe_gguf_n_tensors(gguf); i++) {
        const lathe_gguf_tensor *t = lathe_gguf_tensor_at(gguf, i);
        h = hash_bytes(h, t->name, strlen(t->name));
        h = hash_bytes(h, &t->type, sizeof t->type);
        h = hash_bytes(h, t->data, t->n_bytes < FINGERPRINT_BYTES ? t->n_bytes : FINGERPRINT_BYTES);
    }
    return h;
}

/* --- Devices ------------------------------------------------------------------------------------- */

/* Remote devices in the order of the list, then a local accelerator where one was named, then the processor.
 */
static lathe_status open_devices(lathe_model *m, const lathe_model_params *p, lathe_error *err) {
    lathe_status status = LATHE_OK;
    const char *at = p->rpc != NULL ? p->rpc : "";
    while (*at != '\0' && status == LATHE_OK) {
        size_t n = strcspn(at, ",");
        char endpoint[256];
        if (n == 0 || n >= sizeof endpoint)
            return lathe_fail(err, LATHE_ERR_ARG, "'%s' is no list of workers; host:port,host:port is right",
                              p->rpc);
        if (m->n_devices >= LATHE_DEVICES_MAX - 2)
            return lathe_fail(err, LATHE_ERR_ARG, "more than %d workers", LATHE_DEVICES_MAX - 2);
        memcpy(endpoint, at, n);
        endpoint[n] = '\0';
        status = lathe_device_open_remote(endpoint, &m->devices[m->n_devices], err);
        if (status == LATHE_OK)
            m->n_devices++;
        at += n + (at[n] == ',');
    }
    if (status == LATHE_OK && p->device != NULL && strcmp(p->device, "cpu") != 0 &&
        strcmp(p->device, "CPU") != 0) {
        status = lathe_device_open(p->device, &m->devices[m->n_devices], err);
        if (status == LATHE_OK)
            m->n_devices++;
    }
    if (status == LATHE_OK)
        status = lathe_device_open(NULL, &m->devices[m->n_devices], err);
    if (status == LATHE_OK)
        m->n_devices++;
    return status;
}

/* Shares as given, or the free memory of each device; a named accelerator takes all that is not remote. */
static lathe_status split_layers(lathe_model *m, const lathe_model_params *p, lathe_error *err) {
    double shares[LATHE_DEVICES_MAX] = {0}, sum = 0.0;
    int32_t n = m->n_devices;
    if (p->n_split > n)
        return lathe_fail(err, LATHE_ERR_ARG, "%d shares for %d devices", p->n_split, n);
    for (int32_t i = 0; i < n; i++) {
        if (p->split != NULL && p->n_split > 0)
            shares[i] = i < p->n_split ? (double) p->split[i] : 0.0;
        else
            shares[i] = i == n - 1 && n >= 2 && !lathe_device_is_remote(m->devices[n - 2])
                            ? 0.0
                            : (double) lathe_device_memory_free(m->devices[i]);
        if (!(shares[i] >= 0.0) || shares[i] > 1e30)
            return lathe_fail(err, LATHE_ERR_ARG, "share %d of the layers is %g; 0 or more is right", i + 1,
                              shares[i]);
        sum += shares[i];
    }
    if (!(sum > 0.0)) {
        if (p->split != NULL)
            return lathe_fail(err, LATHE_ERR_ARG, "all shares of the layers are 0");
        shares[n - 1] = 1.0;
    }
    lathe_split_layers(m->desc.n_layer, shares, n, m->layer_device);
    for (int32_t i = 0, first = 0; n > 1 && i < n; i++) {
        int32_t end = first;
        while (end < m->desc.n_layer && m->layer_device[end] == i)
            end++;
        if (end > first)
            lathe_log(&m->logger, LATHE_LOG_INFO, "layers %d to %d of %d: %s", first, end - 1,
                      m->desc.n_layer, lathe_device_name(m->devices[i]));
        first = end;
    }
    return LATHE_OK;
}

/* --- Loading ------------------------------------------------------------------------------------- */

/* Which GELU (engine.md 2.16): exact for files of f32, ggml's table for others. */
static lathe_gelu_kind choose_gelu(const lathe_model_params *p, const lathe_gguf *gguf) {
    if (p->gelu == LATHE_GELU_TABLE || p->gelu == LATHE_GELU_EXACT)
        return (lathe_gelu_kind) p->gelu;
    const lathe_gguf_tensor *t = lathe_gguf_tensor_find(gguf, "blk.0.ffn_up.weight");
    return p->dequantise || (t != NULL && t->type == GGML_TYPE_F32) ? LATHE_GELU_EXACT : LATHE_GELU_TABLE;
}

/* Whether ggml multiplies by an unquantised matrix (what is packed has an `extra`). */
static bool is_float_matrix(const struct ggml_tensor *t) {
    return ggml_n_dims(t) > 1 && !ggml_is_quantized(t->type) && t->extra == NULL;
}

static bool has_float_matrix(const lathe_model *m) {
    const lathe_weight_store *store = &m->weights;
    for (struct ggml_tensor *t = ggml_get_first_tensor(store->ctx); t != NULL;
         t = ggml_get_next_tensor(store->ctx, t))
        if (t != m->head.whole && is_float_matrix(t))
            return true;
    return m->head.ctx != NULL && is_float_matrix(store->by_role.output);
}

static lathe_status load_vocab(lathe_model *m, lathe_error *err) {
    if (lathe_gguf_find(m->gguf, "tokenizer.ggml.model") == NULL)
        return LATHE_OK;
    return lathe_vocab_from_gguf(m->gguf, &m->logger, &m->vocab, err);
}

/* Our own kernels take the products they can, where the processor alone computes and the file is mapped (so
 * that there are never two copies). LATHE_CPU forces an instruction set, or "ggml". */
static lathe_status pack_weights(lathe_model *m, lathe_error *err) {
    const char *name = getenv("LATHE_CPU");
    if (name != NULL && *name == '\0')
        name = NULL;
    const lathe_cpu *cpu = lathe_cpu_best(name);
    if (name != NULL && cpu == NULL && strcmp(name, "ggml") != 0)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "LATHE_CPU=%s: this build and processor do not have it; ggml and scalar always are",
                          name);
    if (cpu == NULL || m->n_devices != 1 || !lathe_device_is_cpu(m->devices[0]))
        return LATHE_OK;
    m->cpu = cpu;
    if (!lathe_gguf_is_mapped(m->gguf))
        return LATHE_OK;
    size_t n = 0;
    struct ggml_tensor *t;
    for (t = ggml_get_first_tensor(m->weights.ctx); t != NULL; t = ggml_get_next_tensor(m->weights.ctx, t))
        n++;
    lathe_status status = lathe_packed_set_new(cpu, n + 1, &m->packed, err);
    const uint8_t *begin = lathe_gguf_base(m->gguf), *end = begin + lathe_gguf_size(m->gguf);
    for (t = ggml_get_first_tensor(m->weights.ctx); t != NULL && status == LATHE_OK;
         t = ggml_get_next_tensor(m->weights.ctx, t)) {
        const uint8_t *data = t->data;
        bool only_looked_up = t == m->weights.by_role.token_embd && t != m->weights.by_role.output;
        if (data >= begin && data < end && !only_looked_up && t != m->head.whole)
            status = lathe_packed_set_add(m->packed, t, true, err);
    }
    if (m->head.ctx != NULL && status == LATHE_OK)
        status = lathe_packed_set_add(m->packed, m->weights.by_role.output, false, err);
    return status;
}

static lathe_status load_weights(lathe_model *m, const lathe_model_params *p, lathe_error *err) {
    size_t n_unknown = 0;
    lathe_status status = lathe_desc_from_gguf(m->gguf, &m->desc, err);
    if (status == LATHE_OK)
        status = lathe_desc_check(&m->desc, m->gguf, &n_unknown, err);
    if (status == LATHE_OK && n_unknown > 0)
        lathe_log(&m->logger, LATHE_LOG_WARN, "%s: %zu tensors are not used by family %s",
                  lathe_gguf_path(m->gguf), n_unknown, m->desc.family->name);
    if (status == LATHE_OK)
        status = open_devices(m, p, err);
    if (status == LATHE_OK)
        status = split_layers(m, p, err);
    if (status != LATHE_OK)
        return status;
    m->gelu = choose_gelu(p, m->gguf);
    m->fingerprint = fingerprint(&m->desc, m->gguf);
    const lathe_weight_plan plan = {.devices = m->devices,
                                    .n_devices = m->n_devices,
                                    .layer_device = m->layer_device,
                                    .dequantise = p->dequantise,
                                    .progress = &p->progress};
    status = lathe_weight_store_load(&m->desc, m->gguf, &plan, &m->weights, err);
    if (status == LATHE_OK && p->n_head_ids > 0)
        status = lathe_model_trim_head(m, p->head_ids, p->n_head_ids, err);
    if (status == LATHE_OK)
        status = pack_weights(m, err);
    if (status == LATHE_OK)
        m->float_weights = has_float_matrix(m);
    return status;
}

lathe_status lathe_model_load(const char *path, const lathe_model_params *params, lathe_model **model,
                              lathe_error *err) {
    lathe_model_params p = lathe_model_params_default();
    if (path == NULL || model == NULL)
        return lathe_fail(err, LATHE_ERR_ARG, "a model needs a path");
    if (params != NULL) {
        if (params->struct_size != sizeof p)
            return lathe_fail(err, LATHE_ERR_ARG, "lathe_model_params is of another version of the library");
        p = *params;
    }
    lathe_model *m = calloc(1, sizeof *m);
    if (m == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a model");
    m->logger = p.logger;
    m->vocab_only = p.vocab_only;
    const lathe_gguf_params gguf_params = {.no_mmap = p.no_mmap, .logger = p.logger};
    lathe_status status = lathe_gguf_open(path, &gguf_params, &m->gguf, err);
    if (status == LATHE_OK && !p.vocab_only)
        status = load_weights(m, &p, err);
    if (status == LATHE_OK)
        status = load_vocab(m, err);
    if (status != LATHE_OK) {
        lathe_model_free(m);
        return status;
    }
    *model = m;
    return LATHE_OK;
}

void lathe_model_free(lathe_model *m) {
    if (m == NULL)
        return;
    lathe_weight_store_free(&m->weights);
    lathe_packed_set_free(m->packed);
    lathe_model_trim_free(m);
    for (int32_t i = 0; i < m->n_devices; i++)
        lathe_device_free(m->devices[i]);
    lathe_vocab_free(m->vocab);
    lathe_gguf_close(m->gguf);
    free(m);
}

/* --- What it says about itself ------------------------------------------------------------------- */

const lathe_vocab *lathe_model_vocab(const lathe_model *m) {
    return m->vocab;
}
const char *lathe_model_architecture(const lathe_model *m) {
    return m->desc.family != NULL ? m->desc.family->name : lathe_model_meta(m, "general.architecture");
}
int32_t lathe_model_n_vocab(const lathe_model *m) {
    if (m->vocab_only && m->vocab != NULL)
        return lathe_vocab_size(m->vocab);
    return m->desc.n_vocab;
}
int32_t lathe_model_n_logits(const lathe_model *m) {
    return m->head.ctx != NULL ? m->head.n : m->desc.n_vocab;
}
int32_t lathe_model_n_ctx_train(const lathe_model *m) {
    return m->desc.n_ctx_train;
}
int32_t lathe_model_n_layer(const lathe_model *m) {
    return m->desc.n_layer;
}
int32_t lathe_model_n_embd(const lathe_model *m) {
    return m->desc.n_embd;
}
int32_t lathe_model_n_head(const lathe_model *m) {
    return m->desc.n_head;
}
int32_t lathe_model_n_head_kv(const lathe_model *m) {
    return m->desc.n_head_kv;
}
int64_t lathe_model_n_params(const lathe_model *m) {
    return m->vocab_only ? 0 : lathe_desc_n_params(&m->desc);
}
int64_t lathe_model_weights_bytes(const lathe_model *m) {
    return m->weights.n_bytes;
}
int64_t lathe_model_step_bytes(const lathe_model *m) {
    int64_t n = m->weights.n_bytes;
    const struct ggml_tensor *looked_up[] = {m->weights.by_role.token_embd, m->weights.by_role.position_embd};
    for (size_t i = 0; i < LATHE_LEN(looked_up); i++)
        if (looked_up[i] != NULL && looked_up[i] != m->weights.by_role.output)
            n -= (int64_t) ggml_nbytes(looked_up[i]);
    return n;
}
uint64_t lathe_model_fingerprint(const lathe_model *m) {
    return m->fingerprint;
}
const char *lathe_model_meta(const lathe_model *m, const char *key) {
    const lathe_gguf_kv *kv = lathe_gguf_find(m->gguf, key);
    return kv != NULL ? kv->text : NULL;
}
const char *lathe_model_chat_template(const lathe_model *m) {
    return lathe_model_meta(m, "tokenizer.chat_template");
}
