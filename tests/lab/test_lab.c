/* Verdicts from intervals, what a run leaves behind, the page of claims. */
#include "support/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "lab/lab.h"
#include "support/xml.h"

static void verdicts_follow_from_the_interval(void **state) {
    (void) state;
    const lathe_claim least = {.kind = LATHE_CLAIM_AT_LEAST, .expected = 1},
                      most = {.kind = LATHE_CLAIM_AT_MOST, .expected = 1},
                      near = {.kind = LATHE_CLAIM_NEAR, .expected = 1, .tolerance = 0.5},
                      greater = {.kind = LATHE_CLAIM_GREATER, .expected = 0};
    const struct {
        const lathe_claim *claim;
        double low, high;
        lathe_verdict verdict;
    } cases[] = {
        {&least, 1, 2, LATHE_VERDICT_HOLDS},       {&least, 0.9, 2, LATHE_VERDICT_UNDECIDED},
        {&least, 0.5, 1, LATHE_VERDICT_UNDECIDED}, {&least, 0.5, 0.99, LATHE_VERDICT_FAILS},
        {&most, 0, 1, LATHE_VERDICT_HOLDS},        {&most, 0, 1.1, LATHE_VERDICT_UNDECIDED},
        {&most, 1.01, 2, LATHE_VERDICT_FAILS},     {&near, 0.5, 1.5, LATHE_VERDICT_HOLDS},
        {&near, 0.4, 1, LATHE_VERDICT_UNDECIDED},  {&near, 0, 3, LATHE_VERDICT_UNDECIDED},
        {&near, 1.6, 2, LATHE_VERDICT_FAILS},      {&near, -1, 0.4, LATHE_VERDICT_FAILS},
        {&greater, 0.1, 1, LATHE_VERDICT_HOLDS},   {&greater, 0, 1, LATHE_VERDICT_UNDECIDED},
        {&greater, -1, 0, LATHE_VERDICT_FAILS},    {&greater, NAN, NAN, LATHE_VERDICT_UNDECIDED},
        {&greater, 2, 1, LATHE_VERDICT_UNDECIDED},
    };
    for (size_t i = 0; i < LATHE_LEN(cases); i++)
        if (lathe_claim_verdict(cases[i].claim, cases[i].low, cases[i].high) != cases[i].verdict)
            fail_msg("case %zu", i);
}

static void a_verdict_has_words(void **state) {
    (void) state;
    const lathe_claim open = {.id = "a"}, closed = {.id = "b", .untestable = "needs a cluster"};
    assert_string_equal(
        lathe_claim_verdict_text(&(lathe_claim_result){.claim = &open, .verdict = LATHE_VERDICT_FAILS}),
        "does not hold");
    assert_string_equal(lathe_claim_verdict_text(&(lathe_claim_result){
                            .claim = &open, .verdict = LATHE_VERDICT_FAILS, .direction = true}),
                        "holds in direction");
    assert_string_equal(lathe_claim_verdict_text(
                            &(lathe_claim_result){.claim = &closed, .verdict = LATHE_VERDICT_UNMEASURED}),
                        "not testable here");
}

static char *read_in(const char *folder, const char *name) {
    char path[1024];
    char *text = NULL;
    lathe_error err = {0};
    assert_true(snprintf(path, sizeof path, "%s/%s", folder, name) > 0);
    check_ok(lathe_file_read(path, 8 << 20, &text, NULL, &err), err);
    assert_int_equal(remove(path), 0);
    return text;
}

/* A lab of this test: two seeds, 1 and 3, so mean 2 and an interval of 2 -+ 12.706. */
static const lathe_claim own_claims[] = {
    {.id = "wide", .text = "above -20", .kind = LATHE_CLAIM_GREATER, .expected = -20, .quick = true},
    {.id = "size",
     .text = "near 5, at least above -15",
     .kind = LATHE_CLAIM_AT_LEAST,
     .expected = 5,
     .has_neutral = true,
     .neutral = -15},
    {.id = "big", .text = "not here", .untestable = "needs a <cluster>"},
};
static lathe_status own_run(lathe_lab *lab, lathe_error *err) {
    lathe_sample s = {0};
    const double x[] = {0, 1};
    const lathe_series series = {.name = "it", .x = x, .y = x, .n = 2};
    const lathe_plot plot = {
        .kind = LATHE_PLOT_LINE, .title = "t", .finding = "f", .series = &series, .n_series = 1};
    for (int32_t i = 0; i < lab->n_seeds; i++) {
        lathe_sample_add(&s, 1 + 2 * i);
        const lathe_status st = lathe_lab_record(lab, i, "only", "x", 10, 1 + 2 * i, err);
        if (st)
            return st;
    }
    lathe_status st = lathe_lab_measure(lab, "wide", &s, err);
    if (!st)
        st = lathe_lab_measure(lab, "size", &s, err);
    return st ? st : lathe_lab_figure(lab, &plot, "caption", err);
}
static const lathe_lab_entry own = {
    .info = {.name = "own", .summary = "s", .paper = "p", .claims = own_claims, .n_claims = 3, .n_seeds = 2},
    .run = own_run,
    .n_seeds_quick = 1,
};

static void a_run_leaves_metrics_rows_and_a_page(void **state) {
    (void) state;
    const char *folder = temp_file("");
    lathe_error err = {0};
    lathe_lab_params p = lathe_lab_params_default();
    lathe_lab_result r;
    p.folder = folder;
    check_ok(lathe_lab_run_entry(&own, &p, &r, &err), err);
    assert_int_equal(r.claims[0].verdict, LATHE_VERDICT_HOLDS);
    check_near(r.claims[0].measured, 2, 1e-12);
    check_near(r.claims[0].ci95[1], 2 + 12.7062, 1e-4);
    assert_int_equal(r.claims[1].verdict, LATHE_VERDICT_UNDECIDED);
    assert_true(r.claims[1].direction);
    assert_int_equal(r.claims[2].verdict, LATHE_VERDICT_UNMEASURED);
    lathe_lab_result_free(&r);

    char *rows = read_in(folder, "runs.csv"), *metrics = read_in(folder, "metrics.json"),
         *page = read_in(folder, "report.html");
    assert_string_equal(rows,
                        "seed,setting,quantity,at,value\n0,\"only\",\"x\",10,1\n1,\"only\",\"x\",10,3\n");
    const char *fault = xml_fault(page);
    if (fault)
        fail_msg("%s", fault);
    assert_non_null(strstr(
        page,
        "1 of 2 measured claims hold, 0 do not, 1 undecided; 1 of those hold in direction; 1 not measured."));
    /* undecided claims come before those that hold */
    assert_true(strstr(page, "near 5, at least") < strstr(page, "above -20"));
    const char *begin = strchr(strstr(page, "id=\"lathe-data\">"), '>') + 1;
    json_t *block = NULL, *m = NULL;
    check_ok(lathe_json_parse(begin, (size_t) (strstr(begin, "</script>") - begin), "block", &block, &err),
             err);
    check_ok(lathe_json_parse(metrics, strlen(metrics), "metrics", &m, &err), err);
    assert_int_equal(json_array_size(json_object_get(block, "figures")), 1);
    json_object_del(block, "figures");
    assert_true(json_equal(block, m)); /* the page holds what metrics.json says */
    assert_true(json_is_null(json_object_get(json_array_get(json_object_get(m, "claims"), 1), "holds")));
    json_decref(block);
    json_decref(m);
    free(rows);
    free(metrics);
    free(page);
    remove(folder);
}

static void one_run_decides_nothing(void **state) {
    (void) state;
    lathe_error err = {0};
    lathe_lab_params p = lathe_lab_params_default();
    lathe_lab_result r;
    p.quick = true;
    check_ok(lathe_lab_run_entry(&own, &p, &r, &err), err);
    assert_int_equal(r.n_seeds, 1);
    assert_int_equal(r.claims[0].verdict, LATHE_VERDICT_UNDECIDED);
    lathe_lab_result_free(&r);
}

static void wrong_calls_are_refused(void **state) {
    (void) state;
    lathe_error err = {0};
    lathe_lab_params p = lathe_lab_params_default();
    lathe_lab_result r;
    assert_int_equal(lathe_lab_run("no-such-lab", &p, &r, &err), LATHE_ERR_ARG);
    p.n_threads = 0;
    assert_int_equal(lathe_lab_run_entry(&own, &p, &r, &err), LATHE_ERR_ARG);
    assert_null(lathe_lab_find("no-such-lab"));
    assert_null(lathe_lab_at(lathe_lab_count()));
}

/* Claims of all labs have what the tables print, and ids are unique within a lab. */
static void the_table_of_labs_is_whole(void **state) {
    (void) state;
    for (size_t i = 0; i < lathe_lab_count(); i++) {
        const lathe_lab_info *lab = lathe_lab_at(i);
        assert_ptr_equal(lathe_lab_find(lab->name), lab);
        assert_true(lab->n_seeds >= 2 && lab->paper && lab->summary && lab->scale && lab->n_claims > 0);
        for (size_t k = 0; k < lab->n_claims; k++) {
            const lathe_claim *c = &lab->claims[k];
            assert_true(c->id && c->text && c->paper && (c->untestable || (c->origin && c->unit)));
            for (size_t j = 0; j < k; j++)
                assert_string_not_equal(c->id, lab->claims[j].id);
        }
    }
}

static void the_page_of_claims(void **state) {
    (void) state;
    const char *folder = temp_file(""), *page = temp_file(".md");
    const char *name = lathe_lab_at(0)->name;
    char path[1024], *text = NULL;
    lathe_error err = {0};
    check_ok(lathe_folder_make(folder, &err), err);
    check_ok(lathe_lab_write_claims(folder, page, &err), err);
    check_ok(lathe_file_read(page, 1 << 20, &text, NULL, &err), err);
    assert_non_null(strstr(text, "Not measured yet"));
    free(text);
    json_t *m = json_pack(
        "{s:s, s:s, s:[{s:s, s:s, s:f, s:f, s:[f,f], s:i, s:s, s:s}, {s:s, s:s, s:n, s:i, s:s, s:s}]}", "lab",
        name, "scale", "small", "claims", "text", "a | b", "kind", "at_least", "expected", 1.5, "measured",
        2.0, "ci95", 1.75, 2.25, "n", 3, "verdict", "holds", "paper", "1.76", "text", "large", "kind", "near",
        "measured", "n", 0, "verdict", "not testable here", "reason", "too big");
    assert_non_null(m);
    assert_true(snprintf(path, sizeof path, "%s/%s.json", folder, name) > 0);
    assert_int_equal(json_dump_file(m, path, 0), 0);
    check_ok(lathe_lab_write_claims(folder, page, &err), err);
    check_ok(lathe_file_read(page, 1 << 20, &text, NULL, &err), err);
    assert_non_null(strstr(text, "| a \\| b | 1.76 | at least 1.5  | 2 [1.75, 2.25], n 3 | holds |"));
    assert_non_null(strstr(text, "| large |  | - | - | not testable here: too big |"));
    free(text);
    json_object_set_new(m, "lab", json_string("another"));
    assert_int_equal(json_dump_file(m, path, 0), 0);
    assert_int_equal(lathe_lab_write_claims(folder, page, &err), LATHE_ERR_INPUT);
    json_decref(m);
    remove(path);
    remove(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verdicts_follow_from_the_interval),
        cmocka_unit_test(a_verdict_has_words),
        cmocka_unit_test(a_run_leaves_metrics_rows_and_a_page),
        cmocka_unit_test(one_run_decides_nothing),
        cmocka_unit_test(wrong_calls_are_refused),
        cmocka_unit_test(the_table_of_labs_is_whole),
        cmocka_unit_test(the_page_of_claims),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
