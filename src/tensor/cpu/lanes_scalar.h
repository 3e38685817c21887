/* lanes_scalar.h - what attention needs besides simd_scalar.h, in plain C. */
enum { SCORE_TILE = 4, SCORE_LANES = 1, VALUE_TILE = 4, VALUE_LANES = 2 };

/* 64 bytes as they lie. */
static inline vf vf_bytes(const uint8_t *p) {
    vf r;
    memcpy(r.v, p, sizeof r.v);
    return r;
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
/* Halves and brain floats come in pairs, one pair a lane: the low and the high one of each. f16 must not be
 * infinite or NaN. */
static inline vf vf_low_f16(vf x) {
    EACH16 {
        uint32_t u;
        memcpy(&u, &x.v[l], sizeof u);
        x.v[l] = lathe_half_to_float((uint16_t) u);
    }
    return x;
}
static inline vf vf_high_f16(vf x) {
    EACH16 {
        uint32_t u;
        memcpy(&u, &x.v[l], sizeof u);
        x.v[l] = lathe_half_to_float((uint16_t) (u >> 16));
    }
    return x;
}
static inline vf vf_low_bf16(vf x) {
    EACH16 {
        uint32_t u;
        memcpy(&u, &x.v[l], sizeof u);
        u <<= 16;
        memcpy(&x.v[l], &u, sizeof u);
    }
    return x;
}
static inline vf vf_high_bf16(vf x) {
    EACH16 {
        uint32_t u;
        memcpy(&u, &x.v[l], sizeof u);
        u &= 0xffff0000u;
        memcpy(&x.v[l], &u, sizeof u);
    }
    return x;
}
/* Whether any of the halves that went into a guard is infinite or NaN. */
static inline vi vi_guard_f16(vi guard, vf x) {
    EACH16 {
        uint32_t u;
        memcpy(&u, &x.v[l], sizeof u);
        if ((u & 0x7c00u) == 0x7c00u || (u & 0x7c000000u) == 0x7c000000u)
            guard.v[l] = 1;
    }
    return guard;
}
static inline bool vi_caught_f16(vi guard) {
    int32_t any = 0;
    EACH16 any |= guard.v[l];
    return any != 0;
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
static inline void vf_transpose(vf r[16]) {
    for (int i = 0; i < 16; i++)
        for (int l = 0; l < i; l++) {
            float t = r[i].v[l];
            r[i].v[l] = r[l].v[i];
            r[l].v[i] = t;
        }
}
