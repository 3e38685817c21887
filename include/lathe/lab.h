/** @file lab.h
 * Labs: the central claims of a paper, measured again. A lab is one experiment with its claims; a claim's
 * verdict follows from the 95% interval of what was measured, never from a point. */
#ifndef LATHE_LAB_H
#define LATHE_LAB_H

#include "lathe/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/** What a claim says about the measured quantity x. */
typedef enum lathe_claim_kind {
    LATHE_CLAIM_AT_LEAST, /**< x >= expected */
    LATHE_CLAIM_AT_MOST,  /**< x <= expected */
    LATHE_CLAIM_NEAR,     /**< |x - expected| <= tolerance */
    LATHE_CLAIM_GREATER,  /**< a paired difference or a ratio: x > expected (0 or 1) */
} lathe_claim_kind;

typedef enum lathe_verdict {
    LATHE_VERDICT_UNDECIDED, /**< the interval contains the border */
    LATHE_VERDICT_HOLDS,
    LATHE_VERDICT_FAILS,
    LATHE_VERDICT_UNMEASURED, /**< not part of this run, or not testable here */
} lathe_verdict;

/** One claim of a paper. Zeroed fields mean "none". */
typedef struct lathe_claim {
    const char *id;   /**< "ucb-near-best" */
    const char *text; /**< one sentence */
    lathe_claim_kind kind;
    double expected, tolerance;
    const char *unit;
    const char *paper; /**< what the paper found: "1.76", "larger" */
    const char
        *origin; /**< where the expected value comes from: a number of the paper, its direction, or ours */
    bool has_neutral; /**< the value `neutral` would mean "no effect": beyond it, on the claimed side, the
                         claim holds in direction even where the size differs */
    double neutral;
    bool quick;             /**< measured with quick too */
    const char *untestable; /**< why it is not measured here; NULL: it is */
} lathe_claim;

/** A claim with what this run found. */
typedef struct lathe_claim_result {
    const lathe_claim *claim;
    double measured, ci95[2]; /**< mean and its 95% interval (Student's t over n); NaN where unmeasured */
    int64_t n;
    bool exact; /**< a quantity without chance: n counts cases, not runs */
    lathe_verdict verdict;
    bool direction; /**< does not hold as stated, but the interval lies on the claimed side of `neutral` */
} lathe_claim_result;

typedef struct lathe_lab_info {
    const char *name, *summary, *paper;
    const char *scale; /**< "0.13M parameters, 400 steps" */
    const lathe_claim *claims;
    size_t n_claims;
    int32_t n_seeds; /**< of the full version */
} lathe_lab_info;

LATHE_API size_t lathe_lab_count(void);
/** Lab i in the order of `lathe lab`, or NULL. */
LATHE_API const lathe_lab_info *lathe_lab_at(size_t i);
/** By name, or NULL. */
LATHE_API const lathe_lab_info *lathe_lab_find(const char *name);

/** Which grammar: a tree of rules, or words of classes that select each other (273 words; 1089 with full_a6).
 */
typedef enum lathe_lab_data { LATHE_LAB_TREE, LATHE_LAB_LEX } lathe_lab_data;

typedef struct lathe_lab_params {
    size_t struct_size;
    bool quick;
    bool exact_only; /**< closed forms alone, where a lab has such: seconds; the rest stays unmeasured */
    int32_t n_seeds; /**< 0: the lab's own */
    uint64_t seed;   /**< of the first run; run i has seed + i */
    /** Of muon-curvature alone: the data set, the held-out text's imbalance (NaN: as trained), and the long
     * runs that the claim on imbalance needs (half an hour on 2 cores). */
    lathe_lab_data data;
    double val_s;
    bool full_a6;
    int32_t n_threads;
    const char
        *folder; /**< gets report.html, metrics.json, runs.csv; made if missing; NULL: nothing is written */
    const char *command; /**< stands in the report: how to run this again; NULL: none */
    lathe_logger logger;
    lathe_progress progress;
} lathe_lab_params;

LATHE_API lathe_lab_params lathe_lab_params_default(void);

typedef struct lathe_lab_result {
    lathe_claim_result *claims; /**< [n_claims] in the order of the lab's table */
    size_t n_claims;
    int32_t n_seeds;
    double elapsed_s, cpu_s; /**< wall clock; processor time of all threads */
} lathe_lab_result;

/** The verdict of an interval [low, high] on a claim; NaN gives undecided. */
LATHE_API lathe_verdict lathe_claim_verdict(const lathe_claim *claim, double low, double high);
/** "holds", "does not hold", "holds in direction", "undecided", "not measured", "not testable here". */
LATHE_API const char *lathe_claim_verdict_text(const lathe_claim_result *result);

/** Runs a lab. A claim that does not hold is a result, not an error.
 * @return ARG for a lab that is not there or parameters out of range; CANCELLED; errors of the run */
LATHE_API LATHE_NODISCARD lathe_status lathe_lab_run(const char *name, const lathe_lab_params *params,
                                                     lathe_lab_result *result, lathe_error *err);
LATHE_API void lathe_lab_result_free(lathe_lab_result *result);

/** Writes a Markdown page of all labs' claims from FOLDER/NAME.json, the metrics.json of full runs; labs
 * without a file are listed as not measured. */
LATHE_API LATHE_NODISCARD lathe_status lathe_lab_write_claims(const char *folder, const char *path,
                                                              lathe_error *err);

#ifdef __cplusplus
}
#endif
#endif
