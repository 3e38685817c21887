/* kv.h - the KV cache in layers that stay apart: cells (which position of which sequences a row holds; plain
 * C), policies (which rows a layer keeps), streams (rings of rows), and the store (the tensors of the rows).
 */
#ifndef LATHE_MODEL_KV_H
#define LATHE_MODEL_KV_H

#include <ggml-backend.h>
#include <ggml.h>

#include "lathe/model.h"
#include "model/desc.h"
#include "tensor/device.h"

enum { LATHE_KV_SEQS_MAX = 64 };

/* --- Cells --------------------------------------------------------------------------------------- */

/* Every sequence has the list of its rows in the order of its tokens; positions rise along it, except among
 * the nodes of a pending token tree, which are at its end. Nothing is allocated after lathe_cells_new. */
typedef struct lathe_cells {
    int32_t n_rows, n_seqs;
    int32_t n_used;  /* rows below this may be taken */
    int32_t n_taken; /* rows that are */
    int32_t hint;    /* no row below is free */
    bool
        ordered; /* rows rise with positions where there is room (--exact: sums over keys keep their order) */
    int32_t *pos;   /* [n_rows] -1: free */
    uint64_t *seqs; /* [n_rows] set of sequences */
    int32_t *rows;  /* [n_seqs, n_rows] lists */
    int32_t length[LATHE_KV_SEQS_MAX];
} lathe_cells;

LATHE_NODISCARD lathe_status lathe_cells_new(int32_t n_rows, int32_t n_seqs, lathe_cells *cells,
                                             lathe_error *err);
void lathe_cells_free(lathe_cells *cells);
/* Takes free rows for n tokens and appends them to their sequences; all or none (false: too few rows). */
bool lathe_cells_place(lathe_cells *cells, const int32_t *seq, const int32_t *pos, int32_t n, int32_t *rows);
int32_t lathe_cells_next_pos(const lathe_cells *cells, int32_t seq); /* after the last token; 0 for none */
/* Keeps the first n entries of a sequence's list. */
void lathe_cells_truncate(lathe_cells *cells, int32_t seq, int32_t n);
/* Forgets tokens from position pos on. */
void lathe_cells_rollback(lathe_cells *cells, int32_t seq, int32_t pos);
/* Sequence `to` holds the first n tokens of `from`, and nothing else. */
void lathe_cells_copy(lathe_cells *cells, int32_t from, int32_t to, int32_t n);
/* true where a token of the sequence from list entry i on is shared with another sequence. */
bool lathe_cells_shared_from(const lathe_cells *cells, int32_t seq, int32_t i);
/* Drops list entries [i0, i1) and moves the positions of the later ones by delta. */
void lathe_cells_shift(lathe_cells *cells, int32_t seq, int32_t i0, int32_t i1, int32_t delta);
/* Of the entries from `from` on keeps those whose row is in keep[n], in keep's order. */
void lathe_cells_keep(lathe_cells *cells, int32_t seq, int32_t from, const int32_t *keep, int32_t n);

/* mask [n, n_kv] of 16-bit floats: 0 where token t sees row r, -inf elsewhere. rows: where the tokens lie.
 * parent: as lathe_batch has it, or NULL. base[seq]: entries of each list before this batch (for trees).
 * window 0: none. */
void lathe_cells_mask(const lathe_cells *cells, const int32_t *seq, const int32_t *pos, const int32_t *rows,
                      const int32_t *parent, const int32_t *base, int32_t n, int32_t n_kv, int32_t window,
                      uint16_t *mask);

/* --- Policies ------------------------------------------------------------------------------------ */

/* How a layer keeps its rows. full: all. stream: those of the first `sink` positions and of the `recent` last
 * ones, the token itself among them (attention.md C.b): a query at position i sees the key at j where j <
 * sink or i - j < recent. Keys stay rotated at their true positions. */
typedef enum lathe_kv_kind { LATHE_KV_FULL, LATHE_KV_STREAM } lathe_kv_kind;

typedef struct lathe_kv_rule {
    lathe_kv_kind kind;
    int32_t sink, recent;
} lathe_kv_rule;

enum { LATHE_KV_GROUPS_MAX = 5, LATHE_KV_SINK_MAX = 256, LATHE_KV_NAME = 32 };

/* Layers of the same rule are one group with one table of cells; group 0 is full, with or without layers. */
typedef struct lathe_kv_policy {
    char name[LATHE_KV_NAME]; /* the rule, or "file" and a number that its rules give */
    int32_t n_groups;
    lathe_kv_rule rules[LATHE_KV_GROUPS_MAX];
    uint8_t group[LATHE_DESC_LAYERS_MAX]; /* of each layer */
} lathe_kv_policy;

/* A rule for all layers ("full", "window:R", "stream:S,R") or a policy file (attention.md C.f). NULL: full.
 * ARG for rules that are none or do not fit the model, INPUT for files. */
LATHE_NODISCARD lathe_status lathe_kv_policy_of(const lathe_desc *desc, const char *text,
                                                lathe_kv_policy *policy, lathe_error *err);
LATHE_NODISCARD lathe_status lathe_kv_policy_read(const lathe_desc *desc, const char *path,
                                                  lathe_kv_policy *policy, lathe_error *err);
/* Gives a layer a rule: that of a group there is, or of a new one. Checks the rule against the layer. */
LATHE_NODISCARD lathe_status lathe_kv_policy_set(const lathe_desc *desc, int32_t layer, lathe_kv_rule rule,
                                                 lathe_kv_policy *policy, lathe_error *err);

/* --- Streams ------------------------------------------------------------------------------------- */

/* Rows that are kept beyond what queries see: so far can be rolled back without reading anything again. */
enum { LATHE_KV_SLACK = 64 };

/* The rows of a stream group: a ring. When rows run short, those that no later query sees are given away. */
typedef struct lathe_kv_stream {
    lathe_kv_rule rule;
    lathe_cells cells;
    int32_t lost[LATHE_KV_SEQS_MAX]; /* positions [sink, lost) are given away */
    int32_t *rows, *tree_rows;       /* [n_batch] of the batch at work, of a pending token tree */
    int32_t tree_base[LATHE_KV_SEQS_MAX];
} lathe_kv_stream;

/* Rows for a context of n_ctx in batches of n_batch. */
int32_t lathe_kv_stream_n_rows(const lathe_kv_rule *rule, int32_t n_ctx, int32_t n_seqs, int32_t n_batch);
LATHE_NODISCARD lathe_status lathe_kv_stream_new(const lathe_kv_rule *rule, int32_t n_ctx, int32_t n_seqs,
                                                 int32_t n_batch, lathe_kv_stream *stream, lathe_error *err);
void lathe_kv_stream_free(lathe_kv_stream *stream);
/* Whether all is there that a token of the sequence at position pos sees. */
bool lathe_kv_stream_reaches(const lathe_kv_stream *stream, int32_t seq, int32_t pos);
/* Places a batch's tokens in stream->rows. false: too few rows (a batch beyond n_batch). */
bool lathe_kv_stream_place(lathe_kv_stream *stream, const int32_t *seq, const int32_t *pos, int32_t n);
/* Forgets tokens from position pos on; true: nothing that a token there sees is missing. */
bool lathe_kv_stream_rollback(lathe_kv_stream *stream, int32_t seq, int32_t pos);
/* Sequence `to` holds the tokens of `from` before position pos, and nothing else. */
void lathe_kv_stream_copy(lathe_kv_stream *stream, int32_t from, int32_t to, int32_t pos);

/* What a batch's queries run over: entries, each a row, in an order that depends on positions alone (so that
 * blocks of the attention kernel do, and results depend neither on where rows lie nor on how batches are
 * cut). For each sequence: sinks, padded, then positions from a multiple of 512 on, then the nodes of a tree.
 */
int32_t lathe_kv_stream_n_entries(const lathe_kv_stream *stream, const int32_t *seq, const int32_t *pos,
                                  const int32_t *parent, int32_t n);
/* entries [n_entries]: rows (some row where there is none); mask [n, n_entries] of 16-bit floats. */
void lathe_kv_stream_view(const lathe_kv_stream *stream, const int32_t *seq, const int32_t *pos,
                          const int32_t *parent, int32_t n, int32_t n_entries, int32_t *entries,
                          uint16_t *mask);

/* --- Store --------------------------------------------------------------------------------------- */

typedef struct lathe_kv_store {
    lathe_kv_policy policy;
    enum ggml_type type_k, type_v;
    int32_t n_layer;
    int32_t n_rows[LATHE_KV_GROUPS_MAX]; /* of a layer's tensors, by group */
    struct ggml_context *ctx;
    ggml_backend_buffer_t *buffers; /* [n_buffers] one of each device */
    int32_t n_buffers;
    struct ggml_tensor **k, **v; /* [n_layer] each [dh * Hk, n_rows] */
    int64_t n_bytes;
} lathe_kv_store;

enum ggml_type lathe_cache_ggml_type(lathe_cache_type type);
/* n_rows: of each group's layers, spare ones among them. MEMORY before anything is allocated that would not
 * fit. */
LATHE_NODISCARD lathe_status lathe_kv_store_new(const lathe_desc *desc, const lathe_kv_policy *policy,
                                                const int32_t *n_rows, lathe_cache_type type_k,
                                                lathe_cache_type type_v, lathe_device *const *devices,
                                                int32_t n_devices, const int32_t *layer_device,
                                                lathe_kv_store *store, lathe_error *err);
void lathe_kv_store_free(lathe_kv_store *store);
/* Zeros rows of a group whose values are not to be seen again (a computation that gave NaN). */
void lathe_kv_store_wipe(lathe_kv_store *store, int32_t group, const int32_t *rows, int32_t n);

#endif
