/* run.h - the parts of `lathe run`: its arguments, what a session is given, and what answers become. */
#ifndef LATHE_CLI_RUN_H
#define LATHE_CLI_RUN_H

#include "base/buf.h"
#include "cli/cli.h"
#include "cli/shared_options.h"
#include "cli/spec_report.h"
#include "cli/speculation.h"

typedef struct lathe_run_args { /* begins like lathe_speculation_verb_args */
    lathe_shared_args shared;
    lathe_speculation_args spec;
    int64_t n_predict, keep, parallel;
    const char *prompts, *session, *stop, *system, *chat_template;
    bool interactive, ignore_eos, shift, stream;
} lathe_run_args;

/* --- run_answer.c --- */

typedef struct lathe_output {
    lathe_cli *cli;
    bool write, flush; /* text as it comes */
    lathe_buf text;    /* all of it */
} lathe_output;

/* A piece of an answer into the lathe_output `user`. */
bool lathe_output_take(void *user, const char *text, size_t n_bytes);
bool lathe_run_interrupted(void *user);
double lathe_run_rate(const lathe_session_stats *stats); /* tokens a second */
/* The fields of lathe.run/1. */
void lathe_run_json(json_t *out, const lathe_session *session, const lathe_output *o);

enum { LATHE_RUN_STOPS_MAX = 64 };

/* Settings of an answer and what they borrow. */
typedef struct lathe_answer_params {
    lathe_session_params params;
    lathe_logit_bias *bias;
    char *copy;
    const char *stops[LATHE_RUN_STOPS_MAX];
} lathe_answer_params;

LATHE_NODISCARD lathe_status lathe_answer_params_make(const lathe_run_args *args, lathe_cli *cli,
                                                      uint64_t seed, lathe_answer_params *a,
                                                      lathe_error *err);
void lathe_answer_params_free(lathe_answer_params *a);
/* speculate NULL: plain steps. */
LATHE_NODISCARD lathe_status lathe_run_session(const lathe_run_args *args, lathe_cli *cli,
                                               const lathe_model *model, uint64_t seed,
                                               const lathe_spec_params *speculate, lathe_session **session,
                                               lathe_error *err);
LATHE_NODISCARD lathe_status lathe_run_prompt_ids(const lathe_run_args *args, const lathe_model *model,
                                                  const lathe_buf *prompt, bool special, int32_t **ids,
                                                  size_t *n_ids, lathe_error *err);

typedef struct lathe_run_spec {
    lathe_spec_params params;
    lathe_round_log log;
    lathe_rounds *rounds; /* of a page; NULL: none */
    char *cache;
    bool on; /* else the plain step */
} lathe_run_spec;

LATHE_NODISCARD lathe_status lathe_run_spec_begin(const lathe_run_args *args, lathe_cli *cli,
                                                  lathe_run_spec *s, lathe_error *err);
void lathe_run_spec_end(lathe_run_spec *s);
LATHE_NODISCARD lathe_status lathe_run_one(const lathe_run_args *args, lathe_cli *cli, lathe_session *session,
                                           lathe_run_spec *spec, const int32_t *ids, size_t n_ids,
                                           lathe_error *err);

/* --- run_page.c --- */

/* Whether -o asks for a page. */
bool lathe_run_is_page(const lathe_run_args *args);
LATHE_NODISCARD lathe_status lathe_run_page(const lathe_run_args *args, lathe_session *session,
                                            lathe_output *o, lathe_rounds *rounds, const char *path,
                                            lathe_error *err);

/* --- run_many.c: a file of prompts --- */

/* One after another. */
LATHE_NODISCARD lathe_status lathe_run_in_turn(const lathe_run_args *args, lathe_cli *cli,
                                               const lathe_model *model, lathe_session *session,
                                               uint64_t seed, lathe_error *err);
/* In one batch; *done = false: it does not fit, and nothing was written. */
LATHE_NODISCARD lathe_status lathe_run_at_once(const lathe_run_args *args, lathe_cli *cli,
                                               const lathe_model *model, const lathe_run_spec *spec,
                                               uint64_t seed, bool *done, lathe_error *err);

#endif
