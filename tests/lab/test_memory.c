/* The one-layer memory against closed forms, and the facts of the training part. */
#include "support/check.h"

#include <math.h>
#include <stdlib.h>

#include "lab/memory.h"
#include "lab/people.h"

enum { K = 99 };
static double keys[K * K], values[K * K], scores[K * K], singular[K];

static double least(const lathe_memory *m, lathe_memory_step step, bool coupled, double *eta) {
    lathe_error err = {0};
    if (coupled)
        check_ok(lathe_memory_coupled(K, keys, values, &err), err);
    check_ok(
        lathe_memory_scores(m, step, coupled ? keys : NULL, coupled ? values : NULL, scores, singular, &err),
        err);
    return lathe_memory_balance(m, scores, 0.1, eta);
}

static void descent(void **state) {
    (void) state;
    const lathe_memory m = {K, 20, 0.8};
    double eta;
    check_near(least(&m, LATHE_MEMORY_GD, false, &eta), 0.0154327, 1e-7);
    check_near(eta, 169.555, 1e-3);
    check_near(lathe_memory_gd_least(&m, 0.1), 0.0154327, 1e-7);
    /* the singular values are the frequencies up to O(1/K), one of them 0 */
    check_near(singular[0], 0.8 / 20, 0.8 / 20 / K * 2);
    check_near(singular[K - 1], 0, 1e-15);
}

static void signs(void **state) {
    (void) state;
    const lathe_memory m = {K, 20, 0.8}, whole = {K, 21, 0.8};
    double eta;
    check_near(least(&m, LATHE_MEMORY_SIGN, false, &eta), 0.9, 1e-9);
    check_near(eta, log(9.0 * 98) / 2, 1e-9);
    check_near(singular[0], K - 2, 1e-9); /* 2 I - J */
    check_near(singular[1], 2, 1e-9);
    check_near(least(&m, LATHE_MEMORY_SIGN, true, NULL), 0.0651208, 1e-7); /* a mixed block */
    check_near(least(&whole, LATHE_MEMORY_SIGN, true, NULL), 0.3048427, 1e-7);
    check_near(scores[0], 1.465523, 1e-6);
    check_near(scores[K + 1], 1.007093, 1e-6);
    check_near(scores[2 * K + 2], 1.541473, 1e-6);
    const double n[] = {99, 999, 9999, 99999, 999999},
                 want[] = {0.3048427, 0.2013014, 0.0961504, 0.0442387, 0.0200736};
    for (int i = 0; i < 5; i++)
        check_near(lathe_memory_coupled_least(&whole, scores, n[i], 0.1), want[i], 1e-7);
}

static void muon(void **state) {
    (void) state;
    const lathe_memory m = {K, 20, 0.8};
    check_near(least(&m, LATHE_MEMORY_MUON, false, NULL), 0.895508, 1e-6);
    /* diag_H, off_HH, HL, LH, LL, diag_L; row k of the scores is column k of the matrix */
    check_near(scores[0], .99464223, 1e-8);
    check_near(scores[1], -.00535777, 1e-8);
    check_near(scores[30 * K + 0], -.00071531, 1e-8);
    check_near(scores[0 * K + 30], -.01130183, 1e-8);
    check_near(scores[30 * K + 31], -.01247714, 1e-8);
    check_near(scores[30 * K + 30], .98752286, 1e-8);
    double sum = 0, squares = 0; /* one singular value is 0: a step with all of them at 1 has squares 99 */
    for (int i = 0; i < K; i++)
        sum += singular[i];
    for (int i = 0; i < K * K; i++)
        squares += scores[i] * scores[i];
    check_near(sum, K - 1, 1e-12);
    check_near(squares, K - 1, 1e-9);
    lathe_error err = {0};
    lathe_rng rng = lathe_rng_new(7, 36, 0);
    for (int i = 0; i < 3; i++) {
        check_ok(lathe_memory_orthogonal(&rng, K, keys, &err), err);
        check_ok(lathe_memory_orthogonal(&rng, K, values, &err), err);
        check_ok(lathe_memory_scores(&m, LATHE_MEMORY_MUON, keys, values, scores, NULL, &err), err);
        check_near(lathe_memory_balance(&m, scores, 0.1, NULL), 0.895508, 1e-6);
    }
    /* signs do depend on it */
    check_ok(lathe_memory_scores(&m, LATHE_MEMORY_SIGN, keys, values, scores, NULL, &err), err);
    assert_true(lathe_memory_balance(&m, scores, 0.1, NULL) < 0.8);
}

static void wrong_sizes(void **state) {
    (void) state;
    lathe_error err = {0};
    const lathe_memory none = {K, K, 0.8};
    assert_int_equal(lathe_memory_coupled(100, keys, values, &err), LATHE_ERR_ARG);
    assert_int_equal(lathe_memory_scores(&none, LATHE_MEMORY_GD, NULL, NULL, scores, NULL, &err),
                     LATHE_ERR_ARG);
}

/* 1024 distinct people; groups of 2^g nearly equal in mass: (H(2^(g+1) - 1) - H(2^g - 1)) / H(1024), H(1024)
 * = 7.5092. */
static void people(void **state) {
    (void) state;
    static lathe_people p;
    static bool seen[LATHE_PEOPLE_VOCAB][LATHE_PEOPLE_VOCAB];
    lathe_people_make(3, 1, &p);
    assert_int_equal(LATHE_PEOPLE_VOCAB, 325);
    for (int k = 0; k < LATHE_PEOPLE; k++) {
        assert_in_range(p.first[k], 1, 32);
        assert_in_range(p.second[k], 33, 64);
        assert_false(seen[p.first[k]][p.second[k]]);
        seen[p.first[k]][p.second[k]] = true;
    }
    for (int f = 0; f < LATHE_PEOPLE_FACTS; f++)
        assert_in_range(p.answer[f], 69 + f % 4 * 64, 69 + f % 4 * 64 + 63);
    check_near(p.below[1], 1 / 7.509175672, 1e-9);
    assert_int_equal(lathe_people_group(0), 0);
    assert_int_equal(lathe_people_group(510), 8);
    assert_int_equal(lathe_people_group(511), 9);
    assert_int_equal(lathe_people_group(1022), 9);
    assert_int_equal(lathe_people_group(1023), 10);
    /* the tail group has mass (H(1023) - H(511)) / H(1024) = .0924; 200,000 draws are within 6 standard
     * errors with a false-alarm rate of 2e-9 */
    int tail = 0;
    lathe_rng rng = lathe_rng_new(5, 36, 0);
    for (int i = 0; i < 200000; i++)
        tail += lathe_people_group(lathe_people_draw(&p, &rng) / LATHE_PEOPLE_RELATIONS) == 9;
    double h = 0;
    for (int k = 512; k <= 1023; k++)
        h += 1.0 / k;
    h /= 7.509175672;
    check_near(h, .0924, 1e-4);
    check_near(tail / 200000.0, h, 6 * sqrt(h * (1 - h) / 200000));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(descent),     cmocka_unit_test(signs),  cmocka_unit_test(muon),
        cmocka_unit_test(wrong_sizes), cmocka_unit_test(people),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
