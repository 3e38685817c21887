/* help.h - what is printed from the option tables: help, man pages, completion. */
#ifndef LATHE_CLI_HELP_H
#define LATHE_CLI_HELP_H

#include "cli/cli.h"

/* The options that every verb has: --json, --config, -q, -v, --help, ... */
typedef struct lathe_common_args {
    bool unused;
    bool json, help, quiet, verbose, print_config, no_progress;
    const char *config;
    int32_t colour;
} lathe_common_args;
extern const lathe_option_set lathe_common_options;

const lathe_verb *lathe_verb_find(const char *first, const char *second, int *n_words);
void lathe_help_all(FILE *out);
/* all: hidden options too. */
void lathe_help_verb(const lathe_verb *verb, bool all, FILE *out);
void lathe_man_page(const lathe_verb *verb, FILE *out);

#endif
