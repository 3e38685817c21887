/* crc32.c - see crc32.h. Eight bytes at a time by tables (Kounavis and Berry 2005). */
#include "base/crc32.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1 << 18, TABLES_FROM = 512 };

typedef struct tables {
    uint32_t of[8][256];
} tables;

/* Made anew for each call: 2048 steps against the megabytes that follow, and nothing is shared by threads. */
static void fill(tables *t) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = (c & 1) != 0 ? 0xedb88320u ^ c >> 1 : c >> 1;
        t->of[0][i] = c;
    }
    for (int k = 1; k < 8; k++)
        for (int i = 0; i < 256; i++)
            t->of[k][i] = t->of[k - 1][i] >> 8 ^ t->of[0][t->of[k - 1][i] & 0xff];
}

static uint32_t add(const tables *t, uint32_t c, const uint8_t *p, size_t n) {
    for (; n >= 8; p += 8, n -= 8) {
        c ^= (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 | (uint32_t) p[3] << 24;
        c = t->of[7][c & 0xff] ^ t->of[6][c >> 8 & 0xff] ^ t->of[5][c >> 16 & 0xff] ^ t->of[4][c >> 24] ^
            t->of[3][p[4]] ^ t->of[2][p[5]] ^ t->of[1][p[6]] ^ t->of[0][p[7]];
    }
    for (size_t i = 0; i < n; i++)
        c = t->of[0][(c ^ p[i]) & 0xff] ^ c >> 8;
    return c;
}

uint32_t lathe_crc32(uint32_t before, const void *bytes, size_t n) {
    const uint8_t *p = bytes;
    uint32_t c = ~before;
    if (n < TABLES_FROM) { /* not worth the tables */
        for (size_t i = 0; i < n; i++) {
            c ^= p[i];
            for (int k = 0; k < 8; k++)
                c = (c & 1) != 0 ? 0xedb88320u ^ c >> 1 : c >> 1;
        }
        return ~c;
    }
    tables t;
    fill(&t);
    return ~add(&t, c, bytes, n);
}

lathe_status lathe_crc32_file(const char *path, uint32_t *crc, lathe_error *err) {
    FILE *f = fopen(path, "rb");
    uint8_t *chunk = malloc(CHUNK);
    if (f == NULL || chunk == NULL) {
        if (f != NULL)
            fclose(f);
        free(chunk);
        return lathe_fail(err, f == NULL ? LATHE_ERR_IO : LATHE_ERR_MEMORY, "%s: cannot be read", path);
    }
    tables t;
    fill(&t);
    uint32_t c = ~0u;
    for (size_t n; (n = fread(chunk, 1, CHUNK, f)) > 0;)
        c = add(&t, c, chunk, n);
    bool failed = ferror(f) != 0;
    fclose(f);
    free(chunk);
    if (failed)
        return lathe_fail(err, LATHE_ERR_IO, "%s: cannot be read", path);
    *crc = ~c;
    return LATHE_OK;
}
