/* verb_synth.c - `lathe synth`: a model with random weights of any family and size. */
#include <string.h>

#include "base/machine.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/shared_options.h"
#include "lathe/model.h"

typedef struct synth_args {
    lathe_shared_args shared; /* -o */
    const char *arch, *shape, *type, *like, *draft, *draft_output;
    int64_t seed, n_threads;
} synth_args;

#define AT(field) offsetof(synth_args, field)
static const lathe_option options[] = {
    {.name = "arch",
     .group = "model",
     .arg = "NAME",
     .kind = LATHE_OPTION_TEXT,
     .offset = AT(arch),
     .default_text = "llama",
     .help = "family ('lathe info --families' lists them)"},
    {.name = "shape",
     .group = "model",
     .arg = "SHAPE",
     .kind = LATHE_OPTION_TEXT,
     .offset = AT(shape),
     .default_text = "1M",
     .help = "1M, 10M, 100M, 1B, 8B"},
    {.name = "type",
     .group = "model",
     .arg = "TYPE",
     .kind = LATHE_OPTION_TEXT,
     .offset = AT(type),
     .default_text = "f32",
     .help = "tensor type: f32, f16, bf16, q8_0, q6_K, q5_K, q4_K, q4_0, ..."},
    {.name = "like",
     .group = "model",
     .arg = "FILE",
     .kind = LATHE_OPTION_FILE,
     .offset = AT(like),
     .help = "a trained llama or qwen2 model, made as large as the shape without changing its function"},
    {.name = "draft",
     .group = "model",
     .arg = "FILE",
     .kind = LATHE_OPTION_FILE,
     .offset = AT(draft),
     .help = "(--like) a LongSpec draft of that model, widened alike into --draft-output"},
    {.name = "draft-output",
     .group = "output",
     .arg = "FILE",
     .kind = LATHE_OPTION_FILE,
     .offset = AT(draft_output),
     .help = "where the widened draft goes"},
    {.name = "seed",
     .short_name = "s",
     .group = "model",
     .arg = "N",
     .kind = LATHE_OPTION_INT,
     .offset = AT(seed),
     .min = 0,
     .max = 9007199254740992.0,
     .default_text = "0",
     .help = "the same family, shape, type and seed give the same file"},
    {.name = "threads",
     .short_name = "t",
     .group = "model",
     .arg = "N",
     .kind = LATHE_OPTION_INT,
     .offset = AT(n_threads),
     .min = 0,
     .max = 1024,
     .env = "LATHE_THREADS",
     .default_text = "the cores there are",
     .help = "threads; the file does not depend on them"},
};
static const lathe_option *const tables[] = {options, lathe_options_output};
static const size_t n_options[] = {LATHE_LEN(options), LATHE_N_OPTIONS_OUTPUT};

static void defaults(void *arguments) {
    synth_args *args = arguments;
    args->arch = "llama";
    args->shape = "1M";
    args->type = "f32";
}

static lathe_status run(const void *arguments, lathe_cli *cli, lathe_error *err) {
    const synth_args *args = arguments;
    if (!args->shared.output)
        return lathe_fail(err, LATHE_ERR_ARG, "no output file; want -o FILE.gguf");
    if (cli->n_positional)
        return lathe_fail(err, LATHE_ERR_ARG, "'%.80s' is no option; want -o FILE.gguf", cli->positional[0]);
    if ((args->draft || args->draft_output) && !(args->draft && args->draft_output && args->like))
        return lathe_fail(err, LATHE_ERR_ARG,
                          "a draft is widened with --like, --draft and --draft-output, all three");
    lathe_synth_params params = lathe_synth_params_default();
    lathe_synth_result result;
    params.arch = args->arch;
    params.shape = args->shape;
    params.type = args->type;
    params.like = args->like;
    params.draft = args->draft;
    params.draft_output = args->draft_output;
    params.seed = (uint64_t) args->seed;
    params.n_threads = (int32_t) args->n_threads;
    params.progress = cli->progress;
    const double start = lathe_now();
    const lathe_status st = lathe_model_synth(args->shared.output, &params, &result, err);
    if (st)
        return st;
    const double elapsed = lathe_now() - start;
    if (cli->json) {
        json_object_set_new(cli->result, "n_params", json_integer(result.n_params));
        json_object_set_new(cli->result, "bytes", json_integer(result.bytes));
        json_object_set_new(cli->result, "seed", json_integer(args->seed));
        json_object_set_new(cli->result, "elapsed_s", json_real(elapsed));
        return LATHE_OK;
    }
    char bytes[32], count[32];
    lathe_format_bytes(result.bytes, bytes, sizeof bytes);
    lathe_format_count(result.n_params, count, sizeof count);
    if (args->like)
        fprintf(cli->out, "%s: %s widened to %s, %s parameters in %s, %s (%.1f s)\n", args->shared.output,
                args->like, args->shape, count, args->type, bytes, elapsed);
    else
        fprintf(cli->out, "%s: %s %s, %s parameters in %s, %s, seed %lld (%.1f s)\n", args->shared.output,
                args->arch, args->shape, count, args->type, bytes, (long long) args->seed, elapsed);
    return LATHE_OK;
}

extern const lathe_verb lathe_verb_synth;
const lathe_verb lathe_verb_synth = {
    .name = "synth",
    .summary = "a model with random weights, of any family and size",
    .usage = "lathe synth --arch NAME --shape SHAPE --type TYPE --seed N -o FILE.gguf",
    .examples = "lathe synth --arch gemma2 --shape 10M --type q4_K -o gemma2.gguf",
    .schema = "lathe.synth/1",
    .options = {tables, n_options, LATHE_LEN(tables)},
    .args_size = sizeof(synth_args),
    .defaults = defaults,
    .run = run,
};
