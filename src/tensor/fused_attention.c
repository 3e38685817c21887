/* fused_attention.c - causal attention of whole sequences and its gradient. Scores exist for
 * LATHE_FUSED_QUERIES queries at a time; the gradient computes them again instead of keeping them (as flash
 * attention does, Dao et al. 2022, with whole rows of keys instead of blocks). */
#include <cblas.h>
#include <string.h>

#include "tensor/fused_attention.h"

typedef struct ggml_tensor T;

int lathe_causal_stride(const T *x) {
    return (int) (x->nb[1] / sizeof(float));
}
float *lathe_causal_head(const T *x, int64_t head, int64_t seq) {
    return (float *) (void *) ((char *) x->data + (size_t) head * x->nb[2] + (size_t) seq * x->nb[3]);
}

lathe_causal lathe_causal_of(const T *dst) {
    const T *q = dst->src[0], *k = dst->src[1];
    lathe_causal c = {lathe_rows_best(), q->ne[0],           q->ne[1], q->ne[2], k->ne[2],
                      q->ne[3],          dst->op_params[14], 0,        NULL};
    memcpy(&c.scale, &dst->op_params[15], sizeof c.scale);
    for (int i = 3; i < GGML_MAX_SRC && dst->src[i] != NULL; i++) /* the one source of integers */
        if (dst->src[i]->type == GGML_TYPE_I32)
            c.starts = dst->src[i]->data;
    return c;
}

/* First key that query t sees. */
static int64_t first_of(const lathe_causal *c, int64_t seq, int64_t t) {
    int64_t first = c->window > 0 && t - c->window + 1 > 0 ? t - c->window + 1 : 0;
    int64_t start = c->starts != NULL ? c->starts[seq * c->n + t] : 0;
    return start > first ? start : first;
}

int64_t lathe_causal_first(const lathe_causal *c, int64_t seq, int64_t t0) {
    return first_of(c, seq, t0); /* neither bound falls from one query to the next */
}

int lathe_causal_probabilities(const lathe_causal *c, const float *q, int ldq, const float *k, int ldk,
                               int64_t seq, int64_t t0, int rows, int64_t lo, float *p, float *sum) {
    int nk = (int) (t0 + rows - lo);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, nk, (int) c->dh, c->scale, q + t0 * ldq, ldq,
                k + lo * ldk, ldk, 0, p, nk);
    for (int r = 0; r < rows; r++) {
        int64_t t = t0 + r, first = first_of(c, seq, t);
        float *row = p + (size_t) r * (size_t) nk, *seen = row + (first - lo);
        int64_t n = t + 1 - first;
        memset(row, 0, (size_t) (first - lo) * sizeof *row);
        sum[r] = (float) c->rows->exp(seen, n, c->rows->largest(seen, n), seen);
        memset(seen + n, 0, (size_t) (nk - (first - lo) - n) * sizeof *row);
    }
    return nk;
}

void lathe_fused_causal_op(T *dst, int ith, int nth, void *user) {
    const lathe_fused *f = user;
    const T *q = dst->src[0], *k = dst->src[1], *v = dst->src[2];
    const lathe_causal c = lathe_causal_of(dst);
    float *p = f->scratch + (size_t) ith * f->per_thread, sum[LATHE_FUSED_QUERIES];
    int64_t blocks = (c.n + LATHE_FUSED_QUERIES - 1) / LATHE_FUSED_QUERIES, units = c.seqs * c.heads * blocks;
    int ldo = (int) (c.dh * c.heads);
    for (int64_t u = ith; u < units; u += nth) {
        int64_t seq = u / (c.heads * blocks), head = u / blocks % c.heads,
                t0 = u % blocks * LATHE_FUSED_QUERIES;
        int64_t kv = head / (c.heads / c.heads_kv), lo = lathe_causal_first(&c, seq, t0);
        int rows = (int) (c.n - t0 < LATHE_FUSED_QUERIES ? c.n - t0 : LATHE_FUSED_QUERIES);
        int nk = lathe_causal_probabilities(&c, lathe_causal_head(q, head, seq), lathe_causal_stride(q),
                                            lathe_causal_head(k, kv, seq), lathe_causal_stride(k), seq, t0,
                                            rows, lo, p, sum);
        float *out = (float *) dst->data + (seq * c.n + t0) * ldo + head * c.dh;
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, rows, (int) c.dh, nk, 1, p, nk,
                    lathe_causal_head(v, kv, seq) + lo * lathe_causal_stride(v), lathe_causal_stride(v), 0,
                    out, ldo);
        for (int r = 0; r < rows; r++)
            c.rows->scale(out + (int64_t) r * ldo, c.dh, 1.0f / sum[r]);
    }
}

/* dst: gradients of q [dh, H, T, S], then of k and of v [dh, Hk, T, S]. */
void lathe_fused_causal_back_op(T *dst, int ith, int nth, void *user) {
    const lathe_fused *f = user;
    const T *q = dst->src[0], *k = dst->src[1], *v = dst->src[2], *g = dst->src[3];
    const lathe_causal c = lathe_causal_of(dst);
    float *p = f->scratch + (size_t) ith * f->per_thread, *dp = p + f->per_thread / LATHE_FUSED_BLOCKS,
          sum[LATHE_FUSED_QUERIES];
    int dh = (int) c.dh, ldq = (int) (c.dh * c.heads), ldk = (int) (c.dh * c.heads_kv);
    int64_t group = c.heads / c.heads_kv, tokens = c.n * c.seqs;
    float *dq_all = dst->data, *dk_all = dq_all + tokens * ldq, *dv_all = dk_all + tokens * ldk;
    for (int64_t u = ith; u < c.seqs * c.heads_kv; u += nth) {
        int64_t seq = u / c.heads_kv, kv = u % c.heads_kv;
        float *dk = dk_all + seq * c.n * ldk + kv * c.dh, *dv = dv_all + seq * c.n * ldk + kv * c.dh;
        for (int64_t t = 0; t < c.n; t++) {
            memset(dk + t * ldk, 0, (size_t) c.dh * sizeof *dk);
            memset(dv + t * ldk, 0, (size_t) c.dh * sizeof *dv);
        }
        for (int64_t head = kv * group; head < (kv + 1) * group; head++)
            for (int64_t t0 = 0; t0 < c.n; t0 += LATHE_FUSED_QUERIES) {
                int rows = (int) (c.n - t0 < LATHE_FUSED_QUERIES ? c.n - t0 : LATHE_FUSED_QUERIES);
                int64_t lo = lathe_causal_first(&c, seq, t0);
                const float *qh = lathe_causal_head(q, head, seq), *kh = lathe_causal_head(k, kv, seq),
                            *vh = lathe_causal_head(v, kv, seq);
                const float *go = (const float *) g->data + (seq * c.n + t0) * ldq + head * c.dh;
                int nk = lathe_causal_probabilities(&c, qh, lathe_causal_stride(q), kh,
                                                    lathe_causal_stride(k), seq, t0, rows, lo, p, sum);
                cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, nk, dh, 1, go, ldq,
                            vh + lo * lathe_causal_stride(v), lathe_causal_stride(v), 0, dp, nk);
                for (int r = 0; r < rows; r++) {
                    c.rows->scale(p + (int64_t) r * nk, nk, 1.0f / sum[r]);
                    c.rows->softmax_back(p + (int64_t) r * nk, dp + (int64_t) r * nk, nk, c.scale);
                }
                cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, nk, dh, rows, 1, p, nk, go, ldq, 1,
                            dv + lo * ldk, ldk);
                cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, nk, dh, rows, 1, dp, nk,
                            qh + t0 * lathe_causal_stride(q), lathe_causal_stride(q), 1, dk + lo * ldk, ldk);
                cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, rows, dh, nk, 1, dp, nk,
                            kh + lo * lathe_causal_stride(k), lathe_causal_stride(k), 0,
                            dq_all + (seq * c.n + t0) * ldq + head * c.dh, ldq);
            }
    }
}

bool lathe_causal_is_rows(const T *x) {
    return x->type == GGML_TYPE_F32 && x->nb[0] == sizeof(float) && x->nb[1] % sizeof(float) == 0 &&
           x->nb[1] / sizeof(float) <= INT32_MAX && x->nb[1] / sizeof(float) >= (size_t) x->ne[0];
}

T *lathe_fused_causal(lathe_fused *f, struct ggml_context *ctx, T *q, T *k, T *v, float scale, int32_t window,
                      T *starts) {
    if (!lathe_causal_is_rows(q) || !lathe_causal_is_rows(k) || !lathe_causal_is_rows(v) ||
        q->ne[0] != k->ne[0] || q->ne[0] != v->ne[0] || q->ne[1] != k->ne[1] || k->ne[1] != v->ne[1] ||
        k->ne[2] != v->ne[2] || k->ne[2] < 1 || q->ne[2] % k->ne[2] != 0 || q->ne[3] != k->ne[3] ||
        k->ne[3] != v->ne[3] ||
        (size_t) (LATHE_FUSED_BLOCKS * LATHE_FUSED_QUERIES * q->ne[1]) > f->per_thread)
        return NULL;
    T *args[] = {q, k, v, starts};
    T *y = ggml_custom_4d(ctx, GGML_TYPE_F32, q->ne[0] * q->ne[2], q->ne[1] * q->ne[3], 1, 1, args,
                          starts != NULL ? 4 : 3, lathe_fused_causal_op, GGML_N_TASKS_MAX, f);
    y->op_params[14] = window;
    memcpy(&y->op_params[15], &scale, sizeof scale);
    return y;
}

void lathe_causal_copy_params(T *to, const T *y) {
    /* What ggml keeps of a custom op is its function, the number of tasks and the user's pointer: the
     * function is to's own, all else is y's. */
    memcpy(to->op_params + 4, y->op_params + 4, sizeof to->op_params - 4 * sizeof *to->op_params);
}

void lathe_fused_causal_back(struct ggml_context *ctx, T *y, T *g, T *grads[3]) {
    T *args[] = {y->src[0], y->src[1], y->src[2], g, y->src[3]};
    const T *q = y->src[0], *k = y->src[1];
    int64_t n_q = ggml_nelements(q), n_k = ggml_nelements(k);
    T *all = ggml_custom_4d(ctx, GGML_TYPE_F32, n_q + 2 * n_k, 1, 1, 1, args, y->src[3] != NULL ? 5 : 4,
                            lathe_fused_causal_back_op, GGML_N_TASKS_MAX, NULL);
    lathe_causal_copy_params(all, y);
    size_t offset = 0;
    for (size_t i = 0; i < 3; i++) {
        const T *x = y->src[i];
        size_t row = (size_t) x->ne[0] * sizeof(float), token = row * (size_t) x->ne[2];
        T *view = ggml_view_4d(ctx, all, x->ne[0], x->ne[2], x->ne[1], x->ne[3], row, token,
                               token * (size_t) x->ne[1], offset);
        grads[i] = ggml_permute(ctx, view, 0, 2, 1, 3);
        offset += (size_t) ggml_nelements(x) * sizeof(float);
    }
}
