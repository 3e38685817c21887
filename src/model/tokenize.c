/* tokenize.c - a text to ids: special tokens are cut out first, the rest goes to the vocabulary's own
 * tokenizer. */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "model/vocab.h"

/* A stretch of the text: raw, or a special token. */
typedef struct fragment {
    size_t begin, end;
    int32_t special; /* -1: raw */
    int32_t next;    /* -1: last */
    bool trusted;    /* control tokens may be recognised in it */
} fragment;

typedef struct fragments {
    fragment *items;
    int32_t n, capacity;
} fragments;

/* Adds a fragment behind item `after`; -1: out of memory. */
static int32_t insert_after(fragments *f, int32_t after, fragment item) {
    if (f->n == f->capacity) {
        const int32_t capacity = f->capacity ? 2 * f->capacity : 16;
        fragment *items = realloc(f->items, (size_t) capacity * sizeof *items);
        if (!items)
            return -1;
        f->items = items;
        f->capacity = capacity;
    }
    item.next = after >= 0 ? f->items[after].next : -1;
    f->items[f->n] = item;
    if (after >= 0)
        f->items[after].next = f->n;
    return f->n++;
}

/* Which pairs of neighbouring bytes the text has: a special token whose first pair is missing cannot occur.
 */
typedef struct pairs {
    uint64_t bits[65536 / 64];
    uint64_t single[4];
} pairs;

static void note_pairs(pairs *p, const char *text, size_t n) {
    memset(p, 0, sizeof *p);
    for (size_t i = 0; i < n; i++) {
        const unsigned a = (unsigned char) text[i];
        p->single[a / 64] |= 1ull << (a % 64);
        if (i + 1 < n) {
            const unsigned pair = a << 8 | (unsigned char) text[i + 1];
            p->bits[pair / 64] |= 1ull << (pair % 64);
        }
    }
}

static bool may_occur(const pairs *p, const char *text, size_t n) {
    const unsigned a = (unsigned char) text[0];
    if (n == 1)
        return p->single[a / 64] >> (a % 64) & 1;
    for (size_t i = 0; i + 1 < n; i++) {
        const unsigned pair = (unsigned) (unsigned char) text[i] << 8 | (unsigned char) text[i + 1];
        if (!(p->bits[pair / 64] >> (pair % 64) & 1))
            return false;
    }
    return true;
}

/* First occurrence of needle in [begin, end), or end. */
static size_t find(const char *text, size_t begin, size_t end, const char *needle, size_t n) {
    while (begin + n <= end) {
        const char *hit = memchr(text + begin, needle[0], end - begin - n + 1);
        if (!hit)
            break;
        begin = (size_t) (hit - text);
        if (memcmp(hit, needle, n) == 0)
            return begin;
        begin++;
    }
    return end;
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

/* Cuts one raw fragment at the occurrences of special token id, left to right. */
static bool cut_fragment(const lathe_vocab *v, fragments *f, int32_t at, const char *text, int32_t id) {
    const char *needle = v->text + v->offset[id];
    const size_t n = v->offset[id + 1] - v->offset[id];
    /* phi-3: blanks to the right of added tokens vanish, but for the three old ones. */
    const bool strips = v->strips_after_special && v->type[id] != LATHE_TOKEN_UNKNOWN &&
                        !(n == 3 && memcmp(needle, "<s>", 3) == 0) &&
                        !(n == 13 && memcmp(needle, "<|endoftext|>", 13) == 0);
    for (;;) {
        const size_t begin = f->items[at].begin, end = f->items[at].end;
        const size_t hit = find(text, begin, end, needle, n);
        if (hit == end)
            return true;
        size_t rest = hit + n;
        while (strips && rest < end && is_blank(text[rest]))
            rest++;
        f->items[at].end = hit;
        const int32_t special = insert_after(f, at, (fragment){.begin = hit, .end = hit + n, .special = id});
        if (special < 0)
            return false;
        at = insert_after(
            f, special,
            (fragment){.begin = rest, .end = end, .special = -1, .trusted = f->items[at].trusted});
        if (at < 0)
            return false;
    }
}

/* Longest special first over the whole text, as overlapping ones are decided so. User-defined tokens always
 * count, the others in trusted parts only; none reaches over the end of a part. */
static lathe_status cut_specials(const lathe_vocab *v, const char *text, size_t n_bytes,
                                 const lathe_part *parts, size_t n_parts, fragments *f, lathe_error *err) {
    pairs *p = malloc(sizeof *p);
    bool good = p != NULL, trusted = false;
    size_t begin = 0;
    for (size_t i = 0; i < n_parts && good; i++) {
        good = insert_after(
                   f, f->n - 1,
                   (fragment){
                       .begin = begin, .end = parts[i].end, .special = -1, .trusted = parts[i].trusted}) >= 0;
        begin = parts[i].end;
        trusted = trusted || parts[i].trusted;
    }
    if (good)
        note_pairs(p, text, n_bytes);
    for (int32_t k = 0; k < v->n_special && good; k++) {
        const int32_t id = v->special[k];
        const bool user_defined = v->type[id] == LATHE_TOKEN_USER;
        if (!user_defined && !trusted)
            continue;
        if (!may_occur(p, v->text + v->offset[id], v->offset[id + 1] - v->offset[id]))
            continue;
        for (int32_t i = 0; i >= 0 && good; i = f->items[i].next)
            if (f->items[i].special < 0 && (user_defined || f->items[i].trusted))
                good = cut_fragment(v, f, i, text, id);
    }
    free(p);
    return good ? LATHE_OK : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a text of %zu bytes", n_bytes);
}

/* A raw fragment with U+2581 for each blank, and one blank in front where the vocabulary wants it. */
static lathe_status with_marks(const char *text, size_t n_bytes, bool prefix, lathe_buf *out,
                               lathe_error *err) {
    lathe_buf_clear(out);
    lathe_status st = prefix ? lathe_buf_add(out, "\xE2\x96\x81", 3, err) : LATHE_OK;
    size_t begin = 0;
    for (size_t i = 0; i <= n_bytes && !st; i++) {
        if (i < n_bytes && text[i] != ' ')
            continue;
        st = lathe_buf_add(out, text + begin, i - begin, err);
        if (!st && i < n_bytes)
            st = lathe_buf_add(out, "\xE2\x96\x81", 3, err);
        begin = i + 1;
    }
    return st;
}

static lathe_status raw_fragment(const lathe_vocab *v, const char *text, size_t n_bytes, bool first,
                                 lathe_buf *marked, lathe_ids *out, lathe_error *err) {
    if (n_bytes == 0)
        return LATHE_OK;
    if (v->kind == LATHE_VOCAB_BPE)
        return lathe_bpe_tokenize(v, text, n_bytes, out, err);
    const lathe_status st = with_marks(text, n_bytes, v->add_space_prefix && first, marked, err);
    if (st)
        return st;
    return v->kind == LATHE_VOCAB_SPM ? lathe_spm_tokenize(v, marked->data, marked->n_bytes, out, err)
                                      : lathe_bpe_tokenize(v, marked->data, marked->n_bytes, out, err);
}

lathe_status lathe_tokenize_parts(const lathe_vocab *v, const char *text, const lathe_part *parts,
                                  size_t n_parts, lathe_ids *out, lathe_error *err) {
    fragments f = {0};
    lathe_buf marked;
    const size_t n_bytes = n_parts > 0 ? parts[n_parts - 1].end : 0;
    if (n_bytes == 0)
        return LATHE_OK;
    if (n_parts > INT32_MAX / 4)
        return lathe_fail(err, LATHE_ERR_ARG, "%zu parts of a text", n_parts);
    lathe_buf_init(&marked, SIZE_MAX / 4);
    lathe_status st = cut_specials(v, text, n_bytes, parts, n_parts, &f, err);
    bool first = true; /* at the beginning, or behind a special token */
    size_t begin = 0, end = 0;
    for (int32_t i = 0; i >= 0 && !st; i = f.items[i].next) {
        const fragment *now = &f.items[i];
        if (now->special < 0 && now->begin == end) { /* raw neighbours are one text: merges cross parts */
            end = now->end;
            continue;
        }
        st = raw_fragment(v, text + begin, end - begin, first, &marked, out, err);
        first = first && end == begin;
        begin = now->begin;
        end = now->end;
        if (!st && now->special >= 0) {
            st = lathe_ids_add(out, now->special, err);
            first = true;
            begin = end;
        }
    }
    if (!st)
        st = raw_fragment(v, text + begin, end - begin, first, &marked, out, err);
    free(f.items);
    lathe_buf_free(&marked);
    return st;
}

lathe_status lathe_tokenize(const lathe_vocab *v, const char *text, size_t n_bytes, int add_bos, bool special,
                            int32_t **ids, size_t *n_ids, lathe_error *err) {
    lathe_ids out = {0};
    const lathe_part whole = {.end = n_bytes, .trusted = special};
    const bool bos = add_bos < 0 ? v->add_bos : add_bos > 0 && v->bos >= 0;
    lathe_status st = bos ? lathe_ids_add(&out, v->bos, err) : LATHE_OK;
    if (!st)
        st = lathe_tokenize_parts(v, text, &whole, 1, &out, err);
    if (!st && v->add_eos && add_bos < 0)
        st = lathe_ids_add(&out, v->eos, err);
    if (!st && !out.ids) { /* nothing: still something to free */
        out.ids = malloc(sizeof *out.ids);
        if (!out.ids)
            st = lathe_fail(err, LATHE_ERR_MEMORY, "no memory");
    }
    if (st) {
        free(out.ids);
        return st;
    }
    *ids = out.ids;
    *n_ids = out.n;
    return LATHE_OK;
}
