/* suffix_log.h - the log of past answers: a header, then a record an answer. Little endian.
 *
 * Header, 64 bytes: char[8] "LATHESFX", u32 version 1, u32 n_vocab, u64 key, u64 generation, zeros, u32
 * CRC-32 of the 60 bytes before. Record: u32 magic, u32 n, u64 unix seconds, u32 CRC-32 of n, time and
 * tokens, u32 0, n x int32. A generation is a log that was only appended to. */
#ifndef LATHE_DECODE_SUFFIX_LOG_H
#define LATHE_DECODE_SUFFIX_LOG_H

#include "base/buf.h"
#include "lathe/base.h"

enum { LATHE_LOG_HEADER = 64, LATHE_LOG_RECORD = 24, LATHE_LOG_ANSWER_MAX = 1 << 20 };

/* Which log: of a tokenizer's hash, with so many tokens. */
typedef struct lathe_log_key {
    uint64_t key;
    int32_t n_vocab;
} lathe_log_key;

uint32_t lathe_get32(const uint8_t *p);
uint64_t lathe_get64(const uint8_t *p);
void lathe_put32(uint8_t *p, uint32_t x);
void lathe_put64(uint8_t *p, uint64_t x);

/* A header with this magic (8 characters); the bytes from 32 on are `rest` [28], or zeros for NULL. */
void lathe_log_header(const char *magic, const lathe_log_key *key, uint64_t generation, const uint8_t *rest,
                      uint8_t header[LATHE_LOG_HEADER]);
/* Whether the bytes are such a header of this key; *generation out. */
bool lathe_log_header_fits(const char *magic, const lathe_log_key *key, const uint8_t *bytes, size_t n_bytes,
                           uint64_t *generation);
/* Length in bytes of the sound record at p [n_left], or 0. */
size_t lathe_log_record_at(const lathe_log_key *key, const uint8_t *p, size_t n_left);
/* The record of an answer; free() it. NULL: no memory. */
uint8_t *lathe_log_record_new(const int32_t *ids, int32_t n, uint64_t seconds, size_t *n_bytes);
/* The next sound record at or behind *at; false: none. *at is where it begins, *skipped grows by the damaged
 * bytes before it. */
bool lathe_log_next(const lathe_log_key *key, const uint8_t *bytes, size_t n_bytes, size_t *at,
                    size_t *length, int64_t *skipped);

#endif
