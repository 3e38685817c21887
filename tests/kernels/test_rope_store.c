/* Rotation and cache write in one op against ggml's rope and set_rows: every pairing, scaling, width and type
 * of cache; the same bits at any thread count and split of the rows; halves as ggml rounds them. */
#include "support/check.h"

#include <math.h>
#include <string.h>

#include <ggml.h>

#include "support/graph.h"
#include "tensor/cpu/attention_set.h"
#include "tensor/cpu/rope_store.h"

enum { T_MAX = 19, CACHE = 40, SLOTS = 8 };

typedef struct shape {
    int64_t width, heads, kv_heads;
    lathe_rope rope;
    bool factors;
} shape;

typedef struct result {
    float q[T_MAX * 12 * 96];
    uint8_t k[CACHE * 4 * 96 * 4], v[CACHE * 4 * 96 * 4];
} result;

typedef struct step {
    float *q, *k, *v, *factors;
    int32_t pos[T_MAX];
    int64_t rows[T_MAX];
} step;

static struct ggml_tensor *filled(struct ggml_context *ctx, enum ggml_type type, int64_t n0, int64_t n1,
                                  int64_t n2, const void *data) {
    struct ggml_tensor *t = ggml_new_tensor_3d(ctx, type, n0, n1, n2);
    memcpy(t->data, data, ggml_nbytes(t));
    return t;
}

/* Rows [t0, t1) of the step, into what `out` holds of the cache. */
static void run(const shape *s, const step *x, enum ggml_type type, int t0, int t1, lathe_rope_op *op,
                int n_threads, result *out) {
    struct ggml_context *ctx = ggml_init((struct ggml_init_params){.mem_size = (size_t) 8 << 20});
    const int64_t n = t1 - t0, d = s->width, H = s->heads, Hk = s->kv_heads;
    lathe_rope_store_in in = {
        .q = filled(ctx, GGML_TYPE_F32, d, H, n, x->q + t0 * d * H),
        .k = filled(ctx, GGML_TYPE_F32, d, Hk, n, x->k + t0 * d * Hk),
        .v = filled(ctx, GGML_TYPE_F32, d, Hk, n, x->v + t0 * d * Hk),
        .pos = filled(ctx, GGML_TYPE_I32, n, 1, 1, x->pos + t0),
        .rows = filled(ctx, GGML_TYPE_I64, n, 1, 1, x->rows + t0),
        .factors = s->factors ? filled(ctx, GGML_TYPE_F32, s->rope.n_rot / 2, 1, 1, x->factors) : NULL,
        .cache_k = filled(ctx, type, d * Hk, CACHE, 1, out->k),
        .cache_v = filled(ctx, type, d * Hk, CACHE, 1, out->v),
    };
    struct ggml_cgraph *gf = ggml_new_graph(ctx);
    struct ggml_tensor *q;
    if (op != NULL) {
        q = lathe_rope_store(op, ctx, &in);
        assert_non_null(q);
        ggml_build_forward_expand(gf, q);
    } else {
        const lathe_rope *r = &s->rope;
        struct ggml_tensor *turned[2] = {in.q, in.k};
        for (int i = 0; i < 2; i++)
            turned[i] =
                ggml_rope_ext(ctx, turned[i], in.pos, in.factors, r->n_rot,
                              r->neox ? GGML_ROPE_TYPE_NEOX : GGML_ROPE_TYPE_NORMAL, r->n_ctx_orig, r->base,
                              r->freq_scale, r->ext_factor, r->attn_factor, r->beta_fast, r->beta_slow);
        q = turned[0];
        ggml_build_forward_expand(gf, q);
        ggml_build_forward_expand(
            gf, ggml_set_rows(ctx, in.cache_k, ggml_reshape_2d(ctx, turned[1], d * Hk, n), in.rows));
        ggml_build_forward_expand(
            gf, ggml_set_rows(ctx, in.cache_v, ggml_reshape_2d(ctx, in.v, d * Hk, n), in.rows));
    }
    run_graph(gf, n_threads);
    memcpy(out->q + t0 * d * H, q->data, ggml_nbytes(q));
    memcpy(out->k, in.cache_k->data, ggml_nbytes(in.cache_k));
    memcpy(out->v, in.cache_v->data, ggml_nbytes(in.cache_v));
    ggml_free(ctx);
}

/* Two caches are alike: in f32 to `near`, else to a step of the type at the largest value of the 32 around.
 */
static void check_caches(enum ggml_type type, const uint8_t *a, const uint8_t *b, int64_t n, double near) {
    static float x[CACHE * 4 * 96], y[CACHE * 4 * 96];
    const double unit = type == GGML_TYPE_F16    ? 0x1p-10
                        : type == GGML_TYPE_BF16 ? 0x1p-7
                        : type == GGML_TYPE_Q8_0 ? 1.05 / 127
                                                 : 1.05 / 8;
    if (type == GGML_TYPE_F32) {
        memcpy(x, a, (size_t) n * sizeof *x);
        memcpy(y, b, (size_t) n * sizeof *y);
    } else {
        ggml_get_type_traits(type)->to_float(a, x, n);
        ggml_get_type_traits(type)->to_float(b, y, n);
    }
    for (int64_t block = 0; block < n; block += 32) {
        double largest = 0.0;
        for (int64_t i = block; i < block + 32; i++)
            largest = fmax(largest, fabs((double) x[i]));
        const double most = type == GGML_TYPE_F32 ? near : unit * largest + near;
        for (int64_t i = block; i < block + 32; i++)
            assert_true(fabs((double) x[i] - (double) y[i]) <= most);
    }
}

static const shape shapes[] = {
    {64, 6, 2, {.n_rot = 64, .n_ctx_orig = 2048, .base = 10000, .freq_scale = 1, .attn_factor = 1}, false},
    {64,
     4,
     4,
     {.n_rot = 64, .n_ctx_orig = 2048, .neox = true, .base = 5e5f, .freq_scale = 0.25f, .attn_factor = 1},
     true},
    {96,
     3,
     1,
     {.n_rot = 24, .n_ctx_orig = 512, .neox = true, .base = 10000, .freq_scale = 1, .attn_factor = 1},
     false},
    {32, 12, 4, {.n_rot = 18, .n_ctx_orig = 512, .base = 1e6f, .freq_scale = 1, .attn_factor = 0.7f}, false},
    {64,
     2,
     2,
     {.n_rot = 64,
      .n_ctx_orig = 256,
      .base = 10000,
      .freq_scale = 0.125f,
      .ext_factor = 1,
      .attn_factor = 1,
      .beta_fast = 32,
      .beta_slow = 1},
     false},
    {32,
     2,
     1,
     {.n_rot = 32,
      .n_ctx_orig = 256,
      .neox = true,
      .base = 10000,
      .freq_scale = 0.5f,
      .ext_factor = 0.6f,
      .attn_factor = 1.2f,
      .beta_fast = 32,
      .beta_slow = 1},
     true},
};
static const enum ggml_type types[] = {GGML_TYPE_F32, GGML_TYPE_F16, GGML_TYPE_BF16, GGML_TYPE_Q8_0,
                                       GGML_TYPE_Q4_0};

static void draw(lathe_rng *rng, float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        x[i] = (float) lathe_rng_normal(rng);
}

static void one_op_is_ggmls_four_to_rounding(void **state) {
    (void) state;
    lathe_rng rng = lathe_rng_new(5, 0, 0);
    static result a, b, c;
    static float q[T_MAX * 12 * 96], k[T_MAX * 4 * 96], v[T_MAX * 4 * 96], factors[48];
    step x = {.q = q, .k = k, .v = v, .factors = factors};
    for (size_t i = 0; i < LATHE_LEN(shapes); i++)
        for (size_t j = 0; j < LATHE_LEN(types); j++) {
            const shape *s = &shapes[i];
            /* A blend of angles is rounded in one way with multiply-adds and in another without: the last bit
             * of an angle of up to T_MAX, times values of up to 5. */
            const bool blends = s->rope.ext_factor > 0.0f;
            draw(&rng, q, LATHE_LEN(q));
            draw(&rng, k, LATHE_LEN(k));
            draw(&rng, v, LATHE_LEN(v));
            for (int f = 0; f < 48; f++)
                factors[f] = 1.0f + 0.1f * (float) f;
            for (int t = 0; t < T_MAX; t++) { /* places in the cache in no order */
                x.rows[t] = (t * 7 + 3) % CACHE;
                x.pos[t] = t < 10 || blends ? t : 100 * t;
            }
            memset(&a, 0, sizeof a);
            memset(&b, 0, sizeof b);
            memset(&c, 0, sizeof c);
            lathe_rope_op op;
            lathe_error err = {0};
            check_ok(lathe_rope_op_init(&op, &s->rope, lathe_cpu_best(NULL), SLOTS, &err), err);
            run(s, &x, types[j], 0, T_MAX, NULL, 1, &a);
            run(s, &x, types[j], 0, T_MAX, &op, 1, &b);
            const double bound = blends ? 1.2e-5 : 3e-6;
            double turned = 0.0;
            const int64_t n_q = T_MAX * s->width * s->heads, n_cache = CACHE * s->width * s->kv_heads;
            for (int64_t e = 0; e < n_q; e++) {
                assert_true(fabs((double) a.q[e] - (double) b.q[e]) <= bound);
                turned = fmax(turned, fabs((double) a.q[e] - (double) q[e]));
            }
            assert_true(turned > 0.1);
            check_caches(types[j], a.k, b.k, n_cache, bound);
            if (types[j] == GGML_TYPE_Q8_0 || types[j] == GGML_TYPE_Q4_0)
                check_caches(types[j], a.v, b.v, n_cache, bound);
            else
                assert_memory_equal(a.v, b.v, (size_t) n_cache * ggml_type_size(types[j]));
            /* Angles that are kept give the same bits again, as do threads and single rows. */
            run(s, &x, types[j], 0, T_MAX, &op, 2, &c);
            assert_memory_equal(&b, &c, sizeof b);
            memset(&c, 0, sizeof c);
            for (int t = 0; t < T_MAX; t++)
                run(s, &x, types[j], t, t + 1, &op, 1, &c);
            assert_memory_equal(&b, &c, sizeof b);
            lathe_rope_op_free(&op);
        }
}

static void what_does_not_fit_is_left_to_ggml(void **state) {
    (void) state;
    struct ggml_context *ctx = ggml_init((struct ggml_init_params){.mem_size = (size_t) 8 << 20});
    lathe_rope_op op;
    lathe_error err = {0};
    check_ok(lathe_rope_op_init(&op, &shapes[0].rope, lathe_cpu_best(NULL), 4, &err), err);
    const lathe_rope_store_in good = {.q = ggml_new_tensor_3d(ctx, GGML_TYPE_F32, 64, 6, 3),
                                      .k = ggml_new_tensor_3d(ctx, GGML_TYPE_F32, 64, 2, 3),
                                      .v = ggml_new_tensor_3d(ctx, GGML_TYPE_F32, 64, 2, 3),
                                      .pos = ggml_new_tensor_1d(ctx, GGML_TYPE_I32, 3),
                                      .rows = ggml_new_tensor_1d(ctx, GGML_TYPE_I64, 3),
                                      .cache_k = ggml_new_tensor_2d(ctx, GGML_TYPE_F16, 128, 8),
                                      .cache_v = ggml_new_tensor_2d(ctx, GGML_TYPE_F16, 128, 8)};
    assert_non_null(lathe_rope_store(&op, ctx, &good));
    lathe_rope_store_in bad = good;
    bad.cache_v = ggml_new_tensor_2d(ctx, GGML_TYPE_F16, 64, 8);
    assert_null(lathe_rope_store(&op, ctx, &bad));
    bad = good;
    bad.cache_k = ggml_new_tensor_2d(ctx, GGML_TYPE_Q4_1, 128, 8);
    assert_null(lathe_rope_store(&op, ctx, &bad));
    bad = good;
    bad.pos = ggml_new_tensor_1d(ctx, GGML_TYPE_I32, 2);
    assert_null(lathe_rope_store(&op, ctx, &bad));
    bad = good;
    bad.k = ggml_new_tensor_3d(ctx, GGML_TYPE_F32, 32, 4, 3);
    assert_null(lathe_rope_store(&op, ctx, &bad));
    lathe_rope_op_free(&op);
    ggml_free(ctx);
}

/* All halves there and back, and the values half way between them and just beside. */
static void halves_are_rounded_to_nearest_even(void **state) {
    (void) state;
    size_t n_sets;
    const lathe_cpu *const *sets = lathe_cpu_sets(&n_sets);
    for (size_t s = 0; s < n_sets; s++) {
        if (!sets[s]->is_usable())
            continue;
        for (uint32_t h = 0; h < 0x7c00; h++) {
            const float low = lathe_half_to_float((uint16_t) h),
                        high = lathe_half_to_float((uint16_t) (h + 1));
            const float middle = h == 0x7bff ? 65520.0f : 0.5f * (low + high);
            const float x[6] = {low,    -low, middle, nextafterf(middle, 0.0f), nextafterf(middle, INFINITY),
                                -middle};
            uint16_t out[6], want[6];
            sets[s]->attention->to_half(x, 6, out);
            ggml_fp32_to_fp16_row(x, want, 6);
            assert_memory_equal(out, want, sizeof out);
            for (int i = 0; i < 6; i++)
                assert_int_equal(lathe_float_to_half(x[i]), want[i]);
        }
        const float odd[4] = {INFINITY, -INFINITY, NAN, 1e30f};
        uint16_t out[4];
        sets[s]->attention->to_half(odd, 4, out);
        assert_int_equal(out[0], 0x7c00);
        assert_int_equal(out[1], 0xfc00);
        assert_true((out[2] & 0x7c00) == 0x7c00 && (out[2] & 0x3ff) != 0);
        assert_int_equal(out[3], 0x7c00);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_op_is_ggmls_four_to_rounding),
        cmocka_unit_test(what_does_not_fit_is_left_to_ggml),
        cmocka_unit_test(halves_are_rounded_to_nearest_even),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
