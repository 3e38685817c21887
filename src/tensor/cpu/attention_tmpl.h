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

/* Where the queries of a tile stand: largest score, sum, and unnormalised result. */
typedef struct attn_state {
    float m[TILE_MAX], l[TILE_MAX];
    float o[TILE_MAX * WIDTH] __attribute__((aligned(64)));
} attn_state;

typedef struct attn_block {
    int32_t row[BLOCK];                                  /* cache rows of the entries */
    int n;                                               /* entries */
    bool strange;                                        /* some value is NaN or infinite */
    float k[BLOCK * WIDTH] __attribute__((aligned(64))); /* [dk, BLOCK] */
    float v[BLOCK * WIDTH] __attribute__((aligned(64))); /* [BLOCK, dv rounded up to 16] */
    float s[TILE_MAX * BLOCK] __attribute__((aligned(64)));
    float add[BLOCK] __attribute__((aligned(64)));
    /* Queries of the tile that see something here. */
    const float *q[TILE_MAX];
    float *p[TILE_MAX], *o[TILE_MAX];
    int n_active;
} attn_block;

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
        return vf_load((const float *) (const void *) p);
    }
}

/* The last n < 16 values of a row. */
ALWAYS vf load_tail(const lathe_kv_type type, const uint8_t *row, int64_t d, int64_t n) {
    uint8_t bytes[64] = {0};
    memcpy(bytes, row + type_offset(type, d), (size_t) n * (type == LATHE_KV_F32 ? 4 : 2));
    return load16(type, bytes, 0);
}

ALWAYS void load_keys(const lathe_kv_type type, const uint8_t *base, size_t stride, int64_t dk,
                      attn_block *b) {
    for (int e0 = 0; e0 < BLOCK; e0 += 16)
        for (int64_t d = 0; d < dk; d += 16) {
            int n_d = dk - d < 16 ? (int) (dk - d) : 16;
            vf r[16];
            for (int i = 0; i < 16; i++) {
                const uint8_t *row = base + (size_t) b->row[e0 + i] * stride;
                r[i] = n_d == 16 ? load16(type, row, d) : load_tail(type, row, d, n_d);
            }
            vf_transpose(r);
            for (int i = 0; i < n_d; i++)
                vf_store(b->k + (d + i) * BLOCK + e0, r[i]);
        }
}

ALWAYS void load_values(const lathe_kv_type type, const uint8_t *base, size_t stride, int64_t dv,
                        attn_block *b) {
    const int64_t width = (dv + 15) / 16 * 16;
    vf poison = vf_set1(0.0f);
    for (int e = 0; e < b->n; e++) {
        const uint8_t *row = base + (size_t) b->row[e] * stride;
        for (int64_t d = 0; d < dv; d += 16) {
            vf x = dv - d < 16 ? load_tail(type, row, d, dv - d) : load16(type, row, d);
            poison = vf_fma(x, vf_set1(0.0f), poison);
            vf_store(b->v + e * width + d, x);
        }
    }
    b->strange = vf_any_nan(poison, poison);
}

/* One function of each cache type, so that the type is a constant inside. */
#define LOADERS(name, type)                                                                                  \
    static void keys_##name(const uint8_t *base, size_t stride, int64_t dk, attn_block *b) {                 \
        load_keys(type, base, stride, dk, b);                                                                \
    }                                                                                                        \
    static void values_##name(const uint8_t *base, size_t stride, int64_t dv, attn_block *b) {               \
        load_values(type, base, stride, dv, b);                                                              \
    }
LOADERS(f32, LATHE_KV_F32)
LOADERS(f16, LATHE_KV_F16)
LOADERS(bf16, LATHE_KV_BF16)
LOADERS(q8_0, LATHE_KV_Q8_0)
LOADERS(q4_0, LATHE_KV_Q4_0)
#undef LOADERS

typedef void (*loader)(const uint8_t *base, size_t stride, int64_t width, attn_block *b);
static const loader key_loaders[LATHE_KV_TYPES] = {keys_f32, keys_f16, keys_bf16, keys_q8_0, keys_q4_0};
static const loader value_loaders[LATHE_KV_TYPES] = {values_f32, values_f16, values_bf16, values_q8_0,
                                                     values_q4_0};

/* Cache rows of the entries from e0 on; places after the last entry repeat it, and are never seen. */
static void find_rows(const lathe_attention_args *a, int64_t h, int64_t e0, int32_t *row, int n) {
    int i = 0;
    if (a->rows != NULL) {
        memcpy(row, a->rows + h * a->rows_head + e0, (size_t) n * sizeof *row);
        i = n;
    } else if (a->ranges != NULL) {
        int64_t before = 0;
        for (int32_t r = 0; r < a->n_ranges && i < n; before += a->ranges[r++].n)
            for (; i < n && e0 + i < before + a->ranges[r].n; i++)
                row[i] = (int32_t) (a->ranges[r].first + e0 + i - before);
    } else {
        for (; i < n; i++)
            row[i] = (int32_t) (e0 + i);
    }
    for (; i < BLOCK; i++)
        row[i] = i > 0 ? row[i - 1] : 0;
}

/* The next block's bytes of this head are asked for while this one is worked on. */
static void prefetch_block(const lathe_attention_args *a, const int32_t *row, int n, int64_t h) {
    size_t n_k = type_offset(a->k_type, a->dk), n_v = type_offset(a->v_type, a->dv);
    for (int i = 0; i < n; i++) {
        const uint8_t *k = a->k + (size_t) row[i] * a->k_row + (size_t) h * a->k_head;
        const uint8_t *v = a->v + (size_t) row[i] * a->v_row + (size_t) h * a->v_head;
        for (size_t j = 0; j < n_k; j += 64)
            __builtin_prefetch(k + j);
        for (size_t j = 0; j < n_v; j += 64)
            __builtin_prefetch(v + j);
    }
}

/* --- What is seen -------------------------------------------------------------------------------- */

enum { SEES_NONE, SEES_ALL, SEES_SOME };

/* What row t of the step adds to the scores of the block's entries. */
static int find_mask(const lathe_attention_args *a, int64_t t, int64_t e0, int n, float *add) {
    int first = 0, end = n;
    if (a->seen != NULL) {
        int64_t lo = a->seen[2 * t] - e0, hi = a->seen[2 * t + 1] - e0;
        first = lo > n ? n : lo > 0 ? (int) lo : 0;
        end = hi < first ? first : hi < n ? (int) hi : n;
    }
    if (first == end)
        return SEES_NONE;
    int from = a->mask == NULL ? end : a->mask_first > e0 + first ? (int) (a->mask_first - e0) : first;
    if (from >= end && first == 0 && end == BLOCK)
        return SEES_ALL;
    bool some = false, plain = first == 0 && end == BLOCK;
    if (from <= 0 && end == BLOCK) {
        const uint16_t *mask = a->mask + t * a->mask_stride + e0 - a->mask_first;
        some = false;
        uint16_t any = 0, all = 0xffff;
        for (int i = 0; i < BLOCK; i += 16)
            vf_store(add + i, vf_half((const uint8_t *) (mask + i)));
        for (int i = first; i < BLOCK; i++) {
            any = (uint16_t) (any | mask[i]);
            all = (uint16_t) (all & (mask[i] == 0xfc00 ? 0xffff : 0));
        }
        for (int i = 0; i < first; i++)
            add[i] = -INFINITY;
        return all != 0 ? SEES_NONE : any == 0 && plain ? SEES_ALL : SEES_SOME;
    }
    for (int i = 0; i < BLOCK; i++) {
        add[i] = i < first || i >= end ? -INFINITY
                 : i < from            ? 0.0f
                            : lathe_half_to_float(a->mask[t * a->mask_stride + e0 + i - a->mask_first]);
        some = some || add[i] > -INFINITY || isnan(add[i]);
    }
    return some ? SEES_SOME : SEES_NONE;
}

/* --- Products ------------------------------------------------------------------------------------ */

/* Scores of n queries with 16 * SCORE_LANES entries from e0 on. */
ALWAYS void score_tile(const int n, const attn_block *b, int i0, int e0, int64_t dk) {
    vf sum[SCORE_TILE][SCORE_LANES];
    const float *q[SCORE_TILE], *k = b->k + e0;
    for (int i = 0; i < n; i++) {
        q[i] = b->q[i0 + i];
        for (int j = 0; j < SCORE_LANES; j++)
            sum[i][j] = vf_set1(0.0f);
    }
    for (int64_t d = 0; d < dk; d++, k += BLOCK) {
        vf key[SCORE_LANES];
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

static void scores(const attn_block *b, int64_t dk) {
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

/* o += p v for n queries and lanes * 16 columns from d on. */
ALWAYS void value_tile(const int n, const int lanes, const attn_block *b, int i0, int64_t d, int64_t width) {
    vf sum[VALUE_TILE][VALUE_LANES];
    const float *p[VALUE_TILE], *v = b->v + d;
    for (int i = 0; i < n; i++) {
        p[i] = b->p[i0 + i];
        for (int j = 0; j < lanes; j++)
            sum[i][j] = vf_load(b->o[i0 + i] + d + 16 * j);
    }
    for (int e = 0; e < b->n; e++, v += width) {
        vf value[VALUE_LANES];
        for (int j = 0; j < lanes; j++)
            value[j] = vf_load(v + 16 * j);
        for (int i = 0; i < n; i++) {
            vf x = vf_set1(p[i][e]);
            for (int j = 0; j < lanes; j++)
                sum[i][j] = vf_fma(x, value[j], sum[i][j]);
        }
    }
    for (int i = 0; i < n; i++)
        for (int j = 0; j < lanes; j++)
            vf_store(b->o[i0 + i] + d + 16 * j, sum[i][j]);
}

ALWAYS void value_columns(const int lanes, const attn_block *b, int64_t d, int64_t width) {
    int i = 0;
    for (; i + VALUE_TILE <= b->n_active; i += VALUE_TILE)
        value_tile(VALUE_TILE, lanes, b, i, d, width);
    switch (b->n_active - i) {
    case 5:
        value_tile(5 < VALUE_TILE ? 5 : 1, lanes, b, i, d, width);
        break;
    case 4:
        value_tile(4 < VALUE_TILE ? 4 : 1, lanes, b, i, d, width);
        break;
    case 3:
        value_tile(3 < VALUE_TILE ? 3 : 1, lanes, b, i, d, width);
        break;
    case 2:
        value_tile(2, lanes, b, i, d, width);
        break;
    case 1:
        value_tile(1, lanes, b, i, d, width);
        break;
    default:
        break;
    }
}

/* Rows of weight 0 are left out one by one where the block holds values that are not finite. */
static void values_one_by_one(const attn_block *b, int64_t width) {
    for (int i = 0; i < b->n_active; i++)
        for (int e = 0; e < b->n; e++)
            for (int64_t d = 0; d < width && !(b->p[i][e] >= 0.0f && b->p[i][e] <= 0.0f); d += 16)
                vf_store(b->o[i] + d,
                         vf_fma(vf_set1(b->p[i][e]), vf_load(b->v + e * width + d), vf_load(b->o[i] + d)));
}

static void values(const attn_block *b, int64_t width) {
    if (b->strange) {
        values_one_by_one(b, width);
        return;
    }
    int64_t d = 0;
    for (; d + 16 * VALUE_LANES <= width; d += 16 * VALUE_LANES)
        value_columns(VALUE_LANES, b, d, width);
    switch ((width - d) / 16) {
    case 3:
        value_columns(3 < VALUE_LANES ? 3 : 1, b, d, width);
        break;
    case 2:
        value_columns(2 < VALUE_LANES ? 2 : 1, b, d, width);
        break;
    case 1:
        value_columns(1, b, d, width);
        break;
    default:
        break;
    }
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

typedef struct attn_tile {
    const lathe_attention_args *a;
    int64_t h, t0, t1; /* KV head; rows of the step */
    int64_t group, width;
} attn_tile;

/* The tile's queries that see something of the block; keys are read where there are any. */
static bool look(const attn_tile *t, attn_block *b, attn_state *state, int64_t e0, int64_t e1, int *sees) {
    const lathe_attention_args *a = t->a;
    b->n = e1 - e0 < BLOCK ? (int) (e1 - e0) : BLOCK;
    b->n_active = 0;
    for (int64_t i = t->t0; i < t->t1; i++) {
        int at = sees[i - t->t0] = find_mask(a, i, e0, b->n, b->add);
        for (int64_t g = 0; g < t->group && at != SEES_NONE; g++) {
            int64_t query = (i - t->t0) * t->group + g;
            b->q[b->n_active] = a->q + i * a->q_row + (t->h * t->group + g) * a->q_head;
            b->p[b->n_active] = b->s + query * BLOCK;
            b->o[b->n_active++] = state != NULL ? state->o + query * t->width : NULL;
        }
    }
    return b->n_active > 0;
}

static void block_scores(const attn_tile *t, attn_block *b, int64_t e0) {
    const lathe_attention_args *a = t->a;
    find_rows(a, t->h, e0, b->row, b->n);
    key_loaders[a->k_type](a->k + (size_t) t->h * a->k_head, a->k_row, a->dk, b);
    scores(b, a->dk);
}

static void attend_block(const attn_tile *t, attn_block *b, attn_state *state, int64_t e0, int64_t e1) {
    const lathe_attention_args *a = t->a;
    int sees[TILE_MAX];
    if (!look(t, b, state, e0, e1, sees))
        return;
    block_scores(t, b, e0);
    if (e1 > e0 + BLOCK) {
        int32_t next[BLOCK];
        int n = e1 - e0 - BLOCK < BLOCK ? (int) (e1 - e0 - BLOCK) : BLOCK;
        find_rows(a, t->h, e0 + BLOCK, next, n);
        prefetch_block(a, next, n, t->h);
    }
    for (int64_t i = t->t0; i < t->t1; i++) {
        if (sees[i - t->t0] == SEES_SOME)
            (void) find_mask(a, i, e0, b->n, b->add);
        for (int64_t g = 0; g < t->group && sees[i - t->t0] != SEES_NONE; g++) {
            int64_t query = (i - t->t0) * t->group + g;
            soften(a, t->h * t->group + g, sees[i - t->t0], b->add, b->s + query * BLOCK, &state->m[query],
                   &state->l[query], state->o + query * t->width, t->width);
        }
    }
    value_loaders[a->v_type](a->v + (size_t) t->h * a->v_head, a->v_row, a->dv, b);
    values(b, t->width);
}

/* --- Chunks -------------------------------------------------------------------------------------- */

/* Part p (m, l, o) of a query joins m, l, o. */
static void merge(float *m, float *l, float *o, float part_m, float part_l, const float *part_o,
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

static void begin(attn_state *s, int64_t n, int64_t width) {
    for (int64_t i = 0; i < n; i++) {
        s->m[i] = -INFINITY;
        s->l[i] = 0.0f;
    }
    memset(s->o, 0, (size_t) (n * width) * sizeof *s->o);
}

static void finish(const attn_tile *t, const attn_state *s) {
    const lathe_attention_args *a = t->a;
    for (int64_t i = t->t0; i < t->t1; i++)
        for (int64_t g = 0; g < t->group; g++) {
            int64_t query = (i - t->t0) * t->group + g, head = t->h * t->group + g;
            float m = s->m[query], l = s->l[query], shrink = 1.0f,
                  *out = a->out + (i * a->n_head + head) * a->dv;
            if (a->sinks != NULL) {
                float top = a->sinks[head] > m ? a->sinks[head] : m;
                shrink = m > -INFINITY ? exp_one(m - top) : 0.0f;
                l = l * shrink + exp_one(a->sinks[head] - top);
                m = top;
            }
            float inverse = l > 0.0f ? shrink / l : l;
            for (int64_t d = 0; d < a->dv; d++)
                out[d] = s->o[query * t->width + d] * inverse;
            if (a->lse != NULL)
                a->lse[i * a->n_head + head] = l > 0.0f ? m + logf(l) : isnan(l) ? NAN : -INFINITY;
        }
}

static attn_tile tile_of(const lathe_attention_args *a, int64_t h, int64_t t0) {
    int64_t group = a->n_head / a->n_head_kv, rows = lathe_attention_tile_rows(a);
    return (attn_tile){.a = a,
                       .h = h,
                       .t0 = t0,
                       .t1 = a->n_q - t0 < rows ? a->n_q : t0 + rows,
                       .group = group,
                       .width = (a->dv + 15) / 16 * 16};
}

/* Sums of the weights that entries get, once the queries' lse are known. */
static void add_mass(const attn_tile *t, attn_block *b) {
    const lathe_attention_args *a = t->a;
    int sees[TILE_MAX];
    for (int64_t e0 = 0; e0 < a->n_kv; e0 += BLOCK) {
        if (!look(t, b, NULL, e0, a->n_kv, sees))
            continue;
        block_scores(t, b, e0);
        for (int64_t i = t->t0; i < t->t1; i++) {
            if (sees[i - t->t0] == SEES_SOME)
                (void) find_mask(a, i, e0, b->n, b->add);
            for (int64_t g = 0; g < t->group && sees[i - t->t0] != SEES_NONE; g++) {
                int64_t head = t->h * t->group + g;
                float *s = b->s + ((i - t->t0) * t->group + g) * BLOCK, lse = a->lse[i * a->n_head + head];
                for (int j = 0; j < BLOCK; j += 16) {
                    vf x = finish_scores(a, vf_load(s + j), a->slopes != NULL ? a->slopes[head] : 1.0f,
                                         sees[i - t->t0], b->add + j);
                    x = vf_sub(x, vf_set1(lse > -INFINITY ? lse : 0.0f));
                    /* Rounding may carry a weight of 1 over it, where exp_neg does not go. */
                    vf_store(s + j, exp_neg(vf_if_less(vf_set1(0.0f), x, vf_set1(0.0f), x)));
                }
                for (int e = 0; e < b->n; e++)
                    a->mass[head * a->n_kv + e0 + e] += s[e];
            }
        }
    }
}

static void whole_tile(const lathe_attention_args *a, int64_t h, int64_t t0) {
    attn_state sum, part;
    attn_block b;
    attn_tile t = tile_of(a, h, t0);
    int64_t n = (t.t1 - t.t0) * t.group;
    begin(&sum, n, t.width);
    for (int64_t c0 = 0; c0 < a->n_kv; c0 += LATHE_ATTENTION_CHUNK) {
        int64_t c1 = a->n_kv - c0 < LATHE_ATTENTION_CHUNK ? a->n_kv : c0 + LATHE_ATTENTION_CHUNK;
        begin(&part, n, t.width);
        for (int64_t e0 = c0; e0 < c1; e0 += BLOCK)
            attend_block(&t, &b, &part, e0, c1);
        for (int64_t i = 0; i < n; i++)
            merge(&sum.m[i], &sum.l[i], sum.o + i * t.width, part.m[i], part.l[i], part.o + i * t.width,
                  t.width);
    }
    finish(&t, &sum);
    if (a->mass != NULL)
        add_mass(&t, &b);
}

static void chunk_of_tile(const lathe_attention_args *a, int64_t h, int64_t t0, int64_t chunk, float *out) {
    attn_state part;
    attn_block b;
    attn_tile t = tile_of(a, h, t0);
    int64_t n = (t.t1 - t.t0) * t.group, c0 = chunk * LATHE_ATTENTION_CHUNK;
    int64_t c1 = a->n_kv - c0 < LATHE_ATTENTION_CHUNK ? a->n_kv : c0 + LATHE_ATTENTION_CHUNK;
    begin(&part, n, t.width);
    for (int64_t e0 = c0; e0 < c1; e0 += BLOCK)
        attend_block(&t, &b, &part, e0, c1);
    memcpy(out, part.m, (size_t) n * sizeof *out);
    memcpy(out + n, part.l, (size_t) n * sizeof *out);
    memcpy(out + 2 * n, part.o, (size_t) (n * t.width) * sizeof *out);
}

static void merge_chunks(const lathe_attention_args *a, int64_t h, int64_t t0, const float *parts,
                         size_t stride) {
    attn_state sum;
    attn_tile t = tile_of(a, h, t0);
    int64_t n = (t.t1 - t.t0) * t.group;
    begin(&sum, n, t.width);
    for (int64_t c = 0; c < lathe_attention_n_chunks(a); c++, parts += stride)
        for (int64_t i = 0; i < n; i++)
            merge(&sum.m[i], &sum.l[i], sum.o + i * t.width, parts[i], parts[n + i],
                  parts + 2 * n + i * t.width, t.width);
    finish(&t, &sum);
}
