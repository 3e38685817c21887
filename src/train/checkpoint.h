/* checkpoint.h - a run's folder: checkpoints that are complete or absent, whatever moment the process dies.
 */
#ifndef LATHE_TRAIN_CHECKPOINT_H
#define LATHE_TRAIN_CHECKPOINT_H

#include "lathe/train.h"
#include "train/net.h"

/* What is saved besides the weights. */
typedef struct lathe_checkpoint {
    int64_t step, tokens;
    int64_t saved;    /* step of the newest checkpoint on the disk; 0: none */
    double best_kept; /* that of the best checkpoint on the disk, and its step (0: none), which is kept */
    int64_t best_step;
    int64_t stale;      /* evaluations since the best one */
    double best;        /* lowest evaluation loss; HUGE_VAL: none */
    char *settings;     /* lines "name=value" */
    char *kernels;      /* of lathe_net_kernels; NULL: not chosen yet */
    float **state;      /* [n] of lathe_net_n_tensors; NULL where state_size is 0 */
    size_t *state_size; /* [n] floats */
    float **average;    /* [n] or NULL: the exponential average of the weights */
    /* Writes the weights where they are no plain model's; NULL: lathe_model_write. */
    lathe_status (*write)(void *user, const char *path, const lathe_net *net, float *const *values,
                          lathe_error *err);
    void *user;
} lathe_checkpoint;

/* Writes a model file: description, tokenizer of the file `tokenizer` (NULL: none), tensors in f32. */
LATHE_NODISCARD lathe_status lathe_model_write(const char *path, const lathe_desc *desc, const lathe_net *net,
                                               float *const *values, const char *name, const char *tokenizer,
                                               lathe_error *err);

/* Writes folder/checkpoint-<step> and removes the oldest beyond `keep`. */
LATHE_NODISCARD lathe_status lathe_checkpoint_save(const char *folder, lathe_checkpoint *c,
                                                   const lathe_desc *desc, const lathe_net *net,
                                                   const char *name, const char *tokenizer, int32_t keep,
                                                   lathe_error *err);

/* Fills net and c from the newest complete checkpoint; c->step stays 0 where there is none. ARG where its
 * settings differ from c->settings, with the first line that does; INPUT naming the file where a checksum
 * does not fit. */
LATHE_NODISCARD lathe_status lathe_checkpoint_load(const char *folder, lathe_checkpoint *c, lathe_net *net,
                                                   const lathe_logger *logger, lathe_error *err);

#endif
