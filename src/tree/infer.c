/* infer.c - belief propagation on a tree model: one pass up, one pass down.
 *
 * Up, a node sends its parent the log probability of the evidence below as a function of the parent's value:
 * a vector over states, or the quadratic g + h y - J y^2 / 2. Down, the parent's marginal is mixed over the
 * child's conditional given the evidence below it, which needs no division of messages. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng_purpose.h"
#include "tree/tree.h"

static const double log_two_pi = 1.8378770664093453;

static double log_sum(const double *x, int32_t n) {
    double top = -INFINITY, sum = 0;
    for (int32_t s = 0; s < n; s++)
        top = fmax(top, x[s]);
    if (top == -INFINITY)
        return top;
    for (int32_t s = 0; s < n; s++)
        sum += exp(x[s] - top);
    return top + log(sum);
}

static int32_t argmax(const double *x, int32_t n) {
    int32_t best = 0;
    for (int32_t s = 1; s < n; s++)
        if (x[s] > x[best])
            best = s;
    return best;
}

/* --- States -----------------------------------------------------------------------------------------------
 */

/* score[s] = log p(s | parent state r) + log p(evidence below | s). */
static void scores(const lathe_tree_model *model, int32_t i, int64_t r, const double *below, double *score) {
    const int32_t k = model->variables.columns[i].n_states;
    for (int32_t s = 0; s < k; s++)
        score[s] = log(model->p[i][r * k + s]) + below[s];
}

static lathe_status infer_discrete(const lathe_tree_model *model, const double *evidence,
                                   double *log_evidence, lathe_tree_belief *beliefs, lathe_error *err) {
    const lathe_column *c = model->variables.columns;
    const int32_t n = model->variables.n_columns;
    size_t total = 0, widest = 1, *at = malloc((size_t) n * sizeof *at);
    for (int32_t i = 0; i < n && at != NULL; i++) {
        at[i] = total;
        total += (size_t) c[i].n_states;
        if ((size_t) c[i].n_states > widest)
            widest = (size_t) c[i].n_states;
    }
    double *sum = calloc(total, sizeof *sum), *top = calloc(total, sizeof *top);
    double *score = malloc(widest * sizeof *score);
    double *marginals = beliefs != NULL ? calloc(total, sizeof *marginals) : NULL;
    lathe_status st = LATHE_OK;
    if (at == NULL || sum == NULL || top == NULL || score == NULL || (beliefs != NULL && marginals == NULL))
        st = lathe_fail(err, LATHE_ERR_MEMORY, "no memory for messages");
    for (int32_t i = 0; i < n && !st; i++) {
        if (isnan(evidence[i]))
            continue;
        if (!(evidence[i] >= 0 && evidence[i] < c[i].n_states) || evidence[i] != floor(evidence[i]))
            st = lathe_fail(err, LATHE_ERR_INPUT, "variable '%.60s': state %g of %d", c[i].name, evidence[i],
                            (int) c[i].n_states);
        else
            for (int32_t s = 0; s < c[i].n_states; s++)
                sum[at[i] + (size_t) s] = top[at[i] + (size_t) s] =
                    s == (int32_t) evidence[i] ? 0 : -INFINITY;
    }
    double all = 0;
    for (int32_t k = n - 1; k >= 0 && !st; k--) {
        const int32_t i = model->order[k], up = model->parent[i];
        for (int32_t r = 0; r < (up < 0 ? 1 : c[up].n_states); r++) {
            scores(model, i, r, sum + at[i], score);
            const double message = log_sum(score, c[i].n_states);
            if (up < 0) {
                all += message;
            } else {
                sum[at[up] + (size_t) r] += message;
                scores(model, i, r, top + at[i], score);
                top[at[up] + (size_t) r] += score[argmax(score, c[i].n_states)];
            }
        }
    }
    if (!st && log_evidence != NULL)
        *log_evidence = all;
    if (!st && beliefs != NULL && all == -INFINITY)
        st = lathe_fail(err, LATHE_ERR_INPUT, "the evidence has probability 0 under the model");
    for (int32_t k = 0; k < n && !st && beliefs != NULL; k++) {
        const int32_t i = model->order[k], up = model->parent[i];
        double *to = marginals + at[i];
        for (int32_t r = 0; r < (up < 0 ? 1 : c[up].n_states); r++) {
            const double weight = up < 0 ? 1 : marginals[at[up] + (size_t) r];
            if (weight <= 0)
                continue;
            scores(model, i, r, sum + at[i], score);
            const double whole = log_sum(score, c[i].n_states);
            for (int32_t s = 0; s < c[i].n_states; s++)
                to[s] += weight * exp(score[s] - whole);
        }
        scores(model, i, up < 0 ? 0 : beliefs[up].map, top + at[i], score);
        beliefs[i] =
            (lathe_tree_belief){.p = to, .mean = NAN, .variance = NAN, .map = argmax(score, c[i].n_states)};
    }
    if (beliefs != NULL && !st)
        beliefs[0].p = marginals; /* at[0] is 0 */
    else
        free(marginals);
    free(at);
    free(sum);
    free(top);
    free(score);
    return st;
}

/* --- Normal variables -------------------------------------------------------------------------------------
 */

typedef struct quadratic {
    double J, h, g;
} quadratic;

static lathe_status infer_real(const lathe_tree_model *model, const double *evidence, double *log_evidence,
                               lathe_tree_belief *beliefs, lathe_error *err) {
    const int32_t n = model->variables.n_columns;
    quadratic *below = calloc((size_t) n, sizeof *below);
    if (below == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for messages");
    double all = 0;
    for (int32_t k = n - 1; k >= 0; k--) {
        const int32_t i = model->order[k], up = model->parent[i];
        const double a = model->p[i][0], b = up < 0 ? 0 : model->p[i][1], v = model->p[i][2], x = evidence[i];
        const quadratic q = below[i];
        quadratic m;
        if (!isnan(x)) {
            m.J = b * b / v;
            m.h = b * (x - a) / v;
            m.g = q.g + q.h * x - 0.5 * q.J * x * x - 0.5 * ((x - a) * (x - a) / v + log(v) + log_two_pi);
        } else {
            const double d = 1 + q.J * v;
            m.J = q.J * b * b / d;
            m.h = b * (q.h - q.J * a) / d;
            m.g = q.g - 0.5 * log(d) + (0.5 * q.h * q.h * v + q.h * a - 0.5 * q.J * a * a) / d;
        }
        if (up < 0) {
            all += m.g;
        } else {
            below[up].J += m.J;
            below[up].h += m.h;
            below[up].g += m.g;
        }
    }
    if (log_evidence != NULL)
        *log_evidence = all;
    for (int32_t k = 0; k < n && beliefs != NULL; k++) {
        const int32_t i = model->order[k], up = model->parent[i];
        const double a = model->p[i][0], b = up < 0 ? 0 : model->p[i][1], v = model->p[i][2];
        const double precision = below[i].J + 1 / v, slope = b / (v * precision);
        beliefs[i] = (lathe_tree_belief){.mean = evidence[i]};
        if (isnan(evidence[i])) {
            beliefs[i].mean = (below[i].h + a / v) / precision + (up < 0 ? 0 : slope * beliefs[up].mean);
            beliefs[i].variance = 1 / precision + (up < 0 ? 0 : slope * slope * beliefs[up].variance);
        }
    }
    free(below);
    return LATHE_OK;
}

lathe_status lathe_tree_infer(const lathe_tree_model *model, const double *evidence, double *log_evidence,
                              lathe_tree_belief *beliefs, lathe_error *err) {
    return model->real ? infer_real(model, evidence, log_evidence, beliefs, err)
                       : infer_discrete(model, evidence, log_evidence, beliefs, err);
}

/* --- Tables ------------------------------------------------------------------------------------------------
 */

static int32_t find_text(char *const *texts, int32_t n, const char *text) {
    for (int32_t s = 0; s < n; s++)
        if (strcmp(texts[s], text) == 0)
            return s;
    return -1;
}

static lathe_status fill_column(const lathe_tree_model *model, int32_t i, const lathe_column *from,
                                int64_t n_rows, double *evidence, lathe_error *err) {
    const lathe_column *c = &model->variables.columns[i];
    const int64_t p = model->variables.n_columns;
    if (from->discrete == model->real)
        return lathe_fail(err, LATHE_ERR_INPUT, "column '%.60s' is %s, the model's is not", c->name,
                          from->discrete ? "discrete" : "real");
    for (int64_t t = 0; t < n_rows && model->real; t++)
        evidence[t * p + i] = from->values[t];
    for (int32_t s = 0; !model->real && s < from->n_states; s++) {
        const int32_t code = find_text(c->states, c->n_states, from->states[s]);
        for (int64_t t = 0; t < n_rows; t++)
            if (from->codes[t] == s) {
                if (code < 0)
                    return lathe_fail(err, LATHE_ERR_INPUT,
                                      "row %lld, column '%.60s': the model has no state '%.60s'",
                                      (long long) t + 1, c->name, from->states[s]);
                evidence[t * p + i] = code;
            }
    }
    return LATHE_OK;
}

lathe_status lathe_tree_evidence(const lathe_tree_model *model, const lathe_table *table, double **evidence,
                                 lathe_error *err) {
    const int32_t p = model->variables.n_columns;
    int32_t n_matched = 0;
    lathe_status st = LATHE_OK;
    *evidence = calloc((size_t) table->n_rows * (size_t) p + 1, sizeof **evidence);
    if (*evidence == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %lld rows", (long long) table->n_rows);
    for (int64_t k = 0; k < table->n_rows * p; k++)
        (*evidence)[k] = NAN;
    for (int32_t i = 0; i < p && !st; i++)
        for (int32_t j = 0; j < table->n_columns && !st; j++)
            if (strcmp(table->columns[j].name, model->variables.columns[i].name) == 0) {
                st = fill_column(model, i, &table->columns[j], table->n_rows, *evidence, err);
                n_matched++;
                break;
            }
    if (!st && n_matched == 0)
        st = lathe_fail(err, LATHE_ERR_INPUT, "no column has the name of a variable of the model");
    if (st) {
        free(*evidence);
        *evidence = NULL;
    }
    return st;
}

lathe_status lathe_tree_sample(const lathe_tree_model *model, int64_t n, uint64_t seed, double *values,
                               lathe_error *err) {
    const int32_t p = model->variables.n_columns;
    if (n < 0)
        return lathe_fail(err, LATHE_ERR_ARG, "%lld rows", (long long) n);
    lathe_rng rng = lathe_rng_new(seed, LATHE_RNG_TREE_SAMPLE, 0);
    for (int64_t t = 0; t < n; t++) {
        double *row = values + t * p;
        for (int32_t k = 0; k < p; k++) {
            const int32_t i = model->order[k], up = model->parent[i];
            const int32_t states = model->variables.columns[i].n_states;
            if (model->real)
                row[i] = model->p[i][0] + (up < 0 ? 0 : model->p[i][1] * row[up]) +
                         sqrt(model->p[i][2]) * lathe_rng_normal(&rng);
            else
                row[i] = (double) lathe_rng_categorical(
                    &rng, model->p[i] + (up < 0 ? 0 : (int64_t) row[up] * states), (size_t) states);
        }
    }
    return LATHE_OK;
}
