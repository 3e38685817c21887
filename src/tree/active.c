/* active.c - two-phase learning of a homogeneous two-state tree: all nodes first, then those in doubt. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tree/span.h"
#include "tree/tree.h"

typedef struct state {
    int32_t p;
    uint32_t *agree; /* [p * p] */
    lathe_tie_order order;
    lathe_pair *pairs; /* [p (p - 1) / 2] */
    int32_t *up;
    bool *ambiguous_edge; /* [p - 1], edges of the first tree */
    bool *in_doubt;       /* [p] */
    int32_t *walk, *parent, *parent_edge;
    int32_t *nodes;
    uint32_t *best; /* [p] */
} state;

static void release(state *s) {
    free(s->agree);
    free(s->pairs);
    free(s->up);
    free(s->ambiguous_edge);
    free(s->in_doubt);
    free(s->walk);
    free(s->parent);
    free(s->parent_edge);
    free(s->nodes);
    free(s->best);
}

static lathe_status reserve(state *s, size_t n_pairs, lathe_error *err) {
    const size_t p = (size_t) s->p;
    s->agree = calloc(p * p, sizeof *s->agree);
    s->pairs = malloc((n_pairs + 1) * sizeof *s->pairs);
    s->up = malloc(2 * p * sizeof *s->up);
    s->ambiguous_edge = calloc(p, sizeof *s->ambiguous_edge);
    s->in_doubt = calloc(p, sizeof *s->in_doubt);
    s->walk = malloc(p * sizeof *s->walk);
    s->parent = malloc(p * sizeof *s->parent);
    s->parent_edge = malloc(p * sizeof *s->parent_edge);
    s->nodes = malloc(p * sizeof *s->nodes);
    s->best = malloc(p * sizeof *s->best);
    if (!s->agree || !s->pairs || !s->up || !s->ambiguous_edge || !s->in_doubt || !s->walk || !s->parent ||
        !s->parent_edge || !s->nodes || !s->best)
        return lathe_fail(err, LATHE_ERR_MEMORY, "active: no memory for %d nodes", (int) s->p);
    for (int32_t i = 0; i < s->p; i++)
        s->nodes[i] = i;
    return LATHE_OK;
}

/* m samples of the nodes, in pieces; their agreements are added. */
static lathe_status collect(state *s, const lathe_tree_oracle *oracle, int32_t n_nodes, int64_t m,
                            lathe_error *err) {
    enum { PIECE = 4096 };
    const int64_t piece = m < PIECE ? m : PIECE, n_words = (piece + 63) / 64;
    uint8_t *rows = malloc((size_t) (piece * n_nodes) + 1);
    uint64_t *bits = malloc((size_t) (n_words * n_nodes) * sizeof *bits + 1);
    lathe_status st = rows && bits ? LATHE_OK : lathe_fail(err, LATHE_ERR_MEMORY, "active: no memory");
    for (int64_t begin = 0; begin < m && !st; begin += piece) {
        const int64_t k = m - begin < piece ? m - begin : piece, words = (k + 63) / 64;
        st = oracle->sample(oracle->user, s->nodes, n_nodes, k, rows, err);
        if (st)
            break;
        memset(bits, 0, (size_t) (n_words * n_nodes) * sizeof *bits);
        for (int64_t t = 0; t < k; t++)
            for (int32_t a = 0; a < n_nodes; a++)
                bits[a * n_words + t / 64] |= (uint64_t) (rows[t * n_nodes + a] & 1) << (t % 64);
        for (int32_t a = 0; a < n_nodes; a++)
            for (int32_t b = a + 1; b < n_nodes; b++) {
                uint32_t differ = 0;
                for (int64_t w = 0; w < words; w++)
                    differ += (uint32_t) __builtin_popcountll(bits[a * n_words + w] ^ bits[b * n_words + w]);
                s->agree[(int64_t) s->nodes[a] * s->p + s->nodes[b]] += (uint32_t) k - differ;
            }
    }
    free(rows);
    free(bits);
    return st;
}

static uint32_t count(const state *s, int32_t u, int32_t v) {
    return s->agree[(int64_t) (u < v ? u : v) * s->p + (u < v ? v : u)];
}

/* Calls back for each edge on the tree path of (a, b) by marking or measuring: smallest count along the path.
 */
static uint32_t path_least(const state *s, const lathe_tree *tree, const int32_t *depth, int32_t a, int32_t b,
                           double mark_below, uint32_t n_f, bool *marked) {
    uint32_t least = UINT32_MAX;
    while (a != b) {
        int32_t *x = depth[a] >= depth[b] ? &a : &b;
        const int32_t e = s->parent_edge[*x];
        const uint32_t n_e = count(s, tree->edges[e].u, tree->edges[e].v);
        least = n_e < least ? n_e : least;
        if (marked != NULL && (double) n_e - (double) n_f < mark_below) {
            s->ambiguous_edge[e] = true;
            s->in_doubt[tree->edges[e].u] = s->in_doubt[tree->edges[e].v] = true;
            *marked = true;
        }
        *x = s->parent[*x];
    }
    return least;
}

/* true where pair (a, b) comes before pair (c, d) of as many agreements. */
static bool wins_tie(const state *s, int32_t a, int32_t b, int32_t c, int32_t d) {
    return lathe_tie_before(&s->order, a < b ? a : b, a < b ? b : a, c < d ? c : d, c < d ? d : c);
}

/* Prim on all pairs: s->pairs[p - 1] become the maximum spanning tree, best edge first. Tie keys, which cost
 * more than all else here, are needed for the pairs that compete alone: a sort of all pairs would need many.
 */
static void span(state *s) {
    const int32_t p = s->p;
    uint32_t *best = s->best;
    int32_t *from = s->parent;
    bool *done = s->in_doubt; /* not in use yet; cleared at the end */
    for (int32_t i = 1; i < p; i++) {
        from[i] = 0;
        best[i] = count(s, 0, i);
    }
    done[0] = true;
    for (int32_t step = 0; step + 1 < p; step++) {
        int32_t next = -1;
        for (int32_t i = 1; i < p; i++)
            if (!done[i] && (next < 0 || best[i] > best[next] ||
                             (best[i] == best[next] && wins_tie(s, i, from[i], next, from[next]))))
                next = i;
        const int32_t other = from[next];
        s->pairs[step] =
            (lathe_pair){next < other ? next : other, next < other ? other : next, (double) best[next]};
        done[next] = true;
        for (int32_t i = 1; i < p; i++) {
            if (done[i])
                continue;
            const uint32_t n_agree = count(s, next, i);
            if (n_agree > best[i] || (n_agree == best[i] && wins_tie(s, next, i, from[i], i))) {
                best[i] = n_agree;
                from[i] = next;
            }
        }
    }
    memset(done, 0, (size_t) p * sizeof *done);
    lathe_kruskal(s->pairs, p - 1, p, &s->order, NULL, NULL, 0, s->up);
}

static lathe_status check(int32_t p, const lathe_active_params *a, lathe_error *err) {
    if (p < 2 || p > 20000)
        return lathe_fail(err, LATHE_ERR_ARG, "active: %d nodes; 2 to 20000", (int) p);
    if (a->budget < 2 * (int64_t) p)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "active: a budget of %lld readings is below two full vectors of %d",
                          (long long) a->budget, (int) p);
    if (a->gamma < 0 || a->gamma >= 1)
        return lathe_fail(err, LATHE_ERR_ARG, "active: gamma %g is not in [0, 1)", a->gamma);
    if (a->rho < 0 || a->rho >= 1)
        return lathe_fail(err, LATHE_ERR_ARG, "active: rho %g is not in (0, 1)", a->rho);
    return LATHE_OK;
}

/* Posterior odds of each edge against its replacements, on pooled counts (of n rows where both were read). */
static void confidences(const state *s, lathe_tree *tree, const int32_t *depth, double theta) {
    const double step = log((1 - theta) / theta);
    for (int32_t e = 0; e < tree->n_edges; e++) {
        tree->edges[e].margin = INFINITY;
        tree->edges[e].confidence = 0; /* sum of odds against, first */
    }
    for (int32_t a = 0; a < s->p; a++)
        for (int32_t b = a + 1; b < s->p; b++) {
            if (s->parent[a] == b || s->parent[b] == a)
                continue;
            const double n_f = count(s, a, b);
            for (int32_t x = a, y = b; x != y;) {
                int32_t *z = depth[x] >= depth[y] ? &x : &y;
                lathe_tree_edge *e = &tree->edges[s->parent_edge[*z]];
                const double margin = count(s, e->u, e->v) - n_f;
                e->margin = fmin(e->margin, margin);
                e->confidence += exp(fmin(700, -step * margin));
                *z = s->parent[*z];
            }
        }
    for (int32_t e = 0; e < tree->n_edges; e++) {
        tree->edges[e].confidence = 1 / (1 + tree->edges[e].confidence);
        if (isinf(tree->edges[e].margin))
            tree->edges[e].margin = NAN;
    }
}

/* The best c of the closed forms, large hubs apart. */
static lathe_status choose_c(const lathe_adjacency *adj, int32_t p, double rho, double *c, lathe_error *err) {
    lathe_exponent_design d;
    lathe_status st = lathe_exponent_active(rho, p, &d, err);
    if (st)
        return st;
    *c = d.c;
    for (int32_t i = 0; i < p; i++) {
        const double degree = adj->start[i + 1] - adj->start[i];
        if (degree * degree > p)
            *c = d.hub_c;
    }
    return LATHE_OK;
}

static void walk_tree(state *s, const lathe_tree *tree, const lathe_adjacency *adj, int32_t *depth) {
    const int32_t n = lathe_tree_walk(tree, adj, 0, s->walk, s->parent, s->parent_edge);
    for (int32_t k = 0; k < n; k++)
        depth[s->walk[k]] = k == 0 ? 0 : depth[s->parent[s->walk[k]]] + 1;
}

lathe_status lathe_tree_active(const lathe_tree_oracle *oracle, int32_t p, char *const *names,
                               const lathe_active_params *params, lathe_tree *tree, lathe_active_info *info,
                               lathe_error *err) {
    memset(tree, 0, sizeof *tree);
    lathe_status st = check(p, params, err);
    if (st)
        return st;
    const double gamma = params->gamma > 0 ? params->gamma : 0.2;
    double c = params->c > 0 ? params->c : params->c < 0 ? 0 : 0.3;
    const size_t n_pairs = (size_t) p * (size_t) (p - 1) / 2, m = (size_t) p;
    state s = {.p = p, .order = {params->seed, params->trial, params->ties_by_index}};
    lathe_active_info got = {0};
    lathe_adjacency adj = {0};
    st = reserve(&s, n_pairs, err);
    int32_t *depth = calloc(m, sizeof *depth), *kept = malloc(2 * m * sizeof *kept);
    if (!st && (depth == NULL || kept == NULL))
        st = lathe_fail(err, LATHE_ERR_MEMORY, "active: no memory for %d nodes", (int) p);
    if (st)
        goto done;
    const int64_t n = params->budget / p;
    got.n1 = (int64_t) llround((1 - gamma) * (double) n);
    got.n1 = got.n1 < 1 ? 1 : got.n1 > n ? n : got.n1;
    got.phase1 = got.n1 * p;
    st = collect(&s, oracle, p, got.n1, err);
    if (st)
        goto done;
    span(&s);
    st = lathe_tree_new(p, p, names, tree, err);
    if (st)
        goto done;
    double mean = 0;
    for (int32_t e = 0; e < p - 1; e++) {
        lathe_tree_add(tree, s.pairs[e].u, s.pairs[e].v, s.pairs[e].w, NAN);
        mean += (2 * s.pairs[e].w / (double) got.n1 - 1) / (p - 1);
    }
    for (int32_t e = 0; e < p - 1; e++) {
        const double r = 2 * tree->edges[e].weight / (double) got.n1 - 1;
        got.edges_differ =
            got.edges_differ || fabs(r - mean) > 4 * sqrt(fmax(1e-12, 1 - mean * mean) / (double) got.n1);
        if (tree->edges[e].weight < 0.5 * (double) got.n1 && params->rho == 0) {
            st = lathe_fail(
                err, LATHE_ERR_INPUT,
                "the edge of '%s' and '%s' is negative: flip one of them, or learn with --weight abscorr",
                names[tree->edges[e].u], names[tree->edges[e].v]);
            goto done;
        }
    }
    got.rho_hat = params->rho > 0 ? params->rho : fmin(1 - 1e-6, fmax(1e-6, mean));
    const double theta = 0.5 * (1 - got.rho_hat);
    st = lathe_adjacency_new(tree, &adj, err);
    if (!st && params->c_auto && p > 2)
        st = choose_c(&adj, p, got.rho_hat, &c, err);
    if (st)
        goto done;
    got.c = c;
    got.threshold = c * theta * got.rho_hat * (double) got.n1;
    walk_tree(&s, tree, &adj, depth);
    size_t k = 0; /* candidate pairs are gathered at the front */
    lathe_pair *candidates = s.pairs;
    for (int32_t a = 0; a < p; a++)
        for (int32_t b = a + 1; b < p; b++) {
            if (s.parent[a] == b || s.parent[b] == a)
                continue;
            const uint32_t n_f = count(&s, a, b);
            bool marked = false;
            path_least(&s, tree, depth, a, b, got.threshold, n_f, &marked);
            if (marked) {
                s.in_doubt[a] = s.in_doubt[b] = true;
                candidates[k++] = (lathe_pair){a, b, 0};
            }
        }
    int32_t n_doubt = 0;
    for (int32_t i = 0; i < p; i++)
        if (s.in_doubt[i])
            s.nodes[n_doubt++] = i;
    got.n_ambiguous = n_doubt;
    const bool again =
        n_doubt == 0 && params->spend_all; /* as passive learning would: all nodes, all pairs */
    for (int32_t i = 0; again && i < p; i++)
        s.nodes[n_doubt++] = i;
    got.n2 = n_doubt > 0 ? (params->budget - got.phase1) / n_doubt : 0;
    if (got.n2 > 0) {
        got.phase2 = got.n2 * n_doubt;
        st = collect(&s, oracle, n_doubt, got.n2, err);
        if (st)
            goto done;
        int32_t n_kept = 0;
        if (again) {
            span(&s);
            candidates = s.pairs;
            k = (size_t) p - 1;
        }
        for (int32_t e = 0; e < p - 1 && !again; e++) {
            if (s.ambiguous_edge[e])
                candidates[k++] = (lathe_pair){tree->edges[e].u, tree->edges[e].v, 0};
            else {
                kept[2 * n_kept] = tree->edges[e].u;
                kept[2 * n_kept++ + 1] = tree->edges[e].v;
            }
        }
        for (size_t q = 0; q < k; q++)
            candidates[q].w = count(&s, candidates[q].u, candidates[q].v);
        const int64_t n_new = lathe_kruskal(candidates, (int64_t) k, p, &s.order, NULL, kept, n_kept, s.up);
        tree->n_edges = 0;
        for (int32_t e = 0; e < n_kept; e++)
            lathe_tree_add(tree, kept[2 * e], kept[2 * e + 1], count(&s, kept[2 * e], kept[2 * e + 1]), NAN);
        for (int64_t e = 0; e < n_new; e++)
            lathe_tree_add(tree, candidates[e].u, candidates[e].v, candidates[e].w, NAN);
        lathe_adjacency_free(&adj);
        st = lathe_adjacency_new(tree, &adj, err);
        if (st)
            goto done;
        walk_tree(&s, tree, &adj, depth);
    }
    got.left = params->budget - got.phase1 - got.phase2;
    if (!params->edges_only)
        confidences(&s, tree, depth, theta);
    if (info != NULL)
        *info = got;
done:
    lathe_adjacency_free(&adj);
    release(&s);
    free(depth);
    free(kept);
    if (st)
        lathe_tree_free(tree);
    return st;
}

lathe_status lathe_tree_passive(const lathe_tree_oracle *oracle, int32_t p, int64_t n,
                                const lathe_tie_order *order, lathe_pair *edges, lathe_error *err) {
    state s = {.p = p, .order = *order};
    lathe_status st = reserve(&s, (size_t) p, err);
    st = st ? st : collect(&s, oracle, p, n, err);
    if (!st) {
        span(&s);
        memcpy(edges, s.pairs, (size_t) (p - 1) * sizeof *edges);
    }
    release(&s);
    return st;
}

/* 64 coins of probability theta: random words are compared with theta's bits, the highest first, until no
 * coin is undecided: about seven words, where one after another they would take 64. */
static uint64_t coins(lathe_rng *rng, uint64_t theta) {
    uint64_t yes = 0, undecided = UINT64_MAX;
    for (uint64_t bit = UINT64_C(1) << 63; bit > 0 && undecided != 0; bit >>= 1) {
        const uint64_t word = lathe_rng_u64(rng);
        if (theta & bit) { /* a 0 where theta has a 1: below it */
            yes |= undecided & ~word;
            undecided &= word;
        } else {
            undecided &= ~word;
        }
    }
    return yes;
}

lathe_status lathe_homogeneous_sample(void *homogeneous, const int32_t *nodes, int32_t n_nodes, int64_t m,
                                      uint8_t *out, lathe_error *err) {
    (void) err;
    lathe_homogeneous *h = homogeneous;
    const uint64_t theta = (uint64_t) ldexp(0.5 * (1 - h->rho), 64);
    for (int64_t begin = 0; begin < m; begin += 64) { /* 64 rows in a word a node */
        const int64_t end = begin + 64 < m ? begin + 64 : m;
        h->scratch[0] = lathe_rng_u64(&h->rng);
        for (int32_t i = 1; i < h->p; i++)
            h->scratch[i] = h->scratch[h->parent[i]] ^ coins(&h->rng, theta);
        for (int64_t t = begin; t < end; t++)
            for (int32_t k = 0; k < n_nodes; k++)
                out[t * n_nodes + k] = (uint8_t) (h->scratch[nodes[k]] >> (t - begin) & 1);
    }
    return LATHE_OK;
}
