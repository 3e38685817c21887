/* grammar.h - a probabilistic tree grammar with Zipf-distributed rules: 16 binary rules a symbol, the rule of
 * rank k drawn with probability ~ k^-s, so that s is the imbalance of the data. Every sentence has 2^4 = 16
 * terminals of 64. */
#ifndef LATHE_LAB_GRAMMAR_H
#define LATHE_LAB_GRAMMAR_H

#include "lathe/base.h"

enum {
    LATHE_GRAMMAR_DEPTH = 4,
    LATHE_GRAMMAR_SYMBOLS = 16, /* of each inner level; level 0 has one */
    LATHE_GRAMMAR_RULES = 16,
    LATHE_GRAMMAR_TERMINALS = 64,
    LATHE_GRAMMAR_VOCAB = LATHE_GRAMMAR_TERMINALS + 1, /* the last one separates sentences */
    LATHE_GRAMMAR_LENGTH = 1 << LATHE_GRAMMAR_DEPTH
};

typedef struct lathe_grammar {
    uint8_t rules[LATHE_GRAMMAR_DEPTH][LATHE_GRAMMAR_SYMBOLS][LATHE_GRAMMAR_RULES][2];
    double below[LATHE_GRAMMAR_RULES + 1]; /* probability of a smaller rank */
} lathe_grammar;

/* The rules come from the seed alone: the same for every s. */
void lathe_grammar_make(uint64_t seed, double s, lathe_grammar *grammar);
void lathe_grammar_sentence(const lathe_grammar *grammar, lathe_rng *rng, int32_t out[LATHE_GRAMMAR_LENGTH]);
/* n tokens of sentences, each behind a separator. */
void lathe_grammar_text(const lathe_grammar *grammar, lathe_rng *rng, int32_t *out, size_t n);

#endif
