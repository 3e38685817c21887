/* ranks.c - Chow-Liu by all ranks, edges as text: mpirun -n R ranks TABLE [THREADS]. */
#include <stdio.h>
#include <stdlib.h>

#include "lathe/tree.h"

int main(int argc, char **argv) {
    lathe_error err = {0};
    lathe_tree tree;
    lathe_chow_liu_info info;
    bool root = true;
    const lathe_chow_liu_params params = {.seed = 1, .n_threads = argc > 2 ? atoi(argv[2]) : 1};
    const lathe_status st =
        argc < 2 ? LATHE_ERR_ARG : lathe_chow_liu_ranks(argv[1], NULL, &params, &root, &tree, &info, &err);
    if (st && root)
        fprintf(stderr, "ranks: %s\n", err.text);
    for (int e = 0; !st && root && e < tree.n_edges; e++)
        printf("%s %s %.17g\n", tree.names[tree.edges[e].u], tree.names[tree.edges[e].v],
               tree.edges[e].weight);
    if (!st && root)
        printf("log-likelihood %.17g bic %.17g\n", info.log_likelihood, info.bic);
    if (!st)
        lathe_tree_free(&tree);
    lathe_ranks_end();
    return st ? 1 : 0;
}
