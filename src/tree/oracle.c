/* oracle.c - readings for active learning from a table that is replayed, or from a model that is sampled. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tree/tree.h"

/* Two states a column and no gaps, or a message. */
static lathe_status check_two_states(const lathe_table *variables, lathe_error *err) {
    for (int32_t i = 0; i < variables->n_columns; i++) {
        const lathe_column *c = &variables->columns[i];
        if (!c->discrete || c->n_states != 2 || c->n_missing > 0)
            return lathe_fail(err, LATHE_ERR_INPUT,
                              "'%s': active learning wants two states and no gaps, this has %s", c->name,
                              !c->discrete       ? "real values"
                              : c->n_states != 2 ? "another number of states"
                                                 : "gaps");
    }
    return LATHE_OK;
}

lathe_status lathe_table_replay_new(const lathe_table *table, lathe_table_replay *replay, lathe_error *err) {
    memset(replay, 0, sizeof *replay);
    lathe_status st = check_two_states(table, err);
    if (st)
        return st;
    replay->table = table;
    replay->cursor = calloc((size_t) table->n_columns, sizeof *replay->cursor);
    return replay->cursor != NULL ? LATHE_OK : lathe_fail(err, LATHE_ERR_MEMORY, "replay: no memory");
}

void lathe_table_replay_free(lathe_table_replay *replay) {
    free(replay->cursor);
    memset(replay, 0, sizeof *replay);
}

lathe_status lathe_table_replay_sample(void *replay, const int32_t *nodes, int32_t n_nodes, int64_t m,
                                       uint8_t *out, lathe_error *err) {
    lathe_table_replay *r = replay;
    int64_t start = 0;
    for (int32_t k = 0; k < n_nodes; k++)
        start = r->cursor[nodes[k]] > start ? r->cursor[nodes[k]] : start;
    if (m > r->table->n_rows - start)
        return lathe_fail(err, LATHE_ERR_INPUT,
                          "the table has %lld rows; %lld are read and %lld more are wanted",
                          (long long) r->table->n_rows, (long long) start, (long long) m);
    for (int64_t t = 0; t < m; t++)
        for (int32_t k = 0; k < n_nodes; k++)
            out[t * n_nodes + k] = (uint8_t) r->table->columns[nodes[k]].codes[start + t];
    for (int32_t k = 0; k < n_nodes; k++)
        r->cursor[nodes[k]] = start + m;
    return LATHE_OK;
}

lathe_status lathe_model_oracle_new(const lathe_tree_model *model, uint64_t seed, lathe_model_oracle *oracle,
                                    lathe_error *err) {
    lathe_status st = model->real
                          ? lathe_fail(err, LATHE_ERR_INPUT, "a Gaussian model has no two-state nodes")
                          : check_two_states(&model->variables, err);
    *oracle = (lathe_model_oracle){.model = model, .seed = seed};
    return st;
}

lathe_status lathe_model_oracle_sample(void *oracle, const int32_t *nodes, int32_t n_nodes, int64_t m,
                                       uint8_t *out, lathe_error *err) {
    lathe_model_oracle *o = oracle;
    const int64_t p = o->model->variables.n_columns;
    size_t n;
    double *values = lathe_size_mul((size_t) m, (size_t) p, &n) && n < SIZE_MAX / 8
                         ? malloc((n + 1) * sizeof *values)
                         : NULL;
    if (values == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %lld rows", (long long) m);
    /* another seed for each request: rows are new every time */
    lathe_status st =
        lathe_tree_sample(o->model, m, o->seed + 1000003 * (uint64_t) o->n_requests++, values, err);
    for (int64_t t = 0; t < m && !st; t++)
        for (int32_t k = 0; k < n_nodes; k++)
            out[t * n_nodes + k] = (uint8_t) values[t * p + nodes[k]];
    free(values);
    return st;
}
