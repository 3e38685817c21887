/* verb_ngram.c - `lathe ngram build`, `ngram merge`, `ngram stats`: n-gram caches in llama.cpp's file format.
 */
#include <stdlib.h>

#include "base/json.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/input.h"
#include "lathe/decode.h"

typedef struct ngram_args {
    lathe_shared_args shared;
    const char *sizes;
} ngram_args;

static void defaults(void *arguments) {
    ngram_args *a = arguments;
    lathe_shared_defaults(&a->shared, 0);
    a->sizes = "2";
}

static const lathe_option build_options[] = {
    {.name = "sizes",
     .group = "ngram",
     .arg = "A-B",
     .kind = LATHE_OPTION_TEXT,
     .offset = offsetof(ngram_args, sizes),
     .default_text = "2",
     .help = "tokens of an n-gram: 2 for a static cache, 1-4 for a dynamic one"},
};
static const lathe_option *const build_tables[] = {lathe_options_model, lathe_options_input,
                                                   lathe_options_output, build_options};
static const size_t build_n[] = {LATHE_N_OPTIONS_MODEL, LATHE_N_OPTIONS_INPUT, LATHE_N_OPTIONS_OUTPUT,
                                 LATHE_LEN(build_options)};
static const lathe_option *const merge_tables[] = {lathe_options_output};
static const size_t merge_n[] = {LATHE_N_OPTIONS_OUTPUT};

static lathe_status report(const lathe_ngram *g, int64_t n_bytes, lathe_cli *cli) {
    int64_t by_size[4], followers;
    const int64_t n = lathe_ngram_count(g, by_size, &followers);
    if (cli->json) {
        json_t *sizes = json_array();
        for (int i = 0; i < 4; i++)
            json_array_append_new(sizes, json_integer(by_size[i]));
        json_object_set_new(cli->result, "n_entries", json_integer(n));
        json_object_set_new(cli->result, "n_followers", json_integer(followers));
        json_object_set_new(cli->result, "by_size", sizes);
        json_object_set_new(cli->result, "bytes", json_integer(n_bytes));
        return LATHE_OK;
    }
    fprintf(cli->out, "%lld n-grams (sizes 1 to 4: %lld, %lld, %lld, %lld), %lld followers, %lld bytes\n",
            (long long) n, (long long) by_size[0], (long long) by_size[1], (long long) by_size[2],
            (long long) by_size[3], (long long) followers, (long long) n_bytes);
    return LATHE_OK;
}

static lathe_status output_of(const ngram_args *a, lathe_error *err) {
    return a->shared.output ? LATHE_OK : lathe_fail(err, LATHE_ERR_ARG, "no output file; name one with -o");
}

static lathe_status run_build(const void *arguments, lathe_cli *cli, lathe_error *err) {
    const ngram_args *a = arguments;
    int low = 0, high = 0;
    const char *s = a->sizes;
    if (s[0] >= '1' && s[0] <= '4' &&
        (s[1] == 0 || (s[1] == '-' && s[2] >= '1' && s[2] <= '4' && s[3] == 0))) {
        low = s[0] - '0';
        high = s[1] ? s[2] - '0' : low;
    }
    if (low < 1 || high < low)
        return lathe_fail(err, LATHE_ERR_ARG, "--sizes %s; a size or a range within 1-4", s);
    lathe_status status = output_of(a, err);
    if (status)
        return status;
    int32_t *ids = NULL;
    size_t n_ids = 0;
    lathe_vocab *vocab = NULL;
    if (a->shared.ids) {
        if ((status = lathe_input_ids(a->shared.ids, INT32_MAX, &ids, &n_ids, err)))
            return status;
    } else {
        char *text;
        size_t n_bytes;
        if ((status = lathe_input_vocab(&a->shared, &cli->logger, &vocab, err)))
            return status;
        status = lathe_input_text(&a->shared, cli->positional, cli->n_positional, LATHE_INPUT_BYTES, &text,
                                  &n_bytes, err);
        if (!status) {
            status = lathe_tokenize(vocab, text, n_bytes, a->shared.bos_seen ? a->shared.bos : 0,
                                    a->shared.special_seen && a->shared.special, &ids, &n_ids, err);
            free(text);
        }
    }
    lathe_ngram *g = NULL;
    int64_t n_bytes = 0;
    if (!status)
        status = lathe_ngram_new(&g, err);
    if (!status)
        status = lathe_ngram_update(g, ids, n_ids, 0, low, high, err);
    if (!status)
        status = lathe_ngram_write(g, a->shared.output, &n_bytes, err);
    if (!status)
        status = report(g, n_bytes, cli);
    lathe_ngram_free(g);
    if (a->shared.ids)
        free(ids);
    else
        lathe_free(ids);
    lathe_input_vocab_free(vocab);
    return status;
}

/* Reads all positional files into one table. */
static lathe_status read_all(lathe_cli *cli, lathe_ngram **out, lathe_error *err) {
    if (cli->n_positional == 0)
        return lathe_fail(err, LATHE_ERR_ARG, "no files; name n-gram caches");
    lathe_ngram *sum = NULL;
    lathe_status status = LATHE_OK;
    for (size_t i = 0; i < cli->n_positional && !status; i++) {
        lathe_ngram *g;
        status = lathe_ngram_read(cli->positional[i], 0, &cli->logger, &g, err);
        if (status)
            break;
        if (!sum) {
            sum = g;
            continue;
        }
        status = lathe_ngram_merge(sum, g, err);
        lathe_ngram_free(g);
    }
    if (status) {
        lathe_ngram_free(sum);
        return status;
    }
    *out = sum;
    return LATHE_OK;
}

static lathe_status run_merge(const void *arguments, lathe_cli *cli, lathe_error *err) {
    const ngram_args *a = arguments;
    lathe_ngram *g = NULL;
    int64_t n_bytes = 0;
    lathe_status status = output_of(a, err);
    if (status || (status = read_all(cli, &g, err)))
        return status;
    status = lathe_ngram_write(g, a->shared.output, &n_bytes, err);
    if (!status)
        status = report(g, n_bytes, cli);
    lathe_ngram_free(g);
    return status;
}

static lathe_status run_stats(const void *arguments, lathe_cli *cli, lathe_error *err) {
    (void) arguments;
    lathe_ngram *g = NULL;
    const lathe_status status = read_all(cli, &g, err);
    if (status)
        return status;
    int64_t followers;
    const int64_t n = lathe_ngram_count(g, NULL, &followers);
    const lathe_status done = report(g, 20 * n + 8 * followers, cli);
    lathe_ngram_free(g);
    return done;
}

extern const lathe_verb lathe_verb_ngram_build, lathe_verb_ngram_merge, lathe_verb_ngram_stats;
const lathe_verb lathe_verb_ngram_build = {
    .name = "ngram build",
    .summary = "count n-grams of a text into a cache",
    .usage = "lathe ngram build -m MODEL -f FILE -o CACHE [--sizes 1-4]",
    .examples = "lathe ngram build -m model.gguf -f corpus.txt -o corpus.lcache",
    .schema = "lathe.ngram-build/1",
    .options = {build_tables, build_n, LATHE_LEN(build_n)},
    .args_size = sizeof(ngram_args),
    .defaults = defaults,
    .run = run_build,
};
const lathe_verb lathe_verb_ngram_merge = {
    .name = "ngram merge",
    .summary = "add the counts of n-gram caches",
    .usage = "lathe ngram merge FILES... -o CACHE",
    .examples = "lathe ngram merge a.lcache b.lcache -o both.lcache",
    .schema = "lathe.ngram-merge/1",
    .options = {merge_tables, merge_n, 1},
    .args_size = sizeof(ngram_args),
    .defaults = defaults,
    .run = run_merge,
};
const lathe_verb lathe_verb_ngram_stats = {
    .name = "ngram stats",
    .summary = "how much n-gram caches hold",
    .usage = "lathe ngram stats FILES...",
    .examples = "lathe ngram stats corpus.lcache",
    .schema = "lathe.ngram-stats/1",
    .options = {merge_tables, merge_n, 0},
    .args_size = sizeof(ngram_args),
    .defaults = defaults,
    .run = run_stats,
};
