/* cli.h - what a verb is and what it is given. Verbs parse options, call the library and print;
 * they hold no mathematics, and include public headers and base/ helpers only. */
#ifndef LATHE_CLI_CLI_H
#define LATHE_CLI_CLI_H

#include <jansson.h>
#include <stdio.h>

#include "base/option.h"
#include "lathe/base.h"

/* What every verb has: the streams and the options that mean the same everywhere. */
typedef struct lathe_cli {
    FILE *out;               /* results; a verb that writes JSON lines writes them here itself */
    FILE *err;               /* progress, notes */
    bool json;               /* --json: fill `result` instead of printing text */
    json_t *result;          /* one object, printed by main with schema, version and warnings added */
    bool json_printed;       /* set by a verb that streams JSON lines itself: main prints no object */
    int quiet, verbose;      /* counts of -q, -v */
    bool colour, is_tty;     /* of out */
    lathe_logger logger;     /* notes go to stderr as "lathe VERB: note: ...", counted in JSON `warnings` */
    lathe_progress progress; /* a bar on a terminal; false after Ctrl-C */
    const char *const *positional; /* [n_positional] */
    size_t n_positional;
    const char *verb;
    const struct lathe_config *config; /* of --config, for structured sections (base/config.h); NULL: none */
    const char *config_path;
} lathe_cli;

typedef struct lathe_verb {
    const char *name;           /* "run", "tree learn" */
    const char *const *aliases; /* NULL-terminated or NULL */
    const char *summary;        /* one line for `lathe help` */
    const char *usage;          /* "lathe eval -m MODEL [-f FILE | -]" */
    const char *examples;
    const char *schema; /* "lathe.eval/1" */
    lathe_option_set options;
    size_t args_size;
    void (*defaults)(void *args); /* fills the zeroed struct */
    lathe_status (*run)(const void *args, lathe_cli *cli, lathe_error *err);
} lathe_verb;

/* The table, verbs.c: one line a verb. */
extern const lathe_verb *const lathe_verbs[];
extern const size_t lathe_n_verbs;

/* true once Ctrl-C or SIGTERM came; cleared by lathe_cli_interrupt_clear (the conversation does). */
bool lathe_cli_interrupted(void);
void lathe_cli_interrupt_clear(void);

#endif
