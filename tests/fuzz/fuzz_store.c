/* fuzz_store.c - any bytes as the index and as the log of past answers: what is accepted can be searched.
 *
 * A fuzzer finds no checksums: sizes and checksums are put where they belong, so that what is between them is
 * tested; a file that begins with 'x' keeps its own. */
#include <stdlib.h>
#include <string.h>

#include "base/crc32.h"
#include "decode/suffix_index.h"
#include "fuzz/input_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

static const lathe_log_key key = {.key = 7, .n_vocab = 50};

static void read_log(const uint8_t *bytes, size_t n_bytes) {
    size_t at = 0, length, sum = 0;
    int64_t skipped = 0;
    for (; lathe_log_next(&key, bytes, n_bytes, &at, &length, &skipped); at += length) {
        if (length < LATHE_LOG_RECORD + 4 || at + length > n_bytes)
            abort();
        sum += length;
    }
    if (at > n_bytes || sum + (size_t) skipped != n_bytes)
        abort();
}

static void search(const lathe_suffix_index *index) {
    int32_t low, high, w[LATHE_INDEX_COMPARE];
    for (int32_t i = 0; i < LATHE_INDEX_COMPARE; i++)
        w[i] = i < index->n && index->text[i] >= 0 ? index->text[i] : i % 3;
    for (int32_t p = 1; p <= LATHE_INDEX_COMPARE; p += p < 4 ? 1 : 31) {
        lathe_suffix_index_find(index, w, p, &low, &high);
        if (low < 0 || high > index->n)
            abort();
        while (low < high) {
            const int32_t next = lathe_suffix_index_run(index, low, high, p);
            if (next <= low || next > high || lathe_suffix_index_token(index, low, p) >= key.n_vocab)
                abort();
            low = next;
        }
    }
}

static void read_index(const uint8_t *bytes, size_t n_bytes) {
    lathe_suffix_index index, both;
    const char *why = NULL;
    if (!lathe_suffix_index_open(input_file(bytes, n_bytes), &key, 3, &index, &why)) {
        if (!why || !*why)
            abort();
        return;
    }
    search(&index);
    if (lathe_suffix_index_join(&index, NULL, &index, &both, NULL) == LATHE_OK) {
        if (both.n != 2 * index.n || both.n_answers != 2 * index.n_answers)
            abort();
        search(&both);
        lathe_suffix_index_close(&both);
    }
    lathe_suffix_index_close(&index);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes) {
    read_log(bytes, n_bytes);
    if (n_bytes > 0 && bytes[0] == 'x') {
        read_index(bytes + 1, n_bytes - 1);
        return 0;
    }
    /* text and sa of n values: bytes mod 64 less one each, so that most are tokens and places. */
    const size_t n = n_bytes / 2, size = LATHE_LOG_HEADER + 8 * n + 4;
    uint8_t *file = malloc(size), rest[28] = {0};
    if (!file)
        abort();
    lathe_put64(rest, LATHE_LOG_HEADER);
    lathe_put64(rest + 8, n);
    lathe_log_header("LATHESAI", &key, 3, rest, file);
    for (size_t i = 0; i < 2 * n; i++)
        lathe_put32(file + LATHE_LOG_HEADER + 4 * i,
                    i < n ? (i + 1 == n ? UINT32_MAX : (uint32_t) (bytes[i] % 52) - 1u) : bytes[i]);
    lathe_put32(file + size - 4, lathe_crc32(0, file, size - 4));
    read_index(file, size);
    free(file);
    return 0;
}
