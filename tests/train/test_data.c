/* Token files and the order of their windows, against the numbers of the specification. */
#include "support/check.h"

#include <stdio.h>
#include <string.h>

#include "lathe/train.h"

static void permutation(void **state) {
    (void) state;
    const uint64_t ten[2][10] = {{2, 3, 7, 5, 9, 4, 0, 8, 6, 1}, {4, 7, 9, 5, 8, 3, 2, 0, 6, 1}};
    const uint64_t sixteen[16] = {2, 14, 7, 12, 11, 4, 0, 8, 6, 10, 1, 15, 5, 9, 3, 13};
    const uint64_t thousand[8] = {920, 949, 739, 624, 162, 656, 549, 236};
    for (uint32_t e = 0; e < 2; e++)
        for (uint64_t i = 0; i < 10; i++)
            assert_int_equal(lathe_permuted(42, e, 10, i), ten[e][i]);
    for (uint64_t i = 0; i < 16; i++)
        assert_int_equal(lathe_permuted(42, 0, 16, i), sixteen[i]);
    for (uint64_t i = 0; i < 8; i++)
        assert_int_equal(lathe_permuted(42, 0, 1000, i), thousand[i]);
    assert_int_equal(lathe_permuted(42, 0, 1, 0), 0);
}

/* Offsets of epochs 1 to 3 for context 256 are 134, 86, 225; every window of an epoch comes once. */
static void windows(void **state) {
    (void) state;
    const uint64_t offset[4] = {0, 134, 86, 225};
    uint64_t n = 256 * 5 + 200, index = 0;
    for (int e = 0; e < 4; e++) {
        uint64_t count = (n - 1 - offset[e]) / 256, seen = 0;
        for (uint64_t i = 0; i < count; i++, index++) {
            uint64_t at = lathe_window_at(42, n, 256, index);
            assert_int_equal(at % 256, offset[e]);
            assert_true(at + 257 <= n);
            seen |= (uint64_t) 1 << at / 256;
        }
        assert_int_equal(seen, ((uint64_t) 1 << count) - 1);
    }
    assert_int_equal(lathe_window_at(42, 257, 256, 7), 0); /* no room to shift: one window an epoch */
}

static void token_files(void **state) {
    (void) state;
    enum { N = 5000 };
    static int32_t ids[N], back[N];
    lathe_error err = {0};
    lathe_tokens *t;
    for (int i = 0; i < N; i++)
        ids[i] = i * 7 % 300;
    const int32_t vocabs[] = {300, 70000};
    for (int k = 0; k < 2; k++) {
        const char *path = temp_file(".ltok");
        check_ok(lathe_tokens_write(path, ids, N, vocabs[k], NULL, &err), err);
        check_ok(lathe_tokens_open(path, vocabs[k], &t, &err), err);
        assert_int_equal(lathe_tokens_count(t), N);
        lathe_tokens_read(t, 0, N, back);
        assert_memory_equal(ids, back, sizeof ids);
        lathe_tokens_close(t);
        assert_int_equal(lathe_tokens_open(path, 299, &t, &err), LATHE_ERR_INPUT);
        assert_non_null(strstr(err.text, "vocabulary"));
    }
    const char *path = temp_file(".ltok");
    assert_int_equal(lathe_tokens_write(path, ids, N, 299, NULL, &err), LATHE_ERR_ARG);
    check_ok(lathe_tokens_write(path, ids, N, 300, NULL, &err), err);
    FILE *f = fopen(path, "r+b"); /* now a token is outside the vocabulary: the message has its offset */
    assert_non_null(f);
    fseek(f, 12, SEEK_SET);
    fputc(299 - 256, f);
    fflush(f);
    assert_int_equal(lathe_tokens_open(path, 0, &t, &err), LATHE_ERR_INPUT);
    assert_non_null(strstr(err.text, "offset"));
    fseek(f, 16, SEEK_SET); /* a count that the file does not hold */
    fputc(0xff, f);
    fclose(f);
    assert_int_equal(lathe_tokens_open(path, 0, &t, &err), LATHE_ERR_INPUT);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(permutation), cmocka_unit_test(windows),
                                       cmocka_unit_test(token_files)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
