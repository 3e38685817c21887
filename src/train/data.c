/* data.c - token files and the order in which their windows are read.
 * File: "LTOK", u32 version 1, u32 bytes a token (2 or 4), u32 vocabulary, u64 tokens, 32 bytes of hash,
 * zeros to 256 bytes, tokens; little endian. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/rng_purpose.h"
#include "lathe/model.h"
#include "lathe/train.h"

enum { HEADER = 256, VERSION = 1 };

struct lathe_tokens {
    lathe_file file;
    const uint8_t *data;
    uint64_t n;
    uint32_t width;
    int32_t n_vocab;
    const uint8_t *hash;
};

static uint64_t read_le(const uint8_t *p, int n) {
    uint64_t x = 0;
    for (int i = n; i-- > 0;)
        x = x << 8 | p[i];
    return x;
}

static int32_t token_at(const lathe_tokens *t, uint64_t i) {
    return (int32_t) read_le(t->data + i * t->width, (int) t->width);
}

lathe_status lathe_tokens_open(const char *path, int32_t n_vocab, lathe_tokens **tokens, lathe_error *err) {
    lathe_tokens *t = calloc(1, sizeof *t);
    if (t == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory", path);
    lathe_status status = lathe_file_open(path, true, 0, &t->file, err);
    if (status != LATHE_OK) {
        free(t);
        return status;
    }
    const uint8_t *h = t->file.bytes;
    if (t->file.n_bytes < HEADER || memcmp(h, "LTOK", 4) != 0 || read_le(h + 4, 4) != VERSION)
        status = lathe_fail(err, LATHE_ERR_INPUT, "%s: no token file (made by 'lathe tokenize --train-data')",
                            path);
    if (status == LATHE_OK) {
        t->width = (uint32_t) read_le(h + 8, 4);
        uint64_t vocab = read_le(h + 12, 4);
        t->n_vocab = (int32_t) vocab;
        t->n = read_le(h + 16, 8);
        t->data = h + HEADER;
        t->hash = h + 24;
        if ((t->width != 2 && t->width != 4) || vocab < 1 || vocab > INT32_MAX ||
            t->n != (t->file.n_bytes - HEADER) / t->width)
            status = lathe_fail(err, LATHE_ERR_INPUT,
                                "%s: the header names %llu tokens of %u bytes, the file has %zu bytes", path,
                                (unsigned long long) t->n, t->width, t->file.n_bytes);
        else if (n_vocab > 0 && t->n_vocab != n_vocab)
            status = lathe_fail(err, LATHE_ERR_INPUT, "%s: made for a vocabulary of %d, the model has %d",
                                path, t->n_vocab, n_vocab);
    }
    for (uint64_t i = 0; status == LATHE_OK && i < t->n; i++)
        if (token_at(t, i) < 0 || token_at(t, i) >= t->n_vocab)
            status = lathe_fail(err, LATHE_ERR_INPUT,
                                "%s: token %d at offset %llu is outside the vocabulary of %d", path,
                                token_at(t, i), (unsigned long long) (HEADER + i * t->width), t->n_vocab);
    if (status != LATHE_OK) {
        lathe_tokens_close(t);
        return status;
    }
    *tokens = t;
    return LATHE_OK;
}

void lathe_tokens_close(lathe_tokens *tokens) {
    if (tokens == NULL)
        return;
    lathe_file_close(&tokens->file);
    free(tokens);
}

uint64_t lathe_tokens_count(const lathe_tokens *tokens) {
    return tokens->n;
}
int32_t lathe_tokens_n_vocab(const lathe_tokens *tokens) {
    return tokens->n_vocab;
}
const uint8_t *lathe_tokens_hash(const lathe_tokens *tokens) {
    for (int i = 0; i < 32; i++)
        if (tokens->hash[i] != 0)
            return tokens->hash;
    return NULL;
}
void lathe_tokens_read(const lathe_tokens *tokens, uint64_t at, int32_t n, int32_t *out) {
    for (int32_t i = 0; i < n; i++)
        out[i] = token_at(tokens, at + (uint64_t) i);
}

lathe_status lathe_tokens_write(const char *path, const int32_t *ids, uint64_t n, int32_t n_vocab,
                                const uint8_t *tokenizer_hash, lathe_error *err) {
    lathe_token_file *file = NULL;
    lathe_status status = lathe_token_file_begin(path, n_vocab, tokenizer_hash, &file, err);
    if (status != LATHE_OK)
        return status;
    status = lathe_token_file_add(file, ids, (size_t) n, err);
    if (status == LATHE_OK)
        return lathe_token_file_finish(file, err);
    lathe_token_file_free(file);
    return status;
}

/* --- Order ------------------------------------------------------------------------------------------ */

uint64_t lathe_permuted(uint64_t seed, uint32_t epoch, uint64_t n, uint64_t i) {
    int bits = 2;
    while (bits < 62 && (n - 1) >> bits != 0)
        bits += 2;
    int half = bits / 2;
    uint64_t mask = ((uint64_t) 1 << half) - 1;
    do { /* an 8-round Feistel network on `bits` bits, walked until it lands below n */
        uint64_t left = i >> half, right = i & mask;
        for (uint32_t r = 0; r < 8; r++) {
            uint32_t word[4];
            lathe_philox(seed, LATHE_RNG_EXAMPLE_ORDER, (uint32_t) right, r, epoch, word);
            uint64_t next = left ^ (word[0] & mask);
            left = right;
            right = next;
        }
        i = left << half | right;
    } while (i >= n);
    return i;
}

uint64_t lathe_window_at(uint64_t seed, uint64_t n_tokens, int32_t ctx, uint64_t index) {
    uint64_t width = (uint64_t) ctx;
    for (uint32_t epoch = 0;; epoch++) {
        uint64_t offset = 0;
        if (epoch > 0) {
            uint32_t word[4];
            lathe_philox(seed, LATHE_RNG_WINDOW_OFFSET, epoch, 0, 0, word);
            offset = word[0] % width;
        }
        if (n_tokens - 1 < offset + width)
            offset = 0;
        uint64_t n = (n_tokens - 1 - offset) / width;
        if (index < n)
            return lathe_permuted(seed, epoch, n, index) * width + offset;
        index -= n;
    }
}
