/* Sessions with arms, controllers, gate and a draft model, on stories260K: whatever is drafted and whoever
 * decides, the ids are those of plain generation; ends of texts inside a round; what cannot be used. */
#include "support/check.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "decode/draft_check.h"
#include "decode/session.h"
#include "decode/spec.h"

#define MODEL "models/stories260K-f32.gguf"

static lathe_model *model;
static char draft[600];
static const char tale[] =
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. "
    "Once upon a time, there was a little girl";

static int load(void **state) {
    (void) state;
    const char *path = shared_file(MODEL);
    lathe_error err = {0};
    if (!path)
        return 0;
    check_ok(lathe_model_load(path, NULL, &model, &err), err);
    /* The same model with four bits a weight: a draft that is often right. */
    const char *file = temp_file(".gguf");
    lathe_quantize_params q = lathe_quantize_params_default();
    lathe_quantize_result result;
    q.type = "q4_0";
    check_ok(lathe_model_quantize(path, file, &q, &result, &err), err);
    snprintf(draft, sizeof draft, "draft:%s", file);
    return 0;
}

static int unload(void **state) {
    (void) state;
    lathe_model_free(model);
    return 0;
}

static lathe_session_params params_of(double temp, int32_t n_predict) {
    lathe_session_params p = lathe_session_params_default();
    p.sampler.temp = temp;
    p.sampler.seed = 11;
    p.n_predict = n_predict;
    p.context.n_threads = 1;
    p.context.type_k = p.context.type_v = LATHE_CACHE_F32;
    p.context.exact = true;
    return p;
}

static lathe_spec_params spec_of(const char *proposers) {
    lathe_spec_params p = lathe_spec_params_default();
    p.proposers = proposers;
    return p;
}

static lathe_session *open_session(const lathe_session_params *p, const lathe_spec_params *spec) {
    lathe_error err = {0};
    lathe_session *s = NULL;
    check_ok(lathe_session_new(model, p, &s, &err), err);
    if (spec)
        check_ok(lathe_session_spec(s, spec, &err), err);
    return s;
}

static lathe_session *generate(const lathe_session_params *p, const lathe_spec_params *spec,
                               const char *prompt) {
    lathe_error err = {0};
    lathe_session *s = open_session(p, spec);
    check_ok(lathe_session_generate(s, prompt, NULL, NULL, &err), err);
    return s;
}

static void check_same(const lathe_session *a, const lathe_session *b) {
    size_t n = 0, m = 0;
    const int32_t *x = lathe_session_ids(a, &n, NULL), *y = lathe_session_ids(b, &m, NULL);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n * sizeof *x);
    assert_int_equal(lathe_session_stats_of(a).stop, lathe_session_stats_of(b).stop);
}

static void check_sums(const lathe_session *s) {
    lathe_session_spec_stats t;
    int64_t accepted = 0, rounds = 0;
    assert_true(lathe_session_spec_stats_of(s, &t));
    assert_int_equal(t.emitted, lathe_session_stats_of(s).n_predicted);
    assert_int_equal(t.emitted, t.accepted + t.rounds - t.truncated);
    assert_true(t.proposed >= t.accepted);
    assert_int_equal(t.rows, t.rounds + t.proposed);
    for (int32_t k = 0; k < t.n_depth; k++)
        accepted += t.accepted_at[k];
    assert_int_equal(accepted, t.accepted);
    for (int32_t i = 0; i < t.n_arms; i++)
        rounds += t.arms[i].rounds;
    assert_int_equal(rounds, t.rounds);
}

static void every_controller_and_arm_leaves_the_ids_alone(void **state) {
    (void) state;
    need_shared(MODEL);
    static const char *const prompts[] = {tale, "Tom and Sam saw a big red ball. Tom and Sam"};
    char joined[700];
    snprintf(joined, sizeof joined, "auto+%s", draft);
    for (int t = 0; t < 2; t++) {
        const lathe_session_params p = params_of(t ? 0.9 : 0.0, 40);
        for (size_t k = 0; k < LATHE_LEN(prompts); k++) {
            lathe_session *plain = generate(&p, NULL, prompts[k]);
            for (size_t c = k; lathe_controller_name(c); c += 3) {
                lathe_spec_params spec = spec_of(joined);
                spec.controller = lathe_controller_name(c);
                if (strcmp(spec.controller, "fixed") == 0)
                    spec.controller = "fixed:draft8";
                spec.gate = 0;
                lathe_session *s = generate(&p, &spec, prompts[k]);
                check_same(plain, s);
                check_sums(s);
                lathe_session_free(s);
            }
            static const char *const trees[] = {NULL, "eagle2:12,3,3", "sequoia:10"};
            for (size_t i = 0; i < LATHE_LEN(trees); i++) {
                lathe_spec_params spec = spec_of(draft);
                spec.controller = "fixed";
                spec.tree = trees[i];
                lathe_session *s = generate(&p, &spec, prompts[k]);
                lathe_session_spec_stats stats;
                check_same(plain, s);
                check_sums(s);
                assert_true(lathe_session_spec_stats_of(s, &stats));
                assert_true(stats.accepted > stats.rounds); /* a good draft, kept and rolled back right */
                lathe_session_free(s);
            }
            lathe_session_free(plain);
        }
    }
}

static void the_gated_default_leaves_the_ids_alone(void **state) {
    (void) state;
    need_shared(MODEL);
    const lathe_session_params p = params_of(0.8, 150);
    const lathe_spec_params spec = spec_of("auto");
    lathe_session *plain = generate(&p, NULL, tale), *s = generate(&p, &spec, tale);
    check_same(plain, s);
    check_sums(s);
    lathe_session_spec_stats stats;
    assert_true(lathe_session_spec_stats_of(s, &stats));
    assert_true(stats.lossless && stats.same_text);
    assert_true(stats.plain_s > 0.0);
    lathe_session_free(plain);
    lathe_session_free(s);
}

/* A block that was accepted past the end of the text: what follows the end is no part of it. */
static void ends_inside_a_round_end_the_text(void **state) {
    (void) state;
    need_shared(MODEL);
    lathe_error err = {0};
    const lathe_logit_bias bias = {.id = lathe_vocab_eos(lathe_model_vocab(model)), .bias = 14.0f};
    const char *stops[] = {"mom", "."};
    lathe_spec_params spec = spec_of(draft);
    int truncated = 0;
    spec.controller = "fixed";
    for (int k = 0; k < 3; k++)
        for (uint64_t seed = 0; seed < 4; seed++) {
            lathe_session_params p = params_of(0.8, k == 2 ? 17 : 60);
            p.sampler.seed = seed;
            p.sampler.bias = k == 0 ? &bias : NULL;
            p.sampler.n_bias = k == 0;
            p.stop = stops;
            p.n_stop = k == 1 ? 2 : 0;
            lathe_session *plain = generate(&p, NULL, tale), *s = generate(&p, &spec, tale);
            check_same(plain, s);
            check_sums(s);
            lathe_session_spec_stats stats;
            assert_true(lathe_session_spec_stats_of(s, &stats));
            truncated += stats.truncated > 0;
            /* Nothing of the discarded tail is left in the cache. */
            check_ok(lathe_session_generate(plain, "Once upon a time, there was a dog", NULL, NULL, &err),
                     err);
            check_ok(lathe_session_generate(s, "Once upon a time, there was a dog", NULL, NULL, &err), err);
            check_same(plain, s);
            lathe_session_free(plain);
            lathe_session_free(s);
        }
    assert_true(truncated > 0);
}

static void a_context_that_fills_up_in_a_round_ends_like_plain(void **state) {
    (void) state;
    need_shared(MODEL);
    lathe_spec_params spec = spec_of(draft);
    spec.controller = "fixed";
    for (int32_t n_ctx = 60; n_ctx < 69; n_ctx += 2) {
        lathe_session_params p = params_of(0.0, -1);
        p.context.n_ctx = n_ctx;
        p.ignore_eos = true;
        lathe_session *plain = generate(&p, NULL, tale), *s = generate(&p, &spec, tale);
        check_same(plain, s);
        assert_int_equal(lathe_session_stats_of(s).stop, LATHE_STOP_CONTEXT);
        lathe_session_free(plain);
        lathe_session_free(s);
    }
}

static void penalties_see_the_hypothetical_text(void **state) {
    (void) state;
    need_shared(MODEL);
    char joined[700];
    snprintf(joined, sizeof joined, "suffix+%s", draft);
    lathe_spec_params spec = spec_of(joined);
    spec.gate = 0;
    lathe_session_params p = params_of(0.8, 100);
    p.sampler.repeat_penalty = 1.3;
    p.sampler.presence_penalty = 0.4;
    p.sampler.dry_multiplier = 0.8;
    lathe_session *plain = generate(&p, NULL, tale), *s = generate(&p, &spec, tale);
    check_same(plain, s);
    lathe_session_free(plain);
    lathe_session_free(s);
}

/* A draft whose context is shorter than the text slides, and goes on being right. */
typedef struct late_rounds {
    int64_t n, accepted;
} late_rounds;

static void count_late(void *user, const lathe_spec_round *round) {
    late_rounds *l = user;
    if (round->position > 540) {
        l->n++;
        l->accepted += round->accepted;
    }
}

static void a_draft_with_a_shorter_context_slides(void **state) {
    (void) state;
    need_shared(MODEL);
    late_rounds late = {0};
    lathe_session_params p = params_of(0.0, 560);
    p.context.n_ctx = 700; /* the draft stops at the 512 that it was trained on */
    p.ignore_eos = true;
    lathe_spec_params spec = spec_of(draft);
    spec.controller = "fixed";
    spec.on_round = count_late;
    spec.user = &late;
    lathe_session *plain = generate(&p, NULL, tale), *s = generate(&p, &spec, tale);
    check_same(plain, s);
    assert_true(late.n > 0 && late.accepted > late.n / 2);
    lathe_session_free(plain);
    lathe_session_free(s);
}

static void draft_garbage(void *state, int32_t n_max, lathe_token_tree *tree) {
    (void) state;
    static const int32_t ids[] = {-1, 512, 1 << 30, 1, 2, 403, 403, INT32_MIN};
    static uint32_t at;
    for (int32_t i = 0, node = 0; i < n_max && node >= 0; i++, at++)
        node = lathe_token_tree_add(tree, node, ids[at % LATHE_LEN(ids)], (double) at - 3.0);
    for (int32_t i = 0; i < 3; i++)
        (void) lathe_token_tree_add(tree, i - 1, ids[(at + 2) % LATHE_LEN(ids)], 1e9);
}

static void garbage_from_a_proposer_changes_nothing(void **state) {
    (void) state;
    need_shared(MODEL);
    lathe_error err = {0};
    const lathe_session_params p = params_of(0.7, 80);
    lathe_spec_params spec = spec_of("recycle");
    spec.gate = 0;
    lathe_proposer wild = lathe_proposer_recycle;
    wild.draft = draft_garbage;
    lathe_session *plain = generate(&p, NULL, tale), *s = open_session(&p, &spec);
    lathe_spec *inside = s->step.state;
    inside->source[0].proposer = &wild;
    check_ok(lathe_session_generate(s, tale, NULL, NULL, &err), err);
    check_same(plain, s);
    check_sums(s);
    inside->source[0].proposer = &lathe_proposer_recycle;
    lathe_session_free(plain);
    lathe_session_free(s);
}

/* --- The calibration file ------------------------------------------------------------------------ */

static int entry(const char *folder, char *path, size_t n) {
    int count = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *e = dir ? readdir(dir) : NULL; e; e = readdir(dir))
        if (e->d_name[0] != '.') {
            snprintf(path, n, "%s/%s", folder, e->d_name);
            count++;
        }
    if (dir)
        closedir(dir);
    return count;
}

static void write_text(const char *path, const char *text) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void a_calibration_is_kept_and_a_bad_one_made_anew(void **state) {
    (void) state;
    need_shared(MODEL);
    lathe_error err = {0};
    char folder[] = "/tmp/lathe-spec-XXXXXX", sub[64], path[400] = "";
    assert_non_null(mkdtemp(folder));
    snprintf(sub, sizeof sub, "%s/calibration", folder);
    lathe_session_params p = params_of(0.0, 40);
    lathe_session *s = open_session(&p, NULL);
    lathe_spec_cost cost;
    const lathe_batch batch = {.tokens = (const int32_t[]){1, 2, 3}, .n_tokens = 3};
    check_ok(lathe_context_decode(s->context, &batch, &err), err);
    check_ok(lathe_spec_cost_open(s->context, &s->params.context, folder, 9, false, NULL, &cost, &err), err);
    assert_false(cost.from_file);
    assert_true(cost.measured.spent_s < 0.5);
    assert_int_equal(lathe_context_n_past(s->context, 0), 3); /* scratch rows are gone */
    lathe_spec_cost_close(&cost);
    assert_int_equal(entry(sub, path, sizeof path), 1);
    check_ok(lathe_spec_cost_open(s->context, &s->params.context, folder, 9, false, NULL, &cost, &err), err);
    assert_true(cost.from_file);
    char key[17], good[256];
    memcpy(key, cost.key, sizeof key);
    lathe_spec_cost_close(&cost);
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "{\"schema\":\"lathe.calibration/1\"}",
        "[[1,1,1],[2,1.5,1]]",
        "[[1,1,1],[2,0.5,1]]",
        "[[1,1,1],[3,1.5,1],[2,1.6,1]]",
        "[[1,1,1],[2,1e300,1]]",
        "[[1,1,1],[2,\"x\",1]]",
        "[[2,1.5,1],[3,2,1]]",
    };
    for (size_t i = 0; i < LATHE_LEN(bad); i++) {
        const bool curve = bad[i][0] == '[' && bad[i][1] == '[';
        snprintf(good, sizeof good,
                 "{\"schema\":\"lathe.calibration/"
                 "1\",\"key\":\"%s\",\"created\":%ld,\"ctx\":3,\"plain_s\":0.001,\"v\":%s}",
                 key, (long) time(NULL) - 60, bad[i]);
        write_text(path, curve ? good : bad[i]);
        check_ok(lathe_spec_cost_open(s->context, &s->params.context, folder, 9, false, NULL, &cost, &err),
                 err);
        assert_int_equal(cost.from_file, i == 4); /* the one that is well made */
        assert_true(cost.model.n >= 2 && cost.model.ratio[0] == 1.0);
        lathe_spec_cost_close(&cost);
    }
    unlink(path);
    rmdir(sub);
    rmdir(folder);
    lathe_session_free(s);
}

/* What a session learnt is there in the next one of the same kind, and in no other; a bad file is as good as
 * none. */
static void tables_are_kept_and_a_bad_one_is_left(void **state) {
    (void) state;
    need_shared(MODEL);
    char folder[] = "/tmp/lathe-spec-XXXXXX", sub[64], path[400] = "", other[400] = "";
    assert_non_null(mkdtemp(folder));
    snprintf(sub, sizeof sub, "%s/arms", folder);
    lathe_session_params p = params_of(0.0, 120);
    lathe_spec_params spec = spec_of("suffix+lookup");
    spec.cache_dir = folder;
    spec.gate = 0;
    lathe_session *first = generate(&p, &spec, tale);
    const lathe_spec *inside = first->step.state;
    double reached = 0.0;
    for (int i = 0; i < LATHE_SOURCE_BINS; i++)
        reached += inside->source[0].reached[i];
    assert_true(reached > 8.0);
    ((lathe_spec *) first->step.state)->rounds_ever += 64; /* a long run */
    lathe_session_free(first);
    assert_int_equal(entry(sub, path, sizeof path), 1);
    for (int bad = 0; bad < 3; bad++) {
        if (bad == 1)
            write_text(path, "{\"schema\":\"lathe.arms/1\",\"created\":1,\"sources\":[],\"arms\":[]}");
        if (bad == 2)
            write_text(path, "no table");
        lathe_session *s = open_session(&p, &spec);
        lathe_session_set_n_predict(s,
                                    32); /* long enough for costs to be measured, too short to be written */
        s->step.begin(s->step.state, s);
        const lathe_spec *now = s->step.state;
        assert_non_null(now->table_path);
        double kept = 0.0;
        for (int i = 0; i < LATHE_SOURCE_BINS; i++)
            kept += now->source[0].reached[i];
        if (bad == 0)
            assert_true(kept >= 4.0);
        else if (kept >= 4.0)
            fail_msg("bad file %d: %g counts appeared", bad, kept);
        lathe_session_free(s);
    }
    p.sampler.temp = 1.0; /* drawn texts have a table of their own */
    lathe_session *drawn = open_session(&p, &spec);
    lathe_error err = {0};
    check_ok(lathe_session_generate(drawn, tale, NULL, NULL, &err), err);
    ((lathe_spec *) drawn->step.state)->rounds_ever += 64;
    lathe_session_free(drawn);
    assert_int_equal(entry(sub, other, sizeof other), 2);
    for (int i = 0; i < 2 && entry(sub, other, sizeof other) > 0; i++)
        unlink(other);
    rmdir(sub);
    snprintf(sub, sizeof sub, "%s/calibration", folder);
    while (entry(sub, other, sizeof other) > 0)
        unlink(other);
    rmdir(sub);
    rmdir(folder);
}

/* Trees over a ring of rows, weights of eight bits: rows lie elsewhere in the cache, sums run in another
 * order, and one product rounded to the next of 255 steps moves logits by a hundredth. The texts may part,
 * and where they do it is called rounding; a token that plain generation would hardly have drawn is not. */
static void where_rounding_parts_two_texts_is_told(void **state) {
    (void) state;
    const char *source = need_shared(MODEL), *file = temp_file(".gguf");
    lathe_error err = {0};
    lathe_quantize_params q = lathe_quantize_params_default();
    lathe_quantize_result result;
    q.type = "q8_0";
    check_ok(lathe_model_quantize(source, file, &q, &result, &err), err);
    lathe_model *f32 = model;
    check_ok(lathe_model_load(file, NULL, &model, &err), err);
    int parted = 0;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        lathe_session_params p = params_of(0.8, 150);
        p.sampler.seed = seed;
        p.ignore_eos = true;
        p.context.exact = false;
        p.context.type_k = p.context.type_v = LATHE_CACHE_F16;
        p.context.policy = seed % 2 ? "window:48" : "stream:4,44";
        lathe_spec_params spec = spec_of("recycle");
        spec.length = 40;
        lathe_session *plain = generate(&p, NULL, tale), *with = generate(&p, &spec, tale);
        size_t n = 0;
        const int32_t *ids = lathe_session_ids(with, &n, NULL);
        lathe_difference d;
        check_ok(lathe_session_difference(plain, ids, n, &d, &err), err);
        if (d.position >= 0 && !d.is_tie)
            fail_msg("seed %d: token %d, margin %g, noise %g", (int) seed, (int) d.position, d.margin,
                     d.noise);
        parted += d.position >= 0;
        lathe_session_free(plain);
        lathe_session_free(with);
        /* The negative: the likeliest token against one that is far from it. */
        p.sampler.temp = 0.0;
        plain = generate(&p, NULL, tale);
        int32_t wrong[512];
        assert_true(n <= 512);
        size_t m = 0;
        const int32_t *right = lathe_session_ids(plain, &m, NULL);
        memcpy(wrong, right, m * sizeof *wrong);
        wrong[m - 40] = wrong[m - 40] == 3 ? 4 : 3;
        check_ok(lathe_session_difference(plain, wrong, m, &d, &err), err);
        assert_int_equal(d.position, m - 40);
        assert_false(d.is_tie);
        lathe_session_free(plain);
    }
    print_message("%d of 6 texts parted\n", parted);
    lathe_model_free(model);
    model = f32;
}

static void what_the_run_sees_corrects_the_costs(void **state) {
    (void) state;
    lathe_spec_cost cost;
    lathe_spec_cost_assume(&cost);
    for (int i = 0; i < 200; i++)
        (void) lathe_spec_cost_saw(&cost, 3, 2.1);
    check_near(lathe_cost_verify(&cost.model, 3), 2.1, 0.02);
    for (int i = 0; i < 400; i++)
        (void) lathe_spec_cost_saw(&cost, 3, 1e9); /* a stopped clock is no reason to believe anything */
    assert_true(lathe_cost_verify(&cost.model, 3) <= 3.0 * 1.4 + 1e-9);
    assert_true(lathe_cost_verify(&cost.model, 2) <= lathe_cost_verify(&cost.model, 3));
    lathe_spec_cost_close(&cost);
}

/* --- What is refused ----------------------------------------------------------------------------- */

static void contradictions_are_refused(void **state) {
    (void) state;
    need_shared(MODEL);
    lathe_error err = {0};
    const lathe_session_params p = params_of(0.7, 4);
    lathe_session *s = open_session(&p, NULL);
    const char *arms = temp_file(".json");
    static const struct {
        const char *text, *says;
    } files[] = {
        {"{}", "list of arms"},
        {"[]", "list of arms"},
        {"[{\"proposer\":\"suffix\"}]", "no name"},
        {"[{\"name\":\"a\",\"len\":3}]", "no proposer"},
        {"[{\"name\":\"a\",\"proposer\":\"suffix\",\"len\":1000}]", "1 to 256"},
        {"[{\"name\":\"a\",\"proposer\":\"suffix\",\"len\":2.5}]", "whole number"},
        {"[{\"name\":\"a\",\"proposer\":\"suffix\"},{\"name\":\"a\",\"proposer\":\"lookup\"}]", "two arms"},
        {"[{\"name\":\"a\",\"proposer\":\"suffix\",\"verify\":\"match\"},{\"name\":\"b\",\"proposer\":"
         "\"lookup\",\"verify\":\"greedy\"}]",
         "one verifier"},
    };
    for (size_t i = 0; i < LATHE_LEN(files); i++) {
        lathe_spec_params spec = spec_of("auto");
        spec.arms_file = arms;
        write_text(arms, files[i].text);
        assert_int_not_equal(lathe_session_spec(s, &spec, &err), LATHE_OK);
        if (!strstr(err.text, files[i].says))
            print_error("%zu: %s\n", i, err.text);
        assert_non_null(strstr(err.text, files[i].says));
    }
    write_text(arms, "[{\"name\":\"none\",\"len\":0},{\"name\":\"s\",\"proposer\":\"suffix\",\"len\":9}]");
    lathe_spec_params spec = spec_of("auto");
    spec.arms_file = arms;
    spec.length = 3;
    assert_int_equal(lathe_session_spec(s, &spec, &err), LATHE_ERR_ARG);
    spec.length = 0;
    spec.controller = "fixed:other";
    assert_int_equal(lathe_session_spec(s, &spec, &err), LATHE_ERR_ARG);
    assert_non_null(strstr(err.text, "none, s"));
    spec.controller = "fixed:s";
    check_ok(lathe_session_spec(s, &spec, &err), err);
    spec.reward = "applause";
    assert_int_equal(lathe_session_spec(s, &spec, &err), LATHE_ERR_ARG);
    lathe_session_free(s);
}

static void a_draft_with_other_tokens_is_refused(void **state) {
    (void) state;
    need_shared(MODEL);
    const char *other = need_shared("models/babyllama105-f32.gguf");
    lathe_error err = {0};
    const lathe_session_params p = params_of(0.0, 4);
    lathe_session *s = open_session(&p, NULL);
    char name[600];
    snprintf(name, sizeof name, "draft:%s", other);
    const lathe_spec_params spec = spec_of(name);
    assert_int_equal(lathe_session_spec(s, &spec, &err), LATHE_ERR_INPUT);
    assert_non_null(strstr(err.text, "105"));
    lathe_session_spec_stats stats;
    assert_false(lathe_session_spec_stats_of(s, &stats)); /* still the plain step */
    lathe_session_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_controller_and_arm_leaves_the_ids_alone),
        cmocka_unit_test(the_gated_default_leaves_the_ids_alone),
        cmocka_unit_test(ends_inside_a_round_end_the_text),
        cmocka_unit_test(a_context_that_fills_up_in_a_round_ends_like_plain),
        cmocka_unit_test(penalties_see_the_hypothetical_text),
        cmocka_unit_test(a_draft_with_a_shorter_context_slides),
        cmocka_unit_test(garbage_from_a_proposer_changes_nothing),
        cmocka_unit_test(a_calibration_is_kept_and_a_bad_one_made_anew),
        cmocka_unit_test(tables_are_kept_and_a_bad_one_is_left),
        cmocka_unit_test(where_rounding_parts_two_texts_is_told),
        cmocka_unit_test(what_the_run_sees_corrects_the_costs),
        cmocka_unit_test(contradictions_are_refused),
        cmocka_unit_test(a_draft_with_other_tokens_is_refused),
    };
    return cmocka_run_group_tests(tests, load, unload) != 0;
}
