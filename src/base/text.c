/* text.c - see text.h. Numbers are scanned by hand up to a plain decimal, which strtod then reads in the "C"
 * locale, so that a host program's LC_NUMERIC changes nothing. */
#include "base/text.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBER_LIMIT = 64 };

/* strtod with '.' whatever the locale: swaps the point for the locale's where they differ. */
static double decimal(const char *text, size_t n) {
    char copy[NUMBER_LIMIT + 1];
    memcpy(copy, text, n);
    copy[n] = '\0';
    const char *point = localeconv()->decimal_point;
    char *dot = strchr(copy, '.');
    if (dot && point && point[0] && !point[1])
        *dot = point[0];
    return strtod(copy, NULL);
}

/* Length of the decimal number at the beginning of text, 0 if there is none. */
static size_t decimal_length(const char *text) {
    size_t i = 0;
    size_t n_digits = 0;
    if (text[i] == '+' || text[i] == '-')
        i++;
    for (; text[i] >= '0' && text[i] <= '9'; i++)
        n_digits++;
    if (text[i] == '.')
        for (i++; text[i] >= '0' && text[i] <= '9'; i++)
            n_digits++;
    if (n_digits == 0)
        return 0;
    if (text[i] == 'e' || text[i] == 'E') {
        size_t j = i + 1;
        if (text[j] == '+' || text[j] == '-')
            j++;
        if (text[j] >= '0' && text[j] <= '9') {
            while (text[j] >= '0' && text[j] <= '9')
                j++;
            i = j;
        }
    }
    return i <= NUMBER_LIMIT ? i : 0;
}

bool lathe_parse_real(const char *text, double *out) {
    const size_t n = decimal_length(text);
    if (n == 0 || text[n] != '\0')
        return false;
    const double x = decimal(text, n);
    if (!isfinite(x))
        return false;
    *out = x;
    return true;
}

/* A number times the unit behind it, as an integer. */
static bool scaled_int(const char *text, double unit, size_t n_number, int64_t *out) {
    const double x = decimal(text, n_number) * unit;
    if (!(fabs(x) < 9.2e18) || x != floor(x))
        return false;
    *out = (int64_t) x;
    return true;
}

/* Plain digits are read as integers: a double would round those beyond 2^53. */
static bool plain_int(const char *text, int64_t *out) {
    const bool negative = text[0] == '-';
    const char *p = text + (text[0] == '-' || text[0] == '+');
    if (*p == '\0')
        return false;
    uint64_t x = 0;
    for (; *p; p++) {
        if (*p < '0' || *p > '9' || x > (uint64_t) INT64_MAX / 10)
            return false;
        x = x * 10 + (uint64_t) (*p - '0');
        if (x > (uint64_t) INT64_MAX)
            return false;
    }
    *out = negative ? -(int64_t) x : (int64_t) x;
    return true;
}

bool lathe_parse_int(const char *text, int64_t *out) {
    if (plain_int(text, out))
        return true;
    const size_t n = decimal_length(text);
    if (n == 0)
        return false;
    const char *unit = text + n;
    if (strcmp(unit, "") == 0)
        return scaled_int(text, 1, n, out);
    if (strcmp(unit, "k") == 0 || strcmp(unit, "K") == 0)
        return scaled_int(text, 1e3, n, out);
    if (strcmp(unit, "M") == 0)
        return scaled_int(text, 1e6, n, out);
    if (strcmp(unit, "G") == 0)
        return scaled_int(text, 1e9, n, out);
    return false;
}

bool lathe_parse_bytes(const char *text, int64_t *out) {
    static const char units[] = "KMGT";
    if (plain_int(text, out))
        return true;
    const size_t n = decimal_length(text);
    if (n == 0)
        return false;
    const char *unit = text + n;
    if (*unit == '\0')
        return scaled_int(text, 1, n, out);
    const char letter = unit[0] == 'k' ? 'K' : unit[0];
    const char *found = strchr(units, letter);
    if (!found || (unit[1] != '\0' && strcmp(unit + 1, "iB") != 0 && strcmp(unit + 1, "B") != 0))
        return false;
    return scaled_int(text, ldexp(1.0, 10 * (int) (found - units + 1)), n, out);
}

void lathe_format_double(double x, char *out, size_t n_out) {
    char text[40];
    for (int digits = 1; digits <= 17; digits++) {
        const int n = snprintf(text, sizeof text, "%.*g", digits, x);
        if (n < 0)
            break;
        if (strtod(text, NULL) == x)
            break;
    }
    const char *point = localeconv()->decimal_point;
    char *p = point && point[0] ? strchr(text, point[0]) : NULL;
    if (p)
        *p = '.';
    if (n_out > 0) {
        const size_t n = strlen(text) < n_out - 1 ? strlen(text) : n_out - 1;
        memcpy(out, text, n);
        out[n] = '\0';
    }
}

void lathe_format_figure(double x, char *out, size_t n_out) {
    if (n_out == 0)
        return;
    if (isfinite(x) && fabs(x) >= 999.5 && fabs(x) < 9.995e6) {
        const double unit = fabs(x) < 9995 ? 10 : fabs(x) < 99950 ? 100 : fabs(x) < 999500 ? 1e3 : 1e4;
        lathe_format_count((int64_t) (round(x / unit) * unit), out, n_out);
        return;
    }
    const char *name = isnan(x) ? "n/a" : isinf(x) ? (x > 0 ? "infinite" : "-infinite") : NULL;
    const int n = name ? snprintf(out, n_out, "%s", name) : snprintf(out, n_out, "%.3g", x);
    const char *point = localeconv()->decimal_point;
    char *p = n > 0 && point && point[0] ? strchr(out, point[0]) : NULL;
    if (p)
        *p = '.';
}

static int min_int(int a, int b) {
    return a < b ? a : b;
}

int lathe_edit_distance(const char *a, const char *b, int limit) {
    enum { LONGEST = 64 };
    const size_t n = strlen(a), m = strlen(b);
    if (n > LONGEST || m > LONGEST)
        return limit + 1;
    int row[3][LONGEST + 1];
    for (size_t j = 0; j <= m; j++)
        row[0][j] = (int) j;
    for (size_t i = 1; i <= n; i++) {
        int *now = row[i % 3];
        const int *before = row[(i + 2) % 3];
        const int *two_before = row[(i + 1) % 3];
        now[0] = (int) i;
        for (size_t j = 1; j <= m; j++) {
            now[j] = min_int(min_int(before[j], now[j - 1]) + 1, before[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = min_int(now[j], two_before[j - 2] + 1);
        }
    }
    return min_int(row[n % 3][m], limit + 1);
}

const char *lathe_nearest_name(const char *text, const char *const *names) {
    const int length = (int) strlen(text);
    const int limit = length / 3 > 2 ? length / 3 : 2;
    const char *best = NULL;
    int best_distance = limit + 1;
    for (size_t i = 0; names[i]; i++) {
        const int d = lathe_edit_distance(text, names[i], limit);
        if (d < best_distance && d < length) {
            best = names[i];
            best_distance = d;
        }
    }
    return best;
}

void lathe_format_count(int64_t n, char *out, size_t n_out) {
    char digits[24];
    const int length = snprintf(digits, sizeof digits, "%lld", (long long) (n < 0 ? -n : n));
    size_t k = 0;
    if (n < 0 && k + 1 < n_out)
        out[k++] = '-';
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0 && k + 1 < n_out)
            out[k++] = ',';
        if (k + 1 < n_out)
            out[k++] = digits[i];
    }
    if (n_out > 0)
        out[k] = '\0';
}

void lathe_format_bytes(int64_t n, char *out, size_t n_out) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double x = (double) n;
    size_t u = 0;
    while (fabs(x) >= 1024 && u + 1 < LATHE_LEN(units)) {
        x /= 1024;
        u++;
    }
    const int digits = u == 0 ? 0 : (x < 10 ? 2 : 1);
    const int k = snprintf(out, n_out, "%.*f %s", digits, x, units[u]);
    (void) k; /* a cut text is still readable */
}
