/* rows_avx512.c - see rows_tmpl.h. */
#include "tensor/cpu/rows_tmpl.h"

extern const lathe_rows lathe_rows_avx512;
const lathe_rows lathe_rows_avx512 = LATHE_ROWS("avx512");
