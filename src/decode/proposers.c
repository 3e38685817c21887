/* proposers.c - the table of proposers. */
#include "decode/proposer.h"

#include <stdio.h>
#include <string.h>

const lathe_proposer *const lathe_proposers[] = {
    &lathe_proposer_lookup,  &lathe_proposer_suffix, &lathe_proposer_ngram, &lathe_proposer_mod,
    &lathe_proposer_recycle, &lathe_proposer_draft,  &lathe_proposer_std,   &lathe_proposer_longspec,
};
const size_t lathe_n_proposers = LATHE_LEN(lathe_proposers);

lathe_proposer_params lathe_proposer_params_default(void) {
    return (lathe_proposer_params){.ngram_min = 1,
                                   .ngram_max = 3,
                                   .match_min = 2,
                                   .match_factor = 1.0,
                                   .p_min = 0.1,
                                   .frequency = true,
                                   .recycle_k = 8,
                                   .std_budget = 1024,
                                   .std_queries = 64};
}

lathe_status lathe_proposer_find(const char *name, const lathe_proposer **proposer, const char **file,
                                 lathe_error *err) {
    char names[256] = "";
    const char *colon = strchr(name, ':');
    if (file)
        *file = NULL;
    for (size_t i = 0; i < lathe_n_proposers; i++)
        if (strcmp(lathe_proposers[i]->name, name) == 0) {
            *proposer = lathe_proposers[i];
            return LATHE_OK;
        }
    for (size_t i = 0; i < lathe_n_proposers; i++) {
        const lathe_proposer *p = lathe_proposers[i];
        if (p->takes_file && colon && colon[1] && strlen(p->name) == (size_t) (colon - name) &&
            strncmp(p->name, name, (size_t) (colon - name)) == 0) {
            *proposer = p;
            if (file)
                *file = colon + 1;
            return LATHE_OK;
        }
        const size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s%s", i ? ", " : "", p->name, p->slow ? ":FILE" : "");
    }
    return lathe_fail(err, LATHE_ERR_ARG, "no proposer '%s'; there are %s", name, names);
}

const char *lathe_proposer_name(size_t i) {
    return i < lathe_n_proposers ? lathe_proposers[i]->name : NULL;
}
