/* gguf_values.c - metadata values with the type and range that a caller wants. */
#include "model/gguf.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static uint64_t load(const uint8_t *p, uint32_t n_bytes) {
    uint64_t v = 0;
    for (uint32_t i = 0; i < n_bytes; i++)
        v |= (uint64_t) p[i] << (8 * i);
    return v;
}

/* Bytes of one element; 0 for strings and arrays. */
static uint32_t element_bytes(uint32_t type) {
    switch (type) {
    case LATHE_GGUF_U8:
    case LATHE_GGUF_I8:
    case LATHE_GGUF_BOOL:
        return 1;
    case LATHE_GGUF_U16:
    case LATHE_GGUF_I16:
        return 2;
    case LATHE_GGUF_U32:
    case LATHE_GGUF_I32:
    case LATHE_GGUF_F32:
        return 4;
    case LATHE_GGUF_U64:
    case LATHE_GGUF_I64:
    case LATHE_GGUF_F64:
        return 8;
    default:
        return 0;
    }
}

static int64_t int_at(uint32_t type, const uint8_t *p) {
    switch (type) {
    case LATHE_GGUF_BOOL:
        return p[0] != 0;
    case LATHE_GGUF_I8:
        return (int8_t) p[0];
    case LATHE_GGUF_I16:
        return (int16_t) load(p, 2);
    case LATHE_GGUF_I32:
        return (int32_t) load(p, 4);
    case LATHE_GGUF_I64:
        return (int64_t) load(p, 8);
    default: {
        const uint64_t v = load(p, element_bytes(type));
        return v > INT64_MAX ? INT64_MAX : (int64_t) v;
    }
    }
}

static double real_at(uint32_t type, const uint8_t *p) {
    if (type == LATHE_GGUF_F32) {
        const uint32_t bits = (uint32_t) load(p, 4);
        float f;
        memcpy(&f, &bits, sizeof f);
        return f;
    }
    if (type == LATHE_GGUF_F64) {
        const uint64_t bits = load(p, 8);
        double d;
        memcpy(&d, &bits, sizeof d);
        return d;
    }
    return (double) int_at(type, p);
}

static bool is_integer(uint32_t type) {
    return type <= LATHE_GGUF_I32 || type == LATHE_GGUF_U64 || type == LATHE_GGUF_I64;
}

enum { SHOWN_BYTES = 80 };

/* A key for a message: it may come from the file, and must not break the line or drive a terminal. */
static const char *shown(const char *key, char out[SHOWN_BYTES]) {
    return lathe_gguf_printable(key, strlen(key), out, SHOWN_BYTES);
}

static lathe_status missing(const lathe_gguf *g, const char *key, lathe_gguf_need need, lathe_error *err) {
    char name[SHOWN_BYTES];
    if (need == LATHE_GGUF_OPTIONAL)
        return LATHE_OK;
    return lathe_fail(err, LATHE_ERR_INPUT, "%s: key '%s' is missing; this kind of model needs it",
                      lathe_gguf_path(g), shown(key, name));
}

static lathe_status wrong_type(const lathe_gguf *g, const lathe_gguf_kv *kv, const char *want,
                               lathe_error *err) {
    char name[SHOWN_BYTES];
    if (kv->type == LATHE_GGUF_ARRAY)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: key '%s' is an array of %s; want %s", lathe_gguf_path(g),
                          shown(kv->key, name), lathe_gguf_type_name(kv->array_type), want);
    return lathe_fail(err, LATHE_ERR_INPUT, "%s: key '%s' is of type %s; want %s", lathe_gguf_path(g),
                      shown(kv->key, name), lathe_gguf_type_name(kv->type), want);
}

static lathe_status check_int(const lathe_gguf *g, const char *key, int64_t v, int64_t min, int64_t max,
                              lathe_error *err) {
    char name[SHOWN_BYTES];
    if (v >= min && v <= max)
        return LATHE_OK;
    return lathe_fail(err, LATHE_ERR_INPUT, "%s: key '%s' is %lld; want %lld to %lld", lathe_gguf_path(g),
                      shown(key, name), (long long) v, (long long) min, (long long) max);
}

lathe_status lathe_gguf_int(const lathe_gguf *g, const char *key, lathe_gguf_need need, int64_t min,
                            int64_t max, int64_t *out, lathe_error *err) {
    const lathe_gguf_kv *kv = lathe_gguf_find(g, key);
    if (!kv)
        return missing(g, key, need, err);
    if (!is_integer(kv->type))
        return wrong_type(g, kv, "an integer", err);
    const int64_t v = int_at(kv->type, kv->data);
    const lathe_status st = check_int(g, key, v, min, max, err);
    if (!st)
        *out = v;
    return st;
}

lathe_status lathe_gguf_real(const lathe_gguf *g, const char *key, lathe_gguf_need need, double min,
                             double max, double *out, lathe_error *err) {
    char name[SHOWN_BYTES];
    const lathe_gguf_kv *kv = lathe_gguf_find(g, key);
    if (!kv)
        return missing(g, key, need, err);
    if (kv->type != LATHE_GGUF_F32 && kv->type != LATHE_GGUF_F64)
        return wrong_type(g, kv, "f32", err);
    const double v = real_at(kv->type, kv->data);
    if (!isfinite(v) || v < min || v > max)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: key '%s' is %g; want a number from %g to %g",
                          lathe_gguf_path(g), shown(key, name), v, min, max);
    *out = v;
    return LATHE_OK;
}

lathe_status lathe_gguf_bool(const lathe_gguf *g, const char *key, lathe_gguf_need need, bool *out,
                             lathe_error *err) {
    const lathe_gguf_kv *kv = lathe_gguf_find(g, key);
    if (!kv)
        return missing(g, key, need, err);
    if (kv->type != LATHE_GGUF_BOOL)
        return wrong_type(g, kv, "bool", err);
    *out = kv->data[0] != 0;
    return LATHE_OK;
}

lathe_status lathe_gguf_text(const lathe_gguf *g, const char *key, lathe_gguf_need need, const char **out,
                             lathe_error *err) {
    char name[SHOWN_BYTES];
    const lathe_gguf_kv *kv = lathe_gguf_find(g, key);
    if (!kv)
        return missing(g, key, need, err);
    if (kv->type != LATHE_GGUF_STRING)
        return wrong_type(g, kv, "str", err);
    if (!kv->text)
        return lathe_fail(err, LATHE_ERR_INPUT,
                          "%s: key '%s': text of %llu bytes that is over 1 MiB or holds a NUL",
                          lathe_gguf_path(g), shown(key, name), (unsigned long long) kv->n);
    *out = kv->text;
    return LATHE_OK;
}

lathe_status lathe_gguf_ints(const lathe_gguf *g, const char *key, lathe_gguf_need need, int64_t min,
                             int64_t max, int64_t *out, size_t n, lathe_error *err) {
    char name[SHOWN_BYTES];
    const lathe_gguf_kv *kv = lathe_gguf_find(g, key);
    if (!kv)
        return missing(g, key, need, err);
    const bool is_array = kv->type == LATHE_GGUF_ARRAY;
    const uint32_t type = is_array ? kv->array_type : kv->type;
    if (!is_integer(type) && type != LATHE_GGUF_BOOL)
        return wrong_type(g, kv, "an integer or an array of integers", err);
    if (is_array && kv->n != n)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: key '%s' has %llu elements; want %zu, one a layer",
                          lathe_gguf_path(g), shown(key, name), (unsigned long long) kv->n, n);
    for (int pass = 0; pass < 2; pass++) /* all checked before the first is written */
        for (size_t i = 0; i < n; i++) {
            const int64_t v = int_at(type, kv->data + (is_array ? i * element_bytes(type) : 0));
            const lathe_status st = check_int(g, key, v, min, max, err);
            if (st)
                return st;
            if (pass == 1)
                out[i] = v;
        }
    return LATHE_OK;
}

lathe_status lathe_gguf_array_get(const lathe_gguf *g, const char *key, lathe_gguf_need need, uint32_t types,
                                  int64_t n, lathe_gguf_array *out, lathe_error *err) {
    char name[SHOWN_BYTES];
    const lathe_gguf_kv *kv = lathe_gguf_find(g, key);
    if (!kv) {
        *out = (lathe_gguf_array){0};
        return missing(g, key, need, err);
    }
    if (kv->type != LATHE_GGUF_ARRAY || !(types >> kv->array_type & 1)) {
        char want[96] = "an array of";
        size_t used = strlen(want);
        for (uint32_t t = 0; t < LATHE_GGUF_TYPE_COUNT; t++)
            if ((types >> t & 1) && used < sizeof want) /* 13 names of at most 5 bytes fit */
                used += (size_t) snprintf(want + used, sizeof want - used, " %s", lathe_gguf_type_name(t));
        return wrong_type(g, kv, want, err);
    }
    if (n >= 0 && kv->n != (uint64_t) n)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: key '%s' has %llu elements; want %lld",
                          lathe_gguf_path(g), shown(key, name), (unsigned long long) kv->n, (long long) n);
    *out = (lathe_gguf_array){.type = kv->array_type, .n = kv->n, .data = kv->data, .n_bytes = kv->n_bytes};
    return LATHE_OK;
}

int64_t lathe_gguf_array_int(const lathe_gguf_array *array, uint64_t i) {
    return int_at(array->type, array->data + i * element_bytes(array->type));
}

double lathe_gguf_array_real(const lathe_gguf_array *array, uint64_t i) {
    return real_at(array->type, array->data + i * element_bytes(array->type));
}

lathe_gguf_strings lathe_gguf_strings_of(const lathe_gguf_array *array) {
    const bool is_string = array->type == LATHE_GGUF_STRING && array->n > 0;
    return (lathe_gguf_strings){.next = array->data,
                                .end = is_string ? array->data + array->n_bytes : array->data,
                                .left = is_string ? array->n : 0};
}

bool lathe_gguf_strings_next(lathe_gguf_strings *it, const char **text, size_t *n_bytes) {
    /* Proved at the open; looked at again, as a mapped file may change under us. */
    if (it->left == 0 || it->end - it->next < 8)
        return false;
    const uint64_t n = load(it->next, 8);
    if (n > (uint64_t) (it->end - it->next) - 8)
        return false;
    *text = (const char *) it->next + 8;
    *n_bytes = (size_t) n;
    it->next += 8 + n;
    it->left--;
    return true;
}
