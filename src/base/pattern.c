/* pattern.c - a pattern is matched by following all places in it at once, one character of the name after the
 * other, so that no pattern takes long. */
#include "base/pattern.h"

#include <string.h>

enum { PLACES_MAX = 256 };

/* Sets of places in the pattern, as bytes. */
typedef struct places {
    bool at[PLACES_MAX + 1];
} places;

/* Index after the parenthesis that closes the one at `open`, or of the end. */
static size_t after_group(const char *p, size_t open) {
    size_t i = open + 1;
    while (p[i] != '\0' && p[i] != ')')
        i++;
    return p[i] == ')' ? i + 1 : i;
}

/* Adds place i and those that are reached from it without a character. */
static void add(places *s, const char *p, size_t i) {
    if (s->at[i])
        return;
    s->at[i] = true;
    if (p[i] == '*')
        add(s, p, i + 1);
    if (p[i] == '(') {
        add(s, p, i + 1);
        for (size_t k = i + 1; p[k] != '\0' && p[k] != ')'; k++)
            if (p[k] == '|')
                add(s, p, k + 1);
    }
    if (p[i] == '|' || p[i] == ')') { /* the end of an alternative: go behind the group */
        size_t k = i;
        while (p[k] != '\0' && p[k] != ')')
            k++;
        add(s, p, p[k] == ')' ? k + 1 : k);
    }
}

/* [abc] or [a-z] at i; *next is behind it. */
static bool in_set(const char *p, size_t i, char c, size_t *next) {
    bool found = false;
    for (i++; p[i] != '\0' && p[i] != ']'; i++) {
        if (p[i + 1] == '-' && p[i + 2] != '\0' && p[i + 2] != ']') {
            found = found || (p[i] <= c && c <= p[i + 2]);
            i += 2;
        } else {
            found = found || p[i] == c;
        }
    }
    *next = p[i] == ']' ? i + 1 : i;
    return found;
}

bool lathe_pattern_matches(const char *p, const char *name) {
    size_t n = strlen(p);
    if (n > PLACES_MAX)
        return false;
    places now = {{false}};
    add(&now, p, 0);
    for (; *name != '\0'; name++) {
        places then = {{false}};
        for (size_t i = 0; i < n; i++) {
            size_t next = i + 1;
            if (!now.at[i])
                continue;
            if (p[i] == '*')
                add(&then, p, i);
            else if (p[i] == '[' ? in_set(p, i, *name, &next)
                                 : p[i] == '?' || (p[i] == *name && strchr("(|)", p[i]) == NULL))
                add(&then, p, next);
        }
        now = then;
    }
    return now.at[n];
}

bool lathe_pattern_is_literal(const char *pattern) {
    return strpbrk(pattern, "*?[(") == NULL;
}

lathe_status lathe_pattern_check(const char *p, lathe_error *err) {
    if (p[0] == '\0' || strlen(p) > PLACES_MAX)
        return lathe_fail(err, LATHE_ERR_ARG, "pattern '%s': empty or longer than %d characters", p,
                          PLACES_MAX);
    for (size_t i = 0; p[i] != '\0'; i++) {
        if (p[i] == '(') {
            size_t end = after_group(p, i);
            if (p[end - 1] != ')' || memchr(p + i + 1, '(', end - i - 1) != NULL)
                return lathe_fail(err, LATHE_ERR_ARG,
                                  "pattern '%s': '(' at %zu is not closed, or holds another; want (a|b)", p,
                                  i);
        }
        if (p[i] == '[' && strchr(p + i, ']') == NULL)
            return lathe_fail(err, LATHE_ERR_ARG, "pattern '%s': '[' at %zu is not closed", p, i);
    }
    return LATHE_OK;
}
