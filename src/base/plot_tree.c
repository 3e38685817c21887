/* plot_tree.c - trees: layered from a root to the right, or radial without one. Observed nodes are filled,
 * hidden ones hollow; an edge's width is its support, its label its weight. Beyond 200 nodes the deepest
 * parts are folded into their parents, which then say how many nodes they hold. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/plot.h"
#include "base/text.h"

enum { SHOWN_MAX = 200, EDGE_LABELS = 60, ROW = 18, TOP = 20, LEFT = 20, RADIAL = 620 };

typedef struct layout {
    const lathe_plot *p;
    size_t n;
    size_t *first, *next, *to; /* adjacency: first[n], next and to[2 n_edges]; SIZE_MAX ends */
    size_t *order, *parent;    /* breadth first over all components; parent SIZE_MAX: a root */
    size_t undrawn;            /* components beyond the first 200 */
    size_t *folded, *leaves;   /* nodes below that are not drawn; leaves below (drawn ones) */
    int32_t *depth;
    bool *shown, *inner; /* drawn; drawn with something drawn below it */
    double *x, *y, *from, *to_angle;
} layout;

static void *carve(char **at, size_t n, size_t size) {
    void *p = *at;
    *at += (n * size + 15) / 16 * 16;
    return p;
}

static char *prepare(layout *t, const lathe_plot *p) {
    const size_t n = p->n_nodes, m = 2 * p->n_edges,
                 unit = sizeof(double) > sizeof(size_t) ? sizeof(double) : sizeof(size_t);
    char *memory = calloc((11 * n + 2 * m + 64), unit * 2);
    if (!memory)
        return NULL;
    char *at = memory;
    *t = (layout){.p = p, .n = n};
    t->first = carve(&at, n, sizeof(size_t));
    t->next = carve(&at, m, sizeof(size_t));
    t->to = carve(&at, m, sizeof(size_t));
    t->order = carve(&at, n, sizeof(size_t));
    t->parent = carve(&at, n, sizeof(size_t));
    t->folded = carve(&at, n, sizeof(size_t));
    t->leaves = carve(&at, n, sizeof(size_t));
    t->depth = carve(&at, n, sizeof(int32_t));
    t->shown = carve(&at, n, sizeof(bool));
    t->inner = carve(&at, n, sizeof(bool));
    t->x = carve(&at, n, sizeof(double));
    t->y = carve(&at, n, sizeof(double));
    t->from = carve(&at, n, sizeof(double));
    t->to_angle = carve(&at, n, sizeof(double));
    for (size_t i = 0; i < n; i++)
        t->first[i] = t->parent[i] = SIZE_MAX;
    for (size_t e = p->n_edges; e-- > 0;) { /* backwards: lists then keep the order of the edges */
        const size_t ends[2] = {(size_t) p->edges[e].u, (size_t) p->edges[e].v};
        for (size_t k = 0; k < 2; k++) {
            t->to[2 * e + k] = ends[1 - k];
            t->next[2 * e + k] = t->first[ends[k]];
            t->first[ends[k]] = 2 * e + k;
        }
    }
    return memory;
}

/* Breadth first from `root`, appended to the order; returns the new length. */
static size_t walk(layout *t, size_t root, size_t n_order, bool *seen) {
    size_t head = n_order;
    t->order[n_order++] = root;
    seen[root] = true;
    for (; head < n_order; head++) {
        const size_t u = t->order[head];
        for (size_t k = t->first[u]; k != SIZE_MAX; k = t->next[k]) {
            const size_t v = t->to[k];
            if (seen[v])
                continue;
            seen[v] = true;
            t->parent[v] = u;
            t->depth[v] = t->depth[u] + 1;
            t->order[n_order++] = v;
        }
    }
    return n_order;
}

/* The middle of the longest path of u's component: a radial picture grows evenly from there. */
static size_t centre(layout *t, size_t u, size_t n_order) {
    for (int pass = 0; pass < 2; pass++) {
        bool *seen = t->shown; /* free to use until fold() */
        memset(seen, 0, t->n * sizeof *seen);
        for (size_t i = 0; i < n_order; i++)
            seen[t->order[i]] = true;
        t->parent[u] = SIZE_MAX;
        t->depth[u] = 0;
        const size_t end = walk(t, u, n_order, seen);
        u = t->order[end - 1];
    }
    for (int32_t up = t->depth[u] / 2; up > 0; up--)
        u = t->parent[u];
    return u;
}

static void root_all(layout *t, bool *seen) {
    size_t n_order = 0;
    if (t->p->root >= 0)
        n_order = walk(t, (size_t) t->p->root, 0, seen);
    for (size_t i = 0; i < t->n; i++) {
        if (seen[i])
            continue;
        const size_t root = t->p->root >= 0 ? i : centre(t, i, n_order);
        t->parent[root] = SIZE_MAX;
        t->depth[root] = 0;
        n_order = walk(t, root, n_order, seen);
    }
}

/* Hides the deepest nodes until few enough are left; each hidden one counts at its nearest shown ancestor. */
static void fold(layout *t) {
    size_t n_shown = t->n;
    memset(t->shown, 1, t->n * sizeof *t->shown);
    int32_t deepest = 0;
    for (size_t i = 0; i < t->n; i++)
        deepest = t->depth[i] > deepest ? t->depth[i] : deepest;
    for (; n_shown > SHOWN_MAX && deepest > 0; deepest--)
        for (size_t i = 0; i < t->n; i++)
            if (t->depth[i] == deepest) {
                t->shown[i] = false;
                n_shown--;
            }
    for (size_t i = t->n; i-- > 0 && n_shown > SHOWN_MAX;) /* only roots are left */
        if (t->shown[t->order[i]]) {
            t->shown[t->order[i]] = false;
            t->undrawn++;
            n_shown--;
        }
    for (size_t i = t->n; i-- > 0;) {
        const size_t u = t->order[i];
        if (!t->shown[u] && t->parent[u] != SIZE_MAX)
            t->folded[t->parent[u]] += 1 + t->folded[u];
    }
    for (size_t i = t->n; i-- > 0;) {
        const size_t u = t->order[i];
        if (!t->shown[u])
            continue;
        t->leaves[u] += t->leaves[u] == 0;
        if (t->parent[u] != SIZE_MAX) {
            t->leaves[t->parent[u]] += t->leaves[u];
            t->inner[t->parent[u]] = true;
        }
    }
}

/* --- Positions -------------------------------------------------------------------------------------- */

static void layered(layout *t, double label_room, double *height) {
    int32_t deepest = 1;
    double row = 0;
    for (size_t i = 0; i < t->n; i++)
        if (t->shown[i] && t->depth[i] > deepest)
            deepest = t->depth[i];
    const double step = (LATHE_PLOT_WIDTH - LEFT - label_room) / deepest;
    /* from[u] is the first row of u's leaves; children take theirs in order */
    for (size_t i = 0; i < t->n; i++) {
        const size_t u = t->order[i];
        if (!t->shown[u])
            continue;
        if (t->parent[u] == SIZE_MAX) {
            t->from[u] = row;
            row += (double) t->leaves[u];
        } else {
            t->from[u] = t->to_angle[t->parent[u]];
            t->to_angle[t->parent[u]] += (double) t->leaves[u];
        }
        t->to_angle[u] = t->from[u];
        t->x[u] = LEFT + t->depth[u] * step;
        t->y[u] = TOP + (t->from[u] + (double) t->leaves[u] / 2.0) * ROW;
    }
    *height = TOP + row * ROW + 10;
}

/* Each subtree gets an angle in proportion to its leaves; a component a slice of the circle. */
static void radial(layout *t, double label_room, double *height) {
    int32_t deepest = 1;
    size_t n_leaves = 0;
    double used = 0;
    for (size_t i = 0; i < t->n; i++)
        if (t->shown[i]) {
            deepest = t->depth[i] > deepest ? t->depth[i] : deepest;
            n_leaves += t->parent[i] == SIZE_MAX ? t->leaves[i] : 0;
        }
    size_t n_roots = 0;
    for (size_t i = 0; i < t->n; i++)
        n_roots += t->parent[i] == SIZE_MAX && t->shown[i];
    const double full = 2 * acos(-1.0), radius = RADIAL / 2.0 - fmin(label_room, 120);
    const double middle_x = LATHE_PLOT_WIDTH / 2.0, middle_y = RADIAL / 2.0;
    const double inner = n_roots > 1 ? 0.3 : 0; /* a forest's roots lie on a small circle */
    for (size_t i = 0; i < t->n; i++) {
        const size_t u = t->order[i];
        if (!t->shown[u])
            continue;
        const double width = full * (double) t->leaves[u] / (double) (n_leaves > 0 ? n_leaves : 1);
        if (t->parent[u] == SIZE_MAX) {
            t->from[u] = used;
            used += width;
        } else {
            t->from[u] = t->to_angle[t->parent[u]];
            t->to_angle[t->parent[u]] += width;
        }
        t->to_angle[u] = t->from[u];
        const double angle = t->from[u] + width / 2;
        const double r = radius * (inner + (1 - inner) * t->depth[u] / deepest);
        t->x[u] = middle_x + r * cos(angle);
        t->y[u] = middle_y + r * sin(angle);
    }
    *height = RADIAL;
}

/* --- Drawing ---------------------------------------------------------------------------------------- */

static void label_of(const layout *t, size_t u, char *out, size_t size) {
    char name[96];
    lathe_plot_cut(t->p->nodes[u].name, 18, name, sizeof name);
    const int n = t->folded[u] > 0 ? snprintf(out, size, "%s (+%zu)", name, t->folded[u])
                                   : snprintf(out, size, "%s", name);
    (void) n;
}

static void edges(lathe_pen *pen, const layout *t) {
    size_t n_shown = 0;
    for (size_t e = 0; e < t->p->n_edges; e++)
        n_shown += t->shown[t->p->edges[e].u] && t->shown[t->p->edges[e].v];
    for (size_t e = 0; e < t->p->n_edges; e++) {
        const lathe_plot_edge *edge = &t->p->edges[e];
        const size_t u = (size_t) edge->u, v = (size_t) edge->v;
        if (!t->shown[u] || !t->shown[v])
            continue;
        const double support = isnan(edge->support) ? 1 : fmax(0, fmin(1, edge->support));
        const bool bend = t->p->root >= 0 && (t->parent[v] == u || t->parent[u] == v);
        const size_t a = t->parent[v] == u ? u : v, b = a == u ? v : u; /* a is nearer to the root */
        lathe_pen_markup(pen, "<path class=\"edge\" stroke-width=\"");
        lathe_pen_coord(pen, 0.5 + 2.5 * support);
        lathe_pen_markup(pen, "\" d=\"M");
        lathe_pen_coord(pen, t->x[a]);
        lathe_pen_markup(pen, " ");
        lathe_pen_coord(pen, t->y[a]);
        if (bend) {
            lathe_pen_markup(pen, " V");
            lathe_pen_coord(pen, t->y[b]);
            lathe_pen_markup(pen, " H");
            lathe_pen_coord(pen, t->x[b]);
        } else {
            lathe_pen_markup(pen, " L");
            lathe_pen_coord(pen, t->x[b]);
            lathe_pen_markup(pen, " ");
            lathe_pen_coord(pen, t->y[b]);
        }
        lathe_pen_markup(pen, "\"/>\n");
        if (isfinite(edge->weight) && n_shown <= EDGE_LABELS) {
            char text[40];
            lathe_format_figure(edge->weight, text, sizeof text);
            lathe_plot_text(pen, (t->x[a] + t->x[b]) / 2, (bend ? t->y[b] : (t->y[a] + t->y[b]) / 2) - 3,
                            "middle", text);
        }
    }
}

static void nodes(lathe_pen *pen, const layout *t) {
    for (size_t u = 0; u < t->n; u++) {
        if (!t->shown[u])
            continue;
        char text[128];
        label_of(t, u, text, sizeof text);
        lathe_pen_markup(pen, "<circle class=\"%s\" cx=\"", t->p->nodes[u].hidden ? "hidden" : "node");
        lathe_pen_coord(pen, t->x[u]);
        lathe_pen_markup(pen, "\" cy=\"");
        lathe_pen_coord(pen, t->y[u]);
        lathe_pen_markup(pen, "\" r=\"4\"><title>");
        lathe_pen_text(pen, t->p->nodes[u].name);
        lathe_pen_markup(pen, "</title></circle>\n");
        if (!text[0])
            continue;
        const bool left = t->p->root < 0 && t->x[u] < LATHE_PLOT_WIDTH / 2.0 - 1;
        if (t->p->root >= 0 && t->inner[u] && t->parent[u] != SIZE_MAX) /* above the line that leads here */
            lathe_plot_text(pen, t->x[u] - 7, t->y[u] - 5, "end", text);
        else
            lathe_plot_text(pen, t->x[u] + (left ? -8 : 8), t->y[u] + 4, left ? "end" : "start", text);
    }
}

void lathe_plot_draw_tree(lathe_pen *pen, const lathe_plot *p, int32_t number) {
    layout t;
    char *memory = prepare(&t, p);
    bool *seen = calloc(p->n_nodes + 1, sizeof *seen);
    if (!memory || !seen) {
        free(memory);
        free(seen);
        pen->status = lathe_fail(pen->err, LATHE_ERR_MEMORY, "no memory to draw %zu nodes", p->n_nodes);
        return;
    }
    root_all(&t, seen);
    fold(&t);
    double room = 0, height = 0;
    for (size_t u = 0; u < t.n; u++) {
        char text[128];
        if (!t.shown[u])
            continue;
        label_of(&t, u, text, sizeof text);
        room = fmax(room, lathe_plot_text_width(text) + 16);
    }
    if (p->root >= 0)
        layered(&t, room, &height);
    else
        radial(&t, room, &height);
    lathe_plot_open(pen, p, number, height);
    edges(pen, &t);
    nodes(pen, &t);
    if (t.undrawn > 0)
        lathe_pen_markup(pen, "<text x=\"4\" y=\"14\">%zu more components are not drawn</text>\n", t.undrawn);
    lathe_pen_markup(pen, "</svg>\n");
    free(memory);
    free(seen);
}
