/* dropout.c - dropout whose mask is a function of seed, step, token, layer and channel (learning.md D.b): the
 * same at any split of the batch, and computed again instead of kept. */
#include <string.h>

#include "base/rng_purpose.h"
#include "tensor/fused.h"

typedef struct ggml_tensor T;

enum { CHANNELS = 65536 };

void lathe_dropout_op(T *dst, int ith, int nth, void *user) {
    const lathe_dropout *d = user;
    const T *x = dst->src[0];
    int64_t n = x->ne[0], rows = ggml_nrows(x);
    uint32_t branch = (uint32_t) dst->op_params[14];
    float up = (float) (1 / (1 - d->p));
    for (int64_t i = rows * ith / nth; i < rows * (ith + 1) / nth; i++) {
        const float *from = (const float *) x->data + i * n;
        float *to = (float *) dst->data + i * n;
        if (!(d->p > 0)) {
            memcpy(to, from, (size_t) n * sizeof *to);
            continue;
        }
        for (int64_t k = 0; k < n; k += 4) {
            uint32_t word[4];
            lathe_philox(d->seed, LATHE_RNG_DROPOUT, (uint32_t) d->step, (uint32_t) (d->first_token + i),
                         branch * CHANNELS + (uint32_t) (k / 4), word);
            for (int64_t j = 0; j < 4 && k + j < n; j++)
                to[k + j] = (word[j] >> 8) * 0x1p-24 >= d->p ? from[k + j] * up : 0.0f;
        }
    }
}

T *lathe_fused_dropout(lathe_dropout *d, struct ggml_context *ctx, T *x, int32_t layer, int32_t branch) {
    if (x->type != GGML_TYPE_F32 || !ggml_is_contiguous(x))
        return NULL;
    T *args[] = {x};
    T *y = ggml_custom_4d(ctx, GGML_TYPE_F32, x->ne[0], x->ne[1], x->ne[2], x->ne[3], args, 1,
                          lathe_dropout_op, GGML_N_TASKS_MAX, d);
    y->op_params[14] = 2 * layer + branch;
    return y;
}

T *lathe_fused_dropout_again(struct ggml_context *ctx, T *y, T *x) {
    T *args[] = {x};
    T *z = ggml_custom_4d(ctx, GGML_TYPE_F32, x->ne[0], x->ne[1], x->ne[2], x->ne[3], args, 1,
                          lathe_dropout_op, GGML_N_TASKS_MAX, NULL);
    memcpy(z->op_params, y->op_params, sizeof z->op_params);
    return z;
}
