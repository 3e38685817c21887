/* estimate.c - what all pairs of a table's columns will take, before they are looked at.
 *
 * Nanoseconds a pair, fitted to one thread of an AMD EPYC Zen 5: packed columns 7 + 160 / n + 0.0015 n (few
 * rows give equal weights, which go by their keys), products of matrices 10 + 0.06 n, a loop over rows 50 +
 * n. Other processors are up to a few times slower: the estimate tells minutes from days. */
#include "tree/learner.h"

static double nanoseconds_a_pair(lathe_pair_source source, double n) {
    return source == LATHE_PAIR_BITS   ? 7 + 160 / n + 0.0015 * n
           : source == LATHE_PAIR_GEMM ? 10 + 0.06 * n
                                       : 50 + n;
}

/* The table's cells, their packed or centred form, and the workers' lists of pairs. */
static double bytes_of(const lathe_chow_liu_learner *l) {
    const double p = l->p_all, n = (double) l->n;
    const double cell = l->source == LATHE_PAIR_BITS ? 2.125 : l->source == LATHE_PAIR_GEMM ? 16 : 8;
    return p * n * cell + (5.0 * p * l->n_workers + 6 * p) * sizeof(lathe_pair);
}

lathe_status lathe_chow_liu_affordable(const lathe_chow_liu_learner *l, lathe_error *err) {
    const lathe_chow_liu_params *params = l->params;
    const double n_pairs = 0.5 * l->p_all * (l->p_all - 1.0);
    const int n_processes = l->n_processes > 1 ? l->n_processes : 1;
    const double seconds = 1e-9 * n_pairs * nanoseconds_a_pair(l->source, (double) l->n) *
                           (1.0 + params->n_bootstrap) / ((double) l->n_workers * n_processes);
    if (!(params->max_seconds > 0) || seconds <= params->max_seconds)
        return LATHE_OK;
    return lathe_fail(
        err, LATHE_ERR_INPUT,
        "%d columns of %lld rows are %.3g pairs%s: about %.3g minutes with %d thread(s) and %d "
        "process(es), the limit being %.3g, and %.2g GB; take fewer columns (--ignore, or those "
        "that vary most)%s, more threads or processes (--threads, --mpi), or a higher limit "
        "(--max-minutes)",
        (int) l->p_all, (long long) l->n, n_pairs,
        params->n_bootstrap > 0 ? ", a time for every resample" : "", seconds / 60, l->n_workers, n_processes,
        params->max_seconds / 60, bytes_of(l) / 1e9,
        params->n_bootstrap > 0 ? ", fewer resamples (--bootstrap)" : "");
}
