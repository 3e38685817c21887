/* token_file.c - tokens for training as a file that is mapped later, and the hash of a tokenizer. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/sha256.h"
#include "model/vocab.h"

enum { HEADER_BYTES = 256, BLOCK_TOKENS = 4096 };

struct lathe_token_file {
    lathe_writer *writer;
    uint64_t n;
    int32_t n_vocab, width;
    uint8_t hash[32];
};

static void put_le(uint8_t *out, int n_bytes, uint64_t value) {
    for (int i = 0; i < n_bytes; i++, value >>= 8)
        out[i] = (uint8_t) value;
}

static void hash_int(lathe_sha256 *h, uint64_t value) {
    uint8_t bytes[8];
    put_le(bytes, 8, value);
    lathe_sha256_add(h, bytes, sizeof bytes);
}

static void hash_text(lathe_sha256 *h, const lathe_vocab *v, int32_t symbol) {
    const size_t n = v->offset[symbol + 1] - v->offset[symbol];
    hash_int(h, n);
    lathe_sha256_add(h, v->text + v->offset[symbol], n);
}

static int by_rank(const void *a_, const void *b_) {
    const lathe_merge *a = *(const lathe_merge *const *) a_, *b = *(const lathe_merge *const *) b_;
    return a->rank < b->rank ? -1 : a->rank > b->rank;
}

lathe_status lathe_vocab_hash(const lathe_vocab *v, uint8_t hash[32], lathe_error *err) {
    size_t n_merges = 0;
    const size_t n_slots = v->merges ? (size_t) v->merge_mask + 1 : 0;
    const lathe_merge **merges = malloc((n_slots + 1) * sizeof *merges);
    if (!merges)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the hash of a tokenizer");
    for (size_t i = 0; i < n_slots; i++)
        if (v->merges[i].left >= 0)
            merges[n_merges++] = &v->merges[i];
    qsort(merges, n_merges, sizeof(lathe_merge *), by_rank);
    lathe_sha256 h;
    lathe_sha256_begin(&h);
    hash_int(&h, (uint64_t) v->kind);
    hash_int(&h, (uint64_t) v->n);
    for (int32_t i = 0; i < v->n; i++) {
        uint32_t score;
        memcpy(&score, &v->score[i], sizeof score);
        hash_text(&h, v, i);
        hash_int(&h, v->type[i]);
        hash_int(&h, score);
    }
    hash_int(&h, n_merges);
    for (size_t i = 0; i < n_merges; i++) {
        hash_text(&h, v, merges[i]->left);
        hash_text(&h, v, merges[i]->right);
    }
    lathe_sha256_end(&h, hash);
    free(merges);
    return LATHE_OK;
}

lathe_status lathe_token_file_begin(const char *path, int32_t n_vocab, const uint8_t *hash,
                                    lathe_token_file **file, lathe_error *err) {
    static const uint8_t zeros[HEADER_BYTES];
    if (n_vocab < 1)
        return lathe_fail(err, LATHE_ERR_ARG, "%s: a vocabulary of %d; at least 1 is right", path, n_vocab);
    lathe_token_file *f = calloc(1, sizeof *f);
    if (!f)
        return lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory", path);
    f->n_vocab = n_vocab;
    f->width = n_vocab <= 65536 ? 2 : 4;
    if (hash)
        memcpy(f->hash, hash, sizeof f->hash);
    lathe_status st = lathe_writer_open(path, &f->writer, err);
    if (!st)
        st = lathe_writer_add(f->writer, zeros, sizeof zeros, err);
    if (st) {
        lathe_token_file_free(f);
        return st;
    }
    *file = f;
    return LATHE_OK;
}

lathe_status lathe_token_file_new(const char *path, const lathe_vocab *vocab, lathe_token_file **file,
                                  lathe_error *err) {
    uint8_t hash[32];
    const lathe_status st = lathe_vocab_hash(vocab, hash, err);
    return st ? st : lathe_token_file_begin(path, vocab->n, hash, file, err);
}

lathe_status lathe_token_file_add(lathe_token_file *f, const int32_t *ids, size_t n, lathe_error *err) {
    uint8_t block[4 * BLOCK_TOKENS];
    lathe_status st = LATHE_OK;
    for (size_t i = 0; i < n && !st;) {
        size_t used = 0;
        for (; i < n && used + 4 <= sizeof block; i++, used += (size_t) f->width) {
            if (ids[i] < 0 || ids[i] >= f->n_vocab)
                return lathe_fail(err, LATHE_ERR_ARG, "token %d; the vocabulary has ids 0 to %d", ids[i],
                                  f->n_vocab - 1);
            put_le(block + used, f->width, (uint64_t) ids[i]);
        }
        st = lathe_writer_add(f->writer, block, used, err);
    }
    f->n += st ? 0 : n;
    return st;
}

lathe_status lathe_token_file_finish(lathe_token_file *f, lathe_error *err) {
    uint8_t header[HEADER_BYTES] = "LTOK";
    put_le(header + 4, 4, 1);
    put_le(header + 8, 4, (uint64_t) f->width);
    put_le(header + 12, 4, (uint64_t) f->n_vocab);
    put_le(header + 16, 8, f->n);
    memcpy(header + 24, f->hash, sizeof f->hash);
    lathe_status st = lathe_writer_patch(f->writer, 0, header, sizeof header, err);
    if (st) {
        lathe_token_file_free(f);
        return st;
    }
    st = lathe_writer_commit(f->writer, err);
    free(f);
    return st;
}

void lathe_token_file_free(lathe_token_file *f) {
    if (!f)
        return;
    lathe_writer_abandon(f->writer);
    free(f);
}
