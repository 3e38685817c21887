/* The law of the next three tokens of a session that speculates, against that of plain decoding: every
 * outcome of every random choice of drafts and verification is walked with its exact probability, through the
 * session, the draft model's context and its rollbacks. Model: three tokens, context 11; the draft is the
 * same model with its output weights bent. Wrong rounds must be seen to leave the law. */
#include "support/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "decode/enumerate.h"
#include "decode/session.h"
#include "decode/spec.h"

enum { V = 3, NEXT = 3, N_TEXTS = 27 };

static lathe_model *model;
static const char *draft_path;
static int32_t draft_head; /* of the specs below; 0: all tokens */
static double target[N_TEXTS];
static const int32_t prompt[] = {1, 0, 2};

static lathe_session_params params_of(int32_t n_predict) {
    lathe_session_params p = lathe_session_params_default();
    p.sampler.temp = 4.0; /* the model is nearly certain of everything otherwise */
    p.sampler.top_k = 0;
    p.sampler.top_p = 1.0;
    p.sampler.min_p = 0.0;
    p.sampler.frequency_penalty = 0.3; /* every row sees its own hypothetical text */
    p.sampler.seed = 3;
    p.n_predict = n_predict;
    p.ignore_eos = true;
    p.context.n_threads = 1;
    p.context.type_k = p.context.type_v = LATHE_CACHE_F32;
    p.context.exact = true;
    return p;
}

/* The law of texts by plain steps: contexts and the sampler alone. */
static void fill_target(void) {
    lathe_error err = {0};
    const lathe_session_params p = params_of(1);
    lathe_session *s = NULL;
    check_ok(lathe_session_new(model, &p, &s, &err), err);
    for (int t = 0; t < N_TEXTS; t++) {
        int32_t ids[6] = {prompt[0], prompt[1], prompt[2], t / 9, t / 3 % 3, t % 3};
        target[t] = 1.0;
        for (int k = 0; k < NEXT; k++) {
            double law[V];
            lathe_context_clear(s->context, -1);
            const lathe_batch batch = {.tokens = ids, .n_tokens = 3 + k};
            check_ok(lathe_context_decode(s->context, &batch, &err), err);
            check_ok(lathe_sampler_law(s->sampler, lathe_context_logits(s->context, -1), ids,
                                       (size_t) (3 + k), law, &err),
                     err);
            target[t] *= law[ids[3 + k]];
        }
    }
    lathe_session_free(s);
}

static int load(void **state) {
    (void) state;
    const char *path = shared_file("models/gpt-nano-sort-f32.gguf");
    lathe_error err = {0};
    if (!path)
        return 0;
    check_ok(lathe_model_load(path, NULL, &model, &err), err);
    draft_path = temp_file(".gguf");
    FILE *in = fopen(path, "rb"), *out = fopen(draft_path, "wb");
    assert_true(in && out);
    static char bytes[1 << 20];
    const size_t n = fread(bytes, 1, sizeof bytes, in);
    for (size_t i = 0; i < 144; i++) { /* output.weight is the last tensor */
        float w;
        char *at = bytes + n - 4 * (i + 1);
        memcpy(&w, at, 4);
        w = 0.6f * w + 0.08f * (float) sin(1.0 + (double) i);
        memcpy(at, &w, 4);
    }
    assert_int_equal(fwrite(bytes, 1, n, out), n);
    fclose(in);
    fclose(out);
    fill_target();
    return 0;
}

static int unload(void **state) {
    (void) state;
    lathe_model_free(model);
    return 0;
}

/* Largest |law - target| over texts; *accepted: probability-weighted drafts kept, *n_paths: outcomes. */
static double walk(const lathe_spec_params *spec, const lathe_proposer *instead, const lathe_verifier *judge,
                   double *accepted, int64_t *n_paths) {
    lathe_error err = {0};
    const lathe_session_params p = params_of(NEXT);
    lathe_session *s = NULL;
    double law[N_TEXTS] = {0.0}, worst = 0.0, sum = 0.0;
    check_ok(lathe_session_new(model, &p, &s, &err), err);
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
    *n_paths = 0;
    do {
        size_t n_ids, n_new;
        lathe_spec_source *source = &inside->source[0];
        if (!source->proposer->slow) { /* what it learnt from the last outcome must not matter to this one */
            lathe_proposer_params fresh = lathe_proposer_params_default();
            fresh.n_vocab = V;
            source->proposer->destroy(source->state);
            check_ok(source->proposer->create(&fresh, &source->state, &err), err);
        }
        check_ok(lathe_session_generate_ids(s, prompt, 3, NULL, NULL, &err), err);
        const int32_t *ids = lathe_session_ids(s, &n_ids, &n_new);
        assert_int_equal(n_new, NEXT);
        law[ids[3] * 9 + ids[4] * 3 + ids[5]] += e.probability;
        *accepted += e.probability * (double) inside->totals.accepted;
        sum += e.probability;
        (*n_paths)++;
    } while (lathe_enumeration_next(&e) && *n_paths < 60000);
    assert_false(e.overflow);
    assert_true(*n_paths < 60000);
    check_near(sum, 1.0, 1e-9);
    for (int t = 0; t < N_TEXTS; t++)
        worst = fmax(worst, fabs(law[t] - target[t]));
    lathe_session_free(s);
    return worst;
}

static lathe_spec_params spec_of(const char *proposers, const char *verifier, int32_t length,
                                 const char *tree) {
    lathe_spec_params p = lathe_spec_params_default();
    p.proposers = proposers;
    p.verifier = verifier;
    p.controller = "fixed";
    p.length = length;
    p.tree = tree;
    p.gate = 0;
    p.draft_head = draft_head;
    return p;
}

static const char *draft_name(void) {
    static char name[600];
    snprintf(name, sizeof name, "draft:%s", draft_path);
    return name;
}

static const char *tree_file(const char *list) {
    static char name[600];
    const char *path = temp_file(".json");
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(list, f);
    fclose(f);
    snprintf(name, sizeof name, "static:%s", path);
    return name;
}

static void the_law_is_that_of_plain_decoding(void **state) {
    (void) state;
    need_shared("models/gpt-nano-sort-f32.gguf");
    const char *tree = tree_file("[-1, 0, 0, 1]");
    const struct {
        const char *proposer, *verifier, *tree;
        int32_t length;
    } cases[] = {
        {draft_name(), "token", NULL, 2},
        {draft_name(), "block", NULL, 2},
        {draft_name(), "wor", NULL, 2},
        {draft_name(), "wr", NULL, 1},
        {draft_name(), "wor", tree, 3},
        {draft_name(), "wr", tree, 2},
        {draft_name(), "match", NULL, 2},
        {draft_name(), "match", tree, 3},
        {draft_name(), "match", "eagle2:3,2,2", 3},
        {draft_name(), "wor", "eagle2:3,2,2", 3},
        {draft_name(), "match", "beam:2,2", 4},
        {draft_name(), "wor", "beam:2,1", 3},
        {draft_name(), "wr", "beam:2", 2},
        {"lookup", "match", NULL, 2},
        {"lookup", "wor", NULL, 2},
        {"suffix", "match", NULL, 2},
        {"ngram", "match", NULL, 2},
        {"recycle", "match", NULL, 3},
        {"recycle", "wor", NULL, 3},
        {"recycle", "wr", NULL, 2},
        {"ngram:mod", "match", NULL, 2},
        {"lookup", "wr", NULL, 2},
        {"suffix", "wor", NULL, 2},
        {"suffix", "wr", NULL, 2},
        {"ngram", "wor", NULL, 2},
        {"ngram", "wr", NULL, 2},
        {"ngram:mod", "wor", NULL, 2},
        {"ngram:mod", "wr", NULL, 2},
        {draft_name(), "match", "sequoia:3", 3},
        {draft_name(), "wr", "eagle2:3,2,2", 3},
        {draft_name(), "match", "beam:2,2", 3},
        {draft_name(), "wor", "beam:2,2", 3},
        {draft_name(), "wr", "beam:2,2", 3},
        {draft_name(), "wor", "sequoia:3", 3},
        {draft_name(), "wr", "sequoia:2", 2},
    };
    for (size_t i = 0; i < LATHE_LEN(cases); i++) {
        const lathe_spec_params p =
            spec_of(cases[i].proposer, cases[i].verifier, cases[i].length, cases[i].tree);
        double accepted;
        int64_t n;
        const double error = walk(&p, NULL, NULL, &accepted, &n);
        if (error > 1e-12)
            print_error("%s, %s, %s: error %g\n", cases[i].proposer, cases[i].verifier,
                        cases[i].tree ? cases[i].tree : "chain", error);
        assert_true(error <= 1e-12);
        /* Drafts are neither never nor always right: what was walked is more than plain decoding. */
        if (strncmp(cases[i].proposer, "draft", 5) == 0)
            assert_true(accepted > 0.1 && accepted < 1.99);
    }
}

/* A draft that scores two of the three tokens never drafts the third; the law stays the target's. */
static void a_trimmed_head_leaves_the_law_alone(void **state) {
    (void) state;
    need_shared("models/gpt-nano-sort-f32.gguf");
    static const struct {
        const char *verifier, *tree;
        int32_t length;
    } cases[] = {{"token", NULL, 2}, {"block", NULL, 2},       {"wor", NULL, 2},
                 {"match", NULL, 2}, {"match", "beam:3,2", 4}, {"wor", "eagle2:3,2,3", 3}};
    for (int32_t head = 1; head <= 2; head++)
        for (size_t i = 0; i < LATHE_LEN(cases); i++) {
            double accepted;
            int64_t n;
            draft_head = head;
            const lathe_spec_params p =
                spec_of(draft_name(), cases[i].verifier, cases[i].length, cases[i].tree);
            draft_head = 0;
            const double error = walk(&p, NULL, NULL, &accepted, &n);
            if (error > 1e-12)
                print_error("%d tokens, %s, %s: error %g\n", (int) head, cases[i].verifier,
                            cases[i].tree ? cases[i].tree : "chain", error);
            assert_true(error <= 1e-12);
            assert_true(accepted > 0.01 && accepted < 1.99);
        }
}

/* A trimmed head whose logits were put to the first ids instead of their own would test tokens against other
 * tokens' probabilities: with drafts drawn from one law and tested by another, the law is left. */
static lathe_status propose_shifted(void *state, const lathe_draft_request *request, lathe_token_tree *tree,
                                    lathe_error *err) {
    const lathe_status status = lathe_proposer_draft.propose(state, request, tree, err);
    for (int32_t i = 1; i < tree->n_nodes; i++)
        tree->token[i] = (tree->token[i] + 1) % V;
    return status;
}

/* The released LongSpec's error: the likeliest token tested as if it had been drawn. */
static lathe_status propose_argmax(void *state, const lathe_draft_request *request, lathe_token_tree *tree,
                                   lathe_error *err) {
    const lathe_status status = lathe_proposer_draft.propose(state, request, tree, err);
    for (int32_t i = 1; i < tree->n_nodes; i++)
        tree->token[i] = lathe_argmax(tree->laws + (size_t) tree->law[i] * V, V);
    return status;
}

/* And its other one: after a rejection a draw from p instead of what p has over q. */
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

static void wrong_rounds_leave_the_law(void **state) {
    (void) state;
    need_shared("models/gpt-nano-sort-f32.gguf");
    double accepted;
    int64_t n;
    lathe_proposer wrong = lathe_proposer_draft;
    wrong.propose = propose_argmax;
    const lathe_spec_params token = spec_of(draft_name(), "token", 2, NULL);
    assert_true(walk(&token, &wrong, NULL, &accepted, &n) > 0.01);
    wrong.propose = propose_shifted;
    assert_true(walk(&token, &wrong, NULL, &accepted, &n) > 0.01);
    const lathe_verifier from_p = {.name = "from_p", .laws = LATHE_LAW_SAMPLED, .verify = verify_from_p};
    assert_true(walk(&token, NULL, &from_p, &accepted, &n) > 0.01);
    const lathe_spec_params cool = {.struct_size = sizeof cool,
                                    .proposers = draft_name(),
                                    .verifier = "cool",
                                    .controller = "fixed",
                                    .length = 2,
                                    .max_loss = 0.02,
                                    .cool_delta = 1.6,
                                    .cool_nu = 0.5};
    assert_true(walk(&cool, NULL, NULL, &accepted, &n) > 0.002);
}

/* Chi-square of n seeded texts against the law of plain decoding. One session answers all of them, so that
 * the controller learns, and what it chooses depends on what came before and on the clock. */
static double chi_square(const lathe_spec_params *spec, const lathe_verifier *judge, int n, double *drafted) {
    lathe_error err = {0};
    lathe_session_params p = params_of(NEXT);
    lathe_session *s = NULL;
    double count[N_TEXTS] = {0.0}, sum = 0.0;
    int64_t proposed = 0;
    check_ok(lathe_session_new(model, &p, &s, &err), err);
    check_ok(lathe_session_spec(s, spec, &err), err);
    if (judge)
        ((lathe_spec *) s->step.state)->verifier = judge;
    for (int i = 0; i < n; i++) {
        p.sampler.seed = 1000 + (uint64_t) i;
        check_ok(lathe_session_set_sampler(s, &p.sampler, &err), err);
        check_ok(lathe_session_generate_ids(s, prompt, 3, NULL, NULL, &err), err);
        const int32_t *ids = lathe_session_ids(s, NULL, NULL);
        count[ids[3] * 9 + ids[4] * 3 + ids[5]] += 1.0;
        proposed += ((lathe_spec *) s->step.state)->totals.proposed;
    }
    lathe_session_free(s);
    for (int t = 0; t < N_TEXTS; t++) {
        assert_true(n * target[t] > 4.0);
        sum += (count[t] - n * target[t]) * (count[t] - n * target[t]) / (n * target[t]);
    }
    *drafted = (double) proposed / n;
    return sum;
}

/* 26 degrees of freedom, false alarms 1e-6 a test: 76.2 (Wilson and Hilferty). A law that is off by 0.07 in
 * total variation has a non-centrality of at least 4 n 0.07^2 = 196 with n = 10,000 and goes unseen with less
 * than 1e-6. */
static void auto_leaves_the_law_alone(void **state) {
    (void) state;
    need_shared("models/gpt-nano-sort-f32.gguf");
    enum { TEXTS = 10000 };
    const double critical = 76.2;
    char all[700], name[600];
    double drafted;
    snprintf(all, sizeof all, "auto+%s", draft_name());
    snprintf(name, sizeof name, "%s", draft_name());
    const struct {
        const char *proposers, *verifier, *controller;
        int32_t gate;
    } cases[] = {{all, "wor", NULL, 1},        {all, "wor", NULL, 0},         {all, "wor", "ucb", 0},
                 {all, "match", "uniform", 0}, {name, "block", "uniform", 0}, {name, "token", "exp3", 0}};
    for (size_t i = 0; i < LATHE_LEN(cases); i++) {
        lathe_spec_params p = spec_of(cases[i].proposers, cases[i].verifier, 0, NULL);
        p.controller = cases[i].controller;
        p.gate = cases[i].gate;
        const double x = chi_square(&p, NULL, TEXTS, &drafted);
        if (x > critical)
            fail_msg("%s, %s, gate %d: chi-square %.1f", cases[i].controller ? cases[i].controller : "hazard",
                     cases[i].verifier, (int) cases[i].gate, x);
        if (!cases[i].gate && !(drafted > 0.05))
            fail_msg("%s, %s: only %g drafts a text", cases[i].controller, cases[i].verifier, drafted);
    }
    const lathe_verifier from_p = {.name = "from_p", .laws = LATHE_LAW_SAMPLED, .verify = verify_from_p};
    lathe_spec_params wrong = spec_of(name, "token", 0, NULL);
    wrong.controller = "uniform";
    const double x = chi_square(&wrong, &from_p, TEXTS, &drafted);
    print_message("a wrong verifier: chi-square %.0f with %.2f drafts a text\n", x, drafted);
    assert_true(x > critical);
}

/* Per round: tokens emitted, and what the laws along the kept text expect of the same draft. */
typedef struct estimates {
    lathe_session *session;
    double n, token, law, apart, token2, law2, apart2;
} estimates;

static void compare_estimates(void *user, const lathe_spec_round *round) {
    estimates *e = user;
    lathe_spec *inside = e->session->step.state;
    double would[LATHE_ARMS_MAX] = {0.0};
    lathe_error err = {0};
    if (round->proposed == 0)
        return;
    check_ok(lathe_spec_expect(inside, e->session, &inside->source[0].tree, would, &err), err);
    const double token = round->accepted + 1.0, law = would[1], apart = law - token;
    assert_true(law >= 1.0 && law <= round->proposed + 1.0);
    e->n += 1.0;
    e->token += token;
    e->token2 += token * token;
    e->law += law;
    e->law2 += law * law;
    e->apart += apart;
    e->apart2 += apart * apart;
}

/* Laws say the same as tokens in the mean (5.3 standard errors: 1e-7 for each of the four), with less noise.
 */
static void laws_expect_what_tokens_bring(void **state) {
    (void) state;
    need_shared("models/gpt-nano-sort-f32.gguf");
    const struct {
        const char *proposer;
        int32_t length;
    } cases[] = {{"recycle", 3}, {"recycle", 6}, {"lookup", 3}, {"suffix", 3}};
    for (size_t i = 0; i < LATHE_LEN(cases); i++) {
        lathe_error err = {0};
        estimates e = {0};
        lathe_session_params p = params_of(6);
        lathe_spec_params spec = spec_of(cases[i].proposer, "match", cases[i].length, NULL);
        spec.on_round = compare_estimates;
        spec.user = &e;
        check_ok(lathe_session_new(model, &p, &e.session, &err), err);
        check_ok(lathe_session_spec(e.session, &spec, &err), err);
        for (uint64_t seed = 0; seed < 700; seed++) {
            lathe_sampler_params sampler = p.sampler;
            sampler.seed = seed;
            check_ok(lathe_session_set_sampler(e.session, &sampler, &err), err);
            check_ok(lathe_session_generate_ids(e.session, prompt, 3, NULL, NULL, &err), err);
        }
        lathe_session_free(e.session);
        const double mean = e.apart / e.n, error = sqrt((e.apart2 / e.n - mean * mean) / e.n);
        const double noise_token = e.token2 / e.n - pow(e.token / e.n, 2.0),
                     noise_law = e.law2 / e.n - pow(e.law / e.n, 2.0);
        assert_true(e.n > 500);
        if (fabs(mean) > 5.3 * error)
            print_error("%s: tokens %g, laws %g, error of the difference %g\n", cases[i].proposer,
                        e.token / e.n, e.law / e.n, error);
        assert_true(fabs(mean) <= 5.3 * error);
        assert_true(noise_law < 0.9 * noise_token);
    }
    /* A draft model takes the target's random number: what it brings is not what the law of its tokens says,
     * so it is left to the tokens. */
    lathe_error err = {0};
    const lathe_session_params p = params_of(2);
    const lathe_spec_params spec = spec_of(draft_name(), "match", 2, NULL);
    lathe_session *session = NULL;
    double would[LATHE_ARMS_MAX] = {1.0, -1.0};
    check_ok(lathe_session_new(model, &p, &session, &err), err);
    check_ok(lathe_session_spec(session, &spec, &err), err);
    check_ok(lathe_session_generate_ids(session, prompt, 3, NULL, NULL, &err), err);
    lathe_spec *inside = session->step.state;
    inside->verdict.n_emitted = 0;
    check_ok(lathe_spec_expect(inside, session, &inside->source[0].tree, would, &err), err);
    assert_true(would[1] < 0.0);
    lathe_session_free(session);
}

/* coupled: the text is that of rounds that draft nothing, seed by seed. */
static void coupled_texts_do_not_depend_on_the_draft(void **state) {
    (void) state;
    need_shared("models/gpt-nano-sort-f32.gguf");
    lathe_error err = {0};
    int64_t accepted = 0;
    const char *const names[] = {"none",  draft_name(), "recycle",    "lookup",     "suffix",
                                 "ngram", "ngram:mod",  draft_name(), draft_name(), draft_name()};
    enum { NAMES = LATHE_LEN(names), SHAPED = NAMES - 3 };
    static const char *const shapes[] = {"sequoia:4", "eagle2:4,2,2", "beam:2,2"};
    for (uint64_t seed = 0; seed < 60; seed++) {
        lathe_session_params p = params_of(5);
        p.sampler.seed = seed;
        int32_t texts[NAMES][5];
        for (int i = 0; i < NAMES; i++) {
            lathe_session *s = NULL;
            lathe_spec_params spec =
                spec_of(names[i], "coupled", i < SHAPED ? 2 : 0, i < SHAPED ? NULL : shapes[i - SHAPED]);
            spec.controller = i == 0 ? NULL : "fixed";
            lathe_session_spec_stats stats;
            check_ok(lathe_session_new(model, &p, &s, &err), err);
            check_ok(lathe_session_spec(s, &spec, &err), err);
            check_ok(lathe_session_generate_ids(s, prompt, 3, NULL, NULL, &err), err);
            memcpy(texts[i], lathe_session_ids(s, NULL, NULL) + 3, sizeof texts[i]);
            assert_true(lathe_session_spec_stats_of(s, &stats));
            accepted += i == 1 ? stats.accepted : 0;
            lathe_session_free(s);
        }
        for (int i = 1; i < NAMES; i++)
            assert_memory_equal(texts[0], texts[i], sizeof texts[0]);
    }
    assert_true(accepted > 30);
}

static void pairs_that_do_not_fit_are_refused_with_the_reason(void **state) {
    (void) state;
    need_shared("models/gpt-nano-sort-f32.gguf");
    const struct {
        const char *proposer, *verifier, *tree, *says;
    } cases[] = {
        {"lookup", "block", NULL, "use match"},
        {"recycle", "token", NULL, "use match"},
        {draft_name(), "block", "sequoia:4", "use wor or match"},
        {draft_name(), "block", "beam:2,2", "use match"},
        {draft_name(), "match", "beam:0", "a draft tree 'beam:0'"},
        {draft_name(), "lantern", NULL, "codebook"},
        {draft_name(), "greedy", NULL, "temperature 0"},
        {"lookup", "match", "sequoia:4", "needs a draft model"},
        {draft_name(), "match", "bush", "no tree"},
        {"draft", "match", NULL, "draft:FILE"},
        {"lookup+oracle", "match", NULL, "no proposer"},
        {"lookup+lookup", "match", NULL, "two arms"},
    };
    lathe_error err = {0};
    const lathe_session_params p = params_of(3);
    lathe_session *s = NULL;
    check_ok(lathe_session_new(model, &p, &s, &err), err);
    for (size_t i = 0; i < LATHE_LEN(cases); i++) {
        const lathe_spec_params spec = spec_of(cases[i].proposer, cases[i].verifier, 0, cases[i].tree);
        lathe_spec_params q = spec;
        q.controller = NULL;
        assert_int_not_equal(lathe_session_spec(s, &q, &err), LATHE_OK);
        if (!strstr(err.text, cases[i].says))
            print_error("%zu: %s\n", i, err.text);
        assert_non_null(strstr(err.text, cases[i].says));
    }
    lathe_session_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_law_is_that_of_plain_decoding),
        cmocka_unit_test(a_trimmed_head_leaves_the_law_alone),
        cmocka_unit_test(wrong_rounds_leave_the_law),
        cmocka_unit_test(auto_leaves_the_law_alone),
        cmocka_unit_test(laws_expect_what_tokens_bring),
        cmocka_unit_test(coupled_texts_do_not_depend_on_the_draft),
        cmocka_unit_test(pairs_that_do_not_fit_are_refused_with_the_reason),
    };
    return cmocka_run_group_tests(tests, load, unload) != 0;
}
