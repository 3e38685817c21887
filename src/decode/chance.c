/* chance.c - random decisions of a round: counters of the table in rng_purpose.h. */
#include "decode/chance.h"

#include <math.h>

double lathe_chance_uniform(const lathe_chance *chance, uint32_t purpose, uint64_t position, uint32_t index) {
    const bool by_position = purpose == LATHE_RNG_TARGET_SAMPLE || chance->position_only;
    const uint32_t word2 = by_position ? (uint32_t) (position >> 32) : (uint32_t) chance->n_committed;
    return lathe_uniform_at(chance->seed, purpose, (uint32_t) position, word2, index);
}

bool lathe_chance_accept(const lathe_chance *chance, double ratio, uint64_t position, uint32_t index) {
    if (chance->choose) {
        const double r = ratio < 0.0 ? 0.0 : ratio > 1.0 ? 1.0 : ratio;
        return chance->choose(chance->user, LATHE_RNG_ACCEPT_TEST, position, (const double[]){r, 1.0 - r},
                              2) == 0;
    }
    return lathe_chance_uniform(chance, LATHE_RNG_ACCEPT_TEST, position, index) < ratio;
}

int32_t lathe_inverse_cdf(const double *w, int32_t n, double u) {
    double sum = 0.0;
    for (int32_t i = 0; i < n; i++)
        sum += w[i];
    const double target = u * sum;
    double running = 0.0;
    int32_t last = 0;
    for (int32_t i = 0; i < n; i++) {
        if (!(w[i] > 0.0))
            continue;
        running += w[i];
        last = i;
        if (running > target)
            return i;
    }
    return last;
}

int32_t lathe_chance_draw(const lathe_chance *chance, uint32_t purpose, const double *w, int32_t n,
                          uint64_t position, uint32_t index) {
    if (chance->choose)
        return (int32_t) chance->choose(chance->user, purpose, position, w, (size_t) n);
    return lathe_inverse_cdf(w, n, lathe_chance_uniform(chance, purpose, position, index));
}

int32_t lathe_gumbel_pick(uint64_t seed, const double *law, int32_t n, uint64_t position) {
    int32_t best = -1;
    double least = INFINITY;
    for (int32_t x = 0; x < n; x++) {
        if (!(law[x] > 0.0))
            continue;
        const double u = lathe_uniform_at(seed, LATHE_RNG_GUMBEL, (uint32_t) position,
                                          (uint32_t) (position >> 32), (uint32_t) x);
        const double score = -log(u > 0.0 ? u : 0x1p-54) / law[x];
        if (best < 0 || score < least) {
            best = x;
            least = score;
        }
    }
    return best < 0 ? 0 : best;
}
