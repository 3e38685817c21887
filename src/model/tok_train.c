/* tok_train.c - see tok_train.h. */
#include "model/tok_train.h"

#include <stdlib.h>
#include <string.h>

/* --- Words --------------------------------------------------------------------------------------- */

static uint32_t hash_bytes(const char *text, size_t n) {
    uint64_t h = 0x9E3779B97F4A7C15ull;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char) text[i]) * 0x100000001B3ull;
    return (uint32_t) (h ^ h >> 32);
}

/* Doubles an array when it is full. */
static bool room(void *array_, size_t n, size_t *capacity, size_t size) {
    void **array = array_;
    if (n < *capacity)
        return true;
    const size_t more = *capacity ? 2 * *capacity : 64;
    void *grown = realloc(*array, more * size);
    if (!grown)
        return false;
    *array = grown;
    *capacity = more;
    return true;
}

void lathe_words_init(lathe_words *words) {
    *words = (lathe_words){0};
    lathe_buf_init(&words->text, SIZE_MAX / 4);
}

void lathe_words_free(lathe_words *words) {
    lathe_buf_free(&words->text);
    free(words->start);
    free(words->count);
    free(words->map);
    *words = (lathe_words){0};
}

static bool grow_words(lathe_words *w) {
    if (w->n < w->capacity)
        return true;
    const uint32_t capacity = w->capacity ? 2 * w->capacity : 512;
    if (capacity > 1u << 30)
        return false;
    uint64_t *start = realloc(w->start, ((size_t) capacity + 1) * sizeof *start);
    if (start)
        w->start = start;
    int64_t *count = realloc(w->count, (size_t) capacity * sizeof *count);
    if (count)
        w->count = count;
    uint32_t *map = calloc((size_t) capacity * 2, sizeof *map);
    if (!start || !count || !map) {
        free(map);
        return false;
    }
    w->start[0] = 0;
    w->mask = 2 * capacity - 1;
    w->capacity = capacity;
    for (uint32_t i = 0; i < w->n; i++) {
        uint32_t at =
            hash_bytes(w->text.data + w->start[i], (size_t) (w->start[i + 1] - w->start[i])) & w->mask;
        while (map[at])
            at = (at + 1) & w->mask;
        map[at] = i + 1;
    }
    free(w->map);
    w->map = map;
    return true;
}

lathe_status lathe_words_add(lathe_words *w, const char *text, size_t n_bytes, int64_t count,
                             lathe_error *err) {
    if (n_bytes >= INT32_MAX)
        return lathe_fail(err, LATHE_ERR_ARG, "a word of %zu bytes; at most 2 GiB at a time", n_bytes);
    if (!grow_words(w))
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %u distinct words", w->n);
    uint32_t at = hash_bytes(text, n_bytes) & w->mask;
    for (; w->map[at]; at = (at + 1) & w->mask) {
        const uint32_t i = w->map[at] - 1;
        if (w->start[i + 1] - w->start[i] == n_bytes &&
            memcmp(w->text.data + w->start[i], text, n_bytes) == 0) {
            w->count[i] += count;
            return LATHE_OK;
        }
    }
    const lathe_status st = lathe_buf_add(&w->text, text, n_bytes, err);
    if (st)
        return st;
    w->count[w->n] = count;
    w->start[++w->n] = w->text.n_bytes;
    w->map[at] = w->n;
    return LATHE_OK;
}

/* --- Pairs --------------------------------------------------------------------------------------- */

typedef struct pair {
    int32_t left, right;
    int64_t count;
    uint32_t *words; /* that hold or held it */
    size_t n_words, capacity;
    bool raised; /* its count grew since it was pushed */
} pair;

typedef struct entry {
    int64_t count;
    uint32_t pair;
} entry;

typedef struct learner {
    const lathe_words *words;
    lathe_bpe_model *model;
    int32_t *symbols; /* of all words, each in its own stretch */
    int32_t *length;  /* [n] symbols of each word now */
    pair *pairs;
    size_t n_pairs, pairs_capacity;
    uint32_t *map; /* open addressing: index + 1 of a pair, 0 empty */
    size_t mask;
    entry *heap; /* most frequent first; counts may be stale, never too small unless `raised` */
    size_t n_heap, heap_capacity;
    uint32_t *raised; /* pairs to push after the merge */
    size_t n_raised, raised_capacity;
    size_t start_capacity, merges_capacity;
    int32_t *texts; /* open addressing: symbols by their bytes, -1 empty */
    size_t texts_mask;
} learner;

static bool better(const learner *l, entry a, entry b) {
    if (a.count != b.count)
        return a.count > b.count;
    const pair *p = &l->pairs[a.pair], *q = &l->pairs[b.pair];
    return p->left != q->left ? p->left < q->left : p->right < q->right;
}

static bool push(learner *l, uint32_t which) {
    if (!room(&l->heap, l->n_heap, &l->heap_capacity, sizeof *l->heap))
        return false;
    const entry e = {l->pairs[which].count, which};
    size_t i = l->n_heap++;
    for (; i > 0 && better(l, e, l->heap[(i - 1) / 2]); i = (i - 1) / 2)
        l->heap[i] = l->heap[(i - 1) / 2];
    l->heap[i] = e;
    return true;
}

static entry pop(learner *l) {
    const entry top = l->heap[0], last = l->heap[--l->n_heap];
    size_t i = 0;
    for (size_t child = 1; child < l->n_heap; child = 2 * i + 1) {
        if (child + 1 < l->n_heap && better(l, l->heap[child + 1], l->heap[child]))
            child++;
        if (!better(l, l->heap[child], last))
            break;
        l->heap[i] = l->heap[child];
        i = child;
    }
    l->heap[i] = last;
    return top;
}

static size_t pair_slot(const learner *l, int32_t left, int32_t right) {
    const uint64_t h = ((uint64_t) (uint32_t) left << 32 | (uint32_t) right) * 0x9E3779B97F4A7C15ull;
    size_t at = (size_t) (h >> 24) & l->mask;
    while (l->map[at]) {
        const pair *p = &l->pairs[l->map[at] - 1];
        if (p->left == left && p->right == right)
            break;
        at = (at + 1) & l->mask;
    }
    return at;
}

static bool grow_pairs(learner *l) {
    if (l->map && 2 * l->n_pairs < l->mask)
        return true;
    const size_t mask = l->map ? 2 * l->mask + 1 : 4095;
    uint32_t *map = calloc(mask + 1, sizeof *map);
    if (!map)
        return false;
    free(l->map);
    l->map = map;
    l->mask = mask;
    for (size_t i = 0; i < l->n_pairs; i++)
        map[pair_slot(l, l->pairs[i].left, l->pairs[i].right)] = (uint32_t) i + 1;
    return true;
}

/* A word holds (left, right) so many times more. */
static bool add_pair(learner *l, int32_t left, int32_t right, int64_t count, uint32_t word) {
    if (!grow_pairs(l) || !room(&l->pairs, l->n_pairs, &l->pairs_capacity, sizeof *l->pairs) ||
        !room(&l->raised, l->n_raised, &l->raised_capacity, sizeof *l->raised))
        return false;
    const size_t at = pair_slot(l, left, right);
    if (!l->map[at]) {
        l->pairs[l->n_pairs] = (pair){.left = left, .right = right};
        l->map[at] = (uint32_t) ++l->n_pairs;
    }
    pair *p = &l->pairs[l->map[at] - 1];
    p->count += count;
    if (!p->raised)
        l->raised[l->n_raised++] = l->map[at] - 1;
    p->raised = true;
    if (p->n_words > 0 && p->words[p->n_words - 1] == word)
        return true;
    if (!room(&p->words, p->n_words, &p->capacity, sizeof *p->words))
        return false;
    p->words[p->n_words++] = word;
    return true;
}

static void remove_pair(learner *l, int32_t left, int32_t right, int64_t count) {
    const size_t at = pair_slot(l, left, right);
    if (l->map[at])
        l->pairs[l->map[at] - 1].count -= count;
}

static bool push_raised(learner *l) {
    bool good = true;
    for (size_t i = 0; i < l->n_raised && good; i++) {
        l->pairs[l->raised[i]].raised = false;
        good = push(l, l->raised[i]);
    }
    l->n_raised = 0;
    return good;
}

/* --- Merging ------------------------------------------------------------------------------------- */

/* Rewrites a word from left to right. Only pairs that touch a merged place change their counts. */
static bool merge_in_word(learner *l, uint32_t word, int32_t left, int32_t right, int32_t merged) {
    int32_t *s = l->symbols + l->words->start[word];
    const int32_t n = l->length[word];
    const int64_t count = l->words->count[word];
    int32_t j = 0, before = -1;
    bool was_merged = false;
    for (int32_t i = 0; i < n;) {
        const bool hit = i + 1 < n && s[i] == left && s[i + 1] == right;
        const int32_t old = s[i], made = hit ? merged : old;
        if (i > 0 && (hit || was_merged))
            remove_pair(l, before, old, count);
        if (hit)
            remove_pair(l, left, right, count);
        if (j > 0 && (hit || was_merged) && !add_pair(l, s[j - 1], made, count, word))
            return false;
        before = hit ? right : old;
        was_merged = hit;
        i += hit ? 2 : 1;
        s[j++] = made;
    }
    l->length[word] = j;
    return true;
}

const char *lathe_bpe_symbol(const lathe_bpe_model *model, int32_t symbol, char byte[1], size_t *n_bytes) {
    if (symbol < 256) {
        byte[0] = (char) symbol;
        *n_bytes = 1;
        return byte;
    }
    *n_bytes = (size_t) (model->start[symbol - 255] - model->start[symbol - 256]);
    return model->text.data + model->start[symbol - 256];
}

/* The symbol with the bytes of both, made where there is none. */
static lathe_status join(learner *l, int32_t left, int32_t right, int32_t *merged, lathe_error *err) {
    lathe_bpe_model *m = l->model;
    char a[1], b[1];
    size_t n_a, n_b;
    const uint64_t begin = m->text.n_bytes;
    lathe_status st = lathe_buf_reserve(&m->text, 2 * LATHE_LEARNED_BYTES_MAX, err); /* the parts stay put */
    if (st)
        return st;
    const char *first = lathe_bpe_symbol(m, left, a, &n_a), *second = lathe_bpe_symbol(m, right, b, &n_b);
    st = lathe_buf_add(&m->text, first, n_a, err);
    if (!st)
        st = lathe_buf_add(&m->text, second, n_b, err);
    if (st)
        return st;
    const char *both = m->text.data + begin;
    const size_t n = n_a + n_b;
    size_t at = hash_bytes(both, n) & l->texts_mask;
    for (; l->texts[at] >= 0; at = (at + 1) & l->texts_mask) {
        char byte[1];
        size_t k;
        const char *known = lathe_bpe_symbol(m, l->texts[at], byte, &k);
        if (k == n && memcmp(known, both, n) == 0) {
            m->text.n_bytes = (size_t) begin;
            *merged = l->texts[at];
            return LATHE_OK;
        }
    }
    l->texts[at] = *merged = m->n_symbols++;
    m->start[m->n_symbols - 256] = m->text.n_bytes;
    return LATHE_OK;
}

static lathe_status prepare(learner *l, int32_t n_symbols, lathe_error *err) {
    const lathe_words *w = l->words;
    size_t texts = 64;
    while (texts < 4 * (size_t) n_symbols)
        texts *= 2;
    l->texts_mask = texts - 1;
    l->texts = malloc(texts * sizeof *l->texts);
    l->symbols = malloc((w->text.n_bytes + 1) * sizeof *l->symbols);
    l->length = malloc(((size_t) w->n + 1) * sizeof *l->length);
    l->model->start = calloc((size_t) n_symbols + 1, sizeof *l->model->start);
    bool good = l->texts && l->symbols && l->length && l->model->start;
    if (good)
        memset(l->texts, 0xFF, texts * sizeof *l->texts);
    for (size_t i = 0; i < w->text.n_bytes && good; i++)
        l->symbols[i] = (unsigned char) w->text.data[i];
    for (uint32_t i = 0; i < w->n && good; i++) {
        const int32_t *s = l->symbols + w->start[i];
        l->length[i] = (int32_t) (w->start[i + 1] - w->start[i]);
        for (int32_t k = 0; k + 1 < l->length[i] && good; k++)
            good = add_pair(l, s[k], s[k + 1], w->count[i], i);
    }
    good = good && push_raised(l);
    return good ? LATHE_OK : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the pairs of %u words", w->n);
}

static bool fits(const lathe_bpe_model *m, int32_t left, int32_t right) {
    char byte[1];
    size_t n_left, n_right;
    lathe_bpe_symbol(m, left, byte, &n_left);
    lathe_bpe_symbol(m, right, byte, &n_right);
    return n_left + n_right <= LATHE_LEARNED_BYTES_MAX;
}

static lathe_status merge_pair(learner *l, uint32_t which, lathe_error *err) {
    lathe_bpe_model *m = l->model;
    const int32_t left = l->pairs[which].left, right = l->pairs[which].right;
    const int64_t count = l->pairs[which].count;
    int32_t merged = 0;
    lathe_status st = join(l, left, right, &merged, err);
    if (st)
        return st;
    bool good = room(&m->merges, (size_t) m->n_merges, &l->merges_capacity, sizeof *m->merges);
    if (good)
        m->merges[m->n_merges++] = (lathe_learned_merge){left, right, merged, count};
    /* The list leaves the table first: the table moves while the words are rewritten. */
    uint32_t *words = l->pairs[which].words;
    const size_t n = l->pairs[which].n_words;
    l->pairs[which].words = NULL;
    l->pairs[which].n_words = l->pairs[which].capacity = 0;
    for (size_t i = 0; i < n && good; i++)
        good = merge_in_word(l, words[i], left, right, merged);
    free(words);
    good = good && push_raised(l);
    return good ? LATHE_OK : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %zu pairs", l->n_pairs);
}

static lathe_status count_used(learner *l, lathe_error *err) {
    lathe_bpe_model *m = l->model;
    m->used = calloc((size_t) m->n_symbols, sizeof *m->used);
    if (!m->used)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %d symbols", m->n_symbols);
    for (uint32_t i = 0; i < l->words->n; i++)
        for (int32_t k = 0; k < l->length[i]; k++) {
            m->used[l->symbols[l->words->start[i] + (uint64_t) k]] += l->words->count[i];
            m->n_tokens += l->words->count[i];
        }
    return LATHE_OK;
}

lathe_status lathe_bpe_learn(const lathe_words *words, int32_t n_symbols, int64_t min_count,
                             const lathe_progress *progress, lathe_bpe_model *model, lathe_error *err) {
    learner l = {.words = words, .model = model};
    *model = (lathe_bpe_model){.n_symbols = 256};
    lathe_buf_init(&model->text, 1u << 31);
    lathe_status st = prepare(&l, n_symbols, err);
    while (!st && model->n_symbols < n_symbols && l.n_heap > 0) {
        const entry e = pop(&l);
        const int64_t now = l.pairs[e.pair].count;
        if (now < min_count || !fits(model, l.pairs[e.pair].left, l.pairs[e.pair].right))
            continue;
        if (now != e.count) { /* stale: back with what it is now (smaller: a growth was pushed already) */
            if (now < e.count && !push(&l, e.pair))
                st = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %zu pairs", l.n_pairs);
            continue;
        }
        st = merge_pair(&l, e.pair, err);
        if (!st && model->n_merges % 64 == 0)
            st = lathe_progress_step(progress, "merging", model->n_symbols, n_symbols, err);
    }
    if (!st)
        st = count_used(&l, err);
    for (size_t i = 0; i < l.n_pairs; i++)
        free(l.pairs[i].words);
    free(l.pairs);
    free(l.map);
    free(l.heap);
    free(l.raised);
    free(l.texts);
    free(l.symbols);
    free(l.length);
    if (st)
        lathe_bpe_model_free(model);
    return st;
}

void lathe_bpe_model_free(lathe_bpe_model *model) {
    free(model->merges);
    free(model->start);
    free(model->used);
    lathe_buf_free(&model->text);
    *model = (lathe_bpe_model){0};
}
