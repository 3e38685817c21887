/* test_long.c - drafts for long texts: the model of bytes against figures worked by hand, the beam tree, and
 * texts that are those of plain decoding whatever is drafted. */
#include "support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "decode/beam.h"
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
        cmocka_unit_test(measurements_agree_with_plain_decoding_and_leave_the_context),
        cmocka_unit_test(wrong_settings_are_refused),
    };
    return cmocka_run_group_tests_name("decode/long", tests, set_up, tear_down) != 0;
}
