/* chain.h - the steps of a sampler on a set of candidates, each a few lines. Ties go to the lowest id in all
 * of them, so that no result depends on a sort. */
#ifndef LATHE_DECODE_CHAIN_H
#define LATHE_DECODE_CHAIN_H

#include "lathe/decode.h"

typedef struct lathe_candidate {
    double logit;
    double key; /* what an order is made by: a step's scratch */
    int32_t id;
} lathe_candidate;

/* The surviving tokens, in any order. */
typedef struct lathe_candidates {
    lathe_candidate *at; /* [n] */
    int32_t n;           /* at least 1 */
    int32_t min_keep;
} lathe_candidates;

/* Moves the m candidates of the largest keys (ties: lowest id) to the front, in this order. O(n + m log m)
 * mostly. */
void lathe_rank_first(lathe_candidate *c, int32_t n, int32_t m);

void lathe_keep_top_k(lathe_candidates *c, int32_t k);
void lathe_keep_top_p(lathe_candidates *c, double p);
void lathe_keep_min_p(lathe_candidates *c, double p);
void lathe_keep_typical(lathe_candidates *c, double p);
void lathe_keep_top_n_sigma(lathe_candidates *c, double n);
/* Drops all tokens of at least this probability but the least of them. */
void lathe_drop_xtc(lathe_candidates *c, double threshold);
/* T > 0; range > 0: dynamic. Returns the temperature used. */
double lathe_scale_temperature(lathe_candidates *c, double temp, double range, double exponent);
/* Keeps tokens of surprise at most mu bits, at least one. */
void lathe_keep_surprise(lathe_candidates *c, double mu);
/* Keeps the likeliest alone. */
void lathe_keep_best(lathe_candidates *c);
/* key = probability of each, in double; returns the entropy in nats. */
double lathe_candidates_softmax(lathe_candidates *c);

#endif
