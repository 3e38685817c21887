/* attention_neon.c - fused attention for 64-bit ARM. */
#include "tensor/cpu/attention_set.h"
#include "tensor/cpu/simd_neon.h"

#include "tensor/cpu/lanes_neon.h"

#include "tensor/cpu/attention_tmpl.h"

const lathe_attention_set lathe_attention_neon = {whole_tile, all_heads, chunks_of_heads, merge_heads,
                                                  to_half};
