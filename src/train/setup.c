/* setup.c - what a run begins with: checked parameters, files, nets, optimiser states, the newest checkpoint.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "model/gguf.h"
#include "model/synth.h"
#include "model/vocab.h"
#include "train/run.h"

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

const char *lathe_run_tokenizer(const lathe_run *r) {
    return r->p->tokenizer != NULL ? r->p->tokenizer : r->p->init;
}

/* What must be equal for a run to go on; the schedule may be prolonged. */
static lathe_status write_settings(lathe_run *r, lathe_error *err) {
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
    if (status == LATHE_OK && lathe_comm_size(r->comm) > 1)
        status = lathe_buf_printf(&b, err, "processes=%d\n", lathe_comm_size(r->comm));
    if (status == LATHE_OK && p->dropout > 0)
        status = lathe_buf_printf(&b, err, "dropout=%.9g\n", p->dropout);
    if (status == LATHE_OK && p->exact_reduce)
        status = lathe_buf_printf(&b, err, "reduce=exact\n");
    if (status == LATHE_OK && p->attn_reset)
        status = lathe_buf_printf(&b, err, "attn_reset=1\n");
    if (status == LATHE_OK && p->shape != NULL)
        status = lathe_buf_printf(&b, err, "shape=%s\n", p->shape);
    if (status == LATHE_OK && p->init != NULL)
        status = lathe_buf_printf(&b, err, "init=%s\n", p->init);
    if (status == LATHE_OK && p->distill != NULL)
        status =
            lathe_buf_printf(&b, err, "distill=%s\ndistill_weight=%.9g\n", p->distill, p->distill_weight);
    if (status == LATHE_OK && (p->z_loss > 0 || p->label_smoothing > 0))
        status =
            lathe_buf_printf(&b, err, "z_loss=%.9g\nlabel_smoothing=%.9g\n", p->z_loss, p->label_smoothing);
    for (size_t g = 0; g < p->n_groups && status == LATHE_OK; g++)
        status = lathe_buf_printf(&b, err, "group=%s %s %.9g\n", p->groups[g].match,
                                  lathe_optim_name(p->groups[g].optim.kind), p->groups[g].lr);
    if (status == LATHE_OK && r->task != NULL)
        status = r->task->settings(r->task->user, &b, err);
    if (status == LATHE_OK)
        r->at.settings = lathe_buf_take(&b, NULL);
    lathe_buf_free(&b);
    if (status == LATHE_OK && r->at.settings == NULL)
        status = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the settings");
    return status;
}

static lathe_status check(const lathe_run *r, lathe_error *err) {
    const lathe_train_params *p = r->p;
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
    if (!(p->dropout >= 0 && p->dropout < 1))
        return lathe_fail(err, LATHE_ERR_ARG, "dropout must be in [0, 1)");
    if (p->sample != NULL && p->sample_every > 0 && (lathe_run_tokenizer(r) == NULL || r->task != NULL))
        return lathe_fail(err, LATHE_ERR_ARG,
                          "samples need a model with a tokenizer: give one with --tokenizer");
    if (p->attn_reset && (p->observe != NULL || r->task != NULL))
        return lathe_fail(
            err, LATHE_ERR_UNSUPPORTED,
            "attention that stops at documents goes with plain training: neither curvature nor another "
            "task knows of it");
    if (p->observe != NULL && lathe_comm_size(r->comm) > 1)
        return lathe_fail(err, LATHE_ERR_UNSUPPORTED, "curvature during training takes one process");
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
static lathe_status same_tokenizer(const lathe_run *r, const lathe_gguf *g, lathe_error *err) {
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
static lathe_status describe_init(lathe_run *r, lathe_error *err) {
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

static lathe_status describe_new(lathe_run *r, lathe_error *err) {
    const lathe_train_params *p = r->p;
    lathe_shape shape = lathe_shape_default(p->family);
    lathe_status status = LATHE_OK;
    if (p->shape != NULL)
        status = lathe_synth_shape(p->family, p->shape, &shape, err);
    if (status != LATHE_OK)
        return status;
    if (p->n_embd > 0 || p->n_head > 0)
        shape.n_embd_head = 0;
    shape.n_layer = p->n_layer > 0 ? p->n_layer : shape.n_layer;
    shape.n_embd = p->n_embd > 0 ? p->n_embd : shape.n_embd;
    shape.n_head_kv = p->n_head_kv > 0 ? p->n_head_kv : p->n_head > 0 ? p->n_head : shape.n_head_kv;
    shape.n_head = p->n_head > 0 ? p->n_head : shape.n_head;
    shape.n_ff = p->n_ff > 0 ? p->n_ff : shape.n_ff;
    shape.n_vocab = lathe_tokens_n_vocab(r->data);
    shape.n_ctx = p->n_ctx;
    shape.tied = p->tied;
    return lathe_desc_from_shape(&shape, &r->desc, err);
}

/* The tokens at which attention is reset, as ids + 1 in opts. */
static lathe_status find_boundaries(const lathe_run *r, lathe_net_opts *opts, lathe_error *err) {
    enum { LOOKED_AT = 1 << 20 };
    const char *path = lathe_run_tokenizer(r);
    lathe_gguf *g = NULL;
    lathe_vocab *vocab = NULL;
    if (!r->p->attn_reset)
        return LATHE_OK;
    if (path == NULL)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "attn_reset needs the tokenizer: it says which token begins a document");
    lathe_status status = lathe_gguf_open(path, NULL, &g, err);
    if (status == LATHE_OK)
        status = lathe_vocab_from_gguf(g, &r->p->logger, &vocab, err);
    lathe_gguf_close(g);
    if (status != LATHE_OK)
        return status;
    int32_t bos = lathe_vocab_bos(vocab), eos = lathe_vocab_eos(vocab), wanted = bos >= 0 ? bos : eos;
    lathe_vocab_free(vocab);
    opts->document_begin = bos >= 0 ? bos + 1 : 0;
    opts->document_end = bos < 0 && eos >= 0 ? eos + 1 : 0;
    if (wanted < 0)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: attn_reset needs a tokenizer with a BOS or an EOS token",
                          path);
    uint64_t n = lathe_tokens_count(r->data);
    for (uint64_t i = 0; i < n && i < LOOKED_AT; i++) {
        int32_t id;
        lathe_tokens_read(r->data, i, 1, &id);
        if (id == wanted)
            return LATHE_OK;
    }
    return lathe_fail(
        err, LATHE_ERR_INPUT,
        "%s: none of its first tokens is %d, which %s a document: attn_reset has nothing to do; make it "
        "from texts with `lathe train` or `lathe tokenize --train-data`",
        r->p->data, wanted, bos >= 0 ? "begins" : "ends");
}

static lathe_status open_teacher(lathe_run *r, const lathe_net_opts *own, lathe_error *err) {
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
    const lathe_net_opts opts = {.rows = p->rows,
                                 .ctx = p->n_ctx,
                                 .n_threads = p->n_threads,
                                 .document_begin = own->document_begin,
                                 .document_end = own->document_end};
    if (status == LATHE_OK)
        status = lathe_net_open(&desc, &opts, &r->teacher, err);
    if (status == LATHE_OK)
        status = lathe_net_load(r->teacher, g, err);
    lathe_gguf_close(g);
    return status;
}

/* A run that goes on takes the kernels that it began with; a new one measures. */
static lathe_status choose_kernels(lathe_run *r, lathe_error *err) {
    bool same = true;
    if (r->at.kernels == NULL) {
        lathe_status status = lathe_net_choose_kernels(r->net, err);
        return status == LATHE_OK ? lathe_net_kernels(r->net, &r->at.kernels, err) : status;
    }
    lathe_status status = lathe_net_set_kernels(r->net, r->at.kernels, &same, err);
    if (status == LATHE_OK && !same)
        lathe_log(&r->p->logger, LATHE_LOG_WARN,
                  "the run began with other kernels of the BLAS (%.*s; another processor, or LATHE_BLAS): "
                  "its bits will "
                  "not be those of an undisturbed run",
                  (int) strcspn(r->at.kernels, "\n"), r->at.kernels);
    return status;
}

lathe_status lathe_run_open(lathe_run *r, lathe_error *err) {
    const lathe_train_params *p = r->p;
    lathe_status status = check(r, err);
    if (status == LATHE_OK)
        status = lathe_tokens_open(p->data, 0, &r->data, err);
    if (status == LATHE_OK && p->eval_data != NULL)
        status = lathe_tokens_open(p->eval_data, lathe_tokens_n_vocab(r->data), &r->eval_data, err);
    if (status != LATHE_OK)
        return status;
    if (lathe_tokens_count(r->data) < (uint64_t) p->n_ctx + 1)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: %llu tokens are less than a sequence of %d + 1", p->data,
                          (unsigned long long) lathe_tokens_count(r->data), p->n_ctx);
    lathe_net_opts opts = {
        .task = r->task != NULL ? &r->task->net : NULL,
        .rows = p->rows,
        .ctx = p->n_ctx,
        .n_threads = p->n_threads,
        .gradients = true,
        .recompute = p->recompute,
        .device = p->device,
        .dropout = p->dropout,
        .seed = p->seed,
        .teacher = p->distill != NULL,
        .loss = {p->distill != NULL ? p->distill_weight : 0, p->z_loss, p->label_smoothing, false}};
    if (r->task != NULL) {
        r->desc = *r->task->desc;
        r->at.write = r->task->write;
        r->at.user = r->task->user;
    } else {
        status = p->init != NULL ? describe_init(r, err) : describe_new(r, err);
    }
    if (status == LATHE_OK)
        status = find_boundaries(r, &opts, err);
    if (status == LATHE_OK)
        status = lathe_net_open(&r->desc, &opts, &r->net, err);
    if (status == LATHE_OK && p->distill != NULL)
        status = open_teacher(r, &opts, err);
    if (status == LATHE_OK && p->tokenizer != NULL) {
        lathe_gguf *g = NULL;
        status = lathe_gguf_open(p->tokenizer, NULL, &g, err);
        if (status == LATHE_OK)
            status = same_tokenizer(r, g, err);
        lathe_gguf_close(g);
    }
    if (status == LATHE_OK && !r->listing && lathe_comm_rank(r->comm) == 0)
        status = lathe_folder_make(p->output, err);
    if (status == LATHE_OK)
        status = write_settings(r, err);
    if (status == LATHE_OK)
        status = lathe_run_group(r, lathe_net_tensor(r->net, 0), lathe_net_n_tensors(r->net), err);
    if (status != LATHE_OK)
        return status;
    r->n = lathe_net_n_tensors(r->net);
    status = lathe_run_divide(r, err);
    if (status != LATHE_OK)
        return status;
    r->sums = p->accum > 1 ? calloc(r->n, sizeof(float *)) : NULL;
    r->at.best = r->at.best_kept = HUGE_VAL;
    r->at.state = calloc(r->n, sizeof(float *));
    r->at.state_size = calloc(r->n, sizeof(size_t));
    r->at.average = p->ema > 0 ? calloc(r->n, sizeof(float *)) : NULL;
    r->grads = calloc(r->n, sizeof(float *));
    r->batch = malloc((size_t) p->rows * ((size_t) p->n_ctx + 1) * sizeof *r->batch);
    size_t n_all = 0;
    for (size_t i = 0; i < r->n; i++)
        n_all += (size_t) lathe_net_size(r->net, i);
    r->exact = p->exact_reduce ? malloc(n_all * sizeof *r->exact) : NULL;
    bool ok = (r->exact || !p->exact_reduce) && r->at.state && r->at.state_size && r->grads && r->batch &&
              (r->sums || p->accum == 1) && (r->at.average || p->ema <= 0);
    for (size_t i = 0; ok && i < r->n; i++) {
        const lathe_run_tensor *t = &r->tensors[i];
        int64_t size = lathe_net_size(r->net, i);
        r->at.state_size[i] = lathe_optim_state_size(&t->optim, t->rows, t->cols);
        r->at.state[i] = calloc(r->at.state_size[i] + 1, sizeof(float));
        ok = r->at.state[i] != NULL;
        if (ok && r->sums != NULL)
            ok = (r->grads[i] = r->sums[i] = malloc((size_t) size * sizeof(float))) != NULL;
        if (ok && r->at.average != NULL)
            ok = (r->at.average[i] = malloc((size_t) size * sizeof(float))) != NULL;
    }
    if (ok && p->observe != NULL && p->observe_wants != NULL) {
        r->before = calloc(r->n, sizeof(float *));
        r->fields = calloc(LATHE_RUN_FIELDS, 1);
        r->observed =
            malloc((size_t) p->rows * (size_t) p->accum * ((size_t) p->n_ctx + 1) * sizeof *r->observed);
        ok = r->before && r->fields && r->observed;
        for (size_t i = 0; ok && i < r->n; i++)
            ok = (r->before[i] = malloc((size_t) lathe_net_size(r->net, i) * sizeof(float))) != NULL;
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
    if (p->resume || p->must_resume)
        status = lathe_checkpoint_load(p->output, &r->at, r->net, &p->logger, err);
    if (status == LATHE_OK && p->must_resume && r->at.step == 0)
        status = lathe_fail(err, LATHE_ERR_INPUT, "%s: no complete checkpoint to go on from", p->output);
    return status == LATHE_OK ? choose_kernels(r, err) : status;
}

void lathe_run_close(lathe_run *r) {
    for (size_t i = 0; i < r->n; i++) {
        free(r->at.state != NULL ? r->at.state[i] : NULL);
        free(r->at.average != NULL ? r->at.average[i] : NULL);
        free(r->sums != NULL ? r->sums[i] : NULL);
        free(r->before != NULL ? r->before[i] : NULL);
    }
    free(r->at.state);
    free(r->at.state_size);
    free(r->at.average);
    free(r->at.settings);
    free(r->at.kernels);
    free(r->grads);
    free(r->sums);
    free(r->tensors);
    free(r->exact);
    free(r->before);
    free(r->observed);
    free(r->fields);
    free(r->batch);
    lathe_tokens_close(r->data);
    lathe_tokens_close(r->eval_data);
    lathe_net_free(r->net);
    lathe_net_free(r->teacher);
    lathe_gguf_close(r->init);
}
