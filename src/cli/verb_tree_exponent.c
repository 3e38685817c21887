/* verb_tree_exponent.c - `lathe tree exponent | bound`: what theory says of errors, and simulations beside
 * it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/machine.h"
#include "base/text.h"
#include "cli/cli.h"
#include "lathe/tree.h"

typedef struct exponent_args {
    bool unused;
    const char *n;
    double rho, gamma, c, delta;
    int64_t p, trials, seed, n_threads, dim;
    int32_t shape;
} exponent_args;

enum { MOST_BUDGETS = 32 };
static const char *const shapes[] = {"chain", "star", "binary", NULL};

#define AT(field) offsetof(exponent_args, field)
// clang-format off
static const lathe_option options[] = {
    { .name = "rho", .group = "model", .arg = "R", .kind = LATHE_OPTION_REAL, .offset = AT(rho), .min = 1e-6, .max = 0.999999, .default_text = "0.8", .help = "correlation of every edge" },
    { .name = "p", .group = "model", .arg = "P", .kind = LATHE_OPTION_INT, .offset = AT(p), .min = 3, .max = 100000, .default_text = "20", .help = "number of nodes" },
    { .name = "trials", .group = "simulation", .arg = "T", .kind = LATHE_OPTION_INT, .offset = AT(trials), .min = 0, .max = 1e8, .default_text = "0", .help = "simulate that many trees a budget, passive and two-phase" },
    { .name = "n", .short_name = "n", .group = "simulation", .arg = "A,B,...", .kind = LATHE_OPTION_LIST, .offset = AT(n), .default_text = "100,150", .help = "budgets in full vectors, rising" },
    { .name = "shape", .group = "simulation", .arg = "NAME", .kind = LATHE_OPTION_CHOICE, .choices = shapes, .offset = AT(shape), .default_text = "chain", .help = "chain, star or binary" },
    { .name = "gamma", .group = "simulation", .arg = "G", .kind = LATHE_OPTION_REAL, .offset = AT(gamma), .min = 0.05, .max = 0.5, .default_text = "0.2", .help = "share of readings kept for the second phase" },
    { .name = "c", .group = "simulation", .arg = "C", .kind = LATHE_OPTION_REAL, .offset = AT(c), .min = 0.05, .max = 0.95, .default_text = "0.3", .help = "how far apart is far enough" },
    { .name = "threads", .short_name = "t", .group = "simulation", .arg = "N", .kind = LATHE_OPTION_INT, .offset = AT(n_threads), .min = 0, .max = 1024, .env = "LATHE_THREADS", .default_text = "all cores", .help = "threads; results do not depend on them" },
    { .name = "seed", .group = "simulation", .arg = "S", .kind = LATHE_OPTION_INT, .offset = AT(seed), .min = 0, .max = 9e15, .default_text = "1", .help = "of the trials" },
};
static const lathe_option bench_options[] = {
    { .name = "rho", .group = "model", .arg = "R", .kind = LATHE_OPTION_REAL, .offset = AT(rho), .min = 1e-6, .max = 0.999999, .default_text = "0.8", .help = "correlation of every edge" },
    { .name = "p", .group = "model", .arg = "P", .kind = LATHE_OPTION_INT, .offset = AT(p), .min = 3, .max = 2000, .default_text = "20", .help = "number of nodes" },
    { .name = "trials", .group = "simulation", .arg = "T", .kind = LATHE_OPTION_INT, .offset = AT(trials), .min = 0, .max = 1e8, .default_text = "40000", .help = "trees a budget, passive and two-phase" },
    { .name = "n", .short_name = "n", .group = "simulation", .arg = "A,B,...", .kind = LATHE_OPTION_LIST, .offset = AT(n), .default_text = "100,150,200", .help = "budgets in full vectors, rising" },
    { .name = "shape", .group = "simulation", .arg = "NAME", .kind = LATHE_OPTION_CHOICE, .choices = shapes, .offset = AT(shape), .default_text = "chain", .help = "chain, star or binary" },
    { .name = "gamma", .group = "simulation", .arg = "G", .kind = LATHE_OPTION_REAL, .offset = AT(gamma), .min = 0.05, .max = 0.5, .default_text = "0.2", .help = "share of readings kept for the second phase" },
    { .name = "c", .group = "simulation", .arg = "C", .kind = LATHE_OPTION_REAL, .offset = AT(c), .min = 0.05, .max = 0.95, .default_text = "0.3", .help = "how far apart is far enough" },
    { .name = "threads", .short_name = "t", .group = "simulation", .arg = "N", .kind = LATHE_OPTION_INT, .offset = AT(n_threads), .min = 0, .max = 1024, .env = "LATHE_THREADS", .default_text = "all cores", .help = "threads; results do not depend on them" },
    { .name = "seed", .group = "simulation", .arg = "S", .kind = LATHE_OPTION_INT, .offset = AT(seed), .min = 0, .max = 9e15, .default_text = "1", .help = "of the trials" },
};
static const lathe_option bound_options[] = {
    { .name = "dim", .group = "model", .arg = "L", .kind = LATHE_OPTION_INT, .offset = AT(dim), .min = 1, .max = 16, .default_text = "1", .help = "coordinates a node" },
    { .name = "delta", .group = "model", .arg = "D", .kind = LATHE_OPTION_REAL, .offset = AT(delta), .min = 1e-12, .max = 0.249, .default_text = "0.1", .help = "error to be reached" },
};
// clang-format on
static const lathe_option *const tables[] = {options}, *const bound_tables[] = {bound_options},
                                 *const bench_tables[] = {bench_options};
static const size_t sizes[] = {LATHE_LEN(options)}, bound_sizes[] = {LATHE_LEN(bound_options)},
                    bench_sizes[] = {LATHE_LEN(bench_options)};

static void defaults(void *args) {
    exponent_args *a = args;
    a->rho = 0.8;
    a->p = 20;
    a->gamma = 0.2;
    a->c = 0.3;
    a->seed = 1;
    a->dim = 1;
    a->delta = 0.1;
}

static json_t *interval(double rate, const double ci[2]) {
    return json_pack("{s:o, s:[o, o]}", "value", lathe_json_real(rate), "ci95", lathe_json_real(ci[0]),
                     lathe_json_real(ci[1]));
}

static lathe_status read_budgets(const exponent_args *a, int64_t *n, int *n_budgets, lathe_error *err) {
    const char *at = a->n != NULL ? a->n : "100,150";
    *n_budgets = 0;
    while (*at) {
        char word[32];
        const size_t length = strcspn(at, ",");
        if (length < sizeof word) {
            memcpy(word, at, length);
            word[length] = 0;
        }
        if (*n_budgets == MOST_BUDGETS || length >= sizeof word || !lathe_parse_int(word, &n[*n_budgets]) ||
            n[*n_budgets] < 2 || n[*n_budgets] > 1 << 24 ||
            (*n_budgets > 0 && n[*n_budgets] <= n[*n_budgets - 1]))
            return lathe_fail(err, LATHE_ERR_ARG, "-n %s: up to %d rising whole numbers of at least 2", a->n,
                              MOST_BUDGETS);
        ++*n_budgets;
        at += length;
        at += *at == ',';
    }
    return LATHE_OK;
}

static void print_slope(lathe_cli *cli, const char *what, double slope, const double ci[2]) {
    if (isnan(slope))
        fprintf(cli->out, "  %-10s  a budget without errors: more trials, or fewer vectors\n", what);
    else
        fprintf(cli->out, "  %-10s  %.5f [%.5f, %.5f]\n", what, slope, ci[0], ci[1]);
}

static lathe_status simulate(const exponent_args *a, lathe_cli *cli, double theory, lathe_error *err) {
    int64_t n[MOST_BUDGETS];
    int n_budgets = 0;
    lathe_simulation got[MOST_BUDGETS];
    lathe_status st = read_budgets(a, n, &n_budgets, err);
    if (!st && a->p > 2000)
        st = lathe_fail(err, LATHE_ERR_ARG, "--trials: at most 2000 nodes are simulated");
    int32_t *parent = malloc((size_t) a->p * sizeof *parent);
    if (!st && parent == NULL)
        st = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %lld nodes", (long long) a->p);
    for (int32_t i = 0; i < a->p && !st; i++)
        parent[i] = i == 0 ? -1 : a->shape == 0 ? i - 1 : a->shape == 1 ? 0 : (i - 1) / 2;
    json_t *budgets = json_array(), *slopes = json_array();
    if (!st && !cli->json)
        fprintf(cli->out,
                "simulated, %s, %lld trials a budget (95%% intervals)\n  %8s  %-27s %-27s %8s %7s\n",
                shapes[a->shape], (long long) a->trials, "vectors", "Chow-Liu's error", "two phases",
                "in doubt", "budget");
    for (int k = 0; k < n_budgets && !st; k++) {
        const lathe_simulation_params params = {.parent = parent,
                                                .p = (int32_t) a->p,
                                                .rho = a->rho,
                                                .n = n[k],
                                                .trials = a->trials,
                                                .seed = (uint64_t) a->seed,
                                                .gamma = a->gamma,
                                                .c = a->c,
                                                .n_threads =
                                                    a->n_threads > 0 ? (int) a->n_threads : lathe_n_cores(),
                                                .progress = &cli->progress};
        st = lathe_exponent_simulate(&params, &got[k], err);
        if (st)
            break;
        const double passive = (double) got[k].passive_errors / (double) got[k].trials,
                     active = (double) got[k].active_errors / (double) got[k].trials;
        if (cli->json)
            json_array_append_new(budgets, json_pack("{s:I, s:I, s:o, s:o, s:o, s:o}", "n", (json_int_t) n[k],
                                                     "trials", (json_int_t) got[k].trials, "passive",
                                                     interval(passive, got[k].passive_ci), "active",
                                                     interval(active, got[k].active_ci), "ambiguous",
                                                     lathe_json_real(got[k].mean_ambiguous), "budget_used",
                                                     lathe_json_real(got[k].budget_used)));
        else
            fprintf(cli->out, "  %8lld  %.5f [%.5f, %.5f]  %.5f [%.5f, %.5f]  %8.2f %7.2f\n",
                    (long long) n[k], passive, got[k].passive_ci[0], got[k].passive_ci[1], active,
                    got[k].active_ci[0], got[k].active_ci[1], got[k].mean_ambiguous, got[k].budget_used);
    }
    for (int k = 1; k < n_budgets && !st; k++) {
        double ci[2][2];
        const double slow = lathe_exponent_slope(got[k - 1].passive_errors, a->trials, n[k - 1],
                                                 got[k].passive_errors, a->trials, n[k], ci[0]),
                     fast = lathe_exponent_slope(got[k - 1].active_errors, a->trials, n[k - 1],
                                                 got[k].active_errors, a->trials, n[k], ci[1]);
        if (cli->json)
            json_array_append_new(slopes,
                                  json_pack("{s:I, s:I, s:o, s:o, s:o}", "from", (json_int_t) n[k - 1], "to",
                                            (json_int_t) n[k], "passive", interval(slow, ci[0]), "active",
                                            interval(fast, ci[1]), "ratio", lathe_json_real(fast / slow)));
        else
            fprintf(cli->out, "slope of -log error, %lld to %lld (theory of Chow-Liu: %.5f)\n",
                    (long long) n[k - 1], (long long) n[k], theory);
        if (!cli->json) {
            print_slope(cli, "Chow-Liu", slow, ci[0]);
            print_slope(cli, "two phases", fast, ci[1]);
            if (isfinite(fast / slow))
                fprintf(cli->out, "  ratio       %.2f\n", fast / slow);
        }
    }
    if (cli->json) {
        json_object_set(cli->result, "budgets", budgets);
        json_object_set(cli->result, "slopes", slopes);
        json_object_set_new(cli->result, "shape", json_string(shapes[a->shape]));
        json_object_set_new(cli->result, "seed", json_integer(a->seed));
    }
    json_decref(budgets);
    json_decref(slopes);
    free(parent);
    return st;
}

static lathe_status run(const void *args, lathe_cli *cli, lathe_error *err) {
    const exponent_args *a = args;
    lathe_exponent_design d;
    lathe_status st = lathe_exponent_active(a->rho, (int32_t) a->p, &d, err);
    if (st)
        return st;
    const double passive = lathe_exponent_chow_liu(a->rho);
    /* log of the number of swaps over the wanted error, per exponent: a rule of thumb, without prefactors */
    const double swaps = (double) a->p * (double) a->p, needed = log(swaps / 0.01) / passive;
    if (cli->json) {
        json_object_set_new(cli->result, "rho", lathe_json_real(a->rho));
        json_object_set_new(cli->result, "p", json_integer(a->p));
        json_object_set_new(cli->result, "exponent_chow_liu", lathe_json_real(passive));
        json_object_set_new(cli->result, "exponent_active", lathe_json_real(d.exponent));
        json_object_set_new(cli->result, "gain", lathe_json_real(d.gain));
        json_object_set_new(cli->result, "gamma", lathe_json_real(d.gamma));
        json_object_set_new(cli->result, "c", lathe_json_real(d.c));
        json_object_set_new(cli->result, "hub_gain", lathe_json_real(d.hub_gain));
        json_object_set_new(cli->result, "hub_c", lathe_json_real(d.hub_c));
        json_object_set_new(cli->result, "n_for_1_percent", lathe_json_real(needed));
    } else {
        fprintf(cli->out,
                "error exponents per full vector, homogeneous tree, rho %g, %lld nodes (closed forms)\n"
                "  Chow-Liu          %.6f\n"
                "  two-phase design  %.6f   %.2f times (gamma %.2f, c %.2f)\n"
                "  large hub, worst  %.6f   %.2f times (c %.2f)\n"
                "  about %.0f vectors for an error of 1%% with Chow-Liu\n",
                a->rho, (long long) a->p, passive, d.exponent, d.gain, d.gamma, d.c, d.hub_gain * passive,
                d.hub_gain, d.hub_c, needed);
    }
    return a->trials > 0 ? simulate(a, cli, passive, err) : LATHE_OK;
}

extern const lathe_verb lathe_verb_tree_exponent;
const lathe_verb lathe_verb_tree_exponent = {
    .name = "tree exponent",
    .summary = "error exponents of passive and two-phase tree learning: theory, and simulated",
    .usage = "lathe tree exponent [--rho R] [--p P] [--trials T --n A,B]",
    .examples =
        "lathe tree exponent --rho 0.9 --p 50\nlathe tree exponent --shape star --trials 40000 --n 150,200",
    .schema = "lathe.tree-exponent/1",
    .options = {tables, sizes, 1},
    .args_size = sizeof(exponent_args),
    .defaults = defaults,
    .run = run,
};

static void bench_defaults(void *args) {
    exponent_args *a = args;
    defaults(a);
    a->n = "100,150,200";
    a->trials = 40000;
}

static lathe_status run_bench(const void *args, lathe_cli *cli, lathe_error *err) {
    const exponent_args *a = args;
    if (a->trials < 1)
        return lathe_fail(err, LATHE_ERR_ARG, "--trials 0: at least 1");
    if (cli->json) {
        json_object_set_new(cli->result, "rho", lathe_json_real(a->rho));
        json_object_set_new(cli->result, "p", json_integer(a->p));
    }
    return simulate(a, cli, lathe_exponent_chow_liu(a->rho), err);
}

extern const lathe_verb lathe_verb_tree_bench;
const lathe_verb lathe_verb_tree_bench = {
    .name = "tree bench",
    .summary = "simulated errors of passive and two-phase tree learning, with their slopes",
    .usage = "lathe tree bench [--shape NAME] [--p P] [--rho R] [-n A,B,...] [--trials T]",
    .examples = "lathe tree bench --shape star --rho 0.8 -n 150,200 --trials 40000",
    .schema = "lathe.tree-bench/1",
    .options = {bench_tables, bench_sizes, 1},
    .args_size = sizeof(exponent_args),
    .defaults = bench_defaults,
    .run = run_bench,
};

static lathe_status run_bound(const void *args, lathe_cli *cli, lathe_error *err) {
    const exponent_args *a = args;
    if (cli->n_positional != 1)
        return lathe_fail(err, LATHE_ERR_ARG, "one Newick file, please");
    char *text = NULL;
    size_t n_bytes = 0;
    lathe_tree tree = {0};
    lathe_tree_bound b;
    lathe_status st = lathe_file_read(cli->positional[0], (size_t) 1 << 28, &text, &n_bytes, err);
    if (!st) {
        st = lathe_tree_parse_newick(text, n_bytes, &tree, err);
        if (st)
            lathe_fail_within(err, "%s", cli->positional[0]);
    }
    free(text);
    st = st ? st : lathe_tree_lower_bound(&tree, (int32_t) a->dim, a->delta, &b, err);
    if (!st && cli->json) {
        json_object_set_new(cli->result, "kl_min", lathe_json_real(b.kl_min));
        json_object_set_new(cli->result, "kl_max", lathe_json_real(b.kl_max));
        json_object_set_new(cli->result, "edge",
                            json_pack("[o, o]", lathe_json_string(tree.names[tree.edges[b.edge].u]),
                                      lathe_json_string(tree.names[tree.edges[b.edge].v])));
        json_object_set_new(cli->result, "neighbours", json_integer(b.n_neighbours));
        json_object_set_new(cli->result, "n_two_point", lathe_json_real(b.n_two_point));
        json_object_set_new(cli->result, "n_fano", lathe_json_real(b.n_fano));
    } else if (!st) {
        fprintf(cli->out,
                "no method is wrong in less than %g of cases with fewer rows than\n"
                "  %.1f   two hypotheses: the tree and an exchange across '%s' -- '%s' (%.4g nats a row)\n"
                "  %.1f   Fano over %d exchanges (at most %.4g nats a row)\n",
                a->delta, b.n_two_point, tree.names[tree.edges[b.edge].u], tree.names[tree.edges[b.edge].v],
                b.kl_min, b.n_fano, (int) b.n_neighbours, b.kl_max);
    }
    lathe_tree_free(&tree);
    return st;
}

extern const lathe_verb lathe_verb_tree_bound;
const lathe_verb lathe_verb_tree_bound = {
    .name = "tree bound",
    .summary = "rows that any method needs to learn a Gaussian latent tree",
    .usage = "lathe tree bound TREE.nwk [--dim L] [--delta D]",
    .examples = "lathe tree bound true.nwk --dim 2 --delta 0.05",
    .schema = "lathe.tree-bound/1",
    .options = {bound_tables, bound_sizes, 1},
    .args_size = sizeof(exponent_args),
    .defaults = defaults,
    .run = run_bound,
};
