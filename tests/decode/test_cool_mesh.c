/* test_cool_mesh.c - COOL-SD on mesh images against figures that two independent programs gave (tokens a
 * round and total variation of vertical pairs; 20,000 images there, 1500 here with the tolerances given for
 * that). Seeds are fixed. */
#include "support/check.h"

#include <math.h>
#include <string.h>

#include "lathe/decode.h"

static lathe_error err;

static lathe_cool_mesh_result mesh(double delta, const char *schedule, int32_t images, uint64_t seed) {
    lathe_cool_mesh_params p = lathe_cool_mesh_params_default();
    lathe_cool_mesh_result r;
    p.delta = delta;
    p.schedule = schedule;
    p.images = images;
    p.seed = seed;
    check_ok(lathe_cool_mesh_run(&p, &r, &err), err);
    return r;
}

static void lossless_rounds_take_three_tokens_and_keep_the_law(void **state) {
    (void) state;
    const lathe_cool_mesh_result many = mesh(1, "excess", 20000, 1), few = mesh(1, "excess", 1500, 2);
    check_near(many.tokens_per_round, 3.305, 0.01);
    check_near(few.tokens_per_round, 3.305, 0.03);
    assert_true(lathe_cool_mesh_tv(&few, &many) < 0.006);
    check_near(many.budget, 0, 0);
    double sum = 0;
    for (int i = 0; i < 16; i++)
        sum += many.vertical[i];
    check_near(sum, 1, 1e-12);
}

static void relaxed_rounds_have_the_speed_and_the_error_of_the_reference(void **state) {
    (void) state;
    static const struct {
        double delta;
        const char *schedule;
        double tokens, tv;
    } cases[] = {
        {1.1, "uniform", 3.610, 0.0375}, {1.1, "excess", 3.715, 0.0457}, {1.1, "reverse", 3.464, 0.0276},
        {1.5, "uniform", 4.685, 0.1555}, {1.5, "excess", 4.714, 0.1374}, {1.5, "reverse", 3.988, 0.1047},
        {2.0, "uniform", 5.353, 0.2141}, {2.0, "excess", 5.183, 0.1777}, {2.0, "reverse", 4.406, 0.1549},
    };
    const lathe_cool_mesh_result lossless = mesh(1, "excess", 20000, 1);
    for (size_t i = 0; i < LATHE_LEN(cases); i++) {
        const lathe_cool_mesh_result r = mesh(cases[i].delta, cases[i].schedule, 1500, 3);
        check_near(r.tokens_per_round, cases[i].tokens, 0.03);
        check_near(lathe_cool_mesh_tv(&r, &lossless), cases[i].tv, 0.006);
        assert_true(r.budget > 0);
    }
}

/* Of normal laws in one dimension: (m1 - m2)^2 + (s1 - s2)^2; commuting covariances add up. */
static void frechet_distance_is_that_of_normal_laws(void **state) {
    (void) state;
    lathe_cool_mesh_result a = {.n_levels = 2}, b = {.n_levels = 2};
    static const double sa[5] = {1, 2, 3, 4, 5}, sb[5] = {2, 2, 1, 0, 7};
    double expected = 0;
    for (int i = 0; i < 5; i++) {
        a.mean[i] = i;
        b.mean[i] = 2 * i + 1;
        expected += (i + 1.0) * (i + 1.0) + (sa[i] - sb[i]) * (sa[i] - sb[i]);
        a.covariance[i][i] = sa[i] * sa[i];
        b.covariance[i][i] = sb[i] * sb[i];
    }
    check_near(lathe_cool_mesh_frechet(&a, &b), expected, 1e-9);
    check_near(lathe_cool_mesh_frechet(&a, &a), 0, 1e-9);
    /* A rotation of both changes nothing: 45 degrees between features 0 and 4. */
    lathe_cool_mesh_result ra = a, rb = b;
    for (lathe_cool_mesh_result *x = &ra; x; x = x == &ra ? &rb : NULL) {
        const double p = x->covariance[0][0], q = x->covariance[4][4], m = x->mean[0], n = x->mean[4];
        x->covariance[0][0] = x->covariance[4][4] = (p + q) / 2;
        x->covariance[0][4] = x->covariance[4][0] = (p - q) / 2;
        x->mean[0] = (m - n) / sqrt(2);
        x->mean[4] = (m + n) / sqrt(2);
    }
    check_near(lathe_cool_mesh_frechet(&ra, &rb), expected, 1e-9);
}

static void values_out_of_range_are_refused(void **state) {
    (void) state;
    lathe_cool_mesh_params p = lathe_cool_mesh_params_default();
    lathe_cool_mesh_result r;
    p.delta = 0.5;
    assert_int_equal(lathe_cool_mesh_run(&p, &r, &err), LATHE_ERR_ARG);
    p = lathe_cool_mesh_params_default();
    p.schedule = "cosine";
    assert_int_equal(lathe_cool_mesh_run(&p, &r, &err), LATHE_ERR_ARG);
    assert_non_null(strstr(err.text, "excess"));
    p = lathe_cool_mesh_params_default();
    p.side = 1;
    assert_int_equal(lathe_cool_mesh_run(&p, &r, &err), LATHE_ERR_ARG);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lossless_rounds_take_three_tokens_and_keep_the_law),
        cmocka_unit_test(relaxed_rounds_have_the_speed_and_the_error_of_the_reference),
        cmocka_unit_test(frechet_distance_is_that_of_normal_laws),
        cmocka_unit_test(values_out_of_range_are_refused),
    };
    return cmocka_run_group_tests_name("decode/cool_mesh", tests, NULL, NULL) != 0;
}
