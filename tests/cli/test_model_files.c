/* The verbs info, quantize and synth as a script sees them: exit status, one object of JSON, one line of
 * error. */
#include "support/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <jansson.h>

/* Runs `lathe ARGS`, both streams into out; returns the exit status. */
static int lathe(const char *args, char *out, size_t n_out) {
    char command[2048];
    snprintf(command, sizeof command, "'%s' %s 2>&1", LATHE_PROGRAM, args);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    size_t n = fread(out, 1, n_out - 1, pipe);
    out[n] = 0;
    char rest[4096];
    while (fread(rest, 1, sizeof rest, pipe) > 0)
        ;
    const int status = pclose(pipe);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static json_t *lathe_json(const char *args) {
    static char out[1 << 20];
    json_error_t err;
    assert_int_equal(lathe(args, out, sizeof out), 0);
    json_t *value = json_loads(out, 0, &err);
    if (!value)
        fail_msg("no JSON: %s: %.200s", err.text, out);
    return value;
}

static json_int_t number(json_t *object, const char *key) {
    json_t *value = json_object_get(object, key);
    if (!json_is_integer(value))
        fail_msg("'%s' is no integer", key);
    return json_integer_value(value);
}

static void synth_info_quantize(void **state) {
    char args[1024], path[256], small[256];
    (void) state;
    snprintf(path, sizeof path, "%s", temp_file(".gguf"));
    snprintf(small, sizeof small, "%s", temp_file(".gguf"));
    snprintf(args, sizeof args, "synth --arch llama --shape 1M --type f32 --json -o %s", path);
    json_t *v = lathe_json(args);
    assert_string_equal(json_string_value(json_object_get(v, "schema")), "lathe.synth/1");
    assert_int_equal(number(v, "n_params"), 918656);
    const json_int_t bytes = number(v, "bytes");
    json_decref(v);

    snprintf(args, sizeof args, "info -m %s --check --json -c 100 --cache-type f32", path);
    v = lathe_json(args);
    assert_string_equal(json_string_value(json_object_get(v, "schema")), "lathe.info/1");
    assert_string_equal(json_string_value(json_object_get(v, "architecture")), "llama");
    assert_string_equal(json_string_value(json_object_get(v, "file_type")), "f32");
    assert_int_equal(number(v, "n_params"), 918656);
    assert_int_equal(number(v, "n_layer"), 4);
    assert_int_equal(number(v, "n_embd"), 128);
    assert_int_equal(number(v, "n_head"), 4);
    assert_int_equal(number(v, "n_head_kv"), 2);
    assert_int_equal(number(v, "n_vocab"), 1024);
    assert_int_equal(number(v, "n_ctx_train"), 2048);
    assert_int_equal(number(v, "weights_bytes"), 918656 * 4);
    /* 4 layers x 100 tokens x 2 heads x 32 x (K and V) x 4 bytes */
    assert_int_equal(number(v, "cache_bytes"), 4 * 100 * 2 * 32 * 2 * 4);
    assert_int_equal(json_array_size(json_object_get(v, "tensors")), 38);
    json_t *first = json_array_get(json_object_get(v, "tensors"), 0);
    assert_string_equal(json_string_value(json_object_get(first, "name")), "token_embd.weight");
    assert_int_equal(json_integer_value(json_array_get(json_object_get(first, "shape"), 0)), 128);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(first, "shape"), 1)), 1024);
    assert_non_null(json_object_get(json_object_get(v, "metadata"), "llama.block_count"));
    json_decref(v);

    snprintf(args, sizeof args, "quantize %s %s q8_0 --json", path, small);
    v = lathe_json(args);
    assert_int_equal(number(v, "bytes_in"), bytes);
    assert_true(number(v, "bytes_out") < bytes * 3 / 10);
    /* embedding and 7 matrices a layer; 2 norms a layer and the last one */
    assert_int_equal(number(json_object_get(v, "types"), "q8_0"), 29);
    assert_int_equal(number(json_object_get(v, "types"), "f32"), 9);
    json_decref(v);
}

static void errors_are_one_line_with_a_status(void **state) {
    static const struct {
        const char *args;
        int status;
        const char *says;
    } cases[] = {
        {"info", 2, "lathe info: no model; want -m FILE.gguf"},
        {"info -m /no/such.gguf", 1, "lathe info: /no/such.gguf: No such file or directory"},
        {"info -m /", 1, "lathe info: /: a directory; want a regular file"},
        {"synth --arch lama -o /tmp/x.gguf", 2, "lathe synth: unknown family 'lama'; want one of llama"},
        {"synth --shape 2M -o /tmp/x.gguf", 2, "lathe synth: unknown shape '2M'; want 1M, 10M"},
        {"synth", 2, "lathe synth: no output file; want -o FILE.gguf"},
        {"synth -o /no/such/folder/x.gguf", 1, "/no/such/folder"},
        {"quantize a b", 2, "lathe quantize: 2 arguments; want IN.gguf OUT.gguf TYPE"},
        {"quantize a b q9", 2, "lathe quantize: 'q9' is no type to quantise to; want one of q8_0"},
    };
    char out[4096];
    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const int status = lathe(cases[i].args, out, sizeof out);
        if (status != cases[i].status || !strstr(out, cases[i].says))
            fail_msg("lathe %s: status %d, '%s'", cases[i].args, status, out);
        char *end = strchr(out, '\n');
        assert_non_null(end);
        assert_int_equal(end[1], 0); /* one line */
    }
}

static void families_and_devices_are_listed(void **state) {
    char out[4096];
    (void) state;
    assert_int_equal(lathe("info --families", out, sizeof out), 0);
    assert_non_null(strstr(out, "llama\n"));
    assert_non_null(strstr(out, "gptneox\n"));
    assert_int_equal(lathe("info --devices", out, sizeof out), 0);
    assert_non_null(strstr(out, "CPU"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(synth_info_quantize),
        cmocka_unit_test(errors_are_one_line_with_a_status),
        cmocka_unit_test(families_and_devices_are_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
