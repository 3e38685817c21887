/* failing_malloc.c - see failing_malloc.h. */
#include "support/failing_malloc.h"

#include "support/check.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t n);
void *__real_aligned_alloc(size_t alignment, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t n);
void *__wrap_aligned_alloc(size_t alignment, size_t n);
char *__wrap_strdup(const char *text);

static atomic_long countdown; /* 0: unarmed or past */
static atomic_bool came;

/* The libraries below ours abort when memory is out, so their allocations are left alone: they are linked
 * after ours, and this is among the first of ggml's functions. Weak: not every test needs ggml. */
void ggml_backend_device_register(void *device) __attribute__((weak));

static bool is_ours(const void *caller) {
    void (*const first)(void *) = ggml_backend_device_register;
    return !first || (uintptr_t) caller < (uintptr_t) first;
}

static bool fails(const void *caller) {
    if (atomic_load(&countdown) <= 0 || !is_ours(caller) || atomic_fetch_sub(&countdown, 1) != 1)
        return false;
    atomic_store(&came, true);
    return true;
}

void *__wrap_malloc(size_t n) {
    return fails(__builtin_return_address(0)) ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size) {
    return fails(__builtin_return_address(0)) ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *old, size_t n) {
    return fails(__builtin_return_address(0)) ? NULL : __real_realloc(old, n);
}

void *__wrap_aligned_alloc(size_t alignment, size_t n) {
    return fails(__builtin_return_address(0)) ? NULL : __real_aligned_alloc(alignment, n);
}

char *__wrap_strdup(const char *text) {
    const size_t n = strlen(text) + 1;
    char *copy = fails(__builtin_return_address(0)) ? NULL : __real_malloc(n);
    return copy ? memcpy(copy, text, n) : NULL;
}

void failing_malloc_arm(long n) {
    atomic_store(&came, false);
    atomic_store(&countdown, n);
}

bool failing_malloc_disarm(void) {
    atomic_store(&countdown, 0);
    return atomic_load(&came);
}

long check_every_allocation(lathe_status (*fn)(void *ctx, lathe_error *err), void *ctx) {
    enum { LIMIT = 100000 };
    for (long n = 1; n < LIMIT; n++) {
        lathe_error err = {0};
        failing_malloc_arm(n);
        const lathe_status st = fn(ctx, &err);
        if (!failing_malloc_disarm()) {
            if (st != LATHE_OK)
                fail_msg("with all %ld allocations: status %d, '%s'", n - 1, (int) st, err.text);
            return n - 1;
        }
        if (st != LATHE_ERR_MEMORY || err.status != LATHE_ERR_MEMORY || !err.text[0])
            fail_msg("allocation %ld failed: status %d, '%s'; want LATHE_ERR_MEMORY", n, (int) st, err.text);
    }
    fail_msg("more than %d allocations", LIMIT);
    return LIMIT;
}
