/* build.h - the one graph builder: description + weights + inputs -> graph.
 *
 * Running a model (context.c): lathe_build with a cache behind `kv`, rows written through set_rows.
 *
 * Training (no cache, explicit attention, ops that have derivatives): set
 *     lathe_build b = {.ctx = ctx, .gf = gf, .desc = &desc, .w = &weights, .gelu = LATHE_GELU_EXACT, .plain =
 * true, .tokens = I32 [T * S], .pos = I32 [T * S], .mask = f32 or f16 [T, T] (0 or -inf), .n_tokens = T,
 * .n_seqs = S}; lathe_build_graph(&b);       -> b.logits f32 [V, T * S] where weights come from
 * lathe_weights_bind over a table of tensors by name, and tokens are ordered sequence by sequence.
 * mask_sliding (same shape) is needed where desc.window > 0. b.mask NULL builds none: then set .causal and
 * ggml_diag_mask_inf is used (one mask for all layers, no windows). A kernel room plugs its own ops in with
 * `kernels`, without touching a family. */
#ifndef LATHE_MODEL_BUILD_H
#define LATHE_MODEL_BUILD_H

#include <ggml.h>

#include "model/desc.h"
#include "model/weights.h"
#include "tensor/cpu/rope_store.h"

/* Intermediate tensors that can be tapped. The order is that of the names in tap.c. */
typedef enum lathe_tap {
    LATHE_TAP_EMBD,
    LATHE_TAP_RESID_PRE,
    LATHE_TAP_ATTN_NORM,
    LATHE_TAP_Q,
    LATHE_TAP_K,
    LATHE_TAP_V,
    LATHE_TAP_Q_ROT,
    LATHE_TAP_K_ROT,
    LATHE_TAP_SCORES,
    LATHE_TAP_PROBS,
    LATHE_TAP_Z,
    LATHE_TAP_ATTN_OUT,
    LATHE_TAP_RESID_MID,
    LATHE_TAP_FFN_NORM,
    LATHE_TAP_FFN_ACT,
    LATHE_TAP_FFN_OUT,
    LATHE_TAP_RESID_POST,
    LATHE_TAP_FINAL_NORM,
    LATHE_TAP_COUNT
} lathe_tap;

struct lathe_build;

/* Ops of ours for the processor. A member may be NULL; each returns NULL where it does not apply, and ggml's
 * ops are used then. */
typedef struct lathe_kernels {
    /* W x, without bias. */
    struct ggml_tensor *(*linear)(void *user, struct ggml_context *ctx, struct ggml_tensor *w,
                                  struct ggml_tensor *x);
    /* y[i] = w[i] x of n matrices in one op, without biases; false where that does not apply. */
    bool (*linear_group)(void *user, struct ggml_context *ctx, struct ggml_tensor *const *w, int n,
                         struct ggml_tensor *x, struct ggml_tensor **y);
    /* silu(gate x) * (up x) in one op; `next` multiplies the result. */
    struct ggml_tensor *(*linear_swiglu)(void *user, struct ggml_context *ctx, struct ggml_tensor *gate,
                                         struct ggml_tensor *up, struct ggml_tensor *x,
                                         const struct ggml_tensor *next);
    /* q [dh, T, H, S], k and v [dh, n_kv, Hk, S] (views of cache rows, or of the batch's own), mask as it was
     * set above -> [dh * H, T * S]. */
    struct ggml_tensor *(*attention)(void *user, struct ggml_context *ctx, struct ggml_tensor *q,
                                     struct ggml_tensor *k, struct ggml_tensor *v, struct ggml_tensor *mask,
                                     float scale, float softcap);
    /* The same over entry e = row rows[e] of k and v (i32 [n_kv]); mask [n_kv, T]. */
    struct ggml_tensor *(*attention_rows)(void *user, struct ggml_context *ctx, struct ggml_tensor *q,
                                          struct ggml_tensor *k, struct ggml_tensor *v,
                                          struct ggml_tensor *mask, struct ggml_tensor *rows, float scale,
                                          float softcap);
    /* A tree of tokens behind the cache in two parts: `prefix` [n_kv, 1] is what all of them see of it, rows
     * i32 [T] are their own rows, ancestors [T, T] what they see of those. */
    struct ggml_tensor *(*attention_tree)(void *user, struct ggml_context *ctx, struct ggml_tensor *q,
                                          struct ggml_tensor *k, struct ggml_tensor *v,
                                          struct ggml_tensor *prefix, struct ggml_tensor *rows,
                                          struct ggml_tensor *ancestors, float scale, float softcap);
    /* silu(gate) up. */
    struct ggml_tensor *(*swiglu)(void *user, struct ggml_context *ctx, struct ggml_tensor *gate,
                                  struct ggml_tensor *up);
    /* What a layer's branch (0 attention, 1 feed-forward) adds to the residual stream: dropout. */
    struct ggml_tensor *(*branch)(void *user, struct ggml_context *ctx, struct ggml_tensor *x, int32_t layer,
                                  int32_t which);
    void *user;
} lathe_kernels;

/* Where keys and values of the batch go, and which ones a layer's queries see. */
typedef struct lathe_build_kv {
    void *user;
    /* Writes k and v ([dh, Hk, T], contiguous) into layer's cache within gf. */
    void (*write)(void *user, struct lathe_build *b, int32_t layer, struct ggml_tensor *k,
                  struct ggml_tensor *v);
    /* Rotates q and k as the layer has it and writes k and v, in one node: the rotated q. NULL, and nothing
     * is built, where that does not apply: the layer's rotation and `write` are to be used. May be NULL. */
    struct ggml_tensor *(*rotate_write)(void *user, struct lathe_build *b, int32_t layer,
                                        struct ggml_tensor *q, struct ggml_tensor *k, struct ggml_tensor *v);
    /* Views [dh, n_kv, Hk] of what is cached. */
    void (*read)(void *user, struct lathe_build *b, int32_t layer, struct ggml_tensor **k,
                 struct ggml_tensor **v);
    /* A layer's own list of the rows that attention runs over (i32 [n]) and its mask [n, T]; leaves NULL
     * where the batch's mask and all rows of the views are meant. May be NULL. */
    void (*see)(void *user, struct lathe_build *b, int32_t layer, struct ggml_tensor **rows,
                struct ggml_tensor **mask);
} lathe_build_kv;

typedef struct lathe_build {
    /* What the caller sets. */
    struct ggml_context *ctx;
    struct ggml_cgraph *gf;
    const lathe_desc *desc;
    const lathe_weights *w;
    lathe_gelu_kind gelu;
    bool plain;                 /* only ops with derivatives; no fused activations */
    bool flash;                 /* ggml_flash_attn_ext where nothing looks inside */
    bool one_kernel;            /* attention of any number of rows by the same kernel (--exact) */
    bool rope_long;             /* the long table of RoPE factors */
    struct ggml_tensor *tokens; /* I32 [n_tokens * n_seqs] */
    struct ggml_tensor *embd;   /* f32 [d, n_tokens * n_seqs] instead of tokens; NULL: look tokens up */
    struct ggml_tensor *pos;    /* I32 [n_tokens * n_seqs] */
    struct ggml_tensor *mask, *mask_sliding; /* f16 (flash) or f32 [n_kv, n_tokens] */
    /* The batch is a tree and its attention goes in two parts (attention_tree); NULL: by the mask alone. */
    struct ggml_tensor *tree_prefix, *tree_rows, *tree_ancestors;
    bool causal;                 /* without masks: each sees those before it in its own sequence */
    struct ggml_tensor *out_ids; /* I32: rows whose logits are wanted; NULL: all */
    bool no_logits;              /* only the caches (and taps) */
    bool late_rows;              /* choose rows right before the output matrix (taps, --exact) */
    int64_t n_tokens, n_seqs;
    const lathe_build_kv *kv; /* NULL: the batch's own keys and values */
    const lathe_kernels *kernels;
    /* tap(user, ...) sees every tensor of the enum as it is built. NULL: none. wants: which ones (a score tap
     * makes the layer explicit). */
    void (*tap)(void *user, lathe_tap which, int32_t layer, struct ggml_tensor *t);
    bool (*wants)(void *user, lathe_tap which, int32_t layer);
    void *tap_user;
    /* What it makes. */
    struct ggml_tensor *logits; /* f32 [V, rows] */
    struct ggml_tensor *hidden; /* after the final norm [d, rows] */
} lathe_build;

/* Builds all layers and the logits and expands them into b->gf. The caller gives a context with room
 * for lathe_build_n_nodes tensors. */
void lathe_build_graph(lathe_build *b);

/* Logits [V, n] of normed hidden vectors [d, n]; no_logits leaves them to callers of this. */
struct ggml_tensor *lathe_build_head(lathe_build *b, struct ggml_tensor *hidden);

/* An upper bound of the nodes and leaves of a graph of this description. */
size_t lathe_build_n_nodes(const lathe_desc *desc, bool taps);

/* --- Pieces (build_*.c) -------------------------------------------------------------------------- */

/* W x + bias; bias may be NULL. */
struct ggml_tensor *lathe_linear(lathe_build *b, struct ggml_tensor *w, struct ggml_tensor *x,
                                 struct ggml_tensor *bias);
/* The norm of a kind, times weight, plus bias (both may be NULL). */
struct ggml_tensor *lathe_build_norm(lathe_build *b, lathe_norm_kind kind, struct ggml_tensor *x,
                                     struct ggml_tensor *weight, struct ggml_tensor *bias);
/* The attention block of a layer on its normed input [d, n]: projections, RoPE, cache, scores, output matrix.
 */
struct ggml_tensor *lathe_build_attn_block(lathe_build *b, int32_t layer, struct ggml_tensor *x);
/* softmax(q k) v: q [dh, T, H, S], k and v [dh, n_kv, Hk, S] -> [dh * H, T * S]. */
struct ggml_tensor *lathe_attention(lathe_build *b, int32_t layer, struct ggml_tensor *q,
                                    struct ggml_tensor *k, struct ggml_tensor *v);
struct ggml_tensor *lathe_build_ffn(lathe_build *b, int32_t layer, struct ggml_tensor *x);
/* RoPE of x [dh, heads, n] as this layer has it, at positions pos [n]. */
struct ggml_tensor *lathe_build_rope(lathe_build *b, int32_t layer, struct ggml_tensor *x);
/* Its parameters for layers with a window, or without; and the table of factors, or NULL. */
lathe_rope lathe_rope_of(const lathe_desc *desc, bool sliding);
struct ggml_tensor *lathe_rope_factors(const lathe_build *b);
/* The rotation by a difference of positions of keys that were cached, factor of YaRN left out. */
struct ggml_tensor *lathe_build_rope_shift(lathe_build *b, int32_t layer, struct ggml_tensor *x,
                                           struct ggml_tensor *delta);
void lathe_build_tap(lathe_build *b, lathe_tap which, int32_t layer, struct ggml_tensor *t);

#endif
