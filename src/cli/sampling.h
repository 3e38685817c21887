/* sampling.h - from the sampling options to a sampler's parameters. */
#ifndef LATHE_CLI_SAMPLING_H
#define LATHE_CLI_SAMPLING_H

#include "cli/shared_options.h"
#include "lathe/decode.h"

/* @param bias  allocated where --logit-bias is given, else NULL; params borrows it: free() it after use. */
LATHE_NODISCARD lathe_status lathe_shared_sampler_params(const lathe_shared_args *args, uint64_t seed,
                                                         lathe_sampler_params *params,
                                                         lathe_logit_bias **bias, lathe_error *err);

#endif
