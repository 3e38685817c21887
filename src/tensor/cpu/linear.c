/* linear.c - see linear.h. */
#define _DEFAULT_SOURCE 1 /* madvise */
#include "tensor/cpu/linear.h"

#include <ggml.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/machine.h"
#include "base/thread.h"
#include "tensor/cpu/arena.h"

struct lathe_packed_set {
    const lathe_cpu *cpu;
    const lathe_rows *rows;
    lathe_pool *pool;
    lathe_arena arena;
    lathe_packed_weight *entries; /* [max]; never moves: graphs point into it */
    size_t n, max;
};

lathe_status lathe_packed_set_new(const lathe_cpu *cpu, size_t max, lathe_packed_set **set,
                                  lathe_error *err) {
    lathe_packed_set *s = calloc(1, sizeof *s);
    lathe_status status = LATHE_OK;
    if (s == NULL || (s->entries = calloc(max > 0 ? max : 1, sizeof *s->entries)) == NULL)
        status = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a table of %zu packed weights", max);
    if (status == LATHE_OK)
        status = lathe_pool_new(lathe_n_cores(), &s->pool, err);
    if (status != LATHE_OK) {
        lathe_packed_set_free(s);
        return status;
    }
    s->cpu = cpu;
    s->rows = lathe_rows_best();
    s->max = max;
    *set = s;
    return LATHE_OK;
}

void lathe_packed_set_free(lathe_packed_set *s) {
    if (s == NULL)
        return;
    lathe_arena_free(&s->arena);
    lathe_pool_free(s->pool);
    free(s->entries);
    free(s);
}

static bool packed_type(enum ggml_type type, lathe_packed_type *out) {
    switch (type) {
    case GGML_TYPE_Q4_0:
        *out = LATHE_PACKED_Q4_0;
        return true;
    case GGML_TYPE_Q8_0:
    case GGML_TYPE_Q5_0: /* widened first */
        *out = LATHE_PACKED_Q8_0;
        return true;
    case GGML_TYPE_Q4_K:
        *out = LATHE_PACKED_Q4_K;
        return true;
    case GGML_TYPE_Q5_K:
        *out = LATHE_PACKED_Q5_K;
        return true;
    case GGML_TYPE_Q6_K:
        *out = LATHE_PACKED_Q6_K;
        return true;
    case GGML_TYPE_F16:
        *out = LATHE_PACKED_F16;
        return true;
    case GGML_TYPE_BF16:
        *out = LATHE_PACKED_BF16;
        return true;
    default:
        return false;
    }
}

/* Up to here a q5_0 matrix is packed as q8_0, half as large again; a larger one is left to ggml. */
enum { WIDENED_MAX = 4 << 20 };

/* A contiguous q5_0 matrix as q8_0 blocks with the same scales and values, to be freed; NULL: no memory.
 * ggml's block of 32: half scale, 32 fifth bits, 16 bytes of nibbles (low: weights 0..15), values less 16. */
static uint8_t *widen_q5_0(const struct ggml_tensor *w) {
    enum { IN = 22, OUT = 34 };
    const int64_t blocks = ggml_nelements(w) / 32;
    uint8_t *wide = malloc((size_t) blocks * OUT);
    for (int64_t b = 0; wide != NULL && b < blocks; b++) {
        const uint8_t *in = (const uint8_t *) w->data + b * IN;
        uint8_t *out = wide + b * OUT;
        uint32_t fifth = 0;
        memcpy(out, in, 2);
        memcpy(&fifth, in + 2, 4);
        for (int i = 0; i < 32; i++) {
            const int low = i < 16 ? in[6 + i] & 15 : in[6 + i - 16] >> 4;
            out[2 + i] = (uint8_t) (low + 16 * (int) (fifth >> i & 1) - 16);
        }
    }
    return wide;
}

typedef struct packing {
    const lathe_packed *to;
    const void *from;
} packing;

static void pack_piece(void *ctx, int worker, int64_t piece, int64_t begin, int64_t end) {
    const packing *p = ctx;
    (void) worker;
    (void) piece;
    lathe_pack(p->to, p->from, begin, end);
}

/* Whole pages inside [data, data + n): they are read again from the file if anybody asks. */
static void release_pages(void *data, size_t n) {
    uintptr_t page = (uintptr_t) sysconf(_SC_PAGESIZE), begin = (uintptr_t) data;
    uintptr_t skip = (page - begin % page) % page;
    if (n > skip + page)
        (void) madvise((char *) data + skip, (n - skip) / page * page, MADV_DONTNEED);
}

lathe_status lathe_packed_set_add(lathe_packed_set *s, struct ggml_tensor *w, bool release,
                                  lathe_error *err) {
    lathe_packed packed = {.n_cols = w->ne[0], .n_rows = w->ne[1]};
    size_t bytes = 0;
    if (s->n == s->max || w->extra != NULL || w->data == NULL || ggml_n_dims(w) != 2 ||
        !ggml_is_contiguous(w) || !packed_type(w->type, &packed.type) ||
        w->ne[0] % lathe_packed_block(packed.type) != 0)
        return LATHE_OK;
    if (w->type == GGML_TYPE_Q5_0 && ggml_nelements(w) > WIDENED_MAX)
        return LATHE_OK;
    if (!lathe_size_mul((size_t) lathe_packed_groups(&packed),
                        lathe_packed_group_bytes(packed.type, w->ne[0]), &bytes) ||
        (packed.data = lathe_arena_take(&s->arena, bytes)) == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %zu bytes of packed '%s'", bytes, w->name);
    uint8_t *wide = w->type == GGML_TYPE_Q5_0 ? widen_q5_0(w) : NULL;
    if (w->type == GGML_TYPE_Q5_0 && wide == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory to widen '%s'", w->name);
    packing p = {&packed, wide != NULL ? wide : w->data};
    lathe_parallel_for(s->pool, lathe_packed_groups(&packed), 8, pack_piece, &p);
    free(wide);
    if (release)
        release_pages(w->data, ggml_nbytes(w));
    s->entries[s->n] = (lathe_packed_weight){packed, s->cpu, s->rows};
    w->extra = &s->entries[s->n++];
    return LATHE_OK;
}
