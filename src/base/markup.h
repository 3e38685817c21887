/* markup.h - writing SVG and HTML: our own markup as formats, every text from outside through one function.
 */
#ifndef LATHE_BASE_MARKUP_H
#define LATHE_BASE_MARKUP_H

#include "lathe/base.h"

struct lathe_buf;

/* Remembers the first failure (no memory, limit passed); what is written after it is dropped. */
typedef struct lathe_pen {
    struct lathe_buf *out;
    lathe_error *err;
    lathe_status status;
} lathe_pen;

/* Markup of ours. No argument may be a text from outside; no %f or %g (they follow the locale). */
void lathe_pen_markup(lathe_pen *pen, const char *fmt, ...) LATHE_PRINTF(2, 3);
/* Text from outside, safe between tags and within quoted attributes of HTML and XML: the five special
 * characters become entities, invalid UTF-8 and characters that XML forbids become U+FFFD. NULL writes
 * nothing. */
void lathe_pen_text(lathe_pen *pen, const char *text);
/* A coordinate with at most one decimal: "12.5". Not finite or beyond 1e6: clamped. */
void lathe_pen_coord(lathe_pen *pen, double x);
/* Three significant digits for people (lathe_format_figure). */
void lathe_pen_figure(lathe_pen *pen, double x);
/* JSON text inside <script>: "<", ">" and "&" become \u003c and such, so that HTML and XML readers see the
 * same. */
void lathe_pen_json(lathe_pen *pen, const char *json);
/* Bytes as base64. */
void lathe_pen_base64(lathe_pen *pen, const uint8_t *bytes, size_t n_bytes);

#endif
