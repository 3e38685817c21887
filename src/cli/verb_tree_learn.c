/* verb_tree_learn.c - `lathe tree learn | dist`: trees from tables and distances. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/machine.h"
#include "cli/cli.h"
#include "lathe/tree.h"

typedef struct tree_args {
    bool unused;
    const char *dist, *fasta, *output, *root, *outgroup, *class_name, *ignore, *whitelist, *blacklist;
    int32_t negative, dna, algo, weight, prune, format, ties;
    int64_t folds, dim, bins, max_states, bootstrap, min_pairs, n_threads, seed, trunc, corrupt_per_node;
    double max_minutes, corrupted, eps, tau, p_value, beta, smoothing;
    bool mpi, midpoint, strict, robust, no_refine, bias, symmetrise, missing_drop, newick, newick_leaves, dot,
        graphml, edges, svg, ascii;
} tree_args;

static const char *const algos[] = {"auto", "chow-liu", "nj", "bionj", "snj", "rg", "clrg", "tan", NULL};
static const char *const weights[] = {"auto", "mi", "agree", "abscorr", "gauss", NULL};
static const char *const prunes[] = {"none", "bic", "gtest", "thr", NULL};
static const char *const dna_models[] = {"jc", "k2p", "logdet", "hamming", NULL};
static const char *const negatives[] = {"keep", "zero", "transfer", NULL};
static const char *const ties[] = {"random", "index", NULL};
enum { ALGO_AUTO, ALGO_CHOW_LIU, ALGO_NJ, ALGO_BIONJ, ALGO_SNJ, ALGO_RG, ALGO_CLRG, ALGO_TAN };

#define AT(field) offsetof(tree_args, field)
// clang-format off
static const lathe_option learn_options[] = {
    { .name = "algo", .group = "method", .arg = "NAME", .kind = LATHE_OPTION_CHOICE, .choices = algos, .offset = AT(algo), .default_text = "chow-liu; nj with --dist", .help = "chow-liu; a classifier's tree: tan; latent trees: nj, bionj, snj, rg, clrg" },
    { .name = "class", .group = "method", .arg = "COLUMN", .kind = LATHE_OPTION_TEXT, .offset = AT(class_name), .help = "tan: the column to predict" },
    { .name = "folds", .group = "method", .arg = "K", .kind = LATHE_OPTION_INT, .offset = AT(folds), .min = 0, .max = 1000, .default_text = "10", .help = "tan: parts of the cross-validation; 0: none" },
    { .name = "dist", .group = "input", .arg = "FILE", .kind = LATHE_OPTION_FILE, .offset = AT(dist), .help = "distances instead of samples: PHYLIP or CSV" },
    { .name = "fasta", .group = "input", .arg = "FILE", .kind = LATHE_OPTION_FILE, .offset = AT(fasta), .help = "aligned nucleotide sequences instead of samples" },
    { .name = "model", .group = "input", .arg = "NAME", .kind = LATHE_OPTION_CHOICE, .choices = dna_models, .offset = AT(dna), .default_text = "jc", .help = "--fasta: Jukes-Cantor, Kimura's two parameters, paralinear, or the share of differing sites: jc, k2p, logdet, hamming" },
    { .name = "strict", .group = "input", .kind = LATHE_OPTION_FLAG, .offset = AT(strict), .help = "--fasta: pairs too different for the model are an error, not 5" },
    { .name = "symmetrise", .group = "input", .kind = LATHE_OPTION_FLAG, .offset = AT(symmetrise), .help = "mean of both directions where distances differ" },
    { .name = "dim", .group = "input", .arg = "L", .kind = LATHE_OPTION_INT, .offset = AT(dim), .min = 1, .max = 16, .default_text = "1", .help = "columns a variable (vectors)" },
    { .name = "ignore", .group = "input", .arg = "A,B,...", .kind = LATHE_OPTION_LIST, .offset = AT(ignore), .help = "columns to leave out (a date, an identifier)" },
    { .name = "bins", .group = "input", .arg = "K", .kind = LATHE_OPTION_INT, .offset = AT(bins), .min = 2, .max = 64, .default_text = "none", .help = "real columns become K equally full bins" },
    { .name = "max-states", .group = "input", .arg = "K", .kind = LATHE_OPTION_INT, .offset = AT(max_states), .min = 2, .max = 2048, .default_text = "64", .help = "most states of a discrete column" },
    { .name = "weight", .group = "method", .arg = "KIND", .kind = LATHE_OPTION_CHOICE, .choices = weights, .offset = AT(weight), .default_text = "auto", .help = "chow-liu: information by kind, mi, agree, abscorr or gauss" },
    { .name = "prune", .group = "method", .arg = "RULE", .kind = LATHE_OPTION_CHOICE, .choices = prunes, .offset = AT(prune), .default_text = "none", .help = "chow-liu: keep a forest: bic, gtest, thr" },
    { .name = "pvalue", .group = "method", .arg = "P", .kind = LATHE_OPTION_REAL, .offset = AT(p_value), .min = 0, .max = 1, .default_text = "0.05 / pairs", .help = "level of --prune gtest" },
    { .name = "beta", .group = "method", .arg = "B", .kind = LATHE_OPTION_REAL, .offset = AT(beta), .min = 0.01, .max = 0.99, .default_text = "0.5", .help = "--prune thr keeps information of at least n^-B" },
    { .name = "smoothing", .group = "method", .arg = "S", .kind = LATHE_OPTION_REAL, .offset = AT(smoothing), .min = 0, .max = 1e6, .default_text = "0", .help = "added to every cell of a pair's table" },
    { .name = "bias", .group = "method", .kind = LATHE_OPTION_FLAG, .offset = AT(bias), .help = "subtract the expected bias of the information (Miller-Madow)" },
    { .name = "min-pairs", .group = "method", .arg = "N", .kind = LATHE_OPTION_INT, .offset = AT(min_pairs), .min = 1, .max = 1e9, .default_text = "30", .help = "missing cells: pairs seen in fewer rows are not used" },
    { .name = "drop-missing", .group = "input", .kind = LATHE_OPTION_FLAG, .offset = AT(missing_drop), .help = "chow-liu: leave rows with missing cells out, instead of using the pairs that they have" },
    { .name = "ties", .group = "method", .arg = "RULE", .kind = LATHE_OPTION_CHOICE, .choices = ties, .offset = AT(ties), .default_text = "random", .help = "equal weights: random (by the seed) or index" },
    { .name = "whitelist", .group = "method", .arg = "FILE", .kind = LATHE_OPTION_FILE, .offset = AT(whitelist), .help = "chow-liu: edges that the tree must have, two names a line" },
    { .name = "blacklist", .group = "method", .arg = "FILE", .kind = LATHE_OPTION_FILE, .offset = AT(blacklist), .help = "chow-liu: edges that it may not have" },
    { .name = "bootstrap", .group = "method", .arg = "R", .kind = LATHE_OPTION_INT, .offset = AT(bootstrap), .min = 0, .max = 100000, .default_text = "0", .help = "resamples for the edges' support" },
    { .name = "robust", .group = "robust", .kind = LATHE_OPTION_FLAG, .offset = AT(robust), .help = "latent trees: truncated products, centred by the median" },
    { .name = "corrupted", .group = "robust", .arg = "SHARE", .kind = LATHE_OPTION_REAL, .percent = true, .offset = AT(corrupted), .min = 0, .max = 0.12, .help = "share of bad rows a variable" },
    { .name = "corrupt-per-node", .group = "robust", .arg = "K", .kind = LATHE_OPTION_INT, .offset = AT(corrupt_per_node), .min = 0, .max = 1e9, .help = "bad rows a variable" },
    { .name = "trunc", .group = "robust", .arg = "N", .kind = LATHE_OPTION_INT, .offset = AT(trunc), .min = 0, .max = 1e9, .default_text = "about sqrt(rows)", .help = "products dropped per covariance" },
    { .name = "eps", .group = "method", .arg = "E", .kind = LATHE_OPTION_REAL, .offset = AT(eps), .min = 0, .max = 1e6, .default_text = "from the data", .help = "rg, clrg: grouping threshold, about the shortest edge" },
    { .name = "tau", .group = "method", .arg = "T", .kind = LATHE_OPTION_REAL, .offset = AT(tau), .min = 0, .max = 1e9, .default_text = "from the data", .help = "rg, clrg: distances beyond are not looked at" },
    { .name = "no-refine", .group = "method", .kind = LATHE_OPTION_FLAG, .offset = AT(no_refine), .help = "clrg: no sweep over nodes of high degree" },
    { .name = "negative", .group = "method", .arg = "RULE", .kind = LATHE_OPTION_CHOICE, .choices = negatives, .offset = AT(negative), .default_text = "keep", .help = "nj, bionj: negative lengths stay, become 0, or become 0 at the sibling's cost: keep, zero, transfer" },
    { .name = "root", .group = "output", .arg = "NAME", .kind = LATHE_OPTION_TEXT, .offset = AT(root), .default_text = "the middle", .help = "root of drawings and Newick" },
    { .name = "midpoint", .group = "output", .kind = LATHE_OPTION_FLAG, .offset = AT(midpoint), .help = "root of drawings and Newick halfway along the longest path, on an edge" },
    { .name = "outgroup", .group = "output", .arg = "NAME", .kind = LATHE_OPTION_TEXT, .offset = AT(outgroup), .help = "root of drawings and Newick on the edge of this leaf" },
    { .name = "output", .short_name = "o", .group = "output", .arg = "FILE", .kind = LATHE_OPTION_FILE, .offset = AT(output), .help = "by extension: .nwk .dot .graphml .csv .svg .html; .json: the model for infer, score, sample, impute" },
    { .name = "newick", .group = "output", .kind = LATHE_OPTION_FLAG, .offset = AT(newick), .help = "print Newick" },
    { .name = "newick-leaves", .group = "output", .kind = LATHE_OPTION_FLAG, .offset = AT(newick_leaves), .help = "Newick: observed inner nodes as leaves of length 0" },
    { .name = "dot", .group = "output", .kind = LATHE_OPTION_FLAG, .offset = AT(dot), .help = "print DOT" },
    { .name = "graphml", .group = "output", .kind = LATHE_OPTION_FLAG, .offset = AT(graphml), .help = "print GraphML" },
    { .name = "edges", .group = "output", .kind = LATHE_OPTION_FLAG, .offset = AT(edges), .help = "print edges as CSV" },
    { .name = "svg", .group = "output", .kind = LATHE_OPTION_FLAG, .offset = AT(svg), .help = "print SVG" },
    { .name = "ascii", .group = "output", .kind = LATHE_OPTION_FLAG, .offset = AT(ascii), .help = "print a drawing in text (default)" },
    { .name = "threads", .short_name = "t", .group = "method", .arg = "N", .kind = LATHE_OPTION_INT, .offset = AT(n_threads), .min = 0, .max = 1024, .env = "LATHE_THREADS", .default_text = "all cores", .help = "threads; the tree does not depend on them" },
    { .name = "max-minutes", .group = "method", .arg = "M", .kind = LATHE_OPTION_REAL, .offset = AT(max_minutes), .min = 0, .max = 1e9, .default_text = "20", .help = "chow-liu: estimated time beyond which nothing is begun; 0: none" },
    { .name = "seed", .group = "method", .arg = "S", .kind = LATHE_OPTION_INT, .offset = AT(seed), .min = 0, .max = 9e15, .default_text = "1", .help = "of ties and resamples" },
    { .name = "mpi", .group = "method", .kind = LATHE_OPTION_FLAG, .offset = AT(mpi), .help = "chow-liu: share the columns with the other ranks of mpirun" },
};
// clang-format on
static const lathe_option *const learn_tables[] = {learn_options};
static const size_t learn_sizes[] = {LATHE_LEN(learn_options)};

static void defaults(void *args) {
    tree_args *a = args;
    a->trunc = -1;
    a->seed = 1;
    a->dim = 1;
    a->folds = 10;
    a->max_minutes = 20;
}

/* --- Output -------------------------------------------------------------------------------------------- */

static int32_t find_name(const lathe_tree *tree, const char *name) {
    for (int32_t i = 0; i < tree->n_nodes; i++)
        if (strcmp(tree->names[i], name) == 0)
            return i;
    return -1;
}

static lathe_status format_of(const char *path, lathe_tree_format *format, lathe_error *err) {
    static const struct {
        const char *ending;
        lathe_tree_format format;
    } endings[] = {
        {".nwk", LATHE_TREE_NEWICK}, {".newick", LATHE_TREE_NEWICK},   {".tree", LATHE_TREE_NEWICK},
        {".dot", LATHE_TREE_DOT},    {".graphml", LATHE_TREE_GRAPHML}, {".csv", LATHE_TREE_EDGES},
        {".svg", LATHE_TREE_SVG},    {".html", LATHE_TREE_HTML},       {".txt", LATHE_TREE_ASCII}};
    const size_t n = strlen(path);
    for (size_t i = 0; i < LATHE_LEN(endings); i++) {
        const size_t m = strlen(endings[i].ending);
        if (n > m && strcmp(path + n - m, endings[i].ending) == 0) {
            *format = endings[i].format;
            return LATHE_OK;
        }
    }
    return lathe_fail(err, LATHE_ERR_ARG,
                      "-o %s: the ending is none of .nwk .dot .graphml .csv .svg .html .txt .json", path);
}

static lathe_status tree_json(const lathe_tree *tree, int32_t root, json_t *out, lathe_error *err) {
    json_t *edges = json_array(), *hidden = json_array(), *nodes = json_array();
    for (int32_t e = 0; e < tree->n_edges; e++) {
        const lathe_tree_edge *x = &tree->edges[e];
        json_array_append_new(
            edges,
            json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "u", lathe_json_string(tree->names[x->u]), "v",
                      lathe_json_string(tree->names[x->v]), "weight", lathe_json_real(x->weight), "length",
                      lathe_json_real(x->length), "support", lathe_json_real(x->support), "margin",
                      lathe_json_real(x->margin), "confidence", lathe_json_real(x->confidence)));
    }
    for (int32_t i = 0; i < tree->n_nodes; i++) {
        json_array_append_new(nodes, lathe_json_string(tree->names[i]));
        if (i >= tree->n_observed)
            json_array_append_new(hidden, lathe_json_string(tree->names[i]));
    }
    json_object_set_new(out, "nodes", nodes);
    json_object_set_new(out, "edges", edges);
    json_object_set_new(out, "hidden", hidden);
    char *text = NULL;
    lathe_status st = lathe_tree_text(tree, LATHE_TREE_NEWICK, root, &text, NULL, err);
    if (st)
        return st;
    text[strcspn(text, "\n")] = 0;
    json_object_set_new(out, "newick", lathe_json_string(text));
    free(text);
    return LATHE_OK;
}

static bool wants_model(const tree_args *a) {
    const size_t n = a->output != NULL ? strlen(a->output) : 0;
    return n > 5 && strcmp(a->output + n - 5, ".json") == 0;
}

/* lathe_tree_text; of Newick the form that --newick-leaves asks for. */
static lathe_status tree_text(const tree_args *a, const lathe_tree *tree, lathe_tree_format format,
                              int32_t root, char **text, size_t *n_bytes, lathe_error *err) {
    if (format != LATHE_TREE_NEWICK || !a->newick_leaves)
        return lathe_tree_text(tree, format, root, text, n_bytes, err);
    lathe_tree leaves;
    lathe_status st = lathe_tree_names_at_leaves(tree, &leaves, err);
    st = st ? st : lathe_tree_text(&leaves, format, root, text, n_bytes, err);
    lathe_tree_free(&leaves);
    return st;
}

static lathe_status show_rooted(const tree_args *a, lathe_cli *cli, const lathe_tree *tree, int32_t root,
                                lathe_error *err) {
    char *text = NULL;
    size_t n_bytes = 0;
    lathe_status st = LATHE_OK;
    if (a->output != NULL && !wants_model(a)) {
        lathe_tree_format format = LATHE_TREE_NEWICK;
        st = format_of(a->output, &format, err);
        if (!st)
            st = tree_text(a, tree, format, root, &text, &n_bytes, err);
        if (!st)
            st = lathe_file_write(a->output, text, n_bytes, err);
        free(text);
        if (st)
            return st;
    }
    if (cli->json)
        return tree_json(tree, root, cli->result, err);
    const bool wanted[] = {
        a->newick, a->dot, a->graphml, a->edges, a->svg, false, a->ascii || a->output == NULL};
    const bool one = a->newick || a->dot || a->graphml || a->edges || a->svg;
    for (size_t f = 0; f < LATHE_LEN(wanted) && !st; f++) {
        if (!wanted[f] || (f == LATHE_TREE_ASCII && one && !a->ascii))
            continue;
        st = tree_text(a, tree, (lathe_tree_format) f, root, &text, &n_bytes, err);
        if (!st) {
            fwrite(text, 1, n_bytes, cli->out);
            free(text);
        }
    }
    return st;
}

static lathe_status show_tree(const tree_args *a, lathe_cli *cli, const lathe_tree *tree, lathe_error *err) {
    const char *name = a->root != NULL ? a->root : a->outgroup;
    const int32_t at = name != NULL ? find_name(tree, name) : -1;
    if ((a->root != NULL) + (a->outgroup != NULL) + a->midpoint > 1)
        return lathe_fail(err, LATHE_ERR_ARG, "one of --root, --outgroup and --midpoint, please");
    if (name != NULL && at < 0)
        return lathe_fail(err, LATHE_ERR_ARG, "--%s %s: no node has this name",
                          a->root != NULL ? "root" : "outgroup", name);
    if (a->outgroup == NULL && !a->midpoint)
        return show_rooted(a, cli, tree, at, err);
    lathe_tree rooted;
    lathe_status st = lathe_tree_root_on_edge(tree, at, &rooted, err);
    st = st ? st : show_rooted(a, cli, &rooted, tree->n_nodes, err);
    lathe_tree_free(&rooted);
    return st;
}

static lathe_status write_model(const tree_args *a, const lathe_table *table, const lathe_tree *tree,
                                bool latent, bool robust, lathe_error *err) {
    lathe_tree_model model;
    char *text = NULL;
    size_t n_bytes = 0;
    if (latent && (table->columns == NULL || a->dim > 1))
        return lathe_fail(err, LATHE_ERR_ARG,
                          "-o %s: a model with hidden nodes wants samples, one column a node", a->output);
    if (a->bins > 1)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "-o %s: a model cannot tell the bins' limits; leave --bins away", a->output);
    lathe_status st = latent ? lathe_latent_model_fit(table, tree, robust, &model, err)
                             : lathe_tree_model_fit(table, tree, a->smoothing, &model, err);
    if (st)
        return st;
    st = lathe_tree_model_text(&model, &text, &n_bytes, err);
    st = st ? st : lathe_file_write(a->output, text, n_bytes, err);
    free(text);
    lathe_tree_model_free(&model);
    return st;
}

/* --- learn -------------------------------------------------------------------------------------------------
 */

static int threads(const tree_args *a) {
    return a->n_threads > 0 ? (int) a->n_threads : lathe_n_cores();
}

/* Distances; with samples the table and how they came about too (else table->columns is NULL). */
static lathe_status get_distances(const tree_args *a, lathe_cli *cli, lathe_distances *dist,
                                  lathe_table *kept, lathe_distance_params *how_far, lathe_error *err) {
    memset(kept, 0, sizeof *kept);
    if (a->dist != NULL)
        return lathe_distances_read(a->dist, a->symmetrise, dist, err);
    if (a->fasta != NULL) {
        lathe_status st =
            lathe_distances_fasta_read(a->fasta, (lathe_dna_model) a->dna, a->strict, dist, err);
        if (!st && dist->n_saturated > 0)
            lathe_log(&cli->logger, LATHE_LOG_WARN,
                      "%d pairs are too different for --model %s: 5 stands for their distance",
                      (int) dist->n_saturated, dna_models[a->dna]);
        return st;
    }
    lathe_table table;
    const lathe_table_params how = {
        .max_states = (int32_t) a->max_states, .bins = (int32_t) a->bins, .ignore = a->ignore};
    lathe_status st = lathe_table_read(cli->positional[0], &how, &table, err);
    if (st)
        return st;
    const bool robust = a->robust || a->corrupted > 0 || a->corrupt_per_node > 0 || a->trunc > 0;
    lathe_distance_params params = {.dim = (int32_t) a->dim, .robust = robust};
    const double k =
        a->corrupt_per_node > 0 ? (double) a->corrupt_per_node : ceil(a->corrupted * (double) table.n_rows);
    params.truncate = a->trunc >= 0 ? a->trunc : k > 0 ? (int64_t) (2 * k) : robust ? -1 : 0;
    if (params.truncate > table.n_rows / 10)
        lathe_log(&cli->logger, LATHE_LOG_WARN,
                  "%lld of %lld products are dropped: distances become too long", (long long) params.truncate,
                  (long long) table.n_rows);
    st = lathe_distances_from_table(&table, &params, dist, err);
    if (st)
        lathe_table_free(&table);
    else
        *kept = table;
    *how_far = params;
    if (!st && dist->n > 2 && 2.0 * dist->n_saturated > 0.5 * dist->n * (dist->n - 1.0))
        lathe_log(&cli->logger, LATHE_LOG_WARN,
                  "%d pairs are too far apart for the data to see: use clrg or snj", (int) dist->n_saturated);
    if (!st && cli->json)
        json_object_set_new(cli->result, "truncated", json_integer(params.truncate));
    return st;
}

static lathe_status learn_latent(const tree_args *a, lathe_cli *cli, int32_t algo, lathe_tree *tree,
                                 lathe_error *err) {
    lathe_distances dist = {0};
    lathe_latent_info info = {0};
    lathe_table table;
    lathe_distance_params how_far;
    double log_likelihood = NAN, bic = NAN;
    lathe_status st = get_distances(a, cli, &dist, &table, &how_far, err);
    if (st)
        return st;
    if (a->bootstrap > 0 && table.columns == NULL) {
        lathe_distances_free(&dist);
        return lathe_fail(err, LATHE_ERR_ARG, "--bootstrap: resamples want samples, not distances");
    }
    const lathe_latent_params params = {.method = (lathe_latent_method) (algo - ALGO_NJ),
                                        .eps = a->eps,
                                        .tau = a->tau,
                                        .negative = (lathe_negative) a->negative,
                                        .no_refine = a->no_refine,
                                        .progress = &cli->progress};
    st = lathe_latent_tree(&dist, &params, tree, &info, err);
    if (!st && a->bootstrap > 0)
        st = lathe_latent_bootstrap(&table, &how_far, &params, (int32_t) a->bootstrap, (uint64_t) a->seed,
                                    threads(a), tree, err);
    lathe_error unused = {0}; /* no likelihood is no failure: vectors, states, edges of length 0 */
    if (!st && table.columns != NULL && a->dim == 1 && how_far.truncate == 0 && !table.columns[0].discrete &&
        lathe_latent_likelihood(&table, tree, &log_likelihood, &bic, &unused))
        log_likelihood = bic = NAN;
    if (!st && wants_model(a))
        st = write_model(a, &table, tree, true, how_far.robust, err);
    lathe_table_free(&table);
    if (!st && info.n_forced > 0)
        lathe_log(&cli->logger, LATHE_LOG_WARN, "%d merges were forced: no pair lay within eps %.3g",
                  (int) info.n_forced, info.eps);
    if (!st && cli->json) {
        json_object_set_new(cli->result, "algo", json_string(algos[algo]));
        json_object_set_new(cli->result, "p", json_integer(dist.n));
        json_object_set_new(cli->result, "eps", lathe_json_real(info.eps));
        json_object_set_new(cli->result, "tau", lathe_json_real(info.tau));
        json_object_set_new(cli->result, "forced", json_integer(info.n_forced));
        json_object_set_new(cli->result, "saturated", json_integer(dist.n_saturated));
        json_object_set_new(cli->result, "log_likelihood", lathe_json_real(log_likelihood));
        json_object_set_new(cli->result, "bic", lathe_json_real(bic));
        json_object_set_new(cli->result, "seconds", lathe_json_real(info.seconds));
    }
    lathe_distances_free(&dist);
    return st;
}

static void chow_liu_json(lathe_cli *cli, int32_t p, int64_t n, const lathe_chow_liu_info *info) {
    json_object_set_new(cli->result, "algo", json_string("chow-liu"));
    json_object_set_new(cli->result, "p", json_integer(p));
    json_object_set_new(cli->result, "n", json_integer(n));
    json_object_set_new(cli->result, "log_likelihood", lathe_json_real(info->log_likelihood));
    json_object_set_new(cli->result, "bic", lathe_json_real(info->bic));
    json_object_set_new(cli->result, "components", json_integer(info->n_components));
    json_object_set_new(cli->result, "kernel", json_string(info->kernel));
    json_object_set_new(cli->result, "seconds", lathe_json_real(info->seconds));
}

static lathe_table_params table_params(const tree_args *a) {
    return (lathe_table_params){.max_states = (int32_t) a->max_states,
                                .bins = (int32_t) a->bins,
                                .ignore = a->ignore,
                                .kind = a->weight == LATHE_WEIGHT_GAUSS                 ? 2
                                        : a->weight == LATHE_WEIGHT_AUTO || a->bins > 1 ? 0
                                                                                        : 1};
}

/* Warns where cells seem to be missing for a reason: estimates from the pairs at hand are then off. */
static lathe_status look_at_gaps(lathe_cli *cli, const lathe_table *table, lathe_error *err) {
    const double most_cells = 4e9; /* some seconds */
    int32_t n_gappy = 0;
    for (int32_t i = 0; i < table->n_columns; i++)
        n_gappy += table->columns[i].n_missing > 0;
    if (n_gappy == 0)
        return LATHE_OK;
    if ((double) n_gappy * table->n_columns * (double) table->n_rows > most_cells) {
        lathe_log(&cli->logger, LATHE_LOG_WARN,
                  "too many cells to test whether values are missing for a reason");
        return LATHE_OK;
    }
    lathe_missing_dependence found;
    lathe_status st = lathe_table_missing_dependence(table, &found, err);
    if (st || found.masked < 0)
        return st;
    const char *masked = table->columns[found.masked].name, *other = table->columns[found.other].name;
    if (found.p_value < 0.01)
        lathe_log(
            &cli->logger, LATHE_LOG_WARN,
            "values seem to be missing for a reason: gaps of '%.60s' go with '%.60s' (phi %.2g, p %.2g)",
            masked, other, found.phi, found.p_value);
    if (cli->json)
        json_object_set_new(cli->result, "missing_dependence",
                            json_pack("{s:o, s:o, s:o, s:o}", "missing", lathe_json_string(masked), "with",
                                      lathe_json_string(other), "phi", lathe_json_real(found.phi), "p_value",
                                      lathe_json_real(found.p_value)));
    return LATHE_OK;
}

static lathe_status learn_chow_liu(const tree_args *a, lathe_cli *cli, lathe_tree *tree, lathe_error *err) {
    lathe_table table;
    const lathe_table_params how = table_params(a);
    lathe_status st = lathe_table_read(cli->positional[0], &how, &table, err);
    if (st)
        return st;
    int64_t n_dropped = 0;
    st = look_at_gaps(cli, &table, err);
    if (!st && a->missing_drop)
        st = lathe_table_drop_incomplete(&table, &n_dropped, err);
    if (!st && n_dropped > 0)
        lathe_log(&cli->logger, LATHE_LOG_INFO, "%lld rows with missing cells are left out; %lld stay",
                  (long long) n_dropped, (long long) table.n_rows);
    lathe_chow_liu_info info = {0};
    int32_t *whitelist = NULL, *blacklist = NULL, n_whitelist = 0, n_blacklist = 0;
    if (!st && a->whitelist != NULL)
        st = lathe_column_pairs_read(a->whitelist, &table, &whitelist, &n_whitelist, err);
    if (!st && a->blacklist != NULL)
        st = lathe_column_pairs_read(a->blacklist, &table, &blacklist, &n_blacklist, err);
    const lathe_chow_liu_params params = {.weight = (lathe_weight) a->weight,
                                          .whitelist = whitelist,
                                          .blacklist = blacklist,
                                          .n_whitelist = n_whitelist,
                                          .n_blacklist = n_blacklist,
                                          .prune = (lathe_prune) a->prune,
                                          .p_value = a->p_value,
                                          .beta = a->beta,
                                          .smoothing = a->smoothing,
                                          .bias = a->bias,
                                          .ties_by_index = a->ties == 1,
                                          .n_bootstrap = (int32_t) a->bootstrap,
                                          .min_pairs = a->min_pairs,
                                          .max_seconds = 60 * a->max_minutes,
                                          .seed = (uint64_t) a->seed,
                                          .n_threads = threads(a),
                                          .progress = &cli->progress};
    st = st ? st : lathe_chow_liu(&table, &params, tree, &info, err);
    free(whitelist);
    free(blacklist);
    if (!st && a->blacklist != NULL && info.n_components > 1)
        lathe_log(&cli->logger, LATHE_LOG_WARN, "a forest of %d trees", (int) info.n_components);
    if (!st && info.n_constant > 0)
        lathe_log(&cli->logger, LATHE_LOG_WARN, "%d columns are constant: their edges carry no information",
                  (int) info.n_constant);
    if (!st && tree->n_edges > 0 && info.min_n < 30)
        lathe_log(&cli->logger, LATHE_LOG_WARN, "an edge rests on %lld rows", (long long) info.min_n);
    if (!st && wants_model(a))
        st = write_model(a, &table, tree, false, false, err);
    if (!st && cli->json) {
        chow_liu_json(cli, table.n_columns, table.n_rows, &info);
    }
    lathe_table_free(&table);
    return st;
}

static lathe_status learn_tan(const tree_args *a, lathe_cli *cli, lathe_tree *tree, lathe_error *err) {
    if (a->class_name == NULL)
        return lathe_fail(err, LATHE_ERR_ARG, "--algo tan: --class COLUMN says what is to be predicted");
    lathe_table table;
    const lathe_table_params how = {
        .max_states = (int32_t) a->max_states, .bins = (int32_t) a->bins, .ignore = a->ignore};
    lathe_status st = lathe_table_read(cli->positional[0], &how, &table, err);
    if (st)
        return st;
    lathe_tan_params params = {.class_column = -1,
                               .n_folds = (int32_t) a->folds,
                               .alpha = a->smoothing,
                               .seed = (uint64_t) a->seed,
                               .n_threads = threads(a),
                               .progress = &cli->progress};
    if (params.n_folds > table.n_rows)
        params.n_folds = (int32_t) table.n_rows;
    for (int32_t i = 0; i < table.n_columns; i++)
        if (strcmp(table.columns[i].name, a->class_name) == 0)
            params.class_column = i;
    lathe_tan_info info = {0};
    st = params.class_column < 0
             ? lathe_fail(err, LATHE_ERR_ARG, "--class %s: no column has this name", a->class_name)
             : lathe_tan(&table, &params, tree, &info, err);
    if (!st && cli->json) {
        json_object_set_new(cli->result, "algo", json_string("tan"));
        json_object_set_new(cli->result, "class", lathe_json_string(a->class_name));
        json_object_set_new(cli->result, "p", json_integer(tree->n_observed));
        json_object_set_new(cli->result, "n", json_integer(info.n_rows));
        json_object_set_new(cli->result, "log_likelihood", lathe_json_real(info.log_likelihood));
        json_object_set_new(cli->result, "bic", lathe_json_real(info.bic));
        json_object_set_new(cli->result, "accuracy", lathe_json_real(info.accuracy));
        json_object_set_new(cli->result, "cv_accuracy", lathe_json_real(info.cv_accuracy));
        json_object_set_new(cli->result, "majority", lathe_json_real(info.majority));
        json_object_set_new(cli->result, "seconds", lathe_json_real(info.seconds));
    } else if (!st) {
        lathe_log(
            &cli->logger, LATHE_LOG_INFO,
            "'%s' is a parent of every feature below; right on %.1f%% of rows left out (guessing: %.1f%%)",
            a->class_name, 100 * (isnan(info.cv_accuracy) ? info.accuracy : info.cv_accuracy),
            100 * info.majority);
    }
    lathe_table_free(&table);
    return st;
}

static lathe_status learn_with_ranks(const tree_args *a, lathe_cli *cli, int32_t algo, lathe_error *err) {
    if (algo != ALGO_CHOW_LIU || wants_model(a) || a->whitelist != NULL || a->blacklist != NULL ||
        a->missing_drop)
        return lathe_fail(
            err, LATHE_ERR_ARG,
            "--mpi: for --algo chow-liu, without a model, --whitelist, --blacklist and --drop-missing");
    const lathe_chow_liu_params params = {.weight = (lathe_weight) a->weight,
                                          .prune = (lathe_prune) a->prune,
                                          .p_value = a->p_value,
                                          .beta = a->beta,
                                          .smoothing = a->smoothing,
                                          .bias = a->bias,
                                          .ties_by_index = a->ties == 1,
                                          .n_bootstrap = (int32_t) a->bootstrap,
                                          .min_pairs = a->min_pairs,
                                          .max_seconds = 60 * a->max_minutes,
                                          .seed = (uint64_t) a->seed,
                                          .n_threads = a->n_threads > 0 ? (int) a->n_threads : 1};
    const lathe_table_params how = table_params(a);
    lathe_tree tree;
    lathe_chow_liu_info info;
    bool root = true;
    lathe_status st = lathe_chow_liu_ranks(cli->positional[0], &how, &params, &root, &tree, &info, err);
    if (!st && root && cli->json)
        chow_liu_json(cli, tree.n_nodes, info.min_n, &info);
    if (!st && root)
        st = show_tree(a, cli, &tree, err);
    cli->json_printed = cli->json_printed || !root; /* rank 0 speaks for all */
    lathe_tree_free(&tree);
    lathe_ranks_end();
    return st;
}

static lathe_status run_learn(const void *args, lathe_cli *cli, lathe_error *err) {
    const tree_args *a = args;
    const bool far = a->dist != NULL || a->fasta != NULL;
    if ((a->dist != NULL) + (a->fasta != NULL) + (cli->n_positional == 1) != 1 || cli->n_positional > 1)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "give one of a table (CSV, TSV, NPY, '-'), --dist FILE and --fasta FILE");
    const int32_t algo = a->algo != ALGO_AUTO ? a->algo : far ? ALGO_NJ : ALGO_CHOW_LIU;
    if ((a->whitelist != NULL || a->blacklist != NULL || a->missing_drop) && algo != ALGO_CHOW_LIU)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "--whitelist, --blacklist and --drop-missing are for --algo chow-liu");
    if (far && (algo == ALGO_CHOW_LIU || algo == ALGO_TAN))
        return lathe_fail(err, LATHE_ERR_ARG, "--algo %s wants samples, not distances", algos[algo]);
    if (a->negative != LATHE_NEGATIVE_KEEP && algo != ALGO_NJ && algo != ALGO_BIONJ)
        return lathe_fail(err, LATHE_ERR_ARG, "--negative is for --algo nj and bionj");
    if (algo == ALGO_TAN && wants_model(a))
        return lathe_fail(err, LATHE_ERR_ARG, "-o %s: no models of --algo tan", a->output);
    if (a->mpi)
        return learn_with_ranks(a, cli, algo, err);
    lathe_tree tree = {0};
    lathe_status st = algo == ALGO_CHOW_LIU ? learn_chow_liu(a, cli, &tree, err)
                      : algo == ALGO_TAN    ? learn_tan(a, cli, &tree, err)
                                            : learn_latent(a, cli, algo, &tree, err);
    if (!st)
        st = show_tree(a, cli, &tree, err);
    lathe_tree_free(&tree);
    return st;
}

extern const lathe_verb lathe_verb_tree_learn;
const lathe_verb lathe_verb_tree_learn = {
    .name = "tree learn",
    .summary = "learn the tree behind a table's columns, or behind distances",
    .usage = "lathe tree learn TABLE.csv [--algo NAME] | --dist MATRIX | --fasta ALIGNED",
    .examples = "lathe tree learn survey.csv --bootstrap 100 -o tree.html\nlathe tree learn --dist taxa.phy "
                "--newick\n"
                "lathe tree learn --fasta aligned.fa --model k2p -o taxa.svg\n"
                "lathe tree learn sensors.csv --dim 3 --algo clrg --robust --corrupted 5%",
    .schema = "lathe.tree-learn/1",
    .options = {learn_tables, learn_sizes, 1},
    .args_size = sizeof(tree_args),
    .defaults = defaults,
    .run = run_learn,
};

/* --- dist
 * ----------------------------------------------------------------------------------------------------- */

static lathe_status run_dist(const void *args, lathe_cli *cli, lathe_error *err) {
    const tree_args *a = args;
    if ((a->dist != NULL) + (a->fasta != NULL) + (cli->n_positional == 1) != 1 || cli->n_positional > 1)
        return lathe_fail(err, LATHE_ERR_ARG, "give one of a table, --dist FILE and --fasta FILE");
    lathe_distances dist = {0};
    lathe_table table;
    lathe_distance_params how_far;
    lathe_status st = get_distances(a, cli, &dist, &table, &how_far, err);
    lathe_table_free(&table);
    char *text = NULL;
    size_t n_bytes = 0;
    if (!st && cli->json) {
        json_t *names = json_array(), *rows = json_array();
        for (int64_t i = 0; i < dist.n; i++) {
            json_t *row = json_array();
            for (int64_t j = 0; j < dist.n; j++)
                json_array_append_new(row, lathe_json_real(dist.d[i * dist.n + j]));
            json_array_append_new(names, lathe_json_string(dist.names[i]));
            json_array_append_new(rows, row);
        }
        json_object_set_new(cli->result, "names", names);
        json_object_set_new(cli->result, "distances", rows);
        json_object_set_new(cli->result, "saturated", json_integer(dist.n_saturated));
    } else if (!st) {
        st = lathe_distances_text(&dist, &text, &n_bytes, err);
        if (!st)
            st = lathe_file_write(a->output != NULL ? a->output : "-", text, n_bytes, err);
        free(text);
    }
    lathe_distances_free(&dist);
    return st;
}

extern const lathe_verb lathe_verb_tree_dist;
const lathe_verb lathe_verb_tree_dist = {
    .name = "tree dist",
    .summary = "print the distances between a table's columns",
    .usage = "lathe tree dist TABLE.csv [--dim L] [--robust] [-o OUT.phy]",
    .examples = "lathe tree dist sensors.csv --dim 3 -o sensors.phy",
    .schema = "lathe.tree-dist/1",
    .options = {learn_tables, learn_sizes, 1},
    .args_size = sizeof(tree_args),
    .defaults = defaults,
    .run = run_dist,
};
