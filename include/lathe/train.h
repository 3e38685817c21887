/** @file train.h
 * Training: optimisers on plain float arrays, schedules, deterministic data order, and the loop that turns a
 * token file into a GGUF model, resumable bit for bit. Equations: docs/training.md. */
#ifndef LATHE_TRAIN_H
#define LATHE_TRAIN_H

#include "lathe/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- Optimisers ---------------------------------------------------------------------------------- */

typedef enum lathe_optim_kind {
    LATHE_OPTIM_SGD,
    LATHE_OPTIM_SIGNSGD,
    LATHE_OPTIM_LION,
    LATHE_OPTIM_ADAMW,
    LATHE_OPTIM_MUON,    /**< matrices only */
    LATHE_OPTIM_SHAMPOO, /**< matrices only */
    LATHE_OPTIM_SOAP,    /**< matrices only */
    LATHE_OPTIM_COUNT
} lathe_optim_kind;

/** How Muon orthogonalises: polynomial iterations (coefficients by origin), or the singular value
 * decomposition. */
typedef enum lathe_ns_kind {
    LATHE_NS_JORDAN5,
    LATHE_NS_YOU5,
    LATHE_NS_POLAR5,
    LATHE_NS_POLAR8,
    LATHE_NS_CUBIC10,
    LATHE_NS_SVD,
    LATHE_NS_COUNT
} lathe_ns_kind;

typedef struct lathe_optim {
    lathe_optim_kind kind;
    double weight_decay; /**< decoupled, but for SGD without `decoupled` */
    double momentum;     /**< SGD, SignSGD, Muon */
    double dampening;    /**< SGD */
    bool nesterov;       /**< SGD, Muon */
    bool decoupled;      /**< SGD: decay the weights instead of adding to the gradient */
    double beta1, beta2, eps;
    lathe_ns_kind ns;
    bool original_scale; /**< Muon: sqrt(max(1, rows/cols)) instead of 0.2 sqrt(max(rows, cols)) */
    bool sum;            /**< Shampoo: textbook sums, roots each step, no grafting */
    double beta_side;    /**< Shampoo, SOAP: average of the two sides' statistics, 0.95 */
    int32_t refresh;     /**< Shampoo, SOAP: steps between new roots or bases, 10 */
} lathe_optim;

/** Usual settings of a kind (docs/training.md). */
LATHE_API lathe_optim lathe_optim_default(lathe_optim_kind kind);
/** "adamw", ...; NULL outside. */
LATHE_API const char *lathe_optim_name(lathe_optim_kind kind);
LATHE_API const char *lathe_ns_name(lathe_ns_kind kind);
/** Ranges and contradictions. */
LATHE_API LATHE_NODISCARD lathe_status lathe_optim_check(const lathe_optim *optim, lathe_error *err);
/** Floats of state for a rows x cols tensor (a vector: rows 1). Zero them before the first step. */
LATHE_API size_t lathe_optim_state_size(const lathe_optim *optim, int64_t rows, int64_t cols);
/** One step in place: w [rows, cols] row-major (rows = outputs), g alike, t from 1, lr as scheduled.
 * @return ARG where a matrix optimiser meets a vector, NUMERIC for a gradient that is not finite (w and
 *         state are as before); messages begin with name */
LATHE_API LATHE_NODISCARD lathe_status lathe_optim_step(const lathe_optim *optim, const char *name, float *w,
                                                        const float *g, float *state, int64_t rows,
                                                        int64_t cols, int64_t t, double lr, lathe_error *err);
/** out [rows, cols] = the orthogonal factor of g as ns finds it; zero for zero. */
LATHE_API LATHE_NODISCARD lathe_status lathe_orthogonalise(lathe_ns_kind ns, const float *g, int64_t rows,
                                                           int64_t cols, float *out, lathe_error *err);
/** The polynomial of ns applied to one singular value (after the normalisation). */
LATHE_API double lathe_ns_scalar(lathe_ns_kind ns, double x);

/** Optimiser states of a checkpoint's folder ("run/checkpoint-000100"). */
typedef struct lathe_train_state lathe_train_state;
LATHE_API LATHE_NODISCARD lathe_status lathe_train_state_open(const char *checkpoint,
                                                              lathe_train_state **state, lathe_error *err);
LATHE_API void lathe_train_state_close(lathe_train_state *state);
LATHE_API int64_t lathe_train_state_step(const lathe_train_state *state);
/** The n floats of a tensor's state; NULL where it has none. */
LATHE_API const float *lathe_train_state_of(const lathe_train_state *state, const char *tensor, size_t *n);

/* --- Schedules ----------------------------------------------------------------------------------- */

typedef enum lathe_schedule_kind {
    LATHE_SCHEDULE_CONSTANT,
    LATHE_SCHEDULE_COSINE,
    LATHE_SCHEDULE_LINEAR,
    LATHE_SCHEDULE_WSD,        /**< constant, then 1 - sqrt */
    LATHE_SCHEDULE_WSD_LINEAR, /**< constant, then linear */
} lathe_schedule_kind;

typedef struct lathe_schedule {
    lathe_schedule_kind kind;
    int64_t warmup, total; /**< steps */
    double min_ratio;      /**< cosine, linear */
    double decay;          /**< WSD: share of total that decays */
} lathe_schedule;

/** Factor of the peak rate at step t, from 1. */
LATHE_API double lathe_schedule_at(const lathe_schedule *schedule, int64_t t);

/* --- Data ---------------------------------------------------------------------------------------- */

/** A token file, mapped read only. */
typedef struct lathe_tokens lathe_tokens;

/** Opens a token file ("LTOK"); n_vocab > 0: it must have been made for so many tokens, and each id is
 * checked. */
LATHE_API LATHE_NODISCARD lathe_status lathe_tokens_open(const char *path, int32_t n_vocab,
                                                         lathe_tokens **tokens, lathe_error *err);
LATHE_API void lathe_tokens_close(lathe_tokens *tokens);
LATHE_API uint64_t lathe_tokens_count(const lathe_tokens *tokens);
LATHE_API int32_t lathe_tokens_n_vocab(const lathe_tokens *tokens);
/** SHA-256 [32] of the tokenizer that made the file; NULL where it does not say. */
LATHE_API const uint8_t *lathe_tokens_hash(const lathe_tokens *tokens);
/** out[n] = tokens at, at + 1, ...; within the file. */
LATHE_API void lathe_tokens_read(const lathe_tokens *tokens, uint64_t at, int32_t n, int32_t *out);
/** Writes a token file at once (lathe_token_file_begin writes one piece by piece). tokenizer_hash [32] may be
 * NULL. ARG where an id is outside the vocabulary. */
LATHE_API LATHE_NODISCARD lathe_status lathe_tokens_write(const char *path, const int32_t *ids, uint64_t n,
                                                          int32_t n_vocab, const uint8_t *tokenizer_hash,
                                                          lathe_error *err);

/** true for a file that begins like a token file. */
LATHE_API bool lathe_tokens_is_file(const char *path);

/** Text files to make token files of. A file is cut into documents at `separator`; without one in it, at its
 * chapters ("CHAPTER ", "Chapter " at the beginning of three lines or more), else every 2000 lines. */
typedef struct lathe_train_texts {
    const char *const *paths; /**< [n_paths] */
    const int32_t
        *repeats; /**< [n_paths] how often the documents of each stand in the training file; NULL: once */
    size_t n_paths;
    const char *tokenizer; /**< a GGUF file, or "bpe" (NULL), "bytes", "char": learned from the texts */
    int32_t n_vocab;       /**< of "bpe"; 0: 2048 */
    double hold_out;       /**< the last share of each file's documents is kept for evaluation */
    const char *separator; /**< NULL: none */
    uint64_t seed;         /**< of the documents' order */
    const char *folder; /**< gets train.ltok, held-out.ltok, data.json, tokenizer.gguf where one is learned */
    lathe_logger logger;
    lathe_progress progress;
} lathe_train_texts;

typedef struct lathe_train_texts_result {
    char train[4096], eval[4096], tokenizer[4096]; /**< paths; eval "": nothing was held out */
    uint64_t n_train, n_eval, n_documents, n_bytes;
} lathe_train_texts_result;

/** Makes the files, or finds those that were made of the same texts with the same settings. Each document
 * begins with BOS where the tokenizer has one. */
LATHE_API LATHE_NODISCARD lathe_status lathe_train_prepare(const lathe_train_texts *params,
                                                           lathe_train_texts_result *result,
                                                           lathe_error *err);

/** Element i of epoch's pseudo-random permutation of 0 .. n - 1, without memory. */
LATHE_API uint64_t lathe_permuted(uint64_t seed, uint32_t epoch, uint64_t n, uint64_t i);
/** First token of the window that example `index` of the stream of epochs is; n_tokens > ctx. */
LATHE_API uint64_t lathe_window_at(uint64_t seed, uint64_t n_tokens, int32_t ctx, uint64_t index);

/* --- Training ------------------------------------------------------------------------------------ */

/** Tensors whose names match take this optimiser. */
typedef struct lathe_train_group {
    const char *match; /**< "blk.*.(attn_v|attn_output|ffn_*).weight": * ? [abc] (one|two) */
    lathe_optim optim;
    double lr; /**< peak; 0: the run's */
} lathe_train_group;

/** A step that an observer sees. Tensors are in the order of lathe_train_list. */
struct lathe_desc;
typedef struct lathe_train_moment {
    int64_t step;
    const struct lathe_desc *desc; /**< for lathe_curve_of */
    size_t n_tensors;
    const float *const *before, *const *after; /**< [n_tensors] weights before and after the step */
    const int32_t *tokens;                     /**< [rows][ctx + 1] of the step's whole batch */
    int32_t rows, ctx;
    char *fields; /**< members to add to the step's row: begins as "", then ", \"name\": value" and so on */
    size_t n_fields;
} lathe_train_moment;

typedef struct lathe_train_params {
    size_t struct_size;
    const char *data, *eval_data; /**< token files; eval_data NULL: no evaluation */
    const char *tokenizer;        /**< GGUF whose tokenizer the model carries; NULL: none */
    const char *output;           /**< folder of the run */
    const char *init;       /**< GGUF whose shape and weights the run begins with, and whose tokenizer it
                                 carries where `tokenizer` is NULL; NULL: random weights */
    const char *distill;    /**< GGUF of a teacher with the same vocabulary; NULL: none */
    double distill_weight;  /**< share w of the teacher: (1 - w) CE + w KL(teacher || model) */
    double z_loss;          /**< weight of the squared log-partition; 0: none */
    double label_smoothing; /**< in [0, 1) */
    double dropout;         /**< of residual branches, in [0, 1) */
    int64_t dropout_from;   /**< first step with it */
    const char *family;
    const char *shape; /**< "1M", "10M", ...: what the numbers below, where 0, are taken from; NULL: none */
    const char *name;  /**< general.name; NULL: none */
    /** Without `init`; n_ctx, the tokens of a sequence, also with it. */
    int32_t n_layer, n_embd, n_head, n_head_kv, n_ff, n_ctx;
    bool tied;
    int32_t rows, accum; /**< sequences in a micro-batch; micro-batches in a step, of each process */
    bool exact_reduce;   /**< sums of gradients in double in the order of the global micro-batches: the same
                              bits for any number of processes */
    lathe_optim matrix, other; /**< hidden matrices; everything else */
    double lr, lr_other;       /**< peaks; lr_other 0: lr */
    /** [n_groups] before those two; the first that matches wins. Vectors and embeddings that a pattern for an
     * optimiser of matrices happens to match pass it by. */
    const lathe_train_group *groups;
    size_t n_groups;
    lathe_schedule schedule;
    double clip; /**< of the global gradient norm; 0: none */
    double ema;  /**< 0: none */
    uint64_t seed;
    int32_t eval_every, save_every, keep;
    int32_t patience; /**< stops after so many evaluations without a better one; 0: never */
    double
        stop_loss; /**< stops when the held-out loss (without one: a step's loss) is at most this; 0: never */
    double max_seconds; /**< saves and stops after so long; 0: never */
    int32_t n_threads;
    /** A device of ggml's ("CUDA0") or "host:port" of a worker that the graph runs on; NULL: the processor,
     * with ops of our own. Optimisers run on the processor. */
    const char *device;
    bool recompute;   /**< keep each layer's result only: a third more products, a fraction of the memory */
    bool resume;      /**< go on from the newest complete checkpoint in output, if any */
    bool must_resume; /**< INPUT where there is none */
    /** Sees the steps that observe_wants asks for; changes nothing of the run. NULL: nobody. */
    lathe_status (*observe)(void *user, lathe_train_moment *moment, lathe_error *err);
    bool (*observe_wants)(void *user, int64_t step);
    void *observe_user;
    /** Tokens see their own document only, and positions begin anew with it. A document begins at each BOS of
     * the tokenizer; one without BOS: after each EOS. */
    bool attn_reset;
    int32_t sample_every; /**< steps between samples, 0: none */
    /** Writes what the model at this step says: `model` is a GGUF file that is removed afterwards. What the
     * callback writes as lines {"step": N, ...} of output/samples.jsonl is shown in the report, and cut to
     * the checkpoint's step by a run that goes on. Called by one process. */
    lathe_status (*sample)(void *user, int64_t step, const char *model, lathe_error *err);
    void *sample_user;
    lathe_logger logger;
    lathe_progress progress;
} lathe_train_params;

LATHE_API lathe_train_params lathe_train_params_default(void);

typedef struct lathe_train_result {
    int64_t step, n_params;
    double loss, eval_loss; /**< nats a token; NaN: never measured */
    double tokens_per_s;
    int32_t rank;  /**< of this process; results are written by 0 */
    bool finished; /**< false: max_seconds came first */
} lathe_train_result;

/** Trains; writes output/metrics.jsonl, output/checkpoint-N/ and, at the end, output/model.gguf and
 * output/report.html. */
LATHE_API LATHE_NODISCARD lathe_status lathe_train_run(const lathe_train_params *params,
                                                       lathe_train_result *result, lathe_error *err);

/** What a run would need, from three steps of it; nothing is written. */
typedef struct lathe_train_plan {
    int64_t n_params, n_tokens;   /**< parameters; tokens of the whole run */
    size_t model_bytes;           /**< weights, inputs, and the graphs' values */
    size_t state_bytes;           /**< optimiser states, sums, averages */
    double tokens_per_s, seconds; /**< measured; of the whole run */
} lathe_train_plan;
LATHE_API LATHE_NODISCARD lathe_status lathe_train_measure(const lathe_train_params *params,
                                                           lathe_train_plan *plan, lathe_error *err);

/** Of processes under mpirun (a build with MPI): this one's number, and its farewell before it ends. */
LATHE_API int32_t lathe_train_rank(void);
LATHE_API void lathe_train_end(void);
/** Waits for the others; all leave with an error if one has one. */
LATHE_API LATHE_NODISCARD lathe_status lathe_train_agree(lathe_status status, lathe_error *err);

/** What a run would do with a tensor. */
typedef struct lathe_train_tensor {
    const char *name;
    int32_t n_dims;
    int64_t ne[4];     /**< columns first */
    const char *group; /**< its pattern, "matrix" or "other" */
    lathe_optim optim;
    double lr;
    size_t state_bytes;
} lathe_train_tensor;

/** Sees each tensor of the run; nothing is trained or written. */
LATHE_API LATHE_NODISCARD lathe_status lathe_train_list(const lathe_train_params *params,
                                                        void (*see)(void *user,
                                                                    const lathe_train_tensor *tensor),
                                                        void *user, lathe_error *err);
/* --- LongSpec's draft ------------------------------------------------------------------------------ */

enum { LATHE_LONGSPEC_SHIFTS_MAX = 16, LATHE_LONGSPEC_BATCHES = 8 };

/** A draft block for a target that is left as it is: it keeps a window of keys of its own and reads the rest
 * from the target's last layer. Source: Yang et al. 2025 (LongSpec). */
typedef struct lathe_longspec_params {
    size_t struct_size;
    const char *target; /**< GGUF; its vocabulary must be that of the token files */
    int32_t window;     /**< 512; own keys a query sees besides its own */
    int32_t n_ff;       /**< 0: the target's */
    /** Each micro-batch draws a shift j in [shift_min, shift_max]: a query sees target keys that are at least
     * j tokens old, as in step j of a draft. 1, 5; both 0: the query sees all before it (for comparison). */
    int32_t shift_min, shift_max;
    /** 4: positions of all but so many first tokens are moved on by a random offset of at most offset_max
     * less the sequence, so that short texts teach far anchors; 0: none. */
    int32_t anchors;
    int32_t offset_max; /**< 0: the target's context */
    bool no_cross;      /**< without the target's keys (for comparison) */
} lathe_longspec_params;

LATHE_API lathe_longspec_params lathe_longspec_params_default(void);

typedef struct lathe_longspec_result {
    lathe_train_result run;
    double target_loss; /**< of the target on the same held-out tokens; NaN: none were given */
    int32_t n_shifts;
    /** Share of held-out positions at which draft and target have the same likeliest token, by shift from 1.
     */
    double agreement[LATHE_LONGSPEC_SHIFTS_MAX];
    int32_t n_batches;                                                  /**< of held-out tokens */
    double by_batch[LATHE_LONGSPEC_BATCHES][LATHE_LONGSPEC_SHIFTS_MAX]; /**< the same of each */
} lathe_longspec_result;

/** Trains by the loop of lathe_train_run, resumable alike; output/model.gguf is the draft's file. Of train's
 * model fields n_ctx alone counts. */
LATHE_API LATHE_NODISCARD lathe_status lathe_longspec_train(const lathe_longspec_params *params,
                                                            const lathe_train_params *train,
                                                            lathe_longspec_result *result, lathe_error *err);

#ifdef __cplusplus
}
#endif
#endif
