/* make_gguf_corpus.c - writes each crafted file into the folder that is named. */
#include "fuzz/crafted_gguf.h"

#include <stdio.h>

int main(int argc, char **argv) {
    static crafted_file f;
    for (size_t i = 0; argc == 2 && i < n_crafted_cases; i++) {
        char path[4096];
        f.n = 0;
        crafted_cases[i].make(&f);
        snprintf(path, sizeof path, "%s/%s.gguf", argv[1], crafted_cases[i].name);
        FILE *out = fopen(path, "wb");
        if (!out || fwrite(f.bytes, 1, f.n, out) != f.n || fclose(out) != 0) {
            perror(path);
            return 1;
        }
    }
    return argc == 2 ? 0 : 2;
}
