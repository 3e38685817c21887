/* desc.h - the description of a model: what kind of graph its tensors make.
 *
 * A family is one row of switches in families.c; a description is a family plus the numbers of one model. The
 * graph builder (build.h), the loader, synth and training all read descriptions and know no family by name.
 *
 * From a file:      lathe_desc_from_gguf(gguf, &desc, &err)
 * From numbers:     lathe_shape s = lathe_shape_default("llama"); s.n_layer = 4; ...
 *                   lathe_desc_from_shape(&s, &desc, &err)
 * Its tensors:      lathe_desc_tensors(&desc, &list, &n, &err): exactly those that a file of it holds
 * Its metadata:     lathe_desc_keys(&desc, &visitor): each "general." and "<family>." key with its value */
#ifndef LATHE_MODEL_DESC_H
#define LATHE_MODEL_DESC_H

#include "lathe/base.h"

struct lathe_gguf;

enum {
    LATHE_DESC_LAYERS_MAX = 1024,
    LATHE_DESC_EMBD_MAX = 1 << 17,
    LATHE_DESC_HEADS_MAX = 4096,
    LATHE_DESC_HEAD_WIDTH_MAX = 1024,
    LATHE_DESC_FF_MAX = 1 << 20,
    LATHE_DESC_VOCAB_MAX = 1 << 22,
    LATHE_DESC_CTX_MAX = 1 << 24,
    LATHE_DESC_NAME_MAX = 64, /* a tensor's name with its NUL: GGML_MAX_NAME */
};

/* --- Switches ------------------------------------------------------------------------------------ */

typedef enum lathe_norm_kind { LATHE_NORM_RMS, LATHE_NORM_LAYER } lathe_norm_kind;
typedef enum lathe_position_kind {
    LATHE_POSITION_ROPE_NORMAL, /* pairs (2i, 2i + 1) */
    LATHE_POSITION_ROPE_NEOX,   /* pairs (i, i + n_rot / 2) */
    LATHE_POSITION_LEARNED,     /* a row of position_embd is added to the embedding */
} lathe_position_kind;
typedef enum lathe_act_kind { LATHE_ACT_SILU, LATHE_ACT_GELU, LATHE_ACT_RELU } lathe_act_kind;
typedef enum lathe_presence { LATHE_ABSENT, LATHE_MAY, LATHE_MUST } lathe_presence;
typedef enum lathe_parallel_kind {
    LATHE_PARALLEL_NEVER,
    LATHE_PARALLEL_BY_KEY,     /* use_parallel_residual: both branches have norms of their own */
    LATHE_PARALLEL_SHARED_NORM /* where ffn_norm is missing the FFN reads what the attention reads */
} lathe_parallel_kind;
typedef enum lathe_rope_scaling {
    LATHE_ROPE_PLAIN,
    LATHE_ROPE_LINEAR,
    LATHE_ROPE_YARN,
    LATHE_ROPE_LONG /* two tables of factors, by the context in use (phi3) */
} lathe_rope_scaling;
typedef enum lathe_gelu_kind { LATHE_GELU_TABLE = 1, LATHE_GELU_EXACT = 2 } lathe_gelu_kind;

/* One family. Adding one is adding a row (docs/families.md). */
typedef struct lathe_family {
    const char *name; /* general.architecture */
    lathe_norm_kind norm;
    bool norm_bias; /* attn_norm, ffn_norm and output_norm have biases (LayerNorm) */
    lathe_position_kind position;
    bool fused_qkv; /* attn_qkv: rows of Q, then K, then V */
    lathe_presence qkv_bias, out_bias, ffn_bias, output_bias;
    lathe_presence qk_norm; /* per head, before RoPE */
    lathe_norm_kind qk_norm_kind;
    bool qk_norm_per_head; /* weights [dh, heads] instead of [dh] */
    lathe_act_kind act;
    bool gated;            /* down(act(gate x) * up x) */
    bool fused_gate_up;    /* ffn_up [d, 2 ff]: gate, then up */
    bool post_norms;       /* norms on both branches' outputs before the residual adds */
    bool embd_scaled;      /* embedding times sqrt(d) */
    lathe_presence output; /* MAY: tied where missing; MUST: an own matrix; ABSENT: always tied */
    lathe_parallel_kind parallel;
    int32_t window_period;  /* default period of sliding layers: il % p < p - 1 slides; 0: no windows */
    int32_t window_default; /* where the key is missing; 0: no window then */
    float attn_softcap, final_softcap; /* defaults; 0: none */
    bool final_softcap_only_global;    /* honoured only where no layer slides */
    float rope_base_sliding;           /* default base of sliding layers; 0: as the others */
    bool rope_scale_global_only;       /* sliding layers are not scaled */
    int32_t layers_wide_scale;         /* with this many layers the scale is 1 / sqrt(d / H); 0: never */
    bool head_count_kv_equal;          /* no grouped heads */
} lathe_family;

/* NULL for a name that is not in the table. */
const lathe_family *lathe_family_find(const char *name);
/* Families in the table's order; NULL past the end. */
const lathe_family *lathe_family_at(size_t i);
/* "llama, qwen2, ...": for messages. */
const char *lathe_family_names(void);

/* --- Description --------------------------------------------------------------------------------- */

typedef struct lathe_desc {
    const lathe_family *family;
    int32_t n_layer, n_embd, n_head, n_head_kv, n_embd_head_k, n_embd_head_v, n_ff, n_vocab;
    int32_t n_ctx_train;
    int32_t n_pos; /* rows of position_embd; 0: no learned positions */
    float norm_eps;
    float attn_scale;                              /* multiplies Q K^T */
    float attn_softcap, final_softcap;             /* 0: none */
    float embd_scale, logit_scale, residual_scale; /* 1: none */
    float clamp_kqv;                               /* 0: none */
    bool parallel;                                 /* attention and FFN read the same residual */
    int32_t window; /* keys that a sliding layer sees, itself among them; 0: none */
    uint8_t slides[LATHE_DESC_LAYERS_MAX];

    /* RoPE; n_rot 0: none. Values for sliding layers besides. */
    int32_t n_rot;
    lathe_rope_scaling rope_scaling;
    float rope_base, rope_base_sliding;
    float rope_freq_scale, rope_freq_scale_sliding; /* 1 / factor */
    float rope_ext_factor, rope_attn_factor, rope_beta_fast, rope_beta_slow;
    int32_t n_ctx_orig;

    /* Which optional tensors there are. */
    bool has_output, has_output_bias;
    bool has_qkv_bias, has_out_bias, has_ffn_bias;
    bool has_qk_norm, has_ffn_norm;
    bool has_rope_freqs;   /* rope_freqs.weight [n_rot / 2] */
    bool has_rope_factors; /* rope_factors_long/short.weight [n_rot / 2] */
} lathe_desc;

/* The window of a layer in keys, or 0: it sees all. */
int32_t lathe_desc_window(const lathe_desc *desc, int32_t layer);

/* Reads and checks the keys of a file (types, ranges), and which optional tensors there are. Does not check
 * the tensors' shapes: lathe_desc_check does. */
LATHE_NODISCARD lathe_status lathe_desc_from_gguf(const struct lathe_gguf *gguf, lathe_desc *desc,
                                                  lathe_error *err);

/* Numbers from which a new model is described; 0 and NULL mean the family's default. */
typedef struct lathe_shape {
    const char *family;
    int32_t n_layer, n_embd, n_head, n_ff, n_vocab, n_ctx; /* required */
    int32_t n_head_kv;                                     /* 0: n_head */
    int32_t n_embd_head;                                   /* 0: n_embd / n_head */
    int32_t n_rot;   /* 0: the head's width (a quarter of it for gptneox and stablelm) */
    float rope_base; /* 0: 10000 */
    float norm_eps;  /* 0: 1e-5 */
    int32_t window;  /* 0: the family's default */
    bool tied;       /* no output matrix of its own, where the family allows that */
    bool no_window;  /* every layer sees all */
} lathe_shape;

lathe_shape lathe_shape_default(const char *family);
LATHE_NODISCARD lathe_status lathe_desc_from_shape(const lathe_shape *shape, lathe_desc *desc,
                                                   lathe_error *err);

/* --- Tensors ------------------------------------------------------------------------------------- */

typedef enum lathe_tensor_role {
    LATHE_ROLE_EMBD,     /* token_embd, position_embd */
    LATHE_ROLE_MATRIX,   /* a linear layer's weight */
    LATHE_ROLE_RESIDUAL, /* a linear layer's weight whose result is added to the residual stream */
    LATHE_ROLE_OUTPUT,   /* output.weight */
    LATHE_ROLE_NORM,     /* a norm's weight */
    LATHE_ROLE_BIAS,
    LATHE_ROLE_TABLE, /* constants: rope_freqs, rope_factors */
} lathe_tensor_role;

typedef struct lathe_desc_tensor {
    char name[LATHE_DESC_NAME_MAX];
    int64_t ne[4]; /* ggml's order; 1 beyond n_dims */
    int32_t n_dims;
    int32_t layer; /* -1: of no layer */
    lathe_tensor_role role;
    bool optional; /* the family also allows files without it */
} lathe_desc_tensor;

/* Every tensor of this description (optional ones that it lacks are not listed), in a file's usual order.
 * free(*list). */
LATHE_NODISCARD lathe_status lathe_desc_tensors(const lathe_desc *desc, lathe_desc_tensor **list, size_t *n,
                                                lathe_error *err);

/* Every listed tensor is in the file with its shape and an allowed type (norms and biases f32, f16, bf16;
 * finite norms); others of the file are counted in *n_unknown (may be NULL). */
LATHE_NODISCARD lathe_status lathe_desc_check(const lathe_desc *desc, const struct lathe_gguf *gguf,
                                              size_t *n_unknown, lathe_error *err);

/* Parameters of all listed tensors but tables. */
int64_t lathe_desc_n_params(const lathe_desc *desc);

/* --- Metadata ------------------------------------------------------------------------------------ */

/* Receives each key that a reader needs to get this description back; a false stops. */
typedef struct lathe_desc_visitor {
    bool (*u32)(void *user, const char *key, uint32_t value);
    bool (*f32)(void *user, const char *key, float value);
    bool (*boolean)(void *user, const char *key, bool value);
    bool (*text)(void *user, const char *key, const char *value);
    bool (*bools)(void *user, const char *key, const uint8_t *values, size_t n); /* an array of bool */
    void *user;
} lathe_desc_visitor;

/* false where a visitor returned false. */
bool lathe_desc_keys(const lathe_desc *desc, const lathe_desc_visitor *visitor);

#endif
