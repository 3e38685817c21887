/* sampling.c - see sampling.h. */
#include "cli/sampling.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

/* "ID+B" or "ID-B"; "ID-inf" bans. */
static bool parse_bias(const char *text, size_t n, lathe_logit_bias *out) {
    char copy[64];
    int64_t id;
    double bias;
    if (n == 0 || n >= sizeof copy)
        return false;
    memcpy(copy, text, n);
    copy[n] = '\0';
    const size_t digits = strspn(copy, "0123456789");
    if (digits == 0 || digits > 9 || (copy[digits] != '+' && copy[digits] != '-'))
        return false;
    const char sign = copy[digits];
    copy[digits] = '\0';
    if (!lathe_parse_int(copy, &id))
        return false;
    const char *value = copy + digits + 1;
    if (sign == '-' && strcmp(value, "inf") == 0)
        bias = INFINITY;
    else if (!lathe_parse_real(value, &bias) || fabs(bias) > 1e30)
        return false;
    *out = (lathe_logit_bias){(int32_t) id, (float) (sign == '-' ? -bias : bias)};
    return true;
}

static lathe_status parse_biases(const char *text, lathe_logit_bias **bias, int32_t *n_bias,
                                 lathe_error *err) {
    size_t n_most = 1;
    for (const char *p = text; *p; p++)
        n_most += *p == ',';
    lathe_logit_bias *list = n_most < 1 << 22 ? calloc(n_most, sizeof *list) : NULL;
    if (!list)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the biases");
    int32_t n_found = 0;
    for (const char *p = text; *p;) {
        const size_t n = strcspn(p, ",");
        if (!parse_bias(p, n, &list[n_found++])) {
            free(list);
            return lathe_fail(err, LATHE_ERR_ARG, "--logit-bias %.*s; want ID+B or ID-B, as 15043+1.5",
                              n < 60 ? (int) n : 60, p);
        }
        p += n + (p[n] == ',');
    }
    *bias = list;
    *n_bias = n_found;
    return LATHE_OK;
}

lathe_status lathe_shared_sampler_params(const lathe_shared_args *args, uint64_t seed,
                                         lathe_sampler_params *params, lathe_logit_bias **bias,
                                         lathe_error *err) {
    *bias = NULL;
    *params = lathe_sampler_params_default();
    params->steps = args->samplers;
    params->temp = args->temp;
    params->top_k = (int32_t) args->top_k;
    params->top_p = args->top_p;
    params->min_p = args->min_p;
    params->typical = args->typical;
    params->top_n_sigma = args->top_n_sigma;
    params->xtc_probability = args->xtc_probability;
    params->xtc_threshold = args->xtc_threshold;
    params->repeat_last_n = (int32_t) args->repeat_last_n;
    params->repeat_penalty = args->repeat_penalty;
    params->frequency_penalty = args->frequency_penalty;
    params->presence_penalty = args->presence_penalty;
    params->dry_multiplier = args->dry_multiplier;
    params->dry_base = args->dry_base;
    params->dry_allowed_length = (int32_t) args->dry_allowed_length;
    params->dry_last_n = (int32_t) args->dry_penalty_last_n;
    params->seed = seed;
    if (!args->logit_bias)
        return LATHE_OK;
    const lathe_status st = parse_biases(args->logit_bias, bias, &params->n_bias, err);
    params->bias = *bias;
    return st;
}
