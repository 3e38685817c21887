/* snj.c - spectral neighbour joining: merge the two clusters whose similarities to all the others are nearest
 * to rank one. Branch lengths afterwards, from mean distances around each edge (exact on additive distances).
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <lapacke.h>

#include "tree/tree.h"

/* Second singular value of R[S, rest]; gram: [n * n] scratch, side: [n], values: [n]. */
static double second_singular(const double *r, int32_t n, const uint8_t *in, double *gram, int32_t *side,
                              double *values) {
    int32_t k = 0, n_in = 0;
    for (int32_t i = 0; i < n; i++)
        n_in += in[i];
    if (n_in < 2 || n - n_in < 2)
        return 0;
    const uint8_t which = 2 * n_in <= n; /* the smaller side */
    for (int32_t i = 0; i < n; i++)
        if (in[i] == which)
            side[k++] = i;
    for (int32_t a = 0; a < k; a++)
        for (int32_t b = 0; b <= a; b++) {
            double sum = 0;
            for (int32_t j = 0; j < n; j++)
                if (in[j] != which)
                    sum += r[(int64_t) side[a] * n + j] * r[(int64_t) side[b] * n + j];
            gram[a * k + b] = gram[b * k + a] = sum;
        }
    if (k == 2) {
        const double trace = gram[0] + gram[3], det = fmax(0, gram[0] * gram[3] - gram[1] * gram[2]);
        const double large = 0.5 * (trace + sqrt(fmax(0, trace * trace - 4 * det)));
        return large > 0 ? sqrt(det / large) : 0;
    }
    if (LAPACKE_dsyev(LAPACK_ROW_MAJOR, 'N', 'U', k, gram, k, values) != 0)
        return INFINITY;
    return sqrt(fmax(0, values[k - 2]));
}

/* For every edge: 0.25 (AC + AD + BC + BD) - 0.5 (AB + CD) over mean distances of the subtrees around it. */
static lathe_status fit_lengths(const double *d, int32_t n, lathe_tree *tree, lathe_error *err) {
    const size_t m = (size_t) tree->n_nodes;
    lathe_adjacency adj;
    lathe_status st = lathe_adjacency_new(tree, &adj, err);
    if (st)
        return st;
    int32_t *order = malloc(m * sizeof *order), *parent = malloc(m * sizeof *parent),
            *edge = malloc(m * sizeof *edge);
    int32_t *group = malloc((size_t) n * sizeof *group);
    if (order == NULL || parent == NULL || edge == NULL || group == NULL)
        st = lathe_fail(err, LATHE_ERR_MEMORY, "spectral neighbour joining: no memory");
    for (int32_t e = 0; !st && e < tree->n_edges; e++) {
        const int32_t u = tree->edges[e].u, v = tree->edges[e].v;
        int32_t n_groups = 0, split = 0;
        for (int32_t end = 0; end < 2; end++) { /* groups at u come first, then those at v */
            const int32_t x = end ? v : u, other = end ? u : v;
            if (end)
                split = n_groups;
            if (x < n)
                group[x] = n_groups++;
            for (int32_t k = adj.start[x]; k < adj.start[x + 1]; k++) {
                if (adj.to[k] == other)
                    continue;
                int32_t head = 0, tail = 0;
                order[tail] = adj.to[k];
                parent[tail++] = x;
                while (head < tail) {
                    const int32_t y = order[head], from = parent[head++];
                    if (y < n)
                        group[y] = n_groups;
                    for (int32_t q = adj.start[y]; q < adj.start[y + 1]; q++)
                        if (adj.to[q] != from) {
                            order[tail] = adj.to[q];
                            parent[tail++] = y;
                        }
                }
                n_groups++;
            }
        }
        double sum[4][4] = {{0}};
        double number[4][4] = {{0}};
        for (int32_t i = 0; i < n; i++)
            for (int32_t j = 0; j < n; j++)
                if (group[i] < 4 && group[j] < 4) {
                    sum[group[i]][group[j]] += d[(int64_t) i * n + j];
                    number[group[i]][group[j]]++;
                }
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++)
                sum[i][j] /= number[i][j] > 0 ? number[i][j] : 1;
        double x = sum[0][1];
        if (n_groups == 3)
            x = split == 1 ? 0.5 * (sum[0][1] + sum[0][2] - sum[1][2])
                           : 0.5 * (sum[0][2] + sum[1][2] - sum[0][1]);
        else if (n_groups == 4)
            x = 0.25 * (sum[0][2] + sum[0][3] + sum[1][2] + sum[1][3]) - 0.5 * (sum[0][1] + sum[2][3]);
        tree->edges[e].length = x > 0 ? x : 0;
    }
    free(order);
    free(parent);
    free(edge);
    free(group);
    lathe_adjacency_free(&adj);
    return st;
}

lathe_status lathe_snj(const double *d, int32_t n, char *const *names, lathe_tree *tree, lathe_error *err) {
    if (n < 4)
        return lathe_nj(d, n, names, false, tree, err);
    const size_t m = (size_t) n;
    lathe_status st = lathe_tree_new(2 * n - 2, n, names, tree, err);
    if (st)
        return st;
    double *r = malloc(m * m * sizeof *r), *gram = malloc(m * m * sizeof *gram),
           *score = malloc(m * m * sizeof *score);
    double *values = malloc(m * sizeof *values);
    uint8_t *member = calloc(m * m, 1), *in = malloc(m);
    int32_t *side = malloc(m * sizeof *side), *node = malloc(m * sizeof *node);
    if (!r || !gram || !score || !values || !member || !in || !side || !node) {
        st = lathe_fail(err, LATHE_ERR_MEMORY, "spectral neighbour joining: no memory for %d taxa", (int) n);
        goto done;
    }
    for (size_t i = 0; i < m * m; i++)
        r[i] = exp(-d[i]);
    for (int32_t i = 0; i < n; i++) {
        member[i * m + i] = 1;
        node[i] = i;
    }
    int32_t active = n, u = n;
    for (int32_t fresh = -1; active > 3;) {
        double best = INFINITY;
        int32_t bi = 0, bj = 1;
        for (int32_t i = 0; i < active; i++)
            for (int32_t j = i + 1; j < active; j++) {
                if (fresh < 0 || i == fresh || j == fresh) {
                    for (size_t k = 0; k < m; k++)
                        in[k] = member[i * m + k] | member[j * m + k];
                    score[i * m + j] = second_singular(r, n, in, gram, side, values);
                }
                if (score[i * m + j] < best) {
                    best = score[i * m + j];
                    bi = i;
                    bj = j;
                }
            }
        lathe_tree_add(tree, node[bi], u, NAN, NAN);
        lathe_tree_add(tree, node[bj], u, NAN, NAN);
        for (size_t k = 0; k < m; k++)
            member[bi * m + k] |= member[bj * m + k];
        node[bi] = u++;
        /* close the gap in order: later clusters move down by one, scores with them */
        for (int32_t i = bj; i + 1 < active; i++) {
            memcpy(member + i * m, member + (i + 1) * m, m);
            node[i] = node[i + 1];
        }
        for (int32_t i = 0; i < active - 1; i++)
            for (int32_t j = i + 1; j < active - 1; j++)
                score[i * m + j] = score[(i >= bj ? i + 1 : i) * m + (j >= bj ? j + 1 : j)];
        active--;
        fresh = bi;
    }
    for (int32_t i = 0; i < 3; i++)
        lathe_tree_add(tree, node[i], u, NAN, NAN);
    st = fit_lengths(d, n, tree, err);
done:
    free(r);
    free(gram);
    free(score);
    free(values);
    free(member);
    free(in);
    free(side);
    free(node);
    if (st)
        lathe_tree_free(tree);
    return st;
}
