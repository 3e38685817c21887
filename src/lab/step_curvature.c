/* step_curvature.c - see step_curvature.h. One Hessian-vector product a layer gives the whole block matrix.
 */
#include "lab/step_curvature.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GRID = 12, POINTS_MAX = 64 };

lathe_status lathe_step_curvature_measure(lathe_small_net *net, const float *before, const float *after,
                                          const float *gradient, double loss, lathe_step_curvature *out,
                                          lathe_error *err) {
    const size_t n = lathe_small_net_n(net), n_tensors = lathe_small_net_n_tensors(net);
    lathe_step_curvature r = {0};
    double after_loss;
    for (size_t i = 0; i < n_tensors; i++)
        if (lathe_small_net_tensor(net, i)->layer >= LATHE_STEP_LAYERS)
            return lathe_fail(err, LATHE_ERR_ARG, "the curvature of a step is split over %d layers",
                              LATHE_STEP_LAYERS);
    float *part = malloc(2 * n * sizeof *part);
    if (!part)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for vectors of %zu parameters", n);
    float *h = part + n;
    lathe_small_net_set(net, after);
    lathe_status st = lathe_small_net_loss(net, &after_loss, NULL, err);
    lathe_small_net_set(net, before);
    for (size_t i = 0; i < n; i++) {
        const double z = (double) before[i] - after[i];
        r.gain += gradient[i] * z;
        r.norm2 += z * z;
    }
    double norm2_matrices = 0, q_matrices = 0, q = 0;
    for (int32_t l = 0; !st && l < LATHE_STEP_LAYERS; l++) {
        for (size_t i = 0; i < n_tensors; i++) {
            const lathe_small_tensor *t = lathe_small_net_tensor(net, i);
            for (size_t k = t->at; k < t->at + (size_t) (t->rows * t->cols); k++) {
                part[k] = t->layer == l ? before[k] - after[k] : 0;
                if (l == 0 && t->part >= LATHE_SMALL_Q && t->part <= LATHE_SMALL_OUT)
                    norm2_matrices += pow((double) before[k] - after[k], 2);
            }
        }
        st = lathe_small_net_product(net, part, h, err);
        for (size_t i = 0; !st && i < n_tensors; i++) {
            const lathe_small_tensor *t = lathe_small_net_tensor(net, i);
            for (size_t k = t->at; k < t->at + (size_t) (t->rows * t->cols); k++)
                r.blocks[l][t->layer] += ((double) before[k] - after[k]) * h[k];
        }
    }
    lathe_small_net_set(net, after);
    free(part);
    if (st)
        return st;
    if (!(r.norm2 > 0))
        return lathe_fail(err, LATHE_ERR_NUMERIC, "the step is zero: its sharpness is undefined");
    for (int l = 0; l < LATHE_STEP_LAYERS; l++)
        for (int k = 0; k < LATHE_STEP_LAYERS; k++) {
            q += r.blocks[l][k];
            *(l == k ? &r.within : &r.cross) += r.blocks[l][k] / r.norm2;
            if (l > 0 && k > 0 && l + 1 < LATHE_STEP_LAYERS &&
                k + 1 < LATHE_STEP_LAYERS) /* blocks are all matrices */
                q_matrices += r.blocks[l][k];
        }
    r.decrease = loss - after_loss;
    r.penalty = q / 2;
    r.sharpness = q / r.norm2;
    r.sharpness_matrices = norm2_matrices > 0 ? q_matrices / norm2_matrices : NAN;
    r.taylor_gap =
        fabs(r.decrease - (r.gain - r.penalty)) / fmax(fmax(fabs(r.decrease), fabs(r.gain)), 1e-12);
    *out = r;
    return LATHE_OK;
}

/* Keeps the points that lower the loss; the loss falls along the result. */
static int32_t falling(const double *loss, const double *v, int32_t n, double *x, double *y) {
    int32_t m = 0;
    for (int32_t i = 0; i < n && m < POINTS_MAX; i++)
        if (m == 0 || loss[i] < x[m - 1]) {
            x[m] = loss[i];
            y[m++] = v[i];
        }
    return m;
}

static double at(const double *x, const double *y, int32_t n, double where) {
    if (where >= x[0])
        return y[0];
    for (int32_t i = 1; i < n; i++)
        if (where >= x[i])
            return y[i] + (y[i - 1] - y[i]) * (where - x[i]) / (x[i - 1] - x[i]);
    return y[n - 1];
}

double lathe_matched_ratio(const double *loss_a, const double *a, int32_t n_a, double final_a,
                           const double *loss_b, const double *b, int32_t n_b, double final_b) {
    double xa[POINTS_MAX], ya[POINTS_MAX], xb[POINTS_MAX], yb[POINTS_MAX];
    const int32_t ma = falling(loss_a, a, n_a, xa, ya), mb = falling(loss_b, b, n_b, xb, yb);
    const double low = fmax(final_a, final_b), high = ma > 0 && mb > 0 ? fmin(xa[0], xb[0]) : -INFINITY;
    if (!(high > low))
        return NAN;
    double sum_a = 0, sum_b = 0;
    for (int k = 1; k <= GRID; k++) {
        const double where = low + (high - low) * k / (GRID + 1);
        sum_a += at(xa, ya, ma, where);
        sum_b += at(xb, yb, mb, where);
    }
    return sum_a / sum_b;
}
