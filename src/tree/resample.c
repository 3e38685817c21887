/* resample.c - rows drawn again with replacement, for the bootstrap. */
#include <math.h>
#include <stdlib.h>

#include "base/rng_purpose.h"
#include "tree/tree.h"

/* Row t of resample b (A3.1e): floor(word0 * n / 2^32). */
lathe_status lathe_table_resample(const lathe_table *table, uint64_t seed, uint32_t b, lathe_table *out,
                                  lathe_error *err) {
    out->n_rows = table->n_rows;
    out->n_columns = table->n_columns;
    out->columns = calloc((size_t) table->n_columns, sizeof *out->columns);
    int64_t *rows = malloc((size_t) table->n_rows * sizeof *rows);
    bool ok = out->columns != NULL && rows != NULL;
    for (int64_t t = 0; ok && t < table->n_rows; t++) {
        uint32_t w[4];
        lathe_philox(seed, LATHE_RNG_TREE_BOOTSTRAP, b, (uint32_t) t, 0, w);
        rows[t] = (int64_t) (((uint64_t) w[0] * (uint64_t) table->n_rows) >> 32);
    }
    for (int32_t i = 0; ok && i < table->n_columns; i++) {
        const lathe_column *from = &table->columns[i];
        lathe_column *to = &out->columns[i];
        to->name = from->name;
        to->discrete = from->discrete;
        to->n_states = from->n_states;
        const size_t size = from->discrete ? sizeof *to->codes : sizeof *to->values;
        void *cells = malloc((size_t) table->n_rows * size);
        ok = cells != NULL;
        to->codes = from->discrete ? cells : NULL;
        to->values = from->discrete ? NULL : cells;
        for (int64_t t = 0; ok && t < table->n_rows; t++)
            if (from->discrete) {
                to->codes[t] = from->codes[rows[t]];
                to->n_missing += to->codes[t] == LATHE_CODE_MISSING;
            } else {
                to->values[t] = from->values[rows[t]];
                to->n_missing += isnan(to->values[t]);
            }
    }
    free(rows);
    return ok ? LATHE_OK : lathe_fail(err, LATHE_ERR_MEMORY, "bootstrap: no memory for a resample");
}

void lathe_resample_free(lathe_table *table) {
    for (int32_t i = 0; table->columns != NULL && i < table->n_columns; i++) {
        free(table->columns[i].codes);
        free(table->columns[i].values);
    }
    free(table->columns);
}
