/* net.h - a model that learns: weights, one graph for the loss and one for its gradient, both built once. */
#ifndef LATHE_TRAIN_NET_H
#define LATHE_TRAIN_NET_H

#include <ggml.h>

#include "model/desc.h"

typedef struct lathe_net lathe_net;

/* rows sequences of ctx tokens at a time. UNSUPPORTED where an op of the family has no derivative rule. */
LATHE_NODISCARD lathe_status lathe_net_new(const lathe_desc *desc, int32_t rows, int32_t ctx,
                                           int32_t n_threads, bool gradients, lathe_net **net,
                                           lathe_error *err);
void lathe_net_free(lathe_net *net);

size_t lathe_net_n_tensors(const lathe_net *net);
const lathe_desc_tensor *lathe_net_tensor(const lathe_net *net, size_t i);
float *lathe_net_weights(const lathe_net *net, size_t i);        /* in ggml's order */
const float *lathe_net_gradient(const lathe_net *net, size_t i); /* of the last lathe_net_gradients */
int64_t lathe_net_size(const lathe_net *net, size_t i);          /* elements */

/* Initial weights from (seed, name, index) alone: normal(0, 1 / sqrt(fan in)), residual outputs over
 * sqrt(2 layers), embeddings .02, gains 1. */
void lathe_net_init(lathe_net *net, uint64_t seed);

/* Mean cross entropy over tokens [rows][ctx + 1]; lathe_net_gradients also leaves the gradients. */
LATHE_NODISCARD lathe_status lathe_net_loss(lathe_net *net, const int32_t *tokens, double *loss,
                                            lathe_error *err);
LATHE_NODISCARD lathe_status lathe_net_gradients(lathe_net *net, const int32_t *tokens, double *loss,
                                                 lathe_error *err);

#endif
