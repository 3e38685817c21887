/* train_watch.h - what `lathe train` does beside its steps: curvature (--curvature) and samples
 * (--sample-every). */
#ifndef LATHE_CLI_TRAIN_WATCH_H
#define LATHE_CLI_TRAIN_WATCH_H

#include "cli/cli.h"
#include "lathe/probe.h"
#include "lathe/train.h"

typedef struct train_watch {
    lathe_cli *cli;
    int64_t curvature_every;
    lathe_curve_by by;
    bool split, matrices;
    int32_t threads;
    const char *prompt, *folder;
    int64_t sample_tokens;
    uint64_t seed;
    lathe_curve *curve; /* made when first needed */
} train_watch;

/* "every=100,by=block|tensor|kind,matrices=both|no,split=yes|no" or a plain number. */
LATHE_NODISCARD lathe_status train_watch_parse(train_watch *w, const char *text, lathe_error *err);
/* lathe_train_params.observe. */
lathe_status train_watch_observe(void *user, lathe_train_moment *moment, lathe_error *err);
bool train_watch_wants(void *user, int64_t step);
/* lathe_train_params.sample: generates sample_tokens tokens after the prompt, writes them to samples.jsonl
 * and says so. */
lathe_status train_watch_sample(void *user, int64_t step, const char *model, lathe_error *err);
void train_watch_free(train_watch *w);

#endif
