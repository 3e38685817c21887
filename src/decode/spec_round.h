/* spec_round.h - one round of a session's speculation. */
#ifndef LATHE_DECODE_SPEC_ROUND_H
#define LATHE_DECODE_SPEC_ROUND_H

#include "decode/spec.h"

LATHE_NODISCARD lathe_status lathe_spec_take(void *state, lathe_session *session, int32_t *out, int32_t n_max,
                                             int32_t *n_out, lathe_error *err);
/* A new generation: what the last one learnt stays, its sums do not. */
void lathe_spec_begin(void *state, lathe_session *session);
/* The answer is complete: sources that keep answers take it. */
void lathe_spec_end(void *state, lathe_session *session);
void lathe_spec_free(void *state);

#endif
