/* control_bandit.c - controllers that learn the mean reward of each arm: UCBSpec, EXP3Spec, their discounted
 * and sliding-window forms, full information (hedge), and the usual comparisons.
 *
 * The reward is the number of tokens a round emits, 1 to L + 1; by_cost divides its mean by the arm's running
 * cost, since the best arm has the largest ratio of means, not the largest mean of ratios. Plain decoding
 * emits one token: it is known, needs no radius and is left out of the number of arms. Source: BanditSpec
 * (Hou et al. 2025). */
#include "decode/controller.h"

#include "base/rng_purpose.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WINDOW_MAX = 4096 };

typedef enum kind { UCB, DUCB, SW, EPS, TS, UNIFORM, RELEASED, HEDGE, EXP3 } kind;

typedef struct bandit {
    lathe_controller_params params;
    kind kind;
    int32_t length[LATHE_ARMS_MAX];
    double n[LATHE_ARMS_MAX], sum[LATHE_ARMS_MAX], cost[LATHE_ARMS_MAX], loss[LATHE_ARMS_MAX];
    double p[LATHE_ARMS_MAX]; /* of the last draw of EXP3 */
    int32_t n_live;           /* arms that draft */
    int64_t t;                /* rounds finished */
    int32_t ring_arm[WINDOW_MAX];
    double ring_reward[WINDOW_MAX];
} bandit;

double lathe_ucb_radius(double length_max, double n_arms, double n, double t, double delta) {
    return 0.5 * length_max *
           sqrt((1.0 + n) / (n * n) * (1.0 + 2.0 * log(n_arms * t * t * sqrt(1.0 + n) / delta)));
}

double lathe_hedge_estimate(const double *rates, int32_t n) {
    double sum = 1.0, product = 1.0;
    for (int32_t k = 0; k < n; k++)
        sum += product *= rates[k];
    return sum;
}

static lathe_status create(kind which, const lathe_controller_params *params, void **state,
                           lathe_error *err) {
    if (params->n_arms < 1 || params->n_arms > LATHE_ARMS_MAX)
        return lathe_fail(err, LATHE_ERR_ARG, "%d arms; 1 to %d", (int) params->n_arms, (int) LATHE_ARMS_MAX);
    if (params->window < 1 || params->window > WINDOW_MAX)
        return lathe_fail(err, LATHE_ERR_ARG, "a window of %d rounds; 1 to %d", (int) params->window,
                          (int) WINDOW_MAX);
    bandit *b = calloc(1, sizeof *b);
    if (!b)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a controller");
    b->params = *params;
    b->kind = which;
    for (int32_t i = 0; i < params->n_arms; i++) {
        b->length[i] = params->length[i];
        b->n_live += params->length[i] > 0;
        b->cost[i] = 0.0;
    }
    b->params.length = b->length;
    b->params.draft = NULL;
    *state = b;
    return LATHE_OK;
}

static bool allowed(const bandit *b, const int32_t *limit, int32_t i) {
    return b->length[i] == 0 || !limit || limit[i] > 0;
}

static lathe_choice choice_of(const bandit *b, const int32_t *limit, int32_t i) {
    const int32_t cap = limit && b->length[i] > 0 && limit[i] < b->length[i] ? limit[i] : b->length[i];
    return (lathe_choice){i, cap};
}

/* The controller's own draw in this round: an index of its own, so that it is independent of the arms' draws.
 */
static double own_uniform(const bandit *b) {
    return lathe_uniform_at(b->params.seed, LATHE_RNG_BANDIT, (uint32_t) b->t,
                            (uint32_t) ((uint64_t) b->t >> 32), UINT32_MAX);
}

static int32_t pick_weighted(const bandit *b, const double *w, double u) {
    double sum = 0.0, running = 0.0;
    int32_t last = 0;
    for (int32_t i = 0; i < b->params.n_arms; i++)
        sum += w[i];
    for (int32_t i = 0; i < b->params.n_arms; i++) {
        if (!(w[i] > 0.0))
            continue;
        running += w[i];
        last = i;
        if (running > u * sum)
            break;
    }
    return last;
}

static double index_of(bandit *b, int32_t i) {
    if (b->length[i] == 0)
        return b->params.by_cost && b->cost[i] > 0.0 ? 1.0 / b->cost[i] : 1.0;
    const double n = b->n[i], mean = b->sum[i] / n, L = b->params.length_max;
    double bonus = 0.0;
    if (b->kind == UCB || b->kind == DUCB || b->kind == SW) {
        double t = (double) b->t;
        if (b->kind != UCB) {
            t = 0.0;
            for (int32_t k = 0; k < b->params.n_arms; k++)
                t += b->n[k];
        }
        bonus = b->params.ucb_scale * lathe_ucb_radius(L, b->n_live, n, fmax(t, 1.0), b->params.ucb_delta);
    } else if (b->kind == RELEASED) {
        bonus = sqrt(6.0 * log((double) b->t) / (double) b->t);
    }
    const double value = mean + bonus;
    return b->params.by_cost && b->cost[i] > 0.0 ? value / b->cost[i] : value;
}

static lathe_choice select_exp3(bandit *b, const int32_t *limit) {
    const int32_t K = b->params.n_arms;
    double least = INFINITY, sum = 0.0;
    for (int32_t i = 0; i < K; i++)
        if (allowed(b, limit, i))
            least = fmin(least, b->loss[i]);
    const double eta = sqrt(log((double) K) / ((double) (b->t + 1) * K));
    for (int32_t i = 0; i < K; i++)
        sum += b->p[i] = allowed(b, limit, i) ? exp(-eta * (b->loss[i] - least)) : 0.0;
    for (int32_t i = 0; i < K; i++) {
        b->p[i] /= sum;
        if (b->p[i] > 0.0)
            b->p[i] = fmax(1e-12, (1.0 - b->params.exp3_mix) * b->p[i] + b->params.exp3_mix / K);
    }
    return choice_of(b, limit, pick_weighted(b, b->p, own_uniform(b)));
}

static lathe_choice select_arm(void *state, const int32_t *limit, const double *features) {
    (void) features;
    bandit *b = state;
    const int32_t K = b->params.n_arms;
    if (b->kind == EXP3)
        return select_exp3(b, limit);
    if (b->kind == UNIFORM) {
        double w[LATHE_ARMS_MAX];
        for (int32_t i = 0; i < K; i++)
            w[i] = allowed(b, limit, i) ? 1.0 : 0.0;
        return choice_of(b, limit, pick_weighted(b, w, own_uniform(b)));
    }
    const double first = b->kind == RELEASED ? 2.0 : b->kind == DUCB || b->kind == SW ? 1e-3 : 1.0;
    if (b->kind != HEDGE && b->kind != TS)
        for (int32_t i = 0; i < K; i++)
            if (b->length[i] > 0 && allowed(b, limit, i) && b->n[i] < first)
                return choice_of(b, limit, i);
    if (b->kind == EPS && own_uniform(b) < b->params.eps) {
        double w[LATHE_ARMS_MAX];
        for (int32_t i = 0; i < K; i++)
            w[i] = allowed(b, limit, i) ? 1.0 : 0.0;
        return choice_of(b, limit, pick_weighted(b, w, own_uniform(b) / b->params.eps));
    }
    lathe_rng normal = lathe_rng_new(b->params.seed, LATHE_RNG_BANDIT, UINT32_MAX);
    normal.position = (uint64_t) b->t * 2 * LATHE_ARMS_MAX;
    int32_t best = -1;
    double best_value = -INFINITY;
    for (int32_t i = 0; i < K; i++) {
        if (!allowed(b, limit, i))
            continue;
        double value;
        if (b->kind == TS && b->length[i] > 0) {
            const double L = b->params.length_max;
            value = (b->sum[i] + 0.5 * (L + 2.0)) / (b->n[i] + 1.0) +
                    0.25 * L / sqrt(b->n[i] + 1.0) * lathe_rng_normal(&normal);
            value = b->params.by_cost && b->cost[i] > 0.0 ? value / b->cost[i] : value;
        } else if (b->kind == HEDGE) {
            /* The largest weight exp(-eta sum of losses) is the least sum of losses, whatever eta. */
            value = b->n[i] > 0.0 ? index_of(b, i) : (double) b->params.length_max + 1.0;
            if (b->length[i] == 0)
                value = index_of(b, i);
        } else {
            value = index_of(b, i);
        }
        if (value > best_value) {
            best = i;
            best_value = value;
        }
    }
    return best < 0 ? (lathe_choice){0, 0} : choice_of(b, limit, best);
}

static void update(void *state, lathe_choice choice, const lathe_round_facts *facts) {
    bandit *b = state;
    const int32_t i = choice.arm, K = b->params.n_arms;
    const double L = b->params.length_max, Y = facts->accepted + 1;
    if (facts->cost > 0.0 && isfinite(facts->cost)) {
        /* One page fault must not blacken an arm: a cost counts for five times its usual at most. */
        const double cost = b->cost[i] > 0.0 ? fmin(facts->cost, 5.0 * b->cost[i]) : facts->cost;
        b->cost[i] = b->cost[i] > 0.0 ? 0.9 * b->cost[i] + 0.1 * cost : cost;
    }
    if (b->kind == EXP3)
        b->loss[i] += (L + 1.0 - Y) / (L * fmax(b->p[i], 1e-12));
    if (b->kind == DUCB)
        for (int32_t k = 0; k < K; k++) {
            b->n[k] *= b->params.discount;
            b->sum[k] *= b->params.discount;
        }
    if (b->kind == SW) {
        const int32_t slot = (int32_t) (b->t % b->params.window);
        if (b->t >= b->params.window) {
            b->n[b->ring_arm[slot]] -= 1.0;
            b->sum[b->ring_arm[slot]] -= b->ring_reward[slot];
        }
        b->ring_arm[slot] = i;
        b->ring_reward[slot] = Y;
    }
    if (b->kind == HEDGE && facts->would_emit) {
        for (int32_t k = 0; k < K; k++)
            if (isfinite(facts->would_emit[k]) && facts->would_emit[k] >= 1.0) {
                b->n[k] += 1.0;
                b->sum[k] += facts->would_emit[k];
            }
    } else {
        b->n[i] += 1.0;
        b->sum[i] += Y;
    }
    b->t++;
}

static void destroy(void *state) {
    free(state);
}

#define BANDIT(id, KIND, text)                                                                               \
    static lathe_status create_##id(const lathe_controller_params *params, void **state, lathe_error *err) { \
        return create(KIND, params, state, err);                                                             \
    }                                                                                                        \
    const lathe_controller lathe_controller_##id = {.name = #id,                                             \
                                                    .summary = text,                                         \
                                                    .create = create_##id,                                   \
                                                    .select = select_arm,                                    \
                                                    .update = update,                                        \
                                                    .destroy = destroy}

BANDIT(ucb, UCB, "UCBSpec: upper confidence bounds on tokens per round");
BANDIT(exp3, EXP3, "EXP3Spec: exponential weights on estimated losses");
BANDIT(ducb, DUCB, "ucb with old rounds discounted");
BANDIT(sw, SW, "ucb over the last rounds only");
BANDIT(hedge, HEDGE, "full information: every arm is scored against each committed text");
BANDIT(eps, EPS, "comparison: the best mean, sometimes any arm");
BANDIT(ts, TS, "comparison: Gaussian Thompson sampling");
BANDIT(uniform, UNIFORM, "comparison: any arm");
BANDIT(released, RELEASED, "comparison: the same bonus for every arm, which is greedy");
