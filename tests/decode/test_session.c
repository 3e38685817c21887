/* Sessions on stories260K: greedy text, reuse of the cache, stop strings, shifts, failing allocations. */
#include "support/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "decode/session.h"
#include "decode/stop_text.h"
#include "support/failing_malloc.h"
#include "support/stories.h"

enum { N_REFERENCE = 200 }; /* tokens of the reference text */

typedef struct text {
    char bytes[4096];
    size_t n, n_most; /* stops at n_most */
} text;

static bool append(void *user, const char *bytes, size_t n_bytes) {
    text *t = user;
    if (t->n + n_bytes < sizeof t->bytes)
        memcpy(t->bytes + t->n, bytes, n_bytes);
    t->n += n_bytes;
    t->bytes[t->n] = '\0';
    return t->n_most == 0 || t->n < t->n_most;
}

static lathe_session_params greedy(int32_t n_predict) {
    lathe_session_params p = lathe_session_params_default();
    p.sampler.temp = 0;
    p.n_predict = n_predict;
    p.context.n_threads = 1;
    return p;
}

static lathe_session *open_session(const lathe_session_params *params) {
    lathe_error err = {0};
    lathe_session *s = NULL;
    check_ok(lathe_session_new(stories, params, &s, &err), err);
    return s;
}

static void greedy_text_is_the_expected_one(void **state) {
    (void) state;
    const char *expected = need_shared("models/reference/stories260K_greedy_expected.txt");
    char want[4096] = {0};
    FILE *file = fopen(expected, "rb");
    assert_non_null(file);
    const size_t n_want = fread(want, 1, sizeof want - 1, file);
    fclose(file);
    lathe_error err = {0};
    const lathe_session_params p = greedy(N_REFERENCE);
    lathe_session *s = open_session(&p);
    const int32_t bos = lathe_vocab_bos(lathe_model_vocab(stories));
    text t = {0};
    /* The reference began with nothing but BOS. */
    check_ok(lathe_session_generate_ids(s, &bos, 1, append, &t, &err), err);
    assert_int_equal(t.n, n_want);
    assert_string_equal(t.bytes, want);
    const lathe_session_stats stats = lathe_session_stats_of(s);
    assert_int_equal(stats.n_prompt, 1);
    assert_int_equal(stats.n_predicted, N_REFERENCE);
    assert_int_equal(stats.stop, LATHE_STOP_LENGTH);
    lathe_session_free(s);
}

static void what_is_in_the_cache_is_not_read_again(void **state) {
    (void) state;
    need_shared("models/stories260K-f32.gguf");
    lathe_error err = {0};
    const lathe_session_params p = greedy(12);
    lathe_session *s = open_session(&p), *fresh = open_session(&p);
    text a = {0}, b = {0}, c = {0};
    check_ok(lathe_session_generate(s, "One day, a cat saw a dog", append, &a, &err), err);
    /* Another ending: the common beginning stays. Negative: a session that kept the old tail would answer
     * otherwise. */
    check_ok(lathe_session_generate(s, "One day, a cat saw a big", append, &b, &err), err);
    assert_true(lathe_session_stats_of(s).n_reused > 5);
    check_ok(lathe_session_generate(fresh, "One day, a cat saw a big", append, &c, &err), err);
    assert_int_equal(lathe_session_stats_of(fresh).n_reused, 0);
    assert_string_equal(b.bytes, c.bytes);
    assert_string_not_equal(a.bytes, b.bytes);
    lathe_session_free(fresh);
    lathe_session_free(s);
}

static void stop_strings_and_callbacks_end_the_text(void **state) {
    (void) state;
    need_shared("models/stories260K-f32.gguf");
    lathe_error err = {0};
    const char *const stops[] = {"park", "little girl"}; /* ", there was a little girl named Lily. ..." */
    lathe_session_params p = greedy(100);
    p.stop = stops;
    p.n_stop = 2;
    lathe_session *s = open_session(&p);
    text t = {0}, cut = {.n_most = 3};
    check_ok(lathe_session_generate(s, "Once upon a time", append, &t, &err), err);
    assert_string_equal(t.bytes, ", there was a ");
    assert_int_equal(lathe_session_stats_of(s).stop, LATHE_STOP_STRING);
    check_ok(lathe_session_generate(s, "Once upon a time", append, &cut, &err), err);
    assert_int_equal(lathe_session_stats_of(s).stop, LATHE_STOP_INTERRUPT);
    lathe_session_free(s);
}

static void a_full_context_ends_or_shifts(void **state) {
    (void) state;
    need_shared("models/stories260K-f32.gguf");
    lathe_error err = {0};
    lathe_session_params p = greedy(-1);
    p.context.n_ctx = 32;
    p.ignore_eos = true;
    lathe_session *s = open_session(&p);
    check_ok(lathe_session_generate(s, "Once upon a time", NULL, NULL, &err), err);
    assert_int_equal(lathe_session_stats_of(s).stop, LATHE_STOP_CONTEXT);
    assert_int_equal(lathe_session_stats_of(s).n_predicted, 32 - 5 + 1); /* the last one needs no room */
    lathe_session_free(s);
    p.shift = true;
    p.n_predict = 100;
    s = open_session(&p);
    check_ok(lathe_session_generate(s, "Once upon a time", NULL, NULL, &err), err);
    assert_int_equal(lathe_session_stats_of(s).stop, LATHE_STOP_LENGTH);
    assert_true(lathe_session_stats_of(s).n_shifted > 50);
    size_t n_ids = 0, n_generated = 0;
    (void) lathe_session_ids(s, &n_ids, &n_generated);
    assert_int_equal(n_ids, 105);
    assert_int_equal(n_generated, 100);
    lathe_session_free(s);
}

static void wrong_prompts_are_named(void **state) {
    (void) state;
    need_shared("models/stories260K-f32.gguf");
    lathe_error err = {0};
    lathe_session_params p = greedy(4);
    p.context.n_ctx = 8;
    lathe_session *s = open_session(&p);
    assert_int_equal(lathe_session_generate_ids(s, NULL, 0, NULL, NULL, &err), LATHE_ERR_ARG);
    assert_int_equal(lathe_session_generate_ids(s, (const int32_t[]){1, 512}, 2, NULL, NULL, &err),
                     LATHE_ERR_ARG);
    assert_non_null(strstr(err.text, "want an id from 0 to 511"));
    assert_int_equal(lathe_session_generate(s, "one two three four five", NULL, NULL, &err), LATHE_ERR_ARG);
    assert_non_null(strstr(err.text, "the context holds 8"));
    lathe_session_free(s);
}

static void stop_text_holds_back_only_what_may_begin_one(void **state) {
    (void) state;
    const char *const texts[] = {"</s>", "END"};
    const char all[] = "a<b</x EN ENENDrest";
    /* Every cut of the text into two pieces gives the same. */
    for (size_t cut = 0; cut < sizeof all; cut++) {
        lathe_error err = {0};
        lathe_stop_text stop;
        char got[64] = {0};
        const char *out;
        size_t n_out;
        bool stopped = false;
        check_ok(lathe_stop_text_init(&stop, texts, 2, &err), err);
        check_ok(lathe_stop_text_add(&stop, all, cut, &out, &n_out, &stopped, &err), err);
        strncat(got, out, n_out);
        if (!stopped) {
            check_ok(
                lathe_stop_text_add(&stop, all + cut, sizeof all - 1 - cut, &out, &n_out, &stopped, &err),
                err);
            strncat(got, out, n_out);
        }
        assert_true(stopped);
        assert_string_equal(got, "a<b</x EN EN");
        lathe_stop_text_free(&stop);
    }
}

static lathe_status generate_once(void *ctx, lathe_error *err) {
    text *t = ctx;
    lathe_session *s = NULL;
    lathe_session_params p = greedy(3);
    const char *const stop = "zzz";
    p.stop = &stop;
    p.n_stop = 1;
    p.context.n_ctx = 64;
    p.sampler.dry_multiplier = 0.5;
    t->n = 0;
    lathe_status st = lathe_session_new(stories, &p, &s, err);
    if (!st)
        st = lathe_session_generate(s, "Once upon a time", append, t, err);
    lathe_session_free(s);
    return st;
}

static void every_allocation_may_fail(void **state) {
    (void) state;
    need_shared("models/stories260K-f32.gguf");
    text t = {0};
    assert_true(check_every_allocation(generate_once, &t) > 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_text_is_the_expected_one),
        cmocka_unit_test(what_is_in_the_cache_is_not_read_again),
        cmocka_unit_test(stop_strings_and_callbacks_end_the_text),
        cmocka_unit_test(a_full_context_ends_or_shifts),
        cmocka_unit_test(wrong_prompts_are_named),
        cmocka_unit_test(stop_text_holds_back_only_what_may_begin_one),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, stories_load, stories_free) != 0;
}
