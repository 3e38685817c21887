/* lanes_scalar.h - what attention needs besides simd_scalar.h, in plain C. */
/* Up to how many queries keys and values are read where they lie. */
enum { SCORE_IN_PLACE = 3, VALUE_IN_PLACE = 4 };
enum { SCORE_ROWS = 3, SCORE_PAIRS = 1, SCORE_TILE = 2, SCORE_LANES = 1, VALUE_TILE = 4, VALUE_LANES = 2 };

/* 64 bytes as they lie. */
static inline vf vf_bytes(const uint8_t *p) {
    vf r;
    memcpy(r.v, p, sizeof r.v);
    return r;
}
static inline void vf_to_half(vf a, uint16_t *out) {
    EACH16 out[l] = lathe_float_to_half(a.v[l]);
}
static inline vf vf_add(vf a, vf b) {
    EACH16 a.v[l] += b.v[l];
    return a;
}
static inline vf vf_sub(vf a, vf b) {
    EACH16 a.v[l] -= b.v[l];
    return a;
}
static inline vf vf_div(vf a, vf b) {
    EACH16 a.v[l] /= b.v[l];
    return a;
}
/* a where a > b, else b (also where either is NaN). */
static inline vf vf_max(vf a, vf b) {
    EACH16 a.v[l] = a.v[l] > b.v[l] ? a.v[l] : b.v[l];
    return a;
}
static inline vf vf_if_less(vf x, vf y, vf a, vf b) {
    EACH16 a.v[l] = x.v[l] < y.v[l] ? a.v[l] : b.v[l];
    return a;
}
/* x + slope * add; -infinity where add is, whatever x is. */
static inline vf vf_hide(vf x, vf add, vf slope) {
    EACH16 x.v[l] = add.v[l] == -INFINITY ? -INFINITY : fmaf(slope.v[l], add.v[l], x.v[l]);
    return x;
}
/* 2^n for n that was added to 1.5 * 2^23; -126 <= n <= 127. */
static inline vf vf_pow2(vf shifted) {
    EACH16 {
        uint32_t u;
        memcpy(&u, &shifted.v[l], sizeof u);
        u = (u << 23) + 0x3f800000u;
        memcpy(&shifted.v[l], &u, sizeof u);
    }
    return shifted;
}
static inline bool vf_any_nan(vf a, vf b) {
    bool any = false;
    EACH16 any = any || isnan(a.v[l]) || isnan(b.v[l]);
    return any;
}
static inline float vf_largest(vf a) {
    float top = a.v[0];
    EACH16 top = a.v[l] > top ? a.v[l] : top;
    return top;
}
static inline vf vf_bf16(const uint8_t *p) {
    vf r;
    EACH16 {
        uint32_t u = (uint32_t) p[2 * l] << 16 | (uint32_t) p[2 * l + 1] << 24;
        memcpy(&r.v[l], &u, sizeof u);
    }
    return r;
}
static inline float half_of(const uint8_t *p) {
    return lathe_half_to_float((uint16_t) (p[0] | p[1] << 8));
}
/* The low or high 4 bits of 16 bytes. */
static inline vi vi_nibbles(const uint8_t *p, bool high) {
    vi r;
    EACH16 r.v[l] = high ? p[l] >> 4 : p[l] & 15;
    return r;
}
/* Sums over the lanes of 16 vectors, each in the order of vf_sum. First over groups of four lanes,
 * (0 + 2) + (1 + 3), of two vectors and of four: a's sum in the first group, b's in the second and so on.
 * Then, of four such results, within the groups: lane 4 i + j is the whole sum of vector i of result j. */
typedef struct vf_two {
    float v[8];
} vf_two;
static inline vf_two vf_fold_two(vf a, vf b) {
    vf_two r;
    for (int l = 0; l < 4; l++) {
        r.v[l] = (a.v[l] + a.v[l + 8]) + (a.v[l + 4] + a.v[l + 12]);
        r.v[l + 4] = (b.v[l] + b.v[l + 8]) + (b.v[l + 4] + b.v[l + 12]);
    }
    return r;
}
static inline vf vf_fold_four(vf_two ab, vf_two cd) {
    vf r;
    memcpy(r.v, ab.v, sizeof ab.v);
    memcpy(r.v + 8, cd.v, sizeof cd.v);
    return r;
}
static inline vf vf_fold_quads(vf a, vf b, vf c, vf d) {
    const vf *in[4] = {&a, &b, &c, &d};
    vf r;
    EACH16 {
        const float *x = in[l % 4]->v + l / 4 * 4;
        r.v[l] = (x[0] + x[2]) + (x[1] + x[3]);
    }
    return r;
}
static inline void vf_transpose(vf r[16]) {
    for (int i = 0; i < 16; i++)
        for (int l = 0; l < i; l++) {
            float t = r[i].v[l];
            r[i].v[l] = r[l].v[i];
            r[l].v[i] = t;
        }
}
