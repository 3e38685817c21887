/* thread.h - a pool whose threads sleep, and loops over it with splits that do not depend on the thread
 * count. */
#ifndef LATHE_BASE_THREAD_H
#define LATHE_BASE_THREAD_H

#include "lathe/base.h"

typedef struct lathe_pool lathe_pool;

/* n_threads >= 1, the caller among them; n_threads == 1 starts none. */
LATHE_NODISCARD lathe_status lathe_pool_new(int n_threads, lathe_pool **pool, lathe_error *err);
void lathe_pool_free(lathe_pool *pool);
int lathe_pool_size(const lathe_pool *pool); /* NULL: 1 */

/* Calls fn(ctx, piece, begin, end) for consecutive pieces of [0, n), each `grain` long (the last may be
 * shorter). Pieces depend on n and grain alone: sums kept by piece and added in piece order have the same
 * bits at any thread count. `worker` is in [0, lathe_pool_size) for scratch memory. pool NULL: runs in the
 * caller. Not re-entrant. */
void lathe_parallel_for(lathe_pool *pool, int64_t n, int64_t grain,
                        void (*fn)(void *ctx, int worker, int64_t piece, int64_t begin, int64_t end),
                        void *ctx);

#endif
