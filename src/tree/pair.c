/* pair.c - the information that two columns share, by their kinds: see learner.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tree/learner.h"
#include "tree/loops.h"

double lathe_xlogx(double x) {
    return x > 0 ? x * log(x) : 0;
}

/* Discrete pair by a table of counts (scratch, [r_i * r_j]). */
static void discrete_pair(const lathe_chow_liu_learner *l, int32_t i, int32_t j, uint32_t *counts,
                          lathe_pair_value *out) {
    const lathe_column *a = &l->table->columns[i], *b = &l->table->columns[j];
    const int32_t ra = a->n_states, rb = b->n_states;
    memset(counts, 0, (size_t) ra * (size_t) rb * sizeof *counts);
    int64_t n = 0;
    if (!l->any_missing) {
        for (int64_t t = 0; t < l->n; t++)
            counts[a->codes[t] * rb + b->codes[t]]++;
        n = l->n;
    } else {
        for (int64_t t = 0; t < l->n; t++)
            if (a->codes[t] != LATHE_CODE_MISSING && b->codes[t] != LATHE_CODE_MISSING) {
                counts[a->codes[t] * rb + b->codes[t]]++;
                n++;
            }
    }
    out->n = n;
    out->dof = (double) (ra - 1) * (rb - 1);
    const double s = l->params->smoothing;
    const double total = (double) n + s * ra * rb;
    double sum = 0;
    if (total > 0) {
        double rows = 0, joint = 0, columns = 0;
        for (int32_t x = 0; x < ra; x++) {
            double margin = 0;
            for (int32_t y = 0; y < rb; y++) {
                const double c = counts[x * rb + y] + s;
                joint += lathe_xlogx(c);
                margin += c;
            }
            rows += lathe_xlogx(margin);
        }
        for (int32_t y = 0; y < rb; y++) {
            double margin = 0;
            for (int32_t x = 0; x < ra; x++)
                margin += counts[x * rb + y] + s;
            columns += lathe_xlogx(margin);
        }
        sum = (joint - rows - columns + lathe_xlogx(total)) / total;
    }
    out->information = sum > 1e-15 ? sum : 0;
    out->weight = out->information;
    if (l->params->weight == LATHE_WEIGHT_AGREE || l->params->weight == LATHE_WEIGHT_ABSCORR) {
        const double agree = ra == 2 && rb == 2 ? (double) counts[0] + counts[3] : (double) counts[0];
        const double share = n > 0 ? agree / (double) n : 0;
        out->weight =
            l->params->weight == LATHE_WEIGHT_AGREE ? (l->any_missing ? share : agree) : fabs(2 * share - 1);
    }
}

static double from_share(double explained) {
    return -0.5 * log(fmax(1 - explained, explained > 1 - 1e-12 ? 1e-12 : 0));
}

static void real_pair(const lathe_chow_liu_learner *l, int32_t i, int32_t j, lathe_pair_value *out) {
    const double *x = l->table->columns[i].values, *y = l->table->columns[j].values;
    double mx = 0, my = 0, sxx = 0, syy = 0, sxy = 0;
    int64_t n = 0;
    for (int64_t t = 0; t < l->n; t++)
        if (!isnan(x[t]) && !isnan(y[t])) {
            n++;
            mx += x[t];
            my += y[t];
        }
    mx /= n ? (double) n : 1;
    my /= n ? (double) n : 1;
    for (int64_t t = 0; t < l->n; t++)
        if (!isnan(x[t]) && !isnan(y[t])) {
            sxx += (x[t] - mx) * (x[t] - mx);
            syy += (y[t] - my) * (y[t] - my);
            sxy += (x[t] - mx) * (y[t] - my);
        }
    const double r = sxx > 0 && syy > 0 ? fmin(fabs(sxy) / sqrt(sxx * syy), 1 - 1e-12) : 0;
    out->n = n;
    out->dof = 1;
    out->information = out->weight = -0.5 * log1p(-r * r);
}

/* Discrete d with continuous c: the correlation ratio. scratch: [3 n_states] doubles. */
static void mixed_pair(const lathe_chow_liu_learner *l, const lathe_column *d, const lathe_column *c,
                       double *scratch, lathe_pair_value *out) {
    double *sum = scratch, *number = scratch + d->n_states;
    memset(scratch, 0, 2 * (size_t) d->n_states * sizeof *scratch);
    int64_t n = 0;
    double mean = 0;
    for (int64_t t = 0; t < l->n; t++)
        if (d->codes[t] != LATHE_CODE_MISSING && !isnan(c->values[t])) {
            sum[d->codes[t]] += c->values[t];
            number[d->codes[t]]++;
            mean += c->values[t];
            n++;
        }
    mean /= n ? (double) n : 1;
    double total = 0, within = 0;
    for (int64_t t = 0; t < l->n; t++)
        if (d->codes[t] != LATHE_CODE_MISSING && !isnan(c->values[t])) {
            const double e = c->values[t] - mean, w = c->values[t] - sum[d->codes[t]] / number[d->codes[t]];
            total += e * e;
            within += w * w;
        }
    out->n = n;
    out->dof = d->n_states - 1;
    out->information = total > 0 ? fmax(0, from_share(1 - fmax(within / total, 1e-12))) : 0;
    out->weight = out->information;
}

void lathe_pair_weigh_plain(const lathe_chow_liu_learner *l, int32_t i, int32_t j, uint32_t *counts,
                            lathe_pair_value *out) {
    const lathe_column *a = &l->table->columns[i], *b = &l->table->columns[j];
    if (a->discrete && b->discrete)
        discrete_pair(l, i, j, counts, out);
    else if (!a->discrete && !b->discrete)
        real_pair(l, i, j, out);
    else
        mixed_pair(l, a->discrete ? a : b, a->discrete ? b : a, (double *) (void *) counts, out);
    if (l->bias && out->n > 0)
        out->weight -= out->dof / (2 * (double) out->n);
    if (out->n < l->min_pairs)
        out->weight = -INFINITY;
}

/* Sums are arranged so that exchanging the columns, or the codes of either, gives the same bits. */
double lathe_pair_information_2x2(const lathe_chow_liu_learner *l, int32_t i, int32_t j, uint32_t c11) {
    const double *t = l->xlogx;
    const int64_t c10 = (int64_t) l->ones[i] - c11, c01 = (int64_t) l->ones[j] - c11,
                  c00 = l->n - l->ones[i] - c01;
    const double joint = (t[c11] + t[c00]) + (t[c10] + t[c01]);
    const double x = ((joint - (l->margin[i] + l->margin[j])) + t[l->n]) * (1 / (double) l->n);
    return x > 1e-15 ? x : 0;
}

void lathe_pair_weigh(const lathe_chow_liu_learner *l, int32_t i, int32_t j, uint32_t *counts,
                      lathe_pair_value *out) {
    if (l->source == LATHE_PAIR_GEMM) {
        const double r = lathe_dot(l->unit + i * l->n, l->unit + j * l->n, l->n);
        out->n = l->n;
        out->dof = 1;
        out->information = out->weight = from_share(r * r);
        return;
    }
    if (l->source != LATHE_PAIR_BITS) {
        lathe_pair_weigh_plain(l, i, j, counts, out);
        return;
    }
    l->kernel->tile(l->bits + i * l->n_words, 1, l->bits + j * l->n_words, 1, l->n_words, counts, 1);
    out->n = l->n;
    out->dof = (double) (l->table->columns[i].n_states - 1) * (l->table->columns[j].n_states - 1);
    out->information = out->weight = lathe_pair_information_2x2(l, i, j, counts[0]);
}

double lathe_normal_entropy(double variance) {
    return 0.5 * log(2 * 3.14159265358979323846 * 2.71828182845904523536 * fmax(variance, 1e-300));
}

double lathe_column_entropy(const lathe_column *c, int64_t n) {
    if (!c->discrete) {
        double mean = 0, sum = 0;
        for (int64_t t = 0; t < n; t++)
            mean += c->values[t];
        mean /= (double) n;
        for (int64_t t = 0; t < n; t++)
            sum += (c->values[t] - mean) * (c->values[t] - mean);
        return lathe_normal_entropy(sum / (double) n);
    }
    int64_t *counts = calloc((size_t) c->n_states, sizeof *counts);
    if (counts == NULL)
        return NAN;
    for (int64_t t = 0; t < n; t++)
        counts[c->codes[t]]++;
    double sum = 0;
    for (int32_t s = 0; s < c->n_states; s++)
        sum += lathe_xlogx((double) counts[s]);
    free(counts);
    return log((double) n) - sum / (double) n;
}
