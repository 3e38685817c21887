/* Fused attention: every instruction set against doubles over random shapes and all of its features; the bits
 * across sets, steps, chunks and unseen rows; what NaN and infinity do. */
#include "support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <ggml.h>

#include "bench_attention.h"
#include "lathe/base.h"
#include "tensor/cpu/attention_set.h"
#include "tensor/cpu/cpu.h"

enum { HIDDEN = 0xfc00, CANARY = 12345 };

static const enum ggml_type types[] = {GGML_TYPE_F32, GGML_TYPE_F16, GGML_TYPE_BF16, GGML_TYPE_Q8_0,
                                       GGML_TYPE_Q4_0};

/* A random step, and the cache as doubles. */
typedef struct step {
    lathe_attention_args a;
    int64_t n_rows; /* of the cache */
    float *q, *out, *lse, *mass, *slopes, *sinks;
    uint8_t *k, *v;
    double *kd, *vd; /* [n_rows, Hk, d] */
    int32_t *rows, *seen;
    lathe_kv_range ranges[3];
    uint16_t *mask;
} step;

static int64_t below(lathe_rng *rng, uint32_t n) {
    return (int64_t) lathe_rng_below(rng, n);
}

static uint8_t *random_cache(lathe_rng *rng, int64_t n_rows, int64_t width, enum ggml_type type,
                             double **as_double) {
    size_t n = (size_t) (n_rows * width);
    float *x = malloc(n * sizeof *x);
    *as_double = malloc(n * sizeof **as_double);
    for (size_t i = 0; i < n; i++)
        x[i] = (float) lathe_rng_normal(rng);
    uint8_t *out = malloc((size_t) n_rows * ggml_row_size(type, width) + 64);
    if (type == GGML_TYPE_F32)
        memcpy(out, x, n * sizeof *x);
    else
        ggml_quantize_chunk(type, x, out, 0, n_rows, width, NULL);
    if (type != GGML_TYPE_F32)
        ggml_get_type_traits(type)->to_float(out, x, (int64_t) n);
    for (size_t i = 0; i < n; i++)
        (*as_double)[i] = (double) x[i];
    free(x);
    return out;
}

static int32_t row_of(const step *s, int64_t h, int64_t e) {
    const lathe_attention_args *a = &s->a;
    if (a->rows != NULL)
        return a->rows[h * a->rows_head + e];
    for (int32_t r = 0; r < a->n_ranges; r++) {
        if (e < a->ranges[r].n)
            return a->ranges[r].first + (int32_t) e;
        e -= a->ranges[r].n;
    }
    return (int32_t) e;
}

static bool sees(const step *s, int64_t t, int64_t e) {
    const lathe_attention_args *a = &s->a;
    if (a->seen != NULL && (e < a->seen[2 * t] || e >= a->seen[2 * t + 1]))
        return false;
    return a->mask == NULL || e < a->mask_first || a->mask[t * a->mask_stride + e - a->mask_first] != HIDDEN;
}

/* out[dv], its lse, and p[n_kv]. */
static double reference(const step *s, int64_t t, int64_t head, double *out, double *p) {
    const lathe_attention_args *a = &s->a;
    int64_t h = head / (a->n_head / a->n_head_kv);
    double largest = a->sinks != NULL ? (double) a->sinks[head] : -INFINITY;
    for (int64_t e = 0; e < a->n_kv; e++) {
        p[e] = -INFINITY;
        if (!sees(s, t, e))
            continue;
        double x = 0.0;
        for (int64_t d = 0; d < a->dk; d++)
            x += s->kd[(row_of(s, h, e) * a->n_head_kv + h) * a->dk + d] *
                 (double) a->q[t * a->q_row + head * a->q_head + d];
        x *= (double) a->scale;
        if (a->softcap > 0.0f)
            x = (double) a->softcap * tanh(x / (double) a->softcap);
        if (a->mask != NULL && e >= a->mask_first)
            x += (a->slopes != NULL ? (double) a->slopes[head] : 1.0) *
                 (double) ggml_fp16_to_fp32(a->mask[t * a->mask_stride + e - a->mask_first]);
        p[e] = x;
        largest = x > largest ? x : largest;
    }
    double sum = a->sinks != NULL ? exp((double) a->sinks[head] - largest) : 0.0;
    for (int64_t e = 0; e < a->n_kv; e++)
        sum += p[e] > -INFINITY ? exp(p[e] - largest) : 0.0;
    memset(out, 0, (size_t) a->dv * sizeof *out);
    for (int64_t e = 0; e < a->n_kv; e++) {
        p[e] = p[e] > -INFINITY ? exp(p[e] - largest) / sum : 0.0;
        for (int64_t d = 0; d < a->dv && p[e] > 0.0; d++)
            out[d] += p[e] * s->vd[(row_of(s, h, e) * a->n_head_kv + h) * a->dv + d];
    }
    return sum > 0.0 ? largest + log(sum) : -INFINITY;
}

static void random_step(lathe_rng *rng, int c, step *s) {
    *s = (step){0};
    lathe_attention_args *a = &s->a;
    enum ggml_type type_k = types[c % 5], type_v = types[(c / 5) % 5];
    a->k_type = (lathe_kv_type) (c % 5);
    a->v_type = (lathe_kv_type) (c / 5 % 5);
    a->n_head_kv = 1 + below(rng, 3);
    a->n_head = a->n_head_kv * (1 + below(rng, 5));
    a->dk = a->k_type >= LATHE_KV_Q8_0 ? 32 * (1 + below(rng, 3)) : 1 + below(rng, 100);
    a->dv = a->v_type >= LATHE_KV_Q8_0 ? 32 * (1 + below(rng, 3)) : 1 + below(rng, 100);
    a->n_q = 1 + below(rng, c % 7 == 0 ? 80 : 12);
    a->n_kv = 1 + below(rng, c % 3 == 0 ? 1300 : 150);
    s->n_rows = a->n_kv + 3 + below(rng, 20);
    a->q_head = a->dk + 1; /* strides with gaps */
    a->q_row = a->n_head * a->q_head + 3;
    s->q = malloc((size_t) (a->n_q * a->q_row) * sizeof *s->q);
    for (int64_t i = 0; i < a->n_q * a->q_row; i++)
        s->q[i] = (float) lathe_rng_normal(rng);
    a->q = s->q;
    a->k = s->k = random_cache(rng, s->n_rows, a->n_head_kv * a->dk, type_k, &s->kd);
    a->v = s->v = random_cache(rng, s->n_rows, a->n_head_kv * a->dv, type_v, &s->vd);
    a->k_head = ggml_row_size(type_k, a->dk);
    a->v_head = ggml_row_size(type_v, a->dv);
    a->k_row = (size_t) a->n_head_kv * a->k_head;
    a->v_row = (size_t) a->n_head_kv * a->v_head;
    a->scale = 0.3f;
    a->softcap = c % 4 == 1 ? 5.0f : 0.0f;
    s->rows = malloc((size_t) (a->n_kv * a->n_head_kv) * sizeof *s->rows);
    s->seen = malloc((size_t) (2 * a->n_q) * sizeof *s->seen);
    s->mask = malloc((size_t) (a->n_q * a->n_kv) * sizeof *s->mask);
    s->slopes = malloc((size_t) a->n_head * sizeof *s->slopes);
    s->sinks = malloc((size_t) a->n_head * sizeof *s->sinks);
    for (int64_t i = 0; i < a->n_kv * a->n_head_kv; i++)
        s->rows[i] = (int32_t) below(rng, (uint32_t) s->n_rows);
    for (int64_t h = 0; h < a->n_head; h++) {
        s->slopes[h] = 1.0f / (float) (2 << h % 8);
        s->sinks[h] = (float) lathe_rng_normal(rng);
    }
    for (int64_t t = 0; t < a->n_q; t++) {
        s->seen[2 * t] = (int32_t) below(rng, (uint32_t) a->n_kv);
        s->seen[2 * t + 1] = s->seen[2 * t] + (int32_t) below(rng, (uint32_t) (a->n_kv - s->seen[2 * t]) + 1);
    }
    static const uint16_t values[] = {HIDDEN, 0, 0, 0xb800, 0xc900}; /* -0.5, -10 */
    for (int64_t i = 0; i < a->n_q * a->n_kv; i++)
        s->mask[i] = values[below(rng, 5)];
    int how = (int) below(rng, 4);
    if (how == 1 || how == 2) {
        a->rows = s->rows;
        a->rows_head = how == 2 ? a->n_kv : 0;
    } else if (how == 3) { /* a ring that begins in the middle, behind one row that is kept */
        int32_t n = (int32_t) a->n_kv, cut = n / 3;
        s->ranges[0] = (lathe_kv_range){0, n > 0 ? 1 : 0};
        s->ranges[1] = (lathe_kv_range){cut + 2, n - cut - 1};
        s->ranges[2] = (lathe_kv_range){1, cut};
        a->ranges = s->ranges;
        a->n_ranges = 3;
    }
    if (below(rng, 2) == 0)
        a->seen = s->seen;
    if (below(rng, 3) > 0) {
        a->mask = s->mask;
        a->mask_stride = a->n_kv;
        a->mask_first = below(rng, 2) == 0 ? 0 : below(rng, (uint32_t) a->n_kv);
    }
    if (c % 5 == 2)
        a->slopes = s->slopes;
    if (c % 5 >= 3)
        a->sinks = s->sinks;
    size_t n_out = (size_t) (a->n_q * a->n_head * a->dv);
    a->out = s->out = malloc((n_out + 1) * sizeof *s->out);
    a->lse = s->lse = malloc((size_t) (a->n_q * a->n_head + 1) * sizeof *s->lse);
    s->mass = malloc((size_t) (a->n_head * a->n_kv + 1) * sizeof *s->mass);
}

static void free_step(step *s) {
    void *all[] = {s->q, s->out, s->lse, s->mass, s->slopes, s->sinks, s->k,
                   s->v, s->kd,  s->vd,  s->rows, s->seen,   s->mask};
    for (size_t i = 0; i < LATHE_LEN(all); i++)
        free(all[i]);
}

static void run_whole(const lathe_cpu *cpu, const lathe_attention_args *a) {
    for (int64_t h = 0; h < a->n_head_kv; h++)
        for (int64_t t = 0; t < a->n_q; t += lathe_attention_tile_rows(a))
            cpu->attention->tile(a, h, t);
}

/* As several threads do it, in any order: short steps only. */
static void run_chunks(const lathe_cpu *cpu, const lathe_attention_args *a) {
    int64_t n = lathe_attention_n_chunks(a), cut = a->n_head_kv / 2;
    for (int64_t h0 = 0, h1 = cut > 0 ? cut : a->n_head_kv; h0 < a->n_head_kv; h0 = h1, h1 = a->n_head_kv) {
        size_t stride = lathe_attention_part(a, h1 - h0);
        float *parts = malloc((size_t) (n + 1) * stride * sizeof *parts);
        for (int64_t c = n; c-- > 0;)
            cpu->attention->chunk(a, h0, h1, c, parts + (size_t) c * stride);
        cpu->attention->merge(a, h0, h1, parts, stride, parts + (size_t) n * stride);
        free(parts);
    }
}

static void run_heads(const lathe_cpu *cpu, const lathe_attention_args *a) {
    float *room = malloc(2 * lathe_attention_part(a, a->n_head_kv) * sizeof *room);
    cpu->attention->heads(a, 0, a->n_head_kv, room);
    free(room);
}

static void every_set_agrees_with_doubles(void **state) {
    (void) state;
    lathe_rng rng = lathe_rng_new(21, 0, 0);
    size_t n_sets;
    const lathe_cpu *const *sets = lathe_cpu_sets(&n_sets);
    for (int c = 0; c < 100; c++) {
        step s;
        random_step(&rng, c, &s);
        lathe_attention_args *a = &s.a;
        size_t n_out = (size_t) (a->n_q * a->n_head * a->dv), n_lse = (size_t) (a->n_q * a->n_head),
               n_mass = (size_t) (a->n_head * a->n_kv);
        double *out = malloc(n_out * sizeof *out), *lse = malloc(n_lse * sizeof *lse),
               *mass = calloc(n_mass, sizeof *mass), *p = malloc((size_t) a->n_kv * sizeof *p);
        float *first = malloc((n_out + n_lse) * sizeof *first);
        for (int64_t t = 0; t < a->n_q; t++)
            for (int64_t h = 0; h < a->n_head; h++) {
                int64_t i = t * a->n_head + h;
                lse[i] = reference(&s, t, h, out + i * a->dv, p);
                for (int64_t e = 0; e < a->n_kv; e++)
                    mass[h * a->n_kv + e] += p[e];
            }
        for (size_t i = 0; i < n_sets; i++) {
            if (!sets[i]->is_usable())
                continue;
            s.out[n_out] = s.lse[n_lse] = s.mass[n_mass] = CANARY;
            memset(s.mass, 0, n_mass * sizeof *s.mass);
            a->mass = s.mass;
            run_whole(sets[i], a);
            a->mass = NULL;
            check_near(s.out[n_out], CANARY, 0.0);
            check_near(s.lse[n_lse], CANARY, 0.0);
            check_near(s.mass[n_mass], CANARY, 0.0);
            for (size_t j = 0; j < n_out; j++)
                check_near(s.out[j], out[j], 5e-6);
            for (size_t j = 0; j < n_lse; j++)
                if (lse[j] > -INFINITY)
                    check_near(s.lse[j], lse[j], 1e-5);
                else
                    assert_true(s.lse[j] == -INFINITY);
            for (size_t j = 0; j < n_mass; j++)
                check_near(s.mass[j], mass[j], 1e-5 * (double) a->n_q);
            /* All sets, and chunks in any order: the same bits. */
            if (i == 0) {
                memcpy(first, s.out, n_out * sizeof *first);
                memcpy(first + n_out, s.lse, n_lse * sizeof *first);
            }
            assert_memory_equal(first, s.out, n_out * sizeof *first);
            assert_memory_equal(first + n_out, s.lse, n_lse * sizeof *first);
            if (lathe_attention_n_tiles(a) == 1) {
                memset(s.out, 0x7f, n_out * sizeof *s.out);
                run_chunks(sets[i], a);
                assert_memory_equal(first, s.out, n_out * sizeof *first);
                memset(s.out, 0x7f, n_out * sizeof *s.out);
                run_heads(sets[i], a);
                assert_memory_equal(first, s.out, n_out * sizeof *first);
            }
            /* Each query alone, and with what it sees gathered without holes. */
            lathe_attention_args b = *a;
            b.n_q = 1;
            for (int64_t t = 0; t < a->n_q; t++) {
                b.q = a->q + t * a->q_row;
                b.seen = a->seen != NULL ? a->seen + 2 * t : NULL;
                b.mask = a->mask != NULL ? a->mask + t * a->mask_stride : NULL;
                memset(s.out, 0x7f, (size_t) (a->n_head * a->dv) * sizeof *s.out);
                run_whole(sets[i], &b);
                assert_memory_equal(first + t * a->n_head * a->dv, s.out,
                                    (size_t) (a->n_head * a->dv) * sizeof *first);
            }
        }
        free(out);
        free(lse);
        free(mass);
        free(p);
        free(first);
        free_step(&s);
    }
}

/* A step of n_q rows over n_kv, f32, one head of width 16, all seen by a mask of zeros. */
static void plain_step(lathe_rng *rng, int64_t n_q, int64_t n_kv, step *s) {
    *s = (step){.n_rows = n_kv};
    s->a = (lathe_attention_args){.n_q = n_q,
                                  .n_kv = n_kv,
                                  .n_head = 1,
                                  .n_head_kv = 1,
                                  .dk = 16,
                                  .dv = 16,
                                  .q_row = 16,
                                  .q_head = 16,
                                  .k_row = 64,
                                  .k_head = 64,
                                  .v_row = 64,
                                  .v_head = 64,
                                  .scale = 0.25f,
                                  .mask_stride = n_kv};
    double *unused;
    s->a.q = s->q = (float *) (void *) random_cache(rng, n_q, 16, GGML_TYPE_F32, &unused);
    free(unused);
    s->a.k = s->k = random_cache(rng, n_kv, 16, GGML_TYPE_F32, &s->kd);
    s->a.v = s->v = random_cache(rng, n_kv, 16, GGML_TYPE_F32, &s->vd);
    s->a.mask = s->mask = calloc((size_t) (n_q * n_kv), sizeof *s->mask);
    s->a.out = s->out = malloc((size_t) (n_q * 16) * sizeof *s->out);
    s->a.lse = s->lse = malloc((size_t) n_q * sizeof *s->lse);
}

static void strange_values_stay_where_they_are_seen(void **state) {
    /* Rows that a query does not see may hold NaN and infinity, in every position of blocks and chunks; a
     * query that sees them gets NaN; the others of the step do not. A kernel that multiplies hidden rows by
     * zero fails. */
    (void) state;
    lathe_rng rng = lathe_rng_new(22, 0, 0);
    size_t n_sets;
    const lathe_cpu *const *sets = lathe_cpu_sets(&n_sets);
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int c = 0; c < 60; c++) {
        step s;
        int64_t n_kv = 1 + below(&rng, 1200), at = below(&rng, (uint32_t) n_kv);
        plain_step(&rng, 3, n_kv, &s);
        float *clean = malloc(48 * sizeof *clean);
        bool in_values = c % 2 == 0;
        float *cell = (float *) (void *) (in_values ? s.v : s.k) + at * 16 + below(&rng, 16), was = *cell;
        s.mask[at] = s.mask[2 * n_kv + at] = HIDDEN; /* only row 1 sees it */
        for (size_t i = 0; i < n_sets; i++) {
            if (!sets[i]->is_usable())
                continue;
            *cell = was;
            run_whole(sets[i], &s.a);
            memcpy(clean, s.out, 48 * sizeof *clean);
            *cell = bad[c % 3];
            run_whole(sets[i], &s.a);
            assert_memory_equal(clean, s.out, 16 * sizeof *clean);
            assert_memory_equal(clean + 32, s.out + 32, 16 * sizeof *clean);
            int n_finite = 0;
            for (int d = 0; d < 16; d++)
                n_finite += isfinite(s.out[16 + d]);
            /* A value spoils its own column; a NaN or +infinity score all; -infinity is a weight of 0 (its
             * sign follows the query's). */
            if (in_values)
                assert_int_equal(n_finite, 15);
            else if (c % 3 == 0)
                assert_int_equal(n_finite, 0);
            else if (n_kv > 1)
                assert_true(n_finite == 0 || n_finite == 16);
        }
        free(clean);
        free_step(&s);
    }
}

static void extreme_scores_do_not_overflow(void **state) {
    /* Scores up to 1e38 apart: the largest takes all; equal ones share. */
    (void) state;
    lathe_rng rng = lathe_rng_new(23, 0, 0);
    size_t n_sets;
    const lathe_cpu *const *sets = lathe_cpu_sets(&n_sets);
    step s;
    plain_step(&rng, 1, 700, &s);
    memset(s.q, 0, 64);
    s.q[0] = s.a.scale = 1.0f;
    float *k = (float *) (void *) s.k, *v = (float *) (void *) s.v;
    for (int e = 0; e < 700; e++)
        k[16 * e] = e == 650 || e == 3 ? 2e38f : e % 2 == 0 ? -3e38f : 1e38f;
    for (size_t i = 0; i < n_sets; i++) {
        if (!sets[i]->is_usable())
            continue;
        run_whole(sets[i], &s.a);
        for (int d = 0; d < 16; d++)
            check_near(s.out[d], 0.5 * ((double) v[16 * 650 + d] + (double) v[16 * 3 + d]), 1e-6);
    }
    free_step(&s);
}

static void nothing_seen_gives_zeros(void **state) {
    (void) state;
    lathe_rng rng = lathe_rng_new(24, 0, 0);
    size_t n_sets;
    const lathe_cpu *const *sets = lathe_cpu_sets(&n_sets);
    step s;
    plain_step(&rng, 1, 130, &s);
    for (int e = 0; e < 130; e++)
        s.mask[e] = HIDDEN;
    const float sink = 2.5f;
    for (size_t i = 0; i < n_sets; i++) {
        if (!sets[i]->is_usable())
            continue;
        s.a.sinks = NULL;
        run_whole(sets[i], &s.a);
        assert_true(s.lse[0] == -INFINITY);
        s.a.sinks = &sink;
        run_chunks(sets[i], &s.a);
        check_near(s.lse[0], 2.5, 1e-6);
        for (int d = 0; d < 16; d++)
            check_near(s.out[d], 0.0, 0.0);
    }
    free_step(&s);
}

static void holes_do_not_change_bits(void **state) {
    /* What a query sees behind its first hole counts as if it lay without one: the nodes of a token tree give
     * the bits that plain decoding gives. Over lists of rows the plain form is easily had. */
    (void) state;
    lathe_rng rng = lathe_rng_new(25, 0, 0);
    size_t n_sets;
    const lathe_cpu *const *sets = lathe_cpu_sets(&n_sets);
    for (int c = 0; c < 20; c++) {
        step s;
        int64_t n_kv = 100 + below(&rng, 1300), hole = below(&rng, 90), n = 0;
        plain_step(&rng, 2, n_kv, &s);
        int32_t *rows = malloc((size_t) n_kv * sizeof *rows);
        for (int64_t e = 0; e < n_kv; e++) {
            if (e >= hole && below(&rng, 3) == 0)
                s.mask[n_kv + e] = HIDDEN;
            else
                rows[n++] = (int32_t) e;
        }
        for (size_t i = 0; i < n_sets; i++) {
            if (!sets[i]->is_usable())
                continue;
            float expected[16];
            lathe_attention_args a = s.a;
            a.n_q = 1;
            a.q += 16;
            a.mask = NULL;
            a.rows = rows;
            a.n_kv = n;
            run_whole(sets[i], &a);
            memcpy(expected, s.out, sizeof expected);
            run_whole(sets[i], &s.a);
            assert_memory_equal(expected, s.out + 16, sizeof expected);
            run_chunks(sets[i], &s.a);
            assert_memory_equal(expected, s.out + 16, sizeof expected);
            /* In place the numbers are the same, and only they. */
            s.a.in_place = true;
            run_whole(sets[i], &s.a);
            for (int d = 0; d < 16; d++)
                check_near(s.out[16 + d], (double) expected[d], 1e-6);
            s.a.in_place = false;
        }
        free(rows);
        free_step(&s);
    }
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--bench") == 0) {
        bench_attention();
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_set_agrees_with_doubles),
        cmocka_unit_test(strange_values_stay_where_they_are_seen),
        cmocka_unit_test(extreme_scores_do_not_overflow),
        cmocka_unit_test(nothing_seen_gives_zeros),
        cmocka_unit_test(holes_do_not_change_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
