/* spec_arms.c - from --spec, --arms and --spec-len to sources and arms. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "decode/spec.h"

enum { FILE_MAX_BYTES = 1 << 20, LENGTH_MAX = LATHE_SPEC_DEPTH };

void lathe_spec_set_free(lathe_spec_choice_set *set) {
    for (int32_t i = 0; i < set->n_sources; i++)
        free(set->source[i]);
    memset(set, 0, sizeof *set);
}

static void begin_set(lathe_spec_choice_set *set) {
    memset(set, 0, sizeof *set);
    set->arm[0] = (lathe_spec_arm){.name = "none", .source = -1};
    set->n_arms = 1;
}

/* The source of this name, added where it is new. */
static lathe_status source_of(lathe_spec_choice_set *set, const char *name, int32_t *source,
                              lathe_error *err) {
    for (*source = 0; *source < set->n_sources; (*source)++)
        if (strcmp(set->source[*source], name) == 0)
            return LATHE_OK;
    if (set->n_sources == LATHE_SPEC_SOURCES_MAX)
        return lathe_fail(err, LATHE_ERR_ARG, "more than %d proposers", (int) LATHE_SPEC_SOURCES_MAX);
    const lathe_proposer *proposer;
    const lathe_status status = lathe_proposer_find(name, &proposer, NULL, err);
    if (status)
        return status;
    set->source[set->n_sources] = strdup(name);
    if (!set->source[set->n_sources])
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for arms");
    set->n_sources++;
    return LATHE_OK;
}

static lathe_status add_arm(lathe_spec_choice_set *set, const char *name, int32_t source, int32_t length,
                            lathe_error *err) {
    for (int32_t i = 0; i < set->n_arms; i++)
        if (strcmp(set->arm[i].name, name) == 0)
            return lathe_fail(err, LATHE_ERR_ARG, "two arms are called '%.60s'; every arm needs its own name",
                              name);
    if (set->n_arms == LATHE_ARMS_MAX)
        return lathe_fail(err, LATHE_ERR_ARG, "more than %d arms", (int) LATHE_ARMS_MAX);
    if (length < 1 || length > LENGTH_MAX)
        return lathe_fail(err, LATHE_ERR_ARG, "arm '%.60s' drafts %d tokens; 1 to %d", name, (int) length,
                          (int) LENGTH_MAX);
    lathe_spec_arm *arm = &set->arm[set->n_arms++];
    *arm = (lathe_spec_arm){.source = source, .length = length};
    snprintf(arm->name, sizeof arm->name, "%s", name);
    return LATHE_OK;
}

static lathe_status add_word(lathe_spec_choice_set *set, const char *word, int32_t length, bool several,
                             lathe_error *err) {
    const lathe_proposer *proposer;
    int32_t source;
    char name[64];
    lathe_status status = lathe_proposer_find(word, &proposer, NULL, err);
    if (!status)
        status = source_of(set, word, &source, err);
    if (status)
        return status;
    const int32_t usual = length > 0 ? length : proposer->length;
    if (several && proposer->slow && length <= 0) {
        static const int32_t lengths[] = {2, 4, 8};
        for (size_t i = 0; !status && i < LATHE_LEN(lengths); i++) {
            snprintf(name, sizeof name, "%s%d", proposer->name, (int) lengths[i]);
            status = add_arm(set, name, source, lengths[i], err);
        }
        return status;
    }
    snprintf(name, sizeof name, "%s%d", proposer->name, (int) usual);
    return add_arm(set, name, source, usual, err);
}

lathe_status lathe_spec_parse(const char *text, int32_t length, bool several, lathe_spec_choice_set *set,
                              lathe_error *err) {
    static const struct {
        const char *name;
        int32_t length;
    } automatic[] = {{"lookup", 4}, {"suffix", 16}, {"recycle", 8}};
    lathe_status status = LATHE_OK;
    begin_set(set);
    for (const char *at = text; !status && *at;) {
        char word[4096];
        const size_t n = strcspn(at, "+");
        if (n == 0 || n >= sizeof word) {
            status = lathe_fail(err, LATHE_ERR_ARG, "'%.80s' is no list of proposers; want names joined by +",
                                text);
            break;
        }
        memcpy(word, at, n);
        word[n] = 0;
        at += n + (at[n] == '+');
        if (strcmp(word, "none") == 0)
            continue;
        if (strcmp(word, "auto") != 0) {
            status = add_word(set, word, length, several, err);
            continue;
        }
        set->automatic = true;
        for (size_t i = 0; !status && i < LATHE_LEN(automatic); i++)
            status =
                add_word(set, automatic[i].name, length > 0 ? length : automatic[i].length, several, err);
    }
    if (status)
        lathe_spec_set_free(set);
    return status;
}

static lathe_status arm_of_json(lathe_spec_choice_set *set, const json_t *o, const char *path, size_t i,
                                lathe_error *err) {
    const char *name = json_string_value(json_object_get(o, "name"));
    const char *proposer = json_string_value(json_object_get(o, "proposer"));
    const char *verifier = json_string_value(json_object_get(o, "verify"));
    const json_t *len = json_object_get(o, "len");
    const json_int_t length = json_integer_value(len);
    int32_t source;
    if (!name || !*name)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: arm %zu has no name", path, i);
    if (len && !json_is_integer(len))
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: arm '%.60s': len is no whole number", path, name);
    if (!proposer && length == 0)
        return LATHE_OK; /* plain decoding, which is always there */
    if (!proposer)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: arm '%.60s' has no proposer", path, name);
    lathe_status status = source_of(set, proposer, &source, err);
    if (status)
        return status;
    if (verifier && *set->verifier && strcmp(verifier, set->verifier) != 0)
        return lathe_fail(err, LATHE_ERR_INPUT,
                          "%s: arm '%.60s' wants '%s' and an earlier one '%s'; all arms share one verifier",
                          path, name, verifier, set->verifier);
    if (verifier && strlen(verifier) < sizeof set->verifier)
        snprintf(set->verifier, sizeof set->verifier, "%s", verifier);
    const lathe_proposer *p;
    if ((status = lathe_proposer_find(proposer, &p, NULL, err)))
        return status;
    return add_arm(set, name, source,
                   length > LENGTH_MAX || length < 0 ? -1
                   : length > 0                      ? (int32_t) length
                                                     : p->length,
                   err);
}

lathe_status lathe_spec_read_arms(const char *path, lathe_spec_choice_set *set, lathe_error *err) {
    json_t *list = NULL;
    lathe_status status = lathe_json_read(path, FILE_MAX_BYTES, &list, err);
    if (status)
        return status;
    begin_set(set);
    if (!json_is_array(list) || json_array_size(list) == 0)
        status = lathe_fail(
            err, LATHE_ERR_INPUT,
            "%s: want a list of arms: [{\"name\": \"s16\", \"proposer\": \"suffix\", \"len\": 16}]", path);
    for (size_t i = 0; !status && i < json_array_size(list); i++)
        status = arm_of_json(set, json_array_get(list, i), path, i, err);
    json_decref(list);
    if (status)
        lathe_spec_set_free(set);
    return status;
}
