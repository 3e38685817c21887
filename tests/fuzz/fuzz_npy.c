/* fuzz_npy.c - any bytes as a NumPy array: shapes and values that agree, or a message. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/npy.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes) {
    lathe_error err = {0};
    lathe_npy array;
    if (lathe_npy_parse(bytes, n_bytes, "fuzz.npy", (size_t) 1 << 24, &array, &err) != LATHE_OK) {
        if (!err.text[0] || strchr(err.text, '\n'))
            abort();
        return 0;
    }
    int64_t n = 1;
    if (array.n_dims < 1 || array.n_dims > 3)
        abort();
    for (int i = 0; i < array.n_dims; i++) {
        if (array.shape[i] < 0)
            abort();
        n *= array.shape[i];
    }
    double sum = 0;
    for (int64_t i = 0; i < n; i++) /* every value is there */
        sum += array.values[i] > 0;
    if (sum > (double) n)
        abort();
    lathe_npy_free(&array);
    return 0;
}
