/* session_spec.c - a session whose steps are rounds of speculation. */
#include <stdlib.h>

#include "decode/round.h"
#include "decode/session.h"

typedef struct spec_step {
    lathe_round *round;
    const lathe_proposer *proposer;
    const lathe_verifier *verifier;
    void *proposer_state;
    lathe_round_totals totals; /* of the last generation */
} spec_step;

static void free_step(void *state) {
    spec_step *s = state;
    if (s->proposer_state)
        s->proposer->destroy(s->proposer_state);
    lathe_round_free(s->round);
    free(s);
}

static void begin(void *state, lathe_session *session) {
    spec_step *s = state;
    (void) session;
    s->totals = (lathe_round_totals){0};
}

static lathe_status take(void *state, lathe_session *session, int32_t *out, int32_t n_max, int32_t *n_out,
                         lathe_error *err) {
    spec_step *s = state;
    const lathe_verdict *verdict = NULL;
    if (session->n_ids > INT32_MAX / 2)
        return lathe_fail(err, LATHE_ERR_ARG, "%zu tokens are too many for speculation", session->n_ids);
    const lathe_status st = lathe_round_take(s->round, session->context, session->sampler, session->ids,
                                             (int32_t) session->n_ids, n_max - 1, &s->totals, &verdict, err);
    if (st)
        return st;
    for (int32_t i = 0; i < verdict->n_emitted; i++)
        out[i] = verdict->emitted[i];
    *n_out = verdict->n_emitted;
    return LATHE_OK;
}

lathe_status lathe_session_speculate(lathe_session *session, const char *proposer, const char *verifier,
                                     int32_t length, lathe_error *err) {
    lathe_proposer_params params = lathe_proposer_params_default();
    lathe_round_params round = {.options = lathe_verify_options_default()};
    spec_step *s = calloc(1, sizeof *s);
    if (!s)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for speculation");
    params.n_vocab = lathe_model_n_vocab(session->model);
    lathe_status st = lathe_proposer_find(proposer, &s->proposer, err);
    if (!st)
        st = lathe_verifier_find(verifier, &s->verifier, err);
    if (!st && session->params.sampler.mirostat)
        st = lathe_fail(err, LATHE_ERR_ARG,
                        "mirostat changes with every token drawn; it goes without speculation");
    if (!st)
        st = lathe_verifier_check(s->verifier, s->proposer->laws, s->proposer->trees, &round.options,
                                  session->params.sampler.temp, err);
    if (!st)
        st = s->proposer->create(&params, &s->proposer_state, err);
    round.proposer = s->proposer;
    round.verifier = s->verifier;
    round.proposer_state = s->proposer_state;
    if (!st)
        round.length = length > 0 ? length : s->proposer->length;
    if (!st)
        st = lathe_round_new(params.n_vocab, &round, &s->round, err);
    if (st) {
        free_step(s);
        return st;
    }
    const lathe_session_step step = {.take = take, .begin = begin, .free = free_step, .state = s};
    lathe_session_set_step(session, &step);
    return LATHE_OK;
}

bool lathe_session_spec_stats_of(const lathe_session *session, lathe_session_spec_stats *stats) {
    if (session->step.take != take)
        return false;
    const spec_step *s = session->step.state;
    *stats = (lathe_session_spec_stats){.struct_size = sizeof *stats,
                                        .rounds = s->totals.rounds,
                                        .proposed = s->totals.proposed,
                                        .accepted = s->totals.accepted,
                                        .proposer = s->proposer->name,
                                        .lossless = s->verifier->lossless};
    return true;
}
