/** @file model.h
 * A model: description, weights, tokenizer; and a context: caches and graphs that turn tokens into logits.
 *
 * A model is read once and shared (read only) by any number of contexts; a context belongs to one thread at
 * a time. How a graph is made from a description: docs/architecture.md. */
#ifndef LATHE_MODEL_H
#define LATHE_MODEL_H

#include "lathe/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- Model --------------------------------------------------------------------------------------- */

typedef struct lathe_model lathe_model;
typedef struct lathe_vocab lathe_vocab;
typedef struct lathe_context lathe_context;

typedef struct lathe_model_params {
    size_t struct_size;
    const char *device; /**< ggml device name, NULL: CPU */
    const char *rpc;    /**< "host:port,host:port": devices of other machines; NULL: none */
    const float
        *split; /**< [n_split] shares of layers by device (RPC first, local last); NULL: free memory */
    int32_t n_split;
    bool no_mmap;    /**< read the weights instead of mapping the file */
    bool vocab_only; /**< tokenizer and metadata, no tensors */
    bool dequantise; /**< weights as f32 (training, curvature) */
    int32_t gelu;    /**< 0: as the file's type asks; 1: ggml's table; 2: exact (engine.md 2.16) */
    /** [n_head_ids] rising ids: only these tokens get a logit, logit i that of head_ids[i] (a draft of a
     * large vocabulary spends most of its time on the others). On the processor only. NULL and 0: all */
    const int32_t *head_ids;
    int32_t n_head_ids;
    lathe_logger logger;
    lathe_progress progress;
} lathe_model_params;

LATHE_API lathe_model_params lathe_model_params_default(void);

/** Reads a GGUF file. @param params NULL: defaults. Errors name the file, the field and what would be right.
 */
LATHE_API LATHE_NODISCARD lathe_status lathe_model_load(const char *path, const lathe_model_params *params,
                                                        lathe_model **model, lathe_error *err);
LATHE_API void lathe_model_free(lathe_model *model);

/** The tokenizer, owned by the model; NULL where the file has none. */
LATHE_API const lathe_vocab *lathe_model_vocab(const lathe_model *model);
LATHE_API const char *lathe_model_architecture(const lathe_model *model);
LATHE_API int32_t lathe_model_n_vocab(const lathe_model *model);
/** Logits of a token: n_vocab, or n_head_ids where the head was trimmed. */
LATHE_API int32_t lathe_model_n_logits(const lathe_model *model);
LATHE_API int32_t lathe_model_n_ctx_train(const lathe_model *model);
LATHE_API int32_t lathe_model_n_layer(const lathe_model *model);
LATHE_API int32_t lathe_model_n_embd(const lathe_model *model);
LATHE_API int32_t lathe_model_n_head(const lathe_model *model);
LATHE_API int32_t lathe_model_n_head_kv(const lathe_model *model);
LATHE_API int64_t lathe_model_n_params(const lathe_model *model);
LATHE_API int64_t lathe_model_weights_bytes(const lathe_model *model);
/** Bytes of weights that a step reads: all but the tables of which it looks rows up. */
LATHE_API int64_t lathe_model_step_bytes(const lathe_model *model);
/** 64-bit hash of the description and of the first 64 KiB of each tensor: equal models, equal sessions. */
LATHE_API uint64_t lathe_model_fingerprint(const lathe_model *model);
/** Metadata as text: the value of a GGUF key, or NULL. Borrowed. */
LATHE_API const char *lathe_model_meta(const lathe_model *model, const char *key);
/** The chat template of the file, or NULL. Borrowed. */
LATHE_API const char *lathe_model_chat_template(const lathe_model *model);

/* --- Tokens -------------------------------------------------------------------------------------- */

/** Text to ids. The text need not be NUL-terminated and may hold any bytes.
 * @param add_bos  -1: as the model says, 0: no, 1: yes
 * @param special  recognise special tokens written in the text
 * @param ids, n_ids  allocated; free with lathe_free */
LATHE_API LATHE_NODISCARD lathe_status lathe_tokenize(const lathe_vocab *vocab, const char *text,
                                                      size_t n_bytes, int add_bos, bool special,
                                                      int32_t **ids, size_t *n_ids, lathe_error *err);

/** Ids to text (bytes as the tokens say; *text is NUL-terminated besides). Free with lathe_free.
 * @param special  show control tokens too */
LATHE_API LATHE_NODISCARD lathe_status lathe_detokenize(const lathe_vocab *vocab, const int32_t *ids,
                                                        size_t n_ids, bool special, char **text,
                                                        size_t *n_bytes, lathe_error *err);

/** The bytes of one token as it stands inside a text; borrowed from the vocabulary.
 * @return NULL for an id outside it. */
LATHE_API const char *lathe_vocab_piece(const lathe_vocab *vocab, int32_t id, size_t *n_bytes);
LATHE_API int32_t lathe_vocab_size(const lathe_vocab *vocab);
LATHE_API int32_t lathe_vocab_bos(const lathe_vocab *vocab); /**< -1: none */
LATHE_API int32_t lathe_vocab_eos(const lathe_vocab *vocab); /**< -1: none */
LATHE_API bool lathe_vocab_adds_bos(const lathe_vocab *vocab);
/** true for every token that ends a generation (eos, eot, eom, and the known texts of families). */
LATHE_API bool lathe_vocab_is_end(const lathe_vocab *vocab, int32_t id);
LATHE_API bool lathe_vocab_is_control(const lathe_vocab *vocab, int32_t id);
/** The id whose text is exactly this, or -1. */
LATHE_API int32_t lathe_vocab_find(const lathe_vocab *vocab, const char *text, size_t n_bytes);

/** Bytes come in token by token, whole UTF-8 characters go out. */
typedef struct lathe_detok lathe_detok;
LATHE_API LATHE_NODISCARD lathe_status lathe_detok_new(const lathe_vocab *vocab, lathe_detok **detok,
                                                       lathe_error *err);
LATHE_API void lathe_detok_free(lathe_detok *detok);
/** Adds a token; *text (borrowed until the next call) holds what is complete now, perhaps nothing. */
LATHE_API void lathe_detok_add(lathe_detok *detok, int32_t id, const char **text, size_t *n_bytes);
/** What was held back, with U+FFFD for what is no UTF-8. */
LATHE_API void lathe_detok_end(lathe_detok *detok, const char **text, size_t *n_bytes);

/* --- Conversations ------------------------------------------------------------------------------- */

/** One turn. */
typedef struct lathe_message {
    const char *role; /**< "system", "user" or "assistant" */
    const char *text;
} lathe_message;

/** The kind of chat template, found by what its text contains: "llama2", "llama3", "chatml", "mistral-v1",
 * "mistral-v3", "gemma", "phi3", "zephyr", ...; a kind's own name gives itself. NULL where nothing fits. */
LATHE_API const char *lathe_chat_kind(const char *template_or_name);
/** Name i of the kinds, NULL behind the last. */
LATHE_API const char *lathe_chat_kind_at(size_t i);

/** Puts a conversation into the template of a kind.
 * @param kind      as lathe_chat_kind gives it
 * @param generate  end with the opening of the assistant's turn
 * @param eos_text  the end-of-sequence text that some kinds write after an answer; NULL: "</s>"
 * @param text      allocated, NUL-terminated: lathe_free */
LATHE_API LATHE_NODISCARD lathe_status lathe_chat_text(const char *kind, const lathe_message *messages,
                                                       size_t n_messages, bool generate, const char *eos_text,
                                                       char **text, lathe_error *err);

/** The same as ids: the template's own parts may become special tokens, what people wrote never does. BOS is
 * put first where the vocabulary adds it, once.
 * @param ids, n_ids  allocated; lathe_free */
LATHE_API LATHE_NODISCARD lathe_status lathe_chat_tokenize(const lathe_vocab *vocab, const char *kind,
                                                           const lathe_message *messages, size_t n_messages,
                                                           bool generate, int32_t **ids, size_t *n_ids,
                                                           lathe_error *err);

/* --- Making tokenizers and token files ----------------------------------------------------------- */

typedef struct lathe_tokenizer_params {
    size_t struct_size;
    bool characters;   /**< one token a character instead of byte-level BPE */
    int32_t n_vocab;   /**< tokens, specials and bytes included; 0: 2048 (characters: all there are) */
    const char *pre;   /**< how words are cut (BPE): "gpt-2", "llama-bpe", "qwen2", ... */
    int64_t min_count; /**< pairs (characters) that occur less often give no token */
    const char *const
        *specials; /**< [n_specials] control tokens, last in the vocabulary; BPE's first ends texts */
    size_t n_specials;
    bool parse_special; /**< their texts in the data count as these tokens, not as letters */
    lathe_progress progress;
} lathe_tokenizer_params;

LATHE_API lathe_tokenizer_params lathe_tokenizer_params_default(void);

typedef struct lathe_tokenizer_result {
    int32_t n_vocab, n_merges;
    int32_t n_unused;   /**< tokens that the training text never needs */
    uint64_t n_bytes;   /**< of the texts, without parsed specials */
    uint64_t n_tokens;  /**< that they become */
    uint64_t n_invalid; /**< bytes that are no UTF-8: kept as bytes */
    double bytes_per_token;
    int32_t n_longest;
    char longest[8][64]; /**< the longest tokens as UTF-8, U+FFFD for what is none, cut to fit */
} lathe_tokenizer_result;

/** Learns a tokenizer from texts [n_texts] and writes it as a vocabulary-only GGUF. The result depends on the
 * texts' words and their counts alone, not on the order of texts.
 * BPE: ids 0 to 255 are the bytes in order, then the merges, then the specials. Characters: <unk>, <s>, </s>,
 * 256 byte tokens, then characters by falling frequency (ties by code point).
 * Source: learning.md part F; Sennrich et al. 2016. */
LATHE_API LATHE_NODISCARD lathe_status lathe_tokenizer_train(const char *const *texts, const size_t *n_bytes,
                                                             size_t n_texts,
                                                             const lathe_tokenizer_params *params,
                                                             const char *path, lathe_tokenizer_result *result,
                                                             lathe_error *err);

/** A token file for training: "LTOK", u32 version 1, u32 bytes a token (2 or 4), u32 n_vocab, u64 n_tokens,
 * the tokenizer's SHA-256, zeros to 256 bytes, then the tokens; all little endian. */
typedef struct lathe_token_file lathe_token_file;
LATHE_API LATHE_NODISCARD lathe_status lathe_token_file_new(const char *path, const lathe_vocab *vocab,
                                                            lathe_token_file **file, lathe_error *err);
/** The same for tokens [0, n_vocab) without a vocabulary at hand; hash [32] of the tokenizer, or NULL: zeros.
 */
LATHE_API LATHE_NODISCARD lathe_status lathe_token_file_begin(const char *path, int32_t n_vocab,
                                                              const uint8_t *hash, lathe_token_file **file,
                                                              lathe_error *err);
LATHE_API LATHE_NODISCARD lathe_status lathe_token_file_add(lathe_token_file *file, const int32_t *ids,
                                                            size_t n, lathe_error *err);
/** The file appears at its place, and is freed whatever the result. */
LATHE_API LATHE_NODISCARD lathe_status lathe_token_file_finish(lathe_token_file *file, lathe_error *err);
/** Frees; the file that was there before stays. */
LATHE_API void lathe_token_file_free(lathe_token_file *file);
/** SHA-256 over kind, texts, types, scores and merges: equal hashes, equal ids. */
LATHE_API LATHE_NODISCARD lathe_status lathe_vocab_hash(const lathe_vocab *vocab, uint8_t hash[32],
                                                        lathe_error *err);

/** Frees what lathe_tokenize, lathe_detokenize and the like gave. */
LATHE_API void lathe_free(void *memory);

/* --- Context ------------------------------------------------------------------------------------- */

/** Names are those of --cache-type. */
typedef enum lathe_cache_type {
    LATHE_CACHE_F16,
    LATHE_CACHE_F32,
    LATHE_CACHE_Q8_0,
    LATHE_CACHE_Q4_0,
    LATHE_CACHE_BF16
} lathe_cache_type;

typedef struct lathe_context_params {
    size_t struct_size;
    int32_t n_ctx;            /**< positions; 0: the model's, at most what memory holds */
    int32_t n_rows;           /**< rows of the cache, over all sequences; 0: n_ctx */
    int32_t n_batch;          /**< tokens a forward pass takes at most; 0: 512 */
    int32_t n_seq_max;        /**< sequences, 1 to 64; 0: 1 */
    int32_t n_threads;        /**< 0: measured at start, re-checked while running */
    int32_t n_threads_prompt; /**< 0: n_threads, or measured */
    lathe_cache_type type_k, type_v;
    int32_t flash;      /**< -1: choose, 0: explicit attention, 1: flash */
    bool exact;         /**< same bits at any thread count, batch split and speculation (engine.md 6.6) */
    const char *policy; /**< cache policy: file or rule; NULL: full */
    lathe_logger logger;
} lathe_context_params;

LATHE_API lathe_context_params lathe_context_params_default(void);
LATHE_API LATHE_NODISCARD lathe_status lathe_context_new(const lathe_model *model,
                                                         const lathe_context_params *params,
                                                         lathe_context **context, lathe_error *err);
LATHE_API void lathe_context_free(lathe_context *context);
LATHE_API const lathe_model *lathe_context_model(const lathe_context *context);
LATHE_API int32_t lathe_context_n_ctx(const lathe_context *context);
LATHE_API int32_t lathe_context_n_batch(const lathe_context *context);
LATHE_API int32_t lathe_context_n_threads(const lathe_context *context);
LATHE_API int64_t lathe_context_cache_bytes(const lathe_context *context);

/** The tokens of one step. Arrays are borrowed for the call. */
typedef struct lathe_batch {
    const int32_t *tokens; /**< [n_tokens] ids in [0, n_vocab) */
    const int32_t *pos;    /**< [n_tokens] positions, or NULL: after the last of each sequence */
    const int32_t *seq;    /**< [n_tokens] sequence in [0, n_seq_max), or NULL: all 0 */
    const int32_t
        *parent; /**< [n_tokens] index in this batch of a drafted token's parent in a token tree, -1: follows
                      the committed tokens; NULL: no tree, each token sees those before it */
    const uint8_t *want; /**< [n_tokens] 1: logits wanted; NULL: for the last token only */
    int32_t n_tokens;    /**< any number: pieces of n_batch are made inside (a tree must fit one) */
} lathe_batch;

/** Runs the batch, appends its keys and values to the caches, keeps the wanted logits until the next call.
 * On failure and on cancellation the caches are as before.
 * Errors: ARG for ids, positions or sequences out of range and for a full context (the message says how many
 * tokens fit); CANCELLED after lathe_context_set_cancel's flag; NUMERIC for NaN logits. */
LATHE_API LATHE_NODISCARD lathe_status lathe_context_decode(lathe_context *context, const lathe_batch *batch,
                                                            lathe_error *err);

/** [n_vocab] logits of token i of the last batch; NULL if they were not wanted. -1: those of its last wanted.
 */
LATHE_API const float *lathe_context_logits(const lathe_context *context, int32_t i);

/** cancel(user) is polled between nodes of a graph; true ends the decode with LATHE_ERR_CANCELLED. */
LATHE_API void lathe_context_set_cancel(lathe_context *context, bool (*cancel)(void *user), void *user);

/* Sequences. Positions of a sequence are 0 .. n - 1 without holes unless shifted. */
LATHE_API int32_t lathe_context_n_past(const lathe_context *context,
                                       int32_t seq); /**< tokens held of a sequence */
/** Forgets tokens of a sequence from position `pos` on. */
LATHE_API LATHE_NODISCARD lathe_status lathe_context_rollback(lathe_context *context, int32_t seq,
                                                              int32_t pos, lathe_error *err);
/** Sequence `to` becomes a copy of `from` up to position n (moves no data). */
LATHE_API LATHE_NODISCARD lathe_status lathe_context_copy(lathe_context *context, int32_t from, int32_t to,
                                                          int32_t n, lathe_error *err);
/** Removes a sequence; -1: all. */
LATHE_API void lathe_context_clear(lathe_context *context, int32_t seq);
/** Drops positions [p0, p1) of a sequence and moves the later ones down by p1 - p0 (keys are rotated again).
 * UNSUPPORTED for models with learned positions. */
LATHE_API LATHE_NODISCARD lathe_status lathe_context_shift(lathe_context *context, int32_t seq, int32_t p0,
                                                           int32_t p1, lathe_error *err);
/** Of the token tree of the last batch keeps the nodes path[n] (indices in the batch, root first) and forgets
 * the others: no data moves. */
LATHE_API LATHE_NODISCARD lathe_status lathe_context_keep_path(lathe_context *context, const int32_t *path,
                                                               int32_t n, lathe_error *err);

/** Writes caches and ids beside `path` and renames. ids [n]: what the sequence 0 holds. */
LATHE_API LATHE_NODISCARD lathe_status lathe_context_save(const lathe_context *context, const char *path,
                                                          const int32_t *ids, size_t n_ids, lathe_error *err);
/** Reads a session; INPUT where model, types or policy differ (both are named). *ids: lathe_free. */
LATHE_API LATHE_NODISCARD lathe_status lathe_context_load(lathe_context *context, const char *path,
                                                          int32_t **ids, size_t *n_ids, lathe_error *err);

/* --- Taps ---------------------------------------------------------------------------------------- */

/** One intermediate tensor as it was computed: f32, contiguous, ne[0] fastest. Borrowed for the call. */
typedef struct lathe_tap_view {
    const char *name; /**< "attn_norm", "q", "k", "v", "q_rot", "k_rot", "scores", "probs", "attn_out",
                         "resid_mid", ... */
    int32_t layer;    /**< -1: not of a layer */
    int64_t ne[4];
    const float *data;
    const int32_t *pos; /**< [n_tokens] positions of the rows of this piece of the batch */
    int32_t n_tokens;
} lathe_tap_view;

/** Calls fn for the named tensors of the layers in [layer_first, layer_last] (-1: all) in every decode from
 * now on. names: comma-separated; NULL removes all taps. No cost when none is set. "scores" and "probs" make
 * their layers use explicit attention. ARG names an unknown tap and lists those that exist. */
LATHE_API LATHE_NODISCARD lathe_status lathe_context_tap(lathe_context *context, const char *names,
                                                         int32_t layer_first, int32_t layer_last,
                                                         void (*fn)(void *user, const lathe_tap_view *view),
                                                         void *user, lathe_error *err);

/* --- Model files --------------------------------------------------------------------------------- */

typedef struct lathe_quantize_params {
    size_t struct_size;
    const char *type;  /**< "q4_K", "q8_0", "f16", ...: any that needs no importance matrix */
    bool mix;          /**< attn_v and ffn_down of the outer and every third layer in q6_K */
    int32_t n_threads; /**< 0: the cores there are; the result does not depend on it */
    lathe_logger logger;
    lathe_progress progress;
} lathe_quantize_params;

typedef struct lathe_quantize_result {
    int64_t bytes_in, bytes_out; /**< of the files */
    int32_t n_types;
    struct {
        const char *type;
        int32_t n_tensors;
    } types[48]; /**< [n_types] of the new file */
} lathe_quantize_result;

LATHE_API lathe_quantize_params lathe_quantize_params_default(void);

/** Writes the GGUF file `in` with other tensor types to `out`. Any type that can be dequantised is a source.
 * Vectors, norms, position embeddings and routers stay as they are; output.weight, and token_embd.weight
 * where it is the output too, become q6_K (q8_0 where the target is q8_0 or the row is no multiple of 256);
 * rows that no block of the type divides take a type of smaller blocks. NUMERIC names a tensor with NaN or
 * infinity. */
LATHE_API LATHE_NODISCARD lathe_status lathe_model_quantize(const char *in, const char *out,
                                                            const lathe_quantize_params *params,
                                                            lathe_quantize_result *result, lathe_error *err);

typedef struct lathe_synth_params {
    size_t struct_size;
    const char *arch;  /**< family: "llama", "gemma2", ... */
    const char *shape; /**< "1M", "10M", "100M", "1B", "8B" */
    const char *like;  /**< NULL, or a trained GGUF model of family llama or qwen2 that is made as wide and as
                          deep  as the shape without changing its function (arch and seed are ignored) */
    const char *draft; /**< NULL, or a LongSpec draft of `like`, widened alike into draft_output */
    const char *draft_output;
    const char *type; /**< of the matrices; the rules of lathe_model_quantize */
    uint64_t seed;
    int32_t n_threads; /**< 0: the cores there are; the result does not depend on it */
    lathe_progress progress;
} lathe_synth_params;

typedef struct lathe_synth_result {
    int64_t n_params, bytes;
} lathe_synth_result;

LATHE_API lathe_synth_params lathe_synth_params_default(void);

/** Writes a model with seeded random weights and a tokenizer: the same bytes for the same family, shape, type
 * and seed. Never holds more than a piece of one tensor. Source: engine.md 4.4. */
LATHE_API LATHE_NODISCARD lathe_status lathe_model_synth(const char *path, const lathe_synth_params *params,
                                                         lathe_synth_result *result, lathe_error *err);

#ifdef __cplusplus
}
#endif
#endif
