/* kernels_avxvnni.c - the kernels for AVX2 with 256-bit VNNI. */
#include <math.h>
#include <string.h>

#include "tensor/cpu/attention_set.h"
#include "tensor/cpu/cpu.h"
#include "tensor/cpu/cpuid.h"
#include "tensor/cpu/dot_avx2.h"

#include "tensor/cpu/matmul_tmpl.h"

static bool is_usable(void) {
    return cpuid_has_avxvnni();
}

const lathe_cpu lathe_cpu_avxvnni = {"avxvnni", is_usable, quantise, matmul, spin, &lathe_attention_avx2};
