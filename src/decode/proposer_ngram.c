/* proposer_ngram.c - drafts from n-gram counts: of this sequence, of stored caches, and the constant-memory
 * `mod` form. */
#include "decode/history.h"
#include "decode/proposer.h"

#include <stdlib.h>
#include <string.h>

typedef struct counts {
    lathe_history h;
    lathe_ngram *context;
    const lathe_ngram *dynamic, *fixed;
    lathe_ngram *own_dynamic, *own_fixed; /* read from files */
    char *save;                           /* the dynamic file, written at the end; NULL: not */
    int32_t n_vocab;
} counts;

/* Static caches have 2-grams only; others are dynamic. */
static bool is_static(const lathe_ngram *g) {
    int64_t by_size[4];
    const int64_t n = lathe_ngram_count(g, by_size, NULL);
    return n == by_size[1];
}

/* "FILE", or "static=FILE,dynamic=FILE,save" in any order. */
static lathe_status read_files(counts *s, const char *spec, const lathe_logger *logger, lathe_error *err) {
    char *copy = strdup(spec), *dynamic = NULL;
    lathe_status status = copy ? LATHE_OK : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for file names");
    const bool named = strncmp(spec, "static=", 7) == 0 || strncmp(spec, "dynamic=", 8) == 0;
    bool save = false;
    if (!status && !named) {
        lathe_ngram *read = NULL;
        status = lathe_ngram_read(spec, s->n_vocab, logger, &read, err);
        if (!status && is_static(read))
            s->own_fixed = read;
        else
            s->own_dynamic = read;
    }
    for (char *at = copy; !status && named && at;) {
        char *comma = strchr(at, ',');
        if (comma)
            *comma = 0;
        lathe_ngram **into = strncmp(at, "static=", 7) == 0    ? &s->own_fixed
                             : strncmp(at, "dynamic=", 8) == 0 ? &s->own_dynamic
                                                               : NULL;
        const char *path = into ? strchr(at, '=') + 1 : NULL;
        if (strcmp(at, "save") == 0)
            save = true;
        else if (!into || *into || !*path)
            status =
                lathe_fail(err, LATHE_ERR_ARG,
                           "ngram:%.60s; want ngram:FILE or ngram:static=FILE,dynamic=FILE[,save]", spec);
        else
            status = lathe_ngram_read(path, s->n_vocab, logger, into, err);
        if (!status && into == &s->own_dynamic)
            dynamic = strchr(at, '=') + 1;
        at = comma ? comma + 1 : NULL;
    }
    if (!status && save && !dynamic)
        status = lathe_fail(err, LATHE_ERR_ARG,
                            "ngram: save writes the dynamic cache, and none is named; want dynamic=FILE");
    if (!status && save && !(s->save = strdup(dynamic)))
        status = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for file names");
    free(copy);
    if (s->own_dynamic)
        s->dynamic = s->own_dynamic;
    if (s->own_fixed)
        s->fixed = s->own_fixed;
    return status;
}

static void destroy(void *state);

static lathe_status create(const lathe_proposer_params *params, void **state, lathe_error *err) {
    counts *s = calloc(1, sizeof *s);
    if (!s)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for an n-gram proposer");
    s->dynamic = params->dynamic;
    s->fixed = params->fixed;
    s->n_vocab = params->n_vocab;
    lathe_status status = lathe_ngram_new(&s->context, err);
    if (!status && params->file)
        status = read_files(s, params->file, &params->logger, err);
    if (status) {
        free(s->save);
        s->save = NULL;
        destroy(s);
        return status;
    }
    *state = s;
    return LATHE_OK;
}

static lathe_status sync_to(void *state, const int32_t *ids, int32_t n, lathe_error *err) {
    counts *s = state;
    const int32_t before = s->h.n;
    int32_t same;
    lathe_status status = lathe_history_set(&s->h, ids, n, &same, err);
    if (status)
        return status;
    if (same < before) {
        lathe_ngram *fresh;
        if ((status = lathe_ngram_new(&fresh, err)))
            return status;
        lathe_ngram_free(s->context);
        s->context = fresh;
        same = 0;
    }
    return lathe_ngram_update(s->context, ids, (size_t) n, (size_t) same, 1, 4, err);
}

static void draft(void *state, int32_t n_max, lathe_token_tree *tree) {
    const counts *s = state;
    int32_t out[LATHE_DRAFT_DEPTH_MAX];
    const int32_t most = n_max < LATHE_DRAFT_DEPTH_MAX ? n_max : LATHE_DRAFT_DEPTH_MAX;
    const int32_t n =
        s->h.n > 0 ? lathe_ngram_draft(s->context, s->dynamic, s->fixed, s->h.ids, (size_t) s->h.n, out, most)
                   : 0;
    for (int32_t k = 0, node = 0; k < n && node >= 0; k++)
        node = lathe_token_tree_add(tree, node, out[k], 0.5);
}

/* The dynamic file as it is now, and this text's counts: two runs that end together may lose one's counts,
 * never the file. */
static void save(const counts *s) {
    lathe_ngram *file = NULL;
    int64_t n_bytes;
    if (lathe_ngram_read(s->save, s->n_vocab, NULL, &file, NULL) == LATHE_OK &&
        lathe_ngram_merge(file, s->context, NULL) == LATHE_OK)
        (void) !lathe_ngram_write(file, s->save, &n_bytes, NULL);
    lathe_ngram_free(file);
}

static void destroy(void *state) {
    counts *s = state;
    if (!s)
        return;
    if (s->save)
        save(s);
    lathe_history_free(&s->h);
    lathe_ngram_free(s->context);
    lathe_ngram_free(s->own_dynamic);
    lathe_ngram_free(s->own_fixed);
    free(s->save);
    free(s);
}

const lathe_proposer lathe_proposer_ngram = {
    .name = "ngram",
    .summary = "the most frequent follower of the last 4 to 1 tokens: this text, then stored caches",
    .laws = LATHE_LAW_POINT,
    .length = 8,
    .create = create,
    .sync = sync_to,
    .draft = draft,
    .destroy = destroy,
    .takes_file = true,
};

/* --- mod: hash of the last 24 tokens -> next token, 16 MiB whatever the text --------------------- */

enum { MOD_SLOTS = 1 << 21, MOD_GRAM = 24, MOD_OFF_AFTER = 3 };

typedef struct mod {
    lathe_history h;
    struct mod_slot {
        uint32_t tag;
        int32_t next; /* token + 1; 0: empty, so that fresh pages cost nothing */
    } * slots;
    int32_t idle;     /* drafts in a row without an accepted token */
    int32_t drafted;  /* length of the sequence when the last draft was made; 0: none open */
    int32_t proposed; /* its first token */
} mod;

static uint64_t mod_hash(const int32_t *ids) {
    uint64_t hash = 0;
    for (int32_t j = 0; j < MOD_GRAM; j++)
        hash = hash * 6364136223846793005ull + (uint64_t) (int64_t) ids[j];
    return hash;
}

static lathe_status mod_create(const lathe_proposer_params *params, void **state, lathe_error *err) {
    (void) params;
    mod *s = calloc(1, sizeof *s);
    if (s)
        s->slots = calloc(MOD_SLOTS, sizeof *s->slots);
    if (!s || !s->slots) {
        free(s);
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for 16 MiB of hashed n-grams");
    }
    *state = s;
    return LATHE_OK;
}

static lathe_status mod_sync(void *state, const int32_t *ids, int32_t n, lathe_error *err) {
    mod *s = state;
    const int32_t before = s->h.n;
    int32_t same;
    const lathe_status status = lathe_history_set(&s->h, ids, n, &same, err);
    if (status)
        return status;
    if (same < before)
        s->idle = s->drafted = 0; /* another sequence: what was learnt stays, the verdict on it does not */
    for (int32_t i = same > MOD_GRAM ? same : MOD_GRAM; i < n; i++) {
        const uint64_t hash = mod_hash(ids + i - MOD_GRAM);
        s->slots[hash % MOD_SLOTS] = (struct mod_slot){(uint32_t) (hash >> 32), ids[i] + 1};
    }
    if (s->drafted > 0 && n > s->drafted) {
        s->idle = ids[s->drafted] == s->proposed ? 0 : s->idle + 1;
        s->drafted = 0;
    }
    return LATHE_OK;
}

static void mod_draft(void *state, int32_t n_max, lathe_token_tree *tree) {
    mod *s = state;
    int32_t window[MOD_GRAM];
    if (s->h.n < MOD_GRAM || s->idle >= MOD_OFF_AFTER)
        return;
    memcpy(window, s->h.ids + s->h.n - MOD_GRAM, sizeof window);
    for (int32_t k = 0, node = 0; k < n_max && k < 48; k++) {
        const uint64_t hash = mod_hash(window);
        const struct mod_slot *slot = &s->slots[hash % MOD_SLOTS];
        if (slot->next == 0 || slot->tag != (uint32_t) (hash >> 32))
            return;
        if ((node = lathe_token_tree_add(tree, node, slot->next - 1, 0.8)) < 0)
            return;
        if (k == 0) {
            s->drafted = s->h.n;
            s->proposed = slot->next - 1;
        }
        memmove(window, window + 1, (MOD_GRAM - 1) * sizeof *window);
        window[MOD_GRAM - 1] = slot->next - 1;
    }
}

static void mod_destroy(void *state) {
    mod *s = state;
    if (!s)
        return;
    lathe_history_free(&s->h);
    free(s->slots);
    free(s);
}

const lathe_proposer lathe_proposer_mod = {
    .name = "ngram:mod",
    .summary = "what followed the last 24 tokens, by hash, in constant memory",
    .laws = LATHE_LAW_POINT,
    .length = 48,
    .create = mod_create,
    .sync = mod_sync,
    .draft = mod_draft,
    .destroy = mod_destroy,
};
