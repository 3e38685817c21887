/* loops.h - inner loops of spanning trees, compiled for several processors. NaN marks nodes of the tree: no
 * comparison touches them. */
#ifndef LATHE_TREE_LOOPS_H
#define LATHE_TREE_LOOPS_H

#include "lathe/base.h"

enum { LATHE_LANES = 16, LATHE_WIDE = 32, LATHE_JOINED = 0xffff };

/* A number of [0, 1] in 16 bits, in order: 5 of the exponent and 11 of the fraction, rounded down; 0 below
 * 2^-31. */
uint16_t lathe_rank(float x);
/* to[j][i] = from[i][j] for i < n_rows, j < n_columns; strides in elements. */
void lathe_turn(const uint16_t *from, int64_t from_stride, int32_t n_rows, int32_t n_columns, uint16_t *to,
                int64_t to_stride);

/* Sums in eight lanes, added up in a fixed order: the same bits on every processor. */
double lathe_sum(const double *x, int64_t n);
double lathe_dot(const double *x, const double *y, int64_t n);

typedef struct lathe_loop_set {
    /* Node c joins: the better of row[k] and best[k] stays, by node c where row is better. Returns whether
     * some were equal. */
    bool (*relax)(double *best, int32_t *from, const double *row, int32_t m, int32_t c);
    /* The largest of best[m], -infinity if there is none. */
    double (*largest)(const double *best, int32_t m);
    /* The first k >= from with a[k] == x; m if there is none. */
    int32_t (*find)(const double *a, int32_t m, double x, int32_t from);
    /* The first block of LATHE_LANES pairs from `from` on (a multiple) of which one has phi^2 >= bound /
     * spread of the row, counts being those of (1, 1); the last, shorter block where there is none. */
    int32_t (*promising)(const uint32_t *counts, const uint32_t *ones, const double *spread, int32_t n_b,
                         int32_t from, double n, double ones_a, double bound);
    /* rank[b] = lathe_rank of phi^2 of the pairs of one row: (n c11 - ones_a ones_b)^2 * scale_a * scale[b].
     */
    void (*ranks)(const uint32_t *counts, const uint32_t *ones, const double *scale, int32_t n_b, int64_t n,
                  uint32_t ones_a, double scale_a, uint16_t *rank);
    /* Node c joins (best[c] = LATHE_JOINED): the better of row[k] and best[k] stays, by node c where row is
     * better; m a multiple of LATHE_WIDE. *largest: the largest of nodes outside; returns where it is (any
     * node where it is 0). */
    int32_t (*step)(uint16_t *best, uint16_t *from, const uint16_t *row, int32_t m, uint16_t c,
                    uint16_t *largest);
    /* The first block of LATHE_WIDE, m a multiple of them, with a value of at least x; m if there is none. */
    int32_t (*reach)(const uint16_t *a, int32_t m, uint16_t x, int32_t from);
} lathe_loop_set;

/* The set for this processor, as far as the environment's LATHE_CPU (scalar, avx2, avx512) allows. */
const lathe_loop_set *lathe_loops(void);

#endif
