/* task.h - what the training loop learns where it is no plain model: own tensors, inputs that change from
 * step to step, a file of its own. The loop, its checkpoints and its metrics are the same. */
#ifndef LATHE_TRAIN_TASK_H
#define LATHE_TRAIN_TASK_H

#include "base/buf.h"
#include "lathe/train.h"
#include "train/net.h"

typedef struct lathe_train_task {
    lathe_net_task net;
    const lathe_desc *desc; /* gives the vocabulary */
    /* Lines "name=value" that must be equal for a run to go on. */
    lathe_status (*settings)(void *user, lathe_buf *lines, lathe_error *err);
    /* Before the gradient of a micro-batch of a step (from 0), and before an evaluation's batch (step -1):
     * from the seed and these alone, so that a resumed run does the same. */
    void (*prepare)(void *user, uint64_t seed, int64_t step, int32_t micro);
    lathe_status (*write)(void *user, const char *path, const lathe_net *net, float *const *values,
                          lathe_error *err);
    /* After the last step; eval_data may be NULL, batch has room for [rows][n_ctx + 1] tokens. May be NULL.
     */
    lathe_status (*finish)(void *user, lathe_net *net, const lathe_tokens *eval_data, int32_t *batch,
                           lathe_error *err);
    void *user;
} lathe_train_task;

/* task NULL: lathe_train_run. Of params, what describes a model is then unused but n_ctx. */
LATHE_NODISCARD lathe_status lathe_train_run_task(const lathe_train_params *params,
                                                  const lathe_train_task *task, lathe_train_result *result,
                                                  lathe_error *err);

#endif
