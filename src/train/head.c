/* head.c - see head.h. */
#include "train/head.h"

#include <stdlib.h>

#include "lathe/tensor.h"
#include "tensor/fused.h"

typedef struct ggml_tensor T;

int64_t lathe_head_part(int64_t n_vocab) {
    const int64_t bytes = 16 << 20, least = 128, part = bytes / (n_vocab * (int64_t) sizeof(float));
    return part > least ? part : least;
}

/* All of them side by side along dim 1, pair by pair: each value is copied a few times, not once a part. */
static T *join(struct ggml_context *ctx, T **x, int64_t n) {
    for (; n > 1; n = (n + 1) / 2)
        for (int64_t i = 0; i < n / 2 + n % 2; i++)
            x[i] = 2 * i + 1 < n ? ggml_concat(ctx, x[2 * i], x[2 * i + 1], 1) : x[2 * i];
    return x[0];
}

static T *add_onto(struct ggml_context *ctx, T *sum, T *g) {
    if (sum == NULL || g == NULL)
        return sum == NULL ? g : sum;
    T *onto = lathe_fused_product_dw_onto(ctx, sum, g);
    return onto != NULL ? onto : ggml_add(ctx, sum, g);
}

/* The part's gradients: of its hidden vectors, and added to those of the output matrix. */
static lathe_status differentiate(lathe_head *h, T *hidden, T *logits, T *rows, T *targets, T **d_hidden,
                                  lathe_error *err) {
    lathe_build *b = h->build;
    T *params[3] = {hidden, b->w->output, b->w->output_b}, *grads[3] = {NULL};
    T *seed = lathe_loss_gradient(b->ctx, logits, rows, targets, NULL, h->targets->ne[0], h->loss);
    lathe_status status = lathe_tensor_vjp(b->ctx, &logits, &seed, 1, params, params[2] != NULL ? 3 : 2,
                                           &(lathe_diff_opts){.fused = true}, grads, err);
    if (status != LATHE_OK)
        return status;
    h->d_output = add_onto(b->ctx, h->d_output, grads[1]);
    h->d_bias = add_onto(b->ctx, h->d_bias, grads[2]);
    ggml_build_forward_expand(b->gf, grads[0]);
    ggml_build_forward_expand(b->gf, h->d_output);
    if (h->d_bias != NULL)
        ggml_build_forward_expand(b->gf, h->d_bias);
    *d_hidden = grads[0];
    return LATHE_OK;
}

lathe_status lathe_head_build(lathe_head *h, bool gradients, lathe_error *err) {
    lathe_build *b = h->build;
    const int64_t n = b->hidden->ne[1], parts = (n + h->part - 1) / h->part;
    T **rows = calloc((size_t) (2 * parts), sizeof(T *)), **slopes = rows + parts;
    if (rows == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %lld parts of a batch", (long long) parts);
    lathe_status status = LATHE_OK;
    h->d_output = h->d_bias = NULL;
    for (int64_t i = 0; i < parts && status == LATHE_OK; i++) {
        const int64_t from = i * h->part, count = n - from < h->part ? n - from : h->part;
        T *hidden = ggml_view_2d(b->ctx, b->hidden, b->hidden->ne[0], count, b->hidden->nb[1],
                                 (size_t) from * b->hidden->nb[1]);
        T *targets = ggml_view_1d(b->ctx, h->targets, count, (size_t) from * sizeof(int32_t));
        T *logits = lathe_build_head(b, hidden);
        rows[i] = lathe_loss_rows(b->ctx, logits, targets, NULL, h->loss);
        ggml_build_forward_expand(b->gf, rows[i]);
        if (gradients)
            status = differentiate(h, hidden, logits, rows[i], targets, &slopes[i], err);
    }
    if (status == LATHE_OK) {
        h->rows = join(b->ctx, rows, parts);
        h->d_hidden = gradients ? join(b->ctx, slopes, parts) : NULL;
    }
    free(rows);
    return status;
}
