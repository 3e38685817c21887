/* memory.h - one optimiser step on the linear associative memory of S. Wang et al. 2025 ("Muon Outperforms
 * Adam in Tail-End Associative Memory Learning"), exactly: n facts with orthonormal keys E and values V
 * (columns), weights W = 0, loss -sum_k p_k log softmax(V^T W e_k)_k. The first `head` facts share the mass
 * alpha, the others 1 - alpha. */
#ifndef LATHE_LAB_MEMORY_H
#define LATHE_LAB_MEMORY_H

#include "lathe/base.h"

typedef struct lathe_memory {
    int32_t n, head;
    double alpha;
} lathe_memory;

typedef enum lathe_memory_step { LATHE_MEMORY_GD, LATHE_MEMORY_SIGN, LATHE_MEMORY_MUON } lathe_memory_step;

/* Scores of a step of size 1: scores [n][n], row k: the score of each object for fact k. keys, values [n, n]
 * row-major (NULL: the identity). singular [n], falling: the step's singular values; NULL: not wanted. */
LATHE_NODISCARD lathe_status lathe_memory_scores(const lathe_memory *memory, lathe_memory_step step,
                                                 const double *keys, const double *values, double *scores,
                                                 double *singular, lathe_error *err);
/* What a step of size eta reaches: the largest and least probability of a right answer, and the loss. */
void lathe_memory_reach(const lathe_memory *memory, const double *scores, double eta, double *most,
                        double *least, double *loss);
/* The least probability when the step size makes the largest 1 - eps; eta may be NULL. */
double lathe_memory_balance(const lathe_memory *memory, const double *scores, double eps, double *eta);
/* Closed form of gradient descent: 1 / (1 + (n - 1)^(1 - r) (eps / (1 - eps))^r), r the ratio of the
 * frequencies. */
double lathe_memory_gd_least(const lathe_memory *memory, double eps);

/* Coupled embeddings: blocks of three dimensions rotated by fixed Euler angles; n divisible by 3. */
LATHE_NODISCARD lathe_status lathe_memory_coupled(int32_t n, double *keys, double *values, lathe_error *err);
/* The least probability of sign steps under coupled embeddings for any n, from the scores of a small one
 * without a mixed block (all its blocks are alike). */
double lathe_memory_coupled_least(const lathe_memory *small, const double *scores, double n, double eps);
/* A random orthogonal matrix [n, n]: QR of normal numbers. */
LATHE_NODISCARD lathe_status lathe_memory_orthogonal(lathe_rng *rng, int32_t n, double *out,
                                                     lathe_error *err);

#endif
