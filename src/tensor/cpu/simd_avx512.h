/* simd_avx512.h - 16 lanes are one register; bytes are multiplied and added by vpdpbusd. */
#include <immintrin.h>
#include <string.h>

typedef __m512 vf;
typedef __m512i vi;
typedef __m512i vb;

enum { BIAS_Q8 = 128, TILE = 8 };

static inline __m128i load128(const void *p) {
    return _mm_loadu_si128((const __m128i *) p);
}

static inline vf vf_set1(float x) {
    return _mm512_set1_ps(x);
}
static inline vf vf_mul(vf x, vf y) {
    return _mm512_mul_ps(x, y);
}
static inline vf vf_fma(vf x, vf y, vf z) {
    return _mm512_fmadd_ps(x, y, z);
}
static inline vf vf_fnma(vf x, vf y, vf z) {
    return _mm512_fnmadd_ps(x, y, z);
}
static inline vf vf_half(const uint8_t *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *) p));
}
static inline vf vf_of(vi x) {
    return _mm512_cvtepi32_ps(x);
}
static inline void vf_store(float *p, vf x) {
    _mm512_storeu_ps(p, x);
}
static inline vi vi_set1(int32_t x) {
    return _mm512_set1_epi32(x);
}
static inline vi vi_add(vi x, vi y) {
    return _mm512_add_epi32(x, y);
}
static inline vi vi_mul(vi x, vi y) {
    return _mm512_mullo_epi32(x, y);
}
static inline vi vi_u8(const uint8_t *p) {
    return _mm512_cvtepu8_epi32(load128(p));
}
static inline vi vi_s8(const uint8_t *p) {
    return _mm512_cvtepi8_epi32(load128(p));
}
static inline vb vb_load(const uint8_t *p) {
    return _mm512_loadu_si512(p);
}
static inline vb vb_low(vb x) {
    return _mm512_and_si512(x, _mm512_set1_epi8(15));
}
static inline vb vb_high(vb x) {
    return vb_low(_mm512_srli_epi16(x, 4));
}
static inline vb vb_or(vb x, vb y) {
    return _mm512_or_si512(x, y);
}
static inline vb vb_bits(vb x, int n, int mask) {
    x = n >= 0 ? _mm512_slli_epi16(x, (unsigned) n) : _mm512_srli_epi16(x, (unsigned) -n);
    return _mm512_and_si512(x, _mm512_set1_epi8((char) mask));
}
static inline vi vi_dot(vi sum, vb w, const int8_t *a) {
    int32_t four;
    memcpy(&four, a, 4);
    return _mm512_dpbusd_epi32(sum, w, _mm512_set1_epi32(four));
}
static inline vi vi_dot_q8(vi sum, vb w, const int8_t *a) {
    return vi_dot(sum, w, a);
}
static inline vf vf_load(const float *p) {
    return _mm512_loadu_ps(p);
}
static inline float vf_sum(vf x) {
    return _mm512_reduce_add_ps(x);
}
