/* suffix_index.h - past answers in the order of what follows each of their places: a range of that order is
 * all places where a string stands, and its width how often.
 *
 * On disk: a header as the log's (suffix_log.h) with magic "LATHESAI" and, from byte 32 on, u64 bytes of the
 * log that it covers and u64 N; int32 text[N] (answers, each followed by -1), int32 sa[N], u32 CRC-32 of all
 * before. sa: places in the order of their next 128 tokens, of which a -1 is the last one compared; ties by
 * place. The file is mapped, and replaced as a whole. */
#ifndef LATHE_DECODE_SUFFIX_INDEX_H
#define LATHE_DECODE_SUFFIX_INDEX_H

#include "base/file.h"
#include "decode/suffix_log.h"

enum { LATHE_INDEX_COMPARE = 128 };

typedef struct lathe_suffix_index {
    const int32_t *text, *sa; /* [n] */
    int32_t n;
    int32_t n_answers;
    uint64_t covered; /* bytes of the log, its header among them */
    lathe_file file;  /* mapped; or */
    int32_t *own;     /* text and sa in memory */
} lathe_suffix_index;

/* Maps an index and proves it. false: *why says what is wrong ("missing" where there is no file). */
bool lathe_suffix_index_open(const char *path, const lathe_log_key *key, uint64_t generation,
                             lathe_suffix_index *index, const char **why);
void lathe_suffix_index_close(lathe_suffix_index *index);

/* Sorts text [n] (ends with -1); takes it over: `own` of the result has room for text and sa, of which text
 * [n] is filled in. */
void lathe_suffix_index_sort(int32_t *own, int32_t n, lathe_suffix_index *index);

/* The index of old's answers that are kept, and behind them all of added's: both are in order, so nothing is
 * sorted. keep [old->n_answers]; NULL: all. MEMORY where 2^31 tokens or the memory are passed. */
LATHE_NODISCARD lathe_status lathe_suffix_index_join(const lathe_suffix_index *old, const uint8_t *keep,
                                                     const lathe_suffix_index *added,
                                                     lathe_suffix_index *joined, lathe_error *err);
LATHE_NODISCARD lathe_status lathe_suffix_index_write(const lathe_suffix_index *index, const char *path,
                                                      const lathe_log_key *key, uint64_t generation,
                                                      uint64_t covered, lathe_error *err);

/* Places [*low, *high) of sa at which w [p] stands, p <= LATHE_INDEX_COMPARE. */
void lathe_suffix_index_find(const lathe_suffix_index *index, const int32_t *w, int32_t p, int32_t *low,
                             int32_t *high);
/* The token p behind the place of an entry; -1: the answer ends before. */
int32_t lathe_suffix_index_token(const lathe_suffix_index *index, int32_t entry, int32_t p);
/* End of the places in [low, high) whose token at offset p is that of place low. */
int32_t lathe_suffix_index_run(const lathe_suffix_index *index, int32_t low, int32_t high, int32_t p);

#endif
