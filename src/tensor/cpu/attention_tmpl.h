/* attention_tmpl.h - fused attention (attention_args.h) over the 16 lanes of simd_*.h and lanes_*.h. Included
 * by attention_*.c, one for each instruction set.
 *
 * A block of 64 entries serves all queries of a tile: rows of the step times heads of the group. Lanes are
 * the width, for keys as for values. Few queries read both where they lie in the cache; for more, they are
 * converted to f32 once. */
#include <math.h>
#include <string.h>

#include "tensor/cpu/attention_types.h"

#include "tensor/cpu/attention_seen.h"

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

#include "tensor/cpu/attention_read.h"

#include "tensor/cpu/attention_products.h"

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
    scorers[a->k_type](a->dk, b);
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
    scorers[t->a->k_type](t->a->dk, b);
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

/* Rows of `bytes` in pieces, from place `at` on; returns the place after them. */
static int add_ahead(attn_block *b, int at, const uint8_t *p, size_t stride, const int32_t *row, int n,
                     size_t bytes) {
    for (size_t c = 0; c < bytes; c += 128)
        for (int i = 0; i < n; i++)
            b->ahead[at++] = p + (size_t) row[i] * stride + c;
    return at;
}

/* After head h of the block at e0 come the same rows of the next head, then the first head's of the next
 * block. So much ahead and not more: what is asked for a whole block ahead comes slower (27 against 33 GB/s).
 */
static void plan_ahead(const attn_tile *t, attn_block *b, int64_t h, int64_t e0, int64_t e1) {
    const lathe_attention_args *a = t->a;
    int32_t row[BLOCK];
    b->n_ahead = b->at_ahead = b->per_look = 0;
    if (++h == t->h1) {
        h = t->h0;
        e0 += BLOCK;
    }
    int n = e1 - e0 < BLOCK ? (int) (e1 - e0) : BLOCK;
    if (n <= 0)
        return;
    find_rows(a, h, e0, n, row);
    size_t k_bytes = type_offset(a->k_type, a->dk), v_bytes = type_offset(a->v_type, a->dv);
    int at = add_ahead(b, 0, a->k + (size_t) h * a->k_head, a->k_row, row, n, k_bytes);
    b->n_ahead = add_ahead(b, at, a->v + (size_t) h * a->v_head, a->v_row, row, n, v_bytes);
    b->per_look = (b->n_ahead + LOOKS - 1) / LOOKS;
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
    b->n_ahead = b->at_ahead = b->per_look = 0;
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
        scorers[a->k_type](a->dk, block);
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

static void to_half(const float *x, int64_t n, uint16_t *out) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        vf_to_half(vf_load(x + i), out + i);
    if (i < n) {
        float rest[16] = {0};
        uint16_t halves[16];
        memcpy(rest, x + i, (size_t) (n - i) * sizeof *x);
        vf_to_half(vf_load(rest), halves);
        memcpy(out + i, halves, (size_t) (n - i) * sizeof *out);
    }
}
