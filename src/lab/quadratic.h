/* quadratic.h - the quadratic model of Wang et al. 2026: gradient descent against Muon with exact line
 * search, in the modes that diagonalise the Hessian. */
#ifndef LATHE_LAB_QUADRATIC_H
#define LATHE_LAB_QUADRATIC_H

#include "lathe/base.h"

/* q orthonormal rank-one modes: the first m have curvature high and gradient g_high, the others low and
 * g_low; 1 <= m < q, curvatures positive. Q(y) = -sum g_i y_i + sum w_i y_i^2 / 2, from y = 0. */
typedef struct lathe_quadratic {
    int32_t m, q;
    double high, low, g_high, g_low;
} lathe_quadratic;

/* steps steps of exact line search. gap [steps + 1]: Q - Q* before each step and at the end; sharpness
 * [steps]: <z, Hz> / |z|^2 of each step's direction (0 for a zero direction). muon: sign of each mode's
 * residual (momentum 0), else the residual itself. */
void lathe_quadratic_run(const lathe_quadratic *problem, bool muon, int32_t steps, double *gap,
                         double *sharpness);
/* Theorem (ii): rho + 1 > 1 / alpha > 1 + g_high / g_low. */
bool lathe_quadratic_heterogeneous(const lathe_quadratic *problem);

#endif
