/* The store of past answers: hand-worked drafts, damage at every byte, two writers at once, and a run that is
 * not changed by any of it. */
#include "support/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(drafts_are_those_of_the_hand_worked_case),
        cmocka_unit_test(short_answers_and_others_eyes_stay_out),
        cmocka_unit_test(damage_costs_one_record_at_most),
        cmocka_unit_test(two_writers_lose_nothing),
        cmocka_unit_test(a_full_store_forgets_its_oldest),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder) != 0;
}
