/* shampoo.c - optimisers that use the second moments of both sides of a matrix: Shampoo (Gupta et al. 2018)
 * and SOAP (Vyas et al. 2024). Work is in double, state in f32: L [m, m], R [n, n], then roots or bases of
 * the same shapes, then two averages [m, n]. */
#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "train/optim.h"

typedef struct sides {
    size_t m, n, mn;
    float *l, *r, *ql, *qr, *first, *second;
    double *buf; /* everything below lies in it */
    double *g, *a, *b, *side, *values, *q;
} sides;

static bool open_sides(const lathe_optim_task *k, sides *s) {
    s->m = (size_t) k->rows;
    s->n = (size_t) k->cols;
    s->mn = s->m * s->n;
    s->l = k->state;
    s->r = s->l + s->m * s->m;
    s->ql = s->r + s->n * s->n;
    s->qr = s->ql + s->m * s->m;
    s->first = s->qr + s->n * s->n;
    s->second = s->first + s->mn;
    size_t p = s->m > s->n ? s->m : s->n;
    s->buf = calloc(3 * s->mn + 2 * p * p + p, sizeof *s->buf);
    if (s->buf == NULL)
        return false;
    s->g = s->buf;
    s->a = s->g + s->mn;
    s->b = s->a + s->mn;
    s->side = s->b + s->mn;
    s->q = s->side + p * p;
    s->values = s->q + p * p;
    for (size_t i = 0; i < s->mn; i++)
        s->g[i] = k->g[i];
    return true;
}

static void product(bool ta, bool tb, size_t m, size_t n, size_t k, const double *a, const double *b,
                    double *c) {
    cblas_dgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans, (int) m,
                (int) n, (int) k, 1, a, (int) (ta ? m : k), b, (int) (tb ? k : n), 0, c, (int) n);
}

static void widen(const float *x, size_t n, double *out) {
    for (size_t i = 0; i < n; i++)
        out[i] = x[i];
}

/* side <- keep side + add (G G^T or G^T G). */
static void gather(sides *s, bool left, double keep, double add) {
    size_t p = left ? s->m : s->n;
    float *side = left ? s->l : s->r;
    product(!left, left, p, p, left ? s->n : s->m, s->g, s->g, s->side);
    for (size_t i = 0; i < p * p; i++)
        side[i] = (float) (keep * side[i] + add * s->side[i]);
}

/* Eigenvectors of a side (columns of s->q) and s->values, both by falling value. */
static bool eigen(sides *s, bool left) {
    size_t p = left ? s->m : s->n;
    widen(left ? s->l : s->r, p * p, s->side);
    if (LAPACKE_dsyevd(LAPACK_ROW_MAJOR, 'V', 'U', (int) p, s->side, (int) p, s->values) != 0)
        return false;
    for (size_t i = 0; i < p; i++)
        for (size_t j = 0; j < p; j++)
            s->q[i * p + j] = s->side[i * p + (p - 1 - j)];
    for (size_t j = 0; j < p / 2; j++) {
        double x = s->values[j];
        s->values[j] = s->values[p - 1 - j];
        s->values[p - 1 - j] = x;
    }
    return true;
}

/* out [p, p] = side^{-1/4}. */
static bool root(sides *s, bool left, double eps, float *out) {
    size_t p = left ? s->m : s->n;
    if (!eigen(s, left))
        return false;
    for (size_t i = 0; i < p; i++)
        for (size_t j = 0; j < p; j++)
            s->side[i * p + j] =
                s->q[i * p + j] * pow(fmax(s->values[j], eps), -0.125); /* twice: an eighth each */
    double *full = s->q;                                                /* q is used up */
    double *copy = malloc(p * p * sizeof *copy);
    if (copy == NULL)
        return false;
    memcpy(copy, s->side, p * p * sizeof *copy);
    product(false, true, p, p, p, copy, s->side, full);
    for (size_t i = 0; i < p * p; i++)
        out[i] = (float) full[i];
    free(copy);
    return true;
}

static lathe_status failed(const lathe_optim_task *k, sides *s, lathe_error *err) {
    free(s->buf);
    return lathe_fail(err, LATHE_ERR_NUMERIC, "%s: an eigenvalue decomposition did not converge", k->name);
}

lathe_status lathe_optim_shampoo(const lathe_optim_task *k, lathe_error *err) {
    const lathe_optim *o = k->optim;
    sides s;
    if (!open_sides(k, &s))
        return lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory for Shampoo", k->name);
    if (k->t == 1) {
        for (size_t i = 0; i < s.m; i++)
            s.l[i * s.m + i] = (float) o->eps;
        for (size_t i = 0; i < s.n; i++)
            s.r[i * s.n + i] = (float) o->eps;
    }
    gather(&s, true, o->sum ? 1 : o->beta_side, o->sum ? 1 : 1 - o->beta_side);
    gather(&s, false, o->sum ? 1 : o->beta_side, o->sum ? 1 : 1 - o->beta_side);
    if (o->sum || o->refresh <= 1 || (k->t - 1) % o->refresh == 0)
        if (!root(&s, true, 1e-30, s.ql) || !root(&s, false, 1e-30, s.qr))
            return failed(k, &s, err);
    widen(s.ql, s.m * s.m, s.side);
    product(false, false, s.m, s.n, s.m, s.side, s.g, s.a);
    widen(s.qr, s.n * s.n, s.side);
    product(false, false, s.m, s.n, s.n, s.a, s.side, s.b);
    double scale = 1;
    if (!o->sum) { /* the length of AdamW's direction */
        double c1 = 1 - pow(0.9, (double) k->t), c2 = 1 - pow(0.95, (double) k->t), adam = 0, own = 0;
        for (size_t i = 0; i < s.mn; i++) {
            s.first[i] = (float) (0.9 * s.first[i] + 0.1 * s.g[i]);
            s.second[i] = (float) (0.95 * s.second[i] + 0.05 * s.g[i] * s.g[i]);
            double d = s.first[i] / c1 / (sqrt(s.second[i] / c2) + 1e-8);
            adam += d * d;
            own += s.b[i] * s.b[i];
        }
        scale = own > 0 ? sqrt(adam / own) : 0;
    }
    lathe_optim_decay(k);
    for (size_t i = 0; i < s.mn; i++)
        k->w[i] -= (float) (k->lr * scale * s.b[i]);
    free(s.buf);
    return LATHE_OK;
}

/* A new basis of one side: eigenvectors the first time, later one power iteration and QR with columns ordered
 * by falling q^T side q; order[p] says which old column each new one continues. */
static bool refresh(sides *s, bool left, bool exact, size_t *order) {
    size_t p = left ? s->m : s->n;
    float *basis = left ? s->ql : s->qr;
    for (size_t j = 0; j < p; j++)
        order[j] = j;
    if (exact) {
        if (!eigen(s, left))
            return false;
        for (size_t i = 0; i < p * p; i++)
            basis[i] = (float) s->q[i];
        return true;
    }
    double *old = malloc(3 * p * p * sizeof *old);
    if (old == NULL)
        return false;
    double *wide = old + p * p, *moved = wide + p * p;
    widen(basis, p * p, old);
    widen(left ? s->l : s->r, p * p, wide);
    product(false, false, p, p, p, wide, old, moved);
    for (size_t j = 0; j < p; j++) {
        s->values[j] = 0;
        for (size_t i = 0; i < p; i++)
            s->values[j] += old[i * p + j] * moved[i * p + j];
    }
    for (size_t j = 1; j < p; j++) /* insertion: nearly sorted, and stable */
        for (size_t i = j; i > 0 && s->values[order[i]] > s->values[order[i - 1]]; i--) {
            size_t x = order[i];
            order[i] = order[i - 1];
            order[i - 1] = x;
        }
    for (size_t i = 0; i < p; i++)
        for (size_t j = 0; j < p; j++)
            wide[i * p + j] = moved[i * p + order[j]];
    bool ok = LAPACKE_dgeqrf(LAPACK_ROW_MAJOR, (int) p, (int) p, wide, (int) p, s->q) == 0 &&
              LAPACKE_dorgqr(LAPACK_ROW_MAJOR, (int) p, (int) p, (int) p, wide, (int) p, s->q) == 0;
    for (size_t i = 0; ok && i < p * p; i++)
        basis[i] = (float) wide[i];
    free(old);
    return ok;
}

lathe_status lathe_optim_soap(const lathe_optim_task *k, lathe_error *err) {
    const lathe_optim *o = k->optim;
    sides s;
    size_t *order = malloc(((size_t) k->rows + (size_t) k->cols) * sizeof *order);
    if (order == NULL || !open_sides(k, &s)) {
        free(order);
        return lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory for SOAP", k->name);
    }
    gather(&s, true, o->beta_side, 1 - o->beta_side);
    gather(&s, false, o->beta_side, 1 - o->beta_side);
    if (o->refresh <= 1 || (k->t - 1) % o->refresh == 0) {
        bool exact = k->t == 1 || o->refresh <= 1;
        if (!refresh(&s, true, exact, order) || !refresh(&s, false, exact, order + s.m)) {
            free(order);
            return failed(k, &s, err);
        }
        for (size_t i = 0; i < s.mn; i++)
            s.a[i] = s.second[i];
        for (size_t i = 0; i < s.m; i++)
            for (size_t j = 0; j < s.n; j++)
                s.second[i * s.n + j] = (float) s.a[order[i] * s.n + order[s.m + j]];
    }
    free(order);
    double b1 = o->beta1, b2 = o->beta2, c1 = 1 - pow(b1, (double) k->t), c2 = 1 - pow(b2, (double) k->t);
    widen(s.ql, s.m * s.m, s.side);
    widen(s.qr, s.n * s.n, s.q);
    product(true, false, s.m, s.n, s.m, s.side, s.g, s.a); /* G' = QL^T G QR */
    product(false, false, s.m, s.n, s.n, s.a, s.q, s.b);
    for (size_t i = 0; i < s.mn; i++) {
        s.second[i] = (float) (b2 * s.second[i] + (1 - b2) * s.b[i] * s.b[i]);
        s.first[i] = (float) (b1 * s.first[i] + (1 - b1) * s.g[i]);
        s.g[i] = s.first[i] / c1;
    }
    product(true, false, s.m, s.n, s.m, s.side, s.g, s.a);
    product(false, false, s.m, s.n, s.n, s.a, s.q, s.b);
    double floor = 0; /* null directions of the basis hold rounding only: they must give 0, not 0/0 */
    for (size_t i = 0; i < s.mn; i++)
        floor = fmax(floor, fabs(s.b[i]));
    for (size_t i = 0; i < s.mn; i++)
        s.b[i] = fabs(s.b[i]) <= 1e-6 * floor ? 0 : s.b[i] / (sqrt(s.second[i] / c2) + o->eps);
    product(false, false, s.m, s.n, s.m, s.side, s.b, s.a);
    product(false, true, s.m, s.n, s.n, s.a, s.q, s.b);
    lathe_optim_decay(k);
    for (size_t i = 0; i < s.mn; i++)
        k->w[i] -= (float) (k->lr * s.b[i]);
    free(s.buf);
    return LATHE_OK;
}
