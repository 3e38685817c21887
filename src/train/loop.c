/* loop.c - the training run: steps, evaluation, metrics, checkpoints. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/machine.h"
#include "train/run.h"

/* metrics.jsonl without the rows after `step`: a resumed run writes them again. */
static lathe_status trim_metrics(const char *path, int64_t step, lathe_error *err) {
    char *text;
    size_t n;
    if (lathe_file_read(path, 1u << 30, &text, &n, NULL) != LATHE_OK)
        return LATHE_OK;
    size_t keep = 0;
    for (size_t i = 0; i < n;) {
        size_t end = i + strcspn(text + i, "\n");
        long long at;
        if (end >= n || sscanf(text + i, "{\"step\": %lld", &at) != 1 || at > step)
            break;
        keep = i = end + 1;
    }
    lathe_status status = keep < n ? lathe_file_write(path, text, keep, err) : LATHE_OK;
    free(text);
    return status;
}

typedef struct row {
    int64_t step;
    double loss, lr, norm, rate, seconds, eval_loss;
} row;

static lathe_status log_row(FILE *f, const lathe_run *r, const row *m, lathe_error *err) {
    fprintf(f,
            "{\"step\": %lld, \"loss\": %.9g, \"lr\": %.9g, \"grad_norm\": %.9g, \"clipped\": %s, "
            "\"tokens\": %lld, "
            "\"tokens_per_s\": %.9g, \"seconds\": %.9g",
            (long long) m->step, m->loss, m->lr, m->norm,
            r->p->clip > 0 && m->norm > r->p->clip ? "true" : "false", (long long) r->at.tokens, m->rate,
            m->seconds);
    if (r->teacher != NULL)
        fprintf(f, ", \"kl\": %.9g", r->kl);
    if (isfinite(m->eval_loss))
        fprintf(f, ", \"eval_loss\": %.9g", m->eval_loss);
    if (r->fields != NULL)
        fputs(r->fields, f);
    fprintf(f, "}\n");
    return fflush(f) == 0
               ? LATHE_OK
               : lathe_fail(err, LATHE_ERR_IO, "metrics.jsonl cannot be written: is the disk full?");
}

static lathe_status loop(lathe_run *r, FILE *metrics, lathe_train_result *result, lathe_error *err) {
    const lathe_train_params *p = r->p;
    double start = lathe_now();
    int64_t first = r->at.step, per_step = (int64_t) p->rows * p->n_ctx * p->accum;
    lathe_status status = LATHE_OK;
    result->finished = true;
    for (int64_t t = r->at.step + 1; t <= p->schedule.total && status == LATHE_OK; t++) {
        double norm = 0, before = lathe_now();
        row m = {.step = t, .eval_loss = NAN};
        lathe_run_before(r, t);
        status = lathe_run_step(r, t, &m.loss, &norm, err);
        if (status != LATHE_OK)
            break;
        r->at.step = t;
        r->at.tokens += per_step;
        m.lr = p->lr * lathe_schedule_at(&p->schedule, t);
        m.norm = norm;
        m.rate = (double) per_step / (lathe_now() - before);
        m.seconds = lathe_now() - start;
        bool last = t == p->schedule.total, late = p->max_seconds > 0 && m.seconds > p->max_seconds;
        bool stop = lathe_progress_step(&p->progress, "training", (double) t, (double) p->schedule.total,
                                        err) != LATHE_OK;
        if (r->eval_data != NULL && (last || late || (p->eval_every > 0 && t % p->eval_every == 0))) {
            status = lathe_run_evaluate(r, &m.eval_loss, err);
            r->eval_loss = m.eval_loss;
            r->at.best = fmin(r->at.best, m.eval_loss);
        }
        if (status == LATHE_OK)
            status = lathe_run_after(r, t, err);
        if (status == LATHE_OK)
            status = log_row(metrics, r, &m, err);
        result->loss = m.loss;
        if (status == LATHE_OK && (last || late || stop || (p->save_every > 0 && t % p->save_every == 0)))
            status = lathe_checkpoint_save(p->output, &r->at, &r->desc, r->net, p->name,
                                           lathe_run_tokenizer(r), p->keep, err);
        if (stop && status == LATHE_OK)
            status = lathe_fail(err, LATHE_ERR_CANCELLED, "stopped after step %lld; the checkpoint is saved",
                                (long long) t);
        if (late) {
            result->finished = last;
            break;
        }
    }
    double spent = lathe_now() - start;
    result->step = r->at.step;
    result->tokens_per_s = spent > 0 ? (double) ((r->at.step - first) * per_step) / spent : 0;
    result->eval_loss = r->eval_loss;
    return status;
}

lathe_status lathe_train_run(const lathe_train_params *params, lathe_train_result *result, lathe_error *err) {
    lathe_run r = {.p = params, .eval_loss = NAN};
    *result = (lathe_train_result){.loss = NAN, .eval_loss = NAN};
    lathe_status status = lathe_run_open(&r, err);
    char path[4096];
    FILE *metrics = NULL;
    if (status == LATHE_OK) {
        snprintf(path, sizeof path, "%s/metrics.jsonl", params->output);
        status = trim_metrics(path, r.at.step, err);
        if (status == LATHE_OK && (metrics = fopen(path, "a")) == NULL)
            status = lathe_fail(err, LATHE_ERR_IO, "%s: cannot be written", path);
    }
    if (status == LATHE_OK) {
        result->n_params = lathe_desc_n_params(&r.desc);
        status = loop(&r, metrics, result, err);
    }
    if (metrics != NULL)
        fclose(metrics);
    if (status == LATHE_OK) {
        float **values = malloc((r.n + 1) * sizeof *values);
        for (size_t i = 0; values != NULL && i < r.n; i++)
            values[i] = r.at.average != NULL ? r.at.average[i] : lathe_net_weights(r.net, i);
        snprintf(path, sizeof path, "%s/model.gguf", params->output);
        status = values == NULL ? lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory", path)
                                : lathe_model_write(path, &r.desc, r.net, values, params->name,
                                                    lathe_run_tokenizer(&r), err);
        free(values);
    }
    if (status == LATHE_OK)
        status = lathe_run_report(&r, err);
    lathe_run_close(&r);
    return status;
}
