/* rows.c - which instruction set. */
#include "tensor/cpu/rows.h"

#include <stdlib.h>
#include <string.h>

extern const lathe_rows lathe_rows_scalar;
#if defined(__x86_64__) && defined(__GNUC__)
#include "tensor/cpu/cpuid.h"
extern const lathe_rows lathe_rows_avx2, lathe_rows_avx512;
#endif

const lathe_rows *lathe_rows_best(void) {
#if defined(__x86_64__) && defined(__GNUC__)
    const char *wanted = getenv("LATHE_CPU");
    if (wanted == NULL || strcmp(wanted, "scalar") != 0) {
        bool wide = wanted == NULL || strncmp(wanted, "avx2", 4) != 0;
        if (wide && cpuid_has_avx512())
            return &lathe_rows_avx512;
        if (cpuid_has_avx2())
            return &lathe_rows_avx2;
    }
#endif
    return &lathe_rows_scalar;
}
