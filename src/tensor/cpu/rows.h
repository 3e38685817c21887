/* rows.h - kernels over rows of floats that training spends its time in. One template is compiled per
 * instruction set and chosen when the program runs. Sums go over 16 lanes in a fixed order without
 * contraction: all sets give the same bits. */
#ifndef LATHE_TENSOR_CPU_ROWS_H
#define LATHE_TENSOR_CPU_ROWS_H

#include <stdint.h>

typedef struct lathe_rows {
    const char *name;
    /* The largest of x[n]; n >= 1. */
    float (*largest)(const float *x, int64_t n);
    /* out[i] = exp(x[i] - m) (out may be x), and their sum, in double over blocks. Relative error of a value
     * below 3e-7; 0 below -87. */
    double (*exp)(const float *x, int64_t n, float m, float *out);
    /* The sum alone. */
    double (*exp_sum)(const float *x, int64_t n, float m);
    /* x[i] *= a. */
    void (*scale)(float *x, int64_t n, float a);
    /* dp[i] = scale p[i] (dp[i] - sum p dp): from the gradient of probabilities to that of scores. */
    void (*softmax_back)(const float *p, float *dp, int64_t n, float scale);
    /* out = silu(gate) up, and its gradients from g (over gate and up, or elsewhere). */
    void (*swiglu)(const float *gate, const float *up, int64_t n, float *out);
    void (*swiglu_back)(const float *gate, const float *up, const float *g, int64_t n, float *dgate,
                        float *dup);
    /* Tangents of the two above along tgate and tup: out; dgate and dup, of in = gate, up, g, tgate,
     * tup, tg. */
    void (*swiglu_tangent)(const float *gate, const float *up, const float *tgate, const float *tup,
                           int64_t n, float *out);
    void (*swiglu_back_tangent)(const float *const in[6], int64_t n, float *dgate, float *dup);
    /* Of softmax_back: d, the gradient of probabilities p, becomes that of scores, and td, the tangent of d
     * along with tp, that of p, its tangent. */
    void (*softmax_back_tangent)(const float *p, const float *tp, float *d, float *td, int64_t n,
                                 float scale);
    /* The sum of x[i] y[i]. */
    float (*dot)(const float *x, const float *y, int64_t n);
} lathe_rows;

/* The fastest usable set; LATHE_CPU=scalar or avx2 forces one. */
const lathe_rows *lathe_rows_best(void);

#endif
