/* test_longspec.c - LongSpec's draft: the inputs of its training by hand, its gradient by finite differences,
 * and drafting step by step against the training graph, which sees the same keys at the same shift. */
#include "support/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lathe/model.h"
#include "model/longspec_run.h"
#include "train/longspec.h"

static lathe_error err;
enum { T = 40, WINDOW = 12, STEPS = 4 };
static const char *target_path; /* llama of a million random weights */
static int32_t ids[4 * (T + 1)];

static int make_target(void **state) {
    (void) state;
    lathe_synth_params p = lathe_synth_params_default();
    lathe_synth_result r;
    target_path = temp_file(".gguf");
    p.seed = 3;
    check_ok(lathe_model_synth(target_path, &p, &r, &err), err);
    lathe_rng rng = lathe_rng_new(8, 0, 0);
    for (size_t i = 0; i < LATHE_LEN(ids); i++)
        ids[i] = (int32_t) lathe_rng_below(&rng, 1000);
    return 0;
}

static lathe_longspec_params draft_params(void) {
    lathe_longspec_params p = lathe_longspec_params_default();
    p.target = target_path;
    p.window = WINDOW;
    p.n_ff = 48;
    return p;
}

static lathe_train_params train_params(int32_t rows) {
    lathe_train_params t = lathe_train_params_default();
    t.rows = rows;
    t.n_ctx = T;
    return t;
}

/* --- Inputs -------------------------------------------------------------------------------------- */

static void all_but_the_anchors_move_on_by_the_offset(void **state) {
    (void) state;
    static const int32_t expected[8] = {0, 1, 2, 3, 104, 105, 106, 107};
    int32_t pos[16], long_pos[128];
    lathe_longspec_positions(2, 8, 4, 100, pos);
    assert_memory_equal(pos, expected, sizeof expected);
    assert_memory_equal(pos + 8, expected, sizeof expected);
    lathe_longspec_positions(1, 128, 4, 16257, long_pos);
    assert_int_equal(long_pos[127], 16384);
}

static void a_shifted_query_sees_no_key_that_is_too_young(void **state) {
    (void) state;
    float mask[16], seen[8];
    lathe_longspec_cross_mask(2, 4, 2, mask, seen);
    static const float some[4] = {0, 0, 1, 1}; /* queries 0 and 1 see nothing, 2 sees {0}, 3 sees {0, 1} */
    assert_memory_equal(seen, some, sizeof some);
    assert_memory_equal(seen + 4, some, sizeof some);
    for (int q = 2; q < 4; q++)
        for (int k = 0; k < 4; k++)
            assert_int_equal(mask[4 * q + k] > -1, k <= q - 2);
    lathe_longspec_self_mask(4, 2, mask);
    for (int q = 0; q < 4; q++)
        for (int k = 0; k < 4; k++)
            assert_int_equal(mask[4 * q + k] > -1, k <= q && k >= q - 2); /* distance 2 is within, 3 is not */
}

/* --- The graph ----------------------------------------------------------------------------------- */

typedef struct taught {
    lathe_longspec_params p;
    lathe_train_params t;
    lathe_longspec_teaching *teaching;
    lathe_net *net;
} taught;

static taught *teach(int32_t rows, int32_t anchors, bool gradients) {
    taught *x = calloc(1, sizeof *x);
    x->p = draft_params();
    x->p.anchors = anchors;
    x->p.offset_max = 30000;
    x->t = train_params(rows);
    check_ok(lathe_longspec_teaching_new(&x->p, &x->t, &x->teaching, &err), err);
    const lathe_train_task *task = lathe_longspec_task(x->teaching);
    const lathe_net_opts opts = {
        .rows = rows, .ctx = T, .n_threads = 1, .gradients = gradients, .task = &task->net};
    check_ok(lathe_net_open(task->desc, &opts, &x->net, &err), err);
    lathe_net_init(x->net, 11);
    return x;
}

static void forget(taught *x) {
    lathe_net_free(x->net);
    lathe_longspec_teaching_free(x->teaching);
    free(x);
}

static double loss_of(taught *x, int32_t shift, int32_t offset) {
    double loss;
    lathe_longspec_set(x->teaching, shift, offset);
    check_ok(lathe_net_loss(x->net, ids, &loss, &err), err);
    return loss;
}

static void rotation_sees_an_offset_only_where_anchors_stay(void **state) {
    (void) state;
    taught *none = teach(1, 0, false), *four = teach(1, 4, false);
    const double a = loss_of(none, 1, 0), b = loss_of(none, 1, 5000);
    check_near_rel(b, a, 1e-3);
    const double c = loss_of(four, 1, 0), d = loss_of(four, 1, 5000);
    check_near_rel(c, a, 1e-6);
    assert_true(fabs(d - c) > 1e-4);
    forget(none);
    forget(four);
}

static void gradients_are_those_of_finite_differences(void **state) {
    (void) state;
    taught *x = teach(2, 4, true);
    lathe_longspec_set(x->teaching, 2, 7);
    double loss;
    check_ok(lathe_net_gradients(x->net, ids, &loss, &err), err);
    const size_t n = lathe_net_n_tensors(x->net);
    assert_int_equal(n, 13);
    for (size_t i = 0; i < n; i++) {
        const int64_t size = lathe_net_size(x->net, i);
        const float *g = lathe_net_gradient(x->net, i);
        float *w = lathe_net_weights(x->net, i);
        double norm2 = 0;
        for (int64_t k = 0; k < size; k++)
            norm2 += (double) g[k] * g[k];
        assert_true(norm2 > 0); /* every tensor takes part */
        const double h = 0.02 / sqrt(norm2);
        float *before = malloc((size_t) size * sizeof *before);
        memcpy(before, w, (size_t) size * sizeof *w);
        double at[2];
        for (int side = 0; side < 2; side++) {
            for (int64_t k = 0; k < size; k++)
                w[k] = (float) (before[k] + (side == 0 ? -h : h) * g[k]);
            check_ok(lathe_net_loss(x->net, ids, &at[side], &err), err);
        }
        memcpy(w, before, (size_t) size * sizeof *w);
        free(before);
        check_near_rel((at[1] - at[0]) / (2 * h), norm2, 2e-2); /* along the gradient itself */
    }
    forget(x);
}

/* --- Drafting ------------------------------------------------------------------------------------ */

/* The draft of the net's weights, as a file. */
static const char *file_of(const taught *x) {
    const lathe_train_task *task = lathe_longspec_task(x->teaching);
    const char *path = temp_file(".gguf");
    float *values[32];
    for (size_t i = 0; i < lathe_net_n_tensors(x->net); i++)
        values[i] = lathe_net_weights(x->net, i);
    check_ok(task->write(task->user, path, x->net, values, &err), err);
    return path;
}

static lathe_context *context_of(const lathe_model *m) {
    lathe_context_params p = lathe_context_params_default();
    p.type_k = p.type_v = LATHE_CACHE_F32;
    p.n_threads = 1;
    p.n_ctx = 256;
    lathe_context *c;
    check_ok(lathe_context_new(m, &p, &c, &err), err);
    return c;
}

static double difference(const float *a, const float *b, int32_t n) {
    double worst = 0, size = 0;
    for (int32_t i = 0; i < n; i++) {
        worst = fmax(worst, fabs((double) a[i] - b[i]));
        size = fmax(size, fabs((double) b[i]));
    }
    return worst / size;
}

static void step_s_of_a_draft_is_the_training_graph_at_shift_s(void **state) {
    (void) state;
    taught *x = teach(1, 0, false);
    lathe_model *m;
    check_ok(lathe_model_load(target_path, NULL, &m, &err), err);
    lathe_context *c = context_of(m);
    lathe_longspec *draft;
    check_ok(lathe_longspec_open(file_of(x), c, &draft, &err), err);
    const int32_t n = T - STEPS, V = lathe_model_n_vocab(m); /* step s stands at position n - 1 + s */
    check_ok(lathe_context_decode(c, &(lathe_batch){.tokens = ids, .n_tokens = n - 1}, &err), err);
    check_ok(lathe_longspec_sync(draft, ids, n, &err), err);
    int32_t made = -1, parent = -1;
    const float *logits;
    for (int32_t s = 0; s <= STEPS; s++) {
        if (s == 0) {
            check_ok(lathe_longspec_step(draft, NULL, NULL, 1, &logits, &made, &err), err);
            assert_int_equal(made, -1);
        } else {
            parent = made;
            check_ok(lathe_longspec_step(draft, &ids[n - 1 + s], &parent, 1, &logits, &made, &err), err);
            assert_int_equal(made, s - 1);
        }
        (void) loss_of(x, s + 1, 0);
        if (s < STEPS || n - 1 + s < T)
            assert_true(difference(logits, lathe_net_logits(x->net) + (size_t) (n - 1 + s) * (size_t) V, V) <
                        1e-4);
        /* ... and not the one of a fresher cache */
        if (s > 0) {
            (void) loss_of(x, s, 0);
            assert_true(difference(logits, lathe_net_logits(x->net) + (size_t) (n - 1 + s) * (size_t) V, V) >
                        1e-3);
        }
    }
    lathe_longspec_free(draft);
    lathe_context_free(c);
    lathe_model_free(m);
    forget(x);
}

static float *first_logits(lathe_longspec *draft, const int32_t *text, int32_t n, int32_t V) {
    const float *logits;
    int32_t made;
    check_ok(lathe_longspec_sync(draft, text, n, &err), err);
    check_ok(lathe_longspec_step(draft, NULL, NULL, 1, &logits, &made, &err), err);
    float *copy = malloc((size_t) V * sizeof *copy);
    memcpy(copy, logits, (size_t) V * sizeof *copy);
    return copy;
}

static void following_a_text_bit_by_bit_is_reading_it_whole(void **state) {
    (void) state;
    taught *x = teach(1, 0, false);
    lathe_model *m;
    check_ok(lathe_model_load(target_path, NULL, &m, &err), err);
    lathe_context *c = context_of(m);
    lathe_longspec *a, *b;
    const char *path = file_of(x);
    const int32_t V = lathe_model_n_vocab(m), n = 4 * T; /* many windows */
    check_ok(lathe_longspec_open(path, c, &a, &err), err);
    check_ok(lathe_longspec_open(path, c, &b, &err), err);
    const int64_t held = lathe_longspec_cache_bytes(a);
    int32_t at = 1;
    for (int32_t k = 0; at < n; k++) { /* rounds that keep 1 to 5 tokens, with drafts that are thrown away */
        const int32_t next = at + 1 + k % 5 < n ? at + 1 + k % 5 : n, wrong = 7;
        check_ok(lathe_context_decode(c, &(lathe_batch){.tokens = ids + at - 1, .n_tokens = next - at}, &err),
                 err);
        at = next;
        free(first_logits(a, ids, at, V));
        const float *logits;
        int32_t made, root = -1;
        check_ok(lathe_longspec_step(a, &wrong, &root, 1, &logits, &made, &err), err);
    }
    assert_int_equal(lathe_longspec_behind(a, ids, n), 0);
    assert_int_equal(lathe_longspec_behind(b, ids, n), WINDOW);
    float *p = first_logits(a, ids, n, V), *q = first_logits(b, ids, n, V);
    assert_true(difference(p, q, V) < 1e-5);
    assert_int_equal(lathe_longspec_cache_bytes(a), held);
    free(p);
    free(q);
    lathe_longspec_free(a);
    lathe_longspec_free(b);
    lathe_context_free(c);
    lathe_model_free(m);
    forget(x);
}

static void a_branch_of_a_tree_is_the_chain_along_it(void **state) {
    (void) state;
    taught *x = teach(1, 0, false);
    lathe_model *m;
    check_ok(lathe_model_load(target_path, NULL, &m, &err), err);
    lathe_context *c = context_of(m);
    lathe_longspec *draft;
    const int32_t V = lathe_model_n_vocab(m), n = T;
    check_ok(lathe_longspec_open(file_of(x), c, &draft, &err), err);
    check_ok(lathe_context_decode(c, &(lathe_batch){.tokens = ids, .n_tokens = n - 1}, &err), err);
    static const int32_t chain[3] = {5, 6, 7}, layer1[2] = {9, 5}, layer2[3] = {1, 6, 2}, layer3[2] = {7, 3};
    static const int32_t root2[2] = {-1, -1}, parents2[3] = {0, 1, 1}, parents3[2] = {3, 4};
    const float *logits;
    int32_t made, parent = -1;
    free(first_logits(draft, ids, n, V));
    float *expected = malloc((size_t) V * sizeof *expected);
    for (int k = 0; k < 3; k++) {
        check_ok(lathe_longspec_step(draft, &chain[k], &parent, 1, &logits, &made, &err), err);
        parent = made;
    }
    memcpy(expected, logits, (size_t) V * sizeof *expected);
    free(first_logits(draft, ids, n, V));
    check_ok(lathe_longspec_step(draft, layer1, root2, 2, &logits, &made, &err), err);
    check_ok(lathe_longspec_step(draft, layer2, parents2, 3, &logits, &made, &err), err);
    assert_int_equal(made, 2);
    check_ok(lathe_longspec_step(draft, layer3, parents3, 2, &logits, &made, &err), err);
    assert_true(difference(logits, expected, V) < 1e-5);     /* 5, 6, 7 */
    assert_true(difference(logits + V, expected, V) > 1e-3); /* 5, 2, 3 */
    static const int32_t itself = 5;
    assert_int_equal(lathe_longspec_step(draft, layer1, &itself, 1, &logits, &made, &err), LATHE_OK);
    static const int32_t beyond = 99;
    assert_int_equal(lathe_longspec_step(draft, layer1, &beyond, 1, &logits, &made, &err), LATHE_ERR_ARG);
    free(expected);
    lathe_longspec_free(draft);
    lathe_context_free(c);
    lathe_model_free(m);
    forget(x);
}

static void a_draft_of_another_target_is_refused_with_both_descriptions(void **state) {
    (void) state;
    taught *x = teach(1, 0, false);
    lathe_synth_params p = lathe_synth_params_default();
    lathe_synth_result r;
    const char *other = temp_file(".gguf");
    p.seed = 4; /* the same shape, other weights */
    check_ok(lathe_model_synth(other, &p, &r, &err), err);
    lathe_model *m;
    check_ok(lathe_model_load(other, NULL, &m, &err), err);
    lathe_context *c = context_of(m);
    lathe_longspec *draft = NULL;
    assert_int_equal(lathe_longspec_open(file_of(x), c, &draft, &err), LATHE_ERR_INPUT);
    assert_non_null(strstr(err.text, "another target"));
    assert_int_equal(lathe_longspec_open(other, c, &draft, &err), LATHE_ERR_INPUT); /* a model is no draft */
    assert_non_null(strstr(err.text, "longspec"));
    lathe_context_free(c);
    lathe_model_free(m);
    forget(x);
}

/* --- The run ------------------------------------------------------------------------------------- */

static char *bytes_of(const char *folder, size_t *n) {
    char path[4200];
    snprintf(path, sizeof path, "%s/model.gguf", folder);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char *bytes = malloc(1 << 21);
    *n = fread(bytes, 1, 1 << 21, f);
    fclose(f);
    return bytes;
}

static void a_resumed_run_ends_in_the_same_bits_and_learns(void **state) {
    (void) state;
    const char *data = temp_file(".ltok"), *whole = temp_file(".run"), *cut = temp_file(".cut");
    int32_t text[2000];
    for (int32_t i = 0; i < 2000; i++)
        text[i] = 3 + (i * 7 + (i / 50) * 3) % 61;
    check_ok(lathe_tokens_write(data, text, 2000, 1024, NULL, &err), err);
    lathe_longspec_params p = draft_params();
    p.offset_max = 512;
    lathe_longspec_result r;
    for (int run = 0; run < 3; run++) {
        lathe_train_params t = train_params(2);
        t.data = t.eval_data = data;
        t.output = run == 0 ? whole : cut;
        t.schedule = (lathe_schedule){LATHE_SCHEDULE_CONSTANT, 2, run == 1 ? 6 : 12, 0, 0};
        t.resume = true;
        t.eval_every = 0;
        t.save_every = 100;
        check_ok(lathe_longspec_train(&p, &t, &r, &err), err);
    }
    assert_int_equal(r.run.step, 12);
    assert_int_equal(r.n_shifts, 5);
    assert_true(r.run.eval_loss < 6.8); /* a uniform guess: log 1024 = 6.93 */
    for (int i = 0; i < 5; i++)
        assert_true(r.agreement[i] >= 0 && r.agreement[i] <= 1);
    size_t n, m;
    char *a = bytes_of(whole, &n), *b = bytes_of(cut, &m);
    assert_int_equal(n, m);
    assert_memory_equal(a, b, n);
    free(a);
    free(b);
    char command[9000];
    snprintf(command, sizeof command, "rm -rf '%s' '%s'", whole, cut);
    assert_int_equal(system(command), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_but_the_anchors_move_on_by_the_offset),
        cmocka_unit_test(a_shifted_query_sees_no_key_that_is_too_young),
        cmocka_unit_test(rotation_sees_an_offset_only_where_anchors_stay),
        cmocka_unit_test(gradients_are_those_of_finite_differences),
        cmocka_unit_test(step_s_of_a_draft_is_the_training_graph_at_shift_s),
        cmocka_unit_test(following_a_text_bit_by_bit_is_reading_it_whole),
        cmocka_unit_test(a_branch_of_a_tree_is_the_chain_along_it),
        cmocka_unit_test(a_draft_of_another_target_is_refused_with_both_descriptions),
        cmocka_unit_test(a_resumed_run_ends_in_the_same_bits_and_learns),
    };
    return cmocka_run_group_tests_name("train/longspec", tests, make_target, NULL) != 0;
}
