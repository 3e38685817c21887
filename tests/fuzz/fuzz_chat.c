/* fuzz_chat.c - any bytes as conversations and as templates. However people write, the ids hold exactly the
 * control tokens that the template gives for the same turns without words. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "model/vocab.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

enum { MESSAGES_MAX = 8 };

static const char *const controls[] = {"<|im_start|>",
                                       "<|im_end|>",
                                       "<|eot_id|>",
                                       "<start_of_turn>",
                                       "<end_of_turn>",
                                       "[INST]",
                                       "[/INST]",
                                       "<|user|>",
                                       "<|assistant|>",
                                       "<|end|>",
                                       "</s>",
                                       "<s>",
                                       "<|start_header_id|>",
                                       "<|end_header_id|>",
                                       "<|endoftext|>"};

static lathe_vocab *make(void) {
    static char names[256][4];
    static lathe_text texts[300];
    static uint8_t types[300];
    int32_t n = 0;
    for (; n < 256; n++) {
        texts[n] = (lathe_text){names[n], lathe_utf8_put(lathe_byte_to_char((uint8_t) n), names[n])};
        types[n] = LATHE_TOKEN_NORMAL;
    }
    for (size_t i = 0; i < LATHE_LEN(controls); i++, n++) {
        texts[n] = (lathe_text){controls[i], strlen(controls[i])};
        types[n] = LATHE_TOKEN_CONTROL;
    }
    const lathe_vocab_spec spec = {.kind = LATHE_VOCAB_BPE,
                                   .pre = "llama-bpe",
                                   .n = n,
                                   .texts = texts,
                                   .types = types,
                                   .bos = 256 + 11,
                                   .eos = 256 + 10,
                                   .eot = -1,
                                   .eom = -1,
                                   .unk = -1,
                                   .add_bos = true,
                                   .name = "fuzz"};
    lathe_vocab *v = NULL;
    if (lathe_vocab_new(&spec, &v, NULL) != LATHE_OK)
        abort();
    return v;
}

/* The control tokens among the ids, in order; returns how many. */
static size_t keep_controls(const lathe_vocab *v, int32_t *ids, size_t n) {
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (lathe_vocab_is_control(v, ids[i]))
            ids[kept++] = ids[i];
    return kept;
}

static void compare(const lathe_vocab *v, const char *kind, const lathe_message *m, size_t n, bool generate) {
    lathe_message bare[MESSAGES_MAX];
    int32_t *a = NULL, *b = NULL;
    size_t n_a = 0, n_b = 0;
    lathe_error err = {0};
    for (size_t i = 0; i < n; i++)
        bare[i] = (lathe_message){m[i].role, "x"};
    if (lathe_chat_tokenize(v, kind, m, n, generate, &a, &n_a, &err) != LATHE_OK ||
        lathe_chat_tokenize(v, kind, bare, n, generate, &b, &n_b, &err) != LATHE_OK)
        abort();
    n_a = keep_controls(v, a, n_a);
    n_b = keep_controls(v, b, n_b);
    if (n_a != n_b || memcmp(a, b, n_a * sizeof *a) != 0)
        abort();
    lathe_free(a);
    lathe_free(b);
    char *text = NULL;
    if (lathe_chat_text(kind, m, n, generate, NULL, &text, &err) != LATHE_OK)
        abort();
    for (size_t i = 0; i < n; i++) { /* nobody's words are lost, but for white space at their ends */
        const char *words = m[i].text + strspn(m[i].text, " \t\r\n\f\v");
        char *copy = strdup(words);
        size_t k = copy ? strlen(copy) : 0;
        while (k > 0 && strchr(" \t\r\n\f\v", copy[k - 1]))
            k--;
        if (copy)
            copy[k] = '\0';
        if (copy && strcmp(m[i].role, "system") != 0 && !strstr(text, copy))
            abort();
        free(copy);
    }
    lathe_free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes) {
    static const char *const roles[] = {"system", "user", "assistant"};
    static lathe_vocab *vocab;
    if (n_bytes < 2)
        return 0;
    if (!vocab)
        vocab = make();
    size_t n_kinds = 0;
    while (lathe_chat_kind_at(n_kinds))
        n_kinds++;
    char *text = malloc(n_bytes + 1);
    if (!text)
        return 0;
    memcpy(text, bytes, n_bytes);
    text[n_bytes] = '\0';
    const char *found = lathe_chat_kind(text); /* the same bytes as a template */
    (void) found;
    lathe_message m[MESSAGES_MAX];
    size_t n = 0;
    for (size_t i = 2; i < n_bytes && n < MESSAGES_MAX; i += strlen(text + i) + 1, n++)
        m[n] = (lathe_message){roles[(bytes[1] >> n % 4) % 3], text + i};
    compare(vocab, lathe_chat_kind_at(bytes[0] % n_kinds), m, n, bytes[1] & 0x80);
    free(text);
    return 0;
}
