/* attention_products.h - attention_tmpl.h's two products: queries with keys, weights with values. */
/* A score is summed over the width in one order, that of vf_sum over 16 lanes: sixteen chains of every 16th
 * column, then 0 with 8, 4 with 12 and so on. Few queries take keys as they lie, chains being lanes; for many
 * keys are transposed once, and lanes are entries. */

/* Scores of n queries from i0 on with entries e0 to e0 + 15, keys as they lie. */
ALWAYS void score_rows(const lathe_kv_type type, const int n, attn_block *b, int i0, int e0, int64_t dk) {
    const float *q[SCORE_ROWS];
    for (int i = 0; i < n; i++)
        q[i] = b->q[i0 + i];
    vf four[4][SCORE_ROWS]; /* sums of entries e0 + f, + 4, + 8, + 12 */
    for (int f = 0; f < 4; f++) {
        vf_two two[2][SCORE_ROWS];
        for (int p = 0; p < 2; p += SCORE_PAIRS) {
            const uint8_t *const *key = b->k_row + e0 + f + 8 * p;
            vf sum[2 * SCORE_PAIRS][SCORE_ROWS];
            for (int i = 0; i < n; i++)
                for (int j = 0; j < 2 * SCORE_PAIRS; j++)
                    sum[j][i] = vf_set1(0.0f);
            for (int64_t d = 0; d < dk; d += 16) {
                vf k[2 * SCORE_PAIRS];
                for (int j = 0; j < 2 * SCORE_PAIRS; j++)
                    k[j] = load16(type, key[4 * j], d);
                for (int i = 0; i < n; i++) {
                    vf x = vf_load(q[i] + d);
                    for (int j = 0; j < 2 * SCORE_PAIRS; j++)
                        sum[j][i] = vf_fma(x, k[j], sum[j][i]);
                }
            }
            for (int i = 0; i < n; i++)
                for (int j = 0; j < SCORE_PAIRS; j++)
                    two[p + j][i] = vf_fold_two(sum[2 * j][i], sum[2 * j + 1][i]);
        }
        for (int i = 0; i < n; i++)
            four[f][i] = vf_fold_four(two[0][i], two[1][i]);
        if (i0 == 0)
            look_ahead(b);
    }
    for (int i = 0; i < n; i++)
        vf_store(b->p[i0 + i] + e0, vf_fold_quads(four[0][i], four[1][i], four[2][i], four[3][i]));
}

/* Queries in groups of at most SCORE_ROWS, each over 16 entries before the next 16: the keys stay at hand. */
ALWAYS void score_in_place(const lathe_kv_type type, attn_block *b, int64_t dk) {
    const int groups = (b->n_active + SCORE_ROWS - 1) / SCORE_ROWS;
    const int size = (b->n_active + groups - 1) / groups;
    for (int e0 = 0; e0 < b->n; e0 += 16)
        for (int i = 0; i < b->n_active; i += size)
            switch (b->n_active - i < size ? b->n_active - i : size) {
            case 1:
                score_rows(type, 1, b, i, e0, dk);
                break;
            case 2:
                score_rows(type, 2, b, i, e0, dk);
                break;
            case 3:
                score_rows(type, 3, b, i, e0, dk);
                break;
            case 4:
                score_rows(type, 4 < SCORE_ROWS ? 4 : SCORE_ROWS, b, i, e0, dk);
                break;
            case 5:
                score_rows(type, 5 < SCORE_ROWS ? 5 : SCORE_ROWS, b, i, e0, dk);
                break;
            default:
                score_rows(type, 6 < SCORE_ROWS ? 6 : SCORE_ROWS, b, i, e0, dk);
            }
}

/* Sums for a tile of queries and 16 * SCORE_LANES entries, keys transposed: of one chain, of chain c with
 * those that are added to it first, of all. */
typedef struct attn_sums {
    vf v[SCORE_TILE][SCORE_LANES];
} attn_sums;

ALWAYS void add_sums(const int n, attn_sums *x, const attn_sums *y) {
    for (int i = 0; i < n; i++)
        for (int j = 0; j < SCORE_LANES; j++)
            x->v[i][j] = vf_add(x->v[i][j], y->v[i][j]);
}
ALWAYS void sum_chain(const int n, const float *const *q, const float *k, int64_t c, int64_t dk,
                      attn_sums *sum) {
    for (int i = 0; i < n; i++)
        for (int j = 0; j < SCORE_LANES; j++)
            sum->v[i][j] = vf_set1(0.0f);
    for (int64_t d = c; d < dk; d += 16) {
        vf key[SCORE_LANES];
        for (int j = 0; j < SCORE_LANES; j++)
            key[j] = vf_load(k + d * BLOCK + 16 * j);
        for (int i = 0; i < n; i++) {
            vf x = vf_set1(q[i][d]);
            for (int j = 0; j < SCORE_LANES; j++)
                sum->v[i][j] = vf_fma(x, key[j], sum->v[i][j]);
        }
    }
}
ALWAYS void sum_four(const int n, const float *const *q, const float *k, int64_t c, int64_t dk,
                     attn_sums *sum) {
    attn_sums x, y;
    sum_chain(n, q, k, c, dk, sum);
    sum_chain(n, q, k, c + 8, dk, &x);
    add_sums(n, sum, &x);
    sum_chain(n, q, k, c + 4, dk, &x);
    sum_chain(n, q, k, c + 12, dk, &y);
    add_sums(n, &x, &y);
    add_sums(n, sum, &x);
}
ALWAYS void score_tile(const int n, attn_block *b, int i0, int e0, int64_t dk) {
    const float *q[SCORE_TILE], *k = b->k + e0;
    for (int i = 0; i < n; i++)
        q[i] = b->q[i0 + i];
    attn_sums even, odd, x;
    sum_four(n, q, k, 0, dk, &even);
    sum_four(n, q, k, 2, dk, &x);
    add_sums(n, &even, &x);
    look_ahead(b);
    sum_four(n, q, k, 1, dk, &odd);
    sum_four(n, q, k, 3, dk, &x);
    add_sums(n, &odd, &x);
    look_ahead(b);
    add_sums(n, &even, &odd);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < SCORE_LANES; j++)
            vf_store(b->p[i0 + i] + e0 + 16 * j, even.v[i][j]);
}

ALWAYS void score_all(attn_block *b, int64_t dk) {
    for (int e0 = 0; e0 < b->n; e0 += 16 * SCORE_LANES) {
        int i = 0;
        for (; i + SCORE_TILE <= b->n_active; i += SCORE_TILE)
            score_tile(SCORE_TILE, b, i, e0, dk);
        switch (b->n_active - i) {
        case 3:
            score_tile(3 < SCORE_TILE ? 3 : 1, b, i, e0, dk);
            break;
        case 2:
            score_tile(2 < SCORE_TILE ? 2 : 1, b, i, e0, dk);
            break;
        case 1:
            score_tile(1, b, i, e0, dk);
            break;
        default:
            break;
        }
    }
}

ALWAYS void score_block(const lathe_kv_type type, attn_block *b, int64_t dk) {
    if (dk % 16 == 0 && b->n_active <= (dk < 48 ? SCORE_ROWS : SCORE_IN_PLACE)) {
        score_in_place(type, b, dk);
        return;
    }
    load_keys(type, dk, b);
    score_all(b, dk);
}

#define SCORER(name, type)                                                                                   \
    static void scores_##name(int64_t dk, attn_block *b) {                                                   \
        score_block(type, b, dk);                                                                            \
    }
SCORER(f32, LATHE_KV_F32)
SCORER(f16, LATHE_KV_F16)
SCORER(bf16, LATHE_KV_BF16)
SCORER(q8_0, LATHE_KV_Q8_0)
SCORER(q4_0, LATHE_KV_Q4_0)
#undef SCORER

static const loader scorers[LATHE_KV_TYPES] = {scores_f32, scores_f16, scores_bf16, scores_q8_0, scores_q4_0};

/* o += p v for n queries and lanes * 16 columns from d on. Rows of weight 0 are left out one by one where the
 * result would not be finite: they may hold anything. */
static void value_rows_one_by_one(const attn_block *b, int i, int64_t d, int64_t n, int64_t width) {
    for (int e = 0; e < b->n; e++) {
        float p = b->p[i][e];
        for (int64_t c = d; c < d + n && !(p >= 0.0f && p <= 0.0f); c += 16)
            vf_store(b->o[i] + c, vf_fma(vf_set1(p), vf_load(b->v + e * width + c), vf_load(b->o[i] + c)));
    }
}

/* in_cache: values are halves, read where they lie, which pays for a few tiles of queries. */
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
            look_ahead(b);
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
    if (type == LATHE_KV_F16 && b->n_active <= VALUE_IN_PLACE && dv % 16 == 0) {
        all_columns(true, b, width);
        return;
    }
    value_loaders[type](dv, b);
    all_columns(false, b, width);
}
