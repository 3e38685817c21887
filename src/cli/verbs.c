/* verbs.c - the table of verbs: one line each, in the order of `lathe help`. */
#include "cli/cli.h"

extern const lathe_verb lathe_verb_run;
extern const lathe_verb lathe_verb_info;
extern const lathe_verb lathe_verb_tokenize;
extern const lathe_verb lathe_verb_tokenizer_train;
extern const lathe_verb lathe_verb_eval;
extern const lathe_verb lathe_verb_logits;
extern const lathe_verb lathe_verb_bench;
extern const lathe_verb lathe_verb_quantize;
extern const lathe_verb lathe_verb_synth;
extern const lathe_verb lathe_verb_train;
extern const lathe_verb lathe_verb_train_longspec;
extern const lathe_verb lathe_verb_curvature;
extern const lathe_verb lathe_verb_probe;
extern const lathe_verb lathe_verb_spec_check;
extern const lathe_verb lathe_verb_spec_sim;
extern const lathe_verb lathe_verb_spec_tree;
extern const lathe_verb lathe_verb_spec_analyse;
extern const lathe_verb lathe_verb_spec_calibrate;
extern const lathe_verb lathe_verb_spec_record;
extern const lathe_verb lathe_verb_spec_replay;
extern const lathe_verb lathe_verb_spec_report;
extern const lathe_verb lathe_verb_spec_convert;
extern const lathe_verb lathe_verb_ngram_build;
extern const lathe_verb lathe_verb_ngram_merge;
extern const lathe_verb lathe_verb_ngram_stats;
extern const lathe_verb lathe_verb_lab;
extern const lathe_verb lathe_verb_worker;
extern const lathe_verb lathe_verb_help;
extern const lathe_verb lathe_verb_version;
extern const lathe_verb lathe_verb_completion;
extern const lathe_verb lathe_verb_tree_learn;
extern const lathe_verb lathe_verb_tree_compare;
extern const lathe_verb lathe_verb_tree_dist;
extern const lathe_verb lathe_verb_tree_active;
extern const lathe_verb lathe_verb_tree_gen;
extern const lathe_verb lathe_verb_tree_exponent;
extern const lathe_verb lathe_verb_tree_bound;
extern const lathe_verb lathe_verb_tree_bench;
extern const lathe_verb lathe_verb_tree_sample;
extern const lathe_verb lathe_verb_tree_score;
extern const lathe_verb lathe_verb_tree_infer;
extern const lathe_verb lathe_verb_tree_impute;

const lathe_verb *const lathe_verbs[] = {
    // clang-format off
    &lathe_verb_run,
    &lathe_verb_info,
    &lathe_verb_tokenize,
    &lathe_verb_tokenizer_train,
    &lathe_verb_eval,
    &lathe_verb_logits,
    &lathe_verb_bench,
    &lathe_verb_quantize,
    &lathe_verb_synth,
    &lathe_verb_train,
    &lathe_verb_train_longspec,
    &lathe_verb_curvature,
    &lathe_verb_probe,
    &lathe_verb_spec_check,
    &lathe_verb_spec_sim,
    &lathe_verb_spec_tree,
    &lathe_verb_spec_analyse,
    &lathe_verb_spec_calibrate,
    &lathe_verb_spec_record,
    &lathe_verb_spec_replay,
    &lathe_verb_spec_report,
    &lathe_verb_spec_convert,
    &lathe_verb_ngram_build,
    &lathe_verb_ngram_merge,
    &lathe_verb_ngram_stats,
    &lathe_verb_tree_learn,
    &lathe_verb_tree_compare,
    &lathe_verb_tree_dist,
    &lathe_verb_tree_active,
    &lathe_verb_tree_gen,
    &lathe_verb_tree_exponent,
    &lathe_verb_tree_bound,
    &lathe_verb_tree_bench,
    &lathe_verb_tree_sample,
    &lathe_verb_tree_score,
    &lathe_verb_tree_infer,
    &lathe_verb_tree_impute,
    &lathe_verb_lab,
    &lathe_verb_worker,
    &lathe_verb_help,
    &lathe_verb_version,
    &lathe_verb_completion,
    // clang-format on
};
const size_t lathe_n_verbs = LATHE_LEN(lathe_verbs);
