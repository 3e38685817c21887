/* slots.h - which drafted positions of several sequences share one verify batch. */
#ifndef LATHE_DECODE_SLOTS_H
#define LATHE_DECODE_SLOTS_H

#include "lathe/decode.h"

/* A [n_seq][n_max]: probability that the first k + 1 drafts of a sequence are all accepted, non-increasing;
 * n_drafts [n_seq] of them exist. Admits the m slots of largest A (ties: smaller k, then smaller sequence)
 * where the expected tokens less rho times the cost are largest (ties: smallest m), with v(batch) at most
 * latency * v(n_seq) and at most n_rows rows. admitted [n_seq] out. Returns m, or -1: no memory. */
int32_t lathe_slots_admit(const double *A, const int32_t *n_drafts, int32_t n_seq, int32_t n_max, double rho,
                          double latency, int32_t n_rows, const lathe_cost_model *cost, int32_t *admitted);

#endif
