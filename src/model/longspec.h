/* longspec.h - LongSpec's draft: one block that keeps a window of its own keys and reads everything older
 * from the last layer's cache of the target, which is there anyway (Yang et al. 2025).
 *
 * h = E[x]; h += Wo self(RMS1 h), keys of positions t - window .. t; h += Wo' cross(RMS2 h), over the
 * target's cached keys, all of them; h += Wdown(silu(Wgate g) * Wup g), g = RMS3 h; logits = U h (or U RMS4
 * h). E and U are the target's, and so are head counts, widths, rotation and epsilon. The same graph trains
 * (train/) and drafts (decode/). */
#ifndef LATHE_MODEL_LONGSPEC_H
#define LATHE_MODEL_LONGSPEC_H

#include "model/build.h"
#include "model/gguf.h"
#include "model/gguf_write.h"

struct lathe_model;

enum { LATHE_LONGSPEC_WINDOW_MAX = 4096 };

/* --- Description --------------------------------------------------------------------------------- */

typedef struct lathe_longspec_desc {
    int32_t window;              /* own keys that a query sees besides its own: 16 to 4096 */
    int32_t anchors, offset_max; /* how it was trained; 0: plain positions */
    int32_t n_embd, n_head, n_head_kv, n_embd_head, n_ff, n_vocab;
    bool qkv_bias, final_norm;
    uint64_t target_hash; /* of the target's last key projection */
    char target_arch[64];
} lathe_longspec_desc;

/* The description of a new draft for a target. UNSUPPORTED where the target has no rotation, heads of two
 * widths or layers on other machines. */
LATHE_NODISCARD lathe_status lathe_longspec_describe(const struct lathe_model *target, int32_t window,
                                                     int32_t n_ff, lathe_longspec_desc *desc,
                                                     lathe_error *err);
/* Reads the description of a file of architecture "longspec", and checks its tensors' shapes. */
LATHE_NODISCARD lathe_status lathe_longspec_read(const lathe_gguf *gguf, lathe_longspec_desc *desc,
                                                 lathe_error *err);
/* INPUT with both descriptions where the draft is not for this target. */
LATHE_NODISCARD lathe_status lathe_longspec_fits(const lathe_longspec_desc *desc,
                                                 const struct lathe_model *target, lathe_error *err);
void lathe_longspec_put_keys(const lathe_longspec_desc *desc, lathe_gguf_writer *w);
/* Tensors in a file's order; free(*list). */
LATHE_NODISCARD lathe_status lathe_longspec_tensors(const lathe_longspec_desc *desc, lathe_desc_tensor **list,
                                                    size_t *n, lathe_error *err);
int64_t lathe_longspec_n_params(const lathe_longspec_desc *desc);
/* FNV-1a of the bytes of the target's last key projection (the fused one where it has that). */
uint64_t lathe_longspec_hash(const struct lathe_model *target);
uint64_t lathe_longspec_hash_of(const lathe_gguf *target, int32_t n_layer);

/* --- Graph --------------------------------------------------------------------------------------- */

typedef struct lathe_longspec_weights {
    struct ggml_tensor *attn_norm, *attn_q, *attn_q_b, *attn_k, *attn_k_b, *attn_v, *attn_v_b, *attn_out;
    struct ggml_tensor *xattn_norm, *xattn_q, *xattn_q_b, *xattn_out;
    struct ggml_tensor *ffn_norm, *ffn_gate, *ffn_up, *ffn_down, *output_norm;
} lathe_longspec_weights;

LATHE_NODISCARD lathe_status lathe_longspec_bind(const lathe_longspec_desc *desc,
                                                 struct ggml_tensor *(*find)(void *user, const char *name),
                                                 void *user, lathe_longspec_weights *weights,
                                                 lathe_error *err);

typedef struct lathe_longspec_build {
    lathe_build *b; /* of the target: ctx, gf, desc, w, kernels, tokens, pos, n_tokens, n_seqs, kv (own cache;
                       layer 0) or NULL */
    const lathe_longspec_desc *desc;
    const lathe_longspec_weights *w;
    struct ggml_tensor *mask_self, *mask_cross; /* as lathe_build has masks */
    struct ggml_tensor *k_cross, *v_cross;      /* [dh, n_kv, Hk, S] of the target's last layer */
    struct ggml_tensor *seen; /* f32 [1, rows]: 0 where a row sees no target key at all (its mask is then of
                                 any values); NULL: all see some */
    bool keys_only;           /* only the own keys and values, into the cache */
} lathe_longspec_build;

/* Logits [V, rows], expanded into b->gf; NULL for keys_only. */
struct ggml_tensor *lathe_longspec_graph(lathe_longspec_build *build);

#endif
