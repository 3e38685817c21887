/* test_inputs.c - aligned sequences as distances, pairs of columns from files, refused matrices. */
#include "support/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lathe/tree.h"

/* Line ends of both kinds, RNA, lower case, a comment behind a name. */
static const char aligned[] = ">a first\nACGTACGTACGTACGTTTGA\nCCAGGATCAAGCTTGACGTA\n"
                              ">b\r\nACGUACGAACGUGCGTTTGACCAGAATCAAGCTCGACTTA\r\n"
                              ">c\nacttacgaacgcgcgtatgactagaatcacgctcggctta";

static lathe_status read_text(const char *text, lathe_dna_model model, bool strict, lathe_distances *dist,
                              lathe_error *err) {
    memset(err, 0, sizeof *err);
    return lathe_distances_fasta_parse(text, strlen(text), "x.fa", model, strict, dist, err);
}

/* Expected: scikit-bio 0.7.4's jc69, k2p, paralin and hamming on the same sequences. */
static void sequence_distances_are_those_of_scikit_bio(void **state) {
    (void) state;
    static const double expected[4][3] = {{0.13674116759546595, 0.34256880187178623, 0.16735766348565728},
                                          {0.1379119045715615, 0.3486131372053386, 0.16807585718883875},
                                          {0.13585511682704676, 0.3366803464348129, 0.16837693000081977},
                                          {0.125, 0.275, 0.15}};
    for (int model = LATHE_DNA_JC; model <= LATHE_DNA_HAMMING; model++) {
        lathe_distances dist;
        lathe_error err;
        check_ok(read_text(aligned, (lathe_dna_model) model, true, &dist, &err), err);
        assert_int_equal(dist.n, 3);
        assert_string_equal(dist.names[0], "a");
        check_near(dist.d[1], expected[model][0], 1e-14);
        check_near(dist.d[2], expected[model][1], 1e-14);
        check_near(dist.d[5], expected[model][2], 1e-14);
        check_near(dist.d[7], dist.d[5], 0);
        lathe_distances_free(&dist);
    }
}

/* Of 4 sites one has a gap and one an N: of the other two one differs. Counting all four would give 1/4. */
static void unknown_sites_are_left_out_of_the_pair_alone(void **state) {
    (void) state;
    lathe_distances dist;
    lathe_error err;
    check_ok(read_text(">x\nAC-T\n>y\nAGTN\n>z\nAGTT\n", LATHE_DNA_HAMMING, true, &dist, &err), err);
    check_near(dist.d[1], .5, 1e-15);
    check_near(dist.d[2], 1. / 3, 1e-15);
    check_near(dist.d[5], 0, 1e-15);
    lathe_distances_free(&dist);
}

/* Three of four sites differ: Jukes and Cantor's formula has no value from there on. */
static void pairs_beyond_the_model_are_capped_or_refused(void **state) {
    (void) state;
    lathe_distances dist;
    lathe_error err;
    static const char far[] = ">x\nACGT\n>y\nATCG\n";
    check_ok(read_text(far, LATHE_DNA_JC, false, &dist, &err), err);
    check_near(dist.d[1], 5, 0);
    assert_int_equal(dist.n_saturated, 1);
    lathe_distances_free(&dist);
    assert_int_equal(read_text(far, LATHE_DNA_JC, true, &dist, &err), LATHE_ERR_INPUT);
    assert_non_null(strstr(err.text, "sequences 1 and 2 ('x', 'y')"));
}

static void broken_alignments_are_refused_with_their_place(void **state) {
    (void) state;
    static const struct {
        const char *text, *says;
    } bad[] = {{"", "no sequences"},
               {"ACGT\n", "line 1: a sequence without a name"},
               {">\nACGT\n", "line 1: no name"},
               {">x\nACGT\n>y\nACG\n", "'y', has 3 sites where 'x' has 4"},
               {">x\n>y\nA\n", "before line 2: sequence 1, 'x', has no sites"},
               {">x\nAC1T\n", "line 2, column 3: byte 0x31"},
               {">x\nA\n>x\nA\n", "two sequences are called 'x'"},
               {">x\nA-\n>y\n-C\n", "sequences 1 and 2 ('x', 'y') have no site"}};
    for (size_t i = 0; i < LATHE_LEN(bad); i++) {
        lathe_distances dist;
        lathe_error err;
        assert_int_equal(read_text(bad[i].text, LATHE_DNA_JC, false, &dist, &err), LATHE_ERR_INPUT);
        if (strstr(err.text, bad[i].says) == NULL)
            fail_msg("'%s' lacks '%s'", err.text, bad[i].says);
    }
}

static void refused_matrices_name_row_and_column(void **state) {
    (void) state;
    static const struct {
        const char *text, *says;
    } bad[] = {{"3\na 0 1 2\nb 1 0 3\nc 2 4 0\n", "row 3, column 2 ('c', 'b') is 4, row 2, column 3 is 3"},
               {"3\na 0 1 2\nb 1 0 -3\nc 2 -3 0\n", "row 3, column 2 ('c', 'b'): -3 is negative"},
               {"3\na 0 1 2\nb 1 0 -3\nc 2 3 0\n", "row 2, column 3 ('b', 'c'): -3 is negative"},
               {"2\na 0 1\nb 1 7\n", "row 2, column 2 ('b', 'b'): 7 on the diagonal"},
               {",a,b\na,0,x\nb,1,0\n", "line 2, column 'b'"}};
    for (size_t i = 0; i < LATHE_LEN(bad); i++) {
        lathe_distances dist;
        lathe_error err = {0};
        assert_int_equal(lathe_distances_parse(bad[i].text, strlen(bad[i].text), "d.phy", false, &dist, &err),
                         LATHE_ERR_INPUT);
        if (strstr(err.text, bad[i].says) == NULL)
            fail_msg("'%s' lacks '%s'", err.text, bad[i].says);
    }
}

static void write_file(char path[32], const char *text) {
    strcpy(path, "/tmp/lathe-pairs-XXXXXX");
    const int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t) strlen(text) && close(fd) == 0);
}

/* A -> B -> C by copying with few errors; D by itself. Whitelist A-D, blacklist A-B: B then hangs on C alone.
 */
static void lists_from_files_shape_the_tree(void **state) {
    (void) state;
    lathe_table table;
    lathe_error err = {0};
    char text[4096] = "A,B,C,D\n", path[32];
    for (int t = 0; t < 64; t++) {
        const int a = t & 1, b = a ^ (t % 13 == 0), c = b ^ (t % 11 == 0), d = t / 2 & 1;
        snprintf(text + strlen(text), sizeof text - strlen(text), "%d,%d,%d,%d\n", a, b, c, d);
    }
    check_ok(lathe_table_parse(text, strlen(text), "t.csv", NULL, &table, &err), err);
    int32_t *white, *black, n_white, n_black;
    write_file(path, "u,v,weight\nA,D,3\n");
    check_ok(lathe_column_pairs_read(path, &table, &white, &n_white, &err), err);
    unlink(path);
    write_file(path, "B\tA\n");
    check_ok(lathe_column_pairs_read(path, &table, &black, &n_black, &err), err);
    unlink(path);
    assert_int_equal(n_white, 1);
    assert_int_equal(n_black, 1);
    assert_int_equal(black[0], 1);
    const lathe_chow_liu_params params = {
        .whitelist = white, .blacklist = black, .n_whitelist = 1, .n_blacklist = 1, .seed = 1};
    lathe_tree tree;
    check_ok(lathe_chow_liu(&table, &params, &tree, NULL, &err), err);
    bool with_d = false, with_b = false;
    assert_int_equal(tree.n_edges, 3);
    for (int e = 0; e < 3; e++) {
        with_d = with_d || (tree.edges[e].u == 0 && tree.edges[e].v == 3);
        with_b = with_b || (tree.edges[e].u == 0 && tree.edges[e].v == 1);
    }
    assert_true(with_d && !with_b);
    lathe_tree_free(&tree);
    free(white);
    free(black);
    static const struct {
        const char *text, *says;
    } bad[] = {{"A,B\nA,X\n", "line 2: no column is called 'X'"},
               {"A,A\n", "line 1: 'A' twice"},
               {"A\nB\n", "two names a line"}};
    for (size_t i = 0; i < LATHE_LEN(bad); i++) {
        write_file(path, bad[i].text);
        assert_int_equal(lathe_column_pairs_read(path, &table, &white, &n_white, &err), LATHE_ERR_INPUT);
        unlink(path);
        assert_null(white);
        assert_non_null(strstr(err.text, bad[i].says));
    }
    lathe_table_free(&table);
}

/* Rows 2 and 4 have gaps; with row 4 goes the only 'z'. */
static void incomplete_rows_are_dropped_with_their_states(void **state) {
    (void) state;
    static const char text[] = "a,b\nx,1.5\nNA,2.5\ny,3.5\nz,\nx,0.5\n";
    lathe_table table;
    lathe_error err = {0};
    int64_t n_dropped;
    check_ok(lathe_table_parse(text, strlen(text), "t.csv", NULL, &table, &err), err);
    assert_int_equal(table.columns[0].n_states, 3);
    check_ok(lathe_table_drop_incomplete(&table, &n_dropped, &err), err);
    assert_int_equal(n_dropped, 2);
    assert_int_equal(table.n_rows, 3);
    assert_int_equal(table.columns[0].n_states, 2);
    assert_string_equal(table.columns[0].states[table.columns[0].codes[1]], "y");
    check_near(table.columns[1].values[2], .5, 0);
    assert_int_equal(table.columns[0].n_missing + table.columns[1].n_missing, 0);
    lathe_table_free(&table);
    static const char gaps[] = "a,b\nx,\nNA,2\n";
    check_ok(lathe_table_parse(gaps, strlen(gaps), "t.csv", NULL, &table, &err), err);
    assert_int_equal(lathe_table_drop_incomplete(&table, &n_dropped, &err), LATHE_ERR_INPUT);
    lathe_table_free(&table);
}

/* Quartet with leaf edges 1, 4, 2, 3 and 1.5 inside: the longest path is b-d, 8.5, its middle .25 beyond b's
 * edge. */
static void roots_on_edges(void **state) {
    (void) state;
    static const char text[] = "((a:1,b:4):1.5,c:2,d:3);";
    lathe_tree tree, rooted;
    lathe_error err = {0};
    check_ok(lathe_tree_parse_newick(text, strlen(text), &tree, &err), err);
    for (int outgroup = -1; outgroup < tree.n_observed; outgroup++) {
        static const double halves[][2] = {{.25, 1.25}, {.5, .5}, {2, 2}, {1, 1}, {1.5, 1.5}};
        check_ok(lathe_tree_root_on_edge(&tree, outgroup, &rooted, &err), err);
        assert_int_equal(rooted.n_nodes, tree.n_nodes + 1);
        assert_int_equal(rooted.n_edges, rooted.n_nodes - 1);
        double low = INFINITY, high = 0, sum = 0;
        int n_at_root = 0, n_outgroup = 0;
        for (int32_t e = 0; e < rooted.n_edges; e++) {
            const lathe_tree_edge *x = &rooted.edges[e];
            sum += x->length;
            if (x->v != tree.n_nodes)
                continue;
            n_at_root++;
            n_outgroup += x->u == outgroup;
            low = fmin(low, x->length);
            high = fmax(high, x->length);
        }
        assert_int_equal(n_at_root, 2);
        assert_int_equal(n_outgroup, outgroup >= 0);
        check_near(sum, 11.5, 1e-12);
        check_near(low, halves[outgroup + 1][0], 1e-12);
        check_near(high, halves[outgroup + 1][1], 1e-12);
        lathe_tree_difference d;
        check_ok(lathe_tree_compare(&tree, &rooted, &d, &err), err);
        assert_int_equal(d.missing + d.extra, 0);
        lathe_tree_free(&rooted);
    }
    assert_int_equal(lathe_tree_root_on_edge(&tree, 4, &rooted, &err), LATHE_ERR_INPUT); /* an inner node */
    tree.edges[0].length = -1;
    assert_int_equal(lathe_tree_root_on_edge(&tree, -1, &rooted, &err), LATHE_ERR_INPUT);
    assert_non_null(strstr(err.text, "negative"));
    lathe_tree_free(&tree);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roots_on_edges),
        cmocka_unit_test(sequence_distances_are_those_of_scikit_bio),
        cmocka_unit_test(unknown_sites_are_left_out_of_the_pair_alone),
        cmocka_unit_test(pairs_beyond_the_model_are_capped_or_refused),
        cmocka_unit_test(broken_alignments_are_refused_with_their_place),
        cmocka_unit_test(refused_matrices_name_row_and_column),
        cmocka_unit_test(lists_from_files_shape_the_tree),
        cmocka_unit_test(incomplete_rows_are_dropped_with_their_states),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
