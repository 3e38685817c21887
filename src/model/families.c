/* families.c - the table of families: one row of switches each, and nothing else about any family elsewhere.
 */
#include <string.h>

#include "model/desc.h"

static const lathe_family families[] = {
    {
        .name =
            "llama", /* Llama 1-3, Mistral, TinyLlama, SmolLM, Yi: files hold Q and K permuted for pairs */
        .norm = LATHE_NORM_RMS,
        .position = LATHE_POSITION_ROPE_NORMAL,
        .qkv_bias = LATHE_MAY,
        .out_bias = LATHE_MAY,
        .ffn_bias = LATHE_MAY,
        .act = LATHE_ACT_SILU,
        .gated = true,
        .output = LATHE_MAY,
    },
    {
        .name = "qwen2",
        .norm = LATHE_NORM_RMS,
        .position = LATHE_POSITION_ROPE_NEOX,
        .qkv_bias = LATHE_MUST,
        .act = LATHE_ACT_SILU,
        .gated = true,
        .output = LATHE_MAY,
    },
    {
        .name = "qwen3",
        .norm = LATHE_NORM_RMS,
        .position = LATHE_POSITION_ROPE_NEOX,
        .qk_norm = LATHE_MUST,
        .qk_norm_kind = LATHE_NORM_RMS,
        .act = LATHE_ACT_SILU,
        .gated = true,
        .output = LATHE_MAY,
    },
    {
        .name = "gemma", /* norm weights hold 1 + w already */
        .norm = LATHE_NORM_RMS,
        .position = LATHE_POSITION_ROPE_NEOX,
        .act = LATHE_ACT_GELU,
        .gated = true,
        .embd_scaled = true,
        .output = LATHE_MAY,
    },
    {
        .name = "gemma2",
        .norm = LATHE_NORM_RMS,
        .position = LATHE_POSITION_ROPE_NEOX,
        .act = LATHE_ACT_GELU,
        .gated = true,
        .post_norms = true,
        .embd_scaled = true,
        .output = LATHE_MAY,
        .window_period = 2,
        .window_default = 4096,
        .attn_softcap = 50.0f,
        .final_softcap = 30.0f,
        .layers_wide_scale = 46,
    },
    {
        .name = "gemma3",
        .norm = LATHE_NORM_RMS,
        .position = LATHE_POSITION_ROPE_NEOX,
        .qk_norm = LATHE_MUST,
        .qk_norm_kind = LATHE_NORM_RMS,
        .act = LATHE_ACT_GELU,
        .gated = true,
        .post_norms = true,
        .embd_scaled = true,
        .output = LATHE_MAY,
        .window_period = 6,
        .final_softcap_only_global = true,
        .rope_base_sliding = 10000.0f,
        .rope_scale_global_only = true,
        .layers_wide_scale = 62,
    },
    {
        .name = "phi3", /* window keys of its files are not followed: full attention, as llama.cpp does */
        .norm = LATHE_NORM_RMS,
        .position = LATHE_POSITION_ROPE_NEOX,
        .fused_qkv = true,
        .act = LATHE_ACT_SILU,
        .gated = true,
        .fused_gate_up = true,
        .output = LATHE_MAY,
    },
    {
        .name = "gpt2",
        .norm = LATHE_NORM_LAYER,
        .norm_bias = true,
        .position = LATHE_POSITION_LEARNED,
        .fused_qkv = true,
        .qkv_bias = LATHE_MUST,
        .out_bias = LATHE_MUST,
        .ffn_bias = LATHE_MUST,
        .act = LATHE_ACT_GELU,
        .output = LATHE_MAY,
        .head_count_kv_equal = true,
    },
    {
        .name = "gptneox",
        .norm = LATHE_NORM_LAYER,
        .norm_bias = true,
        .position = LATHE_POSITION_ROPE_NEOX,
        .fused_qkv = true,
        .qkv_bias = LATHE_MUST,
        .out_bias = LATHE_MUST,
        .ffn_bias = LATHE_MUST,
        .act = LATHE_ACT_GELU,
        .output = LATHE_MUST,
        .parallel = LATHE_PARALLEL_BY_KEY,
        .head_count_kv_equal = true,
    },
    {
        .name = "stablelm",
        .norm = LATHE_NORM_LAYER,
        .norm_bias = true,
        .position = LATHE_POSITION_ROPE_NEOX,
        .qkv_bias = LATHE_MAY,
        .qk_norm = LATHE_MAY,
        .qk_norm_kind = LATHE_NORM_LAYER,
        .qk_norm_per_head = true,
        .act = LATHE_ACT_SILU,
        .gated = true,
        .output = LATHE_MUST,
        .parallel = LATHE_PARALLEL_SHARED_NORM,
    },
    {
        .name = "opt", /* the position table is stored without OPT's two leading rows */
        .norm = LATHE_NORM_LAYER,
        .norm_bias = true,
        .position = LATHE_POSITION_LEARNED,
        .qkv_bias = LATHE_MUST,
        .out_bias = LATHE_MUST,
        .ffn_bias = LATHE_MUST,
        .act = LATHE_ACT_RELU,
        .output = LATHE_MAY,
        .head_count_kv_equal = true,
    },
};

const lathe_family *lathe_family_find(const char *name) {
    for (size_t i = 0; i < LATHE_LEN(families); i++)
        if (strcmp(families[i].name, name) == 0)
            return &families[i];
    return NULL;
}

const lathe_family *lathe_family_at(size_t i) {
    return i < LATHE_LEN(families) ? &families[i] : NULL;
}

const char *lathe_family_names(void) {
    return "llama, qwen2, qwen3, gemma, gemma2, gemma3, phi3, gpt2, gptneox, stablelm, opt";
}
