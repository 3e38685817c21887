/* spec_report.h - a page about the rounds of an answer. */
#ifndef LATHE_CLI_SPEC_REPORT_H
#define LATHE_CLI_SPEC_REPORT_H

#include "lathe/base.h"

/* Reads the JSON lines that --stats wrote (`path`) and writes an HTML page: acceptance by position, arms over
 * time, loss and regret over time, where the time went. INPUT names the line that is none of a round. */
LATHE_NODISCARD lathe_status lathe_spec_report(const char *path, const char *page, int64_t *n_rounds,
                                               lathe_error *err);

#endif
