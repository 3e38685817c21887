/* claims_page.c - docs/claims.md: the claims of all labs from the metrics.json of their full runs. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "lab/lab.h"

enum { PAGE_MAX = 4 << 20 };

static const char intro[] =
    "# Claims, measured again\n\n"
    "Each table is one lab: a paper's central claims, measured by `lathe lab NAME` at a scale that two cores "
    "manage in\n"
    "minutes. *Paper* is what the paper found at its own scale; *expected* is what the verdict asks for; "
    "*measured* is the\n"
    "mean with its 95% interval over n runs (or cases). The verdict follows from the interval alone: "
    "**holds** where all of\n"
    "it meets the expectation, **holds in direction** where it misses the size but lies on the claimed side "
    "of 'no\n"
    "effect', **does not hold** where all of it misses, **undecided** where it contains the border.\n\n"
    "`make claims` writes this page from the results in `docs/claims/`, and measures labs that have none "
    "there.\n";

/* A cell of a Markdown table: no line breaks, no bars. */
static lathe_status cell(lathe_buf *out, const char *text, lathe_error *err) {
    lathe_status st = lathe_buf_text(out, "| ", err);
    for (const char *p = text ? text : ""; !st && *p; p++)
        st = *p == '|' ? lathe_buf_text(out, "\\|", err) : lathe_buf_add(out, *p == '\n' ? " " : p, 1, err);
    return st ? st : lathe_buf_text(out, " ", err);
}

static const char *text_of(const json_t *o, const char *key) {
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

static double real_of(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

static void expected_text(const json_t *c, char out[160]) {
    const char *kind = text_of(c, "kind");
    char x[40], tolerance[40] = "";
    lathe_format_figure(real_of(c, "expected"), x, sizeof x);
    const bool near = strcmp(kind, "near") == 0;
    if (near)
        lathe_format_figure(real_of(c, "tolerance"), tolerance, sizeof tolerance);
    const char *sign = strcmp(kind, "at_least") == 0  ? "at least "
                       : strcmp(kind, "at_most") == 0 ? "at most "
                       : strcmp(kind, "greater") == 0 ? "more than "
                                                      : "";
    const int n =
        snprintf(out, 160, "%s%s%s%s %s", sign, x, near ? " \xc2\xb1 " : "", tolerance, text_of(c, "unit"));
    (void) n;
}

static void measured_text(const json_t *c, char out[160]) {
    char x[40], low[40], high[40];
    const json_t *ci = json_object_get(c, "ci95");
    const json_t *a = json_array_get(ci, 0), *b = json_array_get(ci, 1);
    const double from = json_is_number(a) ? json_number_value(a) : NAN,
                 to = json_is_number(b) ? json_number_value(b) : NAN;
    const long long n = (long long) json_integer_value(json_object_get(c, "n"));
    lathe_format_figure(real_of(c, "measured"), x, sizeof x);
    lathe_format_figure(from, low, sizeof low);
    lathe_format_figure(to, high, sizeof high);
    const int k = n == 0          ? snprintf(out, 160, "-")
                  : !(from <= to) ? snprintf(out, 160, "%s (one run)", x)
                  : json_is_true(json_object_get(c, "exact"))
                      ? snprintf(out, 160, "%s (exact, %lld cases)", x, n)
                      : snprintf(out, 160, "%s [%s, %s], n %lld", x, low, high, n);
    (void) k;
}

static lathe_status claim_row(lathe_buf *out, const json_t *c, lathe_error *err) {
    char expected[160], measured[160], verdict[600];
    expected_text(c, expected);
    measured_text(c, measured);
    const char *reason = text_of(c, "reason");
    const int n =
        snprintf(verdict, sizeof verdict, "%s%s%s", text_of(c, "verdict"), *reason ? ": " : "", reason);
    (void) n;
    const bool open = *reason != '\0';
    const char *cells[] = {text_of(c, "text"),  text_of(c, "paper"), open ? "-" : expected, measured, verdict,
                           text_of(c, "origin")};
    lathe_status st = LATHE_OK;
    for (size_t i = 0; !st && i < LATHE_LEN(cells); i++)
        st = cell(out, cells[i], err);
    return st ? st : lathe_buf_text(out, "|\n", err);
}

static lathe_status section(lathe_buf *out, const lathe_lab_info *info, const json_t *m, lathe_error *err) {
    lathe_status st = lathe_buf_printf(out, err, "\n## %s\n\n%s.\n\n", info->name, info->paper);
    if (st)
        return st;
    if (!m)
        return lathe_buf_printf(out, err, "Not measured yet: `lathe lab %s`.\n", info->name);
    char seconds[40];
    lathe_format_figure(real_of(m, json_object_get(m, "cpu_s") ? "cpu_s" : "elapsed_s"), seconds,
                        sizeof seconds);
    st = lathe_buf_printf(
        out, err, "Scale: %s. Command: `%s`%s; %lld seeds, %s s of %s, lathe %s.\n\n", text_of(m, "scale"),
        text_of(m, "command"), json_is_true(json_object_get(m, "quick")) ? " (the quick version)" : "",
        (long long) json_integer_value(json_object_get(m, "n_seeds")), seconds,
        json_object_get(m, "cpu_s") ? "processor time" : "wall clock", text_of(m, "version"));
    if (!st)
        st = lathe_buf_text(
            out,
            "| claim | paper | expected | measured | verdict | where the expectation comes from |\n"
            "|---|---|---|---|---|---|\n",
            err);
    size_t i;
    const json_t *c;
    json_array_foreach(json_object_get(m, "claims"), i, c) {
        if (!st)
            st = claim_row(out, c, err);
    }
    return st;
}

lathe_status lathe_lab_write_claims(const char *folder, const char *path, lathe_error *err) {
    lathe_buf out;
    lathe_buf_init(&out, PAGE_MAX);
    lathe_status st = lathe_buf_text(&out, intro, err);
    for (size_t i = 0; !st && i < lathe_lab_count(); i++) {
        const lathe_lab_info *info = lathe_lab_at(i);
        char file[4096];
        json_t *m = NULL;
        const int n = snprintf(file, sizeof file, "%s/%s.json", folder, info->name);
        if (n < 0 || (size_t) n >= sizeof file) {
            st = lathe_fail(err, LATHE_ERR_ARG, "'%s' is too long", folder);
            break;
        }
        lathe_error why = {0};
        st = lathe_json_read(file, PAGE_MAX, &m, &why);
        if (st == LATHE_ERR_IO) /* no file: not measured */
            st = LATHE_OK;
        else if (st)
            st = lathe_fail(err, why.status, "%s", why.text);
        if (!st && m && strcmp(text_of(m, "lab"), info->name) != 0)
            st = lathe_fail(err, LATHE_ERR_INPUT, "%s: these are the metrics of lab '%s'", file,
                            text_of(m, "lab"));
        if (!st)
            st = section(&out, info, m, err);
        json_decref(m);
    }
    if (!st)
        st = lathe_file_write(path, out.data, out.n_bytes, err);
    lathe_buf_free(&out);
    return st;
}
