/* N-gram caches: drafts and bytes of the specification, files that are cut or wrong. */
#include "support/check.h"

#include "base/file.h"
#include "lathe/decode.h"

#include <stdlib.h>
#include <string.h>

/* A record of one n-gram and its followers as little-endian words. */
static lathe_ngram *parse(const int32_t *words, size_t n, lathe_error *err) {
    uint8_t bytes[256];
    for (size_t i = 0; i < n; i++)
        for (int k = 0; k < 4; k++)
            bytes[4 * i + (size_t) k] = (uint8_t) ((uint32_t) words[i] >> 8 * k);
    lathe_ngram *g = NULL;
    return lathe_ngram_parse(bytes, 4 * n, 100, NULL, &g, err) ? NULL : g;
}

static void test_draft(void **state) {
    (void) state;
    lathe_error err = {0};
    const int32_t ids[] = {1, 2, 3, 4, 1, 2, 3, 5, 1, 2, 3};
    lathe_ngram *context;
    int32_t out[4];
    check_ok(lathe_ngram_new(&context, &err), err);
    check_ok(lathe_ngram_update(context, ids, 11, 0, 1, 4, &err), err);
    assert_int_equal(lathe_ngram_count(context, NULL, NULL), 25);
    assert_int_equal(lathe_ngram_draft(context, NULL, NULL, ids, 11, out, 4), 4);
    assert_memory_equal(out, ((const int32_t[]){4, 1, 2, 3}), sizeof out);
    lathe_ngram *fixed = parse((const int32_t[]){2, 3, -1, -1, 2, 5, 3, 9, 1}, 9, &err);
    assert_non_null(fixed);
    assert_int_equal(lathe_ngram_draft(context, NULL, fixed, ids, 11, out, 4), 4);
    assert_memory_equal(out, ((const int32_t[]){5, 1, 2, 3}), sizeof out);
    lathe_ngram_free(fixed);
    lathe_ngram_free(context);

    const int32_t h[] = {7, 8};
    const struct {
        int32_t words[9];
        size_t n;
        bool dynamic;
        int32_t want; /* -1: nothing */
    } row[] = {{{7, 8, -1, -1, 2, 4, 2, 6, 2}, 9, false, 4},
               {{7, 8, -1, -1, 1, 4, 1}, 7, false, -1},
               {{8, -1, -1, -1, 2, 4, 3, 6, 1}, 9, true, 4},
               {{8, -1, -1, -1, 1, 4, 3}, 7, true, -1}};
    for (size_t i = 0; i < LATHE_LEN(row); i++) {
        lathe_ngram *g = parse(row[i].words, row[i].n, &err);
        assert_non_null(g);
        const int32_t n =
            lathe_ngram_draft(NULL, row[i].dynamic ? g : NULL, row[i].dynamic ? NULL : g, h, 2, out, 1);
        assert_int_equal(n, row[i].want >= 0);
        if (n)
            assert_int_equal(out[0], row[i].want);
        lathe_ngram_free(g);
    }
}

static void test_file(void **state) {
    (void) state;
    lathe_error err = {0};
    const int32_t ids[] = {1, 2, 3, 4, 1, 2, 3, 5, 1, 2, 3};
    const char *path = temp_file(".lcache");
    lathe_ngram *g, *back;
    int64_t n_bytes;
    check_ok(lathe_ngram_new(&g, &err), err);
    check_ok(lathe_ngram_update(g, ids, 11, 0, 1, 4, &err), err);
    check_ok(lathe_ngram_write(g, path, &n_bytes, &err), err);
    assert_int_equal(n_bytes, 724);
    check_ok(lathe_ngram_read(path, 6, NULL, &back, &err), err);
    assert_int_equal(lathe_ngram_count(back, NULL, NULL), 25);
    check_ok(lathe_ngram_merge(back, g, &err), err);
    int64_t followers, by_size[4];
    lathe_ngram_count(back, by_size, &followers);
    assert_int_equal(by_size[0] + by_size[1] + by_size[2] + by_size[3], 25);
    assert_int_equal(25 * 20 + 8 * followers, 724);
    assert_int_equal(lathe_ngram_read(path, 5, NULL, &back, &err),
                     LATHE_ERR_INPUT); /* id 5 of a vocabulary of 5 */
    lathe_ngram_free(g);
    lathe_ngram_free(back);

    static const uint8_t record[36] = {2, 0, 0, 0, 3, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 2, 0,
                                       0, 0, 4, 0, 0, 0, 1, 0, 0,   0,   5,   0,   0,   0,   1,   0,   0, 0};
    for (size_t n = 0; n <= sizeof record; n++) {
        const lathe_status status = lathe_ngram_parse(record, n, 0, NULL, &back, &err);
        assert_int_equal(status, n == 0 || n == 36 ? LATHE_OK : LATHE_ERR_INPUT);
        if (!status) {
            check_ok(lathe_ngram_write(back, path, &n_bytes, &err), err);
            lathe_file f;
            check_ok(lathe_file_open(path, false, 100, &f, &err), err);
            assert_int_equal(f.n_bytes, n);
            assert_memory_equal(f.bytes, record, n);
            lathe_file_close(&f);
            lathe_ngram_free(back);
        } else {
            assert_non_null(strstr(err.text, "byte"));
        }
    }
}

static void test_hostile(void **state) {
    (void) state;
    lathe_error err = {0};
    const int32_t bad[][9] = {
        {-1, -1, -1, -1, 1, 4, 1}, {2, -1, 3, -1, 1, 4, 1},          {2, 100, -1, -1, 1, 4, 1},
        {2, 3, -1, -1, 0, 4, 1},   {2, 3, -1, -1, -5, 4, 1},         {2, 3, -1, -1, 1, 4, 0},
        {2, 3, -1, -1, 1, -1, 1},  {2, 3, -1, -1, 2147483647, 4, 1}, {-7, 3, -1, -1, 1, 4, 1}};
    for (size_t i = 0; i < LATHE_LEN(bad); i++)
        assert_null(parse(bad[i], 7, &err));
    assert_null(parse((const int32_t[]){2, 3, -1, -1, 2, 4, 1, 4, 1}, 9, &err)); /* a follower twice */
    /* A repeated n-gram: the first counts. */
    lathe_ngram *g = parse((const int32_t[]){7, 8, -1, -1, 1, 4, 5, 7, 8, -1, -1, 1, 6, 9}, 14, &err);
    int32_t out[1];
    assert_int_equal(lathe_ngram_draft(NULL, NULL, g, (const int32_t[]){7, 8}, 2, out, 1), 1);
    assert_int_equal(out[0], 4);
    /* Counts saturate. */
    lathe_ngram *big = parse((const int32_t[]){7, 8, -1, -1, 1, 4, INT32_MAX}, 7, &err);
    check_ok(lathe_ngram_merge(g, big, &err), err);
    assert_int_equal(lathe_ngram_draft(NULL, NULL, g, (const int32_t[]){7, 8}, 2, out, 1), 1);
    lathe_ngram_free(big);
    lathe_ngram_free(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_draft), cmocka_unit_test(test_file),
                                       cmocka_unit_test(test_hostile)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
