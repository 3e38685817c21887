/* attention_tmpl.h - fused attention (attention_args.h) over the 16 lanes of simd_*.h and lanes_*.h. Included
 * by attention_*.c, one for each instruction set.
 *
 * For a block of 64 entries keys are transposed into f32 (lanes are entries: a score is one chain of fused
 * multiply-adds over the width, without a horizontal sum), values converted to f32 (lanes are the width).
 * Both serve all queries of a tile: rows of the step times heads of the group. */
#include <math.h>
#include <string.h>

#define ALWAYS static inline __attribute__((always_inline))

enum { BLOCK = LATHE_ATTENTION_BLOCK, TILE_MAX = LATHE_ATTENTION_TILE_MAX, WIDTH = LATHE_ATTENTION_DH_MAX };

/* A block of entries of one KV head, and the queries that see some of it. */
typedef struct attn_block {
    const uint8_t *k_row[BLOCK],
        *v_row[BLOCK]; /* places after the last entry repeat it, and are never seen */
    int n;             /* entries */
    float k[BLOCK * WIDTH] __attribute__((aligned(64))); /* [dk, BLOCK] */
    float v[BLOCK * WIDTH] __attribute__((aligned(64))); /* [BLOCK, dv rounded up to 16] */
    float s[TILE_MAX * BLOCK] __attribute__((aligned(64)));
    float add[BLOCK] __attribute__((aligned(64)));
    const float *q[TILE_MAX];
    float *p[TILE_MAX], *o[TILE_MAX];
    int n_active;
    /* Rows of the block to come, asked for line by line while this one is worked on. */
    const uint8_t *ahead[2 * BLOCK];
    int n_ahead, at_row;
    size_t at_byte, ahead_bytes[2]; /* of a row of keys, of values */
} attn_block;

/* What a row of the step sees: entries of [first, end); from entry `cut` on there are holes, and the rest is
 * taken as a list. plain: whatever is seen is seen without addition. */
typedef struct attn_view {
    int64_t first, end, cut;
    bool plain;
} attn_view;

/* KV heads [h0, h1) and rows [t0, t1) of the step. */
typedef struct attn_tile {
    const lathe_attention_args *a;
    int64_t h0, h1, t0, t1;
    int64_t group, width;
    int64_t first, end; /* entries that some row takes by block */
    attn_view view[TILE_MAX];
} attn_tile;

/* Where queries stand: largest score, sum, and unnormalised result. */
typedef struct attn_state {
    float *m, *l, *o; /* [heads, rows, group], o times width */
} attn_state;

/* --- Elementary functions ------------------------------------------------------------------------ */

/* exp(x) for x <= 0, relative error below 3e-7; 0 below -87; NaN for NaN. */
ALWAYS vf exp_neg(vf x) {
    vf y = vf_max(vf_set1(-87.0f), x);
    vf magic = vf_set1(12582912.0f), shifted = vf_fma(y, vf_set1(1.44269504f), magic),
       n = vf_sub(shifted, magic);
    vf r = vf_fnma(n, vf_set1(0.693359375f), y), p = vf_set1(1.0f / 5040.0f);
    r = vf_fma(n, vf_set1(2.12194440e-4f), r);
    p = vf_fma(p, r, vf_set1(1.0f / 720.0f));
    p = vf_fma(p, r, vf_set1(1.0f / 120.0f));
    p = vf_fma(p, r, vf_set1(1.0f / 24.0f));
    p = vf_fma(p, r, vf_set1(1.0f / 6.0f));
    p = vf_fma(p, r, vf_set1(0.5f));
    p = vf_fma(p, r, vf_set1(1.0f));
    p = vf_fma(p, r, vf_set1(1.0f));
    return vf_if_less(x, vf_set1(-87.0f), vf_set1(0.0f), vf_mul(p, vf_pow2(shifted)));
}

static float exp_one(float x) {
    float out[16];
    vf_store(out, exp_neg(vf_set1(x)));
    return out[0];
}

/* tanh: a polynomial near 0, by exp beyond. */
ALWAYS vf tanh_of(vf x) {
    vf zero = vf_set1(0.0f), one = vf_set1(1.0f), a = vf_max(vf_sub(zero, x), x), z = vf_mul(x, x);
    vf p = vf_set1(-5.70498872745e-3f);
    p = vf_fma(p, z, vf_set1(2.06390887954e-2f));
    p = vf_fma(p, z, vf_set1(-5.37397155531e-2f));
    p = vf_fma(p, z, vf_set1(1.33314422036e-1f));
    p = vf_fma(p, z, vf_set1(-3.33332819422e-1f));
    vf near = vf_fma(vf_mul(p, z), x, x);
    vf e = exp_neg(vf_mul(a, vf_set1(-2.0f))), far = vf_div(vf_sub(one, e), vf_add(one, e));
    far = vf_if_less(x, zero, vf_sub(zero, far), far);
    return vf_if_less(a, vf_set1(0.625f), near, far);
}

/* --- Reading the cache --------------------------------------------------------------------------- */

ALWAYS size_t type_offset(const lathe_kv_type type, int64_t d) {
    switch (type) {
    case LATHE_KV_F32:
        return (size_t) d * 4;
    case LATHE_KV_Q8_0:
        return (size_t) (d / 32) * 34;
    case LATHE_KV_Q4_0:
        return (size_t) (d / 32) * 18;
    default:
        return (size_t) d * 2;
    }
}

/* Values d to d + 15 of a cached row; d is a multiple of 16. */
ALWAYS vf load16(const lathe_kv_type type, const uint8_t *row, int64_t d) {
    const uint8_t *p = row + type_offset(type, d);
    switch (type) {
    case LATHE_KV_F16:
        return vf_half(p);
    case LATHE_KV_BF16:
        return vf_bf16(p);
    case LATHE_KV_Q8_0:
        return vf_mul(vf_set1(half_of(p)), vf_of(vi_s8(p + 2 + d % 32)));
    case LATHE_KV_Q4_0:
        return vf_mul(vf_set1(half_of(p)), vf_of(vi_add(vi_nibbles(p + 2, d % 32 != 0), vi_set1(-8))));
    default:
        return vf_bytes(p);
    }
}

/* The last n < 16 values of a row. */
ALWAYS vf load_tail(const lathe_kv_type type, const uint8_t *row, int64_t d, int64_t n) {
    uint8_t bytes[64] = {0};
    memcpy(bytes, row + type_offset(type, d), (size_t) n * (type == LATHE_KV_F32 ? 4 : 2));
    return load16(type, bytes, 0);
}

/* Asks for some lines of the rows to come. */
ALWAYS void look_ahead(attn_block *b, int n_lines) {
    for (int i = 0; i < n_lines && b->at_row < b->n_ahead; i++) {
        __builtin_prefetch(b->ahead[b->at_row] + b->at_byte);
        b->at_byte += 64;
        if (b->at_byte >= b->ahead_bytes[b->at_row & 1]) {
            b->at_byte = 0;
            b->at_row++;
        }
    }
}

/* 16 rows of keys from column d on, transposed to out. */
ALWAYS void load_columns(const lathe_kv_type type, const uint8_t *const *row, int64_t d, int64_t dk,
                         float *out, attn_block *b) {
    vf r[16];
    for (; d + 16 <= dk; d += 16) {
        for (int i = 0; i < 16; i++)
            r[i] = load16(type, row[i], d);
        vf_transpose(r);
        for (int i = 0; i < 16; i++)
            vf_store(out + (d + i) * BLOCK, r[i]);
        look_ahead(b, 4);
    }
    if (d < dk) {
        for (int i = 0; i < 16; i++)
            r[i] = load_tail(type, row[i], d, dk - d);
        vf_transpose(r);
        for (int i = 0; i < dk - d; i++)
            vf_store(out + (d + i) * BLOCK, r[i]);
    }
}

/* Values of 16 bits are transposed in pairs, with half the shuffles. Returns how many columns that did; 0
 * where some half is infinite or NaN. */
ALWAYS int64_t load_pairs(const lathe_kv_type type, const uint8_t *const *row, int64_t dk, float *out,
                          attn_block *b) {
    vi guard = vi_set1(0);
    int64_t d = 0;
    for (; d + 32 <= dk; d += 32) {
        vf r[16];
        for (int i = 0; i < 16; i++) {
            r[i] = vf_bytes(row[i] + 2 * d);
            if (type == LATHE_KV_F16)
                guard = vi_guard_f16(guard, r[i]);
        }
        vf_transpose(r);
        for (int i = 0; i < 16; i++) {
            vf_store(out + (d + 2 * i) * BLOCK, type == LATHE_KV_F16 ? vf_low_f16(r[i]) : vf_low_bf16(r[i]));
            vf_store(out + (d + 2 * i + 1) * BLOCK,
                     type == LATHE_KV_F16 ? vf_high_f16(r[i]) : vf_high_bf16(r[i]));
        }
        look_ahead(b, 8);
    }
    return type == LATHE_KV_F16 && vi_caught_f16(guard) ? 0 : d;
}

ALWAYS void load_keys(const lathe_kv_type type, int64_t dk, attn_block *b) {
    for (int e0 = 0; e0 < BLOCK; e0 += 16) {
        int64_t d = 0;
        if (type == LATHE_KV_F16 || type == LATHE_KV_BF16)
            d = load_pairs(type, b->k_row + e0, dk, b->k + e0, b);
        load_columns(type, b->k_row + e0, d, dk, b->k + e0, b);
    }
}

ALWAYS void load_values(const lathe_kv_type type, int64_t dv, attn_block *b) {
    const int64_t width = (dv + 15) / 16 * 16;
    for (int e = 0; e < b->n; e++) {
        int64_t d = 0;
        for (; d + 16 <= dv; d += 16)
            vf_store(b->v + e * width + d, load16(type, b->v_row[e], d));
        if (d < dv)
            vf_store(b->v + e * width + d, load_tail(type, b->v_row[e], d, dv - d));
    }
}

/* One function of each cache type, so that the type is a constant inside. */
#define LOADERS(name, type)                                                                                  \
    static void keys_##name(int64_t dk, attn_block *b) {                                                     \
        load_keys(type, dk, b);                                                                              \
    }                                                                                                        \
    static void values_##name(int64_t dv, attn_block *b) {                                                   \
        load_values(type, dv, b);                                                                            \
    }
LOADERS(f32, LATHE_KV_F32)
LOADERS(f16, LATHE_KV_F16)
LOADERS(bf16, LATHE_KV_BF16)
LOADERS(q8_0, LATHE_KV_Q8_0)
LOADERS(q4_0, LATHE_KV_Q4_0)
#undef LOADERS

typedef void (*loader)(int64_t width, attn_block *b);
static const loader key_loaders[LATHE_KV_TYPES] = {keys_f32, keys_f16, keys_bf16, keys_q8_0, keys_q4_0};
static const loader value_loaders[LATHE_KV_TYPES] = {values_f32, values_f16, values_bf16, values_q8_0,
                                                     values_q4_0};

/* --- Rows and what is seen ----------------------------------------------------------------------- */

/* Cache rows of entries e0 to e0 + n - 1. */
static void find_rows(const lathe_attention_args *a, int64_t h, int64_t e0, int n, int32_t *row) {
    if (a->rows != NULL) {
        memcpy(row, a->rows + h * a->rows_head + e0, (size_t) n * sizeof *row);
        return;
    }
    int i = 0;
    int64_t before = 0;
    for (int32_t r = 0; r < a->n_ranges && i < n; before += a->ranges[r++].n)
        for (; i < n && e0 + i < before + a->ranges[r].n; i++)
            row[i] = (int32_t) (a->ranges[r].first + e0 + i - before);
    for (; i < n; i++)
        row[i] = (int32_t) (e0 + i);
}

static void set_rows(const lathe_attention_args *a, int64_t h, const int32_t *row, int n, attn_block *b) {
    const uint8_t *k = a->k + (size_t) h * a->k_head, *v = a->v + (size_t) h * a->v_head;
    b->n = n;
    for (int i = 0; i < BLOCK; i++) {
        size_t r = (size_t) row[i < n ? i : n - 1];
        b->k_row[i] = k + r * a->k_row;
        b->v_row[i] = v + r * a->v_row;
    }
}

static bool is_hidden(const lathe_attention_args *a, int64_t t, int64_t e) {
    return a->mask != NULL && e >= a->mask_first && a->mask[t * a->mask_stride + e - a->mask_first] == 0xfc00;
}

/* Blocks that are seen without holes are taken by entry, by all rows of the step together. Behind the first
 * hole what a row sees is taken as if it lay there without one: a row's bits do not depend on what others
 * hold in between (nodes of a token tree, other sequences). */
static attn_view view_of(const lathe_attention_args *a, int64_t t) {
    attn_view v = {.first = 0, .end = a->n_kv, .cut = INT64_MAX, .plain = true};
    if (a->seen != NULL) {
        v.first = a->seen[2 * t] > 0 ? a->seen[2 * t] : 0;
        v.end = a->seen[2 * t + 1] < a->n_kv ? a->seen[2 * t + 1] : a->n_kv;
    }
    while (v.end > v.first && is_hidden(a, t, v.end - 1))
        v.end--;
    while (v.first < v.end && is_hidden(a, t, v.first))
        v.first++;
    int64_t from = a->mask_first > v.first ? a->mask_first : v.first;
    if (a->mask == NULL || from >= v.end)
        return v;
    const uint16_t *mask = a->mask + t * a->mask_stride - a->mask_first;
    for (int64_t e0 = from; e0 < v.end; e0 += 1024) {
        int64_t e1 = v.end - e0 < 1024 ? v.end : e0 + 1024;
        uint16_t any = 0, hole = 0;
        for (int64_t e = e0; e < e1; e++) {
            any |= mask[e];
            hole |= (uint16_t) (mask[e] == 0xfc00);
        }
        v.plain = v.plain && any == 0;
        if (hole != 0 && a->in_place)
            return v;
        if (hole != 0) {
            while (mask[e0] != 0xfc00)
                e0++;
            v.cut = e0 / BLOCK * BLOCK;
            return v;
        }
    }
    return v;
}

static float added(const lathe_attention_args *a, int64_t t, int64_t e) {
    return a->mask != NULL && e >= a->mask_first
               ? lathe_half_to_float(a->mask[t * a->mask_stride + e - a->mask_first])
               : 0.0f;
}

enum { SEES_NONE, SEES_ALL, SEES_SOME };

/* What row t sees of entries e0 to e0 + n - 1 without a list. */
static int sees(const attn_tile *tile, int64_t t, int64_t e0, int n) {
    const lathe_attention_args *a = tile->a;
    const attn_view *v = &tile->view[t - tile->t0];
    if (e0 >= v->cut || e0 >= v->end || e0 + n <= v->first)
        return SEES_NONE;
    if (v->plain)
        return n == BLOCK && v->first <= e0 && v->end >= e0 + n ? SEES_ALL : SEES_SOME;
    if (a->in_place && n == BLOCK && e0 >= a->mask_first) {
        const uint16_t *mask = a->mask + t * a->mask_stride + e0 - a->mask_first;
        uint16_t hidden = 1;
        for (int i = 0; i < BLOCK; i++)
            hidden &= (uint16_t) (mask[i] == 0xfc00);
        if (hidden != 0)
            return SEES_NONE;
    }
    return SEES_SOME;
}

/* What row t adds to the scores of the block's entries. */
static void find_mask(const attn_tile *tile, int64_t t, int64_t e0, int n, float *add) {
    const lathe_attention_args *a = tile->a;
    const attn_view *v = &tile->view[t - tile->t0];
    if (!v->plain && n == BLOCK && e0 >= a->mask_first && e0 >= v->first && e0 + n <= v->end) {
        const uint16_t *mask = a->mask + t * a->mask_stride + e0 - a->mask_first;
        for (int i = 0; i < BLOCK; i += 16)
            vf_store(add + i, vf_half((const uint8_t *) (mask + i)));
        return;
    }
    for (int i = 0; i < BLOCK; i++)
        add[i] = i >= n || e0 + i < v->first || e0 + i >= v->end ? -INFINITY
                 : v->plain                                      ? 0.0f
                                                                 : added(a, t, e0 + i);
}

/* --- Products ------------------------------------------------------------------------------------ */

/* Scores of n queries with 16 * SCORE_LANES entries from e0 on. */
ALWAYS void score_tile(const int n, attn_block *b, int i0, int e0, int64_t dk) {
    vf sum[SCORE_TILE][SCORE_LANES];
    const float *q[SCORE_TILE], *k = b->k + e0;
    for (int i = 0; i < n; i++) {
        q[i] = b->q[i0 + i];
        for (int j = 0; j < SCORE_LANES; j++)
            sum[i][j] = vf_set1(0.0f);
    }
    for (int64_t d = 0; d < dk; d++, k += BLOCK) {
        vf key[SCORE_LANES];
        if (d % 16 == 0)
            look_ahead(b, 8);
        for (int j = 0; j < SCORE_LANES; j++)
            key[j] = vf_load(k + 16 * j);
        for (int i = 0; i < n; i++) {
            vf x = vf_set1(q[i][d]);
            for (int j = 0; j < SCORE_LANES; j++)
                sum[i][j] = vf_fma(x, key[j], sum[i][j]);
        }
    }
    for (int i = 0; i < n; i++)
        for (int j = 0; j < SCORE_LANES; j++)
            vf_store(b->p[i0 + i] + e0 + 16 * j, sum[i][j]);
}

static void scores(attn_block *b, int64_t dk) {
    for (int e0 = 0; e0 < b->n; e0 += 16 * SCORE_LANES) {
        int i = 0;
        for (; i + SCORE_TILE <= b->n_active; i += SCORE_TILE)
            score_tile(SCORE_TILE, b, i, e0, dk);
        switch (b->n_active - i) {
        case 5:
            score_tile(5 < SCORE_TILE ? 5 : 1, b, i, e0, dk);
            break;
        case 4:
            score_tile(4 < SCORE_TILE ? 4 : 1, b, i, e0, dk);
            break;
        case 3:
            score_tile(3 < SCORE_TILE ? 3 : 1, b, i, e0, dk);
            break;
        case 2:
            score_tile(2, b, i, e0, dk);
            break;
        case 1:
            score_tile(1, b, i, e0, dk);
            break;
        default:
            break;
        }
    }
}

/* o += p v for n queries and lanes * 16 columns from d on. Rows of weight 0 are left out one by one where the
 * result would not be finite: they may hold anything. */
static void value_rows_one_by_one(const attn_block *b, int i, int64_t d, int64_t n, int64_t width) {
    for (int e = 0; e < b->n; e++) {
        float p = b->p[i][e];
        for (int64_t c = d; c < d + n && !(p >= 0.0f && p <= 0.0f); c += 16)
            vf_store(b->o[i] + c, vf_fma(vf_set1(p), vf_load(b->v + e * width + c), vf_load(b->o[i] + c)));
    }
}

/* in_cache: values are halves, read where they lie, which pays for the queries of one tile. */
ALWAYS void value_tile(const bool in_cache, const int n, const int lanes, attn_block *b, int i0, int64_t d,
                       int64_t width) {
    vf sum[VALUE_TILE][VALUE_LANES];
    const float *p[VALUE_TILE], *v = b->v + d;
    for (int i = 0; i < n; i++) {
        p[i] = b->p[i0 + i];
        for (int j = 0; j < lanes; j++)
            sum[i][j] = vf_load(b->o[i0 + i] + d + 16 * j);
    }
    for (int e = 0; e < b->n; e++, v += width) {
        vf value[VALUE_LANES];
        if (e % 4 == 0)
            look_ahead(b, 8);
        for (int j = 0; j < lanes; j++)
            value[j] = in_cache ? vf_half(b->v_row[e] + 2 * (d + 16 * j)) : vf_load(v + 16 * j);
        for (int i = 0; i < n; i++) {
            vf x = vf_set1(p[i][e]);
            for (int j = 0; j < lanes; j++)
                sum[i][j] = vf_fma(x, value[j], sum[i][j]);
        }
    }
    for (int i = 0; i < n; i++) {
        vf poison = vf_set1(0.0f);
        for (int j = 0; j < lanes; j++)
            poison = vf_fma(sum[i][j], vf_set1(0.0f), poison);
        if (vf_any_nan(poison, poison)) {
            if (in_cache)
                values_f16(width, b);
            value_rows_one_by_one(b, i0 + i, d, 16 * lanes, width);
            continue;
        }
        for (int j = 0; j < lanes; j++)
            vf_store(b->o[i0 + i] + d + 16 * j, sum[i][j]);
    }
}

ALWAYS void value_columns(const bool in_cache, const int lanes, attn_block *b, int64_t d, int64_t width) {
    int i = 0;
    for (; i + VALUE_TILE <= b->n_active; i += VALUE_TILE)
        value_tile(in_cache, VALUE_TILE, lanes, b, i, d, width);
    switch (b->n_active - i) {
    case 5:
        value_tile(in_cache, 5 < VALUE_TILE ? 5 : 1, lanes, b, i, d, width);
        break;
    case 4:
        value_tile(in_cache, 4 < VALUE_TILE ? 4 : 1, lanes, b, i, d, width);
        break;
    case 3:
        value_tile(in_cache, 3 < VALUE_TILE ? 3 : 1, lanes, b, i, d, width);
        break;
    case 2:
        value_tile(in_cache, 2, lanes, b, i, d, width);
        break;
    case 1:
        value_tile(in_cache, 1, lanes, b, i, d, width);
        break;
    default:
        break;
    }
}

ALWAYS void all_columns(const bool in_cache, attn_block *b, int64_t width) {
    int64_t d = 0;
    for (; d + 16 * VALUE_LANES <= width; d += 16 * VALUE_LANES)
        value_columns(in_cache, VALUE_LANES, b, d, width);
    switch ((width - d) / 16) {
    case 3:
        value_columns(in_cache, 3 < VALUE_LANES ? 3 : 1, b, d, width);
        break;
    case 2:
        value_columns(in_cache, 2 < VALUE_LANES ? 2 : 1, b, d, width);
        break;
    case 1:
        value_columns(in_cache, 1, b, d, width);
        break;
    default:
        break;
    }
}

static void values(lathe_kv_type type, int64_t dv, attn_block *b) {
    const int64_t width = (dv + 15) / 16 * 16;
    if (type == LATHE_KV_F16 && b->n_active <= VALUE_TILE && dv % 16 == 0) {
        all_columns(true, b, width);
        return;
    }
    value_loaders[type](dv, b);
    all_columns(false, b, width);
}

/* --- A block ------------------------------------------------------------------------------------- */

/* Scores as they enter the softmax. */
ALWAYS vf finish_scores(const lathe_attention_args *a, vf x, float slope, int sees, const float *add) {
    x = vf_mul(x, vf_set1(a->scale));
    if (a->softcap > 0.0f)
        x = vf_mul(vf_set1(a->softcap), tanh_of(vf_mul(x, vf_set1(1.0f / a->softcap))));
    return sees == SEES_ALL ? x : vf_hide(x, vf_load(add), vf_set1(slope));
}

/* Weights in place of the scores of one query; moves its maximum and sum. */
static void soften(const lathe_attention_args *a, int64_t head, int sees, const float *add, float *s,
                   float *m, float *l, float *o, int64_t width) {
    vf x[BLOCK / 16];
    float slope = a->slopes != NULL ? a->slopes[head] : 1.0f;
    for (int j = 0; j < BLOCK / 16; j++)
        x[j] = finish_scores(a, vf_load(s + 16 * j), slope, sees, add + 16 * j);
    vf top = x[0];
    bool poisoned = false;
    for (int j = 0; j < BLOCK / 16; j += 2) {
        top = vf_max(x[j], vf_max(x[j + 1], top));
        poisoned = poisoned || vf_any_nan(x[j], x[j + 1]);
    }
    float largest = vf_largest(top);
    if (poisoned) {
        *l = NAN;
        for (int j = 0; j < BLOCK / 16; j++)
            vf_store(s + 16 * j, vf_set1(0.0f));
        return;
    }
    if (largest > *m) {
        float shrink = *m > -INFINITY ? exp_one(*m - largest) : 0.0f;
        *m = largest;
        *l *= shrink;
        for (int64_t d = 0; d < width; d += 16)
            vf_store(o + d, vf_mul(vf_load(o + d), vf_set1(shrink)));
    }
    vf sum = vf_set1(0.0f), base = vf_set1(*m > -INFINITY ? *m : 0.0f);
    for (int j = 0; j < BLOCK / 16; j++) {
        vf p = exp_neg(vf_sub(x[j], base));
        vf_store(s + 16 * j, p);
        sum = vf_add(sum, p);
    }
    *l += vf_sum(sum);
}

/* The state of head h's queries. */
static attn_state state_of(const attn_tile *t, const attn_state *all, int64_t h) {
    int64_t at = (h - t->h0) * (t->t1 - t->t0) * t->group;
    return (attn_state){all->m + at, all->l + at, all->o + at * t->width};
}

static void add_query(const attn_tile *t, attn_block *b, int64_t h, int64_t i, int64_t g,
                      const attn_state *state) {
    int64_t query = (i - t->t0) * t->group + g;
    b->q[b->n_active] = t->a->q + i * t->a->q_row + (h * t->group + g) * t->a->q_head;
    b->p[b->n_active] = b->s + query * BLOCK;
    b->o[b->n_active++] = state->o + query * t->width;
}

/* Weights of one query's scores, and what they do to its state. */
static void weigh(const attn_tile *t, attn_block *b, int64_t h, int64_t i, int64_t g, int how,
                  const attn_state *state) {
    int64_t query = (i - t->t0) * t->group + g;
    soften(t->a, h * t->group + g, how, b->add, b->s + query * BLOCK, &state->m[query], &state->l[query],
           state->o + query * t->width, t->width);
}

/* Entries [e0, e0 + n) for all rows that see some of them without holes. */
static void attend_block(const attn_tile *t, attn_block *b, int64_t h, int64_t e0, int n,
                         const attn_state *all) {
    const lathe_attention_args *a = t->a;
    attn_state state = state_of(t, all, h);
    b->n_active = 0;
    for (int64_t i = t->t0; i < t->t1; i++)
        for (int64_t g = 0; g < t->group && sees(t, i, e0, n) != SEES_NONE; g++)
            add_query(t, b, h, i, g, &state);
    if (b->n_active == 0)
        return;
    int32_t row[BLOCK];
    find_rows(a, h, e0, n, row);
    set_rows(a, h, row, n, b);
    key_loaders[a->k_type](a->dk, b);
    scores(b, a->dk);
    for (int64_t i = t->t0; i < t->t1; i++) {
        int how = sees(t, i, e0, n);
        if (how == SEES_SOME)
            find_mask(t, i, e0, n, b->add);
        for (int64_t g = 0; g < t->group && how != SEES_NONE; g++)
            weigh(t, b, h, i, g, how, &state);
    }
    values(a->v_type, a->dv, b);
}

/* A cursor over what a row sees behind its cut: position p in a row without holes is entry e. */
typedef struct attn_cursor {
    int64_t p, e;
} attn_cursor;

/* The next entries of a list, at most BLOCK of those before position p1. */
static int next_entries(const attn_tile *t, int64_t i, attn_cursor *at, int64_t p1, int64_t *entry) {
    const attn_view *v = &t->view[i - t->t0];
    int n = 0;
    for (; n < BLOCK && at->p < p1 && at->e < v->end; at->e++)
        if (!is_hidden(t->a, i, at->e)) {
            entry[n++] = at->e;
            at->p++;
        }
    return n;
}

/* Scores of row i with listed entries. */
static void list_scores(const attn_tile *t, attn_block *b, int64_t h, int64_t i, const int64_t *entry, int n,
                        const attn_state *state) {
    int32_t row[BLOCK];
    for (int j = 0; j < BLOCK; j++)
        b->add[j] = j < n ? added(t->a, i, entry[j]) : -INFINITY;
    for (int j = 0; j < n; j++)
        find_rows(t->a, h, entry[j], 1, &row[j]);
    set_rows(t->a, h, row, n, b);
    b->n_active = 0;
    for (int64_t g = 0; g < t->group; g++)
        add_query(t, b, h, i, g, state);
    key_loaders[t->a->k_type](t->a->dk, b);
    scores(b, t->a->dk);
}

/* Row i's positions [p0, p1), behind its cut. */
static void attend_list(const attn_tile *t, attn_block *b, int64_t i, int64_t p0, int64_t p1,
                        const attn_state *all) {
    int64_t entry[BLOCK], cut = t->view[i - t->t0].cut;
    attn_cursor at = {cut > t->view[i - t->t0].first ? cut : t->view[i - t->t0].first, 0};
    at.e = at.p;
    while (at.p < p0 && next_entries(t, i, &at, p0, entry) > 0)
        ;
    /* The first block ends where it would in a row without holes. */
    for (int64_t stop = at.p / BLOCK * BLOCK + BLOCK; at.p < p1; stop += BLOCK) {
        int n = next_entries(t, i, &at, stop < p1 ? stop : p1, entry);
        if (n == 0)
            return;
        for (int64_t h = t->h0; h < t->h1; h++) {
            attn_state state = state_of(t, all, h);
            list_scores(t, b, h, i, entry, n, &state);
            for (int64_t g = 0; g < t->group; g++)
                weigh(t, b, h, i, g, SEES_SOME, &state);
            values(t->a->v_type, t->a->dv, b);
        }
    }
}

/* The rows of the block after e0 are asked for, in as many parts as there are heads. */
static void plan_ahead(const attn_tile *t, attn_block *b, int64_t h, int64_t e0, int64_t e1) {
    const lathe_attention_args *a = t->a;
    int64_t n_heads = t->h1 - t->h0, i0 = BLOCK * (h - t->h0) / n_heads,
            i1 = BLOCK * (h - t->h0 + 1) / n_heads;
    int32_t row[BLOCK];
    b->n_ahead = b->at_row = 0;
    b->at_byte = 0;
    if (e0 + BLOCK + i1 > e1)
        return;
    find_rows(a, h, e0 + BLOCK + i0, (int) (i1 - i0), row);
    for (int64_t i = 0; i < i1 - i0; i++) {
        b->ahead[b->n_ahead++] = a->k + (size_t) row[i] * a->k_row + (size_t) t->h0 * a->k_head;
        b->ahead[b->n_ahead++] = a->v + (size_t) row[i] * a->v_row + (size_t) t->h0 * a->v_head;
    }
    b->ahead_bytes[0] = (size_t) n_heads * type_offset(a->k_type, a->dk);
    b->ahead_bytes[1] = (size_t) n_heads * type_offset(a->v_type, a->dv);
}

/* --- Chunks -------------------------------------------------------------------------------------- */

static int64_t n_queries(const attn_tile *t) {
    return (t->h1 - t->h0) * (t->t1 - t->t0) * t->group;
}

static attn_state state_in(float *memory, const attn_tile *t) {
    int64_t n = n_queries(t);
    return (attn_state){memory, memory + n, memory + 2 * n};
}

static void begin(const attn_tile *t, const attn_state *s) {
    int64_t n = n_queries(t);
    for (int64_t i = 0; i < n; i++) {
        s->m[i] = -INFINITY;
        s->l[i] = 0.0f;
    }
    memset(s->o, 0, (size_t) (n * t->width) * sizeof *s->o);
}

static void attend_chunk(const attn_tile *t, attn_block *b, int64_t c, const attn_state *state) {
    int64_t c0 = c * LATHE_ATTENTION_CHUNK, c1 = c0 + LATHE_ATTENTION_CHUNK;
    int64_t n_kv = t->a->n_kv, e1 = c1 < t->end ? c1 : t->end;
    begin(t, state);
    for (int64_t e0 = c0 > t->first ? c0 : t->first; e0 < e1; e0 += BLOCK)
        for (int64_t h = t->h0; h < t->h1; h++) {
            plan_ahead(t, b, h, e0, t->end);
            attend_block(t, b, h, e0, n_kv - e0 < BLOCK ? (int) (n_kv - e0) : BLOCK, state);
        }
    b->n_ahead = b->at_row = 0;
    for (int64_t i = t->t0; i < t->t1; i++)
        if (t->view[i - t->t0].cut < c1)
            attend_list(t, b, i, c0, c1, state);
}

/* Part p joins the sum. */
static void merge_one(float *m, float *l, float *o, float part_m, float part_l, const float *part_o,
                      int64_t width) {
    if (isnan(part_l)) {
        *l = NAN;
        return;
    }
    if (!(part_m > -INFINITY))
        return;
    float top = part_m > *m ? part_m : *m;
    float old = *m > -INFINITY ? exp_one(*m - top) : 0.0f, new = exp_one(part_m - top);
    *m = top;
    *l = *l * old + part_l * new;
    for (int64_t d = 0; d < width; d += 16)
        vf_store(o + d, vf_fma(vf_load(o + d), vf_set1(old), vf_mul(vf_load(part_o + d), vf_set1(new))));
}

static void merge_into(const attn_tile *t, const attn_state *sum, const attn_state *part) {
    int64_t n = n_queries(t);
    for (int64_t i = 0; i < n; i++)
        merge_one(&sum->m[i], &sum->l[i], sum->o + i * t->width, part->m[i], part->l[i],
                  part->o + i * t->width, t->width);
}

static void finish(const attn_tile *t, const attn_state *all) {
    const lathe_attention_args *a = t->a;
    int64_t query = 0;
    for (int64_t h = t->h0; h < t->h1; h++)
        for (int64_t i = t->t0; i < t->t1; i++)
            for (int64_t g = 0; g < t->group; g++, query++) {
                int64_t head = h * t->group + g;
                float m = all->m[query], l = all->l[query], shrink = 1.0f;
                float *out = a->out + (i * a->n_head + head) * a->dv;
                if (a->sinks != NULL) {
                    float top = a->sinks[head] > m ? a->sinks[head] : m;
                    shrink = m > -INFINITY ? exp_one(m - top) : 0.0f;
                    l = l * shrink + exp_one(a->sinks[head] - top);
                    m = top;
                }
                float inverse = l > 0.0f ? shrink / l : l;
                for (int64_t d = 0; d < a->dv; d++)
                    out[d] = all->o[query * t->width + d] * inverse;
                if (a->lse != NULL)
                    a->lse[i * a->n_head + head] = l > 0.0f ? m + logf(l) : isnan(l) ? NAN : -INFINITY;
            }
}

static void tile_of(const lathe_attention_args *a, int64_t h0, int64_t h1, int64_t t0, attn_tile *t) {
    int64_t rows = lathe_attention_tile_rows(a);
    t->a = a;
    t->h0 = h0;
    t->h1 = h1;
    t->t0 = t0;
    t->t1 = a->n_q - t0 < rows ? a->n_q : t0 + rows;
    t->group = a->n_head / a->n_head_kv;
    t->width = (a->dv + 15) / 16 * 16;
    t->first = a->n_kv;
    t->end = 0;
    for (int64_t i = t->t0; i < t->t1; i++) {
        attn_view *v = &t->view[i - t->t0];
        *v = view_of(a, i);
        int64_t end = v->end < v->cut ? v->end : v->cut;
        if (v->first < end) {
            t->first = v->first < t->first ? v->first : t->first;
            t->end = end > t->end ? end : t->end;
        }
    }
    t->first = t->first / BLOCK * BLOCK;
}

/* --- Sums of weights ----------------------------------------------------------------------------- */

static void weights_of(const attn_tile *t, const attn_block *b, int64_t h, int64_t i, int64_t g, int how,
                       float *p) {
    const lathe_attention_args *a = t->a;
    int64_t head = h * t->group + g;
    const float *s = b->s + ((i - t->t0) * t->group + g) * BLOCK;
    float lse = a->lse[i * a->n_head + head];
    for (int j = 0; j < BLOCK; j += 16) {
        vf x = finish_scores(a, vf_load(s + j), a->slopes != NULL ? a->slopes[head] : 1.0f, how, b->add + j);
        x = vf_sub(x, vf_set1(lse > -INFINITY ? lse : 0.0f));
        /* Rounding may carry a weight of 1 over it, where exp_neg does not go. */
        vf_store(p + j, exp_neg(vf_if_less(vf_set1(0.0f), x, vf_set1(0.0f), x)));
    }
}

/* Adds the weights that the tile's queries give, once their lse are known. */
static void add_mass(const attn_tile *t, attn_block *b) {
    const lathe_attention_args *a = t->a;
    float nowhere[1];
    const attn_state none = {nowhere, nowhere, nowhere};
    attn_block *const block = b;
    float p[BLOCK];
    for (int64_t e0 = 0; e0 < a->n_kv; e0 += BLOCK) {
        int n = a->n_kv - e0 < BLOCK ? (int) (a->n_kv - e0) : BLOCK;
        int32_t row[BLOCK];
        find_rows(a, t->h0, e0, n, row);
        set_rows(a, t->h0, row, n, block);
        block->n_active = 0;
        for (int64_t i = t->t0; i < t->t1; i++)
            for (int64_t g = 0; g < t->group && sees(t, i, e0, n) != SEES_NONE; g++)
                add_query(t, block, t->h0, i, g, &none);
        if (block->n_active == 0)
            continue;
        key_loaders[a->k_type](a->dk, block);
        scores(block, a->dk);
        for (int64_t i = t->t0; i < t->t1; i++) {
            int how = sees(t, i, e0, n);
            if (how == SEES_SOME)
                find_mask(t, i, e0, n, block->add);
            for (int64_t g = 0; g < t->group && how != SEES_NONE; g++) {
                weights_of(t, block, t->h0, i, g, how, p);
                for (int e = 0; e < n; e++)
                    a->mass[(t->h0 * t->group + g) * a->n_kv + e0 + e] += p[e];
            }
        }
    }
    for (int64_t i = t->t0; i < t->t1; i++) {
        int64_t entry[BLOCK], first = t->view[i - t->t0].first, cut = t->view[i - t->t0].cut;
        attn_cursor at = {0, cut > first ? cut : first};
        for (int n; cut < a->n_kv && (n = next_entries(t, i, &at, a->n_kv, entry)) > 0;) {
            list_scores(t, block, t->h0, i, entry, n, &none);
            for (int64_t g = 0; g < t->group; g++) {
                weights_of(t, block, t->h0, i, g, SEES_SOME, p);
                for (int j = 0; j < n; j++)
                    a->mass[(t->h0 * t->group + g) * a->n_kv + entry[j]] += p[j];
            }
        }
    }
}

/* --- The set's functions ------------------------------------------------------------------------- */

static void whole_tile(const lathe_attention_args *a, int64_t h, int64_t t0) {
    float memory[2][TILE_MAX * (WIDTH + 2)];
    attn_tile t;
    attn_block b;
    tile_of(a, h, h + 1, t0, &t);
    attn_state sum = state_in(memory[0], &t), part = state_in(memory[1], &t);
    begin(&t, &sum);
    for (int64_t c = 0; c < lathe_attention_n_chunks(a); c++) {
        attend_chunk(&t, &b, c, &part);
        merge_into(&t, &sum, &part);
    }
    finish(&t, &sum);
    if (a->mass != NULL)
        add_mass(&t, &b);
}

static void chunks_of_heads(const lathe_attention_args *a, int64_t h0, int64_t h1, int64_t chunk,
                            float *parts) {
    attn_tile t;
    attn_block b;
    tile_of(a, h0, h1, 0, &t);
    attn_state part = state_in(parts, &t);
    attend_chunk(&t, &b, chunk, &part);
}

static void merge_heads(const lathe_attention_args *a, int64_t h0, int64_t h1, float *parts, size_t stride,
                        float *room) {
    attn_tile t;
    tile_of(a, h0, h1, 0, &t);
    attn_state sum = state_in(room, &t);
    begin(&t, &sum);
    for (int64_t c = 0; c < lathe_attention_n_chunks(a); c++) {
        attn_state part = state_in(parts + (size_t) c * stride, &t);
        merge_into(&t, &sum, &part);
    }
    finish(&t, &sum);
}

static void all_heads(const lathe_attention_args *a, int64_t h0, int64_t h1, float *room) {
    attn_tile t;
    attn_block b;
    tile_of(a, h0, h1, 0, &t);
    attn_state sum = state_in(room, &t), part = state_in(room + lathe_attention_part(a, h1 - h0), &t);
    begin(&t, &sum);
    for (int64_t c = 0; c < lathe_attention_n_chunks(a); c++) {
        attend_chunk(&t, &b, c, &part);
        merge_into(&t, &sum, &part);
    }
    finish(&t, &sum);
}
