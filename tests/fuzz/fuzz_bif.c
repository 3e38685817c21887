/* fuzz_bif.c - any bytes as a Bayesian network: what is read can be sampled. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lathe/tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes) {
    lathe_error err = {0};
    lathe_bayes_net net;
    lathe_table table;
    if (lathe_bayes_net_parse((const char *) bytes, n_bytes, "fuzz.bif", &net, &err) != LATHE_OK) {
        if (!err.text[0] || strchr(err.text, '\n'))
            abort();
        return 0;
    }
    if (lathe_bayes_net_sample(&net, 4, 1, &table, &err) != LATHE_OK)
        abort();
    for (int32_t i = 0; i < table.n_columns; i++)
        for (int64_t t = 0; t < 4; t++)
            if (table.columns[i].codes[t] >= table.columns[i].n_states)
                abort();
    lathe_table_free(&table);
    lathe_bayes_net_free(&net);
    return 0;
}
