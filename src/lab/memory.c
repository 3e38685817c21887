/* memory.c - see memory.h. */
#include "lab/memory.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static double mass(const lathe_memory *m, int32_t k) {
    return k < m->head ? m->alpha / m->head : (1 - m->alpha) / (m->n - m->head);
}

/* c = op(a) op(b), [n, n] row-major. */
static void product(int n, bool turn_a, bool turn_b, const double *a, const double *b, double *c) {
    cblas_dgemm(CblasRowMajor, turn_a ? CblasTrans : CblasNoTrans, turn_b ? CblasTrans : CblasNoTrans, n, n,
                n, 1, a, n, b, n, 0, c, n);
}

/* x <- U S' V^T with S' = 1 where the singular value is not zero; singular gets S'. */
static lathe_status orthogonal_factor(int n, double *x, double *singular, lathe_error *err) {
    const size_t size = (size_t) n * (size_t) n;
    double *memory = malloc((2 * size + (size_t) n) * sizeof *memory);
    if (!memory)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory to decompose a %d x %d matrix", n, n);
    double *u = memory, *vt = u + size, *s = vt + size;
    const lapack_int info = LAPACKE_dgesdd(LAPACK_ROW_MAJOR, 'A', n, n, x, n, s, u, n, vt, n);
    if (info == 0) {
        for (int i = 0; i < n; i++) {
            const bool zero = !(s[i] > 1e-9 * s[0]);
            if (zero)
                memset(vt + (size_t) i * (size_t) n, 0, (size_t) n * sizeof *vt);
            if (singular)
                singular[i] = !zero;
        }
        product(n, false, false, u, vt, x);
    }
    free(memory);
    return info == 0 ? LATHE_OK
                     : lathe_fail(err, LATHE_ERR_NUMERIC, "a singular value decomposition did not converge");
}

static lathe_status singular_values(int n, const double *x, double *singular, lathe_error *err) {
    const size_t size = (size_t) n * (size_t) n;
    double *copy = malloc(size * sizeof *copy);
    if (!copy)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory to decompose a %d x %d matrix", n, n);
    memcpy(copy, x, size * sizeof *copy);
    const lapack_int info = LAPACKE_dgesdd(LAPACK_ROW_MAJOR, 'N', n, n, copy, n, singular, NULL, n, NULL, n);
    free(copy);
    return info == 0 ? LATHE_OK : lathe_fail(err, LATHE_ERR_NUMERIC, "the singular values did not converge");
}

lathe_status lathe_memory_scores(const lathe_memory *m, lathe_memory_step step, const double *keys,
                                 const double *values, double *scores, double *singular, lathe_error *err) {
    const int n = m->n;
    const size_t size = (size_t) n * (size_t) n;
    if (n < 2 || n > 4096 || m->head < 1 || m->head >= n || !(m->alpha > 0 && m->alpha < 1))
        return lathe_fail(err, LATHE_ERR_ARG,
                          "a memory needs 2 to 4096 facts, some of them frequent and some not");
    double *x = malloc(2 * size * sizeof *x);
    if (!x)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %d facts", n);
    double *y = x + size;
    for (int i = 0; i < n; i++) /* minus the gradient at 0, in the bases of values and keys */
        for (int k = 0; k < n; k++)
            x[(size_t) i * (size_t) n + (size_t) k] = mass(m, k) * ((i == k) - 1.0 / n);
    if (values) {
        product(n, false, false, values, x, y);
        memcpy(x, y, size * sizeof *x);
    }
    if (keys) {
        product(n, false, true, x, keys, y);
        memcpy(x, y, size * sizeof *x);
    }
    lathe_status st = LATHE_OK;
    if (step == LATHE_MEMORY_MUON)
        st = orthogonal_factor(n, x, singular, err);
    else if (step == LATHE_MEMORY_SIGN)
        for (size_t i = 0; i < size; i++)
            x[i] = (x[i] > 0) - (x[i] < 0);
    if (!st && singular && step != LATHE_MEMORY_MUON)
        st = singular_values(n, x, singular, err);
    if (!st && values) {
        product(n, true, false, values, x, y);
        memcpy(x, y, size * sizeof *x);
    }
    if (!st && keys) {
        product(n, false, false, x, keys, y);
        memcpy(x, y, size * sizeof *x);
    }
    for (int i = 0; !st && i < n; i++)
        for (int k = 0; k < n; k++)
            scores[(size_t) k * (size_t) n + (size_t) i] = x[(size_t) i * (size_t) n + (size_t) k];
    free(x);
    return st;
}

void lathe_memory_reach(const lathe_memory *m, const double *scores, double eta, double *most, double *least,
                        double *loss) {
    *most = 0;
    *least = 1;
    *loss = 0;
    for (int32_t k = 0; k < m->n; k++) {
        const double *row = scores + (size_t) k * (size_t) m->n;
        double sum = 0; /* of exp(others - right) */
        for (int32_t i = 0; i < m->n; i++)
            sum += i == k ? 1 : exp(fmin(700, eta * (row[i] - row[k])));
        *most = fmax(*most, 1 / sum);
        *least = fmin(*least, 1 / sum);
        *loss += mass(m, k) * log(sum);
    }
}

double lathe_memory_balance(const lathe_memory *m, const double *scores, double eps, double *eta) {
    double low = 0, high = 1, most, least, loss;
    for (int i = 0; i < 60; i++, high *= 2) {
        lathe_memory_reach(m, scores, high, &most, &least, &loss);
        if (most >= 1 - eps)
            break;
    }
    for (int i = 0; i < 54 && high - low > 1e-13 * high; i++) {
        const double middle = 0.5 * (low + high);
        lathe_memory_reach(m, scores, middle, &most, &least, &loss);
        *(most >= 1 - eps ? &high : &low) = middle;
    }
    lathe_memory_reach(m, scores, high, &most, &least, &loss);
    if (eta)
        *eta = high;
    return least;
}

double lathe_memory_gd_least(const lathe_memory *m, double eps) {
    const double a = mass(m, 0), b = mass(m, m->n - 1), r = a < b ? a / b : b / a;
    return 1 / (1 + pow(m->n - 1, 1 - r) * pow(eps / (1 - eps), r));
}

/* --- Embeddings ------------------------------------------------------------------------------------- */

static void euler(double a, double b, double c, double out[9]) {
    const double ca = cos(a), sa = sin(a), cb = cos(b), sb = sin(b), cc = cos(c), sc = sin(c);
    const double r[9] = {ca * cb * cc - sa * sc,
                         -ca * cb * sc - sa * cc,
                         ca * sb,
                         sa * cb * cc + ca * sc,
                         -sa * cb * sc + ca * cc,
                         sa * sb,
                         -sb * cc,
                         sb * sc,
                         cb};
    memcpy(out, r, sizeof r);
}

lathe_status lathe_memory_coupled(int32_t n, double *keys, double *values, lathe_error *err) {
    if (n < 3 || n % 3)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "coupled embeddings come in threes: %d facts are not divisible by 3", n);
    double k[9], v[9];
    euler(1.715, 0.876, 3.098, k);
    euler(3.638, 2.949, 5.218, v);
    memset(keys, 0, (size_t) n * (size_t) n * sizeof *keys);
    memset(values, 0, (size_t) n * (size_t) n * sizeof *values);
    for (int32_t b = 0; b < n; b += 3)
        for (int32_t i = 0; i < 9; i++) {
            const size_t at = (size_t) (b + i / 3) * (size_t) n + (size_t) (b + i % 3);
            keys[at] = k[i];
            values[at] = v[i];
        }
    return LATHE_OK;
}

/* Right answers' probabilities in a regular block, with n / 3 - 1 other blocks that all look like block 1. */
static void block_reach(const lathe_memory *small, const double *scores, double n, double eta, double *most,
                        double *least) {
    *most = 0;
    *least = 1;
    for (int k = 0; k < 3; k++) {
        const double *row = scores + (size_t) k * (size_t) small->n;
        double sum = 0;
        for (int i = 0; i < 3; i++) {
            sum += exp(eta * (row[i] - row[k]));
            sum += (n / 3 - 1) * exp(eta * (row[3 + i] - row[k]));
        }
        *most = fmax(*most, 1 / sum);
        *least = fmin(*least, 1 / sum);
    }
}

double lathe_memory_coupled_least(const lathe_memory *small, const double *scores, double n, double eps) {
    double low = 0, high = 1, most, least;
    for (int i = 0; i < 60; i++, high *= 2) {
        block_reach(small, scores, n, high, &most, &least);
        if (most >= 1 - eps)
            break;
    }
    for (int i = 0; i < 60; i++) {
        const double middle = 0.5 * (low + high);
        block_reach(small, scores, n, middle, &most, &least);
        *(most >= 1 - eps ? &high : &low) = middle;
    }
    block_reach(small, scores, n, high, &most, &least);
    return least;
}

lathe_status lathe_memory_orthogonal(lathe_rng *rng, int32_t n, double *out, lathe_error *err) {
    double *tau = malloc((size_t) n * sizeof *tau);
    if (!tau)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a rotation");
    for (size_t i = 0; i < (size_t) n * (size_t) n; i++)
        out[i] = lathe_rng_normal(rng);
    lapack_int info = LAPACKE_dgeqrf(LAPACK_ROW_MAJOR, n, n, out, n, tau);
    if (info == 0)
        info = LAPACKE_dorgqr(LAPACK_ROW_MAJOR, n, n, n, out, n, tau);
    free(tau);
    return info == 0 ? LATHE_OK : lathe_fail(err, LATHE_ERR_NUMERIC, "a QR decomposition failed");
}
