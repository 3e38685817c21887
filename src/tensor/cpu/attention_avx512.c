/* attention_avx512.c - fused attention for AVX-512. */
#include "tensor/cpu/attention_set.h"
#include "tensor/cpu/simd_avx512.h"

#include "tensor/cpu/lanes_avx512.h"

#include "tensor/cpu/attention_tmpl.h"

const lathe_attention_set lathe_attention_avx512 = {whole_tile, all_heads, chunks_of_heads, merge_heads,
                                                    to_half};
