/* loops.c - see loops.h: written for compilers that turn loops over LATHE_LANES into vectors. */
#include "tree/loops.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))

enum { SUM_LANES = 8 };

static double add_lanes(const double lane[SUM_LANES]) {
    return ((lane[0] + lane[4]) + (lane[1] + lane[5])) + ((lane[2] + lane[6]) + (lane[3] + lane[7]));
}

double lathe_sum(const double *x, int64_t n) {
    double lane[SUM_LANES] = {0};
    int64_t t = 0;
    for (; t + SUM_LANES <= n; t += SUM_LANES)
        for (int q = 0; q < SUM_LANES; q++)
            lane[q] += x[t + q];
    for (int q = 0; t < n; t++, q++)
        lane[q] += x[t];
    return add_lanes(lane);
}

double lathe_dot(const double *x, const double *y, int64_t n) {
    double lane[SUM_LANES] = {0};
    int64_t t = 0;
    for (; t + SUM_LANES <= n; t += SUM_LANES)
        for (int q = 0; q < SUM_LANES; q++)
            lane[q] += x[t + q] * y[t + q];
    for (int q = 0; t < n; t++, q++)
        lane[q] += x[t] * y[t];
    return add_lanes(lane);
}

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

#define RANK_LOW 0x1p-31f

INLINE uint16_t rank_body(float x) {
    const float low = RANK_LOW, kept = x > low ? x : low;
    uint32_t bits, base;
    memcpy(&bits, &kept, sizeof bits);
    memcpy(&base, &low, sizeof base);
    return (uint16_t) ((bits - base) >> 12);
}

uint16_t lathe_rank(float x) {
    return rank_body(x);
}

/* Up to 92,681 rows n c11 - ones_a ones_b, at most n^2 / 4, fits 32 bits, and overflow on the way does no
 * harm; beyond, doubles. */
INLINE void ranks_body(const uint32_t *counts, const uint32_t *ones, const double *scale, int32_t n_b,
                       int64_t n, uint32_t ones_a, double scale_a, uint16_t *rank) {
    if (n <= 92681) {
        const uint32_t n32 = (uint32_t) n;
        const float scale_a32 = (float) scale_a;
        for (int32_t b = 0; b < n_b; b++) {
            const float d = (float) (int32_t) (n32 * counts[b] - ones_a * ones[b]);
            rank[b] = rank_body(d * d * (scale_a32 * (float) scale[b]));
        }
        return;
    }
    for (int32_t b = 0; b < n_b; b++) { /* counts are below 2^31 */
        const double d = (double) n * (int32_t) counts[b] - (double) ones_a * (int32_t) ones[b];
        rank[b] = rank_body((float) (d * d * (scale_a * scale[b])));
    }
}

INLINE int32_t reach_body(const uint16_t *a, int32_t m, uint16_t x, int32_t from) {
    for (int32_t k = from; k < m; k += LATHE_WIDE) {
        int n_hits = 0;
        for (int q = 0; q < LATHE_WIDE; q++)
            n_hits += a[k + q] >= x;
        if (n_hits)
            return k;
    }
    return m;
}

INLINE int32_t place_of(const uint16_t *best, int32_t m, uint16_t x) {
    int32_t k = 0;
    while (k + 1 < m && best[k] != x)
        k++;
    return k;
}

INLINE int32_t step_body(uint16_t *best, uint16_t *from, const uint16_t *row, int32_t m, uint16_t c,
                         uint16_t *largest) {
    uint16_t top[LATHE_WIDE] = {0};
    for (int32_t k = 0; k < m; k += LATHE_WIDE)
        for (int q = 0; q < LATHE_WIDE; q++) {
            const uint16_t old = best[k + q];
            const bool better = row[k + q] > old;
            const uint16_t now = better ? row[k + q] : old, outside = now == LATHE_JOINED ? 0 : now;
            best[k + q] = now;
            from[k + q] = better ? c : from[k + q];
            top[q] = outside > top[q] ? outside : top[q];
        }
    for (int q = 1; q < LATHE_WIDE; q++)
        top[0] = top[q] > top[0] ? top[q] : top[0];
    *largest = top[0];
    return place_of(best, m, top[0]);
}

#if defined(__SSE2__)
/* 8 x 8: three rounds of interleaving. */
static void turn_eight(const uint16_t *from, int64_t from_stride, uint16_t *to, int64_t to_stride) {
    __m128i a[8], b[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        a[i] = _mm_loadu_si128((const __m128i *) (const void *) (from + i * from_stride));
#pragma GCC unroll 3
    for (int round = 0; round < 3; round++) {
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            b[2 * i] = _mm_unpacklo_epi16(a[i], a[i + 4]);
            b[2 * i + 1] = _mm_unpackhi_epi16(a[i], a[i + 4]);
        }
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++)
            a[i] = b[i];
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        _mm_storeu_si128((__m128i *) (void *) (to + i * to_stride), a[i]);
}
#endif

void lathe_turn(const uint16_t *from, int64_t from_stride, int32_t n_rows, int32_t n_columns, uint16_t *to,
                int64_t to_stride) {
    enum { SIDE = 8 };
    for (int32_t i = 0; i < n_rows; i += SIDE)
        for (int32_t j = 0; j < n_columns; j += SIDE) {
#if defined(__SSE2__)
            if (i + SIDE <= n_rows && j + SIDE <= n_columns) {
                turn_eight(from + i * from_stride + j, from_stride, to + j * to_stride + i, to_stride);
                continue;
            }
#endif
            for (int32_t a = i; a < n_rows && a < i + SIDE; a++)
                for (int32_t b = j; b < n_columns && b < j + SIDE; b++)
                    to[b * to_stride + a] = from[a * from_stride + b];
        }
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
static void ranks_plain(const uint32_t *counts, const uint32_t *ones, const double *scale, int32_t n_b,
                        int64_t n, uint32_t ones_a, double scale_a, uint16_t *rank) {
    ranks_body(counts, ones, scale, n_b, n, ones_a, scale_a, rank);
}
static int32_t step_plain(uint16_t *best, uint16_t *from, const uint16_t *row, int32_t m, uint16_t c,
                          uint16_t *largest) {
    return step_body(best, from, row, m, c, largest);
}
static int32_t reach_plain(const uint16_t *a, int32_t m, uint16_t x, int32_t from) {
    return reach_body(a, m, x, from);
}
static const lathe_loop_set set_plain = {relax_plain, largest_plain, find_plain, promising_plain,
                                         ranks_plain, step_plain,    reach_plain};

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
__attribute__((target("avx2"))) static void ranks_avx2(const uint32_t *counts, const uint32_t *ones,
                                                       const double *scale, int32_t n_b, int64_t n,
                                                       uint32_t ones_a, double scale_a, uint16_t *rank) {
    ranks_body(counts, ones, scale, n_b, n, ones_a, scale_a, rank);
}
/* Unsigned words have no comparison of their own: a >= b where the larger of both is a. */
__attribute__((target("avx2"))) static inline __m256i at_least(__m256i a, __m256i b) {
    return _mm256_cmpeq_epi16(_mm256_max_epu16(a, b), a);
}
__attribute__((target("avx2"))) static int32_t step_avx2(uint16_t *best, uint16_t *from, const uint16_t *row,
                                                         int32_t m, uint16_t c, uint16_t *largest) {
    const __m256i name = _mm256_set1_epi16((short) c), joined = _mm256_set1_epi16(-1);
    __m256i top = _mm256_setzero_si256();
    for (int32_t k = 0; k < m; k += 16) {
        const __m256i old = _mm256_loadu_si256((const __m256i *) (const void *) (best + k)),
                      new = _mm256_loadu_si256((const __m256i *) (const void *) (row + k)),
                      names = _mm256_loadu_si256((const __m256i *) (const void *) (from + k)),
                      now = _mm256_max_epu16(old, new);
        _mm256_storeu_si256((__m256i *) (void *) (best + k), now);
        _mm256_storeu_si256((__m256i *) (void *) (from + k),
                            _mm256_blendv_epi8(name, names, at_least(old, new)));
        top = _mm256_max_epu16(top, _mm256_andnot_si256(_mm256_cmpeq_epi16(now, joined), now));
    }
    uint16_t tops[16];
    _mm256_storeu_si256((__m256i *) (void *) tops, top);
    for (int q = 1; q < 16; q++)
        tops[0] = tops[q] > tops[0] ? tops[q] : tops[0];
    *largest = tops[0];
    const __m256i wanted = _mm256_set1_epi16((short) tops[0]);
    int32_t k = 0;
    while (k + 16 < m && _mm256_movemask_epi8(_mm256_cmpeq_epi16(
                             _mm256_loadu_si256((const __m256i *) (const void *) (best + k)), wanted)) == 0)
        k += 16;
    return k + place_of(best + k, 16, tops[0]);
}
__attribute__((target("avx2"))) static int32_t reach_avx2(const uint16_t *a, int32_t m, uint16_t x,
                                                          int32_t from) {
    const __m256i least = _mm256_set1_epi16((short) x);
    for (int32_t k = from; k < m; k += LATHE_WIDE) {
        const __m256i low = _mm256_loadu_si256((const __m256i *) (const void *) (a + k)),
                      high = _mm256_loadu_si256((const __m256i *) (const void *) (a + k + 16));
        if (_mm256_movemask_epi8(_mm256_or_si256(at_least(low, least), at_least(high, least))) != 0)
            return k;
    }
    return m;
}
static const lathe_loop_set set_avx2 = {relax_avx2, largest_avx2, find_avx2, promising_avx2,
                                        ranks_avx2, step_avx2,    reach_avx2};

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
ranks_avx512(const uint32_t *counts, const uint32_t *ones, const double *scale, int32_t n_b, int64_t n,
             uint32_t ones_a, double scale_a, uint16_t *rank) {
    ranks_body(counts, ones, scale, n_b, n, ones_a, scale_a, rank);
}
/* By hand: the largest and its place in one pass. */
__attribute__((target("avx512f,avx512vl,avx512dq,avx512bw"))) static int32_t
step_avx512(uint16_t *best, uint16_t *from, const uint16_t *row, int32_t m, uint16_t c, uint16_t *largest) {
    const __m512i name = _mm512_set1_epi16((short) c), joined = _mm512_set1_epi16(-1);
    __m512i top = _mm512_setzero_si512(), at = top;
    for (int32_t k = 0; k < m; k += LATHE_WIDE) {
        const __m512i old = _mm512_loadu_si512(best + k), new = _mm512_loadu_si512(row + k),
                      now = _mm512_max_epu16(old, new);
        _mm512_storeu_si512(best + k, now);
        _mm512_storeu_si512(from + k, _mm512_mask_mov_epi16(_mm512_loadu_si512(from + k),
                                                            _mm512_cmpgt_epu16_mask(new, old), name));
        const __mmask32 higher = _mm512_cmpgt_epu16_mask(now, top) & _mm512_cmpneq_epu16_mask(now, joined);
        top = _mm512_mask_mov_epi16(top, higher, now);
        at = _mm512_mask_mov_epi16(at, higher, _mm512_set1_epi16((short) k));
    }
    uint16_t blocks[LATHE_WIDE];
    _mm512_storeu_si512(blocks, at);
    const __m512i wide =
        _mm512_max_epu32(_mm512_and_si512(top, _mm512_set1_epi32(0xffff)), _mm512_srli_epi32(top, 16));
    *largest = (uint16_t) _mm512_reduce_max_epu32(wide);
    const int lane = __builtin_ctz(_mm512_cmpeq_epu16_mask(top, _mm512_set1_epi16((short) *largest)));
    return blocks[lane] + lane;
}
__attribute__((target("avx512f,avx512vl,avx512dq,avx512bw"))) static int32_t
reach_avx512(const uint16_t *a, int32_t m, uint16_t x, int32_t from) {
    const __m512i least = _mm512_set1_epi16((short) x);
    int32_t k = from;
    while (k < m && _mm512_cmpge_epu16_mask(_mm512_loadu_si512(a + k), least) == 0)
        k += LATHE_WIDE;
    return k < m ? k : m;
}
static const lathe_loop_set set_avx512 = {relax_avx512, largest_avx512, find_avx512, promising_avx512,
                                          ranks_avx512, step_avx512,    reach_avx512};
#endif

const lathe_loop_set *lathe_loops(void) {
#if defined(__x86_64__)
    const char *limit = getenv("LATHE_CPU");
    limit = limit != NULL ? limit : "";
    const bool any = *limit == 0, scalar = strcmp(limit, "scalar") == 0;
    if ((any || strncmp(limit, "avx512", 6) == 0) && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw"))
        return &set_avx512;
    if (!scalar && __builtin_cpu_supports("avx2"))
        return &set_avx2;
#endif
    return &set_plain;
}
