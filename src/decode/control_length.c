/* control_length.c - controllers that know where in a chain drafts fail: fixed, hazard, marginal, threshold.
 *
 * A round of length g tells at each reached position whether its draft was accepted, so one round teaches all
 * lengths; the hazards of an arm's positions, with the cost curve, give the best length at once. */
#include "decode/controller.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* FIRST_GUESS: observations that stand for all earlier texts when a new one begins. MEMORY: those of one
 * text. */
enum { DEPTH = 256, FIRST_GUESS = 4, MEMORY = 128 };

typedef enum kind { FIXED, HAZARD, MARGINAL, THRESHOLD } kind;

typedef struct lengths {
    kind kind;
    int32_t n_arms, fixed_arm, length[LATHE_ARMS_MAX];
    double draft[LATHE_ARMS_MAX], bonus, threshold;
    double tokens, costs;         /* running means of marginal's rate */
    double usual[LATHE_ARMS_MAX]; /* running acceptance of a draft; stands for positions never reached */
    lathe_cost_model cost;
    int64_t t;
    double reached[LATHE_ARMS_MAX][DEPTH], ok[LATHE_ARMS_MAX][DEPTH];
    int32_t n_offered[LATHE_ARMS_MAX]; /* -1: nothing is known of the drafts */
    double offered[LATHE_ARMS_MAX][DEPTH];
} lengths;

static lathe_status create(kind which, const lathe_controller_params *params, void **state,
                           lathe_error *err) {
    if (params->n_arms < 1 || params->n_arms > LATHE_ARMS_MAX)
        return lathe_fail(err, LATHE_ERR_ARG, "%d arms; 1 to %d", (int) params->n_arms, (int) LATHE_ARMS_MAX);
    if (which == FIXED && (params->fixed_arm < 0 || params->fixed_arm >= params->n_arms))
        return lathe_fail(err, LATHE_ERR_ARG, "fixed arm %d; there are %d, from 0", (int) params->fixed_arm,
                          (int) params->n_arms);
    if (!(params->threshold >= 0.0 && params->threshold <= 1.0))
        return lathe_fail(err, LATHE_ERR_ARG, "threshold %g; 0 to 1", params->threshold);
    for (int32_t i = 0; i < params->n_arms; i++)
        if (params->length[i] < 0 || params->length[i] > DEPTH)
            return lathe_fail(err, LATHE_ERR_ARG, "arm %d drafts %d tokens; 0 to %d", (int) i,
                              (int) params->length[i], (int) DEPTH);
    lengths *s = calloc(1, sizeof *s);
    if (!s)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a controller");
    s->kind = which;
    s->n_arms = params->n_arms;
    s->fixed_arm = params->fixed_arm;
    s->bonus = params->hazard_bonus;
    s->threshold = params->threshold;
    s->cost = params->cost;
    s->tokens = s->costs = 1.0;
    for (int32_t i = 0; i < s->n_arms; i++) {
        s->length[i] = params->length[i];
        s->n_offered[i] = -1;
        s->usual[i] = 1.0; /* hopeful, so that a first draft is made */
        s->draft[i] = params->draft ? params->draft[i] : params->cost.draft;
    }
    *state = s;
    return LATHE_OK;
}

static int32_t capped(const lengths *s, const int32_t *limit, int32_t i) {
    return limit && limit[i] < s->length[i] ? limit[i] : s->length[i];
}

int32_t lathe_marginal_length(const double *A, int32_t n, int32_t drafted, double rho,
                              const lathe_cost_model *cost) {
    int32_t k = drafted;
    while (k < n) {
        double gain = 0.0;
        bool pays = false;
        for (int32_t j = k + 1; j <= n && !pays; j++) {
            gain += A[j - 1];
            pays = gain > rho * (lathe_cost_round(cost, j) - lathe_cost_round(cost, k));
        }
        if (!pays)
            break;
        k++;
    }
    return k;
}

/* A[k - 1] = probability that the first k drafts are accepted, by the hazards of arm i. */
static void survival(const lengths *s, int32_t i, int32_t n, double bonus, double *A) {
    double product = 1.0;
    for (int32_t k = 0; k < n; k++) {
        const double r = s->reached[i][k];
        const double mean = s->kind == MARGINAL && !(r > 0.0) ? s->usual[i] : (s->ok[i][k] + 1.0) / (r + 2.0);
        const double h = mean + bonus * sqrt(log((double) s->t + 1.0) / (2.0 * (r + 1.0)));
        A[k] = product *= fmin(1.0, h);
    }
}

static int32_t threshold_length(const double *A, int32_t n, double h) {
    int32_t k = n > 0 ? 1 : 0;
    while (k > 0 && k < n && !(1.0 - A[k - 1] > h))
        k++;
    return k;
}

static lathe_choice select_length(void *state, const int32_t *limit, const double *features) {
    (void) features;
    lengths *s = state;
    if (s->kind == FIXED)
        return (lathe_choice){s->fixed_arm, capped(s, limit, s->fixed_arm)};
    double A[DEPTH], best_rate = -1.0;
    lathe_choice best = {0, 0};
    for (int32_t i = 0; i < s->n_arms; i++) {
        int32_t n = capped(s, limit, i);
        lathe_cost_model cost = s->cost;
        cost.draft = s->draft[i];
        if (s->n_offered[i] >= 0) {
            n = s->n_offered[i] < n ? s->n_offered[i] : n;
            memcpy(A, s->offered[i], (size_t) n * sizeof *A);
        } else {
            survival(s, i, n, s->kind == HAZARD ? s->bonus : 0.0, A);
        }
        /* Offers are picked from many, so the best of them flatters itself: it must win clearly. */
        const double doubt = s->kind == HAZARD && s->n_offered[i] >= 0 ? 0.02 : 0.0;
        int32_t from = 0, to = n;
        if (s->kind == MARGINAL)
            from = to = lathe_marginal_length(A, n, 0, s->tokens / s->costs, &cost);
        else if (s->kind == THRESHOLD)
            from = to = threshold_length(A, n, s->threshold);
        double expected = 1.0;
        for (int32_t g = 0; g <= to; g++) {
            if (g > 0)
                expected += A[g - 1];
            const double rate = expected / lathe_cost_round(&cost, g) - (g > 0 ? doubt : 0.0);
            if (g >= from && rate > best_rate) {
                best_rate = rate;
                best = (lathe_choice){i, g};
            }
        }
        s->n_offered[i] = -1;
    }
    return best;
}

/* Keeps the share and lets it count for at most `most` observations. */
static void fade(double *reached, double *ok, double most) {
    if (*reached > most) {
        *ok *= most / *reached;
        *reached = most;
    }
}

static void turn(void *state) {
    lengths *s = state;
    s->t = s->t < FIRST_GUESS ? s->t : FIRST_GUESS;
    for (int32_t i = 0; i < s->n_arms; i++)
        for (int32_t k = 0; k < s->length[i]; k++)
            fade(&s->reached[i][k], &s->ok[i][k], FIRST_GUESS);
}

static void counts(void *state, int32_t arm, double *reached, double *ok, int32_t n, bool set) {
    lengths *s = state;
    for (int32_t k = 0; k < n && k < DEPTH; k++) {
        double *mine = &s->reached[arm][k], *my_ok = &s->ok[arm][k];
        if (set) {
            *mine = reached[k];
            *my_ok = ok[k];
        } else {
            reached[k] = *mine;
            ok[k] = *my_ok;
        }
    }
}

static void update(void *state, lathe_choice choice, const lathe_round_facts *facts) {
    lengths *s = state;
    const int32_t i = choice.arm;
    for (int32_t k = 0; k < facts->proposed && k <= facts->accepted && k < DEPTH; k++) {
        if (s->kind != THRESHOLD)
            fade(&s->reached[i][k], &s->ok[i][k], MEMORY);
        s->reached[i][k] += 1.0;
        s->ok[i][k] += k < facts->accepted;
        s->usual[i] += 0.05 * ((k < facts->accepted) - s->usual[i]);
    }
    if (facts->cost > 0.0 && isfinite(facts->cost)) {
        s->tokens = 0.98 * s->tokens + facts->accepted + 1;
        s->costs = 0.98 * s->costs + facts->cost;
    }
    s->t++;
}

static void offer(void *state, int32_t arm, const double *A, int32_t n) {
    lengths *s = state;
    s->n_offered[arm] = n < DEPTH ? n : DEPTH;
    memcpy(s->offered[arm], A, (size_t) s->n_offered[arm] * sizeof *A);
}

static void reprice(void *state, const lathe_cost_model *cost, const double *draft) {
    lengths *s = state;
    s->cost = *cost;
    for (int32_t i = 0; i < s->n_arms; i++)
        s->draft[i] = draft[i];
}

static void destroy(void *state) {
    free(state);
}

#define LENGTHS(id, KIND, text)                                                                              \
    static lathe_status create_##id(const lathe_controller_params *params, void **state, lathe_error *err) { \
        return create(KIND, params, state, err);                                                             \
    }                                                                                                        \
    const lathe_controller lathe_controller_##id = {.name = #id,                                             \
                                                    .summary = text,                                         \
                                                    .create = create_##id,                                   \
                                                    .select = select_length,                                 \
                                                    .update = update,                                        \
                                                    .destroy = destroy,                                      \
                                                    .offer = offer,                                          \
                                                    .reprice = reprice,                                      \
                                                    .turn = turn,                                            \
                                                    .counts = counts}

LENGTHS(fixed, FIXED, "one arm at its full length (fixed:I)");
LENGTHS(hazard, HAZARD, "the best length by acceptance at each position and the cost curve");
LENGTHS(marginal, MARGINAL, "draft on while more drafts raise tokens per cost");
LENGTHS(threshold, THRESHOLD, "stop where a rejection has become likely (SpecDec++'s rule)");
