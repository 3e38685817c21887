/* Files are read within limits and written whole or not at all; UTF-8 is stepped through as Unicode says. */
#include "support/check.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/thread.h"
#include "base/utf8.h"

static void directories_and_missing_files_are_errors(void **state) {
    (void) state;
    char *text = NULL;
    size_t n = 0;
    lathe_error err = {0};
    lathe_file file = {0};
    assert_int_equal(lathe_file_read("/tmp", 100, &text, &n, &err), LATHE_ERR_IO);
    assert_string_equal(err.text, "/tmp: is a directory; a file is needed");
    assert_int_equal(lathe_file_open("/tmp", true, 0, &file, &err), LATHE_ERR_IO);
    assert_int_equal(lathe_file_open("/nonexistent/file", true, 0, &file, &err), LATHE_ERR_IO);
    assert_int_equal(lathe_file_write("/nonexistent/file", "x", 1, &err), LATHE_ERR_IO);
    assert_int_equal(lathe_file_write("/tmp/", "x", 1, &err), LATHE_ERR_IO);
}

static void limits_hold(void **state) {
    (void) state;
    const char *path = temp_file(".txt");
    char *text = NULL;
    size_t n = 0;
    lathe_error err = {0};
    check_ok(lathe_file_write(path, "12345", 5, &err), err);
    assert_int_equal(lathe_file_read(path, 4, &text, &n, &err), LATHE_ERR_INPUT);
    check_ok(lathe_file_read(path, 5, &text, &n, &err), err);
    assert_int_equal(n, 5);
    assert_string_equal(text, "12345");
    free(text);
}

/* A child rewrites a file for ever and is killed at a random moment: the file is one version or the other,
 * whole. */
static void a_killed_writer_leaves_old_or_new(void **state) {
    (void) state;
    enum { SIZE = 200000, ROUNDS = 200 };
    const char *path = temp_file(".bin");
    char *bytes = malloc(SIZE);
    lathe_error err = {0};
    memset(bytes, 'a', SIZE);
    check_ok(lathe_file_write(path, bytes, SIZE, &err), err);
    lathe_rng rng = lathe_rng_new(5, 36, 0);
    for (int round = 0; round < ROUNDS; round++) {
        const pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            for (char c = 'b';; c = c == 'z' ? 'a' : (char) (c + 1)) {
                memset(bytes, c, SIZE);
                if (lathe_file_write(path, bytes, SIZE, NULL))
                    _exit(1);
            }
        }
        const struct timespec pause = {.tv_nsec = (long) lathe_rng_below(&rng, 3000000)};
        nanosleep(&pause, NULL);
        kill(child, SIGKILL);
        int how;
        waitpid(child, &how, 0);
        assert_true(WIFSIGNALED(how));
        char *text = NULL;
        size_t n = 0;
        check_ok(lathe_file_read(path, SIZE, &text, &n, &err), err);
        assert_int_equal(n, SIZE);
        for (size_t i = 1; i < n; i++)
            if (text[i] != text[0])
                fail_msg("byte %zu is another version's", i);
        free(text);
        char left_over[600];
        const char *name = strrchr(path, '/') + 1;
        const int k = snprintf(left_over, sizeof left_over, "%.*s.%s.tmp.%ld", (int) (name - path), path,
                               name, (long) child);
        assert_true(k > 0);
        unlink(left_over);
    }
    free(bytes);
}

static void utf8_table(void **state) {
    (void) state;
    static const struct {
        const char *bytes;
        size_t n, length;
        uint32_t code;
    } cases[] = {
        {"A", 1, 1, 'A'},
        {"\xC3\xA9", 2, 2, 0xE9},
        {"\xE4\xBD\xA0", 3, 3, 0x4F60},
        {"\xF0\x9F\x99\x82", 4, 4, 0x1F642},
        {"\xC0\x80", 2, 0, 0},
        {"\xE0\x80\x80", 3, 0, 0},
        {"\xED\xA0\x80", 3, 0, 0},
        {"\xF4\x90\x80\x80", 4, 0, 0},
        {"\xE4\xBD", 2, 0, 0},
        {"\x80", 1, 0, 0},
        {"\xFF", 1, 0, 0},
        {"\xF4\x8F\xBF\xBF", 4, 4, 0x10FFFF},
    };
    for (size_t i = 0; i < LATHE_LEN(cases); i++) {
        uint32_t code = 0;
        char back[4];
        assert_int_equal(lathe_utf8_next(cases[i].bytes, cases[i].n, &code), cases[i].length);
        if (cases[i].length == 0)
            continue;
        assert_int_equal(code, cases[i].code);
        assert_int_equal(lathe_utf8_put(code, back), cases[i].length);
        assert_memory_equal(back, cases[i].bytes, cases[i].length);
    }
    assert_true(lathe_utf8_is_prefix("\xF0\x9F", 2));
    assert_false(lathe_utf8_is_prefix("\xF0\x41", 2));
    assert_false(lathe_utf8_is_prefix("A", 1));
    size_t n = 0;
    char *repaired =
        lathe_utf8_repair("\xF0\x9F\x41\xFF", 4, &n); /* a cut character, A, a byte that is none */
    assert_string_equal(repaired, "\xEF\xBF\xBD"
                                  "A\xEF\xBF\xBD");
    free(repaired);
}

static void add_up(void *ctx, int worker, int64_t piece, int64_t begin, int64_t end) {
    double *sums = ctx;
    (void) worker;
    for (int64_t i = begin; i < end; i++)
        sums[piece] += 1.0 / (double) (i + 1);
}

static void sums_have_the_same_bits_at_any_thread_count(void **state) {
    (void) state;
    enum { N = 100003, GRAIN = 1000, PIECES = 101 };
    double expected = 0;
    for (int n_threads = 1; n_threads <= 4; n_threads++) {
        double sums[PIECES] = {0}, total = 0;
        lathe_pool *pool = NULL;
        lathe_error err = {0};
        check_ok(lathe_pool_new(n_threads, &pool, &err), err);
        for (int round = 0; round < 20; round++) {
            memset(sums, 0, sizeof sums);
            lathe_parallel_for(pool, N, GRAIN, add_up, sums);
        }
        for (int i = 0; i < PIECES; i++)
            total += sums[i];
        lathe_pool_free(pool);
        if (n_threads == 1)
            expected = total;
        assert_memory_equal(&total, &expected, sizeof total);
    }
    check_near(expected, 12.0901761292633, 1e-12); /* H(100003), summed by a Python program */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(directories_and_missing_files_are_errors),    cmocka_unit_test(limits_hold),
        cmocka_unit_test(a_killed_writer_leaves_old_or_new),           cmocka_unit_test(utf8_table),
        cmocka_unit_test(sums_have_the_same_bits_at_any_thread_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
