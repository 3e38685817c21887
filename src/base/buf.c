/* buf.c - see buf.h. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void lathe_buf_init(lathe_buf *buf, size_t limit) {
    *buf = (lathe_buf){.limit = limit};
}

void lathe_buf_free(lathe_buf *buf) {
    free(buf->data);
    *buf = (lathe_buf){.limit = buf->limit};
}

void lathe_buf_clear(lathe_buf *buf) {
    buf->n_bytes = 0;
    if (buf->data)
        buf->data[0] = '\0';
}

lathe_status lathe_buf_reserve(lathe_buf *buf, size_t n_more, lathe_error *err) {
    size_t need;
    if (!lathe_size_add(buf->n_bytes, n_more, &need) || need > buf->limit)
        return lathe_fail(err, LATHE_ERR_MEMORY, "more than the limit of %zu bytes", buf->limit);
    if (need < buf->capacity)
        return LATHE_OK;
    size_t capacity = buf->capacity < 64 ? 64 : buf->capacity;
    while (capacity <= need)
        capacity = capacity > SIZE_MAX / 2 ? need + 1 : capacity * 2;
    char *data = realloc(buf->data, capacity);
    if (!data)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %zu bytes", capacity);
    buf->data = data;
    buf->capacity = capacity;
    return LATHE_OK;
}

lathe_status lathe_buf_add(lathe_buf *buf, const void *bytes, size_t n_bytes, lathe_error *err) {
    const lathe_status st = lathe_buf_reserve(buf, n_bytes, err);
    if (st)
        return st;
    if (n_bytes > 0)
        memcpy(buf->data + buf->n_bytes, bytes, n_bytes);
    buf->n_bytes += n_bytes;
    buf->data[buf->n_bytes] = '\0';
    return LATHE_OK;
}

lathe_status lathe_buf_text(lathe_buf *buf, const char *text, lathe_error *err) {
    return lathe_buf_add(buf, text, strlen(text), err);
}

lathe_status lathe_buf_printf(lathe_buf *buf, lathe_error *err, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    const int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (n < 0)
        return lathe_fail(err, LATHE_ERR_INTERNAL, "a text could not be formatted");
    const lathe_status st = lathe_buf_reserve(buf, (size_t) n, err);
    if (st)
        return st;
    va_start(args, fmt);
    const int again = vsnprintf(buf->data + buf->n_bytes, buf->capacity - buf->n_bytes, fmt, args);
    va_end(args);
    if (again != n)
        return lathe_fail(err, LATHE_ERR_INTERNAL, "a text could not be formatted");
    buf->n_bytes += (size_t) n;
    return LATHE_OK;
}

char *lathe_buf_take(lathe_buf *buf, size_t *n_bytes) {
    char *data = buf->data ? buf->data : calloc(1, 1);
    if (n_bytes)
        *n_bytes = buf->n_bytes;
    *buf = (lathe_buf){.limit = buf->limit};
    return data;
}
