/* safetensors.h - tensors of a folder of .safetensors files: u64 length, a JSON header, data. Nothing is
 * trusted: offsets, shapes and sizes are proved against each other and against the file. */
#ifndef LATHE_MODEL_SAFETENSORS_H
#define LATHE_MODEL_SAFETENSORS_H

#include "lathe/base.h"

enum { LATHE_SAFETENSORS_FILES_MAX = 256 };

typedef struct lathe_safetensors lathe_safetensors;

typedef struct lathe_safetensor {
    const char *name;
    uint32_t type; /* enum ggml_type: F32, F16 or BF16 */
    int32_t n_dims;
    int64_t ne[4]; /* ggml's order: fastest first; 1 beyond n_dims */
    const uint8_t *data;
    size_t n_bytes;
} lathe_safetensor;

/* path: a file, or a folder whose *.safetensors are read in the order of their names. INPUT names the file
 * and what is wrong; tensors of other types are left out. */
LATHE_NODISCARD lathe_status lathe_safetensors_open(const char *path, lathe_safetensors **st,
                                                    lathe_error *err);
void lathe_safetensors_close(lathe_safetensors *st);
size_t lathe_safetensors_count(const lathe_safetensors *st);
const lathe_safetensor *lathe_safetensors_at(const lathe_safetensors *st, size_t i);
/* The tensor whose name is `end`, or ends with "." and `end`; NULL: none, or several. */
const lathe_safetensor *lathe_safetensors_find(const lathe_safetensors *st, const char *end);

#endif
