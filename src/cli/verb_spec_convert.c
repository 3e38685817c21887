/* verb_spec_convert.c - `lathe spec convert`: a published LongSpec draft to GGUF. */
#include "base/text.h"
#include "cli/cli.h"
#include "cli/shared_options.h"
#include "lathe/decode.h"

typedef struct convert_args {
    lathe_shared_args shared; /* -m, -o */
    const char *safetensors;
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
    {.name = "window",
     .group = "convert",
     .arg = "N",
     .kind = LATHE_OPTION_INT,
     .offset = AT(window),
     .min = 4,
     .max = 4096,
     .default_text = "512",
     .help = "own keys that a query sees besides its own"},
};
enum { MODEL_ALONE = 1 }; /* -m, the first of the shared model options: nothing is computed on a device */
static const lathe_option *const tables[] = {options, lathe_options_model, lathe_options_output};
static const size_t n_options[] = {LATHE_LEN(options), MODEL_ALONE, LATHE_N_OPTIONS_OUTPUT};

static void defaults(void *arguments) {
    ((convert_args *) arguments)->window = 512;
}

static lathe_status run(const void *arguments, lathe_cli *cli, lathe_error *err) {
    const convert_args *a = arguments;
    int64_t n_params = 0;
    if (cli->n_positional)
        return lathe_fail(err, LATHE_ERR_ARG, "unexpected argument '%s'; want options only",
                          cli->positional[0]);
    if (!a->safetensors || !a->shared.model || !a->shared.output)
        return lathe_fail(err, LATHE_ERR_ARG, "--safetensors, --model and --output are needed");
    const lathe_status st = lathe_spec_convert_longspec(a->safetensors, a->shared.model, (int32_t) a->window,
                                                        a->shared.output, &n_params, err);
    if (st)
        return st;
    if (cli->json) {
        json_object_set_new(cli->result, "n_params", json_integer(n_params));
        return LATHE_OK;
    }
    char count[32];
    lathe_format_count(n_params, count, sizeof count);
    fprintf(cli->out, "%s: a LongSpec draft of %s parameters for %s\n", a->shared.output, count,
            a->shared.model);
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
