/* test_logits.c - logits, NLL and greedy text against references computed in double precision elsewhere. */
#include "support/check.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lathe/model.h"

static lathe_error err;

static json_t *read_json(const char *path) {
    json_error_t e;
    json_t *j = json_load_file(path, 0, &e);
    assert_non_null(j);
    return j;
}

static int32_t ids_of(const json_t *array, int32_t *out, int32_t max) {
    int32_t n = (int32_t) json_array_size(array);
    assert_true(n <= max);
    for (int32_t i = 0; i < n; i++)
        out[i] = (int32_t) json_integer_value(json_array_get(array, (size_t) i));
    return n;
}

static lathe_context *context_of(const char *path, int32_t n_batch, lathe_model **model, bool exact,
                                 int32_t flash) {
    lathe_context *c;
    check_ok(lathe_model_load(path, NULL, model, &err), err);
    lathe_context_params p = lathe_context_params_default();
    p.n_batch = n_batch;
    p.n_threads = 1;
    p.type_k = p.type_v = LATHE_CACHE_F32;
    p.exact = exact;
    p.flash = flash;
    check_ok(lathe_context_new(*model, &p, &c, &err), err);
    return c;
}

static double nll_of(const float *logits, int32_t n, int32_t id) {
    double max = -INFINITY, sum = 0.0;
    for (int32_t i = 0; i < n; i++)
        max = logits[i] > max ? logits[i] : max;
    for (int32_t i = 0; i < n; i++)
        sum += exp(logits[i] - max);
    return log(sum) + max - logits[id];
}

static int32_t argmax(const float *x, int32_t n) {
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++)
        best = x[i] > x[best] ? i : best;
    return best;
}

/* prompt and greedy continuation: the reference holds the logits of every position of both. */
static void against_reference(const char *model_name, const char *reference_name, int32_t n_batch, bool exact,
                              int32_t flash) {
    const char *path = need_shared(model_name), *ref = need_shared(reference_name);
    json_t *j = read_json(ref);
    lathe_model *m;
    lathe_context *c = context_of(path, n_batch, &m, exact, flash);
    int32_t ids[1024], n_vocab = lathe_model_n_vocab(m);
    int32_t n = ids_of(json_object_get(j, "prompt_ids"), ids, 512);
    int32_t n_greedy = ids_of(json_object_get(j, "greedy_ids"), ids + n, 512);
    const json_t *logits = json_object_get(j, "logits");
    uint8_t want[1024];
    memset(want, 1, sizeof want);
    lathe_batch b = {.tokens = ids, .n_tokens = n, .want = want};
    check_ok(lathe_context_decode(c, &b, &err), err);
    double worst = 0.0;
    for (int32_t t = 0; t < n + n_greedy; t++) {
        if (t >= n) {
            b = (lathe_batch){.tokens = &ids[t], .n_tokens = 1};
            check_ok(lathe_context_decode(c, &b, &err), err);
        }
        const float *x = lathe_context_logits(c, t < n ? t : -1);
        const json_t *row = json_array_get(logits, (size_t) t);
        if (row != NULL)
            for (int32_t i = 0; i < n_vocab; i++)
                worst = fmax(worst, fabs((double) x[i] - json_number_value(json_array_get(row, (size_t) i))));
        if (t >= n - 1 && t + 1 < n + n_greedy)
            assert_int_equal(argmax(x, n_vocab), ids[t + 1]);
    }
    print_message("%s: max logit error %.2e\n", model_name, worst);
    assert_true(worst < 2e-5);

    lathe_context_clear(c, -1);
    n = ids_of(json_object_get(j, "story_ids"), ids, 1024);
    const json_t *nll = json_object_get(j, "story_nll");
    b = (lathe_batch){.tokens = ids, .n_tokens = n, .want = want};
    check_ok(lathe_context_decode(c, &b, &err), err);
    double mean = 0.0;
    for (int32_t t = 0; t + 1 < n; t++) {
        double x = nll_of(lathe_context_logits(c, t), n_vocab, ids[t + 1]);
        mean += x / (n - 1);
        check_near(x, json_number_value(json_array_get(nll, (size_t) t)), 2e-5);
    }
    check_near_rel(mean, json_number_value(json_object_get(j, "story_mean_nll")), 1e-5);
    json_decref(j);
    lathe_context_free(c);
    lathe_model_free(m);
}

static void stories(void **state) {
    (void) state;
    against_reference("models/stories260K-f32.gguf", "models/reference/stories260K-f32.json", 512, false, -1);
    against_reference("models/stories260K-f32.gguf", "models/reference/stories260K-f32.json", 7, true, -1);
    against_reference("models/stories260K-f32.gguf", "models/reference/stories260K-f32.json", 64, false, 0);
}

static void babyllama(void **state) {
    (void) state;
    against_reference("models/babyllama105-f32.gguf", "models/reference/babyllama105-f32.json", 512, false,
                      -1);
}

/* The 200 tokens that llama2.c prints without a prompt. */
static void stories_greedy(void **state) {
    (void) state;
    const char *path = need_shared("models/stories260K-f32.gguf"),
               *ref = need_shared("models/reference/stories260K_greedy_expected.txt");
    lathe_model *m;
    lathe_context *c = context_of(path, 0, &m, false, -1);
    int32_t ids[201] = {1}, n_vocab = lathe_model_n_vocab(m);
    for (int32_t t = 0; t < 200; t++) {
        lathe_batch b = {.tokens = &ids[t], .n_tokens = 1};
        check_ok(lathe_context_decode(c, &b, &err), err);
        ids[t + 1] = argmax(lathe_context_logits(c, -1), n_vocab);
    }
    char *text, expected[4096];
    size_t n_text;
    check_ok(lathe_detokenize(lathe_model_vocab(m), ids + 1, 200, false, &text, &n_text, &err), err);
    FILE *f = fopen(ref, "rb");
    assert_non_null(f);
    size_t n = fread(expected, 1, sizeof expected - 1, f);
    fclose(f);
    while (n > 0 && (expected[n - 1] == '\n' || expected[n - 1] == '\r'))
        n--;
    expected[n] = '\0';
    const char *at = text[0] == ' ' && expected[0] != ' ' ? text + 1 : text;
    assert_true(strncmp(at, expected, n < strlen(at) ? n : strlen(at)) == 0);
    assert_true(strlen(at) + 8 > n);
    lathe_free(text);
    lathe_context_free(c);
    lathe_model_free(m);
}

/* engine.md 11.4: the log-probability of the next token after a prompt of five. */
static void next_token(void **state) {
    (void) state;
    lathe_model *m;
    lathe_context *c = context_of(need_shared("models/stories260K-f32.gguf"), 0, &m, false, -1);
    const int32_t ids[] = {1, 403, 407, 261, 378};
    lathe_batch b = {.tokens = ids, .n_tokens = 5};
    check_ok(lathe_context_decode(c, &b, &err), err);
    const float *x = lathe_context_logits(c, -1);
    assert_int_equal(argmax(x, lathe_model_n_vocab(m)), 432);
    check_near(-nll_of(x, lathe_model_n_vocab(m), 432), -0.0317025, 2e-6);
    lathe_context_free(c);
    lathe_model_free(m);
}

/* PyTorch's logits of the sorter; ggml's table of GELU is two orders of magnitude off, so exact GELU is in
 * use. */
static double sort_error(int32_t gelu) {
    lathe_model *m;
    lathe_context *c;
    lathe_model_params mp = lathe_model_params_default();
    mp.gelu = gelu;
    check_ok(lathe_model_load(need_shared("models/gpt-nano-sort-f32.gguf"), &mp, &m, &err), err);
    lathe_context_params p = lathe_context_params_default();
    p.n_threads = 1;
    p.type_k = p.type_v = LATHE_CACHE_F32;
    check_ok(lathe_context_new(m, &p, &c, &err), err);
    json_t *j = read_json(need_shared("models/reference/gpt-nano-sort.json"));
    const uint8_t want[11] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    double worst = 0.0;
    for (size_t s = 0; s < json_array_size(json_object_get(j, "ids")); s++) {
        int32_t ids[11], n = ids_of(json_array_get(json_object_get(j, "ids"), s), ids, 11);
        lathe_context_clear(c, -1);
        lathe_batch b = {.tokens = ids, .n_tokens = n, .want = want};
        check_ok(lathe_context_decode(c, &b, &err), err);
        const json_t *rows = json_array_get(json_object_get(j, "logits"), s);
        for (int32_t t = 0; t < n; t++)
            for (int32_t i = 0; i < 3; i++)
                worst = fmax(worst, fabs((double) lathe_context_logits(c, t)[i] -
                                         json_number_value(
                                             json_array_get(json_array_get(rows, (size_t) t), (size_t) i))));
    }
    json_decref(j);
    lathe_context_free(c);
    lathe_model_free(m);
    return worst;
}

static void sorter_logits(void **state) {
    (void) state;
    double exact = sort_error(0), table = sort_error(1);
    print_message("gpt-nano-sort: exact %.2e, table %.2e\n", exact, table);
    assert_true(exact <= 2e-5);
    assert_true(table > 2e-4);
}

/* All 729 inputs of six letters come out sorted. */
static void sorter_sorts(void **state) {
    (void) state;
    lathe_model *m;
    lathe_context *c = context_of(need_shared("models/gpt-nano-sort-f32.gguf"), 0, &m, false, -1);
    for (int32_t input = 0; input < 729; input++) {
        int32_t ids[12], counts[3] = {0}, at = input;
        for (int i = 0; i < 6; i++, at /= 3) {
            ids[i] = at % 3;
            counts[at % 3]++;
        }
        lathe_context_clear(c, -1);
        lathe_batch b = {.tokens = ids, .n_tokens = 6};
        for (int32_t t = 0; t < 6; t++) {
            check_ok(lathe_context_decode(c, &b, &err), err);
            ids[6 + t] = argmax(lathe_context_logits(c, -1), 3);
            assert_int_equal(ids[6 + t], t < counts[0] ? 0 : t < counts[0] + counts[1] ? 1 : 2);
            b = (lathe_batch){.tokens = &ids[6 + t], .n_tokens = 1};
        }
    }
    /* The context of 11 is full now: one more is refused and changes nothing. */
    const int32_t extra = 0;
    assert_int_equal(lathe_context_n_past(c, 0), 11);
    lathe_batch b = {.tokens = &extra, .n_tokens = 1};
    assert_int_equal(lathe_context_decode(c, &b, &err), LATHE_ERR_ARG);
    assert_int_equal(lathe_context_n_past(c, 0), 11);
    lathe_context_free(c);
    lathe_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stories),    cmocka_unit_test(babyllama),     cmocka_unit_test(stories_greedy),
        cmocka_unit_test(next_token), cmocka_unit_test(sorter_logits), cmocka_unit_test(sorter_sorts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
