/* loops.h - inner loops of spanning trees, compiled for several processors. NaN marks nodes of the tree: no
 * comparison touches them. */
#ifndef LATHE_TREE_LOOPS_H
#define LATHE_TREE_LOOPS_H

#include "lathe/base.h"

enum { LATHE_LANES = 16 };

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
    /* phi[b] = phi^2 of the pairs of one row: (n c11 - ones_a ones_b)^2 * scale_a * scale[b]. */
    void (*phi)(const uint32_t *counts, const uint32_t *ones, const double *scale, int32_t n_b, double n,
                double ones_a, double scale_a, float *phi);
    /* relax and largest at once, in single precision; m a multiple of LATHE_LANES; *largest the new largest.
     */
    void (*step)(float *best, int32_t *from, const float *row, int32_t m, int32_t c, float *largest);
    /* The first block of LATHE_LANES, m a multiple of them, with a value of at least x; m if there is none.
     */
    int32_t (*reach)(const float *a, int32_t m, float x, int32_t from);
} lathe_loop_set;

/* The set for this processor. */
const lathe_loop_set *lathe_loops(void);

#endif
