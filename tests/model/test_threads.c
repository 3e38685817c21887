/* test_threads.c - the number of threads: measured in bounded time, left when barriers stall, without
 * changing bits. */
#include "support/check.h"

#include <stdlib.h>
#include <string.h>

#include "base/machine.h"
#include "lathe/model.h"
#include "model/model_impl.h"

static lathe_error err;

static lathe_context *make(const lathe_model *m, int32_t n_threads, lathe_cache_type type, int32_t n_ctx) {
    lathe_context_params p = lathe_context_params_default();
    p.n_threads = n_threads;
    p.n_threads_prompt = n_threads > 0 ? 1 : 0; /* two spinning threads are slow where cores are shared */
    p.type_k = p.type_v = type;
    p.n_ctx = n_ctx;
    lathe_context *c;
    check_ok(lathe_context_new(m, &p, &c, &err), err);
    return c;
}

static void measured_at_start(void **state) {
    (void) state;
    lathe_model *m;
    check_ok(lathe_model_load(need_shared("models/stories260K-f32.gguf"), NULL, &m, &err), err);
    double begin = lathe_now();
    lathe_context *c = make(m, 0, LATHE_CACHE_F16, 0);
    assert_true(lathe_now() - begin < 2.0); /* 50 ms on a quiet machine */
    assert_in_range(lathe_context_n_threads(c), 1, lathe_n_cores());
    lathe_context_free(c);
    lathe_model_free(m);
}

/* Invented times drive the watch: it halves after two stalls in eight tokens, and not for one. */
static void stalls_halve_the_threads(void **state) {
    (void) state;
    static lathe_context c;
    c = (lathe_context){.n_threads = 4};
    c.watch.on = true;
    for (int i = 0; i < 40; i++)
        lathe_context_watch_threads(&c, i == 20 ? 0.02 : 0.001);
    assert_int_equal(c.n_threads, 4);
    lathe_context_watch_threads(&c, 0.02);
    lathe_context_watch_threads(&c, 0.001);
    lathe_context_watch_threads(&c, 0.02);
    assert_int_equal(c.n_threads, 2);
    assert_true(c.watch.quiet_until > lathe_now());
    for (int i = 0; i < 600; i++) /* no trial upwards while the back-off lasts */
        lathe_context_watch_threads(&c, 0.001);
    assert_int_equal(c.n_threads, 2);
}

/* engine.md 6.6 (a): the same bits at one and two threads, over a cache of more than 512 rows. */
static void same_bits_at_any_thread_count(void **state) {
    (void) state;
    lathe_model *m;
    check_ok(lathe_model_load(need_shared("models/stories260K-f32.gguf"), NULL, &m, &err), err);
    const lathe_cache_type types[] = {LATHE_CACHE_F32, LATHE_CACHE_F16};
    int32_t ids[602];
    for (int32_t i = 0; i < 602; i++)
        ids[i] = 3 + (i * 37) % 500;
    size_t n = (size_t) lathe_model_n_vocab(m) * sizeof(float);
    for (size_t k = 0; k < LATHE_LEN(types); k++) {
        float *one = malloc(n);
        for (int32_t threads = 1; threads <= 2; threads++) {
            lathe_context *c = make(m, threads, types[k], 700);
            lathe_batch b = {.tokens = ids, .n_tokens = 600};
            check_ok(lathe_context_decode(c, &b, &err), err);
            for (int32_t i = 600; i < 602; i++) {
                b = (lathe_batch){.tokens = &ids[i], .n_tokens = 1};
                check_ok(lathe_context_decode(c, &b, &err), err);
            }
            if (threads == 1)
                memcpy(one, lathe_context_logits(c, -1), n);
            else
                assert_memory_equal(lathe_context_logits(c, -1), one, n);
            lathe_context_free(c);
        }
        free(one);
    }
    lathe_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(measured_at_start),
        cmocka_unit_test(stalls_halve_the_threads),
        cmocka_unit_test(same_bits_at_any_thread_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
