/* chain.c - see chain.h. */
#include "decode/chain.h"

#include <math.h>

/* --- Order --------------------------------------------------------------------------------------- */

static bool before(const lathe_candidate *a, const lathe_candidate *b) {
    return a->key > b->key || (a->key == b->key && a->id < b->id);
}

static void swap(lathe_candidate *a, lathe_candidate *b) {
    const lathe_candidate t = *a;
    *a = *b;
    *b = t;
}

/* A heap whose root is the last in order. */
static void sift(lathe_candidate *c, int32_t n, int32_t root) {
    for (;;) {
        int64_t child = 2 * (int64_t) root + 1;
        if (child >= n)
            return;
        if (child + 1 < n && before(&c[child], &c[child + 1]))
            child++;
        if (!before(&c[root], &c[child]))
            return;
        swap(&c[root], &c[child]);
        root = (int32_t) child;
    }
}

void lathe_rank_first(lathe_candidate *c, int32_t n, int32_t m) {
    if (m > n)
        m = n;
    for (int32_t i = m / 2 - 1; i >= 0; i--)
        sift(c, m, i);
    for (int32_t i = m; m > 0 && i < n; i++) {
        if (before(&c[i], &c[0])) {
            swap(&c[i], &c[0]);
            sift(c, m, 0);
        }
    }
    for (int32_t last = m - 1; last > 0; last--) {
        swap(&c[0], &c[last]);
        sift(c, last, 0);
    }
}

static void key_by_logit(lathe_candidates *c) {
    for (int32_t i = 0; i < c->n; i++)
        c->at[i].key = c->at[i].logit;
}

static double largest(const lathe_candidates *c) {
    double max = -INFINITY;
    for (int32_t i = 0; i < c->n; i++)
        max = c->at[i].logit > max ? c->at[i].logit : max;
    return max;
}

static double sum_of_exp(const lathe_candidates *c, double max) {
    double sum = 0;
    for (int32_t i = 0; i < c->n; i++)
        sum += exp(c->at[i].logit - max);
    return sum;
}

double lathe_candidates_softmax(lathe_candidates *c) {
    const double max = largest(c), log_sum = max + log(sum_of_exp(c, max));
    double entropy = 0;
    for (int32_t i = 0; i < c->n; i++) {
        const double log_p = c->at[i].logit - log_sum;
        c->at[i].key = exp(log_p);
        entropy -= c->at[i].key * log_p;
    }
    return entropy;
}

/* --- Steps --------------------------------------------------------------------------------------- */

void lathe_keep_best(lathe_candidates *c) {
    key_by_logit(c);
    lathe_rank_first(c->at, c->n, 1);
    c->n = 1;
}

void lathe_keep_top_k(lathe_candidates *c, int32_t k) {
    if (k <= 0 || k >= c->n)
        return;
    key_by_logit(c);
    lathe_rank_first(c->at, c->n, k);
    c->n = k;
}

/* Ranks by key as far as needed until the sum of weight(i) reaches (or, strictly, passes) p; returns how
 * many. */
static int32_t ranked_until(lathe_candidates *c, double log_sum, double p, bool strictly) {
    const int32_t least = c->min_keep > 1 ? c->min_keep : 1;
    for (int64_t m = 64;; m *= 8) {
        const int32_t ranked = m < c->n ? (int32_t) m : c->n;
        double sum = 0;
        lathe_rank_first(c->at, c->n, ranked);
        for (int32_t i = 0; i < ranked; i++) {
            sum += exp(c->at[i].logit - log_sum);
            if ((strictly ? sum > p : sum >= p) && i + 1 >= least)
                return i + 1;
        }
        if (ranked == c->n)
            return c->n;
    }
}

void lathe_keep_top_p(lathe_candidates *c, double p) {
    if (p >= 1)
        return;
    const double max = largest(c);
    const double log_sum = max + log(sum_of_exp(c, max));
    key_by_logit(c);
    c->n = ranked_until(c, log_sum, p, false);
}

void lathe_keep_typical(lathe_candidates *c, double p) {
    if (p >= 1)
        return;
    const double entropy = lathe_candidates_softmax(c);
    const double max = largest(c);
    const double log_sum = max + log(sum_of_exp(c, max));
    for (int32_t i = 0; i < c->n; i++)
        c->at[i].key = -fabs(log_sum - c->at[i].logit - entropy);
    c->n = ranked_until(c, log_sum, p, true);
}

static void keep_from(lathe_candidates *c, double threshold) {
    int32_t kept = 0;
    for (int32_t i = 0; i < c->n; i++)
        if (c->at[i].logit >= threshold)
            swap(&c->at[kept++], &c->at[i]);
    c->n = kept;
}

void lathe_keep_min_p(lathe_candidates *c, double p) {
    if (p <= 0)
        return;
    const double threshold = largest(c) + (p < 1 ? log(p) : 0);
    if (c->min_keep > 1) {
        int32_t n_over = 0;
        for (int32_t i = 0; i < c->n; i++)
            n_over += c->at[i].logit >= threshold;
        if (n_over < c->min_keep) {
            lathe_keep_top_k(c, c->min_keep);
            return;
        }
    }
    keep_from(c, threshold);
}

void lathe_keep_top_n_sigma(lathe_candidates *c, double n) {
    if (n <= 0)
        return;
    double mean = 0, variance = 0;
    for (int32_t i = 0; i < c->n; i++)
        mean += c->at[i].logit / c->n;
    for (int32_t i = 0; i < c->n; i++)
        variance += (c->at[i].logit - mean) * (c->at[i].logit - mean) / c->n;
    keep_from(c, largest(c) - n * sqrt(variance));
}

void lathe_drop_xtc(lathe_candidates *c, double threshold) {
    (void) lathe_candidates_softmax(c);
    int32_t n_over = 0;
    for (int32_t i = 0; i < c->n; i++)
        n_over += c->at[i].key >= threshold;
    if (n_over < 2 || c->n - (n_over - 1) < c->min_keep)
        return;
    key_by_logit(c);
    lathe_rank_first(c->at, c->n, n_over);
    const int32_t dropped = n_over - 1;
    for (int32_t i = dropped; i < c->n; i++)
        c->at[i - dropped] = c->at[i];
    c->n -= dropped;
}

double lathe_scale_temperature(lathe_candidates *c, double temp, double range, double exponent) {
    if (range > 0) {
        if (c->n <= 1)
            return temp;
        const double low = temp > range ? temp - range : 0, high = temp + range;
        const double evenness = lathe_candidates_softmax(c) / log(c->n);
        temp = low + (high - low) * pow(evenness > 0 ? evenness : 0, exponent);
    }
    if (temp <= 0) { /* a dynamic one that reached zero */
        lathe_keep_best(c);
        return 0;
    }
    for (int32_t i = 0; i < c->n; i++)
        c->at[i].logit /= temp;
    return temp;
}

void lathe_keep_surprise(lathe_candidates *c, double mu) {
    (void) lathe_candidates_softmax(c);
    lathe_rank_first(c->at, c->n, 1);
    int32_t kept = 1;
    for (int32_t i = 1; i < c->n; i++)
        if (-log2(c->at[i].key) <= mu)
            swap(&c->at[kept++], &c->at[i]);
    c->n = kept;
}
