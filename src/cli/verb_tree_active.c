/* verb_tree_active.c - `lathe tree active`: two-phase learning against a program that samples. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "cli/cli.h"
#include "lathe/tree.h"

typedef struct active_args {
    bool unused;
    const char *command, *nodes, *output;
    int64_t budget, seed;
    double gamma, c, rho, timeout;
} active_args;

#define AT(field) offsetof(active_args, field)
// clang-format off
static const lathe_option options[] = {
    { .name = "oracle", .group = "input", .arg = "cmd:PROGRAM", .kind = LATHE_OPTION_TEXT, .offset = AT(command), .help = "program that answers {\"nodes\":[..],\"n\":N} lines with {\"rows\":[[0,1],..]} lines" },
    { .name = "nodes", .group = "input", .arg = "A,B,...", .kind = LATHE_OPTION_LIST, .offset = AT(nodes), .help = "names of the nodes" },
    { .name = "budget", .group = "method", .arg = "B", .kind = LATHE_OPTION_INT, .offset = AT(budget), .min = 4, .max = 1e12, .help = "node readings in all" },
    { .name = "gamma", .group = "method", .arg = "G", .kind = LATHE_OPTION_REAL, .offset = AT(gamma), .min = 0.05, .max = 0.5, .default_text = "0.2", .help = "share kept for the second phase" },
    { .name = "c", .group = "method", .arg = "C", .kind = LATHE_OPTION_REAL, .offset = AT(c), .min = 0.05, .max = 0.95, .default_text = "0.3", .help = "how far apart is far enough" },
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
    json_object_set_new(out, "rho_hat", lathe_json_real(info->rho_hat));
    json_object_set_new(out, "ambiguous", json_integer(info->n_ambiguous));
    json_object_set_new(out, "budget",
                        json_pack("{s:I, s:I, s:I, s:I}", "total", (json_int_t) a->budget, "phase1",
                                  (json_int_t) info->phase1, "phase2", (json_int_t) info->phase2, "left",
                                  (json_int_t) info->left));
}

static lathe_status run(const void *args, lathe_cli *cli, lathe_error *err) {
    const active_args *a = args;
    if (a->command == NULL || strncmp(a->command, "cmd:", 4) != 0 || a->nodes == NULL || a->budget == 0)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "--oracle cmd:PROGRAM, --nodes A,B,... and --budget B are needed");
    char *list = NULL;
    char **names = malloc((strlen(a->nodes) + 1) * sizeof *names);
    list = malloc(strlen(a->nodes) + 1);
    lathe_sampler_process *process = NULL;
    lathe_tree tree = {0};
    lathe_active_info info = {0};
    lathe_status st = LATHE_OK;
    int32_t p = 0;
    if (names == NULL || list == NULL) {
        st = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for names");
        goto done;
    }
    memcpy(list, a->nodes, strlen(a->nodes) + 1);
    for (char *word = list; word != NULL;) {
        char *comma = strchr(word, ',');
        if (comma != NULL)
            *comma++ = 0;
        names[p++] = word;
        word = comma;
    }
    st = lathe_sampler_process_new(a->command + 4, p, names, a->timeout, &process, err);
    if (st)
        goto done;
    const lathe_tree_oracle oracle = {lathe_sampler_process_sample, process};
    const lathe_active_params params = {
        .budget = a->budget, .gamma = a->gamma, .c = a->c, .rho = a->rho, .seed = (uint64_t) a->seed};
    st = lathe_tree_active(&oracle, p, names, &params, &tree, &info, err);
    if (st)
        goto done;
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
done:
    lathe_sampler_process_free(process);
    lathe_tree_free(&tree);
    free(names);
    free(list);
    return st;
}

extern const lathe_verb lathe_verb_tree_active;
const lathe_verb lathe_verb_tree_active = {
    .name = "tree active",
    .summary = "learn a two-state tree from a sampler, reading only what is in doubt twice",
    .usage = "lathe tree active --oracle cmd:PROGRAM --nodes A,B,... --budget B",
    .examples = "lathe tree active --oracle 'cmd:python3 sampler.py' --nodes a,b,c,d --budget 4000",
    .schema = "lathe.tree-active/1",
    .options = {tables, sizes, 1},
    .args_size = sizeof(active_args),
    .defaults = defaults,
    .run = run,
};
