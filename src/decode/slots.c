/* slots.c - slots by survival, as many as pay. The cost curve need not be convex, so every number is tried.
 */
#include "decode/slots.h"

#include <stdlib.h>
#include <string.h>

typedef struct slot {
    double A;
    int32_t k, seq;
} slot;

static int by_value(const void *a, const void *b) {
    const slot *x = a, *y = b;
    if (x->A != y->A)
        return x->A > y->A ? -1 : 1;
    if (x->k != y->k)
        return x->k < y->k ? -1 : 1;
    return x->seq < y->seq ? -1 : 1;
}

int32_t lathe_slots_admit(const double *A, const int32_t *n_drafts, int32_t n_seq, int32_t n_max, double rho,
                          double latency, int32_t n_rows, const lathe_cost_model *cost, int32_t *admitted) {
    memset(admitted, 0, (size_t) n_seq * sizeof *admitted);
    slot *slots = malloc(((size_t) n_seq * (size_t) n_max + 1) * sizeof *slots);
    if (!slots)
        return -1;
    size_t n = 0;
    for (int32_t i = 0; i < n_seq; i++)
        for (int32_t k = 0; k < n_drafts[i] && k < n_max; k++)
            slots[n++] = (slot){A[(size_t) i * (size_t) n_max + (size_t) k], k, i};
    qsort(slots, n, sizeof *slots, by_value);
    const double most = latency * lathe_cost_verify(cost, n_seq);
    double value = n_seq, best = value - rho * lathe_cost_verify(cost, n_seq);
    int32_t m_best = 0;
    for (size_t m = 1; m <= n; m++) {
        const double v = lathe_cost_verify(cost, n_seq + (int32_t) m);
        if (v > most || n_seq + (int64_t) m > n_rows)
            break;
        value += slots[m - 1].A;
        if (value - rho * v > best) {
            best = value - rho * v;
            m_best = (int32_t) m;
        }
    }
    for (int32_t m = 0; m < m_best; m++)
        admitted[slots[m].seq]++;
    free(slots);
    return m_best;
}
