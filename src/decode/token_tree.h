/* token_tree.h - drafted tokens: a tree whose root is the pending token, with the law each was drawn from.
 *
 * Node 0 is the pending token (known, not yet in the target's cache); a parent has a smaller index than its
 * children, so index order is an order of computation. A chain is a tree in which every node has one child.
 * Children of a node stand in the order in which they were drawn. */
#ifndef LATHE_DECODE_TOKEN_TREE_H
#define LATHE_DECODE_TOKEN_TREE_H

#include "lathe/base.h"

enum { LATHE_TREE_NODES_MAX = 1024, LATHE_DRAFT_DEPTH_MAX = 256 };

typedef enum lathe_law {
    LATHE_LAW_POINT = 1,   /* chosen by a rule: its law is all mass on the token */
    LATHE_LAW_SAMPLED = 2, /* drawn from a law that is stored */
} lathe_law;

typedef struct lathe_token_tree {
    int32_t n_nodes;  /* root included; 0: empty */
    int32_t capacity; /* root included */
    int32_t n_vocab;
    int32_t *token, *parent, *depth; /* [n_nodes]; parent[0] = -1, depth[0] = 0 */
    uint8_t *kind;                   /* [n_nodes] lathe_law; of the root: unused */
    float *prob;  /* [n_nodes] the proposer's own estimate that the token is right; 0: it has none */
    int32_t *law; /* [n_nodes] row of `laws` that the node was drawn from; -1 for POINT */
    double *laws; /* [n_laws][n_vocab] */
    int32_t n_laws, laws_capacity;
} lathe_token_tree;

LATHE_NODISCARD lathe_status lathe_token_tree_init(lathe_token_tree *tree, int32_t capacity, int32_t n_vocab,
                                                   lathe_error *err);
void lathe_token_tree_free(lathe_token_tree *tree);
/* A tree of the pending token alone. */
void lathe_token_tree_start(lathe_token_tree *tree, int32_t pending);
/* Adds a POINT node; its index, or -1 where the tree is full, too deep, or the token is no id of the
 * vocabulary (a proposer's garbage ends there) or a sibling already has it. */
int32_t lathe_token_tree_add(lathe_token_tree *tree, int32_t parent, int32_t token, double prob);
/* Adds a node drawn from row `law`. Equal siblings are allowed: they are tests of their own. */
int32_t lathe_token_tree_add_sampled(lathe_token_tree *tree, int32_t parent, int32_t token, int32_t law);
/* Copies a law [n_vocab] into the tree; its row, or -1: no memory. */
int32_t lathe_token_tree_add_law(lathe_token_tree *tree, const double *q);
/* The child of node with this token, or -1. */
int32_t lathe_token_tree_child(const lathe_token_tree *tree, int32_t node, int32_t token);
bool lathe_token_tree_is_chain(const lathe_token_tree *tree);
/* Largest depth of a node. */
int32_t lathe_token_tree_depth(const lathe_token_tree *tree);
/* mask[n_nodes][n_words]: bit j of row i is set where j is i or an ancestor of i; n_words = (n_nodes + 63)
 * / 64. */
void lathe_token_tree_mask(const lathe_token_tree *tree, uint64_t *mask, int32_t n_words);
/* Keeps the nodes of depth <= depth among the first n_max drafted ones in index order; laws stay. */
void lathe_token_tree_cut(lathe_token_tree *tree, int32_t n_max, int32_t depth);

/* Keeps the nodes marked in keep [n_nodes]; the root must be among them, and a kept node's parent too. */
void lathe_token_tree_select(lathe_token_tree *tree, const uint8_t *keep);

/* Of candidates in index order (parent before child; node 0 the root with value 1) marks the root and the
 * n_keep others of largest value, ties to the shallower, then to the lower index; a child's value must not
 * pass its parent's, so that what is kept is connected. Source: EAGLE-2 (Li et al. 2024), reranking. */
void lathe_token_tree_rerank(const double *value, const int32_t *depth, int32_t n, int32_t n_keep,
                             uint8_t *keep);

#endif
