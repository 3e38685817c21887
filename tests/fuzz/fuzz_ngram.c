/* fuzz_ngram.c - any bytes as an n-gram cache: what is accepted has every token inside the vocabulary, drafts
 * such tokens only, and adds up when it is merged with itself. */
#include <stdlib.h>
#include <string.h>

#include "decode/ngram_table.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

enum { N_VOCAB = 300, DRAFT = 8 };

static void check_entries(const lathe_ngram *g) {
    for (int32_t i = 0; i < g->n; i++) {
        const lathe_ngram_entry *e = &g->entries[i];
        const int32_t size = lathe_ngram_size(e);
        if (size < 1 || size > 4 || e->n < 1 || lathe_ngram_find(g, e->gram, size) != e)
            abort();
        for (int32_t k = 0; k < e->n; k++) {
            const lathe_follower *f = &e->followers[k];
            if (f->token < 0 || f->token >= N_VOCAB || f->count < 1 || (k > 0 && f->token <= f[-1].token))
                abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes) {
    lathe_error err = {0};
    lathe_ngram *g = NULL, *sum = NULL;
    if (lathe_ngram_parse(bytes, n_bytes, N_VOCAB, NULL, &g, &err) != LATHE_OK) {
        if (!err.text[0] || strchr(err.text, '\n'))
            abort();
        return 0;
    }
    check_entries(g);
    int64_t by_size[4], n_followers = 0;
    const int64_t n = lathe_ngram_count(g, by_size, &n_followers);
    if (n != g->n || by_size[0] + by_size[1] + by_size[2] + by_size[3] != n || n_followers < n)
        abort();
    int32_t history[6] = {1, 2, 3, 4, 5, 6}, out[DRAFT];
    for (int32_t i = 0; i < g->n && i < 16; i++) {
        const int32_t size = lathe_ngram_size(&g->entries[i]);
        memcpy(history + 6 - size, g->entries[i].gram, (size_t) size * sizeof *history);
        const int32_t drafted = lathe_ngram_draft(NULL, g, g, history, 6, out, DRAFT);
        for (int32_t k = 0; k < drafted; k++)
            if (out[k] < 0 || out[k] >= N_VOCAB)
                abort();
    }
    if (lathe_ngram_new(&sum, NULL) != LATHE_OK || lathe_ngram_merge(sum, g, NULL) != LATHE_OK ||
        lathe_ngram_merge(sum, g, NULL) != LATHE_OK || sum->n != g->n)
        abort();
    check_entries(sum);
    lathe_ngram_free(sum);
    lathe_ngram_free(g);
    return 0;
}
