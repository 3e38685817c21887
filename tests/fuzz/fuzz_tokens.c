/* fuzz_tokens.c - any bytes as a token file: what is accepted has every token inside the vocabulary, and is
 * the same when it was written and read again. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuzz/input_file.h"
#include "lathe/train.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

static void write_and_read(const int32_t *ids, uint64_t n, int32_t n_vocab) {
    static char path[64];
    lathe_error err = {0};
    lathe_tokens *again = NULL;
    snprintf(path, sizeof path, "/tmp/lathe-fuzz-%ld.ltok", (long) getpid());
    if (lathe_tokens_write(path, ids, n, n_vocab, NULL, &err) != LATHE_OK ||
        lathe_tokens_open(path, n_vocab, &again, &err) != LATHE_OK)
        abort();
    if (lathe_tokens_count(again) != n)
        abort();
    for (uint64_t i = 0; i < n; i++) {
        int32_t id;
        lathe_tokens_read(again, i, 1, &id);
        if (id != ids[i])
            abort();
    }
    lathe_tokens_close(again);
    remove(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes) {
    enum { KEPT = 1024 };
    lathe_error err = {0};
    lathe_tokens *tokens = NULL;
    const char *path = input_file(bytes, n_bytes);
    if (lathe_tokens_open(path, 0, &tokens, &err) != LATHE_OK) {
        if (!err.text[0] || strchr(err.text, '\n'))
            abort();
        return 0;
    }
    const int32_t n_vocab = lathe_tokens_n_vocab(tokens);
    const uint64_t n = lathe_tokens_count(tokens), kept = n < KEPT ? n : KEPT;
    static int32_t ids[KEPT];
    lathe_tokens_read(tokens, 0, (int32_t) kept, ids);
    for (uint64_t i = 0; i < kept; i++)
        if (ids[i] < 0 || ids[i] >= n_vocab)
            abort();
    lathe_tokens_close(tokens);
    if (kept % 8 == 1) /* writing takes a file of its own: not each time */
        write_and_read(ids, kept, n_vocab);
    return 0;
}
