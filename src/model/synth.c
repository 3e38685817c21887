/* synth.c - a model with random weights, generated and quantised piece by piece on all threads. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ggml.h>

#include "base/machine.h"
#include "lathe/model.h"
#include "model/convert.h"
#include "model/random_weights.h"
#include "model/synth.h"

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

float lathe_synth_scale(const lathe_desc *desc, const lathe_desc_tensor *t, float *mean) {
    *mean = t->role == LATHE_ROLE_NORM || t->role == LATHE_ROLE_TABLE ? 1.0f : 0.0f;
    switch (t->role) {
    case LATHE_ROLE_RESIDUAL:
        return (float) (1 / sqrt(2.0 * desc->n_layer * (double) t->ne[0]));
    case LATHE_ROLE_EMBD:
        if (!desc->has_output || strcmp(t->name, "position_embd.weight") == 0)
            return 0.02f;
        return (float) (1 / sqrt((double) t->ne[0]));
    case LATHE_ROLE_NORM:
    case LATHE_ROLE_BIAS:
        return 0.1f;
    case LATHE_ROLE_TABLE:
        return 0;
    case LATHE_ROLE_MATRIX:
    case LATHE_ROLE_OUTPUT:
    default:
        return (float) (1 / sqrt((double) t->ne[0]));
    }
}

/* --- Shapes and keys ----------------------------------------------------------------------------- */

typedef struct named_shape {
    const char *name;
    int32_t n_layer, n_embd, n_head, n_head_kv, head_dim, n_ff, n_vocab;
    bool tied;
    int32_t n_ctx;
    float rope_base;
} named_shape;

static const named_shape shapes[] = {
    {"1M", 4, 128, 4, 2, 32, 384, 1024, true, 2048, 1e4f},
    {"10M", 8, 256, 8, 4, 32, 1024, 8192, true, 4096, 1e4f},
    {"100M", 12, 768, 12, 4, 64, 2048, 32000, true, 32768, 1e4f},
    {"1B", 16, 2048, 32, 8, 64, 8192, 32000, true, 32768, 5e5f},
    {"8B", 32, 4096, 32, 8, 128, 14336, 128256, false, 32768, 5e5f},
};

lathe_status lathe_synth_shape(const char *family, const char *name, lathe_shape *shape, lathe_error *err) {
    const lathe_family *f = lathe_family_find(family);
    const named_shape *s = NULL;
    for (size_t i = 0; i < LATHE_LEN(shapes); i++)
        if (strcmp(shapes[i].name, name) == 0)
            s = &shapes[i];
    if (!f)
        return lathe_fail(err, LATHE_ERR_ARG, "unknown family '%.40s'; want one of %s", family,
                          lathe_family_names());
    if (!s)
        return lathe_fail(err, LATHE_ERR_ARG, "unknown shape '%.40s'; want 1M, 10M, 100M, 1B or 8B", name);
    enum { LEARNED_CTX_MAX = 16384, WINDOW_MAX = 4096 };
    lathe_shape out = lathe_shape_default(family);
    const bool learned = f->position == LATHE_POSITION_LEARNED;
    out.n_layer = s->n_layer;
    out.n_embd = s->n_embd;
    out.n_head = s->n_head;
    out.n_head_kv = f->head_count_kv_equal ? s->n_head : s->n_head_kv;
    out.n_embd_head = s->head_dim;
    out.n_ff = s->n_ff;
    out.n_vocab = s->n_vocab;
    out.n_ctx = learned && s->n_ctx > LEARNED_CTX_MAX ? LEARNED_CTX_MAX : s->n_ctx;
    out.rope_base = s->rope_base;
    out.tied = f->output == LATHE_ABSENT || (f->output == LATHE_MAY && s->tied);
    if (f->window_period) /* short enough that a small context feels it */
        out.window = s->n_ctx / 8 < WINDOW_MAX ? s->n_ctx / 8 : WINDOW_MAX;
    *shape = out;
    return LATHE_OK;
}

static bool put_u32(void *user, const char *key, uint32_t value) {
    lathe_gguf_put_u32(user, key, value);
    return true;
}

static bool put_f32(void *user, const char *key, float value) {
    lathe_gguf_put_f32(user, key, value);
    return true;
}

static bool put_bool(void *user, const char *key, bool value) {
    lathe_gguf_put_bool(user, key, value);
    return true;
}

static bool put_text(void *user, const char *key, const char *value) {
    lathe_gguf_put_text(user, key, value);
    return true;
}

static bool put_bools(void *user, const char *key, const uint8_t *values, size_t n) {
    lathe_gguf_put_array(user, key, LATHE_GGUF_BOOL, values, n);
    return true;
}

void lathe_synth_put_desc(const lathe_desc *desc, lathe_gguf_writer *w) {
    const lathe_desc_visitor visitor = {
        .u32 = put_u32, .f32 = put_f32, .boolean = put_bool, .text = put_text, .bools = put_bools, .user = w};
    (void) lathe_desc_keys(desc, &visitor); /* ours never stop; failures wait in the writer */
}

/* --- Writing ------------------------------------------------------------------------------------- */

typedef struct synthesizer {
    lathe_gguf_writer *w;
    lathe_pool *pool;
    float *values;  /* [PIECE_VALUES] */
    uint8_t *bytes; /* [4 PIECE_VALUES] */
    const lathe_synth_params *params;
    double done, total;
} synthesizer;

static lathe_status make_tensor(synthesizer *s, const lathe_desc *desc, const lathe_desc_tensor *t,
                                uint32_t type, lathe_error *err) {
    const int64_t n_per_row = t->ne[0], n_rows = t->ne[1] * t->ne[2] * t->ne[3];
    /* all rows are multiples of 4 values, as the random blocks are */
    const int64_t step = PIECE_VALUES / n_per_row;
    fill_work f = {.name = t->name, .seed = s->params->seed, .out = s->values};
    f.scale = lathe_synth_scale(desc, t, &f.shift);
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

static uint32_t type_of(const lathe_desc *desc, const lathe_desc_tensor *t, uint32_t target) {
    const lathe_type_rule rule = {.target = target, .tied = !desc->has_output, .n_layer = desc->n_layer};
    return lathe_type_for(&rule, t->name, t->n_dims, t->ne[0], GGML_TYPE_F32);
}

static lathe_status write_model(synthesizer *s, const lathe_desc *desc, uint32_t target, const char *path,
                                lathe_synth_result *result, lathe_error *err) {
    const int32_t file_type = lathe_file_type_of(target, false);
    char name[96];
    lathe_desc_tensor *tensors = NULL;
    size_t n_tensors = 0;
    lathe_synth_put_desc(desc, s->w);
    /* Without the family: llama.cpp takes a tokenizer's habits from a name with "phi3" in it. */
    snprintf(name, sizeof name, "random weights, shape %s", s->params->shape);
    lathe_gguf_put_text(s->w, "general.name", name);
    if (file_type >= 0)
        lathe_gguf_put_u32(s->w, "general.file_type", (uint32_t) file_type);
    lathe_gguf_put_u32(s->w, "general.quantization_version", 2);
    lathe_status st = lathe_synth_put_tokenizer(desc->n_vocab, s->w, err);
    if (!st)
        st = lathe_desc_tensors(desc, &tensors, &n_tensors, err);
    if (st)
        return st;
    for (size_t i = 0; i < n_tensors; i++) {
        const lathe_desc_tensor *t = &tensors[i];
        lathe_gguf_put_tensor(s->w, t->name, type_of(desc, t, target), t->n_dims, t->ne);
        const int64_t n = t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3];
        s->total += (double) n;
        result->n_params += t->role == LATHE_ROLE_TABLE ? 0 : n;
    }
    result->bytes = (int64_t) lathe_gguf_writer_size(s->w);
    st = lathe_gguf_writer_begin(s->w, path, err);
    for (size_t i = 0; !st && i < n_tensors; i++)
        st = make_tensor(s, desc, &tensors[i], type_of(desc, &tensors[i], target), err);
    free(tensors);
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
    lathe_shape shape;
    lathe_desc *desc = NULL;
    lathe_synth_result r = {0};
    synthesizer s = {.params = p};
    lathe_status st = LATHE_OK;
    if (p->like) {
        st = lathe_synth_widen(path, p, (uint32_t) target, &r, err);
        if (!st && result)
            *result = r;
        return st;
    }
    st = lathe_synth_shape(p->arch, p->shape, &shape, err);
    if (st)
        return st;
    desc = malloc(sizeof *desc);
    s.values = malloc(PIECE_VALUES * sizeof *s.values);
    s.bytes = malloc(PIECE_VALUES * 4);
    if (!desc || !s.values || !s.bytes)
        st = lathe_fail(err, LATHE_ERR_MEMORY, "no memory to make %d values at a time", PIECE_VALUES);
    if (!st)
        st = lathe_desc_from_shape(&shape, desc, err);
    if (!st)
        st = lathe_pool_new(p->n_threads > 0 ? p->n_threads : lathe_n_cores(), &s.pool, err);
    if (!st)
        st = lathe_gguf_writer_new(&s.w, err);
    if (!st)
        st = write_model(&s, desc, (uint32_t) target, path, &r, err);
    if (!st && result)
        *result = r;
    lathe_gguf_writer_free(s.w);
    lathe_pool_free(s.pool);
    free(s.values);
    free(s.bytes);
    free(desc);
    return st;
}
