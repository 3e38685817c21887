/* Sessions that speculate, on stories260K: the ids are those of plain sessions, greedy and seeded, also
 * behind shifts and in later generations. */
#include "support/check.h"

#include <stdlib.h>
#include <string.h>

#include "decode/session.h"
#include "support/stories.h"

/* The beginning of the tale twice: there is something to look up. */
static const char prompt[] =
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. "
    "Once upon a time, there was a little girl";

static lathe_session_params params_of(double temp, int32_t n_predict) {
    lathe_session_params p = lathe_session_params_default();
    p.sampler.temp = temp;
    p.sampler.seed = 11;
    p.n_predict = n_predict;
    p.context.n_threads = 1;
    p.context.type_k = p.context.type_v = LATHE_CACHE_F32;
    p.context.exact = true;
    return p;
}

static lathe_session *generate(const lathe_session_params *p, const char *proposer, int32_t length) {
    lathe_error err = {0};
    lathe_session *s = NULL;
    check_ok(lathe_session_new(stories, p, &s, &err), err);
    if (proposer)
        check_ok(lathe_session_speculate(s, proposer, "match", length, &err), err);
    check_ok(lathe_session_generate(s, prompt, NULL, NULL, &err), err);
    return s;
}

static void check_same(const lathe_session *a, const lathe_session *b) {
    size_t n = 0, m = 0, n_new = 0, m_new = 0;
    const int32_t *x = lathe_session_ids(a, &n, &n_new), *y = lathe_session_ids(b, &m, &m_new);
    assert_int_equal(n, m);
    assert_int_equal(n_new, m_new);
    assert_true(n_new > 20);
    assert_memory_equal(x, y, n * sizeof *x);
    assert_int_equal(lathe_session_stats_of(a).stop, lathe_session_stats_of(b).stop);
}

static void the_ids_are_those_of_plain_generation(void **state) {
    (void) state;
    need_shared("models/stories260K-f32.gguf");
    static const char *const proposers[] = {"lookup", "suffix", "ngram"};
    for (int t = 0; t < 2; t++) {
        const lathe_session_params p = params_of(t ? 0.7 : 0.0, 120);
        lathe_session_spec_stats spec;
        lathe_session *plain = generate(&p, NULL, 0);
        assert_false(lathe_session_spec_stats_of(plain, &spec));
        for (size_t i = 0; i < LATHE_LEN(proposers); i++) {
            lathe_session *s = generate(&p, proposers[i], 0);
            check_same(plain, s);
            assert_true(lathe_session_spec_stats_of(s, &spec));
            assert_string_equal(spec.proposer, proposers[i]);
            assert_true(spec.lossless);
            /* Rounds that keep nothing would emit one token each. */
            assert_true(spec.accepted > 0 && spec.accepted <= spec.proposed);
            assert_true(spec.rounds < lathe_session_stats_of(s).n_predicted);
            assert_true(spec.rounds + spec.accepted >= lathe_session_stats_of(s).n_predicted);
            lathe_session_free(s);
        }
        lathe_session_free(plain);
    }
}

static void shifts_and_later_generations_change_nothing(void **state) {
    (void) state;
    need_shared("models/stories260K-f32.gguf");
    lathe_error err = {0};
    lathe_session_params p = params_of(0.7, 150);
    p.context.n_ctx = 96;
    p.shift = true;
    p.ignore_eos = true;
    lathe_session *plain = generate(&p, NULL, 0), *s = generate(&p, "lookup", 5);
    assert_true(lathe_session_stats_of(plain).n_shifted > 0);
    assert_int_equal(lathe_session_stats_of(plain).n_shifted, lathe_session_stats_of(s).n_shifted);
    check_same(plain, s);
    /* The next prompt shares a beginning with what is held; a draft left in the cache would change its text.
     */
    check_ok(lathe_session_generate(plain, "Once upon a time, there was a dog", NULL, NULL, &err), err);
    check_ok(lathe_session_generate(s, "Once upon a time, there was a dog", NULL, NULL, &err), err);
    check_same(plain, s);
    lathe_session_free(plain);
    lathe_session_free(s);
}

static void what_cannot_go_together_is_refused(void **state) {
    (void) state;
    need_shared("models/stories260K-f32.gguf");
    lathe_error err = {0};
    lathe_session_params p = params_of(0.7, 4);
    lathe_session *s = NULL;
    check_ok(lathe_session_new(stories, &p, &s, &err), err);
    assert_int_equal(lathe_session_speculate(s, "oracle", "match", 0, &err), LATHE_ERR_ARG);
    assert_int_equal(lathe_session_speculate(s, "lookup", "hope", 0, &err), LATHE_ERR_ARG);
    assert_int_equal(lathe_session_speculate(s, "lookup", "greedy", 0, &err), LATHE_ERR_ARG);
    assert_int_equal(lathe_session_speculate(s, "lookup", "token", 0, &err), LATHE_ERR_ARG);
    assert_int_equal(lathe_session_speculate(s, "lookup", "match", 100000, &err), LATHE_ERR_ARG);
    lathe_session_spec_stats spec;
    assert_false(lathe_session_spec_stats_of(s, &spec)); /* still the plain step */
    lathe_session_free(s);
    p.sampler.mirostat = true;
    check_ok(lathe_session_new(stories, &p, &s, &err), err);
    assert_int_equal(lathe_session_speculate(s, "lookup", "match", 0, &err), LATHE_ERR_ARG);
    lathe_session_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_ids_are_those_of_plain_generation),
        cmocka_unit_test(shifts_and_later_generations_change_nothing),
        cmocka_unit_test(what_cannot_go_together_is_refused),
    };
    return cmocka_run_group_tests(tests, stories_load, stories_free) != 0;
}
