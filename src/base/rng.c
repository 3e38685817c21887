/* rng.c - Philox4x32-10, and the distributions drawn from it. */
#include "lathe/base.h"

#include <math.h>

void lathe_philox(uint64_t seed, uint32_t purpose, uint32_t w1, uint32_t w2, uint32_t w3, uint32_t out[4]) {
    uint32_t c0 = purpose, c1 = w1, c2 = w2, c3 = w3;
    uint32_t k0 = (uint32_t) seed, k1 = (uint32_t) (seed >> 32);
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = 0xD2511F53ull * c0;
        const uint64_t p1 = 0xCD9E8D57ull * c2;
        c0 = (uint32_t) (p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t) p1;
        c2 = (uint32_t) (p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t) p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/* 53 of 64 bits as a double in [0, 1). */
static double unit(uint64_t bits) {
    return (double) (bits >> 11) * 0x1p-53;
}

double lathe_uniform_at(uint64_t seed, uint32_t purpose, uint32_t w1, uint32_t w2, uint32_t w3) {
    uint32_t w[4];
    lathe_philox(seed, purpose, w1, w2, w3, w);
    return unit((uint64_t) w[0] << 32 | w[1]);
}

lathe_rng lathe_rng_new(uint64_t seed, uint32_t purpose, uint32_t sub) {
    return (lathe_rng){.seed = seed, .purpose = purpose, .sub = sub, .position = 0};
}

uint64_t lathe_rng_u64(lathe_rng *rng) {
    uint32_t w[4];
    const uint64_t block = rng->position >> 1;
    lathe_philox(rng->seed, rng->purpose, rng->sub, (uint32_t) block, (uint32_t) (block >> 32), w);
    const int half = (int) (rng->position & 1) * 2;
    rng->position++;
    return (uint64_t) w[half] << 32 | w[half + 1];
}

double lathe_rng_uniform(lathe_rng *rng) {
    return unit(lathe_rng_u64(rng));
}

uint64_t lathe_rng_below(lathe_rng *rng, uint64_t n) {
    /* Rejects the incomplete last run of n, so that no residue is favoured. */
    const uint64_t limit = UINT64_MAX - UINT64_MAX % n;
    uint64_t x = lathe_rng_u64(rng);
    while (x >= limit)
        x = lathe_rng_u64(rng);
    return x % n;
}

double lathe_rng_normal(lathe_rng *rng) {
    const double u = 1.0 - lathe_rng_uniform(rng); /* in (0, 1]: the logarithm is finite */
    const double v = lathe_rng_uniform(rng);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586476925 * v);
}

double lathe_rng_exponential(lathe_rng *rng) {
    return -log(1.0 - lathe_rng_uniform(rng));
}

double lathe_rng_gamma(lathe_rng *rng, double shape) {
    if (shape < 1.0) {
        const double u = 1.0 - lathe_rng_uniform(rng);
        return lathe_rng_gamma(rng, shape + 1.0) * pow(u, 1.0 / shape);
    }
    const double d = shape - 1.0 / 3.0;
    const double c = 1.0 / sqrt(9.0 * d);
    for (;;) {
        const double x = lathe_rng_normal(rng);
        const double t = 1.0 + c * x;
        if (t <= 0.0)
            continue;
        const double v = t * t * t;
        const double u = 1.0 - lathe_rng_uniform(rng);
        if (log(u) < 0.5 * x * x + d - d * v + d * log(v))
            return d * v;
    }
}

size_t lathe_rng_categorical(lathe_rng *rng, const double *w, size_t n) {
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += w[i];
    const double target = lathe_rng_uniform(rng) * sum;
    double running = 0.0;
    size_t last_positive = 0;
    for (size_t i = 0; i < n; i++) {
        if (w[i] <= 0.0)
            continue;
        running += w[i];
        last_positive = i;
        if (target < running)
            return i;
    }
    return last_positive; /* rounding left the target at the very end */
}

void lathe_rng_permutation(lathe_rng *rng, int32_t *out, int32_t n) {
    for (int32_t i = 0; i < n; i++) {
        const int32_t j = (int32_t) lathe_rng_below(rng, (uint64_t) i + 1);
        out[i] = out[j];
        out[j] = i;
    }
}
