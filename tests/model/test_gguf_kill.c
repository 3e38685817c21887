/* A writer that is killed at any moment leaves the old file or the new one, never else. */
#include "support/check.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <ggml.h>

#include "model/gguf_write.h"

enum { N = 1 << 16, KILLS = 200, CHANGES_MIN = 5 };

/* A file whose values are all `mark`. */
static lathe_status write_marked(const char *path, float mark, lathe_error *err) {
    static float values[N];
    lathe_gguf_writer *w = NULL;
    for (int i = 0; i < N; i++)
        values[i] = mark;
    lathe_status st = lathe_gguf_writer_new(&w, err);
    if (st)
        return st;
    lathe_gguf_put_f32(w, "mark", mark);
    lathe_gguf_put_tensor(w, "values", GGML_TYPE_F32, 1, (const int64_t[]){N});
    st = lathe_gguf_writer_begin(w, path, err);
    for (int i = 0; !st && i < N; i += N / 16) /* in pieces, so that a kill finds it half-written */
        st = lathe_gguf_writer_data(w, values + i, sizeof values / 16, err);
    if (st) {
        lathe_gguf_writer_free(w);
        return st;
    }
    return lathe_gguf_writer_finish(w, err);
}

static void killed_writers_leave_old_or_new(void **state) {
    char folder[] = "/tmp/lathe-kill-XXXXXX", path[64], command[128];
    lathe_error err = {0};
    lathe_rng rng = lathe_rng_new(1, 36, 14);
    int n_changed = 0;
    double last = -1;
    (void) state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/x.gguf", folder);
    check_ok(write_marked(path, -1, &err), err);
    /* A machine that is busy with other things may not let a writer finish in the usual time: then some get
     * more. */
    uint64_t longest = 6000000; /* nanoseconds */
    for (int k = 0; k < KILLS || (n_changed <= CHANGES_MIN && k < KILLS + 16); k++) {
        longest *= k < KILLS ? 1 : 2;
        const pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            for (int i = 0;; i++)
                if (write_marked(path, (float) (1000 * k + i), NULL) != LATHE_OK)
                    _exit(1);
        }
        const uint64_t nanoseconds = lathe_rng_below(&rng, longest);
        const struct timespec wait = {.tv_sec = (time_t) (nanoseconds / 1000000000),
                                      .tv_nsec = (long) (nanoseconds % 1000000000)};
        nanosleep(&wait, NULL);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);

        lathe_gguf *g = NULL;
        double mark = 0;
        check_ok(lathe_gguf_open(path, NULL, &g, &err), err);
        check_ok(lathe_gguf_real(g, "mark", LATHE_GGUF_REQUIRED, -1, 1e9, &mark, &err), err);
        const float *values = (const float *) (const void *) lathe_gguf_tensor_find(g, "values")->data;
        for (int i = 0; i < N; i++)
            if ((double) values[i] != mark)
                fail_msg("kill %d: value %d is %g in a file of %g", k, i, (double) values[i], mark);
        lathe_gguf_close(g);
        n_changed += mark != last;
        last = mark;
    }
    assert_true(n_changed > CHANGES_MIN);                  /* writers got somewhere, or nothing was tested */
    snprintf(command, sizeof command, "rm -r %s", folder); /* with the temporary files of the killed */
    assert_int_equal(system(command), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(killed_writers_leave_old_or_new)};
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
