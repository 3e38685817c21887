/* buf.h - a byte buffer that grows up to a limit. Everything that grows from input has one. */
#ifndef LATHE_BASE_BUF_H
#define LATHE_BASE_BUF_H

#include "lathe/base.h"

typedef struct lathe_buf {
    char *data;      /* NUL-terminated once anything was added; NULL before */
    size_t n_bytes;  /* without the NUL */
    size_t capacity; /* allocated bytes */
    size_t limit;    /* more than this is LATHE_ERR_MEMORY */
} lathe_buf;

void lathe_buf_init(lathe_buf *buf, size_t limit);
void lathe_buf_free(lathe_buf *buf);
/* Forgets the contents, keeps the memory. */
void lathe_buf_clear(lathe_buf *buf);
LATHE_NODISCARD lathe_status lathe_buf_reserve(lathe_buf *buf, size_t n_more, lathe_error *err);
LATHE_NODISCARD lathe_status lathe_buf_add(lathe_buf *buf, const void *bytes, size_t n_bytes,
                                           lathe_error *err);
LATHE_NODISCARD lathe_status lathe_buf_text(lathe_buf *buf, const char *text, lathe_error *err);
LATHE_NODISCARD lathe_status lathe_buf_printf(lathe_buf *buf, lathe_error *err, const char *fmt, ...)
    LATHE_PRINTF(3, 4);
/* Gives the bytes away (NUL-terminated, never NULL); the buffer is empty afterwards. NULL: no memory. */
char *lathe_buf_take(lathe_buf *buf, size_t *n_bytes);

#endif
