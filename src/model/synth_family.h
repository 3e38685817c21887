/* synth_family.h - metadata and tensors of a random model: a shape of the table in a family's way. */
#ifndef LATHE_MODEL_SYNTH_FAMILY_H
#define LATHE_MODEL_SYNTH_FAMILY_H

#include "model/gguf_write.h"

typedef enum lathe_synth_init {
    LATHE_SYNTH_MATRIX,   /* N(0, 1 / ne[0]) */
    LATHE_SYNTH_RESIDUAL, /* the same / sqrt(2 n_layer) */
    LATHE_SYNTH_EMBED,    /* N(0, 0.02^2) */
    LATHE_SYNTH_NORM,     /* 1 + 0.1 z */
    LATHE_SYNTH_BIAS,     /* 0.1 z */
} lathe_synth_init;

typedef struct lathe_synth_tensor {
    char name[LATHE_GGUF_NAME_MAX];
    int32_t n_dims;
    int64_t ne[2];
    lathe_synth_init init;
} lathe_synth_tensor;

typedef struct lathe_synth_plan {
    const char *arch, *shape;
    int32_t n_layer, n_embd, n_head, n_head_kv, head_dim, n_ff, n_vocab, n_ctx, n_rot;
    float freq_base;
    bool tied;
    const struct synth_family *family;
    lathe_synth_tensor *tensors; /* [n_tensors] in the order of the file */
    size_t n_tensors;
} lathe_synth_plan;

/* ARG names an unknown family or shape and lists those there are. Free with lathe_synth_plan_free. */
LATHE_NODISCARD lathe_status lathe_synth_plan_make(const char *arch, const char *shape,
                                                   lathe_synth_plan *plan, lathe_error *err);
void lathe_synth_plan_free(lathe_synth_plan *plan);
/* general.* and A.* keys, without file type. */
void lathe_synth_put_metadata(const lathe_synth_plan *plan, lathe_gguf_writer *w);
/* The SPM tokenizer of engine.md 4.4. */
LATHE_NODISCARD lathe_status lathe_synth_put_tokenizer(const lathe_synth_plan *plan, lathe_gguf_writer *w,
                                                       lathe_error *err);

#endif
