/* sequence.c - what a context holds: rollback, copies, shifts, and the accepted path of a token tree. */
#include <stdlib.h>
#include <string.h>

#include "model/model_impl.h"

static lathe_status check_seq(const lathe_context *c, int32_t seq, lathe_error *err) {
    if (seq >= 0 && seq < c->n_seq_max)
        return LATHE_OK;
    return lathe_fail(err, LATHE_ERR_ARG, "sequence %d; 0 to %d is right", seq, c->n_seq_max - 1);
}

/* A tree that nobody chose from is forgotten as a whole. */
static void forget_tree(lathe_context *c) {
    for (int32_t g = 1; g < c->kv.policy.n_groups && c->n_tree > 0; g++)
        for (int32_t s = 0; s < c->n_seq_max; s++)
            if (c->streams[g].cells.length[s] > c->streams[g].tree_base[s])
                lathe_cells_truncate(&c->streams[g].cells, s, c->streams[g].tree_base[s]);
    for (int32_t s = 0; s < c->n_seq_max && c->n_tree > 0; s++)
        if (c->cells.length[s] > c->tree_base[s])
            lathe_cells_truncate(&c->cells, s, c->tree_base[s]);
    c->n_tree = 0;
}

int32_t lathe_context_n_past(const lathe_context *c, int32_t seq) {
    if (seq < 0 || seq >= c->n_seq_max)
        return 0;
    return c->n_tree > 0 ? c->tree_base[seq] : c->cells.length[seq];
}

/* Whether every layer still holds what position pos of a sequence sees; pos 0: always. */
static lathe_status check_reach(const lathe_context *c, int32_t seq, int32_t pos, lathe_error *err) {
    for (int32_t g = 1; g < c->kv.policy.n_groups; g++)
        if (!lathe_kv_stream_reaches(&c->streams[g], seq, pos))
            return lathe_fail(
                err, LATHE_ERR_UNSUPPORTED,
                "cache policy %s has given away rows before position %d: sequence %d can go back to the last "
                "%d positions, or to 0",
                c->kv.policy.name, pos, seq, LATHE_KV_SLACK);
    return LATHE_OK;
}

lathe_status lathe_context_rollback(lathe_context *c, int32_t seq, int32_t pos, lathe_error *err) {
    lathe_status status = check_seq(c, seq, err);
    if (status == LATHE_OK && pos < 0)
        status = lathe_fail(err, LATHE_ERR_ARG, "position %d; 0 or more is right", pos);
    if (status != LATHE_OK)
        return status;
    forget_tree(c);
    if (pos < lathe_cells_next_pos(&c->cells, seq))
        status = check_reach(c, seq, pos, err);
    if (status != LATHE_OK)
        return status;
    lathe_cells_rollback(&c->cells, seq, pos);
    for (int32_t g = 1; g < c->kv.policy.n_groups; g++)
        (void) lathe_kv_stream_rollback(&c->streams[g], seq, pos);
    return LATHE_OK;
}

lathe_status lathe_context_copy(lathe_context *c, int32_t from, int32_t to, int32_t n, lathe_error *err) {
    lathe_status status = check_seq(c, from, err);
    if (status == LATHE_OK)
        status = check_seq(c, to, err);
    if (status != LATHE_OK)
        return status;
    forget_tree(c);
    if (n < 0 || n > c->cells.length[from])
        return lathe_fail(err, LATHE_ERR_ARG, "%d tokens of sequence %d, which holds %d", n, from,
                          c->cells.length[from]);
    const int32_t *list = c->cells.rows + (size_t) from * (size_t) c->cells.n_rows;
    int32_t pos = n > 0 ? c->cells.pos[list[n - 1]] + 1 : 0;
    if (n < c->cells.length[from])
        status = check_reach(c, from, pos, err);
    if (status != LATHE_OK)
        return status;
    lathe_cells_copy(&c->cells, from, to, n);
    for (int32_t g = 1; g < c->kv.policy.n_groups; g++)
        lathe_kv_stream_copy(&c->streams[g], from, to, pos);
    return LATHE_OK;
}

void lathe_context_clear(lathe_context *c, int32_t seq) {
    forget_tree(c);
    for (int32_t s = 0; s < c->n_seq_max; s++)
        if (seq == -1 || s == seq) {
            lathe_cells_truncate(&c->cells, s, 0);
            for (int32_t g = 1; g < c->kv.policy.n_groups; g++)
                (void) lathe_kv_stream_rollback(&c->streams[g], s, 0);
        }
}

/* Copies a row of every layer. */
static void move_row(lathe_context *c, int32_t from, int32_t to, void *row) {
    for (int32_t l = 0; l < c->kv.n_layer; l++)
        for (int side = 0; side < 2; side++) {
            struct ggml_tensor *t = side == 0 ? c->kv.k[l] : c->kv.v[l];
            ggml_backend_tensor_get(t, row, (size_t) from * t->nb[1], t->nb[1]);
            ggml_backend_tensor_set(t, row, (size_t) to * t->nb[1], t->nb[1]);
        }
}

/* With --exact the kept rows are moved to the lowest rows of their sequence's nodes, so that no hole is
 * filled by a later token: the order of rows stays that of positions. Everywhere else nothing moves. rows[n]:
 * as kept. */
static lathe_status close_gaps(lathe_context *c, int32_t seq, int32_t *rows, int32_t n, lathe_error *err) {
    size_t n_row = c->kv.k[0]->nb[1] > c->kv.v[0]->nb[1] ? c->kv.k[0]->nb[1] : c->kv.v[0]->nb[1];
    void *row = malloc(n_row);
    if (row == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a cache row");
    int32_t *list = c->cells.rows + (size_t) seq * (size_t) c->cells.n_rows + c->tree_base[seq];
    int32_t n_nodes = c->cells.length[seq] - c->tree_base[seq]; /* placed in rising order */
    for (int32_t i = 0; i < n && i < n_nodes; i++) {
        if (list[i] == rows[i])
            continue;
        move_row(c, rows[i], list[i], row);
        c->cells.pos[list[i]] = c->cells.pos[rows[i]];
        rows[i] = list[i];
    }
    free(row);
    return LATHE_OK;
}

static void keep_in_stream(lathe_context *c, lathe_kv_stream *stream, int32_t seq, const int32_t *path,
                           int32_t n) {
    int32_t n_keep = 0;
    for (int32_t i = 0; i < n; i++)
        if (c->tree_seq[path[i]] == seq)
            stream->rows[n_keep++] = stream->tree_rows[path[i]];
    if (stream->cells.length[seq] > stream->tree_base[seq])
        lathe_cells_keep(&stream->cells, seq, stream->tree_base[seq], stream->rows, n_keep);
}

lathe_status lathe_context_keep_path(lathe_context *c, const int32_t *path, int32_t n, lathe_error *err) {
    if (c->n_tree == 0)
        return lathe_fail(err, LATHE_ERR_ARG, "the last batch was no token tree");
    if (n < 0 || n > c->n_tree || (n > 0 && path == NULL))
        return lathe_fail(err, LATHE_ERR_ARG, "a path of %d nodes in a tree of %d", n, c->n_tree);
    /* Each node follows the last kept one of its sequence. */
    int32_t last[LATHE_KV_SEQS_MAX];
    for (int32_t s = 0; s < c->n_seq_max; s++)
        last[s] = -1;
    for (int32_t i = 0; i < n; i++) {
        if (path[i] < 0 || path[i] >= c->n_tree)
            return lathe_fail(err, LATHE_ERR_ARG, "node %d of the path is %d; 0 to %d is right", i, path[i],
                              c->n_tree - 1);
        int32_t s = c->tree_seq[path[i]];
        if (c->tree_parent[path[i]] != last[s])
            return lathe_fail(err, LATHE_ERR_ARG,
                              "node %d of the path: its parent is %d, and the path came from %d", path[i],
                              c->tree_parent[path[i]], last[s]);
        last[s] = path[i];
    }
    for (int32_t s = 0; s < c->n_seq_max; s++) {
        int32_t n_keep = 0;
        for (int32_t i = 0; i < n; i++)
            if (c->tree_seq[path[i]] == s)
                c->rows[n_keep++] = c->tree_rows[path[i]];
        lathe_status status =
            c->params.exact && n_keep > 0 ? close_gaps(c, s, c->rows, n_keep, err) : LATHE_OK;
        if (status != LATHE_OK)
            return status;
        if (c->cells.length[s] > c->tree_base[s])
            lathe_cells_keep(&c->cells, s, c->tree_base[s], c->rows, n_keep);
        for (int32_t g = 1; g < c->kv.policy.n_groups; g++)
            keep_in_stream(c, &c->streams[g], s, path, n);
    }
    c->n_tree = 0;
    return LATHE_OK;
}

/* --- Shift --------------------------------------------------------------------------------------- */

/* Rotates the keys of rows[n] by delta in every layer: one graph a layer, in f32 in between. */
static lathe_status rotate_rows(lathe_context *c, const int32_t *rows, int32_t n, int32_t delta,
                                lathe_error *err) {
    const lathe_desc *d = &c->model->desc;
    lathe_status status = LATHE_OK;
    size_t n_nodes = 16;
    struct ggml_context *ctx = ggml_init((struct ggml_init_params){
        .mem_size = n_nodes * ggml_tensor_overhead() + ggml_graph_overhead_custom(n_nodes, false),
        .no_alloc = true});
    int64_t *rows64 = malloc((size_t) n * sizeof *rows64);
    int32_t *values = malloc((size_t) n * sizeof *values);
    if (ctx == NULL || rows64 == NULL || values == NULL)
        status = lathe_fail(err, LATHE_ERR_MEMORY, "no memory to shift %d rows", n);
    for (int32_t l = 0; l < d->n_layer && status == LATHE_OK; l++) {
        ggml_reset(ctx);
        lathe_device *device = c->devices[c->model->layer_device[l]];
        lathe_build b = {.ctx = ctx,
                         .desc = d,
                         .w = &c->model->weights.by_role,
                         .rope_long = c->rope_long,
                         .gf = ggml_new_graph_custom(ctx, n_nodes, false)};
        struct ggml_tensor *from = ggml_new_tensor_1d(ctx, GGML_TYPE_I32, n),
                           *to = ggml_new_tensor_1d(ctx, GGML_TYPE_I64, n),
                           *by = ggml_new_tensor_1d(ctx, GGML_TYPE_I32, n);
        ggml_set_input(from);
        ggml_set_input(to);
        ggml_set_input(by);
        struct ggml_tensor *k = ggml_get_rows(ctx, c->kv.k[l], from);
        k = ggml_reshape_3d(ctx, k, d->n_embd_head_k, d->n_head_kv, n);
        k = lathe_build_rope_shift(&b, l, k, by);
        k = ggml_reshape_2d(ctx, k, (int64_t) d->n_embd_head_k * d->n_head_kv, n);
        ggml_build_forward_expand(b.gf, ggml_set_rows(ctx, c->kv.k[l], k, to));
        ggml_gallocr_t alloc =
            ggml_gallocr_new(ggml_backend_get_default_buffer_type(lathe_device_backend(device)));
        if (alloc == NULL || !ggml_gallocr_alloc_graph(alloc, b.gf)) {
            status = lathe_fail(err, LATHE_ERR_MEMORY, "no memory to shift %d rows", n);
        } else {
            for (int32_t i = 0; i < n; i++) {
                rows64[i] = rows[i];
                values[i] = delta;
            }
            ggml_backend_tensor_set(from, rows, 0, (size_t) n * sizeof *rows);
            ggml_backend_tensor_set(to, rows64, 0, (size_t) n * sizeof *rows64);
            ggml_backend_tensor_set(by, values, 0, (size_t) n * sizeof *values);
            if (ggml_backend_graph_compute(lathe_device_backend(device), b.gf) != GGML_STATUS_SUCCESS)
                status = lathe_fail(err, LATHE_ERR_CANCELLED,
                                    "stopped in layer %d of a shift: the sequence is to be read again", l);
        }
        if (alloc != NULL)
            ggml_gallocr_free(alloc);
    }
    free(rows64);
    free(values);
    if (ctx != NULL)
        ggml_free(ctx);
    return status;
}

lathe_status lathe_context_shift(lathe_context *c, int32_t seq, int32_t p0, int32_t p1, lathe_error *err) {
    lathe_status status = check_seq(c, seq, err);
    if (status != LATHE_OK)
        return status;
    if (c->model->desc.n_rot == 0)
        return lathe_fail(err, LATHE_ERR_UNSUPPORTED,
                          "family %s has learned positions: its cache cannot be shifted",
                          c->model->desc.family->name);
    if (c->kv.policy.n_groups > 1)
        return lathe_fail(err, LATHE_ERR_UNSUPPORTED, "cache policy %s keeps positions: it cannot be shifted",
                          c->kv.policy.name);
    forget_tree(c);
    int32_t next = lathe_cells_next_pos(&c->cells, seq);
    if (p0 < 0 || p1 <= p0 || p1 > next)
        return lathe_fail(err, LATHE_ERR_ARG, "positions %d to %d; within 0 to %d is right", p0, p1, next);
    const int32_t *list = c->cells.rows + (size_t) seq * (size_t) c->cells.n_rows;
    int32_t i0 = 0, i1 = 0, n = c->cells.length[seq];
    while (i0 < n && c->cells.pos[list[i0]] < p0)
        i0++;
    i1 = i0;
    while (i1 < n && c->cells.pos[list[i1]] < p1)
        i1++;
    if (lathe_cells_shared_from(&c->cells, seq, i1))
        return lathe_fail(err, LATHE_ERR_UNSUPPORTED,
                          "sequence %d shares the tokens to move with another one", seq);
    lathe_device_set_abort(c->cpu, NULL, NULL);
    if (i1 < n)
        status = rotate_rows(c, list + i1, n - i1, p0 - p1, err);
    lathe_context_set_cancel(c, c->cancel, c->cancel_user);
    if (status == LATHE_OK)
        lathe_cells_shift(&c->cells, seq, i0, i1, p0 - p1);
    return status;
}
