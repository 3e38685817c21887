/* train_common.h - the options that `lathe train` and `lathe train longspec` share. */
#ifndef LATHE_CLI_TRAIN_COMMON_H
#define LATHE_CLI_TRAIN_COMMON_H

#include "cli/cli.h"
#include "lathe/train.h"

/* First member of both verbs' arguments. */
typedef struct train_common {
    bool unused; /* offset 0 stands for "no such field" in option tables */
    bool fresh;
    const char *output, *name;
    int64_t ctx, batch, accum, steps, seed, threads, eval_every, save_every, keep;
    double max_time, lr, weight_decay, clip;
    /* Given by a flag or at the top of the file: these win over the sections of a configuration. */
    struct {
        bool name, ctx, seed, lr, weight_decay, clip;
    } seen;
} train_common;

enum { LATHE_N_OPTIONS_TRAIN = 16 };
extern const lathe_option lathe_options_train[LATHE_N_OPTIONS_TRAIN];

train_common lathe_train_common_default(void);
/* Everything but name, optimisers and the schedule's shape. */
void lathe_train_common_params(const train_common *c, lathe_cli *cli, lathe_train_params *p);

#endif
