/* test_latent.c - latent trees: hand-worked quartets, exact distances, expected trees of real matrices. */
#include "support/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "lathe/tree.h"

static const lathe_latent_method all[] = {LATHE_LATENT_NJ, LATHE_LATENT_BIONJ, LATHE_LATENT_SNJ,
                                          LATHE_LATENT_RG, LATHE_LATENT_CLRG};

static int32_t rf(const lathe_tree *tree, const char *newick, double *correlation) {
    lathe_tree other;
    lathe_tree_difference d;
    lathe_error err = {0};
    check_ok(lathe_tree_parse_newick(newick, strlen(newick), &other, &err), err);
    check_ok(lathe_tree_compare(tree, &other, &d, &err), err);
    if (correlation != NULL)
        *correlation = d.length_correlation;
    lathe_tree_free(&other);
    return d.missing + d.extra;
}

/* Path lengths between the first n nodes. */
static double *paths(const lathe_tree *tree, int32_t n) {
    const int32_t m = tree->n_nodes;
    double *d = malloc((size_t) m * (size_t) m * sizeof *d),
           *out = malloc((size_t) n * (size_t) n * sizeof *out);
    for (int32_t i = 0; i < m * m; i++)
        d[i] = i % (m + 1) == 0 ? 0 : INFINITY;
    for (int32_t e = 0; e < tree->n_edges; e++)
        d[tree->edges[e].u * m + tree->edges[e].v] = d[tree->edges[e].v * m + tree->edges[e].u] =
            tree->edges[e].length;
    for (int32_t k = 0; k < m; k++)
        for (int32_t i = 0; i < m; i++)
            for (int32_t j = 0; j < m; j++)
                d[i * m + j] = fmin(d[i * m + j], d[i * m + k] + d[k * m + j]);
    for (int32_t i = 0; i < n; i++)
        for (int32_t j = 0; j < n; j++)
            out[i * n + j] = d[i * m + j];
    free(d);
    return out;
}

/* Spec B7.3: the closest pair is no sibling pair; all learners recover the split ab|cd. */
static void the_quartet_is_recovered_with_its_lengths(void **state) {
    (void) state;
    char label[4][2] = {"a", "b", "c", "d"};
    char *names[] = {label[0], label[1], label[2], label[3]};
    double d[] = {0, 5, 4.5, 5.5, 5, 0, 7.5, 8.5, 4.5, 7.5, 0, 5, 5.5, 8.5, 5, 0};
    const lathe_distances dist = {.names = names, .d = d, .n = 4};
    for (size_t m = 0; m < LATHE_LEN(all); m++) {
        const lathe_latent_params params = {.method = all[m], .eps = 1, .tau = INFINITY};
        lathe_tree tree;
        lathe_error err = {0};
        check_ok(lathe_latent_tree(&dist, &params, &tree, NULL, &err), err);
        assert_int_equal(rf(&tree, "((a,b),(c,d));", NULL), 0);
        assert_int_equal(rf(&tree, "((a,c),(b,d));", NULL), 2);
        double *out = paths(&tree, 4);
        check_array(out, d, 16, 1e-9);
        free(out);
        lathe_tree_free(&tree);
    }
}

/* Spec B7.4: an observed inner node stays, nothing hidden is made. */
static void rg_keeps_observed_inner_nodes(void **state) {
    (void) state;
    char label[4][2] = {"0", "1", "2", "3"};
    char *names[] = {label[0], label[1], label[2], label[3]};
    double d[] = {0, .4, 1.1, .9, .4, 0, .7, .5, 1.1, .7, 0, 1.2, .9, .5, 1.2, 0};
    const lathe_distances dist = {.names = names, .d = d, .n = 4};
    for (int clrg = 0; clrg < 2; clrg++) {
        const lathe_latent_params params = {
            .method = clrg ? LATHE_LATENT_CLRG : LATHE_LATENT_RG, .eps = .2, .tau = INFINITY};
        lathe_tree tree;
        lathe_error err = {0};
        check_ok(lathe_latent_tree(&dist, &params, &tree, NULL, &err), err);
        assert_int_equal(tree.n_nodes, 4);
        for (int e = 0; e < 3; e++)
            assert_true(tree.edges[e].u == 1 || tree.edges[e].v == 1);
        lathe_tree_free(&tree);
    }
}

/* A random binary tree on n leaves with lengths in [.2, 1]; Newick-free: hidden nodes join two at a time. */
static void random_tree(lathe_rng *rng, int32_t n, lathe_tree *tree, char **names) {
    lathe_error err = {0};
    check_ok(lathe_tree_new(2 * n - 2, n, names, tree, &err), err);
    int32_t active[128], m = n, u = n;
    for (int32_t i = 0; i < n; i++)
        active[i] = i;
    while (m > 1) {
        const int32_t k = m == 3 ? 3 : 2;
        const int32_t centre = u;
        u += m > 2;
        for (int32_t q = 0; q < k; q++) {
            const int32_t at = (int32_t) lathe_rng_below(rng, (uint64_t) m);
            tree->edges[tree->n_edges++] = (lathe_tree_edge){.u = active[at],
                                                             .v = centre,
                                                             .weight = NAN,
                                                             .length = .2 + .8 * lathe_rng_uniform(rng),
                                                             .support = NAN};
            active[at] = active[--m];
        }
        if (k == 3)
            break;
        active[m++] = centre;
    }
}

/* Spec B7.5: exact distances, exact trees. */
static void exact_distances_give_exact_trees(void **state) {
    (void) state;
    char label[40][8], *names[40];
    for (int i = 0; i < 40; i++) {
        snprintf(label[i], sizeof label[i], "t%d", i);
        names[i] = label[i];
    }
    lathe_rng rng = lathe_rng_new(11, 48, 0);
    for (int trial = 0; trial < 40; trial++) {
        const int32_t n = 5 + (int32_t) lathe_rng_below(&rng, 30);
        lathe_tree truth;
        random_tree(&rng, n, &truth, names);
        double *d = paths(&truth, n);
        const lathe_distances dist = {.names = names, .d = d, .n = n};
        for (size_t m = 0; m < LATHE_LEN(all); m++) {
            const lathe_latent_params params = {
                .method = all[m], .eps = .1, .tau = INFINITY, .contract = .05};
            lathe_tree tree;
            lathe_tree_difference diff;
            lathe_error err = {0};
            check_ok(lathe_latent_tree(&dist, &params, &tree, NULL, &err), err);
            check_ok(lathe_tree_compare(&truth, &tree, &diff, &err), err);
            assert_int_equal(diff.missing + diff.extra, 0);
            double *got = paths(&tree, n);
            check_array(got, d, (size_t) (n * n), 1e-6);
            free(got);
            lathe_tree_free(&tree);
        }
        free(d);
        lathe_tree_free(&truth);
    }
}

/* Textbook NJ, written apart: plain loops over a list of active nodes. */
static void brute_nj(const double *in, int32_t n, int32_t (*joined)[2]) {
    double *d = calloc((size_t) (4 * n * n), sizeof *d);
    int32_t *active = malloc((size_t) n * sizeof *active), m = n;
    for (int32_t i = 0; i < n; i++) {
        active[i] = i;
        for (int32_t j = 0; j < n; j++)
            d[i * 2 * n + j] = in[i * n + j];
    }
    for (int32_t u = n; m > 3; u++) {
        double best = INFINITY;
        int32_t bi = 0, bj = 1;
        for (int32_t a = 0; a < m; a++)
            for (int32_t b = a + 1; b < m; b++) {
                double q = (m - 2) * d[active[a] * 2 * n + active[b]];
                for (int32_t k = 0; k < m; k++)
                    q -= d[active[a] * 2 * n + active[k]] + d[active[b] * 2 * n + active[k]];
                if (q < best) {
                    best = q;
                    bi = a;
                    bj = b;
                }
            }
        const int32_t i = active[bi], j = active[bj];
        joined[u - n][0] = i < j ? i : j;
        joined[u - n][1] = i < j ? j : i;
        for (int32_t k = 0; k < m; k++) {
            const int32_t c = active[k];
            d[u * 2 * n + c] = d[c * 2 * n + u] =
                0.5 * (d[i * 2 * n + c] + d[j * 2 * n + c] - d[i * 2 * n + j]);
        }
        d[u * 2 * n + u] = 0;
        active[bi] = u;
        active[bj] = active[--m];
    }
    free(d);
    free(active);
}

/* Spec B7.9. */
static void nj_joins_as_brute_force_does(void **state) {
    (void) state;
    enum { N = 60 };
    static char same[] = "x";
    char *names[N];
    for (int i = 0; i < N; i++)
        names[i] = same;
    lathe_rng rng = lathe_rng_new(12, 48, 0);
    for (int trial = 0; trial < 100; trial++) {
        double d[N * N] = {0};
        int32_t joined[N][2];
        for (int i = 0; i < N; i++)
            for (int j = 0; j < i; j++)
                d[i * N + j] = d[j * N + i] = lathe_rng_uniform(&rng);
        brute_nj(d, N, joined);
        const lathe_distances dist = {.names = names, .d = d, .n = N};
        lathe_tree tree;
        lathe_error err = {0};
        check_ok(lathe_latent_tree(&dist, NULL, &tree, NULL, &err), err);
        for (int s = 0; s < N - 4; s++) { /* of four nodes both pairs are equally good */
            const int32_t a = tree.edges[2 * s].u, b = tree.edges[2 * s + 1].u;
            assert_int_equal(a < b ? a : b, joined[s][0]);
            assert_int_equal(a < b ? b : a, joined[s][1]);
        }
        lathe_tree_free(&tree);
    }
}

static void one_two_and_three_taxa_work(void **state) {
    (void) state;
    static const char *const texts[] = {"1\na\n", "2\na\nb 3\n", "3\na\nb 3\nc 4 5\n"};
    static const char *const expected[] = {"a;\n", "(b:3)a;\n", "(a:1,b:2,c:3)_h1;\n"};
    for (int i = 0; i < 3; i++) {
        lathe_distances dist;
        lathe_tree tree;
        lathe_error err = {0};
        char *text = NULL;
        check_ok(lathe_distances_parse(texts[i], strlen(texts[i]), "d.phy", false, &dist, &err), err);
        check_ok(lathe_latent_tree(&dist, NULL, &tree, NULL, &err), err);
        check_ok(lathe_tree_text(&tree, LATHE_TREE_NEWICK, i == 2 ? 3 : 0, &text, NULL, &err), err);
        assert_string_equal(text, expected[i]);
        free(text);
        lathe_tree_free(&tree);
        lathe_distances_free(&dist);
    }
}

static void bad_distances_are_refused(void **state) {
    (void) state;
    static const struct {
        const char *text, *says;
    } bad[] = {{"2\na 0 1\nb 2 0\n", "not symmetric"}, {"2\na 0 -1\nb -1 0\n", "negative"},
               {"2\na 1 1\nb 1 0\n", "diagonal"},      {"3\na 0 1 2\nb 1 0\n", "no number"},
               {"2\na 0 x\nb 1 0\n", "no number"},     {"9999999\na 0\n", "number of taxa"},
               {"5000\na 0\n", "too short"},           {",a,b\na,0,1\nb,1,z\n", "'z'"}};
    for (size_t i = 0; i < LATHE_LEN(bad); i++) {
        lathe_distances dist;
        lathe_error err = {0};
        assert_int_not_equal(lathe_distances_parse(bad[i].text, strlen(bad[i].text), "d", false, &dist, &err),
                             LATHE_OK);
        assert_non_null(strstr(err.text, bad[i].says));
    }
}

/* Spec B7.1 and B7.2. */
static void truncated_products_and_distances_match_hand_numbers(void **state) {
    (void) state;
    const double a[] = {1, 2, 3, -4, 100}, b[] = {1, -1, 2, 1, 50};
    double scratch[10];
    check_near(lathe_truncated_product(a, b, 5, 0, scratch), 1000.2, 1e-9);
    check_near(lathe_truncated_product(a, b, 5, 1, scratch), 0.25, 1e-12);
    check_near(lathe_truncated_product(a, b, 5, 2, scratch), -5.0 / 3, 1e-12);
    /* correlation 1/2 exactly: distance log 2 */
    const char *text =
        "x,y\n1.5,1.5\n1.5,1.5\n1.5,1.5\n1.5,-1.5\n-1.5,-1.5\n-1.5,-1.5\n-1.5,-1.5\n-1.5,1.5\n";
    lathe_table table;
    lathe_distances dist;
    lathe_error err = {0};
    const lathe_table_params real = {.kind = 2};
    check_ok(lathe_table_parse(text, strlen(text), "t", &real, &table, &err), err);
    check_ok(lathe_distances_from_table(&table, NULL, &dist, &err), err);
    check_near(dist.d[1], 0.693147180559945, 1e-12);
    lathe_distances_free(&dist);
    lathe_table_free(&table);
}

static void newick_survives_the_round_trip(void **state) {
    (void) state;
    static const char *const texts[] = {"('it''s (a)':1.5,b:-0.25,(c:1,d:2)0.97:0.5)_h1;\n",
                                        "((a,b)x,c)y;\n"};
    for (size_t i = 0; i < LATHE_LEN(texts); i++) {
        lathe_tree tree;
        lathe_error err = {0};
        char *text = NULL;
        check_ok(lathe_tree_parse_newick(texts[i], strlen(texts[i]), &tree, &err), err);
        check_ok(lathe_tree_text(&tree, LATHE_TREE_NEWICK, i == 0 ? tree.n_observed : 0, &text, NULL, &err),
                 err);
        lathe_tree again;
        check_ok(lathe_tree_parse_newick(text, strlen(text), &again, &err), err);
        assert_int_equal(again.n_nodes, tree.n_nodes);
        assert_int_equal(rf(&tree, text, NULL), 0);
        lathe_tree_free(&again);
        lathe_tree_free(&tree);
        free(text);
    }
    static const char *const bad[] = {"(a,b",    "(a,b));",  "a,b;",   "(a,(b,c);",
                                      "('a,b);", "(a:x,b);", "(a,a);", ""};
    for (size_t i = 0; i < LATHE_LEN(bad); i++) {
        lathe_tree tree;
        lathe_error err = {0};
        assert_int_equal(lathe_tree_parse_newick(bad[i], strlen(bad[i]), &tree, &err), LATHE_ERR_INPUT);
    }
    /* a caterpillar of 10,000 leaves: no stack to overflow */
    enum { DEEP = 10000 };
    char *text = malloc(DEEP * 20), *p = text;
    memset(p, '(', DEEP - 1);
    p += DEEP - 1;
    p += sprintf(p, "t0");
    for (int i = 1; i < DEEP; i++)
        p += sprintf(p, ",t%d)", i);
    sprintf(p, ";");
    lathe_tree tree;
    lathe_error err = {0};
    char *out = NULL;
    check_ok(lathe_tree_parse_newick(text, strlen(text), &tree, &err), err);
    check_ok(lathe_tree_text(&tree, LATHE_TREE_NEWICK, -1, &out, NULL, &err), err);
    assert_int_equal(rf(&tree, out, NULL), 0);
    free(out);
    check_ok(lathe_tree_text(&tree, LATHE_TREE_SVG, -1, &out, NULL, &err), err);
    free(out);
    free(text);
    lathe_tree_free(&tree);
}

/* The trees that two published programs agree on, lengths included. */
static void nj_gives_the_expected_trees_of_real_matrices(void **state) {
    (void) state;
    static const char *const files[] = {"wpnjex.csv", "saitou_and_nei_1987_table1.csv",
                                        "pythonidae.mle.weighted.pdm.csv"};
    json_t *expected = NULL;
    lathe_error err = {0};
    check_ok(
        lathe_json_read(need_shared("data/structure/phylo/expected_trees.json"), 1 << 20, &expected, &err),
        err);
    for (size_t i = 0; i < LATHE_LEN(files); i++) {
        char path[200];
        snprintf(path, sizeof path, "data/structure/phylo/%s", files[i]);
        const char *newick = json_string_value(json_object_get(json_object_get(expected, "nj"), files[i]));
        lathe_distances dist;
        lathe_tree tree, truth;
        check_ok(lathe_distances_read(need_shared(path), false, &dist, &err), err);
        check_ok(lathe_latent_tree(&dist, NULL, &tree, NULL, &err), err);
        assert_int_equal(rf(&tree, newick, NULL), 0);
        check_ok(lathe_tree_parse_newick(newick, strlen(newick), &truth, &err), err);
        double *got = paths(&tree, dist.n), *want = paths(&truth, dist.n);
        for (int32_t x = 0; x < dist.n; x++)
            for (int32_t y = 0; y < dist.n; y++) { /* the expected tree's own order of names */
                int32_t ix = -1, iy = -1;
                for (int32_t k = 0; k < dist.n; k++) {
                    ix = strcmp(truth.names[k], dist.names[x]) == 0 ? k : ix;
                    iy = strcmp(truth.names[k], dist.names[y]) == 0 ? k : iy;
                }
                check_near(got[x * dist.n + y], want[ix * dist.n + iy], 1e-6);
            }
        free(got);
        free(want);
        lathe_tree_free(&truth);
        lathe_tree_free(&tree);
        lathe_distances_free(&dist);
    }
    json_decref(expected);
}

/* Five taxa far from any tree: the first two joined are siblings, one at a negative length. Zero changes
 * their distance, a transfer does not. */
static void negative_lengths_are_kept_cut_or_transferred(void **state) {
    (void) state;
    static const char text[] = "5\na 0 2 7 9 8\nb 2 0 10 13 12\nc 7 10 0 8 6\nd 9 13 8 0 3\ne 8 12 6 3 0\n";
    lathe_distances dist;
    lathe_error err = {0};
    lathe_tree tree[3];
    check_ok(lathe_distances_parse(text, strlen(text), "d", false, &dist, &err), err);
    for (int k = 0; k < 3; k++) {
        const lathe_latent_params how = {.method = LATHE_LATENT_NJ, .negative = (lathe_negative) k};
        check_ok(lathe_latent_tree(&dist, &how, &tree[k], NULL, &err), err);
    }
    const lathe_tree_edge *kept = tree[0].edges, *cut = tree[1].edges, *moved = tree[2].edges;
    assert_true(fmin(kept[0].length, kept[1].length) < 0);
    check_near(fmin(cut[0].length, cut[1].length), 0, 0);
    check_near(fmax(cut[0].length, cut[1].length), fmax(kept[0].length, kept[1].length), 0);
    check_near(fmin(moved[0].length, moved[1].length), 0, 0);
    check_near(moved[0].length + moved[1].length, kept[0].length + kept[1].length, 1e-15);
    for (int e = 0; e < tree[0].n_edges; e++) {
        assert_true(cut[e].length >= 0 && moved[e].length >= 0);
        assert_true(kept[e].u == cut[e].u && kept[e].u == moved[e].u && kept[e].v == moved[e].v);
    }
    for (int k = 0; k < 3; k++)
        lathe_tree_free(&tree[k]);
    lathe_distances_free(&dist);
}

/* a - b - c with b observed inside: b becomes a leaf of length 0, and the splits stay. */
static void names_can_be_moved_to_leaves(void **state) {
    (void) state;
    static const char text[] = "(a:1,c:2,(d:1,e:1)0.75:3)b;";
    lathe_tree tree, leaves;
    lathe_tree_difference d;
    lathe_error err = {0};
    char *written = NULL;
    check_ok(lathe_tree_parse_newick(text, strlen(text), &tree, &err), err);
    check_ok(lathe_tree_names_at_leaves(&tree, &leaves, &err), err);
    assert_int_equal(leaves.n_observed, 5);
    assert_int_equal(leaves.n_nodes, tree.n_nodes + 1);
    assert_int_equal(leaves.n_edges, tree.n_edges + 1);
    check_ok(lathe_tree_text(&leaves, LATHE_TREE_NEWICK, -1, &written, NULL, &err), err);
    assert_non_null(strstr(written, "b:0"));
    assert_non_null(strstr(written, "0.75:3"));
    assert_null(strstr(written, ")b"));
    check_ok(lathe_tree_compare(&tree, &leaves, &d, &err), err);
    assert_int_equal(d.missing + d.extra, 0);
    free(written);
    lathe_tree_free(&tree);
    lathe_tree_free(&leaves);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_quartet_is_recovered_with_its_lengths),
        cmocka_unit_test(rg_keeps_observed_inner_nodes),
        cmocka_unit_test(exact_distances_give_exact_trees),
        cmocka_unit_test(nj_joins_as_brute_force_does),
        cmocka_unit_test(one_two_and_three_taxa_work),
        cmocka_unit_test(bad_distances_are_refused),
        cmocka_unit_test(truncated_products_and_distances_match_hand_numbers),
        cmocka_unit_test(negative_lengths_are_kept_cut_or_transferred),
        cmocka_unit_test(names_can_be_moved_to_leaves),
        cmocka_unit_test(newick_survives_the_round_trip),
        cmocka_unit_test(nj_gives_the_expected_trees_of_real_matrices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
