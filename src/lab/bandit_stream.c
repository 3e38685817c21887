/* bandit_stream.c - controllers on texts of a model: what every arm would have emitted at each position is
 * recorded once, then each controller is replayed on the record (Hou et al. 2025, their stream of requests).
 *
 * Arms: nothing, two free sources that draft chains, and where the project's draft model is there its chains
 * of 2, 4 and 8. Texts of three kinds follow one another: stories, stories that say again what they said
 * before, and lists of sentences of one form. The cost of a round is that of a memory-bound target:
 * 1, 1.1, 1.25, 1.45, 1.85 plain steps for 1, 2, 5, 9 and 17 rows, and 0.1 for a drafted token of the model.
 */
#include "lab/bandit_stream.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "lab/stories.h"
#include "lathe/decode.h"

enum { STORY = 64, PROMPT_MAX = 200, KINDS = 3 };

typedef struct recording {
    lathe_lab *lab;
    lathe_model *model;
    lathe_session *session;
    lathe_writer *out;
    lathe_status status;
    lathe_error *err;
    bool begun;
} recording;

static void put(recording *r, json_t *line) {
    char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    if (!r->status)
        r->status = text ? lathe_writer_add(r->out, text, strlen(text), r->err)
                         : lathe_fail(r->err, LATHE_ERR_MEMORY, "no memory for a line of JSON");
    if (!r->status)
        r->status = lathe_writer_add(r->out, "\n", 1, r->err);
    free(text);
    json_decref(line);
}

static void header(recording *r) {
    lathe_arm_info arms[LATHE_SPEC_STATS_ARMS];
    const int32_t n = lathe_session_arms(r->session, arms, LATHE_SPEC_STATS_ARMS);
    json_t *list = json_array();
    for (int32_t i = 0; i < n; i++)
        json_array_append_new(list,
                              json_pack("{s:s, s:i, s:f}", "name", arms[i].name, "len", (int) arms[i].length,
                                        "draft", strncmp(arms[i].name, "draft", 5) == 0 ? 0.1 : 0.0));
    put(r, json_pack("{s:s, s:o, s:[[i,f],[i,f],[i,f],[i,f],[i,f]]}", "schema", "lathe.spec-trace/1", "arms",
                     list, "v", 1, 1.0, 2, 1.1, 5, 1.25, 9, 1.45, 17, 1.85));
    r->begun = true;
}

static void row(void *user, int32_t position, const int32_t *emitted, int32_t n_arms) {
    recording *r = user;
    json_t *list = json_array();
    for (int32_t i = 0; i < n_arms; i++)
        json_array_append_new(list, json_integer(emitted[i]));
    put(r, json_pack("{s:i, s:o}", "pos", (int) position, "arm_lengths", list));
}

/* A prompt of one of the kinds from a story [STORY]; how long it is. */
static int32_t make_prompt(int kind, const int32_t *story, int32_t *out) {
    int32_t n = 0;
    const int32_t first = kind == 0 ? 24 : kind == 1 ? STORY : 12;
    memcpy(out, story, (size_t) first * sizeof *out);
    n = first;
    if (kind == 1) { /* told again: its beginning, for the model to go on with */
        memcpy(out + n, story, 16 * sizeof *out);
        n += 16;
    }
    for (int32_t k = 0; kind == 2 && k < 4; k++) { /* one form, a word of it changed */
        memcpy(out + n, story, 12 * sizeof *out);
        out[n + 5 + k % 3] = story[20 + k];
        n += 12;
    }
    return n;
}

static lathe_status open_session(recording *r, const char *arms, int32_t n_predict, lathe_error *err) {
    lathe_session_params p = lathe_session_params_default();
    lathe_spec_params spec = lathe_spec_params_default();
    p.sampler.temp = 0.0;
    p.n_predict = n_predict;
    p.ignore_eos = true;
    p.context.n_threads = r->lab->n_threads;
    p.context.n_ctx = PROMPT_MAX + n_predict + 32;
    spec.proposers = arms;
    spec.controller = "uniform"; /* of each length of the draft an arm; who drafts is of no account here */
    spec.gate = 0;
    lathe_status st = lathe_session_new(r->model, &p, &r->session, err);
    return st ? st : lathe_session_spec(r->session, &spec, err);
}

/* The draft beside the target's file; empty: there is none. */
static void draft_arm(const char *target, char *out, size_t size) {
    const char *slash = strrchr(target, '/');
    char path[1100];
    snprintf(path, sizeof path, "%.*slathe-draft.gguf", slash ? (int) (slash + 1 - target) : 0, target);
    snprintf(out, size, "%s%s%s", "lookup+suffix", access(path, R_OK) == 0 ? "+draft:" : "",
             access(path, R_OK) == 0 ? path : "");
}

lathe_status lathe_bandit_stream_record(lathe_lab *lab, uint64_t seed, int32_t n_texts, int32_t n_predict,
                                        const char *path, lathe_error *err) {
    recording r = {.lab = lab, .err = err};
    char arms[1200];
    int32_t *stories = malloc((size_t) n_texts * STORY * sizeof *stories), prompt[PROMPT_MAX];
    draft_arm(lathe_lab_target(), arms, sizeof arms);
    lathe_status st = stories ? lathe_model_load(lathe_lab_target(), NULL, &r.model, err)
                              : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for stories");
    if (!st)
        st = lathe_lab_stories(lab, r.model, STORY, n_texts * STORY, seed, stories, err);
    if (!st)
        st = open_session(&r, arms, n_predict, err);
    if (!st)
        st = lathe_writer_open(path, &r.out, err);
    for (int32_t i = 0; !st && i < n_texts; i++) {
        const int32_t n = make_prompt((int) (i % KINDS), stories + (size_t) i * STORY, prompt);
        lathe_session_clear(r.session);
        st = lathe_session_generate_ids(r.session, prompt, (size_t) n, NULL, NULL, err);
        if (!st && !r.begun)
            header(&r);
        if (!st)
            st = lathe_session_trace(r.session, (size_t) n, row, &r, err);
        if (!st)
            st = r.status;
    }
    if (st)
        lathe_writer_abandon(r.out);
    else
        st = lathe_writer_commit(r.out, err);
    lathe_session_free(r.session);
    lathe_model_free(r.model);
    free(stories);
    return st;
}

lathe_status lathe_bandit_stream_replay(const char *path, const char *const *controllers, size_t n,
                                        uint64_t seed, double *share_of_best, char *best, size_t size,
                                        lathe_error *err) {
    lathe_trace *trace = NULL;
    lathe_status st = lathe_trace_read(path, &trace, err);
    for (size_t i = 0; !st && i < n; i++) {
        lathe_replay r;
        st = lathe_trace_replay(trace, controllers[i], seed, &r, err);
        if (st)
            break;
        share_of_best[i] = r.best_cost / r.cost;
        snprintf(best, size, "%s", lathe_trace_arm_name(trace, r.best_arm));
    }
    lathe_trace_free(trace);
    return st;
}
