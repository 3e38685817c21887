/* arena.h - memory for packed weights in huge pages where the system has them: with pages of 4 KiB the
 * reading of weights is a quarter slower. Pages that nobody has written to cost nothing. */
#ifndef LATHE_TENSOR_CPU_ARENA_H
#define LATHE_TENSOR_CPU_ARENA_H

#include "lathe/base.h"

typedef struct lathe_arena_chunk {
    uint8_t *base;
    size_t size, used;
} lathe_arena_chunk;

/* Starts as {0}. */
typedef struct lathe_arena {
    lathe_arena_chunk *chunks;
    size_t n_chunks;
} lathe_arena;

/* n_bytes aligned to 64, zero at first, until lathe_arena_free; NULL: no memory. */
void *lathe_arena_take(lathe_arena *arena, size_t n_bytes);
void lathe_arena_free(lathe_arena *arena);

#endif
