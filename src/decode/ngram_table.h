/* ngram_table.h - inside of an n-gram table: for its file reader and its drafting. */
#ifndef LATHE_DECODE_NGRAM_TABLE_H
#define LATHE_DECODE_NGRAM_TABLE_H

#include "lathe/decode.h"

typedef struct lathe_follower {
    int32_t token, count;
} lathe_follower;

typedef struct lathe_ngram_entry {
    int32_t gram[4];           /* oldest first, then -1 */
    lathe_follower *followers; /* [n] ascending tokens */
    int32_t n, capacity;
} lathe_ngram_entry;

struct lathe_ngram {
    lathe_ngram_entry *entries; /* [n] */
    int32_t *slots;             /* [n_slots] index + 1; 0: empty */
    int32_t n, capacity, n_slots;
};

/* The entry of tokens [size], or NULL. */
const lathe_ngram_entry *lathe_ngram_find(const lathe_ngram *ngram, const int32_t *tokens, int32_t size);
/* The entry of a gram, made if it is not there. */
LATHE_NODISCARD lathe_status lathe_ngram_entry_of(lathe_ngram *ngram, const int32_t gram[4],
                                                  lathe_ngram_entry **entry, bool *is_new, lathe_error *err);
/* Adds to a follower's count, saturating. was_there may be NULL. */
LATHE_NODISCARD lathe_status lathe_ngram_add(lathe_ngram_entry *entry, int32_t token, int32_t count,
                                             bool *was_there, lathe_error *err);
int32_t lathe_ngram_size(const lathe_ngram_entry *entry);

#endif
