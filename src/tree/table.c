/* table.c - cells of CSV or NPY files as columns of codes or real numbers. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/csv.h"
#include "base/npy.h"
#include "base/text.h"
#include "tree/tree.h"

enum { MAX_STATES_DEFAULT = 64, MAX_STATES = 65534, MAX_COLUMNS = 1 << 24 };

typedef struct level {
    const char *text;
    double value;
    int64_t row;
} level;

static int by_text(const void *a, const void *b) {
    return strcmp(((const level *) a)->text, ((const level *) b)->text);
}

static int by_value(const void *a, const void *b) {
    const double x = ((const level *) a)->value, y = ((const level *) b)->value;
    return (x > y) - (x < y);
}

static int by_row(const void *a, const void *b) {
    const int64_t x = ((const level *) a)->row, y = ((const level *) b)->row;
    return (x > y) - (x < y);
}

void lathe_table_free(lathe_table *table) {
    for (int32_t i = 0; table->columns != NULL && i < table->n_columns; i++) {
        lathe_column *c = &table->columns[i];
        free(c->name);
        lathe_names_free(c->states, c->n_states);
        free(c->codes);
        free(c->values);
    }
    free(table->columns);
    memset(table, 0, sizeof *table);
}

/* Codes from levels[n] (missing cells have text NULL); numeric sorts by value. */
static lathe_status make_discrete(lathe_column *column, level *levels, int64_t n, bool numeric, int64_t limit,
                                  const char *name, lathe_error *err) {
    level *sorted = malloc((size_t) (n ? n : 1) * sizeof *sorted);
    column->codes = malloc((size_t) (n ? n : 1) * sizeof *column->codes);
    lathe_status st = LATHE_OK;
    int64_t n_seen = 0, n_states = 0;
    if (sorted == NULL || column->codes == NULL) {
        st = lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory for column '%s'", name, column->name);
        goto done;
    }
    for (int64_t i = 0; i < n; i++)
        if (levels[i].text != NULL)
            sorted[n_seen++] = levels[i];
    if (n_seen)
        qsort(sorted, (size_t) n_seen, sizeof *sorted, numeric ? by_value : by_text);
    for (int64_t i = 0; i < n_seen; i++)
        n_states += i == 0 || (numeric ? sorted[i].value > sorted[i - 1].value
                                       : strcmp(sorted[i].text, sorted[i - 1].text) != 0);
    if (n_states > limit) {
        st = lathe_fail(err, LATHE_ERR_INPUT,
                        "%s, column '%s': %lld different values, at most %lld are taken as states; "
                        "if it is continuous use --weight gauss or --bins K, else --max-states",
                        name, column->name, (long long) n_states, (long long) limit);
        goto done;
    }
    column->states = calloc((size_t) n_states + 1, sizeof *column->states);
    if (column->states == NULL) {
        st = lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory for column '%s'", name, column->name);
        goto done;
    }
    for (int64_t i = 0; i < n; i++)
        column->codes[i] = LATHE_CODE_MISSING;
    for (int64_t i = 0; i < n_seen; i++) {
        if (i == 0 || (numeric ? sorted[i].value > sorted[i - 1].value
                               : strcmp(sorted[i].text, sorted[i - 1].text) != 0)) {
            column->states[column->n_states] = lathe_tree_strdup(sorted[i].text);
            if (column->states[column->n_states] == NULL) {
                st = lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory for column '%s'", name, column->name);
                goto done;
            }
            column->n_states++;
        }
        column->codes[sorted[i].row] = (uint16_t) (column->n_states - 1);
    }
    column->discrete = true;
    column->n_missing = n - n_seen;
    if (column->n_states == 0) { /* nothing seen: one state, so that tables have a shape */
        column->states[0] = lathe_tree_strdup("");
        column->n_states = column->states[0] != NULL;
    }
done:
    free(sorted);
    return st;
}

static lathe_status make_bins(lathe_column *column, level *levels, int64_t n, int32_t bins, const char *name,
                              lathe_error *err) {
    level *sorted = malloc((size_t) (n ? n : 1) * sizeof *sorted);
    char(*labels)[32] = malloc((size_t) bins * sizeof *labels);
    if (sorted == NULL || labels == NULL) {
        free(sorted);
        free(labels);
        return lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory for column '%s'", name, column->name);
    }
    int64_t n_seen = 0;
    for (int64_t i = 0; i < n; i++)
        if (levels[i].text != NULL)
            sorted[n_seen++] = levels[i];
    if (n_seen)
        qsort(sorted, (size_t) n_seen, sizeof *sorted, by_value);
    for (int32_t b = 0; b < bins; b++)
        snprintf(labels[b], sizeof labels[b], "%d", b + 1);
    int32_t bin = 0;
    for (int64_t i = 0; i < n_seen; i++) { /* equal values stay together */
        if (i == 0 || sorted[i].value > sorted[i - 1].value)
            bin = (int32_t) (i * bins / n_seen);
        levels[sorted[i].row].value = bin;
        levels[sorted[i].row].text = labels[bin];
    }
    lathe_status st = make_discrete(column, levels, n, true, bins, name, err);
    free(sorted);
    free(labels);
    return st;
}

/* One column from its cells. */
static lathe_status make_column(const lathe_csv *csv, int64_t j, int64_t first,
                                const lathe_table_params *params, const char *name, level *levels,
                                lathe_column *column, lathe_error *err) {
    const int64_t n = csv->n_rows - first;
    const int64_t limit = params->max_states > 0 ? params->max_states : MAX_STATES_DEFAULT;
    int64_t n_numbers = 0, n_seen = 0, odd_row = -1;
    bool whole = true;
    for (int64_t i = 0; i < n; i++) {
        const char *cell = csv->cells[(i + first) * csv->n_cols + j];
        levels[i] = (level){.row = i};
        if (lathe_cell_missing(cell))
            continue;
        n_seen++;
        levels[i].text = cell;
        const char *end;
        if (lathe_scan_real(cell, &end, &levels[i].value) && *end == 0 && isfinite(levels[i].value)) {
            n_numbers++;
            whole = whole && levels[i].value == floor(levels[i].value);
        } else if (odd_row < 0) {
            odd_row = i;
        }
    }
    const bool numeric = n_numbers == n_seen;
    int64_t n_values = 0;
    if (numeric && whole && params->kind == 0 && n_seen > 0) { /* few whole numbers are states */
        double seen[MAX_STATES_DEFAULT];
        const int64_t most = limit < MAX_STATES_DEFAULT ? limit : MAX_STATES_DEFAULT;
        for (int64_t i = 0; i < n && n_values <= most; i++) {
            if (levels[i].text == NULL)
                continue;
            int64_t k = 0;
            while (k < n_values && seen[k] != levels[i].value)
                k++;
            if (k == n_values) {
                if (n_values < most)
                    seen[n_values] = levels[i].value;
                n_values++;
            }
        }
        if (n_values > most)
            whole = false;
    }
    const bool real = params->kind == 2 || (params->kind == 0 && numeric && n_seen > 0 && !whole);
    if (!numeric && (params->kind == 2 || 2 * n_numbers > n_seen))
        return lathe_fail(err, LATHE_ERR_INPUT, "%s, line %lld, column '%s': '%.40s' is no number", name,
                          (long long) csv->lines[odd_row + first], column->name,
                          csv->cells[(odd_row + first) * csv->n_cols + j]);
    if (real && params->bins > 1)
        return make_bins(column, levels, n, params->bins, name, err);
    if (!real)
        return make_discrete(column, levels, n, numeric, limit < MAX_STATES ? limit : MAX_STATES, name, err);
    column->values = malloc((size_t) (n ? n : 1) * sizeof *column->values);
    if (column->values == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory for column '%s'", name, column->name);
    for (int64_t i = 0; i < n; i++)
        column->values[i] = levels[i].text != NULL ? levels[i].value : NAN;
    column->n_missing = n - n_seen;
    return LATHE_OK;
}

static lathe_status check_names(const lathe_table *table, const char *name, lathe_error *err) {
    level *names = malloc((size_t) table->n_columns * sizeof *names);
    if (names == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory for names", name);
    for (int32_t j = 0; j < table->n_columns; j++)
        names[j] = (level){.text = table->columns[j].name, .row = j};
    qsort(names, (size_t) table->n_columns, sizeof *names, by_text);
    lathe_status st = LATHE_OK;
    for (int32_t j = 1; j < table->n_columns && !st; j++)
        if (strcmp(names[j].text, names[j - 1].text) == 0) {
            qsort(names + j - 1, 2, sizeof *names, by_row);
            st =
                lathe_fail(err, LATHE_ERR_INPUT, "%s: columns %lld and %lld have the same name '%.60s'", name,
                           (long long) names[j - 1].row + 1, (long long) names[j].row + 1, names[j].text);
        }
    free(names);
    return st;
}

/* Whether a name stands in a list with commas. */
static bool listed(const char *list, const char *name) {
    const size_t n = strlen(name);
    for (const char *p = list; p != NULL && *p;) {
        const size_t m = strcspn(p, ",");
        if (m == n && memcmp(p, name, n) == 0)
            return true;
        p += m;
        p += *p == ',';
    }
    return false;
}

/* Every name of the list is a column. */
static lathe_status check_ignored(const lathe_csv *csv, const char *list, const char *name,
                                  lathe_error *err) {
    for (const char *p = list; p != NULL && *p;) {
        const size_t m = strcspn(p, ",");
        bool found = false;
        for (int64_t j = 0; j < csv->n_cols && !found; j++)
            found = strlen(csv->cells[j]) == m && memcmp(csv->cells[j], p, m) == 0;
        if (!found)
            return lathe_fail(err, LATHE_ERR_ARG, "%s: no column '%.*s' to leave out", name,
                              (int) (m < 60 ? m : 60), p);
        p += m;
        p += *p == ',';
    }
    return LATHE_OK;
}

static lathe_status from_csv(const lathe_csv *csv, const char *name, const lathe_table_params *params,
                             lathe_table *table, lathe_error *err) {
    memset(table, 0, sizeof *table);
    if (csv->n_rows == 0)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: no header line", name);
    if (csv->n_rows == 1)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: a header, but no rows", name);
    if (csv->n_cols > MAX_COLUMNS)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: %lld columns, at most %d", name, (long long) csv->n_cols,
                          MAX_COLUMNS);
    const int64_t n = csv->n_rows - 1;
    level *levels = malloc((size_t) n * sizeof *levels);
    table->columns = calloc((size_t) csv->n_cols, sizeof *table->columns);
    table->n_columns = (int32_t) csv->n_cols;
    table->n_rows = n;
    lathe_status st = LATHE_OK;
    if (levels == NULL || table->columns == NULL)
        st = lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory for %lld columns", name,
                        (long long) csv->n_cols);
    st = st ? st : check_ignored(csv, params->ignore, name, err);
    table->n_columns = 0;
    for (int32_t j = 0; j < csv->n_cols && !st; j++) {
        char made[24];
        if (listed(params->ignore, csv->cells[j]))
            continue;
        lathe_column *column = &table->columns[table->n_columns++];
        snprintf(made, sizeof made, "column%d", j + 1);
        column->name = lathe_tree_strdup(csv->cells[j][0] ? csv->cells[j] : made);
        if (column->name == NULL)
            st = lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory for names", name);
        else
            st = make_column(csv, j, 1, params, name, levels, column, err);
    }
    if (!st && table->n_columns == 0)
        st = lathe_fail(err, LATHE_ERR_INPUT, "%s: all columns are left out", name);
    free(levels);
    if (!st)
        st = check_names(table, name, err);
    if (st)
        lathe_table_free(table);
    return st;
}

lathe_status lathe_table_parse(const char *text, size_t n_bytes, const char *name,
                               const lathe_table_params *params, lathe_table *table, lathe_error *err) {
    static const lathe_table_params defaults = {0};
    lathe_csv csv;
    lathe_status st = lathe_csv_parse(text, n_bytes, name, 0, &csv, err);
    if (st)
        return st;
    st = from_csv(&csv, name, params != NULL ? params : &defaults, table, err);
    lathe_csv_free(&csv);
    return st;
}

/* Codes of a column of whole numbers in a short range, without sorting; false, and nothing done, where they
 * are something else (the general way then says what is wrong). */
static bool small_whole(lathe_column *column, int64_t n, int64_t limit) {
    enum { RANGE = 256 };
    double low = INFINITY, high = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        low = column->values[i] < low ? column->values[i] : low;
        high = column->values[i] > high ? column->values[i] : high;
    }
    if (!(low <= high) || high - low >= RANGE || low != floor(low) || fabs(low) > 1e15)
        return false;
    int32_t n_states = 0, code[RANGE] = {0};
    for (int64_t i = 0; i < n; i++) {
        const double x = column->values[i];
        if (x != floor(x)) /* NaN too: column of floats with gaps */
            return false;
        code[(int32_t) (x - low)] = 1;
    }
    for (int32_t s = 0; s < RANGE; s++)
        if (code[s])
            code[s] = n_states++;
    if (n_states > limit)
        return false;
    uint16_t *codes = malloc((size_t) n * sizeof *codes);
    char **states = calloc((size_t) n_states, sizeof *states);
    if (codes == NULL || states == NULL) {
        free(codes);
        free(states);
        return false;
    }
    bool ok = true;
    for (int64_t i = 0; i < n; i++) {
        const int32_t offset = (int32_t) (column->values[i] - low), s = code[offset];
        codes[i] = (uint16_t) s;
        if (states[s] == NULL && ok) {
            char text[32];
            lathe_format_double(column->values[i], text, sizeof text);
            states[s] = lathe_tree_strdup(text);
            ok = states[s] != NULL;
        }
    }
    if (!ok) {
        lathe_names_free(states, n_states);
        free(codes);
        return false;
    }
    free(column->values);
    column->values = NULL;
    column->discrete = true;
    column->codes = codes;
    column->states = states;
    column->n_states = n_states;
    column->n_missing = 0;
    return true;
}

static lathe_status from_npy(const lathe_npy *array, const char *name, const lathe_table_params *params,
                             lathe_table *table, lathe_error *err) {
    memset(table, 0, sizeof *table);
    const int64_t n = array->shape[0], a = array->n_dims > 1 ? array->shape[1] : 1;
    const int64_t b = array->n_dims > 2 ? array->shape[2] : 1;
    if (n == 0 || a <= 0 || b <= 0 || a > MAX_COLUMNS || b > MAX_COLUMNS / a)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: %lld rows, %lld columns: no table", name, (long long) n,
                          (long long) (a * (b > 0 ? b : 0)));
    table->n_columns = (int32_t) (a * b);
    table->n_rows = n;
    table->columns = calloc((size_t) table->n_columns, sizeof *table->columns);
    lathe_status st = table->columns ? LATHE_OK : lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory", name);
    level *levels = malloc((size_t) n * sizeof *levels);
    char(*texts)[32] = malloc((size_t) n * sizeof *texts);
    if (!st && (levels == NULL || texts == NULL))
        st = lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory for %lld rows", name, (long long) n);
    for (int32_t j = 0; j < table->n_columns && !st; j++) {
        lathe_column *column = &table->columns[j];
        char column_name[48];
        if (b > 1)
            snprintf(column_name, sizeof column_name, "x%d.%d", (int) (j / b), (int) (j % b) + 1);
        else
            snprintf(column_name, sizeof column_name, "x%d", j);
        column->name = lathe_tree_strdup(column_name);
        bool whole = params->kind == 1 || (params->kind == 0 && array->integer);
        column->values = malloc((size_t) n * sizeof *column->values);
        if (column->name == NULL || column->values == NULL) {
            st = lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory for %lld rows", name, (long long) n);
            break;
        }
        for (int64_t i = 0; i < n; i++) {
            const double x = array->values[i * table->n_columns + j];
            column->values[i] = x;
            column->n_missing += isnan(x);
            if (isinf(x)) {
                st = lathe_fail(err, LATHE_ERR_INPUT, "%s, row %lld, column %d: infinite", name,
                                (long long) i, (int) j);
                break;
            }
        }
        if (st || (!whole && params->bins <= 1))
            continue;
        if (whole && small_whole(column, n, params->max_states > 0 ? params->max_states : MAX_STATES_DEFAULT))
            continue;
        for (int64_t i = 0; i < n; i++) {
            levels[i] = (level){.row = i, .value = column->values[i]};
            lathe_format_double(column->values[i], texts[i], sizeof texts[i]);
            if (!isnan(column->values[i]))
                levels[i].text = texts[i];
        }
        free(column->values);
        column->values = NULL;
        column->n_missing = 0;
        st = whole ? make_discrete(column, levels, n, true, params->max_states > 0 ? params->max_states : 64,
                                   name, err)
                   : make_bins(column, levels, n, params->bins, name, err);
    }
    free(levels);
    free(texts);
    if (st)
        lathe_table_free(table);
    return st;
}

lathe_status lathe_table_read(const char *path, const lathe_table_params *params, lathe_table *table,
                              lathe_error *err) {
    static const lathe_table_params defaults = {0};
    if (params == NULL)
        params = &defaults;
    const size_t length = strlen(path);
    if (length > 4 && strcmp(path + length - 4, ".npy") == 0) {
        lathe_npy array;
        lathe_status st = lathe_npy_read(path, (size_t) 8 << 30, &array, err);
        if (st)
            return st;
        st = from_npy(&array, path, params, table, err);
        lathe_npy_free(&array);
        return st;
    }
    lathe_csv csv;
    lathe_status st = lathe_csv_read(path, (size_t) 8 << 30, 0, &csv, err);
    if (st)
        return st;
    st = from_csv(&csv, path, params, table, err);
    lathe_csv_free(&csv);
    return st;
}

static lathe_status add_cell_text(lathe_buf *buf, const char *text, lathe_error *err) {
    const bool like_mark = strncmp(text, "\xef\xbb\xbf", 3) == 0; /* first in a file it would be skipped */
    if (*text && !like_mark && strpbrk(text, ",\"\n\r;\t ") == NULL)
        return lathe_buf_text(buf, text, err);
    lathe_status st = lathe_buf_text(buf, "\"", err);
    for (const char *p = text; *p && !st; p++) {
        st = lathe_buf_add(buf, p, 1, err);
        if (!st && *p == '"')
            st = lathe_buf_add(buf, p, 1, err);
    }
    return st ? st : lathe_buf_text(buf, "\"", err);
}

lathe_status lathe_table_text(const lathe_table *table, char **text, size_t *n_bytes, lathe_error *err) {
    lathe_buf buf;
    lathe_buf_init(&buf, (size_t) 8 << 30);
    lathe_status st = LATHE_OK;
    for (int32_t j = 0; j < table->n_columns && !st; j++) {
        st = j ? lathe_buf_text(&buf, ",", err) : LATHE_OK;
        if (!st)
            st = add_cell_text(&buf, table->columns[j].name, err);
    }
    for (int64_t i = 0; i < table->n_rows && !st; i++) {
        st = lathe_buf_text(&buf, "\n", err);
        for (int32_t j = 0; j < table->n_columns && !st; j++) {
            const lathe_column *c = &table->columns[j];
            char number[40] = "NA";
            const char *cell = number;
            if (c->discrete && c->codes[i] != LATHE_CODE_MISSING)
                cell = c->states[c->codes[i]];
            else if (!c->discrete && !isnan(c->values[i]))
                lathe_format_double(c->values[i], number, sizeof number);
            st = j ? lathe_buf_text(&buf, ",", err) : LATHE_OK;
            if (!st)
                st = add_cell_text(&buf, cell, err);
        }
    }
    if (!st)
        st = lathe_buf_text(&buf, "\n", err);
    if (!st) {
        *text = lathe_buf_take(&buf, n_bytes);
        if (*text == NULL)
            st = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the table's text");
    }
    lathe_buf_free(&buf);
    return st;
}
