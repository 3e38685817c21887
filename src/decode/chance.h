/* chance.h - where the random decisions of a speculative round come from.
 *
 * Purposes 0 and 6 depend on the position alone, so that `match` and `coupled` give the text of plain
 * decoding. Purposes 1 to 4 also have the committed length at the start of the round in their counter: with
 * the position alone `block` would meet the same numbers again in its next round, where they are no longer
 * uniform, and its output would leave the target's law. A `choose` function replaces the generator: tests
 * walk all outcomes with it, exactly. */
#ifndef LATHE_DECODE_CHANCE_H
#define LATHE_DECODE_CHANCE_H

#include "base/rng_purpose.h"
#include "lathe/base.h"

typedef struct lathe_chance {
    uint64_t seed;
    uint64_t n_committed; /* length at the start of the round */
    bool position_only;   /* leaves the round out of the counter: wrong, kept as a known failure for checks */
    /* An index in [0, n) with probability w[i] / sum(w); NULL: Philox. */
    size_t (*choose)(void *user, uint32_t purpose, uint64_t position, const double *w, size_t n);
    void *user;
} lathe_chance;

/* The uniform of a purpose (1 to 4) at a position. */
double lathe_chance_uniform(const lathe_chance *chance, uint32_t purpose, uint64_t position, uint32_t index);
/* true with probability min(1, ratio), u < ratio: purpose 2. */
bool lathe_chance_accept(const lathe_chance *chance, double ratio, uint64_t position, uint32_t index);
/* An id in proportion to w [n] by inverse cumulative sum: the first whose sum passes u, the last positive one
 * where rounding leaves a gap. Purpose 0 takes the position alone. */
int32_t lathe_chance_draw(const lathe_chance *chance, uint32_t purpose, const double *w, int32_t n,
                          uint64_t position, uint32_t index);
/* The id that u in [0, 1) picks. */
int32_t lathe_inverse_cdf(const double *w, int32_t n, double u);
/* argmin over ids with positive law of E_x / law(x), E_x = -log U(seed, 6, position, x): the Gumbel coupling.
 */
int32_t lathe_gumbel_pick(uint64_t seed, const double *law, int32_t n, uint64_t position);

#endif
