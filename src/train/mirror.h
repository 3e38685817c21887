/* mirror.h - weights and inputs of a training graph on a device: duplicates of host tensors, which everybody
 * else reads and writes. */
#ifndef LATHE_TRAIN_MIRROR_H
#define LATHE_TRAIN_MIRROR_H

#include "tensor/device.h"

typedef struct lathe_mirror lathe_mirror;

/* Duplicates all tensors of host on the device. MEMORY with the bytes wanted and those free. */
LATHE_NODISCARD lathe_status lathe_mirror_new(struct ggml_context *host, lathe_device *device,
                                              lathe_mirror **mirror, lathe_error *err);
void lathe_mirror_free(lathe_mirror *mirror);
/* The tensor that a graph reads in place of x; x itself where mirror or x is NULL. */
struct ggml_tensor *lathe_mirror_of(const lathe_mirror *mirror, struct ggml_tensor *x);
/* All values to the device; nothing for NULL. */
void lathe_mirror_upload(const lathe_mirror *mirror);

#endif
