/* verb_tokenize.c - `lathe tokenize`: text to ids, and back with --ids. */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "base/utf8.h"
#include "cli/cli.h"
#include "cli/input.h"
#include "cli/shared_options.h"

typedef struct tokenize_args {
    lathe_shared_args shared;
    bool count;
    int32_t invalid_utf8;
} tokenize_args;

static const char *const invalid_choices[] = {"error", "replace", "bytes", NULL};
#define AT(field) offsetof(tokenize_args, field)
static const lathe_option options[] = {
    {.name = "count",
     .group = "tokenize",
     .kind = LATHE_OPTION_FLAG,
     .offset = AT(count),
     .help = "print the number of tokens alone"},
    {.name = "invalid-utf8",
     .group = "tokenize",
     .arg = "HOW",
     .kind = LATHE_OPTION_CHOICE,
     .choices = invalid_choices,
     .offset = AT(invalid_utf8),
     .default_text = "error",
     .help = "what is no UTF-8: an error, replaced by U+FFFD, or kept as bytes"},
};
static const lathe_option *const tables[] = {lathe_options_model, lathe_options_input, options};
static const size_t counts[] = {LATHE_N_OPTIONS_MODEL, LATHE_N_OPTIONS_INPUT, LATHE_LEN(options)};

static void defaults(void *args) {
    lathe_shared_defaults(&((tokenize_args *) args)->shared, 0);
}

static lathe_status to_text(const lathe_vocab *vocab, const tokenize_args *args, lathe_cli *cli,
                            lathe_error *err) {
    int32_t *ids = NULL;
    size_t n = 0, n_bytes = 0;
    char *text = NULL;
    lathe_status st = lathe_input_ids(args->shared.ids, lathe_vocab_size(vocab), &ids, &n, err);
    if (!st)
        st = lathe_detokenize(vocab, ids, n, args->shared.special, &text, &n_bytes, err);
    if (!st && cli->json) {
        json_object_set_new(cli->result, "text", lathe_json_bytes(text, n_bytes));
        json_object_set_new(cli->result, "n", json_integer((json_int_t) n));
    } else if (!st) {
        fwrite(text, 1, n_bytes, cli->out);
        fputc('\n', cli->out);
    }
    lathe_free(text);
    free(ids);
    return st;
}

static void print_ids(const lathe_vocab *vocab, const int32_t *ids, size_t n, bool count, lathe_cli *cli) {
    if (cli->json) {
        json_object_set_new(cli->result, "n", json_integer((json_int_t) n));
        if (count)
            return;
        json_object_set_new(cli->result, "ids", lathe_json_ids(ids, n));
        json_t *pieces = json_array();
        for (size_t i = 0; i < n; i++) {
            size_t k = 0;
            const char *piece = lathe_vocab_piece(vocab, ids[i], &k);
            json_array_append_new(pieces, lathe_json_bytes(piece, k));
        }
        json_object_set_new(cli->result, "pieces", pieces);
        return;
    }
    if (count) {
        fprintf(cli->out, "%zu\n", n);
        return;
    }
    for (size_t i = 0; i < n; i++)
        fprintf(cli->out, "%s%d", i ? " " : "", ids[i]);
    fputc('\n', cli->out);
}

static lathe_status run(const void *args_, lathe_cli *cli, lathe_error *err) {
    const tokenize_args *args = args_;
    lathe_vocab *vocab = NULL;
    char *text = NULL;
    size_t n_bytes = 0, n = 0;
    int32_t *ids = NULL;
    lathe_shared_args shared = args->shared;
    size_t first_text = 0;
    if (!shared.model && cli->n_positional > 0)
        shared.model = cli->positional[first_text++];
    lathe_status st = lathe_input_vocab(&shared, &cli->logger, &vocab, err);
    if (st)
        return st;
    if (shared.ids) {
        st = to_text(vocab, args, cli, err);
    } else {
        st = lathe_input_text(&shared, cli->positional + first_text, cli->n_positional - first_text,
                              args->invalid_utf8, &text, &n_bytes, err);
        if (!st)
            st = lathe_tokenize(vocab, text, n_bytes, shared.bos_seen ? shared.bos : -1,
                                shared.special_seen && shared.special, &ids, &n, err);
        if (!st)
            print_ids(vocab, ids, n, args->count, cli);
    }
    lathe_free(ids);
    free(text);
    lathe_input_vocab_free(vocab);
    return st;
}

extern const lathe_verb lathe_verb_tokenize;
const lathe_verb lathe_verb_tokenize = {
    .name = "tokenize",
    .summary = "text to token ids, and back with --ids",
    .usage = "lathe tokenize -m MODEL [-p TEXT | -f FILE | TEXT... | --ids FILE]",
    .examples = "lathe tokenize -m model.gguf \"Once upon a time\"\n"
                "lathe tokenize -m model.gguf -f book.txt --count\n"
                "echo 1 403 407 | lathe tokenize -m model.gguf --ids -",
    .schema = "lathe.tokenize/1",
    .options = {tables, counts, LATHE_LEN(tables)},
    .args_size = sizeof(tokenize_args),
    .defaults = defaults,
    .run = run,
};
