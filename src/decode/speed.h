/* speed.h - how fast a model runs here: prompts, single tokens and small steps, at several depths of the
 * cache. */
#ifndef LATHE_DECODE_SPEED_H
#define LATHE_DECODE_SPEED_H

#include "lathe/model.h"

enum { LATHE_SPEED_REPEATS_MAX = 64 };

/* Seconds of repeated runs of one shape. */
typedef struct lathe_speed {
    int32_t depth; /* tokens in the cache before */
    int32_t n;     /* tokens of the run */
    int32_t rows;  /* tokens a step */
    double median_s, low_s, high_s;
} lathe_speed;

/* Times `repeats` runs of n tokens, `rows` at a time with logits for each, behind `depth` tokens of a fixed
 * text of random ids; the cache is rolled back after each run. A prompt is rows = the batch size. One run is
 * not counted. ARG where depth + n does not fit the context. */
LATHE_NODISCARD lathe_status lathe_speed_measure(lathe_context *context, int32_t depth, int32_t n,
                                                 int32_t rows, int32_t repeats, lathe_speed *speed,
                                                 lathe_error *err);

#endif
