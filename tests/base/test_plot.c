/* Drawings: small ones against stored pictures, odd values and hostile names, each a well-formed element. */
#include "support/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/plot.h"
#include "support/xml.h"

#define HOSTILE "</script><img src=x onerror=alert(1)>\"'&amp;\x01\xff\xed\xa0\x80\xef\xbf\xbe"

static char *draw(const lathe_plot *plot) {
    lathe_buf out;
    lathe_error err = {0};
    lathe_buf_init(&out, 8 << 20);
    check_ok(lathe_plot_draw(plot, 1, &out, &err), err);
    char *text = lathe_buf_take(&out, NULL);
    const char *fault = xml_fault(text);
    if (fault)
        fail_msg("%s: %s", plot->title, fault);
    assert_null(strstr(text, "nan"));
    assert_null(strstr(text, "inf\""));
    return text;
}

/* Compares with tests/base/golden/NAME.svg; GOLDEN_WRITE=1 writes it (then look at it). */
static void golden(const char *name, const lathe_plot *plot) {
    char path[1024];
    char *text = draw(plot), *want = NULL;
    lathe_error err = {0};
    assert_true(snprintf(path, sizeof path, "%s/tests/base/golden/%s.svg", LATHE_SOURCE_DIR, name) > 0);
    if (getenv("GOLDEN_WRITE"))
        check_ok(lathe_file_write(path, text, strlen(text), &err), err);
    check_ok(lathe_file_read(path, 1 << 20, &want, NULL, &err), err);
    assert_string_equal(text, want);
    free(want);
    free(text);
}

static const double x4[] = {0, 1, 2, 4}, y4[] = {3, 1, 2, 0.5}, low4[] = {2, 0.5, 1.5, 0.25},
                    high4[] = {4, 1.5, 2.5, 1};

static void line_with_band(void **state) {
    (void) state;
    const lathe_series s[] = {{.name = "first", .x = x4, .y = y4, .low = low4, .high = high4, .n = 4},
                              {.name = "second", .x = x4, .y = high4, .n = 4}};
    const lathe_plot p = {.kind = LATHE_PLOT_LINE,
                          .title = "A line",
                          .finding = "It falls.",
                          .x_label = "steps",
                          .y_label = "loss",
                          .series = s,
                          .n_series = 2,
                          .mark_label = "paper",
                          .mark = 2};
    golden("line", &p);
}

static void log_axes(void **state) {
    (void) state;
    const double x[] = {1, 10, 100, 1000}, y[] = {0.001, 0.1, 0, 50};
    const lathe_series s = {.name = "power", .x = x, .y = y, .n = 4};
    const lathe_plot p = {.kind = LATHE_PLOT_LINE,
                          .title = "Logarithmic",
                          .finding = "Zero is left out.",
                          .log_x = true,
                          .log_y = true,
                          .series = &s,
                          .n_series = 1};
    golden("log", &p);
}

static void points(void **state) {
    (void) state;
    const lathe_series s = {.name = "runs", .x = x4, .y = y4, .n = 4};
    const lathe_plot p = {.kind = LATHE_PLOT_SCATTER,
                          .title = "Points",
                          .finding = "They scatter.",
                          .series = &s,
                          .n_series = 1,
                          .diagonal = true};
    golden("scatter", &p);
}

static void bars(void **state) {
    (void) state;
    const lathe_bar b[] = {{"small", 0.5, 0.5, 0.5}, {"large", 3, 2.5, 3.5}, {"negative", -1, -1.25, -0.5}};
    const lathe_plot p = {
        .kind = LATHE_PLOT_BAR, .title = "Bars", .finding = "One is large.", .bars = b, .n_bars = 3};
    golden("bar", &p);
    char *text = draw(&p); /* from the largest down */
    assert_true(strstr(text, ">large<") < strstr(text, ">small<"));
    assert_true(strstr(text, ">small<") < strstr(text, ">negative<"));
    free(text);
}

/* Where the line's points lie, by hand: x from 60 to the labels, y from 276 up to 20 over [0.34, 4.16] + 6%.
 */
static void coordinates_by_hand(void **state) {
    (void) state;
    const double x[] = {0, 10}, y[] = {0, 100};
    const lathe_series s = {.x = x, .y = y, .n = 2};
    const lathe_plot p = {.kind = LATHE_PLOT_LINE, .title = "t", .finding = "f", .series = &s, .n_series = 1};
    char *text = draw(&p);
    /* y axis [-6, 106]: 0 lies 6/112 of 256 above 276, 100 lies 6/112 of 256 below 20; x axis exactly [60,
     * 620] */
    assert_non_null(strstr(text, "d=\"M60 262.3 L620 33.7\""));
    free(text);
}

static void odd_values_make_a_drawing(void **state) {
    (void) state;
    const double odd[][4] = {{NAN, NAN, NAN, NAN},
                             {1, NAN, INFINITY, 2},
                             {5, 5, 5, 5},
                             {1e308, -1e308, 1e300, -1e-300},
                             {-1, -2, -3, -4},
                             {0, 0, 0, 0},
                             {1e-310, 2e-310, 1e-310, 0}};
    for (size_t i = 0; i < LATHE_LEN(odd); i++)
        for (size_t n = 0; n <= 4; n++)
            for (int kind = 0; kind < 2; kind++)
                for (int logs = 0; logs < 4; logs++) {
                    const lathe_series s = {
                        .name = "odd", .x = x4, .y = odd[i], .low = odd[i], .high = y4, .n = n};
                    const lathe_plot p = {.kind = kind ? LATHE_PLOT_SCATTER : LATHE_PLOT_LINE,
                                          .title = "Odd",
                                          .finding = "No crash.",
                                          .series = &s,
                                          .n_series = 1,
                                          .log_x = logs & 1,
                                          .log_y = logs & 2,
                                          .diagonal = true};
                    free(draw(&p));
                }
    for (size_t i = 0; i < LATHE_LEN(odd); i++) {
        const lathe_bar b[] = {{"a", odd[i][0], odd[i][1], odd[i][2]},
                               {NULL, odd[i][3], odd[i][0], odd[i][3]}};
        for (size_t n = 0; n <= 2; n++) {
            const lathe_plot p = {
                .kind = LATHE_PLOT_BAR, .title = "Odd", .finding = "", .bars = b, .n_bars = n};
            free(draw(&p));
        }
    }
}

static void hostile_names_stay_text(void **state) {
    (void) state;
    const lathe_series s = {.name = HOSTILE, .x = x4, .y = y4, .n = 4};
    const lathe_bar b = {HOSTILE, 1, 0, 2};
    lathe_plot p = {.kind = LATHE_PLOT_LINE,
                    .title = HOSTILE,
                    .finding = HOSTILE,
                    .x_label = HOSTILE,
                    .y_label = HOSTILE,
                    .mark_label = HOSTILE,
                    .series = &s,
                    .n_series = 1,
                    .bars = &b,
                    .n_bars = 1,
                    .cells = y4,
                    .rows = 2,
                    .cols = 2,
                    .nodes = &(lathe_plot_node){HOSTILE, false},
                    .n_nodes = 1};
    for (int kind = LATHE_PLOT_LINE; kind <= LATHE_PLOT_TREE; kind++) {
        p.kind = (lathe_plot_kind) kind;
        char *text = draw(&p);
        assert_null(strstr(text, "<img"));
        assert_null(strstr(text, "</script"));
        assert_non_null(
            strstr(text, "&lt;img src=x onerror=alert(1)&gt;&quot;&#39;&amp;amp;\xef\xbf\xbd\xef\xbf\xbd"));
        free(text);
    }
}

/* A single spike among 100,000 points is still in the picture, which has at most 600 points. */
static void a_spike_survives_thinning(void **state) {
    (void) state;
    enum { N = 100000 };
    double *x = malloc(2 * N * sizeof *x), *y = x + N;
    assert_non_null(x);
    for (int i = 0; i < N; i++) {
        x[i] = i;
        y[i] = i == 33333 ? 1000 : sin(i * 0.01);
    }
    const lathe_series s = {.x = x, .y = y, .n = N};
    const lathe_plot p = {.kind = LATHE_PLOT_LINE, .title = "t", .finding = "f", .series = &s, .n_series = 1};
    char *text = draw(&p);
    size_t n = 0;
    for (const char *c = strstr(text, "class=\"line\""); c && *c && *c != '/'; c++)
        n += *c == 'L';
    assert_in_range(n, 200, 602);
    assert_non_null(strstr(text, " 33.7 L")); /* 1000 on the axis [-61.06, 1060.06] */
    free(text);
    free(x);
}

static void ticks_are_round(void **state) {
    (void) state;
    double t[16];
    assert_int_equal(lathe_plot_ticks(0, 10, 5, t), 6);
    check_near(t[5], 10, 1e-12);
    assert_int_equal(lathe_plot_ticks(-0.3, 0.31, 5, t), 3);
    check_near(t[0], -0.2, 1e-12);
    assert_int_equal(lathe_plot_ticks(1, 1, 5, t), 0);
    char text[40];
    lathe_plot_tick_text(2.4412, 0.0002, text, sizeof text);
    assert_string_equal(text, "2.4412");
    lathe_plot_tick_text(1.5e7, 5e6, text, sizeof text);
    assert_string_equal(text, "1.5e+07");
}

static void heat_map(void **state) {
    (void) state;
    const double cells[] = {0, 0.5, 1, NAN, 0.25, -0.5};
    lathe_plot p = {.kind = LATHE_PLOT_HEAT,
                    .title = "Heat",
                    .finding = "A hole.",
                    .x_label = "head",
                    .y_label = "layer",
                    .cells = cells,
                    .rows = 2,
                    .cols = 3};
    golden("heat", &p);
    p.diverging = true;
    golden("heat-signed", &p);
    char *text = draw(&p);
    assert_non_null(strstr(text, "<title>row 1, column 1: 0.25</title>"));
    assert_null(strstr(text, "<title>row 1, column 0:")); /* not a number: a hole */
    free(text);
}

/* Beyond 64 x 64 a picture; beyond 256 x 256 by patches. */
static void large_heat_maps_become_pictures(void **state) {
    (void) state;
    enum { N = 600 };
    double *cells = malloc(N * N * sizeof *cells);
    assert_non_null(cells);
    for (int i = 0; i < N * N; i++)
        cells[i] = (i / N + i % N) / (2.0 * N);
    lathe_plot p = {
        .kind = LATHE_PLOT_HEAT, .title = "Heat", .finding = "f", .cells = cells, .rows = 65, .cols = 65};
    char *text = draw(&p);
    assert_non_null(strstr(text, "data:image/png;base64,iVBORw0KGgo"));
    assert_true(strlen(text) < 20000);
    free(text);
    p.rows = p.cols = N;
    text = draw(&p);
    assert_non_null(strstr(text, "the largest of 3 x 3"));
    assert_true(strlen(text) < 100000);
    free(text);
    free(cells);
}

static const lathe_plot_node names[] = {{"root", false}, {"left", true}, {"right", false},
                                        {"a", false},    {"b", false},   {"c", false}};
static const lathe_plot_edge tree_edges[] = {
    {0, 1, 0.5, 1}, {0, 2, 1.25, 0.4}, {3, 1, NAN, NAN}, {1, 4, 0.1, 0}, {2, 5, 2, 1}};

static void trees(void **state) {
    (void) state;
    lathe_plot p = {.kind = LATHE_PLOT_TREE,
                    .title = "Tree",
                    .finding = "Three leaves.",
                    .nodes = names,
                    .n_nodes = 6,
                    .edges = tree_edges,
                    .n_edges = 5,
                    .root = 0};
    golden("tree-layered", &p);
    p.root = -1;
    golden("tree-radial", &p);
    p.n_edges = 3; /* a forest: {0, 1, 2, 3}, {4}, {5} */
    free(draw(&p));
    p.n_edges = 0;
    free(draw(&p));
    p.n_nodes = 0;
    free(draw(&p));
    lathe_error err = {0};
    lathe_buf out;
    lathe_buf_init(&out, 1 << 20);
    p.n_nodes = 5; /* the last edge's end is not there */
    p.n_edges = 5;
    assert_int_equal(lathe_plot_draw(&p, 1, &out, &err), LATHE_ERR_ARG);
    p.n_nodes = 6;
    p.root = 6;
    assert_int_equal(lathe_plot_draw(&p, 1, &out, &err), LATHE_ERR_ARG);
    lathe_buf_free(&out);
}

/* A chain of 1,000 nodes shows 200 of them and says what is folded; 1,000 loose nodes say what is left out.
 */
static void large_trees_are_folded(void **state) {
    (void) state;
    enum { N = 1000 };
    lathe_plot_node *n = calloc(N, sizeof *n);
    lathe_plot_edge *e = calloc(N, sizeof *e);
    assert_true(n && e);
    for (int i = 0; i < N; i++) {
        n[i].name = "x";
        e[i] = (lathe_plot_edge){i, (i + 1) % N, NAN, NAN}; /* the last one closes a ring when it is used */
    }
    lathe_plot p = {.kind = LATHE_PLOT_TREE,
                    .title = "t",
                    .finding = "f",
                    .nodes = n,
                    .n_nodes = N,
                    .edges = e,
                    .n_edges = N - 1,
                    .root = 0};
    char *text = draw(&p);
    assert_non_null(strstr(text, "x (+800)"));
    free(text);
    p.n_edges = N; /* a ring */
    free(draw(&p));
    p.root = -1;
    free(draw(&p));
    p.n_edges = 0;
    text = draw(&p);
    assert_non_null(strstr(text, "800 more components"));
    free(text);
    free(n);
    free(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(line_with_band),
        cmocka_unit_test(log_axes),
        cmocka_unit_test(points),
        cmocka_unit_test(bars),
        cmocka_unit_test(coordinates_by_hand),
        cmocka_unit_test(odd_values_make_a_drawing),
        cmocka_unit_test(hostile_names_stay_text),
        cmocka_unit_test(a_spike_survives_thinning),
        cmocka_unit_test(ticks_are_round),
        cmocka_unit_test(heat_map),
        cmocka_unit_test(large_heat_maps_become_pictures),
        cmocka_unit_test(trees),
        cmocka_unit_test(large_trees_are_folded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
