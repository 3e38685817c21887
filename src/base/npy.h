/* npy.h - NumPy's array files (versions 1 to 3), little endian, booleans, integers and floats. */
#ifndef LATHE_BASE_NPY_H
#define LATHE_BASE_NPY_H

#include "lathe/base.h"

typedef struct lathe_npy {
    double *values; /* row-major, whatever the file's order was */
    int64_t shape[3];
    int n_dims;
    bool integer; /* the file held whole numbers or booleans */
} lathe_npy;

/* What an NPY file says of itself. */
typedef struct lathe_npy_head {
    int64_t shape[3];
    int n_dims;
    char kind;      /* 'f', 'i', 'u' or 'b' */
    int item_bytes; /* 1, 2, 4 or 8 */
    bool fortran;   /* the first dimension is fastest */
    size_t at;      /* offset of the values, which are all within the file */
    size_t n_values;
} lathe_npy_head;
LATHE_NODISCARD lathe_status lathe_npy_read_head(const uint8_t *bytes, size_t n_bytes, const char *name,
                                                 lathe_npy_head *head, lathe_error *err);

/* At most `limit` bytes of values; 1 to 3 dimensions. LATHE_ERR_INPUT says what is wrong with the header. */
LATHE_NODISCARD lathe_status lathe_npy_read(const char *path, size_t limit, lathe_npy *array,
                                            lathe_error *err);
LATHE_NODISCARD lathe_status lathe_npy_parse(const uint8_t *bytes, size_t n_bytes, const char *name,
                                             size_t limit, lathe_npy *array, lathe_error *err);
void lathe_npy_free(lathe_npy *array);

#endif
