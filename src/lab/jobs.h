/* jobs.h - independent runs of a lab side by side, one thread each. */
#ifndef LATHE_LAB_JOBS_H
#define LATHE_LAB_JOBS_H

#include "lab/lab.h"

typedef struct lathe_lab_jobs lathe_lab_jobs;

/* Runs job(ctx, jobs, i, err) for i = 0 .. n - 1, lab->n_threads at a time; the first failure (in the order
 * of i) is returned, and the others stop at their next tick. What a job writes must be its own. */
LATHE_NODISCARD lathe_status lathe_lab_run_jobs(lathe_lab *lab, const char *what, int32_t n,
                                                lathe_status (*job)(void *ctx, lathe_lab_jobs *jobs,
                                                                    int32_t i, lathe_error *err),
                                                void *ctx, lathe_error *err);
/* Called by a job now and then with the work done since its last call, as a share of a job: reports progress,
 * and returns CANCELLED when to stop. */
LATHE_NODISCARD lathe_status lathe_lab_tick(lathe_lab_jobs *jobs, double share, lathe_error *err);

#endif
