/* comm_none.c - a build without MPI: every process is alone. */
#include <stdlib.h>

#include "train/comm.h"

lathe_status lathe_comm_open(lathe_comm **comm, lathe_error *err) {
    static const char *const marks[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_LOCALNRANKS"};
    *comm = NULL;
    for (size_t i = 0; i < LATHE_LEN(marks); i++) {
        const char *size = getenv(marks[i]);
        if (size != NULL && strtol(size, NULL, 10) > 1)
            return lathe_fail(
                err, LATHE_ERR_UNSUPPORTED,
                "started by mpirun with %s processes, but this build has no MPI; configure it with "
                "-DLATHE_WITH_MPI=ON",
                size);
    }
    return LATHE_OK;
}
void lathe_comm_close(lathe_comm *comm) {
    (void) comm;
}
int32_t lathe_comm_rank(const lathe_comm *comm) {
    (void) comm;
    return 0;
}
int32_t lathe_comm_size(const lathe_comm *comm) {
    (void) comm;
    return 1;
}
lathe_status lathe_comm_sum(lathe_comm *comm, float *x, int64_t n, lathe_error *err) {
    (void) comm;
    (void) x;
    (void) n;
    (void) err;
    return LATHE_OK;
}
void lathe_comm_sum_double(lathe_comm *comm, double *x, int n) {
    (void) comm;
    (void) x;
    (void) n;
}
void lathe_comm_share(lathe_comm *comm, float *x, int64_t n, int32_t from) {
    (void) comm;
    (void) x;
    (void) n;
    (void) from;
}
lathe_status lathe_comm_add(lathe_comm *comm, const float *x, int64_t n, double *sum, lathe_error *err) {
    (void) comm;
    (void) err;
    for (int64_t i = 0; i < n; i++)
        sum[i] += (double) x[i];
    return LATHE_OK;
}
lathe_status lathe_comm_collect(lathe_comm *comm, const double *sum, int64_t n, float *out,
                                lathe_error *err) {
    (void) comm;
    (void) err;
    for (int64_t i = 0; i < n; i++)
        out[i] = (float) sum[i];
    return LATHE_OK;
}
lathe_status lathe_comm_agree(lathe_comm *comm, lathe_status status, lathe_error *err) {
    (void) comm;
    (void) err;
    return status;
}
