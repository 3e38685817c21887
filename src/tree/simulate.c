/* simulate.c - how often passive and two-phase learning miss the tree, by simulation. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng_purpose.h"
#include "base/stats.h"
#include "base/thread.h"
#include "tree/span.h"
#include "tree/tree.h"

enum { PIECE = 32, MAX_NODES = 2000 };

typedef struct worker_sums {
    int64_t passive_errors, active_errors, ambiguous, readings;
    uint64_t *scratch; /* [p] */
    lathe_pair *edges; /* [p - 1] */
    lathe_status status;
    lathe_error err;
} worker_sums;

typedef struct simulation {
    const lathe_simulation_params *params;
    char **names;
    worker_sums *sums; /* one a worker */
} simulation;

static bool is_edge(const int32_t *parent, int32_t u, int32_t v) {
    return parent[v] == u || parent[u] == v;
}

static bool is_true_tree(const lathe_tree *tree, const int32_t *parent, int32_t p) {
    if (tree->n_edges != p - 1)
        return false;
    for (int32_t e = 0; e < tree->n_edges; e++)
        if (!is_edge(parent, tree->edges[e].u, tree->edges[e].v))
            return false;
    return true;
}

static lathe_homogeneous stream(const simulation *s, worker_sums *w, uint32_t number) {
    const lathe_simulation_params *q = s->params;
    return (lathe_homogeneous){.parent = q->parent,
                               .p = q->p,
                               .rho = q->rho,
                               .rng = lathe_rng_new(q->seed, LATHE_RNG_TREE_TRIAL, number),
                               .scratch = w->scratch};
}

static lathe_status learn_passive(const simulation *s, worker_sums *w, uint32_t trial, bool *right) {
    const lathe_simulation_params *q = s->params;
    lathe_homogeneous h = stream(s, w, 2 * trial);
    const lathe_tree_oracle oracle = {lathe_homogeneous_sample, &h};
    const lathe_tie_order order = {.seed = q->seed, .trial = trial};
    lathe_status st = lathe_tree_passive(&oracle, q->p, q->n, &order, w->edges, &w->err);
    *right = !st;
    for (int32_t e = 0; e + 1 < q->p && *right; e++)
        *right = is_edge(q->parent, w->edges[e].u, w->edges[e].v);
    return st;
}

static lathe_status learn_active(const simulation *s, worker_sums *w, uint32_t trial, bool *right,
                                 lathe_active_info *info) {
    const lathe_simulation_params *q = s->params;
    lathe_homogeneous h = stream(s, w, 2 * trial + 1);
    const lathe_tree_oracle oracle = {lathe_homogeneous_sample, &h};
    const lathe_active_params params = {.budget = q->n * q->p,
                                        .gamma = q->gamma,
                                        .c = q->c,
                                        .seed = q->seed,
                                        .trial = trial,
                                        .edges_only = true};
    lathe_tree tree;
    memset(info, 0, sizeof *info);
    lathe_status st = lathe_tree_active(&oracle, q->p, s->names, &params, &tree, info, &w->err);
    if (st == LATHE_ERR_INPUT) { /* a tree edge agrees in less than half of few rows: a miss like others */
        *right = false;
        return LATHE_OK;
    }
    if (st)
        return st;
    *right = is_true_tree(&tree, q->parent, q->p);
    lathe_tree_free(&tree);
    return LATHE_OK;
}

static void do_trials(void *ctx, int worker, int64_t piece, int64_t begin, int64_t end) {
    const simulation *s = ctx;
    worker_sums *w = &s->sums[worker];
    (void) piece;
    for (int64_t t = begin; t < end && !w->status; t++) {
        const uint32_t trial = (uint32_t) (s->params->first_trial + t);
        bool right = false;
        lathe_active_info info;
        w->status = learn_passive(s, w, trial, &right);
        if (w->status)
            return;
        w->passive_errors += !right;
        w->status = learn_active(s, w, trial, &right, &info);
        if (w->status)
            return;
        w->active_errors += !right;
        w->ambiguous += info.n_ambiguous;
        w->readings += info.phase1 + info.phase2;
    }
}

lathe_status lathe_exponent_simulate(const lathe_simulation_params *params, lathe_simulation *out,
                                     lathe_error *err) {
    const int32_t p = params->p;
    if (p < 3 || p > MAX_NODES || params->parent[0] != -1)
        return lathe_fail(err, LATHE_ERR_ARG, "simulation: %d nodes; 3 to %d, the first being the root",
                          (int) p, MAX_NODES);
    for (int32_t i = 1; i < p; i++)
        if (params->parent[i] < 0 || params->parent[i] >= i)
            return lathe_fail(err, LATHE_ERR_ARG, "simulation: node %d has no parent before it", (int) i);
    if (params->n < 2 || params->n > (1 << 24) || params->trials < 1 || params->trials > 1 << 28 ||
        params->first_trial < 0 || params->first_trial > 1 << 29 || !(params->rho > 0 && params->rho < 1))
        return lathe_fail(err, LATHE_ERR_ARG, "simulation: %lld vectors, %lld trials, rho %g: out of range",
                          (long long) params->n, (long long) params->trials, params->rho);
    lathe_pool *pool = NULL;
    lathe_status st = params->n_threads > 1 ? lathe_pool_new(params->n_threads, &pool, err) : LATHE_OK;
    const int n_workers = lathe_pool_size(pool);
    simulation s = {.params = params};
    s.names = calloc((size_t) p, sizeof *s.names);
    s.sums = calloc((size_t) n_workers, sizeof *s.sums);
    bool ok = s.names != NULL && s.sums != NULL;
    for (int32_t i = 0; ok && i < p; i++) {
        char name[24];
        snprintf(name, sizeof name, "x%d", (int) i + 1);
        s.names[i] = lathe_tree_strdup(name);
        ok = s.names[i] != NULL;
    }
    for (int k = 0; ok && k < n_workers; k++) {
        s.sums[k].scratch = malloc((size_t) p * sizeof *s.sums[k].scratch);
        s.sums[k].edges = malloc((size_t) p * sizeof *s.sums[k].edges);
        ok = s.sums[k].scratch != NULL && s.sums[k].edges != NULL;
    }
    if (!st && !ok)
        st = lathe_fail(err, LATHE_ERR_MEMORY, "simulation: no memory");
    memset(out, 0, sizeof *out);
    int64_t ambiguous = 0, readings = 0;
    const int64_t step = 2000;
    for (int64_t from = 0; from < params->trials && !st;
         from += step) { /* a look at the clock now and then */
        lathe_simulation_params part = *params;
        part.first_trial = params->first_trial + from;
        part.trials = params->trials - from < step ? params->trials - from : step;
        s.params = &part;
        lathe_parallel_for(pool, part.trials, PIECE, do_trials, &s);
        for (int k = 0; k < n_workers && !st; k++)
            if (s.sums[k].status)
                st = lathe_fail(err, s.sums[k].status, "%s", s.sums[k].err.text);
        out->trials = from + part.trials;
        st = st ? st
                : lathe_progress_step(params->progress, "trials", (double) out->trials,
                                      (double) params->trials, err);
    }
    for (int k = 0; s.sums != NULL && k < n_workers; k++) {
        out->passive_errors += s.sums[k].passive_errors;
        out->active_errors += s.sums[k].active_errors;
        ambiguous += s.sums[k].ambiguous;
        readings += s.sums[k].readings;
        free(s.sums[k].scratch);
        free(s.sums[k].edges);
    }
    if (out->trials > 0) {
        out->mean_ambiguous = (double) ambiguous / (double) out->trials;
        out->budget_used = (double) readings / ((double) out->trials * (double) (params->n * p));
    }
    lathe_wilson(out->passive_errors, out->trials, 1.96, out->passive_ci);
    lathe_wilson(out->active_errors, out->trials, 1.96, out->active_ci);
    lathe_names_free(s.names, s.names ? p : 0);
    free(s.sums);
    lathe_pool_free(pool);
    return st;
}

double lathe_exponent_slope(int64_t errors_a, int64_t trials_a, int64_t n_a, int64_t errors_b,
                            int64_t trials_b, int64_t n_b, double ci95[2]) {
    ci95[0] = ci95[1] = NAN;
    if (errors_a < 1 || errors_b < 1 || n_b <= n_a)
        return NAN;
    const double a = (double) errors_a / (double) trials_a, b = (double) errors_b / (double) trials_b;
    const double slope = log(a / b) / (double) (n_b - n_a);
    /* var log P = (1 - P) / (P trials), by the delta method */
    const double se = sqrt((1 - a) / (double) errors_a + (1 - b) / (double) errors_b) / (double) (n_b - n_a);
    ci95[0] = slope - 1.96 * se;
    ci95[1] = slope + 1.96 * se;
    return slope;
}
