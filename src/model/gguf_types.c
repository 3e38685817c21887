/* gguf_types.c - the two type tables of GGUF: metadata values and tensors.
 *
 * Sizes are facts of the file format, so they stand here and the reader needs no ggml; a test compares them
 * with the linked ggml. */
#include "model/gguf.h"

#include <strings.h>

const char *lathe_gguf_type_name(uint32_t type) {
    static const char *const names[] = {"u8",   "i8",  "u16", "i16", "u32", "i32", "f32",
                                        "bool", "str", "arr", "u64", "i64", "f64"};
    return type < LATHE_LEN(names) ? names[type] : "?";
}

typedef struct tensor_type {
    const char *name;
    uint16_t block_values, block_bytes;
} tensor_type;

/* Indexed by ggml's number; holes are types that were withdrawn. */
static const tensor_type tensor_types[] = {
    [0] = {"f32", 1, 4},         [1] = {"f16", 1, 2},         [2] = {"q4_0", 32, 18},
    [3] = {"q4_1", 32, 20},      [6] = {"q5_0", 32, 22},      [7] = {"q5_1", 32, 24},
    [8] = {"q8_0", 32, 34},      [9] = {"q8_1", 32, 36},      [10] = {"q2_K", 256, 84},
    [11] = {"q3_K", 256, 110},   [12] = {"q4_K", 256, 144},   [13] = {"q5_K", 256, 176},
    [14] = {"q6_K", 256, 210},   [15] = {"q8_K", 256, 292},   [16] = {"iq2_xxs", 256, 66},
    [17] = {"iq2_xs", 256, 74},  [18] = {"iq3_xxs", 256, 98}, [19] = {"iq1_s", 256, 50},
    [20] = {"iq4_nl", 32, 18},   [21] = {"iq3_s", 256, 110},  [22] = {"iq2_s", 256, 82},
    [23] = {"iq4_xs", 256, 136}, [24] = {"i8", 1, 1},         [25] = {"i16", 1, 2},
    [26] = {"i32", 1, 4},        [27] = {"i64", 1, 8},        [28] = {"f64", 1, 8},
    [29] = {"iq1_m", 256, 56},   [30] = {"bf16", 1, 2},       [34] = {"tq1_0", 256, 54},
    [35] = {"tq2_0", 256, 66},   [39] = {"mxfp4", 32, 17},    [40] = {"nvfp4", 64, 36},
    [41] = {"q1_0", 128, 18},    [42] = {"q2_0", 64, 18},
};

static const tensor_type *type_at(uint32_t type) {
    static const tensor_type unknown = {"?", 0, 0};
    return type < LATHE_LEN(tensor_types) && tensor_types[type].name ? &tensor_types[type] : &unknown;
}

const char *lathe_gguf_tensor_type_name(uint32_t type) {
    return type_at(type)->name;
}

uint32_t lathe_gguf_block_values(uint32_t type) {
    return type_at(type)->block_values;
}

uint32_t lathe_gguf_block_bytes(uint32_t type) {
    return type_at(type)->block_bytes;
}

int32_t lathe_gguf_tensor_type_find(const char *name) {
    for (size_t i = 0; i < LATHE_LEN(tensor_types); i++)
        if (tensor_types[i].name && strcasecmp(tensor_types[i].name, name) == 0)
            return (int32_t) i;
    return -1;
}

bool lathe_gguf_bytes_of(uint32_t type, uint64_t n, uint64_t *bytes) {
    const tensor_type *t = type_at(type);
    if (t->block_values == 0 || n % t->block_values != 0)
        return false;
    return !__builtin_mul_overflow(n / t->block_values, (uint64_t) t->block_bytes, bytes);
}
