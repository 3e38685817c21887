/* stop_text.c - see stop_text.h. */
#include "decode/stop_text.h"

#include <stdlib.h>
#include <string.h>

enum { HELD_MAX = 1 << 24 };

lathe_status lathe_stop_text_init(lathe_stop_text *stop, const char *const *texts, int32_t n_texts,
                                  lathe_error *err) {
    *stop = (lathe_stop_text){0};
    lathe_buf_init(&stop->held, HELD_MAX);
    if (n_texts < 0 || n_texts > LATHE_STOP_TEXTS_MAX)
        return lathe_fail(err, LATHE_ERR_ARG, "%d stop strings; at most %d are possible", n_texts,
                          LATHE_STOP_TEXTS_MAX);
    stop->texts = calloc((size_t) n_texts + 1, sizeof *stop->texts);
    if (!stop->texts)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for stop strings");
    for (int32_t i = 0; i < n_texts; i++) {
        const size_t n = texts[i] ? strlen(texts[i]) : 0;
        if (n == 0 || n > LATHE_STOP_TEXT_BYTES_MAX) {
            lathe_stop_text_free(stop);
            return lathe_fail(err, LATHE_ERR_ARG, "a stop string of %zu bytes; want 1 to %d", n,
                              LATHE_STOP_TEXT_BYTES_MAX);
        }
        char *copy = malloc(n + 1);
        if (!copy) {
            lathe_stop_text_free(stop);
            return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for stop strings");
        }
        memcpy(copy, texts[i], n + 1);
        stop->texts[stop->n_texts++] = copy;
    }
    return LATHE_OK;
}

void lathe_stop_text_free(lathe_stop_text *stop) {
    for (int32_t i = 0; i < stop->n_texts; i++)
        free(stop->texts[i]);
    free(stop->texts);
    lathe_buf_free(&stop->held);
    *stop = (lathe_stop_text){0};
}

void lathe_stop_text_clear(lathe_stop_text *stop) {
    lathe_buf_clear(&stop->held);
    stop->n_out = 0;
}

/* Forgets what went out. */
static void drop_out(lathe_stop_text *stop) {
    if (stop->n_out == 0)
        return;
    memmove(stop->held.data, stop->held.data + stop->n_out, stop->held.n_bytes - stop->n_out);
    stop->held.n_bytes -= stop->n_out;
    stop->n_out = 0;
}

/* Bytes at the end of text that begin this stop string. */
static size_t begun(const char *text, size_t n_bytes, const char *wanted) {
    const size_t n_wanted = strlen(wanted);
    size_t n = n_wanted - 1 < n_bytes ? n_wanted - 1 : n_bytes;
    while (n > 0 && memcmp(text + n_bytes - n, wanted, n) != 0)
        n--;
    return n;
}

static size_t find(const char *text, size_t n_bytes, const char *wanted) {
    const size_t n = strlen(wanted);
    for (size_t i = 0; i + n <= n_bytes; i++)
        if (memcmp(text + i, wanted, n) == 0)
            return i;
    return SIZE_MAX;
}

lathe_status lathe_stop_text_add(lathe_stop_text *stop, const char *text, size_t n_bytes, const char **out,
                                 size_t *n_out, bool *stopped, lathe_error *err) {
    *stopped = false;
    drop_out(stop);
    if (stop->n_texts == 0) {
        *out = text;
        *n_out = n_bytes;
        return LATHE_OK;
    }
    lathe_status st = lathe_buf_add(&stop->held, text, n_bytes, err);
    if (st)
        return st;
    size_t first = SIZE_MAX, waits = 0;
    for (int32_t i = 0; i < stop->n_texts; i++) {
        const size_t at = find(stop->held.data, stop->held.n_bytes, stop->texts[i]);
        const size_t n = begun(stop->held.data, stop->held.n_bytes, stop->texts[i]);
        first = at < first ? at : first;
        waits = n > waits ? n : waits;
    }
    *stopped = first != SIZE_MAX;
    if (*stopped)
        stop->held.n_bytes = first;
    stop->n_out = *stopped ? first : stop->held.n_bytes - waits;
    *out = stop->held.data;
    *n_out = stop->n_out;
    return LATHE_OK;
}

void lathe_stop_text_end(lathe_stop_text *stop, const char **out, size_t *n_out) {
    drop_out(stop);
    *out = stop->held.data ? stop->held.data : "";
    *n_out = stop->n_out = stop->held.n_bytes;
}
