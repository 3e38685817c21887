/* cool_sd.c - does an annealed relaxation buy more speed for the same error than a uniform one?
 *
 * Paper: COOL-SD (annealed relaxation of speculative decoding for autoregressive image generation). No model
 * is needed: random Markov chains give every law exactly, and images from a Markov mesh, drawn with the
 * program's own verifiers, stand for the image generator. Full: about two minutes on 2 cores; --quick: under
 * 20 s. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng_purpose.h"
#include "lab/lab.h"
#include "lathe/decode.h"

enum { SYMBOLS = 4, DRAFTS = 3, CHAINS = 60, WIDE = 5, WIDE_DRAFTS = 4, HALVINGS = 14, DELTAS = 7 };

static const double deltas[DELTAS] = {1.05, 1.1, 1.25, 1.5, 1.75, 2, 2.5};

static const lathe_claim claims[] = {
    {.id = "bound",
     .text = "The bound B of the paper is never below the exact total variation of a round",
     .kind = LATHE_CLAIM_AT_MOST,
     .expected = 1,
     .unit = "largest TV / B",
     .paper = "theorem",
     .origin = "paper: the bound behind theorem 2",
     .quick = true},
    {.id = "residual",
     .text =
         "The residual of the lossless rule is the best law to resample from: no other has a smaller error",
     .kind = LATHE_CLAIM_AT_MOST,
     .expected = 1,
     .unit = "largest error / error of 1000 random laws",
     .paper = "theorem 2",
     .origin = "paper: theorem 2 and proposition 1",
     .quick = true},
    {.id = "bound-annealed",
     .text =
         "At equal tokens a round the bound is smaller for the annealed schedule than for the uniform one",
     .kind = LATHE_CLAIM_AT_LEAST,
     .expected = 0.99,
     .unit = "share of chains",
     .paper = "always (proposition 2, two drafts)",
     .origin = "paper: proposition 2",
     .quick = true},
    {.id = "round-annealed",
     .text = "At equal tokens a round the exact total variation of one round is smaller for the annealed "
             "schedule",
     .kind = LATHE_CLAIM_GREATER,
     .expected = 0.5,
     .unit = "share of chains",
     .paper = "suggested by the bound",
     .origin = "ours: what the bound would suggest",
     .quick = true},
    {.id = "pairs-annealed",
     .text = "At equal tokens a round the law of token pairs of the whole text is nearer the target's when "
             "annealed",
     .kind = LATHE_CLAIM_AT_LEAST,
     .expected = 0.9,
     .unit = "share of chains",
     .paper = "better images at equal speed",
     .origin = "paper: its direction; 0.9 is ours",
     .quick = true},
    {.id = "mesh-uniform",
     .text = "Mesh images, tokens a round as annealed at delta 1.5: the error of vertical pairs is larger "
             "for uniform",
     .kind = LATHE_CLAIM_GREATER,
     .expected = 1,
     .unit = "TV uniform / TV annealed",
     .paper = "larger FID",
     .origin = "paper: ablation of schedules, direction",
     .quick = true},
    {.id = "mesh-reverse",
     .text = "The same against the reversed schedule, which relaxes late positions most",
     .kind = LATHE_CLAIM_GREATER,
     .expected = 1,
     .unit = "TV reversed / TV annealed",
     .paper = "larger FID",
     .origin = "paper: ablation of schedules, direction",
     .quick = true},
    {.id = "mesh-frechet",
     .text = "The same for the Frechet distance of image features, uniform over annealed",
     .kind = LATHE_CLAIM_GREATER,
     .expected = 1,
     .unit = "ratio of distances",
     .paper = "larger FID",
     .origin = "paper: FID against accepted length, direction",
     .quick = true},
    {.id = "gain",
     .text = "At delta 1.1 a round gains as many tokens over the lossless one as in the paper",
     .kind = LATHE_CLAIM_NEAR,
     .expected = 1.127,
     .tolerance = 0.05,
     .unit = "tokens a round / lossless",
     .paper = "3.11 / 2.76",
     .origin = "paper: Lumina-mGPT 7B; ours is a mesh",
     .has_neutral = true,
     .neutral = 1,
     .quick = true},
    {.id = "lossless",
     .text =
         "With delta 1 the images have the target's law: no larger distance than two lossless samples have",
     .kind = LATHE_CLAIM_AT_MOST,
     .expected = 0.0064,
     .unit = "TV of vertical pairs, 1500 images",
     .paper = "lossless",
     .origin = "ours: the noise of 1500 images",
     .quick = true},
    {.id = "fid",
     .text = "COOL-SD at delta 1.1 takes 63 s an image where lossless speculation takes 72 s, at FID 30.3 "
             "and 29.1",
     .kind = LATHE_CLAIM_NEAR,
     .unit = "FID",
     .paper = "2.69x, FID 30.30",
     .origin = "paper: Lumina-mGPT 7B on a GPU",
     .untestable = "needs a 7B image model and its reference images"},
};

/* --- One round on a chain, exactly ------------------------------------------------------------------ */

typedef struct chain {
    int32_t n;
    double P[WIDE * WIDE], Q[WIDE * WIDE];
} chain;

/* Rows of Gamma(alpha) weights; the draft is the target with noise on its logarithms. */
static chain random_chain(lathe_rng *rng, int32_t n, double alpha, double noise) {
    chain c = {.n = n};
    for (int32_t x = 0; x < n; x++) {
        double p_sum = 0, q_sum = 0;
        for (int32_t y = 0; y < n;
             y++) { /* Gamma(alpha) = Gamma(alpha + 1) u^(1/alpha), Marsaglia and Tsang */
            const double d = alpha + 1 - 1.0 / 3, k = 1 / sqrt(9 * d);
            double v;
            for (;;) {
                const double z = lathe_rng_normal(rng);
                v = pow(1 + k * z, 3);
                if (v > 0 && log(lathe_rng_uniform(rng) + 1e-300) < 0.5 * z * z + d - d * v + d * log(v))
                    break;
            }
            const double w = d * v * pow(lathe_rng_uniform(rng) + 1e-12, 1 / alpha);
            c.P[x * n + y] = w + 1e-9;
            c.Q[x * n + y] = (w + 1e-9) * exp(noise * lathe_rng_normal(rng));
            p_sum += c.P[x * n + y];
            q_sum += c.Q[x * n + y];
        }
        for (int32_t y = 0; y < n; y++) {
            c.P[x * n + y] /= p_sum;
            c.Q[x * n + y] /= q_sum;
        }
    }
    return c;
}

typedef struct round_law {
    double tokens, bound, tv;
} round_law;

/* From state `start`, L drafts with factors omega[L]: accepted tokens, the bound, and the exact total
 * variation of the L + 1 tokens, those behind a rejection drawn from P. */
static round_law round_of(const chain *c, int32_t start, int32_t L, const double *omega) {
    const int32_t n = c->n;
    int32_t count = 1;
    for (int32_t i = 0; i <= L; i++)
        count *= n;
    round_law out = {.tokens = 1};
    for (int32_t code = 0; code < count; code++) {
        int32_t x[8], rest = code;
        for (int32_t i = 0; i <= L; i++, rest /= n)
            x[i] = rest % n;
        double law = 0, target = 1, accepted = 1, tail[9];
        tail[L + 1] = 1;
        for (int32_t i = L; i >= 0; i--)
            tail[i] = tail[i + 1] * c->P[(i > 0 ? x[i - 1] : start) * n + x[i]];
        target = tail[0];
        for (int32_t i = 0; i < L; i++) {
            const double *p = c->P + (i > 0 ? x[i - 1] : start) * n,
                         *q = c->Q + (i > 0 ? x[i - 1] : start) * n;
            double over = 0, left = 0, kept = 0;
            for (int32_t y = 0; y < n; y++) {
                const double a = fmin(q[y], omega[i] * p[y]);
                kept += a;
                over += fmax(a - p[y], 0);
                left += fmax(p[y] - a, 0);
            }
            /* Each prefix is met once for every ending: shared out evenly. */
            double endings = 1;
            for (int32_t j = i; j <= L; j++)
                endings *= n;
            out.bound += accepted * over / endings;
            const double a = fmin(q[x[i]], omega[i] * p[x[i]]);
            if (left > 0)
                law += accepted * (1 - kept) * fmax(p[x[i]] - a, 0) / left * tail[i + 1];
            accepted *= a;
            out.tokens += accepted * n / endings;
        }
        law += accepted * tail[L];
        out.tv += 0.5 * fabs(law - target);
    }
    return out;
}

/* Factors of mean delta: uniform, or falling as exp(-nu i). */
static void factors(double delta, double nu, int32_t L, double *omega) {
    double mean = 0;
    for (int32_t i = 0; i < L; i++)
        mean += exp(-nu * (i + 1)) / L;
    for (int32_t i = 0; i < L; i++)
        omega[i] = 1 + (delta - 1) * exp(-nu * (i + 1)) / mean;
}

/* The round of a schedule whose delta gives `tokens`. */
static round_law matched(const chain *c, double nu, double tokens) {
    double low = 1, high = 1e6, omega[DRAFTS];
    round_law r = {0};
    for (int i = 0; i < 60; i++) {
        const double delta = sqrt(low * high);
        factors(delta, nu, DRAFTS, omega);
        r = round_of(c, 0, DRAFTS, omega);
        if (r.tokens < tokens)
            low = delta;
        else
            high = delta;
    }
    return r;
}

/* The largest ratio of the residual's error to that of random laws, for a one-step error |a + r G - P|. */
static double residual_ratio(lathe_rng *rng) {
    const chain c = random_chain(rng, SYMBOLS, 0.7, 0.8);
    const double omega = 1 + 2 * lathe_rng_uniform(rng);
    double a[SYMBOLS], kept = 0, left = 0, best = 0, worst = 0;
    for (int x = 0; x < SYMBOLS; x++) {
        a[x] = fmin(c.Q[x], omega * c.P[x]);
        kept += a[x];
        left += fmax(c.P[x] - a[x], 0);
    }
    for (int x = 0; x < SYMBOLS; x++)
        best += fabs(a[x] + (1 - kept) * (left > 0 ? fmax(c.P[x] - a[x], 0) / left : 0) - c.P[x]);
    for (int k = 0; k < 20; k++) {
        double G[SYMBOLS], sum = 0, error = 0;
        for (int x = 0; x < SYMBOLS; x++)
            sum += G[x] = -log(lathe_rng_uniform(rng) + 1e-12);
        for (int x = 0; x < SYMBOLS; x++)
            error += fabs(a[x] + (1 - kept) * G[x] / sum - c.P[x]);
        worst = fmax(worst, error > 1e-9 ? (best - 1e-12) / error : 0);
    }
    return worst;
}

static lathe_status measure_chains(lathe_lab *lab, lathe_error *err) {
    lathe_rng rng = lathe_rng_new(lab->seed, LATHE_RNG_LAB_DATA, 1);
    double worst = 0, residual = 0, omega[DRAFTS], x[CHAINS * 2], y[CHAINS * 2];
    lathe_sample bound = {0}, tv = {0};
    const int32_t n_chains = lab->quick ? 30 : CHAINS;
    size_t n_points = 0;
    for (int32_t i = 0; i < n_chains; i++) {
        const chain c = random_chain(&rng, SYMBOLS, 0.7, 0.5);
        for (int k = 0; k < DELTAS; k++)
            for (int nu = 0; nu < 2; nu++) {
                factors(deltas[k], nu * 0.7, DRAFTS, omega);
                const round_law r = round_of(&c, 0, DRAFTS, omega);
                worst = fmax(worst, r.bound > 1e-9 ? (r.tv - 1e-12) / r.bound : 0);
            }
        factors(1, 0, DRAFTS, omega);
        const double least = round_of(&c, 0, DRAFTS, omega).tokens,
                     tokens = least + 0.4 * (DRAFTS + 1 - least);
        const round_law uniform = matched(&c, 0, tokens), annealed = matched(&c, 0.7, tokens);
        lathe_sample_add(&bound, annealed.bound < uniform.bound);
        lathe_sample_add(&tv, annealed.tv < uniform.tv);
        x[n_points] = uniform.bound;
        y[n_points++] = annealed.bound;
        x[CHAINS + i] = uniform.tv;
        y[CHAINS + i] = annealed.tv;
        lathe_status st = lathe_lab_record(lab, -1, "uniform", "bound", i, uniform.bound, err);
        if (!st)
            st = lathe_lab_record(lab, -1, "annealed", "bound", i, annealed.bound, err);
        if (!st)
            st = lathe_lab_record(lab, -1, "uniform", "tv", i, uniform.tv, err);
        if (!st)
            st = lathe_lab_record(lab, -1, "annealed", "tv", i, annealed.tv, err);
        if (st)
            return st;
    }
    for (int i = 0; i < 1000; i++)
        residual = fmax(residual, residual_ratio(&rng));
    lathe_status st = lathe_lab_measure_exact(lab, "bound", worst, n_chains * 2 * DELTAS, err);
    if (!st)
        st = lathe_lab_measure_exact(lab, "residual", residual, 20000, err);
    if (!st)
        st = lathe_lab_measure(lab, "bound-annealed", &bound, err);
    if (!st)
        st = lathe_lab_measure(lab, "round-annealed", &tv, err);
    const lathe_series series[] = {
        {.name = "bound B", .x = x, .y = y, .n = (size_t) n_chains},
        {.name = "exact TV", .x = x + CHAINS, .y = y + CHAINS, .n = (size_t) n_chains}};
    const lathe_plot plot = {.kind = LATHE_PLOT_SCATTER,
                             .title = "Random chains at equal tokens a round: annealed against uniform",
                             .finding =
                                 "Annealing lowers the bound in every chain, the exact error of a round not.",
                             .x_label = "uniform",
                             .y_label = "annealed, nu 0.7",
                             .diagonal = true,
                             .series = series,
                             .n_series = 2};
    return st ? st
              : lathe_lab_figure(
                    lab, &plot,
                    "Chains of 4 symbols, 3 drafts, enumerated; below the line annealing is better.", err);
}

/* The analysis of a schedule whose delta gives `tokens` a round. */
static lathe_status matched_pairs(const chain *c, double nu, double tokens, lathe_cool_point *out,
                                  lathe_error *err) {
    double low = 1, high = 1e5;
    for (int i = 0; i < 24; i++) {
        const double delta = sqrt(low * high);
        const lathe_status st =
            lathe_cool_analyse(c->P, c->Q, c->n, WIDE_DRAFTS, delta, nu, "excess", out, err);
        if (st)
            return st;
        if (out->tokens_per_round < tokens)
            low = delta;
        else
            high = delta;
    }
    return LATHE_OK;
}

static lathe_status measure_pairs(lathe_lab *lab, lathe_error *err) {
    lathe_rng rng = lathe_rng_new(lab->seed, LATHE_RNG_LAB_DATA, 2);
    lathe_sample better = {0};
    for (int32_t i = 0; i < (lab->quick ? 20 : 60); i++) {
        const chain c = random_chain(&rng, WIDE, 0.7, 0.5);
        lathe_cool_point lossless, uniform, annealed;
        lathe_status st = lathe_cool_analyse(c.P, c.Q, WIDE, WIDE_DRAFTS, 1, 0.7, "excess", &lossless, err);
        const double tokens =
            lossless.tokens_per_round + 0.25 * (WIDE_DRAFTS + 1 - lossless.tokens_per_round);
        if (!st)
            st = matched_pairs(&c, 0, tokens, &uniform, err);
        if (!st)
            st = matched_pairs(&c, 0.7, tokens, &annealed, err);
        if (!st)
            st = lathe_lab_record(lab, -1, "pairs", "annealed / uniform", i,
                                  annealed.stationary_tv / uniform.stationary_tv, err);
        if (!st)
            st = lathe_progress_step(lab->progress, "chains", i, 60, err);
        if (st)
            return st;
        lathe_sample_add(&better, annealed.stationary_tv < uniform.stationary_tv);
    }
    return lathe_lab_measure(lab, "pairs-annealed", &better, err);
}

/* --- Mesh images ------------------------------------------------------------------------------------- */

static lathe_status draw(const lathe_lab *lab, double delta, const char *schedule, uint64_t seed,
                         lathe_cool_mesh_result *out, lathe_error *err) {
    lathe_cool_mesh_params p = lathe_cool_mesh_params_default();
    p.delta = delta;
    p.schedule = schedule;
    p.seed = seed;
    p.images = lab->quick ? 1500 : 4000;
    return lathe_cool_mesh_run(&p, out, err);
}

static lathe_status matched_mesh(const lathe_lab *lab, const char *schedule, uint64_t seed, double tokens,
                                 lathe_cool_mesh_result *out, lathe_error *err) {
    double low = 1, high = 64;
    for (int i = 0; i < HALVINGS; i++) {
        const double delta = sqrt(low * high);
        const lathe_status st = draw(lab, delta, schedule, seed, out, err);
        if (st)
            return st;
        if (out->tokens_per_round < tokens)
            low = delta;
        else
            high = delta;
    }
    return LATHE_OK;
}

static lathe_status frontier(lathe_lab *lab, const lathe_cool_mesh_result *pool, lathe_error *err) {
    static const char *const names[] = {"uniform", "excess", "reverse"};
    static const char *const shown[] = {"uniform", "annealed", "reversed"};
    double x[3][DELTAS], y[3][DELTAS];
    lathe_series series[3];
    lathe_status st = LATHE_OK;
    for (int s = 0; s < 3; s++) {
        for (int k = 0; k < DELTAS && !st; k++) {
            lathe_cool_mesh_result r;
            st = draw(lab, deltas[k], names[s], lab->seed + 100, &r, err);
            x[s][k] = r.tokens_per_round;
            y[s][k] = lathe_cool_mesh_tv(&r, pool);
            if (!st)
                st = lathe_lab_record(lab, 100, shown[s], "tokens a round", deltas[k], x[s][k], err);
            if (!st)
                st = lathe_lab_record(lab, 100, shown[s], "TV of vertical pairs", deltas[k], y[s][k], err);
            if (!st)
                st = lathe_lab_record(lab, 100, shown[s], "budget a token", deltas[k], r.budget, err);
        }
        series[s] = (lathe_series){.name = shown[s], .x = x[s], .y = y[s], .n = DELTAS};
    }
    const lathe_plot plot = {.kind = LATHE_PLOT_LINE,
                             .title = "Mesh images: error against speed",
                             .finding = "At equal speed the annealed schedule has the smallest error.",
                             .x_label = "tokens a round",
                             .y_label = "TV of vertical pairs",
                             .series = series,
                             .n_series = 3};
    return st ? st
              : lathe_lab_figure(
                    lab, &plot,
                    "16 x 16 pixels of 4 levels, 5 drafts a round, delta 1.05 to 2.5; the draft sees the "
                    "left neighbour only.",
                    err);
}

static lathe_status measure_mesh(lathe_lab *lab, lathe_error *err) {
    lathe_cool_mesh_params p = lathe_cool_mesh_params_default();
    lathe_cool_mesh_result pool;
    lathe_sample uniform = {0}, reverse = {0}, frechet = {0}, gain = {0}, lossless = {0};
    p.images = lab->quick ? 20000 : 100000;
    p.seed = lab->seed + 1000;
    lathe_status st = lathe_cool_mesh_run(&p, &pool, err);
    for (int32_t i = 0; i < lab->n_seeds && !st; i++) {
        const uint64_t seed = lab->seed + (uint64_t) i;
        lathe_cool_mesh_result a, u, r, small, plain;
        st = draw(lab, 1.5, "excess", seed, &a, err);
        if (!st)
            st = matched_mesh(lab, "uniform", seed, a.tokens_per_round, &u, err);
        if (!st)
            st = matched_mesh(lab, "reverse", seed, a.tokens_per_round, &r, err);
        if (!st)
            st = draw(lab, 1.1, "excess", seed, &small, err);
        p.images = 1500;
        p.seed = seed + 500;
        if (!st)
            st = lathe_cool_mesh_run(&p, &plain, err);
        if (!st)
            st = lathe_progress_step(lab->progress, "images", i, lab->n_seeds, err);
        if (st)
            break;
        const double tv = lathe_cool_mesh_tv(&a, &pool);
        lathe_sample_add(&uniform, lathe_cool_mesh_tv(&u, &pool) / tv);
        lathe_sample_add(&reverse, lathe_cool_mesh_tv(&r, &pool) / tv);
        lathe_sample_add(&frechet, lathe_cool_mesh_frechet(&u, &pool) / lathe_cool_mesh_frechet(&a, &pool));
        lathe_sample_add(&gain, small.tokens_per_round / pool.tokens_per_round);
        lathe_sample_add(&lossless, lathe_cool_mesh_tv(&plain, &pool));
    }
    if (!st)
        st = lathe_lab_measure(lab, "mesh-uniform", &uniform, err);
    if (!st)
        st = lathe_lab_measure(lab, "mesh-reverse", &reverse, err);
    if (!st)
        st = lathe_lab_measure(lab, "mesh-frechet", &frechet, err);
    if (!st)
        st = lathe_lab_measure(lab, "gain", &gain, err);
    if (!st)
        st = lathe_lab_measure(lab, "lossless", &lossless, err);
    return st ? st : frontier(lab, &pool, err);
}

static lathe_status run(lathe_lab *lab, lathe_error *err) {
    lathe_status st = measure_chains(lab, err);
    if (!st)
        st = measure_pairs(lab, err);
    if (!st)
        st = measure_mesh(lab, err);
    return st ? st
              : lathe_lab_note(
                    lab,
                    "Schedule: omega_i = 1 + (delta - 1) exp(-0.7 i) / mean, i = 1 .. 5 within a round, so "
                    "that delta is the mean factor and none is below 1 (below 1 the step is exact already "
                    "and only slower). Every figure is lossy but that of delta 1.",
                    err);
}

extern const lathe_lab_entry lathe_lab_cool_sd;
const lathe_lab_entry lathe_lab_cool_sd = {
    .info = {.name = "cool-sd",
             .summary = "annealed relaxed acceptance: speed against error",
             .paper =
                 "COOL-SD: annealed relaxation of speculative decoding for autoregressive image generation",
             .scale = "chains of 4 and 5 symbols, meshes of 16 x 16 pixels",
             .claims = claims,
             .n_claims = LATHE_LEN(claims),
             .n_seeds = 10},
    .run = run,
    .n_seeds_quick = 3,
};
