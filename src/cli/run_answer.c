/* run_answer.c - what one answer of `lathe run` needs: a session as the options say, speculation, the text as
 * it comes, and what is said about it. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "cli/conversation.h"
#include "cli/run.h"
#include "cli/sampling.h"

/* --- What goes out ------------------------------------------------------------------------------- */

bool lathe_output_take(void *user, const char *text, size_t n_bytes) {
    lathe_output *o = user;
    if (lathe_buf_add(&o->text, text, n_bytes, NULL) != LATHE_OK)
        return false;
    if (o->write) {
        lathe_put_text(o->cli->out, o->cli->is_tty, text, n_bytes);
        if (o->flush && fflush(o->cli->out) != 0)
            return false;
    }
    return !ferror(o->cli->out);
}

bool lathe_run_interrupted(void *user) {
    (void) user;
    return lathe_cli_interrupted();
}

double lathe_run_rate(const lathe_session_stats *stats) {
    return stats->decode_s > 0 ? stats->n_predicted / stats->decode_s : 0;
}

void lathe_run_json(json_t *out, const lathe_session *session, const lathe_output *o) {
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
    json_object_set_new(out, "tokens_per_s", lathe_json_real(lathe_run_rate(&stats)));
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
                s.n_prompt, s.n_reused, s.prefill_s, s.n_predicted, s.decode_s, lathe_run_rate(&s),
                lathe_stop_name(s.stop), (unsigned long long) s.seed, s.n_threads,
                s.n_threads == 1 ? "" : "s", rounds);
}

/* --- A session ----------------------------------------------------------------------------------- */

/* Cuts "a,b" in place of a copy; *copy is to be freed. */
static lathe_status split_stops(const char *list, char **copy, const char *stops[LATHE_RUN_STOPS_MAX],
                                int32_t *n_stops, lathe_error *err) {
    *copy = NULL;
    *n_stops = 0;
    if (!list)
        return LATHE_OK;
    *copy = strdup(list);
    if (!*copy)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for stop strings");
    for (char *p = *copy; p;) {
        char *comma = strchr(p, ',');
        if (*n_stops == LATHE_RUN_STOPS_MAX)
            return lathe_fail(err, LATHE_ERR_ARG, "more than %d stop strings", LATHE_RUN_STOPS_MAX);
        stops[(*n_stops)++] = p;
        if (comma)
            *comma = '\0';
        p = comma ? comma + 1 : NULL;
    }
    return LATHE_OK;
}

void lathe_answer_params_free(lathe_answer_params *a) {
    free(a->copy);
    free(a->bias);
}

lathe_status lathe_answer_params_make(const lathe_run_args *args, lathe_cli *cli, uint64_t seed,
                                      lathe_answer_params *a, lathe_error *err) {
    *a = (lathe_answer_params){.params = lathe_session_params_default()};
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

lathe_status lathe_run_session(const lathe_run_args *args, lathe_cli *cli, const lathe_model *model,
                               uint64_t seed, const lathe_spec_params *speculate, lathe_session **session,
                               lathe_error *err) {
    lathe_answer_params a;
    lathe_status st = lathe_answer_params_make(args, cli, seed, &a, err);
    if (!st)
        st = lathe_session_new(model, &a.params, session, err);
    if (!st)
        lathe_session_set_cancel(*session, lathe_run_interrupted, NULL);
    if (!st && speculate)
        st = lathe_session_spec(*session, speculate, err);
    if (st) {
        lathe_session_free(*session);
        *session = NULL;
    }
    lathe_answer_params_free(&a);
    return st;
}

lathe_status lathe_run_prompt_ids(const lathe_run_args *args, const lathe_model *model,
                                  const lathe_buf *prompt, bool special, int32_t **ids, size_t *n_ids,
                                  lathe_error *err) {
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

/* A round, to the file of --stats and to the page of -o. */
static void take_round(void *user, const lathe_spec_round *round) {
    lathe_run_spec *s = user;
    lathe_round_log_add(&s->log, round);
    if (s->rounds)
        lathe_rounds_take(s->rounds, round);
}

lathe_status lathe_run_spec_begin(const lathe_run_args *args, lathe_cli *cli, lathe_run_spec *s,
                                  lathe_error *err) {
    *s = (lathe_run_spec){.cache = lathe_cache_folder()};
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
    }
    if (!st && args->spec.compare && (args->prompts || args->interactive || args->session || !s->on))
        st = lathe_fail(err, LATHE_ERR_ARG,
                        "--compare compares one answer with speculation; it goes without %s",
                        args->prompts       ? "--prompts"
                        : args->interactive ? "-i"
                        : args->session     ? "--session"
                                            : "--spec none");
    if (!st && s->on && lathe_run_is_page(args))
        st = lathe_rounds_new(&s->rounds, err);
    if (args->spec.stats || s->rounds) {
        s->params.on_round = take_round;
        s->params.user = s;
    }
    return st;
}

void lathe_run_spec_end(lathe_run_spec *s) {
    lathe_round_log_abandon(&s->log);
    lathe_rounds_free(s->rounds);
    free(s->cache);
}

static const char *verdict_of(const lathe_difference *d) {
    return d->position < 0                      ? "equal"
           : d->is_tie                          ? "numerical tie"
           : d->plain_id < 0 || d->other_id < 0 ? "one ends earlier"
                                                : "BUG";
}

/* The same answer without speculation, and where the two part. */
static lathe_status compare(const lathe_run_args *args, lathe_cli *cli, lathe_session *session,
                            const lathe_run_spec *spec, lathe_error *err) {
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
    lathe_status st = lathe_run_session(args, cli, lathe_context_model(lathe_session_context(session)),
                                        with.seed, own_rule ? &none : NULL, &plain, err);
    if (!st)
        st = lathe_session_generate_ids(plain, ids, n_ids - n_generated, NULL, NULL, err);
    const lathe_session_stats without = plain ? lathe_session_stats_of(plain) : with;
    if (!st)
        st = lathe_session_difference(plain, ids, n_ids, &d, err);
    const double speedup =
        with.decode_s > 0 && without.n_predicted > 0
            ? lathe_run_rate(&with) / (lathe_run_rate(&without) > 0 ? lathe_run_rate(&without) : 1)
            : 0;
    if (!st && cli->json)
        json_object_set_new(cli->result, "compare",
                            json_pack("{s:b, s:I, s:s, s:f, s:f, s:f, s:f}", "equal_to_plain", d.position < 0,
                                      "position", (json_int_t) d.position, "verdict", verdict_of(&d),
                                      "margin", d.margin, "noise", d.noise, "tokens_per_s_plain",
                                      lathe_run_rate(&without), "speedup", speedup));
    if (!st && d.position < 0 && cli->quiet == 0)
        fprintf(cli->err,
                "lathe run: compare: the same %d tokens without speculation at %.1f tokens/s: %.2fx\n",
                with.n_predicted, lathe_run_rate(&without), speedup);
    else if (!st && cli->quiet == 0)
        fprintf(cli->err,
                "lathe run: compare: token %lld differs, %d against %d (%s: margin %.3g, noise of rows "
                "%.3g); without "
                "speculation %.1f tokens/s\n",
                (long long) (d.position - (int64_t) (n_ids - n_generated)), d.other_id, d.plain_id,
                verdict_of(&d), d.margin, d.noise, lathe_run_rate(&without));
    lathe_session_free(plain);
    return st;
}

/* --- One answer ---------------------------------------------------------------------------------- */

lathe_status lathe_run_one(const lathe_run_args *args, lathe_cli *cli, lathe_session *session,
                           lathe_run_spec *spec, const int32_t *ids, size_t n_ids, lathe_error *err) {
    lathe_output o = {
        .cli = cli, .write = !cli->json && !args->shared.output, .flush = cli->is_tty || args->stream};
    lathe_buf_init(&o.text, (size_t) 1 << 30);
    lathe_status st = LATHE_OK;
    struct stat info;
    if (args->session && stat(args->session, &info) == 0)
        st = lathe_session_load(session, args->session, err);
    if (!st)
        st = lathe_session_generate_ids(session, ids, n_ids, lathe_output_take, &o, err);
    if (!st && o.write)
        fputc('\n', cli->out);
    const bool interrupted = !st && lathe_cli_interrupted();
    if (!st && args->session)
        st = lathe_session_save(session, args->session, err);
    if (!st && lathe_run_is_page(args))
        st = lathe_run_page(args, session, &o, spec->rounds, args->shared.output, err);
    else if (!st && args->shared.output)
        st = lathe_file_write(args->shared.output, o.text.data ? o.text.data : "", o.text.n_bytes, err);
    if (!st && cli->json)
        lathe_run_json(cli->result, session, &o);
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
