/* The sampler chain against worked vectors: logits 2, 1.5, 1, 0.5, 0, -1, -2, -3 for the ids 0 to 7. */
#include "support/check.h"

#include <math.h>
#include <string.h>

#include "base/rng_purpose.h"
#include "decode/chain.h"
#include "decode/penalties.h"
#include "decode/sampler.h"

enum { V = 8 };
static const float logits[V] = {2, 1.5f, 1, 0.5f, 0, -1, -2, -3};

/* Everything off: the plain softmax. */
static lathe_sampler_params off(void) {
    lathe_sampler_params p = lathe_sampler_params_default();
    p.temp = 1;
    p.top_k = 0;
    p.top_p = 1;
    p.min_p = 0;
    return p;
}

static void law_of(const lathe_sampler_params *params, const int32_t *history, size_t n, double *law) {
    lathe_error err = {0};
    lathe_sampler *s = NULL;
    check_ok(lathe_sampler_new(NULL, V, params, &s, &err), err);
    check_ok(lathe_sampler_law(s, logits, history, n, law, &err), err);
    lathe_sampler_free(s);
}

static void softmax_and_temperature(void **state) {
    (void) state;
    const double plain[V] = {.415331, .251911, .152792, .092673, .056209, .020678, .007607, .002798};
    const double cold[V] = {.635253, .233696, .085972, .031627, .011635, .001575, .000213, .000029};
    const double hot[V] = {.272767, .212431, .165442, .128846, .100346, .060863, .036915, .022390};
    double law[V];
    lathe_sampler_params p = off();
    law_of(&p, NULL, 0, law);
    check_array(law, plain, V, 1e-6);
    p.temp = 0.5;
    law_of(&p, NULL, 0, law);
    check_array(law, cold, V, 1e-6);
    p.temp = 2;
    law_of(&p, NULL, 0, law);
    check_array(law, hot, V, 1e-6);
}

static void truncations(void **state) {
    (void) state;
    double law[V];
    lathe_sampler_params p = off();
    p.top_k = 3;
    law_of(&p, NULL, 0, law);
    check_array(law, ((const double[V]){.506480, .307196, .186324}), V, 1e-6);
    p = off();
    p.top_p = 0.8; /* .415331 .667243 .820034: the third passes 0.8 and stays */
    law_of(&p, NULL, 0, law);
    check_array(law, ((const double[V]){.506480, .307196, .186324}), V, 1e-6);
    p = off();
    p.min_p = 0.2;
    law_of(&p, NULL, 0, law);
    check_array(law, ((const double[V]){.455054, .276004, .167405, .101536}), V, 1e-6);
    p = off();
    p.top_n_sigma = 1; /* mean -.125, sd 1.634587, threshold .365413 */
    law_of(&p, NULL, 0, law);
    check_array(law, ((const double[V]){.455054, .276004, .167405, .101536}), V, 1e-6);
}

static void typical_keeps_the_one_that_passes(void **state) {
    (void) state;
    double law[V];
    lathe_sampler_params p = off();
    p.typical = 0.6; /* order 1, 2, 0, 3 */
    law_of(&p, NULL, 0, law);
    check_array(law, ((const double[V]){.506480, .307196, .186324}), V, 1e-6);
    /* Negative: with >= a sum that is exactly p ends the set one token early. Two equal tokens: p1 is 0.5. */
    lathe_candidate two[2] = {{.logit = 0, .id = 0}, {.logit = 0, .id = 1}};
    lathe_candidates c = {.at = two, .n = 2};
    lathe_keep_typical(&c, 0.5);
    assert_int_equal(c.n, 2);
    two[0].logit = two[1].logit = 0;
    c.n = 2;
    lathe_keep_top_p(&c, 0.5); /* top-p is >= */
    assert_int_equal(c.n, 1);
    assert_int_equal(c.at[0].id, 0);
}

static void min_p_stands_before_the_temperature(void **state) {
    (void) state;
    double law[V];
    lathe_sampler_params p = off();
    p.min_p = 0.2;
    p.temp = 2;
    law_of(&p, NULL, 0, law);
    /* Negative: after T = 2 the bound would let ids 0 to 5 through (e^-1.5 = .22 at id 5). */
    assert_true(law[3] > 0);
    assert_true(law[4] == 0);
    p.steps = "temperature;min_p";
    law_of(&p, NULL, 0, law);
    assert_true(law[5] > 0);
    assert_true(law[6] == 0);
}

static void xtc_keeps_the_least_of_the_likely(void **state) {
    (void) state;
    double law[V];
    lathe_sampler_params p = off();
    p.xtc_probability = 1;
    p.xtc_threshold = 0.1;
    law_of(&p, NULL, 0, law);
    /* Negative: removing the least probable instead would leave ids 0 and 1. */
    check_array(law, ((const double[V]){0, 0, .459169, .278500, .168919, .062142, .022861, .008410}), V,
                1e-6);
    p.xtc_threshold = 0.3; /* only one token is over it: nothing happens */
    law_of(&p, NULL, 0, law);
    check_near(law[0], .415331, 1e-6);
    /* Acts iff the position's uniform is below the probability. */
    p.xtc_threshold = 0.1;
    p.xtc_probability = 0.4;
    p.seed = 11;
    int32_t history[200] = {0};
    int n_acts = 0;
    for (size_t n = 0; n < 200; n++) {
        law_of(&p, history, n, law);
        const bool acts = lathe_uniform_at(11, LATHE_RNG_XTC, (uint32_t) n, 0, 0) < 0.4;
        assert_true(acts == (law[0] == 0));
        n_acts += acts;
    }
    assert_in_range(n_acts, 40, 120);
}

static void mirostat_bounds_the_surprise(void **state) {
    (void) state;
    double law[V];
    lathe_sampler_params p = off();
    p.mirostat = true;
    p.mirostat_tau = 3;
    law_of(&p, NULL, 0, law); /* mu = 6 */
    check_array(law, ((const double[V]){.419699, .254560, .154398, .093647, .056800, .020896}), V, 1e-6);
    p.mirostat_tau = 1;
    law_of(&p, NULL, 0, law); /* mu = 2 */
    check_array(law, ((const double[V]){.622459, .377541}), V, 1e-6);
    /* Drawing id 1 at mu 6: s = 1.973922, mu = 6.102608. The seed is looked for. */
    p.mirostat_tau = 3;
    for (p.seed = 0;; p.seed++) {
        lathe_error err = {0};
        lathe_sampler *s = NULL;
        int32_t id = -1;
        assert_true(p.seed < 1000);
        check_ok(lathe_sampler_new(NULL, V, &p, &s, &err), err);
        check_ok(lathe_sampler_draw(s, logits, NULL, 0, &id, &err), err);
        const double mu = lathe_sampler_mu(s);
        lathe_sampler_free(s);
        if (id == 1) {
            check_near(mu, 6.102608, 1e-6);
            break;
        }
    }
}

static void dynamic_temperature(void **state) {
    (void) state;
    lathe_candidate at[V];
    for (int32_t i = 0; i < V; i++)
        at[i] = (lathe_candidate){.logit = logits[i], .id = i};
    lathe_candidates c = {.at = at, .n = V};
    check_near(lathe_scale_temperature(&c, 0.8, 0.3, 1), .937226, 1e-6);
    c.n = 1;
    check_near(lathe_scale_temperature(&c, 0.8, 0.3, 1), 0.8, 0);
}

static void penalties_multiply_what_is_negative(void **state) {
    (void) state;
    const int32_t history[] = {0, 0, 1, 5};
    const double want[V] = {1.118182, .863636, 1, .5, 0, -1.6, -2, -3};
    double law[V];
    lathe_sampler_params p = off();
    p.repeat_penalty = 1.1;
    p.frequency_penalty = 0.2;
    p.presence_penalty = 0.3;
    law_of(&p, history, 4, law);
    /* Differences of log-probabilities are those of the logits. Negative: dividing gives -1.409091 for id 5.
     */
    for (int32_t i = 0; i < V; i++)
        check_near(log(law[i] / law[4]), want[i], 1e-6);
    p.repeat_last_n = 1; /* only the 5 counts */
    law_of(&p, history, 4, law);
    check_near(log(law[0] / law[4]), 2, 1e-6);
    p.repeat_last_n = 0;
    law_of(&p, history, 4, law);
    check_near(log(law[5] / law[4]), -1, 1e-6);
}

/* What DRY .8/1.75/2 takes from tokens 0 .. 25 (a .. z), with one breaker (0: none). */
static void dry_of(const char *text, char breaker, double *taken) {
    int32_t ids[32];
    size_t z[32];
    const size_t n = strlen(text);
    uint8_t single[26] = {0};
    lathe_error err = {0};
    lathe_token_table table;
    for (size_t i = 0; i < n; i++)
        ids[i] = text[i] - 'a';
    if (breaker)
        single[breaker - 'a'] = 1;
    const lathe_breakers b = {.single = single, .n_vocab = 26};
    check_ok(lathe_token_table_new(&table, 26, &err), err);
    lathe_dry_lengths(ids, n, lathe_breakers_limit(&b, ids, n), 2, z, &table);
    for (int32_t i = 0; i < 26; i++)
        taken[i] = table.value[i] && !single[i] ? lathe_dry_penalty(0.8, 1.75, table.value[i], 2) : 0;
    lathe_token_table_free(&table);
}

static void dry_punishes_what_followed_before(void **state) {
    (void) state;
    double taken[26];
    dry_of("abccbcyabc", 0, taken);
    for (int i = 0; i < 26; i++)
        check_near(taken[i], i == 'c' - 'a' ? 1.4 : (i == 'y' - 'a' ? 0.8 : 0), 1e-9);
    dry_of("abccbcyabc", 'y', taken);
    for (int i = 0; i < 26; i++)
        check_near(taken[i], i == 'c' - 'a' ? 1.4 : 0, 1e-9);
    dry_of("abccbcyabc", 'a', taken);
    for (int i = 0; i < 26; i++)
        check_near(taken[i], i == 'c' - 'a' || i == 'y' - 'a' ? 0.8 : 0, 1e-9);
    dry_of("abccbcyabc", 'c', taken);
    for (int i = 0; i < 26; i++)
        check_near(taken[i], 0, 0);
    dry_of("aaaa", 0, taken); /* matches may overlap: length 3 */
    check_near(taken[0], 1.4, 1e-9);
    assert_true(isfinite((float) lathe_dry_penalty(1, 1.75, 100000, 2)));
}

/* Length of the longest ending that occurred before token t, by trying all. */
static void dry_equals_brute_force(void **state) {
    (void) state;
    lathe_rng rng = lathe_rng_new(5, LATHE_RNG_LAB_DATA, 0);
    lathe_error err = {0};
    lathe_token_table table;
    check_ok(lathe_token_table_new(&table, 4, &err), err);
    for (int round = 0; round < 500; round++) {
        int32_t ids[40], want[4] = {0};
        size_t z[40];
        const size_t n = 1 + (size_t) lathe_rng_below(&rng, 40),
                     limit = (size_t) lathe_rng_below(&rng, n + 1);
        for (size_t i = 0; i < n; i++)
            ids[i] = (int32_t) lathe_rng_below(&rng, 3);
        for (size_t e = 0; e + 1 < n; e++) {
            size_t k = 0;
            while (k < limit && k <= e && ids[e - k] == ids[n - 1 - k])
                k++;
            if (k >= 2 && (int32_t) k > want[ids[e + 1]])
                want[ids[e + 1]] = (int32_t) k;
        }
        lathe_token_table_clear(&table);
        lathe_dry_lengths(ids, n, limit, 2, z, &table);
        assert_memory_equal(table.value, want, sizeof want);
    }
    lathe_token_table_free(&table);
}

static void greedy_ties_go_to_the_lowest_id(void **state) {
    (void) state;
    /* Negative: ggml's argmax answers 4 here. */
    const float tied[] = {1, 3, 3, 2, 3};
    lathe_error err = {0};
    lathe_sampler *s = NULL;
    lathe_sampler_params p = lathe_sampler_params_default();
    int32_t id = -1;
    double law[5];
    p.temp = 0;
    check_ok(lathe_sampler_new(NULL, 5, &p, &s, &err), err);
    check_ok(lathe_sampler_draw(s, tied, NULL, 0, &id, &err), err);
    assert_int_equal(id, 1);
    check_ok(lathe_sampler_law(s, tied, NULL, 0, law, &err), err);
    check_array(law, ((const double[]){0, 1, 0, 0, 0}), 5, 0);
    lathe_sampler_free(s);
    const lathe_logit_bias ban = {1, -INFINITY};
    p.bias = &ban;
    p.n_bias = 1;
    check_ok(lathe_sampler_new(NULL, 5, &p, &s, &err), err);
    check_ok(lathe_sampler_draw(s, tied, NULL, 0, &id, &err), err);
    assert_int_equal(id, 2);
    lathe_sampler_free(s);
}

static void top_k_of_ties_takes_the_lowest_ids(void **state) {
    (void) state;
    enum { N = 1000 };
    static lathe_candidate at[N];
    lathe_rng rng = lathe_rng_new(9, LATHE_RNG_LAB_DATA, 0);
    for (int round = 0; round < 50; round++) {
        static double plain[N];
        for (int32_t i = 0; i < N; i++) {
            plain[i] = (double) lathe_rng_below(&rng, 20);
            at[i] = (lathe_candidate){.logit = plain[i], .id = i};
        }
        lathe_candidates c = {.at = at, .n = N};
        const int32_t k = 1 + (int32_t) lathe_rng_below(&rng, N - 1);
        lathe_keep_top_k(&c, k);
        assert_int_equal(c.n, k);
        for (int32_t i = 0; i < k; i++) {
            int32_t rank = 0; /* by counting who stands before */
            for (int32_t j = 0; j < N; j++)
                rank += plain[j] > plain[at[i].id] || (plain[j] == plain[at[i].id] && j < at[i].id);
            assert_int_equal(rank, i);
        }
    }
}

/* 100,000 draws against the law: chi-square over 8 cells; 53.0 is passed with probability 4e-9 by 7 degrees.
 * A sampler that forgot the temperature (TV 0.21) is far outside. */
static void draws_follow_the_law(void **state) {
    (void) state;
    enum { N = 100000 };
    lathe_error err = {0};
    lathe_sampler *s = NULL;
    lathe_sampler_params p = off();
    p.temp = 0.7;
    p.min_p = 1e-9;
    double law[V], chi = 0;
    int32_t n_of[V] = {0};
    static int32_t history[N];
    check_ok(lathe_sampler_new(NULL, V, &p, &s, &err), err);
    check_ok(lathe_sampler_law(s, logits, NULL, 0, law, &err), err);
    for (size_t i = 0; i < N; i++) {
        int32_t id = -1;
        check_ok(lathe_sampler_draw(s, logits, history, i, &id, &err), err);
        assert_int_equal(id, lathe_sampler_pick(s, law, i));
        n_of[id]++;
    }
    for (int i = 0; i < V; i++)
        chi += (n_of[i] - N * law[i]) * (n_of[i] - N * law[i]) / (N * law[i]);
    assert_true(chi < 53.0);
    lathe_sampler_free(s);
}

static void wrong_values_are_named(void **state) {
    (void) state;
    lathe_error err = {0};
    lathe_sampler *s = NULL;
    lathe_sampler_params p = off();
    p.steps = "top_k;topp";
    assert_int_equal(lathe_sampler_new(NULL, V, &p, &s, &err), LATHE_ERR_ARG);
    assert_non_null(strstr(err.text, "no sampler 'topp'"));
    p = off();
    p.temp = NAN;
    assert_int_equal(lathe_sampler_new(NULL, V, &p, &s, &err), LATHE_ERR_ARG);
    const lathe_logit_bias far_away = {V, 1};
    p = off();
    p.bias = &far_away;
    p.n_bias = 1;
    assert_int_equal(lathe_sampler_new(NULL, V, &p, &s, &err), LATHE_ERR_ARG);
    assert_null(s);
    p = off();
    check_ok(lathe_sampler_new(NULL, 2, &p, &s, &err), err);
    int32_t id = 77;
    assert_int_equal(lathe_sampler_draw(s, ((const float[]){1, NAN}), NULL, 0, &id, &err), LATHE_ERR_NUMERIC);
    assert_int_equal(lathe_sampler_draw(s, ((const float[]){-INFINITY, -INFINITY}), NULL, 0, &id, &err),
                     LATHE_ERR_NUMERIC);
    assert_int_equal(id, 77);
    lathe_sampler_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(softmax_and_temperature),
        cmocka_unit_test(truncations),
        cmocka_unit_test(typical_keeps_the_one_that_passes),
        cmocka_unit_test(min_p_stands_before_the_temperature),
        cmocka_unit_test(xtc_keeps_the_least_of_the_likely),
        cmocka_unit_test(mirostat_bounds_the_surprise),
        cmocka_unit_test(dynamic_temperature),
        cmocka_unit_test(penalties_multiply_what_is_negative),
        cmocka_unit_test(dry_punishes_what_followed_before),
        cmocka_unit_test(dry_equals_brute_force),
        cmocka_unit_test(greedy_ties_go_to_the_lowest_id),
        cmocka_unit_test(top_k_of_ties_takes_the_lowest_ids),
        cmocka_unit_test(draws_follow_the_law),
        cmocka_unit_test(wrong_values_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
