/* every_set.c - all sets of kernels that this processor has, against the scalar one, bit for bit. A program
 * of its own without libraries, so that it can be compiled for another processor and run by an emulator
 * (neon.sh); the scalar set is compared with doubles in test_matmul.c. Usage: every_set SET...: these must be
 * usable. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/cpu/attention_set.h"
#include "tensor/cpu/cpu.h"

/* Not compared here (test_attention.c). */
const lathe_attention_set lathe_attention_scalar, lathe_attention_neon;

enum { ROWS_MAX = 70, BLOCKS_MAX = 3, X_MAX = 19, CANARY = 0x5a };

static uint64_t state = 0x123456789abcdefu;

static uint32_t random_bits(void) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t) (state >> 32);
}

static void *memory(size_t n) {
    void *p = aligned_alloc(64, (n + 63) / 64 * 64);
    if (p == NULL)
        exit(3);
    return p;
}

/* Random bytes in the file's blocks, all alike for extreme 1 to 4; scales are small normal halves. */
static void random_source(lathe_packed_type type, uint8_t *p, size_t n, int extreme) {
    static const uint8_t bytes[5] = {0, 0x00, 0xff, 0x80, 0x7f};
    static const struct {
        size_t block, scale[2];
    } at[LATHE_PACKED_TYPES] = {{18, {0, 0}},      {34, {0, 0}}, {144, {0, 2}}, {176, {0, 2}},
                                {210, {208, 208}}, {2, {0, 0}},  {2, {0, 0}}};
    for (size_t i = 0; i < n; i++)
        p[i] = extreme > 0 ? bytes[extreme] : (uint8_t) random_bits();
    for (size_t b = 0; b + at[type].block <= n; b += at[type].block)
        for (int s = 0; s < 2; s++) {
            p[b + at[type].scale[s]] = (uint8_t) random_bits();
            p[b + at[type].scale[s] + 1] = (uint8_t) ((random_bits() & 0x83) | 0x20);
        }
}

static int failures = 0;

static void expect(bool ok, const lathe_cpu *cpu, const char *what, lathe_packed_type type, int64_t rows,
                   int64_t cols, int64_t n_x) {
    if (ok)
        return;
    printf("%s: %s of %s %d x %d x %d\n", cpu->name, what, lathe_packed_type_name(type), (int) rows,
           (int) cols, (int) n_x);
    failures++;
}

static bool same(const float *a, const float *b, int64_t n) {
    for (int64_t i = 0; i < n; i++) /* a NaN is a NaN, whichever */
        if (memcmp(&a[i], &b[i], sizeof a[i]) != 0 && !(isnan(a[i]) && isnan(b[i])))
            return false;
    return true;
}

static void one(const lathe_cpu *cpu, lathe_packed_type type, int64_t rows, int64_t cols, int64_t n_x,
                int extreme, bool broken) {
    lathe_packed w = {type, cols, rows, NULL};
    const int64_t groups = lathe_packed_groups(&w), ldy = rows + 5;
    const size_t row = lathe_packed_source_row(type, cols), column = lathe_activation_bytes(cols);
    const bool floats = lathe_packed_takes_floats(type);
    uint8_t *source = memory(row * (size_t) rows);
    w.data = memory((size_t) groups * lathe_packed_group_bytes(type, cols));
    random_source(type, source, row * (size_t) rows, extreme);
    lathe_pack(&w, source, 0, groups);
    float *x = memory((size_t) (cols * n_x) * sizeof(float));
    for (int64_t i = 0; i < cols * n_x; i++)
        x[i] = extreme > 0 ? (extreme % 2 ? 1.0f : -1.0f)
                           : (float) ((double) random_bits() / 4294967296.0 - 0.4);
    if (broken)
        x[cols / 2] = random_bits() % 2 ? NAN : -INFINITY;
    uint8_t *q[2] = {memory(column * (size_t) n_x), memory(column * (size_t) n_x)};
    const size_t n_y = (size_t) (ldy * n_x);
    float *y[2] = {memory(n_y * sizeof(float)), memory(n_y * sizeof(float))};
    const lathe_cpu *two[2] = {&lathe_cpu_scalar, cpu};
    for (int s = 0; s < 2; s++) {
        memset(q[s], 0, column * (size_t) n_x);
        for (int64_t t = 0; t < n_x && !floats; t++)
            two[s]->quantise(cols, x + t * cols, q[s] + (size_t) t * column);
        memset(y[s], CANARY, n_y * sizeof(float));
        const void *in = floats ? (const void *) x : q[s];
        two[s]->matmul(&w, in, n_x, y[s], ldy, groups / 2, groups);
        two[s]->matmul(&w, in, n_x, y[s], ldy, 0, groups / 2);
    }
    for (int64_t t = 0; t < n_x && !floats; t++) {
        const lathe_activation *a = (const void *) (q[0] + (size_t) t * column),
                               *b = (const void *) (q[1] + (size_t) t * column);
        for (int64_t i = 0; i < cols / 32; i++)
            expect(memcmp(a[i].q, b[i].q, 32) == 0 && same(&a[i].scale, &b[i].scale, 2) &&
                       memcmp(&a[i].minus_8, &b[i].minus_8, 20) == 0,
                   cpu, "activations", type, rows, cols, n_x);
    }
    expect(same(y[0], y[1], (int64_t) n_y), cpu, "bits", type, rows, cols, n_x); /* canaries included */
    for (int64_t t = 0; t < n_x; t++) {
        const void *in = floats ? (const void *) (x + t * cols) : q[1] + (size_t) t * column;
        float alone[ROWS_MAX];
        cpu->matmul(&w, in, 1, alone, rows, 0, groups);
        expect(same(alone, y[0] + t * ldy, rows), cpu, "a column alone", type, rows, cols, n_x);
    }
    for (int s = 0; s < 2; s++) {
        free(q[s]);
        free(y[s]);
    }
    free(source);
    free(w.data);
    free(x);
}

int main(int argc, char **argv) {
    size_t n;
    const lathe_cpu *const *sets = lathe_cpu_sets(&n);
    for (int i = 1; i < argc; i++)
        if (lathe_cpu_best(argv[i]) == NULL) {
            printf("%s is not usable here\n", argv[i]);
            failures++;
        }
    for (size_t s = 1; s < n; s++) {
        if (!sets[s]->is_usable())
            continue;
        for (int c = 0; c < 84; c++) {
            const lathe_packed_type type = (lathe_packed_type) (c % LATHE_PACKED_TYPES);
            const int64_t cols = lathe_packed_block(type) * (1 + random_bits() % BLOCKS_MAX);
            one(sets[s], type, 1 + random_bits() % ROWS_MAX, cols, 1 + random_bits() % X_MAX,
                c % 3 == 2 ? 1 + (int) (random_bits() % 4) : 0, c % 5 == 4);
        }
        printf("%s: compared\n", sets[s]->name);
    }
    return failures > 0;
}
