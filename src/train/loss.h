/* loss.h - cross entropy from logits as two custom ops: statistics of each row, then the gradient in the
 * logits' own memory. Neither one-hot labels nor probabilities are ever stored (learning.md D.e). */
#ifndef LATHE_TRAIN_LOSS_H
#define LATHE_TRAIN_LOSS_H

#include <ggml.h>

#include "lathe/base.h"

/* The objective of a counted row: (1 - soft) CE + soft KL(teacher || model) + z lse^2, with
 * CE = lse - (1 - smoothing) logit[target] - smoothing mean(logits). */
typedef struct lathe_loss {
    double soft;      /* share of the teacher; 0: none */
    double z;         /* weight of the squared log-partition (PaLM's z-loss) */
    double smoothing; /* of the labels, in [0, 1) */
    bool apart;       /* the gradient has memory of its own: logits lie on a device, these ops do not */
} lathe_loss;

enum { LATHE_LOSS_CE, LATHE_LOSS_KL, LATHE_LOSS_LSE, LATHE_LOSS_COUNTED, LATHE_LOSS_FIELDS };

/* [LATHE_LOSS_FIELDS, N] of logits [V, N] and targets i32 [N] (-1: the row does not count). CE is that of the
 * label alone, without smoothing. teacher: logits [V, N], or NULL. loss is borrowed by the graph. */
struct ggml_tensor *lathe_loss_rows(struct ggml_context *ctx, struct ggml_tensor *logits,
                                    struct ggml_tensor *targets, struct ggml_tensor *teacher,
                                    lathe_loss *loss);
/* The gradient of sum(objective) / n_all, written over the logits unless loss->apart. rows: of
 * lathe_loss_rows. n_all: N, or that of the whole batch where these are a part of it. */
struct ggml_tensor *lathe_loss_gradient(struct ggml_context *ctx, struct ggml_tensor *logits,
                                        struct ggml_tensor *rows, struct ggml_tensor *targets,
                                        struct ggml_tensor *teacher, int64_t n_all, lathe_loss *loss);

#endif
