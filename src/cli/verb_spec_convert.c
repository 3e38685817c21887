/* verb_spec_convert.c - `lathe spec convert`: a published LongSpec draft to GGUF. */
#include "base/text.h"
#include "cli/cli.h"
#include "lathe/decode.h"

typedef struct convert_args {
    bool unused;
    const char *safetensors, *model, *output;
    int64_t window;
} convert_args;

#define AT(field) offsetof(convert_args, field)
static const lathe_option options[] = {
    {.name = "safetensors",
     .group = "convert",
     .arg = "PATH",
     .kind = LATHE_OPTION_FILE,
     .offset = AT(safetensors),
     .help = "the published draft: a .safetensors file, or a folder of them"},
    {.name = "model",
     .short_name = "m",
     .group = "convert",
     .arg = "FILE",
     .kind = LATHE_OPTION_FILE,
     .offset = AT(model),
     .env = "LATHE_MODEL",
     .help = "the target it was trained for"},
    {.name = "window",
     .group = "convert",
     .arg = "N",
     .kind = LATHE_OPTION_INT,
     .offset = AT(window),
     .min = 4,
     .max = 4096,
     .default_text = "512",
     .help = "own keys that a query sees besides its own"},
    {.name = "output",
     .short_name = "o",
     .group = "convert",
     .arg = "FILE",
     .kind = LATHE_OPTION_FILE,
     .offset = AT(output),
     .help = "the GGUF file to write"},
};
static const lathe_option *const tables[] = {options};
static const size_t n_options[] = {LATHE_LEN(options)};

static void defaults(void *arguments) {
    ((convert_args *) arguments)->window = 512;
}

static lathe_status run(const void *arguments, lathe_cli *cli, lathe_error *err) {
    const convert_args *a = arguments;
    int64_t n_params = 0;
    if (cli->n_positional)
        return lathe_fail(err, LATHE_ERR_ARG, "unexpected argument '%s'; want options only",
                          cli->positional[0]);
    if (!a->safetensors || !a->model || !a->output)
        return lathe_fail(err, LATHE_ERR_ARG, "--safetensors, --model and --output are needed");
    const lathe_status st =
        lathe_spec_convert_longspec(a->safetensors, a->model, (int32_t) a->window, a->output, &n_params, err);
    if (st)
        return st;
    if (cli->json) {
        json_object_set_new(cli->result, "n_params", json_integer(n_params));
        return LATHE_OK;
    }
    char count[32];
    lathe_format_count(n_params, count, sizeof count);
    fprintf(cli->out, "%s: a LongSpec draft of %s parameters for %s\n", a->output, count, a->model);
    return LATHE_OK;
}

const lathe_verb lathe_verb_spec_convert = {
    .name = "spec convert",
    .summary = "a published LongSpec draft (safetensors) to GGUF",
    .usage = "lathe spec convert --safetensors PATH -m TARGET.gguf -o DRAFT.gguf",
    .examples = "lathe spec convert --safetensors longspec-draft/ -m target.gguf -o draft.gguf\n",
    .schema = "lathe.spec-convert/1",
    .options = {tables, n_options, LATHE_LEN(tables)},
    .args_size = sizeof(convert_args),
    .defaults = defaults,
    .run = run,
};
