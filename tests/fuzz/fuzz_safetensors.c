/* fuzz_safetensors.c - any bytes as a .safetensors file: tensors that lie within the file, or a message.
 *
 * Bytes that begin with '{' are a header and data without the length before them, which is put there: up to
 * the last '}'. A fuzzer seldom changes a header and its length together. */
#include <stdlib.h>
#include <string.h>

#include "fuzz/input_file.h"
#include "model/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

static int read_file(const uint8_t *bytes, size_t n_bytes) {
    lathe_error err = {0};
    lathe_safetensors *st = NULL;
    if (lathe_safetensors_open(input_file(bytes, n_bytes), &st, &err) != LATHE_OK) {
        if (!err.text[0] || strchr(err.text, '\n'))
            abort();
        return 0;
    }
    volatile uint8_t last = 0;
    for (size_t i = 0; i < lathe_safetensors_count(st); i++) {
        const lathe_safetensor *t = lathe_safetensors_at(st, i);
        int64_t n = 1;
        if (t->n_dims < 0 || t->n_dims > 4 || t->n_bytes > n_bytes)
            abort();
        for (int k = 0; k < 4; k++) {
            if (t->ne[k] < 1)
                abort();
            n *= t->ne[k];
        }
        if ((size_t) n > t->n_bytes)
            abort();
        for (size_t k = 0; k < t->n_bytes; k++) /* every byte is there */
            last = t->data[k];
        (void) lathe_safetensors_find(st, t->name);
    }
    (void) last;
    if (lathe_safetensors_at(st, lathe_safetensors_count(st)))
        abort();
    lathe_safetensors_close(st);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes) {
    if (n_bytes == 0 || bytes[0] != '{')
        return read_file(bytes, n_bytes);
    size_t n = n_bytes;
    while (n > 1 && bytes[n - 1] != '}')
        n--;
    uint8_t *file = malloc(n_bytes + 8);
    if (!file)
        abort();
    for (int i = 0; i < 8; i++)
        file[i] = (uint8_t) ((uint64_t) n >> 8 * i);
    memcpy(file + 8, bytes, n_bytes);
    const int result = read_file(file, n_bytes + 8);
    free(file);
    return result;
}
