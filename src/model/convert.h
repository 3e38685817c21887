/* convert.h - values of tensors from and to any type, on several threads; and which type a tensor gets. */
#ifndef LATHE_MODEL_CONVERT_H
#define LATHE_MODEL_CONVERT_H

#include "base/thread.h"
#include "lathe/base.h"

/* true where values of this type can be read as f32. */
bool lathe_convert_from_known(uint32_t type);
/* true where lathe_convert_to can make this type (no importance matrix needed). */
bool lathe_convert_to_known(uint32_t type);
/* The names lathe_convert_to takes: "q8_0, q6_K, ..."; returns out. */
const char *lathe_convert_names(char *out, size_t n_out);

/* n values (whole blocks) of a type to f32. bytes of any alignment. */
void lathe_convert_from(lathe_pool *pool, uint32_t type, const uint8_t *bytes, int64_t n, float *out);
/* n_rows rows of n_per_row f32 values to a type. out: n_rows * bytes of a row. The same bits at any thread
 * count. */
void lathe_convert_to(lathe_pool *pool, uint32_t type, const float *values, int64_t n_rows, int64_t n_per_row,
                      uint8_t *out);
/* Index of the first NaN or infinity, or -1. */
int64_t lathe_convert_first_bad(lathe_pool *pool, const float *values, int64_t n);

struct lathe_gguf;
/* Reads every tensor; NUMERIC names the first that holds a NaN or an infinity. */
LATHE_NODISCARD lathe_status lathe_gguf_check_values(const struct lathe_gguf *gguf, lathe_pool *pool,
                                                     const lathe_progress *progress, lathe_error *err);

typedef struct lathe_type_rule {
    uint32_t target;
    bool mix;  /* the "M" rule */
    bool tied; /* the file has no output.weight */
    int32_t n_layer;
} lathe_type_rule;

/* The type of a matrix or vector under the rule (engine.md 2.14); from: what it is now. */
uint32_t lathe_type_for(const lathe_type_rule *rule, const char *name, int32_t n_dims, int64_t ne0,
                        uint32_t from);
/* llama.cpp's number for general.file_type, or -1 where it has none. */
int32_t lathe_file_type_of(uint32_t target, bool mix);
/* The name of general.file_type ("mostly q4_K, medium"), or NULL. */
const char *lathe_file_type_name(int64_t file_type);

#endif
