/* fused_choose.c - how many columns of a product one call of the BLAS takes, by measurement: whole products
 * are fastest on one thread, equal shares on several. A choice is taken only where the result has the bits of
 * the standard slice, so that it never shows in a result; runs keep it all the same (train/checkpoint.c),
 * since the bits of other data are a matter of the BLAS. */
#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/machine.h"
#include "tensor/device.h"
#include "tensor/fused.h"

typedef struct ggml_tensor T;

enum { CANDIDATES = 6, ROUNDS = 3 };

/* A product that takes longer than this, seconds, is big enough for any slice to serve. */
#define LONG 0.05

static const char *const names[] = {"product", "product-dx", "product-dw"};

/* Index of the choice for a shape; n_choices: there is none. */
static int32_t find(const lathe_fused *f, const lathe_fused_choice *like) {
    int32_t i = 0;
    for (; i < f->n_choices; i++) {
        const lathe_fused_choice *c = &f->choices[i];
        if (c->part == like->part && c->k == like->k && c->n == like->n && c->m == like->m)
            break;
    }
    return i;
}

int64_t lathe_fused_slice_of(const lathe_fused *f, lathe_fused_part part, int64_t k, int64_t n, int64_t m) {
    const int32_t i = find(f, &(lathe_fused_choice){part, k, n, m, 0});
    return i < f->n_choices ? f->choices[i].slice : f->slice;
}

static lathe_fused_choice *append(lathe_fused *f, const lathe_fused_choice *c) {
    if (f->n_choices == LATHE_FUSED_CHOICES)
        return NULL;
    f->choices[f->n_choices] = *c;
    return &f->choices[f->n_choices++];
}

/* --- Measuring ---------------------------------------------------------------------------------------- */

typedef struct trial {
    struct ggml_context *ctx;
    struct ggml_cgraph *graph;
    ggml_backend_buffer_t buffer;
    T *out;
    char *standard; /* the result of the standard slice */
} trial;

static void fill(T *x) {
    uint32_t state = 12345;
    for (int64_t i = 0; i < ggml_nelements(x); i++) {
        state = state * 1664525u + 1013904223u;
        ((float *) x->data)[i] = (float) (state >> 8) * 0x1p-24f - 0.5f;
    }
}

static bool prepare(trial *t, lathe_fused *f, const lathe_fused_choice *c, ggml_backend_t cpu) {
    *t = (trial){.ctx = ggml_init((struct ggml_init_params){.mem_size = 16 * ggml_tensor_overhead() +
                                                                        ggml_graph_overhead_custom(16, false),
                                                            .no_alloc = true})};
    if (t->ctx == NULL)
        return false;
    T *w = ggml_new_tensor_2d(t->ctx, GGML_TYPE_F32, c->k, c->n),
      *x = ggml_new_tensor_2d(t->ctx, GGML_TYPE_F32, c->k, c->m);
    T *g = ggml_new_tensor_2d(t->ctx, GGML_TYPE_F32, c->n, c->m), *y = lathe_fused_product(f, t->ctx, w, x);
    t->out = c->part == LATHE_FUSED_FORWARD ? y
             : c->part == LATHE_FUSED_DX    ? lathe_fused_product_dx(t->ctx, y, g)
                                            : lathe_fused_product_dw(t->ctx, y, g);
    t->graph = ggml_new_graph_custom(t->ctx, 16, false);
    ggml_build_forward_expand(t->graph, t->out);
    t->buffer = ggml_backend_alloc_ctx_tensors(t->ctx, cpu);
    t->standard = malloc(ggml_nbytes(t->out));
    if (t->buffer == NULL || t->standard == NULL)
        return false;
    fill(w);
    fill(x);
    fill(g);
    return true;
}
static void release(trial *t) {
    free(t->standard);
    ggml_backend_buffer_free(t->buffer);
    ggml_free(t->ctx);
}

static double seconds_of(const trial *t, ggml_backend_t cpu) {
    double start = lathe_now();
    return ggml_backend_graph_compute(cpu, t->graph) == GGML_STATUS_SUCCESS ? lathe_now() - start : -1;
}

/* Slices worth trying: everything at once, and equal shares of the threads that are a multiple of 16. */
static int candidates(const lathe_fused *f, const lathe_fused_choice *c, int64_t out[CANDIDATES]) {
    int64_t all = c->part == LATHE_FUSED_DW ? c->n : c->m, n = 0;
    out[n++] = f->slice;
    for (int64_t share = 1; share <= 4 && n < CANDIDATES; share *= 2) {
        int64_t size = (all + f->n_threads * share - 1) / (f->n_threads * share);
        size = (size + 15) / 16 * 16;
        if (size != f->slice && size <= all + 15)
            out[n++] = size;
    }
    return (int) n;
}

static bool measure(lathe_fused *f, lathe_fused_choice *c, ggml_backend_t cpu) {
    trial t;
    int64_t slices[CANDIDATES];
    double best[CANDIDATES];
    bool same[CANDIDATES];
    int n = candidates(f, c, slices), chosen = 0, rounds = ROUNDS;
    bool ok = prepare(&t, f, c, cpu);
    for (int r = 0; ok && r < rounds; r++)
        for (int i = 0; ok && i < n; i++) { /* in turns, so that a disturbance meets all */
            c->slice = slices[i];
            double s = seconds_of(&t, cpu);
            ok = s >= 0;
            if (i == 0 && r == 0) {
                memcpy(t.standard, t.out->data, ggml_nbytes(t.out));
                n = s > LONG ? 1 : n;
            }
            best[i] = r == 0 || s < best[i] ? s : best[i];
            same[i] = memcmp(t.standard, t.out->data, ggml_nbytes(t.out)) == 0 && (r == 0 || same[i]);
        }
    for (int i = 1; ok && i < n; i++)
        if (same[i] && best[i] < 0.99 * best[chosen])
            chosen = i;
    c->slice = slices[chosen];
    release(&t);
    return ok;
}

lathe_status lathe_fused_choose(lathe_fused *f, struct ggml_cgraph *graph, ggml_backend_t cpu,
                                lathe_error *err) {
    for (int i = 0; i < ggml_graph_n_nodes(graph); i++) {
        lathe_fused_choice c;
        if (!lathe_fused_product_shape(ggml_graph_node(graph, i), &c) || find(f, &c) < f->n_choices)
            continue;
        c.slice = f->slice;
        lathe_fused_choice *place = append(f, &c);
        if (place == NULL) /* more shapes than room: the standard slice serves */
            break;
        if (!measure(f, place, cpu))
            return lathe_fail(err, LATHE_ERR_MEMORY, "no memory to measure a product of %lld x %lld by %lld",
                              (long long) c.n, (long long) c.k, (long long) c.m);
    }
    return LATHE_OK;
}

/* --- Keeping ------------------------------------------------------------------------------------------ */

const char *lathe_fused_blas_name(void) {
    return openblas_get_corename();
}

lathe_status lathe_fused_write_choices(const lathe_fused *f, lathe_buf *out, lathe_error *err) {
    lathe_status status = LATHE_OK;
    for (int i = 0; i < f->n_choices && status == LATHE_OK; i++) {
        const lathe_fused_choice *c = &f->choices[i];
        status = lathe_buf_printf(out, err, "%s %lld %lld %lld: %lld\n", names[c->part], (long long) c->k,
                                  (long long) c->n, (long long) c->m, (long long) c->slice);
    }
    return status;
}

lathe_status lathe_fused_read_choices(lathe_fused *f, const char *text, lathe_error *err) {
    f->n_choices = 0;
    for (const char *at = text; *at != '\0';) {
        char name[16];
        long long k, n, m, slice;
        lathe_fused_choice c = {.part = LATHE_LEN(names)};
        if (sscanf(at, "%15s %lld %lld %lld: %lld", name, &k, &n, &m, &slice) == 5 && k > 0 && n > 0 &&
            m > 0 && slice > 0)
            for (size_t i = 0; i < LATHE_LEN(names); i++)
                if (strcmp(name, names[i]) == 0)
                    c = (lathe_fused_choice){(lathe_fused_part) i, k, n, m, slice};
        if (c.part == LATHE_LEN(names) || append(f, &c) == NULL)
            return lathe_fail(err, LATHE_ERR_INPUT, "'%.60s' is no choice of a product's slice", at);
        at += strcspn(at, "\n");
        at += *at != '\0';
    }
    return LATHE_OK;
}
