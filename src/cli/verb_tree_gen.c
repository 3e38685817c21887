/* verb_tree_gen.c - `lathe tree gen`: tables from known structures. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/cli.h"
#include "lathe/tree.h"

typedef struct gen_args {
    bool unused;
    const char *bif, *shape, *edge, *output, *truth;
    int64_t size, dim, n, k, seed;
    double rho, amplitude;
    int32_t corrupt;
} gen_args;

static const char *const corruptions[] = {"none", "uniform", "constant", "hmm", "rows", NULL};

#define AT(field) offsetof(gen_args, field)
// clang-format off
static const lathe_option options[] = {
    { .name = "bif", .group = "model", .arg = "FILE", .kind = LATHE_OPTION_FILE, .offset = AT(bif), .help = "sample this Bayesian network (BIF; '-': stdin)" },
    { .name = "shape", .group = "model", .arg = "NAME", .kind = LATHE_OPTION_TEXT, .offset = AT(shape), .help = "chain, star, binary, random, hmm, double-binary, mary, double-star, or a Newick file with lengths" },
    { .name = "size", .group = "model", .arg = "N", .kind = LATHE_OPTION_INT, .offset = AT(size), .min = 1, .max = 1 << 22, .default_text = "20", .help = "nodes; hidden chain of hmm; depth of double-binary and mary; leaves a hub of double-star" },
    { .name = "rho", .group = "model", .arg = "R", .kind = LATHE_OPTION_REAL, .offset = AT(rho), .min = -0.999999, .max = 0.999999, .help = "two states a node, this correlation on every edge" },
    { .name = "edge", .group = "model", .arg = "W or LOW,HIGH", .kind = LATHE_OPTION_TEXT, .offset = AT(edge), .default_text = "0.4", .help = "Gaussian: information distance of every edge, or a range" },
    { .name = "dim", .group = "model", .arg = "L", .kind = LATHE_OPTION_INT, .offset = AT(dim), .min = 1, .max = 16, .default_text = "1", .help = "Gaussian: coordinates a node" },
    { .name = "n", .short_name = "n", .group = "method", .arg = "ROWS", .kind = LATHE_OPTION_INT, .offset = AT(n), .min = 1, .max = 1e9, .default_text = "1000", .help = "rows" },
    { .name = "corrupt", .group = "method", .arg = "KIND", .kind = LATHE_OPTION_CHOICE, .choices = corruptions, .offset = AT(corrupt), .default_text = "none", .help = "Gaussian: spoil rows: uniform, constant, hmm or rows" },
    { .name = "k", .group = "method", .arg = "K", .kind = LATHE_OPTION_INT, .offset = AT(k), .min = 0, .max = 1e9, .default_text = "0", .help = "spoilt rows a node" },
    { .name = "amplitude", .group = "method", .arg = "A", .kind = LATHE_OPTION_REAL, .offset = AT(amplitude), .min = 0, .max = 1e12, .default_text = "60", .help = "size of spoilt values" },
    { .name = "seed", .group = "method", .arg = "S", .kind = LATHE_OPTION_INT, .offset = AT(seed), .min = 0, .max = 9e15, .default_text = "1", .help = "of all draws" },
    { .name = "output", .short_name = "o", .group = "output", .arg = "FILE", .kind = LATHE_OPTION_FILE, .offset = AT(output), .default_text = "stdout", .help = "CSV file" },
    { .name = "truth", .group = "output", .arg = "FILE", .kind = LATHE_OPTION_FILE, .offset = AT(truth), .help = "the tree as Newick; of a network its edges as CSV" },
};
// clang-format on
static const lathe_option *const tables[] = {options};
static const size_t sizes[] = {LATHE_LEN(options)};

static void defaults(void *args) {
    gen_args *a = args;
    a->size = 20;
    a->rho = NAN;
    a->dim = 1;
    a->n = 1000;
    a->amplitude = 60;
    a->seed = 1;
}

static lathe_status write_network_edges(const char *path, const lathe_bayes_net *net, lathe_error *err) {
    lathe_writer *writer = NULL;
    lathe_status st = lathe_writer_open(path, &writer, err);
    st = st ? st : lathe_writer_add(writer, "parent,child\n", 13, err);
    for (int32_t i = 0; i < net->variables.n_columns && !st; i++)
        for (int32_t k = 0; k < net->n_parents[i] && !st; k++) {
            const char *parts[] = {net->variables.columns[net->parents[i][k]].name, ",",
                                   net->variables.columns[i].name, "\n"};
            for (size_t q = 0; q < LATHE_LEN(parts) && !st; q++)
                st = lathe_writer_add(writer, parts[q], strlen(parts[q]), err);
        }
    if (!st)
        return lathe_writer_commit(writer, err);
    lathe_writer_abandon(writer);
    return st;
}

static lathe_status from_network(const gen_args *a, lathe_table *table, lathe_error *err) {
    char *text = NULL;
    size_t n_bytes = 0;
    lathe_bayes_net net;
    lathe_status st = lathe_file_read(a->bif, (size_t) 1 << 30, &text, &n_bytes, err);
    if (st)
        return st;
    st = lathe_bayes_net_parse(text, n_bytes, a->bif, &net, err);
    free(text);
    if (st)
        return st;
    st = lathe_bayes_net_sample(&net, a->n, (uint64_t) a->seed, table, err);
    if (!st && a->truth != NULL)
        st = write_network_edges(a->truth, &net, err);
    lathe_bayes_net_free(&net);
    return st;
}

static lathe_status make_tree(const gen_args *a, lathe_tree *tree, lathe_error *err) {
    const char *const *names = lathe_tree_shape_names();
    for (int k = 0; names[k] != NULL; k++)
        if (strcmp(a->shape, names[k]) == 0)
            return lathe_tree_shape_new((lathe_tree_shape) k, (int32_t) a->size, (uint64_t) a->seed, tree,
                                        err);
    if (strchr(a->shape, '.') == NULL && strchr(a->shape, '/') == NULL && strcmp(a->shape, "-") != 0) {
        const char *near = lathe_nearest_name(a->shape, names);
        return lathe_fail(err, LATHE_ERR_ARG,
                          "--shape %s: no such shape%s%s; a Newick file has a dot in its name", a->shape,
                          near ? ", perhaps " : "", near ? near : "");
    }
    char *text = NULL;
    size_t n_bytes = 0;
    lathe_status st = lathe_file_read(a->shape, (size_t) 1 << 30, &text, &n_bytes, err);
    if (st)
        return st;
    st = lathe_tree_parse_newick(text, n_bytes, tree, err);
    free(text);
    return st ? lathe_fail_within(err, "%s", a->shape) : LATHE_OK;
}

static lathe_status set_lengths(const gen_args *a, lathe_tree *tree, lathe_error *err) {
    const char *text = a->edge;
    bool given = tree->n_edges > 0;
    for (int32_t e = 0; e < tree->n_edges; e++)
        given = given && isfinite(tree->edges[e].length);
    if (text == NULL && given) /* of the Newick file */
        return LATHE_OK;
    text = text != NULL ? text : "0.4";
    char low[32];
    const size_t n = strcspn(text, ",");
    double from, to;
    if (n < sizeof low) {
        memcpy(low, text, n);
        low[n] = 0;
    }
    if (n >= sizeof low || !lathe_parse_real(low, &from) ||
        !(text[n] ? lathe_parse_real(text + n + 1, &to) : (to = from, true)))
        return lathe_fail(err, LATHE_ERR_ARG, "--edge %s: a number, or two with a comma between", text);
    return lathe_tree_draw_lengths(tree, from, to, (uint64_t) a->seed, err);
}

static lathe_status from_tree(const gen_args *a, lathe_table *table, lathe_error *err) {
    lathe_tree tree = {0};
    lathe_status st = make_tree(a, &tree, err);
    const bool ising = !isnan(a->rho);
    if (!st && ising && (a->dim > 1 || a->corrupt || a->edge != NULL))
        st = lathe_fail(err, LATHE_ERR_ARG,
                        "--rho makes two-state nodes: --dim, --edge and --corrupt are for Gaussian ones");
    if (!st && a->corrupt && a->k == 0)
        st = lathe_fail(err, LATHE_ERR_ARG, "--corrupt %s: --k says how many rows", corruptions[a->corrupt]);
    if (!st && ising) {
        st = lathe_tree_draw_ising(&tree, a->rho, a->n, (uint64_t) a->seed, 0, table, err);
    } else if (!st) {
        st = set_lengths(a, &tree, err);
        st = st ? st
                : lathe_tree_draw_gaussian(&tree, (int32_t) a->dim, a->n, (uint64_t) a->seed, 0, table, err);
        if (!st) {
            st = lathe_table_corrupt(table, (int32_t) a->dim, (lathe_corruption) a->corrupt, a->k,
                                     a->amplitude, (uint64_t) a->seed, 0, err);
            if (st)
                lathe_table_free(table);
        }
    }
    if (!st && a->truth != NULL) {
        char *text = NULL;
        size_t n_bytes = 0;
        st = lathe_tree_text(&tree, LATHE_TREE_NEWICK, -1, &text, &n_bytes, err);
        st = st ? st : lathe_file_write(a->truth, text, n_bytes, err);
        free(text);
        if (st)
            lathe_table_free(table);
    }
    lathe_tree_free(&tree);
    return st;
}

static lathe_status run(const void *args, lathe_cli *cli, lathe_error *err) {
    const gen_args *a = args;
    if ((a->bif == NULL) == (a->shape == NULL) || cli->n_positional > 0)
        return lathe_fail(err, LATHE_ERR_ARG, "give either --bif FILE or --shape NAME");
    lathe_table table = {0};
    lathe_status st = a->bif != NULL ? from_network(a, &table, err) : from_tree(a, &table, err);
    if (st)
        return st;
    char *text = NULL;
    size_t n_bytes = 0;
    st = lathe_table_text(&table, &text, &n_bytes, err);
    if (!st && a->output != NULL)
        st = lathe_file_write(a->output, text, n_bytes, err);
    else if (!st && cli->json)
        json_object_set_new(cli->result, "csv", lathe_json_string(text));
    else if (!st)
        fwrite(text, 1, n_bytes, cli->out);
    if (!st && cli->json) {
        json_object_set_new(cli->result, "rows", json_integer(table.n_rows));
        json_object_set_new(cli->result, "columns", json_integer(table.n_columns));
        json_object_set_new(cli->result, "seed", json_integer(a->seed));
    }
    free(text);
    lathe_table_free(&table);
    return st;
}

extern const lathe_verb lathe_verb_tree_gen;
const lathe_verb lathe_verb_tree_gen = {
    .name = "tree gen",
    .summary = "draw a table from a Bayesian network or a tree of known shape",
    .usage = "lathe tree gen --bif NET.bif | --shape NAME [--size N] [-n ROWS] [-o OUT.csv]",
    .examples =
        "zcat asia.bif.gz | lathe tree gen --bif - -n 5000 -o asia.csv\n"
        "lathe tree gen --shape hmm --size 10 --dim 2 --corrupt constant --k 5 --truth true.nwk -o hmm.csv\n"
        "lathe tree gen --shape chain --size 20 --rho 0.8 -n 150 -o chain.csv",
    .schema = "lathe.tree-gen/1",
    .options = {tables, sizes, 1},
    .args_size = sizeof(gen_args),
    .defaults = defaults,
    .run = run,
};
