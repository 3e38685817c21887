/* simd_avx2.h - 16 lanes in pairs of 256 bits; with __AVXVNNI__ bytes are multiplied and added in one step.
 * Without, u8 x s8 pairs are summed in 16 bits: at most 2 * 63 * 127 for up to 6 bits, and 2 * 128 * 127 =
 * 32,512 for 8 bits, which go in as magnitude and signed activation: nothing saturates. */
#include <immintrin.h>
#include <string.h>

typedef struct {
    __m256 a, b;
} vf;
typedef struct {
    __m256i a, b;
} vi;
typedef struct {
    __m256i a, b;
} vb;

#ifdef __AVXVNNI__
enum { BIAS_Q8 = 128, TILE = 4 };
#else
enum { BIAS_Q8 = 0, TILE = 4 };
#endif

static inline __m256i load256(const void *p) {
    return _mm256_loadu_si256((const __m256i *) p);
}
static inline __m128i load128(const void *p) {
    return _mm_loadu_si128((const __m128i *) p);
}
static inline __m128i load64(const void *p) {
    return _mm_loadl_epi64((const __m128i *) p);
}

static inline vf vf_set1(float x) {
    __m256 s = _mm256_set1_ps(x);
    return (vf){s, s};
}
static inline vf vf_mul(vf x, vf y) {
    return (vf){_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
}
static inline vf vf_fma(vf x, vf y, vf z) {
    return (vf){_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
static inline vf vf_fnma(vf x, vf y, vf z) {
    return (vf){_mm256_fnmadd_ps(x.a, y.a, z.a), _mm256_fnmadd_ps(x.b, y.b, z.b)};
}
static inline vf vf_half(const uint8_t *p) {
    return (vf){_mm256_cvtph_ps(load128(p)), _mm256_cvtph_ps(load128(p + 16))};
}
static inline vf vf_of(vi x) {
    return (vf){_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)};
}
static inline void vf_store(float *p, vf x) {
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
}
static inline vi vi_set1(int32_t x) {
    __m256i s = _mm256_set1_epi32(x);
    return (vi){s, s};
}
static inline vi vi_add(vi x, vi y) {
    return (vi){_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)};
}
static inline vi vi_mul(vi x, vi y) {
    return (vi){_mm256_mullo_epi32(x.a, y.a), _mm256_mullo_epi32(x.b, y.b)};
}
static inline vi vi_u8(const uint8_t *p) {
    return (vi){_mm256_cvtepu8_epi32(load64(p)), _mm256_cvtepu8_epi32(load64(p + 8))};
}
static inline vi vi_s8(const uint8_t *p) {
    return (vi){_mm256_cvtepi8_epi32(load64(p)), _mm256_cvtepi8_epi32(load64(p + 8))};
}
static inline vb vb_load(const uint8_t *p) {
    return (vb){load256(p), load256(p + 32)};
}
static inline vb vb_low(vb x) {
    __m256i m = _mm256_set1_epi8(15);
    return (vb){_mm256_and_si256(x.a, m), _mm256_and_si256(x.b, m)};
}
static inline vb vb_high(vb x) {
    return vb_low((vb){_mm256_srli_epi16(x.a, 4), _mm256_srli_epi16(x.b, 4)});
}
static inline vb vb_or(vb x, vb y) {
    return (vb){_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)};
}
static inline vb vb_bits(vb x, int n, int mask) {
    __m256i m = _mm256_set1_epi8((char) mask);
    if (n >= 0)
        x = (vb){_mm256_slli_epi16(x.a, n), _mm256_slli_epi16(x.b, n)};
    else
        x = (vb){_mm256_srli_epi16(x.a, -n), _mm256_srli_epi16(x.b, -n)};
    return (vb){_mm256_and_si256(x.a, m), _mm256_and_si256(x.b, m)};
}
static inline __m256i broadcast4(const int8_t *a) {
    int32_t four;
    memcpy(&four, a, 4);
    return _mm256_set1_epi32(four);
}
#ifdef __AVXVNNI__
static inline vi vi_dot(vi sum, vb w, const int8_t *a) {
    __m256i x = broadcast4(a);
    return (vi){_mm256_dpbusd_avx_epi32(sum.a, w.a, x), _mm256_dpbusd_avx_epi32(sum.b, w.b, x)};
}
static inline vi vi_dot_q8(vi sum, vb w, const int8_t *a) {
    return vi_dot(sum, w, a);
}
#else
static inline vi vi_dot(vi sum, vb w, const int8_t *a) {
    __m256i x = broadcast4(a), one = _mm256_set1_epi16(1);
    __m256i p = _mm256_madd_epi16(_mm256_maddubs_epi16(w.a, x), one);
    __m256i q = _mm256_madd_epi16(_mm256_maddubs_epi16(w.b, x), one);
    return (vi){_mm256_add_epi32(sum.a, p), _mm256_add_epi32(sum.b, q)};
}
static inline vi vi_dot_q8(vi sum, vb w, const int8_t *a) {
    __m256i x = broadcast4(a), flip = _mm256_set1_epi8((char) 0x80), one = _mm256_set1_epi16(1);
    __m256i u = _mm256_xor_si256(w.a, flip), v = _mm256_xor_si256(w.b, flip);
    __m256i p = _mm256_maddubs_epi16(_mm256_abs_epi8(u), _mm256_sign_epi8(x, u));
    __m256i q = _mm256_maddubs_epi16(_mm256_abs_epi8(v), _mm256_sign_epi8(x, v));
    return (vi){_mm256_add_epi32(sum.a, _mm256_madd_epi16(p, one)),
                _mm256_add_epi32(sum.b, _mm256_madd_epi16(q, one))};
}
#endif
static inline vf vf_load(const float *p) {
    return (vf){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
static inline float vf_sum(vf x) {
    __m256 s = _mm256_add_ps(x.a, x.b);
    __m128 h = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
    h = _mm_add_ps(h, _mm_movehl_ps(h, h));
    return _mm_cvtss_f32(_mm_add_ss(h, _mm_movehdup_ps(h)));
}
