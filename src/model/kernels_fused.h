/* kernels_fused.h - the fused ops of training (tensor/fused.h) as kernels of the graph builder. */
#ifndef LATHE_MODEL_KERNELS_FUSED_H
#define LATHE_MODEL_KERNELS_FUSED_H

#include "model/build.h"
#include "tensor/fused.h"

/* Borrows everything; the address stays where it is while graphs are built. */
typedef struct lathe_fused_kernels {
    lathe_fused *fused;             /* NULL: none of them */
    const struct ggml_tensor *mask; /* layers with this one see all before them, others `window` tokens */
    int32_t window;
    struct ggml_tensor *starts; /* of documents (lathe_fused_causal); NULL: attention crosses them */
    lathe_dropout *dropout;     /* of residual branches; NULL: none */
} lathe_fused_kernels;

lathe_kernels lathe_kernels_fused(lathe_fused_kernels *f);

#endif
