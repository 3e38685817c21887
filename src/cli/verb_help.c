/* verb_help.c - `lathe help [VERB]`, `lathe help --man [VERB]`. */
#include "cli/help.h"

typedef struct help_args {
    bool unused, man;
} help_args;

static const lathe_option options[] = {
    {.name = "man",
     .group = "options",
     .kind = LATHE_OPTION_FLAG,
     .offset = offsetof(help_args, man),
     .help = "as a man page (roff)"},
};
static const lathe_option *const tables[] = {options};
static const size_t counts[] = {LATHE_LEN(options)};

static lathe_status run(const void *args_, lathe_cli *cli, lathe_error *err) {
    const help_args *args = args_;
    const lathe_verb *verb = NULL;
    if (cli->n_positional > 0) {
        int words;
        verb = lathe_verb_find(cli->positional[0], cli->n_positional > 1 ? cli->positional[1] : NULL, &words);
        if (!verb)
            return lathe_fail(err, LATHE_ERR_ARG, "no verb '%.60s'; 'lathe help' lists them",
                              cli->positional[0]);
    }
    if (args->man)
        lathe_man_page(verb, cli->out);
    else if (verb)
        lathe_help_verb(verb, true, cli->out);
    else
        lathe_help_all(cli->out);
    if (cli->json) {
        json_t *names = json_array();
        for (size_t i = 0; i < lathe_n_verbs; i++)
            json_array_append_new(names, json_string(lathe_verbs[i]->name));
        json_object_set_new(cli->result, "verbs", names);
    }
    return LATHE_OK;
}

extern const lathe_verb lathe_verb_help;
const lathe_verb lathe_verb_help = {
    .name = "help",
    .summary = "the verbs, or all options of one",
    .usage = "lathe help [--man] [VERB]",
    .schema = "lathe.help/1",
    .options = {tables, counts, 1},
    .args_size = sizeof(help_args),
    .run = run,
};
