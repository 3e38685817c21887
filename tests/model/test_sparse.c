/* test_sparse.c - choosing cache rows by attention, and contexts that hold the chosen ones: against hand
 * examples, against the attention that a context shows through its taps, and against the dense context. */
#include "support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng_purpose.h"
#include "model/model_impl.h"
#include "model/sparse.h"
#include "model/synth.h"

static lathe_error err;
enum { N = 120, BEGIN = 10, END = 90, QUERIES = 12 };

static lathe_model *model_of(const char *arch) {
    lathe_synth_params p = lathe_synth_params_default();
    lathe_synth_result r;
    lathe_model *m;
    const char *path = temp_file(".gguf");
    p.arch = arch;
    p.seed = 5;
    check_ok(lathe_model_synth(path, &p, &r, &err), err);
    check_ok(lathe_model_load(path, NULL, &m, &err), err);
    return m;
}

static lathe_context *context_of(const lathe_model *m, lathe_cache_type type) {
    lathe_context_params p = lathe_context_params_default();
    p.type_k = p.type_v = type;
    p.n_threads = 1;
    p.n_ctx = 256;
    lathe_context *c;
    check_ok(lathe_context_new(m, &p, &c, &err), err);
    return c;
}

static void fill(lathe_context *c, int32_t *ids) {
    lathe_rng rng = lathe_rng_new(3, 0, 0);
    for (int32_t i = 0; i < N; i++)
        ids[i] = (int32_t) lathe_rng_below(&rng, (uint64_t) lathe_model_n_vocab(lathe_context_model(c)));
    check_ok(lathe_context_decode(c, &(lathe_batch){.tokens = ids, .n_tokens = N - 1}, &err), err);
}

static const float *step(lathe_context *c, int32_t id, int32_t pos) {
    check_ok(lathe_context_decode(c, &(lathe_batch){.tokens = &id, .pos = &pos, .n_tokens = 1}, &err), err);
    return lathe_context_logits(c, -1);
}

static double difference(const float *a, const float *b, int32_t n) {
    double worst = 0;
    for (int32_t i = 0; i < n; i++)
        worst = fmax(worst, fabs((double) a[i] - b[i]));
    return worst;
}

static void the_best_rows_are_kept_in_order_of_position(void **state) {
    (void) state;
    /* means of two queries, worked by hand */
    static const float mean[] = {.20f, .30f, .05f, .30f, .15f}, grouped[] = {.6f, .9f, .5f};
    int32_t order[5], out[5];
    lathe_top_rows(mean, 5, 2, order, out);
    assert_int_equal(out[0], 1);
    assert_int_equal(out[1], 3);
    lathe_top_rows(mean, 5, 3, order, out);
    assert_int_equal(out[0], 0);
    assert_int_equal(out[1], 1);
    assert_int_equal(out[2], 3);
    lathe_top_rows(mean, 5, 1, order, out); /* a tie goes to the lower position */
    assert_int_equal(out[0], 1);
    lathe_top_rows(grouped, 3, 1, order, out);
    assert_int_equal(out[0], 1);
}

static int by_score(const void *a, const void *b) {
    const float *x = *(const float *const *) a, *y = *(const float *const *) b;
    return *x > *y ? -1 : *x < *y ? 1 : (x > y) - (x < y);
}

static void quickselect_agrees_with_sorting(void **state) {
    (void) state;
    enum { M = 57 };
    for (uint32_t trial = 0; trial < 300; trial++) {
        float score[M];
        const float *sorted[M];
        int32_t order[M], out[M];
        for (uint32_t i = 0; i < M; i++) { /* with many ties */
            score[i] = (float) floor(8 * lathe_uniform_at(1, LATHE_RNG_PROBE_VECTOR, trial, i, 0));
            sorted[i] = &score[i];
        }
        qsort(sorted, M, sizeof *sorted, by_score);
        const int32_t k = (int32_t) (trial % (M + 1));
        lathe_top_rows(score, M, k, order, out);
        for (int32_t i = 0; i < k; i++) {
            assert_true(i == 0 || out[i] > out[i - 1]);
            bool found = false;
            for (int32_t j = 0; j < k; j++)
                found = found || sorted[j] == &score[out[i]];
            assert_true(found);
        }
    }
}

typedef struct seen {
    double score[8][8][END - BEGIN]; /* layer, key head, row */
    int32_t group;
} seen;

static void look(void *user, const lathe_tap_view *view) { /* probs [n_kv, T, H] */
    seen *s = user;
    for (int64_t h = 0; h < view->ne[2]; h++)
        for (int64_t t = 0; t < view->ne[1]; t++)
            for (int64_t i = BEGIN; i < END; i++)
                s->score[view->layer][h / s->group][i - BEGIN] +=
                    view->data[(h * view->ne[1] + t) * view->ne[0] + i] / QUERIES;
}

static void scores_are_the_attention_that_taps_show(void **state) {
    (void) state;
    lathe_model *m = model_of("llama");
    lathe_context *c = context_of(m, LATHE_CACHE_F32), *d = context_of(m, LATHE_CACHE_F32);
    int32_t ids[N];
    lathe_row_choice choice;
    fill(c, ids);
    check_ok(lathe_row_choice_make(c, ids, N, BEGIN, END, QUERIES, &choice, &err), err);
    seen *s = calloc(1, sizeof *s);
    s->group = lathe_model_n_head(m) / lathe_model_n_head_kv(m);
    assert_int_equal(choice.group, s->group);
    const int32_t first = N - 1 - QUERIES;
    check_ok(lathe_context_decode(d, &(lathe_batch){.tokens = ids, .n_tokens = first}, &err), err);
    check_ok(lathe_context_tap(d, "probs", -1, -1, look, s, &err), err);
    check_ok(lathe_context_decode(d, &(lathe_batch){.tokens = ids + first, .n_tokens = QUERIES}, &err), err);
    double worst = 0, sum = 0;
    for (int32_t l = 0; l < choice.n_layer; l++)
        for (int32_t g = 0; g < choice.n_head_kv; g++)
            for (int32_t i = 0; i < END - BEGIN; i++) {
                const float x = choice.score[(l * choice.n_head_kv + g) * (END - BEGIN) + i];
                worst = fmax(worst, fabs(x - s->score[l][g][i]));
                sum += x;
            }
    assert_true(sum > 0.1);
    check_near(worst, 0, 1e-5);
    free(s);
    lathe_row_choice_free(&choice);
    lathe_context_free(c);
    lathe_context_free(d);
    lathe_model_free(m);
}

static void choosing_leaves_the_cache_as_it_was(void **state) {
    (void) state;
    lathe_model *m = model_of("llama");
    for (int t = 0; t < 3; t++) {
        const lathe_cache_type type = t == 0 ? LATHE_CACHE_F32 : t == 1 ? LATHE_CACHE_F16 : LATHE_CACHE_Q8_0;
        lathe_context *c = context_of(m, type), *d = context_of(m, type);
        int32_t ids[N];
        lathe_row_choice choice;
        fill(c, ids);
        fill(d, ids);
        check_ok(lathe_row_choice_make(c, ids, N, BEGIN, END, QUERIES, &choice, &err), err);
        assert_memory_equal(step(c, ids[N - 1], N - 1), step(d, ids[N - 1], N - 1),
                            (size_t) lathe_model_n_vocab(m) * sizeof(float));
        lathe_row_choice_free(&choice);
        lathe_context_free(c);
        lathe_context_free(d);
    }
    lathe_model_free(m);
}

static void with_every_row_kept_the_sparse_context_is_the_dense_one(void **state) {
    (void) state;
    lathe_model *m = model_of("qwen2");
    lathe_context *c = context_of(m, LATHE_CACHE_F32), *sparse;
    int32_t ids[N];
    lathe_row_choice choice;
    fill(c, ids);
    check_ok(lathe_row_choice_make(c, ids, N, BEGIN, END, QUERIES, &choice, &err), err);
    check_ok(lathe_row_choice_keep(&choice, END - BEGIN, &err), err);
    for (int32_t l = 0; l < choice.n_layer; l++)
        check_near(choice.kept_mass[l], 1, 1e-6);
    check_ok(lathe_sparse_new(c, N + 8, &sparse, &err), err);
    check_ok(lathe_sparse_fill(sparse, c, &choice, &err), err);
    const int32_t n_vocab = lathe_model_n_vocab(m);
    for (int32_t i = 0; i < 4; i++)
        assert_true(difference(step(c, ids[i], N - 1 + i), step(sparse, ids[i], N - 1 + i), n_vocab) < 1e-5);
    lathe_context_free(sparse);
    /* ... and with few rows it is another one: rows do matter */
    check_ok(lathe_context_rollback(c, 0, N - 1, &err), err);
    check_ok(lathe_row_choice_keep(&choice, 3, &err), err);
    check_ok(lathe_sparse_new(c, N + 8, &sparse, &err), err);
    check_ok(lathe_sparse_fill(sparse, c, &choice, &err), err);
    assert_int_equal(lathe_context_n_past(sparse, 0), N - 1 - (END - BEGIN) + 3);
    assert_true(difference(step(c, ids[0], N - 1), step(sparse, ids[0], N - 1), n_vocab) > 1e-4);
    lathe_context_free(sparse);
    lathe_row_choice_free(&choice);
    lathe_context_free(c);
    lathe_model_free(m);
}

static void rows_appended_are_the_dense_ones_to_the_bit(void **state) {
    (void) state;
    lathe_model *m = model_of("llama");
    lathe_context *c = context_of(m, LATHE_CACHE_F16), *sparse;
    int32_t ids[N];
    lathe_row_choice choice;
    fill(c, ids);
    check_ok(lathe_row_choice_make(c, ids, N, BEGIN, END, QUERIES, &choice, &err), err);
    check_ok(lathe_row_choice_keep(&choice, 20, &err), err);
    check_ok(lathe_sparse_new(c, 80, &sparse, &err), err);
    check_ok(lathe_sparse_fill(sparse, c, &choice, &err), err);
    (void) step(sparse, 7, N - 1); /* a draft, taken back when the dense rows are there */
    (void) step(c, 9, N - 1);
    check_ok(lathe_context_rollback(sparse, 0, N - 1, &err), err);
    check_ok(lathe_sparse_append(sparse, c, N - 1, N, &err), err);
    for (int32_t l = 0; l < choice.n_layer; l++) {
        const struct ggml_tensor *a = c->kv.k[l], *b = sparse->kv.k[l];
        const int32_t last = sparse->cells.length[0] - 1;
        assert_memory_equal((const char *) a->data + (size_t) c->cells.rows[N - 1] * a->nb[1],
                            (const char *) b->data + (size_t) sparse->cells.rows[last] * b->nb[1], a->nb[1]);
        for (int32_t g = 0; g < choice.n_head_kv; g++) /* row i of the span: each head's own position */
            for (int32_t i = 0; i < choice.n_keep; i++) {
                const size_t w = a->nb[1] / (size_t) choice.n_head_kv;
                const int32_t from = choice.pos[(l * choice.n_head_kv + g) * choice.n_keep + i];
                assert_memory_equal((const char *) a->data + (size_t) c->cells.rows[from] * a->nb[1] +
                                        (size_t) g * w,
                                    (const char *) b->data +
                                        (size_t) sparse->cells.rows[BEGIN + i] * b->nb[1] + (size_t) g * w,
                                    w);
            }
    }
    assert_int_equal(lathe_sparse_append(sparse, c, 0, N, &err), LATHE_ERR_ARG); /* no room */
    assert_int_equal(lathe_context_n_past(sparse, 0), N - (END - BEGIN) + 20);
    lathe_context_free(sparse);
    lathe_row_choice_free(&choice);
    lathe_context_free(c);
    lathe_model_free(m);
}

static void more_rows_keep_more_attention_and_no_other_set_keeps_as_much(void **state) {
    (void) state;
    lathe_model *m = model_of("llama");
    lathe_context *c = context_of(m, LATHE_CACHE_F32);
    int32_t ids[N];
    lathe_row_choice choice;
    double before = 0;
    fill(c, ids);
    check_ok(lathe_row_choice_make(c, ids, N, BEGIN, END, QUERIES, &choice, &err), err);
    for (int32_t k = 0; k <= END - BEGIN; k += 8) {
        check_ok(lathe_row_choice_keep(&choice, k, &err), err);
        assert_true(choice.kept_mass[1] >= before);
        before = choice.kept_mass[1];
    }
    check_ok(lathe_row_choice_keep(&choice, 24, &err), err);
    const double best = choice.kept_mass[1];
    for (uint64_t seed = 0; seed < 200; seed++) {
        check_ok(lathe_row_choice_keep_rule(&choice, 24, -1, seed, &err), err);
        assert_true(choice.kept_mass[1] <= best);
    }
    check_ok(lathe_row_choice_keep_rule(&choice, 24, 4, 0, &err), err); /* sinks and a window */
    assert_int_equal(choice.pos[3], BEGIN + 3);
    assert_int_equal(choice.pos[4], END - 20);
    assert_true(choice.kept_mass[1] <= best);
    lathe_row_choice_free(&choice);
    lathe_context_free(c);
    lathe_model_free(m);
}

static void spans_that_are_none_and_windows_are_refused(void **state) {
    (void) state;
    lathe_model *m = model_of("llama"), *windowed = model_of("gemma2");
    lathe_context *c = context_of(m, LATHE_CACHE_F32), *w = context_of(windowed, LATHE_CACHE_F32);
    int32_t ids[N];
    lathe_row_choice choice;
    fill(c, ids);
    assert_int_equal(lathe_row_choice_make(c, ids, N, 20, 20, QUERIES, &choice, &err), LATHE_ERR_ARG);
    assert_int_equal(lathe_row_choice_make(c, ids, N, 20, N, QUERIES, &choice, &err), LATHE_ERR_ARG);
    assert_int_equal(lathe_row_choice_make(c, ids, N - 1, 0, 50, QUERIES, &choice, &err), LATHE_ERR_ARG);
    fill(w, ids);
    assert_int_equal(lathe_row_choice_make(w, ids, N, BEGIN, END, QUERIES, &choice, &err),
                     LATHE_ERR_UNSUPPORTED);
    /* nothing behind the span: the last tokens ask, whatever they are */
    check_ok(lathe_row_choice_make(c, ids, N, 0, N - 1, QUERIES, &choice, &err), err);
    assert_int_equal(choice.n_query, QUERIES);
    lathe_row_choice_free(&choice);
    lathe_context_free(c);
    lathe_context_free(w);
    lathe_model_free(m);
    lathe_model_free(windowed);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_best_rows_are_kept_in_order_of_position),
        cmocka_unit_test(quickselect_agrees_with_sorting),
        cmocka_unit_test(scores_are_the_attention_that_taps_show),
        cmocka_unit_test(choosing_leaves_the_cache_as_it_was),
        cmocka_unit_test(with_every_row_kept_the_sparse_context_is_the_dense_one),
        cmocka_unit_test(rows_appended_are_the_dense_ones_to_the_bit),
        cmocka_unit_test(more_rows_keep_more_attention_and_no_other_set_keeps_as_much),
        cmocka_unit_test(spans_that_are_none_and_windows_are_refused),
    };
    return cmocka_run_group_tests_name("model/sparse", tests, NULL, NULL) != 0;
}
