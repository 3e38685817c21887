/* The quadratic model against numbers worked out from the paper's closed forms. */
#include "support/check.h"

#include "lab/quadratic.h"

static void two_of_ten(void **state) {
    (void) state;
    const lathe_quadratic p = {2, 10, 10, 1, 2, 1};
    const double gd[] = {4.4, 2.945455, 1.971751, 1.319932}, muon[] = {4.4, 1.828571, .335860, .061689};
    double gap[4], sharp[3];
    lathe_quadratic_run(&p, false, 3, gap, sharp);
    check_array(gap, gd, 4, 1e-6);
    check_near(sharp[0], 5.5, 1e-12);
    check_near(gap[3] / gap[1], .448125, 1e-6);
    lathe_quadratic_run(&p, true, 3, gap, sharp);
    check_array(gap, muon, 4, 1e-6);
    check_near(sharp[2], 2.8, 1e-12);
    check_near(gap[3] / gap[2], .183673, 1e-6);
}

static void one_of_eight(void **state) {
    (void) state;
    const lathe_quadratic p = {1, 8, 20, 1, 3, 1};
    const double gd[] = {3.725, 3.040508, 2.481796, 2.025750}, muon[] = {3.725, 1.873148, .434241, .100668};
    double gap[4], sharp[3];
    lathe_quadratic_run(&p, false, 3, gap, sharp);
    check_array(gap, gd, 4, 1e-6);
    check_near(sharp[0], 11.6875, 1e-12);
    check_near(sharp[1], 9.3125, 1e-9);
    lathe_quadratic_run(&p, true, 3, gap, sharp);
    check_array(gap, muon, 4, 1e-6);
    check_near(sharp[0], 3.375, 1e-12);
}

/* The condition of the theorem is sufficient, not necessary; and it is not met here. */
static void outside_the_condition(void **state) {
    (void) state;
    const lathe_quadratic p = {4, 10, 3, 1, 2, 1}, strong = {4, 10, 100, 1, 2, 1},
                          inside = {2, 10, 10, 1, 2, 1};
    double gap[7], sharp[6];
    assert_false(lathe_quadratic_heterogeneous(&p));
    assert_true(lathe_quadratic_heterogeneous(&inside));
    lathe_quadratic_run(&p, false, 5, gap, sharp);
    check_near(gap[5], .002268, 1e-6);
    lathe_quadratic_run(&p, true, 5, gap, sharp);
    check_near(gap[5], .000034, 1e-6);
    lathe_quadratic_run(&strong, false, 6, gap, sharp);
    check_near(gap[6], 2.279518, 1e-6);
    lathe_quadratic_run(&strong, true, 6, gap, sharp);
    check_near(gap[6], 2.102855, 1e-6);
}

/* a = b: Muon is exact after one step, and stays there: the next step is 0 / 0. */
static void at_the_optimum_nothing_moves(void **state) {
    (void) state;
    const lathe_quadratic p = {4, 10, 2, 1, 2, 1};
    double gap[5], sharp[4];
    lathe_quadratic_run(&p, true, 4, gap, sharp);
    check_near(gap[0], 4 * 4 / 4.0 + 6 / 2.0, 1e-12);
    for (int t = 1; t <= 4; t++)
        check_near(gap[t], 0, 1e-28);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_of_ten),
        cmocka_unit_test(one_of_eight),
        cmocka_unit_test(outside_the_condition),
        cmocka_unit_test(at_the_optimum_nothing_moves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
