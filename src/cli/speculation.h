/* speculation.h - the options of speculation, and how it is reported. */
#ifndef LATHE_CLI_SPECULATION_H
#define LATHE_CLI_SPECULATION_H

#include "cli/cli.h"
#include "cli/shared_options.h"
#include "lathe/decode.h"

typedef struct lathe_speculation_args {
    const char *spec, *arms, *controller, *verify, *tree, *stats, *reward, *draft_counts;
    int64_t length, std_budget, draft_head;
    const char *span;
    double cool_delta, cool_nu, threshold;
    bool compare;
} lathe_speculation_args;

/* A verb with these options has a struct that begins like this. */
typedef struct lathe_speculation_verb_args {
    lathe_shared_args shared;
    lathe_speculation_args spec;
} lathe_speculation_verb_args;

extern const lathe_option lathe_options_speculation[];
enum { LATHE_N_OPTIONS_SPECULATION = 15 };

void lathe_speculation_defaults(lathe_speculation_args *args);
/* The folder of calibrations and stores: LATHE_CACHE_DIR, else lathe/ in the user's cache folder. NULL where
 * there is none; else free() it. */
char *lathe_cache_folder(void);
/* What the options ask for; texts are borrowed. `cache` is that of lathe_cache_folder. */
LATHE_NODISCARD lathe_status lathe_speculation_params(const lathe_speculation_args *args, const char *cache,
                                                      const lathe_cli *cli, lathe_spec_params *params,
                                                      lathe_error *err);
json_t *lathe_speculation_json(const lathe_session_spec_stats *spec);
/* " 41.2 tokens/s" is the caller's; this writes ", 1.92 kept a round, 2.1x plain; suffix16 41%, none 59%". */
void lathe_speculation_text(const lathe_session_spec_stats *spec, char *out, size_t n_out);

/* --stats: a JSON line a round, the last line the sums. */
typedef struct lathe_round_log {
    struct lathe_writer *writer; /* NULL: nothing is written */
    lathe_status status;         /* of the first line that failed */
    lathe_error error;
} lathe_round_log;
LATHE_NODISCARD lathe_status lathe_round_log_open(const char *path, lathe_round_log *log, lathe_error *err);
void lathe_round_log_add(void *log, const lathe_spec_round *round);
LATHE_NODISCARD lathe_status lathe_round_log_end(lathe_round_log *log, const lathe_session *session,
                                                 lathe_error *err);
void lathe_round_log_abandon(lathe_round_log *log);

#endif
