/* loop.c - the training run: data, gradients, clipping, optimisers, evaluation, metrics, checkpoints. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/machine.h"
#include "model/gguf.h"
#include "model/vocab.h"
#include "train/checkpoint.h"

enum { EVAL_BATCHES = 16, BLOCK = 4096 };

lathe_train_params lathe_train_params_default(void) {
    return (lathe_train_params){.struct_size = sizeof(lathe_train_params),
                                .family = "llama",
                                .n_layer = 4,
                                .n_embd = 192,
                                .n_head = 6,
                                .n_head_kv = 3,
                                .n_ff = 512,
                                .n_ctx = 256,
                                .tied = true,
                                .rows = 8,
                                .accum = 1,
                                .matrix = lathe_optim_default(LATHE_OPTIM_MUON),
                                .other = lathe_optim_default(LATHE_OPTIM_ADAMW),
                                .lr = 4e-3,
                                .schedule = {LATHE_SCHEDULE_WSD, 50, 1000, 0, 0.3},
                                .clip = 1,
                                .seed = 1,
                                .distill_weight = 0.5,
                                .eval_every = 50,
                                .save_every = 100,
                                .keep = 3,
                                .n_threads = 1};
}

typedef struct run {
    const lathe_train_params *p;
    lathe_desc desc;
    lathe_net *net, *teacher;
    lathe_gguf *init;
    lathe_tokens *data, *eval_data;
    lathe_checkpoint at;
    float **grads;  /* [n] sums over micro-batches */
    int32_t *batch; /* [rows][ctx + 1] */
    size_t n;
    double eval_loss, kl;
} run;

static const char *tokenizer_of(const lathe_train_params *p) {
    return p->tokenizer != NULL ? p->tokenizer : p->init;
}

/* --- Setting up ---------------------------------------------------------------------------------------- */

static bool is_matrix(const lathe_desc_tensor *t) {
    return t->role == LATHE_ROLE_MATRIX || t->role == LATHE_ROLE_RESIDUAL;
}

/* The optimiser of a tensor; vectors are not decayed. */
static lathe_optim optim_of(const run *r, const lathe_desc_tensor *t) {
    lathe_optim o = is_matrix(t) ? r->p->matrix : r->p->other;
    if (t->n_dims < 2)
        o.weight_decay = 0;
    return o;
}

/* What must be equal for a run to go on; the schedule may be prolonged. */
static lathe_status write_settings(run *r, lathe_error *err) {
    const lathe_train_params *p = r->p;
    lathe_buf b;
    lathe_buf_init(&b, 1 << 16);
    lathe_status status = lathe_buf_printf(
        &b, err,
        "family=%s\nlayers=%d\nembd=%d\nheads=%d\nheads_kv=%d\nff=%d\nctx=%d\ntied=%d\nrows=%d\naccum=%"
        "d\nseed=%llu\n"
        "tokens=%llu\nmatrix=%s\nother=%s\nclip=%.9g\nema=%.9g\n",
        p->family, p->n_layer, p->n_embd, p->n_head, p->n_head_kv, p->n_ff, p->n_ctx, p->tied, p->rows,
        p->accum, (unsigned long long) p->seed, (unsigned long long) lathe_tokens_count(r->data),
        lathe_optim_name(p->matrix.kind), lathe_optim_name(p->other.kind), p->clip, p->ema);
    if (status == LATHE_OK && p->init != NULL)
        status = lathe_buf_printf(&b, err, "init=%s\n", p->init);
    if (status == LATHE_OK && p->distill != NULL)
        status =
            lathe_buf_printf(&b, err, "distill=%s\ndistill_weight=%.9g\n", p->distill, p->distill_weight);
    if (status == LATHE_OK && (p->z_loss > 0 || p->label_smoothing > 0))
        status =
            lathe_buf_printf(&b, err, "z_loss=%.9g\nlabel_smoothing=%.9g\n", p->z_loss, p->label_smoothing);
    if (status == LATHE_OK)
        r->at.settings = lathe_buf_take(&b, NULL);
    lathe_buf_free(&b);
    if (status == LATHE_OK && r->at.settings == NULL)
        status = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the settings");
    return status;
}

static lathe_status check(const lathe_train_params *p, lathe_error *err) {
    if (p->data == NULL || p->output == NULL)
        return lathe_fail(err, LATHE_ERR_ARG, "training needs a token file and a folder for the run");
    if (p->rows < 1 || p->accum < 1 || p->accum > 65536 || p->n_threads < 1 || p->schedule.total < 1 ||
        p->schedule.warmup < 0)
        return lathe_fail(err, LATHE_ERR_ARG, "batch, accumulation, threads and steps must be at least 1");
    if (!(p->lr > 0) || !(p->lr_other >= 0) || !(p->clip >= 0) || !(p->ema >= 0 && p->ema < 1))
        return lathe_fail(err, LATHE_ERR_ARG,
                          "the learning rate must be positive, clip not negative and ema in [0, 1)");
    if (!(p->distill_weight >= 0 && p->distill_weight <= 1) || !(p->z_loss >= 0) ||
        !(p->label_smoothing >= 0 && p->label_smoothing < 1))
        return lathe_fail(
            err, LATHE_ERR_ARG,
            "the teacher's share must be in [0, 1], the z-loss not negative and label smoothing in [0, 1)");
    lathe_status status = lathe_optim_check(&p->matrix, err);
    if (status == LATHE_OK)
        status = lathe_optim_check(&p->other, err);
    if (status == LATHE_OK && (p->other.kind == LATHE_OPTIM_MUON || p->other.kind == LATHE_OPTIM_SHAMPOO ||
                               p->other.kind == LATHE_OPTIM_SOAP))
        status =
            lathe_fail(err, LATHE_ERR_ARG, "%s takes matrices: vectors and embeddings need another optimiser",
                       lathe_optim_name(p->other.kind));
    return status;
}

/* INPUT where the tokenizer of a model file is not the one that made the token file; files that do not say
 * pass.
 */
static lathe_status same_tokenizer(const run *r, const lathe_gguf *g, lathe_error *err) {
    const uint8_t *wanted = lathe_tokens_hash(r->data);
    if (wanted == NULL || lathe_gguf_find(g, "tokenizer.ggml.tokens") == NULL)
        return LATHE_OK;
    lathe_vocab *vocab;
    uint8_t hash[32];
    lathe_status status = lathe_vocab_from_gguf(g, &r->p->logger, &vocab, err);
    if (status != LATHE_OK)
        return status;
    status = lathe_vocab_hash(vocab, hash, err);
    lathe_vocab_free(vocab);
    if (status == LATHE_OK && memcmp(hash, wanted, sizeof hash) != 0)
        return lathe_fail(err, LATHE_ERR_INPUT,
                          "%s: its tokenizer is not the one that made %s; tokenize the texts with it",
                          lathe_gguf_path(g), r->p->data);
    return status;
}

/* The description of a run that begins with a file; the context is the run's own. */
static lathe_status describe_init(run *r, lathe_error *err) {
    const lathe_train_params *p = r->p;
    lathe_status status = lathe_gguf_open(p->init, NULL, &r->init, err);
    if (status == LATHE_OK)
        status = lathe_desc_from_gguf(r->init, &r->desc, err);
    if (status == LATHE_OK)
        status = lathe_desc_check(&r->desc, r->init, NULL, err);
    if (status != LATHE_OK)
        return status;
    if (r->desc.n_vocab != lathe_tokens_n_vocab(r->data))
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: a vocabulary of %d, the token file %s was made for %d",
                          p->init, r->desc.n_vocab, p->data, lathe_tokens_n_vocab(r->data));
    if (r->desc.n_pos > 0 && p->n_ctx > r->desc.n_pos)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: %d learned positions are less than a sequence of %d",
                          p->init, r->desc.n_pos, p->n_ctx);
    status = same_tokenizer(r, r->init, err);
    r->desc.n_ctx_train = p->n_ctx > r->desc.n_ctx_train ? p->n_ctx : r->desc.n_ctx_train;
    return status;
}

static lathe_status describe_new(run *r, lathe_error *err) {
    const lathe_train_params *p = r->p;
    lathe_shape shape = lathe_shape_default(p->family);
    shape.n_layer = p->n_layer;
    shape.n_embd = p->n_embd;
    shape.n_head = p->n_head;
    shape.n_head_kv = p->n_head_kv;
    shape.n_ff = p->n_ff;
    shape.n_vocab = lathe_tokens_n_vocab(r->data);
    shape.n_ctx = p->n_ctx;
    shape.tied = p->tied;
    return lathe_desc_from_shape(&shape, &r->desc, err);
}

static lathe_status open_teacher(run *r, lathe_error *err) {
    const lathe_train_params *p = r->p;
    lathe_gguf *g = NULL;
    lathe_desc desc;
    lathe_status status = lathe_gguf_open(p->distill, NULL, &g, err);
    if (status == LATHE_OK)
        status = lathe_desc_from_gguf(g, &desc, err);
    if (status == LATHE_OK)
        status = lathe_desc_check(&desc, g, NULL, err);
    if (status == LATHE_OK && desc.n_vocab != r->desc.n_vocab)
        status = lathe_fail(err, LATHE_ERR_INPUT,
                            "%s: a vocabulary of %d, the model has %d; a teacher needs the same", p->distill,
                            desc.n_vocab, r->desc.n_vocab);
    if (status == LATHE_OK)
        status = same_tokenizer(r, g, err);
    if (status == LATHE_OK && desc.n_pos > 0 && desc.n_pos < p->n_ctx)
        status = lathe_fail(err, LATHE_ERR_INPUT, "%s: %d learned positions are less than a sequence of %d",
                            p->distill, desc.n_pos, p->n_ctx);
    if (status == LATHE_OK && desc.n_ctx_train < p->n_ctx)
        lathe_log(&p->logger, LATHE_LOG_WARN, "%s was trained on %d tokens, and teaches sequences of %d",
                  p->distill, desc.n_ctx_train, p->n_ctx);
    const lathe_net_opts opts = {.rows = p->rows, .ctx = p->n_ctx, .n_threads = p->n_threads};
    if (status == LATHE_OK)
        status = lathe_net_open(&desc, &opts, &r->teacher, err);
    if (status == LATHE_OK)
        status = lathe_net_load(r->teacher, g, err);
    lathe_gguf_close(g);
    return status;
}

static lathe_status open_run(run *r, lathe_error *err) {
    const lathe_train_params *p = r->p;
    lathe_status status = check(p, err);
    if (status == LATHE_OK)
        status = lathe_tokens_open(p->data, 0, &r->data, err);
    if (status == LATHE_OK && p->eval_data != NULL)
        status = lathe_tokens_open(p->eval_data, lathe_tokens_n_vocab(r->data), &r->eval_data, err);
    if (status != LATHE_OK)
        return status;
    if (lathe_tokens_count(r->data) < (uint64_t) p->n_ctx + 1)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: %llu tokens are less than a sequence of %d + 1", p->data,
                          (unsigned long long) lathe_tokens_count(r->data), p->n_ctx);
    const lathe_net_opts opts = {
        .rows = p->rows,
        .ctx = p->n_ctx,
        .n_threads = p->n_threads,
        .gradients = true,
        .teacher = p->distill != NULL,
        .loss = {p->distill != NULL ? p->distill_weight : 0, p->z_loss, p->label_smoothing}};
    status = p->init != NULL ? describe_init(r, err) : describe_new(r, err);
    if (status == LATHE_OK)
        status = lathe_net_open(&r->desc, &opts, &r->net, err);
    if (status == LATHE_OK && p->distill != NULL)
        status = open_teacher(r, err);
    if (status == LATHE_OK && p->tokenizer != NULL) {
        lathe_gguf *g = NULL;
        status = lathe_gguf_open(p->tokenizer, NULL, &g, err);
        if (status == LATHE_OK)
            status = same_tokenizer(r, g, err);
        lathe_gguf_close(g);
    }
    if (status == LATHE_OK)
        status = lathe_folder_make(p->output, err);
    if (status == LATHE_OK)
        status = write_settings(r, err);
    if (status != LATHE_OK)
        return status;
    r->n = lathe_net_n_tensors(r->net);
    r->at.best = HUGE_VAL;
    r->at.state = calloc(r->n, sizeof(float *));
    r->at.state_size = calloc(r->n, sizeof(size_t));
    r->at.average = p->ema > 0 ? calloc(r->n, sizeof(float *)) : NULL;
    r->grads = calloc(r->n, sizeof(float *));
    r->batch = malloc((size_t) p->rows * ((size_t) p->n_ctx + 1) * sizeof *r->batch);
    bool ok = r->at.state && r->at.state_size && r->grads && r->batch && (r->at.average || p->ema <= 0);
    for (size_t i = 0; ok && i < r->n; i++) {
        const lathe_desc_tensor *t = lathe_net_tensor(r->net, i);
        lathe_optim o = optim_of(r, t);
        int64_t size = lathe_net_size(r->net, i), rows = t->n_dims < 2 ? 1 : size / t->ne[0];
        r->at.state_size[i] = lathe_optim_state_size(&o, rows, size / rows);
        r->at.state[i] = calloc(r->at.state_size[i] + 1, sizeof(float));
        r->grads[i] = malloc((size_t) size * sizeof(float));
        ok = r->at.state[i] && r->grads[i];
        if (ok && r->at.average != NULL)
            ok = (r->at.average[i] = malloc((size_t) size * sizeof(float))) != NULL;
    }
    if (!ok)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for optimiser states and gradients");
    lathe_net_init(r->net, p->seed);
    if (r->init != NULL)
        status = lathe_net_load(r->net, r->init, err);
    if (status != LATHE_OK)
        return status;
    for (size_t i = 0; r->at.average != NULL && i < r->n; i++)
        memcpy(r->at.average[i], lathe_net_weights(r->net, i),
               (size_t) lathe_net_size(r->net, i) * sizeof(float));
    return p->resume ? lathe_checkpoint_load(p->output, &r->at, r->net, &p->logger, err) : LATHE_OK;
}

static void close_run(run *r) {
    for (size_t i = 0; i < r->n; i++) {
        free(r->at.state != NULL ? r->at.state[i] : NULL);
        free(r->at.average != NULL ? r->at.average[i] : NULL);
        free(r->grads != NULL ? r->grads[i] : NULL);
    }
    free(r->at.state);
    free(r->at.state_size);
    free(r->at.average);
    free(r->at.settings);
    free(r->grads);
    free(r->batch);
    lathe_tokens_close(r->data);
    lathe_tokens_close(r->eval_data);
    lathe_net_free(r->net);
    lathe_net_free(r->teacher);
    lathe_gguf_close(r->init);
}

/* --- A step ----------------------------------------------------------------------------------------------
 */

/* The teacher's logits of this batch, where there is one. */
static lathe_status teach(run *r, lathe_error *err) {
    if (r->teacher == NULL)
        return LATHE_OK;
    double loss;
    lathe_status status = lathe_net_loss(r->teacher, r->batch, &loss, err);
    if (status == LATHE_OK)
        memcpy(lathe_net_teacher(r->net), lathe_net_logits(r->teacher),
               (size_t) r->p->rows * (size_t) r->p->n_ctx * (size_t) r->desc.n_vocab * sizeof(float));
    return status;
}

/* Gradients of step t (from 0) into r->grads, their mean loss into *loss. */
static lathe_status gather(run *r, int64_t t, double *loss, lathe_error *err) {
    const lathe_train_params *p = r->p;
    *loss = r->kl = 0;
    for (int32_t a = 0; a < p->accum; a++) {
        for (int32_t j = 0; j < p->rows; j++) {
            uint64_t index =
                ((uint64_t) t * (uint64_t) p->accum + (uint64_t) a) * (uint64_t) p->rows + (uint64_t) j;
            uint64_t at = lathe_window_at(p->seed, lathe_tokens_count(r->data), p->n_ctx, index);
            lathe_tokens_read(r->data, at, p->n_ctx + 1, r->batch + (size_t) j * ((size_t) p->n_ctx + 1));
        }
        double part;
        lathe_status status = teach(r, err);
        if (status == LATHE_OK)
            status = lathe_net_gradients(r->net, r->batch, &part, err);
        if (status != LATHE_OK)
            return status;
        if (!isfinite(part))
            return lathe_fail(
                err, LATHE_ERR_NUMERIC,
                "step %lld, micro-batch %d: the loss is not finite; the last checkpoint is kept",
                (long long) t + 1, a);
        *loss += part / p->accum;
        lathe_net_sums sums = lathe_net_last(r->net);
        r->kl += sums.kl / fmax(1, sums.counted) / p->accum;
        float share = 1.0f / (float) p->accum;
        for (size_t i = 0; i < r->n; i++) {
            const float *g = lathe_net_gradient(r->net, i);
            int64_t n = lathe_net_size(r->net, i);
            for (int64_t k = 0; k < n; k++)
                r->grads[i][k] = (a == 0 ? 0 : r->grads[i][k]) + share * g[k];
        }
    }
    return LATHE_OK;
}

/* Sum of squares in blocks of fixed size, added in order. */
static double squares(const float *x, int64_t n) {
    double total = 0;
    for (int64_t b = 0; b < n; b += BLOCK) {
        double part = 0;
        for (int64_t i = b; i < n && i < b + BLOCK; i++)
            part += (double) x[i] * x[i];
        total += part;
    }
    return total;
}

static lathe_status step(run *r, int64_t t, double *loss, double *norm, lathe_error *err) {
    const lathe_train_params *p = r->p;
    lathe_status status = gather(r, t - 1, loss, err);
    if (status != LATHE_OK)
        return status;
    double sum = 0;
    for (size_t i = 0; i < r->n; i++)
        sum += squares(r->grads[i], lathe_net_size(r->net, i));
    *norm = sqrt(sum);
    float scale = p->clip > 0 ? (float) fmin(1, p->clip / (*norm + 1e-6)) : 1;
    double rate = lathe_schedule_at(&p->schedule, t);
    for (size_t i = 0; i < r->n && status == LATHE_OK; i++) {
        const lathe_desc_tensor *d = lathe_net_tensor(r->net, i);
        lathe_optim o = optim_of(r, d);
        int64_t size = lathe_net_size(r->net, i), rows = d->n_dims < 2 ? 1 : size / d->ne[0];
        for (int64_t k = 0; scale < 1 && k < size; k++)
            r->grads[i][k] *= scale;
        double lr = rate * (is_matrix(d) || p->lr_other <= 0 ? p->lr : p->lr_other);
        status = lathe_optim_step(&o, d->name, lathe_net_weights(r->net, i), r->grads[i], r->at.state[i],
                                  rows, size / rows, t, lr, err);
        if (status == LATHE_OK && r->at.average != NULL) {
            float keep = (float) fmin(p->ema, (1.0 + (double) t) / (10.0 + (double) t));
            const float *w = lathe_net_weights(r->net, i);
            for (int64_t k = 0; k < size; k++)
                r->at.average[i][k] = keep * r->at.average[i][k] + (1 - keep) * w[k];
        }
    }
    return status;
}

/* Mean loss over windows spread evenly over the evaluation file. */
static lathe_status evaluate(run *r, double *loss, lathe_error *err) {
    const lathe_train_params *p = r->p;
    uint64_t n = lathe_tokens_count(r->eval_data), width = (uint64_t) p->n_ctx;
    uint64_t windows = n > width ? (n - 1) / width : 0, batches = windows / (uint64_t) p->rows;
    if (batches == 0)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: too short for one batch of %d x %d tokens", p->eval_data,
                          p->rows, p->n_ctx);
    uint64_t taken = batches < EVAL_BATCHES ? batches : EVAL_BATCHES;
    double sum = 0;
    for (uint64_t b = 0; b < taken; b++) {
        for (uint64_t j = 0; j < (uint64_t) p->rows; j++) {
            uint64_t i = b * (uint64_t) p->rows + j;
            lathe_tokens_read(r->eval_data, i * windows / (taken * (uint64_t) p->rows) * width, p->n_ctx + 1,
                              r->batch + j * (width + 1));
        }
        double part;
        lathe_status status = lathe_net_loss(r->net, r->batch, &part, err);
        if (status != LATHE_OK)
            return status;
        sum += part;
    }
    *loss = sum / (double) taken;
    return LATHE_OK;
}

/* --- The run ---------------------------------------------------------------------------------------------
 */

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

static lathe_status log_row(FILE *f, const run *r, const row *m, lathe_error *err) {
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
    fprintf(f, "}\n");
    return fflush(f) == 0
               ? LATHE_OK
               : lathe_fail(err, LATHE_ERR_IO, "metrics.jsonl cannot be written: is the disk full?");
}

static lathe_status loop(run *r, FILE *metrics, lathe_train_result *result, lathe_error *err) {
    const lathe_train_params *p = r->p;
    double start = lathe_now();
    int64_t first = r->at.step, per_step = (int64_t) p->rows * p->n_ctx * p->accum;
    lathe_status status = LATHE_OK;
    result->finished = true;
    for (int64_t t = r->at.step + 1; t <= p->schedule.total && status == LATHE_OK; t++) {
        double norm = 0, before = lathe_now();
        row m = {.step = t, .eval_loss = NAN};
        status = step(r, t, &m.loss, &norm, err);
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
            status = evaluate(r, &m.eval_loss, err);
            r->eval_loss = m.eval_loss;
            r->at.best = fmin(r->at.best, m.eval_loss);
        }
        if (status == LATHE_OK)
            status = log_row(metrics, r, &m, err);
        result->loss = m.loss;
        if (status == LATHE_OK && (last || late || stop || (p->save_every > 0 && t % p->save_every == 0)))
            status = lathe_checkpoint_save(p->output, &r->at, &r->desc, r->net, p->name, tokenizer_of(p),
                                           p->keep, err);
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
    run r = {.p = params, .eval_loss = NAN};
    *result = (lathe_train_result){.loss = NAN, .eval_loss = NAN};
    lathe_status status = open_run(&r, err);
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
                                                    tokenizer_of(params), err);
        free(values);
    }
    close_run(&r);
    return status;
}
