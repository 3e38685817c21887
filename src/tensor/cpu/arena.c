/* arena.c - see arena.h. */
#define _DEFAULT_SOURCE 1 /* MAP_ANONYMOUS, madvise */
#include "tensor/cpu/arena.h"

#include <stdlib.h>
#include <sys/mman.h>

/* Address space, not memory: a chunk holds many weights so that few huge pages are filled in part only. */
enum { CHUNK = 256 << 20, HUGE = 2 << 20 };

static bool add_chunk(lathe_arena *a, size_t n_bytes) {
    if (n_bytes > SIZE_MAX - 2 * (size_t) HUGE)
        return false;
    size_t size = ((n_bytes > CHUNK ? n_bytes : CHUNK) + HUGE - 1) / HUGE * HUGE + HUGE;
    lathe_arena_chunk *chunks = realloc(a->chunks, (a->n_chunks + 1) * sizeof *chunks);
    if (chunks == NULL)
        return false;
    a->chunks = chunks;
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return false;
#ifdef MADV_HUGEPAGE
    (void) madvise(p, size, MADV_HUGEPAGE); /* refused: ordinary pages */
#endif
    /* From a huge page's boundary on. */
    chunks[a->n_chunks++] =
        (lathe_arena_chunk){.base = p, .size = size, .used = (HUGE - (uintptr_t) p % HUGE) % HUGE};
    return true;
}

void *lathe_arena_take(lathe_arena *a, size_t n_bytes) {
    if (n_bytes > SIZE_MAX - 64)
        return NULL;
    n_bytes = (n_bytes + 63) / 64 * 64;
    lathe_arena_chunk *last = a->n_chunks > 0 ? &a->chunks[a->n_chunks - 1] : NULL;
    if (last == NULL || last->size - last->used < n_bytes) {
        if (!add_chunk(a, n_bytes))
            return NULL;
        last = &a->chunks[a->n_chunks - 1];
    }
    void *p = last->base + last->used;
    last->used += n_bytes;
    return p;
}

void lathe_arena_free(lathe_arena *a) {
    for (size_t i = 0; i < a->n_chunks; i++)
        (void) munmap(a->chunks[i].base, a->chunks[i].size);
    free(a->chunks);
    *a = (lathe_arena){0};
}
