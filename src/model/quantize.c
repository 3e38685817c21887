/* quantize.c - a GGUF file with other tensor types, written tensor by tensor.
 *
 * A piece of at most PIECE_VALUES values (or one row) is read as f32, checked for NaN, converted by rows on
 * all threads and written; so memory does not grow with the file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ggml.h>

#include "base/machine.h"
#include "lathe/model.h"
#include "model/convert.h"
#include "model/gguf_write.h"

enum { PIECE_VALUES = 1 << 21 };

lathe_quantize_params lathe_quantize_params_default(void) {
    return (lathe_quantize_params){.struct_size = sizeof(lathe_quantize_params), .type = "q4_K"};
}

typedef struct quantizer {
    const lathe_gguf *g;
    lathe_gguf_writer *w;
    lathe_pool *pool;
    const lathe_quantize_params *params;
    lathe_error *err;
    float *values;  /* [capacity] */
    uint8_t *bytes; /* [capacity * 4]: no type takes more */
    int64_t capacity;
    double done, total; /* bytes read */
} quantizer;

static lathe_status scratch(quantizer *q, int64_t n) {
    if (n <= q->capacity)
        return LATHE_OK;
    free(q->values);
    free(q->bytes);
    q->capacity = 0;
    q->values = malloc((size_t) n * sizeof *q->values);
    q->bytes = malloc((size_t) n * 4);
    if (!q->values || !q->bytes)
        return lathe_fail(q->err, LATHE_ERR_MEMORY, "no memory to convert %lld values at a time",
                          (long long) n);
    q->capacity = n;
    return LATHE_OK;
}

static lathe_status convert_tensor(quantizer *q, const lathe_gguf_tensor *t, uint32_t to) {
    const int64_t n_per_row = t->ne[0], n_rows = t->n_values / n_per_row;
    const int64_t step = n_per_row < PIECE_VALUES ? PIECE_VALUES / n_per_row : 1;
    const size_t row_in = t->n_bytes / (size_t) n_rows;
    const size_t row_out = (size_t) (n_per_row / lathe_gguf_block_values(to)) * lathe_gguf_block_bytes(to);
    lathe_status st = to == t->type ? LATHE_OK : scratch(q, (step < n_rows ? step : n_rows) * n_per_row);
    for (int64_t row = 0; !st && row < n_rows; row += step) {
        const int64_t n = n_rows - row < step ? n_rows - row : step;
        const uint8_t *from = t->data + (size_t) row * row_in;
        if (to == t->type) {
            st = lathe_gguf_writer_data(q->w, from, (size_t) n * row_in, q->err);
        } else {
            lathe_convert_from(q->pool, t->type, from, n * n_per_row, q->values);
            const int64_t bad = lathe_convert_first_bad(q->pool, q->values, n * n_per_row);
            if (bad >= 0)
                return lathe_fail(q->err, LATHE_ERR_NUMERIC,
                                  "%s: tensor '%s': value %lld is %g; finite weights can be quantised",
                                  lathe_gguf_path(q->g), t->name, (long long) (row * n_per_row + bad),
                                  (double) q->values[bad]);
            lathe_convert_to(q->pool, to, q->values, n, n_per_row, q->bytes);
            st = lathe_gguf_writer_data(q->w, q->bytes, (size_t) n * row_out, q->err);
        }
        q->done += (double) n * (double) row_in;
        if (!st)
            st = lathe_progress_step(&q->params->progress, "quantize", q->done, q->total, q->err);
    }
    return st;
}

static void count_type(lathe_quantize_result *result, uint32_t type) {
    const char *name = lathe_gguf_tensor_type_name(type);
    int32_t i = 0;
    while (i < result->n_types && strcmp(result->types[i].type, name) != 0)
        i++;
    if (i == (int32_t) LATHE_LEN(result->types))
        return;
    result->types[i].type = name;
    result->types[i].n_tensors++;
    if (i == result->n_types)
        result->n_types++;
}

static lathe_status write_all(quantizer *q, const lathe_type_rule *rule, const char *out,
                              lathe_quantize_result *result) {
    static const char *const replaced[] = {"general.file_type", "general.quantization_version", NULL};
    const size_t n_tensors = lathe_gguf_n_tensors(q->g);
    lathe_gguf_put_all(q->w, q->g, replaced);
    const int32_t file_type = lathe_file_type_of(rule->target, rule->mix);
    if (file_type >= 0)
        lathe_gguf_put_u32(q->w, "general.file_type", (uint32_t) file_type);
    lathe_gguf_put_u32(q->w, "general.quantization_version", 2);
    for (size_t i = 0; i < n_tensors; i++) {
        const lathe_gguf_tensor *t = lathe_gguf_tensor_at(q->g, i);
        const uint32_t to = lathe_type_for(rule, t->name, t->n_dims, t->ne[0], t->type);
        lathe_gguf_put_tensor(q->w, t->name, to, t->n_dims, t->ne);
        count_type(result, to);
        q->total += (double) t->n_bytes;
    }
    result->bytes_in = (int64_t) lathe_gguf_size(q->g);
    result->bytes_out = (int64_t) lathe_gguf_writer_size(q->w);
    lathe_status st = lathe_gguf_writer_begin(q->w, out, q->err);
    for (size_t i = 0; !st && i < n_tensors; i++) {
        const lathe_gguf_tensor *t = lathe_gguf_tensor_at(q->g, i);
        st = convert_tensor(q, t, lathe_type_for(rule, t->name, t->n_dims, t->ne[0], t->type));
    }
    if (st)
        return st;
    lathe_gguf_writer *w = q->w;
    q->w = NULL; /* finish frees it */
    return lathe_gguf_writer_finish(w, q->err);
}

/* Layers, for the rule of the mix: one more than the highest N of blk.N. */
static int32_t count_layers(const lathe_gguf *g) {
    int32_t n = 0, il;
    for (size_t i = 0; i < lathe_gguf_n_tensors(g); i++)
        if (sscanf(lathe_gguf_tensor_at(g, i)->name, "blk.%4d.", &il) == 1 && il >= n)
            n = il + 1;
    return n;
}

lathe_status lathe_model_quantize(const char *in, const char *out, const lathe_quantize_params *params,
                                  lathe_quantize_result *result, lathe_error *err) {
    const lathe_quantize_params defaults = lathe_quantize_params_default();
    const lathe_quantize_params *p = params ? params : &defaults;
    const int32_t target = lathe_gguf_tensor_type_find(p->type ? p->type : "");
    char names[256];
    if (target < 0 || !lathe_convert_to_known((uint32_t) target))
        return lathe_fail(
            err, LATHE_ERR_ARG, "'%.40s' is no type to quantise to%s; want one of %s", p->type ? p->type : "",
            target < 0 ? "" : " (it needs an importance matrix, or is for use inside of products)",
            lathe_convert_names(names, sizeof names));
    quantizer q = {.params = p, .err = err};
    lathe_gguf *g = NULL;
    lathe_quantize_result r = {0};
    const lathe_gguf_params open = {.logger = p->logger};
    lathe_status st = lathe_gguf_open(in, &open, &g, err);
    if (st)
        return st;
    q.g = g;
    const lathe_type_rule rule = {.target = (uint32_t) target,
                                  .mix = p->mix,
                                  .tied = !lathe_gguf_tensor_find(g, "output.weight"),
                                  .n_layer = count_layers(g)};
    st = lathe_pool_new(p->n_threads > 0 ? p->n_threads : lathe_n_cores(), &q.pool, err);
    if (!st)
        st = lathe_gguf_writer_new(&q.w, err);
    if (!st)
        st = write_all(&q, &rule, out, &r);
    if (!st && result)
        *result = r;
    free(q.values);
    free(q.bytes);
    lathe_gguf_writer_free(q.w);
    lathe_pool_free(q.pool);
    lathe_gguf_close(g);
    return st;
}
