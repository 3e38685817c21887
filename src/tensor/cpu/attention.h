/* attention.h - fused attention (attention_args.h) as an op of ggml graphs on the processor. */
#ifndef LATHE_TENSOR_CPU_ATTENTION_H
#define LATHE_TENSOR_CPU_ATTENTION_H

#include <stdatomic.h>

#include "tensor/cpu/cpu.h"

struct ggml_context;
struct ggml_tensor;

enum { LATHE_ATTENTION_SPLIT_MAX = 64 };

/* What ops read when they run: outlives the graphs, is zero but for these fields, and serves graphs that do
 * not run at the same time (one a context). */
typedef struct lathe_attention_op {
    const lathe_cpu *cpu;
    float scale, softcap; /* softcap 0: none */
    const float *slopes;  /* [H] factors of the mask (ALiBi); NULL: 1 */
    int64_t n_q_max;      /* longer batches are left to ggml; INT32_MAX: none */
    /* How many chunks of each tile are done; all zero between ops. */
    atomic_int done[LATHE_ATTENTION_SPLIT_MAX];
} lathe_attention_op;

/* One attention of a layer. All but q, k and v may be NULL. */
typedef struct lathe_attention_in {
    struct ggml_tensor *q;     /* f32 [dk, T, H], any strides of T and H */
    struct ggml_tensor *k, *v; /* f32, f16, bf16, q8_0, q4_0 [dk or dv, rows, Hk]: views of a cache */
    struct ggml_tensor *mask; /* f16 [n_kv, T], or [n_kv, 1] for all rows: added to the scores; -infinity: not
                               * seen */
    struct ggml_tensor *rows; /* i32 [n_kv] or [n_kv, Hk] (a list a KV head): the row of k and v that entry e
                               * is;  all valid. NULL: entry e is row e, and n_kv is the views' length */
    struct ggml_tensor *seen; /* i32 [2, T]: first and end entry that a query sees */
    struct ggml_tensor *sinks; /* f32 [H]: logits that only the denominator has */
    bool want_lse, want_mass;
    bool in_place; /* see attention_args.h; not with want_mass or want_lse */
} lathe_attention_in;

typedef struct lathe_attention_out {
    struct ggml_tensor *out;  /* f32 [dv * H, T] */
    struct ggml_tensor *lse;  /* f32 [H, T], where wanted: log-sum-exp of the scores (and the sink) */
    struct ggml_tensor *mass; /* f32 [n_kv, H], where wanted: probabilities summed over the queries */
} lathe_attention_out;

/* softmax(scale q k + mask) v. false, and nothing is added, where types, shapes or op->n_q_max do not allow
 * it: ggml's ops are to be used then. */
bool lathe_attention_node(lathe_attention_op *op, struct ggml_context *ctx, const lathe_attention_in *in,
                          lathe_attention_out *out);

/* Two results over disjoint keys into one (decoding.md A3.7): a and b with their lse, [dv * H, T] and [H, T],
 * contiguous. The processor's own op. */
lathe_attention_out lathe_attention_merge(struct ggml_context *ctx, const lathe_attention_out *a,
                                          const lathe_attention_out *b);

/* The same behind the graph builder's pointer (build.h, lathe_kernels). user: a lathe_attention_op whose
 * scale and softcap are those given. */
struct ggml_tensor *lathe_fused_attention(void *user, struct ggml_context *ctx, struct ggml_tensor *q,
                                          struct ggml_tensor *k, struct ggml_tensor *v,
                                          struct ggml_tensor *mask, float scale, float softcap);
/* A tree of T nodes behind what a cache holds, in two parts that are merged (decoding.md A3.7): the cached
 * rows that all nodes see (mask f16 [n_kv, 1]), and the nodes' own rows (i32 [T]) under their ancestor mask
 * (f16 [T, T]). NULL where the kernel does not apply. */
struct ggml_tensor *lathe_fused_attention_tree(void *user, struct ggml_context *ctx, struct ggml_tensor *q,
                                               struct ggml_tensor *k, struct ggml_tensor *v,
                                               struct ggml_tensor *prefix, struct ggml_tensor *rows,
                                               struct ggml_tensor *ancestors, float scale, float softcap);
/* Over listed rows; entries that are not seen keep their place. */
struct ggml_tensor *lathe_fused_attention_rows(void *user, struct ggml_context *ctx, struct ggml_tensor *q,
                                               struct ggml_tensor *k, struct ggml_tensor *v,
                                               struct ggml_tensor *mask, struct ggml_tensor *rows,
                                               float scale, float softcap);

#endif
