/* muon_curvature_exact.c - the quadratic model with two levels of curvature, drawn many times. */
#include <math.h>

#include "base/rng_purpose.h"
#include "lab/muon_curvature.h"
#include "lab/quadratic.h"

enum { CASES = 200, STEPS = 12 };

static lathe_quadratic draw(lathe_rng *rng, bool heterogeneous) {
    for (;;) {
        lathe_quadratic p = {.low = 1, .g_low = 1};
        p.q = 3 + (int32_t) lathe_rng_below(rng, 38);
        p.m = 1 + (int32_t) lathe_rng_below(rng, (uint64_t) (p.q - 1) / 2);
        p.high = exp(lathe_rng_uniform(rng) * log(1000));
        p.g_high = 1 + 9 * lathe_rng_uniform(rng);
        if (p.high > 1.01 && p.g_high > 1.01 && (!heterogeneous || lathe_quadratic_heterogeneous(&p)))
            return p;
    }
}

/* The largest relative difference of the two runs from their closed forms, over gaps that rounding leaves
 * exact. */
static double off_closed_forms(const lathe_quadratic *p, const double *gd, const double *muon) {
    const double m = p->m, rest = p->q - p->m, d = p->high - p->low;
    const double share = m * p->g_high * p->g_high / (m * p->g_high * p->g_high + rest * p->g_low * p->g_low);
    const double here = p->low + d * share, there = p->low + d * (1 - share);
    const double two_steps = pow(d * d * share * (1 - share) / (here * there), 2);
    const double gamma = (m * p->high - rest * p->low) / (m * p->high + rest * p->low);
    double worst = 0;
    for (int t = 0; t + 2 <= STEPS && gd[t + 2] > 1e-6 * gd[0]; t++)
        worst = fmax(worst, fabs(gd[t + 2] / gd[t] / two_steps - 1));
    for (int t = 1; t + 1 <= STEPS && muon[t + 1] > 1e-6 * muon[0]; t++)
        worst = fmax(worst, fabs(muon[t + 1] / muon[t] / (gamma * gamma) - 1));
    return worst;
}

static lathe_status quadratic_figure(lathe_lab *lab, lathe_error *err) {
    const lathe_quadratic p = {2, 10, 10, 1, 2, 1};
    double x[STEPS + 1], gd[STEPS + 1], muon[STEPS + 1], unused[STEPS];
    lathe_quadratic_run(&p, false, STEPS, gd, unused);
    lathe_quadratic_run(&p, true, STEPS, muon, unused);
    for (int t = 0; t <= STEPS; t++)
        x[t] = t;
    const lathe_series series[] = {{.name = "gradient descent", .x = x, .y = gd, .n = STEPS + 1},
                                   {.name = "Muon", .x = x, .y = muon, .n = STEPS + 1}};
    char finding[160];
    lathe_lab_finding(finding, sizeof finding, "After 12 steps",
                      (const char *const[]){"gradient descent", "Muon"}, (double[]){gd[STEPS], muon[STEPS]},
                      2);
    const lathe_plot plot = {.kind = LATHE_PLOT_LINE,
                             .title = "Quadratic model: distance to the least loss",
                             .finding = finding,
                             .x_label = "steps",
                             .y_label = "loss above the least",
                             .log_y = true,
                             .series = series,
                             .n_series = 2};
    return lathe_lab_figure(
        lab, &plot,
        "10 modes, 2 of them with ten times the curvature and twice the gradient; exact line search.", err);
}

lathe_status lathe_muon_curvature_exact(lathe_lab *lab, lathe_error *err) {
    lathe_rng rng = lathe_rng_new(lab->seed, LATHE_RNG_LAB_DATA, 0);
    double sharpness = INFINITY, loss = INFINITY, off = 0;
    for (int i = 0; i < 2 * CASES; i++) {
        const bool heterogeneous = i >= CASES;
        const lathe_quadratic p = draw(&rng, heterogeneous);
        double gd[STEPS + 1], muon[STEPS + 1], s_gd[STEPS], s_muon[STEPS], sum_gd = 0, sum_muon = 0;
        lathe_quadratic_run(&p, false, STEPS, gd, s_gd);
        lathe_quadratic_run(&p, true, STEPS, muon, s_muon);
        off = fmax(off, off_closed_forms(&p, gd, muon));
        for (int t = 0; t < STEPS; t++) {
            sum_gd += s_gd[t];
            sum_muon += s_muon[t];
            sharpness = fmin(sharpness, sum_gd / sum_muon);
            if (heterogeneous && muon[t + 1] > 1e-12 * muon[0])
                loss = fmin(loss, gd[t + 1] / muon[t + 1]);
        }
    }
    lathe_status st = lathe_lab_measure_exact(lab, "quadratic-sharpness", sharpness - 1, 2 * CASES, err);
    if (!st)
        st = lathe_lab_measure_exact(lab, "quadratic-loss", loss - 1, CASES, err);
    if (!st)
        st = lathe_lab_measure_exact(lab, "quadratic-closed-forms", off, 2 * CASES, err);
    return st ? st : quadratic_figure(lab, err);
}
