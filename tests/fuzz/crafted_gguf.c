/* crafted_gguf.c - see crafted_gguf.h. The first 27 are those that engine.md 9.1 tried on ggml's own reader.
 */
#include "fuzz/crafted_gguf.h"

#include <string.h>

/* --- Pieces -------------------------------------------------------------------------------------- */

static void raw(crafted_file *f, const void *bytes, size_t n) {
    memcpy(f->bytes + f->n, bytes, n);
    f->n += n;
}

static void u8(crafted_file *f, uint8_t v) {
    raw(f, &v, 1);
}

static void u32(crafted_file *f, uint32_t v) {
    for (int i = 0; i < 4; i++)
        u8(f, (uint8_t) (v >> (8 * i)));
}

static void u64(crafted_file *f, uint64_t v) {
    u32(f, (uint32_t) v);
    u32(f, (uint32_t) (v >> 32));
}

static void str(crafted_file *f, const char *text) {
    u64(f, strlen(text));
    raw(f, text, strlen(text));
}

static void head(crafted_file *f, uint32_t version, uint64_t n_tensors, uint64_t n_kv) {
    raw(f, "GGUF", 4);
    u32(f, version);
    u64(f, n_tensors);
    u64(f, n_kv);
}

enum { U32 = 4, BOOL = 7, STRING = 8, ARRAY = 9, U64 = 10, F32 = 0, Q4_0 = 2 };

static void key(crafted_file *f, const char *name, uint32_t type) {
    str(f, name);
    u32(f, type);
}

static void arch(crafted_file *f) {
    key(f, "general.architecture", STRING);
    str(f, "llama");
}

static void shape(crafted_file *f, uint32_t n_dims, uint64_t ne0, uint64_t ne1, uint32_t type,
                  uint64_t offset) {
    u32(f, n_dims);
    for (uint32_t d = 0; d < n_dims; d++)
        u64(f, d == 0 ? ne0 : d == 1 ? ne1 : 1);
    u32(f, type);
    u64(f, offset);
}

static void tensor(crafted_file *f, const char *name, uint64_t ne0, uint64_t ne1, uint32_t type,
                   uint64_t offset) {
    str(f, name);
    shape(f, 2, ne0, ne1, type, offset);
}

static void data(crafted_file *f, size_t n) {
    while (f->n % 32)
        u8(f, 0);
    for (size_t i = 0; i < n; i++)
        u8(f, 0);
}

/* One tensor of this shape, with 128 bytes of data. */
static void one(crafted_file *f, uint64_t ne0, uint64_t ne1, uint32_t type, uint64_t offset) {
    head(f, 3, 1, 1);
    arch(f);
    tensor(f, "token_embd.weight", ne0, ne1, type, offset);
    data(f, 128);
}

/* general.alignment of type u32, and a tensor. */
static void aligned(crafted_file *f, uint32_t alignment) {
    head(f, 3, 1, 2);
    arch(f);
    key(f, "general.alignment", U32);
    u32(f, alignment);
    tensor(f, "t", 4, 2, F32, 0);
    data(f, 64);
}

static void array(crafted_file *f, uint32_t type, uint64_t n) {
    head(f, 3, 0, 2);
    arch(f);
    key(f, "a", ARRAY);
    u32(f, type);
    u64(f, n);
    data(f, 64);
}

static void twins(crafted_file *f, const char *a, size_t n_a, const char *b, size_t n_b) {
    head(f, 3, 2, 1);
    arch(f);
    u64(f, n_a);
    raw(f, a, n_a);
    shape(f, 2, 4, 2, F32, 0);
    u64(f, n_b);
    raw(f, b, n_b);
    shape(f, 2, 4, 2, F32, 32);
    data(f, 64);
}

/* --- The 27 -------------------------------------------------------------------------------------- */

static void zero_ne1(crafted_file *f) {
    one(f, 4, 0, F32, 0);
}
static void alignment_string(crafted_file *f) {
    head(f, 3, 0, 1);
    key(f, "general.alignment", STRING);
    str(f, "32");
}
static void alignment_u64(crafted_file *f) {
    head(f, 3, 0, 1);
    key(f, "general.alignment", U64);
    u64(f, 32);
}
static void data_beyond_end(crafted_file *f) {
    one(f, 4, 1000, F32, 0);
}
static void alignment_1(crafted_file *f) {
    aligned(f, 1);
}
static void zero_ne0(crafted_file *f) {
    one(f, 0, 4, F32, 0);
}
static void no_dimensions(crafted_file *f) {
    head(f, 3, 1, 1);
    arch(f);
    str(f, "t");
    shape(f, 0, 0, 0, F32, 0);
    data(f, 64);
}
static void empty_name(crafted_file *f) {
    head(f, 3, 1, 1);
    arch(f);
    tensor(f, "", 4, 2, F32, 0);
    data(f, 64);
}
static void bool_2(crafted_file *f) {
    head(f, 3, 0, 2);
    arch(f);
    key(f, "llama.use_parallel_residual", BOOL);
    u8(f, 2);
}
static void version_2(crafted_file *f) {
    head(f, 2, 1, 1);
    arch(f);
    tensor(f, "token_embd.weight", 4, 2, F32, 0);
    data(f, 32);
}
static void duplicate_keys(crafted_file *f) {
    head(f, 3, 0, 2);
    arch(f);
    arch(f);
}
static void duplicate_tensors(crafted_file *f) {
    twins(f, "a", 1, "a", 1);
}
static void duplicate_after_nul(crafted_file *f) {
    twins(f, "a\0b", 3, "a\0c", 3);
}
static void alignment_2_31(crafted_file *f) {
    aligned(f, 1u << 31);
}
static void array_2_33(crafted_file *f) {
    array(f, U32, UINT64_C(1) << 33);
}
static void array_2_40(crafted_file *f) {
    array(f, STRING, UINT64_C(1) << 40);
}
static void array_2_60(crafted_file *f) {
    array(f, U64, UINT64_C(1) << 60);
}
static void key_2_62(crafted_file *f) {
    head(f, 3, 0, 1);
    u64(f, UINT64_C(1) << 62);
    data(f, 32);
}
static void array_of_arrays(crafted_file *f) {
    array(f, ARRAY, 2);
}
static void removed_type(crafted_file *f) {
    one(f, 32, 1, 4, 0);
}
static void type_1000(crafted_file *f) {
    one(f, 32, 1, 1000, 0);
}
static void product_overflow(crafted_file *f) {
    one(f, UINT64_C(1) << 31, UINT64_C(1) << 31, F32, 0);
}
static void many_tensors(crafted_file *f) {
    head(f, 3, UINT64_C(1) << 40, 1);
    arch(f);
}
static void minus_one_keys(crafted_file *f) {
    head(f, 3, 0, UINT64_MAX);
    arch(f);
}
static void version_1(crafted_file *f) {
    head(f, 1, 0, 1);
    arch(f);
}
static void big_endian(crafted_file *f) {
    head(f, 3u << 24, 0, 1);
    arch(f);
}
static void empty(crafted_file *f) {
    f->n = 0;
}

/* --- More ---------------------------------------------------------------------------------------- */

static void four_bytes(crafted_file *f) {
    raw(f, "GGUF", 4);
}
static void no_magic(crafted_file *f) {
    raw(f, "PK\3\4 is the beginning of a zip file", 36);
}
static void value_type_13(crafted_file *f) {
    head(f, 3, 0, 1);
    key(f, "a", 13);
    u64(f, 0);
}
static void odd_offset(crafted_file *f) {
    one(f, 4, 2, F32, 16);
}
static void overlap(crafted_file *f) {
    head(f, 3, 2, 1);
    arch(f);
    tensor(f, "a", 4, 4, F32, 0);
    tensor(f, "b", 4, 4, F32, 32);
    data(f, 128);
}
static void name_no_utf8(crafted_file *f) {
    twins(f, "a", 1, "b\xff\x1b[2J", 6);
}
static void half_a_block(crafted_file *f) {
    one(f, 48, 1, Q4_0, 0);
}
static void long_string(crafted_file *f) {
    head(f, 3, 0, 1);
    key(f, "general.name", STRING);
    u64(f, UINT64_MAX - 3);
    data(f, 32);
}
static void string_in_array(crafted_file *f) {
    head(f, 3, 0, 1);
    key(f, "a", ARRAY);
    u32(f, STRING);
    u64(f, 2);
    str(f, "fine");
    u64(f, UINT64_MAX);
    data(f, 32);
}
static void five_dimensions(crafted_file *f) {
    head(f, 3, 1, 1);
    arch(f);
    str(f, "t");
    shape(f, 5, 4, 2, F32, 0);
    data(f, 64);
}
static void offset_wraps(crafted_file *f) {
    one(f, 4, 2, F32, UINT64_MAX - 31);
}
static void cut_in_table(crafted_file *f) {
    one(f, 4, 2, F32, 0);
    f->n = 24 + 8 + 20 + 4 + 8 + 5 + 8 + 17 + 4 + 8;
}
static void long_name(crafted_file *f) {
    head(f, 3, 1, 1);
    arch(f);
    tensor(f, "a name of sixty-four bytes, which is one more than fits in ggml's", 4, 2, F32, 0);
    data(f, 64);
}
static void holes(crafted_file *f) {
    head(f, 3, 2, 1);
    arch(f);
    tensor(f, "a", 4, 2, F32, 64);
    tensor(f, "b", 4, 2, F32, 0);
    data(f, 128);
}

const crafted_case crafted_cases[] = {
    {"zero_ne1", "tensor 'token_embd.weight': dimension 1 is 0; want 1 to 2^40", zero_ne1},
    {"alignment_string", "key 'general.alignment' is of type str; want u32", alignment_string},
    {"alignment_u64", "key 'general.alignment' is of type u64; want u32", alignment_u64},
    {"data_beyond_end", "tensor 'token_embd.weight': 16000 bytes at offset 0", data_beyond_end},
    {"alignment_1", NULL, alignment_1},
    {"zero_ne0", "tensor 'token_embd.weight': dimension 0 is 0", zero_ne0},
    {"no_dimensions", "tensor 't': 0 dimensions; want 1 to 4", no_dimensions},
    {"empty_name", "tensor 0 has a name of 0 bytes; want 1 to 63", empty_name},
    {"bool_2", NULL, bool_2},
    {"version_2", NULL, version_2},
    {"duplicate_keys", "key 'general.architecture' stands there twice", duplicate_keys},
    {"duplicate_tensors", "tensor 'a' stands there twice", duplicate_tensors},
    {"duplicate_after_nul", "tensor 0: its name ('a?b') is not UTF-8 or holds a NUL", duplicate_after_nul},
    {"alignment_2_31", "key 'general.alignment' is 2147483648; want a power of two from 1 to 65536",
     alignment_2_31},
    {"array_2_33", "key 'a': array of 8589934592 elements; the", array_2_33},
    {"array_2_40", "key 'a': array of 1099511627776 elements; the", array_2_40},
    {"array_2_60", "key 'a': array of 1152921504606846976 elements; the", array_2_60},
    {"key_2_62", "metadata key 0 has a name of 4611686018427387904 bytes", key_2_62},
    {"array_of_arrays", "key 'a': array of type 9; want 0 to 12, but not 9", array_of_arrays},
    {"removed_type", "tensor 'token_embd.weight': unknown or withdrawn tensor type 4", removed_type},
    {"type_1000", "tensor 'token_embd.weight': unknown or withdrawn tensor type 1000", type_1000},
    {"product_overflow", "tensor 'token_embd.weight': ", product_overflow},
    {"many_tensors", "the number of tensors is 1099511627776; at most 65536", many_tensors},
    {"minus_one_keys", "the number of metadata keys is 18446744073709551615; at most 65536", minus_one_keys},
    {"version_1", "GGUF version 1; versions 2 and 3 can be read", version_1},
    {"big_endian", "big-endian GGUF file", big_endian},
    {"empty", "0 bytes; a GGUF file has a header of at least 24", empty},
    {"four_bytes", "4 bytes; a GGUF file has a header of at least 24", four_bytes},
    {"no_magic", "not a GGUF file: it begins with bytes 50 4b 03 04", no_magic},
    {"value_type_13", "key 'a': value of type 13; want 0 to 12", value_type_13},
    {"odd_offset", "tensor 'token_embd.weight': offset 16 is no multiple of the alignment 32", odd_offset},
    {"overlap", "tensors 'a' and 'b' overlap in the file", overlap},
    {"name_no_utf8", "tensor 1: its name ('b??[2J') is not UTF-8", name_no_utf8},
    {"half_a_block", "rows of 48 values of type q4_0; want a multiple of 32", half_a_block},
    {"long_string", "key 'general.name': string of 18446744073709551612 bytes; the file has", long_string},
    {"string_in_array", "key 'a': string 1 of 2 (18446744073709551615 bytes) passes the end",
     string_in_array},
    {"five_dimensions", "tensor 't': 5 dimensions; want 1 to 4", five_dimensions},
    {"offset_wraps", "pass the end of the file", offset_wraps},
    {"cut_in_table", "tensor 'token_embd.weight': the file ends inside its table entry", cut_in_table},
    {"long_name", "tensor 0 has a name of 65 bytes; want 1 to 63", long_name},
    {"holes", NULL, holes},
};
const size_t n_crafted_cases = sizeof crafted_cases / sizeof crafted_cases[0];
