/* pattern.h - names by pattern, as optimiser groups are written. */
#ifndef LATHE_BASE_PATTERN_H
#define LATHE_BASE_PATTERN_H

#include "lathe/base.h"

/* true where the whole name matches: * any run of characters, ? one, [abc] and [a-z] one of these,
 * (one|two*) one of these. The work is bounded by the lengths of both. */
bool lathe_pattern_matches(const char *pattern, const char *name);
/* Nothing in it stands for more than itself. */
bool lathe_pattern_is_literal(const char *pattern);
/* ARG for a bracket or parenthesis that is not closed. */
LATHE_NODISCARD lathe_status lathe_pattern_check(const char *pattern, lathe_error *err);

#endif
