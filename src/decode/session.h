/* session.h - a session from inside: what a step may read and must leave behind. */
#ifndef LATHE_DECODE_SESSION_H
#define LATHE_DECODE_SESSION_H

#include "decode/stop_text.h"
#include "lathe/decode.h"

/* How tokens come. The plain step decodes one and draws one; a speculative round does the same with several.
 *
 * Before: ids [n_ids] are committed, and sequence 0 of the context holds all of them but the last, the
 * pending token (less what shifts dropped). After success: out [*n_out], 1 to n_max ids, follow; the context
 * holds the pending token and all of out but its last. The position of out[0] is n_ids. */
typedef struct lathe_session_step {
    lathe_status (*take)(void *state, lathe_session *session, int32_t *out, int32_t n_max, int32_t *n_out,
                         lathe_error *err);
    void (*begin)(void *state,
                  lathe_session *session);            /* a new generation: ids are the prompt; may be NULL */
    void (*end)(void *state, lathe_session *session); /* a generation is complete; may be NULL */
    void (*free)(void *state);                        /* may be NULL */
    void *state;
} lathe_session_step;

enum { LATHE_STEP_TOKENS_MAX = 1024 };

struct lathe_session {
    const lathe_model *model;
    const lathe_vocab *vocab; /* NULL: ids only */
    lathe_context *context;
    lathe_sampler *sampler;
    lathe_session_params params; /* pointers to sampler settings in it are cleared */
    lathe_session_step step;

    int32_t *ids; /* [n_ids] the whole text; shifts do not shorten it */
    size_t n_ids, capacity, n_generated;
    size_t keep, n_dropped; /* ids [keep, keep + n_dropped) are no longer in the context */

    lathe_detok *detok;
    bool at_start; /* no text yet, neither prompt nor answer */
    lathe_stop_text stop;
    lathe_text_fn print;
    void *print_user;
    bool (*cancel)(void *user);
    void *cancel_user;
    lathe_session_stats stats;
    uint8_t *no_logits; /* [n_batch] zeros */
    /* A guest shares its host's context: it is one of several sequences there. */
    lathe_session *host; /* NULL: the context is its own */
    int32_t seq, n_ctx;  /* its sequence, and the positions that it may use */
    int32_t *seqs;       /* [n_batch] seq; NULL: 0 */
};

/* Replaces how tokens come; the session frees the state. */
void lathe_session_set_step(lathe_session *session, const lathe_session_step *step);
/* The step that decodes the pending token and draws the next. */
LATHE_NODISCARD lathe_status lathe_session_plain_step(void *state, lathe_session *session, int32_t *out,
                                                      int32_t n_max, int32_t *n_out, lathe_error *err);

/* A session on sequence `seq` of the host's context, with its own text, sampler and limits; the host must
 * outlive it. The parts of a generation below are for who runs several of them in one batch. */
LATHE_NODISCARD lathe_status lathe_session_guest(lathe_session *host, int32_t seq, int32_t n_ctx,
                                                 const lathe_session_params *params, lathe_session **session,
                                                 lathe_error *err);
int32_t lathe_session_n_ctx(const lathe_session *session);
/* Room for n tokens in ids, of which those behind n_ids may be written to. */
LATHE_NODISCARD lathe_status lathe_session_reserve(lathe_session *session, size_t n, lathe_error *err);
/* Reads the prompt, all but its last token. */
LATHE_NODISCARD lathe_status lathe_session_begin(lathe_session *session, const int32_t *ids, size_t n_ids,
                                                 lathe_error *err);
/* true: nothing more is to be generated, and stats.stop says why. */
bool lathe_session_is_done(lathe_session *session, bool *full);
/* Takes a token into the text; *goes_on false: it ended the text, and stats.stop says how. */
LATHE_NODISCARD lathe_status lathe_session_accept(lathe_session *session, int32_t id, bool *goes_on,
                                                  lathe_error *err);
/* Hands out what the detokenizer and the stop strings held back. A stop string ends the text where it began.
 */
LATHE_NODISCARD lathe_status lathe_session_end(lathe_session *session, lathe_error *err);

#endif
