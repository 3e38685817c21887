/* comm.h - several processes that train one model (comm_mpi.c), or one that is alone (comm_none.c, and NULL).
 *
 * Sums have an order of their own, so that the same number of processes gives the same bits every time:
 * ((r0 + r1) + (r2 + r3)) + ... (learning.md D.g). */
#ifndef LATHE_TRAIN_COMM_H
#define LATHE_TRAIN_COMM_H

#include "lathe/base.h"

typedef struct lathe_comm lathe_comm;

/* *comm stays NULL in a process that was not started by mpirun. UNSUPPORTED where it was, and this build has
 * no MPI. May be called again later. */
LATHE_NODISCARD lathe_status lathe_comm_open(lathe_comm **comm, lathe_error *err);
/* Ends the process's part in MPI; comm may be NULL. */
void lathe_comm_close(lathe_comm *comm);
int32_t lathe_comm_rank(const lathe_comm *comm); /* 0 alone */
int32_t lathe_comm_size(const lathe_comm *comm); /* 1 alone */

/* x[n] = the sum over all ranks, the same bits on each. */
LATHE_NODISCARD lathe_status lathe_comm_sum(lathe_comm *comm, float *x, int64_t n, lathe_error *err);
void lathe_comm_sum_double(lathe_comm *comm, double *x, int n);
/* x[n] of rank `from` to all. */
void lathe_comm_share(lathe_comm *comm, float *x, int64_t n, int32_t from);
/* Exact reduction: adds every rank's x[n] in rank order into this rank's block of sum[n], in double ... */
LATHE_NODISCARD lathe_status lathe_comm_add(lathe_comm *comm, const float *x, int64_t n, double *sum,
                                            lathe_error *err);
/* ... and puts all blocks, rounded, into out[n] of each. */
LATHE_NODISCARD lathe_status lathe_comm_collect(lathe_comm *comm, const double *sum, int64_t n, float *out,
                                                lathe_error *err);
/* All ranks leave with an error if one has one; who has none gets the first one's. */
LATHE_NODISCARD lathe_status lathe_comm_agree(lathe_comm *comm, lathe_status status, lathe_error *err);

#endif
