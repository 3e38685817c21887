/* bench_attention.c - the speed of fused attention, for test_attention --bench: milliseconds for all layers
 * of a model's step, and what that is of the memory's and the arithmetic's limits. One thread, the best of
 * five. */
#define _DEFAULT_SOURCE 1 /* madvise */
#include "bench_attention.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/machine.h"
#include "tensor/cpu/attention_set.h"

typedef struct shape {
    const char *name;
    int64_t n_layer, n_head, n_head_kv, dh;
} shape;

/* A cache in huge pages, as contexts place theirs. */
static uint8_t *huge_pages(size_t n) {
    enum { HUGE_PAGE = 2 << 20 };
    n = (n + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    uint8_t *p = aligned_alloc(HUGE_PAGE, n);
#ifdef MADV_HUGEPAGE
    if (p != NULL)
        (void) madvise(p, n, MADV_HUGEPAGE);
#endif
    return p;
}

static void one(const lathe_cpu *cpu, const shape *s, lathe_kv_type type, size_t element_bytes_x32,
                int64_t n_kv, int64_t n_q, double bandwidth) {
    size_t head = (size_t) s->dh * element_bytes_x32 / 32, row = head * (size_t) s->n_head_kv,
           side = row * (size_t) n_kv, all = 2 * side * (size_t) s->n_layer;
    uint8_t *cache = huge_pages(all);
    size_t n_q_floats = (size_t) (n_q * s->n_head * s->dh);
    float *q = calloc(n_q_floats, sizeof *q), *out = malloc(n_q_floats * sizeof *out);
    int32_t *seen = malloc((size_t) (2 * n_q) * sizeof *seen);
    if (cache != NULL && q != NULL && out != NULL && seen != NULL) {
        memset(cache, 0x11, all);
        for (int64_t t = 0; t < n_q; t++) {
            seen[2 * t] = 0;
            seen[2 * t + 1] = (int32_t) (n_kv - n_q + t + 1);
        }
        lathe_attention_args a = {.n_q = n_q,
                                  .n_kv = n_kv,
                                  .n_head = s->n_head,
                                  .n_head_kv = s->n_head_kv,
                                  .dk = s->dh,
                                  .dv = s->dh,
                                  .q = q,
                                  .q_row = s->n_head * s->dh,
                                  .q_head = s->dh,
                                  .k_row = row,
                                  .k_head = head,
                                  .v_row = row,
                                  .v_head = head,
                                  .k_type = type,
                                  .v_type = type,
                                  .seen = seen,
                                  .scale = 0.125f,
                                  .out = out};
        float *room = malloc(2 * lathe_attention_part(&a, s->n_head_kv) * sizeof *room);
        double best = 1e9;
        for (int r = 0; r < 5 && room != NULL; r++) {
            double begin = lathe_now();
            for (int64_t l = 0; l < s->n_layer; l++) {
                a.k = cache + 2 * side * (size_t) l;
                a.v = a.k + side;
                if (lathe_attention_n_tiles(&a) == 1) {
                    cpu->attention->heads(&a, 0, s->n_head_kv, room);
                    continue;
                }
                for (int64_t h = 0; h < s->n_head_kv; h++)
                    for (int64_t t = 0; t < n_q; t += lathe_attention_tile_rows(&a))
                        cpu->attention->tile(&a, h, t);
            }
            double seconds = lathe_now() - begin;
            best = seconds < best ? seconds : best;
        }
        free(room);
        double flops = 4.0 * (double) (s->n_layer * s->n_head * s->dh * n_q * (2 * n_kv - n_q + 1)) / 2.0;
        printf("%-8s %-6s %5s n_kv %5lld T %4lld: %8.3f ms  %6.1f GB/s (%3.0f%%)  %7.1f GFLOP/s\n", cpu->name,
               s->name,
               type == LATHE_KV_F16    ? "f16"
               : type == LATHE_KV_F32  ? "f32"
               : type == LATHE_KV_Q8_0 ? "q8_0"
                                       : "other",
               (long long) n_kv, (long long) n_q, best * 1e3, (double) all / best * 1e-9,
               100.0 * (double) all / best / bandwidth, flops / best * 1e-9);
    }
    free(cache);
    free(q);
    free(out);
    free(seen);
}

void bench_attention(void) {
    static const shape shapes[] = {
        {"100M", 12, 12, 4, 64}, {"1B", 16, 32, 8, 64}, {"d128", 8, 32, 8, 128}, {"d16", 8, 16, 8, 16}};
    static const int64_t rows[] = {1, 2, 4, 8, 16, 64, 512};
    size_t n_sets;
    const lathe_cpu *const *sets = lathe_cpu_sets(&n_sets);
    double bandwidth = lathe_measure_bandwidth(1, (size_t) 256 << 20);
    printf("read bandwidth %.1f GB/s\n", bandwidth * 1e-9);
    for (size_t c = 0; c < n_sets; c++) {
        if (!sets[c]->is_usable() || sets[c] == &lathe_cpu_scalar)
            continue;
        for (size_t i = 0; i < LATHE_LEN(shapes); i++)
            for (size_t r = 0; r < LATHE_LEN(rows); r++)
                one(sets[c], &shapes[i], LATHE_KV_F16, 64, 2048, rows[r], bandwidth);
        for (size_t r = 0; r < 4; r++)
            one(sets[c], &shapes[0], LATHE_KV_Q8_0, 34, 2048, rows[r], bandwidth);
        one(sets[c], &shapes[0], LATHE_KV_F16, 64, 8192, 1, bandwidth);
    }
}
