/* muon_curvature_train.c - AdamW and Muon on a tree grammar with imbalance s: what each step gains, and what
 * it pays. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/rng_purpose.h"
#include "base/text.h"
#include "lab/grammar.h"
#include "lab/jobs.h"
#include "lab/lexicon.h"
#include "lab/muon_curvature.h"
#include "lab/step_curvature.h"
#include "lab/trainer.h"

enum {
    ROWS = 32,
    CTX = 64,
    STEPS = 400,
    STEPS_QUICK = 120,
    TRAIN = 600000,
    HELD_OUT = 40000,
    SENTENCE = LATHE_GRAMMAR_LENGTH + 1, /* with its separator: sequences begin with one */
    POINTS = 32,                         /* at most */
    POINTS_FULL = 8,
    STEPS_LEX = 1500,
    POINTS_A6 = 30,
    POINTS_QUICK = 3,
    IMBALANCES = 3,
    LAYERS = LATHE_STEP_LAYERS
};
static const int32_t points_full[POINTS_FULL] = {70, 100, 150, 200, 250, 300, 350, 400};
static const int32_t points_quick[POINTS_QUICK] = {70, 100, 120};
static const int32_t points_lex[POINTS_FULL] = {200, 350, 500, 700, 900, 1100, 1300, 1500};
static const double imbalances[IMBALANCES] = {0, 0.5, 1};
#define RATE 3e-3

typedef enum rule { ADAMW, MUON, RULES } rule;
static const char *const rules[RULES] = {"AdamW", "Muon"};

typedef struct outcome {
    double val[POINTS], final;
    lathe_step_curvature at[POINTS];
} outcome;

typedef struct study {
    lathe_lab *lab;
    const int32_t *points;
    int32_t n_points, steps;
    int first_s, n_s;  /* of imbalances */
    bool lex, large;   /* words instead of the tree; many of them, and medians along a run */
    outcome *outcomes; /* [IMBALANCES][RULES][n_seeds] */
} study;

static outcome *outcome_of(const study *s, int imbalance, rule r, int32_t seed) {
    return &s->outcomes[((size_t) imbalance * RULES + (size_t) r) * (size_t) s->lab->n_seeds + (size_t) seed];
}

/* --- One run ---------------------------------------------------------------------------------------- */

static lathe_status set_batch(lathe_small_net *net, const int32_t *const rows[ROWS], lathe_error *err) {
    int32_t tokens[ROWS * CTX], targets[ROWS * CTX];
    for (int r = 0; r < ROWS; r++)
        for (int i = 0; i < CTX; i++) {
            tokens[r * CTX + i] = rows[r][i];
            targets[r * CTX + i] = rows[r][i + 1];
        }
    return lathe_small_net_batch(net, tokens, targets, err);
}

/* Mean loss over whole batches of the held-out text. */
static lathe_status validate(lathe_small_net *net, const int32_t *text, double *out, lathe_error *err) {
    enum { SPACING = 4 * SENTENCE, BATCHES = (HELD_OUT - CTX - 1) / SPACING / ROWS }; /* no token twice */
    double sum = 0;
    lathe_status st = LATHE_OK;
    for (int b = 0; !st && b < BATCHES; b++) {
        const int32_t *rows[ROWS];
        double loss = 0;
        for (int r = 0; r < ROWS; r++)
            rows[r] = text + (size_t) (b * ROWS + r) * SPACING;
        st = set_batch(net, rows, err);
        if (!st)
            st = lathe_small_net_loss(net, &loss, NULL, err);
        sum += loss / BATCHES;
    }
    *out = sum;
    return st;
}

typedef struct run_state {
    lathe_small_net *net;
    lathe_trainer trainer;
    int32_t *text; /* training, then held-out tokens */
    float *before, *after;
} run_state;

static lathe_status learn(const study *s, lathe_lab_jobs *jobs, run_state *w, uint64_t seed, outcome *o,
                          lathe_error *err) {
    lathe_rng rng = lathe_rng_new(seed, LATHE_RNG_LAB_DATA, 5);
    lathe_status st = LATHE_OK;
    int32_t point = 0;
    for (int32_t step = 1; !st && step <= s->steps; step++) {
        const int32_t *rows[ROWS];
        double loss;
        const bool look = point < s->n_points && s->points[point] == step;
        if (look)
            st = validate(w->net, w->text + TRAIN, &o->val[point], err);
        for (int r = 0; r < ROWS; r++)
            rows[r] = w->text + (s->lex ? lathe_rng_below(&rng, TRAIN - CTX - 1)
                                        : lathe_rng_below(&rng, (TRAIN - CTX - 1) / SENTENCE) * SENTENCE);
        if (!st)
            st = set_batch(w->net, rows, err);
        lathe_small_net_get(w->net, w->before);
        if (!st)
            st = lathe_trainer_step(&w->trainer, &loss, err);
        if (!st && look) {
            lathe_small_net_get(w->net, w->after);
            st = lathe_step_curvature_measure(w->net, w->before, w->after, w->trainer.gradient, loss,
                                              &o->at[point++], err);
        }
        if (!st && step % 10 == 0)
            st = lathe_lab_tick(jobs, 10.0 / s->steps, err);
    }
    return st ? st : validate(w->net, w->text + TRAIN, &o->final, err);
}

/* Text with imbalance s, to learn from, and held out, with val_s where the lab was given one. */
static void write_texts(const study *s, uint64_t random, double imbalance, int32_t *text) {
    const double held_out = isnan(s->lab->val_s) ? imbalance : s->lab->val_s;
    lathe_rng rng = lathe_rng_new(random, LATHE_RNG_LAB_DATA, 4);
    for (int part = 0; part < 2; part++) {
        int32_t *out = part == 0 ? text : text + TRAIN;
        const size_t n = part == 0 ? TRAIN : HELD_OUT;
        if (s->lex) {
            lathe_lexicon lexicon;
            lathe_lexicon_make(random, part == 0 ? imbalance : held_out, s->large, &lexicon);
            lathe_lexicon_text(&lexicon, &rng, out, n);
        } else {
            lathe_grammar grammar;
            lathe_grammar_make(random, part == 0 ? imbalance : held_out, &grammar);
            lathe_grammar_text(&grammar, &rng, out, n);
        }
    }
}

static lathe_status job(void *ctx, lathe_lab_jobs *jobs, int32_t i, lathe_error *err) {
    const study *s = ctx;
    const rule r = (rule) (i % RULES);
    const int imbalance = s->first_s + i / RULES % s->n_s;
    const int32_t seed = i / RULES / s->n_s;
    const uint64_t random = s->lab->seed + (uint64_t) seed;
    const lathe_small_shape shape = {.n_vocab = !s->lex    ? LATHE_GRAMMAR_VOCAB
                                                : s->large ? LATHE_LEXICON_VOCAB_LARGE
                                                           : LATHE_LEXICON_VOCAB,
                                     .n_embd = 64,
                                     .n_layer = 2,
                                     .n_head = 4,
                                     .n_ff = 256,
                                     .ctx = CTX,
                                     .rows = ROWS,
                                     .products = true};
    run_state w = {0};
    lathe_status st = lathe_small_net_new(&shape, &w.net, err);
    if (st)
        return st;
    const size_t n = lathe_small_net_n(w.net);
    w.text = malloc((TRAIN + HELD_OUT) * sizeof *w.text);
    w.before = malloc(2 * n * sizeof *w.before);
    st = w.text && w.before
             ? lathe_trainer_new(w.net, r == MUON ? LATHE_MUON_ALL : LATHE_MUON_NONE, RATE, s->steps,
                                 &w.trainer, err)
             : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for a text of %d tokens", TRAIN + HELD_OUT);
    if (!st) {
        write_texts(s, random, imbalances[imbalance], w.text);
        lathe_small_net_init(w.net, random);
        w.after = w.before + n;
        st = learn(s, jobs, &w, random, outcome_of(s, imbalance, r, seed), err);
    }
    lathe_trainer_free(&w.trainer);
    free(w.before);
    free(w.text);
    lathe_small_net_free(w.net);
    return st;
}

/* --- Quantities of a measured step ------------------------------------------------------------------- */

typedef double (*quantity)(const lathe_step_curvature *);
static double q_decrease(const lathe_step_curvature *c) {
    return c->decrease;
}
static double q_gain(const lathe_step_curvature *c) {
    return c->gain;
}
static double q_penalty(const lathe_step_curvature *c) {
    return c->penalty;
}
static double q_norm2(const lathe_step_curvature *c) {
    return c->norm2;
}
static double q_sharpness(const lathe_step_curvature *c) {
    return c->sharpness;
}
static double q_matrices(const lathe_step_curvature *c) {
    return c->sharpness_matrices;
}
static double q_within(const lathe_step_curvature *c) {
    return c->within;
}
static double q_cross(const lathe_step_curvature *c) {
    return c->cross;
}
static double q_share(const lathe_step_curvature *c) {
    return c->within / c->sharpness;
}
static double q_gap(const lathe_step_curvature *c) {
    return c->taylor_gap;
}

static const struct {
    const char *name;
    quantity of;
} quantities[] = {{"decrease", q_decrease}, {"gain", q_gain},     {"penalty", q_penalty},
                  {"norm2", q_norm2},       {"nds", q_sharpness}, {"nds of matrices", q_matrices},
                  {"within", q_within},     {"cross", q_cross},   {"share within", q_share},
                  {"taylor gap", q_gap}};

static double along(const study *s, int imbalance, rule r, int32_t seed, quantity of) {
    double sum = 0, values[POINTS];
    for (int32_t i = 0; i < s->n_points; i++) {
        values[i] = of(&outcome_of(s, imbalance, r, seed)->at[i]);
        sum += values[i] / s->n_points;
    }
    return s->large ? lathe_median(values, (size_t) s->n_points) : sum;
}

static double matched(const study *s, int imbalance, int32_t seed, quantity of) {
    const outcome *a = outcome_of(s, imbalance, ADAMW, seed), *m = outcome_of(s, imbalance, MUON, seed);
    double x[POINTS], y[POINTS];
    for (int32_t i = 0; i < s->n_points; i++) {
        x[i] = of(&a->at[i]);
        y[i] = of(&m->at[i]);
    }
    return lathe_matched_ratio(a->val, x, s->n_points, a->final, m->val, y, s->n_points, m->final);
}

/* --- Claims ----------------------------------------------------------------------------------------- */

static lathe_status taylor_claim(const study *s, lathe_error *err) {
    lathe_sample sample = {0};
    for (int32_t seed = 0; seed < s->lab->n_seeds; seed++) {
        double v[IMBALANCES * RULES * POINTS];
        size_t n = 0;
        for (int k = s->first_s; k < s->first_s + s->n_s; k++)
            for (int r = 0; r < RULES; r++)
                for (int32_t i = 0; i < s->n_points; i++)
                    v[n++] = outcome_of(s, k, (rule) r, seed)->at[i].taylor_gap;
        lathe_sample_add(&sample, lathe_median(v, n));
    }
    return lathe_lab_measure(s->lab, "taylor", &sample, err);
}

/* One value a seed: the mean over the imbalances. */
static lathe_status along_claim(const study *s, const char *id, quantity of, lathe_error *err) {
    lathe_sample sample = {0};
    for (int32_t seed = 0; seed < s->lab->n_seeds; seed++) {
        double sum = 0;
        for (int k = s->first_s; k < s->first_s + s->n_s; k++)
            sum += along(s, k, ADAMW, seed, of) / along(s, k, MUON, seed, of) / s->n_s;
        lathe_sample_add(&sample, sum);
    }
    return lathe_lab_measure(s->lab, id, &sample, err);
}

static lathe_status matched_claim(const study *s, const char *id, quantity of, lathe_error *err) {
    lathe_sample sample = {0};
    for (int32_t seed = 0; seed < s->lab->n_seeds; seed++) {
        double sum = 0;
        for (int k = s->first_s; k < s->first_s + s->n_s; k++)
            sum += matched(s, k, seed, of) / s->n_s;
        if (!isfinite(sum))
            return lathe_fail(err, LATHE_ERR_NUMERIC, "%s: the two runs reach no equal validation loss", id);
        lathe_sample_add(&sample, sum);
    }
    return lathe_lab_measure(s->lab, id, &sample, err);
}

static lathe_status other_claims(const study *s, lathe_error *err) {
    enum { FINAL, IMBALANCE, RISES, SHARE, N };
    static const char *const ids[N] = {"final-loss", "imbalance", "within-rises", "within-adamw"};
    lathe_sample samples[N] = {0};
    const int last = s->n_points - 1;
    for (int32_t seed = 0; seed < s->lab->n_seeds; seed++) {
        double final = 0, rise = 0, share = 0;
        for (int k = s->first_s; k < s->first_s + s->n_s; k++) {
            const outcome *a = outcome_of(s, k, ADAMW, seed), *m = outcome_of(s, k, MUON, seed);
            final += (a->final - m->final) / s->n_s;
            rise += (q_share(&m->at[last]) - q_share(&m->at[0])) / s->n_s;
            share += along(s, k, ADAMW, seed, q_share) / s->n_s;
        }
        const int low = s->first_s, high = s->first_s + s->n_s - 1;
        const double gap_low =
            along(s, low, ADAMW, seed, q_sharpness) - along(s, low, MUON, seed, q_sharpness);
        const double gap_high =
            along(s, high, ADAMW, seed, q_sharpness) - along(s, high, MUON, seed, q_sharpness);
        lathe_sample_add(&samples[FINAL], final);
        lathe_sample_add(&samples[IMBALANCE],
                         gap_high / gap_low); /* the normalisation by Muon at s = 0 cancels */
        lathe_sample_add(&samples[RISES], rise);
        lathe_sample_add(&samples[SHARE], share);
    }
    lathe_status st = LATHE_OK;
    for (int i = 0; !st && i < N; i++)
        st = lathe_lab_measure(s->lab, ids[i], &samples[i], err);
    return st;
}

static lathe_status claims(const study *s, lathe_error *err) {
    lathe_status st = taylor_claim(s, err);
    if (!st)
        st = along_claim(s, "sharpness-along", q_sharpness, err);
    if (st || s->lab->quick)
        return st;
    static const struct {
        const char *id;
        quantity of;
        bool matched;
    } ratios[] = {{"decrease", q_decrease, true},   {"gain", q_gain, true},
                  {"penalty", q_penalty, true},     {"norms", q_norm2, true},
                  {"sharpness", q_sharpness, true}, {"within-smaller", q_within, false},
                  {"cross-smaller", q_cross, false}};
    for (size_t i = 0; !st && i < LATHE_LEN(ratios); i++)
        st = ratios[i].matched ? matched_claim(s, ratios[i].id, ratios[i].of, err)
                               : along_claim(s, ratios[i].id, ratios[i].of, err);
    return st ? st : other_claims(s, err);
}

/* --- Rows and drawings ------------------------------------------------------------------------------ */

static lathe_status record(const study *s, lathe_error *err) {
    lathe_status st = LATHE_OK;
    for (int k = s->first_s; k < s->first_s + s->n_s; k++)
        for (int r = 0; r < RULES; r++)
            for (int32_t seed = 0; seed < s->lab->n_seeds; seed++) {
                const outcome *o = outcome_of(s, k, (rule) r, seed);
                const int64_t id = (int64_t) s->lab->seed + seed;
                char setting[64], number[32];
                lathe_format_figure(imbalances[k], number, sizeof number);
                const int n = snprintf(setting, sizeof setting, "%s, s %s", rules[r], number);
                (void) n;
                for (int32_t i = 0; !st && i < s->n_points; i++) {
                    st = lathe_lab_record(s->lab, id, setting, "validation loss", s->points[i], o->val[i],
                                          err);
                    for (size_t q = 0; !st && q < LATHE_LEN(quantities); q++)
                        st = lathe_lab_record(s->lab, id, setting, quantities[q].name, s->points[i],
                                              quantities[q].of(&o->at[i]), err);
                }
                if (!st)
                    st = lathe_lab_record(s->lab, id, setting, "final validation loss", s->steps, o->final,
                                          err);
                if (st)
                    return st;
            }
    return st;
}

/* One quantity over the steps at the largest imbalance run: mean and interval over seeds. */
static lathe_status over_steps(const study *s, quantity of, bool logarithmic, const char *title,
                               const char *label, lathe_error *err) {
    double x[POINTS], y[RULES][POINTS], low[RULES][POINTS], high[RULES][POINTS];
    lathe_series series[RULES];
    const int k = s->first_s + s->n_s - 1;
    for (int r = 0; r < RULES; r++) {
        for (int32_t i = 0; i < s->n_points; i++) {
            lathe_sample sample = {0};
            double ci[2];
            x[i] = s->points[i];
            for (int32_t seed = 0; seed < s->lab->n_seeds; seed++)
                lathe_sample_add(&sample, of(&outcome_of(s, k, (rule) r, seed)->at[i]));
            lathe_sample_ci95(&sample, ci);
            y[r][i] = sample.mean;
            low[r][i] = logarithmic ? fmax(ci[0], sample.mean / 10) : ci[0];
            high[r][i] = ci[1];
        }
        series[r] = (lathe_series){rules[r], x, y[r], low[r], high[r], (size_t) s->n_points};
    }
    char finding[160], caption[320];
    lathe_lab_finding(finding, sizeof finding, "Last measured step", rules,
                      (double[]){y[ADAMW][s->n_points - 1], y[MUON][s->n_points - 1]}, RULES);
    const lathe_plot plot = {.kind = LATHE_PLOT_LINE,
                             .title = title,
                             .finding = finding,
                             .x_label = "steps",
                             .y_label = label,
                             .log_y = logarithmic,
                             .series = series,
                             .n_series = RULES};
    const int n =
        snprintf(caption, sizeof caption, "%s Imbalance s = 1; mean and 95%% interval over %d seeds.",
                 finding, s->lab->n_seeds);
    (void) n;
    return lathe_lab_figure(s->lab, &plot, caption, err);
}

static lathe_status ratio_bars(const study *s, lathe_error *err) {
    static const int shown[] = {0, 1, 2, 3, 4, 5};
    lathe_bar bars[LATHE_LEN(shown)];
    for (size_t b = 0; b < LATHE_LEN(shown); b++) {
        lathe_sample sample = {0};
        double ci[2];
        for (int32_t seed = 0; seed < s->lab->n_seeds; seed++)
            for (int k = s->first_s; k < s->first_s + s->n_s; k++)
                lathe_sample_add(&sample, matched(s, k, seed, quantities[shown[b]].of));
        lathe_sample_ci95(&sample, ci);
        bars[b] = (lathe_bar){quantities[shown[b]].name, sample.mean, ci[0], ci[1]};
    }
    char finding[160];
    lathe_lab_finding(finding, sizeof finding, "AdamW / Muon",
                      (const char *const[]){"gain", "penalty", "NDS"},
                      (double[]){bars[1].value, bars[2].value, bars[4].value}, 3);
    const lathe_plot plot = {.kind = LATHE_PLOT_BAR,
                             .title = "AdamW / Muon at equal validation loss",
                             .finding = finding,
                             .x_label = "AdamW / Muon",
                             .bars = bars,
                             .n_bars = LATHE_LEN(bars)};
    return lathe_lab_figure(
        s->lab, &plot, "Means over all imbalances and seeds; whiskers: 95% interval. 1 is 'no difference'.",
        err);
}

static lathe_status imbalance_lines(const study *s, lathe_error *err) {
    double y[RULES][IMBALANCES], low[RULES][IMBALANCES], high[RULES][IMBALANCES];
    lathe_series series[RULES];
    for (int r = 0; r < RULES; r++) {
        for (int k = 0; k < IMBALANCES; k++) {
            lathe_sample sample = {0};
            double ci[2];
            for (int32_t seed = 0; seed < s->lab->n_seeds; seed++)
                lathe_sample_add(&sample, along(s, k, (rule) r, seed, q_sharpness));
            lathe_sample_ci95(&sample, ci);
            y[r][k] = sample.mean;
            low[r][k] = ci[0];
            high[r][k] = ci[1];
        }
        series[r] = (lathe_series){rules[r], imbalances, y[r], low[r], high[r], IMBALANCES};
    }
    char finding[160];
    lathe_lab_finding(
        finding, sizeof finding, "AdamW less Muon", (const char *const[]){"at s = 0", "at s = 1"},
        (double[]){y[ADAMW][0] - y[MUON][0], y[ADAMW][IMBALANCES - 1] - y[MUON][IMBALANCES - 1]}, 2);
    const lathe_plot plot = {.kind = LATHE_PLOT_LINE,
                             .title = "Curvature along the step against the imbalance of the data",
                             .finding = finding,
                             .x_label = "s, exponent of the Zipf law of the rules",
                             .y_label = "NDS, mean along the run",
                             .series = series,
                             .n_series = RULES};
    return lathe_lab_figure(s->lab, &plot, "Mean of the measured steps; band: 95% interval over seeds.", err);
}

static lathe_status block_heat(const study *s, rule r, lathe_error *err) {
    double cells[LAYERS * LAYERS] = {0};
    const int k = s->first_s + s->n_s - 1;
    for (int32_t seed = 0; seed < s->lab->n_seeds; seed++) {
        const lathe_step_curvature *c = &outcome_of(s, k, r, seed)->at[s->n_points - 1];
        for (int i = 0; i < LAYERS * LAYERS; i++)
            cells[i] += c->blocks[i / LAYERS][i % LAYERS] / c->norm2 / s->lab->n_seeds;
    }
    char title[64];
    const int n = snprintf(title, sizeof title, "%s: parts of the curvature along the step", rules[r]);
    (void) n;
    const lathe_plot plot = {.kind = LATHE_PLOT_HEAT,
                             .title = title,
                             .finding = "Single layers are on the diagonal, pairs of layers off it.",
                             .x_label = "layer: 0 embeddings, 1 and 2 blocks, 3 head",
                             .cells = cells,
                             .rows = LAYERS,
                             .cols = LAYERS,
                             .diverging = true};
    return lathe_lab_figure(s->lab, &plot,
                            r == ADAMW
                                ? "AdamW, last measured step, s = 1, mean over seeds: <z_l, H z_k> / |z|^2."
                                : "Muon, the same.",
                            err);
}

static lathe_status drawings(const study *s, lathe_error *err) {
    static const struct {
        quantity of;
        bool logarithmic;
        const char *title, *label;
    } shown[] = {{q_sharpness, true, "Curvature along the step (NDS)", "<z, H z> / |z|^2"},
                 {q_penalty, true, "Curvature penalty of a step", "<z, H z> / 2, nats"},
                 {q_gain, true, "First-order gain of a step", "<G, z>, nats"},
                 {q_decrease, false, "Decrease of the loss by a step, on its own batch", "nats"},
                 {q_norm2, true, "Squared length of a step", "|z|^2"},
                 {q_share, false, "Share of the curvature within layers", "share"}};
    lathe_status st = LATHE_OK;
    for (size_t i = 0; !st && i < LATHE_LEN(shown); i++)
        st = over_steps(s, shown[i].of, shown[i].logarithmic, shown[i].title, shown[i].label, err);
    if (!st && !s->lab->quick)
        st = ratio_bars(s, err);
    if (!st && !s->lab->quick)
        st = imbalance_lines(s, err);
    if (!st)
        st = block_heat(s, ADAMW, err);
    return st ? st : block_heat(s, MUON, err);
}

static lathe_status table(const study *s, lathe_error *err) {
    enum { COLS = 10, MAX = IMBALANCES };
    static const char *const header[COLS] = {
        "s",       "final AdamW", "final Muon", "decrease",      "gain",
        "penalty", "|z|^2",       "NDS",        "NDS, matrices", "NDS along the run"};
    static char text[MAX * COLS][32];
    const char *cells[MAX * COLS];
    for (int k = 0; k < IMBALANCES; k++) {
        double v[COLS] = {imbalances[k]};
        for (int32_t seed = 0; seed < s->lab->n_seeds; seed++) {
            const double share = 1.0 / s->lab->n_seeds;
            v[1] += outcome_of(s, k, ADAMW, seed)->final * share;
            v[2] += outcome_of(s, k, MUON, seed)->final * share;
            for (int q = 0; q < 6; q++)
                v[3 + q] += matched(s, k, seed, quantities[q].of) * share;
            v[9] += along(s, k, ADAMW, seed, q_sharpness) / along(s, k, MUON, seed, q_sharpness) * share;
        }
        for (int c = 0; c < COLS; c++) {
            lathe_format_figure(v[c], text[k * COLS + c], sizeof *text);
            cells[k * COLS + c] = text[k * COLS + c];
        }
    }
    return lathe_lab_table(
        s->lab,
        "Final validation loss in nats; then AdamW / Muon at equal validation loss, and along the run "
        "(means over seeds)",
        header, cells, IMBALANCES, COLS, err);
}

lathe_status lathe_muon_curvature_train(lathe_lab *lab, lathe_error *err) {
    const bool lex = lab->data == LATHE_LAB_LEX;
    int32_t points_a6[POINTS_A6];
    for (int32_t i = 0; i < POINTS_A6; i++)
        points_a6[i] = STEPS_LEX / POINTS_A6 * (i + 1);
    study s = {.lab = lab,
               .lex = lex,
               .large = lab->full_a6,
               .points = lab->full_a6 ? points_a6
                         : lex        ? points_lex
                         : lab->quick ? points_quick
                                      : points_full,
               .n_points = lab->full_a6 ? POINTS_A6
                           : lab->quick ? POINTS_QUICK
                                        : POINTS_FULL,
               .steps = lex          ? STEPS_LEX
                        : lab->quick ? STEPS_QUICK
                                     : STEPS,
               .first_s = lab->quick ? IMBALANCES - 1 : 0,
               .n_s = lab->quick ? 1 : IMBALANCES};
    s.outcomes = calloc((size_t) IMBALANCES * RULES * (size_t) lab->n_seeds, sizeof *s.outcomes);
    if (!s.outcomes)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %d seeds", lab->n_seeds);
    lathe_status st = lathe_lab_run_jobs(lab, "runs", s.n_s * RULES * lab->n_seeds, job, &s, err);
    if (!st)
        st = record(&s, err);
    if (!st)
        st = claims(&s, err);
    if (!st && !lab->quick)
        st = table(&s, err);
    if (!st)
        st = drawings(&s, err);
    if (!st)
        st = lathe_lab_note(
            lab,
            "Both optimisers have the rate 0.003, clipping at 1 and a warm-up of 50 steps; "
            "Muon's update is scaled to "
            "AdamW's size, embeddings, positions and head are AdamW's in both runs. "
            "Curvature is that of the loss on the "
            "step's own batch, the step is the difference of the stored weights, and the "
            "first 70 steps are left out, since "
            "the warm-up decides their size. A value of a seed is the mean over the "
            "imbalances; the interval is over seeds. "
            "Data by default: a tree grammar with one alphabet of 64 terminals; with --data lex words of "
            "five "
            "classes that select each other, 1500 steps, the first 200 left out. The paper's class "
            "grammar is not public.",
            err);
    free(s.outcomes);
    return st;
}
