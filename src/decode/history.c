/* history.c - the committed sequence. */
#include "decode/history.h"

#include <stdlib.h>
#include <string.h>

lathe_status lathe_history_set(lathe_history *h, const int32_t *ids, int32_t n, int32_t *n_same,
                               lathe_error *err) {
    int32_t same = 0;
    /* Sequences grow at their end: comparing all of a long one each round would cost more than the draft
     * saves, so the last 64 tokens stand for what lies before them. */
    const int32_t shared = n < h->n ? n : h->n;
    const int32_t from = shared > 64 ? shared - 64 : 0;
    if (shared > 0 && memcmp(h->ids + from, ids + from, (size_t) (shared - from) * sizeof *ids) == 0 &&
        n >= h->n)
        same = shared;
    else
        while (same < shared && h->ids[same] == ids[same])
            same++;
    if (n > h->capacity) {
        const int32_t more = n > INT32_MAX / 2 ? n : 2 * n;
        int32_t *grown = realloc(h->ids, (size_t) more * sizeof *grown);
        if (!grown)
            return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a history of %d tokens", (int) n);
        h->ids = grown;
        h->capacity = more;
    }
    if (n > same)
        memcpy(h->ids + same, ids + same, (size_t) (n - same) * sizeof *ids);
    h->n = n;
    *n_same = same;
    return LATHE_OK;
}

void lathe_history_free(lathe_history *h) {
    free(h->ids);
    *h = (lathe_history){0};
}
