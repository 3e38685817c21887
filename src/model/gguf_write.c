/* gguf_write.c - GGUF version 3, little endian, alignment 32, tensors in the order of the table. */
#include "model/gguf_write.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"

enum { ALIGNMENT = 32, META_BYTES_MAX = 1 << 30 };

struct lathe_gguf_writer {
    lathe_buf meta;  /* pairs */
    lathe_buf table; /* tensors */
    uint64_t n_kv, n_tensors;
    uint64_t *sizes;     /* [n_tensors] bytes of each */
    size_t capacity;     /* of sizes */
    uint64_t data_bytes; /* with padding */
    lathe_error failed;  /* the first failure of a put */
    lathe_writer *file;  /* after begin */
    uint64_t current;    /* index of the tensor being written */
    uint64_t written;    /* of it */
};

static uint64_t padded(uint64_t n) {
    return (n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

lathe_status lathe_gguf_writer_new(lathe_gguf_writer **writer, lathe_error *err) {
    lathe_gguf_writer *w = calloc(1, sizeof *w);
    if (!w)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory to write a GGUF file");
    lathe_buf_init(&w->meta, META_BYTES_MAX);
    lathe_buf_init(&w->table, META_BYTES_MAX);
    *writer = w;
    return LATHE_OK;
}

void lathe_gguf_writer_free(lathe_gguf_writer *w) {
    if (!w)
        return;
    lathe_writer_abandon(w->file);
    lathe_buf_free(&w->meta);
    lathe_buf_free(&w->table);
    free(w->sizes);
    free(w);
}

/* --- Metadata ------------------------------------------------------------------------------------ */

static void add(lathe_gguf_writer *w, lathe_buf *buf, const void *bytes, size_t n_bytes) {
    if (w->failed.status || n_bytes == 0)
        return;
    if (lathe_buf_add(buf, bytes, n_bytes, &w->failed) != LATHE_OK && w->failed.status == LATHE_OK)
        w->failed.status = LATHE_ERR_MEMORY;
}

static void add_number(lathe_gguf_writer *w, lathe_buf *buf, uint64_t value, size_t n_bytes) {
    uint8_t bytes[8];
    for (size_t i = 0; i < 8; i++)
        bytes[i] = (uint8_t) (value >> (8 * i));
    add(w, buf, bytes, n_bytes);
}

static void add_string(lathe_gguf_writer *w, lathe_buf *buf, const void *bytes, size_t n_bytes) {
    add_number(w, buf, n_bytes, 8);
    add(w, buf, bytes, n_bytes);
}

static void add_key(lathe_gguf_writer *w, const char *key, lathe_gguf_type type) {
    const size_t n = strlen(key);
    if (w->failed.status)
        return;
    if (n < 1 || n > 65535) {
        (void) lathe_fail(&w->failed, LATHE_ERR_ARG, "a metadata key of %zu bytes; want 1 to 65535", n);
        return;
    }
    add_string(w, &w->meta, key, n);
    add_number(w, &w->meta, type, 4);
    w->n_kv++;
}

static size_t value_bytes(lathe_gguf_type type) {
    static const uint8_t bytes[LATHE_GGUF_TYPE_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return bytes[type];
}

void lathe_gguf_put_int(lathe_gguf_writer *w, const char *key, lathe_gguf_type type, int64_t value) {
    add_key(w, key, type);
    add_number(w, &w->meta, (uint64_t) value, value_bytes(type));
}

void lathe_gguf_put_u32(lathe_gguf_writer *w, const char *key, uint32_t value) {
    lathe_gguf_put_int(w, key, LATHE_GGUF_U32, value);
}

void lathe_gguf_put_f32(lathe_gguf_writer *w, const char *key, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    lathe_gguf_put_int(w, key, LATHE_GGUF_F32, bits);
}

void lathe_gguf_put_f64(lathe_gguf_writer *w, const char *key, double value) {
    int64_t bits;
    memcpy(&bits, &value, sizeof bits);
    lathe_gguf_put_int(w, key, LATHE_GGUF_F64, bits);
}

void lathe_gguf_put_bool(lathe_gguf_writer *w, const char *key, bool value) {
    lathe_gguf_put_int(w, key, LATHE_GGUF_BOOL, value);
}

void lathe_gguf_put_text(lathe_gguf_writer *w, const char *key, const char *value) {
    lathe_gguf_put_string(w, key, value, strlen(value));
}

void lathe_gguf_put_string(lathe_gguf_writer *w, const char *key, const void *bytes, size_t n_bytes) {
    add_key(w, key, LATHE_GGUF_STRING);
    add_string(w, &w->meta, bytes, n_bytes);
}

void lathe_gguf_put_array(lathe_gguf_writer *w, const char *key, lathe_gguf_type type, const void *values,
                          uint64_t n) {
    add_key(w, key, LATHE_GGUF_ARRAY);
    add_number(w, &w->meta, type, 4);
    add_number(w, &w->meta, n, 8);
    add(w, &w->meta, values, (size_t) n * value_bytes(type)); /* memory is little endian, as the file */
}

void lathe_gguf_put_strings(lathe_gguf_writer *w, const char *key, const char *const *texts,
                            const size_t *n_bytes, uint64_t n) {
    add_key(w, key, LATHE_GGUF_ARRAY);
    add_number(w, &w->meta, LATHE_GGUF_STRING, 4);
    add_number(w, &w->meta, n, 8);
    for (uint64_t i = 0; i < n; i++)
        add_string(w, &w->meta, texts[i], n_bytes ? n_bytes[i] : strlen(texts[i]));
}

void lathe_gguf_put_kv(lathe_gguf_writer *w, const lathe_gguf_kv *kv) {
    add_key(w, kv->key, (lathe_gguf_type) kv->type);
    if (kv->type == LATHE_GGUF_ARRAY) {
        add_number(w, &w->meta, kv->array_type, 4);
        add_number(w, &w->meta, kv->n, 8);
    } else if (kv->type == LATHE_GGUF_STRING) {
        add_number(w, &w->meta, kv->n_bytes, 8);
    }
    add(w, &w->meta, kv->data, (size_t) kv->n_bytes);
}

void lathe_gguf_put_all(lathe_gguf_writer *w, const lathe_gguf *g, const char *const *except) {
    for (size_t i = 0; i < lathe_gguf_n_kv(g); i++) {
        const lathe_gguf_kv *kv = lathe_gguf_kv_at(g, i);
        bool skip = strcmp(kv->key, "general.alignment") == 0;
        for (size_t j = 0; except && except[j] && !skip; j++)
            skip = strcmp(kv->key, except[j]) == 0;
        if (!skip)
            lathe_gguf_put_kv(w, kv);
    }
}

/* --- Tensors ------------------------------------------------------------------------------------- */

void lathe_gguf_put_tensor(lathe_gguf_writer *w, const char *name, uint32_t type, int32_t n_dims,
                           const int64_t *ne) {
    uint64_t n = 1, bytes = 0;
    bool sound = n_dims >= 1 && n_dims <= LATHE_GGUF_DIMS_MAX;
    if (w->failed.status)
        return;
    for (int32_t d = 0; sound && d < n_dims; d++)
        sound = ne[d] >= 1 && !__builtin_mul_overflow(n, (uint64_t) ne[d], &n);
    const uint32_t block = lathe_gguf_block_values(type);
    if (!sound || block == 0 || ne[0] % block != 0 || !lathe_gguf_bytes_of(type, n, &bytes) ||
        bytes > INT64_MAX / 2 || strlen(name) < 1 || strlen(name) >= LATHE_GGUF_NAME_MAX) {
        (void) lathe_fail(
            &w->failed, LATHE_ERR_ARG,
            "tensor '%.80s' of type %s cannot be written: its shape, type or name (1 to %d bytes) is wrong",
            name, lathe_gguf_tensor_type_name(type), LATHE_GGUF_NAME_MAX - 1);
        return;
    }
    if (w->n_tensors == w->capacity) {
        const size_t capacity = w->capacity ? 2 * w->capacity : 256;
        uint64_t *sizes = realloc(w->sizes, capacity * sizeof *sizes);
        if (!sizes) {
            (void) lathe_fail(&w->failed, LATHE_ERR_MEMORY, "no memory for a table of %zu tensors", capacity);
            return;
        }
        w->sizes = sizes;
        w->capacity = capacity;
    }
    add_string(w, &w->table, name, strlen(name));
    add_number(w, &w->table, (uint64_t) n_dims, 4);
    for (int32_t d = 0; d < n_dims; d++)
        add_number(w, &w->table, (uint64_t) ne[d], 8);
    add_number(w, &w->table, type, 4);
    add_number(w, &w->table, w->data_bytes, 8);
    w->sizes[w->n_tensors++] = bytes;
    w->data_bytes += padded(bytes);
}

/* --- The file ------------------------------------------------------------------------------------ */

uint64_t lathe_gguf_writer_size(const lathe_gguf_writer *w) {
    return padded(24 + w->meta.n_bytes + w->table.n_bytes) + w->data_bytes;
}

static lathe_status pad(lathe_gguf_writer *w, uint64_t n_written, lathe_error *err) {
    static const uint8_t zeros[ALIGNMENT];
    const size_t n = (size_t) (padded(n_written) - n_written);
    return n ? lathe_writer_add(w->file, zeros, n, err) : LATHE_OK;
}

lathe_status lathe_gguf_writer_begin(lathe_gguf_writer *w, const char *path, lathe_error *err) {
    lathe_buf head;
    lathe_status st = LATHE_OK;
    lathe_buf_init(&head, 64);
    add(w, &head, "GGUF", 4);
    add_number(w, &head, 3, 4);
    add_number(w, &head, w->n_tensors, 8);
    add_number(w, &head, w->n_kv, 8);
    if (w->failed.status)
        st = lathe_fail(err, w->failed.status, "%s: %s", path, w->failed.text);
    if (!st)
        st = lathe_writer_open(path, &w->file, err);
    if (!st)
        st = lathe_writer_add(w->file, head.data, head.n_bytes, err);
    if (!st && w->meta.n_bytes)
        st = lathe_writer_add(w->file, w->meta.data, w->meta.n_bytes, err);
    if (!st && w->table.n_bytes)
        st = lathe_writer_add(w->file, w->table.data, w->table.n_bytes, err);
    if (!st)
        st = pad(w, head.n_bytes + w->meta.n_bytes + w->table.n_bytes, err);
    lathe_buf_free(&head);
    return st;
}

lathe_status lathe_gguf_writer_data(lathe_gguf_writer *w, const void *bytes, size_t n_bytes,
                                    lathe_error *err) {
    if (w->current == w->n_tensors || n_bytes > w->sizes[w->current] - w->written)
        return lathe_fail(
            err, LATHE_ERR_ARG, "tensor %llu: %zu bytes more than its shape has",
            (unsigned long long) w->current,
            w->current == w->n_tensors ? n_bytes : n_bytes - (size_t) (w->sizes[w->current] - w->written));
    lathe_status st = lathe_writer_add(w->file, bytes, n_bytes, err);
    if (st)
        return st;
    w->written += n_bytes;
    if (w->written == w->sizes[w->current]) {
        st = pad(w, w->written, err);
        w->current++;
        w->written = 0;
    }
    return st;
}

lathe_status lathe_gguf_writer_finish(lathe_gguf_writer *w, lathe_error *err) {
    lathe_status st;
    if (w->current != w->n_tensors) {
        st = lathe_fail(err, LATHE_ERR_INTERNAL, "a GGUF file ends at tensor %llu of %llu",
                        (unsigned long long) w->current, (unsigned long long) w->n_tensors);
    } else {
        lathe_writer *file = w->file;
        w->file = NULL; /* commit frees it */
        st = lathe_writer_commit(file, err);
    }
    lathe_gguf_writer_free(w);
    return st;
}
