/* run.h - the state of one training run, and the parts of its loop. */
#ifndef LATHE_TRAIN_RUN_H
#define LATHE_TRAIN_RUN_H

#include "train/checkpoint.h"
#include "train/comm.h"
#include "train/net.h"
#include "train/task.h"

struct lathe_gguf;

enum { LATHE_RUN_FIELDS = 1 << 20 };

/* What becomes of one tensor. */
typedef struct lathe_run_tensor {
    lathe_optim optim;
    double lr;
    int32_t group; /* index; -1: hidden matrices, -2: others */
    int64_t rows, cols;
    int32_t owner; /* process that steps it; -1: all do */
} lathe_run_tensor;

typedef struct lathe_run {
    const lathe_train_params *p;
    const lathe_train_task *task; /* NULL: the plain model */
    lathe_desc desc;
    lathe_net *net, *teacher;
    struct lathe_gguf *init;
    lathe_tokens *data, *eval_data;
    lathe_checkpoint at;
    lathe_run_tensor *tensors; /* [n] */
    float **grads;             /* [n] sums over micro-batches; the net's own where there is one micro-batch */
    float **sums;              /* [n] memory for them; NULL: one micro-batch */
    int32_t *batch;            /* [rows][ctx + 1] */
    size_t n;
    lathe_comm *comm; /* NULL: alone */
    double *exact;    /* [largest tensor ...] sums in double; NULL: --reduce fast */
    double eval_loss, kl;
    float **before;    /* [n] weights before an observed step; NULL: no observer */
    int32_t *observed; /* its whole batch */
    char *fields;      /* [LATHE_RUN_FIELDS] what the observer adds to the row */
    bool listing;      /* nothing is written */
} lathe_run;

/* --- setup.c ---------------------------------------------------------------------------------------- */

/* Checks parameters and files, builds the nets and loads the newest checkpoint; close in any case. */
LATHE_NODISCARD lathe_status lathe_run_open(lathe_run *r, lathe_error *err);
void lathe_run_close(lathe_run *r);
/* The file whose tokenizer the model carries, or NULL. */
const char *lathe_run_tokenizer(const lathe_run *r);

/* --- groups.c --------------------------------------------------------------------------------------- */

/* Fills r->tensors for the n tensors of list. */
LATHE_NODISCARD lathe_status lathe_run_group(lathe_run *r, const lathe_desc_tensor *list, size_t n,
                                             lathe_error *err);
const char *lathe_run_group_name(const lathe_run *r, size_t i);

/* --- divide.c --------------------------------------------------------------------------------------- */

/* Gives each matrix with a costly optimiser to a process. */
LATHE_NODISCARD lathe_status lathe_run_divide(lathe_run *r, lathe_error *err);
bool lathe_run_owns(const lathe_run *r, size_t i);
/* From the owners to all; every process calls them. */
void lathe_run_share_weights(lathe_run *r);
void lathe_run_share_states(lathe_run *r);

/* --- step.c ----------------------------------------------------------------------------------------- */

/* One step, t from 1: mean loss over its tokens and norm of the gradient before clipping. */
LATHE_NODISCARD lathe_status lathe_run_step(lathe_run *r, int64_t t, double *loss, double *norm,
                                            lathe_error *err);
/* Before and after a step that the observer wants to see. */
void lathe_run_before(lathe_run *r, int64_t t);
LATHE_NODISCARD lathe_status lathe_run_after(lathe_run *r, int64_t t, lathe_error *err);
/* Mean loss over windows spread evenly over the evaluation file. */
LATHE_NODISCARD lathe_status lathe_run_evaluate(lathe_run *r, double *loss, lathe_error *err);
/* The same with the averaged weights. */
LATHE_NODISCARD lathe_status lathe_run_evaluate_average(lathe_run *r, double *loss, lathe_error *err);

/* --- report.c --------------------------------------------------------------------------------------- */

/* Writes report.html beside metrics.jsonl. */
LATHE_NODISCARD lathe_status lathe_run_report(const lathe_run *r, lathe_error *err);

#endif
