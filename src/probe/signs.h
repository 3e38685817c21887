/* signs.h - random probe vectors. */
#ifndef LATHE_PROBE_SIGNS_H
#define LATHE_PROBE_SIGNS_H

#include "lathe/base.h"

/* out[n] = +-1 of stream `probe`. */
void lathe_probe_signs(uint64_t seed, uint32_t probe, size_t n, float *out);

#endif
