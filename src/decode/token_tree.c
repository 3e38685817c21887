/* token_tree.c - building and reading token trees. */
#include "decode/token_tree.h"

#include <stdlib.h>
#include <string.h>

lathe_status lathe_token_tree_init(lathe_token_tree *tree, int32_t capacity, int32_t n_vocab,
                                   lathe_error *err) {
    *tree = (lathe_token_tree){.capacity = capacity, .n_vocab = n_vocab};
    if (capacity < 1 || capacity > LATHE_TREE_NODES_MAX || n_vocab < 1)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "a token tree of %d nodes over %d ids; 1 to %d nodes, at least one id",
                          (int) capacity, (int) n_vocab, (int) LATHE_TREE_NODES_MAX);
    const size_t n = (size_t) capacity;
    tree->token = calloc(n, sizeof *tree->token);
    tree->parent = calloc(n, sizeof *tree->parent);
    tree->depth = calloc(n, sizeof *tree->depth);
    tree->kind = calloc(n, sizeof *tree->kind);
    tree->prob = calloc(n, sizeof *tree->prob);
    tree->law = calloc(n, sizeof *tree->law);
    if (!tree->token || !tree->parent || !tree->depth || !tree->kind || !tree->prob || !tree->law) {
        lathe_token_tree_free(tree);
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a token tree of %d nodes", (int) capacity);
    }
    return LATHE_OK;
}

void lathe_token_tree_free(lathe_token_tree *tree) {
    free(tree->token);
    free(tree->parent);
    free(tree->depth);
    free(tree->kind);
    free(tree->prob);
    free(tree->law);
    free(tree->laws);
    *tree = (lathe_token_tree){0};
}

void lathe_token_tree_start(lathe_token_tree *tree, int32_t pending) {
    tree->n_nodes = 1;
    tree->n_laws = 0;
    tree->token[0] = pending;
    tree->parent[0] = -1;
    tree->depth[0] = 0;
    tree->kind[0] = 0;
    tree->prob[0] = 1.0f;
    tree->law[0] = -1;
}

static int32_t add_node(lathe_token_tree *tree, int32_t parent, int32_t token) {
    if (tree->n_nodes < 1 || tree->n_nodes >= tree->capacity || parent < 0 || parent >= tree->n_nodes)
        return -1;
    if (token < 0 || token >= tree->n_vocab || tree->depth[parent] >= LATHE_DRAFT_DEPTH_MAX)
        return -1;
    const int32_t i = tree->n_nodes++;
    tree->token[i] = token;
    tree->parent[i] = parent;
    tree->depth[i] = tree->depth[parent] + 1;
    return i;
}

int32_t lathe_token_tree_add(lathe_token_tree *tree, int32_t parent, int32_t token, double prob) {
    if (parent >= 0 && parent < tree->n_nodes && lathe_token_tree_child(tree, parent, token) >= 0)
        return -1;
    const int32_t i = add_node(tree, parent, token);
    if (i < 0)
        return -1;
    tree->kind[i] = LATHE_LAW_POINT;
    tree->prob[i] = (float) prob;
    tree->law[i] = -1;
    return i;
}

int32_t lathe_token_tree_add_sampled(lathe_token_tree *tree, int32_t parent, int32_t token, int32_t law) {
    if (law < 0 || law >= tree->n_laws)
        return -1;
    const int32_t i = add_node(tree, parent, token);
    if (i < 0)
        return -1;
    tree->kind[i] = LATHE_LAW_SAMPLED;
    tree->law[i] = law;
    tree->prob[i] = (float) tree->laws[(size_t) law * (size_t) tree->n_vocab + (size_t) token];
    return i;
}

int32_t lathe_token_tree_add_law(lathe_token_tree *tree, const double *q) {
    const size_t row = (size_t) tree->n_vocab;
    if (tree->n_laws == tree->laws_capacity) {
        const int32_t more = tree->laws_capacity ? 2 * tree->laws_capacity : 4;
        size_t n, bytes;
        if (!lathe_size_mul((size_t) more, row, &n) || !lathe_size_mul(n, sizeof(double), &bytes))
            return -1;
        double *grown = realloc(tree->laws, bytes);
        if (!grown)
            return -1;
        tree->laws = grown;
        tree->laws_capacity = more;
    }
    memcpy(tree->laws + (size_t) tree->n_laws * row, q, row * sizeof *q);
    return tree->n_laws++;
}

int32_t lathe_token_tree_child(const lathe_token_tree *tree, int32_t node, int32_t token) {
    for (int32_t i = node + 1; i < tree->n_nodes; i++)
        if (tree->parent[i] == node && tree->token[i] == token)
            return i;
    return -1;
}

bool lathe_token_tree_is_chain(const lathe_token_tree *tree) {
    for (int32_t i = 1; i < tree->n_nodes; i++)
        if (tree->parent[i] != i - 1)
            return false;
    return true;
}

int32_t lathe_token_tree_depth(const lathe_token_tree *tree) {
    int32_t depth = 0;
    for (int32_t i = 1; i < tree->n_nodes; i++)
        if (tree->depth[i] > depth)
            depth = tree->depth[i];
    return depth;
}

void lathe_token_tree_mask(const lathe_token_tree *tree, uint64_t *mask, int32_t n_words) {
    memset(mask, 0, (size_t) tree->n_nodes * (size_t) n_words * sizeof *mask);
    for (int32_t i = 0; i < tree->n_nodes; i++) {
        uint64_t *row = mask + (size_t) i * (size_t) n_words;
        if (i > 0)
            memcpy(row, mask + (size_t) tree->parent[i] * (size_t) n_words, (size_t) n_words * sizeof *row);
        row[i / 64] |= 1ull << (i % 64);
    }
}

void lathe_token_tree_select(lathe_token_tree *tree, const uint8_t *keep) {
    int32_t to[LATHE_TREE_NODES_MAX];
    int32_t n = tree->n_nodes > 0 ? 1 : 0;
    to[0] = 0;
    for (int32_t i = 1; i < tree->n_nodes; i++) {
        to[i] = -1;
        if (!keep[i] || to[tree->parent[i]] < 0)
            continue;
        to[i] = n;
        tree->token[n] = tree->token[i];
        tree->parent[n] = to[tree->parent[i]];
        tree->depth[n] = tree->depth[i];
        tree->kind[n] = tree->kind[i];
        tree->prob[n] = tree->prob[i];
        tree->law[n] = tree->law[i];
        n++;
    }
    tree->n_nodes = n;
}

void lathe_token_tree_cut(lathe_token_tree *tree, int32_t n_max, int32_t depth) {
    uint8_t keep[LATHE_TREE_NODES_MAX] = {1};
    for (int32_t i = 1, n = 1; i < tree->n_nodes; i++) {
        keep[i] = n <= n_max && tree->depth[i] <= depth && keep[tree->parent[i]];
        n += keep[i];
    }
    lathe_token_tree_select(tree, keep);
}

void lathe_token_tree_rerank(const double *value, const int32_t *depth, int32_t n, int32_t n_keep,
                             uint8_t *keep) {
    memset(keep, 0, (size_t) n);
    if (n > 0)
        keep[0] = 1;
    for (int32_t k = 0; k < n_keep; k++) {
        int32_t best = -1;
        for (int32_t i = 1; i < n; i++)
            if (!keep[i] &&
                (best < 0 || value[i] > value[best] || (value[i] == value[best] && depth[i] < depth[best])))
                best = i;
        if (best < 0)
            return;
        keep[best] = 1;
    }
}
