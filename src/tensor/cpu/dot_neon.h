/* dot_neon.h - what products need (dot_scalar.h says what each does): 4 rows a register, bytes multiplied and
 * added by sdot; with i8mm, unsigned ones by usdot. */
#include <arm_neon.h>

enum { LANES = 4, TILE_BYTES = 4, TILE_WHOLE = 1, TILE_FLOAT = 4, EVERY_4 = 8, EVERY_5 = 8, EVERY_6 = 4 };

typedef float32x4_t mf;
typedef int32x4_t mi, ms, mscale;
typedef uint8x16_t mb;

/* Makes gcc compute x now, in a register. */
#define MS_KEEP(x) __asm__("" : "+w"(x))

static inline uint8x8_t bytes4(const uint8_t *p) {
    uint32_t four;
    memcpy(&four, p, 4);
    return vcreate_u8(four);
}
static inline mf mf_set1(float x) {
    return vdupq_n_f32(x);
}
static inline mf mf_mul(mf a, mf b) {
    return vmulq_f32(a, b);
}
static inline mf mf_fma(mf a, mf b, mf c) {
    return vfmaq_f32(c, a, b);
}
static inline mf mf_fnma(mf a, mf b, mf c) {
    return vfmsq_f32(c, a, b);
}
static inline mf mf_add(mf a, mf b) {
    return vaddq_f32(a, b);
}
static inline mf mf_half(const uint8_t *p) {
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p)));
}
static inline mf mf_bf16(const uint8_t *p) {
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(p)), 16));
}
static inline mf mf_of(mi a) {
    return vcvtq_f32_s32(a);
}
static inline mf mf_u8(const uint8_t *p) {
    return vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(bytes4(p)))));
}
static inline void mf_store(float *p, mf a) {
    vst1q_f32(p, a);
}
static inline mb mb_load(const uint8_t *p) {
    return vld1q_u8(p);
}
static inline mb mb_low(mb a) {
    return vandq_u8(a, vdupq_n_u8(15));
}
static inline mb mb_high(mb a) {
    return vshrq_n_u8(a, 4);
}
static inline mb mb_or(mb a, mb b) {
    return vorrq_u8(a, b);
}
static inline mb mb_bits(mb a, int n, int mask) {
    return vandq_u8(vshlq_u8(a, vdupq_n_s8((int8_t) n)), vdupq_n_u8((uint8_t) mask));
}

static inline int8x16_t broadcast(const int8_t *a) {
    int32_t four;
    memcpy(&four, a, 4);
    return vreinterpretq_s8_s32(vdupq_n_s32(four));
}
static inline mi mi_start(int32_t offset) {
    return vdupq_n_s32(offset);
}
static inline ms ms_zero(void) {
    return vdupq_n_s32(0);
}
static inline mi mi_widen(mi total, ms sum) {
    return vaddq_s32(total, sum);
}
static inline mb mb_magnitude(mb w) {
    return w;
}
#ifdef __ARM_FEATURE_MATMUL_INT8
static inline ms ms_dot(ms sum, mb w, const int8_t *a) {
    return vusdotq_s32(sum, w, broadcast(a));
}
static inline mb mb_q8(mb w) {
    return w;
}
static inline mi mi_start_q8(const lathe_activation *a) {
    return mi_start(a->minus_128);
}
#else
static inline ms ms_dot(ms sum, mb w, const int8_t *a) {
    return vdotq_s32(sum, vreinterpretq_s8_u8(w), broadcast(a));
}
static inline mb mb_q8(mb w) {
    return veorq_u8(w, vdupq_n_u8(0x80));
}
static inline mi mi_start_q8(const lathe_activation *a) {
    (void) a;
    return mi_start(0);
}
#endif
static inline mi mi_dot_q8(mi sum, mb w, mb magnitude, const int8_t *a) {
    (void) magnitude;
    return ms_dot(sum, w, a);
}
static inline mscale mscale_load(const uint8_t *p) {
    return vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u8(bytes4(p)))));
}
static inline mi mi_start_q6(const lathe_activation *a, mscale s0, mscale s1) {
    return vmlaq_n_s32(vmulq_n_s32(s0, a->minus_32[0]), s1, a->minus_32[1]);
}
static inline mi mi_widen_scaled(mi total, ms sum, mscale scale) {
    return vmlaq_s32(total, sum, scale);
}

static inline float largest32(const float *x) {
    float32x4_t poison = vdupq_n_f32(0.0f), largest = poison, zero = poison;
    for (int i = 0; i < 32; i += 4) {
        float32x4_t v = vld1q_f32(x + i);
        poison = vaddq_f32(poison, vmulq_f32(v, zero));
        largest = vmaxq_f32(largest, vabsq_f32(v));
    }
    return isnan(vaddvq_f32(poison)) ? NAN : vmaxvq_f32(largest);
}
static inline void round32(const float *x, float inverse, int8_t *q, int32_t sums[2]) {
    for (int h = 0; h < 2; h++, x += 16, q += 16) {
        int32x4_t v[4];
        for (int i = 0; i < 4; i++)
            v[i] = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + 4 * i), inverse));
        int16x8_t low = vcombine_s16(vqmovn_s32(v[0]), vqmovn_s32(v[1]));
        int16x8_t high = vcombine_s16(vqmovn_s32(v[2]), vqmovn_s32(v[3]));
        vst1q_s8(q, vcombine_s8(vqmovn_s16(low), vqmovn_s16(high)));
        sums[h] = vaddvq_s32(vaddq_s32(vaddq_s32(v[0], v[1]), vaddq_s32(v[2], v[3])));
    }
}
