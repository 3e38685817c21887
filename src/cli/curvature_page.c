/* curvature_page.c - what `lathe curvature` found: as JSON, as lines, as a page. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/report.h"
#include "base/text.h"
#include "cli/curvature_args.h"

static json_t *pairs(const double *x, const double *y, size_t n) {
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_pack("[o, o]", lathe_json_real(x[i]), lathe_json_real(y[i])));
    return list;
}

json_t *lathe_curvature_json(const curvature_args *a, const lathe_curve *c, const curvature_findings *f) {
    const lathe_curvature *r = &f->step;
    json_t *j = json_object();
    const struct {
        const char *name;
        double value;
    } figures[] = {{"loss", r->loss},
                   {"decrease", r->decrease},
                   {"gain", r->gain},
                   {"penalty", r->penalty},
                   {"predicted", r->gain - r->penalty},
                   {"update_norm2", r->update_norm2},
                   {"nds", r->nds},
                   {"within", r->within},
                   {"cross", r->cross},
                   {"rho_within", r->nds > 0 || r->nds < 0 ? r->within / r->nds : NAN}};
    for (size_t i = 0; i < LATHE_LEN(figures); i++)
        json_object_set_new(j, figures[i].name, lathe_json_real(figures[i].value));
    if (!(r->update_norm2 > 0))
        json_object_set_new(j, "reason", json_string("the update is zero"));
    if (f->step_of_state > 0)
        json_object_set_new(j, "state_step", json_integer(f->step_of_state));
    if (r->block_matrix != NULL) {
        json_t *rows = json_array(), *names = json_array();
        for (int32_t i = 0; i < r->n_layers; i++) {
            char name[128];
            json_t *row = json_array();
            json_array_append_new(names, json_string(lathe_curve_layer_name(c, i, name, sizeof name)));
            for (int32_t k = 0; k < r->n_layers; k++)
                json_array_append_new(row, lathe_json_real(r->block_matrix[i * r->n_layers + k]));
            json_array_append_new(rows, row);
        }
        json_object_set_new(j, "block_names", names);
        json_object_set_new(j, "block_matrix", rows);
    }
    if (a->lanczos > 0 || a->trace > 0 || a->density > 0)
        json_object_set_new(j, "matrix", json_string(a->ggn ? "Gauss-Newton" : "Hessian"));
    if (f->n_values > 0) {
        json_t *list = json_array();
        for (int32_t i = f->n_values - 1; i >= 0; i--)
            json_array_append_new(list, json_pack("{s:f, s:f, s:f}", "value", f->values[i], "residual",
                                                  f->residuals[i], "weight", f->weights[i]));
        json_object_set_new(j, "eigenvalues", list);
    }
    if (a->trace > 0) {
        json_object_set_new(j, "trace", lathe_json_real(f->trace));
        json_object_set_new(j, "trace_error", lathe_json_real(f->trace_error));
    }
    if (a->density > 0)
        json_object_set_new(j, "density", pairs(f->x, f->density, LATHE_DENSITY_POINTS));
    if (a->profile)
        json_object_set_new(j, "profile", pairs(f->shift, f->loss, LATHE_PROFILE_POINTS));
    if (a->noise) {
        json_object_set_new(j, "gradient_norm2", lathe_json_real(f->g2));
        json_object_set_new(j, "gradient_variance", lathe_json_real(f->noise));
        json_object_set_new(j, "noise_scale", lathe_json_real(f->noise / f->g2));
    }
    return j;
}

void lathe_curvature_print(const curvature_args *a, const curvature_findings *f, FILE *out) {
    const lathe_curvature *r = &f->step;
    fprintf(out, "loss              %12.6g\n", r->loss);
    fprintf(out, "decrease          %12.6g\npredicted         %12.6g\n", r->decrease, r->gain - r->penalty);
    fprintf(out, "  first-order gain%12.6g\n  penalty         %12.6g\n", r->gain, r->penalty);
    fprintf(out, "update norm^2     %12.6g\nsharpness (NDS)   %12.6g\n", r->update_norm2, r->nds);
    if (isfinite(r->within))
        fprintf(out, "  within layers   %12.6g\n  across layers   %12.6g\n", r->within, r->cross);
    for (int32_t i = f->n_values - 1; i >= 0; i--)
        if (i > f->n_values - 6 || i == 0)
            fprintf(out, "eigenvalue        %12.6g  +- %.2g\n", f->values[i], f->residuals[i]);
    if (a->trace > 0)
        fprintf(out, "trace             %12.6g  +- %.2g\n", f->trace, f->trace_error);
    if (a->density > 0)
        fprintf(out, "spectrum          %12.6g to %.6g (--json or -o FILE.html for its density)\n", f->x[0],
                f->x[LATHE_DENSITY_POINTS - 1]);
    if (a->noise)
        fprintf(out, "noise scale       %12.6g sequences\n", f->noise / f->g2);
}

lathe_status lathe_curvature_page(const curvature_args *a, const lathe_curve *c, const curvature_findings *f,
                                  const json_t *data, lathe_error *err) {
    static const char *const header[] = {"", "value"};
    const lathe_curvature *r = &f->step;
    char summary[256];
    lathe_report page;
    snprintf(summary, sizeof summary,
             "A step of %.40s at rate %.4g: the loss falls by %.4g; gain %.4g, penalty %.4g, NDS %.4g",
             a->update, a->lr, r->decrease, r->gain, r->penalty, r->nds);
    lathe_report_begin(&page, "Curvature along a step", summary, err);
    lathe_report_table(&page, "The step", header, 2);
    const struct {
        const char *name;
        double value;
    } rows[] = {{"loss", r->loss},
                {"measured decrease", r->decrease},
                {"predicted decrease", r->gain - r->penalty},
                {"first-order gain", r->gain},
                {"curvature penalty", r->penalty},
                {"squared update norm", r->update_norm2},
                {"sharpness along the step (NDS)", r->nds},
                {"within layers", r->within},
                {"across layers", r->cross}};
    for (size_t i = 0; i < LATHE_LEN(rows); i++) {
        char text[64];
        lathe_format_figure(rows[i].value, text, sizeof text);
        lathe_report_cell(&page, LATHE_CELL_TEXT, rows[i].name);
        lathe_report_cell(&page, LATHE_CELL_NUMBER, text);
    }
    lathe_report_table_end(&page);
    if (r->block_matrix != NULL) {
        const lathe_plot heat = {
            .kind = LATHE_PLOT_HEAT,
            .title = "Which layers the penalty comes from",
            .finding = "<z_l, H z_k> for layers l and k: the diagonal is within, the rest across.",
            .x_label = "layer",
            .y_label = "layer",
            .cells = r->block_matrix,
            .rows = r->n_layers,
            .cols = r->n_layers,
            .diverging = true};
        lathe_report_figure(&page, &heat, heat.finding);
    }
    const lathe_series density = {"density", f->x, f->density, NULL, NULL, LATHE_DENSITY_POINTS},
                       profile = {"loss", f->shift, f->loss, NULL, NULL, LATHE_PROFILE_POINTS};
    lathe_plot plot = {.kind = LATHE_PLOT_LINE,
                       .title = "Spectral density",
                       .finding = "Share of eigenvalues at each value, by stochastic Lanczos quadrature.",
                       .x_label = "eigenvalue",
                       .y_label = "density",
                       .log_y = true,
                       .series = &density,
                       .n_series = 1};
    if (a->density > 0)
        lathe_report_figure(&page, &plot, plot.finding);
    plot = (lathe_plot){.kind = LATHE_PLOT_LINE,
                        .title = "Loss along the step",
                        .finding = "0 is before the step, 1 after it.",
                        .x_label = "steps",
                        .y_label = "loss",
                        .series = &profile,
                        .n_series = 1};
    if (a->profile)
        lathe_report_figure(&page, &plot, plot.finding);
    lathe_status status = lathe_report_write(&page, data, a->output);
    lathe_report_free(&page);
    (void) c;
    return status;
}
