/* measure.h - what a processor's kernels reach, and what they could reach: for `lathe bench --kernels` and
 * `tests/kernels --bench`. */
#ifndef LATHE_TENSOR_CPU_MEASURE_H
#define LATHE_TENSOR_CPU_MEASURE_H

#include "tensor/cpu/cpu.h"

/* One product: W [n_rows, n_cols] of a packed type times n_x columns. */
typedef struct lathe_product_speed {
    double seconds; /* of one product, the best of a few passes over matrices that no cache holds */
    double bytes;   /* of the packed matrix */
    double ops;     /* multiplications and additions */
} lathe_product_speed;

/* Random weights and activations; n_cols as lathe_packed has it. Takes about 0.1 s and 200 MB, on n_threads.
 */
LATHE_NODISCARD lathe_status lathe_measure_product(const lathe_cpu *cpu, lathe_packed_type type,
                                                   int64_t n_rows, int64_t n_cols, int64_t n_x, int n_threads,
                                                   lathe_product_speed *speed, lathe_error *err);
/* Operations a second of the set's multiply-add alone, with operands in registers and in the first-level
 * cache: of bytes, or of floats. 0: no threads. */
double lathe_measure_peak(const lathe_cpu *cpu, bool floats, int n_threads);

#endif
