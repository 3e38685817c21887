/* markup.c - see markup.h. */
#include "base/markup.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/text.h"
#include "base/utf8.h"

static void add(lathe_pen *pen, const char *bytes, size_t n) {
    if (pen->status == LATHE_OK)
        pen->status = lathe_buf_add(pen->out, bytes, n, pen->err);
}

void lathe_pen_markup(lathe_pen *pen, const char *fmt, ...) {
    char text[1024];
    va_list args;
    va_start(args, fmt);
    const int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (n >= 0 && (size_t) n < sizeof text)
        add(pen, text, (size_t) n);
    else if (pen->status == LATHE_OK)
        pen->status =
            lathe_fail(pen->err, LATHE_ERR_INTERNAL, "a piece of markup is over %zu bytes", sizeof text);
}

/* XML 1.0 allows tab, line feed, carriage return and no other control characters; U+FFFE and U+FFFF are none.
 */
static bool allowed(uint32_t code) {
    return code == '\t' || code == '\n' || code == '\r' || (code >= 0x20 && code != 0xfffe && code != 0xffff);
}

void lathe_pen_text(lathe_pen *pen, const char *text) {
    size_t left = text ? strlen(text) : 0;
    while (left > 0) {
        uint32_t code = 0;
        size_t n = lathe_utf8_next(text, left, &code);
        if (n == 0 || !allowed(code))
            add(pen, "\xef\xbf\xbd", 3);
        else if (code == '&')
            add(pen, "&amp;", 5);
        else if (code == '<')
            add(pen, "&lt;", 4);
        else if (code == '>')
            add(pen, "&gt;", 4);
        else if (code == '"')
            add(pen, "&quot;", 6);
        else if (code == '\'')
            add(pen, "&#39;", 5);
        else
            add(pen, text, n);
        n = n == 0 ? 1 : n;
        text += n;
        left -= n;
    }
}

void lathe_pen_coord(lathe_pen *pen, double x) {
    if (!(x > -1e6))
        x = isnan(x) ? 0 : -1e6;
    else if (x > 1e6)
        x = 1e6;
    const long tenths = lround(x * 10);
    const long size = tenths < 0 ? -tenths : tenths;
    if (size % 10)
        lathe_pen_markup(pen, "%s%ld.%ld", tenths < 0 ? "-" : "", size / 10, size % 10);
    else
        lathe_pen_markup(pen, "%s%ld", tenths < 0 ? "-" : "", size / 10);
}

void lathe_pen_figure(lathe_pen *pen, double x) {
    char text[40];
    lathe_format_figure(x, text, sizeof text);
    lathe_pen_text(pen, text);
}

void lathe_pen_json(lathe_pen *pen, const char *json) {
    for (const char *p = json; *p;) {
        const size_t n = strcspn(p, "<>&");
        add(pen, p, n);
        p += n;
        if (*p)
            lathe_pen_markup(pen, "\\u%04x", (unsigned) *p++);
    }
}

void lathe_pen_base64(lathe_pen *pen, const uint8_t *bytes, size_t n_bytes) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n_bytes; i += 3) {
        const size_t n = n_bytes - i < 3 ? n_bytes - i : 3;
        const uint32_t w = (uint32_t) bytes[i] << 16 | (n > 1 ? (uint32_t) bytes[i + 1] << 8 : 0) |
                           (n > 2 ? bytes[i + 2] : 0);
        const char four[4] = {digits[w >> 18], digits[w >> 12 & 63], n > 1 ? digits[w >> 6 & 63] : '=',
                              n > 2 ? digits[w & 63] : '='};
        add(pen, four, 4);
    }
}
