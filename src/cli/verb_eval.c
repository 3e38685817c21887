/* verb_eval.c - `lathe eval`: how well a model predicts a text. */
#include <math.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/machine.h"
#include "cli/cli.h"
#include "cli/input.h"
#include "cli/shared_options.h"
#include "decode/eval.h"

typedef struct eval_args {
    lathe_shared_args shared;
    int64_t stride, chunks;
    int32_t convention;
} eval_args;

static const char *const conventions[] = {"lathe", "llama.cpp", NULL};
#define AT(field) offsetof(eval_args, field)
// clang-format off
static const lathe_option options[] = {
    { .name = "stride", .group = "eval", .arg = "N", .kind = LATHE_OPTION_INT, .min = 1, .max = 2147483647, .offset = AT(stride),
      .default_text = "context / 2", .help = "tokens by which the window moves; smaller is slower and lowers the perplexity" },
    { .name = "convention", .group = "eval", .arg = "NAME", .kind = LATHE_OPTION_CHOICE, .choices = conventions, .offset = AT(convention),
      .default_text = "lathe", .help = "lathe: every token scored once; llama.cpp: its chunks, of which the second half counts" },
    { .name = "chunks", .group = "eval", .arg = "N", .kind = LATHE_OPTION_INT, .min = 1, .max = 2147483647, .offset = AT(chunks),
      .default_text = "all", .help = "chunks at most (--convention llama.cpp)" },
};
// clang-format on
static const lathe_option *const tables[] = {lathe_options_model, lathe_options_context, lathe_options_input,
                                             options};
static const size_t counts[] = {LATHE_N_OPTIONS_MODEL, LATHE_N_OPTIONS_CONTEXT, LATHE_N_OPTIONS_INPUT,
                                LATHE_LEN(options)};

static void defaults(void *args) {
    lathe_shared_defaults(&((eval_args *) args)->shared, 0);
}

/* Running perplexities, as llama.cpp's program prints them. */
static void on_window(void *user, int32_t window, int64_t n_scored, double nll_sum) {
    lathe_cli *cli = user;
    const double perplexity = exp(nll_sum / (double) n_scored);
    if (cli->json)
        json_array_append_new(json_object_get(cli->result, "running_perplexity"),
                              lathe_json_real(perplexity));
    else if (cli->quiet == 0)
        fprintf(cli->err, "%s[%d]%.4f", window > 1 ? "," : "", window, perplexity);
}

static void print(const lathe_eval_result *r, size_t n_bytes, const lathe_context *context, double seconds,
                  lathe_cli *cli) {
    const double mean = r->nll_sum / (double) r->n_scored;
    const double variance = r->nll_sum2 / (double) r->n_scored - mean * mean;
    const double error = sqrt(fmax(variance, 0) / (double) r->n_scored);
    const double per_byte = n_bytes > 0 ? r->nll_sum / log(2.0) / (double) n_bytes : NAN;
    if (!cli->json) {
        fprintf(cli->out, "perplexity %.4f (95%% of %.4f to %.4f), %.6f nats a token", exp(mean),
                exp(mean - 1.96 * error), exp(mean + 1.96 * error), mean);
        if (n_bytes > 0)
            fprintf(cli->out, ", %.4f bits a byte", per_byte);
        fprintf(cli->out, "; %lld tokens in %.2f s\n", (long long) r->n_scored, seconds);
        return;
    }
    json_object_set_new(cli->result, "n_tokens", json_integer(r->n_scored));
    json_object_set_new(cli->result, "nll_per_token", lathe_json_real(mean));
    json_object_set_new(cli->result, "perplexity", lathe_json_real(exp(mean)));
    json_object_set_new(cli->result, "bits_per_byte", lathe_json_real(per_byte));
    json_object_set_new(cli->result, "ci95",
                        json_pack("[o,o]", lathe_json_real(exp(mean - 1.96 * error)),
                                  lathe_json_real(exp(mean + 1.96 * error))));
    json_object_set_new(cli->result, "n_ctx", json_integer(lathe_context_n_ctx(context)));
    json_object_set_new(cli->result, "n_threads", json_integer(lathe_context_n_threads(context)));
    json_object_set_new(cli->result, "elapsed_s", lathe_json_real(seconds));
    json_object_set_new(cli->result, "tokens_per_s", lathe_json_real((double) r->n_scored / seconds));
}

static lathe_status evaluate(const eval_args *args, const lathe_shared_args *shared, const char *const *words,
                             size_t n_words, const lathe_model *model, lathe_cli *cli, lathe_error *err) {
    lathe_context_params cp;
    lathe_context *context = NULL;
    char *text = NULL;
    int32_t *ids = NULL;
    size_t n = 0, n_bytes = 0;
    lathe_status st = lathe_shared_context_params(shared, &cp, err);
    cp.logger = cli->logger;
    if (!st && shared->ids) {
        st = lathe_input_ids(shared->ids, lathe_model_n_vocab(model), &ids, &n, err);
    } else if (!st && !lathe_model_vocab(model)) {
        st = lathe_fail(err, LATHE_ERR_UNSUPPORTED,
                        "the model has no tokenizer; give token ids with --ids FILE");
    } else if (!st) {
        st = lathe_input_text(shared, words, n_words, LATHE_INPUT_ERROR, &text, &n_bytes, err);
        if (!st)
            st = lathe_tokenize(lathe_model_vocab(model), text, n_bytes, shared->bos_seen ? shared->bos : -1,
                                shared->special_seen && shared->special, &ids, &n, err);
    }
    if (!st)
        st = lathe_context_new(model, &cp, &context, err);
    const double started = lathe_now();
    lathe_eval_result result = {0};
    if (!st) {
        lathe_eval_params ep = {.stride = (int32_t) args->stride,
                                .llama_cpp = args->convention == 1,
                                .n_chunks_max = (int32_t) args->chunks,
                                .progress = cli->progress};
        if (ep.llama_cpp) {
            ep.on_window = on_window;
            ep.user = cli;
            if (cli->json)
                json_object_set_new(cli->result, "running_perplexity", json_array());
        }
        st = lathe_eval(context, ids, n, &ep, &result, err);
        if (!st && ep.llama_cpp && !cli->json && cli->quiet == 0)
            fputc('\n', cli->err);
    }
    if (!st)
        /* Chunks score a part of the text only: bits a byte of all of it would mean nothing. */
        print(&result, args->convention == 1 ? 0 : n_bytes, context, lathe_now() - started, cli);
    lathe_context_free(context);
    lathe_free(ids);
    free(text);
    return st;
}

static lathe_status run(const void *args_, lathe_cli *cli, lathe_error *err) {
    const eval_args *args = args_;
    lathe_shared_args shared = args->shared;
    size_t first = 0;
    if (!shared.model && cli->n_positional > 0)
        shared.model = cli->positional[first++];
    lathe_model_params mp;
    float split[64];
    lathe_model *model = NULL;
    lathe_status st = lathe_shared_model_params(&shared, &mp, split, err);
    if (!st) {
        mp.logger = cli->logger;
        st = lathe_model_load(shared.model, &mp, &model, err);
    }
    if (!st)
        st = evaluate(args, &shared, cli->positional + first, cli->n_positional - first, model, cli, err);
    lathe_model_free(model);
    return st;
}

extern const lathe_verb lathe_verb_eval;
const lathe_verb lathe_verb_eval = {
    .name = "eval",
    .summary = "negative log-likelihood and perplexity of a text",
    .usage = "lathe eval -m MODEL [-f FILE | -p TEXT | --ids FILE]",
    .examples = "lathe eval -m model.gguf -f book.txt\n"
                "zcat book.txt.gz | lathe eval -m model.gguf --json",
    .schema = "lathe.eval/1",
    .options = {tables, counts, LATHE_LEN(tables)},
    .args_size = sizeof(eval_args),
    .defaults = defaults,
    .run = run,
};
