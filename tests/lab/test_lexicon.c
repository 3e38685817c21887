/* The lexicalised grammar against the numbers of its specification. Counts may miss their expectation by 6
 * standard deviations (a false alarm below 1e-8 each); the seed is fixed. */
#include "support/check.h"

#include <math.h>
#include <stdlib.h>

#include "base/rng_purpose.h"
#include "lab/lexicon.h"

enum { TOKENS = 600000 };

static void near_share(double count, double n, double p) {
    const double sd = sqrt(n * p * (1 - p));
    if (!(fabs(count - n * p) <= 6 * sd))
        fail_msg("%.0f of %.0f, expected %.1f, standard deviation %.1f", count, n, n * p, sd);
}

static int class_of(const lathe_lexicon *l, int32_t id) {
    int c = LATHE_CLASSES - 1;
    while (c >= 0 && id < l->first[c])
        c--;
    return c; /* -1: the full stop */
}

static void shares(void **state) {
    (void) state;
    static int32_t text[TOKENS];
    static lathe_lexicon l;
    lathe_rng rng = lathe_rng_new(1, LATHE_RNG_LAB_DATA, 4);
    lathe_lexicon_make(1, 1, false, &l);
    assert_int_equal(l.n_vocab, 273);
    lathe_lexicon_text(&l, &rng, text, TOKENS);
    double of_class[LATHE_CLASSES + 1] = {0}, first_d = 0;
    for (int i = 0; i < TOKENS; i++) {
        assert_true(text[i] >= 0 && text[i] < l.n_vocab);
        of_class[class_of(&l, text[i]) + 1]++;
        first_d += text[i] == l.first[LATHE_CLASS_D];
    }
    /* D 1.6, N 2.0, V 1, A 0.6, P 0.2 a sentence of 6.4 tokens, which end in a stop. */
    const double sentences = of_class[0], share[LATHE_CLASSES] = {1.6, 0.6, 2.0, 1, 0.2};
    check_near(sentences / TOKENS, 0.15625, 6 * 0.15625 * 2.2 / 6.4 / sqrt(TOKENS * 0.15625));
    for (int c = 0; c < LATHE_CLASSES; c++)
        check_near(of_class[c + 1] / sentences, share[c], 6 * sqrt(1.0 / sentences));
    near_share(first_d, of_class[LATHE_CLASS_D + 1], .3679369);
}

/* "D0 N0 V(partner of N0, rank 0) .": 0.5 * .3679369 * .1840554 * (.7 + .3 * .2107974) * .2, where N0's
 * partner is the first verb. */
static void a_sentence(void **state) {
    (void) state;
    enum { N = 400000 };
    static lathe_lexicon l;
    lathe_rng rng = lathe_rng_new(2, LATHE_RNG_LAB_DATA, 4);
    lathe_lexicon_make(1, 1, false, &l);
    assert_int_equal(l.verb_of[0], 0); /* the first octave has one rank */
    int32_t out[LATHE_LEXICON_SENTENCE_MAX], longest = 0;
    double found = 0;
    for (int i = 0; i < N; i++) {
        const int32_t n = lathe_lexicon_sentence(&l, &rng, out);
        longest = n > longest ? n : longest;
        found += n == 4 && out[0] == l.first[LATHE_CLASS_D] && out[1] == l.first[LATHE_CLASS_N] &&
                 out[2] == l.first[LATHE_CLASS_V] && out[3] == 0;
    }
    near_share(found, N, .00516872);
    assert_int_equal(longest, 3 + 1 + 3 + 1 + 3 + 1);
}

/* At s = 0 words are alike: the law of a noun behind its adjective is .3 / 128 and .7 more for the partner.
 * Partners do not depend on s, and stay in their octaves. */
static void selection(void **state) {
    (void) state;
    enum { N = 400000 };
    static lathe_lexicon l, other;
    lathe_rng rng = lathe_rng_new(3, LATHE_RNG_LAB_DATA, 4);
    lathe_lexicon_make(5, 0, false, &l);
    lathe_lexicon_make(5, 1, false, &other);
    int32_t out[LATHE_LEXICON_SENTENCE_MAX];
    double pairs = 0, partners = 0;
    for (int i = 0; i < N; i++) {
        const int32_t n = lathe_lexicon_sentence(&l, &rng, out);
        for (int32_t k = 0; k + 1 < n; k++)
            if (class_of(&l, out[k]) == LATHE_CLASS_A) {
                pairs++;
                partners += out[k + 1] - l.first[LATHE_CLASS_N] == l.noun_of[out[k] - l.first[LATHE_CLASS_A]];
            }
    }
    near_share(partners, pairs, .7 + .3 / 128);
    for (int i = 0; i < 64; i++) {
        assert_int_equal(l.noun_of[i], other.noun_of[i]);
        const int near = 2 * i;
        assert_int_equal(ilogb(near + 1), ilogb(l.noun_of[i] + 1));
    }
    lathe_lexicon_make(5, 1, true, &l);
    assert_int_equal(l.n_vocab, 1089);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(shares), cmocka_unit_test(a_sentence),
                                       cmocka_unit_test(selection)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
