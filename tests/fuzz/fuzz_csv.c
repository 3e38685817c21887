/* fuzz_csv.c - any bytes as a table: what is read is written as CSV that reads back with the same shape. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lathe/tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes) {
    lathe_error err = {0};
    lathe_table table, again;
    if (lathe_table_parse((const char *) bytes, n_bytes, "fuzz.csv", NULL, &table, &err) != LATHE_OK) {
        if (!err.text[0] || strchr(err.text, '\n'))
            abort();
        return 0;
    }
    char *text = NULL;
    size_t n = 0;
    if (lathe_table_text(&table, &text, &n, &err) == LATHE_OK) {
        if (lathe_table_parse(text, n, "again", NULL, &again, &err) != LATHE_OK ||
            again.n_rows != table.n_rows || again.n_columns != table.n_columns)
            abort();
        for (int32_t i = 0; i < table.n_columns; i++)
            if (strcmp(table.columns[i].name, again.columns[i].name) != 0 ||
                table.columns[i].n_missing != again.columns[i].n_missing)
                abort();
        lathe_table_free(&again);
    }
    free(text);
    if (table.n_columns <= 16 && table.n_rows <= 64) {
        lathe_tree tree;
        if (lathe_chow_liu(&table, NULL, &tree, NULL, &err) == LATHE_OK)
            lathe_tree_free(&tree);
    }
    lathe_table_free(&table);
    return 0;
}
