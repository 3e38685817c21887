/* longspec_run.h - LongSpec's draft at work beside a target's context (longspec.h has the block itself). */
#ifndef LATHE_MODEL_LONGSPEC_RUN_H
#define LATHE_MODEL_LONGSPEC_RUN_H

#include "lathe/model.h"

enum { LATHE_LONGSPEC_NODES_MAX = 256 };

/* A draft beside a target's context: own cache of constant size, graphs, speculative nodes. */
typedef struct lathe_longspec lathe_longspec;

/* target: borrowed; its sequence 0 is followed. */
LATHE_NODISCARD lathe_status lathe_longspec_open(const char *path, lathe_context *target,
                                                 lathe_longspec **draft, lathe_error *err);
void lathe_longspec_free(lathe_longspec *draft);
int32_t lathe_longspec_window(const lathe_longspec *draft);
int64_t lathe_longspec_cache_bytes(const lathe_longspec *draft);
/* Tokens of a text of n whose keys the window lacks. */
int32_t lathe_longspec_behind(const lathe_longspec *draft, const int32_t *ids, int32_t n);
/* Follows the text ids [n], pending token last: keys of the last window + 1 tokens are made where they are
 * not there already; speculative nodes are forgotten. The target holds all tokens but the last. */
LATHE_NODISCARD lathe_status lathe_longspec_sync(lathe_longspec *draft, const int32_t *ids, int32_t n,
                                                 lathe_error *err);
/* One step: the children of `parent` nodes (-1: the pending token) as new nodes; the pending token itself is
 * step 0, given by tokens NULL and n 1. *logits: [n][V], borrowed until the next step. *first: index of the
 * first new node (-1 for step 0). ARG for more than LATHE_LONGSPEC_NODES_MAX nodes. */
LATHE_NODISCARD lathe_status lathe_longspec_step(lathe_longspec *draft, const int32_t *tokens,
                                                 const int32_t *parent, int32_t n, const float **logits,
                                                 int32_t *first, lathe_error *err);

/* A published draft (safetensors.h) as a file for a target. */
LATHE_NODISCARD lathe_status lathe_longspec_convert(const char *safetensors, const char *target,
                                                    int32_t window, const char *path, int64_t *n_params,
                                                    lathe_error *err);
/* Bytes of the target's output matrix, which every drafted token reads. */
int64_t lathe_longspec_head_bytes(const lathe_model *target);

#endif
