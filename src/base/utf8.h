/* utf8.h - one character at a time, and texts made valid. */
#ifndef LATHE_BASE_UTF8_H
#define LATHE_BASE_UTF8_H

#include "lathe/base.h"

/* Length in bytes (1 to 4) of the valid character at text, *code its code point; 0 where the bytes are no
 * valid character (overlong, surrogate, over U+10FFFF, cut short). */
size_t lathe_utf8_next(const char *text, size_t n_bytes, uint32_t *code);
/* Writes a code point's 1 to 4 bytes; returns how many. */
size_t lathe_utf8_put(uint32_t code, char out[4]);
/* true if n_bytes > 0 bytes are the beginning of a character that more bytes could complete. */
bool lathe_utf8_is_prefix(const char *text, size_t n_bytes);
bool lathe_utf8_is_valid(const char *text, size_t n_bytes);
/* A copy with U+FFFD for each maximal invalid run part (as Unicode recommends); malloc'ed, NUL-terminated;
 * NULL: no memory. */
char *lathe_utf8_repair(const char *text, size_t n_bytes, size_t *n_out);

#endif
