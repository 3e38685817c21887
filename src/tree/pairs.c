/* pairs.c - pairs of columns by name, from a file: edges that a tree must have, or may not have. */
#include <stdlib.h>
#include <string.h>

#include "base/csv.h"
#include "tree/tree.h"

enum { FILE_LIMIT = 1 << 28 };

static int32_t find_column(const lathe_table *table, const char *name) {
    for (int32_t i = 0; i < table->n_columns; i++)
        if (strcmp(table->columns[i].name, name) == 0)
            return i;
    return -1;
}

/* Is the first row a header, as in the edges that `tree learn -o edges.csv` writes? */
static bool is_header(const lathe_csv *csv) {
    return (strcmp(csv->cells[0], "u") == 0 && strcmp(csv->cells[1], "v") == 0) ||
           (strcmp(csv->cells[0], "from") == 0 && strcmp(csv->cells[1], "to") == 0);
}

static lathe_status find_pairs(const lathe_csv *csv, const char *path, const lathe_table *table,
                               int32_t *pairs, int32_t *n_pairs, lathe_error *err) {
    const bool header =
        is_header(csv) && (find_column(table, csv->cells[0]) < 0 || find_column(table, csv->cells[1]) < 0);
    *n_pairs = 0;
    for (int64_t i = header; i < csv->n_rows; i++) {
        int32_t *pair = pairs + 2 * *n_pairs;
        for (int k = 0; k < 2; k++) {
            const char *name = csv->cells[i * csv->n_cols + k];
            pair[k] = find_column(table, name);
            if (pair[k] < 0)
                return lathe_fail(err, LATHE_ERR_INPUT, "%s, line %lld: no column is called '%.60s'", path,
                                  (long long) csv->lines[i], name);
        }
        if (pair[0] == pair[1])
            return lathe_fail(err, LATHE_ERR_INPUT, "%s, line %lld: '%.60s' twice; an edge joins two columns",
                              path, (long long) csv->lines[i], table->columns[pair[0]].name);
        ++*n_pairs;
    }
    return LATHE_OK;
}

lathe_status lathe_column_pairs_read(const char *path, const lathe_table *table, int32_t **pairs,
                                     int32_t *n_pairs, lathe_error *err) {
    *pairs = NULL;
    *n_pairs = 0;
    lathe_csv csv;
    lathe_status st = lathe_csv_read(path, FILE_LIMIT, 0, &csv, err);
    if (st)
        return st;
    if (csv.n_cols < 2)
        st = lathe_fail(err, LATHE_ERR_INPUT, "%s: two names a line are wanted, as in 'a,b'", path);
    else if (csv.n_rows > INT32_MAX / 2)
        st = lathe_fail(err, LATHE_ERR_INPUT, "%s: too many pairs", path);
    else if ((*pairs = malloc(2 * (size_t) csv.n_rows * sizeof **pairs + 1)) == NULL)
        st = lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory for its pairs", path);
    else
        st = find_pairs(&csv, path, table, *pairs, n_pairs, err);
    lathe_csv_free(&csv);
    if (st) {
        free(*pairs);
        *pairs = NULL;
        *n_pairs = 0;
    }
    return st;
}
