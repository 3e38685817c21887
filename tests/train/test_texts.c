/* Token files from texts: documents, what is held out, repeats, order, and reuse of files that are there. */
#include "support/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lathe/train.h"

static const char *write_text(const char *text) {
    const char *path = temp_file(".txt");
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    return path;
}

/* The bytes of a token file made with the "bytes" tokenizer, '|' where a document begins. */
static char *contents(const char *path) {
    lathe_tokens *t;
    lathe_error err = {0};
    check_ok(lathe_tokens_open(path, 257, &t, &err), err);
    size_t n = (size_t) lathe_tokens_count(t);
    char *text = malloc(n + 1);
    assert_non_null(text);
    for (size_t i = 0; i < n; i++) {
        int32_t id;
        lathe_tokens_read(t, i, 1, &id);
        text[i] = id == 256 ? '|' : (char) id;
    }
    text[n] = '\0';
    lathe_tokens_close(t);
    return text;
}

static void clean(const char *folder) {
    char command[8192];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    assert_int_equal(system(command), 0);
}

static void documents(void **state) {
    (void) state;
    /* Ten stories; a fifth is held out, from the end; those of the second file come twice. */
    const char *paths[2] = {
        write_text("A<|endoftext|>B<|endoftext|>C<|endoftext|>D<|endoftext|>E<|endoftext|>"
                   "F<|endoftext|>G<|endoftext|>H<|endoftext|>\n<|endoftext|>I<|endoftext|>J\n"),
        write_text("x<|endoftext|>y<|endoftext|>z")};
    const int32_t repeats[2] = {1, 2};
    const char *folder = temp_file(".folder");
    lathe_error err = {0};
    lathe_train_texts t = {.paths = paths,
                           .repeats = repeats,
                           .n_paths = 2,
                           .tokenizer = "bytes",
                           .hold_out = 0.2,
                           .separator = "<|endoftext|>",
                           .seed = 42,
                           .folder = folder};
    lathe_train_texts_result r;
    check_ok(lathe_train_prepare(&t, &r, &err), err);
    assert_int_equal(r.n_documents, 13); /* a document of blanks is none */
    char *train = contents(r.train), *held = contents(r.eval);
    assert_string_equal(held, "|I|J\n|z");
    /* Eight letters and twice x, y in the order of the permutation. */
    static const char *const expected[12] = {"A", "B", "C", "D", "E", "F", "G", "H", "x", "x", "y", "y"};
    char wanted[64] = "";
    for (uint64_t i = 0; i < 12; i++) {
        strcat(wanted, "|");
        strcat(wanted, expected[lathe_permuted(42, 0, 12, i)]);
    }
    assert_string_equal(train, wanted);
    assert_int_equal(r.n_train, 24);
    /* Again: the same files, not written anew; other texts: other files. */
    struct stat before, after;
    assert_int_equal(stat(r.train, &before), 0);
    check_ok(lathe_train_prepare(&t, &r, &err), err);
    assert_int_equal(stat(r.train, &after), 0);
    assert_true(before.st_ino == after.st_ino && r.n_train == 24 && r.n_documents == 13);
    t.n_paths = 1;
    check_ok(lathe_train_prepare(&t, &r, &err), err);
    assert_int_equal(r.n_train, 16);
    free(train);
    free(held);
    clean(folder);
}

static void chapters_and_one_document(void **state) {
    (void) state;
    const char *folder = temp_file(".folder");
    lathe_error err = {0};
    const char *path = write_text("Title\nCHAPTER I\none\nCHAPTER II\ntwo\nCHAPTER III\nthree\n");
    lathe_train_texts t = {
        .paths = &path, .n_paths = 1, .tokenizer = "bytes", .hold_out = 0.25, .folder = folder};
    lathe_train_texts_result r;
    check_ok(lathe_train_prepare(&t, &r, &err), err);
    assert_int_equal(r.n_documents, 4);
    char *held = contents(r.eval);
    assert_string_equal(held, "|CHAPTER III\nthree\n");
    free(held);
    /* A single document is cut at the end of a line. */
    path = write_text("one\ntwo\nthree\nfour\n");
    check_ok(lathe_train_prepare(&t, &r, &err), err);
    held = contents(r.eval);
    char *train = contents(r.train);
    assert_string_equal(train, "|one\ntwo\nthree\n");
    assert_string_equal(held, "|four\n");
    free(held);
    free(train);
    path = write_text(" \n\n");
    assert_int_equal(lathe_train_prepare(&t, &r, &err), LATHE_ERR_INPUT);
    path = "/nonexistent/file.txt";
    assert_true(lathe_train_prepare(&t, &r, &err) != LATHE_OK);
    clean(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(documents),
                                       cmocka_unit_test(chapters_and_one_document)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
