/* kernels_avx512.c - the kernels for AVX-512 with VNNI. */
#include <math.h>
#include <string.h>

#include "tensor/cpu/attention_set.h"
#include "tensor/cpu/cpu.h"
#include "tensor/cpu/cpuid.h"
#include "tensor/cpu/dot_avx512.h"

#include "tensor/cpu/matmul_tmpl.h"

static bool is_usable(void) {
    return cpuid_has_avx512();
}

const lathe_cpu lathe_cpu_avx512 = {"avx512", is_usable, quantise, matmul, spin, &lathe_attention_avx512};
