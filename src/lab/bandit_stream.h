/* bandit_stream.h - controllers of drafts replayed on texts of the project's model. */
#ifndef LATHE_LAB_BANDIT_STREAM_H
#define LATHE_LAB_BANDIT_STREAM_H

#include "lab/lab.h"

/* Writes the trace of n_texts answers of n_predict tokens, in turn of three kinds. Needs lathe_lab_target. */
LATHE_NODISCARD lathe_status lathe_bandit_stream_record(lathe_lab *lab, uint64_t seed, int32_t n_texts,
                                                        int32_t n_predict, const char *path,
                                                        lathe_error *err);
/* For each controller: cost of the best fixed arm in hindsight over its own cost (1: as good, more: better).
 * best [size]: that arm's name. */
LATHE_NODISCARD lathe_status lathe_bandit_stream_replay(const char *path, const char *const *controllers,
                                                        size_t n, uint64_t seed, double *share_of_best,
                                                        char *best, size_t size, lathe_error *err);

#endif
