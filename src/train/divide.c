/* divide.c - optimiser steps of matrices divided among processes (learning.md D.g): a matrix is stepped by
 * one of them, which hands the new weights to the others; its optimiser state stays there until a checkpoint
 * needs it. What works element by element (AdamW, ...) costs less than sending its result, and is done by
 * all. */
#include <stdlib.h>

#include "train/run.h"

static bool is_divided(const lathe_run_tensor *t) {
    return t->optim.kind == LATHE_OPTIM_MUON || t->optim.kind == LATHE_OPTIM_SHAMPOO ||
           t->optim.kind == LATHE_OPTIM_SOAP;
}

/* Multiplications of one orthogonalisation, up to a factor; the other optimisers' grow alike. */
static double cost_of(const lathe_run_tensor *t) {
    double p = (double) (t->rows < t->cols ? t->rows : t->cols),
           q = (double) (t->rows < t->cols ? t->cols : t->rows);
    return 4 * p * p * q + 2 * p * p * p;
}

lathe_status lathe_run_divide(lathe_run *r, lathe_error *err) {
    const int32_t size = lathe_comm_size(r->comm);
    for (size_t i = 0; i < r->n; i++)
        r->tensors[i].owner = -1;
    if (size < 2)
        return LATHE_OK;
    double *load = calloc((size_t) size, sizeof *load);
    if (load == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %d processes", size);
    for (;;) { /* the costliest matrix that is left, to the process with least to do */
        size_t next = r->n;
        for (size_t i = 0; i < r->n; i++)
            if (is_divided(&r->tensors[i]) && r->tensors[i].owner < 0 &&
                (next == r->n || cost_of(&r->tensors[i]) > cost_of(&r->tensors[next])))
                next = i;
        if (next == r->n)
            break;
        int32_t idle = 0;
        for (int32_t k = 1; k < size; k++)
            if (load[k] < load[idle])
                idle = k;
        r->tensors[next].owner = idle;
        load[idle] += cost_of(&r->tensors[next]);
    }
    free(load);
    return LATHE_OK;
}

bool lathe_run_owns(const lathe_run *r, size_t i) {
    return r->tensors[i].owner < 0 || r->tensors[i].owner == lathe_comm_rank(r->comm);
}

void lathe_run_share_weights(lathe_run *r) {
    for (size_t i = 0; i < r->n; i++)
        if (r->tensors[i].owner >= 0)
            lathe_comm_share(r->comm, lathe_net_weights(r->net, i), lathe_net_size(r->net, i),
                             r->tensors[i].owner);
}

void lathe_run_share_states(lathe_run *r) {
    for (size_t i = 0; i < r->n; i++)
        if (r->tensors[i].owner >= 0)
            lathe_comm_share(r->comm, r->at.state[i], (int64_t) r->at.state_size[i], r->tensors[i].owner);
}
