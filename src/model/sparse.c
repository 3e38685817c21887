/* sparse.c - scoring rows, choosing them, and copying them into a smaller cache. */
#include "model/sparse.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng_purpose.h"
#include "base/thread.h"
#include "model/model_impl.h"

/* --- Queries: the last tokens run once more ------------------------------------------------------- */

typedef struct catch_queries {
    float *q; /* [n_layer][n_query][n_head][dh] */
    size_t per_layer;
    int32_t n_layer;
} catch_queries;

static void take_queries(void *user, const lathe_tap_view *view) {
    catch_queries *c = user;
    const size_t n = (size_t) (view->ne[0] * view->ne[1] * view->ne[2]);
    if (view->layer >= 0 && view->layer < c->n_layer && n <= c->per_layer)
        memcpy(c->q + (size_t) view->layer * c->per_layer, view->data, n * sizeof *c->q);
}

static int32_t *rows_of(const lathe_context *c) {
    return c->cells.rows;
}

/* Rows of positions [from, n) to memory, or back. */
static void copy_tail(lathe_context *c, int32_t from, uint8_t *memory, bool back) {
    for (int32_t i = from; i < c->cells.length[0]; i++)
        for (int32_t l = 0; l < c->kv.n_layer; l++)
            for (int side = 0; side < 2; side++) {
                struct ggml_tensor *t = side == 0 ? c->kv.k[l] : c->kv.v[l];
                const size_t at = (size_t) rows_of(c)[i] * t->nb[1];
                if (back)
                    ggml_backend_tensor_set(t, memory, at, t->nb[1]);
                else
                    ggml_backend_tensor_get(t, memory, at, t->nb[1]);
                memory += t->nb[1];
            }
}

static lathe_status queries_of(lathe_context *c, const int32_t *ids, int32_t first, int32_t n,
                               catch_queries *out, lathe_error *err) {
    size_t row = 0;
    for (int32_t l = 0; l < c->kv.n_layer; l++)
        row += c->kv.k[l]->nb[1] + c->kv.v[l]->nb[1];
    uint8_t *saved = malloc((size_t) n * row), *want = calloc((size_t) n, 1);
    lathe_status status = saved != NULL && want != NULL
                              ? LATHE_OK
                              : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %d rows of the cache", n);
    if (status == LATHE_OK) {
        copy_tail(c, first, saved, false);
        status = lathe_context_tap(c, "q_rot", -1, -1, take_queries, out, err);
    }
    if (status == LATHE_OK)
        status = lathe_context_rollback(c, 0, first, err);
    if (status == LATHE_OK)
        status =
            lathe_context_decode(c, &(lathe_batch){.tokens = ids + first, .want = want, .n_tokens = n}, err);
    const lathe_status untapped = lathe_context_tap(c, NULL, -1, -1, NULL, NULL, err);
    if (status == LATHE_OK)
        status = untapped;
    if (status == LATHE_OK)
        copy_tail(c, first, saved, true);
    free(saved);
    free(want);
    return status;
}

/* --- Scores --------------------------------------------------------------------------------------- */

typedef struct scoring {
    const lathe_context *c;
    const uint8_t *keys; /* the layer's rows */
    size_t row_bytes, head_bytes;
    ggml_to_float_t to_float; /* NULL: f32 */
    const float *q;           /* [n_query][n_head][dh] */
    lathe_row_choice *choice;
    int32_t layer, first, n, dh, n_head;
    float scale, softcap;
    float **scratch; /* [workers] keys [n][dh], scores [n] */
    double **sums;   /* [workers] [n] */
} scoring;

static float dot(const float *a, const float *b, int32_t n) {
    float part[16] = {0}, sum = 0;
    int32_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int32_t j = 0; j < 16; j++)
            part[j] += a[i + j] * b[i + j];
    for (; i < n; i++)
        sum += a[i] * b[i];
    for (int32_t j = 0; j < 16; j++)
        sum += part[j];
    return sum;
}

/* One key head: the mean attention of its group's queries on every row. */
static void score_head(void *ctx, int worker, int64_t piece, int64_t begin, int64_t end) {
    const scoring *s = ctx;
    const lathe_row_choice *choice = s->choice;
    float *keys = s->scratch[worker], *scores = keys + (size_t) s->n * (size_t) s->dh;
    double *sum = s->sums[worker];
    const int32_t span = choice->end - choice->begin;
    (void) piece;
    for (int64_t g = begin; g < end; g++) {
        for (int32_t i = 0; i < s->n; i++) {
            const uint8_t *row =
                s->keys + (size_t) rows_of(s->c)[i] * s->row_bytes + (size_t) g * s->head_bytes;
            if (s->to_float != NULL)
                s->to_float(row, keys + (size_t) i * (size_t) s->dh, s->dh);
            else
                memcpy(keys + (size_t) i * (size_t) s->dh, row, (size_t) s->dh * sizeof *keys);
        }
        memset(sum, 0, (size_t) s->n * sizeof *sum);
        for (int32_t t = 0; t < choice->n_query; t++)
            for (int32_t h = 0; h < choice->group; h++) {
                const float *q = s->q + ((size_t) t * (size_t) s->n_head + (size_t) (g * choice->group + h)) *
                                            (size_t) s->dh;
                const int32_t n = s->first + t + 1; /* a query sees itself and what is before it */
                float largest = -INFINITY;
                double total = 0;
                for (int32_t i = 0; i < n; i++) {
                    float x = s->scale * dot(q, keys + (size_t) i * (size_t) s->dh, s->dh);
                    if (s->softcap > 0)
                        x = s->softcap * tanhf(x / s->softcap);
                    scores[i] = x;
                    largest = x > largest ? x : largest;
                }
                for (int32_t i = 0; i < n; i++) {
                    scores[i] = expf(scores[i] - largest);
                    total += scores[i];
                }
                const double share = 1 / (total * choice->n_query);
                for (int32_t i = 0; i < n; i++)
                    sum[i] += scores[i] * share;
            }
        float *out =
            choice->score + ((size_t) s->layer * (size_t) choice->n_head_kv + (size_t) g) * (size_t) span;
        for (int32_t i = 0; i < span; i++)
            out[i] = (float) sum[choice->begin + i];
    }
}

static lathe_status score_layers(lathe_context *c, const catch_queries *queries, int32_t first,
                                 lathe_row_choice *choice, lathe_error *err) {
    const lathe_desc *d = &c->model->desc;
    const int32_t n = c->cells.length[0], n_threads = lathe_context_n_threads(c);
    scoring s = {.c = c,
                 .choice = choice,
                 .first = first,
                 .n = n,
                 .dh = d->n_embd_head_k,
                 .n_head = d->n_head,
                 .scale = d->attn_scale,
                 .softcap = d->attn_softcap};
    lathe_pool *pool = NULL;
    lathe_status status = lathe_pool_new(n_threads > 0 ? n_threads : 1, &pool, err);
    if (status != LATHE_OK)
        return status;
    const int workers = lathe_pool_size(pool);
    uint8_t *copy = NULL;
    s.scratch = calloc((size_t) workers, sizeof *s.scratch);
    s.sums = calloc((size_t) workers, sizeof *s.sums);
    bool ok = s.scratch != NULL && s.sums != NULL;
    for (int w = 0; ok && w < workers; w++) {
        s.scratch[w] = malloc((size_t) n * ((size_t) s.dh + 1) * sizeof(float));
        s.sums[w] = malloc((size_t) n * sizeof(double));
        ok = s.scratch[w] != NULL && s.sums[w] != NULL;
    }
    const size_t n_bytes = (size_t) c->cells.n_used * c->kv.k[0]->nb[1];
    const bool host = ggml_backend_buffer_is_host(c->kv.k[0]->buffer);
    if (ok && !host)
        ok = (copy = malloc(n_bytes)) != NULL;
    if (!ok)
        status = lathe_fail(err, LATHE_ERR_MEMORY, "no memory to score %d rows", n);
    for (int32_t l = 0; status == LATHE_OK && l < choice->n_layer; l++) {
        const struct ggml_tensor *k = c->kv.k[l];
        s.layer = l;
        s.row_bytes = k->nb[1];
        s.head_bytes = ggml_row_size(k->type, s.dh);
        s.to_float = k->type == GGML_TYPE_F32 ? NULL : ggml_get_type_traits(k->type)->to_float;
        s.q = queries->q + (size_t) l * queries->per_layer;
        s.keys = k->data;
        if (!ggml_backend_buffer_is_host(k->buffer)) {
            if (copy == NULL)
                copy = malloc(n_bytes);
            if (copy == NULL) {
                status = lathe_fail(err, LATHE_ERR_MEMORY, "no memory to score %d rows", n);
                break;
            }
            ggml_backend_tensor_get(k, copy, 0, n_bytes);
            s.keys = copy;
        }
        lathe_parallel_for(pool, choice->n_head_kv, 1, score_head, &s);
        if (c->cancel != NULL && c->cancel(c->cancel_user))
            status = lathe_fail(err, LATHE_ERR_CANCELLED, "stopped");
    }
    for (int w = 0; w < workers; w++) {
        if (s.scratch != NULL)
            free(s.scratch[w]);
        if (s.sums != NULL)
            free(s.sums[w]);
    }
    free(s.scratch);
    free(s.sums);
    free(copy);
    lathe_pool_free(pool);
    return status;
}

lathe_status lathe_row_choice_make(lathe_context *dense, const int32_t *ids, int32_t n, int32_t begin,
                                   int32_t end, int32_t n_query, lathe_row_choice *choice, lathe_error *err) {
    const lathe_desc *d = &dense->model->desc;
    const int32_t n_past = lathe_context_n_past(dense, 0);
    if (d->window > 0)
        return lathe_fail(err, LATHE_ERR_UNSUPPORTED,
                          "family %s has sliding windows, whose rows are few already: no sparse mode",
                          d->family->name);
    if (dense->kv.policy.n_groups > 1)
        return lathe_fail(err, LATHE_ERR_UNSUPPORTED,
                          "some layers keep some of their rows only (--policy %s): no sparse mode",
                          dense->kv.policy.name);
    if (n_past != n - 1 || lathe_cells_next_pos(&dense->cells, 0) != n_past)
        return lathe_fail(err, LATHE_ERR_ARG, "the cache holds %d of %d tokens; all but the last are wanted",
                          n_past, n);
    if (begin < 0 || end <= begin || end > n_past)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "a span of positions %d to %d of a cache of %d tokens; it must not be empty", begin,
                          end, n_past);
    if (n_query < 1 || n_query > LATHE_ROW_QUERIES_MAX)
        return lathe_fail(err, LATHE_ERR_ARG, "%d queries; 1 to %d are right", n_query,
                          LATHE_ROW_QUERIES_MAX);
    if (n_query > n_past - end) /* too few behind the span: the last tokens whatever they are */
        n_query = n_past - end > 0 ? n_past - end : n_query < n_past ? n_query : n_past;
    if (n_query > dense->n_batch)
        n_query = dense->n_batch;
    lathe_row_choice out = {.n_layer = d->n_layer,
                            .n_head_kv = d->n_head_kv,
                            .begin = begin,
                            .end = end,
                            .n_query = n_query,
                            .group = d->n_head / d->n_head_kv};
    const size_t heads = (size_t) out.n_layer * (size_t) out.n_head_kv;
    catch_queries queries = {.n_layer = d->n_layer,
                             .per_layer = (size_t) n_query * (size_t) d->n_head * (size_t) d->n_embd_head_k};
    queries.q = calloc(queries.per_layer * (size_t) d->n_layer, sizeof *queries.q);
    out.score = calloc(heads * (size_t) (end - begin), sizeof *out.score);
    out.kept_mass = calloc((size_t) out.n_layer, sizeof *out.kept_mass);
    lathe_status status = queries.q != NULL && out.score != NULL && out.kept_mass != NULL
                              ? queries_of(dense, ids, n_past - n_query, n_query, &queries, err)
                              : lathe_fail(err, LATHE_ERR_MEMORY, "no memory to score %d rows", end - begin);
    if (status == LATHE_OK)
        status = score_layers(dense, &queries, n_past - n_query, &out, err);
    free(queries.q);
    if (status != LATHE_OK) {
        lathe_row_choice_free(&out);
        return status;
    }
    *choice = out;
    return LATHE_OK;
}

void lathe_row_choice_free(lathe_row_choice *choice) {
    free(choice->score);
    free(choice->pos);
    free(choice->kept_mass);
    *choice = (lathe_row_choice){0};
}

/* --- The choice ----------------------------------------------------------------------------------- */

static int by_index(const void *a, const void *b) {
    return (*(const int32_t *) a > *(const int32_t *) b) - (*(const int32_t *) a < *(const int32_t *) b);
}

/* true where row a ranks before row b. */
static bool before(const float *score, int32_t a, int32_t b) {
    return score[a] > score[b] || (!(score[a] < score[b]) && a < b);
}

void lathe_top_rows(const float *score, int32_t n, int32_t k, int32_t *order, int32_t *out) {
    for (int32_t i = 0; i < n; i++)
        order[i] = i;
    if (k > n)
        k = n;
    /* Quickselect: the order of ranks is total, so the k first are one set. */
    for (int32_t lo = 0, hi = n - 1; lo < hi && k > 0 && k < n;) {
        const int32_t middle = lo + (hi - lo) / 2, pivot = order[middle];
        order[middle] = order[hi];
        int32_t at = lo;
        for (int32_t i = lo; i < hi; i++)
            if (before(score, order[i], pivot)) {
                const int32_t x = order[i];
                order[i] = order[at];
                order[at++] = x;
            }
        order[hi] = order[at];
        order[at] = pivot;
        if (at == k || at == k - 1)
            break;
        if (at > k)
            hi = at - 1;
        else
            lo = at + 1;
    }
    memcpy(out, order, (size_t) k * sizeof *out);
    qsort(out, (size_t) k, sizeof *out, by_index);
}

static lathe_status keep(lathe_row_choice *choice, int32_t n_keep, const float *ranks, lathe_error *err) {
    const int32_t span = choice->end - choice->begin;
    if (n_keep < 0)
        return lathe_fail(err, LATHE_ERR_ARG, "%d rows to keep; 0 or more is right", n_keep);
    n_keep = n_keep < span ? n_keep : span;
    const size_t heads = (size_t) choice->n_layer * (size_t) choice->n_head_kv;
    int32_t *pos = malloc((heads * (size_t) n_keep + 1) * sizeof *pos),
            *order = malloc((size_t) span * sizeof *order);
    if (pos == NULL || order == NULL) {
        free(pos);
        free(order);
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the choice of %d rows", n_keep);
    }
    for (int32_t l = 0; l < choice->n_layer; l++) {
        double dropped = 0;
        for (int32_t g = 0; g < choice->n_head_kv; g++) {
            const size_t head = (size_t) l * (size_t) choice->n_head_kv + (size_t) g;
            const float *score = choice->score + head * (size_t) span;
            int32_t *out = pos + head * (size_t) n_keep;
            lathe_top_rows(ranks != NULL ? ranks : score, span, n_keep, order, out);
            for (int32_t i = 0; i < span; i++)
                dropped += score[i];
            for (int32_t i = 0; i < n_keep; i++) {
                dropped -= score[out[i]];
                out[i] += choice->begin;
            }
        }
        choice->kept_mass[l] = 1 - dropped / ((double) choice->n_head_kv * choice->group);
    }
    free(order);
    free(choice->pos);
    choice->pos = pos;
    choice->n_keep = n_keep;
    return LATHE_OK;
}

lathe_status lathe_row_choice_keep(lathe_row_choice *choice, int32_t n_keep, lathe_error *err) {
    return keep(choice, n_keep, NULL, err);
}

lathe_status lathe_row_choice_keep_rule(lathe_row_choice *choice, int32_t n_keep, int32_t n_sink,
                                        uint64_t seed, lathe_error *err) {
    const int32_t span = choice->end - choice->begin;
    float *ranks = malloc((size_t) span * sizeof *ranks);
    if (ranks == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the ranks of %d rows", span);
    for (int32_t i = 0; i < span; i++)
        ranks[i] = n_sink < 0 ? (float) lathe_uniform_at(seed, LATHE_RNG_PROBE_VECTOR, (uint32_t) i, 0, 0)
                              : (i < n_sink ? 2.0f : (float) i / (float) span);
    const lathe_status status = keep(choice, n_keep, ranks, err);
    free(ranks);
    return status;
}

/* --- Copies --------------------------------------------------------------------------------------- */

lathe_status lathe_sparse_new(const lathe_context *dense, int32_t n_rows, lathe_context **sparse,
                              lathe_error *err) {
    lathe_context_params p = dense->params;
    p.n_ctx = dense->n_ctx;
    p.n_rows = n_rows;
    p.n_seq_max = 1;
    p.n_threads = dense->n_threads;
    p.n_threads_prompt = dense->n_threads_prompt;
    p.policy = NULL;
    p.exact = false;
    return lathe_context_new(dense->model, &p, sparse, err);
}

static lathe_status place(lathe_context *sparse, const int32_t *pos, int32_t n, lathe_error *err) {
    memset(sparse->seq, 0, (size_t) (sparse->n_batch + 1) * sizeof *sparse->seq);
    for (int32_t i = 0; i < n; i += sparse->n_batch) {
        const int32_t m = n - i < sparse->n_batch ? n - i : sparse->n_batch;
        if (!lathe_cells_place(&sparse->cells, sparse->seq, pos + i, m, sparse->rows))
            return lathe_fail(err, LATHE_ERR_ARG, "%d rows do not fit a sparse cache of %d", n,
                              sparse->cells.n_rows);
    }
    return LATHE_OK;
}

static void copy_row(struct ggml_tensor *to, int32_t to_row, const struct ggml_tensor *from, int32_t from_row,
                     size_t offset, size_t n, uint8_t *memory) {
    const size_t a = (size_t) from_row * from->nb[1] + offset, b = (size_t) to_row * to->nb[1] + offset;
    if (ggml_backend_buffer_is_host(from->buffer) && ggml_backend_buffer_is_host(to->buffer)) {
        memcpy((uint8_t *) to->data + b, (const uint8_t *) from->data + a, n);
        return;
    }
    ggml_backend_tensor_get(from, memory, a, n);
    ggml_backend_tensor_set(to, memory, b, n);
}

lathe_status lathe_sparse_append(lathe_context *sparse, const lathe_context *dense, int32_t from, int32_t to,
                                 lathe_error *err) {
    const int32_t n = to - from;
    if (from < 0 || n < 0 || to > dense->cells.length[0])
        return lathe_fail(err, LATHE_ERR_ARG, "positions %d to %d of a cache of %d tokens", from, to,
                          dense->cells.length[0]);
    const size_t n_row =
        dense->kv.k[0]->nb[1] > dense->kv.v[0]->nb[1] ? dense->kv.k[0]->nb[1] : dense->kv.v[0]->nb[1];
    int32_t *pos = malloc(((size_t) n + 1) * sizeof *pos);
    uint8_t *memory = malloc(n_row);
    lathe_status status = pos != NULL && memory != NULL
                              ? LATHE_OK
                              : lathe_fail(err, LATHE_ERR_MEMORY, "no memory to copy %d rows", n);
    const int32_t base = sparse->cells.length[0];
    for (int32_t i = 0; status == LATHE_OK && i < n; i++)
        pos[i] = dense->cells.pos[rows_of(dense)[from + i]];
    if (status == LATHE_OK)
        status = place(sparse, pos, n, err);
    for (int32_t l = 0; status == LATHE_OK && l < dense->kv.n_layer; l++)
        for (int32_t i = 0; i < n; i++) {
            const int32_t a = rows_of(dense)[from + i], b = rows_of(sparse)[base + i];
            copy_row(sparse->kv.k[l], b, dense->kv.k[l], a, 0, dense->kv.k[l]->nb[1], memory);
            copy_row(sparse->kv.v[l], b, dense->kv.v[l], a, 0, dense->kv.v[l]->nb[1], memory);
        }
    if (status != LATHE_OK)
        lathe_cells_truncate(&sparse->cells, 0, base);
    free(pos);
    free(memory);
    return status;
}

/* Row i of the span in every layer: each head's own i-th position. */
static lathe_status append_kept(lathe_context *sparse, const lathe_context *dense,
                                const lathe_row_choice *choice, lathe_error *err) {
    const int32_t n = choice->n_keep, base = sparse->cells.length[0];
    const size_t n_row =
        dense->kv.k[0]->nb[1] > dense->kv.v[0]->nb[1] ? dense->kv.k[0]->nb[1] : dense->kv.v[0]->nb[1];
    int32_t *pos = malloc(((size_t) n + 1) * sizeof *pos);
    uint8_t *memory = malloc(n_row);
    lathe_status status = pos != NULL && memory != NULL
                              ? LATHE_OK
                              : lathe_fail(err, LATHE_ERR_MEMORY, "no memory to copy %d rows", n);
    for (int32_t i = 0; status == LATHE_OK && i < n; i++)
        pos[i] = choice->begin + i; /* stands for many: all of them are before the rows behind the span */
    if (status == LATHE_OK)
        status = place(sparse, pos, n, err);
    for (int32_t l = 0; status == LATHE_OK && l < choice->n_layer; l++)
        for (int32_t g = 0; g < choice->n_head_kv; g++)
            for (int32_t i = 0; i < n; i++) {
                const int32_t from =
                    choice->pos[((size_t) l * (size_t) choice->n_head_kv + (size_t) g) * (size_t) n +
                                (size_t) i];
                for (int side = 0; side < 2; side++) {
                    const struct ggml_tensor *a = side == 0 ? dense->kv.k[l] : dense->kv.v[l];
                    struct ggml_tensor *b = side == 0 ? sparse->kv.k[l] : sparse->kv.v[l];
                    const size_t width = a->nb[1] / (size_t) choice->n_head_kv;
                    copy_row(b, rows_of(sparse)[base + i], a, rows_of(dense)[from], (size_t) g * width, width,
                             memory);
                }
            }
    free(pos);
    free(memory);
    return status;
}

lathe_status lathe_sparse_fill(lathe_context *sparse, const lathe_context *dense,
                               const lathe_row_choice *choice, lathe_error *err) {
    lathe_context_clear(sparse, -1);
    lathe_status status = lathe_sparse_append(sparse, dense, 0, choice->begin, err);
    if (status == LATHE_OK)
        status = append_kept(sparse, dense, choice, err);
    if (status == LATHE_OK)
        status = lathe_sparse_append(sparse, dense, choice->end, dense->cells.length[0], err);
    if (status != LATHE_OK)
        lathe_context_clear(sparse, -1);
    return status;
}

int32_t lathe_sparse_room(const lathe_context *sparse) {
    return sparse->cells.n_rows - sparse->cells.n_taken;
}

int64_t lathe_context_row_bytes(const lathe_context *c) {
    int64_t n = 0;
    for (int32_t l = 0; l < c->kv.n_layer; l++)
        n += (int64_t) (c->kv.k[l]->nb[1] + c->kv.v[l]->nb[1]);
    return n;
}
