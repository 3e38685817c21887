/* verb_tokenize.c - `lathe tokenize`: text to ids, back with --ids, token files with --train-data. */
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
    const char *train_data, *separator;
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
    {.name = "train-data",
     .group = "tokenize",
     .arg = "OUT",
     .kind = LATHE_OPTION_FILE,
     .offset = AT(train_data),
     .help = "write the tokens of the files named as arguments into a token file for `lathe train`"},
    {.name = "separator",
     .group = "tokenize",
     .arg = "TEXT",
     .kind = LATHE_OPTION_TEXT,
     .offset = AT(separator),
     .help = "(--train-data) what stands between the documents of a file; each begins with BOS"},
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

/* --- Token files ---------------------------------------------------------------------------------- */

typedef struct data_writer {
    const lathe_vocab *vocab;
    const lathe_shared_args *shared;
    lathe_token_file *file;
    size_t n_tokens, n_bytes, n_documents;
} data_writer;

static lathe_status add_document(data_writer *w, const char *text, size_t n_bytes, lathe_error *err) {
    int32_t *ids = NULL;
    size_t n = 0;
    const int32_t bos = lathe_vocab_bos(w->vocab);
    if (n_bytes == 0)
        return LATHE_OK;
    lathe_status st = LATHE_OK;
    if (bos >= 0 && (!w->shared->bos_seen || w->shared->bos)) {
        st = lathe_token_file_add(w->file, &bos, 1, err);
        w->n_tokens++;
    }
    if (!st)
        st = lathe_tokenize(w->vocab, text, n_bytes, 0, w->shared->special_seen && w->shared->special, &ids,
                            &n, err);
    if (!st)
        st = lathe_token_file_add(w->file, ids, n, err);
    lathe_free(ids);
    w->n_tokens += n;
    w->n_bytes += n_bytes;
    w->n_documents++;
    return st;
}

static lathe_status add_file(data_writer *w, const char *path, const tokenize_args *args, lathe_error *err) {
    lathe_shared_args one = args->shared;
    char *text = NULL;
    size_t n_bytes = 0;
    one.prompt = NULL;
    one.file = path;
    lathe_status st = lathe_input_text(&one, NULL, 0, args->invalid_utf8, &text, &n_bytes, err);
    const char *separator = args->separator && args->separator[0] ? args->separator : NULL;
    const size_t n_separator = separator ? strlen(separator) : 0;
    size_t begin = 0;
    for (size_t i = 0; separator && i + n_separator <= n_bytes && !st;) {
        const char *hit = memchr(text + i, separator[0], n_bytes - n_separator + 1 - i);
        if (!hit)
            break;
        i = (size_t) (hit - text);
        if (memcmp(hit, separator, n_separator) != 0) {
            i++;
            continue;
        }
        st = add_document(w, text + begin, i - begin, err);
        begin = i += n_separator;
    }
    if (!st)
        st = add_document(w, text + begin, n_bytes - begin, err);
    free(text);
    return st;
}

static lathe_status to_token_file(const lathe_vocab *vocab, const tokenize_args *args,
                                  const char *const *files, size_t n_files, lathe_cli *cli,
                                  lathe_error *err) {
    data_writer w = {.vocab = vocab, .shared = &args->shared};
    if (n_files == 0 && args->shared.file) {
        files = &args->shared.file;
        n_files = 1;
    }
    if (n_files == 0)
        return lathe_fail(err, LATHE_ERR_ARG, "no files; name the text files behind the options");
    lathe_status st = lathe_token_file_new(args->train_data, vocab, &w.file, err);
    for (size_t i = 0; i < n_files && !st; i++) {
        st = add_file(&w, files[i], args, err);
        if (!st)
            st = lathe_progress_step(&cli->progress, "tokenizing", (double) i + 1, (double) n_files, err);
    }
    if (st) {
        lathe_token_file_free(w.file);
        return st;
    }
    st = lathe_token_file_finish(w.file, err);
    if (st)
        return st;
    const double ratio = w.n_tokens ? (double) w.n_bytes / (double) w.n_tokens : 0.0;
    if (cli->json) {
        json_object_set_new(cli->result, "n", json_integer((json_int_t) w.n_tokens));
        json_object_set_new(cli->result, "n_documents", json_integer((json_int_t) w.n_documents));
        json_object_set_new(cli->result, "bytes_per_token", json_real(ratio));
        json_object_set_new(cli->result, "train_data", json_string(args->train_data));
    } else {
        fprintf(cli->out, "%s: %zu tokens of %zu documents, %.3f bytes a token\n", args->train_data,
                w.n_tokens, w.n_documents, ratio);
    }
    return LATHE_OK;
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
    if (args->train_data) {
        st = to_token_file(vocab, args, cli->positional + first_text, cli->n_positional - first_text, cli,
                           err);
    } else if (shared.ids) {
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
    .usage = "lathe tokenize -m MODEL [-p TEXT | -f FILE | TEXT... | --ids FILE | --train-data OUT FILE...]",
    .examples = "lathe tokenize -m model.gguf \"Once upon a time\"\n"
                "lathe tokenize -m model.gguf -f book.txt --count\n"
                "echo 1 403 407 | lathe tokenize -m model.gguf --ids -\n"
                "lathe tokenize -m tok.gguf --train-data data.ltok book.txt",
    .schema = "lathe.tokenize/1",
    .options = {tables, counts, LATHE_LEN(tables)},
    .args_size = sizeof(tokenize_args),
    .defaults = defaults,
    .run = run,
};
