/* stream.h - several sequences in one verify batch, from inside. */
#ifndef LATHE_DECODE_STREAM_H
#define LATHE_DECODE_STREAM_H

#include "decode/spec_round.h"

/* Most sequences; most drafted tokens of one in a round, and of a model that drafts. */
enum { LATHE_LANES_MAX = 64, LATHE_LANE_DRAFTS = 16, LATHE_LANE_SLOW_DRAFTS = 4 };

typedef struct lathe_lane {
    lathe_session *session;
    lathe_spec *spec; /* NULL: no speculation */
    bool busy;
    size_t index;
    double began;
    lathe_spec_source *source; /* of this round's draft; NULL: none */
    int32_t arm, n_drafts, first, n_past;
    double promised;       /* tokens that its draft is expected to bring */
    lathe_token_tree tree; /* the pending token, and what of the draft is computed */
    lathe_verdict plain;   /* of a lane without speculation */
} lathe_lane;

typedef struct lathe_stream {
    lathe_session *host;
    lathe_stream_params *params;
    const lathe_stream_prompt *prompts;
    size_t n_prompts, next;
    lathe_lane *lanes;
    int32_t n_lanes, n_busy;
    lathe_gate *gates; /* [n_lanes + 1], by the number of busy lanes: each number has its own price */
    bool use_gate;
    lathe_spec_cost cost;
    double tokens, costs;
    double *A; /* [n_lanes][LATHE_LANE_DRAFTS] */
    int32_t *n_drafts, *admitted, *batch_tokens, *batch_seq, *batch_parent, *path;
    lathe_draft_job *jobs; /* [n_lanes] */
    struct lathe_lane_stop *stops;
    lathe_draft_request *requests;
    bool has_tree; /* the batch at hand is no batch of chains */
    uint8_t *want;
} lathe_stream;

/* Asks the sources of every busy lane for drafts, models for those of all lanes together, and leaves the most
 * promising one in each lane's `source`; A of its nodes in t->A, a row a busy lane. */
LATHE_NODISCARD lathe_status lathe_stream_draft(lathe_stream *t, lathe_error *err);
LATHE_NODISCARD lathe_status lathe_stream_draft_open(lathe_stream *t, lathe_error *err);
void lathe_stream_draft_close(lathe_stream *t);

#endif
