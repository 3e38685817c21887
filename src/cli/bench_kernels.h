/* bench_kernels.h - the kernels' part of `lathe bench`. */
#ifndef LATHE_CLI_BENCH_KERNELS_H
#define LATHE_CLI_BENCH_KERNELS_H

#include "cli/cli.h"

/* Measures products of each packed type with n_columns[n] columns on n_threads, prints them or adds
 * `kernels`, `memory_bandwidth` and `peak_gop_per_s` to the result. LATHE_CPU chooses another instruction set
 * than the best. ARG where it names none. */
LATHE_NODISCARD lathe_status lathe_bench_kernels(const int32_t *n_columns, int n, int n_threads,
                                                 lathe_cli *cli, lathe_error *err);

#endif
