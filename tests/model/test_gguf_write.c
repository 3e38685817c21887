/* What the writer wrote, the reader reads; and ggml's own reader agrees. */
#include "support/check.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <ggml.h>
#include <gguf.h>

#include "model/gguf_write.h"

static const float values[6] = {1, 2, 3, 4, 5, 6};

static lathe_gguf_writer *filled(void) {
    static const int32_t types[3] = {1, 3, 6};
    static const char *const texts[3] = {"a", "", "long one"};
    const int64_t ne[2] = {3, 2}, one[1] = {5};
    lathe_error err = {0};
    lathe_gguf_writer *w = NULL;
    check_ok(lathe_gguf_writer_new(&w, &err), err);
    lathe_gguf_put_text(w, "general.architecture", "llama");
    lathe_gguf_put_u32(w, "a.u32", 4000000000u);
    lathe_gguf_put_int(w, "a.i8", LATHE_GGUF_I8, -5);
    lathe_gguf_put_int(w, "a.u64", LATHE_GGUF_U64, INT64_C(1) << 40);
    lathe_gguf_put_f32(w, "a.f32", 0.1f);
    lathe_gguf_put_f64(w, "a.f64", 0.1);
    lathe_gguf_put_bool(w, "a.bool", true);
    lathe_gguf_put_array(w, "a.types", LATHE_GGUF_I32, types, 3);
    lathe_gguf_put_strings(w, "a.texts", texts, NULL, 3);
    lathe_gguf_put_tensor(w, "one", GGML_TYPE_F32, 2, ne);
    lathe_gguf_put_tensor(w, "two", GGML_TYPE_I8, 1, one);
    lathe_gguf_put_tensor(w, "three", GGML_TYPE_F32, 2, ne);
    return w;
}

static void round_trip(void **state) {
    (void) state;
    lathe_error err = {0};
    const char *path = temp_file(".gguf");
    lathe_gguf_writer *w = filled();
    check_ok(lathe_gguf_writer_begin(w, path, &err), err);
    const uint64_t size = lathe_gguf_writer_size(w);
    check_ok(lathe_gguf_writer_data(w, values, 4, &err), err); /* in pieces */
    check_ok(lathe_gguf_writer_data(w, values + 1, 20, &err), err);
    assert_int_equal(lathe_gguf_writer_data(w, values, 6, &err), LATHE_ERR_ARG); /* "two" has 5 bytes */
    check_ok(lathe_gguf_writer_data(w, "hello", 5, &err), err);
    check_ok(lathe_gguf_writer_data(w, values, 24, &err), err);
    assert_int_not_equal(access(path, F_OK), 0); /* it appears with finish alone */
    check_ok(lathe_gguf_writer_finish(w, &err), err);

    lathe_gguf *g = NULL;
    check_ok(lathe_gguf_open(path, NULL, &g, &err), err);
    assert_int_equal(lathe_gguf_size(g), size);
    int64_t n = 0;
    double x = 0;
    bool yes = false;
    check_ok(lathe_gguf_int(g, "a.u32", LATHE_GGUF_REQUIRED, 0, INT64_MAX, &n, &err), err);
    assert_true(n == 4000000000);
    check_ok(lathe_gguf_int(g, "a.i8", LATHE_GGUF_REQUIRED, -128, 127, &n, &err), err);
    assert_int_equal(n, -5);
    check_ok(lathe_gguf_int(g, "a.u64", LATHE_GGUF_REQUIRED, 0, INT64_MAX, &n, &err), err);
    assert_true(n == INT64_C(1) << 40);
    check_ok(lathe_gguf_real(g, "a.f32", LATHE_GGUF_REQUIRED, 0, 1, &x, &err), err);
    assert_true(x == (double) 0.1f);
    check_ok(lathe_gguf_real(g, "a.f64", LATHE_GGUF_REQUIRED, 0, 1, &x, &err), err);
    assert_true(x == 0.1);
    check_ok(lathe_gguf_bool(g, "a.bool", LATHE_GGUF_REQUIRED, &yes, &err), err);
    assert_true(yes);
    int64_t per_layer[3];
    check_ok(lathe_gguf_ints(g, "a.types", LATHE_GGUF_REQUIRED, 1, 6, per_layer, 3, &err), err);
    assert_int_equal(per_layer[2], 6);
    assert_int_equal(lathe_gguf_ints(g, "a.types", LATHE_GGUF_REQUIRED, 1, 5, per_layer, 3, &err),
                     LATHE_ERR_INPUT);
    lathe_gguf_array texts;
    check_ok(
        lathe_gguf_array_get(g, "a.texts", LATHE_GGUF_REQUIRED, 1u << LATHE_GGUF_STRING, 3, &texts, &err),
        err);
    lathe_gguf_strings it = lathe_gguf_strings_of(&texts);
    const char *text;
    size_t n_bytes;
    assert_true(lathe_gguf_strings_next(&it, &text, &n_bytes) && n_bytes == 1);
    assert_true(lathe_gguf_strings_next(&it, &text, &n_bytes) && n_bytes == 0);
    assert_true(lathe_gguf_strings_next(&it, &text, &n_bytes) && n_bytes == 8);
    assert_memory_equal(text, "long one", 8);
    assert_false(lathe_gguf_strings_next(&it, &text, &n_bytes));
    assert_memory_equal(lathe_gguf_tensor_find(g, "one")->data, values, 24);
    assert_memory_equal(lathe_gguf_tensor_find(g, "two")->data, "hello", 5);
    assert_memory_equal(lathe_gguf_tensor_find(g, "three")->data, values, 24);
    assert_int_equal(lathe_gguf_tensor_find(g, "three")->offset % 32, 0);
    lathe_gguf_close(g);

    struct gguf_context *peer = gguf_init_from_file(path, (struct gguf_init_params){.no_alloc = true});
    assert_non_null(peer);
    assert_int_equal(gguf_get_n_tensors(peer), 3);
    assert_int_equal(gguf_get_n_kv(peer), 9);
    assert_int_equal(gguf_get_tensor_offset(peer, gguf_find_tensor(peer, "three")), 64);
    gguf_free(peer);
}

static void a_failure_leaves_the_old_file(void **state) {
    (void) state;
    lathe_error err = {0};
    const char *path = temp_file(".gguf");
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fputs("old", f) < 0, 0);
    fclose(f);
    lathe_gguf_writer *w = filled();
    check_ok(lathe_gguf_writer_begin(w, path, &err), err);
    assert_int_equal(lathe_gguf_writer_finish(w, &err), LATHE_ERR_INTERNAL); /* data is missing */
    char now[8] = {0};
    f = fopen(path, "rb");
    assert_int_equal(fread(now, 1, 7, f), 3);
    fclose(f);
    assert_string_equal(now, "old");
}

static void wrong_tensors_are_refused(void **state) {
    (void) state;
    lathe_error err = {0};
    lathe_gguf_writer *w = filled();
    lathe_gguf_put_tensor(w, "rows of 33", GGML_TYPE_Q4_0, 1, (const int64_t[]){33});
    assert_int_equal(lathe_gguf_writer_begin(w, temp_file(".gguf"), &err), LATHE_ERR_ARG);
    assert_non_null(strstr(err.text, "tensor 'rows of 33' of type q4_0"));
    lathe_gguf_writer_free(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(a_failure_leaves_the_old_file),
        cmocka_unit_test(wrong_tensors_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
