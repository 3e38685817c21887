/* linear.c - see linear.h. */
#define _DEFAULT_SOURCE 1 /* madvise */
#include "tensor/cpu/linear.h"

#include <ggml.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/machine.h"
#include "base/thread.h"
#include "tensor/cpu/arena.h"

typedef struct entry {
    lathe_packed packed;
    const lathe_cpu *cpu;
} entry;

struct lathe_packed_set {
    const lathe_cpu *cpu;
    lathe_pool *pool;
    lathe_arena arena;
    entry *entries; /* [max]; never moves: graphs point into it */
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
    if (!lathe_size_mul((size_t) lathe_packed_groups(&packed),
                        lathe_packed_group_bytes(packed.type, w->ne[0]), &bytes) ||
        (packed.data = lathe_arena_take(&s->arena, bytes)) == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %zu bytes of packed '%s'", bytes, w->name);
    packing p = {&packed, w->data};
    lathe_parallel_for(s->pool, lathe_packed_groups(&packed), 8, pack_piece, &p);
    if (release)
        release_pages(w->data, ggml_nbytes(w));
    s->entries[s->n] = (entry){packed, s->cpu};
    w->extra = &s->entries[s->n++];
    return LATHE_OK;
}

/* --- The two ops --------------------------------------------------------------------------------- */

static void quantise_op(struct ggml_tensor *dst, int ith, int nth, void *user) {
    const entry *e = user;
    const struct ggml_tensor *x = dst->src[0];
    for (int64_t t = ith; t < x->ne[1]; t += nth)
        e->cpu->quantise(x->ne[0], (const float *) x->data + t * x->ne[0],
                         (char *) dst->data + (size_t) t * dst->nb[1]);
}

static void matmul_op(struct ggml_tensor *dst, int ith, int nth, void *user) {
    const entry *e = user;
    int64_t groups = lathe_packed_groups(&e->packed);
    e->cpu->matmul(&e->packed, dst->src[0]->data, dst->ne[1], dst->data, dst->ne[0], groups * ith / nth,
                   groups * (ith + 1) / nth);
}

/* The quantised form of x, which products with the same input share: found again through x's own `extra`,
 * which tensors of graphs do not use otherwise. */
static struct ggml_tensor *quantised(struct ggml_context *ctx, entry *e, struct ggml_tensor *x) {
    if (x->extra == NULL) {
        int tasks = x->ne[1] > 1 ? GGML_N_TASKS_MAX : 1;
        struct ggml_tensor *q = ggml_custom_4d(ctx, GGML_TYPE_I8, (int64_t) lathe_activation_bytes(x->ne[0]),
                                               x->ne[1], 1, 1, &x, 1, quantise_op, tasks, e);
        ggml_format_name(q, "%.48s quantised", x->name);
        x->extra = q;
    }
    return x->extra;
}

struct ggml_tensor *lathe_packed_linear(void *user, struct ggml_context *ctx, struct ggml_tensor *w,
                                        struct ggml_tensor *x) {
    (void) user;
    entry *e = w->extra;
    if (e == NULL || x->type != GGML_TYPE_F32 || !ggml_is_contiguous(x) || x->ne[2] != 1 || x->ne[3] != 1)
        return NULL;
    struct ggml_tensor *in = lathe_packed_takes_floats(e->packed.type) ? x : quantised(ctx, e, x);
    return ggml_custom_4d(ctx, GGML_TYPE_F32, w->ne[1], x->ne[1], 1, 1, &in, 1, matmul_op, GGML_N_TASKS_MAX,
                          e);
}
