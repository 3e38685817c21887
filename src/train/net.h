/* net.h - a model that learns: weights, one graph for the loss and one for its gradient, both built once. */
#ifndef LATHE_TRAIN_NET_H
#define LATHE_TRAIN_NET_H

#include <ggml.h>

#include "model/desc.h"
#include "train/loss.h"

struct lathe_gguf;
struct lathe_kernels;

typedef struct lathe_net lathe_net;

/* What a task's graph is made of. */
typedef struct lathe_net_io {
    struct ggml_context *ctx;  /* for nodes */
    struct ggml_cgraph *graph; /* what is expanded here is computed, whether the loss needs it or not */
    struct ggml_tensor *tokens,
        *positions;           /* I32 [rows * n_ctx]; positions may be written over between steps */
    struct ggml_tensor *mask; /* f32 [n_ctx, n_ctx], causal */
    int32_t rows, n_ctx;
    const struct lathe_kernels
        *kernels; /* products, causal attention, SwiGLU with derivatives; while this runs */
    struct ggml_tensor *(*find)(void *net, const char *name); /* a tensor that learns */
    void *net;
} lathe_net_io;

/* A net that is no plain model: which tensors learn, and how logits come from them. */
typedef struct lathe_net_task {
    const lathe_desc_tensor *list; /* [n], copied */
    size_t n;
    /* Makes inputs of its own in ctx (at most 8), which are allocated after; their data is the task's to
     * fill. */
    void (*inputs)(void *user, struct ggml_context *ctx, int32_t rows, int32_t n_ctx);
    /* [n_vocab, rows * n_ctx] */
    struct ggml_tensor *(*logits)(void *user, const lathe_net_io *io);
    void *user;
} lathe_net_task;

typedef struct lathe_net_opts {
    int32_t rows, ctx; /* sequences of so many tokens at a time */
    int32_t n_threads;
    bool gradients;  /* else losses and logits only */
    bool recompute;  /* keep each layer's result only, and compute its inside again for the gradient */
    bool teacher;    /* room for another model's logits (lathe_net_teacher) */
    double dropout;  /* share of the branches' channels that gradients do without; set per step below */
    uint64_t seed;   /* of its masks */
    lathe_loss loss; /* what the gradients are of */
    /* Attention and positions begin anew at each `begin` token and after each `end` token; 0: not at all. Ids
     * + 1, so that zero means none. */
    int32_t document_begin, document_end;
    /* Gradients of a plain model without a teacher: logits exist for so many tokens at a time (0: as many as
     * take 16 MiB, at least 128). lathe_net_logits is NULL where the batch has more. */
    int64_t logits_part;
    /* A device of ggml's, or "host:port" of a worker, for the graph; NULL or a processor: the processor.
     * Weights and gradients are copied for each computation; the loss, dropout and the optimiser stay here.
     */
    const char *device;
    const lathe_net_task
        *task; /* NULL: the plain model of the description, which else gives the vocabulary alone */
} lathe_net_opts;

LATHE_NODISCARD lathe_status lathe_net_open(const lathe_desc *desc, const lathe_net_opts *opts,
                                            lathe_net **net, lathe_error *err);
/* The same with plain cross entropy. UNSUPPORTED where an op of the family has no derivative rule. */
LATHE_NODISCARD lathe_status lathe_net_new(const lathe_desc *desc, int32_t rows, int32_t ctx,
                                           int32_t n_threads, bool gradients, lathe_net **net,
                                           lathe_error *err);
void lathe_net_free(lathe_net *net);

size_t lathe_net_n_tensors(const lathe_net *net);
const lathe_desc_tensor *lathe_net_tensor(const lathe_net *net, size_t i);
float *lathe_net_weights(const lathe_net *net, size_t i);        /* in ggml's order */
const float *lathe_net_gradient(const lathe_net *net, size_t i); /* of the last lathe_net_gradients */
float *lathe_net_gradient_mutable(lathe_net *net, size_t i);     /* may be scaled in place */
int64_t lathe_net_size(const lathe_net *net, size_t i);          /* elements */

/* Initial weights from (seed, name, index) alone: normal(0, 1 / sqrt(fan in)), residual outputs over
 * sqrt(2 layers), embeddings .02, gains 1. */
void lathe_net_init(lathe_net *net, uint64_t seed);

/* Takes all weights from a file that has passed lathe_desc_check; other types become f32. */
LATHE_NODISCARD lathe_status lathe_net_load(lathe_net *net, const struct lathe_gguf *gguf, lathe_error *err);

/* Mean cross entropy over tokens [rows][ctx + 1]; lathe_net_gradients also leaves the gradients of
 * sum(objective) / (rows ctx). */
LATHE_NODISCARD lathe_status lathe_net_loss(lathe_net *net, const int32_t *tokens, double *loss,
                                            lathe_error *err);
LATHE_NODISCARD lathe_status lathe_net_gradients(lathe_net *net, const int32_t *tokens, double *loss,
                                                 lathe_error *err);

/* Chooses how the BLAS takes each product by measuring (fused_choose.c), unless lathe_net_set_kernels has
 * said it: lines as lathe_net_kernels writes them, which begin with the name of the BLAS's own kernels.
 * *same: whether that is this process's too. */
LATHE_NODISCARD lathe_status lathe_net_choose_kernels(lathe_net *net, lathe_error *err);
LATHE_NODISCARD lathe_status lathe_net_kernels(const lathe_net *net, char **text, lathe_error *err);
LATHE_NODISCARD lathe_status lathe_net_set_kernels(lathe_net *net, const char *text, bool *same,
                                                   lathe_error *err);

/* Before lathe_net_gradients of a net with dropout: which masks. */
void lathe_net_set_dropout(lathe_net *net, double p, int64_t step, int64_t first_token);

/* Sums over the counted targets of the last computation, and their number. */
typedef struct lathe_net_sums {
    double ce, kl, counted;
} lathe_net_sums;
lathe_net_sums lathe_net_last(const lathe_net *net);
/* [rows * ctx][V] of the last lathe_net_loss. */
const float *lathe_net_logits(const lathe_net *net);
/* Where the teacher's logits [rows * ctx][V] are to be put before lathe_net_gradients; NULL without. */
float *lathe_net_teacher(const lathe_net *net);
/* Bytes of weights and inputs, and of the graphs' intermediate values. */
size_t lathe_net_bytes(const lathe_net *net);

/* Runs the loss of a batch again and names the first tensor of it that holds a NaN or an infinity ("weight
 * 'x'", "result of OP with 'x'"), "none" where there is none. */
void lathe_net_first_bad(lathe_net *net, const int32_t *tokens, char *text, size_t n);

#endif
