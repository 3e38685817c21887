/* plot.c - what all drawings share, and the choice of the kind. */
#include "base/plot.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/text.h"
#include "base/utf8.h"

void lathe_plot_open(lathe_pen *pen, const lathe_plot *plot, int32_t number, double height) {
    lathe_pen_markup(pen, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d ", LATHE_PLOT_WIDTH);
    lathe_pen_coord(pen, height);
    lathe_pen_markup(pen, "\" role=\"img\" aria-labelledby=\"f%dt f%dd\"><title id=\"f%dt\">", number, number,
                     number);
    lathe_pen_text(pen, plot->title);
    lathe_pen_markup(pen, "</title><desc id=\"f%dd\">", number);
    lathe_pen_text(pen, plot->finding);
    lathe_pen_markup(pen, "</desc>\n");
}

void lathe_plot_text(lathe_pen *pen, double x, double y, const char *anchor, const char *text) {
    lathe_pen_markup(pen, "<text x=\"");
    lathe_pen_coord(pen, x);
    lathe_pen_markup(pen, "\" y=\"");
    lathe_pen_coord(pen, y);
    lathe_pen_markup(pen, "\" text-anchor=\"%s\">", anchor);
    lathe_pen_text(pen, text);
    lathe_pen_markup(pen, "</text>\n");
}

double lathe_plot_text_width(const char *text) {
    size_t n = 0;
    for (; text && *text; text++)
        n += ((unsigned char) *text & 0xc0) != 0x80; /* bytes that begin a character */
    return 7.2 * (double) n;
}

void lathe_plot_cut(const char *text, size_t n, char *out, size_t size) {
    size_t left = text ? strlen(text) : 0, used = 0;
    for (size_t i = 0; left > 0; i++) {
        uint32_t code;
        size_t step = lathe_utf8_next(text, left, &code);
        step = step == 0 ? 1 : step;
        if ((i + 1 == n && left > step) || used + step + 4 > size) {
            memcpy(out + used, "\xe2\x80\xa6", 3);
            used += 3;
            break;
        }
        memcpy(out + used, text, step);
        used += step;
        text += step;
        left -= step;
    }
    out[used] = '\0';
}

int lathe_plot_ticks(double low, double high, int wanted, double out[16]) {
    const double range = high - low;
    if (!(range > 0) || !isfinite(range))
        return 0;
    const double rough = range / wanted, power = pow(10, floor(log10(rough)));
    const double share = rough / power;
    const double step = power * (share <= 1 ? 1 : share <= 2 ? 2 : share <= 5 ? 5 : 10);
    int n = 0;
    for (double k = ceil(low / step - 1e-9); k * step <= high + 1e-9 * range && n < 16; k++)
        out[n++] = k == 0 ? 0 : k * step;
    return n;
}

void lathe_plot_tick_text(double value, double step, char *out, size_t size) {
    const double digits = ceil(-log10(step) - 1e-9);
    if (!(digits <= 6) || !(fabs(value) < 1e5)) {
        lathe_format_figure(value, out, size);
        return;
    }
    const int n = snprintf(out, size, "%.*f", digits > 0 ? (int) digits : 0, value);
    const char *point = localeconv()->decimal_point;
    char *p = n > 0 && point && point[0] ? strchr(out, point[0]) : NULL;
    if (p)
        *p = '.';
}

static lathe_status check(const lathe_plot *p, lathe_error *err) {
    if (p->kind == LATHE_PLOT_HEAT && (p->rows < 1 || p->cols < 1))
        return lathe_fail(err, LATHE_ERR_ARG, "a heat map needs cells, not %d x %d", p->rows, p->cols);
    if (p->kind != LATHE_PLOT_TREE)
        return LATHE_OK;
    if (p->root >= 0 && (size_t) p->root >= p->n_nodes)
        return lathe_fail(err, LATHE_ERR_ARG, "root %d is not among %zu nodes", p->root, p->n_nodes);
    for (size_t i = 0; i < p->n_edges; i++) {
        const lathe_plot_edge *e = &p->edges[i];
        if (e->u < 0 || e->v < 0 || (size_t) e->u >= p->n_nodes || (size_t) e->v >= p->n_nodes)
            return lathe_fail(err, LATHE_ERR_ARG, "edge %zu joins %d and %d, there are %zu nodes", i, e->u,
                              e->v, p->n_nodes);
    }
    return LATHE_OK;
}

lathe_status lathe_plot_draw(const lathe_plot *plot, int32_t number, struct lathe_buf *out,
                             lathe_error *err) {
    const lathe_status st = check(plot, err);
    if (st)
        return st;
    lathe_pen pen = {.out = out, .err = err};
    switch (plot->kind) {
    case LATHE_PLOT_LINE:
    case LATHE_PLOT_SCATTER:
        lathe_plot_draw_xy(&pen, plot, number);
        break;
    case LATHE_PLOT_BAR:
        lathe_plot_draw_bar(&pen, plot, number);
        break;
    case LATHE_PLOT_HEAT:
        lathe_plot_draw_heat(&pen, plot, number);
        break;
    case LATHE_PLOT_TREE:
        lathe_plot_draw_tree(&pen, plot, number);
        break;
    default:
        return lathe_fail(err, LATHE_ERR_ARG, "no such kind of plot: %d", (int) plot->kind);
    }
    return pen.status;
}
