/* optim.h - the kinds of optimisers behind lathe_optim_step: each updates one tensor in place. */
#ifndef LATHE_TRAIN_OPTIM_H
#define LATHE_TRAIN_OPTIM_H

#include "lathe/train.h"

/* One tensor at one step. */
typedef struct lathe_optim_task {
    const lathe_optim *optim;
    const char *name;
    float *w, *state;
    const float *g;
    int64_t rows, cols, n; /* n = rows * cols */
    int64_t t;
    double lr;
} lathe_optim_task;

lathe_status lathe_optim_elementwise(const lathe_optim_task *task);
lathe_status lathe_optim_muon(const lathe_optim_task *task, lathe_error *err);
lathe_status lathe_optim_shampoo(const lathe_optim_task *task, lathe_error *err);
lathe_status lathe_optim_soap(const lathe_optim_task *task, lathe_error *err);
/* w <- w (1 - lr wd). */
void lathe_optim_decay(const lathe_optim_task *task);

#endif
