/* suffix_store.h - past answers on disk, and what followed a text in them.
 *
 * A folder per tokenizer holds `log`: a header and a record per answer. It is private (0700, 0600), appended
 * under a lock that nobody waits for longer than 0.1 s, and `index`: the answers in the order of what follows
 * each of their tokens, mapped at start. The newest tokens that it does not cover, at most 65,536, are sorted
 * in memory; when they are many, or the log is over its limit, who adds the next answer makes the index anew.
 * A damaged index is said and made anew; damage of the log costs the damaged record, never the answer. */
#ifndef LATHE_DECODE_SUFFIX_STORE_H
#define LATHE_DECODE_SUFFIX_STORE_H

#include "lathe/model.h"

typedef struct lathe_suffix_store lathe_suffix_store;

enum { LATHE_STORE_ANSWER_MIN = 16, LATHE_STORE_TOKENS = 65536 };

/* @param key  16 hexadecimal digits that stand for the tokenizer
 * @param limit  bytes of the log; over it answers that come again go, then the oldest (0: 64 MiB) */
LATHE_NODISCARD lathe_status lathe_suffix_store_open(const char *cache_dir, const char *key, int32_t n_vocab,
                                                     int64_t limit, const lathe_logger *logger,
                                                     lathe_suffix_store **store, lathe_error *err);
void lathe_suffix_store_free(lathe_suffix_store *store);
/* Appends an answer. Not being able to is no error. */
void lathe_suffix_store_add(lathe_suffix_store *store, const int32_t *ids, int32_t n);
/* Answers, and tokens of them that are searched; skipped: damaged bytes passed over. */
void lathe_suffix_store_size(const lathe_suffix_store *store, int64_t *n_records, int64_t *n_tokens,
                             int64_t *skipped);
/* Of the continuations of the last l, l/2, l/4, ... tokens of ids [n] (l: the longest suffix that the store
 * has, at most 64) the one of the largest sum of products of shares; path, share [n_max] out. *matched: the
 * suffix taken. Returns the sum, 0 where there is nothing. */
double lathe_suffix_store_draft(const lathe_suffix_store *store, const int32_t *ids, int32_t n,
                                int32_t match_min, double factor, double p_min, int32_t n_max, int32_t *path,
                                double *share, int32_t *n_path, int32_t *matched);

#endif
