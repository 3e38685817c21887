/* sha256.h - the hash that names a tokenizer or a file's contents. */
#ifndef LATHE_BASE_SHA256_H
#define LATHE_BASE_SHA256_H

#include "lathe/base.h"

typedef struct lathe_sha256 {
    uint32_t state[8];
    uint64_t n_bytes;
    uint8_t block[64];
} lathe_sha256;

void lathe_sha256_begin(lathe_sha256 *hash);
void lathe_sha256_add(lathe_sha256 *hash, const void *bytes, size_t n_bytes);
void lathe_sha256_end(lathe_sha256 *hash, uint8_t out[32]);

#endif
