/* cpu.h - our own kernels for the processor: products of quantised weights with few or many columns.
 *
 * One template is compiled per instruction set (matmul_tmpl.h over simd_*.h) and reached through a table of
 * functions, chosen once by lathe_cpu_best(). Integer sums are exact and the order of the float sums is the
 * same everywhere, with explicit fused multiply-adds: a column's bits depend neither on how many columns are
 * computed, nor on threads, nor on the instruction set.
 *
 * Packed weights: groups of 16 rows (missing rows are zeros), whose blocks of 32 columns follow each other.
 * Lanes are rows: 4 weights of each of 16 rows are one line of 64 bytes, and one broadcast of 4 activations
 * feeds one multiply-add of bytes without a horizontal sum. Sizes equal those of the file's types but for
 * q4_K (4.625 instead of 4.5 bits a weight) and q5_K (5.625), whose 6-bit scales are kept as bytes. */
#ifndef LATHE_TENSOR_CPU_CPU_H
#define LATHE_TENSOR_CPU_CPU_H

#include "lathe/base.h"
#include "tensor/cpu/attention_args.h"

typedef enum lathe_packed_type {
    LATHE_PACKED_Q4_0,
    LATHE_PACKED_Q8_0,
    LATHE_PACKED_Q4_K,
    LATHE_PACKED_Q5_K,
    LATHE_PACKED_Q6_K,
    LATHE_PACKED_F16,
    LATHE_PACKED_BF16,
    LATHE_PACKED_TYPES
} lathe_packed_type;

enum { LATHE_PACKED_ROWS = 16, LATHE_CPU_SETS_MAX = 4 };

/* A matrix [n_rows, n_cols] in packed form. */
typedef struct lathe_packed {
    lathe_packed_type type;
    int64_t n_cols; /* a multiple of 32 (of 256 for the K types, of 8 for f16 and bf16) */
    int64_t n_rows; /* >= 1 */
    uint8_t *data;  /* aligned to 64 */
} lathe_packed;

/* 32 quantised activations; as wide as a line of the first-level cache, with all that a type's sums start
 * from. */
typedef struct lathe_activation {
    int8_t q[32];
    float scale;         /* activation = scale * q */
    float scaled_sum;    /* scale * sum of q */
    int32_t minus_8;     /* -8 * sum of q */
    int32_t minus_128;   /* -128 * sum of q */
    int32_t minus_32[2]; /* -32 * sum of the first and of the last 16 */
    int16_t minus_16[2]; /* -16 * the same */
    int32_t unused;
} lathe_activation;

/* One instruction set. */
typedef struct lathe_cpu {
    const char *name; /* "scalar", "avx2", "avxvnni", "avx512", "neon", "i8mm" */
    bool (*is_usable)(void);
    /* Activations x[n] (n a multiple of 32) to int8: out holds lathe_activation_bytes(n) bytes, aligned to
     * 64. Each block of 32 is scaled by its largest magnitude / 127 and rounded to nearest, ties to even. A
     * block with a NaN or an infinity gets the scale NaN: all results of the column are NaN then. */
    void (*quantise)(int64_t n, const float *x, void *out);
    /* y[t * ldy + row] = W x_t for rows of the groups [group_first, group_end) and columns t in [0, n_x). x
     * holds n_x quantised columns, lathe_activation_bytes(w->n_cols) apart; for weights f16 and bf16 n_x
     * columns of floats, n_cols apart (a NaN or an infinity in them is met as IEEE arithmetic has it). Never
     * writes past n_rows. */
    void (*matmul)(const lathe_packed *w, const void *x, int64_t n_x, float *y, int64_t ldy,
                   int64_t group_first, int64_t group_end);
    /* n rounds of independent multiply-adds (of bytes, or of floats) with nothing around them; returns the
     * number of operations. */
    double (*spin)(int64_t n, bool floats);
    const struct lathe_attention_set *attention; /* attention_set.h */
} lathe_cpu;

extern const lathe_cpu lathe_cpu_scalar;
#if defined(__x86_64__) && defined(__GNUC__)
extern const lathe_cpu lathe_cpu_avx2, lathe_cpu_avxvnni, lathe_cpu_avx512;
#elif defined(__aarch64__) && defined(__GNUC__)
extern const lathe_cpu lathe_cpu_neon, lathe_cpu_i8mm;
#endif

/* All sets of this build, slowest first; usable or not. */
const lathe_cpu *const *lathe_cpu_sets(size_t *n);
/* The fastest usable set; `name` (LATHE_CPU's value; NULL: none) forces one. NULL for "ggml", and where the
 * named set is unknown or unusable here. */
const lathe_cpu *lathe_cpu_best(const char *name);

const char *lathe_packed_type_name(lathe_packed_type type);
/* Columns must be a multiple of this. */
int64_t lathe_packed_block(lathe_packed_type type);
/* Bytes of a row of `n_cols` as the file has it. */
size_t lathe_packed_source_row(lathe_packed_type type, int64_t n_cols);
/* Bytes of a group of 16 packed rows. */
size_t lathe_packed_group_bytes(lathe_packed_type type, int64_t n_cols);
int64_t lathe_packed_groups(const lathe_packed *w);
/* Packs the groups [group_first, group_end) from rows in the file's block format. */
void lathe_pack(const lathe_packed *w, const void *source, int64_t group_first, int64_t group_end);

/* Whether x of a product is floats, not quantised activations. */
bool lathe_packed_takes_floats(lathe_packed_type type);
/* Bytes of a column of n quantised activations: n / 32 of lathe_activation, and one more so that columns do
 * not meet in the same lines of a cache. */
size_t lathe_activation_bytes(int64_t n);

/* IEEE half to float, exact; and back, to nearest, ties to even (NaN stays NaN). */
float lathe_half_to_float(uint16_t half);
uint16_t lathe_float_to_half(float value);

#endif
