/* Negative log-likelihoods are those of an independent program, whatever the batch. */
#include "support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "decode/eval.h"

typedef struct setup {
    lathe_model *model;
    lathe_context *context;
    int32_t *ids;
    size_t n;
} setup;

static void open_stories(setup *s, int32_t n_ctx, int32_t n_batch, size_t n_bytes) {
    lathe_error err = {0};
    char *text = NULL;
    size_t n = 0;
    check_ok(lathe_model_load(need_shared("models/stories260K-f32.gguf"), NULL, &s->model, &err), err);
    check_ok(lathe_file_read(need_shared("data/text/tinystories_2MiB.txt"), 1 << 22, &text, &n, &err), err);
    check_ok(lathe_tokenize(lathe_model_vocab(s->model), text, n_bytes, -1, false, &s->ids, &s->n, &err),
             err);
    free(text);
    lathe_context_params p = lathe_context_params_default();
    p.n_ctx = n_ctx;
    p.n_batch = n_batch;
    p.n_threads = 1;
    p.type_k = p.type_v = LATHE_CACHE_F32;
    check_ok(lathe_context_new(s->model, &p, &s->context, &err), err);
}

static void close_stories(setup *s) {
    lathe_free(s->ids);
    lathe_context_free(s->context);
    lathe_model_free(s->model);
}

static double running[8];

static void note(void *user, int32_t window, int64_t n_scored, double nll_sum) {
    (void) user;
    if (window <= 8)
        running[window - 1] = exp(nll_sum / (double) n_scored);
}

static void running_perplexities_of_llama_cpp(void **state) {
    (void) state;
    /* llama-perplexity -c 256 -ctk f32 -ctv f32 -fa off --chunks 8 on the first 20,000 bytes, four decimals
     * printed. */
    static const double want[] = {3.4636, 4.5649, 6.0210, 6.0463, 5.6254, 5.6338, 5.9387, 5.6998};
    setup s;
    open_stories(&s, 256, 512, 20000);
    const lathe_eval_params p = {.llama_cpp = true, .n_chunks_max = 8, .on_window = note};
    lathe_eval_result r;
    lathe_error err = {0};
    check_ok(lathe_eval(s.context, s.ids, s.n, &p, &r, &err), err);
    check_array(running, want, 8, 1.01e-4);
    assert_int_equal(r.n_scored, 8 * (256 - 1 - 128));
    close_stories(&s);
}

static void every_token_is_scored_once(void **state) {
    (void) state;
    setup a, b;
    open_stories(&a, 64, 512, 1500);
    open_stories(&b, 64, 7, 1500); /* another split of the same windows */
    lathe_eval_result r, q;
    lathe_error err = {0};
    for (int32_t stride = 1; stride < 64; stride += 31) {
        const lathe_eval_params p = {.stride = stride};
        check_ok(lathe_eval(a.context, a.ids, a.n, &p, &r, &err), err);
        check_ok(lathe_eval(b.context, b.ids, b.n, &p, &q, &err), err);
        assert_int_equal(r.n_scored, a.n - 1);
        assert_int_equal(q.n_scored, a.n - 1);
        check_near_rel(q.nll_sum, r.nll_sum, 1e-5);
    }
    close_stories(&a);
    close_stories(&b);
}

static void bad_arguments_are_refused(void **state) {
    (void) state;
    setup s;
    open_stories(&s, 64, 64, 400);
    lathe_eval_result r;
    lathe_error err = {0};
    const int32_t outside[] = {1, 512};
    assert_int_equal(lathe_eval(s.context, s.ids, 1, &(lathe_eval_params){0}, &r, &err), LATHE_ERR_ARG);
    assert_int_equal(lathe_eval(s.context, outside, 2, &(lathe_eval_params){0}, &r, &err), LATHE_ERR_ARG);
    assert_int_equal(lathe_eval(s.context, s.ids, s.n, &(lathe_eval_params){.stride = 64}, &r, &err),
                     LATHE_ERR_ARG);
    assert_int_equal(lathe_eval(s.context, s.ids, 60, &(lathe_eval_params){.llama_cpp = true}, &r, &err),
                     LATHE_ERR_ARG);
    assert_non_null(strstr(err.text, "less than one chunk"));
    close_stories(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(running_perplexities_of_llama_cpp),
        cmocka_unit_test(every_token_is_scored_once),
        cmocka_unit_test(bad_arguments_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
