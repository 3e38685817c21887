/* Patterns of tensor names, and the groups that they make. */
#include "support/check.h"

#include <stdlib.h>
#include <string.h>

#include "base/pattern.h"
#include "lathe/base.h"

static void matches(void **state) {
    (void) state;
    static const struct {
        const char *pattern, *name;
        bool expected;
    } cases[] = {
        {"blk.*.(attn_v|attn_output|ffn_*).weight", "blk.12.attn_v.weight", true},
        {"blk.*.(attn_v|attn_output|ffn_*).weight", "blk.0.ffn_down.weight", true},
        {"blk.*.(attn_v|attn_output|ffn_*).weight", "blk.0.attn_q.weight", false},
        {"blk.*.(attn_v|attn_output|ffn_*).weight", "blk.0.attn_v.bias", false},
        {"blk.*.attn_[qk].weight", "blk.3.attn_k.weight", true},
        {"blk.*.attn_[qk].weight", "blk.3.attn_v.weight", false},
        {"blk.[0-3].*", "blk.2.x", true},
        {"blk.[0-3].*", "blk.4.x", false},
        {"*", "", true},
        {"*", "anything", true},
        {"a?c", "abc", true},
        {"a?c", "ac", false},
        {"a*b*c", "axxbyyc", true},
        {"a*b*c", "axxcyyb", false},
        {"(a|b)(c|d)", "bd", true},
        {"(a|b)(c|d)", "b", false},
        {"x(|y)z", "xz", true},
        {"exact", "exact", true},
        {"exact", "exactly", false},
        {"", "", true},
    };
    for (size_t i = 0; i < LATHE_LEN(cases); i++)
        if (lathe_pattern_matches(cases[i].pattern, cases[i].name) != cases[i].expected)
            fail_msg("'%s' and '%s'", cases[i].pattern, cases[i].name);
    /* What makes backtracking matchers take for ever. */
    char name[300];
    memset(name, 'a', 299);
    name[299] = '\0';
    assert_false(lathe_pattern_matches("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", name));
    assert_true(lathe_pattern_is_literal("blk.0.x") && !lathe_pattern_is_literal("blk.*.x"));
}

static void refusals(void **state) {
    (void) state;
    lathe_error err = {0};
    assert_int_equal(lathe_pattern_check("a(b|c", &err), LATHE_ERR_ARG);
    assert_int_equal(lathe_pattern_check("a[bc", &err), LATHE_ERR_ARG);
    assert_int_equal(lathe_pattern_check("a((b)|c)", &err), LATHE_ERR_ARG);
    assert_int_equal(lathe_pattern_check("", &err), LATHE_ERR_ARG);
    check_ok(lathe_pattern_check("blk.*.(attn_v|ffn_*)[ab]", &err), err);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(matches), cmocka_unit_test(refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
