/* format.c - trees as text: Newick, DOT, GraphML, edge lists, drawings. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/csv.h"
#include "base/text.h"
#include "tree/tree.h"

/* A forest walked depth first from each component's root. */
typedef struct layout {
    lathe_adjacency adj;
    int32_t *order; /* [n], each node before its children, subtrees together */
    int32_t *parent, *parent_edge, *depth;
    bool *last; /* last child of its parent */
    double *x, *y;
    int32_t *stack;
} layout;

static void layout_free(layout *a) {
    lathe_adjacency_free(&a->adj);
    free(a->order);
    free(a->parent);
    free(a->parent_edge);
    free(a->depth);
    free(a->last);
    free(a->x);
    free(a->y);
    free(a->stack);
}

/* Middle of the component of `start`: halfway along a longest path in edges. Uses a->order, parent,
 * parent_edge. */
static int32_t middle(const lathe_tree *tree, layout *a, int32_t start) {
    int32_t n = lathe_tree_walk(tree, &a->adj, start, a->order, a->parent, a->parent_edge);
    const int32_t end = a->order[n - 1];
    n = lathe_tree_walk(tree, &a->adj, end, a->order, a->parent, a->parent_edge);
    int32_t steps = 0, v = a->order[n - 1];
    for (int32_t u = v; a->parent[u] >= 0; u = a->parent[u])
        steps++;
    for (int32_t k = 0; k < steps / 2; k++)
        v = a->parent[v];
    return v;
}

static lathe_status layout_new(const lathe_tree *tree, int32_t root, layout *a, lathe_error *err) {
    const size_t n = (size_t) tree->n_nodes + 1;
    memset(a, 0, sizeof *a);
    lathe_status st = lathe_adjacency_new(tree, &a->adj, err);
    a->order = malloc(n * sizeof *a->order);
    a->parent = malloc(n * sizeof *a->parent);
    a->parent_edge = malloc(n * sizeof *a->parent_edge);
    a->depth = calloc(n, sizeof *a->depth);
    a->last = calloc(n, sizeof *a->last);
    a->x = calloc(n, sizeof *a->x);
    a->y = calloc(n, sizeof *a->y);
    a->stack = malloc(n * sizeof *a->stack);
    bool *done = calloc(n, sizeof *done);
    int32_t *order = malloc(n * sizeof *order);
    if (!st && (!a->order || !a->parent || !a->parent_edge || !a->depth || !a->last || !a->x || !a->y ||
                !a->stack || !done || !order))
        st = lathe_fail(err, LATHE_ERR_MEMORY, "no memory to write a tree");
    int32_t n_order = 0;
    for (int32_t start = 0; start < tree->n_nodes && !st; start++) {
        int32_t r = n_order == 0 && root >= 0 && root < tree->n_nodes ? root : start;
        if (done[r])
            continue;
        if (!(n_order == 0 && root >= 0 && root < tree->n_nodes))
            r = middle(tree, a, start);
        else
            start--; /* node `start` may lie in another component */
        lathe_tree_walk(tree, &a->adj, r, a->order, a->parent, a->parent_edge);
        int32_t top = 0;
        a->stack[top++] = r;
        while (top > 0) {
            const int32_t u = a->stack[--top];
            done[u] = true;
            order[n_order++] = u;
            a->depth[u] = a->parent[u] < 0 ? 0 : a->depth[a->parent[u]] + 1;
            bool first = true;
            for (int32_t k = a->adj.start[u + 1] - 1; k >= a->adj.start[u]; k--)
                if (a->adj.to[k] != a->parent[u]) {
                    a->last[a->adj.to[k]] = first; /* pushed first, popped last */
                    first = false;
                    a->stack[top++] = a->adj.to[k];
                }
        }
    }
    if (!st)
        memcpy(a->order, order, (size_t) n_order * sizeof *order);
    free(done);
    free(order);
    if (st)
        layout_free(a);
    return st;
}

static lathe_status add_number(lathe_buf *b, double x, lathe_error *err) {
    char text[40];
    lathe_format_double(x, text, sizeof text);
    return lathe_buf_text(b, text, err);
}

/* Inner nodes: a name that would be read as a support or as that of a hidden node is quoted too. */
static lathe_status newick_name(lathe_buf *b, const char *name, bool inner, lathe_error *err) {
    const char *end;
    double number;
    const bool number_like = lathe_scan_real(name, &end, &number) && *end == 0;
    if (*name && strpbrk(name, " ()[]:;,'\t\n\r") == NULL &&
        !(inner && (number_like || lathe_is_hidden_name(name))))
        return lathe_buf_text(b, name, err);
    lathe_status st = lathe_buf_text(b, "'", err);
    for (const char *p = name; *p && !st; p++)
        st = lathe_buf_add(b, *p == '\'' ? "''" : p, *p == '\'' ? 2 : 1, err);
    return st ? st : lathe_buf_text(b, "'", err);
}

static lathe_status newick_tail(lathe_buf *b, const lathe_tree *tree, const layout *a, int32_t u,
                                lathe_error *err) {
    const lathe_tree_edge *e = a->parent_edge[u] >= 0 ? &tree->edges[a->parent_edge[u]] : NULL;
    lathe_status st = LATHE_OK;
    if (u < tree->n_observed || e == NULL || isnan(e->support))
        st = newick_name(b, tree->names[u],
                         u < tree->n_observed && a->adj.start[u + 1] - a->adj.start[u] > (a->parent[u] >= 0),
                         err);
    else
        st = add_number(b, e->support, err);
    const double length = e == NULL ? NAN : isnan(e->length) ? e->weight : e->length;
    if (!st && isfinite(length)) {
        st = lathe_buf_text(b, ":", err);
        st = st ? st : add_number(b, length, err);
    }
    return st;
}

static lathe_status write_newick(const lathe_tree *tree, const layout *a, lathe_buf *b, lathe_error *err) {
    lathe_status st = LATHE_OK;
    int32_t *open = a->stack; /* nodes whose ')' is to come */
    int32_t n_open = 0;
    for (int32_t k = 0; k < tree->n_nodes && !st; k++) {
        const int32_t u = a->order[k];
        while (n_open > 0 && !st && open[n_open - 1] != a->parent[u]) {
            st = lathe_buf_text(b, ")", err);
            st = st ? st : newick_tail(b, tree, a, open[--n_open], err);
        }
        if (!st && k > 0 && a->parent[u] < 0)
            st = lathe_buf_text(b, ";\n", err);
        const int32_t before = k > 0 ? a->order[k - 1] : -1;
        if (!st && a->parent[u] >= 0 && before != a->parent[u])
            st = lathe_buf_text(b, ",", err);
        const int32_t degree = a->adj.start[u + 1] - a->adj.start[u];
        if (degree > (a->parent[u] >= 0)) {
            st = st ? st : lathe_buf_text(b, "(", err);
            open[n_open++] = u;
        } else {
            st = st ? st : newick_tail(b, tree, a, u, err);
        }
    }
    while (n_open > 0 && !st) {
        st = lathe_buf_text(b, ")", err);
        st = st ? st : newick_tail(b, tree, a, open[--n_open], err);
    }
    return st ? st : lathe_buf_text(b, ";\n", err);
}

/* Text for XML and HTML: what is markup is escaped, control characters become blanks. */
static lathe_status add_escaped(lathe_buf *b, const char *text, lathe_error *err) {
    lathe_status st = LATHE_OK;
    for (const char *p = text; *p && !st; p++) {
        const char *word = *p == '<'   ? "&lt;"
                           : *p == '>' ? "&gt;"
                           : *p == '&' ? "&amp;"
                           : *p == '"' ? "&quot;"
                                       : NULL;
        if (word != NULL)
            st = lathe_buf_text(b, word, err);
        else
            st = lathe_buf_add(b, (unsigned char) *p < 32 ? " " : p, 1, err);
    }
    return st;
}

static lathe_status write_dot(const lathe_tree *tree, lathe_buf *b, lathe_error *err) {
    lathe_status st = lathe_buf_text(b, "graph tree {\n  node [shape=ellipse];\n", err);
    for (int32_t i = 0; i < tree->n_nodes && !st; i++) {
        st = lathe_buf_printf(b, err, "  n%d [label=\"", (int) i);
        for (const char *p = tree->names[i]; *p && !st; p++) {
            if (*p == '"' || *p == '\\')
                st = lathe_buf_text(b, "\\", err);
            st = st ? st : lathe_buf_add(b, *p == '\n' ? " " : p, 1, err);
        }
        st = st ? st : lathe_buf_text(b, i < tree->n_observed ? "\"];\n" : "\",style=dashed];\n", err);
    }
    for (int32_t e = 0; e < tree->n_edges && !st; e++) {
        const double x = isnan(tree->edges[e].length) ? tree->edges[e].weight : tree->edges[e].length;
        st = lathe_buf_printf(b, err, "  n%d -- n%d", (int) tree->edges[e].u, (int) tree->edges[e].v);
        if (!st && isfinite(x))
            st = lathe_buf_printf(b, err, " [label=\"%.3g\"]", x);
        st = st ? st : lathe_buf_text(b, ";\n", err);
    }
    return st ? st : lathe_buf_text(b, "}\n", err);
}

static lathe_status write_graphml(const lathe_tree *tree, lathe_buf *b, lathe_error *err) {
    static const char *const keys[] = {"weight", "length", "support", "margin", "confidence"};
    lathe_status st =
        lathe_buf_text(b,
                       "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                       "<graphml xmlns=\"http://graphml.graphdrawing.org/xmlns\">\n"
                       "<key id=\"name\" for=\"node\" attr.name=\"name\" attr.type=\"string\"/>\n"
                       "<key id=\"observed\" for=\"node\" attr.name=\"observed\" attr.type=\"boolean\"/>\n",
                       err);
    for (size_t k = 0; k < LATHE_LEN(keys) && !st; k++)
        st = lathe_buf_printf(b, err, "<key id=\"%s\" for=\"edge\" attr.name=\"%s\" attr.type=\"double\"/>\n",
                              keys[k], keys[k]);
    st = st ? st : lathe_buf_text(b, "<graph edgedefault=\"undirected\">\n", err);
    for (int32_t i = 0; i < tree->n_nodes && !st; i++) {
        st = lathe_buf_printf(b, err, "<node id=\"n%d\"><data key=\"name\">", (int) i);
        st = st ? st : add_escaped(b, tree->names[i], err);
        st = st ? st
                : lathe_buf_printf(b, err, "</data><data key=\"observed\">%s</data></node>\n",
                                   i < tree->n_observed ? "true" : "false");
    }
    for (int32_t e = 0; e < tree->n_edges && !st; e++) {
        const lathe_tree_edge *x = &tree->edges[e];
        const double values[] = {x->weight, x->length, x->support, x->margin, x->confidence};
        st = lathe_buf_printf(b, err, "<edge source=\"n%d\" target=\"n%d\">", (int) x->u, (int) x->v);
        for (size_t k = 0; k < LATHE_LEN(keys) && !st; k++)
            if (isfinite(values[k])) {
                st = lathe_buf_printf(b, err, "<data key=\"%s\">", keys[k]);
                st = st ? st : add_number(b, values[k], err);
                st = st ? st : lathe_buf_text(b, "</data>", err);
            }
        st = st ? st : lathe_buf_text(b, "</edge>\n", err);
    }
    return st ? st : lathe_buf_text(b, "</graph>\n</graphml>\n", err);
}

static lathe_status csv_name(lathe_buf *b, const char *name, lathe_error *err) {
    if (strpbrk(name, ",\"\n\r") == NULL)
        return lathe_buf_text(b, name, err);
    lathe_status st = lathe_buf_text(b, "\"", err);
    for (const char *p = name; *p && !st; p++)
        st = lathe_buf_add(b, *p == '"' ? "\"\"" : p, *p == '"' ? 2 : 1, err);
    return st ? st : lathe_buf_text(b, "\"", err);
}

static lathe_status write_edges(const lathe_tree *tree, lathe_buf *b, lathe_error *err) {
    static const char *const kinds[] = {"observed-observed", "observed-hidden", "hidden-hidden"};
    lathe_status st = lathe_buf_text(b, "u,v,weight,length,support,margin,kind\n", err);
    for (int32_t e = 0; e < tree->n_edges && !st; e++) {
        const lathe_tree_edge *x = &tree->edges[e];
        const double values[] = {x->weight, x->length, x->support, x->margin};
        st = csv_name(b, tree->names[x->u], err);
        st = st ? st : lathe_buf_text(b, ",", err);
        st = st ? st : csv_name(b, tree->names[x->v], err);
        for (int k = 0; k < 4 && !st; k++) {
            st = lathe_buf_text(b, ",", err);
            if (!st && isfinite(values[k]))
                st = add_number(b, values[k], err);
        }
        st = st ? st
                : lathe_buf_printf(b, err, ",%s\n",
                                   kinds[(x->u >= tree->n_observed) + (x->v >= tree->n_observed)]);
    }
    return st;
}

static lathe_status write_ascii(const lathe_tree *tree, const layout *a, lathe_buf *b, lathe_error *err) {
    lathe_status st = LATHE_OK;
    for (int32_t k = 0; k < tree->n_nodes && !st; k++) {
        const int32_t u = a->order[k];
        const int32_t depth = a->depth[u] < 200 ? a->depth[u] : 200; /* deeper rows say how deep */
        int32_t n = 0;
        for (int32_t v = u; n < depth; v = a->parent[v])
            a->stack[n++] = v;
        for (int32_t i = n - 1; i > 0 && !st; i--)
            st = lathe_buf_text(b, a->last[a->stack[i]] ? "   " : "|  ", err);
        if (n > 0 && !st)
            st = lathe_buf_text(b, a->last[u] ? "`- " : "+- ", err);
        st = st ? st : lathe_buf_text(b, tree->names[u], err);
        if (!st && a->parent_edge[u] >= 0) {
            const lathe_tree_edge *e = &tree->edges[a->parent_edge[u]];
            const double x = isnan(e->length) ? e->weight : e->length;
            if (isfinite(x))
                st = lathe_buf_printf(b, err, "  (%.4g)", x);
        }
        st = st ? st : lathe_buf_text(b, "\n", err);
    }
    return st;
}

/* --- Drawing ----------------------------------------------------------------------------------------------
 */

static const char style[] =
    "<style>text{font:12px "
    "system-ui,sans-serif;fill:#1b1e23}.v{fill:#667085;font-size:10px}.e{fill:none;stroke:#0072b2}"
    ".o{fill:#0072b2}.h{fill:#fff;stroke:#0072b2;stroke-width:1.5}.bg{fill:#fff}"
    "@media (prefers-color-scheme:dark){text{fill:#e6e8eb}.v{fill:#98a2b3}.e{stroke:#56b4e9}.o{fill:#56b4e9}"
    ".h{fill:#15181d;stroke:#56b4e9}.bg{fill:#15181d}}</style>\n";

/* Two drawings. Trees with observed inner nodes: one row a node, children below their parent and indented, so
 * that no two labels ever share a row. Trees with hidden inner nodes: one row a leaf, place along the row is
 * the distance from the root. Both grow downwards and stay readable at hundreds of nodes. */
static lathe_status write_svg(const lathe_tree *tree, layout *a, lathe_buf *b, lathe_error *err) {
    const double row = 22;
    const bool dendrogram = tree->n_observed < tree->n_nodes;
    double largest = 0, widest = 0, deepest = 0, scale = 0;
    size_t longest = 1;
    for (int32_t e = 0; e < tree->n_edges; e++)
        if (isfinite(tree->edges[e].weight))
            largest = fmax(largest, tree->edges[e].weight);
    double y = 30;
    for (int32_t k = 0; k < tree->n_nodes; k++) {
        const int32_t u = a->order[k];
        const size_t n = strlen(tree->names[u]);
        longest = n > longest ? n : longest;
        const lathe_tree_edge *e = a->parent_edge[u] >= 0 ? &tree->edges[a->parent_edge[u]] : NULL;
        const double length = e == NULL ? 0 : dendrogram && isfinite(e->length) ? fmax(0, e->length) : 1;
        a->x[u] = a->parent[u] < 0 ? 0 : a->x[a->parent[u]] + length;
        widest = fmax(widest, a->x[u]);
        deepest = fmax(deepest, a->depth[u]);
        const int32_t degree = a->adj.start[u + 1] - a->adj.start[u];
        a->y[u] = -1;
        if (!dendrogram || u < tree->n_observed || degree <= (a->parent[u] >= 0)) {
            a->y[u] = y;
            y += row;
        }
    }
    scale = dendrogram ? 620 / fmax(widest, 1e-300) : fmin(56, 2000 / fmax(deepest, 1));
    for (int32_t k = tree->n_nodes - 1; k >= 0; k--) { /* hidden inner nodes: the middle of their children */
        const int32_t u = a->order[k];
        if (a->y[u] >= 0)
            continue;
        double low = INFINITY, high = -INFINITY;
        for (int32_t q = a->adj.start[u]; q < a->adj.start[u + 1]; q++)
            if (a->adj.to[q] != a->parent[u]) {
                low = fmin(low, a->y[a->adj.to[q]]);
                high = fmax(high, a->y[a->adj.to[q]]);
            }
        a->y[u] = 0.5 * (low + high);
    }
    const double width = 40 + widest * scale + 90 + 7.5 * (double) (longest < 80 ? longest : 80),
                 height = y + 10;
    lathe_status st = lathe_buf_printf(
        b, err,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" height=\"%.0f\" "
        "role=\"img\"><title>Tree of %d observed and %d hidden nodes</title>\n",
        width, height, width, height, (int) tree->n_observed, (int) (tree->n_nodes - tree->n_observed));
    st = st ? st : lathe_buf_text(b, style, err);
    st =
        st ? st
           : lathe_buf_printf(b, err, "<rect class=\"bg\" width=\"%.0f\" height=\"%.0f\"/>\n", width, height);
    for (int32_t k = 0; k < tree->n_nodes && !st; k++) {
        const int32_t u = a->order[k], p = a->parent[u];
        if (p < 0)
            continue;
        const lathe_tree_edge *e = &tree->edges[a->parent_edge[u]];
        const double thick = isfinite(e->weight) && largest > 0 ? 1 + 4 * fmax(0, e->weight) / largest : 1.5;
        const double opacity = isfinite(e->support) ? 0.25 + 0.75 * fmin(1, fmax(0, e->support)) : 1;
        st = lathe_buf_printf(
            b, err, "<path class=\"e\" stroke-width=\"%.2f\" opacity=\"%.2f\" d=\"M%.1f %.1fV%.1fH%.1f\"/>\n",
            thick, opacity, 20 + a->x[p] * scale, a->y[p], a->y[u], 20 + a->x[u] * scale);
    }
    for (int32_t k = 0; k < tree->n_nodes && !st; k++) {
        const int32_t u = a->order[k];
        const bool observed = u < tree->n_observed;
        const double x = 20 + a->x[u] * scale;
        st = lathe_buf_printf(b, err, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"%s\"><title>",
                              observed ? "o" : "h", x, a->y[u], observed ? "4" : "3.5");
        st = st ? st : add_escaped(b, tree->names[u], err);
        st = st ? st : lathe_buf_text(b, "</title></circle>\n", err);
        if (st || !observed)
            continue;
        st = lathe_buf_printf(b, err, "<text x=\"%.1f\" y=\"%.1f\">", x + 8, a->y[u] + 4);
        st = st ? st : add_escaped(b, tree->names[u], err);
        const lathe_tree_edge *e = a->parent_edge[u] >= 0 ? &tree->edges[a->parent_edge[u]] : NULL;
        const double value = e == NULL ? NAN : isnan(e->length) ? e->weight : e->length;
        if (!st && isfinite(value))
            st = lathe_buf_printf(b, err, " <tspan class=\"v\">%.3g</tspan>", value);
        if (!st && e != NULL && isfinite(e->support))
            st = lathe_buf_printf(b, err, " <tspan class=\"v\">%.0f%%</tspan>", 100 * e->support);
        st = st ? st : lathe_buf_text(b, "</text>\n", err);
    }
    return st ? st : lathe_buf_text(b, "</svg>\n", err);
}

static lathe_status write_html(const lathe_tree *tree, layout *a, lathe_buf *b, lathe_error *err) {
    lathe_status st = lathe_buf_printf(
        b, err,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/><title>tree - lathe</title>"
        "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"/>"
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
        "'unsafe-inline'\"/>"
        "<style>:root{color-scheme:light dark;--bg:#fff;--fg:#1b1e23}"
        "@media (prefers-color-scheme:dark){:root{--bg:#15181d;--fg:#e6e8eb}}"
        "body{background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif;margin:1.5rem}"
        "pre{white-space:pre-wrap;overflow-wrap:anywhere}</style></head><body>\n"
        "<h1>Tree of %d observed and %d hidden nodes</h1>\n<p>%d edges. Filled: observed; hollow: hidden. "
        "Thicker: more "
        "information; paler: less support. The number beside a name is its edge's length or weight.</p>\n",
        (int) tree->n_observed, (int) (tree->n_nodes - tree->n_observed), (int) tree->n_edges);
    st = st ? st : write_svg(tree, a, b, err);
    st = st ? st : lathe_buf_text(b, "<details><summary>Newick</summary><pre>", err);
    lathe_buf newick;
    lathe_buf_init(&newick, (size_t) 1 << 30);
    st = st ? st : write_newick(tree, a, &newick, err);
    st = st ? st : add_escaped(b, newick.data, err);
    lathe_buf_free(&newick);
    return st ? st : lathe_buf_text(b, "</pre></details>\n</body></html>\n", err);
}

lathe_status lathe_tree_text(const lathe_tree *tree, lathe_tree_format format, int32_t root, char **text,
                             size_t *n_bytes, lathe_error *err) {
    layout a;
    lathe_status st = layout_new(tree, root, &a, err);
    if (st)
        return st;
    lathe_buf b;
    lathe_buf_init(&b, (size_t) 1 << 31);
    switch (format) {
    case LATHE_TREE_NEWICK:
        st = write_newick(tree, &a, &b, err);
        break;
    case LATHE_TREE_DOT:
        st = write_dot(tree, &b, err);
        break;
    case LATHE_TREE_GRAPHML:
        st = write_graphml(tree, &b, err);
        break;
    case LATHE_TREE_EDGES:
        st = write_edges(tree, &b, err);
        break;
    case LATHE_TREE_SVG:
        st = write_svg(tree, &a, &b, err);
        break;
    case LATHE_TREE_HTML:
        st = write_html(tree, &a, &b, err);
        break;
    case LATHE_TREE_ASCII:
        st = write_ascii(tree, &a, &b, err);
        break;
    default:
        st = lathe_fail(err, LATHE_ERR_ARG, "no tree format %d", (int) format);
    }
    if (!st) {
        *text = lathe_buf_take(&b, n_bytes);
        st = *text ? LATHE_OK : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the text of a tree");
    }
    lathe_buf_free(&b);
    layout_free(&a);
    return st;
}
