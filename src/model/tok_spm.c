/* tok_spm.c - SentencePiece-like merging: of all neighbours whose union is a token, the one with the highest
 * score first, ties to the left. O(n log n) by a heap with stale entries. */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "model/vocab.h"

typedef struct spm_symbol {
    uint32_t start, n_bytes; /* in the text; n_bytes 0: merged into its left neighbour */
    uint32_t previous, next; /* UINT32_MAX: none */
} spm_symbol;

static lathe_status push_pair(const lathe_vocab *v, const char *text, const spm_symbol *s, uint32_t left,
                              uint32_t right, lathe_heap *heap, lathe_error *err) {
    if (left == UINT32_MAX || right == UINT32_MAX)
        return LATHE_OK;
    const uint32_t n = s[left].n_bytes + s[right].n_bytes;
    const int32_t id = lathe_vocab_symbol(v, text + s[left].start, n);
    if (id < 0)
        return LATHE_OK;
    return lathe_heap_push(
        heap,
        (lathe_candidate){
            .key = -(double) v->score[id], .left = left, .right = right, .left_symbol = (int32_t) n},
        err);
}

static lathe_status emit(const lathe_vocab *v, const char *text, size_t n_bytes, lathe_ids *out,
                         lathe_error *err) {
    const int32_t id = lathe_vocab_symbol(v, text, n_bytes);
    if (id >= 0)
        return lathe_ids_add(out, id, err);
    lathe_status st = LATHE_OK;
    bool unknown = false;
    for (size_t i = 0; i < n_bytes && !st; i++) {
        const int32_t byte = v->byte_token[(unsigned char) text[i]];
        if (byte >= 0)
            st = lathe_ids_add(out, byte, err);
        else if (!unknown && v->unk >= 0) {
            unknown = true; /* one unknown token a character */
            st = lathe_ids_add(out, v->unk, err);
        }
    }
    return st;
}

lathe_status lathe_spm_tokenize(const lathe_vocab *v, const char *text, size_t n_bytes, lathe_ids *out,
                                lathe_error *err) {
    if (n_bytes == 0)
        return LATHE_OK;
    if (n_bytes >= INT32_MAX)
        return lathe_fail(err, LATHE_ERR_ARG, "a text of %zu bytes; at most 2 GiB at a time", n_bytes);
    spm_symbol *s = malloc(n_bytes * sizeof *s);
    if (!s)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a text of %zu bytes", n_bytes);
    uint32_t n = 0;
    for (size_t i = 0; i < n_bytes; n++) {
        uint32_t code;
        size_t k = lathe_utf8_next(text + i, n_bytes - i, &code);
        k = k > 0 ? k : 1; /* a byte that is no UTF-8 stands alone: it must not swallow what follows */
        s[n] = (spm_symbol){.start = (uint32_t) i,
                            .n_bytes = (uint32_t) k,
                            .previous = n == 0 ? UINT32_MAX : n - 1,
                            .next = n + 1};
        i += k;
    }
    s[n - 1].next = UINT32_MAX;
    lathe_heap heap = {0};
    lathe_status st = LATHE_OK;
    for (uint32_t i = 0; i + 1 < n && !st; i++)
        st = push_pair(v, text, s, i, i + 1, &heap, err);
    lathe_candidate c;
    while (!st && lathe_heap_pop(&heap, &c)) {
        spm_symbol *left = &s[c.left], *right = &s[c.right];
        if (left->n_bytes == 0 || right->n_bytes == 0 ||
            (int32_t) (left->n_bytes + right->n_bytes) != c.left_symbol)
            continue;
        left->n_bytes += right->n_bytes;
        right->n_bytes = 0;
        left->next = right->next;
        if (left->next != UINT32_MAX)
            s[left->next].previous = c.left;
        st = push_pair(v, text, s, left->previous, c.left, &heap, err);
        if (!st)
            st = push_pair(v, text, s, c.left, left->next, &heap, err);
    }
    for (uint32_t i = 0; i != UINT32_MAX && !st; i = s[i].next)
        st = emit(v, text + s[i].start, s[i].n_bytes, out, err);
    free(heap.items);
    free(s);
    return st;
}
