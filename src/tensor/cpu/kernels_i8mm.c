/* kernels_i8mm.c - the kernels for Arm processors with the products of matrices of bytes. */
#include <math.h>
#include <string.h>

#include "tensor/cpu/attention_set.h"
#include "tensor/cpu/cpu.h"
#include "tensor/cpu/dot_neon.h"
#include "tensor/cpu/hwcap.h"

#include "tensor/cpu/matmul_tmpl.h"

static bool is_usable(void) {
    return hwcap_has_i8mm();
}

const lathe_cpu lathe_cpu_i8mm = {"i8mm", is_usable, quantise, matmul, spin, &lathe_attention_neon};
