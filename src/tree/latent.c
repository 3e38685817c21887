/* latent.c - recursive grouping, its Chow-Liu form with the refine sweep, and the choice among learners.
 *
 * A sketch is a graph under construction: observed nodes first, hidden ones appended, edges in a list. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/machine.h"
#include "base/stats.h"
#include "tree/tree.h"

static const double SHORTEST = 1e-9;

typedef struct link {
    int32_t u, v;
    double length;
} link;

typedef struct sketch {
    link *links;
    int32_t n_links, capacity, n_nodes;
} sketch;

static bool add_link(sketch *s, int32_t u, int32_t v, double length) {
    if (s->n_links == s->capacity) {
        const int32_t capacity = s->capacity ? 2 * s->capacity : 32;
        link *links = realloc(s->links, (size_t) capacity * sizeof *links);
        if (links == NULL)
            return false;
        s->links = links;
        s->capacity = capacity;
    }
    s->links[s->n_links++] = (link){u, v, length};
    return true;
}

static lathe_status no_memory(lathe_error *err) {
    return lathe_fail(err, LATHE_ERR_MEMORY, "latent tree: no memory");
}

/* --- Recursive grouping ----------------------------------------------------------------------------------
 */

typedef struct grouping {
    int32_t m, size; /* items now; items at the start (row length of d) */
    double *d, *next;
    int32_t *item; /* [m] node of each item */
    int32_t *family, *up;
    double *phi, *deviation;
} grouping;

/* Range and mean of d_ik - d_jk over the k near enough. */
static void compare_rows(const grouping *g, int32_t i, int32_t j, double tau, double *range, double *mean) {
    double low = INFINITY, high = -INFINITY, sum = 0;
    int32_t n = 0;
    const double *a = g->d + (int64_t) i * g->size, *b = g->d + (int64_t) j * g->size;
    for (int32_t k = 0; k < g->m; k++)
        if (k != i && k != j && fmax(a[k], b[k]) < tau) {
            const double x = a[k] - b[k];
            low = fmin(low, x);
            high = fmax(high, x);
            sum += x;
            n++;
        }
    const int32_t least = g->m - 2 < 2 ? g->m - 2 : 2;
    if (n < least) { /* the nearest ones instead */
        int32_t pick[2] = {-1, -1};
        low = INFINITY, high = -INFINITY, sum = 0, n = 0;
        for (int32_t q = 0; q < least; q++) {
            for (int32_t k = 0; k < g->m; k++)
                if (k != i && k != j && k != pick[0] &&
                    (pick[q] < 0 || fmax(a[k], b[k]) < fmax(a[pick[q]], b[pick[q]])))
                    pick[q] = k;
            const double x = a[pick[q]] - b[pick[q]];
            low = fmin(low, x);
            high = fmax(high, x);
            sum += x;
            n++;
        }
    }
    *range = high - low;
    *mean = n ? sum / n : 0;
}

/* Groups n items with distances d[n * n]; items are nodes 0 .. n - 1 of out, hidden ones follow. */
static lathe_status group(const double *d, int32_t n, double eps, double tau, sketch *out, int32_t *n_forced,
                          lathe_error *err) {
    const size_t m2 = (size_t) n * (size_t) n;
    grouping g = {.m = n, .size = n};
    double *offset = malloc(((size_t) n + 1) * sizeof *offset);
    g.d = malloc((m2 + 1) * sizeof *g.d);
    g.next = malloc((m2 + 1) * sizeof *g.next);
    g.phi = malloc((m2 + 1) * sizeof *g.phi);
    g.item = malloc(((size_t) n + 1) * sizeof *g.item);
    g.family = malloc(((size_t) n + 1) * sizeof *g.family);
    g.up = malloc(((size_t) n + 1) * sizeof *g.up);
    int32_t *fresh = malloc(((size_t) n + 1) * sizeof *fresh);
    memset(out, 0, sizeof *out);
    out->n_nodes = n;
    bool ok = g.d && g.next && g.phi && g.item && g.family && g.up && fresh && offset;
    for (int32_t i = 0; ok && i < n; i++)
        g.item[i] = i;
    if (ok)
        memcpy(g.d, d, m2 * sizeof *g.d);
    while (ok && g.m > 2) {
        const int32_t m = g.m;
        double best = INFINITY;
        int32_t bi = 0, bj = 1, n_joined = 0;
        for (int32_t i = 0; i < m; i++)
            g.up[i] = i;
        for (int32_t i = 0; i < m; i++)
            for (int32_t j = i + 1; j < m; j++) {
                double range, mean;
                compare_rows(&g, i, j, tau, &range, &mean);
                g.phi[(int64_t) i * n + j] = mean;
                g.phi[(int64_t) j * n + i] = -mean;
                if (range < eps) {
                    g.up[lathe_find(g.up, i)] = lathe_find(g.up, j);
                    n_joined++;
                }
                if (range < best) {
                    best = range;
                    bi = i;
                    bj = j;
                }
            }
        if (n_joined == 0) {
            g.up[lathe_find(g.up, bi)] = lathe_find(g.up, bj);
            ++*n_forced;
        }
        /* one new item a family; offset of each old item from its new one */
        int32_t n_new = 0;
        for (int32_t i = 0; i < m; i++)
            g.family[i] = -1;
        for (int32_t f = 0; f < m && ok; f++) {
            int32_t size = 0, parent = -1;
            double smallest = INFINITY;
            for (int32_t j = 0; j < m; j++) {
                if (lathe_find(g.up, j) != f)
                    continue;
                size++;
                double deviation = 0;
                for (int32_t i = 0; i < m; i++)
                    if (i != j && lathe_find(g.up, i) == f)
                        deviation =
                            fmax(deviation, fabs(g.phi[(int64_t) i * n + j] - g.d[(int64_t) i * n + j]));
                if (deviation < smallest) {
                    smallest = deviation;
                    parent = j;
                }
            }
            if (size == 0)
                continue;
            const bool hidden = size > 1 && !(smallest < eps);
            const int32_t node = hidden ? out->n_nodes++ : g.item[parent];
            for (int32_t i = 0; i < m && ok; i++) {
                if (lathe_find(g.up, i) != f)
                    continue;
                g.family[i] = n_new;
                offset[i] = 0;
                if (hidden) {
                    double sum = 0;
                    for (int32_t j = 0; j < m; j++)
                        if (j != i && lathe_find(g.up, j) == f)
                            sum += 0.5 * (g.d[(int64_t) i * n + j] + g.phi[(int64_t) i * n + j]);
                    offset[i] = fmax(SHORTEST, sum / (size - 1));
                    ok = add_link(out, g.item[i], node, offset[i]);
                } else if (i != parent) {
                    ok = add_link(out, g.item[i], node, fmax(SHORTEST, g.d[(int64_t) i * n + parent]));
                    offset[i] = -1; /* stands for nobody: its parent does */
                }
            }
            fresh[n_new++] = node;
        }
        for (int32_t a = 0; ok && a < n_new; a++)
            for (int32_t b = 0; b < a; b++) {
                double sum = 0;
                int32_t number = 0;
                for (int32_t i = 0; i < m; i++)
                    for (int32_t j = 0; g.family[i] == a && offset[i] >= 0 && j < m; j++)
                        if (g.family[j] == b && offset[j] >= 0) {
                            sum += g.d[(int64_t) i * n + j] - offset[i] - offset[j];
                            number++;
                        }
                g.next[(int64_t) a * n + b] = g.next[(int64_t) b * n + a] = fmax(SHORTEST, sum / number);
            }
        for (int32_t a = 0; ok && a < n_new; a++) {
            g.next[(int64_t) a * n + a] = 0;
            g.item[a] = fresh[a];
        }
        double *t = g.d;
        g.d = g.next;
        g.next = t;
        g.m = n_new;
    }
    if (ok && g.m == 2)
        ok = add_link(out, g.item[0], g.item[1], fmax(SHORTEST, g.d[1]));
    free(g.d);
    free(g.next);
    free(g.phi);
    free(g.item);
    free(g.family);
    free(g.up);
    free(fresh);
    free(offset);
    if (ok)
        return LATHE_OK;
    free(out->links);
    memset(out, 0, sizeof *out);
    return no_memory(err);
}

/* Hidden nodes (from `fixed` on) of degree 0 to 2 go; edges shorter than `shortest` at a hidden node are
 * merged. Node numbers stay; nodes that went have no links. */
static lathe_status contract(sketch *s, int32_t fixed, double shortest, lathe_error *err) {
    int32_t *degree = malloc(((size_t) s->n_nodes + 1) * sizeof *degree);
    if (degree == NULL)
        return no_memory(err);
    for (bool changed = true; changed;) {
        changed = false;
        memset(degree, 0, (size_t) s->n_nodes * sizeof *degree);
        for (int32_t e = 0; e < s->n_links; e++) {
            degree[s->links[e].u]++;
            degree[s->links[e].v]++;
        }
        for (int32_t h = fixed; h < s->n_nodes && !changed; h++) {
            if (degree[h] != 1 && degree[h] != 2)
                continue;
            int32_t at[2], n_at = 0;
            for (int32_t e = 0; e < s->n_links && n_at < 2; e++)
                if (s->links[e].u == h || s->links[e].v == h)
                    at[n_at++] = e;
            if (n_at == 2) {
                const link a = s->links[at[0]], b = s->links[at[1]];
                s->links[at[0]] = (link){a.u == h ? a.v : a.u, b.u == h ? b.v : b.u, a.length + b.length};
                s->links[at[1]] = s->links[--s->n_links];
            } else {
                s->links[at[0]] = s->links[--s->n_links];
            }
            changed = true;
        }
        if (changed)
            continue;
        int32_t best = -1;
        for (int32_t e = 0; e < s->n_links; e++)
            if (s->links[e].length < shortest && (s->links[e].u >= fixed || s->links[e].v >= fixed) &&
                (best < 0 || s->links[e].length < s->links[best].length))
                best = e;
        if (best >= 0) {
            const int32_t u = s->links[best].u, v = s->links[best].v;
            const int32_t stay = u < fixed ? u : v < fixed ? v : u, go = stay == u ? v : u;
            s->links[best] = s->links[--s->n_links];
            for (int32_t e = 0; e < s->n_links; e++) {
                if (s->links[e].u == go)
                    s->links[e].u = stay;
                if (s->links[e].v == go)
                    s->links[e].v = stay;
            }
            changed = true;
        }
    }
    free(degree);
    return LATHE_OK;
}

/* --- Chow-Liu first ----------------------------------------------------------------------------------------
 */

/* Minimum spanning tree (Prim); ties to the smaller index. */
static lathe_status spanning_tree(const double *d, int32_t n, sketch *out, lathe_error *err) {
    double *best = malloc((size_t) n * sizeof *best);
    int32_t *from = malloc((size_t) n * sizeof *from);
    memset(out, 0, sizeof *out);
    out->n_nodes = n;
    bool ok = best != NULL && from != NULL;
    for (int32_t i = 0; ok && i < n; i++) {
        best[i] = d[i];
        from[i] = 0;
    }
    if (ok)
        from[0] = -1;
    for (int32_t step = 1; ok && step < n; step++) {
        int32_t c = -1;
        for (int32_t i = 0; i < n; i++)
            if (from[i] >= 0 && (c < 0 || best[i] < best[c]))
                c = i;
        ok = add_link(out, from[c], c, d[(int64_t) from[c] * n + c]);
        from[c] = -1;
        for (int32_t i = 0; i < n; i++)
            if (from[i] >= 0 && d[(int64_t) c * n + i] < best[i]) {
                best[i] = d[(int64_t) c * n + i];
                from[i] = c;
            }
    }
    free(best);
    free(from);
    return ok ? LATHE_OK : no_memory(err);
}

static int32_t neighbours(const sketch *s, int32_t v, int32_t *out, double *lengths) {
    int32_t n = 0;
    for (int32_t e = 0; e < s->n_links; e++)
        if (s->links[e].u == v || s->links[e].v == v) {
            lengths[n] = s->links[e].length;
            out[n++] = s->links[e].u == v ? s->links[e].v : s->links[e].u;
        }
    return n;
}

static void cut_all(sketch *s, int32_t v) {
    for (int32_t e = s->n_links - 1; e >= 0; e--)
        if (s->links[e].u == v || s->links[e].v == v)
            s->links[e] = s->links[--s->n_links];
}

typedef struct work {
    const double *d;
    int32_t n;
    double eps, tau, shortest;
    int32_t n_forced;
    int32_t *list, *map;
    double *lengths, *matrix;
    int32_t *surrogate; /* [room] of hidden nodes */
    double *delta;
    int32_t room;
} work;

static lathe_status make_room(work *w, int32_t n, lathe_error *err) {
    if (n <= w->room)
        return LATHE_OK;
    const size_t room = 2 * (size_t) n + 16;
    int32_t *list = realloc(w->list, 2 * room * sizeof *list);
    w->list = list ? list : w->list;
    int32_t *map = realloc(w->map, 2 * room * sizeof *map);
    w->map = map ? map : w->map;
    double *lengths = realloc(w->lengths, 2 * room * sizeof *lengths);
    w->lengths = lengths ? lengths : w->lengths;
    int32_t *surrogate = realloc(w->surrogate, room * sizeof *surrogate);
    w->surrogate = surrogate ? surrogate : w->surrogate;
    double *delta = realloc(w->delta, room * sizeof *delta);
    w->delta = delta ? delta : w->delta;
    if (!list || !map || !lengths || !surrogate || !delta)
        return no_memory(err);
    w->room = (int32_t) room;
    return LATHE_OK;
}

/* Length of the path between two nodes of a small tree. */
static double path_length(const sketch *s, int32_t from, int32_t to, int32_t *queue, double *far,
                          int32_t *came) {
    int32_t head = 0, tail = 0;
    queue[tail] = from;
    came[tail] = -1;
    far[tail++] = 0;
    while (head < tail) {
        const int32_t x = queue[head], back = came[head];
        if (x == to)
            return far[head];
        for (int32_t e = 0; e < s->n_links; e++) {
            const link *l = &s->links[e];
            if (l->u != x && l->v != x)
                continue;
            const int32_t y = l->u == x ? l->v : l->u;
            if (y == back)
                continue;
            queue[tail] = y;
            came[tail] = x;
            far[tail++] = far[head] + l->length;
        }
        head++;
    }
    return 0;
}

/* The neighbourhood of observed node i of the sketch is grouped anew and put in its place. */
static lathe_status regroup(work *w, sketch *t, int32_t i, lathe_error *err) {
    lathe_status st = make_room(w, t->n_nodes + t->n_links + 2, err);
    if (st)
        return st;
    int32_t *fam = w->list, *stand = w->list + w->room;
    const int32_t n_near = neighbours(t, i, fam + 1, w->lengths);
    const int32_t m = n_near + 1;
    fam[0] = i;
    for (int32_t k = 0; k < m; k++)
        stand[k] = fam[k] < w->n ? fam[k] : w->surrogate[fam[k]];
    double *matrix = malloc((size_t) m * (size_t) m * sizeof *matrix);
    if (matrix == NULL)
        return no_memory(err);
    for (int32_t a = 0; a < m; a++)
        for (int32_t b = 0; b < m; b++)
            matrix[a * m + b] = w->d[(int64_t) stand[a] * w->n + stand[b]];
    sketch r;
    st = group(matrix, m, w->eps, w->tau, &r, &w->n_forced, err);
    free(matrix);
    if (st)
        return st;
    const int32_t first_new = t->n_nodes;
    st = make_room(w, first_new + r.n_nodes + r.n_links + 2, err);
    fam = w->list;
    int32_t *queue = w->map, *came = w->map + w->room;
    for (int32_t h = m; h < r.n_nodes && !st;
         h++) { /* before hidden neighbours come back: paths between stand-ins */
        w->surrogate[first_new + h - m] = i;
        w->delta[first_new + h - m] = path_length(&r, 0, h, queue, w->lengths, came);
    }
    cut_all(t, i);
    for (int32_t e = 0; e < r.n_links && !st; e++) {
        double length = r.links[e].length;
        int32_t end[2] = {r.links[e].u, r.links[e].v};
        for (int q = 0; q < 2; q++) {
            if (end[q] < m && fam[end[q]] >= w->n)
                length -= w->delta[fam[end[q]]];
            end[q] = end[q] < m ? fam[end[q]] : first_new + end[q] - m;
        }
        if (!add_link(t, end[0], end[1], fmax(SHORTEST, length)))
            st = no_memory(err);
    }
    t->n_nodes += r.n_nodes - m;
    free(r.links);
    return st;
}

/* Up to four nearest observed nodes on u's side of edge (v, u). */
static int32_t nearest_behind(const work *w, const sketch *t, const lathe_adjacency *adj,
                              const double *length, int32_t v, int32_t u, int32_t *queue, int32_t *came,
                              double *far, int32_t out[4], double out_far[4]) {
    (void) t;
    int32_t head = 0, tail = 0, n = 0;
    queue[tail] = u;
    came[tail] = v;
    far[tail++] = 0;
    while (head < tail) {
        const int32_t x = queue[head], back = came[head];
        const double at = far[head++];
        if (x < w->n) {
            int32_t k = n < 4 ? n++ : 4;
            while (k > 0 && (k == 4 ? at < out_far[3] : at < out_far[k - 1])) { /* insertion, four places */
                if (k < 4) {
                    out[k] = out[k - 1];
                    out_far[k] = out_far[k - 1];
                }
                k--;
            }
            if (k < 4) {
                out[k] = x;
                out_far[k] = at;
            }
        }
        for (int32_t q = adj->start[x]; q < adj->start[x + 1]; q++)
            if (adj->to[q] != back) {
                queue[tail] = adj->to[q];
                came[tail] = x;
                far[tail++] = at + length[adj->edge[q]];
            }
    }
    return n;
}

/* One high-degree node is looked at again; *changed where its neighbourhood was no star. */
static lathe_status refine_node(work *w, sketch *t, int32_t v, bool *changed, lathe_error *err) {
    lathe_status st = make_room(w, t->n_nodes + t->n_links + 2, err);
    if (st)
        return st;
    int32_t *near = w->list;
    int32_t m = neighbours(t, v, near, w->lengths);
    const bool observed = v < w->n;
    if (m < (observed ? 2 : 4))
        return LATHE_OK;
    if (observed)
        near[m++] = v;
    lathe_tree_edge *edges = malloc(((size_t) t->n_links + 1) * sizeof *edges);
    double *length = malloc(((size_t) t->n_links + 1) * sizeof *length);
    double *matrix = malloc((size_t) m * (size_t) m * sizeof *matrix);
    int32_t(*who)[4] = malloc((size_t) m * sizeof *who);
    double(*far)[4] = malloc((size_t) m * sizeof *far);
    int32_t *n_who = malloc((size_t) m * sizeof *n_who);
    lathe_adjacency adj = {0};
    if (!edges || !length || !matrix || !who || !far || !n_who)
        st = no_memory(err);
    if (!st) {
        for (int32_t e = 0; e < t->n_links; e++) {
            edges[e] = (lathe_tree_edge){.u = t->links[e].u, .v = t->links[e].v};
            length[e] = t->links[e].length;
        }
        const lathe_tree view = {.edges = edges, .n_nodes = t->n_nodes, .n_edges = t->n_links};
        st = lathe_adjacency_new(&view, &adj, err);
    }
    for (int32_t a = 0; a < m && !st; a++) {
        if (near[a] == v) {
            who[a][0] = v;
            far[a][0] = 0;
            n_who[a] = 1;
        } else {
            n_who[a] = nearest_behind(w, t, &adj, length, v, near[a], w->map, w->map + w->room, w->lengths,
                                      who[a], far[a]);
        }
    }
    for (int32_t a = 0; a < m && !st; a++) {
        matrix[a * m + a] = 0;
        for (int32_t b = 0; b < a; b++) {
            double sum = 0;
            int32_t number = 0;
            for (int32_t x = 0; x < n_who[a]; x++)
                for (int32_t y = 0; y < n_who[b]; y++) {
                    sum += w->d[(int64_t) who[a][x] * w->n + who[b][y]] - far[a][x] - far[b][y];
                    number++;
                }
            matrix[a * m + b] = matrix[b * m + a] = fmax(SHORTEST, number ? sum / number : 0);
        }
    }
    sketch r = {0};
    if (!st)
        st = group(matrix, m, w->eps, w->tau, &r, &w->n_forced, err);
    if (!st)
        st = contract(&r, m, w->shortest, err);
    if (!st) {
        /* the star that was there: all at one node, hidden or v itself */
        const int32_t n_star = observed ? m - 1 : m;
        int32_t centre = -1;
        bool star = r.n_links == n_star;
        for (int32_t e = 0; e < r.n_links && star; e++) {
            const link *l = &r.links[e];
            const int32_t c = observed ? m - 1 : l->u >= m ? l->u : l->v;
            star = (l->u == c || l->v == c) && (observed || c >= m) && (centre < 0 || centre == c);
            centre = c;
        }
        if (!star) {
            *changed = true;
            const int32_t first_new = t->n_nodes;
            cut_all(t, v);
            for (int32_t e = 0; e < r.n_links && !st; e++) {
                const int32_t a = r.links[e].u, b = r.links[e].v;
                if (!add_link(t, a < m ? near[a] : first_new + a - m, b < m ? near[b] : first_new + b - m,
                              r.links[e].length))
                    st = no_memory(err);
            }
            t->n_nodes += r.n_nodes - m;
        }
    }
    free(r.links);
    free(edges);
    free(length);
    free(matrix);
    free(who);
    free(far);
    free(n_who);
    lathe_adjacency_free(&adj);
    return st;
}

static lathe_status chow_liu_grouping(work *w, bool refine, sketch *t, lathe_error *err) {
    lathe_status st = spanning_tree(w->d, w->n, t, err);
    int32_t *degree = calloc((size_t) w->n + 1, sizeof *degree);
    if (degree == NULL)
        return st ? st : no_memory(err);
    for (int32_t e = 0; e < t->n_links && !st; e++) {
        degree[t->links[e].u]++;
        degree[t->links[e].v]++;
    }
    int32_t largest = 0;
    for (int32_t i = 0; i < w->n; i++)
        largest = degree[i] > largest ? degree[i] : largest;
    for (int32_t k = largest; k > 1 && !st; k--)
        for (int32_t i = 0; i < w->n && !st; i++)
            if (degree[i] == k)
                st = regroup(w, t, i, err);
    free(degree);
    if (!st)
        st = contract(t, w->n, w->shortest, err);
    bool changed = refine;
    for (int sweep = 0; sweep < 5 && changed && !st; sweep++) {
        changed = false;
        const int32_t n_nodes = t->n_nodes;
        for (int32_t v = 0; v < n_nodes && !st; v++)
            st = refine_node(w, t, v, &changed, err);
        if (!st)
            st = contract(t, w->n, w->shortest, err);
    }
    return st;
}

/* --- The learners together
 * ------------------------------------------------------------------------------------ */

static int by_size(const void *a, const void *b) {
    const double x = *(const double *) a, y = *(const double *) b;
    return (x > y) - (x < y);
}

/* 0.8 of the lower quartile of NJ's positive inner edges (of all edges where there are none). */
static lathe_status auto_eps(const lathe_distances *dist, double *eps, lathe_error *err) {
    lathe_tree tree;
    lathe_status st = lathe_nj(dist->d, dist->n, dist->names, false, &tree, err);
    if (st)
        return st;
    double *lengths = malloc(((size_t) tree.n_edges + 1) * sizeof *lengths);
    int32_t n = 0;
    for (int pass = 0; lengths != NULL && pass < 2 && n == 0; pass++)
        for (int32_t e = 0; e < tree.n_edges; e++)
            if (tree.edges[e].length > 1e-9 &&
                (pass || (tree.edges[e].u >= dist->n && tree.edges[e].v >= dist->n)))
                lengths[n++] = tree.edges[e].length;
    if (n > 0)
        qsort(lengths, (size_t) n, sizeof *lengths, by_size);
    *eps = n > 0 ? 0.8 * lengths[n / 4] : 1e-6;
    lathe_tree_free(&tree);
    st = lengths != NULL ? LATHE_OK : no_memory(err);
    free(lengths);
    return st;
}

static lathe_status finish(const sketch *s, const lathe_distances *dist, lathe_tree *tree, lathe_error *err) {
    const int32_t n = dist->n;
    int32_t *place = malloc(((size_t) s->n_nodes + 1) * sizeof *place);
    if (place == NULL)
        return no_memory(err);
    int32_t n_hidden = 0;
    for (int32_t i = 0; i < s->n_nodes; i++)
        place[i] = i < n ? i : -1;
    for (int32_t e = 0; e < s->n_links; e++)
        for (int q = 0; q < 2; q++) {
            const int32_t x = q ? s->links[e].v : s->links[e].u;
            if (place[x] < 0)
                place[x] = n + n_hidden++;
        }
    lathe_status st = lathe_tree_new(n + n_hidden, n, dist->names, tree, err);
    for (int32_t e = 0; e < s->n_links && !st; e++)
        lathe_tree_add(tree, place[s->links[e].u], place[s->links[e].v], NAN, s->links[e].length);
    free(place);
    return st;
}

lathe_status lathe_latent_tree(const lathe_distances *dist, const lathe_latent_params *params,
                               lathe_tree *tree, lathe_latent_info *info, lathe_error *err) {
    static const lathe_latent_params defaults = {0};
    if (params == NULL)
        params = &defaults;
    const double begin = lathe_now();
    lathe_latent_info got = {0};
    lathe_status st = LATHE_OK;
    memset(tree, 0, sizeof *tree);
    if (params->method == LATHE_LATENT_NJ || params->method == LATHE_LATENT_BIONJ) {
        st = lathe_nj(dist->d, dist->n, dist->names, params->method == LATHE_LATENT_BIONJ, tree, err);
        if (!st)
            lathe_nj_mend(tree, params->negative);
    } else if (params->method == LATHE_LATENT_SNJ) {
        st = lathe_snj(dist->d, dist->n, dist->names, tree, err);
    } else {
        work w = {
            .d = dist->d, .n = dist->n, .eps = params->eps, .tau = params->tau, .shortest = params->contract};
        sketch s = {0};
        if (!(w.eps > 0))
            st = auto_eps(dist, &w.eps, err);
        if (!(w.shortest > 0))
            w.shortest = 0.5 * w.eps;
        if (!st && !(w.tau > 0)) {
            st = spanning_tree(dist->d, dist->n, &s, err);
            double *lengths = malloc(((size_t) s.n_links + 1) * sizeof *lengths);
            for (int32_t e = 0; lengths != NULL && e < s.n_links; e++)
                lengths[e] = s.links[e].length;
            w.tau =
                lengths != NULL && s.n_links > 0 ? 3 * lathe_median(lengths, (size_t) s.n_links) : INFINITY;
            free(lengths);
            free(s.links);
            s = (sketch){0};
        }
        if (!st && params->method == LATHE_LATENT_RG) {
            st = group(dist->d, dist->n, w.eps, w.tau, &s, &w.n_forced, err);
            if (!st)
                st = contract(&s, dist->n, w.shortest, err);
        } else if (!st) {
            st = chow_liu_grouping(&w, !params->no_refine, &s, err);
        }
        if (!st)
            st = finish(&s, dist, tree, err);
        got.eps = w.eps;
        got.tau = w.tau;
        got.n_forced = w.n_forced;
        free(s.links);
        free(w.list);
        free(w.map);
        free(w.lengths);
        free(w.surrogate);
        free(w.delta);
    }
    got.n_hidden = tree->n_nodes - tree->n_observed;
    got.seconds = lathe_now() - begin;
    if (!st && info != NULL)
        *info = got;
    return st;
}
