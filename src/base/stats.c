/* stats.c - see stats.h. */
#include "base/stats.h"

#include <math.h>

void lathe_sample_add(lathe_sample *sample, double x) {
    sample->n++;
    const double delta = x - sample->mean;
    sample->mean += delta / (double) sample->n;
    sample->m2 += delta * (x - sample->mean);
}

double lathe_sample_variance(const lathe_sample *sample) {
    return sample->n < 2 ? 0.0 : sample->m2 / (double) (sample->n - 1);
}

/* 97.5% quantile of Student's t: exact for 1 and 2 degrees, a table to 10, then Cornish-Fisher. */
static double t975(int64_t dof) {
    static const double table[] = {12.70620474, 4.30265273, 3.18244631, 2.77644511, 2.57058184,
                                   2.44691185,  2.36462425, 2.30600414, 2.26215716, 2.22813885};
    if (dof <= 10)
        return table[dof - 1];
    const double z = 1.959963984540054, z2 = z * z, v = (double) dof;
    return z + z * (z2 + 1) / (4 * v) + z * ((5 * z2 + 16) * z2 + 3) / (96 * v * v) +
           z * (((3 * z2 + 19) * z2 + 17) * z2 - 15) / (384 * v * v * v);
}

void lathe_sample_ci95(const lathe_sample *sample, double ci[2]) {
    ci[0] = ci[1] = sample->mean;
    if (sample->n < 2)
        return;
    const double half = t975(sample->n - 1) * sqrt(lathe_sample_variance(sample) / (double) sample->n);
    ci[0] -= half;
    ci[1] += half;
}

void lathe_wilson(int64_t k, int64_t n, double z, double ci[2]) {
    ci[0] = 0;
    ci[1] = 1;
    if (n <= 0)
        return;
    const double p = (double) k / (double) n, m = (double) n, z2 = z * z;
    const double centre = (p + z2 / (2 * m)) / (1 + z2 / m);
    const double half = z * sqrt(p * (1 - p) / m + z2 / (4 * m * m)) / (1 + z2 / m);
    ci[0] = k == 0 ? 0 : centre - half;
    ci[1] = k == n ? 1 : centre + half;
}

double lathe_normal_cdf(double x) {
    return 0.5 * erfc(-x / 1.4142135623730951);
}

/* The regularised upper incomplete gamma function Q(a, x): series below a + 1, continued fraction above. */
double lathe_chi2_tail(double x, double dof) {
    const double a = dof / 2, y = x / 2;
    if (!(y > 0))
        return 1;
    const double log_front = a * log(y) - y - lgamma(a);
    if (y < a + 1) {
        double term = 1 / a, sum = term;
        for (int i = 1; i < 100000 && term > sum * 1e-17; i++) {
            term *= y / (a + i);
            sum += term;
        }
        const double p = sum * exp(log_front);
        return p < 1 ? 1 - p : 0;
    }
    double b = y + 1 - a, c = 1e300, d = 1 / b, h = d;
    for (int i = 1; i < 100000; i++) {
        const double an = -i * (i - a);
        b += 2;
        d = an * d + b;
        d = 1 / (fabs(d) < 1e-300 ? 1e-300 : d);
        c = b + an / c;
        c = fabs(c) < 1e-300 ? 1e-300 : c;
        h *= c * d;
        if (fabs(c * d - 1) < 1e-16)
            break;
    }
    return h * exp(log_front);
}

double lathe_select(double *v, size_t n, size_t k) {
    size_t low = 0, high = n - 1;
    while (low < high) {
        const double pivot = v[low + (high - low) / 2];
        size_t i = low, j = high;
        for (;;) {
            while (v[i] < pivot)
                i++;
            while (v[j] > pivot)
                j--;
            if (i >= j)
                break;
            const double t = v[i];
            v[i++] = v[j];
            v[j--] = t;
        }
        /* v[low..j] <= pivot <= v[j + 1..high]; when i == j that element is the pivot */
        if (k <= j)
            high = j;
        else
            low = j + 1;
    }
    return v[k];
}

double lathe_median(double *v, size_t n) {
    const double upper = lathe_select(v, n, n / 2);
    return n % 2 ? upper : 0.5 * (upper + lathe_select(v, n, n / 2 - 1));
}
