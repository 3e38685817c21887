/* Memory for packed weights: aligned, apart from each other, whole, and empty at first. */
#include "support/check.h"

#include <stdint.h>
#include <string.h>

#include "lathe/base.h"
#include "tensor/cpu/arena.h"

static void pieces_are_aligned_empty_and_apart(void **state) {
    (void) state;
    lathe_arena arena = {0};
    uint8_t *p[40];
    const size_t sizes[4] = {1, 64, 1000, 3 << 20};
    for (int i = 0; i < 40; i++) {
        p[i] = lathe_arena_take(&arena, sizes[i % 4]);
        assert_non_null(p[i]);
        assert_int_equal((uintptr_t) p[i] % 64, 0);
        for (size_t k = 0; k < sizes[i % 4]; k += 61)
            assert_int_equal(p[i][k], 0);
        memset(p[i], i + 1, sizes[i % 4]);
    }
    for (int i = 0; i < 40; i++)
        for (size_t k = 0; k < sizes[i % 4]; k++)
            if (p[i][k] != i + 1)
                fail_msg("piece %d is written over", i);
    lathe_arena_free(&arena);
    lathe_arena_free(&arena); /* empty again */
}

static void more_than_a_chunk_gets_its_own(void **state) {
    /* Only the ends are touched: the rest costs nothing. */
    (void) state;
    lathe_arena arena = {0};
    const size_t n = (size_t) 700 << 20;
    uint8_t *small = lathe_arena_take(&arena, 100), *big = lathe_arena_take(&arena, n);
    assert_non_null(small);
    assert_non_null(big);
    big[0] = big[n - 1] = 1;
    assert_int_equal(small[0], 0);
    lathe_arena_free(&arena);
}

static void impossible_sizes_are_refused(void **state) {
    (void) state;
    lathe_arena arena = {0};
    assert_null(lathe_arena_take(&arena, SIZE_MAX));
    assert_null(lathe_arena_take(&arena, SIZE_MAX - 100));
    assert_null(lathe_arena_take(&arena, (size_t) 1 << 60));
    lathe_arena_free(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_aligned_empty_and_apart),
        cmocka_unit_test(more_than_a_chunk_gets_its_own),
        cmocka_unit_test(impossible_sizes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
