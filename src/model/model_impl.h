/* model_impl.h - what a lathe_model and a lathe_context are inside; for the sources of model and context
 * only. */
#ifndef LATHE_MODEL_MODEL_IMPL_H
#define LATHE_MODEL_MODEL_IMPL_H

#include "lathe/model.h"
#include "model/build.h"
#include "model/desc.h"
#include "model/gguf.h"
#include "model/kv.h"
#include "model/weights.h"
#include "tensor/cpu/attention.h"
#include "tensor/cpu/linear.h"
#include "tensor/device.h"

/* Graphs are kept by shape: drafts of 0 to 16 tokens at two lengths of the cache are 34, and building one
 * takes half a plain step of a model of 100M. */
enum { LATHE_DEVICES_MAX = 16, LATHE_GRAPH_SLOTS = 40, LATHE_GRAPH_SMALL = 24 };

/* The output matrix where only some tokens are scored (trim_head.c). */
typedef struct lathe_head {
    struct ggml_context *ctx;  /* owns the rows; NULL: the whole matrix is used */
    struct ggml_tensor *whole; /* what it stands for */
    int32_t *ids, n;           /* [n] the token of each logit */
} lathe_head;

struct lathe_model {
    lathe_desc desc;
    lathe_gguf *gguf;
    lathe_vocab *vocab;
    lathe_device *devices[LATHE_DEVICES_MAX]; /* remote ones first, the processor last */
    int32_t n_devices;
    int32_t layer_device[LATHE_DESC_LAYERS_MAX];
    lathe_weight_store weights;
    lathe_packed_set *packed; /* what our kernels multiply; NULL: ggml does it all */
    const lathe_cpu *cpu;     /* with which kernels; NULL likewise */
    lathe_head head;
    lathe_gelu_kind gelu;
    bool float_weights; /* some matrix is f32, f16 or bf16: rows of a batch depend on its size (engine.md 6.6)
                         */
    bool vocab_only;
    uint64_t fingerprint;
    lathe_logger logger;
};

/* --- Graphs that are kept ------------------------------------------------------------------------ */

/* Everything that a graph's shape depends on besides the model and the context. */
typedef struct lathe_graph_key {
    int32_t n_tokens, n_kv, n_out;
    int32_t n_entries[LATHE_KV_GROUPS_MAX]; /* of streams; 0: full */
    uint32_t taps;                          /* generation of the tap list; 0: none */
    int32_t tree;                           /* 1: a tree whose attention goes in two parts */
} lathe_graph_key;

typedef struct lathe_graph_tap {
    lathe_tap which;
    int32_t layer;
    struct ggml_tensor *tensor;
} lathe_graph_tap;

typedef struct lathe_graph {
    lathe_graph_key key;
    uint64_t used; /* when last; 0: never */
    void *memory;  /* of ctx; grows only */
    size_t n_memory;
    struct ggml_context *ctx;
    struct ggml_cgraph *gf;
    ggml_gallocr_t alloc;
    struct ggml_tensor *tokens, *pos, *rows, *mask, *mask_sliding, *out_ids, *logits;
    struct ggml_tensor *tree_prefix, *tree_rows, *tree_ancestors; /* where key.tree */
    struct lathe_graph_stream {
        struct ggml_tensor *rows, *entries, *mask;
    } streams[LATHE_KV_GROUPS_MAX]; /* [0] is not used */
    lathe_graph_tap *taps;          /* [n_taps] */
    size_t n_taps, max_taps;
} lathe_graph;

/* --- Context ------------------------------------------------------------------------------------- */

typedef struct lathe_tap_list {
    uint32_t generation; /* 0: no taps */
    uint32_t wanted;     /* bit of each lathe_tap */
    int32_t layer_first, layer_last;
    void (*fn)(void *user, const lathe_tap_view *view);
    void *user;
    float *values; /* scratch; grows only */
    size_t n_values;
} lathe_tap_list;

enum { LATHE_WATCH_TIMES = 32 };

/* What is known of the time of single tokens, where the threads were measured (threads.c). */
typedef struct lathe_thread_watch {
    bool on;
    double times[LATHE_WATCH_TIMES];
    int32_t n;        /* tokens since the last change */
    int32_t n_before; /* threads before a trial; 0: no trial */
    int32_t n_trial;
    double trial[4], before, back_off, quiet_until;
} lathe_thread_watch;

struct lathe_context {
    const lathe_model *model;
    lathe_context_params params;
    int32_t n_ctx, n_batch, n_seq_max;
    int32_t n_threads, n_threads_prompt;
    bool flash, rope_long, dummy_row;
    lathe_thread_watch watch;
    lathe_device *cpu;                        /* own: threads and cancellation are per context */
    lathe_device *devices[LATHE_DEVICES_MAX]; /* the model's remote ones, then cpu */
    ggml_backend_sched_t sched;               /* several devices; else NULL */
    lathe_cells cells;
    lathe_kv_store kv;
    lathe_kv_stream streams[LATHE_KV_GROUPS_MAX]; /* of the store's groups; [0] is not used */
    int32_t *entries;                             /* scratch of n_entries, as stream_mask */
    uint16_t *stream_mask;
    size_t n_entries;
    lathe_graph graphs[LATHE_GRAPH_SLOTS + 1]; /* the last one is for batches above LATHE_GRAPH_SMALL */
    uint64_t clock;
    lathe_kernels kernels;   /* empty where ggml does it all */
    lathe_attention_op attn; /* what their attention is given */
    lathe_rope_op rope[2]; /* rotation and cache write of layers without and with a window; {0}: ggml's ops */
    lathe_tap_list taps;
    bool (*cancel)(void *user);
    void *cancel_user;

    /* The batch at work. */
    int32_t *tokens, *pos, *seq, *rows, *out_ids; /* [n_batch + 1] */
    int64_t *rows64;                              /* [n_batch + 1] */
    uint16_t *mask;                               /* scratch where inputs are not in host memory */
    size_t n_mask;
    int32_t *tree_rows, *tree_parent, *tree_seq; /* [n_batch] of a pending token tree */
    int32_t n_tree;
    int32_t tree_base[LATHE_KV_SEQS_MAX];

    /* What was asked for. */
    float *logits;      /* [n_logits, n_vocab]; grows only */
    size_t max_logits;  /* rows */
    int32_t *logit_row; /* [n_last] row of token i, or -1; grows only */
    int32_t max_last, n_last, n_logits;
};

/* The graph of a key, built where it is not kept. */
LATHE_NODISCARD lathe_status lathe_context_graph(lathe_context *c, const lathe_graph_key *key,
                                                 lathe_graph **graph, lathe_error *err);
void lathe_graph_free(lathe_graph *graph);
/* Runs it on the context's devices. */
LATHE_NODISCARD lathe_status lathe_context_compute(lathe_context *c, lathe_graph *graph, lathe_error *err);
/* Reads the tensors that taps asked for. */
LATHE_NODISCARD lathe_status lathe_context_read_taps(lathe_context *c, const lathe_graph *graph,
                                                     int32_t n_tokens, lathe_error *err);
bool lathe_tap_wanted(const lathe_tap_list *taps, lathe_tap which, int32_t layer);
/* Decides the numbers of threads that were left open (threads.c). */
LATHE_NODISCARD lathe_status lathe_context_choose_threads(lathe_context *c, lathe_error *err);
/* Hears the time of a decoded token, and may change the number of threads. */
void lathe_context_watch_threads(lathe_context *c, double seconds);

#endif
