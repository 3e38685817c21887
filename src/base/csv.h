/* csv.h - tables of text: comma, semicolon, tab or blank separated, quoted as in RFC 4180. */
#ifndef LATHE_BASE_CSV_H
#define LATHE_BASE_CSV_H

#include "lathe/base.h"

/* Cells in row order; texts are NUL-terminated, without their quotes, and live in `text`. */
typedef struct lathe_csv {
    char *text;
    char **cells;   /* [n_rows * n_cols] */
    int64_t *lines; /* [n_rows]: line of the file at which the row begins, from 1 */
    int64_t n_rows; /* the header, if there is one, is row 0 */
    int64_t n_cols;
    char separator;
} lathe_csv;

/* Reads a file ("-": stdin) of at most limit bytes. separator 0: the one of tab, semicolon, comma, blank that
 * the first line holds. A byte-order mark, CRLF and blank lines are passed over; rows of different lengths
 * and unclosed quotes are errors with the line. LATHE_ERR_INPUT, _IO, _MEMORY. */
LATHE_NODISCARD lathe_status lathe_csv_read(const char *path, size_t limit, char separator, lathe_csv *csv,
                                            lathe_error *err);
/* As above from memory that is copied; name stands in messages. */
LATHE_NODISCARD lathe_status lathe_csv_parse(const char *text, size_t n_bytes, const char *name,
                                             char separator, lathe_csv *csv, lathe_error *err);
void lathe_csv_free(lathe_csv *csv);

/* The number at text, and where it ends: decimal, with or without exponent; nothing else (no nan, inf or
 * hexadecimal), independent of the locale. false: no number here. */
bool lathe_scan_real(const char *text, const char **end, double *out);
/* "", NA, N/A, ?, nan, null in any case: a cell without a value. */
bool lathe_cell_missing(const char *text);

#endif
