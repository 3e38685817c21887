/* Draft models: a head of some tokens has the logits of the whole one, chosen by counts worked by hand; the
 * chains of several texts drafted together are those that each is given alone. */
#include "support/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "decode/draft_head.h"
#include "decode/draft_model.h"

#define MODEL "models/stories260K-f32.gguf"

static lathe_error err;

static const char *quantised(const char *type) {
    const char *file = temp_file(".gguf");
    lathe_quantize_params q = lathe_quantize_params_default();
    lathe_quantize_result result;
    q.type = type;
    check_ok(lathe_model_quantize(shared_file(MODEL), file, &q, &result, &err), err);
    return file;
}

static lathe_context *open_context(const lathe_model *model) {
    lathe_context_params cp = lathe_context_params_default();
    lathe_context *c;
    cp.n_ctx = 64;
    cp.n_threads = 1;
    check_ok(lathe_context_new(model, &cp, &c, &err), err);
    return c;
}

static void some_logits_are_those_of_the_whole_head(void **state) {
    (void) state;
    need_shared(MODEL);
    static const int32_t ids[] = {0, 2, 3, 17, 200, 259, 260, 300, 410, 411, 412, 500, 511};
    static const int32_t text[] = {1, 403, 407, 261, 378};
    static const char *const types[] = {"f32", "q8_0", "q4_0"};
    for (size_t k = 0; k < LATHE_LEN(types); k++) {
        const char *path = k == 0 ? shared_file(MODEL) : quantised(types[k]);
        lathe_model_params mp = lathe_model_params_default();
        lathe_model *whole, *some;
        check_ok(lathe_model_load(path, &mp, &whole, &err), err);
        mp.head_ids = ids;
        mp.n_head_ids = LATHE_LEN(ids);
        check_ok(lathe_model_load(path, &mp, &some, &err), err);
        assert_int_equal(lathe_model_n_logits(whole), lathe_model_n_vocab(whole));
        assert_int_equal(lathe_model_n_logits(some), LATHE_LEN(ids));
        assert_int_equal(lathe_model_n_vocab(some), lathe_model_n_vocab(whole));
        assert_true(lathe_model_step_bytes(some) < lathe_model_step_bytes(whole));
        lathe_context *a = open_context(whole), *b = open_context(some);
        const lathe_batch batch = {.tokens = text, .n_tokens = LATHE_LEN(text)};
        check_ok(lathe_context_decode(a, &batch, &err), err);
        check_ok(lathe_context_decode(b, &batch, &err), err);
        const float *x = lathe_context_logits(a, -1), *y = lathe_context_logits(b, -1);
        for (size_t i = 0; i < LATHE_LEN(ids); i++)
            check_near(y[i], x[ids[i]], 1e-5);
        lathe_context_free(a);
        lathe_context_free(b);
        lathe_model_free(whole);
        lathe_model_free(some);
    }
}

static void heads_that_do_not_fit_are_refused(void **state) {
    (void) state;
    need_shared(MODEL);
    static const struct {
        int32_t ids[3], n;
        const char *says;
    } cases[] = {{{3, 2, 4}, 3, "ids rise"},
                 {{2, 2, 4}, 3, "ids rise"},
                 {{0, 512, 600}, 3, "0 to 511"},
                 {{-1, 2, 4}, 3, "id -1"},
                 {{0, 1, 2}, 513, "1 to 512"}};
    for (size_t i = 0; i < LATHE_LEN(cases); i++) {
        lathe_model_params mp = lathe_model_params_default();
        lathe_model *m = NULL;
        mp.head_ids = cases[i].ids;
        mp.n_head_ids = cases[i].n;
        assert_int_equal(lathe_model_load(shared_file(MODEL), &mp, &m, &err), LATHE_ERR_ARG);
        assert_non_null(strstr(err.text, cases[i].says));
    }
}

static void the_head_is_what_a_text_has_most_of(void **state) {
    (void) state;
    need_shared(MODEL);
    lathe_model *m;
    check_ok(lathe_model_load(shared_file(MODEL), NULL, &m, &err), err);
    const lathe_vocab *vocab = lathe_model_vocab(m);
    const int32_t eos = lathe_vocab_eos(vocab);
    assert_int_equal(eos, 2);
    /* Behind one token: 300 three times, 7 and 400 twice, 9 once. */
    static const int32_t text[] = {9, 300, 7, 400, 300, 7, 400, 300, 9};
    const char *cache = temp_file(".lcache");
    lathe_ngram *g;
    check_ok(lathe_ngram_new(&g, &err), err);
    check_ok(lathe_ngram_update(g, text, LATHE_LEN(text), 0, 1, 2, &err), err);
    check_ok(lathe_ngram_write(g, cache, NULL, &err), err);
    lathe_ngram_free(g);
    int32_t *ids = NULL, n = 0;
    check_ok(lathe_draft_head(vocab, 512, 2, cache, &ids, &n, &err), err);
    assert_int_equal(n, 3); /* 2, the end of a text, is always there; of 7 and 400 the lower id */
    assert_memory_equal(ids, ((int32_t[]){2, 7, 300}), 3 * sizeof *ids);
    free(ids);
    check_ok(lathe_draft_head(vocab, 512, 4, NULL, &ids, &n, &err), err);
    assert_int_equal(n, 4);
    assert_memory_equal(ids, ((int32_t[]){0, 1, 2, 3}), 4 * sizeof *ids);
    free(ids);
    check_ok(lathe_draft_head(vocab, 512, 5000, NULL, &ids, &n, &err), err);
    assert_int_equal(n, 512);
    free(ids);
    FILE *f = fopen(cache, "wb");
    assert_non_null(f);
    fputs("no cache", f);
    fclose(f);
    assert_int_equal(lathe_draft_head(vocab, 512, 4, cache, &ids, &n, &err), LATHE_ERR_INPUT);
    assert_int_equal(lathe_draft_head(vocab, 512, 4, "/nowhere", &ids, &n, &err), LATHE_ERR_IO);
    lathe_model_free(m);
}

/* --- Several texts at once ----------------------------------------------------------------------- */

enum { LANES = 3 };
static const char *const texts[LANES] = {
    "Once upon a time, there was a little girl named Lily. She loved",
    "Tom and Sam saw a big red ball. Tom",
    "One day",
};

typedef struct chains {
    int32_t n[LANES], token[LANES][16];
    float prob[LANES][16];
} chains;

/* Drafts of 6 behind each text, twice: the second time behind the text, one more token and the first draft's
 * first one. */
static void draft_all(const lathe_model *target, const char *file, bool together, double temp,
                      chains out[2]) {
    lathe_draft *s[LANES] = {NULL};
    lathe_token_tree tree[LANES];
    lathe_sampler *sampler;
    lathe_sampler_params sp = lathe_sampler_params_default();
    sp.temp = temp;
    sp.seed = 5;
    check_ok(lathe_sampler_new(lathe_model_vocab(target), lathe_model_n_vocab(target), &sp, &sampler, &err),
             err);
    int32_t *ids[LANES], room[LANES][256];
    size_t n_ids[LANES];
    for (int32_t i = 0; i < LANES; i++) {
        lathe_proposer_params p = lathe_proposer_params_default();
        p.n_vocab = lathe_model_n_vocab(target);
        p.target = target;
        p.file = file;
        p.exact = true;
        if (together) {
            p.seq = i;
            p.n_seq = LANES;
            p.share = s[0];
        }
        check_ok(lathe_draft_open(&p, &s[i], &err), err);
        check_ok(lathe_token_tree_init(&tree[i], 17, p.n_vocab, &err), err);
        check_ok(lathe_tokenize(lathe_model_vocab(target), texts[i], strlen(texts[i]), -1, true, &ids[i],
                                &n_ids[i], &err),
                 err);
        memcpy(room[i], ids[i], n_ids[i] * sizeof(int32_t));
    }
    const lathe_chance chance = {0};
    const lathe_draft_request request = {
        .n_max = 6, .law = LATHE_LAW_POINT, .chance = &chance, .sampler = sampler};
    for (int pass = 0; pass < 2; pass++) {
        lathe_draft_job jobs[LANES];
        for (int32_t i = 0; i < LANES; i++) {
            if (pass == 1) {
                room[i][n_ids[i]] = 400 + i;
                room[i][n_ids[i] + 1] = out[0].token[i][0];
                n_ids[i] += 2;
            }
            lathe_token_tree_start(&tree[i], room[i][n_ids[i] - 1]);
            jobs[i] = (lathe_draft_job){s[i], room[i], (int32_t) n_ids[i], &request, &tree[i]};
        }
        if (together)
            check_ok(lathe_proposer_draft.propose_many(jobs, LANES, &err), err);
        for (int32_t i = 0; i < LANES; i++) {
            if (!together) {
                check_ok(lathe_proposer_draft.sync(s[i], room[i], (int32_t) n_ids[i], &err), err);
                check_ok(lathe_proposer_draft.propose(s[i], &request, &tree[i], &err), err);
            }
            out[pass].n[i] = tree[i].n_nodes - 1;
            for (int32_t k = 1; k < tree[i].n_nodes; k++) {
                out[pass].token[i][k - 1] = tree[i].token[k];
                out[pass].prob[i][k - 1] = tree[i].prob[k];
            }
        }
    }
    for (int32_t i = LANES - 1; i >= 0; i--) { /* the first one owns no more than the last */
        lathe_draft_close(s[LANES - 1 - i]);
        lathe_token_tree_free(&tree[i]);
        lathe_free(ids[i]);
    }
    lathe_sampler_free(sampler);
}

static void texts_drafted_together_get_what_each_gets_alone(void **state) {
    (void) state;
    need_shared(MODEL);
    lathe_model *target;
    check_ok(lathe_model_load(shared_file(MODEL), NULL, &target, &err), err);
    const char *file = quantised("q8_0");
    for (int t = 0; t < 2; t++) {
        static chains alone[2], together[2];
        draft_all(target, file, false, t ? 0.8 : 0.0, alone);
        draft_all(target, file, true, t ? 0.8 : 0.0, together);
        for (int pass = 0; pass < 2; pass++)
            for (int i = 0; i < LANES; i++) {
                assert_int_equal(alone[pass].n[i], 6);
                assert_int_equal(together[pass].n[i], 6);
                assert_memory_equal(alone[pass].token[i], together[pass].token[i], 6 * sizeof(int32_t));
                for (int k = 0; k < 6; k++)
                    check_near(together[pass].prob[i][k], alone[pass].prob[i][k], 1e-5);
            }
        /* Three texts, three different drafts: a lane that read another's rows would show. */
        assert_memory_not_equal(alone[0].token[0], alone[0].token[1], 6 * sizeof(int32_t));
    }
    lathe_model_free(target);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(some_logits_are_those_of_the_whole_head),
        cmocka_unit_test(heads_that_do_not_fit_are_refused),
        cmocka_unit_test(the_head_is_what_a_text_has_most_of),
        cmocka_unit_test(texts_drafted_together_get_what_each_gets_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
