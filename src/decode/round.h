/* round.h - plain rounds of speculation on a context: draft a chain or tree, verify it in one batch, commit,
 * roll back. */
#ifndef LATHE_DECODE_ROUND_H
#define LATHE_DECODE_ROUND_H

#include "decode/proposer.h"
#include "decode/verifier.h"

typedef struct lathe_round_params {
    const lathe_proposer *proposer;
    void *proposer_state;
    const lathe_verifier *verifier;
    lathe_verify_options options;
    int32_t length; /* most drafted tokens a round; 0: plain decoding */
} lathe_round_params;

typedef struct lathe_round_totals {
    int64_t rounds, proposed, accepted, rows;
} lathe_round_totals;

typedef struct lathe_round lathe_round; /* buffers of rounds of one shape */

/* The proposer's state stays the caller's. */
LATHE_NODISCARD lathe_status lathe_round_new(int32_t n_vocab, const lathe_round_params *params,
                                             lathe_round **round, lathe_error *err);
void lathe_round_free(lathe_round *round); /* NULL is fine */
/* One round behind ids [n], of which sequence 0 holds all but the last (less what shifts dropped). At most
 * `most` tokens are drafted, and no more than the batch and the context have room for. The verdict's emitted
 * tokens follow; the context holds them all but the last. The verdict is borrowed until the next round. */
LATHE_NODISCARD lathe_status lathe_round_take(lathe_round *round, lathe_context *context,
                                              lathe_sampler *sampler, const int32_t *ids, int32_t n,
                                              int32_t most, lathe_round_totals *totals,
                                              const lathe_verdict **verdict, lathe_error *err);

/* Appends up to n_predict tokens to ids [*n_ids], which has room for *n_ids + n_predict; stops behind a token
 * that ends the text. The context holds a prefix of ids without the last (sequence 0); what is missing is
 * read first. */
LATHE_NODISCARD lathe_status lathe_round_generate(lathe_context *context, lathe_sampler *sampler,
                                                  const lathe_round_params *params, int32_t *ids,
                                                  int32_t *n_ids, int32_t n_predict,
                                                  lathe_round_totals *totals, lathe_error *err);

#endif
