/* curvature.c - what one step does to the loss, by exact Hessian-vector products (Wang et al. 2026;
 * learning.md A.c). */
#include <math.h>
#include <stdlib.h>

#include "lathe/probe.h"

static double dot(const float *a, const float *b, size_t n) {
    double s = 0;
    for (size_t i = 0; i < n; i++)
        s += (double) a[i] * b[i];
    return s;
}

/* Row l of the block matrix: <z_k, H z_l> for all layers k. */
static lathe_status block_row(lathe_curve *c, const float *z, int32_t l, float *part, float *h, double *row,
                              lathe_error *err) {
    bool any = false;
    for (size_t i = 0; i < lathe_curve_n_tensors(c); i++) {
        int64_t rows, cols;
        size_t at = lathe_curve_tensor_at(c, i, &rows, &cols), n = (size_t) (rows * cols);
        for (size_t k = at; k < at + n; k++) {
            part[k] = lathe_curve_layer(c, i) == l ? z[k] : 0;
            any = any || part[k] < 0 || part[k] > 0;
        }
    }
    lathe_status status = any ? lathe_curve_hvp(c, part, h, err) : LATHE_OK;
    for (size_t i = 0; any && status == LATHE_OK && i < lathe_curve_n_tensors(c); i++) {
        int64_t rows, cols;
        size_t at = lathe_curve_tensor_at(c, i, &rows, &cols);
        row[lathe_curve_layer(c, i)] += dot(z + at, h + at, (size_t) (rows * cols));
    }
    return status;
}

lathe_status lathe_probe_curvature(lathe_curve *c, const float *z, bool split, const lathe_progress *progress,
                                   lathe_curvature *out, lathe_error *err) {
    size_t count = lathe_curve_n(c);
    lathe_curvature r = {.n_layers = lathe_curve_n_layers(c), .within = NAN, .cross = NAN, .nds = NAN};
    float *g = malloc(count * 3 * sizeof *g);
    size_t n = (size_t) r.n_layers;
    r.block_matrix = split ? calloc(n * n, sizeof(double)) : NULL;
    if (g == NULL || (split && r.block_matrix == NULL)) {
        free(g);
        free(r.block_matrix);
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for vectors of %zu parameters", count);
    }
    float *h = g + count, *minus = h + count;
    for (size_t i = 0; i < count; i++)
        minus[i] = -z[i];
    double after;
    lathe_status status = lathe_curve_loss(c, minus, &after, NULL, err);
    if (status == LATHE_OK)
        status = lathe_curve_loss(c, NULL, &r.loss, g, err);
    if (status == LATHE_OK)
        status = lathe_curve_hvp(c, z, h, err);
    if (status == LATHE_OK) {
        double q = dot(z, h, count);
        r.decrease = r.loss - after;
        r.gain = dot(g, z, count);
        r.penalty = q / 2;
        r.update_norm2 = dot(z, z, count);
        if (r.update_norm2 > 0)
            r.nds = q / r.update_norm2;
    }
    for (int32_t l = 0; split && status == LATHE_OK && l < r.n_layers; l++) {
        status = block_row(c, z, l, minus, h, r.block_matrix + (size_t) l * n, err);
        if (status == LATHE_OK)
            status = lathe_progress_step(progress, "layers", l + 1, r.n_layers, err);
    }
    if (split && status == LATHE_OK && r.update_norm2 > 0) {
        r.within = r.cross = 0;
        for (size_t i = 0; i < n * n; i++)
            *(i % (n + 1) == 0 ? &r.within : &r.cross) += r.block_matrix[i] / r.update_norm2;
    }
    free(g);
    if (status != LATHE_OK) {
        free(r.block_matrix);
        return status;
    }
    *out = r;
    return LATHE_OK;
}
