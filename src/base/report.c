/* report.c - see report.h. */
#include "base/report.h"

#include <stdlib.h>

#include "base/file.h"

enum { PAGE_MAX = 5 << 20 };

static const char *const head[] = {
    "<!doctype html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\"><head><meta "
    "charset=\"utf-8\"/><title>",
    " - lathe report</title>\n"
    "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"/>\n"
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
    "img-src data:; script-src 'unsafe-inline'\"/>\n<style>\n",
    ":root{color-scheme:light "
    "dark;--bg:#fff;--fg:#1b1e23;--dim:#667085;--grid:#e4e7ec;--ok:#00714d;--no:#b42318;"
    "--c0:#0072b2;--c1:#d55e00;--c2:#009e73;--c3:#b5528f;--c4:#8a6d00;--c5:#1b1e23}\n",
    "@media "
    "(prefers-color-scheme:dark){:root{--bg:#15181d;--fg:#e6e8eb;--dim:#98a2b3;--grid:#2c323b;--ok:#4fd1a5;"
    "--no:#ff8a7a;--c0:#56b4e9;--c1:#e69f00;--c2:#009e73;--c3:#cc79a7;--c4:#f0e442;--c5:#e6e8eb}}\n",
    "body{background:var(--bg);color:var(--fg);font:15px/1.5 "
    "system-ui,sans-serif;max-width:60rem;margin:2rem auto;"
    "padding:0 1rem}\nh1{font-size:1.6rem;margin-bottom:.3rem}h2{font-size:1.15rem;margin-top:2rem}\n"
    ".wide{overflow-x:auto}table{border-collapse:collapse;width:100%;margin:1rem 0}caption{text-align:left;"
    "color:var(--dim);padding:.2rem 0}th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;"
    "border-bottom:1px solid "
    "var(--grid)}td:first-child{min-width:6rem}td.n{text-align:right;font-variant-numeric:tabular-nums;"
    "white-space:nowrap}"
    "\n",
    "td.holds,td.fails,td.open{white-space:nowrap}.holds{color:var(--ok)}.fails{color:var(--no)}.open{color:"
    "var(--dim)}"
    "\nfigure{margin:1.5rem "
    "0}figcaption{color:var(--dim)}figcaption "
    "b{color:var(--fg)}pre{overflow-x:auto;font-size:13px;white-space:pre-wrap}\n",
    "svg{width:100%;height:auto}svg "
    "text{fill:var(--dim);font-size:12px;paint-order:stroke;stroke:var(--bg);stroke-width:3px}.grid,.grid "
    "line{stroke:var(--grid);fill:none}"
    ".mark line{stroke:var(--dim);stroke-dasharray:2 "
    "4}\n.line{fill:none;stroke-width:2;stroke-linecap:round}.band{stroke:none;opacity:.18}"
    ".dot{opacity:.6}.bar{fill:var(--c0);opacity:.85}.whisker{stroke:var(--fg);fill:none}\n",
    "svg .k0 text{fill:var(--c0)}svg .k1 text{fill:var(--c1)}svg .k2 text{fill:var(--c2)}svg .k3 "
    "text{fill:var(--c3)}"
    "svg .k4 text{fill:var(--c4)}svg .k5 text{fill:var(--c5)}\n",
    ".edge{stroke:var(--dim);fill:none}.node{fill:var(--c0);stroke:var(--c0)}.hidden{fill:var(--bg);stroke:"
    "var(--c0)}"
    ".cold{fill:var(--c0)}.warm{fill:var(--c1)}svg text.strong{fill:var(--fg)}\n",
    "@media print{body{margin:0;max-width:none}figure,tr{break-inside:avoid}}\n</style></head><body>\n<h1>",
};

void lathe_report_begin(lathe_report *r, const char *title, const char *summary, lathe_error *err) {
    *r = (lathe_report){0};
    lathe_buf_init(&r->html, PAGE_MAX);
    r->pen = (lathe_pen){.out = &r->html, .err = err};
    for (size_t i = 0; i < LATHE_LEN(head); i++) {
        if (i == 1)
            lathe_pen_text(&r->pen, title);
        if (r->pen.status == LATHE_OK)
            r->pen.status = lathe_buf_text(&r->html, head[i], err);
    }
    lathe_pen_text(&r->pen, title);
    lathe_pen_markup(&r->pen, "</h1>\n<p>");
    lathe_pen_text(&r->pen, summary);
    lathe_pen_markup(&r->pen, "</p>\n");
}

void lathe_report_begin_part(lathe_report *part, lathe_error *err) {
    *part = (lathe_report){0};
    lathe_buf_init(&part->html, PAGE_MAX);
    part->pen = (lathe_pen){.out = &part->html, .err = err};
}

void lathe_report_add_part(lathe_report *r, const lathe_report *part) {
    if (r->pen.status == LATHE_OK && part->html.n_bytes > 0)
        r->pen.status = lathe_buf_add(&r->html, part->html.data, part->html.n_bytes, r->pen.err);
}

void lathe_report_free(lathe_report *r) {
    lathe_buf_free(&r->html);
}

static void element(lathe_report *r, const char *name, const char *text) {
    lathe_pen_markup(&r->pen, "<%s>", name);
    lathe_pen_text(&r->pen, text);
    lathe_pen_markup(&r->pen, "</%s>\n", name);
}

void lathe_report_heading(lathe_report *r, const char *text) {
    element(r, "h2", text);
}

void lathe_report_paragraph(lathe_report *r, const char *text) {
    element(r, "p", text);
}

void lathe_report_table(lathe_report *r, const char *caption, const char *const *header, int n_cols) {
    lathe_pen_markup(&r->pen, "<div class=\"wide\"><table><caption>");
    lathe_pen_text(&r->pen, caption);
    lathe_pen_markup(&r->pen, "</caption><thead><tr>");
    for (int i = 0; i < n_cols; i++) {
        lathe_pen_markup(&r->pen, "<th scope=\"col\">");
        lathe_pen_text(&r->pen, header[i]);
        lathe_pen_markup(&r->pen, "</th>");
    }
    lathe_pen_markup(&r->pen, "</tr></thead><tbody>\n");
    r->n_cols = n_cols;
    r->at_col = 0;
}

void lathe_report_cell(lathe_report *r, lathe_cell kind, const char *text) {
    static const char *const opening[] = {"<td>", "<td class=\"n\">", "<td class=\"holds\">&#10003; ",
                                          "<td class=\"fails\">&#10007; ", "<td class=\"open\">&#8211; "};
    if (r->at_col == 0)
        lathe_pen_markup(&r->pen, "<tr>");
    lathe_pen_markup(&r->pen, "%s", opening[kind]);
    lathe_pen_text(&r->pen, text);
    lathe_pen_markup(&r->pen, "</td>");
    r->at_col = (r->at_col + 1) % r->n_cols;
    if (r->at_col == 0)
        lathe_pen_markup(&r->pen, "</tr>\n");
}

void lathe_report_table_end(lathe_report *r) {
    if (r->at_col != 0)
        lathe_pen_markup(&r->pen, "</tr>\n");
    lathe_pen_markup(&r->pen, "</tbody></table></div>\n");
}

void lathe_report_figure(lathe_report *r, const lathe_plot *plot, const char *caption) {
    lathe_pen_markup(&r->pen, "<figure>");
    if (r->pen.status == LATHE_OK)
        r->pen.status = lathe_plot_draw(plot, ++r->n_figures, &r->html, r->pen.err);
    lathe_pen_markup(&r->pen, "<figcaption><b>");
    lathe_pen_text(&r->pen, plot->title);
    lathe_pen_markup(&r->pen, ".</b> ");
    lathe_pen_text(&r->pen, caption);
    lathe_pen_markup(&r->pen, "</figcaption></figure>\n");
}

void lathe_report_details(lathe_report *r, const char *summary, const char *text) {
    lathe_pen_markup(&r->pen, "<details><summary>");
    lathe_pen_text(&r->pen, summary);
    lathe_pen_markup(&r->pen, "</summary><pre>");
    lathe_pen_text(&r->pen, text);
    lathe_pen_markup(&r->pen, "</pre></details>\n");
}

lathe_status lathe_report_write(lathe_report *r, const json_t *data, const char *path) {
    char *json = json_dumps(data, JSON_COMPACT | JSON_ENSURE_ASCII);
    if (!json)
        return lathe_fail(r->pen.err, LATHE_ERR_MEMORY, "%s: no memory for the page's data", path);
    lathe_pen_markup(&r->pen, "<script type=\"application/json\" id=\"lathe-data\">");
    lathe_pen_json(&r->pen, json);
    lathe_pen_markup(&r->pen,
                     "</script>\n<script>JSON.parse(document.getElementById('lathe-data').textContent);"
                     "document.documentElement.dataset.ready='1'</script>\n</body></html>\n");
    free(json);
    if (r->pen.status)
        return lathe_fail_within(r->pen.err, "%s", path);
    return lathe_file_write(path, r->html.data, r->html.n_bytes, r->pen.err);
}
