/* matmul_tmpl.h - quantisation of activations and products with packed weights, over the registers of a
 * dot_*.h. Included once by each kernels_*.c. */

#define ALWAYS static inline __attribute__((always_inline))
enum { WIDEST = 8, PASSES = 16 / LANES }; /* columns of any tile at most; registers of a group */
#define COLUMNS _Pragma("GCC unroll 8") for (int c = 0; c < n_x; c++)
#define VECTORS _Pragma("GCC unroll 4") for (int v = 0; v < n_v; v++)

static void quantise(int64_t n, const float *x, void *out) {
    lathe_activation *a = out;
    for (int64_t b = 0; b < n / 32; b++, x += 32, a++) {
        float largest = largest32(x);
        int32_t sums[2] = {0, 0};
        *a = (lathe_activation){.scale = NAN, .scaled_sum = NAN};
        if (isnan(largest))
            continue;
        /* A divisor so small that its inverse overflows counts as zero. */
        bool is_zero = !(largest > 1e-36f);
        round32(x, is_zero ? 0.0f : 127.0f / largest, a->q, sums);
        a->scale = is_zero ? 0.0f : largest / 127.0f;
        a->scaled_sum = a->scale * (float) (sums[0] + sums[1]);
        a->minus_8 = -8 * (sums[0] + sums[1]);
        a->minus_128 = -128 * (sums[0] + sums[1]);
        for (int h = 0; h < 2; h++) {
            a->minus_32[h] = -32 * sums[h];
            a->minus_16[h] = (int16_t) (-16 * sums[h]);
        }
    }
}

/* --- Blocks of 32 weights --------------------------------------------------------------------------- */

/* These add to total[c][v] the integer sums of the rows of register v with column c. type, n_x and n_v are
 * constants where they are inlined. */
#define X(c) ((const lathe_activation *) (const void *) ((const char *) x + (size_t) (c) *x_bytes))

ALWAYS void sums_4(const int n_x, const int n_v, const uint8_t *p, const lathe_activation *x, size_t x_bytes,
                   const bool five, mi total[WIDEST][PASSES]) {
    const int every = five ? EVERY_5 : EVERY_4;
    mb fifth[PASSES];
    ms sum[WIDEST][PASSES];
    VECTORS fifth[v] = mb_load(p + (five ? 256 : 0) + 4 * LANES * v);
    COLUMNS VECTORS sum[c][v] = ms_zero();
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        mb low[PASSES], high[PASSES];
        VECTORS {
            mb w = mb_load(p + 64 * j + 4 * LANES * v);
            low[v] = mb_low(w);
            high[v] = mb_high(w);
            if (five) {
                low[v] = mb_or(low[v], mb_bits(fifth[v], 4 - 2 * j, 16));
                high[v] = mb_or(high[v], mb_bits(fifth[v], 3 - 2 * j, 16));
            }
        }
        COLUMNS {
            VECTORS sum[c][v] = ms_dot(sum[c][v], low[v], X(c)->q + 4 * j);
            VECTORS sum[c][v] = ms_dot(sum[c][v], high[v], X(c)->q + 16 + 4 * j);
        }
        if ((2 * j + 2) % every == 0)
            COLUMNS VECTORS {
                total[c][v] = mi_widen(total[c][v], sum[c][v]);
                sum[c][v] = ms_zero();
            }
    }
}

/* Half h of a block of 6-bit weights. */
ALWAYS void sums_6(const int n_x, const int n_v, const uint8_t *p, const lathe_activation *x, size_t x_bytes,
                   const int h, const mscale *scale, mi total[WIDEST][PASSES]) {
    mb upper[PASSES];
    ms sum[WIDEST][PASSES];
    VECTORS upper[v] = mb_load(p + 256 + 64 * h + 4 * LANES * v);
    COLUMNS VECTORS sum[c][v] = ms_zero();
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        mb low[PASSES];
        VECTORS {
            mb w = mb_load(p + 64 * j + 4 * LANES * v);
            low[v] = mb_or(h == 0 ? mb_low(w) : mb_high(w), mb_bits(upper[v], 4 - 2 * j, 48));
        }
        COLUMNS VECTORS sum[c][v] = ms_dot(sum[c][v], low[v], X(c)->q + 16 * h + 4 * j);
        if ((j + 1) % EVERY_6 == 0)
            COLUMNS VECTORS {
                total[c][v] = mi_widen_scaled(total[c][v], sum[c][v], scale[v]);
                sum[c][v] = ms_zero();
            }
    }
}

ALWAYS void sums_8(const int n_x, const int n_v, const uint8_t *p, const lathe_activation *x, size_t x_bytes,
                   mi total[WIDEST][PASSES]) {
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        mb w[PASSES], magnitude[PASSES];
        VECTORS {
            w[v] = mb_q8(mb_load(p + 64 * j + 4 * LANES * v));
            magnitude[v] = mb_magnitude(w[v]);
        }
        COLUMNS VECTORS total[c][v] = mi_dot_q8(total[c][v], w[v], magnitude[v], X(c)->q + 4 * j);
    }
}

/* Far enough ahead that the memory, not the wait for it, sets the pace: 2 KiB cost a tenth to a third. */
enum { AHEAD = 12288 };

ALWAYS void prefetch(const uint8_t *p, int n_bytes) {
#pragma GCC unroll 9
    for (int i = 0; i < n_bytes; i += 64)
        __builtin_prefetch(p + AHEAD + i);
}

/* n_blocks blocks of n_v registers of rows from row `lane` of the group on; p and x are those of the first
 * block, d and minima of 256 weights lie before it where the type has them. */
ALWAYS void blocks(const int type, const int n_x, const int n_v, const uint8_t *p, int64_t n_blocks,
                   const lathe_activation *x, size_t x_bytes, int lane, mf acc_[WIDEST][PASSES]) {
    const bool k_type = type == LATHE_PACKED_Q4_K || type == LATHE_PACKED_Q5_K;
    const bool has_d = k_type || type == LATHE_PACKED_Q6_K;
    const int bytes = type == LATHE_PACKED_Q8_0   ? 32 + 512
                      : type == LATHE_PACKED_Q5_K ? 32 + 256 + 64
                      : type == LATHE_PACKED_Q6_K ? 32 + 256 + 128
                                                  : 32 + 256;
    mf acc[WIDEST][PASSES], d[PASSES], dmin[PASSES], ws[PASSES], wm[PASSES];
    mscale scale[2][PASSES];
    COLUMNS VECTORS acc[c][v] = acc_[c][v];
    VECTORS d[v] = dmin[v] = mf_set1(0.0f);
    for (int64_t b = 0; b < n_blocks; b++, x++) {
        if (has_d && b % 8 == 0) {
            VECTORS d[v] = mf_half(p + 2 * (lane + LANES * v));
            if (k_type)
                VECTORS dmin[v] = mf_half(p + 32 + 2 * (lane + LANES * v));
            p += k_type ? 64 : 32;
        }
        VECTORS {
            const int l = lane + LANES * v;
            if (k_type) {
                ws[v] = mf_mul(d[v], mf_u8(p + l));
                wm[v] = mf_mul(dmin[v], mf_u8(p + 16 + l));
            } else {
                ws[v] = has_d ? d[v] : mf_half(p + 2 * l);
            }
            if (type == LATHE_PACKED_Q6_K) {
                scale[0][v] = mscale_load(p + l);
                scale[1][v] = mscale_load(p + 16 + l);
            }
        }
        if (lane == 0)
            prefetch(p, bytes);
        const uint8_t *lines = p + 32 + 4 * lane;
        mi total[WIDEST][PASSES];
        if (type == LATHE_PACKED_Q6_K) {
            COLUMNS VECTORS total[c][v] = mi_start_q6(X(c), scale[0][v], scale[1][v]);
            sums_6(n_x, n_v, lines, x, x_bytes, 0, scale[0], total);
            sums_6(n_x, n_v, lines, x, x_bytes, 1, scale[1], total);
        } else if (type == LATHE_PACKED_Q8_0) {
            COLUMNS VECTORS total[c][v] = mi_start_q8(X(c));
            sums_8(n_x, n_v, lines, x, x_bytes, total);
        } else {
            COLUMNS VECTORS total[c][v] = mi_start(type == LATHE_PACKED_Q4_0 ? X(c)->minus_8 : 0);
            sums_4(n_x, n_v, lines, x, x_bytes, type == LATHE_PACKED_Q5_K, total);
        }
        COLUMNS VECTORS {
            acc[c][v] = mf_fma(mf_of(total[c][v]), mf_mul(ws[v], mf_set1(X(c)->scale)), acc[c][v]);
            if (k_type)
                acc[c][v] = mf_fnma(wm[v], mf_set1(X(c)->scaled_sum), acc[c][v]);
        }
        p += bytes;
    }
    COLUMNS VECTORS acc_[c][v] = acc[c][v];
}

/* The same for f16 and bf16, with columns of floats: two sums, of even and of odd columns, hide a part of the
 * time that one addition takes. */
ALWAYS void floats(const bool half, const int n_x, const int n_v, const uint8_t *p, int64_t n_cols,
                   const float *x, int lane, mf result[WIDEST][PASSES]) {
    mf even[WIDEST][PASSES], odd[WIDEST][PASSES];
    COLUMNS VECTORS even[c][v] = odd[c][v] = mf_set1(0.0f);
    for (int64_t k = 0; k < n_cols; k += 2, p += 64) {
        if (lane == 0)
            prefetch(p, 64);
        mf w[PASSES];
        VECTORS {
            const uint8_t *at = p + 2 * (lane + LANES * v);
            w[v] = half ? mf_half(at) : mf_bf16(at);
        }
        COLUMNS VECTORS even[c][v] = mf_fma(w[v], mf_set1(x[c * n_cols + k]), even[c][v]);
        VECTORS {
            const uint8_t *at = p + 32 + 2 * (lane + LANES * v);
            w[v] = half ? mf_half(at) : mf_bf16(at);
        }
        COLUMNS VECTORS odd[c][v] = mf_fma(w[v], mf_set1(x[c * n_cols + k + 1]), odd[c][v]);
    }
    COLUMNS VECTORS result[c][v] = mf_add(even[c][v], odd[c][v]);
}

/* --- Tiles: 16 rows times n_x columns --------------------------------------------------------------- */

ALWAYS void tile(const int type, const int n_x, const uint8_t *p, int64_t n_cols, const void *x,
                 size_t x_bytes, float *y, int64_t ldy, int n_rows) {
    mf acc[WIDEST][PASSES];
    const int n_v = PASSES;
    COLUMNS VECTORS acc[c][v] = mf_set1(0.0f);
    if (type == LATHE_PACKED_F16 || type == LATHE_PACKED_BF16) {
        const bool half = type == LATHE_PACKED_F16;
        if (n_x <= TILE_WHOLE)
            floats(half, n_x, PASSES, p, n_cols, x, 0, acc);
        for (int v = 0; v < PASSES && n_x > TILE_WHOLE; v++) {
            mf part[WIDEST][PASSES];
            floats(half, n_x, 1, p, n_cols, x, v * LANES, part);
            COLUMNS acc[c][v] = part[c][0];
        }
    } else if (n_x <= TILE_WHOLE) {
        blocks(type, n_x, PASSES, p, n_cols / 32, x, x_bytes, 0, acc);
    } else {
        /* Where registers are too few for the whole group: passes over 256 columns at a time, which stay in
         * the first-level cache. */
        const int64_t n_blocks = n_cols / 32;
        const size_t bytes = lathe_packed_group_bytes((lathe_packed_type) type, 256);
        for (int64_t b = 0; b < n_blocks; b += 8)
            for (int v = 0; v < PASSES; v++) {
                mf part[WIDEST][PASSES];
                COLUMNS part[c][0] = acc[c][v];
                blocks(type, n_x, 1, p + (size_t) (b / 8) * bytes, n_blocks - b < 8 ? n_blocks - b : 8,
                       (const lathe_activation *) x + b, x_bytes, v * LANES, part);
                COLUMNS acc[c][v] = part[c][0];
            }
    }
    COLUMNS {
        float rows[16];
        VECTORS mf_store(rows + v * LANES, acc[c][v]);
        memcpy(y + c * ldy, rows, (size_t) n_rows * sizeof(float));
    }
}

ALWAYS void product(const int type, const lathe_packed *w, const char *x, int64_t n_x, float *y, int64_t ldy,
                    int64_t group_first, int64_t group_end) {
    const bool is_float = type == LATHE_PACKED_F16 || type == LATHE_PACKED_BF16;
    const int widest = is_float ? TILE_FLOAT : TILE_BYTES;
    const size_t x_bytes = is_float ? (size_t) w->n_cols * sizeof(float) : lathe_activation_bytes(w->n_cols);
    const size_t group = lathe_packed_group_bytes(w->type, w->n_cols);
    /* Long prompts: columns in sets that stay in the second-level cache while all rows pass by. */
    const int64_t set = 32;
    for (int64_t t0 = 0; t0 < n_x; t0 += set) {
        int64_t t1 = n_x - t0 < set ? n_x : t0 + set;
        for (int64_t g = group_first; g < group_end; g++) {
            const uint8_t *p = w->data + (size_t) g * group;
            int64_t left = w->n_rows - 16 * g, t = t0;
            int rows = left < 16 ? (int) left : 16;
#define TILES(n)                                                                                             \
    for (; t + (n) <= t1; t += (n))                                                                          \
        tile(type, n, p, w->n_cols, x + (size_t) t * x_bytes, x_bytes, y + t * ldy + 16 * g, ldy, rows);
            if (widest >= 8)
                TILES(8)
            if (widest >= 4)
                TILES(4)
            TILES(2)
            TILES(1)
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
PRODUCT(F16)
PRODUCT(BF16)

static void matmul(const lathe_packed *w, const void *x, int64_t n_x, float *y, int64_t ldy,
                   int64_t group_first, int64_t group_end) {
    static void (*const products[LATHE_PACKED_TYPES])(const lathe_packed *, const void *, int64_t, float *,
                                                      int64_t, int64_t, int64_t) = {
        product_Q4_0, product_Q8_0, product_Q4_K, product_Q5_K, product_Q6_K, product_F16, product_BF16,
    };
    products[w->type](w, x, n_x, y, ldy, group_first, group_end);
}

/* --- How fast the processor is ------------------------------------------------------------------------ */

#define EACH_SUM _Pragma("GCC unroll 12") for (int i = 0; i < SUMS; i++)

static double spin(int64_t n, bool floats) {
    enum { SUMS = 12 }; /* enough to hide the time that one takes */
    int8_t a[4 * SUMS];
    float x[SUMS], result[LANES];
    uint8_t bytes[4 * LANES];
    memset(a, 1, sizeof a);
    memset(bytes, 0, sizeof bytes);
    for (int i = 0; i < SUMS; i++)
        x[i] = 1e-9f;
    __asm__ volatile("" : : "r"(bytes), "r"(x) : "memory");
    mb w = mb_load(bytes);
    mf f = mf_set1(x[0]), sums_f[SUMS], all = mf_set1(0.0f);
    ms sums[SUMS];
    /* The barriers say that the operands might have changed: nothing leaves the loops. */
    EACH_SUM {
        sums[i] = ms_zero();
        sums_f[i] = mf_set1(0.0f);
    }
    for (int64_t r = 0; r < n && floats; r++) {
        __asm__ volatile("" : : "r"(x) : "memory");
        EACH_SUM sums_f[i] = mf_fma(f, mf_set1(x[i]), sums_f[i]);
    }
    for (int64_t r = 0; r < n && !floats; r++) {
        __asm__ volatile("" : : "r"(a) : "memory");
        EACH_SUM {
            sums[i] = ms_dot(sums[i], w, a + 4 * i);
            MS_KEEP(sums[i]);
        }
    }
    EACH_SUM all = mf_add(all, mf_add(mf_of(mi_widen(mi_start(0), sums[i])), sums_f[i]));
    mf_store(result, all);
    /* The result is used, if only to be nothing. */
    return (double) n * SUMS * LANES * (floats ? 2.0 : 8.0) + (result[0] > 1e30f ? 1.0 : 0.0);
}
