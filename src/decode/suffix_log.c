/* suffix_log.c - see suffix_log.h. */
#include "decode/suffix_log.h"

#include <stdlib.h>
#include <string.h>

#include "base/crc32.h"

#define RECORD_MAGIC 0x52585346u

enum { VERSION = 1, CRC_AT = 60, REST_AT = 32 };

/* --- Bytes --------------------------------------------------------------------------------------- */

uint32_t lathe_get32(const uint8_t *p) {
    return (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 | (uint32_t) p[3] << 24;
}

uint64_t lathe_get64(const uint8_t *p) {
    return lathe_get32(p) | (uint64_t) lathe_get32(p + 4) << 32;
}

void lathe_put32(uint8_t *p, uint32_t x) {
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t) (x >> 8 * i);
}

void lathe_put64(uint8_t *p, uint64_t x) {
    lathe_put32(p, (uint32_t) x);
    lathe_put32(p + 4, (uint32_t) (x >> 32));
}

/* --- The header ---------------------------------------------------------------------------------- */

void lathe_log_header(const char *magic, const lathe_log_key *key, uint64_t generation, const uint8_t *rest,
                      uint8_t header[LATHE_LOG_HEADER]) {
    memset(header, 0, LATHE_LOG_HEADER);
    memcpy(header, magic, 8);
    lathe_put32(header + 8, VERSION);
    lathe_put32(header + 12, (uint32_t) key->n_vocab);
    lathe_put64(header + 16, key->key);
    lathe_put64(header + 24, generation);
    if (rest != NULL)
        memcpy(header + REST_AT, rest, CRC_AT - REST_AT);
    lathe_put32(header + CRC_AT, lathe_crc32(0, header, CRC_AT));
}

bool lathe_log_header_fits(const char *magic, const lathe_log_key *key, const uint8_t *bytes, size_t n_bytes,
                           uint64_t *generation) {
    uint8_t want[LATHE_LOG_HEADER];
    if (n_bytes < LATHE_LOG_HEADER)
        return false;
    *generation = lathe_get64(bytes + 24);
    lathe_log_header(magic, key, *generation, bytes + REST_AT, want);
    return memcmp(bytes, want, LATHE_LOG_HEADER) == 0;
}

/* --- Records ------------------------------------------------------------------------------------- */

/* Over n, time and tokens. */
static uint32_t record_crc(const uint8_t *record, uint32_t n) {
    return lathe_crc32(lathe_crc32(0, record + 4, 12), record + LATHE_LOG_RECORD, (size_t) n * 4);
}

size_t lathe_log_record_at(const lathe_log_key *key, const uint8_t *p, size_t n_left) {
    if (n_left < LATHE_LOG_RECORD || lathe_get32(p) != RECORD_MAGIC)
        return 0;
    const uint32_t n = lathe_get32(p + 4);
    if (n < 1 || n > LATHE_LOG_ANSWER_MAX || n_left < LATHE_LOG_RECORD + (size_t) n * 4 ||
        lathe_get32(p + 16) != record_crc(p, n))
        return 0;
    for (uint32_t i = 0; i < n; i++)
        if (lathe_get32(p + LATHE_LOG_RECORD + 4 * (size_t) i) >= (uint32_t) key->n_vocab)
            return 0;
    return LATHE_LOG_RECORD + (size_t) n * 4;
}

uint8_t *lathe_log_record_new(const int32_t *ids, int32_t n, uint64_t seconds, size_t *n_bytes) {
    *n_bytes = LATHE_LOG_RECORD + (size_t) n * 4;
    uint8_t *record = calloc(1, *n_bytes);
    if (record == NULL)
        return NULL;
    lathe_put32(record, RECORD_MAGIC);
    lathe_put32(record + 4, (uint32_t) n);
    lathe_put64(record + 8, seconds);
    for (int32_t i = 0; i < n; i++)
        lathe_put32(record + LATHE_LOG_RECORD + 4 * (size_t) i, (uint32_t) ids[i]);
    lathe_put32(record + 16, record_crc(record, (uint32_t) n));
    return record;
}

bool lathe_log_next(const lathe_log_key *key, const uint8_t *bytes, size_t n_bytes, size_t *at,
                    size_t *length, int64_t *skipped) {
    const size_t begin = *at;
    *length = 0;
    while (*at < n_bytes && (*length = lathe_log_record_at(key, bytes + *at, n_bytes - *at)) == 0)
        *at += 4;
    if (*at > n_bytes)
        *at = n_bytes;
    *skipped += (int64_t) (*at - begin);
    return *length > 0;
}
