/* attention_scalar.c - fused attention for any processor, in plain C. */
#include "tensor/cpu/attention_set.h"
#include <math.h>
#include <string.h>

#include "tensor/cpu/simd_scalar.h"

#include "tensor/cpu/lanes_scalar.h"

#include "tensor/cpu/attention_tmpl.h"

const lathe_attention_set lathe_attention_scalar = {whole_tile, all_heads, chunks_of_heads, merge_heads,
                                                    to_half};
