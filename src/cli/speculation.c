/* speculation.c - see speculation.h. */
#include "cli/speculation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"

#define AT(field) (offsetof(lathe_speculation_verb_args, spec) + offsetof(lathe_speculation_args, field))

const lathe_option lathe_options_speculation[LATHE_N_OPTIONS_SPECULATION] = {
    {.name = "spec",
     .group = "speculation",
     .arg = "NAMES",
     .kind = LATHE_OPTION_TEXT,
     .offset = AT(spec),
     .default_text = "auto",
     .help = "where drafts come from: none, auto, lookup, suffix, ngram, recycle, draft:FILE, "
             "longspec:FILE, std, or several "
             "joined by +"},
    {.name = "controller",
     .group = "speculation",
     .arg = "NAME",
     .kind = LATHE_OPTION_TEXT,
     .offset = AT(controller),
     .default_text = "hazard",
     .help = "which arm drafts how much: fixed:ARM, marginal, hazard, threshold, ucb, exp3, ducb, sw, "
             "linucb, hedge, "
             "eps, ts, uniform",
     .hidden = true},
    {.name = "verify",
     .group = "speculation",
     .arg = "NAME",
     .kind = LATHE_OPTION_TEXT,
     .offset = AT(verify),
     .default_text = "match",
     .help = "which drafts are kept: match, greedy, token, block, wor, wr, coupled; lossy: cool, typical, "
             "lantern",
     .hidden = true},
    {.name = "arms",
     .group = "speculation",
     .arg = "FILE",
     .kind = LATHE_OPTION_FILE,
     .offset = AT(arms),
     .help = "own arms: [{\"name\": \"s16\", \"proposer\": \"suffix\", \"len\": 16}, ...]",
     .hidden = true},
    {.name = "spec-len",
     .group = "speculation",
     .arg = "N",
     .kind = LATHE_OPTION_INT,
     .offset = AT(length),
     .min = 0,
     .max = 256,
     .default_text = "0",
     .help = "most drafted tokens a round, 0 = the proposer's usual; one proposer then always drafts so many",
     .hidden = true},
    {.name = "spec-tree",
     .group = "speculation",
     .arg = "SHAPE",
     .kind = LATHE_OPTION_TEXT,
     .offset = AT(tree),
     .default_text = "chain",
     .help = "of a draft model: chain, static:FILE, sequoia:N, eagle2:N,D,K, beam:W1,W2,...; of longspec: "
             "chain, beam:W1,W2,...",
     .hidden = true},
    {.name = "draft-head",
     .group = "speculation",
     .arg = "N",
     .kind = LATHE_OPTION_INT,
     .offset = AT(draft_head),
     .min = 0,
     .max = 1 << 24,
     .default_text = "0",
     .help = "a draft model scores its N most frequent tokens only; 0: all",
     .hidden = true},
    {.name = "draft-counts",
     .group = "speculation",
     .arg = "FILE.lcache",
     .kind = LATHE_OPTION_FILE,
     .offset = AT(draft_counts),
     .help = "n-gram cache that says which tokens are frequent; without: the first ids",
     .hidden = true},
    {.name = "reward",
     .group = "speculation",
     .arg = "NAME",
     .kind = LATHE_OPTION_TEXT,
     .offset = AT(reward),
     .default_text = "model",
     .help = "what bandits count: tokens over the cost by the model or by the clock (time), or tokens",
     .hidden = true},
    {.name = "threshold",
     .group = "speculation",
     .arg = "X",
     .kind = LATHE_OPTION_REAL,
     .offset = AT(threshold),
     .min = 0,
     .max = 1,
     .default_text = "0.7",
     .help = "the controller 'threshold' stops where a rejection is likelier than this",
     .hidden = true},
    {.name = "cool-delta",
     .group = "speculation",
     .arg = "X",
     .kind = LATHE_OPTION_REAL,
     .offset = AT(cool_delta),
     .min = 1,
     .max = 1e12,
     .default_text = "1.1",
     .help = "mean factor on the acceptance ratio of --verify cool",
     .hidden = true},
    {.name = "std-budget",
     .group = "speculation",
     .arg = "N",
     .kind = LATHE_OPTION_INT,
     .offset = AT(std_budget),
     .min = 64,
     .max = 1 << 24,
     .default_text = "1024",
     .help = "cache rows that --spec std drafts over",
     .hidden = true},
    {.name = "context-span",
     .group = "speculation",
     .arg = "A:B",
     .kind = LATHE_OPTION_TEXT,
     .offset = AT(span),
     .help = "positions of the prompt that --spec std thins; without: all but its end",
     .hidden = true},
    {.name = "stats",
     .group = "speculation",
     .arg = "FILE.jsonl",
     .kind = LATHE_OPTION_FILE,
     .offset = AT(stats),
     .help = "write a JSON line a round, the last line the sums"},
    {.name = "compare",
     .group = "speculation",
     .kind = LATHE_OPTION_FLAG,
     .offset = AT(compare),
     .help = "generate without speculation too; say where the texts part, and the speed-up"},
};

void lathe_speculation_defaults(lathe_speculation_args *args) {
    const lathe_spec_params p = lathe_spec_params_default();
    args->spec = "auto";
    args->cool_delta = p.cool_delta;
    args->cool_nu = p.cool_nu;
    args->threshold = p.threshold;
    args->std_budget = p.std_budget;
}

/* "A:B" to positions. */
static lathe_status parse_span(const char *text, int32_t *begin, int32_t *end, lathe_error *err) {
    char first[16] = "";
    const char *colon = text ? strchr(text, ':') : NULL;
    int64_t a = 0, b = 0;
    if (!text)
        return LATHE_OK;
    if (colon && colon - text < (ptrdiff_t) sizeof first)
        memcpy(first, text, (size_t) (colon - text));
    if (!colon || !lathe_parse_int(first, &a) || !lathe_parse_int(colon + 1, &b) || a < 0 || b <= a ||
        b > 1 << 24)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "--context-span '%.40s'; A:B, positions from A up to B, is right", text);
    *begin = (int32_t) a;
    *end = (int32_t) b;
    return LATHE_OK;
}

char *lathe_cache_folder(void) {
    const char *own = getenv("LATHE_CACHE_DIR"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char *out = NULL;
    if (own)
        return *own ? strdup(own) : NULL;
    const char *base = xdg && *xdg ? xdg : home;
    if (!base || !*base)
        return NULL;
    const char *tail = base == xdg ? "/lathe" : "/.cache/lathe";
    const size_t n = strlen(base) + strlen(tail) + 1;
    out = malloc(n);
    if (out)
        snprintf(out, n, "%s%s", base, tail);
    return out;
}

lathe_status lathe_speculation_params(const lathe_speculation_args *args, const char *cache,
                                      const lathe_cli *cli, lathe_spec_params *params, lathe_error *err) {
    *params = lathe_spec_params_default();
    const bool none = strcmp(args->spec, "none") == 0 && !args->arms;
    if (none && (args->controller || args->length > 0 || args->tree))
        return lathe_fail(err, LATHE_ERR_ARG,
                          "--spec none drafts nothing, and %s asks for drafts; leave one out",
                          args->controller ? "--controller"
                          : args->tree     ? "--spec-tree"
                                           : "--spec-len");
    if (args->arms && strcmp(args->spec, "auto") != 0)
        return lathe_fail(err, LATHE_ERR_ARG, "--spec %.40s beside --arms; the file has the arms already",
                          args->spec);
    if (args->draft_counts && args->draft_head == 0)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "--draft-counts chooses the tokens of --draft-head N; give both");
    params->proposers = args->spec;
    params->arms_file = args->arms;
    params->controller = args->controller;
    params->verifier = args->verify;
    params->tree = args->tree;
    params->draft_head = (int32_t) args->draft_head;
    params->draft_counts = args->draft_counts;
    params->reward = args->reward;
    params->length = (int32_t) args->length;
    params->threshold = args->threshold;
    params->cool_delta = args->cool_delta;
    params->cool_nu = args->cool_nu;
    params->cache_dir = cache;
    params->logger = cli->logger;
    params->std_budget = (int32_t) args->std_budget;
    return parse_span(args->span, &params->span_begin, &params->span_end, err);
}

/* --- Reports ------------------------------------------------------------------------------------- */

static json_t *arms_json(const lathe_session_spec_stats *spec) {
    json_t *arms = json_array();
    for (int32_t i = 0; i < spec->n_arms; i++) {
        const lathe_spec_arm_stats *a = &spec->arms[i];
        json_array_append_new(arms, json_pack("{s:s, s:o, s:o, s:o, s:I, s:I, s:I}", "name", a->name, "share",
                                              lathe_json_real(a->share), "accepted",
                                              lathe_json_real(a->accepted), "cost", lathe_json_real(a->cost),
                                              "rounds", (json_int_t) a->rounds, "proposed",
                                              (json_int_t) a->proposed, "emitted", (json_int_t) a->emitted));
    }
    return arms;
}

static json_t *counts_json(const int64_t *x, int32_t n) {
    json_t *list = json_array();
    for (int32_t i = 0; i < n; i++)
        json_array_append_new(list, json_integer((json_int_t) x[i]));
    return list;
}

static json_t *ratio_json(double a, double b) {
    return b > 0.0 ? lathe_json_real(a / b) : json_null();
}

json_t *lathe_speculation_json(const lathe_session_spec_stats *spec) {
    const double rounds = (double) spec->rounds;
    json_t *o = json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:o, s:I, s:I, s:b, s:b}", "proposer",
                          spec->proposer, "verify", spec->verifier, "controller", spec->controller, "rounds",
                          (json_int_t) spec->rounds, "emitted", (json_int_t) spec->emitted, "proposed",
                          (json_int_t) spec->proposed, "accepted", (json_int_t) spec->accepted,
                          "mean_accepted", ratio_json((double) spec->accepted, rounds), "truncated",
                          (json_int_t) spec->truncated, "target_rows", (json_int_t) spec->rows, "lossless",
                          (int) spec->lossless, "same_text", (int) spec->same_text);
    json_t *v = json_array(), *rates = json_array();
    for (int32_t i = 0; i < spec->cost.n; i++)
        json_array_append_new(v, json_pack("[i, f]", (int) spec->cost.rows[i], spec->cost.ratio[i]));
    for (int32_t k = 0; k < spec->n_depth; k++)
        json_array_append_new(rates, ratio_json((double) spec->accepted_at[k], (double) spec->reached[k]));
    json_object_set_new(o, "acceptance_rate", ratio_json((double) spec->accepted, (double) spec->proposed));
    json_object_set_new(o, "tau", ratio_json((double) spec->emitted, rounds));
    json_object_set_new(o, "wasted_rows", json_integer((json_int_t) (spec->proposed - spec->accepted)));
    json_object_set_new(o, "arms", arms_json(spec));
    json_object_set_new(o, "switches", json_integer((json_int_t) spec->switches));
    json_object_set_new(o, "reached", counts_json(spec->reached, spec->n_depth));
    json_object_set_new(o, "accepted_at", counts_json(spec->accepted_at, spec->n_depth));
    json_object_set_new(o, "cond_rate", rates);
    json_object_set_new(o, "draft_s", lathe_json_real(spec->draft_s));
    json_object_set_new(o, "verify_s", lathe_json_real(spec->verify_s));
    json_object_set_new(o, "sample_s", lathe_json_real(spec->sample_s));
    json_object_set_new(o, "other_s", lathe_json_real(spec->other_s));
    json_object_set_new(o, "plain_s", spec->plain_s > 0.0 ? lathe_json_real(spec->plain_s) : json_null());
    json_object_set_new(o, "tokens_per_s_plain", ratio_json(1.0, spec->plain_s));
    json_object_set_new(o, "speedup_vs_plain",
                        spec->speedup_vs_plain > 0.0 ? lathe_json_real(spec->speedup_vs_plain) : json_null());
    json_object_set_new(o, "v_used", v);
    json_object_set_new(o, "loss_bound", lathe_json_real(spec->loss_bound));
    json_object_set_new(o, "gate_refused", json_integer((json_int_t) spec->gate_refused));
    json_object_set_new(o, "probes", json_integer((json_int_t) spec->probes));
    json_object_set_new(o, "interrupted_s", lathe_json_real(spec->interrupted_s));
    json_object_set_new(o, "regret_estimate", lathe_json_real(spec->regret));
    json_object_set_new(o, "best_arm", spec->best_arm ? json_string(spec->best_arm) : json_null());
    json_object_set_new(o, "tv_budget", lathe_json_real(spec->tv_budget));
    json_object_set_new(o, "kv_bytes_draft", json_integer((json_int_t) spec->draft_bytes));
    return o;
}

void lathe_speculation_text(const lathe_session_spec_stats *spec, char *out, size_t n_out) {
    size_t w = 0;
    const double rounds = spec->rounds > 0 ? (double) spec->rounds : 1.0;
    w += (size_t) snprintf(out, n_out, ", %.2f kept a round", (double) spec->accepted / rounds);
    if (spec->speedup_vs_plain > 0.0 && w < n_out)
        w += (size_t) snprintf(out + w, n_out - w, ", %.2fx plain", spec->speedup_vs_plain);
    for (int32_t i = 0; i < spec->n_arms && w < n_out; i++)
        if (spec->arms[i].rounds > 0)
            w += (size_t) snprintf(out + w, n_out - w, ", %s %.0f%%", spec->arms[i].name,
                                   100.0 * spec->arms[i].share);
    if (!spec->lossless && w < n_out)
        snprintf(out + w, n_out - w, ", lossy (%s: total variation at most %.3g a token)", spec->verifier,
                 spec->emitted > 0 ? spec->tv_budget / (double) spec->emitted : 0.0);
}

/* --- A line a round ------------------------------------------------------------------------------ */

lathe_status lathe_round_log_open(const char *path, lathe_round_log *log, lathe_error *err) {
    *log = (lathe_round_log){0};
    return lathe_writer_open(path, &log->writer, err);
}

static void put(lathe_round_log *log, json_t *line) {
    char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    if (!log->status)
        log->status = text ? lathe_writer_add(log->writer, text, strlen(text), &log->error)
                           : lathe_fail(&log->error, LATHE_ERR_MEMORY, "no memory for a line of JSON");
    if (!log->status)
        log->status = lathe_writer_add(log->writer, "\n", 1, &log->error);
    free(text);
    json_decref(line);
}

void lathe_round_log_add(void *user, const lathe_spec_round *r) {
    lathe_round_log *log = user;
    if (!log->writer)
        return;
    put(log,
        json_pack("{s:I, s:I, s:s, s:i, s:i, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:b}", "round",
                  (json_int_t) r->round, "pos", (json_int_t) r->position, "arm", r->arm, "proposed",
                  (int) r->proposed, "accepted", (int) r->accepted, "emitted", (int) r->emitted, "draft_s",
                  r->draft_s, "verify_s", r->verify_s, "sample_s", r->sample_s, "other_s", r->other_s, "cost",
                  r->cost, "regret", r->regret, "loss_s", r->loss_s, "refused", (int) r->refused));
}

void lathe_round_log_abandon(lathe_round_log *log) {
    lathe_writer_abandon(log->writer);
    *log = (lathe_round_log){0};
}

lathe_status lathe_round_log_end(lathe_round_log *log, const lathe_session *session, lathe_error *err) {
    lathe_session_spec_stats spec;
    if (!log->writer)
        return LATHE_OK;
    if (lathe_session_spec_stats_of(session, &spec)) {
        json_t *sums = lathe_speculation_json(&spec);
        json_object_set_new(sums, "schema", json_string("lathe.spec-stats/1"));
        put(log, sums);
    }
    if (log->status) {
        const lathe_status status = log->status;
        if (err)
            *err = log->error;
        lathe_round_log_abandon(log);
        return status;
    }
    lathe_writer *writer = log->writer;
    log->writer = NULL;
    return lathe_writer_commit(writer, err);
}
