/* lanes_neon.h - what attention needs besides simd_neon.h (lanes_scalar.h says what each does). */
enum { SCORE_TILE = 5, SCORE_LANES = 1, VALUE_TILE = 5, VALUE_LANES = 1 };

static inline vf vf_bytes(const uint8_t *p) {
    vf r;
    EACH4 r.v[i] = vreinterpretq_f32_u8(vld1q_u8(p + 16 * i));
    return r;
}
/* Not vmaxq_f32, which gives NaN where either is. */
static inline vf vf_max(vf a, vf b) {
    EACH4 b.v[i] = vbslq_f32(vcgtq_f32(a.v[i], b.v[i]), a.v[i], b.v[i]);
    return b;
}
static inline vf vf_if_less(vf x, vf y, vf a, vf b) {
    EACH4 b.v[i] = vbslq_f32(vcltq_f32(x.v[i], y.v[i]), a.v[i], b.v[i]);
    return b;
}
static inline vf vf_hide(vf x, vf add, vf slope) {
    float32x4_t none = vdupq_n_f32(-INFINITY);
    vf y = vf_fma(slope, add, x);
    EACH4 y.v[i] = vbslq_f32(vceqq_f32(add.v[i], none), none, y.v[i]);
    return y;
}
static inline vf vf_pow2(vf shifted) {
    EACH4 shifted.v[i] = vreinterpretq_f32_s32(
        vaddq_s32(vshlq_n_s32(vreinterpretq_s32_f32(shifted.v[i]), 23), vdupq_n_s32(0x3f800000)));
    return shifted;
}
static inline bool vf_any_nan(vf a, vf b) {
    uint32x4_t fine = vdupq_n_u32(UINT32_MAX);
    EACH4 fine = vandq_u32(fine, vandq_u32(vceqq_f32(a.v[i], a.v[i]), vceqq_f32(b.v[i], b.v[i])));
    return vminvq_u32(fine) == 0;
}
static inline float vf_largest(vf a) {
    float all[16], top;
    vf_store(all, a);
    top = all[0];
    for (int l = 1; l < 16; l++)
        top = all[l] > top ? all[l] : top;
    return top;
}
static inline vf vf_bf16(const uint8_t *p) {
    vf r;
    EACH4 {
        uint16x4_t h;
        memcpy(&h, p + 8 * i, sizeof h);
        r.v[i] = vreinterpretq_f32_u32(vshlq_n_u32(vmovl_u16(h), 16));
    }
    return r;
}
static inline vf vf_low_f16(vf x) {
    EACH4 x.v[i] = vcvt_f32_f16(vreinterpret_f16_u16(vmovn_u32(vreinterpretq_u32_f32(x.v[i]))));
    return x;
}
static inline vf vf_high_f16(vf x) {
    EACH4 x.v[i] = vcvt_f32_f16(vreinterpret_f16_u16(vshrn_n_u32(vreinterpretq_u32_f32(x.v[i]), 16)));
    return x;
}
static inline vf vf_low_bf16(vf x) {
    EACH4 x.v[i] = vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(x.v[i]), 16));
    return x;
}
static inline vf vf_high_bf16(vf x) {
    EACH4 x.v[i] = vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(x.v[i]), vdupq_n_u32(0xffff0000u)));
    return x;
}
/* Conversions of this set take infinite halves and NaN as they are: nothing is to be caught. */
static inline vi vi_guard_f16(vi guard, vf x) {
    (void) x;
    return guard;
}
static inline bool vi_caught_f16(vi guard) {
    (void) guard;
    return false;
}
static inline float half_of(const uint8_t *p) {
    float16_t h;
    memcpy(&h, p, sizeof h);
    return (float) h;
}
static inline vi vi_nibbles(const uint8_t *p, bool high) {
    uint8x16_t x = vld1q_u8(p);
    return widened_u8(high ? vshrq_n_u8(x, 4) : vandq_u8(x, vdupq_n_u8(15)));
}
static inline void vf_transpose(vf r[16]) {
    for (int i = 0; i < 16; i += 4)
        for (int j = 0; j < 4; j++) {
            float32x4x2_t a = vtrnq_f32(r[i].v[j], r[i + 1].v[j]),
                          b = vtrnq_f32(r[i + 2].v[j], r[i + 3].v[j]);
            r[i].v[j] = vcombine_f32(vget_low_f32(a.val[0]), vget_low_f32(b.val[0]));
            r[i + 1].v[j] = vcombine_f32(vget_low_f32(a.val[1]), vget_low_f32(b.val[1]));
            r[i + 2].v[j] = vcombine_f32(vget_high_f32(a.val[0]), vget_high_f32(b.val[0]));
            r[i + 3].v[j] = vcombine_f32(vget_high_f32(a.val[1]), vget_high_f32(b.val[1]));
        }
    for (int i = 0; i < 4; i++) /* squares of 4 change places across the diagonal */
        for (int j = 0; j < i; j++)
            for (int l = 0; l < 4; l++) {
                float32x4_t x = r[4 * i + l].v[j];
                r[4 * i + l].v[j] = r[4 * j + l].v[i];
                r[4 * j + l].v[i] = x;
            }
}
