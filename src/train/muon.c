/* muon.c - momentum whose matrix is replaced by its orthogonal factor (Jordan et al. 2024), found by a
 * polynomial iteration or by the singular value decomposition. */
#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "train/optim.h"

typedef struct poly {
    double a, b, c; /* a x + b x^3 + c x^5 */
} poly;

static const poly jordan = {3.4445, -4.7750, 2.0315};
static const poly you[5] = {{4.0848, -6.8946, 2.9270},
                            {3.9505, -6.3029, 2.6377},
                            {3.7418, -5.5913, 2.3037},
                            {2.8769, -3.1427, 1.2046},
                            {2.8366, -3.0525, 1.2012}};
/* Polar Express (Amsel et al. 2025), for singular values from 1e-3; the safety factor is applied below. */
static const poly polar[8] = {{8.28721201814563, -23.595886519098837, 17.300387312530933},
                              {4.107059111542203, -2.9478499167379106, 0.5448431082926601},
                              {3.9486908534822946, -2.908902115962949, 0.5518191394370137},
                              {3.3184196573706015, -2.488488024314874, 0.51004894012372},
                              {2.300652019954817, -1.6689039845747493, 0.4188073119525673},
                              {1.891301407787398, -1.2679958271945868, 0.37680408948524835},
                              {1.8750014808534479, -1.2500016453999487, 0.3750001645474248},
                              {1.875, -1.25, 0.375}};
#define POLAR_SAFETY 1.01

static const char *const ns_names[] = {"jordan5", "you5", "polar5", "polar8", "cubic", "svd"};

const char *lathe_ns_name(lathe_ns_kind kind) {
    return kind >= 0 && kind < LATHE_NS_COUNT ? ns_names[kind] : NULL;
}

static int steps_of(lathe_ns_kind ns) {
    return ns == LATHE_NS_POLAR8 ? 8 : ns == LATHE_NS_CUBIC10 ? 10 : 5;
}

static poly poly_at(lathe_ns_kind ns, int i) {
    switch (ns) {
    case LATHE_NS_YOU5:
        return you[i];
    case LATHE_NS_CUBIC10:
        return (poly){1.5, -0.5, 0};
    case LATHE_NS_POLAR5:
    case LATHE_NS_POLAR8: {
        double s = i < 7 ? POLAR_SAFETY : 1;
        return (poly){polar[i].a / s, polar[i].b / (s * s * s), polar[i].c / (s * s * s * s * s)};
    }
    default:
        return jordan;
    }
}

double lathe_ns_scalar(lathe_ns_kind ns, double x) {
    if (ns == LATHE_NS_SVD)
        return x > 0 ? 1 : 0;
    for (int i = 0; i < steps_of(ns); i++) {
        poly p = poly_at(ns, i);
        x = x * (p.a + x * x * (p.b + x * x * p.c));
    }
    return x;
}

/* x [p, q], p <= q, in place; a, b [p, p]; y [p, q]. */
static void iterate(lathe_ns_kind ns, int p, int q, float *x, float *a, float *b, float *y) {
    for (int i = 0; i < steps_of(ns); i++) {
        poly c = poly_at(ns, i);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, p, p, q, 1, x, q, x, q, 0, a, p);
        memcpy(b, a, (size_t) p * (size_t) p * sizeof *b);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, p, p, p, (float) c.c, a, p, a, p, (float) c.b,
                    b, p);
        memcpy(y, x, (size_t) p * (size_t) q * sizeof *y);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, p, q, p, 1, b, p, x, q, (float) c.a, y, q);
        memcpy(x, y, (size_t) p * (size_t) q * sizeof *x);
    }
}

/* x [p, q] <- U V^T, with singular values below 1e-7 of the largest left at zero. */
static lathe_status by_svd(int p, int q, float *x, lathe_error *err) {
    size_t sp = (size_t) p, sq = (size_t) q;
    double *a = malloc((sp * sq * 2 + sp * sp + sp) * sizeof *a);
    if (a == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a singular value decomposition of %d x %d", p,
                          q);
    double *vt = a + sp * sq, *u = vt + sp * sq, *s = u + sp * sp;
    for (size_t i = 0; i < sp * sq; i++)
        a[i] = x[i];
    lapack_int info = LAPACKE_dgesdd(LAPACK_ROW_MAJOR, 'S', p, q, a, q, s, u, p, vt, q);
    for (size_t i = 0; info == 0 && i < sp; i++)
        if (!(s[i] > 1e-7 * s[0]))
            memset(vt + i * sq, 0, sq * sizeof *vt);
    if (info == 0)
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, p, q, p, 1, u, p, vt, q, 0, a, q);
    for (size_t i = 0; i < sp * sq; i++)
        x[i] = (float) a[i];
    free(a);
    return info == 0 ? LATHE_OK
                     : lathe_fail(err, LATHE_ERR_NUMERIC, "a singular value decomposition did not converge");
}

static void transpose(const float *x, int64_t rows, int64_t cols, float *out) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            out[j * rows + i] = x[i * cols + j];
}

lathe_status lathe_orthogonalise(lathe_ns_kind ns, const float *g, int64_t rows, int64_t cols, float *out,
                                 lathe_error *err) {
    bool tall = rows > cols;
    int64_t p = tall ? cols : rows, q = tall ? rows : cols;
    if (q > INT32_MAX || p < 1 || lathe_ns_name(ns) == NULL)
        return lathe_fail(err, LATHE_ERR_ARG, "cannot orthogonalise a %lld x %lld matrix", (long long) rows,
                          (long long) cols);
    size_t n = (size_t) (p * q), pp = (size_t) (p * p);
    float *x = malloc((2 * n + 2 * pp) * sizeof *x);
    if (x == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory to orthogonalise %lld x %lld", (long long) rows,
                          (long long) cols);
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double) g[i] * g[i];
    double norm = sqrt(sum) * (ns == LATHE_NS_POLAR5 || ns == LATHE_NS_POLAR8 ? POLAR_SAFETY : 1) + 1e-7;
    if (tall)
        transpose(g, rows, cols, x);
    else
        memcpy(x, g, n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = (float) (x[i] / norm);
    lathe_status status = LATHE_OK;
    if (sum > 0 && ns == LATHE_NS_SVD)
        status = by_svd((int) p, (int) q, x, err);
    else if (sum > 0)
        iterate(ns, (int) p, (int) q, x, x + 2 * n, x + 2 * n + pp, x + n);
    if (status == LATHE_OK && tall)
        transpose(x, p, q, out);
    else if (status == LATHE_OK)
        memcpy(out, x, n * sizeof *x);
    free(x);
    return status;
}

lathe_status lathe_optim_muon(const lathe_optim_task *k, lathe_error *err) {
    const lathe_optim *o = k->optim;
    float mu = (float) o->momentum;
    float *d = malloc((size_t) k->n * 2 * sizeof *d);
    if (d == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory for its update", k->name);
    float *q = d + k->n;
    for (int64_t i = 0; i < k->n; i++) {
        float m = mu * k->state[i] + (1 - mu) * k->g[i];
        k->state[i] = m;
        d[i] = o->nesterov ? (1 - mu) * k->g[i] + mu * m : m;
    }
    lathe_status status = lathe_orthogonalise(o->ns, d, k->rows, k->cols, q, err);
    if (status == LATHE_OK) {
        double rows = (double) k->rows, cols = (double) k->cols;
        double scale = o->original_scale ? sqrt(fmax(1, rows / cols)) : 0.2 * sqrt(fmax(rows, cols));
        float step = (float) (k->lr * scale);
        lathe_optim_decay(k);
        for (int64_t i = 0; i < k->n; i++)
            k->w[i] -= step * q[i];
    }
    free(d);
    return status;
}
