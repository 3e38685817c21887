/* trees.c - seconds of repeated learning in one process, for bench/README-trees.md.
 * usage: bench_trees chow-liu TABLE.npy THREADS REPEATS | nj DIST.phy REPEATS
 * Prints a line of JSON; the first run, which touches the memory, counts like the others. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/machine.h"
#include "lathe/tree.h"

static int fail(const lathe_error *err) {
    fprintf(stderr, "bench_trees: %s\n", err->text);
    return 1;
}

int main(int argc, char **argv) {
    lathe_error err = {0};
    if (argc == 5 && strcmp(argv[1], "chow-liu") == 0) {
        lathe_table table;
        if (lathe_table_read(argv[2], NULL, &table, &err))
            return fail(&err);
        const lathe_chow_liu_params params = {.n_threads = atoi(argv[3]), .seed = 1};
        printf("{\"seconds\": [");
        for (int r = 0; r < atoi(argv[4]); r++) {
            lathe_tree tree;
            lathe_chow_liu_info info;
            const double begin = lathe_now();
            if (lathe_chow_liu(&table, &params, &tree, &info, &err))
                return fail(&err);
            printf("%s%.6f", r ? ", " : "", lathe_now() - begin);
            if (r + 1 == atoi(argv[4])) {
                printf("], \"kernel\": \"%s\", \"edges\": [", info.kernel);
                for (int e = 0; e < tree.n_edges; e++)
                    printf("%s[%d, %d]", e ? ", " : "", tree.edges[e].u, tree.edges[e].v);
            }
            lathe_tree_free(&tree);
        }
        printf("]}\n");
        lathe_table_free(&table);
        return 0;
    }
    if (argc == 4 && strcmp(argv[1], "nj") == 0) {
        lathe_distances dist;
        const double start = lathe_now();
        if (lathe_distances_read(argv[2], false, &dist, &err))
            return fail(&err);
        printf("{\"read\": %.6f, \"seconds\": [", lathe_now() - start);
        for (int r = 0; r < atoi(argv[3]); r++) {
            lathe_tree tree;
            const lathe_latent_params params = {.method = LATHE_LATENT_NJ};
            const double begin = lathe_now();
            if (lathe_latent_tree(&dist, &params, &tree, NULL, &err))
                return fail(&err);
            printf("%s%.6f", r ? ", " : "", lathe_now() - begin);
            lathe_tree_free(&tree);
        }
        printf("]}\n");
        lathe_distances_free(&dist);
        return 0;
    }
    fprintf(stderr, "usage: bench_trees chow-liu TABLE.npy THREADS REPEATS | nj DIST.phy REPEATS\n");
    return 2;
}
