/* Option tables: kinds, ranges, sources in their order, and messages that say what would be right. */
#include "support/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/option.h"
#include "base/text.h"

typedef struct args {
    bool unused, verbose, n_seen;
    int64_t n, bytes;
    double p;
    const char *text, *list;
    int32_t choice;
} args;

static const char *const colours[] = {"red", "green", "blue", NULL};
static const lathe_option table[] = {
    {.name = "n-predict",
     .short_name = "n",
     .kind = LATHE_OPTION_INT,
     .min = -1,
     .max = 100000,
     .offset = offsetof(args, n),
     .seen_offset = offsetof(args, n_seen),
     .env = "LATHE_TEST_N"},
    {.name = "bytes", .kind = LATHE_OPTION_BYTES, .offset = offsetof(args, bytes)},
    {.name = "top-p",
     .kind = LATHE_OPTION_REAL,
     .min = 0,
     .max = 1,
     .percent = true,
     .offset = offsetof(args, p)},
    {.name = "text", .short_name = "tx", .kind = LATHE_OPTION_TEXT, .offset = offsetof(args, text)},
    {.name = "list", .kind = LATHE_OPTION_LIST, .repeat = true, .offset = offsetof(args, list)},
    {.name = "colour", .kind = LATHE_OPTION_CHOICE, .choices = colours, .offset = offsetof(args, choice)},
    {.name = "verbose", .short_name = "v", .kind = LATHE_OPTION_FLAG, .offset = offsetof(args, verbose)},
};
static const lathe_option *const tables[] = {table};
static const size_t counts[] = {LATHE_LEN(table)};
static const lathe_option_set set = {tables, counts, 1};

/* Parses words separated by single blanks into a; the parsed thing stays in *parsed. */
static lathe_status parse(const char *line, const char *config, args *a, lathe_options_parsed *parsed,
                          lathe_error *err) {
    static char copy[512];
    static char *argv[64];
    int argc = 0;
    assert_true(strlen(line) < sizeof copy);
    memcpy(copy, line, strlen(line) + 1);
    for (char *p = strtok_r(copy, " ", argv); p; p = strtok_r(NULL, " ", argv))
        argv[1 + argc++] = p;
    const lathe_option_target target = {&set, a};
    return lathe_options_parse(&target, 1, config, argc, argv + 1, parsed, err);
}

static void every_kind_is_read(void **state) {
    (void) state;
    args a = {0};
    lathe_options_parsed parsed;
    lathe_error err = {0};
    check_ok(
        parse("-n -1 --bytes=2KiB file --top-p 50% -tx --x --list a --list b,c --colour blue -v -- --last",
              NULL, &a, &parsed, &err),
        err);
    assert_int_equal(a.n, -1);
    assert_true(a.n_seen);
    assert_int_equal(a.bytes, 2048);
    check_near(a.p, 0.5, 0);
    assert_string_equal(a.text, "--x"); /* a value may look like an option */
    assert_string_equal(a.list, "a,b,c");
    assert_int_equal(a.choice, 2);
    assert_true(a.verbose);
    assert_int_equal(parsed.n_positional, 2);
    assert_string_equal(parsed.positional[0], "file");
    assert_string_equal(parsed.positional[1], "--last");
    lathe_options_free(&parsed);
}

static void messages_say_what_would_be_right(void **state) {
    (void) state;
    static const struct {
        const char *line, *message;
    } cases[] = {
        {"--top-p 1.5", "--top-p 1.5: must be between 0 and 1"},
        {"--top-q 1", "unknown option --top-q; did you mean --top-p?"},
        {"--top 1", "unknown option --top; did you mean --top-p?"}, /* prefixes do not count as the option */
        {"-n 3x", "-n 3x: not a whole number"},
        {"-n -2", "-n -2: must be between -1 and 100000"},
        {"--colour gren", "--colour gren: did you mean green? It is one of red, green, blue"},
        {"--text", "--text needs a value: --text VALUE"},
        {"-zz", "unknown option -zz; --help lists the options"},
        {"--verbose=perhaps", "--verbose=perhaps: must be true or false"},
    };
    for (size_t i = 0; i < LATHE_LEN(cases); i++) {
        args a = {0};
        lathe_options_parsed parsed;
        lathe_error err = {0};
        assert_int_equal(parse(cases[i].line, NULL, &a, &parsed, &err), LATHE_ERR_ARG);
        assert_string_equal(err.text, cases[i].message);
        lathe_options_free(&parsed);
    }
}

static void flag_beats_environment_beats_config(void **state) {
    (void) state;
    static const char yaml[] = "n_predict: 7\ntop-p: 25%\nlist: [x, y]\nmodel:\n  width: 3\n";
    const char *path = temp_file(".yaml");
    lathe_error err = {0};
    check_ok(lathe_file_write(path, yaml, sizeof yaml - 1, &err), err);
    args a = {0};
    lathe_options_parsed parsed;
    check_ok(parse("", path, &a, &parsed, &err), err);
    assert_int_equal(a.n, 7);
    check_near(a.p, 0.25, 0);
    assert_string_equal(a.list, "x,y");
    assert_non_null(parsed.config);
    lathe_options_free(&parsed);
    setenv("LATHE_TEST_N", "8", 1);
    check_ok(parse("", path, &a, &parsed, &err), err);
    assert_int_equal(a.n, 8);
    lathe_options_free(&parsed);
    check_ok(parse("-n 9", path, &a, &parsed, &err), err);
    assert_int_equal(a.n, 9);
    lathe_options_free(&parsed);
    unsetenv("LATHE_TEST_N");
}

static void printed_config_reads_back(void **state) {
    (void) state;
    args a = {.n = 12, .p = 0.1, .text = "a \"quoted\"\nline", .list = "u,v", .choice = 1, .verbose = true};
    const lathe_option_target target = {&set, &a};
    lathe_buf text;
    lathe_error err = {0};
    lathe_buf_init(&text, 4096);
    check_ok(lathe_options_print(&target, 1, &text, &err), err);
    const char *path = temp_file(".yaml");
    check_ok(lathe_file_write(path, text.data, text.n_bytes, &err), err);
    lathe_buf_free(&text);
    args b = {0};
    lathe_options_parsed parsed;
    check_ok(parse("", path, &b, &parsed, &err), err);
    assert_int_equal(b.n, 12);
    check_near(b.p, 0.1, 0);
    assert_string_equal(b.text, a.text);
    assert_string_equal(b.list, "u,v");
    assert_int_equal(b.choice, 1);
    assert_true(b.verbose);
    lathe_options_free(&parsed);
}

static void hostile_configurations_are_refused(void **state) {
    (void) state;
    static const char *const texts[] = {
        "n-predict: 1\nn-predict: 2\n",
        "a: &x 1\nb: *x\n",
        "n-predict: !!int 3\n",
        "--- \nn-predict: 1\n---\nn-predict: 2\n",
        "- 1\n- 2\n",
        "[[[[",
        "n-predict: [[1]]\n",
        "nn-predict: 1\n",
        "n-predict: three\n",
        "? [a]\n: 1\n",
    };
    for (size_t i = 0; i < LATHE_LEN(texts); i++) {
        const char *path = temp_file(".yaml");
        lathe_error err = {0};
        check_ok(lathe_file_write(path, texts[i], strlen(texts[i]), &err), err);
        args a = {0};
        lathe_options_parsed parsed;
        assert_int_not_equal(parse("", path, &a, &parsed, &err), LATHE_OK);
        assert_non_null(strstr(err.text, ".yaml"));
        lathe_options_free(&parsed);
    }
}

static void numbers_as_people_write_them(void **state) {
    (void) state;
    int64_t n = 0;
    double x = 0;
    assert_true(lathe_parse_int("4k", &n) && n == 4000);
    assert_true(lathe_parse_int("2.5M", &n) && n == 2500000);
    assert_true(lathe_parse_int("1e6", &n) && n == 1000000);
    assert_true(lathe_parse_int("9223372036854775807", &n) && n == INT64_MAX);
    assert_false(lathe_parse_int("9223372036854775808", &n));
    assert_false(lathe_parse_int("1.5", &n));
    assert_false(lathe_parse_int("", &n));
    assert_false(lathe_parse_int("0x10", &n));
    assert_true(lathe_parse_bytes("64M", &n) && n == 64 << 20);
    assert_true(lathe_parse_bytes("1.5KiB", &n) && n == 1536);
    assert_true(lathe_parse_real("-1e-3", &x) && x == -1e-3);
    assert_false(lathe_parse_real("nan", &x));
    assert_false(lathe_parse_real("inf", &x));
    assert_false(lathe_parse_real("1e999", &x));
    assert_false(lathe_parse_real(" 1", &x));
    char text[32];
    lathe_format_double(0.1, text, sizeof text);
    assert_string_equal(text, "0.1");
    lathe_format_count(-1234567, text, sizeof text);
    assert_string_equal(text, "-1,234,567");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_is_read),
        cmocka_unit_test(messages_say_what_would_be_right),
        cmocka_unit_test(flag_beats_environment_beats_config),
        cmocka_unit_test(printed_config_reads_back),
        cmocka_unit_test(hostile_configurations_are_refused),
        cmocka_unit_test(numbers_as_people_write_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
