/* lanes_avx2.h - what attention needs besides simd_avx2.h (lanes_scalar.h says what each does). */
#include <math.h>

enum { SCORE_IN_PLACE = 9, VALUE_IN_PLACE = 12 };
enum { SCORE_ROWS = 3, SCORE_PAIRS = 1, SCORE_TILE = 3, SCORE_LANES = 1, VALUE_TILE = 6, VALUE_LANES = 1 };

static inline vf vf_bytes(const uint8_t *p) {
    return (vf){_mm256_castsi256_ps(load256(p)), _mm256_castsi256_ps(load256(p + 32))};
}
static inline void vf_to_half(vf x, uint16_t *out) {
    _mm_storeu_si128((__m128i *) (void *) out, _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128((__m128i *) (void *) (out + 8), _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT));
}
static inline vf vf_add(vf a, vf b) {
    return (vf){_mm256_add_ps(a.a, b.a), _mm256_add_ps(a.b, b.b)};
}
static inline vf vf_sub(vf a, vf b) {
    return (vf){_mm256_sub_ps(a.a, b.a), _mm256_sub_ps(a.b, b.b)};
}
static inline vf vf_div(vf a, vf b) {
    return (vf){_mm256_div_ps(a.a, b.a), _mm256_div_ps(a.b, b.b)};
}
static inline vf vf_max(vf a, vf b) {
    return (vf){_mm256_max_ps(a.a, b.a), _mm256_max_ps(a.b, b.b)};
}
static inline vf vf_if_less(vf x, vf y, vf a, vf b) {
    return (vf){_mm256_blendv_ps(b.a, a.a, _mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ)),
                _mm256_blendv_ps(b.b, a.b, _mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ))};
}
static inline vf vf_hide(vf x, vf add, vf slope) {
    __m256 none = _mm256_set1_ps(-INFINITY);
    vf y = vf_fma(slope, add, x);
    return (vf){_mm256_blendv_ps(y.a, none, _mm256_cmp_ps(add.a, none, _CMP_EQ_OQ)),
                _mm256_blendv_ps(y.b, none, _mm256_cmp_ps(add.b, none, _CMP_EQ_OQ))};
}
static inline __m256 pow2_256(__m256 shifted) {
    __m256i n = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(n, _mm256_set1_epi32(0x3f800000)));
}
static inline vf vf_pow2(vf shifted) {
    return (vf){pow2_256(shifted.a), pow2_256(shifted.b)};
}
static inline bool vf_any_nan(vf a, vf b) {
    return _mm256_movemask_ps(_mm256_or_ps(_mm256_cmp_ps(a.a, b.a, _CMP_UNORD_Q),
                                           _mm256_cmp_ps(a.b, b.b, _CMP_UNORD_Q))) != 0;
}
static inline float vf_largest(vf a) {
    __m256 h = _mm256_max_ps(a.a, a.b);
    __m128 q = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(q, _mm_movehdup_ps(q)));
}
static inline __m256 bf16_256(const uint8_t *p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load128(p)), 16));
}
static inline vf vf_bf16(const uint8_t *p) {
    return (vf){bf16_256(p), bf16_256(p + 16)};
}
static inline float half_of(const uint8_t *p) {
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return _cvtsh_ss(h);
}
static inline vi vi_nibbles(const uint8_t *p, bool high) {
    vi x = vi_u8(p);
    __m256i m = _mm256_set1_epi32(15);
    return high ? (vi){_mm256_srli_epi32(x.a, 4), _mm256_srli_epi32(x.b, 4)}
                : (vi){_mm256_and_si256(x.a, m), _mm256_and_si256(x.b, m)};
}
typedef __m256 vf_two; /* the groups' sum of a and of b */
static inline vf_two vf_fold_two(vf a, vf b) {
    __m256 x = _mm256_add_ps(a.a, a.b), y = _mm256_add_ps(b.a, b.b);
    return _mm256_add_ps(_mm256_permute2f128_ps(x, y, 0x20), _mm256_permute2f128_ps(x, y, 0x31));
}
static inline vf vf_fold_four(vf_two ab, vf_two cd) {
    return (vf){ab, cd};
}
static inline __m256 fold_quads_256(__m256 a, __m256 b, __m256 c, __m256 d) {
    __m256 x = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b)),
           y = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
    __m256d u = _mm256_castps_pd(x), v = _mm256_castps_pd(y);
    return _mm256_add_ps(_mm256_castpd_ps(_mm256_unpacklo_pd(u, v)),
                         _mm256_castpd_ps(_mm256_unpackhi_pd(u, v)));
}
static inline vf vf_fold_quads(vf a, vf b, vf c, vf d) {
    return (vf){fold_quads_256(a.a, b.a, c.a, d.a), fold_quads_256(a.b, b.b, c.b, d.b)};
}
static inline void transpose8(const __m256 *r, __m256 *out) {
    __m256 t[8], u[8];
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
        for (int j = 0; j < 2; j++) {
            __m256d a = _mm256_castps_pd(t[i + j]), b = _mm256_castps_pd(t[i + j + 2]);
            u[i + 2 * j] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, b));
            u[i + 2 * j + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, b));
        }
    for (int j = 0; j < 4; j++) {
        out[j] = _mm256_permute2f128_ps(u[j], u[4 + j], 0x20);
        out[4 + j] = _mm256_permute2f128_ps(u[j], u[4 + j], 0x31);
    }
}
static inline void vf_transpose(vf r[16]) {
    __m256 in[8], low[8], high[8];
    vf t[16];
    for (int half = 0; half < 2; half++) {
        for (int i = 0; i < 8; i++)
            in[i] = r[8 * half + i].a;
        transpose8(in, low);
        for (int i = 0; i < 8; i++)
            in[i] = r[8 * half + i].b;
        transpose8(in, high);
        for (int i = 0; i < 8; i++) {
            if (half == 0) {
                t[i].a = low[i];
                t[8 + i].a = high[i];
            } else {
                t[i].b = low[i];
                t[8 + i].b = high[i];
            }
        }
    }
    for (int i = 0; i < 16; i++)
        r[i] = t[i];
}
