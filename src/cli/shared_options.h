/* shared_options.h - options that mean the same in every verb (docs: the table in README). A verb's argument
 * struct begins with a lathe_shared_args, and its option set lists the groups it takes beside its own table.
 */
#ifndef LATHE_CLI_SHARED_OPTIONS_H
#define LATHE_CLI_SHARED_OPTIONS_H

#include "base/option.h"
#include "lathe/model.h"

typedef struct lathe_shared_args {
    bool unused; /* offset 0 stands for "no such field" in option tables */
    /* model */
    const char *model;
    const char *device, *rpc, *tensor_split;
    bool no_mmap;
    /* context */
    int64_t n_ctx, n_batch, n_threads, n_threads_prompt;
    int32_t cache_type, cache_type_k, cache_type_v; /* index into the choices f16, f32, q8_0, q4_0, bf16 */
    bool cache_type_k_seen, cache_type_v_seen;
    int32_t flash; /* auto, on, off */
    bool exact;
    const char *policy;
    /* input */
    const char *prompt, *file, *ids;
    bool bos, bos_seen, special, special_seen;
    /* sampling */
    double temp, top_p, min_p, typical, repeat_penalty, presence_penalty, frequency_penalty;
    double dry_multiplier, dry_base, xtc_probability, xtc_threshold, top_n_sigma;
    int64_t top_k, repeat_last_n, dry_allowed_length, dry_penalty_last_n;
    const char *logit_bias, *samplers;
    int64_t seed; /* -1: random */
    bool seed_seen;
    /* output */
    const char *output;
} lathe_shared_args;

/* Fills the documented defaults; seed as given. */
void lathe_shared_defaults(lathe_shared_args *args, int64_t seed);

extern const lathe_option lathe_options_model[]; /* -m --device --rpc --tensor-split --no-mmap */
extern const lathe_option
    lathe_options_context[]; /* -c -b -t -tb --cache-type -ctk -ctv -fa --exact --policy */
extern const lathe_option lathe_options_input[];    /* -p -f --ids --bos --special */
extern const lathe_option lathe_options_sampling[]; /* --temp ... --seed */
extern const lathe_option lathe_options_seed[];     /* --seed alone */
extern const lathe_option lathe_options_output[];   /* -o */
enum {
    LATHE_N_OPTIONS_MODEL = 5,
    LATHE_N_OPTIONS_CONTEXT = 10,
    LATHE_N_OPTIONS_INPUT = 5,
    LATHE_N_OPTIONS_SAMPLING = 18,
    LATHE_N_OPTIONS_SEED = 1,
    LATHE_N_OPTIONS_OUTPUT = 1,
};

/* The parameters that these options ask for. The split's array is borrowed from `split`. */
LATHE_NODISCARD lathe_status lathe_shared_model_params(const lathe_shared_args *args,
                                                       lathe_model_params *params, float split[64],
                                                       lathe_error *err);
LATHE_NODISCARD lathe_status lathe_shared_context_params(const lathe_shared_args *args,
                                                         lathe_context_params *params, lathe_error *err);
/* The seed to use: the given one, or a random one for -1. */
uint64_t lathe_shared_seed(const lathe_shared_args *args);

#endif
