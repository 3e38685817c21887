/* synth_tokenizer.c - the vocabulary of random models: bytes, a space, then every word over a to z by length.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/synth.h"

/* The n-th word (from 1) of a, b, ..., z, aa, ab, ...; returns its length. */
static size_t word(int32_t n, char out[8]) {
    char reversed[8];
    size_t len = 0;
    for (; n > 0; n = (n - 1) / 26)
        reversed[len++] = (char) ('a' + (n - 1) % 26);
    for (size_t i = 0; i < len; i++)
        out[i] = reversed[len - 1 - i];
    out[len] = 0;
    return len;
}

lathe_status lathe_synth_put_tokenizer(int32_t n_vocab, lathe_gguf_writer *w, lathe_error *err) {
    enum { BYTE_FIRST = 3, SPACE = BYTE_FIRST + 256 };
    const size_t n = (size_t) n_vocab;
    char(*texts)[8] = calloc(n, sizeof *texts);
    const char **pointers = calloc(n, sizeof *pointers);
    float *scores = calloc(n, sizeof *scores);
    int32_t *types = calloc(n, sizeof *types);
    lathe_status st = LATHE_OK;
    if (!texts || !pointers || !scores || !types) {
        st = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a vocabulary of %zu tokens", n);
        goto done;
    }
    for (int32_t id = 0; id < n_vocab; id++) {
        static const char *const special[BYTE_FIRST] = {"<unk>", "<s>", "</s>"};
        pointers[id] = texts[id];
        scores[id] = (float) -id;
        types[id] = id == 0 ? 2 : id < BYTE_FIRST ? 3 : id < SPACE ? 6 : 1;
        if (id < BYTE_FIRST)
            pointers[id] = special[id];
        else if (id < SPACE)
            snprintf(texts[id], sizeof *texts, "<0x%02X>", (unsigned) (id - BYTE_FIRST) & 0xFF);
        else if (id == SPACE)
            memcpy(texts[id], "\xE2\x96\x81", 4);
        else
            word(id - SPACE, texts[id]);
    }
    lathe_gguf_put_text(w, "tokenizer.ggml.model", "llama");
    lathe_gguf_put_text(w, "tokenizer.ggml.pre", "default");
    lathe_gguf_put_strings(w, "tokenizer.ggml.tokens", pointers, NULL, n);
    lathe_gguf_put_array(w, "tokenizer.ggml.scores", LATHE_GGUF_F32, scores, n);
    lathe_gguf_put_array(w, "tokenizer.ggml.token_type", LATHE_GGUF_I32, types, n);
    lathe_gguf_put_u32(w, "tokenizer.ggml.bos_token_id", 1);
    lathe_gguf_put_u32(w, "tokenizer.ggml.eos_token_id", 2);
    lathe_gguf_put_u32(w, "tokenizer.ggml.unknown_token_id", 0);
    lathe_gguf_put_bool(w, "tokenizer.ggml.add_bos_token", true);
    lathe_gguf_put_bool(w, "tokenizer.ggml.add_eos_token", false);

done:
    free(texts);
    free(pointers);
    free(scores);
    free(types);
    return st;
}
