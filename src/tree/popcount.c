/* popcount.c - see popcount.h. Columns are taken in groups of 8 so that both groups stay in the first cache
 * at 10,000 rows, and in squares of 4 x 4 (2 x 2 without AVX-512) so that each loaded word serves four (two)
 * products.
 */
#include "tree/popcount.h"

#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) || defined(__SSE2__)
#include <immintrin.h>
#endif

enum { GROUP = 8 };

static int32_t least(int32_t a, int32_t b) {
    return a < b ? a : b;
}

static bool always(void) {
    return true;
}

static void pack_plain(const uint16_t *codes, int64_t n, uint64_t *words, int64_t n_words) {
    int64_t t = 0;
    for (int64_t k = 0; k < n_words; k++) {
        uint64_t word = 0;
#if defined(__SSE2__)
        if (n - t >= 64) {
            for (int q = 0; q < 4; q++, t += 16) {
                const __m128i *at = (const __m128i *) (const void *) (codes + t);
                const __m128i bytes = _mm_packs_epi16(_mm_slli_epi16(_mm_loadu_si128(at), 15),
                                                      _mm_slli_epi16(_mm_loadu_si128(at + 1), 15));
                word |= (uint64_t) (uint32_t) _mm_movemask_epi8(bytes) << (16 * q);
            }
            words[k] = word;
            continue;
        }
#endif
        for (int q = 0; q < 64 && t < n; q++, t++)
            word |= (uint64_t) (codes[t] & 1) << q;
        words[k] = word;
    }
}

static void tile_portable(const uint64_t *x, int32_t n_a, const uint64_t *y, int32_t n_b, int64_t n_words,
                          uint32_t *counts, int32_t stride) {
    for (int32_t a = 0; a < n_a; a++)
        for (int32_t b = 0; b < n_b; b++) {
            uint64_t sum = 0;
            for (int64_t k = 0; k < n_words; k++) {
                uint64_t v = x[a * n_words + k] & y[b * n_words + k];
                v -= (v >> 1) & UINT64_C(0x5555555555555555);
                v = (v & UINT64_C(0x3333333333333333)) + ((v >> 2) & UINT64_C(0x3333333333333333));
                v = (v + (v >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
                sum += (v * UINT64_C(0x0101010101010101)) >> 56;
            }
            counts[(int64_t) a * stride + b] = (uint32_t) sum;
        }
}

#if defined(__x86_64__)
static bool has_popcnt(void) {
    return __builtin_cpu_supports("popcnt");
}
static bool has_avx2(void) {
    return __builtin_cpu_supports("avx2");
}
static bool has_vpopcntdq(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vpopcntdq");
}

__attribute__((target("popcnt"))) static void tile_popcnt(const uint64_t *x, int32_t n_a, const uint64_t *y,
                                                          int32_t n_b, int64_t n_words, uint32_t *counts,
                                                          int32_t stride) {
    for (int32_t a = 0; a < n_a; a++)
        for (int32_t b = 0; b < n_b; b++) {
            const uint64_t *p = x + a * n_words, *q = y + b * n_words;
            uint64_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
            for (int64_t k = 0; k < n_words; k += 4) {
                s0 += (uint64_t) __builtin_popcountll(p[k] & q[k]);
                s1 += (uint64_t) __builtin_popcountll(p[k + 1] & q[k + 1]);
                s2 += (uint64_t) __builtin_popcountll(p[k + 2] & q[k + 2]);
                s3 += (uint64_t) __builtin_popcountll(p[k + 3] & q[k + 3]);
            }
            counts[(int64_t) a * stride + b] = (uint32_t) (s0 + s1 + s2 + s3);
        }
}

/* Counts of the 32 bytes by two table look-ups, summed to four words. */
__attribute__((target("avx2"))) static inline __m256i count_avx2(__m256i v) {
    const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2,
                                           2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    const __m256i low = _mm256_set1_epi8(15);
    return _mm256_add_epi8(_mm256_shuffle_epi8(table, _mm256_and_si256(v, low)),
                           _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(v, 4), low)));
}

__attribute__((target("avx2"))) static uint32_t sum_avx2(__m256i v) {
    uint64_t w[4];
    _mm256_storeu_si256((__m256i *) (void *) w, v);
    return (uint32_t) (w[0] + w[1] + w[2] + w[3]);
}

__attribute__((target("avx2"))) static void square_avx2(const uint64_t *p[2], const uint64_t *q[2],
                                                        int64_t n_words, uint32_t out[4]) {
    const __m256i zero = _mm256_setzero_si256();
    __m256i s00 = zero, s01 = zero, s10 = zero, s11 = zero;
    for (int64_t k = 0; k < n_words;) {
        const int64_t end = k + 120 < n_words ? k + 120 : n_words; /* 30 vectors: bytes stay below 256 */
        __m256i b00 = zero, b01 = zero, b10 = zero, b11 = zero;
        for (; k < end; k += 4) {
            const __m256i a0 = _mm256_loadu_si256((const __m256i *) (const void *) (p[0] + k));
            const __m256i a1 = _mm256_loadu_si256((const __m256i *) (const void *) (p[1] + k));
            const __m256i c0 = _mm256_loadu_si256((const __m256i *) (const void *) (q[0] + k));
            const __m256i c1 = _mm256_loadu_si256((const __m256i *) (const void *) (q[1] + k));
            b00 = _mm256_add_epi8(b00, count_avx2(_mm256_and_si256(a0, c0)));
            b01 = _mm256_add_epi8(b01, count_avx2(_mm256_and_si256(a0, c1)));
            b10 = _mm256_add_epi8(b10, count_avx2(_mm256_and_si256(a1, c0)));
            b11 = _mm256_add_epi8(b11, count_avx2(_mm256_and_si256(a1, c1)));
        }
        s00 = _mm256_add_epi64(s00, _mm256_sad_epu8(b00, zero));
        s01 = _mm256_add_epi64(s01, _mm256_sad_epu8(b01, zero));
        s10 = _mm256_add_epi64(s10, _mm256_sad_epu8(b10, zero));
        s11 = _mm256_add_epi64(s11, _mm256_sad_epu8(b11, zero));
    }
    out[0] = sum_avx2(s00);
    out[1] = sum_avx2(s01);
    out[2] = sum_avx2(s10);
    out[3] = sum_avx2(s11);
}

__attribute__((target("avx2"))) static void tile_avx2(const uint64_t *x, int32_t n_a, const uint64_t *y,
                                                      int32_t n_b, int64_t n_words, uint32_t *counts,
                                                      int32_t stride) {
    for (int32_t a0 = 0; a0 < n_a; a0 += GROUP)
        for (int32_t b0 = 0; b0 < n_b; b0 += GROUP)
            for (int32_t a = a0; a < least(a0 + GROUP, n_a); a += 2)
                for (int32_t b = b0; b < least(b0 + GROUP, n_b); b += 2) {
                    const int32_t a1 = least(a + 1, n_a - 1), b1 = least(b + 1, n_b - 1);
                    const uint64_t *p[2] = {x + a * n_words, x + a1 * n_words};
                    const uint64_t *q[2] = {y + b * n_words, y + b1 * n_words};
                    uint32_t s[4];
                    square_avx2(p, q, n_words, s);
                    counts[(int64_t) a1 * stride + b1] = s[3];
                    counts[(int64_t) a1 * stride + b] = s[2];
                    counts[(int64_t) a * stride + b1] = s[1];
                    counts[(int64_t) a * stride + b] = s[0];
                    if (a1 == a)
                        counts[(int64_t) a * stride + b1] = s[1];
                }
}

#define TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512vpopcntdq")))

/* [v0, v1] sums of neighbours, interleaved by 64 bits. */
TARGET_AVX512 static inline __m512i sum_pairs(__m512i v0, __m512i v1) {
    return _mm512_add_epi64(_mm512_unpacklo_epi64(v0, v1), _mm512_unpackhi_epi64(v0, v1));
}
/* The same for 128-bit lanes: [p p q q] twice. */
TARGET_AVX512 static inline __m512i sum_lanes(__m512i p, __m512i q) {
    return _mm512_add_epi64(_mm512_shuffle_i64x2(p, q, 0x88), _mm512_shuffle_i64x2(p, q, 0xdd));
}
/* The sums of the 8 words of each of 8 vectors, as 8 words of 32 bits. */
TARGET_AVX512 static inline __m256i sum_eight(__m512i v0, __m512i v1, __m512i v2, __m512i v3, __m512i v4,
                                              __m512i v5, __m512i v6, __m512i v7) {
    const __m512i low = sum_lanes(sum_pairs(v0, v1), sum_pairs(v2, v3)),
                  high = sum_lanes(sum_pairs(v4, v5), sum_pairs(v6, v7));
    return _mm512_cvtepi64_epi32(sum_lanes(low, high));
}

TARGET_AVX512 static inline __m512i both(__m512i a, __m512i b) {
    return _mm512_popcnt_epi64(_mm512_and_si512(a, b));
}

/* Four columns from x on against four from y on. The 16 sums stay in registers: the first vectors' counts are
 * their start and all loops over them are unrolled; as an array that is cleared first they would live in
 * memory. */
TARGET_AVX512 static void square_avx512(const uint64_t *x, const uint64_t *y, int64_t n_words,
                                        uint32_t *counts, int64_t stride) {
    const uint64_t *x1 = x + n_words, *x2 = x1 + n_words, *x3 = x2 + n_words;
    const uint64_t *y1 = y + n_words, *y2 = y1 + n_words, *y3 = y2 + n_words;
    __m512i s[16], a[4], b[4];
    a[0] = _mm512_loadu_si512(x);
    a[1] = _mm512_loadu_si512(x1);
    a[2] = _mm512_loadu_si512(x2);
    a[3] = _mm512_loadu_si512(x3);
    b[0] = _mm512_loadu_si512(y);
    b[1] = _mm512_loadu_si512(y1);
    b[2] = _mm512_loadu_si512(y2);
    b[3] = _mm512_loadu_si512(y3);
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++)
        s[i] = both(a[i / 4], b[i % 4]);
    for (int64_t k = 8; k < n_words; k += 8) {
        a[0] = _mm512_loadu_si512(x + k);
        a[1] = _mm512_loadu_si512(x1 + k);
        a[2] = _mm512_loadu_si512(x2 + k);
        a[3] = _mm512_loadu_si512(x3 + k);
        b[0] = _mm512_loadu_si512(y + k);
        b[1] = _mm512_loadu_si512(y1 + k);
        b[2] = _mm512_loadu_si512(y2 + k);
        b[3] = _mm512_loadu_si512(y3 + k);
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++)
            s[i] = _mm512_add_epi64(s[i], both(a[i / 4], b[i % 4]));
    }
    const __m256i upper = sum_eight(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]),
                  lower = sum_eight(s[8], s[9], s[10], s[11], s[12], s[13], s[14], s[15]);
    _mm_storeu_si128((__m128i *) (void *) counts, _mm256_castsi256_si128(upper));
    _mm_storeu_si128((__m128i *) (void *) (counts + stride), _mm256_extracti128_si256(upper, 1));
    _mm_storeu_si128((__m128i *) (void *) (counts + 2 * stride), _mm256_castsi256_si128(lower));
    _mm_storeu_si128((__m128i *) (void *) (counts + 3 * stride), _mm256_extracti128_si256(lower, 1));
}

TARGET_AVX512 static uint32_t pair_avx512(const uint64_t *x, const uint64_t *y, int64_t n_words) {
    __m512i even = _mm512_setzero_si512(), odd = even;
    int64_t k = 0;
    for (; k + 16 <= n_words; k += 16) {
        even = _mm512_add_epi64(even, both(_mm512_loadu_si512(x + k), _mm512_loadu_si512(y + k)));
        odd = _mm512_add_epi64(odd, both(_mm512_loadu_si512(x + k + 8), _mm512_loadu_si512(y + k + 8)));
    }
    if (k < n_words)
        even = _mm512_add_epi64(even, both(_mm512_loadu_si512(x + k), _mm512_loadu_si512(y + k)));
    return (uint32_t) _mm512_reduce_add_epi64(_mm512_add_epi64(even, odd));
}

/* Whole squares, then what is left over, pair by pair. */
TARGET_AVX512 static void tile_avx512(const uint64_t *x, int32_t n_a, const uint64_t *y, int32_t n_b,
                                      int64_t n_words, uint32_t *counts, int32_t stride) {
    const int32_t whole_a = n_a / 4 * 4, whole_b = n_b / 4 * 4;
    for (int32_t a0 = 0; a0 < whole_a; a0 += GROUP)
        for (int32_t b0 = 0; b0 < whole_b; b0 += GROUP)
            for (int32_t a = a0; a < least(a0 + GROUP, whole_a); a += 4)
                for (int32_t b = b0; b < least(b0 + GROUP, whole_b); b += 4)
                    square_avx512(x + a * n_words, y + b * n_words, n_words,
                                  counts + (int64_t) a * stride + b, stride);
    for (int32_t a = 0; a < n_a; a++)
        for (int32_t b = a < whole_a ? whole_b : 0; b < n_b; b++)
            counts[(int64_t) a * stride + b] = pair_avx512(x + a * n_words, y + b * n_words, n_words);
}

/* 64 rows are two vectors of codes; memory sets the pace, so what comes 4 KB later is asked for early. */
TARGET_AVX512 static void pack_avx512(const uint16_t *codes, int64_t n, uint64_t *words, int64_t n_words) {
    const __m512i one = _mm512_set1_epi16(1);
    int64_t k = 0;
    for (; 64 * (k + 1) <= n; k++) {
        const uint16_t *at = codes + 64 * k;
        _mm_prefetch((const char *) (at + 2048), _MM_HINT_T0);
        _mm_prefetch((const char *) (at + 2080), _MM_HINT_T0);
        words[k] = (uint64_t) _mm512_test_epi16_mask(_mm512_loadu_si512(at), one) |
                   (uint64_t) _mm512_test_epi16_mask(_mm512_loadu_si512(at + 32), one) << 32;
    }
    pack_plain(codes + 64 * k, n - 64 * k, words + k, n_words - k);
}
#endif

const lathe_popcount_kernel lathe_popcount_kernels[] = {
#if defined(__x86_64__)
    {"avx512-vpopcntdq", tile_avx512, pack_avx512, has_vpopcntdq},
    {"avx2", tile_avx2, pack_plain, has_avx2},
    {"popcnt", tile_popcnt, pack_plain, has_popcnt},
#endif
    {"portable", tile_portable, pack_plain, always},
};
const size_t lathe_n_popcount_kernels = LATHE_LEN(lathe_popcount_kernels);

const lathe_popcount_kernel *lathe_popcount_best(void) {
    const char *limit = getenv("LATHE_CPU");
    limit = limit != NULL && *limit ? limit : NULL;
    size_t i = 0;
    if (limit != NULL && strncmp(limit, "avx512", 6) != 0)
        while (i + 1 < lathe_n_popcount_kernels && strncmp(lathe_popcount_kernels[i].name, "avx512", 6) == 0)
            i++;
    if (limit != NULL && strcmp(limit, "scalar") == 0)
        i = lathe_n_popcount_kernels - 1;
    while (!lathe_popcount_kernels[i].usable())
        i++;
    return &lathe_popcount_kernels[i];
}
