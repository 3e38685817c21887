/* lanes_neon.h - what attention needs besides simd_neon.h (lanes_scalar.h says what each does). */
enum { SCORE_IN_PLACE = 3, VALUE_IN_PLACE = 5 };
enum { SCORE_ROWS = 3, SCORE_PAIRS = 1, SCORE_TILE = 3, SCORE_LANES = 1, VALUE_TILE = 5, VALUE_LANES = 1 };

static inline void vf_to_half(vf a, uint16_t *out) {
    EACH4 {
        const float16x4_t h = vcvt_f16_f32(a.v[i]);
        memcpy(out + 4 * i, &h, sizeof h);
    }
}
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
static inline float half_of(const uint8_t *p) {
    float16_t h;
    memcpy(&h, p, sizeof h);
    return (float) h;
}
static inline vi vi_nibbles(const uint8_t *p, bool high) {
    uint8x16_t x = vld1q_u8(p);
    return widened_u8(high ? vshrq_n_u8(x, 4) : vandq_u8(x, vdupq_n_u8(15)));
}
typedef struct {
    float32x4_t v[2];
} vf_two; /* the groups' sum of a and of b */
static inline vf_two vf_fold_two(vf a, vf b) {
    return (vf_two){{vaddq_f32(vaddq_f32(a.v[0], a.v[2]), vaddq_f32(a.v[1], a.v[3])),
                     vaddq_f32(vaddq_f32(b.v[0], b.v[2]), vaddq_f32(b.v[1], b.v[3]))}};
}
static inline vf vf_fold_four(vf_two ab, vf_two cd) {
    return (vf){{ab.v[0], ab.v[1], cd.v[0], cd.v[1]}};
}
static inline vf vf_fold_quads(vf a, vf b, vf c, vf d) {
    EACH4 {
        float32x4_t x = vaddq_f32(vzip1q_f32(a.v[i], b.v[i]), vzip2q_f32(a.v[i], b.v[i])),
                    y = vaddq_f32(vzip1q_f32(c.v[i], d.v[i]), vzip2q_f32(c.v[i], d.v[i]));
        float64x2_t u = vreinterpretq_f64_f32(x), v = vreinterpretq_f64_f32(y);
        a.v[i] = vaddq_f32(vreinterpretq_f32_f64(vzip1q_f64(u, v)), vreinterpretq_f32_f64(vzip2q_f64(u, v)));
    }
    return a;
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
