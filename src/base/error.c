/* error.c - messages for people, in the caller's hands; and where notes and progress go. */
#include "lathe/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *lathe_version(void) {
    return LATHE_VERSION_STRING;
}

const char *lathe_status_name(lathe_status status) {
    static const char *const names[] = {"ok",          "usage",   "input",     "io",      "memory",
                                        "unsupported", "numeric", "cancelled", "internal"};
    return (size_t) status < LATHE_LEN(names) ? names[status] : "internal";
}

/* Names and other people's messages may hold line feeds and what drives a terminal: a message is one line. */
static void make_one_line(char *text) {
    for (; *text; text++)
        if ((unsigned char) *text < 0x20 || *text == 0x7F)
            *text = '?';
}

lathe_status lathe_fail(lathe_error *err, lathe_status status, const char *fmt, ...) {
    if (err) {
        va_list args;
        va_start(args, fmt);
        const int n = vsnprintf(err->text, sizeof err->text, fmt, args);
        va_end(args);
        if (n < 0)
            err->text[0] = '\0';
        make_one_line(err->text);
        err->status = status;
    }
    return status;
}

lathe_status lathe_fail_within(lathe_error *err, const char *fmt, ...) {
    if (!err)
        return LATHE_ERR_INTERNAL;
    char prefix[256];
    va_list args;
    va_start(args, fmt);
    const int n = vsnprintf(prefix, sizeof prefix, fmt, args);
    va_end(args);
    if (n < 0)
        return err->status;
    make_one_line(prefix);
    const size_t n_prefix = strlen(prefix);
    const size_t n_old = strlen(err->text);
    size_t n_kept = sizeof err->text - 1 - (n_prefix + 2);
    if (n_kept > n_old)
        n_kept = n_old;
    memmove(err->text + n_prefix + 2, err->text, n_kept);
    memcpy(err->text, prefix, n_prefix);
    memcpy(err->text + n_prefix, ": ", 2);
    err->text[n_prefix + 2 + n_kept] = '\0';
    return err->status;
}

lathe_status lathe_progress_step(const lathe_progress *progress, const char *what, double done, double total,
                                 lathe_error *err) {
    if (!progress || !progress->step || progress->step(progress->user, what, done, total))
        return LATHE_OK;
    return lathe_fail(err, LATHE_ERR_CANCELLED, "%s: stopped on request", what);
}

void lathe_log(const lathe_logger *logger, lathe_log_level level, const char *fmt, ...) {
    if (!logger || !logger->write)
        return;
    char line[1024];
    va_list args;
    va_start(args, fmt);
    const int n = vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    if (n >= 0)
        logger->write(logger->user, level, line);
}
