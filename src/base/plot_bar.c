/* plot_bar.c - horizontal bars from the largest down, zero included, values printed, whiskers for intervals.
 */
#include <math.h>
#include <stdlib.h>

#include "base/plot.h"
#include "base/text.h"

enum { ROW = 24, TOP = 8, BOTTOM = 40, BARS_MAX = 60 };

static int larger_first(const void *a, const void *b) {
    const lathe_bar *const *x = a, *const *y = b;
    const double u = isnan((*x)->value) ? -INFINITY : (*x)->value,
                 v = isnan((*y)->value) ? -INFINITY : (*y)->value;
    if (u != v)
        return u > v ? -1 : 1;
    return *x < *y ? -1 : 1; /* equal values keep their order */
}

static double finite(double v) {
    return isfinite(v) ? fmax(-1e300, fmin(1e300, v)) : 0;
}

static void box(lathe_pen *pen, double x, double y, double width, double height) {
    lathe_pen_markup(pen, "<rect x=\"");
    lathe_pen_coord(pen, x);
    lathe_pen_markup(pen, "\" y=\"");
    lathe_pen_coord(pen, y);
    lathe_pen_markup(pen, "\" width=\"");
    lathe_pen_coord(pen, width);
    lathe_pen_markup(pen, "\" height=\"");
    lathe_pen_coord(pen, height);
    lathe_pen_markup(pen, "\"/>");
}

static void whisker(lathe_pen *pen, double low, double high, double y) {
    const double v[3][4] = {{low, y, high, y}, {low, y - 4, low, y + 4}, {high, y - 4, high, y + 4}};
    lathe_pen_markup(pen, "<path class=\"whisker\" d=\"");
    for (int i = 0; i < 3; i++) {
        lathe_pen_markup(pen, "M");
        for (int k = 0; k < 4; k++) {
            lathe_pen_coord(pen, v[i][k]);
            lathe_pen_markup(pen, k == 1 ? " L" : k == 3 ? "" : " ");
        }
    }
    lathe_pen_markup(pen, "\"/>");
}

void lathe_plot_draw_bar(lathe_pen *pen, const lathe_plot *plot, int32_t number) {
    const size_t n = plot->n_bars < BARS_MAX ? plot->n_bars : BARS_MAX;
    const lathe_bar **order = malloc((plot->n_bars + 1) * sizeof *order);
    if (!order) {
        pen->status = lathe_fail(pen->err, LATHE_ERR_MEMORY, "no memory for %zu bars", plot->n_bars);
        return;
    }
    double low = 0, high = 0, room = 0;
    for (size_t i = 0; i < plot->n_bars; i++)
        order[i] = &plot->bars[i];
    qsort(order, plot->n_bars, sizeof *order, larger_first);
    for (size_t i = 0; i < n; i++) {
        char text[96];
        lathe_plot_cut(order[i]->name, 28, text, sizeof text);
        room = fmax(room, lathe_plot_text_width(text));
        low = fmin(low, fmin(finite(order[i]->value), finite(order[i]->low)));
        high = fmax(high, fmax(finite(order[i]->value), finite(order[i]->high)));
    }
    if (low == high)
        high = 1;
    const double left = room + 16, right = LATHE_PLOT_WIDTH - 70, bottom = TOP + (double) n * ROW;
    const double scale = (right - left) / (high - low), zero = left - low * scale;
    lathe_plot_open(pen, plot, number, bottom + BOTTOM);
    double ticks[16];
    const int n_ticks = lathe_plot_ticks(low, high, 5, ticks);
    for (int i = 0; i < n_ticks; i++) {
        const double x = left + (ticks[i] - low) * scale;
        char text[40];
        lathe_plot_tick_text(ticks[i], n_ticks > 1 ? ticks[1] - ticks[0] : 1, text, sizeof text);
        lathe_pen_markup(pen, "<path class=\"grid\" d=\"M");
        lathe_pen_coord(pen, x);
        lathe_pen_markup(pen, " %d V", TOP);
        lathe_pen_coord(pen, bottom);
        lathe_pen_markup(pen, "\"/>");
        lathe_plot_text(pen, x, bottom + 16, "middle", text);
    }
    for (size_t i = 0; i < n; i++) {
        const lathe_bar *b = order[i];
        const double y = TOP + (double) i * ROW + ROW / 2.0, x = left + (finite(b->value) - low) * scale;
        char text[96];
        lathe_plot_cut(b->name, 28, text, sizeof text);
        lathe_plot_text(pen, left - 8, y + 4, "end", text);
        lathe_pen_markup(pen, "<g class=\"bar\">");
        box(pen, fmin(x, zero), y - 8, fabs(x - zero), 16);
        lathe_pen_markup(pen, "</g>");
        double end = fmax(x, zero);
        if (isfinite(b->low) && isfinite(b->high) && b->low < b->high) {
            whisker(pen, left + (finite(b->low) - low) * scale, left + (finite(b->high) - low) * scale, y);
            end = fmax(end, left + (finite(b->high) - low) * scale);
        }
        lathe_format_figure(b->value, text, sizeof text);
        lathe_plot_text(pen, end + 6, y + 4, "start", text);
    }
    if (plot->n_bars > n) {
        lathe_pen_markup(pen, "<text x=\"4\" y=\"");
        lathe_pen_coord(pen, bottom + 32);
        lathe_pen_markup(pen, "\">%zu more are left out</text>", plot->n_bars - n);
    }
    if (plot->x_label)
        lathe_plot_text(pen, (left + right) / 2, bottom + 34, "middle", plot->x_label);
    lathe_pen_markup(pen, "</svg>\n");
    free(order);
}
