/* verb_train_longspec.c - `lathe train longspec`: a LongSpec draft for a target model. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/train_common.h"
#include "lathe/model.h"
#include "lathe/train.h"

typedef struct longspec_args {
    train_common common;
    const char *model, *data, *eval, *noisy;
    int64_t warmup, window, ff, anchors, offset_max;
    bool no_cross;
    int32_t optimizer;
} longspec_args;

static const char *const optimizers[] = {"adamw", "muon", NULL};

#define AT(field) .offset = offsetof(longspec_args, field)
#define COUNT(flag, field, low, high, shown, text, heading)                                                  \
    {                                                                                                        \
        .name = flag, .group = heading, .arg = "N", .kind = LATHE_OPTION_INT, AT(field), .min = low,         \
        .max = high, .default_text = shown, .help = text                                                     \
    }
#define PATH(flag, field, text, heading)                                                                     \
    { .name = flag, .group = heading, .arg = "FILE", .kind = LATHE_OPTION_FILE, AT(field), .help = text }

static const lathe_option options[] = {
    {.name = "model",
     .short_name = "m",
     .group = "data",
     .arg = "FILE",
     .kind = LATHE_OPTION_FILE,
     AT(model),
     .env = "LATHE_MODEL",
     .help = "the target, which stays as it is"},
    PATH("data", data, "token file, or a text that the target's tokenizer reads", "data"),
    PATH("eval", eval, "the same to evaluate on", "data"),
    COUNT("window", window, 4, 4096, "512", "own keys that a query sees besides its own", "draft"),
    COUNT("ff", ff, 0, 1 << 20, "0", "width of the feed-forward part; 0: the target's", "draft"),
    {.name = "noisy",
     .group = "draft",
     .arg = "A:B",
     .kind = LATHE_OPTION_TEXT,
     AT(noisy),
     .default_text = "1:5",
     .help = "a query sees target keys at least j tokens old, j drawn from A to B; 0:0: all before it"},
    COUNT("anchors", anchors, 0, 65536, "4", "first tokens whose positions stay while the others move on",
          "draft"),
    COUNT("offset-max", offset_max, 0, 1 << 24, "0",
          "positions up to which they move; 0: the target's context", "draft"),
    {.name = "no-cross",
     .group = "draft",
     .kind = LATHE_OPTION_FLAG,
     AT(no_cross),
     .help = "without the target's keys, for comparison"},
    {.name = "optimizer",
     .group = "optimiser",
     .arg = "NAME",
     .kind = LATHE_OPTION_CHOICE,
     AT(optimizer),
     .choices = optimizers,
     .default_text = "muon",
     .help = "of the matrices; vectors take adamw"},
    COUNT("warmup", warmup, 0, 1e9, "a tenth of the steps", "steps of linear rise, then a cosine",
          "optimiser"),
};
static const lathe_option *const tables[] = {lathe_options_train, options};
static const size_t n_options[] = {LATHE_N_OPTIONS_TRAIN, LATHE_LEN(options)};

static void defaults(void *arguments) {
    *(longspec_args *) arguments = (longspec_args){.common = lathe_train_common_default(),
                                                   .warmup = -1,
                                                   .window = 512,
                                                   .anchors = 4,
                                                   .noisy = "1:5",
                                                   .optimizer = 1};
}

static lathe_status parse_range(const char *text, int32_t *low, int32_t *high, lathe_error *err) {
    char first[32] = "";
    const char *colon = strchr(text, ':');
    int64_t a = -1, b = -1;
    const size_t n = colon ? (size_t) (colon - text) : sizeof first;
    if (n < sizeof first)
        memcpy(first, text, n);
    if (n >= sizeof first || !lathe_parse_int(first, &a) || !lathe_parse_int(colon + 1, &b) || a < 0 ||
        b < a || b > LATHE_LONGSPEC_SHIFTS_MAX)
        return lathe_fail(err, LATHE_ERR_ARG, "--noisy is '%.40s'; A:B with 0 <= A <= B <= %d is right", text,
                          (int) LATHE_LONGSPEC_SHIFTS_MAX);
    *low = (int32_t) a;
    *high = (int32_t) b;
    return LATHE_OK;
}

/* A token file as it is; a text through the target's tokenizer, once, into the run's folder. */
static lathe_status token_file(const char *path, const char *target, const char *folder, const char *name,
                               char *out, size_t n_out, lathe_error *err) {
    char *text = NULL;
    size_t n_bytes = 0, n_ids = 0;
    lathe_status st = lathe_file_read(path, (size_t) 1 << 32, &text, &n_bytes, err);
    if (st)
        return st;
    if (n_bytes >= 4 && memcmp(text, "LTOK", 4) == 0) {
        free(text);
        const int n = snprintf(out, n_out, "%s", path);
        return n > 0 && (size_t) n < n_out
                   ? LATHE_OK
                   : lathe_fail(err, LATHE_ERR_ARG, "the path '%s' is too long", path);
    }
    lathe_model_params mp = lathe_model_params_default();
    lathe_model *model = NULL;
    int32_t *ids = NULL;
    mp.vocab_only = true;
    st = lathe_model_load(target, &mp, &model, err);
    if (!st && !lathe_model_vocab(model))
        st = lathe_fail(err, LATHE_ERR_INPUT, "%s has no tokenizer for the text %s; give a token file",
                        target, path);
    if (!st)
        st = lathe_tokenize(lathe_model_vocab(model), text, n_bytes, -1, true, &ids, &n_ids, err);
    if (!st)
        st = lathe_folder_make(folder, err);
    const int n = snprintf(out, n_out, "%s/%s.ltok", folder, name);
    if (!st && (n < 0 || (size_t) n >= n_out))
        st = lathe_fail(err, LATHE_ERR_ARG, "the path '%s/...' is too long", folder);
    if (!st)
        st = lathe_tokens_write(out, ids, n_ids, lathe_model_n_vocab(model), NULL, err);
    lathe_free(ids);
    lathe_model_free(model);
    free(text);
    return st;
}

static void print(const longspec_args *a, const lathe_longspec_result *r, lathe_cli *cli) {
    if (cli->json) {
        json_t *o = cli->result, *list = json_array();
        for (int32_t i = 0; i < r->n_shifts; i++)
            json_array_append_new(list, lathe_json_real(r->agreement[i]));
        json_object_set_new(o, "n_params", json_integer(r->run.n_params));
        json_object_set_new(o, "step", json_integer(r->run.step));
        json_object_set_new(o, "loss", lathe_json_real(r->run.loss));
        json_object_set_new(o, "eval_loss", lathe_json_real(r->run.eval_loss));
        json_object_set_new(o, "target_loss", lathe_json_real(r->target_loss));
        json_object_set_new(o, "agreement", list);
        json_object_set_new(o, "tokens_per_s", lathe_json_real(r->run.tokens_per_s));
        json_object_set_new(o, "finished", json_boolean(r->run.finished));
        return;
    }
    char count[32];
    lathe_format_count(r->run.n_params, count, sizeof count);
    fprintf(cli->out, "%s parameters, step %lld%s: loss %.4f", count, (long long) r->run.step,
            r->run.finished ? "" : " (not finished)", r->run.loss);
    if (isfinite(r->run.eval_loss))
        fprintf(cli->out, ", held out %.4f", r->run.eval_loss);
    if (isfinite(r->target_loss))
        fprintf(cli->out, " (target %.4f)", r->target_loss);
    fprintf(cli->out, "; %.0f tokens/s\n", r->run.tokens_per_s);
    if (r->n_shifts > 0) {
        fprintf(cli->out, "the target's likeliest token is the draft's, by draft step:");
        for (int32_t i = 0; i < r->n_shifts; i++)
            fprintf(cli->out, " %.3f", r->agreement[i]);
        fprintf(cli->out, "\n");
    }
    fprintf(cli->out, "%s/model.gguf\n", a->common.output);
}

static lathe_status run(const void *arguments, lathe_cli *cli, lathe_error *err) {
    const longspec_args *a = arguments;
    if (cli->n_positional != 0)
        return lathe_fail(err, LATHE_ERR_ARG, "unexpected argument '%s'; want options only",
                          cli->positional[0]);
    if (a->model == NULL || a->data == NULL || a->common.output == NULL)
        return lathe_fail(err, LATHE_ERR_ARG, "--model, --data and --output are needed");
    char data[4096], eval[4096];
    lathe_longspec_params p = lathe_longspec_params_default();
    lathe_train_params t = lathe_train_params_default();
    lathe_longspec_result r;
    lathe_status st = parse_range(a->noisy, &p.shift_min, &p.shift_max, err);
    if (!st)
        st = token_file(a->data, a->model, a->common.output, "data", data, sizeof data, err);
    if (!st && a->eval)
        st = token_file(a->eval, a->model, a->common.output, "eval", eval, sizeof eval, err);
    if (st)
        return st;
    p.target = a->model;
    p.window = (int32_t) a->window;
    p.n_ff = (int32_t) a->ff;
    p.anchors = (int32_t) a->anchors;
    p.offset_max = (int32_t) a->offset_max;
    p.no_cross = a->no_cross;
    t.matrix = lathe_optim_default(a->optimizer == 0 ? LATHE_OPTIM_ADAMW : LATHE_OPTIM_MUON);
    t.other = lathe_optim_default(LATHE_OPTIM_ADAMW);
    lathe_train_common_params(&a->common, cli, &t);
    t.data = data;
    t.eval_data = a->eval ? eval : NULL;
    t.schedule = (lathe_schedule){.kind = LATHE_SCHEDULE_COSINE,
                                  .warmup = a->warmup >= 0 ? a->warmup : a->common.steps / 10,
                                  .total = a->common.steps,
                                  .min_ratio = 0.05};
    st = lathe_longspec_train(&p, &t, &r, err);
    if (!st)
        print(a, &r, cli);
    return st;
}

const lathe_verb lathe_verb_train_longspec = {
    .name = "train longspec",
    .summary = "a draft block that reads a target's last cache (LongSpec)",
    .usage = "lathe train longspec -m TARGET.gguf --data FILE -o FOLDER [--config FILE.yaml]",
    .examples = "lathe train longspec -m models/lathe-target.gguf --data stories.txt -o draft --window 64 "
                "--steps 500\n"
                "lathe run models/lathe-target.gguf \"Once upon a time\" --spec longspec:draft/model.gguf\n",
    .schema = "lathe.train-longspec/1",
    .options = {tables, n_options, LATHE_LEN(tables)},
    .args_size = sizeof(longspec_args),
    .defaults = defaults,
    .run = run,
};
