/* fuzz_tokenizer.c - any bytes as a text, and as ids. The first byte picks the vocabulary and the options.
 * Texts come back from their ids; BPE gives what the slow definition gives (lowest rank first, leftmost on
 * ties); what streams out is always UTF-8. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "model/vocab.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

enum { N_VOCABS = 6, N_BYTES = 256, SLOW_MAX = 4096 };

static const char *const extra[] = {"aa", "ab", "aaa",       "bc", "abc", "the",
                                    "th", "he", "\xC4\xA0t", "in", "ing", "\xC3\x83\xC2\xA9",
                                    "11", "111"};
static const char *const merges[] = {"a a",
                                     "a b",
                                     "t h",
                                     "aa a",
                                     "b c",
                                     "a bc",
                                     "th e",
                                     "h e",
                                     "ab c",
                                     "\xC4\xA0 t",
                                     "i n",
                                     "in g",
                                     "\xC3\x83 \xC2\xA9",
                                     "1 1",
                                     "1 11",
                                     "11 1"};
static const char *const pieces[] = {"\xE2\x96\x81",
                                     "a",
                                     "b",
                                     "c",
                                     "aa",
                                     "ab",
                                     "aaaa",
                                     "bc",
                                     "abc",
                                     "\xE2\x96\x81"
                                     "a",
                                     "\xC3\xA9",
                                     "\xE4\xBD\xA0",
                                     "th",
                                     "the",
                                     "t",
                                     "h",
                                     "e"};
static const char *const specials[] = {"<|x|>", "<|x|><|y|>", "<user>", "<s>"};

static void add(lathe_text *texts, uint8_t *types, int32_t *n, const char *text, size_t n_bytes,
                uint8_t type) {
    texts[*n] = (lathe_text){text, n_bytes};
    types[(*n)++] = type;
}

static lathe_vocab *make(int which) {
    static const char *const pres[] = {"gpt-2", "llama-bpe", "deepseek-llm", "superbpe", "qwen2"};
    static char names[N_BYTES][8];
    static lathe_text texts[N_BYTES + 64], merge_texts[LATHE_LEN(merges)];
    static float scores[N_BYTES + 64];
    static uint8_t types[N_BYTES + 64];
    const bool spm = which == N_VOCABS - 1;
    int32_t n = 0;
    for (unsigned b = 0; b < N_BYTES; b++) {
        size_t k = 6;
        if (spm)
            snprintf(names[b], sizeof names[b], "<0x%02X>", b);
        else
            k = lathe_utf8_put(lathe_byte_to_char((uint8_t) b), names[b]);
        add(texts, types, &n, names[b], k, spm ? LATHE_TOKEN_BYTE : LATHE_TOKEN_NORMAL);
    }
    const char *const *words = spm ? pieces : extra;
    for (size_t i = 0; i < (spm ? LATHE_LEN(pieces) : LATHE_LEN(extra)); i++) {
        scores[n] = -(float) (i % 5);
        add(texts, types, &n, words[i], strlen(words[i]), LATHE_TOKEN_NORMAL);
    }
    const int32_t bos = n + 3;
    for (size_t i = 0; i < LATHE_LEN(specials); i++)
        add(texts, types, &n, specials[i], strlen(specials[i]),
            i == 2 ? LATHE_TOKEN_USER : LATHE_TOKEN_CONTROL);
    for (size_t i = 0; i < LATHE_LEN(merges); i++)
        merge_texts[i] = (lathe_text){merges[i], strlen(merges[i])};
    const lathe_vocab_spec spec = {.kind = spm ? LATHE_VOCAB_SPM : LATHE_VOCAB_BPE,
                                   .pre = spm ? NULL : pres[which],
                                   .n = n,
                                   .texts = texts,
                                   .scores = scores,
                                   .types = types,
                                   .merges = merge_texts,
                                   .n_merges = spm ? 0 : LATHE_LEN(merges),
                                   .bos = bos,
                                   .eos = bos,
                                   .eot = -1,
                                   .eom = -1,
                                   .unk = -1,
                                   .add_bos = true,
                                   .add_space_prefix = spm,
                                   .name = "fuzz"};
    lathe_vocab *v = NULL;
    lathe_error err = {0};
    if (lathe_vocab_new(&spec, &v, &err) != LATHE_OK)
        abort();
    return v;
}

/* --- The definition, slowly ----------------------------------------------------------------------- */

static lathe_status slow_word(void *user, const char *text, size_t n_bytes, lathe_error *err) {
    static int32_t s[SLOW_MAX];
    lathe_ids *out = ((void **) user)[0];
    const lathe_vocab *v = ((void **) user)[1];
    size_t n = n_bytes;
    for (size_t i = 0; i < n; i++)
        s[i] = v->byte_token[(unsigned char) text[i]];
    for (;;) {
        const lathe_merge *best = NULL;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            const lathe_merge *m = lathe_vocab_merge(v, s[i], s[i + 1]);
            if (m && (!best || m->rank < best->rank)) {
                best = m;
                at = i;
            }
        }
        if (!best)
            break;
        s[at] = best->merged;
        memmove(s + at + 1, s + at + 2, (n - at - 2) * sizeof *s);
        n--;
    }
    lathe_status st = LATHE_OK;
    for (size_t i = 0; i < n && !st; i++)
        st = lathe_ids_add(out, s[i], err);
    return st;
}

static void compare_bpe(const lathe_vocab *v, const char *text, size_t n_bytes) {
    lathe_ids fast = {0}, slow = {0};
    void *user[2] = {&slow, (void *) (uintptr_t) v};
    lathe_error err = {0};
    if (lathe_bpe_tokenize(v, text, n_bytes, &fast, &err) != LATHE_OK ||
        lathe_pretok_split(v->pretok, text, n_bytes, slow_word, user, &err) != LATHE_OK)
        abort();
    if (fast.n != slow.n || (fast.n && memcmp(fast.ids, slow.ids, fast.n * sizeof *fast.ids) != 0))
        abort();
    free(fast.ids);
    free(slow.ids);
}

/* --- Properties ----------------------------------------------------------------------------------- */

static void text_and_back(const lathe_vocab *v, const char *text, size_t n_bytes, bool special) {
    int32_t *ids = NULL;
    size_t n = 0, n_back = 0;
    char *back = NULL;
    lathe_error err = {0};
    if (lathe_tokenize(v, text, n_bytes, -1, special, &ids, &n, &err) != LATHE_OK)
        abort();
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= lathe_vocab_size(v))
            abort();
    for (size_t i = 1; i < n && !special; i++)
        if (lathe_vocab_is_control(v, ids[i]))
            abort();
    if (n == 0 || ids[0] != lathe_vocab_bos(v))
        abort();
    if (lathe_detokenize(v, ids + 1, n - 1, true, &back, &n_back, &err) != LATHE_OK)
        abort();
    /* With byte-level BPE every text comes back; SPM writes a blank for U+2581 and adds one behind specials.
     */
    if (v->kind == LATHE_VOCAB_BPE && (n_back != n_bytes || memcmp(back, text, n_bytes) != 0))
        abort();
    lathe_free(ids);
    lathe_free(back);
}

static void stream(const lathe_vocab *v, const uint8_t *bytes, size_t n_bytes) {
    lathe_detok *d = NULL;
    lathe_error err = {0};
    const char *text;
    size_t n;
    if (lathe_detok_new(v, &d, &err) != LATHE_OK)
        abort();
    for (size_t i = 0; i < n_bytes; i++) {
        lathe_detok_add(d, (int32_t) bytes[i] + (i % 7 == 0 ? 30 : -1), &text, &n);
        if (n > 0 && !lathe_utf8_is_valid(text, n))
            abort();
    }
    lathe_detok_end(d, &text, &n);
    if (n > 0 && !lathe_utf8_is_valid(text, n))
        abort();
    lathe_detok_free(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes) {
    static lathe_vocab *vocabs[N_VOCABS];
    if (n_bytes == 0)
        return 0;
    const int which = bytes[0] % N_VOCABS;
    if (!vocabs[which])
        vocabs[which] = make(which);
    const lathe_vocab *v = vocabs[which];
    const char *text = (const char *) bytes + 1;
    text_and_back(v, text, n_bytes - 1, bytes[0] & 0x80);
    stream(v, bytes + 1, n_bytes - 1);
    if (v->kind == LATHE_VOCAB_BPE && n_bytes - 1 <= SLOW_MAX)
        compare_bpe(v, text, n_bytes - 1);
    return 0;
}
