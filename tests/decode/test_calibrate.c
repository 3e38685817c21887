/* Calibration against a clock that is made up: time plan, fit, interference. */
#include "support/check.h"

#include "decode/calibrate.h"

#include <math.h>

typedef struct machine {
    double t1;
    int calls;
    bool busy; /* another program makes every third step four times as long */
} machine;

static double step(void *user, int32_t n) {
    machine *m = user;
    const double t = m->t1 * (1 + .13 * (n - 1));
    return m->busy && ++m->calls % 3 == 0 ? 4 * t : t;
}

static void test_fit(void **state) {
    (void) state;
    double y[] = {1.31, 1.29, 1.45}, w[] = {1, 1, 1};
    lathe_isotonic(y, w, 3);
    check_array(y, ((const double[]){1.30, 1.30, 1.45}), 3, 1e-12);
}

static void test_time_plan(void **state) {
    (void) state;
    lathe_error err = {0};
    const double t1[] = {2e-4, 2e-3, 2e-2, .1, .5};
    for (int i = 0; i < 5; i++) {
        machine m = {.t1 = t1[i]};
        lathe_calibration c;
        check_ok(lathe_calibrate(&(lathe_stopwatch){step, &m}, 64, 0, &c, &err), err);
        assert_true(c.spent_s < .5 + 1e-9 || t1[i] > .1);
        check_near_rel(c.plain_s, t1[i], 1e-9);
        if (i < 3)
            for (int k = 1; k < c.cost.n; k++)
                check_near(c.cost.ratio[k], 1 + .13 * (c.cost.rows[k] - 1), 1e-9);
        if (i < 2)
            assert_int_equal(c.cost.rows[c.cost.n - 1], 64);
        if (i == 0)
            assert_int_equal(c.passes[c.cost.n - 1], 9);
        if (i == 2)
            assert_int_equal(c.cost.rows[c.cost.n - 1] >= 16, 1);
        if (i == 4) {
            assert_true(c.assumed);
            check_near(lathe_cost_verify(&c.cost, 2), 1.3, 1e-12);
            check_near(lathe_cost_verify(&c.cost, 5), 1.6, 1e-12);
        }
    }
}

static void test_interference(void **state) {
    (void) state;
    lathe_error err = {0};
    machine m = {.t1 = 2e-4, .busy = true};
    lathe_calibration c;
    check_ok(lathe_calibrate(&(lathe_stopwatch){step, &m}, 17, 0, &c, &err), err);
    for (int k = 1; k < c.cost.n; k++)
        check_near_rel(c.cost.ratio[k], 1 + .13 * (c.cost.rows[k] - 1), .1);
}

static double broken(void *user, int32_t n) {
    (void) user;
    return n > 1 ? -1.0 : 1e-3;
}

static void test_failure(void **state) {
    (void) state;
    lathe_error err = {0};
    lathe_calibration c;
    assert_int_equal(lathe_calibrate(&(lathe_stopwatch){broken, NULL}, 8, 0, &c, &err), LATHE_ERR_IO);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fit), cmocka_unit_test(test_time_plan),
                                       cmocka_unit_test(test_interference), cmocka_unit_test(test_failure)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
