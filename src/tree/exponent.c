/* exponent.c - exact error exponents of Chow-Liu on homogeneous trees, and the two-phase design's. */
#include <math.h>

#include "tree/tree.h"

double lathe_exponent_rate(double rho, double x) {
    const double theta = 0.5 * (1 - rho), a = theta * (1 - theta), b = theta * theta;
    if (x >= 1)
        return -log(a);
    if (x <= -1)
        return -log(b);
    const double root = sqrt(x * x * (1 - theta) * (1 - theta) + 4 * a * b * (1 - x) * (1 + x));
    /* the two forms of the same root: the one without cancellation */
    const double linear = x * (1 - theta);
    const double u = linear >= 0 ? (linear + root) / (2 * a * (1 - x)) : 2 * b * (1 + x) / (root - linear);
    return x * log(u) - log(1 - theta + a * u + b / u);
}

double lathe_exponent_chow_liu(double rho) {
    return -log1p(-0.5 * (1 - rho) * (1 - sqrt(1 - rho * rho)));
}

static double divergence(double q, double p) {
    return (q > 0 ? q * log(q / p) : 0) + (q < 1 ? (1 - q) * log((1 - q) / (1 - p)) : 0);
}

/* -min over s >= 0 of q log(1-t+t e^s) + (1-q) log(1-t+t e^-s): the derivative's root is in closed form. */
static double leaf_error(double q, double t) {
    if (q >= 0.5)
        return 0;
    /* q t e/(1-t+t e) = (1-q) t/((1-t) e + t), e = e^s: a quadratic in e */
    const double a = q * (1 - t), b = (q - (1 - q)) * t, c = -(1 - q) * (1 - t);
    const double e = (-b + sqrt(b * b - 4 * a * c)) / (2 * a);
    return -(q * log(1 - t + t * e) + (1 - q) * log(1 - t + t / e));
}

static double hub_gain(double theta, double c, double base) {
    double h1 = INFINITY, h2 = INFINITY;
    const double from = 0.5 * (1 - c * (1 - 2 * theta)), to = c * theta;
    for (int k = 0; k <= 400; k++) {
        const double q = from + (0.5 - from) * k / 400.0;
        if (q > 0 && q < 1)
            h1 = fmin(h1, divergence(q, theta) + leaf_error(q, theta));
        const double r = to * k / 400.0;
        h2 = fmin(h2, divergence(r, theta) - r * log(2 * sqrt(theta * (1 - theta))));
    }
    return fmin(h1, h2) / base;
}

lathe_status lathe_exponent_active(double rho, int32_t p, lathe_exponent_design *out, lathe_error *err) {
    if (!(rho > 0 && rho < 1))
        return lathe_fail(err, LATHE_ERR_ARG, "rho %g: must lie between 0 and 1", rho);
    if (p < 3)
        return lathe_fail(err, LATHE_ERR_ARG, "%d nodes: at least 3", (int) p);
    const double theta = 0.5 * (1 - rho), mu = theta * rho, base = lathe_exponent_chow_liu(rho);
    lathe_exponent_design best = {0};
    for (int ig = 1; ig < 100; ig++)
        for (int ic = 1; ic < 100; ic++) {
            const double gamma = ig / 100.0, c = ic / 100.0;
            double e = (1 - gamma) * lathe_exponent_rate(rho, -c * mu);
            const double up = lathe_exponent_rate(rho, c * mu), zero = lathe_exponent_rate(rho, 0);
            for (int32_t k = 1; k <= p / 3; k++) {
                const double f = (k - 1) * (1 - gamma) * up + (1 - gamma + gamma * p / (3.0 * k)) * zero;
                e = fmin(e, f);
            }
            if (e > best.exponent)
                best = (lathe_exponent_design){.exponent = e, .gamma = gamma, .c = c};
        }
    best.gain = best.exponent / base;
    for (int ic = 1; ic < 100; ic++) {
        /* a confident mistake counts here as anywhere */
        const double c = ic / 100.0;
        const double g = fmin(hub_gain(theta, c, base), lathe_exponent_rate(rho, -c * mu) / base);
        if (g > best.hub_gain) {
            best.hub_gain = g;
            best.hub_c = c;
        }
    }
    *out = best;
    return LATHE_OK;
}
