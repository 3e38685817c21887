/* verb_logits.c - `lathe logits`: the likeliest next tokens after each position, as JSON lines. */
#include <math.h>
#include <stdlib.h>

#include "base/json.h"
#include "cli/cli.h"
#include "cli/input.h"
#include "cli/shared_options.h"
#include "decode/eval.h"

typedef struct logits_args {
    lathe_shared_args shared;
    int64_t top;
} logits_args;

// clang-format off
static const lathe_option options[] = {
    { .name = "top", .group = "logits", .arg = "K", .kind = LATHE_OPTION_INT, .min = 0, .max = 4194304, .offset = offsetof(logits_args, top),
      .default_text = "10", .help = "likeliest tokens to list" },
};
// clang-format on
static const lathe_option *const tables[] = {lathe_options_model, lathe_options_context, lathe_options_input,
                                             options};
static const size_t counts[] = {LATHE_N_OPTIONS_MODEL, LATHE_N_OPTIONS_CONTEXT, LATHE_N_OPTIONS_INPUT,
                                LATHE_LEN(options)};

static void defaults(void *args) {
    lathe_shared_defaults(&((logits_args *) args)->shared, 0);
    ((logits_args *) args)->top = 10;
}

typedef struct ranked {
    float logit;
    int32_t id;
} ranked;

static int likeliest_first(const void *a_, const void *b_) {
    const ranked *a = a_, *b = b_;
    if (a->logit != b->logit)
        return a->logit < b->logit ? 1 : -1;
    return a->id < b->id ? -1 : a->id > b->id;
}

/* One line for position pos; next is the token that follows, -1 at the end. */
static lathe_status print_line(const float *logits, int32_t n_vocab, int32_t pos, int32_t id, int32_t next,
                               int64_t top, ranked *work, lathe_cli *cli, lathe_error *err) {
    const double total = lathe_log_sum_exp(logits, n_vocab);
    for (int32_t i = 0; i < n_vocab; i++)
        work[i] = (ranked){logits[i], i};
    qsort(work, (size_t) n_vocab, sizeof *work, likeliest_first);
    json_t *list = json_array();
    for (int32_t i = 0; i < n_vocab && i < top; i++)
        json_array_append_new(
            list, json_pack("[i,o]", work[i].id, lathe_json_real((double) work[i].logit - total)));
    json_t *line = json_pack("{s:i, s:i, s:o, s:o}", "pos", pos, "id", id, "top", list, "next_logprob",
                             next >= 0 ? lathe_json_real((double) logits[next] - total) : json_null());
    char *text = line ? lathe_json_text(line) : NULL;
    json_decref(line);
    if (!text)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a line of logits");
    fprintf(cli->out, "%s\n", text);
    free(text);
    return LATHE_OK;
}

static lathe_status print_all(lathe_context *context, const int32_t *ids, size_t n, int64_t top,
                              lathe_cli *cli, lathe_error *err) {
    const int32_t n_vocab = lathe_model_n_vocab(lathe_context_model(context));
    const int32_t n_batch = lathe_context_n_batch(context);
    uint8_t *want = malloc((size_t) n_batch);
    ranked *work = malloc((size_t) n_vocab * sizeof *work);
    lathe_status st =
        want && work ? LATHE_OK : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %d logits", n_vocab);
    for (int32_t i = 0; want && i < n_batch; i++)
        want[i] = 1;
    for (size_t begin = 0; begin < n && !st; begin += (size_t) n_batch) {
        const int32_t k = n - begin < (size_t) n_batch ? (int32_t) (n - begin) : n_batch;
        const lathe_batch batch = {.tokens = ids + begin, .want = want, .n_tokens = k};
        st = lathe_context_decode(context, &batch, err);
        for (int32_t i = 0; i < k && !st; i++) {
            const size_t at = begin + (size_t) i;
            st = print_line(lathe_context_logits(context, i), n_vocab, (int32_t) at, ids[at],
                            at + 1 < n ? ids[at + 1] : -1, top, work, cli, err);
        }
        if (!st)
            st =
                lathe_progress_step(&cli->progress, "logits", (double) (begin + (size_t) k), (double) n, err);
    }
    free(want);
    free(work);
    return st;
}

static lathe_status run(const void *args_, lathe_cli *cli, lathe_error *err) {
    const logits_args *args = args_;
    lathe_shared_args shared = args->shared;
    size_t first = 0;
    if (!shared.model && cli->n_positional > 0)
        shared.model = cli->positional[first++];
    lathe_model_params mp;
    lathe_context_params cp;
    float split[64];
    lathe_model *model = NULL;
    lathe_context *context = NULL;
    char *text = NULL;
    int32_t *ids = NULL;
    size_t n = 0, n_bytes = 0;
    cli->json_printed = true;
    lathe_status st = lathe_shared_model_params(&shared, &mp, split, err);
    if (!st)
        st = lathe_shared_context_params(&shared, &cp, err);
    if (!st) {
        mp.logger = cp.logger = cli->logger;
        st = lathe_model_load(shared.model, &mp, &model, err);
    }
    if (!st && shared.ids) {
        st = lathe_input_ids(shared.ids, lathe_model_n_vocab(model), &ids, &n, err);
    } else if (!st && !lathe_model_vocab(model)) {
        st = lathe_fail(err, LATHE_ERR_UNSUPPORTED,
                        "the model has no tokenizer; give token ids with --ids FILE");
    } else if (!st) {
        st = lathe_input_text(&shared, cli->positional + first, cli->n_positional - first, LATHE_INPUT_ERROR,
                              &text, &n_bytes, err);
        if (!st)
            st = lathe_tokenize(lathe_model_vocab(model), text, n_bytes, shared.bos_seen ? shared.bos : -1,
                                shared.special_seen ? shared.special : shared.file == NULL, &ids, &n, err);
    }
    if (!st)
        st = lathe_context_new(model, &cp, &context, err);
    if (!st && n == 0)
        st = lathe_fail(err, LATHE_ERR_ARG, "the text gives no tokens; at least one is needed");
    if (!st && n > (size_t) lathe_context_n_ctx(context))
        st = lathe_fail(err, LATHE_ERR_ARG,
                        "%zu tokens do not fit a context of %d; use a shorter text or a larger -c", n,
                        lathe_context_n_ctx(context));
    if (!st)
        st = print_all(context, ids, n, args->top, cli, err);
    lathe_context_free(context);
    lathe_model_free(model);
    lathe_free(ids);
    free(text);
    return st;
}

extern const lathe_verb lathe_verb_logits;
const lathe_verb lathe_verb_logits = {
    .name = "logits",
    .summary = "likeliest next tokens after each position, as JSON lines",
    .usage = "lathe logits -m MODEL [-p TEXT | -f FILE | --ids FILE] [--top K]",
    .examples = "lathe logits -m model.gguf -p 'Once upon a time' --top 5",
    .schema = "lathe.logits/1",
    .options = {tables, counts, LATHE_LEN(tables)},
    .args_size = sizeof(logits_args),
    .defaults = defaults,
    .run = run,
};
