/* random_weights.c - Box-Muller on Philox blocks, four numbers a block. */
#include "model/random_weights.h"

#include <math.h>
#include <string.h>

#include "base/rng_purpose.h"

uint32_t lathe_fnv1a32(const char *text) {
    uint32_t h = 2166136261u;
    for (; *text; text++)
        h = (h ^ (uint8_t) *text) * 16777619u;
    return h;
}

/* ln x of a normal number: 2 artanh((m - 1) / (m + 1)) + e ln 2 with m in [sqrt 1/2, sqrt 2). */
static double log_of(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint64_t shifted = bits - UINT64_C(0x3FE6A09E667F3BCD); /* sqrt 1/2 */
    const int64_t e = (int64_t) shifted >> 52;
    bits -= (uint64_t) e << 52;
    double m;
    memcpy(&m, &bits, sizeof m);
    const double s = (m - 1) / (m + 1), q = s * s;
    const double sum =
        1 + q * (1.0 / 3 + q * (1.0 / 5 + q * (1.0 / 7 + q * (1.0 / 9 + q * (1.0 / 11 + q * (1.0 / 13))))));
    return 2 * s * sum + (double) e * 0.69314718055994530942;
}

/* cos and sin of 2 pi u, u in [0, 1): Taylor series on the nearest quarter turn. */
static void turn(double u, double *cosine, double *sine) {
    const int quarter = (int) (u * 4 + 0.5);
    const double x = (u * 4 - quarter) * 1.57079632679489661923, q = x * x;
    const double s =
        x * (1 - q / 6 * (1 - q / 20 * (1 - q / 42 * (1 - q / 72 * (1 - q / 110 * (1 - q / 156))))));
    const double c = 1 - q / 2 * (1 - q / 12 * (1 - q / 30 * (1 - q / 56 * (1 - q / 90 * (1 - q / 132)))));
    const double a = quarter & 1 ? s : c, b = quarter & 1 ? c : s;
    *cosine = (quarter + 1) & 2 ? -a : a;
    *sine = quarter & 2 ? -b : b;
}

static void pair(uint32_t w0, uint32_t w1, float out[2]) {
    double c, s;
    const double r = sqrt(-2 * log_of(((w0 >> 8) + 0.5) * 0x1p-24));
    turn(((w1 >> 8) + 0.5) * 0x1p-24, &c, &s);
    out[0] = (float) (r * c);
    out[1] = (float) (r * s);
}

void lathe_random_normals(uint64_t seed, const char *name, uint64_t first, size_t n, float *out) {
    const uint32_t hash = lathe_fnv1a32(name);
    for (size_t i = 0; i < n; i += 4) {
        uint32_t w[4];
        float z[4];
        lathe_philox(seed, LATHE_RNG_WEIGHTS, hash, (uint32_t) ((first + i) / 4), 0, w);
        pair(w[0], w[1], z);
        pair(w[2], w[3], z + 2);
        memcpy(out + i, z, (n - i < 4 ? n - i : 4) * sizeof *out);
    }
}
