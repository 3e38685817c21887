/* sim.c - controllers on simulated rounds: stopping time, its regret, and the theorems' bounds.
 *
 * Arm i emits Y in 1 .. L + 1 with P(Y = y) = p^(y-1) (1 - p), the rest at L + 1. The uniform of arm i in
 * round t has a counter of its own, so that all controllers see the same table of rewards. */
#include "base/rng_purpose.h"
#include "decode/controller.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

lathe_sim_params lathe_sim_params_default(void) {
    return (lathe_sim_params){.struct_size = sizeof(lathe_sim_params),
                              .length = 4,
                              .n_tokens = 1024,
                              .runs = 400,
                              .controller = "ucb",
                              .ucb_scale = 0.3};
}

/* Accepted drafts of a chain of L by inverse cumulative distribution: u < p accepts one, u < p^2 two, and so
 * on. */
static int32_t accepted_of(double p, int32_t L, double u) {
    double power = p;
    int32_t a = 0;
    while (a < L && u < power) {
        a++;
        power *= p;
    }
    return a;
}

lathe_status lathe_sim_exact_rounds(double p, int32_t length, int32_t n_tokens, double *rounds,
                                    lathe_error *err) {
    if (!(p >= 0.0 && p <= 1.0) || length < 0 || length > 256 || n_tokens < 0 || n_tokens > 10000000)
        return lathe_fail(err, LATHE_ERR_ARG,
                          "rate %g, length %d, %d tokens; a probability, 0 to 256, up to 1e7", p,
                          (int) length, (int) n_tokens);
    double *h = calloc((size_t) n_tokens + 1, sizeof *h);
    if (!h)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %d tokens", (int) n_tokens);
    for (int32_t n = 1; n <= n_tokens; n++) {
        double power = 1.0;
        h[n] = 1.0;
        for (int32_t y = 1; y <= length && y < n; y++, power *= p)
            h[n] += power * (1.0 - p) * h[n - y];
        if (length + 1 < n)
            h[n] += power * h[n - length - 1];
    }
    *rounds = h[n_tokens];
    free(h);
    return LATHE_OK;
}

static lathe_status check(const lathe_sim_params *params, lathe_error *err) {
    if (params->n_arms < 1 || params->n_arms > LATHE_ARMS_MAX)
        return lathe_fail(err, LATHE_ERR_ARG, "%d arms; 1 to %d", (int) params->n_arms, (int) LATHE_ARMS_MAX);
    if (params->length < 1 || params->length > 256 || params->n_tokens < 1 || params->n_tokens > 10000000 ||
        params->runs < 1 || params->runs > 1000000)
        return lathe_fail(err, LATHE_ERR_ARG, "length %d, %d tokens, %d runs; 1 to 256, 1 to 1e7, 1 to 1e6",
                          (int) params->length, (int) params->n_tokens, (int) params->runs);
    for (int32_t i = 0; i < params->n_arms; i++)
        if (!(params->p[i] >= 0.0 && params->p[i] <= 1.0) ||
            (params->p_later && !(params->p_later[i] >= 0.0 && params->p_later[i] <= 1.0)))
            return lathe_fail(err, LATHE_ERR_ARG, "acceptance of arm %d is %g; a probability", (int) i,
                              params->p[i]);
    if (!(params->ucb_scale >= 0.0 && params->ucb_scale <= 100.0))
        return lathe_fail(err, LATHE_ERR_ARG, "radius factor %g; 0 to 100", params->ucb_scale);
    return LATHE_OK;
}

/* The bounds of the two theorems for these arms (BanditSpec, theorems 1 and 2, delta = 1/2). */
static void bounds(const lathe_sim_params *params, const double *mu, double mu_best, double best_rounds,
                   lathe_sim_result *out) {
    const double L = params->length, K = params->n_arms, len = params->n_tokens, delta = 0.5;
    double ucb = K + 9.869604401089358 * delta / 6.0;
    for (int32_t i = 0; i < params->n_arms; i++) {
        const double gap = mu_best - mu[i];
        if (gap > 0.0)
            ucb += gap / mu_best *
                   (4.0 + 2.0 * L * L / (gap * gap) * (1.0 + 2.0 * log(L * K * len * len / (gap * delta))));
    }
    const double KlogK = K * log(K);
    out->bound_ucb = ucb;
    out->bound_exp3 = 2.0 * L * fmin(sqrt(len * KlogK), 2.0 * L * KlogK + sqrt(best_rounds * KlogK));
}

lathe_status lathe_sim_run(const lathe_sim_params *params, lathe_sim_result *result, lathe_error *err) {
    lathe_status status = check(params, err);
    if (status)
        return status;
    const int32_t K = params->n_arms, L = params->length;
    int32_t length[LATHE_ARMS_MAX];
    double mu[LATHE_ARMS_MAX], mu_best = 0.0;
    lathe_sim_result out = {.best = INFINITY};
    lathe_controller_params cp = lathe_controller_params_default();
    const lathe_controller *controller;
    if ((status = lathe_controller_find(params->controller, &controller, &cp.fixed_arm, err)))
        return status;
    for (int32_t i = 0; i < K; i++) {
        double rounds;
        length[i] = L;
        mu[i] = lathe_expected_tokens(params->p[i], L);
        mu_best = fmax(mu_best, mu[i]);
        if ((status = lathe_sim_exact_rounds(params->p[i], L, params->n_tokens, &rounds, err)))
            return status;
        out.best = fmin(out.best, rounds);
    }
    cp.n_arms = K;
    cp.length = length;
    cp.length_max = L;
    cp.ucb_scale = params->ucb_scale;
    double sum = 0.0, sum2 = 0.0;
    for (int32_t run = 0; run < params->runs; run++) {
        void *state;
        cp.seed = params->seed + ((uint64_t) (uint32_t) run << 32);
        if ((status = controller->create(&cp, &state, err)))
            return status;
        int64_t t = 0, tokens = 0;
        while (tokens < params->n_tokens) {
            const double *p = params->p_later && 2 * tokens >= params->n_tokens ? params->p_later : params->p;
            const lathe_choice choice = controller->select(state, NULL, NULL);
            double would[LATHE_ARMS_MAX];
            for (int32_t i = 0; i < K; i++)
                would[i] = 1 + accepted_of(p[i], L,
                                           lathe_uniform_at(cp.seed, LATHE_RNG_BANDIT, (uint32_t) t, 0,
                                                            (uint32_t) i));
            const int32_t Y = (int32_t) would[choice.arm];
            tokens += Y;
            t++;
            out.pulls[choice.arm] += 1.0 / params->runs;
            controller->update(
                state, choice,
                &(lathe_round_facts){.proposed = L, .accepted = Y - 1, .cost = 1.0, .would_emit = would});
        }
        controller->destroy(state);
        sum += (double) t;
        sum2 += (double) t * (double) t;
    }
    const double n = params->runs, mean = sum / n;
    out.rounds = mean;
    out.rounds_se = n > 1 ? sqrt(fmax(0.0, sum2 / n - mean * mean) / (n - 1.0)) : 0.0;
    out.regret = mean - out.best;
    for (int32_t i = 0; i < K; i++)
        out.wald += (mu_best - mu[i]) / mu_best * out.pulls[i];
    bounds(params, mu, mu_best, out.best, &out);
    *result = out;
    return LATHE_OK;
}

/* Exact cost to emit n tokens with a fixed length. */
static lathe_status fixed_cost(double alpha, const lathe_cost_model *cost, int32_t g, int32_t n_tokens,
                               double *out, lathe_error *err) {
    double rounds;
    const lathe_status status = lathe_sim_exact_rounds(alpha, g, n_tokens, &rounds, err);
    if (!status)
        *out = rounds * lathe_cost_round(cost, g);
    return status;
}

lathe_status lathe_sim_lengths(const char *name, double alpha, const lathe_cost_model *cost, int32_t length,
                               int32_t n_tokens, int32_t runs, uint64_t seed, double *mean_cost, double *se,
                               double *best, lathe_error *err) {
    const lathe_controller *controller;
    lathe_controller_params cp = lathe_controller_params_default();
    if (length < 1 || length > 256 || n_tokens < 1 || n_tokens > 10000000 || runs < 1 || runs > 1000000 ||
        !(alpha >= 0.0 && alpha <= 1.0))
        return lathe_fail(
            err, LATHE_ERR_ARG,
            "acceptance %g, length %d, %d tokens, %d runs; a probability, 1 to 256, 1 to 1e7, 1 to 1e6",
            alpha, (int) length, (int) n_tokens, (int) runs);
    lathe_status status = lathe_controller_find(name, &controller, &cp.fixed_arm, err);
    if (status)
        return status;
    double least = INFINITY;
    for (int32_t g = 0; g <= length; g++) {
        double c;
        if ((status = fixed_cost(alpha, cost, g, n_tokens, &c, err)))
            return status;
        least = fmin(least, c);
    }
    cp.n_arms = 1;
    cp.length = &length;
    cp.length_max = length;
    cp.cost = *cost;
    cp.by_cost = true;
    double sum = 0.0, sum2 = 0.0;
    for (int32_t run = 0; run < runs; run++) {
        void *state;
        cp.seed = seed + ((uint64_t) (uint32_t) run << 32);
        if ((status = controller->create(&cp, &state, err)))
            return status;
        double total = 0.0;
        for (int64_t tokens = 0, t = 0; tokens < n_tokens; t++) {
            const lathe_choice choice = controller->select(state, NULL, NULL);
            const double u = lathe_uniform_at(cp.seed, LATHE_RNG_BANDIT, (uint32_t) t, 0, 0);
            const int32_t a = accepted_of(alpha, choice.length, u);
            const double c = lathe_cost_round(cost, choice.length);
            total += c;
            tokens += a + 1;
            controller->update(state, choice,
                               &(lathe_round_facts){.proposed = choice.length, .accepted = a, .cost = c});
        }
        controller->destroy(state);
        sum += total;
        sum2 += total * total;
    }
    const double mean = sum / runs;
    *mean_cost = mean;
    *se = runs > 1 ? sqrt(fmax(0.0, sum2 / runs - mean * mean) / (runs - 1.0)) : 0.0;
    *best = least;
    return LATHE_OK;
}
