/* test_active.c - exponents in closed form, the hand-worked step, budgets, error laws by simulation. */
#include "support/check.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lathe/tree.h"

/* Spec A7.1. */
static void exponents_match_the_closed_forms(void **state) {
    (void) state;
    check_near(lathe_exponent_chow_liu(.6), -log(.96), 1e-14);
    check_near(lathe_exponent_chow_liu(.8), -log(.96), 1e-14);
    check_near(lathe_exponent_chow_liu(.5), .034067, 1e-6);
    check_near(lathe_exponent_chow_liu(.9), .028611, 1e-6);
    check_near(lathe_exponent_chow_liu(.1), .002258, 1e-6);
    check_near(lathe_exponent_chow_liu(sqrt(.5)), .043840, 1e-6);
    for (double rho = .05; rho < 1; rho += .1) {
        const double theta = .5 * (1 - rho), mu = theta * rho;
        check_near(lathe_exponent_rate(rho, 0), lathe_exponent_chow_liu(rho), 1e-12);
        check_near(lathe_exponent_rate(rho, mu), 0, 1e-12);
        for (double x = -.9; x < .95; x += .3)
            check_near(lathe_exponent_rate(rho, -x),
                       lathe_exponent_rate(rho, x) + x * log((1 - theta) / theta), 1e-11);
    }
}

/* The rate function is s x - L(s) at the s where L' is x: found by bisection here, in closed form there. */
static void rates_agree_with_bisection(void **state) {
    (void) state;
    for (double rho = .1; rho < 1; rho += .2)
        for (double x = -.85; x < .9; x += .17) {
            const double theta = .5 * (1 - rho), a = theta * (1 - theta), b = theta * theta;
            double low = -60, high = 60;
            for (int k = 0; k < 200; k++) {
                const double s = .5 * (low + high), up = a * exp(s), down = b * exp(-s);
                if ((up - down) / (1 - theta + up + down) < x)
                    low = s;
                else
                    high = s;
            }
            const double s = .5 * (low + high);
            check_near(lathe_exponent_rate(rho, x), s * x - log(1 - theta + a * exp(s) + b * exp(-s)), 1e-9);
        }
}

/* Spec A3.4's table of gains, and the hubs'. */
static void designed_gains_match_the_table(void **state) {
    (void) state;
    static const struct {
        double rho;
        int32_t p;
        double gain;
    } table[] = {{.5, 6, 1.29},  {.5, 10, 1.46},  {.5, 50, 2.03}, {.8, 10, 1.47},
                 {.8, 20, 1.71}, {.8, 100, 2.30}, {.9, 20, 1.73}, {.95, 10, 1.49}};
    for (size_t i = 0; i < LATHE_LEN(table); i++) {
        lathe_exponent_design d;
        lathe_error err = {0};
        check_ok(lathe_exponent_active(table[i].rho, table[i].p, &d, &err), err);
        check_near(d.gain, table[i].gain, .011);
    }
    lathe_exponent_design d;
    lathe_error err = {0};
    check_ok(lathe_exponent_active(.8, 20, &d, &err), err);
    check_near(d.hub_gain, 1.48, .011);
    check_near(d.hub_c, .20, .011);
    check_ok(lathe_exponent_active(.6, 20, &d, &err), err);
    check_near(d.hub_gain, 1.90, .011);
}

/* Ten rows with N12 = 9, N23 = 8, N13 = 7 (spec A7.4), then zeros. */
static lathe_status scripted(void *user, const int32_t *nodes, int32_t n_nodes, int64_t m, uint8_t *out,
                             lathe_error *err) {
    (void) err;
    int *at = user;
    for (int64_t t = 0; t < m; t++, ++*at) {
        const int flip1 = *at == 0, flip3 = *at == 1 || *at == 2;
        for (int32_t k = 0; k < n_nodes; k++)
            out[t * n_nodes + k] = (uint8_t) (nodes[k] == 0 ? flip1 : nodes[k] == 2 ? flip3 : 0);
    }
    return LATHE_OK;
}

static void the_hand_worked_step_is_followed(void **state) {
    (void) state;
    char label[3][2] = {"1", "2", "3"};
    char *names[] = {label[0], label[1], label[2]};
    for (int loose = 0; loose < 2; loose++) {
        int at = 0;
        const lathe_tree_oracle oracle = {scripted, &at};
        /* 36 readings: n = 12, n1 = round(10/12 of 12) = 10 */
        const lathe_active_params params = {.budget = 36, .gamma = 2.0 / 12, .c = loose ? 1 : .3, .seed = 1};
        lathe_tree tree;
        lathe_active_info info;
        lathe_error err = {0};
        check_ok(lathe_tree_active(&oracle, 3, names, &params, &tree, &info, &err), err);
        assert_int_equal(info.n1, 10);
        check_near(info.rho_hat, .7, 1e-12);
        check_near(info.threshold, loose ? 1.05 : .315, 1e-12);
        assert_int_equal(info.n_ambiguous, loose ? 3 : 0);
        assert_int_equal(info.n2, loose ? 2 : 0);
        assert_int_equal(info.left, loose ? 0 : 6);
        lathe_tree_free(&tree);
    }
}

static double errors(const int32_t *parent, int32_t p, double rho, int64_t n, double c, int trials,
                     uint32_t first) {
    char *names[32], label[32][4];
    uint64_t scratch[32];
    int wrong = 0;
    for (int32_t i = 0; i < p; i++) {
        snprintf(label[i], sizeof label[i], "%d", (int) i);
        names[i] = label[i];
    }
    for (int t = 0; t < trials; t++) {
        lathe_homogeneous h = {.parent = parent,
                               .p = p,
                               .rho = rho,
                               .rng = lathe_rng_new(7, 51, first + (uint32_t) t),
                               .scratch = scratch};
        const lathe_tree_oracle oracle = {lathe_homogeneous_sample, &h};
        const lathe_active_params params = {
            .budget = n * p, .c = c, .seed = 7, .trial = first + (uint32_t) t, .rho = rho};
        lathe_tree tree;
        lathe_active_info info;
        lathe_error err = {0};
        check_ok(lathe_tree_active(&oracle, p, names, &params, &tree, &info, &err), err);
        assert_true(info.phase1 + info.phase2 <= params.budget);
        bool ok = true;
        for (int32_t e = 0; e < tree.n_edges; e++)
            ok = ok &&
                 (parent[tree.edges[e].v] == tree.edges[e].u || parent[tree.edges[e].u] == tree.edges[e].v);
        wrong += !ok;
        lathe_tree_free(&tree);
    }
    return (double) wrong / trials;
}

/* Spec A7.2 through c = 1e9 (everything in doubt: passive on n rows); 4 standard errors. And A6: on a chain
 * of 20 at n = 100 the second phase must at least halve 0.0869. */
static void error_laws_are_the_exact_ones(void **state) {
    (void) state;
    static const int32_t three[] = {-1, 0, 1};
    static const struct {
        double theta;
        int64_t n;
        double error;
    } exact[] = {{.1, 10, .390277}, {.1, 20, .220447}, {.2, 40, .069500}};
    for (size_t i = 0; i < LATHE_LEN(exact); i++) {
        const int trials = 20000;
        const double got =
            errors(three, 3, 1 - 2 * exact[i].theta, exact[i].n, 1e9, trials, (uint32_t) (100000 * i));
        check_near(got, exact[i].error, 5 * sqrt(exact[i].error * (1 - exact[i].error) / trials));
    }
    int32_t chain[20];
    for (int32_t i = 0; i < 20; i++)
        chain[i] = i - 1;
    const double passive = errors(chain, 20, .8, 100, 1e9, 3000, 1),
                 active = errors(chain, 20, .8, 100, .3, 3000, 1);
    check_near(passive, .0869, 5 * sqrt(.0869 * .9131 / 3000));
    check_near(active, .0289, 5 * sqrt(.0289 * .9711 / 3000));
    assert_true(active < .5 * passive);
}

/* Every node in doubt (c = 1e9): the law of passive learning with as many vectors, which another path of the
 * program simulates. No margin is below 0 (c < 0): the first tree stands, and nothing is read again. */
static void the_extremes_of_c_are_passive_learning_and_the_first_tree(void **state) {
    (void) state;
    enum { LEAVES = 20, TRIALS = 20000 };
    int32_t star[LEAVES] = {-1};
    const lathe_simulation_params params = {
        .parent = star, .p = LEAVES, .rho = .8, .n = 150, .trials = TRIALS, .seed = 5, .gamma = .2, .c = 1e9};
    lathe_simulation got;
    lathe_error err = {0};
    check_ok(lathe_exponent_simulate(&params, &got, &err), err);
    const double passive = (double) got.passive_errors / TRIALS, active = (double) got.active_errors / TRIALS;
    check_near(passive, .0828, 5.5 * sqrt(.0828 * .9172 / TRIALS));
    check_near(active, passive, 5.5 * sqrt(2 * passive * (1 - passive) / TRIALS));
    check_near(got.mean_ambiguous, LEAVES, 1e-12);
    uint64_t scratch[LEAVES];
    char *names[LEAVES], label[LEAVES][4];
    for (int i = 0; i < LEAVES; i++) {
        snprintf(label[i], sizeof label[i], "%d", i);
        names[i] = label[i];
    }
    for (uint32_t trial = 0; trial < 50; trial++) {
        lathe_tree tree[2];
        for (int k = 0; k < 2; k++) { /* the budget's first phase alone, and all of it with c < 0 */
            lathe_homogeneous h = {.parent = star,
                                   .p = LEAVES,
                                   .rho = .6,
                                   .rng = lathe_rng_new(9, 51, trial),
                                   .scratch = scratch};
            const lathe_tree_oracle oracle = {lathe_homogeneous_sample, &h};
            const lathe_active_params how = {
                .budget = (k ? 64 : 80) * LEAVES, .gamma = k ? 1e-9 : .2, .c = -1, .seed = 9, .trial = trial};
            lathe_active_info info;
            check_ok(lathe_tree_active(&oracle, LEAVES, names, &how, &tree[k], &info, &err), err);
            assert_int_equal(info.n1, 64);
            assert_int_equal(info.phase2, 0);
        }
        for (int e = 0; e < LEAVES - 1; e++)
            assert_true(tree[0].edges[e].u == tree[1].edges[e].u && tree[0].edges[e].v == tree[1].edges[e].v);
        lathe_tree_free(&tree[0]);
        lathe_tree_free(&tree[1]);
    }
}

/* What is left when nothing is in doubt buys full vectors: the tree is that of all rows together. And c from
 * theory: the design's for a chain, the hubs' for a star. */
static void the_rest_is_spent_and_c_is_chosen(void **state) {
    (void) state;
    enum { P = 20 };
    uint64_t scratch[P];
    char *names[P], label[P][4];
    int32_t parent[2][P];
    for (int i = 0; i < P; i++) {
        snprintf(label[i], sizeof label[i], "%d", i);
        names[i] = label[i];
        parent[0][i] = i - 1;
        parent[1][i] = i == 0 ? -1 : 0;
    }
    for (int star = 0; star < 2; star++) {
        lathe_homogeneous h = {.parent = parent[star],
                               .p = P,
                               .rho = .8,
                               .rng = lathe_rng_new(3, 51, (uint32_t) star),
                               .scratch = scratch};
        const lathe_tree_oracle oracle = {lathe_homogeneous_sample, &h};
        const lathe_active_params how = {
            .budget = 1000 * P + 7, .c_auto = true, .spend_all = true, .seed = 3};
        lathe_tree tree;
        lathe_active_info info;
        lathe_exponent_design d;
        lathe_error err = {0};
        check_ok(lathe_tree_active(&oracle, P, names, &how, &tree, &info, &err), err);
        check_ok(lathe_exponent_active(info.rho_hat, P, &d, &err), err);
        check_near(info.c, star ? d.hub_c : d.c, 1e-12);
        assert_int_equal(info.n_ambiguous, 0);
        assert_int_equal(info.phase1, 800 * P);
        assert_int_equal(info.phase2, 200 * P);
        assert_int_equal(info.left, 7);
        for (int e = 0; e < P - 1; e++) {
            const int32_t u = tree.edges[e].u, v = tree.edges[e].v;
            assert_true(parent[star][v] == u || parent[star][u] == v);
            assert_true(tree.edges[e].weight > 850 && tree.edges[e].weight < 950); /* of 1,000 rows: 900 */
        }
        lathe_tree_free(&tree);
    }
}

/* 1,000 random numbers of nodes, budgets and shares: never more readings than were paid for. */
static void budgets_are_never_passed(void **state) {
    (void) state;
    enum { MOST = 24 };
    uint64_t scratch[MOST];
    int32_t parent[MOST];
    char *names[MOST], label[MOST][4];
    for (int i = 0; i < MOST; i++) {
        snprintf(label[i], sizeof label[i], "%d", i);
        names[i] = label[i];
    }
    lathe_rng rng = lathe_rng_new(17, 48, 9);
    for (uint32_t trial = 0; trial < 1000; trial++) {
        const int32_t p = 2 + (int32_t) lathe_rng_below(&rng, MOST - 1);
        parent[0] = -1;
        for (int32_t i = 1; i < p; i++)
            parent[i] = (int32_t) lathe_rng_below(&rng, (uint64_t) i);
        lathe_homogeneous h = {.parent = parent,
                               .p = p,
                               .rho = .2 + .7 * lathe_rng_uniform(&rng),
                               .rng = lathe_rng_new(17, 51, trial),
                               .scratch = scratch};
        const lathe_tree_oracle oracle = {lathe_homogeneous_sample, &h};
        const lathe_active_params how = {.budget = (int64_t) (2 * (uint64_t) p + lathe_rng_below(&rng, 4000)),
                                         .gamma = .05 + .9 * lathe_rng_uniform(&rng),
                                         .c = .05 + 3 * lathe_rng_uniform(&rng),
                                         .rho = .5,
                                         .seed = 17,
                                         .trial = trial};
        lathe_tree tree;
        lathe_active_info info;
        lathe_error err = {0};
        check_ok(lathe_tree_active(&oracle, p, names, &how, &tree, &info, &err), err);
        assert_true(info.n1 >= 1 && info.phase1 == info.n1 * p);
        assert_true(info.phase2 == info.n2 * info.n_ambiguous);
        assert_true(info.left >= 0 && info.phase1 + info.phase2 + info.left == how.budget);
        assert_int_equal(tree.n_edges, p - 1);
        lathe_tree_free(&tree);
    }
}

/* A shell script as sampler: four nodes that always agree but for one row in ten. Then programs that end,
 * talk nonsense, or send too little. */
static void samplers_that_fail_are_reported(void **state) {
    (void) state;
    char label[2][2] = {"a", "b"};
    char *names[] = {label[0], label[1]};
    static const struct {
        const char *command, *says;
    } runs[] = {{"while read line; do echo '{\"rows\":[[0,0],[1,1],[0,1]]}'; done", NULL},
                {"exit 3", "sampler"},
                {"read line; echo 'hello'", "reply"},
                {"read line; echo '{\"rows\":[[0,0]]}'", "3 were asked"},
                {"read line; echo '{\"rows\":[[0,0],[0],[1,1]]}'", "row 2"},
                {"read line; echo '{\"rows\":[[0,0],[0,7],[1,1]]}'", "value 2"},
                {"sleep 5", "no reply"}};
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < LATHE_LEN(runs); i++) {
        lathe_sampler_process *process = NULL;
        lathe_error err = {0};
        uint8_t out[6];
        const int32_t nodes[] = {0, 1};
        check_ok(lathe_sampler_process_new(runs[i].command, 2, names, .5, &process, &err), err);
        const lathe_status st = lathe_sampler_process_sample(process, nodes, 2, 3, out, &err);
        if (runs[i].says == NULL) {
            check_ok(st, err);
            assert_int_equal(out[2] + out[3] + 10 * out[4] + 100 * out[5], 102);
        } else {
            assert_int_not_equal(st, LATHE_OK);
            assert_non_null(strstr(err.text, runs[i].says));
        }
        lathe_sampler_process_free(process);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exponents_match_the_closed_forms),
        cmocka_unit_test(designed_gains_match_the_table),
        cmocka_unit_test(the_hand_worked_step_is_followed),
        cmocka_unit_test(error_laws_are_the_exact_ones),
        cmocka_unit_test(rates_agree_with_bisection),
        cmocka_unit_test(the_extremes_of_c_are_passive_learning_and_the_first_tree),
        cmocka_unit_test(budgets_are_never_passed),
        cmocka_unit_test(the_rest_is_spent_and_c_is_chosen),
        cmocka_unit_test(samplers_that_fail_are_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
