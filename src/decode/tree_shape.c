/* tree_shape.c - see tree_shape.h. */
#include "decode/tree_shape.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "lathe/decode.h"

enum { NUMBERS_MAX = 33, FILE_MAX = 1 << 20 };

void lathe_tree_shape_free(lathe_tree_shape *shape) {
    free(shape->parent);
    free(shape->rank);
    *shape = (lathe_tree_shape){0};
}

/* Numbers of "a,b,c"; how many, or -1 where a word is none or there are too many. */
static int32_t numbers(const char *text, double *out) {
    int32_t n = 0;
    while (*text) {
        char word[64];
        const size_t length = strcspn(text, ",");
        if (length >= sizeof word || n == NUMBERS_MAX)
            return -1;
        memcpy(word, text, length);
        word[length] = 0;
        if (!lathe_parse_real(word, &out[n]))
            return -1;
        n++;
        text += length + (text[length] == ',');
    }
    return n;
}

static bool whole(double x, double low, double high) {
    return x >= low && x <= high && x == (double) (int64_t) x;
}

static lathe_status allocate(lathe_tree_shape *shape, int32_t n_nodes, lathe_error *err) {
    shape->kind = LATHE_SHAPE_FIXED;
    shape->n_nodes = n_nodes - 1;
    shape->parent = calloc((size_t) n_nodes, sizeof *shape->parent);
    shape->rank = calloc((size_t) n_nodes, sizeof *shape->rank);
    return shape->parent && shape->rank ? LATHE_OK
                                        : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a draft tree");
}

static lathe_status sequoia(const char *text, lathe_tree_shape *shape, lathe_error *err) {
    static const double usual[] = {.55, .15, .08, .05, .03, .02, .015, .01};
    double x[NUMBERS_MAX];
    const int32_t n = numbers(text, x);
    if (n < 1 || !whole(x[0], 2, LATHE_TREE_NODES_MAX))
        return lathe_fail(err, LATHE_ERR_ARG,
                          "tree 'sequoia:%.40s'; want sequoia:N or sequoia:N,r1,r2,... with N nodes, 2 to %d",
                          text, (int) LATHE_TREE_NODES_MAX);
    lathe_status status = allocate(shape, (int32_t) x[0], err);
    if (!status)
        status = lathe_sequoia_tree(n > 1 ? x + 1 : usual, n > 1 ? n - 1 : (int32_t) LATHE_LEN(usual),
                                    (int32_t) x[0], 0, shape->parent, shape->rank, NULL, err);
    return status;
}

static lathe_status eagle2(const char *text, lathe_tree_shape *shape, lathe_error *err) {
    double x[NUMBERS_MAX] = {60, 7, 10};
    const int32_t n = numbers(text, x);
    if (n < 0 || n > 3 || !whole(x[0], 1, LATHE_TREE_NODES_MAX - 1) || !whole(x[1], 1, 32) ||
        !whole(x[2], 1, 32))
        return lathe_fail(
            err, LATHE_ERR_ARG,
            "tree 'eagle2:%.40s'; want eagle2:N,D,K: 1 to %d nodes, 1 to 32 layers, 1 to 32 nodes "
            "grown a layer",
            text, (int) LATHE_TREE_NODES_MAX - 1);
    *shape = (lathe_tree_shape){.kind = LATHE_SHAPE_EAGLE2,
                                .n_nodes = (int32_t) x[0],
                                .depth = (int32_t) x[1],
                                .width = (int32_t) x[2]};
    return LATHE_OK;
}

static lathe_status beam(const char *text, lathe_tree_shape *shape, lathe_error *err) {
    const lathe_status status = lathe_beam_parse(text, &shape->beam, err);
    shape->kind = LATHE_SHAPE_BEAM;
    shape->n_nodes = shape->beam.n_nodes;
    return status;
}

static lathe_status from_list(const json_t *list, const char *path, lathe_tree_shape *shape,
                              lathe_error *err) {
    const size_t n = json_array_size(list);
    if (!json_is_array(list) || n < 2 || n > LATHE_TREE_NODES_MAX)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: want a list of 2 to %d parents, -1 for the root", path,
                          (int) LATHE_TREE_NODES_MAX);
    const lathe_status status = allocate(shape, (int32_t) n, err);
    if (status)
        return status;
    int32_t children[LATHE_TREE_NODES_MAX] = {0};
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_array_get(list, i);
        const json_int_t parent = json_is_integer(value) ? json_integer_value(value) : -2;
        if ((i == 0 && parent != -1) || (i > 0 && (parent < 0 || parent >= (json_int_t) i)))
            return lathe_fail(err, LATHE_ERR_INPUT,
                              "%s: entry %zu is no parent; the root's is -1, others name an earlier node",
                              path, i);
        shape->parent[i] = (int32_t) parent;
        if (i > 0)
            shape->rank[i] = children[parent]++;
    }
    return LATHE_OK;
}

static lathe_status from_file(const char *path, lathe_tree_shape *shape, lathe_error *err) {
    json_t *list = NULL;
    lathe_status status = lathe_json_read(path, FILE_MAX, &list, err);
    if (!status)
        status = from_list(json_is_object(list) ? json_object_get(list, "parents") : list, path, shape, err);
    json_decref(list);
    return status;
}

lathe_status lathe_tree_shape_parse(const char *text, lathe_tree_shape *shape, lathe_error *err) {
    lathe_status status = LATHE_OK;
    *shape = (lathe_tree_shape){0};
    if (!text || strcmp(text, "chain") == 0)
        return LATHE_OK;
    if (strncmp(text, "sequoia:", 8) == 0)
        status = sequoia(text + 8, shape, err);
    else if (strcmp(text, "eagle2") == 0)
        status = eagle2("", shape, err);
    else if (strncmp(text, "eagle2:", 7) == 0)
        status = eagle2(text + 7, shape, err);
    else if (strncmp(text, "beam:", 5) == 0)
        status = beam(text, shape, err);
    else if (strncmp(text, "static:", 7) == 0 && text[7])
        status = from_file(text + 7, shape, err);
    else
        status = lathe_fail(
            err, LATHE_ERR_ARG,
            "no tree '%.60s'; there are chain, static:FILE, sequoia:N, eagle2:N,D,K and beam:W1,W2,...",
            text);
    if (status)
        lathe_tree_shape_free(shape);
    return status;
}
