/* eval_double_nn.c - norms, softmax, cross entropy, RoPE, convolutions, pooling and resampling in double. */
#include <math.h>
#include <string.h>

#include "support/eval_double.h"

typedef struct ggml_tensor T;
typedef double_view V;

#define EACH(v)                                                                                              \
    for (int64_t i3 = 0; i3 < (v)->ne[3]; i3++)                                                              \
        for (int64_t i2 = 0; i2 < (v)->ne[2]; i2++)                                                          \
            for (int64_t i1 = 0; i1 < (v)->ne[1]; i1++)                                                      \
                for (int64_t i0 = 0; i0 < (v)->ne[0]; i0++)
#define ROWS(v)                                                                                              \
    for (int64_t i3 = 0; i3 < (v)->ne[3]; i3++)                                                              \
        for (int64_t i2 = 0; i2 < (v)->ne[2]; i2++)                                                          \
            for (int64_t i1 = 0; i1 < (v)->ne[1]; i1++)

static double param(const T *t, int i) {
    float x;
    memcpy(&x, &t->op_params[i], sizeof x);
    return (double) x;
}

/* --- Norms -------------------------------------------------------------------------------------------- */

/* n values, `step` apart: y = (x - centre) / sqrt(mean (x - centre)^2 + eps). */
static void normalise(double *y, const double *x, int64_t n, bool centred, double eps) {
    double mean = 0, square = 0;
    for (int64_t i = 0; centred && i < n; i++)
        mean += x[i] / (double) n;
    for (int64_t i = 0; i < n; i++)
        square += (x[i] - mean) * (x[i] - mean) / (double) n;
    for (int64_t i = 0; i < n; i++)
        y[i] = (x[i] - mean) / sqrt(square + eps);
}

static void norm(const T *t, const V *y, const V *x) { /* rows without gaps */
    if (t->op == GGML_OP_GROUP_NORM) {
        int64_t groups = t->op_params[0], per = y->ne[0] * y->ne[1] * y->ne[2] / groups;
        for (int64_t g = 0; g < groups * y->ne[3]; g++)
            normalise(y->x + g * per, x->x + g * per, per, true, param(t, 1));
        return;
    }
    ROWS(y)
    normalise(at(y, 0, i1, i2, i3), at(x, 0, i1, i2, i3), y->ne[0], t->op == GGML_OP_NORM, param(t, 0));
}

static void l2(const T *t, const V *y, const V *x) {
    ROWS(y) {
        double square = 0;
        for (int64_t k = 0; k < y->ne[0]; k++)
            square += *at(x, k, i1, i2, i3) * *at(x, k, i1, i2, i3);
        for (int64_t k = 0; k < y->ne[0]; k++)
            *at(y, k, i1, i2, i3) = *at(x, k, i1, i2, i3) / fmax(sqrt(square), param(t, 0));
    }
}

static void rms_back(const T *t, const V *y, const V *s) { /* gradient, x */
    ROWS(y) {
        double square = param(t, 0), along = 0;
        for (int64_t k = 0; k < y->ne[0]; k++) {
            square += *at(&s[1], k, i1, i2, i3) * *at(&s[1], k, i1, i2, i3) / (double) y->ne[0];
            along += *at(&s[1], k, i1, i2, i3) * *at(&s[0], k, i1, i2, i3) / (double) y->ne[0];
        }
        for (int64_t k = 0; k < y->ne[0]; k++)
            *at(y, k, i1, i2, i3) =
                (*at(&s[0], k, i1, i2, i3) - *at(&s[1], k, i1, i2, i3) * along / square) / sqrt(square);
    }
}

/* --- Softmax ------------------------------------------------------------------------------------------ */

static double slope_of(double bias, int64_t h, int64_t heads) {
    int64_t power = 1;
    while (2 * power <= heads)
        power *= 2;
    if (!(bias > 0))
        return 1;
    return h < power ? pow(2, -bias / (double) power * (double) (h + 1))
                     : pow(2, -bias / 2 / (double) power * (double) (2 * (h - power) + 1));
}

static void softmax(const T *t, const V *y, const V *s) {
    ROWS(y) {
        double slope = slope_of(param(t, 1), i2, y->ne[2]), largest = -INFINITY, sum = 0;
        double sink = s[2].x != NULL ? s[2].x[i2] : -INFINITY;
        for (int64_t k = 0; k < y->ne[0]; k++) {
            double z = param(t, 0) * *at(&s[0], k, i1, i2, i3);
            if (s[1].x != NULL)
                z += slope * *at(&s[1], k, i1, i2 % s[1].ne[2], i3 % s[1].ne[3]);
            *at(y, k, i1, i2, i3) = z;
            largest = fmax(largest, z);
        }
        for (int64_t k = 0; k < y->ne[0]; k++)
            sum += *at(y, k, i1, i2, i3) = exp(*at(y, k, i1, i2, i3) - largest);
        sum += exp(sink - largest);
        for (int64_t k = 0; k < y->ne[0]; k++)
            *at(y, k, i1, i2, i3) /= sum;
    }
}

static void softmax_back(const T *t, const V *y, const V *s) { /* gradient, probabilities */
    ROWS(y) {
        double along = 0;
        for (int64_t k = 0; k < y->ne[0]; k++)
            along += *at(&s[0], k, i1, i2, i3) * *at(&s[1], k, i1, i2, i3);
        for (int64_t k = 0; k < y->ne[0]; k++)
            *at(y, k, i1, i2, i3) =
                param(t, 0) * *at(&s[1], k, i1, i2, i3) * (*at(&s[0], k, i1, i2, i3) - along);
    }
}

static void cross_entropy(const V *y, const V *s) {
    double rows = (double) (s[0].ne[1] * s[0].ne[2] * s[0].ne[3]), total = 0;
    ROWS(&s[0]) {
        double sum = 0;
        for (int64_t k = 0; k < s[0].ne[0]; k++)
            sum += exp(*at(&s[0], k, i1, i2, i3));
        for (int64_t k = 0; k < s[0].ne[0]; k++)
            total -= *at(&s[1], k, i1, i2, i3) * (*at(&s[0], k, i1, i2, i3) - log(sum));
    }
    y->x[0] = total / rows;
}

/* --- RoPE --------------------------------------------------------------------------------------------- */

static double angle_of(const T *t, double position, int64_t pair, int64_t n_dims, double *length) {
    double base = param(t, 5), scale = param(t, 6), ext = param(t, 7), two_pi = 6.283185307179586;
    double angle = position * pow(base, -2.0 * (double) pair / (double) n_dims);
    *length = param(t, 8);
    if (!(ext > 0))
        return scale * angle;
    double fast = (double) n_dims * log(t->op_params[4] / (param(t, 9) * two_pi)) / (2 * log(base));
    double slow = (double) n_dims * log(t->op_params[4] / (param(t, 10) * two_pi)) / (2 * log(base));
    double low = fmax(0, floor(fast)), high = fmin((double) n_dims - 1, ceil(slow));
    double ramp = (1 - fmin(1, fmax(0, ((double) pair - low) / fmax(0.001, high - low)))) * ext;
    *length *= 1 + 0.1 * log(1 / scale);
    return scale * angle * (1 - ramp) + angle * ramp;
}

static void rope(const T *t, const V *y, const V *x) {
    const int32_t *positions = t->src[1]->data;
    const int64_t n_dims = t->op_params[1];
    const bool neox = (t->op_params[2] & GGML_ROPE_TYPE_NEOX) != 0;
    EACH(y) * at(y, i0, i1, i2, i3) = *at(x, i0, i1, i2, i3);
    for (int64_t i3 = 0; i3 < y->ne[3]; i3++)
        for (int64_t i2 = 0; i2 < y->ne[2]; i2++)
            for (int64_t i1 = 0; i1 < y->ne[1]; i1++)
                for (int64_t p = 0; p < n_dims / 2; p++) {
                    double length, angle = angle_of(t, positions[i2], p, n_dims, &length);
                    int64_t first = neox ? p : 2 * p, second = neox ? p + n_dims / 2 : 2 * p + 1;
                    double a = *at(x, first, i1, i2, i3), b = *at(x, second, i1, i2, i3);
                    double c = length * cos(angle),
                           s = length * (t->op == GGML_OP_ROPE_BACK ? -sin(angle) : sin(angle));
                    *at(y, first, i1, i2, i3) = a * c - b * s;
                    *at(y, second, i1, i2, i3) = a * s + b * c;
                }
}

/* --- Convolutions: columns, one function for both directions ------------------------------------------- */

/* column[k] of place (w, h, n) and the pixel that it holds, NULL outside; the image is [W, H, C, N]. */
static void columns(const T *t, const V *column, const V *image, bool back) {
    const T *kernel = t->op == GGML_OP_IM2COL ? t->src[0] : t->src[1];
    const int32_t *p = t->op_params;
    const bool flat = p[6] != 1;
    const int64_t kw = kernel->ne[0], kh = flat ? 1 : kernel->ne[1],
                  channels = flat ? image->ne[1] : image->ne[2];
    const int64_t n = flat ? image->ne[2] : image->ne[3], ow = column->ne[1], oh = flat ? 1 : column->ne[2];
    if (back)
        EACH(image) * at(image, i0, i1, i2, i3) = 0;
    for (int64_t b = 0; b < n; b++)
        for (int64_t h = 0; h < oh; h++)
            for (int64_t w = 0; w < ow; w++)
                for (int64_t k = 0; k < channels * kh * kw; k++) {
                    int64_t c = k / (kh * kw), y = h * p[1] + k / kw % kh * p[5] - p[3],
                            x = w * p[0] + k % kw * p[4] - p[2];
                    double *col = flat ? at(column, k, w, b, 0) : at(column, k, w, h, b);
                    bool inside = x >= 0 && x < image->ne[0] && (flat || (y >= 0 && y < image->ne[1]));
                    double *pixel = !inside ? NULL : flat ? at(image, x, c, b, 0) : at(image, x, y, c, b);
                    if (back && pixel != NULL)
                        *pixel += *col;
                    else if (!back)
                        *col = pixel != NULL ? *pixel : 0;
                }
}

static void columns_3d(const T *t, const V *column, const V *volume) {
    const T *kernel = t->src[0];
    const int32_t *p = t->op_params;
    const int64_t kw = kernel->ne[0], kh = kernel->ne[1], kd = kernel->ne[2], channels = p[9];
    const int64_t n = volume->ne[3] / channels, od = column->ne[3] / n;
    EACH(column) {
        int64_t c = i0 / (kw * kh * kd), b = i3 / od, x = i1 * p[0] + i0 % kw * p[6] - p[3];
        int64_t y = i2 * p[1] + i0 / kw % kh * p[7] - p[4],
                z = i3 % od * p[2] + i0 / (kw * kh) % kd * p[8] - p[5];
        bool inside =
            x >= 0 && x < volume->ne[0] && y >= 0 && y < volume->ne[1] && z >= 0 && z < volume->ne[2];
        *at(column, i0, i1, i2, i3) = inside ? *at(volume, x, y, z, b * channels + c) : 0;
    }
}

static void conv_transpose(const T *t, const V *y, const V *a, const V *b) {
    const int64_t s = t->op_params[0];
    EACH(y) * at(y, i0, i1, i2, i3) = 0;
    if (t->op == GGML_OP_CONV_TRANSPOSE_1D) { /* a [k, oc, ic], b [l, ic] */
        for (int64_t ic = 0; ic < a->ne[2]; ic++)
            for (int64_t l = 0; l < b->ne[0]; l++)
                for (int64_t oc = 0; oc < a->ne[1]; oc++)
                    for (int64_t k = 0; k < a->ne[0]; k++)
                        *at(y, l * s + k, oc, 0, 0) += *at(a, k, oc, ic, 0) * *at(b, l, ic, 0, 0);
        return;
    }
    EACH(b) /* a [kw, kh, oc, ic], b [w, h, ic, n] */
    for (int64_t oc = 0; oc < a->ne[2]; oc++)
        for (int64_t kh = 0; kh < a->ne[1]; kh++)
            for (int64_t kw = 0; kw < a->ne[0]; kw++)
                *at(y, i0 * s + kw, i1 * s + kh, oc, i3) += *at(a, kw, kh, oc, i2) * *at(b, i0, i1, i2, i3);
}

/* --- Pooling and resampling --------------------------------------------------------------------------- */

/* Windows without padding. back: from g [pooled] to y [image]; else from x [image] to y [pooled]. */
static void pool(const T *t, const V *y, const V *x, const V *g) {
    const int32_t *p = t->op_params;
    const bool flat = t->op == GGML_OP_POOL_1D, most = p[0] == GGML_OP_POOL_MAX, back = g != NULL;
    const int64_t k0 = p[1], k1 = flat ? 1 : p[2], s0 = flat ? p[2] : p[3], s1 = flat ? 1 : p[4];
    const V *small = back ? g : y;
    if (back)
        EACH(y) * at(y, i0, i1, i2, i3) = 0;
    EACH(small) {
        double sum = 0, largest = -INFINITY;
        int64_t best = 0;
        for (int64_t k = 0; k < k0 * k1; k++) {
            double v = *at(x, i0 * s0 + k % k0, i1 * s1 + k / k0, i2, i3);
            sum += v;
            if (v > largest) {
                largest = v;
                best = k;
            }
        }
        double count = (double) (k0 * k1);
        if (!back)
            *at(y, i0, i1, i2, i3) = most ? largest : sum / count;
        for (int64_t k = 0; back && k < k0 * k1; k++)
            *at(y, i0 * s0 + k % k0, i1 * s1 + k / k0, i2, i3) +=
                most ? (k == best ? *at(g, i0, i1, i2, i3) : 0) : *at(g, i0, i1, i2, i3) / count;
    }
}

/* The share of old pixel j in new pixel i. */
static double share(int32_t flags, int64_t from, int64_t to, int64_t i, int64_t j) {
    const bool aligned = (flags & GGML_SCALE_FLAG_ALIGN_CORNERS) != 0,
               smooth = (flags & GGML_SCALE_FLAG_ANTIALIAS) != 0;
    double factor = (double) (aligned ? (float) (to - 1) / (float) (from - 1) : (float) to / (float) from);
    double offset = aligned ? 0 : 0.5;
    if ((flags & 0xFF) == GGML_SCALE_MODE_NEAREST)
        return (int64_t) ((double) i / ((double) ((float) to / (float) from))) == j;
    double place = ((double) i + offset) / factor - offset;
    if (!smooth)
        return fmax(0, 1 - fabs((double) j - fmin(fmax(place, 0), (double) (from - 1))));
    double width = fmax(1, 1 / factor), total = 0;
    for (int64_t k = 0; k < from; k++)
        total += fmax(0, 1 - fabs((double) k - place) / width);
    return fmax(0, 1 - fabs((double) j - place) / width) / total;
}

static void upscale(const T *t, const V *y, const V *x) {
    EACH(y) {
        double sum = 0;
        for (int64_t j1 = 0; j1 < x->ne[1]; j1++)
            for (int64_t j0 = 0; j0 < x->ne[0]; j0++)
                sum += *at(x, j0, j1, i2, i3) * share(t->op_params[0], x->ne[0], y->ne[0], i0, j0) *
                       share(t->op_params[0], x->ne[1], y->ne[1], i1, j1);
        *at(y, i0, i1, i2, i3) = sum;
    }
}

static bool image(const T *t, const V *y, const V *s) {
    switch (t->op) {
    case GGML_OP_IM2COL:
        columns(t, y, &s[1], false);
        return true;
    case GGML_OP_IM2COL_BACK:
        columns(t, &s[0], y, true);
        return true;
    case GGML_OP_IM2COL_3D:
        columns_3d(t, y, &s[1]);
        return true;
    case GGML_OP_CONV_TRANSPOSE_1D:
    case GGML_OP_CONV_TRANSPOSE_2D:
        conv_transpose(t, y, &s[0], &s[1]);
        return true;
    case GGML_OP_POOL_1D:
    case GGML_OP_POOL_2D:
        pool(t, y, &s[0], NULL);
        return true;
    case GGML_OP_POOL_2D_BACK:
        pool(t, y, &s[1], &s[0]);
        return true;
    case GGML_OP_UPSCALE:
        upscale(t, y, &s[0]);
        return true;
    default:
        return false;
    }
}

bool double_nn(const T *t, const V *y, const V *s) {
    switch (t->op) {
    case GGML_OP_RMS_NORM:
    case GGML_OP_NORM:
    case GGML_OP_GROUP_NORM:
        norm(t, y, &s[0]);
        return true;
    case GGML_OP_L2_NORM:
        l2(t, y, &s[0]);
        return true;
    case GGML_OP_RMS_NORM_BACK:
        rms_back(t, y, s);
        return true;
    case GGML_OP_SILU_BACK:
        EACH(y) {
            double x = *at(&s[1], i0, i1, i2, i3), sig = 1 / (1 + exp(-x));
            *at(y, i0, i1, i2, i3) = *at(&s[0], i0, i1, i2, i3) * (sig + x * sig * (1 - sig));
        }
        return true;
    case GGML_OP_SOFT_MAX:
        softmax(t, y, s);
        return true;
    case GGML_OP_SOFT_MAX_BACK:
        softmax_back(t, y, s);
        return true;
    case GGML_OP_CROSS_ENTROPY_LOSS:
        cross_entropy(y, s);
        return true;
    case GGML_OP_ROPE:
    case GGML_OP_ROPE_BACK:
        rope(t, y, &s[0]);
        return true;
    default:
        return image(t, y, s);
    }
}
