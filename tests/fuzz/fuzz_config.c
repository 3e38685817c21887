/* fuzz_config.c - any bytes as a configuration file: the tree is sound, messages are one line. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

enum { DEPTH_MAX = 40 };

static void walk(const lathe_config_node *node, int depth) {
    if (depth > DEPTH_MAX)
        abort(); /* 32 is the promise */
    for (; node; node = node->next) {
        if ((node->kind == LATHE_CONFIG_SCALAR) != (node->value != NULL) || node->line < 0)
            abort();
        if (node->kind != LATHE_CONFIG_SCALAR)
            walk(node->items, depth + 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes) {
    lathe_error err = {0};
    lathe_config *config = NULL;
    if (lathe_config_parse((const char *) bytes, n_bytes, "fuzz.yaml", &config, &err) != LATHE_OK) {
        if (!err.text[0] || strchr(err.text, '\n'))
            abort();
        return 0;
    }
    walk(lathe_config_root(config), 0);
    (void) lathe_config_get(lathe_config_root(config), "batch-size");
    lathe_config_free(config);
    return 0;
}
