/* verb_spec.c - `lathe spec verify-check`, `spec sim`, `spec tree`, `spec analyse`: speculation without a
 * model. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "cli/analyse_long.h"
#include "cli/cli.h"
#include "lathe/decode.h"

typedef struct spec_args {
    bool unused; /* offset 0 stands for "no such field" in option tables */
    const char *alpha, *arms, *v, *rates, *controller, *p, *q, *schedules, *deltas;
    double c, ucb_scale, nu;
    lathe_analyse_long text; /* of analyse std and longspec */
    int64_t length, n_tokens, runs, seed, samples, nodes, depth;
} spec_args;

enum { LIST_MAX = 4096 };

static void defaults(void *arguments) {
    spec_args *a = arguments;
    a->ucb_scale = 0.3;
    a->nu = 0.7;
    a->length = 0;
    a->n_tokens = 1024;
    a->runs = 400;
    a->samples = 20000;
    a->nodes = 64;
    a->controller = "ucb,exp3,hedge,uniform";
    a->schedules = "uniform,excess,linear,reverse";
    a->deltas = "1,1.1,1.25,1.5,2,3";
    a->text = (lathe_analyse_long){.ctx = "512,2048,8192",
                                   .n_predict = 64,
                                   .length = 4,
                                   .budget = 1024,
                                   .queries = 64,
                                   .repeats = 3,
                                   .batch = 1};
}

#define AT(field) offsetof(spec_args, field)
#define NUMBER(NAME, FIELD, LOW, HIGH, TEXT, HELP)                                                           \
    {                                                                                                        \
        .name = NAME, .group = "spec", .arg = "N", .kind = LATHE_OPTION_INT, .offset = AT(FIELD),            \
        .min = LOW, .max = HIGH, .default_text = TEXT, .help = HELP                                          \
    }
#define REAL(NAME, FIELD, LOW, HIGH, TEXT, HELP)                                                             \
    {                                                                                                        \
        .name = NAME, .group = "spec", .arg = "X", .kind = LATHE_OPTION_REAL, .offset = AT(FIELD),           \
        .min = LOW, .max = HIGH, .default_text = TEXT, .help = HELP                                          \
    }
#define LIST(NAME, FIELD, TEXT, HELP)                                                                        \
    {                                                                                                        \
        .name = NAME, .group = "spec", .arg = "LIST", .kind = LATHE_OPTION_LIST, .offset = AT(FIELD),        \
        .default_text = TEXT, .help = HELP                                                                   \
    }

static const lathe_option check_options[] = {
    NUMBER("seed", seed, 0, 9e15, "0", "seed of the statistical checks"),
    NUMBER("samples", samples, 1000, 1e8, "20000", "generations of a statistical check"),
};
static const lathe_option sim_options[] = {
    LIST("alpha", alpha, NULL, "acceptance rates: a table of tokens, speed-up and best length"),
    LIST("v", v, "1,1.1", "cost of a target step of 1, 2, ... tokens"),
    REAL("c", c, 0, 1e6, "0", "cost of a drafted token"),
    LIST("arms", arms, NULL, "acceptance rate of each arm: controllers in simulation"),
    NUMBER("L", length, 1, 256, "16, with --arms 4", "longest draft"),
    NUMBER("N", n_tokens, 1, 1e7, "1024", "tokens of an answer"),
    LIST("controller", controller, "ucb,exp3,hedge,uniform", "controllers to simulate"),
    NUMBER("runs", runs, 1, 1e6, "400", "runs of each"),
    REAL("ucb-scale", ucb_scale, 0, 100, "0.3", "factor on the radius of ucb; 1 in the theorem"),
    NUMBER("seed", seed, 0, 9e15, "0", "seed"),
};
static const lathe_option tree_options[] = {
    LIST("rates", rates, NULL, "acceptance of the first, second, ... child of an accepted node"),
    {.name = "nodes",
     .short_name = "N",
     .group = "spec",
     .arg = "N",
     .kind = LATHE_OPTION_INT,
     .offset = AT(nodes),
     .min = 1,
     .max = 1024,
     .default_text = "64",
     .help = "nodes of the tree, root included"},
    NUMBER("depth", depth, 0, 64, "0: any", "largest depth"),
};
static const lathe_option analyse_options[] = {
    LIST("p", p, NULL, "target: n*n probabilities, a row after each id"),
    LIST("q", q, NULL, "draft: the same shape"),
    NUMBER("L", length, 1, 64, "5", "drafts a round"),
    LIST("delta", deltas, "1,1.1,1.25,1.5,2,3", "mean factors on the acceptance ratio"),
    REAL("nu", nu, 0, 3, "0.7", "decay of the factor by position"),
    LIST("schedules", schedules, "uniform,excess,linear,reverse", "schedules to compare"),
    {.name = "model",
     .short_name = "m",
     .group = "std, longspec",
     .arg = "FILE",
     .kind = LATHE_OPTION_FILE,
     .offset = AT(text.model),
     .env = "LATHE_MODEL",
     .help = "the target"},
    {.name = "file",
     .short_name = "f",
     .group = "std, longspec",
     .arg = "FILE",
     .kind = LATHE_OPTION_FILE,
     .offset = AT(text.text),
     .help = "a text, at least as long as the largest context"},
    {.name = "draft",
     .group = "std, longspec",
     .arg = "FILE",
     .kind = LATHE_OPTION_FILE,
     .offset = AT(text.draft),
     .help = "(longspec) the draft's GGUF"},
    {.name = "ctx",
     .group = "std, longspec",
     .arg = "LIST",
     .kind = LATHE_OPTION_LIST,
     .offset = AT(text.ctx),
     .default_text = "512,2048,8192",
     .help = "tokens of context"},
    {.name = "session",
     .group = "std, longspec",
     .arg = "FILE",
     .kind = LATHE_OPTION_FILE,
     .offset = AT(text.session),
     .help = "where the text's cache is kept: read if it is there, else written"},
    NUMBER("n-predict", text.n_predict, 1, 4096, "64", "tokens generated at each context, plain and drafted"),
    NUMBER("spec-len", text.length, 1, 16, "4", "drafts a round"),
    {.name = "spec-tree",
     .group = "std, longspec",
     .arg = "SHAPE",
     .kind = LATHE_OPTION_TEXT,
     .offset = AT(text.tree),
     .help = "(longspec) chain, or beam:W1,W2,..."},
    NUMBER("std-budget", text.budget, 64, 1e7, "1024", "(std) cache rows a draft is made over"),
    NUMBER("queries", text.queries, 1, 256, "64", "(std) last tokens that choose the rows"),
    {.name = "keep",
     .group = "std, longspec",
     .arg = "RULE",
     .kind = LATHE_OPTION_TEXT,
     .offset = AT(text.rule),
     .default_text = "top",
     .help = "(std) rows that are kept: top (most attended to), window (first 32 and last), random"},
    NUMBER("repeats", text.repeats, 1, 16, "3", "times are medians of so many"),
    NUMBER("batch", text.batch, 1, 4096, "1", "sequences at once, for the prediction by bytes"),
    NUMBER("threads", text.threads, 0, 1024, "measured", "threads"),
};

/* Numbers of a comma-separated list; *n of them. */
static lathe_status numbers(const char *list, const char *option, double *out, int32_t most, int32_t *n,
                            lathe_error *err) {
    *n = 0;
    while (list && *list) {
        char word[64];
        const size_t length = strcspn(list, ",");
        if (length >= sizeof word || *n == most)
            return lathe_fail(err, LATHE_ERR_ARG, "--%s: at most %d numbers", option, (int) most);
        memcpy(word, list, length);
        word[length] = 0;
        if (!lathe_parse_real(word, &out[*n]))
            return lathe_fail(err, LATHE_ERR_ARG, "--%s: '%s' is no number", option, word);
        (*n)++;
        list += length + (list[length] == ',');
    }
    return *n > 0 ? LATHE_OK
                  : lathe_fail(err, LATHE_ERR_ARG, "--%s is missing: numbers, separated by commas", option);
}

/* The next name of a list; false at its end. */
static bool next_name(const char **list, char word[64]) {
    if (!*list || !**list)
        return false;
    size_t length = strcspn(*list, ",");
    const size_t keep = length < 63 ? length : 63;
    memcpy(word, *list, keep);
    word[keep] = 0;
    *list += length + ((*list)[length] == ',');
    return true;
}

static lathe_status run_check(const void *arguments, lathe_cli *cli, lathe_error *err) {
    const spec_args *a = arguments;
    json_t *list = json_array();
    int wrong = 0;
    for (size_t i = 0; i < lathe_verify_check_count(); i++) {
        lathe_verify_case c;
        lathe_status status = lathe_verify_check_run(i, (uint64_t) a->seed, a->samples, &c, err);
        if (status || (status = lathe_progress_step(&cli->progress, "checks", (double) i + 1.0,
                                                    (double) lathe_verify_check_count(), err))) {
            json_decref(list);
            return status;
        }
        wrong += c.pass != c.valid;
        if (cli->json) {
            json_t *o =
                json_pack("{s:s, s:s, s:s, s:b, s:b, s:I}", "name", c.name, "verifier", c.verifier,
                          "proposer", c.proposer, "valid", c.valid, "pass", c.pass, "n", (json_int_t) c.n);
            if (c.p_value >= 0.0)
                json_object_set_new(o, "p_value", lathe_json_real(c.p_value));
            else
                json_object_set_new(o, "max_error", lathe_json_real(c.max_error));
            json_array_append_new(list, o);
        } else {
            fprintf(cli->out, "%-42s %-8s %s %-11.3g %s\n", c.name, c.verifier,
                    c.p_value >= 0.0 ? "p    " : "error", c.p_value >= 0.0 ? c.p_value : c.max_error,
                    c.pass ? (c.valid ? "keeps the law" : "NOT CAUGHT")
                           : (c.valid ? "LEAVES THE LAW" : "found wrong, as it is"));
        }
    }
    if (cli->json) {
        json_object_set_new(cli->result, "cases", list);
        json_object_set_new(cli->result, "false_alarm", lathe_json_real(LATHE_VERIFY_CHECK_ALPHA));
    } else {
        json_decref(list);
    }
    return wrong ? lathe_fail(err, LATHE_ERR_NUMERIC, "%d checks did not end as they must", wrong) : LATHE_OK;
}

static lathe_status table_of_lengths(const spec_args *a, lathe_cli *cli, lathe_error *err) {
    double alpha[64], v[16];
    int32_t n, n_v = 0;
    lathe_cost_model cost = lathe_cost_linear(0.1, a->c);
    lathe_status status = numbers(a->alpha, "alpha", alpha, 64, &n, err);
    if (!status && a->v && !(status = numbers(a->v, "v", v, 16, &n_v, err)))
        status = lathe_cost_from_list(v, n_v, a->c, &cost, err);
    if (status)
        return status;
    json_t *rows = json_array();
    const int32_t most = a->length > 0 ? (int32_t) a->length : 16;
    if (!cli->json)
        fprintf(cli->out, "break-even acceptance %.3f\n%8s %8s %12s %10s\n", lathe_break_even(&cost), "alpha",
                "length", "tokens/round", "speed-up");
    for (int32_t i = 0; i < n; i++) {
        double S;
        if (!(alpha[i] >= 0.0 && alpha[i] <= 1.0)) {
            json_decref(rows);
            return lathe_fail(err, LATHE_ERR_ARG, "--alpha: %g is no probability", alpha[i]);
        }
        const int32_t g = lathe_best_length(alpha[i], most, &cost, &S);
        const double tokens = lathe_expected_tokens(alpha[i], g);
        json_array_append_new(rows, json_pack("{s:f, s:i, s:f, s:f}", "alpha", alpha[i], "length", (int) g,
                                              "tokens_per_round", tokens, "speedup", S));
        if (!cli->json)
            fprintf(cli->out, "%8.3f %8d %12.4f %10.4f\n", alpha[i], (int) g, tokens, S);
    }
    if (cli->json) {
        json_object_set_new(cli->result, "break_even_alpha", lathe_json_real(lathe_break_even(&cost)));
        json_object_set_new(cli->result, "lengths", rows);
    } else {
        json_decref(rows);
    }
    return LATHE_OK;
}

static lathe_status run_sim(const void *arguments, lathe_cli *cli, lathe_error *err) {
    const spec_args *a = arguments;
    if (!a->arms)
        return a->alpha ? table_of_lengths(a, cli, err)
                        : lathe_fail(err, LATHE_ERR_ARG,
                                     "neither --alpha nor --arms; one of them, with acceptance rates");
    double p[32];
    int32_t n;
    lathe_sim_params params = lathe_sim_params_default();
    lathe_status status = numbers(a->arms, "arms", p, 32, &n, err);
    if (status)
        return status;
    params.p = p;
    params.n_arms = n;
    params.length = a->length > 0 ? (int32_t) a->length : 4;
    params.n_tokens = (int32_t) a->n_tokens;
    params.runs = (int32_t) a->runs;
    params.seed = (uint64_t) a->seed;
    params.ucb_scale = a->ucb_scale;
    json_t *rows = json_array();
    const char *names = a->controller;
    char name[64];
    if (!cli->json)
        fprintf(cli->out, "%-12s %10s %8s %9s %8s %11s\n", "controller", "rounds", "s.e.", "regret", "% over",
                "bound");
    while (next_name(&names, name)) {
        lathe_sim_result r;
        params.controller = name;
        if ((status = lathe_sim_run(&params, &r, err))) {
            json_decref(rows);
            return status;
        }
        json_t *pulls = json_array();
        for (int32_t i = 0; i < n; i++)
            json_array_append_new(pulls, json_real(r.pulls[i]));
        const double bound = strcmp(name, "exp3") == 0 ? r.bound_exp3 : r.bound_ucb;
        const bool bounded = strcmp(name, "exp3") == 0 || strcmp(name, "ucb") == 0;
        json_t *o = json_pack("{s:s, s:f, s:f, s:f, s:f, s:o}", "controller", name, "rounds", r.rounds,
                              "rounds_se", r.rounds_se, "best", r.best, "regret", r.regret, "pulls", pulls);
        if (bounded)
            json_object_set_new(o, "bound", json_real(bound));
        json_array_append_new(rows, o);
        if (!cli->json) {
            fprintf(cli->out, "%-12s %10.2f %8.2f %9.2f %8.2f ", name, r.rounds, r.rounds_se, r.regret,
                    100.0 * r.regret / r.best);
            if (bounded)
                fprintf(cli->out, "%11.1f", bound);
            fprintf(cli->out, "\n");
        }
    }
    if (cli->json)
        json_object_set_new(cli->result, "controllers", rows);
    else
        json_decref(rows);
    return LATHE_OK;
}

static lathe_status run_tree(const void *arguments, lathe_cli *cli, lathe_error *err) {
    const spec_args *a = arguments;
    double rates[64], value;
    int32_t n_rates, parent[1024], rank[1024], depth[1024] = {0};
    const int32_t n = (int32_t) a->nodes;
    lathe_status status = numbers(a->rates, "rates", rates, 64, &n_rates, err);
    if (status ||
        (status = lathe_sequoia_tree(rates, n_rates, n, (int32_t) a->depth, parent, rank, &value, err)))
        return status;
    json_t *parents = json_array(), *ranks = json_array();
    for (int32_t i = 0; i < n; i++) {
        depth[i] = i > 0 ? depth[parent[i]] + 1 : 0;
        json_array_append_new(parents, json_integer(parent[i]));
        json_array_append_new(ranks, json_integer(rank[i]));
    }
    if (cli->json) {
        json_object_set_new(cli->result, "value", lathe_json_real(value));
        json_object_set_new(cli->result, "parents", parents);
        json_object_set_new(cli->result, "ranks", ranks);
        return LATHE_OK;
    }
    json_decref(parents);
    json_decref(ranks);
    fprintf(cli->out, "expected tokens a round: %.4f\nnode parent child depth\n", value);
    for (int32_t i = 0; i < n; i++)
        fprintf(cli->out, "%4d %6d %5d %5d\n", (int) i, (int) parent[i], (int) rank[i] + 1, (int) depth[i]);
    return LATHE_OK;
}

static lathe_status run_analyse(const void *arguments, lathe_cli *cli, lathe_error *err) {
    const spec_args *a = arguments;
    const char *what = cli->n_positional == 1 ? cli->positional[0] : "";
    if (strcmp(what, "std") == 0 || strcmp(what, "longspec") == 0)
        return lathe_cli_analyse_long(what, &a->text, cli, err);
    if (strcmp(what, "cool") != 0)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "what to analyse is missing; want `lathe spec analyse cool`, `std` or `longspec`");
    double *P = malloc(2 * LIST_MAX * sizeof *P), delta[64];
    if (!P)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the tables");
    double *Q = P + LIST_MAX;
    int32_t n_p, n_q, n_delta, n = 1;
    lathe_status status = numbers(a->p, "p", P, LIST_MAX, &n_p, err);
    if (!status)
        status = numbers(a->q, "q", Q, LIST_MAX, &n_q, err);
    if (!status)
        status = numbers(a->deltas, "delta", delta, 64, &n_delta, err);
    while (!status && n * n < n_p)
        n++;
    if (!status && (n * n != n_p || n_q != n_p))
        status = lathe_fail(err, LATHE_ERR_ARG, "--p has %d numbers and --q %d; both want n*n", (int) n_p,
                            (int) n_q);
    json_t *rows = json_array();
    if (!status && !cli->json)
        fprintf(cli->out, "%-10s %6s %14s %9s %14s   lossy\n", "schedule", "delta", "tokens/round", "bound",
                "stationary TV");
    const char *names = a->schedules;
    char name[64];
    while (!status && next_name(&names, name))
        for (int32_t i = 0; i < n_delta && !status; i++) {
            lathe_cool_point c;
            status = lathe_cool_analyse(P, Q, n, a->length > 0 ? (int32_t) a->length : 5, delta[i], a->nu,
                                        name, &c, err);
            if (status)
                break;
            json_array_append_new(rows, json_pack("{s:s, s:f, s:f, s:f, s:f}", "schedule", name, "delta",
                                                  delta[i], "tokens_per_round", c.tokens_per_round, "bound",
                                                  c.bound, "stationary_tv", c.stationary_tv));
            if (!cli->json)
                fprintf(cli->out, "%-10s %6.3f %14.4f %9.4f %14.6f\n", name, delta[i], c.tokens_per_round,
                        c.bound, c.stationary_tv);
        }
    free(P);
    if (!status && cli->json) {
        json_object_set_new(cli->result, "lossless", json_false());
        json_object_set(cli->result, "points", rows);
    }
    json_decref(rows);
    return status;
}

#define VERB(ID, NAME, SUMMARY, USAGE, EXAMPLE, SCHEMA, TABLE, RUN)                                          \
    static const lathe_option *const tables_##ID[] = {TABLE};                                                \
    static const size_t n_options_##ID[] = {LATHE_LEN(TABLE)};                                               \
    extern const lathe_verb lathe_verb_spec_##ID;                                                            \
    const lathe_verb lathe_verb_spec_##ID = {.name = NAME,                                                   \
                                             .summary = SUMMARY,                                             \
                                             .usage = USAGE,                                                 \
                                             .examples = EXAMPLE,                                            \
                                             .schema = SCHEMA,                                               \
                                             .options = {tables_##ID, n_options_##ID, 1},                    \
                                             .args_size = sizeof(spec_args),                                 \
                                             .defaults = defaults,                                           \
                                             .run = RUN}

VERB(check, "spec verify-check", "exact checks that verifiers keep the law of the text",
     "lathe spec verify-check [--samples N]", "lathe spec verify-check --json", "lathe.spec-verify-check/1",
     check_options, run_check);
VERB(
    sim, "spec sim", "lengths and controllers of drafts, simulated",
    "lathe spec sim --alpha LIST | --arms LIST",
    "lathe spec sim --alpha .5,.7,.9 --c .05 --v 1,1.3,1.4\nlathe spec sim --arms .3,.5,.7,.8 --L 4 --N 1024",
    "lathe.spec-sim/1", sim_options, run_sim);
VERB(tree, "spec tree", "the draft tree of largest expected acceptance",
     "lathe spec tree --rates LIST [-N NODES]", "lathe spec tree --rates .6,.2,.1 -N 16", "lathe.spec-tree/1",
     tree_options, run_tree);
VERB(analyse, "spec analyse",
     "what relaxed acceptance costs (cool); what drafts for long texts gain (std, longspec)",
     "lathe spec analyse cool --p LIST --q LIST\n       lathe spec analyse std|longspec -m MODEL -f TEXT "
     "--ctx LIST",
     "lathe spec analyse cool --p .5,.5,.3,.7 --q .6,.4,.5,.5 --L 5\n"
     "lathe spec analyse std -m big.gguf -f book.txt --ctx 8192,32768 --session book.session",
     "lathe.spec-analyse/1", analyse_options, run_analyse);
