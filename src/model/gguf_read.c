/* gguf_read.c - reads the tables of a GGUF file and proves that all of it is inside the file.
 *
 * One pass over the header in the file's order; nothing is allocated before the counts are plausible for
 * the bytes that are left. Arrays and tensor data stay where they are. Duplicate names are found by sorting,
 * so that no crafted set of names makes the search slow.
 * Source: ggml's docs/gguf.md (format versions 2 and 3, which differ in nothing that matters here). */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "model/gguf_impl.h"

enum {
    COUNT_MAX = 65536,
    KEY_BYTES_MAX = 65535,
    TEXT_BYTES_MAX = 1 << 20,
    ALIGNMENT_DEFAULT = 32,
    ALIGNMENT_MAX = 65536,
    KV_BYTES_MIN = 8 + 1 + 4 + 1,             /* key of one byte, type, value of one byte */
    TENSOR_BYTES_MIN = 8 + 1 + 4 + 8 + 4 + 8, /* name of one byte, 1 dimension, type, offset */
    SHOWN_BYTES = 80,                         /* of a foreign name in a message */
};
#define DIM_MAX (INT64_C(1) << 40)

/* Where the parse stands, and what it needs for messages. */
typedef struct reader {
    lathe_gguf *g;
    uint64_t pos;
    const lathe_logger *logger;
    lathe_error *err;
} reader;

/* --- Small things -------------------------------------------------------------------------------- */

static uint32_t load_u32(const uint8_t *p) {
    return (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 | (uint32_t) p[3] << 24;
}

static uint64_t load_u64(const uint8_t *p) {
    return (uint64_t) load_u32(p) | (uint64_t) load_u32(p + 4) << 32;
}

/* UTF-8 without NUL. */
static bool is_name(const uint8_t *p, uint64_t n) {
    return !memchr(p, 0, (size_t) n) && lathe_utf8_is_valid((const char *) p, (size_t) n);
}

const char *lathe_gguf_printable(const char *name, size_t n_bytes, char *out, size_t n_out) {
    size_t w = 0;
    for (size_t i = 0; i < n_bytes;) {
        uint32_t code = 0;
        const size_t len = lathe_utf8_next(name + i, n_bytes - i, &code);
        /* C0, DEL and C1 drive terminals; so would broken UTF-8 */
        const bool plain = len > 0 && code >= 0x20 && !(code >= 0x7F && code < 0xA0);
        const size_t step = len > 0 ? len : 1;
        const size_t need = plain ? len : 1;
        if (w + need + 4 > n_out) { /* "..." and NUL */
            memcpy(out + w, "...", 3);
            w += 3;
            break;
        }
        if (plain)
            memcpy(out + w, name + i, len);
        else
            out[w] = '?';
        w += need;
        i += step;
    }
    out[w] = 0;
    return out;
}

static uint64_t left(const reader *r) {
    return r->g->size - r->pos;
}

static const uint8_t *here(const reader *r) {
    return r->g->base + r->pos;
}

/* --- Header -------------------------------------------------------------------------------------- */

lathe_status lathe_gguf_check_header(const char *path, const uint8_t *p, uint64_t size, lathe_error *err) {
    if (size < LATHE_GGUF_HEADER_BYTES)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: %llu bytes; a GGUF file has a header of at least %d",
                          path, (unsigned long long) size, LATHE_GGUF_HEADER_BYTES);
    if (memcmp(p, "GGUF", 4) != 0)
        return lathe_fail(err, LATHE_ERR_INPUT,
                          "%s: not a GGUF file: it begins with bytes %02x %02x %02x %02x; want 'GGUF'", path,
                          p[0], p[1], p[2], p[3]);
    const uint32_t version = load_u32(p + 4);
    if ((version & 0xFFFF) == 0)
        return lathe_fail(err, LATHE_ERR_INPUT,
                          "%s: big-endian GGUF file (version field 0x%08x); convert it to little-endian",
                          path, version);
    if (version != 2 && version != 3)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: GGUF version %u; versions 2 and 3 can be read", path,
                          version);
    return LATHE_OK;
}

static lathe_status check_count(const reader *r, const char *field, uint64_t count, uint64_t bytes_min) {
    if (count > COUNT_MAX)
        return lathe_fail(r->err, LATHE_ERR_INPUT, "%s: %s is %llu; at most %d can be right", r->g->path,
                          field, (unsigned long long) count, COUNT_MAX);
    if (count * bytes_min > left(r))
        return lathe_fail(r->err, LATHE_ERR_INPUT,
                          "%s: %s is %llu, which needs %llu bytes or more; the file has %llu left",
                          r->g->path, field, (unsigned long long) count,
                          (unsigned long long) (count * bytes_min), (unsigned long long) left(r));
    return LATHE_OK;
}

/* --- Metadata ------------------------------------------------------------------------------------ */

static uint32_t scalar_bytes(uint32_t type) {
    static const uint8_t bytes[LATHE_GGUF_TYPE_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return bytes[type];
}

static lathe_status truncated(const reader *r, const char *key, const char *what) {
    return lathe_fail(r->err, LATHE_ERR_INPUT,
                      "%s: key '%s': the file ends inside its %s (at byte %llu of %llu)", r->g->path, key,
                      what, (unsigned long long) r->pos, (unsigned long long) r->g->size);
}

static lathe_status read_array(reader *r, lathe_gguf_kv *kv, const char *shown) {
    if (left(r) < 12)
        return truncated(r, shown, "array header");
    kv->array_type = load_u32(here(r));
    kv->n = load_u64(here(r) + 4);
    r->pos += 12;
    if (kv->array_type >= LATHE_GGUF_TYPE_COUNT || kv->array_type == LATHE_GGUF_ARRAY)
        return lathe_fail(r->err, LATHE_ERR_INPUT,
                          "%s: key '%s': array of type %u; want 0 to 12, but not 9 (array)", r->g->path,
                          shown, kv->array_type);
    kv->data = here(r);
    const uint64_t each = kv->array_type == LATHE_GGUF_STRING ? 8 : scalar_bytes(kv->array_type);
    if (kv->n > left(r) / each)
        return lathe_fail(r->err, LATHE_ERR_INPUT,
                          "%s: key '%s': array of %llu elements; the %llu bytes left hold at most %llu",
                          r->g->path, shown, (unsigned long long) kv->n, (unsigned long long) left(r),
                          (unsigned long long) (left(r) / each));
    if (kv->array_type != LATHE_GGUF_STRING) {
        kv->n_bytes = kv->n * each;
        r->pos += kv->n_bytes;
        if (kv->array_type == LATHE_GGUF_BOOL)
            for (uint64_t i = 0; i < kv->n; i++)
                if (kv->data[i] > 1) {
                    lathe_log(r->logger, LATHE_LOG_WARN,
                              "%s: key '%s': element %llu is a bool of value %u, taken as true", r->g->path,
                              shown, (unsigned long long) i, kv->data[i]);
                    break;
                }
        return LATHE_OK;
    }
    const uint64_t start = r->pos;
    for (uint64_t i = 0; i < kv->n; i++) {
        const uint64_t n = left(r) >= 8 ? load_u64(here(r)) : 0;
        if (left(r) < 8 || n > left(r) - 8)
            return lathe_fail(r->err, LATHE_ERR_INPUT,
                              "%s: key '%s': string %llu of %llu (%llu bytes) passes the end of the file",
                              r->g->path, shown, (unsigned long long) i, (unsigned long long) kv->n,
                              (unsigned long long) n);
        r->pos += 8 + n;
    }
    kv->n_bytes = r->pos - start;
    return LATHE_OK;
}

/* Reads one pair; kv->key points into the file until copy_text gives it a NUL. *n_key: its bytes. */
static lathe_status read_kv(reader *r, size_t index, lathe_gguf_kv *kv, size_t *n_key) {
    char shown[SHOWN_BYTES];
    if (left(r) < 8)
        return lathe_fail(r->err, LATHE_ERR_INPUT, "%s: the file ends at metadata key %zu of %zu", r->g->path,
                          index, r->g->n_kv);
    const uint64_t n = load_u64(here(r));
    r->pos += 8;
    if (n < 1 || n > KEY_BYTES_MAX || n > left(r))
        return lathe_fail(r->err, LATHE_ERR_INPUT,
                          "%s: metadata key %zu has a name of %llu bytes; want 1 to %llu", r->g->path, index,
                          (unsigned long long) n,
                          (unsigned long long) (left(r) < KEY_BYTES_MAX ? left(r) : KEY_BYTES_MAX));
    kv->key = (const char *) here(r);
    *n_key = (size_t) n;
    lathe_gguf_printable(kv->key, *n_key, shown, sizeof shown);
    if (!is_name(here(r), n))
        return lathe_fail(r->err, LATHE_ERR_INPUT, "%s: metadata key %zu ('%s') is not UTF-8 or holds a NUL",
                          r->g->path, index, shown);
    r->pos += n;
    if (left(r) < 4)
        return truncated(r, shown, "type");
    kv->type = load_u32(here(r));
    r->pos += 4;
    if (kv->type >= LATHE_GGUF_TYPE_COUNT)
        return lathe_fail(r->err, LATHE_ERR_INPUT, "%s: key '%s': value of type %u; want 0 to 12", r->g->path,
                          shown, kv->type);
    if (kv->type == LATHE_GGUF_ARRAY)
        return read_array(r, kv, shown);
    if (kv->type == LATHE_GGUF_STRING) {
        if (left(r) < 8)
            return truncated(r, shown, "string length");
        kv->n = load_u64(here(r));
        r->pos += 8;
        if (kv->n > left(r))
            return lathe_fail(r->err, LATHE_ERR_INPUT,
                              "%s: key '%s': string of %llu bytes; the file has %llu left", r->g->path, shown,
                              (unsigned long long) kv->n, (unsigned long long) left(r));
        kv->n_bytes = kv->n;
    } else {
        kv->n = 1;
        kv->n_bytes = scalar_bytes(kv->type);
        if (left(r) < kv->n_bytes)
            return truncated(r, shown, "value");
    }
    kv->data = here(r);
    r->pos += kv->n_bytes;
    if (kv->type == LATHE_GGUF_BOOL && kv->data[0] > 1)
        lathe_log(r->logger, LATHE_LOG_WARN, "%s: key '%s': bool of value %u, taken as true", r->g->path,
                  shown, kv->data[0]);
    return LATHE_OK;
}

static bool wants_text(const lathe_gguf_kv *kv) {
    return kv->type == LATHE_GGUF_STRING && kv->n <= TEXT_BYTES_MAX && !memchr(kv->data, 0, (size_t) kv->n);
}

/* Gives every key, and every string value that a person may want as text, its NUL. */
static lathe_status copy_text(reader *r, const size_t *n_keys) {
    lathe_gguf *g = r->g;
    size_t n = 0; /* each byte stands in the file too, so the sum stays under its size + 2 n_kv */
    for (size_t i = 0; i < g->n_kv; i++)
        n += n_keys[i] + 1 + (wants_text(&g->kv[i]) ? (size_t) g->kv[i].n + 1 : 0);
    g->text = malloc(n + 1);
    if (!g->text)
        return lathe_fail(r->err, LATHE_ERR_MEMORY, "%s: no memory for %zu bytes of metadata", g->path, n);
    char *w = g->text;
    for (size_t i = 0; i < g->n_kv; i++) {
        lathe_gguf_kv *kv = &g->kv[i];
        memcpy(w, kv->key, n_keys[i]);
        kv->key = w;
        w += n_keys[i];
        *w++ = 0;
        if (!wants_text(kv))
            continue;
        memcpy(w, kv->data, (size_t) kv->n);
        kv->text = w;
        w += kv->n;
        *w++ = 0;
    }
    return LATHE_OK;
}

static int by_key(const void *a, const void *b) {
    return strcmp((*(const lathe_gguf_kv *const *) a)->key, (*(const lathe_gguf_kv *const *) b)->key);
}

static lathe_status read_metadata(reader *r) {
    lathe_gguf *g = r->g;
    size_t *n_keys = calloc(g->n_kv + 1, sizeof *n_keys);
    g->kv = calloc(g->n_kv + 1, sizeof *g->kv);
    g->kv_sorted = calloc(g->n_kv + 1, sizeof *g->kv_sorted);
    lathe_status st = LATHE_OK;
    if (!n_keys || !g->kv || !g->kv_sorted) {
        st = lathe_fail(r->err, LATHE_ERR_MEMORY, "%s: no memory for %zu metadata keys", g->path, g->n_kv);
        goto done;
    }
    for (size_t i = 0; i < g->n_kv; i++) {
        st = read_kv(r, i, &g->kv[i], &n_keys[i]);
        if (st)
            goto done;
    }
    st = copy_text(r, n_keys);
    if (st)
        goto done;
    for (size_t i = 0; i < g->n_kv; i++)
        g->kv_sorted[i] = &g->kv[i];
    qsort(g->kv_sorted, g->n_kv, sizeof *g->kv_sorted, by_key);
    for (size_t i = 1; i < g->n_kv; i++)
        if (strcmp(g->kv_sorted[i - 1]->key, g->kv_sorted[i]->key) == 0) {
            char shown[SHOWN_BYTES];
            const char *key = g->kv_sorted[i]->key;
            st = lathe_fail(r->err, LATHE_ERR_INPUT, "%s: key '%s' stands there twice; keys must be unique",
                            g->path, lathe_gguf_printable(key, strlen(key), shown, sizeof shown));
            goto done;
        }

done:
    free(n_keys);
    return st;
}

static lathe_status read_alignment(reader *r) {
    lathe_gguf *g = r->g;
    const lathe_gguf_kv *kv = lathe_gguf_find(g, "general.alignment");
    g->alignment = ALIGNMENT_DEFAULT;
    if (!kv)
        return LATHE_OK;
    if (kv->type != LATHE_GGUF_U32)
        return lathe_fail(r->err, LATHE_ERR_INPUT, "%s: key 'general.alignment' is of type %s; want u32",
                          g->path, lathe_gguf_type_name(kv->type));
    g->alignment = load_u32(kv->data);
    if (g->alignment < 1 || g->alignment > ALIGNMENT_MAX || (g->alignment & (g->alignment - 1)) != 0)
        return lathe_fail(r->err, LATHE_ERR_INPUT,
                          "%s: key 'general.alignment' is %u; want a power of two from 1 to %d", g->path,
                          g->alignment, ALIGNMENT_MAX);
    return LATHE_OK;
}

/* --- Tensors ------------------------------------------------------------------------------------- */

static lathe_status read_shape(reader *r, lathe_gguf_tensor *t, const char *shown) {
    t->n_values = 1;
    for (int32_t d = 0; d < LATHE_GGUF_DIMS_MAX; d++) {
        t->ne[d] = 1;
        if (d >= t->n_dims)
            continue;
        const uint64_t ne = load_u64(here(r));
        r->pos += 8;
        if (ne < 1 || ne > (uint64_t) DIM_MAX)
            return lathe_fail(r->err, LATHE_ERR_INPUT,
                              "%s: tensor '%s': dimension %d is %llu; want 1 to 2^40", r->g->path, shown, d,
                              (unsigned long long) ne);
        t->ne[d] = (int64_t) ne;
        if (__builtin_mul_overflow(t->n_values, t->ne[d], &t->n_values))
            return lathe_fail(r->err, LATHE_ERR_INPUT,
                              "%s: tensor '%s': its dimensions multiply to 2^63 or more values", r->g->path,
                              shown);
    }
    return LATHE_OK;
}

/* Reads one entry of the table; t->offset stays relative to the data section. */
static lathe_status read_tensor(reader *r, size_t index, lathe_gguf_tensor *t) {
    char shown[SHOWN_BYTES];
    const char *path = r->g->path;
    const uint64_t n = left(r) >= 8 ? load_u64(here(r)) : 0;
    if (left(r) < 8)
        return lathe_fail(r->err, LATHE_ERR_INPUT, "%s: the file ends at tensor %zu of %zu", path, index,
                          r->g->n_tensors);
    r->pos += 8;
    if (n < 1 || n >= LATHE_GGUF_NAME_MAX)
        return lathe_fail(r->err, LATHE_ERR_INPUT, "%s: tensor %zu has a name of %llu bytes; want 1 to %d",
                          path, index, (unsigned long long) n, LATHE_GGUF_NAME_MAX - 1);
    if (left(r) < n + 4)
        return lathe_fail(r->err, LATHE_ERR_INPUT, "%s: the file ends inside the name of tensor %zu", path,
                          index);
    memcpy(t->name, here(r), (size_t) n);
    lathe_gguf_printable(t->name, (size_t) n, shown, sizeof shown);
    if (!is_name(here(r), n))
        return lathe_fail(r->err, LATHE_ERR_INPUT,
                          "%s: tensor %zu: its name ('%s') is not UTF-8 or holds a NUL", path, index, shown);
    r->pos += n;
    const uint32_t n_dims = load_u32(here(r));
    r->pos += 4;
    if (n_dims < 1 || n_dims > LATHE_GGUF_DIMS_MAX)
        return lathe_fail(r->err, LATHE_ERR_INPUT, "%s: tensor '%s': %u dimensions; want 1 to %d", path,
                          shown, n_dims, LATHE_GGUF_DIMS_MAX);
    t->n_dims = (int32_t) n_dims;
    if (left(r) < 8 * (uint64_t) n_dims + 4 + 8)
        return lathe_fail(r->err, LATHE_ERR_INPUT, "%s: tensor '%s': the file ends inside its table entry",
                          path, shown);
    const lathe_status st = read_shape(r, t, shown);
    if (st)
        return st;
    t->type = load_u32(here(r));
    t->offset = load_u64(here(r) + 4);
    r->pos += 12;
    const uint32_t block = lathe_gguf_block_values(t->type);
    if (block == 0)
        return lathe_fail(r->err, LATHE_ERR_INPUT, "%s: tensor '%s': unknown or withdrawn tensor type %u",
                          path, shown, t->type);
    if (t->ne[0] % block != 0)
        return lathe_fail(r->err, LATHE_ERR_INPUT,
                          "%s: tensor '%s': rows of %lld values of type %s; want a multiple of %u", path,
                          shown, (long long) t->ne[0], lathe_gguf_tensor_type_name(t->type), block);
    uint64_t bytes;
    if (!lathe_gguf_bytes_of(t->type, (uint64_t) t->n_values, &bytes) || bytes > SIZE_MAX)
        return lathe_fail(r->err, LATHE_ERR_INPUT,
                          "%s: tensor '%s': %lld values of type %s pass the 64-bit range", path, shown,
                          (long long) t->n_values, lathe_gguf_tensor_type_name(t->type));
    t->n_bytes = (size_t) bytes;
    if (t->offset % r->g->alignment != 0)
        return lathe_fail(r->err, LATHE_ERR_INPUT,
                          "%s: tensor '%s': offset %llu is no multiple of the alignment %u", path, shown,
                          (unsigned long long) t->offset, r->g->alignment);
    return LATHE_OK;
}

static int by_name(const void *a, const void *b) {
    return strcmp((*(const lathe_gguf_tensor *const *) a)->name,
                  (*(const lathe_gguf_tensor *const *) b)->name);
}

static int by_offset(const void *a, const void *b) {
    const lathe_gguf_tensor *x = *(const lathe_gguf_tensor *const *) a,
                            *y = *(const lathe_gguf_tensor *const *) b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* Puts every tensor into the file, and no two into the same bytes. */
static lathe_status place_tensors(reader *r) {
    lathe_gguf *g = r->g;
    char shown[SHOWN_BYTES];
    const uint64_t align = g->alignment;
    const uint64_t data = (r->pos + align - 1) / align * align;
    uint64_t running = 0;
    const lathe_gguf_tensor *odd = NULL; /* the first that does not follow its predecessor */
    g->aligned = true;
    for (size_t i = 0; i < g->n_tensors; i++) {
        lathe_gguf_tensor *t = &g->tensors[i];
        uint64_t begin, end;
        if (!odd && t->offset != running)
            odd = t;
        if (__builtin_add_overflow(data, t->offset, &begin) ||
            __builtin_add_overflow(begin, t->n_bytes, &end) || end > g->size)
            return lathe_fail(r->err, LATHE_ERR_INPUT,
                              "%s: tensor '%s': %zu bytes at offset %llu of the data at %llu pass the end of "
                              "the file (%llu "
                              "bytes); the file is cut short or corrupt",
                              g->path, lathe_gguf_printable(t->name, strlen(t->name), shown, sizeof shown),
                              t->n_bytes, (unsigned long long) t->offset, (unsigned long long) data,
                              (unsigned long long) g->size);
        running = (t->offset + t->n_bytes + align - 1) / align * align; /* < file size + 65,536 */
        t->offset = begin;
        t->data = g->base + begin;
        g->aligned = g->aligned && (uintptr_t) t->data % 32 == 0;
        g->sorted[i] = t;
    }
    if (odd) {
        qsort(g->sorted, g->n_tensors, sizeof *g->sorted, by_offset);
        for (size_t i = 1; i < g->n_tensors; i++) {
            const lathe_gguf_tensor *a = g->sorted[i - 1], *b = g->sorted[i];
            char other[SHOWN_BYTES];
            if (b->offset - a->offset < a->n_bytes)
                return lathe_fail(r->err, LATHE_ERR_INPUT,
                                  "%s: tensors '%s' and '%s' overlap in the file (offsets %llu and %llu)",
                                  g->path,
                                  lathe_gguf_printable(a->name, strlen(a->name), shown, sizeof shown),
                                  lathe_gguf_printable(b->name, strlen(b->name), other, sizeof other),
                                  (unsigned long long) a->offset, (unsigned long long) b->offset);
        }
        lathe_log(r->logger, LATHE_LOG_WARN,
                  "%s: tensor '%s' does not follow its predecessor in the file; some programs refuse that",
                  g->path, lathe_gguf_printable(odd->name, strlen(odd->name), shown, sizeof shown));
    }
    qsort(g->sorted, g->n_tensors, sizeof *g->sorted, by_name);
    for (size_t i = 1; i < g->n_tensors; i++)
        if (strcmp(g->sorted[i - 1]->name, g->sorted[i]->name) == 0)
            return lathe_fail(
                r->err, LATHE_ERR_INPUT, "%s: tensor '%s' stands there twice; names must be unique", g->path,
                lathe_gguf_printable(g->sorted[i]->name, strlen(g->sorted[i]->name), shown, sizeof shown));
    return LATHE_OK;
}

static lathe_status read_tensors(reader *r) {
    lathe_gguf *g = r->g;
    lathe_status st = check_count(r, "the number of tensors", g->n_tensors, TENSOR_BYTES_MIN);
    if (st)
        return st;
    g->tensors = calloc(g->n_tensors + 1, sizeof *g->tensors);
    g->sorted = calloc(g->n_tensors + 1, sizeof *g->sorted);
    if (!g->tensors || !g->sorted)
        return lathe_fail(r->err, LATHE_ERR_MEMORY, "%s: no memory for a table of %zu tensors", g->path,
                          g->n_tensors);
    for (size_t i = 0; i < g->n_tensors; i++) {
        st = read_tensor(r, i, &g->tensors[i]);
        if (st)
            return st;
    }
    return place_tensors(r);
}

/* --- The whole ----------------------------------------------------------------------------------- */

lathe_status lathe_gguf_parse(lathe_gguf *g, const lathe_logger *logger, lathe_error *err) {
    reader r = {.g = g, .logger = logger, .err = err};
    lathe_status st = lathe_gguf_check_header(g->path, g->base, g->size, err);
    if (st)
        return st;
    g->version = load_u32(g->base + 4);
    const uint64_t n_tensors = load_u64(g->base + 8), n_kv = load_u64(g->base + 16);
    r.pos = LATHE_GGUF_HEADER_BYTES;
    st = check_count(&r, "the number of tensors", n_tensors, TENSOR_BYTES_MIN);
    if (!st)
        st = check_count(&r, "the number of metadata keys", n_kv, KV_BYTES_MIN);
    if (st)
        return st;
    g->n_kv = (size_t) n_kv;
    g->n_tensors = (size_t) n_tensors;
    st = read_metadata(&r);
    if (!st)
        st = read_alignment(&r);
    if (!st)
        st = read_tensors(&r);
    return st;
}
