/* Philox gives the published bits, and the distributions on top of it have the right moments. */
#include "support/check.h"

#include <math.h>

#include "lathe/base.h"

static void known_answers(void **state) {
    (void) state;
    /* Random123's kat_vectors for philox4x32-10, and one more computed by an independent program. */
    static const struct {
        uint64_t seed;
        uint32_t c[4], out[4];
    } cases[] = {
        {0, {0, 0, 0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {UINT64_MAX,
         {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {0x299f31d0a4093822ull,
         {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
        {42, {1, 7, 0, 0}, {0xdc6af628, 0x2e45efc7, 0x4655c57b, 0xc778ce12}},
    };
    for (size_t i = 0; i < LATHE_LEN(cases); i++) {
        uint32_t out[4];
        lathe_philox(cases[i].seed, cases[i].c[0], cases[i].c[1], cases[i].c[2], cases[i].c[3], out);
        assert_memory_equal(out, cases[i].out, sizeof out);
    }
}

static void moments_of_the_normal(void **state) {
    (void) state;
    /* n = 200,000: the mean is N(0, 1/n) and the variance N(1, 2/n); 5 standard errors, false alarm < 1.2e-6.
     */
    enum { N = 200000 };
    lathe_rng rng = lathe_rng_new(1, 36, 0);
    double sum = 0, sum2 = 0;
    for (int i = 0; i < N; i++) {
        const double x = lathe_rng_normal(&rng);
        sum += x;
        sum2 += x * x;
    }
    check_near(sum / N, 0.0, 5.0 / sqrt(N));
    check_near(sum2 / N, 1.0, 5.0 * sqrt(2.0 / N));
}

static void moments_of_the_gamma(void **state) {
    (void) state;
    enum { N = 200000 };
    static const double shapes[] = {0.3, 1.0, 4.5};
    for (size_t k = 0; k < LATHE_LEN(shapes); k++) {
        lathe_rng rng = lathe_rng_new(2, 36, (uint32_t) k);
        double sum = 0;
        for (int i = 0; i < N; i++)
            sum += lathe_rng_gamma(&rng, shapes[k]);
        check_near(sum / N, shapes[k], 5.0 * sqrt(shapes[k] / N)); /* mean and variance are the shape */
    }
}

static void permutations_are_permutations(void **state) {
    (void) state;
    lathe_rng rng = lathe_rng_new(3, 36, 0);
    int32_t p[100];
    int seen[100] = {0};
    lathe_rng_permutation(&rng, p, 100);
    for (int i = 0; i < 100; i++)
        seen[p[i]]++;
    for (int i = 0; i < 100; i++)
        assert_int_equal(seen[i], 1);
}

static void zero_weights_are_never_drawn(void **state) {
    (void) state;
    const double w[] = {0.0, 1.0, 0.0, 3.0, 0.0};
    lathe_rng rng = lathe_rng_new(4, 36, 0);
    int counts[5] = {0};
    for (int i = 0; i < 40000; i++)
        counts[lathe_rng_categorical(&rng, w, 5)]++;
    assert_int_equal(counts[0] + counts[2] + counts[4], 0);
    check_near(counts[1] / 40000.0, 0.25, 5.0 * sqrt(0.25 * 0.75 / 40000));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers),
        cmocka_unit_test(moments_of_the_normal),
        cmocka_unit_test(moments_of_the_gamma),
        cmocka_unit_test(permutations_are_permutations),
        cmocka_unit_test(zero_weights_are_never_drawn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
