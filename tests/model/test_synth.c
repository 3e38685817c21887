/* Random models: the numbers of the table, the random stream, and files that each family's reader takes. */
#include "support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <ggml.h>

#include "lathe/model.h"
#include "model/random_weights.h"
#include "model/synth.h"

static void normals_of_a_named_tensor(void **state) {
    /* From the specification of initial weights: seed 42, blk.0.attn_q.weight. */
    static const double expected[5] = {1.4144564585, -2.1809657908, .6853287135, -.8662534666, -.4928292088};
    float z[8];
    (void) state;
    assert_int_equal(lathe_fnv1a32("blk.0.attn_q.weight"), 0x17265f1b);
    lathe_random_normals(42, "blk.0.attn_q.weight", 0, 8, z);
    for (int i = 0; i < 5; i++)
        check_near_rel(z[i], expected[i], 1e-6);
    float later[3];
    lathe_random_normals(42, "blk.0.attn_q.weight", 4, 3, later); /* a part is the same as in the whole */
    assert_memory_equal(later, z + 4, sizeof later);
    /* Negative: a hash without the name would give the same numbers for another tensor. */
    lathe_random_normals(42, "blk.1.attn_q.weight", 0, 3, later);
    assert_true(later[0] != z[0]);
}

static void normals_are_normal(void **state) {
    /* n = 400,000: mean within 5 / sqrt(n), variance within 5 sqrt(2 / n), fourth moment within 5 sqrt(96 /
     * n): each fails with probability 6e-7. */
    enum { N = 400000 };
    float *z = malloc(N * sizeof *z);
    double m1 = 0, m2 = 0, m4 = 0;
    (void) state;
    lathe_random_normals(1, "x", 0, N, z);
    for (int i = 0; i < N; i++) {
        m1 += z[i];
        m2 += (double) z[i] * z[i];
        m4 += pow(z[i], 4);
    }
    check_near(m1 / N, 0, 5 / sqrt(N));
    check_near(m2 / N, 1, 5 * sqrt(2.0 / N));
    check_near(m4 / N, 3, 5 * sqrt(96.0 / N));
    free(z);
}

static void parameters_of_each_shape(void **state) {
    static const struct {
        const char *name;
        int64_t n;
    } expected[] = {
        {"1M", 918656}, {"10M", 9965824}, {"100M", 100092672}, {"1B", 1038682112}, {"8B", 8030261248},
    };
    lathe_error err = {0};
    lathe_desc *desc = malloc(sizeof *desc);
    (void) state;
    for (size_t i = 0; i < LATHE_LEN(expected); i++) {
        lathe_shape shape;
        check_ok(lathe_synth_shape("llama", expected[i].name, &shape, &err), err);
        check_ok(lathe_desc_from_shape(&shape, desc, &err), err);
        assert_true(lathe_desc_n_params(desc) == expected[i].n);
    }
    free(desc);
}

static void every_family_is_read_back(void **state) {
    lathe_error err = {0};
    lathe_desc *desc = malloc(sizeof *desc);
    (void) state;
    for (size_t i = 0; lathe_family_at(i); i++) {
        const char *path = temp_file(".gguf");
        lathe_synth_params p = lathe_synth_params_default();
        lathe_synth_result result;
        size_t n_unknown = 99;
        lathe_gguf *g = NULL;
        p.arch = lathe_family_at(i)->name;
        p.type = "q4_0";
        p.n_threads = 2;
        check_ok(lathe_model_synth(path, &p, &result, &err), err);
        check_ok(lathe_gguf_open(path, NULL, &g, &err), err);
        assert_true(lathe_gguf_size(g) == (uint64_t) result.bytes);
        check_ok(lathe_desc_from_gguf(g, desc, &err), err);
        check_ok(lathe_desc_check(desc, g, &n_unknown, &err), err);
        assert_int_equal(n_unknown, 0);
        assert_string_equal(desc->family->name, p.arch);
        assert_int_equal(desc->n_layer, 4);
        assert_int_equal(desc->n_embd, 128);
        assert_int_equal(desc->n_vocab, 1024);
        assert_true(lathe_desc_n_params(desc) == result.n_params);
        lathe_gguf_close(g);
    }
    free(desc);
}

static void weights_have_their_scale(void **state) {
    const char *path = temp_file(".gguf");
    lathe_error err = {0};
    lathe_gguf *g = NULL;
    (void) state;
    check_ok(lathe_model_synth(path, NULL, NULL, &err), err);
    check_ok(lathe_gguf_open(path, NULL, &g, &err), err);
    static const struct {
        const char *name;
        double mean, sd; /* width 128, feed-forward 384, 4 layers */
    } expected[] = {
        {"token_embd.weight", 0, 0.02},
        {"blk.0.attn_q.weight", 0, 0.08838834764831845},    /* 1 / sqrt 128 */
        {"blk.3.attn_output.weight", 0, 0.03125},           /* 1 / sqrt(128 * 8) */
        {"blk.3.ffn_down.weight", 0, 0.018042195912175804}, /* 1 / sqrt(384 * 8) */
        {"blk.2.attn_norm.weight", 1, 0.1},
    };
    for (size_t i = 0; i < LATHE_LEN(expected); i++) {
        const lathe_gguf_tensor *t = lathe_gguf_tensor_find(g, expected[i].name);
        const float *x = (const float *) (const void *) t->data;
        double m1 = 0, m2 = 0;
        for (int64_t j = 0; j < t->n_values; j++)
            m1 += x[j];
        m1 /= (double) t->n_values;
        for (int64_t j = 0; j < t->n_values; j++)
            m2 += (x[j] - m1) * (x[j] - m1);
        /* fixed seed; 5 standard errors */
        check_near(m1, expected[i].mean, 5 * expected[i].sd / sqrt((double) t->n_values));
        check_near_rel(sqrt(m2 / (double) t->n_values), expected[i].sd, 5 / sqrt(2.0 * (double) t->n_values));
    }
    lathe_gguf_close(g);
}

static char *bytes_of(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *n = (size_t) ftell(f);
    rewind(f);
    char *bytes = malloc(*n);
    assert_int_equal(fread(bytes, 1, *n, f), *n);
    fclose(f);
    return bytes;
}

static void the_seed_alone_decides(void **state) {
    lathe_error err = {0};
    char *files[3];
    size_t n[3];
    (void) state;
    for (int i = 0; i < 3; i++) {
        const char *path = temp_file(".gguf");
        lathe_synth_params p = lathe_synth_params_default();
        p.type = "q4_K";
        p.seed = i == 2;
        p.n_threads = 1 + i;
        check_ok(lathe_model_synth(path, &p, NULL, &err), err);
        files[i] = bytes_of(path, &n[i]);
    }
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(files[0], files[1], n[0]);
    assert_int_equal(n[0], n[2]);
    assert_memory_not_equal(files[0], files[2], n[0]);
    for (int i = 0; i < 3; i++)
        free(files[i]);
}

static void the_vocabulary(void **state) {
    /* By hand: 259 is the space, 260 a, 285 z, 286 aa, 961 = 286 + 675 zz, 962 aaa. */
    static const struct {
        size_t id;
        const char *text;
    } expected[] = {{0, "<unk>"},          {2, "</s>"}, {3, "<0x00>"}, {258, "<0xFF>"},
                    {259, "\xE2\x96\x81"}, {260, "a"},  {285, "z"},    {286, "aa"},
                    {287, "ab"},           {961, "zz"}, {962, "aaa"}};
    const char *path = temp_file(".gguf");
    lathe_error err = {0};
    lathe_gguf *g = NULL;
    lathe_gguf_array tokens, scores, types;
    (void) state;
    check_ok(lathe_model_synth(path, NULL, NULL, &err), err);
    check_ok(lathe_gguf_open(path, NULL, &g, &err), err);
    check_ok(lathe_gguf_array_get(g, "tokenizer.ggml.tokens", LATHE_GGUF_REQUIRED, 1u << LATHE_GGUF_STRING,
                                  1024, &tokens, &err),
             err);
    check_ok(lathe_gguf_array_get(g, "tokenizer.ggml.scores", LATHE_GGUF_REQUIRED, 1u << LATHE_GGUF_F32, 1024,
                                  &scores, &err),
             err);
    check_ok(lathe_gguf_array_get(g, "tokenizer.ggml.token_type", LATHE_GGUF_REQUIRED, 1u << LATHE_GGUF_I32,
                                  1024, &types, &err),
             err);
    lathe_gguf_strings it = lathe_gguf_strings_of(&tokens);
    const char *text;
    size_t n_bytes, id = 0, seen = 0;
    for (; lathe_gguf_strings_next(&it, &text, &n_bytes); id++)
        for (size_t i = 0; i < LATHE_LEN(expected); i++)
            if (expected[i].id == id) {
                assert_int_equal(n_bytes, strlen(expected[i].text));
                assert_memory_equal(text, expected[i].text, n_bytes);
                seen++;
            }
    assert_int_equal(seen, LATHE_LEN(expected));
    check_near(lathe_gguf_array_real(&scores, 700), -700, 0);
    assert_int_equal(lathe_gguf_array_int(&types, 0), 2);
    assert_int_equal(lathe_gguf_array_int(&types, 100), 6);
    lathe_gguf_close(g);
}

static void wrong_names_list_what_there_is(void **state) {
    lathe_error err = {0};
    lathe_synth_params p = lathe_synth_params_default();
    (void) state;
    p.arch = "lama";
    assert_int_equal(lathe_model_synth(temp_file(".gguf"), &p, NULL, &err), LATHE_ERR_ARG);
    assert_non_null(strstr(err.text, "unknown family 'lama'; want one of llama"));
    p.arch = "llama";
    p.shape = "2M";
    assert_int_equal(lathe_model_synth(temp_file(".gguf"), &p, NULL, &err), LATHE_ERR_ARG);
    assert_string_equal(err.text, "unknown shape '2M'; want 1M, 10M, 100M, 1B or 8B");
}

/* Logits of a model after each of n ids, one batch. */
static float *logits_of(const char *path, const int32_t *ids, int32_t n, int32_t *n_vocab) {
    lathe_error err = {0};
    lathe_model *model = NULL;
    lathe_context *context = NULL;
    lathe_context_params p = lathe_context_params_default();
    lathe_model_params m = lathe_model_params_default();
    uint8_t want[64];
    memset(want, 1, sizeof want);
    p.type_k = p.type_v = LATHE_CACHE_F32;
    p.n_ctx = 64;
    p.n_threads = 1;
    check_ok(lathe_model_load(path, &m, &model, &err), err);
    check_ok(lathe_context_new(model, &p, &context, &err), err);
    const lathe_batch batch = {.tokens = ids, .n_tokens = n, .want = want};
    check_ok(lathe_context_decode(context, &batch, &err), err);
    *n_vocab = lathe_model_n_vocab(model);
    float *out = malloc((size_t) n * (size_t) *n_vocab * sizeof *out);
    for (int32_t i = 0; i < n; i++)
        memcpy(out + (size_t) i * (size_t) *n_vocab, lathe_context_logits(context, i),
               (size_t) *n_vocab * sizeof *out);
    lathe_context_free(context);
    lathe_model_free(model);
    return out;
}

static void a_widened_model_is_the_same_function(void **state) {
    /* 5 layers of width 64 with heads of 8 become 8 of width 256 with heads of 32. Logits of size 10 agree to
     * rounding. Negative: without the changed rotation, Q's scale or the norms' scale they differ by more
     * than 0.1. */
    const char *small = need_shared("models/stories260K-f32.gguf");
    const char *big = temp_file(".gguf");
    static const int32_t ids[] = {1,   403, 407, 261, 378, 432, 383, 285, 397,
                                  351, 280, 432, 268, 402, 261, 370, 300, 12};
    enum { N = 18 };
    lathe_error err = {0};
    lathe_synth_params p = lathe_synth_params_default();
    int32_t n_small = 0, n_big = 0;
    (void) state;
    p.like = small;
    p.shape = "10M";
    p.n_threads = 1;
    check_ok(lathe_model_synth(big, &p, NULL, &err), err);
    float *a = logits_of(small, ids, N, &n_small), *b = logits_of(big, ids, N, &n_big);
    assert_int_equal(n_small, 512);
    assert_int_equal(n_big, 512);
    double largest = 0;
    for (int i = 0; i < N * 512; i++) {
        check_near(b[i], a[i], 2e-4);
        largest = fmax(largest, fabs(a[i]));
    }
    assert_true(largest > 5); /* the comparison is of something */
    free(a);
    free(b);
    p.shape = "1M"; /* fewer layers than it has */
    assert_int_equal(lathe_model_synth(big, &p, NULL, &err), LATHE_ERR_ARG);
    assert_non_null(strstr(err.text, "do not fit shape 1M; want a larger one"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(normals_of_a_named_tensor),
        cmocka_unit_test(normals_are_normal),
        cmocka_unit_test(parameters_of_each_shape),
        cmocka_unit_test(every_family_is_read_back),
        cmocka_unit_test(weights_have_their_scale),
        cmocka_unit_test(the_seed_alone_decides),
        cmocka_unit_test(the_vocabulary),
        cmocka_unit_test(wrong_names_list_what_there_is),
        cmocka_unit_test(a_widened_model_is_the_same_function),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
