/* input.c - see input.h. */
#include "cli/input.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/text.h"
#include "base/utf8.h"
#include "model/vocab.h"

enum { TEXT_LIMIT = 1 << 30, TOKEN_WIDTH = 24 };

static lathe_status join_words(const char *const *words, size_t n_words, char **text, size_t *n_bytes,
                               lathe_error *err) {
    lathe_buf buf;
    lathe_buf_init(&buf, TEXT_LIMIT);
    lathe_status st = lathe_buf_add(&buf, "", 0, err);
    for (size_t i = 0; i < n_words && !st; i++) {
        if (i > 0)
            st = lathe_buf_text(&buf, " ", err);
        if (!st)
            st = lathe_buf_text(&buf, words[i], err);
    }
    if (st) {
        lathe_buf_free(&buf);
        return st;
    }
    *text = lathe_buf_take(&buf, n_bytes);
    return LATHE_OK;
}

/* Checks or repairs *text in place of the caller. */
static lathe_status settle_utf8(const char *name, int invalid, char **text, size_t *n_bytes,
                                lathe_error *err) {
    if (invalid == LATHE_INPUT_BYTES || lathe_utf8_is_valid(*text, *n_bytes))
        return LATHE_OK;
    if (invalid == LATHE_INPUT_REPLACE) {
        char *repaired = lathe_utf8_repair(*text, *n_bytes, n_bytes);
        if (!repaired)
            return lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory", name);
        free(*text);
        *text = repaired;
        return LATHE_OK;
    }
    size_t at = 0, n;
    uint32_t code;
    while (at < *n_bytes && (n = lathe_utf8_next(*text + at, *n_bytes - at, &code)) > 0)
        at += n;
    return lathe_fail(err, LATHE_ERR_INPUT, "%s: no valid UTF-8 at byte %zu; convert the text to UTF-8", name,
                      at);
}

lathe_status lathe_input_text(const lathe_shared_args *args, const char *const *words, size_t n_words,
                              int invalid, char **text, size_t *n_bytes, lathe_error *err) {
    char *got = NULL;
    size_t n = 0;
    const char *name = "the text";
    lathe_status st;
    if (args->prompt) {
        st = join_words(&args->prompt, 1, &got, &n, err);
    } else if (args->file) {
        name = strcmp(args->file, "-") == 0 ? "stdin" : args->file;
        st = lathe_file_read(args->file, TEXT_LIMIT, &got, &n, err);
    } else if (n_words > 0) {
        st = join_words(words, n_words, &got, &n, err);
    } else if (!isatty(STDIN_FILENO)) {
        name = "stdin";
        st = lathe_file_read("-", TEXT_LIMIT, &got, &n, err);
    } else {
        st = lathe_fail(err, LATHE_ERR_ARG, "no text; give one with -p TEXT or -f FILE, or pipe it in");
    }
    if (!st)
        st = settle_utf8(name, invalid, &got, &n, err);
    if (st) {
        free(got);
        return st;
    }
    *text = got;
    *n_bytes = n;
    return LATHE_OK;
}

lathe_status lathe_input_ids(const char *path, int32_t n_vocab, int32_t **ids, size_t *n_ids,
                             lathe_error *err) {
    static const char separators[] = " \t\r\n,[]";
    char *text = NULL;
    size_t n_bytes = 0;
    lathe_status st = lathe_file_read(path, TEXT_LIMIT, &text, &n_bytes, err);
    if (st)
        return st;
    lathe_ids list = {0};
    for (const char *p = text; !st;) {
        p += strspn(p, separators);
        if (!*p)
            break;
        char word[TOKEN_WIDTH];
        const size_t n = strcspn(p, separators);
        int64_t id = -1;
        if (n < sizeof word) {
            memcpy(word, p, n);
            word[n] = '\0';
        }
        if (n >= sizeof word || !lathe_parse_int(word, &id) || id < 0 || id >= n_vocab)
            st = lathe_fail(err, LATHE_ERR_INPUT,
                            "%s: entry %zu is '%.*s'; token ids are numbers from 0 to %d", path, list.n + 1,
                            (int) (n < 40 ? n : 40), p, n_vocab - 1);
        else
            st = lathe_ids_add(&list, (int32_t) id, err);
        p += n;
    }
    if (!st && list.n == 0)
        st =
            lathe_fail(err, LATHE_ERR_INPUT, "%s: no ids; numbers separated by white space are needed", path);
    free(text);
    if (st) {
        free(list.ids);
        return st;
    }
    *ids = list.ids;
    *n_ids = list.n;
    return LATHE_OK;
}

lathe_status lathe_input_vocab(const lathe_shared_args *args, const lathe_logger *logger, lathe_vocab **vocab,
                               lathe_error *err) {
    lathe_gguf *gguf = NULL;
    if (!args->model)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "no model; name a GGUF file with -m FILE or the variable LATHE_MODEL");
    const lathe_gguf_params params = {.no_mmap = args->no_mmap, .logger = *logger};
    lathe_status st = lathe_gguf_open(args->model, &params, &gguf, err);
    if (!st)
        st = lathe_vocab_from_gguf(gguf, logger, vocab, err);
    lathe_gguf_close(gguf);
    return st;
}

void lathe_input_vocab_free(lathe_vocab *vocab) {
    lathe_vocab_free(vocab);
}

lathe_status lathe_input_text_ids(const char *model, const char *path, const lathe_logger *logger,
                                  int32_t **ids, size_t *n, lathe_error *err) {
    const lathe_shared_args args = {.model = model};
    lathe_vocab *vocab = NULL;
    char *text = NULL;
    size_t n_bytes;
    lathe_status st = lathe_input_vocab(&args, logger, &vocab, err);
    if (!st)
        st = lathe_file_read(path, (size_t) 1 << 32, &text, &n_bytes, err);
    if (!st)
        st = lathe_tokenize(vocab, text, n_bytes, -1, false, ids, n, err);
    free(text);
    lathe_vocab_free(vocab);
    return st;
}
