/* synth.c - a model with random weights, generated and quantised piece by piece on all threads. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <ggml.h>

#include "base/machine.h"
#include "lathe/model.h"
#include "model/convert.h"
#include "model/random_weights.h"
#include "model/synth_family.h"

enum { PIECE_VALUES = 1 << 21, GRAIN_VALUES = 1 << 14 };

lathe_synth_params lathe_synth_params_default(void) {
    return (lathe_synth_params){
        .struct_size = sizeof(lathe_synth_params), .arch = "llama", .shape = "1M", .type = "f32"};
}

typedef struct fill_work {
    const char *name;
    uint64_t seed;
    int64_t first;
    float scale, shift;
    float *out;
} fill_work;

static void fill(void *ctx, int worker, int64_t piece, int64_t begin, int64_t end) {
    const fill_work *w = ctx;
    (void) worker, (void) piece;
    lathe_random_normals(w->seed, w->name, (uint64_t) (w->first + begin), (size_t) (end - begin),
                         w->out + begin);
    for (int64_t i = begin; i < end; i++)
        w->out[i] = w->shift + w->scale * w->out[i];
}

static float scale_of(const lathe_synth_tensor *t, int32_t n_layer) {
    switch (t->init) {
    case LATHE_SYNTH_RESIDUAL:
        return (float) (1 / sqrt(2.0 * n_layer * (double) t->ne[0]));
    case LATHE_SYNTH_EMBED:
        return 0.02f;
    case LATHE_SYNTH_NORM:
    case LATHE_SYNTH_BIAS:
        return 0.1f;
    case LATHE_SYNTH_MATRIX:
    default:
        return (float) (1 / sqrt((double) t->ne[0]));
    }
}

typedef struct synthesizer {
    lathe_gguf_writer *w;
    lathe_pool *pool;
    float *values;  /* [PIECE_VALUES] */
    uint8_t *bytes; /* [4 PIECE_VALUES] */
    const lathe_synth_params *params;
    double done, total;
} synthesizer;

static lathe_status make_tensor(synthesizer *s, const lathe_synth_tensor *t, uint32_t type, int32_t n_layer,
                                lathe_error *err) {
    const int64_t n_per_row = t->ne[0], n_rows = t->ne[1];
    /* all rows are multiples of 4 values, as the random blocks are */
    const int64_t step = PIECE_VALUES / n_per_row;
    fill_work f = {.name = t->name,
                   .seed = s->params->seed,
                   .scale = scale_of(t, n_layer),
                   .shift = t->init == LATHE_SYNTH_NORM ? 1.0f : 0.0f,
                   .out = s->values};
    lathe_status st = LATHE_OK;
    for (int64_t row = 0; !st && row < n_rows; row += step) {
        const int64_t n = n_rows - row < step ? n_rows - row : step;
        uint64_t n_bytes = 0;
        f.first = row * n_per_row;
        lathe_parallel_for(s->pool, n * n_per_row, GRAIN_VALUES, fill, &f);
        lathe_convert_to(s->pool, type, s->values, n, n_per_row, s->bytes);
        if (!lathe_gguf_bytes_of(type, (uint64_t) (n * n_per_row), &n_bytes))
            return lathe_fail(err, LATHE_ERR_INTERNAL, "tensor '%s': rows of %lld do not fit type %s",
                              t->name, (long long) n_per_row, lathe_gguf_tensor_type_name(type));
        st = lathe_gguf_writer_data(s->w, s->bytes, (size_t) n_bytes, err);
        s->done += (double) (n * n_per_row);
        if (!st)
            st = lathe_progress_step(&s->params->progress, "synth", s->done, s->total, err);
    }
    return st;
}

static uint32_t type_of(const lathe_synth_plan *plan, const lathe_synth_tensor *t, uint32_t target) {
    const lathe_type_rule rule = {.target = target, .tied = plan->tied, .n_layer = plan->n_layer};
    return lathe_type_for(&rule, t->name, t->n_dims, t->ne[0], GGML_TYPE_F32);
}

static lathe_status write_model(synthesizer *s, const lathe_synth_plan *plan, uint32_t target,
                                const char *path, lathe_synth_result *result, lathe_error *err) {
    const int32_t file_type = lathe_file_type_of(target, false);
    lathe_synth_put_metadata(plan, s->w);
    if (file_type >= 0)
        lathe_gguf_put_u32(s->w, "general.file_type", (uint32_t) file_type);
    lathe_gguf_put_u32(s->w, "general.quantization_version", 2);
    lathe_status st = lathe_synth_put_tokenizer(plan, s->w, err);
    if (st)
        return st;
    for (size_t i = 0; i < plan->n_tensors; i++) {
        const lathe_synth_tensor *t = &plan->tensors[i];
        lathe_gguf_put_tensor(s->w, t->name, type_of(plan, t, target), t->n_dims, t->ne);
        result->n_params += t->ne[0] * t->ne[1];
    }
    s->total = (double) result->n_params;
    result->bytes = (int64_t) lathe_gguf_writer_size(s->w);
    st = lathe_gguf_writer_begin(s->w, path, err);
    for (size_t i = 0; !st && i < plan->n_tensors; i++)
        st = make_tensor(s, &plan->tensors[i], type_of(plan, &plan->tensors[i], target), plan->n_layer, err);
    if (st)
        return st;
    lathe_gguf_writer *w = s->w;
    s->w = NULL; /* finish frees it */
    return lathe_gguf_writer_finish(w, err);
}

lathe_status lathe_model_synth(const char *path, const lathe_synth_params *params, lathe_synth_result *result,
                               lathe_error *err) {
    const lathe_synth_params defaults = lathe_synth_params_default();
    const lathe_synth_params *p = params ? params : &defaults;
    const int32_t target = lathe_gguf_tensor_type_find(p->type ? p->type : "");
    char names[256];
    if (target < 0 || !lathe_convert_to_known((uint32_t) target))
        return lathe_fail(err, LATHE_ERR_ARG, "unknown tensor type '%.40s'; want one of %s",
                          p->type ? p->type : "", lathe_convert_names(names, sizeof names));
    lathe_synth_plan plan = {0};
    lathe_synth_result r = {0};
    synthesizer s = {.params = p};
    lathe_status st = lathe_synth_plan_make(p->arch, p->shape, &plan, err);
    if (st)
        return st;
    s.values = malloc(PIECE_VALUES * sizeof *s.values);
    s.bytes = malloc(PIECE_VALUES * 4);
    if (!s.values || !s.bytes)
        st = lathe_fail(err, LATHE_ERR_MEMORY, "no memory to make %d values at a time", PIECE_VALUES);
    if (!st)
        st = lathe_pool_new(p->n_threads > 0 ? p->n_threads : lathe_n_cores(), &s.pool, err);
    if (!st)
        st = lathe_gguf_writer_new(&s.w, err);
    if (!st)
        st = write_model(&s, &plan, (uint32_t) target, path, &r, err);
    if (!st && result)
        *result = r;
    lathe_gguf_writer_free(s.w);
    lathe_pool_free(s.pool);
    free(s.values);
    free(s.bytes);
    lathe_synth_plan_free(&plan);
    return st;
}
