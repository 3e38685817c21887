/* The reader gives what a well-formed file holds. */
#include "support/check.h"

#include <string.h>

#include <ggml.h>

#include "model/gguf.h"

static void type_table_is_ggmls(void **state) {
    (void) state;
    for (int t = 0; t < GGML_TYPE_COUNT; t++) {
        const enum ggml_type type = (enum ggml_type) t;
        assert_int_equal(lathe_gguf_block_bytes((uint32_t) t), ggml_type_size(type));
        if (ggml_type_size(type) == 0)
            continue;
        assert_int_equal(lathe_gguf_block_values((uint32_t) t), ggml_blck_size(type));
        assert_string_equal(lathe_gguf_tensor_type_name((uint32_t) t), ggml_type_name(type));
        assert_int_equal(lathe_gguf_tensor_type_find(ggml_type_name(type)), t);
    }
    assert_int_equal(lathe_gguf_block_bytes(42),
                     18); /* q2_0, which ggml has from 0.25 on: 64 values, a half and 16 bytes */
    assert_int_equal(lathe_gguf_block_values(4), 0); /* withdrawn */
    assert_int_equal(lathe_gguf_block_values(1000), 0);
    assert_int_equal(lathe_gguf_tensor_type_find("Q4_k"), GGML_TYPE_Q4_K);
    assert_int_equal(lathe_gguf_tensor_type_find("q4"), -1);
}

static void stories_file(bool no_mmap) {
    /* Facts from the model's INDEX and llama2.c's checkpoint: 5 layers, width 64, 512 tokens. */
    const char *path = need_shared("models/stories260K-f32.gguf");
    const lathe_gguf_params params = {.no_mmap = no_mmap};
    lathe_error err = {0};
    lathe_gguf *g = NULL;
    check_ok(lathe_gguf_open(path, &params, &g, &err), err);
    assert_int_equal(lathe_gguf_is_mapped(g), !no_mmap);
    assert_true(lathe_gguf_is_aligned(g));
    int64_t n = 0;
    check_ok(lathe_gguf_int(g, "llama.block_count", LATHE_GGUF_REQUIRED, 1, 1024, &n, &err), err);
    assert_int_equal(n, 5);
    check_ok(lathe_gguf_int(g, "llama.embedding_length", LATHE_GGUF_REQUIRED, 1, 1024, &n, &err), err);
    assert_int_equal(n, 64);
    const char *arch = NULL;
    check_ok(lathe_gguf_text(g, "general.architecture", LATHE_GGUF_REQUIRED, &arch, &err), err);
    assert_string_equal(arch, "llama");
    n = 77;
    check_ok(lathe_gguf_int(g, "llama.no_such_key", LATHE_GGUF_OPTIONAL, 1, 1024, &n, &err), err);
    assert_int_equal(n, 77);
    assert_int_equal(lathe_gguf_int(g, "llama.no_such_key", LATHE_GGUF_REQUIRED, 1, 1024, &n, &err),
                     LATHE_ERR_INPUT);
    assert_non_null(strstr(err.text, "key 'llama.no_such_key' is missing"));
    assert_int_equal(lathe_gguf_int(g, "llama.block_count", LATHE_GGUF_REQUIRED, 6, 1024, &n, &err),
                     LATHE_ERR_INPUT);
    assert_non_null(strstr(err.text, "key 'llama.block_count' is 5; want 6 to 1024"));
    assert_int_equal(lathe_gguf_text(g, "llama.block_count", LATHE_GGUF_REQUIRED, &arch, &err),
                     LATHE_ERR_INPUT);
    assert_int_equal(n, 77);

    lathe_gguf_array tokens;
    check_ok(lathe_gguf_array_get(g, "tokenizer.ggml.tokens", LATHE_GGUF_REQUIRED, 1u << LATHE_GGUF_STRING,
                                  512, &tokens, &err),
             err);
    lathe_gguf_strings it = lathe_gguf_strings_of(&tokens);
    const char *text;
    size_t n_bytes, count = 0;
    while (lathe_gguf_strings_next(&it, &text, &n_bytes))
        if (count++ == 3)
            assert_memory_equal(text, "<0x00>", 6);
    assert_int_equal(count, 512);

    const lathe_gguf_tensor *t = lathe_gguf_tensor_find(g, "token_embd.weight");
    assert_non_null(t);
    assert_int_equal(t->ne[0], 64);
    assert_int_equal(t->ne[1], 512);
    assert_int_equal(t->n_bytes, 64 * 512 * 4);
    assert_ptr_equal(t->data, lathe_gguf_base(g) + t->offset);
    assert_null(lathe_gguf_tensor_find(g, "token_embd.weigh"));
    for (size_t i = 0; i < lathe_gguf_n_tensors(g); i++)
        assert_ptr_equal(lathe_gguf_tensor_find(g, lathe_gguf_tensor_at(g, i)->name),
                         lathe_gguf_tensor_at(g, i));
    for (size_t i = 0; i < lathe_gguf_n_kv(g); i++)
        assert_ptr_equal(lathe_gguf_find(g, lathe_gguf_kv_at(g, i)->key), lathe_gguf_kv_at(g, i));
    lathe_gguf_close(g);
}

static void a_real_file_mapped(void **state) {
    (void) state;
    stories_file(false);
}

static void a_real_file_read(void **state) {
    (void) state;
    stories_file(true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(type_table_is_ggmls),
        cmocka_unit_test(a_real_file_mapped),
        cmocka_unit_test(a_real_file_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
