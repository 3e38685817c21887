/* json.h - JSON over jansson: files with limits, numbers that round-trip, texts that are valid UTF-8. */
#ifndef LATHE_BASE_JSON_H
#define LATHE_BASE_JSON_H

#include <jansson.h>

#include "lathe/base.h"

/* Reads a file ("-": stdin) of at most limit bytes; duplicate keys are refused; messages have line and
 * column. */
LATHE_NODISCARD lathe_status lathe_json_read(const char *path, size_t limit, json_t **value,
                                             lathe_error *err);
/* As above from memory; name stands in messages. */
LATHE_NODISCARD lathe_status lathe_json_parse(const char *text, size_t n_bytes, const char *name,
                                              json_t **value, lathe_error *err);
/* One line of text without newline; free() it. NULL: no memory. */
char *lathe_json_text(const json_t *value);
/* A number, or null where x is NaN or infinite. Never NULL unless memory is out. */
json_t *lathe_json_real(double x);
/* A string of any bytes: what is no UTF-8 becomes U+FFFD, zero bytes are kept. */
json_t *lathe_json_bytes(const char *text, size_t n_bytes);
json_t *lathe_json_string(const char *text); /* NULL gives null */
json_t *lathe_json_ids(const int32_t *ids, size_t n_ids);

#endif
