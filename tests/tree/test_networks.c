/* test_networks.c - Bayesian networks, shapes, data drawn from them, and the classifier's tree. */
#include "support/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lathe/tree.h"

static const char small[] =
    "network n {\n}\n"
    "variable rain { type discrete [ 2 ] { yes, no }; }\n"
    "variable wet { type discrete [ 3 ] { \"very wet\", damp, dry }; property x y; }\n"
    "probability ( rain ) { table 0.25, 0.75; } // margin\n"
    "probability ( wet | rain ) { (yes) 0.5, 0.25, 0.25; (no) 0, 0.5, 0.5; }\n";

static lathe_status parse(const char *text, lathe_bayes_net *net, lathe_error *err) {
    memset(err, 0, sizeof *err);
    return lathe_bayes_net_parse(text, strlen(text), "n.bif", net, err);
}

static void a_network_is_read_and_sampled_by_its_law(void **state) {
    (void) state;
    lathe_bayes_net net;
    lathe_table table;
    lathe_error err;
    check_ok(parse(small, &net, &err), err);
    assert_int_equal(net.variables.n_columns, 2);
    assert_string_equal(net.variables.columns[1].states[0], "very wet");
    check_near(net.p[1][3 + 1], .5, 0);
    enum { N = 20000 };
    check_ok(lathe_bayes_net_sample(&net, N, 3, &table, &err), err);
    double count[2][3] = {{0}};
    for (int t = 0; t < N; t++)
        count[table.columns[0].codes[t]][table.columns[1].codes[t]]++;
    static const double law[2][3] = {{.125, .0625, .0625}, {0, .375, .375}};
    for (int a = 0; a < 2; a++)
        for (int b = 0; b < 3;
             b++) /* 5 standard errors a cell: false alarm below 1e-5 for a seed, but the seed is fixed */
            check_near(count[a][b] / N, law[a][b], 5 * sqrt(law[a][b] * (1 - law[a][b]) / N) + 1e-12);
    lathe_table_free(&table);
    lathe_bayes_net_free(&net);
}

/* The whole table form lists the child slowest; a default row fills what is not given. */
static void tables_and_defaults_mean_what_the_format_says(void **state) {
    (void) state;
    static const char text[] =
        "variable A { type discrete [2] { t, f }; } variable B { type discrete [2] { t, f }; }\n"
        "variable C { type discrete [2] { t, f }; }\n"
        "probability (A) { table .5, .5; } probability (B|A) { table 0.1, 0.2, 0.9, 0.8; }\n"
        "probability (C|A,B) { default 0.3, 0.7; (t, f) 1, 0; }";
    lathe_bayes_net net;
    lathe_error err;
    check_ok(parse(text, &net, &err), err);
    static const double b[] = {.1, .9, .2, .8}, c[] = {.3, .7, 1, 0, .3, .7, .3, .7};
    check_array(net.p[1], b, 4, 1e-15);
    check_array(net.p[2], c, 8, 1e-15);
    lathe_bayes_net_free(&net);
}

static void bad_networks_are_named_by_line(void **state) {
    (void) state;
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"", "no variables"},
        {"variable A {\n type discrete [ 2 ] { t };\n}", "line 2"},
        {"variable A { type discrete [2] { t, t }; }", "twice"},
        {"variable A { type discrete [2] { t, f }; }", "no probabilities"},
        {"variable A { type discrete [2] { t, f }; }\nprobability (A) { table .5, .4; }", "add up to 0.9"},
        {"variable A { type discrete [2] { t, f }; }\nprobability (B) { table .5, .5; }", "line 2"},
        {"variable A { type discrete [2] { t, f }; }\nprobability (A) { table .5, x; }", "'x'"},
        {"variable A { type discrete [1] { t }; } variable B { type discrete [1] { t }; }\n"
         "probability (A|B) { (t) 1; } probability (B|A) { (t) 1; }",
         "cycle"},
        {"variable A { type discrete [2] { t, f }; } variable B { type discrete [2] { t, f }; }\n"
         "probability (A) { table .5, .5; }\nprobability (B|A) { (t) .5, .5; }",
         "lacks"},
        {"variable A { type discrete [2] { t, f }; } variable B { type discrete [2] { t, f }; }\n"
         "probability (A) { table .5, .5; }\nprobability (B|A) { (u) .5, .5; }",
         "no state of 'A'"},
        {"variable A { type discrete [2] { t, f };", "ends"},
        {"/* open", "never closed"},
        {"\x1f\x8b rest", "compressed"},
    };
    for (size_t k = 0; k < LATHE_LEN(bad); k++) {
        lathe_bayes_net net;
        lathe_error err;
        assert_int_equal(parse(bad[k].text, &net, &err), LATHE_ERR_INPUT);
        if (strstr(err.text, bad[k].says) == NULL)
            fail_msg("case %zu: '%s' says nothing of '%s'", k, err.text, bad[k].says);
    }
}

/* The published networks: known numbers of variables and arcs; Chow-Liu on 5,000 rows of asia finds edges of
 * the network alone. */
static void asia_gives_edges_of_the_network(void **state) {
    (void) state;
    static const char asia[] =
        "variable asia { type discrete [2] { yes, no }; } variable tub { type discrete [2] { yes, no }; }\n"
        "variable smoke { type discrete [2] { yes, no }; } variable lung { type discrete [2] { yes, no }; }\n"
        "variable bronc { type discrete [2] { yes, no }; } variable either { type discrete [2] { yes, no }; "
        "}\n"
        "variable xray { type discrete [2] { yes, no }; } variable dysp { type discrete [2] { yes, no }; }\n"
        "probability (asia) { table 0.01, 0.99; } probability (tub|asia) { (yes) 0.05, 0.95; (no) 0.01, "
        "0.99; }\n"
        "probability (smoke) { table 0.5, 0.5; } probability (lung|smoke) { (yes) 0.1, 0.9; (no) 0.01, 0.99; "
        "}\n"
        "probability (bronc|smoke) { (yes) 0.6, 0.4; (no) 0.3, 0.7; }\n"
        "probability (either|lung,tub) { (yes,yes) 1, 0; (no,yes) 1, 0; (yes,no) 1, 0; (no,no) 0, 1; }\n"
        "probability (xray|either) { (yes) 0.98, 0.02; (no) 0.05, 0.95; }\n"
        "probability (dysp|bronc,either) { (yes,yes) 0.9, 0.1; (no,yes) 0.7, 0.3; (yes,no) 0.8, 0.2; (no,no) "
        "0.1, 0.9; }\n";
    static const int32_t arcs[][2] = {{0, 1}, {2, 3}, {2, 4}, {1, 5}, {3, 5}, {5, 6}, {4, 7}, {5, 7}};
    lathe_bayes_net net;
    lathe_table table;
    lathe_tree tree;
    lathe_error err;
    check_ok(parse(asia, &net, &err), err);
    check_ok(lathe_bayes_net_sample(&net, 20000, 1, &table, &err), err);
    const lathe_chow_liu_params params = {.seed = 1, .prune = LATHE_PRUNE_GTEST};
    check_ok(lathe_chow_liu(&table, &params, &tree, NULL, &err), err);
    assert_true(tree.n_edges >= 6);
    for (int32_t e = 0; e < tree.n_edges; e++) {
        bool arc = false;
        for (size_t k = 0; k < LATHE_LEN(arcs); k++)
            arc = arc || (arcs[k][0] == tree.edges[e].u && arcs[k][1] == tree.edges[e].v);
        if (!arc && tree.edges[e].weight > .002) /* asia and lung hang together through chance alone */
            fail_msg("%s -- %s is no arc of the network", tree.names[tree.edges[e].u],
                     tree.names[tree.edges[e].v]);
    }
    lathe_tree_free(&tree);
    lathe_table_free(&table);
    lathe_bayes_net_free(&net);
}

/* Sizes and diameters of the shapes (spec B6: p = h + 2; depth 3: 16 leaves, diameter 7). */
static void shapes_have_their_sizes(void **state) {
    (void) state;
    static const struct {
        lathe_tree_shape shape;
        int32_t size, n_observed, n_nodes;
        double diameter;
    } want[] = {{LATHE_SHAPE_CHAIN, 5, 5, 5, 4},   {LATHE_SHAPE_STAR, 5, 5, 5, 2},
                {LATHE_SHAPE_BINARY, 7, 7, 7, 4},  {LATHE_SHAPE_RANDOM, 9, 9, 9, 0},
                {LATHE_SHAPE_HMM, 10, 12, 22, 11}, {LATHE_SHAPE_DOUBLE_BINARY, 3, 16, 30, 7},
                {LATHE_SHAPE_MARY, 3, 27, 40, 6},  {LATHE_SHAPE_DOUBLE_STAR, 2, 4, 6, 3}};
    for (size_t k = 0; k < LATHE_LEN(want); k++) {
        lathe_tree tree;
        lathe_error err = {0};
        check_ok(lathe_tree_shape_new(want[k].shape, want[k].size, 1, &tree, &err), err);
        assert_int_equal(tree.n_observed, want[k].n_observed);
        assert_int_equal(tree.n_nodes, want[k].n_nodes);
        assert_int_equal(tree.n_edges, want[k].n_nodes - 1);
        double d[64][64], far = 0;
        for (int i = 0; i < tree.n_nodes; i++)
            for (int j = 0; j < tree.n_nodes; j++)
                d[i][j] = i == j ? 0 : 1e9;
        for (int e = 0; e < tree.n_edges; e++)
            d[tree.edges[e].u][tree.edges[e].v] = d[tree.edges[e].v][tree.edges[e].u] = 1;
        for (int m = 0; m < tree.n_nodes; m++)
            for (int i = 0; i < tree.n_nodes; i++)
                for (int j = 0; j < tree.n_nodes; j++)
                    d[i][j] = fmin(d[i][j], d[i][m] + d[m][j]);
        for (int i = 0; i < tree.n_observed; i++)
            for (int j = 0; j < tree.n_observed; j++)
                far = fmax(far, d[i][j]);
        assert_true(far < 1e8); /* connected */
        if (want[k].diameter > 0)
            check_near(far, want[k].diameter, 0);
        lathe_tree_free(&tree);
    }
    lathe_tree tree;
    lathe_error err = {0};
    assert_int_equal(lathe_tree_shape_new(LATHE_SHAPE_HMM, 1, 1, &tree, &err), LATHE_ERR_ARG);
    assert_int_equal(lathe_tree_shape_new(LATHE_SHAPE_MARY, 40, 1, &tree, &err), LATHE_ERR_ARG);
}

/* Spoilt cells: as many rows a node as asked for, of the size asked for; `rows` in the same rows everywhere.
 */
static void corruption_spoils_what_it_says(void **state) {
    (void) state;
    lathe_tree tree;
    lathe_error err = {0};
    check_ok(lathe_tree_shape_new(LATHE_SHAPE_CHAIN, 4, 1, &tree, &err), err);
    check_ok(lathe_tree_draw_lengths(&tree, .4, .4, 1, &err), err);
    for (int kind = LATHE_CORRUPT_UNIFORM; kind <= (int) LATHE_CORRUPT_ROWS; kind++) {
        lathe_table clean, bad;
        check_ok(lathe_tree_draw_gaussian(&tree, 2, 200, 1, 0, &clean, &err), err);
        check_ok(lathe_tree_draw_gaussian(&tree, 2, 200, 1, 0, &bad, &err), err);
        check_ok(lathe_table_corrupt(&bad, 2, (lathe_corruption) kind, 7, 60, 1, 0, &err), err);
        int64_t first[7];
        for (int node = 0; node < 4; node++) {
            int n_bad = 0, n_same = 0;
            for (int64_t t = 0; t < 200; t++) {
                const double x = bad.columns[2 * node].values[t];
                if (x == clean.columns[2 * node].values[t])
                    continue;
                assert_true(fabs(x) <= 120 || kind == LATHE_CORRUPT_HMM);
                if (kind == LATHE_CORRUPT_CONSTANT || kind == LATHE_CORRUPT_ROWS)
                    check_near(fabs(x), 60, 0);
                if (kind == LATHE_CORRUPT_ROWS)
                    check_near(x, bad.columns[2 * node + 1].values[t], 0);
                if (node == 0 && n_bad < 7)
                    first[n_bad] = t;
                n_same += n_bad < 7 && first[n_bad] == t;
                n_bad++;
            }
            assert_int_equal(n_bad, 7);
            if (kind == LATHE_CORRUPT_ROWS)
                assert_int_equal(n_same, 7);
        }
        lathe_table_free(&clean);
        lathe_table_free(&bad);
    }
    lathe_tree_free(&tree);
}

/* Eight rows of a class and two features, worked by hand: I(x; y | c) = log 2, since within each class y is x
 * or its opposite, while x and y alone are independent. */
static void tan_sees_what_hangs_on_the_class(void **state) {
    (void) state;
    const char *text = "c,x,y\na,0,0\na,1,1\na,0,0\na,1,1\nb,0,1\nb,1,0\nb,0,1\nb,1,0\n";
    lathe_table table;
    lathe_tree tree;
    lathe_tan_info info;
    lathe_error err = {0};
    check_ok(lathe_table_parse(text, strlen(text), "t", NULL, &table, &err), err);
    const lathe_tan_params params = {.class_column = 0, .n_folds = 2, .seed = 1};
    check_ok(lathe_tan(&table, &params, &tree, &info, &err), err);
    assert_int_equal(tree.n_nodes, 2);
    assert_int_equal(tree.n_edges, 1);
    check_near(tree.edges[0].weight, log(2), 1e-12);
    check_near(info.accuracy, 1, 0);
    check_near(info.majority, .5, 0);
    /* H(c) + H(x) + H(y) less I(x;y|c) = 2 log 2 a row */
    check_near(info.log_likelihood, -8 * 2 * log(2), 1e-9);
    lathe_tree_free(&tree);
    const lathe_tan_params wrong = {.class_column = 3};
    assert_int_equal(lathe_tan(&table, &wrong, &tree, &info, &err), LATHE_ERR_ARG);
    lathe_table_free(&table);
}

/* The simulation gives the exact error law of three nodes (spec A7.2) and the same sums at any number of
 * threads. */
static void simulated_errors_follow_the_exact_law(void **state) {
    (void) state;
    static const int32_t three[] = {-1, 0, 1};
    lathe_error err = {0};
    lathe_simulation one, two;
    lathe_simulation_params params = {.parent = three,
                                      .p = 3,
                                      .rho = .8,
                                      .n = 10,
                                      .trials = 20000,
                                      .seed = 5,
                                      .gamma = .2,
                                      .c = .3,
                                      .n_threads = 1};
    check_ok(lathe_exponent_simulate(&params, &one, &err), err);
    check_near((double) one.passive_errors / 20000, .390277, 5 * sqrt(.39 * .61 / 20000));
    assert_true(one.budget_used <= 1);
    params.n_threads = 3;
    check_ok(lathe_exponent_simulate(&params, &two, &err), err);
    assert_int_equal(one.passive_errors, two.passive_errors);
    assert_int_equal(one.active_errors, two.active_errors);
    double ci[2];
    check_near(lathe_exponent_slope(1000, 10000, 10, 100, 10000, 20, ci), log(10) / 10, 1e-12);
    assert_true(ci[0] < log(10) / 10 && ci[1] > log(10) / 10);
    assert_true(isnan(lathe_exponent_slope(1000, 10000, 10, 0, 10000, 20, ci)));
}

/* A replayed table gives each reading once: a joint sample comes from one row, after all rows that any of its
 * columns has used; when rows run out it says how many there were. A model gives new rows for each request.
 */
static void oracles_replay_and_sample(void **state) {
    (void) state;
    const char *text = "a,b,c\n0,0,1\n0,1,0\n1,1,1\n1,0,0\n0,1,1\n";
    static const int32_t a[] = {0}, bc[] = {1, 2}, ab[] = {0, 1};
    lathe_table table;
    lathe_table_replay replay;
    lathe_error err = {0};
    uint8_t out[16];
    check_ok(lathe_table_parse(text, strlen(text), "t", NULL, &table, &err), err);
    check_ok(lathe_table_replay_new(&table, &replay, &err), err);
    check_ok(lathe_table_replay_sample(&replay, a, 1, 2, out, &err), err);
    assert_true(out[0] == 0 && out[1] == 0);
    check_ok(lathe_table_replay_sample(&replay, bc, 2, 1, out, &err), err);
    assert_true(out[0] == 0 && out[1] == 1);
    check_ok(lathe_table_replay_sample(&replay, ab, 2, 2, out, &err), err); /* rows 2 and 3: a has used two */
    assert_true(out[0] == 1 && out[1] == 1 && out[2] == 1 && out[3] == 0);
    assert_int_equal(lathe_table_replay_sample(&replay, ab, 2, 2, out, &err), LATHE_ERR_INPUT);
    assert_non_null(strstr(err.text, "5 rows"));
    lathe_table_replay_free(&replay);
    table.columns[1].codes[2] = LATHE_CODE_MISSING;
    table.columns[1].n_missing = 1;
    assert_int_equal(lathe_table_replay_new(&table, &replay, &err), LATHE_ERR_INPUT);
    assert_non_null(strstr(err.text, "'b'"));
    lathe_table_free(&table);

    lathe_tree tree;
    lathe_tree_model model;
    lathe_model_oracle oracle;
    check_ok(lathe_tree_shape_new(LATHE_SHAPE_CHAIN, 2, 1, &tree, &err), err);
    check_ok(lathe_tree_draw_ising(&tree, .8, 4000, 1, 0, &table, &err), err);
    check_ok(lathe_tree_model_fit(&table, &tree, 0, &model, &err), err);
    check_ok(lathe_model_oracle_new(&model, 1, &oracle, &err), err);
    uint8_t rows[2][2000];
    int n_equal = 0, n_repeated = 0;
    for (int k = 0; k < 2; k++)
        check_ok(lathe_model_oracle_sample(&oracle, ab, 2, 1000, rows[k], &err), err);
    for (int t = 0; t < 1000; t++) {
        n_equal += rows[0][2 * t] == rows[0][2 * t + 1];
        n_repeated += rows[0][2 * t] == rows[1][2 * t];
    }
    check_near(n_equal / 1000.0, .9, .06); /* six standard errors */
    check_near(n_repeated / 1000.0, .5, .08);
    lathe_tree_model_free(&model);
    lathe_tree_free(&tree);
    lathe_table_free(&table);
}

/* Columns that are left out are not read at all: a date may be any text. */
static void ignored_columns_are_not_read(void **state) {
    (void) state;
    const char *text = "date,x,\"y, z\"\n2020-01-01,1.5,2\n2020-01-02,2.5,3\n";
    lathe_table table;
    lathe_error err = {0};
    lathe_table_params params = {.kind = 2, .ignore = "date"};
    check_ok(lathe_table_parse(text, strlen(text), "t", &params, &table, &err), err);
    assert_int_equal(table.n_columns, 2);
    assert_string_equal(table.columns[0].name, "x");
    check_near(table.columns[1].values[1], 3, 0);
    lathe_table_free(&table);
    params.ignore = "date,time";
    assert_int_equal(lathe_table_parse(text, strlen(text), "t", &params, &table, &err), LATHE_ERR_ARG);
    assert_non_null(strstr(err.text, "'time'"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_network_is_read_and_sampled_by_its_law),
        cmocka_unit_test(tables_and_defaults_mean_what_the_format_says),
        cmocka_unit_test(bad_networks_are_named_by_line),
        cmocka_unit_test(asia_gives_edges_of_the_network),
        cmocka_unit_test(shapes_have_their_sizes),
        cmocka_unit_test(corruption_spoils_what_it_says),
        cmocka_unit_test(tan_sees_what_hangs_on_the_class),
        cmocka_unit_test(simulated_errors_follow_the_exact_law),
        cmocka_unit_test(oracles_replay_and_sample),
        cmocka_unit_test(ignored_columns_are_not_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
