/* optim.c - what all optimisers share: defaults, checks, and the elementwise ones. */
#include "train/optim.h"

#include <math.h>
#include <string.h>

static const char *const names[] = {"sgd", "signsgd", "lion", "adamw", "muon", "shampoo", "soap"};

const char *lathe_optim_name(lathe_optim_kind kind) {
    return kind >= 0 && kind < LATHE_OPTIM_COUNT ? names[kind] : NULL;
}

static bool wants_matrix(lathe_optim_kind kind) {
    return kind == LATHE_OPTIM_MUON || kind == LATHE_OPTIM_SHAMPOO || kind == LATHE_OPTIM_SOAP;
}

lathe_optim lathe_optim_default(lathe_optim_kind kind) {
    lathe_optim o = {.kind = kind,
                     .eps = 1e-8,
                     .beta1 = 0.9,
                     .beta2 = 0.95,
                     .weight_decay = 0.1,
                     .beta_side = 0.95,
                     .refresh = 10};
    switch (kind) {
    case LATHE_OPTIM_SGD:
        o.momentum = 0.9;
        o.weight_decay = 0;
        break;
    case LATHE_OPTIM_LION:
        o.beta2 = 0.99;
        break;
    case LATHE_OPTIM_MUON:
        o.momentum = 0.95;
        o.nesterov = true;
        break;
    case LATHE_OPTIM_SHAMPOO:
        o.eps = 1e-4;
        break;
    case LATHE_OPTIM_SOAP:
        o.beta1 = 0.95;
        o.weight_decay = 0.01;
        break;
    default:
        break;
    }
    return o;
}

lathe_status lathe_optim_check(const lathe_optim *o, lathe_error *err) {
    if (lathe_optim_name(o->kind) == NULL)
        return lathe_fail(err, LATHE_ERR_ARG, "no such optimiser: %d", (int) o->kind);
    if (!(o->beta1 >= 0 && o->beta1 < 1 && o->beta2 >= 0 && o->beta2 < 1 && o->momentum >= 0 &&
          o->momentum < 1))
        return lathe_fail(err, LATHE_ERR_ARG, "%s: betas and momentum must be in [0, 1)", names[o->kind]);
    if (!(o->weight_decay >= 0) || !(o->eps >= 0))
        return lathe_fail(err, LATHE_ERR_ARG, "%s: weight decay and eps must not be negative",
                          names[o->kind]);
    if (o->kind == LATHE_OPTIM_SGD && o->nesterov && o->dampening != 0)
        return lathe_fail(err, LATHE_ERR_ARG, "sgd: Nesterov momentum needs dampening 0");
    if (o->kind == LATHE_OPTIM_MUON && lathe_ns_name(o->ns) == NULL)
        return lathe_fail(err, LATHE_ERR_ARG, "muon: no such orthogonalisation: %d", (int) o->ns);
    return LATHE_OK;
}

size_t lathe_optim_state_size(const lathe_optim *o, int64_t rows, int64_t cols) {
    size_t m = (size_t) rows, n = (size_t) cols, one = m * n, sides = 2 * (m * m + n * n);
    switch (o->kind) {
    case LATHE_OPTIM_SGD:
    case LATHE_OPTIM_SIGNSGD:
        return o->momentum > 0 ? one : 0;
    case LATHE_OPTIM_LION:
    case LATHE_OPTIM_MUON:
        return one;
    case LATHE_OPTIM_ADAMW:
        return 2 * one;
    default:
        return sides + 2 * one; /* statistics and roots or bases of both sides; two averages */
    }
}

lathe_status lathe_optim_step(const lathe_optim *optim, const char *name, float *w, const float *g,
                              float *state, int64_t rows, int64_t cols, int64_t t, double lr,
                              lathe_error *err) {
    if (rows < 1 || cols < 1 || t < 1 || !(lr >= 0))
        return lathe_fail(err, LATHE_ERR_ARG,
                          "%s: a step needs a shape, t >= 1 and a rate that is not negative", name);
    if (wants_matrix(optim->kind) && rows == 1)
        return lathe_fail(err, LATHE_ERR_ARG, "%s is a vector (%lld): %s takes matrices; use adamw", name,
                          (long long) cols, names[optim->kind]);
    lathe_optim_task task = {optim, name, w, state, g, rows, cols, rows * cols, t, lr};
    for (int64_t i = 0; i < task.n; i++)
        if (!isfinite(g[i]))
            return lathe_fail(err, LATHE_ERR_NUMERIC, "%s: the gradient is not finite at element %lld", name,
                              (long long) i);
    switch (optim->kind) {
    case LATHE_OPTIM_MUON:
        return lathe_optim_muon(&task, err);
    case LATHE_OPTIM_SHAMPOO:
        return lathe_optim_shampoo(&task, err);
    case LATHE_OPTIM_SOAP:
        return lathe_optim_soap(&task, err);
    default:
        return lathe_optim_elementwise(&task);
    }
}

void lathe_optim_decay(const lathe_optim_task *task) {
    float keep = (float) (1 - task->lr * task->optim->weight_decay);
    if (task->optim->weight_decay > 0)
        for (int64_t i = 0; i < task->n; i++)
            task->w[i] *= keep;
}

/* --- Elementwise ----------------------------------------------------------------------------------- */

static float sign(float x) {
    return (float) ((x > 0) - (x < 0));
}

static void sgd(const lathe_optim_task *k) {
    const lathe_optim *o = k->optim;
    float mu = (float) o->momentum, lr = (float) k->lr, wd = o->decoupled ? 0 : (float) o->weight_decay;
    float fresh = k->t == 1 ? 1 : (float) (1 - o->dampening);
    if (o->decoupled)
        lathe_optim_decay(k);
    for (int64_t i = 0; i < k->n; i++) {
        float g = k->g[i] + wd * k->w[i], step = g;
        if (mu > 0) {
            float m = mu * k->state[i] + fresh * g;
            k->state[i] = m;
            step = o->nesterov ? g + mu * m : m;
        }
        k->w[i] -= lr * step;
    }
}

static void signsgd(const lathe_optim_task *k) {
    float mu = (float) k->optim->momentum, lr = (float) k->lr;
    lathe_optim_decay(k);
    for (int64_t i = 0; i < k->n; i++) {
        float d = k->g[i];
        if (mu > 0)
            d = k->state[i] = mu * k->state[i] + (1 - mu) * d;
        k->w[i] -= lr * sign(d);
    }
}

static void lion(const lathe_optim_task *k) {
    float b1 = (float) k->optim->beta1, b2 = (float) k->optim->beta2, lr = (float) k->lr;
    lathe_optim_decay(k);
    for (int64_t i = 0; i < k->n; i++) {
        float m = k->state[i], g = k->g[i];
        k->w[i] -= lr * sign(b1 * m + (1 - b1) * g);
        k->state[i] = b2 * m + (1 - b2) * g;
    }
}

static void adamw(const lathe_optim_task *k) {
    const lathe_optim *o = k->optim;
    float b1 = (float) o->beta1, b2 = (float) o->beta2, eps = (float) o->eps;
    float step = (float) (k->lr / (1 - pow(o->beta1, (double) k->t))),
          root = (float) sqrt(1 / (1 - pow(o->beta2, (double) k->t)));
    float *m = k->state, *v = k->state + k->n;
    lathe_optim_decay(k);
    for (int64_t i = 0; i < k->n; i++) {
        float g = k->g[i];
        m[i] = b1 * m[i] + (1 - b1) * g;
        v[i] = b2 * v[i] + (1 - b2) * g * g;
        k->w[i] -= step * m[i] / (sqrtf(v[i]) * root + eps);
    }
}

lathe_status lathe_optim_elementwise(const lathe_optim_task *task) {
    switch (task->optim->kind) {
    case LATHE_OPTIM_SGD:
        sgd(task);
        break;
    case LATHE_OPTIM_SIGNSGD:
        signsgd(task);
        break;
    case LATHE_OPTIM_LION:
        lion(task);
        break;
    default:
        adamw(task);
        break;
    }
    return LATHE_OK;
}
