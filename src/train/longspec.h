/* longspec.h - the inputs of LongSpec's training graph, which change from step to step. */
#ifndef LATHE_TRAIN_LONGSPEC_H
#define LATHE_TRAIN_LONGSPEC_H

#include "model/longspec.h"
#include "train/task.h"

/* Positions of `rows` sequences of n: all but the first `anchors` are moved on by offset. */
void lathe_longspec_positions(int32_t rows, int32_t n, int32_t anchors, int32_t offset, int32_t *pos);
/* mask[n][n]: query q sees target keys 0 .. q - shift; seen[rows * n] is 0 where that is none (the mask then
 * lets key 0 through, for a softmax of something), else 1. */
void lathe_longspec_cross_mask(int32_t rows, int32_t n, int32_t shift, float *mask, float *seen);
/* mask[n][n]: query q sees own keys q - window .. q. */
void lathe_longspec_self_mask(int32_t n, int32_t window, float *mask);

/* The task, for lathe_train_run_task and lathe_net_open, and what is behind it. */
typedef struct lathe_longspec_teaching lathe_longspec_teaching;
LATHE_NODISCARD lathe_status lathe_longspec_teaching_new(const lathe_longspec_params *params,
                                                         const lathe_train_params *train,
                                                         lathe_longspec_teaching **teaching,
                                                         lathe_error *err);
void lathe_longspec_teaching_free(lathe_longspec_teaching *teaching);
const lathe_train_task *lathe_longspec_task(const lathe_longspec_teaching *teaching);
/* Another shift and offset by hand, before a loss or a gradient of the task's net. */
void lathe_longspec_set(lathe_longspec_teaching *teaching, int32_t shift, int32_t offset);

#endif
