/* check.c - see check.h. */
#include "support/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void check_near_(double actual, double expected, double tol, const char *file, int line) {
    if (fabs(actual - expected) <= tol)
        return;
    print_error("%.17g is not within %g of %.17g\n", actual, tol, expected);
    _fail(file, line);
}

void check_near_rel_(double actual, double expected, double tol, const char *file, int line) {
    if (fabs(actual - expected) <= tol * fabs(expected))
        return;
    print_error("%.17g is not within %g (relative) of %.17g\n", actual, tol, expected);
    _fail(file, line);
}

void check_array_(const double *actual, const double *expected, size_t n, double tol, const char *file,
                  int line) {
    for (size_t i = 0; i < n; i++) {
        if (fabs(actual[i] - expected[i]) <= tol)
            continue;
        print_error("element %zu: %.17g is not within %g of %.17g\n", i, actual[i], tol, expected[i]);
        _fail(file, line);
    }
}

void check_ok_(int status, const char *text, const char *file, int line) {
    if (status == 0)
        return;
    print_error("status %d: %s\n", status, text);
    _fail(file, line);
}

const char *shared_file(const char *relative) {
    static char paths[8][1024];
    static int next = 0;
    const char *root = getenv("LATHE_SHARED");
    char *path = paths[next++ % 8];
    const int n = root && *root
                      ? snprintf(path, sizeof paths[0], "%s/%s", root, relative)
                      : snprintf(path, sizeof paths[0], "%s/../shared/%s", LATHE_SOURCE_DIR, relative);
    struct stat info;
    if (n < 0 || (size_t) n >= sizeof paths[0] || stat(path, &info) != 0)
        return NULL;
    return path;
}

const char *need_shared(const char *relative) {
    const char *path = shared_file(relative);
    if (!path) {
        print_message("skipped: no %s under LATHE_SHARED\n", relative);
        skip();
    }
    return path;
}

static char temp_paths[64][256];
static int n_temp = 0;

static void remove_temp_files(void) {
    for (int i = 0; i < n_temp && i < 64; i++)
        unlink(temp_paths[i]);
}

const char *temp_file(const char *suffix) {
    if (n_temp == 0)
        atexit(remove_temp_files);
    const char *dir = getenv("TMPDIR");
    char *path = temp_paths[n_temp % 64];
    const int n = snprintf(path, sizeof temp_paths[0], "%s/lathe-test-%ld-%d%s", dir && *dir ? dir : "/tmp",
                           (long) getpid(), n_temp, suffix);
    n_temp++;
    assert_true(n > 0 && (size_t) n < sizeof temp_paths[0]);
    return path;
}
