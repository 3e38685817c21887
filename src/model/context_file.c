/* context_file.c - a context's caches in a file: a long prompt is read once.
 *
 * Layout (little endian): header, ids, cells {i32 position, u64 sequences}, lists {u32 length, u32 cell
 * indices} of each sequence, then for each layer the keys and the values of all cells. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "model/model_impl.h"

static const char MAGIC[8] = {'L', 'A', 'T', 'H', 'E', 'K', 'V', '1'};

typedef struct header {
    char magic[8];
    uint64_t fingerprint;
    uint32_t type_k, type_v, n_layer, row_k, row_v; /* bytes of a row */
    uint32_t n_cells, n_seqs, n_ids;
    char policy[32];
} header;

static header header_of(const lathe_context *c) {
    header h = {.fingerprint = c->model->fingerprint,
                .type_k = (uint32_t) c->kv.type_k,
                .type_v = (uint32_t) c->kv.type_v,
                .n_layer = (uint32_t) c->kv.n_layer,
                .row_k = (uint32_t) c->kv.k[0]->nb[1],
                .row_v = (uint32_t) c->kv.v[0]->nb[1],
                .n_cells = (uint32_t) c->cells.n_taken,
                .n_seqs = (uint32_t) c->n_seq_max};
    memcpy(h.magic, MAGIC, sizeof h.magic);
    snprintf(h.policy, sizeof h.policy, "%s", c->kv.policy.name);
    return h;
}

/* Streams have tables of their own, which the file has no place for. */
static lathe_status only_full(const lathe_context *c, lathe_error *err) {
    return c->kv.policy.n_groups == 1
               ? LATHE_OK
               : lathe_fail(err, LATHE_ERR_UNSUPPORTED,
                            "sessions with cache policy %s are not written or read yet", c->kv.policy.name);
}

/* --- Writing ------------------------------------------------------------------------------------- */

/* Cells in row order, and where each row went: index[row]. */
static lathe_status write_cells(const lathe_context *c, lathe_writer *w, uint32_t *index, lathe_error *err) {
    lathe_status status = LATHE_OK;
    uint32_t n = 0;
    for (int32_t r = 0; r < c->cells.n_used && status == LATHE_OK; r++) {
        if (c->cells.pos[r] < 0)
            continue;
        index[r] = n++;
        status = lathe_writer_add(w, &c->cells.pos[r], sizeof(int32_t), err);
        if (status == LATHE_OK)
            status = lathe_writer_add(w, &c->cells.seqs[r], sizeof(uint64_t), err);
    }
    for (int32_t s = 0; s < c->n_seq_max && status == LATHE_OK; s++) {
        uint32_t length = (uint32_t) c->cells.length[s];
        status = lathe_writer_add(w, &length, sizeof length, err);
        for (uint32_t i = 0; i < length && status == LATHE_OK; i++)
            status = lathe_writer_add(w, &index[c->cells.rows[(size_t) s * (size_t) c->cells.n_rows + i]],
                                      sizeof(uint32_t), err);
    }
    return status;
}

static lathe_status write_rows(const lathe_context *c, lathe_writer *w, struct ggml_tensor *t, void *row,
                               lathe_error *err) {
    lathe_status status = LATHE_OK;
    for (int32_t r = 0; r < c->cells.n_used && status == LATHE_OK; r++) {
        if (c->cells.pos[r] < 0)
            continue;
        ggml_backend_tensor_get(t, row, (size_t) r * t->nb[1], t->nb[1]);
        status = lathe_writer_add(w, row, t->nb[1], err);
    }
    return status;
}

lathe_status lathe_context_save(const lathe_context *c, const char *path, const int32_t *ids, size_t n_ids,
                                lathe_error *err) {
    if (path == NULL || (ids == NULL && n_ids > 0) || n_ids > LATHE_DESC_CTX_MAX)
        return lathe_fail(err, LATHE_ERR_ARG, "a session needs a path and at most %d ids",
                          LATHE_DESC_CTX_MAX);
    if (c->n_tree > 0)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "the token tree of the last batch waits for lathe_context_keep_path");
    lathe_status status = only_full(c, err);
    if (status != LATHE_OK)
        return status;
    header h = header_of(c);
    h.n_ids = (uint32_t) n_ids;
    size_t n_row = h.row_k > h.row_v ? h.row_k : h.row_v;
    uint32_t *index = malloc((size_t) c->cells.n_rows * sizeof *index);
    void *row = malloc(n_row);
    lathe_writer *w = NULL;
    status = index != NULL && row != NULL ? LATHE_OK
                                          : lathe_fail(err, LATHE_ERR_MEMORY, "no memory to write a session");
    if (status == LATHE_OK)
        status = lathe_writer_open(path, &w, err);
    if (status == LATHE_OK)
        status = lathe_writer_add(w, &h, sizeof h, err);
    if (status == LATHE_OK && n_ids > 0)
        status = lathe_writer_add(w, ids, n_ids * sizeof *ids, err);
    if (status == LATHE_OK)
        status = write_cells(c, w, index, err);
    for (int32_t l = 0; l < c->kv.n_layer && status == LATHE_OK; l++) {
        status = write_rows(c, w, c->kv.k[l], row, err);
        if (status == LATHE_OK)
            status = write_rows(c, w, c->kv.v[l], row, err);
    }
    free(index);
    free(row);
    if (status == LATHE_OK)
        return lathe_writer_commit(w, err);
    lathe_writer_abandon(w);
    return status;
}

/* --- Reading ------------------------------------------------------------------------------------- */

typedef struct cursor {
    const uint8_t *at;
    size_t left;
} cursor;

static bool take(cursor *c, void *out, size_t n) {
    if (n > c->left)
        return false;
    if (n > 0)
        memcpy(out, c->at, n);
    c->at += n;
    c->left -= n;
    return true;
}

static lathe_status check_header(const lathe_context *c, const header *h, const char *path,
                                 lathe_error *err) {
    header own = header_of(c);
    char policy[sizeof h->policy + 1] = {0};
    memcpy(policy, h->policy, sizeof h->policy);
    if (memcmp(h->magic, MAGIC, sizeof h->magic) != 0)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: no session file of this version", path);
    if (h->fingerprint != own.fingerprint)
        return lathe_fail(err, LATHE_ERR_INPUT,
                          "%s: a session of model %016" PRIx64 "; this model is %016" PRIx64, path,
                          h->fingerprint, own.fingerprint);
    if (h->type_k != own.type_k || h->type_v != own.type_v) {
        const char *k = h->type_k < GGML_TYPE_COUNT ? ggml_type_name((enum ggml_type) h->type_k) : "?";
        const char *v = h->type_v < GGML_TYPE_COUNT ? ggml_type_name((enum ggml_type) h->type_v) : "?";
        return lathe_fail(err, LATHE_ERR_INPUT,
                          "%s: a session with cache types %s and %s; this context has %s and %s", path, k, v,
                          ggml_type_name(c->kv.type_k), ggml_type_name(c->kv.type_v));
    }
    if (memcmp(h->policy, own.policy, sizeof own.policy) != 0)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: a session with cache policy %s; this context has %s",
                          path, policy, own.policy);
    if (h->n_layer != own.n_layer || h->row_k != own.row_k || h->row_v != own.row_v ||
        h->n_ids > LATHE_DESC_CTX_MAX || h->n_seqs > LATHE_KV_SEQS_MAX)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: a damaged session (sizes that do not fit the model)",
                          path);
    if (h->n_cells > (uint32_t) c->cells.n_rows)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: a session of %u cached tokens; the context holds %d",
                          path, h->n_cells, c->cells.n_rows);
    return LATHE_OK;
}

/* Cells and lists into a fresh table; every relation between them is proved. */
static bool read_cells(cursor *in, const header *h, lathe_cells *cells) {
    uint64_t allowed = cells->n_seqs == 64 ? UINT64_MAX : ((uint64_t) 1 << cells->n_seqs) - 1;
    int64_t n_bits = 0, n_listed = 0;
    for (uint32_t i = 0; i < h->n_cells; i++) {
        if (!take(in, &cells->pos[i], sizeof(int32_t)) || !take(in, &cells->seqs[i], sizeof(uint64_t)))
            return false;
        if (cells->pos[i] < 0 || cells->pos[i] >= cells->n_rows || cells->seqs[i] == 0 ||
            (cells->seqs[i] & ~allowed) != 0)
            return false;
        for (uint64_t s = cells->seqs[i]; s != 0; s &= s - 1)
            n_bits++;
    }
    for (uint32_t s = 0; s < h->n_seqs; s++) {
        uint32_t length;
        if (!take(in, &length, sizeof length) || length > h->n_cells ||
            (length > 0 && (int32_t) s >= cells->n_seqs))
            return false;
        int32_t last = -1;
        for (uint32_t i = 0; i < length; i++) {
            uint32_t row;
            if (!take(in, &row, sizeof row) || row >= h->n_cells || (cells->seqs[row] >> s & 1) == 0 ||
                cells->pos[row] <= last)
                return false;
            last = cells->pos[row];
            cells->rows[(size_t) s * (size_t) cells->n_rows + i] = (int32_t) row;
        }
        if ((int32_t) s < cells->n_seqs)
            cells->length[s] = (int32_t) length;
        n_listed += length;
    }
    cells->n_used = cells->n_taken = cells->hint = (int32_t) h->n_cells;
    return n_bits == n_listed;
}

static lathe_status load_from(lathe_context *c, const char *path, cursor in, int32_t **ids, size_t *n_ids,
                              lathe_error *err) {
    header h;
    if (!take(&in, &h, sizeof h))
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: no session file (too short)", path);
    lathe_status status = check_header(c, &h, path, err);
    if (status != LATHE_OK)
        return status;
    if ((size_t) h.n_ids * sizeof(int32_t) > in.left)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: a damaged session (cut off)", path);
    int32_t *list = malloc(((size_t) h.n_ids + 1) * sizeof *list);
    lathe_cells cells = {0};
    if (list == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the ids of a session");
    status = lathe_cells_new(c->cells.n_rows, c->n_seq_max, &cells, err);
    cells.ordered = c->cells.ordered;
    bool sound = status == LATHE_OK && take(&in, list, (size_t) h.n_ids * sizeof *list);
    for (uint32_t i = 0; sound && i < h.n_ids; i++)
        sound = list[i] >= 0 && list[i] < c->model->desc.n_vocab;
    sound = sound && read_cells(&in, &h, &cells);
    sound = sound && in.left == (size_t) h.n_layer * h.n_cells * ((size_t) h.row_k + h.row_v);
    if (!sound) {
        lathe_cells_free(&cells);
        free(list);
        return status != LATHE_OK ? status : lathe_fail(err, LATHE_ERR_INPUT, "%s: a damaged session", path);
    }
    for (int32_t l = 0; l < c->kv.n_layer; l++) {
        if (h.n_cells == 0)
            break;
        size_t n_k = (size_t) h.n_cells * h.row_k, n_v = (size_t) h.n_cells * h.row_v;
        ggml_backend_tensor_set(c->kv.k[l], in.at, 0, n_k);
        ggml_backend_tensor_set(c->kv.v[l], in.at + n_k, 0, n_v);
        in.at += n_k + n_v;
    }
    lathe_cells_free(&c->cells);
    c->cells = cells;
    c->n_tree = c->n_last = c->n_logits = 0;
    *ids = list;
    *n_ids = h.n_ids;
    return LATHE_OK;
}

lathe_status lathe_context_load(lathe_context *c, const char *path, int32_t **ids, size_t *n_ids,
                                lathe_error *err) {
    lathe_file file;
    if (path == NULL || ids == NULL || n_ids == NULL)
        return lathe_fail(err, LATHE_ERR_ARG, "a session needs a path and places for its ids");
    lathe_status status = only_full(c, err);
    if (status == LATHE_OK)
        status = lathe_file_open(path, true, 0, &file, err);
    if (status != LATHE_OK)
        return status;
    status = load_from(c, path, (cursor){.at = file.bytes, .left = file.n_bytes}, ids, n_ids, err);
    lathe_file_close(&file);
    return status;
}
