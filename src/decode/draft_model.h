/* draft_model.h - a smaller model that drafts: its context, and how it follows a text.
 *
 * Several lanes of one batch of sequences share a host, a sequence of its context each, so that one forward
 * pass makes a step of all their drafts (draft_chain.c). */
#ifndef LATHE_DECODE_DRAFT_MODEL_H
#define LATHE_DECODE_DRAFT_MODEL_H

#include "decode/proposer.h"
#include "decode/tree_shape.h"

typedef struct lathe_draft_host {
    lathe_model *model;
    lathe_context *context;
    int32_t *head; /* [n_logits] the token of each of the draft's logits; NULL: itself */
    int32_t n_logits, n_users, n_seq;
    int32_t n_ctx; /* positions of a sequence */
} lathe_draft_host;

typedef struct lathe_draft {
    lathe_draft_host *host;
    int32_t seq; /* of the host's context */
    lathe_tree_shape shape;
    int32_t n_vocab, n_own; /* the target's ids; the draft's */
    int32_t *ids, *seqs;    /* [n_ids] what was read, dropped tokens included; seq of each */
    int32_t n_ids, capacity, keep, n_dropped;
    int32_t n_synced; /* tokens of the text at the last sync: ids behind them are drafts */
    bool ready;       /* logits hold what follows ids [n_synced] */
    float *logits;    /* [n_vocab] of the step at hand */
    double *law;      /* [n_vocab] */
} lathe_draft;

/* A draft at work. */
typedef struct lathe_draft_step {
    const lathe_draft_request *request;
    lathe_token_tree *tree;
    lathe_chance chance;
    int32_t depth; /* of the node to be added */
} lathe_draft_step;

LATHE_NODISCARD lathe_status lathe_draft_open(const lathe_proposer_params *params, lathe_draft **draft,
                                              lathe_error *err);
void lathe_draft_close(void *draft);

/* --- Following a text (draft_model.c) --- */

/* Reads what of ids [n] is new; logits of what follows. */
LATHE_NODISCARD lathe_status lathe_draft_sync(void *draft, const int32_t *ids, int32_t n, lathe_error *err);
/* The same but for a last piece of at most `most` tokens, which the caller reads: they are ids [*first, n) of
 * the draft. *first = n: nothing is left to read, logits are there. */
LATHE_NODISCARD lathe_status lathe_draft_sync_but(lathe_draft *s, const int32_t *ids, int32_t n, int32_t most,
                                                  int32_t *first, lathe_error *err);
/* Logits over the target's ids from the draft's own: what the draft does not score is impossible, what only
 * it has is left out. */
void lathe_draft_take_logits(lathe_draft *s, const float *own);
/* Reads ids [n] behind what is held, logits of the last. */
LATHE_NODISCARD lathe_status lathe_draft_feed(lathe_draft *s, const int32_t *ids, int32_t n,
                                              lathe_error *err);
/* Makes room for `more` tokens by dropping the older half of what is held. */
void lathe_draft_slide(lathe_draft *s, int32_t more);
void lathe_draft_forget(lathe_draft *s);
/* Takes drafted tokens back. */
LATHE_NODISCARD lathe_status lathe_draft_undo(lathe_draft *s, lathe_error *err);

/* --- Drafting --- */

lathe_draft_step lathe_draft_begin(const lathe_draft *s, const lathe_draft_request *request,
                                   lathe_token_tree *tree);
/* The law of the node to be added: the request's sampler over the logits. */
LATHE_NODISCARD lathe_status lathe_draft_law(lathe_draft *s, const lathe_draft_step *step, lathe_error *err);
LATHE_NODISCARD lathe_status lathe_draft_chain(lathe_draft *s, lathe_draft_step *step, lathe_error *err);
/* proposer.h, propose_many */
LATHE_NODISCARD lathe_status lathe_draft_many(const lathe_draft_job *jobs, int32_t n, lathe_error *err);
/* Trees of the state's shape. */
LATHE_NODISCARD lathe_status lathe_draft_tree(lathe_draft *s, lathe_draft_step *step, lathe_error *err);

#endif
