/* test_chow_liu.c - tables, counts, spanning trees: hand-worked numbers and brute force. */
#include "support/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/stats.h"
#include "lathe/tree.h"
#include "tree/popcount.h"
#include "tree/span.h"

static void read_text(const char *text, lathe_table *table) {
    lathe_error err = {0};
    check_ok(lathe_table_parse(text, strlen(text), "t.csv", NULL, table, &err), err);
}

/* Spec A7.3: worked by hand. */
static void eight_rows_have_the_known_tree_and_likelihood(void **state) {
    (void) state;
    lathe_table table;
    lathe_tree tree;
    lathe_chow_liu_info info;
    lathe_error err = {0};
    read_text("X,Y,Z\n0,0,0\n0,0,0\n0,0,1\n0,1,1\n1,1,1\n1,1,1\n1,1,0\n1,0,0\n", &table);
    check_ok(lathe_chow_liu(&table, NULL, &tree, &info, &err), err);
    assert_int_equal(tree.n_edges, 2);
    assert_int_equal(tree.edges[0].u * 10 + tree.edges[0].v, 1);
    assert_int_equal(tree.edges[1].u * 10 + tree.edges[1].v, 12);
    check_near(tree.edges[0].weight, 0.130812, 1e-6);
    check_near(tree.edges[1].weight, 0.130812, 1e-6);
    check_near(info.log_likelihood, -14.542539, 1e-6);
    lathe_tree_free(&tree);
    lathe_table_free(&table);
}

static void every_kernel_counts_like_the_naive_loop(void **state) {
    (void) state;
    static const int rows[] = {1, 63, 64, 65, 1000};
    enum { P = 7 };
    for (size_t r = 0; r < LATHE_LEN(rows); r++) {
        const int64_t n_words = (rows[r] + 511) / 512 * 8;
        uint64_t *x = calloc((size_t) (P * n_words), sizeof *x);
        lathe_rng rng = lathe_rng_new(3, 48, (uint32_t) rows[r]);
        for (int i = 0; i < P; i++)
            for (int t = 0; t < rows[r]; t++)
                x[i * n_words + t / 64] |= (lathe_rng_u64(&rng) & 1) << (t % 64);
        for (size_t k = 0; k < lathe_n_popcount_kernels; k++) {
            if (!lathe_popcount_kernels[k].usable())
                continue;
            uint32_t counts[P * 16];
            lathe_popcount_kernels[k].tile(x, P, x, P, n_words, counts, 16);
            for (int i = 0; i < P; i++)
                for (int j = 0; j < P; j++) {
                    uint32_t naive = 0;
                    for (int t = 0; t < rows[r]; t++)
                        naive +=
                            (x[i * n_words + t / 64] >> (t % 64)) & (x[j * n_words + t / 64] >> (t % 64)) & 1;
                    assert_int_equal(counts[i * 16 + j], naive);
                }
        }
        free(x);
    }
}

/* Spec A7.14: keys as printed there; equal weights give 01, then 12, and 02 loses. */
static void ties_follow_the_published_keys(void **state) {
    (void) state;
    uint32_t w[4];
    lathe_philox(1, 49, 0, 0, 1, w);
    assert_int_equal(w[0], 0xafa8dfcf);
    assert_int_equal(w[1], 0x76430cae);
    lathe_pair pairs[] = {{0, 2, 1}, {1, 2, 1}, {0, 1, 1}};
    const lathe_tie_order order = {.seed = 1};
    int32_t up[6];
    assert_int_equal(lathe_kruskal(pairs, 3, 3, &order, NULL, NULL, 0, up), 2);
    assert_int_equal(pairs[0].u * 10 + pairs[0].v, 1);
    assert_int_equal(pairs[1].u * 10 + pairs[1].v, 12);
}

/* Spec A3.1b's example, and A7.15's: the mixed rule changes the tree. */
static void kruskal_finds_the_hand_worked_trees(void **state) {
    (void) state;
    static const int w[15][3] = {{0, 1, 30}, {0, 2, 50}, {0, 3, 10}, {0, 4, 5},  {0, 5, 20},
                                 {1, 2, 45}, {1, 3, 15}, {1, 4, 8},  {1, 5, 4},  {2, 3, 40},
                                 {2, 4, 12}, {2, 5, 25}, {3, 4, 35}, {3, 5, 22}, {4, 5, 28}};
    lathe_pair pairs[15];
    const lathe_tie_order order = {.seed = 1};
    int32_t up[12];
    for (int i = 0; i < 15; i++)
        pairs[i] = (lathe_pair){w[i][0], w[i][1], w[i][2] / 100.0};
    assert_int_equal(lathe_kruskal(pairs, 15, 6, &order, NULL, NULL, 0, up), 5);
    double sum = 0;
    for (int i = 0; i < 5; i++)
        sum += pairs[i].w;
    check_near(sum, 1.98, 1e-12);
    lathe_pair mixed[] = {{0, 1, .05}, {0, 2, .40}, {1, 2, .35}, {0, 3, .10}, {1, 3, .20}, {2, 3, .30}};
    const bool discrete[] = {true, true, false, false};
    assert_int_equal(lathe_kruskal(mixed, 6, 4, &order, discrete, NULL, 0, up), 3);
    check_near(mixed[0].w + mixed[1].w + mixed[2].w, 0.75, 1e-12); /* 1.05 without the rule */
}

/* Spec A7.15: eta^2 .759398, I .712307. */
static void mixed_pairs_use_the_correlation_ratio(void **state) {
    (void) state;
    lathe_table table;
    lathe_tree tree;
    lathe_error err = {0};
    read_text("D,C\na,1.5\na,2.5\na,3.5\nb,4.5\nb,6.5\nc,5.5\nc,7.5\nc,9.5\n", &table);
    check_ok(lathe_chow_liu(&table, NULL, &tree, NULL, &err), err);
    /* printed weight: less the expected bias d/(2n) = 2/16 */
    check_near(tree.edges[0].weight + 2.0 / 16, 0.712307, 1e-6);
    lathe_tree_free(&tree);
    lathe_table_free(&table);
}

/* Spec A3.1e: resampled rows, seed 1, n = 10. */
static void bootstrap_draws_the_published_rows(void **state) {
    (void) state;
    static const int rows[2][10] = {{7, 4, 2, 4, 6, 2, 7, 4, 3, 7}, {6, 3, 9, 6, 5, 9, 0, 7, 1, 1}};
    for (uint32_t b = 0; b < 2; b++)
        for (uint32_t t = 0; t < 10; t++) {
            uint32_t w[4];
            lathe_philox(1, 50, b + 1, t, 0, w);
            assert_int_equal((uint64_t) w[0] * 10 >> 32, rows[b][t]);
        }
}

/* A strong chain: the same edges and supports at 1, 2 and 7 threads; all supports 1 (A7.12, A7.17). */
static void a_strong_chain_is_found_at_any_thread_count(void **state) {
    (void) state;
    enum { P = 20, N = 1000 };
    char *text = malloc(P * N * 2 + 200), *p = text;
    for (int i = 0; i < P; i++)
        p += sprintf(p, "%sv%d", i ? "," : "", i);
    lathe_rng rng = lathe_rng_new(5, 48, 0);
    for (int t = 0; t < N; t++) {
        int x = lathe_rng_uniform(&rng) < 0.5;
        for (int i = 0; i < P; i++) {
            x ^= i > 0 && lathe_rng_uniform(&rng) < 0.05;
            p += sprintf(p, "%c%d", i ? ',' : '\n', x);
        }
    }
    lathe_table table;
    read_text(text, &table);
    free(text);
    for (int threads = 1; threads <= 7; threads += threads == 1 ? 1 : 5) {
        lathe_tree tree;
        lathe_error err = {0};
        const lathe_chow_liu_params params = {.n_bootstrap = 20, .n_threads = threads, .seed = 1};
        check_ok(lathe_chow_liu(&table, &params, &tree, NULL, &err), err);
        assert_int_equal(tree.n_edges, P - 1);
        for (int e = 0; e < P - 1; e++) {
            assert_int_equal(tree.edges[e].u, e);
            assert_int_equal(tree.edges[e].v, e + 1);
            check_near(tree.edges[e].support, 1, 0);
        }
        lathe_tree_free(&tree);
    }
    lathe_table_free(&table);
}

static void bad_tables_are_refused_by_line_and_column(void **state) {
    (void) state;
    static const struct {
        const char *text, *says;
    } bad[] = {{"a,b\n1,2\n3\n", "line 3"},
               {"a,a\n1,2\n", "same name"},
               {"", "no header"},
               {"a,b\n", "no rows"},
               {"a,b\n\"1,2\n", "never closed"},
               {"a,b\n1.5,2\n2.5,3\nxx,4\n3.5,1\n", "line 4"}};
    for (size_t i = 0; i < LATHE_LEN(bad); i++) {
        lathe_table table;
        lathe_error err = {0};
        assert_int_not_equal(lathe_table_parse(bad[i].text, strlen(bad[i].text), "t.csv", NULL, &table, &err),
                             LATHE_OK);
        assert_non_null(strstr(err.text, bad[i].says));
    }
    lathe_table table; /* byte-order mark, CRLF, quoted separator and line break, a missing cell */
    read_text("\xef\xbb\xbf\"a,\nb\",c\r\n\"x, \"\"y\"\"\",1.5\r\nz,\r\n", &table);
    assert_string_equal(table.columns[0].name, "a,\nb");
    assert_string_equal(table.columns[0].states[0], "x, \"y\"");
    assert_int_equal(table.columns[1].n_missing, 1);
    assert_int_equal(table.n_rows, 2);
    lathe_table_free(&table);
}

static void constant_and_empty_columns_stay(void **state) {
    (void) state;
    lathe_table table;
    lathe_tree tree;
    lathe_chow_liu_info info;
    lathe_error err = {0};
    read_text("a,b,c\n0,5,NA\n1,5,NA\n0,5,NA\n1,5,NA\n", &table);
    check_ok(lathe_chow_liu(&table, NULL, &tree, &info, &err), err);
    assert_int_equal(tree.n_nodes, 3);
    assert_int_equal(info.n_components, 2); /* c was never seen: alone */
    assert_int_equal(info.n_constant, 2);
    lathe_tree_free(&tree);
    lathe_table_free(&table);
}

/* Upper tails from tables: 3.841459 at one degree is 5%, 18.307038 at ten. */
static void chi_squared_tails_match_tables(void **state) {
    (void) state;
    check_near(lathe_chi2_tail(3.841458820694124, 1), 0.05, 1e-12);
    check_near(lathe_chi2_tail(18.307038053275146, 10), 0.05, 1e-12);
    check_near(lathe_chi2_tail(0.0157907740934312, 1), 0.9, 1e-12);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eight_rows_have_the_known_tree_and_likelihood),
        cmocka_unit_test(every_kernel_counts_like_the_naive_loop),
        cmocka_unit_test(ties_follow_the_published_keys),
        cmocka_unit_test(kruskal_finds_the_hand_worked_trees),
        cmocka_unit_test(mixed_pairs_use_the_correlation_ratio),
        cmocka_unit_test(bootstrap_draws_the_published_rows),
        cmocka_unit_test(a_strong_chain_is_found_at_any_thread_count),
        cmocka_unit_test(bad_tables_are_refused_by_line_and_column),
        cmocka_unit_test(constant_and_empty_columns_stay),
        cmocka_unit_test(chi_squared_tails_match_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
