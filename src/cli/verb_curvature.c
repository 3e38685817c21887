/* verb_curvature.c - `lathe curvature`: what one optimiser step does to a model's loss, and the Hessian's
 * extremes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/pattern.h"
#include "base/text.h"
#include "cli/curvature_args.h"
#include "cli/input.h"
#include "lathe/model.h"
#include "lathe/train.h"

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

static lathe_status spectrum(const curvature_args *a, operand *o, curvature_findings *f, lathe_error *err) {
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
                                     (uint64_t) a->seed, LATHE_DENSITY_POINTS, f->x, f->density, err);
    return status;
}

/* --- The verb --------------------------------------------------------------------------------------- */

static lathe_status profile(lathe_curve *c, const float *z, curvature_findings *f, float *memory,
                            lathe_error *err) {
    lathe_status status = LATHE_OK;
    for (int i = 0; i < LATHE_PROFILE_POINTS && status == LATHE_OK; i++) {
        f->shift[i] = -2 + 4.0 * i / (LATHE_PROFILE_POINTS - 1);
        for (size_t k = 0; k < lathe_curve_n(c); k++)
            memory[k] = (float) (-f->shift[i] * (double) z[k]);
        status = lathe_curve_loss(c, memory, &f->loss[i], NULL, err);
    }
    return status;
}

static lathe_status measure(const curvature_args *a, lathe_curve *c, curvature_findings *f, lathe_cli *cli,
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
        status = lathe_curvature_step(a, c, g, g + n, f, err);
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
    json_t *j = lathe_curvature_json(a, c, f);
    if (a->output != NULL)
        status = lathe_curvature_page(a, c, f, j, err);
    if (cli->json)
        json_object_update(cli->result, j);
    else
        lathe_curvature_print(a, f, cli->out);
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
    curvature_findings *f = calloc(1, sizeof *f);
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
