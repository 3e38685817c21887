/* Products with packed weights: every instruction set of this machine against doubles of the dequantised
 * weights (ggml's own) times the quantised activations; the bits across sets, tiles and ranges of rows.
 * With --bench [SET] prints speeds instead. */
#include "support/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ggml.h>

#include "base/machine.h"
#include "lathe/base.h"
#include "tensor/cpu/measure.h"

static const enum ggml_type source_type[LATHE_PACKED_TYPES] = {GGML_TYPE_Q4_0, GGML_TYPE_Q8_0, GGML_TYPE_Q4_K,
                                                               GGML_TYPE_Q5_K, GGML_TYPE_Q6_K, GGML_TYPE_F16,
                                                               GGML_TYPE_BF16};

static void *aligned(size_t n) {
    void *p = aligned_alloc(64, (n + 63) / 64 * 64);
    assert_non_null(p);
    return p;
}

typedef struct matrix {
    lathe_packed packed;
    uint8_t *source;
    float *dequantised; /* [n_rows, n_cols] */
} matrix;

/* Valid blocks: any bytes but for the half-precision scales, which are made finite and small. */
static void random_source(lathe_rng *rng, lathe_packed_type type, uint8_t *out, size_t n_bytes, int extreme) {
    static const struct {
        size_t bytes, scale[2];
    } at[LATHE_PACKED_TYPES] = {{18, {0, 0}},      {34, {0, 0}}, {144, {0, 2}}, {176, {0, 2}},
                                {210, {208, 208}}, {2, {0, 0}},  {2, {0, 0}}};
    for (size_t i = 0; i < n_bytes; i++)
        out[i] = extreme == 1   ? 0x00
                 : extreme == 2 ? 0xff
                 : extreme == 3 ? 0x80
                 : extreme == 4 ? 0x7f
                                : (uint8_t) lathe_rng_u64(rng);
    for (size_t b = 0; b + at[type].bytes <= n_bytes; b += at[type].bytes)
        for (int s = 0; s < 2; s++) {
            float scale = (float) (0.01 * lathe_rng_normal(rng));
            uint16_t half =
                type == LATHE_PACKED_BF16 ? ggml_fp32_to_bf16(scale).bits : ggml_fp32_to_fp16(scale);
            memcpy(out + b + at[type].scale[s], &half, 2);
        }
}

static matrix random_matrix(lathe_rng *rng, lathe_packed_type type, int64_t n_rows, int64_t n_cols,
                            int extreme) {
    matrix m = {.packed = {type, n_cols, n_rows, NULL}};
    size_t row = lathe_packed_source_row(type, n_cols);
    assert_int_equal(row, ggml_row_size(source_type[type], n_cols));
    m.source = malloc(row * (size_t) n_rows);
    m.dequantised = malloc((size_t) (n_rows * n_cols) * sizeof(float));
    random_source(rng, type, m.source, row * (size_t) n_rows, extreme);
    ggml_get_type_traits(source_type[type])->to_float(m.source, m.dequantised, n_rows * n_cols);
    m.packed.data = aligned((size_t) lathe_packed_groups(&m.packed) * lathe_packed_group_bytes(type, n_cols));
    lathe_pack(&m.packed, m.source, 0, lathe_packed_groups(&m.packed));
    return m;
}

static void drop(matrix *m) {
    free(m->source);
    free(m->dequantised);
    free(m->packed.data);
}

static void quantise_all(const lathe_cpu *cpu, int64_t n, int64_t T, const float *x, uint8_t *out) {
    for (int64_t t = 0; t < T; t++)
        cpu->quantise(n, x + t * n, out + (size_t) t * lathe_activation_bytes(n));
}

enum { CANARY = 0x5a };

static void one_case(lathe_rng *rng, lathe_packed_type type, int64_t n_rows, int64_t n_cols, int64_t T,
                     int extreme) {
    matrix m = random_matrix(rng, type, n_rows, n_cols, extreme);
    size_t bytes = lathe_activation_bytes(n_cols), n_sets;
    int64_t ldy = n_rows + 3;
    float *x = malloc((size_t) (n_cols * T) * sizeof(float));
    for (int64_t i = 0; i < n_cols * T; i++)
        x[i] = extreme == 0 ? (float) lathe_rng_normal(rng) : extreme % 2 != 0 ? 1.0f : -1.0f;
    bool is_float = lathe_packed_takes_floats(type);
    size_t column = is_float ? (size_t) n_cols * sizeof(float) : bytes;
    uint8_t *xq = aligned(bytes * (size_t) T), *xs = aligned(bytes * (size_t) T);
    size_t n_y = (size_t) (ldy * T);
    float *y = malloc(n_y * sizeof(float)), *first = malloc(n_y * sizeof(float));
    memset(xs, 0, bytes * (size_t) T);
    quantise_all(&lathe_cpu_scalar, n_cols, T, x, xs);
    const lathe_cpu *const *sets = lathe_cpu_sets(&n_sets);
    for (size_t s = 0; s < n_sets; s++) {
        if (!sets[s]->is_usable())
            continue;
        memset(xq, 0, bytes * (size_t) T);
        quantise_all(sets[s], n_cols, T, x, xq);
        assert_memory_equal(xq, xs, bytes * (size_t) T);
        memset(y, CANARY, n_y * sizeof(float));
        int64_t groups = lathe_packed_groups(&m.packed), cut = groups / 3;
        const uint8_t *in = is_float ? (const uint8_t *) x : xq;
        sets[s]->matmul(&m.packed, in, T, y, ldy, cut, groups); /* two ranges, as two threads have them */
        sets[s]->matmul(&m.packed, in, T, y, ldy, 0, cut);
        for (int64_t t = 0; t < T; t++) {
            const lathe_activation *q = (const lathe_activation *) (const void *) (xs + bytes * (size_t) t);
            for (int64_t r = 0; r < n_rows; r++) {
                double sum = 0.0, size = 0.0;
                for (int64_t i = 0; i < n_cols; i++) {
                    double a = is_float ? (double) x[t * n_cols + i]
                                        : q[i / 32].q[i % 32] * (double) q[i / 32].scale;
                    double v = (double) m.dequantised[r * n_cols + i] * a;
                    sum += v;
                    size += fabs(v);
                }
                if (type == LATHE_PACKED_Q4_K || type == LATHE_PACKED_Q5_K)
                    size *= 8.0; /* scale and minimum are two terms that cancel in part */
                check_near(y[t * ldy + r], sum, 1e-6 * size + 1e-30);
            }
            for (int64_t r = n_rows; r < ldy; r++)
                for (int i = 0; i < 4; i++)
                    assert_int_equal(((uint8_t *) &y[t * ldy + r])[i], CANARY);
        }
        if (s == 0)
            memcpy(first, y, n_y * sizeof(float));
        assert_memory_equal(y, first, n_y * sizeof(float)); /* all sets: the same bits */
        for (int64_t t = 0; t < T; t++) {                   /* alone or among others: the same bits */
            float *alone = y;
            sets[s]->matmul(&m.packed, in + column * (size_t) t, 1, alone, ldy, 0, groups);
            assert_memory_equal(alone, first + t * ldy, (size_t) n_rows * sizeof(float));
        }
    }
    free(x);
    free(xq);
    free(xs);
    free(y);
    free(first);
    drop(&m);
}

static void every_set_agrees_with_doubles_on_random_shapes(void **state) {
    (void) state;
    lathe_rng rng = lathe_rng_new(4, 0, 0);
    for (int i = 0; i < 150; i++) {
        lathe_packed_type type = (lathe_packed_type) (i % LATHE_PACKED_TYPES);
        int64_t n_cols = lathe_packed_block(type) * (1 + (int64_t) lathe_rng_below(&rng, 3));
        one_case(&rng, type, 1 + (int64_t) lathe_rng_below(&rng, 50), n_cols,
                 1 + (int64_t) lathe_rng_below(&rng, 40), 0);
    }
}

static void extreme_bytes_do_not_saturate(void **state) {
    /* Negative: u8 x s8 pairs in 16 bits saturate for weights of -128 or 127 with activations of +-127. */
    (void) state;
    lathe_rng rng = lathe_rng_new(5, 0, 0);
    for (int type = 0; type < LATHE_PACKED_TYPES; type++)
        for (int extreme = 1; extreme <= 4; extreme++)
            one_case(&rng, (lathe_packed_type) type, 17, 512, 3, extreme);
}

static void q8_0_row_by_hand(void **state) {
    /* Weights 1..32 with scale 1; activations 127, 0, ..., 0, -127: 127 * 1 - 127 * 32 = -3937. */
    (void) state;
    uint8_t row[34] = {0x00, 0x3c};
    for (int i = 0; i < 32; i++)
        row[2 + i] = (uint8_t) (i + 1);
    float x[32] = {127.0f};
    x[31] = -127.0f;
    lathe_packed w = {LATHE_PACKED_Q8_0, 32, 1, aligned(lathe_packed_group_bytes(LATHE_PACKED_Q8_0, 32))};
    lathe_pack(&w, row, 0, 1);
    uint8_t *q = aligned(lathe_activation_bytes(32));
    size_t n;
    const lathe_cpu *const *sets = lathe_cpu_sets(&n);
    for (size_t s = 0; s < n; s++)
        if (sets[s]->is_usable()) {
            float y[2] = {0.0f, 77.0f};
            sets[s]->quantise(32, x, q);
            sets[s]->matmul(&w, q, 1, y, 2, 0, 1);
            check_near(y[0], -3937.0, 0.0);
            check_near(y[1], 77.0, 0.0);
        }
    free(q);
    free(w.data);
}

static void nan_and_infinity_reach_every_row_of_their_column_only(void **state) {
    (void) state;
    lathe_rng rng = lathe_rng_new(6, 0, 0);
    for (int type = 0; type < LATHE_PACKED_TYPES; type++) {
        matrix m = random_matrix(&rng, (lathe_packed_type) type, 19, 256, 0);
        float x[2 * 256], y[2 * 19];
        uint8_t *q = aligned(2 * lathe_activation_bytes(256));
        size_t n;
        const lathe_cpu *const *sets = lathe_cpu_sets(&n);
        for (size_t s = 0; s < n; s++)
            for (int bad = 0; bad < 3 && sets[s]->is_usable(); bad++) {
                for (int i = 0; i < 512; i++)
                    x[i] = (float) lathe_rng_normal(&rng);
                x[77] = bad == 0 ? NAN : bad == 1 ? INFINITY : -INFINITY;
                quantise_all(sets[s], 256, 2, x, q);
                sets[s]->matmul(&m.packed, lathe_packed_takes_floats(m.packed.type) ? (const void *) x : q, 2,
                                y, 19, 0, 2);
                for (int r = 0; r < 19; r++) {
                    /* Floats are not quantised: infinity times a weight stays infinite. */
                    assert_true(lathe_packed_takes_floats(m.packed.type) ? !isfinite(y[r]) : isnan(y[r]));
                    assert_true(isfinite(y[19 + r]));
                }
            }
        free(q);
        drop(&m);
    }
}

static void tiny_and_zero_activations_give_finite_results(void **state) {
    (void) state;
    float x[32] = {0}, y[16];
    uint8_t row[34] = {0x00, 0x3c, 1};
    lathe_packed w = {LATHE_PACKED_Q8_0, 32, 1, aligned(lathe_packed_group_bytes(LATHE_PACKED_Q8_0, 32))};
    lathe_pack(&w, row, 0, 1);
    uint8_t *q = aligned(lathe_activation_bytes(32));
    const float sizes[] = {0.0f, 1e-45f, 1e-38f, 1e-37f, 1e38f};
    for (size_t i = 0; i < LATHE_LEN(sizes); i++) {
        x[0] = sizes[i];
        lathe_cpu_best(NULL)->quantise(32, x, q);
        lathe_cpu_best(NULL)->matmul(&w, q, 1, y, 16, 0, 1);
        check_near(y[0], sizes[i], 1e-36 + 1e-6 * (double) sizes[i]);
    }
    free(q);
    free(w.data);
}

static void names_choose_sets(void **state) {
    (void) state;
    assert_ptr_equal(lathe_cpu_best("scalar"), &lathe_cpu_scalar);
    assert_null(lathe_cpu_best("ggml"));
    assert_null(lathe_cpu_best("mmx"));
    assert_non_null(lathe_cpu_best(NULL));
}

/* All sets but the scalar one, or one; all types; beside what the memory gives and what the multiply-add
 * does. */
static int bench(const char *only) {
    const int64_t columns[] = {1, 2, 4, 8, 16, 64};
    size_t n_sets;
    const lathe_cpu *const *sets = lathe_cpu_sets(&n_sets);
    const double bandwidth = lathe_measure_bandwidth(1, (size_t) 256 << 20);
    lathe_error err = {0};
    printf("one thread, matrices of 5632 x 2048; memory is read at %.1f GB/s\n", bandwidth * 1e-9);
    for (size_t s = 0; s < n_sets; s++) {
        if (!sets[s]->is_usable() || (only != NULL ? strcmp(only, sets[s]->name) != 0 : s == 0))
            continue;
        const double bytes = lathe_measure_peak(sets[s], false, 1),
                     floats = lathe_measure_peak(sets[s], true, 1);
        printf("%s: peak %.0f GOP/s in bytes, %.0f in floats\n%-6s %4s %9s %8s %8s  of memory, of peak\n",
               sets[s]->name, bytes * 1e-9, floats * 1e-9, "type", "T", "ms", "GB/s", "GOP/s");
        for (int type = 0; type < LATHE_PACKED_TYPES; type++)
            for (size_t c = 0; c < LATHE_LEN(columns); c++) {
                const lathe_packed_type t = (lathe_packed_type) type;
                lathe_product_speed v;
                if (lathe_measure_product(sets[s], t, 5632, 2048, columns[c], 1, &v, &err) != LATHE_OK) {
                    fprintf(stderr, "%s\n", err.text);
                    return 1;
                }
                printf("%-6s %4d %9.3f %8.1f %8.1f     %4.0f%%    %4.0f%%\n", lathe_packed_type_name(t),
                       (int) columns[c], v.seconds * 1e3, v.bytes / v.seconds * 1e-9,
                       v.ops / v.seconds * 1e-9, 100.0 * v.bytes / v.seconds / bandwidth,
                       100.0 * v.ops / v.seconds / (lathe_packed_takes_floats(t) ? floats : bytes));
            }
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--bench") == 0)
        return bench(argc > 2 ? argv[2] : NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_set_agrees_with_doubles_on_random_shapes),
        cmocka_unit_test(extreme_bytes_do_not_saturate),
        cmocka_unit_test(q8_0_row_by_hand),
        cmocka_unit_test(nan_and_infinity_reach_every_row_of_their_column_only),
        cmocka_unit_test(tiny_and_zero_activations_give_finite_results),
        cmocka_unit_test(names_choose_sets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
