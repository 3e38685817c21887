/* controller.h - which arm drafts the next round, and how much.
 *
 * An arm is a proposer with a largest length; arm of length 0 is plain decoding. A controller sees only what
 * is past, and costs in units of a plain step. */
#ifndef LATHE_DECODE_CONTROLLER_H
#define LATHE_DECODE_CONTROLLER_H

#include "lathe/decode.h"

enum { LATHE_ARMS_MAX = 32, LATHE_FEATURES_MAX = 12 };

typedef struct lathe_controller_params {
    int32_t n_arms;
    const int32_t *length; /* [n_arms] most drafted tokens; 0: plain */
    const double *draft;   /* [n_arms] cost of a drafted token; NULL: 0 */
    int32_t length_max;    /* L */
    bool by_cost;          /* rewards are divided by costs; else tokens a round alone count */
    lathe_cost_model cost;
    uint64_t seed;
    int32_t fixed_arm;
    double ucb_scale, ucb_delta, discount, eps, hazard_bonus, exp3_mix, threshold, lin_lambda, lin_beta;
    int32_t window, n_features;
} lathe_controller_params;

lathe_controller_params lathe_controller_params_default(void);

typedef struct lathe_choice {
    int32_t arm, length;
} lathe_choice;

typedef struct lathe_round_facts {
    int32_t proposed, accepted;
    double cost;              /* of the round, in plain steps */
    const double *would_emit; /* [n_arms] tokens each arm would have emitted; NULL: unknown */
    const double *features;   /* [n_features] as given to select; NULL: none */
} lathe_round_facts;

typedef struct lathe_controller {
    const char *name, *summary;
    LATHE_NODISCARD lathe_status (*create)(const lathe_controller_params *params, void **state,
                                           lathe_error *err);
    /* limit [n_arms]: most drafts allowed now (NULL: no limit); features [n_features] or NULL. */
    lathe_choice (*select)(void *state, const int32_t *limit, const double *features);
    void (*update)(void *state, lathe_choice choice, const lathe_round_facts *facts);
    void (*destroy)(void *state);
    /* What is known of the drafts of an arm before select: A [n], non-increasing, the probability that the
     * first k + 1 of them are all accepted (of trees: the nodes' probabilities, the largest first). Holds for
     * the next select only. NULL: has no use. */
    void (*offer)(void *state, int32_t arm, const double *A, int32_t n);
    /* Costs as measured by now; draft [n_arms]. NULL: has no use. */
    void (*reprice)(void *state, const lathe_cost_model *cost, const double *draft);
    /* Another text begins: what the ones before taught is a first guess from now on. NULL: has no use. */
    void (*turn)(void *state);
    /* What an arm learnt by depth: how many drafts were reached and how many of them were right; [n] each.
     * set: taken over from an earlier run. NULL: has no such counts. */
    void (*counts)(void *state, int32_t arm, double *reached, double *ok, int32_t n, bool set);
} lathe_controller;

extern const lathe_controller *const lathe_controllers[];
extern const size_t lathe_n_controllers;

/* "ucb", or "fixed:3" (then *fixed_arm is set). ARG lists the names. */
LATHE_NODISCARD lathe_status lathe_controller_find(const char *name, const lathe_controller **controller,
                                                   int32_t *fixed_arm, lathe_error *err);

/* Half-width of UCBSpec's interval after t rounds for an arm of n pulls. Source: BanditSpec, equation 5. */
double lathe_ucb_radius(double length_max, double n_arms, double n, double t, double delta);
/* E[tokens] of a chain estimated without bias from acceptance rates of verified positions: 1 + rates[0] +
 * rates[0] rates[1] + ... */
double lathe_hedge_estimate(const double *rates, int32_t n);
/* Dinkelbach's stop with look-ahead: how many of A[0 .. n-1] (probability that the first k are all accepted,
 * k = 1 ..) to draft at a long-run rate of rho tokens per cost, starting with `drafted` of them made. */
int32_t lathe_marginal_length(const double *A, int32_t n, int32_t drafted, double rho,
                              const lathe_cost_model *cost);

extern const lathe_controller lathe_controller_fixed, lathe_controller_marginal, lathe_controller_hazard,
    lathe_controller_threshold, lathe_controller_ucb, lathe_controller_exp3, lathe_controller_ducb,
    lathe_controller_sw, lathe_controller_linucb, lathe_controller_hedge, lathe_controller_eps,
    lathe_controller_ts, lathe_controller_uniform, lathe_controller_released;

#endif
