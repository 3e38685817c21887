/* step_curvature.h - what one step of a small net did to its loss, exactly: gain, penalty, sharpness, parts
 * by layer; and the comparison of two runs at equal validation loss. Definitions: docs/training.md. */
#ifndef LATHE_LAB_STEP_CURVATURE_H
#define LATHE_LAB_STEP_CURVATURE_H

#include "lab/small_net.h"

enum { LATHE_STEP_LAYERS = 4 }; /* embeddings, two blocks, head */

typedef struct lathe_step_curvature {
    double decrease, gain, penalty; /* L(theta) - L(theta - z), <G, z>, <z, H z> / 2 */
    double norm2, sharpness;        /* |z|^2, <z, H z> / |z|^2 */
    double within, cross;           /* parts of the sharpness of single layers and of pairs */
    double sharpness_matrices;      /* of the hidden matrices' part of z alone */
    double taylor_gap;              /* |decrease - (gain - penalty)| / max(|decrease|, |gain|, 1e-12) */
    double blocks[LATHE_STEP_LAYERS][LATHE_STEP_LAYERS]; /* <z_l, H z_k> */
} lathe_step_curvature;

/* before, after: weights [n] around the step; gradient [n] and loss before it, on the net's present batch.
 * Leaves the net's weights at `after`. A net of two layers, built with products. NUMERIC where the step is
 * zero. */
LATHE_NODISCARD lathe_status lathe_step_curvature_measure(lathe_small_net *net, const float *before,
                                                          const float *after, const float *gradient,
                                                          double loss, lathe_step_curvature *out,
                                                          lathe_error *err);

/* Ratio of the means of a's and b's quantity over a grid of 12 equal validation losses: losses [n] are made
 * monotone (points that do not lower the loss are left out), quantities interpolated. NaN where the ranges do
 * not overlap. */
double lathe_matched_ratio(const double *loss_a, const double *a, int32_t n_a, double final_a,
                           const double *loss_b, const double *b, int32_t n_b, double final_b);

#endif
