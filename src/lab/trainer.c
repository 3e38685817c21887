/* trainer.c - see trainer.h. */
#include "lab/trainer.h"

#include <math.h>
#include <stdlib.h>

lathe_status lathe_trainer_new(lathe_small_net *net, int muon_parts, double lr, int32_t steps,
                               lathe_trainer *out, lathe_error *err) {
    lathe_trainer t = {.net = net, .lr = lr, .clip = 1, .warmup = 50, .steps = steps};
    for (int part = 0; part < LATHE_SMALL_PARTS; part++) {
        t.optim[part] = lathe_optim_default(muon_parts >> part & 1 ? LATHE_OPTIM_MUON : LATHE_OPTIM_ADAMW);
        t.optim[part].weight_decay = 0;
    }
    size_t n_state = 0;
    const size_t n_tensors = lathe_small_net_n_tensors(net);
    if (n_tensors > LATHE_LEN(t.state_at))
        return lathe_fail(err, LATHE_ERR_ARG, "%zu tensors are more than a lab trains", n_tensors);
    for (size_t i = 0; i < n_tensors; i++) {
        const lathe_small_tensor *w = lathe_small_net_tensor(net, i);
        t.state_at[i] = n_state;
        n_state += 2 * (size_t) (w->rows * w->cols); /* enough for each of the kinds above */
    }
    t.state = calloc(n_state, sizeof *t.state);
    t.gradient = malloc(2 * lathe_small_net_n(net) * sizeof *t.gradient);
    if (!t.state || !t.gradient) {
        lathe_trainer_free(&t);
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the optimiser of %zu parameters",
                          lathe_small_net_n(net));
    }
    *out = t;
    return LATHE_OK;
}

void lathe_trainer_use_sgd(lathe_trainer *t) {
    for (int part = 0; part < LATHE_SMALL_PARTS; part++)
        t->optim[part] = lathe_optim_default(LATHE_OPTIM_SGD);
}

void lathe_trainer_free(lathe_trainer *t) {
    free(t->state);
    free(t->gradient);
    t->state = t->gradient = NULL;
}

static double rate(const lathe_trainer *t) {
    const double step = t->t;
    if (step <= t->warmup)
        return t->lr * step / t->warmup;
    const double from = (1 - t->tail) * t->steps;
    if (t->tail <= 0 || step <= from)
        return t->lr;
    return t->lr * (1 + (t->tail_rate - 1) * (step - from) / (t->steps - from));
}

lathe_status lathe_trainer_step(lathe_trainer *t, double *loss, lathe_error *err) {
    const size_t n = lathe_small_net_n(t->net);
    float *clipped = t->gradient + n;
    lathe_status st = lathe_small_net_gradient(t->net, loss, t->gradient, err);
    if (st)
        return st;
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double) t->gradient[i] * t->gradient[i];
    const double norm = sqrt(sum);
    const float scale = t->clip > 0 && norm > t->clip ? (float) (t->clip / norm) : 1;
    for (size_t i = 0; i < n; i++)
        clipped[i] = scale * t->gradient[i];
    t->t++;
    const double lr = rate(t);
    for (size_t i = 0; !st && i < lathe_small_net_n_tensors(t->net); i++) {
        const lathe_small_tensor *w = lathe_small_net_tensor(t->net, i);
        st = lathe_optim_step(&t->optim[w->part], w->name, lathe_small_net_weights(t->net, i),
                              clipped + w->at, t->state + t->state_at[i], w->rows, w->cols, t->t, lr, err);
    }
    return st;
}
