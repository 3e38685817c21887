/* kernels_scalar.c - the kernels for any processor, in plain C. */
#include <math.h>
#include <string.h>

#include "tensor/cpu/attention_set.h"
#include "tensor/cpu/cpu.h"
#include "tensor/cpu/dot_scalar.h"

#include "tensor/cpu/matmul_tmpl.h"

static bool is_usable(void) {
    return true;
}

const lathe_cpu lathe_cpu_scalar = {"scalar", is_usable, quantise, matmul, spin, &lathe_attention_scalar};
