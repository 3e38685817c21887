/* fuzz_gguf.c - any bytes as a GGUF file: open, read every value in every way, touch every tensor.
 *
 * The mutator knows the format's skeleton: it changes one field to a value that matters, drops or doubles a
 * pair or a tensor with the counts kept right, and leaves the rest to libFuzzer. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "model/desc.h"
#include "model/gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

static volatile uint64_t sink; /* keeps reads alive */

static void read_pair(const lathe_gguf *g, const lathe_gguf_kv *kv) {
    int64_t i = 0, many[4];
    double x = 0;
    bool b = false;
    const char *text = NULL;
    lathe_error err = {0};
    lathe_gguf_array a = {0};
    if (lathe_gguf_find(g, kv->key) != kv)
        abort();
    sink += (uint64_t) lathe_gguf_int(g, kv->key, LATHE_GGUF_REQUIRED, -100, 1 << 20, &i, &err);
    sink += (uint64_t) lathe_gguf_real(g, kv->key, LATHE_GGUF_REQUIRED, -1, 1, &x, &err);
    sink += (uint64_t) lathe_gguf_bool(g, kv->key, LATHE_GGUF_REQUIRED, &b, &err);
    if (lathe_gguf_text(g, kv->key, LATHE_GGUF_REQUIRED, &text, &err) == LATHE_OK && strlen(text) != kv->n)
        abort();
    sink += (uint64_t) lathe_gguf_ints(g, kv->key, LATHE_GGUF_OPTIONAL, 0, 100, many, 4, &err);
    if (strchr(err.text, '\n') || strchr(err.text, 27))
        abort(); /* a message is one line and drives no terminal */
    if (lathe_gguf_array_get(g, kv->key, LATHE_GGUF_REQUIRED, ~0u, -1, &a, &err) != LATHE_OK)
        return;
    const char *piece = NULL;
    size_t n_piece = 0;
    uint64_t n = 0;
    lathe_gguf_strings it = lathe_gguf_strings_of(&a);
    for (; lathe_gguf_strings_next(&it, &piece, &n_piece); n++)
        sink += n_piece ? (uint8_t) piece[n_piece - 1] : 0;
    if (a.type == LATHE_GGUF_STRING && n != a.n)
        abort();
    for (uint64_t j = 0; a.type != LATHE_GGUF_STRING && j < a.n; j++)
        sink += (uint64_t) lathe_gguf_array_int(&a, j) + (lathe_gguf_array_real(&a, j) > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes) {
    lathe_error err = {0};
    lathe_gguf *g = NULL;
    static lathe_desc desc; /* the one of a single-threaded test */
    if (lathe_gguf_from_memory(bytes, n_bytes, "fuzz.gguf", NULL, &g, &err) != LATHE_OK) {
        if (err.status == LATHE_OK || !err.text[0] || strchr(err.text, '\n'))
            abort();
        return 0;
    }
    for (size_t i = 0; i < lathe_gguf_n_kv(g); i++)
        read_pair(g, lathe_gguf_kv_at(g, i));
    for (size_t i = 0; i < lathe_gguf_n_tensors(g); i++) {
        const lathe_gguf_tensor *t = lathe_gguf_tensor_at(g, i);
        if (lathe_gguf_tensor_find(g, t->name) != t || t->n_bytes == 0)
            abort();
        for (size_t j = 0; j < t->n_bytes; j++)
            sink += t->data[j];
    }
    if (lathe_desc_from_gguf(g, &desc, &err) == LATHE_OK)
        sink += (uint64_t) lathe_desc_check(&desc, g, NULL, &err);
    lathe_gguf_close(g);
    return 0;
}

#ifdef LATHE_LIBFUZZER
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);

enum { PARTS_MAX = 256 };

typedef struct skeleton {
    size_t begin[PARTS_MAX + 1]; /* of pair or tensor i; [n] is the end */
    size_t n_kv, n_tensors;
} skeleton;

static uint64_t number(const uint8_t *p, size_t n) {
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v |= (uint64_t) p[i] << (8 * i);
    return v;
}

static void put(uint8_t *p, uint64_t v, size_t n) {
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t) (v >> (8 * i));
}

/* Bytes of a pair at p, or 0 where it does not fit. */
static size_t pair_size(const uint8_t *p, size_t left) {
    static const size_t bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    if (left < 8 || number(p, 8) > left - 8 || left - 8 - number(p, 8) < 4)
        return 0;
    size_t pos = 8 + (size_t) number(p, 8);
    const uint64_t type = number(p + pos, 4);
    pos += 4;
    if (type > 12)
        return 0;
    if (type == 8) {
        if (left - pos < 8 || number(p + pos, 8) > left - pos - 8)
            return 0;
        return pos + 8 + (size_t) number(p + pos, 8);
    }
    if (type != 9)
        return left - pos >= bytes[type] ? pos + bytes[type] : 0;
    if (left - pos < 12)
        return 0;
    const uint64_t of = number(p + pos, 4), n = number(p + pos + 4, 8);
    pos += 12;
    if (of > 12 || of == 9 || n > left)
        return 0;
    for (uint64_t i = 0; of == 8 && i < n; i++) {
        if (left - pos < 8 || number(p + pos, 8) > left - pos - 8)
            return 0;
        pos += 8 + (size_t) number(p + pos, 8);
    }
    return n * bytes[of] <= left - pos ? pos + (size_t) n * bytes[of] : 0;
}

static size_t tensor_size(const uint8_t *p, size_t left) {
    if (left < 12 || number(p, 8) > left - 12)
        return 0;
    const size_t pos = 8 + (size_t) number(p, 8);
    const uint64_t n_dims = number(p + pos, 4);
    const size_t need = n_dims <= 4 ? pos + 4 + 8 * (size_t) n_dims + 12 : 0;
    return need && need <= left ? need : 0;
}

static skeleton walk(const uint8_t *data, size_t size) {
    skeleton s = {0};
    size_t pos = 24;
    if (size < 24)
        return s;
    const uint64_t n_kv = number(data + 16, 8), n_tensors = number(data + 8, 8);
    for (size_t i = 0; i < PARTS_MAX; i++) {
        const bool is_pair = s.n_kv < n_kv;
        if (!is_pair && s.n_tensors >= n_tensors)
            break;
        const size_t n = is_pair ? pair_size(data + pos, size - pos) : tensor_size(data + pos, size - pos);
        if (n == 0)
            break;
        s.begin[i] = pos;
        pos += n;
        s.begin[i + 1] = pos;
        if (is_pair)
            s.n_kv++;
        else
            s.n_tensors++;
    }
    return s;
}

static uint64_t telling(uint32_t r) {
    static const uint64_t values[] = {
        0,          1,          2,          3,          7,          8,          9,          13,
        31,         32,         33,         63,         64,         255,        256,        0x7FFFFFFF,
        0x80000000, 0xFFFFFFFF, 1ull << 32, 1ull << 40, 1ull << 62, 1ull << 63, UINT64_MAX, UINT64_MAX - 31};
    return values[r % LATHE_LEN(values)];
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed) {
    const skeleton s = walk(data, size);
    const size_t n_parts = s.n_kv + s.n_tensors;
    uint32_t w[4];
    lathe_philox(seed, 36, 0, 0, 0, w); /* any well-mixed bits */
    if (n_parts == 0 || w[0] % 4 == 0)
        return LLVMFuzzerMutate(data, size, max_size);
    const size_t part = w[1] % n_parts, begin = s.begin[part], n = s.begin[part + 1] - begin;
    const size_t count_at = part < s.n_kv ? 16 : 8;
    switch (w[0] % 4) {
    case 1: { /* one field of one part becomes a telling number */
        const size_t width = w[2] & 1 ? 8 : 4;
        const size_t fixed = 8 + (size_t) number(data + begin, 8); /* after the name */
        const size_t at =
            w[3] % 8 == 0 || fixed >= n ? begin : begin + fixed + 4 * (w[3] % ((n - fixed) / 4 + 1));
        if (at + width <= size)
            put(data + at, telling(w[2] >> 1), width);
        return size;
    }
    case 2: /* gone */
        memmove(data + begin, data + begin + n, size - begin - n);
        put(data + count_at, number(data + count_at, 8) - 1, 8);
        return size - n;
    default: /* twice, the second under another name */
        if (size + n > max_size)
            return LLVMFuzzerMutate(data, size, max_size);
        memmove(data + begin + n, data + begin, size - begin);
        if (number(data + begin, 8) > 0)
            data[begin + 8] = (uint8_t) ('a' + w[2] % 26);
        put(data + count_at, number(data + count_at, 8) + 1, 8);
        return size + n;
    }
}
#endif
