/* attention_set.h - fused attention as an instruction set offers it, and how a step is cut into pieces.
 *
 * A long step is cut into tiles: one KV head and up to lathe_attention_tile_rows() rows, computed whole. A
 * short one (at most so many rows) is computed for several heads at once, block after block, so that the
 * cache is read as it lies; by one thread whole, by several chunk by chunk with the parts merged in order.
 * The bits are the same. */
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
    /* All rows of a short step, KV heads [h0, h1). room: two parts. Not with mass. */
    void (*heads)(const lathe_attention_args *a, int64_t h0, int64_t h1, float *room);
    /* The same in pieces: a part, and the result from all chunks' parts, `stride` floats apart. room: one
     * part. */
    void (*chunk)(const lathe_attention_args *a, int64_t h0, int64_t h1, int64_t chunk, float *part);
    void (*merge)(const lathe_attention_args *a, int64_t h0, int64_t h1, float *parts, size_t stride,
                  float *room);
    /* Values x[n] as IEEE halves, rounded to nearest, ties to even: how a cache is written. */
    void (*to_half)(const float *x, int64_t n, uint16_t *out);
} lathe_attention_set;

extern const lathe_attention_set lathe_attention_scalar;
#if defined(__x86_64__) && defined(__GNUC__)
extern const lathe_attention_set lathe_attention_avx2, lathe_attention_avx512;
#elif defined(__aarch64__)
extern const lathe_attention_set lathe_attention_neon;
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
/* Floats of a short step's part for n_heads KV heads. */
static inline size_t lathe_attention_part(const lathe_attention_args *a, int64_t n_heads) {
    int64_t group = a->n_head / a->n_head_kv;
    return (size_t) (n_heads * a->n_q * group * (2 + (a->dv + 15) / 16 * 16));
}

#endif
