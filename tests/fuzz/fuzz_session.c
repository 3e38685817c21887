/* fuzz_session.c - any bytes as a session file of a small model: what is accepted can be gone on with.
 *
 * The model's fingerprint is put where the file has one, as no fuzzer finds 64 bits; a file that begins with
 * 'x' keeps its own. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuzz/input_file.h"
#include "lathe/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

enum { N_CTX = 32, FINGERPRINT_AT = 8 };

static lathe_model *model;

static lathe_context *open_context(void) {
    lathe_error err = {0};
    lathe_context *context = NULL;
    if (model == NULL) {
        char path[64];
        snprintf(path, sizeof path, "/tmp/lathe-fuzz-%ld.gguf", (long) getpid());
        if (lathe_model_synth(path, NULL, NULL, &err) != LATHE_OK ||
            lathe_model_load(path, NULL, &model, &err) != LATHE_OK)
            abort();
        remove(path); /* it stays mapped */
    }
    lathe_context_params p = lathe_context_params_default();
    p.n_ctx = N_CTX;
    p.n_batch = N_CTX;
    p.n_threads = 1;
    p.n_seq_max = 2;
    if (lathe_context_new(model, &p, &context, &err) != LATHE_OK)
        abort();
    return context;
}

/* Decodes one more token of each sequence, then forgets half of the first. */
static void go_on(lathe_context *context) {
    for (int32_t s = 0; s < 2; s++) {
        lathe_error err = {0};
        const int32_t token = 300;
        const lathe_batch batch = {.tokens = &token, .seq = &s, .n_tokens = 1};
        const lathe_status st = lathe_context_decode(context, &batch, &err);
        if (st != LATHE_OK && (!err.text[0] || strchr(err.text, '\n')))
            abort();
    }
    lathe_error err = {0};
    if (lathe_context_rollback(context, 0, N_CTX / 4, &err) != LATHE_OK)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes) {
    static lathe_context *context;
    lathe_error err = {0};
    int32_t *ids = NULL;
    size_t n_ids = 0;
    if (context == NULL)
        context = open_context();
    uint8_t *copy = malloc(n_bytes + 1);
    if (copy == NULL)
        return 0;
    memcpy(copy, bytes, n_bytes);
    const uint64_t fingerprint = lathe_model_fingerprint(model);
    if (n_bytes >= FINGERPRINT_AT + sizeof fingerprint && bytes[0] != 'x')
        memcpy(copy + FINGERPRINT_AT, &fingerprint, sizeof fingerprint);
    const lathe_status st = lathe_context_load(context, input_file(copy, n_bytes), &ids, &n_ids, &err);
    free(copy);
    if (st != LATHE_OK) {
        if (!err.text[0] || strchr(err.text, '\n'))
            abort();
        return 0;
    }
    for (size_t i = 0; i < n_ids; i++)
        if (ids[i] < 0 || ids[i] >= lathe_model_n_vocab(model))
            abort();
    lathe_free(ids);
    go_on(context);
    return 0;
}
