/* vocab_gguf.c - the vocabulary of a GGUF file (keys tokenizer.ggml.*). */
#include <stdlib.h>
#include <string.h>

#include "model/vocab.h"

/* true if name is one of the blank-separated words. */
static bool one_of(const char *name, const char *words) {
    const size_t n = strlen(name);
    for (const char *p = words; *p;) {
        const size_t k = strcspn(p, " ");
        if (k == n && memcmp(p, name, n) == 0)
            return true;
        p += k + (p[k] == ' ');
    }
    return false;
}

/* What a family assumes where the file is silent. */
static void set_defaults(lathe_vocab_spec *spec) {
    spec->eot = spec->eom = -1;
    if (spec->kind != LATHE_VOCAB_BPE) {
        spec->bos = 1;
        spec->eos = 2;
        spec->unk = 0;
        spec->add_bos = true;
        spec->add_space_prefix = spec->kind == LATHE_VOCAB_SPM;
        return;
    }
    spec->bos = spec->eos = 11;
    spec->unk = -1;
    spec->add_bos = one_of(
        spec->pre, "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 tekken chameleon");
    spec->ignore_merges = one_of(
        spec->pre, "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 tekken youtu minicpm5");
    if (one_of(spec->pre, "chatglm-bpe glm4"))
        spec->bos = -1;
}

/* An id; one outside of the vocabulary is ignored with a note. */
static lathe_status read_id(const lathe_gguf *g, const char *key, const lathe_logger *logger, int32_t n,
                            int32_t *id, lathe_error *err) {
    int64_t value = *id;
    const lathe_status st = lathe_gguf_int(g, key, LATHE_GGUF_OPTIONAL, INT64_MIN, INT64_MAX, &value, err);
    if (st)
        return st;
    if (value >= n || value < -1) {
        if (lathe_gguf_find(g, key))
            lathe_log(logger, LATHE_LOG_WARN, "%s: key '%s' is %lld; the vocabulary has %d tokens; ignored",
                      lathe_gguf_path(g), key, (long long) value, n);
        value = -1;
    }
    *id = (int32_t) value;
    return LATHE_OK;
}

static lathe_status read_ids(const lathe_gguf *g, const lathe_logger *logger, lathe_vocab_spec *spec,
                             lathe_error *err) {
    static const char *const ends[] = {"fim_pad", "fim_rep", "fim_sep"};
    const struct {
        const char *key;
        int32_t *id;
    } ids[] = {
        {"tokenizer.ggml.bos_token_id", &spec->bos},     {"tokenizer.ggml.eos_token_id", &spec->eos},
        {"tokenizer.ggml.eot_token_id", &spec->eot},     {"tokenizer.ggml.eom_token_id", &spec->eom},
        {"tokenizer.ggml.unknown_token_id", &spec->unk},
    };
    lathe_status st = LATHE_OK;
    for (size_t i = 0; i < LATHE_LEN(ids) && !st; i++)
        st = read_id(g, ids[i].key, logger, spec->n, ids[i].id, err);
    for (size_t i = 0; i < LATHE_LEN(ends) && !st; i++) {
        char key[64] = "tokenizer.ggml.";
        int32_t id = -1;
        memcpy(key + 15, ends[i], 7);
        memcpy(key + 22, "_token_id", 10);
        st = read_id(g, key, logger, spec->n, &id, err);
        if (!st && id >= 0)
            spec->end_ids[spec->n_end_ids++] = id;
    }
    if (!st)
        st = lathe_gguf_bool(g, "tokenizer.ggml.add_bos_token", LATHE_GGUF_OPTIONAL, &spec->add_bos, err);
    if (!st)
        st = lathe_gguf_bool(g, "tokenizer.ggml.add_eos_token", LATHE_GGUF_OPTIONAL, &spec->add_eos, err);
    if (!st)
        st = lathe_gguf_bool(g, "tokenizer.ggml.add_space_prefix", LATHE_GGUF_OPTIONAL,
                             &spec->add_space_prefix, err);
    return st;
}

/* Strings of an array as pointers into the file. */
static lathe_text *strings_of(const lathe_gguf_array *array, lathe_error *err) {
    lathe_text *texts = calloc((size_t) array->n + 1, sizeof *texts);
    if (!texts) {
        lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a vocabulary");
        return NULL;
    }
    lathe_gguf_strings it = lathe_gguf_strings_of(array);
    for (uint64_t i = 0; i < array->n && lathe_gguf_strings_next(&it, &texts[i].bytes, &texts[i].n_bytes);
         i++)
        continue;
    return texts;
}

static lathe_status read_arrays(const lathe_gguf *g, lathe_vocab_spec *spec, float **scores, uint8_t **types,
                                lathe_error *err) {
    const uint32_t numbers = 1u << LATHE_GGUF_F32 | 1u << LATHE_GGUF_I32;
    lathe_gguf_array array;
    lathe_status st =
        lathe_gguf_array_get(g, "tokenizer.ggml.scores", LATHE_GGUF_OPTIONAL, numbers, spec->n, &array, err);
    if (st)
        return st;
    if (array.n > 0) {
        *scores = malloc((size_t) spec->n * sizeof **scores);
        if (!*scores)
            return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a vocabulary");
        for (int32_t i = 0; i < spec->n; i++) {
            const double x = lathe_gguf_array_real(&array, (uint64_t) i);
            (*scores)[i] = x == x ? (float) x : -1e30f; /* NaN would break the order of merges */
        }
    }
    st = lathe_gguf_array_get(g, "tokenizer.ggml.token_type", LATHE_GGUF_OPTIONAL,
                              1u << LATHE_GGUF_I32 | 1u << LATHE_GGUF_U32, spec->n, &array, err);
    if (st)
        return st;
    if (array.n > 0) {
        *types = malloc((size_t) spec->n);
        if (!*types)
            return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a vocabulary");
        for (int32_t i = 0; i < spec->n; i++) {
            const int64_t t = lathe_gguf_array_int(&array, (uint64_t) i);
            (*types)[i] = t >= 1 && t <= 6 ? (uint8_t) t : (uint8_t) LATHE_TOKEN_NORMAL;
        }
    }
    spec->scores = *scores;
    spec->types = *types;
    return LATHE_OK;
}

lathe_status lathe_vocab_from_gguf(const lathe_gguf *g, const lathe_logger *logger, lathe_vocab **vocab,
                                   lathe_error *err) {
    const char *model = NULL, *pre = NULL, *general_name = "";
    lathe_vocab_spec spec = {.name = lathe_gguf_path(g)};
    float *scores = NULL;
    uint8_t *types = NULL;
    lathe_text *texts = NULL, *merges = NULL;
    lathe_gguf_array array = {0};
    lathe_status st = lathe_gguf_text(g, "tokenizer.ggml.model", LATHE_GGUF_REQUIRED, &model, err);
    if (!st)
        st = lathe_gguf_text(g, "tokenizer.ggml.pre", LATHE_GGUF_OPTIONAL, &pre, err);
    if (!st)
        st = lathe_gguf_text(g, "general.name", LATHE_GGUF_OPTIONAL, &general_name, err);
    if (st)
        return st;
    if (strcmp(model, "llama") == 0)
        spec.kind = LATHE_VOCAB_SPM;
    else if (strcmp(model, "gpt2") == 0)
        spec.kind = LATHE_VOCAB_BPE;
    else if (strcmp(model, "gemma4") == 0)
        spec.kind = LATHE_VOCAB_RAW_BPE;
    else
        return lathe_fail(err, LATHE_ERR_UNSUPPORTED,
                          "%s: tokenizer.ggml.model '%.40s' is not one of llama (SentencePiece), gpt2 "
                          "(byte-level BPE), gemma4",
                          lathe_gguf_path(g), model);
    if (spec.kind == LATHE_VOCAB_BPE && !pre)
        lathe_log(logger, LATHE_LOG_WARN,
                  "%s: no key 'tokenizer.ggml.pre'; words are cut by the default expressions",
                  lathe_gguf_path(g));
    spec.pre = spec.kind == LATHE_VOCAB_RAW_BPE ? "gemma4" : (pre ? pre : "default");
    st = lathe_gguf_array_get(g, "tokenizer.ggml.tokens", LATHE_GGUF_REQUIRED, 1u << LATHE_GGUF_STRING, -1,
                              &array, err);
    if (!st && (array.n < 1 || array.n > 1u << 22))
        st = lathe_fail(err, LATHE_ERR_INPUT, "%s: %llu tokens; a vocabulary has 1 to %u", lathe_gguf_path(g),
                        (unsigned long long) array.n, 1u << 22);
    if (st)
        return st;
    spec.n = (int32_t) array.n;
    set_defaults(&spec);
    spec.strips_after_special =
        strstr(general_name, "phi-3") || strstr(general_name, "phi3") || strstr(general_name, "Phi-3");
    texts = strings_of(&array, err);
    spec.texts = texts;
    st = texts ? read_arrays(g, &spec, &scores, &types, err) : LATHE_ERR_MEMORY;
    if (!st)
        st = read_ids(g, logger, &spec, err);
    if (!st)
        st = lathe_gguf_array_get(g, "tokenizer.ggml.merges",
                                  spec.kind == LATHE_VOCAB_BPE ? LATHE_GGUF_REQUIRED : LATHE_GGUF_OPTIONAL,
                                  1u << LATHE_GGUF_STRING, -1, &array, err);
    if (!st && array.n > 0 && array.n <= 1u << 22) {
        merges = strings_of(&array, err);
        spec.merges = merges;
        spec.n_merges = merges ? (size_t) array.n : 0;
        st = merges ? LATHE_OK : LATHE_ERR_MEMORY;
    }
    if (!st)
        st = lathe_vocab_new(&spec, vocab, err);
    free(texts);
    free(merges);
    free(scores);
    free(types);
    return st;
}
