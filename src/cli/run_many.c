/* run_many.c - `lathe run --prompts`: a prompt a line, one after another or several in one batch. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cli/input.h"
#include "cli/run.h"
#include "cli/sampling.h"

/* --- One after another --------------------------------------------------------------------------- */

static lathe_status answer_line(const lathe_run_args *args, lathe_cli *cli, const lathe_model *model,
                                lathe_session *session, lathe_buf *line, uint64_t seed, lathe_error *err) {
    lathe_sampler_params sampler;
    lathe_logit_bias *bias = NULL;
    int32_t *ids = NULL;
    size_t n_ids = 0;
    lathe_output o = {.cli = cli};
    lathe_buf_init(&o.text, (size_t) 1 << 30);
    lathe_session_clear(session);
    lathe_status st = lathe_shared_sampler_params(&args->shared, seed, &sampler, &bias, err);
    if (!st)
        st = lathe_session_set_sampler(session, &sampler, err);
    if (!st)
        st = lathe_run_prompt_ids(args, model, line, args->shared.special_seen && args->shared.special, &ids,
                                  &n_ids, err);
    if (!st)
        st = lathe_session_generate_ids(session, ids, n_ids, lathe_output_take, &o, err);
    if (!st) {
        json_t *out = json_pack("{s:s, s:s}", "schema", "lathe.run/1", "version", lathe_version());
        if (out)
            lathe_run_json(out, session, &o);
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

lathe_status lathe_run_in_turn(const lathe_run_args *args, lathe_cli *cli, const lathe_model *model,
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
    lathe_output *outputs;        /* [n] */
    char **lines;                 /* [n] JSON of answers that wait for an earlier one */
    size_t n, n_printed;
    bool failed;
} many;

/* Answers are written in the order of the prompts. */
static bool write_answer(void *user, size_t index, const lathe_session *session) {
    many *m = user;
    json_t *out = json_pack("{s:s, s:s}", "schema", "lathe.run/1", "version", lathe_version());
    if (out)
        lathe_run_json(out, session, &m->outputs[index]);
    m->lines[index] = out ? json_dumps(out, JSON_COMPACT) : NULL;
    json_decref(out);
    m->failed = m->failed || !m->lines[index];
    for (; m->n_printed < m->n && m->lines[m->n_printed]; m->n_printed++)
        if (fprintf(m->cli->out, "%s\n", m->lines[m->n_printed]) < 0)
            m->failed = true;
    fflush(m->cli->out);
    return !m->failed && !ferror(m->cli->out) && !lathe_cli_interrupted();
}

static lathe_status read_prompts(const lathe_run_args *args, const lathe_model *model, uint64_t seed,
                                 char *text, size_t n_bytes, many *m, lathe_error *err) {
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
        st = lathe_run_prompt_ids(args, model, &line, args->shared.special_seen && args->shared.special, &ids,
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
static lathe_status open_host(const lathe_run_args *args, lathe_cli *cli, const lathe_model *model,
                              uint64_t seed, int32_t n_parallel, lathe_answer_params *a, int32_t *n_ctx,
                              lathe_session **host, lathe_error *err) {
    lathe_status st = lathe_answer_params_make(args, cli, seed, a, err);
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
        lathe_session_set_cancel(*host, lathe_run_interrupted, NULL);
    return st;
}

lathe_status lathe_run_at_once(const lathe_run_args *args, lathe_cli *cli, const lathe_model *model,
                               const lathe_run_spec *spec, uint64_t seed, bool *done, lathe_error *err) {
    const lathe_shared_args file = {.file = args->prompts};
    many m = {.cli = cli};
    lathe_answer_params a = {0};
    char *text = NULL;
    size_t n_bytes = 0;
    lathe_session *host = NULL;
    lathe_stream_params stream = {.struct_size = sizeof stream,
                                  .latency = 1.5,
                                  .text = lathe_output_take,
                                  .done = write_answer,
                                  .user = &m};
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
    lathe_answer_params_free(&a);
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
