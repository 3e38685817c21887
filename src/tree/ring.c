/* ring.c - Chow-Liu over MPI ranks, for more columns than one machine holds.
 *
 * Columns of any kind: every rank reads the table and does its part of the tiles (lathe_chow_liu_shared).
 * Two-state columns without gaps: each rank owns a run of whole column blocks, packed; the others' blocks
 * come round a ring, and every pair of blocks meets once. Forests are merged up a binomial tree. The order of
 * pairs is strict and their weights have the same bits everywhere, so the tree is that of one process. A rank
 * holds three shares of the columns: its own, the one that visits, the one that arrives. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lathe/tree.h"

#ifdef LATHE_WITH_MPI
#include <mpi.h>

#include "base/file.h"
#include "base/machine.h"
#include "base/npy.h"
#include "tree/learner.h"

typedef lathe_chow_liu_learner learner;

enum { TILE = 256, MESSAGE = 1 << 28 };

typedef struct ring {
    int rank, n_ranks;
    int32_t p, n_blocks;
    int32_t room; /* columns a share has at most, whole blocks */
    int64_t n, n_words;
    uint64_t *arriving; /* [room * n_words] */
    char **names;       /* [p]; rank 0 of a CSV file, else NULL */
    int32_t *global;    /* [2 room] */
    learner l;          /* columns 0 .. room - 1: own; room ..: the visitor's */
    int visitor;
    int64_t n_tiles; /* of the step */
} ring;

/* --- Errors are everybody's --------------------------------------------------------------------------- */

/* All ranks get the message of the first rank that failed. */
static lathe_status agree(const ring *r, lathe_status st, lathe_error *err) {
    int mine = st ? r->rank : r->n_ranks, first = 0;
    MPI_Allreduce(&mine, &first, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    if (first == r->n_ranks)
        return LATHE_OK;
    struct {
        int status;
        char text[508];
    } message = {0};
    if (r->rank == first) {
        message.status = (int) st;
        snprintf(message.text, sizeof message.text, "%s", err != NULL ? err->text : "");
    }
    MPI_Bcast(&message, (int) sizeof message, MPI_BYTE, first, MPI_COMM_WORLD);
    return lathe_fail(err, (lathe_status) message.status, "%s", message.text);
}

static lathe_status no_memory(lathe_error *err) {
    return lathe_fail(err, LATHE_ERR_MEMORY, "Chow-Liu over ranks: no memory for a share of the columns");
}

/* --- Shares -----------------------------------------------------------------------------------------------
 */

static int32_t first_block(const ring *r, int rank) {
    return (int32_t) ((int64_t) rank * r->n_blocks / r->n_ranks);
}

static int32_t first_column(const ring *r, int rank) {
    const int64_t c = (int64_t) first_block(r, rank) * TILE;
    return c < r->p ? (int32_t) c : r->p;
}

static int32_t share(const ring *r, int rank) {
    return first_column(r, rank + 1) - first_column(r, rank);
}

/* Fixes the shares and takes memory for them. */
static lathe_status set_sizes(ring *r, int64_t p, int64_t n, const char *path, lathe_error *err) {
    if (p < 2 || p > INT32_MAX / 2 || n < 1 || n >= INT32_MAX)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: %lld columns and %lld rows: nothing to learn", path,
                          (long long) p, (long long) n);
    r->p = (int32_t) p;
    r->n = n;
    r->n_words = (n + 511) / 512 * 8;
    r->n_blocks = (int32_t) ((p + TILE - 1) / TILE);
    r->room = TILE;
    for (int k = 0; k < r->n_ranks; k++)
        r->room = first_block(r, k + 1) - first_block(r, k) > r->room / TILE
                      ? (first_block(r, k + 1) - first_block(r, k)) * TILE
                      : r->room;
    const size_t room = (size_t) r->room;
    learner *l = &r->l;
    l->p = 2 * r->room;
    l->p_all = r->p;
    l->n = n;
    l->n_words = r->n_words;
    l->tile = TILE;
    l->max_states = 2;
    l->source = LATHE_PAIR_BITS;
    l->kernel = lathe_popcount_best();
    l->n_processes = r->n_ranks;
    lathe_status st = lathe_chow_liu_affordable(l, err);
    if (st)
        return st;
    size_t bytes;
    if (!lathe_size_mul(2 * room, (size_t) r->n_words * 8, &bytes))
        return no_memory(err);
    l->bits = aligned_alloc(64, bytes);
    r->arriving = r->n_ranks > 1 ? aligned_alloc(64, bytes / 2) : NULL;
    l->ones = calloc(2 * room, sizeof *l->ones);
    l->margin = calloc(2 * room, sizeof *l->margin);
    l->spread = calloc(2 * room, sizeof *l->spread);
    r->global = calloc(2 * room, sizeof *r->global);
    l->xlogx = malloc((size_t) (n + 1) * sizeof *l->xlogx);
    if (!l->bits || (r->n_ranks > 1 && !r->arriving) || !l->ones || !l->margin || !l->spread || !r->global ||
        !l->xlogx)
        return no_memory(err);
    memset(l->bits, 0, bytes);
    for (int64_t k = 0; k <= n; k++)
        l->xlogx[k] = lathe_xlogx((double) k);
    l->global = r->global;
    return lathe_chow_liu_workers(l, err);
}

/* Counts of a half's columns, and whose they are. */
static void describe(ring *r, int32_t at, int rank) {
    learner *l = &r->l;
    for (int32_t k = 0; k < share(r, rank); k++) {
        const int32_t c = at + k;
        const uint64_t *word = l->bits + c * l->n_words;
        l->kernel->tile(word, 1, word, 1, l->n_words, &l->ones[c], 1);
        l->spread[c] = (double) l->ones[c] * (double) (l->n - l->ones[c]);
        l->margin[c] = l->xlogx[l->ones[c]] + l->xlogx[l->n - l->ones[c]];
        r->global[c] = first_column(r, rank) + k;
    }
}

/* One whole number of an NPY file. */
static int64_t item(const uint8_t *at, const lathe_npy_head *head) {
    int64_t x = 0;
    switch (head->item_bytes) {
    case 1:
        return head->kind == 'i' ? (int8_t) *at : *at;
    case 2: {
        int16_t y;
        memcpy(&y, at, 2);
        return head->kind == 'i' ? y : (uint16_t) y;
    }
    case 4: {
        int32_t y;
        memcpy(&y, at, 4);
        return head->kind == 'i' ? y : (int64_t) (uint32_t) y;
    }
    default:
        memcpy(&x, at, 8);
        return x;
    }
}

/* Own columns of an NPY file, row by row from its mapping. */
static lathe_status read_npy(ring *r, const char *path, lathe_error *err) {
    lathe_file file;
    lathe_npy_head head;
    lathe_status st = lathe_file_open(path, true, 0, &file, err);
    if (st)
        return st;
    st = lathe_npy_read_head(file.bytes, file.n_bytes, path, &head, err);
    if (!st && (head.n_dims != 2 || head.kind == 'f'))
        st = lathe_fail(err, LATHE_ERR_UNSUPPORTED, "%s: no matrix of whole numbers", path);
    st = st ? st : set_sizes(r, head.shape[1], head.shape[0], path, err);
    const int32_t own = st ? 0 : share(r, r->rank), begin = st ? 0 : first_column(r, r->rank);
    int64_t *low = malloc((size_t) (own + 1) * sizeof *low),
            *high = malloc((size_t) (own + 1) * sizeof *high);
    if (!st && (low == NULL || high == NULL))
        st = no_memory(err);
    for (int pass = 0; pass < 2 && !st; pass++)
        for (int64_t t = 0; t < r->n && !st; t++) {
            for (int32_t k = 0; k < own; k++) {
                const size_t c = (size_t) begin + (size_t) k, at = head.fortran
                                                                       ? c * (size_t) r->n + (size_t) t
                                                                       : (size_t) t * (size_t) r->p + c;
                const int64_t x = item(file.bytes + head.at + at * (size_t) head.item_bytes, &head);
                if (pass == 0) {
                    low[k] = t == 0 || x < low[k] ? x : low[k];
                    high[k] = t == 0 || x > high[k] ? x : high[k];
                } else if (x == high[k] && x != low[k]) {
                    r->l.bits[k * r->n_words + t / 64] |= (uint64_t) 1 << (t % 64);
                } else if (x != low[k]) {
                    st =
                        lathe_fail(err, LATHE_ERR_UNSUPPORTED, "%s, row %lld, column %d: a third value, %lld",
                                   path, (long long) t, (int) (begin + k), (long long) x);
                    break;
                }
            }
        }
    free(low);
    free(high);
    lathe_file_close(&file);
    return st;
}

static bool two_states(const lathe_table *table) {
    for (int32_t i = 0; i < table->n_columns; i++)
        if (!table->columns[i].discrete || table->columns[i].n_states > 2 || table->columns[i].n_missing > 0)
            return false;
    return true;
}

/* Own columns of a table that every rank has read; rank 0 takes the names. */
static lathe_status take_columns(ring *r, lathe_table *table, const char *path, lathe_error *err) {
    lathe_status st = set_sizes(r, table->n_columns, table->n_rows, path, err);
    for (int32_t k = 0; !st && k < share(r, r->rank); k++)
        r->l.kernel->pack(table->columns[first_column(r, r->rank) + k].codes, r->n,
                          r->l.bits + k * r->n_words, r->n_words);
    if (!st && r->rank == 0) {
        r->names = calloc((size_t) r->p, sizeof *r->names);
        for (int32_t i = 0; r->names != NULL && i < r->p; i++) {
            r->names[i] = table->columns[i].name;
            table->columns[i].name = NULL;
        }
        if (r->names == NULL)
            st = no_memory(err);
    }
    return st;
}

/* --- Work
 * ---------------------------------------------------------------------------------------------------- */

static void do_tile(void *ctx, int worker, int64_t piece, int64_t begin, int64_t end) {
    const ring *r = ctx;
    (void) piece;
    const int32_t own = share(r, r->rank), far = share(r, r->visitor), far_blocks = (far + TILE - 1) / TILE;
    const bool home = r->visitor == r->rank;
    /* of an even ring's last step both sides see the same tiles: each does half */
    const int steps = (r->visitor - r->rank + r->n_ranks) % r->n_ranks;
    const bool half = !home && 2 * steps == r->n_ranks;
    for (int64_t q = begin; q < end; q++) {
        const int32_t bi = (int32_t) (q / far_blocks), bj = (int32_t) (q % far_blocks);
        if (home && bj < bi)
            continue;
        if (half && (r->rank < r->visitor ? bi % 2 != 0 : bj % 2 == 0))
            continue;
        const int32_t i0 = bi * TILE, j0 = bj * TILE;
        lathe_chow_liu_tile(&r->l, &r->l.workers[worker], i0, own - i0 < TILE ? own - i0 : TILE,
                            home ? j0 : r->room + j0, far - j0 < TILE ? far - j0 : TILE);
    }
}

/* The visiting share goes on to the rank before, the next comes from the rank behind. */
static void pass_on(ring *r, int step) {
    const int from = (r->rank + 1) % r->n_ranks, to = (r->rank + r->n_ranks - 1) % r->n_ranks;
    uint64_t *held = step == 1 ? r->l.bits : r->l.bits + r->room * r->n_words; /* first one's own */
    const int64_t bytes = (int64_t) r->room * r->n_words * 8;
    for (int64_t at = 0; at < bytes; at += MESSAGE) {
        const int part = (int) (bytes - at < MESSAGE ? bytes - at : MESSAGE);
        MPI_Sendrecv((char *) held + at, part, MPI_BYTE, to, 1, (char *) r->arriving + at, part, MPI_BYTE,
                     from, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    }
    memcpy(r->l.bits + r->room * r->n_words, r->arriving, (size_t) bytes);
}

/* The first workers' lists of all ranks into rank 0's, up a binomial tree. */
static lathe_status merge_ranks(void *user, learner *l, lathe_error *err) {
    const ring *r = user;
    lathe_chow_liu_worker *w = &l->workers[0];
    lathe_pair *other = malloc((size_t) l->p_all * sizeof *other);
    lathe_status st = agree(r, other ? LATHE_OK : no_memory(err), err);
    for (int k = 1; k < r->n_ranks && !st; k *= 2) {
        if (r->rank % (2 * k) == k) {
            MPI_Send(w->list, (int) (w->n_list * (int64_t) sizeof *w->list / 16), MPI_DOUBLE_COMPLEX,
                     r->rank - k, 2, MPI_COMM_WORLD);
            break;
        }
        if (r->rank % (2 * k) == 0 && r->rank + k < r->n_ranks) {
            MPI_Status got;
            int n = 0;
            MPI_Recv(other, l->p_all, MPI_DOUBLE_COMPLEX, r->rank + k, 2, MPI_COMM_WORLD, &got);
            MPI_Get_count(&got, MPI_DOUBLE_COMPLEX, &n);
            for (int e = 0; e < n; e++)
                lathe_chow_liu_push(l, w, other[e].u, other[e].v, other[e].w);
            lathe_chow_liu_thin(l, w);
        }
    }
    free(other);
    return st;
}

/* The workers' lists into the first one's, then the ranks' into rank 0's. */
static lathe_status merge(ring *r, lathe_error *err) {
    learner *l = &r->l;
    lathe_chow_liu_worker *w = &l->workers[0];
    for (int k = 1; k < l->n_workers; k++)
        for (int64_t e = 0; e < l->workers[k].n_list; e++)
            lathe_chow_liu_push(l, w, l->workers[k].list[e].u, l->workers[k].list[e].v,
                                l->workers[k].list[e].w);
    lathe_chow_liu_thin(l, w);
    return merge_ranks(r, l, err);
}

static lathe_status agree_ranks(void *user, lathe_status st, lathe_error *err) {
    return agree(user, st, err);
}

static int by_pair(const void *a, const void *b) {
    const lathe_pair *x = a, *y = b;
    return x->u != y->u ? (x->u > y->u) - (x->u < y->u) : (x->v > y->v) - (x->v < y->v);
}

/* On rank 0: the tree and its likelihood, summed in the order of one process. */
static lathe_status finish(const ring *r, const double *margin, lathe_tree *tree, lathe_chow_liu_info *info,
                           lathe_error *err) {
    const lathe_chow_liu_worker *w = &r->l.workers[0];
    char **names = calloc((size_t) r->p, sizeof *names);
    if (names == NULL)
        return no_memory(err);
    lathe_status st = LATHE_OK;
    for (int32_t i = 0; i < r->p && !st; i++) {
        char text[24];
        snprintf(text, sizeof text, "x%d", (int) i);
        names[i] = lathe_tree_strdup(r->names != NULL ? r->names[i] : text);
        if (names[i] == NULL)
            st = no_memory(err);
    }
    st = st ? st : lathe_tree_new(r->p, r->p, names, tree, err);
    lathe_names_free(names, r->p);
    if (st)
        return st;
    qsort(w->list, (size_t) w->n_list, sizeof *w->list, by_pair);
    memset(info, 0, sizeof *info);
    double h = 0, parameters = 0;
    for (int32_t i = 0; i < r->p; i++) {
        const bool constant = margin[i] == r->l.xlogx[r->n];
        h += (r->l.xlogx[r->n] - margin[i]) / (double) r->n;
        info->n_constant += constant;
        parameters += !constant;
    }
    for (int64_t e = 0; e < w->n_list; e++) {
        const lathe_pair *x = &w->list[e];
        lathe_tree_add(tree, x->u, x->v, x->w, NAN);
        info->sum_weight += x->w;
        parameters += margin[x->u] != r->l.xlogx[r->n] && margin[x->v] != r->l.xlogx[r->n];
    }
    info->n_components = r->p - (int32_t) w->n_list;
    info->min_n = r->n;
    info->kernel = r->l.kernel->name;
    info->log_likelihood = (double) r->n * (info->sum_weight - h);
    info->bic = info->log_likelihood - 0.5 * parameters * log((double) r->n);
    return LATHE_OK;
}

static void release(ring *r) {
    lathe_chow_liu_workers_free(&r->l);
    free(r->l.bits);
    free(r->l.ones);
    free(r->l.margin);
    free(r->l.spread);
    free(r->l.xlogx);
    free(r->arriving);
    free(r->global);
    lathe_names_free(r->names, r->names ? r->p : 0);
}

/* What the ring does not do, and tables that it does not hold, are for tables that every rank has whole. */
static bool is_plain(const lathe_chow_liu_params *params, const lathe_table_params *how) {
    return params->prune == LATHE_PRUNE_NONE && params->n_bootstrap == 0 && params->n_whitelist == 0 &&
           params->n_blacklist == 0 && params->smoothing == 0 && !params->bias &&
           (params->weight == LATHE_WEIGHT_AUTO || params->weight == LATHE_WEIGHT_MI) &&
           (how == NULL || (how->ignore == NULL && how->bins <= 1 && how->kind != 2));
}

/* Once round: every pair of blocks meets; then the tree on rank 0. */
static lathe_status go_round(ring *r, lathe_pool *pool, lathe_tree *tree, lathe_chow_liu_info *info,
                             lathe_error *err) {
    describe(r, 0, r->rank);
    for (int step = 0; step <= r->n_ranks / 2; step++) {
        r->visitor = (r->rank + step) % r->n_ranks;
        if (step > 0) {
            pass_on(r, step);
            describe(r, r->room, r->visitor);
        }
        const int64_t own = (share(r, r->rank) + TILE - 1) / TILE,
                      far = (share(r, r->visitor) + TILE - 1) / TILE;
        lathe_parallel_for(pool, own * far, 1, do_tile, r);
    }
    lathe_status st = merge(r, err);
    if (st)
        return st;
    int *counts = calloc(2 * (size_t) r->n_ranks, sizeof *counts);
    double *margin = r->rank == 0 ? malloc((size_t) r->p * sizeof *margin) : NULL;
    st = agree(r, counts != NULL && (r->rank > 0 || margin != NULL) ? LATHE_OK : no_memory(err), err);
    for (int k = 0; !st && k < r->n_ranks; k++) {
        counts[k] = share(r, k);
        counts[r->n_ranks + k] = first_column(r, k);
    }
    if (!st)
        MPI_Gatherv(r->l.margin, share(r, r->rank), MPI_DOUBLE, margin, counts, counts + r->n_ranks,
                    MPI_DOUBLE, 0, MPI_COMM_WORLD);
    if (!st)
        st = agree(r, r->rank == 0 ? finish(r, margin, tree, info, err) : LATHE_OK, err);
    free(counts);
    free(margin);
    return st;
}

static bool is_npy(const char *path) {
    const size_t length = strlen(path);
    return length > 4 && strcmp(path + length - 4, ".npy") == 0;
}

/* Reads what the ring takes: *whole stays without columns; or the whole table. */
static lathe_status read_input(ring *r, const char *path, const lathe_table_params *how, bool plain,
                               lathe_table *whole, lathe_error *err) {
    lathe_status st = LATHE_OK;
    if (plain && is_npy(path)) {
        st = agree(r, read_npy(r, path, err), err);
        if (st != LATHE_ERR_UNSUPPORTED)
            return st;
    }
    st = agree(r, lathe_table_read(path, how, whole, err), err);
    if (st || !plain || is_npy(path) || !two_states(whole))
        return st;
    st = agree(r, take_columns(r, whole, path, err), err);
    lathe_table_free(whole);
    return st;
}

lathe_status lathe_chow_liu_ranks(const char *path, const lathe_table_params *how,
                                  const lathe_chow_liu_params *params, bool *root, lathe_tree *tree,
                                  lathe_chow_liu_info *info, lathe_error *err) {
    int ready = 0;
    memset(tree, 0, sizeof *tree);
    MPI_Initialized(&ready);
    if (!ready && MPI_Init(NULL, NULL) != MPI_SUCCESS)
        return lathe_fail(err, LATHE_ERR_IO, "MPI does not start");
    ring r = {0};
    const double begin = lathe_now();
    MPI_Comm_rank(MPI_COMM_WORLD, &r.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &r.n_ranks);
    *root = r.rank == 0;
    lathe_pool *pool = NULL;
    lathe_table whole = {0};
    lathe_chow_liu_info got = {0};
    r.l.params = params;
    r.l.order = (lathe_tie_order){params->seed, 0, params->ties_by_index};
    lathe_status st = LATHE_OK;
    if (params->n_threads > 1)
        st = lathe_pool_new(params->n_threads, &pool, err);
    r.l.n_workers = lathe_pool_size(pool);
    st = agree(&r, st, err);
    st = st ? st : read_input(&r, path, how, is_plain(params, how), &whole, err);
    if (!st && whole.columns != NULL) {
        const lathe_chow_liu_share share = {r.rank, r.n_ranks, &r, agree_ranks, merge_ranks};
        st = agree(&r, lathe_chow_liu_shared(&whole, params, &share, tree, &got, err), err);
    } else if (!st) {
        st = go_round(&r, pool, tree, &got, err);
    }
    got.seconds = lathe_now() - begin;
    if (!st && info != NULL)
        *info = got;
    if (st)
        lathe_tree_free(tree);
    lathe_table_free(&whole);
    release(&r);
    lathe_pool_free(pool);
    return st;
}

void lathe_ranks_end(void) {
    int ready = 0, done = 0;
    MPI_Initialized(&ready);
    MPI_Finalized(&done);
    if (ready && !done)
        MPI_Finalize();
}

#else

lathe_status lathe_chow_liu_ranks(const char *path, const lathe_table_params *how,
                                  const lathe_chow_liu_params *params, bool *root, lathe_tree *tree,
                                  lathe_chow_liu_info *info, lathe_error *err) {
    (void) path;
    (void) how;
    (void) params;
    (void) info;
    memset(tree, 0, sizeof *tree);
    *root = true;
    return lathe_fail(err, LATHE_ERR_UNSUPPORTED,
                      "this build has no MPI: configure with -DLATHE_WITH_MPI=ON");
}

void lathe_ranks_end(void) {
}

#endif
