/* loop.c - the training run: steps, evaluation, metrics, checkpoints. */
#include <cblas.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/machine.h"
#include "train/run.h"

/* metrics.jsonl or samples.jsonl without the rows after `step`: a resumed run writes them again. */
static lathe_status trim_rows(const char *path, int64_t step, lathe_error *err) {
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
    double loss, lr, norm, rate, seconds, eval_loss, ema_eval_loss;
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
    if (isfinite(m->ema_eval_loss))
        fprintf(f, ", \"ema_eval_loss\": %.9g", m->ema_eval_loss);
    if (r->fields != NULL)
        fputs(r->fields, f);
    fprintf(f, "}\n");
    return fflush(f) == 0
               ? LATHE_OK
               : lathe_fail(err, LATHE_ERR_IO, "metrics.jsonl cannot be written: is the disk full?");
}

/* Evaluates, and counts the evaluations since the best one. */
static lathe_status judge(lathe_run *r, row *m, lathe_error *err) {
    lathe_status status = lathe_run_evaluate(r, &m->eval_loss, err);
    if (status == LATHE_OK && r->at.average != NULL)
        status = lathe_run_evaluate_average(r, &m->ema_eval_loss, err);
    if (status != LATHE_OK)
        return status;
    r->eval_loss = m->eval_loss;
    r->at.stale = m->eval_loss < r->at.best ? 0 : r->at.stale + 1;
    r->at.best = fmin(r->at.best, m->eval_loss);
    return LATHE_OK;
}

/* Writes a checkpoint; every process learns whether it is there. */
static lathe_status save(lathe_run *r, const row *m, lathe_error *err) {
    const lathe_train_params *p = r->p;
    lathe_status status = LATHE_OK;
    if (isfinite(m->eval_loss) && !(m->eval_loss > r->at.best_kept)) {
        r->at.best_kept = m->eval_loss;
        r->at.best_step = m->step;
    }
    lathe_run_share_states(r);
    if (lathe_comm_rank(r->comm) == 0)
        status = lathe_checkpoint_save(p->output, &r->at, &r->desc, r->net, p->name, lathe_run_tokenizer(r),
                                       p->keep, err);
    return lathe_comm_agree(r->comm, status, err);
}

/* What the model says now, told by the caller; process 0 alone. */
static lathe_status sample(const lathe_run *r, int64_t t, lathe_error *err) {
    const lathe_train_params *p = r->p;
    if (p->sample == NULL || p->sample_every < 1 || t % p->sample_every != 0 || lathe_comm_rank(r->comm) != 0)
        return LATHE_OK;
    char path[4096];
    float **values = malloc((r->n + 1) * sizeof *values);
    if (values == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %zu tensors", r->n);
    for (size_t i = 0; i < r->n; i++)
        values[i] = r->at.average != NULL ? r->at.average[i] : lathe_net_weights(r->net, i);
    snprintf(path, sizeof path, "%s/sample.tmp.gguf", p->output);
    lathe_status status =
        lathe_model_write(path, &r->desc, r->net, values, p->name, lathe_run_tokenizer(r), err);
    free(values);
    if (status == LATHE_OK)
        status = p->sample(p->sample_user, t, path, err);
    openblas_set_num_threads(1); /* as the step left it */
    (void) remove(path);
    return status;
}

/* Why the run ends at this step. */
typedef struct ending {
    bool last, late, stop, good, stale;
} ending;

static ending look_for_end(lathe_run *r, const row *m, lathe_error *err) {
    const lathe_train_params *p = r->p;
    double flags[2] = {0};
    if (lathe_comm_rank(r->comm) == 0) { /* one clock, one terminal */
        flags[0] = p->max_seconds > 0 && m->seconds > p->max_seconds;
        flags[1] = lathe_progress_step(&p->progress, "training", (double) m->step, (double) p->schedule.total,
                                       err) != LATHE_OK;
    }
    lathe_comm_sum_double(r->comm, flags, 2);
    return (ending){.last = m->step == p->schedule.total, .late = flags[0] > 0, .stop = flags[1] > 0};
}

static lathe_status loop(lathe_run *r, FILE *metrics, lathe_train_result *result, lathe_error *err) {
    const lathe_train_params *p = r->p;
    double start = lathe_now();
    int64_t first = r->at.step,
            per_step = (int64_t) p->rows * p->n_ctx * p->accum * (int64_t) lathe_comm_size(r->comm);
    lathe_status status = LATHE_OK;
    ending end = {.last = r->at.step >= p->schedule.total};
    for (int64_t t = r->at.step + 1; t <= p->schedule.total && status == LATHE_OK; t++) {
        double before = lathe_now();
        row m = {.step = t, .eval_loss = NAN, .ema_eval_loss = NAN};
        lathe_run_before(r, t);
        status = lathe_run_step(r, t, &m.loss, &m.norm, err);
        if (status != LATHE_OK)
            break;
        r->at.step = t;
        r->at.tokens += per_step;
        m.lr = p->lr * lathe_schedule_at(&p->schedule, t);
        m.rate = (double) per_step / (lathe_now() - before);
        m.seconds = lathe_now() - start;
        end = look_for_end(r, &m, err);
        if (r->eval_data != NULL && (end.last || end.late || (p->eval_every > 0 && t % p->eval_every == 0)))
            status = judge(r, &m, err);
        double reached = r->eval_data != NULL ? m.eval_loss : m.loss;
        end.good = p->stop_loss > 0 && isfinite(reached) && reached <= p->stop_loss;
        end.stale = p->patience > 0 && isfinite(m.eval_loss) && r->at.stale >= p->patience;
        if (status == LATHE_OK)
            status = lathe_run_after(r, t, err);
        if (status == LATHE_OK)
            status = sample(r, t, err);
        if (status == LATHE_OK && metrics != NULL)
            status = log_row(metrics, r, &m, err);
        result->loss = m.loss;
        bool over = end.last || end.late || end.stop || end.good || end.stale;
        if (status == LATHE_OK && (over || (p->save_every > 0 && t % p->save_every == 0)))
            status = save(r, &m, err);
        if (end.stop && status == LATHE_OK)
            status = lathe_fail(err, LATHE_ERR_CANCELLED, "stopped after step %lld; the checkpoint is saved",
                                (long long) t);
        if (over)
            break;
    }
    if (end.stale && status == LATHE_OK)
        lathe_log(&p->logger, LATHE_LOG_INFO,
                  "%d evaluations without a better one: stopped at step %lld; best %.4f", p->patience,
                  (long long) r->at.step, r->at.best);
    double spent = lathe_now() - start;
    result->finished = end.last || end.good || end.stale;
    result->step = r->at.step;
    result->tokens_per_s = spent > 0 ? (double) ((r->at.step - first) * per_step) / spent : 0;
    result->eval_loss = r->eval_loss;
    return status;
}

/* model.gguf and report.html. */
static lathe_status write_results(lathe_run *r, lathe_error *err) {
    char path[4096];
    float **values = malloc((r->n + 1) * sizeof *values);
    for (size_t i = 0; values != NULL && i < r->n; i++)
        values[i] = r->at.average != NULL ? r->at.average[i] : lathe_net_weights(r->net, i);
    snprintf(path, sizeof path, "%s/model.gguf", r->p->output);
    const lathe_train_task *task = r->task;
    lathe_status status = values == NULL ? lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory", path)
                          : task != NULL ? task->write(task->user, path, r->net, values, err)
                                         : lathe_model_write(path, &r->desc, r->net, values, r->p->name,
                                                             lathe_run_tokenizer(r), err);
    free(values);
    if (status == LATHE_OK && task != NULL && task->finish != NULL)
        status = task->finish(task->user, r->net, r->eval_data, r->batch, err);
    return status == LATHE_OK ? lathe_run_report(r, err) : status;
}

lathe_status lathe_train_run(const lathe_train_params *params, lathe_train_result *result, lathe_error *err) {
    return lathe_train_run_task(params, NULL, result, err);
}

lathe_status lathe_train_run_task(const lathe_train_params *params, const lathe_train_task *task,
                                  lathe_train_result *result, lathe_error *err) {
    lathe_run r = {.p = params, .task = task, .eval_loss = NAN};
    *result = (lathe_train_result){.loss = NAN, .eval_loss = NAN};
    lathe_status status = lathe_comm_open(&r.comm, err);
    bool writes = lathe_comm_rank(r.comm) == 0;
    if (status == LATHE_OK)
        status = lathe_comm_agree(r.comm, lathe_run_open(&r, err), err);
    char path[4096];
    FILE *metrics = NULL;
    if (status == LATHE_OK && writes) {
        snprintf(path, sizeof path, "%s/metrics.jsonl", params->output);
        status = trim_rows(path, r.at.step, err);
        snprintf(path, sizeof path, "%s/samples.jsonl", params->output);
        if (status == LATHE_OK)
            status = trim_rows(path, r.at.step, err);
        snprintf(path, sizeof path, "%s/metrics.jsonl", params->output);
        if (status == LATHE_OK && (metrics = fopen(path, "a")) == NULL)
            status = lathe_fail(err, LATHE_ERR_IO, "%s: cannot be written", path);
    }
    status = lathe_comm_agree(r.comm, status, err);
    if (status == LATHE_OK) {
        result->n_params = 0;
        for (size_t i = 0; i < r.n; i++)
            result->n_params += lathe_net_size(r.net, i);
        result->rank = lathe_comm_rank(r.comm);
        status = loop(&r, metrics, result, err);
    }
    if (metrics != NULL)
        fclose(metrics);
    if (status == LATHE_OK && writes)
        status = write_results(&r, err);
    status = lathe_comm_agree(r.comm, status, err);
    lathe_run_close(&r);
    return status;
}

void lathe_train_end(void) {
    lathe_comm_close(NULL);
}

int32_t lathe_train_rank(void) {
    lathe_comm *comm;
    return lathe_comm_open(&comm, NULL) == LATHE_OK ? lathe_comm_rank(comm) : 0;
}

lathe_status lathe_train_agree(lathe_status status, lathe_error *err) {
    lathe_comm *comm;
    lathe_status opened = lathe_comm_open(&comm, err);
    return opened == LATHE_OK ? lathe_comm_agree(comm, status, err) : opened;
}

lathe_status lathe_train_measure(const lathe_train_params *params, lathe_train_plan *plan, lathe_error *err) {
    enum { STEPS = 3 };
    lathe_train_params quiet = *params;
    quiet.resume = quiet.must_resume = false;
    quiet.observe = NULL;
    lathe_run r = {.p = &quiet, .listing = true};
    *plan = (lathe_train_plan){0};
    lathe_status status = lathe_run_open(&r, err);
    double start = 0, loss, norm;
    for (int64_t t = 1; t <= STEPS && status == LATHE_OK; t++) { /* the first one warms up */
        status = lathe_run_step(&r, t, &loss, &norm, err);
        start = t == 1 ? lathe_now() : start;
    }
    if (status == LATHE_OK) {
        double per_step = (double) quiet.rows * quiet.n_ctx * quiet.accum;
        plan->n_params = lathe_desc_n_params(&r.desc);
        plan->n_tokens = (int64_t) per_step * quiet.schedule.total;
        plan->model_bytes = lathe_net_bytes(r.net) + (r.teacher != NULL ? lathe_net_bytes(r.teacher) : 0);
        for (size_t i = 0; i < r.n; i++)
            plan->state_bytes += (r.at.state_size[i] + (size_t) lathe_net_size(r.net, i) *
                                                           ((r.sums != NULL) + (r.at.average != NULL))) *
                                 sizeof(float);
        plan->tokens_per_s = (STEPS - 1) * per_step / fmax(1e-9, lathe_now() - start);
        plan->seconds = (double) plan->n_tokens / plan->tokens_per_s;
    }
    lathe_run_close(&r);
    return status;
}
