/* thread.c - see thread.h. Pieces are handed out by an atomic counter; idle threads wait on a condition, so
 * that a program that computes nothing uses no processor. */
#include "base/thread.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

typedef struct job {
    void (*fn)(void *ctx, int worker, int64_t piece, int64_t begin, int64_t end);
    void *ctx;
    int64_t n, grain, n_pieces;
    atomic_llong next_piece;
} job;

struct lathe_pool {
    int n_threads; /* with the caller */
    int n_started;
    pthread_t *threads;
    pthread_mutex_t lock;
    pthread_cond_t begin, end;
    uint64_t generation; /* counts jobs */
    int n_busy;
    bool quit;
    job current;
    atomic_int next_worker;
};

static void work(job *j, int worker) {
    for (;;) {
        const int64_t piece = atomic_fetch_add(&j->next_piece, 1);
        if (piece >= j->n_pieces)
            return;
        const int64_t begin = piece * j->grain;
        const int64_t end = j->n - begin < j->grain ? j->n : begin + j->grain;
        j->fn(j->ctx, worker, piece, begin, end);
    }
}

static void *thread_main(void *arg) {
    lathe_pool *pool = arg;
    const int worker = atomic_fetch_add(&pool->next_worker, 1);
    uint64_t seen = 0;
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (pool->generation == seen && !pool->quit)
            pthread_cond_wait(&pool->begin, &pool->lock);
        if (pool->quit)
            break;
        seen = pool->generation;
        pthread_mutex_unlock(&pool->lock);
        work(&pool->current, worker);
        pthread_mutex_lock(&pool->lock);
        if (--pool->n_busy == 0)
            pthread_cond_signal(&pool->end);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

lathe_status lathe_pool_new(int n_threads, lathe_pool **pool, lathe_error *err) {
    if (n_threads < 1 || n_threads > 1024)
        return lathe_fail(err, LATHE_ERR_ARG, "%d threads: must be between 1 and 1024", n_threads);
    lathe_pool *p = calloc(1, sizeof *p);
    pthread_t *threads = calloc((size_t) n_threads, sizeof *threads);
    if (!p || !threads) {
        free(p);
        free(threads);
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %d threads", n_threads);
    }
    p->n_threads = n_threads;
    p->threads = threads;
    atomic_init(&p->next_worker, 1);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->begin, NULL);
    pthread_cond_init(&p->end, NULL);
    /* Signals are the main thread's business. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = 0;
    for (int i = 0; i < n_threads - 1 && !failed; i++) {
        failed = pthread_create(&p->threads[i], NULL, thread_main, p);
        if (!failed)
            p->n_started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        lathe_pool_free(p);
        return lathe_fail(err, LATHE_ERR_MEMORY, "cannot start %d threads", n_threads);
    }
    *pool = p;
    return LATHE_OK;
}

void lathe_pool_free(lathe_pool *pool) {
    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->quit = true;
    pthread_cond_broadcast(&pool->begin);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < pool->n_started; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->begin);
    pthread_cond_destroy(&pool->end);
    pthread_mutex_destroy(&pool->lock);
    free(pool->threads);
    free(pool);
}

int lathe_pool_size(const lathe_pool *pool) {
    return pool ? pool->n_threads : 1;
}

void lathe_parallel_for(lathe_pool *pool, int64_t n, int64_t grain,
                        void (*fn)(void *ctx, int worker, int64_t piece, int64_t begin, int64_t end),
                        void *ctx) {
    if (n <= 0)
        return;
    if (grain < 1)
        grain = 1;
    const int64_t n_pieces = (n - 1) / grain + 1;
    if (!pool || pool->n_started == 0 || n_pieces == 1) {
        job alone = {.fn = fn, .ctx = ctx, .n = n, .grain = grain, .n_pieces = n_pieces};
        atomic_init(&alone.next_piece, 0);
        work(&alone, 0);
        return;
    }
    pthread_mutex_lock(&pool->lock);
    pool->current.fn = fn;
    pool->current.ctx = ctx;
    pool->current.n = n;
    pool->current.grain = grain;
    pool->current.n_pieces = n_pieces;
    atomic_store(&pool->current.next_piece, 0);
    pool->n_busy = pool->n_started;
    pool->generation++;
    pthread_cond_broadcast(&pool->begin);
    pthread_mutex_unlock(&pool->lock);
    work(&pool->current, 0);
    pthread_mutex_lock(&pool->lock);
    while (pool->n_busy > 0)
        pthread_cond_wait(&pool->end, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}
