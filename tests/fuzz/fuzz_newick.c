/* fuzz_newick.c - any bytes as Newick: what is read is written in every format, and Newick reads back as the
 * same tree. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lathe/tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes) {
    lathe_error err = {0};
    lathe_tree tree, again;
    if (lathe_tree_parse_newick((const char *) bytes, n_bytes, &tree, &err) != LATHE_OK) {
        if (!err.text[0] || strchr(err.text, '\n'))
            abort();
        return 0;
    }
    for (int f = LATHE_TREE_NEWICK; f <= (int) LATHE_TREE_ASCII && tree.n_nodes < 2000; f++) {
        char *text = NULL;
        size_t n = 0;
        if (lathe_tree_text(&tree, (lathe_tree_format) f, -1, &text, &n, &err) != LATHE_OK)
            abort();
        if (f == LATHE_TREE_NEWICK) {
            lathe_tree_difference d;
            if (lathe_tree_parse_newick(text, n, &again, &err) != LATHE_OK ||
                again.n_observed != tree.n_observed ||
                lathe_tree_compare(&tree, &again, &d, &err) != LATHE_OK || d.missing + d.extra != 0)
                abort();
            lathe_tree_free(&again);
        }
        free(text);
    }
    lathe_tree_free(&tree);
    return 0;
}
