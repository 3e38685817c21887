/* fused_attention_tangent.c - tangents of causal attention and of its gradient, by products of the same
 * blocks as the values take. With S = scale q k^T, P = softmax(S), D = g v^T and E = scale P (D - rowsum P
 * D): values    o = P v;    dv = P^T g, dq = E k, dk = E^T q tangents  S' = scale (q' k^T + q k'^T), P' = P
 * (S' - rowsum P S'), D' = g' v^T + g v'^T and the product rule. */
#include <cblas.h>
#include <string.h>

#include "tensor/fused_attention.h"

typedef struct ggml_tensor T;

/* A block of queries of one head: rows [t0, t0 + rows) over keys [lo, lo + nk). */
typedef struct block {
    int64_t seq, head, kv, t0, lo;
    int rows, nk;
} block;

static block block_at(const lathe_causal *c, int64_t seq, int64_t head, int64_t t0) {
    return (block){.seq = seq,
                   .head = head,
                   .kv = head / (c->heads / c->heads_kv),
                   .t0 = t0,
                   .lo = lathe_causal_first(c, seq, t0),
                   .rows = (int) (c->n - t0 < LATHE_FUSED_QUERIES ? c->n - t0 : LATHE_FUSED_QUERIES)};
}

/* Rows of a block's queries and of its keys. */
typedef struct matrix {
    const float *at;
    int stride;
} matrix;
static matrix queries(const T *x, const block *b) {
    int stride = lathe_causal_stride(x);
    return (matrix){lathe_causal_head(x, b->head, b->seq) + b->t0 * stride, stride};
}
static matrix keys(const T *x, const block *b) {
    int stride = lathe_causal_stride(x);
    return (matrix){lathe_causal_head(x, b->kv, b->seq) + b->lo * stride, stride};
}
/* Of a contiguous [dh heads, T S]. */
static matrix outputs(const T *x, const lathe_causal *c, const block *b) {
    int stride = (int) (c->dh * c->heads);
    return (matrix){(const float *) x->data + (b->seq * c->n + b->t0) * stride + b->head * c->dh, stride};
}

/* out [rows][nk] = scale a b^T + beta out. */
static void scores(const lathe_causal *c, const block *b, float scale, matrix a, matrix k, float beta,
                   float *out) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, b->rows, b->nk, (int) c->dh, scale, a.at, a.stride,
                k.at, k.stride, beta, out, b->nk);
}
/* out [rows][dh] = p k + beta out. */
static void gather(const lathe_causal *c, const block *b, const float *p, matrix k, float beta, float *out,
                   int ldo) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, b->rows, (int) c->dh, b->nk, 1, p, b->nk, k.at,
                k.stride, beta, out, ldo);
}
/* out [nk][dh] += p^T a. */
static void scatter(const lathe_causal *c, const block *b, const float *p, matrix a, float *out, int ldo) {
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, b->nk, (int) c->dh, b->rows, 1, p, b->nk, a.at,
                a.stride, 1, out, ldo);
}

/* P and P' of a block; src: q, k and, from `tangents` on, q' and k'. */
static void probabilities(const lathe_causal *c, block *b, T *const *src, int tangents, float *p, float *tp) {
    matrix q = queries(src[0], b), k = keys(src[1], b);
    float sum[LATHE_FUSED_QUERIES];
    b->nk = lathe_causal_probabilities(c, q.at - b->t0 * q.stride, q.stride, k.at - b->lo * k.stride,
                                       k.stride, b->seq, b->t0, b->rows, b->lo, p, sum);
    scores(c, b, c->scale, queries(src[tangents], b), k, 0, tp);
    scores(c, b, c->scale, q, keys(src[tangents + 1], b), 1, tp);
    for (int r = 0; r < b->rows; r++) {
        c->rows->scale(p + (int64_t) r * b->nk, b->nk, 1.0f / sum[r]);
        c->rows->softmax_back(p + (int64_t) r * b->nk, tp + (int64_t) r * b->nk, b->nk, 1.0f);
    }
}

/* src: q, k, v, q', k', v'. */
static void tangent_op(T *dst, int ith, int nth, void *user) {
    const lathe_fused *f = user;
    const lathe_causal c = lathe_causal_of(dst);
    float *p = f->scratch + (size_t) ith * f->per_thread, *tp = p + f->per_thread / LATHE_FUSED_BLOCKS;
    int64_t blocks = (c.n + LATHE_FUSED_QUERIES - 1) / LATHE_FUSED_QUERIES, units = c.seqs * c.heads * blocks;
    int ldo = (int) (c.dh * c.heads);
    for (int64_t u = ith; u < units; u += nth) {
        block b =
            block_at(&c, u / (c.heads * blocks), u / blocks % c.heads, u % blocks * LATHE_FUSED_QUERIES);
        float *out = (float *) dst->data + (b.seq * c.n + b.t0) * ldo + b.head * c.dh;
        probabilities(&c, &b, dst->src, 3, p, tp);
        gather(&c, &b, tp, keys(dst->src[2], &b), 0, out, ldo);
        gather(&c, &b, p, keys(dst->src[5], &b), 1, out, ldo);
    }
}

/* One block's share of the tangents of dq, dk and dv. src: q, k, v, g, q', k', v', g'. */
static void back_block(const lathe_causal *c, block *b, T *const *src, float *scratch, size_t room, float *dq,
                       float *dk, float *dv) {
    float *p = scratch, *tp = p + room, *d = tp + room, *td = d + room;
    int ldq = (int) (c->dh * c->heads), ldk = (int) (c->dh * c->heads_kv);
    matrix g = outputs(src[3], c, b), tg = outputs(src[7], c, b), v = keys(src[2], b);
    probabilities(c, b, src, 4, p, tp);
    scores(c, b, 1, g, v, 0, d);
    scores(c, b, 1, tg, v, 0, td);
    scores(c, b, 1, g, keys(src[6], b), 1, td);
    scatter(c, b, tp, g, dv + b->lo * ldk, ldk);
    scatter(c, b, p, tg, dv + b->lo * ldk, ldk);
    for (int r = 0; r < b->rows; r++) {
        int64_t at = (int64_t) r * b->nk;
        c->rows->softmax_back_tangent(p + at, tp + at, d + at, td + at, b->nk, c->scale);
    }
    scatter(c, b, td, queries(src[0], b), dk + b->lo * ldk, ldk);
    scatter(c, b, d, queries(src[4], b), dk + b->lo * ldk, ldk);
    dq += (b->seq * c->n + b->t0) * ldq + b->head * c->dh;
    gather(c, b, td, keys(src[1], b), 0, dq, ldq);
    gather(c, b, d, keys(src[5], b), 1, dq, ldq);
}

/* dst as that of the gradient: tangents of dq [dh, H, T, S], then of dk and of dv [dh, Hk, T, S]. */
static void back_tangent_op(T *dst, int ith, int nth, void *user) {
    const lathe_fused *f = user;
    const lathe_causal c = lathe_causal_of(dst);
    int64_t group = c.heads / c.heads_kv, tokens = c.n * c.seqs, ldk = c.dh * c.heads_kv;
    float *dq = dst->data, *dk_all = dq + tokens * c.dh * c.heads, *dv_all = dk_all + tokens * ldk;
    for (int64_t u = ith; u < c.seqs * c.heads_kv; u += nth) {
        int64_t seq = u / c.heads_kv, kv = u % c.heads_kv;
        float *dk = dk_all + seq * c.n * ldk + kv * c.dh, *dv = dv_all + seq * c.n * ldk + kv * c.dh;
        for (int64_t t = 0; t < c.n; t++) {
            memset(dk + t * ldk, 0, (size_t) c.dh * sizeof *dk);
            memset(dv + t * ldk, 0, (size_t) c.dh * sizeof *dv);
        }
        for (int64_t head = kv * group; head < (kv + 1) * group; head++)
            for (int64_t t0 = 0; t0 < c.n; t0 += LATHE_FUSED_QUERIES) {
                block b = block_at(&c, seq, head, t0);
                back_block(&c, &b, dst->src, f->scratch + (size_t) ith * f->per_thread,
                           f->per_thread / LATHE_FUSED_BLOCKS, dq, dk, dv);
            }
    }
}

/* The node of op over y's sources and as many tangents; rows where they are not. */
static T *with_tangents(struct ggml_context *ctx, T *y, T *const *tangents, int n, int64_t ne0, int64_t ne1,
                        ggml_custom_op_t op) {
    T *args[9];
    for (int i = 0; i < n; i++) {
        args[i] = y->src[i];
        args[n + i] = lathe_causal_is_rows(tangents[i]) ? tangents[i] : ggml_cont(ctx, tangents[i]);
    }
    args[2 * n] = y->src[n]; /* where documents start, or nothing */
    T *z = ggml_custom_4d(ctx, GGML_TYPE_F32, ne0, ne1, 1, 1, args, y->src[n] != NULL ? 2 * n + 1 : 2 * n, op,
                          GGML_N_TASKS_MAX, NULL);
    lathe_causal_copy_params(z, y);
    return z;
}

T *lathe_fused_causal_tangent(struct ggml_context *ctx, T *y, T *const tangents[3]) {
    return with_tangents(ctx, y, tangents, 3, y->ne[0], y->ne[1], tangent_op);
}
T *lathe_fused_causal_back_tangent(struct ggml_context *ctx, T *y, T *const tangents[4]) {
    return with_tangents(ctx, y, tangents, 4, y->ne[0], 1, back_tangent_op);
}
