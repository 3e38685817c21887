/* infer.c - belief propagation on a tree model: one pass up, one pass down.
 *
 * Up, a node sends its parent the log probability of the evidence below as a function of the parent's value:
 * a vector over states, or the quadratic g + h y - J y^2 / 2. Down, the parent's marginal is mixed over the
 * child's conditional given the evidence below it, which needs no division of messages. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng_purpose.h"
#include "base/text.h"
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

/* --- Messages ----------------------------------------------------------------------------------------- */

/* log of an unnormalised law of a real value: g + h y - J y^2 / 2. */
typedef struct quadratic {
    double J, h, g;
} quadratic;

typedef struct messages {
    const lathe_tree_model *model;
    const lathe_column *c;
    const double *evidence;
    size_t *at;        /* [n] where a discrete node's states begin */
    double *sum, *top; /* [states of all] evidence below, summed and maximised over what is not observed */
    double *score;     /* [most states] */
    double *marginals; /* [states of all], where beliefs are wanted */
    quadratic *below;  /* [n] of real nodes */
} messages;

static lathe_status prepare(messages *m, bool beliefs, lathe_error *err) {
    const int32_t n = m->model->variables.n_columns;
    size_t total = 0, widest = 1;
    m->at = malloc((size_t) n * sizeof *m->at);
    for (int32_t i = 0; i < n && m->at != NULL; i++) {
        m->at[i] = total;
        total += m->c[i].discrete ? (size_t) m->c[i].n_states : 0;
        if (m->c[i].discrete && (size_t) m->c[i].n_states > widest)
            widest = (size_t) m->c[i].n_states;
    }
    m->sum = calloc(total + 1, sizeof *m->sum);
    m->top = calloc(total + 1, sizeof *m->top);
    m->score = malloc(widest * sizeof *m->score);
    m->below = calloc((size_t) n, sizeof *m->below);
    m->marginals = beliefs && total > 0 ? calloc(total, sizeof *m->marginals) : NULL;
    if (m->at == NULL || m->sum == NULL || m->top == NULL || m->score == NULL || m->below == NULL ||
        (beliefs && total > 0 && m->marginals == NULL))
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for messages");
    for (int32_t i = 0; i < n; i++) {
        const double x = m->evidence[i];
        if (isnan(x) || !m->c[i].discrete)
            continue;
        if (!(x >= 0 && x < m->c[i].n_states) || x != floor(x))
            return lathe_fail(err, LATHE_ERR_INPUT, "variable '%.60s': state %g of %d", m->c[i].name, x,
                              (int) m->c[i].n_states);
        for (int32_t s = 0; s < m->c[i].n_states; s++)
            m->sum[m->at[i] + (size_t) s] = m->top[m->at[i] + (size_t) s] = s == (int32_t) x ? 0 : -INFINITY;
    }
    return LATHE_OK;
}

static void release(messages *m) {
    free(m->at);
    free(m->sum);
    free(m->top);
    free(m->score);
    free(m->below);
    free(m->marginals);
}

/* Of a discrete node to its parent; at a root the log probability of the evidence in its component. */
static double up_discrete(messages *m, int32_t i) {
    const int32_t up = m->model->parent[i], k = m->c[i].n_states;
    double all = 0;
    for (int32_t r = 0; r < (up < 0 ? 1 : m->c[up].n_states); r++) {
        scores(m->model, i, r, m->sum + m->at[i], m->score);
        const double message = log_sum(m->score, k);
        if (up < 0) {
            all = message;
        } else {
            m->sum[m->at[up] + (size_t) r] += message;
            scores(m->model, i, r, m->top + m->at[i], m->score);
            m->top[m->at[up] + (size_t) r] += m->score[argmax(m->score, k)];
        }
    }
    return all;
}

/* A real node's own law N(a + b y, v) times what lies below it, as a function of y. */
static quadratic absorb(quadratic q, double x, double a, double b, double v) {
    if (!isnan(x))
        return (quadratic){.J = b * b / v,
                           .h = b * (x - a) / v,
                           .g = q.g + q.h * x - 0.5 * q.J * x * x -
                                0.5 * ((x - a) * (x - a) / v + log(v) + log_two_pi)};
    const double d = 1 + q.J * v;
    return (quadratic){.J = q.J * b * b / d,
                       .h = b * (q.h - q.J * a) / d,
                       .g = q.g - 0.5 * log(d) + (0.5 * q.h * q.h * v + q.h * a - 0.5 * q.J * a * a) / d};
}

/* Below a discrete parent the integral and the maximum differ by a factor that is the same for all states: J
 * does not depend on them, so one message serves both. */
static double up_real(messages *m, int32_t i) {
    const int32_t up = m->model->parent[i];
    const double *p = m->model->p[i], x = m->evidence[i];
    if (up >= 0 && m->c[up].discrete) {
        const int32_t k = m->c[up].n_states;
        for (int32_t r = 0; r < k; r++) {
            const double g = absorb(m->below[i], x, p[r], 0, p[k]).g;
            m->sum[m->at[up] + (size_t) r] += g;
            m->top[m->at[up] + (size_t) r] += g;
        }
        return 0;
    }
    const quadratic q = absorb(m->below[i], x, p[0], up < 0 ? 0 : p[1], p[2]);
    if (up < 0)
        return q.g;
    m->below[up].J += q.J;
    m->below[up].h += q.h;
    m->below[up].g += q.g;
    return 0;
}

static void down_discrete(messages *m, int32_t i, lathe_tree_belief *beliefs) {
    const int32_t up = m->model->parent[i], k = m->c[i].n_states;
    double *to = m->marginals + m->at[i];
    for (int32_t r = 0; r < (up < 0 ? 1 : m->c[up].n_states); r++) {
        const double weight = up < 0 ? 1 : m->marginals[m->at[up] + (size_t) r];
        if (weight <= 0)
            continue;
        scores(m->model, i, r, m->sum + m->at[i], m->score);
        const double whole = log_sum(m->score, k);
        for (int32_t s = 0; s < k; s++)
            to[s] += weight * exp(m->score[s] - whole);
    }
    scores(m->model, i, up < 0 ? 0 : beliefs[up].map, m->top + m->at[i], m->score);
    beliefs[i] = (lathe_tree_belief){.p = to, .mean = NAN, .variance = NAN, .map = argmax(m->score, k)};
}

/* Given its parent and the evidence below, a node is normal around a linear function of the parent; its mean
 * and variance follow from the parent's, whatever law that has (a mixture, below discrete nodes). */
static void down_real(messages *m, int32_t i, lathe_tree_belief *beliefs) {
    const int32_t up = m->model->parent[i];
    const double *p = m->model->p[i];
    beliefs[i] = (lathe_tree_belief){.mean = m->evidence[i], .map = -1};
    if (!isnan(m->evidence[i]))
        return;
    const quadratic q = m->below[i];
    if (up >= 0 && m->c[up].discrete) {
        const int32_t k = m->c[up].n_states;
        const double precision = q.J + 1 / p[k];
        double mean = 0, square = 0;
        for (int32_t r = 0; r < k; r++)
            mean += m->marginals[m->at[up] + (size_t) r] * (q.h + p[r] / p[k]) / precision;
        for (int32_t r = 0; r < k; r++) {
            const double d = (q.h + p[r] / p[k]) / precision - mean;
            square += m->marginals[m->at[up] + (size_t) r] * d * d;
        }
        beliefs[i].mean = mean;
        beliefs[i].variance = 1 / precision + square;
        return;
    }
    const double a = p[0], b = up < 0 ? 0 : p[1], v = p[2];
    const double precision = q.J + 1 / v, slope = b / (v * precision);
    beliefs[i].mean = (q.h + a / v) / precision + (up < 0 ? 0 : slope * beliefs[up].mean);
    beliefs[i].variance = 1 / precision + (up < 0 ? 0 : slope * slope * beliefs[up].variance);
}

lathe_status lathe_tree_infer(const lathe_tree_model *model, const double *evidence, double *log_evidence,
                              lathe_tree_belief *beliefs, lathe_error *err) {
    const int32_t n = model->variables.n_columns;
    messages m = {.model = model, .c = model->variables.columns, .evidence = evidence};
    lathe_status st = prepare(&m, beliefs != NULL, err);
    double all = 0;
    for (int32_t k = n - 1; k >= 0 && !st; k--) {
        const int32_t i = model->order[k];
        all += m.c[i].discrete ? up_discrete(&m, i) : up_real(&m, i);
    }
    if (!st && log_evidence != NULL)
        *log_evidence = all;
    if (!st && beliefs != NULL && all == -INFINITY)
        st = lathe_fail(err, LATHE_ERR_INPUT, "the evidence has probability 0 under the model");
    for (int32_t k = 0; k < n && !st && beliefs != NULL; k++) {
        const int32_t i = model->order[k];
        if (m.c[i].discrete)
            down_discrete(&m, i, beliefs);
        else
            down_real(&m, i, beliefs);
    }
    if (beliefs != NULL && !st) {
        beliefs[0].p = m.marginals; /* where the first discrete node's begin */
        m.marginals = NULL;
    }
    release(&m);
    return st;
}

/* --- Tables ------------------------------------------------------------------------------------------------
 */

static int32_t find_text(char *const *texts, int32_t n, const char *text) {
    for (int32_t s = 0; s < n; s++)
        if (strcmp(texts[s], text) == 0)
            return s;
    return -1;
}

/* A column that looks discrete here (whole numbers, say) where the model's is real. */
static lathe_status fill_from_states(const lathe_column *from, int64_t p, int64_t n_rows, double *evidence,
                                     lathe_error *err) {
    for (int64_t t = 0; t < n_rows; t++)
        if (from->codes[t] != LATHE_CODE_MISSING &&
            !lathe_parse_real(from->states[from->codes[t]], &evidence[t * p]))
            return lathe_fail(err, LATHE_ERR_INPUT, "row %lld, column '%.60s': '%.60s' is no number",
                              (long long) t + 1, from->name, from->states[from->codes[t]]);
    return LATHE_OK;
}

static lathe_status no_state(int64_t t, const char *column, const char *state, lathe_error *err) {
    return lathe_fail(err, LATHE_ERR_INPUT, "row %lld, column '%.60s': the model has no state '%.60s'",
                      (long long) t + 1, column, state);
}

static lathe_status fill_column(const lathe_tree_model *model, int32_t i, const lathe_column *from,
                                int64_t n_rows, double *evidence, lathe_error *err) {
    const lathe_column *c = &model->variables.columns[i];
    const int64_t p = model->variables.n_columns;
    if (!c->discrete && from->discrete)
        return fill_from_states(from, p, n_rows, evidence + i, err);
    for (int64_t t = 0; t < n_rows && !c->discrete; t++)
        evidence[t * p + i] = from->values[t];
    for (int64_t t = 0; t < n_rows && c->discrete && !from->discrete; t++) { /* numbers as states */
        char text[40];
        if (isnan(from->values[t]))
            continue;
        lathe_format_double(from->values[t], text, sizeof text);
        const int32_t code = find_text(c->states, c->n_states, text);
        if (code < 0)
            return no_state(t, c->name, text, err);
        evidence[t * p + i] = code;
    }
    for (int32_t s = 0; c->discrete && from->discrete && s < from->n_states; s++) {
        const int32_t code = find_text(c->states, c->n_states, from->states[s]);
        for (int64_t t = 0; t < n_rows; t++)
            if (from->codes[t] == s) {
                if (code < 0)
                    return no_state(t, c->name, from->states[s], err);
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
            const bool below_states = up >= 0 && model->variables.columns[up].discrete;
            if (!model->variables.columns[i].discrete && below_states)
                row[i] = model->p[i][(int32_t) row[up]] +
                         sqrt(model->p[i][model->variables.columns[up].n_states]) * lathe_rng_normal(&rng);
            else if (!model->variables.columns[i].discrete)
                row[i] = model->p[i][0] + (up < 0 ? 0 : model->p[i][1] * row[up]) +
                         sqrt(model->p[i][2]) * lathe_rng_normal(&rng);
            else
                row[i] = (double) lathe_rng_categorical(
                    &rng, model->p[i] + (up < 0 ? 0 : (int64_t) row[up] * states), (size_t) states);
        }
    }
    return LATHE_OK;
}
