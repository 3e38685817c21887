/* matmul_tmpl.h - quantisation of activations and products with packed weights, over the 16 lanes of a
 * simd_*.h. Included once by each kernels_*.c, which defines LATHE_SET (the name) and is_usable first. */
#include <math.h>
#include <string.h>

#define ALWAYS static inline __attribute__((always_inline))

static void quantise(int64_t n, const float *x, void *out) {
    int8_t *q = out;
    float *scale = (float *) (void *) (q + n);
    int32_t *sum = (int32_t *) (void *) (scale + n / 32);
    for (int64_t b = 0; b < n / 32; b++, x += 32, q += 32) {
        float largest = 0.0f, poison = 0.0f;
        for (int i = 0; i < 32; i++) {
            float m = fabsf(x[i]);
            largest = m > largest ? m : largest;
            poison += x[i] * 0.0f; /* NaN where x is NaN or infinite */
        }
        /* A divisor so small that its inverse overflows counts as zero. */
        float inverse = largest > 1e-36f ? 127.0f / largest : 0.0f;
        if (isnan(poison))
            inverse = 0.0f;
        int32_t sums[2] = {0, 0};
        for (int h = 0; h < 2; h++)
            for (int i = 16 * h; i < 16 * h + 16; i++) {
                /* Adding 1.5 * 2^23 rounds to the nearest integer, ties to even, into the low bits. */
                float shifted = (isnan(poison) ? 0.0f : x[i] * inverse) + 12582912.0f;
                int32_t bits;
                memcpy(&bits, &shifted, sizeof bits);
                int32_t v = bits - 0x4b400000;
                q[i] = (int8_t) v;
                sums[h] += v;
            }
        scale[b] = isnan(poison) ? NAN : (largest > 1e-36f ? largest / 127.0f : 0.0f);
        sum[2 * b] = sums[0];
        sum[2 * b + 1] = sums[1];
    }
}

/* One group of 16 rows times n_x <= TILE columns; type and n_x are constants where this is inlined. */
ALWAYS void tile(const int type, const int n_x, const uint8_t *p, int64_t n_cols, const int8_t *x,
                 size_t x_bytes, float *y, int64_t ldy, int n_rows) {
    const int64_t n_blocks = n_cols / 32;
    const bool k_type = type == LATHE_PACKED_Q4_K || type == LATHE_PACKED_Q5_K;
    vf acc[TILE], d = vf_set1(0.0f), dmin = d;
    for (int c = 0; c < n_x; c++)
        acc[c] = vf_set1(0.0f);
    for (int64_t b = 0; b < n_blocks; b++) {
        vf ws, wm = d;
        vi sum[TILE], scale_a = vi_set1(0), scale_b = scale_a, sum_b[TILE];
        if (k_type || type == LATHE_PACKED_Q6_K) {
            if (b % 8 == 0) {
                d = vf_half(p);
                if (k_type)
                    dmin = vf_half(p + 32);
                p += k_type ? 64 : 32;
            }
            ws = d;
            if (k_type) {
                ws = vf_mul(d, vf_of(vi_u8(p)));
                wm = vf_mul(dmin, vf_of(vi_u8(p + 16)));
            } else {
                scale_a = vi_s8(p);
                scale_b = vi_s8(p + 16);
            }
        } else {
            ws = vf_half(p);
        }
        p += 32;
        __builtin_prefetch(p + 2048);
        __builtin_prefetch(p + 2048 + 64);
        __builtin_prefetch(p + 2048 + 128);
        __builtin_prefetch(p + 2048 + 192);
        __builtin_prefetch(p + 2048 + 256);
        for (int c = 0; c < n_x; c++) {
            const int32_t *s =
                (const int32_t *) (const void *) (x + (size_t) c * x_bytes + n_cols + n_blocks * 4) + 2 * b;
            int32_t offset = type == LATHE_PACKED_Q4_0 ? 8 : type == LATHE_PACKED_Q8_0 ? BIAS_Q8 : 0;
            sum[c] = vi_set1(type == LATHE_PACKED_Q6_K ? -32 * s[0] : -offset * (s[0] + s[1]));
            sum_b[c] = vi_set1(type == LATHE_PACKED_Q6_K ? -32 * s[1] : 0);
        }
        if (type == LATHE_PACKED_Q8_0) {
#pragma GCC unroll 8
            for (int j = 0; j < 8; j++) {
                vb w = vb_load(p + 64 * j);
                for (int c = 0; c < n_x; c++)
                    sum[c] = vi_dot_q8(sum[c], w, x + (size_t) c * x_bytes + 32 * b + 4 * j);
            }
            p += 512;
        } else {
            vb high_a = vb_load(p), high_b = high_a;
            if (type == LATHE_PACKED_Q5_K || type == LATHE_PACKED_Q6_K)
                high_a = vb_load(p + 256);
            if (type == LATHE_PACKED_Q6_K)
                high_b = vb_load(p + 320);
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++) {
                vb w = vb_load(p + 64 * j), low = vb_low(w), high = vb_high(w);
                if (type == LATHE_PACKED_Q5_K) {
                    low = vb_or(low, vb_bits(high_a, 4 - 2 * j, 16));
                    high = vb_or(high, vb_bits(high_a, 3 - 2 * j, 16));
                } else if (type == LATHE_PACKED_Q6_K) {
                    low = vb_or(low, vb_bits(high_a, 4 - 2 * j, 48));
                    high = vb_or(high, vb_bits(high_b, 4 - 2 * j, 48));
                }
                for (int c = 0; c < n_x; c++) {
                    const int8_t *a = x + (size_t) c * x_bytes + 32 * b + 4 * j;
                    sum[c] = vi_dot(sum[c], low, a);
                    if (type == LATHE_PACKED_Q6_K)
                        sum_b[c] = vi_dot(sum_b[c], high, a + 16);
                    else
                        sum[c] = vi_dot(sum[c], high, a + 16);
                }
            }
            p += type == LATHE_PACKED_Q5_K ? 320 : type == LATHE_PACKED_Q6_K ? 384 : 256;
        }
        for (int c = 0; c < n_x; c++) {
            const float *scales = (const float *) (const void *) (x + (size_t) c * x_bytes + n_cols);
            const int32_t *s = (const int32_t *) (const void *) (scales + n_blocks) + 2 * b;
            vf xs = vf_set1(scales[b]);
            if (type == LATHE_PACKED_Q6_K)
                sum[c] = vi_add(vi_mul(scale_a, sum[c]), vi_mul(scale_b, sum_b[c]));
            acc[c] = vf_fma(vf_of(sum[c]), vf_mul(ws, xs), acc[c]);
            if (k_type)
                acc[c] = vf_fnma(wm, vf_mul(xs, vf_set1((float) (s[0] + s[1]))), acc[c]);
        }
    }
    for (int c = 0; c < n_x; c++) {
        float rows[16];
        vf_store(rows, acc[c]);
        memcpy(y + c * ldy, rows, (size_t) n_rows * sizeof(float));
    }
}

ALWAYS void product(const int type, const lathe_packed *w, const int8_t *x, int64_t n_x, float *y,
                    int64_t ldy, int64_t group_first, int64_t group_end) {
    size_t x_bytes = lathe_activation_bytes(w->n_cols), group = lathe_packed_group_bytes(w->type, w->n_cols);
    /* Long prompts: columns in sets that stay in the second-level cache while all rows pass by. */
    const int64_t set = 32;
    for (int64_t t0 = 0; t0 < n_x; t0 += set) {
        int64_t t1 = n_x - t0 < set ? n_x : t0 + set;
        for (int64_t g = group_first; g < group_end; g++) {
            const uint8_t *p = w->data + (size_t) g * group;
            int64_t left = w->n_rows - 16 * g;
            int rows = left < 16 ? (int) left : 16;
            int64_t t = t0;
            for (; t + TILE <= t1; t += TILE)
                tile(type, TILE, p, w->n_cols, x + (size_t) t * x_bytes, x_bytes, y + t * ldy + 16 * g, ldy,
                     rows);
            if (TILE > 4 && t + 4 <= t1) {
                tile(type, 4, p, w->n_cols, x + (size_t) t * x_bytes, x_bytes, y + t * ldy + 16 * g, ldy,
                     rows);
                t += 4;
            }
            if (t + 2 <= t1) {
                tile(type, 2, p, w->n_cols, x + (size_t) t * x_bytes, x_bytes, y + t * ldy + 16 * g, ldy,
                     rows);
                t += 2;
            }
            if (t < t1)
                tile(type, 1, p, w->n_cols, x + (size_t) t * x_bytes, x_bytes, y + t * ldy + 16 * g, ldy,
                     rows);
        }
    }
}

#define PRODUCT(type)                                                                                        \
    static void product_##type(const lathe_packed *w, const void *x, int64_t n_x, float *y, int64_t ldy,     \
                               int64_t group_first, int64_t group_end) {                                     \
        product(LATHE_PACKED_##type, w, x, n_x, y, ldy, group_first, group_end);                             \
    }
PRODUCT(Q4_0)
PRODUCT(Q8_0)
PRODUCT(Q4_K)
PRODUCT(Q5_K)
PRODUCT(Q6_K)

static void matmul(const lathe_packed *w, const void *x, int64_t n_x, float *y, int64_t ldy,
                   int64_t group_first, int64_t group_end) {
    switch (w->type) {
    case LATHE_PACKED_Q4_0:
        product_Q4_0(w, x, n_x, y, ldy, group_first, group_end);
        break;
    case LATHE_PACKED_Q8_0:
        product_Q8_0(w, x, n_x, y, ldy, group_first, group_end);
        break;
    case LATHE_PACKED_Q4_K:
        product_Q4_K(w, x, n_x, y, ldy, group_first, group_end);
        break;
    case LATHE_PACKED_Q5_K:
        product_Q5_K(w, x, n_x, y, ldy, group_first, group_end);
        break;
    case LATHE_PACKED_Q6_K:
        product_Q6_K(w, x, n_x, y, ldy, group_first, group_end);
        break;
    case LATHE_PACKED_TYPES:
        break;
    }
}
