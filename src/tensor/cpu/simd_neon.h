/* simd_neon.h - 16 lanes in four registers of 128 bits (lanes_scalar.h and simd_scalar.h say what each does).
 */
#include <arm_neon.h>
#include <math.h>
#include <string.h>

typedef struct {
    float32x4_t v[4];
} vf;
typedef struct {
    int32x4_t v[4];
} vi;

#define EACH4 for (int i = 0; i < 4; i++)

static inline vf vf_set1(float x) {
    vf r;
    EACH4 r.v[i] = vdupq_n_f32(x);
    return r;
}
static inline vf vf_load(const float *p) {
    vf r;
    EACH4 r.v[i] = vld1q_f32(p + 4 * i);
    return r;
}
static inline void vf_store(float *p, vf a) {
    EACH4 vst1q_f32(p + 4 * i, a.v[i]);
}
static inline vf vf_add(vf a, vf b) {
    EACH4 a.v[i] = vaddq_f32(a.v[i], b.v[i]);
    return a;
}
static inline vf vf_sub(vf a, vf b) {
    EACH4 a.v[i] = vsubq_f32(a.v[i], b.v[i]);
    return a;
}
static inline vf vf_mul(vf a, vf b) {
    EACH4 a.v[i] = vmulq_f32(a.v[i], b.v[i]);
    return a;
}
static inline vf vf_div(vf a, vf b) {
    EACH4 a.v[i] = vdivq_f32(a.v[i], b.v[i]);
    return a;
}
static inline vf vf_fma(vf a, vf b, vf c) {
    EACH4 c.v[i] = vfmaq_f32(c.v[i], a.v[i], b.v[i]);
    return c;
}
static inline vf vf_fnma(vf a, vf b, vf c) {
    EACH4 c.v[i] = vfmsq_f32(c.v[i], a.v[i], b.v[i]);
    return c;
}
static inline vf vf_half(const uint8_t *p) {
    vf r;
    EACH4 {
        float16x4_t h;
        memcpy(&h, p + 8 * i, sizeof h);
        r.v[i] = vcvt_f32_f16(h);
    }
    return r;
}
static inline vf vf_of(vi a) {
    vf r;
    EACH4 r.v[i] = vcvtq_f32_s32(a.v[i]);
    return r;
}
/* The order of simd_scalar.h: halves are added until one lane is left. */
static inline float vf_sum(vf a) {
    float32x4_t x = vaddq_f32(vaddq_f32(a.v[0], a.v[2]), vaddq_f32(a.v[1], a.v[3]));
    float32x2_t y = vadd_f32(vget_low_f32(x), vget_high_f32(x));
    return vget_lane_f32(y, 0) + vget_lane_f32(y, 1);
}
static inline vi vi_set1(int32_t x) {
    vi r;
    EACH4 r.v[i] = vdupq_n_s32(x);
    return r;
}
static inline vi vi_add(vi a, vi b) {
    EACH4 a.v[i] = vaddq_s32(a.v[i], b.v[i]);
    return a;
}
static inline vi vi_mul(vi a, vi b) {
    EACH4 a.v[i] = vmulq_s32(a.v[i], b.v[i]);
    return a;
}
static inline vi widened_u8(uint8x16_t x) {
    uint16x8_t low = vmovl_u8(vget_low_u8(x)), high = vmovl_u8(vget_high_u8(x));
    return (vi){{vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(low))),
                 vreinterpretq_s32_u32(vmovl_u16(vget_high_u16(low))),
                 vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(high))),
                 vreinterpretq_s32_u32(vmovl_u16(vget_high_u16(high)))}};
}
static inline vi vi_u8(const uint8_t *p) {
    return widened_u8(vld1q_u8(p));
}
static inline vi vi_s8(const uint8_t *p) {
    int8x16_t x = vreinterpretq_s8_u8(vld1q_u8(p));
    int16x8_t low = vmovl_s8(vget_low_s8(x)), high = vmovl_s8(vget_high_s8(x));
    return (vi){{vmovl_s16(vget_low_s16(low)), vmovl_s16(vget_high_s16(low)), vmovl_s16(vget_low_s16(high)),
                 vmovl_s16(vget_high_s16(high))}};
}
