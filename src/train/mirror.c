/* mirror.c - see mirror.h. The tensors of both contexts stand in the same order. */
#include "train/mirror.h"

#include <stdlib.h>

#include "base/text.h"

typedef struct ggml_tensor T;

struct lathe_mirror {
    struct ggml_context *host, *ctx;
    ggml_backend_buffer_t buffer;
};

lathe_status lathe_mirror_new(struct ggml_context *host, lathe_device *device, lathe_mirror **out,
                              lathe_error *err) {
    size_t n = 0, bytes = 0;
    for (T *x = ggml_get_first_tensor(host); x != NULL; x = ggml_get_next_tensor(host, x), n++)
        bytes += ggml_nbytes(x);
    lathe_mirror *m = calloc(1, sizeof *m);
    if (m != NULL)
        m->ctx = ggml_init(
            (struct ggml_init_params){.mem_size = (n + 1) * ggml_tensor_overhead(), .no_alloc = true});
    if (m == NULL || m->ctx == NULL) {
        free(m);
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %zu tensors", n);
    }
    m->host = host;
    for (T *x = ggml_get_first_tensor(host); x != NULL; x = ggml_get_next_tensor(host, x))
        ggml_dup_tensor(m->ctx, x);
    m->buffer = ggml_backend_alloc_ctx_tensors(m->ctx, lathe_device_backend(device));
    if (m->buffer == NULL) {
        char a[32], b[32];
        lathe_format_bytes((int64_t) bytes, a, sizeof a);
        lathe_format_bytes(lathe_device_memory_free(device), b, sizeof b);
        lathe_mirror_free(m);
        return lathe_fail(err, LATHE_ERR_MEMORY, "%s: weights and inputs take %s, %s are free",
                          lathe_device_name(device), a, b);
    }
    *out = m;
    return LATHE_OK;
}

void lathe_mirror_free(lathe_mirror *m) {
    if (m == NULL)
        return;
    ggml_backend_buffer_free(m->buffer);
    ggml_free(m->ctx);
    free(m);
}

T *lathe_mirror_of(const lathe_mirror *m, T *x) {
    if (m == NULL || x == NULL)
        return x;
    T *h = ggml_get_first_tensor(m->host), *d = ggml_get_first_tensor(m->ctx);
    while (h != x) {
        h = ggml_get_next_tensor(m->host, h);
        d = ggml_get_next_tensor(m->ctx, d);
    }
    return d;
}

void lathe_mirror_upload(const lathe_mirror *m) {
    if (m == NULL)
        return;
    T *d = ggml_get_first_tensor(m->ctx);
    for (T *h = ggml_get_first_tensor(m->host); h != NULL; h = ggml_get_next_tensor(m->host, h)) {
        ggml_backend_tensor_set(d, h->data, 0, ggml_nbytes(h));
        d = ggml_get_next_tensor(m->ctx, d);
    }
}
