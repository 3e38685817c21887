/* Ids are those that the vocabularies' own tokenizers give; texts come back from them. */
#include "support/check.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/machine.h"
#include "base/utf8.h"
#include "model/vocab.h"

static lathe_vocab *load(const char *relative) {
    const char *path = need_shared(relative);
    lathe_gguf *g = NULL;
    lathe_vocab *v = NULL;
    lathe_error err = {0};
    check_ok(lathe_gguf_open(path, NULL, &g, &err), err);
    check_ok(lathe_vocab_from_gguf(g, NULL, &v, &err), err);
    lathe_gguf_close(g);
    return v;
}

/* Tokenizes and compares with ids written as a line of numbers. */
static void expect_line(const lathe_vocab *v, const char *text, size_t n, const char *line, size_t n_line) {
    int32_t *ids = NULL;
    size_t n_ids = 0;
    lathe_error err = {0};
    check_ok(lathe_tokenize(v, text, n, 0, false, &ids, &n_ids, &err), err);
    char got[65536];
    size_t k = 0;
    got[0] = '\0';
    for (size_t i = 0; i < n_ids && k < sizeof got - 16; i++) {
        const int w = snprintf(got + k, sizeof got - k, "%s%d", i ? " " : "", ids[i]);
        assert_true(w > 0);
        k += (size_t) w;
    }
    free(ids);
    while (n_line > 0 && line[n_line - 1] == ' ')
        n_line--;
    while (n_line > 0 && line[0] == ' ') {
        line++;
        n_line--;
    }
    if (k != n_line || memcmp(got, line, k) != 0) {
        print_error("text '%.*s'\n got %s\nwant %.*s\n", (int) n, text, got, (int) n_line, line);
        fail();
    }
}

/* Returns how many vectors of vocab/NAME.gguf.inp and .out agree; all must. */
static void all_vectors(const char *name) {
    char path[128];
    static const char separator[] = "\n__ggml_vocab_test__\n";
    int k = snprintf(path, sizeof path, "vocab/%s.gguf", name);
    lathe_vocab *v = load(path);
    char *in = NULL, *out = NULL;
    size_t n_in = 0, n_out = 0;
    lathe_error err = {0};
    k = snprintf(path, sizeof path, "vocab/%s.gguf.inp", name);
    check_ok(lathe_file_read(need_shared(path), 1 << 20, &in, &n_in, &err), err);
    k = snprintf(path, sizeof path, "vocab/%s.gguf.out", name);
    assert_true(k > 0);
    check_ok(lathe_file_read(need_shared(path), 1 << 20, &out, &n_out, &err), err);
    int n_vectors = 0;
    const char *line = out;
    for (const char *text = in; text;) {
        const char *end = strstr(text, separator);
        const size_t n_text = end ? (size_t) (end - text) : strlen(text);
        const size_t n_line = strcspn(line, "\n");
        expect_line(v, text, n_text, line, n_line);
        n_vectors++;
        line += n_line + (line[n_line] == '\n');
        text = end ? end + strlen(separator) : NULL;
    }
    assert_int_equal(n_vectors, 47);
    free(in);
    free(out);
    lathe_vocab_free(v);
}

static void llama_spm_vectors(void **state) {
    (void) state;
    all_vectors("ggml-vocab-llama-spm");
}

static void gpt2_vectors(void **state) {
    (void) state;
    all_vectors("ggml-vocab-gpt-2");
}

static void falcon_vectors(void **state) {
    (void) state;
    all_vectors("ggml-vocab-falcon");
}

static void deepseek_vectors(void **state) {
    (void) state;
    all_vectors("ggml-vocab-deepseek-llm");
}

static void llama2_prompts(void **state) {
    (void) state;
    lathe_vocab *v = load("vocab/ggml-vocab-llama-spm.gguf");
    json_t *file = NULL;
    lathe_error err = {0};
    check_ok(lathe_json_read(need_shared("models/reference/llama_spm_vectors.json"), 1 << 20, &file, &err),
             err);
    const json_t *list = json_object_get(file, "vectors"); /* [[text, [ids]], ...] */
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *text = json_array_get(json_array_get(list, i), 0),
                     *want = json_array_get(json_array_get(list, i), 1);
        assert_true(json_is_string(text) && json_is_array(want));
        int32_t *ids = NULL;
        size_t n_ids = 0;
        check_ok(lathe_tokenize(v, json_string_value(text), json_string_length(text), 1, false, &ids, &n_ids,
                                &err),
                 err);
        assert_int_equal(n_ids, json_array_size(want));
        for (size_t k = 0; k < n_ids; k++)
            assert_int_equal(ids[k], json_integer_value(json_array_get(want, k)));
        free(ids);
        n++;
    }
    assert_int_equal(n, 5);
    json_decref(file);
    lathe_vocab_free(v);
}

/* --- Words --------------------------------------------------------------------------------------- */

typedef struct joined {
    char text[512];
    size_t n;
} joined;

static lathe_status join(void *user, const char *text, size_t n, lathe_error *err) {
    joined *j = user;
    (void) err;
    memcpy(j->text + j->n, text, n);
    j->n += n;
    j->text[j->n++] = '/';
    j->text[j->n] = '\0';
    return LATHE_OK;
}

static void words_of_each_family(void **state) {
    (void) state;
    /* Computed with PCRE2 by an independent program. */
    static const struct {
        const char *pre, *text, *words;
    } cases[] = {
        {"gpt-2", "I'M don't WE'RE", "I/'/M/ don/'t/ WE/'/RE/"},
        {"default", "I'M don't WE'RE", "I/'/M/ don/'/t/ WE/'/RE/"},
        {"llama-bpe", "I'M don't WE'RE", "I/'M/ don/'t/ WE/'RE/"},
        {"qwen2", "I'M don't WE'RE", "I/'M/ don/'t/ WE/'RE/"},
        {"gpt-4o", "I'M don't WE'RE", "I'M/ don't/ WE'RE/"},
        {"deepseek-v3", "I'M don't WE'RE", "I/'M/ don/'t/ WE/'RE/"},
        {"gpt-2", "x12345.6", "x/12345/./6/"},
        {"default", "x12345.6", "x/123/45/./6/"},
        {"llama-bpe", "x12345.6", "x/123/45/./6/"},
        {"qwen2", "x12345.6", "x/1/2/3/4/5/./6/"},
        {"gpt-2", "  a\n\n b\t\tc  ", " / a/\n\n/ b/\t/\t/c/  /"},
        {"llama-bpe", "  a\n\n b\t\tc  ", " / a/\n\n/ b/\t/\tc/  /"},
        {"gpt-4o", "na\xC3\xAFve\xC3\x89T\xC3\x89 caf\xC3\xA9\xE2\x97\x8C\xCC\x81s",
         "na\xC3\xAFve/\xC3\x89T\xC3\x89/ caf\xC3\xA9/\xE2\x97\x8C\xCC\x81s/"},
        {"deepseek-v3", "\xE4\xBD\xA0\xE5\xA5\xBDok\xE4\xB8\x96\xE7\x95\x8C",
         "\xE4\xBD\xA0\xE5\xA5\xBD/ok/\xE4\xB8\x96\xE7\x95\x8C/"},
        {"gpt-2", "\xE4\xBD\xA0\xE5\xA5\xBDok\xE4\xB8\x96\xE7\x95\x8C",
         "\xE4\xBD\xA0\xE5\xA5\xBDok\xE4\xB8\x96\xE7\x95\x8C/"},
        {"gpt-2", "a_b+=C`d`", "a/_/b/+=/C/`/d/`/"},
        {"llama-bpe", "a_b+=C`d`", "a/_b/+=/C/`d/`/"},
        {"gpt-2", "\xC2\xBD \xE2\x82\x82\xC2\xB3 \xE0\xB9\x93",
         "\xC2\xBD/ \xE2\x82\x82\xC2\xB3/ \xE0\xB9\x93/"},
        {"qwen2", "\xC2\xBD \xE2\x82\x82\xC2\xB3 \xE0\xB9\x93",
         "\xC2\xBD/ /\xE2\x82\x82/\xC2\xB3/ /\xE0\xB9\x93/"},
        {"gpt-4o", "x12345.6", "x/123/45/./6/"},
        {"deepseek-v3", "x12345.6", "x/123/45/./6/"},
        {"default", "  a\n\n b\t\tc  ", " / a/\n\n/ b/\t/\t/c/  /"},
        {"qwen2", "  a\n\n b\t\tc  ", " / a/\n\n/ b/\t/\tc/  /"},
        {"gpt-4o", "  a\n\n b\t\tc  ", " / a/\n\n/ b/\t/\tc/  /"},
        {"deepseek-v3", "  a\n\n b\t\tc  ", " / a/\n\n/ b/\t/\tc/  /"},
        {"llama-bpe", "\xE4\xBD\xA0\xE5\xA5\xBDok\xE4\xB8\x96\xE7\x95\x8C",
         "\xE4\xBD\xA0\xE5\xA5\xBDok\xE4\xB8\x96\xE7\x95\x8C/"},
        {"default", "a_b+=C`d`", "a/_/b/+=/C/`/d/`/"},
        {"qwen2", "a_b+=C`d`", "a/_b/+=/C/`d/`/"},
        {"default", "\xC2\xBD \xE2\x82\x82\xC2\xB3 \xE0\xB9\x93",
         "\xC2\xBD/ /\xE2\x82\x82\xC2\xB3/ /\xE0\xB9\x93/"},
        {"llama-bpe", "\xC2\xBD \xE2\x82\x82\xC2\xB3 \xE0\xB9\x93",
         "\xC2\xBD/ /\xE2\x82\x82\xC2\xB3/ /\xE0\xB9\x93/"},
        {"deepseek-llm", "na\xC3\xAFve", "na/\xC3\xAF/ve/"},
        {"superbpe", "a 1234567 b12", "a /1/234/567/ b/12/"},
        {"jina-v2-de", "don't", "don/'t/"},
    };
    for (size_t i = 0; i < LATHE_LEN(cases); i++) {
        lathe_pretok *p = NULL;
        lathe_error err = {0};
        joined j = {.n = 0};
        check_ok(lathe_pretok_new(cases[i].pre, &p, &err), err);
        check_ok(lathe_pretok_split(p, cases[i].text, strlen(cases[i].text), join, &j, &err), err);
        assert_string_equal(j.text, cases[i].words);
        lathe_pretok_free(p);
    }
    lathe_pretok *p = NULL;
    lathe_error err = {0};
    assert_int_equal(lathe_pretok_new("gpt-3", &p, &err), LATHE_ERR_UNSUPPORTED);
    assert_int_equal(lathe_pretok_new("", &p, &err), LATHE_ERR_UNSUPPORTED);
    assert_int_equal(lathe_pretok_new("phi-2 mpt", &p, &err), LATHE_ERR_UNSUPPORTED);
}

/* Every name that the table lists compiles, and no piece is lost whatever the family. */
static void every_family_splits(void **state) {
    (void) state;
    static const char *const names[] = {
        "gpt-2",          "phi-2",        "mpt",           "olmo",         "jais",
        "gigachat",       "jina-v2-en",   "roberta-bpe",   "exaone4",      "trillion",
        "modern-bert",    "mellum",       "starcoder",     "refact",       "command-r",
        "smollm",         "codeshell",    "exaone",        "minerva-7b",   "falcon",
        "default",        "llama-bpe",    "llama3",        "llama-v3",     "falcon3",
        "falcon-h1",      "pixtral",      "lfm2",          "dbrx",         "smaug-bpe",
        "chatglm-bpe",    "glm4",         "qwen2",         "stablelm2",    "deepseek-r1-qwen",
        "megrez",         "hunyuan",      "grok-2",        "solar-open",   "qwen35",
        "tekken",         "gpt-4o",       "llama4",        "kanana2",      "minimax-m2",
        "deepseek-coder", "deepseek-v3",  "hunyuan-dense", "deepseek-llm", "bloom",
        "poro-chat",      "gpt3-finnish", "viking",        "seed-coder",   "bailingmoe",
        "bailingmoe2",    "superbpe",     "gemma4",
    };
    static const char text[] =
        "I'M x12345.6  a\n\n b\t\tc na\xC3\xAFve \xE4\xBD\xA0\xE5\xA5\xBD a_b+=C`d` \xC2\xBD  ";
    for (size_t i = 0; i < LATHE_LEN(names); i++) {
        lathe_pretok *p = NULL;
        lathe_error err = {0};
        joined j = {.n = 0};
        check_ok(lathe_pretok_new(names[i], &p, &err), err);
        check_ok(lathe_pretok_split(p, text, sizeof text - 1, join, &j, &err), err);
        char all[256];
        size_t n = 0;
        for (size_t k = 0; k < strlen(j.text); k++)
            if (j.text[k] != '/')
                all[n++] = j.text[k];
        assert_int_equal(n, sizeof text - 1);
        assert_memory_equal(all, text, n);
        lathe_pretok_free(p);
    }
}

/* The vectors see a wrong pre-tokenizer: falcon's with gpt-2's expression alone, and the other way round. */
static void vectors_see_a_wrong_pre_tokenizer(void **state) {
    (void) state;
    static const char *const pairs[][2] = {{"ggml-vocab-falcon", "gpt-2"}, {"ggml-vocab-gpt-2", "default"}};
    for (size_t f = 0; f < LATHE_LEN(pairs); f++) {
        char path[128];
        int k = snprintf(path, sizeof path, "vocab/%s.gguf", pairs[f][0]);
        assert_true(k > 0);
        lathe_vocab *right = load(path), *wrong = load(path);
        lathe_error err = {0};
        char *in = NULL;
        size_t n_in = 0, n_a = 0, n_b = 0;
        int32_t *a = NULL, *b = NULL;
        lathe_pretok_free(wrong->pretok);
        wrong->pretok = NULL;
        check_ok(lathe_pretok_new(pairs[f][1], &wrong->pretok, &err), err);
        k = snprintf(path, sizeof path, "vocab/%s.gguf.inp", pairs[f][0]);
        check_ok(lathe_file_read(need_shared(path), 1 << 20, &in, &n_in, &err), err);
        check_ok(lathe_tokenize(right, in, n_in, 0, false, &a, &n_a, &err), err);
        check_ok(lathe_tokenize(wrong, in, n_in, 0, false, &b, &n_b, &err), err);
        assert_true(n_a != n_b || memcmp(a, b, n_a * sizeof *a) != 0);
        free(in);
        lathe_free(a);
        lathe_free(b);
        lathe_vocab_free(right);
        lathe_vocab_free(wrong);
    }
}

static void byte_alphabet_is_a_bijection(void **state) {
    (void) state;
    static const struct {
        uint8_t byte;
        uint32_t code;
    } known[] = {{0x00, 0x100}, {0x0A, 0x10A}, {0x20, 0x120}, {0x7F, 0x121},
                 {0xA0, 0x142}, {0xAD, 0x143}, {'A', 'A'}};
    for (size_t i = 0; i < LATHE_LEN(known); i++)
        assert_int_equal(lathe_byte_to_char(known[i].byte), known[i].code);
    for (int b = 0; b < 256; b++)
        assert_int_equal(lathe_char_to_byte(lathe_byte_to_char((uint8_t) b)), b);
    assert_int_equal(lathe_char_to_byte(0x144), -1);
    assert_int_equal(lathe_char_to_byte(0xAD), -1);
}

/* --- Special tokens, bytes, streaming: a small SPM vocabulary ------------------------------------- */

static lathe_vocab *small_spm(void) {
    static char byte_texts[256][8];
    static lathe_text texts[270];
    static float scores[270];
    static uint8_t types[270];
    static const char *const first[] = {"<unk>", "<s>", "</s>"};
    int n = 0;
    for (int i = 0; i < 3; i++, n++) {
        texts[n] = (lathe_text){first[i], strlen(first[i])};
        types[n] = i == 0 ? LATHE_TOKEN_UNKNOWN : LATHE_TOKEN_CONTROL;
    }
    for (int b = 0; b < 256; b++, n++) {
        const int k = snprintf(byte_texts[b], sizeof byte_texts[b], "<0x%02X>", (unsigned) b);
        texts[n] = (lathe_text){byte_texts[b], (size_t) k};
        types[n] = LATHE_TOKEN_BYTE;
    }
    static const char *const rest[] = {"\xE2\x96\x81", "a", "b", "aa", "aaaa", "<|x|>", "<|x|><|y|>", "ab"};
    for (size_t i = 0; i < LATHE_LEN(rest); i++, n++) {
        texts[n] = (lathe_text){rest[i], strlen(rest[i])};
        types[n] = i == 5 || i == 6 ? LATHE_TOKEN_CONTROL : LATHE_TOKEN_NORMAL;
        scores[n] = -(float) i;
    }
    const lathe_vocab_spec spec = {.kind = LATHE_VOCAB_SPM,
                                   .n = n,
                                   .texts = texts,
                                   .scores = scores,
                                   .types = types,
                                   .bos = 1,
                                   .eos = 2,
                                   .eot = -1,
                                   .eom = -1,
                                   .unk = 0,
                                   .add_bos = true,
                                   .add_space_prefix = true,
                                   .name = "small"};
    lathe_vocab *v = NULL;
    lathe_error err = {0};
    check_ok(lathe_vocab_new(&spec, &v, &err), err);
    return v;
}

static void expect_ids(const lathe_vocab *v, const char *text, int bos, bool special, const int32_t *want,
                       size_t n_want) {
    int32_t *ids = NULL;
    size_t n = 0;
    lathe_error err = {0};
    check_ok(lathe_tokenize(v, text, strlen(text), bos, special, &ids, &n, &err), err);
    assert_int_equal(n, n_want);
    if (n_want)
        assert_memory_equal(ids, want, n * sizeof *ids);
    free(ids);
}

static void specials_need_permission(void **state) {
    (void) state;
    lathe_vocab *v = small_spm();
    enum { BLANK = 259, A = 260, B = 261, AA = 262, X = 264, XY = 265, AB = 266 };
    /* Every special is followed by the blank of a new piece; user text may not make control tokens. */
    expect_ids(v, "a<|x|>b", 0, true, (int32_t[]){BLANK, A, X, BLANK, B}, 5);
    expect_ids(v, "<|x|><|y|>", 0, true, (int32_t[]){XY}, 1); /* longest first, not leftmost shortest */
    expect_ids(v, "", -1, true, (int32_t[]){1}, 1);
    expect_ids(v, "", 0, true, NULL, 0); /* an empty text gives no blank either */
    int32_t *ids = NULL;
    size_t n = 0;
    lathe_error err = {0};
    check_ok(lathe_tokenize(v, "<s>", 3, 0, false, &ids, &n, &err), err);
    for (size_t i = 0; i < n; i++)
        assert_int_not_equal(ids[i], 1);
    free(ids);
    lathe_vocab_free(v);
}

static void best_score_merges_first(void **state) {
    (void) state;
    lathe_vocab *v = small_spm();
    enum { BLANK = 259, A = 260, AA = 262, AAAA = 263, AB = 266 };
    /* aa (score -3) before ab (-7): " aaab" is _ aa ab? the leftmost aa merges first, then a and b join. */
    expect_ids(v, "aaab", 0, false, (int32_t[]){BLANK, AA, AB}, 3);
    expect_ids(v, "aaaaa", 0, false, (int32_t[]){BLANK, AAAA, A}, 3);
    lathe_vocab_free(v);
}

static void unknown_characters_become_bytes(void **state) {
    (void) state;
    lathe_vocab *v = small_spm();
    expect_ids(v, "\xF0\x9F\x99\x82", 0, false, (int32_t[]){259, 3 + 0xF0, 3 + 0x9F, 3 + 0x99, 3 + 0x82}, 5);
    expect_ids(v, "\xFF", 0, false, (int32_t[]){259, 3 + 0xFF}, 2);
    lathe_vocab_free(v);
}

static void streaming_never_splits_a_character(void **state) {
    (void) state;
    lathe_vocab *v = small_spm();
    static const char text[] = "\xC3\xA9\xE4\xBD\xA0\xF0\x9F\x99\x82";
    lathe_detok *d = NULL;
    lathe_error err = {0};
    const char *piece;
    size_t n;
    check_ok(lathe_detok_new(v, &d, &err), err);
    char all[32] = "";
    size_t k = 0;
    for (size_t i = 0; i + 1 < sizeof text; i++) {
        lathe_detok_add(d, 3 + (unsigned char) text[i], &piece, &n);
        assert_true(n == 0 || lathe_utf8_is_valid(piece, n));
        memcpy(all + k, piece, n);
        k += n;
    }
    assert_int_equal(k, sizeof text - 1); /* nothing complete is held back */
    assert_memory_equal(all, text, k);
    lathe_detok_end(d, &piece, &n);
    assert_int_equal(n, 0);
    /* F0 9F then A: one U+FFFD, then the A. */
    static const unsigned char cut[] = {0xF0, 0x9F, 0x41};
    k = 0;
    for (size_t i = 0; i < sizeof cut; i++) {
        lathe_detok_add(d, 3 + cut[i], &piece, &n);
        memcpy(all + k, piece, n);
        k += n;
    }
    all[k] = '\0';
    assert_string_equal(all, "\xEF\xBF\xBD"
                             "A");
    lathe_detok_add(d, 3 + 0xE4, &piece, &n);
    assert_int_equal(n, 0);
    lathe_detok_end(d, &piece, &n);
    assert_int_equal(n, 3);
    lathe_detok_free(d);
    lathe_vocab_free(v);
}

static void texts_come_back(void **state) {
    (void) state;
    static const char *const files[] = {"vocab/ggml-vocab-llama-spm.gguf", "vocab/ggml-vocab-gpt-2.gguf",
                                        "vocab/ggml-vocab-falcon.gguf"};
    char *text = NULL;
    size_t n = 0;
    lathe_error err = {0};
    check_ok(lathe_file_read(need_shared("data/text/wagahaiwa_nekodearu.txt"), 1 << 22, &text, &n, &err),
             err);
    n = n > 60000 ? 60000 : n;
    while (!lathe_utf8_is_valid(text, n))
        n--;
    for (size_t f = 0; f < LATHE_LEN(files); f++) {
        lathe_vocab *v = load(files[f]);
        int32_t *ids = NULL;
        size_t n_ids = 0, n_back = 0;
        char *back = NULL;
        check_ok(lathe_tokenize(v, text, n, -1, false, &ids, &n_ids, &err), err);
        check_ok(lathe_detokenize(v, ids, n_ids, false, &back, &n_back, &err), err);
        assert_int_equal(n_back, n);
        assert_memory_equal(back, text, n);
        free(ids);
        free(back);
        lathe_vocab_free(v);
    }
    free(text);
}

/* A megabyte of one character is n log n work: seconds would mean n squared. The bound is generous on
 * purpose. */
static void a_megabyte_of_one_character(void **state) {
    (void) state;
    static const char *const files[] = {"vocab/ggml-vocab-llama-spm.gguf", "vocab/ggml-vocab-gpt-2.gguf",
                                        "vocab/ggml-vocab-deepseek-llm.gguf"};
    enum { N = 1 << 20 };
    char *text = malloc(N);
    for (size_t f = 0; f < LATHE_LEN(files); f++) {
        lathe_vocab *v = load(files[f]);
        static const char fill[] = {'a', ' ', '\n', '7'};
        for (size_t k = 0; k < sizeof fill; k++) {
            memset(text, fill[k], N);
            memcpy(text + N - 3, "\xE4\xBD\xA0", 3);
            int32_t *ids = NULL;
            size_t n_ids = 0;
            lathe_error err = {0};
            const double t0 = lathe_now();
            check_ok(lathe_tokenize(v, text, N, 0, false, &ids, &n_ids, &err), err);
            const double seconds = lathe_now() - t0;
            print_message("%s, 1 MiB of 0x%02X: %.0f ms, %zu tokens\n", files[f], (unsigned) fill[k],
                          1e3 * seconds, n_ids);
            assert_true(seconds < 30.0);
            free(ids);
        }
        lathe_vocab_free(v);
    }
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama_spm_vectors),
        cmocka_unit_test(gpt2_vectors),
        cmocka_unit_test(falcon_vectors),
        cmocka_unit_test(deepseek_vectors),
        cmocka_unit_test(llama2_prompts),
        cmocka_unit_test(words_of_each_family),
        cmocka_unit_test(every_family_splits),
        cmocka_unit_test(vectors_see_a_wrong_pre_tokenizer),
        cmocka_unit_test(byte_alphabet_is_a_bijection),
        cmocka_unit_test(specials_need_permission),
        cmocka_unit_test(best_score_merges_first),
        cmocka_unit_test(unknown_characters_become_bytes),
        cmocka_unit_test(streaming_never_splits_a_character),
        cmocka_unit_test(texts_come_back),
        cmocka_unit_test(a_megabyte_of_one_character),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
