/* trees.c - seconds of repeated learning in one process, for bench/README-trees.md.
 * usage: bench_trees chow-liu TABLE.npy THREADS REPEATS | nj DIST.phy REPEATS | gauss COLUMNS ROWS REPEATS |
 *        popcount COLUMNS ROWS
 * popcount: the counting of chow-liu alone.
 * gauss: normal columns, one thread, beside the largest matrix product of the library (billions of operations
 * a second; of COLUMNS^2 ROWS operations, a multiplication and an addition counting two, half the square).
 * Prints a line of JSON; the first run, which touches the memory, counts like the others. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cblas.h>

#include "base/machine.h"
#include "lathe/tree.h"
#include "tree/popcount.h"

static int fail(const lathe_error *err) {
    fprintf(stderr, "bench_trees: %s\n", err->text);
    return 1;
}

/* Billions of operations a second of one large square product. */
static double product_rate(void) {
    enum { M = 1500 };
    double *a = malloc((size_t) 3 * M * M * sizeof *a), best = INFINITY;
    if (a == NULL)
        return NAN;
    for (int64_t k = 0; k < (int64_t) 3 * M * M; k++)
        a[k] = (double) (k % 17) - 8;
    for (int r = 0; r < 3; r++) {
        const double begin = lathe_now();
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, M, M, M, 1, a, M, a + M * M, M, 0, a + 2 * M * M,
                    M);
        best = fmin(best, lathe_now() - begin);
    }
    free(a);
    return 2e-9 * M * M * M / best;
}

static int gauss(int32_t p, int64_t n, int repeats) {
    lathe_error err = {0};
    lathe_table table = {.n_columns = p, .n_rows = n};
    lathe_rng rng = lathe_rng_new(1, 1, 1);
    table.columns = calloc((size_t) p, sizeof *table.columns);
    for (int32_t i = 0; table.columns != NULL && i < p; i++) {
        lathe_column *c = &table.columns[i];
        c->name = calloc(16, 1);
        c->values = malloc((size_t) n * sizeof *c->values);
        if (c->name == NULL || c->values == NULL)
            return 1;
        snprintf(c->name, 16, "x%d", (int) i);
        for (int64_t t = 0; t < n; t++)
            c->values[t] = lathe_rng_normal(&rng) + (i > 0 ? table.columns[i / 2].values[t] : 0);
    }
    printf("{\"product\": %.1f, \"seconds\": [", product_rate());
    for (int r = 0; r < repeats; r++) {
        lathe_tree tree;
        const lathe_chow_liu_params params = {.n_threads = 1, .seed = 1};
        const double begin = lathe_now();
        if (lathe_chow_liu(&table, &params, &tree, NULL, &err))
            return fail(&err);
        printf("%s%.6f", r ? ", " : "", lathe_now() - begin);
        lathe_tree_free(&tree);
    }
    printf("], \"operations\": %.0f}\n", (double) p * p * (double) n);
    lathe_table_free(&table);
    return 0;
}

/* Counting alone: nanoseconds for 64 bytes of a pair, of 8 x 8 columns in the first cache, and of all blocks
 * of 128 columns of which none lies below the diagonal; and the milliseconds that all pairs take at the
 * latter. */
static int popcount(int32_t p, int64_t n) {
    enum { FEW = 8, BLOCK = 128, TURNS = 2000 };
    const lathe_popcount_kernel *kernel = lathe_popcount_best();
    const int64_t n_words = (n + 511) / 512 * 8;
    const double n_vectors = (double) n_words / 8;
    uint64_t *bits = aligned_alloc(64, (size_t) (p * n_words) * sizeof *bits);
    uint32_t *counts = malloc((size_t) BLOCK * BLOCK * sizeof *counts);
    if (p < FEW || bits == NULL || counts == NULL)
        return 1;
    lathe_rng rng = lathe_rng_new(1, 1, 1);
    for (int64_t k = 0; k < p * n_words; k++)
        bits[k] = lathe_rng_u64(&rng);
    double near = INFINITY, far = INFINITY, vectors = 0;
    for (int r = 0; r < 9; r++) {
        double begin = lathe_now();
        for (int t = 0; t < TURNS; t++)
            kernel->tile(bits, FEW, bits, FEW, n_words, counts, FEW);
        near = fmin(near, (lathe_now() - begin) / (TURNS * FEW * FEW * n_vectors));
        begin = lathe_now();
        vectors = 0;
        for (int32_t i = 0; i < p; i += BLOCK)
            for (int32_t j = i; j < p; j += BLOCK) {
                const int32_t ni = p - i < BLOCK ? p - i : BLOCK, nj = p - j < BLOCK ? p - j : BLOCK;
                kernel->tile(bits + i * n_words, ni, bits + j * n_words, nj, n_words, counts, BLOCK);
                vectors += ni * nj * n_vectors;
            }
        far = fmin(far, (lathe_now() - begin) / vectors);
    }
    printf("{\"kernel\": \"%s\", \"near_ns\": %.4f, \"all_ns\": %.4f, \"pairs_ms\": %.3f}\n", kernel->name,
           1e9 * near, 1e9 * far, 1e3 * far * 0.5 * p * (p - 1.0) * n_vectors);
    free(bits);
    free(counts);
    return 0;
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
    if (argc == 5 && strcmp(argv[1], "gauss") == 0)
        return gauss(atoi(argv[2]), atoll(argv[3]), atoi(argv[4]));
    if (argc == 4 && strcmp(argv[1], "popcount") == 0)
        return popcount(atoi(argv[2]), atoll(argv[3]));
    fprintf(stderr, "usage: bench_trees chow-liu TABLE.npy THREADS REPEATS | nj DIST.phy REPEATS | "
                    "gauss COLUMNS ROWS REPEATS | popcount COLUMNS ROWS\n");
    return 2;
}
