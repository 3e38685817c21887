/* popcount.h - counts of rows in which two packed columns are both 1. */
#ifndef LATHE_TREE_POPCOUNT_H
#define LATHE_TREE_POPCOUNT_H

#include "lathe/base.h"

/* counts[a * stride + b] = popcount(x_a & y_b) for a < n_a, b < n_b; columns of n_words 64-bit words (a
 * multiple of 8), one after another. */
typedef void lathe_popcount_fn(const uint64_t *x, int32_t n_a, const uint64_t *y, int32_t n_b,
                               int64_t n_words, uint32_t *counts, int32_t stride);

typedef struct lathe_popcount_kernel {
    const char *name;
    lathe_popcount_fn *tile;
    /* The lowest bits of codes[n] as words[n_words]; what lies beyond n is zero. */
    void (*pack)(const uint16_t *codes, int64_t n, uint64_t *words, int64_t n_words);
    bool (*usable)(void); /* on this processor */
} lathe_popcount_kernel;

extern const lathe_popcount_kernel lathe_popcount_kernels[]; /* fastest first; the last always works */
extern const size_t lathe_n_popcount_kernels;
/* The fastest usable one that the environment's LATHE_CPU (scalar, avx2, avx512) allows. */
const lathe_popcount_kernel *lathe_popcount_best(void);

#endif
