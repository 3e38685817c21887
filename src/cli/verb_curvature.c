/* verb_curvature.c - `lathe curvature`: what one optimiser step does to a model's loss, and the Hessian's
 * extremes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cli/cli.h"
#include "lathe/probe.h"
#include "lathe/train.h"

typedef struct curvature_args {
    bool split;
    const char *model, *data;
    int32_t update;
    double lr;
    int64_t rows, ctx, lanczos, trace, seed, threads;
} curvature_args;

enum { UPDATE_GRADIENT, UPDATE_SIGN, UPDATE_MUON, UPDATE_ADAMW };
static const char *const updates[] = {"gradient", "signsgd", "muon", "adamw", NULL};

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
     .help = "token file for the batch"},
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
     .arg = "NAME",
     .kind = LATHE_OPTION_CHOICE,
     AT(update),
     .choices = updates,
     .default_text = "muon",
     .help = "whose step; its averages are those of this gradient seen often (muon: adamw on embeddings, "
             "head and vectors)"},
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

static void defaults(void *arguments) {
    *(curvature_args *) arguments = (curvature_args){
        .split = true, .update = UPDATE_MUON, .lr = 1e-3, .rows = 8, .ctx = 256, .seed = 1, .threads = 1};
}

/* z of an optimiser whose averages all hold the gradient g. */
static lathe_status step_of(const curvature_args *a, const lathe_curve *c, const float *g, float *z,
                            lathe_error *err) {
    lathe_status status = LATHE_OK;
    int32_t last = lathe_curve_n_layers(c) - 1;
    for (size_t i = 0; i < lathe_curve_n_tensors(c) && status == LATHE_OK; i++) {
        int64_t rows, cols;
        size_t at = lathe_curve_tensor_at(c, i, &rows, &cols), n = (size_t) (rows * cols);
        int32_t layer = lathe_curve_layer(c, i);
        double scale = a->lr;
        if (a->update == UPDATE_MUON && rows > 1 && layer > 0 && layer < last) {
            status = lathe_orthogonalise(LATHE_NS_JORDAN5, g + at, rows, cols, z + at, err);
            scale *= 0.2 * sqrt((double) (rows > cols ? rows : cols));
        } else {
            for (size_t k = at; k < at + n; k++)
                z[k] = a->update == UPDATE_GRADIENT ? g[k]
                       : a->update == UPDATE_SIGN   ? (float) ((g[k] > 0) - (g[k] < 0))
                                                    : (float) (g[k] / (fabs((double) g[k]) + 1e-8));
        }
        for (size_t k = at; k < at + n; k++)
            z[k] = (float) (z[k] * scale);
    }
    return status;
}

static lathe_status product(void *user, const float *v, float *out, lathe_error *err) {
    return lathe_curve_hvp(user, v, out, err);
}

static lathe_status eigenvalues(const curvature_args *a, lathe_curve *c, lathe_cli *cli, lathe_error *err) {
    size_t m = (size_t) a->lanczos;
    double *values = malloc(3 * m * sizeof *values);
    if (values == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %zu eigenvalues", m);
    int32_t n;
    lathe_status status =
        lathe_probe_lanczos(product, c, lathe_curve_n(c), (int32_t) m, NULL, (uint64_t) a->seed, values,
                            values + m, values + 2 * m, &n, err);
    json_t *list = cli->json ? json_array() : NULL;
    for (int32_t i = n - 1; status == LATHE_OK && i >= 0; i--) {
        if (cli->json)
            json_array_append_new(list,
                                  json_pack("{s:f, s:f, s:f}", "value", values[i], "residual",
                                            values[m + (size_t) i], "weight", values[2 * m + (size_t) i]));
        else if (i > n - 6 || i == 0)
            fprintf(cli->out, "eigenvalue        %12.6g  +- %.2g\n", values[i], values[m + (size_t) i]);
    }
    if (cli->json)
        json_object_set_new(cli->result, "eigenvalues", list);
    free(values);
    return status;
}

static void show(const lathe_curvature *r, lathe_cli *cli) {
    if (cli->json) {
        json_object_set_new(cli->result, "loss", lathe_json_real(r->loss));
        json_object_set_new(cli->result, "decrease", lathe_json_real(r->decrease));
        json_object_set_new(cli->result, "gain", lathe_json_real(r->gain));
        json_object_set_new(cli->result, "penalty", lathe_json_real(r->penalty));
        json_object_set_new(cli->result, "predicted", lathe_json_real(r->gain - r->penalty));
        json_object_set_new(cli->result, "update_norm2", lathe_json_real(r->update_norm2));
        json_object_set_new(cli->result, "nds", lathe_json_real(r->nds));
        json_object_set_new(cli->result, "within", lathe_json_real(r->within));
        json_object_set_new(cli->result, "cross", lathe_json_real(r->cross));
        if (!(r->update_norm2 > 0))
            json_object_set_new(cli->result, "reason", json_string("the update is zero"));
        if (r->block_matrix == NULL)
            return;
        json_t *rows = json_array();
        for (int32_t i = 0; i < r->n_layers; i++) {
            json_t *row = json_array();
            for (int32_t k = 0; k < r->n_layers; k++)
                json_array_append_new(row, lathe_json_real(r->block_matrix[i * r->n_layers + k]));
            json_array_append_new(rows, row);
        }
        json_object_set_new(cli->result, "block_matrix", rows);
        return;
    }
    fprintf(cli->out, "loss              %12.6g\n", r->loss);
    fprintf(cli->out, "decrease          %12.6g\npredicted         %12.6g\n", r->decrease,
            r->gain - r->penalty);
    fprintf(cli->out, "  first-order gain%12.6g\n  penalty         %12.6g\n", r->gain, r->penalty);
    fprintf(cli->out, "update norm^2     %12.6g\nsharpness (NDS)   %12.6g\n", r->update_norm2, r->nds);
    if (isfinite(r->within))
        fprintf(cli->out, "  within layers   %12.6g\n  across layers   %12.6g\n", r->within, r->cross);
}

static lathe_status measure(const curvature_args *a, lathe_curve *c, lathe_cli *cli, lathe_error *err) {
    size_t n = lathe_curve_n(c);
    float *g = malloc(2 * n * sizeof *g);
    if (g == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for vectors of %zu parameters", n);
    double loss;
    lathe_curvature r = {0};
    lathe_status status = lathe_curve_loss(c, NULL, &loss, g, err);
    if (status == LATHE_OK)
        status = step_of(a, c, g, g + n, err);
    if (status == LATHE_OK)
        status = lathe_probe_curvature(c, g + n, a->split, &cli->progress, &r, err);
    if (status == LATHE_OK)
        show(&r, cli);
    free(r.block_matrix);
    free(g);
    if (status == LATHE_OK && a->lanczos > 0)
        status = eigenvalues(a, c, cli, err);
    if (status == LATHE_OK && a->trace > 0) {
        double mean, error;
        status = lathe_probe_trace(product, c, n, (int32_t) a->trace, (uint64_t) a->seed, &mean, &error, err);
        if (status == LATHE_OK && cli->json) {
            json_object_set_new(cli->result, "trace", lathe_json_real(mean));
            json_object_set_new(cli->result, "trace_error", lathe_json_real(error));
        } else if (status == LATHE_OK) {
            fprintf(cli->out, "trace             %12.6g  +- %.2g\n", mean, error);
        }
    }
    return status;
}

static lathe_status run(const void *arguments, lathe_cli *cli, lathe_error *err) {
    const curvature_args *a = arguments;
    if (a->model == NULL || a->data == NULL || cli->n_positional != 0)
        return lathe_fail(err, LATHE_ERR_ARG, "-m MODEL and --data FILE are needed, and no other arguments");
    lathe_tokens *tokens;
    lathe_status status = lathe_tokens_open(a->data, 0, &tokens, err);
    if (status != LATHE_OK)
        return status;
    int32_t rows = (int32_t) a->rows, ctx = (int32_t) a->ctx;
    size_t width = (size_t) ctx + 1;
    int32_t *batch = malloc((size_t) rows * width * sizeof *batch);
    uint64_t windows = (lathe_tokens_count(tokens) - 1) / (uint64_t) ctx;
    lathe_curve *curve = NULL;
    bool rounded = false;
    if (batch == NULL)
        status = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the batch");
    else if (lathe_tokens_count(tokens) < 2 || windows < (uint64_t) rows)
        status = lathe_fail(err, LATHE_ERR_INPUT, "%s: %llu tokens are less than %d sequences of %d + 1",
                            a->data, (unsigned long long) lathe_tokens_count(tokens), rows, ctx);
    for (int32_t j = 0; status == LATHE_OK && j < rows; j++)
        lathe_tokens_read(tokens, (uint64_t) j * windows / (uint64_t) rows * (uint64_t) ctx, ctx + 1,
                          batch + (size_t) j * width);
    if (status == LATHE_OK)
        status = lathe_curve_new(a->model, batch, rows, ctx, (int32_t) a->threads, &curve, &rounded, err);
    if (status == LATHE_OK && rounded)
        lathe_log(&cli->logger, LATHE_LOG_WARN,
                  "the weights were dequantised: these figures are those of the rounded model");
    if (status == LATHE_OK)
        status = measure(a, curve, cli, err);
    lathe_curve_free(curve);
    free(batch);
    lathe_tokens_close(tokens);
    return status;
}

const lathe_verb lathe_verb_curvature = {
    .name = "curvature",
    .summary = "what one optimiser step does to the loss; the Hessian's extremes",
    .usage = "lathe curvature -m MODEL --data FILE.ltok [--update muon]",
    .examples = "lathe curvature -m model.gguf --data held-out.ltok --update adamw --lr 1e-3\n"
                "lathe curvature -m model.gguf --data held-out.ltok --lanczos 20 --trace 16 --json\n",
    .schema = "lathe.curvature/1",
    .options = {tables, n_options, LATHE_LEN(tables)},
    .args_size = sizeof(curvature_args),
    .defaults = defaults,
    .run = run,
};
