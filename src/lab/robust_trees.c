/* robust_trees.c - do truncated products keep latent-tree learners right under corruption, and does the
 * Chow-Liu start spare recursive grouping its exponential need of samples?
 *
 * Paper: F. Zhang, V. Tan 2021, "Robustifying Algorithms of Learning Latent Trees with Vector Variables".
 * Vectors of two coordinates, all edges of length 0.4; the corruption patterns are the paper's three and one
 * of ours. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "lab/lab.h"
#include "lathe/tree.h"

enum { DIM = 2, N_METHODS = 4, CORRUPT_SETTINGS = 6 };
static const double EDGE = 0.4, AMPLITUDE = 60;

static const lathe_latent_method methods[N_METHODS] = {LATHE_LATENT_RG, LATHE_LATENT_CLRG, LATHE_LATENT_NJ,
                                                       LATHE_LATENT_SNJ};
static const char *const method_names[N_METHODS] = {"RG", "CLRG", "NJ", "SNJ"};

static const lathe_claim claims[] = {
    {.id = "truncated-clrg",
     .text = "Truncated CLRG, NJ and SNJ learn hidden Markov chains and double binary trees from 4,000 rows "
             "with up to "
             "15 spoilt rows a node",
     .kind = LATHE_CLAIM_AT_MOST,
     .expected = 0.1,
     .unit = "share of wrong trees",
     .paper = "robust to arbitrary corruption",
     .origin = "paper: theorem, in direction; the border is ours",
     .quick = true},
    {.id = "plain-fails",
     .text = "The same learners without truncation are wrong on chains from 1,000 rows with 15 spoilt rows a "
             "node",
     .kind = LATHE_CLAIM_AT_LEAST,
     .expected = 0.9,
     .unit = "share of wrong trees",
     .paper = "not robust",
     .origin = "paper, in direction; the border is ours",
     .quick = true},
    {.id = "diameter-rg",
     .text = "Recursive grouping alone is wrong on chains of diameter 41 even from 4,000 clean rows",
     .kind = LATHE_CLAIM_AT_LEAST,
     .expected = 0.9,
     .unit = "share of wrong trees",
     .paper = "samples grow exponentially with the diameter",
     .origin = "paper, in direction; the border is ours",
     .quick = true},
    {.id = "diameter-clrg",
     .text = "With the Chow-Liu start it is right there from 1,000 rows",
     .kind = LATHE_CLAIM_AT_MOST,
     .expected = 0.1,
     .unit = "share of wrong trees",
     .paper = "samples grow with the logarithm of the diameter",
     .origin = "paper, in direction; the border is ours",
     .quick = true},
    {.id = "sqrt-limit",
     .text = "sqrt(n) bad products a pair, of any of the patterns, are borne by truncated CLRG at n = 4,000 "
             "and 16,000",
     .kind = LATHE_CLAIM_AT_MOST,
     .expected = 0.1,
     .unit = "share of wrong trees",
     .paper = "corruptions up to the square root of the clean samples",
     .origin = "paper: abstract; the border is ours"},
    {.id = "sqrt-exponent",
     .text =
         "The number of spoilt rows that truncated CLRG bears grows at least as the square root of the rows",
     .kind = LATHE_CLAIM_AT_LEAST,
     .expected = 0.5,
     .unit = "slope of log k against log n",
     .paper = "square root",
     .origin = "paper: abstract",
     .has_neutral = true,
     .neutral = 0},
    {.id = "lower-bound",
     .text = "No learner beats the two-point bound: with its number of rows CLRG is wrong in at least a "
             "tenth of cases",
     .kind = LATHE_CLAIM_AT_LEAST,
     .expected = 0.1,
     .unit = "share of wrong trees",
     .paper = "instance-dependent lower bound",
     .origin = "ours: Bretagnolle-Huber from exact divergences",
     .quick = true},
    {.id = "caterpillar-clean",
     .text = "On clean caterpillars of 12 leaves truncation at sqrt(n) costs CLRG no tree at 4,000 rows",
     .kind = LATHE_CLAIM_AT_MOST,
     .expected = 0.1,
     .unit = "share of wrong trees",
     .paper = "same order of samples",
     .origin = "ours",
     .quick = true},
};

/* One draw of data, and whether each method misses the tree. n1: products dropped. */
static lathe_status trial(const lathe_tree *truth, int64_t n, lathe_corruption kind, int64_t k, int64_t n1,
                          double tau, const bool *which, uint64_t seed, bool *wrong, lathe_error *err) {
    lathe_table table;
    lathe_distances dist;
    lathe_status st = lathe_tree_draw_gaussian(truth, DIM, n, seed, 0, &table, err);
    if (st)
        return st;
    st = lathe_table_corrupt(&table, DIM, kind, k, AMPLITUDE, seed, 0, err);
    const lathe_distance_params params = {.dim = DIM, .truncate = n1, .robust = n1 > 0};
    st = st ? st : lathe_distances_from_table(&table, &params, &dist, err);
    lathe_table_free(&table);
    for (int m = 0; m < N_METHODS && !st; m++) {
        if (!which[m])
            continue;
        const lathe_latent_params latent = {
            .method = methods[m], .eps = EDGE, .tau = tau, .contract = EDGE / 2};
        lathe_tree tree;
        lathe_tree_difference d;
        st = lathe_latent_tree(&dist, &latent, &tree, NULL, err);
        if (st)
            break;
        st = lathe_tree_compare(truth, &tree, &d, err);
        wrong[m] = d.missing + d.extra > 0;
        lathe_tree_free(&tree);
    }
    if (!st || dist.d != NULL)
        lathe_distances_free(&dist);
    return st;
}

static lathe_status make(lathe_tree_shape shape, int32_t size, lathe_tree *tree, lathe_error *err) {
    lathe_status st = lathe_tree_shape_new(shape, size, 0, tree, err);
    return st ? st : lathe_tree_draw_lengths(tree, EDGE, EDGE, 0, err);
}

static uint64_t sub_seed(const lathe_lab *lab, int32_t seed, int32_t setting) {
    return (lab->seed + (uint64_t) seed) * 1000 + (uint64_t) setting;
}

typedef struct corruption_setting {
    const char *name;
    lathe_tree_shape shape;
    int32_t size;
    int64_t n, k;
    lathe_corruption kind;
} corruption_setting;

static const corruption_setting corruption_settings[CORRUPT_SETTINGS] = {
    {"hmm 10, n 1000, 15 constant", LATHE_SHAPE_HMM, 10, 1000, 15, LATHE_CORRUPT_CONSTANT},
    {"hmm 10, n 4000, 15 constant", LATHE_SHAPE_HMM, 10, 4000, 15, LATHE_CORRUPT_CONSTANT},
    {"hmm 10, n 4000, 15 uniform", LATHE_SHAPE_HMM, 10, 4000, 15, LATHE_CORRUPT_UNIFORM},
    {"hmm 10, n 4000, 15 other chain", LATHE_SHAPE_HMM, 10, 4000, 15, LATHE_CORRUPT_HMM},
    {"hmm 10, n 4000, 5 rows", LATHE_SHAPE_HMM, 10, 4000, 5, LATHE_CORRUPT_ROWS},
    {"double binary 3, n 4000, 15 constant", LATHE_SHAPE_DOUBLE_BINARY, 3, 4000, 15, LATHE_CORRUPT_CONSTANT},
};

static lathe_status table_of_corruptions(lathe_lab *lab, lathe_error *err) {
    static const bool all[N_METHODS] = {true, true, true, true};
    int wrong[2][CORRUPT_SETTINGS][N_METHODS] = {{{0}}};
    lathe_sample robust = {0}, plain = {0};
    lathe_status st = LATHE_OK;
    for (int32_t s = 0; s < lab->n_seeds && !st; s++) {
        double sum_robust = 0, sum_plain = 0;
        int n_robust = 0, n_plain = 0;
        for (int32_t q = 0; q < CORRUPT_SETTINGS && !st; q++) {
            const corruption_setting *c = &corruption_settings[q];
            lathe_tree truth;
            st = make(c->shape, c->size, &truth, err);
            for (int truncated = 0; truncated < 2 && !st; truncated++) {
                bool miss[N_METHODS];
                st = trial(&truth, c->n, c->kind, c->k, truncated ? 2 * c->k : 0, INFINITY, all,
                           sub_seed(lab, s, q), miss, err);
                for (int m = 0; m < N_METHODS && !st; m++) {
                    wrong[truncated][q][m] += miss[m];
                    char setting[96];
                    snprintf(setting, sizeof setting, "%s, %s%s", c->name, truncated ? "truncated " : "",
                             method_names[m]);
                    st = lathe_lab_record(lab, s, setting, "wrong", NAN, miss[m], err);
                    if (truncated && q > 0 && m > 0) {
                        sum_robust += miss[m];
                        n_robust++;
                    }
                    if (!truncated && q == 0 && m > 0) {
                        sum_plain += miss[m];
                        n_plain++;
                    }
                }
            }
            lathe_tree_free(&truth);
            st = st ? st
                    : lathe_progress_step(lab->progress, "corruption", s * CORRUPT_SETTINGS + q + 1,
                                          lab->n_seeds * CORRUPT_SETTINGS, err);
        }
        if (!st) {
            lathe_sample_add(&robust, sum_robust / n_robust);
            lathe_sample_add(&plain, sum_plain / n_plain);
        }
    }
    st = st ? st : lathe_lab_measure(lab, "truncated-clrg", &robust, err);
    st = st ? st : lathe_lab_measure(lab, "plain-fails", &plain, err);
    char text[CORRUPT_SETTINGS][9][40];
    const char *cells[CORRUPT_SETTINGS * 9];
    for (int q = 0; q < CORRUPT_SETTINGS; q++)
        for (int c = 0; c < 9; c++) {
            if (c > 0)
                snprintf(text[q][c], sizeof text[q][c], "%.2f",
                         (double) wrong[(c - 1) / 4][q][(c - 1) % 4] / lab->n_seeds);
            cells[q * 9 + c] = c == 0 ? corruption_settings[q].name : text[q][c];
        }
    const char *header[] = {"data",      "RG",          "CLRG",      "NJ",        "SNJ",
                            "trunc. RG", "trunc. CLRG", "trunc. NJ", "trunc. SNJ"};
    return st ? st
              : lathe_lab_table(lab, "Share of wrong trees, without and with truncated products", header,
                                cells, CORRUPT_SETTINGS, 9, err);
}

/* Clean chains of growing diameter. */
static lathe_status diameters(lathe_lab *lab, lathe_error *err) {
    static const int32_t hidden[] = {5, 10, 20, 40};
    static const bool three[N_METHODS] = {true, true, true, false};
    double x[4], y[N_METHODS][4] = {{0}}, low[N_METHODS][4], high[N_METHODS][4];
    lathe_sample rg = {0}, clrg = {0};
    lathe_status st = LATHE_OK;
    for (int q = lab->quick ? 3 : 0; q < 4 && !st; q++) {
        lathe_tree truth;
        int sums[N_METHODS] = {0};
        x[q] = hidden[q] + 1;
        st = make(LATHE_SHAPE_HMM, hidden[q], &truth, err);
        for (int32_t s = 0; s < lab->n_seeds && !st; s++) {
            bool few[N_METHODS] = {0}, many[N_METHODS] = {0};
            static const bool rg_only[N_METHODS] = {true};
            st = trial(&truth, 1000, LATHE_CORRUPT_NONE, 0, 0, 6 * EDGE, three, sub_seed(lab, s, 100 + q),
                       few, err);
            if (!st && q == 3)
                st = trial(&truth, 4000, LATHE_CORRUPT_NONE, 0, 0, 6 * EDGE, rg_only,
                           sub_seed(lab, s, 200 + q), many, err);
            for (int m = 0; m < N_METHODS; m++)
                sums[m] += few[m];
            if (!st && q == 3) {
                lathe_sample_add(&rg, many[0]);
                lathe_sample_add(&clrg, few[1]);
            }
            st = st ? st : lathe_progress_step(lab->progress, "diameters", s + 1, lab->n_seeds, err);
        }
        for (int m = 0; m < N_METHODS; m++) {
            double ci[2];
            lathe_wilson(sums[m], lab->n_seeds, 1.96, ci);
            y[m][q] = (double) sums[m] / lab->n_seeds;
            low[m][q] = ci[0];
            high[m][q] = ci[1];
        }
        lathe_tree_free(&truth);
    }
    st = st ? st : lathe_lab_measure(lab, "diameter-rg", &rg, err);
    st = st ? st : lathe_lab_measure(lab, "diameter-clrg", &clrg, err);
    if (st || lab->quick)
        return st;
    lathe_series series[3];
    for (int m = 0; m < 3; m++)
        series[m] = (lathe_series){
            .name = method_names[m], .x = x, .y = y[m], .low = low[m], .high = high[m], .n = 4};
    const lathe_plot plot = {.kind = LATHE_PLOT_LINE,
                             .title = "Clean chains, 1,000 rows: wrong trees against the diameter",
                             .finding = "Recursive grouping fails first, the Chow-Liu start last.",
                             .x_label = "diameter in edges",
                             .y_label = "share of wrong trees",
                             .series = series,
                             .n_series = 3};
    return lathe_lab_figure(lab, &plot,
                            "Distances beyond 2.4 are not looked at; bands: 95% Wilson intervals.", err);
}

/* Which numbers of spoilt rows are borne: the square root, and where it ends. */
static lathe_status limits(lathe_lab *lab, lathe_error *err) {
    enum { SIZES = 4, STEPS = 9 };
    static const int64_t rows[SIZES] = {1000, 2000, 4000, 8000};
    static const bool clrg_only[N_METHODS] = {false, true};
    lathe_tree truth;
    lathe_sample at_root = {0}, slope = {0};
    double share[SIZES][STEPS] = {{0}}, k_of[SIZES][STEPS];
    lathe_status st = make(LATHE_SHAPE_HMM, 10, &truth, err);
    if (st)
        return st;
    for (int32_t s = 0; s < lab->n_seeds && !st; s++) {
        double misses = 0, log_n[SIZES], log_k[SIZES];
        int n_misses = 0, n_points = 0;
        for (int big = 0; big < 2 && !st; big++)
            for (int kind = LATHE_CORRUPT_UNIFORM; kind <= (int) LATHE_CORRUPT_ROWS && !st; kind++) {
                const int64_t n = big ? 16000 : 4000, k = (int64_t) (sqrt((double) n) / 2);
                bool miss[N_METHODS] = {0};
                st = trial(&truth, n, (lathe_corruption) kind, k, 2 * k, INFINITY, clrg_only,
                           sub_seed(lab, s, 300 + 10 * big + kind), miss, err);
                misses += miss[1];
                n_misses++;
            }
        for (int q = 0; q < SIZES && !st; q++) { /* the largest k before the first wrong tree */
            double borne = 0;
            bool failed = false;
            for (int step = 0; step < STEPS && !st; step++) {
                const int64_t k = (int64_t) (sqrt((double) rows[q]) / 4 * pow(2, 0.75 * step));
                k_of[q][step] = (double) k;
                bool miss[N_METHODS] = {0};
                if (8 * k <= rows[q])
                    st = trial(&truth, rows[q], LATHE_CORRUPT_CONSTANT, k, 2 * k, INFINITY, clrg_only,
                               sub_seed(lab, s, 400 + 20 * q + step), miss, err);
                else
                    miss[1] = true; /* more than a quarter of the products would go */
                share[q][step] += (double) miss[1] / lab->n_seeds;
                failed = failed || miss[1];
                borne = failed ? borne : (double) k;
            }
            if (borne > 0) {
                log_n[n_points] = log((double) rows[q]);
                log_k[n_points++] = log(borne);
            }
        }
        if (st)
            break;
        lathe_sample_add(&at_root, misses / n_misses);
        double mx = 0, my = 0, sxx = 0, sxy = 0;
        for (int q = 0; q < n_points; q++) {
            mx += log_n[q] / n_points;
            my += log_k[q] / n_points;
        }
        for (int q = 0; q < n_points; q++) {
            sxx += (log_n[q] - mx) * (log_n[q] - mx);
            sxy += (log_n[q] - mx) * (log_k[q] - my);
        }
        if (n_points == SIZES)
            lathe_sample_add(&slope, sxy / sxx);
        st = lathe_progress_step(lab->progress, "limits", s + 1, lab->n_seeds, err);
    }
    lathe_tree_free(&truth);
    st = st ? st : lathe_lab_measure(lab, "sqrt-limit", &at_root, err);
    st = st ? st : lathe_lab_measure(lab, "sqrt-exponent", &slope, err);
    static const char *const names[SIZES] = {"1,000 rows", "2,000", "4,000", "8,000"};
    lathe_series series[SIZES];
    for (int q = 0; q < SIZES; q++)
        series[q] = (lathe_series){.name = names[q], .x = k_of[q], .y = share[q], .n = STEPS};
    const lathe_plot plot = {.kind = LATHE_PLOT_LINE,
                             .title = "Truncated CLRG, hidden chain of 10: wrong trees against spoilt rows",
                             .finding = "More rows bear more spoilt ones.",
                             .x_label = "spoilt rows a node",
                             .y_label = "share of wrong trees",
                             .log_x = true,
                             .series = series,
                             .n_series = SIZES};
    return st ? st
              : lathe_lab_figure(lab, &plot,
                                 "Constant pattern of size 60; twice as many products are dropped.", err);
}

/* What the bound says, and what truncation costs clean data. */
static lathe_status bounds(lathe_lab *lab, lathe_error *err) {
    static const bool clrg_only[N_METHODS] = {false, true};
    lathe_tree small, caterpillar = {0};
    lathe_tree_bound bound;
    lathe_sample wrong = {0}, clean = {0};
    lathe_status st = make(LATHE_SHAPE_DOUBLE_BINARY, 1, &small, err);
    if (st)
        return st;
    st = lathe_tree_lower_bound(&small, DIM, 0.1, &bound, err);
    st = st ? st : make(LATHE_SHAPE_HMM, 10, &caterpillar, err);
    const int64_t n = st ? 4 : (int64_t) floor(bound.n_two_point), rows = n > 4 ? n : 4;
    for (int32_t s = 0; s < lab->n_seeds && !st; s++) {
        int misses = 0, n_trials = 0;
        for (int32_t t = 0; t < 20 && !st; t++) {
            bool miss[N_METHODS] = {0};
            st = trial(&small, rows, LATHE_CORRUPT_NONE, 0, 0, INFINITY, clrg_only, sub_seed(lab, s, 500 + t),
                       miss, err);
            misses += miss[1];
            n_trials++;
        }
        bool miss[N_METHODS] = {0};
        st = st ? st
                : trial(&caterpillar, 4000, LATHE_CORRUPT_NONE, 0, (int64_t) sqrt(4000), INFINITY, clrg_only,
                        sub_seed(lab, s, 600), miss, err);
        if (!st) {
            lathe_sample_add(&wrong, (double) misses / n_trials);
            lathe_sample_add(&clean, miss[1]);
        }
    }
    lathe_tree_free(&small);
    lathe_tree_free(&caterpillar);
    st = st ? st : lathe_lab_measure(lab, "lower-bound", &wrong, err);
    return st ? st : lathe_lab_measure(lab, "caterpillar-clean", &clean, err);
}

static lathe_status run(lathe_lab *lab, lathe_error *err) {
    lathe_status st = table_of_corruptions(lab, err);
    st = st ? st : diameters(lab, err);
    if (!st && !lab->quick)
        st = limits(lab, err);
    st = st ? st : bounds(lab, err);
    return st ? st
              : lathe_lab_note(
                    lab,
                    "The paper's constants and simulation sizes were not at hand; the borders of the claims "
                    "are ours. CLRG includes the sweep over nodes of high degree, without which equal edge "
                    "lengths mislead it at any number of rows.",
                    err);
}

extern const lathe_lab_entry lathe_lab_robust_trees;
const lathe_lab_entry lathe_lab_robust_trees = {
    .info =
        {.name = "robust-trees",
         .summary = "latent trees from spoilt data by truncated products",
         .paper =
             "F. Zhang, V. Tan 2021, Robustifying Algorithms of Learning Latent Trees with Vector Variables",
         .scale = "12 to 42 nodes of two coordinates, 1,000 to 16,000 rows",
         .claims = claims,
         .n_claims = LATHE_LEN(claims),
         .n_seeds = 40},
    .run = run,
    .n_seeds_quick = 10,
};
