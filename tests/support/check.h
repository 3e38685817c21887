/* check.h - what cmocka lacks: doubles compared as doubles, paths of shared files, skipping.
 * Include it first: it brings cmocka's own requirements in the right order. */
#ifndef LATHE_TESTS_CHECK_H
#define LATHE_TESTS_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* |actual - expected| <= tol, else fails with both values in full. NaN never passes. */
#define check_near(actual, expected, tol)                                                                    \
    check_near_((double) (actual), (double) (expected), (double) (tol), __FILE__, __LINE__)
/* |actual - expected| <= tol * |expected|. */
#define check_near_rel(actual, expected, tol)                                                                \
    check_near_rel_((double) (actual), (double) (expected), (double) (tol), __FILE__, __LINE__)
/* Both arrays of n doubles agree within tol; says the first index that does not. */
#define check_array(actual, expected, n, tol)                                                                \
    check_array_((actual), (expected), (n), (double) (tol), __FILE__, __LINE__)
/* status is LATHE_OK, else fails with err.text. */
#define check_ok(status, err) check_ok_((int) (status), (err).text, __FILE__, __LINE__)

void check_near_(double actual, double expected, double tol, const char *file, int line);
void check_near_rel_(double actual, double expected, double tol, const char *file, int line);
void check_array_(const double *actual, const double *expected, size_t n, double tol, const char *file,
                  int line);
void check_ok_(int status, const char *text, const char *file, int line);

/* Path of a file under LATHE_SHARED (default ../shared beside the source tree) in a static buffer of its own
 * (eight in rotation); NULL where the file is missing. */
const char *shared_file(const char *relative);
/* As above, and skips the test where it is missing. */
const char *need_shared(const char *relative);
/* A fresh path for a temporary file with this suffix; removed at exit. Eight buffers in rotation. */
const char *temp_file(const char *suffix);

#endif
