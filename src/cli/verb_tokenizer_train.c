/* verb_tokenizer_train.c - `lathe tokenizer train`: a vocabulary learned from text files. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/machine.h"
#include "base/text.h"
#include "cli/cli.h"
#include "lathe/model.h"

enum { FILES_BYTES_MAX = 1 << 30, SPECIALS_MAX = 64 };

typedef struct train_args {
    bool unused;
    const char *output, *pre, *special;
    int32_t kind;
    int64_t n_vocab, min_count;
    bool parse_special;
} train_args;

static const char *const kinds[] = {"bpe", "char", NULL};
#define AT(field) offsetof(train_args, field)
static const char *const vocab_aliases[] = {"n-vocab", NULL};
static const lathe_option options[] = {
    {.name = "output",
     .short_name = "o",
     .group = "tokenizer",
     .arg = "FILE",
     .kind = LATHE_OPTION_FILE,
     .offset = AT(output),
     .help = "the GGUF file to write"},
    {.name = "kind",
     .group = "tokenizer",
     .arg = "KIND",
     .kind = LATHE_OPTION_CHOICE,
     .choices = kinds,
     .offset = AT(kind),
     .default_text = "bpe",
     .help = "byte-level BPE, or one token a character"},
    {.name = "vocab",
     .aliases = vocab_aliases,
     .group = "tokenizer",
     .arg = "N",
     .kind = LATHE_OPTION_INT,
     .offset = AT(n_vocab),
     .min = 0,
     .max = 1 << 22,
     .default_text = "2048; char: all",
     .help = "tokens at most, special ones and bytes included"},
    {.name = "pre",
     .group = "tokenizer",
     .arg = "NAME",
     .kind = LATHE_OPTION_TEXT,
     .offset = AT(pre),
     .default_text = "gpt-2",
     .help = "how words are cut: gpt-2, llama-bpe, qwen2, ..."},
    {.name = "special",
     .group = "tokenizer",
     .arg = "TEXT,...",
     .kind = LATHE_OPTION_LIST,
     .repeat = true,
     .offset = AT(special),
     .default_text = "<|endoftext|>",
     .help = "control tokens; the first one ends texts"},
    {.name = "parse-special",
     .group = "tokenizer",
     .kind = LATHE_OPTION_FLAG,
     .offset = AT(parse_special),
     .help = "special tokens in the files are these tokens, not letters"},
    {.name = "min-count",
     .group = "tokenizer",
     .arg = "N",
     .kind = LATHE_OPTION_INT,
     .offset = AT(min_count),
     .min = 1,
     .max = 1e12,
     .default_text = "2; char: 1",
     .help = "what occurs less often gives no token"},
};
static const lathe_option *const tables[] = {options};
static const size_t counts[] = {LATHE_LEN(options)};

/* Cuts a comma-separated list in place. */
static lathe_status split(char *list, const char **specials, size_t *n, lathe_error *err) {
    *n = 0;
    for (char *at = list; *at;) {
        char *end = at + strcspn(at, ",");
        const bool last = *end == '\0';
        *end = '\0';
        if (*n == SPECIALS_MAX)
            return lathe_fail(err, LATHE_ERR_ARG, "--special: at most %d tokens", SPECIALS_MAX);
        if (end > at)
            specials[(*n)++] = at;
        at = last ? end : end + 1;
    }
    return LATHE_OK;
}

static lathe_status read_all(const lathe_cli *cli, char **texts, size_t *n_bytes, lathe_error *err) {
    size_t total = 0;
    for (size_t i = 0; i < cli->n_positional; i++) {
        const lathe_status st =
            lathe_file_read(cli->positional[i], FILES_BYTES_MAX - total, &texts[i], &n_bytes[i], err);
        if (st)
            return st;
        total += n_bytes[i];
    }
    return LATHE_OK;
}

static void print(const lathe_tokenizer_result *r, const char *path, double seconds, lathe_cli *cli) {
    if (cli->json) {
        json_t *longest = json_array();
        for (int32_t i = 0; i < r->n_longest; i++)
            json_array_append_new(longest, json_string(r->longest[i]));
        json_object_set_new(cli->result, "n_vocab", json_integer(r->n_vocab));
        json_object_set_new(cli->result, "n_merges", json_integer(r->n_merges));
        json_object_set_new(cli->result, "n_unused", json_integer(r->n_unused));
        json_object_set_new(cli->result, "n_bytes", json_integer((json_int_t) r->n_bytes));
        json_object_set_new(cli->result, "n_tokens", json_integer((json_int_t) r->n_tokens));
        json_object_set_new(cli->result, "n_invalid", json_integer((json_int_t) r->n_invalid));
        json_object_set_new(cli->result, "bytes_per_token", json_real(r->bytes_per_token));
        json_object_set_new(cli->result, "longest", longest);
        json_object_set_new(cli->result, "elapsed_s", json_real(seconds));
        return;
    }
    char bytes[32], tokens[32];
    lathe_format_count((int64_t) r->n_bytes, bytes, sizeof bytes);
    lathe_format_count((int64_t) r->n_tokens, tokens, sizeof tokens);
    fprintf(cli->out,
            "%s: %d tokens (%d merges, %d unused), %s bytes in %s tokens: %.3f bytes a token, %.1f s\n", path,
            r->n_vocab, r->n_merges, r->n_unused, bytes, tokens, r->bytes_per_token, seconds);
    for (int32_t i = 0; i < r->n_longest; i++)
        fprintf(cli->out, "%s'%s'%s", i ? " " : "longest: ", r->longest[i],
                i + 1 == r->n_longest ? "\n" : "");
}

static lathe_status run(const void *args_, lathe_cli *cli, lathe_error *err) {
    const train_args *args = args_;
    if (cli->n_positional == 0)
        return lathe_fail(err, LATHE_ERR_ARG, "no text files; name some, or - for stdin");
    if (!args->output)
        return lathe_fail(err, LATHE_ERR_ARG, "no output; name a file with -o FILE.gguf");
    char **texts = calloc(cli->n_positional, sizeof *texts);
    size_t *n_bytes = calloc(cli->n_positional, sizeof *n_bytes);
    char *list = args->special ? strdup(args->special) : NULL;
    const char *specials[SPECIALS_MAX];
    lathe_tokenizer_params params = lathe_tokenizer_params_default();
    lathe_status st = LATHE_OK;
    if (!texts || !n_bytes || (args->special && !list))
        st = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %zu files", cli->n_positional);
    if (!st && list) {
        params.specials = specials;
        st = split(list, specials, &params.n_specials, err);
    }
    if (!st)
        st = read_all(cli, texts, n_bytes, err);
    params.characters = args->kind == 1;
    params.n_vocab = (int32_t) args->n_vocab;
    params.pre = args->pre ? args->pre : "gpt-2";
    params.min_count = args->min_count > 0 ? args->min_count : (params.characters ? 1 : 2);
    params.parse_special = args->parse_special;
    params.progress = cli->progress;
    lathe_tokenizer_result result;
    const double start = lathe_now();
    if (!st)
        st = lathe_tokenizer_train((const char *const *) texts, n_bytes, cli->n_positional, &params,
                                   args->output, &result, err);
    if (!st && result.n_invalid > 0)
        lathe_log(&cli->logger, LATHE_LOG_WARN, "%llu bytes are no UTF-8; they were kept as bytes",
                  (unsigned long long) result.n_invalid);
    if (!st && params.n_vocab > result.n_vocab)
        lathe_log(&cli->logger, LATHE_LOG_WARN, "the texts give %d tokens only; %d were asked for",
                  result.n_vocab, params.n_vocab);
    if (!st)
        print(&result, args->output, lathe_now() - start, cli);
    for (size_t i = 0; texts && i < cli->n_positional; i++)
        free(texts[i]);
    free(texts);
    free(n_bytes);
    free(list);
    return st;
}

extern const lathe_verb lathe_verb_tokenizer_train;
const lathe_verb lathe_verb_tokenizer_train = {
    .name = "tokenizer train",
    .summary = "learn a byte-level BPE or character vocabulary from text files",
    .usage = "lathe tokenizer train FILE... [--vocab N] [--kind bpe|char] -o TOK.gguf",
    .examples = "lathe tokenizer train book.txt more.txt --vocab 4096 -o tok.gguf\n"
                "lathe tokenizer train shakespeare.txt --kind char -o char.gguf",
    .schema = "lathe.tokenizer-train/1",
    .options = {tables, counts, 1},
    .args_size = sizeof(train_args),
    .run = run,
};
