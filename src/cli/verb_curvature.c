/* verb_curvature.c - `lathe curvature`: what one optimiser step does to a model's loss, and the Hessian's
 * extremes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/pattern.h"
#include "base/report.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/input.h"
#include "lathe/model.h"
#include "lathe/probe.h"
#include "lathe/train.h"

enum { DENSITY_POINTS = 201, PROFILE_POINTS = 41 };

typedef struct curvature_args {
    bool split, ggn, noise, profile;
    const char *model, *data, *update, *state, *params, *output;
    double lr, weight_decay;
    int64_t rows, ctx, lanczos, trace, density, probes, warm, seed, threads;
    int32_t by;
} curvature_args;

static const char *const updates[] = {"gradient", "sgd",     "signsgd", "lion", "muon",
                                      "adamw",    "shampoo", "soap",    NULL};
static const char *const bys[] = {"block", "tensor", "kind", NULL};

#define AT(field) .offset = offsetof(curvature_args, field)
static const lathe_option options[] = {
    {.name = "model",
     .short_name = "m",
     .group = "model",
     .arg = "FILE",
     .kind = LATHE_OPTION_FILE,
     AT(model),
     .help = "GGUF model"},
    {.name = "data",
     .group = "model",
     .arg = "FILE",
     .kind = LATHE_OPTION_FILE,
     AT(data),
     .help = "token file for the batch, or a text"},
    {.name = "batch-size",
     .group = "model",
     .arg = "N",
     .kind = LATHE_OPTION_INT,
     AT(rows),
     .min = 1,
     .max = 4096,
     .default_text = "8",
     .help = "sequences of the batch"},
    {.name = "ctx",
     .group = "model",
     .arg = "N",
     .kind = LATHE_OPTION_INT,
     AT(ctx),
     .min = 2,
     .max = 8192,
     .default_text = "256",
     .help = "tokens of a sequence"},
    {.name = "update",
     .group = "step",
     .arg = "NAME|FILE",
     .kind = LATHE_OPTION_TEXT,
     AT(update),
     .default_text = "muon",
     .help =
         "whose step: muon (adamw on embeddings, head, vectors), adamw, sgd, signsgd, lion, shampoo, soap, "
         "gradient; or the GGUF of the model after it"},
    {.name = "state",
     .group = "step",
     .arg = "FOLDER",
     .kind = LATHE_OPTION_FILE,
     AT(state),
     .help = "checkpoint of the run whose optimiser state the step starts from"},
    {.name = "warm",
     .group = "step",
     .arg = "N",
     .kind = LATHE_OPTION_INT,
     AT(warm),
     .min = 0,
     .max = 1e6,
     .default_text = "20",
     .help = "without a state: how often its averages have seen this gradient"},
    {.name = "weight-decay",
     .group = "step",
     .arg = "X",
     .kind = LATHE_OPTION_REAL,
     AT(weight_decay),
     .min = 0,
     .max = 100,
     .default_text = "0",
     .help = "of the step"},
    {.name = "by",
     .group = "step",
     .arg = "WHAT",
     .kind = LATHE_OPTION_CHOICE,
     AT(by),
     .choices = bys,
     .default_text = "block",
     .help = "parts of the split: blocks, single tensors, or kinds of matrices"},
    {.name = "lr",
     .group = "step",
     .arg = "X",
     .kind = LATHE_OPTION_REAL,
     AT(lr),
     .min = 0,
     .max = 1e6,
     .default_text = "0.001",
     .help = "its learning rate"},
    {.name = "split",
     .group = "step",
     .kind = LATHE_OPTION_FLAG,
     AT(split),
     .default_text = "on",
     .help = "parts within and across layers: one product more a layer"},
    {.name = "lanczos",
     .group = "Hessian",
     .arg = "N",
     .kind = LATHE_OPTION_INT,
     AT(lanczos),
     .min = 0,
     .max = 4096,
     .default_text = "0",
     .help = "steps for extreme eigenvalues; memory: as many copies of the model"},
    {.name = "trace",
     .group = "Hessian",
     .arg = "N",
     .kind = LATHE_OPTION_INT,
     AT(trace),
     .min = 0,
     .max = 1e6,
     .default_text = "0",
     .help = "random probes for the trace"},
    {.name = "density",
     .group = "Hessian",
     .arg = "N",
     .kind = LATHE_OPTION_INT,
     AT(density),
     .min = 0,
     .max = 4096,
     .default_text = "0",
     .help = "Lanczos steps a probe for the spectral density (40 is usual)"},
    {.name = "probes",
     .group = "Hessian",
     .arg = "N",
     .kind = LATHE_OPTION_INT,
     AT(probes),
     .min = 1,
     .max = 10000,
     .default_text = "4",
     .help = "of the density"},
    {.name = "ggn",
     .group = "Hessian",
     .kind = LATHE_OPTION_FLAG,
     AT(ggn),
     .help = "eigenvalues, trace and density of the Gauss-Newton matrix instead of the Hessian's"},
    {.name = "params",
     .group = "Hessian",
     .arg = "PATTERN",
     .kind = LATHE_OPTION_TEXT,
     AT(params),
     .help = "of these tensors only ('blk.*.attn_[qk].weight'); the others stay fixed"},
    {.name = "noise",
     .group = "Hessian",
     .kind = LATHE_OPTION_FLAG,
     AT(noise),
     .help = "the gradient noise scale, from the batch's chunks"},
    {.name = "profile",
     .group = "Hessian",
     .kind = LATHE_OPTION_FLAG,
     AT(profile),
     .help = "the loss at 41 points along the step, from -2 to 2 of it"},
    {.name = "output",
     .short_name = "o",
     .group = "model",
     .arg = "FILE.html",
     .kind = LATHE_OPTION_FILE,
     AT(output),
     .help = "a report page"},
    {.name = "seed",
     .group = "Hessian",
     .arg = "N",
     .kind = LATHE_OPTION_INT,
     AT(seed),
     .min = 0,
     .max = 9e15,
     .default_text = "1",
     .help = "of probes"},
    {.name = "threads",
     .short_name = "t",
     .group = "model",
     .arg = "N",
     .kind = LATHE_OPTION_INT,
     AT(threads),
     .min = 1,
     .max = 1024,
     .env = "LATHE_THREADS",
     .default_text = "1",
     .help = "threads"},
};
static const lathe_option *const tables[] = {options};
static const size_t n_options[] = {LATHE_LEN(options)};

/* What the page and the JSON object are made of. */
typedef struct findings {
    lathe_curvature step;
    int64_t step_of_state;                /* 0: none */
    double *values, *residuals, *weights; /* [n_values] */
    int32_t n_values;
    double trace, trace_error;
    double x[DENSITY_POINTS], density[DENSITY_POINTS];
    double shift[PROFILE_POINTS], loss[PROFILE_POINTS];
    double g2, noise;
} findings;

static void defaults(void *arguments) {
    *(curvature_args *) arguments = (curvature_args){.split = true,
                                                     .update = "muon",
                                                     .lr = 1e-3,
                                                     .rows = 8,
                                                     .ctx = 256,
                                                     .warm = 20,
                                                     .probes = 4,
                                                     .seed = 1,
                                                     .threads = 1};
}

/* --- The step --------------------------------------------------------------------------------------- */

/* z of tensor i: the optimiser's own code on a copy of the weights. */
static lathe_status step_of_tensor(const curvature_args *a, const lathe_curve *c, size_t i,
                                   lathe_optim_kind kind, const lathe_train_state *state, const float *g,
                                   float *z, lathe_error *err) {
    int64_t rows, cols;
    size_t at = lathe_curve_tensor_at(c, i, &rows, &cols), n = (size_t) (rows * cols), n_saved = 0;
    const char *name = lathe_curve_tensor_name(c, i);
    bool wants_matrix = kind == LATHE_OPTIM_MUON || kind == LATHE_OPTIM_SHAMPOO || kind == LATHE_OPTIM_SOAP;
    lathe_optim o =
        lathe_optim_default(wants_matrix && !lathe_curve_is_hidden(c, i) ? LATHE_OPTIM_ADAMW : kind);
    o.weight_decay = rows > 1 ? a->weight_decay : 0;
    size_t n_state = lathe_optim_state_size(&o, rows, cols);
    const float *saved = state != NULL ? lathe_train_state_of(state, name, &n_saved) : NULL;
    if (state != NULL && n_state > 0 && n_saved != n_state)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: the state of '%s' has %zu numbers, %s keeps %zu",
                          a->state, name, n_saved, lathe_optim_name(o.kind), n_state);
    float *memory = calloc(n_state + n + 1, sizeof *memory), *w = memory + n_state;
    if (memory == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the state of '%s'", name);
    memcpy(w, lathe_curve_weights(c) + at, n * sizeof *w);
    int64_t t = state != NULL ? lathe_train_state_step(state) : 0;
    if (saved != NULL)
        memcpy(memory, saved, n_state * sizeof *memory);
    lathe_status status = LATHE_OK;
    for (int64_t k = 0; state == NULL && k < a->warm && status == LATHE_OK; k++)
        status = lathe_optim_step(&o, name, w, g + at, memory, rows, cols, ++t, 0, err);
    if (status == LATHE_OK)
        status = lathe_optim_step(&o, name, w, g + at, memory, rows, cols, t + 1, a->lr, err);
    for (size_t k = 0; k < n; k++)
        z[at + k] = lathe_curve_weights(c)[at + k] - w[k];
    free(memory);
    return status;
}

/* theta before minus theta after, of a file. */
static lathe_status step_from_file(const curvature_args *a, const lathe_curve *c, float *z,
                                   lathe_error *err) {
    lathe_curve *after;
    int32_t tokens[3] = {0};
    lathe_status status = lathe_curve_new(a->update, tokens, 1, 2, 1, &after, NULL, err);
    if (status != LATHE_OK)
        return status;
    for (size_t i = 0; i < lathe_curve_n_tensors(c) && status == LATHE_OK; i++) {
        int64_t rows, cols, other_rows = 0, other_cols = 0;
        (void) lathe_curve_tensor_at(c, i, &rows, &cols);
        if (i < lathe_curve_n_tensors(after))
            (void) lathe_curve_tensor_at(after, i, &other_rows, &other_cols);
        if (rows != other_rows || cols != other_cols)
            status = lathe_fail(err, LATHE_ERR_INPUT, "%s: %s: shape %lldx%lld expected", a->update,
                                lathe_curve_tensor_name(c, i), (long long) cols, (long long) rows);
    }
    for (size_t k = 0; status == LATHE_OK && k < lathe_curve_n(c); k++)
        z[k] = lathe_curve_weights(c)[k] - lathe_curve_weights(after)[k];
    lathe_curve_free(after);
    return status;
}

static lathe_status step_of(const curvature_args *a, const lathe_curve *c, const float *g, float *z,
                            findings *f, lathe_error *err) {
    int32_t which = -1;
    for (int32_t i = 0; updates[i] != NULL; i++)
        if (strcmp(a->update, updates[i]) == 0)
            which = i;
    if (which < 0) {
        const char *near = lathe_nearest_name(a->update, updates);
        if (near != NULL && strchr(a->update, '.') == NULL)
            return lathe_fail(err, LATHE_ERR_ARG, "--update %s: no such optimiser; did you mean '%s'?",
                              a->update, near);
        return step_from_file(a, c, z, err);
    }
    if (which == 0) {
        for (size_t k = 0; k < lathe_curve_n(c); k++)
            z[k] = (float) (a->lr * (double) g[k]);
        return LATHE_OK;
    }
    lathe_optim_kind kind = LATHE_OPTIM_SGD;
    while (strcmp(lathe_optim_name(kind), updates[which]) != 0)
        kind = (lathe_optim_kind) (kind + 1);
    lathe_train_state *state = NULL;
    lathe_status status = a->state != NULL ? lathe_train_state_open(a->state, &state, err) : LATHE_OK;
    if (state != NULL)
        f->step_of_state = lathe_train_state_step(state);
    for (size_t i = 0; i < lathe_curve_n_tensors(c) && status == LATHE_OK; i++)
        status = step_of_tensor(a, c, i, kind, state, g, z, err);
    lathe_train_state_close(state);
    return status;
}

/* --- Products --------------------------------------------------------------------------------------- */

/* The operator, on the chosen tensors only. */
typedef struct operand {
    lathe_curve *c;
    bool ggn;
    const bool *chosen; /* [n_tensors] or NULL: all */
    float *part;        /* [n] */
} operand;

static void restrict_to(const operand *o, float *v) {
    for (size_t i = 0; o->chosen != NULL && i < lathe_curve_n_tensors(o->c); i++) {
        int64_t rows, cols;
        size_t at = lathe_curve_tensor_at(o->c, i, &rows, &cols);
        if (!o->chosen[i])
            memset(v + at, 0, (size_t) (rows * cols) * sizeof *v);
    }
}

static lathe_status product(void *user, const float *v, float *out, lathe_error *err) {
    operand *o = user;
    memcpy(o->part, v, lathe_curve_n(o->c) * sizeof *v);
    restrict_to(o, o->part);
    lathe_status status =
        o->ggn ? lathe_curve_gnvp(o->c, o->part, out, err) : lathe_curve_hvp(o->c, o->part, out, err);
    if (status == LATHE_OK)
        restrict_to(o, out);
    return status;
}

static lathe_status spectrum(const curvature_args *a, operand *o, findings *f, lathe_error *err) {
    size_t n = lathe_curve_n(o->c);
    lathe_status status = LATHE_OK;
    if (a->lanczos > 0) {
        size_t m = (size_t) a->lanczos;
        f->values = calloc(3 * m, sizeof *f->values);
        f->residuals = f->values + m;
        f->weights = f->residuals + m;
        float *first = malloc(n * sizeof *first);
        if (f->values == NULL || first == NULL) {
            free(first);
            return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %zu eigenvalues", m);
        }
        lathe_rng rng = lathe_rng_new((uint64_t) a->seed, 37, 0);
        for (size_t i = 0; i < n; i++)
            first[i] = lathe_rng_uniform(&rng) < 0.5 ? -1 : 1;
        restrict_to(o, first);
        status = lathe_probe_lanczos(product, o, n, (int32_t) m, first, (uint64_t) a->seed, f->values,
                                     f->residuals, f->weights, &f->n_values, err);
        free(first);
    }
    if (status == LATHE_OK && a->trace > 0)
        status = lathe_probe_trace(product, o, n, (int32_t) a->trace, (uint64_t) a->seed, &f->trace,
                                   &f->trace_error, err);
    if (status == LATHE_OK && a->density > 0)
        status = lathe_probe_density(product, o, n, (int32_t) a->density, (int32_t) a->probes,
                                     (uint64_t) a->seed, DENSITY_POINTS, f->x, f->density, err);
    return status;
}

/* --- Output ----------------------------------------------------------------------------------------- */

static json_t *pairs(const double *x, const double *y, size_t n) {
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_pack("[o, o]", lathe_json_real(x[i]), lathe_json_real(y[i])));
    return list;
}

static json_t *object_of(const curvature_args *a, const lathe_curve *c, const findings *f) {
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
        json_object_set_new(j, "density", pairs(f->x, f->density, DENSITY_POINTS));
    if (a->profile)
        json_object_set_new(j, "profile", pairs(f->shift, f->loss, PROFILE_POINTS));
    if (a->noise) {
        json_object_set_new(j, "gradient_norm2", lathe_json_real(f->g2));
        json_object_set_new(j, "gradient_variance", lathe_json_real(f->noise));
        json_object_set_new(j, "noise_scale", lathe_json_real(f->noise / f->g2));
    }
    return j;
}

static void print(const curvature_args *a, const findings *f, FILE *out) {
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
                f->x[DENSITY_POINTS - 1]);
    if (a->noise)
        fprintf(out, "noise scale       %12.6g sequences\n", f->noise / f->g2);
}

static lathe_status write_page(const curvature_args *a, const lathe_curve *c, const findings *f,
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
    const lathe_series density = {"density", f->x, f->density, NULL, NULL, DENSITY_POINTS},
                       profile = {"loss", f->shift, f->loss, NULL, NULL, PROFILE_POINTS};
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

/* --- The verb --------------------------------------------------------------------------------------- */

static lathe_status profile(lathe_curve *c, const float *z, findings *f, float *memory, lathe_error *err) {
    lathe_status status = LATHE_OK;
    for (int i = 0; i < PROFILE_POINTS && status == LATHE_OK; i++) {
        f->shift[i] = -2 + 4.0 * i / (PROFILE_POINTS - 1);
        for (size_t k = 0; k < lathe_curve_n(c); k++)
            memory[k] = (float) (-f->shift[i] * (double) z[k]);
        status = lathe_curve_loss(c, memory, &f->loss[i], NULL, err);
    }
    return status;
}

static lathe_status measure(const curvature_args *a, lathe_curve *c, findings *f, lathe_cli *cli,
                            lathe_error *err) {
    size_t n = lathe_curve_n(c), n_chosen = 0;
    float *g = malloc(3 * n * sizeof *g);
    bool *chosen = a->params != NULL ? calloc(lathe_curve_n_tensors(c), sizeof *chosen) : NULL;
    if (g == NULL || (a->params != NULL && chosen == NULL)) {
        free(g);
        free(chosen);
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for vectors of %zu parameters", n);
    }
    double loss;
    operand o = {c, a->ggn, chosen, g + 2 * n};
    lathe_status status = a->params != NULL ? lathe_pattern_check(a->params, err) : LATHE_OK;
    for (size_t i = 0; chosen != NULL && status == LATHE_OK && i < lathe_curve_n_tensors(c); i++)
        n_chosen += chosen[i] = lathe_pattern_matches(a->params, lathe_curve_tensor_name(c, i));
    if (status == LATHE_OK && chosen != NULL && n_chosen == 0)
        status = lathe_fail(err, LATHE_ERR_ARG, "--params '%s' matches no tensor; names are like '%s'",
                            a->params, lathe_curve_tensor_name(c, 0));
    lathe_curve_group(c, (lathe_curve_by) a->by);
    if (status == LATHE_OK)
        status = lathe_curve_loss(c, NULL, &loss, g, err);
    if (status == LATHE_OK)
        status = step_of(a, c, g, g + n, f, err);
    if (status == LATHE_OK)
        restrict_to(&o, g + n);
    if (status == LATHE_OK)
        status = lathe_probe_curvature(c, g + n, a->split, &cli->progress, &f->step, err);
    if (status == LATHE_OK && a->profile)
        status = profile(c, g + n, f, g + 2 * n, err);
    if (status == LATHE_OK)
        status = spectrum(a, &o, f, err);
    if (status == LATHE_OK && a->noise)
        status = lathe_curve_noise(c, &f->g2, &f->noise, err);
    free(g);
    free(chosen);
    if (status != LATHE_OK)
        return status;
    json_t *j = object_of(a, c, f);
    if (a->output != NULL)
        status = write_page(a, c, f, j, err);
    if (cli->json)
        json_object_update(cli->result, j);
    else
        print(a, f, cli->out);
    json_decref(j);
    return status;
}

/* Sequences spread evenly over a token file or over a text's tokens. */
static lathe_status read_batch(const curvature_args *a, const lathe_cli *cli, int32_t *batch,
                               lathe_error *err) {
    uint64_t ctx = (uint64_t) a->ctx, rows = (uint64_t) a->rows, n;
    lathe_tokens *file = NULL;
    int32_t *ids = NULL;
    lathe_status status = LATHE_OK;
    if (lathe_tokens_is_file(a->data)) {
        status = lathe_tokens_open(a->data, 0, &file, err);
        n = status == LATHE_OK ? lathe_tokens_count(file) : 0;
    } else {
        size_t n_ids = 0;
        status = lathe_input_text_ids(a->model, a->data, &cli->logger, &ids, &n_ids, err);
        n = n_ids;
    }
    if (status != LATHE_OK)
        return status;
    uint64_t windows = n > 0 ? (n - 1) / ctx : 0;
    if (windows < rows)
        status = lathe_fail(err, LATHE_ERR_INPUT, "%s: %llu tokens are less than %lld sequences of %lld + 1",
                            a->data, (unsigned long long) n, (long long) a->rows, (long long) a->ctx);
    for (uint64_t j = 0; status == LATHE_OK && j < rows; j++) {
        uint64_t at = j * windows / rows * ctx;
        if (file != NULL)
            lathe_tokens_read(file, at, (int32_t) a->ctx + 1, batch + j * (ctx + 1));
        else
            memcpy(batch + j * (ctx + 1), ids + at, (ctx + 1) * sizeof *ids);
    }
    lathe_tokens_close(file);
    lathe_free(ids);
    return status;
}

static lathe_status run(const void *arguments, lathe_cli *cli, lathe_error *err) {
    const curvature_args *a = arguments;
    if (a->model == NULL || a->data == NULL || cli->n_positional != 0)
        return lathe_fail(err, LATHE_ERR_ARG, "-m MODEL and --data FILE are needed, and no other arguments");
    int32_t rows = (int32_t) a->rows, ctx = (int32_t) a->ctx;
    int32_t *batch = malloc((size_t) rows * ((size_t) ctx + 1) * sizeof *batch);
    findings *f = calloc(1, sizeof *f);
    lathe_curve *curve = NULL;
    bool rounded = false;
    lathe_status status = batch == NULL || f == NULL
                              ? lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the batch")
                              : read_batch(a, cli, batch, err);
    if (status == LATHE_OK)
        status = lathe_curve_new(a->model, batch, rows, ctx, (int32_t) a->threads, &curve, &rounded, err);
    if (status == LATHE_OK && rounded)
        lathe_log(&cli->logger, LATHE_LOG_WARN,
                  "the weights were dequantised: these figures are those of the rounded model");
    if (status == LATHE_OK)
        status = measure(a, curve, f, cli, err);
    lathe_curve_free(curve);
    free(batch);
    if (f != NULL) {
        free(f->step.block_matrix);
        free(f->values);
    }
    free(f);
    return status;
}

const lathe_verb lathe_verb_curvature = {
    .name = "curvature",
    .summary = "what one optimiser step does to the loss; the Hessian's extremes",
    .usage = "lathe curvature -m MODEL --data FILE.ltok [--update muon]",
    .examples = "lathe curvature -m model.gguf --data held-out.ltok --update adamw --lr 1e-3\n"
                "lathe curvature -m run/checkpoint-000400/model.gguf --state run/checkpoint-000400 --data "
                "train.ltok\n"
                "lathe curvature -m model.gguf --data text.txt --lanczos 20 --density 40 -o curvature.html\n",
    .schema = "lathe.curvature/1",
    .options = {tables, n_options, LATHE_LEN(tables)},
    .args_size = sizeof(curvature_args),
    .defaults = defaults,
    .run = run,
};
