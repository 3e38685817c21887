/* span.c - see span.h. */
#include "tree/span.h"

#include <math.h>
#include <stdlib.h>

#include "base/rng_purpose.h"
#include "tree/tree.h"

static uint64_t tie_key(const lathe_tie_order *order, int32_t u, int32_t v) {
    uint32_t w[4];
    lathe_philox(order->seed, LATHE_RNG_TREE_TIES, order->trial, (uint32_t) u, (uint32_t) v, w);
    return (uint64_t) w[0] << 32 | w[1];
}

bool lathe_tie_before(const lathe_tie_order *order, int32_t u1, int32_t v1, int32_t u2, int32_t v2) {
    if (!order->by_index) {
        const uint64_t a = tie_key(order, u1, v1), b = tie_key(order, u2, v2);
        if (a != b)
            return a > b;
    }
    return u1 != u2 ? u1 < u2 : v1 < v2;
}

static bool before(const lathe_tie_order *order, const lathe_pair *a, const lathe_pair *b) {
    return a->w != b->w ? a->w > b->w : lathe_tie_before(order, a->u, a->v, b->u, b->v);
}

static void sift(lathe_pair *p, int64_t root, int64_t n, const lathe_tie_order *order) {
    const lathe_pair x = p[root];
    for (;;) {
        int64_t child = 2 * root + 1;
        if (child >= n)
            break;
        if (child + 1 < n && before(order, &p[child], &p[child + 1]))
            child++;
        if (!before(order, &x, &p[child]))
            break;
        p[root] = p[child];
        root = child;
    }
    p[root] = x;
}

static void heap_sort(lathe_pair *p, int64_t n, const lathe_tie_order *order) {
    for (int64_t i = n / 2 - 1; i >= 0; i--)
        sift(p, i, n, order);
    for (int64_t i = n - 1; i > 0; i--) {
        const lathe_pair t = p[0];
        p[0] = p[i];
        p[i] = t;
        sift(p, 0, i, order);
    }
}

/* Quicksort, best first, on an explicit stack (the smaller part first: 64 entries are enough); parts that
 * split badly are left to heap sort, short ones to insertion. */
static void sort_pairs(lathe_pair *p, int64_t n, const lathe_tie_order *order) {
    enum { SHORT = 16 };
    struct {
        int64_t from, to;
        int depth;
    } stack[64] = {{0, n, 0}};
    int limit = 4;
    for (int64_t m = n; m > 1; m /= 2)
        limit += 2;
    for (int top = 1; top > 0;) {
        top--;
        int64_t from = stack[top].from, to = stack[top].to;
        int depth = stack[top].depth;
        while (to - from > SHORT && depth < limit) {
            const int64_t mid = from + (to - from) / 2;
            lathe_pair a = p[from], b = p[mid], c = p[to - 1];
            const lathe_pair pivot = before(order, &a, &b)   ? before(order, &b, &c)   ? b
                                                               : before(order, &a, &c) ? c
                                                                                       : a
                                     : before(order, &a, &c) ? a
                                     : before(order, &b, &c) ? c
                                                             : b;
            int64_t i = from, j = to - 1;
            while (i <= j) {
                while (before(order, &p[i], &pivot))
                    i++;
                while (before(order, &pivot, &p[j]))
                    j--;
                if (i <= j) {
                    a = p[i];
                    p[i++] = p[j];
                    p[j--] = a;
                }
            }
            depth++;
            const bool left_larger = j + 1 - from > to - i;
            stack[top].from = left_larger ? from : i;
            stack[top].to = left_larger ? j + 1 : to;
            stack[top++].depth = depth;
            from = left_larger ? i : from;
            to = left_larger ? to : j + 1;
        }
        if (to - from > SHORT) {
            heap_sort(p + from, to - from, order);
            continue;
        }
        for (int64_t i = from + 1; i < to; i++) {
            const lathe_pair x = p[i];
            int64_t j = i;
            for (; j > from && before(order, &x, &p[j - 1]); j--)
                p[j] = p[j - 1];
            p[j] = x;
        }
    }
}

int64_t lathe_kruskal(lathe_pair *pairs, int64_t n, int32_t p, const lathe_tie_order *order,
                      const bool *discrete, const int32_t *first, int32_t n_first, int32_t *up) {
    int32_t *other = up + p; /* for pairs that touch a continuous node: all discrete nodes are one */
    int32_t hub = -1;
    for (int32_t i = 0; i < p; i++) {
        up[i] = i;
        other[i] = i;
        if (discrete != NULL && discrete[i]) {
            hub = hub < 0 ? i : hub;
            other[i] = hub;
        }
    }
    for (int32_t k = 0; k < n_first; k++) {
        const int32_t u = first[2 * k], v = first[2 * k + 1];
        const bool plain = discrete == NULL || (discrete[u] && discrete[v]);
        int32_t *set = plain ? up : other;
        set[lathe_find(set, u)] = lathe_find(set, v);
    }
    sort_pairs(pairs, n, order);
    int64_t n_kept = 0;
    for (int64_t k = 0; k < n && pairs[k].w > -INFINITY; k++) {
        const bool plain = discrete == NULL || (discrete[pairs[k].u] && discrete[pairs[k].v]);
        int32_t *set = plain ? up : other;
        const int32_t a = lathe_find(set, pairs[k].u), b = lathe_find(set, pairs[k].v);
        if (a == b)
            continue;
        set[a] = b;
        pairs[n_kept++] = pairs[k];
    }
    return n_kept;
}
