/* lexicon.h - a lexicalised grammar with Zipf-distributed words: S -> NP VP '.', NP -> D N | D A N | N,
 * VP -> V NP | V | V NP P NP. Words of a class have probability ~ rank^-s; an adjective selects its noun, a
 * subject its verb and a verb its object: with probability 0.7 a partner that is fixed by the grammar's seed,
 * else a fresh word. (learning.md H.1, X) */
#ifndef LATHE_LAB_LEXICON_H
#define LATHE_LAB_LEXICON_H

#include "lathe/base.h"

typedef enum lathe_class {
    LATHE_CLASS_D,
    LATHE_CLASS_A,
    LATHE_CLASS_N,
    LATHE_CLASS_V,
    LATHE_CLASS_P,
    LATHE_CLASSES
} lathe_class;

enum { LATHE_LEXICON_VOCAB = 273, LATHE_LEXICON_VOCAB_LARGE = 1089, LATHE_LEXICON_SENTENCE_MAX = 12 };

typedef struct lathe_lexicon {
    int32_t size[LATHE_CLASSES],
        first[LATHE_CLASSES]; /* words of a class; id of the first. Id 0 is the full stop */
    int32_t n_vocab;
    double below[LATHE_CLASSES][513]; /* probability of a smaller rank */
    uint16_t noun_of[513], verb_of[513],
        object_of[513]; /* partners by rank: of an adjective, a noun, a verb */
} lathe_lexicon;

/* large: classes of 32, 256, 512, 256 and 32 words instead of 8, 64, 128, 64 and 8. The partners come from
 * the seed alone, the same for every s. */
void lathe_lexicon_make(uint64_t seed, double s, bool large, lathe_lexicon *lexicon);
/* One sentence with its full stop; returns its length. */
int32_t lathe_lexicon_sentence(const lathe_lexicon *lexicon, lathe_rng *rng,
                               int32_t out[LATHE_LEXICON_SENTENCE_MAX]);
/* n tokens of sentences, the last of them cut. */
void lathe_lexicon_text(const lathe_lexicon *lexicon, lathe_rng *rng, int32_t *out, size_t n);

#endif
