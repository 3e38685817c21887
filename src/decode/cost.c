/* cost.c - what a round costs and yields, in units of a target step of one token. */
#include "lathe/decode.h"

#include <math.h>

double lathe_cost_verify(const lathe_cost_model *cost, int32_t rows) {
    if (rows <= 1)
        return 1.0;
    for (int32_t i = 1; i < cost->n; i++)
        if (rows <= cost->rows[i]) {
            const double t =
                (double) (rows - cost->rows[i - 1]) / (double) (cost->rows[i] - cost->rows[i - 1]);
            return cost->ratio[i - 1] + t * (cost->ratio[i] - cost->ratio[i - 1]);
        }
    const int32_t last = cost->n - 1;
    double slope = 0.02;
    if (last >= 1)
        slope =
            (cost->ratio[last] - cost->ratio[last - 1]) / (double) (cost->rows[last] - cost->rows[last - 1]);
    return cost->ratio[last] + fmax(slope, 0.02) * (double) (rows - cost->rows[last]);
}

double lathe_cost_round(const lathe_cost_model *cost, int32_t k) {
    return cost->draft * k + lathe_cost_verify(cost, k + 1) + (k > 0 ? cost->overhead : 0.0);
}

lathe_cost_model lathe_cost_linear(double slope, double draft) {
    const double s = slope > 0.02 ? slope : 0.02;
    return (lathe_cost_model){.n = 2, .rows = {1, 2}, .ratio = {1.0, 1.0 + s}, .draft = draft};
}

lathe_status lathe_cost_from_list(const double *v, int32_t n, double draft, lathe_cost_model *cost,
                                  lathe_error *err) {
    if (n < 1 || n > 16)
        return lathe_fail(err, LATHE_ERR_ARG, "%d costs; 1 to 16: those of steps of 1, 2, ... tokens",
                          (int) n);
    if (!(draft >= 0.0 && draft <= 1e6))
        return lathe_fail(err, LATHE_ERR_ARG, "a drafted token costs %g; 0 or more plain steps", draft);
    for (int32_t i = 0; i < n; i++)
        if (!(v[i] >= 1.0 && v[i] <= 1e6) || (i == 0 && v[0] != 1.0) || (i > 0 && v[i] < v[i - 1]))
            return lathe_fail(err, LATHE_ERR_ARG, "cost %d is %g; the first is 1, and they never fall",
                              (int) i + 1, v[i]);
    *cost = (lathe_cost_model){.n = n, .draft = draft};
    for (int32_t i = 0; i < n; i++) {
        cost->rows[i] = i + 1;
        cost->ratio[i] = v[i];
    }
    return LATHE_OK;
}

double lathe_expected_tokens(double alpha, int32_t gamma) {
    double sum = 1.0, power = 1.0;
    for (int32_t k = 0; k < gamma; k++)
        sum += power *= alpha;
    return sum;
}

int32_t lathe_best_length(double alpha, int32_t length_max, const lathe_cost_model *cost, double *speedup) {
    int32_t best = 0;
    double best_rate = 1.0;
    for (int32_t g = 1; g <= length_max; g++) {
        const double rate = lathe_expected_tokens(alpha, g) / lathe_cost_round(cost, g);
        if (rate > best_rate) {
            best = g;
            best_rate = rate;
        }
    }
    if (speedup)
        *speedup = best_rate;
    return best;
}

double lathe_break_even(const lathe_cost_model *cost) {
    return lathe_cost_round(cost, 1) - 1.0;
}
