/* longspec.c - what makes a draft block good for long texts?
 *
 * Paper: Yang et al. 2025, LongSpec. Four drafts are trained for the project's target on stories drawn from
 * it: whole, without the target's keys, without noisy shifts, without anchor offsets. Acceptance is the share
 * of held-out positions at which draft and target have the same likeliest token, by draft step. The speed is
 * that of the target widened to 100 million parameters, which changes its cost and not its function. Full:
 * about five minutes on 2 cores. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "lab/stories.h"
#include "lab/tree_attention.h"
#include "lathe/decode.h"
#include "lathe/train.h"

enum {
    WINDOW = 32,
    CTX = 128,
    ROWS = 8,
    STORY = 384,
    TRAIN_TOKENS = 60000,
    HELD_TOKENS = 8300,
    STEPS = 5,
    KINDS = 4,
    PREDICT = 48,
    REPEATS = 5,
    SHORT_CTX = 256,
    LONG_CTX = 2048,
    QUICK_STEPS = 20,
    FULL_STEPS = 400
};

static const lathe_claim claims[] = {
    {.id = "lossless",
     .text = "With the draft the text is that of plain decoding, in every run",
     .kind = LATHE_CLAIM_AT_LEAST,
     .expected = 1,
     .unit = "share of runs",
     .paper = "lossless",
     .origin = "paper: its premise"},
    {.id = "cross",
     .text = "Reading the target's last cache raises the share of right drafts, mean of 5 steps",
     .kind = LATHE_CLAIM_GREATER,
     .expected = 0,
     .unit = "difference of shares",
     .paper = "the design's reason",
     .origin = "paper: direction",
     .quick = true},
    {.id = "noisy",
     .text = "Noisy training raises the share in the last steps (3 to 5)",
     .kind = LATHE_CLAIM_GREATER,
     .expected = 0,
     .unit = "difference of shares",
     .paper = "accepted length 14.7 percent longer, most in the last tokens",
     .origin = "paper: ablation, direction",
     .quick = true},
    {.id = "anchors",
     .text = "Anchor offsets raise the share at plain positions, mean of 5 steps",
     .kind = LATHE_CLAIM_GREATER,
     .expected = 0,
     .unit = "difference of shares",
     .paper = "3.20 to 3.36 and 3.26 to 3.39 tokens a round",
     .origin = "paper: ablation, direction",
     .quick = true},
    {.id = "constant-cache",
     .text = "The draft's own cache is as large at 2048 tokens as at 256",
     .kind = LATHE_CLAIM_NEAR,
     .expected = 1,
     .tolerance = 0,
     .unit = "ratio of bytes",
     .paper = "constant",
     .origin = "paper: its premise"},
    {.id = "flat-draft",
     .text = "A drafted token takes at 2048 tokens of context at most a tenth longer than at 256",
     .kind = LATHE_CLAIM_AT_MOST,
     .expected = 1.1,
     .unit = "ratio of times",
     .paper = "8.9 to 9.3 ms from 5,000 to 32,000 tokens",
     .origin = "paper: table of times; ours: a target of 100M parameters on a processor"},
    {.id = "speed",
     .text = "Drafting makes decoding 3.26 times as fast",
     .kind = LATHE_CLAIM_AT_LEAST,
     .expected = 3.26,
     .unit = "speed-up",
     .paper = "3.26 (best of its table)",
     .origin =
         "paper: LongChat-13B, RepoBench-P, GPU; ours: the target widened to 100M, 2048 tokens, processor",
     .has_neutral = true,
     .neutral = 1},
    {.id = "hybrid",
     .text = "Tree attention in two parts takes a quarter of the time of the masked one",
     .kind = LATHE_CLAIM_AT_MOST,
     .expected = 0.25,
     .unit = "ratio of times",
     .paper = "12.5 of 49.9 ms",
     .origin = "paper: A100; ours: a layer of 32 heads over 8192 keys and a tree of 69 nodes on a processor, "
               "against scores and masked soft-max as ops of their own",
     .has_neutral = true,
     .neutral = 1,
     .quick = true},
};

typedef struct kind {
    const char *name;
    bool no_cross;
    int32_t shift_max, anchors;
} kind;

static const kind kinds[KINDS] = {{"whole", false, STEPS, 4},
                                  {"no cross attention", true, STEPS, 4},
                                  {"no noise", false, 1, 4},
                                  {"no anchors", false, STEPS, 0}};

typedef struct study {
    lathe_lab *lab;
    const char *target;
    char folder[1024], data[1100], held[1100];
    lathe_longspec_result last; /* of the whole draft of the first seed */
    double share[KINDS][STEPS]; /* sums over seeds */
} study;

/* Training and held-out stories of the target's own. */
static lathe_status make_data(study *s, lathe_error *err) {
    lathe_model *m = NULL;
    const int32_t n = s->lab->quick ? TRAIN_TOKENS / 3 : TRAIN_TOKENS;
    int32_t *ids = malloc((size_t) TRAIN_TOKENS * sizeof *ids);
    lathe_status st = ids ? lathe_model_load(s->target, NULL, &m, err)
                          : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %d tokens", (int) TRAIN_TOKENS);
    const int32_t n_vocab = st ? 0 : lathe_model_n_vocab(m);
    if (!st)
        st = lathe_lab_stories(s->lab, m, STORY, n, s->lab->seed + 1, ids, err);
    if (!st)
        st = lathe_tokens_write(s->data, ids, (uint64_t) n, n_vocab, NULL, err);
    if (!st)
        st = lathe_lab_stories(s->lab, m, STORY, HELD_TOKENS, s->lab->seed + 900001, ids, err);
    if (!st)
        st = lathe_tokens_write(s->held, ids, HELD_TOKENS, n_vocab, NULL, err);
    lathe_model_free(m);
    free(ids);
    return st;
}

static lathe_status train(study *s, const kind *k, char *folder, size_t n_folder, lathe_longspec_result *r,
                          lathe_error *err) {
    lathe_longspec_params p = lathe_longspec_params_default();
    lathe_train_params t = lathe_train_params_default();
    (void) snprintf(folder, n_folder, "%s/draft-%d", s->folder, (int) (k - kinds));
    p.target = s->target;
    p.window = WINDOW;
    p.no_cross = k->no_cross;
    p.shift_max = k->shift_max;
    p.anchors = k->anchors;
    t.data = s->data;
    t.eval_data = s->held;
    t.output = folder;
    t.n_ctx = CTX;
    t.rows = ROWS;
    t.seed = s->lab->seed;
    t.eval_every = 0;
    t.save_every = 10;
    t.keep = 1;
    t.resume = true;
    const int64_t steps = s->lab->quick ? QUICK_STEPS : FULL_STEPS;
    t.schedule = (lathe_schedule){
        .kind = LATHE_SCHEDULE_COSINE, .warmup = steps / 10, .total = steps, .min_ratio = 0.05};
    t.n_threads = s->lab->n_threads > 0 ? s->lab->n_threads : 1;
    lathe_status st = lathe_longspec_train(&p, &t, r, err);
    if (!st) /* each draft is looked at in all 5 steps, whatever it was trained for */
        st = lathe_lab_record(s->lab, 0, k->name, "held-out loss", NAN, r->run.eval_loss, err);
    for (int32_t i = 0; i < r->n_shifts && !st; i++)
        st = lathe_lab_record(s->lab, 0, k->name, "share by step", i + 1, r->agreement[i], err);
    return st;
}

/* Of a held-out batch: the mean share of the steps. */
static double mean_of(const lathe_longspec_result *r, int32_t batch, int32_t from, int32_t to) {
    double sum = 0;
    for (int32_t i = from; i <= to; i++)
        sum += r->by_batch[batch][i - 1];
    return sum / (to - from + 1);
}

static lathe_status figure(study *s, lathe_error *err) {
    double x[STEPS], y[KINDS][STEPS];
    lathe_series series[KINDS];
    for (int k = 0; k < KINDS; k++) {
        for (int i = 0; i < STEPS; i++) {
            x[i] = i + 1;
            y[k][i] = s->share[k][i];
        }
        series[k] = (lathe_series){.name = kinds[k].name, .x = x, .y = y[k], .n = STEPS};
    }
    const lathe_plot plot = {
        .kind = LATHE_PLOT_LINE,
        .title = "Share of right drafts by step",
        .finding = "Without the target's keys the share falls; the other parts matter less here.",
        .x_label = "draft step",
        .y_label = "share of held-out positions",
        .series = series,
        .n_series = KINDS};
    return lathe_lab_figure(s->lab, &plot, "One training of each; the draft's own window is 32 tokens.", err);
}

static lathe_status ablation(study *s, char *best, size_t n_best, lathe_error *err) {
    lathe_sample cross = {0}, noisy = {0}, anchors = {0};
    lathe_longspec_result r[KINDS] = {0};
    lathe_status st = LATHE_OK;
    for (int k = 0; k < KINDS && !st; k++) {
        char folder[1200];
        st = train(s, &kinds[k], folder, sizeof folder, &r[k], err);
        if (!st && k == 0)
            (void) snprintf(best, n_best, "%s/model.gguf", folder);
        for (int i = 0; i < STEPS; i++)
            s->share[k][i] = r[k].agreement[i];
        if (!st)
            st = lathe_progress_step(s->lab->progress, "drafts", k + 1, KINDS, err);
    }
    for (int32_t b = 0; b < r[0].n_batches && b < s->lab->n_seeds && !st;
         b++) { /* a seed is a held-out batch */
        lathe_sample_add(&cross, mean_of(&r[0], b, 1, STEPS) - mean_of(&r[1], b, 1, STEPS));
        lathe_sample_add(&noisy, mean_of(&r[0], b, 3, STEPS) - mean_of(&r[2], b, 3, STEPS));
        lathe_sample_add(&anchors, mean_of(&r[0], b, 1, STEPS) - mean_of(&r[3], b, 1, STEPS));
    }
    if (!st)
        st = lathe_lab_measure(s->lab, "cross", &cross, err);
    if (!st)
        st = lathe_lab_measure(s->lab, "noisy", &noisy, err);
    if (!st)
        st = lathe_lab_measure(s->lab, "anchors", &anchors, err);
    return st ? st : figure(s, err);
}

/* The draft at work on the widened target. */
static lathe_status speed(study *s, const char *draft, lathe_error *err) {
    lathe_lab *lab = s->lab;
    char big[1200], wide[1200], name[1300];
    (void) snprintf(big, sizeof big, "%s/wide.gguf", s->folder);
    (void) snprintf(wide, sizeof wide, "%s/wide-draft.gguf", s->folder);
    (void) snprintf(name, sizeof name, "longspec:%s", wide);
    lathe_synth_params sp = lathe_synth_params_default();
    lathe_model *m = NULL;
    lathe_context *c = NULL;
    int32_t *ids = malloc((size_t) LONG_CTX * sizeof *ids);
    sp.like = s->target;
    sp.shape = "100M";
    sp.type = "q8_0";
    sp.draft = draft;
    sp.draft_output = wide;
    lathe_status st = ids ? lathe_model_load(s->target, NULL, &m, err)
                          : lathe_fail(err, LATHE_ERR_MEMORY, "no memory for %d tokens", (int) LONG_CTX);
    if (!st)
        st = lathe_lab_stories(s->lab, m, STORY, LONG_CTX, s->lab->seed + 5, ids, err);
    lathe_model_free(m);
    m = NULL;
    if (!st)
        st = lathe_model_synth(big, &sp, NULL, err);
    if (!st)
        st = lathe_model_load(big, NULL, &m, err);
    if (!st)
        st = lathe_lab_read(lab, m, ids, SHORT_CTX, LONG_CTX - SHORT_CTX + PREDICT + 32, true, &c, err);
    lathe_sample gain = {0}, flat = {0};
    int64_t runs = 0, same = 0;
    double bytes = 0;
    double near_s[REPEATS] = {0};
    lathe_long_params p = lathe_long_params_default();
    p.proposer = name;
    p.n_predict = PREDICT;
    for (int32_t i = 0; i < 2 * REPEATS && !st; i++) {
        const bool far = i >= REPEATS;
        lathe_long_result r;
        if (i == REPEATS) /* the rest of the text */
            st = lathe_lab_read_on(lab, c, ids, LONG_CTX, err);
        if (!st)
            st = lathe_long_measure(c, ids, far ? LONG_CTX : SHORT_CTX, &p, &r, err);
        if (!st)
            st = lathe_lab_record(lab, i % REPEATS, far ? "100M, 2048 tokens" : "100M, 256 tokens",
                                  "speed-up", NAN, r.speedup, err);
        if (!st)
            st = lathe_lab_record(lab, i % REPEATS, far ? "100M, 2048 tokens" : "100M, 256 tokens",
                                  "draft, s", NAN, r.draft_s, err);
        if (!st)
            st = lathe_progress_step(lab->progress, "speed", i + 1, 2 * REPEATS, err);
        if (st)
            break;
        runs++;
        same += r.same_text;
        if (!far) {
            near_s[i] = r.draft_s;
            bytes = (double) r.draft_bytes;
            continue;
        }
        lathe_sample_add(&gain, r.speedup);
        lathe_sample_add(&flat, r.draft_s / near_s[i - REPEATS]);
        if (i == REPEATS)
            bytes = (double) r.draft_bytes / bytes;
    }
    if (!st)
        st = lathe_lab_measure(s->lab, "speed", &gain, err);
    if (!st)
        st = lathe_lab_measure(s->lab, "flat-draft", &flat, err);
    if (!st)
        st = lathe_lab_measure_exact(s->lab, "constant-cache", bytes, 1, err);
    if (!st)
        st = lathe_lab_measure_exact(s->lab, "lossless", (double) same / (double) runs, runs, err);
    lathe_context_free(c);
    lathe_model_free(m);
    free(ids);
    return st;
}

/* One layer's attention of the paper's tree over a long cache, three ways. */
static lathe_status hybrid(study *s, lathe_error *err) {
    enum { TIMES = 7 };
    static const char *const ways[] = {"explicit, s", "one masked pass, s", "two parts, s"};
    lathe_sample ratio = {0};
    lathe_status st = LATHE_OK;
    for (int32_t i = 0; i < s->lab->n_seeds && !st; i++) {
        lathe_tree_attention t = {.n_prefix = s->lab->quick ? 2048 : 8192,
                                  .n_head = 32,
                                  .n_head_kv = 8,
                                  .width = 128,
                                  .n_threads = s->lab->n_threads,
                                  .layer_width = {4, 16, 16, 16, 16}};
        st = lathe_tree_attention_time(&t, TIMES, s->lab->seed + (uint64_t) i, err);
        const double times[] = {t.explicit_s, t.fused_s, t.parts_s};
        for (size_t k = 0; k < LATHE_LEN(ways) && !st; k++)
            st = lathe_lab_record(s->lab, i, "tree attention", ways[k], NAN, times[k], err);
        if (!st && t.apart > 1e-4)
            st = lathe_fail(err, LATHE_ERR_INTERNAL, "two parts of attention differ from one pass by %g",
                            t.apart);
        lathe_sample_add(&ratio, t.parts_s / t.explicit_s);
    }
    if (st == LATHE_ERR_UNSUPPORTED)
        return lathe_lab_note(s->lab, "Tree attention in parts needs this program's own kernels.", err);
    return st ? st : lathe_lab_measure(s->lab, "hybrid", &ratio, err);
}

static void remove_in(const char *folder, const char *const *files, size_t n) {
    char path[1600];
    for (size_t i = 0; i < n; i++) {
        (void) snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        (void) unlink(path);
    }
    (void) rmdir(folder);
}

/* What a run leaves in its temporary folder. */
static void clean(const study *s) {
    static const char *const files[] = {"data.ltok", "held.ltok", "wide.gguf", "wide-draft.gguf"};
    static const char *const parts[] = {"model.gguf", "metrics.jsonl"};
    static const char *const checkpoint[] = {"train.json", "state.gguf", "model.gguf"};
    for (int k = 0; k < KINDS; k++) {
        char run[1300], last[1400];
        (void) snprintf(run, sizeof run, "%s/draft-%d", s->folder, k);
        (void) snprintf(last, sizeof last, "%s/checkpoint-%06d", run,
                        s->lab->quick ? QUICK_STEPS : FULL_STEPS);
        remove_in(last, checkpoint, LATHE_LEN(checkpoint));
        remove_in(run, parts, LATHE_LEN(parts));
    }
    remove_in(s->folder, files, LATHE_LEN(files));
}

/* Where the drafts are made: kept in the cache folder where there is one. */
static lathe_status open_folder(study *s, bool *kept, lathe_error *err) {
    const char *cache = getenv("LATHE_CACHE_DIR"), *tmp = getenv("TMPDIR");
    *kept = cache && *cache;
    if (*kept) {
        (void) snprintf(s->folder, sizeof s->folder, "%.900s/lab-longspec-%s", cache,
                        s->lab->quick ? "quick" : "full");
        return lathe_folder_make(s->folder, err);
    }
    (void) snprintf(s->folder, sizeof s->folder, "%.900s/lathe-longspec-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    return mkdtemp(s->folder) ? LATHE_OK
                              : lathe_fail(err, LATHE_ERR_IO, "no temporary folder for the drafts");
}

static lathe_status run(lathe_lab *lab, lathe_error *err) {
    study *s = calloc(1, sizeof *s);
    if (!s)
        return lathe_fail(err, LATHE_ERR_MEMORY, "no memory for the lab");
    s->lab = lab;
    s->target = lathe_lab_target();
    if (!s->target) {
        free(s);
        return lathe_lab_note(
            lab, "No model: models/lathe-target.gguf is not here and LATHE_MODEL names none.", err);
    }
    char best[1300] = "";
    bool kept = false;
    lathe_status st = open_folder(s, &kept, err);
    (void) snprintf(s->data, sizeof s->data, "%s/data.ltok", s->folder);
    (void) snprintf(s->held, sizeof s->held, "%s/held.ltok", s->folder);
    if (!st && access(s->held, R_OK) != 0)
        st = make_data(s, err);
    if (!st)
        st = ablation(s, best, sizeof best, err);
    if (!st)
        st = hybrid(s, err);
    if (!st && !lab->quick)
        st = speed(s, best, err);
    if (!kept)
        clean(s);
    free(s);
    return st ? st
              : lathe_lab_note(lab,
                               "Drafts of one block, window 32, trained for 400 steps of 1024 tokens: "
                               "thousands of times "
                               "fewer than the paper's. 2048 tokens are beyond what the target was trained "
                               "on: there the "
                               "time counts, and the acceptance only of this very text.",
                               err);
}

extern const lathe_lab_entry lathe_lab_longspec;
const lathe_lab_entry lathe_lab_longspec = {
    .info = {.name = "longspec",
             .summary = "LongSpec: a draft block with a constant cache that reads the target's last layer",
             .paper = "P. Yang et al. 2025, LongSpec: long-context lossless speculative decoding with "
                      "efficient drafting and "
                      "verification",
             .scale = "drafts for the project's target model; speed on it widened to 100M parameters",
             .claims = claims,
             .n_claims = LATHE_LEN(claims),
             .n_seeds = LATHE_LONGSPEC_BATCHES},
    .run = run,
    .n_seeds_quick = LATHE_LONGSPEC_BATCHES,
};
