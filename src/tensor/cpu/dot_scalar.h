/* dot_scalar.h - what products need (matmul_tmpl.h), in plain C: the reference of the other sets.
 *
 * A register of a set has LANES rows. mf: floats, mi: 32-bit integers, mb: 4 bytes a lane, ms: the sums of a
 * part of a block, 32 bits a lane here, pairs of 16 bits on AVX2. The *_EVERY say after how many ms_dot of a
 * type's weights the sums have to be widened so that nothing overflows. */
#include <math.h>

enum { LANES = 16, TILE_BYTES = 4, TILE_WHOLE = 4, TILE_FLOAT = 2, EVERY_4 = 8, EVERY_5 = 8, EVERY_6 = 4 };

typedef struct {
    float v[LANES];
} mf;
typedef struct {
    int32_t v[LANES];
} mi;
typedef struct {
    uint8_t v[4 * LANES];
} mb;
typedef mi ms, mscale;

#define EACH_LANE for (int l = 0; l < LANES; l++)
#define EACH_BYTE for (int l = 0; l < 4 * LANES; l++)

/* Makes gcc compute x now, in a register. */
#define MS_KEEP(x) ((void) (x))

static inline mf mf_set1(float x) {
    mf r;
    EACH_LANE r.v[l] = x;
    return r;
}
static inline mf mf_mul(mf a, mf b) {
    EACH_LANE a.v[l] *= b.v[l];
    return a;
}
static inline mf mf_fma(mf a, mf b, mf c) {
    EACH_LANE c.v[l] = fmaf(a.v[l], b.v[l], c.v[l]);
    return c;
}
static inline mf mf_fnma(mf a, mf b, mf c) {
    EACH_LANE c.v[l] = fmaf(-a.v[l], b.v[l], c.v[l]);
    return c;
}
static inline mf mf_add(mf a, mf b) {
    EACH_LANE a.v[l] += b.v[l];
    return a;
}
static inline mf mf_half(const uint8_t *p) {
    mf r;
    EACH_LANE r.v[l] = lathe_half_to_float((uint16_t) (p[2 * l] | p[2 * l + 1] << 8));
    return r;
}
static inline mf mf_bf16(const uint8_t *p) {
    mf r;
    EACH_LANE {
        uint32_t bits = (uint32_t) (p[2 * l] | p[2 * l + 1] << 8) << 16;
        memcpy(&r.v[l], &bits, sizeof bits);
    }
    return r;
}
static inline mf mf_of(mi a) {
    mf r;
    EACH_LANE r.v[l] = (float) a.v[l];
    return r;
}
static inline mf mf_u8(const uint8_t *p) {
    mf r;
    EACH_LANE r.v[l] = p[l];
    return r;
}
static inline void mf_store(float *p, mf a) {
    EACH_LANE p[l] = a.v[l];
}
static inline mb mb_load(const uint8_t *p) {
    mb r;
    EACH_BYTE r.v[l] = p[l];
    return r;
}
static inline mb mb_low(mb a) {
    EACH_BYTE a.v[l] &= 15;
    return a;
}
static inline mb mb_high(mb a) {
    EACH_BYTE a.v[l] >>= 4;
    return a;
}
static inline mb mb_or(mb a, mb b) {
    EACH_BYTE a.v[l] |= b.v[l];
    return a;
}
/* a shifted left by n (right where n < 0), then only the bits of mask. */
static inline mb mb_bits(mb a, int n, int mask) {
    EACH_BYTE a.v[l] = (uint8_t) ((n >= 0 ? a.v[l] << n : a.v[l] >> -n) & mask);
    return a;
}

/* --- Sums of a block ------------------------------------------------------------------------------ */

/* What the sum of a block of u4 or u5 weights starts from; offset is added once. */
static inline mi mi_start(int32_t offset) {
    mi r;
    EACH_LANE r.v[l] = offset;
    return r;
}
static inline ms ms_zero(void) {
    return mi_start(0);
}
/* sum + w a for 4 bytes a lane; w < 64. */
static inline ms ms_dot(ms sum, mb w, const int8_t *a) {
    EACH_LANE for (int i = 0; i < 4; i++) sum.v[l] += w.v[4 * l + i] * a[i];
    return sum;
}
static inline mi mi_widen(mi total, ms sum) {
    EACH_LANE total.v[l] += sum.v[l];
    return total;
}
/* q8_0's weights come as w + 128; prepared once for all columns. */
static inline mb mb_q8(mb w) {
    return w;
}
static inline mb mb_magnitude(mb w) {
    return w;
}
static inline mi mi_start_q8(const lathe_activation *a) {
    (void) a;
    return mi_start(0);
}
static inline mi mi_dot_q8(mi sum, mb w, mb magnitude, const int8_t *a) {
    (void) magnitude;
    EACH_LANE for (int i = 0; i < 4; i++) sum.v[l] += (w.v[4 * l + i] - 128) * a[i];
    return sum;
}
/* q6_K: signed scales of the two halves of a block. */
static inline mscale mscale_load(const uint8_t *p) {
    mscale r;
    EACH_LANE r.v[l] = (int8_t) p[l];
    return r;
}
/* What the total starts from, and a half's sum: offset of the weights (32) times scales. */
static inline mi mi_start_q6(const lathe_activation *a, mscale s0, mscale s1) {
    EACH_LANE s0.v[l] = s0.v[l] * a->minus_32[0] + s1.v[l] * a->minus_32[1];
    return s0;
}
static inline mi mi_widen_scaled(mi total, ms sum, mscale scale) {
    EACH_LANE total.v[l] += scale.v[l] * sum.v[l];
    return total;
}

/* --- Activations ---------------------------------------------------------------------------------- */

/* The largest magnitude of 32 values, NaN if one is no finite number. */
static inline float largest32(const float *x) {
    float largest = 0.0f, poison = 0.0f;
    for (int i = 0; i < 32; i++) {
        float m = fabsf(x[i]);
        largest = m > largest ? m : largest;
        poison += x[i] * 0.0f; /* NaN where x is NaN or infinite */
    }
    return isnan(poison) ? NAN : largest;
}
/* q = x * inverse rounded to nearest, ties to even; sums of both halves. */
static inline void round32(const float *x, float inverse, int8_t *q, int32_t sums[2]) {
    for (int h = 0; h < 2; h++) {
        sums[h] = 0;
        for (int i = 16 * h; i < 16 * h + 16; i++) {
            /* Adding 1.5 * 2^23 rounds to the nearest integer, ties to even, into the low bits. */
            float shifted = x[i] * inverse + 12582912.0f;
            int32_t bits;
            memcpy(&bits, &shifted, sizeof bits);
            int32_t v = bits - 0x4b400000;
            q[i] = (int8_t) v;
            sums[h] += v;
        }
    }
}
