/* The fused ops of training against ggml's own through the plain graph: same loss, same gradients, in every
 * family, over several blocks of queries, with windows and grouped heads; and the same bits at any thread
 * count.
 */
#include "support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lathe/base.h"
#include "support/graph.h"
#include "tensor/cpu/rows.h"
#include "tensor/fused.h"
#include "train/net.h"

enum { CTX = 90, ROWS = 2, VOCAB = 40 };

static lathe_shape small_shape(const lathe_family *family) {
    lathe_shape s = lathe_shape_default(family->name);
    s.n_layer = 2;
    s.n_embd = 32;
    s.n_head = 4;
    s.n_head_kv = family->head_count_kv_equal ? 4 : 2;
    s.n_ff = 48;
    s.n_vocab = VOCAB;
    s.n_ctx = CTX;
    s.window = family->window_period > 0 ? 21 : 0;
    s.tied = family->output != LATHE_MUST;
    return s;
}

static lathe_net *net_of(const lathe_family *family, int32_t n_threads, bool fused) {
    lathe_shape s = small_shape(family);
    lathe_desc desc;
    lathe_net *net;
    lathe_error err = {0};
    if (fused)
        unsetenv("LATHE_BLAS");
    else
        setenv("LATHE_BLAS", "off", 1);
    check_ok(lathe_desc_from_shape(&s, &desc, &err), err);
    check_ok(lathe_net_new(&desc, ROWS, CTX, n_threads, true, &net, &err), err);
    unsetenv("LATHE_BLAS");
    lathe_net_init(net, 9);
    return net;
}

static void fill(int32_t *tokens) {
    lathe_rng rng = lathe_rng_new(4, 36, 0);
    for (int i = 0; i < ROWS * (CTX + 1); i++)
        tokens[i] = (int32_t) lathe_rng_below(&rng, VOCAB);
}

static void against_plain(void **state) {
    (void) state;
    static int32_t tokens[ROWS * (CTX + 1)];
    lathe_error err = {0};
    fill(tokens);
    const lathe_family *family;
    for (size_t f = 0; (family = lathe_family_at(f)) != NULL; f++) {
        lathe_net *a = net_of(family, 1, true), *b = net_of(family, 1, false);
        double x, y;
        check_ok(lathe_net_gradients(a, tokens, &x, &err), err);
        check_ok(lathe_net_gradients(b, tokens, &y, &err), err);
        check_near(x, y, 1e-5);
        for (size_t i = 0; i < lathe_net_n_tensors(a); i++) {
            double difference = 0, size = 0;
            for (int64_t k = 0; k < lathe_net_size(a, i); k++) {
                double p = (double) lathe_net_gradient(a, i)[k], q = (double) lathe_net_gradient(b, i)[k];
                difference += (p - q) * (p - q);
                size += q * q;
            }
            if (!(sqrt(difference) <= 2e-4 * sqrt(size) + 1e-7))
                fail_msg("%s, %s: gradients differ by %.3g of %.3g", family->name,
                         lathe_net_tensor(a, i)->name, sqrt(difference), sqrt(size));
        }
        lathe_net_free(a);
        lathe_net_free(b);
    }
}

static void any_threads(void **state) {
    (void) state;
    static int32_t tokens[ROWS * (CTX + 1)];
    lathe_error err = {0};
    fill(tokens);
    lathe_net *nets[2] = {net_of(lathe_family_find("llama"), 1, true),
                          net_of(lathe_family_find("llama"), 2, true)};
    double loss[2];
    for (int i = 0; i < 2; i++)
        check_ok(lathe_net_gradients(nets[i], tokens, &loss[i], &err), err);
    assert_memory_equal(&loss[0], &loss[1], sizeof loss[0]);
    for (size_t i = 0; i < lathe_net_n_tensors(nets[0]); i++)
        assert_memory_equal(lathe_net_gradient(nets[0], i), lathe_net_gradient(nets[1], i),
                            (size_t) lathe_net_size(nets[0], i) * sizeof(float));
    lathe_net_free(nets[0]);
    lathe_net_free(nets[1]);
}

/* Two documents in one sequence that do not see each other are two sequences: same loss, same gradients,
 * through the fused ops and through masks, with and without windows. Without the reset they are not. */
static void documents(void **state) {
    (void) state;
    enum { HALF = 45 };
    static int32_t tokens[2 * (2 * HALF + 1)], halves[4 * (HALF + 1)];
    lathe_error err = {0};
    lathe_rng rng = lathe_rng_new(8, 36, 0);
    for (int i = 0; i < (int) LATHE_LEN(tokens); i++)
        tokens[i] = 1 + (int32_t) lathe_rng_below(&rng, VOCAB - 1);
    for (int row = 0; row < 2; row++)
        for (int half = 0; half < 2; half++) {
            int32_t *at = tokens + row * (2 * HALF + 1) + half * HALF;
            at[0] = 0; /* begins a document */
            memcpy(halves + (2 * row + half) * (HALF + 1), at, (HALF + 1) * sizeof *at);
            if (half == 1)
                halves[(2 * row) * (HALF + 1) + HALF] = 0;
        }
    const lathe_family *family;
    for (size_t f = 0; (family = lathe_family_at(f)) != NULL; f++)
        for (int fused = 0; fused < 2; fused++) {
            lathe_net *nets[3];
            double loss[3], difference = 0, size = 0;
            if (!fused)
                setenv("LATHE_BLAS", "off", 1);
            for (int i = 0; i < 3; i++) {
                lathe_shape s = small_shape(family);
                lathe_desc desc;
                const lathe_net_opts opts = {.rows = i == 0 ? 4 : 2,
                                             .ctx = i == 0 ? HALF : 2 * HALF,
                                             .n_threads = 1,
                                             .gradients = true,
                                             .document_begin = i == 1 ? 1 : 0};
                check_ok(lathe_desc_from_shape(&s, &desc, &err), err);
                check_ok(lathe_net_open(&desc, &opts, &nets[i], &err), err);
                lathe_net_init(nets[i], 9);
                check_ok(lathe_net_gradients(nets[i], i == 0 ? halves : tokens, &loss[i], &err), err);
            }
            unsetenv("LATHE_BLAS");
            check_near(loss[0], loss[1], 1e-5);
            assert_true(fabs(loss[0] - loss[2]) > 1e-4);
            for (size_t i = 0; i < lathe_net_n_tensors(nets[0]); i++)
                for (int64_t k = 0; k < lathe_net_size(nets[0], i); k++) {
                    double a = (double) lathe_net_gradient(nets[0], i)[k],
                           b = (double) lathe_net_gradient(nets[1], i)[k];
                    difference += (a - b) * (a - b);
                    size += a * a;
                }
            if (!(sqrt(difference) <= 2e-4 * sqrt(size)))
                fail_msg("%s, fused %d: gradients differ by %.3g of %.3g", family->name, fused,
                         sqrt(difference), sqrt(size));
            for (int i = 0; i < 3; i++)
                lathe_net_free(nets[i]);
        }
}

/* Logits in parts give the same loss and gradients in every family, with a bias, a soft cap, tied or not,
 * recomputed or not; and less memory where the vocabulary is what takes it. */
static void logits_in_parts(void **state) {
    (void) state;
    static int32_t tokens[ROWS * (CTX + 1)];
    lathe_error err = {0};
    fill(tokens);
    const lathe_family *family;
    for (size_t f = 0; (family = lathe_family_at(f)) != NULL; f++) {
        lathe_net *nets[3];
        double loss[3];
        for (int i = 0; i < 3; i++) {
            lathe_shape s = small_shape(family);
            lathe_desc desc;
            const lathe_net_opts opts = {.rows = ROWS,
                                         .ctx = CTX,
                                         .n_threads = 1,
                                         .gradients = true,
                                         .recompute = i == 2,
                                         .loss = {.z = 1e-3, .smoothing = 0.1},
                                         .logits_part = i == 0 ? 1 << 20 : 50};
            check_ok(lathe_desc_from_shape(&s, &desc, &err), err);
            check_ok(lathe_net_open(&desc, &opts, &nets[i], &err), err);
            lathe_net_init(nets[i], 9);
            double evaluated;
            check_ok(lathe_net_loss(nets[i], tokens, &evaluated, &err), err);
            check_ok(lathe_net_gradients(nets[i], tokens, &loss[i], &err), err);
            check_near(evaluated, loss[i], 1e-9);
        }
        check_near(loss[0], loss[1], 1e-6);
        for (int other = 1; other < 3; other++)
            for (size_t i = 0; i < lathe_net_n_tensors(nets[0]); i++) {
                double difference = 0, size = 0;
                for (int64_t k = 0; k < lathe_net_size(nets[0], i); k++) {
                    double a = (double) lathe_net_gradient(nets[0], i)[k],
                           b = (double) lathe_net_gradient(nets[other], i)[k];
                    difference += (a - b) * (a - b);
                    size += a * a;
                }
                if (!(sqrt(difference) <= 2e-5 * sqrt(size) + 1e-8))
                    fail_msg("%s, %s: gradients differ by %.3g of %.3g", family->name,
                             lathe_net_tensor(nets[0], i)->name, sqrt(difference), sqrt(size));
            }
        for (int i = 0; i < 3; i++)
            lathe_net_free(nets[i]);
    }
    size_t bytes[2];
    for (int i = 0; i < 2; i++) {
        lathe_shape s = small_shape(lathe_family_find("llama"));
        lathe_desc desc;
        lathe_net *net;
        s.n_vocab = 20000;
        const lathe_net_opts opts = {
            .rows = 8, .ctx = 128, .n_threads = 1, .gradients = true, .logits_part = i == 0 ? 1 << 20 : 0};
        check_ok(lathe_desc_from_shape(&s, &desc, &err), err);
        check_ok(lathe_net_open(&desc, &opts, &net, &err), err);
        bytes[i] = lathe_net_bytes(net);
        lathe_net_free(net);
    }
    if (!(bytes[1] < bytes[0] / 2))
        fail_msg("%zu bytes with parts, %zu without", bytes[1], bytes[0]);
}

/* Slices by measurement leave the bits as they are, and go through their text unchanged. */
static void chosen_kernels(void **state) {
    (void) state;
    static int32_t tokens[ROWS * (CTX + 1)];
    lathe_error err = {0};
    fill(tokens);
    lathe_net *nets[3];
    double loss[3];
    char *text[2];
    bool same = false;
    for (int i = 0; i < 3; i++)
        nets[i] = net_of(lathe_family_find("llama"), 1, true);
    check_ok(lathe_net_choose_kernels(nets[1], &err), err);
    check_ok(lathe_net_kernels(nets[1], &text[0], &err), err);
    assert_non_null(strstr(text[0], "product-dw 32 48 180: "));
    check_ok(lathe_net_set_kernels(nets[2], text[0], &same, &err), err);
    assert_true(same);
    check_ok(lathe_net_kernels(nets[2], &text[1], &err), err);
    assert_string_equal(text[0], text[1]);
    for (int i = 0; i < 3; i++)
        check_ok(lathe_net_gradients(nets[i], tokens, &loss[i], &err), err);
    for (int k = 1; k < 3; k++) {
        assert_memory_equal(&loss[0], &loss[k], sizeof loss[0]);
        for (size_t i = 0; i < lathe_net_n_tensors(nets[0]); i++)
            assert_memory_equal(lathe_net_gradient(nets[0], i), lathe_net_gradient(nets[k], i),
                                (size_t) lathe_net_size(nets[0], i) * sizeof(float));
    }
    check_ok(lathe_net_set_kernels(nets[2], "blas of another\n", &same, &err), err);
    assert_false(same);
    assert_int_equal(lathe_net_set_kernels(nets[2], "blas x\nproduct 32 48: 16\n", &same, &err),
                     LATHE_ERR_INPUT);
    assert_int_equal(lathe_net_set_kernels(nets[2], "blas x\nproduct 32 48 180: 0\n", &same, &err),
                     LATHE_ERR_INPUT);
    for (int i = 0; i < 3; i++)
        lathe_net_free(nets[i]);
    free(text[0]);
    free(text[1]);
}

/* Recomputing layers gives the same bits in less memory, with the fused ops and with ggml's. */
static void recomputed(void **state) {
    (void) state;
    enum { C = 64, R = 4 };
    static int32_t tokens[R * (C + 1)];
    lathe_rng rng = lathe_rng_new(7, 36, 0);
    for (int i = 0; i < R * (C + 1); i++)
        tokens[i] = (int32_t) lathe_rng_below(&rng, VOCAB);
    static const char *const families[] = {"llama", "gemma2", "gpt2"};
    for (size_t f = 0; f < LATHE_LEN(families); f++)
        for (int fused = 0; fused < 2; fused++) {
            lathe_shape s = lathe_shape_default(families[f]);
            s.n_layer = 6;
            s.n_embd = 32;
            s.n_head = s.n_head_kv = 4;
            s.n_ff = 64;
            s.n_vocab = VOCAB;
            s.n_ctx = C;
            s.tied = true;
            lathe_desc desc;
            lathe_error err = {0};
            lathe_net *nets[2];
            double loss[2];
            if (!fused)
                setenv("LATHE_BLAS", "off", 1);
            check_ok(lathe_desc_from_shape(&s, &desc, &err), err);
            for (int i = 0; i < 2; i++) {
                const lathe_net_opts opts = {
                    .rows = R, .ctx = C, .n_threads = 1, .gradients = true, .recompute = i == 1};
                check_ok(lathe_net_open(&desc, &opts, &nets[i], &err), err);
                lathe_net_init(nets[i], 3);
                check_ok(lathe_net_gradients(nets[i], tokens, &loss[i], &err), err);
            }
            unsetenv("LATHE_BLAS");
            assert_memory_equal(&loss[0], &loss[1], sizeof loss[0]);
            for (size_t i = 0; i < lathe_net_n_tensors(nets[0]); i++)
                if (memcmp(lathe_net_gradient(nets[0], i), lathe_net_gradient(nets[1], i),
                           (size_t) lathe_net_size(nets[0], i) * sizeof(float)) != 0)
                    fail_msg("%s: the gradient of %s has other bits", families[f],
                             lathe_net_tensor(nets[0], i)->name);
            if (!(lathe_net_bytes(nets[1]) < lathe_net_bytes(nets[0]) * 3 / 4))
                fail_msg("%s: %zu bytes with, %zu without", families[f], lathe_net_bytes(nets[1]),
                         lathe_net_bytes(nets[0]));
            lathe_net_free(nets[0]);
            lathe_net_free(nets[1]);
        }
}

/* Dropout: the specification's words decide; the same at any split of the batch; its share and its mean
 * (200,000 channels at p = .3: standard deviation .001 of the share; 6 of them allowed, a false alarm below
 * 1e-8). */
static void dropout(void **state) {
    (void) state;
    enum { D = 64, TOKENS = 3200 };
    struct ggml_context *ctx = ggml_init((struct ggml_init_params){.mem_size = 4 << 20});
    struct ggml_tensor *x = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, D, TOKENS);
    for (int i = 0; i < D * TOKENS; i++)
        ((float *) x->data)[i] = 1;
    lathe_dropout d = {.p = 0.3, .seed = 42, .step = 3, .first_token = 0};
    struct ggml_tensor *y = lathe_fused_dropout(&d, ctx, x, 2, 1);
    struct ggml_cgraph *graph = ggml_new_graph(ctx);
    ggml_build_forward_expand(graph, y);
    run_graph(graph, 1);
    const uint32_t words[4] = {0xf2123939, 0xada54bd5, 0x7421d27b,
                               0xfcee71f9}; /* token 17, channels 8 to 11 */
    float *out = y->data, saved[D];
    for (int k = 0; k < 4; k++)
        check_near(out[17 * D + 8 + k], (words[k] >> 8) * 0x1p-24 >= 0.3 ? 1 / 0.7 : 0, 1e-6);
    double kept = 0, mean = 0;
    for (int i = 0; i < D * TOKENS; i++) {
        kept += out[i] > 0;
        mean += (double) out[i] / (D * TOKENS);
    }
    check_near(kept / (D * TOKENS), 0.7, 6e-3);
    check_near(mean, 1, 1e-2);
    memcpy(saved, out + 20 * D, sizeof saved);
    d.first_token = 20; /* the second part of a split batch */
    run_graph(graph, 1);
    assert_memory_equal(saved, out, sizeof saved);
    d.p = 0;
    run_graph(graph, 1);
    assert_memory_equal(x->data, y->data, ggml_nbytes(x));
    ggml_free(ctx);
}

/* The gradient of a net with dropout is that of its masked loss: same masks twice, another step other ones.
 */
static void dropout_gradient(void **state) {
    (void) state;
    static int32_t tokens[ROWS * (CTX + 1)];
    lathe_error err = {0};
    fill(tokens);
    lathe_shape s = lathe_shape_default("llama");
    s.n_layer = 1;
    s.n_embd = 32;
    s.n_head = s.n_head_kv = 4;
    s.n_ff = 48;
    s.n_vocab = VOCAB;
    s.n_ctx = CTX;
    s.tied = true;
    lathe_desc desc;
    lathe_net *net;
    const lathe_net_opts opts = {
        .rows = ROWS, .ctx = CTX, .n_threads = 1, .gradients = true, .dropout = 0.2, .seed = 7};
    check_ok(lathe_desc_from_shape(&s, &desc, &err), err);
    check_ok(lathe_net_open(&desc, &opts, &net, &err), err);
    lathe_net_init(net, 5);
    double a, b, c, plain, up, down, norm = 0;
    lathe_net_set_dropout(net, 0.2, 1, 0);
    check_ok(lathe_net_gradients(net, tokens, &a, &err), err);
    size_t n = lathe_net_n_tensors(net);
    float *dir[32];
    for (size_t i = 0; i < n; i++) {
        size_t size = (size_t) lathe_net_size(net, i);
        dir[i] = malloc(size * sizeof(float));
        assert_non_null(dir[i]);
        memcpy(dir[i], lathe_net_gradient(net, i), size * sizeof(float));
        for (size_t k = 0; k < size; k++)
            norm += (double) dir[i][k] * (double) dir[i][k];
    }
    check_ok(lathe_net_gradients(net, tokens, &b, &err), err);
    assert_memory_equal(&a, &b, sizeof a);
    lathe_net_set_dropout(net, 0.2, 2, 0);
    check_ok(lathe_net_gradients(net, tokens, &c, &err), err);
    assert_true(fabs(a - c) > 1e-6);
    lathe_net_set_dropout(net, 0.2, 1, 0);
    float h = (float) (3e-3 / sqrt(norm));
    double value[2];
    for (int side = 0; side < 2; side++) {
        for (size_t i = 0; i < n; i++)
            for (int64_t k = 0; k < lathe_net_size(net, i); k++)
                lathe_net_weights(net, i)[k] += (side == 0 ? h : -2 * h) * dir[i][k];
        check_ok(lathe_net_gradients(net, tokens, &value[side], &err), err);
    }
    up = value[0];
    down = value[1];
    check_near_rel((up - down) / 6e-3, sqrt(norm), 2e-2);
    check_ok(lathe_net_loss(net, tokens, &plain, &err), err); /* evaluation drops nothing */
    for (size_t i = 0; i < n; i++)
        free(dir[i]);
    lathe_net_free(net);
}

/* Row kernels against the C library in double; all sets give the same bits. */
static void row_kernels(void **state) {
    (void) state;
    enum { N = 2500 };
    static float x[N], out[N], other[N];
    lathe_rng rng = lathe_rng_new(6, 36, 0);
    for (int i = 0; i < N; i++)
        x[i] = (float) (-40 * lathe_rng_uniform(&rng));
    setenv("LATHE_CPU", "scalar", 1);
    const lathe_rows *plain = lathe_rows_best();
    unsetenv("LATHE_CPU");
    const lathe_rows *best = lathe_rows_best();
    double total = 0, sum = best->exp(x, N, 0.5f, out);
    for (int i = 0; i < N; i++) {
        check_near_rel(out[i], exp((double) x[i] - 0.5), 1e-5);
        total += exp((double) x[i] - 0.5);
    }
    check_near_rel(sum, total, 1e-6);
    double again = plain->exp(x, N, 0.5f, other);
    assert_memory_equal(&sum, &again, sizeof sum);
    assert_memory_equal(out, other, sizeof out);
    float a = best->largest(x, N), b = x[0];
    for (int i = 0; i < N; i++)
        b = fmaxf(b, x[i]);
    assert_true(!(a < b) && !(a > b));
    x[3] = NAN; /* not lost */
    assert_true(isnan(best->exp(x, N, 0, out)));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(against_plain),  cmocka_unit_test(any_threads),
                                       cmocka_unit_test(chosen_kernels), cmocka_unit_test(logits_in_parts),
                                       cmocka_unit_test(documents),      cmocka_unit_test(recomputed),
                                       cmocka_unit_test(dropout),        cmocka_unit_test(dropout_gradient),
                                       cmocka_unit_test(row_kernels)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
