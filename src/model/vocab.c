/* vocab.c - building a vocabulary from plain arrays, and its look-ups. */
#include "model/vocab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

enum { VOCAB_MAX = 1 << 22, MERGES_MAX = 1 << 22, TOKEN_BYTES_MAX = 65535 };

/* --- Small parts --------------------------------------------------------------------------------- */

uint32_t lathe_byte_to_char(uint8_t byte) {
    if ((byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE)
        return byte;
    if (byte <= 0x20)
        return 0x100u + byte;
    if (byte <= 0xA0)
        return 0x100u + 33u + (byte - 0x7Fu);
    return 0x100u + 67u; /* 0xAD */
}

int lathe_char_to_byte(uint32_t code) {
    if (code < 0x100)
        return lathe_byte_to_char((uint8_t) code) == code ? (int) code : -1;
    if (code <= 0x120)
        return (int) (code - 0x100);
    if (code <= 0x142)
        return (int) (code - 0x121 + 0x7F);
    return code == 0x143 ? 0xAD : -1;
}

lathe_status lathe_ids_add(lathe_ids *list, int32_t id, lathe_error *err) {
    if (list->n == list->capacity) {
        const size_t capacity = list->capacity ? 2 * list->capacity : 64;
        int32_t *ids = realloc(list->ids, capacity * sizeof *ids);
        if (!ids)
            return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %zu tokens", capacity);
        list->ids = ids;
        list->capacity = capacity;
    }
    list->ids[list->n++] = id;
    return LATHE_OK;
}

static bool before(const lathe_candidate *a, const lathe_candidate *b) {
    return a->key < b->key || (!(b->key < a->key) && a->left < b->left);
}

lathe_status lathe_heap_push(lathe_heap *heap, lathe_candidate item, lathe_error *err) {
    if (heap->n == heap->capacity) {
        const size_t capacity = heap->capacity ? 2 * heap->capacity : 64;
        lathe_candidate *items = realloc(heap->items, capacity * sizeof *items);
        if (!items)
            return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %zu merges", capacity);
        heap->items = items;
        heap->capacity = capacity;
    }
    size_t i = heap->n++;
    while (i > 0 && before(&item, &heap->items[(i - 1) / 2])) {
        heap->items[i] = heap->items[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    heap->items[i] = item;
    return LATHE_OK;
}

bool lathe_heap_pop(lathe_heap *heap, lathe_candidate *item) {
    if (heap->n == 0)
        return false;
    *item = heap->items[0];
    const lathe_candidate last = heap->items[--heap->n];
    size_t i = 0;
    for (size_t child = 1; child < heap->n; child = 2 * i + 1) {
        if (child + 1 < heap->n && before(&heap->items[child + 1], &heap->items[child]))
            child++;
        if (!before(&heap->items[child], &last))
            break;
        heap->items[i] = heap->items[child];
        i = child;
    }
    if (heap->n > 0)
        heap->items[i] = last;
    return true;
}

/* --- Maps ---------------------------------------------------------------------------------------- */

static uint32_t hash_bytes(const char *text, size_t n) {
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char) text[i]) * 16777619u;
    return h ^ h >> 15;
}

int32_t lathe_vocab_symbol(const lathe_vocab *v, const char *text, size_t n_bytes) {
    for (uint32_t i = hash_bytes(text, n_bytes) & v->map_mask;; i = (i + 1) & v->map_mask) {
        const int32_t id = v->map[i];
        if (id < 0)
            return -1;
        if (v->offset[id + 1] - v->offset[id] == n_bytes &&
            memcmp(v->text + v->offset[id], text, n_bytes) == 0)
            return id;
    }
}

static void map_put(lathe_vocab *v, int32_t id) {
    uint32_t i = hash_bytes(v->text + v->offset[id], v->offset[id + 1] - v->offset[id]) & v->map_mask;
    while (v->map[i] >= 0)
        i = (i + 1) & v->map_mask;
    v->map[i] = id;
}

static uint32_t hash_pair(int32_t left, int32_t right) {
    uint64_t h = ((uint64_t) (uint32_t) left << 32 | (uint32_t) right) * 0x9E3779B97F4A7C15ull;
    return (uint32_t) (h >> 32);
}

const lathe_merge *lathe_vocab_merge(const lathe_vocab *v, int32_t left, int32_t right) {
    if (!v->merges)
        return NULL;
    for (uint32_t i = hash_pair(left, right) & v->merge_mask;; i = (i + 1) & v->merge_mask) {
        const lathe_merge *m = &v->merges[i];
        if (m->left < 0)
            return NULL;
        if (m->left == left && m->right == right)
            return m;
    }
}

/* --- Building ------------------------------------------------------------------------------------ */

typedef struct building {
    lathe_vocab *v;
    const lathe_vocab_spec *spec;
    lathe_buf text;      /* all symbols' texts */
    size_t n_offsets;    /* allocated entries of v->offset */
    uint32_t n_map_used; /* symbols in the map */
} building;

static void *grow(void *memory, size_t n, size_t size, lathe_error *err) {
    void *more = realloc(memory, n * size);
    if (!more)
        lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a vocabulary of %zu entries", n);
    return more;
}

/* The symbol with this text, made where there is none. */
static lathe_status intern(building *b, const char *text, size_t n_bytes, int32_t *symbol, lathe_error *err) {
    lathe_vocab *v = b->v;
    const int32_t known = lathe_vocab_symbol(v, text, n_bytes);
    if (known >= 0) {
        *symbol = known;
        return LATHE_OK;
    }
    if ((size_t) v->n_symbols + 2 > b->n_offsets) {
        const size_t n = 2 * b->n_offsets;
        uint32_t *offset = grow(v->offset, n, sizeof *offset, err);
        if (!offset)
            return LATHE_ERR_MEMORY;
        v->offset = offset;
        b->n_offsets = n;
    }
    if (2 * b->n_map_used > v->map_mask) {
        const uint32_t mask = 2 * v->map_mask + 1;
        int32_t *map = grow(v->map, (size_t) mask + 1, sizeof *map, err);
        if (!map)
            return LATHE_ERR_MEMORY;
        v->map = map;
        v->map_mask = mask;
        memset(map, 0xFF, ((size_t) mask + 1) * sizeof *map);
        for (int32_t i = 0; i < v->n_symbols; i++)
            map_put(v, i);
    }
    const lathe_status st = lathe_buf_add(&b->text, text, n_bytes, err);
    if (st)
        return st;
    v->text = b->text.data;
    *symbol = v->n_symbols++;
    v->offset[*symbol + 1] = (uint32_t) b->text.n_bytes;
    map_put(v, *symbol);
    b->n_map_used++;
    return LATHE_OK;
}

static lathe_status add_tokens(building *b, lathe_error *err) {
    const lathe_vocab_spec *spec = b->spec;
    lathe_vocab *v = b->v;
    for (int32_t i = 0; i < spec->n; i++) {
        lathe_text t = spec->texts[i];
        char empty[32];
        if (t.n_bytes > TOKEN_BYTES_MAX)
            return lathe_fail(err, LATHE_ERR_INPUT, "%s: token %d has %zu bytes; at most %d are allowed",
                              spec->name, i, t.n_bytes, TOKEN_BYTES_MAX);
        if (t.n_bytes == 0) {
            const int k = snprintf(empty, sizeof empty, "[EMPTY_%d]", i);
            t = (lathe_text){empty, (size_t) (k > 0 ? k : 0)};
        }
        int32_t id = -1;
        const lathe_status st = intern(b, t.bytes, t.n_bytes, &id, err);
        if (st)
            return st;
        if (id != i) {
            char shown[80];
            return lathe_fail(err, LATHE_ERR_INPUT,
                              "%s: tokens %d and %d have the same text '%s'; texts must differ", spec->name,
                              id, i, lathe_gguf_printable(t.bytes, t.n_bytes, shown, sizeof shown));
        }
        v->score[i] = spec->scores ? spec->scores[i] : 0.0f;
        v->type[i] = spec->types ? spec->types[i] : LATHE_TOKEN_NORMAL;
    }
    return LATHE_OK;
}

/* Merges "left right": cut at the first blank from byte 1 on; the first occurrence of a pair wins. */
static lathe_status add_merges(building *b, lathe_error *err) {
    const lathe_vocab_spec *spec = b->spec;
    lathe_vocab *v = b->v;
    uint32_t size = 64;
    while (size < 2 * spec->n_merges + 2)
        size *= 2;
    v->merges = grow(NULL, size, sizeof *v->merges, err);
    if (!v->merges)
        return LATHE_ERR_MEMORY;
    v->merge_mask = size - 1;
    memset(v->merges, 0xFF, size * sizeof *v->merges);
    lathe_buf both;
    lathe_buf_init(&both, 4 * TOKEN_BYTES_MAX);
    lathe_status st = LATHE_OK;
    for (size_t i = 0; i < spec->n_merges && !st; i++) {
        const lathe_text m = spec->merges[i];
        const char *blank = m.n_bytes > 2 ? memchr(m.bytes + 1, ' ', m.n_bytes - 1) : NULL;
        if (!blank || blank + 1 == m.bytes + m.n_bytes || m.n_bytes > 2 * TOKEN_BYTES_MAX)
            continue; /* no merge: can never apply */
        const size_t n_left = (size_t) (blank - m.bytes), n_right = m.n_bytes - n_left - 1;
        lathe_merge made = {.rank = (int32_t) i};
        lathe_buf_clear(&both);
        st = lathe_buf_add(&both, m.bytes, n_left, err);
        if (!st)
            st = lathe_buf_add(&both, blank + 1, n_right, err);
        if (!st)
            st = intern(b, m.bytes, n_left, &made.left, err);
        if (!st)
            st = intern(b, blank + 1, n_right, &made.right, err);
        if (!st)
            st = intern(b, both.data, both.n_bytes, &made.merged, err);
        if (st || lathe_vocab_merge(v, made.left, made.right))
            continue;
        uint32_t at = hash_pair(made.left, made.right) & v->merge_mask;
        while (v->merges[at].left >= 0)
            at = (at + 1) & v->merge_mask;
        v->merges[at] = made;
    }
    lathe_buf_free(&both);
    return st;
}

/* What each byte is: <0xHH> where blanks are U+2581, else the character of the byte alphabet. */
static lathe_status find_bytes(building *b, lathe_error *err) {
    lathe_vocab *v = b->v;
    for (int byte = 0; byte < 256; byte++) {
        char text[8];
        lathe_status st = LATHE_OK;
        if (v->kind == LATHE_VOCAB_BPE) {
            const size_t k = lathe_utf8_put(lathe_byte_to_char((uint8_t) byte), text);
            st = intern(b, text, k, &v->byte_token[byte], err);
        } else {
            const int k = snprintf(text, sizeof text, "<0x%02X>", (unsigned) byte);
            v->byte_token[byte] = lathe_vocab_symbol(v, text, (size_t) k);
        }
        if (st)
            return st;
    }
    return LATHE_OK;
}

/* The bytes that a token stands for. */
static lathe_status add_piece(const lathe_vocab *v, int32_t id, lathe_buf *out, lathe_error *err) {
    const char *text = v->text + v->offset[id];
    const size_t n = v->offset[id + 1] - v->offset[id];
    const uint8_t type = v->type[id];
    if (type == LATHE_TOKEN_CONTROL || type == LATHE_TOKEN_USER || type == LATHE_TOKEN_UNKNOWN)
        return lathe_buf_add(out, text, n, err);
    unsigned byte;
    char copy[8] = "";
    if (n == 6 && v->kind != LATHE_VOCAB_BPE) {
        memcpy(copy, text, 6);
        char rest[2] = "";
        if (type == LATHE_TOKEN_BYTE && sscanf(copy, "<0x%2X%1s", &byte, rest) == 2 && rest[0] == '>')
            return lathe_buf_add(out, &(char){(char) byte}, 1, err);
    }
    lathe_status st = LATHE_OK;
    for (size_t i = 0; i < n && !st;) {
        uint32_t code = 0;
        const size_t k = lathe_utf8_next(text + i, n - i, &code);
        const int known =
            k == 0 ? -1
                   : (v->kind == LATHE_VOCAB_BPE ? lathe_char_to_byte(code) : (code == 0x2581 ? ' ' : -1));
        if (known >= 0)
            st = lathe_buf_add(out, &(char){(char) known}, 1, err);
        else
            st = lathe_buf_add(out, text + i, k == 0 ? 1 : k, err);
        i += k == 0 ? 1 : k;
    }
    return st;
}

static lathe_status add_pieces(lathe_vocab *v, lathe_error *err) {
    lathe_buf out;
    lathe_buf_init(&out, UINT32_MAX);
    lathe_status st = LATHE_OK;
    for (int32_t i = 0; i < v->n && !st; i++) {
        st = add_piece(v, i, &out, err);
        v->piece_offset[i + 1] = (uint32_t) out.n_bytes;
    }
    v->piece = lathe_buf_take(&out, NULL);
    if (!st && !v->piece)
        st = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a vocabulary");
    return st;
}

/* --- Specials and ends --------------------------------------------------------------------------- */

/* Texts that end an answer in some family, whatever the file says of them. The list grows with the families.
 */
static const char *const end_texts[] = {
    "<|eot_id|>", "<|im_end|>", "<|end|>",         "<end_of_turn>", "<|endoftext|>",      "<|eom_id|>",
    "<EOT>",      "<|return|>", "<|end_of_text|>", "<|call|>",      "<end_of_utterance>",
};

typedef struct special_key {
    uint32_t n_bytes;
    int32_t id;
} special_key;

static int longest_first(const void *a_, const void *b_) {
    const special_key *a = a_, *b = b_;
    if (a->n_bytes != b->n_bytes)
        return a->n_bytes < b->n_bytes ? 1 : -1;
    return a->id < b->id ? -1 : a->id > b->id;
}

static lathe_status find_specials(lathe_vocab *v, const lathe_vocab_spec *spec, lathe_error *err) {
    special_key *keys = grow(NULL, (size_t) v->n + 1, sizeof *keys, err);
    v->special = grow(NULL, (size_t) v->n + 1, sizeof *v->special, err);
    if (!keys || !v->special) {
        free(keys);
        return LATHE_ERR_MEMORY;
    }
    for (int32_t i = 0; i < v->n; i++)
        if (v->type[i] == LATHE_TOKEN_CONTROL || v->type[i] == LATHE_TOKEN_USER ||
            v->type[i] == LATHE_TOKEN_UNKNOWN)
            keys[v->n_special++] = (special_key){v->offset[i + 1] - v->offset[i], i};
    qsort(keys, (size_t) v->n_special, sizeof *keys, longest_first);
    for (int32_t i = 0; i < v->n_special; i++)
        v->special[i] = keys[i].id;
    free(keys);
    const int32_t given[] = {spec->eos, spec->eot, spec->eom};
    for (size_t i = 0; i < LATHE_LEN(given); i++)
        if (given[i] >= 0 && given[i] < v->n)
            v->is_end[given[i]] = 1;
    for (int32_t i = 0; i < spec->n_end_ids && i < (int32_t) LATHE_LEN(spec->end_ids); i++)
        if (spec->end_ids[i] >= 0 && spec->end_ids[i] < v->n)
            v->is_end[spec->end_ids[i]] = 1;
    for (size_t i = 0; i < LATHE_LEN(end_texts); i++) {
        const int32_t id = lathe_vocab_symbol(v, end_texts[i], strlen(end_texts[i]));
        if (id >= 0 && id < v->n)
            v->is_end[id] = 1;
    }
    return LATHE_OK;
}

static lathe_status build(building *b, lathe_error *err) {
    lathe_vocab *v = b->v;
    const lathe_vocab_spec *spec = b->spec;
    const size_t n = (size_t) spec->n;
    b->n_offsets = n + 1024;
    v->map_mask = 1023;
    v->offset = calloc(b->n_offsets, sizeof *v->offset);
    v->piece_offset = calloc(n + 1, sizeof *v->piece_offset);
    v->score = calloc(n + 1, sizeof *v->score);
    v->type = calloc(n + 1, 1);
    v->is_end = calloc(n + 1, 1);
    v->map = malloc(1024 * sizeof *v->map);
    if (!v->offset || !v->piece_offset || !v->score || !v->type || !v->is_end || !v->map)
        return lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory for a vocabulary of %zu tokens", spec->name,
                          n);
    memset(v->map, 0xFF, 1024 * sizeof *v->map);
    lathe_status st = add_tokens(b, err);
    if (!st)
        st = find_bytes(b, err);
    if (!st && v->kind != LATHE_VOCAB_SPM)
        st = add_merges(b, err);
    if (!st)
        st = add_pieces(v, err);
    if (!st)
        st = find_specials(v, spec, err);
    if (!st && v->kind != LATHE_VOCAB_SPM)
        st = lathe_pretok_new(spec->pre ? spec->pre : "default", &v->pretok, err);
    return st;
}

lathe_status lathe_vocab_new(const lathe_vocab_spec *spec, lathe_vocab **vocab, lathe_error *err) {
    if (spec->n < 1 || spec->n > VOCAB_MAX || spec->n_merges > MERGES_MAX)
        return lathe_fail(err, LATHE_ERR_INPUT,
                          "%s: %d tokens and %zu merges; a vocabulary has 1 to %d tokens", spec->name,
                          spec->n, spec->n_merges, VOCAB_MAX);
    lathe_vocab *v = calloc(1, sizeof *v);
    if (!v)
        return lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory for a vocabulary", spec->name);
    v->kind = spec->kind;
    v->n = spec->n;
    v->bos = spec->bos < spec->n ? spec->bos : -1;
    v->eos = spec->eos < spec->n ? spec->eos : -1;
    v->unk = spec->unk < spec->n ? spec->unk : -1;
    v->add_bos = spec->add_bos && v->bos >= 0;
    v->add_eos = spec->add_eos && v->eos >= 0;
    v->add_space_prefix = spec->add_space_prefix;
    v->ignore_merges = spec->ignore_merges && spec->kind == LATHE_VOCAB_BPE;
    v->strips_after_special = spec->strips_after_special;
    building b = {.v = v, .spec = spec};
    lathe_buf_init(&b.text, UINT32_MAX);
    const lathe_status st = build(&b, err);
    v->text = b.text.data;
    if (st) {
        lathe_vocab_free(v);
        return st;
    }
    *vocab = v;
    return LATHE_OK;
}

void lathe_vocab_free(lathe_vocab *v) {
    if (!v)
        return;
    lathe_pretok_free(v->pretok);
    free(v->text);
    free(v->offset);
    free(v->piece);
    free(v->piece_offset);
    free(v->score);
    free(v->type);
    free(v->is_end);
    free(v->map);
    free(v->merges);
    free(v->special);
    free(v);
}

/* --- Public look-ups ----------------------------------------------------------------------------- */

const char *lathe_vocab_piece(const lathe_vocab *v, int32_t id, size_t *n_bytes) {
    if (id < 0 || id >= v->n)
        return NULL;
    *n_bytes = v->piece_offset[id + 1] - v->piece_offset[id];
    return v->piece + v->piece_offset[id];
}

int32_t lathe_vocab_size(const lathe_vocab *v) {
    return v->n;
}

int32_t lathe_vocab_bos(const lathe_vocab *v) {
    return v->bos;
}

int32_t lathe_vocab_eos(const lathe_vocab *v) {
    return v->eos;
}

bool lathe_vocab_adds_bos(const lathe_vocab *v) {
    return v->add_bos;
}

bool lathe_vocab_is_end(const lathe_vocab *v, int32_t id) {
    return id >= 0 && id < v->n && v->is_end[id];
}

bool lathe_vocab_is_control(const lathe_vocab *v, int32_t id) {
    return id >= 0 && id < v->n && (v->type[id] == LATHE_TOKEN_CONTROL || v->type[id] == LATHE_TOKEN_UNKNOWN);
}

int32_t lathe_vocab_find(const lathe_vocab *v, const char *text, size_t n_bytes) {
    const int32_t id = lathe_vocab_symbol(v, text, n_bytes);
    return id < v->n ? id : -1;
}

void lathe_free(void *memory) {
    free(memory);
}
