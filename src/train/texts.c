/* texts.c - token files from text files: documents, a held-out end of each file, one shuffled order. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/sha256.h"
#include "lathe/model.h"
#include "lathe/train.h"
#include "model/gguf.h"
#include "model/vocab.h"

enum { LINES_A_DOCUMENT = 2000, CHAPTERS_MIN = 3 };
#define FILE_BYTES_MAX ((size_t) 1 << 32)

typedef struct document {
    const char *text;
    size_t n_bytes;
    int32_t repeats; /* in the training file; 0: held out */
} document;

typedef struct work {
    const lathe_train_texts *p;
    char **texts;
    size_t *n_bytes;
    document *documents;
    size_t n_documents, capacity;
    lathe_vocab *vocab;
    lathe_train_texts_result *result;
    lathe_error *err;
} work;

bool lathe_tokens_is_file(const char *path) {
    char magic[4] = {0};
    FILE *f = fopen(path, "rb");
    bool yes = f != NULL && fread(magic, 1, 4, f) == 4 && memcmp(magic, "LTOK", 4) == 0;
    if (f != NULL)
        fclose(f);
    return yes;
}

/* --- Documents -------------------------------------------------------------------------------------- */

static lathe_status add(work *w, const char *text, size_t n_bytes) {
    size_t blank = 0;
    while (blank < n_bytes && (text[blank] == '\n' || text[blank] == '\r' || text[blank] == ' '))
        blank++;
    if (blank == n_bytes)
        return LATHE_OK;
    if (w->n_documents == w->capacity) {
        size_t more = w->capacity ? 2 * w->capacity : 1024;
        document *d = realloc(w->documents, more * sizeof *d);
        if (d == NULL)
            return lathe_fail(w->err, LATHE_ERR_MEMORY, "no memory for %zu documents", more);
        w->documents = d;
        w->capacity = more;
    }
    w->documents[w->n_documents++] = (document){text, n_bytes, 1};
    return LATHE_OK;
}

static bool begins_chapter(const char *line, size_t n) {
    return n > 8 && (memcmp(line, "CHAPTER ", 8) == 0 || memcmp(line, "Chapter ", 8) == 0);
}

static size_t line_length(const char *text, size_t n) {
    const char *end = memchr(text, '\n', n);
    return end != NULL ? (size_t) (end - text) + 1 : n;
}

/* A text without separators: chapters where it has some, else so many lines each. */
static lathe_status split_lines(work *w, const char *text, size_t n) {
    size_t chapters = 0, begin = 0, lines = 0, k;
    for (size_t i = 0; i < n; i += k) {
        k = line_length(text + i, n - i);
        chapters += begins_chapter(text + i, k);
    }
    lathe_status status = LATHE_OK;
    for (size_t i = 0; i < n && status == LATHE_OK; i += k, lines++) {
        k = line_length(text + i, n - i);
        if (i > begin &&
            (chapters >= CHAPTERS_MIN ? begins_chapter(text + i, k) : lines >= LINES_A_DOCUMENT)) {
            status = add(w, text + begin, i - begin);
            begin = i;
            lines = 0;
        }
    }
    return status == LATHE_OK ? add(w, text + begin, n - begin) : status;
}

static lathe_status split(work *w, const char *text, size_t n) {
    const char *mark = w->p->separator;
    size_t n_mark = mark != NULL ? strlen(mark) : 0, begin = 0;
    lathe_status status = LATHE_OK;
    for (size_t i = 0; n_mark > 0 && i + n_mark <= n && status == LATHE_OK;) {
        const char *hit = memchr(text + i, mark[0], n - n_mark + 1 - i);
        if (hit == NULL)
            break;
        i = (size_t) (hit - text);
        if (memcmp(hit, mark, n_mark) != 0) {
            i++;
            continue;
        }
        status = add(w, text + begin, i - begin);
        begin = i += n_mark;
    }
    if (status != LATHE_OK)
        return status;
    return begin > 0 ? add(w, text + begin, n - begin) : split_lines(w, text, n);
}

/* Of the documents from `first` on the last share is held out: whole ones, or the end of a single one. */
static lathe_status hold_out(work *w, size_t first, int32_t repeats) {
    size_t n = w->n_documents - first, held = (size_t) (w->p->hold_out * (double) n + 0.5);
    for (size_t i = first; i < w->n_documents; i++)
        w->documents[i].repeats = repeats;
    if (!(w->p->hold_out > 0) || n == 0)
        return LATHE_OK;
    held = held < 1 ? 1 : held;
    if (n == 1) {
        document *d = &w->documents[first];
        size_t wanted = d->n_bytes - (size_t) (w->p->hold_out * (double) d->n_bytes), at = wanted;
        while (at > 0 && d->text[at - 1] != '\n') /* back to the beginning of a line, else of a character */
            at--;
        for (at = at > 0 ? at : wanted;
             at > 0 && at < d->n_bytes && ((unsigned char) d->text[at] & 0xc0) == 0x80;)
            at--;
        if (at == 0 || at >= d->n_bytes)
            return LATHE_OK;
        lathe_status status = add(w, d->text + at, d->n_bytes - at);
        w->documents[first].n_bytes = at;
        if (status == LATHE_OK && w->n_documents == first + 2)
            w->documents[first + 1].repeats = 0;
        return status;
    }
    for (size_t i = w->n_documents - (held < n ? held : n - 1); i < w->n_documents; i++)
        w->documents[i].repeats = 0;
    return LATHE_OK;
}

static lathe_status read_texts(work *w) {
    lathe_status status = LATHE_OK;
    for (size_t i = 0; i < w->p->n_paths && status == LATHE_OK; i++) {
        size_t first = w->n_documents;
        status = lathe_file_read(w->p->paths[i], FILE_BYTES_MAX, &w->texts[i], &w->n_bytes[i], w->err);
        if (status == LATHE_OK)
            status = split(w, w->texts[i], w->n_bytes[i]);
        if (status == LATHE_OK)
            status = hold_out(w, first, w->p->repeats != NULL ? w->p->repeats[i] : 1);
        if (status == LATHE_OK && w->n_documents == first)
            status = lathe_fail(w->err, LATHE_ERR_INPUT, "%s: there is no text in it", w->p->paths[i]);
    }
    return status;
}

/* --- Tokenizer -------------------------------------------------------------------------------------- */

static lathe_status open_vocab(work *w, const char *path) {
    lathe_gguf *g = NULL;
    lathe_status status = lathe_gguf_open(path, NULL, &g, w->err);
    if (status == LATHE_OK)
        status = lathe_vocab_from_gguf(g, &w->p->logger, &w->vocab, w->err);
    lathe_gguf_close(g);
    snprintf(w->result->tokenizer, sizeof w->result->tokenizer, "%s", path);
    return status;
}

/* "bpe", "bytes" and "char" learn one from all texts (held-out parts too: it only counts words). */
static lathe_status make_vocab(work *w) {
    const char *kind = w->p->tokenizer != NULL ? w->p->tokenizer : "bpe";
    bool bytes = strcmp(kind, "bytes") == 0, characters = strcmp(kind, "char") == 0;
    if (!bytes && !characters && strcmp(kind, "bpe") != 0)
        return open_vocab(w, kind);
    const char *specials[1] = {w->p->separator != NULL ? w->p->separator : "<|endoftext|>"};
    lathe_tokenizer_params t = lathe_tokenizer_params_default();
    t.characters = characters;
    t.n_vocab = bytes ? 257 : w->p->n_vocab;
    t.specials = specials;
    t.n_specials = 1;
    t.parse_special = true;
    if (characters)
        t.min_count = 1;
    t.progress = w->p->progress;
    char path[sizeof w->result->tokenizer];
    if (snprintf(path, sizeof path, "%s/tokenizer.gguf", w->p->folder) >= (int) sizeof path)
        return lathe_fail(w->err, LATHE_ERR_ARG, "the path '%s' is too long", w->p->folder);
    lathe_tokenizer_result r;
    lathe_status status = lathe_tokenizer_train((const char *const *) w->texts, w->n_bytes, w->p->n_paths, &t,
                                                path, &r, w->err);
    return status == LATHE_OK ? open_vocab(w, path) : status;
}

/* --- Files ------------------------------------------------------------------------------------------ */

static lathe_status put(work *w, lathe_token_file *file, const document *d, uint64_t *n_tokens) {
    int32_t *ids = NULL, bos = lathe_vocab_bos(w->vocab);
    size_t n = 0;
    lathe_status status = LATHE_OK;
    if (bos >= 0) {
        status = lathe_token_file_add(file, &bos, 1, w->err);
        ++*n_tokens;
    }
    if (status == LATHE_OK)
        status = lathe_tokenize(w->vocab, d->text, d->n_bytes, 0, false, &ids, &n, w->err);
    if (status == LATHE_OK)
        status = lathe_token_file_add(file, ids, n, w->err);
    lathe_free(ids);
    *n_tokens += n;
    w->result->n_bytes += d->n_bytes;
    return status;
}

/* The documents that are kept (held: those that are not) in the order of the permutation. */
static lathe_status write_file(work *w, const char *path, bool held, uint64_t *n_tokens) {
    size_t n = 0;
    for (size_t i = 0; i < w->n_documents; i++)
        n += held ? w->documents[i].repeats == 0 : (size_t) w->documents[i].repeats;
    size_t *order = malloc((n + 1) * sizeof *order), at = 0;
    lathe_token_file *file = NULL;
    lathe_status status = order == NULL
                              ? lathe_fail(w->err, LATHE_ERR_MEMORY, "no memory for %zu documents", n)
                              : lathe_token_file_new(path, w->vocab, &file, w->err);
    for (size_t i = 0; i < w->n_documents && status == LATHE_OK; i++)
        for (int32_t k = 0; k < (held ? w->documents[i].repeats == 0 : w->documents[i].repeats); k++)
            order[at++] = i;
    *n_tokens = 0;
    for (size_t i = 0; i < n && status == LATHE_OK; i++) {
        size_t which = held ? i : (size_t) lathe_permuted(w->p->seed, 0, n, i);
        status = put(w, file, &w->documents[order[which]], n_tokens);
        if (status == LATHE_OK && i % 64 == 0)
            status = lathe_progress_step(&w->p->progress, "tokenizing", (double) i, (double) n, w->err);
    }
    free(order);
    if (status == LATHE_OK)
        return lathe_token_file_finish(file, w->err);
    lathe_token_file_free(file);
    return status;
}

/* A hash of everything that decides what the files hold. */
static void stamp_of(const work *w, char text[65]) {
    uint8_t hash[32];
    char line[512];
    lathe_sha256 h;
    lathe_sha256_begin(&h);
    for (size_t i = 0; i < w->p->n_paths; i++) {
        lathe_sha256_add(&h, w->texts[i], w->n_bytes[i]);
        int n = snprintf(line, sizeof line, "|%zu|%d|", w->n_bytes[i],
                         w->p->repeats != NULL ? w->p->repeats[i] : 1);
        lathe_sha256_add(&h, line, (size_t) n);
    }
    int n = snprintf(line, sizeof line, "%.200s|%d|%.9g|%.100s|%llu",
                     w->p->tokenizer != NULL ? w->p->tokenizer : "bpe", w->p->n_vocab, w->p->hold_out,
                     w->p->separator != NULL ? w->p->separator : "", (unsigned long long) w->p->seed);
    lathe_sha256_add(&h, line, (size_t) n);
    lathe_sha256_end(&h, hash);
    for (int i = 0; i < 32; i++)
        snprintf(text + 2 * i, 3, "%02x", hash[i]);
}

/* true where the folder holds the files of this stamp already. */
static bool reuse(work *w, const char *json_path, const char *stamp) {
    json_t *j = NULL;
    lathe_train_texts_result *r = w->result;
    if (lathe_json_read(json_path, 1 << 20, &j, NULL) != LATHE_OK)
        return false;
    const char *was = json_string_value(json_object_get(j, "inputs_sha256")),
               *tokenizer = json_string_value(json_object_get(j, "tokenizer"));
    bool same = was != NULL && tokenizer != NULL && strcmp(was, stamp) == 0 && lathe_tokens_is_file(r->train);
    if (same) {
        snprintf(r->tokenizer, sizeof r->tokenizer, "%s", tokenizer);
        r->n_train = (uint64_t) json_integer_value(json_object_get(j, "train_tokens"));
        r->n_eval = (uint64_t) json_integer_value(json_object_get(j, "held_out_tokens"));
        r->n_documents = (uint64_t) json_integer_value(json_object_get(j, "documents"));
        r->n_bytes = (uint64_t) json_integer_value(json_object_get(j, "bytes"));
        if (r->n_eval == 0)
            r->eval[0] = '\0';
    }
    json_decref(j);
    return same;
}

static lathe_status make(work *w) {
    lathe_train_texts_result *r = w->result;
    char json_path[sizeof r->train], stamp[65];
    if (snprintf(r->train, sizeof r->train, "%s/train.ltok", w->p->folder) >= (int) sizeof r->train ||
        snprintf(r->eval, sizeof r->eval, "%s/held-out.ltok", w->p->folder) >= (int) sizeof r->eval ||
        snprintf(json_path, sizeof json_path, "%s/data.json", w->p->folder) >= (int) sizeof json_path)
        return lathe_fail(w->err, LATHE_ERR_ARG, "the path '%s' is too long", w->p->folder);
    lathe_status status = lathe_folder_make(w->p->folder, w->err);
    if (status == LATHE_OK)
        status = read_texts(w);
    if (status != LATHE_OK)
        return status;
    stamp_of(w, stamp);
    if (reuse(w, json_path, stamp))
        return LATHE_OK;
    status = make_vocab(w);
    if (status == LATHE_OK)
        status = write_file(w, r->train, false, &r->n_train);
    if (status == LATHE_OK)
        status = write_file(w, r->eval, true, &r->n_eval);
    if (status != LATHE_OK)
        return status;
    r->n_documents = w->n_documents;
    json_t *j = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I}", "inputs_sha256", stamp, "tokenizer", r->tokenizer,
                          "train_tokens", (json_int_t) r->n_train, "held_out_tokens", (json_int_t) r->n_eval,
                          "documents", (json_int_t) r->n_documents, "bytes", (json_int_t) r->n_bytes);
    char *text = j != NULL ? lathe_json_text(j) : NULL;
    status = text == NULL ? lathe_fail(w->err, LATHE_ERR_MEMORY, "%s: no memory", json_path)
                          : lathe_file_write(json_path, text, strlen(text), w->err);
    free(text);
    json_decref(j);
    if (r->n_eval == 0)
        r->eval[0] = '\0';
    return status;
}

lathe_status lathe_train_prepare(const lathe_train_texts *params, lathe_train_texts_result *result,
                                 lathe_error *err) {
    *result = (lathe_train_texts_result){0};
    if (params->n_paths == 0 || params->folder == NULL || !(params->hold_out >= 0 && params->hold_out < 1))
        return lathe_fail(err, LATHE_ERR_ARG, "want text files, a folder, and a held-out share in [0, 1)");
    work w = {.p = params, .result = result, .err = err};
    w.texts = calloc(params->n_paths, sizeof *w.texts);
    w.n_bytes = calloc(params->n_paths, sizeof *w.n_bytes);
    lathe_status status = w.texts == NULL || w.n_bytes == NULL
                              ? lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %zu files", params->n_paths)
                              : make(&w);
    for (size_t i = 0; w.texts != NULL && i < params->n_paths; i++)
        free(w.texts[i]);
    free(w.texts);
    free(w.n_bytes);
    free(w.documents);
    lathe_vocab_free(w.vocab);
    return status;
}
