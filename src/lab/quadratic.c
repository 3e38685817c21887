/* quadratic.c - see quadratic.h. The two levels of modes move alike, so that two residuals are the whole
 * state. */
#include "lab/quadratic.h"

#include <math.h>

static double sign(double x) {
    return (x > 0) - (x < 0);
}

void lathe_quadratic_run(const lathe_quadratic *p, bool muon, int32_t steps, double *gap, double *sharpness) {
    const double n_high = p->m, n_low = p->q - p->m;
    double r_high = p->g_high, r_low = p->g_low;
    for (int32_t t = 0; t <= steps; t++) {
        gap[t] = 0.5 * (n_high * r_high * r_high / p->high + n_low * r_low * r_low / p->low);
        if (t == steps)
            break;
        const double z_high = muon ? sign(r_high) : r_high, z_low = muon ? sign(r_low) : r_low;
        const double curved = n_high * p->high * z_high * z_high + n_low * p->low * z_low * z_low;
        const double size = n_high * z_high * z_high + n_low * z_low * z_low;
        const double along = n_high * r_high * z_high + n_low * r_low * z_low;
        sharpness[t] = size > 0 ? curved / size : 0;
        const double eta = curved > 0 ? along / curved : 0; /* 0 / 0 at the optimum: stay */
        r_high -= eta * p->high * z_high;
        r_low -= eta * p->low * z_low;
    }
}

bool lathe_quadratic_heterogeneous(const lathe_quadratic *p) {
    const double rho = p->high / p->low, inverse = (double) p->q / p->m;
    return rho + 1 > inverse && inverse > 1 + p->g_high / p->g_low;
}
