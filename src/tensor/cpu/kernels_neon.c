/* kernels_neon.c - the kernels for Arm processors with the dot products of bytes. */
#include <math.h>
#include <string.h>

#include "tensor/cpu/attention_set.h"
#include "tensor/cpu/cpu.h"
#include "tensor/cpu/dot_neon.h"
#include "tensor/cpu/hwcap.h"

#include "tensor/cpu/matmul_tmpl.h"

static bool is_usable(void) {
    return hwcap_has_dotprod();
}

const lathe_cpu lathe_cpu_neon = {"neon", is_usable, quantise, matmul, spin, &lathe_attention_neon};
