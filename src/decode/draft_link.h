/* draft_link.h - one more token behind a chain of drafts, from the logits of whatever drafts. */
#ifndef LATHE_DECODE_DRAFT_LINK_H
#define LATHE_DECODE_DRAFT_LINK_H

#include "decode/proposer.h"

/* Adds a child of node `parent` by the request's kind: drawn from the sampler's law, or one token. A single
 * token is the likeliest where the sampler is greedy, else the one that the target would take at this
 * position if its law were this one. *node = -1: the draft ends here.
 * @param logits   [n_vocab of the tree]
 * @param history  [n] committed tokens and drafted ones up to parent: the new token's position is n
 * @param n_committed  committed ones among them
 * @param depth    of the new node, from 1
 * @param law      [n_vocab] scratch */
LATHE_NODISCARD lathe_status lathe_draft_link(const lathe_draft_request *request, const float *logits,
                                              const int32_t *history, int32_t n, int32_t n_committed,
                                              int32_t depth, double *law, lathe_token_tree *tree,
                                              int32_t parent, int32_t *node, lathe_error *err);

#endif
