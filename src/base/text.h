/* text.h - numbers as people write them, independent of the locale; names that are near. */
#ifndef LATHE_BASE_TEXT_H
#define LATHE_BASE_TEXT_H

#include "lathe/base.h"

/* Whole text or nothing; leading and trailing blanks are refused. false: not such a number. */
bool lathe_parse_int(const char *text,
                     int64_t *out); /* 4096, -1, 4k, 1e6, 2.5M: k, M, G are powers of 1000 */
bool lathe_parse_bytes(const char *text,
                       int64_t *out); /* 4096, 64M, 2GiB: K, M, G with or without iB are powers of 1024 */
bool lathe_parse_real(const char *text, double *out); /* finite decimal; no hexadecimal, nan or inf */

/* The shortest decimal that reads back as the same double: "0.1", "1e-05", "3". */
void lathe_format_double(double x, char *out, size_t n_out);

/* Edit distance (insert, delete, replace, swap of neighbours), at most `limit` + 1. */
int lathe_edit_distance(const char *a, const char *b, int limit);

/* The entry of names (NULL-terminated) nearest to text, or NULL where none is near: distance at most 2, or a
 * third of the length where that is more, and less than the length. */
const char *lathe_nearest_name(const char *text, const char *const *names);

/* Three significant digits for tables and axes: "0.123", "12,300", "1.23e-05"; "n/a" for NaN. */
void lathe_format_figure(double x, char *out, size_t n_out);

/* "1,234,567" */
void lathe_format_count(int64_t n, char *out, size_t n_out);
/* "512 B", "3.4 KiB", "1.20 GiB" */
void lathe_format_bytes(int64_t n, char *out, size_t n_out);

#endif
