/* dot_avx512.h - what products need (dot_scalar.h says what each does): 16 rows a register, bytes multiplied
 * and added by vpdpbusd, which neither saturates nor needs widening. */
#include <immintrin.h>

enum { LANES = 16, TILE_BYTES = 8, TILE_WHOLE = 8, TILE_FLOAT = 8, EVERY_4 = 8, EVERY_5 = 8, EVERY_6 = 4 };

typedef __m512 mf;
typedef __m512i mi, mb, ms, mscale;

/* Makes gcc compute x now, in a register. */
#define MS_KEEP(x) __asm__("" : "+v"(x))

static inline mf mf_set1(float x) {
    return _mm512_set1_ps(x);
}
static inline mf mf_mul(mf a, mf b) {
    return _mm512_mul_ps(a, b);
}
static inline mf mf_fma(mf a, mf b, mf c) {
    return _mm512_fmadd_ps(a, b, c);
}
static inline mf mf_fnma(mf a, mf b, mf c) {
    return _mm512_fnmadd_ps(a, b, c);
}
static inline mf mf_add(mf a, mf b) {
    return _mm512_add_ps(a, b);
}
static inline mf mf_half(const uint8_t *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *) p));
}
static inline mf mf_bf16(const uint8_t *p) {
    __m512i w = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *) p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(w, 16));
}
static inline mf mf_of(mi a) {
    return _mm512_cvtepi32_ps(a);
}
static inline mf mf_u8(const uint8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *) p)));
}
static inline void mf_store(float *p, mf a) {
    _mm512_storeu_ps(p, a);
}
static inline mb mb_load(const uint8_t *p) {
    return _mm512_loadu_si512(p);
}
static inline mb mb_low(mb a) {
    return _mm512_and_si512(a, _mm512_set1_epi8(15));
}
static inline mb mb_high(mb a) {
    return mb_low(_mm512_srli_epi16(a, 4));
}
static inline mb mb_or(mb a, mb b) {
    return _mm512_or_si512(a, b);
}
static inline mb mb_bits(mb a, int n, int mask) {
    a = n >= 0 ? _mm512_slli_epi16(a, (unsigned) n) : _mm512_srli_epi16(a, (unsigned) -n);
    return _mm512_and_si512(a, _mm512_set1_epi8((char) mask));
}

static inline mi mi_start(int32_t offset) {
    return _mm512_set1_epi32(offset);
}
static inline ms ms_zero(void) {
    return _mm512_setzero_si512();
}
static inline ms ms_dot(ms sum, mb w, const int8_t *a) {
    int32_t four;
    memcpy(&four, a, 4);
    return _mm512_dpbusd_epi32(sum, w, _mm512_set1_epi32(four));
}
static inline mi mi_widen(mi total, ms sum) {
    return _mm512_add_epi32(total, sum);
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
    return _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *) p));
}
static inline mi mi_start_q6(const lathe_activation *a, mscale s0, mscale s1) {
    return _mm512_add_epi32(_mm512_mullo_epi32(s0, mi_start(a->minus_32[0])),
                            _mm512_mullo_epi32(s1, mi_start(a->minus_32[1])));
}
static inline mi mi_widen_scaled(mi total, ms sum, mscale scale) {
    return _mm512_add_epi32(total, _mm512_mullo_epi32(scale, sum));
}

static inline float largest32(const float *x) {
    __m512 a = _mm512_loadu_ps(x), b = _mm512_loadu_ps(x + 16), zero = _mm512_setzero_ps();
    __m512 poison = _mm512_add_ps(_mm512_mul_ps(a, zero), _mm512_mul_ps(b, zero));
    if (_mm512_cmp_ps_mask(poison, poison, _CMP_UNORD_Q) != 0)
        return NAN;
    return _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(a), _mm512_abs_ps(b)));
}
static inline void round32(const float *x, float inverse, int8_t *q, int32_t sums[2]) {
    for (int h = 0; h < 2; h++) {
        __m512i v = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + 16 * h), _mm512_set1_ps(inverse)));
        _mm_storeu_si128((__m128i *) (q + 16 * h), _mm512_cvtepi32_epi8(v));
        sums[h] = _mm512_reduce_add_epi32(v);
    }
}
