/* banditspec.c - is a bandit over draft configurations close to the best fixed one?
 *
 * Paper: Hou et al. 2025, BanditSpec. In the simulator an arm's round emits 1 + (accepted drafts) tokens,
 * each draft accepted with the arm's rate; the expected number of rounds of every fixed arm is exact, and all
 * controllers see the same table of rewards. Full: about two minutes on 2 cores; --quick: under 20 s. */
#include <math.h>
#include <stdio.h>

#include <stdlib.h>
#include <unistd.h>

#include "lab/bandit_stream.h"
#include "lab/stories.h"
#include "lathe/decode.h"

enum { ARMS = 4, LENGTH = 4, LENGTHS = 5 };

static const double rates[ARMS] = {0.3, 0.5, 0.7, 0.8}, reversed[ARMS] = {0.8, 0.7, 0.5, 0.3};
static const int32_t answers[LENGTHS] = {128, 512, 1024, 4096, 8192};

static const lathe_claim claims[] = {
    {.id = "ucb-bound",
     .text = "The stopping-time regret of UCBSpec stays below its bound at every length of answer",
     .kind = LATHE_CLAIM_AT_MOST,
     .expected = 1,
     .unit = "largest regret / bound",
     .paper = "theorem",
     .origin = "paper: theorem on UCBSpec",
     .quick = true},
    {.id = "exp3-bound",
     .text = "The stopping-time regret of EXP3Spec stays below its bound at every length of answer",
     .kind = LATHE_CLAIM_AT_MOST,
     .expected = 1,
     .unit = "largest regret / bound",
     .paper = "theorem",
     .origin = "paper: theorem on EXP3Spec",
     .quick = true},
    {.id = "ucb-log",
     .text = "UCBSpec's regret grows like the logarithm of the answer: eight times the tokens, at most 3 "
             "times the "
             "regret (uniform choice: 8 times)",
     .kind = LATHE_CLAIM_AT_MOST,
     .expected = 3,
     .unit = "regret at 8192 / at 1024 tokens",
     .paper = "O(log)",
     .origin = "paper: order of the theorem; 3 is ours",
     .quick = true},
    {.id = "near-oracle",
     .text = "On answers of 8192 tokens UCBSpec needs at most 5 percent more rounds than the best fixed arm",
     .kind = LATHE_CLAIM_AT_MOST,
     .expected = 0.05,
     .unit = "excess of rounds",
     .paper = "close to the oracle",
     .origin = "paper: its words; 0.05 is ours",
     .quick = true},
    {.id = "near-oracle-short",
     .text = "The same on answers of 128 tokens",
     .kind = LATHE_CLAIM_AT_MOST,
     .expected = 0.05,
     .unit = "excess of rounds",
     .paper = "close to the oracle",
     .origin = "paper: its words, on the lengths of its benchmarks; 0.05 is ours",
     .quick = true},
    {.id = "ucb-over-exp3",
     .text = "UCBSpec has less regret than EXP3Spec where rewards are stochastic",
     .kind = LATHE_CLAIM_GREATER,
     .expected = 1,
     .unit = "regret of EXP3Spec / of UCBSpec, 1024 tokens",
     .paper = "UCBSpec ahead in every column of table 1",
     .origin = "paper: table 1, direction",
     .quick = true},
    {.id = "narrow-radius",
     .text = "A radius of 0.3 of the theorem's has less regret than the theorem's",
     .kind = LATHE_CLAIM_GREATER,
     .expected = 1,
     .unit = "regret with factor 1 / with 0.3, 1024 tokens",
     .paper = "not in the paper",
     .origin = "ours: what the program uses",
     .quick = true},
    {.id = "released-rule",
     .text =
         "The index of the released code (one bonus for all arms) locks in on wrong arms: more regret than a "
         "radius of 0.3",
     .kind = LATHE_CLAIM_GREATER,
     .expected = 1,
     .unit = "ratio of regrets, 8192 tokens",
     .paper = "not in the paper",
     .origin = "ours: reading of the released code",
     .quick = true},
    {.id = "drift",
     .text =
         "Where the arms swap rates at half of the text, a sliding window needs fewer rounds than EXP3Spec",
     .kind = LATHE_CLAIM_GREATER,
     .expected = 1,
     .unit = "rounds of EXP3Spec / of the window",
     .paper = "not in the paper",
     .origin = "ours: EXP3Spec is built for adversaries, yet not for drift",
     .quick = true},
    {.id = "stream-oracle",
     .text = "On texts of a model UCBSpec reaches 0.95 of the best fixed arm in hindsight",
     .kind = LATHE_CLAIM_AT_LEAST,
     .expected = 0.95,
     .unit = "cost of the best fixed arm / of UCBSpec",
     .paper = "close to the oracle",
     .origin = "paper: its words; ours: 0.95, the project's target, three kinds of text in turn",
     .quick = true},
    {.id = "stream-hazard",
     .text = "On the same texts length control by hazards costs less than UCBSpec",
     .kind = LATHE_CLAIM_GREATER,
     .expected = 1,
     .unit = "cost of UCBSpec / of hazard",
     .paper = "not in the paper",
     .origin = "ours: what the program uses",
     .quick = true},
    {.id = "stream-full",
     .text = "On the same texts full information costs less than UCBSpec",
     .kind = LATHE_CLAIM_GREATER,
     .expected = 1,
     .unit = "cost of UCBSpec / of full information",
     .paper = "not in the paper",
     .origin = "HedgeSpec: 90.4 against 68.9 tokens/s, direction",
     .quick = true},
    {.id = "throughput",
     .text = "LLaMA3-8B on an A100: UCBSpec 105.7 to 138.3 tokens/s where EAGLE-2 alone has 98.2 to 128.8",
     .kind = LATHE_CLAIM_NEAR,
     .unit = "tokens/s",
     .paper = "1.05 to 1.14 times",
     .origin = "paper: table 1",
     .untestable = "needs the paper's models and an A100"},
};

static lathe_status simulate(lathe_lab *lab, const char *controller, double scale, int32_t n_tokens,
                             bool swap, uint64_t seed, lathe_sim_result *out, lathe_error *err) {
    lathe_sim_params p = lathe_sim_params_default();
    p.p = rates;
    p.p_later = swap ? reversed : NULL;
    p.n_arms = ARMS;
    p.length = LENGTH;
    p.n_tokens = n_tokens;
    p.runs = lab->quick ? 100 : 400;
    p.seed = seed;
    p.controller = controller;
    p.ucb_scale = scale;
    return lathe_sim_run(&p, out, err);
}

typedef struct kind {
    const char *shown, *controller;
    double scale;
} kind;

static const kind kinds[] = {
    {"UCBSpec", "ucb", 1},       {"UCB, radius 0.3", "ucb", 0.3},  {"EXP3Spec", "exp3", 1},
    {"released", "released", 1}, {"full information", "hedge", 1}, {"uniform", "uniform", 1}};
enum { UCB, NARROW, EXP3, RELEASED, FULL, UNIFORM, KINDS };

typedef struct table {
    lathe_sample regret[KINDS][LENGTHS];
    double best[LENGTHS], bound_ucb[LENGTHS], bound_exp3[LENGTHS];
} table;

static lathe_status fill(lathe_lab *lab, table *t, lathe_error *err) {
    const double total = (double) lab->n_seeds;
    for (int32_t s = 0; s < lab->n_seeds; s++)
        for (int k = 0; k < KINDS; k++)
            for (int n = 0; n < LENGTHS; n++) {
                lathe_sim_result r;
                lathe_status st = simulate(lab, kinds[k].controller, kinds[k].scale, answers[n], false,
                                           lab->seed + (uint64_t) s, &r, err);
                if (!st)
                    st = lathe_lab_record(lab, s, kinds[k].shown, "regret", answers[n], r.regret, err);
                if (!st)
                    st = lathe_progress_step(lab->progress, "simulation", s + (double) k / KINDS, total, err);
                if (st)
                    return st;
                lathe_sample_add(&t->regret[k][n], r.regret);
                t->best[n] = r.best;
                t->bound_ucb[n] = r.bound_ucb;
                t->bound_exp3[n] = r.bound_exp3;
            }
    return LATHE_OK;
}

/* Ratio of two regrets over seeds, as a sample of seeds. */
static lathe_status measure_ratio(lathe_lab *lab, const char *id, int over, int n_over, int under,
                                  int n_under, lathe_error *err) {
    lathe_sample ratio = {0};
    for (int32_t s = 0; s < lab->n_seeds; s++) {
        lathe_sim_result a, b;
        lathe_status st = simulate(lab, kinds[over].controller, kinds[over].scale, answers[n_over], false,
                                   lab->seed + (uint64_t) s, &a, err);
        if (!st)
            st = simulate(lab, kinds[under].controller, kinds[under].scale, answers[n_under], false,
                          lab->seed + (uint64_t) s, &b, err);
        if (st)
            return st;
        lathe_sample_add(&ratio, a.regret / b.regret);
    }
    return lathe_lab_measure(lab, id, &ratio, err);
}

static lathe_status measure_bounds(lathe_lab *lab, const table *t, lathe_error *err) {
    double ucb = 0, exp3 = 0;
    for (int n = 0; n < LENGTHS; n++) {
        double ci[2];
        lathe_sample_ci95(&t->regret[UCB][n], ci);
        ucb = fmax(ucb, ci[1] / t->bound_ucb[n]);
        lathe_sample_ci95(&t->regret[EXP3][n], ci);
        exp3 = fmax(exp3, ci[1] / t->bound_exp3[n]);
    }
    lathe_status st = lathe_lab_measure_exact(lab, "ucb-bound", ucb, LENGTHS, err);
    return st ? st : lathe_lab_measure_exact(lab, "exp3-bound", exp3, LENGTHS, err);
}

static lathe_status measure_excess(lathe_lab *lab, const char *id, const table *t, int n, lathe_error *err) {
    lathe_sample excess = t->regret[UCB][n]; /* scaled by an exact number */
    excess.mean /= t->best[n];
    excess.m2 /= t->best[n] * t->best[n];
    return lathe_lab_measure(lab, id, &excess, err);
}

static lathe_status measure_drift(lathe_lab *lab, lathe_error *err) {
    lathe_sample ratio = {0};
    for (int32_t s = 0; s < lab->n_seeds; s++) {
        lathe_sim_result window, exp3;
        lathe_status st = simulate(lab, "sw", 0.3, 4096, true, lab->seed + (uint64_t) s, &window, err);
        if (!st)
            st = simulate(lab, "exp3", 1, 4096, true, lab->seed + (uint64_t) s, &exp3, err);
        if (!st)
            st = lathe_lab_record(lab, s, "sliding window", "rounds with a swap", 4096, window.rounds, err);
        if (!st)
            st = lathe_lab_record(lab, s, "EXP3Spec", "rounds with a swap", 4096, exp3.rounds, err);
        if (st)
            return st;
        lathe_sample_add(&ratio, exp3.rounds / window.rounds);
    }
    return lathe_lab_measure(lab, "drift", &ratio, err);
}

static lathe_status draw(lathe_lab *lab, const table *t, lathe_error *err) {
    double x[LENGTHS], y[KINDS][LENGTHS], low[KINDS][LENGTHS], high[KINDS][LENGTHS];
    lathe_series series[KINDS];
    static char text[KINDS][LENGTHS + 1][24];
    const char *cells[KINDS * (LENGTHS + 1)], *header[LENGTHS + 1] = {"controller"};
    static char heads[LENGTHS][24];
    for (int n = 0; n < LENGTHS; n++) {
        x[n] = answers[n];
        (void) snprintf(heads[n], sizeof heads[n], "%d tokens", (int) answers[n]);
        header[n + 1] = heads[n];
    }
    for (int k = 0; k < KINDS; k++) {
        (void) snprintf(text[k][0], sizeof text[k][0], "%s", kinds[k].shown);
        for (int n = 0; n < LENGTHS; n++) {
            double ci[2];
            lathe_sample_ci95(&t->regret[k][n], ci);
            y[k][n] = t->regret[k][n].mean;
            low[k][n] = fmax(ci[0], 1e-3);
            high[k][n] = ci[1];
            (void) snprintf(text[k][n + 1], sizeof text[k][n + 1], "%.1f (%.1f%%)", y[k][n],
                            100 * y[k][n] / t->best[n]);
        }
        for (int n = 0; n <= LENGTHS; n++)
            cells[k * (LENGTHS + 1) + n] = text[k][n];
        series[k] = (lathe_series){
            .name = kinds[k].shown, .x = x, .y = y[k], .low = low[k], .high = high[k], .n = LENGTHS};
    }
    const lathe_plot plot = {
        .kind = LATHE_PLOT_LINE,
        .title = "Regret in rounds against the length of the answer",
        .finding = "UCBSpec's regret bends like a logarithm; uniform choice's is a straight line.",
        .x_label = "tokens of the answer",
        .y_label = "rounds above the best fixed arm",
        .log_x = true,
        .log_y = true,
        .series = series,
        .n_series = KINDS};
    const lathe_status st = lathe_lab_figure(
        lab, &plot, "Arms of rates 0.3, 0.5, 0.7, 0.8, 4 drafts a round; bands: 95% over seeds.", err);
    return st ? st
              : lathe_lab_table(lab, "Regret in rounds, and in percent of the best arm's rounds.", header,
                                cells, KINDS, LENGTHS + 1, err);
}

/* Controllers on texts of the project's model; a seed is a stream of its own. */
static lathe_status stream(lathe_lab *lab, lathe_error *err) {
    static const char *const names[] = {"ucb", "hazard", "hedge", "exp3", "uniform"};
    enum { N = LATHE_LEN(names) };
    const char *tmp = getenv("TMPDIR");
    char path[1024], best[64] = "", note[400];
    lathe_sample oracle = {0}, hazard = {0}, full = {0};
    lathe_status st = LATHE_OK;
    if (!lathe_lab_target())
        return lathe_lab_note(
            lab, "No model: models/lathe-target.gguf is not here and LATHE_MODEL names none; no stream.",
            err);
    (void) snprintf(path, sizeof path, "%.900s/lathe-bandit-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    const int fd = mkstemp(path);
    if (fd < 0)
        return lathe_fail(err, LATHE_ERR_IO, "no temporary file for a trace");
    close(fd);
    for (int32_t s = 0; s < lab->n_seeds && !st; s++) {
        double share[N];
        st = lathe_bandit_stream_record(lab, lab->seed + (uint64_t) s, lab->quick ? 6 : 24,
                                        lab->quick ? 64 : 128, path, err);
        if (!st)
            st = lathe_bandit_stream_replay(path, names, N, lab->seed + (uint64_t) s, share, best,
                                            sizeof best, err);
        for (int k = 0; k < N && !st; k++)
            st = lathe_lab_record(lab, s, names[k], "share of the best fixed arm", NAN, share[k], err);
        if (!st)
            st = lathe_progress_step(lab->progress, "stream", s + 1, lab->n_seeds, err);
        if (st)
            break;
        lathe_sample_add(&oracle, share[0]);
        lathe_sample_add(&hazard, share[1] / share[0]);
        lathe_sample_add(&full, share[2] / share[0]);
    }
    (void) unlink(path);
    if (!st)
        st = lathe_lab_measure(lab, "stream-oracle", &oracle, err);
    if (!st)
        st = lathe_lab_measure(lab, "stream-hazard", &hazard, err);
    if (!st)
        st = lathe_lab_measure(lab, "stream-full", &full, err);
    (void) snprintf(note, sizeof note,
                    "The stream: stories, stories told again and lists, greedy; every arm's length at every "
                    "position is recorded once and controllers are replayed on it, at the round costs of a "
                    "memory-bound target (1, 1.1, 1.25, 1.45, 1.85 for 1, 2, 5, 9, 17 rows; 0.1 a token of "
                    "the draft model). Best fixed arm of the last seed: %s.",
                    best);
    return st ? st : lathe_lab_note(lab, note, err);
}

static lathe_status run(lathe_lab *lab, lathe_error *err) {
    table t = {0};
    lathe_status st = fill(lab, &t, err);
    if (!st)
        st = measure_bounds(lab, &t, err);
    if (!st)
        st = measure_ratio(lab, "ucb-log", UCB, 4, UCB, 2, err);
    if (!st)
        st = measure_excess(lab, "near-oracle", &t, 4, err);
    if (!st)
        st = measure_excess(lab, "near-oracle-short", &t, 0, err);
    if (!st)
        st = measure_ratio(lab, "ucb-over-exp3", EXP3, 2, UCB, 2, err);
    if (!st)
        st = measure_ratio(lab, "narrow-radius", UCB, 2, NARROW, 2, err);
    if (!st)
        st = measure_ratio(lab, "released-rule", RELEASED, 4, NARROW, 4, err);
    if (!st)
        st = measure_drift(lab, err);
    if (!st)
        st = draw(lab, &t, err);
    return st ? st : stream(lab, err);
}

extern const lathe_lab_entry lathe_lab_banditspec;
const lathe_lab_entry lathe_lab_banditspec = {
    .info = {.name = "banditspec",
             .summary = "bandits over draft configurations: regret against the best fixed arm",
             .paper = "Hou et al. 2025, BanditSpec: adaptive speculative decoding via bandit algorithms",
             .scale = "simulated rounds, 4 arms, answers of 128 to 8192 tokens; a stream of texts of the "
                      "project's model",
             .claims = claims,
             .n_claims = LATHE_LEN(claims),
             .n_seeds = 10},
    .run = run,
    .n_seeds_quick = 3,
};
