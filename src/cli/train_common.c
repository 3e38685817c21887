/* train_common.c - see train_common.h. */
#include "cli/train_common.h"

static const char *const batch_names[] = {"batch-size", NULL};

#define AT(field)   .offset = offsetof(train_common, field)
#define SEEN(field) .seen_offset = offsetof(train_common, seen.field)
#define COUNT(flag, field, low, high, shown, text)                                                           \
    {                                                                                                        \
        .name = flag, .group = "run", .arg = "N", .kind = LATHE_OPTION_INT, AT(field), .min = low,           \
        .max = high, .default_text = shown, .help = text                                                     \
    }
#define NUMBER(flag, field, high, shown, text)                                                               \
    {                                                                                                        \
        .name = flag, .group = "optimiser", .arg = "X", .kind = LATHE_OPTION_REAL, AT(field), SEEN(field),   \
        .min = 0, .max = high, .default_text = shown, .help = text, .percent = true                          \
    }

const lathe_option lathe_options_train[LATHE_N_OPTIONS_TRAIN] = {
    {.name = "output",
     .short_name = "o",
     .group = "data",
     .arg = "FOLDER",
     .kind = LATHE_OPTION_FILE,
     AT(output),
     .help = "folder of the run: checkpoints, metrics.jsonl, model.gguf, report.html"},
    {.name = "name",
     .group = "model",
     .arg = "TEXT",
     .kind = LATHE_OPTION_TEXT,
     AT(name),
     SEEN(name),
     .help = "name written into the model"},
    {.name = "ctx",
     .short_name = "c",
     .group = "model",
     .arg = "N",
     .kind = LATHE_OPTION_INT,
     AT(ctx),
     SEEN(ctx),
     .min = 2,
     .max = 65536,
     .default_text = "256",
     .help = "tokens of a sequence"},
    {.name = "batch",
     .short_name = "b",
     .aliases = batch_names,
     .group = "run",
     .arg = "N",
     .kind = LATHE_OPTION_INT,
     AT(batch),
     .min = 1,
     .max = 4096,
     .default_text = "8",
     .help = "sequences in a micro-batch"},
    COUNT("accum", accum, 1, 65536, "1", "micro-batches in a step"),
    COUNT("steps", steps, 1, 1e12, "1000", "steps of the whole run"),
    {.name = "max-time",
     .group = "run",
     .arg = "X",
     .kind = LATHE_OPTION_REAL,
     AT(max_time),
     .min = 0,
     .max = 1e9,
     .default_text = "0",
     .help = "seconds after which the run saves and stops; 0: never"},
    {.name = "fresh",
     .group = "run",
     .kind = LATHE_OPTION_FLAG,
     AT(fresh),
     .help = "begin anew instead of resuming from the folder"},
    {.name = "seed",
     .group = "run",
     .arg = "N",
     .kind = LATHE_OPTION_INT,
     AT(seed),
     SEEN(seed),
     .min = 0,
     .max = 9e15,
     .default_text = "1",
     .help = "of weights and data order"},
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
    COUNT("eval-every", eval_every, 0, 1e9, "50", "steps between evaluations"),
    COUNT("save-every", save_every, 0, 1e9, "100", "steps between checkpoints"),
    COUNT("keep", keep, 1, 4096, "3", "checkpoints that are kept"),
    NUMBER("lr", lr, 1e6, "0.004", "peak learning rate"),
    NUMBER("weight-decay", weight_decay, 100, "0.1", "decoupled; vectors are not decayed"),
    NUMBER("clip", clip, 1e9, "1", "of the global gradient norm; 0: none"),
};

train_common lathe_train_common_default(void) {
    const lathe_train_params p = lathe_train_params_default();
    return (train_common){.ctx = p.n_ctx,
                          .batch = p.rows,
                          .accum = p.accum,
                          .steps = p.schedule.total,
                          .seed = 1,
                          .threads = 1,
                          .eval_every = p.eval_every,
                          .save_every = p.save_every,
                          .keep = p.keep,
                          .lr = p.lr,
                          .weight_decay = 0.1,
                          .clip = p.clip};
}

void lathe_train_common_params(const train_common *c, lathe_cli *cli, lathe_train_params *p) {
    p->output = c->output;
    p->name = c->name;
    p->n_ctx = (int32_t) c->ctx;
    p->rows = (int32_t) c->batch;
    p->accum = (int32_t) c->accum;
    p->matrix.weight_decay = p->other.weight_decay = c->weight_decay;
    p->lr = c->lr;
    p->schedule.total = c->steps;
    p->clip = c->clip;
    p->seed = (uint64_t) c->seed;
    p->eval_every = (int32_t) c->eval_every;
    p->save_every = (int32_t) c->save_every;
    p->keep = (int32_t) c->keep;
    p->max_seconds = c->max_time;
    p->n_threads = (int32_t) c->threads;
    p->resume = !c->fresh;
    p->logger = cli->logger;
    p->progress = cli->progress;
}
