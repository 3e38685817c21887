/* `lathe probe --spectrum` against NumPy's singular values (tests/reference/spectra.py): matrices, the heads'
 * products W_O W_V, differences of two models, means by kind; and what it refuses. */
#include "support/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "lathe/model.h"

enum { FIGURES = 8 };
static const char *const names[FIGURES] = {"entropy", "effective_rank", "top1", "top10",
                                           "q75_25",  "s_max",          "fro",  "stable_rank"};

typedef struct expected {
    const char *name;
    double x[FIGURES];
} expected;

static const char *model(uint64_t seed, const char *type) {
    const char *path = temp_file(".gguf");
    lathe_synth_params sp = lathe_synth_params_default();
    lathe_synth_result made;
    lathe_error err = {0};
    sp.arch = "llama";
    sp.shape = "1M";
    sp.type = type;
    sp.seed = seed;
    check_ok(lathe_model_synth(path, &sp, &made, &err), err);
    return path;
}

/* The rows of the verb's JSON. */
static json_t *probe(const char *arguments) {
    char command[16384];
    const char *out = temp_file(".json");
    lathe_error err = {0};
    json_t *all = NULL;
    snprintf(command, sizeof command, "'%s' probe --spectrum %s --json -q --no-progress >'%s'", LATHE_PROGRAM,
             arguments, out);
    assert_int_equal(system(command), 0);
    check_ok(lathe_json_read(out, 1 << 24, &all, &err), err);
    json_t *rows = json_incref(json_object_get(all, "spectrum"));
    json_decref(all);
    assert_true(json_is_array(rows));
    return rows;
}

static json_t *row_of(json_t *rows, const char *name) {
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) if (strcmp(json_string_value(json_object_get(row, "name")), name) ==
                                         0) return row;
    fail_msg("no row '%s'", name);
    return NULL;
}

static void check_row(const json_t *row, const expected *e) {
    for (int k = 0; k < FIGURES; k++) {
        double x = json_number_value(json_object_get(row, names[k]));
        if (!(fabs(x - e->x[k]) <= 2e-6 * fabs(e->x[k])))
            fail_msg("%s, %s: %.9g, %.9g by NumPy", e->name, names[k], x, e->x[k]);
    }
}

static void against_numpy(void **state) {
    (void) state;
    static const expected own[] = {
        {"token_embd.weight",
         {0.98687173, 120.10082, 0.013818188, 0.13040666, 1.8166968, 0.85273787, 7.254208, 72.368388}},
        {"blk.0.attn_k.weight",
         {0.93780292, 49.412958, 0.042933901, 0.35569314, 3.7290063, 1.6694596, 8.0570442, 23.291618}},
        {"blk.1.ffn_down.weight",
         {0.96576053, 108.40772, 0.018809042, 0.16898817, 2.7078013, 0.54716688, 3.9896653, 53.16592}},
        {"blk.0.vo (mean of heads)",
         {0.92872682, 24.999064, 0.088123728, 0.59855608, 3.3315251, 0.59395311, 2.0008346, 11.363133}},
    };
    static const expected update[] = {
        {"token_embd.weight",
         {0.98709322, 120.22995, 0.014177612, 0.13057771, 1.7885075, 1.2222958, 10.265374, 70.533739}},
        {"blk.0.attn_k.weight",
         {0.93694404, 49.23677, 0.042650216, 0.36231619, 3.802915, 2.3446937, 11.353388, 23.44654}},
        {"blk.1.ffn_down.weight",
         {0.9655511, 108.29762, 0.019100488, 0.16808382, 2.7700966, 0.78217817, 5.6595703, 52.354682}},
    };
    const char *a = model(3, "f32"), *b = model(4, "f32"), *page = temp_file(".html");
    char arguments[12400];
    snprintf(arguments, sizeof arguments, "-m '%s' --compare '%s' -o '%s'", a, b, page);
    json_t *rows = probe(arguments);
    for (size_t i = 0; i < LATHE_LEN(own); i++)
        check_row(row_of(rows, own[i].name), &own[i]);
    for (size_t i = 0; i < LATHE_LEN(update); i++)
        check_row(json_object_get(row_of(rows, update[i].name), "update"), &update[i]);
    json_t *shape = json_object_get(row_of(rows, "blk.0.attn_k.weight"), "shape");
    assert_int_equal(json_integer_value(json_array_get(shape, 0)), 128);
    assert_int_equal(json_integer_value(json_array_get(shape, 1)), 64);
    json_decref(rows);
    FILE *f = fopen(page, "rb");
    assert_non_null(f);
    char head[16] = "";
    assert_true(fread(head, 1, 9, f) == 9);
    assert_string_equal(head, "<!doctype");
    fclose(f);
}

static void by_kind(void **state) {
    (void) state;
    static const expected q = {
        "attn_q.weight",
        {0.89634042, 77.407993, 0.02964207, 0.25555563, 10.219387, 1.9503649, 11.329576, 33.754972}};
    char arguments[5000];
    snprintf(arguments, sizeof arguments, "-m '%s' --by kind", model(3, "f32"));
    json_t *rows = probe(arguments);
    check_row(row_of(rows, q.name), &q);
    json_decref(rows);
}

/* Quantised weights are dequantised, which is said; a model of another shape is refused. */
static void refusals(void **state) {
    (void) state;
    char command[16384];
    const char *said = temp_file(".txt"), *small = temp_file(".gguf");
    snprintf(command, sizeof command,
             "'%s' probe --spectrum -m '%s' --no-progress >/dev/null 2>'%s' && grep -q dequantised '%s'",
             LATHE_PROGRAM, model(3, "q8_0"), said, said);
    assert_int_equal(system(command), 0);
    lathe_synth_params sp = lathe_synth_params_default();
    lathe_synth_result made;
    lathe_error err = {0};
    sp.arch = "gpt2";
    sp.shape = "1M";
    check_ok(lathe_model_synth(small, &sp, &made, &err), err);
    snprintf(
        command, sizeof command,
        "'%s' probe --spectrum -m '%s' --compare '%s' -q >/dev/null 2>'%s'; test $? -eq 1 && test -s '%s'",
        LATHE_PROGRAM, model(3, "f32"), small, said, said);
    assert_int_equal(system(command), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(against_numpy), cmocka_unit_test(by_kind),
                                       cmocka_unit_test(refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
