/* muon_tail_train.c - which optimiser, on which blocks, knows facts of which frequency. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng_purpose.h"
#include "base/text.h"
#include "lab/jobs.h"
#include "lab/muon_tail.h"
#include "lab/people.h"
#include "lab/trainer.h"
#include "lathe/probe.h"

enum {
    ROWS = 256,
    STEPS = 600,
    EVERY = 100,
    EVALS = STEPS / EVERY,
    SEEDS_MAX = 1000,
    RATES = 3,
    GROUPS = LATHE_PEOPLE_GROUPS
};

typedef enum config_kind { ADAMW, MUON, VO_FFN, QK, SGD, CONFIGS } config_kind;

static const struct {
    const char *name;
    int muon_parts;
    double rates[RATES]; /* 0: none */
} configs[CONFIGS] = {
    {"AdamW", LATHE_MUON_NONE, {1e-3, 3e-3, 1e-2}},
    {"Muon", LATHE_MUON_ALL, {1e-3, 3e-3, 1e-2}},
    {"Muon on V, O, FFN", LATHE_MUON_VO | LATHE_MUON_FFN, {1e-3, 3e-3, 1e-2}},
    {"Muon on Q, K", LATHE_MUON_QK, {1e-3, 3e-3, 1e-2}},
    {"momentum descent", LATHE_MUON_NONE, {0.3, 1, 0}},
};

typedef struct outcome {
    bool done;
    double groups[EVALS][GROUPS], all[EVALS]; /* accuracy by group, over all facts */
    double loss;
    double entropy_out, entropy_vo, q_out, q_vo; /* of the layers' mean at the end */
} outcome;

typedef struct task {
    config_kind config;
    int rate;
    int32_t seed;
} task;

typedef struct study {
    lathe_lab *lab;
    int32_t steps;     /* made of STEPS */
    outcome *outcomes; /* [CONFIGS][RATES][n_seeds] */
    task *tasks;
} study;

static outcome *outcome_of(const study *s, config_kind c, int rate, int32_t seed) {
    return &s->outcomes[((size_t) c * RATES + (size_t) rate) * (size_t) s->lab->n_seeds + (size_t) seed];
}

/* --- One run ---------------------------------------------------------------------------------------- */

/* Accuracy over the table of all facts, not over what is asked often. */
static lathe_status evaluate(lathe_small_net *net, const lathe_people *people, outcome *o, int at,
                             lathe_error *err) {
    int32_t tokens[ROWS * LATHE_PEOPLE_CTX], answers[ROWS], known = 0, right[GROUPS + 1] = {0},
                                                            asked[GROUPS + 1] = {0};
    for (int32_t begin = 0; begin < LATHE_PEOPLE_FACTS; begin += ROWS) {
        const float *logits;
        double loss;
        for (int32_t i = 0; i < ROWS; i++) {
            lathe_people_ask(people, begin + i, tokens + i * LATHE_PEOPLE_CTX);
            answers[i] = people->answer[begin + i];
        }
        lathe_status st = lathe_small_net_batch(net, tokens, answers, err);
        if (!st)
            st = lathe_small_net_loss(net, &loss, &logits, err);
        if (st)
            return st;
        for (int32_t i = 0; i < ROWS; i++) {
            const float *row = logits + (size_t) i * LATHE_PEOPLE_VOCAB;
            int32_t best = 0;
            for (int32_t v = 1; v < LATHE_PEOPLE_VOCAB; v++)
                best = row[v] > row[best] ? v : best;
            const int32_t g = lathe_people_group((begin + i) / LATHE_PEOPLE_RELATIONS);
            right[g] += best == answers[i];
            asked[g]++;
            known += best == answers[i];
        }
    }
    for (int g = 0; g < GROUPS; g++)
        o->groups[at][g] = right[g] / (double) asked[g];
    o->all[at] = known / (double) LATHE_PEOPLE_FACTS;
    return LATHE_OK;
}

static size_t index_of(const lathe_small_net *net, lathe_small_part part, int32_t layer) {
    size_t i = 0; /* every layer has every part */
    while (lathe_small_net_tensor(net, i)->part != part || lathe_small_net_tensor(net, i)->layer != layer)
        i++;
    return i;
}

static lathe_status spectra(lathe_small_net *net, int32_t n_layer, outcome *o, lathe_error *err) {
    for (int32_t l = 1; l <= n_layer; l++) {
        lathe_spectrum s;
        const size_t out = index_of(net, LATHE_SMALL_OUT, l);
        const lathe_small_tensor *t = lathe_small_net_tensor(net, out);
        lathe_status st = lathe_probe_spectrum(lathe_small_net_weights(net, out), t->rows, t->cols, &s, err);
        if (st)
            return st;
        o->entropy_out += s.entropy / n_layer;
        o->q_out += s.q75_25 / n_layer;
        const float *wo = lathe_small_net_weights(net, index_of(net, LATHE_SMALL_O, l));
        const float *wv = lathe_small_net_weights(net, index_of(net, LATHE_SMALL_V, l));
        const size_t d = (size_t) t->rows;
        float *vo = calloc(d * d, sizeof *vo);
        if (!vo)
            return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for W_O W_V");
        for (size_t i = 0; i < d; i++)
            for (size_t k = 0; k < d; k++)
                for (size_t j = 0; j < d; j++)
                    vo[i * d + j] += wo[i * d + k] * wv[k * d + j];
        st = lathe_probe_spectrum(vo, (int64_t) d, (int64_t) d, &s, err);
        free(vo);
        if (st)
            return st;
        o->entropy_vo += s.entropy / n_layer;
        o->q_vo += s.q75_25 / n_layer;
    }
    return LATHE_OK;
}

static lathe_status learn(const study *s, lathe_lab_jobs *jobs, const task *one, lathe_small_net *net,
                          const lathe_people *people, lathe_error *err) {
    outcome *o = outcome_of(s, one->config, one->rate, one->seed);
    const uint64_t seed = s->lab->seed + (uint64_t) one->seed;
    lathe_trainer t;
    lathe_status st = lathe_trainer_new(net, configs[one->config].muon_parts,
                                        configs[one->config].rates[one->rate], STEPS, &t, err);
    if (st)
        return st;
    if (one->config == SGD)
        lathe_trainer_use_sgd(&t);
    t.tail = 0.2;
    t.tail_rate = 0.02;
    lathe_small_net_init(net, seed);
    lathe_rng rng = lathe_rng_new(seed, LATHE_RNG_LAB_DATA, 2);
    for (int32_t step = 1; !st && step <= s->steps; step++) {
        int32_t tokens[ROWS * LATHE_PEOPLE_CTX], answers[ROWS];
        for (int32_t i = 0; i < ROWS; i++) {
            const int32_t fact = lathe_people_draw(people, &rng);
            lathe_people_ask(people, fact, tokens + i * LATHE_PEOPLE_CTX);
            answers[i] = people->answer[fact];
        }
        st = lathe_small_net_batch(net, tokens, answers, err);
        if (!st)
            st = lathe_trainer_step(&t, &o->loss, err);
        if (!st && step % EVERY == 0)
            st = evaluate(net, people, o, step / EVERY - 1, err);
        if (!st && step % 10 == 0)
            st = lathe_lab_tick(jobs, 10.0 / s->steps, err);
    }
    lathe_trainer_free(&t);
    if (!st)
        st = spectra(net, 2, o, err);
    o->done = st == LATHE_OK;
    return st;
}

static lathe_status job(void *ctx, lathe_lab_jobs *jobs, int32_t i, lathe_error *err) {
    const study *s = ctx;
    const lathe_small_shape shape = {.n_vocab = LATHE_PEOPLE_VOCAB,
                                     .n_embd = 64,
                                     .n_layer = 2,
                                     .n_head = 4,
                                     .n_ff = 256,
                                     .ctx = LATHE_PEOPLE_CTX,
                                     .rows = ROWS,
                                     .last_only = true};
    lathe_people *people = malloc(sizeof *people);
    lathe_small_net *net = NULL;
    if (!people)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the facts");
    lathe_people_make(s->lab->seed + (uint64_t) s->tasks[i].seed, 1, people);
    lathe_status st = lathe_small_net_new(&shape, &net, err);
    if (!st)
        st = learn(s, jobs, &s->tasks[i], net, people, err);
    lathe_small_net_free(net);
    free(people);
    return st;
}

/* --- What was found --------------------------------------------------------------------------------- */

static int last_eval(const study *s) {
    return s->steps / EVERY - 1;
}

static int best_rate(const study *s, config_kind c) {
    int best = 0;
    for (int r = 1; r < RATES; r++) {
        const outcome *a = outcome_of(s, c, r, 0), *b = outcome_of(s, c, best, 0);
        if (a->done && (!b->done || a->all[last_eval(s)] > b->all[last_eval(s)]))
            best = r;
    }
    return best;
}

static lathe_status record(const study *s, lathe_error *err) {
    lathe_status st = LATHE_OK;
    for (int c = 0; c < CONFIGS; c++)
        for (int r = 0; r < RATES; r++)
            for (int32_t seed = 0; seed < s->lab->n_seeds; seed++) {
                const outcome *o = outcome_of(s, (config_kind) c, r, seed);
                char setting[64], rate[32], quantity[32];
                if (!o->done)
                    continue;
                lathe_format_double(configs[c].rates[r], rate, sizeof rate);
                int n = snprintf(setting, sizeof setting, "%s, rate %s", configs[c].name, rate);
                const int64_t id = (int64_t) s->lab->seed + seed;
                for (int e = 0; !st && e <= last_eval(s); e++) {
                    for (int g = 0; !st && g < GROUPS; g++) {
                        n = snprintf(quantity, sizeof quantity, "accuracy of group %d", g);
                        st = lathe_lab_record(s->lab, id, setting, quantity, (e + 1) * EVERY, o->groups[e][g],
                                              err);
                    }
                    if (!st)
                        st = lathe_lab_record(s->lab, id, setting, "accuracy", (e + 1) * EVERY, o->all[e],
                                              err);
                }
                (void) n;
                if (!st)
                    st = lathe_lab_record(s->lab, id, setting, "entropy of W_out", s->steps, o->entropy_out,
                                          err);
                if (!st)
                    st = lathe_lab_record(s->lab, id, setting, "entropy of W_O W_V", s->steps, o->entropy_vo,
                                          err);
                if (st)
                    return st;
            }
    return st;
}

static lathe_status half_way(const study *s, const int *best, lathe_error *err) {
    lathe_sample seven = {0}, eight = {0};
    const int e = STEPS / 2 / EVERY - 1;
    for (int32_t seed = 0; seed < s->lab->n_seeds; seed++) {
        const outcome *a = outcome_of(s, ADAMW, best[ADAMW], seed),
                      *m = outcome_of(s, MUON, best[MUON], seed);
        lathe_sample_add(&seven, m->groups[e][7] - a->groups[e][7]);
        lathe_sample_add(&eight, m->groups[e][8] - a->groups[e][8]);
    }
    const lathe_status st = lathe_lab_measure(s->lab, "half-way-7", &seven, err);
    return st ? st : lathe_lab_measure(s->lab, "half-way-8", &eight, err);
}

static lathe_status full_claims(const study *s, const int *best, lathe_error *err) {
    enum { TAIL, HEAD, VOFFN_SHARE, QK_SHARE, SGD_GAP, OUT, VO, N };
    static const char *const ids[N] = {"tail-accuracy",      "head-accuracy", "vo-ffn-recovers",
                                       "qk-recovers-little", "sgd-worst",     "spectrum-ffn",
                                       "spectrum-vo"};
    lathe_sample samples[N] = {0};
    const int e = last_eval(s), middle = 1; /* rate 0.003 */
    for (int32_t seed = 0; seed < s->lab->n_seeds; seed++) {
        const outcome *a = outcome_of(s, ADAMW, best[ADAMW], seed),
                      *m = outcome_of(s, MUON, best[MUON], seed);
        lathe_sample_add(&samples[TAIL], m->groups[e][9] - a->groups[e][9]);
        double head = 1;
        for (int g = 0; g <= 4; g++)
            head = fmin(head, fmin(a->groups[e][g], m->groups[e][g]));
        lathe_sample_add(&samples[HEAD], head);
        const double base = outcome_of(s, ADAMW, middle, seed)->all[e];
        const double gain = outcome_of(s, MUON, middle, seed)->all[e] - base;
        lathe_sample_add(&samples[VOFFN_SHARE], (outcome_of(s, VO_FFN, middle, seed)->all[e] - base) / gain);
        lathe_sample_add(&samples[QK_SHARE], (outcome_of(s, QK, middle, seed)->all[e] - base) / gain);
        lathe_sample_add(&samples[SGD_GAP], a->all[e] - outcome_of(s, SGD, best[SGD], seed)->all[e]);
        lathe_sample_add(&samples[OUT], m->entropy_out - a->entropy_out);
        lathe_sample_add(&samples[VO], m->entropy_vo - a->entropy_vo);
    }
    lathe_status st = LATHE_OK;
    for (int i = 0; !st && i < N; i++)
        st = lathe_lab_measure(s->lab, ids[i], &samples[i], err);
    return st;
}

static double mean_of(const study *s, config_kind c, int rate, double (*of)(const outcome *, int), int at,
                      double ci[2]) {
    lathe_sample sample = {0};
    for (int32_t seed = 0; seed < s->lab->n_seeds; seed++) {
        const outcome *o = outcome_of(s, c, rate, seed);
        if (o->done)
            lathe_sample_add(&sample, of(o, at));
    }
    lathe_sample_ci95(&sample, ci);
    return sample.n > 0 ? sample.mean : NAN;
}
static double final_group(const outcome *o, int g) {
    return o->groups[EVALS - 1][g];
}
static double half_group(const outcome *o, int g) {
    return o->groups[EVALS / 2 - 1][g];
}
static double overall(const outcome *o, int eval) {
    return o->all[eval];
}
static double out_entropy(const outcome *o, int unused) {
    (void) unused;
    return o->entropy_out;
}
static double vo_entropy(const outcome *o, int unused) {
    (void) unused;
    return o->entropy_vo;
}
static double out_quartiles(const outcome *o, int unused) {
    (void) unused;
    return o->q_out;
}
static double vo_quartiles(const outcome *o, int unused) {
    (void) unused;
    return o->q_vo;
}

/* A line a configuration: of(outcome, i) over x. */
static lathe_status lines(const study *s, const int *best, double (*of)(const outcome *, int),
                          const double *x, int n, lathe_plot plot, const char *caption, lathe_error *err) {
    static double y[CONFIGS][16], low[CONFIGS][16], high[CONFIGS][16];
    lathe_series series[CONFIGS];
    size_t k = 0;
    for (int c = 0; c < CONFIGS; c++) {
        if (!outcome_of(s, (config_kind) c, best[c], 0)->done)
            continue;
        for (int i = 0; i < n; i++) {
            double ci[2];
            y[c][i] = mean_of(s, (config_kind) c, best[c], of, i, ci);
            low[c][i] = fmax(0, ci[0]);
            high[c][i] = fmin(1, ci[1]);
        }
        series[k++] = (lathe_series){
            .name = configs[c].name, .x = x, .y = y[c], .low = low[c], .high = high[c], .n = (size_t) n};
    }
    char finding[200], text[512];
    double end[CONFIGS];
    const char *names[CONFIGS];
    for (size_t i = 0; i < k; i++) {
        names[i] = series[i].name;
        end[i] = series[i].y[n - 1];
    }
    lathe_lab_finding(finding, sizeof finding, "At the right end", names, end, k);
    const int length = snprintf(text, sizeof text, "%s %s", finding, caption);
    (void) length;
    plot.kind = LATHE_PLOT_LINE;
    plot.finding = finding;
    plot.series = series;
    plot.n_series = k;
    return lathe_lab_figure(s->lab, &plot, text, err);
}

static lathe_status figures(const study *s, const int *best, lathe_error *err) {
    double groups[GROUPS], steps[EVALS];
    for (int g = 0; g < GROUPS; g++)
        groups[g] = g;
    for (int e = 0; e < EVALS; e++)
        steps[e] = (e + 1) * EVERY;
    lathe_status st = lines(
        s, best, s->lab->quick ? half_group : final_group, groups, GROUPS,
        (lathe_plot){.title = "Accuracy by frequency of the fact",
                     .x_label = "group: facts of rank 2^g to 2^(g+1) - 1; rarer to the right",
                     .y_label = "accuracy"},
        s->lab->quick ? "After 300 of 600 steps at rate 0.01; band: 95% interval of the mean over seeds."
                      : "After 600 steps, each at its best rate; band: 95% interval of the mean over seeds.",
        err);
    if (st)
        return st;
    return lines(s, best, overall, steps, s->steps / EVERY,
                 (lathe_plot){.title = "Accuracy over all facts", .x_label = "steps", .y_label = "accuracy"},
                 "4,096 facts, each counted once; band: 95% interval of the mean over seeds.", err);
}

static lathe_status tables(const study *s, lathe_error *err) {
    enum { COLS = 10, ROWS_MAX = CONFIGS * RATES };
    static const char *const header[COLS] = {"optimiser", "rate",          "group 7", "group 8",
                                             "group 9",   "all",           "H W_out", "Q75/25 W_out",
                                             "H W_O W_V", "Q75/25 W_O W_V"};
    static char text[ROWS_MAX * COLS][32];
    const char *cells[ROWS_MAX * COLS];
    int32_t rows = 0;
    for (int c = 0; c < CONFIGS; c++)
        for (int r = 0; r < RATES; r++) {
            if (!outcome_of(s, (config_kind) c, r, 0)->done)
                continue;
            double v[COLS], ci[2];
            v[1] = configs[c].rates[r];
            for (int g = 7; g <= 9; g++)
                v[g - 5] = mean_of(s, (config_kind) c, r, s->lab->quick ? half_group : final_group, g, ci);
            v[5] = mean_of(s, (config_kind) c, r, overall, last_eval(s), ci);
            v[6] = mean_of(s, (config_kind) c, r, out_entropy, 0, ci);
            v[7] = mean_of(s, (config_kind) c, r, out_quartiles, 0, ci);
            v[8] = mean_of(s, (config_kind) c, r, vo_entropy, 0, ci);
            v[9] = mean_of(s, (config_kind) c, r, vo_quartiles, 0, ci);
            for (int k = 0; k < COLS; k++) {
                char *cell = text[rows * COLS + k];
                const int n = k == 0 ? snprintf(cell, sizeof *text, "%s", configs[c].name) : 0;
                (void) n;
                if (k > 0)
                    lathe_format_figure(v[k], cell, sizeof *text);
                cells[rows * COLS + k] = cell;
            }
            rows++;
        }
    return lathe_lab_table(
        s->lab,
        "Accuracy and spectra at the end (means over the seeds run: one at rates that are neither the "
        "best nor 0.003)",
        header, cells, rows, COLS, err);
}

/* --- The study -------------------------------------------------------------------------------------- */

static lathe_status run_tasks(study *s, const char *what, int32_t n, lathe_error *err) {
    return lathe_lab_run_jobs(s->lab, what, n, job, s, err);
}

static lathe_status quick(study *s, int *best, lathe_error *err) {
    int32_t n = 0;
    for (int32_t seed = 0; seed < s->lab->n_seeds; seed++)
        for (int c = ADAMW; c <= MUON; c++)
            s->tasks[n++] = (task){(config_kind) c, 2, seed};
    for (int c = 0; c < CONFIGS; c++)
        best[c] = 2;
    return run_tasks(s, "runs", n, err);
}

/* All rates with the first seed, then the best and 0.003 with the others. */
static lathe_status full(study *s, int *best, lathe_error *err) {
    int32_t n = 0;
    for (int c = 0; c < CONFIGS; c++)
        for (int r = 0; r < RATES; r++)
            if (configs[c].rates[r] > 0)
                s->tasks[n++] = (task){(config_kind) c, r, 0};
    lathe_status st = run_tasks(s, "rates", n, err);
    n = 0;
    for (int c = 0; c < CONFIGS; c++) {
        best[c] = best_rate(s, (config_kind) c);
        for (int32_t seed = 1; seed < s->lab->n_seeds; seed++) {
            s->tasks[n++] = (task){(config_kind) c, best[c], seed};
            if (c != SGD && best[c] != 1)
                s->tasks[n++] = (task){(config_kind) c, 1, seed};
        }
    }
    return st ? st : run_tasks(s, "seeds", n, err);
}

lathe_status lathe_muon_tail_train(lathe_lab *lab, lathe_error *err) {
    const size_t n = (size_t) CONFIGS * RATES * (size_t) lab->n_seeds;
    study s = {.lab = lab, .steps = lab->quick ? STEPS / 2 : STEPS};
    int best[CONFIGS];
    s.outcomes = calloc(n, sizeof *s.outcomes);
    s.tasks = calloc(n, sizeof *s.tasks);
    lathe_status st =
        s.outcomes && s.tasks ? LATHE_OK : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %zu runs", n);
    if (!st)
        st = lab->quick ? quick(&s, best, err) : full(&s, best, err);
    if (!st)
        st = record(&s, err);
    if (!st)
        st = half_way(&s, best, err);
    if (!st && !lab->quick)
        st = full_claims(&s, best, err);
    if (!st)
        st = figures(&s, best, err);
    if (!st)
        st = tables(&s, err);
    if (!st)
        st = lathe_lab_note(
            lab,
            "Each optimiser's best rate is the one with the highest accuracy over all facts at the first "
            "seed. The network: two pre-norm layers of width 64, four heads, learned positions, SiLU without "
            "gate; embeddings, positions and head are always stepped by AdamW (by momentum descent in its "
            "own runs). The paper's spectra and losses are of models a thousand times larger: directions "
            "and gaps are claimed, not sizes.",
            err);
    free(s.outcomes);
    free(s.tasks);
    return st;
}
