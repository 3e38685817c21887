/* test_long.c - drafts for long texts: the model of bytes against figures worked by hand, the beam tree, and
 * texts that are those of plain decoding whatever is drafted. */
#include "support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "decode/beam.h"
#include "decode/enumerate.h"
#include "decode/session.h"
#include "decode/spec.h"
#include "lathe/decode.h"
#include "train/longspec.h"

static lathe_error err;
static const char *model_path, *draft_path;
static lathe_model *model;
enum { N = 160, CTX = 320 };
static int32_t text[N];

/* A llama of a million random weights, and a draft of random weights for it. */
static int set_up(void **state) {
    (void) state;
    lathe_synth_params p = lathe_synth_params_default();
    lathe_synth_result r;
    model_path = temp_file(".gguf");
    draft_path = temp_file(".draft.gguf");
    p.seed = 3;
    check_ok(lathe_model_synth(model_path, &p, &r, &err), err);
    check_ok(lathe_model_load(model_path, NULL, &model, &err), err);
    lathe_longspec_params lp = lathe_longspec_params_default();
    lathe_train_params t = lathe_train_params_default();
    lp.target = model_path;
    lp.window = 24;
    lp.n_ff = 48;
    t.rows = 1;
    t.n_ctx = 16;
    lathe_longspec_teaching *teaching;
    lathe_net *net;
    check_ok(lathe_longspec_teaching_new(&lp, &t, &teaching, &err), err);
    const lathe_train_task *task = lathe_longspec_task(teaching);
    const lathe_net_opts opts = {.rows = 1, .ctx = 16, .n_threads = 1, .task = &task->net};
    check_ok(lathe_net_open(task->desc, &opts, &net, &err), err);
    lathe_net_init(net, 5);
    float *values[32];
    for (size_t i = 0; i < lathe_net_n_tensors(net); i++)
        values[i] = lathe_net_weights(net, i);
    check_ok(task->write(task->user, draft_path, net, values, &err), err);
    lathe_net_free(net);
    lathe_longspec_teaching_free(teaching);
    lathe_rng rng = lathe_rng_new(9, 0, 0);
    for (int32_t i = 0; i < N; i++)
        text[i] = (int32_t) lathe_rng_below(&rng, 1000);
    return 0;
}

static int tear_down(void **state) {
    (void) state;
    lathe_model_free(model);
    return 0;
}

static const char *longspec(void) {
    static char name[4200];
    snprintf(name, sizeof name, "longspec:%s", draft_path);
    return name;
}

/* --- The model of bytes ---------------------------------------------------------------------------- */

/* Qwen2-7B in f16: 15.2 GB of weights, 57344 bytes of cache a token; 9 drafts, acceptance .622, budget 1024.
 */
static void bytes_predict_the_worked_speed_ups(void **state) {
    (void) state;
    static const double tokens[3] = {10e3, 25e3, 100e3}, one[3] = {.68, .71, .87},
                        eight[3] = {.81, 1.05, 1.99};
    lathe_io_model io = {
        .weights = 15.2e9, .kv = 57344, .batch = 1, .draft_weights = 15.2e9, .draft_rows = 1024, .verify = 1};
    for (int i = 0; i < 3; i++) {
        io.batch = 1;
        check_near(lathe_io_speedup(&io, tokens[i], 9, .622), one[i], .006);
        io.batch = 8;
        check_near(lathe_io_speedup(&io, tokens[i], 9, .622), eight[i], .006);
    }
    /* Without weights it is the ratio of rows: (.622 9 + 1) M / (9 K + M), with M = 25188. */
    io = (lathe_io_model){.kv = 1, .batch = 1, .draft_rows = 1024, .verify = 1};
    check_near(lathe_io_speedup(&io, 25188, 9, .622), 4.831, .001);
    check_near(lathe_io_break_even(&io, .5), 2048, 1e-6); /* alpha > K / M */
    io.weights = io.draft_weights = 1000;
    check_near(lathe_io_break_even(&io, .5), 2 * 2024 - 1000, 1e-6);
    assert_true(isinf(lathe_io_break_even(&io, 0)));
}

/* --- Beams ----------------------------------------------------------------------------------------- */

static void a_beam_keeps_the_best_paths_in_order(void **state) {
    (void) state;
    const float root[4] = {logf(.6f), logf(.3f), logf(.06f), logf(.04f)};
    const float second[8] = {logf(.7f), logf(.2f),  logf(.06f), logf(.04f),
                             logf(.9f), logf(.05f), logf(.03f), logf(.02f)};
    double score[2] = {0};
    lathe_beam_node layer[4];
    assert_int_equal(lathe_beam_layer(score, root, 1, 4, 2, layer), 2);
    assert_int_equal(layer[0].token, 0);
    assert_int_equal(layer[1].token, 1);
    check_near(exp(layer[0].score), .6, 1e-6);
    score[0] = layer[0].score;
    score[1] = layer[1].score;
    assert_int_equal(lathe_beam_layer(score, second, 2, 4, 2, layer), 2);
    check_near(exp(layer[0].score), .42, 1e-6); /* first, first */
    assert_int_equal(layer[0].parent, 0);
    check_near(exp(layer[1].score), .27, 1e-6); /* second, first */
    assert_int_equal(layer[1].parent, 1);
    check_near(layer[1].prob, .9, 1e-6);
    const float flat[8] = {0}; /* ties: lower parent, then lower token */
    score[0] = score[1] = 0;
    assert_int_equal(lathe_beam_layer(score, flat, 2, 4, 3, layer), 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(layer[i].parent, 0);
        assert_int_equal(layer[i].token, i);
    }
    lathe_beam_shape shape;
    check_ok(lathe_beam_parse("beam:4,16,16,16,16", &shape, &err), err);
    assert_int_equal(shape.n_nodes, 68);
    static const char *const bad[] = {
        "beam:", "beam:0", "beam:4,", "beam:4,x", "beam:65", "eagle2:1,2,3", "beam:64,64,64,64,64"};
    for (size_t i = 0; i < LATHE_LEN(bad); i++)
        assert_int_equal(lathe_beam_parse(bad[i], &shape, &err), LATHE_ERR_ARG);
}

/* --- Texts ----------------------------------------------------------------------------------------- */

static lathe_session *session_of(double temp, bool exact) {
    lathe_session_params p = lathe_session_params_default();
    p.sampler.temp = temp;
    p.sampler.seed = 4;
    p.n_predict = 60;
    p.ignore_eos = true;
    p.context.n_ctx = CTX;
    p.context.n_threads = 1;
    p.context.type_k = p.context.type_v = LATHE_CACHE_F32;
    p.context.exact = exact;
    lathe_session *s = NULL;
    check_ok(lathe_session_new(model, &p, &s, &err), err);
    return s;
}

static lathe_spec_params spec_of(const char *proposers, int32_t length) {
    lathe_spec_params p = lathe_spec_params_default();
    p.proposers = proposers;
    p.length = length;
    p.std_budget = 64;
    return p;
}

static void same_as_plain(const lathe_spec_params *p, double temp, int64_t least_proposed) {
    lathe_session *a = session_of(temp, true), *b = session_of(temp, true);
    size_t n, m, n_new, m_new;
    lathe_session_spec_stats stats;
    check_ok(lathe_session_generate_ids(a, text, N, NULL, NULL, &err), err);
    check_ok(lathe_session_spec(b, p, &err), err);
    check_ok(lathe_session_generate_ids(b, text, N, NULL, NULL, &err), err);
    const int32_t *x = lathe_session_ids(a, &n, &n_new), *y = lathe_session_ids(b, &m, &m_new);
    assert_int_equal(n, m);
    assert_int_equal(n_new, 60);
    assert_memory_equal(x, y, n * sizeof *x);
    assert_true(lathe_session_spec_stats_of(b, &stats));
    assert_true(stats.proposed >= least_proposed);
    assert_true(stats.lossless);
    lathe_session_free(a);
    lathe_session_free(b);
}

static void sparse_drafts_leave_the_text_as_it_is(void **state) {
    (void) state;
    const lathe_spec_params p = spec_of("std", 4);
    same_as_plain(&p, 0, 20);
    same_as_plain(&p, 1, 20);
}

static void a_random_draft_leaves_the_text_as_it_is(void **state) {
    (void) state;
    lathe_spec_params p = spec_of(longspec(), 4);
    same_as_plain(&p, 0, 20);
    same_as_plain(&p, 1, 20);
    p.tree = "beam:2,3,2";
    p.length = 7;
    same_as_plain(&p, 0, 0);
    same_as_plain(&p, 1, 0);
}

static void a_sparse_draft_that_lacks_one_row_in_65_is_mostly_right(void **state) {
    (void) state;
    lathe_session *s = session_of(0, false);
    lathe_session_spec_stats stats;
    lathe_spec_params p = spec_of("std", 4);
    p.span_begin = 10;
    p.span_end = 10 + 65; /* a budget of 159 rows leaves 64 of the 65 */
    p.std_budget = N - 1 - 1;
    check_ok(lathe_session_spec(s, &p, &err), err);
    check_ok(lathe_session_generate_ids(s, text, N, NULL, NULL, &err), err);
    assert_true(lathe_session_spec_stats_of(s, &stats));
    assert_true(stats.proposed > 40);
    assert_true((double) stats.accepted >
                0.6 * (double) stats.proposed); /* random weights: near ties everywhere */
    lathe_session_free(s);
    s = session_of(0, false); /* all rows within the budget: nothing to gain, nothing drafted */
    p.std_budget = N + 100;
    check_ok(lathe_session_spec(s, &p, &err), err);
    check_ok(lathe_session_generate_ids(s, text, N, NULL, NULL, &err), err);
    assert_true(lathe_session_spec_stats_of(s, &stats));
    assert_int_equal(stats.proposed, 0);
    lathe_session_free(s);
}

static void a_second_text_is_chosen_from_anew(void **state) {
    (void) state;
    lathe_session *a = session_of(0, true), *b = session_of(0, true);
    const lathe_spec_params p = spec_of("std", 3);
    int32_t other[N];
    size_t n, m, n_new, m_new;
    memcpy(other, text, sizeof text);
    other[20] = 77; /* within the span */
    check_ok(lathe_session_spec(b, &p, &err), err);
    check_ok(lathe_session_generate_ids(b, text, N, NULL, NULL, &err), err);
    check_ok(lathe_session_generate_ids(b, other, N, NULL, NULL, &err), err);
    check_ok(lathe_session_generate_ids(a, other, N, NULL, NULL, &err), err);
    const int32_t *x = lathe_session_ids(a, &n, &n_new), *y = lathe_session_ids(b, &m, &m_new);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n * sizeof *x);
    lathe_session_free(a);
    lathe_session_free(b);
}

/* --- The law of the next three tokens, every outcome walked ------------------------------------------ */

enum { LEFT = 3, NEXT = 3, TEXTS = 27, V = 1024 };
static const int32_t left[LEFT] = {11, 402, 777}; /* the only tokens that the sampler lets through */
static double target[TEXTS];
static const double LAW_NOISE = 1e-6;

/* A session whose vocabulary is `left`, behind 100 tokens. */
static lathe_session *narrow_session(int32_t n_predict) {
    static lathe_logit_bias bias[V];
    assert_int_equal(lathe_model_n_vocab(model), V);
    lathe_session_params p = lathe_session_params_default();
    int32_t n_bias = 0;
    for (int32_t id = 0; id < V; id++)
        if (id != left[0] && id != left[1] && id != left[2])
            bias[n_bias++] = (lathe_logit_bias){.id = id, .bias = -INFINITY};
    p.sampler.bias = bias;
    p.sampler.n_bias = n_bias;
    p.sampler.temp = 0.2; /* random weights hardly prefer any token */
    p.sampler.top_k = 0;
    p.sampler.top_p = 1.0;
    p.sampler.min_p = 0.0;
    p.sampler.seed = 3;
    p.n_predict = n_predict;
    p.ignore_eos = true;
    p.context.n_ctx = CTX;
    p.context.n_threads = 1;
    p.context.type_k = p.context.type_v = LATHE_CACHE_F32;
    p.context.exact = true;
    lathe_session *s = NULL;
    check_ok(lathe_session_new(model, &p, &s, &err), err);
    return s;
}

static int32_t rank_of(int32_t id) {
    return id == left[0] ? 0 : id == left[1] ? 1 : 2;
}

static void fill_target(int32_t n) {
    lathe_session *s = narrow_session(1);
    static double law[V];
    for (int t = 0; t < TEXTS; t++) {
        int32_t ids[N + NEXT];
        memcpy(ids, text, (size_t) n * sizeof *ids);
        target[t] = 1.0;
        for (int k = 0, rest = t; k < NEXT; k++, rest = rest * 3 % TEXTS) {
            ids[n + k] = left[rest / 9];
            lathe_context_clear(s->context, -1);
            const lathe_batch batch = {.tokens = ids, .n_tokens = n + k};
            check_ok(lathe_context_decode(s->context, &batch, &err), err);
            check_ok(lathe_sampler_law(s->sampler, lathe_context_logits(s->context, -1), ids,
                                       (size_t) (n + k), law, &err),
                     err);
            target[t] *= law[ids[n + k]];
        }
    }
    lathe_session_free(s);
}

/* Largest |law - target|; *accepted: drafts kept, weighted by probability. */
static double walk(const lathe_spec_params *spec, int32_t n, const lathe_proposer *instead,
                   const lathe_verifier *judge, double *accepted) {
    lathe_session *s = narrow_session(NEXT);
    double law[TEXTS] = {0.0}, worst = 0.0, sum = 0.0;
    check_ok(lathe_session_spec(s, spec, &err), err);
    lathe_spec *inside = s->step.state;
    if (instead)
        inside->source[0].proposer = instead;
    if (judge)
        inside->verifier = judge;
    lathe_enumeration e;
    lathe_enumeration_start(&e);
    inside->chance.choose = lathe_enumeration_choose;
    inside->chance.user = &e;
    *accepted = 0.0;
    do {
        check_ok(lathe_session_generate_ids(s, text, (size_t) n, NULL, NULL, &err), err);
        const int32_t *ids = lathe_session_ids(s, NULL, NULL) + n;
        law[rank_of(ids[0]) * 9 + rank_of(ids[1]) * 3 + rank_of(ids[2])] += e.probability;
        *accepted += e.probability * (double) inside->totals.accepted;
        sum += e.probability;
    } while (lathe_enumeration_next(&e));
    assert_false(e.overflow);
    /* The rows of std's cache lie elsewhere after each text, so its law differs in the last bits from run to
     * run. */
    check_near(sum, 1.0, LAW_NOISE);
    for (int t = 0; t < TEXTS; t++)
        worst = fmax(worst, fabs(law[t] - target[t]));
    lathe_session_free(s);
    return worst;
}

/* A wrong verifier: after a rejection it draws from p instead of what p has over q. */
static void verify_from_p(const lathe_token_tree *tree, const double *p, const lathe_verify_options *options,
                          const lathe_chance *chance, double *work, lathe_verdict *verdict) {
    (void) options;
    (void) work;
    int32_t k = 1;
    for (; k < tree->n_nodes; k++) {
        const double *P = p + (size_t) (k - 1) * V, *Q = tree->laws + (size_t) tree->law[k] * V;
        const uint64_t position = chance->n_committed + (uint64_t) (k - 1);
        if (!lathe_chance_accept(chance, P[tree->token[k]] / Q[tree->token[k]], position, 0))
            break;
        lathe_verdict_keep(verdict, tree, k);
    }
    lathe_verdict_end(verdict, lathe_chance_draw(chance, LATHE_RNG_RESIDUAL_SAMPLE, p + (size_t) (k - 1) * V,
                                                 V, chance->n_committed + (uint64_t) (k - 1), 0));
}

/* The released LongSpec's other error. */
static lathe_status propose_argmax(void *state, const lathe_draft_request *request, lathe_token_tree *tree,
                                   lathe_error *e) {
    const lathe_status status = lathe_proposer_std.propose(state, request, tree, e);
    for (int32_t i = 1; i < tree->n_nodes; i++)
        tree->token[i] = lathe_argmax(tree->laws + (size_t) tree->law[i] * V, V);
    return status;
}

static void long_drafts_leave_the_law_alone(void **state) {
    (void) state;
    enum { PROMPT = 100 };
    static const struct {
        const char *proposer, *verifier;
        int32_t length;
    } cases[] = {
        {"std", "match", 2},    {"std", "token", 2},      {"std", "block", 2},      {"std", "wor", 2},
        {"std", "wr", 1},       {"longspec", "match", 2}, {"longspec", "token", 2}, {"longspec", "block", 2},
        {"longspec", "wor", 2}, {"longspec", "wr", 1},
    };
    fill_target(PROMPT);
    double least = 1.0, most = 0.0, accepted;
    for (int t = 0; t < TEXTS; t++) {
        least = fmin(least, target[t]);
        most = fmax(most, target[t]);
    }
    print_message("texts between %.3g and %.3g\n", least, most);
    assert_true(least > 1e-5 && most > 2.0 / TEXTS); /* a law worth the name */
    for (size_t i = 0; i < LATHE_LEN(cases); i++) {
        lathe_spec_params p = spec_of(cases[i].proposer[0] == 's' ? "std" : longspec(), cases[i].length);
        p.verifier = cases[i].verifier;
        p.controller = "fixed";
        p.gate = 0;
        const double error = walk(&p, PROMPT, NULL, NULL, &accepted);
        if (error > LAW_NOISE)
            fail_msg("%s, %s: error %g", cases[i].proposer, cases[i].verifier, error);
        if (!(accepted > 0.1 && accepted < NEXT - 0.01))
            fail_msg("%s, %s: %g drafts kept", cases[i].proposer, cases[i].verifier, accepted);
    }
    const lathe_verifier from_p = {.name = "from_p", .laws = LATHE_LAW_SAMPLED, .verify = verify_from_p};
    lathe_proposer argmax = lathe_proposer_std;
    argmax.propose = propose_argmax;
    lathe_spec_params p = spec_of("std", 2);
    p.verifier = "token";
    p.controller = "fixed";
    p.gate = 0;
    /* Sparse attention over most rows drafts nearly the target's law, so that drawing from p after a
     * rejection, which is rare, would not be seen here; the likeliest token tested as if it had been drawn
     * is. */
    const double wrong_std = walk(&p, PROMPT, &argmax, NULL, &accepted);
    p.proposers = longspec();
    const double wrong_longspec = walk(&p, PROMPT, NULL, &from_p, &accepted);
    print_message("wrong rounds: %.2g (std), %.2g (longspec)\n", wrong_std, wrong_longspec);
    assert_true(wrong_std > 0.01 && wrong_longspec > 0.01);
}

/* Drafts and target choose by one Gumbel noise: the text is that of rounds that draft nothing. */
static void coupled_texts_do_not_depend_on_long_drafts(void **state) {
    (void) state;
    int32_t first[N + 60];
    for (int i = 0; i < 4; i++) {
        lathe_session *s = session_of(1, true);
        lathe_spec_params p = spec_of(i == 0   ? "none"
                                      : i == 1 ? "std"
                                               : longspec(),
                                      i == 0   ? 0
                                      : i == 3 ? 6
                                               : 3);
        p.tree = i == 3 ? "beam:2,2,2" : NULL;
        lathe_session_spec_stats stats;
        size_t n = 0;
        p.verifier = "coupled";
        check_ok(lathe_session_spec(s, &p, &err), err);
        check_ok(lathe_session_generate_ids(s, text, N, NULL, NULL, &err), err);
        const int32_t *ids = lathe_session_ids(s, &n, NULL);
        assert_int_equal(n, N + 60);
        if (i == 0)
            memcpy(first, ids, sizeof first);
        else
            assert_memory_equal(ids, first, sizeof first);
        assert_true(lathe_session_spec_stats_of(s, &stats));
        assert_true(i == 0 || stats.proposed > 20);
        lathe_session_free(s);
    }
}

/* auto may choose these drafts too; what it chooses depends on the clock, and the text does not. */
static void auto_with_long_drafts_leaves_the_text_as_it_is(void **state) {
    (void) state;
    char name[4300];
    lathe_spec_params p = spec_of("auto+std", 0);
    same_as_plain(&p, 0, 0);
    same_as_plain(&p, 1, 0);
    snprintf(name, sizeof name, "auto+%s", longspec());
    p = spec_of(name, 0);
    same_as_plain(&p, 0, 0);
    same_as_plain(&p, 1, 0);
    snprintf(name, sizeof name, "auto+std+%s", longspec());
    p = spec_of(name, 0);
    p.gate = 0; /* every arm is played, not only those that pay */
    p.controller = "uniform";
    same_as_plain(&p, 0, 20);
    same_as_plain(&p, 1, 20);
}

/* A small model behind a short text: a sparse step costs nearly a whole one, so that by the controller's
 * model drafts lose. It declines, also without the gate; where it is told that a sparse step costs nothing,
 * it drafts. */
static void auto_declines_long_drafts_that_lose(void **state) {
    (void) state;
    for (int cheap = 0; cheap < 2; cheap++) {
        lathe_session *s = session_of(0, false);
        lathe_spec_params p = spec_of("std", 0);
        lathe_session_spec_stats stats;
        p.controller = "hazard";
        p.gate = 0;
        check_ok(lathe_session_spec(s, &p, &err), err);
        lathe_spec *inside = s->step.state;
        inside->priced = true; /* costs as given here */
        for (int32_t i = 0; i < 3; i++)
            inside->cost.measured.cost.ratio[i] = inside->cost.model.ratio[i] = 1.0 + 0.05 * i;
        inside->source[0].step = cheap ? 0.01 : 0.95;
        for (int32_t i = 0; i < LATHE_SOURCE_BINS;
             i++) { /* random weights prefer no token, and are right all the same */
            inside->source[0].reached[i] = 50.0;
            inside->source[0].right[i] = 40.0;
        }
        lathe_spec_reprice(inside);
        check_ok(lathe_session_generate_ids(s, text, N, NULL, NULL, &err), err);
        assert_true(lathe_session_spec_stats_of(s, &stats));
        const int64_t drafted = stats.rounds - stats.arms[0].rounds;
        print_message("a sparse step of %.2f: %d of %d rounds drafted\n", cheap ? 0.01 : 0.95, (int) drafted,
                      (int) stats.rounds);
        if (cheap)
            assert_true(drafted > stats.rounds / 2);
        else
            assert_true(drafted <= stats.rounds / 5);
        lathe_session_free(s);
    }
}

static void measurements_agree_with_plain_decoding_and_leave_the_context(void **state) {
    (void) state;
    lathe_context_params cp = lathe_context_params_default();
    cp.n_ctx = CTX;
    cp.n_threads = 1;
    cp.exact = true;
    lathe_context *c;
    check_ok(lathe_context_new(model, &cp, &c, &err), err);
    check_ok(lathe_context_decode(c, &(lathe_batch){.tokens = text, .n_tokens = N - 1}, &err), err);
    for (int k = 0; k < 3; k++) {
        lathe_long_params p = lathe_long_params_default();
        lathe_long_result r;
        p.proposer = k == 0 ? "std" : longspec();
        p.tree = k == 2 ? "beam:3,2,2" : NULL;
        p.n_predict = 24;
        p.std_budget = 64;
        check_ok(lathe_long_measure(c, text, N, &p, &r, &err), err);
        assert_true(r.same_text);
        assert_int_equal(r.first_difference, -1);
        assert_int_equal(r.emitted, r.accepted + r.rounds);
        assert_true(r.emitted >= 24 && r.proposed > 20);
        assert_int_equal(r.reached[1], k == 2 ? r.rounds : r.reached[1]);
        assert_true(r.plain_s > 0 && r.draft_s > 0 && r.verify_s > 0 && r.speedup > 0 && r.io_speedup > 0);
        assert_true(k == 0 ? r.kept_mass > 0.1 && r.kept_mass < 1 : isnan(r.kept_mass));
        assert_int_equal(lathe_context_n_past(c, 0), N - 1);
    }
    lathe_long_params p = lathe_long_params_default();
    lathe_long_result r;
    p.proposer = "lookup";
    assert_int_equal(lathe_long_measure(c, text, N, &p, &r, &err), LATHE_ERR_ARG);
    p.proposer = "std";
    assert_int_equal(lathe_long_measure(c, text, N - 3, &p, &r, &err), LATHE_ERR_ARG);
    p.n_predict = CTX;
    assert_int_equal(lathe_long_measure(c, text, N, &p, &r, &err), LATHE_ERR_ARG);
    lathe_context_free(c);
}

static void wrong_settings_are_refused(void **state) {
    (void) state;
    lathe_session *s = session_of(0, true);
    lathe_spec_params p = spec_of("std", 4);
    p.std_budget = 3;
    assert_int_equal(lathe_session_spec(s, &p, &err), LATHE_ERR_ARG);
    assert_non_null(strstr(err.text, "budget 3"));
    p = spec_of("longspec", 4);
    assert_int_equal(lathe_session_spec(s, &p, &err), LATHE_ERR_ARG);
    p = spec_of("longspec:/nowhere.gguf", 4);
    assert_int_not_equal(lathe_session_spec(s, &p, &err), LATHE_OK);
    p = spec_of(longspec(), 4);
    p.tree = "sequoia:8";
    assert_int_equal(lathe_session_spec(s, &p, &err), LATHE_ERR_ARG);
    lathe_session_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_predict_the_worked_speed_ups),
        cmocka_unit_test(a_beam_keeps_the_best_paths_in_order),
        cmocka_unit_test(sparse_drafts_leave_the_text_as_it_is),
        cmocka_unit_test(a_random_draft_leaves_the_text_as_it_is),
        cmocka_unit_test(a_sparse_draft_that_lacks_one_row_in_65_is_mostly_right),
        cmocka_unit_test(a_second_text_is_chosen_from_anew),
        cmocka_unit_test(long_drafts_leave_the_law_alone),
        cmocka_unit_test(coupled_texts_do_not_depend_on_long_drafts),
        cmocka_unit_test(auto_with_long_drafts_leaves_the_text_as_it_is),
        cmocka_unit_test(auto_declines_long_drafts_that_lose),
        cmocka_unit_test(measurements_agree_with_plain_decoding_and_leave_the_context),
        cmocka_unit_test(wrong_settings_are_refused),
    };
    return cmocka_run_group_tests_name("decode/long", tests, set_up, tear_down) != 0;
}
