/* Crafted files: each is refused with one line that names the file, the field and what would be right. */
#include "support/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "fuzz/crafted_gguf.h"
#include "model/gguf.h"

static void warn(void *user, lathe_log_level level, const char *text) {
    (void) level;
    (void) text;
    ++*(int *) user;
}

static void each_crafted_file_is_refused(void **state) {
    /* Negative: ggml 0.15.1's own reader dies on the first three and accepts the fourth. */
    static crafted_file f;
    int n_warnings = 0, n_refused = 0;
    const lathe_gguf_params params = {.logger = {.write = warn, .user = &n_warnings}};
    (void) state;
    for (size_t i = 0; i < n_crafted_cases; i++) {
        const crafted_case *c = &crafted_cases[i];
        lathe_error err = {0};
        lathe_gguf *g = NULL;
        f.n = 0;
        c->make(&f);
        uint8_t *exact = malloc(f.n ? f.n : 1); /* a sanitizer sees a byte too far */
        memcpy(exact, f.bytes, f.n);
        const lathe_status st = lathe_gguf_from_memory(exact, f.n, "model.gguf", &params, &g, &err);
        if (c->message) {
            if (st != LATHE_ERR_INPUT || strncmp(err.text, "model.gguf: ", 12) != 0 ||
                !strstr(err.text, c->message))
                fail_msg("%s: status %d, '%s'; want '%s'", c->name, (int) st, err.text, c->message);
            assert_null(strchr(err.text, '\n'));
            assert_null(strchr(err.text, 27)); /* a name must not drive the terminal */
            assert_null(g);
            n_refused++;
        } else if (st != LATHE_OK) {
            fail_msg("%s: refused with '%s'", c->name, err.text);
        }
        lathe_gguf_close(g);
        free(exact);
    }
    assert_int_equal(n_refused, 37);
    assert_int_equal(n_warnings, 2); /* bool_2 and holes */
}

static void legal_oddities_are_read_right(void **state) {
    static crafted_file f;
    (void) state;
    for (size_t i = 0; i < n_crafted_cases; i++) {
        lathe_error err = {0};
        lathe_gguf *g = NULL;
        if (strcmp(crafted_cases[i].name, "alignment_1") != 0)
            continue;
        f.n = 0;
        crafted_cases[i].make(&f);
        check_ok(lathe_gguf_from_memory(f.bytes, f.n, "x", NULL, &g, &err), err);
        const lathe_gguf_tensor *t = lathe_gguf_tensor_at(g, 0);
        assert_int_equal(lathe_gguf_alignment(g), 1);
        assert_int_equal(lathe_gguf_is_aligned(g), (uintptr_t) t->data % 32 == 0);
        assert_int_equal(t->n_bytes, 32);
        lathe_gguf_close(g);
    }
}

static void files_and_folders(void **state) {
    static crafted_file f;
    lathe_error err = {0};
    lathe_gguf *g = NULL;
    (void) state;
    assert_int_equal(lathe_gguf_open("/", NULL, &g, &err), LATHE_ERR_IO);
    assert_string_equal(err.text, "/: a directory; want a regular file");
    assert_int_equal(lathe_gguf_open("/no/such.gguf", NULL, &g, &err), LATHE_ERR_IO);
    assert_string_equal(err.text, "/no/such.gguf: No such file or directory");
    assert_int_equal(lathe_gguf_open("/dev/null", NULL, &g, &err), LATHE_ERR_IO);
    for (size_t i = 0; i < n_crafted_cases; i++) /* the same verdicts from disk, both ways */
        for (int no_mmap = 0; no_mmap < 2; no_mmap++) {
            const char *path = temp_file(".gguf");
            const lathe_gguf_params params = {.no_mmap = no_mmap};
            f.n = 0;
            crafted_cases[i].make(&f);
            FILE *out = fopen(path, "wb");
            assert_non_null(out);
            assert_int_equal(fwrite(f.bytes, 1, f.n, out), f.n);
            fclose(out);
            struct timespec a, b;
            clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
            const lathe_status st = lathe_gguf_open(path, &params, &g, &err);
            clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
            assert_int_equal(st, crafted_cases[i].message ? LATHE_ERR_INPUT : LATHE_OK);
            if (st == LATHE_OK)
                lathe_gguf_close(g);
            /* a bound on work, not on speed: ten milliseconds of processor time, where it takes microseconds
             */
            assert_true((double) (b.tv_sec - a.tv_sec) + 1e-9 * (double) (b.tv_nsec - a.tv_nsec) < 0.01);
            remove(path);
        }
}

static void every_cut_of_a_real_file_is_refused(void **state) {
    /* All prefixes of the header and a few of the data: refused, each with a reason. */
    const char *path = need_shared("models/gpt-nano-sort-f32.gguf");
    lathe_error err = {0};
    lathe_gguf *g = NULL, *cut = NULL;
    (void) state;
    check_ok(lathe_gguf_open(path, NULL, &g, &err), err);
    const size_t size = (size_t) lathe_gguf_size(g);
    for (size_t n = 0; n < size; n += n < 6000 ? 1 : 9973) {
        uint8_t *exact = malloc(n ? n : 1);
        memcpy(exact, lathe_gguf_base(g), n);
        assert_int_equal(lathe_gguf_from_memory(exact, n, "cut.gguf", NULL, &cut, &err), LATHE_ERR_INPUT);
        free(exact);
    }
    lathe_gguf_close(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_crafted_file_is_refused),
        cmocka_unit_test(legal_oddities_are_read_right),
        cmocka_unit_test(files_and_folders),
        cmocka_unit_test(every_cut_of_a_real_file_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
