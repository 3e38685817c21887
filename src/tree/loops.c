/* loops.c - see loops.h: written for compilers that turn loops over LATHE_LANES into vectors. */
#include "tree/loops.h"

#include <math.h>

#define INLINE static inline __attribute__((always_inline))

INLINE bool relax_body(double *best, int32_t *from, const double *row, int32_t m, int32_t c) {
    int32_t n_equal = 0;
    for (int32_t k = 0; k < m; k++) {
        const bool better = row[k] > best[k];
        n_equal += row[k] == best[k];
        best[k] = better ? row[k] : best[k];
        from[k] = better ? c : from[k];
    }
    return n_equal > 0;
}

INLINE double largest_body(const double *best, int32_t m) {
    double top[LATHE_LANES];
    for (int k = 0; k < LATHE_LANES; k++)
        top[k] = -INFINITY;
    int32_t k = 0;
    for (; k + LATHE_LANES <= m; k += LATHE_LANES)
        for (int q = 0; q < LATHE_LANES; q++)
            top[q] = best[k + q] > top[q] ? best[k + q] : top[q];
    for (; k < m; k++)
        top[0] = best[k] > top[0] ? best[k] : top[0];
    for (int q = 1; q < LATHE_LANES; q++)
        top[0] = top[q] > top[0] ? top[q] : top[0];
    return top[0];
}

INLINE int32_t find_body(const double *a, int32_t m, double x, int32_t from) {
    int32_t k = from;
    for (; k + LATHE_LANES <= m; k += LATHE_LANES) {
        int32_t n_equal = 0;
        for (int q = 0; q < LATHE_LANES; q++)
            n_equal += a[k + q] == x;
        if (n_equal)
            break;
    }
    while (k < m && a[k] != x)
        k++;
    return k;
}

INLINE int32_t promising_body(const uint32_t *counts, const uint32_t *ones, const double *spread, int32_t n_b,
                              int32_t from, double n, double ones_a, double bound) {
    int32_t b = from;
    for (; b + LATHE_LANES <= n_b; b += LATHE_LANES) {
        int32_t n_hits = 0;
        for (int q = 0; q < LATHE_LANES; q++) { /* counts are below 2^31 */
            const double d = n * (int32_t) counts[b + q] - ones_a * (int32_t) ones[b + q];
            n_hits += d * d >= bound * spread[b + q];
        }
        if (n_hits)
            return b;
    }
    return b;
}

INLINE void phi_body(const uint32_t *counts, const uint32_t *ones, const double *scale, int32_t n_b, double n,
                     double ones_a, double scale_a, float *phi) {
    for (int32_t b = 0; b < n_b; b++) {
        const double d = n * (int32_t) counts[b] - ones_a * (int32_t) ones[b];
        phi[b] = (float) (d * d * (scale_a * scale[b]));
    }
}

INLINE void step_body(float *best, int32_t *from, const float *row, int32_t m, int32_t c, float *largest) {
    float top[LATHE_LANES];
    for (int q = 0; q < LATHE_LANES; q++)
        top[q] = -INFINITY;
    for (int32_t k = 0; k < m; k += LATHE_LANES)
        for (int q = 0; q < LATHE_LANES; q++) {
            const float old = best[k + q];
            const bool better = row[k + q] > old;
            const float now = better ? row[k + q] : old;
            best[k + q] = now;
            from[k + q] = better ? c : from[k + q];
            top[q] = now > top[q] ? now : top[q];
        }
    for (int q = 1; q < LATHE_LANES; q++)
        top[0] = top[q] > top[0] ? top[q] : top[0];
    *largest = top[0];
}

INLINE int32_t reach_body(const float *a, int32_t m, float x, int32_t from) {
    for (int32_t k = from; k < m; k += LATHE_LANES) {
        int32_t n_hits = 0;
        for (int q = 0; q < LATHE_LANES; q++)
            n_hits += a[k + q] >= x;
        if (n_hits)
            return k;
    }
    return m;
}

/* The same bodies for each processor. */
static bool relax_plain(double *best, int32_t *from, const double *row, int32_t m, int32_t c) {
    return relax_body(best, from, row, m, c);
}
static double largest_plain(const double *best, int32_t m) {
    return largest_body(best, m);
}
static int32_t find_plain(const double *a, int32_t m, double x, int32_t from) {
    return find_body(a, m, x, from);
}
static int32_t promising_plain(const uint32_t *counts, const uint32_t *ones, const double *spread,
                               int32_t n_b, int32_t from, double n, double ones_a, double bound) {
    return promising_body(counts, ones, spread, n_b, from, n, ones_a, bound);
}
static void phi_plain(const uint32_t *counts, const uint32_t *ones, const double *scale, int32_t n_b,
                      double n, double ones_a, double scale_a, float *phi) {
    phi_body(counts, ones, scale, n_b, n, ones_a, scale_a, phi);
}
static void step_plain(float *best, int32_t *from, const float *row, int32_t m, int32_t c, float *largest) {
    step_body(best, from, row, m, c, largest);
}
static int32_t reach_plain(const float *a, int32_t m, float x, int32_t from) {
    return reach_body(a, m, x, from);
}
static const lathe_loop_set set_plain = {relax_plain, largest_plain, find_plain, promising_plain,
                                         phi_plain,   step_plain,    reach_plain};

#if defined(__x86_64__)
__attribute__((target("avx2"))) static bool relax_avx2(double *best, int32_t *from, const double *row,
                                                       int32_t m, int32_t c) {
    return relax_body(best, from, row, m, c);
}
__attribute__((target("avx2"))) static double largest_avx2(const double *best, int32_t m) {
    return largest_body(best, m);
}
__attribute__((target("avx2"))) static int32_t find_avx2(const double *a, int32_t m, double x, int32_t from) {
    return find_body(a, m, x, from);
}
__attribute__((target("avx2"))) static int32_t promising_avx2(const uint32_t *counts, const uint32_t *ones,
                                                              const double *spread, int32_t n_b, int32_t from,
                                                              double n, double ones_a, double bound) {
    return promising_body(counts, ones, spread, n_b, from, n, ones_a, bound);
}
__attribute__((target("avx2"))) static void phi_avx2(const uint32_t *counts, const uint32_t *ones,
                                                     const double *scale, int32_t n_b, double n,
                                                     double ones_a, double scale_a, float *phi) {
    phi_body(counts, ones, scale, n_b, n, ones_a, scale_a, phi);
}
__attribute__((target("avx2"))) static void step_avx2(float *best, int32_t *from, const float *row, int32_t m,
                                                      int32_t c, float *largest) {
    step_body(best, from, row, m, c, largest);
}
__attribute__((target("avx2"))) static int32_t reach_avx2(const float *a, int32_t m, float x, int32_t from) {
    return reach_body(a, m, x, from);
}
static const lathe_loop_set set_avx2 = {relax_avx2, largest_avx2, find_avx2, promising_avx2,
                                        phi_avx2,   step_avx2,    reach_avx2};

__attribute__((target("avx512f,avx512vl,avx512dq,avx512bw"))) static bool
relax_avx512(double *best, int32_t *from, const double *row, int32_t m, int32_t c) {
    return relax_body(best, from, row, m, c);
}
__attribute__((target("avx512f,avx512vl,avx512dq,avx512bw"))) static double largest_avx512(const double *best,
                                                                                           int32_t m) {
    return largest_body(best, m);
}
__attribute__((target("avx512f,avx512vl,avx512dq,avx512bw"))) static int32_t
find_avx512(const double *a, int32_t m, double x, int32_t from) {
    return find_body(a, m, x, from);
}
__attribute__((target("avx512f,avx512vl,avx512dq,avx512bw"))) static int32_t
promising_avx512(const uint32_t *counts, const uint32_t *ones, const double *spread, int32_t n_b,
                 int32_t from, double n, double ones_a, double bound) {
    return promising_body(counts, ones, spread, n_b, from, n, ones_a, bound);
}
__attribute__((target("avx512f,avx512vl,avx512dq,avx512bw"))) static void
phi_avx512(const uint32_t *counts, const uint32_t *ones, const double *scale, int32_t n_b, double n,
           double ones_a, double scale_a, float *phi) {
    phi_body(counts, ones, scale, n_b, n, ones_a, scale_a, phi);
}
__attribute__((target("avx512f,avx512vl,avx512dq,avx512bw"))) static void
step_avx512(float *best, int32_t *from, const float *row, int32_t m, int32_t c, float *largest) {
    step_body(best, from, row, m, c, largest);
}
__attribute__((target("avx512f,avx512vl,avx512dq,avx512bw"))) static int32_t
reach_avx512(const float *a, int32_t m, float x, int32_t from) {
    return reach_body(a, m, x, from);
}
static const lathe_loop_set set_avx512 = {relax_avx512, largest_avx512, find_avx512, promising_avx512,
                                          phi_avx512,   step_avx512,    reach_avx512};
#endif

const lathe_loop_set *lathe_loops(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw"))
        return &set_avx512;
    if (__builtin_cpu_supports("avx2"))
        return &set_avx2;
#endif
    return &set_plain;
}
