/* weights.h - a model's tensors by role, and how they come from a file to their devices. */
#ifndef LATHE_MODEL_WEIGHTS_H
#define LATHE_MODEL_WEIGHTS_H

#include <ggml-backend.h>
#include <ggml.h>

#include "model/desc.h"
#include "tensor/device.h"

struct lathe_gguf;

/* The tensors of one layer; NULL where the description has none. _b: bias. Names are those of the file. */
typedef struct lathe_layer_weights {
    struct ggml_tensor *attn_norm, *attn_norm_b;
    struct ggml_tensor *attn_qkv, *attn_qkv_b;
    struct ggml_tensor *attn_q, *attn_q_b, *attn_k, *attn_k_b, *attn_v, *attn_v_b;
    struct ggml_tensor *attn_q_norm, *attn_k_norm;
    struct ggml_tensor *attn_output, *attn_output_b;
    struct ggml_tensor *post_attention_norm, *post_attention_norm_b;
    struct ggml_tensor *ffn_norm, *ffn_norm_b;
    struct ggml_tensor *ffn_gate, *ffn_gate_b, *ffn_up, *ffn_up_b, *ffn_down, *ffn_down_b;
    struct ggml_tensor *post_ffw_norm, *post_ffw_norm_b;
} lathe_layer_weights;

typedef struct lathe_weights {
    struct ggml_tensor *token_embd, *position_embd;
    struct ggml_tensor *output_norm, *output_norm_b;
    struct ggml_tensor *output, *output_b; /* output: token_embd where tied */
    struct ggml_tensor *rope_freqs, *rope_factors_long, *rope_factors_short;
    lathe_layer_weights *layers; /* [n_layer], owned */
} lathe_weights;

/* Looks every tensor of the description up by its name in the file; INTERNAL names one that find lacks.
 * Training binds its own tensors with this, too. */
LATHE_NODISCARD lathe_status lathe_weights_bind(const lathe_desc *desc,
                                                struct ggml_tensor *(*find)(void *user, const char *name),
                                                void *user, lathe_weights *weights, lathe_error *err);
void lathe_weights_unbind(lathe_weights *weights);

/* Tensors of a file where graphs can use them. */
typedef struct lathe_weight_store {
    struct ggml_context *ctx;       /* headers of all tensors */
    ggml_backend_buffer_t *buffers; /* [n_buffers]: a wrapped file, or one of each device */
    int32_t n_buffers;
    void *memory;    /* of converted weights on the processor; NULL: none */
    int64_t n_bytes; /* of all tensors as they are held */
    lathe_weights by_role;
} lathe_weight_store;

typedef struct lathe_weight_plan {
    lathe_device *const *devices; /* [n_devices], the processor last */
    int32_t n_devices;
    const int32_t *layer_device; /* [n_layer] index of each layer's device */
    bool dequantise;             /* all as f32 */
    const lathe_progress *progress;
} lathe_weight_plan;

/* The file must have passed lathe_desc_check, and stays open as long as the store. Without conversion the
 * processor's tensors lie in the file's own memory. */
LATHE_NODISCARD lathe_status lathe_weight_store_load(const lathe_desc *desc, const struct lathe_gguf *gguf,
                                                     const lathe_weight_plan *plan, lathe_weight_store *store,
                                                     lathe_error *err);
void lathe_weight_store_free(lathe_weight_store *store);

/* Layers to devices in proportion to shares (engine.md 10.2): layer l of n goes to the first device whose
 * cumulative share is above (l + 0.5) / n. */
void lathe_split_layers(int32_t n_layer, const double *shares, int32_t n_devices, int32_t *layer_device);

#endif
