/* verb_run.c - `lathe run`: text from a model: one answer, one for each line of a file, or a conversation. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/cli.h"
#include "cli/conversation.h"
#include "cli/input.h"
#include "cli/sampling.h"
#include "cli/shared_options.h"
#include "cli/speculation.h"

typedef struct run_args { /* begins like lathe_speculation_verb_args */
    lathe_shared_args shared;
    lathe_speculation_args spec;
    int64_t n_predict, keep, parallel;
    const char *prompts, *session, *stop, *system, *chat_template;
    bool interactive, ignore_eos, shift, stream;
} run_args;

#define AT(field) offsetof(run_args, field)
static const char *const predict_aliases[] = {"predict", NULL};
static const char *const interactive_aliases[] = {"chat", NULL};
static const char *const stop_aliases[] = {"reverse-prompt", NULL};
static const lathe_option options[] = {
    {.name = "n-predict",
     .short_name = "n",
     .aliases = predict_aliases,
     .group = "generation",
     .arg = "N",
     .kind = LATHE_OPTION_INT,
     .offset = AT(n_predict),
     .min = -1,
     .max = 2147483647,
     .default_text = "-1",
     .help = "tokens to generate, -1 = until the end of the text or the context is full"},
    {.name = "interactive",
     .short_name = "i",
     .aliases = interactive_aliases,
     .group = "generation",
     .kind = LATHE_OPTION_FLAG,
     .offset = AT(interactive),
     .help = "a conversation with the model's chat template"},
    {.name = "system-prompt",
     .short_name = "sys",
     .group = "generation",
     .arg = "TEXT",
     .kind = LATHE_OPTION_TEXT,
     .offset = AT(system),
     .help = "what a conversation begins with"},
    {.name = "chat-template",
     .group = "generation",
     .arg = "NAME",
     .kind = LATHE_OPTION_TEXT,
     .offset = AT(chat_template),
     .default_text = "the model's",
     .help = "kind of chat template: chatml, llama3, ...",
     .hidden = true},
    {.name = "prompts",
     .group = "generation",
     .arg = "FILE",
     .kind = LATHE_OPTION_FILE,
     .offset = AT(prompts),
     .help = "a prompt a line; writes a JSON line for each, line i (from 0) with seed + i"},
    {.name = "parallel",
     .short_name = "np",
     .group = "generation",
     .arg = "N",
     .kind = LATHE_OPTION_INT,
     .offset = AT(parallel),
     .min = 1,
     .max = 64,
     .default_text = "4",
     .help = "prompts of --prompts that are answered at once, in one batch",
     .hidden = true},
    {.name = "session",
     .group = "generation",
     .arg = "FILE",
     .kind = LATHE_OPTION_FILE,
     .offset = AT(session),
     .help = "keep what was read in this file, so that a long prompt is read once"},
    {.name = "stop",
     .short_name = "r",
     .aliases = stop_aliases,
     .group = "generation",
     .arg = "TEXT,...",
     .kind = LATHE_OPTION_LIST,
     .repeat = true,
     .offset = AT(stop),
     .help = "end the answer before any of these texts",
     .hidden = true},
    {.name = "ignore-eos",
     .group = "generation",
     .kind = LATHE_OPTION_FLAG,
     .offset = AT(ignore_eos),
     .help = "never draw the token that ends a text",
     .hidden = true},
    {.name = "context-shift",
     .group = "generation",
     .kind = LATHE_OPTION_FLAG,
     .offset = AT(shift),
     .help = "a full context drops its older half and goes on",
     .hidden = true},
    {.name = "keep",
     .group = "generation",
     .arg = "N",
     .kind = LATHE_OPTION_INT,
     .offset = AT(keep),
     .min = 0,
     .max = 16777216,
     .default_text = "0",
     .help = "tokens at the front that --context-shift keeps",
     .hidden = true},
    {.name = "stream",
     .group = "output",
     .kind = LATHE_OPTION_FLAG,
     .offset = AT(stream),
     .help = "write each token at once, not only on a terminal",
     .hidden = true},
};
static const lathe_option *const tables[] = {
    lathe_options_model, lathe_options_context, lathe_options_input,       lathe_options_sampling,
    lathe_options_seed,  lathe_options_output,  lathe_options_speculation, options};
static const size_t n_options[] = {
    LATHE_N_OPTIONS_MODEL, LATHE_N_OPTIONS_CONTEXT, LATHE_N_OPTIONS_INPUT,       LATHE_N_OPTIONS_SAMPLING,
    LATHE_N_OPTIONS_SEED,  LATHE_N_OPTIONS_OUTPUT,  LATHE_N_OPTIONS_SPECULATION, LATHE_LEN(options)};

static void defaults(void *arguments) {
    run_args *args = arguments;
    lathe_shared_defaults(&args->shared, -1);
    args->n_predict = -1;
    args->parallel = 4;
    lathe_speculation_defaults(&args->spec);
}

/* --- What comes in ------------------------------------------------------------------------------- */

static bool is_model_name(const char *word) {
    struct stat info;
    const size_t n = strlen(word);
    return (n > 5 && strcmp(word + n - 5, ".gguf") == 0) || stat(word, &info) == 0;
}

/* Something may be piped in: a file, a pipe or a socket, not a terminal nor /dev/null. */
static bool stdin_has_text(void) {
    struct stat info;
    return fstat(STDIN_FILENO, &info) == 0 &&
           (S_ISREG(info.st_mode) || S_ISFIFO(info.st_mode) || S_ISSOCK(info.st_mode));
}

static lathe_status add_part(lathe_buf *prompt, const lathe_shared_args *part, const char *const *words,
                             size_t n_words, lathe_error *err) {
    char *text = NULL;
    size_t n_bytes = 0;
    lathe_status st = lathe_input_text(part, words, n_words, LATHE_INPUT_ERROR, &text, &n_bytes, err);
    if (!st && memchr(text, 0, n_bytes))
        st = lathe_fail(err, LATHE_ERR_INPUT, "the prompt has a zero byte; it is no text");
    if (!st)
        st = lathe_buf_add(prompt, text, n_bytes, err);
    free(text);
    return st;
}

/* stdin where it is piped in, then -f, then -p or the words behind the model. Empty where there is nothing.
 */
static lathe_status read_prompt(const run_args *args, const char *const *words, size_t n_words,
                                bool use_stdin, lathe_buf *prompt, lathe_error *err) {
    const lathe_shared_args none = {0}, piped = {.file = "-"};
    const lathe_shared_args file = {.file = args->shared.file}, text = {.prompt = args->shared.prompt};
    const bool file_is_stdin = file.file && strcmp(file.file, "-") == 0;
    lathe_status st = LATHE_OK;
    if (text.prompt && n_words > 0)
        return lathe_fail(err, LATHE_ERR_ARG, "a prompt as '%.40s' and with -p too; one of them is enough",
                          words[0]);
    if (use_stdin && !file_is_stdin && stdin_has_text())
        st = add_part(prompt, &piped, NULL, 0, err);
    if (!st && file.file)
        st = add_part(prompt, &file, NULL, 0, err);
    if (!st && text.prompt)
        st = add_part(prompt, &text, NULL, 0, err);
    if (!st && n_words > 0)
        st = add_part(prompt, &none, words, n_words, err);
    return st;
}

/* --- What goes out ------------------------------------------------------------------------------- */

typedef struct output {
    lathe_cli *cli;
    bool write, flush; /* text as it comes */
    lathe_buf text;    /* all of it */
} output;

static bool take_text(void *user, const char *text, size_t n_bytes) {
    output *o = user;
    if (lathe_buf_add(&o->text, text, n_bytes, NULL) != LATHE_OK)
        return false;
    if (o->write) {
        lathe_put_text(o->cli->out, o->cli->is_tty, text, n_bytes);
        if (o->flush && fflush(o->cli->out) != 0)
            return false;
    }
    return !ferror(o->cli->out);
}

static bool is_interrupted(void *user) {
    (void) user;
    return lathe_cli_interrupted();
}

static double tokens_per_s(const lathe_session_stats *stats) {
    return stats->decode_s > 0 ? stats->n_predicted / stats->decode_s : 0;
}

static void fill_json(json_t *out, const lathe_session *session, const output *o) {
    const lathe_session_stats stats = lathe_session_stats_of(session);
    size_t n_ids = 0, n_generated = 0;
    const int32_t *ids = lathe_session_ids(session, &n_ids, &n_generated);
    json_object_set_new(out, "text", lathe_json_bytes(o->text.data ? o->text.data : "", o->text.n_bytes));
    json_object_set_new(out, "ids", lathe_json_ids(ids + (n_ids - n_generated), n_generated));
    json_object_set_new(out, "n_prompt", json_integer(stats.n_prompt));
    json_object_set_new(out, "n_reused", json_integer(stats.n_reused));
    json_object_set_new(out, "n_predicted", json_integer(stats.n_predicted));
    json_object_set_new(out, "stop", json_string(lathe_stop_name(stats.stop)));
    json_object_set_new(out, "seed", json_integer((json_int_t) stats.seed));
    json_object_set_new(out, "prefill_s", lathe_json_real(stats.prefill_s));
    json_object_set_new(out, "decode_s", lathe_json_real(stats.decode_s));
    json_object_set_new(out, "tokens_per_s", lathe_json_real(tokens_per_s(&stats)));
    json_object_set_new(out, "n_threads", json_integer(stats.n_threads));
    lathe_session_spec_stats spec;
    if (lathe_session_spec_stats_of(session, &spec))
        json_object_set_new(out, "spec", lathe_speculation_json(&spec));
}

static void print_summary(lathe_cli *cli, const lathe_session *session) {
    const lathe_session_stats s = lathe_session_stats_of(session);
    lathe_session_spec_stats spec;
    char rounds[512] = "";
    if (lathe_session_spec_stats_of(session, &spec) && spec.proposed > 0)
        lathe_speculation_text(&spec, rounds, sizeof rounds);
    if (cli->quiet == 0)
        fprintf(cli->err,
                "lathe run: %d prompt tokens (%d reused) in %.3f s, %d generated in %.3f s (%.1f tokens/s), "
                "end: %s, seed %llu, %d thread%s%s\n",
                s.n_prompt, s.n_reused, s.prefill_s, s.n_predicted, s.decode_s, tokens_per_s(&s),
                lathe_stop_name(s.stop), (unsigned long long) s.seed, s.n_threads,
                s.n_threads == 1 ? "" : "s", rounds);
}

/* --- A session ----------------------------------------------------------------------------------- */

enum { STOPS_MAX = 64 };

/* Cuts "a,b" in place of a copy; *copy is to be freed. */
static lathe_status split_stops(const char *list, char **copy, const char *stops[STOPS_MAX], int32_t *n_stops,
                                lathe_error *err) {
    *copy = NULL;
    *n_stops = 0;
    if (!list)
        return LATHE_OK;
    *copy = strdup(list);
    if (!*copy)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for stop strings");
    for (char *p = *copy; p;) {
        char *comma = strchr(p, ',');
        if (*n_stops == STOPS_MAX)
            return lathe_fail(err, LATHE_ERR_ARG, "more than %d stop strings", STOPS_MAX);
        stops[(*n_stops)++] = p;
        if (comma)
            *comma = '\0';
        p = comma ? comma + 1 : NULL;
    }
    return LATHE_OK;
}

/* Settings of an answer and what they borrow. */
typedef struct answer_params {
    lathe_session_params params;
    lathe_logit_bias *bias;
    char *copy;
    const char *stops[STOPS_MAX];
} answer_params;

static void answer_params_free(answer_params *a) {
    free(a->copy);
    free(a->bias);
}

static lathe_status make_params(const run_args *args, lathe_cli *cli, uint64_t seed, answer_params *a,
                                lathe_error *err) {
    *a = (answer_params){.params = lathe_session_params_default()};
    lathe_session_params *params = &a->params;
    params->n_predict = (int32_t) args->n_predict;
    params->n_keep = (int32_t) args->keep;
    params->ignore_eos = args->ignore_eos;
    params->shift = args->shift;
    params->progress = cli->progress;
    params->stop = a->stops;
    lathe_status st = lathe_shared_context_params(&args->shared, &params->context, err);
    params->context.logger = cli->logger;
    if (!st)
        st = lathe_shared_sampler_params(&args->shared, seed, &params->sampler, &a->bias, err);
    if (!st)
        st = split_stops(args->stop, &a->copy, a->stops, &params->n_stop, err);
    return st;
}

static lathe_status open_session(const run_args *args, lathe_cli *cli, const lathe_model *model,
                                 uint64_t seed, const lathe_spec_params *speculate, lathe_session **session,
                                 lathe_error *err) {
    answer_params a;
    lathe_status st = make_params(args, cli, seed, &a, err);
    if (!st)
        st = lathe_session_new(model, &a.params, session, err);
    if (!st)
        lathe_session_set_cancel(*session, is_interrupted, NULL);
    if (!st && speculate)
        st = lathe_session_spec(*session, speculate, err);
    if (st) {
        lathe_session_free(*session);
        *session = NULL;
    }
    answer_params_free(&a);
    return st;
}

static lathe_status prompt_ids(const run_args *args, const lathe_model *model, const lathe_buf *prompt,
                               bool special, int32_t **ids, size_t *n_ids, lathe_error *err) {
    if (!lathe_model_vocab(model))
        return lathe_fail(err, LATHE_ERR_UNSUPPORTED,
                          "the model has no tokenizer; give token ids with --ids");
    if (prompt->n_bytes == 0)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "the prompt is empty; give some text with -p or -f, or token ids "
                          "with --ids");
    return lathe_tokenize(lathe_model_vocab(model), prompt->data, prompt->n_bytes,
                          args->shared.bos_seen ? args->shared.bos : -1, special, ids, n_ids, err);
}

/* --- Speculation ---------------------------------------------------------------------------------- */

typedef struct speculation {
    lathe_spec_params params;
    lathe_round_log log;
    char *cache;
    bool on; /* else the plain step */
} speculation;

static lathe_status begin_speculation(const run_args *args, lathe_cli *cli, speculation *s,
                                      lathe_error *err) {
    *s = (speculation){.cache = lathe_cache_folder()};
    lathe_status st = lathe_speculation_params(&args->spec, s->cache, cli, &s->params, err);
    s->on = args->spec.arms || strcmp(args->spec.spec, "none") != 0 || args->spec.verify;
    if (!st && args->spec.stats) {
        if (args->prompts || args->interactive || !s->on)
            st = lathe_fail(err, LATHE_ERR_ARG,
                            "--stats writes the rounds of one answer with speculation; not of %s",
                            args->prompts       ? "--prompts"
                            : args->interactive ? "a conversation"
                                                : "--spec none");
        else
            st = lathe_round_log_open(args->spec.stats, &s->log, err);
        s->params.on_round = lathe_round_log_add;
        s->params.user = &s->log;
    }
    if (!st && args->spec.compare && (args->prompts || args->interactive || args->session || !s->on))
        st = lathe_fail(err, LATHE_ERR_ARG,
                        "--compare compares one answer with speculation; it goes without %s",
                        args->prompts       ? "--prompts"
                        : args->interactive ? "-i"
                        : args->session     ? "--session"
                                            : "--spec none");
    return st;
}

static void end_speculation(speculation *s) {
    lathe_round_log_abandon(&s->log);
    free(s->cache);
}

static const char *verdict_of(const lathe_difference *d) {
    return d->position < 0                      ? "equal"
           : d->is_tie                          ? "numerical tie"
           : d->plain_id < 0 || d->other_id < 0 ? "one ends earlier"
                                                : "BUG";
}

/* The same answer without speculation, and where the two part. */
static lathe_status compare(const run_args *args, lathe_cli *cli, lathe_session *session,
                            const speculation *spec, lathe_error *err) {
    const lathe_session_stats with = lathe_session_stats_of(session);
    size_t n_ids = 0, n_generated = 0;
    const int32_t *ids = lathe_session_ids(session, &n_ids, &n_generated);
    lathe_session *plain = NULL;
    lathe_difference d = {0};
    lathe_spec_params none = spec->params;
    none.proposers = "none";
    none.arms_file = none.controller = none.tree = NULL;
    none.length = 0;
    none.on_round = NULL;
    /* coupled draws by its own noise: without drafts it is still that rule. */
    const bool own_rule = args->spec.verify && strcmp(args->spec.verify, "coupled") == 0;
    lathe_status st = open_session(args, cli, lathe_context_model(lathe_session_context(session)), with.seed,
                                   own_rule ? &none : NULL, &plain, err);
    if (!st)
        st = lathe_session_generate_ids(plain, ids, n_ids - n_generated, NULL, NULL, err);
    const lathe_session_stats without = plain ? lathe_session_stats_of(plain) : with;
    if (!st)
        st = lathe_session_difference(plain, ids, n_ids, &d, err);
    const double speedup =
        with.decode_s > 0 && without.n_predicted > 0
            ? tokens_per_s(&with) / (tokens_per_s(&without) > 0 ? tokens_per_s(&without) : 1)
            : 0;
    if (!st && cli->json)
        json_object_set_new(cli->result, "compare",
                            json_pack("{s:b, s:I, s:s, s:f, s:f, s:f, s:f}", "equal_to_plain", d.position < 0,
                                      "position", (json_int_t) d.position, "verdict", verdict_of(&d),
                                      "margin", d.margin, "noise", d.noise, "tokens_per_s_plain",
                                      tokens_per_s(&without), "speedup", speedup));
    if (!st && d.position < 0 && cli->quiet == 0)
        fprintf(cli->err,
                "lathe run: compare: the same %d tokens without speculation at %.1f tokens/s: %.2fx\n",
                with.n_predicted, tokens_per_s(&without), speedup);
    else if (!st && cli->quiet == 0)
        fprintf(cli->err,
                "lathe run: compare: token %lld differs, %d against %d (%s: margin %.3g, noise of rows "
                "%.3g); without "
                "speculation %.1f tokens/s\n",
                (long long) (d.position - (int64_t) (n_ids - n_generated)), d.other_id, d.plain_id,
                verdict_of(&d), d.margin, d.noise, tokens_per_s(&without));
    lathe_session_free(plain);
    return st;
}

/* --- One answer ---------------------------------------------------------------------------------- */

static lathe_status one_answer(const run_args *args, lathe_cli *cli, lathe_session *session,
                               speculation *spec, const int32_t *ids, size_t n_ids, lathe_error *err) {
    output o = {
        .cli = cli, .write = !cli->json && !args->shared.output, .flush = cli->is_tty || args->stream};
    lathe_buf_init(&o.text, (size_t) 1 << 30);
    lathe_status st = LATHE_OK;
    struct stat info;
    if (args->session && stat(args->session, &info) == 0)
        st = lathe_session_load(session, args->session, err);
    if (!st)
        st = lathe_session_generate_ids(session, ids, n_ids, take_text, &o, err);
    if (!st && o.write)
        fputc('\n', cli->out);
    const bool interrupted = !st && lathe_cli_interrupted();
    if (!st && args->session)
        st = lathe_session_save(session, args->session, err);
    if (!st && args->shared.output)
        st = lathe_file_write(args->shared.output, o.text.data ? o.text.data : "", o.text.n_bytes, err);
    if (!st && cli->json)
        fill_json(cli->result, session, &o);
    if (!st)
        print_summary(cli, session);
    if (!st)
        st = lathe_round_log_end(&spec->log, session, err);
    if (!st && args->spec.compare && !interrupted)
        st = compare(args, cli, session, spec, err);
    lathe_buf_free(&o.text);
    if (!st && interrupted)
        st = lathe_fail(err, LATHE_ERR_CANCELLED, "interrupted");
    return st;
}

/* --- A file of prompts --------------------------------------------------------------------------- */

static lathe_status answer_line(const run_args *args, lathe_cli *cli, const lathe_model *model,
                                lathe_session *session, lathe_buf *line, uint64_t seed, lathe_error *err) {
    lathe_sampler_params sampler;
    lathe_logit_bias *bias = NULL;
    int32_t *ids = NULL;
    size_t n_ids = 0;
    output o = {.cli = cli};
    lathe_buf_init(&o.text, (size_t) 1 << 30);
    lathe_session_clear(session);
    lathe_status st = lathe_shared_sampler_params(&args->shared, seed, &sampler, &bias, err);
    if (!st)
        st = lathe_session_set_sampler(session, &sampler, err);
    if (!st)
        st = prompt_ids(args, model, line, args->shared.special_seen && args->shared.special, &ids, &n_ids,
                        err);
    if (!st)
        st = lathe_session_generate_ids(session, ids, n_ids, take_text, &o, err);
    if (!st) {
        json_t *out = json_pack("{s:s, s:s}", "schema", "lathe.run/1", "version", lathe_version());
        if (out)
            fill_json(out, session, &o);
        char *text = out ? json_dumps(out, JSON_COMPACT) : NULL;
        if (text)
            fprintf(cli->out, "%s\n", text);
        else
            st = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a line of JSON");
        fflush(cli->out);
        free(text);
        json_decref(out);
    }
    lathe_buf_free(&o.text);
    lathe_free(ids);
    free(bias);
    return st;
}

static lathe_status many_answers(const run_args *args, lathe_cli *cli, const lathe_model *model,
                                 lathe_session *session, uint64_t seed, lathe_error *err) {
    const lathe_shared_args file = {.file = args->prompts};
    char *text = NULL;
    size_t n_bytes = 0;
    uint64_t n_lines = 0;
    cli->json_printed = true;
    lathe_status st = lathe_input_text(&file, NULL, 0, LATHE_INPUT_ERROR, &text, &n_bytes, err);
    for (size_t at = 0; !st && at < n_bytes; n_lines++) {
        const char *newline = memchr(text + at, '\n', n_bytes - at);
        size_t n = newline ? (size_t) (newline - text) - at : n_bytes - at;
        const size_t next = at + n + 1;
        if (n > 0 && text[at + n - 1] == '\r')
            n--;
        lathe_buf line = {.data = text + at, .n_bytes = n};
        st = answer_line(args, cli, model, session, &line, seed + n_lines, err);
        if (st)
            st =
                err ? lathe_fail_within(err, "%s: line %llu", args->prompts, (unsigned long long) n_lines + 1)
                    : st;
        if (!st && lathe_cli_interrupted())
            st = lathe_fail(err, LATHE_ERR_CANCELLED, "interrupted");
        at = next;
    }
    if (!st && n_lines == 0)
        st = lathe_fail(err, LATHE_ERR_INPUT, "%s: no prompts; want one a line", args->prompts);
    free(text);
    return st;
}

/* --- Several of them at once --------------------------------------------------------------------- */

typedef struct many {
    lathe_cli *cli;
    lathe_stream_prompt *prompts; /* [n] */
    output *outputs;              /* [n] */
    char **lines;                 /* [n] JSON of answers that wait for an earlier one */
    size_t n, n_printed;
    bool failed;
} many;

/* Answers are written in the order of the prompts. */
static bool write_answer(void *user, size_t index, const lathe_session *session) {
    many *m = user;
    json_t *out = json_pack("{s:s, s:s}", "schema", "lathe.run/1", "version", lathe_version());
    if (out)
        fill_json(out, session, &m->outputs[index]);
    m->lines[index] = out ? json_dumps(out, JSON_COMPACT) : NULL;
    json_decref(out);
    m->failed = m->failed || !m->lines[index];
    for (; m->n_printed < m->n && m->lines[m->n_printed]; m->n_printed++)
        if (fprintf(m->cli->out, "%s\n", m->lines[m->n_printed]) < 0)
            m->failed = true;
    fflush(m->cli->out);
    return !m->failed && !ferror(m->cli->out) && !lathe_cli_interrupted();
}

static lathe_status read_prompts(const run_args *args, const lathe_model *model, uint64_t seed, char *text,
                                 size_t n_bytes, many *m, lathe_error *err) {
    size_t n = 0;
    for (size_t i = 0; i < n_bytes; i++)
        n += text[i] == '\n' || i + 1 == n_bytes;
    m->prompts = calloc(n + 1, sizeof *m->prompts);
    m->outputs = calloc(n + 1, sizeof *m->outputs);
    m->lines = calloc(n + 1, sizeof *m->lines);
    if (!m->prompts || !m->outputs || !m->lines)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %zu prompts", n);
    lathe_status st = LATHE_OK;
    for (size_t at = 0; !st && at < n_bytes; m->n++) {
        const char *newline = memchr(text + at, '\n', n_bytes - at);
        size_t length = newline ? (size_t) (newline - text) - at : n_bytes - at;
        const size_t next = at + length + 1;
        if (length > 0 && text[at + length - 1] == '\r')
            length--;
        const lathe_buf line = {.data = text + at, .n_bytes = length};
        int32_t *ids = NULL;
        st = prompt_ids(args, model, &line, args->shared.special_seen && args->shared.special, &ids,
                        &m->prompts[m->n].n_ids, err);
        if (st && err)
            st = lathe_fail_within(err, "%s: line %zu", args->prompts, m->n + 1);
        m->prompts[m->n].ids = ids;
        m->prompts[m->n].seed = seed + m->n;
        m->outputs[m->n].cli = m->cli;
        lathe_buf_init(&m->outputs[m->n].text, (size_t) 1 << 30);
        m->prompts[m->n].user = &m->outputs[m->n];
        at = next;
    }
    return st;
}

/* A context for all of them; where it does not fit into memory, a smaller one is not tried: the caller
 * answers one after another. */
static lathe_status open_host(const run_args *args, lathe_cli *cli, const lathe_model *model, uint64_t seed,
                              int32_t n_parallel, answer_params *a, int32_t *n_ctx, lathe_session **host,
                              lathe_error *err) {
    lathe_status st = make_params(args, cli, seed, a, err);
    if (st)
        return st;
    lathe_session_params params = a->params;
    *n_ctx = params.context.n_ctx > 0 ? params.context.n_ctx : lathe_model_n_ctx_train(model);
    if (*n_ctx < 1 || *n_ctx > INT32_MAX / n_parallel)
        return lathe_fail(err, LATHE_ERR_MEMORY, "a context of %d tokens for each of %d sequences", *n_ctx,
                          n_parallel);
    params.context.n_ctx = *n_ctx * n_parallel;
    params.context.n_seq_max = n_parallel;
    st = lathe_session_new(model, &params, host, err);
    if (!st)
        lathe_session_set_cancel(*host, is_interrupted, NULL);
    return st;
}

static lathe_status many_at_once(const run_args *args, lathe_cli *cli, const lathe_model *model,
                                 const speculation *spec, uint64_t seed, bool *done, lathe_error *err) {
    const lathe_shared_args file = {.file = args->prompts};
    many m = {.cli = cli};
    answer_params a = {0};
    char *text = NULL;
    size_t n_bytes = 0;
    lathe_session *host = NULL;
    lathe_stream_params stream = {
        .struct_size = sizeof stream, .latency = 1.5, .text = take_text, .done = write_answer, .user = &m};
    *done = true;
    lathe_status st = lathe_input_text(&file, NULL, 0, LATHE_INPUT_ERROR, &text, &n_bytes, err);
    if (!st)
        st = read_prompts(args, model, seed, text, n_bytes, &m, err);
    if (!st && m.n == 0)
        st = lathe_fail(err, LATHE_ERR_INPUT, "%s: no prompts; want one a line", args->prompts);
    stream.n_parallel = (int32_t) args->parallel;
    if (!st) {
        st = open_host(args, cli, model, seed, stream.n_parallel, &a, &stream.n_ctx, &host, err);
        if (st == LATHE_ERR_MEMORY ||
            (!st && stream.n_parallel * 17 > lathe_context_n_batch(lathe_session_context(host)))) {
            *done = false;
            st = LATHE_OK;
        }
    }
    if (!st && *done) {
        cli->json_printed = true;
        stream.answer = &a.params;
        stream.spec = spec->on ? &spec->params : NULL;
        st = lathe_session_stream(host, &stream, m.prompts, m.n, err);
        if (st == LATHE_ERR_CANCELLED && m.failed)
            st =
                lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a line of JSON, or it could not be written");
        if (!st && cli->quiet == 0)
            fprintf(cli->err,
                    "lathe run: %zu answers, %lld tokens in %.3f s (%.1f tokens/s, %d at once), %lld of %lld "
                    "drafted kept\n",
                    m.n, (long long) stream.tokens, stream.seconds,
                    stream.seconds > 0 ? (double) stream.tokens / stream.seconds : 0, (int) stream.n_parallel,
                    (long long) stream.accepted, (long long) stream.drafted);
    }
    lathe_session_free(host);
    answer_params_free(&a);
    for (size_t i = 0; i < m.n; i++) {
        lathe_free((void *) (uintptr_t) m.prompts[i].ids);
        lathe_buf_free(&m.outputs[i].text);
        free(m.lines[i]);
    }
    free(m.prompts);
    free(m.outputs);
    free(m.lines);
    free(text);
    return st;
}

/* --- The verb ------------------------------------------------------------------------------------ */

static lathe_status chat_kind(const run_args *args, const lathe_model *model, const char **kind,
                              lathe_error *err) {
    const char *text = args->chat_template ? args->chat_template : lathe_model_chat_template(model);
    *kind = text ? lathe_chat_kind(text) : NULL;
    if (*kind)
        return LATHE_OK;
    char names[320];
    size_t w = 0;
    for (size_t i = 0; lathe_chat_kind_at(i) && w < sizeof names; i++)
        w += (size_t) snprintf(names + w, sizeof names - w, "%s%s", i ? ", " : "", lathe_chat_kind_at(i));
    return lathe_fail(err, args->chat_template ? LATHE_ERR_ARG : LATHE_ERR_UNSUPPORTED,
                      "%s; give --chat-template NAME: %s",
                      text ? "chat template not recognised" : "the model has no chat template", names);
}

static lathe_status converse(const run_args *args, lathe_cli *cli, const lathe_model *model,
                             lathe_session *session, const lathe_buf *prompt, uint64_t seed,
                             lathe_error *err) {
    lathe_shared_args shared = args->shared;
    lathe_conversation_params params = {.session = session,
                                        .model = model,
                                        .system = args->system,
                                        .first = prompt->n_bytes > 0 ? prompt->data : NULL,
                                        .shared = &shared,
                                        .seed = seed};
    if (!lathe_model_vocab(model))
        return lathe_fail(err, LATHE_ERR_UNSUPPORTED, "the model has no tokenizer; a conversation needs one");
    const lathe_status st = chat_kind(args, model, &params.kind, err);
    return st ? st : lathe_conversation(&params, cli, err);
}

static lathe_status with_model(const run_args *args, lathe_cli *cli, const lathe_model *model,
                               const lathe_buf *prompt, bool talk, lathe_error *err) {
    const uint64_t seed = lathe_shared_seed(&args->shared);
    lathe_session *session = NULL;
    int32_t *ids = NULL;
    size_t n_ids = 0;
    speculation spec;
    lathe_status st = begin_speculation(args, cli, &spec, err);
    const bool by_match = !args->spec.verify || strcmp(args->spec.verify, "match") == 0 ||
                          strcmp(args->spec.verify, "greedy") == 0;
    /* Drafts for long texts look into the cache of one sequence. */
    const bool long_draft = strstr(args->spec.spec, "longspec") || strstr(args->spec.spec, "std");
    /* Rows of other sequences shift what is summed with what: exact answers are made one after another. */
    if (!st && args->prompts && args->parallel > 1 && by_match && !args->shift && !long_draft &&
        !args->shared.exact) {
        bool done = true;
        st = many_at_once(args, cli, model, &spec, seed, &done, err);
        if (st || done) {
            end_speculation(&spec);
            return st;
        }
    }
    if (!st)
        st = open_session(args, cli, model, seed, spec.on ? &spec.params : NULL, &session, err);
    if (st) {
        end_speculation(&spec);
        return st;
    }
    if (args->prompts) {
        st = many_answers(args, cli, model, session, seed, err);
    } else if (talk) {
        st = converse(args, cli, model, session, prompt, seed, err);
    } else {
        if (args->shared.ids)
            st = lathe_input_ids(args->shared.ids, lathe_model_n_vocab(model), &ids, &n_ids, err);
        else
            st = prompt_ids(args, model, prompt,
                            args->shared.special_seen ? args->shared.special : args->shared.file == NULL,
                            &ids, &n_ids, err);
        if (!st)
            st = one_answer(args, cli, session, &spec, ids, n_ids, err);
        lathe_free(ids);
    }
    lathe_session_free(session);
    end_speculation(&spec);
    return st;
}

static lathe_status run(const void *arguments, lathe_cli *cli, lathe_error *err) {
    run_args args = *(const run_args *) arguments;
    size_t first = 0;
    if (cli->n_positional > 0 && (!args.shared.model || is_model_name(cli->positional[0])) &&
        !(args.shared.model && !is_model_name(cli->positional[0])))
        args.shared.model = cli->positional[first++];
    const char *const *words = cli->positional + first;
    const size_t n_words = cli->n_positional - first;
    const bool has_prompt = args.shared.prompt || args.shared.file || n_words > 0;
    const int n_inputs = has_prompt + (args.shared.ids != NULL) + (args.prompts != NULL);
    if (n_inputs > 1)
        return lathe_fail(err, LATHE_ERR_ARG, "more than one of a prompt, --ids and --prompts; give one");
    if (args.interactive && (args.shared.ids || args.prompts || cli->json))
        return lathe_fail(err, LATHE_ERR_ARG, "a conversation takes no %s; leave out -i or that",
                          cli->json ? "--json" : (args.prompts ? "--prompts" : "--ids"));
    const bool talk = args.interactive || (n_inputs == 0 && isatty(STDIN_FILENO) && !cli->json);
    float split[64];
    lathe_model_params model_params;
    lathe_model *model = NULL;
    lathe_buf prompt;
    lathe_buf_init(&prompt, (size_t) 1 << 30);
    lathe_status st = lathe_shared_model_params(&args.shared, &model_params, split, err);
    if (!st && !args.shared.ids && !args.prompts)
        st = read_prompt(&args, words, n_words, !talk, &prompt, err);
    if (!st) {
        model_params.logger = cli->logger;
        model_params.progress = cli->progress;
        st = lathe_model_load(args.shared.model, &model_params, &model, err);
    }
    if (!st)
        st = with_model(&args, cli, model, &prompt, talk, err);
    lathe_model_free(model);
    lathe_buf_free(&prompt);
    return st;
}

static const char *const names[] = {"generate", "chat", NULL};
extern const lathe_verb lathe_verb_run;
const lathe_verb lathe_verb_run = {
    .name = "run",
    .aliases = names,
    .summary = "text from a model: an answer, or a conversation",
    .usage = "lathe run MODEL.gguf [PROMPT...] [-n N] [-i]",
    .examples = "lathe run model.gguf \"Once upon a time\" -n 100 --temp 0\n"
                "cat question.txt | lathe run model.gguf\n"
                "lathe run model.gguf -i\n"
                "lathe run model.gguf --prompts prompts.txt --seed 7 > answers.jsonl",
    .schema = "lathe.run/1",
    .options = {tables, n_options, LATHE_LEN(tables)},
    .args_size = sizeof(run_args),
    .defaults = defaults,
    .run = run,
};
