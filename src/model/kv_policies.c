/* kv_policies.c - cache policies: the rules that --policy names, and which layers follow them. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/kv.h"

lathe_status lathe_kv_policy_set(const lathe_desc *desc, int32_t layer, lathe_kv_rule rule,
                                 lathe_kv_policy *p, lathe_error *err) {
    int32_t window = lathe_desc_window(desc, layer);
    if (rule.kind == LATHE_KV_STREAM) {
        if (rule.sink < 0 || rule.sink > LATHE_KV_SINK_MAX)
            return lathe_fail(err, LATHE_ERR_ARG, "cache policy of layer %d: %d sinks; 0 to %d is right",
                              layer, rule.sink, LATHE_KV_SINK_MAX);
        if (rule.recent < 1 || rule.recent > LATHE_DESC_CTX_MAX)
            return lathe_fail(
                err, LATHE_ERR_ARG,
                "cache policy of layer %d: the %d last rows; 1 (the token itself) or more is right", layer,
                rule.recent);
        if (window > 0 && (rule.recent > window || rule.sink > 0))
            return lathe_fail(
                err, LATHE_ERR_ARG,
                "cache policy of layer %d: %d sinks and %d last rows; the model lets this layer see %d: no "
                "sinks and at most so many rows are right",
                layer, rule.sink, rule.recent, window);
    }
    int32_t g = 0;
    while (g < p->n_groups && memcmp(&p->rules[g], &rule, sizeof rule) != 0)
        g++;
    if (g == LATHE_KV_GROUPS_MAX)
        return lathe_fail(err, LATHE_ERR_ARG, "a cache policy with more than %d different rules besides full",
                          LATHE_KV_GROUPS_MAX - 1);
    if (g == p->n_groups)
        p->rules[p->n_groups++] = rule;
    p->group[layer] = (uint8_t) g;
    return LATHE_OK;
}

/* "A" or "A,B" with whole numbers, and nothing behind. */
static int numbers(const char *text, long *a, long *b) {
    char *end;
    if (*text < '0' || *text > '9')
        return 0;
    *a = strtol(text, &end, 10);
    if (*end == '\0')
        return 1;
    if (*end != ',' || end[1] < '0' || end[1] > '9')
        return 0;
    *b = strtol(end + 1, &end, 10);
    return *end == '\0' ? 2 : 0;
}

static bool starts(const char *text, const char *with) {
    return strncmp(text, with, strlen(with)) == 0;
}

lathe_status lathe_kv_policy_of(const lathe_desc *desc, const char *text, lathe_kv_policy *policy,
                                lathe_error *err) {
    lathe_kv_policy p = {.n_groups = 1};
    lathe_kv_rule rule = {.kind = LATHE_KV_FULL};
    long a = 0, b = 0;
    lathe_status status = LATHE_OK;
    if (text == NULL)
        text = "full";
    size_t n = strlen(text);
    if (strcmp(text, "full") == 0) {
        snprintf(p.name, sizeof p.name, "full");
    } else if (starts(text, "window:") && numbers(text + 7, &a, &b) == 1) {
        rule = (lathe_kv_rule){LATHE_KV_STREAM, 0, a > INT32_MAX ? INT32_MAX : (int32_t) a};
    } else if (starts(text, "stream:") && numbers(text + 7, &a, &b) == 2) {
        rule = (lathe_kv_rule){LATHE_KV_STREAM, a > INT32_MAX ? INT32_MAX : (int32_t) a,
                               b > INT32_MAX ? INT32_MAX : (int32_t) b};
    } else if (n > 5 && strcmp(text + n - 5, ".json") == 0) {
        return lathe_kv_policy_read(desc, text, policy, err);
    } else {
        return lathe_fail(err, LATHE_ERR_ARG,
                          "cache policy '%.60s'; full, window:ROWS, stream:SINKS,ROWS or a file that ends in "
                          ".json is right",
                          text);
    }
    for (int32_t l = 0; l < desc->n_layer && status == LATHE_OK && rule.kind != LATHE_KV_FULL; l++)
        status = lathe_kv_policy_set(desc, l, rule, &p, err);
    if (status != LATHE_OK)
        return status;
    if (rule.kind == LATHE_KV_STREAM)
        snprintf(p.name, sizeof p.name, "stream:%d,%d", rule.sink, rule.recent);
    *policy = p;
    return LATHE_OK;
}
