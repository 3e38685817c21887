/* report.c - report.html of a run, drawn from its metrics.jsonl (so that a resumed run has all of it). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/report.h"
#include "base/text.h"
#include "train/run.h"

enum { POINTS = 400, FIELDS = 10 };
#define METRICS_MAX ((size_t) 1 << 30)

static const char *const names[FIELDS] = {"loss", "eval_loss", "lr",      "grad_norm", "tokens_per_s",
                                          "kl",   "gain",      "penalty", "decrease",  "nds"};
enum { LOSS, EVAL, LR, NORM, SPEED, KL, GAIN, PENALTY, DECREASE, NDS };

/* Means of a field over bins of steps. */
typedef struct curve {
    double x[POINTS], y[POINTS];
    size_t n[POINTS], used;
} curve;

typedef struct curves {
    curve of[FIELDS];
    double last[FIELDS], best_eval, tokens, seconds;
    int64_t n_rows;
} curves;

/* The number behind "name": in a line of ours, or NaN. */
static double field(const char *line, size_t n, const char *name) {
    char key[40], number[64];
    int k = snprintf(key, sizeof key, "\"%s\": ", name);
    for (size_t i = 0; i + (size_t) k < n; i++)
        if (memcmp(line + i, key, (size_t) k) == 0) {
            size_t left = n - i - (size_t) k, m = left < sizeof number - 1 ? left : sizeof number - 1;
            double value;
            memcpy(number, line + i + k, m);
            number[m] = '\0';
            number[strcspn(number, ",} \n")] = '\0';
            return lathe_parse_real(number, &value) ? value : NAN;
        }
    return NAN;
}

static void add_row(curves *c, const char *line, size_t n, double total) {
    double step = field(line, n, "step");
    if (!(step >= 1))
        return;
    size_t bin = (size_t) (POINTS * (step - 1) / fmax(1, total));
    bin = bin < POINTS ? bin : POINTS - 1;
    c->n_rows++;
    c->tokens = field(line, n, "tokens");
    for (int f = 0; f < FIELDS; f++) {
        double y = field(line, n, names[f]);
        if (!isfinite(y))
            continue;
        c->of[f].x[bin] += step;
        c->of[f].y[bin] += y;
        c->of[f].n[bin]++;
        c->last[f] = y;
        if (f == EVAL)
            c->best_eval = fmin(c->best_eval, y);
    }
}

static void finish(curve *c) {
    for (size_t i = 0; i < POINTS; i++)
        if (c->n[i] > 0) {
            c->x[c->used] = c->x[i] / (double) c->n[i];
            c->y[c->used++] = c->y[i] / (double) c->n[i];
        }
}

static void draw(lathe_report *page, const curves *c, const char *title, const char *finding,
                 const char *y_label, const int *fields, size_t n, bool log_y) {
    lathe_series series[4];
    size_t used = 0;
    for (size_t i = 0; i < n && used < LATHE_LEN(series); i++) {
        const curve *k = &c->of[fields[i]];
        if (k->used > 0)
            series[used++] = (lathe_series){.name = names[fields[i]], .x = k->x, .y = k->y, .n = k->used};
    }
    if (used == 0)
        return;
    const lathe_plot plot = {.kind = LATHE_PLOT_LINE,
                             .title = title,
                             .finding = finding,
                             .x_label = "step",
                             .y_label = y_label,
                             .log_y = log_y,
                             .series = series,
                             .n_series = used};
    lathe_report_figure(page, &plot, finding);
}

static json_t *data_of(const curves *c) {
    json_t *all = json_object();
    for (int f = 0; f < FIELDS; f++) {
        if (c->of[f].used == 0)
            continue;
        json_t *points = json_array();
        for (size_t i = 0; i < c->of[f].used; i++)
            json_array_append_new(points, json_pack("[f, f]", c->of[f].x[i], c->of[f].y[i]));
        json_object_set_new(all, names[f], points);
    }
    return all;
}

static void row(lathe_report *page, const char *name, const char *value) {
    lathe_report_cell(page, LATHE_CELL_TEXT, name);
    lathe_report_cell(page, LATHE_CELL_NUMBER, value);
}

static void number_row(lathe_report *page, const char *name, double value) {
    char text[64];
    if (!isfinite(value))
        return;
    lathe_format_figure(value, text, sizeof text);
    row(page, name, text);
}

/* The last samples of samples.jsonl, the newest first. */
static void add_samples(lathe_report *page, const char *folder) {
    enum { SHOWN = 5 };
    char path[4096], step[64], *text;
    size_t n, starts[SHOWN] = {0}, lines = 0;
    snprintf(path, sizeof path, "%s/samples.jsonl", folder);
    if (lathe_file_read(path, METRICS_MAX, &text, &n, NULL) != LATHE_OK)
        return;
    for (size_t i = 0; i < n; i += strcspn(text + i, "\n") + 1)
        starts[lines++ % SHOWN] = i;
    for (size_t k = 0; k < SHOWN && k < lines; k++) {
        const char *at = text + starts[(lines - 1 - k) % SHOWN];
        json_t *j = json_loadb(at, strcspn(at, "\n"), 0, NULL);
        const char *prompt = json_string_value(json_object_get(j, "prompt")),
                   *said = json_string_value(json_object_get(j, "text"));
        char *whole = prompt != NULL && said != NULL ? malloc(strlen(prompt) + strlen(said) + 1) : NULL;
        if (whole != NULL) {
            snprintf(step, sizeof step, "Sample after step %lld",
                     (long long) json_integer_value(json_object_get(j, "step")));
            strcpy(whole, prompt);
            strcat(whole, said);
            lathe_report_details(page, step, whole);
        }
        free(whole);
        json_decref(j);
    }
    free(text);
}

static void write_page(lathe_report *page, const lathe_run *r, const curves *c) {
    static const char *const header[] = {"", "value"};
    char text[64];
    lathe_report_table(page, "The run", header, 2);
    lathe_format_count(lathe_desc_n_params(&r->desc), text, sizeof text);
    row(page, "parameters", text);
    lathe_format_count(r->at.step, text, sizeof text);
    row(page, "steps", text);
    lathe_format_count((int64_t) c->tokens, text, sizeof text);
    row(page, "tokens seen", text);
    lathe_format_count((int64_t) lathe_tokens_count(r->data), text, sizeof text);
    row(page, "tokens of the data", text);
    number_row(page, "loss of the last step", c->last[LOSS]);
    number_row(page, "held-out loss, last", c->last[EVAL]);
    number_row(page, "held-out loss, best", c->best_eval);
    number_row(page, "held-out perplexity a token, last", exp(c->last[EVAL]));
    lathe_report_table_end(page);
    draw(page, c, "Loss",
         "Cross entropy in nats a token: of the batches (mean over neighbouring steps) and held out.",
         "nats a token", (const int[]){LOSS, EVAL}, 2, false);
    draw(page, c, "Divergence from the teacher", "KL(teacher || model) on the batches.", "nats a token",
         (const int[]){KL}, 1, false);
    draw(page, c, "Learning rate", "Peak rate of hidden matrices times the schedule.", "rate",
         (const int[]){LR}, 1, false);
    draw(page, c, "Gradient norm", "Global norm before clipping.", "norm", (const int[]){NORM}, 1, true);
    draw(page, c, "What a step wins",
         "First-order gain, curvature penalty, and the measured decrease of a batch's loss.", "nats",
         (const int[]){GAIN, PENALTY, DECREASE}, 3, false);
    draw(page, c, "Sharpness along the step", "<z, H z> / |z|^2 of each measured step z.", "NDS",
         (const int[]){NDS}, 1, false);
    draw(page, c, "Speed", "Training tokens a second of each step.", "tokens/s", (const int[]){SPEED}, 1,
         false);
    add_samples(page, r->p->output);
    lathe_report_details(page, "Settings", r->at.settings);
}

lathe_status lathe_run_report(const lathe_run *r, lathe_error *err) {
    char path[4096], summary[160], *text = NULL;
    size_t n = 0;
    curves *c = calloc(1, sizeof *c);
    if (c == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the report");
    for (int f = 0; f < FIELDS; f++)
        c->last[f] = NAN;
    c->best_eval = INFINITY;
    snprintf(path, sizeof path, "%s/metrics.jsonl", r->p->output);
    lathe_status status = lathe_file_read(path, METRICS_MAX, &text, &n, err);
    for (size_t i = 0, k; status == LATHE_OK && i < n; i += k + 1) {
        const char *end = memchr(text + i, '\n', n - i);
        k = end != NULL ? (size_t) (end - text) - i : n - i;
        add_row(c, text + i, k, (double) r->at.step);
    }
    free(text);
    for (int f = 0; f < FIELDS; f++)
        finish(&c->of[f]);
    if (status == LATHE_OK) {
        lathe_report page;
        char count[32];
        lathe_format_count(lathe_desc_n_params(&r->desc), count, sizeof count);
        snprintf(summary, sizeof summary, "%s of %s parameters, %lld steps: loss %.4f%s",
                 r->desc.family->name, count, (long long) r->at.step, c->last[LOSS],
                 isfinite(c->last[EVAL]) ? ", held out " : "");
        if (isfinite(c->last[EVAL]))
            snprintf(summary + strlen(summary), sizeof summary - strlen(summary), "%.4f", c->last[EVAL]);
        lathe_report_begin(&page, r->p->name != NULL ? r->p->name : "Training run", summary, err);
        write_page(&page, r, c);
        json_t *data = data_of(c);
        snprintf(path, sizeof path, "%s/report.html", r->p->output);
        status = lathe_report_write(&page, data, path);
        json_decref(data);
        lathe_report_free(&page);
    }
    free(c);
    return status;
}
