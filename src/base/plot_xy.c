/* plot_xy.c - lines with bands of their 95% interval, and clouds of points, over linear or logarithmic axes.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/plot.h"
#include "base/text.h"

enum {
    HEIGHT = 320,
    LEFT = 60,
    RIGHT = 20,
    TOP = 20,
    BOTTOM = 44,
    COLUMNS = 300,  /* a line is drawn by the lowest and highest value of each column */
    LABELLED = 12,  /* more series than these go without a name */
    DOTS_MAX = 5000 /* of a cloud, spread evenly over its points */
};

static const char *const dashes[] = {"", "6 4", "2 3", "9 3 2 3", "12 4", "1 4"};

typedef struct axis {
    double low, high; /* of the logarithm where log */
    bool log;
    double from, to; /* user units */
} axis;

static bool place(const axis *a, double v, double *at) {
    if (!isfinite(v) || (a->log && !(v > 0)))
        return false;
    const double x = a->log ? log10(v) : fmax(-1e300, fmin(1e300, v));
    *at = a->from + (a->to - a->from) * ((x - a->low) / (a->high - a->low));
    return isfinite(*at);
}

static void widen(axis *a, double v) {
    if (!isfinite(v) || (a->log && !(v > 0)))
        return;
    const double x = a->log ? log10(v) : fmax(-1e300, fmin(1e300, v));
    a->low = fmin(a->low, x);
    a->high = fmax(a->high, x);
}

/* Room around the values; one value gets an axis around it; none gets [0, 1]. */
static void settle(axis *a, double margin) {
    if (!(a->low <= a->high)) {
        a->low = 0;
        a->high = 1;
    }
    const double range = a->high - a->low;
    const double room = range > 0 ? range * margin : a->low != 0 && !a->log ? fabs(a->low) * 0.1 : 0.5;
    a->low -= room;
    a->high += room;
}

/* --- Axes ------------------------------------------------------------------------------------------- */

static int ticks_of(const axis *a, double out[16]) {
    if (!a->log)
        return lathe_plot_ticks(a->low, a->high, 5, out);
    const double decades = a->high - a->low;
    int n = 0;
    if (decades > 2.5) { /* powers of ten alone */
        const double step = ceil(decades / 7);
        for (double k = ceil(a->low); k <= a->high && n < 16; k += step)
            out[n++] = pow(10, k);
        return n;
    }
    for (double k = floor(a->low); k <= a->high; k++)
        for (int i = 0; i < 3 && n < 16; i++) {
            const double v = pow(10, k) * (i == 0 ? 1 : i == 1 ? 2 : 5);
            if (log10(v) >= a->low && log10(v) <= a->high)
                out[n++] = v;
        }
    return n > 1 ? n : (out[0] = pow(10, a->low), out[1] = pow(10, a->high), 2);
}

static void tick_text(const axis *a, const double *t, int n, int i, char *out, size_t size) {
    if (a->log || n < 2)
        lathe_format_figure(t[i], out, size);
    else
        lathe_plot_tick_text(t[i], t[1] - t[0], out, size);
}

static void segment(lathe_pen *pen, double x1, double y1, double x2, double y2) {
    const double v[4] = {x1, y1, x2, y2};
    static const char *const names[4] = {"x1", "y1", "x2", "y2"};
    lathe_pen_markup(pen, "<line");
    for (int i = 0; i < 4; i++) {
        lathe_pen_markup(pen, " %s=\"", names[i]);
        lathe_pen_coord(pen, v[i]);
        lathe_pen_markup(pen, "\"");
    }
    lathe_pen_markup(pen, "/>");
}

static void axes(lathe_pen *pen, const lathe_plot *plot, const axis *x, const axis *y) {
    double t[16];
    char text[40];
    int n = ticks_of(y, t);
    lathe_pen_markup(pen, "<g class=\"grid\">");
    for (int i = 0; i < n; i++) {
        double at;
        if (place(y, t[i], &at))
            segment(pen, x->from, at, x->to, at);
    }
    segment(pen, x->from, y->from, x->to, y->from);
    lathe_pen_markup(pen, "</g>\n");
    for (int i = 0; i < n; i++) {
        double at;
        tick_text(y, t, n, i, text, sizeof text);
        if (place(y, t[i], &at))
            lathe_plot_text(pen, x->from - 6, at + 4, "end", text);
    }
    n = ticks_of(x, t);
    for (int i = 0; i < n; i++) {
        double at;
        tick_text(x, t, n, i, text, sizeof text);
        if (place(x, t[i], &at))
            lathe_plot_text(pen, at, y->from + 16, "middle", text);
    }
    if (plot->x_label)
        lathe_plot_text(pen, (x->from + x->to) / 2, HEIGHT - 8, "middle", plot->x_label);
    if (plot->y_label)
        lathe_plot_text(pen, 4, 12, "start", plot->y_label);
}

/* --- Lines ------------------------------------------------------------------------------------------ */

/* *open counts the points of the piece of line that is open. */
static void point(lathe_pen *pen, double x, double y, size_t *open) {
    lathe_pen_markup(pen, *open ? " L" : "M");
    lathe_pen_coord(pen, x);
    lathe_pen_markup(pen, " ");
    lathe_pen_coord(pen, y);
    (*open)++;
}

/* A piece of one point becomes a dot: round ends make a length of nothing visible. */
static void end_piece(lathe_pen *pen, size_t *open) {
    if (*open == 1)
        lathe_pen_markup(pen, " h0");
    *open = 0;
}

typedef struct column {
    long index; /* -1: empty */
    double low, high, first, last, x;
} column;

static void flush_column(lathe_pen *pen, const column *c, size_t *open) {
    if (c->index < 0)
        return;
    const bool rising = c->last >= c->first;
    point(pen, c->x, rising ? c->low : c->high, open);
    if (c->low != c->high)
        point(pen, c->x, rising ? c->high : c->low, open);
}

/* Many points: the lowest and highest of each column of the picture, so that no spike is lost. */
static void line(lathe_pen *pen, const lathe_series *s, const axis *x, const axis *y) {
    const bool thin = s->n > 2 * COLUMNS;
    size_t open = 0;
    column c = {.index = -1};
    for (size_t i = 0; i < s->n; i++) {
        double px, py;
        if (!place(x, s->x[i], &px) || !place(y, s->y[i], &py)) {
            flush_column(pen, &c, &open);
            c.index = -1;
            end_piece(pen, &open);
            continue;
        }
        if (!thin) {
            point(pen, px, py, &open);
            continue;
        }
        const long k = lround((px - x->from) / (x->to - x->from) * COLUMNS);
        if (k != c.index) {
            flush_column(pen, &c, &open);
            c = (column){.index = k, .low = py, .high = py, .first = py, .x = px};
        }
        c.low = fmin(c.low, py);
        c.high = fmax(c.high, py);
        c.last = py;
    }
    flush_column(pen, &c, &open);
    end_piece(pen, &open);
}

/* The band, forth along the upper ends and back along the lower ones; at most 2 COLUMNS points a side. */
static void band(lathe_pen *pen, const lathe_series *s, const axis *x, const axis *y, size_t colour) {
    const size_t stride = s->n / (2 * COLUMNS) + 1;
    size_t open = 0;
    lathe_pen_markup(pen, "<path class=\"band\" style=\"fill:var(--c%zu)\" d=\"", colour);
    for (int back = 0; back < 2; back++)
        for (size_t k = 0; k < s->n; k += stride) {
            const size_t i = back ? (s->n - 1) / stride * stride - k : k;
            double px, py;
            if (place(x, s->x[i], &px) && place(y, back ? s->low[i] : s->high[i], &py))
                point(pen, px, py, &open);
        }
    lathe_pen_markup(pen, open ? "Z\"/>\n" : "\"/>\n");
}

/* Names at the right ends, moved apart where they would overlap. */
static void names(lathe_pen *pen, const lathe_plot *plot, const axis *x, const axis *y) {
    double at[LABELLED];
    size_t order[LABELLED], n = 0;
    for (size_t s = 0; s < plot->n_series && n < LABELLED; s++) {
        const lathe_series *one = &plot->series[s];
        double px, py = 0;
        bool found = false;
        for (size_t i = one->n; i-- > 0 && !found;)
            found = place(x, one->x[i], &px) && place(y, one->y[i], &py);
        if (!found || !one->name)
            continue;
        size_t k = n++;
        for (; k > 0 && at[k - 1] > py; k--) {
            at[k] = at[k - 1];
            order[k] = order[k - 1];
        }
        at[k] = py;
        order[k] = s;
    }
    for (size_t k = 1; k < n; k++)
        at[k] = fmax(at[k], at[k - 1] + 14);
    for (size_t k = n; k-- > 0;)
        at[k] = fmin(at[k], k + 1 < n ? at[k + 1] - 14 : y->from - 2);
    for (size_t k = 0; k < n; k++) {
        char text[96];
        lathe_plot_cut(plot->series[order[k]].name, 22, text, sizeof text);
        lathe_pen_markup(pen, "<g class=\"k%zu\">", order[k] % LATHE_PLOT_COLOURS);
        lathe_plot_text(pen, x->to + 6, at[k] + 4, "start", text);
        lathe_pen_markup(pen, "</g>");
    }
}

/* --- Points ----------------------------------------------------------------------------------------- */

static void dots(lathe_pen *pen, const lathe_series *s, const axis *x, const axis *y, size_t colour) {
    const size_t stride = s->n / DOTS_MAX + 1;
    lathe_pen_markup(pen, "<g class=\"dot\" style=\"fill:var(--c%zu)\">", colour);
    for (size_t i = 0; i < s->n; i += stride) {
        double px, py;
        if (!place(x, s->x[i], &px) || !place(y, s->y[i], &py))
            continue;
        lathe_pen_markup(pen, "<circle cx=\"");
        lathe_pen_coord(pen, px);
        lathe_pen_markup(pen, "\" cy=\"");
        lathe_pen_coord(pen, py);
        lathe_pen_markup(pen, "\" r=\"3\"/>");
    }
    lathe_pen_markup(pen, "</g>\n");
}

/* --- The drawing ------------------------------------------------------------------------------------ */

static void ranges(const lathe_plot *plot, axis *x, axis *y) {
    for (size_t s = 0; s < plot->n_series; s++) {
        const lathe_series *one = &plot->series[s];
        for (size_t i = 0; i < one->n; i++) {
            if (!isfinite(one->y[i]) || !isfinite(one->x[i]))
                continue;
            widen(x, one->x[i]);
            widen(y, one->y[i]);
            if (one->low && one->high) {
                widen(y, one->low[i]);
                widen(y, one->high[i]);
            }
        }
    }
    if (plot->mark_label)
        widen(y, plot->mark);
    settle(x, plot->kind == LATHE_PLOT_LINE ? 0 : 0.04);
    settle(y, 0.06);
}

static double label_room(const lathe_plot *plot) {
    double room = 0;
    for (size_t s = 0; s < plot->n_series && s < LABELLED; s++) {
        char text[96];
        lathe_plot_cut(plot->series[s].name, 22, text, sizeof text);
        room = fmax(room, lathe_plot_text_width(text));
    }
    return room > 0 ? room + 12 : 0;
}

void lathe_plot_draw_xy(lathe_pen *pen, const lathe_plot *plot, int32_t number) {
    axis x = {INFINITY, -INFINITY, plot->log_x, LEFT, LATHE_PLOT_WIDTH - fmax(RIGHT, label_room(plot))};
    axis y = {INFINITY, -INFINITY, plot->log_y, HEIGHT - BOTTOM, TOP};
    ranges(plot, &x, &y);
    lathe_plot_open(pen, plot, number, HEIGHT);
    axes(pen, plot, &x, &y);
    double at;
    if (plot->mark_label && place(&y, plot->mark, &at)) {
        lathe_pen_markup(pen, "<g class=\"mark\">");
        segment(pen, x.from, at, x.to, at);
        lathe_pen_markup(pen, "</g>\n");
        lathe_plot_text(pen, x.from + 4, at - 4, "start", plot->mark_label);
    }
    if (plot->diagonal) {
        const double from = fmax(x.low, y.low), to = fmin(x.high, y.high);
        const double ends[2] = {x.log ? pow(10, from) : from, x.log ? pow(10, to) : to};
        double p[4];
        if (from < to && place(&x, ends[0], &p[0]) && place(&y, ends[0], &p[1]) &&
            place(&x, ends[1], &p[2]) && place(&y, ends[1], &p[3])) {
            lathe_pen_markup(pen, "<g class=\"mark\">");
            segment(pen, p[0], p[1], p[2], p[3]);
            lathe_pen_markup(pen, "</g>\n");
        }
    }
    for (size_t s = 0; s < plot->n_series; s++) {
        const lathe_series *one = &plot->series[s];
        const size_t colour = s % LATHE_PLOT_COLOURS;
        if (plot->kind == LATHE_PLOT_SCATTER) {
            dots(pen, one, &x, &y, colour);
            continue;
        }
        if (one->low && one->high)
            band(pen, one, &x, &y, colour);
        lathe_pen_markup(pen, "<path class=\"line\" style=\"stroke:var(--c%zu)", colour);
        if (dashes[s % LATHE_LEN(dashes)][0])
            lathe_pen_markup(pen, ";stroke-dasharray:%s", dashes[s % LATHE_LEN(dashes)]);
        lathe_pen_markup(pen, "\" d=\"");
        line(pen, one, &x, &y);
        lathe_pen_markup(pen, "\"/>\n");
        if (one->n == 1)
            dots(pen, one, &x, &y, colour);
    }
    names(pen, plot, &x, &y);
    lathe_pen_markup(pen, "</svg>\n");
}
