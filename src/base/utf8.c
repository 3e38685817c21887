/* utf8.c - see utf8.h. The ranges are those of Unicode's table of well-formed byte sequences (3-7). */
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

/* Length that a first byte announces (0: none can begin so) and the range of the second byte. */
static size_t announced(unsigned char first, unsigned char *low, unsigned char *high) {
    *low = 0x80;
    *high = 0xBF;
    if (first < 0x80)
        return 1;
    if (first < 0xC2)
        return 0;
    if (first < 0xE0)
        return 2;
    if (first < 0xF0) {
        if (first == 0xE0)
            *low = 0xA0;
        if (first == 0xED)
            *high = 0x9F;
        return 3;
    }
    if (first > 0xF4)
        return 0;
    if (first == 0xF0)
        *low = 0x90;
    if (first == 0xF4)
        *high = 0x8F;
    return 4;
}

/* How many bytes at text fit a character that has n bytes in all, and n itself (0: no beginning). */
static size_t fitting(const unsigned char *text, size_t n_bytes, size_t *n) {
    unsigned char low, high;
    *n = announced(text[0], &low, &high);
    if (*n < 2)
        return *n;
    size_t k = 1;
    for (; k < *n && k < n_bytes; k++) {
        if (text[k] < low || text[k] > high)
            break;
        low = 0x80;
        high = 0xBF;
    }
    return k;
}

size_t lathe_utf8_next(const char *text, size_t n_bytes, uint32_t *code) {
    if (n_bytes == 0)
        return 0;
    const unsigned char *p = (const unsigned char *) text;
    size_t n;
    if (fitting(p, n_bytes, &n) != n || n == 0)
        return 0;
    uint32_t c = n == 1 ? p[0] : p[0] & (0xFFu >> (n + 1));
    for (size_t i = 1; i < n; i++)
        c = c << 6 | (p[i] & 0x3Fu);
    *code = c;
    return n;
}

size_t lathe_utf8_put(uint32_t code, char out[4]) {
    if (code < 0x80) {
        out[0] = (char) code;
        return 1;
    }
    const size_t n = code < 0x800 ? 2 : (code < 0x10000 ? 3 : 4);
    for (size_t i = n - 1; i > 0; i--) {
        out[i] = (char) (0x80 | (code & 0x3F));
        code >>= 6;
    }
    out[0] = (char) ((0xF00u >> n & 0xFF) | code);
    return n;
}

bool lathe_utf8_is_prefix(const char *text, size_t n_bytes) {
    size_t n;
    return n_bytes > 0 && fitting((const unsigned char *) text, n_bytes, &n) == n_bytes && n > n_bytes;
}

bool lathe_utf8_is_valid(const char *text, size_t n_bytes) {
    uint32_t code;
    for (size_t i = 0; i < n_bytes;) {
        const size_t n = lathe_utf8_next(text + i, n_bytes - i, &code);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

char *lathe_utf8_repair(const char *text, size_t n_bytes, size_t *n_out) {
    size_t room;
    if (!lathe_size_mul(n_bytes, 3, &room) || !lathe_size_add(room, 1, &room))
        return NULL;
    char *out = malloc(room);
    if (!out)
        return NULL;
    size_t k = 0;
    for (size_t i = 0; i < n_bytes;) {
        uint32_t code;
        size_t n = lathe_utf8_next(text + i, n_bytes - i, &code);
        if (n > 0) {
            memcpy(out + k, text + i, n);
            k += n;
        } else {
            size_t whole;
            n = fitting((const unsigned char *) text + i, n_bytes - i, &whole);
            n = n == 0 ? 1 : n;
            memcpy(out + k, "\xEF\xBF\xBD", 3);
            k += 3;
        }
        i += n;
    }
    out[k] = '\0';
    if (n_out)
        *n_out = k;
    return out;
}
