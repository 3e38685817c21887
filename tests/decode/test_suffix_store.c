/* The store of past answers: hand-worked drafts, damage at every byte, two writers at once, and a run that is
 * not changed by any of it. */
#include "support/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "decode/suffix_index.h"
#include "decode/suffix_store.h"

#define KEY "0123456789abcdef"

static char folder[64];

static int make_folder(void **state) {
    (void) state;
    snprintf(folder, sizeof folder, "/tmp/lathe-store-XXXXXX");
    return mkdtemp(folder) ? 0 : 1;
}

static const char *log_path(void) {
    static char path[160];
    snprintf(path, sizeof path, "%s/suffix/" KEY "/log", folder);
    return path;
}

static int drop_folder(void **state) {
    (void) state;
    char command[200];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static lathe_suffix_store *open_store(int64_t limit) {
    lathe_error err = {0};
    lathe_suffix_store *s = NULL;
    check_ok(lathe_suffix_store_open(folder, KEY, 1000, limit, NULL, &s, &err), err);
    return s;
}

/* An answer of at least 16 tokens that ends with `text`, letters as ids; what stands before occurs nowhere
 * else. */
static void add(lathe_suffix_store *s, const char *text) {
    static int32_t fresh;
    int32_t ids[64];
    int32_t n = 0;
    while (n < 16)
        ids[n++] = 300 + fresh++ % 600;
    for (; *text; text++)
        ids[n++] = *text;
    lathe_suffix_store_add(s, ids, n);
}

static int64_t records(int64_t *skipped) {
    int64_t n, tokens, lost;
    lathe_suffix_store *s = open_store(0);
    lathe_suffix_store_size(s, &n, &tokens, &lost);
    lathe_suffix_store_free(s);
    if (skipped)
        *skipped = lost;
    return n;
}

static void drafts_are_those_of_the_hand_worked_case(void **state) {
    (void) state;
    lathe_suffix_store *s = open_store(0);
    const char *documents[] = {"abcdx", "abcdy", "zbcdy", "qcdyw"};
    for (int i = 0; i < 4; i++)
        add(s, documents[i]);
    lathe_suffix_store_free(s);
    s = open_store(0);
    const int32_t ids[] = {'m', 'a', 'b', 'c', 'd'};
    int32_t path[64], n, matched;
    double share[64];
    /* p = 4: x, tied with y, sum .5; p = 2: y w, .75 + .75. */
    check_near(lathe_suffix_store_draft(s, ids, 5, 2, 1.0, 0.1, 64, path, share, &n, &matched), 1.5, 1e-12);
    assert_int_equal(n, 2);
    assert_int_equal(path[0], 'y');
    assert_int_equal(path[1], 'w');
    assert_int_equal(matched, 2);
    check_near(share[0], 0.75, 1e-12);
    check_near(share[1], 1.0, 1e-12);
    check_near(lathe_suffix_store_draft(s, ids, 2, 2, 1.0, 0.1, 64, path, share, &n, &matched), 0.0, 0.0);
    assert_int_equal(n, 0);
    lathe_suffix_store_free(s);
}

static void short_answers_and_others_eyes_stay_out(void **state) {
    (void) state;
    struct stat info;
    const int64_t before = records(NULL);
    lathe_suffix_store *s = open_store(0);
    const int32_t ids[15] = {0};
    lathe_suffix_store_add(s, ids, 15);
    lathe_suffix_store_free(s);
    assert_int_equal(records(NULL), before);
    assert_int_equal(stat(log_path(), &info), 0);
    assert_int_equal(info.st_mode & 077, 0);
}

static void damage_costs_one_record_at_most(void **state) {
    (void) state;
    const int64_t n = records(NULL);
    FILE *f = fopen(log_path(), "rb");
    assert_non_null(f);
    static char good[4096], bad[4096];
    const size_t size = fread(good, 1, sizeof good, f);
    fclose(f);
    assert_true(size > 300 && size < sizeof good);
    for (size_t i = 0; i < size; i++) {
        memcpy(bad, good, size);
        bad[i] = (char) (bad[i] ^ 0x41);
        f = fopen(log_path(), "wb");
        fwrite(bad, 1, size, f);
        fclose(f);
        const int64_t left = records(NULL);
        if (i < 64)
            assert_int_equal(left, 0); /* another header: the file is put aside */
        else
            assert_in_range(left, n - 1, n);
    }
    for (size_t cut = 64; cut < size; cut += 7) {
        f = fopen(log_path(), "wb");
        fwrite(good, 1, cut, f);
        fclose(f);
        const int64_t whole = records(NULL);
        lathe_suffix_store *s = open_store(0);
        add(s, "after a torn tail");
        lathe_suffix_store_free(s);
        assert_int_equal(records(NULL), whole + 1);
    }
    f = fopen(log_path(), "wb");
    fwrite(good, 1, size, f);
    fclose(f);
}

static void two_writers_lose_nothing(void **state) {
    (void) state;
    const int64_t before = records(NULL);
    pid_t child[2];
    for (int k = 0; k < 2; k++)
        if ((child[k] = fork()) == 0) {
            lathe_suffix_store *s = open_store(0);
            int32_t ids[20];
            for (int i = 0; i < 80; i++) {
                for (int j = 0; j < 20; j++)
                    ids[j] = 10 * k + j;
                lathe_suffix_store_add(s, ids, 20);
            }
            lathe_suffix_store_free(s);
            _exit(0);
        }
    for (int k = 0; k < 2; k++)
        waitpid(child[k], NULL, 0);
    int64_t skipped;
    /* A writer that finds the lock taken for 0.1 s drops its record; 5 of 160 may go that way on a busy
     * machine. */
    assert_in_range(records(&skipped), before + 155, before + 160);
    assert_int_equal(skipped, 0);
}

static void a_full_store_forgets_its_oldest(void **state) {
    (void) state;
    struct stat info;
    lathe_suffix_store *s = open_store(8192);
    for (int i = 0; i < 100; i++)
        add(s, i == 99 ? "newest" : "older");
    lathe_suffix_store_free(s);
    assert_int_equal(stat(log_path(), &info), 0);
    assert_true(info.st_size <= 8192 + 200);
    s = open_store(0);
    int32_t path[64], n, matched;
    double share[64];
    const int32_t ids[] = {'n', 'e', 'w'};
    assert_true(lathe_suffix_store_draft(s, ids, 3, 2, 1.0, 0.1, 64, path, share, &n, &matched) > 0.0);
    assert_int_equal(path[0], 'e');
    lathe_suffix_store_free(s);
}

/* --- The index ----------------------------------------------------------------------------------- */

enum { LETTERS = 4, ANSWER = 200, ANSWERS = 45 };

static int n_warnings;
static char warning[512];

static void hear(void *user, lathe_log_level level, const char *text) {
    (void) user;
    if (level == LATHE_LOG_WARN) {
        n_warnings++;
        snprintf(warning, sizeof warning, "%s", text);
    }
}

static const lathe_logger ears = {.write = hear};

static lathe_suffix_store *open_in(const char *name, int64_t limit) {
    lathe_error err = {0};
    lathe_suffix_store *s = NULL;
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    n_warnings = 0;
    check_ok(lathe_suffix_store_open(path, KEY, 1000, limit, &ears, &s, &err), err);
    return s;
}

static const char *file_in(const char *name, const char *file) {
    static char path[2][256];
    static int k;
    k = 1 - k;
    snprintf(path[k], sizeof path[k], "%s/%s/suffix/" KEY "/%s", folder, name, file);
    return path[k];
}

static void random_answer(lathe_rng *rng, int32_t *ids) {
    for (int i = 0; i < ANSWER; i++)
        ids[i] = (int32_t) lathe_rng_below(rng, LETTERS);
}

typedef struct drafts {
    int32_t path[40][64], n[40], matched[40];
    double score[40], share[40][64];
} drafts;

static void draft_some(const lathe_suffix_store *s, drafts *d) {
    lathe_rng rng = lathe_rng_new(9, 0, 0);
    memset(d, 0, sizeof *d);
    for (int i = 0; i < 40; i++) {
        int32_t ids[70];
        for (int k = 0; k < 70; k++)
            ids[k] = (int32_t) lathe_rng_below(&rng, LETTERS);
        d->score[i] = lathe_suffix_store_draft(s, ids, 70, 2, 1.0, 0.02, 64, d->path[i], d->share[i],
                                               &d->n[i], &d->matched[i]);
    }
}

static void same_drafts(const drafts *a, const drafts *b) {
    for (int i = 0; i < 40; i++) {
        assert_int_equal(a->n[i], b->n[i]);
        assert_int_equal(a->matched[i], b->matched[i]);
        check_near(a->score[i], b->score[i], 1e-12);
        assert_memory_equal(a->path[i], b->path[i], sizeof a->path[i]);
    }
}

/* Fills a store of its own with 45 answers, 9,000 tokens: an index comes of most of it, and a part is behind.
 */
static void fill(const char *name) {
    lathe_rng rng = lathe_rng_new(4, 0, 0);
    lathe_suffix_store *s = open_in(name, 0);
    for (int i = 0; i < ANSWERS; i++) {
        int32_t ids[ANSWER];
        random_answer(&rng, ids);
        lathe_suffix_store_add(s, ids, ANSWER);
    }
    lathe_suffix_store_free(s);
}

static void what_is_on_disk_drafts_as_what_is_sorted_in_memory(void **state) {
    (void) state;
    static drafts mapped, sorted;
    int64_t records_of, tokens, skipped;
    fill("order");
    lathe_suffix_index index;
    const char *why = "";
    const lathe_log_key key = {.key = strtoull(KEY, NULL, 16), .n_vocab = 1000};
    assert_true(lathe_suffix_index_open(file_in("order", "index"), &key, 0, &index, &why));
    assert_in_range(index.n_answers, 10, ANSWERS - 1); /* some are behind it */
    for (int32_t i = 1; i < index.n; i++) {            /* every place once, in order */
        const int32_t *x = index.text + index.sa[i - 1], *y = index.text + index.sa[i];
        int k = 0;
        while (k < 127 && x[k] == y[k] && x[k] >= 0)
            k++;
        assert_true(x[k] < y[k] || (x[k] == y[k] && index.sa[i - 1] < index.sa[i]));
    }
    lathe_suffix_index_close(&index);
    lathe_suffix_store *s = open_in("order", 0);
    assert_int_equal(n_warnings, 0);
    lathe_suffix_store_size(s, &records_of, &tokens, &skipped);
    assert_int_equal(records_of, ANSWERS);
    assert_int_equal(tokens, ANSWERS * ANSWER);
    assert_int_equal(skipped, 0);
    draft_some(s, &mapped);
    lathe_suffix_store_free(s);
    assert_int_equal(remove(file_in("order", "index")), 0);
    s = open_in("order", 0);
    draft_some(s, &sorted);
    lathe_suffix_store_free(s);
    same_drafts(&mapped, &sorted);
    int drafted = 0;
    for (int i = 0; i < 40; i++)
        drafted += mapped.n[i] > 0;
    assert_true(drafted > 30);
}

/* Counts over both parts are those of a search through all answers. */
static void shares_are_those_of_brute_force(void **state) {
    (void) state;
    static drafts d;
    static int32_t all[ANSWERS][ANSWER];
    lathe_rng rng = lathe_rng_new(4, 0, 0);
    fill("counts");
    for (int i = 0; i < ANSWERS; i++)
        random_answer(&rng, all[i]);
    lathe_suffix_store *s = open_in("counts", 0);
    draft_some(s, &d);
    lathe_suffix_store_free(s);
    rng = lathe_rng_new(9, 0, 0);
    for (int i = 0; i < 40; i++) {
        int32_t ids[70];
        for (int k = 0; k < 70; k++)
            ids[k] = (int32_t) lathe_rng_below(&rng, LETTERS);
        int64_t count[LETTERS] = {0}, total = 0;
        const int32_t p = d.matched[i];
        for (int a = 0; a < ANSWERS; a++)
            for (int at = 0; at + p < ANSWER; at++)
                if (memcmp(all[a] + at, ids + 70 - p, (size_t) p * sizeof *ids) == 0) {
                    count[all[a][at + p]]++;
                    total++;
                }
        int best = 0;
        for (int x = 1; x < LETTERS; x++)
            best = count[x] > count[best] ? x : best;
        assert_true(d.n[i] > 0);
        assert_int_equal(d.path[i][0], best);
        check_near(d.share[i][0], (double) count[best] / (double) total, 1e-12);
    }
}

static void a_damaged_index_is_said_and_made_anew(void **state) {
    (void) state;
    static drafts sound, now;
    fill("damage");
    lathe_suffix_store *s = open_in("damage", 0);
    draft_some(s, &sound);
    lathe_suffix_store_free(s);
    char *good = NULL;
    size_t size = 0;
    lathe_error err = {0};
    check_ok(lathe_file_read(file_in("damage", "index"), 1 << 24, &good, &size, &err), err);
    char *bad = malloc(size);
    for (size_t i = 0; i < size; i = i < 72 ? i + 1 : i + size / 61) {
        memcpy(bad, good, size);
        bad[i] = (char) (bad[i] ^ 0x41);
        check_ok(lathe_file_write(file_in("damage", "index"), bad, size, &err), err);
        s = open_in("damage", 0);
        assert_int_equal(n_warnings, 1);
        assert_non_null(strstr(warning, "made anew"));
        draft_some(s, &now);
        same_drafts(&sound, &now);
        lathe_suffix_store_free(s);
    }
    for (size_t cut = 0; cut < size; cut += size / 13) {
        check_ok(lathe_file_write(file_in("damage", "index"), good, cut, &err), err);
        s = open_in("damage", 0);
        assert_int_equal(n_warnings, 1);
        lathe_suffix_store_free(s);
    }
    s = open_in("damage", 0); /* one answer more, and it is whole again */
    const int32_t ids[16] = {900};
    lathe_suffix_store_add(s, ids, 16);
    lathe_suffix_store_free(s);
    s = open_in("damage", 0);
    assert_int_equal(n_warnings, 0);
    draft_some(s, &now);
    same_drafts(&sound, &now);
    lathe_suffix_store_free(s);
    free(good);
    free(bad);
}

static void what_comes_again_goes_before_what_is_old(void **state) {
    (void) state;
    lathe_suffix_store *s = open_in("again", 4096);
    int32_t once[20], twice[20], path[64], n, matched;
    double share[64];
    int64_t records_of, tokens, skipped;
    for (int i = 0; i < 20; i++) {
        once[i] = 100 + i;
        twice[i] = 200 + i;
    }
    lathe_suffix_store_add(s, once, 20);
    for (int i = 0; i < 60; i++) /* 104 bytes each: over the limit once and again */
        lathe_suffix_store_add(s, twice, 20);
    lathe_suffix_store_free(s);
    s = open_in("again", 4096);
    lathe_suffix_store_size(s, &records_of, &tokens, &skipped);
    assert_true(records_of < 40);
    assert_int_equal(n_warnings, 0);
    assert_true(lathe_suffix_store_draft(s, once, 5, 2, 1.0, 0.1, 64, path, share, &n, &matched) > 0.0);
    assert_int_equal(path[0], 105);
    lathe_suffix_store_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(drafts_are_those_of_the_hand_worked_case),
        cmocka_unit_test(short_answers_and_others_eyes_stay_out),
        cmocka_unit_test(damage_costs_one_record_at_most),
        cmocka_unit_test(two_writers_lose_nothing),
        cmocka_unit_test(a_full_store_forgets_its_oldest),
        cmocka_unit_test(what_is_on_disk_drafts_as_what_is_sorted_in_memory),
        cmocka_unit_test(shares_are_those_of_brute_force),
        cmocka_unit_test(a_damaged_index_is_said_and_made_anew),
        cmocka_unit_test(what_comes_again_goes_before_what_is_old),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder) != 0;
}
