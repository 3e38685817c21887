/* Learned merges are those of the definition, counted anew by a slow loop; files read back; hashes are known
 * ones. */
#include "support/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/sha256.h"
#include "model/tok_train.h"
#include "model/vocab.h"

typedef struct counted {
    const char *text;
    int64_t count;
} counted;

static void learn(const counted *words, size_t n, int32_t n_merges, int64_t min_count,
                  lathe_bpe_model *model) {
    lathe_words w;
    lathe_error err = {0};
    lathe_words_init(&w);
    for (size_t i = 0; i < n; i++)
        check_ok(lathe_words_add(&w, words[i].text, strlen(words[i].text), words[i].count, &err), err);
    check_ok(lathe_bpe_learn(&w, 256 + n_merges, min_count, NULL, model, &err), err);
    lathe_words_free(&w);
}

static void expect_merge(const lathe_bpe_model *m, int32_t i, const char *text, int64_t count) {
    char byte[1];
    size_t n;
    assert_true(i < m->n_merges);
    const char *got = lathe_bpe_symbol(m, m->merges[i].merged, byte, &n);
    assert_int_equal(n, strlen(text));
    assert_memory_equal(got, text, n);
    assert_int_equal(m->merges[i].count, count);
}

/* By hand (learning.md F.g 1); at the sixth merge (n, ew) beats (ew, est) by its smaller ids. */
static void textbook_words(void **state) {
    (void) state;
    static const counted words[] = {{"low", 5}, {"lower", 2}, {"newest", 6}, {"widest", 3}};
    static const counted merges[] = {{"es", 9},  {"est", 9},    {"lo", 7},   {"low", 7},   {"ew", 6},
                                     {"new", 6}, {"newest", 6}, {"dest", 3}, {"idest", 3}, {"widest", 3}};
    lathe_bpe_model m;
    learn(words, LATHE_LEN(words), 10, 2, &m);
    assert_int_equal(m.n_merges, 10);
    for (int32_t i = 0; i < 10; i++)
        expect_merge(&m, i, merges[i].text, merges[i].count);
    assert_int_equal(m.n_tokens, 5 + 2 * 3 + 6 + 3); /* low; low e r; newest; widest */
    lathe_bpe_model_free(&m);
}

/* Overlapping pairs count as they appear, and aaa merges its left two first. */
static void overlapping_pairs(void **state) {
    (void) state;
    static const counted words[] = {{"aaab", 4}, {"aab", 3}};
    static const counted merges[] = {{"aa", 11}, {"ab", 4}, {"aaab", 4}, {"aab", 3}};
    lathe_bpe_model m;
    learn(words, LATHE_LEN(words), 4, 2, &m);
    for (int32_t i = 0; i < 4; i++)
        expect_merge(&m, i, merges[i].text, merges[i].count);
    lathe_bpe_model_free(&m);
}

static void rare_pairs_and_long_tokens_stop(void **state) {
    (void) state;
    lathe_bpe_model m;
    static const counted once[] = {{"xyz", 1}};
    learn(once, 1, 10, 2, &m);
    assert_int_equal(m.n_merges, 0);
    lathe_bpe_model_free(&m);
    char *text = malloc(100001);
    memset(text, 'a', 100000);
    text[100000] = '\0';
    const counted run[] = {{text, 1}};
    learn(run, 1, 100, 2, &m);
    for (int32_t i = 256; i < m.n_symbols; i++) {
        char byte[1];
        size_t n;
        lathe_bpe_symbol(&m, i, byte, &n);
        assert_true(n <= LATHE_LEARNED_BYTES_MAX);
    }
    assert_true(m.n_merges >= 9);
    lathe_bpe_model_free(&m);
    free(text);
}

/* --- The same merges as counting everything anew at each step ------------------------------------- */

enum { SLOW_SYMBOLS = 420 };

typedef struct slow {
    lathe_words words;
    int32_t *s;
    int32_t *n;
    int64_t *counts; /* [SLOW_SYMBOLS][SLOW_SYMBOLS] */
} slow;

static void slow_merge(slow *w, int32_t left, int32_t right, int32_t merged) {
    for (uint32_t i = 0; i < w->words.n; i++) {
        int32_t *s = w->s + w->words.start[i], j = 0;
        for (int32_t k = 0; k < w->n[i]; k++) {
            const bool hit = k + 1 < w->n[i] && s[k] == left && s[k + 1] == right;
            s[j++] = hit ? merged : s[k];
            k += hit;
        }
        w->n[i] = j;
    }
}

static void slow_best(slow *w, int32_t *left, int32_t *right, int64_t *count) {
    memset(w->counts, 0, sizeof *w->counts * SLOW_SYMBOLS * SLOW_SYMBOLS);
    for (uint32_t i = 0; i < w->words.n; i++)
        for (int32_t k = 0; k + 1 < w->n[i]; k++) {
            const int32_t *s = w->s + w->words.start[i] + k;
            w->counts[s[0] * SLOW_SYMBOLS + s[1]] += w->words.count[i];
        }
    int32_t best = 0;
    for (int32_t i = 0; i < SLOW_SYMBOLS * SLOW_SYMBOLS; i++)
        if (w->counts[i] > w->counts[best])
            best = i;
    *left = best / SLOW_SYMBOLS;
    *right = best % SLOW_SYMBOLS;
    *count = w->counts[best];
}

static lathe_status add_word(void *user, const char *text, size_t n, lathe_error *err) {
    return lathe_words_add(user, text, n, 1, err);
}

static void equals_the_slow_loop(void **state) {
    (void) state;
    char *text = NULL;
    size_t n = 0;
    lathe_error err = {0};
    check_ok(lathe_file_read(need_shared("data/text/alice29.txt"), 1 << 22, &text, &n, &err), err);
    slow w = {0};
    lathe_words_init(&w.words);
    lathe_pretok *p = NULL;
    check_ok(lathe_pretok_new("gpt-2", &p, &err), err);
    check_ok(lathe_pretok_split(p, text, n, add_word, &w.words, &err), err);
    w.s = malloc(w.words.text.n_bytes * sizeof *w.s);
    w.n = malloc(w.words.n * sizeof *w.n);
    w.counts = malloc(sizeof *w.counts * SLOW_SYMBOLS * SLOW_SYMBOLS);
    for (size_t i = 0; i < w.words.text.n_bytes; i++)
        w.s[i] = (unsigned char) w.words.text.data[i];
    for (uint32_t i = 0; i < w.words.n; i++)
        w.n[i] = (int32_t) (w.words.start[i + 1] - w.words.start[i]);
    lathe_bpe_model m;
    check_ok(lathe_bpe_learn(&w.words, SLOW_SYMBOLS, 2, NULL, &m, &err), err);
    assert_true(m.n_merges >= SLOW_SYMBOLS - 256);
    for (int32_t i = 0; i < m.n_merges; i++) {
        int32_t left, right;
        int64_t count;
        slow_best(&w, &left, &right, &count);
        assert_int_equal(m.merges[i].left, left);
        assert_int_equal(m.merges[i].right, right);
        assert_int_equal(m.merges[i].count, count);
        slow_merge(&w, left, right, m.merges[i].merged);
    }
    lathe_bpe_model_free(&m);
    lathe_words_free(&w.words);
    lathe_pretok_free(p);
    free(w.s);
    free(w.n);
    free(w.counts);
    free(text);
}

/* --- Files --------------------------------------------------------------------------------------- */

static lathe_vocab *open_vocab(const char *path) {
    lathe_gguf *g = NULL;
    lathe_vocab *v = NULL;
    lathe_error err = {0};
    check_ok(lathe_gguf_open(path, NULL, &g, &err), err);
    check_ok(lathe_vocab_from_gguf(g, NULL, &v, &err), err);
    lathe_gguf_close(g);
    return v;
}

static const char story[] =
    "Once upon a time there was a low tower. The lower tower was the lowest, \xC3\xA9\xC3\xA9! "
    "Once upon a time there was the widest tower; the tower was low. <|endoftext|> 12 12 12 don't don't";

static void expect_back(const lathe_vocab *v, const char *text, size_t n) {
    int32_t *ids = NULL;
    size_t n_ids = 0, n_back = 0;
    char *back = NULL;
    lathe_error err = {0};
    check_ok(lathe_tokenize(v, text, n, 0, false, &ids, &n_ids, &err), err);
    check_ok(lathe_detokenize(v, ids, n_ids, false, &back, &n_back, &err), err);
    assert_int_equal(n_back, n);
    assert_memory_equal(back, text, n);
    lathe_free(ids);
    lathe_free(back);
}

static void files_read_back(void **state) {
    (void) state;
    const char *texts[] = {story, "the tower, the tower"};
    const size_t n_bytes[] = {sizeof story - 1, 20};
    const char *path = temp_file(".gguf"), *other = temp_file(".gguf");
    lathe_tokenizer_params params = lathe_tokenizer_params_default();
    lathe_tokenizer_result r;
    lathe_error err = {0};
    params.n_vocab = 280;
    check_ok(lathe_tokenizer_train(texts, n_bytes, 2, &params, path, &r, &err), err);
    lathe_vocab *v = open_vocab(path);
    assert_int_equal(r.n_vocab, 280);
    assert_int_equal(lathe_vocab_size(v), r.n_vocab);
    assert_int_equal(lathe_vocab_eos(v), r.n_vocab - 1);
    assert_true(lathe_vocab_is_end(v, r.n_vocab - 1));
    assert_false(lathe_vocab_adds_bos(v));
    assert_true(r.bytes_per_token > 1.2);
    /* The ids that the trainer counted are those that the tokenizer gives. */
    int32_t *ids = NULL;
    size_t n = 0, total = 0;
    for (int i = 0; i < 2; i++) {
        check_ok(lathe_tokenize(v, texts[i], n_bytes[i], 0, false, &ids, &n, &err), err);
        total += n;
        lathe_free(ids);
    }
    assert_int_equal(total, r.n_tokens);
    /* No token reaches over a border of words: never a blank behind a letter. */
    for (int32_t id = 256; id < r.n_vocab - 1; id++) {
        const char *piece = lathe_vocab_piece(v, id, &n);
        for (size_t k = 1; k < n; k++)
            assert_false(piece[k] == ' ' && piece[k - 1] != ' ');
    }
    /* Any bytes come back. */
    char all[512];
    for (int i = 0; i < 512; i++)
        all[i] = (char) (i * 7 + i / 256);
    expect_back(v, all, sizeof all);
    expect_back(v, story, sizeof story - 1);
    /* The order of texts does not matter. */
    const char *swapped[] = {texts[1], texts[0]};
    const size_t n_swapped[] = {n_bytes[1], n_bytes[0]};
    check_ok(lathe_tokenizer_train(swapped, n_swapped, 2, &params, other, &r, &err), err);
    lathe_vocab *again = open_vocab(other);
    uint8_t a[32], b[32];
    check_ok(lathe_vocab_hash(v, a, &err), err);
    check_ok(lathe_vocab_hash(again, b, &err), err);
    assert_memory_equal(a, b, 32);
    lathe_vocab_free(again);
    /* A token file of it. */
    const char *tokens = temp_file(".ltok");
    lathe_token_file *file = NULL;
    const int32_t some[] = {1, 279, 258};
    check_ok(lathe_token_file_new(tokens, v, &file, &err), err);
    check_ok(lathe_token_file_add(file, some, 1, &err), err);
    check_ok(lathe_token_file_add(file, some + 1, 2, &err), err);
    const int32_t outside = r.n_vocab;
    assert_int_equal(lathe_token_file_add(file, &outside, 1, &err), LATHE_ERR_ARG);
    check_ok(lathe_token_file_finish(file, &err), err);
    char *bytes = NULL;
    check_ok(lathe_file_read(tokens, 4096, &bytes, &n, &err), err);
    assert_int_equal(n, 256 + 6);
    static const uint8_t head[24] = {'L', 'T', 'O', 'K', 1, 0, 0, 0, 2, 0, 0, 0, 0x18, 1, 0, 0, 3};
    static const uint8_t data[6] = {1, 0, 0x17, 1, 2, 1};
    assert_memory_equal(bytes, head, sizeof head);
    assert_memory_equal(bytes + 24, a, 32);
    assert_memory_equal(bytes + 256, data, sizeof data);
    free(bytes);
    lathe_vocab_free(v);
}

static void specials_in_the_text(void **state) {
    (void) state;
    const char *texts[] = {story};
    const size_t n_bytes[] = {sizeof story - 1};
    const char *path = temp_file(".gguf");
    lathe_tokenizer_params params = lathe_tokenizer_params_default();
    lathe_tokenizer_result r;
    lathe_error err = {0};
    params.parse_special = true;
    check_ok(lathe_tokenizer_train(texts, n_bytes, 1, &params, path, &r, &err), err);
    assert_int_equal(r.n_bytes, sizeof story - 1 - 13);
    static const char *const word[] = {"a"};
    params.specials = word;
    assert_int_equal(lathe_tokenizer_train(texts, n_bytes, 1, &params, path, &r, &err), LATHE_ERR_ARG);
    static const char *const empty[] = {""};
    params.specials = empty;
    assert_int_equal(lathe_tokenizer_train(texts, n_bytes, 1, &params, path, &r, &err), LATHE_ERR_ARG);
    params = lathe_tokenizer_params_default();
    params.n_vocab = 256;
    assert_int_equal(lathe_tokenizer_train(texts, n_bytes, 1, &params, path, &r, &err), LATHE_ERR_ARG);
    params.n_vocab = 300;
    params.pre = "gpt-9";
    assert_int_equal(lathe_tokenizer_train(texts, n_bytes, 1, &params, path, &r, &err),
                     LATHE_ERR_UNSUPPORTED);
    params.pre = "gpt-2";
    const size_t none[] = {0};
    assert_int_equal(lathe_tokenizer_train(texts, none, 1, &params, path, &r, &err), LATHE_ERR_INPUT);
}

static void characters_by_frequency(void **state) {
    (void) state;
    const char *texts[] = {"ab a\xC3\xA9 bb\xFF"
                           "b ca a"}; /* a 4, b 4, blank 4, c 1, e-acute 1, one stray byte */
    const size_t n_bytes[] = {strlen(texts[0])};
    const char *path = temp_file(".gguf");
    lathe_tokenizer_params params = lathe_tokenizer_params_default();
    lathe_tokenizer_result r;
    lathe_error err = {0};
    params.characters = true;
    params.min_count = 1;
    check_ok(lathe_tokenizer_train(texts, n_bytes, 1, &params, path, &r, &err), err);
    lathe_vocab *v = open_vocab(path);
    assert_int_equal(r.n_vocab, 3 + 256 + 5 + 1);
    assert_int_equal(r.n_invalid, 1);
    static const char *const order[] = {" ", "a", "b", "c", "\xC3\xA9"};
    for (int32_t i = 0; i < 5; i++) {
        size_t n;
        const char *piece = lathe_vocab_piece(v, 259 + i, &n);
        assert_int_equal(n, strlen(order[i]));
        assert_memory_equal(piece, order[i], n);
    }
    expect_back(v, texts[0], n_bytes[0]);
    expect_back(v, " leading and \xE4\xBD\xA0", 16);
    lathe_vocab_free(v);
}

/* FIPS 180-4's own examples, and a text that ends where the padding needs a block more. */
static void known_hashes(void **state) {
    (void) state;
    static const struct {
        const char *text, *hash;
    } cases[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    for (size_t i = 0; i < LATHE_LEN(cases); i++) {
        lathe_sha256 h;
        uint8_t out[32];
        char hex[65];
        lathe_sha256_begin(&h);
        lathe_sha256_add(&h, cases[i].text, strlen(cases[i].text));
        lathe_sha256_end(&h, out);
        for (int k = 0; k < 32; k++)
            snprintf(hex + 2 * k, 3, "%02x", out[k]);
        assert_string_equal(hex, cases[i].hash);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(textbook_words),
        cmocka_unit_test(overlapping_pairs),
        cmocka_unit_test(rare_pairs_and_long_tokens_stop),
        cmocka_unit_test(equals_the_slow_loop),
        cmocka_unit_test(files_read_back),
        cmocka_unit_test(specials_in_the_text),
        cmocka_unit_test(characters_by_frequency),
        cmocka_unit_test(known_hashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
