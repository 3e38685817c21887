/* complete.c - a table without its rows that have gaps. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tree/tree.h"

static bool is_complete(const lathe_table *table, int64_t t) {
    for (int32_t i = 0; i < table->n_columns; i++) {
        const lathe_column *c = &table->columns[i];
        if (c->discrete ? c->codes[t] == LATHE_CODE_MISSING : isnan(c->values[t]))
            return false;
    }
    return true;
}

/* States that no row has any more go, as if the file had never held them. */
static lathe_status forget_unseen(lathe_column *c, int64_t n_rows, lathe_error *err) {
    uint16_t *code = calloc((size_t) c->n_states + 1, sizeof *code);
    if (code == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the states of '%.60s'", c->name);
    for (int64_t t = 0; t < n_rows; t++)
        code[c->codes[t]] = 1;
    int32_t n = 0;
    for (int32_t s = 0; s < c->n_states; s++) {
        if (code[s] == 0) {
            free(c->states[s]);
            continue;
        }
        c->states[n] = c->states[s];
        code[s] = (uint16_t) n++;
    }
    c->n_states = n;
    for (int64_t t = 0; t < n_rows; t++)
        c->codes[t] = code[c->codes[t]];
    free(code);
    return LATHE_OK;
}

lathe_status lathe_table_drop_incomplete(lathe_table *table, int64_t *n_dropped, lathe_error *err) {
    int64_t n = 0;
    for (int64_t t = 0; t < table->n_rows; t++)
        n += is_complete(table, t);
    *n_dropped = table->n_rows - n;
    if (n == 0)
        return lathe_fail(err, LATHE_ERR_INPUT, "none of %lld rows is complete", (long long) table->n_rows);
    if (*n_dropped == 0)
        return LATHE_OK;
    int64_t to = 0;
    for (int64_t t = 0; t < table->n_rows; t++) {
        if (!is_complete(table, t))
            continue;
        for (int32_t i = 0; i < table->n_columns; i++) {
            lathe_column *c = &table->columns[i];
            if (c->discrete)
                c->codes[to] = c->codes[t];
            else
                c->values[to] = c->values[t];
        }
        to++;
    }
    table->n_rows = n;
    lathe_status st = LATHE_OK;
    for (int32_t i = 0; i < table->n_columns && !st; i++) {
        table->columns[i].n_missing = 0;
        if (table->columns[i].discrete)
            st = forget_unseen(&table->columns[i], n, err);
    }
    return st;
}
