/* machine.c - see machine.h. */
#define _GNU_SOURCE /* sched_getaffinity, CPU_COUNT */
#include "base/machine.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/thread.h"

double lathe_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double) t.tv_sec + 1e-9 * (double) t.tv_nsec;
}

/* First line of a small system file; false where there is none. */
static bool first_line(const char *path, char *line, size_t n_line) {
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    const bool got = fgets(line, (int) n_line, f) != NULL;
    fclose(f);
    return got;
}

/* Cores that the control group's quota allows, 0: unlimited or unknown. */
static double quota_cores(void) {
    char line[128];
    double quota = 0, period = 0;
    if (first_line("/sys/fs/cgroup/cpu.max", line, sizeof line)) {
        char *end = NULL;
        quota = strtod(line, &end);
        if (end == line)
            return 0; /* "max" */
        period = strtod(end, NULL);
    } else if (first_line("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", line, sizeof line)) {
        quota = strtod(line, NULL);
        if (first_line("/sys/fs/cgroup/cpu/cpu.cfs_period_us", line, sizeof line))
            period = strtod(line, NULL);
    }
    return quota > 0 && period > 0 ? quota / period : 0;
}

int lathe_n_cores(void) {
    cpu_set_t set;
    int n = 1;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        n = CPU_COUNT(&set);
    const double quota = quota_cores();
    if (quota > 0 && quota < n)
        n = (int) quota + ((double) (int) quota < quota);
    return n < 1 ? 1 : n;
}

/* The number of a "Name:   123 kB" line of /proc/meminfo in bytes, -1: not there. */
static int64_t meminfo(const char *name) {
    FILE *f = fopen("/proc/meminfo", "re");
    if (!f)
        return -1;
    char line[256];
    int64_t bytes = -1;
    const size_t n = strlen(name);
    while (bytes < 0 && fgets(line, sizeof line, f))
        if (strncmp(line, name, n) == 0 && line[n] == ':')
            bytes = 1024 * strtoll(line + n + 1, NULL, 10);
    fclose(f);
    return bytes;
}

int64_t lathe_memory_available(void) {
    int64_t available = meminfo("MemAvailable");
    char limit[64], used[64];
    if (first_line("/sys/fs/cgroup/memory.max", limit, sizeof limit) &&
        first_line("/sys/fs/cgroup/memory.current", used, sizeof used) && limit[0] != 'm') {
        const int64_t left = strtoll(limit, NULL, 10) - strtoll(used, NULL, 10);
        if (available < 0 || left < available)
            available = left;
    }
    return available < 0 ? 0 : available;
}

typedef struct read_job {
    const uint64_t *words;
    uint64_t sums[256];
} read_job;

static void read_piece(void *ctx, int worker, int64_t piece, int64_t begin, int64_t end) {
    read_job *job = ctx;
    (void) worker;
    uint64_t sums[8] = {0};
    for (int64_t i = begin; i + 8 <= end; i += 8) {
        __builtin_prefetch(job->words + i + 1024);
        for (int k = 0; k < 8; k++)
            sums[k] += job->words[i + k];
    }
    for (int k = 0; k < 8; k++)
        job->sums[piece % 256] += sums[k];
}

double lathe_measure_bandwidth(int n_threads, size_t n_bytes) {
    enum { HUGE_PAGE = 2 << 20 };
    n_bytes = (n_bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    const int64_t n = (int64_t) (n_bytes / sizeof(uint64_t));
    uint64_t *words = aligned_alloc(HUGE_PAGE, n_bytes);
    lathe_pool *pool = NULL;
    if (!words || lathe_pool_new(n_threads, &pool, NULL) != LATHE_OK) {
        free(words);
        return 0;
    }
#ifdef MADV_HUGEPAGE
    (void) madvise(words, n_bytes, MADV_HUGEPAGE); /* as packed weights have them */
#endif
    memset(words, 1, n_bytes);
    read_job *job = calloc(1, sizeof *job);
    double best = 0;
    if (job) {
        job->words = words;
        const double stop = lathe_now() + 0.15;
        for (int round = 0; round < 3 || lathe_now() < stop; round++) {
            const double t0 = lathe_now();
            lathe_parallel_for(pool, n, 1 << 17, read_piece, job);
            const double rate = (double) n_bytes / (lathe_now() - t0);
            best = rate > best ? rate : best;
        }
        if (job->sums[0] == 1)
            best += 1e-9; /* the sums must count for something, or the loop is optimised away */
    }
    free(job);
    lathe_pool_free(pool);
    free(words);
    return best;
}

uint64_t lathe_random_seed(void) {
    uint64_t seed = 0;
    const int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    ssize_t n = 0;
    if (fd >= 0) {
        n = read(fd, &seed, sizeof seed);
        close(fd);
    }
    if (n != (ssize_t) sizeof seed)
        seed = (uint64_t) (lathe_now() * 1e9) * 0x9E3779B97F4A7C15ull + (uint64_t) getpid();
    return seed >> 11;
}
