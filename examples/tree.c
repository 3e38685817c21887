/* tree.c - the tree behind a table's columns, from C. Build: cc tree.c $(pkg-config --cflags --libs lathe)
 * Run: ./tree data.csv */
#include <lathe/tree.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    lathe_error err = {0};
    lathe_table table = {0};
    lathe_tree tree = {0};
    lathe_chow_liu_info info = {0};
    const lathe_chow_liu_params params = {.n_bootstrap = 20, .seed = 1};
    char *newick = NULL;

    if (argc != 2) {
        fprintf(stderr, "usage: tree DATA.csv\n");
        return 2;
    }
    lathe_status st = lathe_table_read(argv[1], NULL, &table, &err);
    if (!st)
        st = lathe_chow_liu(&table, &params, &tree, &info, &err);
    if (!st)
        st = lathe_tree_text(&tree, LATHE_TREE_NEWICK, -1, &newick, NULL, &err);
    if (st) {
        fprintf(stderr, "tree: %s\n", err.text);
    } else {
        for (int e = 0; e < tree.n_edges; e++)
            printf("%s -- %s  %.4f nats, support %.2f\n", tree.names[tree.edges[e].u],
                   tree.names[tree.edges[e].v], tree.edges[e].weight, tree.edges[e].support);
        printf("log-likelihood %.3f\n%s", info.log_likelihood, newick);
    }
    free(newick);
    lathe_tree_free(&tree);
    lathe_table_free(&table);
    return st ? 1 : 0;
}
