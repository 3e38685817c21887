/* comm_mpi.c - processes under mpirun. Each owns a block of every vector, sums the others' copies of it in a
 * fixed order, and hands it to all. */
#include <mpi.h>
#include <stdlib.h>
#include <string.h>

#include "train/comm.h"

enum { RANKS_MAX = 4096, TEXT = 512, PIECE = 1 << 28 };

struct lathe_comm {
    int rank, size;
    int *counts, *offsets, *same, *strides; /* [size] for the collective calls */
};

static lathe_comm world;

lathe_status lathe_comm_open(lathe_comm **comm, lathe_error *err) {
    static const char *const marks[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_LOCALNRANKS"};
    bool started = false;
    *comm = NULL;
    for (size_t i = 0; i < LATHE_LEN(marks); i++)
        started = started || getenv(marks[i]) != NULL;
    if (!started)
        return LATHE_OK;
    int ready = 0, got;
    MPI_Initialized(&ready);
    if (!ready && MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &got) != MPI_SUCCESS)
        return lathe_fail(err, LATHE_ERR_IO, "MPI could not be started");
    MPI_Comm_rank(MPI_COMM_WORLD, &world.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &world.size);
    if (world.size < 2 || world.size > RANKS_MAX) {
        if (world.size < 2)
            return LATHE_OK;
        return lathe_fail(err, LATHE_ERR_UNSUPPORTED, "%d processes are more than %d", world.size, RANKS_MAX);
    }
    if (world.counts == NULL)
        world.counts = calloc((size_t) world.size * 4, sizeof(int));
    if (world.counts == NULL)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %d processes", world.size);
    world.offsets = world.counts + world.size;
    world.same = world.offsets + world.size;
    world.strides = world.same + world.size;
    *comm = &world;
    return LATHE_OK;
}

void lathe_comm_close(lathe_comm *comm) {
    int ready = 0, done = 0;
    MPI_Initialized(&ready);
    MPI_Finalized(&done);
    if (ready && !done)
        MPI_Finalize();
    if (comm != NULL) {
        free(comm->counts);
        comm->counts = NULL;
    }
}
int32_t lathe_comm_rank(const lathe_comm *comm) {
    return comm != NULL ? comm->rank : 0;
}
int32_t lathe_comm_size(const lathe_comm *comm) {
    return comm != NULL ? comm->size : 1;
}

/* Blocks of a vector by rank; returns the size of ours. */
static int divide(lathe_comm *c, int64_t n) {
    for (int r = 0; r < c->size; r++) {
        int64_t from = n * r / c->size, to = n * (r + 1) / c->size;
        c->counts[r] = (int) (to - from);
        c->offsets[r] = (int) from;
    }
    for (int r = 0; r < c->size; r++) {
        c->same[r] = c->counts[c->rank];
        c->strides[r] = r * c->counts[c->rank];
    }
    return c->counts[c->rank];
}

/* Every rank's copy of our block of x: [size][own]; free it. */
static float *gather(lathe_comm *c, const float *x, int64_t n, int own, lathe_error *err) {
    float *all = n <= INT32_MAX ? malloc(((size_t) own * (size_t) c->size + 1) * sizeof *all) : NULL;
    if (all == NULL) {
        (void) lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %d copies of %lld gradients", c->size,
                          (long long) n);
        return NULL;
    }
    MPI_Alltoallv(x, c->counts, c->offsets, MPI_FLOAT, all, c->same, c->strides, MPI_FLOAT, MPI_COMM_WORLD);
    return all;
}

lathe_status lathe_comm_sum(lathe_comm *c, float *x, int64_t n, lathe_error *err) {
    if (c == NULL)
        return LATHE_OK;
    int own = divide(c, n);
    float *all = gather(c, x, n, own, err);
    if (all == NULL)
        return LATHE_ERR_MEMORY;
    for (int step = 1; step < c->size; step *= 2) /* neighbours, then pairs of neighbours, ... */
        for (int r = 0; r + step < c->size; r += 2 * step) {
            float *into = all + (size_t) r * (size_t) own;
            const float *from = all + (size_t) (r + step) * (size_t) own;
            for (int i = 0; i < own; i++)
                into[i] += from[i];
        }
    MPI_Allgatherv(all, own, MPI_FLOAT, x, c->counts, c->offsets, MPI_FLOAT, MPI_COMM_WORLD);
    free(all);
    return LATHE_OK;
}

void lathe_comm_sum_double(lathe_comm *c, double *x, int n) {
    enum { MANY = 16 };
    double all[MANY];
    for (int i = 0; c != NULL && i < n; i++) { /* few numbers: one after the other, in rank order */
        double sum = 0;
        for (int r = 0; r < c->size; r++) {
            all[0] = x[i];
            MPI_Bcast(all, 1, MPI_DOUBLE, r, MPI_COMM_WORLD);
            sum += all[0];
        }
        x[i] = sum;
    }
}

void lathe_comm_share(lathe_comm *c, float *x, int64_t n, int32_t from) {
    for (int64_t at = 0; c != NULL && at < n; at += PIECE)
        MPI_Bcast(x + at, (int) (n - at < PIECE ? n - at : PIECE), MPI_FLOAT, from, MPI_COMM_WORLD);
}

lathe_status lathe_comm_add(lathe_comm *c, const float *x, int64_t n, double *sum, lathe_error *err) {
    if (c == NULL) {
        for (int64_t i = 0; i < n; i++)
            sum[i] += (double) x[i];
        return LATHE_OK;
    }
    int own = divide(c, n);
    float *all = gather(c, x, n, own, err);
    if (all == NULL)
        return LATHE_ERR_MEMORY;
    for (int r = 0; r < c->size; r++)
        for (int i = 0; i < own; i++)
            sum[c->offsets[c->rank] + i] += (double) all[(size_t) r * (size_t) own + (size_t) i];
    free(all);
    return LATHE_OK;
}

lathe_status lathe_comm_collect(lathe_comm *c, const double *sum, int64_t n, float *out, lathe_error *err) {
    (void) err;
    if (c == NULL) {
        for (int64_t i = 0; i < n; i++)
            out[i] = (float) sum[i];
        return LATHE_OK;
    }
    int own = divide(c, n), from = c->offsets[c->rank];
    for (int i = 0; i < own; i++)
        out[from + i] = (float) sum[from + i];
    MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, out, c->counts, c->offsets, MPI_FLOAT, MPI_COMM_WORLD);
    return LATHE_OK;
}

lathe_status lathe_comm_agree(lathe_comm *c, lathe_status status, lathe_error *err) {
    if (c == NULL)
        return status;
    struct {
        int status, rank;
    } mine = {status != LATHE_OK ? 0 : 1, c->rank}, first;
    MPI_Allreduce(&mine, &first, 1, MPI_2INT, MPI_MINLOC, MPI_COMM_WORLD);
    if (first.status == 1)
        return LATHE_OK;
    char text[TEXT] = "";
    int code = (int) status;
    if (c->rank == first.rank && err != NULL)
        strncpy(text, err->text, sizeof text - 1);
    MPI_Bcast(text, TEXT, MPI_CHAR, first.rank, MPI_COMM_WORLD);
    MPI_Bcast(&code, 1, MPI_INT, first.rank, MPI_COMM_WORLD);
    if (status != LATHE_OK)
        return status;
    return lathe_fail(err, (lathe_status) code, "process %d: %s", first.rank, text);
}
