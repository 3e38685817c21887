/** @file tensor.h
 * Derivatives of ggml graphs, graph to graph: reverse mode, forward mode and their composition, the exact
 * Hessian-vector product. Every function adds ordinary ggml nodes to the caller's context and computes
 * nothing, so that the result runs on any backend. The rules are closed: what they emit has rules itself,
 * and derivatives can be taken again.
 *
 * Tensors are f32; the forward nodes must still hold their values when the derivative runs (expand both into
 * one graph), and must not have been computed in place. Rules: learning.md D.i, docs/training.md. */
#ifndef LATHE_TENSOR_H
#define LATHE_TENSOR_H

#include "lathe/base.h"

#ifdef __cplusplus
extern "C" {
#endif

struct ggml_context;
struct ggml_tensor;

/** How derivatives are written. Zero it for the closed set. */
typedef struct lathe_diff_opts {
    /** Use ggml's one-pass backward ops of norm, softmax and SiLU: faster; such a gradient can be
     * differentiated in forward mode (Hessian-vector products), but neither in reverse mode nor any further.
     */
    bool fused;
    /** Ops of ours beside ggml's, which run on the processor alone. */
    bool processor;
} lathe_diff_opts;

/** Gradients of a scalar with respect to n parameters.
 * @param ctx    receives the new nodes; a no_alloc context with room for about 12 tensors a forward node
 * @param loss   f32 scalar
 * @param grads  [n]; grads[i] has the shape of params[i]; a parameter that loss does not depend on gets zeros
 * @return LATHE_ERR_UNSUPPORTED naming the op and tensor where a rule is missing */
LATHE_API LATHE_NODISCARD lathe_status lathe_tensor_grad(struct ggml_context *ctx, struct ggml_tensor *loss,
                                                         struct ggml_tensor *const *params, size_t n,
                                                         const lathe_diff_opts *opts,
                                                         struct ggml_tensor **grads, lathe_error *err);

/** Vector-Jacobian products: grads[i] = sum_j (d outputs[j] / d params[i])^T seeds[j]. */
LATHE_API LATHE_NODISCARD lathe_status lathe_tensor_vjp(struct ggml_context *ctx,
                                                        struct ggml_tensor *const *outputs,
                                                        struct ggml_tensor *const *seeds, size_t n_outputs,
                                                        struct ggml_tensor *const *params, size_t n,
                                                        const lathe_diff_opts *opts,
                                                        struct ggml_tensor **grads, lathe_error *err);

/** Vector-Jacobian products of one output that keep few intermediate values: the nodes between two marks are
 * computed again when the sweep reaches them. The bits are those of lathe_tensor_vjp; the time is that of one
 * more forward pass. Parameters and marks count as leaves.
 * @param graph  receives the nodes in the order that lets memory be freed early
 * @param marks  [n_marks] values that are kept, in forward order, each computed from the one before (and
 *               parameters): the layers' results
 * @param grads  [n] zeroed by the caller */
struct ggml_cgraph;
LATHE_API LATHE_NODISCARD lathe_status lathe_tensor_vjp_recompute(
    struct ggml_context *ctx, struct ggml_cgraph *graph, struct ggml_tensor *output, struct ggml_tensor *seed,
    struct ggml_tensor *const *marks, size_t n_marks, struct ggml_tensor *const *params, size_t n,
    const lathe_diff_opts *opts, struct ggml_tensor **grads, lathe_error *err);

/** Jacobian-vector products: tangents_out[j] = sum_i (d outputs[j] / d params[i]) tangents[i].
 * @param tangents [n], contiguous, in the shapes of params; NULL entries are zero */
LATHE_API LATHE_NODISCARD lathe_status lathe_tensor_jvp(struct ggml_context *ctx,
                                                        struct ggml_tensor *const *outputs, size_t n_outputs,
                                                        struct ggml_tensor *const *params,
                                                        struct ggml_tensor *const *tangents, size_t n,
                                                        const lathe_diff_opts *opts,
                                                        struct ggml_tensor **tangents_out, lathe_error *err);

/** Hessian-vector products of a scalar, forward over reverse: products[i] = sum_j H_ij vectors[j].
 * @param grads  [n] or NULL: the gradients too */
LATHE_API LATHE_NODISCARD lathe_status lathe_tensor_hvp(struct ggml_context *ctx, struct ggml_tensor *loss,
                                                        struct ggml_tensor *const *params,
                                                        struct ggml_tensor *const *vectors, size_t n,
                                                        const lathe_diff_opts *opts,
                                                        struct ggml_tensor **grads,
                                                        struct ggml_tensor **products, lathe_error *err);

/* --- Workers ------------------------------------------------------------------------------------- */

/** Serves this machine's device to lathe processes elsewhere (ggml's RPC protocol) until the process ends.
 *
 * The protocol has no authentication and no encryption: a caller that listens anywhere but on the loopback
 * address must have asked its user. One client at a time.
 * @param endpoint   "host:port"
 * @param cache_dir  where large tensors are kept between clients; NULL: nowhere
 * @return only on failure: ARG for an address that is none, UNSUPPORTED without the RPC backend, IO. */
LATHE_API LATHE_NODISCARD lathe_status lathe_worker_serve(const char *endpoint, const char *cache_dir,
                                                          int n_threads, lathe_error *err);

#ifdef __cplusplus
}
#endif
#endif
