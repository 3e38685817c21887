/* spec.h - a session's speculation from inside: arms, sources, and the state of its rounds. */
#ifndef LATHE_DECODE_SPEC_H
#define LATHE_DECODE_SPEC_H

#include "decode/controller.h"
#include "decode/gate.h"
#include "decode/session.h"
#include "decode/spec_cost.h"
#include "decode/spec_source.h"
#include "decode/verifier.h"

enum { LATHE_SPEC_SOURCES_MAX = 12, LATHE_SPEC_DEPTH = LATHE_DRAFT_DEPTH_MAX, LATHE_SPEC_PEAK_BLOCK = 64 };

/* An arm: a source with a largest length. Arm 0 is plain decoding, source -1. */
typedef struct lathe_spec_arm {
    char name[64];
    int32_t source, length;
    int64_t rounds, proposed, accepted, emitted; /* of the last generation */
    double cost;                                 /* plain steps, summed over its rounds */
    double hind_tokens, hind_cost;               /* had it drafted in every round in which that is known */
} lathe_spec_arm;

typedef struct lathe_spec_totals {
    int64_t rounds, proposed, accepted, emitted, rows, truncated, switches;
    int64_t reached[LATHE_SPEC_DEPTH], accepted_at[LATHE_SPEC_DEPTH]; /* by depth, from 1 */
    double draft_s, verify_s, sample_s, other_s, cost, tv_budget;
    int64_t plain_rounds; /* rounds without a source, and their seconds of model and sampling */
    double plain_rounds_s;
    int32_t last_arm;
} lathe_spec_totals;

typedef struct lathe_spec_choice_set { /* what --spec, --arms and --spec-len ask for */
    lathe_spec_arm arm[LATHE_ARMS_MAX];
    char *source[LATHE_SPEC_SOURCES_MAX]; /* names, owned */
    int32_t n_arms, n_sources;
    char verifier[16]; /* of an arms file; empty: none named */
    bool automatic;
} lathe_spec_choice_set;

typedef struct lathe_spec {
    lathe_spec_params params;     /* texts in it are not kept */
    char *cache_dir, *table_path; /* NULL: nothing is kept */
    int64_t rounds_ever;          /* of all answers */
    lathe_spec_choice_set set;
    lathe_spec_source source[LATHE_SPEC_SOURCES_MAX];
    double spent[LATHE_SPEC_SOURCES_MAX]; /* running seconds a round of a free source */
    const lathe_controller *controller;
    void *controller_state;
    bool adaptive; /* the controller takes offers: lengths are trimmed to what pays */
    bool by_threshold;
    const lathe_verifier *verifier;
    lathe_verify_options options;
    lathe_gate gate;
    bool use_gate, priced, learns;
    lathe_spec_cost cost;
    double v[LATHE_TREE_NODES_MAX + 1]; /* cost of a step of i rows, as corrected by now */
    int32_t v_most;                     /* rows of the longest draft of any arm, and one */
    double tokens, costs;               /* running means, for the rate that a draft must beat */
    lathe_token_tree root;              /* the pending token alone */
    lathe_verdict verdict;
    lathe_chance chance; /* where choices come from: zero, but in tests */
    int32_t *top, *top_token;
    double *law;      /* [n_vocab] of spec_laws.c; NULL: not wanted so far */
    double *p, *work; /* laws [p_rows][n_vocab], made when a verifier wants them */
    int32_t p_rows;
    uint8_t *want;
    float *peaks; /* [n_vocab / LATHE_SPEC_PEAK_BLOCK + 1] largest logits of blocks */
    double A[LATHE_TREE_NODES_MAX];
    lathe_spec_totals totals;
    size_t round_began; /* n_ids at the last round's start */
    /* the draft at hand, for the stop rule */
    double survival;
    int32_t chosen_length;
    lathe_spec_source *at_work;
} lathe_spec;

/* Several sequences of one context speculate beside each other: models that draft are shared. */
typedef struct lathe_spec_lanes {
    const lathe_spec *first; /* of the lane that was opened first; NULL: this is it */
    int32_t n;
} lathe_spec_lanes;
/* lathe_session_spec for one of several lanes; NULL: alone. */
LATHE_NODISCARD lathe_status lathe_session_spec_beside(lathe_session *session,
                                                       const lathe_spec_params *params,
                                                       const lathe_spec_lanes *lanes, lathe_error *err);

/* "auto", "lookup+draft:FILE", ...; length 0: the usual ones. several: arms of several lengths for a slow
 * source, as bandits want them. */
LATHE_NODISCARD lathe_status lathe_spec_parse(const char *text, int32_t length, bool several,
                                              lathe_spec_choice_set *set, lathe_error *err);
/* [{"name", "proposer", "len", "verify"}, ...] */
LATHE_NODISCARD lathe_status lathe_spec_read_arms(const char *path, lathe_spec_choice_set *set,
                                                  lathe_error *err);
void lathe_spec_set_free(lathe_spec_choice_set *set);

/* The parts of a round that a batch of sequences shares with a single one. */
/* match and greedy: the sampler draws at each node as plain decoding does, down the tree while it drew a
 * drafted token; the logits of node i are those of row first + i. The session
 * has room for the drafts behind its tokens (lathe_session_reserve). */
LATHE_NODISCARD lathe_status lathe_spec_follow(lathe_spec *s, lathe_session *session,
                                               const lathe_token_tree *tree, int32_t first, lathe_error *err);
/* Shows the rows of a verified batch, those of the tree from row `first` on, to the sources that learn. */
void lathe_spec_learn_rows(lathe_spec *s, const lathe_session *session, const lathe_token_tree *tree,
                           int32_t first);
void lathe_spec_count(lathe_spec *s, int32_t arm, const lathe_token_tree *tree, double cost);
void lathe_spec_reprice(lathe_spec *s);
/* Tokens that each arm of a free source that drafted would have emitted in this round, expected by the
 * target's laws along the kept text (would [n_arms]; others are left alone). After verification, before the
 * next batch; `verified` is the tree that was. */
LATHE_NODISCARD lathe_status lathe_spec_expect(lathe_spec *s, lathe_session *session,
                                               const lathe_token_tree *verified, double *would,
                                               lathe_error *err);
/* Plain steps that the generation has cost more than by its best arm in hindsight, as far as drafts that were
 * not used can tell; *best_arm is left alone where none is known. */
double lathe_spec_regret(const lathe_spec *s, const char **best_arm);
double lathe_spec_round_cost(const lathe_spec *s, const lathe_spec_source *source, int32_t k, int32_t behind);

#endif
