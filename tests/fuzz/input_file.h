/* input_file.h - a fuzzer's bytes as a file that a reader can open by its path; for readers that map. */
#ifndef LATHE_TESTS_FUZZ_INPUT_FILE_H
#define LATHE_TESTS_FUZZ_INPUT_FILE_H

#include <stddef.h>
#include <stdint.h>

/* The path of a file in memory that holds exactly these bytes, until the next call. */
const char *input_file(const uint8_t *bytes, size_t n_bytes);

#endif
