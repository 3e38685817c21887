/* cool.c - COOL-SD on a Markov chain, exactly: tokens a round, the bound B, and the stationary law of token
 * pairs.
 *
 * The state of the running text is (last token, drafts accepted so far in this round); its stationary law
 * comes from power iteration. The total variation of a single round does not fall when the relaxation is
 * annealed, the bound and the pair law do: these two are reported. */
#include "decode/verifier.h"
#include "lathe/decode.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N_MAX = 64, L_MAX = 64 };

typedef struct step_law {
    double *a; /* [n][n] accepted mass from x to y */
    double *g; /* [n][n] rejected mass, resampled, from x to y */
    double *b; /* [n] one-step error */
} step_law;

static void fill_step(const double *P, const double *Q, int32_t n, double omega, step_law *s) {
    for (int32_t x = 0; x < n; x++) {
        const double *p = P + (size_t) x * (size_t) n, *q = Q + (size_t) x * (size_t) n;
        double accepted = 0.0, over = 0.0, left = 0.0;
        for (int32_t y = 0; y < n; y++) {
            const double a = fmin(q[y], omega * p[y]);
            s->a[x * n + y] = a;
            accepted += a;
            over += fmax(a - p[y], 0.0);
            left += fmax(p[y] - a, 0.0);
        }
        s->b[x] = over;
        for (int32_t y = 0; y < n; y++)
            s->g[x * n + y] =
                left > 1e-300 ? (1.0 - accepted) * fmax(p[y] - s->a[x * n + y], 0.0) / left : 0.0;
    }
}

static bool is_law(const double *row, int32_t n) {
    double sum = 0.0;
    for (int32_t y = 0; y < n; y++) {
        if (!(row[y] >= 0.0))
            return false;
        sum += row[y];
    }
    return fabs(sum - 1.0) < 1e-9;
}

lathe_status lathe_cool_mode_find(const char *name, int32_t *mode, lathe_error *err) {
    static const char *const names[] = {"excess", "mean", "uniform", "linear", "reverse"};
    for (int32_t i = 0; i < (int32_t) LATHE_LEN(names); i++)
        if (strcmp(names[i], name) == 0) {
            *mode = i;
            return LATHE_OK;
        }
    return lathe_fail(err, LATHE_ERR_ARG, "no schedule '%s'; excess, mean, uniform, linear, reverse", name);
}

lathe_status lathe_cool_analyse(const double *P, const double *Q, int32_t n, int32_t L, double delta,
                                double nu, const char *schedule, lathe_cool_point *point, lathe_error *err) {
    lathe_verify_options options = lathe_verify_options_default();
    options.cool_delta = delta;
    options.cool_nu = nu;
    lathe_status status = lathe_cool_mode_find(schedule, &options.cool_mode, err);
    if (status)
        return status;
    if (n < 2 || n > N_MAX || L < 1 || L > L_MAX || !(delta >= 1.0 && delta <= 1e12) ||
        !(nu >= 0.0 && nu <= 3.0))
        return lathe_fail(err, LATHE_ERR_ARG,
                          "%d ids, length %d, delta %g, nu %g; 2 to 64, 1 to 64, at least 1, 0 to 3", (int) n,
                          (int) L, delta, nu);
    for (int32_t x = 0; x < n; x++)
        if (!is_law(P + (size_t) x * (size_t) n, n) || !is_law(Q + (size_t) x * (size_t) n, n))
            return lathe_fail(err, LATHE_ERR_INPUT,
                              "row %d of a table is no law: probabilities that sum to one", (int) x + 1);
    const size_t nn = (size_t) n * (size_t) n, per = 2 * nn + (size_t) n;
    double omega[L_MAX];
    lathe_cool_schedule(&options, L, omega);
    double *memory =
        calloc((size_t) L * per + 2 * (size_t) (L + 1) * (size_t) n + nn + 2 * (size_t) n, sizeof *memory);
    if (!memory)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the analysis");
    step_law steps[L_MAX];
    for (int32_t i = 0; i < L; i++) {
        double *at = memory + (size_t) i * per;
        steps[i] = (step_law){at, at + nn, at + 2 * nn};
        fill_step(P, Q, n, omega[i], &steps[i]);
    }
    double *pi = memory + (size_t) L * per, *next = pi + (size_t) (L + 1) * (size_t) n,
           *pair = next + (size_t) (L + 1) * (size_t) n;
    double *mu = pair + nn, *mu2 = mu + n;
    for (int32_t x = 0; x < n; x++) {
        pi[x] = 1.0 / n; /* state (x, i) at [i][x] */
        mu[x] = 1.0 / n;
    }
    for (int32_t sweep = 0; sweep < 100000; sweep++) {
        double change = 0.0;
        memset(next, 0, (size_t) (L + 1) * (size_t) n * sizeof *next);
        for (int32_t i = 0; i <= L; i++)
            for (int32_t x = 0; x < n; x++) {
                const double w = pi[i * n + x];
                for (int32_t y = 0; y < n; y++) {
                    if (i == L) {
                        next[y] += w * P[x * n + y];
                        continue;
                    }
                    next[(i + 1) * n + y] += w * steps[i].a[x * n + y];
                    next[y] += w * steps[i].g[x * n + y];
                }
            }
        for (int32_t k = 0; k < (L + 1) * n; k++) {
            /* Half a step keeps a chain of period L + 1 from cycling; the fixed point is the same. */
            const double mixed = 0.5 * (next[k] + pi[k]);
            change += fabs(mixed - pi[k]);
            pi[k] = mixed;
        }
        memset(mu2, 0, (size_t) n * sizeof *mu2);
        for (int32_t x = 0; x < n; x++)
            for (int32_t y = 0; y < n; y++)
                mu2[y] += mu[x] * P[x * n + y];
        for (int32_t x = 0; x < n; x++) {
            change += fabs(0.5 * (mu2[x] - mu[x]));
            mu[x] = 0.5 * (mu[x] + mu2[x]);
        }
        if (change < 1e-15 * n)
            break;
    }
    double starts = 0.0, errors = 0.0, tv = 0.0;
    for (int32_t x = 0; x < n; x++)
        starts += pi[x];
    for (int32_t i = 0; i <= L; i++)
        for (int32_t x = 0; x < n; x++) {
            errors += i < L ? pi[i * n + x] * steps[i].b[x] : 0.0;
            for (int32_t y = 0; y < n; y++)
                pair[x * n + y] +=
                    pi[i * n + x] * (i == L ? P[x * n + y] : steps[i].a[x * n + y] + steps[i].g[x * n + y]);
        }
    for (int32_t x = 0; x < n; x++)
        for (int32_t y = 0; y < n; y++)
            tv += 0.5 * fabs(pair[x * n + y] - mu[x] * P[x * n + y]);
    *point =
        (lathe_cool_point){.tokens_per_round = 1.0 / starts, .bound = errors / starts, .stationary_tv = tv};
    free(memory);
    return LATHE_OK;
}
