/* calibrate.c - passes over step sizes, each taken relative to the single step of its own pass, so that a
 * machine whose speed drifts during the measurement distorts nothing. */
#include "decode/calibrate.h"

#include <math.h>
#include <string.h>

enum { SIZES = 11, PASSES = 9 };

static const int32_t order[SIZES] = {1, 2, 4, 8, 16, 3, 6, 12, 32, 24, 64};

void lathe_isotonic(double *y, const double *w, int32_t n) {
    double level[64], weight[64];
    int32_t count[64], blocks = 0;
    for (int32_t i = 0; i < n && i < 64; i++) {
        level[blocks] = y[i];
        weight[blocks] = w[i];
        count[blocks++] = 1;
        while (blocks > 1 && level[blocks - 2] > level[blocks - 1]) {
            const double sum = weight[blocks - 2] + weight[blocks - 1];
            level[blocks - 2] =
                (level[blocks - 2] * weight[blocks - 2] + level[blocks - 1] * weight[blocks - 1]) / sum;
            weight[blocks - 2] = sum;
            count[blocks - 2] += count[blocks - 1];
            blocks--;
        }
    }
    for (int32_t b = 0, i = 0; b < blocks; b++)
        for (int32_t k = 0; k < count[b]; k++)
            y[i++] = level[b];
}

static double median(double *x, int32_t n) {
    for (int32_t i = 1; i < n; i++)
        for (int32_t j = i; j > 0 && x[j] < x[j - 1]; j--) {
            const double swap = x[j];
            x[j] = x[j - 1];
            x[j - 1] = swap;
        }
    return n % 2 ? x[n / 2] : 0.5 * (x[n / 2 - 1] + x[n / 2]);
}

static lathe_status timed(const lathe_stopwatch *watch, int32_t n, double *t, lathe_calibration *out,
                          lathe_error *err) {
    *t = watch->step(watch->user, n);
    if (!(*t >= 0.0) || isinf(*t))
        return lathe_fail(err, LATHE_ERR_IO, "a step of %d rows could not be timed", (int) n);
    out->spent_s += *t;
    return LATHE_OK;
}

lathe_status lathe_calibrate(const lathe_stopwatch *watch, int32_t rows_max, double budget,
                             lathe_calibration *out, lathe_error *err) {
    memset(out, 0, sizeof *out);
    const double limit = budget > 0.0 ? budget : 0.45;
    double ratio[SIZES][PASSES], single[PASSES + 3], last[SIZES] = {0.0}, t1 = 0.0, t;
    int32_t n_ratio[SIZES] = {0}, n_single = 0;
    lathe_status status;
    for (int32_t i = 0; i < 3; i++) { /* warm-up: the first touches of weights and buffers do not count */
        if ((status = timed(watch, 1, &t1, out, err)))
            return status;
        if (t1 > 0.1)
            break;
    }
    out->plain_s = t1;
    const bool hopeless = t1 > 0.4;
    for (int32_t pass = 0; pass < PASSES && !hopeless; pass++) {
        double own = 0.0;
        for (int32_t s = 0; s < SIZES; s++) {
            if (order[s] > rows_max)
                continue;
            double expected = 1.0;
            if (s > 0 && last[s] > 0.0) {
                expected = last[s];
            } else if (s > 0) {
                int32_t below = 0;
                for (int32_t k = 0; k < SIZES; k++)
                    if (order[k] < order[s] && n_ratio[k] > 0 && order[k] > order[below])
                        below = k;
                expected = (below ? last[below] : 1.0) * order[s] / order[below];
            }
            if (out->spent_s + expected * (own > 0.0 ? own : t1) > limit) {
                if (s == 0)
                    goto done;
                continue;
            }
            if ((status = timed(watch, order[s], &t, out, err)))
                return status;
            if (s == 0) {
                own = t > 1e-9 ? t : 1e-9;
                single[n_single++] = own;
            }
            last[s] = t / own;
            ratio[s][n_ratio[s]++] = t / own;
        }
    }
done:
    if (n_single > 0)
        out->plain_s = median(single, n_single);
    double y[SIZES], w[SIZES];
    lathe_cost_model *c = &out->cost;
    for (int32_t size = 1; size <= 64; size++)
        for (int32_t s = 0; s < SIZES; s++)
            if (order[s] == size && (n_ratio[s] > 0 || s == 0)) {
                y[c->n] = s == 0 ? 1.0 : fmax(1.0, median(ratio[s], n_ratio[s]));
                w[c->n] = n_ratio[s] > 0 ? n_ratio[s] : 1;
                out->passes[c->n] = n_ratio[s];
                c->rows[c->n++] = size;
            }
    if (c->n < 2) {
        /* Too slow to measure: a step up for the second row, then a tenth a row; the run itself corrects it.
         */
        out->assumed = true;
        *c = (lathe_cost_model){.n = 3, .rows = {1, 2, 3}, .ratio = {1.0, 1.3, 1.4}};
        return LATHE_OK;
    }
    lathe_isotonic(y + 1, w + 1, c->n - 1);
    memcpy(c->ratio, y, (size_t) c->n * sizeof *y);
    return LATHE_OK;
}
