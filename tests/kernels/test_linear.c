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
                                           GGML_TYPE_Q6_K, GGML_TYPE_F16,  GGML_TYPE_BF16};
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
    assert_null(f32->extra);
    assert_null(cube->extra);
    assert_null(lathe_packed_linear(NULL, ctx, f32, x));
    lathe_packed_set_free(set);
    ggml_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packed_product_is_ggmls_to_the_rounding_of_activations),
        cmocka_unit_test(other_weights_stay_with_ggml),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
