/* sequoia.c - the draft tree with the largest expected number of accepted tokens.
 *
 * T(n, k): best value of n nodes where the root uses its first k child slots; F(m) = T(m, all slots). With a
 * bound on the depth the same recursion runs once a depth, on the tables of the depth below. Source: Chen et
 * al. 2024. */
#include "lathe/decode.h"

#include <math.h>
#include <stdlib.h>

typedef struct tables {
    double *value; /* [depths][n + 1][n_rates + 1] */
    int32_t *cut;  /* nodes given to slot k; 0: the slot is unused */
    size_t per_depth, per_n;
} tables;

static size_t at(const tables *t, int32_t depth, int32_t n, int32_t k) {
    return (size_t) depth * t->per_depth + (size_t) n * t->per_n + (size_t) k;
}

/* Node `index` is the root of a subtree of n nodes; an explicit stack, as trees may be chains. */
typedef struct job {
    int32_t index, n, depth;
} job;

static void build(const tables *t, int32_t n, int32_t n_rates, int32_t top, bool bounded, job *stack,
                  int32_t *parent, int32_t *rank) {
    int32_t n_jobs = 0, next = 1;
    parent[0] = -1;
    rank[0] = 0;
    stack[n_jobs++] = (job){0, n, top};
    for (int32_t done = 0; done < n_jobs; done++) { /* a queue: breadth first, so parents come first */
        const job j = stack[done];
        int32_t left = j.n, sizes[64];
        for (int32_t k = n_rates; k >= 1; k--) {
            sizes[k - 1] = t->cut[at(t, j.depth, left, k)];
            left -= sizes[k - 1];
        }
        for (int32_t k = 0; k < n_rates; k++) {
            if (sizes[k] == 0)
                continue;
            parent[next] = j.index;
            rank[next] = k;
            stack[n_jobs++] = (job){next, sizes[k], bounded ? j.depth - 1 : j.depth};
            next++;
        }
    }
}

lathe_status lathe_sequoia_tree(const double *rates, int32_t n_rates, int32_t n, int32_t depth_max,
                                int32_t *parent, int32_t *rank, double *value, lathe_error *err) {
    if (n < 1 || n > 1024 || n_rates < 1 || n_rates > 64 || depth_max < 0 || depth_max > 64)
        return lathe_fail(
            err, LATHE_ERR_ARG,
            "a tree of %d nodes from %d rates, depth %d; 1 to 1024 nodes, 1 to 64 rates, depth to 64",
            (int) n, (int) n_rates, (int) depth_max);
    for (int32_t k = 0; k < n_rates; k++)
        if (!(rates[k] >= 0.0 && rates[k] <= 1.0))
            return lathe_fail(err, LATHE_ERR_ARG, "rate %d is %g; a probability", (int) k + 1, rates[k]);
    const int32_t depths = depth_max > 0 ? depth_max + 1 : 1;
    tables t = {.per_n = (size_t) n_rates + 1};
    t.per_depth = ((size_t) n + 1) * t.per_n;
    t.value = malloc((size_t) depths * t.per_depth * sizeof *t.value);
    t.cut = calloc((size_t) depths * t.per_depth, sizeof *t.cut);
    job *stack = malloc((size_t) n * sizeof *stack);
    if (!t.value || !t.cut || !stack) {
        free(t.value);
        free(t.cut);
        free(stack);
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the tables of a tree of %d nodes", (int) n);
    }
    for (int32_t d = 0; d < depths; d++)
        for (int32_t m = 0; m <= n; m++)
            for (int32_t k = 0; k <= n_rates; k++) {
                double best = m == 1 ? 1.0 : -INFINITY;
                int32_t cut = 0;
                if (k > 0 && m > 1) {
                    best = t.value[at(&t, d, m, k - 1)];
                    const bool leaf = depth_max > 0 && d == 0;
                    for (int32_t c = 1; c < m && !leaf; c++) {
                        const double sub = t.value[at(&t, depth_max > 0 ? d - 1 : d, c, n_rates)];
                        const double v = t.value[at(&t, d, m - c, k - 1)] + rates[k - 1] * sub;
                        if (v > best + 1e-13) {
                            best = v;
                            cut = c;
                        }
                    }
                }
                t.value[at(&t, d, m, k)] = best;
                t.cut[at(&t, d, m, k)] = cut;
            }
    const double top = t.value[at(&t, depths - 1, n, n_rates)];
    lathe_status status = LATHE_OK;
    if (isinf(top))
        status = lathe_fail(err, LATHE_ERR_ARG, "%d nodes do not fit into depth %d with %d children a node",
                            (int) n, (int) depth_max, (int) n_rates);
    else {
        if (value)
            *value = top;
        if (parent && rank)
            build(&t, n, n_rates, depths - 1, depth_max > 0, stack, parent, rank);
    }
    free(t.value);
    free(t.cut);
    free(stack);
    return status;
}
