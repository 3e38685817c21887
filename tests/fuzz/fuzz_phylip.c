/* fuzz_phylip.c - any bytes as distances (PHYLIP or CSV): a symmetric matrix and a tree over all names, or a
 * message. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lathe/tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes) {
    lathe_error err = {0};
    lathe_distances dist;
    if (lathe_distances_parse((const char *) bytes, n_bytes, "fuzz.phy", false, &dist, &err) != LATHE_OK) {
        if (!err.text[0] || strchr(err.text, '\n'))
            abort();
        return 0;
    }
    for (int64_t i = 0; i < dist.n; i++)
        for (int64_t j = 0; j < dist.n; j++)
            if (dist.d[i * dist.n + j] != dist.d[j * dist.n + i] || !(dist.d[i * dist.n + j] >= 0) ||
                (i == j && dist.d[i * dist.n + j] != 0))
                abort();
    for (int m = LATHE_LATENT_NJ; m <= (int) LATHE_LATENT_CLRG && dist.n <= 12; m++) {
        const lathe_latent_params params = {.method = (lathe_latent_method) m};
        lathe_tree tree;
        if (lathe_latent_tree(&dist, &params, &tree, NULL, &err) != LATHE_OK)
            continue;
        if (tree.n_observed != dist.n || tree.n_edges != tree.n_nodes - 1)
            abort();
        lathe_tree_free(&tree);
    }
    lathe_distances_free(&dist);
    return 0;
}
