/* compare.c - Robinson-Foulds distance: splits of the shared names, each hashed to 128 bits by summing a
 * random word a name, on the side without the first name. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tree/tree.h"

typedef struct split {
    uint64_t low, high;
    double length;
} split;

static int by_split(const void *a, const void *b) {
    const split *x = a, *y = b;
    return x->high != y->high ? (x->high > y->high) - (x->high < y->high)
                              : (x->low > y->low) - (x->low < y->low);
}

typedef struct named {
    const char *name;
    int32_t node;
} named;

static int by_name(const void *a, const void *b) {
    return strcmp(((const named *) a)->name, ((const named *) b)->name);
}

/* rank[node]: place among the shared names, or -1. */
static lathe_status splits_of(const lathe_tree *tree, const int32_t *rank, int32_t n_shared, split *out,
                              int32_t *n_out, lathe_error *err) {
    const size_t n = (size_t) tree->n_nodes + 1;
    lathe_adjacency adj;
    lathe_status st = lathe_adjacency_new(tree, &adj, err);
    if (st)
        return st;
    int32_t *order = malloc(n * sizeof *order), *parent = malloc(n * sizeof *parent),
            *edge = malloc(n * sizeof *edge);
    int32_t *count = calloc(n, sizeof *count);
    uint64_t *low = calloc(n, sizeof *low), *high = calloc(n, sizeof *high);
    if (!order || !parent || !edge || !count || !low || !high)
        st = lathe_fail(err, LATHE_ERR_MEMORY, "compare: no memory");
    int32_t n_splits = 0, root = 0;
    for (int32_t i = 0; !st && i < tree->n_observed; i++)
        if (rank[i] == 0)
            root = i; /* the first name is the root, so no side below an edge holds it */
    const int32_t n_walk = st ? 0 : lathe_tree_walk(tree, &adj, root, order, parent, edge);
    for (int32_t k = n_walk - 1; k > 0; k--) {
        const int32_t u = order[k];
        if (u < tree->n_observed && rank[u] >= 0) {
            uint32_t w[4];
            lathe_philox(0x7472656573, 0, (uint32_t) rank[u], 0, 0, w);
            low[u] += (uint64_t) w[0] << 32 | w[1];
            high[u] += (uint64_t) w[2] << 32 | w[3];
            count[u]++;
        }
        if (count[u] >= 2 && n_shared - count[u] >= 2)
            out[n_splits++] = (split){low[u], high[u], tree->edges[edge[u]].length};
        low[parent[u]] += low[u];
        high[parent[u]] += high[u];
        count[parent[u]] += count[u];
    }
    if (n_splits)
        qsort(out, (size_t) n_splits, sizeof *out, by_split);
    int32_t kept = 0; /* edges that shared names cannot tell apart are one split */
    for (int32_t i = 0; i < n_splits; i++) {
        if (kept > 0 && by_split(&out[kept - 1], &out[i]) == 0)
            out[kept - 1].length += out[i].length;
        else
            out[kept++] = out[i];
    }
    *n_out = kept;
    free(order);
    free(parent);
    free(edge);
    free(count);
    free(low);
    free(high);
    lathe_adjacency_free(&adj);
    return st;
}

static int by_edge(const void *a, const void *b) {
    const int32_t *x = a, *y = b;
    return x[0] != y[0] ? (x[0] > y[0]) - (x[0] < y[0]) : (x[1] > y[1]) - (x[1] < y[1]);
}

static int32_t edges_of(const lathe_tree *tree, const int32_t *rank, int32_t (*out)[2]) {
    int32_t n = 0;
    for (int32_t e = 0; e < tree->n_edges; e++) {
        const int32_t u = tree->edges[e].u, v = tree->edges[e].v;
        if (u >= tree->n_observed || v >= tree->n_observed)
            continue;
        const int32_t a = rank[u] >= 0 ? rank[u] : -2 - u, b = rank[v] >= 0 ? rank[v] : -2 - v;
        out[n][0] = a < b ? a : b;
        out[n++][1] = a < b ? b : a;
    }
    qsort(out, (size_t) n, sizeof *out, by_edge);
    return n;
}

lathe_status lathe_tree_compare(const lathe_tree *a, const lathe_tree *b, lathe_tree_difference *out,
                                lathe_error *err) {
    const size_t n = (size_t) (a->n_nodes > b->n_nodes ? a->n_nodes : b->n_nodes) + 1;
    named *x = malloc(n * sizeof *x), *y = malloc(n * sizeof *y);
    int32_t *rank_a = malloc(n * sizeof *rank_a), *rank_b = malloc(n * sizeof *rank_b);
    split *sa = malloc(n * sizeof *sa), *sb = malloc(n * sizeof *sb);
    int32_t(*ea)[2] = malloc(n * sizeof *ea), (*eb)[2] = malloc(n * sizeof *eb);
    lathe_status st = LATHE_OK;
    lathe_tree_difference d = {.length_correlation = NAN};
    if (!x || !y || !rank_a || !rank_b || !sa || !sb || !ea || !eb) {
        st = lathe_fail(err, LATHE_ERR_MEMORY, "compare: no memory");
        goto done;
    }
    for (int32_t i = 0; i < a->n_observed; i++) {
        x[i] = (named){a->names[i], i};
        rank_a[i] = -1;
    }
    for (int32_t i = 0; i < b->n_observed; i++) {
        y[i] = (named){b->names[i], i};
        rank_b[i] = -1;
    }
    qsort(x, (size_t) a->n_observed, sizeof *x, by_name);
    qsort(y, (size_t) b->n_observed, sizeof *y, by_name);
    int32_t n_shared = 0;
    for (int32_t i = 0, j = 0; i < a->n_observed && j < b->n_observed;) {
        const int order = strcmp(x[i].name, y[j].name);
        if (order == 0) {
            rank_a[x[i++].node] = n_shared;
            rank_b[y[j++].node] = n_shared++;
        } else if (order < 0) {
            i++;
        } else {
            j++;
        }
    }
    if (n_shared == 0) {
        st = lathe_fail(err, LATHE_ERR_INPUT, "the trees share no names");
        goto done;
    }
    st = splits_of(a, rank_a, n_shared, sa, &d.n_a, err);
    if (!st)
        st = splits_of(b, rank_b, n_shared, sb, &d.n_b, err);
    if (st)
        goto done;
    double sx = 0, sy = 0, sxx = 0, syy = 0, sxy = 0;
    int32_t common = 0, with_length = 0;
    for (int32_t i = 0, j = 0; i < d.n_a && j < d.n_b;) {
        const int order = by_split(&sa[i], &sb[j]);
        if (order == 0) {
            const double u = sa[i++].length, v = sb[j++].length;
            common++;
            if (isfinite(u) && isfinite(v)) {
                with_length++;
                sx += u;
                sy += v;
                sxx += u * u;
                syy += v * v;
                sxy += u * v;
            }
        } else if (order < 0) {
            i++;
        } else {
            j++;
        }
    }
    d.missing = d.n_a - common;
    d.extra = d.n_b - common;
    d.normalised = d.n_a + d.n_b ? (double) (d.missing + d.extra) / (d.n_a + d.n_b) : 0;
    if (with_length > 2) {
        const double m = with_length, vx = sxx - sx * sx / m, vy = syy - sy * sy / m;
        if (vx > 0 && vy > 0)
            d.length_correlation = (sxy - sx * sy / m) / sqrt(vx * vy);
    }
    d.edges_a = edges_of(a, rank_a, ea);
    d.edges_b = edges_of(b, rank_b, eb);
    for (int32_t i = 0, j = 0; i < d.edges_a && j < d.edges_b;) {
        const int order = by_edge(ea[i], eb[j]);
        const bool known = ea[i][0] >= 0; /* both names are in both trees */
        d.edges_common += order == 0 && known;
        i += order <= 0;
        j += order >= 0;
    }
    *out = d;
done:
    free(x);
    free(y);
    free(rank_a);
    free(rank_b);
    free(sa);
    free(sb);
    free(ea);
    free(eb);
    return st;
}
