#include "support/xml.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static char fault[200];

static const char *fail(const char *text, const char *at, const char *what) {
    int line = 1;
    for (const char *p = text; p < at; p++)
        line += *p == '\n';
    int n = snprintf(fault, sizeof fault, "line %d: %s at '%.40s'", line, what, at);
    (void) n;
    return fault;
}

static bool name_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == ':' || c == '_';
}

static size_t name_length(const char *p) {
    size_t n = 0;
    while (name_char(p[n]))
        n++;
    return n;
}

/* Length of the reference at p ("&amp;"), 0 if it is none. */
static size_t reference(const char *p) {
    static const char *const known[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&apos;"};
    for (size_t i = 0; i < 5; i++)
        if (strncmp(p, known[i], strlen(known[i])) == 0)
            return strlen(known[i]);
    if (p[1] != '#')
        return 0;
    size_t n = 2;
    while (p[n] >= '0' && p[n] <= '9')
        n++;
    return n > 2 && p[n] == ';' ? n + 1 : 0;
}

const char *xml_fault(const char *text) {
    const char *open[64];
    size_t length[64], depth = 0, roots = 0;
    const char *p = text;
    if (strncmp(p, "<!doctype html>", 15) == 0)
        p += 15;
    while (*p) {
        if ((unsigned char) *p < 0x20 && *p != '\n' && *p != '\t' && *p != '\r')
            return fail(text, p, "control character");
        if (*p == '&') {
            const size_t n = reference(p);
            if (n == 0)
                return fail(text, p, "bare ampersand");
            p += n;
            continue;
        }
        if (*p != '<') {
            if (depth == 0 && *p != '\n' && *p != ' ')
                return fail(text, p, "text outside the root");
            p++;
            continue;
        }
        const bool closing = p[1] == '/';
        p += 1 + closing;
        const size_t n = name_length(p);
        if (n == 0)
            return fail(text, p, "no element name");
        const char *name = p;
        p += n;
        if (closing) {
            if (*p != '>' || depth == 0 || length[depth - 1] != n || memcmp(open[depth - 1], name, n) != 0)
                return fail(text, name, "end tag without its beginning");
            depth--;
            p++;
            continue;
        }
        const char *seen[32];
        size_t seen_length[32], n_seen = 0;
        while (*p == ' ' || *p == '\n') {
            p++;
            const size_t a = name_length(p);
            if (a == 0)
                break;
            for (size_t i = 0; i < n_seen; i++)
                if (seen_length[i] == a && memcmp(seen[i], p, a) == 0)
                    return fail(text, p, "attribute twice");
            if (n_seen == 32)
                return fail(text, p, "too many attributes");
            seen[n_seen] = p;
            seen_length[n_seen++] = a;
            p += a;
            if (p[0] != '=' || p[1] != '"')
                return fail(text, p, "attribute without quotes");
            for (p += 2; *p && *p != '"'; p++)
                if (*p == '<' || (*p == '&' && reference(p) == 0))
                    return fail(text, p, "bad character in an attribute");
            if (*p != '"')
                return fail(text, p, "attribute without end");
            p++;
        }
        const bool empty = *p == '/';
        p += empty;
        if (*p != '>')
            return fail(text, p, "tag without end");
        p++;
        if (depth == 0 && ++roots > 1)
            return fail(text, name, "second root");
        if (empty)
            continue;
        if (depth == 64)
            return fail(text, name, "too deep");
        open[depth] = name;
        length[depth++] = n;
    }
    return depth > 0 ? fail(text, open[depth - 1], "element without end") : roots == 0 ? "no element" : NULL;
}
