/* analyse_long.h - `lathe spec analyse std` and `longspec`: drafts for long texts, measured beside what a
 * model of bytes read predicts. */
#ifndef LATHE_CLI_ANALYSE_LONG_H
#define LATHE_CLI_ANALYSE_LONG_H

#include "cli/cli.h"

typedef struct lathe_analyse_long {
    const char *model, *text, *draft, *ctx, *session, *tree, *rule;
    int64_t n_predict, length, budget, queries, repeats, batch, threads;
} lathe_analyse_long;

/* kind: "std" or "longspec". */
LATHE_NODISCARD lathe_status lathe_cli_analyse_long(const char *kind, const lathe_analyse_long *args,
                                                    lathe_cli *cli, lathe_error *err);

#endif
