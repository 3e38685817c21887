/* ngram_file.c - n-gram caches as llama.cpp stores them: no header; records of int32 gram[4] (unused: -1),
 * int32 m, m times (int32 token, int32 count), little endian. */
#include "base/buf.h"
#include "base/file.h"
#include "decode/ngram_table.h"

#include <stdlib.h>
#include <string.h>

enum { FOLLOWERS_MAX = 1 << 24 };

static int32_t word_at(const uint8_t *p) {
    const uint32_t x = (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 | (uint32_t) p[3] << 24;
    int32_t y;
    memcpy(&y, &x, sizeof y);
    return y;
}

static lathe_status check_gram(const int32_t gram[4], int32_t n_vocab, size_t at, lathe_error *err) {
    bool ended = false;
    for (int i = 0; i < 4; i++) {
        if (gram[i] == -1) {
            ended = true;
            if (i == 0)
                return lathe_fail(err, LATHE_ERR_INPUT, "an n-gram without tokens at byte %zu", at);
            continue;
        }
        if (ended)
            return lathe_fail(err, LATHE_ERR_INPUT, "a token behind the end of an n-gram at byte %zu",
                              at + 4 * (size_t) i);
        if (gram[i] < 0 || (n_vocab > 0 && gram[i] >= n_vocab))
            return lathe_fail(err, LATHE_ERR_INPUT, "token %d at byte %zu is no id of the vocabulary",
                              (int) gram[i], at + 4 * (size_t) i);
    }
    return LATHE_OK;
}

static lathe_status read_record(const uint8_t *bytes, size_t n_bytes, size_t *at, int32_t n_vocab,
                                lathe_ngram *g, int64_t *n_repeated, lathe_error *err) {
    const size_t start = *at;
    int32_t gram[4];
    if (n_bytes - start < 20)
        return lathe_fail(err, LATHE_ERR_INPUT, "the file ends inside the record at byte %zu", start);
    for (int i = 0; i < 4; i++)
        gram[i] = word_at(bytes + start + 4 * (size_t) i);
    lathe_status status = check_gram(gram, n_vocab, start, err);
    if (status)
        return status;
    const int32_t m = word_at(bytes + start + 16);
    if (m < 1 || m > FOLLOWERS_MAX || (size_t) m > (n_bytes - start - 20) / 8)
        return lathe_fail(err, LATHE_ERR_INPUT,
                          "%d followers at byte %zu; at least 1, and the file must hold them", (int) m,
                          start + 16);
    lathe_ngram_entry *e;
    bool is_new;
    if ((status = lathe_ngram_entry_of(g, gram, &e, &is_new, err)))
        return status;
    *n_repeated += !is_new;
    for (int32_t k = 0; k < m; k++) {
        const size_t here = start + 20 + 8 * (size_t) k;
        const int32_t token = word_at(bytes + here), count = word_at(bytes + here + 4);
        if (token < 0 || (n_vocab > 0 && token >= n_vocab))
            return lathe_fail(err, LATHE_ERR_INPUT, "follower %d at byte %zu is no id of the vocabulary",
                              (int) token, here);
        if (count < 1)
            return lathe_fail(err, LATHE_ERR_INPUT, "a count of %d at byte %zu; at least 1", (int) count,
                              here + 4);
        bool twice = false;
        if (is_new && (status = lathe_ngram_add(e, token, count, &twice, err)))
            return status;
        if (twice)
            return lathe_fail(err, LATHE_ERR_INPUT, "follower %d stands twice in its record, at byte %zu",
                              (int) token, here);
    }
    *at = start + 20 + 8 * (size_t) m;
    return LATHE_OK;
}

lathe_status lathe_ngram_parse(const uint8_t *bytes, size_t n_bytes, int32_t n_vocab,
                               const lathe_logger *logger, lathe_ngram **ngram, lathe_error *err) {
    lathe_ngram *g;
    lathe_status status = lathe_ngram_new(&g, err);
    int64_t n_repeated = 0;
    for (size_t at = 0; at < n_bytes && !status;)
        status = read_record(bytes, n_bytes, &at, n_vocab, g, &n_repeated, err);
    if (status) {
        lathe_ngram_free(g);
        return status;
    }
    if (n_repeated > 0)
        lathe_log(logger, LATHE_LOG_WARN, "%lld repeated n-grams: the first record of each counts",
                  (long long) n_repeated);
    *ngram = g;
    return LATHE_OK;
}

lathe_status lathe_ngram_read(const char *path, int32_t n_vocab, const lathe_logger *logger,
                              lathe_ngram **ngram, lathe_error *err) {
    lathe_file file;
    lathe_status status = lathe_file_open(path, true, (size_t) 1 << 34, &file, err);
    if (status)
        return status;
    status = lathe_ngram_parse(file.bytes, file.n_bytes, n_vocab, logger, ngram, err);
    lathe_file_close(&file);
    return status ? lathe_fail_within(err, "%s", path) : LATHE_OK;
}

static int by_gram(const void *a, const void *b) {
    const lathe_ngram_entry *x = *(const lathe_ngram_entry *const *) a,
                            *y = *(const lathe_ngram_entry *const *) b;
    const int32_t nx = lathe_ngram_size(x), ny = lathe_ngram_size(y);
    if (nx != ny)
        return nx < ny ? -1 : 1;
    for (int i = 0; i < nx; i++)
        if (x->gram[i] != y->gram[i])
            return x->gram[i] < y->gram[i] ? -1 : 1;
    return 0;
}

static lathe_status put(lathe_writer *w, const int32_t *words, size_t n, lathe_error *err) {
    uint8_t bytes[64];
    for (size_t i = 0; i < n; i++)
        for (int k = 0; k < 4; k++)
            bytes[4 * i + (size_t) k] = (uint8_t) ((uint32_t) words[i] >> 8 * k);
    return lathe_writer_add(w, bytes, 4 * n, err);
}

lathe_status lathe_ngram_write(const lathe_ngram *ngram, const char *path, int64_t *n_bytes,
                               lathe_error *err) {
    const lathe_ngram_entry **sorted = malloc(((size_t) ngram->n + 1) * sizeof *sorted);
    if (!sorted)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory to sort %d n-grams", (int) ngram->n);
    for (int32_t i = 0; i < ngram->n; i++)
        sorted[i] = &ngram->entries[i];
    qsort(sorted, (size_t) ngram->n, sizeof *sorted, by_gram);
    lathe_writer *w;
    lathe_status status = lathe_writer_open(path, &w, err);
    if (status) {
        free(sorted);
        return status;
    }
    for (int32_t i = 0; i < ngram->n && !status; i++) {
        const lathe_ngram_entry *e = sorted[i];
        status = put(w, (const int32_t[]){e->gram[0], e->gram[1], e->gram[2], e->gram[3], e->n}, 5, err);
        for (int32_t k = 0; k < e->n && !status; k++)
            status = put(w, (const int32_t[]){e->followers[k].token, e->followers[k].count}, 2, err);
    }
    free(sorted);
    if (status) {
        lathe_writer_abandon(w);
        return status;
    }
    if (n_bytes)
        *n_bytes = (int64_t) lathe_writer_offset(w);
    return lathe_writer_commit(w, err);
}
