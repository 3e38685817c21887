/* newick.c - the Newick reader. One pass, an explicit stack: a caterpillar of any depth is fine. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/csv.h"
#include "tree/tree.h"

typedef struct item {
    char *name; /* NULL: none */
    double length, support;
    int32_t parent;
    bool leaf, quoted;
} item;

typedef struct parser {
    const char *p, *end, *begin;
    item *items;
    int32_t n_items, capacity;
    lathe_error *err;
} parser;

static lathe_status bad(parser *s, const char *what) {
    return lathe_fail(s->err, LATHE_ERR_INPUT, "Newick, character %lld: %s",
                      (long long) (s->p - s->begin) + 1, what);
}

static lathe_status skip(parser *s) {
    while (s->p < s->end &&
           (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r' || *s->p == '[')) {
        if (*s->p == '[') {
            while (s->p < s->end && *s->p != ']')
                s->p++;
            if (s->p == s->end)
                return bad(s, "a comment is never closed");
        }
        s->p++;
    }
    return LATHE_OK;
}

static lathe_status new_item(parser *s, int32_t parent, int32_t *index) {
    if (s->n_items == s->capacity) {
        const int32_t capacity = s->capacity ? 2 * s->capacity : 64;
        item *items = capacity < (1 << 29) ? realloc(s->items, (size_t) capacity * sizeof *items) : NULL;
        if (items == NULL)
            return lathe_fail(s->err, LATHE_ERR_MEMORY, "Newick: no memory for %d nodes", (int) capacity);
        s->items = items;
        s->capacity = capacity;
    }
    s->items[s->n_items] = (item){.length = NAN, .support = NAN, .parent = parent, .leaf = true};
    *index = s->n_items++;
    return LATHE_OK;
}

/* The label and length behind a node. */
static lathe_status take_label(parser *s, item *it) {
    lathe_status st = skip(s);
    if (st)
        return st;
    if (s->p < s->end && (*s->p == '\'' || strchr("():;,[]", *s->p) == NULL)) {
        const bool quoted = *s->p == '\'';
        const char *from = s->p;
        char *name = malloc((size_t) (s->end - s->p) < 65536 ? (size_t) (s->end - s->p) + 1 : 65537);
        size_t n = 0;
        if (name == NULL)
            return lathe_fail(s->err, LATHE_ERR_MEMORY, "Newick: no memory");
        for (s->p += quoted; s->p < s->end && n < 65536; s->p++) {
            if (quoted && *s->p == '\'') {
                if (s->p + 1 < s->end && s->p[1] == '\'')
                    s->p++;
                else
                    break;
            } else if (!quoted && strchr("():;,[]' \t\r\n", *s->p) != NULL) {
                break;
            }
            name[n++] = *s->p;
        }
        name[n] = 0;
        if (n == 65536 || (quoted && s->p == s->end) || (!quoted && n == 0)) {
            free(name);
            s->p = from;
            return bad(s, "a name is too long, empty or its quote never closed");
        }
        s->p += quoted;
        const char *end;
        double number;
        if (!it->leaf && !quoted && lathe_scan_real(name, &end, &number) && *end == 0) {
            it->support = number;
            free(name);
        } else {
            char *fit = realloc(name, n + 1);
            it->name = fit != NULL ? fit : name;
            it->quoted = quoted;
        }
    }
    st = skip(s);
    if (st || s->p == s->end || *s->p != ':')
        return st;
    s->p++;
    st = skip(s);
    if (st)
        return st;
    const char *end;
    if (s->p == s->end || !lathe_scan_real(s->p, &end, &it->length))
        return bad(s, "no number after ':'");
    s->p = end;
    return skip(s);
}

static lathe_status parse(parser *s) {
    int32_t at = 0, fresh = 0;
    lathe_status st = new_item(s, -1, &at);
    if (!st)
        st = skip(s);
    while (!st && s->p < s->end) {
        /* at a place where a subtree begins */
        if (*s->p == '(') {
            s->p++;
            s->items[at].leaf = false;
            st = new_item(s, at, &fresh);
            at = fresh;
            st = st ? st : skip(s);
            continue;
        }
        st = take_label(s, &s->items[at]);
        /* close what closes here */
        while (!st && s->p < s->end && *s->p == ')') {
            at = s->items[at].parent;
            if (at < 0)
                return bad(s, "a ')' without its '('");
            s->p++;
            st = take_label(s, &s->items[at]);
        }
        if (st)
            return st;
        if (s->p == s->end || *s->p == ';') {
            if (s->items[at].parent >= 0)
                return bad(s, "a '(' is never closed");
            if (s->p == s->end)
                return bad(s, "no ';' at the end");
            return LATHE_OK;
        }
        if (*s->p != ',')
            return bad(s, "expected ',', ')' or ';'");
        if (s->items[at].parent < 0)
            return bad(s, "a ',' outside of parentheses");
        s->p++;
        st = new_item(s, s->items[at].parent, &fresh);
        at = fresh;
        st = st ? st : skip(s);
    }
    return st ? st : bad(s, "no ';' at the end");
}

bool lathe_is_hidden_name(const char *name) {
    if (strncmp(name, "_h", 2) != 0 || name[2] == 0)
        return false;
    for (const char *p = name + 2; *p; p++)
        if (*p < '0' || *p > '9')
            return false;
    return true;
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *) a, *(char *const *) b);
}

static lathe_status build(parser *s, lathe_tree *tree) {
    const int32_t n = s->n_items;
    int32_t *place = calloc((size_t) n, sizeof *place), *degree = calloc((size_t) n, sizeof *degree);
    char **names = malloc(2 * (size_t) n * sizeof *names);
    lathe_status st = LATHE_OK;
    int32_t n_observed = 0, n_hidden = 0;
    if (place == NULL || degree == NULL || names == NULL) {
        st = lathe_fail(s->err, LATHE_ERR_MEMORY, "Newick: no memory");
        goto done;
    }
    for (int32_t i = 1; i < n; i++) {
        degree[i]++;
        degree[s->items[i].parent]++;
    }
    for (int32_t i = 0; i < n; i++) {
        item *it = &s->items[i];
        if (it->leaf && it->name == NULL) {
            st = lathe_fail(s->err, LATHE_ERR_INPUT, "Newick: a leaf without a name");
            goto done;
        }
        if (it->name != NULL && (it->leaf || it->quoted || !lathe_is_hidden_name(it->name))) {
            names[n_observed] = it->name;
            place[i] = n_observed++;
        } else {
            place[i] = -1;
        }
    }
    memcpy(names + n, names, (size_t) n_observed * sizeof *names);
    qsort(names + n, (size_t) n_observed, sizeof *names, by_name);
    for (int32_t i = 1; i < n_observed; i++)
        if (strcmp(names[n + i], names[n + i - 1]) == 0) {
            st = lathe_fail(s->err, LATHE_ERR_INPUT, "Newick: the name '%.60s' comes twice", names[n + i]);
            goto done;
        }
    /* unnamed roots with one child are nothing; with two children one is a point on an edge: it goes */
    int32_t root = 0;
    while (place[root] < 0 && degree[root] - (root > 0) == 1)
        root++; /* the only child comes next */
    const bool drop_root = place[root] < 0 && degree[root] - (root > 0) == 2;
    for (int32_t i = drop_root ? root + 1 : root; i < n; i++)
        if (place[i] < 0)
            place[i] = n_observed + n_hidden++;
    st = lathe_tree_new(n_observed + n_hidden, n_observed, names, tree, s->err);
    int32_t half = -1;
    for (int32_t i = root + 1; i < n && !st; i++) {
        const item *it = &s->items[i];
        if (drop_root && it->parent == root) {
            if (half < 0) {
                half = i;
                continue;
            }
            const double a = s->items[half].length;
            lathe_tree_add(tree, place[half], place[i], NAN,
                           isnan(a)            ? it->length
                           : isnan(it->length) ? a
                                               : a + it->length);
            tree->edges[tree->n_edges - 1].support =
                isnan(it->support) ? s->items[half].support : it->support;
            continue;
        }
        lathe_tree_add(tree, place[it->parent], place[i], NAN, it->length);
        tree->edges[tree->n_edges - 1].support = it->support;
    }
done:
    free(place);
    free(degree);
    free(names);
    return st;
}

lathe_status lathe_tree_parse_newick(const char *text, size_t n_bytes, lathe_tree *tree, lathe_error *err) {
    char *copy = malloc(n_bytes + 1); /* numbers are read up to a zero byte */
    if (copy == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "Newick: no memory");
    if (n_bytes)
        memcpy(copy, text, n_bytes);
    copy[n_bytes] = 0;
    parser s = {.p = copy, .begin = copy, .end = copy + strlen(copy), .err = err};
    memset(tree, 0, sizeof *tree);
    lathe_status st = parse(&s);
    if (!st)
        st = build(&s, tree);
    for (int32_t i = 0; i < s.n_items; i++)
        free(s.items[i].name);
    free(s.items);
    free(copy);
    return st;
}
