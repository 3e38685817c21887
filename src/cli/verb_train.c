/* verb_train.c - `lathe train`: a model from a token file. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "cli/train_args.h"
#include "cli/train_watch.h"

const char *const lathe_train_optimizers[] = {"sgd",  "signsgd", "lion", "adamw",
                                              "muon", "shampoo", "soap", NULL};
const char *const lathe_train_schedules[] = {"constant", "cosine", "linear", "wsd", "wsd-linear", NULL};
const char *const lathe_train_ns[] = {"jordan5", "you5", "polar5", "polar8", "cubic", "svd", NULL};
static const char *const others[] = {"sgd", "signsgd", "lion", "adamw", NULL};
static const char *const reduces[] = {"fast", "exact", NULL};
static const char *const family_names[] = {"arch", NULL};

#define AT(field)   .offset = offsetof(train_args, field)
#define SEEN(field) .seen_offset = offsetof(train_args, seen.field)
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

#define COUNT_S(flag, field, low, high, shown, text, heading)                                                \
    {                                                                                                        \
        .name = flag, .group = heading, .arg = "N", .kind = LATHE_OPTION_INT, AT(field), SEEN(field),        \
        .min = low, .max = high, .default_text = shown, .help = text                                         \
    }
#define NUMBER_S(flag, field, low, high, shown, text, heading)                                               \
    {                                                                                                        \
        .name = flag, .group = heading, .arg = "X", .kind = LATHE_OPTION_REAL, AT(field), SEEN(field),       \
        .min = low, .max = high, .default_text = shown, .help = text, .percent = true                        \
    }
#define PATH_S(flag, field, text, heading)                                                                   \
    {                                                                                                        \
        .name = flag, .group = heading, .arg = "FILE", .kind = LATHE_OPTION_FILE, AT(field), SEEN(field),    \
        .help = text                                                                                         \
    }

static const lathe_option options[] = {
    {.name = "data",
     .group = "data",
     .arg = "FILE,...",
     .kind = LATHE_OPTION_LIST,
     AT(data),
     SEEN(data),
     .repeat = true,
     .help = "a token file, or text files (repeat the option or separate by commas)"},
    PATH_S("eval", eval, "token file to evaluate on", "data"),
    {.name = "tokenizer",
     .group = "data",
     .arg = "FILE|char|bytes|bpe",
     .kind = LATHE_OPTION_FILE,
     AT(tokenizer),
     SEEN(tokenizer),
     .default_text = "bpe for texts",
     .help = "GGUF whose tokenizer the model carries, or the kind that is learned from the texts"},
    COUNT("vocab", vocab, 0, 1 << 22, "2048", "tokens of a learned bpe tokenizer", "data"),
    NUMBER_S("hold-out", hold_out, 0, 0.9, "5%", "(texts) end of each file that is evaluated on, not learned",
             "data"),
    {.name = "separator",
     .group = "data",
     .arg = "TEXT",
     .kind = LATHE_OPTION_TEXT,
     AT(separator),
     SEEN(separator),
     .default_text = "<|endoftext|>",
     .help = "(texts) what stands between documents; files without it: chapters, or 2000 lines each"},
    {.name = "data-repeat",
     .group = "data",
     .arg = "N,...",
     .kind = LATHE_OPTION_LIST,
     AT(repeats),
     .help = "(texts) how often the documents of each file are used in a pass"},
    {.name = "attn-reset",
     .group = "data",
     .kind = LATHE_OPTION_FLAG,
     AT(attn_reset),
     SEEN(attn_reset),
     .help = "tokens see their own document only, and positions begin anew with it [documents are joined]"},
    PATH_S("init", init,
           "GGUF to begin with: its shape, weights and tokenizer; the model options are not used", "model"),
    {.name = "family",
     .aliases = family_names,
     .group = "model",
     .arg = "NAME",
     .kind = LATHE_OPTION_TEXT,
     AT(family),
     SEEN(family),
     .default_text = "llama",
     .help = "architecture"},
    {.name = "shape",
     .group = "model",
     .arg = "1M|10M|100M|...",
     .kind = LATHE_OPTION_TEXT,
     AT(shape),
     SEEN(shape),
     .help = "sizes by name, as in `lathe synth`; the options below win"},
    COUNT_S("layers", layers, 1, 1024, "4", "blocks", "model"),
    COUNT_S("embd", embd, 8, 65536, "192", "width", "model"),
    COUNT_S("heads", heads, 1, 1024, "6", "attention heads", "model"),
    COUNT_S("heads-kv", heads_kv, 0, 1024, "3", "key and value heads; 0: as many as heads", "model"),
    COUNT_S("ff", ff, 8, 1 << 20, "512", "width of the feed-forward part", "model"),
    {.name = "untied",
     .group = "model",
     .kind = LATHE_OPTION_FLAG,
     AT(untied),
     SEEN(untied),
     .help = "an output matrix of its own"},
    {.name = "recompute",
     .group = "run",
     .kind = LATHE_OPTION_FLAG,
     AT(recompute),
     .help = "keep layers' results only and compute their insides twice: less memory, same bits"},
    {.name = "resume",
     .group = "run",
     .kind = LATHE_OPTION_FLAG,
     AT(resume),
     .help = "go on from the folder's newest checkpoint, and fail where there is none [if there is one]"},
    {.name = "device",
     .group = "run",
     .arg = "NAME|HOST:PORT",
     .kind = LATHE_OPTION_TEXT,
     AT(device),
     .env = "LATHE_DEVICE",
     .default_text = "CPU",
     .help = "device that the graph runs on ('lathe info --devices' lists them), or a worker"},
    COUNT("patience", patience, 0, 1e9, "0", "stop after so many evaluations without a better one; 0: never",
          "run"),
    NUMBER("stop-loss", stop_loss, 0, 1e9, "0", "stop when the held-out loss is at most this; 0: never",
           "run"),
    PICK("reduce", reduce, reduces, "fast",
         "(mpirun) order of sums; exact: the same bits for any number of processes", "run"),
    {.name = "curvature",
     .group = "run",
     .arg = "every=N,...",
     .kind = LATHE_OPTION_TEXT,
     AT(curvature),
     .help = "measure the curvature along every N-th step (by=block|tensor|kind, matrices=both|no, "
             "split=yes|no)"},
    COUNT("sample-every", sample_every, 0, 1e9, "0",
          "steps between samples of text (samples.jsonl, report.html); 0: none", "run"),
    {.name = "sample-prompt",
     .group = "run",
     .arg = "TEXT",
     .kind = LATHE_OPTION_TEXT,
     AT(sample_prompt),
     .default_text = "a line break",
     .help = "what samples go on from"},
    COUNT("sample-tokens", sample_tokens, 1, 1e6, "64", "tokens of a sample", "run"),
    {.name = "optimizer",
     .group = "optimiser",
     .arg = "NAME",
     .kind = LATHE_OPTION_CHOICE,
     AT(optimizer),
     SEEN(optimizer),
     .choices = lathe_train_optimizers,
     .default_text = "muon",
     .help = "of hidden matrices"},
    PICK("muon", muon, lathe_train_presets, "all", "the matrices that Muon takes; the others take adamw",
         "optimiser"),
    PICK("other", other, others, "adamw", "of embeddings, head and vectors", "optimiser"),
    NUMBER_S("lr-other", lr_other, 0, 1e6, "as --lr", "peak learning rate of embeddings, head and vectors",
             "optimiser"),
    PICK("ns", ns, lathe_train_ns, "jordan5", "how Muon orthogonalises", "optimiser"),
    {.name = "original-scale",
     .group = "optimiser",
     .kind = LATHE_OPTION_FLAG,
     AT(original_scale),
     .help = "Muon: scale by sqrt(max(1, rows/cols)), for rates about 0.02"},
    {.name = "schedule",
     .group = "optimiser",
     .arg = "NAME",
     .kind = LATHE_OPTION_CHOICE,
     AT(schedule),
     SEEN(schedule),
     .choices = lathe_train_schedules,
     .default_text = "wsd",
     .help = "of the learning rate"},
    {.name = "dry-run",
     .group = "run",
     .kind = LATHE_OPTION_FLAG,
     AT(dry_run),
     .help = "three steps: parameters, memory, tokens a second, hours; nothing is written but token files"},
    {.name = "list-groups",
     .group = "optimiser",
     .kind = LATHE_OPTION_FLAG,
     AT(list_groups),
     .help = "print each tensor with its optimiser, rate and state, and stop"},
    COUNT_S("warmup", warmup, 0, 1e9, "50", "steps of linear rise", "optimiser"),
    NUMBER("decay", decay, 0, 1, "0.3", "share of the steps in which wsd falls", "optimiser"),
    NUMBER("dropout", dropout, 0, 0.99, "0", "share of what residual branches add that a step does without",
           "objective"),
    COUNT("dropout-from", dropout_from, 0, 1e12, "0", "first step with dropout", "objective"),
    PATH("distill", distill, "GGUF of a teacher with the same vocabulary", "objective"),
    NUMBER("distill-weight", distill_weight, 0, 1, "0.5",
           "share of KL(teacher || model); the rest is cross entropy", "objective"),
    NUMBER("z-loss", z_loss, 0, 1e3, "0", "weight of the squared log-partition (1e-4 is usual)", "objective"),
    NUMBER("label-smoothing", label_smoothing, 0, 0.999, "0",
           "share of the target spread over the vocabulary", "objective"),
    NUMBER_S("ema", ema, 0, 0.999999, "0", "average of the weights that the final model takes; 0: none",
             "optimiser"),
};
static const lathe_option *const tables[] = {lathe_options_train, options};
static const size_t n_options[] = {LATHE_N_OPTIONS_TRAIN, LATHE_LEN(options)};

static void defaults(void *arguments) {
    lathe_train_params p = lathe_train_params_default();
    *(train_args *) arguments = (train_args){.common = lathe_train_common_default(),
                                             .family = p.family,
                                             .layers = p.n_layer,
                                             .embd = p.n_embd,
                                             .heads = p.n_head,
                                             .heads_kv = p.n_head_kv,
                                             .ff = p.n_ff,
                                             .warmup = p.schedule.warmup,
                                             .sample_prompt = "\n",
                                             .sample_tokens = 64,
                                             .optimizer = LATHE_OPTIM_MUON,
                                             .other = LATHE_OPTIM_ADAMW,
                                             .schedule = LATHE_SCHEDULE_WSD,
                                             .decay = p.schedule.decay,
                                             .distill_weight = p.distill_weight,
                                             .hold_out = 0.05,
                                             .separator = "<|endoftext|>"};
}

/* Sizes that were not given come from the shape, where one is named. */
static int32_t size_of(const train_args *a, int64_t value, bool seen) {
    return a->shape != NULL && !seen ? 0 : (int32_t) value;
}

static lathe_train_params params_of(const train_args *a, train_watch *watch, lathe_cli *cli) {
    lathe_train_params p = lathe_train_params_default();
    p.data = a->data;
    p.eval_data = a->eval;
    p.tokenizer = a->tokenizer;
    p.init = a->init;
    p.distill = a->distill;
    p.distill_weight = a->distill_weight;
    p.z_loss = a->z_loss;
    p.label_smoothing = a->label_smoothing;
    p.family = a->family;
    p.shape = a->shape;
    p.n_layer = size_of(a, a->layers, a->seen.layers);
    p.n_embd = size_of(a, a->embd, a->seen.embd);
    p.n_head = size_of(a, a->heads, a->seen.heads);
    p.n_head_kv = size_of(a, a->heads_kv == 0 ? a->heads : a->heads_kv, a->seen.heads_kv);
    p.n_ff = size_of(a, a->ff, a->seen.ff);
    p.tied = !a->untied;
    p.matrix = lathe_optim_default((lathe_optim_kind) a->optimizer);
    p.other = lathe_optim_default((lathe_optim_kind) a->other);
    lathe_train_common_params(&a->common, cli, &p);
    p.matrix.ns = (lathe_ns_kind) a->ns;
    p.matrix.original_scale = a->original_scale;
    p.groups = a->groups;
    p.n_groups = a->n_groups;
    p.lr_other = a->lr_other;
    p.schedule = (lathe_schedule){(lathe_schedule_kind) a->schedule, a->warmup, a->common.steps,
                                  a->schedule == LATHE_SCHEDULE_COSINE ? 0.1 : 0, a->decay};
    p.ema = a->ema;
    p.dropout = a->dropout;
    p.dropout_from = a->dropout_from;
    p.recompute = a->recompute;
    p.device = a->device;
    p.attn_reset = a->attn_reset;
    p.patience = (int32_t) a->patience;
    p.stop_loss = a->stop_loss;
    p.exact_reduce = a->reduce == 1;
    p.must_resume = a->resume;
    if (a->sample_every > 0) {
        p.sample_every = (int32_t) a->sample_every;
        p.sample = train_watch_sample;
        p.sample_user = watch;
    }
    if (watch->curvature_every > 0) {
        p.observe = train_watch_observe;
        p.observe_wants = train_watch_wants;
        p.observe_user = watch;
    }
    return p;
}

/* --- Data ------------------------------------------------------------------------------------------- */

/* Token files from texts, into the run's folder. */
static lathe_status prepare(train_args *a, char *const *paths, size_t n, lathe_train_texts_result *made,
                            lathe_cli *cli, lathe_error *err) {
    int32_t repeats[LATHE_TRAIN_FILES_MAX];
    const char *at = a->repeats;
    for (size_t i = 0; i < n; i++) {
        char *end = NULL;
        long count = at == NULL ? 1 : strtol(at, &end, 10);
        if (at != NULL && (end == at || count < 1 || count > 1000 || (*end != ',' && *end != '\0')))
            return lathe_fail(err, LATHE_ERR_ARG,
                              "--data-repeat %s: want %zu whole numbers from 1 to 1000, one a file",
                              a->repeats, n);
        repeats[i] = (int32_t) count;
        at = at == NULL || *end == '\0' ? (at == NULL || i + 1 == n ? at : end) : end + 1;
    }
    const lathe_train_texts t = {.paths = (const char *const *) paths,
                                 .repeats = repeats,
                                 .n_paths = n,
                                 .tokenizer = a->tokenizer != NULL ? a->tokenizer : a->init,
                                 .n_vocab = (int32_t) a->vocab,
                                 .hold_out = a->eval != NULL ? 0 : a->hold_out,
                                 .separator = a->separator,
                                 .seed = (uint64_t) a->common.seed,
                                 .folder = a->common.output,
                                 .logger = cli->logger,
                                 .progress = cli->progress};
    lathe_status status = lathe_train_prepare(&t, made, err);
    if (status != LATHE_OK)
        return status;
    a->data = made->train;
    a->tokenizer = made->tokenizer;
    if (a->eval == NULL && made->n_eval > (uint64_t) a->common.ctx)
        a->eval = made->eval;
    lathe_log(&cli->logger, LATHE_LOG_INFO, "%llu documents: %llu tokens to learn from, %llu held out",
              (unsigned long long) made->n_documents, (unsigned long long) made->n_train,
              (unsigned long long) made->n_eval);
    return LATHE_OK;
}

/* One token file stays as it is; anything else is text. */
static lathe_status find_data(train_args *a, lathe_train_texts_result *made, lathe_cli *cli,
                              lathe_error *err) {
    char *paths[LATHE_TRAIN_FILES_MAX], *text = malloc(strlen(a->data) + 1);
    size_t n = 0, n_tokens = 0;
    if (text == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the names of the files");
    memcpy(text, a->data, strlen(a->data) + 1);
    lathe_status status = LATHE_OK;
    for (char *at = text; at != NULL && status == LATHE_OK;) {
        char *comma = strchr(at, ',');
        if (comma != NULL)
            *comma = '\0';
        if (n == LATHE_TRAIN_FILES_MAX)
            status = lathe_fail(err, LATHE_ERR_ARG, "--data: more than %d files", LATHE_TRAIN_FILES_MAX);
        else
            paths[n++] = at;
        at = comma != NULL ? comma + 1 : NULL;
    }
    for (size_t i = 0; i < n; i++)
        n_tokens += lathe_tokens_is_file(paths[i]);
    if (status == LATHE_OK && n_tokens > 0 && n > 1)
        status = lathe_fail(err, LATHE_ERR_ARG, "--data %s: one token file, or text files only", a->data);
    const char *t = a->tokenizer;
    bool learned = t != NULL && (strcmp(t, "char") == 0 || strcmp(t, "bytes") == 0 || strcmp(t, "bpe") == 0);
    if (status == LATHE_OK && n_tokens > 0 && learned)
        status = lathe_fail(err, LATHE_ERR_ARG, "--tokenizer %s is learned from texts; %s is a token file", t,
                            a->data);
    if (status == LATHE_OK && n_tokens == 0)
        status = prepare(a, paths, n, made, cli, err);
    free(text);
    return status;
}

/* --- Output ----------------------------------------------------------------------------------------- */

static void list_tensor(void *user, const lathe_train_tensor *t) {
    lathe_cli *cli = user;
    char shape[64], bytes[32];
    snprintf(shape, sizeof shape, t->n_dims < 2 ? "%lld" : "%lld x %lld", (long long) t->ne[0],
             (long long) t->ne[1]);
    if (cli->json) {
        json_t *list = json_object_get(cli->result, "tensors");
        json_array_append_new(list, json_pack("{s:s, s:[I, I], s:s, s:s, s:f, s:f, s:I}", "name", t->name,
                                              "shape", (json_int_t) t->ne[0], (json_int_t) t->ne[1], "group",
                                              t->group, "optimizer", lathe_optim_name(t->optim.kind), "lr",
                                              t->lr, "weight_decay", t->optim.weight_decay, "state_bytes",
                                              (json_int_t) t->state_bytes));
        return;
    }
    lathe_format_bytes((int64_t) t->state_bytes, bytes, sizeof bytes);
    fprintf(cli->out, "%-32s %-12s %-8s lr %-9.4g decay %-6.4g %-10s %s\n", t->name, shape,
            lathe_optim_name(t->optim.kind), t->lr, t->optim.weight_decay, bytes, t->group);
}

static void show(const train_args *a, const lathe_train_result *r, lathe_cli *cli) {
    char count[32], model[4200];
    snprintf(model, sizeof model, "%s/model.gguf", a->common.output);
    if (cli->json) {
        json_object_set_new(cli->result, "n_params", json_integer(r->n_params));
        json_object_set_new(cli->result, "steps", json_integer(r->step));
        json_object_set_new(cli->result, "step", json_integer(r->step));
        json_object_set_new(cli->result, "loss", lathe_json_real(r->loss));
        json_object_set_new(cli->result, "eval_loss", lathe_json_real(r->eval_loss));
        json_object_set_new(cli->result, "tokens_per_s", lathe_json_real(r->tokens_per_s));
        json_object_set_new(cli->result, "finished", json_boolean(r->finished));
        json_object_set_new(cli->result, "model", json_string(model));
        return;
    }
    lathe_format_count(r->n_params, count, sizeof count);
    fprintf(cli->out, "%s parameters, step %lld%s: loss %.4f", count, (long long) r->step,
            r->finished ? "" : " (not finished)", r->loss);
    if (isfinite(r->eval_loss))
        fprintf(cli->out, ", held out %.4f", r->eval_loss);
    fprintf(cli->out, "; %.0f tokens/s\n%s\n", r->tokens_per_s, model);
}

static lathe_status dry_run(const lathe_train_params *p, lathe_cli *cli, lathe_error *err) {
    lathe_train_plan plan;
    char count[32], tokens[32], model[32], state[32];
    lathe_status status = lathe_train_measure(p, &plan, err);
    if (status != LATHE_OK)
        return status;
    if (cli->json) {
        json_object_set_new(cli->result, "n_params", json_integer(plan.n_params));
        json_object_set_new(cli->result, "n_tokens", json_integer(plan.n_tokens));
        json_object_set_new(cli->result, "model_bytes", json_integer((json_int_t) plan.model_bytes));
        json_object_set_new(cli->result, "state_bytes", json_integer((json_int_t) plan.state_bytes));
        json_object_set_new(cli->result, "tokens_per_s", lathe_json_real(plan.tokens_per_s));
        json_object_set_new(cli->result, "seconds", lathe_json_real(plan.seconds));
        return LATHE_OK;
    }
    lathe_format_count(plan.n_params, count, sizeof count);
    lathe_format_count(plan.n_tokens, tokens, sizeof tokens);
    lathe_format_bytes((int64_t) plan.model_bytes, model, sizeof model);
    lathe_format_bytes((int64_t) plan.state_bytes, state, sizeof state);
    fprintf(cli->out, "%s parameters; %s for weights and activations, %s for the optimiser\n", count, model,
            state);
    fprintf(cli->out, "%.0f tokens/s: %.2f hours for %s tokens\n", plan.tokens_per_s, plan.seconds / 3600,
            tokens);
    return LATHE_OK;
}

static lathe_status train(train_args *a, lathe_train_texts_result *made, lathe_cli *cli, lathe_error *err) {
    lathe_status status = LATHE_OK;
    if (cli->config != NULL)
        status = lathe_train_sections(a, cli->config, cli->config_path != NULL ? cli->config_path : "", err);
    if (status != LATHE_OK)
        return status;
    lathe_train_preset(a);
    if (a->data == NULL || a->common.output == NULL)
        return lathe_fail(err, LATHE_ERR_ARG, "--data and --output are needed");
    if (a->resume && a->common.fresh)
        return lathe_fail(err, LATHE_ERR_ARG, "--resume and --fresh contradict each other");
    bool first = lathe_train_rank() == 0; /* who makes the token files; the others find them */
    if (first)
        status = find_data(a, made, cli, err);
    status = lathe_train_agree(status, err);
    if (!first && status == LATHE_OK)
        status = find_data(a, made, cli, err);
    if (status != LATHE_OK)
        return status;
    train_watch watch = {.cli = cli,
                         .threads = (int32_t) a->common.threads,
                         .folder = a->common.output,
                         .prompt = a->sample_prompt,
                         .sample_tokens = a->sample_tokens,
                         .seed = (uint64_t) a->common.seed};
    status = train_watch_parse(&watch, a->curvature, err);
    if (status != LATHE_OK)
        return status;
    const lathe_train_params p = params_of(a, &watch, cli);
    if (a->list_groups) {
        if (cli->json)
            json_object_set_new(cli->result, "tensors", json_array());
        return lathe_train_list(&p, list_tensor, cli, err);
    }
    if (a->dry_run)
        return dry_run(&p, cli, err);
    lathe_train_result r;
    status = lathe_train_run(&p, &r, err);
    train_watch_free(&watch);
    if (status == LATHE_OK && r.rank == 0)
        show(a, &r, cli);
    return status;
}

static lathe_status run(const void *arguments, lathe_cli *cli, lathe_error *err) {
    if (cli->n_positional != 0)
        return lathe_fail(err, LATHE_ERR_ARG, "unexpected argument '%s'; want options only",
                          cli->positional[0]);
    if (lathe_train_rank() > 0) { /* one process talks */
        cli->progress = (lathe_progress){0};
        cli->json_printed = true;
    }
    train_args *a = malloc(sizeof *a);
    lathe_train_texts_result *made = malloc(sizeof *made);
    lathe_status status =
        a == NULL || made == NULL ? lathe_fail(err, LATHE_ERR_MEMORY, "no memory") : LATHE_OK;
    if (status == LATHE_OK) {
        *a = *(const train_args *) arguments;
        status = train(a, made, cli, err);
    }
    free(a);
    free(made);
    lathe_train_end();
    return status;
}

const lathe_verb lathe_verb_train = {
    .name = "train",
    .summary = "learn a model from texts or a token file, resumable bit for bit",
    .usage = "lathe train --data FILE... -o FOLDER [--config FILE.yaml]",
    .examples =
        "lathe train --data stories.txt -o run --steps 2000\n"
        "lathe train --data stories.txt --tokenizer char --shape 1M --ctx 512 -o run\n"
        "lathe train --data more.ltok --init run/model.gguf --ctx 2048 -o longer\n"
        "lathe train --data stories.txt --tokenizer run/tokenizer.gguf --distill run/model.gguf -o draft\n",
    .schema = "lathe.train/1",
    .options = {tables, n_options, LATHE_LEN(tables)},
    .args_size = sizeof(train_args),
    .defaults = defaults,
    .run = run,
};
