/* calibrate.h - the cost of a target step of n rows, measured in well under a second. */
#ifndef LATHE_DECODE_CALIBRATE_H
#define LATHE_DECODE_CALIBRATE_H

#include "lathe/decode.h"

typedef struct lathe_stopwatch {
    /* Runs a step of n rows and returns its seconds, or a negative number where it failed. */
    double (*step)(void *user, int32_t n);
    void *user;
} lathe_stopwatch;

typedef struct lathe_calibration {
    lathe_cost_model cost;
    int32_t passes[16]; /* [cost.n] how often each size was measured */
    double plain_s;     /* seconds of a step of one row */
    double spent_s;     /* measured time in all */
    bool assumed;       /* too slow to measure: cost is the cautious start */
} lathe_calibration;

/* Measures sizes up to rows_max within budget seconds (0.45 where 0). IO where a step fails. */
LATHE_NODISCARD lathe_status lathe_calibrate(const lathe_stopwatch *watch, int32_t rows_max, double budget,
                                             lathe_calibration *out, lathe_error *err);
/* Least-squares non-decreasing fit of y with weights w, in place (pool adjacent violators). */
void lathe_isotonic(double *y, const double *w, int32_t n);

#endif
