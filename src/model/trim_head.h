/* trim_head.h - an output matrix of some rows only: a draft that scores the frequent tokens and no others. */
#ifndef LATHE_MODEL_TRIM_HEAD_H
#define LATHE_MODEL_TRIM_HEAD_H

#include "model/model_impl.h"

/* Puts rows ids [n] (ascending, each once) of the output matrix, and of its bias, in the place of the whole
 * ones, in the file's own type: logit i of the model is then that of id ids[i]. For a model that the
 * processor alone computes, before anything is packed. ARG names what is wrong with ids. */
LATHE_NODISCARD lathe_status lathe_model_trim_head(lathe_model *model, const int32_t *ids, int32_t n,
                                                   lathe_error *err);
void lathe_model_trim_free(lathe_model *model);

#endif
