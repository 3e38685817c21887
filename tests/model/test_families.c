/* test_families.c - every family against PyTorch's logits of tiny random models
 * (tests/reference/make_family_models.py). */
#include "support/check.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lathe/model.h"
#include "model/desc.h"

static lathe_error err;

static const char *const names[] = {
    "llama",
    "llama-linear",
    "llama-yarn",
    "llama-llama3",
    "qwen2",
    "qwen3",
    "gemma",
    "gemma2",
    "gemma3",
    "phi3",
    "phi3-short",
    "phi3-long",
    "gpt2",
    "gptneox",
    "gptneox-sequential",
    "stablelm",
    "stablelm-parallel",
    "opt",
};

/* Largest absolute difference over all positions; the batch is cut into pieces of n_batch. */
static double worst_error(const char *name, int32_t n_batch, int32_t flash, int32_t gelu) {
    char path[512];
    snprintf(path, sizeof path, "%s/tests/reference/families/%s.gguf", LATHE_SOURCE_DIR, name);
    lathe_model_params mp = lathe_model_params_default();
    mp.gelu = gelu;
    lathe_model *m;
    check_ok(lathe_model_load(path, &mp, &m, &err), err);
    lathe_context_params p = lathe_context_params_default();
    p.n_threads = 1;
    p.n_batch = n_batch;
    p.flash = flash;
    p.type_k = p.type_v = LATHE_CACHE_F32;
    lathe_context *c;
    check_ok(lathe_context_new(m, &p, &c, &err), err);
    snprintf(path, sizeof path, "%s/tests/reference/families/%s.json", LATHE_SOURCE_DIR, name);
    json_error_t e;
    json_t *j = json_load_file(path, 0, &e);
    assert_non_null(j);
    int32_t ids[64], n = (int32_t) json_array_size(json_object_get(j, "ids"));
    uint8_t want[64];
    assert_in_range(n, 1, 64);
    memset(want, 1, sizeof want);
    for (int32_t i = 0; i < n; i++)
        ids[i] = (int32_t) json_integer_value(json_array_get(json_object_get(j, "ids"), (size_t) i));
    lathe_batch b = {.tokens = ids, .n_tokens = n, .want = want};
    check_ok(lathe_context_decode(c, &b, &err), err);
    double worst = 0.0;
    for (int32_t t = 0; t < n; t++) {
        const json_t *row = json_array_get(json_object_get(j, "logits"), (size_t) t);
        assert_int_equal(json_array_size(row), lathe_model_n_vocab(m));
        for (int32_t i = 0; i < lathe_model_n_vocab(m); i++)
            worst = fmax(worst, fabs((double) lathe_context_logits(c, t)[i] -
                                     json_number_value(json_array_get(row, (size_t) i))));
    }
    json_decref(j);
    lathe_context_free(c);
    lathe_model_free(m);
    return worst;
}

static void logits_are_pytorchs(void **state) {
    (void) state;
    for (size_t i = 0; i < LATHE_LEN(names); i++) {
        double flash = worst_error(names[i], 0, 1, 0), explicit_ = worst_error(names[i], 5, 0, 0);
        print_message("%-20s flash %.1e, explicit in pieces of 5 %.1e\n", names[i], flash, explicit_);
        assert_true(flash < 1e-4);
        assert_true(explicit_ < 1e-4);
    }
}

/* The table of GELU is outside the tolerance: the test would see it. */
static void gelu_table_differs(void **state) {
    (void) state;
    assert_true(worst_error("gpt2", 0, 1, LATHE_GELU_TABLE) > 2e-4);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(logits_are_pytorchs),
                                       cmocka_unit_test(gelu_table_differs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
