/* attention_avx2.c - fused attention for AVX2, FMA and F16C. */
#include "tensor/cpu/attention_set.h"
#include "tensor/cpu/simd_avx2.h"

#include "tensor/cpu/lanes_avx2.h"

#include "tensor/cpu/attention_tmpl.h"

const lathe_attention_set lathe_attention_avx2 = {whole_tile, all_heads, chunks_of_heads, merge_heads,
                                                  to_half};
