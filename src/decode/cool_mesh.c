/* cool_mesh.c - COOL-SD on small "images" drawn by Markov meshes whose laws are known: no training, and every
 * error is measurable.
 *
 * A pixel has one of `levels` values. Target: P(x | left, up, upper left) in proportion to
 * exp(-1.2 |x - left| - 1.2 |x - up| + 0.4 |x - upper left|), absent neighbours skipped. The draft sees the
 * left pixel alone: exp(-1.5 |x - left|). Rounds are the program's own (verifiers `token` and `cool`), and
 * never span two images. */
#include "base/rng_purpose.h"
#include "decode/verifier.h"
#include "lathe/decode.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE_MAX = 64, LEVELS_MAX = LATHE_MESH_LEVELS_MAX, LENGTH_MAX = 32, N = LATHE_MESH_FEATURES };

typedef struct mesh {
    int32_t side, levels;
    /* Laws by neighbours, index `levels` standing for an absent one. */
    double target[LEVELS_MAX + 1][LEVELS_MAX + 1][LEVELS_MAX + 1][LEVELS_MAX]; /* left, up, upper left */
    double draft[LEVELS_MAX + 1][LEVELS_MAX];                                  /* left */
} mesh;

static void normalise(double *w, int32_t n) {
    double sum = 0;
    for (int32_t x = 0; x < n; x++)
        sum += w[x];
    for (int32_t x = 0; x < n; x++)
        w[x] /= sum;
}

static double distance(int32_t a, int32_t b, int32_t absent) {
    return b == absent ? 0.0 : fabs((double) (a - b));
}

static void fill_laws(mesh *m) {
    const int32_t K = m->levels;
    for (int32_t l = 0; l <= K; l++) {
        for (int32_t x = 0; x < K; x++)
            m->draft[l][x] = exp(-1.5 * distance(x, l, K));
        normalise(m->draft[l], K);
        for (int32_t u = 0; u <= K; u++)
            for (int32_t d = 0; d <= K; d++) {
                double *w = m->target[l][u][d];
                for (int32_t x = 0; x < K; x++)
                    w[x] = exp(-1.2 * distance(x, l, K) - 1.2 * distance(x, u, K) + 0.4 * distance(x, d, K));
                normalise(w, K);
            }
    }
}

static const double *target_law(const mesh *m, const int32_t *image, int32_t at) {
    const int32_t K = m->levels, row = at / m->side, column = at % m->side;
    const int32_t left = column > 0 ? image[at - 1] : K, up = row > 0 ? image[at - m->side] : K;
    return m->target[left][up][row > 0 && column > 0 ? image[at - m->side - 1] : K];
}

static const double *draft_law(const mesh *m, const int32_t *image, int32_t at) {
    return m->draft[at % m->side > 0 ? image[at - 1] : m->levels];
}

lathe_cool_mesh_params lathe_cool_mesh_params_default(void) {
    return (lathe_cool_mesh_params){.struct_size = sizeof(lathe_cool_mesh_params),
                                    .side = 16,
                                    .levels = 4,
                                    .length = 5,
                                    .images = 1500,
                                    .delta = 1.0,
                                    .nu = 0.7,
                                    .schedule = "excess"};
}

static lathe_status check(const lathe_cool_mesh_params *p, lathe_verify_options *options, lathe_error *err) {
    if (p->side < 2 || p->side > SIDE_MAX || p->levels < 2 || p->levels > LEVELS_MAX || p->length < 1 ||
        p->length > LENGTH_MAX || p->images < 2 || p->images > 10000000)
        return lathe_fail(
            err, LATHE_ERR_ARG,
            "%d images of side %d with %d levels, %d drafts; 2 to 1e7, 2 to %d, 2 to %d, 1 to %d",
            (int) p->images, (int) p->side, (int) p->levels, (int) p->length, SIDE_MAX, LEVELS_MAX,
            LENGTH_MAX);
    *options = lathe_verify_options_default();
    options->cool_delta = p->delta;
    options->cool_nu = p->nu;
    options->cool_length = p->length;
    const lathe_status status = lathe_cool_mode_find(p->schedule, &options->cool_mode, err);
    return status ? status
                  : lathe_verifier_check(&lathe_verifier_cool, LATHE_LAW_SAMPLED, false, options, 1.0, err);
}

/* One image; counts rounds and the verifier's own estimate of its error. */
static lathe_status draw_image(const mesh *m, const lathe_cool_mesh_params *p,
                               const lathe_verify_options *options, uint64_t seed, lathe_token_tree *tree,
                               int32_t *image, int64_t *rounds, double *budget, lathe_error *err) {
    const int32_t n = m->side * m->side;
    double laws[(LENGTH_MAX + 1) * LEVELS_MAX], work[3 * LEVELS_MAX];
    const lathe_verifier *verifier = p->delta > 1.0 ? &lathe_verifier_cool : &lathe_verifier_token;
    for (int32_t at = 0; at < n;) {
        const lathe_chance chance = {.seed = seed, .n_committed = (uint64_t) at};
        const int32_t gamma = p->length < n - at - 1 ? p->length : n - at - 1;
        lathe_verdict verdict;
        lathe_token_tree_start(tree, 0);
        for (int32_t k = 0; k <= gamma; k++) {
            memcpy(laws + k * m->levels, target_law(m, image, at + k), (size_t) m->levels * sizeof *laws);
            if (k == gamma)
                break;
            const double *q = draft_law(m, image, at + k);
            const int32_t x =
                lathe_chance_draw(&chance, LATHE_RNG_DRAFT_SAMPLE, q, m->levels, (uint64_t) (at + k), 0);
            if (lathe_token_tree_add_sampled(tree, k, x, lathe_token_tree_add_law(tree, q)) < 0)
                return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a draft of %d pixels", (int) gamma);
            image[at + k] = x;
        }
        const lathe_status status =
            lathe_verify_tree(verifier, tree, laws, options, &chance, work, &verdict, err);
        if (status)
            return status;
        memcpy(image + at, verdict.emitted, (size_t) verdict.n_emitted * sizeof *image);
        at += verdict.n_emitted;
        *budget += verdict.tv_budget;
        ++*rounds;
    }
    return LATHE_OK;
}

/* Shares of the levels but the last, mean absolute differences along rows and down columns. */
static void features_of(const mesh *m, const int32_t *image, double f[N], double *vertical) {
    const int32_t s = m->side;
    const double n = (double) s * s, n_pairs = (double) s * (s - 1);
    memset(f, 0, N * sizeof *f);
    for (int32_t i = 0; i < s * s; i++) {
        if (image[i] < 3)
            f[image[i]] += 1 / n;
        if (i % s > 0)
            f[3] += fabs((double) (image[i] - image[i - 1])) / n_pairs;
        if (i >= s) {
            f[4] += fabs((double) (image[i] - image[i - s])) / n_pairs;
            vertical[image[i - s] * m->levels + image[i]]++;
        }
    }
}

lathe_status lathe_cool_mesh_run(const lathe_cool_mesh_params *params, lathe_cool_mesh_result *result,
                                 lathe_error *err) {
    lathe_verify_options options;
    lathe_status status = check(params, &options, err);
    if (status)
        return status;
    lathe_cool_mesh_result out = {.n_levels = params->levels};
    lathe_token_tree tree;
    mesh *m = malloc(sizeof *m);
    if (!m)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the mesh");
    m->side = params->side;
    m->levels = params->levels;
    fill_laws(m);
    int32_t image[SIDE_MAX * SIDE_MAX];
    double sum[N] = {0}, product[N][N] = {{0}}, budget = 0;
    int64_t rounds = 0;
    status = lathe_token_tree_init(&tree, params->length + 1, params->levels, err);
    for (int32_t i = 0; !status && i < params->images; i++) {
        double f[N];
        status = draw_image(m, params, &options, params->seed + ((uint64_t) (uint32_t) i << 32), &tree, image,
                            &rounds, &budget, err);
        if (status)
            break;
        features_of(m, image, f, out.vertical);
        for (int a = 0; a < N; a++) {
            sum[a] += f[a];
            for (int b = 0; b < N; b++)
                product[a][b] += f[a] * f[b];
        }
    }
    if (tree.token)
        lathe_token_tree_free(&tree);
    free(m);
    if (status)
        return status;
    const double n = params->images, pixels = n * params->side * params->side;
    for (int a = 0; a < N; a++)
        out.mean[a] = sum[a] / n;
    for (int a = 0; a < N; a++)
        for (int b = 0; b < N; b++)
            out.covariance[a][b] = (product[a][b] - n * out.mean[a] * out.mean[b]) / (n - 1);
    const double n_pairs = n * params->side * (params->side - 1);
    for (int32_t i = 0; i < params->levels * params->levels; i++)
        out.vertical[i] /= n_pairs;
    out.tokens_per_round = pixels / (double) rounds;
    out.budget = budget / pixels;
    *result = out;
    return LATHE_OK;
}

double lathe_cool_mesh_tv(const lathe_cool_mesh_result *a, const lathe_cool_mesh_result *b) {
    double tv = 0;
    for (int32_t i = 0; i < a->n_levels * a->n_levels; i++)
        tv += 0.5 * fabs(a->vertical[i] - b->vertical[i]);
    return tv;
}

/* --- Frechet distance ---------------------------------------------------------------------------- */

/* a = V diag(values) V^T of a symmetric matrix, by Jacobi's rotations; a is destroyed. */
static void eigen(double a[N][N], double v[N][N], double *values) {
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++)
            v[i][j] = i == j;
    for (int sweep = 0; sweep < 60; sweep++)
        for (int p = 0; p < N; p++)
            for (int q = p + 1; q < N; q++) {
                if (fabs(a[p][q]) < 1e-300)
                    continue;
                const double theta = (a[q][q] - a[p][p]) / (2 * a[p][q]);
                const double t = (theta >= 0 ? 1 : -1) / (fabs(theta) + sqrt(theta * theta + 1));
                const double c = 1 / sqrt(t * t + 1), s = t * c;
                for (int k = 0; k < N; k++) {
                    const double x = a[k][p], y = a[k][q];
                    a[k][p] = c * x - s * y;
                    a[k][q] = s * x + c * y;
                }
                for (int k = 0; k < N; k++) {
                    const double x = a[p][k], y = a[q][k];
                    a[p][k] = c * x - s * y;
                    a[q][k] = s * x + c * y;
                }
                for (int k = 0; k < N; k++) {
                    const double x = v[k][p], y = v[k][q];
                    v[k][p] = c * x - s * y;
                    v[k][q] = s * x + c * y;
                }
            }
    for (int i = 0; i < N; i++)
        values[i] = a[i][i] > 0 ? a[i][i] : 0;
}

double lathe_cool_mesh_frechet(const lathe_cool_mesh_result *x, const lathe_cool_mesh_result *y) {
    double a[N][N], v[N][N], values[N], root[N][N], half[N][N], distance2 = 0;
    memcpy(a, x->covariance, sizeof a);
    eigen(a, v, values);
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            root[i][j] = 0;
            for (int k = 0; k < N; k++)
                root[i][j] += v[i][k] * sqrt(values[k]) * v[j][k];
        }
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            half[i][j] = 0;
            for (int k = 0; k < N; k++)
                half[i][j] += y->covariance[i][k] * root[k][j];
        }
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            a[i][j] = 0;
            for (int k = 0; k < N; k++)
                a[i][j] += root[i][k] * half[k][j];
        }
    eigen(a, v, values);
    for (int i = 0; i < N; i++) {
        const double d = x->mean[i] - y->mean[i];
        distance2 += d * d + x->covariance[i][i] + y->covariance[i][i] - 2 * sqrt(values[i]);
    }
    return distance2 > 0 ? distance2 : 0;
}
