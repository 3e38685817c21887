/* tok_train.h - byte-level BPE learned from counted words; the file around it is tok_train_file.c. */
#ifndef LATHE_MODEL_TOK_TRAIN_H
#define LATHE_MODEL_TOK_TRAIN_H

#include "base/buf.h"
#include "lathe/model.h"

/* Distinct words with counts. Zero it, then lathe_words_init. */
typedef struct lathe_words {
    lathe_buf text;  /* the words' bytes, one after the other */
    uint64_t *start; /* [n + 1] */
    int64_t *count;  /* [n] */
    uint32_t *map;   /* open addressing: index + 1 of a word, 0 empty */
    uint32_t n, capacity, mask;
} lathe_words;

void lathe_words_init(lathe_words *words);
void lathe_words_free(lathe_words *words);
LATHE_NODISCARD lathe_status lathe_words_add(lathe_words *words, const char *text, size_t n_bytes,
                                             int64_t count, lathe_error *err);

/* A longer token is not made: a text of one repeated character would give ever longer ones. */
enum { LATHE_LEARNED_BYTES_MAX = 512 };

/* One learned merge: symbols left and right (0 to 255: bytes; then merged ones) become `merged`. Two merges
 * with the same bytes share one symbol. */
typedef struct lathe_learned_merge {
    int32_t left, right, merged;
    int64_t count; /* of the pair when it was merged */
} lathe_learned_merge;

typedef struct lathe_bpe_model {
    lathe_learned_merge *merges; /* [n_merges], rank order */
    int32_t n_merges;
    int32_t n_symbols; /* 256 + distinct results */
    lathe_buf text;    /* bytes of the symbols from 256 on */
    uint64_t *start;   /* [n_symbols - 255], offsets into text */
    int64_t *used;     /* [n_symbols] how often each stands in the words at the end */
    int64_t n_tokens;  /* sum of used */
} lathe_bpe_model;

/* Merges the most frequent pair (ties: smaller left, then right symbol) until n_symbols symbols are there or
 * no pair occurs min_count times. Counts are kept by pair and only words that hold the pair are rewritten.
 * Source: Sennrich et al. 2016; learning.md F.c. */
LATHE_NODISCARD lathe_status lathe_bpe_learn(const lathe_words *words, int32_t n_symbols, int64_t min_count,
                                             const lathe_progress *progress, lathe_bpe_model *model,
                                             lathe_error *err);
void lathe_bpe_model_free(lathe_bpe_model *model);

/* The bytes of a symbol; `byte` holds them for the first 256. */
const char *lathe_bpe_symbol(const lathe_bpe_model *model, int32_t symbol, char byte[1], size_t *n_bytes);

#endif
