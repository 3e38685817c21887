/** @file decode.h
 * Decoding: from logits to text, and speculation that makes it faster without changing its law. */
#ifndef LATHE_DECODE_H
#define LATHE_DECODE_H

#include "lathe/model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* === Speculation ================================================================================= */
/* Drafts are made by a proposer, judged by a verifier, and their kind and length chosen by a controller; the parts
 * below need no model: checks, cost arithmetic, optimal trees, simulation, n-gram files. */

/* --- Checks of verifiers --- */

/** A check passes where its exact error is below 1e-12, or its chi-square p-value above this (the false alarm). */
#define LATHE_VERIFY_CHECK_ALPHA 1e-7

typedef struct lathe_verify_case {
    const char *name, *verifier, *proposer;
    bool valid;       /**< false for the known wrong ones, which must not pass */
    bool pass;
    double p_value;   /**< of a chi-square test over whole generations; -1: exact enumeration */
    double max_error; /**< largest |law - target law| over texts; -1: statistical */
    int64_t n;        /**< paths walked, or generations drawn */
} lathe_verify_case;

LATHE_API size_t lathe_verify_check_count(void);
/** Runs check i. @param n generations of a statistical one (1000 to 1e8; power above 0.999 for a total-variation
 * distance of 0.04 from 20,000 on) */
LATHE_API LATHE_NODISCARD lathe_status lathe_verify_check_run(size_t i, uint64_t seed, int64_t n, lathe_verify_case *out,
                                                              lathe_error *err);
/** P(X > x) for a chi-square variable with df degrees of freedom. */
LATHE_API double lathe_chi_square_tail(double x, int32_t df);

/* --- What a round costs and yields --- */

/** Costs in units of a target step of one token. */
typedef struct lathe_cost_model {
    int32_t n;          /**< measured sizes, 1 to 16 */
    int32_t rows[16];   /**< ascending, rows[0] = 1 */
    double ratio[16];   /**< cost of a step of rows[i] tokens; ratio[0] = 1, non-decreasing */
    double draft;       /**< cost of one drafted token */
    double overhead;    /**< cost of a round besides */
} lathe_cost_model;

/** v(rows): linear between measured sizes; behind the last with its last slope, at least 0.02 a row. */
LATHE_API double lathe_cost_verify(const lathe_cost_model *cost, int32_t rows);
/** Cost of a round of k drafts. */
LATHE_API double lathe_cost_round(const lathe_cost_model *cost, int32_t k);
/** v(n) = 1 + slope (n - 1) where nothing was measured. */
LATHE_API lathe_cost_model lathe_cost_linear(double slope, double draft);
/** v(1), v(2), ... as given: [n], n <= 16. */
LATHE_API LATHE_NODISCARD lathe_status lathe_cost_from_list(const double *v, int32_t n, double draft, lathe_cost_model *cost,
                                                            lathe_error *err);
/** E[tokens of a round] where each draft is accepted with probability alpha. Source: Leviathan et al. 2023. */
LATHE_API double lathe_expected_tokens(double alpha, int32_t gamma);
/** The length in 0 .. length_max with the largest tokens per cost (ties: shortest). @param speedup may be NULL */
LATHE_API int32_t lathe_best_length(double alpha, int32_t length_max, const lathe_cost_model *cost, double *speedup);
/** Smallest acceptance at which one drafted token pays. */
LATHE_API double lathe_break_even(const lathe_cost_model *cost);

/** The tree of n nodes (root included) with the largest expected number of accepted tokens where the k-th child of an
 * accepted node is the right one with probability rates[k]. Source: Chen et al. 2024 (Sequoia).
 * @param depth_max  0: any
 * @param parent, rank  [n] out: parent and child rank of each node, parents first; may be NULL
 * @param value  out: the expectation, root counted */
LATHE_API LATHE_NODISCARD lathe_status lathe_sequoia_tree(const double *rates, int32_t n_rates, int32_t n, int32_t depth_max,
                                                          int32_t *parent, int32_t *rank, double *value, lathe_error *err);

/* --- Controllers in simulation --- */

typedef struct lathe_sim_params {
    size_t struct_size;
    const double *p;        /**< [n_arms] arm i emits 1 + (accepted of L) tokens, each accepted with p[i] */
    const double *p_later;  /**< [n_arms] rates from half of the tokens on; NULL: the same */
    int32_t n_arms;
    int32_t length;         /**< L, 1 to 256 */
    int32_t n_tokens;       /**< of an answer */
    int32_t runs;
    uint64_t seed;
    const char *controller; /**< ucb, exp3, ducb, sw, hedge, eps, ts, uniform, released, fixed:I */
    double ucb_scale;       /**< factor on the radius: 0.3; 1 in the theorem */
} lathe_sim_params;

typedef struct lathe_sim_result {
    double rounds, rounds_se;      /**< mean stopping time and its standard error */
    double best;                   /**< least expected stopping time of a fixed arm, exact */
    double regret;                 /**< rounds - best */
    double wald;                   /**< sum over arms of gap / best mean x mean pulls: regret but for the last round */
    double bound_ucb, bound_exp3;  /**< the theorems' bounds */
    double pulls[32];              /**< mean pulls of each arm */
} lathe_sim_result;

LATHE_API lathe_sim_params lathe_sim_params_default(void);
LATHE_API LATHE_NODISCARD lathe_status lathe_sim_run(const lathe_sim_params *params, lathe_sim_result *result, lathe_error *err);
/** Exact E[rounds] to emit n tokens with one arm of rate p and length L. */
LATHE_API LATHE_NODISCARD lathe_status lathe_sim_exact_rounds(double p, int32_t length, int32_t n_tokens, double *rounds,
                                                              lathe_error *err);
/** Mean cost to emit n tokens where a controller of lengths drafts up to `length` tokens with acceptance alpha;
 * `best` is the exact cost of the best fixed length. */
LATHE_API LATHE_NODISCARD lathe_status lathe_sim_lengths(const char *controller, double alpha, const lathe_cost_model *cost,
                                                         int32_t length, int32_t n_tokens, int32_t runs, uint64_t seed,
                                                         double *mean_cost, double *se, double *best, lathe_error *err);

/* --- COOL-SD on a Markov chain --- */

typedef struct lathe_cool_point {
    double tokens_per_round;
    double bound;          /**< B: bound on the total variation of a round from a stationary start, averaged over states */
    double stationary_tv;  /**< exact total variation between stationary laws of token pairs */
} lathe_cool_point;

/** Exact analysis for order-1 target P and draft Q [n][n] (rows sum to one), n <= 64.
 * @param schedule "excess", "mean", "uniform", "linear" or "reverse" */
LATHE_API LATHE_NODISCARD lathe_status lathe_cool_analyse(const double *P, const double *Q, int32_t n, int32_t length,
                                                          double delta, double nu, const char *schedule,
                                                          lathe_cool_point *point, lathe_error *err);

/** Names for messages and help, NULL behind the last. */
LATHE_API const char *lathe_verifier_name(size_t i);
LATHE_API const char *lathe_controller_name(size_t i);

#ifdef __cplusplus
}
#endif
#endif
