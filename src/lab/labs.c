/* labs.c - the table of labs, in the order of `lathe lab`: one line each. */
#include <string.h>

#include "lab/lab.h"

extern const lathe_lab_entry lathe_lab_active_lathe;
extern const lathe_lab_entry lathe_lab_robust_trees;
extern const lathe_lab_entry lathe_lab_muon_curvature;
extern const lathe_lab_entry lathe_lab_muon_tail;
extern const lathe_lab_entry lathe_lab_banditspec;
extern const lathe_lab_entry lathe_lab_cool_sd;
extern const lathe_lab_entry lathe_lab_longspec;
extern const lathe_lab_entry lathe_lab_std;

const lathe_lab_entry *const lathe_labs[] = {
    &lathe_lab_muon_curvature, &lathe_lab_muon_tail,    &lathe_lab_banditspec,
    &lathe_lab_cool_sd,        &lathe_lab_longspec,     &lathe_lab_std,
    &lathe_lab_active_lathe,   &lathe_lab_robust_trees, NULL,
};

size_t lathe_lab_count(void) {
    return LATHE_LEN(lathe_labs) - 1;
}

const lathe_lab_info *lathe_lab_at(size_t i) {
    return i < lathe_lab_count() ? &lathe_labs[i]->info : NULL;
}

const lathe_lab_info *lathe_lab_find(const char *name) {
    for (size_t i = 0; lathe_labs[i]; i++)
        if (strcmp(lathe_labs[i]->info.name, name) == 0)
            return &lathe_labs[i]->info;
    return NULL;
}
