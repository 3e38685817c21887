/* stories.h - the project's own model and texts drawn from it, for labs that need a trained model. */
#ifndef LATHE_LAB_STORIES_H
#define LATHE_LAB_STORIES_H

#include "lab/lab.h"
#include "lathe/model.h"

/* Path of the target: LATHE_MODEL, or models/lathe-target.gguf here or beside the program's sources; NULL
 * where there is none: the lab then leaves its claims unmeasured, and says so. */
const char *lathe_lab_target(void);

/* Draws n tokens: stories of `length` tokens at temperature 1 one after the other, several at a time. The
 * same seed gives the same tokens. ids: [n]. */
LATHE_NODISCARD lathe_status lathe_lab_stories(const lathe_lab *lab, const lathe_model *model, int32_t length,
                                               int32_t n, uint64_t seed, int32_t *ids, lathe_error *err);

/* A context that holds ids [n] but the last. */
LATHE_NODISCARD lathe_status lathe_lab_read(const lathe_lab *lab, const lathe_model *model,
                                            const int32_t *ids, int32_t n, int32_t room, bool exact,
                                            lathe_context **context, lathe_error *err);

/* Reads on until the context holds ids [n] but the last. */
LATHE_NODISCARD lathe_status lathe_lab_read_on(const lathe_lab *lab, lathe_context *context,
                                               const int32_t *ids, int32_t n, lathe_error *err);

#endif
