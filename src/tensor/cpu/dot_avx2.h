/* dot_avx2.h - what products need (dot_scalar.h says what each does): 8 rows a register, so that 4 columns
 * fit in 16 registers. With __AVXVNNI__ bytes are multiplied and added in one step. Without, u8 x s8 pairs
 * are summed in 16 bits, and widened once a block: 8 x 2 x 15 x 127 = 30,480 for 4-bit weights; 5-bit ones
 * fit 4 times (31,496), 6-bit ones twice (32,004). 8-bit weights go in as magnitude times signed activation:
 * 2 x 128 x 127 = 32,512, widened each time. Nothing saturates. */
#include <immintrin.h>

#ifdef __AVXVNNI__
enum { EVERY_4 = 8, EVERY_5 = 8, EVERY_6 = 4 };
#else
enum { EVERY_4 = 8, EVERY_5 = 4, EVERY_6 = 2 };
#endif
enum { LANES = 8, TILE_BYTES = 4, TILE_WHOLE = 2, TILE_FLOAT = 4 };

typedef __m256 mf;
typedef __m256i mi, mb, ms, mscale;

static inline __m128i bytes8(const void *p) {
    return _mm_loadl_epi64((const __m128i *) p);
}
static inline __m256i bytes4(const void *p) {
    int32_t four;
    memcpy(&four, p, 4);
    return _mm256_set1_epi32(four);
}

/* Makes gcc compute x now, in a register. */
#define MS_KEEP(x) __asm__("" : "+x"(x))

static inline mf mf_set1(float x) {
    return _mm256_set1_ps(x);
}
static inline mf mf_mul(mf a, mf b) {
    return _mm256_mul_ps(a, b);
}
static inline mf mf_fma(mf a, mf b, mf c) {
    return _mm256_fmadd_ps(a, b, c);
}
static inline mf mf_fnma(mf a, mf b, mf c) {
    return _mm256_fnmadd_ps(a, b, c);
}
static inline mf mf_add(mf a, mf b) {
    return _mm256_add_ps(a, b);
}
static inline mf mf_half(const uint8_t *p) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *) p));
}
static inline mf mf_bf16(const uint8_t *p) {
    __m256i w = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *) p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(w, 16));
}
static inline mf mf_of(mi a) {
    return _mm256_cvtepi32_ps(a);
}
static inline mf mf_u8(const uint8_t *p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes8(p)));
}
static inline void mf_store(float *p, mf a) {
    _mm256_storeu_ps(p, a);
}
static inline mb mb_load(const uint8_t *p) {
    return _mm256_loadu_si256((const __m256i *) p);
}
static inline mb mb_low(mb a) {
    return _mm256_and_si256(a, _mm256_set1_epi8(15));
}
static inline mb mb_high(mb a) {
    return mb_low(_mm256_srli_epi16(a, 4));
}
static inline mb mb_or(mb a, mb b) {
    return _mm256_or_si256(a, b);
}
static inline mb mb_bits(mb a, int n, int mask) {
    a = n >= 0 ? _mm256_slli_epi16(a, n) : _mm256_srli_epi16(a, -n);
    return _mm256_and_si256(a, _mm256_set1_epi8((char) mask));
}
static inline mi mi_start(int32_t offset) {
    return _mm256_set1_epi32(offset);
}
static inline ms ms_zero(void) {
    return _mm256_setzero_si256();
}

#ifdef __AVXVNNI__
static inline ms ms_dot(ms sum, mb w, const int8_t *a) {
    return _mm256_dpbusd_avx_epi32(sum, w, bytes4(a));
}
static inline mi mi_widen(mi total, ms sum) {
    return _mm256_add_epi32(total, sum);
}
static inline mb mb_q8(mb w) {
    return w;
}
static inline mb mb_magnitude(mb w) {
    return w;
}
static inline mi mi_start_q8(const lathe_activation *a) {
    return mi_start(a->minus_128);
}
static inline mi mi_dot_q8(mi sum, mb w, mb magnitude, const int8_t *a) {
    (void) magnitude;
    return ms_dot(sum, w, a);
}
static inline mscale mscale_load(const uint8_t *p) {
    return _mm256_cvtepi8_epi32(bytes8(p));
}
static inline mi mi_start_q6(const lathe_activation *a, mscale s0, mscale s1) {
    return _mm256_add_epi32(_mm256_mullo_epi32(s0, mi_start(a->minus_32[0])),
                            _mm256_mullo_epi32(s1, mi_start(a->minus_32[1])));
}
static inline mi mi_widen_scaled(mi total, ms sum, mscale scale) {
    return _mm256_add_epi32(total, _mm256_mullo_epi32(scale, sum));
}
#else
/* This sum here and not later: gcc would keep all products of a block in memory and add them at its end. */
static inline __m256i now(__m256i sum) {
    MS_KEEP(sum);
    return sum;
}
static inline ms ms_dot(ms sum, mb w, const int8_t *a) {
    return now(_mm256_add_epi16(sum, _mm256_maddubs_epi16(w, bytes4(a))));
}
static inline mi mi_widen(mi total, ms sum) {
    return now(_mm256_add_epi32(total, _mm256_madd_epi16(sum, _mm256_set1_epi16(1))));
}
static inline mb mb_q8(mb w) {
    return _mm256_xor_si256(w, _mm256_set1_epi8((char) 0x80));
}
static inline mb mb_magnitude(mb w) {
    return _mm256_abs_epi8(w);
}
static inline mi mi_start_q8(const lathe_activation *a) {
    (void) a;
    return mi_start(0);
}
static inline mi mi_dot_q8(mi sum, mb w, mb magnitude, const int8_t *a) {
    return mi_widen(sum, _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(bytes4(a), w)));
}
/* Scales as pairs of 16 bits: one multiply-add scales, adds the pairs, and widens. */
static inline mscale mscale_load(const uint8_t *p) {
    __m256i s = _mm256_cvtepi8_epi32(bytes8(p));
    return _mm256_or_si256(_mm256_slli_epi32(s, 16), _mm256_and_si256(s, _mm256_set1_epi32(0xffff)));
}
static inline mi mi_start_q6(const lathe_activation *a, mscale s0, mscale s1) {
    /* (-16 sum of a half, -16 sum of the other) times twice the scales of both. */
    __m256i pair = _mm256_blend_epi16(s0, s1, 0xaa);
    return _mm256_madd_epi16(bytes4(a->minus_16), _mm256_add_epi16(pair, pair));
}
static inline mi mi_widen_scaled(mi total, ms sum, mscale scale) {
    return now(_mm256_add_epi32(total, _mm256_madd_epi16(sum, scale)));
}
#endif

static inline float largest32(const float *x) {
    __m256 zero = _mm256_setzero_ps(), poison = zero, largest = zero;
    for (int i = 0; i < 32; i += 8) {
        __m256 v = _mm256_loadu_ps(x + i);
        poison = _mm256_add_ps(poison, _mm256_mul_ps(v, zero));
        largest = _mm256_max_ps(largest, _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v));
    }
    if (_mm256_movemask_ps(_mm256_cmp_ps(poison, poison, _CMP_UNORD_Q)) != 0)
        return NAN;
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(largest), _mm256_extractf128_ps(largest, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}
static inline void round32(const float *x, float inverse, int8_t *q, int32_t sums[2]) {
    for (int h = 0; h < 2; h++) {
        __m256 scale = _mm256_set1_ps(inverse);
        __m256i a = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 16 * h), scale));
        __m256i b = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 16 * h + 8), scale));
        __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
        __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
        _mm_storeu_si128((__m128i *) (q + 16 * h), bytes);
        __m256i s = _mm256_add_epi32(a, b);
        __m128i t = _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
        t = _mm_add_epi32(t, _mm_shuffle_epi32(t, 0x4e));
        sums[h] = _mm_cvtsi128_si32(_mm_add_epi32(t, _mm_shuffle_epi32(t, 0xb1)));
    }
}
