/* verb_train.c - `lathe train`: a model from a token file. */
#include <math.h>
#include <string.h>

#include "base/text.h"
#include "cli/cli.h"
#include "lathe/train.h"

typedef struct train_args {
    bool unused;
    const char *data, *eval, *tokenizer, *init, *distill, *output, *family, *name;
    int64_t layers, embd, heads, heads_kv, ff, ctx, batch, accum, steps, warmup, seed, eval_every, save_every,
        keep, threads;
    int32_t optimizer, other, schedule, ns;
    double lr, lr_other, weight_decay, decay, clip, ema, max_time, distill_weight, z_loss, label_smoothing;
    bool untied, fresh, original_scale;
} train_args;

static const char *const optimizers[] = {"sgd", "signsgd", "lion", "adamw", "muon", "shampoo", "soap", NULL};
static const char *const others[] = {"sgd", "signsgd", "lion", "adamw", NULL};
static const char *const schedules[] = {"constant", "cosine", "linear", "wsd", "wsd-linear", NULL};
static const char *const orthogonalisers[] = {"jordan5", "you5", "polar5", "polar8", "cubic", "svd", NULL};

#define AT(field) .offset = offsetof(train_args, field)
#define COUNT(flag, field, low, high, shown, text, heading)                                                  \
    {                                                                                                        \
        .name = flag, .group = heading, .arg = "N", .kind = LATHE_OPTION_INT, AT(field), .min = low,         \
        .max = high, .default_text = shown, .help = text                                                     \
    }
#define NUMBER(flag, field, low, high, shown, text, heading)                                                 \
    {                                                                                                        \
        .name = flag, .group = heading, .arg = "X", .kind = LATHE_OPTION_REAL, AT(field), .min = low,        \
        .max = high, .default_text = shown, .help = text                                                     \
    }
#define PATH(flag, field, text, heading)                                                                     \
    { .name = flag, .group = heading, .arg = "FILE", .kind = LATHE_OPTION_FILE, AT(field), .help = text }
#define PICK(flag, field, list, shown, text, heading)                                                        \
    {                                                                                                        \
        .name = flag, .group = heading, .arg = "NAME", .kind = LATHE_OPTION_CHOICE, AT(field),               \
        .choices = list, .default_text = shown, .help = text                                                 \
    }

static const lathe_option options[] = {
    PATH("data", data, "token file to learn from", "data"),
    PATH("eval", eval, "token file to evaluate on", "data"),
    PATH("tokenizer", tokenizer, "GGUF whose tokenizer the model carries", "data"),
    {.name = "output",
     .short_name = "o",
     .group = "data",
     .arg = "FOLDER",
     .kind = LATHE_OPTION_FILE,
     AT(output),
     .help = "folder of the run: checkpoints, metrics.jsonl, model.gguf"},
    PATH("init", init, "GGUF to begin with: its shape, weights and tokenizer; the model options are not used",
         "model"),
    {.name = "family",
     .group = "model",
     .arg = "NAME",
     .kind = LATHE_OPTION_TEXT,
     AT(family),
     .default_text = "llama",
     .help = "architecture"},
    {.name = "name",
     .group = "model",
     .arg = "TEXT",
     .kind = LATHE_OPTION_TEXT,
     AT(name),
     .help = "name written into the model"},
    COUNT("layers", layers, 1, 1024, "4", "blocks", "model"),
    COUNT("embd", embd, 8, 65536, "192", "width", "model"),
    COUNT("heads", heads, 1, 1024, "6", "attention heads", "model"),
    COUNT("heads-kv", heads_kv, 0, 1024, "3", "key and value heads; 0: as many as heads", "model"),
    COUNT("ff", ff, 8, 1 << 20, "512", "width of the feed-forward part", "model"),
    COUNT("ctx", ctx, 2, 65536, "256", "tokens of a sequence", "model"),
    {.name = "untied",
     .group = "model",
     .kind = LATHE_OPTION_FLAG,
     AT(untied),
     .help = "an output matrix of its own"},
    COUNT("batch", batch, 1, 4096, "8", "sequences in a micro-batch", "run"),
    COUNT("accum", accum, 1, 65536, "1", "micro-batches in a step", "run"),
    COUNT("steps", steps, 1, 1e12, "1000", "steps of the whole run", "run"),
    NUMBER("max-time", max_time, 0, 1e9, "0", "seconds after which the run saves and stops; 0: never", "run"),
    {.name = "fresh",
     .group = "run",
     .kind = LATHE_OPTION_FLAG,
     AT(fresh),
     .help = "begin anew instead of resuming from the folder"},
    COUNT("seed", seed, 0, 9e15, "1", "of weights and data order", "run"),
    {.name = "threads",
     .short_name = "t",
     .group = "run",
     .arg = "N",
     .kind = LATHE_OPTION_INT,
     AT(threads),
     .min = 1,
     .max = 1024,
     .env = "LATHE_THREADS",
     .default_text = "1",
     .help = "threads"},
    COUNT("eval-every", eval_every, 0, 1e9, "50", "steps between evaluations", "run"),
    COUNT("save-every", save_every, 0, 1e9, "100", "steps between checkpoints", "run"),
    COUNT("keep", keep, 1, 4096, "3", "checkpoints that are kept", "run"),
    PICK("optimizer", optimizer, optimizers, "muon", "of hidden matrices", "optimiser"),
    PICK("other", other, others, "adamw", "of embeddings, head and vectors", "optimiser"),
    NUMBER("lr", lr, 0, 1e6, "0.004", "peak learning rate", "optimiser"),
    NUMBER("lr-other", lr_other, 0, 1e6, "as --lr", "peak learning rate of embeddings, head and vectors",
           "optimiser"),
    NUMBER("weight-decay", weight_decay, 0, 100, "0.1", "decoupled; vectors are not decayed", "optimiser"),
    PICK("ns", ns, orthogonalisers, "jordan5", "how Muon orthogonalises", "optimiser"),
    {.name = "original-scale",
     .group = "optimiser",
     .kind = LATHE_OPTION_FLAG,
     AT(original_scale),
     .help = "Muon: scale by sqrt(max(1, rows/cols)), for rates about 0.02"},
    PICK("schedule", schedule, schedules, "wsd", "of the learning rate", "optimiser"),
    COUNT("warmup", warmup, 0, 1e9, "50", "steps of linear rise", "optimiser"),
    NUMBER("decay", decay, 0, 1, "0.3", "share of the steps in which wsd falls", "optimiser"),
    NUMBER("clip", clip, 0, 1e9, "1", "of the global gradient norm; 0: none", "optimiser"),
    PATH("distill", distill, "GGUF of a teacher with the same vocabulary", "objective"),
    NUMBER("distill-weight", distill_weight, 0, 1, "0.5",
           "share of KL(teacher || model); the rest is cross entropy", "objective"),
    NUMBER("z-loss", z_loss, 0, 1e3, "0", "weight of the squared log-partition (1e-4 is usual)", "objective"),
    NUMBER("label-smoothing", label_smoothing, 0, 0.999, "0",
           "share of the target spread over the vocabulary", "objective"),
    NUMBER("ema", ema, 0, 0.999999, "0", "average of the weights that the final model takes; 0: none",
           "optimiser"),
};
static const lathe_option *const tables[] = {options};
static const size_t n_options[] = {LATHE_LEN(options)};

static void defaults(void *arguments) {
    lathe_train_params p = lathe_train_params_default();
    *(train_args *) arguments = (train_args){.family = p.family,
                                             .layers = p.n_layer,
                                             .embd = p.n_embd,
                                             .heads = p.n_head,
                                             .heads_kv = p.n_head_kv,
                                             .ff = p.n_ff,
                                             .ctx = p.n_ctx,
                                             .batch = p.rows,
                                             .accum = p.accum,
                                             .steps = p.schedule.total,
                                             .warmup = p.schedule.warmup,
                                             .seed = 1,
                                             .eval_every = p.eval_every,
                                             .save_every = p.save_every,
                                             .keep = p.keep,
                                             .threads = 1,
                                             .optimizer = LATHE_OPTIM_MUON,
                                             .other = LATHE_OPTIM_ADAMW,
                                             .schedule = LATHE_SCHEDULE_WSD,
                                             .lr = p.lr,
                                             .weight_decay = 0.1,
                                             .decay = p.schedule.decay,
                                             .clip = p.clip,
                                             .distill_weight = p.distill_weight};
}

static lathe_status run(const void *arguments, lathe_cli *cli, lathe_error *err) {
    const train_args *a = arguments;
    if (cli->n_positional != 0)
        return lathe_fail(err, LATHE_ERR_ARG, "unexpected argument '%s'; want options only",
                          cli->positional[0]);
    if (a->data == NULL || a->output == NULL)
        return lathe_fail(err, LATHE_ERR_ARG, "--data and --output are needed");
    lathe_train_params p = lathe_train_params_default();
    p.data = a->data;
    p.eval_data = a->eval;
    p.tokenizer = a->tokenizer;
    p.output = a->output;
    p.init = a->init;
    p.distill = a->distill;
    p.distill_weight = a->distill_weight;
    p.z_loss = a->z_loss;
    p.label_smoothing = a->label_smoothing;
    p.family = a->family;
    p.name = a->name;
    p.n_layer = (int32_t) a->layers;
    p.n_embd = (int32_t) a->embd;
    p.n_head = (int32_t) a->heads;
    p.n_head_kv = (int32_t) (a->heads_kv == 0 ? a->heads : a->heads_kv);
    p.n_ff = (int32_t) a->ff;
    p.n_ctx = (int32_t) a->ctx;
    p.tied = !a->untied;
    p.rows = (int32_t) a->batch;
    p.accum = (int32_t) a->accum;
    p.matrix = lathe_optim_default((lathe_optim_kind) a->optimizer);
    p.other = lathe_optim_default((lathe_optim_kind) a->other);
    p.matrix.weight_decay = p.other.weight_decay = a->weight_decay;
    p.matrix.ns = (lathe_ns_kind) a->ns;
    p.matrix.original_scale = a->original_scale;
    p.lr = a->lr;
    p.lr_other = a->lr_other;
    p.schedule = (lathe_schedule){(lathe_schedule_kind) a->schedule, a->warmup, a->steps,
                                  a->schedule == LATHE_SCHEDULE_COSINE ? 0.1 : 0, a->decay};
    p.clip = a->clip;
    p.ema = a->ema;
    p.seed = (uint64_t) a->seed;
    p.eval_every = (int32_t) a->eval_every;
    p.save_every = (int32_t) a->save_every;
    p.keep = (int32_t) a->keep;
    p.max_seconds = a->max_time;
    p.n_threads = (int32_t) a->threads;
    p.resume = !a->fresh;
    p.logger = cli->logger;
    p.progress = cli->progress;
    lathe_train_result r;
    lathe_status status = lathe_train_run(&p, &r, err);
    if (status != LATHE_OK)
        return status;
    if (cli->json) {
        json_object_set_new(cli->result, "n_params", json_integer(r.n_params));
        json_object_set_new(cli->result, "step", json_integer(r.step));
        json_object_set_new(cli->result, "loss", isfinite(r.loss) ? json_real(r.loss) : json_null());
        json_object_set_new(cli->result, "eval_loss",
                            isfinite(r.eval_loss) ? json_real(r.eval_loss) : json_null());
        json_object_set_new(cli->result, "tokens_per_s", json_real(r.tokens_per_s));
        json_object_set_new(cli->result, "finished", json_boolean(r.finished));
        return LATHE_OK;
    }
    char count[32];
    lathe_format_count(r.n_params, count, sizeof count);
    fprintf(cli->out, "%s parameters, step %lld%s: loss %.4f", count, (long long) r.step,
            r.finished ? "" : " (not finished)", r.loss);
    if (isfinite(r.eval_loss))
        fprintf(cli->out, ", held out %.4f", r.eval_loss);
    fprintf(cli->out, "; %.0f tokens/s\n%s/model.gguf\n", r.tokens_per_s, a->output);
    return LATHE_OK;
}

const lathe_verb lathe_verb_train = {
    .name = "train",
    .summary = "learn a model from a token file, resumable bit for bit",
    .usage = "lathe train --data FILE.ltok -o FOLDER [--config FILE.yaml]",
    .examples =
        "lathe train --data stories.ltok --eval held-out.ltok --tokenizer tok.gguf -o run --steps 2000\n",
    .schema = "lathe.train/1",
    .options = {tables, n_options, LATHE_LEN(tables)},
    .args_size = sizeof(train_args),
    .defaults = defaults,
    .run = run,
};
