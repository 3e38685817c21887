/* stats.h - running samples, intervals and tail probabilities that tests, benches and labs share. */
#ifndef LATHE_BASE_STATS_H
#define LATHE_BASE_STATS_H

#include "lathe/base.h"

/* Running mean and variance (Welford). Zero it to begin. */
typedef struct lathe_sample {
    int64_t n;
    double mean, m2;
} lathe_sample;

void lathe_sample_add(lathe_sample *sample, double x);
/* Unbiased variance; 0 below two values. */
double lathe_sample_variance(const lathe_sample *sample);
/* Two-sided 95% interval of the mean, Student's t; the point itself below two values. */
void lathe_sample_ci95(const lathe_sample *sample, double ci[2]);

/* Two-sided Wilson interval of a share: k of n, z standard errors (1.96 for 95%). */
void lathe_wilson(int64_t k, int64_t n, double z, double ci[2]);

double lathe_normal_cdf(double x);
/* P(chi-squared with `dof` degrees > x), x >= 0, dof > 0; relative accuracy about 1e-12. */
double lathe_chi2_tail(double x, double dof);
/* Median of v[n] (reorders v); n >= 1. Even n: mean of the middle two. */
double lathe_median(double *v, size_t n);
/* The k-th smallest of v[n] (reorders v). */
double lathe_select(double *v, size_t n, size_t k);

#endif
