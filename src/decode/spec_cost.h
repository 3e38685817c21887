/* spec_cost.h - what steps of a target cost here: measured once, kept on disk, corrected while running. */
#ifndef LATHE_DECODE_SPEC_COST_H
#define LATHE_DECODE_SPEC_COST_H

#include "decode/calibrate.h"
#include "lathe/decode.h"

enum { LATHE_COST_BUCKETS = 5 }; /* steps of 2, 3 to 4, 5 to 8, 9 to 16, more rows */

typedef struct lathe_spec_cost {
    lathe_calibration measured;
    lathe_cost_model model;               /* as corrected by now; the draft's cost is no part of it */
    double log_ratio[LATHE_COST_BUCKETS]; /* running mean of log(seen / measured) */
    int32_t n_seen[LATHE_COST_BUCKETS], n_before[LATHE_COST_BUCKETS]; /* in all; before this text */
    int64_t rounds;
    char *path; /* of the file; NULL: nothing is kept */
    char key[17];
    int64_t created; /* unix seconds */
    int32_t n_past;  /* context at the measurement */
    bool from_file;
} lathe_spec_cost;

/* The measurement for this context, from the file of the cache folder (NULL: none) where it has a usable one,
 * else made now: at most 0.45 s on scratch rows behind what the context holds, which stays as it is. fresh:
 * measure whatever is on disk. A file that cannot be used is no error. */
LATHE_NODISCARD lathe_status lathe_spec_cost_open(lathe_context *context, const lathe_context_params *params,
                                                  const char *cache_dir, int32_t rows_max, bool fresh,
                                                  const lathe_logger *logger, lathe_spec_cost *cost,
                                                  lathe_error *err);
/* The cautious start: nothing is measured, and the run corrects it. */
void lathe_spec_cost_assume(lathe_spec_cost *cost);
/* A step of `rows` rows took `ratio` plain steps. True where the model has changed. */
bool lathe_spec_cost_saw(lathe_spec_cost *cost, int32_t rows, double ratio);
/* Another text begins: corrections that the last one did not confirm fade, since nobody drafts to disprove
 * what looks too dear. True where the model has changed. */
bool lathe_spec_cost_turn(lathe_spec_cost *cost);
/* Writes back what the run has taught where that is much, and frees. */
void lathe_spec_cost_close(lathe_spec_cost *cost);
/* Seconds of n steps of one row of another model (a draft), for its cost; negative: it failed. */
double lathe_spec_step_seconds(lathe_context *context, int32_t n_rows);

#endif
