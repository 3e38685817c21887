/* cpuid.h - which x86 instruction sets processor and system offer. */
#ifndef LATHE_TENSOR_CPU_CPUID_H
#define LATHE_TENSOR_CPU_CPUID_H

#include <cpuid.h>
#include <stdbool.h>

/* AVX2, FMA, F16C, and registers of 256 bits saved by the system (which __builtin_cpu_supports checks). */
static inline bool cpuid_has_avx2(void) {
    unsigned a, b, c, d;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __get_cpuid(1, &a, &b, &c, &d) && (c >> 29 & 1) != 0;
}

static inline bool cpuid_has_avxvnni(void) {
    unsigned a, b, c, d;
    return cpuid_has_avx2() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1) != 0;
}

static inline bool cpuid_has_avx512(void) {
    return cpuid_has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vnni");
}

#endif
