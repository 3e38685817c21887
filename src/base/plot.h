/* plot.h - pictures as SVG text: lines with bands, points, bars, heat maps, trees.
 *
 * A plot is data, labels and scales; it knows nothing of where the data come from. Drawings are 640 user
 * units wide and scale with the page. Colours are the CSS variables of report.h's page (--c0 to --c5, --fg,
 * --dim, --grid), so that one drawing serves light and dark pages. Values that are not finite are left out (a
 * line breaks there). */
#ifndef LATHE_BASE_PLOT_H
#define LATHE_BASE_PLOT_H

#include "base/markup.h"

typedef enum lathe_plot_kind {
    LATHE_PLOT_LINE,
    LATHE_PLOT_SCATTER,
    LATHE_PLOT_BAR,
    LATHE_PLOT_HEAT,
    LATHE_PLOT_TREE,
} lathe_plot_kind;

/* One line or cloud of points. */
typedef struct lathe_series {
    const char *name;         /* stands at the line's right end */
    const double *x, *y;      /* [n]; for lines x does not fall */
    const double *low, *high; /* [n] ends of the band (95% interval); NULL: none */
    size_t n;
} lathe_series;

typedef struct lathe_bar {
    const char *name;
    double value, low, high; /* low == high: no whisker */
} lathe_bar;

typedef struct lathe_plot_node {
    const char *name; /* NULL: nameless */
    bool hidden;      /* drawn hollow */
} lathe_plot_node;

typedef struct lathe_plot_edge {
    int32_t u, v;
    double weight;  /* written at the edge; NaN: nothing */
    double support; /* in [0, 1], the line's width; NaN: 1 */
} lathe_plot_edge;

typedef struct lathe_plot {
    lathe_plot_kind kind;
    const char *title;
    const char *finding; /* one sentence: what there is to see (read out to those who cannot) */
    const char *x_label, *y_label;
    bool log_x, log_y;          /* LINE, SCATTER: values <= 0 are left out */
    const lathe_series *series; /* LINE, SCATTER */
    size_t n_series;
    const char *mark_label; /* LINE, SCATTER: a thin horizontal line at mark, named; NULL: none */
    double mark;
    bool diagonal;         /* SCATTER: the line y = x */
    const lathe_bar *bars; /* BAR: drawn from the largest down */
    size_t n_bars;
    const double *cells; /* HEAT: [rows][cols] */
    int32_t rows, cols;
    bool diverging;               /* HEAT: zero has the page's colour, the two signs a colour each */
    const lathe_plot_node *nodes; /* TREE (a forest, or any graph: edges beyond a tree are straight lines) */
    size_t n_nodes;
    const lathe_plot_edge *edges;
    size_t n_edges;
    int32_t root; /* TREE: layered from this node; -1: radial */
} lathe_plot;

/* Writes one <svg> element. `number` distinguishes the ids of several drawings on a page.
 * LATHE_ERR_ARG for sizes that contradict (an edge to a node that is not there). */
LATHE_NODISCARD lathe_status lathe_plot_draw(const lathe_plot *plot, int32_t number, struct lathe_buf *out,
                                             lathe_error *err);

/* --- Shared by the kinds (plot_*.c) ---------------------------------------------------------------- */

enum { LATHE_PLOT_WIDTH = 640, LATHE_PLOT_COLOURS = 6 };

/* <svg>, <title> and <desc>; close with </svg>. */
void lathe_plot_open(lathe_pen *pen, const lathe_plot *plot, int32_t number, double height);
/* <text x y [anchor] [class]>text</text>; anchor "start", "middle" or "end". */
void lathe_plot_text(lathe_pen *pen, double x, double y, const char *anchor, const char *text);
/* About how wide a text of 12 px is. */
double lathe_plot_text_width(const char *text);
/* A copy of text of at most n characters, ended by an ellipsis where it was cut. out [size]. */
void lathe_plot_cut(const char *text, size_t n, char *out, size_t size);
/* Round numbers within [low, high], about `wanted` of them (never over 16); returns how many. Steps of 1,
 * 2, 5. */
int lathe_plot_ticks(double low, double high, int wanted, double out[16]);
/* A tick's value with as many decimals as the step between ticks has. */
void lathe_plot_tick_text(double value, double step, char *out, size_t size);
void lathe_plot_draw_xy(lathe_pen *pen, const lathe_plot *plot, int32_t number);
void lathe_plot_draw_bar(lathe_pen *pen, const lathe_plot *plot, int32_t number);
void lathe_plot_draw_heat(lathe_pen *pen, const lathe_plot *plot, int32_t number);
void lathe_plot_draw_tree(lathe_pen *pen, const lathe_plot *plot, int32_t number);

#endif
