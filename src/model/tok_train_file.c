/* tok_train_file.c - tokenizers learned from texts, written as vocabulary-only GGUF files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "model/gguf_write.h"
#include "model/tok_train.h"
#include "model/vocab.h"

enum { VOCAB_MAX = 1 << 22, SPECIALS_MAX = 256, SPECIAL_BYTES_MAX = 255 };

static const char *const end_of_text[] = {"<|endoftext|>"};

lathe_tokenizer_params lathe_tokenizer_params_default(void) {
    return (lathe_tokenizer_params){.struct_size = sizeof(lathe_tokenizer_params),
                                    .pre = "gpt-2",
                                    .min_count = 2,
                                    .specials = end_of_text,
                                    .n_specials = 1};
}

/* --- The texts between special tokens ------------------------------------------------------------ */

typedef lathe_status (*stretch_fn)(void *user, const char *text, size_t n_bytes, lathe_error *err);

/* Calls fn for each stretch of the text that holds no special token. */
static lathe_status between_specials(const lathe_tokenizer_params *p, const char *text, size_t n,
                                     stretch_fn fn, void *user, lathe_error *err) {
    size_t begin = 0;
    lathe_status st = LATHE_OK;
    for (size_t i = 0; i < n && p->parse_special && !st;) {
        size_t hit = 0; /* the longest special that begins here */
        for (size_t k = 0; k < p->n_specials; k++) {
            const size_t length = strlen(p->specials[k]);
            if (length > hit && length <= n - i && text[i] == p->specials[k][0] &&
                memcmp(text + i, p->specials[k], length) == 0)
                hit = length;
        }
        if (hit > 0 && i > begin)
            st = fn(user, text + begin, i - begin, err);
        if (hit > 0)
            begin = i + hit;
        i += hit > 0 ? hit : 1;
    }
    return st || begin == n ? st : fn(user, text + begin, n - begin, err);
}

static uint64_t count_invalid(const char *text, size_t n) {
    uint64_t invalid = 0;
    uint32_t code;
    for (size_t i = 0; i < n;) {
        const size_t k = lathe_utf8_next(text + i, n - i, &code);
        invalid += k == 0;
        i += k == 0 ? 1 : k;
    }
    return invalid;
}

/* --- Writing ------------------------------------------------------------------------------------- */

/* Tokens as they are written: texts in one buffer. */
typedef struct token_list {
    lathe_buf text;
    size_t *end; /* [n] */
    int32_t *type;
    int32_t n;
} token_list;

static lathe_status list_new(token_list *list, size_t n, lathe_error *err) {
    lathe_buf_init(&list->text, 1u << 31);
    list->end = malloc((n + 1) * sizeof *list->end);
    list->type = malloc((n + 1) * sizeof *list->type);
    return list->end && list->type
               ? LATHE_OK
               : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a vocabulary of %zu tokens", n);
}

static void list_free(token_list *list) {
    lathe_buf_free(&list->text);
    free(list->end);
    free(list->type);
}

static lathe_status list_add(token_list *list, const char *text, size_t n, int32_t type, lathe_error *err) {
    const lathe_status st = lathe_buf_add(&list->text, text, n, err);
    if (st)
        return st;
    list->end[list->n] = list->text.n_bytes;
    list->type[list->n++] = type;
    return LATHE_OK;
}

/* Bytes in the byte alphabet. */
static lathe_status add_mapped(lathe_buf *out, const char *bytes, size_t n, lathe_error *err) {
    lathe_status st = LATHE_OK;
    for (size_t i = 0; i < n && !st; i++) {
        char character[4];
        const size_t k = lathe_utf8_put(lathe_byte_to_char((uint8_t) bytes[i]), character);
        st = lathe_buf_add(out, character, k, err);
    }
    return st;
}

/* Strings of a buffer with their ends as the writer wants them. */
static lathe_status put_strings(lathe_gguf_writer *w, const char *key, const lathe_buf *text,
                                const size_t *end, size_t n, lathe_error *err) {
    const char **texts = malloc((n + 1) * sizeof *texts);
    size_t *lengths = malloc((n + 1) * sizeof *lengths);
    if (!texts || !lengths) {
        free(texts);
        free(lengths);
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %zu strings", n);
    }
    for (size_t i = 0; i < n; i++) {
        const size_t begin = i > 0 ? end[i - 1] : 0;
        texts[i] = text->data + begin;
        lengths[i] = end[i] - begin;
    }
    lathe_gguf_put_strings(w, key, texts, lengths, n);
    free(texts);
    free(lengths);
    return LATHE_OK;
}

static lathe_status put_merges(lathe_gguf_writer *w, const lathe_bpe_model *model, lathe_error *err) {
    lathe_buf text;
    lathe_buf_init(&text, 1u << 31);
    size_t *end = malloc(((size_t) model->n_merges + 1) * sizeof *end);
    lathe_status st = end ? lathe_buf_add(&text, "", 0, err)
                          : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %d merges", model->n_merges);
    for (int32_t i = 0; i < model->n_merges && !st; i++) {
        char byte[1];
        size_t n;
        const char *bytes = lathe_bpe_symbol(model, model->merges[i].left, byte, &n);
        st = add_mapped(&text, bytes, n, err);
        if (!st)
            st = lathe_buf_add(&text, " ", 1, err);
        bytes = lathe_bpe_symbol(model, model->merges[i].right, byte, &n);
        if (!st)
            st = add_mapped(&text, bytes, n, err);
        if (!st)
            end[i] = text.n_bytes;
    }
    if (!st)
        st = put_strings(w, "tokenizer.ggml.merges", &text, end, (size_t) model->n_merges, err);
    free(end);
    lathe_buf_free(&text);
    return st;
}

/* Two tokens with one text cannot be told apart: readers refuse such files. */
static lathe_status check_specials(const token_list *list, size_t n_specials, lathe_error *err) {
    const int32_t first = list->n - (int32_t) n_specials;
    for (int32_t i = first; i < list->n; i++) {
        const char *text = list->text.data + list->end[i - 1];
        const size_t n = list->end[i] - list->end[i - 1];
        for (int32_t k = 0; k < i; k++) {
            const size_t begin = k > 0 ? list->end[k - 1] : 0;
            if (list->end[k] - begin == n && memcmp(list->text.data + begin, text, n) == 0)
                return lathe_fail(err, LATHE_ERR_ARG,
                                  "special token '%.*s' is token %d already; choose a text that is no word",
                                  (int) n, text, k);
        }
    }
    return LATHE_OK;
}

static lathe_status write_gguf(const char *path, const lathe_tokenizer_params *p, const token_list *list,
                               const lathe_bpe_model *model, lathe_error *err) {
    lathe_gguf_writer *w = NULL;
    lathe_status st = check_specials(list, p->n_specials, err);
    if (!st)
        st = lathe_gguf_writer_new(&w, err);
    if (st)
        return st;
    const uint32_t bos = model ? (uint32_t) list->n - (uint32_t) p->n_specials : 1;
    lathe_gguf_put_text(w, "general.architecture", model ? "gpt2" : "llama");
    lathe_gguf_put_text(w, "general.name", "tokenizer");
    lathe_gguf_put_text(w, "tokenizer.ggml.model", model ? "gpt2" : "llama");
    lathe_gguf_put_text(w, "tokenizer.ggml.pre", model ? p->pre : "default");
    st = put_strings(w, "tokenizer.ggml.tokens", &list->text, list->end, (size_t) list->n, err);
    if (!st && !model) {
        float *scores = calloc((size_t) list->n, sizeof *scores);
        if (!scores)
            st = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a vocabulary of %d tokens", list->n);
        else
            lathe_gguf_put_array(w, "tokenizer.ggml.scores", LATHE_GGUF_F32, scores, (uint64_t) list->n);
        free(scores);
    }
    lathe_gguf_put_array(w, "tokenizer.ggml.token_type", LATHE_GGUF_I32, list->type, (uint64_t) list->n);
    if (!st && model)
        st = put_merges(w, model, err);
    lathe_gguf_put_u32(w, "tokenizer.ggml.bos_token_id", bos);
    lathe_gguf_put_u32(w, "tokenizer.ggml.eos_token_id", model ? bos : 2);
    if (!model)
        lathe_gguf_put_u32(w, "tokenizer.ggml.unknown_token_id", 0);
    lathe_gguf_put_bool(w, "tokenizer.ggml.add_bos_token", false);
    lathe_gguf_put_bool(w, "tokenizer.ggml.add_space_prefix", false);
    if (!st)
        st = lathe_gguf_writer_begin(w, path, err);
    if (st) {
        lathe_gguf_writer_free(w);
        return st;
    }
    return lathe_gguf_writer_finish(w, err);
}

static lathe_status add_specials(const lathe_tokenizer_params *p, token_list *list, lathe_error *err) {
    lathe_status st = LATHE_OK;
    for (size_t i = 0; i < p->n_specials && !st; i++)
        st = list_add(list, p->specials[i], strlen(p->specials[i]), LATHE_TOKEN_CONTROL, err);
    return st;
}

/* Keeps the longest tokens in order, the first of equal length before the later. */
static void note_longest(lathe_tokenizer_result *r, size_t lengths[8], const char *text, size_t n) {
    int32_t at = r->n_longest;
    while (at > 0 && lengths[at - 1] < n)
        at--;
    if (at >= (int32_t) LATHE_LEN(r->longest))
        return;
    if (r->n_longest < (int32_t) LATHE_LEN(r->longest))
        r->n_longest++;
    for (int32_t i = r->n_longest - 1; i > at; i--) {
        memcpy(r->longest[i], r->longest[i - 1], sizeof r->longest[i]);
        lengths[i] = lengths[i - 1];
    }
    lengths[at] = n;
    size_t used = 0;
    for (size_t i = 0; i < n && used + 4 < sizeof r->longest[at];) {
        uint32_t code;
        const size_t k = lathe_utf8_next(text + i, n - i, &code);
        used += lathe_utf8_put(k > 0 ? code : 0xFFFD, r->longest[at] + used);
        i += k > 0 ? k : 1;
    }
    r->longest[at][used] = '\0';
}

/* --- Byte-level BPE ------------------------------------------------------------------------------ */

typedef struct word_counter {
    const lathe_pretok *pretok;
    lathe_words words;
    lathe_tokenizer_result *result;
} word_counter;

static lathe_status count_word(void *user, const char *text, size_t n, lathe_error *err) {
    return lathe_words_add(user, text, n, 1, err);
}

static lathe_status count_stretch(void *user, const char *text, size_t n, lathe_error *err) {
    word_counter *c = user;
    c->result->n_bytes += n;
    c->result->n_invalid += count_invalid(text, n);
    return lathe_pretok_split(c->pretok, text, n, count_word, &c->words, err);
}

static lathe_status list_bpe(const lathe_tokenizer_params *p, const lathe_bpe_model *model, token_list *list,
                             lathe_tokenizer_result *r, lathe_error *err) {
    size_t lengths[8] = {0};
    lathe_status st = list_new(list, (size_t) model->n_symbols + p->n_specials, err);
    for (int32_t i = 0; i < model->n_symbols && !st; i++) {
        char byte[1];
        size_t n;
        const char *bytes = lathe_bpe_symbol(model, i, byte, &n);
        st = add_mapped(&list->text, bytes, n, err);
        if (!st)
            st = list_add(list, "", 0, LATHE_TOKEN_NORMAL, err);
        r->n_unused += model->used[i] == 0;
        if (i >= 256)
            note_longest(r, lengths, bytes, n);
    }
    return st ? st : add_specials(p, list, err);
}

static lathe_status train_bpe(const char *const *texts, const size_t *n_bytes, size_t n_texts,
                              const lathe_tokenizer_params *p, const char *path, lathe_tokenizer_result *r,
                              lathe_error *err) {
    const int32_t n_vocab = p->n_vocab ? p->n_vocab : 2048;
    const int32_t n_symbols = n_vocab - (int32_t) p->n_specials;
    if (n_symbols < 256)
        return lathe_fail(
            err, LATHE_ERR_ARG,
            "a vocabulary of %d tokens; byte-level BPE has 256 bytes and %zu special tokens at least",
            n_vocab, p->n_specials);
    if (p->n_specials == 0)
        return lathe_fail(err, LATHE_ERR_ARG, "no special token; one is needed that ends a text");
    word_counter counter = {.result = r};
    lathe_pretok *pretok = NULL;
    lathe_bpe_model model = {0};
    token_list list = {0};
    lathe_words_init(&counter.words);
    lathe_status st = lathe_pretok_new(p->pre ? p->pre : "gpt-2", &pretok, err);
    counter.pretok = pretok;
    for (size_t i = 0; i < n_texts && !st; i++) {
        st = between_specials(p, texts[i], n_bytes[i], count_stretch, &counter, err);
        if (!st)
            st = lathe_progress_step(&p->progress, "counting words", (double) i + 1, (double) n_texts, err);
    }
    if (!st && r->n_bytes == 0)
        st = lathe_fail(err, LATHE_ERR_INPUT, "the texts are empty; a tokenizer needs some to learn from");
    if (!st)
        st = lathe_bpe_learn(&counter.words, n_symbols, p->min_count > 1 ? p->min_count : 1, &p->progress,
                             &model, err);
    if (!st) {
        r->n_vocab = model.n_symbols + (int32_t) p->n_specials;
        r->n_merges = model.n_merges;
        r->n_tokens = (uint64_t) model.n_tokens;
        st = list_bpe(p, &model, &list, r, err);
    }
    if (!st)
        st = write_gguf(path, p, &list, &model, err);
    list_free(&list);
    lathe_bpe_model_free(&model);
    lathe_words_free(&counter.words);
    lathe_pretok_free(pretok);
    return st;
}

/* --- Characters ---------------------------------------------------------------------------------- */

enum { CODES = 0x110000, BLANK = 0x2581, FIRST_CHARACTER = 3 + 256 };

typedef struct character {
    int64_t count;
    uint32_t code;
} character;

typedef struct character_counter {
    int64_t *count; /* [CODES] */
    lathe_tokenizer_result *result;
} character_counter;

static lathe_status count_characters(void *user, const char *text, size_t n, lathe_error *err) {
    character_counter *c = user;
    (void) err;
    c->result->n_bytes += n;
    for (size_t i = 0; i < n;) {
        uint32_t code;
        const size_t k = lathe_utf8_next(text + i, n - i, &code);
        if (k > 0)
            c->count[code == ' ' ? BLANK : code]++; /* a blank is written so; they are one character */
        else
            c->result->n_invalid++;
        i += k > 0 ? k : 1;
    }
    return LATHE_OK;
}

static int most_frequent_first(const void *a_, const void *b_) {
    const character *a = a_, *b = b_;
    if (a->count != b->count)
        return a->count < b->count ? 1 : -1;
    const uint32_t x = a->code == BLANK ? ' ' : a->code, y = b->code == BLANK ? ' ' : b->code;
    return x < y ? -1 : x > y;
}

/* The characters that become tokens, the most frequent first; what the rest costs is counted in bytes. */
static int32_t choose(const character_counter *c, const lathe_tokenizer_params *p, character *chosen) {
    int32_t n = 0;
    for (uint32_t code = 0; code < CODES; code++)
        if (c->count[code] > 0)
            chosen[n++] = (character){c->count[code], code};
    qsort(chosen, (size_t) n, sizeof *chosen, most_frequent_first);
    const int64_t room = p->n_vocab ? p->n_vocab - FIRST_CHARACTER - (int64_t) p->n_specials : n;
    int32_t kept = 0;
    lathe_tokenizer_result *r = c->result;
    r->n_tokens = r->n_invalid;
    for (int32_t i = 0; i < n; i++) {
        char bytes[4];
        if (i < room && chosen[i].count >= p->min_count) {
            kept++;
            r->n_tokens += (uint64_t) chosen[i].count;
        } else {
            r->n_tokens += (uint64_t) chosen[i].count * lathe_utf8_put(chosen[i].code, bytes);
        }
    }
    return kept;
}

static lathe_status list_characters(const lathe_tokenizer_params *p, const character *chosen, int32_t n,
                                    token_list *list, lathe_error *err) {
    static const char *const first[] = {"<unk>", "<s>", "</s>"};
    char text[8];
    lathe_status st = list_new(list, (size_t) n + FIRST_CHARACTER + p->n_specials, err);
    for (int i = 0; i < 3 && !st; i++)
        st = list_add(list, first[i], strlen(first[i]), i ? LATHE_TOKEN_CONTROL : LATHE_TOKEN_UNKNOWN, err);
    for (unsigned b = 0; b < 256 && !st; b++) {
        snprintf(text, sizeof text, "<0x%02X>", b);
        st = list_add(list, text, 6, LATHE_TOKEN_BYTE, err);
    }
    for (int32_t i = 0; i < n && !st; i++)
        st = list_add(list, text, lathe_utf8_put(chosen[i].code, text), LATHE_TOKEN_NORMAL, err);
    return st ? st : add_specials(p, list, err);
}

static lathe_status train_characters(const char *const *texts, const size_t *n_bytes, size_t n_texts,
                                     const lathe_tokenizer_params *p, const char *path,
                                     lathe_tokenizer_result *r, lathe_error *err) {
    if (p->n_vocab && p->n_vocab <= FIRST_CHARACTER + (int64_t) p->n_specials)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "a vocabulary of %d tokens; %d are bytes and special tokens already", p->n_vocab,
                          FIRST_CHARACTER + (int) p->n_specials);
    character_counter counter = {.count = calloc(CODES, sizeof *counter.count), .result = r};
    character *chosen = malloc(CODES * sizeof *chosen);
    token_list list = {0};
    lathe_status st = counter.count && chosen
                          ? LATHE_OK
                          : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for counting characters");
    for (size_t i = 0; i < n_texts && !st; i++)
        st = between_specials(p, texts[i], n_bytes[i], count_characters, &counter, err);
    if (!st && r->n_bytes == 0)
        st = lathe_fail(err, LATHE_ERR_INPUT, "the texts are empty; a tokenizer needs some to learn from");
    if (!st) {
        const int32_t n = choose(&counter, p, chosen);
        st = list_characters(p, chosen, n, &list, err);
        r->n_vocab = list.n;
    }
    if (!st)
        st = write_gguf(path, p, &list, NULL, err);
    list_free(&list);
    free(chosen);
    free(counter.count);
    return st;
}

lathe_status lathe_tokenizer_train(const char *const *texts, const size_t *n_bytes, size_t n_texts,
                                   const lathe_tokenizer_params *params, const char *path,
                                   lathe_tokenizer_result *result, lathe_error *err) {
    const lathe_tokenizer_params p = params ? *params : lathe_tokenizer_params_default();
    lathe_tokenizer_result r = {0};
    if (p.n_vocab < 0 || p.n_vocab > VOCAB_MAX || p.n_specials > SPECIALS_MAX)
        return lathe_fail(err, LATHE_ERR_ARG, "%d tokens and %zu special ones; at most %d and %d", p.n_vocab,
                          p.n_specials, VOCAB_MAX, SPECIALS_MAX);
    for (size_t i = 0; i < p.n_specials; i++) {
        const size_t n = strlen(p.specials[i]);
        if (n == 0 || n > SPECIAL_BYTES_MAX || !lathe_utf8_is_valid(p.specials[i], n))
            return lathe_fail(err, LATHE_ERR_ARG, "special token %zu: 1 to %d bytes of UTF-8 are needed", i,
                              SPECIAL_BYTES_MAX);
    }
    const lathe_status st = p.characters ? train_characters(texts, n_bytes, n_texts, &p, path, &r, err)
                                         : train_bpe(texts, n_bytes, n_texts, &p, path, &r, err);
    if (st)
        return st;
    r.bytes_per_token = r.n_tokens > 0 ? (double) r.n_bytes / (double) r.n_tokens : 0.0;
    if (result)
        *result = r;
    return LATHE_OK;
}
