/* session.c - prompt in, text out: the token loop. How the tokens of a step come: session.h. */
#include "decode/session.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/machine.h"

const char *lathe_stop_name(lathe_stop stop) {
    static const char *const names[] = {"eos", "length", "context", "string", "interrupt"};
    return (size_t) stop < LATHE_LEN(names) ? names[stop] : "?";
}

lathe_session_params lathe_session_params_default(void) {
    return (lathe_session_params){
        .struct_size = sizeof(lathe_session_params),
        .context = lathe_context_params_default(),
        .sampler = lathe_sampler_params_default(),
        .n_predict = -1,
        .add_bos = -1,
        .special = true,
    };
}

/* --- New, free ----------------------------------------------------------------------------------- */

/* A sampler that, where the end of the text is to be passed over, never draws an ending token. */
static lathe_status make_sampler(const lathe_session *s, const lathe_sampler_params *params,
                                 lathe_sampler **sampler, lathe_error *err) {
    lathe_sampler_params p = *params;
    lathe_logit_bias *bias = NULL;
    const int32_t n_vocab = lathe_model_n_vocab(s->model);
    if (s->params.ignore_eos && s->vocab && p.n_bias >= 0) {
        int32_t n_ends = 0;
        for (int32_t id = 0; id < n_vocab; id++)
            n_ends += lathe_vocab_is_end(s->vocab, id);
        bias = malloc(((size_t) p.n_bias + (size_t) n_ends + 1) * sizeof *bias);
        if (!bias)
            return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a sampler");
        if (p.n_bias > 0)
            memcpy(bias, p.bias, (size_t) p.n_bias * sizeof *bias);
        for (int32_t id = 0; id < n_vocab; id++)
            if (lathe_vocab_is_end(s->vocab, id))
                bias[p.n_bias++] = (lathe_logit_bias){id, -INFINITY};
        p.bias = bias;
    }
    const lathe_status st = lathe_sampler_new(s->vocab, n_vocab, &p, sampler, err);
    free(bias);
    return st;
}

static bool cancelled(void *user) {
    const lathe_session *s = user;
    return s->cancel && s->cancel(s->cancel_user);
}

static lathe_status fill(lathe_session *s, lathe_error *err) {
    lathe_status st = s->host ? LATHE_OK : lathe_context_new(s->model, &s->params.context, &s->context, err);
    if (!st)
        st = make_sampler(s, &s->params.sampler, &s->sampler, err);
    if (!st)
        st = lathe_stop_text_init(&s->stop, s->params.stop, s->params.n_stop, err);
    if (!st) {
        s->no_logits = calloc((size_t) lathe_context_n_batch(s->context), 1);
        if (!s->no_logits)
            st = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a session");
    }
    s->params.stop = NULL;
    s->params.sampler.bias = NULL;
    s->params.sampler.steps = NULL;
    s->params.sampler.dry_breakers = NULL;
    return st;
}

lathe_status lathe_session_new(const lathe_model *model, const lathe_session_params *params,
                               lathe_session **session, lathe_error *err) {
    if (!model || !session)
        return lathe_fail(err, LATHE_ERR_ARG, "a session needs a model");
    if (params && params->struct_size != sizeof *params)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "lathe_session_params is of another version of the library; start from "
                          "lathe_session_params_default()");
    lathe_session *s = calloc(1, sizeof *s);
    if (!s)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a session");
    s->model = model;
    s->vocab = lathe_model_vocab(model);
    s->params = params ? *params : lathe_session_params_default();
    s->step = (lathe_session_step){.take = lathe_session_plain_step};
    const lathe_status st = fill(s, err);
    if (st) {
        lathe_session_free(s);
        return st;
    }
    lathe_context_set_cancel(s->context, cancelled, s);
    *session = s;
    return LATHE_OK;
}

lathe_status lathe_session_guest(lathe_session *host, int32_t seq, int32_t n_ctx,
                                 const lathe_session_params *params, lathe_session **session,
                                 lathe_error *err) {
    lathe_session *s = calloc(1, sizeof *s);
    const int32_t n_batch = lathe_context_n_batch(host->context);
    if (!s || !(s->seqs = malloc((size_t) n_batch * sizeof *s->seqs))) {
        free(s);
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a session");
    }
    for (int32_t i = 0; i < n_batch; i++)
        s->seqs[i] = seq;
    s->model = host->model;
    s->vocab = host->vocab;
    s->params = *params;
    s->context = host->context;
    s->host = host;
    s->seq = seq;
    s->n_ctx = n_ctx;
    s->step = (lathe_session_step){.take = lathe_session_plain_step};
    const lathe_status st = fill(s, err);
    if (st) {
        lathe_session_free(s);
        return st;
    }
    *session = s;
    return LATHE_OK;
}

int32_t lathe_session_n_ctx(const lathe_session *s) {
    return s->host ? s->n_ctx : lathe_context_n_ctx(s->context);
}

void lathe_session_free(lathe_session *session) {
    if (!session)
        return;
    if (session->step.free)
        session->step.free(session->step.state);
    if (!session->host)
        lathe_context_free(session->context);
    lathe_sampler_free(session->sampler);
    lathe_stop_text_free(&session->stop);
    lathe_detok_free(session->detok);
    free(session->ids);
    free(session->no_logits);
    free(session->seqs);
    free(session);
}

/* --- What is held -------------------------------------------------------------------------------- */

const int32_t *lathe_session_ids(const lathe_session *session, size_t *n_ids, size_t *n_generated) {
    if (n_ids)
        *n_ids = session->n_ids;
    if (n_generated)
        *n_generated = session->n_generated;
    return session->ids;
}

lathe_session_stats lathe_session_stats_of(const lathe_session *session) {
    lathe_session_stats stats = session->stats;
    stats.struct_size = sizeof stats;
    stats.n_threads = lathe_context_n_threads(session->context);
    stats.seed = lathe_sampler_seed(session->sampler);
    return stats;
}

lathe_context *lathe_session_context(lathe_session *session) {
    return session->context;
}

lathe_status lathe_session_set_sampler(lathe_session *session, const lathe_sampler_params *params,
                                       lathe_error *err) {
    lathe_sampler *sampler = NULL;
    const lathe_status st = make_sampler(session, params, &sampler, err);
    if (st)
        return st;
    lathe_sampler_free(session->sampler);
    session->sampler = sampler;
    return LATHE_OK;
}

void lathe_session_set_n_predict(lathe_session *session, int32_t n_predict) {
    session->params.n_predict = n_predict;
}

lathe_status lathe_session_set_stop(lathe_session *session, const char *const *stop, int32_t n_stop,
                                    lathe_error *err) {
    lathe_stop_text made;
    const lathe_status st = lathe_stop_text_init(&made, stop, n_stop, err);
    if (st)
        return st;
    lathe_stop_text_free(&session->stop);
    session->stop = made;
    return LATHE_OK;
}

void lathe_session_set_cancel(lathe_session *session, bool (*cancel)(void *user), void *user) {
    session->cancel = cancel;
    session->cancel_user = user;
}

void lathe_session_set_step(lathe_session *session, const lathe_session_step *step) {
    if (session->step.free)
        session->step.free(session->step.state);
    session->step = *step;
}

void lathe_session_clear(lathe_session *session) {
    lathe_context_clear(session->context, session->host ? session->seq : -1);
    session->n_ids = session->n_generated = session->keep = session->n_dropped = 0;
}

lathe_status lathe_session_reserve(lathe_session *s, size_t n, lathe_error *err) {
    if (n <= s->capacity)
        return LATHE_OK;
    const size_t wanted = n + n / 2 + 256;
    int32_t *grown = n > SIZE_MAX / 8 ? NULL : realloc(s->ids, wanted * sizeof *grown);
    if (!grown)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %zu tokens", n);
    s->ids = grown;
    s->capacity = wanted;
    return LATHE_OK;
}

lathe_status lathe_session_save(const lathe_session *session, const char *path, lathe_error *err) {
    const size_t n = (size_t) lathe_context_n_past(session->context, 0);
    if (session->n_dropped == 0)
        return lathe_context_save(session->context, path, session->ids, n, err);
    int32_t *held = malloc((n + 1) * sizeof *held);
    if (!held)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %zu tokens", n);
    for (size_t i = 0; i < n; i++)
        held[i] = session->ids[i < session->keep ? i : i + session->n_dropped];
    const lathe_status st = lathe_context_save(session->context, path, held, n, err);
    free(held);
    return st;
}

lathe_status lathe_session_load(lathe_session *session, const char *path, lathe_error *err) {
    int32_t *ids = NULL;
    size_t n = 0;
    lathe_status st = lathe_context_load(session->context, path, &ids, &n, err);
    if (st)
        return st;
    if (n != (size_t) lathe_context_n_past(session->context, 0)) /* the ids say what need not be read again */
        st = lathe_fail(err, LATHE_ERR_INPUT, "%s: a damaged session: %zu ids for %d cached tokens", path, n,
                        lathe_context_n_past(session->context, 0));
    if (!st)
        st = lathe_session_reserve(session, n, err);
    if (st) {
        lathe_session_clear(session);
    } else {
        if (n > 0)
            memcpy(session->ids, ids, n * sizeof *ids);
        session->n_ids = n;
        session->n_generated = session->keep = session->n_dropped = 0;
    }
    lathe_free(ids);
    return st;
}

/* --- The prompt ---------------------------------------------------------------------------------- */

static lathe_status check_prompt(const lathe_session *s, const int32_t *ids, size_t n_ids, lathe_error *err) {
    const int32_t n_vocab = lathe_model_n_vocab(s->model), n_ctx = lathe_session_n_ctx(s);
    if (n_ids == 0)
        return lathe_fail(err, LATHE_ERR_ARG, "the prompt is empty; give some text or token ids");
    if (n_ids > (size_t) n_ctx)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "the prompt has %zu tokens; the context holds %d (a larger one: -c)", n_ids, n_ctx);
    for (size_t i = 0; i < n_ids; i++)
        if (ids[i] < 0 || ids[i] >= n_vocab)
            return lathe_fail(err, LATHE_ERR_ARG, "token %zu of the prompt is %d; want an id from 0 to %d", i,
                              ids[i], n_vocab - 1);
    return LATHE_OK;
}

/* Keeps in the context what the new prompt begins with, all but its last token; returns how many tokens. */
static size_t reuse(lathe_session *s, const int32_t *ids, size_t n_ids) {
    size_t n_held = (size_t) lathe_context_n_past(s->context, s->seq), n = 0;
    if (s->n_dropped > 0 && n_held > s->keep)
        n_held = s->keep; /* what follows a gap stands at other positions */
    if (n_held > s->n_ids)
        n_held = s->n_ids;
    while (n < n_held && n + 1 < n_ids && s->ids[n] == ids[n])
        n++;
    if (lathe_context_rollback(s->context, s->seq, (int32_t) n, NULL) != LATHE_OK) {
        lathe_context_clear(s->context, s->seq);
        n = 0;
    }
    return n;
}

/* Reads ids [from, to) into the context. */
static lathe_status read_prompt(lathe_session *s, size_t from, size_t to, lathe_error *err) {
    const size_t n_batch = (size_t) lathe_context_n_batch(s->context);
    for (size_t i = from; i < to;) {
        const size_t n = to - i < n_batch ? to - i : n_batch;
        const lathe_batch batch = {
            .tokens = s->ids + i, .seq = s->seqs, .want = s->no_logits, .n_tokens = (int32_t) n};
        lathe_status st = lathe_context_decode(s->context, &batch, err);
        if (!st)
            st = lathe_progress_step(&s->params.progress, "prompt", (double) (i + n - from),
                                     (double) (to - from), err);
        if (st)
            return st;
        i += n;
    }
    return LATHE_OK;
}

lathe_status lathe_session_begin(lathe_session *s, const int32_t *ids, size_t n_ids, lathe_error *err) {
    lathe_status st = check_prompt(s, ids, n_ids, err);
    if (!st)
        st = lathe_session_reserve(s, n_ids + 1, err);
    if (st)
        return st;
    lathe_detok_free(s->detok);
    s->detok = NULL;
    if (s->vocab)
        st = lathe_detok_new(s->vocab, &s->detok, err);
    if (st)
        return st;
    const size_t n_reused = reuse(s, ids, n_ids);
    memmove(s->ids, ids, n_ids * sizeof *ids);
    s->n_ids = n_ids;
    s->n_generated = s->keep = s->n_dropped = 0;
    lathe_stop_text_clear(&s->stop);
    s->at_start = true;
    for (size_t i = 0; s->vocab && i < n_ids; i++)
        s->at_start = s->at_start && lathe_vocab_is_control(s->vocab, ids[i]);
    s->stats = (lathe_session_stats){.n_prompt = (int32_t) n_ids, .n_reused = (int32_t) n_reused};
    const double start = lathe_now();
    st = read_prompt(s, n_reused, n_ids - 1, err);
    s->stats.prefill_s = lathe_now() - start;
    if (!st && s->step.begin)
        s->step.begin(s->step.state, s);
    return st;
}

/* --- The loop ------------------------------------------------------------------------------------ */

lathe_status lathe_session_plain_step(void *state, lathe_session *session, int32_t *out, int32_t n_max,
                                      int32_t *n_out, lathe_error *err) {
    (void) state;
    (void) n_max;
    const lathe_batch batch = {.tokens = session->ids + session->n_ids - 1, .n_tokens = 1};
    lathe_status st = lathe_context_decode(session->context, &batch, err);
    if (!st)
        st = lathe_sampler_draw(session->sampler, lathe_context_logits(session->context, -1), session->ids,
                                session->n_ids, out, err);
    if (!st)
        *n_out = 1;
    return st;
}

/* Forgets the older half of the text, but what is to be kept. */
static lathe_status shift(lathe_session *s, lathe_error *err) {
    const int32_t n_past = lathe_context_n_past(s->context, s->seq);
    int32_t keep = s->params.n_keep > 0 ? s->params.n_keep : 0;
    if (keep == 0 && s->vocab && s->ids[0] == lathe_vocab_bos(s->vocab))
        keep = 1;
    const int32_t dropped = (n_past - keep) / 2;
    if (dropped < 1)
        return lathe_fail(err, LATHE_ERR_ARG, "a context of %d tokens cannot keep %d and go on; keep fewer",
                          n_past, keep);
    const lathe_status st = lathe_context_shift(s->context, 0, keep, keep + dropped, err);
    if (st)
        return st;
    s->keep = (size_t) keep;
    s->n_dropped += (size_t) dropped;
    s->stats.n_shifted += dropped;
    return LATHE_OK;
}

/* Hands text on; false: the generation ends, and stats.stop says why. */
static lathe_status put_text(lathe_session *s, const char *text, size_t n_bytes, bool *goes_on,
                             lathe_error *err) {
    const char *out = NULL;
    size_t n_out = 0;
    bool stopped = false;
    const lathe_status st = lathe_stop_text_add(&s->stop, text, n_bytes, &out, &n_out, &stopped, err);
    if (st)
        return st;
    if (stopped) {
        s->stats.stop = LATHE_STOP_STRING;
        *goes_on = false;
    }
    if (n_out > 0 && s->print && !s->print(s->print_user, out, n_out)) {
        s->stats.stop = LATHE_STOP_INTERRUPT;
        *goes_on = false;
    }
    return LATHE_OK;
}

/* The blank that some vocabularies put before a text's first word is none of the text's. */
static lathe_status skip_first_blank(const lathe_session *s, int32_t id, const char **text, size_t *n_bytes,
                                     lathe_error *err) {
    char *whole = NULL;
    size_t n_whole = 0;
    if ((*text)[0] != ' ')
        return LATHE_OK;
    const lathe_status st = lathe_detokenize(s->vocab, &id, 1, false, &whole, &n_whole, err);
    if (!st && n_whole + 1 == *n_bytes) {
        (*text)++;
        (*n_bytes)--;
    }
    lathe_free(whole);
    return st;
}

lathe_status lathe_session_accept(lathe_session *s, int32_t id, bool *goes_on, lathe_error *err) {
    if (s->vocab && !s->params.ignore_eos && lathe_vocab_is_end(s->vocab, id)) {
        s->stats.stop = LATHE_STOP_EOS;
        *goes_on = false;
        return LATHE_OK;
    }
    lathe_status st = lathe_session_reserve(s, s->n_ids + 1, err);
    if (st)
        return st;
    s->ids[s->n_ids++] = id;
    s->n_generated++;
    s->stats.n_predicted++;
    if (!s->vocab || (!s->params.show_special && lathe_vocab_is_control(s->vocab, id)))
        return LATHE_OK;
    const char *text = NULL;
    size_t n_bytes = 0;
    lathe_detok_add(s->detok, id, &text, &n_bytes);
    if (n_bytes > 0 && s->at_start) {
        st = skip_first_blank(s, id, &text, &n_bytes, err);
        s->at_start = false;
    }
    return !st && n_bytes > 0 ? put_text(s, text, n_bytes, goes_on, err) : st;
}

bool lathe_session_is_done(lathe_session *s, bool *full) {
    const size_t n_held = (size_t) lathe_context_n_past(s->context, s->seq);
    *full = n_held >= (size_t) lathe_session_n_ctx(s);
    if (s->params.n_predict >= 0 && s->n_generated >= (size_t) s->params.n_predict)
        s->stats.stop = LATHE_STOP_LENGTH;
    else if (cancelled(s))
        s->stats.stop = LATHE_STOP_INTERRUPT;
    else if (*full && !s->params.shift)
        s->stats.stop = LATHE_STOP_CONTEXT;
    else
        return false;
    return true;
}

static lathe_status loop(lathe_session *s, lathe_error *err) {
    bool goes_on = true, full = false;
    lathe_status st = LATHE_OK;
    int32_t out[LATHE_STEP_TOKENS_MAX];
    while (!st && goes_on && !lathe_session_is_done(s, &full)) {
        int32_t n_out = 0, n_max = LATHE_STEP_TOKENS_MAX;
        if (full) {
            st = shift(s, err);
            if (st)
                return st;
        }
        if (s->params.n_predict >= 0 && (size_t) s->params.n_predict - s->n_generated < (size_t) n_max)
            n_max = (int32_t) ((size_t) s->params.n_predict - s->n_generated);
        st = s->step.take(s->step.state, s, out, n_max, &n_out, err);
        for (int32_t i = 0; !st && goes_on && i < n_out; i++)
            st = lathe_session_accept(s, out[i], &goes_on, err);
    }
    /* A step of several tokens may have gone past the end. */
    const int32_t n_kept = (int32_t) (s->n_ids - s->n_dropped);
    if (!st && lathe_context_n_past(s->context, s->seq) > n_kept)
        st = lathe_context_rollback(s->context, s->seq, n_kept, err);
    return st;
}

lathe_status lathe_session_end(lathe_session *s, lathe_error *err) {
    if (s->step.end)
        s->step.end(s->step.state, s);
    bool goes_on = true;
    const char *text = NULL;
    size_t n_bytes = 0;
    if (!s->vocab || s->stats.stop == LATHE_STOP_STRING)
        return LATHE_OK;
    const lathe_stop reason = s->stats.stop;
    lathe_detok_end(s->detok, &text, &n_bytes);
    lathe_status st = n_bytes > 0 ? put_text(s, text, n_bytes, &goes_on, err) : LATHE_OK;
    if (st || !goes_on)
        return st;
    lathe_stop_text_end(&s->stop, &text, &n_bytes);
    if (n_bytes > 0 && s->print)
        (void) s->print(s->print_user, text, n_bytes);
    s->stats.stop = reason;
    return LATHE_OK;
}

lathe_status lathe_session_generate_ids(lathe_session *session, const int32_t *ids, size_t n_ids,
                                        lathe_text_fn print, void *user, lathe_error *err) {
    session->print = print;
    session->print_user = user;
    lathe_status st = lathe_session_begin(session, ids, n_ids, err);
    if (!st) {
        const double start = lathe_now();
        st = loop(session, err);
        session->stats.decode_s = lathe_now() - start;
    }
    if (st == LATHE_ERR_CANCELLED) {
        session->stats.stop = LATHE_STOP_INTERRUPT;
        st = LATHE_OK;
    }
    return st ? st : lathe_session_end(session, err);
}

lathe_status lathe_session_generate(lathe_session *session, const char *prompt, lathe_text_fn print,
                                    void *user, lathe_error *err) {
    int32_t *ids = NULL;
    size_t n_ids = 0;
    if (!session->vocab)
        return lathe_fail(err, LATHE_ERR_UNSUPPORTED, "the model has no tokenizer; give token ids");
    lathe_status st = lathe_tokenize(session->vocab, prompt, strlen(prompt), session->params.add_bos,
                                     session->params.special, &ids, &n_ids, err);
    if (!st)
        st = lathe_session_generate_ids(session, ids, n_ids, print, user, err);
    lathe_free(ids);
    return st;
}
