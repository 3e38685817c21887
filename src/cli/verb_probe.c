/* verb_probe.c - `lathe probe --spectrum`: how evenly a model's matrices use their directions. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/report.h"
#include "base/text.h"
#include "cli/cli.h"
#include "lathe/probe.h"

typedef struct probe_args {
    bool spectrum;
    const char *model, *compare, *output;
    int32_t by;
} probe_args;

enum { BY_TENSOR, BY_KIND };
static const char *const bys[] = {"tensor", "kind", NULL};

#define AT(field) .offset = offsetof(probe_args, field)
static const lathe_option options[] = {
    {.name = "model",
     .short_name = "m",
     .group = "model",
     .arg = "FILE",
     .kind = LATHE_OPTION_FILE,
     AT(model),
     .env = "LATHE_MODEL",
     .help = "GGUF model"},
    {.name = "spectrum",
     .group = "probe",
     .kind = LATHE_OPTION_FLAG,
     AT(spectrum),
     .help = "singular values of the weights: entropy, effective rank, energy of the largest, ratio of "
             "quartiles"},
    {.name = "compare",
     .group = "probe",
     .arg = "FILE",
     .kind = LATHE_OPTION_FILE,
     AT(compare),
     .help = "another GGUF of the same shape: its spectra, and those of the difference"},
    {.name = "by",
     .group = "probe",
     .arg = "WHAT",
     .kind = LATHE_OPTION_CHOICE,
     AT(by),
     .choices = bys,
     .default_text = "tensor",
     .help = "a row a tensor, or the mean over layers of each kind"},
    {.name = "output",
     .short_name = "o",
     .group = "probe",
     .arg = "FILE.html",
     .kind = LATHE_OPTION_FILE,
     AT(output),
     .help = "a report page"},
};
static const lathe_option *const tables[] = {options};
static const size_t n_options[] = {LATHE_LEN(options)};

static void defaults(void *args) {
    ((probe_args *) args)->spectrum = true;
}

enum { NAME = 80, FIGURES = 8 };
static const char *const figure_names[FIGURES] = {"entropy", "effective_rank", "top1", "top10",
                                                  "q75_25",  "s_max",          "fro",  "stable_rank"};

/* A row of the table: one tensor, or the mean of so many. */
typedef struct line {
    char name[NAME];
    int64_t rows, cols;
    int n_values, count;
    double own[FIGURES], other[FIGURES], update[FIGURES];
    bool has_other, has_update;
} line;

typedef struct table {
    line *lines;
    size_t n;
    int32_t by;
    bool rounded;
} table;

static void add(double sum[FIGURES], const lathe_spectrum *s) {
    const double x[FIGURES] = {s->entropy, s->effective_rank, s->top1, s->top10,
                               s->q75_25,  s->s_max,          s->fro,  s->stable_rank};
    for (int i = 0; i < FIGURES; i++)
        sum[i] += x[i];
}

static lathe_status see(void *user, const lathe_spectrum_row *row, lathe_error *err) {
    table *t = user;
    const char *name = row->name;
    if (t->by == BY_KIND && row->layer >= 0) { /* behind "blk.N." */
        const char *dot = strchr(name, '.');
        dot = dot != NULL ? strchr(dot + 1, '.') : NULL;
        name = dot != NULL ? dot + 1 : name;
    }
    line *l = NULL;
    for (size_t i = 0; t->by == BY_KIND && i < t->n && l == NULL; i++)
        if (strcmp(t->lines[i].name, name) == 0)
            l = &t->lines[i];
    if (l == NULL) {
        line *more = realloc(t->lines, (t->n + 1) * sizeof *more);
        if (more == NULL)
            return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %zu rows", t->n + 1);
        t->lines = more;
        l = &t->lines[t->n++];
        *l = (line){.rows = row->rows, .cols = row->cols, .has_other = row->has_other};
        snprintf(l->name, sizeof l->name, "%s", name);
    }
    l->count++;
    l->n_values = row->spectrum.n;
    add(l->own, &row->spectrum);
    add(l->other, &row->other);
    add(l->update, &row->update);
    l->has_update = l->has_update || row->update.n > 0;
    t->rounded = t->rounded || row->rounded;
    return LATHE_OK;
}

static json_t *figures_json(const double *x, int count) {
    json_t *j = json_object();
    for (int i = 0; i < FIGURES; i++)
        json_object_set_new(j, figure_names[i], lathe_json_real(x[i] / count));
    return j;
}

static json_t *rows_json(const table *t) {
    json_t *list = json_array();
    for (size_t i = 0; i < t->n; i++) {
        const line *l = &t->lines[i];
        json_t *j = figures_json(l->own, l->count);
        json_object_set_new(j, "name", json_string(l->name));
        json_object_set_new(j, "n", json_integer(l->n_values));
        json_object_set_new(j, "shape", json_pack("[I, I]", (json_int_t) l->cols, (json_int_t) l->rows));
        if (l->has_other)
            json_object_set_new(j, "other", figures_json(l->other, l->count));
        if (l->has_update)
            json_object_set_new(j, "update", figures_json(l->update, l->count));
        json_array_append_new(list, j);
    }
    return list;
}

static void print(const table *t, FILE *out) {
    fprintf(out, "%-30s %11s %7s %8s %6s %6s %9s %9s\n", "", "shape", "H", "eRank", "top1", "top10", "Q75/25",
            "s_max");
    for (size_t i = 0; i < t->n; i++) {
        const line *l = &t->lines[i];
        const double *sets[3] = {l->own, l->has_other ? l->other : NULL, l->has_update ? l->update : NULL};
        static const char *const names[3] = {NULL, "  other", "  difference"};
        for (int k = 0; k < 3; k++) {
            char shape[32];
            if (sets[k] == NULL)
                continue;
            snprintf(shape, sizeof shape, "%lldx%lld", (long long) l->cols, (long long) l->rows);
            fprintf(out, "%-30s %11s %7.4f %8.2f %6.3f %6.3f %9.3g %9.4g\n", k == 0 ? l->name : names[k],
                    k == 0 ? shape : "", sets[k][0] / l->count, sets[k][1] / l->count, sets[k][2] / l->count,
                    sets[k][3] / l->count, sets[k][4] / l->count, sets[k][5] / l->count);
        }
    }
}

static lathe_status write_page(const probe_args *a, const table *t, const json_t *data, lathe_error *err) {
    static const char *const header[] = {"tensor", "H",      "effective rank", "top 1",
                                         "top 10", "Q75/25", "largest"};
    lathe_report page;
    lathe_report_begin(&page, "Spectra of the weights",
                       t->rounded
                           ? "Singular values of each matrix; quantised weights were dequantised first."
                           : "Singular values of each matrix.",
                       err);
    lathe_report_table(&page, a->model, header, LATHE_LEN(header));
    lathe_bar *bars = calloc(t->n + 1, sizeof *bars);
    for (size_t i = 0; i < t->n; i++) {
        const line *l = &t->lines[i];
        lathe_report_cell(&page, LATHE_CELL_TEXT, l->name);
        for (int k = 0; k < 6; k++) {
            char text[64];
            lathe_format_figure(l->own[k] / l->count, text, sizeof text);
            lathe_report_cell(&page, LATHE_CELL_NUMBER, text);
        }
        if (bars != NULL)
            bars[i] = (lathe_bar){l->name, l->own[0] / l->count, l->own[0] / l->count, l->own[0] / l->count};
    }
    lathe_report_table_end(&page);
    const lathe_plot plot = {.kind = LATHE_PLOT_BAR,
                             .title = "Normalised entropy",
                             .finding = "1: all directions alike; 0: one direction.",
                             .x_label = "H",
                             .bars = bars,
                             .n_bars = t->n};
    if (bars != NULL && t->n > 0 && t->n <= 80)
        lathe_report_figure(&page, &plot, plot.finding);
    lathe_status status = lathe_report_write(&page, data, a->output);
    lathe_report_free(&page);
    free(bars);
    return status;
}

static lathe_status run(const void *arguments, lathe_cli *cli, lathe_error *err) {
    const probe_args *a = arguments;
    const char *model = a->model == NULL && cli->n_positional == 1 ? cli->positional[0] : a->model;
    if (model == NULL || cli->n_positional > (a->model == NULL ? 1u : 0u))
        return lathe_fail(err, LATHE_ERR_ARG, "one model is needed: -m FILE");
    if (!a->spectrum)
        return lathe_fail(err, LATHE_ERR_ARG, "nothing to look at; want --spectrum");
    table t = {.by = a->by};
    probe_args named = *a;
    named.model = model;
    lathe_status status = lathe_probe_spectra(model, a->compare, &cli->progress, see, &t, err);
    if (status == LATHE_OK && t.rounded)
        lathe_log(&cli->logger, LATHE_LOG_WARN,
                  "the weights were dequantised: these are spectra of the rounded ones");
    json_t *rows = status == LATHE_OK ? rows_json(&t) : NULL;
    if (status == LATHE_OK && a->output != NULL)
        status = write_page(&named, &t, rows, err);
    if (status == LATHE_OK && cli->json)
        json_object_set(cli->result, "spectrum", rows);
    else if (status == LATHE_OK)
        print(&t, cli->out);
    json_decref(rows);
    free(t.lines);
    return status;
}

extern const lathe_verb lathe_verb_probe;
const lathe_verb lathe_verb_probe = {
    .name = "probe",
    .summary = "singular values of a model's weights",
    .usage = "lathe probe -m MODEL --spectrum [--compare OTHER]",
    .examples = "lathe probe -m model.gguf --spectrum --by kind\n"
                "lathe probe -m run/checkpoint-000100/model.gguf --spectrum --compare run/model.gguf -o "
                "spectra.html\n",
    .schema = "lathe.probe/1",
    .options = {tables, n_options, LATHE_LEN(tables)},
    .args_size = sizeof(probe_args),
    .defaults = defaults,
    .run = run,
};
