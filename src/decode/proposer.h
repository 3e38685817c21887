/* proposer.h - where drafts come from.
 *
 * A proposer follows the committed sequence (sync), drafts behind it into a token tree, and may learn from
 * the rows that the target computed (learn). What it drafts is only a guess: tokens that are no ids end the
 * draft. */
#ifndef LATHE_DECODE_PROPOSER_H
#define LATHE_DECODE_PROPOSER_H

#include "decode/token_tree.h"
#include "lathe/decode.h"

typedef struct lathe_proposer_params {
    int32_t n_vocab;
    int32_t ngram_min, ngram_max;       /* lookup: 1, 3 */
    int32_t match_min;                  /* suffix: shortest match, 2 */
    double match_factor;                /* suffix: drafts per matched token, 1 */
    double p_min;                       /* suffix: least product of shares, 0.1 */
    bool frequency;                     /* suffix: follow the most frequent continuation, not the first */
    const lathe_ngram *dynamic, *fixed; /* ngram: stored levels, borrowed; NULL: none */
    int32_t recycle_k;                  /* recycle: followers kept a token, 8 */
} lathe_proposer_params;

lathe_proposer_params lathe_proposer_params_default(void);

typedef struct lathe_proposer {
    const char *name, *summary;
    int32_t laws;   /* lathe_law bits of its drafts */
    bool trees;     /* may draft more than a chain */
    int32_t length; /* usual length of a draft */
    LATHE_NODISCARD lathe_status (*create)(const lathe_proposer_params *params, void **state,
                                           lathe_error *err);
    /* The committed sequence ids [n], pending token last. It may be shorter than before (rolled back) or
     * differ. */
    LATHE_NODISCARD lathe_status (*sync)(void *state, const int32_t *ids, int32_t n, lathe_error *err);
    /* Adds at most n_max nodes to tree, which holds the pending token. */
    void (*draft)(void *state, int32_t n_max, lathe_token_tree *tree);
    /* Verified rows: after token[i] the target's k most probable ids were top[i][k], in order; NULL: has no
     * use. */
    void (*learn)(void *state, const int32_t *token, const int32_t *top, int32_t n, int32_t k);
    void (*destroy)(void *state);
} lathe_proposer;

extern const lathe_proposer *const lathe_proposers[];
extern const size_t lathe_n_proposers;

LATHE_NODISCARD lathe_status lathe_proposer_find(const char *name, const lathe_proposer **proposer,
                                                 lathe_error *err);

extern const lathe_proposer lathe_proposer_lookup, lathe_proposer_suffix, lathe_proposer_ngram,
    lathe_proposer_mod, lathe_proposer_recycle;

#endif
