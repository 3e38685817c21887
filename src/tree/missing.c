/* missing.c - do cells seem to be missing for a reason? Each column's gaps against the other columns' values.
 *
 * Chi-squared of gap or not against the states seen (two by r, r - 1 degrees of freedom), or n r^2 of the
 * correlation with a real column (one degree). phi^2 = chi-squared / n either way. Tables with an expected
 * count below FEWEST and groups below it are left out: there the law is a poor one, and a single gap beside a
 * single rare state would look certain. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/stats.h"
#include "tree/tree.h"

enum { FEWEST = 5 };

static bool is_gap(const lathe_column *c, int64_t t) {
    return c->discrete ? c->codes[t] == LATHE_CODE_MISSING : isnan(c->values[t]);
}

/* Chi-squared of column a's gaps against c's states; counts: [2 n_states] of scratch. False: too few. */
static bool against_states(const lathe_column *a, const lathe_column *c, int64_t n_rows, int64_t *counts,
                           double *chi2, double *dof, int64_t *n) {
    const int32_t r = c->n_states;
    int64_t gaps = 0;
    *n = n_rows - c->n_missing;
    memset(counts, 0, 2 * (size_t) r * sizeof *counts);
    for (int64_t t = 0; t < n_rows; t++)
        if (c->codes[t] != LATHE_CODE_MISSING) {
            const bool gap = is_gap(a, t);
            counts[2 * c->codes[t] + gap]++;
            gaps += gap;
        }
    *chi2 = 0;
    *dof = r - 1;
    for (int32_t s = 0; s < r; s++) {
        const double all = (double) (counts[2 * s] + counts[2 * s + 1]);
        for (int gap = 0; gap < 2; gap++) {
            const double expected = all * (double) (gap ? gaps : *n - gaps) / (double) *n;
            if (!(expected >= FEWEST))
                return false;
            const double off = (double) counts[2 * s + gap] - expected;
            *chi2 += off * off / expected;
        }
    }
    return r > 1;
}

/* n r^2 of column a's gaps and c's values. */
static bool against_values(const lathe_column *a, const lathe_column *c, int64_t n_rows, double *chi2,
                           int64_t *n) {
    double sum[2] = {0}, square = 0;
    int64_t count[2] = {0};
    for (int64_t t = 0; t < n_rows; t++)
        if (!isnan(c->values[t])) {
            const bool gap = is_gap(a, t);
            count[gap]++;
            sum[gap] += c->values[t];
        }
    *n = count[0] + count[1];
    if (count[0] < FEWEST || count[1] < FEWEST)
        return false;
    const double mean = (sum[0] + sum[1]) / (double) *n;
    for (int64_t t = 0; t < n_rows; t++)
        if (!isnan(c->values[t]))
            square += (c->values[t] - mean) * (c->values[t] - mean);
    const double far = sum[1] / (double) count[1] - sum[0] / (double) count[0];
    *chi2 = far * far * (double) count[0] * (double) count[1] / square; /* n r^2 */
    return square > 0 && isfinite(*chi2);
}

lathe_status lathe_table_missing_dependence(const lathe_table *table, lathe_missing_dependence *out,
                                            lathe_error *err) {
    *out = (lathe_missing_dependence){.masked = -1, .other = -1, .p_value = 1};
    int32_t most = 1;
    for (int32_t i = 0; i < table->n_columns; i++)
        most = table->columns[i].discrete && table->columns[i].n_states > most ? table->columns[i].n_states
                                                                               : most;
    int64_t *counts = malloc(2 * (size_t) most * sizeof *counts);
    if (counts == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for counts of missing cells");
    for (int32_t i = 0; i < table->n_columns; i++) {
        const lathe_column *a = &table->columns[i];
        if (a->n_missing < FEWEST || table->n_rows - a->n_missing < FEWEST)
            continue;
        for (int32_t j = 0; j < table->n_columns; j++) {
            const lathe_column *c = &table->columns[j];
            double chi2 = 0, dof = 1;
            int64_t n = 0;
            if (i == j || !(c->discrete ? against_states(a, c, table->n_rows, counts, &chi2, &dof, &n)
                                        : against_values(a, c, table->n_rows, &chi2, &n)))
                continue;
            out->n_tests++;
            const double p_value = lathe_chi2_tail(chi2, dof), phi = sqrt(chi2 / (double) n);
            if (out->masked < 0 || p_value < out->p_value || (p_value == out->p_value && phi > out->phi)) {
                out->masked = i;
                out->other = j;
                out->phi = phi;
                out->p_value = p_value;
            }
        }
    }
    free(counts);
    out->p_value = fmin(1, out->p_value * (double) (out->n_tests > 0 ? out->n_tests : 1));
    return LATHE_OK;
}
