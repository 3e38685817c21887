/* failing_malloc.h - makes one allocation of our code fail.
 *
 * The linker sends malloc, calloc, realloc, aligned_alloc and strdup of all statically linked code here
 * (--wrap; so under AddressSanitizer too); what shared libraries and ggml allocate is left alone. In CMake:
 *     lathe_test(room/name SOURCES ${FAILING_MALLOC_SOURCES} LIBS ${FAILING_MALLOC_LIBS}) */
#ifndef LATHE_TESTS_FAILING_MALLOC_H
#define LATHE_TESTS_FAILING_MALLOC_H

#include "lathe/base.h"

/* The n-th allocation from now on fails, once (n from 1; 0: none). */
void failing_malloc_arm(long n);
/* Stops; true if the armed failure came. */
bool failing_malloc_disarm(void);

/* Runs fn with its first, second, ... allocation failing until it gets through: every other run must end with
 * LATHE_ERR_MEMORY and a message, the last with LATHE_OK. fn frees what it made. Returns how many allocations
 * there were. */
long check_every_allocation(lathe_status (*fn)(void *ctx, lathe_error *err), void *ctx);

#endif
