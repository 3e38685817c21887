/* kv_store.c - the tensors that a cache policy keeps its rows in. */
#define _DEFAULT_SOURCE 1 /* madvise */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "model/kv.h"

enum ggml_type lathe_cache_ggml_type(lathe_cache_type type) {
    switch (type) {
    case LATHE_CACHE_F32:
        return GGML_TYPE_F32;
    case LATHE_CACHE_Q8_0:
        return GGML_TYPE_Q8_0;
    case LATHE_CACHE_Q4_0:
        return GGML_TYPE_Q4_0;
    case LATHE_CACHE_BF16:
        return GGML_TYPE_BF16;
    case LATHE_CACHE_F16:
        break;
    }
    return GGML_TYPE_F16;
}

static lathe_status check_type(enum ggml_type type, int32_t width, lathe_error *err) {
    if (width % ggml_blck_size(type) == 0)
        return LATHE_OK;
    return lathe_fail(
        err, LATHE_ERR_UNSUPPORTED,
        "cache type %s needs heads of a width that %lld divides; this model's have %d: use f16 or f32",
        ggml_type_name(type), (long long) ggml_blck_size(type), width);
}

/* Asks for huge pages, before anything is written: attention reads a quarter faster. Refused: ordinary ones.
 */
static void use_huge_pages(ggml_backend_buffer_t buffer, size_t n_bytes) {
#ifdef MADV_HUGEPAGE
    uintptr_t page = (uintptr_t) sysconf(_SC_PAGESIZE),
              begin = (uintptr_t) ggml_backend_buffer_get_base(buffer);
    uintptr_t first = (begin + page - 1) / page * page, end = (begin + n_bytes) / page * page;
    if (ggml_backend_buffer_is_host(buffer) && end > first)
        (void) madvise((void *) first, end - first, MADV_HUGEPAGE);
#else
    (void) buffer;
    (void) n_bytes;
#endif
}

/* All tensors of one device in one buffer. */
static lathe_status fill_device(lathe_kv_store *s, lathe_device *device, int32_t index,
                                const int32_t *layer_device, lathe_error *err) {
    ggml_backend_buffer_type_t type = ggml_backend_get_default_buffer_type(lathe_device_backend(device));
    size_t align = ggml_backend_buft_get_alignment(type), need = 0;
    for (int32_t i = 0; i < s->n_layer; i++)
        if (layer_device[i] == index)
            for (int side = 0; side < 2; side++)
                need += (ggml_backend_buft_get_alloc_size(type, side == 0 ? s->k[i] : s->v[i]) + align - 1) /
                        align * align;
    if (need == 0)
        return LATHE_OK;
    int64_t available = lathe_device_memory_free(device);
    if (available > 0 && need > (size_t) available)
        return lathe_fail(
            err, LATHE_ERR_MEMORY,
            "the cache needs %.1f MiB on %s, %.1f MiB are free; a smaller --ctx or --cache-type helps",
            (double) need / 1048576.0, lathe_device_name(device), (double) available / 1048576.0);
    ggml_backend_buffer_t buffer = ggml_backend_buft_alloc_buffer(type, need);
    if (buffer == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY,
                          "%.1f MiB of cache do not fit on %s; a smaller --ctx or --cache-type helps",
                          (double) need / 1048576.0, lathe_device_name(device));
    s->buffers[s->n_buffers++] = buffer;
    use_huge_pages(buffer, need);
    ggml_backend_buffer_clear(buffer, 0); /* a masked row still takes part as 0 times its value */
    size_t used = 0;
    for (int32_t i = 0; i < s->n_layer; i++)
        if (layer_device[i] == index)
            for (int side = 0; side < 2; side++) {
                struct ggml_tensor *t = side == 0 ? s->k[i] : s->v[i];
                ggml_backend_tensor_alloc(buffer, t, (char *) ggml_backend_buffer_get_base(buffer) + used);
                used += (ggml_backend_buft_get_alloc_size(type, t) + align - 1) / align * align;
            }
    s->n_bytes += (int64_t) need;
    return LATHE_OK;
}

lathe_status lathe_kv_store_new(const lathe_desc *desc, const lathe_kv_policy *policy, const int32_t *n_rows,
                                lathe_cache_type type_k, lathe_cache_type type_v,
                                lathe_device *const *devices, int32_t n_devices, const int32_t *layer_device,
                                lathe_kv_store *store, lathe_error *err) {
    lathe_kv_store s = {.policy = *policy,
                        .type_k = lathe_cache_ggml_type(type_k),
                        .type_v = lathe_cache_ggml_type(type_v),
                        .n_layer = desc->n_layer};
    for (int32_t i = 0; i < policy->n_groups; i++)
        s.n_rows[i] = n_rows[i];
    lathe_status status = check_type(s.type_k, desc->n_embd_head_k, err);
    if (status == LATHE_OK)
        status = check_type(s.type_v, desc->n_embd_head_v, err);
    if (status != LATHE_OK)
        return status;
    size_t n = (size_t) desc->n_layer;
    s.ctx = ggml_init(
        (struct ggml_init_params){.mem_size = (2 * n + 1) * ggml_tensor_overhead(), .no_alloc = true});
    s.k = calloc(n, sizeof(struct ggml_tensor *));
    s.v = calloc(n, sizeof(struct ggml_tensor *));
    s.buffers = calloc((size_t) n_devices, sizeof(ggml_backend_buffer_t));
    if (s.ctx == NULL || s.k == NULL || s.v == NULL || s.buffers == NULL)
        status = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the cache's tables");
    for (size_t i = 0; i < n && status == LATHE_OK; i++) {
        int64_t rows = s.n_rows[policy->group[i]];
        s.k[i] = ggml_new_tensor_2d(s.ctx, s.type_k, (int64_t) desc->n_head_kv * desc->n_embd_head_k, rows);
        s.v[i] = ggml_new_tensor_2d(s.ctx, s.type_v, (int64_t) desc->n_head_kv * desc->n_embd_head_v, rows);
        ggml_format_name(s.k[i], "cache_k.%zu", i);
        ggml_format_name(s.v[i], "cache_v.%zu", i);
    }
    for (int32_t i = 0; i < n_devices && status == LATHE_OK; i++)
        status = fill_device(&s, devices[i], i, layer_device, err);
    if (status != LATHE_OK) {
        lathe_kv_store_free(&s);
        return status;
    }
    *store = s;
    return LATHE_OK;
}

void lathe_kv_store_free(lathe_kv_store *store) {
    for (int32_t i = 0; i < store->n_buffers; i++)
        ggml_backend_buffer_free(store->buffers[i]);
    free(store->buffers);
    free(store->k);
    free(store->v);
    if (store->ctx != NULL)
        ggml_free(store->ctx);
    *store = (lathe_kv_store){0};
}

void lathe_kv_store_wipe(lathe_kv_store *store, int32_t group, const int32_t *rows, int32_t n) {
    for (int32_t l = 0; l < store->n_layer; l++)
        for (int32_t i = 0; i < n && store->policy.group[l] == group; i++) {
            ggml_backend_tensor_memset(store->k[l], 0, (size_t) rows[i] * store->k[l]->nb[1],
                                       store->k[l]->nb[1]);
            ggml_backend_tensor_memset(store->v[l], 0, (size_t) rows[i] * store->v[l]->nb[1],
                                       store->v[l]->nb[1]);
        }
}
