/* lanczos.c - eigenvalues and trace of an operator that is known by its products only. */
#include <lapacke.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng_purpose.h"
#include "lathe/probe.h"
#include "probe/signs.h"

static double dot(const float *a, const float *b, size_t n) {
    double s = 0;
    for (size_t i = 0; i < n; i++)
        s += (double) a[i] * b[i];
    return s;
}

/* Random signs of a probe: one bit a position, 128 positions a block. */
void lathe_probe_signs(uint64_t seed, uint32_t probe, size_t n, float *out) {
    for (size_t i = 0; i < n; i += 128) {
        uint32_t word[4];
        lathe_philox(seed, LATHE_RNG_PROBE_VECTOR, probe, (uint32_t) (i / 128),
                     (uint32_t) ((uint64_t) i / 128 >> 32), word);
        for (size_t k = 0; k < 128 && i + k < n; k++)
            out[i + k] = word[k / 32] >> (k % 32) & 1 ? 1 : -1;
    }
}

lathe_status lathe_probe_lanczos(lathe_operator apply, void *user, size_t n, int32_t m, const float *q1,
                                 uint64_t seed, double *values, double *residuals, double *weights,
                                 int32_t *n_found, lathe_error *err) {
    if (m < 1 || m > 4096 || n < 1 || n > SIZE_MAX / 8 / ((size_t) m + 1))
        return lathe_fail(err, LATHE_ERR_ARG, "Lanczos takes 1 to 4096 steps on a space that is not empty");
    if ((size_t) m > n)
        m = (int32_t) n;
    size_t steps = (size_t) m;
    float *basis = malloc((steps + 1) * n * sizeof *basis);
    double *a = calloc(2 * steps + steps * steps + steps, sizeof *a);
    if (basis == NULL || a == NULL) {
        free(basis);
        free(a);
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %d vectors of %zu", m, n);
    }
    double *b = a + steps, *vectors = b + steps, *beta = vectors + steps * steps;
    if (q1 != NULL)
        memcpy(basis, q1, n * sizeof *basis);
    else
        lathe_probe_signs(seed, 0, n, basis);
    double length = sqrt(dot(basis, basis, n)), largest = 0;
    lathe_status status = length > 0 ? LATHE_OK : lathe_fail(err, LATHE_ERR_ARG, "the first vector is zero");
    for (size_t i = 0; status == LATHE_OK && i < n; i++)
        basis[i] = (float) (basis[i] / length);
    int32_t k = 0;
    while (status == LATHE_OK && k < m) {
        float *q = basis + (size_t) k * n, *z = q + n;
        status = apply(user, q, z, err);
        if (status != LATHE_OK)
            break;
        a[k] = dot(z, q, n);
        for (int pass = 0; pass < 2; pass++) /* full reorthogonalisation, twice */
            for (int32_t j = 0; j <= k; j++) {
                const float *old = basis + (size_t) j * n;
                double c = dot(old, z, n);
                for (size_t i = 0; i < n; i++)
                    z[i] = (float) (z[i] - c * old[i]);
            }
        beta[k] = sqrt(dot(z, z, n));
        largest = fmax(largest, fmax(fabs(a[k]), beta[k]));
        k++;
        if (!(beta[k - 1] > 1e-7 * largest)) { /* the space is exhausted to f32 */
            beta[k - 1] = 0;
            break;
        }
        for (size_t i = 0; i < n; i++)
            z[i] = (float) (z[i] / beta[k - 1]);
    }
    if (status == LATHE_OK) {
        memcpy(values, a, (size_t) k * sizeof *values);
        memcpy(b, beta, (size_t) k * sizeof *b);
        if (LAPACKE_dstev(LAPACK_ROW_MAJOR, 'V', k, values, b, vectors, k) != 0)
            status = lathe_fail(err, LATHE_ERR_NUMERIC, "the tridiagonal eigenvalues did not converge");
    }
    for (int32_t i = 0; status == LATHE_OK && i < k; i++) {
        residuals[i] = beta[k - 1] * fabs(vectors[(size_t) (k - 1) * (size_t) k + (size_t) i]);
        weights[i] = vectors[i] * vectors[i];
    }
    if (status == LATHE_OK)
        *n_found = k;
    free(basis);
    free(a);
    return status;
}

lathe_status lathe_probe_trace(lathe_operator apply, void *user, size_t n, int32_t probes, uint64_t seed,
                               double *mean, double *error, lathe_error *err) {
    if (probes < 1 || n < 1 || n > SIZE_MAX / 16)
        return lathe_fail(err, LATHE_ERR_ARG, "a trace needs at least one probe");
    float *z = malloc(2 * n * sizeof *z);
    if (z == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for probes of %zu", n);
    double sum = 0, squares = 0;
    lathe_status status = LATHE_OK;
    for (int32_t i = 0; i < probes && status == LATHE_OK; i++) {
        lathe_probe_signs(seed, (uint32_t) i + 1, n, z);
        status = apply(user, z, z + n, err);
        double x = status == LATHE_OK ? dot(z, z + n, n) : 0;
        sum += x;
        squares += x * x;
    }
    free(z);
    if (status != LATHE_OK)
        return status;
    *mean = sum / probes;
    double spread = squares / probes - *mean * *mean;
    *error = probes > 1 ? sqrt(fmax(0, spread) / (probes - 1)) : NAN;
    return LATHE_OK;
}
