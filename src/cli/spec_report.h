/* spec_report.h - a page about the rounds of an answer. */
#ifndef LATHE_CLI_SPEC_REPORT_H
#define LATHE_CLI_SPEC_REPORT_H

#include "base/report.h"
#include "lathe/decode.h"

/* The rounds of an answer, for drawing them. */
typedef struct lathe_rounds lathe_rounds;
LATHE_NODISCARD lathe_status lathe_rounds_new(lathe_rounds **rounds, lathe_error *err);
void lathe_rounds_free(lathe_rounds *rounds);
/* on_round of lathe_spec_params; user: the lathe_rounds. What does not fit into memory is left out. */
void lathe_rounds_take(void *user, const lathe_spec_round *round);
/* Adds to a page: acceptance by position, arms over time, time against plain decoding, regret, where the time
 * went, a table of arms. sums: the object that lathe_speculation_json makes. */
LATHE_NODISCARD lathe_status lathe_rounds_show(lathe_rounds *rounds, const json_t *sums, lathe_report *page,
                                               lathe_error *err);

/* Reads the JSON lines that --stats wrote (`path`) and writes an HTML page: acceptance by position, arms over
 * time, loss and regret over time, where the time went. INPUT names the line that is none of a round. */
LATHE_NODISCARD lathe_status lathe_spec_report(const char *path, const char *page, int64_t *n_rounds,
                                               lathe_error *err);

#endif
