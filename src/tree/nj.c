/* nj.c - neighbour joining and BIONJ, exact, with rows passed over by a bound.
 *
 * Q_ij = (m - 2) D_ij - R_i - R_j. A row scanned at some step had a smallest Q; since then only the sums R
 * have moved, so Q/(m - 2) of its old pairs is at least what it was, less the row's own drift, less the
 * largest drift of any node, summed over the steps. Only rows whose bound reaches the best pair are scanned
 * again. A new node's row is scanned when it is made, so pairs with it need no place in the other rows'
 * bounds. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tree/tree.h"

typedef double row_min_fn(const double *d, const double *r, int32_t m, double scale, double r_i);

/* Smallest scale * d[j] - r[j] - r_i over j < m; lanes so that compilers use whatever vectors there are. */
static inline __attribute__((always_inline)) double row_min_lanes(const double *d, const double *r, int32_t m,
                                                                  double scale, double r_i) {
    double best[16];
    for (int l = 0; l < 16; l++)
        best[l] = INFINITY;
    int32_t j = 0;
    for (; j + 16 <= m; j += 16)
        for (int l = 0; l < 16; l++) {
            const double q = scale * d[j + l] - r_i - r[j + l];
            best[l] = q < best[l] ? q : best[l];
        }
    for (; j < m; j++) {
        const double q = scale * d[j] - r_i - r[j];
        best[0] = q < best[0] ? q : best[0];
    }
    for (int l = 1; l < 16; l++)
        best[0] = best[l] < best[0] ? best[l] : best[0];
    return best[0];
}

static double row_min_plain(const double *d, const double *r, int32_t m, double scale, double r_i) {
    return row_min_lanes(d, r, m, scale, r_i);
}
#if defined(__x86_64__)
__attribute__((target("avx2"))) static double row_min_avx2(const double *d, const double *r, int32_t m,
                                                           double scale, double r_i) {
    return row_min_lanes(d, r, m, scale, r_i);
}
__attribute__((target("avx512f"))) static double row_min_avx512(const double *d, const double *r, int32_t m,
                                                                double scale, double r_i) {
    return row_min_lanes(d, r, m, scale, r_i);
}
#endif

static row_min_fn *pick(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f"))
        return row_min_avx512;
    if (__builtin_cpu_supports("avx2"))
        return row_min_avx2;
#endif
    return row_min_plain;
}

typedef struct joiner {
    int32_t m; /* active nodes, in places 0 .. m - 1 */
    size_t stride;
    double *d, *v;  /* [stride * stride]; v: variances, BIONJ only; diagonal of d infinite */
    double *r;      /* [m] sums of rows */
    double *low;    /* [m] smallest Q/(m - 2) when last scanned */
    double *r_then; /* [m] R/(m - 2) then */
    double *g_then; /* [m] summed largest drift then */
    double *r_last; /* [m] R/(m - 2) a step ago */
    double g;
    int32_t *node; /* [m] tree node in this place */
    row_min_fn *row_min;
} joiner;

static void free_joiner(joiner *s) {
    free(s->d);
    free(s->v);
    free(s->r);
    free(s->low);
    free(s->r_then);
    free(s->g_then);
    free(s->r_last);
    free(s->node);
}

static void sum_rows(joiner *s) {
    for (int32_t i = 0; i < s->m; i++) {
        const double *row = s->d + (size_t) i * s->stride;
        double sum = 0;
        for (int32_t j = 0; j < s->m; j++)
            sum += j == i ? 0 : row[j];
        s->r[i] = sum;
    }
}

static double scan(joiner *s, int32_t i) {
    const double scale = s->m - 2;
    const double q = s->row_min(s->d + (size_t) i * s->stride, s->r, s->m, scale, s->r[i]);
    s->low[i] = q / scale;
    s->r_then[i] = s->r[i] / scale;
    s->g_then[i] = s->g;
    return q;
}

/* The pair of smallest Q; ties to the smallest places. */
static void find_pair(joiner *s, int32_t *pi, int32_t *pj) {
    const double scale = s->m - 2;
    double drift = -INFINITY, largest = 0;
    for (int32_t i = 0; i < s->m; i++) {
        const double now = s->r[i] / scale;
        drift = fmax(drift, now - s->r_last[i]);
        largest = fmax(largest, fabs(now));
        s->r_last[i] = now;
    }
    s->g += drift;
    const double slack = 1e-9 * (largest + fabs(s->g)) + 1e-300; /* far above what rounding can move */
    int32_t first = 0;
    double first_bound = INFINITY;
    for (int32_t i = 0; i < s->m; i++) {
        const double bound = s->low[i] - (s->r_last[i] - s->r_then[i]) - (s->g - s->g_then[i]);
        if (bound < first_bound) {
            first_bound = bound;
            first = i;
        }
    }
    double best = scan(s, first);
    int32_t row = first;
    for (int32_t i = 0; i < s->m; i++) {
        if (i == first ||
            s->low[i] - (s->r_last[i] - s->r_then[i]) - (s->g - s->g_then[i]) - slack > best / scale)
            continue;
        const double q = scan(s, i);
        if (q < best || (q == best && i < row)) {
            best = q;
            row = i;
        }
    }
    const double *d = s->d + (size_t) row * s->stride;
    int32_t j = 0;
    while (j < s->m - 1 && (j == row || scale * d[j] - s->r[row] - s->r[j] > best))
        j++;
    if (j == row) /* only the last place is left, and it is the row itself: cannot be, but stays in bounds */
        j = row == 0 ? 1 : 0;
    *pi = row < j ? row : j;
    *pj = row < j ? j : row;
}

static void join(joiner *s, int32_t i, int32_t j, int32_t u, lathe_tree *tree) {
    const size_t n = s->stride;
    const double dij = s->d[i * n + j];
    const double li = 0.5 * dij + (s->r[i] - s->r[j]) / (2.0 * (s->m - 2)), lj = dij - li;
    lathe_tree_add(tree, s->node[i], u, NAN, li);
    lathe_tree_add(tree, s->node[j], u, NAN, lj);
    double lambda = 0.5;
    if (s->v != NULL) {
        const double vij = s->v[i * n + j];
        double sum = 0;
        for (int32_t k = 0; k < s->m; k++)
            if (k != i && k != j)
                sum += s->v[j * n + k] - s->v[i * n + k];
        if (vij > 0)
            lambda = fmin(1, fmax(0, 0.5 + sum / (2.0 * (s->m - 2) * vij)));
        for (int32_t k = 0; k < s->m; k++)
            if (k != i && k != j) {
                const double x =
                    lambda * s->v[i * n + k] + (1 - lambda) * s->v[j * n + k] - lambda * (1 - lambda) * vij;
                s->v[i * n + k] = s->v[k * n + i] = x;
            }
    }
    double sum = 0;
    for (int32_t k = 0; k < s->m; k++) {
        if (k == i || k == j)
            continue;
        const double dik = s->d[i * n + k], djk = s->d[j * n + k];
        const double x =
            s->v == NULL ? 0.5 * (dik + djk - dij) : lambda * (dik - li) + (1 - lambda) * (djk - lj);
        s->r[k] += x - dik - djk;
        s->d[i * n + k] = s->d[k * n + i] = x;
        sum += x;
    }
    s->r[i] = sum;
    s->node[i] = u;
    const int32_t last = s->m - 1;
    if (j != last) {
        memcpy(s->d + j * n, s->d + last * n, (size_t) s->m * sizeof *s->d);
        for (int32_t k = 0; k < last; k++)
            s->d[k * n + j] = s->d[j * n + k];
        s->d[j * n + j] = INFINITY;
        if (s->v != NULL) {
            memcpy(s->v + j * n, s->v + last * n, (size_t) s->m * sizeof *s->v);
            for (int32_t k = 0; k < last; k++)
                s->v[k * n + j] = s->v[j * n + k];
        }
        s->r[j] = s->r[last];
        s->low[j] = s->low[last];
        s->r_then[j] = s->r_then[last];
        s->g_then[j] = s->g_then[last];
        s->r_last[j] = s->r_last[last];
        s->node[j] = s->node[last];
    }
    s->m--;
    if (s->m > 2) {
        s->r_last[i] = s->r[i] / (s->m - 2); /* the new node did not drift: it began now */
        s->low[i] = -INFINITY;
    }
}

lathe_status lathe_nj(const double *d, int32_t n, char *const *names, bool bionj, lathe_tree *tree,
                      lathe_error *err) {
    const int32_t n_hidden = n > 2 ? n - 2 : 0;
    lathe_status st = lathe_tree_new(n + n_hidden, n, names, tree, err);
    if (st || n < 2)
        return st;
    if (n == 2) {
        lathe_tree_add(tree, 0, 1, NAN, d[1]);
        return LATHE_OK;
    }
    const size_t m = (size_t) n;
    joiner s = {.m = n, .stride = m, .row_min = pick()};
    s.d = malloc(m * m * sizeof *s.d);
    s.v = bionj ? malloc(m * m * sizeof *s.v) : NULL;
    s.r = malloc(m * sizeof *s.r);
    s.low = malloc(m * sizeof *s.low);
    s.r_then = calloc(m, sizeof *s.r_then);
    s.g_then = calloc(m, sizeof *s.g_then);
    s.r_last = malloc(m * sizeof *s.r_last);
    s.node = malloc(m * sizeof *s.node);
    if (!s.d || (bionj && !s.v) || !s.r || !s.low || !s.r_then || !s.g_then || !s.r_last || !s.node) {
        free_joiner(&s);
        lathe_tree_free(tree);
        return lathe_fail(err, LATHE_ERR_MEMORY, "neighbour joining: no memory for %d taxa", (int) n);
    }
    memcpy(s.d, d, m * m * sizeof *s.d);
    if (bionj)
        memcpy(s.v, d, m * m * sizeof *s.v);
    for (size_t i = 0; i < m; i++) {
        s.d[i * m + i] = INFINITY;
        s.node[i] = (int32_t) i;
        s.low[i] = -INFINITY;
    }
    sum_rows(&s);
    for (size_t i = 0; i < m; i++)
        s.r_last[i] = s.r[i] / (n - 2);
    int32_t u = n;
    while (s.m > 3) {
        int32_t i, j;
        find_pair(&s, &i, &j);
        join(&s, i, j, u++, tree);
        if ((u - n) % 256 == 0) { /* rounding of the running sums does not pile up; bounds begin anew */
            sum_rows(&s);
            s.g = 0;
            for (int32_t k = 0; k < s.m; k++) {
                s.low[k] = -INFINITY;
                s.r_last[k] = s.r[k] / (s.m - 2);
            }
        }
    }
    const double ab = s.d[1], ac = s.d[2], bc = s.d[m + 2];
    lathe_tree_add(tree, s.node[0], u, NAN, 0.5 * (ab + ac - bc));
    lathe_tree_add(tree, s.node[1], u, NAN, 0.5 * (ab + bc - ac));
    lathe_tree_add(tree, s.node[2], u, NAN, 0.5 * (ac + bc - ab));
    free_joiner(&s);
    return LATHE_OK;
}

/* Edges come in pairs of siblings, the last three at one node. */
void lathe_nj_mend(lathe_tree *tree, lathe_negative negative) {
    const int32_t n_pairs = tree->n_edges > 3 ? (tree->n_edges - 3) / 2 : 0;
    for (int32_t k = 0; k < n_pairs && negative == LATHE_NEGATIVE_TRANSFER; k++) {
        double *a = &tree->edges[2 * k].length, *b = &tree->edges[2 * k + 1].length;
        double *low = *a < *b ? a : b, *high = *a < *b ? b : a;
        if (*low < 0) {
            *high += *low;
            *low = 0;
        }
    }
    for (int32_t e = 0; e < tree->n_edges && negative != LATHE_NEGATIVE_KEEP; e++)
        if (tree->edges[e].length < 0)
            tree->edges[e].length = 0;
}
