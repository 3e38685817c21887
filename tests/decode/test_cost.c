/* Lengths, costs, optimal trees, slots, COOL-SD's bound: numbers of the specification. */
#include "support/check.h"

#include "decode/controller.h"
#include "decode/slots.h"

#include <math.h>

static const double curve8[] = {1, 1.304, 1.407, 1.452, 1.56, 1.668, 1.764, 1.88, 1.998, 2.13};

static void test_expected(void **state) {
    (void) state;
    const double want[] = {1.8, 2.44, 2.952, 3.3616, 3.68928};
    for (int g = 1; g <= 5; g++)
        check_near(lathe_expected_tokens(.8, g), want[g - 1], 1e-12);
    check_near(lathe_expected_tokens(.6, 4), 2.3056, 1e-12);
    check_near(lathe_expected_tokens(.9, 8), 6.1258, 5e-5);
    check_near(lathe_expected_tokens(1.0, 8), 9.0, 1e-12);
}

static void test_best_length(void **state) {
    (void) state;
    lathe_error err = {0};
    lathe_cost_model cost;
    double S;
    check_ok(lathe_cost_from_list(curve8, 10, .05, &cost, &err), err);
    const double alpha[] = {.5, .6, .7, .8, .9}, want[] = {1.170, 1.358, 1.581, 1.924, 2.555};
    const int length[] = {3, 3, 3, 5, 8};
    for (int i = 0; i < 5; i++) {
        assert_int_equal(lathe_best_length(alpha[i], 9, &cost, &S), length[i]);
        check_near(S, want[i], 6e-4);
    }
    cost.draft = .1;
    assert_int_equal(lathe_best_length(.4, 9, &cost, &S), 0);
    const double ramp[] = {1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9};
    check_ok(lathe_cost_from_list(ramp, 10, .1, &cost, &err), err);
    const double want2[] = {1.250, 1.400, 1.583, 1.868, 2.373};
    const int length2[] = {2, 2, 3, 4, 7};
    for (int i = 0; i < 5; i++) {
        assert_int_equal(lathe_best_length(alpha[i], 16, &cost, &S), length2[i]);
        check_near(S, want2[i], 6e-4);
    }
    assert_int_equal(lathe_cost_from_list((const double[]){1, .9}, 2, 0, &cost, &err), LATHE_ERR_ARG);
}

static void test_marginal(void **state) {
    (void) state;
    lathe_error err = {0};
    lathe_cost_model cost;
    check_ok(lathe_cost_from_list(curve8, 10, .05, &cost, &err), err);
    double A[9];
    for (int k = 0; k < 9; k++)
        A[k] = pow(.9, k + 1);
    assert_int_equal(lathe_marginal_length(A, 9, 0, 2.55454, &cost), 8);
    assert_int_equal(lathe_marginal_length(A, 1, 0, 2.55454, &cost),
                     0); /* one step of sight: the jump at v(2) stops it */
}

static void test_sequoia(void **state) {
    (void) state;
    lathe_error err = {0};
    const double r[] = {.6, .2, .1}, F[] = {1, 1.6, 1.96, 2.176, 2.376, 2.5056, 2.6256, 2.7456};
    int32_t parent[81], rank[81];
    double value;
    for (int n = 1; n <= 8; n++) {
        check_ok(lathe_sequoia_tree(r, 3, n, 0, parent, rank, &value, &err), err);
        check_near(value, F[n - 1], 1e-12);
    }
    check_ok(lathe_sequoia_tree(r, 3, 5, 0, parent, rank, &value, &err), err);
    int seconds = 0, depth[5] = {0}, deepest = 0;
    for (int i = 1; i < 5; i++) {
        assert_true(parent[i] < i);
        depth[i] = depth[parent[i]] + 1;
        deepest = depth[i] > deepest ? depth[i] : deepest;
        seconds += rank[i] == 1 && parent[i] == 0;
    }
    assert_int_equal(deepest, 3);
    assert_int_equal(seconds, 1);
    const double recycle[] = {.40, .14, .08, .05, .03, .02, .015, .01};
    check_ok(lathe_sequoia_tree(recycle, 8, 81, 0, parent, rank, &value, &err), err);
    check_near(value, 2.6610, 6e-5);
    int count[16] = {0}, d[81] = {0};
    for (int i = 1; i < 81; i++)
        count[d[i] = d[parent[i]] + 1]++;
    const int want[] = {8, 25, 25, 15, 6, 1};
    for (int i = 0; i < 6; i++)
        assert_int_equal(count[i + 1], want[i]);
    check_ok(lathe_sequoia_tree(r, 3, 4, 1, parent, rank, &value, &err), err);
    check_near(value, 1.9, 1e-12); /* depth 1: the root's three children */
    assert_int_equal(lathe_sequoia_tree(r, 3, 5, 1, parent, rank, &value, &err), LATHE_ERR_ARG);
}

static void test_slots(void **state) {
    (void) state;
    lathe_error err = {0};
    lathe_cost_model cost;
    check_ok(lathe_cost_from_list(curve8, 10, .05, &cost, &err), err);
    const double A[3][4] = {{.9, .81, .729, .656}, {.6, .36, .216}, {.3, .09}};
    const int32_t n[3] = {4, 3, 2};
    int32_t got[3];
    const double rho[] = {2.4, 2.8, 3.2, 1.5, 1.5}, latency[] = {9, 9, 9, 9, 1.5};
    const int m[] = {6, 6, 5, 7, 6};
    for (int i = 0; i < 5; i++)
        assert_int_equal(lathe_slots_admit(A[0], n, 3, 4, rho[i], latency[i], 10, &cost, got), m[i]);
    assert_int_equal(got[0], 4);
    assert_int_equal(got[1], 2);
    assert_int_equal(got[2], 0);
    assert_int_equal(lathe_slots_admit(A[0], n, 3, 4, 1.5, 9, 5, &cost, got),
                     2); /* five rows hold two drafts */
}

static void test_cool_bound(void **state) {
    (void) state;
    lathe_error err = {0};
    lathe_cool_point c;
    double P[9], Q[9];
    for (int i = 0; i < 9; i++) {
        P[i] = ((const double[]){.5, .3, .2})[i % 3];
        Q[i] = ((const double[]){.2, .7, .1})[i % 3];
    }
    check_ok(lathe_cool_analyse(P, Q, 3, 2, 1.5, .7, "uniform", &c, &err), err);
    check_near(c.bound, .2625, 1e-9);
    check_near(c.tokens_per_round, 2.3125, 1e-9);
    check_ok(lathe_cool_analyse(P, Q, 3, 2, 1.0, .7, "excess", &c, &err), err);
    check_near(c.stationary_tv, 0.0, 1e-9);
    check_near(c.tokens_per_round, 1.96, 1e-9);
    assert_int_equal(lathe_cool_analyse(P, Q, 3, 2, .9, .7, "excess", &c, &err), LATHE_ERR_ARG);
}

/* Random chains: at equal tokens per round annealing lowers the stationary error of token pairs. */
static void test_annealing(void **state) {
    (void) state;
    lathe_error err = {0};
    int better = 0;
    for (uint32_t trial = 0; trial < 20; trial++) {
        lathe_rng rng = lathe_rng_new(11, 36, trial);
        double P[25], Q[25];
        for (int x = 0; x < 5; x++) {
            double sp = 0, sq = 0;
            for (int y = 0; y < 5; y++)
                sp += P[5 * x + y] = lathe_rng_gamma(&rng, .7) + 1e-9;
            for (int y = 0; y < 5; y++)
                sq += Q[5 * x + y] = P[5 * x + y] * exp(.5 * lathe_rng_normal(&rng));
            for (int y = 0; y < 5; y++) {
                P[5 * x + y] /= sp;
                Q[5 * x + y] /= sq;
            }
        }
        lathe_cool_point exact, flat, annealed;
        check_ok(lathe_cool_analyse(P, Q, 5, 4, 1.0, .7, "uniform", &exact, &err), err);
        const double goal = exact.tokens_per_round + .25 * (5 - exact.tokens_per_round);
        const char *names[2] = {"uniform", "excess"};
        for (int s = 0; s < 2; s++) {
            double low = 1.0, high = 50.0;
            lathe_cool_point *out = s ? &annealed : &flat;
            for (int i = 0; i < 25; i++) {
                const double mid = .5 * (low + high);
                check_ok(lathe_cool_analyse(P, Q, 5, 4, mid, .7, names[s], out, &err), err);
                if (out->tokens_per_round < goal)
                    low = mid;
                else
                    high = mid;
            }
        }
        better += annealed.stationary_tv < flat.stationary_tv;
    }
    assert_true(better >= 18);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expected),  cmocka_unit_test(test_best_length),
        cmocka_unit_test(test_marginal),  cmocka_unit_test(test_sequoia),
        cmocka_unit_test(test_slots),     cmocka_unit_test(test_cool_bound),
        cmocka_unit_test(test_annealing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
