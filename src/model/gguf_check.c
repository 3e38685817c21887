/* gguf_check.c - the scan for NaN and infinity over all weights of a file. */
#include <stdlib.h>

#include "model/convert.h"
#include "model/gguf.h"

enum { PIECE_VALUES = 1 << 20 }; /* a multiple of every type's block */

lathe_status lathe_gguf_check_values(const lathe_gguf *g, lathe_pool *pool, const lathe_progress *progress,
                                     lathe_error *err) {
    lathe_status st = LATHE_OK;
    double done = 0, total = 0;
    float *values = malloc(PIECE_VALUES * sizeof *values);
    if (!values)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory to check %d values at a time", PIECE_VALUES);
    for (size_t i = 0; i < lathe_gguf_n_tensors(g); i++)
        total += (double) lathe_gguf_tensor_at(g, i)->n_values;
    for (size_t i = 0; !st && i < lathe_gguf_n_tensors(g); i++) {
        const lathe_gguf_tensor *t = lathe_gguf_tensor_at(g, i);
        for (int64_t first = 0; !st && lathe_convert_from_known(t->type) && first < t->n_values;
             first += PIECE_VALUES) {
            const int64_t n = t->n_values - first < PIECE_VALUES ? t->n_values - first : PIECE_VALUES;
            uint64_t skip = 0;
            if (!lathe_gguf_bytes_of(t->type, (uint64_t) first, &skip)) {
                st = lathe_fail(err, LATHE_ERR_INTERNAL, "tensor '%s': no block begins at value %lld",
                                t->name, (long long) first);
                break;
            }
            lathe_convert_from(pool, t->type, t->data + skip, n, values);
            const int64_t bad = lathe_convert_first_bad(pool, values, n);
            if (bad >= 0)
                st = lathe_fail(err, LATHE_ERR_NUMERIC,
                                "%s: tensor '%s': value %lld is %g; all weights must be finite",
                                lathe_gguf_path(g), t->name, (long long) (first + bad), (double) values[bad]);
            else
                st = lathe_progress_step(progress, "check", done += (double) n, total, err);
        }
    }
    free(values);
    return st;
}
