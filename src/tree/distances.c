/* distances.c - distance matrices: read from PHYLIP or CSV, written, or computed from a table. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lapacke.h>

#include "base/buf.h"
#include "base/csv.h"
#include "base/file.h"
#include "base/stats.h"
#include "base/text.h"
#include "tree/tree.h"

enum { MAX_TAXA = 60000, MAX_DIM = 16 };

void lathe_distances_free(lathe_distances *dist) {
    lathe_names_free(dist->names, dist->n);
    free(dist->d);
    memset(dist, 0, sizeof *dist);
}

lathe_status lathe_distances_new(int64_t n, const char *name, lathe_distances *dist, lathe_error *err) {
    memset(dist, 0, sizeof *dist);
    if (n < 1 || n > MAX_TAXA)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: %lld taxa; 1 to %d can be read", name, (long long) n,
                          MAX_TAXA);
    dist->names = calloc((size_t) n, sizeof *dist->names);
    dist->d = calloc((size_t) (n * n), sizeof *dist->d);
    dist->n = dist->names != NULL ? (int32_t) n : 0;
    if (dist->names == NULL || dist->d == NULL) {
        lathe_distances_free(dist);
        return lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory for %lld taxa", name, (long long) n);
    }
    return LATHE_OK;
}

/* "row 2, column 3 ('b', 'c')" in messages: taxa counted from 1. */
static lathe_status refuse(const lathe_distances *dist, const char *name, int64_t i, int64_t j,
                           lathe_error *err, const char *what, double x) {
    return lathe_fail(err, LATHE_ERR_INPUT, "%s: row %lld, column %lld ('%.60s', '%.60s'): %g %s", name,
                      (long long) i + 1, (long long) j + 1, dist->names[i], dist->names[j], x, what);
}

static lathe_status check_pair(lathe_distances *dist, const char *name, int64_t i, int64_t j, bool symmetrise,
                               lathe_error *err) {
    double *d = dist->d;
    const int64_t n = dist->n;
    for (int back = 0; back < 2; back++) {
        const int64_t r = back ? j : i, c = back ? i : j;
        if (!isfinite(d[r * n + c]))
            return refuse(dist, name, r, c, err, "is not finite", d[r * n + c]);
        if (d[r * n + c] < 0)
            return refuse(dist, name, r, c, err, "is negative; distances are 0 or more", d[r * n + c]);
    }
    const double x = d[i * n + j], y = d[j * n + i];
    if (fabs(x - y) > 1e-6 * fmax(1e-300, fmax(x, y)) && !symmetrise)
        return lathe_fail(
            err, LATHE_ERR_INPUT,
            "%s: not symmetric: row %lld, column %lld ('%.60s', '%.60s') is %g, row %lld, column "
            "%lld is %g; --symmetrise takes the mean",
            name, (long long) i + 1, (long long) j + 1, dist->names[i], dist->names[j], x, (long long) j + 1,
            (long long) i + 1, y);
    if (x != y)
        d[i * n + j] = d[j * n + i] = 0.5 * (x + y);
    return LATHE_OK;
}

static lathe_status check_matrix(lathe_distances *dist, const char *name, bool symmetrise, lathe_error *err) {
    const int64_t n = dist->n;
    for (int64_t i = 0; i < n; i++) {
        if (!(fabs(dist->d[i * n + i]) <= 1e-9))
            return refuse(dist, name, i, i, err, "on the diagonal, where 0 must be", dist->d[i * n + i]);
        dist->d[i * n + i] = 0;
        for (int64_t j = 0; j < i; j++) {
            lathe_status st = check_pair(dist, name, i, j, symmetrise, err);
            if (st)
                return st;
        }
    }
    return LATHE_OK;
}

static bool blank(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The count is known; rows are "name values", over as many lines as they like. */
static lathe_status parse_phylip(const char *text, size_t n_bytes, const char *name, lathe_distances *dist,
                                 lathe_error *err) {
    const char *p = text, *end = text + n_bytes;
    double count;
    while (p < end && blank(*p))
        p++;
    if (!lathe_scan_real(p, &p, &count) || count != floor(count) || count < 1 || count > MAX_TAXA)
        return lathe_fail(err, LATHE_ERR_INPUT, "%s, line 1: no number of taxa from 1 to %d", name, MAX_TAXA);
    const int64_t n = (int64_t) count;
    if ((uint64_t) n * (uint64_t) (n - 1) / 2 > n_bytes) /* each distance has at least a digit and a blank */
        return lathe_fail(err, LATHE_ERR_INPUT, "%s: %lld taxa, but the file is too short for them", name,
                          (long long) n);
    lathe_status st = lathe_distances_new(n, name, dist, err);
    if (st)
        return st;
    int64_t line = 1;
    int lower = -1; /* unknown until the first row has ended */
    for (int64_t i = 0; i < n; i++) {
        for (; p < end && blank(*p); p++)
            line += *p == '\n';
        const char *word = p;
        while (p < end && !blank(*p))
            p++;
        if (p == word) {
            st = lathe_fail(err, LATHE_ERR_INPUT, "%s, line %lld: ends after %lld of %lld taxa", name,
                            (long long) line, (long long) i, (long long) n);
            break;
        }
        char *copy = malloc((size_t) (p - word) + 1);
        if (copy == NULL) {
            st = lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory for names", name);
            break;
        }
        memcpy(copy, word, (size_t) (p - word));
        copy[p - word] = 0;
        dist->names[i] = copy;
        int64_t n_want = lower == 1 ? i : n;
        for (int64_t j = 0; j < n_want; j++) {
            const char *before = p;
            int64_t lines_passed = 0;
            for (; p < end && blank(*p); p++)
                lines_passed += *p == '\n';
            if (lower < 0 && lines_passed && j == i) { /* the row stops at its diagonal: lower triangle */
                lower = i == 0 && n == 1 ? 0 : 1;
                p = before;
                break;
            }
            line += lines_passed;
            if (p == end || !lathe_scan_real(p, &p, &dist->d[i * n + j]) || (p < end && !blank(*p))) {
                st = lathe_fail(err, LATHE_ERR_INPUT, "%s, line %lld, row '%.40s', column %lld: no number",
                                name, (long long) line, copy, (long long) j + 1);
                break;
            }
            if (lower == 1)
                dist->d[j * n + i] = dist->d[i * n + j];
        }
        if (st)
            break;
        lower = lower < 0 ? 0 : lower;
    }
    for (; !st && p < end; p++)
        if (!blank(*p))
            st = lathe_fail(err, LATHE_ERR_INPUT, "%s, line %lld: text after the last taxon", name,
                            (long long) line);
    if (st)
        lathe_distances_free(dist);
    return st;
}

static lathe_status parse_table(const lathe_csv *csv, const char *name, lathe_distances *dist,
                                lathe_error *err) {
    const int64_t n = csv->n_rows - 1;
    if (csv->n_cols != n + 1)
        return lathe_fail(err, LATHE_ERR_INPUT,
                          "%s: %lld rows below the header, but %lld columns: not square", name, (long long) n,
                          (long long) csv->n_cols - 1);
    lathe_status st = lathe_distances_new(n, name, dist, err);
    for (int64_t i = 0; i < n && !st; i++) {
        char *const *row = csv->cells + (i + 1) * csv->n_cols;
        if (strcmp(row[0], csv->cells[i + 1]) != 0) {
            st =
                lathe_fail(err, LATHE_ERR_INPUT, "%s, line %lld: row '%.40s' where column %lld is '%.40s'",
                           name, (long long) csv->lines[i + 1], row[0], (long long) i + 2, csv->cells[i + 1]);
            break;
        }
        dist->names[i] = lathe_tree_strdup(row[0]);
        if (dist->names[i] == NULL)
            st = lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory for names", name);
        for (int64_t j = 0; j < n && !st; j++) {
            const char *end;
            if (!lathe_scan_real(row[j + 1], &end, &dist->d[i * n + j]) || *end)
                st = lathe_fail(err, LATHE_ERR_INPUT, "%s, line %lld, column '%.40s': '%.40s' is no number",
                                name, (long long) csv->lines[i + 1], csv->cells[j + 1], row[j + 1]);
        }
    }
    if (st)
        lathe_distances_free(dist);
    return st;
}

lathe_status lathe_distances_parse(const char *text, size_t n_bytes, const char *name, bool symmetrise,
                                   lathe_distances *dist, lathe_error *err) {
    const char *p = text;
    while (p < text + n_bytes && blank(*p))
        p++;
    while (p < text + n_bytes && *p >= '0' && *p <= '9')
        p++;
    while (p < text + n_bytes && (*p == ' ' || *p == '\t' || *p == '\r'))
        p++;
    lathe_status st;
    if (p > text && (p == text + n_bytes || *p == '\n')) { /* a line with one whole number: PHYLIP */
        char *copy = malloc(n_bytes + 1);                  /* numbers are read up to a zero byte */
        if (copy == NULL)
            return lathe_fail(err, LATHE_ERR_MEMORY, "%s: no memory", name);
        memcpy(copy, text, n_bytes);
        copy[n_bytes] = 0;
        st = parse_phylip(copy, n_bytes, name, dist, err);
        free(copy);
    } else {
        lathe_csv csv;
        st = lathe_csv_parse(text, n_bytes, name, 0, &csv, err);
        if (st)
            return st;
        st = parse_table(&csv, name, dist, err);
        lathe_csv_free(&csv);
    }
    if (st)
        return st;
    st = check_matrix(dist, name, symmetrise, err);
    if (st)
        lathe_distances_free(dist);
    return st;
}

lathe_status lathe_distances_read(const char *path, bool symmetrise, lathe_distances *dist,
                                  lathe_error *err) {
    char *text = NULL;
    size_t n_bytes = 0;
    lathe_status st = lathe_file_read(path, (size_t) 16 << 30, &text, &n_bytes, err);
    if (st)
        return st;
    st = lathe_distances_parse(text, n_bytes, path, symmetrise, dist, err);
    free(text);
    return st;
}

lathe_status lathe_distances_text(const lathe_distances *dist, char **text, size_t *n_bytes,
                                  lathe_error *err) {
    lathe_buf buf;
    lathe_buf_init(&buf, (size_t) 16 << 30);
    lathe_status st = lathe_buf_printf(&buf, err, "%d\n", (int) dist->n);
    for (int64_t i = 0; i < dist->n && !st; i++) {
        char *copy = lathe_tree_strdup(dist->names[i]);
        for (char *p = copy; p != NULL && *p; p++)
            if (blank(*p))
                *p = '_'; /* the format has no quotes */
        st = copy ? lathe_buf_text(&buf, copy, err) : lathe_fail(err, LATHE_ERR_MEMORY, "no memory");
        free(copy);
        for (int64_t j = 0; j < dist->n && !st; j++) {
            char number[40];
            lathe_format_double(dist->d[i * dist->n + j], number, sizeof number);
            st = lathe_buf_printf(&buf, err, " %s", number);
        }
        st = st ? st : lathe_buf_text(&buf, "\n", err);
    }
    if (!st) {
        *text = lathe_buf_take(&buf, n_bytes);
        st = *text ? LATHE_OK : lathe_fail(err, LATHE_ERR_MEMORY, "no memory");
    }
    lathe_buf_free(&buf);
    return st;
}

/* --- From samples ----------------------------------------------------------------------------------------
 */

/* lathe_select on sizes, index as second key, without moving the products: the size of the n1-th largest and
 * how many of that very size still go. */
double lathe_truncated_product(const double *a, const double *b, int64_t n, int64_t n1, double *scratch) {
    double *q = scratch, *size = scratch + n;
    for (int64_t t = 0; t < n; t++)
        q[t] = a[t] * b[t];
    if (n1 <= 0) {
        double sum = 0;
        for (int64_t t = 0; t < n; t++)
            sum += q[t];
        return sum / (double) n;
    }
    for (int64_t t = 0; t < n; t++)
        size[t] = fabs(q[t]);
    const double cut = lathe_select(size, (size_t) n, (size_t) (n - n1));
    int64_t above = 0;
    for (int64_t t = 0; t < n; t++)
        above += fabs(q[t]) > cut;
    int64_t still = n1 - above; /* of those equal to the cut, the first ones go */
    double sum = 0;
    for (int64_t t = 0; t < n; t++) {
        if (fabs(q[t]) > cut)
            continue;
        if (still > 0 && fabs(q[t]) == cut) {
            still--;
            continue;
        }
        sum += q[t];
    }
    return sum / (double) (n - n1);
}

/* Sum of log singular values of s[l * l] (destroyed), each at least 1e-12 of the largest. */
static double log_singular(double *s, int32_t l) {
    double values[MAX_DIM], work[8 * MAX_DIM];
    if (l == 1)
        return log(fmax(fabs(s[0]), 1e-300));
    if (LAPACKE_dgesvd(LAPACK_ROW_MAJOR, 'N', 'N', l, l, s, l, values, NULL, 1, NULL, 1, work) != 0)
        return NAN;
    double sum = 0;
    for (int32_t k = 0; k < l; k++)
        sum += log(fmax(values[k], fmax(1e-12 * values[0], 1e-300)));
    return sum;
}

static lathe_status from_vectors(const lathe_table *table, const lathe_distance_params *params, int64_t n1,
                                 int32_t l, lathe_distances *dist, lathe_error *err) {
    const int64_t n = table->n_rows;
    const int32_t p = dist->n, m = table->n_columns;
    double *x = malloc((size_t) m * (size_t) n * sizeof *x),
           *scratch = malloc(2 * (size_t) n * sizeof *scratch);
    double *block = malloc(sizeof(double) * MAX_DIM * MAX_DIM), *self = malloc((size_t) p * sizeof *self);
    lathe_status st = LATHE_OK;
    if (x == NULL || scratch == NULL || block == NULL || self == NULL)
        st = lathe_fail(err, LATHE_ERR_MEMORY, "distances: no memory for %d columns", (int) m);
    for (int32_t j = 0; j < m && !st; j++) {
        const double *v = table->columns[j].values;
        double centre = 0;
        for (int64_t t = 0; t < n && !st; t++) {
            if (isnan(v[t]))
                st = lathe_fail(err, LATHE_ERR_INPUT,
                                "row %lld, column '%s': no value; distances need complete rows",
                                (long long) t + 1, table->columns[j].name);
            scratch[t] = v[t];
            centre += v[t] / (double) n;
        }
        if (st)
            break;
        if (params->robust)
            centre = lathe_median(scratch, (size_t) n);
        double largest = 0;
        for (int64_t t = 0; t < n; t++) {
            x[j * n + t] = v[t] - centre;
            largest = fmax(largest, fabs(x[j * n + t]));
        }
        if (!(largest > 0))
            st = lathe_fail(err, LATHE_ERR_INPUT, "column '%s' is constant: it has no distance to anything",
                            table->columns[j].name);
    }
    const double far = l * log(sqrt((double) (n - n1)) / 2);
    for (int32_t i = 0; i < p && !st; i++)
        for (int32_t pass = 0, j = i; j < p && !st; j++, pass = 1) {
            for (int32_t a = 0; a < l; a++)
                for (int32_t b = 0; b < l; b++)
                    block[a * l + b] = lathe_truncated_product(x + (int64_t) (i * l + a) * n,
                                                               x + (int64_t) (j * l + b) * n, n, n1, scratch);
            const double value = log_singular(block, l);
            if (!isfinite(value))
                st = lathe_fail(err, LATHE_ERR_NUMERIC,
                                "the covariance of '%s' and '%s' has no singular values", dist->names[i],
                                dist->names[j]);
            if (!pass) {
                self[i] = value;
                if (value < -600 * l)
                    st = lathe_fail(
                        err, LATHE_ERR_INPUT,
                        "'%s': nothing is left of its variance (constant, or too many products dropped)",
                        dist->names[i]);
            } else {
                dist->d[(int64_t) i * p + j] = -value; /* the self terms follow below */
            }
        }
    for (int32_t i = 0; i < p && !st; i++)
        for (int32_t j = i + 1; j < p; j++) {
            const double d = dist->d[(int64_t) i * p + j] + 0.5 * (self[i] + self[j]);
            dist->n_saturated += d > far;
            dist->d[(int64_t) i * p + j] = dist->d[(int64_t) j * p + i] = fmin(50, fmax(0, d));
        }
    free(x);
    free(scratch);
    free(block);
    free(self);
    return st;
}

/* -log(|det J| / sqrt(prod of the margins)) with a guard of 1e-10, as for correlations. */
static lathe_status from_codes(const lathe_table *table, lathe_distances *dist, lathe_error *err) {
    const int32_t p = dist->n, k = table->columns[0].n_states;
    double *joint = malloc((size_t) k * (size_t) k * sizeof *joint);
    if (joint == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "distances: no memory");
    for (int32_t i = 0; i < p; i++)
        for (int32_t j = i + 1; j < p; j++) {
            double row[MAX_DIM] = {0}, column[MAX_DIM] = {0}, margins = 0;
            int64_t n = 0;
            memset(joint, 0, (size_t) k * (size_t) k * sizeof *joint);
            for (int64_t t = 0; t < table->n_rows; t++) {
                const uint16_t a = table->columns[i].codes[t], b = table->columns[j].codes[t];
                if (a == LATHE_CODE_MISSING || b == LATHE_CODE_MISSING)
                    continue;
                joint[a * k + b]++;
                row[a]++;
                column[b]++;
                n++;
            }
            for (int32_t s = 0; s < k * k; s++)
                joint[s] /= n ? (double) n : 1;
            for (int32_t s = 0; s < k; s++)
                margins += 0.5 * (log(fmax(row[s], 1e-10) / fmax(1, (double) n)) +
                                  log(fmax(column[s], 1e-10) / fmax(1, (double) n)));
            const double d = -(fmax(log_singular(joint, k), -50) - margins);
            dist->d[(int64_t) i * p + j] = dist->d[(int64_t) j * p + i] = fmin(50, fmax(0, d));
        }
    free(joint);
    return LATHE_OK;
}

lathe_status lathe_distances_from_table(const lathe_table *table, const lathe_distance_params *params,
                                        lathe_distances *dist, lathe_error *err) {
    static const lathe_distance_params defaults = {0};
    if (params == NULL)
        params = &defaults;
    const int32_t l = params->dim > 0 ? params->dim : 1;
    const int64_t n = table->n_rows;
    const int64_t n1 = params->truncate >= 0 ? params->truncate : 2 * (int64_t) lround(sqrt((double) n) / 2);
    memset(dist, 0, sizeof *dist);
    if (l > MAX_DIM || table->n_columns % l != 0)
        return lathe_fail(err, LATHE_ERR_ARG, "--dim %d: %d columns do not make vectors of 1 to %d", (int) l,
                          (int) table->n_columns, MAX_DIM);
    if (n1 > n / 4)
        return lathe_fail(err, LATHE_ERR_ARG, "%lld products to drop of %lld rows; at most a quarter",
                          (long long) n1, (long long) n);
    const bool discrete = table->columns[0].discrete;
    for (int32_t j = 0; j < table->n_columns; j++) {
        const lathe_column *c = &table->columns[j];
        if (c->discrete != discrete || (discrete && (c->n_states != table->columns[0].n_states ||
                                                     c->n_states > MAX_DIM || c->n_states < 2)))
            return lathe_fail(
                err, LATHE_ERR_INPUT,
                "column '%s': distances want all columns real, or all with the same 2 to %d states", c->name,
                MAX_DIM);
    }
    if (discrete && l > 1)
        return lathe_fail(err, LATHE_ERR_ARG, "--dim is for real columns");
    lathe_status st = lathe_distances_new(table->n_columns / l, "distances", dist, err);
    for (int32_t i = 0; i < dist->n && !st; i++) {
        dist->names[i] = lathe_tree_strdup(table->columns[i * l].name);
        if (dist->names[i] == NULL)
            st = lathe_fail(err, LATHE_ERR_MEMORY, "distances: no memory");
        else if (l > 1) { /* "x1.1" is node x1 */
            char *dot = strrchr(dist->names[i], '.');
            if (dot != NULL && dot > dist->names[i])
                *dot = 0;
        }
    }
    if (!st)
        st = discrete ? from_codes(table, dist, err) : from_vectors(table, params, n1, l, dist, err);
    if (st)
        lathe_distances_free(dist);
    return st;
}
