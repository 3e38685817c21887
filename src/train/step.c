/* step.c - one step of a run: gradients of its micro-batches, clipping, optimisers; and the evaluation. */
#include <cblas.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/run.h"

enum { EVAL_BATCHES = 16, BLOCK = 4096, PART_MAX = 3 };

/* The teacher's logits of this batch, where there is one. */
static lathe_status teach(lathe_run *r, lathe_error *err) {
    if (r->teacher == NULL)
        return LATHE_OK;
    double loss;
    lathe_status status = lathe_net_loss(r->teacher, r->batch, &loss, err);
    if (status == LATHE_OK)
        memcpy(lathe_net_teacher(r->net), lathe_net_logits(r->teacher),
               (size_t) r->p->rows * (size_t) r->p->n_ctx * (size_t) r->desc.n_vocab * sizeof(float));
    return status;
}

/* Micro-batch a of step t (from 0) into r->batch: the global batch is the same for any split of it. */
static void read_batch(lathe_run *r, int64_t t, int32_t a) {
    const lathe_train_params *p = r->p;
    uint64_t n = lathe_tokens_count(r->data);
    for (int32_t j = 0; j < p->rows; j++) {
        uint64_t index = (uint64_t) t * (uint64_t) p->accum + (uint64_t) a;
        index = index * (uint64_t) lathe_comm_size(r->comm) + (uint64_t) lathe_comm_rank(r->comm);
        index = index * (uint64_t) p->rows + (uint64_t) j;
        uint64_t at = lathe_window_at(p->seed, n, p->n_ctx, index);
        lathe_tokens_read(r->data, at, p->n_ctx + 1, r->batch + (size_t) j * ((size_t) p->n_ctx + 1));
    }
}

/* The last checkpoint that a message can name. */
static const char *last_good(const lathe_run *r, char *text, size_t n) {
    if (r->at.saved > 0)
        snprintf(text, n, "the last good checkpoint is %s/checkpoint-%06lld", r->p->output,
                 (long long) r->at.saved);
    else
        snprintf(text, n, "there is no checkpoint yet");
    return text;
}

static lathe_status not_finite(lathe_run *r, int64_t t, int32_t a, double loss, lathe_error *err) {
    char where[256], good[4200];
    lathe_net_first_bad(r->net, r->batch, where, sizeof where);
    return lathe_fail(err, LATHE_ERR_NUMERIC,
                      "step %lld, micro-batch %d: the loss is %g, first not finite: %s; %s; try a lower --lr",
                      (long long) t, a, loss, where, last_good(r, good, sizeof good));
}

/* One micro-batch's gradients into r->grads. */
static lathe_status micro_batch(lathe_run *r, int64_t t, int32_t a, double sums[3], lathe_error *err) {
    double part = 0;
    read_batch(r, t - 1, a);
    lathe_status status = teach(r, err);
    int64_t before =
        (int64_t) a * lathe_comm_size(r->comm) + lathe_comm_rank(r->comm); /* micro-batches of the step */
    if (r->task != NULL)
        r->task->prepare(r->task->user, r->p->seed, t - 1, (int32_t) before);
    lathe_net_set_dropout(r->net, t >= r->p->dropout_from ? r->p->dropout : 0, t,
                          before * r->p->rows * r->p->n_ctx);
    if (status == LATHE_OK)
        status = lathe_net_gradients(r->net, r->batch, &part, err);
    if (status == LATHE_OK && !isfinite(part))
        status = not_finite(r, t, a, part, err);
    if (r->exact != NULL || a + 1 == r->p->accum) /* before the processes wait for each other */
        status = lathe_comm_agree(r->comm, status, err);
    if (status != LATHE_OK)
        return status;
    lathe_net_sums one = lathe_net_last(r->net);
    sums[0] += one.ce;
    sums[1] += one.kl;
    sums[2] += one.counted;
    double *exact = r->exact;
    for (size_t i = 0; i < r->n && status == LATHE_OK; i++) {
        float *g = lathe_net_gradient_mutable(r->net, i);
        int64_t n = lathe_net_size(r->net, i);
        if (exact != NULL) {
            for (int64_t k = 0; k < n && a == 0; k++)
                exact[k] = 0;
            status = lathe_comm_add(r->comm, g, n, exact, err);
            exact += n;
            continue;
        }
        if (r->sums == NULL)
            r->grads[i] = g;
        for (int64_t k = 0; k < n && r->sums != NULL; k++)
            r->grads[i][k] = (a == 0 ? 0 : r->grads[i][k]) + g[k];
    }
    return status;
}

/* Sums over all micro-batches of step t, from 1, of all processes; *counted targets. */
static lathe_status gather(lathe_run *r, int64_t t, double *loss, double *counted, lathe_error *err) {
    double sums[3] = {0};
    lathe_status status = LATHE_OK;
    for (int32_t a = 0; a < r->p->accum && status == LATHE_OK; a++) {
        status = micro_batch(r, t, a, sums, err);
        if (status != LATHE_OK && r->exact == NULL && a + 1 < r->p->accum)
            return lathe_comm_agree(r->comm, status, err); /* the others learn of it at the end of theirs */
    }
    double *exact = r->exact;
    for (size_t i = 0; i < r->n && status == LATHE_OK; i++) {
        int64_t n = lathe_net_size(r->net, i);
        if (exact == NULL) {
            status = lathe_comm_sum(r->comm, r->grads[i], n, err);
            continue;
        }
        if (r->sums == NULL)
            r->grads[i] = lathe_net_gradient_mutable(r->net, i);
        status = lathe_comm_collect(r->comm, exact, n, r->grads[i], err);
        exact += n;
    }
    if (status != LATHE_OK)
        return status;
    lathe_comm_sum_double(r->comm, sums, 3);
    *counted = sums[2];
    *loss = sums[0] / fmax(1, *counted);
    r->kl = sums[1] / fmax(1, *counted);
    return LATHE_OK;
}

/* Sum of squares in blocks of fixed size, added in order. */
static double squares(const float *x, int64_t n) {
    double total = 0;
    for (int64_t b = 0; b < n; b += BLOCK) {
        int64_t end = b + BLOCK < n ? b + BLOCK : n, i = b;
        double part = 0, lane[8] = {0};
        for (; i + 8 <= end; i += 8)
            for (int k = 0; k < 8; k++)
                lane[k] += (double) x[i + k] * x[i + k];
        for (; i < end; i++)
            part += (double) x[i] * x[i];
        for (int k = 0; k < 8; k++)
            part += lane[k];
        total += part;
    }
    return total;
}

/* Norm of the mean gradient over *counted targets; the factor to multiply the sums with. */
static lathe_status measure(lathe_run *r, int64_t t, double counted, double *norm, float *scale,
                            lathe_error *err) {
    double mean = (double) r->p->rows * r->p->n_ctx / fmax(1, counted), sum = 0;
    for (size_t i = 0; i < r->n; i++) {
        double part = squares(r->grads[i], lathe_net_size(r->net, i));
        char good[4200];
        if (!isfinite(part))
            return lathe_fail(
                err, LATHE_ERR_NUMERIC,
                "step %lld: the gradient of '%s' is not finite; %s; try a lower --lr or --clip 1",
                (long long) t, lathe_net_tensor(r->net, i)->name, last_good(r, good, sizeof good));
        sum += part;
    }
    *norm = mean * sqrt(sum);
    *scale = (float) (mean * (r->p->clip > 0 ? fmin(1, r->p->clip / (*norm + 1e-6)) : 1));
    return LATHE_OK;
}

/* Rows of the pieces that a matrix is orthogonalised in: a fused QKV is three matrices. */
static int pieces_of(const lathe_run *r, size_t i, int64_t rows[PART_MAX]) {
    const lathe_desc *d = &r->desc;
    rows[0] = r->tensors[i].rows;
    if (r->tensors[i].optim.kind != LATHE_OPTIM_MUON || !d->family->fused_qkv ||
        strstr(lathe_net_tensor(r->net, i)->name, "attn_qkv") == NULL)
        return 1;
    rows[0] = (int64_t) d->n_head * d->n_embd_head_k;
    rows[1] = rows[2] = (int64_t) d->n_head_kv * d->n_embd_head_k;
    return 3;
}

static lathe_status update(lathe_run *r, size_t i, int64_t t, double lr, lathe_error *err) {
    const lathe_run_tensor *x = &r->tensors[i];
    int64_t rows[PART_MAX], at = 0;
    int n = pieces_of(r, i, rows);
    lathe_status status = LATHE_OK;
    for (int k = 0; k < n && status == LATHE_OK; k++) {
        status =
            lathe_optim_step(&x->optim, lathe_net_tensor(r->net, i)->name, lathe_net_weights(r->net, i) + at,
                             r->grads[i] + at, r->at.state[i] + at, rows[k], x->cols, t, lr, err);
        at += rows[k] * x->cols;
    }
    return status;
}

/* The average of the weights, where one is kept. */
static void follow(lathe_run *r, int64_t t) {
    float keep = (float) fmin(r->p->ema, (1.0 + (double) t) / (10.0 + (double) t));
    for (size_t i = 0; r->at.average != NULL && i < r->n; i++) {
        const float *w = lathe_net_weights(r->net, i);
        for (int64_t k = 0; k < lathe_net_size(r->net, i); k++)
            r->at.average[i][k] = keep * r->at.average[i][k] + (1 - keep) * w[k];
    }
}

lathe_status lathe_run_step(lathe_run *r, int64_t t, double *loss, double *norm, lathe_error *err) {
    const lathe_train_params *p = r->p;
    double counted = 0;
    float scale = 1;
    lathe_status status = gather(r, t, loss, &counted, err);
    if (status == LATHE_OK)
        status = measure(r, t, counted, norm, &scale, err);
    double rate = lathe_schedule_at(&p->schedule, t);
    openblas_set_num_threads(p->n_threads);
    for (size_t i = 0; i < r->n && status == LATHE_OK; i++) {
        int64_t size = lathe_net_size(r->net, i);
        for (int64_t k = 0; (scale < 1 || scale > 1) && k < size; k++)
            r->grads[i][k] *= scale;
        if (lathe_run_owns(r, i))
            status = update(r, i, t, rate * r->tensors[i].lr, err);
    }
    status = lathe_comm_agree(r->comm, status, err);
    if (status == LATHE_OK) {
        lathe_run_share_weights(r);
        follow(r, t);
    }
    openblas_set_num_threads(1);
    return status;
}

/* --- Observers --------------------------------------------------------------------------------------- */

static bool is_observed(const lathe_run *r, int64_t t) {
    return r->before != NULL && r->p->observe_wants(r->p->observe_user, t);
}

void lathe_run_before(lathe_run *r, int64_t t) {
    if (r->fields != NULL)
        r->fields[0] = '\0';
    if (!is_observed(r, t))
        return;
    size_t one = (size_t) r->p->rows * ((size_t) r->p->n_ctx + 1);
    for (int32_t a = 0; a < r->p->accum; a++) {
        read_batch(r, t - 1, a);
        memcpy(r->observed + (size_t) a * one, r->batch, one * sizeof *r->batch);
    }
    for (size_t i = 0; i < r->n; i++)
        memcpy(r->before[i], lathe_net_weights(r->net, i),
               (size_t) lathe_net_size(r->net, i) * sizeof(float));
}

lathe_status lathe_run_after(lathe_run *r, int64_t t, lathe_error *err) {
    if (!is_observed(r, t))
        return LATHE_OK;
    const float **after = malloc((r->n + 1) * sizeof *after);
    if (after == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %zu tensors", r->n);
    for (size_t i = 0; i < r->n; i++)
        after[i] = lathe_net_weights(r->net, i);
    lathe_train_moment m = {.step = t,
                            .desc = &r->desc,
                            .n_tensors = r->n,
                            .before = (const float *const *) r->before,
                            .after = after,
                            .tokens = r->observed,
                            .rows = r->p->rows * r->p->accum,
                            .ctx = r->p->n_ctx,
                            .fields = r->fields,
                            .n_fields = LATHE_RUN_FIELDS};
    lathe_status status = r->p->observe(r->p->observe_user, &m, err);
    openblas_set_num_threads(1);
    free(after);
    return status;
}

lathe_status lathe_run_evaluate(lathe_run *r, double *loss, lathe_error *err) {
    const lathe_train_params *p = r->p;
    uint64_t n = lathe_tokens_count(r->eval_data), width = (uint64_t) p->n_ctx;
    uint64_t windows = n > width ? (n - 1) / width : 0, batches = windows / (uint64_t) p->rows;
    if (batches == 0)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: too short for one batch of %d x %d tokens", p->eval_data,
                          p->rows, p->n_ctx);
    uint64_t taken = batches < EVAL_BATCHES ? batches : EVAL_BATCHES;
    double sum = 0;
    for (uint64_t b = (uint64_t) lathe_comm_rank(r->comm); b < taken;
         b += (uint64_t) lathe_comm_size(r->comm)) {
        for (uint64_t j = 0; j < (uint64_t) p->rows; j++) {
            uint64_t i = b * (uint64_t) p->rows + j;
            lathe_tokens_read(r->eval_data, i * windows / (taken * (uint64_t) p->rows) * width, p->n_ctx + 1,
                              r->batch + j * (width + 1));
        }
        double part;
        if (r->task != NULL)
            r->task->prepare(r->task->user, p->seed, -1, (int32_t) b);
        lathe_status status = lathe_net_loss(r->net, r->batch, &part, err);
        if (status != LATHE_OK)
            return status;
        sum += part;
    }
    lathe_comm_sum_double(r->comm, &sum, 1);
    *loss = sum / (double) taken;
    return LATHE_OK;
}

lathe_status lathe_run_evaluate_average(lathe_run *r, double *loss, lathe_error *err) {
    lathe_status status = LATHE_OK;
    for (int pass = 0; pass < 2; pass++) { /* swapped in, and out again */
        for (size_t i = 0; i < r->n; i++) {
            float *w = lathe_net_weights(r->net, i), *e = r->at.average[i];
            for (int64_t k = 0; k < lathe_net_size(r->net, i); k++) {
                float x = w[k];
                w[k] = e[k];
                e[k] = x;
            }
        }
        if (pass == 0)
            status = lathe_run_evaluate(r, loss, err);
    }
    return status;
}
