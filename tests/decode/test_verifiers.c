/* Verifiers: exact laws, hand-worked numbers of the specification, known wrong ones found wrong. */
#include "support/check.h"

#include "decode/enumerate.h"
#include "decode/verifier.h"
#include "lathe/decode.h"

#include <math.h>
#include <string.h>

static const double P[3] = {.5, .3, .2}, Q[3] = {.2, .7, .1};

/* Every right verifier keeps the law, every wrong one is caught. */
static void test_law(void **state) {
    (void) state;
    for (size_t i = 0; i < lathe_verify_check_count(); i++) {
        lathe_verify_case c;
        lathe_error err = {0};
        check_ok(lathe_verify_check_run(i, 1000, 20000, &c, &err), err);
        if (c.pass != c.valid)
            fail_msg("%s: pass %d, p %g, error %g after %lld", c.name, c.pass, c.p_value, c.max_error,
                     (long long) c.n);
    }
}

typedef struct script {
    double u[16];
    int n;
} script;

static size_t scripted(void *user, uint32_t purpose, uint64_t position, const double *w, size_t n) {
    (void) purpose;
    (void) position;
    script *s = user;
    return (size_t) lathe_inverse_cdf(w, (int32_t) n, s->u[s->n++]);
}

static void chain_of(lathe_token_tree *tree, const int32_t *d, int32_t n) {
    lathe_token_tree_start(tree, 0);
    const int32_t law = lathe_token_tree_add_law(tree, Q);
    for (int32_t k = 0; k < n; k++)
        assert_int_equal(lathe_token_tree_add_sampled(tree, k, d[k], law), k + 1);
}

static void test_token_by_hand(void **state) {
    (void) state;
    lathe_error err = {0};
    lathe_token_tree tree;
    double p[9], work[9];
    lathe_verdict v;
    const lathe_verify_options o = lathe_verify_options_default();
    for (int i = 0; i < 3; i++)
        memcpy(p + 3 * i, P, sizeof P);
    check_ok(lathe_token_tree_init(&tree, 4, 3, &err), err);
    chain_of(&tree, (const int32_t[]){1, 0}, 2);
    script s = {{.5, .8}, 0};
    lathe_chance chance = {.choose = scripted, .user = &s};
    check_ok(lathe_verify_tree(&lathe_verifier_token, &tree, p, &o, &chance, work, &v, &err), err);
    assert_int_equal(v.n_emitted, 1);
    assert_int_equal(v.emitted[0], 2);
    s = (script){{.4, .999, .55}, 0};
    check_ok(lathe_verify_tree(&lathe_verifier_token, &tree, p, &o, &chance, work, &v, &err), err);
    assert_int_equal(v.n_accepted, 2);
    assert_int_equal(v.emitted[0], 1);
    assert_int_equal(v.emitted[1], 0);
    assert_int_equal(v.emitted[2], 1);
    p[4] = NAN;
    assert_int_equal(lathe_verify_tree(&lathe_verifier_token, &tree, p, &o, &chance, work, &v, &err),
                     LATHE_ERR_NUMERIC);
    lathe_token_tree_free(&tree);
}

/* Expected accepted drafts of one round, i.i.d. positions, by enumeration of the drafts and of the verifier.
 */
static double expected_accepted(const lathe_verifier *verifier, const double *p1, const double *q1,
                                int32_t n_vocab, int32_t gamma, int32_t children, bool replace, double *law) {
    lathe_error err = {0};
    lathe_token_tree tree;
    check_ok(lathe_token_tree_init(&tree, 16, n_vocab, &err), err);
    lathe_verify_options o = lathe_verify_options_default();
    lathe_enumeration e;
    lathe_enumeration_start(&e);
    const lathe_chance chance = {.choose = lathe_enumeration_choose, .user = &e};
    double p[48], work[9], sum = 0.0;
    for (int i = 0; i < 16; i++)
        memcpy(p + n_vocab * i, p1, (size_t) n_vocab * sizeof *p);
    do {
        lathe_token_tree_start(&tree, 0);
        const int32_t first = lathe_token_tree_add_law(&tree, q1);
        double left[3];
        memcpy(left, q1, (size_t) n_vocab * sizeof *left);
        for (int32_t k = 0, node = 0; k < gamma; k++)
            for (int32_t j = 0; j < children; j++) {
                const int32_t x =
                    lathe_chance_draw(&chance, 1, children > 1 && !replace ? left : q1, n_vocab, 0, 0);
                left[x] = 0.0;
                const int32_t added = lathe_token_tree_add_sampled(&tree, node, x, first);
                node = children > 1 ? node : added;
            }
        lathe_verdict v = {0};
        verifier->verify(&tree, p, &o, &chance, work, &v);
        sum += e.probability * v.n_accepted;
        if (law)
            law[v.emitted[0]] += e.probability;
    } while (lathe_enumeration_next(&e));
    lathe_token_tree_free(&tree);
    return sum;
}

static void test_acceptance(void **state) {
    (void) state;
    double law[3] = {0.0};
    check_near(expected_accepted(&lathe_verifier_token, P, Q, 3, 1, 1, false, law), 0.6, 1e-12);
    check_array(law, P, 3, 1e-12);
    check_near(expected_accepted(&lathe_verifier_token, P, Q, 3, 2, 1, false, NULL), 0.96, 1e-12);
    check_near(expected_accepted(&lathe_verifier_block, P, Q, 3, 2, 1, false, NULL), 1.07, 1e-12);
    check_near(expected_accepted(&lathe_verifier_token, P, Q, 3, 3, 1, false, NULL), 1.176, 1e-12);
    check_near(expected_accepted(&lathe_verifier_block, P, Q, 3, 3, 1, false, NULL), 1.424, 1e-12);
    const double p2[2] = {1. / 3, 2. / 3}, q2[2] = {2. / 3, 1. / 3};
    check_near(expected_accepted(&lathe_verifier_block, p2, q2, 2, 2, 1, false, NULL), 11. / 9, 1e-12);
    check_near(expected_accepted(&lathe_verifier_token, p2, q2, 2, 2, 1, false, NULL), 10. / 9, 1e-12);
    check_near(expected_accepted(&lathe_verifier_wr, P, Q, 3, 1, 2, true, NULL), 0.72, 1e-12);
    check_near(expected_accepted(&lathe_verifier_wr, P, Q, 3, 1, 3, true, NULL), 0.804, 1e-12);
    check_near(expected_accepted(&lathe_verifier_wor, P, Q, 3, 1, 2, false, NULL), 29. / 30, 1e-12);
    check_near(expected_accepted(&lathe_verifier_wor, P, Q, 3, 1, 3, false, NULL), 1.0, 1e-12);
}

static void test_coupled_acceptance(void **state) {
    (void) state;
    int same = 0;
    const int n = 400000;
    for (int i = 0; i < n; i++) {
        const int32_t y = lathe_gumbel_pick(7, P, 3, (uint64_t) i);
        same += y == lathe_gumbel_pick(7, Q, 3, (uint64_t) i);
    }
    /* 5.2 standard errors: a false alarm once in 5 million. */
    check_near((double) same / n, 0.595238, 5.2 * sqrt(.595 * .405 / n));
}

/* The output law of one round of `cool`, and its budget. */
static void cool_round(double omega, double *law, double *accepted, double *budget) {
    lathe_error err = {0};
    lathe_token_tree tree;
    check_ok(lathe_token_tree_init(&tree, 2, 3, &err), err);
    lathe_verify_options o = lathe_verify_options_default();
    o.cool_delta = omega;
    lathe_enumeration e;
    lathe_enumeration_start(&e);
    const lathe_chance chance = {.choose = lathe_enumeration_choose, .user = &e};
    double p[6], work[9];
    memcpy(p, P, sizeof P);
    memcpy(p + 3, P, sizeof P);
    law[0] = law[1] = law[2] = *accepted = *budget = 0.0;
    do {
        lathe_token_tree_start(&tree, 0);
        lathe_token_tree_add_sampled(&tree, 0, lathe_chance_draw(&chance, 1, Q, 3, 0, 0),
                                     lathe_token_tree_add_law(&tree, Q));
        lathe_verdict v = {0};
        lathe_verifier_cool.verify(&tree, p, &o, &chance, work, &v);
        law[v.emitted[0]] += e.probability;
        *accepted += e.probability * v.n_accepted;
        *budget += e.probability * v.tv_budget;
    } while (lathe_enumeration_next(&e));
    lathe_token_tree_free(&tree);
}

static void test_cool(void **state) {
    (void) state;
    const double omega[] = {1, 1.1, 1.5, 2, 3}, b[] = {0, .03, .15, .3, .4}, alpha[] = {.6, .63, .75, .9, 1};
    double law[3], accepted, budget;
    for (size_t i = 0; i < LATHE_LEN(omega); i++) {
        cool_round(omega[i], law, &accepted, &budget);
        check_near(accepted, alpha[i], 1e-12);
        check_near(budget, b[i], 1e-12);
    }
    cool_round(1.5, law, &accepted, &budget);
    check_array(law, ((const double[]){.3875, .45, .1625}), 3, 1e-12);
    cool_round(2.0, law, &accepted, &budget);
    check_array(law, ((const double[]){.275, .6, .125}), 3, 1e-12);
    cool_round(1e9, law, &accepted, &budget);
    check_array(law, Q, 3, 1e-9);

    lathe_verify_options o = lathe_verify_options_default();
    double w[5];
    lathe_cool_schedule(&o, 5, w);
    check_array(w, ((const double[]){1.2595, 1.1289, 1.0640, 1.0318, 1.0158}), 5, 6e-5);
    o.cool_delta = 2.0;
    lathe_cool_schedule(&o, 5, w);
    check_array(w, ((const double[]){3.5954, 2.2889, 1.6400, 1.3178, 1.1578}), 5, 6e-5);
    check_near((w[0] + w[1] + w[2] + w[3] + w[4]) / 5, 2.0, 1e-12);
    lathe_cool_schedule(&o, 3, w);
    check_array(w, ((const double[]){2.7210, 1.8546, 1.4244}), 3, 6e-5);
    o.cool_mode = LATHE_COOL_MEAN;
    o.cool_delta = 1.1;
    lathe_cool_schedule(&o, 5, w);
    check_array(w, ((const double[]){2.8550, 1.4177, 1.0, 1.0, 1.0}), 5, 6e-5);
}

static void test_typical_and_lantern(void **state) {
    (void) state;
    lathe_error err = {0};
    lathe_token_tree tree;
    check_ok(lathe_token_tree_init(&tree, 3, 3, &err), err);
    lathe_verify_options o = lathe_verify_options_default();
    lathe_verdict v = {0};
    double work[9], p[9] = {.95, .04, .01, .5, .3, .2, .5, .3, .2};
    /* exp(-H) of (.95,.04,.01) is .80: the floor is .09, so .04 fails; of (.5,.3,.2) it is .357: floor .09
     * again. */
    lathe_token_tree_start(&tree, 0);
    lathe_token_tree_add(&tree, 0, 1, 0.0);
    const lathe_chance chance = {.seed = 3};
    lathe_verifier_typical.verify(&tree, p, &o, &chance, work, &v);
    assert_int_equal(v.n_accepted, 0);
    lathe_token_tree_start(&tree, 0);
    lathe_token_tree_add(&tree, 0, 0, 0.0);
    lathe_token_tree_add(&tree, 1, 2, 0.0);
    v = (lathe_verdict){0};
    lathe_verifier_typical.verify(&tree, p, &o, &chance, work, &v);
    assert_int_equal(v.n_accepted, 2);
    check_near(v.tv_budget, .05 + .8, 1e-12);
    /* LANTERN, neighbours 1 <-> 2: a chosen draft of id 1 may borrow id 2's .2: accepted with .5, else id 1
     * leaves. */
    const int32_t near[] = {2, 2, 1};
    o.neighbours = near;
    o.n_neighbours = 1;
    o.lantern_delta = 0.25;
    lathe_enumeration e;
    lathe_enumeration_start(&e);
    const lathe_chance all = {.choose = lathe_enumeration_choose, .user = &e};
    double law[3] = {0.0};
    lathe_token_tree_start(&tree, 0);
    lathe_token_tree_add(&tree, 0, 1, 0.0);
    do {
        v = (lathe_verdict){0};
        lathe_verifier_lantern.verify(&tree, p + 3, &o, &all, work, &v);
        law[v.emitted[0]] += e.probability;
    } while (lathe_enumeration_next(&e));
    check_array(law, ((const double[]){.5 * 5 / 7, .5, .5 * 2 / 7}), 3, 1e-12);
    check_near(v.tv_budget, .2, 1e-12); /* .5 instead of .3 */
    lathe_token_tree_free(&tree);
}

static void test_pairs_refused(void **state) {
    (void) state;
    lathe_error err = {0};
    const lathe_verify_options o = lathe_verify_options_default();
    assert_int_equal(lathe_verifier_check(&lathe_verifier_token, LATHE_LAW_POINT, false, &o, 1.0, &err),
                     LATHE_ERR_ARG);
    assert_non_null(strstr(err.text, "match"));
    assert_int_equal(lathe_verifier_check(&lathe_verifier_block, LATHE_LAW_SAMPLED, true, &o, 1.0, &err),
                     LATHE_ERR_ARG);
    assert_int_equal(lathe_verifier_check(&lathe_verifier_greedy, LATHE_LAW_POINT, false, &o, 0.8, &err),
                     LATHE_ERR_ARG);
    assert_int_equal(lathe_verifier_check(&lathe_verifier_lantern, LATHE_LAW_POINT, false, &o, 0.8, &err),
                     LATHE_ERR_ARG);
    check_ok(lathe_verifier_check(&lathe_verifier_match, LATHE_LAW_POINT, true, &o, 0.8, &err), err);
}

static void test_trees(void **state) {
    (void) state;
    lathe_error err = {0};
    lathe_token_tree tree;
    check_ok(lathe_token_tree_init(&tree, 5, 10, &err), err);
    lathe_token_tree_start(&tree, 9);
    assert_int_equal(lathe_token_tree_add(&tree, 0, 1, 0), 1);
    assert_int_equal(lathe_token_tree_add(&tree, 0, 2, 0), 2);
    assert_int_equal(lathe_token_tree_add(&tree, 0, 2, 0), -1);  /* a sibling has it */
    assert_int_equal(lathe_token_tree_add(&tree, 1, 10, 0), -1); /* no such id */
    assert_int_equal(lathe_token_tree_add(&tree, 1, -4, 0), -1);
    assert_int_equal(lathe_token_tree_add(&tree, 1, 3, 0), 3);
    assert_int_equal(lathe_token_tree_add(&tree, 2, 3, 0), 4);
    assert_int_equal(lathe_token_tree_add(&tree, 2, 4, 0), -1); /* full */
    uint64_t mask[5];
    lathe_token_tree_mask(&tree, mask, 1);
    const uint64_t want[5] = {1, 3, 5, 11, 21}; /* bit j: rows 10000 11000 10100 11010 10101 */
    assert_memory_equal(mask, want, sizeof want);
    assert_false(lathe_token_tree_is_chain(&tree));
    lathe_token_tree_cut(&tree, 4, 1);
    assert_int_equal(tree.n_nodes, 3);
    lathe_token_tree_free(&tree);
    /* EAGLE-2: root children A .6, B .3; A: .7, .2; B: .9, .05. Four are kept: A, AA, B, BA. */
    const double value[] = {1, .6, .3, .42, .12, .27, .015};
    const int32_t depth[] = {0, 1, 1, 2, 2, 2, 2};
    uint8_t keep[7];
    lathe_token_tree_rerank(value, depth, 7, 4, keep);
    const uint8_t kept[7] = {1, 1, 1, 1, 0, 1, 0};
    assert_memory_equal(keep, kept, sizeof kept);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_law),           cmocka_unit_test(test_token_by_hand),
        cmocka_unit_test(test_acceptance),    cmocka_unit_test(test_coupled_acceptance),
        cmocka_unit_test(test_cool),          cmocka_unit_test(test_typical_and_lantern),
        cmocka_unit_test(test_pairs_refused), cmocka_unit_test(test_trees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
