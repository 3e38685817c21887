/* detok.c - ids to text: whole texts, and token by token without ever splitting a character. */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "model/vocab.h"

lathe_status lathe_detokenize(const lathe_vocab *v, const int32_t *ids, size_t n_ids, bool special,
                              char **text, size_t *n_bytes, lathe_error *err) {
    lathe_buf out;
    lathe_buf_init(&out, SIZE_MAX / 4);
    lathe_status st = LATHE_OK;
    bool first = true;
    for (size_t i = 0; i < n_ids && !st; i++) {
        size_t n = 0;
        const char *piece = lathe_vocab_piece(v, ids[i], &n);
        if (!piece) {
            st = lathe_fail(err, LATHE_ERR_ARG, "token %zu is %d; the vocabulary has ids 0 to %d", i, ids[i],
                            v->n - 1);
            break;
        }
        if (lathe_vocab_is_control(v, ids[i])) {
            if (special)
                st = lathe_buf_add(&out, piece, n, err);
            continue;
        }
        /* The blank that the tokenizer put in front of the text goes away again. */
        const size_t skip =
            first && v->add_space_prefix && n > 0 && piece[0] == ' ' && v->type[ids[i]] == LATHE_TOKEN_NORMAL;
        st = lathe_buf_add(&out, piece + skip, n - skip, err);
        first = false;
    }
    if (!st)
        st = lathe_buf_add(&out, "", 0, err);
    if (st) {
        lathe_buf_free(&out);
        return st;
    }
    *text = lathe_buf_take(&out, n_bytes);
    return LATHE_OK;
}

struct lathe_detok {
    const lathe_vocab *vocab;
    char held[4]; /* the beginning of a character */
    size_t n_held;
    lathe_buf out;
};

lathe_status lathe_detok_new(const lathe_vocab *vocab, lathe_detok **detok, lathe_error *err) {
    lathe_detok *d = calloc(1, sizeof *d);
    if (!d)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory");
    d->vocab = vocab;
    lathe_buf_init(&d->out, 8u << 20);
    /* Three bytes out for each byte in at worst: no allocation is needed per token. */
    const lathe_status st = lathe_buf_reserve(&d->out, 3 * (65535 + 4), err);
    if (st) {
        free(d);
        return st;
    }
    *detok = d;
    return LATHE_OK;
}

void lathe_detok_free(lathe_detok *detok) {
    if (!detok)
        return;
    lathe_buf_free(&detok->out);
    free(detok);
}

/* Appends bytes; within the reserved room this cannot fail. */
static void put(lathe_detok *d, const char *bytes, size_t n) {
    const lathe_status st = lathe_buf_add(&d->out, bytes, n, NULL);
    (void) st;
}

/* Takes one byte: whole characters go out, what can no longer become one goes out as U+FFFD. */
static void add_byte(lathe_detok *d, char byte) {
    for (;;) {
        d->held[d->n_held] = byte;
        uint32_t code;
        if (lathe_utf8_next(d->held, d->n_held + 1, &code) > 0) {
            put(d, d->held, d->n_held + 1);
            d->n_held = 0;
            return;
        }
        if (lathe_utf8_is_prefix(d->held, d->n_held + 1)) {
            d->n_held++;
            return;
        }
        put(d, "\xEF\xBF\xBD", 3);
        if (d->n_held == 0)
            return;    /* the byte itself begins nothing */
        d->n_held = 0; /* what was held is given up; the byte may begin a new character */
    }
}

void lathe_detok_add(lathe_detok *d, int32_t id, const char **text, size_t *n_bytes) {
    lathe_buf_clear(&d->out);
    size_t n = 0;
    const char *piece = lathe_vocab_piece(d->vocab, id, &n);
    if (piece && !lathe_vocab_is_control(d->vocab, id))
        for (size_t i = 0; i < n; i++)
            add_byte(d, piece[i]);
    *text = d->out.data;
    *n_bytes = d->out.n_bytes;
}

void lathe_detok_end(lathe_detok *d, const char **text, size_t *n_bytes) {
    lathe_buf_clear(&d->out);
    if (d->n_held > 0)
        put(d, "\xEF\xBF\xBD", 3);
    d->n_held = 0;
    *text = d->out.data;
    *n_bytes = d->out.n_bytes;
}
