/* verb_quantize.c - `lathe quantize in.gguf out.gguf TYPE`: the same model in other tensor types. */
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/machine.h"
#include "base/text.h"
#include "cli/cli.h"
#include "lathe/model.h"

typedef struct quantize_args {
    bool unused;
    int32_t mix;
    int64_t n_threads;
} quantize_args;

static const char *const mixes[] = {"none", "m", NULL};

static const lathe_option options[] = {
    {.name = "mix",
     .group = "quantize",
     .arg = "none|m",
     .kind = LATHE_OPTION_CHOICE,
     .choices = mixes,
     .offset = offsetof(quantize_args, mix),
     .default_text = "none",
     .help = "m: attn_v and ffn_down of the outer and every third layer in q6_K (as q4_K_M has it)"},
    {.name = "threads",
     .short_name = "t",
     .group = "quantize",
     .arg = "N",
     .kind = LATHE_OPTION_INT,
     .offset = offsetof(quantize_args, n_threads),
     .min = 0,
     .max = 1024,
     .env = "LATHE_THREADS",
     .default_text = "the cores there are",
     .help = "threads; the file does not depend on them"},
};
static const lathe_option *const tables[] = {options};
static const size_t n_options[] = {LATHE_LEN(options)};

/* A model is worth more than what is made of it: the result never takes its place. */
static bool is_same_file(const char *a, const char *b) {
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static lathe_status run(const void *arguments, lathe_cli *cli, lathe_error *err) {
    const quantize_args *args = arguments;
    if (cli->n_positional != 3)
        return lathe_fail(err, LATHE_ERR_ARG, "%zu arguments; want IN.gguf OUT.gguf TYPE", cli->n_positional);
    const char *in = cli->positional[0], *out = cli->positional[1];
    if (is_same_file(in, out))
        return lathe_fail(err, LATHE_ERR_ARG,
                          "%s is the model that is read; another name for the result is needed", out);
    char type[32];
    const size_t n = strlen(cli->positional[2]);
    if (n >= sizeof type)
        return lathe_fail(err, LATHE_ERR_ARG, "'%.40s' is no tensor type; want one as q4_K or q8_0",
                          cli->positional[2]);
    memcpy(type, cli->positional[2], n + 1);
    lathe_quantize_params params = lathe_quantize_params_default();
    params.mix = args->mix == 1;
    /* the names that others give to q4_K and its mix */
    if (n > 4 && (strcasecmp(type + n - 4, "_K_M") == 0 || strcasecmp(type + n - 4, "_K_S") == 0)) {
        params.mix = params.mix || strcasecmp(type + n - 1, "m") == 0;
        type[n - 2] = 0;
    }
    params.type = type;
    params.n_threads = (int32_t) args->n_threads;
    params.logger = cli->logger;
    params.progress = cli->progress;
    lathe_quantize_result result;
    const double start = lathe_now();
    const lathe_status st = lathe_model_quantize(in, out, &params, &result, err);
    if (st)
        return st;
    const double elapsed = lathe_now() - start;
    if (cli->json) {
        json_t *types = json_object();
        for (int32_t i = 0; i < result.n_types; i++)
            json_object_set_new(types, result.types[i].type, json_integer(result.types[i].n_tensors));
        json_object_set_new(cli->result, "bytes_in", json_integer(result.bytes_in));
        json_object_set_new(cli->result, "bytes_out", json_integer(result.bytes_out));
        json_object_set_new(cli->result, "types", types);
        json_object_set_new(cli->result, "elapsed_s", json_real(elapsed));
        return LATHE_OK;
    }
    char before[32], after[32];
    lathe_format_bytes(result.bytes_in, before, sizeof before);
    lathe_format_bytes(result.bytes_out, after, sizeof after);
    fprintf(cli->out, "%s: %s -> %s (%.1f%%) in %.1f s; tensors:", out, before, after,
            100.0 * (double) result.bytes_out / (double) result.bytes_in, elapsed);
    for (int32_t i = 0; i < result.n_types; i++)
        fprintf(cli->out, "%s %d %s", i ? "," : "", result.types[i].n_tensors, result.types[i].type);
    fprintf(cli->out, "\n");
    return LATHE_OK;
}

extern const lathe_verb lathe_verb_quantize;
const lathe_verb lathe_verb_quantize = {
    .name = "quantize",
    .summary = "the same model in other tensor types",
    .usage = "lathe quantize IN.gguf OUT.gguf TYPE [--mix m]",
    .examples = "lathe quantize model-f16.gguf model-q4.gguf q4_K --mix m",
    .schema = "lathe.quantize/1",
    .options = {tables, n_options, 1},
    .args_size = sizeof(quantize_args),
    .run = run,
};
