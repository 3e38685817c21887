/* measure.c - see measure.h. */
#include "tensor/cpu/measure.h"

#include <string.h>

#include "base/machine.h"
#include "base/thread.h"
#include "tensor/cpu/arena.h"

enum { COPIES_MAX = 1024, ROUNDS = 1 << 14 };
static const double WORKING_SET = 192e6, SECONDS = 0.08;

typedef struct product_job {
    const lathe_cpu *cpu;
    lathe_packed w;
    const void *x;
    float *y;
    int64_t n_x, groups;
    int n_threads;
} product_job;

/* Thread i of n multiplies by its share of rows. */
static void product_share(void *ctx, int worker, int64_t piece, int64_t begin, int64_t end) {
    const product_job *job = ctx;
    (void) worker;
    (void) end;
    (void) piece;
    job->cpu->matmul(&job->w, job->x, job->n_x, job->y, job->w.n_rows, job->groups * begin / job->n_threads,
                     job->groups * (begin + 1) / job->n_threads);
}

/* Bytes whose halves are normal numbers below 1 as f16 and as bf16. */
static void fill(uint8_t *p, size_t n) {
    uint64_t s = 0x9e3779b97f4a7c15u;
    for (size_t i = 0; i < n; i++) {
        s = s * 6364136223846793005u + 1442695040888963407u;
        p[i] = (uint8_t) (0x30 | s >> 61);
    }
}

lathe_status lathe_measure_product(const lathe_cpu *cpu, lathe_packed_type type, int64_t n_rows,
                                   int64_t n_cols, int64_t n_x, int n_threads, lathe_product_speed *speed,
                                   lathe_error *err) {
    product_job job = {.cpu = cpu, .w = {type, n_cols, n_rows, NULL}, .n_x = n_x, .n_threads = n_threads};
    if (n_rows < 1 || n_x < 1 || n_cols < 1 || n_cols % lathe_packed_block(type) != 0 || n_threads < 1)
        return lathe_fail(err, LATHE_ERR_ARG, "no product of %lld x %lld weights %s with %lld columns",
                          (long long) n_rows, (long long) n_cols, lathe_packed_type_name(type),
                          (long long) n_x);
    job.groups = lathe_packed_groups(&job.w);
    const size_t matrix = (size_t) job.groups * lathe_packed_group_bytes(type, n_cols);
    const size_t column = lathe_activation_bytes(n_cols) + (size_t) n_cols * sizeof(float);
    int64_t n_copies = (int64_t) (WORKING_SET / (double) matrix) + 1;
    n_copies = n_copies < COPIES_MAX ? n_copies : COPIES_MAX;
    lathe_arena arena = {0};
    lathe_pool *pool = NULL;
    uint8_t *w = lathe_arena_take(&arena, matrix * (size_t) n_copies);
    float *x = lathe_arena_take(&arena, (size_t) (n_x * n_cols) * sizeof(float));
    uint8_t *q = lathe_arena_take(&arena, column * (size_t) n_x);
    job.y = lathe_arena_take(&arena, (size_t) (n_x * n_rows) * sizeof(float));
    lathe_status status = lathe_pool_new(n_threads, &pool, err);
    if (status == LATHE_OK && (w == NULL || x == NULL || q == NULL || job.y == NULL))
        status = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for matrices to measure with");
    if (status == LATHE_OK) {
        fill(w, matrix);
        for (int64_t i = 1; i < n_copies; i++)
            memcpy(w + (size_t) i * matrix, w, matrix);
        for (int64_t i = 0; i < n_x * n_cols; i++)
            x[i] = (float) (i % 251 - 125) / 125.0f;
        for (int64_t t = 0; t < n_x && !lathe_packed_takes_floats(type); t++)
            cpu->quantise(n_cols, x + t * n_cols, q + (size_t) t * lathe_activation_bytes(n_cols));
        job.x = lathe_packed_takes_floats(type) ? (const void *) x : q;
        double best = 1e30;
        const double stop = lathe_now() + SECONDS;
        do {
            const double t0 = lathe_now();
            for (int64_t i = 0; i < n_copies; i++) {
                job.w.data = w + (size_t) i * matrix;
                lathe_parallel_for(pool, n_threads, 1, product_share, &job);
            }
            const double t = (lathe_now() - t0) / (double) n_copies;
            best = t < best ? t : best;
        } while (lathe_now() < stop);
        *speed = (lathe_product_speed){best, (double) matrix,
                                       2.0 * (double) n_rows * (double) n_cols * (double) n_x};
    }
    lathe_pool_free(pool);
    lathe_arena_free(&arena);
    return status;
}

typedef struct peak_job {
    const lathe_cpu *cpu;
    bool floats;
    double ops[256];
} peak_job;

static void peak_share(void *ctx, int worker, int64_t piece, int64_t begin, int64_t end) {
    peak_job *job = ctx;
    (void) worker;
    (void) begin;
    (void) end;
    job->ops[piece % 256] = job->cpu->spin(ROUNDS, job->floats);
}

double lathe_measure_peak(const lathe_cpu *cpu, bool floats, int n_threads) {
    peak_job job = {.cpu = cpu, .floats = floats};
    lathe_pool *pool = NULL;
    double best = 0.0;
    if (n_threads < 1 || n_threads > 256 || lathe_pool_new(n_threads, &pool, NULL) != LATHE_OK)
        return 0.0;
    for (int pass = 0; pass < 20; pass++) {
        const double t0 = lathe_now();
        lathe_parallel_for(pool, n_threads, 1, peak_share, &job);
        const double t = lathe_now() - t0;
        double ops = 0.0;
        for (int i = 0; i < n_threads; i++)
            ops += job.ops[i];
        best = ops / t > best ? ops / t : best;
    }
    lathe_pool_free(pool);
    return best;
}
