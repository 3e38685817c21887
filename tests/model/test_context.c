/* test_context.c - caches: splits, rollback, copies, shifts, trees, types, sessions, taps, and what is
 * refused. */
#include "support/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lathe/model.h"
#include "model/gguf_write.h"
#include "model/kv.h"
#include "model/model_impl.h"
#include "model/synth.h"
#include "tensor/device.h"

static lathe_error err;
enum { N = 96 };

/* --- Help ---------------------------------------------------------------------------------------- */

static lathe_model *load(const char *path) {
    lathe_model *m;
    check_ok(lathe_model_load(path, NULL, &m, &err), err);
    return m;
}

static lathe_context *make(const lathe_model *m, lathe_cache_type type, int32_t flash, bool exact,
                           int32_t n_seq, int32_t n_batch) {
    lathe_context_params p = lathe_context_params_default();
    p.type_k = p.type_v = type;
    p.flash = flash;
    p.exact = exact;
    p.n_threads = 1;
    p.n_ctx = 256;
    p.n_seq_max = n_seq;
    p.n_batch = n_batch;
    lathe_context *c;
    check_ok(lathe_context_new(m, &p, &c, &err), err);
    return c;
}

static void some_ids(const lathe_model *m, int32_t *ids, int32_t n, uint64_t seed) {
    lathe_rng rng = lathe_rng_new(seed, 0, 0);
    for (int32_t i = 0; i < n; i++)
        ids[i] = (int32_t) lathe_rng_below(&rng, (uint64_t) lathe_model_n_vocab(m));
}

static void add(lathe_context *c, const int32_t *ids, int32_t n, int32_t seq) {
    int32_t seqs[N];
    for (int32_t i = 0; i < n; i++)
        seqs[i] = seq;
    lathe_batch b = {.tokens = ids, .n_tokens = n, .seq = seqs};
    check_ok(lathe_context_decode(c, &b, &err), err);
}

/* Largest difference, relative to the largest value. */
static double differ(const float *a, const float *b, int32_t n) {
    double worst = 0.0, size = 0.0;
    for (int32_t i = 0; i < n; i++) {
        worst = fmax(worst, fabs((double) a[i] - (double) b[i]));
        size = fmax(size, fabs((double) b[i]));
    }
    return worst / size;
}

static float *copy_logits(const lathe_context *c) {
    size_t n = (size_t) lathe_model_n_vocab(lathe_context_model(c));
    float *x = malloc(n * sizeof *x);
    memcpy(x, lathe_context_logits(c, -1), n * sizeof *x);
    return x;
}

static const char *stories(void) {
    return need_shared("models/stories260K-f32.gguf");
}

/* --- Splits -------------------------------------------------------------------------------------- */

static void random_splits(const char *path, lathe_cache_type type, int32_t flash, bool exact, double tol) {
    lathe_model *m = load(path);
    lathe_context *c = make(m, type, flash, exact, 1, 0);
    int32_t ids[N], n_vocab = lathe_model_n_vocab(m);
    some_ids(m, ids, N, 5);
    add(c, ids, N, 0);
    float *whole = copy_logits(c);
    lathe_rng rng = lathe_rng_new(7, 0, 0);
    for (int trial = 0; trial < 6; trial++) {
        lathe_context_clear(c, -1);
        for (int32_t at = 0; at < N;) {
            int32_t n = trial == 0 ? 1 : 1 + (int32_t) lathe_rng_below(&rng, trial < 3 ? 5 : 70);
            n = n < N - at ? n : N - at;
            add(c, ids + at, n, 0);
            at += n;
        }
        if (exact)
            assert_memory_equal(lathe_context_logits(c, -1), whole, (size_t) n_vocab * sizeof(float));
        else
            assert_true(differ(lathe_context_logits(c, -1), whole, n_vocab) <= tol);
    }
    free(whole);
    lathe_context_free(c);
    lathe_model_free(m);
}

static void splits_agree(void **state) {
    (void) state;
    random_splits(stories(), LATHE_CACHE_F32, 1, false, 1e-5);
    random_splits(stories(), LATHE_CACHE_F32, 0, false, 1e-5);
    random_splits(stories(), LATHE_CACHE_F16, 1, false, 1e-2);
}

static void exact_splits_are_the_same_bits(void **state) {
    (void) state;
    random_splits(stories(), LATHE_CACHE_F32, 1, true, 0.0);
    random_splits(stories(), LATHE_CACHE_F16, 1, true, 0.0);
}

static void flash_equals_explicit(void **state) {
    (void) state;
    lathe_model *m = load(stories());
    int32_t ids[N];
    some_ids(m, ids, N, 9);
    const struct {
        lathe_cache_type type;
        double tol;
    } cases[] = {{LATHE_CACHE_F32, 1e-5}, {LATHE_CACHE_F16, 1e-2}};
    for (size_t i = 0; i < LATHE_LEN(cases); i++) {
        lathe_context *a = make(m, cases[i].type, 1, false, 1, 0),
                      *b = make(m, cases[i].type, 0, false, 1, 0);
        add(a, ids, N, 0);
        add(b, ids, N, 0);
        assert_true(differ(lathe_context_logits(a, -1), lathe_context_logits(b, -1),
                           lathe_model_n_vocab(m)) <= cases[i].tol);
        lathe_context_free(a);
        lathe_context_free(b);
    }
    lathe_model_free(m);
}

/* --- Sequences ----------------------------------------------------------------------------------- */

static void rollback_and_copy(void **state) {
    (void) state;
    lathe_model *m = load(stories());
    lathe_context *c = make(m, LATHE_CACHE_F32, -1, true, 3, 0);
    int32_t ids[N], other[20], n_vocab = lathe_model_n_vocab(m);
    some_ids(m, ids, N, 11);
    some_ids(m, other, 20, 12);
    add(c, ids, 60, 0);
    float *never = copy_logits(c);
    lathe_context_clear(c, 0);
    add(c, ids, 40, 0);
    add(c, other, 20, 0);
    check_ok(lathe_context_rollback(c, 0, 40, &err), err);
    assert_int_equal(lathe_context_n_past(c, 0), 40);
    add(c, ids + 40, 20, 0);
    assert_memory_equal(lathe_context_logits(c, -1), never, (size_t) n_vocab * sizeof(float));
    /* A copy shares rows: it goes its own way and the first is not changed. */
    check_ok(lathe_context_copy(c, 0, 1, 40, &err), err);
    add(c, other, 20, 1);
    add(c, ids + 40, 1, 2);
    check_ok(lathe_context_rollback(c, 0, 59, &err), err);
    add(c, ids + 59, 1, 0);
    assert_true(differ(lathe_context_logits(c, -1), never, n_vocab) <= 1e-5);
    check_ok(lathe_context_rollback(c, 1, 40, &err), err);
    add(c, ids + 40, 20, 1);
    assert_true(differ(lathe_context_logits(c, -1), never, n_vocab) <= 1e-5);
    assert_int_equal(lathe_context_n_past(c, 2), 1);
    free(never);
    lathe_context_free(c);
    lathe_model_free(m);
}

/* After a shift the tokens stand where they would stand had they been read there, but what their values saw
 * is the old context: with one layer's keys alone the last row would agree; compare against a slow statement
 * of it: shifting by rotation twice (3 + 4) equals once by 7. */
static void shifts_add_up(void **state) {
    (void) state;
    lathe_model *m = load(stories());
    int32_t ids[N], n_vocab = lathe_model_n_vocab(m);
    some_ids(m, ids, N, 13);
    lathe_context *a = make(m, LATHE_CACHE_F32, -1, false, 1, 0),
                  *b = make(m, LATHE_CACHE_F32, -1, false, 1, 0);
    add(a, ids, 40, 0);
    add(b, ids, 40, 0);
    check_ok(lathe_context_shift(a, 0, 4, 11, &err), err);
    check_ok(lathe_context_shift(b, 0, 4, 7, &err), err);
    check_ok(lathe_context_shift(b, 0, 4, 8, &err), err);
    assert_int_equal(lathe_context_n_past(a, 0), 33);
    add(a, ids + 40, 1, 0);
    add(b, ids + 40, 1, 0);
    assert_true(differ(lathe_context_logits(a, -1), lathe_context_logits(b, -1), n_vocab) <= 1e-5);
    /* Relative positions alone count: dropping the first 5 of a context of which nobody saw them changes
     * nothing. */
    lathe_context_clear(a, -1);
    lathe_context_clear(b, -1);
    int32_t pos[20];
    for (int32_t i = 0; i < 20; i++)
        pos[i] = i + 5;
    lathe_batch late = {.tokens = ids, .n_tokens = 20, .pos = pos};
    check_ok(lathe_context_decode(a, &late, &err), err);
    check_ok(lathe_context_shift(a, 0, 0, 5, &err), err);
    add(b, ids, 20, 0);
    add(a, ids + 20, 1, 0);
    add(b, ids + 20, 1, 0);
    assert_true(differ(lathe_context_logits(a, -1), lathe_context_logits(b, -1), n_vocab) <= 1e-5);
    lathe_context_free(a);
    lathe_context_free(b);
    lathe_model_free(m);
}

/* --- Trees --------------------------------------------------------------------------------------- */

static void tree_nodes_see_their_ancestors(void **state) {
    (void) state;
    lathe_model *m = load(stories());
    lathe_context *c = make(m, LATHE_CACHE_F32, -1, true, 1, 0),
                  *plain = make(m, LATHE_CACHE_F32, -1, true, 1, 0);
    int32_t ids[N], n_vocab = lathe_model_n_vocab(m);
    some_ids(m, ids, N, 17);
    const int32_t parent[] = {-1, 0, 0, 1, 2, 2, 4};
    const int32_t paths[][4] = {{0, 1, 3, -1}, {0, 2, 4, 6}, {0, 2, 5, -1}};
    uint8_t want[7] = {1, 1, 1, 1, 1, 1, 1};
    lathe_batch tree = {.tokens = ids + 30, .n_tokens = 7, .parent = parent, .want = want};
    for (size_t p = 0; p < LATHE_LEN(paths); p++) {
        lathe_context_clear(c, -1);
        add(c, ids, 30, 0);
        check_ok(lathe_context_decode(c, &tree, &err), err);
        assert_int_equal(lathe_context_n_past(c, 0), 30);
        lathe_context_clear(plain, -1);
        add(plain, ids, 30, 0);
        int32_t n = 0;
        for (; n < 4 && paths[p][n] >= 0; n++) {
            add(plain, &ids[30 + paths[p][n]], 1, 0);
            assert_memory_equal(lathe_context_logits(c, paths[p][n]), lathe_context_logits(plain, -1),
                                (size_t) n_vocab * sizeof(float));
        }
        const int32_t wrong[] = {0, 3};
        assert_int_equal(lathe_context_keep_path(c, wrong, 2, &err), LATHE_ERR_ARG);
        check_ok(lathe_context_keep_path(c, paths[p], n, &err), err);
        assert_int_equal(lathe_context_n_past(c, 0), 30 + n);
        add(c, ids + 40, 3, 0);
        add(plain, ids + 40, 3, 0);
        assert_memory_equal(lathe_context_logits(c, -1), lathe_context_logits(plain, -1),
                            (size_t) n_vocab * sizeof(float));
    }
    lathe_context_free(c);
    lathe_context_free(plain);
    lathe_model_free(m);
}

/* --- Cells against a slow model ------------------------------------------------------------------ */

typedef struct slow {
    int32_t seq, pos, row;
} slow;

static void cells_equal_a_slow_model(void **state) {
    (void) state;
    enum { ROWS = 64, SEQS = 5, STEPS = 4000 };
    static slow held[ROWS * SEQS];
    static uint16_t mask[8 * ROWS];
    int32_t n_held = 0;
    lathe_cells c;
    check_ok(lathe_cells_new(ROWS, SEQS, &c, &err), err);
    lathe_rng rng = lathe_rng_new(3, 0, 0);
    for (int step = 0; step < STEPS; step++) {
        int32_t s = (int32_t) lathe_rng_below(&rng, SEQS), next = lathe_cells_next_pos(&c, s), slow_next = 0;
        for (int32_t i = 0; i < n_held; i++)
            if (held[i].seq == s && held[i].pos >= slow_next)
                slow_next = held[i].pos + 1;
        assert_int_equal(next, slow_next);
        switch (lathe_rng_below(&rng, 4)) {
        case 0:
        case 1: {
            int32_t n = 1 + (int32_t) lathe_rng_below(&rng, 8), seq[8], pos[8], rows[8], taken = 0;
            for (int32_t r = 0; r < ROWS; r++) {
                bool used = false;
                for (int32_t i = 0; i < n_held; i++)
                    used |= held[i].row == r;
                taken += used;
            }
            for (int32_t i = 0; i < n; i++) {
                seq[i] = s;
                pos[i] = next + i;
            }
            bool placed = lathe_cells_place(&c, seq, pos, n, rows);
            assert_int_equal(placed, n <= ROWS - taken);
            if (!placed)
                break;
            for (int32_t i = 0; i < n; i++)
                held[n_held++] = (slow){s, pos[i], rows[i]};
            int32_t n_kv = c.n_used, window = lathe_rng_below(&rng, 2) == 0 ? 0 : 3;
            lathe_cells_mask(&c, seq, pos, rows, NULL, NULL, n, n_kv, window, mask);
            for (int32_t t = 0; t < n; t++)
                for (int32_t r = 0; r < n_kv; r++) {
                    bool sees = false;
                    for (int32_t i = 0; i < n_held; i++)
                        sees |= held[i].row == r && held[i].seq == s && held[i].pos <= pos[t] &&
                                (window == 0 || pos[t] - held[i].pos < window);
                    assert_int_equal(mask[t * n_kv + r], sees ? 0 : 0xFC00);
                }
            break;
        }
        case 2: {
            int32_t pos = (int32_t) lathe_rng_below(&rng, (uint64_t) next + 1), n = 0;
            lathe_cells_rollback(&c, s, pos);
            for (int32_t i = 0; i < n_held; i++)
                if (held[i].seq != s || held[i].pos < pos)
                    held[n++] = held[i];
            n_held = n;
            break;
        }
        default: {
            int32_t to = (int32_t) lathe_rng_below(&rng, SEQS), length = c.length[s], n = 0;
            if (to == s)
                break;
            int32_t keep = (int32_t) lathe_rng_below(&rng, (uint64_t) length + 1);
            lathe_cells_copy(&c, s, to, keep);
            for (int32_t i = 0; i < n_held; i++)
                if (held[i].seq != to)
                    held[n++] = held[i];
            n_held = n;
            for (int32_t i = 0; i < n; i++)
                if (held[i].seq == s && held[i].pos < keep)
                    held[n_held++] = (slow){to, held[i].pos, held[i].row};
        }
        }
        for (int32_t r = 0; r < ROWS; r++)
            assert_int_equal(c.pos[r] < 0, c.seqs[r] == 0);
    }
    lathe_cells_free(&c);
}

/* --- Types --------------------------------------------------------------------------------------- */

/* A random model of shape 1M (heads of width 32) in a type. */
static const char *synth(const char *family, const char *type) {
    const char *path = temp_file(".gguf");
    lathe_synth_params p = lathe_synth_params_default();
    lathe_synth_result r;
    p.arch = family;
    p.shape = "1M";
    p.type = type;
    check_ok(lathe_model_synth(path, &p, &r, &err), err);
    return path;
}

/* Of ggml's processor backend, as it was built. */
static bool has_feature(const char *name) {
    lathe_device_find_all();
    ggml_backend_reg_t reg = ggml_backend_reg_by_name("CPU");
    void *address = reg ? ggml_backend_reg_get_proc_address(reg, "ggml_backend_get_features") : NULL;
    ggml_backend_get_features_t get;
    memcpy(&get, &address, sizeof get);
    for (struct ggml_backend_feature *f = get ? get(reg) : NULL; f && f->name; f++)
        if (strcmp(f->name, name) == 0)
            return true;
    return false;
}

static void exact_with_quantised_weights(void **state) {
    (void) state;
    static const char *const types[] = {"q4_0", "q8_0", "f16"};
    for (size_t i = 0; i < LATHE_LEN(types); i++)
        random_splits(synth("llama", types[i]), LATHE_CACHE_Q8_0, 1, true, 0.0);
}

/* Without the second row a lonely token of f32 weights takes another kernel. */
static void exact_needs_its_second_row(void **state) {
    (void) state;
    if (!has_feature("LLAMAFILE")) {
        print_message("skipped: this ggml (without LLAMAFILE) has one kernel for any number of rows, and "
                      "nothing shows\n");
        skip();
    }
    lathe_model *m = load(synth("llama", "f32"));
    lathe_context *a = make(m, LATHE_CACHE_F32, 1, false, 1, 0),
                  *b = make(m, LATHE_CACHE_F32, 1, false, 1, 0);
    int32_t ids[N];
    some_ids(m, ids, N, 31);
    add(a, ids, 20, 0);
    for (int32_t i = 0; i < 20; i++)
        add(b, ids + i, 1, 0);
    assert_memory_not_equal(lathe_context_logits(a, -1), lathe_context_logits(b, -1),
                            (size_t) lathe_model_n_vocab(m) * sizeof(float));
    lathe_context_free(a);
    lathe_context_free(b);
    lathe_model_free(m);
}

/* Rounded caches stay near the f32 one, by their number of bits; flash and explicit alike. */
static void cache_types(void **state) {
    (void) state;
    static const char *const families[] = {"llama", "gemma2", "gptneox"};
    const struct {
        lathe_cache_type type;
        double tol;
    } cases[] = {{LATHE_CACHE_F16, 1e-2},
                 {LATHE_CACHE_Q8_0, 5e-2},
                 {LATHE_CACHE_Q4_0, 5e-1},
                 {LATHE_CACHE_BF16, 5e-2}};
    for (size_t f = 0; f < LATHE_LEN(families); f++) {
        lathe_model *m = load(synth(families[f], "f32"));
        int32_t ids[N], n_vocab = lathe_model_n_vocab(m);
        some_ids(m, ids, N, 37);
        lathe_context *c = make(m, LATHE_CACHE_F32, -1, false, 1, 0);
        add(c, ids, N, 0);
        float *full = copy_logits(c);
        lathe_context_free(c);
        double last = 0.0;
        for (size_t i = 0; i < LATHE_LEN(cases); i++)
            for (int32_t flash = 0; flash < 2; flash++) {
                c = make(m, cases[i].type, flash, false, 1, 0);
                add(c, ids, N - 3, 0);
                add(c, ids + N - 3, 3, 0);
                double d = differ(lathe_context_logits(c, -1), full, n_vocab);
                assert_true(d > 0.0 && d <= cases[i].tol);
                if (flash == 1 && cases[i].type != LATHE_CACHE_BF16) {
                    assert_true(d > last); /* fewer bits, larger error */
                    last = d;
                }
                lathe_context_free(c);
            }
        free(full);
        lathe_model_free(m);
    }
}

/* --- Sessions ------------------------------------------------------------------------------------ */

static void sessions(void **state) {
    (void) state;
    lathe_model *m = load(stories());
    lathe_context *a = make(m, LATHE_CACHE_F16, -1, true, 1, 0),
                  *b = make(m, LATHE_CACHE_F16, -1, true, 1, 0);
    const char *path = temp_file(".session");
    int32_t ids[N], n_vocab = lathe_model_n_vocab(m), *back;
    size_t n_back;
    some_ids(m, ids, N, 19);
    add(a, ids, 50, 0);
    check_ok(lathe_context_save(a, path, ids, 50, &err), err);
    add(b, ids + 60, 9, 0);
    check_ok(lathe_context_load(b, path, &back, &n_back, &err), err);
    assert_int_equal(n_back, 50);
    assert_memory_equal(back, ids, 50 * sizeof *ids);
    lathe_free(back);
    assert_int_equal(lathe_context_n_past(b, 0), 50);
    add(a, ids + 50, 7, 0);
    add(b, ids + 50, 7, 0);
    assert_memory_equal(lathe_context_logits(a, -1), lathe_context_logits(b, -1),
                        (size_t) n_vocab * sizeof(float));
    /* Another type and another model are refused, with both named; so is every cut file. */
    lathe_context *c = make(m, LATHE_CACHE_F32, -1, true, 1, 0);
    assert_int_equal(lathe_context_load(c, path, &back, &n_back, &err), LATHE_ERR_INPUT);
    assert_non_null(strstr(err.text, "f16"));
    assert_non_null(strstr(err.text, "f32"));
    FILE *f = fopen(path, "rb");
    static char bytes[1 << 20];
    size_t n_bytes = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    for (size_t cut = 0; cut < n_bytes; cut += 1 + cut / 3) {
        const char *part = temp_file(".cut");
        f = fopen(part, "wb");
        fwrite(bytes, 1, cut, f);
        fclose(f);
        assert_int_not_equal(lathe_context_load(b, part, &back, &n_back, &err), LATHE_OK);
        remove(part);
    }
    assert_int_equal(lathe_context_n_past(b, 0), 57);
    lathe_context_free(a);
    lathe_context_free(b);
    lathe_context_free(c);
    lathe_model_free(m);
}

/* --- Taps ---------------------------------------------------------------------------------------- */

typedef struct seen {
    int n_probs, n_resid, n_other;
    double worst_row, worst_future;
} seen;

static void look(void *user, const lathe_tap_view *v) {
    seen *s = user;
    if (strcmp(v->name, "probs") == 0) {
        s->n_probs++;
        for (int64_t row = 0; row < v->ne[1] * v->ne[2]; row++) {
            double sum = 0.0;
            for (int64_t i = 0; i < v->ne[0]; i++) {
                sum += v->data[row * v->ne[0] + i];
                if (i > v->pos[row % v->ne[1]])
                    s->worst_future = fmax(s->worst_future, fabs((double) v->data[row * v->ne[0] + i]));
            }
            s->worst_row = fmax(s->worst_row, fabs(sum - 1.0));
        }
    } else if (strcmp(v->name, "resid_mid") == 0) {
        s->n_resid += v->layer == 2 && v->ne[0] == 64 && v->ne[1] == v->n_tokens;
    } else {
        s->n_other++;
    }
}

static void taps(void **state) {
    (void) state;
    lathe_model *m = load(stories());
    lathe_context *c = make(m, LATHE_CACHE_F32, -1, false, 1, 0);
    int32_t ids[N], n_vocab = lathe_model_n_vocab(m);
    some_ids(m, ids, N, 23);
    add(c, ids, 20, 0);
    float *without = copy_logits(c);
    seen s = {0};
    check_ok(lathe_context_tap(c, "probs", -1, -1, look, &s, &err), err);
    lathe_context_clear(c, -1);
    add(c, ids, 20, 0);
    assert_int_equal(s.n_probs, 5);
    assert_true(s.worst_row < 1e-5 && s.worst_future == 0.0);
    assert_true(differ(lathe_context_logits(c, -1), without, n_vocab) <= 1e-5);
    check_ok(lathe_context_tap(c, "blocks.2.hook_resid_mid", -1, -1, look, &s, &err), err);
    add(c, ids + 20, 1, 0);
    assert_int_equal(s.n_resid, 1);
    assert_int_equal(s.n_probs, 5);
    check_ok(lathe_context_tap(c,
                               "embd,attn_norm,q,k,v,q_rot,k_rot,scores,z,attn_out,ffn_norm,ffn_act,ffn_out,"
                               "resid_pre,resid_post,final_norm",
                               0, 0, look, &s, &err),
             err);
    add(c, ids + 21, 2, 0);
    assert_int_equal(s.n_other, 16);
    assert_int_equal(lathe_context_tap(c, "nonsense", -1, -1, look, &s, &err), LATHE_ERR_ARG);
    assert_non_null(strstr(err.text, "resid_mid"));
    check_ok(lathe_context_tap(c, NULL, -1, -1, NULL, NULL, &err), err);
    lathe_context_clear(c, -1);
    add(c, ids, 20, 0);
    assert_memory_equal(lathe_context_logits(c, -1), without, (size_t) n_vocab * sizeof(float));
    free(without);
    lathe_context_free(c);
    lathe_model_free(m);
}

/* --- Refusals ------------------------------------------------------------------------------------ */

static bool always(void *user) {
    (void) user;
    return true;
}

static void refused(void **state) {
    (void) state;
    lathe_model *m = load(stories());
    lathe_context *c = make(m, LATHE_CACHE_F32, -1, false, 2, 0);
    int32_t ids[N], big[400] = {0};
    some_ids(m, ids, N, 29);
    add(c, ids, 10, 0);
    const int32_t bad_id[] = {-1}, bad_id2[] = {512}, bad_seq[] = {2}, bad_pos[] = {3}, far_pos[] = {256};
    const lathe_batch bad[] = {
        {.tokens = bad_id, .n_tokens = 1},
        {.tokens = bad_id2, .n_tokens = 1},
        {.tokens = ids, .seq = bad_seq, .n_tokens = 1},
        {.tokens = ids, .pos = bad_pos, .n_tokens = 1},
        {.tokens = ids, .pos = far_pos, .n_tokens = 1},
        {.tokens = big, .n_tokens = 400},
        {.tokens = ids, .n_tokens = 0},
    };
    for (size_t i = 0; i < LATHE_LEN(bad); i++) {
        assert_int_equal(lathe_context_decode(c, &bad[i], &err), LATHE_ERR_ARG);
        assert_int_equal(lathe_context_n_past(c, 0), 10);
    }
    assert_non_null(strstr(err.text, "no tokens"));
    lathe_context_set_cancel(c, always, NULL);
    lathe_batch b = {.tokens = ids, .n_tokens = 5};
    assert_int_equal(lathe_context_decode(c, &b, &err), LATHE_ERR_CANCELLED);
    assert_int_equal(lathe_context_n_past(c, 0), 10);
    lathe_context_set_cancel(c, NULL, NULL);
    add(c, ids + 10, 5, 0);
    assert_int_equal(lathe_context_n_past(c, 0), 15);
    lathe_context_params p = lathe_context_params_default();
    lathe_context *none;
    p.type_k = LATHE_CACHE_Q8_0; /* heads of width 8 */
    assert_int_equal(lathe_context_new(m, &p, &none, &err), LATHE_ERR_UNSUPPORTED);
    p = lathe_context_params_default();
    p.policy = "no-such";
    assert_int_equal(lathe_context_new(m, &p, &none, &err), LATHE_ERR_ARG);
    lathe_context_free(c);
    lathe_model_free(m);
}

/* Over a long text a tree's attention goes in two parts; each node's logits are those of its path read alone,
 * also where the cache's rows have gaps, and a kept path goes on as that text. */
static void trees_over_long_texts_are_those_of_their_paths(void **state) {
    (void) state;
    enum { LONG = 1100, T = 24 };
    static int32_t ids[LONG + T];
    const lathe_cache_type types[] = {LATHE_CACHE_F32, LATHE_CACHE_F16, LATHE_CACHE_Q8_0};
    lathe_model *m = load(synth("llama", "f32"));
    const int32_t n_vocab = lathe_model_n_vocab(m);
    some_ids(m, ids, LONG + T, 77);
    for (size_t k = 0; k < LATHE_LEN(types); k++) {
        lathe_context_params p = lathe_context_params_default();
        lathe_context *c, *alone;
        p.type_k = p.type_v = types[k];
        p.n_threads = 1 + (int32_t) k % 2;
        p.n_ctx = 1300;
        check_ok(lathe_context_new(m, &p, &c, &err), err);
        check_ok(lathe_context_new(m, &p, &alone, &err), err);
        const lathe_batch text = {.tokens = ids, .n_tokens = LONG};
        check_ok(lathe_context_decode(c, &text, &err), err);
        check_ok(lathe_context_decode(alone, &text, &err), err);
        lathe_rng rng = lathe_rng_new(k, 0, 0);
        int32_t tree_ids[T], parent[T], read[T], path[T], n_past = LONG;
        uint8_t want[T];
        memset(want, 1, sizeof want);
        for (int round = 0; round < 3; round++) { /* from the second on the cache has gaps */
            for (int32_t i = 0; i < T; i++) {
                tree_ids[i] = ids[(LONG + 7 * i + round) % (LONG + T)];
                parent[i] = i == 0 ? -1 : (int32_t) lathe_rng_below(&rng, (uint32_t) i);
            }
            const lathe_batch tree = {.tokens = tree_ids, .n_tokens = T, .parent = parent, .want = want};
            check_ok(lathe_context_decode(c, &tree, &err), err);
            int parts = 0;
            for (int i = 0; i <= LATHE_GRAPH_SLOTS; i++)
                parts += c->graphs[i].used == c->clock && c->graphs[i].key.tree == 1;
            assert_int_equal(parts, 1); /* it is the way that is tested here */
            int32_t n_path = 0;
            for (int32_t i = 0; i < T; i += 5) {
                n_path = 0;
                for (int32_t a = i; a >= 0; a = parent[a])
                    path[n_path++] = a;
                for (int32_t j = 0; j < n_path / 2; j++) {
                    const int32_t swap = path[j];
                    path[j] = path[n_path - 1 - j];
                    path[n_path - 1 - j] = swap;
                }
                for (int32_t j = 0; j < n_path; j++)
                    read[j] = tree_ids[path[j]];
                const lathe_batch chain = {.tokens = read, .n_tokens = n_path};
                check_ok(lathe_context_rollback(alone, 0, n_past, &err), err);
                check_ok(lathe_context_decode(alone, &chain, &err), err);
                assert_true(differ(lathe_context_logits(c, i), lathe_context_logits(alone, -1), n_vocab) <
                            (k == 0 ? 1e-4 : 1e-3));
            }
            check_ok(lathe_context_keep_path(c, path, n_path, &err), err); /* the last of those read */
            n_past += n_path;
            assert_int_equal(lathe_context_n_past(c, 0), n_past);
            assert_int_equal(lathe_context_n_past(alone, 0), n_past);
        }
        lathe_context_free(c);
        lathe_context_free(alone);
    }
    lathe_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(splits_agree),
        cmocka_unit_test(exact_splits_are_the_same_bits),
        cmocka_unit_test(flash_equals_explicit),
        cmocka_unit_test(rollback_and_copy),
        cmocka_unit_test(shifts_add_up),
        cmocka_unit_test(tree_nodes_see_their_ancestors),
        cmocka_unit_test(cells_equal_a_slow_model),
        cmocka_unit_test(exact_with_quantised_weights),
        cmocka_unit_test(exact_needs_its_second_row),
        cmocka_unit_test(trees_over_long_texts_are_those_of_their_paths),
        cmocka_unit_test(cache_types),
        cmocka_unit_test(sessions),
        cmocka_unit_test(taps),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
