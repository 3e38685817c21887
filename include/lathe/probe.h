/** @file probe.h
 * Looking into models: exact curvature of the loss, and spectra of matrices. */
#ifndef LATHE_PROBE_H
#define LATHE_PROBE_H

#include "lathe/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- Curvature ----------------------------------------------------------------------------------- */

/** The loss of a model on one fixed batch, its gradient and its Hessian-vector products. */
typedef struct lathe_curve lathe_curve;

/** Opens a model (quantised weights are dequantised) on tokens [rows][ctx + 1].
 * @param quantised  set where weights were rounded before; may be NULL */
LATHE_API LATHE_NODISCARD lathe_status lathe_curve_new(const char *path, const int32_t *tokens, int32_t rows,
                                                       int32_t ctx, int32_t n_threads, lathe_curve **curve,
                                                       bool *quantised, lathe_error *err);
/** The same for weights that are set afterwards: of a model in training (its description is the library's
 * own). */
struct lathe_desc;
LATHE_API LATHE_NODISCARD lathe_status lathe_curve_of(const struct lathe_desc *desc, const int32_t *tokens,
                                                      int32_t rows, int32_t ctx, int32_t n_threads,
                                                      lathe_curve **curve, lathe_error *err);
LATHE_API void lathe_curve_free(lathe_curve *curve);
/** Other tokens of the same size. */
LATHE_API LATHE_NODISCARD lathe_status lathe_curve_set_batch(lathe_curve *curve, const int32_t *tokens,
                                                             lathe_error *err);
/** Other values of tensor i. */
LATHE_API void lathe_curve_set_weights(lathe_curve *curve, size_t i, const float *values);
/** All weights, in the order of vectors. */
LATHE_API const float *lathe_curve_weights(const lathe_curve *curve);
/** Parameters in all; vectors below have so many floats, tensor after tensor. */
LATHE_API size_t lathe_curve_n(const lathe_curve *curve);
LATHE_API size_t lathe_curve_n_tensors(const lathe_curve *curve);
LATHE_API const char *lathe_curve_tensor_name(const lathe_curve *curve, size_t i);
/** Where tensor i begins; rows and columns (a vector: rows 1). */
LATHE_API size_t lathe_curve_tensor_at(const lathe_curve *curve, size_t i, int64_t *rows, int64_t *cols);
/** What a "layer" of the split is. */
typedef enum lathe_curve_by {
    LATHE_CURVE_BY_BLOCK,
    LATHE_CURVE_BY_TENSOR,
    LATHE_CURVE_BY_KIND
} lathe_curve_by;
LATHE_API void lathe_curve_group(lathe_curve *curve, lathe_curve_by by);
/** Layer of tensor i. By block: 0 embeddings, 1 .. n the blocks, n + 1 head and final norm. */
LATHE_API int32_t lathe_curve_layer(const lathe_curve *curve, size_t i);
LATHE_API int32_t lathe_curve_n_layers(const lathe_curve *curve);
/** Its name into text [n]; returns text. */
LATHE_API const char *lathe_curve_layer_name(const lathe_curve *curve, int32_t layer, char *text, size_t n);
/** true for the matrices of blocks (Muon's). */
LATHE_API bool lathe_curve_is_hidden(const lathe_curve *curve, size_t i);

/** Loss and gradient (may be NULL) at the weights plus `shift` (NULL: none). */
LATHE_API LATHE_NODISCARD lathe_status lathe_curve_loss(lathe_curve *curve, const float *shift, double *loss,
                                                        float *gradient, lathe_error *err);
/** out = H v. */
LATHE_API LATHE_NODISCARD lathe_status lathe_curve_hvp(lathe_curve *curve, const float *v, float *out,
                                                       lathe_error *err);

/** out = G v, the Gauss-Newton matrix of the cross entropy (the Fisher matrix of the model's own
 * distribution). */
LATHE_API LATHE_NODISCARD lathe_status lathe_curve_gnvp(lathe_curve *curve, const float *v, float *out,
                                                        lathe_error *err);
/** Gradient noise from the batch's chunks (McCandlish et al. 2018): *g2 estimates the squared length of the
 * true gradient, *s the trace of a sequence's covariance; s / g2 is the simple noise scale in sequences. ARG
 * for a batch of one chunk (up to 1024 tokens). */
LATHE_API LATHE_NODISCARD lathe_status lathe_curve_noise(lathe_curve *curve, double *g2, double *s,
                                                         lathe_error *err);
/** The same from mean squared lengths at two batch sizes. */
LATHE_API void lathe_noise_scale(double small, double n_small, double big, double n_big, double *g2,
                                 double *s);

/** What one step z, theta <- theta - z, does to the loss (docs/training.md). */
typedef struct lathe_curvature {
    double loss, decrease;    /**< L(theta) and L(theta) - L(theta - z) */
    double gain, penalty;     /**< <G, z> and <z, H z> / 2 */
    double update_norm2, nds; /**< |z|^2 and <z, H z> / |z|^2 (NaN for a zero step) */
    double within, cross;     /**< parts of nds of single layers and of pairs; NaN without the split */
    int32_t n_layers;
    double *block_matrix; /**< [n_layers, n_layers] <z_l, H z_k>; NULL without the split; free() it */
} lathe_curvature;

/** @param split  one product more for each layer */
LATHE_API LATHE_NODISCARD lathe_status lathe_probe_curvature(lathe_curve *curve, const float *z, bool split,
                                                             const lathe_progress *progress,
                                                             lathe_curvature *out, lathe_error *err);

/** A symmetric operator: out = A v, [n] each. */
typedef lathe_status (*lathe_operator)(void *user, const float *v, float *out, lathe_error *err);

/** Lanczos with full reorthogonalisation from q1 (normalised here; NULL: random signs from seed).
 * values [m] rising, residuals [m] (bound of each error), weights [m] (squared first components); *n_found <=
 * m. */
LATHE_API LATHE_NODISCARD lathe_status lathe_probe_lanczos(lathe_operator apply, void *user, size_t n,
                                                           int32_t m, const float *q1, uint64_t seed,
                                                           double *values, double *residuals, double *weights,
                                                           int32_t *n_found, lathe_error *err);

/** Hutchinson's estimate of the trace with random signs: mean and standard error over probes. */
LATHE_API LATHE_NODISCARD lathe_status lathe_probe_trace(lathe_operator apply, void *user, size_t n,
                                                         int32_t probes, uint64_t seed, double *mean,
                                                         double *error, lathe_error *err);

/** Spectral density by stochastic Lanczos quadrature: probes runs of m steps; at x[n_x] between the extremes
 * the density[n_x] that integrates to 1, each Ritz value a Gaussian of 1% of the range. */
LATHE_API LATHE_NODISCARD lathe_status lathe_probe_density(lathe_operator apply, void *user, size_t n,
                                                           int32_t m, int32_t probes, uint64_t seed,
                                                           size_t n_x, double *x, double *density,
                                                           lathe_error *err);

/* --- Spectra ------------------------------------------------------------------------------------- */

typedef struct lathe_spectrum {
    int32_t n;                      /**< singular values above 1e-7 of the largest */
    double entropy, effective_rank; /**< of the normalised squares: in [0, 1] and [1, n] */
    double top1, top10, q75_25;     /**< energy of the largest; ratio of quartiles of the squares */
    double s_max, fro, stable_rank;
} lathe_spectrum;

/** Spectrum of w [rows, cols]. INPUT for vectors, zeros, NaN and infinities. */
LATHE_API LATHE_NODISCARD lathe_status lathe_probe_spectrum(const float *w, int64_t rows, int64_t cols,
                                                            lathe_spectrum *out, lathe_error *err);

/** One matrix of a model. */
typedef struct lathe_spectrum_row {
    const char *name;
    int32_t layer; /**< -1: of none */
    int64_t rows, cols;
    lathe_spectrum spectrum;
    bool has_other;
    lathe_spectrum other, update; /**< of another file, and of the difference (n 0: there is none) */
    bool rounded;                 /**< weights of another type than f32 were converted */
} lathe_spectrum_row;

/** Every matrix of a model file, then W_O W_V of each layer as the mean over its heads.
 * @param other  another file of the same shapes; NULL: none */
LATHE_API LATHE_NODISCARD lathe_status
lathe_probe_spectra(const char *path, const char *other, const lathe_progress *progress,
                    lathe_status (*see)(void *user, const lathe_spectrum_row *row, lathe_error *err),
                    void *user, lathe_error *err);

#ifdef __cplusplus
}
#endif
#endif
