/* run_page.c - `lathe run -o answer.html`: a page with an answer, its numbers, and how it was drafted. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cli/run.h"

static void row(lathe_report *page, const char *what, int digits, double value) {
    char text[64];
    snprintf(text, sizeof text, "%.*f", digits, value);
    lathe_report_cell(page, LATHE_CELL_TEXT, what);
    lathe_report_cell(page, LATHE_CELL_NUMBER, text);
}

static void numbers(lathe_report *page, const lathe_session_stats *s) {
    static const char *const header[] = {"", "value"};
    lathe_report_table(page, "Numbers", header, 2);
    row(page, "tokens of the prompt", 0, s->n_prompt);
    row(page, "of these in the cache already", 0, s->n_reused);
    row(page, "seconds for the prompt", 3, s->prefill_s);
    row(page, "tokens generated", 0, s->n_predicted);
    row(page, "seconds for them", 3, s->decode_s);
    row(page, "tokens a second", 1, lathe_run_rate(s));
    row(page, "threads", 0, s->n_threads);
    lathe_report_table_end(page);
}

/* A paragraph a line; the text is as before afterwards. */
static void paragraphs(lathe_report *page, char *text) {
    for (char *line = text; *line;) {
        char *end = strchr(line, '\n');
        if (end)
            *end = '\0';
        if (*line)
            lathe_report_paragraph(page, line);
        if (!end)
            return;
        *end = '\n';
        line = end + 1;
    }
}

/* Prompt and answer as text; without a tokenizer there is none. */
static lathe_status texts(lathe_report *page, lathe_session *session, const lathe_output *o,
                          lathe_error *err) {
    const lathe_vocab *vocab = lathe_model_vocab(lathe_context_model(lathe_session_context(session)));
    size_t n_ids = 0, n_generated = 0, n_bytes = 0;
    const int32_t *ids = lathe_session_ids(session, &n_ids, &n_generated);
    char *prompt = NULL;
    lathe_status st = LATHE_OK;
    if (vocab)
        st = lathe_detokenize(vocab, ids, n_ids - n_generated, false, &prompt, &n_bytes, err);
    lathe_report_heading(page, "Text");
    lathe_report_details(page, "Prompt", prompt ? prompt : "(token ids)");
    paragraphs(page, o->text.data);
    lathe_free(prompt);
    return st;
}

bool lathe_run_is_page(const lathe_run_args *args) {
    const size_t n = args->shared.output ? strlen(args->shared.output) : 0;
    return n > 5 && strcmp(args->shared.output + n - 5, ".html") == 0;
}

lathe_status lathe_run_page(const lathe_run_args *args, lathe_session *session, lathe_output *o,
                            lathe_rounds *rounds, const char *path, lathe_error *err) {
    const lathe_session_stats s = lathe_session_stats_of(session);
    lathe_session_spec_stats spec;
    lathe_report page;
    char text[700];
    json_t *data = json_pack("{s:s, s:s}", "schema", "lathe.run/1", "version", lathe_version());
    lathe_status st = data && lathe_buf_add(&o->text, "", 1, err) == LATHE_OK
                          ? LATHE_OK
                          : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a page");
    if (st) {
        json_decref(data);
        return st;
    }
    o->text.n_bytes--; /* the zero that ends it is no part of it */
    lathe_run_json(data, session, o);
    snprintf(text, sizeof text, "%d tokens at %.1f a second; it ended by: %s.", s.n_predicted,
             lathe_run_rate(&s), lathe_stop_name(s.stop));
    lathe_report_begin(&page, "Answer", text, err);
    numbers(&page, &s);
    st = texts(&page, session, o, err);
    if (!st && rounds && lathe_session_spec_stats_of(session, &spec)) {
        lathe_report_heading(&page, "Speculation");
        snprintf(text, sizeof text, "%lld rounds, %lld of %lld drafted tokens kept, verified by %s: %s.",
                 (long long) spec.rounds, (long long) spec.accepted, (long long) spec.proposed, spec.verifier,
                 spec.lossless ? "lossless" : "lossy, the law of the text is not the target's");
        lathe_report_paragraph(&page, text);
        st = lathe_rounds_show(rounds, json_object_get(data, "spec"), &page, err);
    }
    lathe_report_heading(&page, "Run it again");
    snprintf(text, sizeof text, "lathe run %.300s --seed %llu -n %d\nlathe %s, %d threads",
             args->shared.model ? args->shared.model : "MODEL", (unsigned long long) s.seed,
             (int) args->n_predict, lathe_version(), s.n_threads);
    lathe_report_details(&page, "Command", text);
    if (!st)
        st = lathe_report_write(&page, data, path);
    lathe_report_free(&page);
    json_decref(data);
    return st;
}
