/* test_learner.c - the Chow-Liu learner against brute force: ties, kinds, missing cells, forests, supports.
 */
#include "support/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lathe/tree.h"
#include "tree/span.h"
#include "tree/tree.h"

/* A table of p two-state columns by a rule. */
static void make_table(int32_t p, int64_t n, lathe_table *table) {
    memset(table, 0, sizeof *table);
    table->columns = calloc((size_t) p, sizeof *table->columns);
    table->n_columns = p;
    table->n_rows = n;
    for (int32_t i = 0; i < p; i++) {
        lathe_column *c = &table->columns[i];
        char name[16];
        snprintf(name, sizeof name, "x%d", (int) i);
        c->name = strdup(name);
        c->discrete = true;
        c->n_states = 2;
        c->states = calloc(2, sizeof *c->states);
        c->states[0] = strdup("0");
        c->states[1] = strdup("1");
        c->codes = calloc((size_t) n, sizeof *c->codes);
    }
}

/* Information of two columns, straight from the definition. */
static double information(const lathe_column *a, const lathe_column *b, int64_t n) {
    double joint[2][2] = {{0}}, sum = 0;
    for (int64_t t = 0; t < n; t++)
        joint[a->codes[t]][b->codes[t]] += 1.0 / (double) n;
    for (int x = 0; x < 2; x++)
        for (int y = 0; y < 2; y++)
            if (joint[x][y] > 0)
                sum += joint[x][y] *
                       log(joint[x][y] / ((joint[x][0] + joint[x][1]) * (joint[0][y] + joint[1][y])));
    return sum;
}

/* The sum of weights of the best tree, by Prim on the dense matrix. */
static double best_sum(const lathe_table *table) {
    const int32_t p = table->n_columns;
    double *w = malloc((size_t) p * (size_t) p * sizeof *w), *best = malloc((size_t) p * sizeof *best),
           sum = 0;
    for (int32_t i = 0; i < p; i++)
        for (int32_t j = 0; j < p; j++)
            w[i * p + j] = information(&table->columns[i], &table->columns[j], table->n_rows);
    for (int32_t i = 0; i < p; i++)
        best[i] = w[i];
    best[0] = NAN;
    for (int32_t step = 1; step < p; step++) {
        int32_t c = -1;
        for (int32_t i = 0; i < p; i++)
            if (!isnan(best[i]) && (c < 0 || best[i] > best[c]))
                c = i;
        sum += best[c];
        best[c] = NAN;
        for (int32_t i = 0; i < p; i++)
            if (!isnan(best[i]))
                best[i] = fmax(best[i], w[c * p + i]);
    }
    free(w);
    free(best);
    return sum;
}

static void learn(const lathe_table *table, int threads, uint64_t seed, lathe_tree *tree,
                  lathe_chow_liu_info *info) {
    lathe_error err = {0};
    const lathe_chow_liu_params params = {.n_threads = threads, .seed = seed};
    check_ok(lathe_chow_liu(table, &params, tree, info, &err), err);
}

/* Sizes below, at and beyond a tile and a word; rows so few that weights tie; a constant column (which keeps
 * the search from leaving pairs out). The sum of information is what brute force finds, at 1 and 3 threads
 * the same edges. */
static void trees_are_those_of_brute_force(void **state) {
    (void) state;
    static const struct {
        int32_t p;
        int64_t n;
        bool constant;
    } sizes[] = {{2, 5, false},    {3, 64, false},   {40, 12, false},   {40, 12, true},
                 {127, 65, false}, {129, 200, true}, {129, 513, false}, {300, 130, false}};
    for (size_t k = 0; k < LATHE_LEN(sizes); k++)
        for (uint32_t trial = 0; trial < (sizes[k].p == 40 ? 100 : 2); trial++) {
            lathe_table table;
            lathe_tree a, b;
            lathe_chow_liu_info info;
            make_table(sizes[k].p, sizes[k].n, &table);
            lathe_rng rng = lathe_rng_new(11, 51, (uint32_t) k * 1000 + trial);
            for (int32_t i = 0; i < sizes[k].p; i++) {
                const int32_t from = i > 0 ? (int32_t) lathe_rng_below(&rng, (uint64_t) i) : 0;
                for (int64_t t = 0; t < sizes[k].n; t++) {
                    const bool flip = lathe_rng_uniform(&rng) < (trial % 2 ? .2 : .5);
                    table.columns[i].codes[t] = i > 0 ? table.columns[from].codes[t] ^ flip : flip;
                }
            }
            if (sizes[k].constant)
                memset(table.columns[1].codes, 0, (size_t) sizes[k].n * sizeof *table.columns[1].codes);
            learn(&table, 1, trial, &a, &info);
            learn(&table, 3, trial, &b, NULL);
            assert_int_equal(a.n_edges, sizes[k].p - 1);
            check_near(info.sum_weight, best_sum(&table), 1e-9);
            for (int32_t e = 0; e < a.n_edges; e++)
                assert_true(a.edges[e].u == b.edges[e].u && a.edges[e].v == b.edges[e].v);
            lathe_tree_free(&a);
            lathe_tree_free(&b);
            lathe_table_free(&table);
        }
}

/* Equal weights in the order of their keys, brute force over all 125 trees of five nodes with weights of 0 to
 * 3 (spec A7.8), and the rule for mixed kinds (A7.15): no tree that obeys it is heavier. */
static void kruskal_is_optimal_over_all_trees_of_five(void **state) {
    (void) state;
    const lathe_tie_order order = {.seed = 3};
    for (uint32_t trial = 0; trial < 400; trial++) {
        lathe_rng rng = lathe_rng_new(5, 51, trial);
        lathe_pair pairs[10], all[10];
        bool discrete[5];
        int32_t n = 0, up[10];
        for (int32_t i = 0; i < 5; i++) {
            discrete[i] = trial % 2 && lathe_rng_uniform(&rng) < .5;
            for (int32_t j = i + 1; j < 5; j++)
                pairs[n++] = (lathe_pair){
                    i, j, trial % 3 ? lathe_rng_uniform(&rng) : (double) lathe_rng_below(&rng, 4)};
        }
        memcpy(all, pairs, sizeof all);
        double best = -1;
        for (int set = 0; set < 1024; set++) { /* all sets of four pairs */
            if (__builtin_popcount((unsigned) set) != 4)
                continue;
            int32_t part[5] = {0, 1, 2, 3, 4}, kind[5];
            double sum = 0;
            bool tree = true;
            for (int32_t i = 0; i < 5; i++)
                kind[i] = discrete[i] ? 100 : i; /* discrete nodes as one */
            for (int q = 0; q < 10; q++) {
                if (!(set >> q & 1))
                    continue;
                const int32_t u = all[q].u, v = all[q].v, from = part[u], to = part[v];
                tree = tree && from != to;
                for (int32_t i = 0; i < 5; i++)
                    part[i] = part[i] == from ? to : part[i];
                sum += all[q].w;
                if (trial % 2 &&
                    !(discrete[u] && discrete[v])) { /* no path between discrete nodes past others */
                    const int32_t a = kind[u], b = kind[v];
                    tree = tree && a != b;
                    for (int32_t i = 0; i < 5; i++)
                        kind[i] = kind[i] == a ? b : kind[i];
                }
            }
            if (tree && sum > best)
                best = sum;
        }
        const int64_t kept = lathe_kruskal(pairs, 10, 5, &order, trial % 2 ? discrete : NULL, NULL, 0, up);
        double sum = 0;
        for (int64_t e = 0; e < kept; e++)
            sum += pairs[e].w;
        check_near(sum, best, 1e-12);
    }
}

/* Many pairs of few weights: sorted by weight, then key, whatever the order they came in. */
static void sorting_is_by_weight_then_key(void **state) {
    (void) state;
    enum { P = 60 };
    static lathe_pair pairs[2][P * (P - 1) / 2];
    const lathe_tie_order order = {.seed = 9};
    int32_t up[2 * P], shuffled[P * (P - 1) / 2], n = 0;
    for (int32_t i = 0; i < P; i++)
        for (int32_t j = i + 1; j < P; j++, n++)
            pairs[0][n] = (lathe_pair){i, j, (double) ((i * 7 + j * 3) % 4)};
    lathe_rng rng = lathe_rng_new(1, 51, 0);
    lathe_rng_permutation(&rng, shuffled, n);
    for (int32_t k = 0; k < n; k++)
        pairs[1][k] = pairs[0][shuffled[k]];
    for (int k = 0; k < 2; k++)
        assert_int_equal(lathe_kruskal(pairs[k], n, P, &order, NULL, NULL, 0, up), P - 1);
    for (int32_t e = 0; e < P - 1; e++)
        assert_true(pairs[0][e].u == pairs[1][e].u && pairs[0][e].v == pairs[1][e].v);
    for (int32_t e = 1; e < P - 1; e++)
        assert_true(
            pairs[0][e - 1].w > pairs[0][e].w ||
            (pairs[0][e - 1].w == pairs[0][e].w &&
             lathe_tie_before(&order, pairs[0][e - 1].u, pairs[0][e - 1].v, pairs[0][e].u, pairs[0][e].v)));
}

/* Spec A7.10: 20 independent columns, Bonferroni level: no edge in at least 90% of tables. With the
 * expected 95.3% a run of 200 falls below 168 with probability below 1e-6 (binomial). */
static void independent_columns_give_empty_forests(void **state) {
    (void) state;
    int n_empty = 0;
    for (uint32_t trial = 0; trial < 200; trial++) {
        lathe_table table;
        lathe_tree tree;
        lathe_error err = {0};
        const lathe_chow_liu_params params = {.prune = LATHE_PRUNE_GTEST, .seed = trial};
        make_table(20, 500, &table);
        lathe_rng rng = lathe_rng_new(13, 51, trial);
        for (int32_t i = 0; i < 20; i++)
            for (int64_t t = 0; t < 500; t++)
                table.columns[i].codes[t] = lathe_rng_u64(&rng) & 1;
        check_ok(lathe_chow_liu(&table, &params, &tree, NULL, &err), err);
        n_empty += tree.n_edges == 0;
        lathe_tree_free(&tree);
        lathe_table_free(&table);
    }
    assert_true(n_empty >= 168);
}

/* A chain of two-state nodes keeps its tree when a tenth of the cells is missing (spec A7.16), and its
 * likelihood is that of the seen cells: for a table without missing cells both ways give the same number. */
static void missing_cells_keep_the_tree_and_have_a_likelihood(void **state) {
    (void) state;
    lathe_tree truth, tree;
    lathe_error err = {0};
    check_ok(lathe_tree_shape_new(LATHE_SHAPE_CHAIN, 20, 1, &truth, &err), err);
    int n_right = 0;
    for (uint32_t trial = 0; trial < 20; trial++) {
        lathe_table table;
        lathe_chow_liu_info full, part;
        check_ok(lathe_tree_draw_ising(&truth, .8, 2000, 7, trial, &table, &err), err);
        learn(&table, 1, 1, &tree, &full);
        lathe_tree_free(&tree);
        lathe_rng rng = lathe_rng_new(17, 51, trial);
        int64_t n_missing = 0;
        for (int32_t i = 0; i < 20; i++)
            for (int64_t t = 0; t < 2000; t++)
                if (lathe_rng_uniform(&rng) < .1) {
                    table.columns[i].codes[t] = LATHE_CODE_MISSING;
                    table.columns[i].n_missing++;
                    n_missing++;
                }
        learn(&table, 1, 1, &tree, &part);
        bool right = tree.n_edges == 19;
        for (int32_t e = 0; e < tree.n_edges; e++)
            right = right && tree.edges[e].v == tree.edges[e].u + 1;
        n_right += right;
        /* a cell carries H(x | parent) = 0.3251 nats where its neighbour is seen, at most log 2: fewer cells,
         * less certainty lost */
        assert_true(part.log_likelihood > full.log_likelihood);
        assert_true(part.log_likelihood < full.log_likelihood * (1 - 0.2));
        assert_true(part.bic < part.log_likelihood);
        lathe_tree_free(&tree);
        lathe_table_free(&table);
    }
    assert_true(n_right >= 19); /* spec: at least 99 of 100 */
    lathe_tree_free(&truth);
}

/* One missing cell: by hand, the likelihood is that of the other cells. Two columns, tree x - y; the row with
 * y missing adds log q(x). */
static void one_missing_cell_is_marginalised(void **state) {
    (void) state;
    const char *text = "x,y\n0,0\n0,0\n0,1\n1,1\n1,1\n1,\n0,0\n1,0\n";
    lathe_table table;
    lathe_tree tree;
    lathe_chow_liu_info info;
    lathe_error err = {0};
    check_ok(lathe_table_parse(text, strlen(text), "t", NULL, &table, &err), err);
    learn(&table, 1, 1, &tree, &info);
    assert_int_equal(tree.n_edges, 1);
    /* Whichever is the root: root margin from its own rows, child from the seven complete ones.
     * Root x: q(x) = 1/2; y given 0: 3/4, 1/4; given 1: 1/3, 2/3.
     * Root y: q(y=0) = 4/7; x given 0: 3/4, 1/4; given 1: 1/3, 2/3; the row without y: q(x=1) = 4/7/4 +
     * 3/7*2/3. */
    const double by_x = 8 * log(.5) + 3 * log(.75) + log(.25) + log(1.0 / 3) + 2 * log(2.0 / 3);
    const double by_y = 4 * log(4.0 / 7) + 3 * log(3.0 / 7) + 3 * log(.75) + log(.25) + log(1.0 / 3) +
                        2 * log(2.0 / 3) + log(4.0 / 7 / 4 + 3.0 / 7 * 2 / 3);
    assert_true(fabs(info.log_likelihood - by_x) < 1e-9 || fabs(info.log_likelihood - by_y) < 1e-9);
    lathe_tree_free(&tree);
    lathe_table_free(&table);
}

/* Spec A7.12: over pure noise the supports of all pairs average 2/p; the learned edges' own are above. Each
 * resample's tree has p - 1 edges, so no support sum can pass (p - 1). */
static void supports_measure_stability(void **state) {
    (void) state;
    lathe_table table;
    lathe_tree tree;
    lathe_error err = {0};
    make_table(10, 300, &table);
    lathe_rng rng = lathe_rng_new(19, 51, 0);
    for (int32_t i = 0; i < 10; i++)
        for (int64_t t = 0; t < 300; t++)
            table.columns[i].codes[t] = lathe_rng_u64(&rng) & 1;
    const lathe_chow_liu_params params = {.n_bootstrap = 100, .seed = 2};
    check_ok(lathe_chow_liu(&table, &params, &tree, NULL, &err), err);
    double mean = 0;
    for (int32_t e = 0; e < 9; e++) {
        assert_true(tree.edges[e].support >= 0 && tree.edges[e].support <= 1);
        check_near(tree.edges[e].support * 100, round(tree.edges[e].support * 100), 1e-9);
        mean += tree.edges[e].support / 9;
    }
    assert_true(mean > 2.0 / 10 && mean < 1);
    lathe_tree_free(&tree);
    lathe_table_free(&table);
}

/* Doubling every row leaves tree and information as they are and doubles the likelihood (spec A7.7); so does
 * renaming the codes. */
static void doubled_rows_and_flipped_codes_change_nothing(void **state) {
    (void) state;
    lathe_tree truth, a, b;
    lathe_table one, two;
    lathe_chow_liu_info first, second;
    lathe_error err = {0};
    check_ok(lathe_tree_shape_new(LATHE_SHAPE_RANDOM, 60, 4, &truth, &err), err);
    check_ok(lathe_tree_draw_ising(&truth, .7, 301, 3, 0, &one, &err), err);
    make_table(60, 602, &two);
    for (int32_t i = 0; i < 60; i++)
        for (int64_t t = 0; t < 602; t++)
            two.columns[i].codes[t] = one.columns[i].codes[t % 301] ^ (i % 3 == 0);
    learn(&one, 1, 1, &a, &first);
    learn(&two, 1, 1, &b, &second);
    check_near_rel(second.log_likelihood, 2 * first.log_likelihood, 1e-12);
    for (int32_t e = 0; e < a.n_edges; e++) {
        assert_true(a.edges[e].u == b.edges[e].u && a.edges[e].v == b.edges[e].v);
        check_near(a.edges[e].weight, b.edges[e].weight, 1e-12);
    }
    lathe_tree_free(&a);
    lathe_tree_free(&b);
    lathe_tree_free(&truth);
    lathe_table_free(&one);
    lathe_table_free(&two);
}

/* Columns in another order: the same edges between the same names (weights that differ, so that no tie
 * decides). */
static void the_order_of_columns_does_not_matter(void **state) {
    (void) state;
    enum { P = 40, N = 2000 };
    lathe_table table, turned;
    make_table(P, N, &table);
    lathe_rng rng = lathe_rng_new(31, 48, 1);
    for (int32_t t = 0; t < N; t++)
        for (int32_t i = 0; i < P; i++)
            table.columns[i].codes[t] =
                i == 0 ? (uint16_t) lathe_rng_below(&rng, 2)
                       : table.columns[(i - 1) / 2].codes[t] ^ (lathe_rng_uniform(&rng) < .1 + .005 * i);
    turned = table;
    turned.columns = malloc(P * sizeof *turned.columns);
    int32_t order[P];
    lathe_rng_permutation(&rng, order, P);
    for (int32_t i = 0; i < P; i++)
        turned.columns[i] = table.columns[order[i]];
    lathe_tree a, b;
    lathe_error err = {0};
    check_ok(lathe_chow_liu(&table, NULL, &a, NULL, &err), err);
    check_ok(lathe_chow_liu(&turned, NULL, &b, NULL, &err), err);
    assert_int_equal(a.n_edges, P - 1);
    for (int32_t e = 0; e < P - 1; e++) {
        bool found = false;
        for (int32_t f = 0; f < P - 1; f++) {
            const int32_t u = order[b.edges[f].u], v = order[b.edges[f].v];
            found = found || (a.edges[e].u == (u < v ? u : v) && a.edges[e].v == (u < v ? v : u) &&
                              a.edges[e].weight == b.edges[f].weight);
        }
        assert_true(found);
    }
    lathe_tree_free(&a);
    lathe_tree_free(&b);
    free(turned.columns);
    lathe_table_free(&table);
}

/* A million columns of four rows are half a million million pairs: hours. Nothing but the columns' names and
 * cells is touched before that is said. */
static void too_many_pairs_are_refused_at_once(void **state) {
    (void) state;
    enum { P = 1000000 };
    char name[] = "x";
    uint16_t codes[4] = {0, 1, 1, 0};
    lathe_column *columns = calloc(P, sizeof *columns);
    assert_non_null(columns);
    for (int32_t i = 0; i < P; i++)
        columns[i] = (lathe_column){.name = name, .discrete = true, .n_states = 2, .codes = codes};
    const lathe_table table = {.columns = columns, .n_columns = P, .n_rows = 4};
    const lathe_chow_liu_params params = {.max_seconds = 1200};
    lathe_tree tree;
    lathe_error err = {0};
    assert_int_equal(lathe_chow_liu(&table, &params, &tree, NULL, &err), LATHE_ERR_INPUT);
    assert_non_null(strstr(err.text, "1000000 columns of 4 rows are 5e+11 pairs: about 392 minutes"));
    assert_non_null(strstr(err.text, "--ignore"));
    assert_non_null(strstr(err.text, "--mpi"));
    assert_non_null(strstr(err.text, "--max-minutes"));
    lathe_tree_free(&tree);
    free(columns);
}

/* The limit counts resamples, and lies between what is refused and what is done. */
static void the_limit_is_where_the_estimate_says(void **state) {
    (void) state;
    lathe_table table;
    make_table(3, 8, &table);
    lathe_chow_liu_params params = {.max_seconds = 3 * 27.1e-9}; /* three pairs of 7 + 160/8 + 0.0015 8 ns */
    lathe_tree tree;
    lathe_error err = {0};
    check_ok(lathe_chow_liu(&table, &params, &tree, NULL, &err), err);
    lathe_tree_free(&tree);
    params.max_seconds = 3 * 26.9e-9;
    assert_int_equal(lathe_chow_liu(&table, &params, &tree, NULL, &err), LATHE_ERR_INPUT);
    lathe_tree_free(&tree);
    params.max_seconds = 3 * 3 * 27.1e-9;
    params.n_bootstrap = 2;
    check_ok(lathe_chow_liu(&table, &params, &tree, NULL, &err), err);
    lathe_tree_free(&tree);
    params.n_bootstrap = 3;
    assert_int_equal(lathe_chow_liu(&table, &params, &tree, NULL, &err), LATHE_ERR_INPUT);
    assert_non_null(strstr(err.text, "--bootstrap"));
    lathe_tree_free(&tree);
    lathe_table_free(&table);
}

static void no_row_one_column_and_two(void **state) {
    (void) state;
    lathe_table table;
    lathe_tree tree;
    lathe_error err = {0};
    static const struct {
        const char *text;
        int32_t n_edges; /* -1: refused */
        const char *says;
    } cases[] = {{"", -1, "no header line"},
                 {"a,b\n", -1, "a header, but no rows"},
                 {"a\n0\n1\n", 0, ""},
                 {"a,b\n0,1\n1,1\n1,0\n", 1, ""}};
    for (size_t k = 0; k < LATHE_LEN(cases); k++) {
        const lathe_status st =
            lathe_table_parse(cases[k].text, strlen(cases[k].text), "t.csv", NULL, &table, &err);
        if (cases[k].n_edges < 0) {
            assert_int_equal(st, LATHE_ERR_INPUT);
            assert_non_null(strstr(err.text, cases[k].says));
            continue;
        }
        check_ok(st, err);
        check_ok(lathe_chow_liu(&table, NULL, &tree, NULL, &err), err);
        assert_int_equal(tree.n_nodes, cases[k].n_edges + 1);
        assert_int_equal(tree.n_edges, cases[k].n_edges);
        lathe_tree_free(&tree);
        lathe_table_free(&table);
    }
}

/* Gaps of b: 18 of the 20 rows where a is 1, two of the others; phi = (18 18 - 2 2) / 20^2. */
static void gaps_that_depend_on_values_are_found(void **state) {
    (void) state;
    lathe_table table;
    lathe_error err = {0};
    lathe_missing_dependence found;
    make_table(2, 40, &table);
    for (int t = 0; t < 40; t++) {
        table.columns[0].codes[t] = t >= 20;
        const bool gap = t < 2 || t >= 22;
        table.columns[1].codes[t] = gap ? LATHE_CODE_MISSING : (uint16_t) (t & 1);
        table.columns[1].n_missing += gap;
    }
    check_ok(lathe_table_missing_dependence(&table, &found, &err), err);
    assert_int_equal(found.masked, 1);
    assert_int_equal(found.other, 0);
    assert_int_equal(found.n_tests, 1);
    check_near(found.phi, .8, 1e-12);
    check_near(found.p_value, erfc(sqrt(40 * .64 / 2)), 1e-12);
    lathe_column *real = &table.columns[0]; /* the same as numbers */
    real->discrete = false;
    real->values = malloc(40 * sizeof *real->values);
    for (int t = 0; t < 40; t++)
        real->values[t] = 7 - 3 * real->codes[t];
    check_ok(lathe_table_missing_dependence(&table, &found, &err), err);
    check_near(found.phi, .8, 1e-12);
    for (int t = 0; t < 40; t++) /* one gap left, beside one row of a rare state: nothing can be said */
        table.columns[1].codes[t] = t == 0 ? LATHE_CODE_MISSING : 0;
    table.columns[1].n_missing = 1;
    check_ok(lathe_table_missing_dependence(&table, &found, &err), err);
    assert_int_equal(found.masked, -1);
    check_near(found.p_value, 1, 0);
    lathe_names_free(real->states, real->n_states);
    real->states = NULL;
    real->n_states = 0;
    lathe_table_free(&table);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trees_are_those_of_brute_force),
        cmocka_unit_test(kruskal_is_optimal_over_all_trees_of_five),
        cmocka_unit_test(sorting_is_by_weight_then_key),
        cmocka_unit_test(independent_columns_give_empty_forests),
        cmocka_unit_test(missing_cells_keep_the_tree_and_have_a_likelihood),
        cmocka_unit_test(one_missing_cell_is_marginalised),
        cmocka_unit_test(supports_measure_stability),
        cmocka_unit_test(the_order_of_columns_does_not_matter),
        cmocka_unit_test(doubled_rows_and_flipped_codes_change_nothing),
        cmocka_unit_test(too_many_pairs_are_refused_at_once),
        cmocka_unit_test(the_limit_is_where_the_estimate_says),
        cmocka_unit_test(gaps_that_depend_on_values_are_found),
        cmocka_unit_test(no_row_one_column_and_two),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
