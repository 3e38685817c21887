/* curvature_step.c - the step along which `lathe curvature` measures: an optimiser's own code on a copy of
 * the weights, or the difference of two files. */
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "cli/curvature_args.h"
#include "lathe/train.h"

static const char *const updates[] = {"gradient", "sgd",     "signsgd", "lion", "muon",
                                      "adamw",    "shampoo", "soap",    NULL};

/* z of tensor i: the optimiser's own code on a copy of the weights. */
static lathe_status step_of_tensor(const curvature_args *a, const lathe_curve *c, size_t i,
                                   lathe_optim_kind kind, const lathe_train_state *state, const float *g,
                                   float *z, lathe_error *err) {
    int64_t rows, cols;
    size_t at = lathe_curve_tensor_at(c, i, &rows, &cols), n = (size_t) (rows * cols), n_saved = 0;
    const char *name = lathe_curve_tensor_name(c, i);
    bool wants_matrix = kind == LATHE_OPTIM_MUON || kind == LATHE_OPTIM_SHAMPOO || kind == LATHE_OPTIM_SOAP;
    lathe_optim o =
        lathe_optim_default(wants_matrix && !lathe_curve_is_hidden(c, i) ? LATHE_OPTIM_ADAMW : kind);
    o.weight_decay = rows > 1 ? a->weight_decay : 0;
    size_t n_state = lathe_optim_state_size(&o, rows, cols);
    const float *saved = state != NULL ? lathe_train_state_of(state, name, &n_saved) : NULL;
    if (state != NULL && n_state > 0 && n_saved != n_state)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: the state of '%s' has %zu numbers, %s keeps %zu",
                          a->state, name, n_saved, lathe_optim_name(o.kind), n_state);
    float *memory = calloc(n_state + n + 1, sizeof *memory), *w = memory + n_state;
    if (memory == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the state of '%s'", name);
    memcpy(w, lathe_curve_weights(c) + at, n * sizeof *w);
    int64_t t = state != NULL ? lathe_train_state_step(state) : 0;
    if (saved != NULL)
        memcpy(memory, saved, n_state * sizeof *memory);
    lathe_status status = LATHE_OK;
    for (int64_t k = 0; state == NULL && k < a->warm && status == LATHE_OK; k++)
        status = lathe_optim_step(&o, name, w, g + at, memory, rows, cols, ++t, 0, err);
    if (status == LATHE_OK)
        status = lathe_optim_step(&o, name, w, g + at, memory, rows, cols, t + 1, a->lr, err);
    for (size_t k = 0; k < n; k++)
        z[at + k] = lathe_curve_weights(c)[at + k] - w[k];
    free(memory);
    return status;
}

/* theta before minus theta after, of a file. */
static lathe_status step_from_file(const curvature_args *a, const lathe_curve *c, float *z,
                                   lathe_error *err) {
    lathe_curve *after;
    int32_t tokens[3] = {0};
    lathe_status status = lathe_curve_new(a->update, tokens, 1, 2, 1, &after, NULL, err);
    if (status != LATHE_OK)
        return status;
    for (size_t i = 0; i < lathe_curve_n_tensors(c) && status == LATHE_OK; i++) {
        int64_t rows, cols, other_rows = 0, other_cols = 0;
        (void) lathe_curve_tensor_at(c, i, &rows, &cols);
        if (i < lathe_curve_n_tensors(after))
            (void) lathe_curve_tensor_at(after, i, &other_rows, &other_cols);
        if (rows != other_rows || cols != other_cols)
            status = lathe_fail(err, LATHE_ERR_INPUT, "%s: %s: shape %lldx%lld expected", a->update,
                                lathe_curve_tensor_name(c, i), (long long) cols, (long long) rows);
    }
    for (size_t k = 0; status == LATHE_OK && k < lathe_curve_n(c); k++)
        z[k] = lathe_curve_weights(c)[k] - lathe_curve_weights(after)[k];
    lathe_curve_free(after);
    return status;
}

lathe_status lathe_curvature_step(const curvature_args *a, const lathe_curve *c, const float *g, float *z,
                                  curvature_findings *f, lathe_error *err) {
    int32_t which = -1;
    for (int32_t i = 0; updates[i] != NULL; i++)
        if (strcmp(a->update, updates[i]) == 0)
            which = i;
    if (which < 0) {
        const char *near = lathe_nearest_name(a->update, updates);
        if (near != NULL && strchr(a->update, '.') == NULL)
            return lathe_fail(err, LATHE_ERR_ARG, "--update %s: no such optimiser; did you mean '%s'?",
                              a->update, near);
        return step_from_file(a, c, z, err);
    }
    if (which == 0) {
        for (size_t k = 0; k < lathe_curve_n(c); k++)
            z[k] = (float) (a->lr * (double) g[k]);
        return LATHE_OK;
    }
    lathe_optim_kind kind = LATHE_OPTIM_SGD;
    while (strcmp(lathe_optim_name(kind), updates[which]) != 0)
        kind = (lathe_optim_kind) (kind + 1);
    lathe_train_state *state = NULL;
    lathe_status status = a->state != NULL ? lathe_train_state_open(a->state, &state, err) : LATHE_OK;
    if (state != NULL)
        f->step_of_state = lathe_train_state_step(state);
    for (size_t i = 0; i < lathe_curve_n_tensors(c) && status == LATHE_OK; i++)
        status = step_of_tensor(a, c, i, kind, state, g, z, err);
    lathe_train_state_close(state);
    return status;
}
