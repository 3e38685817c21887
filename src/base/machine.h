/* machine.h - what this machine gives us: time, cores, memory. */
#ifndef LATHE_BASE_MACHINE_H
#define LATHE_BASE_MACHINE_H

#include "lathe/base.h"

/* Seconds of the monotonic clock. */
double lathe_now(void);
/* Cores that we may use: affinity, limited by the control group's processor quota; at least 1. */
int lathe_n_cores(void);
/* Bytes that can be had without swapping: MemAvailable, limited by the control group; 0: unknown. */
int64_t lathe_memory_available(void);
/* Bytes per second that n_threads threads read from a buffer of n_bytes (beyond the caches); the best of a
 * few passes of a plain sum; 0: no memory for the measurement. Takes about 0.2 s. */
double lathe_measure_bandwidth(int n_threads, size_t n_bytes);
/* A seed from the system's entropy, below 2^53 so that JSON keeps it. */
uint64_t lathe_random_seed(void);

#endif
