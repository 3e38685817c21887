/* Proposers: hand-worked drafts, brute force, and what every one of them must keep. */
#include "support/check.h"

#include "decode/proposer.h"
#include "decode/suffix_automaton.h"

#include <string.h>

static int32_t drafted(const lathe_proposer *p, const lathe_proposer_params *params, const char *text,
                       int32_t n_max, char *out) {
    lathe_error err = {0};
    lathe_token_tree tree;
    void *s;
    int32_t ids[256];
    const int32_t n = (int32_t) strlen(text);
    for (int32_t i = 0; i < n; i++)
        ids[i] = (unsigned char) text[i];
    check_ok(p->create(params, &s, &err), err);
    check_ok(lathe_token_tree_init(&tree, 65, 256, &err), err);
    check_ok(p->sync(s, ids, n, &err), err);
    lathe_token_tree_start(&tree, ids[n - 1]);
    p->draft(s, n_max, &tree);
    for (int32_t i = 1; i < tree.n_nodes; i++)
        out[i - 1] = (char) tree.token[i];
    out[tree.n_nodes - 1] = 0;
    const int32_t made = tree.n_nodes - 1;
    lathe_token_tree_free(&tree);
    p->destroy(s);
    return made;
}

static void test_lookup(void **state) {
    (void) state;
    const lathe_proposer_params params = {.n_vocab = 256, .ngram_min = 1, .ngram_max = 3};
    const char *text[] = {"abcabcab", "xyzxy", "abxabyab", "abcd", "aaaa"},
               *want[] = {"cab", "zxy", "yab", "", "a"};
    char out[65];
    for (int i = 0; i < 5; i++) {
        drafted(&lathe_proposer_lookup, &params, text[i], 4, out);
        assert_string_equal(out, want[i]);
    }
}

static void test_suffix(void **state) {
    (void) state;
    lathe_proposer_params params = lathe_proposer_params_default();
    params.frequency = false;
    const char *text[] = {"abcabcab", "xyzxy", "banana", "aaaa", "abcd"},
               *want[] = {"cab", "zxy", "na", "a", ""};
    char out[65];
    for (int i = 0; i < 5; i++) {
        drafted(&lathe_proposer_suffix, &params, text[i], 64, out);
        assert_string_equal(out, want[i]);
    }
    params.frequency = true;
    drafted(&lathe_proposer_suffix, &params, "cdycdxcdyabcd", 64, out);
    assert_string_equal(out, "yab");
    drafted(&lathe_proposer_suffix, &params, "cdycdxcdycd", 64, out);
    assert_string_equal(out, "xcdycd");
}

/* Longest earlier suffix, its first end, and all counts of followers, against counting by hand. */
static void test_automaton(void **state) {
    (void) state;
    for (uint32_t trial = 0; trial < 300; trial++) {
        lathe_rng rng = lathe_rng_new(3, 36, trial);
        lathe_error err = {0};
        lathe_sam sam;
        int32_t x[120];
        const int32_t n = 120;
        check_ok(lathe_sam_init(&sam, trial % 3 ? 0 : 200, &err), err);
        for (int32_t i = 0; i < n; i++) {
            x[i] = (int32_t) lathe_rng_below(&rng, 3);
            check_ok(lathe_sam_append(&sam, x[i], &err), err);
        }
        assert_true(sam.n_states <= 2 * n - 1);
        assert_true(sam.n_edges <= 3 * n - 4);
        int32_t longest = 0, first_end = 0;
        for (int32_t end = n - 1; end >= 1; end--) {
            int32_t l = 0;
            while (l < end && x[end - 1 - l] == x[n - 1 - l])
                l++;
            if (l >= longest && l > 0) {
                longest = l;
                first_end = end;
            }
        }
        const lathe_sam_state *link = &sam.states[sam.states[sam.last].link];
        assert_int_equal(link->len, longest);
        assert_int_equal(link->first_end, first_end);
        for (int32_t look = 0; look < 40; look++) {
            const int32_t from = (int32_t) lathe_rng_below(&rng, 110),
                          len = 1 + (int32_t) lathe_rng_below(&rng, 6);
            int32_t v = 0, counts[3] = {0};
            for (int32_t i = from; i < from + len; i++)
                v = sam.edges[lathe_sam_edge_of(&sam, v, x[i])].to;
            for (int32_t at = 0; at + len < n; at++)
                if (memcmp(x + at, x + from, (size_t) len * sizeof *x) == 0)
                    counts[x[at + len]]++;
            for (int32_t t = 0; t < 3; t++) {
                const int32_t e = lathe_sam_edge_of(&sam, v, t);
                assert_int_equal(e < 0 ? 0 : sam.states[sam.edges[e].to].count, counts[t]);
            }
        }
        lathe_sam_free(&sam);
    }
}

static void test_recycle(void **state) {
    (void) state;
    lathe_error err = {0};
    lathe_proposer_params params = lathe_proposer_params_default();
    lathe_token_tree tree;
    void *s;
    params.n_vocab = 10;
    params.recycle_k = 2;
    check_ok(lathe_proposer_recycle.create(&params, &s, &err), err);
    check_ok(lathe_token_tree_init(&tree, 81, 10, &err), err);
    lathe_token_tree_start(&tree, 1);
    lathe_proposer_recycle.draft(s, 80, &tree);
    assert_int_equal(tree.n_nodes, 1); /* knows nothing yet */
    const int32_t token[] = {1, 2, 1}, top[] = {5, 6, 3, 4, 2, 7};
    lathe_proposer_recycle.learn(s, token, top, 3, 2);
    lathe_proposer_recycle.draft(s, 80, &tree);
    /* 1 -> {2, 7} (the later row wins), 2 -> {3, 4}. */
    assert_int_equal(tree.n_nodes, 5);
    assert_int_equal(tree.token[1], 2);
    assert_int_equal(tree.token[2], 7);
    assert_true(lathe_token_tree_child(&tree, 1, 3) > 0 && lathe_token_tree_child(&tree, 1, 4) > 0);
    lathe_token_tree_free(&tree);
    lathe_proposer_recycle.destroy(s);
}

/* Conformance: random sequences that grow, shrink and change; limits are kept, tokens are ids, memory is
 * whole. */
static void test_all(void **state) {
    (void) state;
    for (size_t i = 0; i < lathe_n_proposers; i++) {
        const lathe_proposer *p = lathe_proposers[i], *found;
        if (p->slow)
            continue; /* they need a model */
        lathe_error err = {0};
        lathe_proposer_params params = lathe_proposer_params_default();
        lathe_token_tree tree;
        void *s;
        params.n_vocab = 7;
        check_ok(lathe_proposer_find(p->name, &found, NULL, &err), err);
        assert_ptr_equal(found, p);
        check_ok(p->create(&params, &s, &err), err);
        check_ok(lathe_token_tree_init(&tree, 33, 7, &err), err);
        int32_t ids[2000], n = 1, made = 0;
        lathe_rng rng = lathe_rng_new(9, 36, (uint32_t) i);
        check_ok(p->sync(s, ids, 0, &err), err); /* an empty history is no failure */
        lathe_token_tree_start(&tree, 0);
        p->draft(s, 8, &tree);
        ids[0] = 0;
        for (int32_t round = 0; round < 300; round++) {
            const int32_t more = 1 + (int32_t) lathe_rng_below(&rng, 5);
            for (int32_t k = 0; k < more; k++, n++)
                ids[n] = n > 60 && n % 40 < 38 ? ids[n - 37] : (int32_t) lathe_rng_below(&rng, 7);
            if (lathe_rng_below(&rng, 20) == 0)
                n = 1 + (int32_t) lathe_rng_below(&rng, (uint64_t) n);
            check_ok(p->sync(s, ids, n, &err), err);
            check_ok(p->sync(s, ids, n, &err), err);
            if (p->learn)
                p->learn(s, ids, (const int32_t[]){1, 2, 3, 4, 5, 6, 0, 1, 9, -3, 2, 1}, 2, 6);
            const int32_t n_max = (int32_t) lathe_rng_below(&rng, 20);
            lathe_token_tree_start(&tree, ids[n - 1]);
            p->draft(s, n_max, &tree);
            assert_in_range(tree.n_nodes, 1, n_max + 1);
            made += tree.n_nodes - 1;
            for (int32_t k = 1; k < tree.n_nodes; k++) {
                assert_in_range(tree.token[k], 0, 6);
                assert_in_range(tree.parent[k], 0, k - 1);
            }
            if (!p->trees)
                assert_true(lathe_token_tree_is_chain(&tree));
        }
        assert_true(made > 0);
        lathe_token_tree_free(&tree);
        p->destroy(s);
        p->destroy(NULL);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lookup), cmocka_unit_test(test_suffix),
                                       cmocka_unit_test(test_automaton), cmocka_unit_test(test_recycle),
                                       cmocka_unit_test(test_all)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
