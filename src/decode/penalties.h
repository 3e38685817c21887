/* penalties.h - what repetition costs a token: counts in a window, and DRY's lengths of repeated endings. */
#ifndef LATHE_DECODE_PENALTIES_H
#define LATHE_DECODE_PENALTIES_H

#include "lathe/model.h"

/* Counts of the tokens of a window, sparse: counts[id] is zero but for the `touched` ids. */
typedef struct lathe_token_table {
    int32_t *value;   /* [n_vocab] */
    int32_t *touched; /* [n_vocab], the first n_touched in use */
    int32_t n_vocab, n_touched;
} lathe_token_table;

LATHE_NODISCARD lathe_status lathe_token_table_new(lathe_token_table *table, int32_t n_vocab,
                                                   lathe_error *err);
void lathe_token_table_free(lathe_token_table *table);
void lathe_token_table_clear(lathe_token_table *table);
/* Counts ids [n]; ids outside the vocabulary are passed over. */
void lathe_token_table_count(lathe_token_table *table, const int32_t *ids, size_t n);

/* Where a repetition may not reach across: single tokens, and sequences of a head and a tail. */
typedef struct lathe_breakers {
    uint8_t *single; /* [n_vocab] 1: this token alone is a breaker; NULL: none */
    int32_t n_vocab;
    int32_t *sequences; /* head, number of tail tokens, tail ...; one behind the other */
    size_t n_sequences; /* used entries of `sequences` */
} lathe_breakers;

/* Every token that contains a text, and every token that ends in its beginning, with the tokens of the rest.
 */
LATHE_NODISCARD lathe_status lathe_breakers_new(lathe_breakers *breakers, const lathe_vocab *vocab,
                                                int32_t n_vocab, const char *const *texts, int32_t n_texts,
                                                lathe_error *err);
void lathe_breakers_free(lathe_breakers *breakers);

/* Tokens of ids [n] behind the newest breaker; n where there is none. */
size_t lathe_breakers_limit(const lathe_breakers *breakers, const int32_t *ids, size_t n);

/* table->value[t] = length of the longest ending of ids [n] that occurred before and was followed by t, at
 * most limit, only where it is at least `allowed`. z [n] is scratch. O(n). */
void lathe_dry_lengths(const int32_t *ids, size_t n, size_t limit, int32_t allowed, size_t *z,
                       lathe_token_table *table);

/* What DRY subtracts for a length >= allowed. */
double lathe_dry_penalty(double multiplier, double base, int32_t length, int32_t allowed);

#endif
