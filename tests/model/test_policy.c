/* test_policy.c - cache policies: rings of rows against masked full attention, against the numbers of
 * attention.md C.h, and against a slow model; what is refused. */
#include "support/check.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ggml-cpu.h>

#include "lathe/model.h"
#include "model/build.h"
#include "model/kv.h"
#include "model/model_impl.h"

static lathe_error err;

static lathe_model *load(void) {
    lathe_model *m;
    check_ok(lathe_model_load(need_shared("models/stories260K-f32.gguf"), NULL, &m, &err), err);
    return m;
}

static lathe_context_params params(const char *policy, int32_t n_batch) {
    lathe_context_params p = lathe_context_params_default();
    p.type_k = p.type_v = LATHE_CACHE_F32;
    p.n_threads = 1;
    p.n_ctx = 512;
    p.n_batch = n_batch;
    p.policy = policy;
    return p;
}

static lathe_context *make(const lathe_model *m, const char *policy, int32_t n_batch, int32_t n_seq) {
    lathe_context_params p = params(policy, n_batch);
    lathe_context *c;
    p.n_seq_max = n_seq;
    check_ok(lathe_context_new(m, &p, &c, &err), err);
    return c;
}

/* The reference text of attention.md 0.4. */
static int32_t ref200(int32_t *ids) {
    json_t *all = json_load_file(need_shared("models/reference/stories260K-f32.json"), 0, NULL);
    json_t *list = json_object_get(all, "story_ids");
    int32_t n = (int32_t) json_array_size(list);
    assert_int_equal(n, 200);
    for (int32_t i = 0; i < n; i++)
        ids[i] = (int32_t) json_integer_value(json_array_get(list, (size_t) i));
    json_decref(all);
    return n;
}

/* Logits of every token, in pieces of n_piece; free() it. */
static float *logits_of(lathe_context *c, const int32_t *ids, int32_t n, int32_t n_piece) {
    size_t V = (size_t) lathe_model_n_vocab(lathe_context_model(c));
    float *out = malloc((size_t) n * V * sizeof *out);
    uint8_t want[512];
    memset(want, 1, sizeof want);
    for (int32_t i = 0; i < n; i += n_piece) {
        lathe_batch b = {.tokens = ids + i, .n_tokens = n - i < n_piece ? n - i : n_piece, .want = want};
        check_ok(lathe_context_decode(c, &b, &err), err);
        for (int32_t j = 0; j < b.n_tokens; j++)
            memcpy(out + (size_t) (i + j) * V, lathe_context_logits(c, j), V * sizeof *out);
    }
    return out;
}

static double worst(const float *a, const float *b, size_t n) {
    double most = 0.0;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, fabs((double) a[i] - (double) b[i]));
    return most;
}

/* Mean negative log likelihood of the tokens behind positions [from, to). */
static double nll(const float *logits, const int32_t *ids, size_t V, int32_t from, int32_t to) {
    double sum = 0.0;
    for (int32_t t = from; t < to; t++) {
        const float *x = logits + (size_t) t * V;
        double total = 0.0;
        for (size_t i = 0; i < V; i++)
            total += exp((double) x[i]);
        sum += log(total) - (double) x[ids[t + 1]];
    }
    return sum / (to - from);
}

/* --- Against explicit attention with a mask ------------------------------------------------------ */

/* All logits of a pass without a cache. */
static float *masked(const lathe_model *m, const int32_t *ids, int32_t n, int32_t sink, int32_t recent) {
    size_t n_nodes = lathe_build_n_nodes(&m->desc, true) + 64, V = (size_t) m->desc.n_vocab;
    struct ggml_context *ctx = ggml_init((struct ggml_init_params){.mem_size = (size_t) 512 << 20});
    struct ggml_cgraph *gf = ggml_new_graph_custom(ctx, n_nodes, false);
    struct ggml_tensor *tokens = ggml_new_tensor_1d(ctx, GGML_TYPE_I32, n),
                       *pos = ggml_new_tensor_1d(ctx, GGML_TYPE_I32, n);
    struct ggml_tensor *mask = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, n, n);
    for (int32_t i = 0; i < n; i++) {
        ((int32_t *) tokens->data)[i] = ids[i];
        ((int32_t *) pos->data)[i] = i;
        for (int32_t j = 0; j < n; j++)
            ((float *) mask->data)[i * n + j] = j <= i && (j < sink || i - j < recent) ? 0.0f : -INFINITY;
    }
    lathe_build b = {.ctx = ctx,
                     .gf = gf,
                     .desc = &m->desc,
                     .w = &m->weights.by_role,
                     .gelu = LATHE_GELU_EXACT,
                     .plain = true,
                     .tokens = tokens,
                     .pos = pos,
                     .mask = mask,
                     .n_tokens = n,
                     .n_seqs = 1};
    lathe_build_graph(&b);
    assert_int_equal(ggml_graph_compute_with_ctx(ctx, gf, 1), GGML_STATUS_SUCCESS);
    float *out = malloc((size_t) n * V * sizeof *out);
    memcpy(out, b.logits->data, (size_t) n * V * sizeof *out);
    ggml_free(ctx);
    return out;
}

static void rings_equal_masked_full_attention(void **state) {
    /* In pieces of any size, so that rows are given away in the middle of batches and between them. */
    (void) state;
    lathe_model *m = load();
    int32_t ids[256], n = ref200(ids);
    size_t V = (size_t) lathe_model_n_vocab(m);
    static const struct {
        const char *policy;
        int32_t sink, recent;
    } rules[] = {{"stream:4,32", 4, 32},
                 {"stream:0,17", 0, 17},
                 {"window:1", 0, 1},
                 {"stream:70,5", 70, 5},
                 {"stream:1,500", 1, 500}};
    static const int32_t pieces[] = {1, 7, 16};
    for (size_t r = 0; r < LATHE_LEN(rules); r++) {
        float *expected = masked(m, ids, n, rules[r].sink, rules[r].recent);
        for (size_t p = 0; p < LATHE_LEN(pieces); p++) {
            lathe_context *c = make(m, rules[r].policy, 16, 1);
            float *got = logits_of(c, ids, n, pieces[p]);
            assert_true(worst(got, expected, (size_t) n * V) < 1e-3);
            free(got);
            lathe_context_free(c);
        }
        free(expected);
    }
    lathe_model_free(m);
}

static void reference_numbers_of_a_ring(void **state) {
    /* attention.md C.h.9: decoded token by token; a cache that renumbers positions gives 4.25 instead
     * of 1.46. */
    (void) state;
    lathe_model *m = load();
    int32_t ids[256], n = ref200(ids);
    size_t V = (size_t) lathe_model_n_vocab(m);
    lathe_context *c = make(m, "stream:4,32", 8, 1), *full = make(m, NULL, 8, 1);
    float *got = logits_of(c, ids, n, 1), *all = logits_of(full, ids, n, 1);
    check_near(nll(got, ids, V, 35, n - 1), 1.463180, 2e-3);
    check_near(nll(got, ids, V, 0, 35), 0.989476, 2e-3);
    check_near(nll(all, ids, V, 35, n - 1), 1.305716, 2e-3);
    check_near(nll(all, ids, V, 0, 35), 0.989476, 2e-3);
    assert_true(lathe_context_cache_bytes(c) < lathe_context_cache_bytes(full) / 4);
    free(got);
    free(all);
    lathe_context_free(c);
    lathe_context_free(full);
    lathe_model_free(m);
}

static void ggml_gives_the_same(void **state) {
    /* Where our kernel does not run, rows are gathered. */
    (void) state;
    lathe_model *m = load();
    int32_t ids[256], n = ref200(ids);
    size_t V = (size_t) lathe_model_n_vocab(m);
    setenv("LATHE_CPU", "ggml", 1);
    lathe_model *other = load();
    unsetenv("LATHE_CPU");
    for (int flash = 0; flash < 2; flash++) {
        lathe_context_params p = params("stream:4,32", 8);
        p.flash = flash;
        lathe_context *c = make(m, "stream:4,32", 8, 1), *o;
        check_ok(lathe_context_new(other, &p, &o, &err), err);
        float *a = logits_of(c, ids, n, 5), *b = logits_of(o, ids, n, 5);
        assert_true(worst(a, b, (size_t) n * V) < 1e-3);
        free(a);
        free(b);
        lathe_context_free(c);
        lathe_context_free(o);
    }
    lathe_model_free(m);
    lathe_model_free(other);
}

/* --- Sequences and trees ------------------------------------------------------------------------- */

static void rollback_reaches_as_far_as_rows_are_kept(void **state) {
    (void) state;
    lathe_model *m = load();
    int32_t ids[256], n = ref200(ids);
    size_t V = (size_t) lathe_model_n_vocab(m);
    lathe_context *c = make(m, "stream:4,32", 8, 3);
    float *first = logits_of(c, ids, n, 4);
    for (int32_t back = 1; back <= 60; back += 13) { /* the last tokens again */
        check_ok(lathe_context_rollback(c, 0, n - back, &err), err);
        float *again = logits_of(c, ids + n - back, back, 3);
        assert_true(worst(again, first + (size_t) (n - back) * V, (size_t) back * V) < 1e-4);
        free(again);
    }
    /* A copy goes on as its origin does. */
    check_ok(lathe_context_copy(c, 0, 2, n - 5, &err), err);
    int32_t seq[5] = {2, 2, 2, 2, 2};
    lathe_batch b = {.tokens = ids + n - 5, .n_tokens = 5, .seq = seq};
    check_ok(lathe_context_decode(c, &b, &err), err);
    assert_true(worst(lathe_context_logits(c, -1), first + (size_t) (n - 1) * V, V) < 1e-4);
    /* Another sequence needs the rows that this one does not see any more. */
    for (int32_t i = 0; i < n; i += 5) {
        seq[0] = seq[1] = seq[2] = seq[3] = seq[4] = 1;
        b = (lathe_batch){.tokens = ids + i, .n_tokens = 5, .seq = seq};
        check_ok(lathe_context_decode(c, &b, &err), err);
    }
    assert_true(worst(lathe_context_logits(c, -1), first + (size_t) (n - 1) * V, V) < 1e-4);
    assert_int_equal(lathe_context_rollback(c, 0, 20, &err), LATHE_ERR_UNSUPPORTED);
    assert_int_equal(lathe_context_n_past(c, 0), n);
    assert_int_equal(lathe_context_shift(c, 0, 1, 2, &err), LATHE_ERR_UNSUPPORTED);
    lathe_context_clear(c, -1);
    float *again = logits_of(c, ids, n, 8);
    assert_true(worst(again, first, (size_t) n * V) < 1e-4);
    free(again);
    free(first);
    lathe_context_free(c);
    lathe_model_free(m);
}

static void trees_see_windows_too(void **state) {
    (void) state;
    lathe_model *m = load();
    int32_t ids[256], n = ref200(ids), V = lathe_model_n_vocab(m);
    const int32_t parent[] = {-1, 0, 0, 1, 2, 2, 4, 6, 7}, path[] = {0, 2, 4, 6, 7, 8};
    const uint8_t want[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    static const char *const policies[] = {"stream:4,32", "window:3", "stream:2,4"};
    for (size_t p = 0; p < LATHE_LEN(policies); p++) {
        lathe_context *c = make(m, policies[p], 16, 1), *plain = make(m, policies[p], 16, 1);
        for (int32_t past = 0; past + 20 < n; past += 60) {
            lathe_context_clear(c, -1);
            lathe_context_clear(plain, -1);
            if (past > 0) {
                free(logits_of(c, ids, past, 16));
                free(logits_of(plain, ids, past, 16));
            }
            lathe_batch tree = {.tokens = ids + past, .n_tokens = 9, .parent = parent, .want = want};
            check_ok(lathe_context_decode(c, &tree, &err), err);
            for (int32_t i = 0; i < 6; i++) {
                lathe_batch b = {.tokens = ids + past + path[i], .n_tokens = 1};
                check_ok(lathe_context_decode(plain, &b, &err), err);
                assert_true(worst(lathe_context_logits(c, path[i]), lathe_context_logits(plain, -1),
                                  (size_t) V) < 1e-4);
            }
            check_ok(lathe_context_keep_path(c, path, 6, &err), err);
            float *a = logits_of(c, ids + past + 9, 8, 3), *b = logits_of(plain, ids + past + 9, 8, 8);
            assert_true(worst(a, b, (size_t) (8 * V)) < 1e-4);
            free(a);
            free(b);
        }
        lathe_context_free(c);
        lathe_context_free(plain);
    }
    lathe_model_free(m);
}

/* --- The table against a slow model -------------------------------------------------------------- */

static void views_equal_a_slow_model(void **state) {
    /* Random batches, rollbacks, copies and ends of sequences: every token sees each position that the rule
     * names exactly once, in a row that holds it, and nothing else. */
    (void) state;
    enum { SEQS = 3, BATCH = 12, STEPS = 1500, CTX = 100000 };
    static int32_t held[SEQS][CTX]; /* the value of a position: what was last written there */
    static int32_t row_value[4096], entries[1 << 16];
    static uint16_t mask[BATCH << 16];
    lathe_rng rng = lathe_rng_new(31, 0, 0);
    static const lathe_kv_rule rules[] = {
        {LATHE_KV_STREAM, 4, 32}, {LATHE_KV_STREAM, 0, 1}, {LATHE_KV_STREAM, 100, 600}};
    for (size_t r = 0; r < LATHE_LEN(rules); r++) {
        lathe_kv_stream s;
        check_ok(lathe_kv_stream_new(&rules[r], CTX, SEQS, BATCH, &s, &err), err);
        assert_true(s.cells.n_rows <= SEQS * (rules[r].sink + rules[r].recent + LATHE_KV_SLACK) + BATCH);
        int32_t length[SEQS] = {0}, high[SEQS] = {0}, value = 1;
        for (int step = 0; step < STEPS; step++) {
            int32_t a = (int32_t) lathe_rng_below(&rng, SEQS), what = (int32_t) lathe_rng_below(&rng, 12);
            if (what == 0 && length[a] > 0) {
                int32_t to = length[a] - (int32_t) lathe_rng_below(&rng, 80);
                if (to >= 0 && lathe_kv_stream_reaches(&s, a, to)) {
                    assert_true(lathe_kv_stream_rollback(&s, a, to));
                    length[a] = to;
                } else { /* no farther than the slack, else everything is there */
                    assert_true(to < 0 || high[a] - to > LATHE_KV_SLACK - BATCH);
                }
            } else if (what == 1) {
                int32_t b = (int32_t) lathe_rng_below(&rng, SEQS);
                lathe_kv_stream_copy(&s, a, b, length[a]);
                length[b] = length[a];
                high[b] = high[a];
                memmove(held[b], held[a], (size_t) length[a] * sizeof(int32_t));
            } else if (what == 2 && step % 50 == 0) {
                (void) lathe_kv_stream_rollback(&s, a, 0);
                length[a] = high[a] = 0;
            }
            int32_t n = 1 + (int32_t) lathe_rng_below(&rng, BATCH), seq[BATCH], pos[BATCH];
            for (int32_t i = 0; i < n; i++) {
                seq[i] = (int32_t) lathe_rng_below(&rng, 2) == 0 ? a : (a + 1) % SEQS;
                pos[i] = length[seq[i]]++;
                held[seq[i]][pos[i]] = value + i;
                high[seq[i]] = length[seq[i]] > high[seq[i]] ? length[seq[i]] : high[seq[i]];
            }
            assert_true(lathe_kv_stream_place(&s, seq, pos, n));
            for (int32_t i = 0; i < n; i++)
                row_value[s.rows[i]] = value + i;
            value += n;
            int32_t n_entries = lathe_kv_stream_n_entries(&s, seq, pos, NULL, n);
            assert_true(n_entries <= 1 << 16);
            lathe_kv_stream_view(&s, seq, pos, NULL, n, n_entries, entries, mask);
            for (int32_t t = 0; t < n; t++) {
                int32_t n_seen = 0, n_right = 0;
                int64_t sum_seen = 0, sum_right = 0;
                for (int32_t e = 0; e < n_entries; e++)
                    if (mask[(size_t) t * (size_t) n_entries + (size_t) e] == 0) {
                        n_seen++;
                        sum_seen += (int64_t) row_value[entries[e]] * row_value[entries[e]];
                    }
                for (int32_t p = 0; p <= pos[t]; p++)
                    if (p < rules[r].sink || pos[t] - p < rules[r].recent) {
                        n_right++;
                        sum_right += (int64_t) held[seq[t]][p] * held[seq[t]][p];
                    }
                assert_int_equal(n_seen, n_right);
                assert_true(sum_seen == sum_right);
            }
        }
        lathe_kv_stream_free(&s);
    }
}

/* --- Files and what is refused ------------------------------------------------------------------- */

static const char *write_policy(const char *text) {
    static char path[64];
    snprintf(path, sizeof path, "/tmp/lathe-policy-%ld.json", (long) getpid());
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    return path;
}

static void files_give_layers_their_rules(void **state) {
    (void) state;
    lathe_model *m = load();
    int32_t ids[256], n = ref200(ids);
    size_t V = (size_t) lathe_model_n_vocab(m);
    /* C.h.5: one layer (0) streams: a small loss; all of them by a file are all of them by a rule. */
    const char *path = write_policy(
        "{\"format\":\"lathe-policy\",\"version\":1,\"model\":{\"arch\":\"llama\",\"n_layer\":5},"
        "\"default\":{\"kind\":\"stream\",\"sink\":4,\"recent\":32}}");
    lathe_context *by_file = make(m, path, 8, 1), *by_rule = make(m, "stream:4,32", 8, 1);
    float *a = logits_of(by_file, ids, n, 5), *b = logits_of(by_rule, ids, n, 5);
    assert_memory_equal(a, b, (size_t) n * V * sizeof *a);
    lathe_context_free(by_file);
    int64_t all_bytes = lathe_context_cache_bytes(by_rule);
    lathe_context_free(by_rule);
    path =
        write_policy("{\"format\":\"lathe-policy\",\"version\":1,\"layers\":[{\"layer\":4,\"kind\":\"full\"},"
                     "{\"layer\":1,\"kind\":\"stream\",\"sink\":4,\"recent\":32},"
                     "{\"layer\":3,\"kind\":\"stream\",\"sink\":1,\"recent\":40}]}");
    lathe_context *mixed = make(m, path, 8, 1), *full = make(m, NULL, 8, 1);
    float *c = logits_of(mixed, ids, n, 5), *d = logits_of(full, ids, n, 5);
    double loss = nll(c, ids, V, 35, n - 1) - nll(d, ids, V, 35, n - 1);
    assert_true(fabs(loss) > 1e-4 && loss < 0.05);
    assert_true(lathe_context_cache_bytes(mixed) > all_bytes &&
                lathe_context_cache_bytes(mixed) < lathe_context_cache_bytes(full));
    free(a);
    free(b);
    free(c);
    free(d);
    lathe_context_free(mixed);
    lathe_context_free(full);
    remove(path);
    lathe_model_free(m);
}

static void refused(void **state) {
    (void) state;
    lathe_model *m = load();
    static const struct {
        const char *policy, *message;
        bool is_file;
    } cases[] = {
        {"stream:4", "full, window:ROWS", false},
        {"stream:4,", "full, window:ROWS", false},
        {"stream:-1,4", "full, window:ROWS", false},
        {"window:0", "the token itself", false},
        {"stream:0,0", "the token itself", false},
        {"stream:300,4", "0 to 256", false},
        {"window:99999999999999999999", "is right", false},
        {"lazy", "full, window:ROWS", false},
        {"{\"format\":\"lathe-policy\",\"version\":1,\"model\":{\"n_layer\":6}}",
         "policy is for 6 layers, model has 5", true},
        {"{\"format\":\"lathe-policy\",\"version\":1,\"layers\":[{\"layer\":5,\"kind\":\"full\"}]}", "0 to 4",
         true},
        {"{\"format\":\"lathe-policy\",\"version\":1,\"layers\":[{\"layer\":1,\"kind\":\"full\"},{\"layer\":"
         "1,\"kind\":\"full\"}]}",
         "two rules", true},
        {"{\"format\":\"lathe-policy\",\"version\":1,\"typo\":1}", "unknown key 'typo'", true},
        {"{\"format\":\"lathe-policy\",\"version\":1,\"default\":{\"kind\":\"magic\"}}", "full and stream",
         true},
        {"{\"format\":\"lathe-policy\",\"version\":1,\"default\":{\"kind\":\"stream\",\"recent\":-3}}",
         "whole number", true},
        {"{\"format\":\"other\",\"version\":1}", "no cache policy", true},
        {"[]", "no JSON object", true},
    };
    for (size_t i = 0; i < LATHE_LEN(cases); i++) {
        lathe_context *c;
        lathe_context_params p =
            params(cases[i].is_file ? write_policy(cases[i].policy) : cases[i].policy, 8);
        assert_int_not_equal(lathe_context_new(m, &p, &c, &err), LATHE_OK);
        if (strstr(err.text, cases[i].message) == NULL)
            fail_msg("%s: %s", cases[i].policy, err.text);
    }
    remove(write_policy(""));
    lathe_context *c;
    lathe_context_params p = params("window:9", 8);
    p.exact = true;
    assert_int_equal(lathe_context_new(m, &p, &c, &err), LATHE_ERR_UNSUPPORTED);
    lathe_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rings_equal_masked_full_attention),
        cmocka_unit_test(reference_numbers_of_a_ring),
        cmocka_unit_test(ggml_gives_the_same),
        cmocka_unit_test(rollback_reaches_as_far_as_rows_are_kept),
        cmocka_unit_test(trees_see_windows_too),
        cmocka_unit_test(views_equal_a_slow_model),
        cmocka_unit_test(files_give_layers_their_rules),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
