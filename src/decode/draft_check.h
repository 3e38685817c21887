/* draft_check.h - may this model draft for that one? */
#ifndef LATHE_DECODE_DRAFT_CHECK_H
#define LATHE_DECODE_DRAFT_CHECK_H

#include "lathe/model.h"

/* A draft must speak the target's tokens: the same kind of tokenizer, begin and end of text, at most 128 ids
 * more or less, and equal texts from id 5 on. INPUT names the first difference. Source: llama.cpp's rule. */
LATHE_NODISCARD lathe_status lathe_draft_check(const lathe_model *target, const lathe_model *draft,
                                               lathe_error *err);

#endif
