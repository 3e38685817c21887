/* Fused attention: every instruction set against doubles; the bits across batches and unseen rows. */
#include "support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <ggml.h>

#include "lathe/base.h"
#include "tensor/cpu/cpu.h"

enum { HIDDEN = 0xfc00, CANARY = 12345 };

static void reference(const lathe_attention_args *a, int64_t t, int64_t head, double *out) {
    int64_t h = head / (a->n_head / a->n_head_kv);
    double *s = malloc((size_t) a->n_kv * sizeof *s), largest = -INFINITY, sum = 0.0;
    memset(out, 0, (size_t) a->dh * sizeof *out);
    for (int64_t r = 0; r < a->n_kv; r++) {
        double x = 0.0;
        if (a->mask[t * a->mask_stride + r] == HIDDEN) {
            s[r] = -INFINITY;
            continue;
        }
        for (int64_t d = 0; d < a->dh; d++) {
            const uint8_t *p = a->k + (size_t) r * a->k_row + (size_t) h * a->k_head;
            double k = a->k_half ? (double) ggml_fp16_to_fp32(((const uint16_t *) (const void *) p)[d])
                                 : (double) ((const float *) (const void *) p)[d];
            x += k * (double) a->q[t * a->q_row + head * a->q_head + d];
        }
        x *= (double) a->scale;
        if (a->softcap > 0.0f)
            x = (double) a->softcap * tanh(x / (double) a->softcap);
        s[r] = x + (double) ggml_fp16_to_fp32(a->mask[t * a->mask_stride + r]);
        largest = s[r] > largest ? s[r] : largest;
    }
    for (int64_t r = 0; r < a->n_kv; r++) {
        if (s[r] == -INFINITY)
            continue;
        double e = exp(s[r] - largest);
        sum += e;
        for (int64_t d = 0; d < a->dh; d++) {
            const uint8_t *p = a->v + (size_t) r * a->v_row + (size_t) h * a->v_head;
            out[d] += e * (a->v_half ? (double) ggml_fp16_to_fp32(((const uint16_t *) (const void *) p)[d])
                                     : (double) ((const float *) (const void *) p)[d]);
        }
    }
    for (int64_t d = 0; d < a->dh && sum > 0.0; d++)
        out[d] /= sum;
    free(s);
}

static void *random_rows(lathe_rng *rng, int64_t n, bool half) {
    void *p = malloc((size_t) n * (half ? 2 : 4));
    for (int64_t i = 0; i < n; i++) {
        float x = (float) lathe_rng_normal(rng);
        if (half)
            ((uint16_t *) p)[i] = ggml_fp32_to_fp16(x);
        else
            ((float *) p)[i] = x;
    }
    return p;
}

static void every_set_agrees_with_doubles(void **state) {
    /* Random shapes, masks with holes and finite values, hidden rows full of NaN (a kernel that multiplies
     * them by zero gives NaN), queries that see nothing. */
    (void) state;
    lathe_rng rng = lathe_rng_new(21, 0, 0);
    size_t n_sets;
    const lathe_cpu *const *sets = lathe_cpu_sets(&n_sets);
    for (int c = 0; c < 60; c++) {
        bool half = c % 2 == 0;
        int64_t Hk = 1 + (int64_t) lathe_rng_below(&rng, 3), G = 1 + (int64_t) lathe_rng_below(&rng, 4),
                H = Hk * G;
        int64_t dh = 16 * (1 + (int64_t) lathe_rng_below(&rng, 5)),
                T = 1 + (int64_t) lathe_rng_below(&rng, 20);
        int64_t n_kv = 1 + (int64_t) lathe_rng_below(&rng, 150);
        size_t size = half ? 2 : 4;
        float *q = random_rows(&rng, T * H * dh, false), *out = malloc((size_t) (T * H * dh + 1) * 4);
        float *alone = malloc((size_t) (H * dh) * 4);
        uint8_t *k = random_rows(&rng, n_kv * Hk * dh, half), *v = random_rows(&rng, n_kv * Hk * dh, half);
        uint16_t *mask = malloc((size_t) (T * n_kv) * 2);
        for (int64_t i = 0; i < T * n_kv; i++)
            mask[i] = lathe_rng_below(&rng, 3) == 0 ? HIDDEN
                      : lathe_rng_below(&rng, 2)    ? 0
                                                    : 0xb800; /* -0.5 */
        for (int64_t r = 0; r < n_kv; r++)
            if (r % 5 == 4 || r > 100) { /* unseen by all: anything may be in there */
                for (int64_t t = 0; t < T; t++)
                    mask[t * n_kv + r] = HIDDEN;
                memset(k + (size_t) (r * Hk * dh) * size, 0xff, (size_t) (Hk * dh) * size);
                memset(v + (size_t) (r * Hk * dh) * size, 0xff, (size_t) (Hk * dh) * size);
            }
        for (int64_t r = 0; r < n_kv && T > 1; r++)
            mask[r] = HIDDEN; /* the first of several queries sees nothing */
        size_t row = (size_t) (Hk * dh) * size, head = (size_t) dh * size;
        lathe_attention_args a = {
            T,   n_kv, H,   Hk,   dh,   q,    H * dh, dh,   k,    v,
            row, head, row, head, half, half, mask,   n_kv, 0.3f, c % 3 == 0 ? 5.0f : 0.0f,
            out};
        double *expected = malloc((size_t) dh * sizeof *expected);
        for (size_t s = 0; s < n_sets; s++) {
            if (!sets[s]->is_usable())
                continue;
            a.n_q = T;
            a.q = q;
            a.mask = mask;
            a.out = out;
            a.n_kv = n_kv;
            out[T * H * dh] = CANARY;
            sets[s]->attention(&a, Hk / 2, Hk); /* two threads */
            sets[s]->attention(&a, 0, Hk / 2);
            check_near(out[T * H * dh], CANARY, 0.0);
            for (int64_t t = 0; t < T; t++)
                for (int64_t h = 0; h < H; h++) {
                    reference(&a, t, h, expected);
                    for (int64_t d = 0; d < dh; d++)
                        check_near(out[(t * H + h) * dh + d], expected[d], 5e-6);
                }
            /* One query alone, with the unseen rows at the end left out: the same bits. */
            int64_t t = T - 1;
            a.n_q = 1;
            a.q = q + t * H * dh;
            a.mask = mask + t * n_kv;
            a.out = alone;
            a.n_kv = n_kv > 101 ? 101 : n_kv;
            sets[s]->attention(&a, 0, Hk);
            assert_memory_equal(alone, out + t * H * dh, (size_t) (H * dh) * 4);
        }
        free(expected);
        free(q);
        free(out);
        free(alone);
        free(k);
        free(v);
        free(mask);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_set_agrees_with_doubles)};
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
