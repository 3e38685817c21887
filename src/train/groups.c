/* groups.c - which optimiser a tensor gets: the first pattern that matches, else by its role. */
#include <stdlib.h>
#include <string.h>

#include "base/pattern.h"
#include "train/run.h"

static bool is_hidden(const lathe_desc_tensor *t) {
    return t->role == LATHE_ROLE_MATRIX || t->role == LATHE_ROLE_RESIDUAL;
}

static bool wants_matrix(lathe_optim_kind kind) {
    return kind == LATHE_OPTIM_MUON || kind == LATHE_OPTIM_SHAMPOO || kind == LATHE_OPTIM_SOAP;
}

static bool takes(const lathe_optim *o, const lathe_desc_tensor *t) {
    return !wants_matrix(o->kind) ||
           (o->kind == LATHE_OPTIM_MUON ? is_hidden(t) && t->n_dims >= 2 : t->n_dims >= 2);
}

static lathe_status refuse(const lathe_train_group *g, const lathe_desc_tensor *t, lathe_error *err) {
    const char *name = lathe_optim_name(g->optim.kind);
    if (t->n_dims < 2)
        return lathe_fail(err, LATHE_ERR_ARG, "%s is a vector (%lld): %s takes matrices; use adamw", t->name,
                          (long long) t->ne[0], name);
    return lathe_fail(err, LATHE_ERR_ARG,
                      "%s is an embedding or the output: %s takes hidden matrices; use adamw", t->name, name);
}

lathe_status lathe_run_group(lathe_run *r, const lathe_desc_tensor *list, size_t n, lathe_error *err) {
    const lathe_train_params *p = r->p;
    size_t *matched = calloc(p->n_groups + 1, sizeof *matched);
    r->tensors = calloc(n + 1, sizeof *r->tensors);
    if (matched == NULL || r->tensors == NULL) {
        free(matched);
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %zu tensors", n);
    }
    lathe_status status = LATHE_OK;
    for (size_t g = 0; g < p->n_groups && status == LATHE_OK; g++) {
        status = lathe_pattern_check(p->groups[g].match, err);
        if (status == LATHE_OK)
            status = lathe_optim_check(&p->groups[g].optim, err);
        if (status == LATHE_OK && !(p->groups[g].lr >= 0))
            status =
                lathe_fail(err, LATHE_ERR_ARG, "optimizer group '%s': a negative rate", p->groups[g].match);
    }
    const lathe_desc_tensor *passed = NULL;
    size_t passed_by = 0;
    for (size_t i = 0; i < n && status == LATHE_OK; i++) {
        const lathe_desc_tensor *t = &list[i];
        lathe_run_tensor *out = &r->tensors[i];
        int64_t size = t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3];
        out->rows = t->n_dims < 2 ? 1 : size / t->ne[0];
        out->cols = size / out->rows;
        out->group = is_hidden(t) ? -1 : -2;
        out->optim = is_hidden(t) ? p->matrix : p->other;
        out->lr = is_hidden(t) || p->lr_other <= 0 ? p->lr : p->lr_other;
        if (!takes(&out->optim, t)) { /* a hidden layer's bias */
            out->optim = p->other;
            out->lr = p->lr_other > 0 ? p->lr_other : p->lr;
        }
        for (size_t g = 0; g < p->n_groups && out->group < 0 && status == LATHE_OK; g++) {
            if (!lathe_pattern_matches(p->groups[g].match, t->name))
                continue;
            if (!takes(&p->groups[g].optim, t)) {
                if (lathe_pattern_is_literal(p->groups[g].match))
                    status = refuse(&p->groups[g], t, err);
                passed = t;
                passed_by = g;
                continue;
            }
            matched[g]++;
            out->group = (int32_t) g;
            out->optim = p->groups[g].optim;
            out->lr = p->groups[g].lr > 0 ? p->groups[g].lr : p->lr;
        }
        if (t->n_dims < 2)
            out->optim.weight_decay = 0;
    }
    for (size_t g = 0; g < p->n_groups && status == LATHE_OK; g++)
        if (matched[g] == 0 && passed != NULL && passed_by == g)
            status = refuse(&p->groups[g], passed, err);
        else if (matched[g] == 0)
            status = lathe_fail(
                err, LATHE_ERR_ARG,
                "optimizer group '%s' gets no tensor (names are like '%s'; an earlier group may have "
                "taken all)",
                p->groups[g].match, list[n > 1 ? 1 : 0].name);
    free(matched);
    return status;
}

const char *lathe_run_group_name(const lathe_run *r, size_t i) {
    int32_t g = r->tensors[i].group;
    return g >= 0 ? r->p->groups[g].match : g == -1 ? "matrix" : "other";
}

lathe_status lathe_train_list(const lathe_train_params *params,
                              void (*see)(void *user, const lathe_train_tensor *tensor), void *user,
                              lathe_error *err) {
    lathe_train_params quiet = *params;
    quiet.resume = false;
    quiet.eval_data = quiet.distill = NULL;
    quiet.rows = quiet.accum = 1;
    lathe_run r = {.p = &quiet, .listing = true};
    lathe_status status = lathe_run_open(&r, err);
    for (size_t i = 0; i < r.n && status == LATHE_OK; i++) {
        const lathe_desc_tensor *t = lathe_net_tensor(r.net, i);
        lathe_train_tensor out = {.name = t->name,
                                  .n_dims = t->n_dims,
                                  .group = lathe_run_group_name(&r, i),
                                  .optim = r.tensors[i].optim,
                                  .lr = r.tensors[i].lr,
                                  .state_bytes = r.at.state_size[i] * sizeof(float)};
        memcpy(out.ne, t->ne, sizeof out.ne);
        see(user, &out);
    }
    lathe_run_close(&r);
    return status;
}
