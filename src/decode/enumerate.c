/* enumerate.c - all outcomes of a random procedure by replay. */
#include "decode/enumerate.h"

void lathe_enumeration_start(lathe_enumeration *e) {
    *e = (lathe_enumeration){.probability = 1.0};
}

bool lathe_enumeration_next(lathe_enumeration *e) {
    while (e->n > 0 && e->chosen[e->n - 1] >= e->last[e->n - 1])
        e->n--;
    e->depth = 0;
    e->probability = 1.0;
    e->advance = e->n > 0;
    return e->n > 0 && !e->overflow;
}

size_t lathe_enumeration_choose(void *user, uint32_t purpose, uint64_t position, const double *w, size_t n) {
    (void) purpose;
    (void) position;
    lathe_enumeration *e = user;
    double sum = 0.0;
    size_t first = n, last = 0;
    for (size_t i = 0; i < n; i++) {
        if (!(w[i] > 0.0))
            continue;
        sum += w[i];
        if (first == n)
            first = i;
        last = i;
    }
    if (first == n || e->depth >= LATHE_CHOICES_MAX) {
        e->overflow = e->overflow || e->depth >= LATHE_CHOICES_MAX;
        return 0;
    }
    const int32_t k = e->depth++;
    if (k >= e->n) {
        e->chosen[k] = first;
        e->last[k] = last;
        e->n = k + 1;
    } else if (k == e->n - 1 && e->advance) {
        size_t i = e->chosen[k] + 1;
        while (i < last && !(w[i] > 0.0))
            i++;
        e->chosen[k] = i;
        e->advance = false;
    }
    e->probability *= w[e->chosen[k]] / sum;
    return e->chosen[k];
}
