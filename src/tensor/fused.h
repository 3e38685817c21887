/* fused.h - ops of ours for training on the processor: products by the BLAS in slices, causal attention that
 * stores no scores, SwiGLU in one pass. Each has a reverse and a forward rule (rules_fused.c), and so have
 * the nodes of their gradients: Hessian-vector products run through them. Third derivatives do not.
 *
 * The BLAS is told to use one thread: parallelism is ggml's, over slices whose size does not depend on the
 * number of threads, and neither do the bits of the result; slices that are chosen by measurement keep them.
 */
#ifndef LATHE_TENSOR_FUSED_H
#define LATHE_TENSOR_FUSED_H

#include <ggml-backend.h>
#include <ggml.h>

#include "base/buf.h"

enum {
    LATHE_FUSED_QUERIES = 64, /* that scores are held of at a time */
    LATHE_FUSED_CHOICES = 96,
    LATHE_FUSED_BLOCKS = 4 /* of scores: the tangent of the gradient holds four at once */
};

typedef enum lathe_fused_part { LATHE_FUSED_FORWARD, LATHE_FUSED_DX, LATHE_FUSED_DW } lathe_fused_part;

/* The slice that products of a shape take: w [k, n], x [k, m]. */
typedef struct lathe_fused_choice {
    lathe_fused_part part;
    int64_t k, n, m, slice;
} lathe_fused_choice;

typedef struct lathe_fused {
    int32_t n_threads;
    int64_t slice; /* columns (rows of a weight's gradient) that one call of the BLAS takes, where none is
                      chosen */
    lathe_fused_choice choices[LATHE_FUSED_CHOICES];
    int32_t n_choices;
    float *scratch; /* [n_threads][per_thread] for scores */
    size_t per_thread;
} lathe_fused;

/* Room for attention over sequences of ctx tokens. */
LATHE_NODISCARD lathe_status lathe_fused_new(int32_t n_threads, int64_t ctx, lathe_fused **fused,
                                             lathe_error *err);
void lathe_fused_free(lathe_fused *fused);

/* Measures the products of graph whose slices are not chosen yet, on the threads of cpu (fused_choose.c). */
LATHE_NODISCARD lathe_status lathe_fused_choose(lathe_fused *fused, struct ggml_cgraph *graph,
                                                ggml_backend_t cpu, lathe_error *err);
/* Choices as lines "product k n m: slice", and back; and the BLAS's name of its kernels for this processor.
 */
LATHE_NODISCARD lathe_status lathe_fused_write_choices(const lathe_fused *fused, lathe_buf *out,
                                                       lathe_error *err);
LATHE_NODISCARD lathe_status lathe_fused_read_choices(lathe_fused *fused, const char *text, lathe_error *err);
const char *lathe_fused_blas_name(void);
int64_t lathe_fused_slice_of(const lathe_fused *fused, lathe_fused_part part, int64_t k, int64_t n,
                             int64_t m);
/* true for a product or a gradient of one, with all but the slice. */
bool lathe_fused_product_shape(const struct ggml_tensor *y, lathe_fused_choice *shape);

/* W x: w [k, n], x [k, m] -> [n, m], all f32 and contiguous; else NULL. */
struct ggml_tensor *lathe_fused_product(lathe_fused *f, struct ggml_context *ctx, struct ggml_tensor *w,
                                        struct ggml_tensor *x);
/* softmax(scale q k) v where each token sees itself and those before it in its own sequence, the last
 * `window` of them where that is not 0: q [dh, T, H, S], k and v [dh, T, Hk, S], rows of dh floats at any
 * stride
 * -> [dh H, T S]. starts i32 [T S] or NULL: the token of its sequence from which on each one sees, not
 * falling within a sequence (documents that do not see each other). NULL where it does not apply. */
struct ggml_tensor *lathe_fused_causal(lathe_fused *f, struct ggml_context *ctx, struct ggml_tensor *q,
                                       struct ggml_tensor *k, struct ggml_tensor *v, float scale,
                                       int32_t window, struct ggml_tensor *starts);
/* silu(gate) up, contiguous; else NULL. */
struct ggml_tensor *lathe_fused_swiglu(lathe_fused *f, struct ggml_context *ctx, struct ggml_tensor *gate,
                                       struct ggml_tensor *up);

/* Cross entropy of each row: logits [V, N] contiguous, targets i32 [N] (-1: 0) -> [N]. */
struct ggml_tensor *lathe_fused_ce(struct ggml_context *ctx, struct ggml_tensor *logits,
                                   struct ggml_tensor *targets);

/* Dropout of x [channels, tokens]; the graph borrows d, whose step, token and p may change between
 * computations. */
typedef struct lathe_dropout {
    double p; /* 0: x itself */
    uint64_t seed;
    int64_t step, first_token; /* of the graph's first token in the step's global batch */
} lathe_dropout;
struct ggml_tensor *lathe_fused_dropout(lathe_dropout *d, struct ggml_context *ctx, struct ggml_tensor *x,
                                        int32_t layer, int32_t branch);
/* The same mask on another tensor: both derivatives. */
struct ggml_tensor *lathe_fused_dropout_again(struct ggml_context *ctx, struct ggml_tensor *y,
                                              struct ggml_tensor *x);
void lathe_dropout_op(struct ggml_tensor *dst, int ith, int nth, void *user);

/* --- Their rules ------------------------------------------------------------------------------------ */

typedef enum lathe_fused_kind {
    LATHE_FUSED_NONE,
    LATHE_FUSED_PRODUCT,
    LATHE_FUSED_PRODUCT_BACK, /* either gradient of a product */
    LATHE_FUSED_CAUSAL,
    LATHE_FUSED_CAUSAL_BACK,
    LATHE_FUSED_SWIGLU,
    LATHE_FUSED_SWIGLU_BACK,
    LATHE_FUSED_CE,
    LATHE_FUSED_CE_BACK,
    LATHE_FUSED_DROPOUT
} lathe_fused_kind;

void lathe_fused_causal_op(struct ggml_tensor *dst, int ith, int nth, void *user);
lathe_fused_kind lathe_fused_kind_of(const struct ggml_tensor *y);
/* Gradients of W [k, n] and of x [k, m] from g [n, m]. */
struct ggml_tensor *lathe_fused_product_dw(struct ggml_context *ctx, struct ggml_tensor *y,
                                           struct ggml_tensor *g);
struct ggml_tensor *lathe_fused_product_dx(struct ggml_context *ctx, struct ggml_tensor *y,
                                           struct ggml_tensor *g);
/* sum += what dw, a node of lathe_fused_product_dw, computes; the result is sum's memory. NULL where dw is
 * something else. */
struct ggml_tensor *lathe_fused_product_dw_onto(struct ggml_context *ctx, struct ggml_tensor *sum,
                                                struct ggml_tensor *dw);
/* The tangent of a product or of one of its gradients along a and b, tangents of its two sources (NULL:
 * zero). */
struct ggml_tensor *lathe_fused_product_tangent(struct ggml_context *ctx, struct ggml_tensor *y,
                                                struct ggml_tensor *a, struct ggml_tensor *b);
/* Gradients in the shapes of q, k and v. */
void lathe_fused_causal_back(struct ggml_context *ctx, struct ggml_tensor *y, struct ggml_tensor *g,
                             struct ggml_tensor *grads[3]);
/* Tangents of attention along those of q, k, v, and of its gradient along those of q, k, v, g (contiguous).
 */
struct ggml_tensor *lathe_fused_causal_tangent(struct ggml_context *ctx, struct ggml_tensor *y,
                                               struct ggml_tensor *const tangents[3]);
struct ggml_tensor *lathe_fused_causal_back_tangent(struct ggml_context *ctx, struct ggml_tensor *y,
                                                    struct ggml_tensor *const tangents[4]);
void lathe_fused_swiglu_back(struct ggml_context *ctx, struct ggml_tensor *y, struct ggml_tensor *g,
                             struct ggml_tensor *grads[2]);
/* Along gate and up; along gate, up and g; all contiguous. */
struct ggml_tensor *lathe_fused_swiglu_tangent(struct ggml_context *ctx, struct ggml_tensor *y,
                                               struct ggml_tensor *const tangents[2]);
struct ggml_tensor *lathe_fused_swiglu_back_tangent(struct ggml_context *ctx, struct ggml_tensor *y,
                                                    struct ggml_tensor *const tangents[3]);
/* The gradient by logits from g [N], and its tangent along theirs (contiguous) for fixed g. */
struct ggml_tensor *lathe_fused_ce_back(struct ggml_context *ctx, struct ggml_tensor *y,
                                        struct ggml_tensor *g);
struct ggml_tensor *lathe_fused_ce_back_tangent(struct ggml_context *ctx, struct ggml_tensor *y,
                                                struct ggml_tensor *logits_tangent);
lathe_fused_kind lathe_fused_loss_kind(ggml_custom_op_t fun);
/* The tangent of z = ggml_rms_norm_back(g, x) along those of g and x (contiguous). */
struct ggml_tensor *lathe_fused_rms_back_tangent(struct ggml_context *ctx, struct ggml_tensor *z,
                                                 struct ggml_tensor *g_tangent, struct ggml_tensor *x_tangent,
                                                 float eps);

#endif
