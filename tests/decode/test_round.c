/* Rounds on a real small model: the text with speculation is the text without, greedy and seeded. */
#include "support/check.h"

#include "decode/round.h"

#include <string.h>

enum { N = 96 };

static int32_t generate(const lathe_model *model, const lathe_proposer *proposer, int32_t length, double temp,
                        int32_t *ids, lathe_round_totals *totals) {
    lathe_error err = {0};
    lathe_context_params cp = lathe_context_params_default();
    lathe_sampler_params sp = lathe_sampler_params_default();
    lathe_proposer_params pp = lathe_proposer_params_default();
    lathe_context *context;
    lathe_sampler *sampler;
    lathe_round_params rp = {.proposer = proposer,
                             .verifier = &lathe_verifier_match,
                             .options = lathe_verify_options_default(),
                             .length = length};
    cp.n_ctx = 256;
    cp.n_threads = 1;
    cp.exact = true;
    sp.temp = temp;
    sp.seed = 42;
    pp.n_vocab = lathe_model_n_vocab(model);
    check_ok(lathe_context_new(model, &cp, &context, &err), err);
    check_ok(lathe_sampler_new(lathe_model_vocab(model), pp.n_vocab, &sp, &sampler, &err), err);
    check_ok(proposer->create(&pp, &rp.proposer_state, &err), err);
    int32_t n = 12;
    const int32_t prompt[] = {1, 300, 301, 302, 303, 300, 301, 302, 303, 300, 301, 302};
    memcpy(ids, prompt, sizeof prompt);
    check_ok(lathe_round_generate(context, sampler, &rp, ids, &n, N, totals, &err), err);
    proposer->destroy(rp.proposer_state);
    lathe_sampler_free(sampler);
    lathe_context_free(context);
    return n;
}

static void test_same_text(void **state) {
    (void) state;
    const char *path = need_shared("models/stories260K-f32.gguf");
    lathe_error err = {0};
    lathe_model *model;
    check_ok(lathe_model_load(path, NULL, &model, &err), err);
    const lathe_proposer *proposers[] = {&lathe_proposer_lookup, &lathe_proposer_suffix,
                                         &lathe_proposer_ngram};
    for (int t = 0; t < 2; t++) {
        int32_t plain[N + 12], ids[N + 12];
        lathe_round_totals none = {0};
        const int32_t n = generate(model, proposers[0], 0, t ? 0.8 : 0.0, plain, &none);
        assert_int_equal(none.rounds, n - 12);
        for (size_t i = 0; i < LATHE_LEN(proposers); i++) {
            lathe_round_totals sum = {0};
            assert_int_equal(generate(model, proposers[i], 6, t ? 0.8 : 0.0, ids, &sum), n);
            assert_memory_equal(ids, plain, (size_t) n * sizeof *ids);
            assert_true(sum.proposed >= sum.accepted && sum.proposed > 0);
            assert_int_equal(sum.rows, sum.rounds + sum.proposed);
        }
    }
    lathe_model_free(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_text)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
