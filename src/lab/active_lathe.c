/* active_lathe.c - does reading only the nodes in doubt a second time gain 40% in the error exponent?
 *
 * Paper: F. Zhang, A. Tandon, V. Tan 2021, "Active-LATHE: An Active Learning Algorithm for Boosting the Error
 * Exponent for Learning Homogeneous Ising Trees". Its body was not at hand: what is measured is the two-phase
 * variant of lathe_tree_active, against the abstract's claim. Slopes of log error between two budgets stand
 * for exponents. */
#include <math.h>
#include <stdio.h>

#include "lab/lab.h"
#include "lathe/tree.h"

enum { P = 20, MANY = 100 };

static const lathe_claim claims[] = {
    {.id = "design-gain",
     .text =
         "Closed forms, 20 nodes without a large hub: the two-phase design's exponent is at least 1.4 times "
         "Chow-Liu's at every correlation from 0.8 to 0.95",
     .kind = LATHE_CLAIM_AT_LEAST,
     .expected = 1.4,
     .unit = "times (the smallest)",
     .paper = "at least 40% larger for correlations of at least 0.8",
     .origin = "paper: abstract; the closed forms are ours",
     .quick = true},
    {.id = "half-error",
     .text = "Chains of 20, correlation 0.8, 100 full vectors' readings: two phases miss the tree less than "
             "half as "
             "often as Chow-Liu",
     .kind = LATHE_CLAIM_AT_MOST,
     .expected = 0.5,
     .unit = "ratio of error rates",
     .paper = "smaller error probability",
     .origin = "ours",
     .has_neutral = true,
     .neutral = 1,
     .quick = true},
    {.id = "slope-chain",
     .text =
         "Chains of 20, correlation 0.8: the error falls at least 1.4 times as fast from 100 to 150 vectors",
     .kind = LATHE_CLAIM_AT_LEAST,
     .expected = 1.4,
     .unit = "ratio of slopes",
     .paper = "at least 40% larger",
     .origin = "paper: abstract",
     .has_neutral = true,
     .neutral = 1},
    {.id = "slope-binary",
     .text = "Binary trees of 20, correlation 0.8: the error falls at least 1.4 times as fast from 100 to "
             "150 vectors",
     .kind = LATHE_CLAIM_AT_LEAST,
     .expected = 1.4,
     .unit = "ratio of slopes",
     .paper = "at least 40% larger",
     .origin = "paper: abstract",
     .has_neutral = true,
     .neutral = 1},
    {.id = "slope-star",
     .text =
         "Stars of 20, correlation 0.8: the error falls at least 1.4 times as fast from 150 to 200 vectors",
     .kind = LATHE_CLAIM_AT_LEAST,
     .expected = 1.4,
     .unit = "ratio of slopes",
     .paper = "at least 40% larger",
     .origin = "paper: abstract",
     .has_neutral = true,
     .neutral = 1},
    {.id = "slope-chain-0.9",
     .text =
         "Chains of 20, correlation 0.9: the error falls at least 1.4 times as fast from 150 to 200 vectors",
     .kind = LATHE_CLAIM_AT_LEAST,
     .expected = 1.4,
     .unit = "ratio of slopes",
     .paper = "at least 40% larger",
     .origin = "paper: abstract",
     .has_neutral = true,
     .neutral = 1},
    {.id = "passive-exponent",
     .text = "Chains of 20, correlation 0.8: Chow-Liu's error falls within a fifth of the theory's rate, "
             "0.0408 a "
             "vector",
     .kind = LATHE_CLAIM_NEAR,
     .expected = 0.040822,
     .tolerance = 0.0082,
     .unit = "per vector",
     .paper = "exact exponent of homogeneous trees",
     .origin = "closed form"},
    {.id = "hub-gain",
     .text = "Closed forms, a hub with very many leaves: the variant's exponent is still at least 1.4 times "
             "Chow-Liu's "
             "at every correlation from 0.8 to 0.95",
     .kind = LATHE_CLAIM_AT_LEAST,
     .expected = 1.4,
     .unit = "times (the smallest)",
     .paper = "at least 40% larger for correlations of at least 0.8",
     .origin = "paper: abstract; worst case over hubs is ours",
     .has_neutral = true,
     .neutral = 1,
     .quick = true},
};

typedef struct setting {
    const char *name;
    lathe_tree_shape shape;
    double rho;
    int64_t n[2];
    const char *claim; /* NULL: none */
} setting;

static const setting settings[] = {
    {"chain, 0.8", LATHE_SHAPE_CHAIN, 0.8, {100, 150}, "slope-chain"},
    {"binary, 0.8", LATHE_SHAPE_BINARY, 0.8, {100, 150}, "slope-binary"},
    {"star, 0.8", LATHE_SHAPE_STAR, 0.8, {150, 200}, "slope-star"},
    {"chain, 0.9", LATHE_SHAPE_CHAIN, 0.9, {150, 200}, "slope-chain-0.9"},
    {"chain, 0.6", LATHE_SHAPE_CHAIN, 0.6, {100, 150}, NULL},
};

static int32_t parent_of(lathe_tree_shape shape, int32_t i) {
    return i == 0 ? -1 : shape == LATHE_SHAPE_CHAIN ? i - 1 : shape == LATHE_SHAPE_STAR ? 0 : (i - 1) / 2;
}

static lathe_status simulate(lathe_lab *lab, const setting *s, int64_t n, uint64_t seed, int64_t trials,
                             lathe_simulation *out, lathe_error *err) {
    int32_t parent[P];
    for (int32_t i = 0; i < P; i++)
        parent[i] = parent_of(s->shape, i);
    const lathe_simulation_params params = {.parent = parent,
                                            .p = P,
                                            .rho = s->rho,
                                            .n = n,
                                            .trials = trials,
                                            .seed = seed,
                                            .gamma = 0.2,
                                            .c = 0.3,
                                            .n_threads = lab->n_threads,
                                            .progress = lab->progress};
    lathe_status st = lathe_exponent_simulate(&params, out, err);
    char name[64];
    snprintf(name, sizeof name, "%s, n %lld", s->name, (long long) n);
    st = st ? st
            : lathe_lab_record(lab, (int64_t) seed, name, "passive error", (double) n,
                               (double) out->passive_errors / (double) out->trials, err);
    return st ? st
              : lathe_lab_record(lab, (int64_t) seed, name, "two-phase error", (double) n,
                                 (double) out->active_errors / (double) out->trials, err);
}

/* Designed gains over correlation, and the slopes that were simulated. */
static lathe_status curves(lathe_lab *lab, const double *at, const lathe_sample *measured, size_t n_measured,
                           lathe_error *err) {
    enum { POINTS = 19 };
    double rho[POINTS], gain[POINTS], many[POINTS], hub[POINTS], least = INFINITY, least_hub = INFINITY;
    for (int k = 0; k < POINTS; k++) {
        lathe_exponent_design d, d_many;
        rho[k] = 0.05 + 0.05 * k;
        lathe_status st = lathe_exponent_active(rho[k], P, &d, err);
        st = st ? st : lathe_exponent_active(rho[k], MANY, &d_many, err);
        if (st)
            return st;
        gain[k] = d.gain;
        many[k] = d_many.gain;
        hub[k] = d.hub_gain;
        if (rho[k] > 0.79) {
            least = fmin(least, d.gain);
            least_hub = fmin(least_hub, d.hub_gain);
        }
    }
    lathe_status st = lathe_lab_measure_exact(lab, "design-gain", least, 4, err);
    st = st ? st : lathe_lab_measure_exact(lab, "hub-gain", least_hub, 4, err);
    double x[8], y[8], low[8], high[8];
    size_t n = 0;
    for (size_t k = 0; k < n_measured && n < 8; k++)
        if (measured[k].n > 1) {
            double ci[2];
            lathe_sample_ci95(&measured[k], ci);
            x[n] = at[k];
            y[n] = measured[k].mean;
            low[n] = ci[0];
            high[n++] = ci[1];
        }
    const lathe_series series[] = {
        {.name = "design, 20 nodes", .x = rho, .y = gain, .n = POINTS},
        {.name = "design, 100 nodes", .x = rho, .y = many, .n = POINTS},
        {.name = "large hub, worst", .x = rho, .y = hub, .n = POINTS},
        {.name = "slopes, chain of 20", .x = x, .y = y, .low = low, .high = high, .n = n}};
    const lathe_plot plot = {
        .kind = LATHE_PLOT_LINE,
        .title = "Gain in the exponent over Chow-Liu",
        .finding = "Without large hubs the gain passes 1.4 at every correlation; with a large hub "
                   "it sinks below 1.4 near 0.85.",
        .x_label = "correlation of an edge",
        .y_label = "times Chow-Liu's exponent",
        .series = series,
        .n_series = n > 1 ? 4 : 3,
        .mark_label = "the paper's 1.4",
        .mark = 1.4};
    return st ? st
              : lathe_lab_figure(lab, &plot, "Closed forms, and simulated ratios of slopes with 95% bands.",
                                 err);
}

/* Error rates of chains against the budget. */
static lathe_status errors_figure(lathe_lab *lab, const double *n, double rate[2][3], double ci[2][2][3],
                                  int points, lathe_error *err) {
    const lathe_series series[] = {
        {.name = "Chow-Liu", .x = n, .y = rate[0], .low = ci[0][0], .high = ci[0][1], .n = (size_t) points},
        {.name = "two phases",
         .x = n,
         .y = rate[1],
         .low = ci[1][0],
         .high = ci[1][1],
         .n = (size_t) points}};
    const lathe_plot plot = {.kind = LATHE_PLOT_LINE,
                             .title = "Chain of 20, correlation 0.8",
                             .finding = "The error of two phases falls faster.",
                             .x_label = "budget in full vectors",
                             .y_label = "share of wrong trees",
                             .log_y = true,
                             .series = series,
                             .n_series = 2};
    return lathe_lab_figure(lab, &plot, "All seeds together; bands: 95% Wilson intervals.", err);
}

static lathe_status run(lathe_lab *lab, lathe_error *err) {
    const int64_t trials = lab->quick ? 10000 : 30000;
    lathe_sample ratio[LATHE_LEN(settings)] = {{0}}, passive = {0}, half = {0};
    lathe_status st = LATHE_OK;
    int64_t sums[2][3] = {{0}}, n_trials[3] = {0};
    for (int32_t seed = 0; seed < lab->n_seeds && !st; seed++)
        for (size_t k = 0; k < (lab->quick ? 1 : LATHE_LEN(settings)) && !st; k++) {
            const setting *s = &settings[k];
            lathe_simulation at[2] = {{0}};
            for (int i = 0; i < (lab->quick ? 1 : 2) && !st; i++)
                st = simulate(lab, s, s->n[i], lab->seed + (uint64_t) seed, trials, &at[i], err);
            for (int i = 0; k == 0 && i < 2 && !st; i++) {
                sums[0][i] += at[i].passive_errors;
                sums[1][i] += at[i].active_errors;
                n_trials[i] += at[i].trials;
            }
            if (!st && k == 0 && at[0].passive_errors > 0)
                lathe_sample_add(&half, (double) at[0].active_errors / (double) at[0].passive_errors);
            if (st || lab->quick)
                continue;
            double ci[2];
            const double slow = lathe_exponent_slope(at[0].passive_errors, trials, s->n[0],
                                                     at[1].passive_errors, trials, s->n[1], ci),
                         fast = lathe_exponent_slope(at[0].active_errors, trials, s->n[0],
                                                     at[1].active_errors, trials, s->n[1], ci);
            if (isfinite(slow) && isfinite(fast) && slow > 0)
                lathe_sample_add(&ratio[k], fast / slow);
            if (k == 0 && isfinite(slow))
                lathe_sample_add(&passive, slow);
        }
    st = st ? st : lathe_lab_measure(lab, "half-error", &half, err);
    if (!st && !lab->quick) {
        for (size_t k = 0; k < LATHE_LEN(settings) && !st; k++)
            if (settings[k].claim != NULL)
                st = lathe_lab_measure(lab, settings[k].claim, &ratio[k], err);
        st = st ? st : lathe_lab_measure(lab, "passive-exponent", &passive, err);
        double n[3] = {100, 150, 0}, rate[2][3], ci[2][2][3];
        for (int i = 0; i < 2; i++)
            for (int m = 0; m < 2; m++) {
                double w[2];
                rate[m][i] = (double) sums[m][i] / (double) n_trials[i];
                lathe_wilson(sums[m][i], n_trials[i], 1.96, w);
                ci[m][0][i] = w[0];
                ci[m][1][i] = w[1];
            }
        st = st ? st : errors_figure(lab, n, rate, ci, 2, err);
    }
    const double at[] = {settings[4].rho, settings[0].rho, settings[3].rho};
    const lathe_sample measured[] = {ratio[4], ratio[0], ratio[3]};
    st = st ? st : curves(lab, at, measured, LATHE_LEN(at), err);
    return st ? st
              : lathe_lab_note(
                    lab,
                    "The two-phase rule is a variant worked out from the abstract: the paper's own second "
                    "phase was not at hand. A slope between two finite budgets is not yet the exponent: "
                    "prefactors still matter. Ties are broken at random.",
                    err);
}

extern const lathe_lab_entry lathe_lab_active_lathe;
const lathe_lab_entry lathe_lab_active_lathe = {
    .info = {.name = "active-lathe",
             .summary = "a second reading of the nodes in doubt, and the error exponent",
             .paper = "F. Zhang, A. Tandon, V. Tan 2021, Active-LATHE: An Active Learning Algorithm for "
                      "Boosting the Error "
                      "Exponent for Learning Homogeneous Ising Trees",
             .scale = "trees of 20 two-state nodes, 240,000 trials a point",
             .claims = claims,
             .n_claims = LATHE_LEN(claims),
             .n_seeds = 8},
    .run = run,
    .n_seeds_quick = 5,
};
