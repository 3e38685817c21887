/* small_net.h - the network of the labs on optimisers: a pre-norm decoder with learned positions, RMSNorm
 * without gain, SiLU without gate, no biases, an untied head; its gradient and its exact Hessian-vector
 * products by tensor/'s transforms.
 *
 * Initial weights: normal(0, 0.02) for embeddings, positions and head, normal(0, 1 / fan in) for hidden
 * matrices, those that write to the residual stream also over sqrt(2 layers). */
#ifndef LATHE_LAB_SMALL_NET_H
#define LATHE_LAB_SMALL_NET_H

#include "lathe/base.h"

typedef struct lathe_small_net lathe_small_net;

typedef enum lathe_small_part {
    LATHE_SMALL_EMBD,
    LATHE_SMALL_POSITION,
    LATHE_SMALL_Q,
    LATHE_SMALL_K,
    LATHE_SMALL_V,
    LATHE_SMALL_O,
    LATHE_SMALL_IN,
    LATHE_SMALL_OUT,
    LATHE_SMALL_HEAD,
    LATHE_SMALL_PARTS
} lathe_small_part;

typedef struct lathe_small_shape {
    int32_t n_vocab, n_embd, n_layer, n_head, n_ff;
    int32_t ctx, rows; /* tokens of a sequence, sequences of a batch */
    bool last_only;    /* logits and loss at the last position alone */
    bool products;     /* Hessian-vector products are wanted */
} lathe_small_shape;

typedef struct lathe_small_tensor {
    lathe_small_part part;
    int32_t layer;      /* 0 embeddings and positions, 1 .. n blocks, n + 1 head */
    int64_t rows, cols; /* row-major; rows = outputs */
    size_t at;          /* first element in the flat vectors below */
    const char *name;
} lathe_small_tensor;

LATHE_NODISCARD lathe_status lathe_small_net_new(const lathe_small_shape *shape, lathe_small_net **net,
                                                 lathe_error *err);
void lathe_small_net_free(lathe_small_net *net);
void lathe_small_net_init(lathe_small_net *net, uint64_t seed);

size_t lathe_small_net_n(const lathe_small_net *net); /* parameters */
size_t lathe_small_net_n_tensors(const lathe_small_net *net);
const lathe_small_tensor *lathe_small_net_tensor(const lathe_small_net *net, size_t i);
/* Tensor i itself, [rows, cols]. */
float *lathe_small_net_weights(lathe_small_net *net, size_t i);
/* All weights as one vector [n]. */
void lathe_small_net_get(const lathe_small_net *net, float *out);
void lathe_small_net_set(lathe_small_net *net, const float *values);

/* The batch of what follows: tokens [rows][ctx]; targets [rows][ctx], or [rows] with last_only. */
LATHE_NODISCARD lathe_status lathe_small_net_batch(lathe_small_net *net, const int32_t *tokens,
                                                   const int32_t *targets, lathe_error *err);
/* Mean cross entropy in nats; logits [n_vocab] a scored position stay valid until the next call, may be NULL.
 */
LATHE_NODISCARD lathe_status lathe_small_net_loss(lathe_small_net *net, double *loss, const float **logits,
                                                  lathe_error *err);
/* Loss and gradient [n]. */
LATHE_NODISCARD lathe_status lathe_small_net_gradient(lathe_small_net *net, double *loss, float *gradient,
                                                      lathe_error *err);
/* out = H v, [n] each. */
LATHE_NODISCARD lathe_status lathe_small_net_product(lathe_small_net *net, const float *v, float *out,
                                                     lathe_error *err);

#endif
