/* std.c - can a model draft for itself over the cache rows that matter?
 *
 * Paper: Zhang et al. 2025, Sparse-to-Dense: decoding of video language models with sparse drafts. Ours is a
 * text model of a few million parameters (models/), its texts are its own stories; that makes its weights
 * light and its cache heavy, where the paper has heavy weights and eight sequences at once. Full: about four
 * minutes on 2 cores. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lab/stories.h"
#include "lathe/decode.h"

enum { SHORT = 448, PREDICT = 48, BUDGETS = 4, LONGS = 3 };

static const int32_t budgets[BUDGETS] = {96, 160, 256, 384}, longs[LONGS] = {2048, 8192, 16384};

static const lathe_claim claims[] = {
    {.id = "lossless",
     .text = "With sparse drafts the text is that of plain decoding, in every run",
     .kind = LATHE_CLAIM_AT_LEAST,
     .expected = 1,
     .unit = "share of runs",
     .paper = "lossless",
     .origin = "paper: its premise",
     .quick = true},
    {.id = "more-rows",
     .text = "More rows kept, more drafts accepted: 256 against 96 of 448",
     .kind = LATHE_CLAIM_GREATER,
     .expected = 0,
     .unit = "difference of acceptance",
     .paper = "rises with K",
     .origin = "paper: ablation of K, direction",
     .quick = true},
    {.id = "over-random",
     .text = "Rows chosen by attention accept more than as many random ones (160 of 448)",
     .kind = LATHE_CLAIM_GREATER,
     .expected = 0,
     .unit = "difference of acceptance",
     .paper = "larger",
     .origin = "paper: comparison of drafts, direction",
     .quick = true},
    {.id = "over-window",
     .text = "They accept more than the first 32 and the last rows (160 of 448)",
     .kind = LATHE_CLAIM_GREATER,
     .expected = 0,
     .unit = "difference of acceptance",
     .paper = "1.94 against 1.32 to 1.61 times",
     .origin = "paper: streaming draft, direction",
     .quick = true},
    {.id = "first-token",
     .text =
         "Over a quarter of the rows the first drafted token is the dense model's in 95 percent of rounds",
     .kind = LATHE_CLAIM_AT_LEAST,
     .expected = 0.95,
     .unit = "share",
     .paper = "about 0.95",
     .origin = "paper: next-token predictions kept",
     .quick = true},
    {.id = "acceptance",
     .text = "Mean acceptance of 9 drafts is about 62 percent",
     .kind = LATHE_CLAIM_NEAR,
     .expected = 0.62,
     .tolerance = 0.1,
     .unit = "accepted / drafted",
     .paper = "0.62",
     .origin = "paper: Qwen2-VL, 9 drafts",
     .quick = true},
    {.id = "traffic",
     .text = "One sequence of Qwen2-7B at 25,000 tokens gains, counting weights and cache (the paper's own "
             "formula leaves "
             "weights out: 4.1)",
     .kind = LATHE_CLAIM_GREATER,
     .expected = 1,
     .unit = "predicted speed-up",
     .paper = "1.94 with 8 sequences",
     .origin = "ours: bytes of weights and cache",
     .quick = true},
    {.id = "traffic-eight",
     .text = "Eight sequences of it at 100,000 tokens gain as in the paper",
     .kind = LATHE_CLAIM_NEAR,
     .expected = 1.94,
     .tolerance = 0.1,
     .unit = "predicted speed-up",
     .paper = "1.94",
     .origin = "paper: 1.94 times; bytes of weights and cache",
     .quick = true},
    {.id = "speed",
     .text = "At 16,384 tokens this machine decodes 1.94 times as fast",
     .kind = LATHE_CLAIM_AT_LEAST,
     .expected = 1.94,
     .unit = "speed-up",
     .paper = "1.94",
     .origin = "paper: Qwen2-VL-7B, MLVU, GPU; ours: a small text model on a processor",
     .has_neutral = true,
     .neutral = 1},
    {.id = "bytes",
     .text = "Bytes read alone give the measured speed-up to 15 percent, at every length",
     .kind = LATHE_CLAIM_AT_MOST,
     .expected = 0.15,
     .unit = "largest relative difference",
     .paper = "its cost model counts bytes of the cache",
     .origin = "ours: weights counted too, verification as cheap as a plain step"},
};

typedef struct study {
    lathe_lab *lab;
    lathe_model *model;
    int64_t runs, same;
} study;

static lathe_status measure(study *s, lathe_context *c, const int32_t *ids, int32_t n, int32_t budget,
                            int32_t length, int32_t rule, lathe_long_result *r, lathe_error *err) {
    lathe_long_params p = lathe_long_params_default();
    p.proposer = "std";
    p.std_budget = budget;
    p.std_queries = 32;
    p.length = length;
    p.n_predict = PREDICT;
    p.std_rule = rule;
    const lathe_status st = lathe_long_measure(c, ids, n, &p, r, err);
    if (!st) {
        s->runs++;
        s->same += r->same_text;
    }
    return st;
}

static double acceptance(const lathe_long_result *r) {
    return r->proposed > 0 ? (double) r->accepted / (double) r->proposed : 0;
}

typedef struct sums {
    lathe_sample by_budget[BUDGETS], rows, random, window, first, nine;
} sums;

static lathe_status one_text(study *s, uint64_t seed, sums *t, lathe_error *err) {
    int32_t ids[SHORT];
    lathe_context *c = NULL;
    lathe_long_result r[BUDGETS], other;
    lathe_status st = lathe_lab_stories(s->lab, s->model, SHORT, SHORT, seed, ids, err);
    if (!st)
        st = lathe_lab_read(s->lab, s->model, ids, SHORT, PREDICT + 32, true, &c, err);
    for (int k = 0; k < BUDGETS && !st; k++) {
        st = measure(s, c, ids, SHORT, budgets[k], 4, 0, &r[k], err);
        if (!st)
            st = lathe_lab_record(s->lab, (int64_t) seed, "top", "acceptance", budgets[k], acceptance(&r[k]),
                                  err);
        if (!st)
            st = lathe_lab_record(s->lab, (int64_t) seed, "top", "attention kept", budgets[k], r[k].kept_mass,
                                  err);
        if (!st)
            lathe_sample_add(&t->by_budget[k], acceptance(&r[k]));
    }
    if (!st) {
        lathe_sample_add(&t->rows, acceptance(&r[2]) - acceptance(&r[0]));
        st = measure(s, c, ids, SHORT, budgets[1], 4, 2, &other, err);
    }
    if (!st) {
        lathe_sample_add(&t->random, acceptance(&r[1]) - acceptance(&other));
        st = measure(s, c, ids, SHORT, budgets[1], 4, 1, &other, err);
    }
    if (!st) {
        lathe_sample_add(&t->window, acceptance(&r[1]) - acceptance(&other));
        st = measure(s, c, ids, SHORT, SHORT / 4, 9, 0, &other, err);
    }
    if (!st && other.reached[1] > 0) {
        lathe_sample_add(&t->first, (double) other.accepted_at[1] / (double) other.reached[1]);
        lathe_sample_add(&t->nine, acceptance(&other));
    }
    lathe_context_free(c);
    return st;
}

static lathe_status short_texts(study *s, lathe_error *err) {
    sums t = {0};
    lathe_status st = LATHE_OK;
    for (int32_t i = 0; i < s->lab->n_seeds && !st; i++) {
        st = one_text(s, s->lab->seed + (uint64_t) i, &t, err);
        if (!st)
            st = lathe_progress_step(s->lab->progress, "texts", i + 1, s->lab->n_seeds, err);
    }
    const struct {
        const char *id;
        const lathe_sample *sample;
    } rows[] = {{"more-rows", &t.rows},
                {"over-random", &t.random},
                {"over-window", &t.window},
                {"first-token", &t.first},
                {"acceptance", &t.nine}};
    for (size_t i = 0; i < LATHE_LEN(rows) && !st; i++)
        st = lathe_lab_measure(s->lab, rows[i].id, rows[i].sample, err);
    double x[BUDGETS], y[BUDGETS], low[BUDGETS], high[BUDGETS];
    for (int k = 0; k < BUDGETS; k++) {
        double ci[2];
        lathe_sample_ci95(&t.by_budget[k], ci);
        x[k] = budgets[k];
        y[k] = t.by_budget[k].mean;
        low[k] = ci[0];
        high[k] = ci[1];
    }
    const lathe_series series = {.name = "4 drafts", .x = x, .y = y, .low = low, .high = high, .n = BUDGETS};
    const lathe_plot plot = {.kind = LATHE_PLOT_LINE,
                             .title = "Acceptance against rows kept",
                             .finding = "More rows, more drafts accepted.",
                             .x_label = "rows of the sparse cache",
                             .y_label = "accepted / drafted",
                             .series = &series,
                             .n_series = 1};
    return st ? st : lathe_lab_figure(s->lab, &plot, "Stories of 448 tokens; band: 95% over texts.", err);
}

static lathe_status long_texts(study *s, lathe_error *err) {
    const int32_t n = longs[LONGS - 1];
    int32_t *ids = malloc((size_t) n * sizeof *ids);
    lathe_context *c = NULL;
    lathe_sample speed = {0};
    double worst = 0, x[LONGS], measured[LONGS], predicted[LONGS], bytes[LONGS];
    lathe_status st = ids ? lathe_lab_stories(s->lab, s->model, SHORT, n, s->lab->seed + 7777, ids, err)
                          : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %d tokens", n);
    if (!st)
        st = lathe_lab_read(s->lab, s->model, ids, n, PREDICT + 32, false, &c, err);
    for (int k = LONGS - 1; k >= 0 && !st; k--) {
        lathe_sample here = {0};
        lathe_long_result r = {0};
        for (int32_t i = 0; i < 5 && !st; i++) {
            st = lathe_context_rollback(c, 0, longs[k] - 1, err);
            if (!st)
                st = measure(s, c, ids, longs[k], 1024, 4, 0, &r, err);
            if (!st)
                st = lathe_lab_record(s->lab, i, "speed-up", "measured", longs[k], r.speedup, err);
            if (st)
                break;
            lathe_sample_add(&here, r.speedup);
        }
        x[k] = longs[k];
        measured[k] = here.mean;
        predicted[k] = r.model_speedup;
        bytes[k] = r.io_speedup;
        worst = fmax(worst, fabs(bytes[k] / here.mean - 1));
        if (k == LONGS - 1)
            speed = here;
    }
    if (!st)
        st = lathe_lab_measure(s->lab, "speed", &speed, err);
    if (!st)
        st = lathe_lab_measure_exact(s->lab, "bytes", worst, LONGS, err);
    const lathe_series series[] = {{.name = "measured", .x = x, .y = measured, .n = LONGS},
                                   {.name = "by three times", .x = x, .y = predicted, .n = LONGS},
                                   {.name = "by bytes", .x = x, .y = bytes, .n = LONGS}};
    const lathe_plot plot = {.kind = LATHE_PLOT_LINE,
                             .title = "Speed-up against the length of the text",
                             .finding = "Drafting over 1024 rows pays where the cache outweighs the weights.",
                             .x_label = "tokens of context",
                             .y_label = "plain time / drafted time",
                             .log_x = true,
                             .mark_label = "plain",
                             .mark = 1,
                             .series = series,
                             .n_series = 3};
    if (!st)
        st = lathe_lab_figure(s->lab, &plot,
                              "The model was trained on far shorter texts: beyond them only the times count.",
                              err);
    lathe_context_free(c);
    free(ids);
    return st;
}

static lathe_status traffic(lathe_lab *lab, lathe_error *err) {
    lathe_io_model io = {
        .weights = 15.2e9, .kv = 57344, .batch = 1, .draft_weights = 15.2e9, .draft_rows = 1024, .verify = 1};
    lathe_status st = lathe_lab_measure_exact(lab, "traffic", lathe_io_speedup(&io, 25e3, 9, 0.622), 1, err);
    io.batch = 8;
    return st ? st
              : lathe_lab_measure_exact(lab, "traffic-eight", lathe_io_speedup(&io, 100e3, 9, 0.622), 1, err);
}

static lathe_status run(lathe_lab *lab, lathe_error *err) {
    study s = {.lab = lab};
    lathe_status st = traffic(lab, err);
    const char *path = lathe_lab_target();
    if (st || !path)
        return st ? st
                  : lathe_lab_note(
                        lab, "No model: models/lathe-target.gguf is not here and LATHE_MODEL names none.",
                        err);
    st = lathe_model_load(path, NULL, &s.model, err);
    if (!st)
        st = short_texts(&s, err);
    if (!st && !lab->quick)
        st = long_texts(&s, err);
    if (!st)
        st = lathe_lab_measure_exact(lab, "lossless", (double) s.same / (double) s.runs, s.runs, err);
    lathe_model_free(s.model);
    return st ? st
              : lathe_lab_note(lab,
                               "Rows are chosen once, by the last 32 queries of the text, for each layer and "
                               "key head. Short "
                               "texts run with bits that do not depend on the batch; long ones do not, so "
                               "that a near tie "
                               "may part the texts.",
                               err);
}

extern const lathe_lab_entry lathe_lab_std;
const lathe_lab_entry lathe_lab_std = {
    .info = {.name = "std",
             .summary = "Sparse-to-Dense: the model drafts for itself over chosen cache rows",
             .paper = "X. Zhang et al. 2025, Sparse-to-Dense: a free lunch for lossless acceleration of "
                      "video understanding "
                      "in LLMs",
             .scale = "the project's target model, texts of 448 to 16,384 tokens",
             .claims = claims,
             .n_claims = LATHE_LEN(claims),
             .n_seeds = 12},
    .run = run,
    .n_seeds_quick = 3,
};
