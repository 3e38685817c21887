/* draft_head.h - which tokens a draft with a trimmed output matrix scores. */
#ifndef LATHE_DECODE_DRAFT_HEAD_H
#define LATHE_DECODE_DRAFT_HEAD_H

#include "lathe/decode.h"

/* The n most frequent of n_vocab tokens, and every token that ends a text, rising.
 * @param vocab   says which tokens end a text; NULL: none does
 * @param counts  n-gram cache of a text (`lathe ngram build`): frequency is how often a token follows its
 *                shortest n-grams, ties to the lowest id. NULL: ids in their order, as the merges of a
 *                byte-pair vocabulary stand by their frequency.
 * @param ids     allocated; free() it */
LATHE_NODISCARD lathe_status lathe_draft_head(const lathe_vocab *vocab, int32_t n_vocab, int32_t n,
                                              const char *counts, int32_t **ids, int32_t *n_ids,
                                              lathe_error *err);

#endif
