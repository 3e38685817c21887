/* verifier.h - which drafted tokens are kept, and which token follows them.
 *
 * A verifier gets the tree, and for every node the target's law of the next token; it walks from the root and
 * always emits at least one token. Lossless ones leave the law of the text as plain decoding has it. */
#ifndef LATHE_DECODE_VERIFIER_H
#define LATHE_DECODE_VERIFIER_H

#include "decode/chance.h"
#include "decode/token_tree.h"

typedef struct lathe_verify_options {
    double cool_delta;   /* mean factor on the acceptance ratio, >= 1 */
    double cool_nu;      /* decay by position in the round */
    int32_t cool_mode;   /* lathe_cool_mode */
    int32_t cool_length; /* drafts a round, over which the mean is taken; 0: the depth of the tree */
    double typical_epsilon, typical_delta;
    double lantern_delta; /* probability that neighbours may lend */
    const int32_t
        *neighbours; /* [n_vocab][n_neighbours] nearest ids first, without the id itself; NULL: none */
    int32_t n_neighbours;
    bool lantern_optimal; /* resample from Norm([P - Q f]_+) instead of zeroing the neighbourhood */
} lathe_verify_options;

typedef enum lathe_cool_mode {
    LATHE_COOL_EXCESS,
    LATHE_COOL_MEAN,
    LATHE_COOL_UNIFORM,
    LATHE_COOL_LINEAR,
    LATHE_COOL_REVERSE
} lathe_cool_mode;

lathe_verify_options lathe_verify_options_default(void);

typedef struct lathe_verdict {
    int32_t n_accepted;
    int32_t path[LATHE_DRAFT_DEPTH_MAX];        /* [n_accepted] nodes, root excluded */
    int32_t emitted[LATHE_DRAFT_DEPTH_MAX + 1]; /* [n_emitted] the tokens of path and the one after them */
    int32_t n_emitted;
    double tv_budget; /* one-step total-variation errors of the visited positions, summed; 0 where lossless */
} lathe_verdict;

typedef struct lathe_verifier {
    const char *name, *summary;
    int32_t laws; /* lathe_law bits that it can test */
    bool trees;   /* else chains only */
    bool lossless;
    bool same_text; /* with equal seeds the text is that of plain decoding */
    /* p [n_nodes][n_vocab]: law after node i, rows sum to one; work [3][n_vocab]. */
    void (*verify)(const lathe_token_tree *tree, const double *p, const lathe_verify_options *options,
                   const lathe_chance *chance, double *work, lathe_verdict *verdict);
} lathe_verifier;

extern const lathe_verifier *const lathe_verifiers[];
extern const size_t lathe_n_verifiers;

/* By name; ARG lists the names. */
LATHE_NODISCARD lathe_status lathe_verifier_find(const char *name, const lathe_verifier **verifier,
                                                 lathe_error *err);
/* ARG with the reason where the verifier cannot judge drafts of this law and shape. */
LATHE_NODISCARD lathe_status lathe_verifier_check(const lathe_verifier *verifier, int32_t laws, bool tree,
                                                  const lathe_verify_options *options, double temperature,
                                                  lathe_error *err);
/* Checks rows (finite, non-negative, positive sum) and verifies. NUMERIC names the row. */
LATHE_NODISCARD lathe_status lathe_verify_tree(const lathe_verifier *verifier, const lathe_token_tree *tree,
                                               const double *p, const lathe_verify_options *options,
                                               const lathe_chance *chance, double *work,
                                               lathe_verdict *verdict, lathe_error *err);

/* "excess", "mean", "uniform", "linear", "reverse" to a lathe_cool_mode. */
LATHE_NODISCARD lathe_status lathe_cool_mode_find(const char *name, int32_t *mode, lathe_error *err);
/* omega[length]: the factors of `cool` for positions 1 .. length, each at least 1. */
void lathe_cool_schedule(const lathe_verify_options *options, int32_t length, double *omega);

/* Building blocks that verifiers share. */
/* out = Norm([p - q]_+); false (out untouched) where nothing is left: the sum is at most 1e-12. */
bool lathe_residual(const double *p, const double *q, int32_t n, double *out);
int32_t lathe_argmax(const double *p, int32_t n); /* ties: lowest id */
void lathe_verdict_keep(lathe_verdict *verdict, const lathe_token_tree *tree, int32_t node);
void lathe_verdict_end(lathe_verdict *verdict, int32_t token);

extern const lathe_verifier lathe_verifier_greedy, lathe_verifier_match, lathe_verifier_coupled,
    lathe_verifier_token, lathe_verifier_block, lathe_verifier_wor, lathe_verifier_wr, lathe_verifier_cool,
    lathe_verifier_typical, lathe_verifier_lantern;

#endif
