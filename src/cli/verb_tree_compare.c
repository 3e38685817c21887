/* verb_tree_compare.c - `lathe tree compare`: how far two trees of the same names are from each other. */
#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/json.h"
#include "cli/cli.h"
#include "lathe/tree.h"

static lathe_status read_newick(const char *path, lathe_tree *tree, lathe_error *err) {
    char *text = NULL;
    size_t n_bytes = 0;
    lathe_status st = lathe_file_read(path, (size_t) 1 << 30, &text, &n_bytes, err);
    if (st)
        return st;
    st = lathe_tree_parse_newick(text, n_bytes, tree, err);
    free(text);
    return st ? lathe_fail_within(err, "%s", path) : LATHE_OK;
}

static lathe_status run_compare(const void *args, lathe_cli *cli, lathe_error *err) {
    (void) args;
    if (cli->n_positional != 2)
        return lathe_fail(err, LATHE_ERR_ARG, "two Newick files, please");
    lathe_tree a = {0}, b = {0};
    lathe_tree_difference d;
    lathe_status st = read_newick(cli->positional[0], &a, err);
    if (!st)
        st = read_newick(cli->positional[1], &b, err);
    if (!st)
        st = lathe_tree_compare(&a, &b, &d, err);
    if (!st && cli->json) {
        json_object_set_new(cli->result, "rf", json_integer(d.missing + d.extra));
        json_object_set_new(cli->result, "rf_normalised", lathe_json_real(d.normalised));
        json_object_set_new(cli->result, "missing", json_integer(d.missing));
        json_object_set_new(cli->result, "extra", json_integer(d.extra));
        json_object_set_new(cli->result, "edge_precision",
                            lathe_json_real(d.edges_b ? (double) d.edges_common / d.edges_b : NAN));
        json_object_set_new(cli->result, "edge_recall",
                            lathe_json_real(d.edges_a ? (double) d.edges_common / d.edges_a : NAN));
        json_object_set_new(cli->result, "length_correlation", lathe_json_real(d.length_correlation));
    } else if (!st) {
        fprintf(cli->out, "Robinson-Foulds %d of %d splits (%.3f): %d missing, %d extra\n",
                (int) (d.missing + d.extra), (int) (d.n_a + d.n_b), d.normalised, (int) d.missing,
                (int) d.extra);
        if (d.edges_a + d.edges_b > 0)
            fprintf(cli->out, "edges between observed nodes: %d and %d, %d in both\n", (int) d.edges_a,
                    (int) d.edges_b, (int) d.edges_common);
    }
    lathe_tree_free(&a);
    lathe_tree_free(&b);
    return st;
}

extern const lathe_verb lathe_verb_tree_compare;
const lathe_verb lathe_verb_tree_compare = {
    .name = "tree compare",
    .summary = "compare two trees: Robinson-Foulds, common edges",
    .usage = "lathe tree compare TRUE.nwk OTHER.nwk",
    .examples = "lathe tree compare expected.nwk learned.nwk --json",
    .schema = "lathe.tree-compare/1",
    .args_size = 1,
    .run = run_compare,
};
