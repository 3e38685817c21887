/* curvature_args.h - what `lathe curvature` is told and what it finds; verb_curvature.c measures,
 * curvature_step.c has the step, curvature_page.c what is shown. */
#ifndef LATHE_CLI_CURVATURE_ARGS_H
#define LATHE_CLI_CURVATURE_ARGS_H

#include "cli/cli.h"
#include "lathe/probe.h"

enum { LATHE_DENSITY_POINTS = 201, LATHE_PROFILE_POINTS = 41 };

typedef struct curvature_args {
    bool split, ggn, noise, profile;
    const char *model, *data, *update, *state, *params, *output;
    double lr, weight_decay;
    int64_t rows, ctx, lanczos, trace, density, probes, warm, seed, threads;
    int32_t by;
} curvature_args;

/* What the page and the JSON object are made of. */
typedef struct curvature_findings {
    lathe_curvature step;
    int64_t step_of_state;                /* 0: none */
    double *values, *residuals, *weights; /* [n_values] */
    int32_t n_values;
    double trace, trace_error;
    double x[LATHE_DENSITY_POINTS], density[LATHE_DENSITY_POINTS];
    double shift[LATHE_PROFILE_POINTS], loss[LATHE_PROFILE_POINTS];
    double g2, noise;
} curvature_findings;

/* z [lathe_curve_n] of the optimiser or of the file that args->update names; g: the gradient. */
LATHE_NODISCARD lathe_status lathe_curvature_step(const curvature_args *args, const lathe_curve *c,
                                                  const float *g, float *z, curvature_findings *f,
                                                  lathe_error *err);
json_t *lathe_curvature_json(const curvature_args *args, const lathe_curve *c, const curvature_findings *f);
void lathe_curvature_print(const curvature_args *args, const curvature_findings *f, FILE *out);
LATHE_NODISCARD lathe_status lathe_curvature_page(const curvature_args *args, const lathe_curve *c,
                                                  const curvature_findings *f, const json_t *data,
                                                  lathe_error *err);

#endif
