/* gguf.h - GGUF files: what is in one (reader), and how one is made (gguf_write.h).
 *
 * The reader trusts nothing: every count, length and offset of the file is proved against the file's own
 * size before it is used, so that after lathe_gguf_open each name, value and tensor of the table may be read
 * without further checks. What a family needs (keys, shapes) is checked by desc.c, the vocabulary by
 * tokenizer.c. Errors read "model.gguf: key 'x': what is wrong; what would be right".
 *
 * Typical use:
 *     int64_t n_layer, window = 4096;
 *     st = lathe_gguf_int(g, "llama.block_count", LATHE_GGUF_REQUIRED, 1, 1024, &n_layer, err);
 *     st = lathe_gguf_int(g, "llama.attention.sliding_window", LATHE_GGUF_OPTIONAL, 1, INT32_MAX, &window,
 * err); const lathe_gguf_tensor *t = lathe_gguf_tensor_find(g, "token_embd.weight"); */
#ifndef LATHE_MODEL_GGUF_H
#define LATHE_MODEL_GGUF_H

#include "lathe/base.h"

/* --- Types --------------------------------------------------------------------------------------- */

/* Types of metadata values, as the file numbers them. */
typedef enum lathe_gguf_type {
    LATHE_GGUF_U8 = 0,
    LATHE_GGUF_I8 = 1,
    LATHE_GGUF_U16 = 2,
    LATHE_GGUF_I16 = 3,
    LATHE_GGUF_U32 = 4,
    LATHE_GGUF_I32 = 5,
    LATHE_GGUF_F32 = 6,
    LATHE_GGUF_BOOL = 7,
    LATHE_GGUF_STRING = 8,
    LATHE_GGUF_ARRAY = 9,
    LATHE_GGUF_U64 = 10,
    LATHE_GGUF_I64 = 11,
    LATHE_GGUF_F64 = 12,
    LATHE_GGUF_TYPE_COUNT = 13,
} lathe_gguf_type;

/* "u32", "str", "arr", ...; "?" for numbers outside the table. */
const char *lathe_gguf_type_name(uint32_t type);

/* Tensor types have ggml's numbers; cast to enum ggml_type. A type whose block is 0 does not exist. */
const char *lathe_gguf_tensor_type_name(uint32_t type); /* "q4_K"; "?" where unknown */
uint32_t lathe_gguf_block_values(uint32_t type);        /* values in a block; 0: unknown type */
uint32_t lathe_gguf_block_bytes(uint32_t type);         /* bytes of a block; 0: unknown type */
/* The number of a type by its name in any case ("q4_k", "F16"), or -1. */
int32_t lathe_gguf_tensor_type_find(const char *name);
/* Bytes of n values (a multiple of the block); false where it is none, or on overflow. */
bool lathe_gguf_bytes_of(uint32_t type, uint64_t n, uint64_t *bytes);

/* --- Reading ------------------------------------------------------------------------------------- */

typedef struct lathe_gguf lathe_gguf;

typedef struct lathe_gguf_params {
    bool no_mmap;        /* read into memory instead of mapping */
    lathe_logger logger; /* oddities that are no errors */
} lathe_gguf_params;

/* Opens a file. params NULL: mapped, silent. INPUT for a file that is no sound GGUF (named, with the field
 * and what would be right), IO where the system refuses, MEMORY. */
LATHE_NODISCARD lathe_status lathe_gguf_open(const char *path, const lathe_gguf_params *params,
                                             lathe_gguf **gguf, lathe_error *err);
/* The same over bytes in memory, borrowed until the close; name stands for the path in messages. */
LATHE_NODISCARD lathe_status lathe_gguf_from_memory(const void *bytes, size_t n_bytes, const char *name,
                                                    const lathe_gguf_params *params, lathe_gguf **gguf,
                                                    lathe_error *err);
void lathe_gguf_close(lathe_gguf *gguf);

const char *lathe_gguf_path(const lathe_gguf *gguf);
uint32_t lathe_gguf_version(const lathe_gguf *gguf);   /* 2 or 3 */
uint64_t lathe_gguf_size(const lathe_gguf *gguf);      /* bytes of the whole file */
uint32_t lathe_gguf_alignment(const lathe_gguf *gguf); /* of tensor data */
bool lathe_gguf_is_mapped(const lathe_gguf *gguf);
/* The whole file in memory, 64-byte aligned at least (mapped or read; from_memory: where the caller put it).
 */
const uint8_t *lathe_gguf_base(const lathe_gguf *gguf);
/* true where every tensor's data begins at a multiple of 32 bytes in memory, so that ggml can use it in
 * place; false: copy. */
bool lathe_gguf_is_aligned(const lathe_gguf *gguf);

/* --- Metadata ------------------------------------------------------------------------------------ */

typedef struct lathe_gguf_kv {
    const char *key;     /* NUL-terminated */
    uint32_t type;       /* lathe_gguf_type */
    uint32_t array_type; /* of the elements, where type is ARRAY */
    uint64_t n;          /* elements of an array; bytes of a string; 1 */
    uint64_t n_bytes;    /* of data */
    const uint8_t *data; /* the value in the file (little endian, any alignment); a string's first byte */
    const char *text;    /* strings up to 1 MiB without NUL inside: NUL-terminated; else NULL */
} lathe_gguf_kv;

size_t lathe_gguf_n_kv(const lathe_gguf *gguf);
const lathe_gguf_kv *lathe_gguf_kv_at(const lathe_gguf *gguf, size_t i);       /* in the file's order */
const lathe_gguf_kv *lathe_gguf_find(const lathe_gguf *gguf, const char *key); /* NULL: not there */

typedef enum lathe_gguf_need { LATHE_GGUF_OPTIONAL, LATHE_GGUF_REQUIRED } lathe_gguf_need;

/* Typed values. Where an OPTIONAL key is missing, *out keeps what the caller put there (the default). A key
 * of another type and a value out of [min, max] are INPUT errors in either case. */
LATHE_NODISCARD lathe_status lathe_gguf_int(const lathe_gguf *gguf, const char *key, lathe_gguf_need need,
                                            int64_t min, int64_t max, int64_t *out,
                                            lathe_error *err); /* any integer type */
LATHE_NODISCARD lathe_status lathe_gguf_real(const lathe_gguf *gguf, const char *key, lathe_gguf_need need,
                                             double min, double max, double *out,
                                             lathe_error *err); /* f32, f64; finite */
LATHE_NODISCARD lathe_status lathe_gguf_bool(const lathe_gguf *gguf, const char *key, lathe_gguf_need need,
                                             bool *out, lathe_error *err);
LATHE_NODISCARD lathe_status lathe_gguf_text(const lathe_gguf *gguf, const char *key, lathe_gguf_need need,
                                             const char **out,
                                             lathe_error *err); /* borrowed, NUL-terminated */
/* One integer a layer: a scalar fills out[n], an array must have exactly n elements. Bools count as 0 and 1.
 */
LATHE_NODISCARD lathe_status lathe_gguf_ints(const lathe_gguf *gguf, const char *key, lathe_gguf_need need,
                                             int64_t min, int64_t max, int64_t *out, size_t n,
                                             lathe_error *err);

/* An array whose elements stay in the file. n = 0 and data NULL where an optional one is missing. */
typedef struct lathe_gguf_array {
    uint32_t type;
    uint64_t n;
    const uint8_t *data;
    uint64_t n_bytes;
} lathe_gguf_array;

/* types: bit t set: elements of type t are fine, as 1u << LATHE_GGUF_STRING. n: exact length, or -1: any. */
LATHE_NODISCARD lathe_status lathe_gguf_array_get(const lathe_gguf *gguf, const char *key,
                                                  lathe_gguf_need need, uint32_t types, int64_t n,
                                                  lathe_gguf_array *out, lathe_error *err);
/* Element i of a numeric array; i < n is the caller's business. u64 above INT64_MAX gives INT64_MAX. */
int64_t lathe_gguf_array_int(const lathe_gguf_array *array, uint64_t i);
double lathe_gguf_array_real(const lathe_gguf_array *array, uint64_t i);

/* Strings of an array one after the other:
 *     lathe_gguf_strings it = lathe_gguf_strings_of(&array);
 *     while (lathe_gguf_strings_next(&it, &text, &n)) ...            (text is not NUL-terminated) */
typedef struct lathe_gguf_strings {
    const uint8_t *next, *end;
    uint64_t left;
} lathe_gguf_strings;
lathe_gguf_strings lathe_gguf_strings_of(const lathe_gguf_array *array);
bool lathe_gguf_strings_next(lathe_gguf_strings *it, const char **text, size_t *n_bytes);

/* --- Tensors ------------------------------------------------------------------------------------- */

enum { LATHE_GGUF_NAME_MAX = 64, LATHE_GGUF_DIMS_MAX = 4 };

typedef struct lathe_gguf_tensor {
    char name[LATHE_GGUF_NAME_MAX]; /* NUL-terminated */
    uint32_t type;                  /* enum ggml_type */
    int32_t n_dims;
    int64_t ne[LATHE_GGUF_DIMS_MAX]; /* ggml's order: fastest first; 1 beyond n_dims */
    int64_t n_values;
    size_t n_bytes;
    uint64_t offset;     /* from the start of the file */
    const uint8_t *data; /* in memory: lathe_gguf_base + offset */
} lathe_gguf_tensor;

size_t lathe_gguf_n_tensors(const lathe_gguf *gguf);
const lathe_gguf_tensor *lathe_gguf_tensor_at(const lathe_gguf *gguf, size_t i); /* in the file's order */
const lathe_gguf_tensor *lathe_gguf_tensor_find(const lathe_gguf *gguf,
                                                const char *name); /* NULL: not there */

/* Copies a name for a message: control characters become '?', long ones are cut. Returns out. */
const char *lathe_gguf_printable(const char *name, size_t n_bytes, char *out, size_t n_out);

#endif
