/* rows_avx2.c - see rows_tmpl.h. */
#include "tensor/cpu/rows_tmpl.h"

extern const lathe_rows lathe_rows_avx2;
const lathe_rows lathe_rows_avx2 = LATHE_ROWS("avx2");
