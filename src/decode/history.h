/* history.h - the committed sequence as a proposer keeps it, and what changed since it last looked. */
#ifndef LATHE_DECODE_HISTORY_H
#define LATHE_DECODE_HISTORY_H

#include "lathe/base.h"

typedef struct lathe_history {
    int32_t *ids; /* [n] */
    int32_t n, capacity;
} lathe_history;

/* Takes over ids [n]. *n_same = tokens that were there before and still are. */
LATHE_NODISCARD lathe_status lathe_history_set(lathe_history *h, const int32_t *ids, int32_t n,
                                               int32_t *n_same, lathe_error *err);
void lathe_history_free(lathe_history *h);

#endif
