/* Many prompts in one batch, on stories260K in f32: each answer is that of a session of its own, with and
 * without drafts, whatever the number of lanes; answers of different lengths leave and others take their
 * place. */
#include "support/check.h"

#include <stdio.h>
#include <string.h>

#include "lathe/decode.h"

#define MODEL "models/stories260K-f32.gguf"
enum { N = 9, MOST = 64 };

static lathe_model *model;
static char draft[600];
static const char *const texts[N] = {
    "Once upon a time",
    "One day, a boy named Tom. One day, a boy named",
    "Lily and Ben like to play in the park. Lily and Ben like",
    "The cat",
    "Tom and Sam saw a big red ball. Tom and Sam saw",
    "Mom said",
    "There was a big tree. There was a big tree. There was",
    "She was happy",
    "The end. The end. The end.",
};
typedef struct answer {
    int32_t ids[MOST], n, stop;
} answer;

static int load(void **state) {
    (void) state;
    const char *path = shared_file(MODEL);
    lathe_error err = {0};
    if (!path)
        return 0;
    check_ok(lathe_model_load(path, NULL, &model, &err), err);
    const char *file = temp_file(".gguf");
    lathe_quantize_params q = lathe_quantize_params_default();
    lathe_quantize_result result;
    q.type = "q8_0";
    check_ok(lathe_model_quantize(path, file, &q, &result, &err), err);
    snprintf(draft, sizeof draft, "suffix+draft:%s", file);
    return 0;
}

static int unload(void **state) {
    (void) state;
    lathe_model_free(model);
    return 0;
}

static lathe_session_params params_of(double temp) {
    static const char *const stops[] = {"mom"};
    lathe_session_params p = lathe_session_params_default();
    p.sampler.temp = temp;
    p.n_predict = 40;
    p.stop = stops;
    p.n_stop = 1;
    p.context.n_ctx = 128;
    p.context.n_threads = 1;
    p.context.type_k = p.context.type_v = LATHE_CACHE_F32;
    return p;
}

static void take(const lathe_session *s, answer *a) {
    size_t n, n_new;
    const int32_t *ids = lathe_session_ids(s, &n, &n_new);
    assert_true(n_new <= MOST);
    a->n = (int32_t) n_new;
    a->stop = (int32_t) lathe_session_stats_of(s).stop;
    memcpy(a->ids, ids + n - n_new, n_new * sizeof *ids);
}

typedef struct collected {
    answer answers[N];
    int seen[N];
    bool any_spec;
} collected;

static bool collect(void *user, size_t index, const lathe_session *session) {
    collected *c = user;
    lathe_session_spec_stats stats;
    assert_true(index < N);
    take(session, &c->answers[index]);
    c->seen[index]++;
    if (lathe_session_spec_stats_of(session, &stats)) {
        c->any_spec = true;
        assert_int_equal(stats.emitted, c->answers[index].n);
        assert_int_equal(stats.emitted, stats.accepted + stats.rounds - stats.truncated);
    }
    return true;
}

static void alone(double temp, answer *answers) {
    lathe_error err = {0};
    for (uint64_t i = 0; i < N; i++) {
        lathe_session_params p = params_of(temp);
        p.sampler.seed = 5 + i;
        lathe_session *s = NULL;
        check_ok(lathe_session_new(model, &p, &s, &err), err);
        check_ok(lathe_session_generate(s, texts[i], NULL, NULL, &err), err);
        take(s, &answers[i]);
        lathe_session_free(s);
    }
}

static lathe_status run(double temp, int32_t lanes, const lathe_spec_params *spec, collected *out,
                        lathe_stream_params *params, lathe_error *err) {
    lathe_session_params p = params_of(temp), h = p;
    lathe_stream_prompt prompts[N] = {{0}};
    lathe_session *host = NULL;
    int32_t *ids[N];
    for (int i = 0; i < N; i++) {
        check_ok(lathe_tokenize(lathe_model_vocab(model), texts[i], strlen(texts[i]), -1, true, &ids[i],
                                &prompts[i].n_ids, err),
                 *err);
        prompts[i].ids = ids[i];
        prompts[i].seed = 5 + (uint64_t) i;
    }
    h.context.n_ctx = 128 * lanes;
    h.context.n_seq_max = lanes;
    check_ok(lathe_session_new(model, &h, &host, err), *err);
    *params = (lathe_stream_params){.struct_size = sizeof *params,
                                    .answer = &p,
                                    .spec = spec,
                                    .n_parallel = lanes,
                                    .n_ctx = 128,
                                    .latency = 4.0,
                                    .done = collect,
                                    .user = out};
    const lathe_status status = lathe_session_stream(host, params, prompts, N, err);
    for (int i = 0; i < N; i++)
        lathe_free(ids[i]);
    lathe_session_free(host);
    return status;
}

static void each_answer_is_that_of_its_own_session(void **state) {
    (void) state;
    need_shared(MODEL);
    lathe_error err = {0};
    for (int t = 0; t < 2; t++) {
        static answer want[N];
        alone(t ? 0.7 : 0.0, want);
        /* Lanes with chains beside lanes with trees, trees of both kinds, and one draft model for all. */
        const struct {
            const char *proposers, *tree;
        } cases[] = {{NULL, NULL},      {"auto", NULL},        {draft, NULL},
                     {"recycle", NULL}, {draft, "beam:3,2,2"}, {draft, "eagle2:8,3,3"}};
        for (size_t k = 0; k < LATHE_LEN(cases); k++) {
            static collected got;
            lathe_spec_params spec = lathe_spec_params_default();
            lathe_stream_params params;
            memset(&got, 0, sizeof got);
            spec.proposers = cases[k].proposers;
            spec.tree = cases[k].tree;
            spec.controller = k == 3 ? "fixed" : NULL; /* it drafts where little is expected, too */
            spec.gate = k == 1 ? -1 : 0;               /* without it every round may draft */
            check_ok(run(t ? 0.7 : 0.0, 2 + (int32_t) k % 3, k == 0 ? NULL : &spec, &got, &params, &err),
                     err);
            int64_t tokens = 0;
            for (int i = 0; i < N; i++) {
                assert_int_equal(got.seen[i], 1);
                assert_int_equal(got.answers[i].n, want[i].n);
                assert_int_equal(got.answers[i].stop, want[i].stop);
                assert_memory_equal(got.answers[i].ids, want[i].ids, (size_t) want[i].n * sizeof(int32_t));
                tokens += want[i].n;
            }
            assert_int_equal(params.tokens, tokens);
            assert_true(params.rounds < tokens); /* several sequences in a round */
            assert_int_equal(got.any_spec, k > 0);
            if (k >= 2)
                assert_true(params.accepted > 20 && params.accepted <= params.drafted);
        }
    }
}

static void what_cannot_be_batched_is_refused(void **state) {
    (void) state;
    need_shared(MODEL);
    lathe_error err = {0};
    static collected got;
    lathe_stream_params params;
    lathe_spec_params spec = lathe_spec_params_default();
    spec.verifier = "coupled";
    assert_int_equal(run(0.7, 2, &spec, &got, &params, &err), LATHE_ERR_UNSUPPORTED);
    spec.verifier = NULL;
    spec.tree = "sequoia:4"; /* and nothing that drafts such a tree */
    assert_int_equal(run(0.7, 2, &spec, &got, &params, &err), LATHE_ERR_ARG);
    spec.tree = NULL;
    spec.proposers = "std"; /* looks into the cache of one sequence */
    assert_int_equal(run(0.7, 2, &spec, &got, &params, &err), LATHE_ERR_UNSUPPORTED);
    assert_int_equal(run(0.7, 10, NULL, &got, &params, &err), LATHE_OK);      /* more lanes than prompts */
    assert_int_equal(run(0.7, 40, NULL, &got, &params, &err), LATHE_ERR_ARG); /* more rows than a batch has */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_answer_is_that_of_its_own_session),
        cmocka_unit_test(what_cannot_be_batched_is_refused),
    };
    return cmocka_run_group_tests(tests, load, unload) != 0;
}
