/* Each allocation of reading, writing, quantising and synthesising fails once: a clean error, and no leak
 * (LeakSanitizer). */
#include "support/check.h"
#include "support/failing_malloc.h"

#include <stdio.h>
#include <unistd.h>

#include "lathe/model.h"
#include "model/convert.h"
#include "model/gguf_write.h"

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
        cmocka_unit_test(a_forgotten_failure_shows),
    };
    return cmocka_run_group_tests(tests, make, NULL) != 0;
}
