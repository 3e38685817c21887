/* simd_scalar.h - 16 lanes in plain C: the reference of the other sets. */
#include <math.h>

typedef struct {
    float v[16];
} vf;
typedef struct {
    int32_t v[16];
} vi;
typedef struct {
    uint8_t v[64];
} vb;

enum { BIAS_Q8 = 0, TILE = 4 };

#define EACH16 for (int l = 0; l < 16; l++)
#define EACH64 for (int l = 0; l < 64; l++)

static inline vf vf_set1(float x) {
    vf r;
    EACH16 r.v[l] = x;
    return r;
}
static inline vf vf_mul(vf a, vf b) {
    EACH16 a.v[l] *= b.v[l];
    return a;
}
static inline vf vf_fma(vf a, vf b, vf c) {
    EACH16 c.v[l] = fmaf(a.v[l], b.v[l], c.v[l]);
    return c;
}
static inline vf vf_fnma(vf a, vf b, vf c) {
    EACH16 c.v[l] = fmaf(-a.v[l], b.v[l], c.v[l]);
    return c;
}
static inline vf vf_half(const uint8_t *p) {
    vf r;
    EACH16 r.v[l] = lathe_half_to_float((uint16_t) (p[2 * l] | p[2 * l + 1] << 8));
    return r;
}
static inline vf vf_of(vi a) {
    vf r;
    EACH16 r.v[l] = (float) a.v[l];
    return r;
}
static inline void vf_store(float *p, vf a) {
    EACH16 p[l] = a.v[l];
}
static inline vi vi_set1(int32_t x) {
    vi r;
    EACH16 r.v[l] = x;
    return r;
}
static inline vi vi_add(vi a, vi b) {
    EACH16 a.v[l] += b.v[l];
    return a;
}
static inline vi vi_mul(vi a, vi b) {
    EACH16 a.v[l] *= b.v[l];
    return a;
}
static inline vi vi_u8(const uint8_t *p) {
    vi r;
    EACH16 r.v[l] = p[l];
    return r;
}
static inline vi vi_s8(const uint8_t *p) {
    vi r;
    EACH16 r.v[l] = (int8_t) p[l];
    return r;
}
static inline vb vb_load(const uint8_t *p) {
    vb r;
    EACH64 r.v[l] = p[l];
    return r;
}
static inline vb vb_low(vb a) {
    EACH64 a.v[l] &= 15;
    return a;
}
static inline vb vb_high(vb a) {
    EACH64 a.v[l] >>= 4;
    return a;
}
static inline vb vb_or(vb a, vb b) {
    EACH64 a.v[l] |= b.v[l];
    return a;
}
/* a shifted left by n (right where n < 0), then only the bits of mask. */
static inline vb vb_bits(vb a, int n, int mask) {
    EACH64 a.v[l] = (uint8_t) ((n >= 0 ? a.v[l] << n : a.v[l] >> -n) & mask);
    return a;
}
/* sum + w a for 4 bytes a lane; w < 128. */
static inline vi vi_dot(vi sum, vb w, const int8_t *a) {
    EACH16 for (int i = 0; i < 4; i++) sum.v[l] += w.v[4 * l + i] * a[i];
    return sum;
}
/* The same with w - 128, where BIAS_Q8 is 0, else with w. */
static inline vi vi_dot_q8(vi sum, vb w, const int8_t *a) {
    EACH16 for (int i = 0; i < 4; i++) sum.v[l] += (w.v[4 * l + i] - 128) * a[i];
    return sum;
}
static inline vf vf_load(const float *p) {
    vf r;
    EACH16 r.v[l] = p[l];
    return r;
}
static inline float vf_sum(vf a) {
    for (int n = 8; n > 0; n /= 2)
        for (int l = 0; l < n; l++)
            a.v[l] += a.v[l + n];
    return a.v[0];
}
