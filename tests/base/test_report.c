/* Report pages: well-formed, self-contained, hostile texts stay texts, the data block comes back as it went
 * in. */
#include "support/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/report.h"
#include "support/xml.h"

#define HOSTILE "</script><img src=x onerror=alert(1)>\"'&amp;<!-- ]]>"

static char *page(const json_t *data) {
    lathe_error err = {0};
    lathe_report r;
    const char *path = temp_file(".html");
    const char *header[] = {HOSTILE, "b"};
    const double x[] = {0, 1}, y[] = {1, 2};
    const lathe_series s = {.name = HOSTILE, .x = x, .y = y, .n = 2};
    const lathe_plot plot = {
        .kind = LATHE_PLOT_LINE, .title = HOSTILE, .finding = "f", .series = &s, .n_series = 1};
    lathe_report_begin(&r, HOSTILE, HOSTILE, &err);
    lathe_report_heading(&r, HOSTILE);
    lathe_report_paragraph(&r, HOSTILE);
    lathe_report_table(&r, HOSTILE, header, 2);
    for (int i = 0; i < 5; i++)
        lathe_report_cell(&r, (lathe_cell) i, HOSTILE);
    lathe_report_table_end(&r);
    lathe_report_figure(&r, &plot, HOSTILE);
    lathe_report_figure(&r, &plot, "again");
    lathe_report_details(&r, HOSTILE, HOSTILE);
    check_ok(lathe_report_write(&r, data, path), err);
    lathe_report_free(&r);
    char *text = NULL;
    check_ok(lathe_file_read(path, 8 << 20, &text, NULL, &err), err);
    return text;
}

static void a_page_is_whole_and_loads_nothing(void **state) {
    (void) state;
    json_t *data = json_pack("{s:s}", HOSTILE, HOSTILE);
    char *text = page(data);
    const char *fault = xml_fault(text);
    if (fault)
        fail_msg("%s", fault);
    assert_null(strstr(text, "<img"));
    assert_null(strstr(text, "<link"));
    assert_null(strstr(text, "url("));
    for (const char *p = text; (p = strstr(p, "http")) != NULL;
         p++) /* namespaces and the policy's own name alone */
        assert_true(strncmp(p, "http://www.w3.org/", 18) == 0 || strncmp(p, "http-equiv=", 11) == 0);
    for (const char *p = text; (p = strstr(p, "src=")) != NULL; p++)
        assert_true(strncmp(p, "src=x", 5) == 0); /* the hostile text itself, behind &lt; */
    assert_non_null(strstr(text, "default-src 'none'"));
    assert_true(strlen(text) < 300000);
    free(text);
    json_decref(data);
}

static void the_data_block_comes_back(void **state) {
    (void) state;
    lathe_error err = {0};
    json_t *data = json_pack("{s:s, s:f, s:[i,i], s:s}", "text", HOSTILE, "x", 0.1, "list", 1, 2, "wide",
                             "\xc3\xa4\xe2\x82\xac\xf0\x9f\x99\x82");
    char *text = page(data);
    const char *begin = strstr(text, "id=\"lathe-data\">");
    assert_non_null(begin);
    begin = strchr(begin, '>') + 1;
    const char *end = strstr(begin, "</script>");
    assert_non_null(end);
    json_t *back = NULL;
    check_ok(lathe_json_parse(begin, (size_t) (end - begin), "block", &back, &err), err);
    assert_true(json_equal(back, data));
    json_decref(back);
    json_decref(data);
    free(text);
}

static void a_page_that_cannot_be_written_says_so(void **state) {
    (void) state;
    lathe_error err = {0};
    lathe_report r;
    json_t *data = json_object();
    lathe_report_begin(&r, "t", "s", &err);
    assert_int_equal(lathe_report_write(&r, data, "/nowhere/at/all/report.html"), LATHE_ERR_IO);
    lathe_report_free(&r);
    /* a plot that cannot be drawn is remembered until the end */
    const lathe_plot bad = {.kind = LATHE_PLOT_HEAT, .title = "t", .finding = "f"};
    lathe_report_begin(&r, "t", "s", &err);
    lathe_report_figure(&r, &bad, "c");
    lathe_report_paragraph(&r, "goes on");
    assert_int_equal(lathe_report_write(&r, data, temp_file(".html")), LATHE_ERR_ARG);
    assert_non_null(strstr(err.text, "heat map"));
    lathe_report_free(&r);
    json_decref(data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_is_whole_and_loads_nothing),
        cmocka_unit_test(the_data_block_comes_back),
        cmocka_unit_test(a_page_that_cannot_be_written_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
