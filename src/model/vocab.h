/* vocab.h - inside of a vocabulary: texts, ids, merges, and what the tokenizers of each kind need.
 *
 * A vocabulary is immutable after lathe_vocab_new: any number of threads may tokenize with it at once. It is
 * made from plain arrays, so that tests and fuzzers need no file; vocab_gguf.c fills the arrays from GGUF. */
#ifndef LATHE_MODEL_VOCAB_H
#define LATHE_MODEL_VOCAB_H

#include "base/buf.h"
#include "lathe/model.h"
#include "model/gguf.h"

typedef enum lathe_vocab_kind {
    LATHE_VOCAB_SPM,     /* SentencePiece-like merges by score, U+2581 for blanks, byte tokens <0xHH> */
    LATHE_VOCAB_BPE,     /* byte-level BPE: the bytes as characters of the byte alphabet */
    LATHE_VOCAB_RAW_BPE, /* BPE on UTF-8 characters, U+2581 for blanks, byte tokens (gemma4) */
} lathe_vocab_kind;

typedef enum lathe_token_type {
    LATHE_TOKEN_NORMAL = 1,
    LATHE_TOKEN_UNKNOWN = 2,
    LATHE_TOKEN_CONTROL = 3,
    LATHE_TOKEN_USER = 4, /* always recognised in text */
    LATHE_TOKEN_UNUSED = 5,
    LATHE_TOKEN_BYTE = 6,
} lathe_token_type;

typedef struct lathe_text {
    const char *bytes;
    size_t n_bytes;
} lathe_text;

typedef struct lathe_vocab_spec {
    lathe_vocab_kind kind;
    const char *pre; /* pre-tokenizer of BPE (pretok.c); NULL: "default" */
    int32_t n;
    const lathe_text *texts;  /* [n], in the byte alphabet for BPE */
    const float *scores;      /* [n] for SPM; NULL: all 0 */
    const uint8_t *types;     /* [n] lathe_token_type; NULL: all normal */
    const lathe_text *merges; /* [n_merges] "left right", rank = index */
    size_t n_merges;
    int32_t bos, eos, eot, eom, unk; /* -1: none */
    int32_t end_ids[8], n_end_ids;   /* more ids that end a generation */
    bool add_bos, add_eos, add_space_prefix, ignore_merges;
    bool strips_after_special; /* phi-3: blanks to the right of added tokens vanish */
    const char *name;          /* for messages */
} lathe_vocab_spec;

LATHE_NODISCARD lathe_status lathe_vocab_new(const lathe_vocab_spec *spec, lathe_vocab **vocab,
                                             lathe_error *err);
LATHE_NODISCARD lathe_status lathe_vocab_from_gguf(const lathe_gguf *gguf, const lathe_logger *logger,
                                                   lathe_vocab **vocab, lathe_error *err);
void lathe_vocab_free(lathe_vocab *vocab);

/* --- Shared by the tokenizers ------------------------------------------------------------------- */

typedef struct lathe_pretok lathe_pretok; /* compiled expressions, pretok.c */

typedef struct lathe_merge {
    int32_t left, right; /* symbols; -1: empty slot */
    int32_t rank, merged;
} lathe_merge;

struct lathe_vocab {
    lathe_vocab_kind kind;
    int32_t n;
    char *text;       /* all texts one after the other: tokens, then symbols that only merges know */
    uint32_t *offset; /* [n_symbols + 1] */
    int32_t n_symbols;
    char *piece;            /* what each token stands for inside a text */
    uint32_t *piece_offset; /* [n + 1] */
    float *score;           /* [n] */
    uint8_t *type;          /* [n] */
    uint8_t *is_end;        /* [n] */
    int32_t *map;           /* open addressing: text -> symbol, -1 empty */
    uint32_t map_mask;
    lathe_merge *merges; /* open addressing on (left, right) */
    uint32_t merge_mask;
    int32_t byte_token[256]; /* <0xHH> of SPM, -1: none; for BPE the symbol of the byte's character */
    int32_t *special;        /* ids that may be recognised in text, longest first */
    int32_t n_special;
    int32_t bos, eos, unk;
    bool add_bos, add_eos, add_space_prefix, ignore_merges, strips_after_special;
    lathe_pretok *pretok;
};

/* The symbol (token, or a symbol >= n of merges) with this text, or -1. */
int32_t lathe_vocab_symbol(const lathe_vocab *vocab, const char *text, size_t n_bytes);
/* The merge of two symbols, or NULL. */
const lathe_merge *lathe_vocab_merge(const lathe_vocab *vocab, int32_t left, int32_t right);

/* The character of the byte alphabet for a byte (GPT-2): 0x21-0x7E, 0xA1-0xAC, 0xAE-0xFF are themselves, the
 * other 68 bytes are U+0100 onwards in order. */
uint32_t lathe_byte_to_char(uint8_t byte);
/* The byte of a character of the alphabet, or -1. */
int lathe_char_to_byte(uint32_t code);

/* A growing list of ids. */
typedef struct lathe_ids {
    int32_t *ids;
    size_t n, capacity;
} lathe_ids;
LATHE_NODISCARD lathe_status lathe_ids_add(lathe_ids *list, int32_t id, lathe_error *err);

/* Stretches of one text, each up to `end`: in trusted ones control tokens are recognised. Raw text is
 * tokenized across their borders, as if it were one; no BOS or EOS is added. */
typedef struct lathe_part {
    size_t end;
    bool trusted;
} lathe_part;
LATHE_NODISCARD lathe_status lathe_tokenize_parts(const lathe_vocab *vocab, const char *text,
                                                  const lathe_part *parts, size_t n_parts, lathe_ids *out,
                                                  lathe_error *err);

/* Tokenize one raw piece (no special tokens in it). Scratch memory is theirs. */
LATHE_NODISCARD lathe_status lathe_spm_tokenize(const lathe_vocab *vocab, const char *text, size_t n_bytes,
                                                lathe_ids *out, lathe_error *err);
LATHE_NODISCARD lathe_status lathe_bpe_tokenize(const lathe_vocab *vocab, const char *text, size_t n_bytes,
                                                lathe_ids *out, lathe_error *err);

/* A heap of candidate merges, smallest key first, ties to the smaller left index. */
typedef struct lathe_candidate {
    double key;
    uint32_t left, right;
    int32_t left_symbol, right_symbol; /* what they were: a pair that changed since is stale */
} lathe_candidate;
typedef struct lathe_heap {
    lathe_candidate *items;
    size_t n, capacity;
} lathe_heap;
LATHE_NODISCARD lathe_status lathe_heap_push(lathe_heap *heap, lathe_candidate item, lathe_error *err);
bool lathe_heap_pop(lathe_heap *heap, lathe_candidate *item);

/* --- Pre-tokenizers ----------------------------------------------------------------------------- */

/* Compiles the expressions of a pre-tokenizer; ARG names an unknown one and lists none (they are many). */
LATHE_NODISCARD lathe_status lathe_pretok_new(const char *name, lathe_pretok **pretok, lathe_error *err);
void lathe_pretok_free(lathe_pretok *pretok);
/* Splits text and calls word for each piece in order; its failure ends the split. Bytes that are no UTF-8
 * become pieces of one byte. */
LATHE_NODISCARD lathe_status lathe_pretok_split(const lathe_pretok *pretok, const char *text, size_t n_bytes,
                                                lathe_status (*word)(void *user, const char *text,
                                                                     size_t n_bytes, lathe_error *err),
                                                void *user, lathe_error *err);

#endif
