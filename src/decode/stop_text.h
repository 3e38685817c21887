/* stop_text.h - text goes through until a stop string comes; what may begin one waits. */
#ifndef LATHE_DECODE_STOP_TEXT_H
#define LATHE_DECODE_STOP_TEXT_H

#include "base/buf.h"
#include "lathe/base.h"

enum { LATHE_STOP_TEXTS_MAX = 64, LATHE_STOP_TEXT_BYTES_MAX = 1024 };

typedef struct lathe_stop_text {
    char **texts; /* [n_texts], none empty */
    int32_t n_texts;
    lathe_buf held;
    size_t n_out; /* bytes of `held` that the last call let through: gone at the next */
} lathe_stop_text;

LATHE_NODISCARD lathe_status lathe_stop_text_init(lathe_stop_text *stop, const char *const *texts,
                                                  int32_t n_texts, lathe_error *err);
void lathe_stop_text_free(lathe_stop_text *stop);
void lathe_stop_text_clear(lathe_stop_text *stop);
/* Adds bytes; *out [n_out] (borrowed until the next call) may go to the reader now. *stopped: a stop string
 * came, and *out ends before it. */
LATHE_NODISCARD lathe_status lathe_stop_text_add(lathe_stop_text *stop, const char *text, size_t n_bytes,
                                                 const char **out, size_t *n_out, bool *stopped,
                                                 lathe_error *err);
/* What still waits, as nothing follows. */
void lathe_stop_text_end(lathe_stop_text *stop, const char **out, size_t *n_out);

#endif
