/* npy.c - see npy.h. The header is a Python dict in text; only the three keys it must have are read. */
#include "base/npy.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"

/* The text after 'key': in the header, or NULL. */
static const char *after_key(const char *header, const char *key) {
    const char *p = strstr(header, key);
    if (p == NULL)
        return NULL;
    p += strlen(key);
    while (*p == ' ' || *p == ':')
        p++;
    return p;
}

static double read_one(const uint8_t *p, char kind, int size) {
    switch (kind) {
    case 'f':
        if (size == 4) {
            float x;
            memcpy(&x, p, 4);
            return (double) x;
        } else {
            double x;
            memcpy(&x, p, 8);
            return x;
        }
    case 'i': {
        int64_t x = size == 1 ? (int8_t) p[0] : 0;
        if (size == 2) {
            int16_t y;
            memcpy(&y, p, 2);
            x = y;
        } else if (size == 4) {
            int32_t y;
            memcpy(&y, p, 4);
            x = y;
        } else if (size == 8) {
            memcpy(&x, p, 8);
        }
        return (double) x;
    }
    default: {
        uint64_t x = 0;
        memcpy(&x, p, (size_t) size);
        return (double) x;
    }
    }
}

lathe_status lathe_npy_read_head(const uint8_t *bytes, size_t n_bytes, const char *name, lathe_npy_head *head,
                                 lathe_error *err) {
    if (n_bytes < 12 || memcmp(bytes, "\x93NUMPY", 6) != 0)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: not an NPY file", name);
    const int version = bytes[6];
    if (version < 1 || version > 3)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: NPY version %d; 1 to 3 are known", name, version);
    const size_t n_before = version == 1 ? 10 : 12;
    size_t n_header = (size_t) bytes[8] | (size_t) bytes[9] << 8;
    if (version > 1)
        n_header |= (size_t) bytes[10] << 16 | (size_t) bytes[11] << 24;
    char header[4096];
    if (n_header >= sizeof header || n_header > n_bytes - n_before)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: the header of %zu bytes is cut or too long", name,
                          n_header);
    memcpy(header, bytes + n_before, n_header);
    header[n_header] = 0;
    const char *descr = after_key(header, "'descr'"), *order = after_key(header, "'fortran_order'"),
               *shape = after_key(header, "'shape'");
    if (descr == NULL || order == NULL || shape == NULL || *shape != '(')
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: the header lacks descr, fortran_order or shape", name);
    if (descr[0] != '\'' || (descr[1] != '<' && descr[1] != '|') || strchr("fiub", descr[2]) == NULL ||
        descr[2] == 0 || strchr("1248", descr[3]) == NULL || descr[3] == 0 || descr[4] != '\'' ||
        (descr[2] == 'f' && descr[3] != '4' && descr[3] != '8') || (descr[2] == 'b' && descr[3] != '1'))
        return lathe_fail(err, LATHE_ERR_UNSUPPORTED,
                          "%s: element type %.8s; save as float32, float64, bool or an integer type", name,
                          descr);
    const char kind = descr[2];
    const int size = descr[3] - '0';
    lathe_npy_head result = {.kind = kind,
                             .item_bytes = size,
                             .fortran = strncmp(order, "True", 4) == 0,
                             .at = n_before + n_header};
    size_t n_values = 1;
    const char *p = shape + 1;
    while (*p != ')') {
        while (*p == ' ' || *p == ',')
            p++;
        if (*p == ')')
            break;
        if (*p < '0' || *p > '9' || result.n_dims == 3)
            return lathe_fail(err, LATHE_ERR_INPUT, "%s: the shape must have 1 to 3 sizes", name);
        int64_t n = 0;
        for (; *p >= '0' && *p <= '9'; p++)
            n = n < INT64_MAX / 100 ? 10 * n + (*p - '0') : n;
        if (!lathe_size_mul(n_values, (size_t) n, &n_values))
            return lathe_fail(err, LATHE_ERR_INPUT, "%s: the shape is too large", name);
        result.shape[result.n_dims++] = n;
    }
    size_t need = 0;
    if (result.n_dims == 0 || !lathe_size_mul(n_values, (size_t) size, &need) ||
        need > n_bytes - n_before - n_header)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: the shape asks for more values than the file holds",
                          name);
    result.n_values = n_values;
    *head = result;
    return LATHE_OK;
}

lathe_status lathe_npy_parse(const uint8_t *bytes, size_t n_bytes, const char *name, size_t limit,
                             lathe_npy *array, lathe_error *err) {
    lathe_npy_head head;
    lathe_status st = lathe_npy_read_head(bytes, n_bytes, name, &head, err);
    if (st)
        return st;
    const size_t n_values = head.n_values;
    const char kind = head.kind;
    const int size = head.item_bytes;
    lathe_npy result = {.integer = kind != 'f', .n_dims = head.n_dims};
    memcpy(result.shape, head.shape, sizeof result.shape);
    if (n_values > limit / sizeof(double))
        return lathe_fail(err, LATHE_ERR_MEMORY, "%s: %zu values pass the limit of %zu bytes", name, n_values,
                          limit);
    result.values = malloc(n_values ? n_values * sizeof(double) : 1);
    if (result.values == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory for %zu values", name, n_values);
    const uint8_t *data = bytes + head.at;
    const size_t rows = (size_t) result.shape[0];
    const size_t a = result.n_dims > 1 ? (size_t) result.shape[1] : 1,
                 b = result.n_dims > 2 ? (size_t) result.shape[2] : 1;
    if (!head.fortran || n_values == 0) { /* of no values: sizes beside a 0 may be of any size */
        for (size_t i = 0; i < n_values; i++)
            result.values[i] = read_one(data + i * (size_t) size, kind, size);
    } else {
        for (size_t i = 0; i < rows; i++)
            for (size_t j = 0; j < a; j++)
                for (size_t k = 0; k < b; k++)
                    result.values[(i * a + j) * b + k] =
                        read_one(data + ((k * a + j) * rows + i) * (size_t) size, kind, size);
    }
    *array = result;
    return LATHE_OK;
}

lathe_status lathe_npy_read(const char *path, size_t limit, lathe_npy *array, lathe_error *err) {
    lathe_file file;
    lathe_status st = lathe_file_open(path, true, 0, &file, err);
    if (st)
        return st;
    st = lathe_npy_parse(file.bytes, file.n_bytes, path, limit, array, err);
    lathe_file_close(&file);
    return st;
}

void lathe_npy_free(lathe_npy *array) {
    free(array->values);
    array->values = NULL;
}
