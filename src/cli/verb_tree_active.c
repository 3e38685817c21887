/* verb_tree_active.c - `lathe tree active`: two-phase learning against a program that samples. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "cli/cli.h"
#include "lathe/tree.h"

typedef struct active_args {
    bool unused;
    const char *oracle, *nodes;
    int64_t budget, seed;
    double gamma, c, rho, timeout;
    bool c_auto, spend_all;
} active_args;

#define AT(field) offsetof(active_args, field)
// clang-format off
static const lathe_option options[] = {
    { .name = "oracle", .group = "input", .arg = "KIND:WHAT", .kind = LATHE_OPTION_TEXT, .offset = AT(oracle), .help = "cmd:PROGRAM that answers {\"nodes\":[..],\"n\":N} lines with {\"rows\":[[0,1],..]} lines; sim:MODEL.json; file:TABLE.csv, replayed" },
    { .name = "nodes", .group = "input", .arg = "A,B,...", .kind = LATHE_OPTION_LIST, .offset = AT(nodes), .default_text = "all of a model or table", .help = "names of the nodes" },
    { .name = "budget", .group = "method", .arg = "B", .kind = LATHE_OPTION_INT, .offset = AT(budget), .min = 4, .max = 1e12, .help = "node readings in all" },
    { .name = "gamma", .group = "method", .arg = "G", .kind = LATHE_OPTION_REAL, .offset = AT(gamma), .min = 0.05, .max = 0.5, .default_text = "0.2", .help = "share kept for the second phase" },
    { .name = "c", .group = "method", .arg = "C", .kind = LATHE_OPTION_REAL, .offset = AT(c), .min = 0.05, .max = 0.95, .default_text = "0.3", .help = "how far apart is far enough" },
    { .name = "c-auto", .group = "method", .kind = LATHE_OPTION_FLAG, .offset = AT(c_auto), .help = "that from theory, at the estimated correlation" },
    { .name = "spend-all", .group = "method", .kind = LATHE_OPTION_FLAG, .offset = AT(spend_all), .help = "where nothing is in doubt, read all nodes again with what is left" },
    { .name = "rho", .group = "method", .arg = "R", .kind = LATHE_OPTION_REAL, .offset = AT(rho), .min = 1e-6, .max = 0.999999, .default_text = "estimated", .help = "correlation of every edge" },
    { .name = "timeout", .group = "input", .arg = "S", .kind = LATHE_OPTION_REAL, .offset = AT(timeout), .min = 0.1, .max = 1e6, .default_text = "60", .help = "seconds to wait for a reply" },
    { .name = "seed", .group = "method", .arg = "S", .kind = LATHE_OPTION_INT, .offset = AT(seed), .min = 0, .max = 9e15, .default_text = "1", .help = "of ties" },
};
// clang-format on
static const lathe_option *const tables[] = {options};
static const size_t sizes[] = {LATHE_LEN(options)};

static void defaults(void *args) {
    active_args *a = args;
    a->gamma = 0.2;
    a->c = 0.3;
    a->timeout = 60;
    a->seed = 1;
}

static void fill_json(const lathe_tree *tree, const lathe_active_info *info, const active_args *a,
                      json_t *out) {
    json_t *edges = json_array();
    for (int32_t e = 0; e < tree->n_edges; e++) {
        const lathe_tree_edge *x = &tree->edges[e];
        json_array_append_new(
            edges,
            json_pack("{s:o, s:o, s:o, s:o, s:o}", "u", lathe_json_string(tree->names[x->u]), "v",
                      lathe_json_string(tree->names[x->v]), "weight", lathe_json_real(x->weight), "margin",
                      lathe_json_real(x->margin), "confidence", lathe_json_real(x->confidence)));
    }
    json_object_set_new(out, "edges", edges);
    json_object_set_new(out, "c", lathe_json_real(info->c));
    json_object_set_new(out, "rho_hat", lathe_json_real(info->rho_hat));
    json_object_set_new(out, "ambiguous", json_integer(info->n_ambiguous));
    json_object_set_new(out, "budget",
                        json_pack("{s:I, s:I, s:I, s:I}", "total", (json_int_t) a->budget, "phase1",
                                  (json_int_t) info->phase1, "phase2", (json_int_t) info->phase2, "left",
                                  (json_int_t) info->left));
}

/* Where readings come from. */
typedef struct source {
    lathe_tree_oracle oracle;
    char **names; /* [p] */
    int32_t p;
    char *list;     /* of --nodes, cut at its commas */
    int32_t *nodes; /* [p] columns of a table or model; NULL: all in order */
    const lathe_tree_oracle *inner;
    lathe_sampler_process *process;
    lathe_table table;
    lathe_table_replay replay;
    lathe_tree_model model;
    lathe_model_oracle model_oracle;
} source;

/* Node numbers of --nodes to those of the table or model. */
static lathe_status translate(void *user, const int32_t *nodes, int32_t n_nodes, int64_t m, uint8_t *out,
                              lathe_error *err) {
    const source *s = user;
    int32_t *columns = malloc((size_t) n_nodes * sizeof *columns);
    if (columns == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %d nodes", (int) n_nodes);
    for (int32_t k = 0; k < n_nodes; k++)
        columns[k] = s->nodes[nodes[k]];
    const lathe_status st = s->inner->sample(s->inner->user, columns, n_nodes, m, out, err);
    free(columns);
    return st;
}

static void source_free(source *s) {
    lathe_sampler_process_free(s->process);
    lathe_table_replay_free(&s->replay);
    lathe_table_free(&s->table);
    lathe_tree_model_free(&s->model);
    free(s->names);
    free(s->list);
    free(s->nodes);
}

/* Names of --nodes, or of all variables. */
static lathe_status name_nodes(const char *nodes, const lathe_table *variables, source *s, lathe_error *err) {
    const size_t room = nodes != NULL ? strlen(nodes) + 1 : (size_t) variables->n_columns + 1;
    s->names = malloc(room * sizeof *s->names);
    s->nodes = malloc(room * sizeof *s->nodes);
    s->list = nodes != NULL ? malloc(room) : NULL;
    if (s->names == NULL || s->nodes == NULL || (nodes != NULL && s->list == NULL))
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for names");
    if (nodes == NULL) {
        for (int32_t i = 0; i < variables->n_columns; i++) {
            s->names[i] = variables->columns[i].name;
            s->nodes[i] = i;
        }
        s->p = variables->n_columns;
        return LATHE_OK;
    }
    strcpy(s->list, nodes);
    for (char *word = s->list; word != NULL;) {
        char *comma = strchr(word, ',');
        if (comma != NULL)
            *comma++ = 0;
        for (int32_t i = 0; i < s->p; i++)
            if (strcmp(s->names[i], word) == 0)
                return lathe_fail(err, LATHE_ERR_ARG, "--nodes: '%s' comes twice", word);
        s->nodes[s->p] = -1;
        for (int32_t i = 0; variables != NULL && i < variables->n_columns; i++)
            if (strcmp(variables->columns[i].name, word) == 0)
                s->nodes[s->p] = i;
        if (variables != NULL && s->nodes[s->p] < 0)
            return lathe_fail(err, LATHE_ERR_ARG, "--nodes: the oracle has no '%s'", word);
        s->names[s->p++] = word;
        word = comma;
    }
    return LATHE_OK;
}

static lathe_status open_model(const active_args *a, source *s, lathe_error *err) {
    char *text = NULL;
    size_t n_bytes = 0;
    lathe_status st = lathe_file_read(a->oracle + 4, (size_t) 1 << 30, &text, &n_bytes, err);
    st = st ? st : lathe_tree_model_parse(text, n_bytes, a->oracle + 4, &s->model, err);
    free(text);
    st = st ? st : lathe_model_oracle_new(&s->model, (uint64_t) a->seed, &s->model_oracle, err);
    return st ? st : name_nodes(a->nodes, &s->model.variables, s, err);
}

static lathe_status open_table(const active_args *a, source *s, lathe_error *err) {
    const lathe_table_params how = {.kind = 1};
    lathe_status st = lathe_table_read(a->oracle + 5, &how, &s->table, err);
    st = st ? st : lathe_table_replay_new(&s->table, &s->replay, err);
    return st ? st : name_nodes(a->nodes, &s->table, s, err);
}

static lathe_status run(const void *args, lathe_cli *cli, lathe_error *err) {
    const active_args *a = args;
    const char *kind = a->oracle != NULL ? a->oracle : "";
    const bool program = strncmp(kind, "cmd:", 4) == 0, model = strncmp(kind, "sim:", 4) == 0,
               table = strncmp(kind, "file:", 5) == 0;
    if (!program && !model && !table)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "--oracle cmd:PROGRAM, sim:MODEL.json or file:TABLE.csv is needed");
    if (a->budget == 0 || (program && a->nodes == NULL))
        return lathe_fail(err, LATHE_ERR_ARG, "%s",
                          a->budget == 0 ? "--budget B says how many readings"
                                         : "--nodes A,B,... names the program's nodes");
    source s = {0};
    lathe_tree tree = {0};
    lathe_active_info info = {0};
    lathe_tree_oracle inner = {0};
    lathe_status st = LATHE_OK;
    if (program) {
        st = name_nodes(a->nodes, NULL, &s, err);
        st = st ? st : lathe_sampler_process_new(a->oracle + 4, s.p, s.names, a->timeout, &s.process, err);
        s.oracle = (lathe_tree_oracle){lathe_sampler_process_sample, s.process};
    } else {
        st = model ? open_model(a, &s, err) : open_table(a, &s, err);
        inner = model ? (lathe_tree_oracle){lathe_model_oracle_sample, &s.model_oracle}
                      : (lathe_tree_oracle){lathe_table_replay_sample, &s.replay};
        s.inner = &inner;
        s.oracle = (lathe_tree_oracle){translate, &s};
    }
    const lathe_active_params params = {.budget = a->budget,
                                        .gamma = a->gamma,
                                        .c = a->c,
                                        .rho = a->rho,
                                        .seed = (uint64_t) a->seed,
                                        .c_auto = a->c_auto,
                                        .spend_all = a->spend_all};
    st = st ? st : lathe_tree_active(&s.oracle, s.p, s.names, &params, &tree, &info, err);
    if (st) {
        source_free(&s);
        return st;
    }
    if (info.n1 < 10)
        lathe_log(&cli->logger, LATHE_LOG_WARN,
                  "the first phase has %lld vectors: too few to tell trees apart", (long long) info.n1);
    if (info.edges_differ)
        lathe_log(&cli->logger, LATHE_LOG_WARN, "edges differ in strength: the confidences do not hold");
    if (info.n_ambiguous > 0 && info.n2 == 0)
        lathe_log(&cli->logger, LATHE_LOG_WARN, "the budget left no second phase for %d nodes in doubt",
                  (int) info.n_ambiguous);
    if (cli->json) {
        fill_json(&tree, &info, a, cli->result);
    } else {
        for (int32_t e = 0; e < tree.n_edges; e++)
            fprintf(cli->out, "%s -- %s  confidence %.4f\n", tree.names[tree.edges[e].u],
                    tree.names[tree.edges[e].v], tree.edges[e].confidence);
        fprintf(cli->out, "readings: %lld + %lld of %lld; %d nodes were in doubt; rho %.3f\n",
                (long long) info.phase1, (long long) info.phase2, (long long) a->budget,
                (int) info.n_ambiguous, info.rho_hat);
    }
    source_free(&s);
    lathe_tree_free(&tree);
    return LATHE_OK;
}

extern const lathe_verb lathe_verb_tree_active;
const lathe_verb lathe_verb_tree_active = {
    .name = "tree active",
    .summary = "learn a two-state tree from a sampler, reading only what is in doubt twice",
    .usage =
        "lathe tree active --oracle cmd:PROGRAM|sim:MODEL.json|file:TABLE.csv --budget B [--nodes A,B,...]",
    .examples = "lathe tree active --oracle 'cmd:python3 sampler.py' --nodes a,b,c,d --budget 4000\n"
                "lathe tree active --oracle file:readings.csv --budget 3000",
    .schema = "lathe.tree-active/1",
    .options = {tables, sizes, 1},
    .args_size = sizeof(active_args),
    .defaults = defaults,
    .run = run,
};
