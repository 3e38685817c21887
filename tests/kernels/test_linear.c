/* Packed weights inside a ggml graph: near ggml's own product, the same bits at any thread count and batch,
 * and absent where a weight is no candidate. */
#include "support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <ggml.h>

#include "support/graph.h"
#include "tensor/cpu/linear.h"

enum { COLS = 512, ROWS = 77, T = 9 };

static struct ggml_context *new_context(void) {
    struct ggml_context *ctx = ggml_init((struct ggml_init_params){.mem_size = (size_t) 16 << 20});
    assert_non_null(ctx);
    return ctx;
}

static struct ggml_tensor *random_weight(struct ggml_context *ctx, lathe_rng *rng, enum ggml_type type) {
    struct ggml_tensor *w = ggml_new_tensor_2d(ctx, type, COLS, ROWS);
    float *values = malloc(sizeof(float) * COLS * ROWS);
    for (int i = 0; i < COLS * ROWS; i++)
        values[i] = (float) lathe_rng_normal(rng);
    ggml_quantize_chunk(type, values, w->data, 0, ROWS, COLS, NULL);
    free(values);
    return w;
}

/* y of columns [first, first + n) of x, by our ops. */
static void ours(struct ggml_tensor *w, const float *x, int n, int n_threads, float *y) {
    struct ggml_context *ctx = new_context();
    struct ggml_tensor *in = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, COLS, n);
    memcpy(in->data, x, sizeof(float) * COLS * (size_t) n);
    struct ggml_tensor *out = lathe_packed_linear(NULL, ctx, w, in);
    assert_non_null(out);
    /* A second product with the same input shares its quantised form. */
    assert_ptr_equal(lathe_packed_linear(NULL, ctx, w, in)->src[0], out->src[0]);
    assert_true((out->src[0] == in) == (w->type == GGML_TYPE_F16 || w->type == GGML_TYPE_BF16));
    struct ggml_cgraph *gf = ggml_new_graph(ctx);
    ggml_build_forward_expand(gf, out);
    run_graph(gf, n_threads);
    memcpy(y, out->data, sizeof(float) * ROWS * (size_t) n);
    ggml_free(ctx);
}

static void packed_product_is_ggmls_to_the_rounding_of_activations(void **state) {
    /* Both round activations to 8 bits, by 32 or by 256: 0.6 % each of the result's size (engine.md 2.8). A
     * wrong order of rows or nibbles gives unrelated numbers: a relative error of 1.4. */
    (void) state;
    static const enum ggml_type types[] = {GGML_TYPE_Q4_0, GGML_TYPE_Q8_0, GGML_TYPE_Q4_K, GGML_TYPE_Q5_K,
                                           GGML_TYPE_Q6_K, GGML_TYPE_F16,  GGML_TYPE_BF16, GGML_TYPE_Q5_0};
    lathe_rng rng = lathe_rng_new(11, 0, 0);
    for (size_t i = 0; i < LATHE_LEN(types); i++) {
        struct ggml_context *ctx = new_context();
        struct ggml_tensor *w = random_weight(ctx, &rng, types[i]);
        struct ggml_tensor *x = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, COLS, T);
        for (int k = 0; k < COLS * T; k++)
            ((float *) x->data)[k] = (float) lathe_rng_normal(&rng);
        struct ggml_tensor *y = ggml_mul_mat(ctx, w, x);
        struct ggml_cgraph *gf = ggml_new_graph(ctx);
        ggml_build_forward_expand(gf, y);
        run_graph(gf, 1);

        lathe_packed_set *set = NULL;
        lathe_error err = {0};
        check_ok(lathe_packed_set_new(lathe_cpu_best(NULL), 1, &set, &err), err);
        check_ok(lathe_packed_set_add(set, w, false, &err), err);
        assert_non_null(w->extra);
        float all[ROWS * T], two[ROWS * T], split[ROWS * T];
        ours(w, x->data, T, 1, all);
        double distance = 0.0, size = 0.0;
        for (int k = 0; k < ROWS * T; k++) {
            double g = (double) ((float *) y->data)[k];
            distance += (g - (double) all[k]) * (g - (double) all[k]);
            size += g * g;
        }
        assert_true(sqrt(distance / size) < 0.015);

        ours(w, x->data, T, 2, two);
        assert_memory_equal(two, all, sizeof all);
        for (int t = 0; t < T; t += 3)
            ours(w, (float *) x->data + (size_t) t * COLS, 3, 1, split + (size_t) t * ROWS);
        assert_memory_equal(split, all, sizeof all);
        lathe_packed_set_free(set);
        ggml_free(ctx);
    }
}

static void other_weights_stay_with_ggml(void **state) {
    (void) state;
    struct ggml_context *ctx = new_context();
    lathe_packed_set *set = NULL;
    lathe_error err = {0};
    check_ok(lathe_packed_set_new(lathe_cpu_best(NULL), 4, &set, &err), err);
    struct ggml_tensor *f32 = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, 32, 16);
    struct ggml_tensor *cube = ggml_new_tensor_3d(ctx, GGML_TYPE_Q8_0, 32, 16, 2);
    struct ggml_tensor *x = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, 32, 1);
    check_ok(lathe_packed_set_add(set, f32, false, &err), err);
    check_ok(lathe_packed_set_add(set, cube, false, &err), err);
    /* q5_0 is packed half as large again, so only up to 4 Mi weights. */
    struct ggml_tensor *large = ggml_new_tensor_2d(ctx, GGML_TYPE_Q5_0, 4096, 1025);
    struct ggml_tensor *largest = ggml_new_tensor_2d(ctx, GGML_TYPE_Q5_0, 4096, 1024);
    memset(largest->data, 0, ggml_nbytes(largest));
    check_ok(lathe_packed_set_add(set, large, false, &err), err);
    check_ok(lathe_packed_set_add(set, largest, false, &err), err);
    assert_null(large->extra);
    assert_non_null(largest->extra);
    assert_null(f32->extra);
    assert_null(cube->extra);
    assert_null(lathe_packed_linear(NULL, ctx, f32, x));
    lathe_packed_set_free(set);
    ggml_free(ctx);
}

/* y of all columns of x by ggml's norm and gate in front, and by ours, which fuse them with the quantisation.
 */
static double relative_distance(const float *a, const float *b, int n) {
    double distance = 0.0, size = 0.0;
    for (int i = 0; i < n; i++) {
        distance += ((double) a[i] - (double) b[i]) * ((double) a[i] - (double) b[i]);
        size += (double) a[i] * (double) a[i];
    }
    return sqrt(distance / size);
}

static struct ggml_tensor *random_floats(struct ggml_context *ctx, lathe_rng *rng, int64_t n0, int64_t n1) {
    struct ggml_tensor *t = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, n0, n1);
    for (int64_t i = 0; i < n0 * n1; i++)
        ((float *) t->data)[i] = (float) (0.5 + lathe_rng_normal(rng));
    return t;
}

static void norms_and_gates_are_fused_with_the_quantisation(void **state) {
    /* Against the same tensors with the fusion off: a value that is rounded to 8 bits differs by a step at
     * most where the last bit of the norm differs. A forgotten mean, weight or bias gives unrelated numbers.
     */
    (void) state;
    lathe_rng rng = lathe_rng_new(12, 0, 0);
    for (int kind = 0; kind < 4; kind++) {
        struct ggml_context *ctx = new_context();
        struct ggml_tensor *w = random_weight(ctx, &rng, GGML_TYPE_Q8_0);
        lathe_packed_set *set = NULL;
        lathe_error err = {0};
        check_ok(lathe_packed_set_new(lathe_cpu_best(NULL), 1, &set, &err), err);
        check_ok(lathe_packed_set_add(set, w, false, &err), err);
        struct ggml_tensor *x = random_floats(ctx, &rng, COLS, T),
                           *weight = random_floats(ctx, &rng, COLS, 1),
                           *bias = random_floats(ctx, &rng, COLS, 1), *up = random_floats(ctx, &rng, COLS, T);
        struct ggml_tensor *in[2];
        for (int i = 0; i < 2; i++)
            in[i] = kind == 0   ? ggml_mul(ctx, ggml_rms_norm(ctx, x, 1e-5f), weight)
                    : kind == 1 ? ggml_mul(ctx, ggml_norm(ctx, x, 1e-5f), weight)
                    : kind == 2 ? ggml_add(ctx, ggml_mul(ctx, ggml_norm(ctx, x, 1e-5f), weight), bias)
                                : ggml_swiglu_split(ctx, x, up);
        struct ggml_tensor *fused = lathe_packed_linear(NULL, ctx, w, in[0]);
        struct ggml_tensor *apart = lathe_packed_linear(NULL, ctx, w, ggml_cont(ctx, in[1]));
        assert_ptr_equal(fused->src[0]->src[0], x);
        struct ggml_cgraph *gf = ggml_new_graph(ctx);
        ggml_build_forward_expand(gf, fused);
        ggml_build_forward_expand(gf, apart);
        run_graph(gf, 2);
        assert_true(relative_distance(apart->data, fused->data, ROWS * T) < 1e-3);
        lathe_packed_set_free(set);
        ggml_free(ctx);
    }
}

static void several_matrices_in_one_op_give_the_bits_of_each_alone(void **state) {
    (void) state;
    lathe_rng rng = lathe_rng_new(13, 0, 0);
    for (int mix = 0; mix < 3; mix++) {
        struct ggml_context *ctx = new_context();
        const enum ggml_type types[3] = {GGML_TYPE_Q4_0, mix == 1 ? GGML_TYPE_F16 : GGML_TYPE_Q6_K,
                                         mix == 2 ? GGML_TYPE_BF16 : GGML_TYPE_Q8_0};
        struct ggml_tensor *w[3], *y[3], *alone[3], *x = random_floats(ctx, &rng, COLS, 1);
        lathe_packed_set *set = NULL;
        lathe_error err = {0};
        check_ok(lathe_packed_set_new(lathe_cpu_best(NULL), 3, &set, &err), err);
        for (int i = 0; i < 3; i++) {
            w[i] = random_weight(ctx, &rng, types[i]);
            check_ok(lathe_packed_set_add(set, w[i], false, &err), err);
        }
        assert_true(lathe_packed_linear_group(NULL, ctx, w, 3, x, y));
        struct ggml_cgraph *gf = ggml_new_graph(ctx);
        for (int i = 0; i < 3; i++) {
            alone[i] = lathe_packed_linear(NULL, ctx, w[i], x);
            ggml_build_forward_expand(gf, y[i]);
            ggml_build_forward_expand(gf, alone[i]);
        }
        /* The gate: one column here, two columns of which the first is the same by separate ops. */
        struct ggml_tensor *two = ggml_concat(ctx, x, random_floats(ctx, &rng, COLS, 1), 1);
        struct ggml_tensor *gated = lathe_packed_swiglu(NULL, ctx, w[0], w[2], x, w[0]);
        struct ggml_tensor *gates = lathe_packed_linear(NULL, ctx, w[0], two),
                           *ups = lathe_packed_linear(NULL, ctx, w[2], two);
        assert_non_null(gated);
        ggml_build_forward_expand(gf, gated);
        ggml_build_forward_expand(gf, gates);
        ggml_build_forward_expand(gf, ups);
        for (int n_threads = 1; n_threads <= 3; n_threads++) {
            run_graph(gf, n_threads);
            for (int i = 0; i < 3; i++)
                assert_memory_equal(y[i]->data, alone[i]->data, ROWS * sizeof(float));
            float expected[ROWS];
            lathe_rows_best()->swiglu(gates->data, ups->data, ROWS, expected);
            assert_memory_equal(gated->data, expected, sizeof expected);
            check_near(((float *) gated->data)[5],
                       (double) ((float *) gates->data)[5] /
                           (1.0 + exp(-(double) ((float *) gates->data)[5])) *
                           (double) ((float *) ups->data)[5],
                       1e-3);
        }
        /* Two columns, or a matrix of another kind: not in one op. */
        assert_false(lathe_packed_linear_group(NULL, ctx, w, 3, two, y));
        w[1] = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, COLS, ROWS);
        assert_false(lathe_packed_linear_group(NULL, ctx, w, 3, x, y));
        assert_null(lathe_packed_swiglu(NULL, ctx, w[0], w[2], x, w[1]));
        lathe_packed_set_free(set);
        ggml_free(ctx);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packed_product_is_ggmls_to_the_rounding_of_activations),
        cmocka_unit_test(other_weights_stay_with_ggml),
        cmocka_unit_test(norms_and_gates_are_fused_with_the_quantisation),
        cmocka_unit_test(several_matrices_in_one_op_give_the_bits_of_each_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
