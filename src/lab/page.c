/* page.c - see page.h. */
#include "lab/page.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/report.h"
#include "base/text.h"

struct lathe_lab_page {
    lathe_report body, notes;
};

lathe_status lathe_lab_page_new(lathe_lab_page **page, lathe_error *err) {
    *page = calloc(1, sizeof **page);
    if (!*page)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a report page");
    lathe_report_begin_part(&(*page)->body, err);
    lathe_report_begin_part(&(*page)->notes, err);
    return LATHE_OK;
}

void lathe_lab_page_free(lathe_lab_page *page) {
    if (!page)
        return;
    lathe_report_free(&page->body);
    lathe_report_free(&page->notes);
    free(page);
}

/* --- While the lab runs ----------------------------------------------------------------------------- */

static json_t *reals(const double *v, size_t n) {
    json_t *list = json_array();
    for (size_t i = 0; v && i < n; i++)
        json_array_append_new(list, lathe_json_real(v[i]));
    return list;
}

static json_t *figure_json(const lathe_plot *p) {
    json_t *o = json_object();
    json_object_set_new(o, "title", lathe_json_string(p->title));
    if (p->n_series > 0) {
        json_t *list = json_array();
        for (size_t i = 0; i < p->n_series; i++) {
            const lathe_series *s = &p->series[i];
            json_t *one = json_object();
            json_object_set_new(one, "name", lathe_json_string(s->name));
            json_object_set_new(one, "x", reals(s->x, s->n));
            json_object_set_new(one, "y", reals(s->y, s->n));
            if (s->low && s->high) {
                json_object_set_new(one, "low", reals(s->low, s->n));
                json_object_set_new(one, "high", reals(s->high, s->n));
            }
            json_array_append_new(list, one);
        }
        json_object_set_new(o, "series", list);
    }
    if (p->n_bars > 0) {
        json_t *list = json_array();
        for (size_t i = 0; i < p->n_bars; i++) {
            json_t *one = json_object();
            json_object_set_new(one, "name", lathe_json_string(p->bars[i].name));
            json_object_set_new(one, "value", lathe_json_real(p->bars[i].value));
            json_object_set_new(one, "ci95", reals((double[2]){p->bars[i].low, p->bars[i].high}, 2));
            json_array_append_new(list, one);
        }
        json_object_set_new(o, "bars", list);
    }
    if (p->cells) {
        json_object_set_new(o, "rows", json_integer(p->rows));
        json_object_set_new(o, "cols", json_integer(p->cols));
        json_object_set_new(o, "cells", reals(p->cells, (size_t) p->rows * (size_t) p->cols));
    }
    return o;
}

lathe_status lathe_lab_figure(lathe_lab *lab, const lathe_plot *plot, const char *caption, lathe_error *err) {
    lathe_report *body = &lab->page->body;
    body->pen.err = err;
    lathe_report_figure(body, plot, caption);
    if (!body->pen.status && json_array_append_new(lab->figures, figure_json(plot)))
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a figure's data");
    return body->pen.status;
}

lathe_status lathe_lab_table(lathe_lab *lab, const char *caption, const char *const *header,
                             const char *const *cells, int32_t n_rows, int32_t n_cols, lathe_error *err) {
    lathe_report *body = &lab->page->body;
    body->pen.err = err;
    lathe_report_table(body, caption, header, n_cols);
    for (int32_t i = 0; i < n_rows * n_cols; i++)
        lathe_report_cell(body, i % n_cols ? LATHE_CELL_NUMBER : LATHE_CELL_TEXT, cells[i]);
    lathe_report_table_end(body);
    return body->pen.status;
}

lathe_status lathe_lab_note(lathe_lab *lab, const char *text, lathe_error *err) {
    lathe_report *notes = &lab->page->notes;
    notes->pen.err = err;
    lathe_report_paragraph(notes, text);
    return notes->pen.status;
}

void lathe_lab_finding(char *out, size_t size, const char *where, const char *const *names,
                       const double *values, size_t n) {
    int at = snprintf(out, size, "%s:", where);
    for (size_t i = 0; i < n && at > 0 && (size_t) at < size; i++) {
        char x[40];
        lathe_format_figure(values[i], x, sizeof x);
        at += snprintf(out + at, size - (size_t) at, "%s %s %s", i > 0 ? "," : "", names[i], x);
    }
    if (at > 0 && (size_t) at + 1 < size)
        at += snprintf(out + at, size - (size_t) at, ".");
}

/* --- The page --------------------------------------------------------------------------------------- */

static void figure(double x, char out[40]) {
    lathe_format_figure(x, out, 40);
}

static void expected_text(const lathe_claim *c, char *out, size_t size) {
    static const char *const signs[] = {"at least", "at most", "", "more than"};
    char x[40], tolerance[40];
    if (c->untestable) {
        const int k = snprintf(out, size, "-");
        (void) k;
        return;
    }
    figure(c->expected, x);
    figure(c->tolerance, tolerance);
    const int n = c->kind == LATHE_CLAIM_NEAR
                      ? snprintf(out, size, "%s \xc2\xb1 %s %s", x, tolerance, c->unit ? c->unit : "")
                      : snprintf(out, size, "%s %s %s", signs[c->kind], x, c->unit ? c->unit : "");
    (void) n; /* a cut text is still readable */
}

static void measured_text(const lathe_claim_result *r, char *out, size_t size) {
    char x[40], low[40], high[40];
    figure(r->measured, x);
    figure(r->ci95[0], low);
    figure(r->ci95[1], high);
    int n;
    if (r->n == 0)
        n = snprintf(out, size, "not measured");
    else if (!(r->ci95[0] <= r->ci95[1]))
        n = snprintf(out, size, "%s (one run)", x);
    else if (r->exact)
        n = snprintf(out, size, "%s (exact)", x);
    else
        n = snprintf(out, size, "%s [%s, %s], n %lld", x, low, high, (long long) r->n);
    (void) n;
}

static int rank(const lathe_claim_result *r) { /* what needs attention comes first */
    return r->verdict == LATHE_VERDICT_FAILS       ? 0
           : r->verdict == LATHE_VERDICT_UNDECIDED ? 1
           : r->verdict == LATHE_VERDICT_HOLDS     ? 2
                                                   : 3;
}

static void claims_table(const lathe_lab *lab, lathe_report *r) {
    static const char *const header[] = {"claim",   "expected", "measured, 95% interval",
                                         "verdict", "paper",    "origin"};
    lathe_report_table(r, "Claims", header, 6);
    for (int want = 0; want < 4; want++)
        for (size_t i = 0; i < lab->entry->info.n_claims; i++) {
            const lathe_claim_result *c = &lab->results[i];
            char text[160];
            if (rank(c) != want)
                continue;
            lathe_report_cell(r, LATHE_CELL_TEXT, c->claim->text);
            expected_text(c->claim, text, sizeof text);
            lathe_report_cell(r, LATHE_CELL_TEXT, text);
            measured_text(c, text, sizeof text);
            lathe_report_cell(r, LATHE_CELL_TEXT, text);
            lathe_report_cell(r,
                              want == 0   ? LATHE_CELL_BAD
                              : want == 2 ? LATHE_CELL_GOOD
                                          : LATHE_CELL_OPEN,
                              lathe_claim_verdict_text(c));
            lathe_report_cell(r, LATHE_CELL_TEXT, c->claim->paper);
            lathe_report_cell(r, LATHE_CELL_TEXT,
                              c->claim->untestable ? c->claim->untestable : c->claim->origin);
        }
    lathe_report_table_end(r);
}

static void summary(const lathe_lab *lab, char *out, size_t size) {
    int n[4] = {0}, direction = 0;
    for (size_t i = 0; i < lab->entry->info.n_claims; i++) {
        n[rank(&lab->results[i])]++;
        direction += lab->results[i].direction;
    }
    int at = snprintf(out, size, "%d of %d measured claims hold, %d do not, %d undecided", n[2],
                      n[0] + n[1] + n[2], n[0], n[1]);
    if (at > 0 && direction > 0)
        at += snprintf(out + at, size - (size_t) at, "; %d of those hold in direction", direction);
    if (at > 0 && n[3] > 0)
        at += snprintf(out + at, size - (size_t) at, "; %d not measured", n[3]);
    if (at > 0)
        at += snprintf(out + at, size - (size_t) at, ".%s", lab->quick ? " This is the quick version." : "");
}

lathe_status lathe_lab_page_write(lathe_lab *lab, const json_t *metrics, const char *path, lathe_error *err) {
    char text[1024];
    summary(lab, text, sizeof text);
    lathe_report r;
    lathe_report_begin(&r, lab->entry->info.name, text, err);
    lathe_report_paragraph(&r, lab->entry->info.paper);
    claims_table(lab, &r);
    lathe_report_add_part(&r, &lab->page->body);
    if (lab->page->notes.html.n_bytes > 0) {
        lathe_report_heading(&r, "Remarks");
        lathe_report_add_part(&r, &lab->page->notes);
    }
    lathe_report_heading(&r, "Run it again");
    char *reproduce = json_dumps(metrics, JSON_INDENT(1));
    const char *command = json_string_value(json_object_get(metrics, "command"));
    const int n = snprintf(text, sizeof text, "%s\nlathe %s; seed %llu, %d seeds, %d threads; %s%s",
                           command ? command : "", lathe_version(), (unsigned long long) lab->seed,
                           lab->n_seeds, lab->n_threads, lab->entry->info.scale ? lab->entry->info.scale : "",
                           lab->quick ? " (quick: smaller)" : "");
    (void) n;
    lathe_report_details(&r, "Command and scale", text);
    lathe_report_details(&r, "metrics.json", reproduce ? reproduce : "");
    free(reproduce);
    json_t *data = json_deep_copy(metrics);
    json_object_set(data, "figures", lab->figures);
    const lathe_status st = lathe_report_write(&r, data, path);
    json_decref(data);
    lathe_report_free(&r);
    return st;
}
