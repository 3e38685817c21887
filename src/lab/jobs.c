/* jobs.c - see jobs.h. */
#include "lab/jobs.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/thread.h"

struct lathe_lab_jobs {
    lathe_lab *lab;
    const char *what;
    int32_t n;
    lathe_status (*job)(void *ctx, lathe_lab_jobs *jobs, int32_t i, lathe_error *err);
    void *ctx;
    pthread_mutex_t lock; /* of done and stop, and of the caller's progress function */
    double done;
    bool stop;
    lathe_error *errors; /* [n] */
    lathe_status *statuses;
};

lathe_status lathe_lab_tick(lathe_lab_jobs *jobs, double share, lathe_error *err) {
    pthread_mutex_lock(&jobs->lock);
    jobs->done += share;
    lathe_status st = LATHE_OK;
    if (jobs->stop)
        st = lathe_fail(err, LATHE_ERR_CANCELLED, "stopped");
    else
        st = lathe_progress_step(jobs->lab->progress, jobs->what, jobs->done, jobs->n, err);
    jobs->stop = jobs->stop || st != LATHE_OK;
    pthread_mutex_unlock(&jobs->lock);
    return st;
}

static void piece(void *ctx, int worker, int64_t index, int64_t begin, int64_t end) {
    lathe_lab_jobs *jobs = ctx;
    (void) worker;
    (void) index;
    for (int64_t i = begin; i < end; i++) {
        lathe_status st = lathe_lab_tick(jobs, 0, &jobs->errors[i]);
        if (!st)
            st = jobs->job(jobs->ctx, jobs, (int32_t) i, &jobs->errors[i]);
        jobs->statuses[i] = st;
        if (!st)
            continue;
        pthread_mutex_lock(&jobs->lock);
        jobs->stop = true;
        pthread_mutex_unlock(&jobs->lock);
    }
}

/* A job that failed by itself comes before those that were stopped for it. */
static lathe_status first_failure(const lathe_lab_jobs *jobs, lathe_error *err) {
    for (int pass = 0; pass < 2; pass++)
        for (int32_t i = 0; i < jobs->n; i++)
            if (jobs->statuses[i] && (pass == 1 || jobs->statuses[i] != LATHE_ERR_CANCELLED))
                return lathe_fail(err, jobs->statuses[i], "%s", jobs->errors[i].text);
    return LATHE_OK;
}

lathe_status lathe_lab_run_jobs(lathe_lab *lab, const char *what, int32_t n,
                                lathe_status (*job)(void *ctx, lathe_lab_jobs *jobs, int32_t i,
                                                    lathe_error *err),
                                void *ctx, lathe_error *err) {
    lathe_lab_jobs jobs = {.lab = lab, .what = what, .n = n, .job = job, .ctx = ctx};
    lathe_pool *pool = NULL;
    jobs.errors = calloc((size_t) n + 1, sizeof *jobs.errors);
    jobs.statuses = calloc((size_t) n + 1, sizeof *jobs.statuses);
    lathe_status st = jobs.errors && jobs.statuses
                          ? lathe_pool_new(lab->n_threads, &pool, err)
                          : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %d runs", n);
    if (!st) {
        pthread_mutex_init(&jobs.lock, NULL);
        lathe_parallel_for(pool, n, 1, piece, &jobs);
        pthread_mutex_destroy(&jobs.lock);
        st = first_failure(&jobs, err);
        lathe_pool_free(pool);
    }
    free(jobs.errors);
    free(jobs.statuses);
    return st;
}
