/* The labs' network, its curvature measures and the grammar: against differences, identities and brute force.
 */
#include "support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lab/grammar.h"
#include "lab/step_curvature.h"
#include "lab/trainer.h"

enum { VOCAB = 11, CTX = 5, ROWS = 3 };

static lathe_small_net *net_of(bool last_only) {
    const lathe_small_shape shape = {.n_vocab = VOCAB,
                                     .n_embd = 8,
                                     .n_layer = 2,
                                     .n_head = 2,
                                     .n_ff = 12,
                                     .ctx = CTX,
                                     .rows = ROWS,
                                     .last_only = last_only,
                                     .products = true};
    lathe_small_net *net;
    lathe_error err = {0};
    check_ok(lathe_small_net_new(&shape, &net, &err), err);
    lathe_small_net_init(net, 3);
    return net;
}

static void set_batch(lathe_small_net *net, int salt) {
    int32_t tokens[ROWS * CTX], targets[ROWS * CTX];
    lathe_error err = {0};
    for (int i = 0; i < ROWS * CTX; i++) {
        tokens[i] = (i * 7 + salt) % VOCAB;
        targets[i] = (i * 5 + 2 + salt) % VOCAB;
    }
    check_ok(lathe_small_net_batch(net, tokens, targets, &err), err);
}

/* Embeddings start small, so that central differences need larger weights to be exact in f32. */
static void grow(lathe_small_net *net) {
    for (size_t i = 0; i < lathe_small_net_n_tensors(net); i++) {
        const lathe_small_tensor *t = lathe_small_net_tensor(net, i);
        float *w = lathe_small_net_weights(net, i);
        for (int64_t k = 0; k < t->rows * t->cols && t->part != LATHE_SMALL_Q; k++)
            w[k] *=
                t->part == LATHE_SMALL_EMBD || t->part == LATHE_SMALL_POSITION || t->part == LATHE_SMALL_HEAD
                    ? 30
                    : 1;
    }
}

static void gradient_and_products(void **state) {
    (void) state;
    for (int last_only = 0; last_only < 2; last_only++) {
        lathe_small_net *net = net_of(last_only);
        lathe_error err = {0};
        const size_t n = lathe_small_net_n(net);
        float *memory = malloc(7 * n * sizeof *memory);
        assert_non_null(memory);
        float *w = memory, *g = w + n, *v = g + n, *u = v + n, *hv = u + n, *hu = hv + n, *moved = hu + n;
        grow(net);
        set_batch(net, 1);
        lathe_rng rng = lathe_rng_new(1, 36, 0);
        for (size_t i = 0; i < n; i++) {
            v[i] = (float) lathe_rng_normal(&rng);
            u[i] = (float) lathe_rng_normal(&rng);
        }
        double loss, there, back;
        check_ok(lathe_small_net_gradient(net, &loss, g, &err), err);
        check_ok(lathe_small_net_loss(net, &there, NULL, &err), err);
        check_near(loss, there, 1e-5);
        lathe_small_net_get(net, w);
        const double e = 2e-3;
        double along = 0;
        for (size_t i = 0; i < n; i++) {
            along += (double) g[i] * v[i];
            moved[i] = w[i] + (float) (e * v[i]);
        }
        lathe_small_net_set(net, moved);
        check_ok(lathe_small_net_loss(net, &there, NULL, &err), err);
        for (size_t i = 0; i < n; i++)
            moved[i] = w[i] - (float) (e * v[i]);
        lathe_small_net_set(net, moved);
        check_ok(lathe_small_net_loss(net, &back, NULL, &err), err);
        lathe_small_net_set(net, w);
        check_near((there - back) / (2 * e), along, 5e-3 * (1 + fabs(along)));
        check_ok(lathe_small_net_product(net, v, hv, &err), err);
        check_ok(lathe_small_net_product(net, u, hu, &err), err);
        double a = 0, b = 0, size = 0, curved = 0;
        for (size_t i = 0; i < n; i++) {
            a += (double) u[i] * hv[i];
            b += (double) v[i] * hu[i];
            curved += (double) v[i] * hv[i];
            size += fabs((double) u[i] * hv[i]);
        }
        assert_true(size > 0.1);
        check_near(a, b, 1e-4 * size);
        check_near((there + back - 2 * loss) / (e * e), curved, 0.02 * fabs(curved) + 1);
        assert_true(fabs(curved) > 10); /* so that the tolerance means something */
        free(memory);
        lathe_small_net_free(net);
    }
}

/* A real step: the second-order prediction meets the loss; the split adds up; blocks are symmetric; a Hessian
 * of another batch does not predict. */
static void curvature_of_a_step(void **state) {
    (void) state;
    lathe_small_net *net = net_of(false);
    lathe_error err = {0};
    const size_t n = lathe_small_net_n(net);
    float *before = malloc(2 * n * sizeof *before), *after = before + n;
    assert_non_null(before);
    lathe_trainer t;
    check_ok(lathe_trainer_new(net, LATHE_MUON_ALL, 0.01, 100, &t, &err), err);
    t.warmup = 1;
    double loss;
    for (int i = 0; i < 12; i++) {
        set_batch(net, 1);
        lathe_small_net_get(net, before);
        check_ok(lathe_trainer_step(&t, &loss, &err), err);
    }
    lathe_small_net_get(net, after);
    lathe_step_curvature c, other;
    check_ok(lathe_step_curvature_measure(net, before, after, t.gradient, loss, &c, &err), err);
    assert_true(c.gain > 0 && c.norm2 > 0);
    assert_true(c.taylor_gap < 0.1);
    check_near(c.within + c.cross, c.sharpness, 1e-9 * fabs(c.sharpness) + 1e-12);
    check_near(c.penalty, 0.5 * c.norm2 * c.sharpness, 1e-9);
    double largest = 0;
    for (int l = 0; l < LATHE_STEP_LAYERS; l++)
        for (int k = 0; k < LATHE_STEP_LAYERS; k++)
            largest = fmax(largest, fabs(c.blocks[l][k]));
    for (int l = 0; l < LATHE_STEP_LAYERS; l++)
        for (int k = 0; k < l; k++)
            check_near(c.blocks[l][k], c.blocks[k][l], 1e-3 * largest);
    /* the matrices' part alone over its own length: not over the whole step's */
    const double q = c.blocks[1][1] + c.blocks[1][2] + c.blocks[2][1] + c.blocks[2][2];
    assert_true(fabs(c.sharpness_matrices - q / c.norm2) > 0.05 * fabs(c.sharpness_matrices));
    set_batch(net, 4);
    check_ok(lathe_step_curvature_measure(net, before, after, t.gradient, loss, &other, &err), err);
    assert_true(other.taylor_gap > 0.2);
    assert_int_equal(lathe_step_curvature_measure(net, after, after, t.gradient, loss, &other, &err),
                     LATHE_ERR_NUMERIC);
    lathe_trainer_free(&t);
    free(before);
    lathe_small_net_free(net);
}

/* Equal losses by hand: a = 2 b along the loss, b a line; points that do not lower the loss are left out. */
static void ratio_at_equal_loss(void **state) {
    (void) state;
    const double la[] = {4, 3, 3.5, 1}, a[] = {8, 6, 1000, 2}, lb[] = {5, 1.5}, b[] = {5, 1.5};
    check_near(lathe_matched_ratio(la, a, 4, 1, lb, b, 2, 1.5), 2, 1e-12);
    assert_true(isnan(lathe_matched_ratio(la, a, 4, 1, lb, b, 2, 4.5)));
}

static void three_ways_to_train(void **state) {
    (void) state;
    for (int way = 0; way < 3; way++) {
        lathe_small_net *net = net_of(true);
        lathe_error err = {0};
        lathe_trainer t;
        double first, last = 0;
        check_ok(lathe_trainer_new(net, way == 1 ? LATHE_MUON_ALL : LATHE_MUON_NONE, way == 2 ? 0.3 : 0.02,
                                   60, &t, &err),
                 err);
        if (way == 2)
            lathe_trainer_use_sgd(&t);
        t.warmup = 5;
        set_batch(net, 2);
        check_ok(lathe_small_net_loss(net, &first, NULL, &err), err);
        check_near(first, log(VOCAB), 0.1); /* small embeddings: near the uniform law */
        for (int i = 0; i < 60; i++)
            check_ok(lathe_trainer_step(&t, &last, &err), err);
        assert_true(last < 0.1);
        lathe_trainer_free(&t);
        lathe_small_net_free(net);
    }
}

static void wrong_tokens_are_refused(void **state) {
    (void) state;
    lathe_small_net *net = net_of(false);
    lathe_error err = {0};
    int32_t tokens[ROWS * CTX] = {0}, targets[ROWS * CTX] = {0};
    targets[7] = VOCAB;
    assert_int_equal(lathe_small_net_batch(net, tokens, targets, &err), LATHE_ERR_ARG);
    lathe_small_net_free(net);
    const lathe_small_shape bad = {
        .n_vocab = 4, .n_embd = 7, .n_layer = 1, .n_head = 2, .n_ff = 4, .ctx = 2, .rows = 1};
    assert_int_equal(lathe_small_net_new(&bad, &net, &err), LATHE_ERR_ARG);
}

/* Symbols of level `level` that derive the pieces below, as bits. */
static bool derives(const lathe_grammar *g, const int32_t *tokens) {
    uint32_t sets[LATHE_GRAMMAR_DEPTH + 1][LATHE_GRAMMAR_LENGTH] = {{0}};
    for (int level = LATHE_GRAMMAR_DEPTH - 1; level >= 0; level--)
        for (int i = 0; i < 1 << level; i++)
            for (int symbol = 0; symbol < LATHE_GRAMMAR_SYMBOLS; symbol++)
                for (int k = 0; k < LATHE_GRAMMAR_RULES; k++) {
                    const uint8_t *r = g->rules[level][symbol][k];
                    const bool fits =
                        level + 1 == LATHE_GRAMMAR_DEPTH
                            ? r[0] == tokens[2 * i] && r[1] == tokens[2 * i + 1]
                            : sets[level + 1][2 * i] >> r[0] & 1 && sets[level + 1][2 * i + 1] >> r[1] & 1;
                    if (fits)
                        sets[level][i] |= 1u << symbol;
                }
    return sets[0][0] & 1;
}

static void sentences_follow_the_grammar(void **state) {
    (void) state;
    lathe_grammar g;
    lathe_grammar_make(5, 1, &g);
    /* H(16) = 3.380729: the shares of the ranks at s = 1 */
    check_near(g.below[1], 1 / 3.3807289932, 1e-9);
    check_near(g.below[16] - g.below[15], 1 / 16.0 / 3.3807289932, 1e-9);
    lathe_rng rng = lathe_rng_new(6, 36, 0);
    int random_ones = 0;
    for (int i = 0; i < 200; i++) {
        int32_t sentence[LATHE_GRAMMAR_LENGTH];
        lathe_grammar_sentence(&g, &rng, sentence);
        assert_true(derives(&g, sentence));
        for (int k = 0; k < LATHE_GRAMMAR_LENGTH; k++)
            sentence[k] = (int32_t) lathe_rng_below(&rng, LATHE_GRAMMAR_TERMINALS);
        random_ones += derives(&g, sentence);
    }
    assert_int_equal(random_ones, 0); /* 16^15 rule choices of 64^16 texts: at most 1.5e-11 each */
    int32_t text[40];
    lathe_grammar_text(&g, &rng, text, 40);
    for (int i = 0; i < 40; i++)
        assert_int_equal(text[i] == LATHE_GRAMMAR_TERMINALS, i % 17 == 0);
}

/* Rank 1 is drawn with probability 1 / H(16), seen at the last level, whose rules are made to tell their
 * rank. */
static void rules_have_their_probabilities(void **state) {
    (void) state;
    enum { N = 40000 };
    lathe_grammar g;
    lathe_grammar_make(5, 1, &g);
    for (int k = 0; k < LATHE_GRAMMAR_RULES; k++) /* make the rules of the last level tell their rank */
        for (int s = 0; s < LATHE_GRAMMAR_SYMBOLS; s++)
            g.rules[LATHE_GRAMMAR_DEPTH - 1][s][k][0] = (uint8_t) k;
    int first = 0;
    lathe_rng rng = lathe_rng_new(8, 36, 0);
    for (int i = 0; i < N; i++) {
        int32_t sentence[LATHE_GRAMMAR_LENGTH];
        lathe_grammar_sentence(&g, &rng, sentence);
        first += sentence[0] == 0;
    }
    const double p = 1 / 3.3807289932; /* 5 standard errors: a false alarm below 6e-7 */
    check_near(first / (double) N, p, 5 * sqrt(p * (1 - p) / N));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradient_and_products),
        cmocka_unit_test(curvature_of_a_step),
        cmocka_unit_test(ratio_at_equal_loss),
        cmocka_unit_test(three_ways_to_train),
        cmocka_unit_test(wrong_tokens_are_refused),
        cmocka_unit_test(sentences_follow_the_grammar),
        cmocka_unit_test(rules_have_their_probabilities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
