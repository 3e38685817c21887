/* synth.h - parts of synth that others can use. */
#ifndef LATHE_MODEL_SYNTH_H
#define LATHE_MODEL_SYNTH_H

#include "lathe/model.h"
#include "model/desc.h"
#include "model/gguf_write.h"

/* The SPM tokenizer of engine.md 4.4 for any n_vocab >= 260: specials, bytes, U+2581, a, b, ..., aa, ... */
LATHE_NODISCARD lathe_status lathe_synth_put_tokenizer(int32_t n_vocab, lathe_gguf_writer *w,
                                                       lathe_error *err);

/* The shape of the table by its name in a family's way; ARG lists what there is. */
LATHE_NODISCARD lathe_status lathe_synth_shape(const char *family, const char *name, lathe_shape *shape,
                                               lathe_error *err);

/* Standard deviation (and in *mean the mean) of a random tensor of this role. */
float lathe_synth_scale(const lathe_desc *desc, const lathe_desc_tensor *tensor, float *mean);

/* Puts every key of a description. */
void lathe_synth_put_desc(const lathe_desc *desc, lathe_gguf_writer *w);

/* Writes params->like, widened to params->shape (synth_like.c). *result is added to. */
LATHE_NODISCARD lathe_status lathe_synth_widen(const char *path, const lathe_synth_params *params,
                                               uint32_t target, lathe_synth_result *result, lathe_error *err);

#endif
