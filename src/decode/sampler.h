/* sampler.h - what tests and speculation need of a sampler beside lathe/decode.h. */
#ifndef LATHE_DECODE_SAMPLER_H
#define LATHE_DECODE_SAMPLER_H

#include "lathe/decode.h"

/* One more token that ends DRY's repetitions; nothing where the sampler has no breakers. */
void lathe_sampler_break_at(lathe_sampler *sampler, int32_t id);

/* Mirostat's bound on the surprise, in bits. */
double lathe_sampler_mu(const lathe_sampler *sampler);

#endif
