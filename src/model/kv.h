/* kv.h - the KV cache in two layers that stay apart: cells (which position of which sequences a row holds;
 * plain C) and store (the tensors of the rows, by policy). */
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

/* --- Store --------------------------------------------------------------------------------------- */

/* How a layer keeps its rows. Further policies (ring windows, top-k, another layer's rows) are rows of the
 * table in kv_policies.c. */
typedef struct lathe_kv_policy {
    const char *name;
    int32_t (*n_rows)(int32_t n_ctx); /* rows of a layer's tensors */
    bool keeps_positions;             /* cannot shift */
} lathe_kv_policy;

/* NULL name: full. ARG lists the names. */
LATHE_NODISCARD lathe_status lathe_kv_policy_find(const char *name, const lathe_kv_policy **policy,
                                                  lathe_error *err);
extern const lathe_kv_policy lathe_kv_full;

typedef struct lathe_kv_store {
    const lathe_kv_policy *policy;
    enum ggml_type type_k, type_v;
    int32_t n_layer, n_rows;
    struct ggml_context *ctx;
    ggml_backend_buffer_t *buffers; /* [n_buffers] one of each device */
    int32_t n_buffers;
    struct ggml_tensor **k, **v; /* [n_layer] each [dh * Hk, n_rows] */
    int64_t n_bytes;
} lathe_kv_store;

enum ggml_type lathe_cache_ggml_type(lathe_cache_type type);
/* n_rows besides what the policy needs: spare rows at the end. MEMORY before anything is allocated that would
 * not fit. */
LATHE_NODISCARD lathe_status lathe_kv_store_new(const lathe_desc *desc, const lathe_kv_policy *policy,
                                                int32_t n_rows, lathe_cache_type type_k,
                                                lathe_cache_type type_v, lathe_device *const *devices,
                                                int32_t n_devices, const int32_t *layer_device,
                                                lathe_kv_store *store, lathe_error *err);
void lathe_kv_store_free(lathe_kv_store *store);
/* Zeros rows whose values are not to be seen again (a computation that gave NaN). */
void lathe_kv_store_wipe(lathe_kv_store *store, const int32_t *rows, int32_t n);

#endif
