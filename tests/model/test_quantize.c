/* Quantised files: which tensor gets which type, and values within a block's step. */
#include "support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <ggml.h>

#include "lathe/model.h"
#include "model/convert.h"
#include "model/gguf_write.h"

static uint32_t type_for(const lathe_type_rule *rule, const char *name, int64_t ne0) {
    return lathe_type_for(rule, name, 2, ne0, GGML_TYPE_F32);
}

static void outputs_and_norms_are_kept_better(void **state) {
    (void) state;
    lathe_type_rule r = {.target = GGML_TYPE_Q4_K, .tied = true, .n_layer = 16};
    assert_int_equal(type_for(&r, "blk.0.attn_q.weight", 2048), GGML_TYPE_Q4_K);
    assert_int_equal(type_for(&r, "token_embd.weight", 2048), GGML_TYPE_Q6_K);
    assert_int_equal(type_for(&r, "output.weight", 2048), GGML_TYPE_Q6_K);
    assert_int_equal(type_for(&r, "position_embd.weight", 2048), GGML_TYPE_F32);
    assert_int_equal(type_for(&r, "blk.1.ffn_gate_inp.weight", 2048), GGML_TYPE_F32);
    assert_int_equal(type_for(&r, "blk.1.attn_q_norm.weight", 2048), GGML_TYPE_F32);
    assert_int_equal(lathe_type_for(&r, "blk.1.attn_q.weight", 1, 2048, GGML_TYPE_F32), GGML_TYPE_F32);
    assert_int_equal(lathe_type_for(&r, "blk.1.table.weight", 2, 2048, GGML_TYPE_I32), GGML_TYPE_I32);
    r.tied = false;
    assert_int_equal(type_for(&r, "token_embd.weight", 2048), GGML_TYPE_Q4_K);
    r.target = GGML_TYPE_Q8_0;
    assert_int_equal(type_for(&r, "output.weight", 2048), GGML_TYPE_Q8_0);
    r.target = GGML_TYPE_F16;
    assert_int_equal(type_for(&r, "output.weight", 2048), GGML_TYPE_F16);
}

static void rows_that_no_block_divides_fall_back(void **state) {
    /* The table of engine.md 2.14. Negative: falling straight to f16 would lose all of these. */
    static const uint32_t expected[][2] = {
        {GGML_TYPE_Q4_K, GGML_TYPE_Q5_0},     {GGML_TYPE_Q5_K, GGML_TYPE_Q5_1},
        {GGML_TYPE_Q6_K, GGML_TYPE_Q8_0},     {GGML_TYPE_Q2_K, GGML_TYPE_IQ4_NL},
        {GGML_TYPE_Q3_K, GGML_TYPE_IQ4_NL},   {GGML_TYPE_IQ3_S, GGML_TYPE_IQ4_NL},
        {GGML_TYPE_IQ4_XS, GGML_TYPE_IQ4_NL}, {GGML_TYPE_TQ1_0, GGML_TYPE_Q4_0},
        {GGML_TYPE_TQ2_0, GGML_TYPE_Q4_0},    {GGML_TYPE_Q8_0, GGML_TYPE_Q8_0},
    };
    (void) state;
    for (size_t i = 0; i < LATHE_LEN(expected); i++) {
        const lathe_type_rule r = {.target = expected[i][0], .n_layer = 4};
        assert_int_equal(type_for(&r, "blk.0.attn_q.weight", 160), expected[i][1]);
        assert_int_equal(type_for(&r, "blk.0.attn_q.weight", 72), GGML_TYPE_F16);
    }
}

static void the_mix_is_richer_in_outer_and_every_third_layer(void **state) {
    /* By hand for 16 layers: 0, 1; 14, 15; and (i - 2) % 3 == 2: 4, 7, 10, 13. */
    static const bool rich[16] = {1, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 1, 1};
    const lathe_type_rule r = {.target = GGML_TYPE_Q4_K, .mix = true, .n_layer = 16};
    (void) state;
    for (int il = 0; il < 16; il++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%d.ffn_down.weight", il);
        assert_int_equal(type_for(&r, name, 2048), rich[il] ? GGML_TYPE_Q6_K : GGML_TYPE_Q4_K);
        snprintf(name, sizeof name, "blk.%d.attn_v.weight", il);
        assert_int_equal(type_for(&r, name, 2048), rich[il] ? GGML_TYPE_Q6_K : GGML_TYPE_Q4_K);
        snprintf(name, sizeof name, "blk.%d.attn_q.weight", il);
        assert_int_equal(type_for(&r, name, 2048), GGML_TYPE_Q4_K);
    }
}

static void a_real_file_to_q8_0_and_back(void **state) {
    (void) state;
    const char *in = need_shared("models/stories260K-f32.gguf");
    const char *out = temp_file("-q8.gguf"), *back = temp_file("-f32.gguf");
    lathe_error err = {0};
    lathe_quantize_result result;
    lathe_quantize_params p = lathe_quantize_params_default();
    p.type = "q8_0";
    p.n_threads = 2;
    check_ok(lathe_model_quantize(in, out, &p, &result, &err), err);
    assert_true(result.bytes_out < result.bytes_in / 3);
    p.type = "f32";
    check_ok(lathe_model_quantize(out, back, &p, &result, &err), err);
    assert_int_equal(result.n_types, 1);
    lathe_gguf *a = NULL, *b = NULL, *q = NULL;
    check_ok(lathe_gguf_open(in, NULL, &a, &err), err);
    check_ok(lathe_gguf_open(back, NULL, &b, &err), err);
    check_ok(lathe_gguf_open(out, NULL, &q, &err), err);
    assert_int_equal(lathe_gguf_tensor_find(q, "token_embd.weight")->type, GGML_TYPE_Q8_0);
    assert_int_equal(lathe_gguf_tensor_find(q, "output_norm.weight")->type, GGML_TYPE_F32);
    int64_t file_type = 0;
    check_ok(lathe_gguf_int(q, "general.file_type", LATHE_GGUF_REQUIRED, 0, 100, &file_type, &err), err);
    assert_int_equal(file_type, 7); /* llama.cpp's MOSTLY_Q8_0 */
    for (size_t i = 0; i < lathe_gguf_n_tensors(a); i++) {
        const lathe_gguf_tensor *s = lathe_gguf_tensor_at(a, i), *t = lathe_gguf_tensor_find(b, s->name);
        const uint32_t type = lathe_gguf_tensor_find(q, s->name)->type; /* rows of 172 values become f16 */
        const float *x = (const float *) (const void *) s->data, *y = (const float *) (const void *) t->data;
        for (int64_t j = 0; j < s->n_values; j += 32) {
            /* a block's step is its largest value / 127, kept in 11 bits: an error of half a step, and 2^-11
             * of the value */
            float largest = 0;
            const int64_t n = s->n_values - j < 32 ? s->n_values - j : 32;
            for (int64_t k = 0; k < n; k++)
                largest = fmaxf(largest, fabsf(x[j + k]));
            for (int64_t k = 0; k < n; k++)
                check_near(y[j + k], x[j + k],
                           type == GGML_TYPE_Q8_0  ? largest * (0.5 / 127 + 1.0 / 1024)
                           : type == GGML_TYPE_F16 ? largest / 2048
                                                   : 0);
        }
    }
    lathe_gguf_close(a);
    lathe_gguf_close(b);
    lathe_gguf_close(q);
}

static void more_threads_give_the_same_bytes(void **state) {
    (void) state;
    enum { N = 300 * 256 };
    float *x = malloc(N * sizeof *x);
    uint8_t *one = malloc(N * 4), *many = malloc(N * 4);
    lathe_rng rng = lathe_rng_new(3, 36, 0);
    lathe_error err = {0};
    lathe_pool *pool = NULL;
    check_ok(lathe_pool_new(3, &pool, &err), err);
    for (int i = 0; i < N; i++)
        x[i] = (float) lathe_rng_normal(&rng);
    for (uint32_t type = 0; type < GGML_TYPE_COUNT; type++) {
        uint64_t n_bytes = 0;
        if (!lathe_convert_to_known(type))
            continue;
        assert_true(lathe_gguf_bytes_of(type, N, &n_bytes));
        lathe_convert_to(NULL, type, x, 300, 256, one);
        lathe_convert_to(pool, type, x, 300, 256, many);
        assert_memory_equal(one, many, (size_t) n_bytes);
        float *y = malloc(N * sizeof *y);
        lathe_convert_from(pool, type, one, N, y);
        double error = 0, size = 0;
        for (int i = 0; i < N; i++) {
            error += ((double) x[i] - y[i]) * ((double) x[i] - y[i]);
            size += (double) x[i] * x[i];
        }
        /* one bit: 1 - 2 / pi = 0.363 of the variance stays; ternary types scale by the largest value */
        assert_true(error / size < (type == GGML_TYPE_TQ1_0 || type == GGML_TYPE_TQ2_0 ? 0.9 : 0.4));
        /* bytes of odd alignment give the same values */
        uint8_t *shifted = malloc(n_bytes + 1);
        float *z = malloc(N * sizeof *z);
        memcpy(shifted + 1, one, (size_t) n_bytes);
        lathe_convert_from(NULL, type, shifted + 1, N, z);
        assert_memory_equal(y, z, N * sizeof *y);
        free(y);
        free(z);
        free(shifted);
    }
    lathe_pool_free(pool);
    free(x);
    free(one);
    free(many);
}

static void nan_and_unknown_types_are_refused(void **state) {
    (void) state;
    const char *in = temp_file(".gguf"), *out = temp_file(".gguf");
    lathe_error err = {0};
    float x[64] = {0};
    lathe_gguf_writer *w = NULL;
    x[37] = NAN;
    check_ok(lathe_gguf_writer_new(&w, &err), err);
    lathe_gguf_put_tensor(w, "blk.0.attn_q.weight", GGML_TYPE_F32, 2, (const int64_t[]){32, 2});
    check_ok(lathe_gguf_writer_begin(w, in, &err), err);
    check_ok(lathe_gguf_writer_data(w, x, sizeof x, &err), err);
    check_ok(lathe_gguf_writer_finish(w, &err), err);
    lathe_quantize_params p = lathe_quantize_params_default();
    assert_int_equal(lathe_model_quantize(in, out, &p, NULL, &err), LATHE_ERR_NUMERIC);
    assert_non_null(strstr(err.text, "tensor 'blk.0.attn_q.weight': value 37 is"));
    p.type = "iq2_xxs";
    assert_int_equal(lathe_model_quantize(in, out, &p, NULL, &err), LATHE_ERR_ARG);
    assert_non_null(strstr(err.text, "importance matrix"));
    p.type = "q9";
    assert_int_equal(lathe_model_quantize(in, out, &p, NULL, &err), LATHE_ERR_ARG);
    assert_non_null(strstr(err.text, "want one of q8_0, q6_K"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outputs_and_norms_are_kept_better),
        cmocka_unit_test(rows_that_no_block_divides_fall_back),
        cmocka_unit_test(the_mix_is_richer_in_outer_and_every_third_layer),
        cmocka_unit_test(a_real_file_to_q8_0_and_back),
        cmocka_unit_test(more_threads_give_the_same_bytes),
        cmocka_unit_test(nan_and_unknown_types_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
