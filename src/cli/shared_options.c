/* shared_options.c - see shared_options.h. */
#include "cli/shared_options.h"

#include <stdlib.h>
#include <string.h>

#include "base/machine.h"
#include "base/text.h"
#include "cli/abort.h"

#define AT(field) offsetof(lathe_shared_args, field)

static const char *const cache_types[] = {"f16", "f32", "q8_0", "q4_0", "bf16", NULL};
static const char *const flash_choices[] = {"auto", "on", "off", NULL};
static const char *const ctx_aliases[] = {"ctx-size", NULL};
static const char *const batch_aliases[] = {"ubatch-size", NULL};
static const char *const k_aliases[] = {"cache-type-k", NULL};
static const char *const v_aliases[] = {"cache-type-v", NULL};

// clang-format off
const lathe_option lathe_options_model[LATHE_N_OPTIONS_MODEL] = {
    { .name = "model", .short_name = "m", .group = "model", .arg = "FILE", .kind = LATHE_OPTION_FILE, .offset = AT(model),
      .env = "LATHE_MODEL", .help = "GGUF file" },
    { .name = "device", .group = "model", .arg = "NAME", .kind = LATHE_OPTION_TEXT, .offset = AT(device),
      .env = "LATHE_DEVICE", .default_text = "CPU", .help = "device to run on ('lathe info --devices' lists them)", .hidden = true },
    { .name = "rpc", .group = "model", .arg = "HOST:PORT,...", .kind = LATHE_OPTION_LIST, .repeat = true, .offset = AT(rpc),
      .help = "devices of other machines ('lathe worker' serves one)", .hidden = true },
    { .name = "tensor-split", .short_name = "ts", .group = "model", .arg = "N,N,...", .kind = LATHE_OPTION_LIST,
      .offset = AT(tensor_split), .default_text = "by free memory", .help = "shares of the layers by device, remote ones first", .hidden = true },
    { .name = "no-mmap", .group = "model", .kind = LATHE_OPTION_FLAG, .offset = AT(no_mmap),
      .help = "read the weights instead of mapping the file", .hidden = true },
};

const lathe_option lathe_options_context[LATHE_N_OPTIONS_CONTEXT] = {
    { .name = "ctx", .short_name = "c", .aliases = ctx_aliases, .group = "model", .arg = "N", .kind = LATHE_OPTION_INT,
      .offset = AT(n_ctx), .min = 0, .max = 16777216, .default_text = "the model's", .help = "context in tokens" },
    { .name = "batch-size", .short_name = "b", .aliases = batch_aliases, .group = "model", .arg = "N", .kind = LATHE_OPTION_INT,
      .offset = AT(n_batch), .min = 1, .max = 65536, .default_text = "512", .help = "tokens a forward pass takes at most", .hidden = true },
    { .name = "threads", .short_name = "t", .group = "model", .arg = "N", .kind = LATHE_OPTION_INT, .offset = AT(n_threads),
      .min = 0, .max = 1024, .env = "LATHE_THREADS", .default_text = "measured at start", .help = "threads" },
    { .name = "threads-prompt", .short_name = "tb", .group = "model", .arg = "N", .kind = LATHE_OPTION_INT, .offset = AT(n_threads_prompt),
      .min = 0, .max = 1024, .default_text = "as --threads", .help = "threads for prompts", .hidden = true },
    { .name = "cache-type", .group = "model", .arg = "TYPE", .kind = LATHE_OPTION_CHOICE, .choices = cache_types,
      .offset = AT(cache_type), .default_text = "f16", .help = "type of the KV cache: f16, f32, q8_0, q4_0, bf16", .hidden = true },
    { .name = "ctk", .short_name = "ctk", .aliases = k_aliases, .group = "model", .arg = "TYPE", .kind = LATHE_OPTION_CHOICE, .choices = cache_types,
      .offset = AT(cache_type_k), .seen_offset = AT(cache_type_k_seen), .default_text = "--cache-type", .help = "type of the keys alone", .hidden = true },
    { .name = "ctv", .short_name = "ctv", .aliases = v_aliases, .group = "model", .arg = "TYPE", .kind = LATHE_OPTION_CHOICE, .choices = cache_types,
      .offset = AT(cache_type_v), .seen_offset = AT(cache_type_v_seen), .default_text = "--cache-type", .help = "type of the values alone", .hidden = true },
    { .name = "flash-attn", .short_name = "fa", .group = "model", .arg = "on|off|auto", .kind = LATHE_OPTION_CHOICE, .choices = flash_choices,
      .offset = AT(flash), .default_text = "auto", .help = "fused attention", .hidden = true },
    { .name = "exact", .group = "model", .kind = LATHE_OPTION_FLAG, .offset = AT(exact),
      .help = "the same bits at any thread count, batch split and speculation" },
    { .name = "policy", .group = "model", .arg = "FILE|RULE", .kind = LATHE_OPTION_TEXT, .offset = AT(policy), .default_text = "full",
      .help = "cache by layer: full, window:ROWS, stream:SINKS,ROWS or a file", .hidden = true },
};

const lathe_option lathe_options_input[LATHE_N_OPTIONS_INPUT] = {
    { .name = "prompt", .short_name = "p", .group = "input", .arg = "TEXT", .kind = LATHE_OPTION_TEXT, .offset = AT(prompt), .help = "the text" },
    { .name = "file", .short_name = "f", .group = "input", .arg = "FILE", .kind = LATHE_OPTION_FILE, .offset = AT(file), .help = "the text from a file ('-': stdin)" },
    { .name = "ids", .group = "input", .arg = "FILE", .kind = LATHE_OPTION_FILE, .offset = AT(ids), .help = "token ids separated by white space, used as they are" },
    { .name = "bos", .group = "input", .kind = LATHE_OPTION_FLAG, .offset = AT(bos), .seen_offset = AT(bos_seen), .default_text = "as the model says",
      .help = "add the beginning-of-sequence token (--no-bos: leave it out)", .hidden = true },
    { .name = "special", .group = "input", .kind = LATHE_OPTION_FLAG, .offset = AT(special), .seen_offset = AT(special_seen),
      .default_text = "on for -p, off for files", .help = "recognise special tokens in the text", .hidden = true },
};

const lathe_option lathe_options_sampling[LATHE_N_OPTIONS_SAMPLING] = {
    { .name = "temp", .group = "sampling", .arg = "T", .kind = LATHE_OPTION_REAL, .offset = AT(temp), .min = 0, .max = 100, .default_text = "0.8",
      .help = "temperature, 0 = always the likeliest" },
    { .name = "top-k", .group = "sampling", .arg = "K", .kind = LATHE_OPTION_INT, .offset = AT(top_k), .min = 0, .max = 4194304, .default_text = "40",
      .help = "keep the K likeliest, 0 = all" },
    { .name = "top-p", .group = "sampling", .arg = "P", .kind = LATHE_OPTION_REAL, .offset = AT(top_p), .min = 0, .max = 1, .default_text = "0.95",
      .help = "keep the likeliest that make up this probability, 1 = all" },
    { .name = "min-p", .group = "sampling", .arg = "P", .kind = LATHE_OPTION_REAL, .offset = AT(min_p), .min = 0, .max = 1, .default_text = "0.05",
      .help = "drop what is less likely than P times the likeliest, 0 = none" },
    { .name = "typical", .group = "sampling", .arg = "P", .kind = LATHE_OPTION_REAL, .offset = AT(typical), .min = 0, .max = 1, .default_text = "off",
      .help = "locally typical sampling, 1 = off", .hidden = true },
    { .name = "top-n-sigma", .group = "sampling", .arg = "N", .kind = LATHE_OPTION_REAL, .offset = AT(top_n_sigma), .min = -1, .max = 1000, .default_text = "off",
      .help = "keep logits within N standard deviations of the largest, -1 = off", .hidden = true },
    { .name = "repeat-penalty", .group = "sampling", .arg = "R", .kind = LATHE_OPTION_REAL, .offset = AT(repeat_penalty), .min = 0.01, .max = 100, .default_text = "1.0",
      .help = "divide positive logits of recent tokens by R, 1 = off" },
    { .name = "repeat-last-n", .group = "sampling", .arg = "N", .kind = LATHE_OPTION_INT, .offset = AT(repeat_last_n), .min = -1, .max = 2147483647, .default_text = "64",
      .help = "how many tokens count as recent, -1 = the context", .hidden = true },
    { .name = "presence-penalty", .group = "sampling", .arg = "A", .kind = LATHE_OPTION_REAL, .offset = AT(presence_penalty), .min = -100, .max = 100, .default_text = "0",
      .help = "subtract A from the logit of each recent token", .hidden = true },
    { .name = "frequency-penalty", .group = "sampling", .arg = "A", .kind = LATHE_OPTION_REAL, .offset = AT(frequency_penalty), .min = -100, .max = 100, .default_text = "0",
      .help = "subtract A times its count from the logit of each recent token", .hidden = true },
    { .name = "dry-multiplier", .group = "sampling", .arg = "A", .kind = LATHE_OPTION_REAL, .offset = AT(dry_multiplier), .min = 0, .max = 100, .default_text = "0",
      .help = "penalty for continuing a repetition (DRY), 0 = off", .hidden = true },
    { .name = "dry-base", .group = "sampling", .arg = "B", .kind = LATHE_OPTION_REAL, .offset = AT(dry_base), .min = 1, .max = 100, .default_text = "1.75",
      .help = "DRY: growth with the length of the repetition", .hidden = true },
    { .name = "dry-allowed-length", .group = "sampling", .arg = "N", .kind = LATHE_OPTION_INT, .offset = AT(dry_allowed_length), .min = 1, .max = 65536, .default_text = "2",
      .help = "DRY: repetitions up to this length are free", .hidden = true },
    { .name = "dry-penalty-last-n", .group = "sampling", .arg = "N", .kind = LATHE_OPTION_INT, .offset = AT(dry_penalty_last_n), .min = -1, .max = 2147483647, .default_text = "64",
      .help = "DRY: tokens looked at, -1 = the context", .hidden = true },
    { .name = "logit-bias", .group = "sampling", .arg = "ID+B,ID-B", .kind = LATHE_OPTION_LIST, .repeat = true, .offset = AT(logit_bias),
      .help = "add B to the logit of token ID", .hidden = true },
    { .name = "samplers", .group = "sampling", .arg = "LIST", .kind = LATHE_OPTION_LIST, .offset = AT(samplers),
      .help = "steps of the chain in order, separated by ; or ,", .hidden = true },
    { .name = "xtc-probability", .group = "sampling", .arg = "P", .kind = LATHE_OPTION_REAL, .offset = AT(xtc_probability), .min = 0, .max = 1, .default_text = "0",
      .help = "XTC: chance of dropping the likeliest tokens but the last over the threshold", .hidden = true },
    { .name = "xtc-threshold", .group = "sampling", .arg = "P", .kind = LATHE_OPTION_REAL, .offset = AT(xtc_threshold), .min = 0, .max = 1, .default_text = "0.1",
      .help = "XTC: the threshold", .hidden = true },
};

const lathe_option lathe_options_seed[LATHE_N_OPTIONS_SEED] = {
    { .name = "seed", .short_name = "s", .group = "sampling", .arg = "N", .kind = LATHE_OPTION_INT, .offset = AT(seed), .seen_offset = AT(seed_seen),
      .min = -1, .max = 9007199254740992.0, .help = "seed of the random numbers, -1 = a random one" },
};

const lathe_option lathe_options_output[LATHE_N_OPTIONS_OUTPUT] = {
    { .name = "output", .short_name = "o", .group = "output", .arg = "FILE", .kind = LATHE_OPTION_FILE, .offset = AT(output), .help = "result file" },
};
// clang-format on

void lathe_shared_defaults(lathe_shared_args *args, int64_t seed) {
    *args = (lathe_shared_args){
        .n_batch = 512,
        .temp = 0.8,
        .top_k = 40,
        .top_p = 0.95,
        .min_p = 0.05,
        .typical = 1.0,
        .top_n_sigma = -1,
        .repeat_penalty = 1.0,
        .repeat_last_n = 64,
        .dry_base = 1.75,
        .dry_allowed_length = 2,
        .dry_penalty_last_n = 64,
        .xtc_threshold = 0.1,
        .seed = seed,
    };
}

uint64_t lathe_shared_seed(const lathe_shared_args *args) {
    return args->seed < 0 ? lathe_random_seed() : (uint64_t) args->seed;
}

lathe_status lathe_shared_model_params(const lathe_shared_args *args, lathe_model_params *params,
                                       float split[64], lathe_error *err) {
    if (!args->model)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "no model; name a GGUF file with -m FILE or the variable LATHE_MODEL");
    *params = lathe_model_params_default();
    params->device = args->device;
    params->rpc = args->rpc;
    lathe_cli_abort_workers(args->rpc);
    params->no_mmap = args->no_mmap;
    const char *p = args->tensor_split;
    while (p && *p) {
        char number[32];
        const size_t n = strcspn(p, ",");
        double x = -1;
        if (n < sizeof number) {
            memcpy(number, p, n);
            number[n] = '\0';
            if (!lathe_parse_real(number, &x))
                x = -1;
        }
        if (x < 0 || params->n_split == 64)
            return lathe_fail(err, LATHE_ERR_ARG,
                              "--tensor-split %s: up to 64 shares of at least 0, separated by commas",
                              args->tensor_split);
        split[params->n_split++] = (float) x;
        p += n + (p[n] == ',');
    }
    params->split = params->n_split > 0 ? split : NULL;
    return LATHE_OK;
}

lathe_status lathe_shared_context_params(const lathe_shared_args *args, lathe_context_params *params,
                                         lathe_error *err) {
    static const lathe_cache_type types[] = {LATHE_CACHE_F16, LATHE_CACHE_F32, LATHE_CACHE_Q8_0,
                                             LATHE_CACHE_Q4_0, LATHE_CACHE_BF16};
    (void) err;
    *params = lathe_context_params_default();
    params->n_ctx = (int32_t) args->n_ctx;
    params->n_batch = (int32_t) args->n_batch;
    params->n_threads = (int32_t) args->n_threads;
    params->n_threads_prompt = (int32_t) args->n_threads_prompt;
    params->type_k = types[args->cache_type_k_seen ? args->cache_type_k : args->cache_type];
    params->type_v = types[args->cache_type_v_seen ? args->cache_type_v : args->cache_type];
    params->flash = args->flash == 0 ? -1 : args->flash == 1;
    params->exact = args->exact;
    params->policy = args->policy;
    return LATHE_OK;
}
