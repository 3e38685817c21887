/* kv_full.c - the policy that keeps every row. */
#include "model/kv.h"

static int32_t all_rows(int32_t n_ctx) {
    return n_ctx;
}

const lathe_kv_policy lathe_kv_full = {.name = "full", .n_rows = all_rows};
