/* proposer.h - where drafts come from.
 *
 * A proposer follows the committed sequence (sync), drafts behind it into a token tree, and may learn from
 * the rows that the target computed (learn). What it drafts is only a guess: tokens that are no ids end the
 * draft. */
#ifndef LATHE_DECODE_PROPOSER_H
#define LATHE_DECODE_PROPOSER_H

#include "decode/chance.h"
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
    /* For proposers that draft with a model, or look into the target: */
    const char *file; /* what stands behind the colon of the name; NULL: nothing */
    const lathe_model *target;
    lathe_context *context; /* the target's, sequence `seq` of it; NULL: none */
    int32_t seq;
    int32_t n_seq;      /* sequences that draft with one model; 0: one */
    int32_t n_ctx;      /* positions of a sequence; 0: the context's */
    const void *share;  /* state of the same proposer for another sequence, to share its model; NULL: none */
    int32_t draft_head; /* a draft scores so many of its most frequent tokens; 0: all */
    const char *draft_counts; /* n-gram cache that says which; NULL: the first ids */
    bool exact;               /* the session's rows are exact, so a draft's must be too */
    const char *tree;         /* shape of drafts: chain, eagle2:N,D,K, beam:W,..., sequoia:N, static:FILE */
    const char *cache_dir;    /* folder of what is kept between runs; NULL: nothing is kept */
    lathe_logger logger;
    /* std: rows of the sparse cache, queries that choose them, the positions they are chosen from (both 0:
     * all but the last std_queries of the text), and the rule (lathe_long_params) */
    int32_t std_budget, std_queries, span_begin, span_end, std_rule;
} lathe_proposer_params;

lathe_proposer_params lathe_proposer_params_default(void);

/* What a slow proposer is asked. */
typedef struct lathe_draft_request {
    int32_t n_max; /* most nodes to add */
    int32_t law;   /* lathe_law of the nodes wanted; where SAMPLED each is drawn by purpose 1 */
    bool replace;  /* SAMPLED trees: children with replacement (wr), else without (wor) */
    bool gumbel;   /* tokens by the Gumbel noise of their positions (coupled) */
    const lathe_chance
        *chance;            /* how drawn tokens are drawn; seed and length are filled in by the proposer */
    lathe_sampler *sampler; /* the chain that the draft's laws go through; its seed is the session's */
    /* Asked before a step of depth `depth` (from 1) keeps its best token, whose probability (of SAMPLED
     * drafts: the largest of the law, never that of the token drawn) is prob; false ends the draft there.
     * NULL: always. */
    bool (*more)(void *user, int32_t depth, double prob);
    void *user;
} lathe_draft_request;

/* A draft behind a text, of one of several sequences. */
typedef struct lathe_draft_job {
    void *state;
    const int32_t *ids;
    int32_t n_ids;
    const lathe_draft_request *request;
    lathe_token_tree *tree; /* holds the pending token */
} lathe_draft_job;

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
    /* Slow proposers: drafting costs time of the kind that a target step does, so it is asked for only where
     * its arm was chosen, and its cost is measured. They have propose instead of draft. Between sync and
     * propose the committed text is that of sync. An error ends the generation; what only makes drafting
     * impossible is no error: the tree stays empty. */
    bool slow, takes_file;
    LATHE_NODISCARD lathe_status (*propose)(void *state, const lathe_draft_request *request,
                                            lathe_token_tree *tree, lathe_error *err);
    /* sync and propose for the states of several sequences that share a model (params.share), together; NULL:
     * one after another. */
    LATHE_NODISCARD lathe_status (*propose_many)(const lathe_draft_job *jobs, int32_t n, lathe_error *err);
    /* Tokens that sync would have to read before a draft behind n tokens (a prompt, above all). */
    int32_t (*behind)(void *state, int32_t n);
    int64_t (*bytes)(void *state); /* memory of its own cache; NULL: none */
    /* Measures, before the first draft, seconds of a drafted token and of a token that is only read; NULL:
     * unknown */
    void (*measure)(void *state, double *step_s, double *read_s);
    /* An answer is complete: its n tokens, without the prompt; NULL: has no use. */
    void (*finish)(void *state, const int32_t *answer, int32_t n);
} lathe_proposer;

extern const lathe_proposer *const lathe_proposers[];
extern const size_t lathe_n_proposers;

/* By name; "draft:FILE" finds "draft" and sets *file (may be NULL) to what stands behind the colon. ARG lists
 * the names. */
LATHE_NODISCARD lathe_status lathe_proposer_find(const char *name, const lathe_proposer **proposer,
                                                 const char **file, lathe_error *err);

extern const lathe_proposer lathe_proposer_lookup, lathe_proposer_suffix, lathe_proposer_ngram,
    lathe_proposer_mod, lathe_proposer_recycle, lathe_proposer_draft, lathe_proposer_std,
    lathe_proposer_longspec;
/* Share of the attention that std's sparse cache keeps, mean over layers; NaN before a choice. */
double lathe_std_kept_mass(const void *state);

#endif
