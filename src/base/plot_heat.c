/* plot_heat.c - matrices as colours: rectangles with their values up to 64 x 64, beyond a picture of 256
 * colours, at most 256 x 256 (larger ones by the largest value of each patch). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/plot.h"
#include "base/png.h"
#include "base/text.h"

enum { RECTS = 64, PICTURE = 256, LEFT = 60, TOP = 24, SIDE = 460 };

typedef struct scale {
    double low, high; /* diverging: -size, size */
    bool diverging;
} scale;

/* Five anchors, dark for low in both themes, interpolated in linear light. */
static const uint8_t anchors[5][3] = {
    {0x1b, 0x10, 0x35}, {0x4b, 0x2f, 0x87}, {0xb5, 0x36, 0x7a}, {0xf2, 0x80, 0x4a}, {0xfb, 0xe8, 0xa6}};

static double to_linear(double c) {
    return c <= 0.04045 ? c / 12.92 : pow((c + 0.055) / 1.055, 2.4);
}
static double from_linear(double c) {
    return c <= 0.0031308 ? c * 12.92 : 1.055 * pow(c, 1 / 2.4) - 0.055;
}

/* share in [0, 1]. Diverging: two hues whose opacity is the size, so that zero is the page itself. */
static void colour_of(bool diverging, double share, uint8_t out[4]) {
    if (diverging) {
        static const uint8_t cold[3] = {0x00, 0x72, 0xb2}, warm[3] = {0xd5, 0x5e, 0x00};
        memcpy(out, share < 0.5 ? cold : warm, 3);
        out[3] = (uint8_t) lround(255 * fabs(2 * share - 1));
        return;
    }
    const double at = share * 4;
    const int i = at >= 4 ? 3 : (int) at;
    for (int k = 0; k < 3; k++) {
        const double a = to_linear(anchors[i][k] / 255.0), b = to_linear(anchors[i + 1][k] / 255.0);
        out[k] = (uint8_t) lround(255 * from_linear(a + (b - a) * (at - i)));
    }
    out[3] = 255;
}

static double share_of(const scale *s, double v) {
    return s->high > s->low ? fmax(0, fmin(1, (v - s->low) / (s->high - s->low))) : s->diverging ? 0.5 : 0;
}

static scale range(const lathe_plot *p) {
    scale s = {INFINITY, -INFINITY, p->diverging};
    for (size_t i = 0; i < (size_t) p->rows * (size_t) p->cols; i++)
        if (isfinite(p->cells[i])) {
            s.low = fmin(s.low, fmax(-1e300, p->cells[i]));
            s.high = fmax(s.high, fmin(1e300, p->cells[i]));
        }
    if (!(s.low <= s.high))
        s.low = s.high = 0;
    if (p->diverging) {
        s.high = fmax(fabs(s.low), fabs(s.high));
        s.low = -s.high;
    }
    return s;
}

static void rect(lathe_pen *pen, double x, double y, double w, double h) {
    lathe_pen_markup(pen, "<rect x=\"");
    lathe_pen_coord(pen, x);
    lathe_pen_markup(pen, "\" y=\"");
    lathe_pen_coord(pen, y);
    lathe_pen_markup(pen, "\" width=\"");
    lathe_pen_coord(pen, w);
    lathe_pen_markup(pen, "\" height=\"");
    lathe_pen_coord(pen, h);
    lathe_pen_markup(pen, "\"");
}

static void fill(lathe_pen *pen, bool diverging, double share) {
    uint8_t c[4];
    colour_of(diverging, share, c);
    lathe_pen_markup(pen, " fill=\"#%02x%02x%02x\"", c[0], c[1], c[2]);
    if (c[3] < 255) {
        const int thousandths = (c[3] * 1000 + 127) / 255;
        lathe_pen_markup(pen, " fill-opacity=\".%03d\"", thousandths);
    }
}

static void rectangles(lathe_pen *pen, const lathe_plot *p, const scale *s, double w, double h) {
    for (int32_t i = 0; i < p->rows; i++)
        for (int32_t k = 0; k < p->cols; k++) {
            const double v = p->cells[(size_t) i * (size_t) p->cols + (size_t) k];
            if (!isfinite(v))
                continue; /* a hole */
            rect(pen, LEFT + k * w, TOP + i * h, w, h);
            fill(pen, p->diverging, share_of(s, v));
            lathe_pen_markup(pen, "><title>row %d, column %d: ", i, k);
            lathe_pen_figure(pen, v);
            lathe_pen_markup(pen, "</title></rect>\n");
        }
}

static void picture(lathe_pen *pen, const lathe_plot *p, const scale *s, double width, double height) {
    const int32_t step = (int32_t) ceil(fmax(p->rows, p->cols) / (double) PICTURE);
    const int32_t rows = (p->rows + step - 1) / step, cols = (p->cols + step - 1) / step;
    const int32_t w = cols, h = rows;
    uint8_t palette[256][4], *pixels = malloc((size_t) w * (size_t) h);
    if (!pixels) {
        pen->status = lathe_fail(pen->err, LATHE_ERR_MEMORY, "no memory for a picture of %d x %d", w, h);
        return;
    }
    for (int i = 0; i < 255; i++)
        colour_of(p->diverging, i / 254.0, palette[i]);
    memset(palette[255], 0, 4); /* holes */
    for (int32_t y = 0; y < h; y++)
        for (int32_t x = 0; x < w; x++) {
            double best = NAN;
            for (int32_t i = y * step; i < (y + 1) * step && i < p->rows; i++)
                for (int32_t k = x * step; k < (x + 1) * step && k < p->cols; k++) {
                    const double v = p->cells[(size_t) i * (size_t) p->cols + (size_t) k];
                    if (isfinite(v) && !(p->diverging ? fabs(v) <= fabs(best) : v <= best))
                        best = v;
                }
            pixels[(size_t) y * (size_t) w + (size_t) x] =
                isfinite(best) ? (uint8_t) lround(254 * share_of(s, best)) : 255;
        }
    lathe_buf png;
    lathe_buf_init(&png, 1 << 20);
    const lathe_status st = lathe_png_write(pixels, w, h, (const uint8_t(*)[4]) palette, 256, &png, pen->err);
    if (st)
        pen->status = st;
    else {
        lathe_pen_markup(pen, "<image x=\"%d\" y=\"%d\" width=\"", LEFT, TOP);
        lathe_pen_coord(pen, width);
        lathe_pen_markup(pen, "\" height=\"");
        lathe_pen_coord(pen, height);
        lathe_pen_markup(pen, "\" preserveAspectRatio=\"none\" style=\"image-rendering:pixelated\" "
                              "href=\"data:image/png;base64,");
        lathe_pen_base64(pen, (const uint8_t *) png.data, png.n_bytes);
        lathe_pen_markup(pen, "\"/>\n");
    }
    if (step > 1)
        lathe_pen_markup(pen, "<text x=\"%d\" y=\"14\">each point: the largest of %d x %d</text>\n",
                         LEFT + 200, step, step);
    lathe_buf_free(&png);
    free(pixels);
}

static void colour_bar(lathe_pen *pen, const scale *s, bool diverging, double x, double height) {
    enum { PIECES = 32 };
    for (int i = 0; i < PIECES; i++) {
        rect(pen, x, TOP + height - (i + 1) * height / PIECES, 14, height / PIECES + 0.3);
        fill(pen, diverging, (i + 0.5) / PIECES);
        lathe_pen_markup(pen, "/>");
    }
    lathe_pen_markup(pen, "\n");
    for (int i = 0; i < 3; i++) {
        char text[40];
        lathe_format_figure(s->low / 2 * (2 - i) + s->high / 2 * i, text, sizeof text);
        lathe_plot_text(pen, x + 20, TOP + height * (1 - i / 2.0) + 4, "start", text);
    }
}

void lathe_plot_draw_heat(lathe_pen *pen, const lathe_plot *p, int32_t number) {
    const scale s = range(p);
    const double cell = fmin(40, (double) SIDE / (p->cols > p->rows ? p->cols : p->rows));
    const double width = p->cols > p->rows ? fmin(SIDE, cell * p->cols) : cell * p->cols;
    const double height = fmax(40, cell * p->rows), wide = fmax(width, 40);
    lathe_plot_open(pen, p, number, TOP + height + 40);
    if (p->rows <= RECTS && p->cols <= RECTS)
        rectangles(pen, p, &s, wide / p->cols, height / p->rows);
    else
        picture(pen, p, &s, wide, height);
    colour_bar(pen, &s, p->diverging, LEFT + wide + 24, height);
    char text[24];
    lathe_plot_text(pen, LEFT - 6, TOP + 10, "end", "0");
    lathe_format_count(p->rows - 1, text, sizeof text);
    if (p->rows > 1)
        lathe_plot_text(pen, LEFT - 6, TOP + height - 2, "end", text);
    lathe_plot_text(pen, LEFT, TOP + height + 16, "start", "0");
    lathe_format_count(p->cols - 1, text, sizeof text);
    if (p->cols > 1)
        lathe_plot_text(pen, LEFT + wide, TOP + height + 16, "end", text);
    if (p->x_label)
        lathe_plot_text(pen, LEFT, TOP + height + 34, "start", p->x_label);
    if (p->y_label)
        lathe_plot_text(pen, 4, 14, "start", p->y_label);
    lathe_pen_markup(pen, "</svg>\n");
}
