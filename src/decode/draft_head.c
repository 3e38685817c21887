/* draft_head.c - see draft_head.h. */
#include "decode/draft_head.h"

#include <stdlib.h>

#include "decode/ngram_table.h"

typedef struct ranked {
    int64_t count;
    int32_t id;
} ranked;

static int by_count(const void *a_, const void *b_) {
    const ranked *a = a_, *b = b_;
    if (a->count != b->count)
        return a->count < b->count ? 1 : -1;
    return (a->id > b->id) - (a->id < b->id);
}

static int by_id(const void *a, const void *b) {
    const int32_t x = *(const int32_t *) a, y = *(const int32_t *) b;
    return (x > y) - (x < y);
}

/* How often each token follows the shortest n-grams of a cache: every place of the text is one of those. */
static lathe_status count(const char *path, int32_t n_vocab, ranked *list, lathe_error *err) {
    lathe_ngram *g = NULL;
    lathe_status status = lathe_ngram_read(path, n_vocab, NULL, &g, err);
    if (status)
        return status;
    int32_t shortest = 4;
    for (int32_t i = 0; i < g->n; i++)
        if (lathe_ngram_size(&g->entries[i]) < shortest)
            shortest = lathe_ngram_size(&g->entries[i]);
    for (int32_t i = 0; i < g->n; i++)
        for (int32_t k = 0; k < g->entries[i].n && lathe_ngram_size(&g->entries[i]) == shortest; k++)
            list[g->entries[i].followers[k].token].count += g->entries[i].followers[k].count;
    if (g->n == 0)
        status = lathe_fail(err, LATHE_ERR_INPUT,
                            "%s: no n-grams; want a cache that `lathe ngram build` made of a text", path);
    lathe_ngram_free(g);
    return status;
}

lathe_status lathe_draft_head(const lathe_vocab *vocab, int32_t n_vocab, int32_t n, const char *counts,
                              int32_t **ids, int32_t *n_ids, lathe_error *err) {
    if (n < 1 || n_vocab < 1)
        return lathe_fail(err, LATHE_ERR_ARG, "a head of %d tokens; 1 to %d", (int) n, (int) n_vocab);
    ranked *list = calloc((size_t) n_vocab, sizeof *list);
    int32_t *out = malloc((size_t) n_vocab * sizeof *out), m = 0;
    lathe_status status =
        list && out ? LATHE_OK : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %d tokens", (int) n_vocab);
    for (int32_t i = 0; !status && i < n_vocab; i++)
        list[i].id = i;
    if (!status && counts)
        status = count(counts, n_vocab, list, err);
    if (!status) {
        qsort(list, (size_t) n_vocab, sizeof *list, by_count);
        for (int32_t i = 0; i < n_vocab; i++)
            if (i < n || (vocab && lathe_vocab_is_end(vocab, list[i].id)))
                out[m++] = list[i].id;
        qsort(out, (size_t) m, sizeof *out, by_id);
    }
    free(list);
    if (status) {
        free(out);
        return status;
    }
    *ids = out;
    *n_ids = m;
    return LATHE_OK;
}
