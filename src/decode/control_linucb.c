/* control_linucb.c - LinUCB: the mean reward of an arm is linear in features of the moment.
 * The inverse of A = lambda I + sum z z' is kept by rank-one updates. Source: Li et al. 2010. */
#include "decode/controller.h"

#include <math.h>
#include <stdlib.h>

typedef struct linear_arm {
    double inverse[LATHE_FEATURES_MAX][LATHE_FEATURES_MAX], b[LATHE_FEATURES_MAX];
    double cost;
} linear_arm;

typedef struct linucb {
    int32_t n_arms, d, length[LATHE_ARMS_MAX];
    double beta;
    bool by_cost;
    linear_arm arm[LATHE_ARMS_MAX];
} linucb;

static lathe_status create(const lathe_controller_params *params, void **state, lathe_error *err) {
    if (params->n_arms < 1 || params->n_arms > LATHE_ARMS_MAX || params->n_features < 0 ||
        params->n_features > LATHE_FEATURES_MAX)
        return lathe_fail(err, LATHE_ERR_ARG, "%d arms of %d features; at most %d of %d",
                          (int) params->n_arms, (int) params->n_features, (int) LATHE_ARMS_MAX,
                          (int) LATHE_FEATURES_MAX);
    linucb *s = calloc(1, sizeof *s);
    if (!s)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a controller");
    s->n_arms = params->n_arms;
    s->d = params->n_features > 0 ? params->n_features : 1; /* a constant where none is given */
    s->beta = params->lin_beta >= 0.0 ? params->lin_beta : 0.25 * params->length_max;
    s->by_cost = params->by_cost;
    for (int32_t i = 0; i < s->n_arms; i++) {
        s->length[i] = params->length[i];
        for (int32_t k = 0; k < s->d; k++)
            s->arm[i].inverse[k][k] = 1.0 / params->lin_lambda;
    }
    *state = s;
    return LATHE_OK;
}

static const double *features_or_one(const double *features) {
    static const double one[LATHE_FEATURES_MAX] = {1.0};
    return features ? features : one;
}

static lathe_choice select_arm(void *state, const int32_t *limit, const double *features) {
    const linucb *s = state;
    const double *z = features_or_one(features);
    lathe_choice best = {0, 0};
    double best_value = -INFINITY;
    for (int32_t i = 0; i < s->n_arms; i++) {
        if (s->length[i] > 0 && limit && limit[i] < 1)
            continue;
        const linear_arm *a = &s->arm[i];
        double mean = 0.0, variance = 0.0;
        for (int32_t r = 0; r < s->d; r++) {
            double row = 0.0;
            for (int32_t c = 0; c < s->d; c++)
                row += a->inverse[r][c] * z[c];
            variance += z[r] * row;
            mean += a->b[r] * row;
        }
        double value = s->length[i] == 0 ? 1.0 : mean + s->beta * sqrt(fmax(variance, 0.0));
        if (s->by_cost && a->cost > 0.0)
            value /= a->cost;
        if (value > best_value) {
            best_value = value;
            best = (lathe_choice){i, limit && s->length[i] > 0 && limit[i] < s->length[i] ? limit[i]
                                                                                          : s->length[i]};
        }
    }
    return best;
}

static void update(void *state, lathe_choice choice, const lathe_round_facts *facts) {
    linucb *s = state;
    linear_arm *a = &s->arm[choice.arm];
    const double *z = features_or_one(facts->features);
    if (facts->cost > 0.0 && isfinite(facts->cost))
        a->cost = a->cost > 0.0 ? 0.9 * a->cost + 0.1 * fmin(facts->cost, 5.0 * a->cost) : facts->cost;
    double Az[LATHE_FEATURES_MAX] = {0.0}, scale = 1.0;
    for (int32_t r = 0; r < s->d; r++)
        for (int32_t c = 0; c < s->d; c++)
            Az[r] += a->inverse[r][c] * z[c];
    for (int32_t r = 0; r < s->d; r++)
        scale += z[r] * Az[r];
    for (int32_t r = 0; r < s->d; r++)
        for (int32_t c = 0; c < s->d; c++)
            a->inverse[r][c] -= Az[r] * Az[c] / scale;
    for (int32_t r = 0; r < s->d; r++)
        a->b[r] += (facts->accepted + 1) * z[r];
}

static void destroy(void *state) {
    free(state);
}

const lathe_controller lathe_controller_linucb = {.name = "linucb",
                                                  .summary = "contextual: linear in features of the moment",
                                                  .create = create,
                                                  .select = select_arm,
                                                  .update = update,
                                                  .destroy = destroy};
