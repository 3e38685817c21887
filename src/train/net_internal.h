/* net_internal.h - what net.c, which builds a net, and net_run.c, which computes with it, share. */
#ifndef LATHE_TRAIN_NET_INTERNAL_H
#define LATHE_TRAIN_NET_INTERNAL_H

#include <ggml-alloc.h>
#include <ggml-backend.h>

#include "model/kernels_fused.h"
#include "tensor/device.h"
#include "train/mirror.h"
#include "train/net.h"

/* A graph with its own scheduler, so that both keep their allocation. */
typedef struct lathe_net_plan {
    struct ggml_cgraph *graph;
    ggml_backend_sched_t sched;
} lathe_net_plan;

struct lathe_net {
    lathe_desc desc;
    lathe_net_task task; /* logits NULL: none */
    int32_t rows, ctx;
    lathe_desc_tensor *list;
    size_t n;
    struct ggml_tensor **weights, **grads;
    struct ggml_context *fixed, *nodes; /* weights and inputs; nodes of both graphs */
    ggml_backend_buffer_t buffer;
    lathe_device *device; /* NULL: the processor */
    lathe_mirror *mirror; /* of `fixed` on the device */
    float **back; /* [n + 1] gradients and, last, the loss's rows, fetched from it; NULL: they lie here */
    ggml_backend_t blas, cpu;       /* blas: for what the fused products do not take; NULL: none */
    lathe_fused *fused;             /* NULL: LATHE_BLAS=off */
    lathe_fused_kernels kernels[2]; /* of the forward and of the backward graph */
    lathe_net_plan forward, backward;
    lathe_weights roles;
    struct ggml_tensor *tokens, *positions, *mask, *mask_sliding, *targets, *teacher;
    int32_t document_begin, document_end; /* ids + 1; both 0: attention crosses documents */
    struct ggml_tensor *starts;           /* I32 [rows ctx] of documents; NULL: attention crosses them */
    struct ggml_tensor *logits;           /* of the forward graph */
    struct ggml_tensor *loss_rows[2];     /* of the forward and of the backward graph */
    lathe_loss loss;                      /* read by both graphs */
    int64_t part;                         /* tokens whose logits exist at a time; 0: all */
    bool drops;
    lathe_dropout dropout; /* read by the backward graph */
    lathe_net_sums sums;
};

int64_t lathe_net_tokens(const lathe_net *net); /* of a batch */
/* Whether attention stops at documents; whether masks are read at all: fused attention has its own rule, but
 * for scores with a soft cap. */
bool lathe_net_is_reset(const lathe_net *net);
bool lathe_net_is_masked(const lathe_net *net);
/* Each position sees those before it from its document's start on (NULL: 0), the last `window` of them where
 * that is not 0. */
void lathe_net_fill_mask(float *mask, int32_t ctx, int32_t window, const int32_t *starts);

#endif
