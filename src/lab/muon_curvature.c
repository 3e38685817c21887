/* muon_curvature.c - does Muon win because its steps meet less curvature?
 *
 * Paper: S. Wang, F. Zhang, J. Li, D. Bergemann, Z. Yang 2026, "Why Muon Outperforms Adam: A Curvature
 * Perspective". The exact part is the paper's quadratic model with two levels of curvature, gradient descent
 * against Muon. */
#include <math.h>

#include "base/rng_purpose.h"
#include "lab/lab.h"
#include "lab/quadratic.h"

enum { CASES = 200, STEPS = 12 };

static const lathe_claim claims[] = {
    {.id = "quadratic-sharpness",
     .text =
         "Quadratic model: averaged over time, the curvature along Muon's steps is below that along gradient "
         "descent's, at every horizon",
     .kind = LATHE_CLAIM_GREATER,
     .expected = 0,
     .unit = "(least ratio, less 1)",
     .paper = "theorem",
     .origin = "paper: theorem (i)",
     .quick = true},
    {.id = "quadratic-loss",
     .text = "Quadratic model, strongly heterogeneous: Muon's loss is lower after every number of steps",
     .kind = LATHE_CLAIM_GREATER,
     .expected = 0,
     .unit = "(least ratio of gaps, less 1)",
     .paper = "theorem",
     .origin = "paper: theorem (ii)",
     .quick = true},
    {.id = "quadratic-closed-forms",
     .text = "Quadratic model: the simulated gaps follow the closed forms of both methods",
     .kind = LATHE_CLAIM_AT_MOST,
     .expected = 1e-9,
     .unit = "largest relative difference",
     .paper = "equalities",
     .origin = "paper: recursions of P and of Gamma",
     .quick = true},
};

/* --- The quadratic model ---------------------------------------------------------------------------- */

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
    const lathe_plot plot = {.kind = LATHE_PLOT_LINE,
                             .title = "Quadratic model: distance to the least loss",
                             .finding = "Muon's distance falls faster at every step.",
                             .x_label = "steps",
                             .y_label = "loss above the least",
                             .log_y = true,
                             .series = series,
                             .n_series = 2};
    return lathe_lab_figure(
        lab, &plot,
        "10 modes, 2 of them with ten times the curvature and twice the gradient; exact line search.", err);
}

static lathe_status quadratic(lathe_lab *lab, lathe_error *err) {
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

static lathe_status run(lathe_lab *lab, lathe_error *err) {
    return quadratic(lab, err);
}

extern const lathe_lab_entry lathe_lab_muon_curvature;
const lathe_lab_entry lathe_lab_muon_curvature = {
    .info =
        {.name = "muon-curvature",
         .summary = "why Muon's steps win: curvature along the update",
         .paper =
             "S. Wang, F. Zhang, J. Li, D. Bergemann, Z. Yang 2026, Why Muon Outperforms Adam: A Curvature "
             "Perspective",
         .scale = "quadratic models of 3 to 40 modes",
         .claims = claims,
         .n_claims = LATHE_LEN(claims),
         .n_seeds = 3},
    .run = run,
    .n_seeds_quick = 2,
};
