/* Each allocation of reading, writing, quantising and synthesising fails once: a clean error, and no leak
 * (LeakSanitizer). */
#include "support/check.h"
#include "support/failing_malloc.h"

#include <stdio.h>
#include <unistd.h>

#include "lathe/model.h"
#include "model/convert.h"
#include "model/gguf_write.h"
#include "model/vocab.h"

static const char *made; /* a file of our own, so that the test needs no others */

static int make(void **state) {
    lathe_synth_params p = lathe_synth_params_default();
    (void) state;
    made = temp_file(".gguf");
    p.n_threads = 1;
    return lathe_model_synth(made, &p, NULL, NULL) == LATHE_OK ? 0 : -1;
}

static lathe_status open_it(void *ctx, lathe_error *err) {
    lathe_gguf *g = NULL;
    const lathe_gguf_params params = {.no_mmap = ctx != NULL};
    const lathe_status st = lathe_gguf_open(made, &params, &g, err);
    assert_true((st == LATHE_OK) == (g != NULL));
    lathe_gguf_close(g);
    return st;
}

static lathe_status synthesise(void *ctx, lathe_error *err) {
    lathe_synth_params p = lathe_synth_params_default();
    p.n_threads = 1;
    p.type = "q8_0";
    return lathe_model_synth(ctx, &p, NULL, err);
}

static lathe_status quantise(void *ctx, lathe_error *err) {
    lathe_quantize_params p = lathe_quantize_params_default();
    p.n_threads = 1;
    p.type = "q4_0";
    return lathe_model_quantize(made, ctx, &p, NULL, err);
}

static void opening(void **state) {
    int read = 1;
    (void) state;
    assert_in_range(check_every_allocation(open_it, NULL), 5, 50);
    assert_in_range(check_every_allocation(open_it, &read), 6, 50); /* and the bytes themselves */
}

static void writing_leaves_nothing_behind(void **state) {
    char path[512];
    (void) state;
    snprintf(path, sizeof path, "%s", temp_file(".gguf"));
    assert_in_range(check_every_allocation(synthesise, path), 10, 1000);
    assert_int_equal(access(path, F_OK), 0); /* of the run that got through */
    remove(path);
    assert_in_range(check_every_allocation(quantise, path), 10, 1000);
}

static lathe_status load_vocabulary(void *ctx, lathe_error *err) {
    lathe_gguf *g = NULL;
    lathe_vocab *vocab = NULL;
    int32_t *ids = NULL;
    size_t n_ids = 0, n_bytes = 0;
    char *text = NULL;
    lathe_status st = lathe_gguf_open(ctx, NULL, &g, err);
    if (!st)
        st = lathe_vocab_from_gguf(g, NULL, &vocab, err);
    if (!st)
        st = lathe_tokenize(vocab, "some words abc", 14, -1, true, &ids, &n_ids, err);
    if (!st)
        st = lathe_detokenize(vocab, ids, n_ids, false, &text, &n_bytes, err);
    lathe_free(ids);
    lathe_free(text);
    lathe_vocab_free(vocab);
    lathe_gguf_close(g);
    return st;
}

static void a_vocabulary(void **state) {
    char path[512];
    (void) state;
    snprintf(path, sizeof path, "%s", made);
    assert_in_range(check_every_allocation(load_vocabulary, path), 10, 1000);
}

static lathe_status load_and_decode(void *ctx, lathe_error *err) {
    static const int32_t ids[3] = {1, 270, 271};
    lathe_model *model = NULL;
    lathe_context *context = NULL;
    lathe_model_params m = lathe_model_params_default();
    lathe_context_params p = lathe_context_params_default();
    const lathe_batch batch = {.tokens = ids, .n_tokens = 3};
    p.n_ctx = 32;
    p.n_threads = 1;
    lathe_status st = lathe_model_load(ctx, &m, &model, err);
    if (!st)
        st = lathe_context_new(model, &p, &context, err);
    if (!st)
        st = lathe_context_decode(context, &batch, err);
    lathe_context_free(context);
    lathe_model_free(model);
    return st;
}

static void a_model_and_a_step(void **state) {
    char path[512];
    (void) state;
    snprintf(path, sizeof path, "%s", made);
    assert_in_range(check_every_allocation(load_and_decode, path), 20, 2000);
}

/* Negative: a function that forgets a failed allocation is found. */
static lathe_status forgetful(void *ctx, lathe_error *err) {
    lathe_gguf_writer *w = NULL;
    (void) ctx;
    const lathe_status st = lathe_gguf_writer_new(&w, err);
    if (st)
        return st;
    lathe_gguf_put_u32(w, "a", 1); /* its failure waits for begin, which never comes */
    lathe_gguf_writer_free(w);
    return LATHE_OK;
}

static void a_forgotten_failure_shows(void **state) {
    lathe_error err = {0};
    (void) state;
    failing_malloc_arm(2);
    assert_int_equal(forgetful(NULL, &err), LATHE_OK);
    assert_true(failing_malloc_disarm()); /* came, and was not told: check_every_allocation fails on this */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opening),
        cmocka_unit_test(writing_leaves_nothing_behind),
        cmocka_unit_test(a_vocabulary),
        cmocka_unit_test(a_model_and_a_step),
        cmocka_unit_test(a_forgotten_failure_shows),
    };
    return cmocka_run_group_tests(tests, make, NULL) != 0;
}
