/* verb_spec_model.c - `lathe spec calibrate`, `spec record`, `spec replay`, `spec report`: speculation with a
 * model, and what was written down about it. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/input.h"
#include "cli/sampling.h"
#include "cli/spec_report.h"
#include "cli/speculation.h"

typedef struct spec_model_args { /* begins like lathe_speculation_verb_args */
    lathe_shared_args shared;
    lathe_speculation_args spec;
    const char *depths, *prompts, *controllers;
    int64_t rows, n_predict, seed;
} spec_model_args;

static void defaults(void *arguments) {
    spec_model_args *a = arguments;
    lathe_shared_defaults(&a->shared, 0);
    lathe_speculation_defaults(&a->spec);
    a->depths = "64";
    a->rows = 17;
    a->n_predict = 128;
    a->controllers = "hazard,marginal,threshold,ucb,exp3,ducb,sw,linucb,hedge,eps,ts,uniform";
}

#define AT(field) offsetof(spec_model_args, field)

static const lathe_option calibrate_options[] = {
    {.name = "depths",
     .group = "spec",
     .arg = "LIST",
     .kind = LATHE_OPTION_LIST,
     .offset = AT(depths),
     .default_text = "64",
     .help = "tokens held before the measured steps"},
    {.name = "rows",
     .group = "spec",
     .arg = "N",
     .kind = LATHE_OPTION_INT,
     .offset = AT(rows),
     .min = 2,
     .max = 64,
     .default_text = "17",
     .help = "largest step"},
};
static const lathe_option record_options[] = {
    {.name = "prompts",
     .group = "spec",
     .arg = "FILE",
     .kind = LATHE_OPTION_FILE,
     .offset = AT(prompts),
     .help = "a prompt a line"},
    {.name = "n-predict",
     .short_name = "n",
     .group = "spec",
     .arg = "N",
     .kind = LATHE_OPTION_INT,
     .offset = AT(n_predict),
     .min = 1,
     .max = 1000000,
     .default_text = "128",
     .help = "tokens of an answer"},
};
static const lathe_option replay_options[] = {
    {.name = "controllers",
     .group = "spec",
     .arg = "LIST",
     .kind = LATHE_OPTION_LIST,
     .offset = AT(controllers),
     .default_text = "all",
     .help = "controllers to replay"},
    {.name = "seed",
     .group = "spec",
     .arg = "N",
     .kind = LATHE_OPTION_INT,
     .offset = AT(seed),
     .min = 0,
     .max = 9e15,
     .default_text = "0",
     .help = "seed of those that draw"},
};

/* --- calibrate ----------------------------------------------------------------------------------- */

static void calibration_text(lathe_cli *cli, const lathe_spec_calibration *c) {
    fprintf(cli->out, "behind %d tokens: a plain step takes %.3f ms", (int) c->depth, 1e3 * c->plain_s);
    if (c->draft_s > 0.0)
        fprintf(cli->out, ", a drafted token %.3f ms (c = %.3f)", 1e3 * c->draft_s, c->cost.draft);
    fprintf(cli->out, "; measured in %.2f s%s\n", c->spent_s,
            c->assumed ? "; too slow to measure, so this is a cautious guess" : "");
    fprintf(cli->out, "%8s %8s\n", "rows", "v");
    for (int32_t i = 0; i < c->cost.n; i++)
        fprintf(cli->out, "%8d %8.3f\n", (int) c->cost.rows[i], c->cost.ratio[i]);
    fprintf(cli->out, "one drafted token pays from an acceptance of %.3f on\n", lathe_break_even(&c->cost));
    for (int i = 3; i <= 9; i++) {
        double S;
        const int32_t g = lathe_best_length(0.1 * i, 16, &c->cost, &S);
        fprintf(cli->out, "acceptance %.1f: %2d drafts, %.2fx\n", 0.1 * i, (int) g, S);
    }
}

static json_t *calibration_json(const lathe_spec_calibration *c) {
    json_t *v = json_array(), *best = json_array();
    for (int32_t i = 0; i < c->cost.n; i++)
        json_array_append_new(v, json_pack("[i, f]", (int) c->cost.rows[i], c->cost.ratio[i]));
    for (int i = 1; i <= 9; i++) {
        double S;
        const int32_t g = lathe_best_length(0.1 * i, 16, &c->cost, &S);
        json_array_append_new(best,
                              json_pack("{s:f, s:i, s:f}", "alpha", 0.1 * i, "gamma", (int) g, "speedup", S));
    }
    return json_pack("{s:i, s:f, s:f, s:f, s:f, s:f, s:b, s:o, s:f, s:o}", "ctx", (int) c->depth, "plain_s",
                     c->plain_s, "c", c->cost.draft, "draft_s", c->draft_s, "overhead_s",
                     c->cost.overhead * c->plain_s, "spent_s", c->spent_s, "assumed", (int) c->assumed, "v",
                     v, "break_even_alpha", lathe_break_even(&c->cost), "recommended_gamma_by_alpha", best);
}

static lathe_status load_model(const spec_model_args *a, lathe_cli *cli, lathe_model **model,
                               lathe_error *err) {
    float split[64];
    lathe_model_params params;
    lathe_status st = lathe_shared_model_params(&a->shared, &params, split, err);
    params.logger = cli->logger;
    params.progress = cli->progress;
    return st ? st : lathe_model_load(a->shared.model, &params, model, err);
}

static lathe_status run_calibrate(const void *arguments, lathe_cli *cli, lathe_error *err) {
    const spec_model_args *a = arguments;
    const char *draft = strncmp(a->spec.spec, "draft:", 6) == 0 ? a->spec.spec + 6 : NULL;
    if (!draft && strcmp(a->spec.spec, "auto") != 0 && strcmp(a->spec.spec, "none") != 0)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "--spec %.40s; a draft model's cost is measured with draft:FILE", a->spec.spec);
    lathe_model *model = NULL;
    lathe_context_params params;
    char *cache = lathe_cache_folder();
    lathe_status st = lathe_shared_context_params(&a->shared, &params, err);
    if (!st)
        st = load_model(a, cli, &model, err);
    json_t *list = json_array();
    for (const char *at = a->depths; !st && at && *at;) {
        char word[32];
        int64_t depth;
        const size_t n = strcspn(at, ",");
        if (n >= sizeof word) {
            st = lathe_fail(err, LATHE_ERR_ARG, "--depths: '%.40s' is no list of numbers", a->depths);
            break;
        }
        memcpy(word, at, n);
        word[n] = 0;
        at += n + (at[n] == ',');
        if (!lathe_parse_int(word, &depth) || depth < 0 || depth > 1 << 24) {
            st = lathe_fail(err, LATHE_ERR_ARG, "--depths: '%s' is no number of tokens", word);
            break;
        }
        lathe_spec_calibration c;
        st = lathe_spec_calibrate(model, &params, (int32_t) depth, (int32_t) a->rows, draft, cache, &c, err);
        if (!st && cli->json)
            json_array_append_new(list, calibration_json(&c));
        else if (!st)
            calibration_text(cli, &c);
    }
    if (!st && cli->json) {
        json_t *first = json_array_get(list, 0);
        json_object_update(cli->result, first); /* the fields of the first depth, and all of them */
        json_object_set(cli->result, "depths", list);
    }
    json_decref(list);
    lathe_model_free(model);
    free(cache);
    return st;
}

/* --- record -------------------------------------------------------------------------------------- */

typedef struct recorder {
    lathe_writer *out;
    lathe_status status;
    lathe_error *err;
    int64_t n_rows;
    int32_t text;
} recorder;

static void put_line(recorder *r, json_t *line) {
    char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    if (!r->status)
        r->status = text ? lathe_writer_add(r->out, text, strlen(text), r->err)
                         : lathe_fail(r->err, LATHE_ERR_MEMORY, "no memory for a line of JSON");
    if (!r->status)
        r->status = lathe_writer_add(r->out, "\n", 1, r->err);
    free(text);
    json_decref(line);
}

static void record_row(void *user, int32_t position, const int32_t *emitted, int32_t n_arms) {
    recorder *r = user;
    json_t *list = json_array();
    for (int32_t i = 0; i < n_arms; i++)
        json_array_append_new(list, json_integer(emitted[i]));
    put_line(r,
             json_pack("{s:i, s:i, s:o}", "text", (int) r->text, "pos", (int) position, "arm_lengths", list));
    r->n_rows++;
}

static void record_header(recorder *r, const lathe_session *session, const char *model) {
    lathe_arm_info arms[LATHE_SPEC_STATS_ARMS];
    lathe_session_spec_stats stats;
    json_t *list = json_array(), *v = json_array();
    const int32_t n = lathe_session_arms(session, arms, LATHE_SPEC_STATS_ARMS);
    for (int32_t i = 0; i < n; i++)
        json_array_append_new(list, json_pack("{s:s, s:i, s:f}", "name", arms[i].name, "len",
                                              (int) arms[i].length, "draft", arms[i].draft));
    (void) lathe_session_spec_stats_of(session, &stats);
    for (int32_t i = 0; i < stats.cost.n; i++)
        json_array_append_new(v, json_pack("[i, f]", (int) stats.cost.rows[i], stats.cost.ratio[i]));
    put_line(r, json_pack("{s:s, s:o, s:o, s:o}", "schema", "lathe.spec-trace/1", "model",
                          lathe_json_string(model), "arms", list, "v", v));
}

static lathe_status record_line(const spec_model_args *a, const lathe_model *model, lathe_session *session,
                                const char *line, size_t n_bytes, recorder *r, lathe_error *err) {
    int32_t *ids = NULL;
    size_t n_ids = 0;
    lathe_session_clear(session);
    lathe_status st = lathe_tokenize(lathe_model_vocab(model), line, n_bytes,
                                     a->shared.bos_seen ? a->shared.bos : -1, false, &ids, &n_ids, err);
    if (!st)
        st = lathe_session_generate_ids(session, ids, n_ids, NULL, NULL, err);
    if (!st && r->n_rows == 0 && r->text == 0)
        record_header(r, session, a->shared.model);
    if (!st)
        st = lathe_session_trace(session, n_ids, record_row, r, err);
    lathe_free(ids);
    r->text++;
    return st ? st : r->status;
}

static lathe_status run_record(const void *arguments, lathe_cli *cli, lathe_error *err) {
    const spec_model_args *a = arguments;
    lathe_model *model = NULL;
    lathe_session *session = NULL;
    lathe_session_params params = lathe_session_params_default();
    lathe_spec_params spec;
    lathe_logit_bias *bias = NULL;
    char *text = NULL, *cache = lathe_cache_folder();
    size_t n_bytes = 0;
    recorder r = {.err = err};
    if (!a->prompts || !a->shared.output)
        return free(cache),
               lathe_fail(err, LATHE_ERR_ARG, "%s is missing; want --prompts FILE and -o TRACE.jsonl",
                          a->prompts ? "-o" : "--prompts");
    const lathe_shared_args file = {.file = a->prompts};
    lathe_status st = lathe_input_text(&file, NULL, 0, LATHE_INPUT_ERROR, &text, &n_bytes, err);
    if (!st)
        st = lathe_shared_context_params(&a->shared, &params.context, err);
    if (!st)
        st = lathe_shared_sampler_params(&a->shared, lathe_shared_seed(&a->shared), &params.sampler, &bias,
                                         err);
    if (!st)
        st = lathe_speculation_params(&a->spec, cache, cli, &spec, err);
    if (!st)
        st = load_model(a, cli, &model, err);
    if (!st && !lathe_model_vocab(model))
        st = lathe_fail(err, LATHE_ERR_UNSUPPORTED, "the model has no tokenizer; prompts are text");
    params.n_predict = (int32_t) a->n_predict;
    spec.controller = spec.controller ? spec.controller : "ucb"; /* arms of several lengths */
    if (!st)
        st = lathe_session_new(model, &params, &session, err);
    if (!st)
        st = lathe_session_spec(session, &spec, err);
    if (!st)
        st = lathe_writer_open(a->shared.output, &r.out, err);
    for (size_t at = 0; !st && at < n_bytes;) {
        const char *newline = memchr(text + at, '\n', n_bytes - at);
        const size_t n = newline ? (size_t) (newline - text) - at : n_bytes - at;
        if (n > 0)
            st = record_line(a, model, session, text + at, n, &r, err);
        if (!st)
            st = lathe_progress_step(&cli->progress, "record", (double) (at + n), (double) n_bytes, err);
        at += n + 1;
    }
    if (!st && r.n_rows == 0)
        st = lathe_fail(err, LATHE_ERR_INPUT, "%s: no prompts; want one a line", a->prompts);
    if (st)
        lathe_writer_abandon(r.out);
    else
        st = lathe_writer_commit(r.out, err);
    if (!st && cli->json) {
        json_object_set_new(cli->result, "texts", json_integer(r.text));
        json_object_set_new(cli->result, "rows", json_integer((json_int_t) r.n_rows));
    } else if (!st) {
        fprintf(cli->out, "%s: %lld positions of %d texts\n", a->shared.output, (long long) r.n_rows,
                (int) r.text);
    }
    lathe_session_free(session);
    lathe_model_free(model);
    free(bias);
    free(text);
    free(cache);
    return st;
}

/* --- replay -------------------------------------------------------------------------------------- */

static lathe_status run_replay(const void *arguments, lathe_cli *cli, lathe_error *err) {
    const spec_model_args *a = arguments;
    lathe_trace *trace = NULL;
    if (cli->n_positional != 1)
        return lathe_fail(err, LATHE_ERR_ARG, "want one trace: lathe spec replay TRACE.jsonl");
    lathe_status st = lathe_trace_read(cli->positional[0], &trace, err);
    if (st)
        return st;
    json_t *rows = json_array(), *arms = json_array();
    bool first = true;
    for (const char *at = a->controllers; !st && *at;) {
        char name[64];
        lathe_replay r;
        const size_t n = strcspn(at, ",");
        snprintf(name, sizeof name, "%.*s", (int) (n < 63 ? n : 63), at);
        at += n + (at[n] == ',');
        if ((st = lathe_trace_replay(trace, name, (uint64_t) a->seed, &r, err)))
            break;
        if (first)
            for (int32_t i = 0; i < r.n_arms; i++) {
                json_array_append_new(arms,
                                      json_pack("{s:s, s:f, s:f}", "name", lathe_trace_arm_name(trace, i),
                                                "cost", r.arm_cost[i], "speedup", r.tokens / r.arm_cost[i]));
                if (!cli->json)
                    fprintf(cli->out, "%s%-12s %10.1f %8.3fx\n",
                            i ? "" : "arm                cost  speed-up\n", lathe_trace_arm_name(trace, i),
                            r.arm_cost[i], r.tokens / r.arm_cost[i]);
            }
        json_t *pulls = json_array();
        for (int32_t i = 0; i < r.n_arms; i++)
            json_array_append_new(pulls, json_real(r.pulls[i]));
        json_array_append_new(rows, json_pack("{s:s, s:f, s:f, s:f, s:f, s:f, s:o}", "controller", name,
                                              "rounds", r.rounds, "cost", r.cost, "speedup",
                                              r.tokens / r.cost, "regret", r.cost - r.best_cost, "of_best",
                                              r.best_cost / r.cost, "pulls", pulls));
        if (!cli->json)
            fprintf(cli->out, "%s%-12s %10.1f %8.3fx %8.1f %10.1f%%\n",
                    first ? "controller         cost  speed-up   regret  of best arm\n" : "", name, r.cost,
                    r.tokens / r.cost, r.cost - r.best_cost, 100.0 * r.best_cost / r.cost);
        first = false;
    }
    if (!st && cli->json) {
        json_object_set(cli->result, "arms", arms);
        json_object_set(cli->result, "controllers", rows);
    }
    json_decref(rows);
    json_decref(arms);
    lathe_trace_free(trace);
    return st;
}

/* --- report -------------------------------------------------------------------------------------- */

static lathe_status run_report(const void *arguments, lathe_cli *cli, lathe_error *err) {
    const spec_model_args *a = arguments;
    if (cli->n_positional != 1 || !a->shared.output)
        return lathe_fail(
            err, LATHE_ERR_ARG,
            "want one file of --stats and a page: lathe spec report STATS.jsonl -o report.html");
    int64_t n_rounds = 0;
    const lathe_status st = lathe_spec_report(cli->positional[0], a->shared.output, &n_rounds, err);
    if (!st && cli->json)
        json_object_set_new(cli->result, "rounds", json_integer((json_int_t) n_rounds));
    else if (!st)
        fprintf(cli->out, "%s: %lld rounds\n", a->shared.output, (long long) n_rounds);
    return st;
}

/* --- The verbs ----------------------------------------------------------------------------------- */

static const lathe_option *const calibrate_tables[] = {lathe_options_model, lathe_options_context,
                                                       lathe_options_speculation, calibrate_options};
static const size_t calibrate_n[] = {LATHE_N_OPTIONS_MODEL, LATHE_N_OPTIONS_CONTEXT, 1,
                                     LATHE_LEN(calibrate_options)};
static const lathe_option *const record_tables[] = {
    lathe_options_model,  lathe_options_context,     lathe_options_sampling, lathe_options_seed,
    lathe_options_output, lathe_options_speculation, record_options};
static const size_t record_n[] = {LATHE_N_OPTIONS_MODEL,    LATHE_N_OPTIONS_CONTEXT, LATHE_N_OPTIONS_SAMPLING,
                                  LATHE_N_OPTIONS_SEED,     LATHE_N_OPTIONS_OUTPUT,  6,
                                  LATHE_LEN(record_options)};
static const lathe_option *const replay_tables[] = {replay_options};
static const size_t replay_n[] = {LATHE_LEN(replay_options)};
static const lathe_option *const report_tables[] = {lathe_options_output};
static const size_t report_n[] = {LATHE_N_OPTIONS_OUTPUT};

extern const lathe_verb lathe_verb_spec_calibrate, lathe_verb_spec_record, lathe_verb_spec_replay,
    lathe_verb_spec_report;

const lathe_verb lathe_verb_spec_calibrate = {
    .name = "spec calibrate",
    .summary = "what steps of several rows cost here, kept for run",
    .usage = "lathe spec calibrate -m MODEL.gguf [--spec draft:FILE] [--depths LIST]",
    .examples = "lathe spec calibrate -m target.gguf --spec draft:small.gguf --depths 512,4096",
    .schema = "lathe.spec-calibrate/1",
    .options = {calibrate_tables, calibrate_n, LATHE_LEN(calibrate_tables)},
    .args_size = sizeof(spec_model_args),
    .defaults = defaults,
    .run = run_calibrate,
};

const lathe_verb lathe_verb_spec_record = {
    .name = "spec record",
    .summary = "what each arm would have emitted at every position",
    .usage = "lathe spec record -m MODEL.gguf --prompts FILE -o TRACE.jsonl [--spec NAMES]",
    .examples =
        "lathe spec record -m target.gguf --spec auto+draft:small.gguf --prompts prompts.txt -o trace.jsonl",
    .schema = "lathe.spec-record/1",
    .options = {record_tables, record_n, LATHE_LEN(record_tables)},
    .args_size = sizeof(spec_model_args),
    .defaults = defaults,
    .run = run_record,
};

const lathe_verb lathe_verb_spec_replay = {
    .name = "spec replay",
    .summary = "controllers replayed on a recorded trace",
    .usage = "lathe spec replay TRACE.jsonl [--controllers LIST]",
    .examples = "lathe spec replay trace.jsonl --controllers hazard,ucb,exp3",
    .schema = "lathe.spec-replay/1",
    .options = {replay_tables, replay_n, LATHE_LEN(replay_tables)},
    .args_size = sizeof(spec_model_args),
    .defaults = defaults,
    .run = run_replay,
};

const lathe_verb lathe_verb_spec_report = {
    .name = "spec report",
    .summary = "a page about the rounds that --stats wrote",
    .usage = "lathe spec report STATS.jsonl -o report.html",
    .examples = "lathe run model.gguf \"Once\" --stats s.jsonl && lathe spec report s.jsonl -o report.html",
    .schema = "lathe.spec-report/1",
    .options = {report_tables, report_n, LATHE_LEN(report_tables)},
    .args_size = sizeof(spec_model_args),
    .defaults = defaults,
    .run = run_report,
};
