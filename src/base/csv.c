/* csv.c - see csv.h. */
#include "base/csv.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"

static char find_separator(const char *p, const char *end) {
    int64_t tabs = 0, commas = 0, semicolons = 0, blanks = 0;
    bool quoted = false;
    while (p < end && (*p == '\n' || *p == '\r')) /* blank lines at the top */
        p++;
    for (; p < end && (quoted || (*p != '\n' && *p != '\r')); p++) {
        if (*p == '"')
            quoted = !quoted;
        if (quoted)
            continue;
        tabs += *p == '\t';
        commas += *p == ',';
        semicolons += *p == ';';
        blanks += *p == ' ';
    }
    return tabs ? '\t' : commas ? ',' : semicolons ? ';' : blanks ? ' ' : ',';
}

typedef struct reader {
    lathe_csv *csv;
    const char *name;
    int64_t capacity, row_capacity, n_cells;
} reader;

static lathe_status add_cell(reader *r, char *cell, lathe_error *err) {
    if (r->n_cells == r->capacity) {
        const int64_t capacity = r->capacity ? 2 * r->capacity : 1024;
        char **cells = realloc(r->csv->cells, (size_t) capacity * sizeof *cells);
        if (cells == NULL)
            return lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory for %lld cells", r->name,
                              (long long) capacity);
        r->csv->cells = cells;
        r->capacity = capacity;
    }
    r->csv->cells[r->n_cells++] = cell;
    return LATHE_OK;
}

static lathe_status add_row(reader *r, int64_t line, int64_t n_cols, lathe_error *err) {
    lathe_csv *csv = r->csv;
    if (csv->n_rows == 0)
        csv->n_cols = n_cols;
    else if (n_cols != csv->n_cols)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s, line %lld: %lld cells, but the first line has %lld",
                          r->name, (long long) line, (long long) n_cols, (long long) csv->n_cols);
    if (csv->n_rows == r->row_capacity) {
        const int64_t capacity = r->row_capacity ? 2 * r->row_capacity : 256;
        int64_t *lines = realloc(csv->lines, (size_t) capacity * sizeof *lines);
        if (lines == NULL)
            return lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory for %lld rows", r->name,
                              (long long) capacity);
        csv->lines = lines;
        r->row_capacity = capacity;
    }
    csv->lines[csv->n_rows++] = line;
    return LATHE_OK;
}

/* One cell from p on: *p is moved behind it, onto its separator, line end or `end`. Unquotes in place. */
static char *take_cell(char **at, char *end, char separator, int64_t *line, bool *unclosed) {
    char *p = *at;
    while (p < end && *p == ' ' && separator != ' ')
        p++;
    if (p < end && *p == '"') {
        char *cell = ++p, *out = cell;
        for (; p < end; p++) {
            if (*p == '"') {
                if (p + 1 < end && p[1] == '"')
                    p++;
                else
                    break;
            }
            *line += *p == '\n';
            *out++ = *p;
        }
        *unclosed = p == end;
        if (p < end)
            p++;
        while (p < end && *p == ' ' && separator != ' ')
            p++;
        *out = 0;
        *at = p;
        return cell;
    }
    char *cell = p;
    while (p < end && *p != separator && *p != '\n' && *p != '\r')
        p++;
    *at = p;
    return cell;
}

static lathe_status parse(reader *r, char *p, char *end, lathe_error *err) {
    const char separator = r->csv->separator;
    int64_t line = 1;
    while (p < end) {
        if (*p == '\n' || *p == '\r') { /* a blank line, or the second half of CRLF */
            line += *p == '\n' || !(p + 1 < end && p[1] == '\n');
            p++;
            continue;
        }
        if (r->csv->n_rows == 0 && end - p >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0) {
            p += 3; /* a byte-order mark, at the very top or below blank lines */
            continue;
        }
        const int64_t first_line = line;
        int64_t n_cols = 0;
        for (bool more = true; more;) {
            bool unclosed = false;
            if (separator == ' ')
                while (p < end && *p == ' ')
                    p++;
            if (separator == ' ' && n_cols > 0 && (p == end || *p == '\n' || *p == '\r'))
                break;
            char *cell = take_cell(&p, end, separator, &line, &unclosed);
            if (unclosed)
                return lathe_fail(err, LATHE_ERR_INPUT, "%s, line %lld: a quote is never closed", r->name,
                                  (long long) first_line);
            lathe_status st = add_cell(r, cell, err);
            if (st)
                return st;
            n_cols++;
            if (p < end && *p != separator && *p != '\n' && *p != '\r')
                return lathe_fail(err, LATHE_ERR_INPUT,
                                  "%s, line %lld, column %lld: text after a closing quote", r->name,
                                  (long long) first_line, (long long) n_cols);
            more = p < end && *p == separator;
            const bool at_end = p == end;
            if (!at_end) {
                if (*p == '\r' && p + 1 < end && p[1] == '\n') {
                    *p++ = 0;
                } else if (*p == '\r') {
                    line++;
                }
                line += *p == '\n';
                *p++ = 0;
            }
            size_t n = strlen(cell); /* blanks around a plain cell do not count */
            while (n > 0 && (cell[n - 1] == ' ' || cell[n - 1] == '\t'))
                cell[--n] = 0;
            if (more && p == end) { /* the file ends with a separator: a last empty cell */
                st = add_cell(r, end, err);
                if (st)
                    return st;
                n_cols++;
                more = false;
            }
        }
        lathe_status st = add_row(r, first_line, n_cols, err);
        if (st)
            return st;
    }
    return LATHE_OK;
}

/* Takes over `text`. */
static lathe_status parse_owned(char *text, size_t n_bytes, const char *name, char separator, lathe_csv *csv,
                                lathe_error *err) {
    memset(csv, 0, sizeof *csv);
    csv->text = text;
    char *p = text, *end = text + n_bytes;
    if (n_bytes >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0)
        p += 3;
    csv->separator = separator ? separator : find_separator(p, end);
    reader r = {.csv = csv, .name = name};
    lathe_status st;
    const char *zero = memchr(p, 0, (size_t) (end - p));
    if (zero != NULL)
        st = lathe_fail(err, LATHE_ERR_INPUT, "%s: a zero byte at offset %lld: this is no text", name,
                        (long long) (zero - text));
    else
        st = parse(&r, p, end, err);
    if (st)
        lathe_csv_free(csv);
    return st;
}

lathe_status lathe_csv_parse(const char *text, size_t n_bytes, const char *name, char separator,
                             lathe_csv *csv, lathe_error *err) {
    char *copy = malloc(n_bytes + 1);
    if (copy == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory for %zu bytes", name, n_bytes);
    if (n_bytes)
        memcpy(copy, text, n_bytes);
    copy[n_bytes] = 0;
    return parse_owned(copy, n_bytes, name, separator, csv, err);
}

lathe_status lathe_csv_read(const char *path, size_t limit, char separator, lathe_csv *csv,
                            lathe_error *err) {
    char *text = NULL;
    size_t n_bytes = 0;
    lathe_status st = lathe_file_read(path, limit, &text, &n_bytes, err);
    if (st)
        return st;
    return parse_owned(text, n_bytes, path, separator, csv, err);
}

void lathe_csv_free(lathe_csv *csv) {
    free(csv->text);
    free(csv->cells);
    free(csv->lines);
    memset(csv, 0, sizeof *csv);
}

bool lathe_scan_real(const char *text, const char **end, double *out) {
    static const double power[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                   1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    const char *p = text;
    const bool negative = *p == '-';
    p += *p == '-' || *p == '+';
    uint64_t mantissa = 0;
    int n_digits = 0, n_used = 0;
    long exponent = 0;
    for (; *p >= '0' && *p <= '9'; p++, n_digits++) {
        if (n_used < 19) {
            mantissa = 10 * mantissa + (uint64_t) (*p - '0');
            n_used += mantissa != 0;
        } else {
            exponent++;
        }
    }
    if (*p == '.')
        for (p++; *p >= '0' && *p <= '9'; p++, n_digits++) {
            if (n_used < 19) {
                mantissa = 10 * mantissa + (uint64_t) (*p - '0');
                n_used += mantissa != 0;
                exponent--;
            }
        }
    if (n_digits == 0)
        return false;
    if (*p == 'e' || *p == 'E') {
        const char *q = p + 1;
        const bool minus = *q == '-';
        q += *q == '-' || *q == '+';
        if (*q >= '0' && *q <= '9') {
            long e = 0;
            for (; *q >= '0' && *q <= '9'; q++)
                e = e < 100000 ? 10 * e + (*q - '0') : e;
            exponent += minus ? -e : e;
            p = q;
        }
    }
    *end = p;
    while (mantissa > (UINT64_C(1) << 53) && mantissa % 10 == 0) { /* "0.2500000000000000000" */
        mantissa /= 10;
        exponent++;
    }
    if (mantissa <= (UINT64_C(1) << 53) && exponent >= -22 && exponent <= 22) {
        const double m = (double) mantissa; /* both factors exact: one rounding, as it must be */
        const double x = exponent < 0 ? m / power[-exponent] : m * power[exponent];
        *out = negative ? -x : x;
        return true;
    }
    char copy[400];
    const size_t n = (size_t) (p - text);
    if (n >= sizeof copy)
        return false;
    memcpy(copy, text, n);
    copy[n] = 0;
    return lathe_parse_real(copy[0] == '+' ? copy + 1 : copy, out);
}

bool lathe_cell_missing(const char *text) {
    static const char *const words[] = {"", "na", "n/a", "?", "nan", "null", "none"};
    char low[8];
    size_t n = 0;
    for (; text[n] && n < 7; n++)
        low[n] = (char) (text[n] >= 'A' && text[n] <= 'Z' ? text[n] + 32 : text[n]);
    if (text[n])
        return false;
    low[n] = 0;
    for (size_t i = 0; i < LATHE_LEN(words); i++)
        if (strcmp(low, words[i]) == 0)
            return true;
    return false;
}
