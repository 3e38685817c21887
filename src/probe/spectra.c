/* spectra.c - how evenly a matrix uses its directions. */
#include <lapacke.h>
#include <math.h>
#include <stdlib.h>

#include "lathe/probe.h"

/* Quantile p of n values that fall, by linear interpolation. */
static double quantile(const double *s, int n, double p) {
    double at = (n - 1) * (1 - p);
    int low = (int) floor(at);
    int high = low + 1 < n ? low + 1 : low;
    double a = s[low] * s[low], b = s[high] * s[high];
    return a + (at - low) * (b - a);
}

lathe_status lathe_probe_spectrum(const float *w, int64_t rows, int64_t cols, lathe_spectrum *out,
                                  lathe_error *err) {
    if (rows < 2 || cols < 2)
        return lathe_fail(err, LATHE_ERR_INPUT, "spectra need a matrix, this is %lld x %lld",
                          (long long) rows, (long long) cols);
    if (rows > 65536 || cols > 65536 || rows * cols > (int64_t) 1 << 28)
        return lathe_fail(err, LATHE_ERR_UNSUPPORTED, "a matrix of %lld x %lld is too large for its spectrum",
                          (long long) rows, (long long) cols);
    int64_t p = rows < cols ? rows : cols, n = rows * cols;
    double *a = malloc((size_t) (n + p) * sizeof *a);
    if (a == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the spectrum of a %lld x %lld matrix",
                          (long long) rows, (long long) cols);
    for (int64_t i = 0; i < n; i++) {
        a[i] = w[i];
        if (!isfinite(a[i])) {
            free(a);
            return lathe_fail(err, LATHE_ERR_INPUT, "element %lld is not finite", (long long) i);
        }
    }
    double *s = a + n, total = 0, flat = 0;
    /* row-major w is column-major w^T, which has the same singular values */
    lapack_int info = LAPACKE_dgesdd(LAPACK_COL_MAJOR, 'N', (lapack_int) cols, (lapack_int) rows, a,
                                     (lapack_int) cols, s, NULL, 1, NULL, 1);
    lathe_status status = LATHE_OK;
    if (info != 0)
        status = lathe_fail(err, LATHE_ERR_NUMERIC, "the singular values did not converge");
    else if (!(s[0] > 0))
        status = lathe_fail(err, LATHE_ERR_INPUT, "the matrix is zero");
    if (status == LATHE_OK) {
        lathe_spectrum r = {.s_max = s[0]};
        while (r.n < p && s[r.n] > 1e-7 * s[0])
            total += s[r.n] * s[r.n], r.n++;
        for (int i = 0; i < r.n; i++) {
            double q = s[i] * s[i] / total;
            flat -= q * log(q);
            r.top1 += i < 1 ? q : 0;
            r.top10 += i < 10 ? q : 0;
        }
        r.entropy = r.n > 1 ? flat / log(r.n) : 0;
        r.effective_rank = exp(flat);
        r.q75_25 = quantile(s, r.n, 0.75) / quantile(s, r.n, 0.25);
        r.fro = sqrt(total);
        r.stable_rank = total / (s[0] * s[0]);
        *out = r;
    }
    free(a);
    return status;
}
