/* grammar.c - see grammar.h. */
#include "lab/grammar.h"

#include <math.h>

#include "base/rng_purpose.h"

void lathe_grammar_make(uint64_t seed, double s, lathe_grammar *g) {
    lathe_rng rng = lathe_rng_new(seed, LATHE_RNG_LAB_DATA, 3);
    for (int level = 0; level < LATHE_GRAMMAR_DEPTH; level++)
        for (int symbol = 0; symbol < LATHE_GRAMMAR_SYMBOLS; symbol++)
            for (int rule = 0; rule < LATHE_GRAMMAR_RULES; rule++)
                for (int side = 0; side < 2; side++)
                    g->rules[level][symbol][rule][side] = (uint8_t) lathe_rng_below(
                        &rng,
                        level + 1 == LATHE_GRAMMAR_DEPTH ? LATHE_GRAMMAR_TERMINALS : LATHE_GRAMMAR_SYMBOLS);
    double sum = 0;
    for (int k = 0; k < LATHE_GRAMMAR_RULES; k++) {
        g->below[k] = sum;
        sum += pow(k + 1, -s);
    }
    for (int k = 0; k < LATHE_GRAMMAR_RULES; k++)
        g->below[k] /= sum;
    g->below[LATHE_GRAMMAR_RULES] = 1;
}

void lathe_grammar_sentence(const lathe_grammar *g, lathe_rng *rng, int32_t out[LATHE_GRAMMAR_LENGTH]) {
    int32_t row[2][LATHE_GRAMMAR_LENGTH] = {{0}};
    for (int level = 0; level < LATHE_GRAMMAR_DEPTH; level++) {
        const int32_t *from = row[level % 2];
        int32_t *to = level + 1 == LATHE_GRAMMAR_DEPTH ? out : row[(level + 1) % 2];
        for (int i = 0; i < 1 << level; i++) {
            const double u = lathe_rng_uniform(rng);
            int k = 0;
            while (g->below[k + 1] <= u)
                k++;
            to[2 * i] = g->rules[level][from[i]][k][0];
            to[2 * i + 1] = g->rules[level][from[i]][k][1];
        }
    }
}

void lathe_grammar_text(const lathe_grammar *g, lathe_rng *rng, int32_t *out, size_t n) {
    int32_t sentence[LATHE_GRAMMAR_LENGTH];
    for (size_t i = 0; i < n; i++) {
        const size_t at = i % (LATHE_GRAMMAR_LENGTH + 1);
        if (at == 0)
            lathe_grammar_sentence(g, rng, sentence);
        out[i] = at == 0 ? LATHE_GRAMMAR_TERMINALS : sentence[at - 1];
    }
}
