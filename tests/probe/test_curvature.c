/* Curvature against hand numbers, brute force and identities. */
#include "support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lathe/model.h"
#include "lathe/probe.h"
#include "model/desc.h"

typedef struct matrix {
    const double *a;
    size_t n;
    bool diagonal;
} matrix;

static lathe_status apply(void *user, const float *v, float *out, lathe_error *err) {
    const matrix *m = user;
    (void) err;
    for (size_t i = 0; i < m->n; i++) {
        double s = m->diagonal ? m->a[i] * v[i] : 0;
        for (size_t j = 0; !m->diagonal && j < m->n; j++)
            s += m->a[i * m->n + j] * v[j];
        out[i] = (float) s;
    }
    return LATHE_OK;
}

/* diag(1..9, 50) from equal components, four steps: by hand. */
static void lanczos_numbers(void **state) {
    (void) state;
    const double d[10] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 50}, ritz[4] = {1.523183, 4.883798, 8.386728, 49.999992};
    const double share[4] = {.244764, .390563, .264674, .1};
    float q[10];
    double values[4], residuals[4], weights[4];
    int32_t n;
    lathe_error err = {0};
    for (int i = 0; i < 10; i++)
        q[i] = 1;
    matrix m = {d, 10, true};
    check_ok(lathe_probe_lanczos(apply, &m, 10, 4, q, 0, values, residuals, weights, &n, &err), err);
    assert_int_equal(n, 4);
    check_array(values, ritz, 4, 2e-5);
    check_array(weights, share, 4, 2e-5);
    check_near(residuals[3], .018624, 1e-4);
}

/* Without reorthogonalisation the value 1000 shows up three times in forty steps; exactly one is right. */
static void no_ghosts(void **state) {
    (void) state;
    double d[200], values[40], residuals[40], weights[40];
    float q[200];
    int32_t n, above = 0;
    lathe_error err = {0};
    for (int i = 0; i < 200; i++) {
        d[i] = i < 199 ? i + 1 : 1000;
        q[i] = 1;
    }
    matrix m = {d, 200, true};
    check_ok(lathe_probe_lanczos(apply, &m, 200, 40, q, 0, values, residuals, weights, &n, &err), err);
    for (int32_t i = 0; i < n; i++)
        above += values[i] > 999;
    assert_int_equal(above, 1);
    check_near(values[n - 2], 198.997, 2e-3);
    check_near(values[n - 3], 197.913, 2e-3);
}

/* [[4,1,0],[1,3,-1],[0,-1,2]]: mean 9; the variance of a probe is 8, so 4000 probes are within .25 (5.6
 * sigma). */
static void trace(void **state) {
    (void) state;
    const double a[9] = {4, 1, 0, 1, 3, -1, 0, -1, 2};
    matrix m = {a, 3, false};
    double mean, error;
    lathe_error err = {0};
    check_ok(lathe_probe_trace(apply, &m, 3, 4000, 1, &mean, &error, &err), err);
    check_near(mean, 9, .25);
    check_near(error, sqrt(8.0 / 4000), .004);
}

static void spectra(void **state) {
    (void) state;
    float w[5 * 4] = {0}, eye[64 * 64] = {0};
    lathe_spectrum s, t;
    lathe_error err = {0};
    const float values[4] = {1, 4, 1, 2};
    for (int i = 0; i < 4; i++)
        w[i * 4 + (i + 1) % 4] = values[i];
    check_ok(lathe_probe_spectrum(w, 5, 4, &s, &err), err);
    assert_int_equal(s.n, 4);
    check_near(s.entropy, .593352, 1e-6);
    check_near(s.effective_rank, 2.276322, 1e-6);
    check_near(s.top1, .727273, 1e-6);
    check_near(s.q75_25, 7, 1e-9);
    for (int i = 0; i < 20; i++)
        w[i] *= 7;
    check_ok(lathe_probe_spectrum(w, 5, 4, &t, &err), err);
    check_near(t.entropy, s.entropy, 1e-12);
    for (int i = 0; i < 64; i++)
        eye[i * 64 + (i * 5 + 3) % 64] = 1;
    check_ok(lathe_probe_spectrum(eye, 64, 64, &t, &err), err);
    check_near(t.entropy, 1, 1e-12);
    check_near(t.effective_rank, 64, 1e-9);
    memset(w, 0, sizeof w);
    assert_int_equal(lathe_probe_spectrum(w, 5, 4, &t, &err), LATHE_ERR_INPUT);
    assert_int_equal(lathe_probe_spectrum(eye, 1, 64, &t, &err), LATHE_ERR_INPUT);
    eye[7] = NAN;
    assert_int_equal(lathe_probe_spectrum(eye, 64, 64, &t, &err), LATHE_ERR_INPUT);
}

/* A whole model: H is symmetric, the second-order prediction meets the loss, the split adds up, and the sign
 * and size of everything follow the step's. */
static void model(void **state) {
    (void) state;
    lathe_error err = {0};
    const char *path = temp_file(".gguf");
    lathe_synth_params sp = lathe_synth_params_default();
    lathe_synth_result made;
    sp.arch = "llama";
    sp.shape = "1M";
    sp.type = "f32";
    check_ok(lathe_model_synth(path, &sp, &made, &err), err);
    int32_t tokens[2 * 9];
    for (int i = 0; i < 18; i++)
        tokens[i] = 3 + i * 37 % 200;
    lathe_curve *c;
    bool rounded;
    check_ok(lathe_curve_new(path, tokens, 2, 8, 1, &c, &rounded, &err), err);
    assert_false(rounded);
    size_t n = lathe_curve_n(c);
    float *u = malloc(5 * n * sizeof *u);
    assert_non_null(u);
    float *v = u + n, *hu = v + n, *hv = hu + n, *g = hv + n;
    lathe_rng rng = lathe_rng_new(2, 37, 9);
    for (size_t i = 0; i < n; i++) {
        u[i] = (float) lathe_rng_normal(&rng);
        v[i] = (float) lathe_rng_normal(&rng);
    }
    check_ok(lathe_curve_hvp(c, u, hu, &err), err);
    check_ok(lathe_curve_hvp(c, v, hv, &err), err);
    double a = 0, b = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        a += (double) v[i] * hu[i];
        b += (double) u[i] * hv[i];
        size += fabs((double) v[i] * hu[i]);
    }
    check_near(a, b, 1e-4 * size);
    double loss;
    check_ok(lathe_curve_loss(c, NULL, &loss, g, &err), err);
    lathe_curvature one, two;
    double norm = 0;
    for (size_t i = 0; i < n; i++)
        norm += (double) g[i] * g[i];
    float step = (float) (0.05 / norm); /* gain .05 */
    for (size_t i = 0; i < n; i++)
        u[i] = step * g[i];
    check_ok(lathe_probe_curvature(c, u, true, NULL, &one, &err), err);
    check_near(one.gain, .05, 1e-4);
    check_near(one.decrease, one.gain - one.penalty, 5e-4); /* the cubic term: 2e-4 here */
    check_near(one.within + one.cross, one.nds, 1e-3 * fabs(one.nds));
    double largest = 0, skew = 0;
    for (int i = 0; i < one.n_layers; i++)
        for (int j = 0; j < one.n_layers; j++) {
            largest = fmax(largest, fabs(one.block_matrix[i * one.n_layers + j]));
            skew = fmax(
                skew, fabs(one.block_matrix[i * one.n_layers + j] - one.block_matrix[j * one.n_layers + i]));
        }
    assert_true(skew < 1e-3 * largest);
    /* up and down the same step: odd orders cancel, what is left is twice the penalty */
    for (size_t i = 0; i < n; i++)
        u[i] *= -1;
    check_ok(lathe_probe_curvature(c, u, false, NULL, &two, &err), err);
    check_near(-(one.decrease + two.decrease) / 2, one.penalty, .05 * fabs(one.penalty) + 2e-6);
    for (size_t i = 0; i < n; i++)
        u[i] *= 2;
    check_ok(lathe_probe_curvature(c, u, false, NULL, &two, &err), err);
    check_near_rel(two.nds, one.nds, 1e-4);
    check_near_rel(two.penalty, 4 * one.penalty, 1e-4);
    memset(u, 0, n * sizeof *u);
    check_ok(lathe_probe_curvature(c, u, false, NULL, &two, &err), err);
    assert_true(isnan(two.nds));
    free(one.block_matrix);
    free(u);
    lathe_curve_free(c);
}

/* Stochastic Lanczos quadrature of diag(1 .. 40): the density integrates to 1 and to the mean 20.5. */
static void density(void **state) {
    (void) state;
    enum { N = 40, X = 400 };
    double d[N], x[X], y[X], mass = 0, mean = 0;
    lathe_error err = {0};
    for (int i = 0; i < N; i++)
        d[i] = i + 1;
    matrix m = {d, N, true};
    check_ok(lathe_probe_density(apply, &m, N, N, 3, 5, X, x, y, &err), err);
    for (int i = 0; i + 1 < X; i++) {
        mass += (y[i] + y[i + 1]) / 2 * (x[i + 1] - x[i]);
        mean += (x[i] * y[i] + x[i + 1] * y[i + 1]) / 2 * (x[i + 1] - x[i]);
    }
    check_near(mass, 1, 5e-3);
    check_near(mean, 20.5, 0.1); /* signs on a diagonal: every probe has the exact first moment */
    assert_int_equal(lathe_probe_density(apply, &m, N, 1, 3, 5, X, x, y, &err), LATHE_ERR_ARG);
}

/* learning.md E.g 4. */
static void noise_scale(void **state) {
    (void) state;
    double g2, s;
    lathe_noise_scale(.165, 16, .055625, 128, &g2, &s);
    check_near(g2, .04, 1e-12);
    check_near(s, 2, 1e-9);
    check_near(s / g2, 50, 1e-9);
}

/* The Gauss-Newton matrix: positive, symmetric, equal to the Hessian where the logits are linear (in the
 * output matrix), and not where they are not. */
static void gauss_newton(void **state) {
    (void) state;
    lathe_error err = {0};
    const char *path = temp_file(".gguf");
    lathe_synth_params sp = lathe_synth_params_default();
    lathe_synth_result made;
    sp.arch = "stablelm"; /* an output matrix of its own */
    sp.shape = "1M";
    sp.type = "f32";
    check_ok(lathe_model_synth(path, &sp, &made, &err), err);
    int32_t tokens[2 * 9];
    for (int i = 0; i < 18; i++)
        tokens[i] = 3 + i * 37 % 200;
    lathe_curve *c;
    check_ok(lathe_curve_new(path, tokens, 2, 8, 1, &c, NULL, &err), err);
    size_t n = lathe_curve_n(c), n_tensors = lathe_curve_n_tensors(c), out = n_tensors, hidden = n_tensors;
    for (size_t i = 0; i < n_tensors; i++) {
        if (strcmp(lathe_curve_tensor_name(c, i), "output.weight") == 0)
            out = i;
        if (strcmp(lathe_curve_tensor_name(c, i), "blk.0.ffn_down.weight") == 0)
            hidden = i;
    }
    float *v = calloc(4 * n, sizeof *v), *g = v + n, *h = g + n, *u = h + n;
    assert_non_null(v);
    lathe_rng rng = lathe_rng_new(2, 37, 9);
    for (size_t pass = 0; pass < 2; pass++) {
        size_t i = pass == 0 ? out : hidden;
        if (i == n_tensors)
            continue;
        int64_t rows, cols;
        size_t at = lathe_curve_tensor_at(c, i, &rows, &cols), m = (size_t) (rows * cols);
        memset(v, 0, n * sizeof *v);
        for (size_t k = at; k < at + m; k++)
            v[k] = (float) lathe_rng_normal(&rng);
        check_ok(lathe_curve_gnvp(c, v, g, &err), err);
        check_ok(lathe_curve_hvp(c, v, h, &err), err);
        double difference = 0, size = 0, along = 0;
        for (size_t k = at; k < at + m; k++) {
            difference += ((double) g[k] - h[k]) * ((double) g[k] - h[k]);
            size += (double) h[k] * h[k];
            along += (double) v[k] * g[k];
        }
        assert_true(along > 0 && size > 0);
        if (pass == 0)
            assert_true(sqrt(difference) < 1e-4 * sqrt(size));
        else
            assert_true(sqrt(difference) > 1e-2 * sqrt(size));
    }
    assert_true(out < n_tensors && hidden < n_tensors);
    for (size_t i = 0; i < n; i++) {
        v[i] = (float) lathe_rng_normal(&rng);
        u[i] = (float) lathe_rng_normal(&rng);
    }
    check_ok(lathe_curve_gnvp(c, v, g, &err), err);
    check_ok(lathe_curve_gnvp(c, u, h, &err), err);
    double a = 0, b = 0;
    for (size_t i = 0; i < n; i++) {
        a += (double) u[i] * g[i];
        b += (double) v[i] * h[i];
    }
    check_near_rel(a, b, 1e-3);
    /* Splits by tensor and by kind have the same total. */
    double g2, s;
    assert_int_equal(lathe_curve_noise(c, &g2, &s, &err), LATHE_ERR_ARG); /* one chunk */
    lathe_curve_group(c, LATHE_CURVE_BY_KIND);
    lathe_curvature r;
    for (size_t i = 0; i < n; i++)
        u[i] *= 1e-3f;
    check_ok(lathe_probe_curvature(c, u, true, NULL, &r, &err), err);
    char name[128];
    assert_string_equal(lathe_curve_layer_name(c, 2, name, sizeof name), "q");
    check_near_rel(r.within + r.cross, r.nds, 1e-2);
    free(r.block_matrix);
    free(v);
    lathe_curve_free(c);
}

/* Products through the ops of training against those through ggml's ops and the closed rules, in every
 * family. */
static void products_of_families(void **state) {
    (void) state;
    enum { CTX = 70, ROWS = 2, VOCAB = 40 };
    const lathe_family *family;
    lathe_error err = {0};
    int32_t tokens[ROWS * (CTX + 1)];
    lathe_rng rng = lathe_rng_new(5, 37, 0);
    for (size_t i = 0; i < LATHE_LEN(tokens); i++)
        tokens[i] = (int32_t) lathe_rng_below(&rng, VOCAB);
    for (size_t f = 0; (family = lathe_family_at(f)) != NULL; f++) {
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
        lathe_desc desc;
        float *result[2][2], *v = NULL;
        size_t n = 0;
        check_ok(lathe_desc_from_shape(&s, &desc, &err), err);
        for (int plain = 0; plain < 2; plain++) {
            lathe_curve *c;
            if (plain)
                setenv("LATHE_BLAS", "off", 1);
            check_ok(lathe_curve_of(&desc, tokens, ROWS, CTX, 1, &c, &err), err);
            unsetenv("LATHE_BLAS");
            n = lathe_curve_n(c);
            if (v == NULL) {
                v = malloc(n * sizeof *v);
                assert_non_null(v);
                for (size_t i = 0; i < n; i++)
                    v[i] = (float) lathe_rng_normal(&rng);
            }
            lathe_rng weights = lathe_rng_new(6, 37, 1);
            for (size_t t = 0; t < lathe_curve_n_tensors(c); t++) {
                int64_t rows, cols;
                lathe_curve_tensor_at(c, t, &rows, &cols);
                float *w = malloc((size_t) (rows * cols) * sizeof *w);
                assert_non_null(w);
                for (int64_t i = 0; i < rows * cols; i++) /* gains near 1 */
                    w[i] = (float) (0.15 * lathe_rng_normal(&weights) + (rows == 1));
                lathe_curve_set_weights(c, t, w);
                free(w);
            }
            for (int k = 0; k < 2; k++) {
                result[plain][k] = malloc(n * sizeof(float));
                assert_non_null(result[plain][k]);
            }
            check_ok(lathe_curve_hvp(c, v, result[plain][0], &err), err);
            check_ok(lathe_curve_gnvp(c, v, result[plain][1], &err), err);
            lathe_curve_free(c);
        }
        for (int k = 0; k < 2; k++) {
            double difference = 0, size = 0;
            for (size_t i = 0; i < n; i++) {
                double a = (double) result[0][k][i], b = (double) result[1][k][i];
                difference += (a - b) * (a - b);
                size += b * b;
            }
            if (!(sqrt(difference) <= 2e-4 * sqrt(size)))
                fail_msg("%s, product %d: differ by %.3g of %.3g", family->name, k, sqrt(difference),
                         sqrt(size));
            free(result[0][k]);
            free(result[1][k]);
        }
        free(v);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(products_of_families),
                                       cmocka_unit_test(lanczos_numbers),
                                       cmocka_unit_test(no_ghosts),
                                       cmocka_unit_test(trace),
                                       cmocka_unit_test(spectra),
                                       cmocka_unit_test(model),
                                       cmocka_unit_test(density),
                                       cmocka_unit_test(noise_scale),
                                       cmocka_unit_test(gauss_newton)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
