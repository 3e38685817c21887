/** @file decode.h
 * Decoding: from logits to text, and speculation that makes it faster without changing its law.
 *
 * A sampler turns logits into a law over tokens and draws from it; a session holds a context, the ids behind
 * it and a sampler, and turns a prompt into text. All random numbers depend on the seed and the position
 * alone. */
#ifndef LATHE_DECODE_H
#define LATHE_DECODE_H

#include "lathe/model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* === Sampling ==================================================================================== */

typedef struct lathe_logit_bias {
    int32_t id;
    float bias; /**< added to the logit; -INFINITY bans the token */
} lathe_logit_bias;

/** Names, order and defaults are llama.cpp's. A step whose value says "off" does nothing. */
typedef struct lathe_sampler_params {
    size_t struct_size;
    /** Steps in order, separated by ';' or ',': penalties dry top_n_sigma top_k typ_p top_p min_p xtc
     * temperature; NULL: all of them in this order. A step that is not named is not done. */
    const char *steps;
    double temp;            /**< 0.8; <= 0: always the likeliest, ties to the lowest id, whatever the steps */
    int32_t top_k;          /**< 40; <= 0: all */
    double top_p;           /**< 0.95; >= 1: off */
    double min_p;           /**< 0.05; <= 0: off */
    double typical;         /**< 1; >= 1: off */
    double top_n_sigma;     /**< -1; <= 0: off */
    double xtc_probability; /**< 0: off */
    double xtc_threshold;   /**< 0.1; > 0.5: off */
    double dynatemp_range;  /**< 0: the temperature is fixed, else temp +- range by the entropy */
    double dynatemp_exponent;        /**< 1 */
    int32_t min_keep;                /**< 0; top-p, min-p and typical leave at least so many */
    int32_t repeat_last_n;           /**< 64: tokens that penalties look at; -1: all */
    double repeat_penalty;           /**< 1: off */
    double frequency_penalty;        /**< 0 */
    double presence_penalty;         /**< 0 */
    double dry_multiplier;           /**< 0: off */
    double dry_base;                 /**< 1.75 */
    int32_t dry_allowed_length;      /**< 2 */
    int32_t dry_last_n;              /**< 64; -1: all */
    const char *const *dry_breakers; /**< [n_dry_breakers] texts; NULL: newline, colon, quote, asterisk */
    int32_t n_dry_breakers;
    const lathe_logit_bias *bias; /**< [n_bias], copied */
    int32_t n_bias;
    bool mirostat;       /**< version 2: after the temperature alone; the steps are ignored */
    double mirostat_tau; /**< 5 bits */
    double mirostat_eta; /**< 0.1 */
    uint64_t seed;       /**< 0 */
} lathe_sampler_params;

typedef struct lathe_sampler lathe_sampler;

LATHE_API lathe_sampler_params lathe_sampler_params_default(void);

/** @param vocab  for the DRY breakers; NULL: none
 * Errors: ARG names the value that is out of range, or the unknown step. */
LATHE_API LATHE_NODISCARD lathe_status lathe_sampler_new(const lathe_vocab *vocab, int32_t n_vocab,
                                                         const lathe_sampler_params *params,
                                                         lathe_sampler **sampler, lathe_error *err);
LATHE_API void lathe_sampler_free(lathe_sampler *sampler);
LATHE_API uint64_t lathe_sampler_seed(const lathe_sampler *sampler);
LATHE_API bool lathe_sampler_is_greedy(const lathe_sampler *sampler);

/** The law of the next token after the whole chain.
 * @param logits   [n_vocab], read only; -inf excludes a token
 * @param history  [n_history] the tokens before it, for penalties, DRY and the position of XTC's draw
 * @param law      [n_vocab] out: probabilities that sum to 1; a point mass where greedy
 * Errors: NUMERIC for NaN or +inf, and where every token is excluded.
 * Cost O(n_vocab), no allocation but of DRY's table when the history grew. */
LATHE_API LATHE_NODISCARD lathe_status lathe_sampler_law(lathe_sampler *sampler, const float *logits,
                                                         const int32_t *history, size_t n_history,
                                                         double *law, lathe_error *err);

/** Draws the token at position n_history: the same one for the same seed, logits and history. */
LATHE_API LATHE_NODISCARD lathe_status lathe_sampler_draw(lathe_sampler *sampler, const float *logits,
                                                          const int32_t *history, size_t n_history,
                                                          int32_t *id, lathe_error *err);

/** The token of a law at a position: the first whose cumulative probability passes the position's uniform;
 * where the sampler is greedy its point mass. Equals lathe_sampler_draw up to rounding of sums. */
LATHE_API int32_t lathe_sampler_pick(const lathe_sampler *sampler, const double *law, size_t position);

/** log softmax over all tokens, in double; [n] in and out. */
LATHE_API void lathe_log_softmax(const float *logits, int32_t n, double *out);

/** Costs in units of a target step of one token. */
typedef struct lathe_cost_model {
    int32_t n;        /**< measured sizes, 1 to 16 */
    int32_t rows[16]; /**< ascending, rows[0] = 1 */
    double ratio[16]; /**< cost of a step of rows[i] tokens; ratio[0] = 1, non-decreasing */
    double draft;     /**< cost of one drafted token */
    double overhead;  /**< cost of a round besides */
} lathe_cost_model;

/* === Generation ================================================================================== */

/** Takes text as it comes, whole UTF-8 characters (text is not NUL-terminated); false stops the generation.
 */
typedef bool (*lathe_text_fn)(void *user, const char *text, size_t n_bytes);

typedef enum lathe_stop {
    LATHE_STOP_EOS,       /**< the model ended its text */
    LATHE_STOP_LENGTH,    /**< n_predict tokens are there */
    LATHE_STOP_CONTEXT,   /**< the context is full */
    LATHE_STOP_STRING,    /**< a stop string came */
    LATHE_STOP_INTERRUPT, /**< the callback or lathe_session_cancel said so */
} lathe_stop;

/** "eos", "length", "context", "string", "interrupt" */
LATHE_API const char *lathe_stop_name(lathe_stop stop);

typedef struct lathe_session_params {
    size_t struct_size;
    lathe_context_params context;
    lathe_sampler_params sampler;
    int32_t n_predict;       /**< -1: until the end of the text or of the context */
    const char *const *stop; /**< [n_stop] texts that end the generation and are not part of it */
    int32_t n_stop;          /**< at most 64, of at most 1024 bytes */
    int32_t add_bos;         /**< -1: as the model says */
    bool special;            /**< recognise special tokens in prompts */
    bool show_special;       /**< write control tokens too */
    bool ignore_eos;         /**< the end of the text is never drawn */
    bool shift;     /**< a full context drops its older half (but n_keep tokens) instead of ending the text */
    int32_t n_keep; /**< tokens that a shift keeps at the front; BOS is always kept */
    lathe_progress progress; /**< of prompts; false cancels */
} lathe_session_params;

/** What the last generation did. Times in seconds. */
typedef struct lathe_session_stats {
    size_t struct_size;
    int32_t n_prompt;    /**< tokens of the prompt */
    int32_t n_reused;    /**< of these, found in the cache */
    int32_t n_predicted; /**< tokens generated; one that ended the text is not counted */
    int32_t n_shifted;   /**< tokens dropped by shifts */
    int32_t n_threads;
    lathe_stop stop;
    uint64_t seed;
    double prefill_s; /**< prompt without its last token */
    double decode_s;  /**< everything after */
} lathe_session_stats;

typedef struct lathe_session lathe_session;

LATHE_API lathe_session_params lathe_session_params_default(void);

/** @param params  NULL: defaults. The model must outlive the session. */
LATHE_API LATHE_NODISCARD lathe_status lathe_session_new(const lathe_model *model,
                                                         const lathe_session_params *params,
                                                         lathe_session **session, lathe_error *err);
LATHE_API void lathe_session_free(lathe_session *session);

/** Continues a text. The prompt is the whole text; what it has in common with what the session holds already
 * is not read again.
 * @param print  NULL: nobody listens; the ids are kept all the same
 * Errors: ARG for an empty prompt where no BOS is added, and for one over the context (the message has both
 * sizes). */
LATHE_API LATHE_NODISCARD lathe_status lathe_session_generate(lathe_session *session, const char *prompt,
                                                              lathe_text_fn print, void *user,
                                                              lathe_error *err);
/** As above for [n_ids] tokens, used as they are. */
LATHE_API LATHE_NODISCARD lathe_status lathe_session_generate_ids(lathe_session *session, const int32_t *ids,
                                                                  size_t n_ids, lathe_text_fn print,
                                                                  void *user, lathe_error *err);

/** All tokens held: prompt and answer; *n_generated of them are the last answer. Borrowed until the next
 * call. */
LATHE_API const int32_t *lathe_session_ids(const lathe_session *session, size_t *n_ids, size_t *n_generated);
LATHE_API lathe_session_stats lathe_session_stats_of(const lathe_session *session);
/** The context under it, for what sessions do not offer. */
LATHE_API lathe_context *lathe_session_context(lathe_session *session);

/** Another sampler, or another length, from the next generation on. */
LATHE_API LATHE_NODISCARD lathe_status lathe_session_set_sampler(lathe_session *session,
                                                                 const lathe_sampler_params *params,
                                                                 lathe_error *err);
/** One round, as it is told to on_round. */
typedef struct lathe_spec_round {
    int64_t round;    /**< of this generation, from 0 */
    int64_t position; /**< of its first token */
    const char *arm;  /**< "none": plain */
    int32_t proposed, accepted, emitted;
    double draft_s, verify_s, sample_s, other_s;
    double cost;   /**< by the cost model, in plain steps */
    double regret; /**< plain steps more than by the best arm in hindsight, so far (an estimate) */
    double loss_s; /**< measured time less the price of the same tokens by plain decoding, so far */
    bool refused;  /**< the gate allowed no draft */
} lathe_spec_round;

typedef struct lathe_spec_params {
    size_t struct_size;
    /** "auto" (lookup, suffix and recycle), or proposers joined by '+': lookup, suffix, suffix:global, ngram,
     * ngram:FILE, ngram:mod, recycle, draft:FILE, ...; "none": rounds that draft nothing */
    const char *proposers;
    const char *arms_file;  /**< JSON list of arms instead: name, proposer, len, verify; NULL: none */
    const char *controller; /**< hazard, ucb, fixed:ARM, ...; NULL: hazard, or fixed where length is given */
    const char *verifier;   /**< NULL: match */
    const char *tree; /**< of a draft model: chain, static:FILE, sequoia:N, eagle2:N,D,K, beam:W1,W2,...;
                         NULL: chain */
    /** a draft model scores only so many of its most frequent tokens (and those that end a text); 0: all */
    int32_t draft_head;
    const char *draft_counts; /**< n-gram cache of a text that says which are frequent; NULL: the first ids */
    int32_t length;           /**< most drafted tokens a round; 0: as usual */
    int32_t gate;          /**< 1: rounds draft only while the worst loss stays within max_loss of the time;
                                0: always; -1: with "auto" and where neither controller nor length is given */
    double max_loss;       /**< 0.02 */
    const char *reward;    /**< of bandits: tokens over the cost by the "model" (NULL) or by the clock
                                ("time"), or "tokens" alone */
    const char *cache_dir; /**< folder of the cost calibration and of stores; NULL: measured each time */
    double cool_delta, cool_nu, typical_epsilon, typical_delta; /**< of relaxed verifiers */
    double threshold;                                           /**< of the controller of that name: 0.7 */
    int32_t std_budget;                                         /**< std: rows of its sparse cache, 1024 */
    int32_t span_begin, span_end; /**< std: positions that are thinned; both 0: all but the prompt's end */
    void (*on_round)(void *user, const lathe_spec_round *round);
    void *user;
    lathe_logger logger;
} lathe_spec_params;

LATHE_API lathe_spec_params lathe_spec_params_default(void);
/** Steps become rounds: tokens are drafted, verified in one batch, and those that hold are kept. Which arm
 * drafts, and how much, the controller decides. With a lossless verifier the law of the text is that of plain
 * generation; with match and greedy the seeded text is the same (to the bit where the context is exact).
 * ARG for unknown names, for a verifier that cannot judge such drafts at this temperature, and for mirostat;
 * INPUT for files that cannot be used. The session is then as before. */
LATHE_API LATHE_NODISCARD lathe_status lathe_session_spec(lathe_session *session,
                                                          const lathe_spec_params *params, lathe_error *err);
/** One proposer at a fixed length, without a gate.
 * @param length    most drafted tokens a round; 0: the proposer's usual length */
LATHE_API LATHE_NODISCARD lathe_status lathe_session_speculate(lathe_session *session, const char *proposer,
                                                               const char *verifier, int32_t length,
                                                               lathe_error *err);
typedef struct lathe_spec_arm_stats {
    const char *name;
    double share;    /**< of rounds */
    double accepted; /**< drafted tokens kept a round */
    double cost;     /**< mean cost of a round in plain steps */
    int64_t rounds, proposed, emitted;
} lathe_spec_arm_stats;

enum { LATHE_SPEC_STATS_ARMS = 32, LATHE_SPEC_STATS_DEPTH = 64 };

/** Of the last generation. acceptance_rate = accepted / proposed; what others call acceptance length is
 * emitted / rounds (with the target's own token) or accepted / rounds (without). */
typedef struct lathe_session_spec_stats {
    size_t struct_size;
    int64_t rounds, proposed, accepted, emitted;
    int64_t rows;      /**< target rows computed */
    int64_t truncated; /**< rounds whose last token fell to the end of the text or of the length */
    int64_t switches;  /**< rounds whose arm was not that of the round before */
    int64_t gate_refused, probes;
    const char *proposer, *verifier, *controller;
    bool lossless;    /**< the text has the law of plain generation */
    bool same_text;   /**< with equal seeds it is the text of plain generation */
    double tv_budget; /**< sum of one-step total-variation errors that a relaxed verifier allowed */
    double draft_s, verify_s, sample_s, other_s;
    double plain_s; /**< seconds of a plain token: of this run, with sampling, else calibrated; 0: unknown */
    double speedup_vs_plain; /**< n tokens x plain_s / decode time; 0: unknown */
    double loss_bound;       /**< the gate's: what the answer can have lost, as a share; 0 without a gate */
    double interrupted_s;
    double regret;        /**< plain steps above the best arm in hindsight, where known; 0 */
    const char *best_arm; /**< in hindsight; NULL: unknown */
    int32_t n_arms, n_depth;
    lathe_spec_arm_stats arms[LATHE_SPEC_STATS_ARMS];
    int64_t reached[LATHE_SPEC_STATS_DEPTH], accepted_at[LATHE_SPEC_STATS_DEPTH]; /**< by depth, from 1 */
    int64_t draft_bytes;   /**< caches of draft models */
    lathe_cost_model cost; /**< as corrected by the run */
} lathe_session_spec_stats;
/** false: the session does not speculate. */
LATHE_API bool lathe_session_spec_stats_of(const lathe_session *session, lathe_session_spec_stats *stats);
/** One of many prompts. */
typedef struct lathe_stream_prompt {
    const int32_t *ids; /**< [n_ids] */
    size_t n_ids;
    uint64_t seed;
    void *user; /**< of text */
} lathe_stream_prompt;

typedef struct lathe_stream_params {
    size_t struct_size;
    const lathe_session_params
        *answer; /**< of every answer; the context in it is not used, the seed is each prompt's */
    const lathe_spec_params *spec; /**< NULL: no speculation; match or greedy, and chains */
    int32_t n_parallel;            /**< sequences at once, at most what the host's context was made for */
    int32_t n_ctx;                 /**< positions of an answer */
    double latency;     /**< 1.5: a batch with drafts takes at most so many times that of one without */
    lathe_text_fn text; /**< may be NULL */
    /** An answer is there; the session holds its ids and stats until it returns. false stops. */
    bool (*done)(void *user, size_t index, const lathe_session *session);
    void *user;
    /* out */
    int64_t rounds, rows, tokens, drafted, accepted;
    double seconds;
} lathe_stream_params;
/** Answers n prompts, several at once in the context of `host`: each step computes the pending token of every
 * sequence and, where that pays, drafted ones of some, admitted by their probability. Each answer is that of
 * a session of its own (to the bit where the context is exact). */
LATHE_API LATHE_NODISCARD lathe_status lathe_session_stream(lathe_session *host, lathe_stream_params *params,
                                                            const lathe_stream_prompt *prompts, size_t n,
                                                            lathe_error *err);

/** Where a text leaves that of a plain session. */
typedef struct lathe_difference {
    size_t struct_size;
    int64_t position;           /**< of the first token that differs; -1: none does */
    int32_t plain_id, other_id; /**< -1: that text has ended */
    double margin; /**< greedy: lead of the plain token in logits; else distance of the random number from the
                        ends of the token's interval of cumulative probability */
    double noise;  /**< how much rows of the last 64 tokens differ where they are read one by one, as one
                      batch, and as  trees with wrong branches; in the same unit */
    bool is_tie;   /**< margin within ten times the noise: rounding decides between the two */
} lathe_difference;
/** Compares ids [n_ids] with what a plain session holds; its context then holds a prefix only. */
LATHE_API LATHE_NODISCARD lathe_status lathe_session_difference(lathe_session *plain, const int32_t *ids,
                                                                size_t n_ids, lathe_difference *difference,
                                                                lathe_error *err);
LATHE_API void lathe_session_set_n_predict(lathe_session *session, int32_t n_predict);
LATHE_API LATHE_NODISCARD lathe_status lathe_session_set_stop(lathe_session *session, const char *const *stop,
                                                              int32_t n_stop, lathe_error *err);
/** cancel(user) is asked between tokens and within prompts; true stops with LATHE_STOP_INTERRUPT. */
LATHE_API void lathe_session_set_cancel(lathe_session *session, bool (*cancel)(void *user), void *user);
/** Forgets everything. */
LATHE_API void lathe_session_clear(lathe_session *session);
/** Cache and ids to a file, and back; see lathe_context_save. */
LATHE_API LATHE_NODISCARD lathe_status lathe_session_save(const lathe_session *session, const char *path,
                                                          lathe_error *err);
LATHE_API LATHE_NODISCARD lathe_status lathe_session_load(lathe_session *session, const char *path,
                                                          lathe_error *err);

/* === Speculation ================================================================================= */
/* Drafts are made by a proposer, judged by a verifier, and their kind and length chosen by a controller; the
 * parts below need no model: checks, cost arithmetic, optimal trees, simulation, n-gram files. */

/* --- Checks of verifiers --- */

/** A check passes where its exact error is below 1e-12, or its chi-square p-value above this (the false
 * alarm). */
#define LATHE_VERIFY_CHECK_ALPHA 1e-7

typedef struct lathe_verify_case {
    const char *name, *verifier, *proposer;
    bool valid; /**< false for the known wrong ones, which must not pass */
    bool pass;
    double p_value;   /**< of a chi-square test over whole generations; -1: exact enumeration */
    double max_error; /**< largest |law - target law| over texts; -1: statistical */
    int64_t n;        /**< paths walked, or generations drawn */
} lathe_verify_case;

LATHE_API size_t lathe_verify_check_count(void);
/** Runs check i. @param n generations of a statistical one (1000 to 1e8; power above 0.999 for a
 * total-variation distance of 0.04 from 20,000 on) */
LATHE_API LATHE_NODISCARD lathe_status lathe_verify_check_run(size_t i, uint64_t seed, int64_t n,
                                                              lathe_verify_case *out, lathe_error *err);
/** P(X > x) for a chi-square variable with df degrees of freedom. */
LATHE_API double lathe_chi_square_tail(double x, int32_t df);

/* --- What a round costs and yields --- */

/** v(rows): linear between measured sizes; behind the last with its last slope, at least 0.02 a row. */
LATHE_API double lathe_cost_verify(const lathe_cost_model *cost, int32_t rows);
/** Cost of a round of k drafts. */
LATHE_API double lathe_cost_round(const lathe_cost_model *cost, int32_t k);
/** v(n) = 1 + slope (n - 1) where nothing was measured. */
LATHE_API lathe_cost_model lathe_cost_linear(double slope, double draft);
/** v(1), v(2), ... as given: [n], n <= 16. */
LATHE_API LATHE_NODISCARD lathe_status lathe_cost_from_list(const double *v, int32_t n, double draft,
                                                            lathe_cost_model *cost, lathe_error *err);
/** E[tokens of a round] where each draft is accepted with probability alpha. Source: Leviathan et al. 2023.
 */
LATHE_API double lathe_expected_tokens(double alpha, int32_t gamma);
/** The length in 0 .. length_max with the largest tokens per cost (ties: shortest). @param speedup may be
 * NULL */
LATHE_API int32_t lathe_best_length(double alpha, int32_t length_max, const lathe_cost_model *cost,
                                    double *speedup);
/** Smallest acceptance at which one drafted token pays. */
LATHE_API double lathe_break_even(const lathe_cost_model *cost);

/** The tree of n nodes (root included) with the largest expected number of accepted tokens where the k-th
 * child of an accepted node is the right one with probability rates[k]. Source: Chen et al. 2024 (Sequoia).
 * @param depth_max  0: any
 * @param parent, rank  [n] out: parent and child rank of each node, parents first; may be NULL
 * @param value  out: the expectation, root counted */
LATHE_API LATHE_NODISCARD lathe_status lathe_sequoia_tree(const double *rates, int32_t n_rates, int32_t n,
                                                          int32_t depth_max, int32_t *parent, int32_t *rank,
                                                          double *value, lathe_error *err);

/* --- Controllers in simulation --- */

typedef struct lathe_sim_params {
    size_t struct_size;
    const double *p;       /**< [n_arms] arm i emits 1 + (accepted of L) tokens, each accepted with p[i] */
    const double *p_later; /**< [n_arms] rates from half of the tokens on; NULL: the same */
    int32_t n_arms;
    int32_t length;   /**< L, 1 to 256 */
    int32_t n_tokens; /**< of an answer */
    int32_t runs;
    uint64_t seed;
    const char *controller; /**< ucb, exp3, ducb, sw, hedge, eps, ts, uniform, released, fixed:I */
    double ucb_scale;       /**< factor on the radius: 0.3; 1 in the theorem */
} lathe_sim_params;

typedef struct lathe_sim_result {
    double rounds, rounds_se; /**< mean stopping time and its standard error */
    double best;              /**< least expected stopping time of a fixed arm, exact */
    double regret;            /**< rounds - best */
    double wald; /**< sum over arms of gap / best mean x mean pulls: regret but for the last round */
    double bound_ucb, bound_exp3; /**< the theorems' bounds */
    double pulls[32];             /**< mean pulls of each arm */
} lathe_sim_result;

LATHE_API lathe_sim_params lathe_sim_params_default(void);
LATHE_API LATHE_NODISCARD lathe_status lathe_sim_run(const lathe_sim_params *params, lathe_sim_result *result,
                                                     lathe_error *err);
/** Exact E[rounds] to emit n tokens with one arm of rate p and length L. */
LATHE_API LATHE_NODISCARD lathe_status lathe_sim_exact_rounds(double p, int32_t length, int32_t n_tokens,
                                                              double *rounds, lathe_error *err);
/** Mean cost to emit n tokens where a controller of lengths drafts up to `length` tokens with acceptance
 * alpha; `best` is the exact cost of the best fixed length. */
LATHE_API LATHE_NODISCARD lathe_status lathe_sim_lengths(const char *controller, double alpha,
                                                         const lathe_cost_model *cost, int32_t length,
                                                         int32_t n_tokens, int32_t runs, uint64_t seed,
                                                         double *mean_cost, double *se, double *best,
                                                         lathe_error *err);

/* --- Traces: what each arm would have emitted, and controllers replayed on it --- */

typedef struct lathe_arm_info {
    const char *name;
    int32_t length; /**< most drafted tokens; 0: plain */
    double draft;   /**< cost of a drafted token in plain steps */
} lathe_arm_info;
/** Arms of a session that speculates, borrowed names; returns how many there are. */
LATHE_API int32_t lathe_session_arms(const lathe_session *session, lathe_arm_info *arms, int32_t n_max);
/** emitted [n_arms]: tokens that a round of each arm would have emitted at this position of the answer. */
typedef void (*lathe_trace_fn)(void *user, int32_t position, const int32_t *emitted, int32_t n_arms);
/** Calls row for every position of the last answer of a session that speculates; n_prompt: tokens before it.
 */
LATHE_API LATHE_NODISCARD lathe_status lathe_session_trace(lathe_session *session, size_t n_prompt,
                                                           lathe_trace_fn row, void *user, lathe_error *err);

typedef struct lathe_trace lathe_trace;
/** JSON lines: a header with schema lathe.spec-trace/1, arms and v, then {"pos", "arm_lengths"} each. */
LATHE_API LATHE_NODISCARD lathe_status lathe_trace_read(const char *path, lathe_trace **trace,
                                                        lathe_error *err);
LATHE_API void lathe_trace_free(lathe_trace *trace);
LATHE_API const char *lathe_trace_arm_name(const lathe_trace *trace, int32_t arm);
typedef struct lathe_replay {
    size_t struct_size;
    double tokens, rounds, cost; /**< cost in plain steps */
    double best_cost;            /**< of the best fixed arm in hindsight */
    int32_t best_arm, n_arms;
    double arm_cost[32], pulls[32];
} lathe_replay;
LATHE_API LATHE_NODISCARD lathe_status lathe_trace_replay(const lathe_trace *trace, const char *controller,
                                                          uint64_t seed, lathe_replay *out, lathe_error *err);

/* --- Calibration --- */

typedef struct lathe_spec_calibration {
    size_t struct_size;
    int32_t depth;  /**< tokens held */
    double plain_s; /**< of a step of one row */
    double draft_s; /**< of a drafted token; 0: no draft model */
    double spent_s;
    bool assumed;          /**< too slow to measure in the time there is: a cautious guess */
    lathe_cost_model cost; /**< v(n) and the draft's c */
} lathe_spec_calibration;
/** Measures steps behind `depth` dummy tokens and keeps the result in cache_dir (NULL: nowhere), where run
 * finds it.
 * @param rows_max  largest step, 2 to 64
 * @param draft     GGUF file of a draft model, or NULL */
LATHE_API LATHE_NODISCARD lathe_status lathe_spec_calibrate(const lathe_model *model,
                                                            const lathe_context_params *params, int32_t depth,
                                                            int32_t rows_max, const char *draft,
                                                            const char *cache_dir,
                                                            lathe_spec_calibration *out, lathe_error *err);

/* --- COOL-SD on a Markov chain --- */

typedef struct lathe_cool_point {
    double tokens_per_round;
    double bound; /**< B: bound on the total variation of a round from a stationary start, averaged over
                     states */
    double stationary_tv; /**< exact total variation between stationary laws of token pairs */
} lathe_cool_point;

/** Exact analysis for order-1 target P and draft Q [n][n] (rows sum to one), n <= 64.
 * @param schedule "excess", "mean", "uniform", "linear" or "reverse" */
LATHE_API LATHE_NODISCARD lathe_status lathe_cool_analyse(const double *P, const double *Q, int32_t n,
                                                          int32_t length, double delta, double nu,
                                                          const char *schedule, lathe_cool_point *point,
                                                          lathe_error *err);

/* --- Drafts for long texts --- */

enum { LATHE_LONG_LENGTH_MAX = 16 };

/** One measurement of a proposer that drafts with the target's own cache (std, longspec:FILE) behind a text.
 */
typedef struct lathe_long_params {
    size_t struct_size;
    const char *proposer;         /**< "std" or "longspec:FILE" */
    const char *tree;             /**< longspec: NULL (a chain) or "beam:W1,W2,..." */
    int32_t length;               /**< 4; drafted tokens a round */
    int32_t n_predict;            /**< 64; greedy tokens, by plain decoding and by rounds */
    int32_t repeats;              /**< 1; of both, in turn; times are medians */
    int32_t std_budget;           /**< 1024; rows of the sparse cache */
    int32_t std_queries;          /**< 64; queries that choose them */
    int32_t span_begin, span_end; /**< positions they are chosen from; both 0: all but the last queries */
    int32_t
        std_rule; /**< 0: the rows attended to most, 1: first 32 and last ones, 2: random ones (comparison) */
    lathe_logger logger;
} lathe_long_params;

typedef struct lathe_long_result {
    int32_t n_ctx; /**< tokens of the text */
    int64_t rounds, proposed, accepted, emitted;
    int64_t reached[LATHE_LONG_LENGTH_MAX + 1],
        accepted_at[LATHE_LONG_LENGTH_MAX + 1]; /**< by depth, from 1 */
    double plain_s;                             /**< a token of plain decoding */
    double draft_s;                             /**< a drafted token */
    double verify_s;                            /**< a verify step */
    double begin_s;                             /**< once: choosing rows, or reading the window */
    double speedup;                             /**< measured, begin_s left out */
    double model_speedup; /**< tokens a round and the three times: the cost model on this machine */
    double io_speedup; /**< bytes read alone, verify steps as cheap as plain ones: a machine bound by memory,
                          a GPU */
    bool same_text;    /**< the tokens are those of plain decoding */
    int32_t first_difference; /**< -1: none */
    double margin;            /**< there: plain's logit above the other's; 0: none */
    double kept_mass; /**< std: share of attention that the sparse cache keeps, mean over layers; else NaN */
    int64_t target_bytes, draft_bytes; /**< caches: the target's rows in use, the draft's own */
    int64_t weights_bytes;
} lathe_long_result;

LATHE_API lathe_long_params lathe_long_params_default(void);
/** Behind ids [n], of which sequence 0 of the context holds all but the last, and does so again afterwards.
 */
LATHE_API LATHE_NODISCARD lathe_status lathe_long_measure(lathe_context *context, const int32_t *ids,
                                                          int32_t n, const lathe_long_params *params,
                                                          lathe_long_result *result, lathe_error *err);

/** What a step reads, in bytes. */
typedef struct lathe_io_model {
    double weights;       /**< of the target, once a step */
    double kv;            /**< cache of one token, all layers */
    double batch;         /**< sequences decoded together */
    double draft_weights; /**< of a draft's step; std: the target's */
    double draft_rows; /**< cache rows a draft's step reads, in tokens of the target's whole cache (std: the
                          budget; longspec: n / layers + window / layers) */
    double verify;     /**< cost of a verify step in plain steps; 1 on a machine bound by memory */
} lathe_io_model;

/** Speed-up at n tokens of context, `length` drafts a round and acceptance alpha (accepted over proposed):
 * (alpha length + 1) (W + b kv n) / (length (Wd + b kv rows) + verify (W + b kv n)). */
LATHE_API double lathe_io_speedup(const lathe_io_model *io, double n, int32_t length, double alpha);
/** Context from which speculation gains at all where a draft reads the target's weights and `draft_rows`:
 * alpha > (W + b kv rows) / (W + b kv n), without the cost of verification; HUGE_VAL: never. */
LATHE_API double lathe_io_break_even(const lathe_io_model *io, double alpha);

/** Writes a published LongSpec draft, a .safetensors file or a folder of them, as GGUF for a target. INPUT
 * names the tensor that is missing or does not fit. */
LATHE_API LATHE_NODISCARD lathe_status lathe_spec_convert_longspec(const char *safetensors,
                                                                   const char *target, int32_t window,
                                                                   const char *path, int64_t *n_params,
                                                                   lathe_error *err);

/* --- COOL-SD on small images --- */

enum { LATHE_MESH_LEVELS_MAX = 8, LATHE_MESH_FEATURES = 5 };

/** Images of side x side pixels from a Markov mesh with known laws, drawn by rounds of relaxed acceptance. */
typedef struct lathe_cool_mesh_params {
    size_t struct_size;
    int32_t side;         /**< 16 */
    int32_t levels;       /**< 4; grey levels, 2 to 8 */
    int32_t length;       /**< 5; drafted pixels a round */
    int32_t images;       /**< 1500 */
    double delta;         /**< 1: lossless */
    double nu;            /**< 0.7 */
    const char *schedule; /**< as lathe_cool_analyse */
    uint64_t seed;
} lathe_cool_mesh_params;

typedef struct lathe_cool_mesh_result {
    int32_t n_levels;
    double tokens_per_round; /**< pixels over rounds */
    double budget; /**< summed one-step errors of visited positions over pixels: the verifier's own report */
    double vertical[LATHE_MESH_LEVELS_MAX * LATHE_MESH_LEVELS_MAX]; /**< law of (pixel, pixel below) */
    /** Of an image: shares of levels 0, 1, 2, mean |difference| along rows, down columns. */
    double mean[LATHE_MESH_FEATURES], covariance[LATHE_MESH_FEATURES][LATHE_MESH_FEATURES];
} lathe_cool_mesh_result;

LATHE_API lathe_cool_mesh_params lathe_cool_mesh_params_default(void);
LATHE_API LATHE_NODISCARD lathe_status lathe_cool_mesh_run(const lathe_cool_mesh_params *params,
                                                           lathe_cool_mesh_result *result, lathe_error *err);
/** Total variation between the laws of vertical pairs. */
LATHE_API double lathe_cool_mesh_tv(const lathe_cool_mesh_result *a, const lathe_cool_mesh_result *b);
/** Squared Frechet distance of the features, as normal laws. */
LATHE_API double lathe_cool_mesh_frechet(const lathe_cool_mesh_result *a, const lathe_cool_mesh_result *b);

/* --- N-gram caches in llama.cpp's file format --- */

typedef struct lathe_ngram lathe_ngram;

LATHE_API LATHE_NODISCARD lathe_status lathe_ngram_new(lathe_ngram **ngram, lathe_error *err);
LATHE_API void lathe_ngram_free(lathe_ngram *ngram);
/** Counts every n-gram of sizes size_min .. size_max (1 to 4) whose follower is at position >= first. */
LATHE_API LATHE_NODISCARD lathe_status lathe_ngram_update(lathe_ngram *ngram, const int32_t *ids,
                                                          size_t n_ids, size_t first, int32_t size_min,
                                                          int32_t size_max, lathe_error *err);
/** Adds the counts of `from`, saturating at 2^31 - 1. */
LATHE_API LATHE_NODISCARD lathe_status lathe_ngram_merge(lathe_ngram *ngram, const lathe_ngram *from,
                                                         lathe_error *err);
/** @param n_vocab ids must be below it; 0: unknown. INPUT names the byte offset of what is wrong.
 * @param logger told of repeated n-grams, of which the first counts; may be NULL */
LATHE_API LATHE_NODISCARD lathe_status lathe_ngram_read(const char *path, int32_t n_vocab,
                                                        const lathe_logger *logger, lathe_ngram **ngram,
                                                        lathe_error *err);
/** As above from memory. */
LATHE_API LATHE_NODISCARD lathe_status lathe_ngram_parse(const uint8_t *bytes, size_t n_bytes,
                                                         int32_t n_vocab, const lathe_logger *logger,
                                                         lathe_ngram **ngram, lathe_error *err);
/** Sorted: equal tables give equal files. */
LATHE_API LATHE_NODISCARD lathe_status lathe_ngram_write(const lathe_ngram *ngram, const char *path,
                                                         int64_t *n_bytes, lathe_error *err);
/** n-grams by size 1 .. 4, and pairs of n-gram and follower; pointers may be NULL. Returns all n-grams. */
LATHE_API int64_t lathe_ngram_count(const lathe_ngram *ngram, int64_t by_size[4], int64_t *n_followers);
/** Drafts at most n_max tokens behind ids from the three levels; any table may be NULL. Returns how many. */
LATHE_API int32_t lathe_ngram_draft(const lathe_ngram *context, const lathe_ngram *dynamic,
                                    const lathe_ngram *fixed, const int32_t *ids, size_t n_ids, int32_t *out,
                                    int32_t n_max);

/** Names for messages and help, NULL behind the last. */
LATHE_API const char *lathe_verifier_name(size_t i);
LATHE_API const char *lathe_controller_name(size_t i);
LATHE_API const char *lathe_proposer_name(size_t i);

#ifdef __cplusplus
}
#endif
#endif
