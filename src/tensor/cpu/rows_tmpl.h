/* rows_tmpl.h - the kernels of rows.h in plain C that compilers turn into vectors; included once by each
 * rows_*.c. */
#include <stddef.h>
#include <string.h>

#include "tensor/cpu/rows.h"

#define ALWAYS static inline __attribute__((always_inline))

enum { LANES = 16, BLOCK = 1024 };

/* exp(x) for |x| <= 87; smaller arguments give 0, larger ones exp(87). */
ALWAYS float exp_of(float x) {
    float y = x < -87.0f ? -87.0f : x > 87.0f ? 87.0f : x;
    float shifted = y * 1.44269504f + 12582912.0f, n = shifted - 12582912.0f;
    float r = y - n * 0.693359375f + n * 2.12194440e-4f, p = 1.0f / 5040.0f;
    int32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    p = p * r + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    int32_t power = (bits - 0x4b400000 + 127) * (1 << 23);
    float scale;
    memcpy(&scale, &power, sizeof scale);
    float value = p * scale;
    return x < -87.0f ? 0.0f : x != x ? x : value;
}

ALWAYS float lanes_sum(const float lane[LANES]) {
    float s[LANES];
    memcpy(s, lane, sizeof s);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            s[i] += s[i + half];
    return s[0];
}

static float largest(const float *x, int64_t n) {
    float lane[LANES], m = x[0];
    int64_t i = 0;
    for (int k = 0; k < LANES; k++)
        lane[k] = x[0];
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++)
            lane[k] = x[i + k] > lane[k] ? x[i + k] : lane[k];
    for (int k = 0; k < LANES; k++)
        m = lane[k] > m ? lane[k] : m;
    for (; i < n; i++)
        m = x[i] > m ? x[i] : m;
    return m;
}

ALWAYS double exp_rows(const float *x, int64_t n, float m, float *out) {
    double total = 0;
    for (int64_t b = 0; b < n; b += BLOCK) {
        int64_t end = b + BLOCK < n ? b + BLOCK : n, i = b;
        float lane[LANES] = {0};
        for (; i + LANES <= end; i += LANES)
            for (int k = 0; k < LANES; k++) {
                float e = exp_of(x[i + k] - m);
                if (out != NULL)
                    out[i + k] = e;
                lane[k] += e;
            }
        float sum = lanes_sum(lane);
        for (; i < end; i++) {
            float e = exp_of(x[i] - m);
            if (out != NULL)
                out[i] = e;
            sum += e;
        }
        total += (double) sum;
    }
    return total;
}

static double exp_to(const float *x, int64_t n, float m, float *out) {
    return exp_rows(x, n, m, out);
}
static double exp_sum(const float *x, int64_t n, float m) {
    return exp_rows(x, n, m, NULL);
}

static void scale_row(float *x, int64_t n, float a) {
    for (int64_t i = 0; i < n; i++)
        x[i] *= a;
}

static float dot(const float *x, const float *y, int64_t n) {
    float lane[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++)
            lane[k] += x[i + k] * y[i + k];
    float sum = lanes_sum(lane);
    for (; i < n; i++)
        sum += x[i] * y[i];
    return sum;
}

static void softmax_back(const float *p, float *dp, int64_t n, float scale) {
    float sum = dot(p, dp, n);
    for (int64_t i = 0; i < n; i++)
        dp[i] = scale * p[i] * (dp[i] - sum);
}

static void swiglu(const float *gate, const float *up, int64_t n, float *out) {
    for (int64_t i = 0; i < n; i++)
        out[i] = gate[i] / (1.0f + exp_of(-gate[i])) * up[i];
}

static void swiglu_back(const float *gate, const float *up, const float *g, int64_t n, float *dgate,
                        float *dup) {
    for (int64_t i = 0; i < n; i++) {
        float s = 1.0f / (1.0f + exp_of(-gate[i])), y = gate[i] * s;
        float a = g[i] * up[i] * (s + y * (1.0f - s)), b = g[i] * y;
        dgate[i] = a;
        dup[i] = b;
    }
}

static void swiglu_tangent(const float *gate, const float *up, const float *tgate, const float *tup,
                           int64_t n, float *out) {
    for (int64_t i = 0; i < n; i++) {
        float s = 1.0f / (1.0f + exp_of(-gate[i])), y = gate[i] * s;
        out[i] = tgate[i] * up[i] * (s + y * (1.0f - s)) + y * tup[i];
    }
}

/* silu' = s + y (1 - s) and silu'' = s (1 - s) (2 + x (1 - 2 s)), s = sigmoid(x), y = x s. */
static void swiglu_back_tangent(const float *const in[6], int64_t n, float *dgate, float *dup) {
    const float *gate = in[0], *up = in[1], *g = in[2], *tgate = in[3], *tup = in[4], *tg = in[5];
    for (int64_t i = 0; i < n; i++) {
        float x = gate[i], s = 1.0f / (1.0f + exp_of(-x)), y = x * s;
        float first = s + y * (1.0f - s), second = s * (1.0f - s) * (2.0f + x * (1.0f - 2.0f * s));
        float a = (tg[i] * up[i] + g[i] * tup[i]) * first + g[i] * up[i] * second * tgate[i];
        float b = tg[i] * y + g[i] * first * tgate[i];
        dgate[i] = a;
        dup[i] = b;
    }
}

static void softmax_back_tangent(const float *p, const float *tp, float *d, float *td, int64_t n,
                                 float scale) {
    float sum = dot(p, d, n), change = dot(tp, d, n) + dot(p, td, n);
    for (int64_t i = 0; i < n; i++) {
        float e = d[i] - sum;
        td[i] = scale * (tp[i] * e + p[i] * (td[i] - change));
        d[i] = scale * p[i] * e;
    }
}

#define LATHE_ROWS(set_name)                                                                                 \
    {                                                                                                        \
        set_name, largest, exp_to, exp_sum, scale_row, softmax_back, swiglu, swiglu_back, swiglu_tangent,    \
            swiglu_back_tangent, softmax_back_tangent, dot                                                   \
    }
