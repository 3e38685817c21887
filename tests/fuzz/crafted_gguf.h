/* crafted_gguf.h - small GGUF files that are wrong in one way each, and a few that are odd but legal. */
#ifndef LATHE_TESTS_CRAFTED_GGUF_H
#define LATHE_TESTS_CRAFTED_GGUF_H

#include <stddef.h>
#include <stdint.h>

typedef struct crafted_file {
    uint8_t bytes[2048];
    size_t n;
} crafted_file;

typedef struct crafted_case {
    const char *name;
    const char *message; /* what the refusal says; NULL: the file is legal */
    void (*make)(crafted_file *f);
} crafted_case;

extern const crafted_case crafted_cases[];
extern const size_t n_crafted_cases;

#endif
