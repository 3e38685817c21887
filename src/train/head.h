/* head.h - logits, loss and their gradient in parts of a batch, so that no more than a part's logits exist at
 * a time (learning.md D.e). */
#ifndef LATHE_TRAIN_HEAD_H
#define LATHE_TRAIN_HEAD_H

#include "model/build.h"
#include "train/loss.h"

/* Tokens whose logits take about 16 MiB, at least 128: with fewer a weight's gradient, which every part is
 * added to, costs more than the products. */
int64_t lathe_head_part(int64_t n_vocab);

typedef struct lathe_head {
    lathe_build *build; /* with `hidden` [d, N] */
    struct ggml_tensor *targets;
    int64_t part;
    lathe_loss *loss;
    /* What it makes; the gradients where they are asked for. */
    struct ggml_tensor *rows;              /* [LATHE_LOSS_FIELDS, N] */
    struct ggml_tensor *d_hidden;          /* [d, N] */
    struct ggml_tensor *d_output, *d_bias; /* of the output matrix and its bias (NULL: it has none) */
} lathe_head;

/* Expands each part into build->gf before the next begins. */
LATHE_NODISCARD lathe_status lathe_head_build(lathe_head *head, bool gradients, lathe_error *err);

#endif
