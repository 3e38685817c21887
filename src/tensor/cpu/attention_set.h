/* attention_set.h - fused attention as an instruction set offers it, and how a step is cut into pieces.
 *
 * A tile is one KV head and up to lathe_attention_tile_rows() rows of the step. A tile is computed whole, or
 * chunk by chunk with the parts merged afterwards: the bits are the same. */
#ifndef LATHE_TENSOR_CPU_ATTENTION_SET_H
#define LATHE_TENSOR_CPU_ATTENTION_SET_H

#include "tensor/cpu/cpu.h"

enum {
    LATHE_ATTENTION_BLOCK = 64,   /* entries whose scores are taken together */
    LATHE_ATTENTION_CHUNK = 512,  /* entries whose results are merged; a multiple of BLOCK */
    LATHE_ATTENTION_TILE_MAX = 64 /* queries of a tile: rows times heads of a group */
};

typedef struct lathe_attention_set {
    void (*tile)(const lathe_attention_args *a, int64_t head_kv, int64_t row_first);
    /* Writes a part of lathe_attention_part() floats. Not with mass. */
    void (*chunk)(const lathe_attention_args *a, int64_t head_kv, int64_t row_first, int64_t chunk,
                  float *part);
    /* From all chunks' parts, `stride` floats apart. */
    void (*merge)(const lathe_attention_args *a, int64_t head_kv, int64_t row_first, const float *parts,
                  size_t stride);
} lathe_attention_set;

extern const lathe_attention_set lathe_attention_scalar;
#if defined(__x86_64__) && defined(__GNUC__)
extern const lathe_attention_set lathe_attention_avx2, lathe_attention_avx512;
#endif

static inline int64_t lathe_attention_tile_rows(const lathe_attention_args *a) {
    int64_t rows = LATHE_ATTENTION_TILE_MAX / (a->n_head / a->n_head_kv);
    return rows > 0 ? rows : 1;
}
static inline int64_t lathe_attention_n_tiles(const lathe_attention_args *a) { /* of one KV head */
    int64_t rows = lathe_attention_tile_rows(a);
    return (a->n_q + rows - 1) / rows;
}
static inline int64_t lathe_attention_n_chunks(const lathe_attention_args *a) {
    return (a->n_kv + LATHE_ATTENTION_CHUNK - 1) / LATHE_ATTENTION_CHUNK;
}
static inline size_t lathe_attention_part(const lathe_attention_args *a) {
    int64_t rows = lathe_attention_tile_rows(a), group = a->n_head / a->n_head_kv;
    return (size_t) ((a->n_q < rows ? a->n_q : rows) * group * (2 + (a->dv + 15) / 16 * 16));
}

#endif
