/* Measurements of kernels: plausible figures for every set that runs here, refusals. Speed itself is not
 * asserted. */
#include "support/check.h"

#include "tensor/cpu/measure.h"

static void products_and_peaks_of_every_set_are_measured(void **state) {
    (void) state;
    size_t n;
    const lathe_cpu *const *sets = lathe_cpu_sets(&n);
    lathe_error err = {0};
    for (size_t s = 0; s < n; s++) {
        if (!sets[s]->is_usable())
            continue;
        lathe_product_speed speed = {0};
        check_ok(lathe_measure_product(sets[s], LATHE_PACKED_Q4_0, 40, 64, 3, 2, &speed, &err), err);
        check_near(speed.bytes, 3 * 2 * 288, 0.0); /* 3 groups of 16 rows, 2 blocks each */
        check_near(speed.ops, 2.0 * 40 * 64 * 3, 0.0);
        assert_true(speed.seconds > 0.0);
        assert_true(lathe_measure_peak(sets[s], false, 1) > 0.0);
        assert_true(lathe_measure_peak(sets[s], true, 2) > 0.0);
    }
}

static void shapes_that_no_matrix_has_are_refused(void **state) {
    (void) state;
    lathe_product_speed speed;
    lathe_error err = {0};
    assert_int_equal(lathe_measure_product(&lathe_cpu_scalar, LATHE_PACKED_Q4_K, 16, 32, 1, 1, &speed, &err),
                     LATHE_ERR_ARG);
    assert_int_equal(lathe_measure_product(&lathe_cpu_scalar, LATHE_PACKED_Q4_0, 0, 32, 1, 1, &speed, &err),
                     LATHE_ERR_ARG);
    assert_true(lathe_measure_peak(&lathe_cpu_scalar, true, 0) <= 0.0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_and_peaks_of_every_set_are_measured),
        cmocka_unit_test(shapes_that_no_matrix_has_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
