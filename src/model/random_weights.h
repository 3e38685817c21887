/* random_weights.h - standard normal numbers of a named tensor: what synth and training begin with. */
#ifndef LATHE_MODEL_RANDOM_WEIGHTS_H
#define LATHE_MODEL_RANDOM_WEIGHTS_H

#include "lathe/base.h"

/* FNV-1a, 32 bits. */
uint32_t lathe_fnv1a32(const char *text);

/* out[n]: elements first .. first + n - 1 (memory order) of tensor `name` under `seed`; first is a multiple
 * of 4. They depend on (seed, name, index) alone. Philox purpose 32, Box-Muller; all in double precision with
 * own logarithm and sine, so that no math library changes a file. Source: learning.md D.c. */
void lathe_random_normals(uint64_t seed, const char *name, uint64_t first, size_t n, float *out);

#endif
