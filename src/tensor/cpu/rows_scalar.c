/* rows_scalar.c - see rows_tmpl.h. */
#include "tensor/cpu/rows_tmpl.h"

extern const lathe_rows lathe_rows_scalar;
const lathe_rows lathe_rows_scalar = LATHE_ROWS("scalar");
