/* density.c - the spectral density of an operator by stochastic Lanczos quadrature (Ubaru, Chen and Saad
 * 2017; Ghorbani et al. 2019). */
#include <math.h>
#include <stdlib.h>

#include "lathe/probe.h"
#include "probe/signs.h"

#define WIDTH 0.01 /* of the range, a Gaussian's standard deviation */

lathe_status lathe_probe_density(lathe_operator apply, void *user, size_t n, int32_t m, int32_t probes,
                                 uint64_t seed, size_t n_x, double *x, double *density, lathe_error *err) {
    if (probes < 1 || probes > 100000 || m < 2 || m > 4096 || n_x < 2)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "a density takes 2 to 4096 steps, a probe and two points at least");
    size_t each = (size_t) m;
    double *values = malloc(3 * each * (size_t) probes * sizeof *values), low = INFINITY, high = -INFINITY;
    float *q = malloc(n * sizeof *q);
    int32_t *found = calloc((size_t) probes, sizeof *found);
    lathe_status status = LATHE_OK;
    if (values == NULL || q == NULL || found == NULL)
        status = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a density of %d probes", probes);
    for (int32_t p = 0; p < probes && status == LATHE_OK; p++) {
        double *v = values + 3 * each * (size_t) p;
        lathe_probe_signs(seed, (uint32_t) p + 1, n, q);
        status = lathe_probe_lanczos(apply, user, n, m, q, 0, v, v + each, v + 2 * each, &found[p], err);
        if (status == LATHE_OK) {
            low = fmin(low, v[0]);
            high = fmax(high, v[found[p] - 1]);
        }
    }
    double sigma = WIDTH * (high > low ? high - low : fmax(1e-12, fabs(high)));
    for (size_t i = 0; status == LATHE_OK && i < n_x; i++) {
        x[i] = low - 3 * sigma + (high - low + 6 * sigma) * (double) i / (double) (n_x - 1);
        density[i] = 0;
        for (int32_t p = 0; p < probes; p++)
            for (int32_t k = 0; k < found[p]; k++) {
                const double *v = values + 3 * each * (size_t) p;
                double d = (x[i] - v[k]) / sigma;
                density[i] +=
                    v[2 * each + (size_t) k] * exp(-d * d / 2) / (sigma * sqrt(2 * acos(-1.0)) * probes);
            }
    }
    free(values);
    free(q);
    free(found);
    return status;
}
