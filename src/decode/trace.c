/* trace.c - what each arm would have emitted at every position of a text, recorded once, and controllers
 * replayed on the record: an adversary that does not look at them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "decode/spec.h"

enum { TOP_K = 8, FILE_MAX_BYTES = 1 << 28 };

/* --- Recording ----------------------------------------------------------------------------------- */

static void top_ids(const float *logits, int32_t n, int32_t *ids) {
    int32_t count = 0;
    for (int32_t i = 0; i < n; i++) {
        if (count == TOP_K && !(logits[i] > logits[ids[TOP_K - 1]]))
            continue;
        int32_t at = count < TOP_K ? count++ : TOP_K - 1;
        for (; at > 0 && logits[ids[at - 1]] < logits[i]; at--)
            ids[at] = ids[at - 1];
        ids[at] = i;
    }
    for (; count < TOP_K; count++)
        ids[count] = -1;
}

/* Tokens that a source's draft of at most `length` behind n tokens has of what follows, and one more. */
static lathe_status emitted_by(lathe_spec *s, lathe_session *session, lathe_spec_source *source,
                               int32_t length, const int32_t *ids, int32_t n, int32_t n_ids, int32_t *emitted,
                               lathe_error *err) {
    const lathe_draft_request request = {
        .n_max = length, .law = LATHE_LAW_POINT, .chance = &s->chance, .sampler = session->sampler};
    lathe_status status = source->proposer->sync(source->state, ids, n, err);
    if (status)
        return status;
    lathe_token_tree_start(&source->tree, ids[n - 1]);
    if (source->proposer->slow)
        status = source->proposer->propose(source->state, &request, &source->tree, err);
    else
        source->proposer->draft(source->state, length, &source->tree);
    int32_t node = 0, had = 0;
    while (!status && n + had < n_ids &&
           (node = lathe_token_tree_child(&source->tree, node, ids[n + had])) > 0)
        had++;
    *emitted = had + 1;
    return status;
}

lathe_status lathe_session_trace(lathe_session *session, size_t n_prompt, lathe_trace_fn row, void *user,
                                 lathe_error *err) {
    lathe_session_spec_stats is_spec;
    if (!lathe_session_spec_stats_of(session, &is_spec))
        return lathe_fail(err, LATHE_ERR_ARG, "a trace is of a session with arms");
    lathe_spec *s = session->step.state;
    const int32_t n_ids = (int32_t) session->n_ids;
    if (n_prompt < 1 || n_prompt > session->n_ids || session->n_dropped > 0)
        return lathe_fail(err, LATHE_ERR_ARG, "%zu tokens of a prompt in a text of %zu, or a shifted one",
                          n_prompt, session->n_ids);
    lathe_status status = lathe_context_rollback(session->context, 0, (int32_t) n_prompt - 1, err);
    for (int32_t n = (int32_t) n_prompt; !status && n < n_ids; n++) {
        int32_t emitted[LATHE_ARMS_MAX] = {1}, top[TOP_K];
        for (int32_t a = 1; !status && a < s->set.n_arms; a++)
            status = emitted_by(s, session, &s->source[s->set.arm[a].source], s->set.arm[a].length,
                                session->ids, n, n_ids, &emitted[a], err);
        if (!status)
            row(user, n - (int32_t) n_prompt, emitted, s->set.n_arms);
        const lathe_batch batch = {.tokens = session->ids + n - 1, .n_tokens = 1};
        if (!status && s->learns)
            status = lathe_context_decode(session->context, &batch, err);
        if (!status && s->learns)
            top_ids(lathe_context_logits(session->context, -1), lathe_model_n_vocab(session->model), top);
        for (int32_t i = 0; !status && s->learns && i < s->set.n_sources; i++)
            if (s->source[i].learns)
                s->source[i].proposer->learn(s->source[i].state, session->ids + n - 1, top, 1, TOP_K);
    }
    return status;
}

int32_t lathe_session_arms(const lathe_session *session, lathe_arm_info *arms, int32_t n_max) {
    lathe_session_spec_stats is_spec;
    if (!lathe_session_spec_stats_of(session, &is_spec))
        return 0;
    const lathe_spec *s = session->step.state;
    for (int32_t i = 0; i < s->set.n_arms && i < n_max; i++)
        arms[i] =
            (lathe_arm_info){.name = s->set.arm[i].name,
                             .length = s->set.arm[i].length,
                             .draft = s->set.arm[i].source >= 0 ? s->source[s->set.arm[i].source].step : 0.0};
    return s->set.n_arms;
}

/* --- The file ------------------------------------------------------------------------------------ */

struct lathe_trace {
    json_t *header;
    int32_t n_arms;
    int32_t length[LATHE_ARMS_MAX];
    double draft[LATHE_ARMS_MAX];
    lathe_cost_model cost;
    int32_t *emitted; /* [n_rows][n_arms] */
    int32_t *pos;     /* [n_rows]; 0 begins a text */
    int32_t n_rows, capacity;
};

void lathe_trace_free(lathe_trace *t) {
    if (!t)
        return;
    json_decref(t->header);
    free(t->emitted);
    free(t->pos);
    free(t);
}

static lathe_status take_header(lathe_trace *t, json_t *line, const char *path, lathe_error *err) {
    const char *schema = json_string_value(json_object_get(line, "schema"));
    const json_t *arms = json_object_get(line, "arms"), *v = json_object_get(line, "v");
    const size_t n = json_array_size(arms), n_v = json_array_size(v);
    if (!schema || strcmp(schema, "lathe.spec-trace/1") != 0)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: no trace; want a file that `lathe spec record` wrote",
                          path);
    if (n < 1 || n > LATHE_ARMS_MAX || n_v < 1 || n_v > LATHE_LEN(t->cost.rows))
        return lathe_fail(err, LATHE_ERR_INPUT,
                          "%s: %zu arms and %zu costs in the first line; 1 to %d and 1 to %zu", path, n, n_v,
                          (int) LATHE_ARMS_MAX, LATHE_LEN(t->cost.rows));
    for (size_t i = 0; i < n; i++) {
        const json_t *arm = json_array_get(arms, i);
        const json_int_t length = json_integer_value(json_object_get(arm, "len"));
        const double draft = json_number_value(json_object_get(arm, "draft"));
        if (!json_is_string(json_object_get(arm, "name")) || length < 0 || length > LATHE_SPEC_DEPTH ||
            (i == 0 && length != 0) || !(draft >= 0.0 && draft < 1e6))
            return lathe_fail(err, LATHE_ERR_INPUT,
                              "%s: arm %zu of the first line is no arm; the first is plain, of len 0", path,
                              i);
        t->length[i] = (int32_t) length;
        t->draft[i] = draft;
    }
    for (size_t i = 0; i < n_v; i++) {
        const json_t *row = json_array_get(v, i);
        t->cost.rows[i] = (int32_t) json_integer_value(json_array_get(row, 0));
        t->cost.ratio[i] = json_number_value(json_array_get(row, 1));
        if ((i == 0 && (t->cost.rows[0] != 1 || t->cost.ratio[0] != 1.0)) ||
            (i > 0 &&
             (t->cost.rows[i] <= t->cost.rows[i - 1] || !(t->cost.ratio[i] >= t->cost.ratio[i - 1]))) ||
            !(t->cost.ratio[i] < 1e6))
            return lathe_fail(err, LATHE_ERR_INPUT,
                              "%s: the costs v of the first line do not begin with 1 and rise", path);
    }
    t->cost.n = (int32_t) n_v;
    t->n_arms = (int32_t) n;
    t->header = json_incref(line);
    return LATHE_OK;
}

static lathe_status take_row(lathe_trace *t, const json_t *line, const char *path, int32_t at,
                             lathe_error *err) {
    const json_t *list = json_object_get(line, "arm_lengths");
    const json_int_t pos = json_integer_value(json_object_get(line, "pos"));
    if (json_array_size(list) != (size_t) t->n_arms || pos < 0 || pos > INT32_MAX)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: line %d has no pos and %d arm_lengths", path, (int) at,
                          (int) t->n_arms);
    if (t->n_rows == t->capacity) {
        const int32_t more = t->capacity ? 2 * t->capacity : 1024;
        int32_t *emitted = more < INT32_MAX / 64
                               ? realloc(t->emitted, (size_t) more * (size_t) t->n_arms * sizeof *emitted)
                               : NULL;
        if (emitted)
            t->emitted = emitted;
        int32_t *position = emitted ? realloc(t->pos, (size_t) more * sizeof *position) : NULL;
        if (!position)
            return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a trace of %d rows", (int) more);
        t->pos = position;
        t->capacity = more;
    }
    for (int32_t i = 0; i < t->n_arms; i++) {
        const json_int_t n = json_integer_value(json_array_get(list, (size_t) i));
        if (n < 1 || n > t->length[i] + 1)
            return lathe_fail(err, LATHE_ERR_INPUT, "%s: line %d: arm %d emits %lld tokens; 1 to %d", path,
                              (int) at, (int) i, (long long) n, (int) t->length[i] + 1);
        t->emitted[(size_t) t->n_rows * (size_t) t->n_arms + (size_t) i] = (int32_t) n;
    }
    t->pos[t->n_rows++] = (int32_t) pos;
    return LATHE_OK;
}

lathe_status lathe_trace_read(const char *path, lathe_trace **trace, lathe_error *err) {
    char *text = NULL;
    size_t n_bytes = 0;
    lathe_trace *t = calloc(1, sizeof *t);
    lathe_status status = t ? lathe_file_read(path, FILE_MAX_BYTES, &text, &n_bytes, err)
                            : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a trace");
    int32_t at = 0;
    for (size_t begin = 0; !status && begin < n_bytes;) {
        const char *newline = memchr(text + begin, '\n', n_bytes - begin);
        const size_t n = newline ? (size_t) (newline - text) - begin : n_bytes - begin;
        json_t *line = NULL;
        at++;
        if (n > 0)
            status = lathe_json_parse(text + begin, n, path, &line, err);
        if (!status && n > 0)
            status = at == 1 ? take_header(t, line, path, err) : take_row(t, line, path, at, err);
        json_decref(line);
        begin += n + 1;
    }
    if (!status && (t->n_arms == 0 || t->n_rows == 0))
        status =
            lathe_fail(err, LATHE_ERR_INPUT, "%s: no rows; want a file that `lathe spec record` wrote", path);
    free(text);
    if (status) {
        lathe_trace_free(t);
        return status;
    }
    *trace = t;
    return LATHE_OK;
}

/* --- Replay -------------------------------------------------------------------------------------- */

static double round_cost(const lathe_trace *t, int32_t arm, int32_t length) {
    lathe_cost_model cost = t->cost;
    cost.draft = t->draft[arm];
    return lathe_cost_round(&cost, length);
}

/* Rounds and cost of one arm at its full length through all texts. */
static void fixed_arm(const lathe_trace *t, int32_t arm, double *rounds, double *cost) {
    *rounds = *cost = 0.0;
    for (int32_t i = 0; i < t->n_rows;) {
        int32_t n = t->emitted[(size_t) i * (size_t) t->n_arms + (size_t) arm];
        *rounds += 1.0;
        *cost += round_cost(t, arm, t->length[arm]);
        for (i++; n > 1 && i < t->n_rows && t->pos[i] != 0; n--)
            i++;
    }
}

lathe_status lathe_trace_replay(const lathe_trace *t, const char *name, uint64_t seed, lathe_replay *out,
                                lathe_error *err) {
    lathe_controller_params params = lathe_controller_params_default();
    const lathe_controller *controller = NULL;
    int32_t fixed = 0;
    void *state = NULL;
    *out = (lathe_replay){.struct_size = sizeof *out, .n_arms = t->n_arms};
    for (int32_t i = 0; i < t->n_arms; i++)
        params.length_max = t->length[i] > params.length_max ? t->length[i] : params.length_max;
    params.length_max = params.length_max > 0 ? params.length_max : 1;
    params.n_arms = t->n_arms;
    params.length = t->length;
    params.draft = t->draft;
    params.cost = t->cost;
    params.by_cost = true;
    params.seed = seed;
    lathe_status status = lathe_controller_find(name, &controller, &fixed, err);
    params.fixed_arm = fixed;
    if (!status)
        status = controller->create(&params, &state, err);
    if (status)
        return status;
    for (int32_t i = 0; i < t->n_rows;) {
        const int32_t *row = t->emitted + (size_t) i * (size_t) t->n_arms;
        double would[LATHE_ARMS_MAX];
        for (int32_t a = 0; a < t->n_arms; a++)
            would[a] = row[a];
        const lathe_choice choice = controller->select(state, NULL, NULL);
        const int32_t most = choice.length + 1;
        int32_t n = row[choice.arm] < most ? row[choice.arm] : most;
        const lathe_round_facts facts = {.proposed = choice.length,
                                         .accepted = n - 1,
                                         .cost = round_cost(t, choice.arm, choice.length),
                                         .would_emit = would};
        controller->update(state, choice, &facts);
        out->rounds += 1.0;
        out->cost += facts.cost;
        out->pulls[choice.arm] += 1.0;
        for (i++; n > 1 && i < t->n_rows && t->pos[i] != 0; n--)
            i++;
    }
    controller->destroy(state);
    out->tokens = t->n_rows;
    out->best_cost = INFINITY;
    for (int32_t a = 0; a < t->n_arms; a++) {
        double rounds, cost;
        fixed_arm(t, a, &rounds, &cost);
        out->arm_cost[a] = cost;
        if (cost < out->best_cost) {
            out->best_cost = cost;
            out->best_arm = a;
        }
    }
    return LATHE_OK;
}

const char *lathe_trace_arm_name(const lathe_trace *t, int32_t arm) {
    const json_t *a =
        arm >= 0 && arm < t->n_arms ? json_array_get(json_object_get(t->header, "arms"), (size_t) arm) : NULL;
    return a ? json_string_value(json_object_get(a, "name")) : NULL;
}
