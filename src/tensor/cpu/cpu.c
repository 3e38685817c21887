/* cpu.c - see cpu.h: which instruction set. */
#include "tensor/cpu/cpu.h"

#include <string.h>

static const lathe_cpu *const sets[] = {
    &lathe_cpu_scalar,
#if defined(__x86_64__) && defined(__GNUC__)
    &lathe_cpu_avx2,
    &lathe_cpu_avxvnni,
    &lathe_cpu_avx512,
#elif defined(__aarch64__) && defined(__GNUC__)
    &lathe_cpu_neon,
    &lathe_cpu_i8mm,
#endif
};

const lathe_cpu *const *lathe_cpu_sets(size_t *n) {
    *n = LATHE_LEN(sets);
    return sets;
}

const lathe_cpu *lathe_cpu_best(const char *name) {
    for (size_t i = LATHE_LEN(sets); i-- > 0;)
        if ((name == NULL || strcmp(name, sets[i]->name) == 0) && sets[i]->is_usable())
            return sets[i];
    return NULL;
}

size_t lathe_activation_bytes(int64_t n) {
    return ((size_t) (n / 32) + 1) * sizeof(lathe_activation);
}
