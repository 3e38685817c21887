/* gate.c - the arithmetic of the worst-loss gate. */
#include "decode/gate.h"

#include <math.h>
#include <string.h>

/* TOKENS_PROMISED: from how many plain tokens on an answer's loss is within the share. What may be lost grows
 * with every token until then: were it the same until the 64th, an answer that lost it in its first rounds
 * would decode plainly until then. */
enum { FIRST_PLAIN = 4, TOKENS_PROMISED = 256 };

/* A stalled machine must not forbid drafts for good: where none is made, no better ratio is seen either. What
 * such a round cost is in T all the same. */
static const double RATIO_FIRST = 1.25, RATIO_MOST = 3.0;

static void sort(double *x, int32_t n) {
    for (int32_t i = 1; i < n; i++)
        for (int32_t j = i; j > 0 && x[j] < x[j - 1]; j--) {
            const double swap = x[j];
            x[j] = x[j - 1];
            x[j - 1] = swap;
        }
}

static double median(const double *x, int32_t n) {
    double copy[32];
    memcpy(copy, x, (size_t) n * sizeof *copy);
    sort(copy, n);
    return n % 2 ? copy[n / 2] : 0.5 * (copy[n / 2 - 1] + copy[n / 2]);
}

static double plain_median(const lathe_gate *gate, int32_t last) {
    const int32_t n = gate->n_plain < last ? gate->n_plain : last;
    return n > 0 ? median(gate->plain + gate->n_plain - n, n) : 0.0;
}

/* U: the .95 quantile of what rounds cost against their model, at least 1. */
static double upper_ratio(const lathe_gate *gate) {
    return gate->upper;
}

static void review_ratios(lathe_gate *gate) {
    double copy[32];
    memcpy(copy, gate->ratio, (size_t) gate->n_ratio * sizeof *copy);
    sort(copy, gate->n_ratio);
    const int32_t i = (int32_t) ceil(0.95 * gate->n_ratio) - 1, n = gate->n_ratio;
    gate->upper = fmax(1.0, copy[i]);
    gate->middle = n % 2 ? copy[n / 2] : 0.5 * (copy[n / 2 - 1] + copy[n / 2]);
}

void lathe_gate_advance(lathe_gate *gate, double seconds, double expected) {
    const double counted = fmin(seconds, 2.0 * expected);
    gate->T += counted;
    gate->interrupted_s += seconds - counted;
}

void lathe_gate_answer(lathe_gate *gate, double prompt_s) {
    for (int32_t i = 0; i < gate->n_ratio; i++) /* what was seen in a bad spell fades from answer to answer */
        gate->ratio[i] = fmin(gate->ratio[i], sqrt(gate->ratio[i] * RATIO_FIRST));
    if (gate->n_ratio > 0)
        review_ratios(gate);
    gate->prompt_s = prompt_s;
    gate->T = gate->P = 0.0;
    gate->n_since = 0;
    gate->since_tokens = 0.0;
    gate->interrupted_s = 0.0;
    gate->refused = gate->probes = 0;
}

void lathe_gate_init(lathe_gate *gate, double share) {
    memset(gate, 0, sizeof *gate);
    gate->share = share;
    gate->n_ratio = 8;
    for (int32_t i = 0; i < 8; i++)
        gate->ratio[i] = RATIO_FIRST;
    review_ratios(gate);
    gate->rounds_since_interruption = 32;
}

static void review_price(lathe_gate *gate) {
    gate->plain_s = plain_median(gate, 9);
    gate->price = gate->n_plain_ever < FIRST_PLAIN ? 0.0 : 0.98 * fmin(gate->plain_s, plain_median(gate, 3));
}

double lathe_gate_price(const lathe_gate *gate) {
    return gate->price;
}

double lathe_gate_room(const lathe_gate *gate) {
    const double q = lathe_gate_price(gate);
    const double ahead = fmin(fmax(0.0, gate->P) + LATHE_GATE_TOKENS_FIRST * q, TOKENS_PROMISED * q);
    return gate->share * (fmax(gate->P, ahead) + gate->prompt_s);
}

double lathe_gate_worst_loss(const lathe_gate *gate, double m) {
    return upper_ratio(gate) * m * gate->plain_s - lathe_gate_price(gate);
}

double lathe_gate_plain_s(const lathe_gate *gate) {
    return gate->plain_s;
}

bool lathe_gate_probe_due(const lathe_gate *gate) {
    const double q = lathe_gate_price(gate), D = gate->T - gate->P;
    if (!(q > 0.0))
        return true;
    const double patience = fmin(256.0, fmax(8.0, 10.0 * (lathe_gate_room(gate) - D) / q));
    return gate->since_tokens >= patience || gate->n_since >= LATHE_GATE_SINCE_MAX;
}

double lathe_gate_part(const lathe_gate *gate, double share) {
    const double q = gate->price;
    if (!(q > 0.0) || !(gate->plain_s > 0.0))
        return 0.0;
    const double left = lathe_gate_room(gate) - (gate->T - gate->P);
    return fmax(0.0, ((left > 0.0 ? share * left : left) + q) / (gate->upper * gate->plain_s));
}

double lathe_gate_most(const lathe_gate *gate) {
    return lathe_gate_part(gate, 1.0);
}

bool lathe_gate_allows(lathe_gate *gate, double m) {
    if (!(lathe_gate_price(gate) > 0.0))
        return false;
    if (lathe_gate_probe_due(gate)) {
        gate->probes++;
        return false;
    }
    if (m <= lathe_gate_most(gate))
        return true;
    gate->refused++;
    return false;
}

void lathe_gate_plain(lathe_gate *gate, double seconds, double forward_s) {
    if (gate->n_plain == 9) {
        memmove(gate->plain, gate->plain + 1, 8 * sizeof *gate->plain);
        gate->n_plain = 8;
    }
    gate->plain[gate->n_plain++] = forward_s;
    gate->n_plain_ever += gate->n_plain_ever < FIRST_PLAIN;
    review_price(gate);
    gate->rounds_since_interruption++;
    double beside = seconds - forward_s;
    if (beside > gate->plain_s && gate->rounds_since_interruption > 32) {
        gate->interrupted_s += beside;
        gate->rounds_since_interruption = 0;
        beside = 0.0;
    }
    gate->T += forward_s + beside;
    gate->P += forward_s;
    /* What was priced dearer than this measurement says is taken back. */
    for (int32_t i = 0; i < gate->n_since; i++)
        gate->P -= gate->since_count[i] * fmax(0.0, gate->since_price[i] - forward_s);
    gate->n_since = 0;
    gate->since_tokens = 0.0;
}

void lathe_gate_drafted(lathe_gate *gate, double m, double seconds, double n_emitted) {
    const double M = m * gate->plain_s, U = upper_ratio(gate), q = lathe_gate_price(gate);
    double y = seconds;
    gate->rounds_since_interruption++;
    const bool interrupted = y > 2.0 * U * M && gate->rounds_since_interruption > 32;
    if (interrupted) {
        gate->interrupted_s += y - U * M;
        gate->rounds_since_interruption = 0;
        y = U * M;
    }
    const double r_med = gate->middle;
    const double price = fmin(q, 0.98 * y / (r_med * m));
    if (!interrupted) {
        if (gate->n_ratio == 32) {
            memmove(gate->ratio, gate->ratio + 1, 31 * sizeof *gate->ratio);
            gate->n_ratio = 31;
        }
        gate->ratio[gate->n_ratio++] = fmin(y / M, RATIO_MOST);
        review_ratios(gate);
    }
    gate->T += y;
    gate->P += n_emitted * price;
    if (gate->n_since < LATHE_GATE_SINCE_MAX) {
        gate->since_price[gate->n_since] = price;
        gate->since_count[gate->n_since++] = n_emitted;
    }
    gate->since_tokens += n_emitted;
}

double lathe_gate_loss_bound(const lathe_gate *gate) {
    return gate->P > 0.0 ? (gate->T - gate->P + lathe_gate_room(gate)) / gate->P : 0.0;
}
