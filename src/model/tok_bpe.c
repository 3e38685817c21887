/* tok_bpe.c - BPE: of all neighbours that have a merge, the one of the lowest rank first, ties to the left.
 * Symbols are numbers (tokens, and texts that only merges know), so that a lookup hashes two integers. */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "model/vocab.h"

typedef struct bpe_symbol {
    int32_t symbol;          /* -1: a character that no token or merge knows; -2: merged away */
    uint32_t start, n_bytes; /* in the word */
    uint32_t previous, next;
} bpe_symbol;

typedef struct bpe_work {
    const lathe_vocab *v;
    lathe_ids *out;
    bpe_symbol *symbols;
    size_t capacity;
    lathe_heap heap;
    lathe_buf mapped; /* a word in the byte alphabet */
} bpe_work;

static lathe_status push_pair(bpe_work *w, uint32_t left, uint32_t right, lathe_error *err) {
    if (left == UINT32_MAX || right == UINT32_MAX)
        return LATHE_OK;
    const int32_t a = w->symbols[left].symbol, b = w->symbols[right].symbol;
    const lathe_merge *m = a < 0 || b < 0 ? NULL : lathe_vocab_merge(w->v, a, b);
    if (!m)
        return LATHE_OK;
    return lathe_heap_push(
        &w->heap,
        (lathe_candidate){.key = m->rank, .left = left, .right = right, .left_symbol = a, .right_symbol = b},
        err);
}

/* The first symbols of a word: its bytes, or for raw BPE its characters. */
static lathe_status first_symbols(bpe_work *w, const char *text, size_t n_bytes, uint32_t *n_symbols,
                                  lathe_error *err) {
    if (n_bytes >= UINT32_MAX / 2)
        return lathe_fail(err, LATHE_ERR_ARG, "a word of %zu bytes; at most 2 GiB at a time", n_bytes);
    if (n_bytes > w->capacity) {
        const size_t capacity = n_bytes + n_bytes / 2 + 64;
        bpe_symbol *symbols = realloc(w->symbols, capacity * sizeof *symbols);
        if (!symbols)
            return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a word of %zu bytes", n_bytes);
        w->symbols = symbols;
        w->capacity = capacity;
    }
    uint32_t n = 0;
    for (size_t i = 0; i < n_bytes; n++) {
        size_t k = 1;
        int32_t symbol;
        if (w->v->kind == LATHE_VOCAB_RAW_BPE) {
            uint32_t code;
            k = lathe_utf8_next(text + i, n_bytes - i, &code);
            k = k == 0 ? 1 : k;
            symbol = lathe_vocab_symbol(w->v, text + i, k);
        } else {
            symbol = w->v->byte_token[(unsigned char) text[i]];
        }
        w->symbols[n] = (bpe_symbol){.symbol = symbol,
                                     .start = (uint32_t) i,
                                     .n_bytes = (uint32_t) k,
                                     .previous = n == 0 ? UINT32_MAX : n - 1,
                                     .next = n + 1};
        i += k;
    }
    if (n > 0)
        w->symbols[n - 1].next = UINT32_MAX;
    *n_symbols = n;
    return LATHE_OK;
}

/* A final symbol: its id; where it is no token the tokens of its bytes, as far as there are such. */
static lathe_status emit(bpe_work *w, const bpe_symbol *s, const char *text, lathe_error *err) {
    if (s->symbol >= 0 && s->symbol < w->v->n)
        return lathe_ids_add(w->out, s->symbol, err);
    lathe_status st = LATHE_OK;
    for (uint32_t i = 0; i < s->n_bytes && !st; i++) {
        const int32_t id = w->v->byte_token[(unsigned char) text[s->start + i]];
        if (id >= 0 && id < w->v->n)
            st = lathe_ids_add(w->out, id, err);
    }
    return st;
}

/* The token that the whole word is, in the vocabulary's own spelling, or -1. */
static lathe_status whole_word(bpe_work *w, const char *text, size_t n_bytes, int32_t *id, lathe_error *err) {
    lathe_buf_clear(&w->mapped);
    lathe_status st = LATHE_OK;
    for (size_t i = 0; i < n_bytes && !st; i++) {
        char character[4];
        const size_t k = lathe_utf8_put(lathe_byte_to_char((uint8_t) text[i]), character);
        st = lathe_buf_add(&w->mapped, character, k, err);
    }
    if (!st)
        *id = lathe_vocab_symbol(w->v, w->mapped.data, w->mapped.n_bytes);
    return st;
}

static lathe_status word(void *user, const char *text, size_t n_bytes, lathe_error *err) {
    bpe_work *w = user;
    uint32_t n = 0;
    lathe_status st = LATHE_OK;
    if (w->v->ignore_merges && n_bytes <= 4096) {
        int32_t id = -1;
        st = whole_word(w, text, n_bytes, &id, err);
        if (!st && id >= 0 && id < w->v->n)
            return lathe_ids_add(w->out, id, err);
    }
    if (!st)
        st = first_symbols(w, text, n_bytes, &n, err);
    w->heap.n = 0;
    for (uint32_t i = 0; i + 1 < n && !st; i++)
        st = push_pair(w, i, i + 1, err);
    lathe_candidate c;
    while (!st && lathe_heap_pop(&w->heap, &c)) {
        bpe_symbol *left = &w->symbols[c.left], *right = &w->symbols[c.right];
        if (left->symbol != c.left_symbol || right->symbol != c.right_symbol || left->next != c.right)
            continue;
        left->symbol = lathe_vocab_merge(w->v, c.left_symbol, c.right_symbol)->merged;
        left->n_bytes += right->n_bytes;
        right->symbol = -2;
        left->next = right->next;
        if (left->next != UINT32_MAX)
            w->symbols[left->next].previous = c.left;
        st = push_pair(w, left->previous, c.left, err);
        if (!st)
            st = push_pair(w, c.left, left->next, err);
    }
    for (uint32_t i = 0; n > 0 && i != UINT32_MAX && !st; i = w->symbols[i].next)
        st = emit(w, &w->symbols[i], text, err);
    return st;
}

lathe_status lathe_bpe_tokenize(const lathe_vocab *v, const char *text, size_t n_bytes, lathe_ids *out,
                                lathe_error *err) {
    bpe_work w = {.v = v, .out = out};
    lathe_buf_init(&w.mapped, 1 << 20);
    const lathe_status st = lathe_pretok_split(v->pretok, text, n_bytes, word, &w, err);
    lathe_buf_free(&w.mapped);
    free(w.symbols);
    free(w.heap.items);
    return st;
}
