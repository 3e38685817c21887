/* verb_tree_model.c - `lathe tree sample | score | infer | impute`: what a learned model says. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "cli/cli.h"
#include "lathe/tree.h"

typedef struct model_args {
    bool unused;
    const char *evidence, *query, *output;
    int64_t n, seed;
    bool map;
} model_args;

enum { MODEL_LIMIT = 1 << 30 };

#define AT(field) offsetof(model_args, field)
// clang-format off
static const lathe_option sample_options[] = {
    { .name = "n", .short_name = "n", .group = "method", .arg = "ROWS", .kind = LATHE_OPTION_INT, .offset = AT(n), .min = 1, .max = 1e9, .default_text = "100", .help = "rows" },
    { .name = "seed", .group = "method", .arg = "S", .kind = LATHE_OPTION_INT, .offset = AT(seed), .min = 0, .max = 9e15, .default_text = "1", .help = "of the draws" },
    { .name = "output", .short_name = "o", .group = "output", .arg = "FILE", .kind = LATHE_OPTION_FILE, .offset = AT(output), .default_text = "stdout", .help = "CSV file" },
};
static const lathe_option impute_options[] = {
    { .name = "output", .short_name = "o", .group = "output", .arg = "FILE", .kind = LATHE_OPTION_FILE, .offset = AT(output), .default_text = "stdout", .help = "CSV file" },
};
static const lathe_option infer_options[] = {
    { .name = "evidence", .group = "input", .arg = "A=1,B=0", .kind = LATHE_OPTION_LIST, .repeat = true, .offset = AT(evidence), .help = "what is observed" },
    { .name = "query", .group = "output", .arg = "C,D", .kind = LATHE_OPTION_LIST, .repeat = true, .offset = AT(query), .default_text = "all", .help = "variables to print" },
    { .name = "map", .group = "output", .kind = LATHE_OPTION_FLAG, .offset = AT(map), .help = "print the most probable joint assignment" },
};
// clang-format on
static const lathe_option *const sample_tables[] = {sample_options},
                                 *const impute_tables[] = {impute_options},
                                 *const infer_tables[] = {infer_options};
static const size_t sample_sizes[] = {LATHE_LEN(sample_options)},
                    impute_sizes[] = {LATHE_LEN(impute_options)}, infer_sizes[] = {LATHE_LEN(infer_options)};

static void defaults(void *args) {
    model_args *a = args;
    a->n = 100;
    a->seed = 1;
}

static lathe_status read_model(const lathe_cli *cli, size_t n_files, const char *what,
                               lathe_tree_model *model, lathe_error *err) {
    memset(model, 0, sizeof *model);
    if (cli->n_positional != n_files)
        return lathe_fail(err, LATHE_ERR_ARG, "give %s", what);
    char *text = NULL;
    size_t n_bytes = 0;
    lathe_status st = lathe_file_read(cli->positional[0], MODEL_LIMIT, &text, &n_bytes, err);
    if (!st)
        st = lathe_tree_model_parse(text, n_bytes, cli->positional[0], model, err);
    free(text);
    return st;
}

static lathe_status read_rows(const lathe_cli *cli, const lathe_tree_model *model, lathe_table *table,
                              double **evidence, lathe_error *err) {
    bool any_real = false;
    for (int32_t i = 0; i < model->variables.n_columns; i++)
        any_real = any_real || !model->variables.columns[i].discrete;
    const lathe_table_params how = {.kind = model->real ? 2 : any_real ? 0 : 1, .max_states = 4096};
    lathe_status st = lathe_table_read(cli->positional[1], &how, table, err);
    return st ? st : lathe_tree_evidence(model, table, evidence, err);
}

/* values[n * variables] as CSV without hidden variables, and into the JSON result's rows count. */
static lathe_status write_rows(const model_args *a, lathe_cli *cli, const lathe_tree_model *model, int64_t n,
                               const double *values, lathe_error *err) {
    const int32_t p = model->variables.n_columns;
    lathe_table table = {.n_rows = n};
    table.columns = malloc((size_t) p * sizeof *table.columns);
    lathe_status st = table.columns ? LATHE_OK : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a table");
    for (int32_t i = 0; i < p && !st; i++) {
        if (model->hidden[i])
            continue;
        lathe_column *c = &table.columns[table.n_columns++];
        *c = model->variables.columns[i];
        c->codes = c->discrete ? malloc((size_t) n * sizeof *c->codes) : NULL;
        c->values = c->discrete ? NULL : malloc((size_t) n * sizeof *c->values);
        if (c->codes == NULL && c->values == NULL)
            st = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %lld rows", (long long) n);
        for (int64_t t = 0; t < n && !st; t++)
            if (c->discrete)
                c->codes[t] = (uint16_t) values[t * p + i];
            else
                c->values[t] = values[t * p + i];
    }
    char *text = NULL;
    size_t n_bytes = 0;
    st = st ? st : lathe_table_text(&table, &text, &n_bytes, err);
    if (!st && a->output != NULL)
        st = lathe_file_write(a->output, text, n_bytes, err);
    else if (!st && cli->json)
        json_object_set_new(cli->result, "csv", lathe_json_string(text));
    else if (!st)
        fwrite(text, 1, n_bytes, cli->out);
    if (!st && cli->json)
        json_object_set_new(cli->result, "rows", json_integer(n));
    free(text);
    for (int32_t i = 0; i < table.n_columns; i++) {
        free(table.columns[i].codes);
        free(table.columns[i].values);
    }
    free(table.columns);
    return st;
}

static lathe_status run_sample(const void *args, lathe_cli *cli, lathe_error *err) {
    const model_args *a = args;
    lathe_tree_model model;
    lathe_status st = read_model(cli, 1, "a model: lathe tree sample MODEL.json", &model, err);
    if (st)
        return st;
    const int32_t p = model.variables.n_columns;
    double *values = NULL;
    if (a->n > ((int64_t) 1 << 33) / p)
        st =
            lathe_fail(err, LATHE_ERR_ARG, "-n %lld: too many rows of %d columns", (long long) a->n, (int) p);
    else if ((values = malloc((size_t) a->n * (size_t) p * sizeof *values)) == NULL)
        st = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %lld rows", (long long) a->n);
    st = st ? st : lathe_tree_sample(&model, a->n, (uint64_t) a->seed, values, err);
    st = st ? st : write_rows(a, cli, &model, a->n, values, err);
    free(values);
    lathe_tree_model_free(&model);
    return st;
}

static lathe_status run_score(const void *args, lathe_cli *cli, lathe_error *err) {
    (void) args;
    lathe_tree_model model;
    lathe_table table = {0};
    double *evidence = NULL, sum = 0;
    lathe_status st =
        read_model(cli, 2, "a model and a table: lathe tree score MODEL.json TABLE.csv", &model, err);
    st = st ? st : read_rows(cli, &model, &table, &evidence, err);
    json_t *rows = json_array();
    for (int64_t t = 0; t < table.n_rows && !st; t++) {
        double one = 0;
        st = lathe_tree_infer(&model, evidence + t * model.variables.n_columns, &one, NULL, err);
        sum += one;
        if (!st && cli->json)
            json_array_append_new(rows, lathe_json_real(one)); /* null: impossible */
        else if (!st)
            fprintf(cli->out, "%.9g\n", one);
    }
    if (!st && cli->json) {
        json_object_set(cli->result, "log_likelihoods", rows);
        json_object_set_new(cli->result, "log_likelihood", lathe_json_real(sum));
        json_object_set_new(cli->result, "n", json_integer(table.n_rows));
    }
    json_decref(rows);
    free(evidence);
    lathe_table_free(&table);
    lathe_tree_model_free(&model);
    return st;
}

static lathe_status run_impute(const void *args, lathe_cli *cli, lathe_error *err) {
    lathe_tree_model model;
    lathe_table table = {0};
    double *evidence = NULL;
    lathe_status st =
        read_model(cli, 2, "a model and a table: lathe tree impute MODEL.json TABLE.csv", &model, err);
    st = st ? st : read_rows(cli, &model, &table, &evidence, err);
    const int32_t p = model.variables.n_columns;
    lathe_tree_belief *beliefs = calloc((size_t) p + 1, sizeof *beliefs);
    if (!st && beliefs == NULL)
        st = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %d variables", (int) p);
    int64_t n_filled = 0;
    for (int64_t t = 0; t < table.n_rows && !st; t++) {
        double *row = evidence + t * p;
        st = lathe_tree_infer(&model, row, NULL, beliefs, err);
        if (st) {
            const lathe_error inner = *err;
            st = lathe_fail(err, st, "row %lld: %s", (long long) t + 1, inner.text);
            break;
        }
        for (int32_t i = 0; i < p; i++)
            if (isnan(row[i]) && !model.hidden[i]) {
                row[i] = model.variables.columns[i].discrete ? beliefs[i].map : beliefs[i].mean;
                n_filled++;
            }
        free(beliefs[0].p);
    }
    st = st ? st : write_rows(args, cli, &model, table.n_rows, evidence, err);
    if (!st && cli->json)
        json_object_set_new(cli->result, "filled", json_integer(n_filled));
    free(beliefs);
    free(evidence);
    lathe_table_free(&table);
    lathe_tree_model_free(&model);
    return st;
}

/* Number of the variable with this name, which ends after n bytes; -1: none. */
static int32_t find_variable(const lathe_tree_model *model, const char *name, size_t n) {
    for (int32_t i = 0; i < model->variables.n_columns; i++)
        if (strlen(model->variables.columns[i].name) == n &&
            memcmp(model->variables.columns[i].name, name, n) == 0)
            return i;
    return -1;
}

static lathe_status read_evidence(const lathe_tree_model *model, const char *list, double *evidence,
                                  lathe_error *err) {
    for (const char *at = list; at != NULL && *at;) {
        const size_t n = strcspn(at, ","), name = strcspn(at, "=");
        if (name >= n)
            return lathe_fail(err, LATHE_ERR_ARG, "--evidence %.*s: write NAME=VALUE",
                              (int) (n < 80 ? n : 80), at);
        const int32_t i = find_variable(model, at, name);
        const char *value = at + name + 1;
        const size_t length = n - name - 1;
        if (i < 0)
            return lathe_fail(err, LATHE_ERR_ARG, "--evidence: the model has no variable '%.*s'",
                              (int) (name < 80 ? name : 80), at);
        const lathe_column *c = &model->variables.columns[i];
        bool found = false;
        if (!c->discrete) {
            char *end;
            evidence[i] = strtod(value, &end);
            found = length > 0 && end == value + length && isfinite(evidence[i]);
        }
        for (int32_t s = 0; c->discrete && s < c->n_states; s++)
            if (strlen(c->states[s]) == length && memcmp(c->states[s], value, length) == 0) {
                evidence[i] = s;
                found = true;
            }
        if (!found)
            return lathe_fail(err, LATHE_ERR_ARG, "--evidence: '%.*s' is no %s of '%.60s'",
                              (int) (length < 80 ? length : 80), value, c->discrete ? "state" : "value",
                              c->name);
        at += n + (at[n] == ',');
    }
    return LATHE_OK;
}

static void print_belief(const model_args *a, lathe_cli *cli, const lathe_tree_model *model, int32_t i,
                         const lathe_tree_belief *b, json_t *out) {
    const lathe_column *c = &model->variables.columns[i];
    json_t *one = json_object();
    if (!c->discrete) {
        json_object_set_new(one, "mean", lathe_json_real(b->mean));
        json_object_set_new(one, "variance", lathe_json_real(b->variance));
        if (!cli->json)
            fprintf(cli->out, "%s  mean %.6g  sd %.6g\n", c->name, b->mean, sqrt(b->variance));
    } else {
        json_t *p = json_object();
        for (int32_t s = 0; s < c->n_states; s++)
            json_object_set_new(p, c->states[s], lathe_json_real(b->p[s]));
        json_object_set_new(one, "p", p);
        json_object_set_new(one, "map", lathe_json_string(c->states[b->map]));
        if (!cli->json) {
            fprintf(cli->out, "%s ", c->name);
            for (int32_t s = 0; s < c->n_states && !a->map; s++)
                fprintf(cli->out, " %s: %.6f", c->states[s], b->p[s]);
            fprintf(cli->out, a->map ? " %s\n" : "\n", c->states[b->map]);
        }
    }
    json_object_set_new(out, c->name, one);
}

static lathe_status run_infer(const void *args, lathe_cli *cli, lathe_error *err) {
    const model_args *a = args;
    lathe_tree_model model;
    lathe_status st = read_model(cli, 1, "a model: lathe tree infer MODEL.json --evidence A=1", &model, err);
    if (st)
        return st;
    const int32_t p = model.variables.n_columns;
    double *evidence = malloc((size_t) p * sizeof *evidence), log_evidence = 0;
    lathe_tree_belief *beliefs = calloc((size_t) p, sizeof *beliefs);
    if (evidence == NULL || beliefs == NULL)
        st = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %d variables", (int) p);
    for (int32_t i = 0; i < p && !st; i++)
        evidence[i] = NAN;
    st = st ? st : read_evidence(&model, a->evidence, evidence, err);
    for (const char *at = a->query; at != NULL && *at && !st; at += strcspn(at, ","), at += *at == ',')
        if (find_variable(&model, at, strcspn(at, ",")) < 0)
            st = lathe_fail(err, LATHE_ERR_ARG, "--query: the model has no variable '%.60s'", at);
    st = st ? st : lathe_tree_infer(&model, evidence, &log_evidence, beliefs, err);
    if (!st) {
        json_t *out = json_object();
        for (const char *at = a->query; at != NULL && *at; at += strcspn(at, ","), at += *at == ',') {
            const int32_t i = find_variable(&model, at, strcspn(at, ","));
            print_belief(a, cli, &model, i, &beliefs[i], out);
        }
        for (int32_t i = 0; i < p && a->query == NULL; i++)
            print_belief(a, cli, &model, i, &beliefs[i], out);
        if (cli->json) {
            json_object_set(cli->result, "variables", out);
            json_object_set_new(cli->result, "log_evidence", lathe_json_real(log_evidence));
        } else if (a->evidence != NULL) {
            fprintf(cli->out, "log probability of the evidence %.9g\n", log_evidence);
        }
        json_decref(out);
        free(beliefs[0].p);
    }
    free(evidence);
    free(beliefs);
    lathe_tree_model_free(&model);
    return st;
}

extern const lathe_verb lathe_verb_tree_sample;
const lathe_verb lathe_verb_tree_sample = {
    .name = "tree sample",
    .summary = "draw rows from a learned tree model",
    .usage = "lathe tree sample MODEL.json [-n ROWS]",
    .examples = "lathe tree sample model.json -n 1000 --seed 7 -o rows.csv",
    .schema = "lathe.tree-sample/1",
    .options = {sample_tables, sample_sizes, 1},
    .args_size = sizeof(model_args),
    .defaults = defaults,
    .run = run_sample,
};

extern const lathe_verb lathe_verb_tree_score;
const lathe_verb lathe_verb_tree_score = {
    .name = "tree score",
    .summary = "log-likelihood of each row under a learned tree model",
    .usage = "lathe tree score MODEL.json TABLE.csv",
    .examples = "lathe tree score model.json new.csv --json",
    .schema = "lathe.tree-score/1",
    .options = {NULL, NULL, 0},
    .args_size = sizeof(model_args),
    .defaults = defaults,
    .run = run_score,
};

extern const lathe_verb lathe_verb_tree_impute;
const lathe_verb lathe_verb_tree_impute = {
    .name = "tree impute",
    .summary = "fill a table's missing cells: the most probable states, or means",
    .usage = "lathe tree impute MODEL.json TABLE.csv",
    .examples = "lathe tree impute model.json gaps.csv -o full.csv",
    .schema = "lathe.tree-impute/1",
    .options = {impute_tables, impute_sizes, 1},
    .args_size = sizeof(model_args),
    .defaults = defaults,
    .run = run_impute,
};

extern const lathe_verb lathe_verb_tree_infer;
const lathe_verb lathe_verb_tree_infer = {
    .name = "tree infer",
    .summary = "marginals of a learned tree model given evidence",
    .usage = "lathe tree infer MODEL.json [--evidence A=1,B=0] [--query C] [--map]",
    .examples = "lathe tree infer model.json --evidence smoke=yes --query lung",
    .schema = "lathe.tree-infer/1",
    .options = {infer_tables, infer_sizes, 1},
    .args_size = sizeof(model_args),
    .defaults = defaults,
    .run = run_infer,
};
