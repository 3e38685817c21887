/* analyse_long.c - see analyse_long.h. */
#include "cli/analyse_long.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "lathe/decode.h"

enum { CTX_MAX = 16, TEXT_MAX = 1 << 28 };

typedef struct text {
    lathe_model *model;
    lathe_context *context;
    int32_t *ids;
    size_t n_ids;
    int32_t ctx[CTX_MAX]; /* descending */
    int32_t n_ctx;
} text;

static int descending(const void *a, const void *b) {
    return *(const int32_t *) b - *(const int32_t *) a;
}

static lathe_status parse_ctx(const char *list, text *t, lathe_error *err) {
    t->n_ctx = 0;
    for (const char *at = list; *at != '\0';) {
        char word[32];
        const size_t n = strcspn(at, ",");
        int64_t value = 0;
        memcpy(word, at, n < sizeof word ? n : sizeof word - 1);
        word[n < sizeof word ? n : sizeof word - 1] = '\0';
        if (n >= sizeof word || !lathe_parse_int(word, &value) || value < 16 || value > 1 << 24 ||
            t->n_ctx == CTX_MAX)
            return lathe_fail(err, LATHE_ERR_ARG,
                              "--ctx: '%s'; at most %d lengths from 16, separated by commas, are right", word,
                              (int) CTX_MAX);
        t->ctx[t->n_ctx++] = (int32_t) value;
        at += n + (at[n] == ',');
    }
    qsort(t->ctx, (size_t) t->n_ctx, sizeof *t->ctx, descending);
    return t->n_ctx > 0 ? LATHE_OK
                        : lathe_fail(err, LATHE_ERR_ARG, "--ctx is empty; want lengths, as 512,2048");
}

static void close_text(text *t) {
    lathe_context_free(t->context);
    lathe_model_free(t->model);
    lathe_free(t->ids);
}

static lathe_status open_text(const lathe_analyse_long *a, text *t, lathe_cli *cli, lathe_error *err) {
    lathe_model_params mp = lathe_model_params_default();
    mp.logger = cli->logger;
    lathe_status st = parse_ctx(a->ctx, t, err);
    if (!st)
        st = lathe_model_load(a->model, &mp, &t->model, err);
    if (!st && !lathe_model_vocab(t->model))
        st = lathe_fail(err, LATHE_ERR_INPUT, "%s has no tokenizer", a->model);
    char *bytes = NULL;
    size_t n_bytes = 0;
    if (!st)
        st = lathe_file_read(a->text, TEXT_MAX, &bytes, &n_bytes, err);
    if (!st)
        st = lathe_tokenize(lathe_model_vocab(t->model), bytes, n_bytes, -1, false, &t->ids, &t->n_ids, err);
    free(bytes);
    if (!st && t->n_ids < (size_t) t->ctx[0])
        st = lathe_fail(err, LATHE_ERR_INPUT,
                        "%s has %zu tokens; %d are wanted (a longer text, or a smaller --ctx)", a->text,
                        t->n_ids, t->ctx[0]);
    if (st)
        return st;
    lathe_context_params cp = lathe_context_params_default();
    cp.n_ctx = t->ctx[0] + (int32_t) a->n_predict + 64;
    cp.n_threads = (int32_t) a->threads;
    cp.logger = cli->logger;
    return lathe_context_new(t->model, &cp, &t->context, err);
}

/* The cache of the longest text, from a session file where there is one. */
static lathe_status prefill(const lathe_analyse_long *a, text *t, lathe_cli *cli, lathe_error *err) {
    const int32_t n = t->ctx[0] - 1, n_batch = lathe_context_n_batch(t->context);
    int32_t held = 0;
    lathe_status st = LATHE_OK;
    if (a->session && access(a->session, R_OK) == 0) {
        int32_t *ids = NULL;
        size_t n_ids = 0;
        st = lathe_context_load(t->context, a->session, &ids, &n_ids, err);
        while (!st && (size_t) held < n_ids && held < n && ids[held] == t->ids[held])
            held++;
        lathe_free(ids);
        if (!st)
            st = lathe_context_rollback(t->context, 0, held, err);
    }
    uint8_t *want = calloc((size_t) n_batch, 1);
    if (!st && !want)
        st = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a batch");
    const bool whole = held >= n;
    while (!st && held < n) {
        const int32_t k = n - held < n_batch ? n - held : n_batch;
        st = lathe_context_decode(t->context,
                                  &(lathe_batch){.tokens = t->ids + held, .want = want, .n_tokens = k}, err);
        held += k;
        if (!st)
            st = lathe_progress_step(&cli->progress, "text", held, n, err);
    }
    free(want);
    if (!st && a->session && !whole)
        st = lathe_context_save(t->context, a->session, t->ids, (size_t) n, err);
    return st;
}

static json_t *row_of(const lathe_long_result *r, double break_even) {
    json_t *steps = json_array();
    for (int32_t k = 1; k <= LATHE_LONG_LENGTH_MAX && r->reached[k] > 0; k++)
        json_array_append_new(steps, json_real((double) r->accepted_at[k] / (double) r->reached[k]));
    json_t *o = json_object();
    json_object_set_new(o, "ctx", json_integer(r->n_ctx));
    json_object_set_new(o, "rounds", json_integer(r->rounds));
    json_object_set_new(o, "proposed", json_integer(r->proposed));
    json_object_set_new(o, "accepted", json_integer(r->accepted));
    json_object_set_new(o, "tau", lathe_json_real((double) r->emitted / (double) r->rounds));
    json_object_set_new(o, "acceptance_by_step", steps);
    json_object_set_new(o, "plain_s", lathe_json_real(r->plain_s));
    json_object_set_new(o, "draft_s", lathe_json_real(r->draft_s));
    json_object_set_new(o, "verify_s", lathe_json_real(r->verify_s));
    json_object_set_new(o, "begin_s", lathe_json_real(r->begin_s));
    json_object_set_new(o, "tokens_per_s_plain", lathe_json_real(1 / r->plain_s));
    json_object_set_new(o, "tokens_per_s", lathe_json_real(r->speedup / r->plain_s));
    json_object_set_new(o, "speedup", lathe_json_real(r->speedup));
    json_object_set_new(o, "predicted_speedup", lathe_json_real(r->model_speedup));
    json_object_set_new(o, "io_speedup", lathe_json_real(r->io_speedup));
    json_object_set_new(o, "break_even_ctx", lathe_json_real(break_even));
    json_object_set_new(o, "equal_to_plain", json_boolean(r->same_text));
    json_object_set_new(o, "first_difference", json_integer(r->first_difference));
    json_object_set_new(o, "margin", lathe_json_real(r->margin));
    json_object_set_new(o, "kept_mass", lathe_json_real(r->kept_mass));
    json_object_set_new(o, "kv_bytes_target", json_integer(r->target_bytes));
    json_object_set_new(o, "kv_bytes_draft", json_integer(r->draft_bytes));
    json_object_set_new(o, "weights_bytes", json_integer(r->weights_bytes));
    return o;
}

static double break_even_of(const char *kind, const lathe_analyse_long *a, const lathe_long_result *r) {
    if (strcmp(kind, "std") != 0 || r->proposed == 0)
        return NAN;
    const double w = (double) r->weights_bytes, kv = (double) r->target_bytes / r->n_ctx;
    const lathe_io_model io = {.weights = w,
                               .kv = kv,
                               .batch = (double) a->batch,
                               .draft_weights = w,
                               .draft_rows = (double) a->budget,
                               .verify = 1};
    return lathe_io_break_even(&io, (double) r->accepted / (double) r->proposed);
}

static lathe_status measure(const char *kind, const lathe_analyse_long *a, text *t, lathe_cli *cli,
                            lathe_error *err) {
    char name[4096];
    lathe_long_params p = lathe_long_params_default();
    const int used = strcmp(kind, "std") == 0 ? snprintf(name, sizeof name, "std")
                                              : snprintf(name, sizeof name, "longspec:%s", a->draft);
    if (used < 0 || (size_t) used >= sizeof name)
        return lathe_fail(err, LATHE_ERR_ARG, "the path '%s' is too long", a->draft);
    p.proposer = name;
    p.tree = a->tree;
    p.length = (int32_t) a->length;
    p.n_predict = (int32_t) a->n_predict;
    p.repeats = (int32_t) a->repeats;
    p.std_budget = (int32_t) a->budget;
    p.std_queries = (int32_t) a->queries;
    p.std_rule = a->rule == NULL || strcmp(a->rule, "top") == 0 ? 0 : strcmp(a->rule, "window") == 0 ? 1 : 2;
    p.logger = cli->logger;
    json_t *rows = json_array();
    if (!cli->json)
        fprintf(cli->out, "%8s %6s %10s %10s %10s %9s %9s %9s %9s %10s %6s\n", "context", "tau", "plain ms",
                "draft ms", "verify ms", "tokens/s", "speed-up", "predicted", "bytes say", "own cache",
                "equal");
    lathe_status st = LATHE_OK;
    for (int32_t i = 0; i < t->n_ctx && !st; i++) {
        lathe_long_result r;
        st = lathe_context_rollback(t->context, 0, t->ctx[i] - 1, err);
        if (!st)
            st = lathe_long_measure(t->context, t->ids, t->ctx[i], &p, &r, err);
        if (!st)
            st = lathe_progress_step(&cli->progress, "contexts", i + 1, t->n_ctx, err);
        if (st)
            break;
        const double break_even = break_even_of(kind, a, &r);
        json_array_append_new(rows, row_of(&r, break_even));
        if (cli->json)
            continue;
        char own[32];
        lathe_format_bytes(r.draft_bytes, own, sizeof own);
        fprintf(cli->out, "%8d %6.2f %10.2f %10.2f %10.2f %9.1f %9.2f %9.2f %9.2f %10s %6s\n", r.n_ctx,
                (double) r.emitted / (double) r.rounds, 1e3 * r.plain_s, 1e3 * r.draft_s, 1e3 * r.verify_s,
                r.speedup / r.plain_s, r.speedup, r.model_speedup, r.io_speedup, own,
                r.same_text       ? "yes"
                : r.margin < 0.05 ? "tie"
                                  : "NO");
        if (isfinite(break_even))
            fprintf(
                cli->out,
                "%8s begins in %.2f s; attention kept %.3f; by bytes alone it gains from %.0f tokens on\n",
                "", r.begin_s, r.kept_mass, break_even);
    }
    if (cli->json)
        json_object_set_new(cli->result, "contexts", rows);
    else
        json_decref(rows);
    return st;
}

lathe_status lathe_cli_analyse_long(const char *kind, const lathe_analyse_long *a, lathe_cli *cli,
                                    lathe_error *err) {
    text t = {0};
    if (!a->model || !a->text)
        return lathe_fail(err, LATHE_ERR_ARG, "a model and a text are needed: -m MODEL -f TEXT");
    if (strcmp(kind, "longspec") == 0 && !a->draft)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "the draft is missing; want --draft FILE.gguf (lathe train longspec)");
    if (a->rule && strcmp(a->rule, "top") != 0 && strcmp(a->rule, "window") != 0 &&
        strcmp(a->rule, "random") != 0)
        return lathe_fail(err, LATHE_ERR_ARG, "--keep '%.40s'; top, window or random is right", a->rule);
    lathe_status st = open_text(a, &t, cli, err);
    if (!st)
        st = prefill(a, &t, cli, err);
    if (!st)
        st = measure(kind, a, &t, cli, err);
    close_text(&t);
    return st;
}
